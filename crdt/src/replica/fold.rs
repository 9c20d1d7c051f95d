//! From documents to tasks: what each accepted change says, folded into the plain index by which everything else works.

use std::sync::Arc;

use super::flush::after;
use super::{Replica, Segment, Task};
use crate::ballots::VoteRegister;
use crate::entry::{Entry, SpecChunk};
use crate::event::Notice;
use crate::graph::TaskIx;
use crate::ids::{DocId, PeerId, SegmentId, TaskId};
use crate::ledger::Change;
use crate::offences::Offence;
use crate::registers::{BidRegister, Misfit, Registers};
use crate::task::{TaskSpec, Want, Wish, Work};
use crate::time::Hlc;

/// A stamp this far ahead of the own wall clock, milliseconds, moves no other task's stamps.
const AHEAD_MS: u64 = 3_600_000;

impl Replica {
    /// Folds an accepted change, ours or another's.
    pub(super) fn fold(&mut self, change: Change) {
        for entry in change.entries {
            match change.doc {
                DocId::Segment(id) => self.fold_segment(id, change.author, entry),
                DocId::Directory | DocId::Presence(_) => self.fold_person(change.author, entry),
            }
        }
        if let DocId::Segment(id) = change.doc {
            let key = (id, change.author.tag());
            if self.answers.progress(key, change.count) {
                self.touch_claims_in(id);
            }
            self.note_word(id);
        }
    }

    fn fold_person(&mut self, author: PeerId, entry: Entry) {
        match entry {
            Entry::Member(member) => {
                self.outputs
                    .push_back(crate::event::Output::Notice(Notice::Member {
                        peer: author,
                        name: member.name.clone(),
                        addresses: member.addresses.clone(),
                    }));
                self.roster.learn(author, member);
                self.refresh_alive();
            }
            Entry::Duty(peer, duty) => self.take_duty(peer, (duty, author.tag())),
            Entry::Setting(name, said) => self.take_setting(name, said, author.tag()),
            Entry::Lapsed(peer, lapsed) => {
                let goes_on = self.take_lapsed(peer, author.tag(), lapsed);
                self.fits(
                    author,
                    if goes_on {
                        Ok(())
                    } else {
                        Err(Misfit::WentBack)
                    },
                );
            }
            Entry::Beat(beat) => self.take_beat(author, beat),
            Entry::Header(_)
            | Entry::Specs(_)
            | Entry::Environment(..)
            | Entry::End(_)
            | Entry::Bids(_)
            | Entry::Votes(_)
            | Entry::Outcomes(_)
            | Entry::Harms(_)
            | Entry::Motion(_)
            | Entry::Stand(_)
            | Entry::Wait(_)
            | Entry::Claim(..)
            | Entry::Want(..)
            | Entry::Live(_)
            | Entry::Count(..) => self.misplaced(author),
        }
    }

    fn misplaced(&mut self, author: PeerId) {
        self.counters.misplaced += 1;
        self.offences
            .note(author, Offence::Misplaced, self.now.wall);
    }

    /// Says whether an entry was folded; one that does not fit what its author said before is dropped.
    fn fits(&mut self, author: PeerId, folded: Result<(), Misfit>) -> bool {
        let Err(misfit) = folded else { return true };
        match misfit {
            Misfit::WentBack => self.counters.went_back += 1,
            Misfit::Leap => self.counters.epoch_leaps += 1,
            Misfit::NoBid => self.counters.without_bid += 1,
        }
        self.offences.note(author, misfit.into(), self.now.wall);
        false
    }

