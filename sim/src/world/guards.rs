//! Runs: from a replica's order through its guard to a process, and what its guard does while it lives. What happens here
//! and in `endings` is the ground truth.
//!
//! The node forks the guard (and cannot while it is stopped); from then on the guard keeps its own time by the host's clock:
//! it checks the deadline itself before the start, obeys an extension only before its deadline, and kills within its bound.

use crdt::event::{Input, RunEnd, StartOrder};
use crdt::ids::{PeerId, RunId};
use crdt::task::OnLost;
use crdt::terms::Terms;
use crdt::time::Mono;

use super::{GuardPace, World};
use crate::chance;
use crate::host::{Cause, Guard, GuardFlaw, Phase};
use crate::oracle::{Backing, StartFacts};
use crate::plan::{Fate, Plan};
use crate::queue::{Event, HostIx, RunEvent};
use crate::timeline::Mark;

/// Returns how the timeline names a run.
pub(super) fn name(run: RunId) -> String {
    format!("{}/{}", run.task, run.epoch)
}

/// Says why a process cannot be started on a host, if it cannot.
fn cannot_start(fate: Fate, host: HostIx) -> Option<RunEnd> {
    match fate {
        Fate::Impossible => Some(RunEnd::Impossible {
            code: 127,
            why: "command not found".to_owned(),
        }),
        Fate::UnfitOn(here) if here == host => Some(RunEnd::Unfit("no such directory".to_owned())),
        Fate::OnlyOn(here) if here != host => Some(RunEnd::Misplaced("it was there".to_owned())),
        Fate::UnfitOn(_) | Fate::OnlyOn(_) | Fate::Starts => None,
    }
}

impl World {
    /// A replica ordered a start.
    pub(super) fn order(&mut self, host: HostIx, order: Box<StartOrder>) {
        let run = order.run;
        self.orders += 1;
        self.last_order = Some((host, run));
        self.timeline.note(self.now, Some(host), Mark::Order, || {
            format!("{} ordered", name(run))
        });
        self.serial += 1;
        let backing = self.backing(host, run);
        let plan = Plan::of(&order.spec).unwrap_or(Plan::succeed(std::time::Duration::ZERO));
        let phase = Phase::Ordered { signal: None };
        let life = self.hosts[host].life;
        let guard = Guard {
            serial: self.serial,
            life,
            order,
            backing,
            plan,
            phase,
            freezes: 0,
            signalled: None,
        };
        self.hosts[host].guards.insert(run, guard);
        let delay = self.latency(host, 300_000);
        let delay = delay.saturating_add(chance::nanos(plan.input));
        self.after(delay, Event::Spawn { host, life, run });
    }

    /// A run that waits for its input waits no more; one that its guard knows of is not touched.
    pub(super) fn stop_waiting(&mut self, host: HostIx, run: RunId, end: RunEnd) {
        let guards = &mut self.hosts[host].guards;
        let waits = |guard: &mut Guard| {
            matches!(guard.phase, Phase::Ordered { .. }) && !guard.plan.input.is_zero()
        };
        if guards.get_mut(&run).is_some_and(waits) {
            guards.remove(&run);
            self.timeline.note(self.now, Some(host), Mark::TooLate, || {
                format!("{} waits no more for its input", name(run))
            });
            self.tell_now(host, Input::RunEnded(run, end));
        }
    }

    /// Draws how long something small takes on a host.
    pub(super) fn latency(&mut self, host: HostIx, mean: u64) -> u64 {
        let mean = match self.setup.guards {
            GuardPace::Usual => mean,
            GuardPace::Worst => mean / 20,
        };
        mean / 4 + chance::exponential(&mut self.hosts[host].chance, mean)
    }

