//! Scenarios that are long or large: several segments, many minutes of presence.

use std::time::Duration;

use crdt::task::{Elements, TaskState, Work};

use super::{Course, Scenario, expect, submit, three, warm};
use crate::plan::{Batch, Plan};
use crate::world::{Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "more_tasks_than_a_segment_holds",
        about: "1,200 tasks in one call, a crash in the middle",
        setup: three,
        script: many,
    },
    Scenario {
        name: "array_over_segments",
        about: "one record for 1,500 tasks, more than a segment holds; a host dies in the middle, another starts later",
        setup: three,
        script: array,
    },
    Scenario {
        name: "ten_minutes",
        about: "presence turns over, segments close by age, nodes restart",
        setup: three,
        script: long,
    },
    Scenario {
        name: "away_for_an_hour",
        about: "a host hears nothing for an hour, presence least of all",
        setup: three,
        script: hour,
    },
    Scenario {
        name: "segments_closed_while_a_peer_is_away",
        about: "segments fill and close; the peer comes back with tasks of its own from before",
        setup: three,
        script: closed_meanwhile,
    },
];

fn array(world: &mut World) -> Course {
    const COUNT: u32 = 1_500;
    warm(world);
    let mut batch = Batch::group(1, 0, Plan::succeed(SECOND / 100));
    for task in batch.tasks_mut() {
        match &mut task.spec.work {
            Work::Group { size } => *size = Some(COUNT),
            Work::Command { .. } => {
                task.spec.options.elements = Some(Elements::Range {
                    first: 10,
                    step: 2,
                    count: COUNT,
                });
            }
        }
    }
    let ids = submit(world, 0, batch)?;
    world.run_for(SECOND);
    world.crash_host(1, Some(SECOND), Unsynced::Lost);
    world.finish();
    let seen = |host: usize| {
        let replica = world.replica(host)?;
        let last = replica.element(ids[0], 10 + 2 * (COUNT - 1))?;
        let none = replica.element(ids[0], 11).is_none();
        Some((
            replica.task(ids[0])?.members?,
            replica.task(last)?.state,
            none,
        ))
    };
    expect(
        (0..world.hosts()).all(|host| {
            seen(host).is_some_and(|(members, last, none)| {
                members[TaskState::Success as usize] == COUNT && last == TaskState::Success && none
            })
        }),
        "every element runs, and each is found by its index",
    )
}

fn many(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(1_200, Plan::succeed(SECOND / 100)));
    world.run_for(SECOND);
    world.crash_node(1, Some(SECOND / 10), Unsynced::Drawn);
    world.finish();
    expect(world.oracle().tally().commits == 1_200, "every task ends")
}

fn hour(world: &mut World) -> Course {
    warm(world);
    world.submit(2, Batch::many(2, Plan::succeed(world.lease())));
    world.run_for(SECOND / 2);
    world.isolate(2);
    for round in 0..6_usize {
        world.submit(round % 2, Batch::many(2, Plan::succeed(SECOND)));
        world.run_for(SECOND * 600);
    }
    expect(
        world.oracle().tally().commits == 14,
        "the others go on without it",
    )?;
    world.finish();
    let tally = world.oracle().tally();
    expect(tally.commits == 14, "nothing comes back to life")
}

fn closed_meanwhile(world: &mut World) -> Course {
    warm(world);
    world.isolate(2);
    world.submit(2, Batch::many(5, Plan::succeed(SECOND / 10)));
    for host in [0, 1, 0] {
        world.submit(host, Batch::many(500, Plan::succeed(SECOND / 100)));
        world.run_for(SECOND * 8);
    }
    expect(world.oracle().tally().commits > 1_000, "the others go on")?;
    world.finish();
    expect(world.oracle().tally().commits == 1_505, "every task ends")
}

fn long(world: &mut World) -> Course {
    warm(world);
    for round in 0..40_usize {
        let host = round % 3;
        world.submit(host, Batch::many(3, Plan::succeed(SECOND / 2)));
        world.run_for(SECOND * 15);
        if round % 5 == 4 {
            world.crash_node((host + 1) % 3, Some(SECOND / 10), Unsynced::Drawn);
            world.run_for(SECOND);
        }
    }
    let documents = world
        .replica(0)
        .map_or(0, |replica| replica.memory().documents);
    world.finish();
    expect(documents < 60, "old presence is dropped")?;
    expect(world.oracle().tally().commits == 120, "every task ends")?;
    expect(world.oracle().tally().reruns == 0, "no hold is lost")
}
