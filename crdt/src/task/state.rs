//! The states of tasks, and what a status line shows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Element, Membership, Outcome, TaskSpec};
use crate::ids::{Epoch, PeerId, TaskId};
use crate::time::Wall;

/// The states that people read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Its spec has not arrived here yet.
    Creating,
    /// Waits for a host.
    Pending,
    /// Waits for other tasks.
    Blocked,
    /// Waits for a person.
    Held,
    /// A host holds it and has not started it.
    Claimed,
    /// A host runs it.
    Running,
    /// Ended well.
    Success,
    /// Ended badly.
    Error,
    /// Ended by a person.
    Killed,
    /// Ended before it began.
    Cancelled,
    /// Its host was lost.
    Lost,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 11] = [
        Self::Creating,
        Self::Pending,
        Self::Blocked,
        Self::Held,
        Self::Claimed,
        Self::Running,
        Self::Success,
        Self::Error,
        Self::Killed,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Says whether nothing more will happen (COMPLETE).
    #[must_use]
    pub fn is_complete(self) -> bool {
        match self {
            Self::Success | Self::Error | Self::Killed | Self::Cancelled | Self::Lost => true,
            Self::Creating
            | Self::Pending
            | Self::Blocked
            | Self::Held
            | Self::Claimed
            | Self::Running => false,
        }
    }

    /// Returns the name that people type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Pending => "pending",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Success => "success",
            Self::Error => "error",
            Self::Killed => "killed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TaskView {
    /// Returns its id as people type it: `TAG-N`, or `TAG-N.I` for an element of an array.
    #[must_use]
    pub fn label(&self) -> String {
        let array = self.member_of.map(|member| member.group);
        let element = self.element.as_ref().zip(array);
        element.map_or_else(
            || self.id.to_string(),
            |(element, array)| element.label(array),
        )
    }
}

/// Everything a status line shows of a task.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskView {
    /// Which task.
    pub id: TaskId,
    /// What was submitted.
    pub spec: Arc<TaskSpec>,
    /// The group that it belongs to, and its place there.
    pub member_of: Option<Membership>,
    /// Which task of an array it is.
    pub element: Option<Element>,
    /// Where it stands.
    pub state: TaskState,
    /// Why it stands there, in few words: `exit 3`, `signal 9`, `dependency ID`, …
    pub reason: Option<String>,
    /// What its run said of itself last, some seconds ago: for people.
    pub progress: Option<String>,
    /// The host that holds or held it last.
    pub host: Option<PeerId>,
    /// The highest epoch at which it was claimed.
    pub epoch: Epoch,
    /// How many runs were started, as far as is known here.
    pub attempts: u32,
    /// When its latest run started, by its host's wall clock.
    pub started: Option<Wall>,
    /// The committed outcome.
    pub outcome: Option<Arc<Outcome>>,
    /// For a group: members by state, in the order of [`TaskState::ALL`].
    pub members: Option<[u32; 11]>,
}