    fn fold_segment(&mut self, id: SegmentId, author: PeerId, entry: Entry) {
        let writer = author.tag();
        match entry {
            Entry::Header(header) => {
                let now = self.now.mono;
                let fresh = || Segment::new(&header, now);
                self.segments.entry(id).or_insert_with(fresh);
            }
            Entry::Specs(chunk) => self.fold_specs(id, chunk),
            Entry::Environment(digest, environment) => {
                if let Some(segment) = self.segments.get_mut(&id) {
                    segment.environments.insert(digest, Arc::new(environment));
                }
            }
            Entry::Bids(bids) => {
                for bid in bids {
                    let ix = self.one_at(id, bid.index);
                    let register = BidRegister {
                        epoch: bid.epoch,
                        gave_up: bid.gave_up,
                    };
                    let folded = self.registers(ix).fold_bid(writer, register);
                    if self.fits(author, folded) {
                        self.changed(ix);
                    }
                }
            }
            Entry::Votes(votes) => {
                for vote in votes {
                    let ix = self.one_at(id, vote.index);
                    let register = VoteRegister {
                        epoch: vote.epoch,
                        claimant: vote.claimant,
                        accepted: vote.accepted,
                    };
                    let before = self.known(ix).registers.top();
                    let registers = self.registers(ix);
                    let folded = registers.fold_vote(writer, vote.generation, register);
                    if !self.fits(author, folded) {
                        continue;
                    }
                    self.note_receipt(id, writer);
                    if self.known(ix).registers.top() > before {
                        // The bid that it answers is still on its way.
                        self.changed(ix);
                    }
                    self.dirty.insert(ix);
                }
            }
            Entry::Outcomes(outcomes) => {
                for at in outcomes {
                    let ix = self.one_at(id, at.index);
                    let outcome = Arc::new(at.outcome);
                    let folded = self.registers(ix).fold_outcome(writer, at.epoch, outcome);
                    if self.fits(author, folded) {
                        self.changed(ix);
                    }
                }
            }
            Entry::Motion(motion) => {
                let folded = self.fold_motion(id, writer, motion);
                self.fits(author, folded);
            }
            Entry::Stand(stand) => {
                let folded = self.fold_stand(id, writer, stand);
                self.fits(author, folded);
            }
            Entry::Wait(wait) => {
                let folded = self.fold_wait(id, writer, wait);
                self.fits(author, folded);
            }
            Entry::Claim(place, mark) => {
                let ix = self.one_at(id, place);
                let folded = self.registers(ix).fold_mark(writer, mark);
                if self.fits(author, folded) {
                    self.dirty.insert(ix);
                }
            }
            Entry::Want(place, want) => {
                let ix = self.one_at(id, place);
                if want.stamp.wall_ms <= self.now.wall.0.saturating_add(AHEAD_MS) {
                    self.stamp = Hlc {
                        tag: 0,
                        ..self.stamp.max(want.stamp)
                    };
                } else if author != self.me {
                    self.counters.absurd_stamps += 1;
                    self.offences.note(author, Offence::Stamp, self.now.wall);
                }
                self.take_want(ix, want);
            }
            Entry::Live(delta) => {
                if author == self.me
                    && let Some(segment) = self.segments.get_mut(&id)
                {
                    segment.own_live += delta;
                }
            }
            Entry::End(specs) => {
                if let Some(segment) = self.segments.get_mut(&id) {
                    segment.specs = Some(specs);
                }
            }
            Entry::Count(..) | Entry::Harms(_) => {}
            Entry::Member(_)
            | Entry::Duty(..)
            | Entry::Setting(..)
            | Entry::Lapsed(..)
            | Entry::Beat(_) => {
                self.misplaced(author);
            }
        }
    }

    fn fold_specs(&mut self, id: SegmentId, chunk: SpecChunk) {
        let mut place = chunk.first;
        for spec in chunk.specs {
            place = self.give_places(id, place, Arc::new(spec));
        }
    }

