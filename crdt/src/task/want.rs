//! What people want of tasks that are there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Edits, OutcomeDigest};
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
    /// It has ended, and is to run again: what it ended as counts no more. The replica that takes the wish puts in the rest.
    Again {
        /// The outcomes that count no more.
        void: Vec<OutcomeDigest>,
        /// So many of its tries count no more.
        tries: u32,
        /// So many of its runs without an end count no more.
        losses: u32,
    },
    /// It has ended, and nobody is to see it any more. The replica that takes the wish puts in what it ended as.
    Remove {
        /// The outcomes that it may have ended with; none: it was cancelled for want of a dependency, or is a group.
        ended: Vec<OutcomeDigest>,
    },
    /// As long as it has not started, it is to be otherwise than it was submitted. The replica that takes the wish puts in what was
    /// edited before.
    Edit(Box<Edits>),
}

/// The registers of wishes about a task: those of different ones do not hide each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum About {
    /// Its end, and all that is not of the others.
    End,
    /// Whether it waits for a person.
    Hold,
    /// That it runs again.
    Again,
    /// That nobody is to see it any more.
    Removal,
    /// In what it is otherwise than it was submitted.
    Edit,
}

impl Wish {
    /// The most outcomes that one wish names.
    pub const MOST_VOID: usize = 64;

    /// Returns what it is about.
    #[must_use]
    pub fn about(&self) -> About {
        match self {
            Self::Kill { .. } | Self::Close { .. } | Self::Retry { .. } => About::End,
            Self::Hold | Self::Release { .. } => About::Hold,
            Self::Again { .. } => About::Again,
            Self::Remove { .. } => About::Removal,
            Self::Edit(_) => About::Edit,
        }
    }
}
