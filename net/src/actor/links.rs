//! Links: all connections to one peer, and the two lanes on one of them.
//!
//! The peer with the lower key opens the lanes, so that there is one set of them however many
//! connections there are; a lane that breaks takes the other with it, and both are opened anew. A
//! link is up while both lanes are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, ping};
use tokio::sync::watch;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tracing::{debug, info, warn};

use super::{Actor, Arrival, Arrived, BACKLOG, Internal, Opening};
use crate::admission::Verdict;
use crate::dialer::Dialled;
use crate::handle::{NetEvent, lock};
use crate::identity::PeerKey;
use crate::lanes::{self, Lane, LaneFault};
use crate::listen::is_local;
use crate::stats::add;

/// The pause before a lane is opened again, and how often it is doubled while it keeps breaking.
const REOPEN: Duration = Duration::from_millis(100);
const REOPEN_DOUBLINGS: u32 = 6;
/// Lanes that lasted so long broke for a new reason.
const LASTED: Duration = Duration::from_secs(5);
/// A peer that opens a lane again sooner than this does not take the pause.
const LANE_LEAST: Duration = Duration::from_millis(50);
/// Pings that may be lost in a row.
const LOST_PINGS: u32 = 2;

/// One connection.
#[derive(Debug)]
struct Connection {
    endpoint: ConnectedPoint,
    since: Instant,
    lost_pings: u32,
}

/// One lane, seen from the link.
#[derive(Debug, Default)]
struct LaneState {
    opening: bool,
    began: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Down,
    Up { since: Instant },
}

/// All connections to a peer.
#[derive(Debug)]
pub(super) struct Link {
    connections: BTreeMap<ConnectionId, Connection>,
    state: State,
    /// Set once the node was told that the link is up; readers of lanes wait for it.
    told: watch::Sender<bool>,
    lanes: [LaneState; 2],
    failures: u32,
}

