//! Which ready task to bid for next on this host, and how many to bid for ahead. Priority comes first: a host never takes a lower
//! one while a higher one that fits is ready. Then the share of its queue and of its user, then the longer, then who shares
//! fewer mounts with what runs here, then affinity, then age. Of lengths that differ by less than a factor of two affinity goes
//! first, then the length: an order that leaves no choice would send every host to the same task.
//!
//! Affinity spreads hosts over the queue without talk: each host takes the tasks that rank it first, from the front, and then
//! those of others, from the back, so that two hosts seldom bid for one task. Bidding ahead hides the way to the witnesses:
//! as much is claimed in advance as was finished lately, so that short tasks stream and long ones are never hoarded. What is
//! claimed ahead stands in the way of nothing more urgent.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Offer;
use crate::graph::TaskIx;
use crate::ids::TaskId;
use crate::queues::{Queues, Share};
use crate::time::Mono;
use crate::units::{Allotment, Units};

/// The order of the ready tasks of a class on one host: the least is taken first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    priority: Reverse<i32>,
    /// The length, roughly.
    octave: Reverse<u32>,
    rank: u64,
    /// The longer and older first of those that rank this host first, the others from the back.
    line: (u64, u64),
    id: TaskId,
    task: TaskIx,
}

/// The order of ready tasks of all classes: the least is taken first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Order {
    priority: Reverse<i32>,
    share: Share,
    octave: Reverse<u32>,
    conflicts: u32,
    key: Key,
}

/// How many binary digits a length has, in seconds.
fn octave(length: Duration) -> u32 {
    u64::BITS - length.as_secs().leading_zeros()
}

/// What ready tasks have in common that are told apart by their keys alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Class {
    /// What one takes of this host.
    pub demand: Demand,
    /// The named queue, or none.
    pub queue: String,
    /// Whose it is.
    pub user: String,
    /// The mounts that it uses much.
    pub io: Vec<String>,
}

/// How urgent a ready task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Urgency {
    /// Higher first.
    pub priority: i32,
    /// Longer first.
    pub duration: Duration,
}

/// What a task takes of this host's room while it runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Demand {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// Bytes.
    pub memory_bytes: u64,
    /// Named resources, in thousandths.
    pub resources: Vec<(String, u32)>,
}

/// What a host has too little room of for a task beside those that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shortage<'a> {
    /// So many processors are taken of so many, in thousandths.
    Cpus(u64, u32),
    /// So many bytes of so many.
    Memory(u64, u64),
    /// So much of a resource of so much, in thousandths.
    Resource(&'a str, u64, u32),
}

/// As it stands before "taken": `3 of 4 cpus`.
impl fmt::Display for Shortage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            |milli: u64| u32::try_from(milli).map_or(f64::MAX, |of| f64::from(of) / 1_000.0);
        match self {
            Self::Cpus(used, has) => {
                write!(f, "{} of {} cpus", whole(*used), whole(u64::from(*has)))
            }
            Self::Memory(used, has) => write!(f, "{} of {} MiB of memory", used >> 20, has >> 20),
            Self::Resource(name, used, has) => {
                write!(f, "{} of {} {name}", whole(*used), whole(u64::from(*has)))
            }
        }
    }
}

/// What is in use or promised on this host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// Thousandths of a processor.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Named resources, in thousandths.
    resources: BTreeMap<String, u64>,
}

impl Room {
    /// Takes what a task demands.
    pub fn take(&mut self, demand: &Demand) {
        self.cpu_milli += u64::from(demand.cpu_milli);
        self.memory_bytes += demand.memory_bytes;
        for (name, milli) in &demand.resources {
            *self.resources.entry(name.clone()).or_default() += u64::from(*milli);
        }
    }

    /// Gives it back.
    pub fn give(&mut self, demand: &Demand) {
        self.cpu_milli = self.cpu_milli.saturating_sub(u64::from(demand.cpu_milli));
        self.memory_bytes = self.memory_bytes.saturating_sub(demand.memory_bytes);
        for (name, milli) in &demand.resources {
            if let Some(used) = self.resources.get_mut(name) {
                *used = used.saturating_sub(u64::from(*milli));
            }
        }
    }

