//! The replica: a copy of every document, and the roles that this node plays in them.
//!
//! It routes and orders; the rules are in [`crate::witness`], [`crate::claim`] and [`crate::resolve`]. Three laws live here only:
//! 1. deadlines first: expired holds are lost at `now` before the input is looked at;
//! 2. durable first: no frame or reply shows a change of ours before its `Persisted` came back;
//! 3. truth by sync: a pushed change is a hint that may be lost; the exchange of digests alone brings replicas together.
//!
//! Reading order: `mod` (state, dispatch), `fold` (documents to tasks), `sleepers` (elements of arrays that nothing has happened to), `react` (what a touched task makes this node do),
//! `claims` (bids, holds, runs), `resume` (those of an earlier start), `life` (when it may start, and when a run is too long), `places` (what it needs of file systems), `committees` (their
//! replacement), `queues` (settings of the mesh, named queues), `edits` (what tasks are to be otherwise), `removal` (tasks that nobody is to see any more), `flush` (writing),
//! `gossip` (frames), `people` (submissions, wishes), `keyed` (submissions with a key), `links` (what a submission may name), `presence`, `views`, `outlook` (why a task waits), `explain` (why it does not run on this host).

mod claims;
mod committees;
mod edits;
mod explain;
mod flush;
mod fold;
mod gossip;
mod keyed;
mod lapse;
mod life;
mod links;
mod outlook;
mod people;
mod places;
mod presence;
mod queues;
mod react;
mod removal;
mod resume;
mod sleepers;
mod views;
mod waits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::claim::{Answers, Claim};
use crate::config::{Config, Sabotage};
use crate::entry::Header;
use crate::event::{FoundRun, Input, Output};
use crate::fit::RunsAs;
use crate::generation::Replacement;
use crate::graph::{Graph, TaskIx};
use crate::ids::{Digest, DocId, Epoch, Generation, Incarnation, PeerId, SegmentId, Tag, TaskId};
use crate::lapses::Lapses;
use crate::ledger::Ledger;
use crate::offences::Offences;
use crate::places::Places;
use crate::queues::Queues;
use crate::registers::Registers;
use crate::roster::Roster;
use crate::schedule::Schedule;
use crate::settings::{RootTasks, Settings};
use crate::task::{Element, Environment, Membership, Outcome, TaskSpec, TaskState};
use crate::time::{Hlc, Mono, Now, Timing, Wall};
use crate::turns::Turns;

pub use committees::Stranded;
pub use explain::{Hindrance, HindranceKind};
pub use lapse::Dropped;
pub use outlook::{Delay, Lack, Obstacle, Outlook};
pub use queues::QueueView;
pub use views::{Counters, Glance, Memory};

use self::edits::Edited;
use self::flush::{Flight, Staged};
use self::people::{Open, Parked, Unanswered};

/// The most tasks of one segment.
pub const SEGMENT_TASKS: u16 = 1_024;

/// One task as this replica knows it.
#[derive(Debug)]
struct Task {
    id: TaskId,
    segment: SegmentId,
    index: u16,
    /// `None` until the author's chunk has arrived. With what was edited since.
    spec: Option<Arc<TaskSpec>>,
    /// As it was submitted, if it was edited.
    stated: Option<Arc<TaskSpec>>,
    /// Its place among the tasks that the spec stands for.
    offset: u32,
    registers: Registers,
    /// The flush that carries the newest own entry; it counts once that flush is durable.
    staged: u64,
    /// When this node voted here last.
    voted: Mono,
    /// When a bid, a give-up or an outcome was seen last, or the task became ready.
    changed: Mono,
    state: TaskState,
    reason: Option<String>,
    complete: Option<Arc<Outcome>>,
    claim: Option<Claim>,
    /// Dependencies that have not ended as they must yet.
    unmet: u32,
    /// The dependency that ended otherwise.
    doomed: Option<TaskId>,
    /// This host could not start it.
    unfit: Option<Unfit>,
    /// The pending timer.
    wake: Option<Mono>,
    /// It is counted among those that are claimed or run.
    active: bool,
    /// Nobody is to see it any more.
    removed: bool,
    /// The order in which tasks became known here, the elements of an array in their own.
    line: (u32, u32),
}

