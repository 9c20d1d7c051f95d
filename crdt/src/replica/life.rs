//! When a task may start and when a run must end, as far as its spec, the clock and people say so: what it depends on, the times
//! that it states, holds, retries, and the time that a run may take.
//!
//! Instants that people state are of the wall clock, and each host reads its own: a clock that is wrong moves a start, never the
//! rules of claims.

use std::time::Duration;

use super::{Replica, rank};
use crate::claim::Claim;
use crate::entry::{Bid, Total};
use crate::event::{CallEnd, Output};
use crate::fit::{self, Case, Host, Misfit};
use crate::graph::{Dependent, TaskIx};
use crate::ids::{Epoch, RunId, Tag, TaskId};
use crate::resolve;
use crate::task::{
    Cause, Condition, Exit, Limits, Options, Outcome, OutcomeDigest, RunReport, TaskSpec,
    TaskState, Verdict, Wish,
};
use crate::terms::Terms;
use crate::time::{Mono, Now, Wall};

/// A wall clock that goes so much faster or slower than the other, milliseconds, from one input to the next was set.
const STEP_MS: u64 = 500;
/// What a run that takes too long is sent first, and how long that gets before SIGKILL.
const SIGTERM: i32 = 15;
const GRACE: Duration = Duration::from_secs(10);
/// What a guard sends in the end.
const SIGKILL: i32 = 9;

impl Replica {
    fn options(&self, ix: TaskIx) -> Option<&Options> {
        self.known(ix).spec.as_deref().map(|spec| &spec.options)
    }

    /// The instant at which the wall clock will show `wall`, if nobody sets it; now, if it has.
    fn instant_of(&self, wall: Wall) -> Mono {
        let ahead = wall.0.saturating_sub(self.now.wall.0);
        self.now.mono + Duration::from_millis(ahead)
    }

    /// Looks again at all that waits for the wall clock, if that was set.
    pub(super) fn note_clock_step(&mut self, before: Now) {
        let passed = self.now.mono.since(before.mono).as_millis();
        let shown = i128::from(self.now.wall.0) - i128::from(before.wall.0);
        let stepped = shown.abs_diff(i128::try_from(passed).unwrap_or(i128::MAX));
        if stepped >= u128::from(STEP_MS) {
            self.dirty.append(&mut self.clocked);
        }
    }

    /// Says whether a person wants the task ended.
    pub(super) fn kill_wanted(&self, ix: TaskIx) -> bool {
        let want = self.known(ix).registers.want();
        want.is_some_and(|want| matches!(want.wish, Wish::Kill { .. }))
    }

    /// The instant after which it does not start; a person's word that it runs again comes later than that.
    fn expiry(&self, ix: TaskIx) -> Option<Wall> {
        let expires = self.options(ix)?.expires;
        expires.filter(|_| !self.known(ix).registers.is_wanted_again())
    }

    fn is_expired(&self, ix: TaskIx) -> bool {
        let expires = self.expiry(ix);
        expires.is_some_and(|at| at <= self.now.wall)
    }

    /// Says whether the task is to end without another run.
    pub(super) fn end_wanted(&self, ix: TaskIx) -> bool {
        self.kill_wanted(ix) || self.is_expired(ix) || self.superseded_by(ix).is_some()
    }

    /// Says why the task waits for a person, if it does: one wants it so, or too many hosts were lost with it.
    pub(super) fn held_back(&self, ix: TaskIx) -> Option<String> {
        let task = self.known(ix);
        let wish = task.registers.hold.as_ref();
        let forgiven = match wish.map(|want| &want.wish) {
            Some(Wish::Hold) => return wish.map(|want| format!("by {}", want.by)),
            Some(Wish::Release { forgiven }) => *forgiven,
            Some(
                Wish::Kill { .. }
                | Wish::Close { .. }
                | Wish::Retry { .. }
                | Wish::Again { .. }
                | Wish::Remove { .. }
                | Wish::Edit(_),
            )
            | None => {
                if self.options(ix).is_some_and(|options| options.held) {
                    return Some("since its submission".to_owned());
                }
                0
            }
        };
        let lost = task.registers.losses(forgiven);
        (self.most_losses > 0 && lost >= self.most_losses)
            .then(|| format!("{lost} of its runs were lost with their hosts"))
    }

    /// Says why this host can never run a task, if it cannot.
    pub(super) fn misfit(&self, ix: TaskIx) -> Option<Misfit> {
        let own = Host {
            name: &self.name,
            tag: self.tag,
            addresses: &self.addresses,
            platform: &self.platform,
            offer: &self.offered,
            runs_as: &self.runs_as,
        };
        fit::misfit(&self.case(ix)?, &own)
    }

