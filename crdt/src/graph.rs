//! What stands in a task's way: dependencies, and the window of its group. Every event touches only the tasks that it frees.
//!
//! A window of P is kept without any counting across hosts: member i may run once at least i + 1 - P members before it have
//! ended. Ends are stable, so a stale view only waits longer; and if P + 1 members ran at once, the last of them would have
//! started with P of its predecessors still running, which the rule forbids. A member that runs again after it had ended comes
//! after all others that were let: that word of a person is not stable, and a host that has not heard of it may let one too many.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::TaskId;
use crate::task::{Condition, TaskState};

/// A task's handle inside a replica.
pub type TaskIx = u32;

/// The members of one group, in the order of their index.
#[derive(Debug, Default)]
pub struct Group {
    members: BTreeMap<u32, TaskIx>,
    /// Members that stand for themselves and for those after them that sleep: how many they are in all.
    sleepers: BTreeMap<u32, u32>,
    counts: [u32; 11],
    /// Of these: members that were removed.
    removed: [u32; 11],
    /// Members before this index may run, as far as the window goes.
    released: u32,
    ended_before: u32,
    ended: BTreeSet<u32>,
    /// Members that were let and had ended, and are to run again.
    again: BTreeSet<u32>,
    window: u32,
}

impl Group {
    /// Returns how many members are in each state, in the order of [`TaskState::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u32; 11] {
        self.counts
    }

    /// Returns the same without those that were removed.
    #[must_use]
    pub fn shown(&self) -> [u32; 11] {
        let mut shown = self.counts;
        for (count, removed) in shown.iter_mut().zip(self.removed) {
            *count = count.saturating_sub(removed);
        }
        shown
    }

    /// Notes that a member in this state was removed.
    pub fn remove(&mut self, state: TaskState) {
        self.removed[state as usize] += 1;
    }

    /// Notes that a member in this state, which was removed, is to be seen after all.
    pub fn restore(&mut self, state: TaskState) {
        let count = &mut self.removed[state as usize];
        *count = count.saturating_sub(1);
    }

    /// Returns the members in order, without those that sleep.
    pub fn members(&self) -> impl Iterator<Item = TaskIx> + '_ {
        self.members.values().copied()
    }

    /// Returns the member at a place, or the one that stands for it, and how far that is before it.
    #[must_use]
    pub fn member(&self, index: u32) -> Option<(TaskIx, u32)> {
        let (at, task) = self.members.range(..=index).next_back()?;
        let before = index - at;
        (before < self.stands_for(*at)).then_some((*task, before))
    }

    /// Returns the members that stand for others, which sleep.
    pub fn sleepers(&self) -> impl Iterator<Item = TaskIx> + '_ {
        self.sleepers
            .keys()
            .filter_map(|at| self.members.get(at).copied())
    }

    /// For how many the member at a place stands: itself, and those after it that sleep.
    fn stands_for(&self, index: u32) -> u32 {
        self.sleepers.get(&index).copied().unwrap_or(1)
    }

    /// Returns how many members have ended, and how many are known.
    #[must_use]
    pub fn progress(&self) -> (u32, u32) {
        let ended = TaskState::ALL
            .iter()
            .zip(self.counts)
            .filter(|(state, _)| state.is_complete())
            .map(|(_, count)| count)
            .sum();
        (ended, self.counts.iter().sum())
    }

    fn advance(&mut self) -> Vec<TaskIx> {
        let mut freed = Vec::new();
        while self.window == 0 || self.released < self.next_but_for_window() {
            let Some((member, before)) = self.member(self.released) else {
                break;
            };
            // Those that sleep are let when the one that stands for them is.
            if before == 0 {
                freed.push(member);
            }
            let end = self.released - before + self.stands_for(self.released - before);
            let until = match self.window {
                0 => end,
                _ => end.min(self.next_but_for_window()),
            };
            let ended: Vec<u32> = self.ended.range(self.released..until).copied().collect();
            for index in &ended {
                self.ended.remove(index);
                self.ended_before += 1;
            }
            self.released = until;
        }
        freed
    }

    /// The first index that the window does not let run as a first run.
    fn next_but_for_window(&self) -> u32 {
        let again = u32::try_from(self.again.len()).unwrap_or(u32::MAX);
        self.window
            .saturating_add(self.ended_before)
            .saturating_sub(again)
    }

    /// How many of those that run again the window lets.
    fn room_for_again(&self) -> usize {
        let first_runs = self.released - self.ended_before;
        match self.window {
            0 => usize::MAX,
            window => window.saturating_sub(first_runs) as usize,
        }
    }

    /// Adds a member that stands for so many, itself among them. Returns the members that the window lets run now.
    pub fn add(&mut self, index: u32, count: u32, window: u32, task: TaskIx) -> Vec<TaskIx> {
        self.window = window;
        if self.members.insert(index, task).is_none() {
            self.counts[TaskState::Creating as usize] += count;
            if count > 1 {
                self.sleepers.insert(index, count);
            }
        }
        self.advance()
    }

    /// Notes that those for which a member stands are members of their own from now on, in the same state.
    pub fn wake(&mut self, index: u32, others: impl Iterator<Item = TaskIx>) {
        self.sleepers.remove(&index);
        self.members.extend((index + 1..).zip(others));
    }

    /// Notes that a member, and those that sleep for which it stands, went from one state to another. Returns the members that
    /// the window lets run now.
    pub fn moved(&mut self, index: u32, from: TaskState, to: TaskState) -> Vec<TaskIx> {
        let count = self.stands_for(index);
        self.counts[from as usize] = self.counts[from as usize].saturating_sub(count);
        self.counts[to as usize] += count;
        let mut freed = Vec::new();
        if from.is_complete() != to.is_complete() {
            for index in index..index + count {
                freed.extend(self.ended_or_open(index, from, to));
            }
        }
        freed
    }

    fn ended_or_open(&mut self, index: u32, from: TaskState, to: TaskState) -> Vec<TaskIx> {
        if to.is_complete() && !from.is_complete() {
            let ran_again = self.again.remove(&index);
            if !ran_again && index < self.released {
                self.ended_before += 1;
            } else if !ran_again {
                self.ended.insert(index);
            }
            let mut freed = self.advance();
            if self.window > 0 {
                let next = self.again.iter().take(self.room_for_again());
                freed.extend(next.filter_map(|index| self.members.get(index)));
            }
            return freed;
        }
        if from.is_complete() && !to.is_complete() && !self.ended.remove(&index) {
            self.again.insert(index);
        }
        Vec::new()
    }

    /// Says whether the window lets the member at `index` run.
    #[must_use]
    pub fn lets(&self, index: u32) -> bool {
        if self.again.contains(&index) {
            let before = self.again.range(..index);
            return before.take(self.room_for_again()).count() < self.room_for_again();
        }
        index < self.released
    }
}

