//! What a task is to be: its spec, and what people stated of it otherwise as long as it had not started.
//!
//! Here alone both come together: everything else reads [`Task::spec`], which is what they come to. Claims stay sound, since none of
//! their rules reads what can be edited: a host that has not heard of an edit starts by the old values, and one that has gives up its
//! own claim that has not started and bids by the new ones. What runs goes on as it began; its next run is by the new values.
//!
//! [`Task::spec`]: super::Task

use std::sync::Arc;

use super::Replica;
use crate::claim::Phase;
use crate::event::{Notice, Output, Refusal};
use crate::graph::TaskIx;
use crate::task::{Edits, TaskSpec, TaskState};

/// The edit that was applied last: many tasks that share a spec are edited alike, and go on sharing one.
#[derive(Debug)]
pub(super) struct Edited {
    stated: Arc<TaskSpec>,
    edits: Edits,
    spec: Arc<TaskSpec>,
}

impl Replica {
    /// Says whether a task may still be edited: it has not ended, and no host has it.
    pub(super) fn may_be_edited(&self, ix: TaskIx) -> bool {
        match self.known(ix).state {
            TaskState::Creating | TaskState::Pending | TaskState::Blocked | TaskState::Held => true,
            TaskState::Claimed | TaskState::Running => self.known(ix).is_group(),
            TaskState::Success
            | TaskState::Error
            | TaskState::Killed
            | TaskState::Cancelled
            | TaskState::Lost => false,
        }
    }

    /// Returns all that a task is to be otherwise, once it is edited so.
    pub(super) fn edits_with(&self, ix: TaskIx, edits: &Edits) -> Edits {
        match self.known(ix).registers.edits() {
            Some((earlier, _)) => edits.clone().over(earlier),
            None => edits.clone(),
        }
    }

    /// Says why a task cannot be edited so, if it cannot.
    pub(super) fn edit_problem(&self, ix: TaskIx, edits: &Edits) -> Option<Refusal> {
        let all = self.edits_with(ix, edits);
        let spec = self.known(ix).spec.as_deref();
        let why = match spec {
            _ if !all.fits() => Some("what is edited is longer than 16 KiB"),
            Some(spec) => super::people::needs_problem(&all.applied(spec)),
            None => None,
        };
        why.map(|why| Refusal::Edit(format!("{}: {why}", self.known(ix).id)))
    }

    /// Lets a task be what was stated of it at its submission and edited since.
    pub(super) fn respec(&mut self, ix: TaskIx) {
        let task = self.known(ix);
        let stated = task.stated.as_ref().or(task.spec.as_ref()).cloned();
        let (Some(stated), Some((edits, by))) = (stated, task.registers.edits()) else {
            return;
        };
        let by = by.to_owned();
        let alike = |last: &&Edited| Arc::ptr_eq(&last.stated, &stated) && last.edits == *edits;
        let spec = match self.edited.as_ref().filter(alike) {
            Some(last) => Arc::clone(&last.spec),
            None => {
                let spec = Arc::new(edits.applied(&stated));
                let edits = edits.clone();
                let (stated, edited) = (Arc::clone(&stated), Arc::clone(&spec));
                self.edited = Some(Edited {
                    stated,
                    edits,
                    spec: edited,
                });
                spec
            }
        };
        if self.known(ix).spec.as_deref() == Some(&*spec) {
            return;
        }
        let waits = |phase| matches!(phase, Phase::Bidding | Phase::Held);
        if self.known(ix).claim.is_some_and(|claim| waits(claim.phase)) {
            self.give_up(ix);
        }
        self.forget_activity(ix);
        let task = &mut self.tasks[ix as usize];
        let alike = task
            .spec
            .as_deref()
            .is_some_and(|old| is_asked_alike(old, &spec));
        task.stated = Some(stated);
        task.spec = Some(spec);
        let (id, label) = (task.id, task.label());
        let edited = Notice::Edited { id, label, by };
        self.outputs.push_back(Output::Notice(edited));
        self.note_activity(ix);
        match alike {
            true => _ = self.dirty.insert(ix),
            // Other hosts may want it now: they go in turn.
            false => self.free(&[ix]),
        }
    }
}

/// Says whether two specs ask the same of hosts and queues.
fn is_asked_alike(one: &TaskSpec, other: &TaskSpec) -> bool {
    let one = TaskSpec {
        name: other.name.clone(),
        priority: other.priority,
        ..one.clone()
    };
    one == *other
}
