//! What becomes of the claims of an earlier start of this node (C2, G3).
//!
//! A bid whose run no guard has is given up: nothing of it is alive or can start. A run that its guard still has is claimed on.
//! It is not held: votes, acks and deadlines of the earlier incarnation prove nothing to this one. A majority of its voters must
//! ack heartbeats of this incarnation before its deadline is moved; until then the guard's deadline stands, and the guard alone
//! enforces it. Nothing is started anew at that epoch. Its end is an outcome as any other (C7).

use super::{Replica, Timer, index};
use crate::claim::{Claim, Phase, Since};
use crate::entry::{Bid, ClaimMark, Total};
use crate::event::{FoundRun, Output};
use crate::graph::TaskIx;
use crate::ids::{DocId, Epoch, RunId, Tag};
use crate::registers::OutcomeRegister;

impl Replica {
    /// Says whether everything that this node wrote about a run's end is durable: the guard may forget it.
    #[must_use]
    pub fn is_settled(&self, run: RunId) -> bool {
        let Some(ix) = self.ids.get(&run.task).copied() else {
            return true;
        };
        let claimed = self.known(ix).claim.is_some_and(|c| c.epoch == run.epoch);
        !claimed && self.is_durable(ix)
    }

    /// Says whether nothing more is to come of a run for which this node would be needed: its end is durable here, and where
    /// that is the task's outcome, it is committed.
    #[must_use]
    pub fn is_concluded(&self, run: RunId) -> bool {
        let Some(ix) = self.ids.get(&run.task).copied() else {
            return true;
        };
        let task = self.known(ix);
        let decides = |(tag, at): &(Tag, OutcomeRegister)| {
            *tag == self.tag && at.epoch == run.epoch && at.outcome.verdict.is_final()
        };
        let awaited = task.complete.is_none() && task.registers.outcomes().any(decides);
        self.is_settled(run) && !awaited
    }

    /// G3: takes up the claims of runs that were found; has those killed that no bid of this node stands for.
    pub(super) fn resume_found(&mut self, found: &[FoundRun]) {
        for found in found {
            match self.standing_bid(found.run) {
                Some(ix) => self.resume(ix, found),
                None => self.outputs.push_back(Output::Kill(found.run)),
            }
        }
    }

    fn standing_bid(&self, run: RunId) -> Option<TaskIx> {
        let ix = self.ids.get(&run.task).copied()?;
        let task = self.known(ix);
        let bid = task.registers.bid(self.tag)?;
        let stands = bid.epoch == run.epoch && !task.registers.is_over(self.tag, run.epoch);
        (stands && task.claim.is_none() && task.spec.is_some()).then_some(ix)
    }

    fn resume(&mut self, ix: TaskIx, found: &FoundRun) {
        let epoch = found.run.epoch;
        let started = self
            .own_mark(ix, epoch)
            .is_some_and(|mark| mark.started.is_some());
        let phase = if started {
            Phase::Running
        } else {
            Phase::Starting
        };
        if phase == Phase::Running
            && let Some(segment) = self.segments.get_mut(&self.tasks[ix as usize].segment)
        {
            segment.own_live -= 1;
        }
        let started = self.running_since(ix, epoch);
        self.tasks[ix as usize].claim = Some(Claim {
            turn: 0,
            epoch,
            since: Since::Found,
            phase,
            deadline: None,
            lost: false,
            started,
            signalled: found.signalled,
        });
        self.claims.insert(ix);
        self.set_deadline(ix, found.deadline);
        let demand = self.demand(ix);
        self.schedule.resumed(ix, demand, found.units.clone());
        self.use_mounts(ix, true);
        self.counters.runs_found += 1;
        if !self.heartbeat_due {
            self.heartbeat_due = true;
            self.set_timer(self.now.mono, Timer::Heartbeat);
        }
    }

    /// What this node has told the others of its run of the task at this epoch.
    pub(super) fn own_mark(&self, ix: TaskIx, epoch: Epoch) -> Option<ClaimMark> {
        let mark = self.known(ix).registers.mark_of(self.tag);
        mark.filter(|mark| mark.epoch == epoch)
    }

    /// C2: gives up every other bid of an earlier incarnation that has no outcome. Where a loss must be told, and it is
    /// durable that the run may have begun, it is told.
    pub(super) fn forsake_old_bids(&mut self) {
        for (id, segment) in &mut self.segments {
            let lost = std::mem::take(&mut segment.own_live);
            if lost != 0 {
                let staged = self.staged.entry(DocId::Segment(*id)).or_default();
                staged.live -= lost;
                for _ in 0..lost {
                    staged.count(Total::Lost);
                }
            }
        }
        for ix in 0..self.tasks.len() {
            let task = &self.tasks[ix];
            let Some(bid) = task.registers.bid(self.tag) else {
                continue;
            };
            if task.claim.is_some() || task.registers.is_over(self.tag, bid.epoch) {
                continue;
            }
            let ix = index(ix);
            if self.minds_loss(ix) && self.own_mark(ix, bid.epoch).is_some() {
                let outcome = self.loss(ix, bid.epoch);
                self.write_outcome(ix, bid.epoch, outcome);
            } else {
                let bid = Bid {
                    index: task.index,
                    epoch: bid.epoch,
                    gave_up: true,
                };
                self.stage_bid(ix, bid);
            }
        }
    }
}
