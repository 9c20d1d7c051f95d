//! The witness role: may this member vote, and for whom; may it accept an outcome. Total, pure functions over one task's
//! registers; the rule numbers are those of `docs/protocol.md`.
//!
//! Upholds I1 (one vote an epoch) and I2 (a vote leaves a claimant only when none of its runs can still count on it).

use crate::ballots::VoteRegister;
use crate::config::Sabotage;
use crate::entry::Accept;
use crate::ids::{Epoch, Tag};
use crate::registers::Registers;
use crate::resolve;
use crate::terms::Terms;
use crate::time::Mono;

/// What a witness knows of one task.
#[derive(Debug, Clone, Copy)]
pub struct Witness<'a> {
    /// Itself.
    pub me: Tag,
    /// The committee, in order.
    pub committee: &'a [Tag],
    /// The task's registers as seen here.
    pub registers: &'a Registers,
    /// When its vote's claimant was last promised anything: the latest of this vote (or of the day it became a member), any ack
    /// to that claimant, and this node's start, plus W. From then on a silent claimant's vote is free.
    pub silent_from: Mono,
    /// On what the task's claims rest.
    pub terms: Terms,
    /// The rule that is broken on purpose.
    pub broken: Option<Sabotage>,
}

/// Why a vote no longer binds (V2), or that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Free to vote anew.
    Free,
    /// Bound until this instant, unless an ack moves it.
    Until(Mono),
    /// Bound until its claimant says that its run is over.
    Open,
}

