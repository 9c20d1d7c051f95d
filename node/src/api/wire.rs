//! The words of the API: JSON lines over the node's Unix socket, and over a stream between peers.
//!
//! A client sends [`Request`] lines and reads [`Reply`] lines; a reply carries its request's `id`. Most requests have one reply;
//! `output`, `wait` and a long `status` have several. The last (or only) one has `"end": true`. A line is at most [`MAX_LINE`] bytes.
//! The server greets with a [`Hello`] line. Unknown fields are ignored, so that versions may differ.

use std::collections::BTreeMap;
use std::time::Duration;

use crdt::entry::DutyKind;
use crdt::event::Durability;
use crdt::task::{
    Arg, Captured, Elements, Environment, Needs, OnLost, OnPartition, TaskState, Usage,
};
use serde::{Deserialize, Serialize};

use super::news::{EventList, EventsQuery};
use super::page::{Page, PageQuery};
use super::select::Selection;

/// The longest line, bytes.
pub const MAX_LINE: usize = 8 << 20;
/// The version of this vocabulary.
pub const SCHEMA: u32 = 1;

/// The server's first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`SCHEMA`] of the server.
    pub aque: u32,
    /// The node's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// The node's tag.
    pub tag: String,
    /// The mesh, hex.
    pub mesh: String,
}

/// A client's line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client; comes back in the replies.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub call: Call,
}

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub enum Call {
    /// Queue tasks. Answered by [`Submitted`].
    Submit(Submission),
    /// List tasks. Answered by [`Tasks`].
    Status(StatusQuery),
    /// Everything known of some tasks. Answered by [`Details`].
    Show {
        /// Which.
        #[serde(flatten)]
        which: Selection,
    },
    /// The output of one task. Answered by [`OutputPiece`]s.
    Output(OutputQuery),
    /// A group has all its members. Answered by [`Closed`]; closing it again with the same size is no error.
    Close {
        /// The group's id.
        group: String,
        /// How many members it has.
        size: u32,
    },
    /// Wait until tasks have ended. Answered by [`Progress`] lines. A group has ended when it is closed and all its members have.
    Wait {
        /// Which.
        #[serde(flatten)]
        which: Selection,
        /// One is enough.
        #[serde(default)]
        any: bool,
        /// Wait for this state (or any complete one) instead of for the end.
        #[serde(default)]
        state: Option<TaskState>,
        /// Every line tells in [`Progress::tasks`] the tasks (of a group: its members) that have ended since the line before,
        /// each task once; the first line tells those that had ended before.
        #[serde(default)]
        each: bool,
    },
    /// Part of a list of tasks. Answered by [`Page`].
    Page(PageQuery),
    /// Tell what happens. Answered by [`EventList`]s.
    Events(EventsQuery),
    /// End tasks. Answered by [`Noted`].
    Kill {
        /// Which.
        #[serde(flatten)]
        which: Selection,
        /// The first signal.
        signal: i32,
        /// How long it gets before SIGKILL.
        grace: Duration,
        /// For people.
        #[serde(default)]
        reason: Option<String>,
        /// With all that stands behind them: children, and what depends on them.
        #[serde(default)]
        recursive: bool,
    },
    /// Run tasks again that have ended, or, where they wait for a lost host, take a person's word that their runs are dead.
    /// Answered by [`Noted`].
    Retry {
        /// Which; with `failed`, none means all of the caller's.
        #[serde(flatten)]
        which: Selection,
        /// Only those that failed or were lost.
        #[serde(default)]
        failed: bool,
        /// Also those that succeeded.
        #[serde(default)]
        succeeded: bool,
        /// With all that stands behind them: children, and what depends on them.
        #[serde(default)]
        recursive: bool,
    },
    /// A person wants something of a host. Answered by [`Assigned`].
    Assign {
        /// Its name or tag; the host asked itself if there is none.
        node: Option<String>,
        /// What.
        duty: DutyWord,
    },
    /// Keep tasks from starting. Answered by [`Noted`].
    Hold {
        /// Which.
        #[serde(flatten)]
        which: Selection,
    },
    /// Let tasks start that were held. Answered by [`Noted`].
    Release {
        /// Which.
        #[serde(flatten)]
        which: Selection,
    },
    /// Why a task does not run, host by host. Answered by [`Reasons`].
    Explain {
        /// Which.
        id: String,
        /// Of the host asked alone, as one host asks another.
        #[serde(default)]
        alone: bool,
    },
    /// Let tasks that have not started be otherwise than they were submitted. Answered by [`Noted`].
    Edit {
        /// Which; of a group all members.
        #[serde(flatten)]
        which: Selection,
        /// In what.
        edits: Box<EditWords>,
    },
    /// Remove tasks that have ended: nobody sees them any more, and their output is deleted. Answered by [`Noted`].
    Remove {
        /// Which; of a group all members; with `all`, none means all of the caller's.
        #[serde(flatten)]
        which: Selection,
        /// Whatever has ended, where none are named.
        #[serde(default)]
        all: bool,
    },
    /// Pass all further lines of this connection on to another host, and its lines back. Answered by that host's [`Hello`].
    Pass {
        /// Its name or tag.
        node: String,
    },
    /// The hosts of the mesh. Answered by [`Nodes`].
    Nodes {},
    /// A ticket for a new host. Answered by [`Invitation`].
    Invite {},
    /// What holds for the whole mesh. Answered by [`SettingList`].
    Settings {},
    /// Change that. Answered by [`SettingLine`].
    Set {
        /// Which.
        name: String,
        /// To what; none: each host goes by its own options again.
        #[serde(default)]
        value: Option<String>,
    },
    /// The named queues. Answered by [`QueueList`].
    Queues {},
    /// This node's own figures. Answered by [`Stats`].
    Stats {},
    /// Whether this node and what is around it is well. Answered by [`Checkup`].
    Doctor {},
}

