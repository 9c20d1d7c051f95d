//! Tasks that have ended and that nobody is to see any more, because a person removed them.
//!
//! The word names the outcomes with which a task had ended, as the word that it runs again does, and it holds as long as the task
//! stands as ended with one of them. So it means what the person saw: a task that another wanted again before they heard of each other
//! is there again, with what it comes to then, on every host. Nothing that bids, votes or counts reads it: a task that was removed keeps
//! its registers, its place in its group and its id, and what depends on it goes by its end.

use std::collections::BTreeSet;

use super::{Replica, Task};
use crate::event::{Notice, Output};
use crate::graph::TaskIx;
use crate::ids::{Digest, TaskId};
use crate::task::{TaskState, Work};
use crate::terms::Terms;

impl Replica {
    /// Says whether a task is known here and was removed.
    #[must_use]
    pub fn is_removed(&self, id: TaskId) -> bool {
        self.find(id).is_some_and(|ix| self.known(ix).removed)
    }

    /// Says whether a person may name a task: it is known, and was not removed.
    pub(super) fn is_shown(&self, id: TaskId) -> bool {
        self.find(id).is_some_and(|ix| !self.known(ix).removed)
    }

    /// Says whether a task has ended for all that is known here: with an outcome that is committed, for want of a dependency, or as a
    /// group all of whose members have.
    pub(super) fn may_be_removed(&self, ix: TaskIx) -> bool {
        let task = self.known(ix);
        task.state.is_complete() && task.claim.is_none()
    }

    fn stands_removed(&self, ix: TaskIx) -> bool {
        let task = self.known(ix);
        let Some(spec) = task.spec.as_deref().filter(|_| self.may_be_removed(ix)) else {
            return false;
        };
        let registers = &task.registers;
        if matches!(spec.work, Work::Group { .. }) {
            // With its last member it goes without a word.
            let members = self.graph.group(task.id);
            let empty = members.is_none_or(|group| group.members().next().is_none());
            let left = members.is_some_and(|group| group.shown() != [0; 11]);
            return !left && (!empty || registers.is_removed_as(None));
        }
        let Some(outcome) = &task.complete else {
            return registers.is_removed_as(None);
        };
        let any = self.terms(ix) == Terms::Anywhere;
        let mut endings = registers.endings();
        registers.is_removed_as(Some(outcome.digest()))
            || any && endings.any(|(_, ending)| registers.is_removed_as(Some(ending.digest)))
    }

    /// Notes whether a task is to be seen.
    pub(super) fn note_removal(&mut self, ix: TaskIx) {
        let removed = self.stands_removed(ix);
        if self.known(ix).removed == removed {
            return;
        }
        if !removed {
            return self.restore(ix, self.known(ix).state);
        }
        let task = &mut self.tasks[ix as usize];
        task.removed = true;
        self.discarded.insert(ix);
        let (state, member) = (task.state, task.is_member_of());
        if let Some(member) = member {
            self.graph.group_mut(member.group).remove(state);
            self.dirty.extend(self.ids.get(&member.group));
        }
        self.tell_sight(ix);
    }

    fn tell_sight(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        let (id, label, removed) = (task.id, task.label(), task.removed);
        self.note_sight_of_key(ix);
        let notice = Notice::Sight { id, label, removed };
        self.outputs.push_back(Output::Notice(notice));
    }

    /// Lets a task be seen that was removed in this state, if it was.
    pub(super) fn restore(&mut self, ix: TaskIx, state: TaskState) {
        let task = &mut self.tasks[ix as usize];
        if !std::mem::take(&mut task.removed) {
            return;
        }
        self.discarded.remove(&ix);
        if let Some(member) = task.is_member_of() {
            self.graph.group_mut(member.group).restore(state);
            self.dirty.extend(self.ids.get(&member.group));
        }
        self.tell_sight(ix);
    }

    /// Returns the outputs that were captured here of tasks which were removed or dropped since this was asked last, or are at the start, and that
    /// no other task has. Those that a task yet reads are told once it has ended. Looks at every task once if there are some.
    pub fn take_discarded(&mut self) -> Vec<Digest> {
        if self.discarded.is_empty() && self.orphaned.is_empty() {
            return Vec::new();
        }
        let open = self.tasks.iter().filter(|task| !task.state.is_complete());
        let read = open.filter_map(|task| task.spec.as_ref()?.options.pipe_from);
        let read: BTreeSet<TaskId> = read.collect();
        let is_read = |ix: &TaskIx| read.contains(&self.known(*ix).id);
        let (later, now): (BTreeSet<TaskIx>, BTreeSet<TaskIx>) =
            self.discarded.iter().partition(|ix| is_read(ix));
        let captured = |task: &Task| task.registers.captured_by(self.tag).collect::<Vec<_>>();
        let gone = now.iter().flat_map(|ix| captured(self.known(*ix)));
        let mut outputs: BTreeSet<Digest> = gone.collect();
        outputs.append(&mut self.orphaned);
        if !outputs.is_empty() {
            let kept = later.iter().map(|ix| self.known(*ix));
            let shown = self.tasks.iter().filter(|task| !task.removed);
            for output in shown.chain(kept).flat_map(captured) {
                outputs.remove(&output);
            }
        }
        self.discarded = later;
        outputs.into_iter().collect()
    }
}
