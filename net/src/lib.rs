//! Peers and opaque frames over libp2p. Nothing here knows what a frame says.
//!
//! The promise: frames between two connected peers arrive whole, bounded in size, on one stream a
//! lane in the order in which they were sent; across lanes they may be reordered, and when a
//! connection breaks they may be lost, also where another takes its place and the peer stays up. Whoever does not know the mesh's secret is refused inside the transport (`gate`),
//! before anything else here sees it. Reconnection is this crate's own business.
//!
//! Nothing grows without bound: a full queue refuses ([`SendError::Full`]), and a node that does
//! not take its events makes the readers of streams wait, and so in the end the senders.
//!
//! Reading order: `handle` (what a node calls), `gate` and `transport` (who comes in), `lanes`
//! (frames on streams), `streams` (how those are opened), `book` and `dialer` (whom to dial, and when), `actor` (what ties them
//! together and alone owns the swarm).
#![forbid(unsafe_code)]

mod actor;
mod admission;
mod behaviour;
mod book;
mod dialer;
mod error;
mod gate;
mod handle;
#[cfg(test)]
mod hostile;
mod identity;
mod lanes;
mod listen;
mod stats;
mod streams;
mod ticket;
mod transport;

use std::path::PathBuf;
use std::time::Duration;

pub use actor::start;
pub use error::{ListenError, NetError, OpenError, SendError, TicketError};
pub use handle::{Net, NetEvent};
pub use identity::{Identity, MeshId, MeshSecret, PeerKey};
pub use lanes::{Lane, MAX_FRAME};
pub use libp2p::Multiaddr;
pub use listen::parse_listen;
pub use stats::NetStats;
pub use streams::Stream;
pub use ticket::Ticket;

/// How a node is on the network.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Its key.
    pub identity: Identity,
    /// The secret of its mesh.
    pub secret: MeshSecret,
    /// Where it listens; a QUIC address with port 0 takes the port of the TCP address before it.
    pub listen: Vec<Multiaddr>,
    /// Where it listened before: an address of the above with port 0 takes that port again if it is free.
    pub listened: Vec<Multiaddr>,
    /// Look for peers on the local network.
    pub mdns: bool,
    /// Addresses to try while no peer is connected: those of tickets.
    pub bootstrap: Vec<Multiaddr>,
    /// Where known addresses are kept; nowhere if `None`.
    pub address_book: Option<PathBuf>,
    /// What it says it is.
    pub agent: String,
    /// Protocols of bulk streams that it accepts.
    pub protocols: Vec<&'static str>,
    /// Sizes and times.
    pub limits: Limits,
}

impl NetConfig {
    /// Returns the settings of a node that listens nowhere, with every default.
    #[must_use]
    pub fn new(identity: Identity, secret: MeshSecret) -> Self {
        Self {
            identity,
            secret,
            listen: Vec::new(),
            listened: Vec::new(),
            mdns: false,
            bootstrap: Vec::new(),
            address_book: None,
            agent: String::from("aque"),
            protocols: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Sizes and times. Defaults come from measurements on a local network unless a field says that it
/// is a guess.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For a connection to be made, the gate included. Longer lets silent strangers hold a place
    /// for longer; shorter refuses members on bad lines.
    pub handshake: Duration,
    /// A frame whose first byte has come must be whole within this.
    pub frame: Duration,
    /// For a stream to be opened. A guess.
    pub open: Duration,
    /// How long two connections to one peer may live side by side before the one that is not used
    /// is closed. Longer costs pings; shorter than two dials of the same moment may lie apart closes
    /// what the other side has only just made. A guess.
    pub settle: Duration,
    /// How often a peer is pinged, and how long an answer may take; two lost pings close the
    /// connection.
    pub ping: Duration,
    /// The first pause before a lost peer is dialled again.
    pub redial_least: Duration,
    /// The longest pause.
    pub redial_most: Duration,
    /// Frames that wait on one lane of a peer, bytes; a lane of its own keeps heartbeats from
    /// waiting for room behind documents.
    pub queue_bytes: usize,
    /// Events that wait for the node; readers of streams wait when so many do. A guess.
    pub events: usize,
    /// Connections in all.
    pub connections: u32,
    /// Connections to one peer. Two that dial each other make two; a third and a fourth leave room
    /// while a restarted peer's dead ones are not yet known to be dead.
    pub per_peer: u32,
    /// Connections that are being made, each way.
    pub pending: u32,
    /// Offences (frames too long or never whole) after which a peer is blocked.
    pub offences: u32,
    /// How long it is. A guess.
    pub block: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            frame: Duration::from_secs(10),
            open: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            ping: Duration::from_secs(5),
            redial_least: Duration::from_millis(250),
            redial_most: Duration::from_secs(30),
            queue_bytes: 8 << 20,
            events: 1_024,
            connections: 256,
            per_peer: 4,
            pending: 32,
            offences: 3,
            block: Duration::from_secs(60),
        }
    }
}
