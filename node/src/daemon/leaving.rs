//! How a node leaves: it takes no new task, lets its runs end for a while, ends what is left, and says its last words. And the
//! signals that ask for it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use super::node::Node;
use super::program::sd_notify;
use super::succession::estate::Early;
use crate::api::news::{Happening, HostWord};
use crate::clock::boottime;

/// Between SIGTERM and SIGKILL for the runs that are left when a node leaves.
const RUN_GRACE: Duration = Duration::from_secs(2);
/// How long a leaving node waits for its last words to be on disk and sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Whether the node stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It stays.
    No,
    /// It leaves of its own accord: no task is taken any more, and what was begun is finished, however long that takes.
    Settling,
    /// No task is taken any more; its runs may end by themselves until then.
    Draining(Duration),
    /// The guard ends what is left.
    Ending,
    /// No run is left; the last words are on their way to the disk.
    LastWords(Duration),
}

/// What a signal asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Leave,
    ToggleDrain,
    GiveWay,
}

impl Asked {
    fn by(signo: i32) -> Option<Self> {
        match signo {
            SIGTERM | SIGINT => Some(Self::Leave),
            SIGUSR1 => Some(Self::ToggleDrain),
            SIGHUP => Some(Self::GiveWay),
            _ => None,
        }
    }
}

/// The signals that a node understands.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    drain: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to hear them.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            drain: signal(SignalKind::user_defined1())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal. Safe to drop.
    pub(super) async fn next(&mut self) -> Asked {
        let signo = self.next_number().await;
        Asked::by(signo).unwrap_or(Asked::Leave)
    }

    async fn next_number(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SIGTERM,
            _ = self.interrupt.recv() => SIGINT,
            _ = self.drain.recv() => SIGUSR1,
            _ = self.hang_up.recv() => SIGHUP,
        }
    }

    /// Returns what came and was not waited for.
    pub(super) fn unheard(&mut self) -> Vec<i32> {
        std::iter::from_fn(|| self.next_number().now_or_never()).collect()
    }
}

impl Node {
    /// Does what the signals ask that came before there was a loop to hear them.
    pub(super) fn begin_with(&mut self, early: &Early) {
        for asked in early.signals().into_iter().filter_map(Asked::by) {
            self.take_signal(asked);
        }
    }

    pub(super) fn take_signal(&mut self, asked: Asked) {
        match (asked, self.leaving) {
            (Asked::Leave, Leaving::No | Leaving::Settling) => {
                let grace = self.settings.grace;
                info!(?grace, "leaving: no new task is taken, runs may end");
                self.end_succession();
                self.leaving = Leaving::Draining(boottime() + grace);
                self.feed_drain();
                self.hand_back_waiting();
            }
            (Asked::Leave, Leaving::Draining(_) | Leaving::Ending) => {
                info!("leaving at once: runs are killed");
                self.end_runs_within(Duration::ZERO);
            }
            (Asked::Leave, Leaving::LastWords(_)) => {
                info!("leaving at once");
                self.leaving = Leaving::LastWords(Duration::ZERO);
            }
            (Asked::ToggleDrain, _) => {
                self.drained_by_hand = !self.drained_by_hand;
                info!(
                    drained = self.drained_by_hand,
                    "told whether to take no more work"
                );
                self.feed_drain();
                self.news.tell(Happening::Host {
                    host: self.settings.name.clone(),
                    tag: self.replica.own_tag().to_string(),
                    is: match self.drained_by_hand {
                        true => HostWord::Draining,
                        false => HostWord::Working,
                    },
                });
            }
            (Asked::GiveWay, _) => self.seek_successor(),
        }
    }

    /// Ends the runs that are left, and the guard.
    pub(super) fn end_runs(&mut self) {
        self.end_runs_within(RUN_GRACE);
    }

    fn end_runs_within(&mut self, grace: Duration) {
        self.leaving = Leaving::Ending;
        self.hand_back_waiting();
        self.runs.leave();
        let executor = Arc::clone(&self.executor);
        tokio::spawn(async move { executor.shutdown(grace).await });
    }

    /// Tells once when a node that takes no more work has none left.
    pub(super) fn tell_rest(&mut self) {
        let takes_none =
            self.drained_by_hand || self.leaving != Leaving::No || self.replica.is_retired();
        let rests = takes_none && self.runs.is_empty() && self.replica.live_claims() == 0;
        if rests && !self.rests {
            info!("no claim is left here, and no new one is made");
            sd_notify("STATUS=takes no work; no claim is left");
            let host = self.settings.name.clone();
            self.news.tell(Happening::Rest { host });
        } else if self.rests && !rests {
            sd_notify("STATUS=");
        }
        self.rests = rests;
    }

    pub(super) fn begin_last_words(&mut self) {
        if self.leaving == Leaving::Ending {
            self.leaving = Leaving::LastWords(boottime() + LAST_WORDS);
        }
    }

    pub(super) fn has_left(&self) -> bool {
        let Leaving::LastWords(until) = self.leaving else {
            return false;
        };
        let done = self.runs.is_empty() && self.unconfirmed.is_none();
        done && self.replica.live_claims() == 0 || boottime() >= until
    }
}
