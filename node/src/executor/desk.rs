//! Where wishes lie until the executor's task carries them to the guard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{ExecError, Order};
use crate::guard::RunKey;

/// Above what Linux gives to arguments and environment of a program (6 MiB at most), and below the
/// largest frame.
const ORDER_BYTES: usize = 7 << 20;

/// A desk between callers and the executor's task.
#[derive(Debug)]
pub(super) struct Desk {
    wishes: Mutex<Wishes>,
    changed: Notify,
    max_runs: usize,
}

/// What lies on the desk.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Runs to start, oldest first.
    pub(super) orders: VecDeque<Order>,
    /// Latest deadline of each run.
    pub(super) extensions: BTreeMap<RunKey, Duration>,
    /// Signals in the order of asking, each once a run.
    pub(super) signals: VecDeque<(RunKey, i32)>,
    /// Runs to kill.
    pub(super) kills: BTreeSet<RunKey>,
    /// Ends to forget.
    pub(super) forgets: BTreeSet<RunKey>,
    /// How the executor is to end.
    pub(super) close: Close,
    live: BTreeSet<RunKey>,
}

/// How an executor is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Close {
    /// Not now.
    #[default]
    Open,
    /// With time for the runs.
    Asked(Duration),
    /// At once: nobody listens.
    Abandoned,
}

impl Desk {
    /// An empty desk.
    pub(super) fn new(max_runs: usize) -> Self {
        Self {
            wishes: Mutex::default(),
            changed: Notify::new(),
            max_runs,
        }
    }

    /// Lays an order down.
    pub(super) fn order(&self, order: Order) -> Result<(), ExecError> {
        let own = order.argv.iter().map(|arg| arg.len() + 1);
        let extra = order
            .extra
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2);
        let bytes = order.env.bytes() + own.chain(extra).sum::<usize>();
        if bytes > ORDER_BYTES {
            return Err(ExecError::TooLarge(bytes));
        }
        let mut wishes = self.lock();
        if wishes.close != Close::Open {
            return Err(ExecError::Closed);
        }
        if wishes.live.contains(&order.key) {
            return Err(ExecError::KeyInUse(order.key));
        }
        if wishes.live.len() >= self.max_runs {
            return Err(ExecError::Full(self.max_runs));
        }
        wishes.live.insert(order.key);
        wishes.orders.push_back(order);
        drop(wishes);
        self.changed.notify_one();
        Ok(())
    }

    /// Lays extensions down.
    pub(super) fn extend(&self, runs: impl IntoIterator<Item = (RunKey, Duration)>) {
        let mut wishes = self.lock();
        for (key, deadline) in runs {
            if wishes.live.contains(&key) {
                let latest = wishes.extensions.entry(key).or_insert(deadline);
                *latest = deadline.max(*latest);
            }
        }
        drop(wishes);
        self.changed.notify_one();
    }

    /// Lays a signal down.
    pub(super) fn signal(&self, key: RunKey, signo: i32) {
        let mut wishes = self.lock();
        if wishes.live.contains(&key) && !wishes.signals.contains(&(key, signo)) {
            wishes.signals.push_back((key, signo));
        }
        drop(wishes);
        self.changed.notify_one();
    }

    /// Lays a kill down.
    pub(super) fn kill(&self, key: RunKey) {
        let mut wishes = self.lock();
        if wishes.live.contains(&key) {
            wishes.kills.insert(key);
        }
        drop(wishes);
        self.changed.notify_one();
    }

    /// Lays down that the end of a run may be forgotten.
    pub(super) fn forget(&self, key: RunKey) {
        self.lock().forgets.insert(key);
        self.changed.notify_one();
    }

    /// Counts runs that were found as under way.
    pub(super) fn take_over(&self, runs: impl IntoIterator<Item = RunKey>) {
        self.lock().live.extend(runs);
    }

    /// Asks for the end, with time for the runs; asked again, with less time.
    pub(super) fn shut_down(&self, grace: Duration) {
        let mut wishes = self.lock();
        wishes.close = match wishes.close {
            Close::Open => Close::Asked(grace),
            Close::Asked(earlier) => Close::Asked(earlier.min(grace)),
            Close::Abandoned => Close::Abandoned,
        };
        drop(wishes);
        self.changed.notify_one();
    }

    /// Asks for the end at once, unless one is under way.
    pub(super) fn abandon(&self) {
        let mut wishes = self.lock();
        if wishes.close == Close::Open {
            wishes.close = Close::Abandoned;
        }
        drop(wishes);
        self.changed.notify_one();
    }

    /// Number of runs under way.
    pub(super) fn live(&self) -> usize {
        self.lock().live.len()
    }

    /// Forgets a run that was refused or has ended, and the wishes for it.
    pub(super) fn over(&self, key: RunKey) {
        let mut wishes = self.lock();
        wishes.live.remove(&key);
        wishes.extensions.remove(&key);
        wishes.kills.remove(&key);
        wishes.signals.retain(|(other, _)| *other != key);
    }

    /// Takes everything but the set of live runs.
    pub(super) fn take(&self) -> Wishes {
        let mut wishes = self.lock();
        let live = std::mem::take(&mut wishes.live);
        let close = wishes.close;
        let taken = std::mem::take(&mut *wishes);
        *wishes = Wishes {
            live,
            close,
            ..Wishes::default()
        };
        taken
    }

    /// How the executor is to end.
    pub(super) fn close(&self) -> Close {
        self.lock().close
    }

    /// Waits until something is laid down; tells what was laid down before, too. Safe to drop.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
