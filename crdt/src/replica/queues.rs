//! Mesh-wide settings and named queues: what people state of them, and which of their tasks are active.

use std::collections::{BTreeMap, BTreeSet};

use super::{Replica, Task};
use crate::claim::Phase;
use crate::event::{Notice, Output, Refusal, Reply, Token};
use crate::graph::TaskIx;
use crate::ids::{DocId, Tag};
use crate::schedule::{Class, Urgency};
use crate::settings::{QueueRule, Settings, Stated};
use crate::task::{TaskSpec, TaskState, Work};
use crate::time::Wall;

/// How a named queue stands, as far as is heard of here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Its name; empty for tasks that name none.
    pub name: String,
    /// How it is worked off.
    pub rule: QueueRule,
    /// Tasks that are claimed or run.
    pub active: usize,
    /// Tasks that have not ended and are not active.
    pub waiting: usize,
}

impl Replica {
    /// Writes down what a person states for the mesh; `None` takes it back.
    pub(super) fn set(&mut self, token: Token, name: &str, value: Option<String>, by: String) {
        let own = &self.started_with.timing;
        let fits = match &value {
            Some(value) => Settings::check(name, value, &self.timing),
            // What is left must do without it.
            None if self.settings.times(own).is_err() => Ok(()),
            None => self.settings.without(name).times(own).map(drop),
        };
        let known = self.settings.stated(name).is_some();
        let refusal = if self.stalled {
            Some(Refusal::Disk)
        } else if let Err(why) = fits {
            Some(Refusal::Setting(format!("{name}: {why}")))
        } else if value.is_none() && !known {
            Some(Refusal::Setting(format!("{name} was never set")))
        } else if !known && self.settings.iter().count() >= Settings::MOST {
            Some(Refusal::Setting(
                "too many settings are kept already".to_owned(),
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.reply(token, Reply::Refused(refusal));
        }
        let last = self
            .settings
            .stated(name)
            .map_or(Wall(0), |stated| stated.at);
        let at = self.now.wall.max(Wall(last.0.saturating_add(1)));
        let said = Stated { at, value, by };
        let staged = self.staged.entry(DocId::Directory).or_default();
        staged.settings.insert(name.to_owned(), said.clone());
        self.take_setting(name.to_owned(), said, self.tag);
        self.note_for(token);
    }

    /// Takes a word about a setting, and applies it.
    pub(super) fn take_setting(&mut self, name: String, said: Stated, writer: Tag) {
        if !self.settings.take(name.clone(), said.clone(), writer) {
            return;
        }
        self.outputs
            .push_back(Output::Notice(Notice::Setting { name, said }));
        let base = &self.started_with;
        let settings = &self.settings;
        let timing = settings.times(&base.timing).unwrap_or(base.timing);
        self.replace_after = settings
            .span(Settings::REPLACE_AFTER, &timing)
            .unwrap_or(base.replace_after)
            .max(timing.wait());
        let losses = settings
            .number(Settings::LOST_LIMIT)
            .unwrap_or(base.most_losses);
        let root_tasks = settings.root_tasks();
        if timing != self.timing {
            self.timing = timing;
            self.waits_to_state = true;
            self.dirty.extend(self.claims.iter().copied());
        }
        self.queues.set_rules(self.settings.queues(), self.now.mono);
        if (losses, root_tasks) != (self.most_losses, self.root_tasks) {
            (self.most_losses, self.root_tasks) = (losses, root_tasks);
            self.dirty.extend((0..self.tasks.len()).map(super::index));
        }
    }

    /// Returns what people stated for the mesh.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the queues that were set up, or that have tasks which have not ended. Looks at every such task once: for a person's
    /// question.
    #[must_use]
    pub fn queue_views(&self) -> Vec<QueueView> {
        let mut open = BTreeMap::<&str, usize>::new();
        for (name, _) in self.settings.queues() {
            open.insert(name, 0);
        }
        let segments = self.live.iter().map(|id| &self.segments[id]);
        let tasks = segments.flat_map(|segment| segment.tasks.iter().flatten());
        for (task, count) in tasks.map(|ix| (self.known(*ix), self.stands_for(*ix))) {
            let ends = task.state.is_complete() || matches!(task.state, TaskState::Creating);
            if let Some(spec) = task.spec.as_deref().filter(|_| !ends && !task.is_group()) {
                *open.entry(&spec.options.queue).or_default() += count as usize;
            }
        }
        open.into_iter()
            .map(|(name, count)| {
                let active = self.queues.active_count(name);
                QueueView {
                    name: name.to_owned(),
                    rule: self.queues.rule(name),
                    active,
                    waiting: count.saturating_sub(active),
                }
            })
            .collect()
    }

    /// Notes whether a task is claimed or runs anywhere.
    pub(super) fn note_activity(&mut self, ix: TaskIx) {
        let task = &mut self.tasks[ix as usize];
        let active = task.is_active();
        if task.active == active {
            return;
        }
        task.active = active;
        let Some(spec) = task.spec.clone() else {
            return;
        };
        let (queue, user) = (&spec.options.queue, &spec.user);
        if active {
            self.queues.enter(queue, user, ix);
        } else {
            self.queues.leave(queue, user, ix);
        }
    }

    /// Takes a task out of the count of its queue, until it is noted again.
    pub(super) fn forget_activity(&mut self, ix: TaskIx) {
        let task = &mut self.tasks[ix as usize];
        let active = std::mem::take(&mut task.active);
        if let Some(spec) = task.spec.clone().filter(|_| active) {
            self.queues.leave(&spec.options.queue, &spec.user, ix);
        }
    }

    /// Notes what a queue with slots had when a task of it was bid for: that goes first.
    pub(super) fn note_place_in_queue(&mut self, ix: TaskIx) {
        let Some(spec) = self.known(ix).spec.clone() else {
            return;
        };
        let queue = &spec.options.queue;
        self.ahead_in_queue.remove(&ix);
        if self.has_slots(ix) {
            let others = self.queues.active(queue).filter(|other| *other != ix);
            let others: BTreeSet<TaskIx> = others.collect();
            self.ahead_in_queue.insert(ix, others);
        }
    }

    /// Says whether a task's queue has slots.
    pub(super) fn has_slots(&self, ix: TaskIx) -> bool {
        let spec = self.known(ix).spec.as_deref();
        spec.is_some_and(|spec| self.queues.rule(&spec.options.queue).slots > 0)
    }

    /// Says whether a held task may start beside what else its queue has: first goes what runs, and what had been bid for when this
    /// was; of those that were bid for at the same moment the lesser ids.
    pub(super) fn queue_lets(&self, ix: TaskIx) -> bool {
        let task = self.known(ix);
        let Some(spec) = task.spec.as_deref() else {
            return false;
        };
        let rule = self.queues.rule(&spec.options.queue);
        if rule.paused {
            return false;
        }
        if rule.slots == 0 {
            return true;
        }
        let goes_first = |other: &TaskIx| {
            let other = self.known(*other);
            other.runs_already() || other.id < task.id
        };
        let ahead = self.ahead_in_queue.get(&ix);
        let goes_first =
            |other: &TaskIx| ahead.is_some_and(|of| of.contains(other)) || goes_first(other);
        let others = self.queues.active(&spec.options.queue);
        let before = others.filter(|other| *other != ix).filter(goes_first);
        before.count() < rule.slots as usize
    }

    /// Notes that a task is claimed here, or not any more, on the mounts that it uses much.
    pub(super) fn use_mounts(&mut self, ix: TaskIx, on: bool) {
        if let Some(spec) = self.known(ix).spec.clone() {
            self.schedule.use_mounts(&spec.options.io, on);
        }
    }

    /// What a ready task has in common with others, and how urgent it is.
    pub(super) fn class(&self, ix: TaskIx, spec: &TaskSpec) -> (Class, Urgency) {
        let class = Class {
            demand: self.demand(ix),
            queue: spec.options.queue.clone(),
            user: spec.user.clone(),
            io: spec.options.io.clone(),
        };
        let urgency = Urgency {
            priority: spec.priority,
            duration: spec.options.duration,
        };
        (class, urgency)
    }
}

impl Task {
    /// Says whether somebody has bid for it and may hold it, or runs it.
    fn is_active(&self) -> bool {
        let registers = &self.registers;
        let mut bids = registers.bids();
        let stands = self.complete.is_none()
            && bids.any(|(claimant, bid)| !registers.is_over(claimant, bid.epoch));
        stands || self.claim.is_some() || self.state == TaskState::Running
    }

    fn runs_already(&self) -> bool {
        let own = self
            .claim
            .is_some_and(|claim| matches!(claim.phase, Phase::Starting | Phase::Running));
        own || self.claim.is_none() && self.state == TaskState::Running
    }

    pub(super) fn is_group(&self) -> bool {
        let spec = self.spec.as_deref();
        spec.is_some_and(|spec| matches!(spec.work, Work::Group { .. }))
    }
}
