//! Which ready task to bid for next on this host: priority, then affinity, then age; and how many to bid for ahead.
//!
//! Affinity spreads hosts over the queue without talk: each host takes the tasks that rank it first, from the front, and then
//! those of others, from the back, so that two hosts seldom bid for one task. Bidding ahead hides the way to the witnesses:
//! as much is claimed in advance as was finished lately, so that short tasks stream and long ones are never hoarded.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::Offer;
use crate::graph::TaskIx;
use crate::ids::TaskId;
use crate::task::Needs;
use crate::time::Mono;

/// The order of ready tasks on one host: the least is taken first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    priority: Reverse<i32>,
    rank: u64,
    age: u64,
    id: TaskId,
    task: TaskIx,
}

/// What is in use or promised on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// Thousandths of a processor.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

impl Room {
    /// Takes the needs of a task.
    pub fn take(&mut self, needs: Needs) {
        self.cpu_milli += u64::from(needs.cpu_milli);
        self.memory_bytes += needs.memory_bytes;
    }

    /// Gives them back.
    pub fn give(&mut self, needs: Needs) {
        self.cpu_milli = self.cpu_milli.saturating_sub(u64::from(needs.cpu_milli));
        self.memory_bytes = self.memory_bytes.saturating_sub(needs.memory_bytes);
    }
}

/// The tasks that this host may bid for, and its room.
#[derive(Debug)]
pub struct Schedule {
    offer: Offer,
    ready: BTreeMap<Needs, BTreeSet<Key>>,
    places: BTreeMap<TaskIx, (Needs, Key)>,
    /// Runs that were started.
    pub running: Room,
    /// Bids and holds that wait for room.
    pub ahead: Room,
    pace: Pace,
}

/// How much was finished lately: two buckets of [`Pace::BUCKET`].
#[derive(Debug, Default)]
struct Pace {
    since: Mono,
    current: u64,
    previous: u64,
}

impl Pace {
    const BUCKET: Duration = Duration::from_millis(64);

    fn roll(&mut self, now: Mono) {
        let age = now.since(self.since);
        if age >= 2 * Self::BUCKET {
            *self = Self {
                since: now,
                current: 0,
                previous: 0,
            };
        } else if age >= Self::BUCKET {
            *self = Self {
                since: self.since + Self::BUCKET,
                current: 0,
                previous: self.current,
            };
        }
    }
}

impl Schedule {
    /// The most that is claimed ahead, as a multiple of what the host offers.
    const MOST_AHEAD: u64 = 128;

