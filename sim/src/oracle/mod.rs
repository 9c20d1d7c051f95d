//! The judges. They know the truth that no replica knows: when each process really started and ended. They look only at what an
//! event touched, so they sit in every run; a world stops at the first violation.
//!
//! S1 to S4 are the promises of `docs/protocol.md`; the others are listed at [`Judge`].

mod judges;

use std::fmt;

use crdt::entry::Vote;
use crdt::ids::{Tag, TaskId};
use crdt::task::OutcomeDigest;
use crdt::terms::Terms;

use crate::queue::HostIx;

pub use judges::Oracle;

/// Who found a promise broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Judge {
    /// No two runs of a task overlap in true time.
    S1,
    /// At most one value is ever committed, it never changes, and it is what a real process did.
    S2,
    /// Nothing starts, and nothing runs, once an outcome is committed.
    S3,
    /// A run starts once at an epoch, and a majority may have voted for it there.
    S4,
    /// A task whose loss is minded starts no more often than its retries, and people's word, allow.
    S5,
    /// What was acknowledged as durable on a majority is never lost.
    D1,
    /// Once healed, all replicas are equal.
    C1,
    /// Once healed, everything ends within a bound in leases.
    L1,
    /// At the end no claim, run or guard is left over.
    R1,
    /// Memory, queues and wake-ups stay bounded.
    B1,
    /// Never more members of a group run at once than its window allows.
    N1,
}

impl Judge {
    /// Every judge.
    pub const ALL: [Self; 11] = [
        Self::S1,
        Self::S2,
        Self::S3,
        Self::S4,
        Self::S5,
        Self::D1,
        Self::C1,
        Self::L1,
        Self::R1,
        Self::B1,
        Self::N1,
    ];

    /// Returns what was promised, in a line.
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Self::S1 => "no two runs of a task overlap",
            Self::S2 => "one value is committed, it never changes, and a process did it",
            Self::S3 => "nothing starts or runs once an outcome is committed",
            Self::S4 => "a run starts once at an epoch, with the votes of a majority",
            Self::S5 => "what must not follow a lost run starts no more often than is allowed",
            Self::D1 => "what was acknowledged as durable is never lost",
            Self::C1 => "healed, all replicas are equal",
            Self::L1 => "healed, everything ends within a bound",
            Self::R1 => "no claim, run or guard is left over",
            Self::B1 => "memory, queues and wake-ups stay bounded",
            Self::N1 => "no more members of a group run at once than its window allows",
        }
    }
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Whose promise.
    pub judge: Judge,
    /// When, in true nanoseconds.
    pub at: u64,
    /// Which task, if one.
    pub task: Option<TaskId>,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at % 1_000_000_000 / 1_000);
        write!(f, "{} at {seconds}.{micros:06}s", self.judge)?;
        if let Some(task) = self.task {
            write!(f, ", task {task}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What really happened so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Processes started.
    pub starts: u64,
    /// Of these: not the first of their task.
    pub reruns: u64,
    /// Processes that ended by themselves or by a signal that was asked for.
    pub exits: u64,
    /// Processes killed at their deadline or with their node.
    pub expired: u64,
    /// Guards that refused to start because it was too late.
    pub too_late: u64,
    /// Guards that found that a command can be started nowhere.
    pub impossible: u64,
    /// Tasks of which some replica saw the committed outcome.
    pub commits: u64,
    /// Tasks acknowledged as durable on a majority.
    pub acked: u64,
}

/// The votes of a committee.
#[derive(Clone, Debug, Default)]
pub struct Backing {
    /// Its size.
    pub committee: usize,
    /// The own votes of those members that could be asked.
    pub votes: Vec<(Tag, Option<Vote>)>,
    /// The outcomes that the claimant took for void when it ordered the start.
    pub void: Vec<OutcomeDigest>,
}

/// What a start is judged by.
#[derive(Debug)]
pub struct StartFacts {
    /// The host on which the process started.
    pub host: HostIx,
    /// Its tag.
    pub tag: Tag,
    /// Who voted when it was ordered.
    pub backing: Backing,
    /// On what its claim rests.
    pub terms: Terms,
    /// How often it may start, people's word apart; `None` = as often as its hosts are lost.
    pub most_starts: Option<u32>,
    /// Its group and the group's window, if it has one.
    pub group: Option<(TaskId, u32)>,
}
