//! Scenarios of what people choose for a lost host (`--on-lost`) and for a split (`--on-partition`).

use std::time::Duration;

use crdt::ids::TaskId;
use crdt::task::{OnLost, OnPartition, TaskState};

use super::{
    Course, SOON, Scenario, expect, five, knows, next_start, only, others, submit, three, until,
    warm,
};
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::{Clocks, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "on_lost_wait_outlives_a_split",
        about: "a run that waits for its host goes on alone for many leases, and its end counts",
        setup: three,
        script: wait_in_split,
    },
    Scenario {
        name: "on_lost_wait_for_a_dead_host",
        about: "a host dies with its run; nobody else runs it, and the host tells of the loss when it is back",
        setup: three,
        script: wait_for_the_dead,
    },
    Scenario {
        name: "on_lost_wait_needs_no_clock",
        about: "clocks err by two thirds while hosts are cut off, stopped and killed",
        setup: wild_clocks,
        script: wait_without_clocks,
    },
    Scenario {
        name: "on_lost_wait_until_someone_says_retry",
        about: "the host never comes back; a person says so, and the task runs elsewhere",
        setup: three,
        script: wait_written_off,
    },
    Scenario {
        name: "on_lost_fail_of_a_dead_host",
        about: "a host dies with its run for ever; the others end the task as lost",
        setup: three,
        script: fail_dead,
    },
    Scenario {
        name: "on_lost_fail_in_a_split",
        about: "a run is killed at its deadline in a minority: lost, and not run again",
        setup: five,
        script: fail_in_split,
    },
    Scenario {
        name: "on_lost_fail_with_retries",
        about: "a host is lost twice; the second loss is the last",
        setup: five,
        script: fail_retried,
    },
    Scenario {
        name: "run_anywhere_in_a_quiet_mesh",
        about: "without a split the settle window keeps hosts apart",
        setup: five,
        script: anywhere_quiet,
    },
    Scenario {
        name: "run_anywhere_on_both_sides",
        about: "both sides of a split run the tasks; in the end one result counts everywhere",
        setup: five,
        script: anywhere_split,
    },
    Scenario {
        name: "run_anywhere_better_result_wins",
        about: "one side fails, the other succeeds; what depends on it runs after all",
        setup: three,
        script: anywhere_better,
    },
    Scenario {
        name: "run_anywhere_after_a_lost_host",
        about: "the host of a claim dies; others claim again",
        setup: three,
        script: anywhere_lost,
    },
];

fn wild_clocks(seed: u64) -> Setup {
    let rates = vec![-600_000, 650_000, 0, 400_000, -300_000];
    Setup {
        clocks: Clocks::Given(rates),
        ..five(seed)
    }
}

fn minding(count: usize, plan: Plan, on_lost: OnLost) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..count {
        batch.add(plan).spec.on_lost = on_lost;
    }
    batch
}

fn anywhere(count: usize, plan: Plan) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..count {
        batch.add(plan).spec.on_partition = OnPartition::Run;
    }
    batch
}

fn state(world: &World, host: HostIx, task: TaskId) -> Option<TaskState> {
    Some(world.replica(host)?.task(task)?.state)
}

/// Submits one task that only the last host takes, and waits for its process.
fn on_the_last(world: &mut World, batch: Batch) -> Result<(HostIx, TaskId), super::Missed> {
    let last = world.hosts() - 1;
    only(world, &[last]);
    world.run_for(SECOND);
    world.submit(0, batch);
    let (host, run) = next_start(world, SOON)?;
    let all: Vec<HostIx> = (0..world.hosts()).collect();
    only(world, &all);
    Ok((host, run.task))
}

pub(super) fn wait_in_split(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease() * 6);
    let (host, task) = on_the_last(world, minding(1, plan, OnLost::Wait))?;
    world.run_for(SECOND);
    world.isolate(host);
    world.run_for(world.lease() * 8);
    expect(world.oracle().exits(task) == 1, "it runs to its end, alone")?;
    expect(world.oracle().tally().expired == 0, "nothing is killed")?;
    world.finish();
    expect(
        state(world, 0, task) == Some(TaskState::Success),
        "its end counts",
    )
}

fn wait_for_the_dead(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease() * 3);
    let (host, task) = on_the_last(world, minding(1, plan, OnLost::Wait))?;
    world.crash_host(host, None, Unsynced::Lost);
    world.run_for(world.lease() * 12);
    expect(
        state(world, 0, task).is_some_and(|state| !state.is_complete()),
        "the others wait",
    )?;
    world.start_node(host, SECOND);
    until(world, world.lease() * 4, "the host tells", |world| {
        state(world, 0, task) == Some(TaskState::Lost)
    })?;
    world.finish();
    expect(world.oracle().starts(task) == 1, "it started once")
}

fn wait_without_clocks(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease() * 2);
    world.submit(0, minding(10, plan, OnLost::Wait));
    next_start(world, SOON)?;
    world.run_for(SECOND);
    world.isolate(1);
    world.crash_host(0, Some(world.lease() * 3), Unsynced::Lost);
    world.stop_node(2);
    world.run_for(world.lease() * 4);
    world.heal_links();
    world.resume(2);
    world.isolate(3);
    world.run_for(world.lease() * 6);
    world.finish();
    expect(world.oracle().tally().commits == 10, "every task ends")
}