/// That a host could not start a task.
#[derive(Debug, Clone)]
struct Unfit {
    /// It does not try again before then.
    until: Mono,
    /// It grows each time.
    pause: Duration,
    why: String,
}

impl Task {
    /// Returns a task of which nothing is known yet but its place.
    fn new(
        id: TaskId,
        segment: SegmentId,
        index: u16,
        generation: Generation,
        broken: Option<Sabotage>,
        now: Mono,
    ) -> Self {
        Self {
            id,
            segment,
            index,
            spec: None,
            stated: None,
            offset: 0,
            registers: Registers::begin(generation, broken),
            staged: 0,
            voted: now,
            changed: now,
            state: TaskState::Creating,
            reason: None,
            complete: None,
            claim: None,
            unmet: 0,
            doomed: None,
            unfit: None,
            wake: None,
            active: false,
            removed: false,
            line: (0, 0),
        }
    }

    fn is_member_of(&self) -> Option<Membership> {
        let member = self.spec.as_ref()?.member_of?;
        Some(Membership {
            index: member.index.saturating_add(self.offset),
            ..member
        })
    }

    fn priority(&self) -> i32 {
        self.spec.as_deref().map_or(0, |spec| spec.priority)
    }

    fn element(&self) -> Option<Element> {
        let elements = self.spec.as_ref()?.options.elements.as_ref()?;
        elements.at(self.offset)
    }

    /// Its id as people type it.
    fn label(&self) -> String {
        self.label_of(0)
    }

    /// The same of one so far behind it for which it stands.
    fn label_of(&self, after: u32) -> String {
        let array = self.is_member_of().map(|member| member.group);
        let elements = self
            .spec
            .as_ref()
            .and_then(|spec| spec.options.elements.as_ref());
        let element = elements.and_then(|elements| elements.at(self.offset + after));
        element.zip(array).map_or_else(
            || self.id.plus(after).to_string(),
            |(element, array)| element.label(array),
        )
    }
}

/// One segment as this replica knows it.
#[derive(Debug)]
struct Segment {
    committee: Vec<Tag>,
    peers: Vec<PeerId>,
    /// Which committee this is.
    generation: Generation,
    /// When this node heard that it decides.
    since: Mono,
    /// The committee before.
    before: Vec<Tag>,
    /// What was said about the replacement of each committee.
    replacements: BTreeMap<Generation, Replacement>,
    /// The newest of that was heard then.
    moved: Mono,
    /// Since when a member is missing for good.
    missing: Option<Mono>,
    /// How long its witnesses wait for silent claimants, as they have stated.
    waits: BTreeMap<Tag, Duration>,
    /// The longest that members of earlier committees have stated.
    waited_before: Duration,
    /// The flush that carries the newest own word about it.
    staged: u64,
    /// Own changes in it when this node was sealed last: its votes before that answer nobody (rule R4).
    sealed_at: u32,
    /// Commands without an outcome.
    unfinished: u32,
    first: u64,
    created: Wall,
    /// How many places it has, once its author has ended it.
    specs: Option<u16>,
    /// By their places; none: it sleeps, or nothing of it has arrived.
    tasks: Vec<Option<TaskIx>>,
    /// The places of tasks that stand for those after them, and for how many, themselves among them.
    sleepers: BTreeMap<u16, u16>,
    environments: BTreeMap<Digest, Arc<Environment>>,
    /// Own changes in it when this process started: acks before that do not count (rule R4).
    boot_count: u32,
    /// Runs of earlier starts that this node's counter still shows as alive.
    own_live: i64,
}

impl Segment {
    fn new(header: &Header, now: Mono) -> Self {
        Self {
            committee: header.committee.iter().map(PeerId::tag).collect(),
            peers: header.committee.clone(),
            generation: Generation::FIRST,
            since: now,
            before: Vec::new(),
            replacements: BTreeMap::new(),
            moved: Mono(0),
            missing: None,
            waits: BTreeMap::new(),
            waited_before: Duration::ZERO,
            staged: 0,
            sealed_at: 0,
            unfinished: 0,
            first: header.first,
            created: header.created,
            specs: None,
            tasks: Vec::new(),
            sleepers: BTreeMap::new(),
            environments: BTreeMap::new(),
            boot_count: 0,
            own_live: 0,
        }
    }

