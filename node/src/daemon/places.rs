//! Where the output of a task is now, and those who follow it: each is told when that very task moves, nobody else.

use std::collections::BTreeMap;

use crdt::ids::{PeerId, RunId, TaskId};
use crdt::task::{Captured, TaskState};
use tokio::sync::{oneshot, watch};

use super::node::Node;
use crate::guard::RunKey;
use crate::render::text::count;

/// Where a task's output is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// No such task.
    Unknown,
    /// It has not started, or has ended and its outcome is not settled yet.
    Waiting,
    /// It runs; its files grow on this host. The guard's handle if that is this host.
    Live(PeerId, RunId, Option<RunKey>),
    /// It ended; its streams (output, errors) are stored on this host.
    Stored(PeerId, RunId, [Captured; 2]),
    /// It ended and left none.
    Nothing,
}

/// Asks the event loop where a task's output is, now and whenever that changes.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) task: TaskId,
    pub(super) answer: oneshot::Sender<watch::Receiver<Place>>,
}

/// Those who follow a task.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<TaskId, watch::Sender<Place>>);

impl Places {
    /// Returns what is told of a task from now on, beginning with where it is `now`.
    pub(super) fn follow(&mut self, task: TaskId, now: Place) -> watch::Receiver<Place> {
        let sender = self.0.entry(task).or_insert_with(|| watch::channel(now).0);
        tell(sender, now);
        sender.subscribe()
    }

    /// Says whether somebody follows a task.
    pub(super) fn is_followed(&self, task: TaskId) -> bool {
        self.0.contains_key(&task)
    }

    /// Tells where a task is.
    pub(super) fn moved(&mut self, task: TaskId, to: Place) {
        if let Some(sender) = self.0.get(&task) {
            tell(sender, to);
        }
    }

    /// Forgets tasks that nobody follows any more, and returns the others.
    pub(super) fn sweep(&mut self) -> Vec<TaskId> {
        self.0.retain(|_, sender| sender.receiver_count() > 0);
        self.0.keys().copied().collect()
    }
}

fn tell(sender: &watch::Sender<Place>, place: Place) {
    sender.send_if_modified(|known| std::mem::replace(known, place) != place);
}

impl Node {
    /// Returns where a task's output is.
    pub(super) fn place_of(&self, task: TaskId) -> Place {
        let Some(view) = self.replica.task(task) else {
            return Place::Unknown;
        };
        if let Some(outcome) = &view.outcome {
            let run = RunId {
                task,
                epoch: outcome.origin.0,
            };
            return match (view.host, outcome.report) {
                (Some(host), Some(report)) => {
                    Place::Stored(host, run, [report.stdout, report.stderr])
                }
                (_, _) => Place::Nothing,
            };
        }
        if view.state.is_complete() {
            return Place::Nothing;
        }
        let run = RunId {
            task,
            epoch: view.epoch,
        };
        match view.host {
            Some(host) if view.state == TaskState::Running => {
                let key = self.runs.key(run);
                // What has ended here grows no more; the outcome is on its way.
                if host == self.replica.own_peer() && key.is_none() {
                    Place::Waiting
                } else {
                    Place::Live(host, run, key)
                }
            }
            Some(_) | None => Place::Waiting,
        }
    }

    /// Returns where the output of one of a task's runs is stored, counted from 1; none: it is the one that runs now.
    ///
    /// # Errors
    /// There was no such run, or what it printed is gone: why.
    pub(super) fn place_of_attempt(&self, task: TaskId, n: u32) -> Result<Option<Place>, String> {
        let attempts = self.replica.attempts(task);
        let runs: Vec<_> = attempts.iter().filter(|of| of.started.is_some()).collect();
        let wanted = n.checked_sub(1).and_then(|at| runs.get(at as usize));
        let Some(attempt) = wanted else {
            let times = count(runs.len() as u64, "time");
            return Err(format!("there is no attempt {n}: it has run {times}"));
        };
        let run = RunId {
            task,
            epoch: attempt.epoch,
        };
        let host = self.replica.peer_of(attempt.claimant);
        if let (Some(host), Some(captured)) = (host, attempt.captured) {
            return Ok(Some(Place::Stored(host, run, captured)));
        }
        match self.place_of(task) {
            Place::Live(_, now, _) if now == run => Ok(None),
            _ => Err(format!(
                "attempt {n} was lost before its end was recorded, and what it printed with it"
            )),
        }
    }

    /// Answers where a task's output is.
    pub(super) fn locate(&mut self, ask: Ask) {
        let place = self.place_of(ask.task);
        let told = self.places.follow(ask.task, place);
        if ask.answer.send(told).is_err() {
            tracing::debug!(task = %ask.task, "asker left");
        }
    }

    /// Tells those who follow a task where it is.
    pub(super) fn task_moved(&mut self, task: TaskId) {
        if self.places.is_followed(task) {
            self.places.moved(task, self.place_of(task));
        }
    }

    /// Forgets those who follow no more, and makes sure that nobody missed anything.
    pub(super) fn sweep_places(&mut self) {
        for task in self.places.sweep() {
            self.places.moved(task, self.place_of(task));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use crdt::ids::Tag;

    use super::*;

    #[test]
    fn followers_hear_of_their_task_alone() {
        let id = |n| TaskId { tag: Tag(1), n };
        let mut places = Places::default();
        let mut first = places.follow(id(1), Place::Waiting);
        let second = places.follow(id(1), Place::Waiting);
        let other = places.follow(id(2), Place::Unknown);
        places.moved(id(1), Place::Waiting);
        assert!(!first.has_changed().unwrap());
        places.moved(id(1), Place::Nothing);
        assert_eq!(*first.borrow_and_update(), Place::Nothing);
        assert!(second.has_changed().unwrap() && !other.has_changed().unwrap());
        drop((first, other));
        assert_eq!(places.sweep(), [id(1)]);
        drop(second);
        assert!(places.sweep().is_empty() && !places.is_followed(id(1)));
    }
}