impl Link {
    fn new() -> Self {
        let told = watch::Sender::new(false);
        let lanes = Default::default();
        Self {
            connections: BTreeMap::new(),
            state: State::Down,
            told,
            lanes,
            failures: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Says whether the peer is on this very machine.
    fn is_near(&self) -> bool {
        self.connections
            .values()
            .any(|one| is_local(one.endpoint.get_remote_address()))
    }

    fn pause(&self) -> Duration {
        REOPEN * 2_u32.pow(self.failures.min(REOPEN_DOUBLINGS))
    }
}

impl Actor {
    pub(super) fn is_near(&self, peer: PeerKey) -> bool {
        self.links.get(&peer).is_some_and(Link::is_near)
    }

    pub(super) fn connected(&mut self, peer: &PeerId, id: ConnectionId, endpoint: ConnectedPoint) {
        let Some(key) = PeerKey::of(peer) else { return };
        add(&self.shared.counts.connected, 1);
        if let Some(address) = self.addresses_dialled.remove(&id) {
            self.dialer.address_done(&address, Dialled::Connected);
        }
        self.dialer.peer_done(key, Dialled::Connected);
        if self.shared.admission.refuses(key) {
            // It was refused while it came through the gate.
            self.swarm.close_connection(id);
        }
        let dialled = match &endpoint {
            ConnectedPoint::Dialer { address, .. } => Some(address),
            ConnectedPoint::Listener { .. } => None,
        };
        self.book.met(key, dialled);
        if dialled.is_none() {
            self.close_stale(key);
        }
        let connection = Connection {
            endpoint,
            since: Instant::now(),
            lost_pings: 0,
        };
        let link = self.links.entry(key).or_insert_with(Link::new);
        link.connections.insert(id, connection);
        self.open_lanes(key, Duration::ZERO);
    }

    /// A peer dials only whom it is not connected to: if it comes again long after a connection was
    /// made, it has lost that one, and we need not wait until we notice.
    fn close_stale(&mut self, peer: PeerKey) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        let old = link
            .connections
            .iter()
            .filter(|(_, c)| c.since.elapsed() > self.limits.handshake);
        let old: Vec<ConnectionId> = old.map(|(id, _)| *id).collect();
        for id in old {
            debug!(?peer, "peer came again; closing what it has lost");
            self.swarm.close_connection(id);
        }
    }

    pub(super) fn disconnected(&mut self, peer: &PeerId, id: ConnectionId) {
        let Some(key) = PeerKey::of(peer) else { return };
        add(&self.shared.counts.lost, 1);
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        link.connections.remove(&id);
        if link.connections.is_empty() {
            self.set_down(key, "connection lost");
            self.shared.lanes.remove_all(key);
            self.links.remove(&key);
            lock(&self.shared.round_trips).remove(&key);
            self.dialer.hurry(key);
        }
    }

    pub(super) fn pinged(&mut self, event: ping::Event) {
        let Some(key) = PeerKey::of(&event.peer) else {
            return;
        };
        let link = self.links.get_mut(&key);
        let Some(one) = link.and_then(|link| link.connections.get_mut(&event.connection)) else {
            return;
        };
        match event.result {
            Ok(time) => {
                one.lost_pings = 0;
                lock(&self.shared.round_trips).insert(key, time);
            }
            Err(error) => {
                one.lost_pings += 1;
                debug!(peer = ?key, %error, lost = one.lost_pings, "ping lost");
                if one.lost_pings >= LOST_PINGS {
                    info!(peer = ?key, "peer does not answer; closing");
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    /// Opens what is not there and not under way, if that is this side's to do.
    fn open_lanes(&mut self, peer: PeerKey, pause: Duration) {
        if self.me > peer {
            return;
        }
        for lane in Lane::ALL {
            let Some(link) = self.links.get_mut(&peer) else {
                return;
            };
            let state = &mut link.lanes[lane.place()];
            if !state.opening && !self.shared.lanes.has(peer, lane) {
                state.opening = true;
                self.open_lane(peer, lane, pause);
            }
        }
    }

    fn open_lane(&mut self, peer: PeerKey, lane: Lane, pause: Duration) {
        let Some(id) = peer.peer_id() else { return };
        let (mut control, internal) = (self.control.clone(), self.internal.clone());
        let patience = self.limits.open;
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let opening = control.open_stream(id, lane.protocol());
            let opened = match tokio::time::timeout(patience, opening).await {
                Ok(Ok(stream)) => Opening::Opened(stream),
                Ok(Err(error)) => {
                    debug!(?peer, ?lane, %error, "lane not opened");
                    Opening::Failed
                }
                Err(_) => Opening::Failed,
            };
            if internal
                .send(Internal::Opening(peer, lane, opened))
                .is_err()
            {
                debug!("the network is gone");
            }
        });
    }

    pub(super) fn take_opening(&mut self, peer: PeerKey, lane: Lane, opening: Opening) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.lanes[lane.place()].opening = false;
        match opening {
            Opening::Opened(stream) => self.begin_lane(peer, lane, stream),
            Opening::Failed => {
                link.failures = link.failures.saturating_add(1);
                let pause = link.pause();
                self.open_lanes(peer, pause);
            }
        }
    }

    pub(super) fn take_arrived(&mut self, arrived: Arrived) {
        let Arrived {
            peer,
            arrival,
            stream,
        } = arrived;
        let Some(key) = PeerKey::of(&peer) else {
            return;
        };
        let taken = match arrival {
            Arrival::Lane(lane) => self.may_begin(key, lane),
            Arrival::Bulk(_) => self.backlog.len() < BACKLOG / 2,
        };
        if !taken {
            debug!(peer = ?key, ?arrival, "stream refused");
            return add(&self.shared.counts.streams_refused, 1);
        }
        match arrival {
            Arrival::Lane(lane) => self.begin_lane(key, lane, stream),
            Arrival::Bulk(protocol) => {
                self.tell(NetEvent::Incoming {
                    peer: key,
                    protocol,
                    stream: stream.compat(),
                });
            }
        }
    }

    fn may_begin(&self, peer: PeerKey, lane: Lane) -> bool {
        let Some(link) = self.links.get(&peer).filter(|_| peer < self.me) else {
            return false;
        };
        link.lanes[lane.place()]
            .began
            .is_none_or(|began| began.elapsed() >= LANE_LEAST)
    }

    fn begin_lane(&mut self, peer: PeerKey, lane: Lane, stream: libp2p::Stream) {
        if self.shared.lanes.has(peer, lane) {
            // Whoever opens a lane again has lost the old ones.
            self.set_down(peer, "streams opened anew");
            self.shared.lanes.remove_all(peer);
        }
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.lanes[lane.place()].began = Some(Instant::now());
        self.next_lane += 1;
        let id = self.next_lane;
        let (events, told) = (self.events.clone(), link.told.subscribe());
        let deliver = move |frame| {
            let (events, mut told) = (events.clone(), told.clone());
            async move {
                let told = told.wait_for(|told| *told).await.is_ok();
                told && events
                    .send(NetEvent::Frame { peer, lane, frame })
                    .await
                    .is_ok()
            }
        };
        let internal = self.internal.clone();
        let ended = move |fault| {
            if internal
                .send(Internal::Ended(peer, lane, id, fault))
                .is_err()
            {
                debug!("the network is gone");
            }
        };
        let counts = Arc::clone(&self.shared.counts);
        let end = lanes::run(
            stream.compat(),
            id,
            self.limits.frame,
            counts,
            deliver,
            ended,
        );
        self.shared.lanes.put(peer, lane, end);
        if self.shared.lanes.is_up(peer) {
            self.set_up(peer);
        }
    }

    fn set_up(&mut self, peer: PeerKey) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let newest = link.connections.values().max_by_key(|one| one.since);
        let addr = newest.map_or_else(Multiaddr::empty, |one| {
            one.endpoint.get_remote_address().clone()
        });
        link.state = State::Up {
            since: Instant::now(),
        };
        let told = link.told.clone();
        self.tell_and(NetEvent::Up { peer, addr }, Some(told));
    }

    fn set_down(&mut self, peer: PeerKey, why: &'static str) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if let State::Up { since } = std::mem::replace(&mut link.state, State::Down) {
            link.failures = if since.elapsed() > LASTED {
                0
            } else {
                link.failures + 1
            };
            link.told = watch::Sender::new(false);
            self.tell(NetEvent::Down { peer, why });
        }
    }

    pub(super) fn lane_ended(&mut self, peer: PeerKey, lane: Lane, id: u64, fault: LaneFault) {
        if !self.shared.lanes.remove(peer, lane, id) {
            return;
        }
        debug!(?peer, ?lane, ?fault, "lane ended");
        let why = match fault {
            LaneFault::Broken => "stream broken",
            LaneFault::Oversized => "frame too long",
            LaneFault::Half => "frame never whole",
        };
        self.set_down(peer, why);
        self.shared.lanes.remove_all(peer);
        if fault != LaneFault::Broken && self.shared.admission.offend(peer) == Verdict::Blocked {
            warn!(
                ?peer,
                why, "peer keeps sending what is no frame; it is blocked for a while"
            );
            add(&self.shared.counts.peers_blocked, 1);
            return self.disconnect(peer);
        }
        if let Some(link) = self.links.get(&peer) {
            let pause = link.pause();
            self.open_lanes(peer, pause);
        }
    }
}
