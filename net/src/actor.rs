//! The actor: one task that alone owns the swarm.
//!
//! It takes what the swarm says, what the node wishes, what tasks report, and the time; it never
//! waits for the node. Events that the node has no room for wait in a short backlog, and while that
//! is full the swarm is not asked for more.

mod dials;
mod links;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use libp2p_stream::Control;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tracing::debug;

use crate::Limits;
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::book::Book;
use crate::dialer::Dialer;
use crate::handle::{Command, NetEvent, Shared};
use crate::identity::PeerKey;
use crate::lanes::{Lane, LaneFault};
use links::Link;

pub use start::start;

/// Events that wait behind a full channel to the node.
const BACKLOG: usize = 128;
/// How often dials are looked at; the least pause between dials is a little longer.
const TICK: Duration = Duration::from_millis(100);
/// The address book is written so long after a change, so that many changes share a write.
const SAVE: Duration = Duration::from_secs(1);
/// How long connections may take to close at the end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// What opening a lane came to.
enum Opening {
    Opened(libp2p::Stream),
    Failed,
}

/// What tasks report. There are at most a few for each connection, so their queue is bounded.
enum Internal {
    Opening(PeerKey, Lane, Opening),
    Ended(PeerKey, Lane, u64, LaneFault),
}

/// What a stream from a peer is for.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    Lane(Lane),
    Bulk(&'static str),
}

/// A stream that a peer has opened.
struct Arrived {
    peer: PeerId,
    arrival: Arrival,
    stream: libp2p::Stream,
}

/// An event that waits, and whom to tell that it has gone.
struct Waiting {
    event: NetEvent,
    gone: Option<watch::Sender<bool>>,
}

struct Actor {
    swarm: Swarm<Behaviour>,
    me: PeerKey,
    limits: Limits,
    shared: Arc<Shared>,
    control: Control,
    links: BTreeMap<PeerKey, Link>,
    book: Book,
    saving: Option<(Instant, JoinHandle<()>)>,
    dialer: Dialer,
    addresses_dialled: BTreeMap<ConnectionId, Multiaddr>,
    internal: mpsc::UnboundedSender<Internal>,
    tasks: JoinSet<()>,
    events: mpsc::Sender<NetEvent>,
    backlog: VecDeque<Waiting>,
    next_lane: u64,
}

impl Actor {
    async fn work(
        mut self,
        mut wishes: mpsc::Receiver<Command>,
        mut inbox: mpsc::UnboundedReceiver<Internal>,
        mut arrived: mpsc::Receiver<Arrived>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // One place in the channel, asked for only while something waits, kept between the rounds:
        // whoever asks anew each time never comes to the head of the line.
        let mut place = Box::pin(self.events.clone().reserve_owned());
        let done = loop {
            let room = self.backlog.len() < BACKLOG;
            tokio::select! {
                event = self.swarm.select_next_some(), if room => self.take(event),
                Some(message) = inbox.recv(), if room => self.take_internal(message),
                Some(stream) = arrived.recv(), if room => self.take_arrived(stream),
                wish = wishes.recv() => match wish {
                    Some(Command::Shutdown(done)) => break Some(done),
                    Some(wish) => self.obey(wish),
                    None => break None,
                },
                _ = tick.tick() => self.look(),
                free = &mut place, if !self.backlog.is_empty() => {
                    let Ok(free) = free else { break None };
                    place = Box::pin(self.events.clone().reserve_owned());
                    if let Some(Waiting { event, gone }) = self.backlog.pop_front() {
                        free.send(event);
                        announce(gone);
                    }
                }
                () = self.events.closed() => break None,
            }
        };
        self.close().await;
        drop(self);
        if done.is_some_and(|done| done.send(()).is_err()) {
            debug!("nobody waits for the end");
        }
    }

