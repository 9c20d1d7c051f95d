//! For how long a node stays that is not meant to stay for ever: for one task, until nothing is left to run, or until it was idle
//! for a while. Then it takes nothing more, waits until what it has done is settled, and leaves as if it were told to.

use std::time::Duration;

use crdt::event::{Input, RunEnd};
use crdt::ids::RunId;
use tracing::info;

use super::leaving::Leaving;
use super::node::Node;
use super::succession::estate::Mind;
use crate::clock::boottime;
use crate::config::Until;

/// Between two looks for work that is left.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is known about the reasons to leave.
#[derive(Debug)]
pub(super) struct Stay {
    until: Until,
    /// The task that was taken, of those that are to be one.
    one: One,
    /// Since when nothing has run here.
    idle: Duration,
    look_at: Duration,
}

/// How far it is with a single task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum One {
    /// None has been started.
    Wanted,
    /// This is it.
    Runs(RunId),
    /// It has ended.
    Ended(RunId),
}

impl Stay {
    /// A node that begins to stay, idle since then or since an earlier program of its process was.
    pub(super) fn new(until: Until, idle: Option<Duration>) -> Self {
        Self {
            until,
            one: One::Wanted,
            idle: idle.unwrap_or_else(boottime),
            look_at: boottime(),
        }
    }

    /// Since when nothing has run here.
    pub(super) fn idle_since(&self) -> Duration {
        self.idle
    }

    fn is_over(&self) -> bool {
        self.until.one && matches!(self.one, One::Ended(_))
    }
}

impl Until {
    /// How many claims a node may have at a time.
    fn most_claims(self) -> usize {
        if self.one { 1 } else { usize::MAX }
    }

    /// How many it may have at its start, before it has been told of the runs that were `found`, and of what is on its mind.
    pub(super) fn first_claims(self, mind: &Mind, found: usize) -> usize {
        if mind.drained || self.one && found > 0 {
            0
        } else {
            self.most_claims()
        }
    }
}

impl Node {
    /// Lets tasks be taken, as far as they are wanted.
    pub(super) fn begin_stay(&mut self) {
        self.feed_drain();
        self.feed(Input::MostClaims(self.settings.until.most_claims()));
    }

    /// A run is about to start, or was found.
    pub(super) fn run_begins(&mut self, run: RunId) {
        if self.settings.until.one && self.stay.one == One::Wanted {
            self.stay.one = One::Runs(run);
            self.feed(Input::Drain(true));
        }
    }

    /// Tells the replica that a run has ended or has not begun.
    pub(super) fn run_is_over(&mut self, run: RunId, end: RunEnd) {
        let came_to_an_end = match end {
            RunEnd::Exited(_)
            | RunEnd::Called(..)
            | RunEnd::Impossible { .. }
            | RunEnd::NoInput(_) => true,
            RunEnd::Expired
            | RunEnd::TooLate
            | RunEnd::Withdrawn
            | RunEnd::Unfit(_)
            | RunEnd::Misplaced(_) => false,
        };
        self.feed(Input::RunEnded(run, end));
        self.stay.idle = boottime();
        if self.stay.one != One::Runs(run) {
            return;
        }
        if came_to_an_end {
            self.stay.one = One::Ended(run);
        } else {
            // It was none: the next one is.
            self.stay.one = One::Wanted;
            self.feed_drain();
        }
    }

    /// Tells the replica whether it may take tasks.
    pub(super) fn feed_drain(&mut self) {
        let full = self.settings.until.one && self.stay.one != One::Wanted;
        let on = full || self.drained_by_hand || self.leaving != Leaving::No;
        self.feed(Input::Drain(on));
    }

    /// When it is to be looked at the reasons to leave again.
    pub(super) fn stay_due(&self) -> Option<Duration> {
        if self.leaving != Leaving::No {
            return None;
        }
        let Until { to_end, idle, .. } = self.settings.until;
        let idle = idle.filter(|_| self.runs.is_empty());
        let idle = idle.map(|span| self.stay.idle.saturating_add(span));
        let look = to_end.then_some(self.stay.look_at);
        [idle, look].into_iter().flatten().min()
    }

    /// Begins to leave if there is a reason to, and leaves once what was done is settled.
    pub(super) fn mind_stay(&mut self) {
        if self.leaving == Leaving::No
            && let Some(why) = self.why_leave()
        {
            info!(why, "leaving: no new task is taken");
            self.end_succession();
            self.leaving = Leaving::Settling;
            self.feed_drain();
        }
        if self.leaving == Leaving::Settling && self.is_settled() {
            self.end_runs();
        }
    }

    fn why_leave(&mut self) -> Option<&'static str> {
        if self.stay.is_over() {
            return Some("the one task has ended");
        }
        let now = boottime();
        if self.stay_due().is_none_or(|at| at > now) {
            return None;
        }
        let Until { to_end, idle, .. } = self.settings.until;
        if to_end && self.stay.look_at <= now {
            self.stay.look_at = now + LOOK_EVERY;
            if self.knows_all() && !self.replica.has_work_left() {
                return Some("nothing is left to run");
            }
        }
        let idle_until = idle.map(|span| self.stay.idle.saturating_add(span));
        let long_idle = self.runs.is_empty() && idle_until.is_some_and(|at| at <= now);
        long_idle.then_some("nothing has run here for long enough")
    }

    /// Whether there is nobody who could know of a task that this node does not.
    fn knows_all(&self) -> bool {
        let alone = self.replica.members().len() == 1 && !self.has_bootstrap;
        alone || self.replica.is_in_step()
    }

    /// Whether nobody waits for anything that this node has begun.
    fn is_settled(&self) -> bool {
        let concluded = match self.stay.one {
            One::Ended(run) => self.replica.is_concluded(run),
            One::Wanted | One::Runs(_) => true,
        };
        let nothing_claimed = self.runs.is_empty() && self.replica.live_claims() == 0;
        concluded && nothing_claimed && self.unconfirmed.is_none()
    }
}
