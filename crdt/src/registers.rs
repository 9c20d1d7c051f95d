//! The registers of one task as folded from documents: for each writer the newest entry of each kind.
//!
//! Every register has one writer, and a writer's entries arrive in the order of its chain, so folding keeps the last one.
//! An entry that goes back (a bid or vote of a lower epoch), leaps, or rests on no bid is refused: its writer broke the
//! protocol. Each of these is judged by what the same writer said before, so every replica judges alike.
//! Own entries are visible at once; [`crate::claim`] and [`crate::resolve`] count them only when they are durable.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ballots::{Ballots, Basis, Lineage, Past, VoteRegister};
use crate::config::Sabotage;
use crate::entry::ClaimMark;
use crate::ids::{Digest, Epoch, Generation, Tag};
use crate::task::{About, Edits, Outcome, OutcomeDigest, Verdict, Want, Wish};
use crate::terms::Terms;
use crate::time::Hlc;

/// A bid register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BidRegister {
    /// Never decreases.
    pub epoch: Epoch,
    /// No run at this epoch or below is alive or will start.
    pub gave_up: bool,
}

/// An outcome register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutcomeRegister {
    /// The writer's bid under which it was written.
    pub epoch: Epoch,
    /// The value.
    pub outcome: Arc<Outcome>,
    /// Its digest.
    pub digest: OutcomeDigest,
}

/// All registers of one task.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    bids: Vec<(Tag, BidRegister)>,
    /// Votes of the present committee.
    ballots: Ballots,
    outcomes: Vec<(Tag, OutcomeRegister)>,
    /// Outcomes that their writers followed with others: a member may have accepted a final one, and then it must be taken up; of
    /// any there may be output.
    earlier: Vec<(OutcomeDigest, Arc<Outcome>)>,
    /// Votes of other committees, once the first was replaced.
    lineage: Option<Box<Lineage>>,
    /// What a person wants, the newest.
    want: Option<Box<Want>>,
    /// Whether a person wants it held, the newest.
    pub hold: Option<Box<Want>>,
    /// In what people want it otherwise than it was submitted, the newest.
    edit: Option<Box<Want>>,
    /// That people wanted it to run again.
    again: Option<Box<Again>>,
    /// That people wanted nobody to see it any more.
    removal: Option<Box<Removal>>,
    /// The newest entry of each writer in the claim register.
    marks: Vec<(Tag, ClaimMark)>,
    /// How many runs were marked as started.
    pub starts: u32,
    /// How many runs asked for another one.
    pub retries: u32,
    /// Of these: because they ran out of memory.
    pub ooms: u32,
    /// The rule that is broken on purpose.
    pub(crate) broken: Option<Sabotage>,
}

/// What people said who wanted a task to run again.
#[derive(Clone, Debug, Default)]
struct Again {
    /// The newest word.
    stamp: Hlc,
    /// Tries and runs without an end that count no more, by the newest word.
    tries: u32,
    losses: u32,
    /// The outcomes that count no more, by all of them.
    void: BTreeSet<OutcomeDigest>,
}

/// What people said who wanted nobody to see a task any more that had ended.
#[derive(Clone, Debug, Default)]
struct Removal {
    /// The newest word.
    stamp: Hlc,
    /// The outcomes with which it had ended, by all words.
    ended: BTreeSet<OutcomeDigest>,
    /// It had ended without any.
    without: bool,
}

/// That a run may have been lost with its host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    /// It was not lost after all, or its claimant knows that it was: this is what it says.
    Told(Arc<Outcome>),
    /// This claimant has a standing claim at this epoch, and its voters left it because it was silent.
    Silent(Tag, Epoch),
}

/// An entry that does not fit its writer's earlier ones: the writer broke the protocol, and nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// An epoch, a give-up or an accept was taken back.
    #[error("a register went back")]
    WentBack,
    /// A bid more than [`Epoch::LEAP`] above the writer's last.
    #[error("an epoch leapt ahead")]
    Leap,
    /// An outcome, or the mark of a run, at an epoch for which its writer never bid.
    #[error("an outcome or a run without a bid")]
    NoBid,
}

