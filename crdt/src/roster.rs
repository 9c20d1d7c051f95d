//! Who is in the mesh and who is heard of: for placement, for people, and for the choice of a committee.
//! No claim depends on it: a lease has its own heartbeats.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::entry::{Beat, Duty, DutyKind, Member};
use crate::ids::{PeerId, Tag};
use crate::time::{Mono, Now, Wall};

/// A beat is written this often.
pub const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Silence after which a peer that is not connected counts as away: two beats and the way.
pub const AWAY_AFTER: Duration = Duration::from_secs(5);

/// A member as this node sees it.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// Who.
    pub peer: PeerId,
    /// What people call it.
    pub name: String,
    /// Where it listens, as multiaddrs.
    pub addresses: Vec<String>,
    /// This node itself, connected, or heard of lately.
    pub alive: bool,
    /// Since when nothing was heard; `None` if never in this node's life.
    pub silent: Option<Duration>,
    /// Its newest beat.
    pub beat: Option<Beat>,
    /// This node itself.
    pub own: bool,
    /// What a person wants of it.
    pub duty: DutyKind,
    /// By how much this host's wall clock was ahead of what its newest beat said when that came, milliseconds: what the clocks
    /// differ by, and how long the beat was under way.
    pub offset_ms: Option<i64>,
}

/// How a member stands, in brief.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing<'a> {
    /// Who.
    pub peer: PeerId,
    /// What people call it.
    pub name: &'a str,
    /// This node itself, connected, or heard of lately.
    pub alive: bool,
    /// What a person wants of it.
    pub duty: DutyKind,
}

#[derive(Debug)]
struct Entry {
    peer: PeerId,
    member: Option<Member>,
    heard: Option<Mono>,
    connected: bool,
    beat: Option<Beat>,
    /// This host's wall clock when the beat came.
    beat_at: Wall,
    /// What a person wanted of it last, and who wrote that down.
    duty: Option<(Duty, Tag)>,
}

impl Entry {
    fn duty(&self) -> DutyKind {
        self.duty.map_or(DutyKind::Works, |(duty, _)| duty.kind)
    }

    fn offset_ms(&self) -> Option<i64> {
        let theirs = self.beat.as_ref()?.wall.0;
        i64::try_from(i128::from(self.beat_at.0) - i128::from(theirs)).ok()
    }

    /// Its newest word, unless it has left or is given up.
    fn member(&self) -> Option<&Member> {
        let there = |member: &&Member| !member.left && self.duty() != DutyKind::Gone;
        self.member.as_ref().filter(there)
    }
}

/// Every peer ever heard of.
#[derive(Debug)]
pub struct Roster {
    me: Tag,
    entries: BTreeMap<Tag, Entry>,
}

impl Roster {
    /// Returns the roster of a node that knows itself alone.
    #[must_use]
    pub fn new(me: PeerId) -> Self {
        let mut roster = Self {
            me: me.tag(),
            entries: BTreeMap::new(),
        };
        roster.entry(me);
        roster
    }

    fn entry(&mut self, peer: PeerId) -> &mut Entry {
        self.entries.entry(peer.tag()).or_insert(Entry {
            peer,
            member: None,
            heard: None,
            connected: false,
            beat: None,
            beat_at: Wall(0),
            duty: None,
        })
    }

    /// Takes what the directory says of a member.
    pub fn learn(&mut self, peer: PeerId, member: Member) {
        self.entry(peer).member = Some(member);
    }

    /// Takes what a person wants of a peer, and who wrote it down; what is older changes nothing.
    pub fn assign(&mut self, peer: PeerId, said: (Duty, Tag)) {
        let entry = self.entry(peer);
        entry.duty = entry.duty.max(Some(said));
    }

    /// Returns what a person wants of a peer, and since when.
    #[must_use]
    pub fn duty(&self, tag: Tag) -> Duty {
        let said = self.entries.get(&tag).and_then(|entry| entry.duty);
        said.map_or(Duty::default(), |(duty, _)| duty)
    }

    /// Returns what a peer called itself last, also one that has left or was given up.
    #[must_use]
    pub fn name(&self, tag: Tag) -> Option<&str> {
        let member = self.entries.get(&tag)?.member.as_ref()?;
        Some(&member.name)
    }

