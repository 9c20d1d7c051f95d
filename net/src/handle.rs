//! What a node holds of its network: a handle to call, and the events that come back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::admission::Admission;
use crate::error::{OpenError, SendError};
use crate::identity::PeerKey;
use crate::lanes::{Lane, Lanes};
use crate::listen::{is_link_local, is_local};
use crate::stats::{Counts, NetStats};
use crate::streams::{Answer, Fault, Stream};

/// How long a stream is asked for again while the connection that it was to be on is replaced: a
/// lost peer that lives is back well within this.
pub(crate) const OPEN_AGAIN: Duration = Duration::from_secs(2);

/// What the network tells the node.
#[derive(Debug)]
pub enum NetEvent {
    /// Frames can be sent to this peer from now on; none of its frames comes before this.
    Up {
        /// Who.
        peer: PeerKey,
        /// At the other end of one of its connections.
        addr: Multiaddr,
    },
    /// They cannot any more.
    Down {
        /// Who.
        peer: PeerKey,
        /// Why, in a few words.
        why: &'static str,
    },
    /// A frame has come.
    Frame {
        /// From whom.
        peer: PeerKey,
        /// On which stream.
        lane: Lane,
        /// What.
        frame: Bytes,
    },
    /// A peer opened a stream of one of [`NetConfig::protocols`](crate::NetConfig::protocols).
    Incoming {
        /// Who.
        peer: PeerKey,
        /// Which protocol.
        protocol: &'static str,
        /// The stream.
        stream: Stream,
    },
    /// This node listens here now.
    Listening {
        /// Every address, those of this machine alone only if there is no other.
        addrs: Vec<Multiaddr>,
    },
}

/// What a node wishes of the actor.
pub(crate) enum Command {
    Dial(Multiaddr),
    Learn(PeerKey, Vec<Multiaddr>),
    Forget(PeerKey),
    Open(PeerKey, &'static str, Answer),
    Addresses(oneshot::Sender<Vec<(PeerKey, Vec<Multiaddr>)>>),
    Disconnect(PeerKey),
    Shutdown(oneshot::Sender<()>),
}

/// What handle and actor both see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) lanes: Lanes,
    pub(crate) counts: Arc<Counts>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) round_trips: Mutex<BTreeMap<PeerKey, Duration>>,
    pub(crate) listening: Mutex<Vec<Multiaddr>>,
    /// Changes whenever the lanes of a peer are whole: whoever waits for one may look again.
    pub(crate) news: watch::Sender<u64>,
    pub(crate) open: Duration,
}

/// Nothing panics while one of these is held; what a poisoned one guards is whole all the same.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle to the network of a node.
#[derive(Clone)]
pub struct Net {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net")
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

impl Net {
    pub(crate) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command>) -> Self {
        Self { shared, commands }
    }

    /// Queues a frame; never waits.
    ///
    /// # Errors
    /// The peer is away, too much waits for it, or the frame is too long; nothing was queued.
    pub fn send(&self, peer: PeerKey, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.shared.lanes.send(peer, lane, frame)
    }

    /// Opens a stream beside the lanes. If the connection closes under it, it is opened on the one
    /// that takes its place. Safe to drop.
    ///
    /// # Errors
    /// The peer is away, answers too late, or does not speak the protocol.
    pub async fn open(&self, peer: PeerKey, protocol: &'static str) -> Result<Stream, OpenError> {
        let opening = self.open_again(peer, protocol);
        timeout(self.shared.open, opening)
            .await
            .unwrap_or(Err(OpenError::Late))
    }

    async fn open_again(&self, peer: PeerKey, protocol: &'static str) -> Result<Stream, OpenError> {
        let mut news = self.shared.news.subscribe();
        let end = Instant::now() + OPEN_AGAIN;
        loop {
            // News from here on are of use; what was before, the actor knows.
            news.borrow_and_update();
            let why = match self.open_once(peer, protocol).await {
                Ok(stream) => return Ok(stream),
                Err(Fault::Away) => return Err(OpenError::Away),
                Err(Fault::Refused(why)) => return Err(OpenError::Failed(why)),
                Err(Fault::Broken(why)) => why,
            };
            if !matches!(timeout_at(end, news.changed()).await, Ok(Ok(()))) {
                return Err(OpenError::Failed(why));
            }
        }
    }

