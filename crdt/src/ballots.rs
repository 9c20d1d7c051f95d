//! The votes of one task as folded from documents, by generation: those of the present committee count, those of later ones
//! wait until it is known who they are, and of earlier ones is kept what the present one starts from.

use std::collections::BTreeMap;

use crate::config::Sabotage;
use crate::entry::Accept;
use crate::ids::{Epoch, Generation, Tag};
use crate::registers::{Misfit, find, slot};

/// A vote register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteRegister {
    /// Strictly increases from vote to vote.
    pub epoch: Epoch,
    /// For whom.
    pub claimant: Tag,
    /// The newest accept, kept across votes.
    pub accepted: Option<Accept>,
}

impl VoteRegister {
    /// Says whether the outcome of this vote's own epoch is accepted, so that its run has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.accepted
            .is_some_and(|accept| accept.epoch == self.epoch)
    }
}

/// A vote that was followed by one at a higher epoch, or that was the last of a member of an earlier committee.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Whose.
    pub member: Tag,
    /// The epoch voted at.
    pub epoch: Epoch,
    /// For whom.
    pub claimant: Tag,
}

/// The votes of one committee's members.
#[derive(Clone, Debug, Default)]
pub struct Ballots {
    votes: Vec<(Tag, VoteRegister)>,
    /// Every accept ever seen, by member: a vote keeps only the newest, but what was complete stays so (O1).
    accepts: Vec<(Tag, Accept)>,
    passed: Vec<Passed>,
}

impl Ballots {
    /// Returns the vote of `writer`.
    #[must_use]
    pub fn vote(&self, writer: Tag) -> Option<VoteRegister> {
        find(&self.votes, writer).copied()
    }

    /// Returns every vote, by writer.
    pub fn votes(&self) -> impl Iterator<Item = (Tag, VoteRegister)> + '_ {
        self.votes.iter().copied()
    }

    /// Returns every accept ever seen, by member.
    pub fn accepts(&self) -> impl Iterator<Item = (Tag, Accept)> + '_ {
        self.accepts.iter().copied()
    }

    /// Returns the votes that were followed by others.
    pub fn passed(&self) -> impl Iterator<Item = Passed> + '_ {
        self.passed.iter().copied()
    }

    /// How many members voted at exactly this epoch for others than `claimant`.
    fn against(&self, epoch: Epoch, claimant: Tag) -> usize {
        let now = self.votes().map(|(_, vote)| (vote.epoch, vote.claimant));
        let passed = self.passed().map(|passed| (passed.epoch, passed.claimant));
        now.chain(passed)
            .filter(|(at, whom)| *at == epoch && *whom != claimant)
            .count()
    }

    /// Returns the claims that were voted for once, and that a majority of `members` may have voted for.
    pub fn left(&self, members: usize) -> impl Iterator<Item = (Tag, Epoch)> + '_ {
        let minority = members - (members / 2 + 1);
        let possible =
            move |passed: &Passed| self.against(passed.epoch, passed.claimant) <= minority;
        self.passed()
            .filter(possible)
            .map(|passed| (passed.claimant, passed.epoch))
    }

    /// Sabotage: counts the votes of another committee as votes of this one, where there are none yet.
    pub(crate) fn mix(&mut self, others: &Self) {
        for (writer, vote) in others.votes() {
            slot(&mut self.votes, writer, &vote);
        }
    }

    /// Folds a vote, under a rule that may be broken on purpose.
    ///
    /// # Errors
    /// A lower epoch, another claimant at the same epoch, or an accept that goes back or lies ahead of its vote.
    pub fn fold(
        &mut self,
        writer: Tag,
        new: VoteRegister,
        broken: Option<Sabotage>,
    ) -> Result<(), Misfit> {
        let accepts =
            |vote: &VoteRegister| vote.accepted.map_or(Epoch::NONE, |accept| accept.epoch);
        if accepts(&new) > new.epoch {
            return Err(Misfit::WentBack);
        }
        let old = slot(&mut self.votes, writer, &new);
        let twice = broken == Some(Sabotage::VotesTwice);
        let moved = new.epoch > old.epoch
            || new.epoch == old.epoch && (new.claimant == old.claimant || twice);
        let forgetful = broken == Some(Sabotage::AcceptsDropped);
        let taken_back = accepts(&new) < accepts(old) && !forgetful;
        if !moved || taken_back {
            return Err(Misfit::WentBack);
        }
        let before = std::mem::replace(old, new);
        if new.epoch > before.epoch {
            self.passed.push(Passed {
                member: writer,
                epoch: before.epoch,
                claimant: before.claimant,
            });
        }
        // An accept that came with the vote from before was made by its writer then, or by an earlier committee.
        if let Some(accept) = new.accepted.filter(|_| new.is_done())
            && !self.accepts.contains(&(writer, accept))
        {
            self.accepts.push((writer, accept));
        }
        Ok(())
    }
}

