//! What a replica is told at its start.

use std::time::Duration;

use crate::fit::RunsAs;
use crate::ids::Incarnation;
use crate::keys::Keys;
use crate::time::Timing;

/// What a host offers to tasks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// Thousandths of a processor; 0 = runs no task, still a full peer.
    pub cpu_milli: u32,
    /// Bytes.
    pub memory_bytes: u64,
    /// Named resources, each with how much there is of it, in thousandths; sorted by name.
    pub resources: Vec<(String, u32)>,
}

impl Offer {
    /// Returns how much there is of a named resource, in thousandths.
    #[must_use]
    pub fn of(&self, resource: &str) -> u32 {
        let found = self.resources.iter().find(|(name, _)| name == resource);
        found.map_or(0, |(_, milli)| *milli)
    }
}

/// How a replica is set up; constant for its life.
#[derive(Debug)]
pub struct Config {
    /// This node's key.
    pub keys: Box<dyn Keys>,
    /// Drawn afresh at each start of the process.
    pub incarnation: Incarnation,
    /// What people call this node.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Lease times; checked with [`Timing::problems`] by the caller.
    pub timing: Timing,
    /// How many peers decide a claim, of those alive when a segment opens: 1, 3 or 5.
    pub committee: u8,
    /// A member of a committee that was silent for so long is replaced, if a majority of it and another host are there.
    pub replace_after: Duration,
    /// What it runs.
    pub offer: Offer,
    /// Its system and machine: `linux/x86_64`.
    pub platform: String,
    /// As whom it can run tasks.
    pub runs_as: RunsAs,
    /// Most claims at a time, until `Input::MostClaims` says otherwise; 0 = none is made at the start.
    pub most_claims: usize,
    /// A task of which so many runs were lost with their hosts waits for a person; 0 = none does.
    pub most_losses: u32,
    /// Seeds the jitter of back-off.
    pub seed: u64,
}

/// Rules that can be broken, one at a time, to show that the judges of the simulation see it; only test builds can switch one
/// on. Names in brackets are those of `docs/protocol.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Votes are sent before they are durable (n1).
    VotesNotDurable,
    /// A lease counts from the receipt of answers (n3).
    LeaseFromReceipt,
    /// A witness's restart does not restart its wait (n4).
    RestartNotAck,
    /// A late ack revives a hold that was lost (n5).
    NoLatch,
    /// The first outcome seen is final (n7).
    FirstOutcomeWins,
    /// Acks of members that voted away still count (F1).
    StaleLeft,
    /// The accept is dropped when voting on (F3).
    AcceptsDropped,
    /// A witness's wait frees its vote for itself (F5).
    SelfTimeout,
    /// A quorum of any acks renews (n8).
    AnyAcks,
    /// An accepted outcome is not adopted by the next claimant.
    NoAdoption,
    /// A claim is given up at its deadline, before its run is dead (C8, F4).
    YieldBeforeDeath,
    /// Silence frees votes of tasks that wait for their host, too.
    SilenceFrees,
    /// A run that may have been lost is passed over.
    LossPassedOver,
    /// Any outcome counts of a task that may run anywhere, not the least.
    AnyOutcome,
    /// A group's window is not looked at.
    NoWindow,
    /// The replica wants to be woken all the time.
    Restless,
    /// One vote less than a majority holds (C4).
    MinorityHolds,
    /// The kill margin is not taken off the lease (C4, F10).
    NoMargin,
    /// Of several accepted outcomes the oldest is adopted (C5).
    OldestAdopted,
    /// A person's wish is final at sight (C5, F8).
    WishIsFinal,
    /// A run that was killed at its deadline starts again at its epoch when acks come back (C5, n5b).
    StartsAgain,
    /// Claims are not renewed (C6).
    NoHeartbeats,
    /// The kill at a deadline counts as the end of the run (C7).
    KillIsOutcome,
    /// A witness votes twice at an epoch (V1, I1).
    VotesTwice,
    /// A witness does not ask whether its vote still binds (V2).
    NothingBinds,
    /// An accepted outcome binds a vote for ever (V2 0, F2).
    AcceptsFreeze,
    /// A vote is free when no majority for its claimant is in sight (V2 c, n9).
    AbsenceFrees,
    /// An ack does not renew the promise of a vote (V2 d, V5).
    AcksForgotten,
    /// A final outcome of another claim is accepted (V4).
    AnyOutcomeAccepted,
    /// An outcome that asks for another try is accepted (V4, F11).
    RetryAccepted,
    /// Equal outcomes accepted at different epochs count together (O1).
    EpochsMixed,
    /// A bid is never given up for want of votes (L2).
    EndlessBids,
    /// Nobody lets anybody go first, or waits for a rival (L3).
    NoStagger,
    /// A final outcome that lacks a majority is left to its writer (L5).
    NobodyTakesUp,
    /// Only own changes are passed on (L6).
    NoRelay,
    /// A claimant gives up what it would have to adopt (C5, L5).
    AdoptionRefused,
    /// A witness gives no vote to a task that a person wants ended (V5, F8).
    WishBarsVotes,
    /// A run that a restarted node finds is held without anybody's answer (C2, G3).
    FoundIsHeld,
    /// The end of a run is not taken off the counter of live runs.
    EndsNotCounted,
    /// Digests are not compared: what was lost on its way stays lost.
    NoRepair,
    /// Votes of sealed members still answer (M2).
    SealsIgnored,
    /// A new committee starts from nothing that the old one had voted or accepted (M5).
    BasisEmpty,
    /// A new committee does not wait for what the old one may have held (M6).
    BasisBindsNobody,
    /// A committee is replaced without a majority of it (M4).
    MinorityReplaces,
    /// A member accepts a proposal below the ballot that it has promised (M1).
    PromiseBroken,
    /// A proposer does not ask what its promisers have accepted (M3).
    AcceptsPassedOver,
    /// What a person made void counts as committed all the same (A1).
    VoidCounts,
    /// A new committee does not vote anew for the claim that the old one had voted for (M7).
    SharedVoteDropped,
    /// Votes of the committee before count with those of the present one (M8). They are split more often than they would be, as
    /// with [`Sabotage::NoStagger`], which alone breaks no promise of safety.
    GenerationsMixed,
    /// A claimant takes for granted that every witness waits as long as its own lease asks (C3, R5).
    WaitAssumed,
    /// A witness waits as long as it is told now, whatever it has stated (V2 d, R5).
    WaitTakenBack,
    /// A new committee waits no longer than it is told itself, whatever the old one has stated (M6, R5).
    WaitLeftBehind,
    /// One host's word makes a segment lapse.
    LapsesAlone,
    /// Nobody finishes what another has begun (M9).
    ChangeAbandoned,
}