    /// Gives a spec to all the tasks that it stands for, from this place of a segment on. Returns the place after them.
    pub(super) fn give_places(&mut self, id: SegmentId, place: u16, spec: Arc<TaskSpec>) -> u16 {
        let count = spec.places();
        if self.may_sleep(id, place, &spec) {
            let first = self.task_at(id, place);
            self.give_spec(first, spec, 0, count);
            self.put_to_sleep(first, count);
            return after(place, count);
        }
        let mut next = place;
        for offset in 0..count {
            let ix = self.task_at(id, next);
            self.give_spec(ix, Arc::clone(&spec), offset, 1);
            next += 1;
        }
        next
    }

    /// Gives a task that stands for so many its spec, and links it to what it depends on.
    fn give_spec(&mut self, ix: TaskIx, spec: Arc<TaskSpec>, offset: u32, count: u32) {
        let id = self.known(ix).id;
        if self.known(ix).spec.is_some() {
            return;
        }
        if id.tag == self.tag {
            self.next_n = self.next_n.max(id.n + u64::from(count));
        }
        self.link(ix, &spec);
        self.note_key(id, &spec);
        if let Some(member) = spec.member_of {
            let group = self.graph.group_mut(member.group);
            let place = member.index.saturating_add(offset);
            self.dirty
                .extend(group.add(place, count, member.window, ix));
            self.dirty.extend(self.ids.get(&member.group));
        }
        if matches!(spec.work, Work::Group { .. }) {
            self.graph.group_mut(id);
        }
        if matches!(spec.work, Work::Command { .. }) {
            self.count_unfinished(ix, count);
        }
        let now = self.now.mono;
        let task = &mut self.tasks[ix as usize];
        (task.spec, task.offset) = (Some(spec), offset);
        task.changed = task.changed.max(now);
        self.respec(ix);
        self.dirty.insert(ix);
    }

    /// Takes what a person wants of a task.
    pub(super) fn take_want(&mut self, ix: TaskIx, want: Want) {
        let lets_go = matches!(want.wish, Wish::Release { .. });
        if !self.registers(ix).fold_want(want) {
            return;
        }
        self.respec(ix);
        self.reopen(ix);
        self.dirty.insert(ix);
        if lets_go {
            self.free(&[ix]);
        }
    }

    /// Returns the task at a place of a known segment, of which alone something was heard.
    fn one_at(&mut self, segment: SegmentId, place: u16) -> TaskIx {
        self.wake_place(segment, place);
        self.task_at(segment, place)
    }

    /// Returns the task at a place of a known segment, made if nothing of it was seen before.
    pub(super) fn task_at(&mut self, segment: SegmentId, place: u16) -> TaskIx {
        let known = self
            .segments
            .get_mut(&segment)
            .expect("a change follows its segment's header");
        let slot = usize::from(place);
        if known.tasks.len() <= slot {
            known.tasks.resize(slot + 1, None);
        }
        if let Some(ix) = known.tasks[slot] {
            return ix;
        }
        if known.sleeps(place) {
            self.wake_place(segment, place);
            return self.task_at(segment, place);
        }
        let id = TaskId {
            tag: segment.author.tag(),
            n: known.first + u64::from(place),
        };
        let generation = known.generation;
        let fresh = self.vacancy();
        if let Some(known) = self.segments.get_mut(&segment) {
            known.tasks[slot] = Some(fresh);
        }
        self.ids.insert(id, fresh);
        let task = Task::new(id, segment, place, generation, self.broken, self.now.mono);
        self.known_tasks = self.known_tasks.wrapping_add(1);
        self.tasks[fresh as usize] = Task {
            line: (self.known_tasks, 0),
            ..task
        };
        fresh
    }

    pub(super) fn registers(&mut self, ix: TaskIx) -> &mut Registers {
        &mut self.tasks[ix as usize].registers
    }

    /// Notes that a bid, a give-up or an outcome was seen: the stagger of the next bid counts from here (L3).
    pub(super) fn changed(&mut self, ix: TaskIx) {
        self.tasks[ix as usize].changed = self.now.mono;
        self.dirty.insert(ix);
    }
}
