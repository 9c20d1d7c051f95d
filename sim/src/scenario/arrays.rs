//! Scenarios of arrays: elements to which nothing has happened sleep, and nobody can tell.

use std::time::Duration;

use crdt::ids::{Generation, Tag, TaskId};
use crdt::task::{Edits, TaskState};

use super::committees::spare;
use super::lives::{all_say, in_future};
use super::wishes::cut_power;
use super::{Course, Missed, SOON, Scenario, expect, next_start, only, submit, three, until, warm};
use crate::plan::{Batch, Plan};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "each_element_runs_once",
        about: "an array larger than a segment, and one with a window: each element runs once, and in the window no more than it lets",
        setup: three,
        script: each_once,
    },
    Scenario {
        name: "elements_sleep_until_something_happens_to_one",
        about: "arrays that wait for a person, a time and a task cost a task a segment; a word about one element wakes its segment alone",
        setup: three,
        script: asleep,
    },
    Scenario {
        name: "elements_end_in_their_sleep",
        about: "a dependency fails: all elements are cancelled without having been woken, and what depends on the array hears of it",
        setup: three,
        script: doomed,
    },
    Scenario {
        name: "an_element_is_waited_for",
        about: "a task waits for one element of an array that sleeps, another was there before the array was heard of",
        setup: three,
        script: waited_for,
    },
    Scenario {
        name: "an_array_through_power_cuts_and_a_split",
        about: "elements are claimed, and asleep, on both sides of a split, all hosts lose their power: each runs to its end once",
        setup: three,
        script: through_faults,
    },
    Scenario {
        name: "an_array_whose_committee_is_replaced",
        about: "a member of the committee leaves for good while the elements sleep: they run with the next one",
        setup: spare,
        script: replaced,
    },
    Scenario {
        name: "an_array_is_killed_and_run_again",
        about: "an array is killed while most of it sleeps, edited and wanted again: what a person wants is true of each element",
        setup: three,
        script: killed_and_again,
    },
];

fn short() -> Plan {
    Plan::succeed(SECOND / 20)
}

/// The elements of an array as a host lists them.
fn elements(world: &World, array: TaskId) -> Vec<TaskId> {
    let replica = world.replica(0);
    replica.map_or_else(Vec::new, |replica| replica.tasks_of_group(array))
}

/// How many elements are made tasks on each host, at most.
fn made(world: &World) -> usize {
    let replicas = (0..world.hosts()).filter_map(|host| world.replica(host));
    replicas
        .map(|replica| replica.memory().tasks)
        .max()
        .unwrap_or(0)
}

/// How many members of an array each host counts in a state, if all count alike.
fn counted(world: &World, array: TaskId, state: TaskState) -> Option<u32> {
    let count = |host| {
        let view = world.replica(host)?.task(array)?;
        Some(view.members?[state as usize])
    };
    let first = count(0)?;
    let alike = (1..world.hosts()).all(|host| count(host) == Some(first));
    alike.then_some(first)
}

fn all_ran_once(world: &World, array: TaskId, count: usize) -> bool {
    let elements = elements(world, array);
    elements.len() == count && elements.iter().all(|id| world.oracle().starts(*id) == 1)
}

fn each_once(world: &mut World) -> Course {
    warm(world);
    let large = submit(
        world,
        0,
        Batch::array(1_100, 0, Plan::succeed(SECOND / 200)),
    )?[0];
    let windowed = submit(world, 1, Batch::array(40, 3, short()))?[0];
    world.finish();
    expect(
        all_ran_once(world, large, 1_100) && all_ran_once(world, windowed, 40),
        "each element runs once",
    )?;
    expect(
        all_say(world, large, TaskState::Success, "")
            && all_say(world, windowed, TaskState::Success, ""),
        "and the arrays end well",
    )
}

fn asleep(world: &mut World) -> Course {
    warm(world);
    let gate = submit(world, 2, Batch::one(Plan::succeed(SECOND * 12)))?[0];
    let at = in_future(world, 0, SECOND * 10);
    let mut held = Batch::array(1_100, 0, short());
    for task in held.tasks_mut() {
        task.spec.options.held = true;
    }
    let mut timed = Batch::array(300, 0, short());
    for task in timed.tasks_mut().skip(1) {
        task.spec.options.not_before = Some(at);
    }
    let mut behind = Batch::array(300, 0, short());
    for task in behind.tasks_mut().skip(1) {
        task.spec.after = vec![gate];
    }
    let held = submit(world, 0, held)?[0];
    let timed = submit(world, 1, timed)?[0];
    let behind = submit(world, 1, behind)?[0];
    world.run_for(SECOND);
    expect(made(world) < 20, "those to which nothing happens sleep")?;
    let unknown = |tag| {
        world
            .replica(0)
            .is_some_and(|of| of.task(TaskId { tag, n: 1 }).is_none())
    };
    expect(
        unknown(Tag(0)) && unknown(Tag(u32::MAX >> 2)),
        "nobody stands for a task of a host that is not there",
    )?;
    let says = |world: &World, array, state, count| counted(world, array, state) == Some(count);
    expect(
        says(world, held, TaskState::Held, 1_100)
            && says(world, timed, TaskState::Blocked, 300)
            && says(world, behind, TaskState::Blocked, 300),
        "and are counted as what they are",
    )?;
    let all = elements(world, held);
    world.hold(2, &all[1_050..1_051], false);
    until(world, SOON, "one is let go, and runs", |world| {
        says(world, held, TaskState::Success, 1)
    })?;
    expect(
        says(world, held, TaskState::Held, 1_099) && made(world) < 120,
        "and wakes only those of its segment",
    )?;
    until(
        world,
        SOON * 4,
        "what waited for a time and a task runs",
        |world| {
            says(world, timed, TaskState::Success, 300)
                && says(world, behind, TaskState::Success, 300)
        },
    )?;
    world.hold(1, &[held], false);
    world.finish();
    expect(
        all_ran_once(world, held, 1_100)
            && all_ran_once(world, timed, 300)
            && all_ran_once(world, behind, 300),
        "each once",
    )
}

