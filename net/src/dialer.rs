//! Whom to dial next, and when: every known peer that is not connected, for ever, with growing pauses and jitter.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;

use crate::Limits;
use crate::book::Book;
use crate::identity::PeerKey;

#[derive(Debug, Clone, Copy)]
struct Pause {
    length: Duration,
    until: Instant,
    dialling: bool,
}

/// A dial that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// A known peer, at its addresses.
    Peer(PeerKey, Vec<Multiaddr>),
    /// An address of a ticket.
    Address(Multiaddr),
}

/// The state of all dials.
#[derive(Debug)]
pub(crate) struct Dialer {
    me: PeerKey,
    least: Duration,
    most: Duration,
    peers: BTreeMap<PeerKey, Pause>,
    bootstrap: BTreeMap<Multiaddr, Pause>,
}

impl Dialer {
    pub(crate) fn new(me: PeerKey, limits: &Limits, bootstrap: &[Multiaddr]) -> Self {
        let (least, most) = (limits.redial_least, limits.redial_most);
        let now = Pause { length: least, until: Instant::now(), dialling: false };
        let bootstrap = bootstrap.iter().map(|address| (address.clone(), now)).collect();
        Self { me, least, most, peers: BTreeMap::new(), bootstrap }
    }

    /// A first dial of two peers to each other is left to the lower key for a moment, so that one connection comes of it.
    fn fresh(&self, peer: PeerKey) -> Pause {
        let wait = if self.me < peer { Duration::ZERO } else { self.least * 2 };
        Pause { length: self.least, until: Instant::now() + wait, dialling: false }
    }

    /// Adds an address to be tried while no peer is connected.
    pub(crate) fn try_address(&mut self, address: Multiaddr) {
        let pause = Pause { length: self.least, until: Instant::now(), dialling: false };
        self.bootstrap.insert(address, pause);
    }

    /// Something new is known of a peer, or it was lost: dial it soon.
    pub(crate) fn hurry(&mut self, peer: PeerKey) {
        let fresh = self.fresh(peer);
        let pause = self.peers.entry(peer).or_insert(fresh);
        if !pause.dialling {
            *pause = fresh;
        }
    }

    pub(crate) fn forget(&mut self, peer: PeerKey) {
        self.peers.remove(&peer);
    }

    /// Returns the dials that are due and marks them as under way.
    pub(crate) fn due(&mut self, book: &Book, is_up: impl Fn(PeerKey) -> bool, lonely: bool) -> Vec<Due> {
        let mut due = Vec::new();
        for (peer, addresses) in book.iter() {
            if peer == self.me || addresses.is_empty() || is_up(peer) {
                continue;
            }
            let fresh = self.fresh(peer);
            let pause = self.peers.entry(peer).or_insert(fresh);
            if !pause.dialling && pause.until <= Instant::now() {
                pause.dialling = true;
                due.push(Due::Peer(peer, addresses.clone()));
            }
        }
        if lonely {
            for (address, pause) in &mut self.bootstrap {
                if !pause.dialling && pause.until <= Instant::now() {
                    pause.dialling = true;
                    due.push(Due::Address(address.clone()));
                }
            }
        }
        due
    }

    /// A dial of a peer came to its end.
    pub(crate) fn peer_done(&mut self, peer: PeerKey, connected: bool) {
        let (least, most) = (self.least, self.most);
        if let Some(pause) = self.peers.get_mut(&peer) {
            *pause = after(*pause, connected, least, most);
        }
    }

    /// A dial of a ticket's address came to its end.
    pub(crate) fn address_done(&mut self, address: &Multiaddr, connected: bool) {
        let (least, most) = (self.least, self.most);
        if let Some(pause) = self.bootstrap.get_mut(address) {
            *pause = after(*pause, connected, least, most);
        }
    }
}

fn after(pause: Pause, connected: bool, least: Duration, most: Duration) -> Pause {
    let length = if connected { least } else { (pause.length * 2).min(most) };
    let jitter = pause.length.mul_f64(fastrand::f64() / 4.0);
    Pause { length, until: Instant::now() + pause.length + jitter, dialling: false }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let limits = Limits::default();
        let start = Pause { length: limits.redial_least, until: Instant::now(), dialling: true };
        let mut pause = start;
        for _ in 0..20 {
            pause = after(pause, false, limits.redial_least, limits.redial_most);
        }
        assert_eq!(pause.length, limits.redial_most);
        assert_eq!(after(pause, true, limits.redial_least, limits.redial_most).length, limits.redial_least);
    }

    #[test]
    fn only_the_absent_are_dialled_and_once_at_a_time() {
        let (me, peer) = (PeerKey([1; 32]), PeerKey([2; 32]));
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let mut book = Book::default();
        book.learn(peer, std::slice::from_ref(&address));
        let mut dialer = Dialer::new(me, &Limits::default(), std::slice::from_ref(&address));
        assert_eq!(dialer.due(&book, |_| true, false), []);
        let due = dialer.due(&book, |_| false, true);
        assert_eq!(due, [Due::Peer(peer, vec![address.clone()]), Due::Address(address)]);
        assert_eq!(dialer.due(&book, |_| false, true), []);
        dialer.peer_done(peer, false);
        dialer.hurry(peer);
        assert_eq!(dialer.due(&book, |_| false, false).len(), 1);
    }
}
