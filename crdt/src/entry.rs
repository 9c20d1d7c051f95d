//! What documents say, as typed entries: the one vocabulary in which the rest of the crate writes to documents and reads them.
//!
//! `schema.rs` spells an entry as document keys and values; `ledger` checks who may write it. An entry's writer is always the
//! author of the change that carries it, so entries do not name it. `index` is a task's place in its segment, from 0.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fit::RunsAs;
use crate::ids::{Digest, Epoch, Generation, PeerId, Tag, TaskId};
use crate::lapses::Lapsed;
use crate::settings::Stated;
use crate::task::{Environment, Outcome, OutcomeDigest, TaskSpec, Want};
use crate::time::Wall;

/// One statement of one author in one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Segment: its fixed header; the first change of its author, nobody else's.
    Header(Header),
    /// Segment, author only: a chunk of consecutive specs.
    Specs(SpecChunk),
    /// Segment, author only: an environment, by its digest.
    Environment(Digest, Environment),
    /// Segment, author only: no more specs will come; how many there are.
    End(u16),
    /// Segment: bids of the writer, a register a task.
    Bids(Vec<Bid>),
    /// Segment, committee only: votes of the writer, a register a task.
    Votes(Vec<Vote>),
    /// Segment: outcomes of the writer, a register a task.
    Outcomes(Vec<OutcomeAt>),
    /// Segment: what parts of the writer's host that failed did to its claims.
    Harms(Vec<Harm>),
    /// Segment: the writer wants the committee replaced.
    Motion(Motion),
    /// Segment, committees only: where the writer stands as a member of one of them.
    Stand(Stand),
    /// Segment, committees only: how long the writer waits for a silent claimant before its vote is free, at least. It only grows.
    Wait(Duration),
    /// Segment: the claim register (LWW) of a task, written by the peer that runs it.
    Claim(u16, ClaimMark),
    /// Segment: what a person wants of a task (LWW by stamp).
    Want(u16, Want),
    /// Segment: the writer's PN-counter of live claims.
    Live(i64),
    /// Segment: one of the writer's PN-counters of totals.
    Count(Total, i64),
    /// Directory: who the writer is.
    Member(Member),
    /// Directory: what a person wants of a peer (LWW by time, then by writer).
    Duty(PeerId, Duty),
    /// Directory: what a person states for the mesh, by name (LWW by time, then by writer).
    Setting(String, Stated),
    /// Directory: which segments of a peer the writer finds to be over for so long that nobody need keep them. It only grows.
    Lapsed(PeerId, Lapsed),
    /// Presence: how the writer is.
    Beat(Beat),
}

/// The fixed header of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Version of the layout; [`Header::FORMAT`].
    pub format: u16,
    /// The author's task count at index 0: task N lives at index N - first.
    pub first: u64,
    /// The 1, 3 or 5 peers whose majority decides claims, sorted.
    pub committee: Vec<PeerId>,
    /// When it was opened, for people.
    pub created: Wall,
}

impl Beat {
    /// The most words of runs in one beat.
    pub const MOST_PROGRESS: usize = 32;
    /// The longest of them, bytes.
    pub const PROGRESS_BYTES: usize = 80;
    /// The most places in one beat of which something is missing.
    pub const MOST_MISSING: usize = 16;
    /// The longest word about one, bytes.
    pub const MISSING_BYTES: usize = 120;
    /// The longest name of a user, bytes: as long as Linux allows.
    pub const USER_BYTES: usize = 256;
}

impl Header {
    /// The layout that this version writes.
    pub const FORMAT: u16 = 2;
}

/// Consecutive specs of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpecChunk {
    /// Index of the first.
    pub first: u16,
    /// 1 to 64 of them.
    pub specs: Vec<TaskSpec>,
}

/// A bid register: "no run of mine below this epoch is alive or will start"; with `gave_up`, none at it either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bid {
    /// Which task.
    pub index: u16,
    /// Never decreases.
    pub epoch: Epoch,
    /// Set once for an epoch.
    pub gave_up: bool,
}

/// A vote register: strictly increasing epochs; the accept is kept across votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// Which task.
    pub index: u16,
    /// The committee of which the voter is a member: votes of different ones are never counted together.
    pub generation: Generation,
    /// The epoch voted at.
    pub epoch: Epoch,
    /// For whom.
    pub claimant: Tag,
    /// The newest outcome accepted, at this epoch or an earlier one.
    pub accepted: Option<Accept>,
}

/// An accepted outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accept {
    /// The epoch at which it was accepted.
    pub epoch: Epoch,
    /// Which outcome.
    pub digest: OutcomeDigest,
}

/// Orders the attempts to replace one committee, as in Paxos: by round, then by proposer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BallotNumber {
    /// From 1.
    pub round: u32,
    /// Who tries.
    pub proposer: Tag,
}

