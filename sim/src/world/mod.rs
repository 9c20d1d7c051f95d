//! A world: hosts, links, people and true time, played from one seed, one event after the other. It alone knows everything;
//! the replicas in it are the shipped ones and see only what the seam shows them.
//!
//! Reading order: this file (state, the step), `node` (what goes into a replica and comes out), `guards` and `endings` (runs), `network`,
//! `people` (submissions), `faults` (what can be done to a world), `forgery` (what no honest peer sends), `finish` (healing and the judges of the end).

mod endings;
mod faults;
mod finish;
mod forgery;
mod guards;
mod network;
mod node;
mod people;

use std::collections::BTreeMap;
use std::time::Duration;

use crdt::config::Sabotage;
use crdt::event::{Output, Reply, Token};
use crdt::ids::{Epoch, PeerId, RunId, Tag, TaskId};
use crdt::keys::Keys;
use crdt::registers::BidRegister;
use crdt::replica::Replica;
use crdt::time::{Timing, Wall};

use crate::chance::{self, Purpose};
use crate::clock::Clock;
use crate::disk::{Disk, DiskModel};
use crate::host::{GuardFlaw, Host};
use crate::keys::SimKeys;
use crate::link::{LinkModel, Network};
use crate::oracle::{Oracle, Tally, Violation};
use crate::queue::{Event, HostIx, Queue};
use crate::timeline::{Keep, Timeline};
use crate::trace::{Trace, TraceHash};

pub use faults::{Notice, Unsynced};
pub use people::Asked;

/// How the hosts' clocks err.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Clocks {
    /// Not at all.
    Ideal,
    /// Each by a rate drawn evenly from within the drift bound.
    #[default]
    Within,
    /// Each by the whole bound, fast or slow by a draw.
    Ends,
    /// By these rates, parts per million, one a host.
    Given(Vec<i32>),
}

/// How guards behave within what they promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GuardPace {
    /// They start within some milliseconds and kill within a draw from their bound.
    #[default]
    Usual,
    /// They start within microseconds, and each kill takes the whole bound.
    Worst,
}

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// A rule of the replica.
    Rule(Sabotage),
    /// A rule of the guard.
    Guard(GuardFlaw),
    /// Disks say that a sync is done when it has only begun.
    DiskLies,
    /// Documents never reach the last host.
    Deaf,
    /// The node counts its leases by a clock that people set (A3).
    ClockIsSet,
    /// A host that dies comes back with the newest copy of its disk, under its old name (A3).
    DiskRollsBack,
    /// Replicas take every signature for a good one (A1).
    Gullible,
}

/// How a world is set up. Public fields; start from [`Setup::new`].
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything random comes from it.
    pub seed: u64,
    /// How many hosts there are.
    pub hosts: usize,
    /// How many of them decide a claim: 1, 3 or 5.
    pub committee: u8,
    /// Lease times.
    pub timing: Timing,
    /// The leases with which single hosts were started; empty: all with the same.
    pub leases: Vec<Duration>,
    /// How clocks err.
    pub clocks: Clocks,
    /// How links behave.
    pub links: LinkModel,
    /// How fast disks are.
    pub disks: DiskModel,
    /// How guards behave.
    pub guards: GuardPace,
    /// A member of a committee that was silent for so long is replaced.
    pub replace_after: Duration,
    /// A task that lost so many runs with their hosts waits for a person; 0 = none does.
    pub most_losses: u32,
    /// Hosts that are not there when the world begins.
    pub late: Vec<HostIx>,
    /// What each host offers, thousandths of a processor.
    pub cpu_milli: u32,
    /// What is broken on purpose.
    pub flaw: Option<Flaw>,
    /// Whether a timeline is kept.
    pub keep: Keep,
}

impl Setup {
    /// Returns the setup of a quiet world of so many hosts, all of which (up to 5) decide claims.
    #[must_use]
    pub fn new(seed: u64, hosts: usize) -> Self {
        let committee = match hosts {
            0..=2 => 1,
            3..=4 => 3,
            _ => 5,
        };
        Self {
            seed,
            hosts,
            committee,
            timing: Timing::with_lease(
                Duration::from_millis(250),
                Duration::from_millis(2_000),
                10_000,
            ),
            leases: Vec::new(),
            clocks: Clocks::Within,
            links: LinkModel::default(),
            disks: DiskModel::default(),
            guards: GuardPace::Usual,
            replace_after: Duration::from_secs(3_600),
            most_losses: 0,
            late: Vec::new(),
            cpu_milli: 2_000,
            flaw: None,
            keep: Keep::Nothing,
        }
    }
}

/// What a world shows when it is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The hash of its history.
    pub hash: TraceHash,
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// What really happened.
    pub tally: Tally,
    /// How long it lasted, in its own time.
    pub simulated: Duration,
    /// How many events it took.
    pub events: u64,
}

