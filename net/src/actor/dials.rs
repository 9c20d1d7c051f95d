//! Dials and addresses: what is learnt goes into the book, what is due is dialled, and what came of
//! a dial is told to the dialer.

use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, ListenError};
use libp2p::{Multiaddr, PeerId, identify, mdns};
use tracing::{debug, warn};

use super::Actor;
use crate::dialer::Due;
use crate::gate::{Refusal, Refused};
use crate::handle::{NetEvent, lock, shown};
use crate::identity::PeerKey;
use crate::listen::{is_link_local, is_local};
use crate::stats::add;

impl Actor {
    pub(super) fn is_linked(&self, peer: PeerKey) -> bool {
        self.links.contains_key(&peer)
    }

    pub(super) fn learn(&mut self, peer: PeerKey, addresses: &[Multiaddr]) {
        if peer == self.me || self.shared.admission.refuses(peer) {
            return;
        }
        if self.book.learn(peer, addresses) && !self.is_linked(peer) {
            self.dialer.hurry(peer);
        }
    }

    /// Dials whom it is time to dial.
    pub(super) fn dial_due(&mut self) {
        let skip = |peer| self.links.contains_key(&peer) || self.shared.admission.refuses(peer);
        let lonely = !self.links.values().any(super::links::Link::is_up);
        for due in self.dialer.due(&self.book, skip, lonely) {
            self.dial(due);
        }
        self.dialer.tidy(&self.book);
    }

    fn dial(&mut self, due: Due) {
        let dialled = match &due {
            Due::Peer(peer, addresses) => {
                let Some(id) = peer.peer_id() else {
                    debug!(?peer, "this is no key; forgetting it");
                    self.dialer.forget(*peer);
                    return self.book.forget(*peer);
                };
                let condition = PeerCondition::DisconnectedAndNotDialing;
                let opts = DialOpts::peer_id(id)
                    .addresses(addresses.clone())
                    .condition(condition);
                self.swarm.dial(opts.build())
            }
            Due::Address(address) => {
                let opts = DialOpts::unknown_peer_id().address(address.clone()).build();
                self.addresses_dialled
                    .insert(opts.connection_id(), address.clone());
                self.swarm.dial(opts)
            }
        };
        if let Err(error) = dialled {
            debug!(?due, %error, "not dialled");
            match due {
                Due::Peer(peer, _) => self.dialer.peer_done(peer),
                Due::Address(address) => {
                    self.addresses_dialled
                        .retain(|_, dialled| *dialled != address);
                    self.dialer.address_done(&address);
                }
            }
        }
    }

    pub(super) fn dial_failed(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        debug!(?peer, %error, "dial failed");
        add(&self.shared.counts.dials_failed, 1);
        let wanted = peer.as_ref().and_then(PeerKey::of);
        if let Some(peer) = wanted {
            self.dialer.peer_done(peer);
        }
        let address = self.addresses_dialled.remove(&id);
        if let Some(address) = &address {
            self.dialer.address_done(address);
        }
        match error {
            DialError::LocalPeerId { .. } => {
                if let Some(address) = &address {
                    self.dialer.drop_address(address);
                }
            }
            DialError::WrongPeerId { obtained, address } => {
                // Another member answers there: it came through the gate before it was compared.
                if let Some(peer) = wanted {
                    self.book.strike(peer, address);
                }
                if let Some(other) = PeerKey::of(obtained) {
                    self.learn(other, std::slice::from_ref(address));
                }
            }
            DialError::Transport(failures) => {
                let foreign = failures
                    .iter()
                    .any(|(_, error)| kind_of(error) == Refusal::Secret);
                add(&self.shared.counts.dials_foreign, u64::from(foreign));
            }
            _ => {}
        }
    }

    /// Counts, by kind, a connection from afar that did not come about.
    pub(super) fn refused(&mut self, from: &Multiaddr, error: &ListenError) {
        debug!(%from, %error, "connection refused");
        let kind = match error {
            ListenError::LocalPeerId { .. } => return,
            ListenError::Transport(error) => kind_of(error),
            _ => Refusal::Handshake,
        };
        let counts = &self.shared.counts;
        add(&counts.refused, 1);
        let count = match kind {
            Refusal::Secret => &counts.refused_secret,
            Refusal::Blocked => &counts.refused_blocked,
            Refusal::Garbled => &counts.refused_garbled,
            Refusal::Late => &counts.refused_late,
            Refusal::Handshake => &counts.refused_handshake,
        };
        add(count, 1);
    }

    pub(super) fn listens(&mut self, change: impl FnOnce(&mut Vec<Multiaddr>)) {
        let addrs = {
            let mut list = lock(&self.shared.listening);
            let before = list.clone();
            change(&mut list);
            if *list == before {
                return;
            }
            shown(&list)
        };
        self.tell(NetEvent::Listening { addrs });
    }

    pub(super) fn listener_closed(&self, addresses: &[Multiaddr], why: &str) {
        warn!(?addresses, why, "no longer listening");
    }

    pub(super) fn identified(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else {
            return;
        };
        let Some(peer) = PeerKey::of(&peer_id) else {
            return;
        };
        // Loopback of another machine is not where it is.
        let near = self.is_near(peer);
        let useful = |a: &Multiaddr| (near || !is_local(a)) && !is_link_local(a);
        let list: Vec<Multiaddr> = info.listen_addrs.into_iter().filter(useful).collect();
        if !list.is_empty() && self.is_linked(peer) {
            self.book.told(peer, &list);
        }
    }

    pub(super) fn discovered(&mut self, event: mdns::Event) {
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    let Some(peer) = PeerKey::of(&peer) else {
                        continue;
                    };
                    if self.book.announce(peer, &address) && !self.is_linked(peer) {
                        self.dialer.hurry(peer);
                    }
                }
            }
            // A record that ends says nothing about a connection.
            mdns::Event::Expired(gone) => {
                for (peer, address) in gone {
                    if let Some(peer) = PeerKey::of(&peer) {
                        self.book.deny(peer, &address);
                    }
                }
            }
        }
    }
}

/// Returns what the transport said about a connection that did not come about.
fn kind_of(error: &TransportError<std::io::Error>) -> Refusal {
    match error {
        TransportError::Other(error) => Refused::inside(error).unwrap_or(Refusal::Handshake),
        TransportError::MultiaddrNotSupported(_) => Refusal::Handshake,
    }
}
