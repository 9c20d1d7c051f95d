//! What is answered of tasks: that they are queued, how they stand, what they printed.

use std::collections::BTreeMap;

use crdt::task::{Arg, Captured, Needs, OnLost, OnPartition, TaskState, Usage};
use serde::{Deserialize, Serialize};

use super::{Life, Requirements, StdinWord, StreamName};

/// Ids of queued tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// In the order of the submission.
    pub ids: Vec<String>,
    /// How many disks of the committee hold them; 0 where another host took them before.
    pub copies: u8,
    /// How many there are; 0 as well.
    pub committee: u8,
    /// They had been taken before, under the same key: the one id is that of the first.
    #[serde(default)]
    pub known: bool,
}

/// A group that takes no more members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Closed {
    /// Its id.
    pub group: String,
    /// How many members it has.
    pub size: u32,
}

/// A list of tasks; a long one comes in several lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tasks {
    /// In order of submission.
    pub tasks: Vec<TaskLine>,
    /// How many more there are beyond the limit.
    pub more: u64,
}

/// One task as `status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskLine {
    /// `TAG-N`; `TAG-N.I` for an element of an array.
    pub id: String,
    /// The group it belongs to.
    #[serde(default)]
    pub group: Option<String>,
    /// The task that submitted it.
    #[serde(default)]
    pub parent: Option<String>,
    /// For people.
    #[serde(default)]
    pub name: Option<String>,
    /// The command as one would type it.
    pub command: String,
    /// Where it stands.
    pub state: TaskState,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// What its run said of itself last: `0.42 rendering`.
    #[serde(default)]
    pub progress: Option<String>,
    /// Name of the host that holds, runs or ran it.
    #[serde(default)]
    pub host: Option<String>,
    /// The highest epoch seen.
    pub epoch: u32,
    /// Runs started.
    pub attempts: u32,
    /// Higher first.
    pub priority: i32,
    /// The named queue.
    #[serde(default)]
    pub queue: Option<String>,
    /// The user to whom it belongs, and as whom it runs.
    pub user: String,
    /// What it depends on, whatever must have become of that.
    #[serde(default)]
    pub after: Vec<String>,
    /// Wall clock, milliseconds since 1970.
    pub created_ms: u64,
    /// When the latest run started.
    #[serde(default)]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// Exit code.
    #[serde(default)]
    pub exit: Option<i32>,
    /// Signal.
    #[serde(default)]
    pub signal: Option<i32>,
    /// For a group: members by state name (only states that occur).
    #[serde(default)]
    pub members: Option<BTreeMap<String, u32>>,
    /// In a closed tree: what the members of a group submitted, by state name.
    #[serde(default)]
    pub below: Option<BTreeMap<String, u32>>,
    /// Processors that it needs; nothing for a group.
    #[serde(default)]
    pub cpus: Option<f64>,
    /// Memory that it needs, bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// The most memory that its run had, bytes.
    #[serde(default)]
    pub rss_bytes: Option<u64>,
}

/// Details of tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    /// One for each.
    pub tasks: Vec<Detail>,
}

/// Everything known of one task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detail {
    /// Its status line.
    pub line: TaskLine,
    /// Program and arguments.
    pub argv: Vec<Arg>,
    /// They are an interpreter, a function and its arguments.
    #[serde(default)]
    pub call: bool,
    /// Working directory.
    pub cwd: Arg,
    /// Needs.
    pub needs: Needs,
    /// How many more times it may run after a failure.
    #[serde(default)]
    pub retries: u32,
    /// What becomes of it when its host is lost.
    #[serde(default)]
    pub on_lost: OnLost,
    /// Where it may run while the mesh is split.
    #[serde(default)]
    pub on_partition: OnPartition,
    /// What few tasks state.
    #[serde(default)]
    pub life: Life,
    /// What else a host must have, be and be called.
    #[serde(default)]
    pub requires: Requirements,
    /// The group as which it runs, if that was stated.
    #[serde(default)]
    pub as_group: Option<String>,
    /// Who submitted it, if it belongs to another.
    #[serde(default)]
    pub submitter: Option<String>,
    /// Names of the committee's members.
    pub committee: Vec<String>,
    /// Bids, votes and outcomes, each as a line for people.
    pub registers: Vec<String>,
    /// Claims that got a vote, in order of epochs.
    #[serde(default)]
    pub attempts: Vec<AttemptLine>,
    /// What the committed run used.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Which stated limits that run's host could see to.
    #[serde(default)]
    pub limits: Option<LimitWords>,
    /// Its standard output.
    #[serde(default)]
    pub stdout: Option<Captured>,
    /// Its standard error.
    #[serde(default)]
    pub stderr: Option<Captured>,
}

