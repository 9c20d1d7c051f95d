//! Who may come in: peers that were forgotten for good, and peers that misbehaved and wait outside
//! for a while. The gate asks before it talks to anybody; the actor asks before it dials. Who came in
//! is noted, so that the actor can tell that a peer has restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Limits;
use crate::identity::PeerKey;

/// Offences older than this are forgiven. A guess: far longer than three accidents in a row.
const MEMORY: Duration = Duration::from_secs(600);
/// The most peers whose offences are remembered; only members can offend, so this is plenty.
const OFFENDERS: usize = 1_024;

/// The most peers that are remembered to have come in; the actor asks just after they did.
const GUESTS: usize = 1_024;

/// A run of a peer's process, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instance(pub(crate) [u8; 16]);

impl Instance {
    /// Takes it from a nonce of the gate: its first half.
    pub(crate) fn of(nonce: &[u8; 32]) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&nonce[..16]);
        Self(first)
    }
}

/// What follows from an offence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was noted.
    Noted,
    /// It was one too many: the peer is refused for a while.
    Blocked,
}

/// Peers that are refused; shared by the gate, the actor and the handle.
#[derive(Debug)]
pub(crate) struct Admission {
    offences: u32,
    block: Duration,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    banned: BTreeSet<PeerKey>,
    blocked: BTreeMap<PeerKey, Instant>,
    offenders: BTreeMap<PeerKey, (u32, Instant)>,
    guests: BTreeMap<PeerKey, Instance>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            offences: limits.offences,
            block: limits.block,
            lists: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // Nothing panics while it is held; poisoned lists are whole all the same.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether a peer must stay outside.
    pub(crate) fn refuses(&self, peer: PeerKey) -> bool {
        let mut lists = self.lock();
        let blocked = lists
            .blocked
            .get(&peer)
            .is_some_and(|until| *until > Instant::now());
        if !blocked {
            lists.blocked.remove(&peer);
        }
        blocked || lists.banned.contains(&peer)
    }

    /// Refuses a peer until it is allowed again.
    pub(crate) fn ban(&self, peer: PeerKey) {
        self.lock().banned.insert(peer);
    }

    /// Takes back every refusal of a peer.
    pub(crate) fn allow(&self, peer: PeerKey) {
        let mut lists = self.lock();
        lists.banned.remove(&peer);
        lists.blocked.remove(&peer);
        lists.offenders.remove(&peer);
    }

    /// Notes that a peer came through the gate.
    pub(crate) fn met(&self, peer: PeerKey, instance: Instance) {
        let mut lists = self.lock();
        if lists.guests.len() >= GUESTS && !lists.guests.contains_key(&peer) {
            lists.guests.pop_first();
        }
        lists.guests.insert(peer, instance);
    }

    /// Returns which run of a peer's process came in last.
    pub(crate) fn instance(&self, peer: PeerKey) -> Option<Instance> {
        self.lock().guests.get(&peer).copied()
    }

    /// Notes an offence.
    pub(crate) fn offend(&self, peer: PeerKey) -> Verdict {
        let now = Instant::now();
        let mut lists = self.lock();
        lists
            .offenders
            .retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        if lists.offenders.len() >= OFFENDERS && !lists.offenders.contains_key(&peer) {
            lists.offenders.pop_first();
        }
        let (count, last) = lists.offenders.entry(peer).or_insert((0, now));
        *count += 1;
        *last = now;
        if *count < self.offences {
            return Verdict::Noted;
        }
        lists.offenders.remove(&peer);
        lists.blocked.retain(|_, until| *until > now);
        lists.blocked.insert(peer, now + self.block);
        Verdict::Blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_offence_blocks_and_a_ban_lasts() {
        let limits = Limits {
            block: Duration::ZERO,
            ..Limits::default()
        };
        let (peer, other) = (PeerKey([1; 32]), PeerKey([2; 32]));
        let brief = Admission::new(&limits);
        let long = Admission::new(&Limits::default());
        for admission in [&brief, &long] {
            assert_eq!(admission.offend(peer), Verdict::Noted);
            assert_eq!(admission.offend(peer), Verdict::Noted);
            assert!(!admission.refuses(peer));
            assert_eq!(admission.offend(peer), Verdict::Blocked);
        }
        assert!(!brief.refuses(peer), "a block of no length is over at once");
        assert!(long.refuses(peer) && !long.refuses(other));
        long.allow(peer);
        assert!(!long.refuses(peer));
        long.ban(other);
        assert!(long.refuses(other));
        long.allow(other);
        assert!(!long.refuses(other));
    }

    #[test]
    fn offenders_are_bounded() {
        let admission = Admission::new(&Limits::default());
        for n in 0..2_000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            assert_eq!(admission.offend(PeerKey(key)), Verdict::Noted);
        }
        assert_eq!(admission.lock().offenders.len(), OFFENDERS);
    }

    #[test]
    fn guests_are_bounded() {
        let admission = Admission::new(&Limits::default());
        for n in 0..2_000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            admission.met(PeerKey(key), Instance([1; 16]));
            assert_eq!(admission.instance(PeerKey(key)), Some(Instance([1; 16])));
        }
        assert_eq!(admission.lock().guests.len(), GUESTS);
    }
}
