//! What simulated tasks do: their plan travels in the words of their command, so that any host can play them.

use std::time::Duration;

use crdt::event::{Links, NewTask};
use crdt::ids::{Tag, TaskId};
use crdt::places::Place;
use crdt::task::{Arg, Elements, Membership, Needs, TaskSpec, Work};

use crate::queue::HostIx;

/// How a simulated process obeys signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Manners {
    /// The first signal ends it.
    #[default]
    Obeys,
    /// Only SIGKILL ends it.
    Stubborn,
}

/// Whether a task can be started at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fate {
    /// Anywhere.
    #[default]
    Starts,
    /// Nowhere: its command does not exist.
    Impossible,
    /// Anywhere but on this host, where its directory is missing.
    UnfitOn(HostIx),
    /// On this host alone, where what it declared is.
    OnlyOn(HostIx),
}

/// Where what a task declared is that can be started on one host alone: below this, by the host's number.
const ONLY_ON: &str = "/only-on/";

/// Returns what a host finds at a place.
///
/// # Errors
/// What is missing.
pub fn look(place: &Place, host: HostIx) -> Result<(), String> {
    let elsewhere = |path: &Arg| {
        let text = path.to_text();
        let only = text.strip_prefix(ONLY_ON)?.parse::<HostIx>().ok()?;
        (only != host).then(|| format!("{text} is not there"))
    };
    place.reads.iter().find_map(elsewhere).map_or(Ok(()), Err)
}

/// What the processes of one task do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How long a process takes, in true time.
    pub length: Duration,
    /// So many of its first runs to their own end fail.
    pub failures: u32,
    /// The exit code of those.
    pub code: i32,
    /// How it takes signals.
    pub manners: Manners,
    /// Whether it can be started.
    pub fate: Fate,
    /// How long it takes until a host has what it reads, each time, in true time.
    pub input: Duration,
}

impl Plan {
    /// The exit code of a process that ran out of memory.
    pub const OUT_OF_MEMORY: i32 = 137;
    const PROGRAM: &'static str = "simulated";

    /// Returns the plan of a task that succeeds after `length`.
    #[must_use]
    pub fn succeed(length: Duration) -> Self {
        Self {
            length,
            failures: 0,
            code: 1,
            manners: Manners::Obeys,
            fate: Fate::Starts,
            input: Duration::ZERO,
        }
    }

    /// Returns the plan of a task that never succeeds.
    #[must_use]
    pub fn fail(length: Duration, code: i32) -> Self {
        Self {
            length,
            failures: u32::MAX,
            code,
            manners: Manners::Obeys,
            fate: Fate::Starts,
            input: Duration::ZERO,
        }
    }

    /// Returns the command that carries this plan.
    #[must_use]
    pub fn spec(&self) -> TaskSpec {
        let stubborn = self.manners == Manners::Stubborn;
        let mut spec = TaskSpec::command([
            Self::PROGRAM.to_owned(),
            self.length.as_micros().to_string(),
            self.failures.to_string(),
            self.code.to_string(),
            u8::from(stubborn).to_string(),
            match self.fate {
                Fate::Starts => "starts".to_owned(),
                Fate::Impossible => "impossible".to_owned(),
                Fate::UnfitOn(host) => host.to_string(),
                Fate::OnlyOn(host) => format!("only {host}"),
            },
            self.input.as_micros().to_string(),
        ]);
        if let Fate::OnlyOn(host) = self.fate {
            spec.options.reads = vec![format!("{ONLY_ON}{host}").into()];
        }
        spec
    }

    /// Returns the plan that a command carries, if it carries one.
    #[must_use]
    pub fn of(spec: &TaskSpec) -> Option<Self> {
        let Work::Command { argv, shell: None } = &spec.work else {
            return None;
        };
        let [program, length, failures, code, stubborn, fate, input] = argv.as_slice() else {
            return None;
        };
        let span = |word: &Arg| Some(Duration::from_micros(word.to_text().parse().ok()?));
        if *program != Arg::from(Self::PROGRAM) {
            return None;
        }
        let fate = match fate.to_text().as_ref() {
            "starts" => Fate::Starts,
            "impossible" => Fate::Impossible,
            host => match host.strip_prefix("only ") {
                Some(host) => Fate::OnlyOn(host.parse().ok()?),
                None => Fate::UnfitOn(host.parse().ok()?),
            },
        };
        Some(Self {
            fate,
            input: span(input)?,
            length: span(length)?,
            failures: failures.to_text().parse().ok()?,
            code: code.to_text().parse().ok()?,
            manners: if stubborn.to_text() == "1" {
                Manners::Stubborn
            } else {
                Manners::Obeys
            },
        })
    }
}

/// A submission under construction: tasks may name earlier ones of it by place.
#[derive(Clone, Debug, Default)]
pub struct Batch(Vec<NewTask>);

