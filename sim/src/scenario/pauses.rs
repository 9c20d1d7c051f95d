//! Scenarios in which a node or a host stands still.

use std::time::Duration;

use super::{
    Course, SOON, Scenario, expect, five, next_start, one_running, others, three, until, warm,
};
use crate::plan::{Batch, Plan};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "claimant_paused_beyond_its_lease",
        about: "its guard kills the run, others take over, it comes back",
        setup: three,
        script: claimant_paused,
    },
    Scenario {
        name: "claimant_paused_within_its_lease",
        about: "a short pause costs nothing",
        setup: three,
        script: short_pause,
    },
    Scenario {
        name: "paused_between_order_and_start",
        about: "the guard finds its deadline passed and does not start",
        setup: three,
        script: paused_before_start,
    },
    Scenario {
        name: "host_frozen_beyond_its_lease",
        about: "node, guard and process stand still together",
        setup: three,
        script: host_frozen,
    },
    Scenario {
        name: "witness_paused",
        about: "one witness at a time stands still",
        setup: five,
        script: witness_paused,
    },
    Scenario {
        name: "all_nodes_paused",
        about: "every node stands still for two leases",
        setup: three,
        script: all_paused,
    },
];

fn claimant_paused(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 4;
    let (claimant, run) = one_running(world, 0, Plan::succeed(length))?;
    world.run_for(SECOND / 2);
    world.stop_node(claimant);
    let (other, _) = next_start(world, world.lease() * 4)?;
    expect(other != claimant, "another host takes over")?;
    expect(
        world.oracle().tally().expired == 1,
        "the first run was killed before",
    )?;
    world.resume(claimant);
    until(world, length * 2, "it is committed", |world| {
        world.oracle().is_committed(run.task)
    })?;
    world.finish();
    expect(world.oracle().tally().starts == 2, "it ran twice in all")
}

fn short_pause(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 4;
    let (claimant, _) = one_running(world, 0, Plan::succeed(length))?;
    for _ in 0..4 {
        world.run_for(SECOND / 2);
        world.stop_node(claimant);
        world.run_for(world.lease() / 2);
        world.resume(claimant);
    }
    world.finish();
    expect(world.oracle().tally().starts == 1, "it ran once")
}

fn paused_before_start(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::one(Plan::succeed(SECOND)));
    until(world, SOON, "a start is ordered", |world| {
        world.orders() == 1
    })?;
    let Some((claimant, _)) = world.last_order() else {
        return expect(false, "a start is ordered");
    };
    world.stop_node(claimant);
    let (other, _) = next_start(world, world.lease() * 4)?;
    expect(other != claimant, "another host takes over")?;
    world.resume(claimant);
    world.run_for(SECOND / 2);
    expect(world.oracle().tally().too_late == 1, "the guard refuses")?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "it ran once")
}

fn host_frozen(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 3;
    let (claimant, _) = one_running(world, 0, Plan::succeed(length))?;
    world.freeze_host(claimant);
    let (other, _) = next_start(world, world.lease() * 4)?;
    expect(other != claimant, "another host takes over")?;
    world.resume(claimant);
    world.run_for(SECOND);
    expect(
        world.oracle().tally().expired == 1,
        "the thawed run is killed",
    )?;
    world.finish();
    Ok(())
}

fn witness_paused(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 8;
    let (claimant, _) = one_running(world, 0, Plan::succeed(length))?;
    for other in others(world, claimant) {
        world.stop_node(other);
        world.submit(claimant, Batch::many(2, Plan::succeed(SECOND / 10)));
        world.run_for(world.lease() * 3 / 2);
        world.resume(other);
        world.run_for(SECOND / 10);
    }
    world.finish();
    expect(
        world.oracle().tally().reruns == 0,
        "a minority of witnesses is not needed",
    )
}

fn all_paused(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(6, Plan::succeed(world.lease())));
    next_start(world, SOON)?;
    for host in 0..3 {
        world.stop_node(host);
    }
    world.run_for(world.lease() * 2);
    expect(
        world.oracle().leftover().is_none(),
        "guards have ended every run",
    )?;
    for host in 0..3 {
        world.resume(host);
        world.run_for(SECOND / 10);
    }
    world.finish();
    Ok(())
}
