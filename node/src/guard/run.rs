//! One run, from its start to the moment when nothing of it lives.
//!
//! ```text
//! Running --exit--> Leaving --nothing lives--> (ended)
//!    |                 ^
//!    +-kill-> Dying ---+ exit
//! ```
//! `Dying`: all has been killed, the leader has not been reaped. `Leaving`: the leader has been
//! reaped; its group was killed just before, while its number was still its own. Where it has a cgroup, nothing lives only once
//! the kernel has removed that.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};

use super::cgroup::{Group, Held};
use super::deadlines::kill_run;
use super::proc;
use super::protocol::{Cause, Core, Ended, How, Label, RunKey, Sink, StartRun, Usage};
use super::records::Slot;
use super::strays::{Owner, Place};

/// How long a `SIGKILL` may take before the node is told, as of something that a person must look at. A process needs a processor to
/// die: where a dozen others want the same one, that can take more than a second (seen with storms of forks). A guess beyond that.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Shortest and longest time between two strikes at a run that should be gone; a quarter of the time for which it should be. What is
/// frozen to be killed dies once it is left alone, on a busy machine not at once. The usual end needs no second: a child's end wakes
/// the guard.
const STRIKE_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// A run whose program was executed.
#[derive(Debug)]
pub(super) struct Run {
    /// The node's handle.
    pub(super) key: RunKey,
    /// What the node calls it.
    pub(super) label: Label,
    /// What the node wants to be told of it again.
    pub(super) memo: Vec<u8>,
    /// When a node first asked for a signal or for its end.
    pub(super) asked: Option<Duration>,
    /// Its leader.
    pub(super) leader: Pid,
    /// When it was started.
    pub(super) started_at: Duration,
    /// Its place in the guard's file.
    pub(super) slot: Slot,
    group: Option<Group>,
    held: Held,
    out_of_memory: bool,
    started_ticks: u64,
    stdout: Option<PathBuf>,
    stderr: Option<PathBuf>,
    usage: Usage,
    phase: Phase,
    stop: Option<Cause>,
    signals: u64,
    /// When it was struck last.
    struck: Duration,
    stuck: Stuck,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    Dying { since: Duration },
    Leaving { since: Duration, how: How },
}

/// Whether the node was told that a run does not die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stuck {
    Untold,
    Told,
}

impl Run {
    /// A run that has just been started, in this cgroup if it has one, with these limits.
    pub(super) fn new(
        order: &StartRun,
        leader: Pid,
        (group, held): (Option<Group>, Held),
        started_at: Duration,
        slot: Slot,
    ) -> Self {
        let captured = |sink: &Sink| match sink {
            Sink::Captured(path) => Some(path.clone()),
            Sink::File(_) => None,
        };
        Self {
            key: order.key,
            label: order.label,
            memo: order.memo.clone(),
            asked: None,
            leader,
            started_at,
            slot,
            group,
            held,
            out_of_memory: false,
            started_ticks: proc::ticks(started_at),
            stdout: captured(&order.stdout),
            stderr: captured(&order.stderr).filter(|_| order.stderr != order.stdout),
            usage: Usage::default(),
            phase: Phase::Running,
            stop: None,
            signals: 0,
            struck: Duration::ZERO,
            stuck: Stuck::Untold,
        }
    }

    /// Where its leader is.
    pub(super) fn place(&self) -> Place {
        match self.phase {
            Phase::Running | Phase::Dying { .. } => Place::Here,
            Phase::Leaving { .. } => Place::Reaped,
        }
    }

    /// Whether it still runs, and nobody has killed it.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Since when it should be gone.
    pub(super) fn ending_since(&self) -> Option<Duration> {
        match self.phase {
            Phase::Running => None,
            Phase::Dying { since } | Phase::Leaving { since, .. } => Some(since),
        }
    }

    /// Kills it. The first cause stands.
    pub(super) fn kill(&mut self, cause: Cause, now: Duration) {
        self.stop.get_or_insert(cause);
        if self.is_running() {
            self.phase = Phase::Dying { since: now };
        }
        self.strike(now);
    }

    /// When it is struck again, if it should be gone.
    pub(super) fn next_strike(&self) -> Option<Duration> {
        let waited = self.struck.saturating_sub(self.ending_since()?);
        Some(self.struck + (waited / 4).clamp(STRIKE_AGAIN.0, STRIKE_AGAIN.1))
    }

