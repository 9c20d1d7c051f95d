//! The address book: where peers were reached or said that they listen, kept on disk so that a
//! restarted node finds its mesh.
//!
//! Two shelves: *members*, whose key passed the gate or whom another member vouched for, are kept;
//! *candidates*, which the local network merely announced, are dialled but neither kept nor told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::identity::{PeerKey, write_private};
use crate::listen::bare;

/// The most members.
const MEMBERS: usize = 1_024;
/// The most candidates.
const CANDIDATES: usize = 256;
/// The most addresses of one peer.
const ADDRESSES: usize = 8;
/// What the file begins with.
const MAGIC: &[u8; 8] = b"aquebk01";

/// What is known of one member.
#[derive(Debug, Default, Clone)]
struct Entry {
    /// When it was last connected, seconds since 1970; 0 for never.
    seen_s: u64,
    /// The one that worked last is first.
    addresses: Vec<Multiaddr>,
}

/// Addresses of peers.
#[derive(Debug, Default)]
pub(crate) struct Book {
    path: Option<PathBuf>,
    members: BTreeMap<PeerKey, Entry>,
    candidates: BTreeMap<PeerKey, Vec<Multiaddr>>,
    changed: bool,
}

/// A book to be written.
#[derive(Debug)]
pub(crate) struct Snapshot {
    path: PathBuf,
    members: BTreeMap<PeerKey, Entry>,
}

/// The file: a list, with addresses as bytes.
#[derive(Serialize, Deserialize)]
struct Pages(Vec<(PeerKey, u64, Vec<Vec<u8>>)>);

impl Book {
    /// Reads the book; a damaged one is a warning, since everything in it can be learnt again.
    pub(crate) fn open(path: Option<PathBuf>) -> Self {
        let mut book = Self {
            path,
            ..Self::default()
        };
        let Some(path) = &book.path else { return book };
        match std::fs::read(path) {
            Ok(bytes) => match parse(&bytes) {
                Some(members) => book.members = members,
                None => warn!(path = %path.display(), "address book is damaged; starting anew"),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => warn!(%error, path = %path.display(), "address book cannot be read"),
        }
        book
    }

    /// Adds addresses of a member at the end. Says whether one was new.
    pub(crate) fn learn(&mut self, peer: PeerKey, addresses: &[Multiaddr]) -> bool {
        let learnt = merge(&mut self.entry(peer).addresses, addresses);
        self.changed |= learnt;
        learnt
    }

    /// Takes a member's own word for where it listens: what it does not name goes, but for the
    /// address that worked last (which may lead through a translator of addresses).
    pub(crate) fn told(&mut self, peer: PeerKey, addresses: &[Multiaddr]) {
        let named: Vec<Multiaddr> = addresses.iter().map(bare).collect();
        let entry = self.entry(peer);
        let before = entry.addresses.clone();
        let first = before.first().cloned();
        entry
            .addresses
            .retain(|known| named.contains(known) || Some(known) == first.as_ref());
        merge(&mut entry.addresses, &named);
        self.changed |= self.entry(peer).addresses != before;
    }

    /// Notes that a member is connected, and puts the address that worked first, if it is known.
    pub(crate) fn met(&mut self, peer: PeerKey, address: Option<&Multiaddr>) {
        self.candidates.remove(&peer);
        let entry = self.entry(peer);
        entry.seen_s = now_s();
        if let Some(address) = address.map(bare) {
            entry.addresses.retain(|known| *known != address);
            entry.addresses.truncate(ADDRESSES - 1);
            entry.addresses.insert(0, address);
        }
        self.changed = true;
    }

    /// Strikes out an address where somebody else answers.
    pub(crate) fn strike(&mut self, peer: PeerKey, address: &Multiaddr) {
        let address = bare(address);
        self.deny(peer, &address);
        if let Some(entry) = self.members.get_mut(&peer) {
            entry.addresses.retain(|known| *known != address);
            self.changed = true;
        }
    }

    /// Forgets a peer.
    pub(crate) fn forget(&mut self, peer: PeerKey) {
        self.candidates.remove(&peer);
        self.changed |= self.members.remove(&peer).is_some();
    }

    /// Adds an address that was announced by nobody known.
    pub(crate) fn announce(&mut self, peer: PeerKey, address: &Multiaddr) -> bool {
        let full = self.candidates.len() >= CANDIDATES && !self.candidates.contains_key(&peer);
        let known = self
            .members
            .get(&peer)
            .is_some_and(|e| e.addresses.contains(&bare(address)));
        if full || known {
            return false;
        }
        merge(
            self.candidates.entry(peer).or_default(),
            std::slice::from_ref(address),
        )
    }

    /// Removes an address that is announced no more.
    pub(crate) fn deny(&mut self, peer: PeerKey, address: &Multiaddr) {
        let address = bare(address);
        if let Some(known) = self.candidates.get_mut(&peer) {
            known.retain(|other| *other != address);
            if known.is_empty() {
                self.candidates.remove(&peer);
            }
        }
    }

    /// Returns every member with its addresses.
    pub(crate) fn members(&self) -> impl Iterator<Item = (PeerKey, &[Multiaddr])> {
        let known = self
            .members
            .iter()
            .filter(|(_, entry)| !entry.addresses.is_empty());
        known.map(|(peer, entry)| (*peer, entry.addresses.as_slice()))
    }

    /// Returns everybody who can be dialled.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerKey> {
        let only = self
            .candidates
            .keys()
            .filter(|peer| !self.members.contains_key(*peer));
        self.members.keys().chain(only).copied()
    }