/// Tasks to queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Submission {
    /// In order.
    pub tasks: Vec<TaskRequest>,
    /// The environment of tasks that inherit.
    #[serde(default)]
    pub env: Option<Environment>,
    /// When to answer.
    #[serde(default)]
    pub durable: DurableWord,
}

/// [`Durability`] as people type it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurableWord {
    /// On this host's disk.
    Local,
    /// On a majority of the committee's disks.
    #[default]
    Quorum,
}

impl From<DurableWord> for Durability {
    fn from(word: DurableWord) -> Self {
        match word {
            DurableWord::Local => Self::Local,
            DurableWord::Quorum => Self::Quorum,
        }
    }
}

/// One task as the client describes it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TaskRequest {
    /// Program and arguments; empty for a group.
    pub argv: Vec<Arg>,
    /// Run through this shell: `SHELL -c argv[0] SHELL argv[1..]`.
    #[serde(default)]
    pub shell: Option<Arg>,
    /// The words are an interpreter, a function of it as MODULE:NAME, and perhaps the arguments as JSON: the function is called.
    #[serde(default)]
    pub call: bool,
    /// It is a group with so many members (0 = not known yet), not a command.
    #[serde(default)]
    pub group_size: Option<u32>,
    /// For people.
    #[serde(default)]
    pub name: Option<String>,
    /// Absolute.
    pub cwd: Arg,
    /// Takes [`Submission::env`].
    #[serde(default)]
    pub inherit_env: bool,
    /// On top of it.
    #[serde(default)]
    pub extra_env: Environment,
    /// Free capacity that it needs.
    #[serde(default)]
    pub needs: Needs,
    /// Higher first; 1000 unless stated.
    #[serde(default)]
    pub priority: Option<i32>,
    /// Ids that must succeed first.
    #[serde(default)]
    pub after: Vec<String>,
    /// Places in this submission that must succeed first.
    #[serde(default)]
    pub after_places: Vec<u32>,
    /// The group it belongs to.
    #[serde(default)]
    pub member: Option<MemberRequest>,
    /// It stands for so many members of that group, the first at the place stated.
    #[serde(default)]
    pub elements: Option<Elements>,
    /// Runs again so often after a failure.
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
    /// The task that submits it, or for which it is submitted.
    #[serde(default)]
    pub parent: Option<String>,
    /// What decides whose turn it is, beside the priority.
    #[serde(default)]
    pub turn: Turn,
    /// As whom it is to run; only root may name another user, and nobody else a group that the user is not in.
    #[serde(default)]
    pub run_as: RunAs,
}

/// As whom a task is to run, where that is stated: by names, which each host looks up for itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunAs {
    /// The user to whom it belongs from then on; none: who submits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group; none: that user's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl RunAs {
    /// Says whether anybody is named.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }
}

/// What decides when it is a task's turn, beside its priority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Turn {
    /// The named queue; none: the mesh's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How long it will take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Mounts that it uses much.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io: Vec<String>,
}

/// What a host must have, be and be called, beyond processors and memory.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// Named resources, and how much of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, f64>,
    /// All processors of the host but so many, whatever the needs say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_but: Option<f64>,
    /// Its processors, in the needs or here, were stated: a run gets no more where its host can see to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cpu_limit: bool,
    /// What it needs of memory, bytes, after it has run out of it once, twice, and so on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory_ladder: Vec<u64>,
    /// Hosts, as [`crdt::fit::HostPatterns`] reads them; empty: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hosts: String,
    /// System, or system and machine, such as `linux/x86_64`; empty: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Paths that it must be able to read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Arg>,
}

