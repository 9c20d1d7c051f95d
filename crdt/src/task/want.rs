//! What people want of tasks that are there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::Epoch;
use crate::time::Hlc;

/// What a person wants of a task after its submission; the newest stamp wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Want {
    /// Orders wants.
    pub stamp: Hlc,
    /// Who asked, for people.
    pub by: String,
    /// What.
    pub wish: Wish,
}

/// The kinds of [`Want`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// End it: cancel if it has not started, else `signal`, then SIGKILL after `grace`.
    Kill {
        /// The first signal's number.
        signal: i32,
        /// How long it gets.
        grace: Duration,
        /// A person's reason.
        reason: Option<String>,
    },
    /// A group has so many members, and no more will come.
    Close {
        /// How many.
        size: u32,
    },
    /// A person's word that no run of it at this epoch or below is alive, though its host cannot be asked.
    Retry {
        /// The epoch of the run that was lost. The replica that takes the wish puts in the highest that it knows.
        lost: Epoch,
    },
    /// It does not start; what runs, runs on.
    Hold,
    /// It may start again, even if hosts were lost with it before.
    Release {
        /// So many of its runs without an end count no more. The replica that takes the wish puts in those that it knows.
        forgiven: u32,
    },
}

impl Wish {
    /// Says whether it is about waiting for a person: such wishes have a register of their own, so that they and the others
    /// do not hide each other.
    #[must_use]
    pub fn is_about_holding(&self) -> bool {
        match self {
            Self::Hold | Self::Release { .. } => true,
            Self::Kill { .. } | Self::Close { .. } | Self::Retry { .. } => false,
        }
    }
}
