//! The claimant's rules, broken one at a time: how many votes hold, for how long, how often a run starts, what a kill means.

use std::time::Duration;

use crdt::config::Sabotage;

use super::super::directed::{heartbeats_cut, worst, worst_case};
use super::super::leases::RAISED;
use super::super::{
    Control, Course, Scenario, expect, next_start, one_running, only, others, submit, three, until,
    warm,
};
use super::rule;
use crate::link::Lanes;
use crate::oracle::Judge;
use crate::plan::{Batch, Plan};
use crate::world::{Notice, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

/// Every control of this file.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "minority_holds",
        rule: "C4",
        breaks: |setup| rule(setup, Sabotage::MinorityHolds),
        judge: Judge::S4,
        scenario: Scenario {
            name: "author_alone",
            about: "a task is submitted at a host that is cut off from all others",
            setup: three,
            script: author_alone,
        },
    },
    Control {
        name: "no_margin",
        rule: "C4, K, F10",
        breaks: |setup| rule(setup, Sabotage::NoMargin),
        judge: Judge::S1,
        scenario: Scenario {
            name: "worst_clocks_and_kills",
            about: "the claimant's clock is slow, the witness's fast, every kill takes its bound",
            setup: worst,
            script: worst_case,
        },
    },
    Control {
        name: "wait_assumed",
        rule: "C3, R5",
        breaks: |setup| rule(setup, Sabotage::WaitAssumed),
        judge: Judge::S1,
        scenario: RAISED,
    },
    Control {
        name: "starts_again",
        rule: "C5, n5b",
        breaks: |setup| rule(setup, Sabotage::StartsAgain),
        judge: Judge::S4,
        scenario: Scenario {
            name: "heartbeats_come_back",
            about: "heartbeats are cut until the run is killed, and nobody else takes tasks",
            setup: three,
            script: heartbeats_back,
        },
    },
    Control {
        name: "no_heartbeats",
        rule: "C6",
        breaks: |setup| rule(setup, Sabotage::NoHeartbeats),
        judge: Judge::L1,
        scenario: Scenario {
            name: "longer_than_a_lease",
            about: "a run of three leases, no fault",
            setup: three,
            script: long_run,
        },
    },
    Control {
        name: "found_is_held",
        rule: "C2, G3",
        breaks: |setup| rule(setup, Sabotage::FoundIsHeld),
        judge: Judge::S1,
        scenario: Scenario {
            name: "found_where_nobody_answers",
            about: "a node comes back to its run, cut off from all others",
            setup: three,
            script: found_alone,
        },
    },
    Control {
        name: "kill_is_outcome",
        rule: "C7",
        breaks: |setup| rule(setup, Sabotage::KillIsOutcome),
        judge: Judge::S2,
        scenario: Scenario {
            name: "killed_in_sight_of_all",
            about: "heartbeats are cut, documents are not: all see how the run ended",
            setup: worst,
            script: heartbeats_cut,
        },
    },
];

/// C4. Its own vote is not enough.
fn author_alone(world: &mut World) -> Course {
    warm(world);
    world.isolate(0);
    world.submit(0, Batch::one(Plan::succeed(SECOND)));
    world.run_for(world.lease());
    expect(world.oracle().tally().starts == 0, "nothing starts alone")?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "it runs once")
}

/// C5. What was killed at its deadline is given up, and runs at a later epoch.
fn heartbeats_back(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    one_running(world, 0, Plan::succeed(world.lease() * 2))?;
    for other in others(world, 0) {
        world.cut_way(0, other, Lanes::Claims, Notice::Never);
    }
    until(world, world.lease() * 2, "it is killed", |world| {
        world.oracle().tally().expired > 0
    })?;
    world.heal_links();
    world.finish();
    expect(world.oracle().tally().starts == 2, "it runs again")
}

/// C6. A run outlives its lease by renewals.
fn long_run(world: &mut World) -> Course {
    warm(world);
    submit(world, 0, Batch::one(Plan::succeed(world.lease() * 3)))?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "it runs once")
}

/// C2. What the old start had heard lets the run go on until its deadline, and no longer.
fn found_alone(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 8))?;
    world.isolate(claimant);
    world.crash_node(claimant, Some(world.lease() / 8), Unsynced::Drawn);
    let (other, _) = next_start(world, world.lease() * 4)?;
    expect(other != claimant, "another host takes over")?;
    expect(
        world.oracle().tally().expired == 1,
        "the guard ended the first",
    )?;
    world.finish();
    Ok(())
}
