//! Whether the guard stands still, as its node sees it; and a second clock over every deadline.
//!
//! A guard keeps deadlines only as long as it runs. One that was stopped, or hangs, lets its runs live on while other hosts count
//! them as dead (assumption A4 of the protocol). So its node watches it, in two ways that do not depend on each other:
//!
//! - **Overdue**: a run whose end has not been told a moment after its deadline is killed by the node itself. That it was due to
//!   die makes this harmless where the guard is merely late; it upholds G2 where the guard is not there.
//! - **Silent**: while the guard owes something it is asked for a sign of life at each look. One that is stopped and has left a
//!   question unanswered for [`STOPPED_LOOKS`] looks is replaced; one that is not stopped may be starved, or waiting for something
//!   slow, such as a program on a network file system, and gets [`Patience::hung_looks`].
//!
//! Looks are counted, not time: a node that stood still itself, or a machine that slept, has seen one look at most.
//!
//! Times are since boot ([`crate::clock::boottime`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::guard::RunKey;

/// Looks that a stopped guard may leave a question unanswered.
pub(super) const STOPPED_LOOKS: u32 = 5;

/// The same for one that is not stopped: by then eight times [`Patience::silence`] has passed, two leases, and every run that it had
/// is dead by its deadline.
const HUNG_LOOKS: u32 = 40;

/// One that is not stopped has at least so long, however short the lease: it may only be starved, on a machine that is overloaded.
/// Its deadlines are kept meanwhile.
const HUNG_AT_LEAST: Duration = Duration::from_secs(10);

/// Longest time between two strikes at a run that does not die, stuck in the kernel for example.
const STRIKE_AGAIN: Duration = Duration::from_secs(1);

/// How long a guard's silence is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// So long after a run's deadline its end must have been told; then the node kills it. Less than κ, or the promise is broken
    /// when the guard stands still; too short costs a look at all processes for nothing.
    pub overdue: Duration,
    /// So long a stopped guard may be silent. Well below a lease, so that hosts go on; too short replaces guards, with all their
    /// runs, that somebody stopped for a moment.
    pub silence: Duration,
}

impl Patience {
    /// Returns what suits a lease and a bound κ on the kill: half of κ, and a quarter of the lease.
    #[must_use]
    pub fn with_lease(lease: Duration, kill_latency: Duration) -> Self {
        Self {
            overdue: kill_latency / 2,
            silence: lease / 4,
        }
    }

    /// Returns the time between two looks.
    pub(super) fn step(self) -> Duration {
        (self.silence / STOPPED_LOOKS).max(Duration::from_millis(1))
    }

    /// Returns the looks that a guard may leave a question unanswered that is not stopped.
    pub(super) fn hung_looks(self) -> u32 {
        let floor = HUNG_AT_LEAST.as_nanos().div_ceil(self.step().as_nanos());
        u32::try_from(floor).unwrap_or(u32::MAX).max(HUNG_LOOKS)
    }

    /// Returns how long after a strike the next one is due: soon at first, since a process may have been made behind the back of the
    /// one who struck; then rarely, since each is a look at all processes.
    fn strike_again(self, strikes: u32) -> Duration {
        let doubled = (self.overdue / 4).saturating_mul(1 << strikes.min(16));
        doubled.clamp(Duration::from_millis(1), STRIKE_AGAIN)
    }
}

/// What the guard's process does, as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A signal or a debugger stopped it.
    Stopped,
    /// Anything else.
    Free,
}

/// Whether the guard owes an answer to anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owes {
    /// Ends of runs, or its own.
    Something,
    /// It has nothing to do.
    Nothing,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not time for one, or an answer is awaited.
    Wait,
    /// A question is to be asked.
    Ask,
    /// The guard is of no use any more.
    Silent,
}

/// The question that was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// It was answered, or never asked.
    Answered,
    /// It has been open for so many looks.
    Open { looks: u32 },
}