    /// The node forks the guard of a run.
    pub(super) fn spawn(&mut self, host: HostIx, life: u32, run: RunId) {
        if self.hosts[host].life != life || !self.hosts[host].is_up() {
            return;
        }
        let Some(guard) = self.hosts[host].guards.get_mut(&run) else {
            return;
        };
        let Phase::Ordered { signal } = guard.phase else {
            return;
        };
        guard.phase = Phase::Arming { signal };
        let serial = guard.serial;
        let delay = self.latency(host, 500_000);
        self.after(
            delay,
            Event::Run {
                host,
                run,
                serial,
                what: RunEvent::Exec,
            },
        );
    }

    /// A node says something to a guard.
    pub(super) fn tell_guard(&mut self, host: HostIx, run: RunId, what: RunEvent) {
        let Some(guard) = self.hosts[host].guards.get(&run) else {
            return;
        };
        let serial = guard.serial;
        let delay = self.latency(host, 60_000);
        self.after(
            delay,
            Event::Run {
                host,
                run,
                serial,
                what,
            },
        );
    }

    pub(super) fn run_event(&mut self, host: HostIx, run: RunId, serial: u64, what: RunEvent) {
        if self.hosts[host].guard(run, serial).is_none() {
            return;
        }
        if matches!(what, RunEvent::Signal(_) | RunEvent::Kill) {
            self.note_signal(host, run);
        }
        match what {
            RunEvent::Exec => self.exec(host, run),
            RunEvent::Extend(deadline) => self.extend(host, run, deadline),
            RunEvent::Deadline => self.deadline(host, run),
            RunEvent::Exit(freezes) => self.exit_itself(host, run, freezes),
            RunEvent::Signal(signal) => self.signal(host, run, signal),
            RunEvent::Kill => self.kill_run(host, run, Cause::Ordered),
            RunEvent::Reaped => self.reaped(host, run),
        }
    }

    /// G1: the guard looks at the clock itself, and starts the process.
    fn exec(&mut self, host: HostIx, run: RunId) {
        let local = self.hosts[host].local(self.now);
        let checks = self.guard_flaw() != Some(GuardFlaw::NoStartCheck);
        let Some(guard) = self.hosts[host].guards.get_mut(&run) else {
            return;
        };
        let Phase::Arming { signal } = guard.phase else {
            return;
        };
        if checks && local >= guard.order.deadline {
            self.hosts[host].guards.remove(&run);
            self.oracle.too_late();
            self.timeline.note(self.now, Some(host), Mark::TooLate, || {
                format!("{} too late to start", name(run))
            });
            let delay = self.latency(host, 60_000);
            return self.tell_in(delay, host, Input::RunEnded(run, RunEnd::TooLate));
        }
        if let Some(end) = cannot_start(guard.plan.fate, host) {
            self.hosts[host].guards.remove(&run);
            if matches!(end, RunEnd::Impossible { .. }) {
                self.oracle.impossible();
            }
            self.timeline.note(self.now, Some(host), Mark::TooLate, || {
                format!("{} cannot start: {end:?}", name(run))
            });
            let delay = self.latency(host, 60_000);
            return self.tell_in(delay, host, Input::RunEnded(run, end));
        }
        let length = chance::nanos(guard.plan.length);
        guard.phase = Phase::Runs {
            until: self.now + length,
        };
        let (serial, freezes, deadline) = (guard.serial, guard.freezes, guard.order.deadline);
        let backing = std::mem::take(&mut guard.backing);
        let spec = &guard.order.spec;
        let terms = Terms::of(spec);
        let minded = spec.on_lost != OnLost::Retry && terms != Terms::Anywhere;
        let most_starts = minded.then_some(spec.retries.saturating_add(1));
        let group = guard
            .order
            .spec
            .member_of
            .map(|member| (member.group, member.window));
        self.after(
            length,
            Event::Run {
                host,
                run,
                serial,
                what: RunEvent::Exit(freezes),
            },
        );
        self.arm_deadline(host, run, serial, deadline);
        self.last_start = Some((host, run));
        let facts = StartFacts {
            host,
            tag: self.hosts[host].tag,
            backing,
            terms,
            most_starts,
            group,
        };
        let until = self.hosts[host].clock.when(deadline, self.now);
        self.timeline.note(self.now, Some(host), Mark::Start, || {
            format!("{} starts", name(run))
        });
        self.timeline.bar_starts(self.now, host, run, until);
        self.oracle.started(self.now, run, &facts);
        let delay = self.latency(host, 60_000);
        self.tell_in(delay, host, Input::RunStarted(run));
        if let Some(signal) = signal {
            self.signal(host, run, signal);
        }
    }

