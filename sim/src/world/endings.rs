//! Runs: how they end: by themselves, by a signal, at their deadline, with their guard or with their host; how they stand still with it; and what
//! a node that starts finds of them.

use crdt::event::{FoundRun, Input, RunEnd};
use crdt::ids::RunId;
use crdt::task::{Captured, Exit, Limits, RunReport, Usage};
use crdt::time::Wall;

use super::guards::name;
use super::{GuardPace, World};
use crate::chance;
use crate::host::{Cause, Guard, GuardFlaw, Kept, Mode, Phase};
use crate::plan::{Manners, Plan};
use crate::queue::{Event, HostIx, RunEvent};
use crate::timeline::Mark;

const SIGKILL: i32 = 9;

/// What a guard says of a run to a node that starts.
fn found_run(guard: &Guard) -> FoundRun {
    FoundRun {
        run: guard.order.run,
        deadline: guard.order.deadline,
        signalled: guard.signalled,
        units: guard.order.units.clone(),
    }
}

impl World {
    /// Draws how long a kill takes: within the guard's bound.
    fn kill_time(&mut self, host: HostIx) -> u64 {
        let bound = chance::nanos(self.setup.timing.kill_latency);
        let local = match (self.guard_flaw(), self.setup.guards) {
            (Some(GuardFlaw::Slow), _) => chance::nanos(self.setup.timing.lease),
            (_, GuardPace::Worst) => bound,
            (_, GuardPace::Usual) => chance::up_to(&mut self.hosts[host].chance, bound),
        };
        self.hosts[host].clock.stretch(local)
    }

    /// Kills what there is of a run.
    pub(super) fn kill_run(&mut self, host: HostIx, run: RunId, cause: Cause) {
        let time = self.kill_time(host);
        let Some(guard) = self.hosts[host].guards.get_mut(&run) else {
            return;
        };
        match guard.phase {
            Phase::Dying(_) => {}
            Phase::Ordered { .. } | Phase::Arming { .. } => {
                self.hosts[host].guards.remove(&run);
                let delay = self.latency(host, 60_000);
                self.tell_in(delay, host, Input::RunEnded(run, RunEnd::TooLate));
            }
            Phase::Runs { .. } | Phase::Frozen { .. } => {
                guard.phase = Phase::Dying(cause);
                let serial = guard.serial;
                self.after(
                    time,
                    Event::Run {
                        host,
                        run,
                        serial,
                        what: RunEvent::Reaped,
                    },
                );
            }
        }
    }

    pub(super) fn reaped(&mut self, host: HostIx, run: RunId) {
        let Some(guard) = self.hosts[host].guards.remove(&run) else {
            return;
        };
        let Phase::Dying(cause) = guard.phase else {
            return;
        };
        let delay = self.latency(host, 60_000);
        match cause {
            Cause::Ordered => {
                self.end_mark(host, run, Mark::End, "killed on order");
                let tag = self.hosts[host].tag;
                self.oracle.exited(run, (host, tag), Exit::Signal(SIGKILL));
                let report = self.report_of(host, &guard, Exit::Signal(SIGKILL));
                self.tell_end(delay, host, &guard, RunEnd::Exited(report));
            }
            Cause::Deadline => {
                self.end_mark(host, run, Mark::Expired, "killed at its deadline");
                self.oracle.expired(run, host);
                self.tell_end(delay, host, &guard, RunEnd::Expired);
            }
            Cause::Guardless => {
                self.end_mark(host, run, Mark::Expired, "killed with its guard");
                self.oracle.expired(run, host);
                self.tell_in(delay, host, Input::RunEnded(run, RunEnd::Expired));
            }
        }
    }

    /// The guard of a host is killed (-9): the kernel kills its runs, what it kept is gone, and its node has another at once. A
    /// host that stands still has nobody to do that.
    pub fn kill_guard(&mut self, host: HostIx) {
        if self.guard_flaw() == Some(GuardFlaw::Absent) || self.hosts[host].mode == Mode::Frozen {
            return;
        }
        self.timeline.note(self.now, Some(host), Mark::Crash, || {
            "guard killed".to_owned()
        });
        self.hosts[host].kept.clear();
        let runs: Vec<RunId> = self.hosts[host].guards.keys().copied().collect();
        for run in runs {
            self.lose_guard(host, run);
        }
    }