/// When a run is to die.
#[derive(Clone, Copy, Debug)]
struct Due {
    deadline: Duration,
    /// When the node strikes, if it has not been told of the end.
    strike: Duration,
    /// How often it has.
    strikes: u32,
}

/// What is known of one guard.
#[derive(Debug)]
pub(super) struct Watch {
    patience: Patience,
    runs: BTreeMap<RunKey, Due>,
    /// The next strikes.
    order: BTreeSet<(Duration, RunKey)>,
    question: Question,
    /// The next look for a sign of life.
    look: Option<Duration>,
}

impl Watch {
    /// Knows of no run.
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            runs: BTreeMap::new(),
            order: BTreeSet::new(),
            question: Question::Answered,
            look: None,
        }
    }

    /// Begins anew with another guard.
    pub(super) fn begin(&mut self) {
        *self = Self::new(self.patience);
    }

    /// Watches a run, or moves its deadline back; ignored when it is not later.
    pub(super) fn until(&mut self, key: RunKey, deadline: Duration) {
        if self
            .runs
            .get(&key)
            .is_none_or(|due| due.deadline < deadline)
        {
            self.over(key);
            let due = Due {
                deadline,
                strike: deadline + self.patience.overdue,
                strikes: 0,
            };
            self.insert(key, due);
        }
    }

    /// The same for a run that is watched already.
    pub(super) fn extend(&mut self, key: RunKey, deadline: Duration) {
        if self.runs.contains_key(&key) {
            self.until(key, deadline);
        }
    }

    /// Nothing of the run lives.
    pub(super) fn over(&mut self, key: RunKey) {
        if let Some(due) = self.runs.remove(&key) {
            self.order.remove(&(due.strike, key));
        }
    }

    fn insert(&mut self, key: RunKey, due: Due) {
        self.runs.insert(key, due);
        self.order.insert((due.strike, key));
    }

    /// The guard has said something.
    pub(super) fn heard(&mut self) {
        self.question = Question::Answered;
    }

    /// When there is something to look at.
    pub(super) fn next(&mut self, now: Duration, owes: Owes) -> Option<Duration> {
        self.look = match owes {
            Owes::Something => Some(self.look.unwrap_or(now + self.patience.step())),
            Owes::Nothing => None,
        };
        let strike = self.order.first().map(|(at, _)| *at);
        [self.look, strike].into_iter().flatten().min()
    }

    /// The runs that should be dead and are not known to be. Each is told again after a while, as long as it is watched.
    pub(super) fn overdue(&mut self, now: Duration) -> BTreeSet<RunKey> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        let keys: BTreeSet<RunKey> = due.map(|(_, key)| *key).collect();
        for key in &keys {
            if let Some(due) = self.runs.get(key).copied() {
                self.over(*key);
                let strike = now + self.patience.strike_again(due.strikes);
                let strikes = due.strikes.saturating_add(1);
                self.insert(
                    *key,
                    Due {
                        strike,
                        strikes,
                        ..due
                    },
                );
            }
        }
        keys
    }

    /// Looks for signs of life, after all has been read that the guard has said.
    pub(super) fn look(&mut self, now: Duration, standing: impl FnOnce() -> Standing) -> Verdict {
        if self.look.is_none_or(|at| now < at) {
            return Verdict::Wait;
        }
        self.look = Some(now + self.patience.step());
        let Question::Open { looks } = self.question else {
            self.question = Question::Open { looks: 0 };
            return Verdict::Ask;
        };
        let looks = looks + 1;
        self.question = Question::Open { looks };
        let silent = looks >= self.patience.hung_looks()
            || (looks >= STOPPED_LOOKS && standing() == Standing::Stopped);
        if silent {
            Verdict::Silent
        } else {
            Verdict::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        overdue: Duration::from_millis(100),
        silence: Duration::from_millis(500),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Looks at every step until the guard is given up; returns how many looks that took.
    fn looks_until_silent(standing: Standing, answers: u32) -> Option<u32> {
        let mut watch = Watch::new(PATIENCE);
        for look in 1..=1_000 {
            let at = watch.next(ms(0), Owes::Something).unwrap_or_default();
            match watch.look(at, || standing) {
                Verdict::Ask if look <= answers => watch.heard(),
                Verdict::Ask | Verdict::Wait => {}
                Verdict::Silent => return Some(look),
            }
        }
        None
    }

    #[test]
    fn silence_table() {
        let rows = [
            (Standing::Stopped, 0, Some(1 + STOPPED_LOOKS)),
            (Standing::Stopped, 7, Some(8 + STOPPED_LOOKS)),
            (Standing::Free, 0, Some(1 + 100)),
            (Standing::Free, 7, Some(8 + 100)),
            (Standing::Stopped, 1_000, None),
        ];
        for (standing, answers, silent) in rows {
            assert_eq!(
                looks_until_silent(standing, answers),
                silent,
                "{standing:?}, {answers}"
            );
        }
    }

    #[test]
    fn patience_table() {
        for (lease_ms, stopped_ms, hung_ms) in [
            (1, 5, 10_000),
            (2_500, 625, 10_000),
            (6_000, 1_500, 12_000),
            (60_000, 15_000, 120_000),
        ] {
            let patience = Patience::with_lease(ms(lease_ms), ms(300));
            assert_eq!(patience.overdue, ms(150));
            assert_eq!(patience.step() * STOPPED_LOOKS, ms(stopped_ms));
            assert_eq!(patience.step() * patience.hung_looks(), ms(hung_ms));
        }
    }

    #[test]
    fn a_node_that_stood_still_has_looked_once() {
        let mut watch = Watch::new(PATIENCE);
        assert_eq!(watch.next(ms(0), Owes::Something), Some(ms(100)));
        assert_eq!(watch.look(ms(100), || Standing::Stopped), Verdict::Ask);
        assert_eq!(watch.look(ms(60_000), || Standing::Stopped), Verdict::Wait);
        assert_eq!(watch.look(ms(60_001), || Standing::Stopped), Verdict::Wait);
        assert_eq!(watch.next(ms(60_001), Owes::Something), Some(ms(60_100)));
    }

    #[test]
    fn a_guard_that_owes_nothing_is_left_in_peace() {
        let mut watch = Watch::new(PATIENCE);
        assert_eq!(watch.next(ms(0), Owes::Nothing), None);
        assert_eq!(watch.look(ms(900), || Standing::Stopped), Verdict::Wait);
        watch.next(ms(900), Owes::Something);
        assert_eq!(watch.next(ms(950), Owes::Nothing), None);
    }

    #[test]
    fn runs_are_overdue_by_their_latest_deadline() {
        let (one, two) = (RunKey(1), RunKey(2));
        let mut watch = Watch::new(PATIENCE);
        watch.until(one, ms(1_000));
        watch.until(two, ms(20_000));
        watch.until(one, ms(500));
        assert_eq!(watch.next(ms(0), Owes::Nothing), Some(ms(1_100)));
        assert!(watch.overdue(ms(1_099)).is_empty());
        assert_eq!(watch.overdue(ms(1_100)), BTreeSet::from([one]));
        // It is struck again, but not at once, and ever more rarely.
        assert!(watch.overdue(ms(1_101)).is_empty());
        let mut at = ms(1_100);
        for pause in [25, 50, 100, 200, 400, 800, 1_000, 1_000] {
            at += ms(pause);
            assert_eq!(watch.next(ms(1_100), Owes::Nothing), Some(at));
            assert_eq!(watch.overdue(at), BTreeSet::from([one]));
        }
        watch.extend(one, ms(30_000));
        watch.extend(RunKey(9), ms(1));
        watch.over(two);
        assert_eq!(watch.next(at, Owes::Nothing), Some(ms(30_100)));
        watch.begin();
        assert_eq!(watch.next(ms(1_200), Owes::Nothing), None);
    }
}
