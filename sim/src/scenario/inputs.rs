//! Scenarios of runs that wait on their host for what they read: long after the order, and perhaps in vain.

use std::time::Duration;

use crdt::task::TaskState;

use super::{Course, SOON, Scenario, expect, only, submit, three, until, warm};
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::{Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "input_comes_later_than_a_lease",
        about: "a run waits for its input for many leases, also over a crash of a witness: its hold is renewed, and it starts once",
        setup: three,
        script: late,
    },
    Scenario {
        name: "not_wanted_while_its_input_comes",
        about: "of runs that wait for their input one is killed, one is held, one expires: none starts, and the slots are free",
        setup: three,
        script: unwanted,
    },
    Scenario {
        name: "claimant_cut_off_while_its_input_comes",
        about: "the host that waits is cut off for longer than its lease: the task runs elsewhere, and never there",
        setup: three,
        script: cut_off,
    },
];

/// A task whose input takes so long to come.
fn reads(input: Duration) -> Plan {
    Plan {
        input,
        ..Plan::succeed(SECOND / 5)
    }
}

/// Lets things happen until a run is ordered.
fn next_order(world: &mut World) -> Result<HostIx, super::Missed> {
    let before = world.orders();
    until(world, SOON, "a run is ordered", |world| {
        world.orders() > before
    })?;
    let ordered = world.last_order();
    ordered
        .map(|(host, _)| host)
        .ok_or(super::Missed("a run is ordered"))
}

fn state(world: &World, host: HostIx, task: crdt::ids::TaskId) -> Option<TaskState> {
    Some(world.replica(host)?.task(task)?.state)
}

fn late(world: &mut World) -> Course {
    warm(world);
    let wait = world.lease() * 5;
    world.submit(0, Batch::one(reads(wait)));
    let host = next_order(world)?;
    let begun = world.now();
    let witness = (host + 1) % 3;
    world.crash_node(witness, Some(SECOND / 2), Unsynced::Drawn);
    until(world, SOON * 3, "it starts", |world| {
        world.oracle().tally().starts == 1
    })?;
    expect(
        world.now().saturating_sub(begun) >= wait,
        "it waits for its input",
    )?;
    world.finish();
    let tally = world.oracle().tally();
    expect(
        tally.starts == 1 && tally.commits == 1 && world.orders() == 1,
        "it is ordered and starts once",
    )
}

fn unwanted(world: &mut World) -> Course {
    warm(world);
    only(world, &[1]);
    let long = reads(SECOND * 3_600);
    let mut batch = Batch::one(long);
    batch.add(long);
    let ids = submit(world, 0, batch)?;
    until(world, SOON, "both wait", |world| world.orders() == 2)?;
    let mut batch = Batch::default();
    let soon = crdt::time::Wall(world.wall(1).0 + 4_000);
    batch.add(long).spec.options.expires = Some(soon);
    batch.add(Plan::succeed(SECOND / 5));
    let more = submit(world, 0, batch)?;
    world.kill(2, &ids[..1], SECOND);
    until(world, SOON, "the first is cancelled", |world| {
        (0..3).all(|host| state(world, host, ids[0]) == Some(TaskState::Cancelled))
    })?;
    world.hold(2, &ids[1..], true);
    until(world, SOON, "the second is held", |world| {
        (0..3).all(|host| state(world, host, ids[1]) == Some(TaskState::Held))
    })?;
    until(world, SOON, "the third expires", |world| {
        state(world, 0, more[0]) == Some(TaskState::Cancelled)
    })?;
    until(world, SOON, "there is room for the last", |world| {
        world.oracle().is_committed(more[1])
    })?;
    expect(
        world.oracle().tally().starts == 1,
        "none that waited has started",
    )?;
    world.kill(0, &ids[1..], SECOND);
    world.finish();
    expect(
        world.oracle().tally().starts == 1,
        "none that waited ever starts",
    )
}

fn cut_off(world: &mut World) -> Course {
    warm(world);
    let wait = world.lease() * 3;
    let ids = submit(world, 0, Batch::one(reads(wait)))?;
    let host = match world.last_order() {
        Some((host, _)) => host,
        None => next_order(world)?,
    };
    world.isolate(host);
    until(world, SOON * 3, "it runs elsewhere", |world| {
        world.oracle().tally().starts == 1
    })?;
    expect(
        world.last_start().is_some_and(|(other, _)| other != host),
        "not on the host that was cut off",
    )?;
    world.run_for(world.lease());
    world.heal_links();
    world.finish();
    expect(
        world.oracle().starts(ids[0]) == 1,
        "its claim there was given up",
    )
}
