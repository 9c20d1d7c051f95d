//! What a change may say: who may write which entry, in which document, within which bounds.
//!
//! Pure, and a function of the segment's header and the author's own chain alone, never of what other authors wrote: so every
//! replica judges a change alike, in whatever order changes reach it. What holds between authors (epochs, majorities) is for
//! the roles above, which read these entries.

use std::collections::BTreeSet;

use crate::entry::{
    Beat, Bid, Entry, Harm, Header, Member, Motion, OutcomeAt, Proposal, SpecChunk, Stand, Vote,
};
use crate::fit::RunsAs;
use crate::ids::{Digest, DocId, Epoch, Generation, PeerId, SegmentId};
use crate::settings::{Settings, Stated};
use crate::task::{Environment, Outcome, TaskSpec, Verdict, Want, Wish, Work};
use crate::time::Timing;

use super::chunk::MAX_OPERATIONS;
use super::refused::Rule;
use super::schema::Writer;

/// The most tasks in a segment.
pub const MAX_TASKS: u16 = 1024;
/// The most specs in one chunk.
pub const MAX_CHUNK: u16 = 64;
/// The largest step of a counter: more than any segment can count at once, and far from where a sum of all steps overflows.
const MAX_STEP: u64 = 1 << 20;
/// The longest reason, message or user name, bytes.
const MAX_TEXT: usize = 4096;
const MAX_NAME: usize = 64;
const MAX_ADDRESSES: usize = 8;
const MAX_ADDRESS: usize = 128;
const MAX_NEIGHBOURS: usize = 1024;
const MAX_RESOURCES: usize = 64;
/// Times of wishes end here, milliseconds, so that there is always a later one.
const MAX_WALL: u64 = u64::MAX / 2;
/// Rounds end here, so that there is always a higher one that may be written.
const MAX_ROUND: u32 = u32::MAX / 2;

/// What the author of a segment has put into it so far.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Contents {
    specs: u16,
    environments: BTreeSet<Digest>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    #[default]
    Open,
    /// With so many specs.
    Ended(u16),
}

/// What a change adds to [`Contents`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Additions {
    specs: u16,
    environments: Vec<Digest>,
    stage: Stage,
}

impl Contents {
    /// Notes what an accepted change added.
    pub(super) fn add(&mut self, additions: Additions) {
        self.specs = additions.specs;
        self.stage = additions.stage;
        self.environments.extend(additions.environments);
    }
}

/// A change before its judge.
pub(super) struct Case<'a> {
    pub(super) doc: DocId,
    pub(super) writer: &'a Writer,
    /// Of the segment; `None` before its first change, which brings it.
    pub(super) header: Option<&'a Header>,
    pub(super) contents: &'a Contents,
    /// The admission proof that its author must show.
    pub(super) proof: &'a dyn Fn(&PeerId) -> [u8; 32],
}