    fn lose_guard(&mut self, host: HostIx, run: RunId) {
        let delay = self.latency(host, 300_000);
        let Some(guard) = self.hosts[host].guards.get_mut(&run) else {
            return;
        };
        match guard.phase {
            // The next guard gets it, or it is being killed already.
            Phase::Ordered { .. } | Phase::Dying(_) => {}
            Phase::Arming { .. } => {
                self.hosts[host].guards.remove(&run);
                self.tell_in(delay, host, Input::RunEnded(run, RunEnd::TooLate));
            }
            Phase::Runs { .. } | Phase::Frozen { .. } => {
                guard.phase = Phase::Dying(Cause::Guardless);
                let (serial, what) = (guard.serial, RunEvent::Reaped);
                let event = Event::Run {
                    host,
                    run,
                    serial,
                    what,
                };
                self.after(delay, event);
            }
        }
    }

    /// A guard keeps an end, and tells its node, if that lives.
    fn tell_end(&mut self, delay: u64, host: HostIx, guard: &Guard, end: RunEnd) {
        let found = found_run(guard);
        let run = found.run;
        let kept = Kept {
            found,
            end: end.clone(),
        };
        self.hosts[host].kept.insert(run, kept);
        self.tell_in(delay, host, Input::RunEnded(run, end));
    }

    fn end_mark(&mut self, host: HostIx, run: RunId, mark: Mark, how: &str) {
        self.timeline.note(self.now, Some(host), mark, || {
            format!("{} {how}", name(run))
        });
        self.timeline.bar_ends(self.now, host, run, mark);
    }

    pub(super) fn exit_itself(&mut self, host: HostIx, run: RunId, freezes: u32) {
        let Some(guard) = self.hosts[host].guards.get(&run) else {
            return;
        };
        let Phase::Runs { until } = guard.phase else {
            return;
        };
        if guard.freezes != freezes || self.now < until {
            return;
        }
        let failed = self.oracle.exits(run.task) < guard.plan.failures;
        let exit = Exit::Code(if failed { guard.plan.code } else { 0 });
        self.process_ends(host, run, exit);
    }

    pub(super) fn signal(&mut self, host: HostIx, run: RunId, signal: i32) {
        let Some(guard) = self.hosts[host].guards.get_mut(&run) else {
            return;
        };
        match guard.phase {
            // The node passes it on when it forks the guard.
            Phase::Ordered { .. } => {
                guard.phase = Phase::Ordered {
                    signal: Some(signal),
                }
            }
            Phase::Arming { .. } => {
                guard.phase = Phase::Arming {
                    signal: Some(signal),
                }
            }
            Phase::Runs { .. } => {
                if guard.plan.manners == Manners::Obeys || signal == SIGKILL {
                    self.process_ends(host, run, Exit::Signal(signal));
                }
            }
            Phase::Frozen { .. } | Phase::Dying(_) => {}
        }
    }

    /// A process ended by itself or by a signal; its guard says so to the node, if that is still the one that ordered it.
    fn process_ends(&mut self, host: HostIx, run: RunId, exit: Exit) {
        let Some(guard) = self.hosts[host].guards.remove(&run) else {
            return;
        };
        self.last_exit = Some((host, run));
        self.end_mark(host, run, Mark::End, &format!("ends, {exit:?}"));
        let tag = self.hosts[host].tag;
        self.oracle.exited(run, (host, tag), exit);
        let report = self.report_of(host, &guard, exit);
        let delay = self.latency(host, 60_000);
        self.tell_end(delay, host, &guard, RunEnd::Exited(report));
    }

    fn report_of(&self, host: HostIx, guard: &Guard, exit: Exit) -> RunReport {
        let ended = self.hosts[host].clock.read(self.now).wall;
        let length = u64::try_from(guard.plan.length.as_millis()).unwrap_or(u64::MAX);
        let ran_out = exit == Exit::Code(Plan::OUT_OF_MEMORY);
        let limits = std::iter::once(Limits::OUT_OF_MEMORY).filter(|_| ran_out);
        RunReport {
            limits: limits.collect(),
            exit,
            started: Wall(ended.0.saturating_sub(length)),
            ended,
            usage: Usage::default(),
            stdout: Captured::default(),
            stderr: Captured::default(),
        }
    }