    /// Takes what another has taken.
    fn add(&mut self, other: &Self) {
        self.cpu_milli += other.cpu_milli;
        self.memory_bytes += other.memory_bytes;
        for (name, milli) in &other.resources {
            *self.resources.entry(name.clone()).or_default() += milli;
        }
    }

    /// Says what is too little for one more demand, if something is, where this is in use of what is offered.
    #[must_use]
    pub fn shortage<'a>(&self, offer: &Offer, demand: &'a Demand) -> Option<Shortage<'a>> {
        if self.cpu_milli + u64::from(demand.cpu_milli) > u64::from(offer.cpu_milli) {
            return Some(Shortage::Cpus(self.cpu_milli, offer.cpu_milli));
        }
        if demand.memory_bytes > 0 && self.memory_bytes + demand.memory_bytes > offer.memory_bytes {
            return Some(Shortage::Memory(self.memory_bytes, offer.memory_bytes));
        }
        demand.resources.iter().find_map(|(name, milli)| {
            let (used, has) = (self.of(name), offer.of(name));
            let short = used + u64::from(*milli) > u64::from(has);
            short.then_some(Shortage::Resource(name, used, has))
        })
    }

    fn is_empty(&self) -> bool {
        self.cpu_milli == 0 && self.memory_bytes == 0 && self.resources.values().all(|of| *of == 0)
    }

    /// Returns how much of a resource.
    #[must_use]
    pub fn of(&self, resource: &str) -> u64 {
        self.resources.get(resource).copied().unwrap_or(0)
    }
}

/// The tasks that this host may bid for, and its room.
#[derive(Debug)]
pub struct Schedule {
    offer: Offer,
    ready: BTreeMap<Arc<Class>, BTreeSet<Key>>,
    places: BTreeMap<TaskIx, (Arc<Class>, Key)>,
    /// How many tasks that are claimed or run here use a mount much.
    mounts: BTreeMap<String, u32>,
    /// Runs that were started.
    running: Room,
    units: Units,
    allotted: BTreeMap<TaskIx, Allotment>,
    /// Bids and holds that wait for room, by priority: what is claimed ahead takes no room from what is more urgent.
    ahead: BTreeMap<i32, Room>,
    /// What each task takes that is claimed or runs: it gives back just that, whatever it would demand by then.
    taken: BTreeMap<TaskIx, Taken>,
    pace: Pace,
}

