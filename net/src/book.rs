//! The address book: where peers were reached or said that they listen, kept on disk so that a restarted node finds its mesh.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::identity::{PeerKey, write_private};
use crate::listen::bare;

/// The most peers.
const PEERS: usize = 1_024;
/// The most addresses of one peer.
const ADDRESSES: usize = 8;
/// What the file begins with.
const MAGIC: &[u8; 8] = b"aquebk01";

/// Addresses of peers, the one that worked last first.
#[derive(Debug, Default)]
pub(crate) struct Book {
    path: Option<PathBuf>,
    peers: BTreeMap<PeerKey, Vec<Multiaddr>>,
    changed: bool,
}

#[derive(Serialize, Deserialize)]
struct Page(Vec<(PeerKey, Vec<Vec<u8>>)>);

impl Book {
    /// Reads the book; a damaged one is set aside with a warning, since everything in it can be learnt again.
    pub(crate) fn open(path: Option<PathBuf>) -> Self {
        let mut book = Self { path, ..Self::default() };
        let Some(path) = &book.path else { return book };
        match std::fs::read(path) {
            Ok(bytes) => match parse(&bytes) {
                Some(peers) => book.peers = peers,
                None => warn!(path = %path.display(), "address book is damaged; starting anew"),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => warn!(%error, path = %path.display(), "address book cannot be read"),
        }
        book
    }

    /// Adds addresses at the end. Says whether one was new.
    pub(crate) fn learn(&mut self, peer: PeerKey, addresses: &[Multiaddr]) -> bool {
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS {
            return false;
        }
        let known = self.peers.entry(peer).or_default();
        let mut learnt = false;
        for address in addresses.iter().map(bare) {
            if !known.contains(&address) {
                // The oldest that did not work makes room.
                known.truncate(ADDRESSES - 1);
                known.push(address);
                learnt = true;
            }
        }
        self.changed |= learnt;
        learnt
    }

    /// Puts an address that worked first.
    pub(crate) fn worked(&mut self, peer: PeerKey, address: &Multiaddr) {
        self.learn(peer, std::slice::from_ref(address));
        let address = bare(address);
        if let Some(known) = self.peers.get_mut(&peer)
            && let Some(place) = known.iter().position(|other| *other == address)
            && place > 0
        {
            known.remove(place);
            known.insert(0, address);
            self.changed = true;
        }
    }

    /// Forgets a peer.
    pub(crate) fn forget(&mut self, peer: PeerKey) {
        self.changed |= self.peers.remove(&peer).is_some();
    }

    /// Returns what is known of a peer.
    #[cfg(test)]
    fn addresses(&self, peer: PeerKey) -> &[Multiaddr] {
        self.peers.get(&peer).map_or(&[], Vec::as_slice)
    }

    /// Returns every peer with its addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerKey, &Vec<Multiaddr>)> {
        self.peers.iter().map(|(peer, addresses)| (*peer, addresses))
    }

    /// Writes the book if it has changed.
    pub(crate) fn save(&mut self) {
        let Some(path) = self.path.as_deref().filter(|_| self.changed) else { return };
        self.changed = false;
        if let Err(error) = write(path, &self.peers) {
            warn!(%error, path = %path.display(), "address book cannot be written");
        }
    }
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<PeerKey, Vec<Multiaddr>>> {
    let (body, sum) = bytes.strip_prefix(MAGIC)?.split_last_chunk::<32>()?;
    if *blake3::hash(body).as_bytes() != *sum {
        return None;
    }
    let Page(page) = postcard::from_bytes(body).ok()?;
    let read = |(peer, list): (PeerKey, Vec<Vec<u8>>)| {
        let list = list.into_iter().filter_map(|bytes| Multiaddr::try_from(bytes).ok());
        (peer, list.take(ADDRESSES).collect())
    };
    Some(page.into_iter().take(PEERS).map(read).collect())
}

fn write(path: &Path, peers: &BTreeMap<PeerKey, Vec<Multiaddr>>) -> std::io::Result<()> {
    let bytes = |list: &Vec<Multiaddr>| list.iter().map(Multiaddr::to_vec).collect();
    let page = Page(peers.iter().map(|(peer, list)| (*peer, bytes(list))).collect());
    let body = postcard::to_stdvec(&page).map_err(std::io::Error::other)?;
    let sum = blake3::hash(&body);
    write_private(path, &[&MAGIC[..], &body, sum.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn what_worked_comes_first_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book");
        let peer = PeerKey([7; 32]);
        let mut book = Book::open(Some(path.clone()));
        let list: Vec<Multiaddr> = (1..20).map(address).collect();
        assert!(book.learn(peer, &list));
        assert!(!book.learn(peer, &list[..1]));
        book.worked(peer, &address(30));
        book.save();
        let book = Book::open(Some(path.clone()));
        assert_eq!(book.addresses(peer)[0], address(30));
        assert_eq!(book.addresses(peer).len(), ADDRESSES);
        let mut bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(Book::open(Some(path.clone())).iter().count(), 0);
        }
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Book::open(Some(path)).iter().count(), 0);
    }
}
