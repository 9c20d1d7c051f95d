//! The seam: everything that goes into a replica and everything that comes out of it.
//!
//! The caller feeds [`Input`]s with the clocks' readings, then drains [`Output`]s, and wakes the replica when it asks.
//! Nothing else crosses: no socket, file, thread, clock or chance.

use std::sync::Arc;

use crate::entry::DutyKind;
use crate::ids::{Epoch, PeerId, RunId, TaskId};
use crate::message::Lane;
use crate::places::Place;
use crate::schedule::Demand;
use crate::settings::Stated;
use crate::task::{Element, Environment, RunReport, TaskSpec, TaskState, Wish};
use crate::time::{Mono, Wall};
use crate::units::Allotment;

/// Names a `Submit` or `Control` until its `Reply`; chosen by the caller.
pub type Token = u64;

/// Names a `Persist`; grows.
pub type PersistToken = u64;

/// What the world tells a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// A frame of a connected, admitted peer. Junk is counted and dropped.
    Frame {
        /// Who sent it.
        from: PeerId,
        /// At most [`crate::message::MAX_FRAME`] bytes.
        bytes: Arc<[u8]>,
    },
    /// A peer can be reached from now on.
    PeerUp(PeerId),
    /// A peer cannot be reached for now.
    PeerDown(PeerId),
    /// A person submits tasks. Answered by `Reply::Submitted` or `Reply::Refused`.
    Submit {
        /// Names the answer.
        token: Token,
        /// 1 to 4,096 of them.
        tasks: Vec<NewTask>,
        /// When to answer.
        durable: Durability,
    },
    /// A person wants something of tasks. Answered by `Reply::Noted` once durable here, or `Reply::Refused`.
    Control {
        /// Names the answer.
        token: Token,
        /// Which.
        tasks: Vec<TaskId>,
        /// Who asks, for people.
        by: String,
        /// What.
        wish: Wish,
    },
    /// The guard started a run.
    RunStarted(RunId),
    /// A part of this host failed, and did this to a run that had not ended by then.
    Harmed(RunId, String),
    /// A run ended, or never began, and nothing of it is alive.
    RunEnded(RunId, RunEnd),
    /// The records of this and of every earlier `Persist` are durable.
    Persisted(PersistToken),
    /// These records could not be written (a full disk, say). The caller keeps them and goes on trying; until `Persisted`
    /// comes, the replica takes no submission and makes no new claim.
    PersistStalled(PersistToken),
    /// This node listens here now.
    Addresses(Vec<String>),
    /// Load average of one minute, hundredths; goes into presence.
    Load(u32),
    /// What runs of this host say of themselves, the newest word of each; goes into presence. At most
    /// [`crate::entry::Beat::MOST_PROGRESS`] of them, of at most [`crate::entry::Beat::PROGRESS_BYTES`] bytes.
    Progress(Vec<(TaskId, String)>),
    /// What was found at a place, in answer to [`Output::Look`]; or what is not there, for people.
    Looked(Place, Result<(), String>),
    /// Takes no new task from now on, or takes them again; forgotten with the process.
    Drain(bool),
    /// Holds, or bids for, at most so many tasks at a time from now on; what is claimed already goes on. Forgotten with the
    /// process.
    MostClaims(usize),
    /// A person wants something of a peer, this one or another; it lasts. Answered by `Reply::Noted` once durable here, or
    /// `Reply::Refused`.
    Assign {
        /// Names the answer.
        token: Token,
        /// Of whom.
        peer: PeerId,
        /// What.
        kind: DutyKind,
    },
    /// A person states something for the whole mesh, or takes it back; it lasts. Answered by `Reply::Noted` once durable here, or
    /// `Reply::Refused`.
    Set {
        /// Names the answer.
        token: Token,
        /// Of [`crate::settings::Settings`].
        name: String,
        /// The value.
        value: Option<String>,
        /// Who says so, for people.
        by: String,
    },
    /// The time that `next_wakeup` named has come. Harmless at any other time.
    Wakeup,
}

