//! The claims of this node: bids, holds, runs, and how each ends. The rules are in [`crate::claim`].

use std::cmp::Reverse;
use std::sync::Arc;

use super::places::Placed;
use super::{Replica, Unfit, rank};
use crate::claim::{Claim, Claimant, Phase, Promise, Since};
use crate::config::Sabotage;
use crate::entry::{Bid, ClaimMark, Harm, OutcomeAt, Total};
use crate::event::{Notice, Output, RunEnd, StartOrder};
use crate::fit;
use crate::graph::TaskIx;
use crate::ids::{Epoch, RunId, SegmentId, Tag};
use crate::message::{Heartbeat, Message};
use crate::places::MISSING_FOR;
use crate::registers::{BidRegister, Loss};
use crate::resolve;
use crate::schedule::Demand;
use crate::task::{Captured, Exit, Limits, OnLost, Outcome, RunReport, Usage, Verdict};
use crate::terms::Terms;
use crate::time::{Mono, Wall};

impl Replica {
    /// Bids for the best task for which there is room. Says whether there may be another.
    pub(super) fn bid_more(&mut self) -> bool {
        let full = self.claims.len() >= self.most_claims;
        if self.stalled || self.draining || full || self.is_retired() {
            return false;
        }
        let step = self.stagger_step();
        let Some(ix) = self.schedule.take(self.now.mono, &self.queues, step) else {
            let hosts = u32::try_from(self.alive.len()).unwrap_or(u32::MAX);
            let turn = self.queues.next_turn(self.now.mono, step, hosts);
            if let Some(at) = turn {
                self.set_timer(at, super::Timer::Turn);
            }
            return false;
        };
        match self.placed(ix) {
            Placed::Yes => self.bid(ix),
            Placed::Waits => drop(self.dirty.insert(ix)),
            Placed::NotNow => {
                self.offer_task(ix);
                return false;
            }
        }
        true
    }

    /// C1: bids at an epoch above every bid and vote seen. The caller has checked that nothing speaks against it.
    pub(super) fn bid(&mut self, ix: TaskIx) {
        self.wake_those_behind(ix);
        let epoch = self.known(ix).registers.top().next();
        let task = &mut self.tasks[ix as usize];
        assert!(task.claim.is_none(), "a task is claimed once at a time");
        let since = self.now.mono;
        let phase = Phase::Bidding;
        task.claim = Some(Claim {
            epoch,
            turn: self.counters.bids,
            since: Since::Bid(since),
            phase,
            deadline: None,
            lost: false,
            started: None,
            signalled: None,
        });
        let bid = Bid {
            index: task.index,
            epoch,
            gave_up: false,
        };
        self.claims.insert(ix);
        if !self.heartbeat_due {
            self.heartbeat_due = true;
            self.set_timer(since + self.timing.heartbeat, super::Timer::Heartbeat);
        }
        let demand = self.demand(ix);
        let priority = self.priority(ix);
        self.schedule.claimed(ix, demand, priority);
        let until = since + self.settle_window();
        self.turns.expect(ix, priority, until);
        self.use_mounts(ix, true);
        self.note_place_in_queue(ix);
        self.note_activity(ix);
        self.counters.bids += 1;
        self.stage_bid(ix, bid);
        self.wake_task(ix, since + self.bid_patience());
    }

    /// Says whether the next bid would be a leap.
    pub(super) fn is_far_below(&self, ix: TaskIx) -> bool {
        let registers = &self.known(ix).registers;
        let own = registers.bid(self.tag).map_or(Epoch::NONE, |bid| bid.epoch);
        registers.top().next() > own.leap()
    }

