//! What the protocol assumes of clocks, disks, guards and signatures, taken away one at a time: the judges must see that it was needed.

use std::time::Duration;

use super::super::directed::{node_stopped, parked_task, worst, worst_case};
use super::super::{
    Control, Course, SOON, Scenario, expect, next_start, one_running, only, submit, three, until,
    warm, with_guard,
};
use crate::host::GuardFlaw;
use crate::link::Lanes;
use crate::oracle::Judge;
use crate::plan::{Batch, Plan};
use crate::world::{Clocks, Flaw, Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

/// Every control of this file.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "drift_beyond_its_bound",
        rule: "r, W",
        breaks: drift_more,
        judge: Judge::S1,
        scenario: Scenario {
            name: "clocks_at_their_bound",
            about: "the claimant's clock is slow, the witness's fast, every kill takes its bound",
            setup: worst,
            script: worst_case,
        },
    },
    Control {
        name: "guard_stops_too",
        rule: "A4",
        breaks: |setup| with_guard(setup, GuardFlaw::StopsToo),
        judge: Judge::S1,
        scenario: Scenario {
            name: "node_and_guard_stopped",
            about: "the claimant's node and guard stand still beyond its lease, its run does not",
            setup: three,
            script: node_stopped,
        },
    },
    Control {
        name: "signatures_unchecked",
        rule: "A1",
        breaks: |setup| Setup {
            flaw: Some(Flaw::Gullible),
            ..setup
        },
        judge: Judge::C1,
        scenario: Scenario {
            name: "forged_changes",
            about: "somebody signs in the name of members whose keys it does not have",
            setup: three,
            script: forged,
        },
    },
    Control {
        name: "clock_is_set",
        rule: "A3",
        breaks: |setup| Setup {
            flaw: Some(Flaw::ClockIsSet),
            ..setup
        },
        judge: Judge::S1,
        scenario: Scenario {
            name: "claimant_clock_set_back",
            about: "a person sets the claimant's clock back while it is cut off",
            setup: three,
            script: set_back,
        },
    },
    Control {
        name: "disk_rolls_back",
        rule: "A3",
        breaks: |setup| Setup {
            flaw: Some(Flaw::DiskRollsBack),
            ..setup
        },
        judge: Judge::S1,
        scenario: Scenario {
            name: "voter_dies_and_returns",
            about: "a copy is made of a voter's disk; it votes, dies, and comes back where only a rival reaches it",
            setup: three,
            script: voter_returns,
        },
    },
];

/// Three times the stated bound.
fn drift_more(setup: Setup) -> Setup {
    let real = 3 * i32::try_from(setup.timing.drift_ppm).unwrap_or(0);
    Setup {
        clocks: Clocks::Given(vec![-real, real, real]),
        ..setup
    }
}

/// A3. h0 is cut off; its wall clock goes back by more than a lease, which must not make its hold any longer. (Set ahead on a
/// witness it does no harm even then: what looks like a standstill starts all waits again.)
fn set_back(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    one_running(world, 0, Plan::succeed(world.lease() * 8))?;
    only(world, &[0, 1, 2]);
    world.isolate(0);
    world.run_for(world.lease() / 4);
    world.step_wall(0, -10_000);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// A3. h1 voted for h0, durably. It dies, comes back without h0, and meets h2, which saw nothing.
fn voter_returns(world: &mut World) -> Course {
    warm(world);
    parked_task(world, 2, Plan::succeed(world.lease() * 4))?;
    for from in [0, 1] {
        world.cut_way(from, 2, Lanes::Gossip, Notice::Never);
    }
    world.copy_disk(1);
    world.undrain_host(0);
    next_start(world, SOON)?;
    until(world, SECOND, "the vote is durable", |world| {
        world.host(1).disk.backlog() == 0
    })?;
    world.crash_host(1, Some(SECOND / 50), Unsynced::Lost);
    world.isolate(0);
    world.mend_way(1, 2);
    world.undrain_host(2);
    world.run_for(world.lease());
    world.finish();
    Ok(())
}

/// A1. What a forger says of members is refused, and does the members no harm.
fn forged(world: &mut World) -> Course {
    warm(world);
    submit(world, 0, Batch::many(3, Plan::succeed(SECOND)))?;
    for to in [0, 1, 2, 0, 1, 2] {
        world.send_forged((to + 1) % 3, to);
        world.run_for(SECOND / 10);
    }
    world.finish();
    expect(world.oracle().tally().commits == 3, "every task ends")
}