/// What a task is to be otherwise; what is not stated stays as it is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EditWords {
    /// For people; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Higher first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// All processors of the host but so many, whatever `cpus` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_but: Option<f64>,
    /// Bytes, after none, one, two losses of memory, and so on; empty: unstated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Vec<u64>>,
    /// Named resources, and how much of each: all that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<BTreeMap<String, f64>>,
    /// Hosts, as [`crdt::fit::HostPatterns`] reads them; empty: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<String>,
    /// System, or system and machine; empty: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The named queue; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// When a task may start, how long and how often it may run, and where its streams lead: what few tasks state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// Ids that must have ended first, however.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after_any: Vec<String>,
    /// Ids that must have ended otherwise than well first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after_fail: Vec<String>,
    /// It does not start before, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// It does not start after, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// A run that takes longer is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// It waits for `release` from the start.
    pub held: bool,
    /// Failures after which it is tried again: `75`, `1-9`, `signal`, `signal:9`, `timeout`, `oom`, `call`; none: all but `call`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
    /// The pause before the first retry; twice as long before each further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
    /// What it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<StdinWord>,
    /// It reads what this task wrote to its standard output, and waits for it: for its success, unless it is named above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipe_from: Option<String>,
    /// The file that takes its output; a relative path starts at its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Arg>,
    /// The same for errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Arg>,
    /// The submitter's own name for this submission: submitted again under it, it is the same task. For the first of a submission.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
}

impl Life {
    /// Returns what is stated for a group whose members state this.
    #[must_use]
    pub fn of_group(&self) -> Self {
        Self {
            key: self.key.clone(),
            ..Self::default()
        }
    }

    /// Returns what is stated for a member of a group that was submitted with this.
    #[must_use]
    pub fn of_member(&self) -> Self {
        Self {
            key: String::new(),
            ..self.clone()
        }
    }
}

/// What a task reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdinWord {
    /// A file of the host that runs it; a relative path starts at its directory.
    File(Arg),
    /// These bytes.
    Text(Arg),
}

/// Membership of a group in a submission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberRequest {
    /// The group's id, if it was submitted earlier.
    #[serde(default)]
    pub group: Option<String>,
    /// Or its place in this submission.
    #[serde(default)]
    pub group_place: Option<u32>,
    /// The member's place in the group's input order.
    pub index: u32,
    /// At most so many at once; 0 = no limit.
    #[serde(default)]
    pub window: u32,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatusQuery {
    /// Only these and what belongs to them; nothing named = all.
    #[serde(flatten)]
    pub which: Selection,
    /// Members of groups are listed too, without the groups.
    #[serde(default)]
    pub flat: bool,
    /// As a tree: with what belongs to the tasks that are named, and what those belong to that are listed.
    #[serde(default)]
    pub tree: Option<Tree>,
    /// At most so many, the newest; 0 = all.
    #[serde(default)]
    pub limit: u32,
}

/// How much of a tree of tasks is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tree {
    /// Members of groups, and what they submitted, are counted only.
    Closed,
    /// All of it.
    Open,
}

/// Which output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutputQuery {
    /// One task.
    pub task: String,
    /// Both streams unless one is named.
    #[serde(default)]
    pub only: Option<StreamName>,
    /// Goes on until the task has ended.
    #[serde(default)]
    pub follow: bool,
    /// Only the last lines of each stream.
    #[serde(default)]
    pub last_lines: Option<u32>,
}

/// A captured stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A server's line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// No more lines will come for this request.
    #[serde(default)]
    pub end: bool,
    /// What came of it.
    #[serde(flatten)]
    pub body: Body,
}

/// What came of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// To `submit`.
    Submitted(Submitted),
    /// To `status`.
    Tasks(Tasks),
    /// To `show`.
    Details(Details),
    /// To `output`.
    Output(OutputPiece),
    /// To `close`.
    Closed(Closed),
    /// To `page`.
    Page(Page),
    /// To `wait`.
    Progress(Progress),
    /// To `events`.
    Events(EventList),
    /// To `kill`, `retry`, `hold`, `release`, `edit` and [`Call::Remove`].
    Noted(Noted),
    /// To `explain`.
    Reasons(Box<Reasons>),
    /// To [`Call::Assign`].
    Assigned(Assigned),
    /// To [`Call::Pass`].
    Passed(Hello),
    /// To `nodes`.
    Nodes(Nodes),
    /// To `invite`.
    Invitation(Invitation),
    /// To `settings`.
    Settings(SettingList),
    /// To [`Call::Set`].
    Set(SettingLine),
    /// To `queue`.
    Queues(QueueList),
    /// To `stats`.
    Stats(Stats),
    /// To `doctor`.
    Checkup(Checkup),
    /// To anything that failed.
    Error(Failure),
}

