//! On what a claim of a task rests: the part of its spec that the rules of claims read.
//!
//! The protocol of `docs/protocol.md` is that of [`Terms::Lease`]. The others differ from it in the points named here and in
//! nothing else; a task has one kind of terms for its whole life, since a spec never changes.

use crate::task::{OnLost, OnPartition, TaskSpec};

/// On what a claim rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Terms {
    /// A majority of votes, for as long as their members go on answering.
    #[default]
    Lease,
    /// A majority of votes, for ever: silence frees none (V2 d does not apply), so that no clock is needed. A vote is freed
    /// besides by a person's word that the run is dead.
    Votes,
    /// That no better claim was seen within the settle window. There are no votes; every side of a split may run the task, and
    /// the least of all outcomes counts.
    Anywhere,
}

impl Terms {
    /// Returns the terms of a task.
    #[must_use]
    pub fn of(spec: &TaskSpec) -> Self {
        match (spec.on_partition, spec.on_lost) {
            (OnPartition::Run, _) => Self::Anywhere,
            (OnPartition::Wait, OnLost::Wait) => Self::Votes,
            (OnPartition::Wait, OnLost::Retry | OnLost::Fail) => Self::Lease,
        }
    }
}
