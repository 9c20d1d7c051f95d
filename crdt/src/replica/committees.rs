//! The replacement of committees: who sees that one is needed, asks for it, answers, proposes, and takes up its place.
//! The ballots are in [`crate::generation`]; what a new committee starts from is in [`crate::ballots`].
//!
//! Any host may ask. Those that are alive go in the order of a draw, each one step later, and start again when nothing moved.

use std::collections::BTreeSet;
use std::time::Duration;

use super::people::Answer;
use super::{Replica, Timer};
use crate::config::Sabotage;
use crate::entry::{Duty, DutyKind, Motion, Stand};
use crate::event::{Refusal, Reply, Token};
use crate::generation::{Electorate, Replacement};
use crate::graph::TaskIx;
use crate::ids::{DocId, Epoch, Generation, PeerId, SegmentId, Tag, TaskId};
use crate::registers::Misfit;
use crate::time::{Mono, Wall};

/// Unfinished commands of one segment that nobody can claim for now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stranded {
    /// Whose segment it is.
    pub author: PeerId,
    /// How many commands have no outcome.
    pub unfinished: u32,
    /// How many members the committee has.
    pub members: usize,
    /// Those of them that are not heard of.
    pub missing: Vec<PeerId>,
}

impl Replica {
    pub(super) fn count_unfinished(&mut self, ix: TaskIx, count: u32) {
        let id = self.known(ix).segment;
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.unfinished += count;
            self.live.insert(id);
        }
    }

    pub(super) fn count_finished(&mut self, ix: TaskIx) {
        let id = self.known(ix).segment;
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.unfinished = segment.unfinished.saturating_sub(1);
            if segment.unfinished == 0 {
                self.live.remove(&id);
            }
        }
    }

    pub(super) fn fold_motion(
        &mut self,
        id: SegmentId,
        writer: Tag,
        motion: Motion,
    ) -> Result<(), Misfit> {
        let generation = motion.generation;
        self.word(id, generation, |replacement| {
            replacement.fold_motion(writer, motion)
        })
    }

    pub(super) fn fold_stand(
        &mut self,
        id: SegmentId,
        writer: Tag,
        stand: Stand,
    ) -> Result<(), Misfit> {
        let generation = stand.generation;
        self.word(id, generation, |replacement| {
            replacement.fold_stand(writer, stand)
        })
    }

    /// Takes a word about the replacement of a committee.
    fn word<E>(
        &mut self,
        id: SegmentId,
        generation: Generation,
        fold: impl FnOnce(&mut Replacement) -> Result<(), E>,
    ) -> Result<(), Misfit> {
        let now = self.now.mono;
        let Some(segment) = self.segments.get_mut(&id) else {
            return Ok(());
        };
        segment.moved = now;
        let replacement = segment.replacements.entry(generation).or_default();
        let folded = fold(replacement).map_err(|_| Misfit::WentBack);
        self.note_word(id);
        if generation == self.segments[&id].generation {
            // Claims lose the answers of those that are sealed.
            self.touch_claims_in(id);
        }
        folded
    }

    /// Looks again at a segment whose committee may be replaced, since there is something new in it.
    pub(super) fn note_word(&mut self, id: SegmentId) {
        let segment = self.segments.get(&id);
        if segment.is_some_and(|segment| !segment.replacements.is_empty()) {
            self.unsettled.insert(id);
        }
    }

    /// Does what the words that are known ask of this node: takes the next committee for the one that decides, takes up its
    /// place in it, answers, and proposes.
    pub(super) fn tend_committee(&mut self, id: SegmentId) {
        while self.succeed(id) {}
        let asked_for = self.segments[&id]
            .replacement()
            .is_some_and(Replacement::is_asked_for);
        if asked_for {
            self.contested.insert(id);
        } else {
            self.contested.remove(&id);
        }
        if self.stalled {
            return;
        }
        self.take_place(id);
        self.answer_motion(id);
        self.propose(id);
    }

    fn electorate(&self, id: SegmentId) -> Electorate<'_> {
        let segment = &self.segments[&id];
        let half = segment.committee.len() / 2;
        let majority = if self.broken == Some(Sabotage::MinorityReplaces) {
            half.max(1)
        } else {
            half + 1
        };
        Electorate {
            members: &segment.committee,
            majority,
            uncounted: (segment.staged > self.durable).then_some(self.tag),
            broken: self.broken,
        }
    }

    /// M4, M5: lets the next committee decide once it is chosen and all is seen that it starts from.
    fn succeed(&mut self, id: SegmentId) -> bool {
        let segment = &self.segments[&id];
        let Some(replacement) = segment.replacement() else {
            return false;
        };
        let Some(proposal) = replacement.chosen(self.electorate(id)) else {
            return false;
        };
        let doc = DocId::Segment(id);
        let have = |author: &PeerId| self.ledger.count(doc, author);
        let Some(next) = segment.generation.next() else {
            return false;
        };
        if !replacement.is_covered(proposal, have) {
            return false;
        }
        let proposal = proposal.clone();
        let committee = segment.committee.clone();
        let in_it = |tag: &&Tag| committee.contains(*tag);
        let sealed: Vec<Tag> = proposal.sealed.iter().filter(in_it).copied().collect();
        self.wake_segment(id);
        let tasks = self.segments[&id].tasks.iter().flatten();
        let tasks: Vec<TaskIx> = tasks.copied().collect();
        for ix in tasks {
            let now = self.now.mono;
            let task = &mut self.tasks[ix as usize];
            task.registers.succeed(next, &sealed, &committee);
            task.voted = now;
            self.dirty.insert(ix);
        }
        let now = self.now.mono;
        if let Some(segment) = self.segments.get_mut(&id) {
            let waits = segment.waits.iter();
            let of_members = waits.filter(|(tag, _)| committee.contains(tag));
            let longest = of_members.map(|(_, wait)| *wait).max();
            segment.waited_before = segment.waited_before.max(longest.unwrap_or_default());
            segment.committee = proposal.members.iter().map(PeerId::tag).collect();
            segment.peers = proposal.members;
            segment.before = committee;
            segment.generation = next;
            segment.since = now;
            segment.missing = None;
        }
        self.counters.committees_replaced += 1;
        true
    }

    /// A new member says that it has all that its committee starts from; its disk counts from now on.
    fn take_place(&mut self, id: SegmentId) {
        let segment = &self.segments[&id];
        let generation = segment.generation;
        let said = segment
            .replacement()
            .is_some_and(|replacement| replacement.stand(self.tag).is_some());
        if generation == Generation::FIRST || said || !segment.committee.contains(&self.tag) {
            return;
        }
        let stand = Stand {
            generation,
            promised: None,
            accepted: None,
            seen: Vec::new(),
        };
        if self.say_stand(id, stand) && id.author != self.me {
            let doc = DocId::Segment(id);
            let count = self.ledger.count(doc, &id.author);
            self.to_confirm.insert((id.author, doc), count);
        }
    }

    /// M1, M2: a member promises, and is sealed by that; or it accepts.
    fn answer_motion(&mut self, id: SegmentId) {
        let segment = &self.segments[&id];
        let Some(replacement) = segment.replacement() else {
            return;
        };
        if !segment.committee.contains(&self.tag) {
            return;
        }
        let seen = || self.ledger.vector(DocId::Segment(id));
        let Some(stand) = replacement.answer(self.tag, self.electorate(id), seen) else {
            return;
        };
        let unsealed = !segment.is_sealed(self.tag);
        let next_count = self.next_count(id);
        if self.say_stand(id, stand)
            && unsealed
            && let Some(segment) = self.segments.get_mut(&id)
        {
            segment.sealed_at = next_count;
        }
    }

    /// Writes where this node stands. A flush writes only the last word of a segment: what it said of another committee, or
    /// accepted at another ballot, is written first. Says whether it did.
    fn say_stand(&mut self, id: SegmentId, stand: Stand) -> bool {
        let staged = self.staged.entry(DocId::Segment(id)).or_default();
        let ballot = |stand: &Stand| stand.accepted.as_ref().map(|(ballot, _)| *ballot);
        let hidden = |staged: &Stand| {
            let accepts = ballot(staged).is_some_and(|_| ballot(staged) != ballot(&stand));
            accepts || staged.generation != stand.generation
        };
        if staged.stand.as_ref().is_some_and(hidden) {
            return false;
        }
        staged.stand = Some(stand.clone());
        self.spoken(id);
        let tag = self.tag;
        self.fold_stand(id, tag, stand)
            .expect("own stands are never taken back");
        true
    }

    fn say_motion(&mut self, id: SegmentId, motion: Motion) {
        let staged = self.staged.entry(DocId::Segment(id)).or_default();
        staged.motion = Some(motion.clone());
        self.spoken(id);
        let tag = self.tag;
        self.fold_motion(id, tag, motion)
            .expect("own motions are never taken back");
    }

    fn spoken(&mut self, id: SegmentId) {
        let flush = self.flush;
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.staged = flush;
        }
    }

    /// M3: proposes in the own open round what its promises allow.
    fn propose(&mut self, id: SegmentId) {
        let segment = &self.segments[&id];
        let Some(replacement) = segment.replacement() else {
            return;
        };
        let members = || self.successors(id).or_else(|| Some(segment.peers.clone()));
        if let Some(motion) = replacement.propose(self.tag, self.electorate(id), members) {
            self.say_motion(id, motion);
        }
    }

    /// The committee that should take the place of this segment's, if there is a better one.
    fn successors(&self, id: SegmentId) -> Option<Vec<PeerId>> {
        let segment = &self.segments[&id];
        let size = segment.peers.len().max(usize::from(self.committee_size));
        let chosen = self.roster.successors(
            &segment.peers,
            |tag| self.is_silent(tag),
            (size, segment.first),
            self.now.mono,
        );
        let gone = |peer: &PeerId| self.is_missing(peer.tag());
        chosen.filter(|chosen| {
            let mut old = segment.peers.iter();
            old.any(|peer| gone(peer) && !chosen.contains(peer))
        })
    }

    fn is_silent(&self, tag: Tag) -> bool {
        self.roster
            .is_silent(tag, self.now.mono, self.awake, self.replace_after)
    }

    /// Says whether a member of a committee is to be replaced.
    fn is_missing(&self, tag: Tag) -> bool {
        self.roster.is_leaving(tag) || self.is_silent(tag)
    }

    /// Asks for another committee wherever a member is missing for good, or an earlier attempt got stuck.
    pub(super) fn mind_committees(&mut self) {
        if self.stalled {
            return;
        }
        let members = self.live.iter().flat_map(|id| &self.segments[id].committee);
        let members: BTreeSet<Tag> = members.copied().collect();
        let missing: BTreeSet<Tag> = members
            .into_iter()
            .filter(|t| self.is_missing(*t))
            .collect();
        if missing.is_empty() && self.contested.is_empty() {
            return;
        }
        let mut wanted: Vec<SegmentId> = self.live.iter().copied().collect();
        wanted.retain(|id| {
            let mut members = self.segments[id].committee.iter();
            self.contested.contains(id) || members.any(|member| missing.contains(member))
        });
        for id in wanted {
            self.mind_committee(id);
        }
    }

    fn mind_committee(&mut self, id: SegmentId) {
        let now = self.now.mono;
        let segment = &self.segments[&id];
        let alive = segment.committee.iter();
        let alive = alive.filter(|member| self.roster.is_alive(**member, now));
        let stuck = self.contested.contains(&id);
        let left = stuck && self.broken == Some(Sabotage::ChangeAbandoned);
        let possible = alive.count() >= self.electorate(id).majority;
        if left || !possible || !stuck && self.successors(id).is_none() {
            if let Some(segment) = self.segments.get_mut(&id) {
                segment.missing = None;
            }
            return;
        }
        let round = segment.replacement().map_or(1, Replacement::next_round);
        let draw = TaskId {
            tag: id.author.tag(),
            n: segment.first,
        };
        let place = u32::try_from(self.place(draw, Epoch(round))).unwrap_or(u32::MAX);
        let since = *self
            .segments
            .get_mut(&id)
            .expect("it was looked up before")
            .missing
            .get_or_insert(now);
        let pause = if stuck {
            self.attempt_patience()
        } else {
            Duration::ZERO
        };
        let moved = self.segments[&id].moved;
        let due = since.max(moved + pause) + self.bid_patience() * place.min(64);
        if now < due {
            return self.set_timer(due, Timer::Committees);
        }
        self.counters.motions += 1;
        let motion = Motion {
            generation: self.segments[&id].generation,
            round,
            proposal: None,
        };
        self.say_motion(id, motion);
        self.set_timer(now + self.attempt_patience(), Timer::Committees);
    }

    /// An attempt in which nothing moved for so long is followed by another.
    fn attempt_patience(&self) -> Duration {
        self.bid_patience() * 2
    }

    pub(super) fn take_duty(&mut self, peer: PeerId, said: (Duty, Tag)) {
        let before = self.roster.duty(peer.tag());
        self.roster.assign(peer, said);
        let duty = self.roster.duty(peer.tag());
        if duty == before {
            return;
        }
        if peer == self.me {
            if duty.kind == DutyKind::Gone {
                // It is here after all.
                self.say_duty(peer, DutyKind::Works);
            }
            self.dirty.extend((0..self.tasks.len()).map(super::index));
        }
        // Who may sit in committees is another question now.
        self.refresh_alive();
        self.set_timer(self.now.mono, Timer::Committees);
    }

    fn say_duty(&mut self, peer: PeerId, kind: DutyKind) {
        let last = self.roster.duty(peer.tag()).at;
        let at = self.now.wall.max(Wall(last.0.saturating_add(1)));
        let duty = Duty { at, kind };
        let staged = self.staged.entry(DocId::Directory).or_default();
        staged.duties.insert(peer, duty);
        self.take_duty(peer, (duty, self.tag));
    }

    /// Writes down what a person wants of a peer.
    pub(super) fn assign(&mut self, token: Token, peer: PeerId, kind: DutyKind) {
        let tag = peer.tag();
        let known = self.roster.members().any(|member| member == tag);
        let refusal = if self.stalled {
            Some(Refusal::Disk)
        } else if !known {
            Some(Refusal::NoMember)
        } else if kind == DutyKind::Gone && self.roster.is_alive(tag, self.now.mono) {
            Some(Refusal::Alive)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.reply(token, Reply::Refused(refusal));
        }
        if self.roster.duty(tag).kind != kind {
            self.say_duty(peer, kind);
        }
        self.note_for(token);
    }

    /// Answers once what was just written is durable.
    pub(super) fn note_for(&mut self, token: Token) {
        let flush = self.flush;
        let ended = Vec::new();
        self.await_answer(token, Answer::Noted { flush, ended });
        self.answer_submissions();
    }

    /// Returns the segments with unfinished commands of whose committees no majority is heard of: nobody can claim these now.
    #[must_use]
    pub fn stranded(&self) -> Vec<Stranded> {
        let stranded = |id: &SegmentId| {
            let segment = &self.segments[id];
            let missing = segment.peers.iter().copied();
            let missing: Vec<PeerId> = missing
                .filter(|peer| !self.roster.is_alive(peer.tag(), self.now.mono))
                .collect();
            let members = segment.peers.len();
            let majority = members - missing.len() > members / 2;
            (!majority).then_some(Stranded {
                author: id.author,
                unfinished: segment.unfinished,
                members,
                missing,
            })
        };
        self.live.iter().filter_map(stranded).collect()
    }

    /// Returns of how many segments with unfinished commands a peer is a member of the committee, or was until its successors
    /// have what it had: its disk is needed until this is 0.
    #[must_use]
    pub fn places(&self, peer: Tag) -> usize {
        let rests_on = |id: &&SegmentId| {
            let segment = &self.segments[*id];
            let taken = |member: &&Tag| {
                let replacement = segment.replacement();
                replacement.is_some_and(|r| r.stand(**member).is_some())
            };
            let taken = segment.committee.iter().filter(taken).count();
            let handed_over = taken > segment.committee.len() / 2;
            segment.committee.contains(&peer) || segment.before.contains(&peer) && !handed_over
        };
        self.live.iter().filter(rests_on).count()
    }

    /// Returns what is known of a task's committee, once there was talk of another, a line each.
    pub(super) fn explain_committee(&self, ix: TaskIx) -> Vec<String> {
        let segment = self.segment_of(ix);
        let mut lines = Vec::new();
        if segment.replacements.is_empty() {
            return lines;
        }
        let members: Vec<String> = segment.committee.iter().map(Tag::to_string).collect();
        let generation = segment.generation;
        lines.push(format!("committee {generation}: {}", members.join(" ")));
        if let Some(basis) = self.known(ix).registers.basis() {
            lines.push(format!(
                "starts from epoch {}, accepted {:?}, decided {:?}, held {:?}, shared {:?}",
                basis.floor, basis.accepted, basis.decided, basis.held, basis.shared
            ));
        }
        for member in &segment.committee {
            if let Some(stand) = segment.replacement().and_then(|r| r.stand(*member)) {
                let accepted = stand.accepted.as_ref().map(|(ballot, _)| ballot);
                let promised = stand.promised;
                lines.push(format!(
                    "stand of {member}: promised {promised:?}, accepted {accepted:?}"
                ));
            }
        }
        lines
    }

    /// Returns the members of the committee that decides a task's claims which are seen to be sealed.
    #[must_use]
    pub fn sealed(&self, id: TaskId) -> Vec<Tag> {
        let Some(ix) = self.find(id) else {
            return Vec::new();
        };
        let segment = self.segment_of(ix);
        let members = segment.committee.iter().copied();
        members
            .filter(|member| segment.is_sealed(*member))
            .collect()
    }

    /// Says whether a person wants this node to take no more work.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.roster.is_draining(self.tag)
    }

    /// Returns which committee decides a task's claims.
    #[must_use]
    pub fn generation(&self, id: TaskId) -> Option<Generation> {
        let ix = self.find(id)?;
        Some(self.segment_of(ix).generation)
    }

    /// The instant from which a committee counts as there.
    pub(super) fn decides_since(&self, ix: TaskIx) -> Mono {
        self.segment_of(ix).since
    }
}
