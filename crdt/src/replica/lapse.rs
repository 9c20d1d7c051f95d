//! Segments that lapse: when all in one ended longer ago than the mesh's retention, hosts state so, and once enough have, each drops
//! it: its document, its tasks, what was captured of them. See [`crate::lapses`] for who must agree.
//!
//! A segment is over when its author has ended it, every task of it stands as ended, nothing that has not ended depends on one, and
//! its groups' members have ended. A group goes before or with its members, so that none of these is ever counted anew. Nothing of a
//! lapsed segment is taken from anybody any more, so what was voted there needs no memory: nobody can have a majority again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::people::Answer;
use super::{Replica, Segment, Task, index};
use crate::config::Sabotage;
use crate::event::{Notice, Output};
use crate::graph::{Group, TaskIx};
use crate::ids::{DocId, Generation, PeerId, SegmentId, Tag, TaskId};
use crate::lapses::{Lapsed, Lapses};
use crate::settings::Settings;
use crate::task::{TaskState, Work};
use crate::time::{Mono, Wall};

/// So many segments are looked at after each beat.
const LOOKS: usize = 16;
/// Hosts that sit in no committee of a segment state that it is over when this share of the retention, as a divisor, has passed
/// besides: the members may be gone.
const OTHERS_AFTER: u32 = 4;
/// Statements of one host are so far apart, as a divisor of the retention, and never nearer than a second: each is kept for good.
const PACE: u32 = 16;

/// Which segments a replica has dropped.
#[derive(Clone, Debug)]
pub struct Dropped {
    lapses: Lapses,
    here_still: BTreeSet<SegmentId>,
}

impl Dropped {
    /// Says whether a segment was dropped.
    #[must_use]
    pub fn has(&self, id: SegmentId) -> bool {
        self.lapses.has(id) && !self.here_still.contains(&id)
    }
}

impl Replica {
    /// Returns how long what has ended is kept; none: for good.
    #[must_use]
    pub fn retention(&self) -> Option<Duration> {
        self.settings.span(Settings::RETENTION, &self.timing)
    }

    /// Looks at some more segments, states which are over, and drops those that have lapsed.
    pub(super) fn tend_lapses(&mut self) {
        if let Some(retention) = self.retention().filter(|_| !self.stalled) {
            self.look_for_lapses(retention);
            self.state_lapses(retention);
        }
        for id in std::mem::take(&mut self.lapsing) {
            if self.may_drop(id) {
                self.drop_segment(id);
            } else {
                self.lapsing.insert(id);
            }
        }
    }