    async fn open_once(&self, peer: PeerKey, protocol: &'static str) -> Result<Stream, Fault> {
        let (answer, opened) = oneshot::channel();
        let wish = Command::Open(peer, protocol, answer);
        if self.commands.send(wish).await.is_err() {
            return Err(Fault::Refused("the network is gone".to_owned()));
        }
        let closed = || Fault::Broken("the connection to the host closed".to_owned());
        opened.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Returns where this node listens: addresses of this machine alone only if there is no other.
    #[must_use]
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        shown(&lock(&self.shared.listening))
    }

    /// Returns the peers that frames can be sent to.
    #[must_use]
    pub fn connected(&self) -> Vec<PeerKey> {
        self.shared.lanes.connected()
    }

    /// Returns the last round trip to a peer.
    #[must_use]
    pub fn round_trip(&self, peer: PeerKey) -> Option<Duration> {
        lock(&self.shared.round_trips).get(&peer).copied()
    }

    /// Returns what was counted since the start.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        self.shared.counts.read()
    }

    /// Dials an address of an unknown peer: now, and again whenever nobody is connected.
    pub fn dial(&self, address: Multiaddr) {
        self.wish(Command::Dial(address));
    }

    /// Takes addresses of a member into the book; it is dialled until it is connected.
    pub fn learn(&self, peer: PeerKey, addresses: Vec<Multiaddr>) {
        self.wish(Command::Learn(peer, addresses));
    }

    /// Forgets a peer: its addresses go, its connections are closed, and the gate refuses it from
    /// now on, until it is [allowed](Self::allow) again. Not remembered over a restart.
    pub fn forget(&self, peer: PeerKey) {
        self.shared.admission.ban(peer);
        self.wish(Command::Forget(peer));
    }

    /// Takes back that a peer was forgotten or blocked.
    pub fn allow(&self, peer: PeerKey) {
        self.shared.admission.allow(peer);
    }

    /// Closes a peer's connections; it is dialled again.
    pub fn disconnect(&self, peer: PeerKey) {
        self.wish(Command::Disconnect(peer));
    }

    fn wish(&self, command: Command) {
        // Every wish may be repeated, so one that finds the queue full is dropped.
        if self.commands.try_send(command).is_err() {
            debug!("the network is busy or gone; a wish was dropped");
        }
    }

    /// Returns the address book's members: what may be told to others. Safe to drop.
    pub async fn addresses(&self) -> Vec<(PeerKey, Vec<Multiaddr>)> {
        let (answer, book) = oneshot::channel();
        if self
            .commands
            .send(Command::Addresses(answer))
            .await
            .is_err()
        {
            return Vec::new();
        }
        book.await.unwrap_or_default()
    }

    /// Closes every connection, writes the address book and ends the actor.
    pub async fn shutdown(self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).await.is_ok() && ended.await.is_err() {
            debug!("the network was gone already");
        }
    }
}

/// Returns the addresses that are of use to others, or all of them if none is.
pub(crate) fn shown(all: &[Multiaddr]) -> Vec<Multiaddr> {
    let useful = |address: &&Multiaddr| !is_local(address) && !is_link_local(address);
    let far: Vec<Multiaddr> = all.iter().filter(useful).cloned().collect();
    if far.is_empty() { all.to_vec() } else { far }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn shown_table() {
        let list = |texts: &[&str]| -> Vec<Multiaddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let near = ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"];
        let far = ["/ip4/10.0.0.5/tcp/1", "/ip6/2001:db8::1/udp/1/quic-v1"];
        let scoped = ["/ip6/fe80::1/tcp/1"];
        assert_eq!(shown(&list(&near)), list(&near));
        let all = [&near[..], &far[..], &scoped[..]].concat();
        assert_eq!(shown(&list(&all)), list(&far));
    }
}
