//! Scenarios in which a guard dies: with its node alive, stopped or dead, during a run and after its end.

use std::time::Duration;

use crdt::task::OnPartition;

use super::{
    Course, SOON, Scenario, expect, next_start, one_running, only, submit, three, until, warm,
};
use crate::plan::{Batch, Plan};
use crate::world::{Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "guard_killed",
        about: "the guard dies and its run with it; its node says so, and the task runs again at once",
        setup: three,
        script: guard_killed,
    },
    Scenario {
        name: "guard_killed_under_a_stopped_node",
        about: "nobody can say that the run is dead: others wait for the lease",
        setup: three,
        script: under_stopped_node,
    },
    Scenario {
        name: "guard_and_node_killed",
        about: "the node comes back within the lease, finds nothing and gives up",
        setup: three,
        script: both_killed,
    },
    Scenario {
        name: "guard_killed_with_an_end_untold",
        about: "a run ended while its node was dead, and only its guard knew",
        setup: three,
        script: end_untold,
    },
    Scenario {
        name: "guards_killed_again_and_again",
        about: "guards and nodes die in turn on every host while twenty tasks run",
        setup: three,
        script: again_and_again,
    },
    Scenario {
        name: "anywhere_restarted_at_once",
        about: "a task that needs no votes starts; its node, slow to sync, loses all that was not durable, and its guard goes on",
        setup: three,
        script: anywhere_restarted,
    },
];

fn guard_killed(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 2))?;
    world.run_for(SECOND / 2);
    world.kill_guard(claimant);
    next_start(world, world.lease() / 2)?;
    expect(
        world.oracle().tally().expired == 1,
        "the first run died with its guard",
    )?;
    world.finish();
    expect(world.oracle().tally().starts == 2, "it ran twice in all")
}

fn under_stopped_node(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 2))?;
    world.stop_node(claimant);
    world.run_for(SECOND / 10);
    world.kill_guard(claimant);
    world.run_for(world.lease() / 2);
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.expired) == (1, 1),
        "the run is dead, and nobody knows",
    )?;
    let (other, _) = next_start(world, world.lease() * 3)?;
    expect(other != claimant, "another host takes over")?;
    world.resume(claimant);
    world.finish();
    expect(world.oracle().tally().starts == 2, "it ran twice in all")
}

fn both_killed(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 2))?;
    world.crash_node(claimant, Some(world.lease() / 4), Unsynced::Drawn);
    world.kill_guard(claimant);
    next_start(world, world.lease() * 3 / 4)?;
    world.finish();
    expect(world.oracle().tally().starts == 2, "it ran twice in all")
}

fn end_untold(world: &mut World) -> Course {
    warm(world);
    let lease = world.lease();
    let (claimant, run) = one_running(world, 0, Plan::succeed(lease / 4))?;
    world.crash_node(claimant, Some(lease), Unsynced::Lost);
    until(world, lease, "it ends", |world| {
        world.oracle().exits(run.task) == 1
    })?;
    world.kill_guard(claimant);
    until(world, lease * 6, "it is committed", |world| {
        world.oracle().is_committed(run.task)
    })?;
    world.finish();
    expect(
        world.oracle().starts(run.task) == 2,
        "an end that nobody knows is made again",
    )
}

fn again_and_again(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(20, Plan::succeed(world.lease())));
    for round in 0..9 {
        let (claimant, _) = next_start(world, SOON)?;
        world.run_for(world.lease() / 5);
        world.kill_guard(claimant);
        if round % 3 == 1 {
            world.crash_node(claimant, Some(world.lease() / 4), Unsynced::Drawn);
            world.kill_guard((claimant + 1) % 3);
        }
    }
    world.finish();
    expect(world.oracle().tally().commits == 20, "every task ends")
}

/// A2. What a node acts upon is durable before, its own bid too: else it would bid the same again and run beside its own orphan.
fn anywhere_restarted(world: &mut World) -> Course {
    warm(world);
    only(world, &[]);
    let mut batch = Batch::default();
    batch
        .add(Plan::succeed(world.lease() * 3))
        .spec
        .on_partition = OnPartition::Run;
    submit(world, 0, batch)?;
    world.slow_disk(0, world.lease() / 4);
    world.undrain_host(0);
    let (claimant, run) = next_start(world, SOON)?;
    world.crash_node(claimant, Some(SECOND / 20), Unsynced::Lost);
    world.run_for(world.lease());
    expect(
        world.host_of_run(run.task) == Some(claimant),
        "its node finds the run that it started, and lets it live",
    )?;
    world.finish();
    expect(world.oracle().starts(run.task) == 1, "it runs once")
}
