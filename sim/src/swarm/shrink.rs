//! From a seed that breaks a promise to the least history that still breaks it: what can be left out is left out, by delta
//! debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
//!
//! Each try is a whole world played anew. The same judge must see it (or it must panic again); which task and when may differ.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::lessen::{self, PLAINER};
use super::{Deed, Drawn, play};
use crate::oracle::{Judge, Violation};
use crate::world::{Setup, World};

/// Waiting shorter than this is not worth a try.
const LEAST_WAIT: Duration = Duration::from_millis(20);

/// What is wrong with a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// This judge saw a broken promise.
    Broken(Judge),
    /// It panicked.
    Panicked,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(judge) => write!(f, "{judge} ({})", judge.promise()),
            Self::Panicked => f.write_str("panic"),
        }
    }
}

/// How much there is in a history. What shrinking takes away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size {
    /// Faults.
    pub deeds: usize,
    /// Tasks.
    pub tasks: usize,
    /// Hosts.
    pub hosts: usize,
    /// Until all faults end.
    pub lasts: Duration,
}

impl Size {
    /// Returns the size of a history.
    #[must_use]
    pub fn of(drawn: &Drawn) -> Self {
        let tasks = drawn.work.iter().map(|(_, _, batch)| batch.len());
        Self {
            deeds: drawn.deeds.len(),
            tasks: tasks.sum(),
            hosts: drawn.setup.hosts,
            lasts: drawn.calm_at,
        }
    }
}

/// What shrinking came to.
#[derive(Debug)]
pub struct Shrunk {
    /// The least history that was found.
    pub drawn: Drawn,
    /// What is wrong with it, as with the whole one.
    pub wrong: Wrong,
    /// The broken promise, unless it panics.
    pub violation: Option<Violation>,
    /// How many worlds were played.
    pub tries: usize,
}

/// Shrinks what a seed means in a world altered so; `None` if nothing is wrong with it. Plays at most `budget` worlds.
#[must_use]
pub fn shrink(seed: u64, alter: fn(Setup) -> Setup, budget: usize) -> Option<Shrunk> {
    let mut drawn = super::draw(seed);
    let (found, spite) = examine(&drawn, alter);
    let (wrong, violation) = found?;
    let mut search = Search {
        alter,
        wrong,
        best: violation,
        tries: 1,
        budget,
    };
    search.spell_out_spite(&mut drawn, spite);
    loop {
        let before = Size::of(&drawn);
        search.less_time(&mut drawn);
        search.fewer_deeds(&mut drawn);
        search.fewer_tasks(&mut drawn);
        search.fewer_hosts(&mut drawn);
        search.plainer(&mut drawn);
        search.less_waiting(&mut drawn);
        if Size::of(&drawn) == before {
            break;
        }
    }
    Some(Shrunk {
        drawn,
        wrong,
        violation: search.best,
        tries: search.tries,
    })
}

type Found = Option<(Wrong, Option<Violation>)>;

/// Plays a history and says what is wrong with it, and what was done out of spite.
fn examine(drawn: &Drawn, alter: fn(Setup) -> Setup) -> (Found, Vec<(Duration, Deed)>) {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(alter(drawn.setup.clone()));
        let spite = play::live(&mut world, drawn, None);
        (world.oracle().violation().cloned(), spite)
    }));
    match played {
        Ok((Some(violation), spite)) => {
            let wrong = Wrong::Broken(violation.judge);
            (Some((wrong, Some(violation))), spite)
        }
        Ok((None, spite)) => (None, spite),
        Err(_) => (Some((Wrong::Panicked, None)), Vec::new()),
    }
}

struct Search {
    alter: fn(Setup) -> Setup,
    wrong: Wrong,
    best: Option<Violation>,
    tries: usize,
    budget: usize,
}

impl Search {
    /// Says whether the same is wrong with a history.
    fn breaks(&mut self, drawn: &Drawn) -> bool {
        if self.tries >= self.budget {
            return false;
        }
        self.tries += 1;
        match examine(drawn, self.alter).0 {
            Some((wrong, violation)) if wrong == self.wrong => {
                self.best = violation;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Puts `changed` in the place of `drawn` if the same is wrong with it.
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
        let broken = self
            .best
            .as_ref()
            .map_or(drawn.calm_at, |broken| Duration::from_nanos(broken.at));
        for end in [broken, drawn.calm_at / 2] {
            let mut earlier = drawn.clone();
            earlier.calm_at = end.min(drawn.calm_at);
            earlier.deeds.retain(|(at, _)| *at <= end);
            earlier.work.retain(|(at, _, _)| *at <= end);
            if Size::of(&earlier) < Size::of(drawn) {
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

    /// Leaves out whole submissions, and then tasks of each.
    fn fewer_tasks(&mut self, drawn: &mut Drawn) {
        let (work, frame) = (drawn.work.clone(), drawn.clone());
        drawn.work = self.fewer(work, |work| Drawn {
            work,
            ..frame.clone()
        });
        for place in 0..drawn.work.len() {
            let mut part = drawn.work[place].2.len() / 2;
            while part > 0 {
                self.shorter_batch(drawn, place, part);
                part /= 2;
            }
        }
    }

    /// Leaves out so many tasks of a submission at a time, the last ones first.
    fn shorter_batch(&mut self, drawn: &mut Drawn, place: usize, part: usize) {
        let mut until = drawn.work[place].2.len();
        while until > 0 {
            let from = until.saturating_sub(part);
            let mut shorter = drawn.clone();
            shorter.work[place].2.leave_out(from, until);
            if !shorter.work[place].2.is_empty() {
                self.takes(drawn, shorter);
            }
            until = from;
        }
    }

    fn fewer_hosts(&mut self, drawn: &mut Drawn) {
        for host in (0..drawn.setup.hosts).rev() {
            if drawn.setup.hosts > 1 {
                let fewer = lessen::without_host(drawn, host);
                self.takes(drawn, fewer);
            }
        }
    }

    /// Makes clocks, links and disks ordinary ones.
    fn plainer(&mut self, drawn: &mut Drawn) {
        for (way, plain) in PLAINER.into_iter().zip(lessen::is_plain(&drawn.setup)) {
            if !plain {
                let mut plainer = drawn.clone();
                way(&mut plainer.setup);
                self.takes(drawn, plainer);
            }
        }
    }

    /// Halves the waiting before each step as often as it can be.
    fn less_waiting(&mut self, drawn: &mut Drawn) {
        for place in 0..lessen::instants(drawn).len() {
            loop {
                let instants = lessen::instants(drawn);
                let Some(at) = instants.get(place).copied() else {
                    break;
                };
                let before = place
                    .checked_sub(1)
                    .map_or(Duration::ZERO, |place| instants[place]);
                let half = (at - before) / 2;
                if half < LEAST_WAIT {
                    break;
                }
                let sooner = lessen::sooner(drawn, at, half);
                if !self.takes(drawn, sooner) {
                    break;
                }
            }
        }
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
