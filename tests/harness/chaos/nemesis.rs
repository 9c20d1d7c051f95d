//! Who does it to the mesh: strikes, undoes, submits, and looks on, all by one clock and one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use node::api::wire::DurableWord;
use rustix::process::{Pid, Signal};

use super::{Aftermath, Band, Fault, Storm};
use crate::cluster::Cluster;
use crate::disk::SmallDisk;
use crate::evidence::{Evidence, now};
use crate::processes;

/// How often it looks what is due.
const STEP: Duration = Duration::from_millis(20);
/// Between two submissions.
const SUBMIT_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at what has succeeded.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Shortest and longest time between two turns of a link that flaps, milliseconds.
const FLAP_MS: (u64, u64) = (100, 900);
/// So long after its disk has room again a node may refuse tasks.
const ROOM_AGAIN: Duration = Duration::from_secs(5);
/// Hosts that are under a fault at one time.
const AT_ONCE: usize = 2;

/// What will be undone.
#[derive(Clone, Debug)]
struct Pending {
    due: Duration,
    undo: Undo,
    /// Its place among the bands.
    band: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Undo {
    Start(usize),
    /// Processes of a host go on.
    Continue(usize, Vec<Pid>),
    /// A host's disk has room again.
    Free(usize),
    Heal,
    /// A host is heard again, or cut off again, so many times more.
    Flap(usize, u32),
}

/// A storm under way.
#[derive(Debug)]
pub(super) struct Nemesis<'a> {
    storm: &'a Storm,
    cluster: Cluster,
    evidence: &'a Evidence,
    chance: fastrand::Rng,
    bands: Vec<Band>,
    pending: Vec<Pending>,
    accepted: BTreeSet<String>,
    succeeded: BTreeMap<String, Duration>,
    wrong: Vec<String>,
}