/// When a submission is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Durable on this host's disk.
    Local,
    /// Durable on a majority of the segment's committee.
    #[default]
    Quorum,
}

/// A task as submitted: the spec refers to its environment by digest.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// The spec; `spec.env` is set by the replica from `env`.
    pub spec: TaskSpec,
    /// The inherited environment, shared by many tasks.
    pub env: Option<Arc<Environment>>,
    /// Dependencies and groups may name tasks of this same submission by place instead of by id.
    pub links: Links,
}

/// References of a new task to earlier tasks of the same submission (places in its list, from 0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// These must succeed first, in addition to `spec.after`.
    pub after: Vec<u32>,
    /// Its group stands at this place; replaces the group of `spec.member_of`, which must be set.
    pub group: Option<u32>,
}

/// A run of an earlier start of this node that its guard still had: it lives, or its end has not been told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundRun {
    /// Which run.
    pub run: RunId,
    /// The guard kills it at this instant unless a later one arrives before.
    pub deadline: Mono,
    /// When the guard was told to signal or to kill it, if it was.
    pub signalled: Option<Mono>,
    /// What it has of the host's named resources.
    pub units: Allotment,
}

/// How a run came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunEnd {
    /// The process ended, by itself or by a signal that was asked for.
    Exited(RunReport),
    /// The process of a call ended by itself and said why.
    Called(RunReport, CallEnd),
    /// The guard killed it at its deadline, or with its node: it has no outcome.
    Expired,
    /// The guard refused to start it because its deadline had passed: it never ran.
    TooLate,
    /// It was not started, for that is not wanted any more ([`Output::Withdraw`]): it never ran.
    Withdrawn,
    /// It could not be started here though it may elsewhere (its output file cannot be made, say): it never ran.
    Unfit(String),
    /// The same for want of its [`Place`]: nor can any other that needs the same be started here.
    Misplaced(String),
    /// What it reads is gone for good, or was never whole: it never ran, and this is its outcome.
    NoInput(String),
    /// It can be started nowhere (its command does not exist): it never ran, and that is its outcome. Code 126 or 127.
    Impossible {
        /// As a shell would report it.
        code: i32,
        /// Why.
        why: String,
    },
}

/// Why a call came to no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallEnd {
    /// It could not be made, or its result not be passed on: the name leads nowhere, the arguments do not bind, and the like.
    Refused(String),
    /// The function raised this.
    Raised(String),
}

impl CallEnd {
    /// The most of a reason that is kept: it goes into the outcome, to every host.
    pub const MOST_BYTES: usize = 200;

    /// Returns as much of a reason as is kept.
    #[must_use]
    pub fn shortened(why: &str) -> String {
        crate::entry::shortened(why, Self::MOST_BYTES)
    }
}

/// What a replica asks of the world, in the order in which it must be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Append these records to the log and answer `Persisted`.
    Persist {
        /// Names the answer.
        token: PersistToken,
        /// In order.
        records: Vec<Arc<[u8]>>,
    },
    /// Send a frame; it may be lost.
    Send {
        /// To whom.
        to: PeerId,
        /// On which stream.
        lane: Lane,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// Start a run under a guard; the guard checks the deadline itself before it starts.
    Start(Box<StartOrder>),
    /// A later deadline for a run.
    Extend(RunId, Mono),
    /// Look whether all of a place is there; answered by [`Input::Looked`], in some seconds at the most.
    Look(Place),
    /// Send a signal to a run; one that has ended is no error.
    Signal(RunId, i32),
    /// Kill a run and everything below it; answered by `RunEnded`.
    Kill(RunId),
    /// A run that was ordered is not wanted any more. One that the guard has not been told of is not started, and answered by
    /// `RunEnded`; else this changes nothing, and a signal follows its start.
    Withdraw(RunId),
    /// Answer a person.
    Reply(Token, Reply),
    /// News.
    Notice(Notice),
}

