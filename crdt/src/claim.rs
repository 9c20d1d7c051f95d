//! The claimant role: what a bid's answers are worth (C3, C4), what its voters promise (C5), and the life of one claim.
//!
//! A lease counts from the *send* time of what was answered, on the claimant's own clock, so delay only shortens it
//! (Gray and Cheriton, "Leases", 1989). Adoption of an earlier accepted outcome is Paxos's (Lamport, 1998).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Sabotage;
use crate::generation::Replacement;
use crate::ids::{Epoch, SegmentId, Tag};
use crate::registers::Registers;
use crate::task::{Outcome, OutcomeDigest};
use crate::terms::Terms;
use crate::time::{Mono, Timing};

/// Where a live claim of this node stands. It ends with an outcome or a give-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The bid is written; answers are awaited.
    Bidding,
    /// Held, and waits for room on this host.
    Held,
    /// The guard was told to start the run.
    Starting,
    /// The guard said that it runs.
    Running,
}

/// A claim of this node: bid for in this incarnation, or found under its guard at the start (C2, G3).
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The bid's epoch.
    pub epoch: Epoch,
    /// Its place among this node's bids: of held tasks of one priority the one that was bid for first starts first.
    pub turn: u64,
    /// Since when its votes are answers.
    pub since: Since,
    /// Where it stands.
    pub phase: Phase,
    /// L - K after the deciding answer, or never; none until it is held.
    pub deadline: Option<Mono>,
    /// The deadline passed: nothing revives this epoch (the latch).
    pub lost: bool,
    /// Since when it runs.
    pub started: Option<Mono>,
    /// When it was told to end: a person wants it, or it took too long.
    pub signalled: Option<Mono>,
}

/// s0 of a claim: what a vote alone is worth as an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// The bid was written in this incarnation, after this instant: a vote for it is an answer of then.
    Bid(Mono),
    /// The bid is of an earlier incarnation, and its run was found alive: votes are worth nothing before their members have
    /// acked a heartbeat of this one.
    Found,
}

/// The newest answers of witnesses in one segment.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    /// Send time of the newest heartbeat whose ack counts.
    counted: Option<Mono>,
    /// Send time of a newer one, which counts once so many of the witness's changes are seen.
    waiting: Option<(Mono, u32)>,
}

/// Acks received in this incarnation, by segment and witness.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<(SegmentId, Tag), Answer>);

impl Answers {
    /// Notes an ack for a heartbeat sent at `sent`, which counts once `seen >= left`. Says whether it counts now.
    pub fn note(&mut self, key: (SegmentId, Tag), sent: Mono, left: u32, seen: u32) -> bool {
        let answer = self.0.entry(key).or_default();
        if answer.counted.is_some_and(|old| old >= sent) {
            return false;
        }
        if seen >= left {
            answer.counted = Some(sent);
            return true;
        }
        if answer.waiting.is_none_or(|(old, _)| old < sent) {
            answer.waiting = Some((sent, left));
        }
        false
    }

