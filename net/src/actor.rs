//! The actor: one task that alone owns the swarm.
//!
//! It takes what the swarm says, what the node wishes, what tasks report, and the time; it never
//! waits for the node. Events that the node has no room for wait in a short backlog, and while that
//! is full the swarm is not asked for more.

mod dials;
mod lanes;
mod links;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, Swarm};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use crate::Limits;
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::book::Book;
use crate::dialer::Dialer;
use crate::handle::{Command, NetEvent, OPEN_AGAIN, Shared};
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

/// A lane came to its end. There are at most a few for each connection, so their queue is bounded.
struct Ended(PeerKey, Lane, u64, LaneFault);

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
    listeners: Vec<ListenerId>,
    links: BTreeMap<PeerKey, Link>,
    /// Peers that were lost a moment ago, and when.
    left: BTreeMap<PeerKey, Instant>,
    book: Book,
    saving: Option<(Instant, JoinHandle<()>)>,
    dialer: Dialer,
    addresses_dialled: BTreeMap<ConnectionId, Multiaddr>,
    ended: mpsc::UnboundedSender<Ended>,
    events: mpsc::Sender<NetEvent>,
    backlog: VecDeque<Waiting>,
    next_lane: u64,
}

impl Actor {
    async fn work(
        mut self,
        mut wishes: mpsc::Receiver<Command>,
        mut inbox: mpsc::UnboundedReceiver<Ended>,
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
                Some(Ended(peer, lane, id, fault)) = inbox.recv(), if room => {
                    self.lane_ended(peer, lane, id, fault);
                }
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
        for listener in std::mem::take(&mut self.listeners) {
            self.swarm.remove_listener(listener);
        }
        let peers: Vec<PeerKey> = self.links.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.disconnect(peer));
        let closing = poll_fn(|cx| {
            while let Poll::Ready(event) = self.swarm.poll_next_unpin(cx) {
                // Somebody may have been at the door already.
                if let Some(SwarmEvent::ConnectionEstablished { connection_id, .. }) = event {
                    self.swarm.close_connection(connection_id);
                }
            }
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
            Command::Open(peer, protocol, answer) => self.open(peer, protocol, answer),
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
        self.look_at_links();
        self.left.retain(|_, when| when.elapsed() < OPEN_AGAIN);
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
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.take_stream(event),
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
