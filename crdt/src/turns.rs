//! Whose turn it is on one host: what is about to start here, or may be bid for soon, keeps what is less urgent from starting.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::graph::TaskIx;
use crate::time::Mono;

/// Tasks that were bid for just now, or that better-ranked hosts may bid for first, each until an instant. From then on it is in
/// nobody's way: its committee does not answer, or the host bids itself.
#[derive(Debug, Default)]
pub struct Turns {
    expected: BTreeMap<TaskIx, (Reverse<i32>, Mono)>,
    order: BTreeSet<(Reverse<i32>, TaskIx)>,
}

impl Turns {
    /// So many of the most urgent are looked at.
    const LOOKED_AT: usize = 64;

    /// Expects a task of this priority until then.
    pub fn expect(&mut self, task: TaskIx, priority: i32, until: Mono) {
        self.forget(task);
        self.expected.insert(task, (Reverse(priority), until));
        self.order.insert((Reverse(priority), task));
    }

    /// Expects it no more; one that was not expected is no error.
    pub fn forget(&mut self, task: TaskIx) {
        if let Some((priority, _)) = self.expected.remove(&task) {
            self.order.remove(&(priority, task));
        }
    }

    /// Returns until when a task of this priority gives way to one that is more urgent and fits, if to any.
    pub fn gives_way_until(
        &self,
        priority: i32,
        now: Mono,
        fits: impl Fn(TaskIx) -> bool,
    ) -> Option<Mono> {
        let urgent = self.order.range(..(Reverse(priority), 0));
        urgent.take(Self::LOOKED_AT).find_map(|(_, task)| {
            let (_, until) = self.expected.get(task)?;
            (now < *until && fits(*task)).then_some(*until)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_urgent_gives_way_for_a_while() {
        let mut turns = Turns::default();
        turns.expect(1, 5, Mono(10));
        turns.expect(2, 7, Mono(20));
        let until = |turns: &Turns, priority, now| {
            turns.gives_way_until(priority, Mono(now), |task| task != 9)
        };
        assert_eq!(until(&turns, 7, 0), None, "of one priority nobody waits");
        assert_eq!(until(&turns, 6, 0), Some(Mono(20)));
        assert_eq!(until(&turns, 4, 0), Some(Mono(20)), "the most urgent first");
        assert_eq!(until(&turns, 4, 20), None, "it was waited for");
        turns.expect(2, 3, Mono(30));
        assert_eq!(until(&turns, 4, 0), Some(Mono(10)));
        turns.forget(1);
        turns.forget(1);
        assert_eq!(until(&turns, 4, 0), None);
        turns.expect(9, 99, Mono(99));
        assert_eq!(
            until(&turns, 4, 0),
            None,
            "what does not fit is in nobody's way"
        );
    }
}