/// What a committee starts from with a task: the votes of a majority of the one before, which are final.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// No claim above it was ever voted for by a majority: new votes are above it.
    pub floor: Epoch,
    /// The newest outcome that one of them had accepted.
    pub accepted: Option<Accept>,
    /// The outcome that can be the only one from now on. It counts as committed.
    pub decided: Option<Accept>,
    /// Claims for which some had voted last, and which may be held until they are known to be over.
    pub held: Vec<(Tag, Epoch)>,
    /// The claim for which all of them had voted last: the new members vote for it anew.
    pub shared: Option<(Tag, Epoch)>,
    /// Claims of all earlier committees that a majority may have voted for.
    pub left: Vec<(Tag, Epoch)>,
}

impl Basis {
    /// Returns what follows from the votes of the members `sealed` of a committee of so many `members`, which itself started from
    /// `before`.
    #[must_use]
    pub fn of(ballots: &Ballots, before: Option<&Self>, sealed: &[Tag], members: usize) -> Self {
        let votes: Vec<Option<VoteRegister>> =
            sealed.iter().map(|member| ballots.vote(*member)).collect();
        let cast = || votes.iter().flatten();
        let earlier = |of: fn(&Self) -> Option<Accept>| before.and_then(of);
        let floor = cast()
            .map(|vote| vote.epoch)
            .chain(before.map(|basis| basis.floor))
            .max()
            .unwrap_or(Epoch::NONE);
        let accepted = cast()
            .filter_map(|vote| vote.accepted)
            .chain(earlier(|basis| basis.accepted))
            .max_by_key(|accept| accept.epoch);
        // Whoever held above the floor was voted for by one of these above the floor: nobody did, and whoever comes later takes
        // this outcome up.
        let settled = accepted.filter(|accept| accept.epoch == floor);
        let decided = earlier(|basis| basis.decided).or(settled);
        let minority = members - (members / 2 + 1);
        let is_open = |vote: &&VoteRegister| {
            !vote.is_done() && ballots.against(vote.epoch, vote.claimant) <= minority
        };
        let mut held: Vec<(Tag, Epoch)> = cast()
            .filter(is_open)
            .map(|vote| (vote.claimant, vote.epoch))
            .chain(
                before
                    .into_iter()
                    .flat_map(|basis| basis.held.iter().copied()),
            )
            .collect();
        held.sort_unstable();
        held.dedup();
        let first = votes.first().copied().flatten();
        let alike = |vote: &Option<VoteRegister>| {
            vote.map(|vote| (vote.claimant, vote.epoch))
                == first.map(|vote| (vote.claimant, vote.epoch))
        };
        let shared = first
            .filter(|_| votes.iter().all(alike))
            .map(|vote| (vote.claimant, vote.epoch));
        let mut left: Vec<(Tag, Epoch)> = ballots
            .left(members)
            .chain(held.iter().copied())
            .chain(
                before
                    .into_iter()
                    .flat_map(|basis| basis.left.iter().copied()),
            )
            .collect();
        left.sort_unstable();
        left.dedup();
        Self {
            floor,
            accepted,
            decided,
            held,
            shared,
            left,
        }
    }
}

/// The votes of a committee that was replaced. What comes late, from members that were not sealed, still counts for what a
/// majority of it had accepted.
#[derive(Clone, Debug)]
pub struct Past {
    /// Which committee.
    pub generation: Generation,
    /// Its members.
    pub committee: Vec<Tag>,
    /// Their votes.
    pub ballots: Ballots,
}

/// The votes of committees other than the present one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lineage {
    pub(crate) generation: Generation,
    pub(crate) basis: Basis,
    pub(crate) past: Vec<Past>,
    /// Votes of committees that are not known yet.
    pub(crate) ahead: BTreeMap<Generation, Ballots>,
}
