//! `aque retry`: tasks that have ended run again; of those that wait for a lost host a person says that their run is dead.

use std::collections::BTreeSet;

use crdt::ids::{Epoch, TaskId};
use crdt::task::{OnLost, TaskState, TaskView, Wish, Work};

use super::answers::LOOK;
use super::node::Node;
use crate::api::answers::Answers;
use crate::api::rights::Caller;
use crate::api::wire::FailureKind;

/// Which of the tasks named are meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) failed: bool,
    pub(super) succeeded: bool,
    pub(super) recursive: bool,
    pub(super) all_users: bool,
}

impl Wanted {
    fn means(self, state: TaskState) -> bool {
        match state {
            TaskState::Success => self.succeeded,
            TaskState::Error | TaskState::Lost => true,
            TaskState::Killed | TaskState::Cancelled => !self.failed,
            TaskState::Creating
            | TaskState::Pending
            | TaskState::Blocked
            | TaskState::Held
            | TaskState::Claimed
            | TaskState::Running => false,
        }
    }
}

impl Node {
    pub(super) fn retry(
        &mut self,
        named: Vec<TaskId>,
        wanted: Wanted,
        caller: &Caller,
        answers: Answers,
    ) {
        let views = self.meant_again(&named, wanted, caller);
        let again: Vec<TaskId> = views
            .iter()
            .filter(|view| view.outcome.is_some() && wanted.means(view.state))
            .map(|view| view.id)
            .collect();
        if !again.is_empty() {
            // The replica puts in what counts no more.
            let wish = Wish::Again {
                void: Vec::new(),
                tries: 0,
                losses: 0,
            };
            return self.want(again, caller, wish, answers);
        }
        if named.is_empty() {
            let what = "none of your tasks has failed";
            return answers.fail(FailureKind::Request, what, LOOK);
        }
        if let Some((why, hint)) = views.iter().find_map(|view| self.why_not_again(view)) {
            return answers.fail(FailureKind::Request, why, Some(hint));
        }
        // The replica puts in the epoch.
        let wish = Wish::Retry { lost: Epoch::NONE };
        self.want(named, caller, wish, answers);
    }

    /// The tasks that may be meant: those named, the members of groups, and what stands behind them; or all of a person.
    fn meant_again(&self, named: &[TaskId], wanted: Wanted, caller: &Caller) -> Vec<TaskView> {
        let view = |id: &TaskId| self.replica.task(*id);
        if named.is_empty() {
            let all = self.replica.task_ids().filter_map(|id| view(&id));
            let own = |of: &TaskView| {
                let user = &of.spec.user;
                *user == caller.user || wanted.all_users && caller.may_touch(user)
            };
            return all.filter(own).collect();
        }
        let mut ids: BTreeSet<TaskId> = named.iter().copied().collect();
        if wanted.recursive {
            ids.extend(self.replica.behind(named));
        }
        for id in named {
            ids.extend(self.replica.tasks_of_group(*id));
        }
        // What belongs to others stays as it is.
        let ids = self.own_of(ids.into_iter().collect(), caller);
        let views = ids.iter().filter_map(view);
        let runs = |of: &TaskView| !matches!(of.spec.work, Work::Group { .. });
        views.filter(runs).collect()
    }

    /// Says why a task cannot run again, and what to do; nothing if a person's word that its run is dead is what it waits for.
    fn why_not_again(&self, view: &TaskView) -> Option<(String, &'static str)> {
        const OTHERS: &str =
            "'aque show ID' tells the claims of a task, 'aque nodes' which hosts are heard of";
        let id = view.id;
        if view.state == TaskState::Success {
            return Some((
                format!("{id} has succeeded"),
                "-s runs also what has succeeded again",
            ));
        }
        if view.state.is_complete() {
            let why = view.reason.as_deref().unwrap_or("not started");
            return Some((
                format!("{id} never ran ({why})"),
                "retry what it waited for: it follows by itself",
            ));
        }
        if view.spec.on_lost != OnLost::Wait {
            return Some((
                format!(
                    "{id} is {}: it has not ended, and does not wait for a lost host (--on-lost wait)",
                    view.state
                ),
                OTHERS,
            ));
        }
        let claimed = matches!(view.state, TaskState::Running | TaskState::Claimed);
        let Some(host) = view.host.filter(|_| claimed) else {
            return Some((format!("{id} is {}: no host has it", view.state), OTHERS));
        };
        let members = self.replica.members();
        let member = members.iter().find(|member| member.peer == host)?;
        member.alive.then(|| {
            let why = format!(
                "{id} runs on {}, which is alive; end it with 'aque kill {id}' if it must end",
                member.name
            );
            (why, OTHERS)
        })
    }
}