    /// Says whether a member takes no more work and hands over its places in committees.
    #[must_use]
    pub fn is_draining(&self, tag: Tag) -> bool {
        self.duty(tag).kind == DutyKind::Drains
    }

    /// Says whether it was said that a peer leaves: by itself, or by a person who drains it or gives it up.
    #[must_use]
    pub fn is_leaving(&self, tag: Tag) -> bool {
        self.entries.get(&tag).is_some_and(|entry| {
            let left = entry.member.as_ref().is_some_and(|member| member.left);
            left || entry.duty() != DutyKind::Works
        })
    }

    /// Says whether nothing was heard of a peer for `patience`; of one never heard of, since `start`.
    #[must_use]
    pub fn is_silent(&self, tag: Tag, now: Mono, start: Mono, patience: Duration) -> bool {
        let heard = self.heard(tag).map_or(start, |heard| heard.max(start));
        tag != self.me && !self.is_connected(tag) && now.since(heard) >= patience
    }

    /// Notes that something came from this very peer.
    pub fn hear(&mut self, peer: PeerId, now: Mono) {
        let entry = self.entry(peer);
        entry.heard = entry.heard.max(Some(now));
    }

    /// Takes a beat, from the peer or relayed; an older one changes nothing.
    pub fn beat(&mut self, peer: PeerId, beat: Beat, now: Now) {
        let entry = self.entry(peer);
        let stamp = |beat: &Beat| (beat.wall, beat.count);
        if entry
            .beat
            .as_ref()
            .is_none_or(|old| stamp(old) < stamp(&beat))
        {
            (entry.beat, entry.beat_at) = (Some(beat), now.wall);
            entry.heard = entry.heard.max(Some(now.mono));
        }
    }

    /// Notes that a peer is connected.
    pub fn up(&mut self, peer: PeerId, now: Mono) {
        self.entry(peer).connected = true;
        self.hear(peer, now);
    }

    /// Notes that a peer is not connected any more.
    pub fn down(&mut self, peer: PeerId) {
        self.entry(peer).connected = false;
    }

    /// Returns the identity behind a tag.
    #[must_use]
    pub fn peer(&self, tag: Tag) -> Option<PeerId> {
        self.entries.get(&tag).map(|entry| entry.peer)
    }

    /// Returns the peers that frames can be sent to.
    pub fn connected(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.entries
            .values()
            .filter(|entry| entry.connected)
            .map(|entry| entry.peer)
    }

    /// Says whether frames can be sent to this peer.
    #[must_use]
    pub fn is_connected(&self, tag: Tag) -> bool {
        self.entries.get(&tag).is_some_and(|entry| entry.connected)
    }

    /// Says whether two other peers are known to be connected to each other.
    #[must_use]
    pub fn are_neighbours(&self, one: Tag, other: Tag) -> bool {
        let lists = |a: Tag, b: Tag| {
            self.entries
                .get(&a)
                .and_then(|entry| entry.beat.as_ref())
                .is_some_and(|beat| beat.neighbours.contains(&b))
        };
        lists(one, other) && lists(other, one)
    }

    /// Returns when something of this peer was heard last.
    #[must_use]
    pub fn heard(&self, tag: Tag) -> Option<Mono> {
        self.entries.get(&tag).and_then(|entry| entry.heard)
    }

    /// Returns the newest beat of a peer.
    #[must_use]
    pub fn last_beat(&self, tag: Tag) -> Option<&Beat> {
        self.entries.get(&tag).and_then(|entry| entry.beat.as_ref())
    }

    /// Says whether a peer takes part now.
    #[must_use]
    pub fn is_alive(&self, tag: Tag, now: Mono) -> bool {
        tag == self.me
            || self.entries.get(&tag).is_some_and(|entry| {
                entry.connected
                    || entry
                        .heard
                        .is_some_and(|heard| now.since(heard) < AWAY_AFTER)
            })
    }

