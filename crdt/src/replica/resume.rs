//! What becomes of the claims of an earlier start of this node (C2, G3).
//!
//! A bid whose run no guard has is given up: nothing of it is alive or can start. A run that its guard still has is claimed on.
//! It is not held: votes, acks and deadlines of the earlier incarnation prove nothing to this one. A majority of its voters must
//! ack heartbeats of this incarnation before its deadline is moved; until then the guard's deadline stands, and the guard alone
//! enforces it. Nothing is started anew at that epoch. Its end is an outcome as any other (C7).

use super::{Replica, Timer, index};
use crate::claim::{Claim, Phase, Since};
use crate::entry::{Bid, Total};
use crate::event::{FoundRun, Output};
use crate::graph::TaskIx;
use crate::ids::{DocId, Epoch, RunId};

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
        let phase = if self.is_marked(ix, epoch) {
            Phase::Running
        } else {
            Phase::Starting
        };
        if phase == Phase::Running
            && let Some(segment) = self.segments.get_mut(&self.tasks[ix as usize].segment)
        {
            segment.own_live -= 1;
        }
        self.tasks[ix as usize].claim = Some(Claim {
            epoch,
            since: Since::Found,
            phase,
            deadline: None,
            lost: false,
            signalled: found.signalled,
        });
        self.claims.insert(ix);
        self.set_deadline(ix, found.deadline);
        self.schedule.running.take(self.needs(ix));
        self.counters.runs_found += 1;
        if !self.heartbeat_due {
            self.heartbeat_due = true;
            self.set_timer(self.now.mono, Timer::Heartbeat);
        }
    }

    /// Says whether this node has told the others that it runs the task at this epoch.
    fn is_marked(&self, ix: TaskIx, epoch: Epoch) -> bool {
        let mark = self.known(ix).registers.mark;
        mark.is_some_and(|(tag, mark)| tag == self.tag && mark.epoch == epoch)
    }

    /// C2: gives up every other bid of an earlier incarnation that has no outcome.
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
            if task.claim.is_none() && !task.registers.is_over(self.tag, bid.epoch) {
                let bid = Bid {
                    index: task.index,
                    epoch: bid.epoch,
                    gave_up: true,
                };
                self.stage_bid(index(ix), bid);
            }
        }
    }
}