/// A simulated world.
#[derive(Debug)]
pub struct World {
    setup: Setup,
    now: u64,
    queue: Queue,
    hosts: Vec<Host>,
    by_peer: BTreeMap<PeerId, HostIx>,
    tags: Vec<Tag>,
    network: Network,
    oracle: Oracle,
    trace: Trace,
    timeline: Timeline,
    scratch: Vec<Output>,
    serial: u64,
    next_token: Token,
    asked: BTreeMap<Token, Asked>,
    replies: BTreeMap<Token, Reply>,
    work: Duration,
    orders: u64,
    last_order: Option<(HostIx, RunId)>,
    last_start: Option<(HostIx, RunId)>,
    last_exit: Option<(HostIx, RunId)>,
    bids_seen: BTreeMap<(HostIx, TaskId), BidRegister>,
    votes_seen: BTreeMap<(HostIx, TaskId), (Epoch, bool)>,
    garbage: fastrand::Rng,
    sample: Option<std::sync::Arc<[u8]>>,
    events: u64,
}

/// Bounds are checked this often.
const SWEEP: Duration = Duration::from_secs(1);

impl World {
    /// Returns a world whose nodes have just been started; its links come up in the next moments.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let hosts: Vec<Host> = (0..setup.hosts)
            .map(|host| make_host(&setup, host))
            .collect();
        let by_peer = hosts
            .iter()
            .enumerate()
            .map(|(ix, host)| (host.peer, ix))
            .collect();
        let tags = hosts.iter().map(|host| host.tag).collect();
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            by_peer,
            tags,
            network: Network::new(setup.seed, setup.hosts, setup.links),
            oracle: Oracle::default(),
            trace: Trace::default(),
            timeline: Timeline::new(setup.keep),
            scratch: Vec::new(),
            serial: 0,
            next_token: 1,
            asked: BTreeMap::new(),
            replies: BTreeMap::new(),
            work: Duration::ZERO,
            orders: 0,
            last_order: None,
            last_start: None,
            last_exit: None,
            bids_seen: BTreeMap::new(),
            votes_seen: BTreeMap::new(),
            garbage: chance::stream(setup.seed, Purpose::Garbage, 0, 0),
            sample: None,
            events: 0,
            hosts,
            setup,
        };
        for host in 0..world.hosts.len() {
            if !world.setup.late.contains(&host) {
                world.boot(host);
            }
        }
        world.queue.push(chance::nanos(SWEEP), Event::Sweep);
        world
    }

    /// Returns how it was set up.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Returns the true time since it began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Returns what the wall clock of a host shows.
    #[must_use]
    pub fn wall(&self, host: HostIx) -> Wall {
        self.hosts[host].clock.read(self.now).wall
    }

    /// Returns L.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.setup.timing.lease
    }

    /// Returns how many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Returns a host.
    #[must_use]
    pub fn host(&self, host: HostIx) -> &Host {
        &self.hosts[host]
    }

    /// Returns the replica on a host, if its node is alive.
    #[must_use]
    pub fn replica(&self, host: HostIx) -> Option<&Replica> {
        self.hosts[host].replica.as_deref()
    }

    /// Returns the host with this tag.
    #[must_use]
    pub fn host_of(&self, tag: Tag) -> Option<HostIx> {
        self.tags.iter().position(|other| *other == tag)
    }

    /// Returns where a process of this task executes.
    #[must_use]
    pub fn host_of_run(&self, task: TaskId) -> Option<HostIx> {
        self.oracle.executing(task).next().map(|(_, host)| host)
    }

    /// Returns the judges.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// Returns what was kept of its history.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Says whether a promise was broken; nothing happens any more in such a world.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.oracle.violation().is_some()
    }

    /// Returns how many starts were ordered by replicas.
    #[must_use]
    pub fn orders(&self) -> u64 {
        self.orders
    }

    /// Returns the newest start that a replica ordered.
    #[must_use]
    pub fn last_order(&self) -> Option<(HostIx, RunId)> {
        self.last_order
    }

    /// Returns the newest start of a process.
    #[must_use]
    pub fn last_start(&self) -> Option<(HostIx, RunId)> {
        self.last_start
    }

    /// Returns the newest end of a process by itself.
    #[must_use]
    pub fn last_exit(&self) -> Option<(HostIx, RunId)> {
        self.last_exit
    }

    /// Returns what the world has come to.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            seed: self.setup.seed,
            hash: self.trace.hash(),
            violation: self.oracle.violation().cloned(),
            tally: self.oracle.tally(),
            simulated: self.now(),
            events: self.events,
        }
    }

    /// Lets the next event happen. Says no if none is left or a promise is broken.
    pub fn step(&mut self) -> bool {
        if self.is_broken() {
            return false;
        }
        let Some((at, event)) = self.queue.pop() else {
            return false;
        };
        self.now = at;
        self.events += 1;
        self.happen(event);
        true
    }

    /// Lets everything happen up to a time after the world's beginning.
    pub fn run_until(&mut self, end: Duration) {
        let end = chance::nanos(end);
        while self.queue.next_at().is_some_and(|at| at <= end) {
            if !self.step() {
                return;
            }
        }
        self.now = self.now.max(end);
    }

    /// Lets everything happen for a span.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now() + span);
    }

    /// Lets things happen until a condition holds, looked at after every event. Says no if it did not within `limit`.
    pub fn until(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = chance::nanos(self.now() + limit);
        loop {
            if holds(self) {
                return true;
            }
            if self.queue.next_at().is_none_or(|at| at > end) {
                self.now = self.now.max(end);
                return false;
            }
            if !self.step() {
                return false;
            }
        }
    }

    fn guard_flaw(&self) -> Option<GuardFlaw> {
        match self.setup.flaw {
            Some(Flaw::Guard(flaw)) => Some(flaw),
            Some(
                Flaw::Rule(_)
                | Flaw::DiskLies
                | Flaw::Deaf
                | Flaw::ClockIsSet
                | Flaw::DiskRollsBack
                | Flaw::Gullible,
            )
            | None => None,
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(host) = host_of_event(&event)
            && self.hosts[host].holds(&event, self.guard_flaw())
        {
            if !self.hosts[host].keep(event) {
                self.network.dropped += 1;
            }
            return;
        }
        match event {
            Event::Deliver {
                from,
                to,
                connection,
                bytes,
            } => {
                self.deliver(from, to, connection, bytes);
            }
            Event::GiveUpConnection { a, b, connection } => self.give_up(a, b, connection),
            Event::Connect { a, b } => self.try_connect(a, b),
            Event::Synced { host, life } => self.synced(host, life),
            Event::RetryDisk { host, life } => self.retry_disk(host, life),
            Event::Wake {
                host,
                life,
                request,
            } => self.wake(host, life, request),
            Event::Tell { host, life, input } => self.tell(host, life, *input),
            Event::Restart { host } => self.restart_now(host),
            Event::Spawn { host, life, run } => self.spawn(host, life, run),
            Event::Run {
                host,
                run,
                serial,
                what,
            } => self.run_event(host, run, serial, what),
            Event::Sweep => {
                self.sweep();
                self.queue
                    .push(self.now + chance::nanos(SWEEP), Event::Sweep);
            }
        }
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now.saturating_add(delay), event);
    }
}

