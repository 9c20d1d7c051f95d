//! Clients that wait for tasks. A change touches only the clients that wait for that very task, so a wait for a group of a
//! hundred thousand costs nothing while others' tasks end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crdt::ids::TaskId;
use crdt::replica::Replica;
use crdt::task::{TaskState, Work};

use crate::api::lines::{Names, task_line};
use crate::api::server::Answers;
use crate::api::wire::{Body, Progress};
use crate::clock::boottime;

/// A client is told no more often than this.
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// One line names at most so many tasks.
const TASKS_A_LINE: usize = 500;

#[derive(Debug)]
struct Wait {
    answers: Answers,
    /// As they were named: groups and tasks.
    named: Vec<TaskId>,
    /// What is waited for: tasks that are no groups, members included, and whether each has ended.
    ended: BTreeMap<TaskId, TaskState>,
    open: BTreeSet<TaskId>,
    /// Named groups that have not ended.
    groups: BTreeSet<TaskId>,
    running: BTreeSet<TaskId>,
    failed: u64,
    any: bool,
    state: Option<TaskState>,
    reached: bool,
    each: bool,
    news: Vec<TaskId>,
    changed: bool,
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waits {
    waits: BTreeMap<u64, Wait>,
    watched: BTreeMap<TaskId, BTreeSet<u64>>,
    next: u64,
    changed: bool,
    told: Duration,
}

/// What a client waits for.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) any: bool,
    pub(super) state: Option<TaskState>,
    pub(super) each: bool,
}

impl Waits {
    /// Adds a client.
    pub(super) fn add(
        &mut self,
        replica: &Replica,
        named: Vec<TaskId>,
        terms: &Terms,
        answers: Answers,
    ) {
        self.next += 1;
        let key = self.next;
        let wait = Wait {
            answers,
            named: named.clone(),
            ended: BTreeMap::new(),
            open: BTreeSet::new(),
            groups: BTreeSet::new(),
            running: BTreeSet::new(),
            failed: 0,
            any: terms.any,
            state: terms.state,
            reached: false,
            each: terms.each,
            news: Vec::new(),
            changed: true,
        };
        self.waits.insert(key, wait);
        for id in named {
            self.watch(replica, key, id);
        }
        self.changed = true;
        self.told = Duration::ZERO;
    }

    fn watch(&mut self, replica: &Replica, key: u64, id: TaskId) {
        self.watched.entry(id).or_default().insert(key);
        let Some(view) = replica.task(id) else { return };
        if matches!(view.spec.work, Work::Group { .. }) {
            if let Some(wait) = self.waits.get_mut(&key) {
                wait.groups.insert(id);
            }
            for member in replica.tasks_of_group(id) {
                self.watch(replica, key, member);
            }
        } else if let Some(wait) = self.waits.get_mut(&key) {
            wait.open.insert(id);
        }
        self.note(key, id, view.state);
    }

    fn note(&mut self, key: u64, id: TaskId, state: TaskState) {
        let Some(wait) = self.waits.get_mut(&key) else {
            return;
        };
        wait.changed = true;
        wait.reached |= wait.state == Some(state)
            || wait.any && state.is_complete() && wait.named.contains(&id);
        if state.is_complete() && wait.groups.remove(&id) {
            return;
        }
        if state == TaskState::Running {
            wait.running.insert(id);
        } else {
            wait.running.remove(&id);
        }
        if state.is_complete() && wait.open.remove(&id) {
            wait.ended.insert(id, state);
            wait.failed += u64::from(state != TaskState::Success);
            if wait.each {
                wait.news.push(id);
            }
        }
    }

    /// Notes that a task is in another state.
    pub(super) fn task_changed(&mut self, id: TaskId, state: TaskState) {
        let Some(keys) = self.watched.get(&id) else {
            return;
        };
        self.changed = true;
        for key in keys.clone() {
            self.note(key, id, state);
        }
    }

    /// Returns when clients are to be told next.
    pub(super) fn next_report(&self) -> Option<Duration> {
        self.changed.then_some(self.told + REPORT_EVERY)
    }

    /// Tells clients what has changed, and lets go of those that are done or gone.
    pub(super) fn report(&mut self, replica: &Replica) {
        let now = boottime();
        if !self.changed || now < self.told + REPORT_EVERY {
            return;
        }
        self.told = now;
        self.changed = false;
        self.watch_new_members(replica);
        let mut done = Vec::new();
        for (key, wait) in &mut self.waits {
            if wait.answers.is_closed() || wait.changed && wait.tell(replica) {
                done.push(*key);
            }
            self.changed |= wait.changed;
        }
        for key in done {
            self.forget(key);
        }
    }

    /// Groups may have got members since they were named.
    fn watch_new_members(&mut self, replica: &Replica) {
        let groups = |(key, wait): (&u64, &Wait)| {
            wait.groups
                .iter()
                .map(|group| (*key, *group))
                .collect::<Vec<_>>()
        };
        let open: Vec<(u64, TaskId)> = self.waits.iter().flat_map(groups).collect();
        for (key, group) in open {
            let known = replica.task(group).and_then(|view| view.members);
            let count: u64 = known.iter().flatten().map(|n| u64::from(*n)).sum();
            let Some(wait) = self.waits.get(&key) else {
                continue;
            };
            if count > (wait.open.len() + wait.ended.len()) as u64 {
                for member in replica.tasks_of_group(group) {
                    let new = self.waits.get(&key).is_some_and(|wait| {
                        !wait.open.contains(&member) && !wait.ended.contains_key(&member)
                    });
                    if new {
                        self.watch(replica, key, member);
                    }
                }
            }
        }
    }

    fn forget(&mut self, key: u64) {
        let Some(wait) = self.waits.remove(&key) else {
            return;
        };
        let members = wait.ended.keys().chain(&wait.open).chain(&wait.named);
        for id in members {
            if let Some(keys) = self.watched.get_mut(id) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.watched.remove(id);
                }
            }
        }
    }
}

impl Wait {
    fn is_done(&self) -> bool {
        self.reached || self.open.is_empty() && self.groups.is_empty()
    }

    /// Sends a line. Says whether it was the last.
    fn tell(&mut self, replica: &Replica) -> bool {
        if !self.answers.has_room() {
            return false;
        }
        let names = Names::of(replica);
        let lines = |ids: &[TaskId]| {
            let views = ids.iter().filter_map(|id| replica.task(*id));
            views.map(|view| task_line(&view, &names)).collect()
        };
        let more = self.news.len() > TASKS_A_LINE;
        let done = self.is_done() && !more;
        let rest = self.news.split_off(self.news.len().min(TASKS_A_LINE));
        let news = std::mem::replace(&mut self.news, rest);
        let told = if self.each {
            news
        } else if done {
            self.named.clone()
        } else {
            Vec::new()
        };
        let progress = Progress {
            total: (self.open.len() + self.ended.len()) as u64,
            done: self.ended.len() as u64,
            failed: self.failed,
            running: self.running.len() as u64,
            tasks: lines(&told),
        };
        self.changed = more;
        if done {
            self.answers.end(Body::Progress(progress));
            return true;
        }
        !self.answers.more(Body::Progress(progress))
    }
}
