//! What the executor's task does about a guard that stands still; when, is told by [`Watch`](super::Watch).

use tracing::warn;

use super::{Actor, Asked, Parting};
use crate::clock::boottime;
use crate::executor::launch::Guard;
use crate::executor::patience::{Owes, Verdict};
use crate::guard::Request;
use crate::guard::frame::encode;

impl Actor {
    /// Sets the alarm to the next look.
    ///
    /// # Errors
    /// What is known about the clock; none is expected.
    pub(super) fn set_alarm(&mut self) -> Result<(), String> {
        let owes = match self.given.is_empty() && self.asked_to_end == Asked::No {
            true => Owes::Nothing,
            false => Owes::Something,
        };
        let at = self.watch.next(boottime(), owes);
        self.alarm.set(at).map_err(|error| error.to_string())
    }

    /// Kills what is overdue, and asks a guard that has been silent; all that it has said has been read.
    ///
    /// # Errors
    /// The guard is of no use any more.
    pub(super) async fn look(&mut self, guard: &Guard) -> Result<(), Parting> {
        let now = boottime();
        let overdue = self.watch.overdue(now);
        if !overdue.is_empty() {
            let runs = overdue.len();
            match self.launcher.strike(overdue).await {
                // Only the news of their end is missing.
                Ok(0) => {}
                Ok(processes) => warn!(runs, processes, "killed what the guard had not"),
                Err(error) => warn!(runs, %error, "overdue runs cannot be killed"),
            }
        }
        match self.watch.look(now, || guard.standing()) {
            Verdict::Wait => Ok(()),
            Verdict::Ask => encode(&Request::AreYouAlive, &mut self.out)
                .map_err(|error| Parting::Lost(error.to_string())),
            Verdict::Silent => Err(Parting::Lost("the guard stands still".into())),
        }
    }
}
