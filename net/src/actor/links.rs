//! Links: all connections to one peer, one of which carries the lanes.
//!
//! Two peers that dial each other at the same moment make several connections. The peer with the
//! lower key alone decides which of them carries the lanes, by opening the lanes on it; the other
//! follows. So both sides use the same one, in whatever order they were made. That same peer closes
//! the others once the lanes have been whole for a while and nothing else is open on them.
//!
//! To the node a link is up from when both lanes are there until its last connection is gone, or
//! the lanes were not mended in time, or the peer has restarted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, ping};
use tokio::sync::watch;
use tracing::{debug, info};

use super::Actor;
use super::lanes::{Allowance, LaneState};
use crate::admission::Instance;
use crate::handle::{NetEvent, lock};
use crate::identity::PeerKey;
use crate::listen::{is_local, is_tcp};
use crate::stats::add;

/// The pause before lanes are opened again, and how often it is doubled while they keep breaking.
const REOPEN: Duration = Duration::from_millis(100);
const REOPEN_DOUBLINGS: u32 = 6;
/// Lanes that lasted so long broke for a new reason.
const LASTED: Duration = Duration::from_secs(5);
/// How long lanes may be away, while a connection is there, before the node hears of it.
const MEND: Duration = Duration::from_secs(2);
/// Pings that may be lost in a row.
const LOST_PINGS: u32 = 2;

/// Whether a connection may be used.
#[derive(Debug, PartialEq, Eq)]
enum Life {
    Open,
    Closing,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    endpoint: ConnectedPoint,
    instance: Option<Instance>,
    since: Instant,
    life: Life,
    lost_pings: u32,
    /// Lanes that could not be opened on it.
    faults: u32,
}

/// What the node was told of a link, and since when the lanes are so.
#[derive(Debug)]
enum State {
    Down,
    Up {
        since: Instant,
    },
    /// Up, but without lanes at this moment.
    Mending {
        until: Instant,
    },
}

/// All connections to a peer.
#[derive(Debug)]
pub(super) struct Link {
    connections: BTreeMap<ConnectionId, Connection>,
    /// The one with the lanes, or where they are being opened.
    pub(super) carrier: Option<ConnectionId>,
    state: State,
    /// Set once the node was told that the link is up; readers of lanes wait for it.
    pub(super) told: watch::Sender<bool>,
    pub(super) lanes: [LaneState; 2],
    pub(super) allowance: Allowance,
    failures: u32,
    /// How often it came up.
    ups: u32,
    /// Lanes are not opened before this.
    pub(super) rest: Instant,
}