/// A task that depends on another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dependent {
    /// Which.
    pub task: TaskIx,
    /// What must have become of the other.
    pub condition: Condition,
    /// Whether it has.
    pub met: bool,
}

/// Dependencies and groups of every task. A dependency whose condition was met is kept: what it rests on may run again.
#[derive(Debug, Default)]
pub struct Graph {
    dependents: BTreeMap<TaskId, Vec<Dependent>>,
    groups: BTreeMap<TaskId, Group>,
}

impl Graph {
    /// Notes that a task depends on another.
    pub fn depend(&mut self, dependency: TaskId, dependent: Dependent) {
        let dependents = self.dependents.entry(dependency).or_default();
        dependents.push(dependent);
    }

    /// Says whether a task depends on one of so many, by their ids, from the first on.
    #[must_use]
    pub fn names_one_of(&self, first: TaskId, count: u32) -> bool {
        let beyond = first.plus(count);
        self.dependents.range(first..beyond).next().is_some()
    }

    /// Returns the tasks that depend on another.
    #[must_use]
    pub fn dependents(&self, dependency: TaskId) -> &[Dependent] {
        self.dependents.get(&dependency).map_or(&[], Vec::as_slice)
    }

    /// Forgets what depends on a task, and its members if it is a group.
    pub fn forget(&mut self, id: TaskId) {
        self.dependents.remove(&id);
        self.groups.remove(&id);
    }

    /// Notes that a task depends on another no more: it is forgotten.
    pub fn depend_no_more(&mut self, dependency: TaskId, dependent: TaskIx) {
        if let Some(dependents) = self.dependents.get_mut(&dependency) {
            dependents.retain(|of| of.task != dependent);
            if dependents.is_empty() {
                self.dependents.remove(&dependency);
            }
        }
    }

    /// Returns the tasks that depend on another, for changes.
    pub fn dependents_mut(&mut self, dependency: TaskId) -> &mut [Dependent] {
        let dependents = self.dependents.get_mut(&dependency);
        dependents.map_or(&mut [], Vec::as_mut_slice)
    }