impl Detail {
    /// Returns what people see of others' tasks: not what they read from the bytes that they were given.
    #[must_use]
    pub fn without_input(mut self) -> Self {
        let stdin = self.life.stdin.take();
        self.life.stdin = stdin.filter(|stdin| matches!(stdin, StdinWord::File(_)));
        self
    }
}

/// Which limits were in force for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitWords {
    /// It could take no more memory than was stated.
    pub memory: bool,
    /// It could take no more processors than were stated.
    pub cpus: bool,
}

/// One claim of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLine {
    /// Its epoch.
    pub epoch: u32,
    /// Name of the host that bid.
    pub host: String,
    /// When its run started; nothing if none did.
    #[serde(default)]
    pub started_ms: Option<u64>,
    /// Names of the members that voted for it, and why each could, for people.
    pub votes: Vec<VoteLine>,
    /// How it ended, for people.
    pub end: String,
    /// Parts of its host that failed meanwhile, and what each did to it, for people.
    #[serde(default)]
    pub harms: Vec<String>,
}

/// A member's vote for a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteLine {
    /// The member's name.
    pub member: String,
    /// What allowed it to vote, for people.
    pub because: String,
    /// The rule of `docs/protocol.md` that says so.
    pub rule: String,
}

/// A piece of output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutputPiece {
    /// Which stream.
    pub stream: StreamName,
    /// Name of the host it comes from.
    #[serde(default)]
    pub host: Option<String>,
    /// The bytes.
    pub data: Arg,
}

/// How far a wait is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Tasks waited for (members of groups counted, groups not).
    pub total: u64,
    /// Ended.
    pub done: u64,
    /// Ended otherwise than well.
    pub failed: u64,
    /// Running now.
    pub running: u64,
    /// On the last line the tasks that were named, as they are now; with `each`, on any line those that have just ended.
    #[serde(default)]
    pub tasks: Vec<TaskLine>,
}

/// What became of a wish about tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Noted {
    /// Tasks that had ended before, or, where they are edited, had started: it came too late for them. Those that are to run again, or
    /// to be removed: they had not ended.
    pub ended: Vec<TaskLine>,
    /// How many others were named; the members of a group are not counted apart.
    pub asked: u64,
}

/// Why a task does not run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reasons {
    /// The task, as the host asked sees it.
    pub task: TaskLine,
    /// The host asked first, then by name.
    pub hosts: Vec<ReasonLine>,
}

/// Why a task does not run on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonLine {
    /// What people call the host.
    pub host: String,
    /// Its tag.
    pub tag: String,
    /// It says so itself; else it is what was heard of it last.
    pub told: bool,
    /// What kind of reason, as a word that stays the same: `held`, `waits`, `early`, `queue`, `drained`, `disk`, `misfit`, `unfit`,
    /// `committee`, `unsure`, `room`, `behind`, `nothing`, `claims`, `runs`, `elsewhere`, `ended`, `group`, `unknown`, `silent`.
    pub kind: String,
    /// What, for people.
    pub what: String,
    /// Until when, milliseconds since 1970, as far as that is certain.
    #[serde(default)]
    pub until_ms: Option<u64>,
}
