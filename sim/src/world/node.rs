//! What goes into a replica and what comes out: inputs with the host's own clock readings, outputs carried out in order,
//! wake-ups when the host's clock says so, and the life and death of a node.

use std::time::Duration;

use crdt::config::{Config, Offer};
use crdt::event::{Input, Notice, Output, Reply, RunEnd};
use crdt::fit::RunsAs;
use crdt::ids::{Incarnation, TaskId};
use crdt::registers::BidRegister;
use crdt::replica::Replica;
use crdt::task::TaskState;
use crdt::terms::Terms;
use crdt::time::Timing;

use super::{Flaw, World};
use crate::chance::{self, Purpose};
use crate::disk::DiskStep;
use crate::oracle::Judge;
use crate::plan;
use crate::queue::{Event, HostIx, RunEvent};
use crate::timeline::{BandKind, Mark, VoteMark};

/// A timer fires at least so much late, nanoseconds: a replica that asks for the present does not stop the world.
const TIMER_SLACK: u64 = 50_000;
/// A full disk is tried again after this.
const DISK_RETRY: Duration = Duration::from_millis(100);
/// A look at a file system takes about so long, nanoseconds.
const LOOK: u64 = 3_000_000;
/// More wake-ups of one replica in a second are a busy loop.
const WAKES_A_SECOND: u32 = 4_000;
/// More documents, timers or unanswered requests than tasks and this are a leak.
const SPARE: usize = 4_096;

impl World {
    /// Starts the node of a host.
    pub(super) fn boot(&mut self, host: HostIx) {
        let config = self.config(host);
        let node = &mut self.hosts[host];
        node.life += 1;
        node.restart_at = None;
        node.wake_at = None;
        let records = node.disk.records().to_vec();
        let (runs, inputs) = self.found(host);
        let node = &mut self.hosts[host];
        let mut replica = Replica::new(config, records, &runs, node.clock.read(self.now));
        if let Some(Flaw::Rule(rule)) = self.setup.flaw {
            replica.sabotage(rule);
        }
        node.replica = Some(Box::new(replica));
        let life = node.life;
        self.timeline.note(self.now, Some(host), Mark::Boot, || {
            format!("start {life} of the node")
        });
        self.timeline.band_ends(self.now, host, BandKind::Down);
        self.drain(host);
        for input in inputs {
            self.feed(host, input);
        }
        self.forget_ends(host);
        self.connect_all(host);
    }

    pub(super) fn config(&self, host: HostIx) -> Config {
        let seed = self.setup.seed;
        let draw = |kind| {
            let life = u64::from(self.hosts[host].life) << 1 | kind;
            chance::number(seed, Purpose::Replica, host as u64, life)
        };
        Config {
            keys: Box::new(if self.setup.flaw == Some(Flaw::Gullible) {
                self.hosts[host].keys.clone().gullible()
            } else {
                self.hosts[host].keys.clone()
            }),
            incarnation: Incarnation(draw(0)),
            name: format!("h{host}"),
            version: "sim".to_owned(),
            timing: Timing {
                lease: self
                    .setup
                    .leases
                    .get(host)
                    .copied()
                    .unwrap_or(self.setup.timing.lease),
                ..self.setup.timing
            },
            committee: self.setup.committee,
            replace_after: self.setup.replace_after,
            most_claims: usize::MAX,
            most_losses: self.setup.most_losses,
            offer: Offer {
                cpu_milli: self.setup.cpu_milli,
                memory_bytes: 1 << 33,
                ..Offer::default()
            },
            platform: "sim".to_owned(),
            runs_as: RunsAs::Anyone,
            seed: draw(1),
        }
    }

    /// Gives an input to a node that is alive and of this life.
    pub(super) fn tell(&mut self, host: HostIx, life: u32, input: Input) {
        if self.hosts[host].life == life {
            self.feed(host, input);
        }
    }

    /// Tells a node something now, or when it goes on.
    pub(super) fn tell_now(&mut self, host: HostIx, input: Input) {
        let life = self.hosts[host].life;
        self.happen(Event::Tell {
            host,
            life,
            input: Box::new(input),
        });
    }

    /// Tells a node something in so many nanoseconds.
    pub(super) fn tell_in(&mut self, delay: u64, host: HostIx, input: Input) {
        let life = self.hosts[host].life;
        self.after(
            delay,
            Event::Tell {
                host,
                life,
                input: Box::new(input),
            },
        );
    }

    pub(super) fn feed(&mut self, host: HostIx, input: Input) {
        let node = &mut self.hosts[host];
        let Some(replica) = &mut node.replica else {
            return;
        };
        self.trace.input(self.now, host, &input);
        replica.handle(node.clock.read(self.now), input);
        self.drain(host);
    }

    fn drain(&mut self, host: HostIx) {
        let mut outputs = std::mem::take(&mut self.scratch);
        if let Some(replica) = &mut self.hosts[host].replica {
            while let Some(output) = replica.poll_output() {
                self.trace.output(self.now, host, &output);
                outputs.push(output);
            }
        }
        for output in outputs.drain(..) {
            self.carry_out(host, output);
        }
        self.scratch = outputs;
        self.arm(host);
        if self.timeline.keeps() {
            self.note_bids(host);
            self.note_votes(host);
        }
    }

