//! Negative controls: each rule broken must be caught, within a budget of seeds, by the judge that it serves; the same script
//! with the rule kept must pass with every one of those seeds. A judge that never fires is not a judge.

use std::time::Duration;

use crdt::config::Sabotage;
use sim::oracle::Judge;
use sim::plan::{Batch, Plan};
use sim::scenario::{self, Verdict};
use sim::timeline::Keep;
use sim::world::{Flaw, Setup, World};

/// A broken rule must be caught within so many seeds.
const BUDGET: u64 = 40;
/// The unbroken script is played with so many.
const UNBROKEN: u64 = 8;

fn control(name: &str) {
    let control = scenario::find_control(name).expect("the control exists");
    for seed in 0..UNBROKEN {
        let (_, verdict) = control.scenario.play(seed, Keep::Nothing);
        match verdict {
            Verdict::Kept(_) => {}
            Verdict::Broken(_, violation) => panic!("{name}, kept, seed {seed}: {violation}"),
            Verdict::Missed(_, missed) => panic!("{name}, kept, seed {seed}: {}", missed.0),
        }
    }
    let caught = control.caught(0..BUDGET);
    assert!(
        caught.is_some(),
        "{name} is not caught by {} in {BUDGET} seeds",
        control.judge
    );
}

macro_rules! controls {
    ($($name:ident)*) => {
        $(#[test] fn $name() { control(stringify!($name)); })*

        #[test]
        fn every_control_has_its_test() {
            let tested = [$(stringify!($name)),*];
            for control in scenario::controls() {
                assert!(tested.contains(&control.name), "{} has no test", control.name);
            }
        }
    };
}

controls! {
    seals_ignored
    minority_replaces
    basis_empty
    basis_binds_nobody
    wait_assumed
    lapses_alone
    wait_taken_back
    wait_left_behind
    change_abandoned
    silence_frees
    loss_passed_over
    any_outcome
    votes_not_durable
    lease_from_receipt
    restart_not_ack
    no_latch
    first_outcome_wins
    stale_left
    accepts_dropped
    no_adoption
    self_timeout
    any_acks
    no_guard
    orphans_live_on
    no_start_check
    kill_beyond_its_bound
    witness_wait_below_the_formula
    yield_before_death
    no_window
    restless
    disk_lies
    deaf_host
    minority_holds
    no_margin
    starts_again
    no_heartbeats
    kill_is_outcome
    nothing_binds
    acks_forgotten
    votes_twice
    absence_frees
    accepts_freeze
    any_outcome_accepted
    retry_accepted
    epochs_mixed
    oldest_adopted
    wish_is_final
    endless_bids
    no_stagger
    nobody_takes_up
    adoption_refused
    wish_bars_votes
    found_is_held
    no_relay
    no_repair
    ends_not_counted
    drift_beyond_its_bound
    guard_stops_too
    signatures_unchecked
    clock_is_set
    disk_rolls_back
}

#[test]
fn every_judge_has_a_control() {
    for judge in Judge::ALL {
        let has = scenario::controls().any(|control| control.judge == judge);
        assert!(has, "nothing shows that {judge} ever objects");
    }
}

fn with_rule_broken(setup: Setup, rule: Sabotage) -> Setup {
    Setup {
        flaw: Some(Flaw::Rule(rule)),
        ..setup
    }
}

/// M7 keeps a run alive, and no promise hangs on it: without it the run is cut short, which its script sees.
#[test]
fn without_the_shared_vote_a_run_does_not_go_on() {
    let scenario = scenario::find("drained_member_hands_over").expect("the scenario exists");
    for seed in 0..UNBROKEN {
        let setup = with_rule_broken((scenario.setup)(seed), Sabotage::SharedVoteDropped);
        match scenario.play_in(setup).1 {
            Verdict::Missed(_, missed) => assert_eq!(missed.0, "the run went on"),
            Verdict::Kept(_) => panic!("seed {seed}: it went on"),
            Verdict::Broken(_, violation) => panic!("seed {seed}: {violation}"),
        }
    }
}

/// Where what a person made void counts all the same (A1), nothing runs again: its script sees it.
#[test]
fn without_the_rule_nothing_runs_again() {
    let scenario = scenario::find("ended_and_run_again").expect("the scenario exists");
    for seed in 0..UNBROKEN {
        let setup = with_rule_broken((scenario.setup)(seed), Sabotage::VoidCounts);
        match scenario.play_in(setup).1 {
            Verdict::Missed(_, missed) => assert_eq!(missed.0, "each runs once more"),
            Verdict::Kept(_) => panic!("seed {seed}: it ran again"),
            Verdict::Broken(_, violation) => {
                assert_eq!(violation.judge, Judge::S2, "seed {seed}: {violation}");
            }
        }
    }
}

/// M8 matters where committees change while their votes are split; histories of the swarm in which that happens show it.
#[test]
fn votes_of_two_committees_do_not_count_together() {
    const SEEDS: [u64; 3] = [510, 640, 1_089];
    let mixed = |setup| with_rule_broken(setup, Sabotage::GenerationsMixed);
    let rushed = |setup| with_rule_broken(setup, Sabotage::NoStagger);
    let broken = |seed: &u64| sim::swarm::play_altered(*seed, None, mixed).is_broken();
    assert!(
        SEEDS
            .iter()
            .all(|seed| !sim::swarm::play_altered(*seed, None, rushed).is_broken()),
        "with the rule kept nothing is broken"
    );
    assert!(
        SEEDS.iter().any(broken),
        "none of these seeds shows it any more: look for others with the rule broken"
    );
}

/// Two of three disks are lost: what was acknowledged is gone or stuck, and a judge says so; only a person can go on.
#[test]
fn two_lost_disks_of_three_are_seen() {
    let mut world = World::new(Setup::new(1, 3));
    world.run_for(Duration::from_secs(3));
    let length = Duration::from_secs(20);
    let acked = world.submit_and_wait(0, Batch::many(2, Plan::succeed(length)));
    assert_eq!(acked.len(), 2);
    for host in [1, 2] {
        world.lose_disk(host, Duration::from_millis(100));
    }
    world.finish();
    let violation = world.report().violation.expect("nothing can end");
    assert_eq!(violation.judge, Judge::L1, "{violation}");
}

/// The judge of liveness must fire where there is no majority.
#[test]
fn work_without_a_majority_is_seen() {
    let mut world = World::new(Setup::new(1, 3));
    world.run_for(Duration::from_secs(3));
    world.submit(0, Batch::many(3, Plan::succeed(Duration::from_secs(60))));
    world.run_for(Duration::from_secs(1));
    let absent = [1, 2];
    for host in absent {
        world.crash_host(host, None, sim::world::Unsynced::Lost);
    }
    world.finish_without(&absent);
    let violation = world.report().violation.expect("nothing can end");
    assert_eq!(violation.judge, Judge::L1, "{violation}");
}