    /// What is said about the replacement of the present committee.
    fn replacement(&self) -> Option<&Replacement> {
        self.replacements.get(&self.generation)
    }

    /// Says whether somebody else stands for the task at a place.
    fn sleeps(&self, place: u16) -> bool {
        let before = self.sleepers.range(..place).next_back();
        before.is_some_and(|(first, count)| place - first < *count)
    }

    /// Says whether this member of the present committee votes and answers no more.
    fn is_sealed(&self, member: Tag) -> bool {
        self.replacement()
            .is_some_and(|replacement| replacement.is_sealed(member))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Committees,
    Heartbeat,
    Beat,
    Sync,
    Flush,
    Turn,
    Parked,
    Unanswered,
    Places,
    Task(TaskIx),
}

/// See [`Replica::started_with`].
#[derive(Debug)]
struct StartedWith {
    timing: Timing,
    replace_after: Duration,
    most_losses: u32,
}

/// A copy of every document and the roles that this node plays in them. See the module.
#[derive(Debug)]
pub struct Replica {
    me: PeerId,
    tag: Tag,
    name: String,
    version: String,
    incarnation: Incarnation,
    /// By what it goes: the mesh's lease and heartbeat, and the rest of what it was started with.
    timing: Timing,
    /// What it has stated of its waits may be less than these times ask for.
    waits_to_state: bool,
    committee_size: u8,
    replace_after: Duration,
    offered: crate::config::Offer,
    platform: String,
    runs_as: RunsAs,
    /// Where tasks of root may run.
    root_tasks: RootTasks,
    most_losses: u32,
    /// What it was told at its start, where settings of the mesh may say otherwise.
    started_with: StartedWith,
    broken: Option<Sabotage>,
    chance: fastrand::Rng,

    now: Now,
    booted: Mono,
    /// When this node started, or went on after it had stood still: what was in its sockets meanwhile counts as answered then.
    awake: Mono,
    ledger: Ledger,
    roster: Roster,
    alive: Vec<Tag>,
    graph: Graph,
    schedule: Schedule,
    places: Places,
    settings: Settings,
    queues: Queues,
    /// Of own claims in queues with slots: what was active there when they were bid for.
    ahead_in_queue: BTreeMap<TaskIx, BTreeSet<TaskIx>>,

    tasks: Vec<Task>,
    /// Places in it where there is no task any more.
    vacant: Vec<TaskIx>,
    /// How many tasks became known.
    known_tasks: u32,
    ids: BTreeMap<TaskId, TaskIx>,
    /// Those that stand for others, which sleep.
    sleeping: BTreeMap<TaskId, TaskIx>,
    /// The tasks of each key.
    keyed: BTreeMap<keyed::Owned, BTreeSet<keyed::Age>>,
    segments: BTreeMap<SegmentId, Segment>,
    /// Those with commands that have no outcome yet.
    live: BTreeSet<SegmentId>,
    /// Those whose committee somebody wants replaced.
    contested: BTreeSet<SegmentId>,
    /// Those in which something was said about that which was not looked at yet.
    unsettled: BTreeSet<SegmentId>,
    dirty: BTreeSet<TaskIx>,
    /// Those that wait for an instant of the wall clock, and some that did.
    clocked: BTreeSet<TaskIx>,
    /// Those that were removed, and whose output was not asked for since.
    discarded: BTreeSet<TaskIx>,
    edited: Option<Edited>,
    lapses: Lapses,
    /// Those that have lapsed and are here still.
    lapsing: BTreeSet<SegmentId>,
    /// Those that are over, which was not stated yet.
    over: BTreeSet<SegmentId>,
    /// The last segment that was looked at for that; none: the next is the first.
    looked_at: Option<SegmentId>,
    stated_lapses: Option<Mono>,
    /// The flush that carries the newest such statement, own or another's.
    lapses_flush: u64,
    /// Outputs that were captured here of tasks that were dropped.
    orphaned: BTreeSet<Digest>,