    /// Returns the group with this id.
    #[must_use]
    pub fn group(&self, id: TaskId) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// Returns the group with this id, made if it is new.
    pub fn group_mut(&mut self, id: TaskId) -> &mut Group {
        self.groups.entry(id).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_never_lets_too_many_run() {
        for window in 1..6_u32 {
            let mut group = Group::default();
            let mut running = BTreeSet::new();
            let mut rng = fastrand::Rng::with_seed(u64::from(window));
            let mut freed = 0;
            for index in 0..40 {
                running.extend(group.add(index, 1, window, index));
                assert!(running.len() <= window as usize);
            }
            while !running.is_empty() {
                freed += 1;
                let list: Vec<u32> = running.iter().copied().collect();
                let index = list[rng.usize(..list.len())];
                running.remove(&index);
                running.extend(group.moved(index, TaskState::Creating, TaskState::Success));
                assert!(running.len() <= window as usize);
            }
            assert_eq!((freed, group.progress()), (40, (40, 40)));
        }
    }

    #[test]
    fn a_window_counts_those_that_run_again() {
        let mut group = Group::default();
        for index in 0..6 {
            group.add(index, 1, 2, index);
        }
        let end =
            |group: &mut Group, index| group.moved(index, TaskState::Running, TaskState::Error);
        for index in 0..4 {
            end(&mut group, index);
        }
        assert!(group.lets(5) && group.lets(4));
        for index in [0, 2, 3] {
            group.moved(index, TaskState::Error, TaskState::Pending);
            assert!(!group.lets(index), "two others have not ended");
        }
        assert_eq!(end(&mut group, 4), [0]);
        assert!(group.lets(0) && !group.lets(2));
        assert_eq!(group.add(6, 1, 2, 6), Vec::<TaskIx>::new());
        assert_eq!(end(&mut group, 5), [0, 2]);
        assert!(group.lets(2) && !group.lets(3));
        assert_eq!(end(&mut group, 0), [2, 3]);
        assert_eq!(
            end(&mut group, 2),
            [6, 3],
            "beside one that runs again, one runs first"
        );
        assert!(group.lets(3) && group.lets(6));
        assert_eq!(end(&mut group, 3), Vec::<TaskIx>::new());
    }

    #[test]
    fn members_may_arrive_in_any_order() {
        let mut group = Group::default();
        assert_eq!(group.add(1, 1, 1, 1), Vec::<TaskIx>::new());
        assert_eq!(group.add(0, 1, 1, 0), [0]);
        assert!(group.lets(0) && !group.lets(1));
        assert_eq!(group.moved(0, TaskState::Creating, TaskState::Error), [1]);
    }

    #[test]
    fn those_that_sleep_count_as_if_they_were_awake() {
        for (window, lets) in [(0, 4), (1, 1), (3, 3), (5, 4), (100, 4)] {
            let mut group = Group::default();
            let freed = group.add(0, 4, window, 0);
            assert_eq!(freed, [0]);
            assert_eq!(group.progress(), (0, 4));
            assert_eq!(group.member(3), Some((0, 3)));
            assert_eq!(group.member(4), None);
            let let_in = (0..4).filter(|index| group.lets(*index)).count();
            assert_eq!(let_in, lets, "window {window}");
            group.add(4, 1, window, 9);
            group.moved(0, TaskState::Creating, TaskState::Pending);
            assert_eq!(group.counts()[TaskState::Pending as usize], 4);
            group.wake(0, [1, 2, 3].into_iter());
            assert_eq!(group.members().collect::<Vec<_>>(), [0, 1, 2, 3, 9]);
            let mut running: Vec<u32> = (0..5).filter(|index| group.lets(*index)).collect();
            while let Some(index) = running.pop() {
                let freed = group.moved(index, TaskState::Pending, TaskState::Success);
                running.extend(freed.iter().map(|ix| if *ix == 9 { 4 } else { *ix }));
            }
            assert_eq!(group.progress().0, 5, "window {window}");
        }
    }

    #[test]
    fn those_that_sleep_may_all_end_at_once() {
        let mut group = Group::default();
        group.add(0, 3, 1, 0);
        group.add(3, 1, 1, 3);
        group.moved(0, TaskState::Creating, TaskState::Blocked);
        let freed = group.moved(0, TaskState::Blocked, TaskState::Cancelled);
        assert_eq!(freed, [3]);
        assert!(group.lets(3));
        assert_eq!(group.progress(), (3, 4));
    }
}
