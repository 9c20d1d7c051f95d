//! Elements of an array that nothing has happened to: they sleep, and the first of them stands for all.
//!
//! A record of an array is a spec and a count. Of its elements only the first is made a task at once; the others, up to a segment of
//! them, cost a place in their segment and nothing else. What happens to all of them alike (a dependency that ends, a time that
//! comes, a queue that is paused) happens to the first, and its state is theirs. They wake, all of a record, before anything happens
//! to one of them alone: a bid, a vote, a person's wish, another task that names one of them. So whatever writes or folds a register
//! never meets a sleeper, and the protocol knows nothing of them. Whoever looks at one sees the first, as [`super::Glance`] does.

use std::sync::Arc;

use super::{Replica, Task};
use crate::graph::{Group, TaskIx};
use crate::ids::{DocId, SegmentId, TaskId};
use crate::registers::Registers;
use crate::task::TaskSpec;

impl Replica {
    /// Returns the task with this id, or the one that stands for it: what is true of all of them is true of that.
    pub(super) fn find(&self, id: TaskId) -> Option<TaskIx> {
        self.find_from(id).map(|(ix, _)| ix)
    }

    /// The same, and how far that stands before it.
    pub(super) fn find_from(&self, id: TaskId) -> Option<(TaskIx, u32)> {
        if let Some(ix) = self.ids.get(&id) {
            return Some((*ix, 0));
        }
        let of_peer = TaskId { n: 0, ..id }..=id;
        let (first, ix) = self.sleeping.range(of_peer).next_back()?;
        let after = u32::try_from(id.n - first.n).ok()?;
        (after < self.stands_for(*ix)).then_some((*ix, after))
    }

    /// For how many a task stands: itself, and those after it that sleep.
    pub(super) fn stands_for(&self, ix: TaskIx) -> u32 {
        let task = self.known(ix);
        let sleepers = self.segments[&task.segment].sleepers.get(&task.index);
        sleepers.map_or(1, |count| u32::from(*count))
    }

    /// Says whether elements that a spec stands for, from this place of a segment on, may sleep: nothing of them was heard of.
    pub(super) fn may_sleep(&self, id: SegmentId, place: u16, spec: &TaskSpec) -> bool {
        let segment = &self.segments[&id];
        let count = spec.places();
        let places = usize::from(place)..usize::from(place) + count as usize;
        let known = segment.tasks.get(places.start..).unwrap_or_default();
        let first = TaskId {
            tag: id.author.tag(),
            n: segment.first + u64::from(place),
        };
        let named = self.graph.names_one_of(first, count);
        count > 1 && !named && known.iter().take(places.len()).all(Option::is_none)
    }

    /// Lets all elements but the first of a record sleep; that was just made a task.
    pub(super) fn put_to_sleep(&mut self, first: TaskIx, count: u32) {
        let Task {
            id, segment, index, ..
        } = *self.known(first);
        let count = u16::try_from(count).expect("a spec has no more places than a segment");
        let segment = self
            .segments
            .get_mut(&segment)
            .expect("a task's segment is known");
        segment.sleepers.insert(index, count);
        let places = usize::from(index) + usize::from(count);
        let known = segment.tasks.len().max(places);
        segment.tasks.resize(known, None);
        self.sleeping.insert(id, first);
    }

    /// Wakes those for which a task stands, before something happens to it alone.
    pub(super) fn wake_those_behind(&mut self, first: TaskIx) {
        let (id, segment, place) = {
            let task = self.known(first);
            (task.id, task.segment, task.index)
        };
        let known = self
            .segments
            .get_mut(&segment)
            .expect("a task's segment is known");
        let Some(count) = known.sleepers.remove(&place) else {
            return;
        };
        self.sleeping.remove(&id);
        let generation = known.generation;
        let others: Vec<TaskIx> = (1..count).map(|_| self.vacancy()).collect();
        let slots = self
            .segments
            .get_mut(&segment)
            .map(|known| &mut known.tasks[usize::from(place) + 1..]);
        for (slot, ix) in slots.into_iter().flatten().zip(&others) {
            *slot = Some(*ix);
        }
        self.counters.woken += u64::from(count) - 1;
        let spec = self
            .known(first)
            .spec
            .clone()
            .expect("who stands for others has its spec");
        for (offset, ix) in (1..).zip(others.iter().copied()) {
            let of = self.known(first);
            let woken = Task {
                id: id.plus(offset),
                index: place + u16::try_from(offset).expect("below the count"),
                spec: Some(Arc::clone(&spec)),
                offset,
                registers: Registers::begin(generation, self.broken),
                state: of.state,
                reason: of.reason.clone(),
                staged: of.staged,
                ..Task::new(
                    of.id,
                    segment,
                    place,
                    generation,
                    self.broken,
                    self.now.mono,
                )
            };
            let woken = Task {
                changed: of.changed,
                line: (of.line.0, offset),
                ..woken
            };
            self.ids.insert(woken.id, ix);
            self.tasks[ix as usize] = woken;
            self.link(ix, &spec);
            self.dirty.insert(ix);
        }
        if let Some(member) = self.known(first).is_member_of() {
            self.graph
                .group_mut(member.group)
                .wake(member.index, others.iter().copied());
        }
        self.mind_disk(first, &others);
        self.dirty.insert(first);
    }

    /// Those that wake before their record is durable wait for that as the first does.
    fn mind_disk(&mut self, first: TaskIx, woken: &[TaskIx]) {
        let task = self.known(first);
        let (staged, doc) = (task.staged, DocId::Segment(task.segment));
        if staged == self.flush {
            self.staged.entry(doc).or_default().tasks.extend(woken);
        } else if let Some(flight) = self.flight.as_mut().filter(|_| staged > self.durable) {
            flight.tasks.extend(woken);
        }
    }

    /// Wakes those among which a task is, if it sleeps.
    pub(super) fn wake_one(&mut self, id: TaskId) {
        if let Some(first) = self.find(id) {
            self.wake_those_behind(first);
        }
    }

    /// Wakes all that sleep in a group.
    pub(super) fn wake_group(&mut self, id: TaskId) {
        let sleepers = self.graph.group(id).into_iter().flat_map(Group::sleepers);
        for first in sleepers.collect::<Vec<_>>() {
            self.wake_those_behind(first);
        }
    }

    /// Wakes all that sleep in a segment.
    pub(super) fn wake_segment(&mut self, id: SegmentId) {
        let Some(segment) = self.segments.get(&id) else {
            return;
        };
        let slots = segment
            .sleepers
            .keys()
            .map(|place| segment.tasks[usize::from(*place)]);
        for first in slots.flatten().collect::<Vec<_>>() {
            self.wake_those_behind(first);
        }
    }

    /// Wakes the sleepers of a place of a segment.
    pub(super) fn wake_place(&mut self, id: SegmentId, place: u16) {
        let Some(segment) = self.segments.get(&id) else {
            return;
        };
        let Some((first, count)) = segment.sleepers.range(..=place).next_back() else {
            return;
        };
        if place - first < *count
            && let Some(first) = segment.tasks[usize::from(*first)]
        {
            self.wake_those_behind(first);
        }
    }
}