impl Witness<'_> {
    fn majority(&self) -> usize {
        self.committee.len() / 2 + 1
    }

    /// Says whether the present vote still binds at `now`: rule V2 (0), (a), (b), (c), (d).
    #[must_use]
    pub fn binding(&self, now: Mono) -> Binding {
        if self.broken == Some(Sabotage::NothingBinds) {
            return Binding::Free;
        }
        let Some(vote) = self.registers.vote(self.me) else {
            return self.binding_before(now);
        };
        if vote.is_done() && self.broken == Some(Sabotage::AcceptsFreeze) {
            return Binding::Open;
        }
        if vote.is_done() || self.registers.is_over(vote.claimant, vote.epoch) {
            return Binding::Free;
        }
        let at_its_epoch = || {
            self.committee
                .iter()
                .filter_map(|member| self.registers.vote(*member))
                .filter(|other| other.epoch == vote.epoch)
        };
        let against = at_its_epoch().filter(|other| other.claimant != vote.claimant);
        if against.count() > self.committee.len() - self.majority() {
            return Binding::Free;
        }
        let behind = at_its_epoch().filter(|other| other.claimant == vote.claimant);
        if self.broken == Some(Sabotage::AbsenceFrees) && behind.count() < self.majority() {
            return Binding::Free;
        }
        if self.terms == Terms::Votes && self.broken != Some(Sabotage::SilenceFrees) {
            return if self.registers.is_written_off(vote.epoch) {
                Binding::Free
            } else {
                Binding::Open
            };
        }
        if vote.claimant == self.me && self.broken != Some(Sabotage::SelfTimeout) {
            return Binding::Open;
        }
        if now >= self.silent_from {
            Binding::Free
        } else {
            Binding::Until(self.silent_from)
        }
    }

    /// M6: what binds a member that has not voted in this committee yet: claims that the one before may have let somebody hold.
    fn binding_before(&self, now: Mono) -> Binding {
        let held = self.registers.held_before(self.terms).next().is_some();
        if !held || self.broken == Some(Sabotage::BasisBindsNobody) {
            return Binding::Free;
        }
        match self.terms {
            Terms::Votes => Binding::Open,
            Terms::Lease | Terms::Anywhere if now >= self.silent_from => Binding::Free,
            Terms::Lease | Terms::Anywhere => Binding::Until(self.silent_from),
        }
    }

    /// M7: the vote that all of the committee before had cast last, if its claim still stands.
    fn shared_vote(&self) -> Option<VoteRegister> {
        let dropped = [Sabotage::BasisBindsNobody, Sabotage::SharedVoteDropped];
        let keeps = self.broken.is_none_or(|rule| !dropped.contains(&rule));
        let basis = self.registers.basis().filter(|_| keeps)?;
        let (claimant, epoch) = basis.shared?;
        let bid = self.registers.bid(claimant)?;
        let stands = bid.epoch == epoch && !self.registers.is_over(claimant, epoch);
        stands.then_some(VoteRegister {
            epoch,
            claimant,
            accepted: basis.accepted,
        })
    }

    /// Returns the vote to write now, if any: an accept (V4) before a new vote (V1, L4). `rank` orders claimants of one epoch,
    /// the least first; a witness never prefers itself.
    #[must_use]
    pub fn next(&self, now: Mono, rank: impl Fn(Tag, Epoch) -> u64) -> Option<VoteRegister> {
        if resolve::complete(self.registers, self.committee, None).is_some() {
            return None;
        }
        if let Some(accepting) = self.accept() {
            return Some(accepting);
        }
        let own = self.registers.vote(self.me);
        if own.is_none()
            && let Some(shared) = self.shared_vote()
        {
            return Some(shared);
        }
        let twice = own
            .filter(|_| self.broken == Some(Sabotage::VotesTwice))
            .and_then(|own| self.second_vote(own));
        if twice.is_some() || self.binding(now) != Binding::Free {
            return twice;
        }
        if self.broken == Some(Sabotage::WishBarsVotes) && self.registers.want().is_some() {
            return None;
        }
        let basis = self.registers.basis();
        let floor = basis.map_or(Epoch::NONE, |basis| basis.floor);
        let least = own.map_or(floor, |vote| vote.epoch);
        let (claimant, bid) = self
            .registers
            .bids()
            .filter(|(_, bid)| bid.epoch > least && !bid.gave_up)
            .min_by_key(|(claimant, bid)| {
                (
                    u32::MAX - bid.epoch.0,
                    *claimant == self.me,
                    rank(*claimant, bid.epoch),
                )
            })?;
        let kept = match own {
            Some(vote) => vote.accepted,
            None => basis.and_then(|basis| basis.accepted),
        };
        let accepted = if self.broken == Some(Sabotage::AcceptsDropped) {
            None
        } else {
            kept
        };
        Some(VoteRegister {
            epoch: bid.epoch,
            claimant,
            accepted,
        })
    }

    /// Sabotage: a vote for another bid at the epoch of the own vote.
    fn second_vote(&self, own: VoteRegister) -> Option<VoteRegister> {
        let (claimant, _) = self.registers.bids().find(|(claimant, bid)| {
            bid.epoch == own.epoch && !bid.gave_up && *claimant > own.claimant
        })?;
        Some(VoteRegister { claimant, ..own })
    }

    /// V4: accepts the final outcome of the present vote's own claimant and epoch.
    fn accept(&self) -> Option<VoteRegister> {
        let vote = self.registers.vote(self.me)?;
        let of_its_claim = self
            .registers
            .outcome(vote.claimant)
            .filter(|outcome| outcome.epoch == vote.epoch);
        let mut of_all = self.registers.outcomes().map(|(_, outcome)| outcome);
        let outcome = match self.broken {
            Some(Sabotage::AnyOutcomeAccepted) => of_its_claim.or_else(|| of_all.next()),
            Some(_) | None => of_its_claim,
        }?;
        let is_final =
            outcome.outcome.verdict.is_final() || self.broken == Some(Sabotage::RetryAccepted);
        if vote.is_done() || !is_final {
            return None;
        }
        let accept = Accept {
            epoch: vote.epoch,
            digest: outcome.digest,
        };
        Some(VoteRegister {
            accepted: Some(accept),
            ..vote
        })
    }
}