pub(crate) fn slot<'a, T: Clone>(list: &'a mut Vec<(Tag, T)>, writer: Tag, fresh: &T) -> &'a mut T {
    let place = match list.binary_search_by_key(&writer, |(tag, _)| *tag) {
        Ok(place) => place,
        Err(place) => {
            list.insert(place, (writer, fresh.clone()));
            place
        }
    };
    &mut list[place].1
}

pub(crate) fn find<T>(list: &[(Tag, T)], writer: Tag) -> Option<&T> {
    list.binary_search_by_key(&writer, |(tag, _)| *tag)
        .ok()
        .map(|place| &list[place].1)
}

impl Registers {
    /// Returns the empty registers of a task that is first heard of when this committee decides, under a rule that may be
    /// broken on purpose.
    #[must_use]
    pub(crate) fn begin(generation: Generation, broken: Option<Sabotage>) -> Self {
        let lineage = (generation != Generation::FIRST).then(|| {
            Box::new(Lineage {
                generation,
                ..Lineage::default()
            })
        });
        Self {
            broken,
            lineage,
            ..Self::default()
        }
    }

    /// Returns the bid of `writer`.
    #[must_use]
    pub fn bid(&self, writer: Tag) -> Option<BidRegister> {
        find(&self.bids, writer).copied()
    }

    /// Returns the vote of `writer` as a member of the present committee.
    #[must_use]
    pub fn vote(&self, writer: Tag) -> Option<VoteRegister> {
        self.ballots.vote(writer)
    }

    /// Returns the outcome of `writer`.
    #[must_use]
    pub fn outcome(&self, writer: Tag) -> Option<&OutcomeRegister> {
        find(&self.outcomes, writer)
    }