    /// Comes nearer to the top of a task whose epochs others have driven up: bids as far above as it may, and gives that up
    /// at once. It has no claim, so that is true.
    pub(super) fn climb(&mut self, ix: TaskIx) {
        self.wake_those_behind(ix);
        let task = self.known(ix);
        assert!(
            task.claim.is_none(),
            "only what is not claimed is given up unseen"
        );
        let own = task
            .registers
            .bid(self.tag)
            .map_or(Epoch::NONE, |bid| bid.epoch);
        let bid = Bid {
            index: task.index,
            epoch: own.leap(),
            gave_up: true,
        };
        self.stage_bid(ix, bid);
    }

    pub(super) fn stage_bid(&mut self, ix: TaskIx, bid: Bid) {
        let register = BidRegister {
            epoch: bid.epoch,
            gave_up: bid.gave_up,
        };
        let tag = self.tag;
        self.registers(ix)
            .fold_bid(tag, register)
            .expect("own bids never go back");
        self.stage(ix).bids.insert(bid.index, bid);
        self.changed(ix);
    }

    /// What a task would take of this host.
    pub(super) fn demand(&self, ix: TaskIx) -> Demand {
        let task = self.known(ix);
        let demand = |spec| fit::demand(spec, task.registers.ooms, &self.offered);
        task.spec.as_deref().map_or_else(Demand::default, demand)
    }