    /// Returns where a peer may be found.
    pub(crate) fn addresses(&self, peer: PeerKey) -> Vec<Multiaddr> {
        let known = self
            .members
            .get(&peer)
            .map_or(&[][..], |entry| &entry.addresses);
        let announced = self.candidates.get(&peer).map_or(&[][..], Vec::as_slice);
        known.iter().chain(announced).cloned().collect()
    }

    /// Returns what is to be written if anything has changed since it was last asked for.
    pub(crate) fn snapshot(&mut self) -> Option<Snapshot> {
        let path = self.path.clone().filter(|_| self.changed)?;
        self.changed = false;
        Some(Snapshot {
            path,
            members: self.members.clone(),
        })
    }

    /// A new member takes the place of the one that was not met for longest, if there is no other.
    fn entry(&mut self, peer: PeerKey) -> &mut Entry {
        if self.members.len() >= MEMBERS && !self.members.contains_key(&peer) {
            let oldest = self.members.iter().min_by_key(|(_, entry)| entry.seen_s);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.members.remove(&oldest);
            }
        }
        self.members.entry(peer).or_default()
    }
}

impl Snapshot {
    /// Replaces the file at once or not at all.
    pub(crate) fn write(self) {
        if let Err(error) = write(&self.path, &self.members) {
            warn!(%error, path = %self.path.display(), "address book cannot be written");
        }
    }
}

/// Adds what is new at the end; what stood last makes room. Says whether anything was new.
fn merge(known: &mut Vec<Multiaddr>, addresses: &[Multiaddr]) -> bool {
    let mut learnt = false;
    for address in addresses.iter().take(ADDRESSES).map(bare) {
        if !known.contains(&address) {
            known.truncate(ADDRESSES - 1);
            known.push(address);
            learnt = true;
        }
    }
    learnt
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| since.as_secs().max(1))
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<PeerKey, Entry>> {
    let (body, sum) = bytes.strip_prefix(MAGIC)?.split_last_chunk::<32>()?;
    if *blake3::hash(body).as_bytes() != *sum {
        return None;
    }
    let Pages(pages) = postcard::from_bytes(body).ok()?;
    let read = |(peer, seen_s, list): (PeerKey, u64, Vec<Vec<u8>>)| {
        let list = list
            .into_iter()
            .filter_map(|bytes| Multiaddr::try_from(bytes).ok());
        (
            peer,
            Entry {
                seen_s,
                addresses: list.take(ADDRESSES).collect(),
            },
        )
    };
    Some(pages.into_iter().take(MEMBERS).map(read).collect())
}

fn write(path: &Path, members: &BTreeMap<PeerKey, Entry>) -> std::io::Result<()> {
    let bytes = |entry: &Entry| entry.addresses.iter().map(Multiaddr::to_vec).collect();
    let pages = members
        .iter()
        .map(|(peer, entry)| (*peer, entry.seen_s, bytes(entry)));
    let body = postcard::to_stdvec(&Pages(pages.collect())).map_err(std::io::Error::other)?;
    let sum = blake3::hash(&body);
    write_private(path, &[&MAGIC[..], &body, sum.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    const PEER: PeerKey = PeerKey([7; 32]);

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    fn key(n: u32) -> PeerKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        PeerKey(key)
    }

    #[test]
    fn what_worked_comes_first_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book");
        let mut book = Book::open(Some(path.clone()));
        let list: Vec<Multiaddr> = (1..20).map(address).collect();
        assert!(book.learn(PEER, &list));
        assert!(!book.learn(PEER, &list[..1]));
        book.met(PEER, Some(&address(30)));
        book.snapshot().unwrap().write();
        assert!(book.snapshot().is_none(), "nothing has changed since");
        let book = Book::open(Some(path));
        assert_eq!(book.addresses(PEER)[0], address(30));
        assert_eq!(book.addresses(PEER).len(), ADDRESSES);
    }

    #[test]
    fn a_damaged_book_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book");
        let mut book = Book::open(Some(path.clone()));
        book.learn(PEER, &[address(1)]);
        book.snapshot().unwrap().write();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(Book::open(Some(path.clone())).members().count(), 1);
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(Book::open(Some(path.clone())).members().count(), 0);
            let mut flipped = bytes.clone();
            flipped[cut] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(Book::open(Some(path.clone())).members().count(), 0);
        }
    }

    #[test]
    fn a_members_own_word_replaces_hearsay() {
        let mut book = Book::default();
        book.learn(PEER, &[address(1), address(2)]);
        book.met(PEER, Some(&address(3)));
        book.told(PEER, &[address(2), address(4)]);
        assert_eq!(book.addresses(PEER), [address(3), address(2), address(4)]);
        book.strike(PEER, &address(3));
        assert_eq!(book.addresses(PEER), [address(2), address(4)]);
    }

    #[test]
    fn candidates_are_dialled_and_not_told() {
        let mut book = Book::default();
        assert!(book.announce(PEER, &address(1)));
        assert!(!book.announce(PEER, &address(1)));
        assert_eq!((book.peers().count(), book.members().count()), (1, 0));
        book.deny(PEER, &address(1));
        assert_eq!(book.peers().count(), 0);
        for n in 0..1_000 {
            book.announce(key(n), &address(1));
        }
        assert_eq!(book.peers().count(), CANDIDATES);
        book.met(key(5), Some(&address(1)));
        assert_eq!(
            (book.peers().count(), book.members().count()),
            (CANDIDATES, 1)
        );
    }

    #[test]
    fn hearsay_never_pushes_out_who_was_met() {
        let mut book = Book::default();
        book.met(PEER, Some(&address(9)));
        for n in 0..3_000 {
            book.learn(key(n), &[address(1)]);
        }
        assert_eq!(book.members().count(), MEMBERS);
        assert_eq!(book.addresses(PEER), [address(9)]);
    }
}