    fn look_for_lapses(&mut self, retention: Duration) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.looked_at.map_or(Unbounded, Excluded);
        let next = self.segments.range((from, Unbounded)).map(|(id, _)| *id);
        let next: Vec<SegmentId> = next.take(LOOKS).collect();
        self.looked_at = next.last().copied().filter(|_| next.len() == LOOKS);
        for id in next {
            self.end_own(id);
            let sits = id.author == self.me || self.segments[&id].committee.contains(&self.tag);
            let after = match sits {
                true => retention,
                false => retention + retention / OTHERS_AFTER,
            };
            let stated = self.lapses.by(id.author, self.tag);
            if stated.is_some_and(|lapsed| lapsed.need(id.n).is_some()) {
                continue;
            }
            let age = |since: Wall| Duration::from_millis(self.now.wall.0.saturating_sub(since.0));
            if self.over_since(id).is_some_and(|since| age(since) >= after) {
                self.over.insert(id);
            }
        }
    }

    /// Ends an own segment that takes no more tasks: an old one, or one of an earlier start of this node.
    fn end_own(&mut self, id: SegmentId) {
        let segment = &self.segments[&id];
        if id.author != self.me || segment.specs.is_some() || self.live.contains(&id) {
            return;
        }
        if self.has_open(id) {
            return self.close_old_segment();
        }
        self.end_segment(id);
    }

    /// Since when everything in a segment has ended, if it has.
    fn over_since(&self, id: SegmentId) -> Option<Wall> {
        let segment = &self.segments[&id];
        let known = segment.tasks.len() == usize::from(segment.specs?);
        if !known || self.live.contains(&id) || self.contested.contains(&id) {
            return None;
        }
        let mut since = segment.created;
        let mut at = 0;
        while at < segment.tasks.len() {
            let ix = segment.tasks[at]?;
            since = since.max(self.ended_by(ix)?);
            at += self.stands_for(ix) as usize;
        }
        Some(since)
    }

    /// By when a task and all that needs it had ended; none: it has not.
    fn ended_by(&self, ix: TaskIx) -> Option<Wall> {
        let task = self.known(ix);
        let spec = task.spec.as_deref()?;
        let settled = task.state.is_complete() && task.claim.is_none() && self.is_durable(ix);
        let awaited = self.graph.dependents(task.id).iter();
        let awaited = awaited.map(|dependent| self.known(dependent.task).state);
        let goes_with = |group: TaskId| match self.ids.get(&group) {
            Some(group) => self.known(*group).segment == task.segment,
            None => true,
        };
        let alone = task.is_member_of().is_none_or(|of| goes_with(of.group));
        if !settled || !alone || awaited.into_iter().any(|state| !state.is_complete()) {
            return None;
        }
        let mut since = self.last_word(task);
        if matches!(spec.work, Work::Group { .. }) {
            let members = self.graph.group(task.id).into_iter();
            for member in members.flat_map(Group::members) {
                let member = self.known(member);
                if !member.state.is_complete() {
                    return None;
                }
                since = since.max(self.last_word(member));
            }
        }
        Some(since)
    }

    /// When something of a task happened last.
    fn last_word(&self, task: &Task) -> Wall {
        let submitted = task.spec.as_deref().map_or(Wall(0), |spec| spec.created);
        let report = task.complete.as_deref();
        let ended = report.and_then(|outcome| Some(outcome.report.as_ref()?.ended));
        let wish = task.registers.newest_wish();
        let wish = wish.map_or(Wall(0), |stamp| Wall(stamp.wall_ms));
        submitted.max(ended.unwrap_or(Wall(0))).max(wish)
    }

    /// States what was found to be over.
    fn state_lapses(&mut self, retention: Duration) {
        let pace = (retention / PACE).max(Duration::from_secs(1));
        let early = self
            .stated_lapses
            .is_some_and(|at| self.now.mono.since(at) < pace);
        if early || self.over.is_empty() {
            return;
        }
        self.stated_lapses = Some(self.now.mono);
        let mut all = BTreeMap::<PeerId, Lapsed>::new();
        for id in std::mem::take(&mut self.over) {
            let Some(segment) = self.segments.get(&id) else {
                continue;
            };
            // Something may have happened since.
            if self.over_since(id).is_none() {
                continue;
            }
            let need = u8::try_from(segment.committee.len() / 2 + 1).unwrap_or(u8::MAX);
            let need = match self.broken {
                Some(Sabotage::LapsesAlone) => 1,
                Some(_) | None => need,
            };
            let next_task = segment.first + segment.tasks.len() as u64;
            let stated = || {
                let before = self.lapses.by(id.author, self.tag);
                before.cloned().unwrap_or_default()
            };
            let lapsed = all.entry(id.author).or_insert_with(stated);
            if !lapsed.add(id.n, need, next_task) {
                self.counters.lapses_unstated += 1;
            }
        }
        for (author, lapsed) in all {
            self.say_lapsed(author, lapsed);
        }
    }

    fn say_lapsed(&mut self, author: PeerId, lapsed: Lapsed) {
        let staged = self.staged.entry(DocId::Directory).or_default();
        staged.lapsed.insert(author, lapsed.clone());
        let tag = self.tag;
        self.take_lapsed(author, tag, lapsed);
    }

    /// Takes what a host states of an author's segments. Says whether it takes nothing back.
    pub(super) fn take_lapsed(&mut self, author: PeerId, writer: Tag, lapsed: Lapsed) -> bool {
        if author == self.me && writer == self.tag {
            // The numbers of what is dropped are never given again.
            self.next_n = self.next_n.max(lapsed.next_task);
            let after = lapsed.ranges.last().map_or(0, |range| range.until);
            self.ledger.reserve_segments(after);
        }
        if !self.lapses.take(author, writer, lapsed) {
            return false;
        }
        self.lapses_flush = self.flush;
        let first = SegmentId { author, n: 0 };
        let last = SegmentId {
            author,
            n: u32::MAX,
        };
        let held = self.segments.range(first..=last).map(|(id, _)| *id);
        let lapsed = held.filter(|id| self.lapses.has(*id));
        self.lapsing.extend(lapsed.collect::<Vec<_>>());
        true
    }

    /// Everything was taken back from the log: what has lapsed of it is dropped.
    pub(super) fn resume_lapses(&mut self) {
        self.lapses_flush = 0;
        let held = self.segments.keys().copied();
        self.lapsing = held.filter(|id| self.lapses.has(*id)).collect();
    }

    /// Says whether nothing of a document is taken, kept or told any more.
    pub(super) fn has_lapsed(&self, doc: DocId) -> bool {
        match doc {
            DocId::Segment(id) => self.lapses.has(id),
            DocId::Directory | DocId::Presence(_) => false,
        }
    }

    /// Returns which segments were dropped: records of them need not be kept.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped {
            lapses: self.lapses.clone(),
            here_still: self.lapsing.clone(),
        }
    }

    /// Says whether somebody has stated that all around a task is over: it must not be wanted again, or waited for.
    pub(super) fn is_lapsing(&self, id: TaskId) -> bool {
        self.find(id)
            .is_some_and(|ix| self.lapses.is_stated(self.known(ix).segment))
    }

    /// Says whether a lapsed segment can be dropped now: no claim of this node is alive in it, nothing of it is being written, its
    /// groups are gone, and this node's own numbers are safe.
    fn may_drop(&mut self, id: SegmentId) -> bool {
        let Some(segment) = self.segments.get(&id) else {
            return true;
        };
        let tasks: Vec<TaskIx> = segment.tasks.iter().flatten().copied().collect();
        let doc = DocId::Segment(id);
        let flies = self
            .flight
            .as_ref()
            .is_some_and(|flight| flight.touches(doc));
        let awaited = self.unanswered.iter().any(|answer| match &answer.kind {
            Answer::Submitted { written, .. } => written.iter().any(|(of, _)| *of == id),
            Answer::Noted { .. } => false,
        });
        // With less than that on the disk, a segment that is not there would be one that never was.
        let durable = self.lapses_flush <= self.durable;
        if flies || awaited || !durable || self.has_open(id) || self.staged.contains_key(&doc) {
            return false;
        }
        if id.author == self.me && !self.has_stated_own(id) {
            return false;
        }
        tasks.into_iter().all(|ix| {
            let task = self.known(ix);
            let group = task.is_member_of().and_then(|of| self.ids.get(&of.group));
            let stays = group.is_some_and(|group| self.known(*group).segment != id);
            task.claim.is_none() && !stays
        })
    }

    /// Says whether this node has stated itself that an own segment has lapsed, so that its numbers are safe; does so if not.
    fn has_stated_own(&mut self, id: SegmentId) -> bool {
        let stated = self.lapses.by(self.me, self.tag);
        if stated.is_some_and(|lapsed| lapsed.need(id.n).is_some()) {
            return true;
        }
        let mut lapsed = stated.cloned().unwrap_or_default();
        let segment = &self.segments[&id];
        let need = u8::try_from(segment.committee.len() / 2 + 1).unwrap_or(u8::MAX);
        let next_task = segment.first + segment.tasks.len() as u64;
        if !self.stalled && lapsed.add(id.n, need, next_task) {
            self.say_lapsed(self.me, lapsed);
        }
        false
    }

    fn drop_segment(&mut self, id: SegmentId) {
        let Some(segment) = self.segments.remove(&id) else {
            return;
        };
        let tasks: Vec<TaskIx> = segment.tasks.iter().flatten().copied().collect();
        let gone: BTreeSet<TaskIx> = tasks.iter().copied().collect();
        for ix in tasks {
            self.drop_task(ix, &segment);
        }
        for ahead in self.ahead_in_queue.values_mut() {
            ahead.retain(|ix| !gone.contains(ix));
        }
        let doc = DocId::Segment(id);
        self.live.remove(&id);
        self.contested.remove(&id);
        self.unsettled.remove(&id);
        self.answers.forget(id);
        self.left.retain(|(of, _), _| *of != id);
        self.confirmed.retain(|(of, _), _| *of != id);
        self.to_confirm.retain(|(_, of), _| *of != doc);
        self.asked.retain(|(_, of), _| *of != doc);
        self.ledger.drop_document(doc);
        self.counters.segments_dropped += 1;
    }

    fn drop_task(&mut self, ix: TaskIx, segment: &Segment) {
        self.calm_task(ix);
        self.turns.forget(ix);
        self.schedule.withdraw(ix);
        self.forget_activity(ix);
        self.dirty.remove(&ix);
        self.clocked.remove(&ix);
        self.discarded.remove(&ix);
        let sleepers = segment.sleepers.get(&self.known(ix).index);
        let count = sleepers.map_or(1, |count| u32::from(*count));
        let vacant = Task::vacant(self.now.mono);
        let task = std::mem::replace(&mut self.tasks[ix as usize], vacant);
        self.vacant.push(ix);
        self.ids.remove(&task.id);
        self.sleeping.remove(&task.id);
        self.orphaned.extend(task.registers.captured_by(self.tag));
        self.forget_key(&task);
        self.graph.forget(task.id);
        let spec = task.spec.as_deref().into_iter();
        for (dependency, _) in spec.flat_map(|spec| spec.dependencies()) {
            self.graph.depend_no_more(dependency, ix);
        }
        for after in (0..count).filter(|_| task.spec.is_some() && !task.removed) {
            let id = task.id.plus(after);
            let notice = Notice::Sight {
                id,
                label: task.label_of(after),
                removed: true,
            };
            self.outputs.push_back(Output::Notice(notice));
        }
    }

    /// Returns a place for a task: one that was given up, or a new one.
    pub(super) fn vacancy(&mut self) -> TaskIx {
        self.vacant.pop().unwrap_or_else(|| {
            let fresh = index(self.tasks.len());
            self.tasks.push(Task::vacant(self.now.mono));
            fresh
        })
    }
}

impl Task {
    /// What stands where there is no task.
    fn vacant(now: Mono) -> Self {
        let nobody = TaskId { tag: Tag(0), n: 0 };
        let nowhere = SegmentId {
            author: PeerId([0; 32]),
            n: 0,
        };
        Self {
            state: TaskState::Success,
            removed: true,
            ..Self::new(nobody, nowhere, 0, Generation::FIRST, None, now)
        }
    }

    /// Says whether there is no task here.
    pub(super) fn is_vacant(&self) -> bool {
        self.id.n == 0
    }
}