    /// Returns the tags of members that have neither left nor were given up, in order.
    pub fn members(&self) -> impl Iterator<Item = Tag> + '_ {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.member().is_some())
            .map(|(tag, _)| *tag)
    }

    /// Returns the place of `tag` among the members that are alive, and how many these are; for ranking bids.
    #[must_use]
    pub fn place(&self, tag: Tag, now: Mono) -> (u64, u64) {
        let (mut before, mut all) = (0, 0);
        for other in self
            .members()
            .filter(|other| *other == tag || self.is_alive(*other, now))
        {
            before += u64::from(other < tag);
            all += 1;
        }
        (before, all.max(1))
    }

    /// Returns how every member stands, in order of tags.
    pub fn standings(&self, now: Mono) -> impl Iterator<Item = Standing<'_>> {
        self.entries.iter().filter_map(move |(tag, entry)| {
            let member = entry.member()?;
            Some(Standing {
                peer: entry.peer,
                name: &member.name,
                alive: self.is_alive(*tag, now),
                duty: entry.duty(),
            })
        })
    }

    /// Returns the members as people see them, this node first.
    #[must_use]
    pub fn views(&self, now: Mono) -> Vec<MemberView> {
        let view = |(tag, entry): (&Tag, &Entry)| {
            let member = entry.member()?;
            Some(MemberView {
                peer: entry.peer,
                name: member.name.clone(),
                addresses: member.addresses.clone(),
                alive: self.is_alive(*tag, now),
                silent: entry.heard.map(|heard| now.since(heard)),
                beat: entry.beat.clone(),
                own: *tag == self.me,
                duty: entry.duty(),
                offset_ms: entry.offset_ms(),
            })
        };
        let mut views: Vec<MemberView> = self.entries.iter().filter_map(view).collect();
        views.sort_by(|a, b| (!a.own, &a.name, a.peer).cmp(&(!b.own, &b.name, b.peer)));
        views
    }

    /// Chooses the committee of a new segment: the largest of 5, 3, 1 up to `size` of which a majority is alive; this node
    /// first, then the living by rendezvous hash of `salt` (Thaler and Ravishankar, 1996), then the silent. Sorted.
    /// Who takes no more work is in it only if this node is the only one.
    #[must_use]
    pub fn committee(&self, size: u8, salt: u64, now: Mono) -> Vec<PeerId> {
        let mut ranked: Vec<(bool, bool, [u8; 32], PeerId)> = self
            .members()
            .filter(|tag| !self.is_draining(*tag))
            .filter_map(|tag| {
                let peer = self.peer(tag)?;
                Some((
                    tag != self.me,
                    !self.is_alive(tag, now),
                    draw(salt, &peer),
                    peer,
                ))
            })
            .collect();
        ranked.sort_unstable();
        let alive = ranked.iter().filter(|(_, silent, ..)| !silent).count();
        let size = committee_size(usize::from(size), ranked.len(), alive).unwrap_or(1);
        let mut chosen: Vec<PeerId> = ranked
            .into_iter()
            .take(size)
            .map(|(.., peer)| peer)
            .collect();
        if chosen.is_empty() {
            chosen.extend(self.peer(self.me));
        }
        chosen.sort_unstable();
        chosen
    }

    /// Chooses the committee that replaces `current`: without those that leave, and without those of which nothing was heard for
    /// long as far as others are there. Those of its members that are alive stay; then come the other living by rendezvous hash
    /// of `salt`, then its silent members. It has up to `size` members, a majority of them alive; it is smaller than that only
    /// if so many leave that there are no more. `None` if there is none such. Sorted.
    #[must_use]
    pub fn successors(
        &self,
        current: &[PeerId],
        is_silent: impl Fn(Tag) -> bool,
        (size, salt): (usize, u64),
        now: Mono,
    ) -> Option<Vec<PeerId>> {
        let stays = |tag: &Tag| !self.is_leaving(*tag);
        let staying: Vec<Tag> = self.members().filter(stays).collect();
        let sitting = current.iter().filter(|peer| stays(&peer.tag())).count();
        let mut ranked: Vec<(bool, bool, bool, [u8; 32], PeerId)> = staying
            .iter()
            .filter_map(|tag| {
                let peer = self.peer(*tag)?;
                let (alive, sits) = (self.is_alive(*tag, now), current.contains(&peer));
                let rank = (!alive, !sits, is_silent(*tag), draw(salt, &peer), peer);
                (alive || sits).then_some(rank)
            })
            .collect();
        ranked.sort_unstable();
        let alive = ranked.iter().filter(|(silent, ..)| !silent).count();
        let size = committee_size(size, staying.len(), alive)?;
        if size < sitting || size > ranked.len() {
            return None;
        }
        let chosen = ranked.into_iter().take(size);
        let mut chosen: Vec<PeerId> = chosen.map(|(.., peer)| peer).collect();
        chosen.sort_unstable();
        Some(chosen)
    }
}