    async fn close(&mut self) {
        self.shared.lanes.clear();
        let peers: Vec<PeerKey> = self.links.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.disconnect(peer));
        let closing = poll_fn(|cx| {
            while self.swarm.poll_next_unpin(cx).is_ready() {}
            if self.swarm.connected_peers().next().is_none() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        if tokio::time::timeout(CLOSE_PATIENCE, closing).await.is_err() {
            debug!("some connections were still open");
        }
        self.finish_saving().await;
        self.save();
        self.finish_saving().await;
    }

    fn disconnect(&mut self, peer: PeerKey) {
        let Some(id) = peer.peer_id() else { return };
        if self.swarm.disconnect_peer_id(id).is_err() {
            debug!(?peer, "was not connected");
        }
    }

    fn tell(&mut self, event: NetEvent) {
        self.tell_and(event, None);
    }

    /// Gives an event to the node; tells `gone` once the node can see it.
    fn tell_and(&mut self, event: NetEvent, gone: Option<watch::Sender<bool>>) {
        if !self.backlog.is_empty() {
            return self.backlog.push_back(Waiting { event, gone });
        }
        match self.events.try_send(event) {
            Ok(()) => announce(gone),
            Err(TrySendError::Full(event)) => self.backlog.push_back(Waiting { event, gone }),
            Err(TrySendError::Closed(_)) => debug!("the node is gone"),
        }
    }

    fn obey(&mut self, wish: Command) {
        match wish {
            Command::Dial(address) => {
                if !self.dialer.try_address(address) {
                    debug!("too many addresses of unknown peers; one is dropped");
                }
            }
            Command::Learn(peer, addresses) => self.learn(peer, &addresses),
            Command::Forget(peer) => {
                self.book.forget(peer);
                self.dialer.forget(peer);
                self.disconnect(peer);
            }
            Command::Addresses(answer) => self.tell_book(answer),
            Command::Disconnect(peer) => self.disconnect(peer),
            Command::Shutdown(_) => {}
        }
    }

    fn tell_book(&self, answer: oneshot::Sender<Vec<(PeerKey, Vec<Multiaddr>)>>) {
        let all = self
            .book
            .members()
            .map(|(peer, list)| (peer, list.to_vec()))
            .collect();
        if answer.send(all).is_err() {
            debug!("nobody waits for the book");
        }
    }

    fn look(&mut self) {
        self.dial_due();
        let waits = self.saving.as_ref();
        if waits.is_none_or(|(began, task)| task.is_finished() && began.elapsed() >= SAVE) {
            self.save();
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Writes the book if it has changed, on a thread that may wait for the disk.
    fn save(&mut self) {
        if let Some(snapshot) = self.book.snapshot() {
            let task = tokio::task::spawn_blocking(move || snapshot.write());
            self.saving = Some((Instant::now(), task));
        }
    }

    async fn finish_saving(&mut self) {
        if let Some((_, task)) = self.saving.take()
            && let Err(error) = task.await
        {
            debug!(%error, "address book not written");
        }
    }

    fn take_internal(&mut self, message: Internal) {
        match message {
            Internal::Opening(peer, lane, opening) => self.take_opening(peer, lane, opening),
            Internal::Ended(peer, lane, id, fault) => self.lane_ended(peer, lane, id, fault),
        }
    }

    fn take(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.connected(&peer_id, connection_id, endpoint);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => {
                debug!(%peer_id, ?cause, "connection closed");
                self.disconnected(&peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id,
                connection_id,
                error,
            } => {
                self.dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => {
                self.refused(&send_back_addr, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listens(|list| {
                if !list.contains(&address) {
                    list.push(address);
                }
            }),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listens(|list| list.retain(|other| *other != address));
            }
            SwarmEvent::ListenerClosed {
                addresses,
                reason: Err(error),
                ..
            } => {
                self.listener_closed(&addresses, &error.to_string());
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.pinged(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.identified(event),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event)) => self.discovered(event),
            _ => {}
        }
    }
}

/// Lets the readers of a link's lanes go on.
fn announce(gone: Option<watch::Sender<bool>>) {
    if let Some(gone) = gone {
        gone.send_replace(true);
    }
}