impl Case<'_> {
    /// Checks every entry.
    pub(super) fn judge(&self, entries: &[Entry]) -> Result<Additions, Rule> {
        if entries.is_empty() || entries.len() > MAX_OPERATIONS {
            return Err(Rule::Operations);
        }
        match self.doc {
            DocId::Directory => self.judge_directory(entries)?,
            DocId::Presence(_) => self.judge_presence(entries)?,
            DocId::Segment(segment) => return self.judge_segment(segment, entries),
        }
        Ok(self.unchanged())
    }

    fn unchanged(&self) -> Additions {
        let Contents { specs, stage, .. } = *self.contents;
        Additions {
            specs,
            environments: Vec::new(),
            stage,
        }
    }

    fn judge_directory(&self, entries: &[Entry]) -> Result<(), Rule> {
        for (place, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Member(member) => {
                    check_member(member)?;
                    if member.proof != (self.proof)(&self.writer.peer) {
                        return Err(Rule::Proof);
                    }
                }
                // Who has not said yet who it is has nothing to say of others.
                Entry::Duty(_, duty) if place > 0 || self.writer.count > 1 => {
                    within(duty.at.0 <= MAX_WALL, Rule::Stamp)?;
                }
                Entry::Setting(name, said) if place > 0 || self.writer.count > 1 => {
                    within(said.at.0 <= MAX_WALL, Rule::Stamp)?;
                    check_setting(name, said)?;
                }
                Entry::Lapsed(_, lapsed) if place > 0 || self.writer.count > 1 => {
                    within(lapsed.is_sound(), Rule::Lapsed)?;
                }
                _ => return Err(Rule::Document),
            }
        }
        Ok(())
    }

    fn judge_presence(&self, entries: &[Entry]) -> Result<(), Rule> {
        for entry in entries {
            let Entry::Beat(beat) = entry else {
                return Err(Rule::Document);
            };
            check_beat(beat)?;
        }
        Ok(())
    }

    fn judge_segment(&self, segment: SegmentId, entries: &[Entry]) -> Result<Additions, Rule> {
        let opens = segment.author == self.writer.peer && self.writer.count == 1;
        if opens != matches!(entries.first(), Some(Entry::Header(_))) {
            return Err(Rule::Header);
        }
        let mut additions = self.unchanged();
        let ended = additions.stage;
        for (place, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Header(header) if place == 0 => check_header(header)?,
                Entry::Header(_) => return Err(Rule::Header),
                Entry::Specs(_) | Entry::Environment(..) | Entry::End(_) => {
                    within(ended == Stage::Open, Rule::End)?;
                    self.judge_bulk(segment, entry, &mut additions)?;
                }
                Entry::Votes(votes) => {
                    let header = match entries.first() {
                        Some(Entry::Header(header)) => Some(header),
                        Some(_) | None => self.header,
                    };
                    self.judge_votes(header, votes)?;
                }
                Entry::Bids(_)
                | Entry::Outcomes(_)
                | Entry::Harms(_)
                | Entry::Motion(_)
                | Entry::Stand(_)
                | Entry::Wait(_)
                | Entry::Claim(..)
                | Entry::Want(..)
                | Entry::Live(_)
                | Entry::Count(..)
                | Entry::Member(_)
                | Entry::Duty(..)
                | Entry::Setting(..)
                | Entry::Lapsed(..)
                | Entry::Beat(_) => self.judge_register(entry)?,
            }
        }
        // The end may stand anywhere in its change, and counts all of it.
        match additions.stage {
            Stage::Ended(specs) if specs != additions.specs => Err(Rule::End),
            Stage::Open | Stage::Ended(_) => Ok(additions),
        }
    }

    /// What the segment's author alone writes.
    fn judge_bulk(
        &self,
        segment: SegmentId,
        entry: &Entry,
        additions: &mut Additions,
    ) -> Result<(), Rule> {
        if segment.author != self.writer.peer {
            return Err(Rule::Writer);
        }
        match entry {
            Entry::Specs(chunk) => additions.specs = check_specs(chunk, additions.specs)?,
            Entry::Environment(digest, environment) => {
                self.judge_environment(*digest, environment, additions)?;
            }
            Entry::End(specs) if additions.stage == Stage::Open => {
                additions.stage = Stage::Ended(*specs);
            }
            _ => return Err(Rule::End),
        }
        Ok(())
    }

    fn judge_environment(
        &self,
        digest: Digest,
        environment: &Environment,
        additions: &mut Additions,
    ) -> Result<(), Rule> {
        let held = self.contents.environments.contains(&digest)
            || additions.environments.contains(&digest);
        if held || environment.digest() != digest {
            return Err(Rule::Environment);
        }
        additions.environments.push(digest);
        Ok(())
    }

    fn judge_votes(&self, header: Option<&Header>, votes: &[Vote]) -> Result<(), Rule> {
        let peer = self.writer.peer;
        // Who is in a later committee is for the replicas to find out; they count nobody else.
        let of_the_first = votes
            .iter()
            .any(|vote| vote.generation == Generation::FIRST);
        if of_the_first && !header.is_some_and(|header| header.committee.contains(&peer)) {
            return Err(Rule::Writer);
        }
        check_batch(votes.iter().map(|vote| vote.index))?;
        for vote in votes {
            check_epoch(vote.epoch)?;
            if let Some(accept) = vote.accepted {
                check_epoch(accept.epoch)?;
                if accept.epoch > vote.epoch {
                    return Err(Rule::Epoch);
                }
            }
        }
        Ok(())
    }

    /// What any member writes, each into registers of its own.
    fn judge_register(&self, entry: &Entry) -> Result<(), Rule> {
        match entry {
            Entry::Bids(bids) => check_bids(bids),
            Entry::Outcomes(outcomes) => check_outcomes(outcomes),
            Entry::Harms(harms) => check_harms(harms),
            Entry::Claim(index, mark) => {
                check_index(*index)?;
                check_epoch(mark.epoch)
            }
            Entry::Want(index, want) => {
                check_index(*index)?;
                if want.stamp.tag != self.writer.tag.0 || !want.stamp.leaves_room() {
                    return Err(Rule::Stamp);
                }
                check_want(want)
            }
            Entry::Motion(motion) => check_motion(motion),
            Entry::Stand(stand) => check_stand(stand),
            Entry::Wait(wait) => within(*wait <= Timing::LONGEST_WAIT, Rule::Wait),
            Entry::Live(step) | Entry::Count(_, step) => {
                within(step.unsigned_abs() <= MAX_STEP, Rule::Step)
            }
            Entry::Member(_)
            | Entry::Duty(..)
            | Entry::Setting(..)
            | Entry::Lapsed(..)
            | Entry::Beat(_)
            | Entry::Header(_)
            | Entry::Specs(_)
            | Entry::Environment(..)
            | Entry::End(_)
            | Entry::Votes(_) => Err(Rule::Document),
        }
    }
}