    /// A node asked for a signal or for a run's end; its guard remembers that for the next start of the node.
    pub(super) fn note_signal(&mut self, host: HostIx, run: RunId) {
        let local = self.hosts[host].local(self.now);
        if let Some(guard) = self.hosts[host].guards.get_mut(&run) {
            guard.signalled.get_or_insert(local);
        }
    }

    /// G3: what a node that starts finds: runs that its guard has, and ends that no node has made durable.
    pub(super) fn found(&self, host: HostIx) -> (Vec<FoundRun>, Vec<Input>) {
        if self.guard_flaw() == Some(GuardFlaw::Absent) {
            return (Vec::new(), Vec::new());
        }
        let node = &self.hosts[host];
        let (mut runs, mut inputs) = (Vec::new(), Vec::new());
        for guard in node.guards.values() {
            runs.push(found_run(guard));
            if !matches!(guard.phase, Phase::Ordered { .. } | Phase::Arming { .. }) {
                inputs.push(Input::RunStarted(guard.order.run));
            }
        }
        for kept in node.kept.values() {
            runs.push(kept.found.clone());
            inputs.push(Input::RunStarted(kept.found.run));
            inputs.push(Input::RunEnded(kept.found.run, kept.end.clone()));
        }
        (runs, inputs)
    }

    /// A node's disk has taken something: ends that are durable are forgotten.
    pub(super) fn forget_ends(&mut self, host: HostIx) {
        let node = &mut self.hosts[host];
        if let Some(replica) = &node.replica {
            node.kept.retain(|run, _| !replica.is_settled(*run));
        }
    }

    /// Everything on a host stands still; so do its processes.
    pub(super) fn freeze_runs(&mut self, host: HostIx) {
        let now = self.now;
        for (run, guard) in &mut self.hosts[host].guards {
            guard.freezes += 1;
            match guard.phase {
                Phase::Runs { until } => {
                    guard.phase = Phase::Frozen {
                        left: until.saturating_sub(now),
                    };
                    self.oracle.frozen(*run, host);
                }
                Phase::Dying(_) => self.oracle.frozen(*run, host),
                Phase::Ordered { .. } | Phase::Arming { .. } | Phase::Frozen { .. } => {}
            }
        }
    }

    /// It goes on: guards look at their deadlines first.
    pub(super) fn thaw_runs(&mut self, host: HostIx) {
        let (now, local) = (self.now, self.hosts[host].local(self.now));
        let flaw = self.guard_flaw();
        let runs: Vec<RunId> = self.hosts[host].guards.keys().copied().collect();
        for run in runs {
            let Some(guard) = self.hosts[host].guards.get_mut(&run) else {
                continue;
            };
            let Phase::Frozen { left } = guard.phase else {
                continue;
            };
            if local >= guard.order.deadline && flaw != Some(GuardFlaw::Absent) {
                self.kill_run(host, run, Cause::Deadline);
                continue;
            }
            guard.phase = Phase::Runs { until: now + left };
            let (serial, freezes) = (guard.serial, guard.freezes);
            self.oracle.thawed(now, run, host);
            self.after(
                left,
                Event::Run {
                    host,
                    run,
                    serial,
                    what: RunEvent::Exit(freezes),
                },
            );
        }
    }

    /// A node dies: what it had not handed to its guard yet is never started; its guard and its runs go on.
    pub(super) fn orphan_runs(&mut self, host: HostIx) {
        if self.guard_flaw() == Some(GuardFlaw::Absent) {
            return;
        }
        let guards = &mut self.hosts[host].guards;
        guards.retain(|_, guard| !matches!(guard.phase, Phase::Ordered { .. }));
    }

    /// The machine is gone, and everything on it.
    pub(super) fn drop_runs(&mut self, host: HostIx) {
        self.hosts[host].kept.clear();
        for run in std::mem::take(&mut self.hosts[host].guards).into_keys() {
            self.end_mark(host, run, Mark::Expired, "dies with its host");
            self.oracle.expired(run, host);
        }
    }
}