    /// Returns what hosts are judged by; `None` if the task's spec is not here.
    pub(super) fn case(&self, ix: TaskIx) -> Option<Case<'_>> {
        let task = self.known(ix);
        Some(Case {
            spec: task.spec.as_deref()?,
            ooms: task.registers.ooms,
            author: task.id.tag,
            root_tasks: self.root_tasks,
        })
    }

    /// The instant before which it does not start: the one that it states, or the end of the pause after a failure.
    pub(super) fn due_at(&self, ix: TaskIx) -> Mono {
        let Some(options) = self.options(ix) else {
            return Mono(0);
        };
        self.stated_start(options)
            .max(self.tried_again_at(ix, options))
    }

    /// The instant that it states.
    pub(super) fn stated_start(&self, options: &Options) -> Mono {
        let stated = options.not_before.filter(|wall| *wall > self.now.wall);
        stated.map_or(Mono(0), |wall| self.instant_of(wall))
    }

    /// The end of the pause after a failure.
    pub(super) fn tried_again_at(&self, ix: TaskIx, options: &Options) -> Mono {
        if options.backoff.is_zero() {
            return Mono(0);
        }
        let task = self.known(ix);
        let failures = task.registers.tries(options.memory_ladder.len());
        let last = task.registers.last_retry().filter(|_| failures > 0);
        let Some(failed) = last else {
            return Mono(0);
        };
        let pause = options.pause_after(failures, rank(task.id, Epoch(failures), Tag(0)));
        let by_changes = task.changed + pause;
        let Some(report) = failed.report else {
            return by_changes;
        };
        // By the wall clock where that is sooner: after a restart, everything was changed just now.
        let span = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        by_changes.min(self.instant_of(Wall(report.ended.0.saturating_add(span))))
    }

    /// Wakes a task that is not claimed here when the clock changes what may become of it.
    pub(super) fn wake_by_clock(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        if task.claim.is_some() || task.complete.is_some() || task.doomed.is_some() {
            return;
        }
        let due = self.due_at(ix);
        if due > self.now.mono {
            self.wake_no_later(ix, due);
        }
        self.wake_at_expiry(ix);
    }

    /// Wakes a task when it expires.
    pub(super) fn wake_at_expiry(&mut self, ix: TaskIx) {
        if let Some(expires) = self.expiry(ix).filter(|at| *at > self.now.wall) {
            self.wake_no_later(ix, self.instant_of(expires));
        }
    }

    fn wake_no_later(&mut self, ix: TaskIx, at: Mono) {
        self.clocked.insert(ix);
        if self.known(ix).wake.is_none_or(|wake| wake > at) {
            self.wake_task(ix, at);
        }
    }

    /// How many steps the ladder of memory has.
    pub(super) fn rungs(&self, ix: TaskIx) -> usize {
        self.options(ix)
            .map_or(0, |options| options.memory_ladder.len())
    }

    /// A1: what counts no more when a person wants a task that has ended to run again: the outcome that was committed, and what
    /// else was found out by then, so that no run of before is taken for the next one's.
    pub(super) fn outcomes_to_void(&self, ix: TaskIx) -> Vec<OutcomeDigest> {
        let task = self.known(ix);
        let Some(committed) = task.complete.as_ref().map(|outcome| outcome.digest()) else {
            return Vec::new();
        };
        let up_to = match self.terms(ix) {
            Terms::Anywhere => Epoch::LAST,
            Terms::Lease | Terms::Votes => resolve::accepted_at(&task.registers, committed),
        };
        let others = task.registers.outcomes_up_to(up_to);
        let others = others.into_iter().filter(|digest| *digest != committed);
        std::iter::once(committed)
            .chain(others)
            .take(Wish::MOST_VOID)
            .collect()
    }

    /// A3: a bid that became nothing because the task had ended was not given up then; it is once the task is wanted again.
    pub(super) fn give_up_idle_bid(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        let idle = task.registers.is_wanted_again() && task.claim.is_none() && !self.stalled;
        let bid = task.registers.bid(self.tag).filter(|_| idle);
        if let Some(bid) = bid.filter(|bid| !task.registers.is_over(self.tag, bid.epoch)) {
            let bid = Bid {
                index: task.index,
                epoch: bid.epoch,
                gave_up: true,
            };
            self.stage_bid(ix, bid);
        }
    }

    /// Lets a task that has ended go on, if a person made its outcome void.
    pub(super) fn reopen(&mut self, ix: TaskIx) {
        let task = &mut self.tasks[ix as usize];
        let ended = task.complete.as_ref();
        if !ended.is_some_and(|outcome| task.registers.is_void(outcome.digest())) {
            return;
        }
        task.complete = None;
        self.count_unfinished(ix, 1);
        self.changed(ix);
    }

    /// Links a new task to what it depends on.
    pub(super) fn link(&mut self, ix: TaskIx, spec: &TaskSpec) {
        for (dependency, condition) in spec.dependencies() {
            self.wake_one(dependency);
            let state = self.state_of(dependency);
            let met = state.is_some_and(|state| condition.is_met(state));
            let task = &mut self.tasks[ix as usize];
            task.unmet += u32::from(!met);
            if state.is_some_and(|state| condition.is_hopeless(state)) {
                task.doomed = Some(dependency);
            }
            let dependent = Dependent {
                task: ix,
                condition,
                met,
            };
            self.graph.depend(dependency, dependent);
        }
    }

    fn state_of(&self, id: TaskId) -> Option<TaskState> {
        self.find(id).map(|ix| self.known(ix).state)
    }

    /// Tells those that depend on a task what has become of it: it ended, or what it had ended as does not count any more. Then
    /// what has not begun waits again; what runs, runs on.
    pub(super) fn tell_dependents(&mut self, id: TaskId, state: TaskState) {
        let mut told = Vec::new();
        for dependent in self.graph.dependents_mut(id) {
            let before = *dependent;
            dependent.met = before.condition.is_met(state);
            told.push((before, dependent.met));
        }
        self.counters.touched += told.len() as u64;
        for (
            Dependent {
                task: ix,
                condition,
                met: was,
            },
            met,
        ) in told
        {
            let task = &mut self.tasks[ix as usize];
            if met != was {
                task.unmet = if met {
                    task.unmet.saturating_sub(1)
                } else {
                    task.unmet + 1
                };
            }
            // Also the outcome of a task that may run anywhere can give way to a better one.
            let doomed = task.doomed;
            let now = if condition.is_hopeless(state) {
                doomed.or(Some(id))
            } else if doomed == Some(id) {
                self.hopeless_dependency(ix)
            } else {
                doomed
            };
            self.tasks[ix as usize].doomed = now;
            if met != was || now != doomed {
                self.free(&[ix]);
            }
        }
    }

    fn hopeless_dependency(&self, ix: TaskIx) -> Option<TaskId> {
        let spec = self.known(ix).spec.as_deref()?;
        let hopeless = |(id, condition): &(TaskId, Condition)| {
            let state = self.state_of(*id);
            state.is_some_and(|state| condition.is_hopeless(state))
        };
        spec.dependencies().find(hopeless).map(|(id, _)| id)
    }

    /// Since when a run of this host goes on that an earlier start of it began.
    pub(super) fn running_since(&self, ix: TaskIx, epoch: Epoch) -> Option<Mono> {
        let started = self.own_mark(ix, epoch)?.started?;
        let age = self.now.wall.0.saturating_sub(started.0);
        Some(self.now.mono - Duration::from_millis(age))
    }

    /// Ends a run that a person wants ended, or that takes too long: first by a signal, then by SIGKILL.
    pub(super) fn end_run_if_due(&mut self, ix: TaskIx, claim: &Claim, run: RunId) {
        let Some((signal, grace)) = self.ending(ix, claim) else {
            return;
        };
        match claim.signalled {
            None => {
                self.outputs.push_back(Output::Signal(run, signal));
                self.with_claim(ix, |claim, now| claim.signalled = Some(now));
                self.wake_task(ix, self.now.mono + grace);
            }
            Some(at) if self.now.mono >= at + grace => self.outputs.push_back(Output::Kill(run)),
            Some(at) => self.wake_task(ix, at + grace),
        }
    }

    /// How a run is ended now; if it is to end later, the task is woken then.
    fn ending(&mut self, ix: TaskIx, claim: &Claim) -> Option<(i32, Duration)> {
        let want = self.known(ix).registers.want();
        if let Some(Wish::Kill { signal, grace, .. }) = want.map(|want| &want.wish) {
            return Some((*signal, *grace));
        }
        let timeout = self.options(ix)?.timeout?;
        let over = claim.started? + timeout;
        if over <= self.now.mono || claim.signalled.is_some() {
            return Some((SIGTERM, GRACE));
        }
        self.wake_no_later(ix, over);
        None
    }

    /// Says whether a failed run may be followed by another.
    pub(super) fn has_tries_left(&self, ix: TaskIx) -> bool {
        let task = self.known(ix);
        task.spec.as_ref().is_some_and(|spec| {
            // A step up the ladder of memory is a try of its own.
            task.registers.tries(spec.options.memory_ladder.len()) < spec.retries
        })
    }

    /// A run ended by itself, or by a signal that it was sent; a call may have `said` why.
    pub(super) fn exited(&mut self, ix: TaskIx, report: RunReport, said: Option<CallEnd>) {
        let task = self.known(ix);
        let Some(claim) = task.claim else { return };
        let superseded = task.complete.is_some() && self.terms(ix) == Terms::Anywhere;
        if superseded && report.exit == Exit::Signal(SIGKILL) {
            // It was killed for an outcome that counts already.
            return self.give_up(ix);
        }
        let told_to_end = claim.signalled.is_some();
        let killed = told_to_end && self.kill_wanted(ix);
        let limited = self.options(ix).is_some_and(|of| of.timeout.is_some());
        let cause = match report.exit {
            _ if told_to_end && !killed && limited => Some(Cause::Timeout),
            Exit::Code(0) => None,
            Exit::Code(_) | Exit::Signal(_) if report.limits.has(Limits::OUT_OF_MEMORY) => {
                Some(Cause::Oom)
            }
            Exit::Code(_) if matches!(said, Some(CallEnd::Refused(_))) => Some(Cause::Call),
            Exit::Code(code) => Some(Cause::Codes(code, code)),
            Exit::Signal(signal) => Some(Cause::Signal(Some(signal))),
        };
        let again = |cause| {
            let Some(options) = self.options(ix) else {
                return false;
            };
            let rungs = options.memory_ladder.len();
            let climbs = (self.known(ix).registers.ooms as usize) < rungs;
            cause == Cause::Oom && climbs || self.has_tries_left(ix) && options.retries_after(cause)
        };
        let verdict = match cause {
            None => Verdict::Success,
            Some(_) if killed => Verdict::Killed,
            Some(cause) if again(cause) => Verdict::Retry,
            Some(cause @ (Cause::Timeout | Cause::Oom)) => {
                Verdict::Failure(Some(cause.to_string()))
            }
            Some(Cause::Codes(..) | Cause::Signal(_) | Cause::Call) => {
                Verdict::Failure(said.map(|said| match said {
                    CallEnd::Refused(why) => format!("{}: {why}", Verdict::CALL),
                    CallEnd::Raised(why) => why,
                }))
            }
        };
        let total = if verdict == Verdict::Success {
            Total::Succeeded
        } else {
            Total::Failed
        };
        self.stage(ix).count(total);
        let mut outcome = self.outcome(ix, claim.epoch, verdict, Some(report));
        if outcome.verdict == Verdict::Retry {
            // What they count by: see `Registers::ooms`.
            let told = cause.filter(|cause| matches!(cause, Cause::Timeout | Cause::Oom));
            outcome.reason = told.map(|cause| cause.to_string());
        }
        self.conclude(ix, outcome);
    }

    /// Returns an outcome of this node, with what a person or the clock had to do with it.
    pub(super) fn outcome(
        &self,
        ix: TaskIx,
        epoch: Epoch,
        verdict: Verdict,
        report: Option<RunReport>,
    ) -> Outcome {
        let want = self.known(ix).registers.want();
        let asked = match want.map(|want| (&want.wish, &want.by)) {
            Some((Wish::Kill { reason, .. }, by)) => Some(match reason {
                Some(reason) => format!("{reason} ({by})"),
                None => format!("by {by}"),
            }),
            Some(_) | None => None,
        };
        let reason = match verdict {
            Verdict::Killed => asked,
            Verdict::Cancelled => asked
                .or_else(|| self.superseded(ix))
                .or_else(|| Some("expired".to_owned())),
            Verdict::Success | Verdict::Failure(_) | Verdict::Retry | Verdict::Lost => None,
        };
        Outcome {
            origin: (epoch, self.tag),
            verdict,
            report,
            reason,
        }
    }

    /// Says why a task that nobody has claimed may not start yet, if it is not for want of a host.
    pub(super) fn why_not_yet(&self, ix: TaskIx) -> Option<(TaskState, String)> {
        let task = self.known(ix);
        let blocked = |why: &str| Some((TaskState::Blocked, why.to_owned()));
        if let Some(why) = self.held_back(ix) {
            return Some((TaskState::Held, why));
        }
        if task.unmet > 0 {
            return blocked("waits for other tasks");
        }
        if !self.window_lets(ix) {
            return blocked("waits for its group's window");
        }
        let options = self.options(ix)?;
        if options.not_before.is_some_and(|at| at > self.now.wall) {
            return blocked("waits for its time");
        }
        (self.tried_again_at(ix, options) > self.now.mono).then(|| {
            let failures = task.registers.tries(options.memory_ladder.len());
            let tries = task.spec.as_ref().map_or(0, |spec| spec.retries);
            (
                TaskState::Blocked,
                format!("waits before retry {failures} of {tries}"),
            )
        })
    }
}
