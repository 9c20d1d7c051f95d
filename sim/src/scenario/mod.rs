//! Named scenarios: each sets up a world, does something to it at chosen moments, and lets the judges look at the end.
//!
//! A script says what must have happened on the way (`Missed` otherwise), so that no scenario passes because nothing happened.
//! Negative controls play a directed scenario with one rule broken, and again unbroken: the first must be caught, the second not.

mod arrays;
mod calm;
mod churn;
mod committees;
mod controls;
mod crashes;
mod directed;
mod guards;
mod inputs;
mod keys;
mod lapses;
mod large;
mod leases;
mod lives;
mod pauses;
mod policies;
mod splits;
mod turns;
mod weather;
mod wishes;

use std::time::Duration;

use crdt::entry::Vote;
use crdt::ids::{RunId, TaskId};

use crate::host::GuardFlaw;
use crate::oracle::{Judge, Violation};
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::timeline::Keep;
use crate::world::{Flaw, Report, Setup, World};

pub use controls::controls;

/// A step of a script that did not come to pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed(pub &'static str);

/// How a script went.
pub type Course = Result<(), Missed>;

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens, in a line.
    pub about: &'static str,
    /// Its world.
    pub setup: fn(u64) -> Setup,
    /// What is done in it.
    pub script: fn(&mut World) -> Course,
}

/// What came of a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It went as scripted and no promise was broken.
    Kept(Report),
    /// A promise was broken.
    Broken(Report, Violation),
    /// It did not go as scripted.
    Missed(Report, Missed),
}

impl Scenario {
    /// Plays it with a seed.
    #[must_use]
    pub fn play(&self, seed: u64, keep: Keep) -> (World, Verdict) {
        self.play_in(Setup {
            keep,
            ..(self.setup)(seed)
        })
    }

    /// Plays it in a given world.
    #[must_use]
    pub fn play_in(&self, setup: Setup) -> (World, Verdict) {
        let mut world = World::new(setup);
        let course = (self.script)(&mut world);
        let report = world.report();
        let verdict = match (report.violation.clone(), course) {
            (Some(violation), _) => Verdict::Broken(report, violation),
            (None, Err(missed)) => Verdict::Missed(report, missed),
            (None, Ok(())) => Verdict::Kept(report),
        };
        (world, verdict)
    }
}

/// A negative control.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// How it is broken.
    pub name: &'static str,
    /// What is broken: the rule, as `docs/protocol.md` and `docs/simulation.md` name it.
    pub rule: &'static str,
    /// Breaks it.
    pub breaks: fn(Setup) -> Setup,
    /// Who must see it.
    pub judge: Judge,
    /// The directed scenario.
    pub scenario: Scenario,
}

impl Control {
    /// Returns the first seed of `seeds` at which its judge sees the broken rule before any other does, and what it sees.
    #[must_use]
    pub fn caught(&self, seeds: std::ops::Range<u64>) -> Option<(u64, Violation)> {
        seeds.into_iter().find_map(|seed| {
            let setup = (self.breaks)((self.scenario.setup)(seed));
            match self.scenario.play_in(setup).1 {
                Verdict::Broken(_, violation) if violation.judge == self.judge => {
                    Some((seed, violation))
                }
                Verdict::Broken(..) | Verdict::Kept(_) | Verdict::Missed(..) => None,
            }
        })
    }
}

/// Every named scenario.
pub fn all() -> impl Iterator<Item = Scenario> {
    [
        calm::SCENARIOS,
        splits::SCENARIOS,
        pauses::SCENARIOS,
        crashes::SCENARIOS,
        guards::SCENARIOS,
        weather::SCENARIOS,
        churn::SCENARIOS,
        committees::SCENARIOS,
        large::SCENARIOS,
        lapses::SCENARIOS,
        leases::SCENARIOS,
        lives::SCENARIOS,
        wishes::SCENARIOS,
        arrays::SCENARIOS,
        keys::SCENARIOS,
        inputs::SCENARIOS,
        policies::SCENARIOS,
        turns::SCENARIOS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Returns the scenario with this name.
#[must_use]
pub fn find(name: &str) -> Option<Scenario> {
    all().find(|scenario| scenario.name == name)
}

/// Returns the control with this name.
#[must_use]
pub fn find_control(name: &str) -> Option<Control> {
    controls().find(|control| control.name == name)
}

/// Long enough for everything that needs no lease.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A setup of three hosts that all decide.
pub(crate) fn three(seed: u64) -> Setup {
    Setup::new(seed, 3)
}

/// A setup of five hosts that all decide.
pub(crate) fn five(seed: u64) -> Setup {
    Setup::new(seed, 5)
}

/// Breaks a rule of the guard.
pub(crate) fn with_guard(setup: Setup, flaw: GuardFlaw) -> Setup {
    Setup {
        flaw: Some(Flaw::Guard(flaw)),
        ..setup
    }
}

pub(crate) fn expect(holds: bool, what: &'static str) -> Course {
    if holds { Ok(()) } else { Err(Missed(what)) }
}

/// Lets the mesh form.
pub(crate) fn warm(world: &mut World) {
    world.run_for(Duration::from_secs(3));
}

/// Lets things happen until a condition holds, or misses.
pub(crate) fn until(
    world: &mut World,
    limit: Duration,
    what: &'static str,
    holds: impl FnMut(&World) -> bool,
) -> Course {
    expect(world.until(limit, holds), what)
}

/// Submits a batch and waits for its acknowledgement.
pub(crate) fn submit(world: &mut World, host: HostIx, batch: Batch) -> Result<Vec<TaskId>, Missed> {
    let ids = world.submit_and_wait(host, batch);
    if ids.is_empty() {
        Err(Missed("a submission is acknowledged"))
    } else {
        Ok(ids)
    }
}

/// Lets things happen until one more process starts.
pub(crate) fn next_start(world: &mut World, limit: Duration) -> Result<(HostIx, RunId), Missed> {
    let starts = world.oracle().tally().starts;
    world.until(limit, |world| world.oracle().tally().starts > starts);
    let started = world.oracle().tally().starts > starts;
    world
        .last_start()
        .filter(|_| started)
        .ok_or(Missed("a process starts"))
}

/// Submits one task and waits for its first process.
pub(crate) fn one_running(
    world: &mut World,
    host: HostIx,
    plan: Plan,
) -> Result<(HostIx, RunId), Missed> {
    world.submit(host, Batch::one(plan));
    next_start(world, SOON)
}

/// Lets only some hosts take new tasks.
pub(crate) fn only(world: &mut World, hosts: &[HostIx]) {
    for host in 0..world.hosts() {
        if hosts.contains(&host) {
            world.undrain_host(host);
        } else {
            world.drain_host(host);
        }
    }
}

/// Returns all hosts but one.
pub(crate) fn others(world: &World, host: HostIx) -> Vec<HostIx> {
    (0..world.hosts()).filter(|other| *other != host).collect()
}

/// Returns a host's own vote on a task.
pub(crate) fn own_vote(world: &World, host: HostIx, task: TaskId) -> Option<Vote> {
    let tag = world.host(host).tag;
    let votes = world.replica(host)?.votes(task);
    votes
        .into_iter()
        .find(|(of, _)| *of == tag)
        .map(|(_, vote)| vote)
}

/// Says whether a replica knows a task.
pub(crate) fn knows(world: &World, host: HostIx, task: TaskId) -> bool {
    world
        .replica(host)
        .is_some_and(|replica| replica.task(task).is_some())
}