fn within(holds: bool, rule: Rule) -> Result<(), Rule> {
    if holds { Ok(()) } else { Err(rule) }
}

fn check_index(index: u16) -> Result<(), Rule> {
    within(index < MAX_TASKS, Rule::Index)
}

fn check_epoch(epoch: Epoch) -> Result<(), Rule> {
    within(epoch != Epoch::NONE && epoch <= Epoch::LAST, Rule::Epoch)
}

/// A batch has 1 to [`MAX_TASKS`] entries, at most one for a task.
fn check_batch(indices: impl ExactSizeIterator<Item = u16>) -> Result<(), Rule> {
    let mut seen = [0_u64; MAX_TASKS as usize / 64];
    within(
        (1..=usize::from(MAX_TASKS)).contains(&indices.len()),
        Rule::Batch,
    )?;
    for index in indices {
        check_index(index)?;
        let (word, bit) = (usize::from(index / 64), 1_u64 << (index % 64));
        within(seen[word] & bit == 0, Rule::Batch)?;
        seen[word] |= bit;
    }
    Ok(())
}

/// A committee has 1, 3 or 5 members, sorted.
fn is_committee<T: Ord>(members: &[T]) -> bool {
    matches!(members.len(), 1 | 3 | 5) && members.is_sorted_by(|a, b| a < b)
}

fn check_motion(motion: &Motion) -> Result<(), Rule> {
    check_round(motion.round)?;
    motion.proposal.as_ref().map_or(Ok(()), check_proposal)
}

fn check_stand(stand: &Stand) -> Result<(), Rule> {
    stand
        .promised
        .map_or(Ok(()), |ballot| check_round(ballot.round))?;
    if let Some((ballot, proposal)) = &stand.accepted {
        within(stand.promised >= Some(*ballot), Rule::Epoch)?;
        check_round(ballot.round)?;
        check_proposal(proposal)?;
    }
    within(stand.seen.is_sorted_by(|a, b| a.0 < b.0), Rule::Batch)
}

fn check_round(round: u32) -> Result<(), Rule> {
    within((1..=MAX_ROUND).contains(&round), Rule::Epoch)
}

fn check_proposal(proposal: &Proposal) -> Result<(), Rule> {
    let Proposal { members, sealed } = proposal;
    let majority = (1..=5).contains(&sealed.len()) && sealed.is_sorted_by(|a, b| a < b);
    within(is_committee(members) && majority, Rule::Header)
}

fn check_header(header: &Header) -> Result<(), Rule> {
    let counts = header.first >= 1 && header.first.checked_add(u64::from(MAX_TASKS)).is_some();
    within(
        header.format == Header::FORMAT && is_committee(&header.committee) && counts,
        Rule::Header,
    )
}

/// Returns how many tasks there are after this chunk.
fn check_specs(chunk: &SpecChunk, so_far: u16) -> Result<u16, Rule> {
    let count = u16::try_from(chunk.specs.len()).map_err(|_| Rule::Specs)?;
    let fits = (1..=MAX_CHUNK).contains(&count) && chunk.first == so_far;
    within(fits, Rule::Specs)?;
    let mut after = so_far;
    for spec in &chunk.specs {
        check_spec(spec)?;
        let places = u16::try_from(spec.places()).map_err(|_| Rule::Specs)?;
        after = after.checked_add(places).ok_or(Rule::Specs)?;
    }
    within(after <= MAX_TASKS, Rule::Specs)?;
    Ok(after)
}

/// Its encoded size is bounded where it is decoded, and the sum of all by the largest envelope.
fn check_spec(spec: &TaskSpec) -> Result<(), Rule> {
    let is_array = spec.options.elements.is_some();
    let elements = spec.options.elements.as_ref();
    let sound = elements.is_none_or(|elements| elements.is_sound() && spec.member_of.is_some());
    within(sound, Rule::Specs)?;
    match &spec.work {
        Work::Command { argv, .. } => within(!argv.is_empty(), Rule::Specs),
        Work::Group { .. } => within(!is_array, Rule::Specs),
    }
}

fn check_bids(bids: &[Bid]) -> Result<(), Rule> {
    check_batch(bids.iter().map(|bid| bid.index))?;
    bids.iter().try_for_each(|bid| check_epoch(bid.epoch))
}

