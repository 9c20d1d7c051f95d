//! Whom to dial next, and when: every known peer that is not connected, for ever, with growing
//! pauses and jitter; the addresses of tickets whenever nobody is connected.
//!
//! A peer is tried by TCP first (cheaper, and it sees a dead process at once) and by everything else
//! the next time: two transports at once would make two connections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;

use crate::Limits;
use crate::book::Book;
use crate::identity::PeerKey;
use crate::listen::is_tcp;

/// The most addresses of tickets.
const BOOTSTRAP: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Pause {
    length: Duration,
    until: Instant,
    tries: u32,
    dialling: bool,
}

/// A dial that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// A known peer, at these of its addresses.
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
        let mut dialer = Self {
            me,
            least,
            most,
            peers: BTreeMap::new(),
            bootstrap: BTreeMap::new(),
        };
        for address in bootstrap {
            dialer.try_address(address.clone());
        }
        dialer
    }

    fn at(&self, until: Instant) -> Pause {
        Pause {
            length: self.least,
            until,
            tries: 0,
            dialling: false,
        }
    }

    /// A first dial of two peers to each other is left to the lower key for a moment, so that one
    /// connection comes of it.
    fn fresh(&self, peer: PeerKey, now: Instant) -> Pause {
        let wait = if self.me < peer {
            Duration::ZERO
        } else {
            self.least * 2
        };
        self.at(now + wait)
    }

    /// Adds an address to be tried at once and whenever nobody is connected. Says whether there
    /// was room for it.
    pub(crate) fn try_address(&mut self, address: Multiaddr) -> bool {
        let room = self.bootstrap.len() < BOOTSTRAP || self.bootstrap.contains_key(&address);
        if room {
            self.bootstrap.insert(address, self.at(Instant::now()));
        }
        room
    }

    /// Drops an address: it leads back to this very node.
    pub(crate) fn drop_address(&mut self, address: &Multiaddr) {
        self.bootstrap.remove(address);
    }

    /// Something new is known of a peer, or it was lost: dial it soon.
    pub(crate) fn hurry(&mut self, peer: PeerKey) {
        let fresh = self.fresh(peer, Instant::now());
        let pause = self.peers.entry(peer).or_insert(fresh);
        if !pause.dialling {
            *pause = fresh;
        }
    }

    pub(crate) fn forget(&mut self, peer: PeerKey) {
        self.peers.remove(&peer);
    }

    /// Returns the dials that are due and marks them as under way; `skip` names peers that are
    /// connected or must not be.
    pub(crate) fn due(
        &mut self,
        book: &Book,
        skip: impl Fn(PeerKey) -> bool,
        lonely: bool,
    ) -> Vec<Due> {
        let now = Instant::now();
        let mut due = Vec::new();
        for peer in book.peers().filter(|peer| *peer != self.me && !skip(*peer)) {
            // Known from before: it does not know yet that this node is back, and cannot be dialling.
            let at_once = self.at(now);
            let pause = self.peers.entry(peer).or_insert(at_once);
            if pause.dialling || pause.until > now {
                continue;
            }
            let addresses = choose(book.addresses(peer), pause.tries);
            if !addresses.is_empty() {
                pause.dialling = true;
                due.push(Due::Peer(peer, addresses));
            }
        }
        for (address, pause) in &mut self.bootstrap {
            if (lonely || pause.tries == 0) && !pause.dialling && pause.until <= now {
                pause.dialling = true;
                due.push(Due::Address(address.clone()));
            }
        }
        due
    }

    /// Drops what is remembered of peers that the book no longer knows.
    pub(crate) fn tidy(&mut self, book: &Book) {
        let known: std::collections::BTreeSet<PeerKey> = book.peers().collect();
        self.peers
            .retain(|peer, pause| pause.dialling || known.contains(peer));
    }

    /// A dial of a peer came to its end. Pauses grow even if a connection came of it, until the peer
    /// is [up](Self::up): who has no room closes what it has let in.
    pub(crate) fn peer_done(&mut self, peer: PeerKey) {
        if let Some(pause) = self.peers.get_mut(&peer) {
            *pause = after(*pause, self.most);
        }
    }

    /// A dial of a ticket's address came to its end, whatever came of it.
    pub(crate) fn address_done(&mut self, address: &Multiaddr) {
        if let Some(pause) = self.bootstrap.get_mut(address) {
            *pause = after(*pause, self.most);
        }
    }

    /// A peer is up: what was difficult about it, and about whatever address led to it, is over.
    pub(crate) fn up(&mut self, peer: PeerKey) {
        let least = self.least;
        let dialled = self.bootstrap.values_mut().filter(|pause| pause.tries > 0);
        for pause in dialled.chain(self.peers.get_mut(&peer)) {
            pause.length = least;
        }
    }
}