/// A peer's place in the draw that `salt` names.
fn draw(salt: u64, peer: &PeerId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&salt.to_le_bytes()).update(&peer.0);
    *hasher.finalize().as_bytes()
}

/// The largest committee of 5, 3, 1 up to `size` that so many peers make up, of which a majority is alive.
fn committee_size(size: usize, peers: usize, alive: usize) -> Option<usize> {
    [5, 3, 1]
        .into_iter()
        .filter(|n| *n <= size.max(1))
        .find(|n| peers >= *n && alive > n / 2)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::time::Wall;

    fn roster(of: u8) -> (Roster, Vec<PeerId>) {
        let peers: Vec<PeerId> = (0..of).map(|n| PeerId([n + 1; 32])).collect();
        let mut roster = Roster::new(peers[0]);
        for peer in &peers {
            let member = Member {
                name: format!("{peer}"),
                proof: [0; 32],
                addresses: Vec::new(),
                joined: Wall(0),
                left: false,
            };
            roster.learn(*peer, member);
        }
        (roster, peers)
    }

    #[test]
    fn a_committee_has_a_living_majority() {
        let (mut roster, peers) = roster(5);
        let now = Mono(1_000_000_000_000);
        assert_eq!(roster.committee(3, 0, now), [peers[0]]);
        roster.up(peers[1], now);
        let three = roster.committee(3, 0, now);
        assert_eq!(three.len(), 3);
        assert!(three.contains(&peers[0]) && three.contains(&peers[1]));
        roster.up(peers[2], now);
        assert_eq!(roster.committee(5, 0, now).len(), 5);
        assert_eq!(roster.committee(1, 0, now), [peers[0]]);
        roster.down(peers[2]);
        assert!(roster.is_alive(peers[2].tag(), now));
        assert!(!roster.is_alive(peers[2].tag(), now + AWAY_AFTER));
    }

    #[test]
    fn successors_table() {
        let (mut roster, peers) = roster(6);
        let now = Mono(1_000_000_000_000);
        let current = [peers[0], peers[1], peers[2]];
        for peer in &peers[1..4] {
            roster.up(*peer, now);
        }
        let gone = |roster: &mut Roster, peer| {
            let duty = Duty {
                at: Wall(5),
                kind: DutyKind::Gone,
            };
            roster.assign(peer, (duty, Tag(1)));
        };
        let silent: std::cell::Cell<Option<Tag>> = std::cell::Cell::new(None);
        let next = |roster: &Roster, current: &[PeerId]| {
            roster.successors(current, |tag| silent.get() == Some(tag), (3, 7), now)
        };
        assert_eq!(next(&roster, &current).unwrap(), current, "nobody leaves");
        // A member that falls silent gives way to one that is alive, and stays if there is none.
        roster.down(peers[2]);
        roster.entry(peers[2]).heard = None;
        silent.set(Some(peers[2].tag()));
        let changed = [peers[0], peers[1], peers[3]];
        assert_eq!(next(&roster, &current).unwrap(), changed);
        roster.down(peers[3]);
        roster.entry(peers[3]).heard = None;
        assert_eq!(next(&roster, &current).unwrap(), current);
        // One that leaves goes; smaller than its members that stay the committee never becomes.
        roster.up(peers[2], now);
        roster.up(peers[3], now);
        gone(&mut roster, peers[1]);
        let changed = [peers[0], peers[2], peers[3]];
        assert_eq!(next(&roster, &current).unwrap(), changed);
        for peer in &peers[3..] {
            gone(&mut roster, *peer);
        }
        assert_eq!(next(&roster, &current), None);
        gone(&mut roster, peers[2]);
        assert_eq!(next(&roster, &current).unwrap(), [peers[0]]);
    }

    #[test]
    fn places_are_distinct_and_dense() {
        let (mut roster, peers) = roster(4);
        let now = Mono(1_000_000_000_000);
        for peer in &peers[1..] {
            roster.up(*peer, now);
        }
        let mut places: Vec<u64> = peers
            .iter()
            .map(|peer| roster.place(peer.tag(), now).0)
            .collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3]);
        assert_eq!(
            *places.iter().max().unwrap() + 1,
            roster.place(peers[0].tag(), now).1
        );
    }
}