    /// Returns the schedule of a host that offers so much.
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        Self {
            offer,
            ready: BTreeMap::new(),
            places: BTreeMap::new(),
            running: Room::default(),
            ahead: Room::default(),
            pace: Pace::default(),
        }
    }

    /// Says whether a task could run here if nothing else did.
    #[must_use]
    pub fn could_ever(&self, needs: Needs) -> bool {
        self.offer.cpu_milli > 0
            && needs.cpu_milli <= self.offer.cpu_milli
            && needs.memory_bytes <= self.offer.memory_bytes
    }

    /// Says whether a task fits beside what runs.
    #[must_use]
    pub fn fits_now(&self, needs: Needs) -> bool {
        self.could_ever(needs)
            && self.running.cpu_milli + u64::from(needs.cpu_milli)
                <= u64::from(self.offer.cpu_milli)
            && self.running.memory_bytes + needs.memory_bytes <= self.offer.memory_bytes
    }

    /// Returns the thousandths of a processor that are free.
    #[must_use]
    pub fn free_milli(&self) -> u32 {
        let used = u32::try_from(self.running.cpu_milli + self.ahead.cpu_milli).unwrap_or(u32::MAX);
        self.offer.cpu_milli.saturating_sub(used)
    }

    /// Adds a task to those that may be bid for. `rank` is this host's place for it (0 = first), `age` its place in line.
    pub fn offer_task(
        &mut self,
        task: TaskIx,
        id: TaskId,
        needs: Needs,
        priority: i32,
        rank: u64,
        age: u64,
    ) {
        self.withdraw(task);
        let age = if rank == 0 { age } else { u64::MAX - age };
        let key = Key {
            priority: Reverse(priority),
            rank,
            age,
            id,
            task,
        };
        self.ready.entry(needs).or_default().insert(key);
        self.places.insert(task, (needs, key));
    }

    /// Removes a task; one that is not there is no error.
    pub fn withdraw(&mut self, task: TaskIx) {
        let Some((needs, key)) = self.places.remove(&task) else {
            return;
        };
        if let Some(keys) = self.ready.get_mut(&needs) {
            keys.remove(&key);
            if keys.is_empty() {
                self.ready.remove(&needs);
            }
        }
    }

    /// Takes the best task for which there is room now or soon.
    pub fn take(&mut self, now: Mono) -> Option<TaskIx> {
        self.pace.roll(now);
        let most = u64::from(self.offer.cpu_milli) * Self::MOST_AHEAD;
        let lookahead = (self.pace.current + self.pace.previous).min(most);
        let cpu = u64::from(self.offer.cpu_milli) + lookahead;
        let used = self.running.cpu_milli + self.ahead.cpu_milli;
        let memory = self.running.memory_bytes + self.ahead.memory_bytes;
        let fits = |needs: &Needs| {
            self.could_ever(*needs)
                && used + u64::from(needs.cpu_milli) <= cpu
                && (needs.memory_bytes == 0
                    || memory + needs.memory_bytes <= self.offer.memory_bytes)
        };
        let task = self
            .ready
            .iter()
            .filter(|(needs, _)| fits(needs))
            .filter_map(|(_, keys)| keys.first())
            .min()?
            .task;
        self.withdraw(task);
        Some(task)
    }

    /// Notes that a run ended and gives its room back.
    pub fn finished(&mut self, needs: Needs, now: Mono) {
        self.running.give(needs);
        self.pace.roll(now);
        self.pace.current += u64::from(needs.cpu_milli);
    }

    /// Returns how many tasks may be bid for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Says whether no task may be bid for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Tag;

    fn schedule() -> Schedule {
        Schedule::new(Offer {
            cpu_milli: 2_000,
            memory_bytes: 1 << 30,
        })
    }

    fn id(n: u64) -> TaskId {
        TaskId { tag: Tag(1), n }
    }

    #[test]
    fn order_table() {
        let mut schedule = schedule();
        let needs = Needs {
            cpu_milli: 0,
            memory_bytes: 0,
        };
        schedule.offer_task(1, id(1), needs, 1_000, 1, 1);
        schedule.offer_task(2, id(2), needs, 1_000, 0, 2);
        schedule.offer_task(3, id(3), needs, 1_000, 0, 3);
        schedule.offer_task(4, id(4), needs, 2_000, 2, 4);
        schedule.offer_task(5, id(5), needs, 1_000, 1, 5);
        let taken: Vec<TaskIx> = std::iter::from_fn(|| schedule.take(Mono(0))).collect();
        assert_eq!(
            taken,
            [4, 2, 3, 5, 1],
            "priority, own rank from the front, others' from the back"
        );
    }

    #[test]
    fn only_what_fits_is_taken() {
        let mut schedule = schedule();
        let small = Needs {
            cpu_milli: 500,
            memory_bytes: 0,
        };
        let big = Needs {
            cpu_milli: 2_000,
            memory_bytes: 0,
        };
        schedule.offer_task(1, id(1), big, 9_999, 0, 1);
        schedule.offer_task(
            2,
            id(2),
            Needs {
                cpu_milli: 3_000,
                memory_bytes: 0,
            },
            9_999,
            0,
            2,
        );
        schedule.offer_task(3, id(3), small, 1, 0, 3);
        schedule.ahead.take(small);
        assert_eq!(schedule.take(Mono(0)), Some(3));
        assert_eq!(schedule.take(Mono(0)), None);
        schedule.ahead.give(small);
        assert_eq!(schedule.take(Mono(0)), Some(1));
    }

    #[test]
    fn pace_lets_short_tasks_be_claimed_ahead() {
        let mut schedule = schedule();
        let needs = Needs::default();
        let now = Mono(1_000_000_000);
        for n in 0..10 {
            schedule.offer_task(n, id(u64::from(n)), needs, 0, 0, u64::from(n));
        }
        schedule.ahead.take(needs);
        schedule.ahead.take(needs);
        assert_eq!(schedule.take(now), None);
        for _ in 0..3 {
            schedule.running.take(needs);
            schedule.finished(needs, now);
        }
        assert!(schedule.take(now).is_some());
        assert_eq!(
            schedule.take(now + Duration::from_secs(1)),
            None,
            "what was finished long ago does not count"
        );
    }
}
