//! Submissions with a key: what a person submits again under the same key is the same task, so that a script that does not know
//! whether it was heard may ask again.
//!
//! A key belongs to who submits. K1: a host that knows a task of that person and key answers with that one and takes nothing more.
//! K2: where two hosts took one key before they heard of each other, the first counts, by the instant of its submission and then by
//! its id, an order that never changes; the others start no more and end as cancelled, `superseded by` it, by the way by which what a
//! person cancels ends. What runs by then, runs on. A task that was removed, or ended for another of its key, has the key no more:
//! so of those of a key one always counts, and it ends by itself.

use super::people::Answer;
use super::{Replica, Task};
use crate::event::{Durability, NewTask, Token};
use crate::graph::{Group, TaskIx};
use crate::ids::TaskId;
use crate::task::{TaskSpec, Verdict, Work};
use crate::time::Wall;

/// Who submits, and their key.
pub(super) type Owned = (String, String);
/// By which those of a key are ordered: the first counts.
pub(super) type Age = (Wall, TaskId);

/// How the reason begins of what was cancelled for another of its key.
const SUPERSEDED: &str = "superseded by ";

impl TaskSpec {
    /// Who submitted it, and the key of the submission if it has one.
    fn key(&self) -> Option<Owned> {
        let options = &self.options;
        let who = match options.submitter.as_str() {
            "" => &self.user,
            submitter => submitter,
        };
        (!options.key.is_empty()).then(|| (who.to_owned(), options.key.clone()))
    }
}

/// Says what is wrong with the keys of a submission, and where.
pub(super) fn key_problem(tasks: &[NewTask]) -> Option<(usize, &'static str)> {
    const LONGEST: usize = 256;
    let keyed = |(place, task): (usize, &NewTask)| {
        let key = &task.spec.options.key;
        (!key.is_empty()).then_some((place, key.len()))
    };
    let (place, length) = tasks.iter().enumerate().find_map(keyed)?;
    let others = tasks.iter().skip(1);
    let whole = place == 0 && others.clone().all(|task| task.spec.options.key.is_empty());
    let own = |task: &NewTask| task.links.group == Some(0);
    if !whole || !others.into_iter().all(own) || tasks[0].spec.options.elements.is_some() {
        return Some((
            place,
            "a key is for one task, or for a group with its members",
        ));
    }
    if tasks[0].spec.member_of.is_some() {
        return Some((place, "a member of a group has no key of its own"));
    }
    (length > LONGEST).then_some((place, "its key is longer than 256 bytes"))
}

impl Replica {
    /// K1: answers a submission whose key has a task already with that one. Says whether it did.
    pub(super) fn answer_by_key(
        &mut self,
        token: Token,
        tasks: &[NewTask],
        durable: Durability,
    ) -> bool {
        let key = tasks.first().and_then(|task| task.spec.key());
        let Some(ix) = key.and_then(|key| self.task_of_key(&key)) else {
            return false;
        };
        let task = self.known(ix);
        // What another host took was made durable by that host, or will be.
        let written = (task.id.tag == self.tag)
            .then(|| (task.segment, self.count_with_staged(task.segment)))
            .into_iter()
            .collect();
        let answer = Answer::Submitted {
            ids: vec![task.id],
            written,
            durable,
            known: true,
        };
        self.counters.submitted_again += 1;
        self.await_answer(token, answer);
        self.answer_submissions();
        true
    }

    /// The task that counts of those of a key.
    fn task_of_key(&self, key: &Owned) -> Option<TaskIx> {
        let mut those = self.keyed.get(key)?.iter();
        those.find_map(|(_, id)| self.counting(*id))
    }

    /// A task that has its key still.
    fn counting(&self, id: TaskId) -> Option<TaskIx> {
        let ix = *self.ids.get(&id)?;
        let task = self.known(ix);
        let is_group = matches!(task.spec.as_deref()?.work, Work::Group { .. });
        let superseded = if is_group {
            self.is_group_superseded(id)
        } else {
            self.is_superseded(ix)
        };
        (!task.removed && !superseded).then_some(ix)
    }

    /// Notes the key of a task that became known, and lets those of the same key look at each other.
    pub(super) fn note_key(&mut self, id: TaskId, spec: &TaskSpec) {
        let Some(key) = spec.key() else { return };
        let those = self.keyed.entry(key.clone()).or_default();
        those.insert((spec.created, id));
        if those.len() > 1 {
            self.touch_key(&key);
        }
    }

    /// Lets the tasks of a key, and the members of its groups, look at each other again.
    fn touch_key(&mut self, key: &Owned) {
        let those = self.keyed.get(key).into_iter().flatten();
        for (_, id) in those {
            self.dirty.extend(self.ids.get(id));
            let members = self.graph.group(*id).into_iter();
            self.dirty.extend(members.flat_map(Group::members));
        }
    }

    /// Notes that a task is known no more.
    pub(super) fn forget_key(&mut self, task: &Task) {
        let spec = task.spec.as_deref();
        let Some((key, created)) = spec.and_then(|spec| Some((spec.key()?, spec.created))) else {
            return;
        };
        if let Some(those) = self.keyed.get_mut(&key) {
            those.remove(&(created, task.id));
            if those.is_empty() {
                self.keyed.remove(&key);
            }
        }
    }

    /// Notes that a task is to be seen no more, or again: another of its key may count now.
    pub(super) fn note_sight_of_key(&mut self, ix: TaskIx) {
        let spec = self.known(ix).spec.as_deref();
        if let Some(key) = spec.and_then(TaskSpec::key) {
            self.touch_key(&key);
        }
    }

    /// K2: the task of the same key that counts instead of this one, or of its group's.
    pub(super) fn superseded_by(&self, ix: TaskIx) -> Option<TaskId> {
        if self.keyed.is_empty() {
            return None;
        }
        let task = self.known(ix);
        let group = task.is_member_of().map(|member| member.group);
        let keyed = match group {
            Some(group) => self.known(*self.ids.get(&group)?),
            None => task,
        };
        let spec = keyed.spec.as_deref()?;
        let those = self.keyed.get(&spec.key()?)?;
        let own: Age = (spec.created, keyed.id);
        let mut before = those.range(..own).map(|(_, id)| *id);
        before.find(|id| self.counting(*id).is_some())
    }

    /// Why a task that is superseded ends.
    pub(super) fn superseded(&self, ix: TaskIx) -> Option<String> {
        let by = self.superseded_by(ix)?;
        Some(format!("{SUPERSEDED}{by}"))
    }

    /// Says whether a task was cancelled because another of its key counts.
    fn is_superseded(&self, ix: TaskIx) -> bool {
        let outcome = self.known(ix).complete.as_deref();
        outcome.is_some_and(|outcome| {
            let reason = outcome.reason.as_deref();
            outcome.verdict == Verdict::Cancelled
                && reason.is_some_and(|reason| reason.starts_with(SUPERSEDED))
        })
    }

    /// Says whether all of a group was.
    fn is_group_superseded(&self, id: TaskId) -> bool {
        let group = self.graph.group(id).into_iter();
        let mut members = group.flat_map(Group::members).peekable();
        members.peek().is_some() && members.all(|ix| self.is_superseded(ix))
    }
}