/// What takes the place of a committee.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The 1, 3 or 5 members of the next committee, sorted.
    pub members: Vec<PeerId>,
    /// A majority of the old one, sorted: they vote no more, and what they had voted is what the new one starts from.
    pub sealed: Vec<Tag>,
}

/// A proposer's attempt to replace a committee: first the question, then the proposal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Motion {
    /// The committee that is to be replaced.
    pub generation: Generation,
    /// With the writer, the ballot's number.
    pub round: u32,
    /// Once a majority has promised.
    pub proposal: Option<Proposal>,
}

/// Where a member of a committee stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stand {
    /// Of which committee.
    pub generation: Generation,
    /// The highest ballot promised; with the first, the member is sealed: it votes and answers no more in this committee.
    /// `None`: it has taken up its place, and has everything that the committee starts from.
    pub promised: Option<BallotNumber>,
    /// The proposal accepted last.
    pub accepted: Option<(BallotNumber, Proposal)>,
    /// How much of the segment it had when it was sealed: changes by author.
    pub seen: Vec<(PeerId, u32)>,
}

/// An outcome register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutcomeAt {
    /// Which task.
    pub index: u16,
    /// The writer's bid under which it was written.
    pub epoch: Epoch,
    /// The value.
    pub outcome: Outcome,
}

/// The value of a claim register: who runs a task, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimMark {
    /// The epoch of the run.
    pub epoch: Epoch,
    /// When it started, by the writer's wall clock; `None` when it is about to. (What must not run again after a loss is
    /// started only when that is durable.)
    pub started: Option<Wall>,
}

/// That a part of a claimant's host failed and did something to a claim. For people: nothing is decided by it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Harm {
    /// The task's place in its segment.
    pub index: u16,
    /// The claim's epoch.
    pub epoch: Epoch,
    /// Which part, how it failed, and what that did.
    pub what: String,
}

impl Harm {
    /// The longest text, bytes.
    pub const MOST_BYTES: usize = 200;

    /// Returns as much of a text as is kept.
    #[must_use]
    pub fn shortened(what: &str) -> String {
        shortened(what, Self::MOST_BYTES)
    }
}

/// Returns the beginning of a text that has at most so many bytes.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

/// What a segment counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Total {
    /// Specs written.
    Submitted,
    /// Runs started.
    Started,
    /// Runs that ended well.
    Succeeded,
    /// Runs that ended badly.
    Failed,
    /// Runs given up or killed with their lease.
    Lost,
}

impl Total {
    /// Every total.
    pub const ALL: [Self; 5] = [
        Self::Submitted,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::Lost,
    ];
}

/// A member of the mesh, in its own words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// What people call it: at most 64 bytes.
    pub name: String,
    /// Proof that it knows the mesh's secret: see [`crate::keys::Keys::admission`].
    pub proof: [u8; 32],
    /// Where it listens, as multiaddrs: at most 8 of at most 128 bytes.
    pub addresses: Vec<String>,
    /// When it joined.
    pub joined: Wall,
    /// It said that it leaves for good.
    pub left: bool,
}

/// What a person wants of a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct Duty {
    /// When, by the writer's wall clock, and later than all that was said of it before.
    pub at: Wall,
    /// What.
    pub kind: DutyKind,
}

/// What a peer is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub enum DutyKind {
    /// It takes work and sits in committees.
    #[default]
    Works,
    /// It takes no more work and hands over its places in committees.
    Drains,
    /// It will not come back: it is no member any more.
    Gone,
}

/// How a node is: written every two seconds and on a real change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// Counts beats since the node's start.
    pub count: u32,
    /// The writer's wall clock.
    pub wall: Wall,
    /// Processors offered, thousandths.
    pub cpu_milli: u32,
    /// Of these free now, thousandths.
    pub free_milli: u32,
    /// Memory offered, bytes.
    pub memory_bytes: u64,
    /// Named resources offered, in thousandths, sorted by name: at most 64 of at most 64 bytes.
    pub resources: Vec<(String, u32)>,
    /// The writer's system and machine: `linux/x86_64`.
    pub platform: String,
    /// As whom the writer can run tasks; a name has at most [`Beat::USER_BYTES`].
    pub runs_as: RunsAs,
    /// Runs alive.
    pub running: u32,
    /// Load average of one minute, hundredths.
    pub load_centi: u32,
    /// What its runs say of themselves, the newest word of each: at most 32 of at most 80 bytes.
    pub progress: Vec<(TaskId, String)>,
    /// What is missing there of what tasks need of file systems, and why, by [`crate::places::Place::digest`]: at most 16 of at most 120
    /// bytes.
    pub missing: Vec<(u64, String)>,
    /// The writer's version.
    pub version: String,
    /// Peers it is connected to.
    pub neighbours: Vec<Tag>,
}