fn host_of_event(event: &Event) -> Option<HostIx> {
    match event {
        Event::Deliver { to, .. } => Some(*to),
        Event::Synced { host, .. }
        | Event::RetryDisk { host, .. }
        | Event::Wake { host, .. }
        | Event::Tell { host, .. }
        | Event::Spawn { host, .. }
        | Event::Run { host, .. }
        | Event::Restart { host } => Some(*host),
        Event::GiveUpConnection { .. } | Event::Connect { .. } | Event::Sweep => None,
    }
}

fn make_host(setup: &Setup, host: HostIx) -> Host {
    let seed = setup.seed;
    let keys = SimKeys::new(seed, host, 0);
    let peer = keys.me();
    let mut chance = chance::stream(seed, Purpose::Clock, host as u64, 0);
    let bound = i32::try_from(setup.timing.drift_ppm).unwrap_or(i32::MAX);
    let offset = chance.u64(1_000_000_000..1_000_000_000_000_000);
    let drawn = chance.i32(-bound..=bound);
    let rate = match &setup.clocks {
        Clocks::Ideal => 0,
        Clocks::Within => drawn,
        Clocks::Ends if drawn < 0 => -bound,
        Clocks::Ends => bound,
        Clocks::Given(rates) => rates.get(host).copied().unwrap_or(0),
    };
    let wall_error = chance.i64(-200..=200);
    Host {
        peer,
        tag: peer.tag(),
        keys,
        clock: Clock::new(offset, rate, wall_error),
        disk: Disk::new(
            setup.disks,
            chance::stream(seed, Purpose::Disk, host as u64, 0),
        ),
        replica: None,
        identity: 0,
        life: 0,
        mode: crate::host::Mode::Runs,
        inbox: std::collections::VecDeque::new(),
        guards: BTreeMap::new(),
        chance: chance::stream(seed, Purpose::Guard, host as u64, 0),
        wake_at: None,
        wake_request: 0,
        wakes: 0,
        restart_at: None,
        kept: BTreeMap::new(),
    }
}