    claims: BTreeSet<TaskIx>,
    heartbeat_due: bool,
    deadlines: BTreeSet<(Mono, TaskIx)>,
    held: BTreeSet<(std::cmp::Reverse<i32>, u64, TaskIx)>,
    turns: Turns,
    answers: Answers,
    acked: BTreeMap<Tag, Mono>,
    left: BTreeMap<(SegmentId, Tag), u32>,

    staged: BTreeMap<DocId, Staged>,
    foreign: Vec<Arc<[u8]>>,
    foreign_bytes: usize,
    to_confirm: BTreeMap<(PeerId, DocId), u32>,
    flight: Option<Flight>,
    flush: u64,
    durable: u64,
    last_flush: Mono,
    stalled: bool,

    open: Option<Open>,
    next_n: u64,
    parked: Vec<Parked>,
    unanswered: Vec<Unanswered>,
    confirmed: BTreeMap<(SegmentId, Tag), u32>,
    stamp: Hlc,
    draining: bool,
    most_claims: usize,
    /// Neighbours that had, at some instant since they were connected, exactly what this node has.
    in_step: BTreeSet<Tag>,
    /// Lasting documents in which a neighbour differed from this node when both were compared last.
    differing: BTreeMap<Tag, usize>,
    addresses: Vec<String>,
    beats: u32,
    load_centi: u32,
    progress: Vec<(TaskId, String)>,

    forward: BTreeMap<PeerId, Vec<Arc<[u8]>>>,
    next_sync: Option<Mono>,
    asked: BTreeMap<(PeerId, DocId), Mono>,
    timers: BTreeSet<(Mono, Timer)>,
    outputs: VecDeque<Output>,
    counters: Counters,
    offences: Offences,
}

impl Replica {
    /// Returns the replica of a node that starts now; `records` is what its log holds, in order.
    ///
    /// `found` are the runs of earlier incarnations that their guard still has. Their claims go on, without a hold until a
    /// majority has answered anew; the caller feeds `RunStarted` for those that were started and `RunEnded` for those that
    /// ended, as for any run. All other bids of earlier incarnations are given up: the caller has made sure that no run of them
    /// is alive or can start (C2, G3).
    #[must_use]
    pub fn new(config: Config, records: Vec<Arc<[u8]>>, found: &[FoundRun], now: Now) -> Self {
        let me = config.keys.me();
        let mut replica = Self {
            me,
            tag: me.tag(),
            name: config.name,
            version: config.version,
            incarnation: config.incarnation,
            timing: config.timing,
            waits_to_state: true,
            committee_size: config.committee,
            replace_after: config.replace_after,
            offered: config.offer.clone(),
            platform: config.platform,
            runs_as: config.runs_as,
            root_tasks: RootTasks::default(),
            most_losses: config.most_losses,
            started_with: StartedWith {
                timing: config.timing,
                replace_after: config.replace_after,
                most_losses: config.most_losses,
            },
            broken: None,
            chance: fastrand::Rng::with_seed(config.seed),
            now,
            booted: now.mono,
            awake: now.mono,
            ledger: Ledger::new(config.keys, config.incarnation),
            roster: Roster::new(me),
            alive: vec![me.tag()],
            graph: Graph::default(),
            schedule: Schedule::new(config.offer),
            places: Places::default(),
            settings: Settings::default(),
            queues: Queues::default(),
            ahead_in_queue: BTreeMap::new(),
            tasks: Vec::new(),
            vacant: Vec::new(),
            known_tasks: 0,
            ids: BTreeMap::new(),
            sleeping: BTreeMap::new(),
            keyed: BTreeMap::new(),
            segments: BTreeMap::new(),
            live: BTreeSet::new(),
            contested: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            dirty: BTreeSet::new(),
            clocked: BTreeSet::new(),
            discarded: BTreeSet::new(),
            edited: None,
            lapses: Lapses::default(),
            lapsing: BTreeSet::new(),
            over: BTreeSet::new(),
            looked_at: None,
            stated_lapses: None,
            lapses_flush: 0,
            orphaned: BTreeSet::new(),
            claims: BTreeSet::new(),
            heartbeat_due: false,
            deadlines: BTreeSet::new(),
            held: BTreeSet::new(),
            turns: Turns::default(),
            answers: Answers::default(),
            acked: BTreeMap::new(),
            left: BTreeMap::new(),
            staged: BTreeMap::new(),
            foreign: Vec::new(),
            foreign_bytes: 0,
            to_confirm: BTreeMap::new(),
            flight: None,
            flush: 1,
            durable: 0,
            last_flush: Mono(0),
            stalled: false,
            open: None,
            next_n: 1,
            parked: Vec::new(),
            unanswered: Vec::new(),
            confirmed: BTreeMap::new(),
            stamp: Hlc::default(),
            draining: false,
            most_claims: config.most_claims,
            in_step: BTreeSet::new(),
            differing: BTreeMap::new(),
            addresses: Vec::new(),
            beats: 0,
            load_centi: 0,
            progress: Vec::new(),
            forward: BTreeMap::new(),
            next_sync: None,
            asked: BTreeMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            offences: Offences::default(),
        };
        replica.recover(&records, found);
        replica.set_timer(now.mono, Timer::Beat);
        replica.sync_by(now.mono);
        replica.work();
        replica
    }