    /// Notes that `seen` changes of a witness are seen. Says whether a waiting ack counts now.
    pub fn progress(&mut self, key: (SegmentId, Tag), seen: u32) -> bool {
        let Some(answer) = self.0.get_mut(&key) else {
            return false;
        };
        match answer.waiting {
            Some((sent, left)) if seen >= left => {
                answer.waiting = None;
                answer.counted = answer.counted.max(Some(sent));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Returns the send time of the newest ack that counts.
    #[must_use]
    pub fn counted(&self, key: (SegmentId, Tag)) -> Option<Mono> {
        self.0.get(&key).and_then(|answer| answer.counted)
    }

    /// Forgets a segment.
    pub fn forget(&mut self, segment: SegmentId) {
        self.0.retain(|(of, _), _| *of != segment);
    }
}

/// What a claimant knows of one task.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Itself.
    pub me: Tag,
    /// The committee, in order.
    pub committee: &'a [Tag],
    /// What is said about the committee's replacement; `None` as long as nothing is.
    pub replacement: Option<&'a Replacement>,
    /// The task's registers as seen here.
    pub registers: &'a Registers,
    /// Its own entries are durable, so that its own vote counts.
    pub own_durable: bool,
    /// The segment, for answers.
    pub segment: SegmentId,
    /// How long its witnesses wait for a silent claimant, as they have stated.
    pub waits: &'a BTreeMap<Tag, Duration>,
    /// On what its claims rest.
    pub terms: Terms,
    /// The rule that is broken on purpose.
    pub broken: Option<Sabotage>,
}

/// What the voters of an epoch promise (C5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Promise {
    /// Not a majority yet.
    None,
    /// Nothing was accepted before: the task may run.
    Fresh,
    /// This outcome was accepted before and must be written again.
    Adopt(Arc<Outcome>),
    /// An outcome was accepted before; its value has not arrived yet.
    Await(OutcomeDigest),
}

impl Claimant<'_> {
    fn majority(&self) -> usize {
        let half = self.committee.len() / 2;
        if self.broken == Some(Sabotage::MinorityHolds) {
            half.max(1)
        } else {
            half + 1
        }
    }

