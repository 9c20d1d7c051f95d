//! Named queues and fair shares: who has how many tasks claimed or running anywhere in the mesh, as far as is heard of.
//!
//! A queue's slots are kept without a counter that all would have to agree on: a host bids for a task of it only while fewer are
//! active, lets the bid stand until it has heard what others bid for meanwhile, and looks again before it starts: what was there
//! before goes first, and of those that were bid for at the same moment the lesser ids, on every host alike. So too many run only
//! where a host does not hear of a bid within that window: each side of a split counts for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::graph::TaskIx;
use crate::settings::QueueRule;
use crate::time::Mono;

/// The order of queues and users that wait: the least is served first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Share {
    /// What the queue has, by its weight.
    queue: u64,
    /// What the user has in it.
    user: u32,
}

/// What one queue has.
#[derive(Debug, Default)]
struct Active {
    tasks: BTreeSet<TaskIx>,
    users: BTreeMap<String, u32>,
}

/// The queues of a mesh.
#[derive(Debug, Default)]
pub struct Queues {
    rules: BTreeMap<String, QueueRule>,
    /// When a queue was heard to go on that had been paused.
    resumed: BTreeMap<String, Mono>,
    active: BTreeMap<String, Active>,
}

impl Queues {
    /// Takes the rules of all queues that have some.
    pub fn set_rules<'a>(&mut self, rules: impl Iterator<Item = (&'a str, QueueRule)>, now: Mono) {
        let before = std::mem::take(&mut self.rules);
        self.rules = rules.map(|(name, rule)| (name.to_owned(), rule)).collect();
        let paused = before.into_iter().filter(|(_, rule)| rule.paused);
        let resumed = paused.filter(|(name, _)| !self.rule(name).paused);
        self.resumed = resumed.map(|(name, _)| (name, now)).collect();
    }

    /// Says whether a host of this rank may bid for a task of a queue by now: what was paused can go on everywhere at once, so
    /// hosts take turns of such a step.
    #[must_use]
    pub fn is_turn(&self, queue: &str, rank: u64, now: Mono, step: Duration) -> bool {
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let resumed = self.resumed.get(queue);
        resumed.is_none_or(|at| now >= *at + step.saturating_mul(rank))
    }

    /// Returns when the next turn begins of so many hosts, if they take turns.
    #[must_use]
    pub fn next_turn(&self, now: Mono, step: Duration, hosts: u32) -> Option<Mono> {
        let next = |at: &Mono| {
            let begun = now.since(*at).as_nanos() / step.as_nanos().max(1);
            let turn = u32::try_from(begun).unwrap_or(u32::MAX).saturating_add(1);
            (turn < hosts).then(|| *at + step * turn)
        };
        self.resumed.values().filter_map(next).min()
    }

    /// Returns a queue's rule.
    #[must_use]
    pub fn rule(&self, queue: &str) -> QueueRule {
        self.rules.get(queue).copied().unwrap_or_default()
    }

    /// Notes that a task of a user is claimed or runs.
    pub fn enter(&mut self, queue: &str, user: &str, task: TaskIx) {
        let active = self.active.entry(queue.to_owned()).or_default();
        if active.tasks.insert(task) {
            *active.users.entry(user.to_owned()).or_default() += 1;
        }
    }

    /// Notes that it is neither any more.
    pub fn leave(&mut self, queue: &str, user: &str, task: TaskIx) {
        let Some(active) = self.active.get_mut(queue) else {
            return;
        };
        if active.tasks.remove(&task)
            && let Some(count) = active.users.get_mut(user)
        {
            *count -= 1;
            if *count == 0 {
                active.users.remove(user);
            }
        }
        if active.tasks.is_empty() {
            self.active.remove(queue);
        }
    }

    /// Returns the tasks of a queue that are claimed or run.
    pub fn active(&self, queue: &str) -> impl Iterator<Item = TaskIx> + '_ {
        let active = self.active.get(queue);
        active
            .into_iter()
            .flat_map(|active| active.tasks.iter().copied())
    }

    /// Returns the tasks of all queues that are claimed or run.
    pub fn all_active(&self) -> impl Iterator<Item = TaskIx> + '_ {
        let queues = self.active.values();
        queues.flat_map(|active| active.tasks.iter().copied())
    }

    /// Returns how many of a queue those are.
    #[must_use]
    pub fn active_count(&self, queue: &str) -> usize {
        self.active
            .get(queue)
            .map_or(0, |active| active.tasks.len())
    }

    /// Says whether one more of its tasks may be claimed.
    #[must_use]
    pub fn has_room(&self, queue: &str) -> bool {
        let rule = self.rule(queue);
        !rule.paused && (rule.slots == 0 || self.active_count(queue) < rule.slots as usize)
    }

    /// Returns the place of a user's tasks in a queue among those of others.
    #[must_use]
    pub fn share(&self, queue: &str, user: &str) -> Share {
        let active = self.active.get(queue);
        let count = active.map_or(0, |active| active.tasks.len() as u64);
        Share {
            // A million is the largest weight: each task counts for something.
            queue: count * 1_000_000 / u64::from(self.rule(queue).weight),
            user: active
                .and_then(|active| active.users.get(user).copied())
                .unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_pause() {
        let mut queues = Queues::default();
        let rule = |slots, paused| QueueRule {
            slots,
            paused,
            ..QueueRule::default()
        };
        let rules = [("a", rule(2, false)), ("b", rule(0, true))];
        queues.set_rules(rules.into_iter(), Mono(0));
        assert!(queues.has_room("a") && !queues.has_room("b") && queues.has_room("other"));
        queues.enter("a", "ann", 1);
        queues.enter("a", "ann", 1);
        queues.enter("a", "bob", 2);
        assert!(!queues.has_room("a"));
        queues.leave("a", "ann", 7);
        assert_eq!(queues.active_count("a"), 2);
        queues.leave("a", "ann", 1);
        assert!(queues.has_room("a"));
        assert_eq!(queues.active("a").collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn hosts_take_turns_after_a_pause() {
        let step = Duration::from_millis(50);
        let at = |steps: u32| Mono(1_000) + step * steps;
        let rule = |paused| QueueRule {
            paused,
            ..QueueRule::default()
        };
        let mut queues = Queues::default();
        queues.set_rules([("q", rule(true)), ("r", rule(false))].into_iter(), Mono(0));
        assert_eq!(queues.next_turn(at(0), step, 3), None);
        queues.set_rules([("q", rule(false)), ("r", rule(false))].into_iter(), at(0));
        let turn = |rank, now| queues.is_turn("q", rank, now, step);
        assert!(turn(0, at(0)) && !turn(1, at(0)) && turn(1, at(1)) && !turn(2, at(1)));
        assert!(queues.is_turn("r", 9, at(0), step), "it was not paused");
        assert_eq!(queues.next_turn(at(0), step, 3), Some(at(1)));
        assert_eq!(queues.next_turn(at(1), step, 3), Some(at(2)));
        assert_eq!(queues.next_turn(at(2), step, 3), None);
        queues.set_rules(std::iter::empty(), at(9));
        assert_eq!(queues.next_turn(at(9), step, 3), None);
    }

    #[test]
    fn shares_follow_weights_and_then_users() {
        let mut queues = Queues::default();
        let heavy = QueueRule {
            weight: 3,
            ..QueueRule::default()
        };
        queues.set_rules([("heavy", heavy)].into_iter(), Mono(0));
        for task in 0..3 {
            queues.enter("heavy", "ann", task);
        }
        queues.enter("light", "bob", 9);
        let share = |queue: &str, user: &str| queues.share(queue, user);
        assert_eq!(share("heavy", "bob"), share("light", "ann"), "three to one");
        assert!(share("heavy", "ann") > share("heavy", "bob"));
        assert!(share("idle", "ann") < share("light", "ann"));
    }
}