    /// Strikes it again once it is time: some of it may have become killable since (they gave up another user's rights), or have been
    /// made meanwhile.
    pub(super) fn strike_again(&mut self, now: Duration) {
        if self.next_strike().is_some_and(|at| at <= now) {
            self.strike(now);
        }
    }

    /// Sends `SIGKILL` to all of it that can be found from here.
    fn strike(&mut self, now: Duration) {
        self.struck = now;
        if self.place() == Place::Here {
            kill_run(self.leader);
        }
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    /// The processes in its cgroup.
    pub(super) fn members(&self) -> Vec<i32> {
        self.group.as_ref().map_or_else(Vec::new, Group::processes)
    }

    /// Notes that the node asked it to end in its own way.
    pub(super) fn ask(&mut self) {
        self.stop.get_or_insert(Cause::Asked);
    }

    /// Notes a signal that the node sent.
    pub(super) fn signalled(&mut self, signo: i32) {
        self.signals |= 1_u64.checked_shl(signo.unsigned_abs()).unwrap_or(0);
    }

    /// Adds what one of its processes used.
    pub(super) fn add_usage(&mut self, usage: Usage) {
        self.usage.add(usage);
    }

    /// Notes the end of its leader, which has been reaped.
    pub(super) fn leader_ended(&mut self, status: ExitStatus, now: Duration) {
        let how = how(status);
        let since = self.ending_since().unwrap_or(now);
        if self.stop == Some(Cause::DeadlineKill) && !is_sigkill(how) {
            // It came to its end just before it was killed.
            self.stop = Some(Cause::ByItself);
        }
        self.out_of_memory = self.held.has_run_out();
        self.phase = Phase::Leaving { since, how };
    }

    /// Whether a stray is to be killed for this run to have ended.
    pub(super) fn owns(&self, owner: Owner) -> bool {
        match owner {
            Owner::Run(key) => key == self.key,
            Owner::Anyone { start } | Owner::Unclear { start } => start >= self.started_ticks,
        }
    }

    /// Whether any process is left in its process group or its cgroup.
    pub(super) fn lives(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Dying { .. } => true,
            Phase::Leaving { .. } => {
                test_kill_process_group(self.leader) != Err(Errno::SRCH)
                    || self.group.as_ref().is_some_and(|group| !group.is_gone())
            }
        }
    }

    /// Whether the node must be told now that this run does not die; true once.
    pub(super) fn turned_stuck(&mut self, now: Duration) -> bool {
        let late = self
            .ending_since()
            .is_some_and(|since| now >= since + STUCK_AFTER);
        let turned = late && self.stuck == Stuck::Untold;
        if turned {
            self.stuck = Stuck::Told;
        }
        turned
    }

    /// The report of a run of which nothing lives; removes the files of empty outputs, and what limited it. `None` if
    /// its leader lives.
    pub(super) fn report(&self, now: Duration) -> Option<Ended> {
        let Phase::Leaving { how, .. } = self.phase else {
            return None;
        };
        self.held.remove();
        Some(Ended {
            key: self.key,
            how,
            cause: self.stop.unwrap_or_else(|| self.own_cause(how)),
            usage: self.usage,
            started_at: self.started_at,
            ended_at: now,
            stdout_bytes: self.stdout.as_ref().map_or(0, bytes_of),
            stderr_bytes: self.stderr.as_ref().map_or(0, bytes_of),
            out_of_memory: self.out_of_memory,
            limited: self.held.limited(),
        })
    }

    fn own_cause(&self, how: How) -> Cause {
        match how {
            How::Signalled { signo, .. } if self.signals >> signo & 1 == 1 => Cause::Asked,
            How::Signalled { .. } | How::Exited(_) => Cause::ByItself,
        }
    }
}

fn how(status: ExitStatus) -> How {
    match status.signal() {
        Some(signo) => {
            let core = if status.core_dumped() {
                Core::Dumped
            } else {
                Core::None
            };
            How::Signalled { signo, core }
        }
        None => How::Exited(status.code().unwrap_or(-1)),
    }
}

fn is_sigkill(how: How) -> bool {
    matches!(
        how,
        How::Signalled {
            signo: libc::SIGKILL,
            ..
        }
    )
}

/// Size of an output; an empty file is removed, since there is nothing to keep.
fn bytes_of(path: &PathBuf) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if meta.is_file() && meta.len() == 0 {
        // One that cannot be removed is as empty as before.
        let _removed = std::fs::remove_file(path);
    }
    if meta.is_file() { meta.len() } else { 0 }
}