/// What a guard needs to start a run.
#[derive(Clone, Debug)]
pub struct StartOrder {
    /// Which run.
    pub run: RunId,
    /// What to run.
    pub spec: Arc<TaskSpec>,
    /// The inherited environment.
    pub env: Option<Arc<Environment>>,
    /// Kill it at this instant unless a later one arrives before.
    pub deadline: Mono,
    /// 1 for the first run of the task.
    pub attempt: u32,
    /// Which task of an array it is.
    pub element: Option<Element>,
    /// What it takes of this host.
    pub demand: Demand,
    /// Which units of its named resources it gets.
    pub units: Allotment,
}

/// Answers to people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The tasks' ids, in order, and how durable they are.
    Submitted {
        /// One for each task; of a submission whose key was known, that of the first.
        ids: Vec<TaskId>,
        /// How many of the committee's disks hold them, and how many there are; `None` where another host took them before.
        copies: Option<(u8, u8)>,
        /// They had been taken before, under the same key.
        known: bool,
    },
    /// The wish is durable; it names the tasks that it came too late for.
    Noted {
        /// Already ended, with their state.
        ended: Vec<(TaskId, TaskState)>,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The log cannot be written.
    #[error("this host's disk takes no writes; free some space and try again")]
    Disk,
    /// Too much is queued that is not durable yet.
    #[error("too many submissions are waiting for the disk; try again in a moment")]
    Busy,
    /// It takes part now.
    #[error("that host is alive: drain it, or stop it first")]
    Alive,
    /// No such member.
    #[error("no such host is known here")]
    NoMember,
    /// A setting that is not known, makes no sense, or would be unsafe.
    #[error("{0}")]
    Setting(String),
    /// A task cannot be edited so.
    #[error("{0}")]
    Edit(String),
    /// No such task here.
    #[error("no task {0} is known on this host")]
    Unknown(TaskId),
    /// A spec is malformed.
    #[error("task {place} of the submission: {why}")]
    Spec {
        /// Its place in the list, from 0.
        place: u32,
        /// What is wrong.
        why: String,
    },
}

/// News for whoever watches.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    /// A task is in another state.
    Task {
        /// Which.
        id: TaskId,
        /// Now.
        state: TaskState,
        /// Why.
        reason: Option<String>,
        /// Where it is claimed, runs or ran.
        host: Option<PeerId>,
        /// The highest epoch at which it was claimed.
        epoch: Epoch,
        /// So many after it, by their ids, are in this state as well and were in the same before.
        sleepers: u32,
    },
    /// A task that has ended was removed, or is there again after that.
    Sight {
        /// Which.
        id: TaskId,
        /// Its id as people type it.
        label: String,
        /// Nobody is to see it any more.
        removed: bool,
    },
    /// A task is to be otherwise than it was submitted, or than it was edited before.
    Edited {
        /// Which.
        id: TaskId,
        /// Its id as people type it.
        label: String,
        /// Who said so last.
        by: String,
    },
    /// A person stated something for the whole mesh, or took it back.
    Setting {
        /// Of [`crate::settings::Settings`].
        name: String,
        /// The newest word.
        said: Stated,
    },
    /// A member was heard of: where it listens.
    Member {
        /// Who.
        peer: PeerId,
        /// Its name.
        name: String,
        /// Multiaddrs.
        addresses: Vec<String>,
    },
    /// An author's changes are refused from now on in one document.
    Quarantined {
        /// Whose.
        author: PeerId,
        /// Why.
        why: String,
    },
    /// A hold was lost without cause: its lease could not be renewed in time.
    HoldLost(RunId),
    /// The wall clock of a peer is far off.
    Skewed {
        /// Whose.
        peer: PeerId,
        /// Its clock, as it said.
        theirs: Wall,
    },
}
