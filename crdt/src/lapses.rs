//! Which segments have lapsed: all in them ended so long ago that nobody keeps it any more.
//!
//! Every host judges by its own clock and states what it finds, an author's segments as ranges of their numbers. A segment has lapsed
//! once as many hosts have stated it as make up a majority of its committee: one host whose clock is wrong, or that is told a wrong
//! retention, takes nothing from the others. What was stated is never taken back. Pure, and the same on every host that knows the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{PeerId, SegmentId, Tag};

/// Consecutive segments of one author.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub from: u32,
    /// The one after the last.
    pub until: u32,
    /// How many hosts must state it: a majority of each one's committee.
    pub need: u8,
}

/// What one host states of one author's segments.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Lapsed {
    /// No task of these segments has this number or a higher one.
    pub next_task: u64,
    /// In order, apart from each other.
    pub ranges: Vec<Range>,
}

impl Lapsed {
    /// The most ranges that a host states of one author: more only where as many segments between them do not end.
    pub const MOST: usize = 1_024;

    /// Says whether a host can have stated this.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let whole = |range: &Range| range.from < range.until && (1..=3).contains(&range.need);
        let apart = |pair: &[Range]| {
            let [a, b] = pair else { return true };
            a.until < b.from || a.until == b.from && a.need != b.need
        };
        self.ranges.len() <= Self::MOST
            && self.ranges.iter().all(whole)
            && self.ranges.windows(2).all(apart)
    }

    /// Returns how many hosts must state a segment, if it is among these.
    #[must_use]
    pub fn need(&self, n: u32) -> Option<u8> {
        let after = self.ranges.partition_point(|range| range.from <= n);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (n < range.until).then_some(range.need)
    }

    /// Adds a segment, whose tasks have lower numbers than `next_task`. Says whether there was room.
    pub fn add(&mut self, n: u32, need: u8, next_task: u64) -> bool {
        if self.need(n).is_some() {
            return true;
        }
        let Some(next) = n.checked_add(1) else {
            return false;
        };
        let at = self.ranges.partition_point(|range| range.from <= n);
        let touches_before = at > 0 && {
            let before = &self.ranges[at - 1];
            before.until == n && before.need == need
        };
        let after = self.ranges.get(at).copied();
        let touches_after = after.is_some_and(|after| after.from == next && after.need == need);
        match (touches_before, touches_after) {
            (true, true) => {
                self.ranges[at - 1].until = self.ranges[at].until;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].until = next,
            (false, true) => self.ranges[at].from = n,
            (false, false) if self.ranges.len() >= Self::MOST => return false,
            (false, false) => {
                let range = Range {
                    from: n,
                    until: next,
                    need,
                };
                self.ranges.insert(at, range);
            }
        }
        self.next_task = self.next_task.max(next_task);
        true
    }

    /// Says whether all of an earlier statement is in this one.
    fn includes(&self, earlier: &Self) -> bool {
        let holds = |range: &Range| {
            let after = self.ranges.partition_point(|own| own.from <= range.from);
            let own = after.checked_sub(1).map(|at| self.ranges[at]);
            own.is_some_and(|own| own.need == range.need && own.until >= range.until)
        };
        self.next_task >= earlier.next_task && earlier.ranges.iter().all(holds)
    }
}

/// What every host has stated.
#[derive(Clone, Debug, Default)]
pub struct Lapses(BTreeMap<PeerId, BTreeMap<Tag, Lapsed>>);

impl Lapses {
    /// Takes what a host states of an author's segments. Says whether it did: nothing is taken back.
    pub fn take(&mut self, author: PeerId, writer: Tag, stated: Lapsed) -> bool {
        let before = self.0.entry(author).or_default().entry(writer).or_default();
        let goes_on = stated.includes(before);
        if goes_on {
            *before = stated;
        }
        goes_on
    }

    /// Returns what a host has stated of an author's segments.
    #[must_use]
    pub fn by(&self, author: PeerId, writer: Tag) -> Option<&Lapsed> {
        self.0.get(&author)?.get(&writer)
    }

    /// Says whether a segment has lapsed.
    #[must_use]
    pub fn has(&self, id: SegmentId) -> bool {
        let needs = self.needs(id);
        let (count, need) = needs.fold((0, u8::MAX), |(count, need), own| {
            (
                count + 1_usize,
                if count == 0 { own } else { need.max(own) },
            )
        });
        count >= usize::from(need)
    }

    /// Says whether any host has stated that a segment has lapsed.
    #[must_use]
    pub fn is_stated(&self, id: SegmentId) -> bool {
        self.needs(id).next().is_some()
    }

    fn needs(&self, id: SegmentId) -> impl Iterator<Item = u8> + '_ {
        let stated = self.0.get(&id.author).into_iter();
        stated.flat_map(move |by| by.values().filter_map(move |lapsed| lapsed.need(id.n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> SegmentId {
        SegmentId {
            author: PeerId([7; 32]),
            n,
        }
    }

    #[test]
    fn ranges_grow_together_in_any_order() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut numbers: Vec<u32> = (0..40).filter(|_| rng.bool()).collect();
            rng.shuffle(&mut numbers);
            let need = |n: u32| if n < 20 { 2 } else { 3 };
            let mut lapsed = Lapsed::default();
            for n in &numbers {
                let before = lapsed.clone();
                assert!(lapsed.add(*n, need(*n), u64::from(n * 10)));
                assert!(lapsed.is_sound() && lapsed.includes(&before), "{lapsed:?}");
            }
            for n in 0..41 {
                let stated = numbers.contains(&n).then(|| need(n));
                assert_eq!(lapsed.need(n), stated, "{n}");
            }
            let highest = numbers.iter().max().map_or(0, |n| u64::from(n * 10));
            assert_eq!(lapsed.next_task, highest);
        }
    }

    #[test]
    fn a_segment_lapses_by_a_majority_and_for_good() {
        let mut lapses = Lapses::default();
        let author = id(0).author;
        let stated = |until: u32| Lapsed {
            next_task: 5,
            ranges: vec![Range {
                from: 0,
                until,
                need: 2,
            }],
        };
        assert!(lapses.take(author, Tag(1), stated(3)));
        assert!(!lapses.has(id(1)) && lapses.is_stated(id(1)));
        assert!(lapses.take(author, Tag(1), stated(4)), "one host, twice");
        assert!(!lapses.has(id(1)));
        assert!(lapses.take(author, Tag(2), stated(2)));
        assert!(lapses.has(id(1)) && !lapses.has(id(2)) && !lapses.has(id(9)));
        assert!(!lapses.take(author, Tag(1), stated(1)), "it shrinks");
        assert!(lapses.has(id(1)));
    }

    #[test]
    fn what_nobody_can_state_is_unsound() {
        let range = |from, until, need| Range { from, until, need };
        for ranges in [
            vec![range(3, 3, 1)],
            vec![range(0, 3, 0)],
            vec![range(0, 3, 4)],
            vec![range(0, 3, 2), range(3, 4, 2)],
            vec![range(4, 5, 2), range(0, 3, 2)],
            vec![range(0, 3, 2), range(2, 4, 1)],
        ] {
            let lapsed = Lapsed {
                next_task: 1,
                ranges,
            };
            assert!(!lapsed.is_sound(), "{lapsed:?}");
        }
        let full = (0..=1_024).map(|n| range(2 * n, 2 * n + 1, 2));
        let mut full = Lapsed {
            next_task: 1,
            ranges: full.collect(),
        };
        assert!(!full.is_sound());
        full.ranges.pop();
        assert!(full.is_sound() && !full.add(9_999, 2, 1) && full.add(1, 2, 1));
    }
}