fn wait_written_off(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease());
    let (host, task) = on_the_last(world, minding(1, plan, OnLost::Wait))?;
    world.run_for(SECOND);
    world.crash_host(host, None, Unsynced::Lost);
    world.run_for(world.lease() * 6);
    expect(world.oracle().starts(task) == 1, "the others wait")?;
    world.write_off(0, &[task]);
    next_start(world, world.lease() * 2)?;
    world.run_for(world.lease() * 2);
    world.finish_without(&[host]);
    expect(
        state(world, 0, task) == Some(TaskState::Success),
        "it ends well",
    )
}

pub(super) fn fail_dead(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease());
    let (host, task) = on_the_last(world, minding(1, plan, OnLost::Fail))?;
    world.run_for(SECOND / 2);
    world.crash_host(host, None, Unsynced::Lost);
    until(world, world.lease() * 6, "it ends as lost", |world| {
        state(world, 0, task) == Some(TaskState::Lost)
    })?;
    world.finish_without(&[host]);
    expect(world.oracle().starts(task) == 1, "it started once")
}

fn fail_in_split(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease() * 10);
    let (host, task) = on_the_last(world, minding(1, plan, OnLost::Fail))?;
    world.run_for(SECOND);
    let rest = others(world, host);
    world.split(&[&[host, rest[0]], &rest[1..]]);
    world.run_for(world.lease() * 8);
    expect(world.oracle().tally().expired == 1, "its run is killed")?;
    world.finish();
    expect(
        state(world, 0, task) == Some(TaskState::Lost),
        "it is lost on every host",
    )?;
    expect(world.oracle().starts(task) == 1, "it started once")
}

fn fail_retried(world: &mut World) -> Course {
    warm(world);
    let mut once_more = Batch::default();
    let task = once_more.add(Plan::succeed(world.lease() * 2));
    task.spec.on_lost = OnLost::Fail;
    task.spec.retries = 1;
    let (first, task) = on_the_last(world, once_more)?;
    world.run_for(SECOND / 2);
    world.crash_host(first, None, Unsynced::Lost);
    let (second, _) = next_start(world, world.lease() * 6)?;
    world.run_for(SECOND / 2);
    world.crash_host(second, Some(SECOND), Unsynced::Lost);
    until(world, world.lease() * 8, "it ends as lost", |world| {
        (0..world.hosts()).any(|host| state(world, host, task) == Some(TaskState::Lost))
    })?;
    world.finish_without(&[first]);
    expect(world.oracle().starts(task) == 2, "it started twice")
}

fn anywhere_quiet(world: &mut World) -> Course {
    warm(world);
    for host in 0..world.hosts() {
        world.submit(host, anywhere(8, Plan::succeed(SECOND)));
    }
    world.run_for(SECOND * 20);
    world.finish();
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.commits) == (40, 40),
        "each task runs once",
    )
}

/// Has tasks known to all before any host takes one.
fn known_to_all(world: &mut World, batch: Batch) -> Result<Vec<TaskId>, super::Missed> {
    only(world, &[]);
    world.run_for(SECOND);
    let tasks = submit(world, 0, batch)?;
    until(world, SOON, "all know the tasks", |world| {
        (0..world.hosts()).all(|host| tasks.iter().all(|task| knows(world, host, *task)))
    })?;
    Ok(tasks)
}

fn anywhere_split(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease() / 2);
    let tasks = known_to_all(world, anywhere(6, plan))?;
    world.split(&[&[0, 1], &[2, 3, 4]]);
    world.run_for(world.lease() * 2);
    only(world, &[0, 1, 2, 3, 4]);
    world.run_for(world.lease() * 4);
    let twice = tasks
        .iter()
        .filter(|task| world.oracle().starts(**task) > 1);
    expect(twice.count() == 6, "both sides run them")?;
    world.finish();
    expect(world.oracle().tally().commits == 6, "each has a result")
}

pub(super) fn anywhere_better(world: &mut World) -> Course {
    warm(world);
    let once_failing = Plan {
        failures: 1,
        ..Plan::succeed(SECOND)
    };
    let mut batch = anywhere(1, once_failing);
    batch.add_after(Plan::succeed(SECOND), &[0]);
    let tasks = known_to_all(world, batch)?;
    world.split(&[&[0], &[1, 2]]);
    world.run_for(world.lease() * 2);
    world.undrain_host(0);
    until(world, SOON, "one side fails", |world| {
        state(world, 0, tasks[0]) == Some(TaskState::Error)
    })?;
    expect(
        state(world, 0, tasks[1]) == Some(TaskState::Cancelled),
        "what depends on it is not run there",
    )?;
    only(world, &[0, 1, 2]);
    until(world, SOON * 2, "the other succeeds", |world| {
        state(world, 1, tasks[0]) == Some(TaskState::Success)
    })?;
    world.finish();
    let ended = (0..3).all(|host| {
        tasks
            .iter()
            .all(|task| state(world, host, *task) == Some(TaskState::Success))
    });
    expect(ended, "both end well on every host")
}

fn anywhere_lost(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease());
    let (host, task) = on_the_last(world, anywhere(1, plan))?;
    world.run_for(SECOND / 2);
    world.crash_host(host, None, Unsynced::Lost);
    next_start(world, world.lease() * 4)?;
    until(world, world.lease() * 3, "it ends well", |world| {
        state(world, 0, task) == Some(TaskState::Success)
    })?;
    world.finish_without(&[host]);
    expect(world.oracle().starts(task) == 2, "it ran again once")
}