impl Batch {
    /// Returns a batch of one task.
    #[must_use]
    pub fn one(plan: Plan) -> Self {
        let mut batch = Self::default();
        batch.add(plan);
        batch
    }

    /// Returns a batch of equal tasks.
    #[must_use]
    pub fn many(count: usize, plan: Plan) -> Self {
        let mut batch = Self::default();
        for _ in 0..count {
            batch.add(plan);
        }
        batch
    }

    /// Returns a batch of a group and its members, of which `window` may run at once (0 = all).
    #[must_use]
    pub fn group(count: u32, window: u32, plan: Plan) -> Self {
        let work = Work::Group { size: Some(count) };
        let spec = TaskSpec {
            work,
            needs: Needs {
                cpu_milli: 0,
                memory_bytes: 0,
            },
            ..plan.spec()
        };
        let mut batch = Self(vec![NewTask {
            spec,
            env: None,
            links: Links::default(),
        }]);
        for index in 0..count {
            let task = batch.add(plan);
            // The replica puts in the group's real id.
            let group = TaskId { tag: Tag(0), n: 0 };
            task.spec.member_of = Some(Membership {
                group,
                index,
                window,
            });
            task.links.group = Some(0);
        }
        batch
    }

    /// Returns a batch of an array of so many elements, of which `window` may run at once (0 = all).
    #[must_use]
    pub fn array(count: u32, window: u32, plan: Plan) -> Self {
        let mut batch = Self::group(1, window, plan);
        let work = Work::Group { size: Some(count) };
        batch.0[0].spec.work = work;
        batch.0[1].spec.options.elements = Some(Elements::Range {
            first: 1,
            step: 1,
            count,
        });
        batch
    }

    /// Adds a task and returns it for changes.
    pub fn add(&mut self, plan: Plan) -> &mut NewTask {
        self.0.push(NewTask {
            spec: plan.spec(),
            env: None,
            links: Links::default(),
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Adds a task that waits for earlier tasks of this batch, by place.
    pub fn add_after(&mut self, plan: Plan, after: &[u32]) -> &mut NewTask {
        let task = self.add(plan);
        task.links.after = after.to_vec();
        task
    }

    /// Leaves out the tasks from place `from` up to `until`, and what others say of them.
    pub fn leave_out(&mut self, from: usize, until: usize) {
        self.0.drain(from..until);
        let (from, until) = (place(from), place(until));
        let moved = |at: u32| match at {
            at if at < from => Some(at),
            at if at < until => None,
            at => Some(at - (until - from)),
        };
        for task in &mut self.0 {
            task.links.after = task.links.after.iter().copied().filter_map(moved).collect();
            let group = task.links.group.take().map(moved);
            task.links.group = group.flatten();
            if group == Some(None) {
                task.spec.member_of = None;
            }
        }
        let members = place(self.0.len().saturating_sub(1));
        if let Some(task) = self.0.first_mut()
            && let Work::Group { size } = &mut task.spec.work
        {
            *size = Some(members);
        }
    }

    /// Returns the tasks, for changes.
    pub fn tasks_mut(&mut self) -> impl Iterator<Item = &mut NewTask> {
        self.0.iter_mut()
    }

    /// Returns how many tasks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the tasks.
    #[must_use]
    pub fn into_tasks(self) -> Vec<NewTask> {
        self.0
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_named_by_nobody() {
        let plan = Plan::succeed(Duration::from_secs(1));
        let mut batch = Batch::many(2, plan);
        batch.add_after(plan, &[0, 1]);
        batch.add_after(plan, &[2]);
        batch.leave_out(1, 2);
        let after: Vec<Vec<u32>> = batch
            .0
            .iter()
            .map(|task| task.links.after.clone())
            .collect();
        assert_eq!(after, [vec![], vec![0], vec![1]]);
        let mut group = Batch::group(3, 1, plan);
        group.leave_out(0, 1);
        assert!(
            group
                .0
                .iter()
                .all(|task| task.spec.member_of.is_none() && task.links.group.is_none())
        );
    }

    #[test]
    fn a_plan_survives_its_command() {
        let plan = Plan {
            length: Duration::from_micros(1_234_567),
            failures: 2,
            code: -7,
            manners: Manners::Stubborn,
            fate: Fate::UnfitOn(3),
            input: Duration::from_secs(7),
        };
        assert_eq!(Plan::of(&plan.spec()), Some(plan));
        let only = Plan {
            fate: Fate::OnlyOn(2),
            ..plan
        };
        assert_eq!(Plan::of(&only.spec()), Some(only));
        let place = Place::of(&only.spec());
        assert!(look(&place, 2).is_ok() && look(&place, 1).is_err());
        assert_eq!(Plan::of(&TaskSpec::command(["true"])), None);
    }
}