    /// Returns every bid, by writer.
    pub fn bids(&self) -> impl Iterator<Item = (Tag, BidRegister)> + '_ {
        self.bids.iter().copied()
    }

    /// Returns every vote in the present committee, by writer.
    pub fn votes(&self) -> impl Iterator<Item = (Tag, VoteRegister)> + '_ {
        self.ballots.votes()
    }

    /// Returns the committee whose votes count.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.lineage
            .as_ref()
            .map_or(Generation::FIRST, |lineage| lineage.generation)
    }

    /// Returns what the present committee started from; the first one from nothing.
    #[must_use]
    pub fn basis(&self) -> Option<&Basis> {
        self.lineage.as_ref().map(|lineage| &lineage.basis)
    }

    /// Returns the claims of the committee before that may still be held, for all that is known: those that bind members which
    /// have not voted in this one.
    pub fn held_before(&self, terms: Terms) -> impl Iterator<Item = (Tag, Epoch)> + '_ {
        let held = self.basis().into_iter().flat_map(|basis| &basis.held);
        held.copied().filter(move |(claimant, epoch)| {
            let freed = terms == Terms::Votes && self.is_written_off(*epoch);
            !freed && !self.is_over(*claimant, *epoch)
        })
    }

    /// Returns the votes of the committees that were replaced.
    pub fn past(&self) -> impl Iterator<Item = &Past> + '_ {
        self.lineage.iter().flat_map(|lineage| &lineage.past)
    }

    /// Lets the next committee decide, from the last votes of the members `sealed` of the present one, `committee`.
    pub(crate) fn succeed(&mut self, generation: Generation, sealed: &[Tag], committee: &[Tag]) {
        let mut basis = Basis::of(&self.ballots, self.basis(), sealed, committee.len());
        if self.broken == Some(Sabotage::BasisEmpty) {
            basis = Basis::default();
        }
        let lineage = self.lineage.get_or_insert_default();
        let last = std::mem::replace(&mut lineage.generation, generation);
        lineage.basis = basis;
        let mut next = lineage.ahead.remove(&generation).unwrap_or_default();
        if self.broken == Some(Sabotage::GenerationsMixed) {
            next.mix(&self.ballots);
        }
        lineage.past.push(Past {
            generation: last,
            committee: committee.to_vec(),
            ballots: std::mem::replace(&mut self.ballots, next),
        });
    }

    /// Returns every outcome, by writer.
    pub fn outcomes(&self) -> impl Iterator<Item = &(Tag, OutcomeRegister)> + '_ {
        self.outcomes.iter()
    }

    /// Returns the votes of the present committee.
    #[must_use]
    pub fn ballots(&self) -> &Ballots {
        &self.ballots
    }

    /// Returns the outcome with this digest, from whichever writer, the newest of that writer or not.
    #[must_use]
    pub fn outcome_of(&self, digest: OutcomeDigest) -> Option<&Arc<Outcome>> {
        let newest = self.outcomes.iter().map(|(_, r)| (r.digest, &r.outcome));
        let earlier = self.earlier.iter().map(|(of, outcome)| (*of, outcome));
        let mut all = newest.chain(earlier);
        all.find(|(of, _)| *of == digest)
            .map(|(_, outcome)| outcome)
    }

    /// Returns the highest epoch in any bid, or in any vote that some bid can have led to: for a vote far above every bid
    /// nobody leaps before that bid has come. The epochs of next bids and what people see are found by it, no rule of safety.
    #[must_use]
    pub fn top(&self) -> Epoch {
        let bids = self.bids.iter().map(|(_, bid)| bid.epoch);
        let bid = bids.max().unwrap_or(Epoch::NONE);
        let votes = self.votes().map(|(_, vote)| vote.epoch);
        let heeded = votes.filter(|epoch| *epoch <= bid.leap());
        let floor = self.basis().map(|basis| basis.floor);
        heeded.chain(floor).fold(bid, Epoch::max)
    }

    /// The highest epoch that `writer` ever bid at.
    fn bid_at(&self, writer: Tag) -> Epoch {
        self.bid(writer).map_or(Epoch::NONE, |bid| bid.epoch)
    }

    /// Says whether `claimant`'s run at `epoch` is known to be over: a higher bid, a give-up, or an outcome.
    #[must_use]
    pub fn is_over(&self, claimant: Tag, epoch: Epoch) -> bool {
        self.bid(claimant)
            .is_some_and(|bid| bid.epoch > epoch || bid.epoch == epoch && bid.gave_up)
            || self
                .outcome(claimant)
                .is_some_and(|outcome| outcome.epoch >= epoch)
    }

    /// Returns what a person wants, unless it was that the task ends and somebody has wanted it to run again since.
    #[must_use]
    pub fn want(&self) -> Option<&Want> {
        let want = self.want.as_deref()?;
        let since = self.again.as_ref().map(|again| again.stamp);
        let is_past =
            matches!(want.wish, Wish::Kill { .. }) && since.is_some_and(|at| at > want.stamp);
        (!is_past).then_some(want)
    }

    /// Returns the newest stamp of all wishes.
    #[must_use]
    pub fn newest_wish(&self) -> Option<Hlc> {
        let wants = [&self.want, &self.hold, &self.edit].map(Option::as_ref);
        let stamps = wants.into_iter().flatten().map(|want| want.stamp);
        stamps
            .chain(self.again.as_ref().map(|again| again.stamp))
            .chain(self.removal.as_ref().map(|removal| removal.stamp))
            .max()
    }

    /// Returns in what it is otherwise than it was submitted, and who said so last.
    #[must_use]
    pub fn edits(&self) -> Option<(&Edits, &str)> {
        let edit = self.edit.as_deref()?;
        match &edit.wish {
            Wish::Edit(edits) => Some((edits, &edit.by)),
            Wish::Kill { .. }
            | Wish::Close { .. }
            | Wish::Retry { .. }
            | Wish::Hold
            | Wish::Release { .. }
            | Wish::Again { .. }
            | Wish::Remove { .. } => None,
        }
    }

    /// Says whether a person wanted it to run again after it had ended.
    #[must_use]
    pub fn is_wanted_again(&self) -> bool {
        self.again.is_some()
    }

    /// Says whether an outcome counts no more, because a person wanted the task to run again.
    #[must_use]
    pub fn is_void(&self, outcome: OutcomeDigest) -> bool {
        self.again
            .as_ref()
            .is_some_and(|again| again.void.contains(&outcome))
    }

    /// Says whether a person wanted nobody to see it any more if it ended so: with this outcome, or without any.
    #[must_use]
    pub fn is_removed_as(&self, outcome: Option<OutcomeDigest>) -> bool {
        self.removal.as_ref().is_some_and(|removal| match outcome {
            Some(outcome) => removal.ended.contains(&outcome),
            None => removal.without,
        })
    }

    /// Returns what was captured of the output of `writer`'s runs, as far as they had outcomes.
    pub fn captured_by(&self, writer: Tag) -> impl Iterator<Item = Digest> + '_ {
        let newest = self.outcomes.iter().map(|(_, register)| &register.outcome);
        let earlier = self.earlier.iter().map(|(_, outcome)| outcome);
        let own = newest
            .chain(earlier)
            .filter(move |outcome| outcome.origin.1 == writer);
        own.filter_map(|outcome| outcome.report)
            .flat_map(|report| [report.stdout.digest, report.stderr.digest])
            .flatten()
    }

    /// Returns the outcomes that count no more.
    pub fn void(&self) -> impl Iterator<Item = OutcomeDigest> + '_ {
        self.again
            .iter()
            .flat_map(|again| again.void.iter().copied())
    }

    /// Returns the outcomes that may count and that were accepted, if at all, at this epoch or below: those that are made void
    /// with what was committed there.
    #[must_use]
    pub fn outcomes_up_to(&self, epoch: Epoch) -> Vec<OutcomeDigest> {
        let newest = self.outcomes.iter().map(|(_, r)| (r.digest, &r.outcome));
        let earlier = self.earlier.iter().map(|(of, outcome)| (*of, outcome));
        let meant = newest.chain(earlier).filter(|(digest, outcome)| {
            outcome.verdict.is_final() && outcome.origin.0 <= epoch && !self.is_void(*digest)
        });
        let mut digests: Vec<OutcomeDigest> = meant.map(|(digest, _)| digest).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }

    /// Returns every final outcome that counts, by writer.
    pub fn endings(&self) -> impl Iterator<Item = (Tag, &OutcomeRegister)> + '_ {
        let counts = |r: &OutcomeRegister| r.outcome.verdict.is_final() && !self.is_void(r.digest);
        self.outcomes
            .iter()
            .filter(move |(_, register)| counts(register))
            .map(|(writer, register)| (*writer, register))
    }

    /// Says whether a person gave their word that no run of it at this epoch is alive.
    #[must_use]
    pub fn is_written_off(&self, epoch: Epoch) -> bool {
        self.want
            .as_ref()
            .is_some_and(|want| matches!(want.wish, Wish::Retry { lost } if epoch <= lost))
    }

    /// Returns the run that a claimant at `epoch` must not follow with another: one with a final outcome, though no majority
    /// has accepted that, or one whose claimant a majority of `members` may have voted for and that never said that it was
    /// over. What came before a failure that was to be tried again, or before a person's word, is settled.
    #[must_use]
    pub fn loss_before(&self, epoch: Epoch, members: usize) -> Option<Loss> {
        let again = self
            .outcomes
            .iter()
            .filter(|(_, o)| !o.outcome.verdict.is_final());
        let void = self.outcomes.iter().filter(|(_, o)| self.is_void(o.digest));
        let settled = again.chain(void).map(|(_, o)| o.epoch).max();
        let settled = settled.unwrap_or(Epoch::NONE);
        let open = |at: Epoch| at < epoch && at > settled && !self.is_written_off(at);
        let told = self.endings().find(|(_, ending)| open(ending.epoch));
        if let Some((_, register)) = told {
            return Some(Loss::Told(Arc::clone(&register.outcome)));
        }
        let before = self.basis().into_iter().flat_map(|basis| &basis.left);
        let mut left = self.ballots.left(members).chain(before.copied());
        let silent = left.find(|(claimant, at)| open(*at) && !self.is_over(*claimant, *at));
        silent.map(|(claimant, at)| Loss::Silent(claimant, at))
    }

    /// Folds a bid.
    ///
    /// # Errors
    /// A lower epoch than before, a give-up taken back, or a leap.
    pub fn fold_bid(&mut self, writer: Tag, new: BidRegister) -> Result<(), Misfit> {
        if new.epoch > self.bid_at(writer).leap() {
            return Err(Misfit::Leap);
        }
        let old = slot(&mut self.bids, writer, &new);
        if (new.epoch, new.gave_up) < (old.epoch, old.gave_up) {
            return Err(Misfit::WentBack);
        }
        *old = new;
        Ok(())
    }

    /// Folds a vote that `writer` cast as a member of the committee `generation`.
    ///
    /// # Errors
    /// A lower epoch, another claimant at the same epoch, or an accept that goes back or lies ahead of its vote.
    pub fn fold_vote(
        &mut self,
        writer: Tag,
        generation: Generation,
        new: VoteRegister,
    ) -> Result<(), Misfit> {
        let broken = self.broken;
        match generation.cmp(&self.generation()) {
            Ordering::Less => {
                let mut past = self
                    .lineage
                    .iter_mut()
                    .flat_map(|lineage| &mut lineage.past);
                let of = past.find(|past| past.generation == generation);
                of.map_or(Ok(()), |past| past.ballots.fold(writer, new, broken))
            }
            Ordering::Equal => self.ballots.fold(writer, new, broken),
            Ordering::Greater => {
                let lineage = self.lineage.get_or_insert_default();
                let ballots = lineage.ahead.entry(generation).or_default();
                ballots.fold(writer, new, broken)
            }
        }
    }

    /// Folds an outcome.
    ///
    /// # Errors
    /// Not above the epoch of the writer's last one, or above its last bid.
    pub fn fold_outcome(
        &mut self,
        writer: Tag,
        epoch: Epoch,
        outcome: Arc<Outcome>,
    ) -> Result<(), Misfit> {
        if epoch > self.bid_at(writer) {
            return Err(Misfit::NoBid);
        }
        if find(&self.outcomes, writer).is_some_and(|old| epoch <= old.epoch) {
            return Err(Misfit::WentBack);
        }
        if !outcome.verdict.is_final() {
            self.retries = self.retries.saturating_add(1);
            if outcome.reason.as_deref() == Some(Verdict::OOM) {
                self.ooms = self.ooms.saturating_add(1);
            }
        }
        let new = OutcomeRegister {
            epoch,
            digest: outcome.digest(),
            outcome,
        };
        let followed = new.digest;
        let old = std::mem::replace(slot(&mut self.outcomes, writer, &new), new);
        let kept = old.outcome.verdict.is_final() || old.outcome.report.is_some();
        if old.digest != followed && kept {
            self.earlier.push((old.digest, old.outcome));
        }
        Ok(())
    }

    /// Folds a claim mark.
    ///
    /// # Errors
    /// Above the writer's last bid.
    pub fn fold_mark(&mut self, writer: Tag, mark: ClaimMark) -> Result<(), Misfit> {
        if mark.epoch > self.bid_at(writer) {
            return Err(Misfit::NoBid);
        }
        if mark.started.is_some() {
            self.starts = self.starts.saturating_add(1);
        }
        let old = slot(&mut self.marks, writer, &mark);
        if mark.epoch >= old.epoch {
            *old = mark;
        }
        Ok(())
    }

    /// Returns who runs it or ran it last: of the highest epoch, and of these one that did start.
    #[must_use]
    pub fn mark(&self) -> Option<(Tag, ClaimMark)> {
        let newest = |(tag, mark): &(Tag, ClaimMark)| (mark.epoch, mark.started.is_some(), *tag);
        self.marks.iter().copied().max_by_key(newest)
    }

    /// Returns the newest mark of `writer`.
    #[must_use]
    pub fn mark_of(&self, writer: Tag) -> Option<ClaimMark> {
        find(&self.marks, writer).copied()
    }

    /// Returns the newest outcome that asked for another run.
    #[must_use]
    pub fn last_retry(&self) -> Option<&Arc<Outcome>> {
        let retries = self
            .outcomes
            .iter()
            .filter(|(_, register)| !register.outcome.verdict.is_final());
        let newest = retries.max_by_key(|(writer, register)| (register.epoch, *writer));
        newest.map(|(_, register)| &register.outcome)
    }

    /// Returns how many runs began and left no word of how they ended, one that goes on now among them.
    #[must_use]
    pub fn runs_without_end(&self) -> u32 {
        self.starts.saturating_sub(self.retries)
    }

    /// Returns how many runs were lost with their hosts since a person last said that it may start; one that goes on now counts.
    /// `forgiven` by who let it go.
    #[must_use]
    pub fn losses(&self, forgiven: u32) -> u32 {
        let again = self.again.as_ref().map_or(0, |again| again.losses);
        self.runs_without_end().saturating_sub(forgiven.max(again))
    }

    /// Returns how many tries were used up since a person last wanted it to run again. A step up the ladder of memory, of so many
    /// `rungs`, is none.
    #[must_use]
    pub fn tries(&self, rungs: usize) -> u32 {
        let again = self.again.as_ref().map_or(0, |again| again.tries);
        self.all_tries(rungs).saturating_sub(again)
    }

    /// The same since its submission.
    #[must_use]
    pub fn all_tries(&self, rungs: usize) -> u32 {
        let rungs = u32::try_from(rungs).unwrap_or(u32::MAX);
        self.retries - self.ooms.min(rungs)
    }

    /// Folds what a person wants. Says whether it changed anything.
    pub fn fold_want(&mut self, want: Want) -> bool {
        let register = match want.wish.about() {
            About::Hold => &mut self.hold,
            About::Edit => &mut self.edit,
            About::End => &mut self.want,
            About::Again => return self.fold_again(want),
            About::Removal => return self.fold_removal(want),
        };
        let newer = register.as_ref().is_none_or(|old| want.stamp > old.stamp);
        if newer {
            *register = Some(Box::new(want));
        }
        newer
    }

    fn fold_again(&mut self, want: Want) -> bool {
        let Wish::Again {
            void,
            tries,
            losses,
        } = want.wish
        else {
            return false;
        };
        let again = self.again.get_or_insert_default();
        let known = again.void.len();
        again.void.extend(void);
        let newer = want.stamp > again.stamp;
        if newer {
            (again.stamp, again.tries, again.losses) = (want.stamp, tries, losses);
        }
        newer || again.void.len() > known
    }

    fn fold_removal(&mut self, want: Want) -> bool {
        let Wish::Remove { ended } = want.wish else {
            return false;
        };
        let removal = self.removal.get_or_insert_default();
        let known = (removal.ended.len(), removal.without);
        removal.without |= ended.is_empty();
        removal.ended.extend(ended);
        removal.stamp = removal.stamp.max(want.stamp);
        known != (removal.ended.len(), removal.without)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_never_go_back() {
        let mut registers = Registers::default();
        let tag = Tag(3);
        let bid = |epoch, gave_up| BidRegister {
            epoch: Epoch(epoch),
            gave_up,
        };
        let vote = |epoch, claimant| VoteRegister {
            epoch: Epoch(epoch),
            claimant: Tag(claimant),
            accepted: None,
        };
        assert_eq!(registers.fold_bid(tag, bid(2, false)), Ok(()));
        assert_eq!(registers.fold_bid(tag, bid(2, true)), Ok(()));
        assert_eq!(
            registers.fold_bid(tag, bid(2, false)),
            Err(Misfit::WentBack)
        );
        assert_eq!(registers.fold_bid(tag, bid(1, true)), Err(Misfit::WentBack));
        assert_eq!(registers.fold_bid(tag, bid(3, false)), Ok(()));
        let mut fold = |vote| registers.fold_vote(tag, Generation::FIRST, vote);
        assert_eq!(fold(vote(2, 1)), Ok(()));
        assert_eq!(fold(vote(2, 2)), Err(Misfit::WentBack));
        assert_eq!(fold(vote(1, 1)), Err(Misfit::WentBack));
        assert_eq!(fold(vote(3, 2)), Ok(()));
        assert_eq!(registers.top(), Epoch(3));
    }

    #[test]
    fn a_leap_takes_no_room_from_others() {
        let mut registers = Registers::default();
        let (evil, good) = (Tag(1), Tag(2));
        let bid = |epoch: Epoch| BidRegister {
            epoch,
            gave_up: false,
        };
        let first = Epoch::NONE.leap();
        assert_eq!(
            registers.fold_bid(evil, bid(first.next())),
            Err(Misfit::Leap)
        );
        assert_eq!(
            registers.fold_bid(evil, bid(Epoch::LAST)),
            Err(Misfit::Leap)
        );
        assert_eq!(registers.bid(evil), None, "nothing of it is kept");
        // A vote that no bid can have led to says nothing, until the bid comes.
        let vote = VoteRegister {
            epoch: first.next(),
            claimant: evil,
            accepted: None,
        };
        assert_eq!(registers.fold_vote(good, Generation::FIRST, vote), Ok(()));
        assert_eq!(registers.top(), Epoch::NONE);
        let others = [Tag(3), Tag(4)];
        for tag in others {
            let vote = VoteRegister {
                epoch: Epoch(1),
                claimant: good,
                accepted: None,
            };
            assert_eq!(registers.fold_vote(tag, Generation::FIRST, vote), Ok(()));
        }
        let committee = [good, others[0], others[1]];
        let holder = crate::resolve::standing(&registers, &committee);
        assert_eq!(holder, Some((good, Epoch(1))), "it hides no majority");
        assert_eq!(registers.fold_bid(evil, bid(first)), Ok(()));
        assert_eq!(registers.fold_bid(evil, bid(first.next())), Ok(()));
        assert_eq!(registers.top(), first.next());
        assert_eq!(registers.fold_bid(good, bid(first)), Ok(()));
        assert_eq!(registers.fold_bid(good, bid(first.next().next())), Ok(()));
    }

    #[test]
    fn an_outcome_needs_a_bid_and_is_kept() {
        use crate::task::Verdict;

        let mut registers = Registers::default();
        let tag = Tag(1);
        let outcome = |epoch| {
            Arc::new(Outcome {
                origin: (Epoch(epoch), tag),
                verdict: Verdict::Success,
                report: None,
                reason: None,
            })
        };
        let mark = |epoch| ClaimMark {
            epoch: Epoch(epoch),
            started: Some(crate::time::Wall(1)),
        };
        let without = registers.fold_outcome(tag, Epoch(1), outcome(1));
        assert_eq!(without, Err(Misfit::NoBid));
        assert_eq!(registers.fold_mark(tag, mark(1)), Err(Misfit::NoBid));
        assert_eq!((registers.starts, registers.mark()), (0, None));
        let bid = BidRegister {
            epoch: Epoch(2),
            gave_up: false,
        };
        assert_eq!(registers.fold_bid(tag, bid), Ok(()));
        let above = registers.fold_outcome(tag, Epoch(3), outcome(3));
        assert_eq!(above, Err(Misfit::NoBid));
        assert_eq!(registers.outcomes().count(), 0);
        assert_eq!(registers.fold_mark(tag, mark(2)), Ok(()));
        assert_eq!(registers.fold_outcome(tag, Epoch(2), outcome(2)), Ok(()));
        let next = BidRegister {
            epoch: Epoch(4),
            gave_up: false,
        };
        assert_eq!(registers.fold_bid(tag, next), Ok(()));
        let (first, second) = (outcome(2), outcome(4));
        let folded = registers.fold_outcome(tag, Epoch(4), Arc::clone(&second));
        assert_eq!(folded, Ok(()));
        for of in [first, second] {
            assert_eq!(registers.outcome_of(of.digest()), Some(&of));
        }
    }
}
