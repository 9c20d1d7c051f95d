//! What a guard that was killed left alive: found by its cgroups, its records and its mark, killed, waited for. And what one that
//! stands still does not kill.
//!
//! Where the guard had cgroups, everything that it started is in them, and they are removed when nothing lives in them. Elsewhere
//! the leaders die with their guard. Their descendants are found by the session (whose number
//! cannot be given to another while a member lives), by the guard's mark in their environment, and
//! by descent from either. Not found is only a process that left its session, scrubbed its
//! environment and lost its parent before anybody looked; under a living guard it would have been
//! found.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tracing::{info, warn};

use crate::clock::boottime;
use crate::guard::RunKey;
use crate::guard::cgroup::{self, Group};
use crate::guard::proc::{self, Proc};
use crate::guard::records::{self, Kept, Left, Recorded};

/// Shortest and longest time between two looks.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(250));

/// How often someone is told what cannot be killed.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How much later than recorded a leader may have been made: the guard writes down the instant
/// before. A process of that number that is younger is another.
const START_SLACK: Duration = Duration::from_secs(30);

/// Kills what the guard with these records left, and returns when nothing of it lives. Blocks for
/// as long as that takes: for ever, with a warning every few seconds, if it may not be killed.
///
/// To be called when no guard lives. Returns the ends that it had kept; its files name nothing else
/// afterwards.
///
/// # Errors
/// The kernel's, when the records or `/proc` cannot be read.
pub(super) fn clear(path: &Path) -> io::Result<Vec<Kept>> {
    let (left, group) = (records::read(path)?, Group::noted(path)?);
    let killed = kill_until_gone(left.as_ref(), group.as_ref())?;
    if killed > 0 {
        info!(processes = killed, "killed what a lost guard had left");
    }
    cgroup::forget(path)?;
    let Some(left) = left else {
        return Ok(Vec::new());
    };
    records::forget_runs(path, &left)?;
    Ok(left.ended)
}

/// Returns the number of processes that were killed.
fn kill_until_gone(left: Option<&Left>, group: Option<&Group>) -> io::Result<usize> {
    let mut pause = LOOK_AGAIN.0;
    let mut told = boottime();
    let mut killed = BTreeSet::new();
    loop {
        let mut found = match left {
            Some(left) => find(left, Prey::All)?,
            None => BTreeSet::new(),
        };
        found.extend(group.iter().flat_map(|group| group.processes()));
        if found.is_empty() && group.is_none_or(Group::is_gone) {
            break;
        }
        group.iter().for_each(|group| group.kill());
        kill(&found);
        killed.append(&mut found.clone());
        if boottime() > told + TELL_EVERY {
            told = boottime();
            warn!(
                pids = ?found,
                "waiting for processes of former runs that cannot be killed"
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK_AGAIN.1);
        reap(&killed);
    }
    Ok(killed.len())
}

/// Kills what lives now of runs whose guard may still live but does not do it, and waits for nothing. Returns the number of
/// processes.
///
/// # Errors
/// The kernel's, when the records or `/proc` cannot be read.
pub(super) fn strike(path: &Path, prey: Prey<'_>) -> io::Result<usize> {
    let mut found = match records::read(path)? {
        Some(left) => find(&left, prey)?,
        None => BTreeSet::new(),
    };
    if let Some(all) = Group::noted(path)? {
        for group in prey.groups(&all) {
            found.extend(group.processes());
            group.kill();
        }
    }
    kill(&found);
    Ok(found.len())
}

/// Which of a guard's runs are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prey<'a> {
    /// Each.
    All,
    /// These.
    Of(&'a BTreeSet<RunKey>),
}

impl Prey<'_> {
    fn has(self, key: RunKey) -> bool {
        match self {
            Self::All => true,
            Self::Of(keys) => keys.contains(&key),
        }
    }

    fn groups(self, all: &Group) -> Vec<Group> {
        match self {
            Self::All => vec![all.clone()],
            Self::Of(keys) => keys.iter().map(|key| all.of_run(*key)).collect(),
        }
    }
}

fn kill(found: &BTreeSet<i32>) {
    for pid in found.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // One that has ended meanwhile is as dead; one that resists is seen by the next look.
        let _sent = kill_process(pid, Signal::KILL);
    }
}

/// Reaps those that have died as our own children; it fails for children of others, who reap them.
fn reap(dead: &BTreeSet<i32>) {
    for pid in dead.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _reaped = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Lists the living processes of a guard's runs; reaps those that have died as our own children.
fn find(left: &Left, prey: Prey<'_>) -> io::Result<BTreeSet<i32>> {
    let all = proc::all()?;
    let by_pid: BTreeMap<i32, &Proc> = all.iter().map(|proc| (proc.pid, proc)).collect();
    let sessions: BTreeSet<i32> = left
        .runs
        .iter()
        .filter(|run| prey.has(run.key) && is_still_its_own(run, &by_pid))
        .map(|run| run.pid)
        .collect();
    let marked = |proc: &Proc| {
        proc::mark(proc.pid).is_some_and(|mark| mark.guard == left.guard && prey.has(mark.key))
    };
    let mut ours: BTreeSet<i32> = all
        .iter()
        .filter(|proc| sessions.contains(&proc.sid) || marked(proc))
        .map(|proc| proc.pid)
        .collect();
    add_descendants(&all, &mut ours);
    let (dead, living): (Vec<&Proc>, Vec<&Proc>) = all
        .iter()
        .filter(|proc| ours.contains(&proc.pid))
        .partition(|proc| proc.is_zombie());
    reap(&dead.iter().map(|proc| proc.pid).collect());
    Ok(living.iter().map(|proc| proc.pid).collect())
}

fn is_still_its_own(run: &Recorded, by_pid: &BTreeMap<i32, &Proc>) -> bool {
    let latest = proc::ticks(run.started_at + START_SLACK);
    by_pid.get(&run.pid).is_none_or(|proc| proc.start <= latest)
}

fn add_descendants(all: &[Proc], ours: &mut BTreeSet<i32>) {
    loop {
        let before = ours.len();
        let children = all
            .iter()
            .filter(|proc| ours.contains(&proc.ppid))
            .map(|proc| proc.pid);
        let children: Vec<i32> = children.collect();
        ours.extend(children);
        if ours.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proc(pid: i32, ppid: i32, start: u64) -> Proc {
        Proc {
            pid,
            state: b'S',
            ppid,
            sid: 1,
            start,
        }
    }

    #[test]
    fn a_reused_number_is_not_ours() {
        let run = Recorded {
            key: RunKey(1),
            pid: 50,
            started_at: Duration::from_secs(100),
        };
        let ticks = |secs| proc::ticks(Duration::from_secs(secs));
        let rows = [
            (None, true),
            (Some(ticks(100)), true),
            (Some(ticks(1000)), false),
        ];
        for (start, own) in rows {
            let leader = start.map(|start| proc(50, 1, start));
            let by_pid = leader.iter().map(|proc| (proc.pid, proc)).collect();
            assert_eq!(is_still_its_own(&run, &by_pid), own);
        }
    }

    #[test]
    fn descendants_of_descendants_are_ours() {
        let all = [proc(9, 8, 0), proc(8, 7, 0), proc(7, 1, 0), proc(6, 1, 0)];
        let mut ours = BTreeSet::from([7]);
        add_descendants(&all, &mut ours);
        assert_eq!(ours, BTreeSet::from([7, 8, 9]));
    }
}
