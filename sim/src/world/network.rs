//! Connections and frames: hosts connect, frames travel, connections that are cut are given up and made again.

use std::sync::Arc;

use crdt::event::Input;
use crdt::message::{Lane, Message};

use super::{Flaw, World};
use crate::queue::{Event, HostIx};
use crate::timeline::Mark;

impl World {
    /// Every other host tries to connect to this one.
    pub(super) fn connect_all(&mut self, host: HostIx) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.connect_later(host, other);
        }
    }

    pub(super) fn connect_later(&mut self, host: HostIx, other: HostIx) {
        let delay = self.network.connect_after();
        let (a, b) = (host.min(other), host.max(other));
        self.after(delay, Event::Connect { a, b });
    }

    /// Connects two hosts if both can be reached both ways; else they try again later.
    pub(super) fn try_connect(&mut self, a: HostIx, b: HostIx) {
        let alive = self.hosts[a].is_up() && self.hosts[b].is_up();
        if !alive || self.network.is_up(a, b) {
            // A node that starts tries by itself.
            return;
        }
        if self.network.is_cut(a, b) || self.network.is_cut(b, a) {
            return self.connect_later(a, b);
        }
        self.network.connect(a, b);
        self.timeline.note(self.now, None, Mark::Up, || {
            format!("h{a} and h{b} connect")
        });
        let (peer_a, peer_b) = (self.hosts[a].peer, self.hosts[b].peer);
        self.tell_now(a, Input::PeerUp(peer_b));
        self.tell_now(b, Input::PeerUp(peer_a));
    }

    /// Ends a connection; both ends know at once, and try again later.
    pub(super) fn lose_connection(&mut self, a: HostIx, b: HostIx) {
        if !self.network.is_up(a, b) {
            return;
        }
        self.network.disconnect(a, b);
        self.timeline.note(self.now, None, Mark::Down, || {
            format!("h{a} and h{b} lose each other")
        });
        let (peer_a, peer_b) = (self.hosts[a].peer, self.hosts[b].peer);
        self.tell_now(a, Input::PeerDown(peer_b));
        self.tell_now(b, Input::PeerDown(peer_a));
        self.connect_later(a, b);
    }

    /// The ends of a silent connection give it up, if it is still the same and still cut.
    pub(super) fn give_up(&mut self, a: HostIx, b: HostIx, connection: u32) {
        let same = self.network.connection(a, b) == connection;
        let silent = self.network.is_cut(a, b) || self.network.is_cut(b, a);
        let dead = !self.hosts[a].is_up() || !self.hosts[b].is_up();
        if same && (silent || dead) {
            self.lose_connection(a, b);
        }
    }

    /// Both ends of a connection will notice that nothing comes any more.
    pub(super) fn notice_later(&mut self, a: HostIx, b: HostIx) {
        if self.network.is_up(a, b) {
            let delay = self.network.notice_after();
            let connection = self.network.connection(a, b);
            let (a, b) = (a.min(b), a.max(b));
            self.after(delay, Event::GiveUpConnection { a, b, connection });
        }
    }

    /// A node sends a frame.
    pub(super) fn send(&mut self, from: HostIx, to: HostIx, lane: Lane, bytes: Arc<[u8]>) {
        let deaf = self.setup.flaw == Some(Flaw::Deaf) && to + 1 == self.hosts.len();
        if deaf && lane == Lane::Gossip {
            return;
        }
        let arrivals = self.network.send(from, to, lane, self.now);
        let connection = self.network.connection(from, to);
        if let Some(at) = arrivals.second {
            let bytes = Arc::clone(&bytes);
            self.queue.push(
                at,
                Event::Deliver {
                    from,
                    to,
                    connection,
                    bytes,
                },
            );
        }
        if let Some(at) = arrivals.first {
            self.queue.push(
                at,
                Event::Deliver {
                    from,
                    to,
                    connection,
                    bytes,
                },
            );
        }
    }

    /// A frame arrives, unless its connection is no more.
    pub(super) fn deliver(&mut self, from: HostIx, to: HostIx, connection: u32, bytes: Arc<[u8]>) {
        if self.network.connection(from, to) != connection {
            self.network.dropped += 1;
            return;
        }
        if self.sample.is_none() && matches!(Message::decode(&bytes), Ok(Message::Changes(_))) {
            self.sample = Some(Arc::clone(&bytes));
        }
        let from = self.hosts[from].peer;
        self.feed(to, Input::Frame { from, bytes });
    }
}