impl<'a> Nemesis<'a> {
    pub(super) fn new(storm: &'a Storm, cluster: Cluster, evidence: &'a Evidence) -> Self {
        Self {
            storm,
            cluster,
            evidence,
            chance: fastrand::Rng::with_seed(storm.seed),
            bands: Vec::new(),
            pending: Vec::new(),
            accepted: BTreeSet::new(),
            succeeded: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    /// Rages, heals everything, and waits until all has ended.
    pub(super) fn rage(mut self) -> Aftermath {
        let end = now() + self.storm.lasts;
        let rounds = self.storm.lasts.as_millis() / SUBMIT_EVERY.as_millis();
        let chunk = self
            .storm
            .tasks
            .div_ceil(usize::try_from(rounds.max(1)).unwrap_or(1));
        let (mut strike, mut submit, mut look) = (now(), now(), now());
        while now() < end {
            self.undo(now());
            if now() >= submit {
                self.submit(chunk);
                submit = now() + SUBMIT_EVERY;
            }
            if now() >= look {
                self.look();
                look = now() + LOOK_EVERY;
            }
            if now() >= strike {
                self.strike();
                strike = now() + self.between(700, 2_000);
            }
            thread::sleep(STEP);
        }
        self.calm()
    }

    fn calm(mut self) -> Aftermath {
        self.undo(Duration::MAX);
        for node in self.cluster.nodes_mut() {
            if !node.lives() {
                let why = format!("{} ended by itself:\n{}", node.name(), node.log_tail());
                self.wrong.push(why);
            }
        }
        self.cluster.wait_whole();
        let lines = self.cluster.wait_ended();
        Aftermath {
            cluster: self.cluster,
            bands: self.bands,
            accepted: self.accepted,
            succeeded: self.succeeded,
            lines,
            wrong: self.wrong,
        }
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.chance.u64(least_ms..=most_ms))
    }

    /// The hosts that nothing was done to that is not undone.
    fn well(&self) -> Vec<usize> {
        let ill = |place: &usize| {
            self.pending.iter().any(|pending| match pending.undo {
                Undo::Start(ill) | Undo::Continue(ill, _) | Undo::Free(ill) => ill == *place,
                Undo::Heal | Undo::Flap(..) => false,
            })
        };
        (0..self.storm.nodes).filter(|place| !ill(place)).collect()
    }

    fn submit(&mut self, count: usize) {
        let well = self.well();
        if let Some(place) = self.chance.choice(well) {
            let command = self.evidence.beats(self.chance.u32(0..=60));
            // While something is amiss a majority may be far away.
            let durable = match self.pending.is_empty() {
                true => DurableWord::Quorum,
                false => DurableWord::Local,
            };
            match self.cluster[place].try_submit(durable, count, &command) {
                Ok(ids) => self.accepted.extend(ids),
                // It says so, and nothing is accepted.
                Err(_) if self.was_full(place) => {}
                Err(error) => self.wrong.push(format!("n{place} took no tasks: {error}")),
            }
        }
    }

    /// Notes what has succeeded: from now on it must not run.
    fn look(&mut self) {
        let well = self.well();
        let Some(place) = self.chance.choice(well) else {
            return;
        };
        if let Ok(tasks) = self.cluster[place].tasks() {
            let at = now();
            for line in tasks.iter().filter(|line| line.state.name() == "success") {
                self.succeeded.entry(line.id.clone()).or_insert(at);
            }
        }
    }

    fn strike(&mut self) {
        let Some(fault) = self.chance.choice(self.storm.faults.iter().copied()) else {
            return;
        };
        let well = self.well();
        if self.pending.len() >= AT_ONCE {
            return;
        }
        let Some(victim) = self.chance.choice(well) else {
            return;
        };
        match fault {
            Fault::KillNode => {
                self.cluster[victim].kill();
                self.begin(fault, Some(victim), (0, 3_000), Undo::Start(victim));
            }
            Fault::KillHost => {
                self.cluster[victim].kill_host();
                self.begin(fault, Some(victim), (0, 4_000), Undo::Start(victim));
            }
            Fault::PauseNode | Fault::PauseGuard | Fault::PauseBoth | Fault::PauseHost => {
                self.pause(fault, victim);
            }
            Fault::FullDisk => self.fill(),
            Fault::KillGuard => self.kill_guard(victim),
            Fault::KillBoth => {
                let guard = self.cluster[victim].guard();
                self.cluster[victim].kill();
                if let Some(guard) = guard {
                    processes::signal(guard, Signal::KILL);
                }
                self.begin(fault, Some(victim), (0, 3_000), Undo::Start(victim));
            }
            Fault::KillAll => self.kill_all(),
            Fault::Split | Fault::OneWay | Fault::Flap => self.cut(fault, victim),
        }
    }

    fn begin(&mut self, fault: Fault, host: Option<usize>, lasts_ms: (u64, u64), undo: Undo) {
        self.began(now(), fault, host, lasts_ms, undo);
    }

    fn began(
        &mut self,
        from: Duration,
        fault: Fault,
        host: Option<usize>,
        lasts_ms: (u64, u64),
        undo: Undo,
    ) {
        let due = now() + self.between(lasts_ms.0, lasts_ms.1);
        self.pending.push(Pending {
            due,
            undo,
            band: self.bands.len(),
        });
        // Until it is undone it has no end.
        let to = Duration::MAX / 2;
        self.bands.push(Band {
            fault,
            host,
            from,
            to,
        });
    }

    fn pause(&mut self, fault: Fault, victim: usize) {
        let (host, from) = (&self.cluster[victim], now());
        let pids: Vec<Pid> = match fault {
            Fault::PauseGuard => host.guard().into_iter().collect(),
            Fault::PauseBoth => host.guard().into_iter().chain([host.pid()]).collect(),
            Fault::PauseHost => host.stop_all(),
            _ => vec![host.pid()],
        };
        // A guard that was killed a moment ago may have no successor yet.
        if pids.is_empty() {
            return;
        }
        let stop = |pid: &Pid| processes::signal(*pid, Signal::STOP);
        pids.iter().for_each(stop);
        let undo = Undo::Continue(victim, pids);
        self.began(from, fault, Some(victim), (300, 6_000), undo);
    }

    /// The host whose disk can be filled.
    fn disk_place(&self) -> Option<usize> {
        self.cluster.disk().map(|_| self.storm.nodes - 1)
    }

    /// Whether its disk is full, or was a moment ago.
    fn was_full(&self, place: usize) -> bool {
        self.bands.iter().any(|band| {
            (band.fault, band.host) == (Fault::FullDisk, Some(place))
                && now() <= band.to + ROOM_AGAIN
        })
    }

    fn fill(&mut self) {
        let well = self.well();
        if let Some(place) = self.disk_place().filter(|place| well.contains(place)) {
            let undo = Undo::Free(place);
            self.begin(Fault::FullDisk, Some(place), (1_000, 6_000), undo);
            self.cluster.disk().into_iter().for_each(SmallDisk::fill);
        }
    }

    fn kill_guard(&mut self, victim: usize) {
        if let Some(guard) = self.cluster[victim].guard() {
            processes::signal(guard, Signal::KILL);
            let (fault, host, from) = (Fault::KillGuard, Some(victim), now());
            self.bands.push(Band {
                fault,
                host,
                from,
                to: from,
            });
        }
    }

    fn kill_all(&mut self) {
        self.undo(Duration::MAX);
        let from = now();
        let mut order: Vec<usize> = (0..self.storm.nodes).collect();
        self.chance.shuffle(&mut order);
        order.iter().for_each(|place| self.cluster[*place].kill());
        for place in &order {
            if self.chance.bool() {
                self.cluster[*place].kill_host();
            }
        }
        self.chance.shuffle(&mut order);
        order
            .iter()
            .for_each(|place| self.cluster[*place].launch(&[]));
        order
            .iter()
            .for_each(|place| self.cluster[*place].wait_ready());
        self.bands.push(Band {
            fault: Fault::KillAll,
            host: None,
            from,
            to: now(),
        });
    }

    fn cut(&mut self, fault: Fault, victim: usize) {
        if self
            .pending
            .iter()
            .any(|pending| matches!(pending.undo, Undo::Heal | Undo::Flap(..)))
        {
            return;
        }
        let other = (victim + self.chance.usize(1..self.storm.nodes)) % self.storm.nodes;
        if fault == Fault::OneWay {
            self.cluster.lan().cut_one_way(victim, other);
            return self.begin(fault, Some(victim), (1_000, 6_000), Undo::Heal);
        }
        if fault == Fault::Flap {
            self.cluster.lan().split(&[victim]);
            let turns = 2 * self.chance.u32(2..=5);
            return self.begin(fault, Some(victim), FLAP_MS, Undo::Flap(victim, turns));
        }
        let side = if self.chance.bool() {
            vec![victim]
        } else {
            vec![victim, other]
        };
        self.cluster.lan().split(&side);
        self.begin(fault, Some(victim), (300, 6_000), Undo::Heal);
    }

    fn flap(&mut self, place: usize, turns: u32, band: usize) {
        if turns.is_multiple_of(2) {
            self.cluster.lan().heal();
        } else {
            self.cluster.lan().split(&[place]);
        }
        let due = now() + self.between(FLAP_MS.0, FLAP_MS.1);
        let undo = Undo::Flap(place, turns - 1);
        self.pending.push(Pending { due, undo, band });
    }

    /// Undoes what is due.
    fn undo(&mut self, at: Duration) {
        let (due, later) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.due <= at);
        self.pending = later;
        let due: Vec<Pending> = due;
        for pending in due {
            match pending.undo {
                Undo::Start(place) => {
                    self.cluster[place].launch(&[]);
                    self.cluster[place].wait_ready();
                }
                Undo::Continue(_, pids) => {
                    // From the first that wakes on.
                    self.bands[pending.band].to = now();
                    let wake = |pid: &Pid| processes::signal(*pid, Signal::CONT);
                    pids.iter().for_each(wake);
                    continue;
                }
                Undo::Free(_) => self.cluster.disk().into_iter().for_each(SmallDisk::free),
                Undo::Flap(place, turns) if turns > 0 && at < Duration::MAX => {
                    self.flap(place, turns, pending.band);
                    continue;
                }
                Undo::Heal | Undo::Flap(..) => self.cluster.lan().heal(),
            }
            self.bands[pending.band].to = now();
        }
    }
}