    fn carry_out(&mut self, host: HostIx, output: Output) {
        match output {
            Output::Persist { token, records } => {
                let step = self.hosts[host].disk.append(token, records);
                self.disk_step(host, step);
                if self.setup.flaw == Some(Flaw::DiskLies) {
                    self.tell_in(1, host, Input::Persisted(token));
                }
            }
            Output::Send { to, lane, bytes } => {
                if let Some(to) = self.by_peer.get(&to).copied() {
                    self.send(host, to, lane, bytes);
                }
            }
            Output::Start(order) => self.order(host, order),
            Output::Look(place) => {
                let found = plan::look(&place, host);
                let delay = self.latency(host, LOOK);
                self.tell_in(delay, host, Input::Looked(place, found));
            }
            Output::Extend(run, deadline) => self.tell_guard(host, run, RunEvent::Extend(deadline)),
            Output::Signal(run, signal) => self.tell_guard(host, run, RunEvent::Signal(signal)),
            Output::Kill(run) => self.tell_guard(host, run, RunEvent::Kill),
            Output::Withdraw(run) => self.stop_waiting(host, run, RunEnd::Withdrawn),
            Output::Reply(token, reply) => self.answered(host, token, reply),
            Output::Notice(notice) => self.noticed(host, notice),
        }
    }

    fn noticed(&mut self, host: HostIx, notice: Notice) {
        match notice {
            Notice::Task {
                id, state, reason, ..
            } => {
                self.timeline
                    .note(self.now, Some(host), Mark::State, || match reason {
                        Some(reason) => format!("{id} {state} ({reason})"),
                        None => format!("{id} {state}"),
                    });
                self.judge_state(host, id, state);
            }
            Notice::HoldLost(run) => {
                self.timeline
                    .note(self.now, Some(host), Mark::HoldLost, || {
                        format!("{}/{} hold lost", run.task, run.epoch)
                    });
                self.stop_waiting(host, run, RunEnd::TooLate);
            }
            Notice::Quarantined { author, why } => {
                // Nobody in this world writes what it must not.
                let what = format!("host {host} quarantined {}: {why}", author.tag());
                self.oracle.accuse(Judge::C1, self.now, None, what);
            }
            Notice::Member { .. }
            | Notice::Setting { .. }
            | Notice::Sight { .. }
            | Notice::Edited { .. }
            | Notice::Skewed { .. } => {}
        }
    }

    fn judge_state(&mut self, host: HostIx, id: TaskId, state: TaskState) {
        if !state.is_complete() {
            return;
        }
        let view = self.hosts[host]
            .replica
            .as_ref()
            .and_then(|replica| replica.task(id));
        let Some(view) = view else { return };
        if let Some(outcome) = &view.outcome {
            let terms = Terms::of(&view.spec);
            let replica = self.hosts[host].replica.as_ref();
            let void = replica.map_or_else(Vec::new, |replica| replica.void_outcomes(id));
            self.oracle
                .committed(self.now, id, host, (outcome, terms), &void);
        }
    }

    fn disk_step(&mut self, host: HostIx, step: DiskStep) {
        let life = self.hosts[host].life;
        match step {
            DiskStep::Nothing => {}
            DiskStep::SyncIn(delay) => self.after(delay, Event::Synced { host, life }),
            DiskStep::Stalled(token) => {
                self.tell_in(1, host, Input::PersistStalled(token));
                self.after(chance::nanos(DISK_RETRY), Event::RetryDisk { host, life });
            }
        }
    }

    pub(super) fn synced(&mut self, host: HostIx, life: u32) {
        if self.hosts[host].life != life || !self.hosts[host].is_up() {
            return;
        }
        let token = self.hosts[host].disk.finish();
        let step = self.hosts[host].disk.begin();
        self.disk_step(host, step);
        if let Some(token) = token.filter(|_| self.setup.flaw != Some(Flaw::DiskLies)) {
            self.feed(host, Input::Persisted(token));
            self.forget_ends(host);
        }
    }

    pub(super) fn retry_disk(&mut self, host: HostIx, life: u32) {
        if self.hosts[host].life != life || !self.hosts[host].is_up() {
            return;
        }
        match self.hosts[host].disk.begin() {
            DiskStep::Stalled(_) => {
                self.after(chance::nanos(DISK_RETRY), Event::RetryDisk { host, life });
            }
            step @ (DiskStep::Nothing | DiskStep::SyncIn(_)) => self.disk_step(host, step),
        }
    }

    /// Asks for the wake-up that the replica wants, unless an earlier one is coming.
    pub(super) fn arm(&mut self, host: HostIx) {
        let now = self.now;
        let node = &mut self.hosts[host];
        let Some(wanted) = node
            .replica
            .as_ref()
            .and_then(|replica| replica.next_wakeup())
        else {
            return;
        };
        let at = node.clock.when(wanted, now).saturating_add(TIMER_SLACK);
        if node.wake_at.is_some_and(|earlier| earlier <= at) {
            return;
        }
        node.wake_at = Some(at);
        node.wake_request += 1;
        let (life, request) = (node.life, node.wake_request);
        self.queue.push(
            at,
            Event::Wake {
                host,
                life,
                request,
            },
        );
    }

