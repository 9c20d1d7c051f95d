//! Negative controls: for each rule a directed scenario that needs it. Played with the rule broken, the judge that the rule
//! serves must see it; played with the rule kept, the very same script must pass. Traces after `docs/protocol.md`, section 7.

mod assumed;
mod claimant;
mod committees;
mod observer;
mod progress;
mod witness;

use crdt::config::Sabotage;
use crdt::time::Timing;

use super::directed::{
    commit_seen_by_one, crowded, hasty, heartbeats_cut, held_expire, isolated, late_acks,
    little_to_do, node_killed, node_stopped, non_voter_acks, nothing_special, outcome_alone,
    power_cut, rival_behind_relay, slow_disks, stale_view, stopped_before_fork, vote_lost,
    windowed, witness_restarts, worst, worst_case,
};
use super::policies::{anywhere_better, fail_dead, wait_in_split};
use super::{Control, Scenario, five, three, with_guard};
use crate::host::GuardFlaw;
use crate::oracle::Judge;
use crate::world::{Flaw, Setup};

/// Every negative control.
pub fn controls() -> impl Iterator<Item = Control> {
    [
        BASE,
        claimant::CONTROLS,
        witness::CONTROLS,
        observer::CONTROLS,
        progress::CONTROLS,
        assumed::CONTROLS,
        committees::CONTROLS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

fn rule(setup: Setup, rule: Sabotage) -> Setup {
    Setup {
        flaw: Some(Flaw::Rule(rule)),
        ..setup
    }
}

/// The first that were; the others stand by role.
const BASE: &[Control] = &[
    Control {
        name: "silence_frees",
        rule: "on-lost wait",
        breaks: |setup| rule(setup, Sabotage::SilenceFrees),
        judge: Judge::S3,
        scenario: Scenario {
            name: "on_lost_wait_outlives_a_split",
            about: "a run that waits for its host goes on alone for many leases",
            setup: three,
            script: wait_in_split,
        },
    },
    Control {
        name: "loss_passed_over",
        rule: "on-lost fail",
        breaks: |setup| rule(setup, Sabotage::LossPassedOver),
        judge: Judge::S5,
        scenario: Scenario {
            name: "on_lost_fail_of_a_dead_host",
            about: "a host dies with its run for ever",
            setup: three,
            script: fail_dead,
        },
    },
    Control {
        name: "any_outcome",
        rule: "on-partition run",
        breaks: |setup| rule(setup, Sabotage::AnyOutcome),
        judge: Judge::C1,
        scenario: Scenario {
            name: "run_anywhere_better_result_wins",
            about: "one side of a split fails, the other succeeds",
            setup: three,
            script: anywhere_better,
        },
    },
    Control {
        name: "votes_not_durable",
        rule: "A2, law 2, n1",
        breaks: |setup| rule(setup, Sabotage::VotesNotDurable),
        judge: Judge::S1,
        scenario: Scenario {
            name: "vote_lost_in_a_crash",
            about: "a witness dies between its vote and its sync",
            setup: three,
            script: vote_lost,
        },
    },
    Control {
        name: "lease_from_receipt",
        rule: "C3, n3",
        breaks: |setup| rule(setup, Sabotage::LeaseFromReceipt),
        judge: Judge::S1,
        scenario: Scenario {
            name: "late_acks",
            about: "acks arrive most of a lease late, then heartbeats are cut",
            setup: three,
            script: late_acks,
        },
    },
    Control {
        name: "restart_not_ack",
        rule: "V2 (d), n4",
        breaks: |setup| rule(setup, Sabotage::RestartNotAck),
        judge: Judge::S1,
        scenario: Scenario {
            name: "deciding_witness_restarts",
            about: "the one witness that answers restarts while a rival bids",
            setup: three,
            script: witness_restarts,
        },
    },
    Control {
        name: "no_latch",
        rule: "C4, G2, n5a",
        breaks: |setup| rule(setup, Sabotage::NoLatch),
        judge: Judge::S1,
        scenario: Scenario {
            name: "held_tasks_expire",
            about: "holds that wait for room are lost while their node is stopped; then acks come again",
            setup: crowded,
            script: held_expire,
        },
    },
    Control {
        name: "first_outcome_wins",
        rule: "O1, n7",
        breaks: |setup| rule(setup, Sabotage::FirstOutcomeWins),
        judge: Judge::S3,
        scenario: Scenario {
            name: "outcome_in_isolation",
            about: "a run ends where nobody hears of it",
            setup: three,
            script: outcome_alone,
        },
    },
    Control {
        name: "stale_left",
        rule: "R4, C3, F1",
        breaks: |setup| rule(setup, Sabotage::StaleLeft),
        judge: Judge::S1,
        scenario: Scenario {
            name: "stale_view_of_a_vote",
            about: "a witness votes away; the claimant sees its old vote and its new ack",
            setup: hasty,
            script: stale_view,
        },
    },
    Control {
        name: "accepts_dropped",
        rule: "V1, F3",
        breaks: |setup| rule(setup, Sabotage::AcceptsDropped),
        judge: Judge::S3,
        scenario: COMMIT_SEEN_BY_ONE,
    },
    Control {
        name: "no_adoption",
        rule: "C5",
        breaks: |setup| rule(setup, Sabotage::NoAdoption),
        judge: Judge::S3,
        scenario: COMMIT_SEEN_BY_ONE,
    },
    Control {
        name: "self_timeout",
        rule: "V2 (d), F5",
        breaks: |setup| rule(setup, Sabotage::SelfTimeout),
        judge: Judge::S1,
        scenario: Scenario {
            name: "rival_behind_a_relay",
            about: "a rival that does not hear the claimant bids through a third host",
            setup: three,
            script: rival_behind_relay,
        },
    },
    Control {
        name: "any_acks",
        rule: "C3, n8",
        breaks: |setup| rule(setup, Sabotage::AnyAcks),
        judge: Judge::S1,
        scenario: Scenario {
            name: "acks_of_a_non_voter",
            about: "the voter is cut off; a member that never voted answers",
            setup: three,
            script: non_voter_acks,
        },
    },
    Control {
        name: "no_guard",
        rule: "G2, n6",
        breaks: |setup| with_guard(setup, GuardFlaw::Absent),
        judge: Judge::S1,
        scenario: Scenario {
            name: "node_stopped",
            about: "the claimant's node stands still beyond its lease",
            setup: three,
            script: node_stopped,
        },
    },
    Control {
        name: "orphans_live_on",
        rule: "G3",
        breaks: |setup| with_guard(setup, GuardFlaw::Absent),
        judge: Judge::S1,
        scenario: Scenario {
            name: "node_killed",
            about: "the claimant's node dies and comes back after its lease",
            setup: three,
            script: node_killed,
        },
    },
    Control {
        name: "no_start_check",
        rule: "G1, n5c, F7",
        breaks: |setup| with_guard(setup, GuardFlaw::NoStartCheck),
        judge: Judge::S1,
        scenario: Scenario {
            name: "stopped_before_the_fork",
            about: "the node stands still between the order and the start",
            setup: three,
            script: stopped_before_fork,
        },
    },
    Control {
        name: "kill_beyond_its_bound",
        rule: "K, F10",
        breaks: |setup| with_guard(setup, GuardFlaw::Slow),
        judge: Judge::S1,
        scenario: Scenario {
            name: "claimant_isolated",
            about: "the claimant is cut off while it runs",
            setup: three,
            script: isolated,
        },
    },
    Control {
        name: "witness_wait_below_the_formula",
        rule: "W, n2",
        breaks: short_wait,
        judge: Judge::S1,
        scenario: Scenario {
            name: "worst_clocks",
            about: "the claimant's clock is slow, the witness's fast, every kill takes its bound",
            setup: worst,
            script: worst_case,
        },
    },
    Control {
        name: "yield_before_death",
        rule: "C8, F4",
        breaks: |setup| rule(setup, Sabotage::YieldBeforeDeath),
        judge: Judge::S1,
        scenario: Scenario {
            name: "heartbeats_cut",
            about: "heartbeats are cut, documents are not, and a kill takes its bound",
            setup: worst,
            script: heartbeats_cut,
        },
    },
    Control {
        name: "no_window",
        rule: "window",
        breaks: |setup| rule(setup, Sabotage::NoWindow),
        judge: Judge::N1,
        scenario: Scenario {
            name: "windowed_group",
            about: "more members than the window lets run at once",
            setup: five,
            script: windowed,
        },
    },
    Control {
        name: "restless",
        rule: "next_wakeup",
        breaks: |setup| rule(setup, Sabotage::Restless),
        judge: Judge::B1,
        scenario: Scenario {
            name: "little_to_do",
            about: "one task, no fault",
            setup: three,
            script: little_to_do,
        },
    },
    Control {
        name: "deaf_host",
        rule: "law 3",
        breaks: |setup| Setup {
            flaw: Some(Flaw::Deaf),
            ..setup
        },
        judge: Judge::C1,
        scenario: Scenario {
            name: "nothing_special",
            about: "some tasks, no fault",
            setup: three,
            script: nothing_special,
        },
    },
    Control {
        name: "disk_lies",
        rule: "A2",
        breaks: |setup| Setup {
            flaw: Some(Flaw::DiskLies),
            ..setup
        },
        judge: Judge::D1,
        scenario: Scenario {
            name: "power_cut_after_ack",
            about: "all hosts lose their power right after an acknowledgement",
            setup: slow_disks,
            script: power_cut,
        },
    },
];

const COMMIT_SEEN_BY_ONE: Scenario = Scenario {
    name: "commit_seen_by_one",
    about: "a majority accepts, only the claimant sees it, and is cut off with one of them",
    setup: five,
    script: commit_seen_by_one,
};

/// The least wait, less 2 %: of a lease of 2 s, 41 ms.
fn short_wait(setup: Setup) -> Setup {
    let wait = setup.timing.least_wait() * 98 / 100;
    Setup {
        timing: Timing {
            witness_wait: Some(wait),
            ..setup.timing
        },
        ..setup
    }
}
