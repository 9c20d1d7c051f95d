//! Scenarios of submissions with a key: asked twice, done once.

use std::time::Duration;

use crdt::ids::TaskId;
use crdt::task::TaskState;

use super::lives::{all_say, seen};
use super::wishes::cut_power;
use super::{Course, Missed, SOON, Scenario, expect, only, submit, three, until, warm};
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "asked_again_under_a_key",
        about: "a submission is made again at every host, before and after power cuts and its end: it is the same task, run once",
        setup: three,
        script: asked_again,
    },
    Scenario {
        name: "one_key_at_two_hosts_at_once",
        about: "all hosts take a key before they hear of each other, while nobody starts anything: the first runs, the others never",
        setup: three,
        script: at_once,
    },
    Scenario {
        name: "one_key_on_both_sides_of_a_split",
        about: "a majority runs what the other side took as well, a group too: once they hear of each other that runs no more",
        setup: three,
        script: in_split,
    },
    Scenario {
        name: "a_key_whose_task_is_removed",
        about: "a key is free again once its task is removed, also where that had superseded another",
        setup: three,
        script: removed,
    },
];

/// A batch under a key.
fn keyed(mut batch: Batch, key: &str) -> Batch {
    if let Some(first) = batch.tasks_mut().next() {
        key.clone_into(&mut first.spec.options.key);
    }
    batch
}

fn short() -> Batch {
    Batch::one(Plan::succeed(SECOND / 5))
}

/// Asks at a host, and says which task it is.
fn ask(world: &mut World, host: HostIx, batch: Batch, key: &str) -> Result<TaskId, Missed> {
    submit(world, host, keyed(batch, key)).map(|ids| ids[0])
}

fn asked_again(world: &mut World) -> Course {
    warm(world);
    let first = ask(world, 0, short(), "nightly")?;
    for host in 0..3 {
        let again = ask(world, host, short(), "nightly")?;
        expect(again == first, "it is the same task at every host")?;
    }
    let other = ask(world, 1, short(), "weekly")?;
    expect(other != first, "another key is another task")?;
    let group = ask(
        world,
        0,
        Batch::group(3, 0, Plan::succeed(SECOND / 5)),
        "batch",
    )?;
    let again = ask(
        world,
        2,
        Batch::group(3, 0, Plan::succeed(SECOND / 5)),
        "batch",
    )?;
    expect(
        group == again,
        "a group goes by its key with all its members",
    )?;
    world.finish();
    cut_power(world);
    world.finish();
    for host in 0..3 {
        expect(
            ask(world, host, short(), "nightly")? == first,
            "and after its end and a restart",
        )?;
    }
    world.finish();
    let members = world.replica(0).map(|of| of.tasks_of_group(group));
    let members = members.unwrap_or_default();
    let once = members.iter().chain([&first, &other]);
    expect(
        members.len() == 3 && once.into_iter().all(|id| world.oracle().starts(*id) == 1),
        "each ran once",
    )
}

fn at_once(world: &mut World) -> Course {
    warm(world);
    only(world, &[]);
    world.split(&[&[0], &[1], &[2]]);
    world.run_for(SECOND);
    let tokens: Vec<_> = (0..3)
        .map(|host| world.submit(host, keyed(short(), "nightly")))
        .collect();
    until(world, SOON, "each host takes it", |world| {
        tokens.iter().all(|token| world.tasks_of(*token).len() == 1)
    })?;
    let mut ids: Vec<TaskId> = tokens.iter().map(|of| world.tasks_of(*of)[0]).collect();
    ids.sort_unstable();
    ids.dedup();
    expect(ids.len() == 3, "for each it is a task of its own")?;
    world.heal_links();
    world.run_for(SECOND * 3);
    only(world, &[0, 1, 2]);
    world.finish();
    let starts: usize = ids.iter().map(|id| world.oracle().starts(*id)).sum();
    let ended = |id: &TaskId| all_say(world, *id, TaskState::Cancelled, "superseded by ");
    let superseded = ids.iter().filter(|id| ended(id)).count();
    expect(
        starts == 1 && superseded == 2,
        "one of them runs, and the others are superseded",
    )?;
    let first = ids.iter().find(|id| !ended(id)).copied();
    for host in 0..3 {
        let again = ask(world, host, short(), "nightly")?;
        expect(Some(again) == first, "and that one has the key everywhere")?;
    }
    Ok(())
}

fn in_split(world: &mut World) -> Course {
    warm(world);
    only(world, &[0, 1]);
    world.split(&[&[0, 1], &[2]]);
    let ours = ask(world, 0, short(), "nightly")?;
    let group = ask(
        world,
        1,
        Batch::group(4, 0, Plan::succeed(SECOND / 5)),
        "batch",
    )?;
    // The clocks of the hosts differ by less.
    world.run_for(SECOND * 2);
    let lone = world.submit(2, keyed(short(), "nightly"));
    let many = Batch::group(4, 0, Plan::succeed(SECOND / 5));
    let lone_group = world.submit(2, keyed(many, "batch"));
    until(world, SOON * 2, "the majority runs its own", |world| {
        let done = |id| seen(world, 0, id).is_some_and(|(state, _)| state == TaskState::Success);
        done(ours) && done(group)
    })?;
    world.heal_links();
    world.finish();
    let (lone, lone_group) = (world.tasks_of(lone), world.tasks_of(lone_group));
    let late = lone.iter().chain(lone_group.iter().skip(1));
    let late: Vec<TaskId> = late.copied().collect();
    let ended = |id: &TaskId| {
        all_say(world, *id, TaskState::Cancelled, "superseded by ")
            && world.oracle().starts(*id) == 0
    };
    expect(
        late.len() == 5 && late.iter().all(ended),
        "what the minority took under the same keys never runs",
    )
}

fn removed(world: &mut World) -> Course {
    warm(world);
    only(world, &[]);
    world.split(&[&[0, 1], &[2]]);
    world.run_for(SECOND);
    let first = ask(world, 0, short(), "nightly")?;
    world.run_for(SECOND);
    let token = world.submit(2, keyed(short(), "nightly"));
    world.run_for(SECOND * 6);
    world.heal_links();
    world.run_for(SECOND * 3);
    only(world, &[0, 1, 2]);
    world.finish();
    let second = world.tasks_of(token).to_vec();
    expect(
        second.len() == 1 && all_say(world, second[0], TaskState::Cancelled, "superseded by "),
        "the later one is superseded",
    )?;
    world.remove(1, &[first]);
    world.run_for(SECOND * 3);
    let third = ask(world, 1, short(), "nightly")?;
    world.finish();
    expect(
        third != first && third != second[0] && world.oracle().starts(third) == 1,
        "the key is free again",
    )?;
    expect(
        (0..3).all(|host| ask(world, host, short(), "nightly") == Ok(third)),
        "and taken anew",
    )
}
