//! Scenarios of retention: what ended long ago is dropped, on every host or on none, and never comes back.

use std::time::Duration;

use crdt::event::{Refusal, Reply};
use crdt::ids::TaskId;
use crdt::task::TaskState;

use super::{Course, SOON, Scenario, expect, next_start, only, submit, three, until, warm};
use crate::plan::{Batch, Plan};
use crate::world::{Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);
/// For so long what has ended is kept here.
const RETENTION: Duration = Duration::from_secs(30);
/// A segment ends a minute after it was opened, and each statement is some seconds after the other.
const LAPSED: Duration = Duration::from_secs(150);
/// A year.
const FAR_MS: i64 = 365 * 86_400_000;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "what_ended_long_ago_is_dropped",
        about: "tasks, a group and an array end; after the retention no host has anything of them, and numbers are not given again",
        setup: three,
        script: dropped,
    },
    Scenario {
        name: "nothing_is_dropped_unless_that_is_wanted",
        about: "tasks end, and time passes, without a retention",
        setup: three,
        script: kept,
    },
    Scenario {
        name: "what_is_needed_is_not_dropped",
        about: "a task waits for one that ended long ago, another ran again lately: both segments stay",
        setup: three,
        script: needed,
    },
    Scenario {
        name: "back_after_all_was_dropped",
        about: "a host is away from before a task's end until it was dropped: it drops it too, and runs nothing",
        setup: three,
        script: back_late,
    },
    Scenario {
        name: "dropped_through_power_cuts",
        about: "all hosts lose their power again and again while segments lapse",
        setup: three,
        script: through_cuts,
    },
    WRONG_CLOCK,
    Scenario {
        name: "dropped_on_a_host_alone",
        about: "a mesh of one host drops what ended long ago, and is started again with the rest",
        setup: |seed| Setup::new(seed, 1),
        script: alone,
    },
];

/// One clock a year ahead.
pub(super) const WRONG_CLOCK: Scenario = Scenario {
    name: "one_wrong_clock_makes_nothing_lapse",
    about: "tasks have just ended; one host's clock is a year ahead: nobody drops anything",
    setup: three,
    script: wrong_clock,
};

fn short() -> Plan {
    Plan::succeed(SECOND / 20)
}

fn keep_for(world: &mut World, span: Duration) {
    world.set(0, "retention", Some(&format!("{}ms", span.as_millis())));
    world.run_for(SECOND);
}

/// How many tasks a host has.
fn tasks(world: &World, host: usize) -> usize {
    let replica = world.replica(host);
    replica.map_or(0, |replica| replica.memory().tasks)
}

fn all_drop(world: &mut World) -> Course {
    until(world, LAPSED, "all is dropped", |world| {
        (0..world.hosts()).all(|host| tasks(world, host) == 0)
    })
}

fn ended(world: &mut World, ids: &[TaskId]) -> Course {
    until(world, SOON * 3, "they end", |world| {
        ids.iter().all(|id| {
            let replica = world.replica(0);
            let view = replica.and_then(|replica| replica.task(*id));
            view.is_some_and(|view| view.state.is_complete())
        })
    })
}

fn dropped(world: &mut World) -> Course {
    warm(world);
    keep_for(world, RETENTION);
    let mut ids = Vec::new();
    for host in 0..3 {
        ids.extend(submit(world, host, Batch::many(3, short()))?);
    }
    ids.extend(submit(world, 1, Batch::group(4, 2, short()))?);
    let array = submit(world, 2, Batch::array(1_500, 0, short()))?;
    world.kill(2, &array[..1], SECOND);
    ended(world, &ids)?;
    world.run_for(RETENTION / 2);
    expect(tasks(world, 1) > 0, "they are kept for a while")?;
    all_drop(world)?;
    let again = world.run_again(1, &ids[..1]);
    world.run_for(SECOND);
    let unknown = Some(&Reply::Refused(Refusal::Unknown(ids[0])));
    expect(world.reply(again) == unknown, "nobody knows them")?;
    for host in 0..3 {
        world.crash_host(host, Some(SECOND), Unsynced::Lost);
    }
    world.run_for(SECOND * 5);
    for host in 0..3 {
        let later = submit(world, host, Batch::many(2, short()))?;
        expect(later.iter().all(|id| !ids.contains(id)), "other ids")?;
    }
    world.finish();
    Ok(())
}