/// TCP first, the others next, and so on in turn.
fn choose(all: Vec<Multiaddr>, tries: u32) -> Vec<Multiaddr> {
    let (tcp, other): (Vec<_>, Vec<_>) = all.into_iter().partition(is_tcp);
    let tcp_is_next = tries.is_multiple_of(2);
    if (tcp_is_next && !tcp.is_empty()) || other.is_empty() {
        tcp
    } else {
        other
    }
}

fn after(pause: Pause, most: Duration) -> Pause {
    let jitter = pause.length.mul_f64(fastrand::f64() / 4.0);
    Pause {
        length: (pause.length * 2).min(most),
        until: Instant::now() + pause.length + jitter,
        tries: pause.tries.saturating_add(1),
        dialling: false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    const ME: PeerKey = PeerKey([1; 32]);
    const PEER: PeerKey = PeerKey([2; 32]);

    fn tcp() -> Multiaddr {
        "/ip4/127.0.0.1/tcp/1".parse().unwrap()
    }

    fn quic() -> Multiaddr {
        "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap()
    }

    #[test]
    fn pauses_grow_and_end() {
        let Limits {
            redial_least: least,
            redial_most: most,
            ..
        } = Limits::default();
        let mut pause = Pause {
            length: least,
            until: Instant::now(),
            tries: 0,
            dialling: true,
        };
        for _ in 0..20 {
            pause = after(pause, most);
        }
        assert_eq!((pause.length, pause.tries), (most, 20));
    }

    #[test]
    fn only_the_absent_are_dialled_and_once_at_a_time() {
        let mut book = Book::default();
        book.learn(PEER, &[tcp()]);
        let mut dialer = Dialer::new(ME, &Limits::default(), &[tcp()]);
        let due = dialer.due(&book, |_| false, true);
        assert_eq!(due, [Due::Peer(PEER, vec![tcp()]), Due::Address(tcp())]);
        assert_eq!(dialer.due(&book, |_| false, true), []);
        dialer.peer_done(PEER);
        assert_eq!(
            dialer.due(&book, |_| false, true),
            [],
            "a pause comes first"
        );
        dialer.hurry(PEER);
        assert_eq!(dialer.due(&book, |_| true, false), []);
        assert_eq!(dialer.due(&book, |_| false, false).len(), 1);
        dialer.peer_done(PEER);
        book.forget(PEER);
        dialer.tidy(&book);
        assert!(dialer.peers.is_empty());
    }

    #[test]
    fn who_lets_in_and_closes_again_is_not_dialled_without_end() {
        let mut book = Book::default();
        book.learn(PEER, &[tcp()]);
        let limits = Limits::default();
        let mut dialer = Dialer::new(ME, &limits, &[tcp()]);
        assert_eq!(dialer.due(&book, |_| false, true).len(), 2);
        for _ in 0..20 {
            dialer.peer_done(PEER);
            dialer.address_done(&tcp());
        }
        let longest = |dialer: &Dialer| {
            let all = dialer.peers.values().chain(dialer.bootstrap.values());
            all.map(|pause| pause.length).collect::<Vec<_>>()
        };
        assert_eq!(longest(&dialer), [limits.redial_most; 2]);
        dialer.up(PEER);
        assert_eq!(longest(&dialer), [limits.redial_least; 2]);
    }

    #[test]
    fn transports_take_turns() {
        let both = vec![quic(), tcp()];
        assert_eq!(choose(both.clone(), 0), [tcp()]);
        assert_eq!(choose(both.clone(), 1), [quic()]);
        assert_eq!(choose(both, 2), [tcp()]);
        assert_eq!(choose(vec![quic()], 0), [quic()]);
        assert_eq!(choose(vec![tcp()], 1), [tcp()]);
        assert_eq!(choose(vec![], 0), []);
    }

    #[test]
    fn addresses_of_tickets_are_bounded_and_can_be_dropped() {
        let mut dialer = Dialer::new(ME, &Limits::default(), &[]);
        for port in 0..200 {
            let fits = dialer.try_address(format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
            assert_eq!(fits, port < BOOTSTRAP);
        }
        dialer.drop_address(&tcp());
        assert_eq!(dialer.bootstrap.len(), BOOTSTRAP - 1);
    }
}