    fn as_claimant(&self, ix: TaskIx) -> Claimant<'_> {
        Claimant {
            me: self.tag,
            committee: &self.segment_of(ix).committee,
            replacement: self.segment_of(ix).replacement(),
            registers: &self.known(ix).registers,
            own_durable: self.is_durable(ix),
            segment: self.known(ix).segment,
            waits: &self.segment_of(ix).waits,
            terms: self.terms(ix),
            broken: self.broken,
        }
    }

    /// On what a task's claims rest. A task without a spec has no claim; its votes are as durable as any can be.
    pub(super) fn terms(&self, ix: TaskIx) -> Terms {
        self.known(ix)
            .spec
            .as_deref()
            .map_or(Terms::Votes, Terms::of)
    }

    /// The claim that stands behind a task's state: by votes, or the best of all where there are none.
    pub(super) fn holder(&self, ix: TaskIx) -> Option<(Tag, Epoch)> {
        let task = self.known(ix);
        match self.terms(ix) {
            Terms::Anywhere => self.best_claim(ix),
            Terms::Lease | Terms::Votes => {
                resolve::standing(&task.registers, &self.segment_of(ix).committee)
            }
        }
    }

    fn best_claim(&self, ix: TaskIx) -> Option<(Tag, Epoch)> {
        let task = self.known(ix);
        resolve::best_claim(&task.registers, |tag, epoch| rank(task.id, epoch, tag))
    }

    /// Takes a live claim as far as its answers allow.
    pub(super) fn press_claim(&mut self, ix: TaskIx) {
        let Some(claim) = self.known(ix).claim else {
            return;
        };
        match claim.phase {
            Phase::Bidding | Phase::Held => self.press_bid(ix, claim),
            Phase::Starting | Phase::Running => self.press_run(ix, claim),
        }
    }

    fn press_bid(&mut self, ix: TaskIx, claim: Claim) {
        if self.known(ix).complete.is_some() {
            self.drop_claim(ix);
            return;
        }
        if self.terms(ix) == Terms::Anywhere && !self.is_settled_bid(ix, &claim) {
            return;
        }
        match self.as_claimant(ix).promise(claim.epoch) {
            Promise::None
                if self.is_outvoted(ix, &claim) && self.broken != Some(Sabotage::EndlessBids) =>
            {
                return self.give_up(ix);
            }
            Promise::None | Promise::Await(_) => {}
            Promise::Adopt(_) if self.broken == Some(Sabotage::AdoptionRefused) => {
                return self.give_up(ix);
            }
            Promise::Adopt(outcome) => {
                self.counters.adoptions += 1;
                return self.conclude(ix, (*outcome).clone());
            }
            Promise::Fresh if self.own_end(ix).is_some() => return self.offer_again(ix),
            Promise::Fresh if self.end_wanted(ix) => return self.cancel(ix, claim.epoch),
            Promise::Fresh if self.held_back(ix).is_some() => return self.give_up(ix),
            // It has run out of memory elsewhere since: it takes more now.
            Promise::Fresh if self.schedule.demand(ix) != Some(&self.demand(ix)) => {
                return self.give_up(ix);
            }
            Promise::Fresh if self.meets_loss(ix, claim.epoch) => {
                return self.tell_loss(ix, &claim);
            }
            Promise::Fresh if self.has_slots(ix) && !self.has_stood(ix, &claim) => return,
            Promise::Fresh if self.waits_too_long(ix, &claim) => return self.give_up(ix),
            Promise::Fresh => {
                if let Some(deadline) = self.renewed(ix, &claim) {
                    self.set_deadline(ix, deadline);
                    self.set_phase(ix, Phase::Held);
                    self.turns.forget(ix);
                    self.held.insert(self.place_in_line(ix, &claim));
                    return self.wake_held(ix, &claim);
                }
            }
        }
        let Since::Bid(since) = claim.since else {
            return;
        };
        if claim.phase == Phase::Held && self.has_lost_votes(ix, &claim) {
            return self.give_up(ix);
        }
        let patience = since + self.bid_patience();
        if claim.phase != Phase::Bidding || claim.lost {
            return;
        }
        if self.now.mono >= patience && self.broken != Some(Sabotage::EndlessBids) {
            self.counters.bids_timed_out += 1;
            self.give_up(ix);
        } else if self.now.mono < patience {
            self.wake_task(ix, patience);
        }
    }

    /// Returns what a run of this host came to at an earlier epoch.
    fn own_end(&self, ix: TaskIx) -> Option<&Arc<Outcome>> {
        let own = self.known(ix).registers.outcome(self.tag)?;
        let ran = own.outcome.verdict.is_final()
            && own.outcome.report.is_some()
            && !self.known(ix).registers.is_void(own.digest);
        ran.then_some(&own.outcome)
    }

    /// C5: nobody that votes now has accepted anything, so this claimant may choose: the work that it has done already.
    fn offer_again(&mut self, ix: TaskIx) {
        if let Some(outcome) = self.own_end(ix).cloned() {
            self.conclude(ix, (*outcome).clone());
        }
    }

    /// Says whether a held task has waited so long for room that it is better left to hosts that have some.
    fn waits_too_long(&self, ix: TaskIx, claim: &Claim) -> bool {
        let due = self.held_until(claim).is_some_and(|at| at <= self.now.mono);
        claim.phase == Phase::Held && due && !self.schedule.fits_now(ix)
    }

    fn held_until(&self, claim: &Claim) -> Option<Mono> {
        match claim.since {
            Since::Bid(since) => Some(since + self.timing.lease / 2),
            Since::Found => None,
        }
    }

    /// Wakes a held task when it expires, or has waited for too long.
    fn wake_held(&mut self, ix: TaskIx, claim: &Claim) {
        self.calm_task(ix);
        if let Some(at) = self.held_until(claim).filter(|at| *at > self.now.mono) {
            self.wake_task(ix, at);
        }
        self.wake_at_expiry(ix);
    }

    /// Says whether a hold that no clock ends has lost its majority, as when the committee was replaced.
    fn has_lost_votes(&self, ix: TaskIx, claim: &Claim) -> bool {
        let claimant = Claimant {
            own_durable: true,
            ..self.as_claimant(ix)
        };
        self.terms(ix) == Terms::Votes && !claimant.has_majority(claim.epoch)
    }

    /// Says whether a bid has stood for the settle window, so that what others bid for meanwhile has been heard of. Wakes the task
    /// then if not.
    fn has_stood(&mut self, ix: TaskIx, claim: &Claim) -> bool {
        let Since::Bid(since) = claim.since else {
            return true;
        };
        let settled = since + self.settle_window();
        if self.now.mono < settled {
            self.wake_task(ix, settled);
        }
        self.now.mono >= settled
    }

    /// Says whether a bid for a task that may run anywhere has stood for the settle window; gives it up for a better one.
    fn is_settled_bid(&mut self, ix: TaskIx, claim: &Claim) -> bool {
        if self.best_claim(ix) != Some((self.tag, claim.epoch)) {
            self.give_up(ix);
            return false;
        }
        if !self.has_stood(ix, claim) {
            return false;
        }
        // A2: a bid that a crash could take back would be made again, beside a run of its own.
        self.is_durable(ix)
    }

    /// Says whether an earlier run may have been lost with its host, where the task says that this must not be passed over.
    fn meets_loss(&self, ix: TaskIx, epoch: Epoch) -> bool {
        self.loss_before(ix, epoch).is_some()
    }

    /// Says whether a run that may have been lost is to be told, and not just followed by another.
    pub(super) fn minds_loss(&self, ix: TaskIx) -> bool {
        let spec = self.known(ix).spec.as_ref();
        spec.is_some_and(|spec| spec.on_lost != OnLost::Retry)
            && self.broken != Some(Sabotage::LossPassedOver)
    }

    fn loss_before(&self, ix: TaskIx, epoch: Epoch) -> Option<Loss> {
        if !self.minds_loss(ix) {
            return None;
        }
        self.known(ix)
            .registers
            .loss_before(epoch, self.segment_of(ix).committee.len())
    }

    /// Writes that a run was lost, once its claimant was silent for so long that it cannot be merely unseen here.
    fn tell_loss(&mut self, ix: TaskIx, claim: &Claim) {
        match self.loss_before(ix, claim.epoch) {
            Some(Loss::Told(outcome)) => self.conclude(ix, (*outcome).clone()),
            Some(Loss::Silent(claimant, _)) => {
                let heard = self.roster.heard(claimant).unwrap_or(self.booted);
                if self.now.mono >= heard + self.wait_in(ix) {
                    self.lose(ix, claim.epoch);
                } else {
                    self.give_up(ix);
                }
            }
            None => {}
        }
    }

    /// Ends a claim of a task whose run was lost: for good, or as a failure that is tried again.
    fn lose(&mut self, ix: TaskIx, epoch: Epoch) {
        let outcome = self.loss(ix, epoch);
        self.conclude(ix, outcome);
    }

    /// Returns what is written of a run that was lost.
    pub(super) fn loss(&self, ix: TaskIx, epoch: Epoch) -> Outcome {
        let verdict = if self.has_tries_left(ix) {
            Verdict::Retry
        } else {
            Verdict::Lost
        };
        self.outcome(ix, epoch, verdict, None)
    }

    /// Says whether a majority is seen behind another claimant at this epoch or a later one.
    fn is_outvoted(&self, ix: TaskIx, claim: &Claim) -> bool {
        self.holder(ix)
            .is_some_and(|(claimant, epoch)| claimant != self.tag && epoch >= claim.epoch)
    }

    fn press_run(&mut self, ix: TaskIx, claim: Claim) {
        let run = self.run_of(ix, &claim);
        if self.known(ix).complete.is_some() || self.is_written_off(ix, &claim) {
            self.outputs.push_back(Output::Kill(run));
        }
        if let Some(deadline) = self.renewed(ix, &claim)
            && claim.deadline.is_none_or(|old| deadline > old)
        {
            self.set_deadline(ix, deadline);
            self.outputs.push_back(Output::Extend(run, deadline));
        }
        if claim.phase == Phase::Running {
            self.end_run_if_due(ix, &claim, run);
        } else if self.end_wanted(ix) || self.held_back(ix).is_some() {
            // It may wait for what it reads, and that may take long.
            self.outputs.push_back(Output::Withdraw(run));
        }
    }

    /// Says whether voters that only a person's word can have freed have left a run that is alive after all.
    fn is_written_off(&self, ix: TaskIx, claim: &Claim) -> bool {
        self.terms(ix) == Terms::Votes
            && self.known(ix).registers.is_written_off(claim.epoch)
            && !self.as_claimant(ix).has_majority(claim.epoch)
    }

    fn renewed(&self, ix: TaskIx, claim: &Claim) -> Option<Mono> {
        self.as_claimant(ix)
            .hold(claim, &self.answers, &self.timing, self.now.mono)
    }

    fn run_of(&self, ix: TaskIx, claim: &Claim) -> RunId {
        RunId {
            task: self.known(ix).id,
            epoch: claim.epoch,
        }
    }

    pub(super) fn with_claim(&mut self, ix: TaskIx, change: impl FnOnce(&mut Claim, Mono)) {
        if let Some(claim) = &mut self.tasks[ix as usize].claim {
            change(claim, self.now.mono);
        }
    }

    fn set_phase(&mut self, ix: TaskIx, phase: Phase) {
        self.with_claim(ix, |claim, _| claim.phase = phase);
    }

    pub(super) fn set_deadline(&mut self, ix: TaskIx, deadline: Mono) {
        let mut old = None;
        self.with_claim(ix, |claim, _| old = claim.deadline.replace(deadline));
        if let Some(old) = old {
            self.deadlines.remove(&(old, ix));
        }
        self.deadlines.insert((deadline, ix));
    }

    /// Law 1: holds whose deadline has come are lost, whatever arrives with this instant.
    pub(super) fn expire_holds(&mut self) {
        while let Some((deadline, ix)) = self.deadlines.first().copied() {
            if deadline > self.now.mono {
                break;
            }
            self.deadlines.pop_first();
            let Some(claim) = self.known(ix).claim else {
                continue;
            };
            let run = self.run_of(ix, &claim);
            self.counters.holds_lost += 1;
            self.outputs
                .push_back(Output::Notice(Notice::HoldLost(run)));
            self.with_claim(ix, |claim, _| {
                claim.lost = true;
                claim.deadline = None;
            });
            match claim.phase {
                Phase::Bidding | Phase::Held if self.broken == Some(Sabotage::NoLatch) => {
                    self.zombie(ix, &claim);
                }
                Phase::Bidding | Phase::Held => self.give_up(ix),
                Phase::Starting | Phase::Running
                    if self.broken == Some(Sabotage::YieldBeforeDeath) =>
                {
                    self.say_given_up(ix, &claim);
                }
                // The guard kills it at the same deadline and says so.
                Phase::Starting | Phase::Running => {}
            }
        }
    }

    /// Sabotage: gives up and yet keeps the claim, so that a late ack revives it.
    fn zombie(&mut self, ix: TaskIx, claim: &Claim) {
        self.forget_held(ix, claim);
        self.set_phase(ix, Phase::Bidding);
        self.say_given_up(ix, claim);
    }

    fn say_given_up(&mut self, ix: TaskIx, claim: &Claim) {
        let index = self.known(ix).index;
        let bid = Bid {
            index,
            epoch: claim.epoch,
            gave_up: true,
        };
        self.stage_bid(ix, bid);
    }

    /// The place of a held task among those that wait for room: by priority, then in the order of their bids.
    fn place_in_line(&self, ix: TaskIx, claim: &Claim) -> (Reverse<i32>, u64, TaskIx) {
        (Reverse(self.priority(ix)), claim.turn, ix)
    }

    pub(super) fn priority(&self, ix: TaskIx) -> i32 {
        self.known(ix).priority()
    }

    fn forget_held(&mut self, ix: TaskIx, claim: &Claim) {
        self.held.remove(&self.place_in_line(ix, claim));
    }

    /// Starts held tasks, the most urgent first, as far as there is room.
    pub(super) fn start_held(&mut self) {
        let fits = |this: &Self, ix: TaskIx| this.schedule.fits_now(ix);
        while let Some(held) = self.held.iter().copied().find(|(.., ix)| fits(self, *ix)) {
            if let Some(until) = self.gives_way_until(held.2) {
                return self.set_timer(until, super::Timer::Turn);
            }
            self.held.remove(&held);
            if self.queue_lets(held.2) {
                self.start(held.2);
            } else {
                self.give_up(held.2);
            }
        }
    }

    /// Until when a held task gives way to a more urgent one that this host has bid for, or may bid for soon.
    fn gives_way_until(&self, ix: TaskIx) -> Option<Mono> {
        let fits = |ix| self.schedule.fits_beside(&self.demand(ix));
        self.turns
            .gives_way_until(self.priority(ix), self.now.mono, fits)
    }

    /// C5: starts the run of a held task, once for this epoch; the guard checks the deadline again (G1).
    fn start(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        let (Some(claim), Some(spec)) = (task.claim, task.spec.clone()) else {
            return;
        };
        let fresh = self.as_claimant(ix).promise(claim.epoch) == Promise::Fresh;
        let Some(deadline) = self.renewed(ix, &claim).filter(|_| fresh) else {
            // Votes have moved away since: what is left of the hold ends at its deadline, if it has one.
            if self.has_lost_votes(ix, &claim) {
                self.give_up(ix);
            }
            return;
        };
        self.set_deadline(ix, deadline);
        let env = spec
            .env
            .and_then(|d| self.segment_of(ix).environments.get(&d).cloned());
        if spec.env.is_some() && env.is_none() {
            // The environment comes with the author's chunk; without it this host cannot run the task.
            return self.give_up(ix);
        }
        if !self.is_start_vouched_for(ix, claim.epoch) {
            return;
        }
        let attempt = self.known(ix).registers.starts.saturating_add(1);
        let element = self.known(ix).element();
        let run = self.run_of(ix, &claim);
        let (demand, units) = self.schedule.started(ix);
        self.set_phase(ix, Phase::Starting);
        let order = StartOrder {
            run,
            spec,
            env,
            deadline,
            attempt,
            element,
            demand,
            units,
        };
        self.outputs.push_back(Output::Start(Box::new(order)));
    }

    /// A task whose loss must not be passed over is started only when it is durable here that it may have been: with the
    /// machine, the guard's records are lost as well. Held until then, it is pressed again once the mark is durable.
    fn is_start_vouched_for(&mut self, ix: TaskIx, epoch: Epoch) -> bool {
        if !self.minds_loss(ix) {
            return true;
        }
        if self.own_mark(ix, epoch).is_none() {
            self.mark(ix, epoch, None);
        }
        self.is_durable(ix)
    }

    /// Writes the claim register: this node runs the task, or is about to.
    fn mark(&mut self, ix: TaskIx, epoch: Epoch, started: Option<Wall>) {
        let mark = ClaimMark { epoch, started };
        let (tag, place) = (self.tag, self.known(ix).index);
        self.registers(ix)
            .fold_mark(tag, mark)
            .expect("only what was bid for runs");
        self.stage(ix).marks.insert(place, mark);
    }

    /// The guard started a run. Told again after a restart, it counts once.
    pub(super) fn run_started(&mut self, run: RunId) {
        let Some(ix) = self.claimed(run) else { return };
        if self
            .known(ix)
            .claim
            .is_some_and(|claim| claim.phase == Phase::Running)
        {
            return;
        }
        self.with_claim(ix, |claim, now| {
            claim.phase = Phase::Running;
            claim.started = Some(now);
        });
        self.mark(ix, run.epoch, Some(self.now.wall));
        let staged = self.stage(ix);
        staged.live += 1;
        staged.count(Total::Started);
        self.counters.runs_started += 1;
        self.dirty.insert(ix);
    }

    fn claimed(&mut self, run: RunId) -> Option<TaskIx> {
        let ix = self.ids.get(&run.task).copied();
        let found = ix.filter(|ix| self.known(*ix).claim.is_some_and(|c| c.epoch == run.epoch));
        if found.is_none() {
            self.counters.strange_runs += 1;
        }
        found
    }

    /// A part of this host failed and did something to a run: that is recorded with its claim.
    pub(super) fn harmed(&mut self, run: RunId, what: &str) {
        let Some(ix) = self.claimed(run) else { return };
        let harm = Harm {
            index: self.known(ix).index,
            epoch: run.epoch,
            what: Harm::shortened(what),
        };
        self.stage(ix).harms.insert(harm.index, harm);
    }

    /// A run ended or never began: nothing of it is alive.
    pub(super) fn run_ended(&mut self, run: RunId, end: RunEnd) {
        let Some(ix) = self.claimed(run) else { return };
        let ran = self
            .known(ix)
            .claim
            .is_some_and(|claim| claim.phase == Phase::Running);
        if ran && self.broken != Some(Sabotage::EndsNotCounted) {
            self.stage(ix).live -= 1;
        }
        match end {
            RunEnd::Exited(report) => self.exited(ix, report, None),
            RunEnd::Called(report, said) => self.exited(ix, report, Some(said)),
            RunEnd::Expired => {
                self.stage(ix).count(Total::Lost);
                self.counters.runs_expired += 1;
                match self.broken {
                    Some(Sabotage::StartsAgain) => self.hold_on(ix),
                    Some(Sabotage::KillIsOutcome) => self.exited(ix, self.killed(), None),
                    Some(_) | None => self.expired(ix),
                }
            }
            RunEnd::TooLate => {
                self.counters.starts_too_late += 1;
                self.give_up(ix);
            }
            RunEnd::Withdrawn => self.give_up(ix),
            RunEnd::Unfit(why) => {
                let unfit = &mut self.tasks[ix as usize].unfit;
                let (first, longest) = MISSING_FOR;
                let pause = unfit
                    .as_ref()
                    .map_or(first, |unfit| (2 * unfit.pause).min(longest));
                let until = self.now.mono + pause;
                *unfit = Some(Unfit { until, pause, why });
                self.give_up(ix);
            }
            RunEnd::Misplaced(why) => {
                self.miss_place(ix, why);
                self.give_up(ix);
            }
            RunEnd::Impossible { code, why } => {
                self.conclude_unstarted(ix, run.epoch, format!("exit {code}: {why}"));
            }
            RunEnd::NoInput(why) => self.conclude_unstarted(ix, run.epoch, why),
        }
    }

    /// A run can be started nowhere: that is its task's outcome.
    fn conclude_unstarted(&mut self, ix: TaskIx, epoch: Epoch, why: String) {
        let verdict = Verdict::Failure(Some(why));
        let outcome = self.outcome(ix, epoch, verdict, None);
        self.conclude(ix, outcome);
    }

    /// A run was killed by its guard, or died with it. Where the task says so, that is its outcome; else nothing is (C7).
    fn expired(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        match task.claim {
            Some(claim) if self.minds_loss(ix) && task.complete.is_none() => {
                self.lose(ix, claim.epoch);
            }
            _ => self.give_up(ix),
        }
    }

    /// Sabotage: waits for acks at an epoch at which a run was started already.
    fn hold_on(&mut self, ix: TaskIx) {
        let demand = self.demand(ix);
        self.schedule.finished(ix, self.now.mono);
        let priority = self.priority(ix);
        self.schedule.claimed(ix, demand, priority);
        self.set_phase(ix, Phase::Bidding);
    }

    /// Sabotage: what the kill at a deadline looks like to somebody who takes it for an end.
    fn killed(&self) -> RunReport {
        RunReport {
            limits: Limits::default(),
            exit: Exit::Signal(9),
            started: self.now.wall,
            ended: self.now.wall,
            usage: Usage::default(),
            stdout: Captured::default(),
            stderr: Captured::default(),
        }
    }

    pub(super) fn cancel(&mut self, ix: TaskIx, epoch: Epoch) {
        let outcome = self.outcome(ix, epoch, Verdict::Cancelled, None);
        self.conclude(ix, outcome);
    }

    /// C7: writes the outcome of the claim's epoch, once, and ends the claim.
    pub(super) fn conclude(&mut self, ix: TaskIx, outcome: Outcome) {
        let Some(claim) = self.known(ix).claim else {
            return;
        };
        self.write_outcome(ix, claim.epoch, outcome);
        self.drop_claim(ix);
    }

    pub(super) fn write_outcome(&mut self, ix: TaskIx, epoch: Epoch, outcome: Outcome) {
        let at = OutcomeAt {
            index: self.known(ix).index,
            epoch,
            outcome,
        };
        let value = Arc::new(at.outcome.clone());
        let tag = self.tag;
        self.registers(ix)
            .fold_outcome(tag, epoch, value)
            .expect("one outcome is written for an epoch");
        self.stage(ix).outcomes.insert(at.index, at);
        self.changed(ix);
    }

    /// C8: gives the claim's epoch up; no run of it is alive or can start.
    pub(super) fn give_up(&mut self, ix: TaskIx) {
        let Some(claim) = self.known(ix).claim else {
            return;
        };
        self.drop_claim(ix);
        self.say_given_up(ix, &claim);
    }

    fn drop_claim(&mut self, ix: TaskIx) {
        let Some(claim) = self.tasks[ix as usize].claim.take() else {
            return;
        };
        match claim.phase {
            Phase::Bidding | Phase::Held => self.schedule.dropped(ix),
            Phase::Starting | Phase::Running => self.schedule.finished(ix, self.now.mono),
        }
        self.use_mounts(ix, false);
        self.ahead_in_queue.remove(&ix);
        self.note_activity(ix);
        self.forget_held(ix, &claim);
        if let Some(deadline) = claim.deadline {
            self.deadlines.remove(&(deadline, ix));
        }
        self.claims.remove(&ix);
        self.turns.forget(ix);
        self.calm_task(ix);
    }

    /// C6: renews every live claim with one frame a witness.
    pub(super) fn send_heartbeats(&mut self) {
        self.heartbeat_due = !self.claims.is_empty();
        if !self.heartbeat_due {
            return;
        }
        // An own answer is always now (C3): where that decides, the hold is renewed without any ack.
        self.dirty.extend(self.claims.iter().copied());
        let mut segments: Vec<SegmentId> = self
            .claims
            .iter()
            .map(|ix| self.known(*ix).segment)
            .collect();
        segments.sort_unstable();
        segments.dedup();
        let mute = self.broken == Some(Sabotage::NoHeartbeats);
        let peers: Vec<_> = self.roster.connected().filter(|_| !mute).collect();
        for peer in peers {
            let witnessed: Vec<SegmentId> = segments
                .iter()
                .copied()
                .filter(|id| self.segments[id].peers.contains(&peer))
                .collect();
            if !witnessed.is_empty() {
                let beat = Heartbeat {
                    incarnation: self.incarnation,
                    sent: self.now.mono,
                    segments: witnessed,
                };
                self.send(peer, &Message::Heartbeat(beat));
            }
        }
        self.set_timer(
            self.now.mono + self.timing.heartbeat,
            super::Timer::Heartbeat,
        );
    }

    /// Lets claims in a segment look at their answers again.
    pub(super) fn touch_claims_in(&mut self, segment: SegmentId) {
        let touched: Vec<TaskIx> = self
            .claims
            .iter()
            .copied()
            .filter(|ix| self.known(*ix).segment == segment)
            .collect();
        self.dirty.extend(touched);
    }
}