/// What a task has taken, and how urgent it was.
#[derive(Debug, Default)]
struct Taken {
    demand: Demand,
    priority: i32,
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
            units: Units::of(&offer),
            allotted: BTreeMap::new(),
            offer,
            ready: BTreeMap::new(),
            places: BTreeMap::new(),
            mounts: BTreeMap::new(),
            running: Room::default(),
            ahead: BTreeMap::new(),
            taken: BTreeMap::new(),
            pace: Pace::default(),
        }
    }

    /// Says whether a task could run here if nothing else did.
    fn could_ever(&self, demand: &Demand) -> bool {
        self.offer.cpu_milli > 0
            && demand.cpu_milli <= self.offer.cpu_milli
            && demand.memory_bytes <= self.offer.memory_bytes
            && demand
                .resources
                .iter()
                .all(|(name, milli)| *milli <= self.offer.of(name))
    }

    /// Notes that a task is claimed, and takes so much once there is room.
    pub fn claimed(&mut self, task: TaskIx, demand: Demand, priority: i32) {
        self.ahead.entry(priority).or_default().take(&demand);
        self.taken.insert(task, Taken { demand, priority });
    }

    /// Notes that a claim of a task was given up before it started.
    pub fn dropped(&mut self, task: TaskIx) {
        if let Some(taken) = self.taken.remove(&task) {
            self.give_ahead(&taken);
        }
    }

    fn give_ahead(&mut self, Taken { demand, priority }: &Taken) {
        if let Some(room) = self.ahead.get_mut(priority) {
            room.give(demand);
            if room.is_empty() {
                self.ahead.remove(priority);
            }
        }
    }

    /// What runs has, and what is promised to tasks of this priority or a higher one.
    fn promised(&self, priority: i32) -> Room {
        let mut all = self.running.clone();
        for (_, room) in self.ahead.range(priority..) {
            all.add(room);
        }
        all
    }

    fn order(&self, class: &Class, key: Key, queues: &Queues) -> Order {
        Order {
            priority: key.priority,
            share: queues.share(&class.queue, &class.user),
            octave: key.octave,
            conflicts: self.conflicts(&class.io),
            key,
        }
    }

    /// Returns what a task takes that is claimed or runs.
    #[must_use]
    pub fn demand(&self, task: TaskIx) -> Option<&Demand> {
        self.taken.get(&task).map(|taken| &taken.demand)
    }

    /// Returns what has room here, or waits for it: each task that is claimed or runs.
    pub fn in_use(&self) -> impl Iterator<Item = TaskIx> + '_ {
        self.taken.keys().copied()
    }

    /// Says what there is too little room of for one more task of this priority that could run here alone, if of something.
    #[must_use]
    pub fn shortage<'a>(&self, demand: &'a Demand, priority: i32) -> Option<Shortage<'a>> {
        let used = self.promised(priority);
        used.shortage(&self.offer, demand).or_else(|| {
            // Enough in all, and yet no whole unit.
            let mut resources = demand.resources.iter();
            let (name, _) = resources.find(|one| self.units.find(&[(*one).clone()]).is_none())?;
            Some(Shortage::Resource(name, used.of(name), self.offer.of(name)))
        })
    }

    /// Returns the task that is taken first of those that go before one that may be bid for, and how many they are.
    #[must_use]
    pub fn before(&self, task: TaskIx, queues: &Queues) -> Option<(TaskIx, usize)> {
        let order = |class: &Class, key: &Key| self.order(class, *key, queues);
        let (class, key) = self.places.get(&task)?;
        let own = order(class, key);
        let open = self
            .ready
            .iter()
            .filter(|(class, _)| self.could_ever(&class.demand) && queues.has_room(&class.queue));
        let all = open.flat_map(|(class, keys)| keys.iter().map(move |key| order(class, key)));
        let before: Vec<_> = all.filter(|other| *other < own).collect();
        let first = before.iter().min()?;
        Some((first.key.task, before.len()))
    }

    /// Says whether a task that is claimed fits beside what runs.
    #[must_use]
    pub fn fits_now(&self, task: TaskIx) -> bool {
        self.demand(task)
            .is_some_and(|demand| self.fits_beside(demand))
    }

    /// Says whether something that takes so much fits beside what runs.
    #[must_use]
    pub fn fits_beside(&self, demand: &Demand) -> bool {
        self.could_ever(demand)
            && self.running.cpu_milli + u64::from(demand.cpu_milli)
                <= u64::from(self.offer.cpu_milli)
            && self.running.memory_bytes + demand.memory_bytes <= self.offer.memory_bytes
            && self.units.find(&demand.resources).is_some()
    }

    /// Notes that a task that was claimed starts, and returns what it takes and the units that it gets.
    pub fn started(&mut self, task: TaskIx) -> (Demand, Allotment) {
        let taken = self.taken.remove(&task).unwrap_or_default();
        let allotment = self.units.find(&taken.demand.resources);
        let allotment = allotment.unwrap_or_default();
        self.give_ahead(&taken);
        self.resumed(task, taken.demand.clone(), allotment.clone());
        (taken.demand, allotment)
    }

    /// Notes that a task runs, as it did at an earlier start of this host, with these units.
    pub fn resumed(&mut self, task: TaskIx, demand: Demand, allotment: Allotment) {
        self.running.take(&demand);
        let priority = 0;
        self.taken.insert(task, Taken { demand, priority });
        if allotment != Allotment::default() {
            self.units.take(&allotment);
            self.allotted.insert(task, allotment);
        }
    }

    /// Returns the thousandths of a processor that are free.
    #[must_use]
    pub fn free_milli(&self) -> u32 {
        let ahead: u64 = self.ahead.values().map(|room| room.cpu_milli).sum();
        let used = u32::try_from(self.running.cpu_milli + ahead).unwrap_or(u32::MAX);
        self.offer.cpu_milli.saturating_sub(used)
    }

    /// Adds a task to those that may be bid for. `rank` is this host's place for it (0 = first), `age` its place in line.
    pub fn offer_task(
        &mut self,
        task: TaskIx,
        id: TaskId,
        class: Class,
        urgency: Urgency,
        (rank, age): (u64, u64),
    ) {
        self.withdraw(task);
        let length = u64::try_from(urgency.duration.as_millis()).unwrap_or(u64::MAX);
        let line = match rank {
            0 => (u64::MAX - length, age),
            1.. => (length, u64::MAX - age),
        };
        let key = Key {
            priority: Reverse(urgency.priority),
            octave: Reverse(octave(urgency.duration)),
            rank,
            line,
            id,
            task,
        };
        let known = self.ready.get_key_value(&class);
        let class = known.map_or_else(|| Arc::new(class), |(known, _)| Arc::clone(known));
        self.ready
            .entry(Arc::clone(&class))
            .or_default()
            .insert(key);
        self.places.insert(task, (class, key));
    }

    /// Removes a task; one that is not there is no error.
    pub fn withdraw(&mut self, task: TaskIx) {
        let Some((class, key)) = self.places.remove(&task) else {
            return;
        };
        if let Some(keys) = self.ready.get_mut(&class) {
            keys.remove(&key);
            if keys.is_empty() {
                self.ready.remove(&class);
            }
        }
    }

    /// Notes that a task which uses these mounts much is claimed here, or that it is not any more.
    pub fn use_mounts(&mut self, io: &[String], on: bool) {
        for mount in io {
            let users = self.mounts.entry(mount.clone()).or_default();
            *users = if on {
                *users + 1
            } else {
                users.saturating_sub(1)
            };
            if *users == 0 {
                self.mounts.remove(mount);
            }
        }
    }

    fn conflicts(&self, io: &[String]) -> u32 {
        io.iter().filter_map(|mount| self.mounts.get(mount)).sum()
    }

    /// Takes the best task for which there is room now or soon.
    /// After a pause of its queue, hosts take turns of such a step.
    pub fn take(&mut self, now: Mono, queues: &Queues, step: Duration) -> Option<TaskIx> {
        self.pace.roll(now);
        let most = u64::from(self.offer.cpu_milli) * Self::MOST_AHEAD;
        let lookahead = (self.pace.current + self.pace.previous).min(most);
        let cpu = u64::from(self.offer.cpu_milli) + lookahead;
        let fits = |demand: &Demand, priority: i32| {
            let used = self.promised(priority);
            let has_resource = |(name, milli): &(String, u32)| {
                used.of(name) + u64::from(*milli) <= u64::from(self.offer.of(name))
            };
            self.could_ever(demand)
                && used.cpu_milli + u64::from(demand.cpu_milli) <= cpu
                && (demand.memory_bytes == 0
                    || used.memory_bytes + demand.memory_bytes <= self.offer.memory_bytes)
                && demand.resources.iter().all(has_resource)
                && self.units.find(&demand.resources).is_some()
        };
        let best = |(class, keys): (&Arc<Class>, &BTreeSet<Key>)| {
            let key = *keys.first()?;
            let Reverse(priority) = key.priority;
            let open = queues.has_room(&class.queue)
                && queues.is_turn(&class.queue, key.rank, now, step)
                && fits(&class.demand, priority);
            if !open {
                return None;
            }
            Some(self.order(class, key, queues))
        };
        let Order { key, .. } = self.ready.iter().filter_map(best).min()?;
        self.withdraw(key.task);
        Some(key.task)
    }

    /// Notes that a run ended and gives its room back.
    pub fn finished(&mut self, task: TaskIx, now: Mono) {
        let Taken { demand, .. } = self.taken.remove(&task).unwrap_or_default();
        self.running.give(&demand);
        if let Some(allotment) = self.allotted.remove(&task) {
            self.units.give(&allotment);
        }
        self.pace.roll(now);
        self.pace.current += u64::from(demand.cpu_milli);
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

    const STEP: Duration = Duration::from_millis(50);

    fn schedule() -> Schedule {
        Schedule::new(Offer {
            cpu_milli: 2_000,
            memory_bytes: 1 << 30,
            resources: vec![("gpu".to_owned(), 2_000)],
        })
    }

    fn id(n: u64) -> TaskId {
        TaskId { tag: Tag(1), n }
    }

    fn cpus(cpu_milli: u32) -> Demand {
        Demand {
            cpu_milli,
            ..Demand::default()
        }
    }

    fn offer(schedule: &mut Schedule, task: TaskIx, demand: Demand, priority: i32, at: (u64, u64)) {
        let class = Class {
            demand,
            ..Class::default()
        };
        let urgency = Urgency {
            priority,
            ..Urgency::default()
        };
        schedule.offer_task(task, id(u64::from(task)), class, urgency, at);
    }

    fn take(schedule: &mut Schedule) -> Option<TaskIx> {
        schedule.take(Mono(0), &Queues::default(), STEP)
    }

    #[test]
    fn after_priority_come_shares_length_and_mounts() {
        let mut schedule = schedule();
        let mut queues = Queues::default();
        let class = |queue: &str, user: &str, io: &[&str]| Class {
            queue: queue.to_owned(),
            user: user.to_owned(),
            io: io.iter().map(|mount| (*mount).to_owned()).collect(),
            ..Class::default()
        };
        let urgency = |priority, seconds| Urgency {
            priority,
            duration: Duration::from_secs(seconds),
        };
        let mut add = |task: TaskIx, class, urgency| {
            schedule.offer_task(task, id(u64::from(task)), class, urgency, (0, 1));
        };
        queues.enter("", "ann", 90);
        queues.enter("", "ann", 91);
        queues.enter("q", "ann", 92);
        queues.enter("q", "ann", 93);
        add(1, class("", "ann", &[]), urgency(5, 999));
        add(2, class("", "bob", &[]), urgency(5, 10));
        add(3, class("", "bob", &["/mnt/a"]), urgency(5, 20));
        add(4, class("", "bob", &["/mnt/b"]), urgency(5, 20));
        add(5, class("", "zoe", &[]), urgency(9, 0));
        add(6, class("idle", "ann", &[]), urgency(5, 0));
        schedule.use_mounts(&["/mnt/a".to_owned()], true);
        let taken: Vec<TaskIx> =
            std::iter::from_fn(|| schedule.take(Mono(0), &queues, STEP)).collect();
        assert_eq!(taken, [5, 6, 4, 3, 2, 1]);
        schedule.use_mounts(&["/mnt/a".to_owned()], false);
        assert!(schedule.mounts.is_empty());
    }

    #[test]
    fn order_table() {
        let mut schedule = schedule();
        let needs = cpus(0);
        offer(&mut schedule, 1, needs.clone(), 1_000, (1, 1));
        offer(&mut schedule, 2, needs.clone(), 1_000, (0, 2));
        offer(&mut schedule, 3, needs.clone(), 1_000, (0, 3));
        offer(&mut schedule, 4, needs.clone(), 2_000, (2, 4));
        offer(&mut schedule, 5, needs, 1_000, (1, 5));
        let taken: Vec<TaskIx> = std::iter::from_fn(|| take(&mut schedule)).collect();
        assert_eq!(
            taken,
            [4, 2, 3, 5, 1],
            "priority, own rank from the front, others' from the back"
        );
    }

    #[test]
    fn only_what_fits_is_taken() {
        let mut schedule = schedule();
        let small = cpus(500);
        let big = cpus(2_000);
        offer(&mut schedule, 1, big, 9_999, (0, 1));
        offer(&mut schedule, 2, cpus(3_000), 9_999, (0, 2));
        offer(&mut schedule, 3, small.clone(), 1, (0, 3));
        schedule.claimed(9, small.clone(), 9_999);
        assert_eq!(take(&mut schedule), Some(3));
        assert_eq!(take(&mut schedule), None);
        schedule.dropped(9);
        assert_eq!(take(&mut schedule), Some(1));
    }

    #[test]
    fn affinity_goes_before_small_differences_in_length() {
        let mut schedule = schedule();
        let mut long = |task, seconds, rank| {
            let urgency = Urgency {
                priority: 0,
                duration: Duration::from_secs(seconds),
            };
            let id = TaskId {
                tag: Tag(1),
                n: u64::from(task),
            };
            let class = Class {
                demand: cpus(100),
                ..Class::default()
            };
            schedule.offer_task(task, id, class, urgency, (rank, 0));
        };
        long(1, 15, 1);
        long(2, 9, 0);
        long(3, 16, 5);
        long(4, 12, 0);
        long(5, 10, 1);
        let order: Vec<TaskIx> = std::iter::from_fn(|| take(&mut schedule)).collect();
        assert_eq!(order, [3, 4, 2, 5, 1], "those of others from the shortest");
    }

    #[test]
    fn what_is_claimed_ahead_takes_no_room_from_what_is_more_urgent() {
        let mut schedule = schedule();
        schedule.claimed(8, cpus(1_000), 5);
        schedule.claimed(9, cpus(1_000), 5);
        offer(&mut schedule, 1, cpus(1_000), 5, (0, 1));
        assert_eq!(take(&mut schedule), None, "others of its kind go first");
        offer(&mut schedule, 2, cpus(2_000), 6, (0, 2));
        assert_eq!(take(&mut schedule), Some(2));
        schedule.claimed(2, cpus(2_000), 6);
        offer(&mut schedule, 3, cpus(500), 6, (0, 3));
        assert_eq!(take(&mut schedule), None);
        // What runs is in everybody's way.
        schedule.started(2);
        offer(&mut schedule, 4, cpus(500), 99, (0, 4));
        assert_eq!(take(&mut schedule), None);
        schedule.finished(2, Mono(0));
        schedule.dropped(8);
        assert_eq!(take(&mut schedule), Some(4));
        assert_eq!(schedule.free_milli(), 1_000);
    }

    #[test]
    fn pace_lets_short_tasks_be_claimed_ahead() {
        let mut schedule = schedule();
        let needs = cpus(1_000);
        let now = Mono(1_000_000_000);
        for n in 0..10 {
            offer(&mut schedule, n, needs.clone(), 0, (0, u64::from(n)));
        }
        schedule.claimed(98, needs.clone(), 0);
        schedule.claimed(99, needs.clone(), 0);
        assert_eq!(schedule.take(now, &Queues::default(), STEP), None);
        for _ in 0..3 {
            schedule.resumed(97, needs.clone(), Allotment::default());
            schedule.finished(97, now);
        }
        assert!(schedule.take(now, &Queues::default(), STEP).is_some());
        assert_eq!(
            schedule.take(now + Duration::from_secs(1), &Queues::default(), STEP),
            None,
            "what was finished long ago does not count"
        );
    }
    #[test]
    fn units_are_handed_out_once() {
        let mut schedule = schedule();
        let demand = |milli| Demand {
            resources: vec![("gpu".to_owned(), milli)],
            ..Demand::default()
        };
        for (task, milli) in [(1, 1_500), (2, 500), (3, 1_000)] {
            offer(&mut schedule, task, demand(milli), 0, (0, 1));
        }
        assert_eq!(take(&mut schedule), Some(1));
        schedule.claimed(1, demand(1_500), 0);
        assert_eq!(take(&mut schedule), Some(2), "half a unit is not promised");
        schedule.claimed(2, demand(500), 0);
        assert_eq!(take(&mut schedule), None);
        let parts = |(_, allotment): (Demand, Allotment)| allotment.0[0].1.clone();
        assert_eq!(parts(schedule.started(1)), [(0, 1_000), (1, 500)]);
        assert_eq!(parts(schedule.started(2)), [(1, 500)]);
        assert!(!schedule.fits_beside(&demand(1_000)));
        schedule.finished(2, Mono(0));
        assert!(
            !schedule.fits_beside(&demand(1_000)),
            "the other half is in use"
        );
        schedule.finished(1, Mono(0));
        assert_eq!(take(&mut schedule), Some(3));
    }
}