    /// Breaks one rule of the protocol from now on: for negative controls.
    #[cfg(feature = "sabotage")]
    pub fn sabotage(&mut self, rule: Sabotage) {
        self.broken = Some(rule);
        for task in &mut self.tasks {
            task.registers.broken = Some(rule);
        }
    }

    fn recover(&mut self, records: &[Arc<[u8]>], found: &[FoundRun]) {
        for record in records {
            match self.ledger.recover(record) {
                Ok(crate::ledger::Accepted::New(change)) => self.fold(change),
                Ok(_) => self.counters.recovered_again += 1,
                Err(_) => self.counters.recovered_badly += 1,
            }
        }
        for (id, segment) in &mut self.segments {
            segment.boot_count = self.ledger.count(DocId::Segment(*id), &self.me);
        }
        self.resume_found(found);
        self.forsake_old_bids();
        self.resume_lapses();
        self.join();
    }

    /// Takes one input. Junk from afar is counted and dropped.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = Now {
            mono: self.now.mono.max(now.mono),
            wall: now.wall,
        };
        let before = std::mem::replace(&mut self.now, now);
        self.note_clock_step(before);
        self.note_standstill();
        self.expire_holds();
        match input {
            Input::Frame { from, bytes } => self.take_frame(from, &bytes),
            Input::PeerUp(peer) => self.peer_up(peer),
            Input::PeerDown(peer) => self.peer_down(peer),
            Input::Submit {
                token,
                tasks,
                durable,
            } => self.submit(token, tasks, durable),
            Input::Control {
                token,
                tasks,
                by,
                wish,
            } => self.control(token, &tasks, &by, &wish),
            Input::RunStarted(run) => self.run_started(run),
            Input::Harmed(run, what) => self.harmed(run, &what),
            Input::RunEnded(run, end) => self.run_ended(run, end),
            Input::Persisted(token) => self.persisted(token),
            Input::PersistStalled(_) => self.stalled = true,
            Input::Addresses(list) => self.listen_at(list),
            Input::Load(centi) => self.load_centi = centi,
            Input::Progress(words) => self.progress = words,
            Input::Looked(place, found) => self.looked(place, found),
            Input::Drain(on) => self.draining = on,
            Input::MostClaims(most) => self.most_claims = most,
            Input::Assign { token, peer, kind } => self.assign(token, peer, kind),
            Input::Set {
                token,
                name,
                value,
                by,
            } => self.set(token, &name, value, by),
            Input::Wakeup => {}
        }
        self.work();
    }

    /// A node that was stopped finds heartbeats in its sockets that it has not answered yet: its waits for silent claimants
    /// start again, as after a restart. Waiting longer is always safe.
    fn note_standstill(&mut self) {
        let late = self
            .next_wakeup()
            .map_or(Duration::ZERO, |due| self.now.mono.since(due));
        if late > self.timing.heartbeat {
            self.awake = self.now.mono;
            self.counters.standstills += 1;
        }
    }

    /// Returns the next output; drain it to `None` after every [`Replica::handle`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when the replica wants a `Wakeup`.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Mono> {
        if self.broken == Some(Sabotage::Restless) {
            return Some(self.now.mono + Duration::from_micros(100));
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [timer, deadline].into_iter().flatten().min()
    }

    fn work(&mut self) {
        self.fire_timers();
        loop {
            while let Some(id) = self.unsettled.pop_first() {
                self.tend_committee(id);
            }
            while let Some(ix) = self.dirty.pop_first() {
                self.react(ix);
            }
            while self.bid_more() {}
            self.start_held();
            if self.dirty.is_empty() && self.unsettled.is_empty() {
                break;
            }
        }
        if self.waits_to_state && !self.stalled {
            self.waits_to_state = false;
            self.state_waits();
        }
        self.flush_if_due();
        self.send_forwards();
    }

    fn set_timer(&mut self, at: Mono, timer: Timer) {
        self.timers.insert((at, timer));
    }

    fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now.mono {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Committees => self.mind_committees(),
                Timer::Heartbeat => self.send_heartbeats(),
                Timer::Beat => self.write_beat(),
                Timer::Sync => self.send_roots(),
                // What comes after the timers looks at it.
                Timer::Flush | Timer::Turn => {}
                Timer::Parked => self.unpark_all(),
                Timer::Unanswered => self.answer_late(),
                Timer::Places => self.tend_places(),
                Timer::Task(ix) => {
                    self.tasks[ix as usize].wake = None;
                    self.dirty.insert(ix);
                }
            }
        }
    }

    fn wake_task(&mut self, ix: TaskIx, at: Mono) {
        let task = &mut self.tasks[ix as usize];
        if task.wake == Some(at) {
            return;
        }
        if let Some(old) = task.wake.replace(at) {
            self.timers.remove(&(old, Timer::Task(ix)));
        }
        self.timers.insert((at, Timer::Task(ix)));
    }

    fn calm_task(&mut self, ix: TaskIx) {
        if let Some(old) = self.tasks[ix as usize].wake.take() {
            self.timers.remove(&(old, Timer::Task(ix)));
        }
    }

    fn known(&self, ix: TaskIx) -> &Task {
        &self.tasks[ix as usize]
    }

    fn segment_of(&self, ix: TaskIx) -> &Segment {
        &self.segments[&self.known(ix).segment]
    }

    fn is_durable(&self, ix: TaskIx) -> bool {
        self.known(ix).staged <= self.durable || self.broken == Some(Sabotage::VotesNotDurable)
    }

    /// R: a bid that has become nothing within this span is given up (L2).
    fn bid_patience(&self) -> Duration {
        (self.timing.lease / 4).max(Duration::from_millis(100))
    }

    /// How long a bid for a task that may run anywhere must stand before it runs: twice the delay of a document, and more.
    fn settle_window(&self) -> Duration {
        self.stagger_step() * 2
    }

    /// B: the step of the stagger between hosts that may bid (L3); D, the delay of a document, is taken as half of it.
    fn stagger_step(&self) -> Duration {
        (self.timing.lease / 120).max(Duration::from_millis(10))
    }
}

/// Returns the handle of the task at this place.
fn index(place: usize) -> TaskIx {
    TaskIx::try_from(place).expect("fewer than 2^32 tasks fit into memory")
}

/// The order of claimants of one task at one epoch, the least first: a draw that every host computes alike.
fn rank(task: TaskId, epoch: Epoch, claimant: Tag) -> u64 {
    let mut x = task.n ^ (u64::from(task.tag.0) << 32);
    for word in [u64::from(epoch.0), u64::from(claimant.0)] {
        x = (x ^ word.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^= x >> 31;
        x = x.wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 29;
    }
    x
}