fn check_harms(harms: &[Harm]) -> Result<(), Rule> {
    check_batch(harms.iter().map(|harm| harm.index))?;
    for harm in harms {
        check_epoch(harm.epoch)?;
        within(harm.what.len() <= Harm::MOST_BYTES, Rule::Length)?;
    }
    Ok(())
}

fn check_outcomes(outcomes: &[OutcomeAt]) -> Result<(), Rule> {
    check_batch(outcomes.iter().map(|at| at.index))?;
    for at in outcomes {
        check_epoch(at.epoch)?;
        check_outcome(&at.outcome)?;
    }
    Ok(())
}

fn check_outcome(outcome: &Outcome) -> Result<(), Rule> {
    let failure = match &outcome.verdict {
        Verdict::Failure(text) => text.as_deref(),
        Verdict::Success
        | Verdict::Killed
        | Verdict::Cancelled
        | Verdict::Retry
        | Verdict::Lost => None,
    };
    check_text(failure)?;
    check_text(outcome.reason.as_deref())
}

fn check_want(want: &Want) -> Result<(), Rule> {
    check_text(Some(&want.by))?;
    match &want.wish {
        Wish::Kill { reason, .. } => check_text(reason.as_deref()),
        Wish::Again { void: named, .. } | Wish::Remove { ended: named } => {
            within(named.len() <= Wish::MOST_VOID, Rule::Length)
        }
        Wish::Edit(edits) => within(edits.fits(), Rule::Length),
        Wish::Close { .. } | Wish::Retry { .. } | Wish::Hold | Wish::Release { .. } => Ok(()),
    }
}

fn check_setting(name: &str, said: &Stated) -> Result<(), Rule> {
    let value = said.value.as_deref().unwrap_or_default();
    let short = |text: &str| text.len() <= Settings::LONGEST;
    within(short(name) && short(value) && short(&said.by), Rule::Length)
}

fn check_text(text: Option<&str>) -> Result<(), Rule> {
    within(text.is_none_or(|text| text.len() <= MAX_TEXT), Rule::Length)
}

fn check_member(member: &Member) -> Result<(), Rule> {
    let addresses = member.addresses.len() <= MAX_ADDRESSES
        && member
            .addresses
            .iter()
            .all(|address| address.len() <= MAX_ADDRESS);
    within(addresses && member.name.len() <= MAX_NAME, Rule::Length)
}

fn check_beat(beat: &Beat) -> Result<(), Rule> {
    let resources = beat.resources.len() <= MAX_RESOURCES
        && beat
            .resources
            .iter()
            .all(|(name, _)| name.len() <= MAX_NAME);
    let texts = beat.version.len() <= MAX_NAME && beat.platform.len() <= MAX_NAME;
    let progress = beat.progress.len() <= Beat::MOST_PROGRESS
        && beat
            .progress
            .iter()
            .all(|(_, text)| text.len() <= Beat::PROGRESS_BYTES);
    let missing = beat.missing.len() <= Beat::MOST_MISSING
        && beat
            .missing
            .iter()
            .all(|(_, text)| text.len() <= Beat::MISSING_BYTES);
    let user = match &beat.runs_as {
        RunsAs::Anyone => true,
        RunsAs::One(name) => name.len() <= Beat::USER_BYTES,
    };
    let words = progress && missing && user;
    let fits = beat.neighbours.len() <= MAX_NEIGHBOURS && texts && resources && words;
    within(fits, Rule::Length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Tag, TaskId};
    use crate::task::{Elements, Membership};

    #[test]
    fn arrays_are_sound_and_fit_into_a_segment() {
        let array = |step, count| {
            let mut spec = TaskSpec::command(["true"]);
            spec.options.elements = Some(Elements::Range {
                first: 1,
                step,
                count,
            });
            spec.member_of = Some(Membership {
                group: TaskId { tag: Tag(1), n: 1 },
                index: 0,
                window: 0,
            });
            spec
        };
        let after = |first, specs| check_specs(&SpecChunk { first, specs }, first).ok();
        assert_eq!(after(3, vec![array(1, 10), array(5, 2)]), Some(15));
        assert_eq!(after(24, vec![array(1, 1_000)]), Some(MAX_TASKS));
        assert_eq!(after(25, vec![array(1, 1_000)]), None, "too many");
        assert_eq!(after(0, vec![array(1, u32::MAX)]), None, "far too many");
        assert_eq!(after(0, vec![array(1, 0)]), None, "none");
        assert_eq!(after(0, vec![array(0, 2)]), None, "all alike");
        let mut alone = array(1, 2);
        alone.member_of = None;
        assert_eq!(after(0, vec![alone]), None, "of no group");
        let mut group = array(1, 2);
        group.work = Work::Group { size: None };
        assert_eq!(after(0, vec![group]), None, "groups");
    }
}
