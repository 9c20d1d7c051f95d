//! What a touched task makes this node do: as observer, as witness, as claimant, as scheduler; then what people are told.

use std::sync::Arc;

use super::{Replica, rank};
use crate::ballots::VoteRegister;
use crate::claim::Phase;
use crate::config::Sabotage;
use crate::entry::Vote;
use crate::event::{Notice, Output};
use crate::graph::TaskIx;
use crate::ids::{DocId, Epoch, Tag, TaskId};
use crate::resolve;
use crate::task::{Exit, Outcome, TaskState, Verdict, Wish, Work};
use crate::terms::Terms;
use crate::time::Mono;
use crate::witness::{Binding, Witness};

/// From when on a task may be bid for.
#[derive(Clone, Copy, Debug)]
struct Opening {
    /// By anybody.
    free: Mono,
    /// By this host, which lets better-ranked ones go first.
    bid: Mono,
}

impl Replica {
    pub(super) fn react(&mut self, ix: TaskIx) {
        if self.known(ix).is_vacant() {
            return;
        }
        self.counters.touched += 1;
        self.observe(ix);
        self.witness(ix);
        self.press_claim(ix);
        self.reconsider(ix);
        self.wake_witness(ix);
        self.tell_state(ix);
        self.note_removal(ix);
        self.note_activity(ix);
    }

    /// Wakes this witness when its vote becomes free, if a bid stands for which it could vote then.
    fn wake_witness(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        if task.complete.is_some() {
            return;
        }
        let Some(witness) = self.as_witness(ix) else {
            return;
        };
        let Binding::Until(free) = witness.binding(self.now.mono) else {
            return;
        };
        let own = task
            .registers
            .vote(self.tag)
            .map_or(Epoch::NONE, |vote| vote.epoch);
        let stands = task
            .registers
            .bids()
            .any(|(_, bid)| bid.epoch > own && !bid.gave_up);
        if stands && task.wake.is_none_or(|at| at > free) {
            self.wake_task(ix, free);
        }
    }

    /// O1: remembers a committed outcome; it never changes.
    /// That of a task that may run anywhere may yet give way to a lesser one.
    fn observe(&mut self, ix: TaskIx) {
        if self.known(ix).complete.is_some() && self.terms(ix) != Terms::Anywhere {
            return;
        }
        let uncounted = (!self.is_durable(ix)).then_some(self.tag);
        let task = self.known(ix);
        let registers = &task.registers;
        let accept = resolve::complete(registers, &self.segment_of(ix).committee, uncounted);
        let outcome = accept
            .and_then(|accept| registers.outcome_of(accept.digest))
            .cloned();
        let outcome = if self.terms(ix) == Terms::Anywhere {
            self.least_outcome(ix)
        } else {
            outcome.or_else(|| self.rash_outcome(ix))
        };
        let ended = outcome.is_some() && self.known(ix).complete.is_none();
        self.tasks[ix as usize].complete = outcome;
        if ended {
            self.count_finished(ix);
        }
    }

    fn least_outcome(&self, ix: TaskIx) -> Option<Arc<Outcome>> {
        let task = self.known(ix);
        if task.complete.is_some() && self.broken == Some(Sabotage::AnyOutcome) {
            return task.complete.clone();
        }
        resolve::least_outcome(&task.registers, |tag, epoch| rank(task.id, epoch, tag)).cloned()
    }

    /// Sabotage: what counts as committed too early.
    fn rash_outcome(&self, ix: TaskIx) -> Option<Arc<Outcome>> {
        match self.broken {
            Some(Sabotage::FirstOutcomeWins) => {
                let first = self.known(ix).registers.endings().next();
                first.map(|(_, o)| Arc::clone(&o.outcome))
            }
            Some(Sabotage::WishIsFinal) if self.kill_wanted(ix) => Some(Arc::new(self.outcome(
                ix,
                self.known(ix).registers.top(),
                Verdict::Cancelled,
                None,
            ))),
            Some(_) | None => None,
        }
    }