impl Link {
    fn new() -> Self {
        Self {
            connections: BTreeMap::new(),
            carrier: None,
            state: State::Down,
            told: watch::Sender::new(false),
            lanes: Default::default(),
            allowance: Allowance::full(),
            failures: 0,
            ups: 0,
            rest: Instant::now(),
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

    fn open_ones(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        let all = self.connections.iter().map(|(id, one)| (*id, one));
        all.filter(|(_, one)| one.life == Life::Open)
    }

    pub(super) fn is_usable(&self, id: ConnectionId) -> bool {
        self.open_ones().any(|(open, _)| open == id)
    }

    /// Returns the best connection for lanes: where none failed, on TCP, the oldest.
    pub(super) fn best(&self) -> Option<ConnectionId> {
        let rank = |id, one: &Connection| {
            let far = !is_tcp(one.endpoint.get_remote_address());
            (one.faults, far, one.since, id)
        };
        self.open_ones()
            .min_by_key(|(id, one)| rank(*id, one))
            .map(|(id, _)| id)
    }

    /// A lane could not be opened on the carrier.
    pub(super) fn blame(&mut self) {
        let carrier = self.carrier.and_then(|id| self.connections.get_mut(&id));
        if let Some(one) = carrier {
            one.faults += 1;
        }
        self.failures = self.failures.saturating_add(1);
        self.rest();
    }

    /// Lanes are opened again after a pause.
    pub(super) fn rest(&mut self) {
        let doublings = self.failures.min(REOPEN_DOUBLINGS);
        self.rest = Instant::now() + REOPEN * 2_u32.pow(doublings);
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
            self.dialer.address_done(&address);
        }
        self.dialer.peer_done(key);
        let dialled = match &endpoint {
            ConnectedPoint::Dialer { address, .. } => Some(address),
            ConnectedPoint::Listener { .. } => None,
        };
        self.book.met(key, dialled);
        let instance = self.shared.admission.instance(key);
        let comes_again = dialled.is_none();
        let connection = Connection {
            endpoint,
            instance,
            since: Instant::now(),
            life: Life::Open,
            lost_pings: 0,
            faults: 0,
        };
        let link = self.links.entry(key).or_insert_with(Link::new);
        link.connections.insert(id, connection);
        if self.shared.admission.refuses(key) {
            // It was refused while it came through the gate.
            self.close_one(key, id);
        }
        self.close_of_others(key, instance);
        if comes_again {
            self.close_stale(key);
        }
        self.open_lanes(key);
    }

    /// What belonged to an earlier run of the peer's process is dead, whether it shows or not, and
    /// the node must know that the peer has begun anew.
    fn close_of_others(&mut self, peer: PeerKey, instance: Option<Instance>) {
        let old = self.which(peer, |one| one.instance != instance);
        if old.is_empty() {
            return;
        }
        debug!(?peer, "peer has restarted; closing what it has lost");
        old.into_iter().for_each(|id| self.close_one(peer, id));
        self.set_down(peer, "peer restarted");
    }

    /// A peer dials only whom it is not connected to: if it comes again long after a connection was
    /// made, it has lost that one, and we need not wait until we notice.
    fn close_stale(&mut self, peer: PeerKey) {
        let age = self.limits.handshake;
        for id in self.which(peer, |one| one.since.elapsed() > age) {
            debug!(?peer, "peer came again; closing what it has lost");
            self.close_one(peer, id);
        }
    }

    fn which(&self, peer: PeerKey, these: impl Fn(&Connection) -> bool) -> Vec<ConnectionId> {
        let link = self.links.get(&peer).into_iter();
        link.flat_map(Link::open_ones)
            .filter(|(_, one)| these(one))
            .map(|(id, _)| id)
            .collect()
    }

    /// Closes a connection, and lets go of the lanes if they are on it.
    fn close_one(&mut self, peer: PeerKey, id: ConnectionId) {
        self.swarm.close_connection(id);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if let Some(one) = link.connections.get_mut(&id) {
            one.life = Life::Closing;
        }
        if link.carrier == Some(id) {
            self.drop_lanes(peer);
        }
    }

    pub(super) fn disconnected(&mut self, peer: &PeerId, id: ConnectionId) {
        let Some(key) = PeerKey::of(peer) else { return };
        add(&self.shared.counts.lost, 1);
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        link.connections.remove(&id);
        if link.carrier == Some(id) {
            self.drop_lanes(key);
        }
        if self.which(key, |_| true).is_empty() {
            self.set_down(key, "connection lost");
        }
        let link = self.links.get(&key);
        let Some(link) = link.filter(|link| link.connections.is_empty()) else {
            return self.open_lanes(key);
        };
        if link.ups > 0 {
            self.dialer.hurry(key);
        }
        self.links.remove(&key);
        self.left.insert(key, Instant::now());
        lock(&self.shared.round_trips).remove(&key);
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
                    self.close_one(key, event.connection);
                    self.open_lanes(key);
                }
            }
        }
    }

    /// Does what is due: opens lanes after a pause, tells that they stay away, closes connections
    /// that are one too many.
    pub(super) fn look_at_links(&mut self) {
        let now = Instant::now();
        let peers: Vec<PeerKey> = self.links.keys().copied().collect();
        for peer in peers {
            match self.links.get(&peer).map(|link| &link.state) {
                Some(State::Up { since }) if since.elapsed() > self.limits.settle => {
                    self.close_redundant(peer);
                }
                Some(State::Mending { until }) if *until < now => {
                    self.set_down(peer, "streams not mended");
                }
                Some(State::Down | State::Up { .. } | State::Mending { .. }) | None => {}
            }
            self.open_lanes(peer);
        }
    }

    fn close_redundant(&mut self, peer: PeerKey) {
        if self.me > peer {
            return;
        }
        let settle = self.limits.settle;
        let carrier = self.links.get(&peer).and_then(|link| link.carrier);
        for id in self.which(peer, |one| one.since.elapsed() > settle) {
            if carrier != Some(id) && self.swarm.behaviour().streams.is_idle(id) {
                debug!(?peer, "one connection is enough; closing another");
                self.close_one(peer, id);
            }
        }
    }

    /// Lets go of both lanes; they are to be opened anew, and the node need not know yet.
    pub(super) fn drop_lanes(&mut self, peer: PeerKey) {
        self.shared.lanes.remove_all(peer);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.carrier = None;
        link.lanes = Default::default();
        if let State::Up { since } = link.state {
            let lasted = since.elapsed() > LASTED;
            link.failures = if lasted {
                0
            } else {
                link.failures.saturating_add(1)
            };
            let until = Instant::now() + MEND;
            link.state = State::Mending { until };
        }
    }

    /// Both lanes are there.
    pub(super) fn set_up(&mut self, peer: PeerKey) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let since = Instant::now();
        let before = std::mem::replace(&mut link.state, State::Up { since });
        link.ups = link.ups.saturating_add(1);
        self.dialer.up(peer);
        self.shared.news.send_modify(|count| *count += 1);
        if let State::Down = before {
            let carrier = link.carrier.and_then(|id| link.connections.get(&id));
            let addr = carrier.map_or_else(Multiaddr::empty, |one| {
                one.endpoint.get_remote_address().clone()
            });
            let told = link.told.clone();
            self.tell_and(NetEvent::Up { peer, addr }, Some(told));
        }
    }

    pub(super) fn set_down(&mut self, peer: PeerKey, why: &'static str) {
        self.drop_lanes(peer);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        match std::mem::replace(&mut link.state, State::Down) {
            State::Down => {}
            State::Up { .. } | State::Mending { .. } => {
                link.told = watch::Sender::new(false);
                self.tell(NetEvent::Down { peer, why });
            }
        }
    }
}
