//! `aque rm`: tasks that have ended are shown no more, and what they printed here is deleted.

use std::collections::BTreeSet;

use crdt::event::Input;
use crdt::ids::{Digest, TaskId};
use crdt::replica::Glance;
use crdt::task::{Wish, Work};
use tracing::{debug, warn};

use super::answers::Pending;
use super::node::Node;
use crate::api::answers::Answers;
use crate::api::lines::Lines;
use crate::api::rights::Caller;
use crate::api::wire::{Body, Noted};
use crate::outputs;

/// The tasks of which those are removed that have ended.
#[derive(Clone, Debug)]
pub(super) enum Among {
    /// These, and of groups their members.
    Named(Vec<TaskId>),
    /// All of the caller's.
    Own,
    /// All that are the caller's to remove.
    All,
}

impl Node {
    pub(super) fn remove(&mut self, among: &Among, caller: &Caller, answers: Answers) {
        let meant = self.meant_to_go(among, caller);
        let ended = |task: &&Glance<'_>| task.state().is_complete() && self.goes_by_itself(task);
        let tasks: Vec<TaskId> = meant.iter().filter(ended).map(Glance::id).collect();
        let lines = Lines::of(&self.replica);
        // What nobody named apart is passed over.
        let named = |task: &&Glance<'_>| match among {
            Among::Named(ids) => ids.contains(&task.id()),
            Among::Own | Among::All => false,
        };
        let open = meant.iter().filter(|task| !task.state().is_complete());
        let noted = Noted {
            ended: open.filter(named).map(|task| lines.line(task)).collect(),
            asked: tasks.len() as u64,
        };
        drop(lines);
        if tasks.is_empty() {
            return answers.end(Body::Noted(noted));
        }
        if let Some(token) = self.expect_reply(Pending::Noted { answers, noted }) {
            // The replica puts in what they ended as.
            let wish = Wish::Remove { ended: Vec::new() };
            self.feed(Input::Control {
                token,
                tasks,
                by: caller.user.clone(),
                wish,
            });
        }
    }

    /// A group goes with the last of its members; one that has none by itself.
    fn goes_by_itself(&self, task: &Glance<'_>) -> bool {
        let is_group = matches!(task.spec().work, Work::Group { .. });
        !is_group || self.replica.tasks_of_group(task.id()).is_empty()
    }

    /// The tasks that may be meant, in order.
    fn meant_to_go(&self, among: &Among, caller: &Caller) -> Vec<Glance<'_>> {
        let glances = self.replica.glances();
        let may = |task: &Glance<'_>| caller.may_touch(&task.spec().user);
        match among {
            Among::All => glances.filter(may).collect(),
            Among::Own => glances
                .filter(|task| task.spec().user == caller.user)
                .collect(),
            Among::Named(named) => {
                let members = named.iter().flat_map(|id| self.replica.tasks_of_group(*id));
                let ids: BTreeSet<TaskId> = named.iter().copied().chain(members).collect();
                let glances = ids.into_iter().map(|id| self.replica.glance(id));
                glances.flatten().filter(may).collect()
            }
        }
    }

    /// Deletes what was captured here of tasks that were removed, off the loop.
    pub(super) fn discard_outputs(&mut self) {
        let discarded = self.replica.take_discarded();
        if discarded.is_empty() {
            return;
        }
        let outputs = self.outputs.clone();
        tokio::task::spawn_blocking(move || {
            for Digest(digest) in &discarded {
                if let Err(problem) = outputs.remove(outputs::Digest(*digest)) {
                    warn!(%problem, "what a removed task wrote stays on the disk");
                }
            }
            debug!(
                outputs = discarded.len(),
                "outputs of removed tasks deleted"
            );
        });
    }
}