    /// The votes of the committee that decides a task, as its members have them when a start is ordered.
    fn backing(&self, host: HostIx, run: RunId) -> Backing {
        let Some(replica) = self.hosts[host].replica.as_ref() else {
            return Backing::default();
        };
        let committee = replica.committee(run.task).unwrap_or_default();
        let generation = replica.generation(run.task);
        let vote = |peer: &PeerId| {
            let node = &self.hosts[*self.by_peer.get(peer)?];
            let replica = node.replica.as_ref()?;
            // What a member of another committee votes says nothing about this one.
            let theirs = replica.generation(run.task);
            if theirs.is_some() && theirs != generation {
                return None;
            }
            let votes = replica.votes(run.task);
            let own = votes.into_iter().find(|(tag, _)| *tag == node.tag);
            Some((node.tag, own.map(|(_, vote)| vote)))
        };
        Backing {
            committee: committee.len(),
            votes: committee.iter().filter_map(vote).collect(),
            void: replica.void_outcomes(run.task),
        }
    }

    fn arm_deadline(&mut self, host: HostIx, run: RunId, serial: u64, deadline: Mono) {
        let grain = chance::nanos(self.setup.timing.grain);
        let late = match self.setup.guards {
            GuardPace::Usual => chance::up_to(&mut self.hosts[host].chance, grain),
            GuardPace::Worst => grain,
        };
        let at = self.hosts[host]
            .clock
            .when(deadline, self.now)
            .saturating_add(late);
        self.queue.push(
            at,
            Event::Run {
                host,
                run,
                serial,
                what: RunEvent::Deadline,
            },
        );
    }

    /// G2: an extension counts only if it comes before the deadline.
    fn extend(&mut self, host: HostIx, run: RunId, deadline: Mono) {
        let local = self.hosts[host].local(self.now);
        let Some(guard) = self.hosts[host].guards.get_mut(&run) else {
            return;
        };
        let dying = matches!(guard.phase, Phase::Dying(_));
        if dying || deadline <= guard.order.deadline {
            return;
        }
        if local < guard.order.deadline {
            guard.order.deadline = deadline;
            let until = self.hosts[host].clock.when(deadline, self.now);
            self.timeline.bar_extends(host, run, until);
        }
    }

    fn deadline(&mut self, host: HostIx, run: RunId) {
        let local = self.hosts[host].local(self.now);
        let Some(guard) = self.hosts[host].guards.get(&run) else {
            return;
        };
        let orphan =
            self.guard_flaw() == Some(GuardFlaw::Absent) && guard.life != self.hosts[host].life;
        if matches!(guard.phase, Phase::Dying(_)) || orphan {
            return;
        }
        let (serial, deadline) = (guard.serial, guard.order.deadline);
        if local < deadline {
            self.arm_deadline(host, run, serial, deadline);
        } else {
            self.kill_run(host, run, Cause::Deadline);
        }
    }

    /// Looks at a deadline again, by a clock that changed.
    pub(super) fn recheck_deadline(&mut self, host: HostIx, run: RunId, serial: u64) {
        let Some(guard) = self.hosts[host].guard(run, serial) else {
            return;
        };
        if matches!(guard.phase, Phase::Runs { .. }) {
            let deadline = guard.order.deadline;
            self.arm_deadline(host, run, serial, deadline);
        }
    }
}
