//! As whom runs are started.
//!
//! Whoever submitted a task was known to the kernel of that host; the name came here in a change that the host has signed. Here it is
//! looked up anew (by the guard's launcher), and what it allows is decided anew, for the settings of the mesh may have changed since the
//! replica claimed the task.

use crdt::event::StartOrder;
use crdt::fit::{ROOT, RunsAs};
use crdt::settings::RootTasks;

use super::node::Node;
use crate::guard::{Latitude, Person, RunKey, Surroundings};

impl Node {
    /// Says why a task's user is not one as whom this host starts runs, if so.
    pub(super) fn may_run(&self, order: &StartOrder) -> Result<(), String> {
        let (user, group) = (&order.spec.user, &order.spec.options.as_group);
        match self.replica.runs_as() {
            RunsAs::One(own) if own != user => Err(format!("this host runs only {own}'s tasks")),
            RunsAs::One(_) if !group.is_empty() => {
                Err(format!("this host cannot run it as group {group}"))
            }
            _ if user == ROOT && self.latitude(order) < Latitude::EvenRoot => {
                Err("this host takes no task of root from another".to_owned())
            }
            RunsAs::One(_) | RunsAs::Anyone => Ok(()),
        }
    }

    /// Returns as whom a run is started, if that is not this process's own user.
    pub(super) fn person(&self, order: &StartOrder, key: RunKey) -> Option<Person> {
        let options = &order.spec.options;
        let group = Some(&options.as_group).filter(|group| !group.is_empty());
        let is_own = order.spec.user == ROOT && group.is_none();
        if is_own || *self.replica.runs_as() != RunsAs::Anyone {
            return None;
        }
        let told = options.call.then(|| self.outputs.call(key));
        let files = std::iter::once(self.outputs.progress(key)).chain(told);
        Some(Person {
            user: order.spec.user.clone(),
            group: group.cloned(),
            latitude: self.latitude(order),
            surroundings: match options.submitter.is_empty() {
                true => Surroundings::Own,
                false => Surroundings::Anothers,
            },
            files: files.collect(),
        })
    }

    /// How far the word of who submitted a task counts here: root's own, where it may.
    fn latitude(&self, order: &StartOrder) -> Latitude {
        let spec = &order.spec;
        let here = order.run.task.tag == self.replica.own_tag();
        let trusted = here || self.replica.settings().root_tasks() == RootTasks::Anywhere;
        let submitter = match spec.options.submitter.as_str() {
            "" => &spec.user,
            other => other,
        };
        match (trusted, submitter) {
            (false, _) => Latitude::Ordinary,
            (true, ROOT) => Latitude::AnyGroup,
            (true, _) => Latitude::EvenRoot,
        }
    }
}