    /// The members whose seen vote is for this claimant at `epoch`.
    fn voters(&self, epoch: Epoch) -> impl Iterator<Item = Tag> + '_ {
        self.committee.iter().copied().filter(move |member| {
            (*member != self.me || self.own_durable)
                && self
                    .registers
                    .vote(*member)
                    .is_some_and(|vote| (vote.epoch, vote.claimant) == (epoch, self.me))
        })
    }

    /// Says whether a majority of the members is seen to have voted for this claimant at `epoch`, and for nobody since.
    #[must_use]
    pub fn has_majority(&self, epoch: Epoch) -> bool {
        self.voters(epoch).count() >= self.majority()
    }

    /// C3 and C4: returns the instant until which `claim` is held, if a majority answers and that lies ahead of `now`.
    #[must_use]
    pub fn hold(
        &self,
        claim: &Claim,
        answers: &Answers,
        timing: &Timing,
        now: Mono,
    ) -> Option<Mono> {
        let latched = !matches!(self.broken, Some(Sabotage::NoLatch | Sabotage::StartsAgain));
        if claim.lost && latched {
            return None;
        }
        match self.terms {
            Terms::Anywhere => return Some(Mono::NEVER),
            Terms::Votes | Terms::Lease if !self.has_majority(claim.epoch) => return None,
            Terms::Votes => return Some(Mono::NEVER),
            Terms::Lease => {}
        }
        let answer = |member: Tag| {
            // M2: its vote may have been replaced by another committee's, of which nothing is known here.
            if self.is_sealed(member) {
                return None;
            }
            if member == self.me {
                return Some(now);
            }
            let acked = answers.counted((self.segment, member));
            match claim.since {
                Since::Bid(since) => Some(acked.map_or(since, |acked| acked.max(since))),
                Since::Found if self.broken == Some(Sabotage::FoundIsHeld) => Some(now),
                Since::Found => acked,
            }
        };
        let until = |member: Tag| Some(answer(member)? + self.worth(member, timing));
        let mut deadlines: Vec<Mono> = if self.broken == Some(Sabotage::AnyAcks) {
            self.committee
                .iter()
                .filter_map(|member| until(*member))
                .collect()
        } else {
            self.voters(claim.epoch).filter_map(until).collect()
        };
        deadlines.sort_unstable_by(|a, b| b.cmp(a));
        let deadline = *deadlines.get(self.majority() - 1)?;
        (now < deadline).then_some(deadline)
    }

    /// C3, R5: how long an answer of a member counts: no longer than it lets a silent claimant be.
    fn worth(&self, member: Tag, timing: &Timing) -> Duration {
        match self.broken {
            Some(Sabotage::NoMargin) => timing.lease,
            Some(Sabotage::WaitAssumed) => timing.hold(),
            Some(_) | None if member == self.me => timing.hold(),
            Some(_) | None => {
                let wait = self.waits.get(&member).copied().unwrap_or_default();
                timing.hold_under(wait)
            }
        }
    }

    fn is_sealed(&self, member: Tag) -> bool {
        self.broken != Some(Sabotage::SealsIgnored)
            && self
                .replacement
                .is_some_and(|replacement| replacement.is_sealed(member))
    }

    /// C5: returns what the voters of `epoch` promise; needs no lease.
    #[must_use]
    pub fn promise(&self, epoch: Epoch) -> Promise {
        if self.terms == Terms::Anywhere {
            return Promise::Fresh;
        }
        if !self.has_majority(epoch) {
            return Promise::None;
        }
        let accepts = self
            .voters(epoch)
            .filter_map(|member| self.registers.vote(member)?.accepted)
            // A2: what a person made void is not taken up.
            .filter(|accept| !self.registers.is_void(accept.digest));
        let accepted = if self.broken == Some(Sabotage::OldestAdopted) {
            accepts.min_by_key(|accept| accept.epoch)
        } else {
            accepts.max_by_key(|accept| accept.epoch)
        };
        match accepted {
            None => Promise::Fresh,
            Some(_) if self.broken == Some(Sabotage::NoAdoption) => Promise::Fresh,
            Some(accept) => match self.registers.outcome_of(accept.digest) {
                Some(outcome) => Promise::Adopt(Arc::clone(outcome)),
                None => Promise::Await(accept.digest),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::ballots::VoteRegister;
    use crate::entry::Accept;
    use crate::ids::{Generation, PeerId};
    use crate::registers::BidRegister;
    use crate::task::{Verdict, Want, Wish};
    use crate::time::{Hlc, Wall};

    /// Three members; all accepted a failure of epoch 1 and voted for the first at epoch 2.
    fn failed() -> (Registers, OutcomeDigest) {
        let mut registers = Registers::default();
        let bid = |epoch| BidRegister {
            epoch: Epoch(epoch),
            gave_up: false,
        };
        let outcome = Outcome {
            origin: (Epoch(1), Tag(1)),
            verdict: Verdict::Failure(None),
            report: None,
            reason: None,
        };
        let digest = outcome.digest();
        registers.fold_bid(Tag(1), bid(1)).unwrap();
        let outcome = Arc::new(outcome);
        registers.fold_outcome(Tag(1), Epoch(1), outcome).unwrap();
        for epoch in [1, 2] {
            for member in [1, 2, 3] {
                let vote = VoteRegister {
                    epoch: Epoch(epoch),
                    claimant: Tag(1),
                    accepted: Some(Accept {
                        epoch: Epoch(1),
                        digest,
                    }),
                };
                registers
                    .fold_vote(Tag(member), Generation::FIRST, vote)
                    .unwrap();
            }
        }
        registers.fold_bid(Tag(1), bid(2)).unwrap();
        (registers, digest)
    }

    fn promise(registers: &Registers) -> Promise {
        let claimant = Claimant {
            me: Tag(1),
            committee: &[Tag(1), Tag(2), Tag(3)],
            replacement: None,
            registers,
            own_durable: true,
            segment: SegmentId {
                author: PeerId([1; 32]),
                n: 1,
            },
            waits: &BTreeMap::new(),
            terms: Terms::Lease,
            broken: None,
        };
        claimant.promise(Epoch(2))
    }

    #[test]
    fn what_a_person_made_void_is_not_taken_up() {
        let (mut registers, digest) = failed();
        assert!(matches!(promise(&registers), Promise::Adopt(_)));
        let wish = Wish::Again {
            void: vec![digest],
            tries: 0,
            losses: 0,
        };
        let stamp = Hlc::after(Hlc::default(), Wall(1), Tag(1));
        let by = String::new();
        assert!(registers.fold_want(Want { stamp, by, wish }));
        assert_eq!(promise(&registers), Promise::Fresh);
    }
}