fn kept(world: &mut World) -> Course {
    warm(world);
    let ids = submit(world, 0, Batch::many(3, short()))?;
    ended(world, &ids)?;
    world.run_for(LAPSED);
    expect(tasks(world, 1) == 3, "they are kept")?;
    world.finish();
    Ok(())
}

fn needed(world: &mut World) -> Course {
    warm(world);
    let retention = RETENTION * 8 / 3;
    keep_for(world, retention);
    let ids = submit(world, 0, Batch::one(short()))?;
    ended(world, &ids)?;
    world.run_for(SECOND * 61);
    // It stands in a segment of its own.
    let mut later = Batch::one(short());
    for task in later.tasks_mut() {
        task.spec.after.push(ids[0]);
        task.spec.options.held = true;
    }
    let waits = submit(world, 0, later)?;
    let again = submit(world, 1, Batch::one(short()))?;
    ended(world, &again)?;
    world.run_for(SECOND * 55);
    world.run_again(2, &again);
    world.run_for(retention - SECOND * 5);
    for host in 0..3 {
        let replica = world.replica(host);
        let knows = |id: &TaskId| replica.is_some_and(|replica| replica.task(*id).is_some());
        expect(
            knows(&ids[0]) && knows(&waits[0]),
            "what is waited for stays",
        )?;
        expect(knows(&again[0]), "what ran again lately stays")?;
    }
    world.hold(1, &waits, false);
    ended(world, &waits)?;
    all_drop(world)?;
    world.finish();
    Ok(())
}

fn back_late(world: &mut World) -> Course {
    warm(world);
    keep_for(world, RETENTION);
    only(world, &[0]);
    world.submit(1, Batch::one(Plan::succeed(SECOND * 4)));
    let (_, run) = next_start(world, SOON)?;
    world.run_for(SECOND);
    world.crash_host(2, None, Unsynced::Lost);
    only(world, &[0, 1]);
    until(world, LAPSED, "the others drop it", |world| {
        tasks(world, 0) + tasks(world, 1) == 0
    })?;
    world.start_node(2, Duration::ZERO);
    let starts = world.oracle().tally().starts;
    all_drop(world)?;
    world.run_for(world.lease() * 4);
    expect(world.oracle().tally().starts == starts, "nothing runs")?;
    expect(world.oracle().is_committed(run.task), "it had ended")?;
    world.finish();
    Ok(())
}

fn through_cuts(world: &mut World) -> Course {
    warm(world);
    keep_for(world, RETENTION);
    for round in 0..8_u32 {
        for host in 0..3 {
            world.submit(host, Batch::many(2, Plan::succeed(SECOND / 2)));
        }
        world.run_for(SECOND * 20);
        for host in 0..3 {
            let nth = (u32::try_from(host).unwrap_or(0) + round) % 3;
            world.crash_host(host, Some(SECOND / 4 * (nth + 1)), Unsynced::Drawn);
        }
        world.run_for(SECOND * 3);
    }
    all_drop(world)?;
    world.submit(1, Batch::many(2, short()));
    world.finish();
    Ok(())
}

fn wrong_clock(world: &mut World) -> Course {
    warm(world);
    keep_for(world, RETENTION * 40);
    let ids = submit(world, 0, Batch::many(3, short()))?;
    ended(world, &ids)?;
    world.step_wall(0, FAR_MS);
    world.run_for(LAPSED);
    let there = |host: usize| {
        let view = world.replica(host).and_then(|replica| replica.task(ids[0]));
        view.is_some_and(|view| view.state == TaskState::Success)
    };
    let all = (0..3).all(there);
    world.finish();
    expect(all, "everybody keeps it")
}

fn alone(world: &mut World) -> Course {
    warm(world);
    keep_for(world, RETENTION);
    let ids = submit(world, 0, Batch::many(3, short()))?;
    all_drop(world)?;
    world.crash_host(0, Some(SECOND), Unsynced::Lost);
    world.run_for(SECOND * 5);
    let later = submit(world, 0, Batch::many(3, short()))?;
    expect(later.iter().all(|id| !ids.contains(id)), "other ids")?;
    world.finish();
    Ok(())
}