/// Why a request failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Decides the exit status.
    pub kind: FailureKind,
    /// What and why.
    pub message: String,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Kinds of failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request is malformed or names what does not exist: exit status 1.
    Request,
    /// No peer that could answer is reachable: 69.
    Unreachable,
    /// Refused for now: 75.
    Busy,
    /// Not allowed: 77.
    Forbidden,
}

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

/// What people stated for the mesh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SettingList {
    /// By name.
    pub settings: Vec<SettingLine>,
}

/// One setting of the mesh.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SettingLine {
    /// As in [`crdt::settings::Settings`].
    pub name: String,
    /// None: each host goes by its own options.
    pub value: Option<String>,
    /// Who said so.
    pub by: String,
}

/// The named queues.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueList {
    /// By name.
    pub queues: Vec<QueueLine>,
}

/// One named queue, as far as is heard of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueLine {
    /// Empty for tasks that name none.
    pub name: String,
    /// 0 = no limit.
    pub slots: u32,
    /// Its share.
    pub weight: u32,
    /// None of its tasks starts.
    pub paused: bool,
    /// Tasks that are claimed or run.
    pub active: u64,
    /// Tasks that have not ended otherwise.
    pub waiting: u64,
}

/// What a person wants of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DutyWord {
    /// It takes work.
    Works,
    /// It takes no more work, and hands over its places in committees.
    Drains,
    /// It will not come back.
    Gone,
}

impl From<DutyWord> for DutyKind {
    fn from(word: DutyWord) -> Self {
        match word {
            DutyWord::Works => Self::Works,
            DutyWord::Drains => Self::Drains,
            DutyWord::Gone => Self::Gone,
        }
    }
}

/// Of which host something is wanted now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assigned {
    /// What people call it.
    pub name: String,
    /// Its tag.
    pub tag: String,
}

/// How well a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkup {
    /// In the order in which one would look.
    pub checks: Vec<Check>,
    /// How often what was dropped since the node's start, by kind; kinds that did not come up are left out.
    pub refused: BTreeMap<String, u64>,
    /// What peers sent that no honest node sends, by peer and kind.
    #[serde(default)]
    pub offences: Vec<OffenceLine>,
}

/// One kind of thing that one peer did and must not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OffenceLine {
    /// The peer's name, or its tag if it never told one.
    pub host: String,
    /// Its tag.
    pub tag: String,
    /// What, as a word that stays the same: `epoch-leap`, `forged-signature`, …
    pub kind: String,
    /// What, for people.
    pub what: String,
    /// What to do about it.
    pub todo: String,
    /// How often since the node's start.
    pub count: u64,
    /// When last, by the wall clock of the host that was asked, milliseconds since 1970.
    pub last_ms: u64,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `disk`, `peers`, …
    pub topic: String,
    /// How it is.
    pub health: Health,
    /// What was found, for people.
    pub what: String,
    /// What to do about it, if anything.
    #[serde(default)]
    pub todo: Option<String>,
}

/// How well something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and may not for long, or not as well as it could.
    Warning,
    /// It does not work.
    Fault,
}

/// The hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodes {
    /// This one first, then by name.
    pub nodes: Vec<NodeLine>,
}

/// One host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeLine {
    /// What people call it.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// Heard of lately.
    pub alive: bool,
    /// This is the host asked.
    pub own: bool,
    /// Milliseconds since it was last heard of, for those not alive.
    #[serde(default)]
    pub silent_ms: Option<u64>,
    /// Processors offered.
    pub cpus: f64,
    /// Processors free.
    pub cpus_free: f64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Runs alive.
    pub running: u32,
    /// It takes no more work, and hands over its places in committees.
    #[serde(default)]
    pub draining: bool,
    /// Lists of unfinished tasks (segments) that rest on its disk: it sits in their committee, or nobody has its place yet.
    #[serde(default)]
    pub places: usize,
    /// Load average of one minute.
    pub load: f64,
    /// Its version.
    pub version: String,
    /// Round trip in milliseconds, where connected.
    #[serde(default)]
    pub round_trip_ms: Option<f64>,
    /// Where it listens.
    pub addresses: Vec<String>,
}

/// A ticket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// One line, `aque1…`.
    pub ticket: String,
}

/// A node's own figures, by name (`aque_…`), as its metrics will be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stats {
    /// Name to value.
    pub values: std::collections::BTreeMap<String, u64>,
}
