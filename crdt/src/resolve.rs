//! From registers to truth: which outcome is committed (O1). A pure function, the same on every host; once it holds for some
//! view it holds for every later one.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::ballots::Ballots;
use crate::config::Sabotage;
use crate::entry::Accept;
use crate::ids::{Epoch, Tag};
use crate::registers::Registers;
use crate::task::{Outcome, OutcomeDigest, Verdict};

/// Returns the accept behind which a majority of the committee, or of one that it replaced, stands or stood at one and the same
/// epoch, or that was the only one possible when the committee took up its place. `uncounted` is a member whose newest entries are not durable yet.
#[must_use]
pub fn complete(
    registers: &Registers,
    committee: &[Tag],
    uncounted: Option<Tag>,
) -> Option<Accept> {
    let decided = registers.basis().and_then(|basis| basis.decided);
    if let Some(decided) = decided.filter(|accept| counts(registers, accept)) {
        return Some(decided);
    }
    let past = registers
        .past()
        .map(|past| (&past.ballots, &past.committee[..]));
    past.chain([(registers.ballots(), committee)])
        .find_map(|(ballots, committee)| {
            accepted_by_majority(registers, ballots, committee, uncounted)
        })
}

/// Says whether a person has not made the outcome void (rule A1).
fn counts(registers: &Registers, accept: &Accept) -> bool {
    !registers.is_void(accept.digest) || registers.broken == Some(Sabotage::VoidCounts)
}

fn accepted_by_majority(
    registers: &Registers,
    ballots: &Ballots,
    committee: &[Tag],
    uncounted: Option<Tag>,
) -> Option<Accept> {
    let mixed = registers.broken == Some(Sabotage::EpochsMixed);
    let alike = |one: &Accept, other: &Accept| {
        one.digest == other.digest && (mixed || one.epoch == other.epoch)
    };
    let stands_behind = |member: Tag, accept: &Accept| {
        Some(member) != uncounted
            && ballots
                .accepts()
                .any(|(other, accepted)| other == member && alike(accept, &accepted))
    };
    let accepts = ballots.accepts().map(|(_, accept)| accept);
    let mut standing = accepts.filter(|accept| counts(registers, accept));
    standing.find(|accept| {
        let members = committee.iter();
        let behind = members.filter(|member| stands_behind(**member, accept));
        behind.count() > committee.len() / 2
    })
}

/// Returns the highest epoch at which a member, of this committee or of one before, is seen to have accepted this outcome.
#[must_use]
pub fn accepted_at(registers: &Registers, outcome: OutcomeDigest) -> Epoch {
    let decided = registers.basis().and_then(|basis| basis.decided);
    let past = registers.past().map(|past| &past.ballots);
    let accepts = past
        .chain([registers.ballots()])
        .flat_map(|ballots| ballots.accepts().map(|(_, accept)| accept));
    let alike = accepts.chain(decided).filter(|of| of.digest == outcome);
    alike.map(|of| of.epoch).max().unwrap_or(Epoch::NONE)
}

/// Returns a claimant whose run may be alive because a majority still stands behind it, at whatever epoch: nobody else can
/// be voted for by a majority until some of these leave it.
#[must_use]
pub fn standing(registers: &Registers, committee: &[Tag]) -> Option<(Tag, Epoch)> {
    let votes = || {
        committee
            .iter()
            .filter_map(|member| registers.vote(*member))
    };
    let majority = committee.len() / 2 + 1;
    votes()
        .map(|vote| (vote.claimant, vote.epoch))
        .find(|held| {
            votes()
                .filter(|vote| (vote.claimant, vote.epoch) == *held)
                .count()
                >= majority
        })
        .filter(|(claimant, epoch)| !registers.is_over(*claimant, *epoch))
}

/// Returns the best claim that stands, for a task that may run anywhere: of the highest epoch, and of these the least by `rank`.
#[must_use]
pub fn best_claim(registers: &Registers, rank: impl Fn(Tag, Epoch) -> u64) -> Option<(Tag, Epoch)> {
    registers
        .bids()
        .map(|(claimant, bid)| (claimant, bid.epoch))
        .filter(|(claimant, epoch)| !registers.is_over(*claimant, *epoch))
        .min_by_key(|(claimant, epoch)| (Reverse(*epoch), rank(*claimant, *epoch), *claimant))
}

/// Returns the outcome that counts of a task that may run anywhere: the least of all final ones. Hosts that see the same
/// outcomes agree on it; seeing more, they may come to a lesser one.
#[must_use]
pub fn least_outcome(
    registers: &Registers,
    rank: impl Fn(Tag, Epoch) -> u64,
) -> Option<&Arc<Outcome>> {
    let order = |outcome: &Outcome, digest: OutcomeDigest| {
        let class = match outcome.verdict {
            Verdict::Success => 0,
            Verdict::Cancelled | Verdict::Killed => 1,
            Verdict::Lost => 2,
            Verdict::Failure(_) | Verdict::Retry => 3,
        };
        let (epoch, writer) = outcome.origin;
        (class, epoch, rank(writer, epoch), digest)
    };
    registers
        .endings()
        .min_by_key(|(_, register)| order(&register.outcome, register.digest))
        .map(|(_, register)| &register.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ballots::VoteRegister;
    use crate::ids::Generation;

    #[test]
    fn one_that_voted_on_hides_no_majority() {
        let mut registers = Registers::default();
        for (member, claimant, epoch) in [(1, 7, 1), (2, 7, 1), (3, 8, 2)] {
            let vote = VoteRegister {
                epoch: Epoch(epoch),
                claimant: Tag(claimant),
                accepted: None,
            };
            let folded = registers.fold_vote(Tag(member), Generation::FIRST, vote);
            assert_eq!(folded, Ok(()));
        }
        let committee = [Tag(1), Tag(2), Tag(3)];
        assert_eq!(standing(&registers, &committee), Some((Tag(7), Epoch(1))));
    }
}
