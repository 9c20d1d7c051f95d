//! `aque edit`: tasks that have not started are to be otherwise than they were submitted.

use std::collections::BTreeSet;

use crdt::event::Input;
use crdt::ids::TaskId;
use crdt::replica::Glance;
use crdt::task::{TaskState, Wish, Work};

use super::answers::Pending;
use super::node::Node;
use crate::api::answers::Answers;
use crate::api::life::edits;
use crate::api::lines::Lines;
use crate::api::rights::Caller;
use crate::api::wire::{Body, EditWords, FailureKind, Noted};

impl Node {
    pub(super) fn edit(
        &mut self,
        named: &[TaskId],
        words: EditWords,
        caller: &Caller,
        answers: Answers,
    ) {
        let edits = edits(words);
        if edits.is_empty() {
            let hint = Some("see 'aque edit --help'");
            return answers.fail(FailureKind::Request, "there is nothing to be edited", hint);
        }
        let mut ids: BTreeSet<TaskId> = named.iter().copied().collect();
        for id in named {
            ids.extend(self.replica.tasks_of_group(*id));
        }
        // What belongs to others stays as it is.
        let ids = self.own_of(ids.into_iter().collect(), caller);
        let meant = ids.iter().filter_map(|id| self.replica.glance(*id));
        let (open, late): (Vec<Glance<'_>>, Vec<Glance<'_>>) = meant.partition(may_be_edited);
        let lines = Lines::of(&self.replica);
        let tasks: Vec<TaskId> = open.iter().map(Glance::id).collect();
        let noted = Noted {
            ended: late.iter().map(|task| lines.line(task)).collect(),
            asked: open.iter().filter(|task| !is_group(task)).count() as u64,
        };
        drop(lines);
        // A group is edited beside its members, not without any.
        if noted.asked == 0 {
            return answers.end(Body::Noted(noted));
        }
        if let Some(token) = self.expect_reply(Pending::Noted { answers, noted }) {
            self.feed(Input::Control {
                token,
                tasks,
                by: caller.user.clone(),
                wish: Wish::Edit(Box::new(edits)),
            });
        }
    }
}

fn is_group(task: &Glance<'_>) -> bool {
    matches!(task.spec().work, Work::Group { .. })
}

fn may_be_edited(task: &Glance<'_>) -> bool {
    let begun = matches!(task.state(), TaskState::Claimed | TaskState::Running);
    !task.state().is_complete() && (is_group(task) || !begun)
}
