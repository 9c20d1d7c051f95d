//! Streams: opened on a connection that the caller names, and handed over one by one, none lost.
//!
//! Each connection has a handler. It asks for streams in turn and tells the actor what came, through
//! the swarm: while the actor does not listen, handlers wait, and so in the end the peers. A
//! multiplexer ends the whole connection when a side opens more streams than it may, so bulk streams
//! take one of a fixed number of permits; lanes need none, there are two.

mod handler;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::compat::Compat;

use crate::lanes::Lane;
use handler::Handler;

/// Bulk streams that one side has open on a connection. A quarter of what the multiplexer allows:
/// the other side may have as many, and notices an end a little later.
pub(crate) const OPEN: usize = 64;
/// What may wait for the swarm, which is not asked for more while the node does not take its events.
const OUTBOX: usize = 1_024;

/// A stream to a peer, beside the lanes.
pub struct Stream {
    bytes: Compat<libp2p::Stream>,
    _held: Held,
}

/// What a stream holds of its connection until it is dropped.
struct Held {
    _uses: Arc<Uses>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Alive while a stream is.
#[derive(Debug)]
struct Uses;

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

/// Why a bulk stream did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer is not connected, and was not a moment ago.
    Away,
    /// There is no connection at this moment, or it broke: another may do.
    Broken(String),
    /// No other connection would do better.
    Refused(String),
}

/// Where the news of a bulk stream goes. A sender that is dropped means that the connection is gone.
pub(crate) type Answer = oneshot::Sender<Result<Stream, Fault>>;

/// A stream that is wanted.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A lane; the answer is an event.
    Lane(Lane),
    /// A bulk stream.
    Bulk(StreamProtocol, Answer),
}

impl Ask {
    /// Tells whoever asked that no other connection would do better.
    fn refuse(self, why: &str) {
        if let Self::Bulk(_, answer) = self {
            drop(answer.send(Err(Fault::Refused(why.to_owned()))));
        }
    }

    /// Says whether whoever asked has given up.
    fn is_idle(&self) -> bool {
        matches!(self, Self::Bulk(_, answer) if answer.is_closed())
    }
}

/// What came of it, and what peers opened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A lane was opened by this side.
    Opened(Lane, libp2p::Stream),
    /// A lane was not.
    Failed(Lane),
    /// A lane was opened by the peer.
    Lane(Lane, libp2p::Stream),
    /// A bulk stream was opened by the peer.
    Bulk(&'static str, Stream),
}

/// An event, and where.
#[derive(Debug)]
pub(crate) struct On {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) event: Event,
}

/// The streams of all connections.
pub(crate) struct Streams {
    bulk: Arc<[&'static str]>,
    uses: BTreeMap<ConnectionId, Weak<Uses>>,
    outbox: VecDeque<ToSwarm<On, Ask>>,
}

impl Streams {
    /// Takes the protocols of bulk streams that are accepted.
    pub(crate) fn new(bulk: &[&'static str]) -> Self {
        Self {
            bulk: bulk.into(),
            uses: BTreeMap::new(),
            outbox: VecDeque::new(),
        }
    }

    /// Asks for a stream on a connection. If that is gone, a lane is never heard of again, and the
    /// answer of a bulk stream is dropped.
    pub(crate) fn ask(&mut self, peer_id: PeerId, connection: ConnectionId, ask: Ask) {
        if self.outbox.len() >= OUTBOX && matches!(ask, Ask::Bulk(..)) {
            return ask.refuse("too many streams are wanted");
        }
        self.outbox.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event: ask,
        });
    }

    /// Says whether no bulk stream is open on a connection.
    pub(crate) fn is_idle(&self, connection: ConnectionId) -> bool {
        // One is the handler's own.
        let uses = self.uses.get(&connection);
        uses.is_none_or(|uses| uses.strong_count() <= 1)
    }

    fn handler(&mut self, connection: ConnectionId) -> Handler {
        let uses = Arc::new(Uses);
        self.uses.insert(connection, Arc::downgrade(&uses));
        Handler::new(Arc::clone(&self.bulk), uses)
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = On;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let gone = match event {
            FromSwarm::ConnectionClosed(closed) => closed.connection_id,
            FromSwarm::DialFailure(failed) => failed.connection_id,
            FromSwarm::ListenFailure(failed) => failed.connection_id,
            _ => return,
        };
        self.uses.remove(&gone);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: Event,
    ) {
        self.outbox.push_back(ToSwarm::GenerateEvent(On {
            peer,
            connection,
            event,
        }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<On, Ask>> {
        // What fills the outbox is followed by a poll: events of handlers by the swarm's own, and
        // wishes by that of the actor, which asks the swarm anew after each.
        self.outbox.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