    pub(super) fn wake(&mut self, host: HostIx, life: u32, request: u64) {
        let now = self.now;
        let node = &mut self.hosts[host];
        if node.life != life || node.wake_request != request {
            return;
        }
        node.wake_at = None;
        let local = node.local(now);
        let due = node
            .replica
            .as_ref()
            .and_then(|replica| replica.next_wakeup());
        if due.is_some_and(|due| due <= local) {
            node.wakes += 1;
            self.feed(host, Input::Wakeup);
        } else {
            self.arm(host);
        }
    }

    /// Judges B1: nothing grows without bound, nobody spins.
    pub(super) fn sweep(&mut self) {
        for host in 0..self.hosts.len() {
            let wakes = std::mem::take(&mut self.hosts[host].wakes);
            let Some(replica) = &self.hosts[host].replica else {
                continue;
            };
            let memory = replica.memory();
            let counts = [
                ("documents", memory.documents),
                ("outputs", memory.outputs),
                ("timers", memory.timers),
                ("unanswered requests", memory.unanswered),
                ("claims", memory.claims),
            ];
            let leak = counts
                .into_iter()
                .find(|(_, count)| *count > memory.tasks + SPARE);
            if wakes > WAKES_A_SECOND {
                let what = format!("host {host} was woken {wakes} times in a second");
                self.oracle.accuse(Judge::B1, self.now, None, what);
            }
            if let Some((name, count)) = leak {
                let what = format!(
                    "host {host} holds {count} {name} for {} tasks",
                    memory.tasks
                );
                self.oracle.accuse(Judge::B1, self.now, None, what);
            }
        }
    }

    /// Notes own bids that are new, for the timeline.
    fn note_bids(&mut self, host: HostIx) {
        let Some(replica) = &self.hosts[host].replica else {
            return;
        };
        let bids = replica
            .task_ids()
            .filter_map(|id| Some((id, replica.own_bid(id)?)));
        let seen =
            |(id, bid): &(TaskId, BidRegister)| self.bids_seen.get(&(host, *id)) == Some(bid);
        let fresh: Vec<(TaskId, BidRegister)> = bids.filter(|entry| !seen(entry)).collect();
        for (id, bid) in fresh {
            self.bids_seen.insert((host, id), bid);
            self.timeline.note(self.now, Some(host), Mark::Bid, || {
                format!(
                    "{id}/{} {}",
                    bid.epoch,
                    if bid.gave_up { "given up" } else { "bid" }
                )
            });
        }
    }

    /// Notes own votes that are new, for the timeline.
    fn note_votes(&mut self, host: HostIx) {
        let node = &self.hosts[host];
        let Some(replica) = &node.replica else { return };
        let mut fresh = Vec::new();
        for id in replica.task_ids() {
            let own = replica
                .votes(id)
                .into_iter()
                .find(|(tag, _)| *tag == node.tag);
            let Some((_, vote)) = own else { continue };
            let seen = (
                vote.epoch,
                vote.accepted
                    .is_some_and(|accept| accept.epoch == vote.epoch),
            );
            if self.votes_seen.get(&(host, id)) != Some(&seen) {
                fresh.push((id, vote, seen));
            }
        }
        for (id, vote, seen) in fresh {
            self.votes_seen.insert((host, id), seen);
            let claimant = self.host_of(vote.claimant);
            let (at, epoch, accepts) = (self.now, vote.epoch, seen.1);
            self.timeline.votes.push(VoteMark {
                at,
                host,
                task: id,
                epoch,
                claimant,
                accepts,
            });
            self.timeline.note(at, Some(host), Mark::Vote, || {
                let whose = claimant.map_or_else(|| vote.claimant.to_string(), |h| format!("h{h}"));
                let accepted = vote.accepted.map_or_else(String::new, |accept| {
                    format!(", accepted {:?} at epoch {}", accept.digest, accept.epoch)
                });
                format!("{id}/{epoch} vote for {whose}{accepted}")
            });
        }
    }

    /// The answer to a person.
    fn answered(&mut self, host: HostIx, token: u64, reply: Reply) {
        if let Reply::Submitted { ids, copies, .. } = &reply
            && copies.is_some_and(|(have, of)| have > of / 2)
        {
            for id in ids {
                self.oracle.acknowledged(*id);
            }
        }
        self.timeline
            .note(self.now, Some(host), Mark::Answered, || match &reply {
                Reply::Submitted { ids, copies, known } => {
                    let first = ids.first().map_or_else(String::new, ToString::to_string);
                    let (have, of) = copies.unwrap_or_default();
                    let again = if *known { " again" } else { "" };
                    format!(
                        "{} tasks from {first}{again}, {have} of {of} copies",
                        ids.len()
                    )
                }
                Reply::Noted { ended } => format!("noted, {} had ended", ended.len()),
                Reply::Refused(why) => format!("refused: {why}"),
            });
        self.replies.insert(token, reply);
    }
}
