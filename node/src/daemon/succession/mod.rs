//! HUP: the program that now lies where this one was started from takes its place, in the same process, while runs go on.
//!
//! The one idea: this is the death and restart that a node survives anyway (the guard goes on with the runs, the log has all that
//! was promised, a claim goes on from what the guard tells), with all that is known beforehand made certain: the next program is
//! asked whether it can follow ([`question`]) before anything is given up, no request and no write is cut in two, and what must
//! not be let go for an instant is handed on as it is ([`estate`]): the lock of the data directory, the API's socket with those
//! who wait at it, and the signals that come meanwhile.

pub(super) mod estate;
pub(super) mod origin;
pub(super) mod question;

use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::leaving::Leaving;
use super::node::Node;
use super::program::sd_notify;
use super::upkeep::Part;
use crate::clock::{boottime, monotonic};
use crate::signals::Memory;
use question::{Successor, Unfit};

/// How long requests and writes that are under way may hold up the change; the lease goes on meanwhile.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// How far the change has come.
#[derive(Debug)]
pub(in crate::daemon) enum Succession {
    /// Nobody wants one.
    None,
    /// The program on disk is asked.
    Asking(oneshot::Receiver<Result<Successor, Unfit>>),
    /// It can follow, as soon as nothing is under way, or then at the latest.
    Agreed {
        successor: Successor,
        until: Duration,
        /// What comes from now on and is not heard here is for the successor to hear.
        signals: Memory,
    },
}

impl Succession {
    /// Waits for what the program on disk says; for ever if it is not asked. Safe to drop.
    pub(in crate::daemon) async fn answer(&mut self) -> Result<Successor, Unfit> {
        match self {
            Self::Asking(answer) => answer.await.unwrap_or(Err(Unfit::Dropped)),
            Self::None | Self::Agreed { .. } => std::future::pending().await,
        }
    }

    /// When the change happens at the latest.
    pub(in crate::daemon) fn due(&self) -> Option<Duration> {
        match self {
            Self::Agreed { until, .. } => Some(*until),
            Self::None | Self::Asking(_) => None,
        }
    }

    /// Whether requests are left to the successor.
    pub(in crate::daemon) fn is_agreed(&self) -> bool {
        matches!(self, Self::Agreed { .. })
    }
}

impl Node {
    /// Asks the program on disk whether it can follow.
    pub(in crate::daemon) fn seek_successor(&mut self) {
        if self.leaving != Leaving::No {
            return info!("leaving already: no other program takes over");
        }
        if !matches!(self.succession, Succession::None) {
            return info!("another program is about to take over already");
        }
        let (tell, answer) = oneshot::channel();
        let (origin, data) = (self.origin.clone(), self.settings.data.clone());
        info!(program = %origin.path().display(), "asking whether the program on disk can follow");
        tokio::spawn(async move {
            // The node may have left meanwhile.
            let _told = tell.send(question::ask(origin, &data).await);
        });
        sd_notify(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            monotonic().as_micros()
        ));
        self.succession = Succession::Asking(answer);
    }

    /// Takes what the program on disk says.
    pub(in crate::daemon) fn take_answer(&mut self, answer: Result<Successor, Unfit>) {
        self.succession = Succession::None;
        let found = answer
            .map_err(|why| why.to_string())
            .and_then(|successor| Ok((successor, Memory::begin().map_err(|e| e.to_string())?)));
        match found {
            Ok((successor, signals)) => {
                info!(
                    version = successor.version(),
                    "giving way to the program on disk"
                );
                let until = boottime() + LAST_WRITES;
                self.succession = Succession::Agreed {
                    successor,
                    until,
                    signals,
                };
            }
            Err(why) => self.go_on_alone(&why),
        }
    }

    /// Takes note that no other program takes over.
    fn go_on_alone(&mut self, why: &str) {
        error!(
            program = %self.origin.path().display(),
            why,
            "the program on disk cannot follow; this one goes on"
        );
        self.mishaps.note(Part::Successor, why);
        self.news.mishap(Part::Successor.name(), why);
        sd_notify("READY=1");
    }

    /// This node is to leave: nobody follows.
    pub(in crate::daemon) fn end_succession(&mut self) {
        if !matches!(self.succession, Succession::None) {
            warn!("leaving: no other program takes over");
            self.succession = Succession::None;
        }
    }

    /// Whether it is time for the successor: nothing is under way, or it has been for too long.
    pub(in crate::daemon) fn is_succeeded(&self) -> bool {
        let idle = self.unconfirmed.is_none() && self.pending.is_empty() && self.looks.is_idle();
        self.succession
            .due()
            .is_some_and(|until| idle || boottime() >= until)
    }
}