fn doomed(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::one(Plan::fail(SECOND * 4, 1));
    batch.tasks_mut().for_each(|task| task.spec.priority += 1);
    let fails = submit(world, 0, batch)?[0];
    world.run_for(SECOND / 2);
    let mut array = Batch::array(2_000, 4, short());
    for task in array.tasks_mut().skip(1) {
        task.spec.after = vec![fails];
    }
    let array = submit(world, 1, array)?[0];
    world.run_for(SECOND / 2);
    let mut last = Batch::one(short());
    for task in last.tasks_mut() {
        task.spec.options.after_any = vec![array];
    }
    let last = submit(world, 2, last)?[0];
    world.finish();
    expect(
        counted(world, array, TaskState::Cancelled) == Some(2_000) && made(world) < 20,
        "all are cancelled as they sleep",
    )?;
    let one = elements(world, array)[777];
    expect(
        all_say(world, one, TaskState::Cancelled, "dependency ")
            && all_say(world, last, TaskState::Success, ""),
        "each says why, and what waited for their end runs",
    )
}

fn waited_for(world: &mut World) -> Course {
    warm(world);
    only(world, &[]);
    let array = submit(world, 0, Batch::array(600, 0, short()))?;
    let (array, first) = (array[0], array[1]);
    let waits_for = |id| {
        let mut batch = Batch::one(short());
        batch
            .tasks_mut()
            .for_each(|task| task.spec.after = vec![id]);
        batch
    };
    // The second host hears of what waits before it hears of the array.
    world.split(&[&[0, 2], &[1]]);
    let late = submit(world, 0, Batch::array(600, 0, short()))?[0];
    world.run_for(SECOND);
    let of_late = elements(world, late)[300];
    let second = world.submit(2, waits_for(of_late));
    let one = submit(world, 0, waits_for(first.plus(450)))?[0];
    world.run_for(SECOND);
    world.heal_links();
    only(world, &[0, 1, 2]);
    world.finish();
    let second = world.tasks_of(second).to_vec();
    let ran = |id: &TaskId| world.oracle().starts(*id) == 1;
    expect(
        all_ran_once(world, array, 600)
            && all_ran_once(world, late, 600)
            && ran(&one)
            && second.iter().all(ran),
        "all run",
    )
}

fn through_faults(world: &mut World) -> Course {
    warm(world);
    let array = submit(world, 0, Batch::array(300, 0, short()))?[0];
    let windowed = submit(world, 2, Batch::array(60, 4, short()))?[0];
    next_start(world, SOON)?;
    world.split(&[&[0, 1], &[2]]);
    world.run_for(SECOND * 4);
    cut_power(world);
    world.run_for(SECOND * 3);
    world.heal_links();
    world.run_for(SECOND * 2);
    cut_power(world);
    world.finish();
    expect(
        all_say(world, array, TaskState::Success, "")
            && all_say(world, windowed, TaskState::Success, ""),
        "all of both end well",
    )
}

fn replaced(world: &mut World) -> Course {
    warm(world);
    let mut array = Batch::array(300, 0, short());
    let at = in_future(world, 0, SECOND * 30);
    for task in array.tasks_mut().skip(1) {
        task.spec.options.not_before = Some(at);
    }
    let array = submit(world, 0, array)?[0];
    let last = elements(world, array)[299];
    let committee = world.replica(0).and_then(|replica| replica.committee(last));
    let committee = committee.unwrap_or_default();
    let leaving = (1..world.hosts()).find(|host| committee.contains(&world.host(*host).peer));
    let leaving = leaving.ok_or(Missed("another host is in the committee"))?;
    world.retire_host(leaving, true);
    let generation = |world: &World| world.replica(0)?.generation(last);
    until(world, SOON * 3, "it is replaced as they sleep", |world| {
        generation(world).is_some_and(|of| of > Generation::FIRST)
    })?;
    world.finish();
    expect(
        all_ran_once(world, array, 300),
        "each element runs once, with the next committee",
    )
}

fn killed_and_again(world: &mut World) -> Course {
    warm(world);
    let array = submit(world, 0, Batch::array(30, 2, Plan::succeed(SECOND)))?[0];
    next_start(world, SOON)?;
    let edits = Edits {
        priority: Some(7),
        ..Edits::default()
    };
    let last = *elements(world, array).last().unwrap_or(&array);
    world.edit(1, &[last], edits);
    world.run_for(SECOND / 2);
    world.kill(2, &[array], SECOND);
    world.finish();
    let killed = counted(world, array, TaskState::Killed).unwrap_or(0);
    let cancelled = counted(world, array, TaskState::Cancelled).unwrap_or(0);
    let done = counted(world, array, TaskState::Success).unwrap_or(0);
    expect(
        killed + cancelled + done == 30 && cancelled > 20,
        "what runs is killed, the rest cancelled",
    )?;
    let priority = world
        .replica(0)
        .and_then(|replica| replica.task(last))
        .map(|view| view.spec.priority);
    expect(priority == Some(7), "an edit is of one element alone")?;
    world.run_again(1, &[array]);
    world.finish();
    expect(
        counted(world, array, TaskState::Success) == Some(30),
        "and all run when they are wanted again",
    )
}
