//! From a seed that breaks a promise to the least history that still breaks it: what can be left out is left out, by delta
//! debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
//!
//! Each try is a whole world played anew. The same judge must see it; which task and when may differ.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{Deed, Drawn, play};
use crate::oracle::{Judge, Violation};
use crate::world::{Setup, World};

/// What shrinking came to.
#[derive(Debug)]
pub struct Shrunk {
    /// The least history that was found.
    pub drawn: Drawn,
    /// What it breaks.
    pub violation: Violation,
    /// How many worlds were played.
    pub tries: usize,
}

/// Shrinks what a seed means in a world altered so; `None` if it breaks nothing. Plays at most `budget` worlds.
#[must_use]
pub fn shrink(seed: u64, alter: fn(Setup) -> Setup, budget: usize) -> Option<Shrunk> {
    let mut drawn = super::draw(seed);
    let (world, spite) = play::play_told(&drawn, None, alter);
    let violation = world.oracle().violation()?.clone();
    let mut search = Search {
        alter,
        judge: violation.judge,
        best: violation,
        tries: 1,
        budget,
    };
    search.spell_out_spite(&mut drawn, spite);
    loop {
        let before = weight(&drawn);
        search.less_time(&mut drawn);
        search.fewer_deeds(&mut drawn);
        search.fewer_tasks(&mut drawn);
        if weight(&drawn) == before {
            break;
        }
    }
    Some(Shrunk {
        drawn,
        violation: search.best,
        tries: search.tries,
    })
}

/// Plays a history.
#[must_use]
pub fn play_drawn(drawn: &Drawn, alter: impl FnOnce(Setup) -> Setup) -> World {
    play::play_told(drawn, None, alter).0
}

/// How much there is in a history: every step of the search makes it less.
fn weight(drawn: &Drawn) -> (usize, usize, Duration) {
    let tasks = drawn.work.iter().map(|(_, _, batch)| batch.len());
    (drawn.deeds.len(), tasks.sum(), drawn.calm_at)
}

struct Search {
    alter: fn(Setup) -> Setup,
    judge: Judge,
    best: Violation,
    tries: usize,
    budget: usize,
}

impl Search {
    /// Says whether a history breaks the same promise; a panic is another matter.
    fn breaks(&mut self, drawn: &Drawn) -> bool {
        if self.tries >= self.budget {
            return false;
        }
        self.tries += 1;
        let played = catch_unwind(AssertUnwindSafe(|| {
            let world = play_drawn(drawn, self.alter);
            world.oracle().violation().cloned()
        }));
        match played {
            Ok(Some(violation)) if violation.judge == self.judge => {
                self.best = violation;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Puts `changed` in the place of `drawn` if it breaks the same promise.
    fn takes(&mut self, drawn: &mut Drawn, changed: Drawn) -> bool {
        let breaks = self.breaks(&changed);
        if breaks {
            *drawn = changed;
        }
        breaks
    }

    /// Faults that follow on what happens cannot be left out one by one: they become faults at a time.
    fn spell_out_spite(&mut self, drawn: &mut Drawn, spite: Vec<(Duration, Deed)>) {
        if drawn.spite == 0 {
            return;
        }
        let without = Drawn {
            spite: 0,
            ..drawn.clone()
        };
        if self.takes(drawn, without.clone()) {
            return;
        }
        let mut spelled = without;
        spelled.deeds.extend(spite);
        spelled.deeds.sort_by_key(|(at, _)| *at);
        self.takes(drawn, spelled);
    }

    /// Ends faults soon after the promise is broken, and halves what is left.
    fn less_time(&mut self, drawn: &mut Drawn) {
        let broken = Duration::from_nanos(self.best.at);
        for end in [broken, drawn.calm_at / 2] {
            let mut earlier = drawn.clone();
            earlier.calm_at = end.min(drawn.calm_at);
            earlier.deeds.retain(|(at, _)| *at <= end);
            earlier.work.retain(|(at, _, _)| *at <= end);
            if weight(&earlier) < weight(drawn) {
                self.takes(drawn, earlier);
            }
        }
    }

    fn fewer_deeds(&mut self, drawn: &mut Drawn) {
        let deeds = drawn.deeds.clone();
        let frame = drawn.clone();
        let left = self.fewer(deeds, |deeds| Drawn {
            deeds,
            ..frame.clone()
        });
        drawn.deeds = left;
    }

    /// Leaves out whole submissions, and then the last tasks of each.
    fn fewer_tasks(&mut self, drawn: &mut Drawn) {
        let (work, frame) = (drawn.work.clone(), drawn.clone());
        drawn.work = self.fewer(work, |work| Drawn {
            work,
            ..frame.clone()
        });
        for place in 0..drawn.work.len() {
            while self.shorter_batch(drawn, place) {}
        }
    }

    /// Leaves out the second half of a submission, or its last task. Says whether it could.
    fn shorter_batch(&mut self, drawn: &mut Drawn, place: usize) -> bool {
        let len = drawn.work[place].2.len();
        [len / 2, len - 1].into_iter().any(|count| {
            let mut shorter = drawn.clone();
            shorter.work[place].2.truncate(count);
            count > 0 && self.takes(drawn, shorter)
        })
    }

    /// Leaves out parts of a list, large ones first, as long as the promise is still broken.
    fn fewer<T: Clone>(&mut self, mut list: Vec<T>, with: impl Fn(Vec<T>) -> Drawn) -> Vec<T> {
        let mut part = list.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < list.len() {
                let until = (from + part).min(list.len());
                let rest = [&list[..from], &list[until..]].concat();
                if self.breaks(&with(rest.clone())) {
                    list = rest;
                } else {
                    from = until;
                }
            }
            if part == 1 {
                return list;
            }
            part = part.div_ceil(2);
        }
    }
}
