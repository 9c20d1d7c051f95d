//! The words of the API: JSON lines over the node's Unix socket, and over a stream between peers.
//!
//! A client sends [`Request`] lines and reads [`Reply`] lines; a reply carries its request's `id`. Most requests have one reply;
//! `output`, `wait` and a long `status` have several. The last (or only) one has `"end": true`. A line is at most [`MAX_LINE`] bytes.
//! The server greets with a [`Hello`] line. Unknown fields are ignored, so that versions may differ.
//!
//! Reading order: here what goes over the line; `submission` and `queries` are what is asked with, `tasks` and `hosts` what is answered.

mod hosts;
mod queries;
mod submission;
mod tasks;

use std::time::Duration;

use crdt::task::TaskState;
use serde::{Deserialize, Serialize};

use super::news::{EventList, EventsQuery};
use super::page::{Page, PageQuery};
use super::select::Selection;

pub use hosts::{
    Assigned, Check, Checkup, DutyWord, Health, Invitation, NodeLine, Nodes, OffenceLine,
    QueueLine, QueueList, SettingLine, SettingList, Stats,
};
pub use queries::{OutputQuery, StatusQuery, StreamName, Tree};
pub use submission::{
    DurableWord, EditWords, Life, MemberRequest, Requirements, RunAs, StdinWord, Submission,
    TaskRequest, Turn,
};
pub use tasks::{
    AttemptLine, Closed, Detail, Details, LimitWords, Noted, OutputPiece, Progress, ReasonLine,
    Reasons, Submitted, TaskLine, Tasks, VoteLine,
};

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
