//! Tasks: what a person submits, how a run ended, and the states that people read.
//!
//! A [`TaskSpec`] is immutable once written. An [`Outcome`] says how one run ended; it is final or asks for another run.
//! Units: cpus in thousandths, memory in bytes, times in milliseconds of the wall clock, usage in microseconds.

mod array;
mod edits;
mod numbered;
mod options;
mod outcome;
mod state;
mod text;
mod want;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, TaskId};
use crate::time::Wall;

pub use self::array::{Element, Elements};
pub use self::edits::Edits;
pub use self::numbered::Extra;
pub use self::options::{Cause, Condition, Input, Options};
pub use self::outcome::{
    Captured, Exit, Limits, Outcome, OutcomeDigest, RunReport, Usage, Verdict,
};
pub use self::state::{TaskState, TaskView};
pub use self::text::{Arg, Environment};
pub use self::want::{About, Want, Wish};

/// What a task asks of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Needs {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// Bytes; 0 = unstated.
    pub memory_bytes: u64,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            cpu_milli: 1_000,
            memory_bytes: 0,
        }
    }
}

/// What becomes of a task whose host was lost while it ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// Run it again elsewhere once the lease has run out.
    #[default]
    Retry,
    /// Wait for that host, however long: it alone knows what became of the run. Votes are never freed by silence, so this
    /// needs no clock.
    Wait,
    /// End it as lost once the lease has run out.
    Fail,
}

/// Where a task may run while the mesh is split.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPartition {
    /// Only where a majority of its committee answers: never twice at once.
    #[default]
    Wait,
    /// On any host that can be reached: both sides of a split may run it, and one result counts.
    Run,
}

/// Membership of a group: which one, the place in it, and how many of it may run at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// The group's own task id.
    pub group: TaskId,
    /// Place in the order of input, from 0.
    pub index: u32,
    /// At most this many members run at once, mesh-wide; 0 = no limit.
    pub window: u32,
}

/// What a record of a segment is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A command to run; never empty. With `shell`, the first word is a script and the rest its `$@`.
    Command {
        /// Program and arguments.
        argv: Vec<Arg>,
        /// Run through a shell (its program), or directly.
        shell: Option<Arg>,
    },
    /// A group: never runs; its state is that of its members.
    Group {
        /// How many members there are, once that is known.
        size: Option<u32>,
    },
}

/// What a person submits. Immutable; at most [`TaskSpec::MAX_BYTES`] encoded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The command, or that it is a group.
    pub work: Work,
    /// For people.
    pub name: Option<String>,
    /// Working directory, absolute.
    pub cwd: Arg,
    /// Content address of the environment, stored once a segment.
    pub env: Option<Digest>,
    /// Variables on top of it.
    pub extra_env: Environment,
    /// What a host must have free.
    pub needs: Needs,
    /// Higher first.
    pub priority: i32,
    /// These must succeed first.
    pub after: Vec<TaskId>,
    /// The group it belongs to.
    pub member_of: Option<Membership>,
    /// Name of the user to whom it belongs and as whom it runs. A host that takes it looks that user up by name.
    pub user: String,
    /// User id of who submitted it, on that host; for people.
    pub uid: u32,
    /// When it was submitted.
    pub created: Wall,
    /// How many more times it may run after a failure.
    pub retries: u32,
    /// What happens when its host is lost.
    pub on_lost: OnLost,
    /// Where it may run while the mesh is split.
    pub on_partition: OnPartition,
    /// What few tasks state.
    pub options: Options,
}

impl TaskSpec {
    /// The largest encoded size of one spec.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The priority of a task that states none.
    pub const DEFAULT_PRIORITY: i32 = 1_000;

    /// Returns a spec of `argv` with every default.
    #[must_use]
    pub fn command<A: Into<Arg>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            work: Work::Command {
                argv: argv.into_iter().map(Into::into).collect(),
                shell: None,
            },
            name: None,
            cwd: Arg::from("/"),
            env: None,
            extra_env: Environment::default(),
            needs: Needs::default(),
            priority: Self::DEFAULT_PRIORITY,
            after: Vec::new(),
            member_of: None,
            user: String::new(),
            uid: 0,
            created: Wall(0),
            retries: 0,
            on_lost: OnLost::Retry,
            on_partition: OnPartition::Wait,
            options: Options::default(),
        }
    }

    /// Returns how many tasks it stands for: those of an array, or one.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.options.elements.as_ref().map_or(1, Elements::len)
    }

    /// Returns what must have become of which tasks before it may start.
    pub fn dependencies(&self) -> impl Iterator<Item = (TaskId, Condition)> + '_ {
        let kinds = [
            (&self.after, Condition::Success),
            (&self.options.after_any, Condition::End),
            (&self.options.after_fail, Condition::Failure),
        ];
        kinds
            .into_iter()
            .flat_map(|(ids, condition)| ids.iter().map(move |id| (*id, condition)))
    }
}