    /// The instant at which this node's vote for a silent claimant becomes free (V2 d).
    fn silent_from(&self, ix: TaskIx) -> Mono {
        let task = self.known(ix);
        let acked = task
            .registers
            .vote(self.tag)
            .and_then(|vote| self.acked.get(&vote.claimant).copied())
            .unwrap_or(Mono(0));
        if self.broken == Some(Sabotage::AcksForgotten) {
            return task.voted.max(self.awake) + self.wait_in(ix);
        }
        if self.broken == Some(Sabotage::RestartNotAck) {
            let before = task.voted <= self.awake;
            let voted = if before { Mono(0) } else { task.voted };
            return voted.max(acked) + self.wait_in(ix);
        }
        task.voted.max(acked).max(self.awake) + self.wait_in(ix)
    }

    pub(super) fn as_witness(&self, ix: TaskIx) -> Option<Witness<'_>> {
        let segment = self.segment_of(ix);
        let committee = &segment.committee;
        let terms = self.terms(ix);
        let votes = terms != Terms::Anywhere && committee.contains(&self.tag);
        votes.then(|| Witness {
            me: self.tag,
            committee,
            registers: &self.known(ix).registers,
            silent_from: self.silent_from(ix),
            terms,
            broken: self.broken,
        })
    }

    fn witness(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        // Without the spec it is not known whether there are votes.
        if task.complete.is_some() || task.spec.is_none() || self.stalled {
            return;
        }
        // M2: what a sealed member has voted is final.
        if self.segment_of(ix).is_sealed(self.tag) && self.broken != Some(Sabotage::SealsIgnored) {
            return;
        }
        let id = self.known(ix).id;
        while let Some(vote) = self
            .as_witness(ix)
            .and_then(|witness| witness.next(self.now.mono, |tag, epoch| rank(id, epoch, tag)))
        {
            if self.would_hide_an_accept(ix, &vote) {
                break;
            }
            self.stage_vote(ix, vote);
        }
    }

    /// A flush writes only the last vote of a task: an accept that was not written yet must not be replaced by another.
    fn would_hide_an_accept(&self, ix: TaskIx, vote: &VoteRegister) -> bool {
        let task = self.known(ix);
        let staged = self.staged.get(&DocId::Segment(task.segment));
        let written = staged.and_then(|staged| staged.votes.get(&task.index));
        written.is_some_and(|written| {
            let accepts = written
                .accepted
                .is_some_and(|accept| accept.epoch == written.epoch);
            accepts && vote.epoch != written.epoch
        })
    }

    fn stage_vote(&mut self, ix: TaskIx, vote: VoteRegister) {
        self.state_wait(self.known(ix).segment);
        let task = self.known(ix);
        let old = task.registers.vote(self.tag);
        if let Some(old) = old.filter(|old| old.claimant != vote.claimant) {
            let left = self.next_count(task.segment);
            self.left.insert((task.segment, old.claimant), left);
        }
        let task = &mut self.tasks[ix as usize];
        if old.is_none_or(|old| old.epoch != vote.epoch) {
            task.voted = self.now.mono;
            self.counters.votes += 1;
        }
        let generation = task.registers.generation();
        task.registers
            .fold_vote(self.tag, generation, vote)
            .expect("the witness's rules let no vote go back");
        let entry = Vote {
            index: task.index,
            generation,
            epoch: vote.epoch,
            claimant: vote.claimant,
            accepted: vote.accepted,
        };
        self.stage(ix).votes.insert(entry.index, entry);
    }

    /// Decides whether this host may bid for the task now, later, or not as things are.
    fn reconsider(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        if task.claim.is_some() {
            return;
        }
        self.give_up_idle_bid(ix);
        self.turns.forget(ix);
        match self.may_bid_at(ix) {
            None => {
                self.schedule.withdraw(ix);
                self.calm_task(ix);
            }
            Some(opening) if opening.bid > self.now.mono => {
                self.schedule.withdraw(ix);
                self.wake_task(ix, opening.bid);
                if opening.free <= self.now.mono {
                    self.turns.expect(ix, self.priority(ix), opening.bid);
                }
            }
            Some(_) if self.is_far_below(ix) => {
                self.schedule.withdraw(ix);
                if !self.stalled {
                    self.climb(ix);
                }
            }
            Some(_) if self.end_wanted(ix) && !self.stalled => {
                self.schedule.withdraw(ix);
                self.bid(ix);
            }
            Some(_) if self.awaits_place(ix) => {
                self.schedule.withdraw(ix);
                self.calm_task(ix);
            }
            Some(_) => self.offer_task(ix),
        }
        self.wake_by_clock(ix);
    }

    pub(super) fn offer_task(&mut self, ix: TaskIx) {
        self.calm_task(ix);
        let task = self.known(ix);
        let Some(spec) = task.spec.clone() else {
            return;
        };
        let epoch = task.registers.top().next();
        let id = task.id;
        let age = u64::from(task.line.0) << 32 | u64::from(task.line.1);
        let place = self.place(id, epoch);
        let (class, urgency) = self.class(ix, &spec);
        self.schedule
            .offer_task(ix, id, class, urgency, (place, age));
    }

    /// This host's place among the living for a task at an epoch, from 0.
    pub(super) fn place(&self, id: TaskId, epoch: Epoch) -> u64 {
        let own = rank(id, epoch, self.tag);
        self.alive
            .iter()
            .filter(|tag| rank(id, epoch, **tag) < own)
            .count() as u64
    }

    /// From when it is free, and this host may bid for it; `None` as things are.
    fn may_bid_at(&self, ix: TaskIx) -> Option<Opening> {
        let task = self.known(ix);
        let spec = task.spec.as_ref()?;
        let over = task.complete.is_some()
            || task.doomed.is_some()
            || task.staged > self.durable
            || task.registers.top() >= Epoch::LAST;
        if over || matches!(spec.work, Work::Group { .. }) {
            return None;
        }
        let ends = self.end_wanted(ix);
        if !ends && !self.is_ready(ix) {
            return None;
        }
        let unfit = task.unfit.as_ref().map_or(Mono(0), |unfit| unfit.until);
        let due = if ends { Mono(0) } else { self.due_at(ix) };
        // What becomes due does so everywhere at once: the stagger counts from there, too.
        let free = self.free_at(ix)?.max(due);
        Some(Opening {
            free: free.max(unfit),
            bid: (free + self.stagger(ix)).max(unfit),
        })
    }

    /// Says whether nothing but a host is missing, and this one would do.
    fn is_ready(&self, ix: TaskIx) -> bool {
        let task = self.known(ix);
        task.spec.is_some()
            && task.unmet == 0
            && self.window_lets(ix)
            && self.held_back(ix).is_none()
            && self.misfit(ix).is_none()
    }

    pub(super) fn window_lets(&self, ix: TaskIx) -> bool {
        if self.broken == Some(Sabotage::NoWindow) {
            return true;
        }
        self.known(ix).is_member_of().is_none_or(|member| {
            self.graph
                .group(member.group)
                .is_some_and(|group| group.lets(member.index))
        })
    }

    /// The instant from which nothing speaks against a bid (L1, L2, L3, L5), before the stagger.
    fn free_at(&self, ix: TaskIx) -> Option<Mono> {
        let task = self.known(ix);
        if self.terms(ix) == Terms::Anywhere {
            return Some(self.forsaken_at(ix));
        }
        let top = task.registers.top();
        let mut at = task.changed;
        match self
            .as_witness(ix)
            .map(|witness| witness.binding(self.now.mono))
        {
            Some(Binding::Open) => return None,
            Some(Binding::Until(free)) => at = at.max(free),
            // The vote may have become free only by the claimant's silence: the stagger counts from there.
            Some(Binding::Free)
                if task.registers.vote(self.tag).is_some_and(|vote| {
                    !vote.is_done() && !task.registers.is_over(vote.claimant, vote.epoch)
                }) =>
            {
                at = at.max(self.silent_from(ix).min(self.now.mono));
            }
            Some(Binding::Free) | None => {}
        }
        // A claim of the committee before may still be held.
        let held = task.registers.held_before(self.terms(ix)).next().is_some();
        if held && self.broken != Some(Sabotage::BasisBindsNobody) {
            if self.terms(ix) == Terms::Votes {
                return None;
            }
            at = at.max(self.decides_since(ix) + self.wait_in(ix));
        }
        // A majority behind another claimant that is heard of: it ends its claim itself, or falls silent.
        let committee = &self.segment_of(ix).committee;
        if let Some((claimant, epoch)) = resolve::standing(&task.registers, committee)
            && claimant != self.tag
        {
            let waits = self.terms(ix) == Terms::Votes
                && !task.registers.is_written_off(epoch)
                && self.broken != Some(Sabotage::SilenceFrees);
            if waits {
                return None;
            }
            let heard = self.roster.heard(claimant).unwrap_or(self.booted);
            at = at.max(heard + self.wait_in(ix));
        }
        // A vote may arrive before the bid that it answers.
        let bids = task.registers.bids().map(|(tag, bid)| (tag, bid.epoch));
        let votes = task
            .registers
            .votes()
            .map(|(_, vote)| (vote.claimant, vote.epoch));
        let rival = bids.chain(votes).any(|(tag, epoch)| {
            tag != self.tag && epoch == top && !task.registers.is_over(tag, epoch)
        });
        if rival && !self.rushes() {
            at = at.max(task.changed + self.bid_patience() + self.stagger_step());
        }
        let ending = task.registers.endings().next().is_some();
        if ending && self.broken == Some(Sabotage::NobodyTakesUp) {
            return None;
        }
        if ending {
            at = at.max(task.changed + self.bid_patience());
        }
        Some(at)
    }

    /// The instant from which every claim of others to a task that may run anywhere counts as forsaken.
    fn forsaken_at(&self, ix: TaskIx) -> Mono {
        let task = self.known(ix);
        task.registers
            .bids()
            .filter(|(tag, bid)| *tag != self.tag && !task.registers.is_over(*tag, bid.epoch))
            .map(|(tag, _)| self.roster.heard(tag).unwrap_or(self.booted) + self.wait_in(ix))
            .fold(task.changed, Mono::max)
    }

    /// Says whether nobody lets anybody go first: for want of that rule, or because votes must be split for another to matter.
    fn rushes(&self) -> bool {
        matches!(
            self.broken,
            Some(Sabotage::NoStagger | Sabotage::GenerationsMixed)
        )
    }

    /// How long this host lets better-ranked ones go first. At the first epoch the author goes first if it has room: its
    /// spec, bid and vote become durable together.
    fn stagger(&self, ix: TaskIx) -> std::time::Duration {
        if self.rushes() {
            return std::time::Duration::ZERO;
        }
        let task = self.known(ix);
        let epoch = task.registers.top().next();
        let place = u32::try_from(self.place(task.id, epoch))
            .unwrap_or(u32::MAX)
            .min(64);
        let author = task.id.tag;
        if epoch == Epoch(1) {
            if author == self.tag {
                return std::time::Duration::ZERO;
            }
            let has_room = self.alive.binary_search(&author).is_ok()
                && self
                    .roster
                    .last_beat(author)
                    .is_none_or(|beat| beat.free_milli > 0);
            if has_room {
                return self.stagger_step() * (place + 1);
            }
        }
        self.stagger_step() * place
    }

    fn tell_state(&mut self, ix: TaskIx) {
        let (state, reason) = self.state_now(ix);
        let task = &mut self.tasks[ix as usize];
        if (task.state, &task.reason) == (state, &reason) {
            return;
        }
        let from = std::mem::replace(&mut task.state, state);
        task.reason.clone_from(&reason);
        let (id, epoch) = (task.id, task.registers.top());
        let member = task.is_member_of();
        if from != state {
            self.restore(ix, from);
        }
        let host = self.host_of(ix);
        self.outputs.push_back(Output::Notice(Notice::Task {
            id,
            state,
            reason,
            host,
            epoch,
            sleepers: self.stands_for(ix) - 1,
        }));
        if from == state {
            return;
        }
        if let Some(member) = member {
            let freed = self
                .graph
                .group_mut(member.group)
                .moved(member.index, from, state);
            self.free(&freed);
            self.dirty.extend(self.ids.get(&member.group));
        }
        if from.is_complete() || state.is_complete() {
            self.tell_dependents(id, state);
        }
    }

    /// Lets tasks be considered from now on.
    pub(super) fn free(&mut self, tasks: &[TaskIx]) {
        for ix in tasks {
            let now = self.now.mono;
            let task = &mut self.tasks[*ix as usize];
            task.changed = task.changed.max(now);
            self.dirty.insert(*ix);
        }
    }

    fn state_now(&self, ix: TaskIx) -> (TaskState, Option<String>) {
        let task = self.known(ix);
        let Some(spec) = &task.spec else {
            return (TaskState::Creating, None);
        };
        if let Work::Group { size } = spec.work {
            return (self.group_state(task.id, size, ix), None);
        }
        if let Some(outcome) = &task.complete {
            return ended_state(outcome);
        }
        if task
            .claim
            .is_some_and(|claim| claim.phase == Phase::Running)
        {
            return (TaskState::Running, None);
        }
        let holder = self.holder(ix);
        let ending = task.registers.endings().next().is_some();
        let runs = |(tag, epoch): (Tag, Epoch)| {
            let mark = task.registers.mark_of(tag);
            mark.is_some_and(|mark| mark.epoch == epoch && mark.started.is_some())
        };
        if ending || holder.is_some_and(runs) {
            return (TaskState::Running, None);
        }
        if holder.is_some() {
            return (TaskState::Claimed, None);
        }
        if let Some(dependency) = task.doomed {
            return (
                TaskState::Cancelled,
                Some(format!("dependency {dependency}")),
            );
        }
        if task.registers.top() >= Epoch::LAST {
            let why = "its epochs are used up: a broken host has jumped ahead";
            return (TaskState::Pending, Some(why.to_owned()));
        }
        match self.why_not_yet(ix) {
            Some((state, why)) => (state, Some(why)),
            None => {
                let unfit = task.unfit.as_ref().map(|unfit| unfit.why.clone());
                (TaskState::Pending, self.what_is_missing(ix).or(unfit))
            }
        }
    }

    fn group_state(&self, id: TaskId, size: Option<u32>, ix: TaskIx) -> TaskState {
        let Some(group) = self.graph.group(id) else {
            return TaskState::Pending;
        };
        let closed = self
            .known(ix)
            .registers
            .want()
            .and_then(|want| match want.wish {
                Wish::Close { size } => Some(size),
                Wish::Kill { .. }
                | Wish::Retry { .. }
                | Wish::Hold
                | Wish::Release { .. }
                | Wish::Again { .. }
                | Wish::Remove { .. }
                | Wish::Edit(_) => None,
            });
        let (ended, known) = group.progress();
        let counts = group.counts();
        let count = |state: TaskState| counts[state as usize];
        let all = closed.or(size).is_some_and(|size| known >= size);
        if all && ended == known {
            return if count(TaskState::Success) == known {
                TaskState::Success
            } else {
                TaskState::Error
            };
        }
        let begun = ended + count(TaskState::Running) + count(TaskState::Claimed);
        if begun > 0 {
            TaskState::Running
        } else {
            TaskState::Pending
        }
    }
}

/// Returns the state and the reason of a committed outcome.
fn ended_state(outcome: &Outcome) -> (TaskState, Option<String>) {
    let exit = outcome.report.map(|report| match report.exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    });
    match &outcome.verdict {
        Verdict::Success => (TaskState::Success, None),
        Verdict::Failure(why) => (TaskState::Error, why.clone().or(exit)),
        Verdict::Killed => (TaskState::Killed, outcome.reason.clone().or(exit)),
        Verdict::Cancelled => (TaskState::Cancelled, outcome.reason.clone()),
        Verdict::Retry => (TaskState::Pending, exit),
        Verdict::Lost => (TaskState::Lost, outcome.reason.clone()),
    }
}
