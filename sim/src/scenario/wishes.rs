//! Scenarios of what people want of tasks later than at their submission: that they run again, are seen no more, or are otherwise.

use std::time::Duration;

use crdt::event::Reply;
use crdt::ids::TaskId;
use crdt::task::{Edits, TaskState};

use super::lives::{all_say, in_future, seen};
use super::{Course, SOON, Scenario, expect, next_start, submit, three, until, warm};
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::{Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ended_and_run_again",
        about: "a failure, a success and a kill are wanted again, at two hosts at once: each runs once more",
        setup: three,
        script: again,
    },
    Scenario {
        name: "run_again_in_a_split",
        about: "one host does not hear that a task is wanted again; later it takes up what counts",
        setup: three,
        script: again_in_split,
    },
    Scenario {
        name: "run_again_survives_power_cuts",
        about: "all hosts lose their power after the word, and after the second end",
        setup: three,
        script: again_over_restarts,
    },
    Scenario {
        name: "run_again_with_what_stands_behind",
        about: "a dependency succeeds at its second round: what waited for it runs; a window counts who runs again",
        setup: three,
        script: again_with_dependents,
    },
    Scenario {
        name: "removed_and_gone",
        about: "tasks that ended in every way are removed: all hosts show none of them, after power cuts too, and no id comes again",
        setup: three,
        script: remove,
    },
    Scenario {
        name: "removed_while_wanted_again",
        about: "one side of a split removes what the other runs again: it is there again; what nobody wanted stays gone",
        setup: three,
        script: remove_in_split,
    },
    Scenario {
        name: "a_group_runs_again_without_what_was_removed",
        about: "a member is removed, then its group is wanted again: it stays gone, and the others run",
        setup: three,
        script: again_without_removed,
    },
    Scenario {
        name: "removed_with_what_stands_behind",
        about: "a dependency is removed before others hear of its end: what waits goes by that end; a group goes with its last member",
        setup: three,
        script: remove_with_dependents,
    },
    Scenario {
        name: "edited_before_it_starts",
        about: "priorities and needs are changed at other hosts: what starts first, and where, is as they say; what runs is left alone",
        setup: three,
        script: edit,
    },
    Scenario {
        name: "edited_on_both_sides_of_a_split",
        about: "two hosts edit one task while they do not hear of each other: all come to the later word, also after a power cut",
        setup: three,
        script: edit_in_split,
    },
    Scenario {
        name: "edited_while_it_is_bid_for",
        about: "tasks are edited at every host as they are claimed: each runs once, and what is left goes by the new values",
        setup: three,
        script: edit_in_a_hurry,
    },
    Scenario {
        name: "edited_through_crashes_and_a_split",
        about: "tasks are edited on both sides of a split as they are claimed, their hosts die and start again: no two runs overlap",
        setup: three,
        script: edit_through_faults,
    },
];

fn again(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    batch.add(Plan {
        failures: 1,
        ..Plan::succeed(SECOND / 5)
    });
    batch.add(Plan::succeed(SECOND / 5));
    batch.add(Plan::succeed(SECOND * 20));
    let ids = submit(world, 0, batch)?;
    until(world, SOON, "the long one runs", |world| {
        world.oracle().starts(ids[2]) == 1
    })?;
    world.kill(1, &ids[2..], SECOND);
    world.finish();
    expect(
        all_say(world, ids[0], TaskState::Error, "exit")
            && all_say(world, ids[1], TaskState::Success, "")
            && all_say(world, ids[2], TaskState::Killed, ""),
        "each ends in its way",
    )?;
    world.run_again(0, &ids);
    world.run_again(2, &ids);
    world.finish();
    let starts = [0, 1, 2].map(|at| world.oracle().starts(ids[at]));
    expect(starts == [2, 2, 2], "each runs once more")?;
    expect(
        ids.iter()
            .all(|id| all_say(world, *id, TaskState::Success, "")),
        "and all see what came of it",
    )?;
    // Once more, for what ended in its second round.
    world.run_again(1, &ids[..1]);
    world.finish();
    expect(world.oracle().starts(ids[0]) == 3, "as often as is wanted")
}

fn again_in_split(world: &mut World) -> Course {
    warm(world);
    let plan = Plan {
        failures: 1,
        ..Plan::succeed(SECOND / 5)
    };
    let ids = submit(world, 0, Batch::many(4, plan))?;
    world.finish();
    world.split(&[&[0, 1], &[2]]);
    world.run_again(0, &ids);
    until(world, SOON * 2, "a majority runs them again", |world| {
        ids.iter()
            .all(|id| seen(world, 0, *id).is_some_and(|(state, _)| state == TaskState::Success))
    })?;
    expect(
        ids.iter()
            .all(|id| seen(world, 2, *id).is_some_and(|(state, _)| state == TaskState::Error)),
        "who has not heard of it sees what was",
    )?;
    // That one wants them again as well: it means what they had ended as.
    world.run_again(2, &ids);
    world.heal_links();
    world.finish();
    expect(
        ids.iter().all(|id| {
            world.oracle().starts(*id) == 2 && all_say(world, *id, TaskState::Success, "")
        }),
        "and takes up what counts",
    )
}

fn again_over_restarts(world: &mut World) -> Course {
    warm(world);
    let plan = Plan {
        failures: 1,
        ..Plan::succeed(SECOND)
    };
    let ids = submit(world, 0, Batch::many(3, plan))?;
    world.finish();
    let token = world.run_again(1, &ids);
    until(world, SOON, "the word is kept", |world| {
        world.reply(token).is_some()
    })?;
    cut_power(world);
    world.finish();
    cut_power(world);
    world.finish();
    expect(
        ids.iter()
            .all(|id| all_say(world, *id, TaskState::Success, "")),
        "what a person said is not forgotten",
    )
}

fn again_with_dependents(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    let plan = Plan {
        failures: 1,
        ..Plan::succeed(SECOND / 5)
    };
    batch.add(plan);
    batch.add_after(Plan::succeed(SECOND / 5), &[0]);
    let ids = submit(world, 0, batch)?;
    let group = submit(world, 1, Batch::group(6, 1, plan))?;
    world.finish();
    expect(
        all_say(world, ids[1], TaskState::Cancelled, "dependency"),
        "what waits for it is cancelled",
    )?;
    world.run_again(2, &ids[..1]);
    world.run_again(2, &group[..1]);
    world.finish();
    expect(
        all_say(world, ids[1], TaskState::Success, ""),
        "and runs after all",
    )?;
    expect(
        all_say(world, group[0], TaskState::Success, ""),
        "one by one the members run again",
    )
}

/// Says whether every host has removed a task.
fn all_removed(world: &World, task: TaskId) -> bool {
    (0..world.hosts()).all(|host| {
        world
            .replica(host)
            .is_some_and(|replica| replica.is_removed(task))
    })
}

/// All hosts lose their power, and start again a second later.
pub(super) fn cut_power(world: &mut World) {
    for host in 0..world.hosts() {
        world.crash_host(host, Some(SECOND), Unsynced::Lost);
    }
}

fn remove(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    batch.add(Plan::succeed(SECOND / 5));
    batch.add(Plan::fail(SECOND / 5, 1));
    batch.add(Plan::succeed(SECOND)).spec.options.held = true;
    batch.add_after(Plan::succeed(SECOND), &[1]);
    let open = batch.add(Plan::succeed(SECOND));
    open.spec.options.not_before = Some(in_future(world, 0, SECOND * 20));
    let ids = submit(world, 0, batch)?;
    until(world, SOON, "h1 knows them", |world| {
        super::knows(world, 1, ids[2])
    })?;
    world.kill(1, &ids[2..3], SECOND);
    let ended = |world: &World| {
        let states = [
            TaskState::Success,
            TaskState::Error,
            TaskState::Cancelled,
            TaskState::Cancelled,
        ];
        let mut each = ids.iter().zip(states);
        each.all(|(id, state)| all_say(world, *id, state, ""))
    };
    until(world, SOON * 2, "four have ended", ended)?;
    let token = world.remove(1, &ids);
    until(world, SOON, "four are gone everywhere", |world| {
        ids[..4].iter().all(|id| all_removed(world, *id))
    })?;
    let late = match world.reply(token) {
        Some(Reply::Noted { ended }) => ended.iter().map(|(id, _)| *id).collect(),
        _ => Vec::new(),
    };
    expect(late == ids[4..], "it was too early for one")?;
    let refused = world.run_again(2, &ids[..1]);
    until(world, SOON, "an answer", |world| {
        world.reply(refused).is_some()
    })?;
    expect(
        matches!(world.reply(refused), Some(Reply::Refused(_))),
        "what is gone does not run again",
    )?;
    cut_power(world);
    world.finish();
    let gone = |world: &World| ids[..4].iter().all(|id| all_removed(world, *id));
    expect(gone(world), "no power cut brings them back")?;
    expect(
        all_say(world, ids[4], TaskState::Success, ""),
        "the other goes its way",
    )?;
    let later = submit(world, 0, Batch::one(Plan::succeed(SECOND / 5)))?;
    expect(later[0].n > ids[4].n, "no id comes again")?;
    world.remove(0, &ids[4..]);
    world.finish();
    expect(gone(world) && all_removed(world, ids[4]), "all are gone")
}

fn again_without_removed(world: &mut World) -> Course {
    warm(world);
    let ids = submit(world, 0, Batch::group(4, 0, Plan::succeed(SECOND / 10)))?;
    let members = &ids[1..];
    let ended = |world: &World| members.iter().all(|id| world.oracle().is_committed(*id));
    until(world, SOON, "its members end", ended)?;
    world.run_for(SECOND);
    world.remove(1, &members[1..2]);
    until(world, SOON, "one is removed", |world| {
        all_removed(world, members[1])
    })?;
    world.run_again(2, &ids[..1]);
    until(world, SOON, "the others run again", |world| {
        members
            .iter()
            .map(|id| world.oracle().exits(*id))
            .sum::<u32>()
            == 7
    })?;
    world.run_for(SECOND);
    world.finish();
    expect(
        world.oracle().exits(members[1]) == 1,
        "it does not run again",
    )?;
    expect(all_removed(world, members[1]), "it stays gone")
}

fn remove_in_split(world: &mut World) -> Course {
    warm(world);
    let plan = Plan {
        failures: 1,
        ..Plan::succeed(SECOND / 5)
    };
    let ids = submit(world, 0, Batch::many(3, plan))?;
    world.finish();
    world.split(&[&[0, 1], &[2]]);
    world.run_again(0, &ids[..2]);
    world.remove(2, &ids);
    let by = |world: &World, host: HostIx, id: TaskId| {
        let replica = world.replica(host);
        replica.is_some_and(|replica| replica.is_removed(id))
    };
    until(world, SOON, "one host shows none", |world| {
        ids.iter().all(|id| by(world, 2, *id))
    })?;
    until(world, SOON * 2, "a majority runs two of them", |world| {
        let done =
            |id: &TaskId| seen(world, 0, *id).is_some_and(|(is, _)| is == TaskState::Success);
        ids[..2].iter().all(done)
    })?;
    world.heal_links();
    world.finish();
    expect(
        ids[..2]
            .iter()
            .all(|id| all_say(world, *id, TaskState::Success, "")),
        "what was wanted again is there again",
    )?;
    expect(all_removed(world, ids[2]), "what nobody wanted stays gone")?;
    // In its next life it can be removed as any other.
    world.remove(1, &ids[..1]);
    world.finish();
    cut_power(world);
    world.finish();
    expect(
        all_removed(world, ids[0]) && all_say(world, ids[1], TaskState::Success, ""),
        "and each stays as it is",
    )
}

fn remove_with_dependents(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(SECOND / 5);
    let fails = submit(world, 0, Batch::one(Plan::fail(SECOND, 1)))?;
    let works = submit(world, 1, Batch::one(plan))?;
    let group = submit(world, 1, Batch::group(3, 1, plan))?;
    let empty = submit(world, 1, Batch::group(0, 0, plan))?;
    world.finish();
    world.split(&[&[0, 1], &[2]]);
    let gone = [fails.clone(), works.clone(), group.clone(), empty.clone()].concat();
    world.remove(0, &gone);
    world.run_for(SECOND);
    // One host has not heard of it, and takes tasks that depend on them.
    let mut batch = Batch::default();
    batch.add(plan).spec.after = works.clone();
    batch.add(plan).spec.after = fails.clone();
    batch.add(plan).spec.options.after_any = group[..1].to_vec();
    let token = world.submit(2, batch);
    world.run_for(SECOND);
    world.heal_links();
    world.finish();
    let ids = world.tasks_of(token).to_vec();
    expect(ids.len() == 3, "they are taken")?;
    expect(
        gone.iter().all(|id| all_removed(world, *id)),
        "what was removed is gone, the group with its members",
    )?;
    expect(
        all_say(world, ids[0], TaskState::Success, "")
            && all_say(world, ids[1], TaskState::Cancelled, "dependency")
            && all_say(world, ids[2], TaskState::Success, ""),
        "and what depends on it goes by its end",
    )?;
    world.remove(2, &ids[1..2]);
    world.finish();
    expect(
        all_removed(world, ids[1]),
        "what never ran is removed as well",
    )
}

fn priority(priority: i32) -> Edits {
    Edits {
        priority: Some(priority),
        ..Edits::default()
    }
}

fn edit(world: &mut World) -> Course {
    warm(world);
    let runs = submit(world, 0, Batch::one(Plan::succeed(SECOND * 6)))?;
    next_start(world, SOON)?;
    for host in 0..world.hosts() {
        world.drain_host(host);
    }
    let plan = Plan::succeed(SECOND / 5);
    let mut batch = Batch::many(3, plan);
    batch.add(plan).spec.needs.cpu_milli = 64_000;
    let ids = submit(world, 0, batch)?;
    until(world, SOON, "h1 knows them", |world| {
        super::knows(world, 1, ids[3])
    })?;
    until(world, SOON, "one fits nowhere", |world| {
        all_say(world, ids[3], TaskState::Pending, "fits no host")
    })?;
    let late = world.edit(1, &runs, priority(1));
    world.edit(1, &ids[2..3], priority(2_000));
    let needs = Edits {
        cpus: Some((1_000, None)),
        ..priority(3_000)
    };
    world.edit(2, &ids[3..], needs);
    world.edit(2, &ids[3..], priority(3_001));
    let edited = |world: &World, task: TaskId, milli: u32, priority: i32| {
        (0..world.hosts()).all(|host| {
            let view = world.replica(host).and_then(|replica| replica.task(task));
            view.is_some_and(|view| {
                (view.spec.needs.cpu_milli, view.spec.priority) == (milli, priority)
            })
        })
    };
    until(world, SOON, "all see what was edited", |world| {
        edited(world, ids[2], 1_000, 2_000) && edited(world, ids[3], 1_000, 3_001)
    })?;
    expect(
        matches!(world.reply(late), Some(Reply::Noted { ended }) if ended.len() == 1),
        "what runs is left alone",
    )?;
    until(world, SOON, "what runs has ended", |world| {
        world.oracle().is_committed(runs[0])
    })?;
    // On one host, which has room for two at once.
    world.undrain_host(1);
    let mut order = Vec::new();
    let all = until(world, SOON * 2, "all four run", |world| {
        let new = ids.iter().filter(|id| world.oracle().starts(**id) > 0);
        let new: Vec<TaskId> = new.filter(|id| !order.contains(*id)).copied().collect();
        order.extend(new);
        order.len() == 4
    });
    all?;
    expect(
        order[..2].contains(&ids[3]) && order[..2].contains(&ids[2]),
        "the most urgent first, as edited",
    )?;
    world.finish();
    expect(
        world.oracle().tally().starts == 5 && edited(world, runs[0], 1_000, 1_000),
        "each runs once",
    )
}

fn edit_in_split(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    batch.add(Plan::succeed(SECOND / 5)).spec.options.held = true;
    let ids = submit(world, 0, batch)?;
    world.run_for(SECOND * 2);
    world.split(&[&[0, 1], &[2]]);
    world.edit(0, &ids, priority(5));
    world.run_for(SECOND);
    let later = Edits {
        queue: Some("later".to_owned()),
        ..Edits::default()
    };
    world.edit(2, &ids, later);
    world.run_for(SECOND);
    world.heal_links();
    let agree = |world: &World| {
        (0..world.hosts()).all(|host| {
            let view = world.replica(host).and_then(|replica| replica.task(ids[0]));
            view.is_some_and(|view| {
                (view.spec.priority, &view.spec.options.queue[..]) == (1_000, "later")
            })
        })
    };
    until(world, SOON, "all come to the later word", agree)?;
    cut_power(world);
    until(world, SOON * 2, "and remember it", agree)?;
    // One word more, of who has heard of both.
    world.edit(1, &ids, priority(7));
    world.hold(1, &ids, false);
    world.finish();
    expect(
        !agree(world) && all_say(world, ids[0], TaskState::Success, ""),
        "it runs as it was edited last",
    )
}

fn edit_in_a_hurry(world: &mut World) -> Course {
    warm(world);
    let mut ids = Vec::new();
    for host in 0..3 {
        let batch = Batch::many(6, Plan::succeed(SECOND / 3));
        let token = world.submit(host, batch);
        for round in 0..6 {
            world.run_for(SECOND / 20);
            let tasks = world.tasks_of(token).to_vec();
            let edits = Edits {
                cpus: Some((500 + 100 * round, None)),
                queue: Some(format!("q{round}")),
                ..priority(i32::try_from(round).unwrap_or(0))
            };
            for task in tasks {
                world.edit((host + 1) % 3, &[task], edits.clone());
            }
        }
        ids.extend(world.tasks_of(token).to_vec());
    }
    world.finish();
    expect(
        ids.len() == 18 && ids.iter().all(|id| world.oracle().starts(*id) == 1),
        "each runs once",
    )
}

/// What the judges see to: no run overlaps another, and none follows a success.
fn edit_through_faults(world: &mut World) -> Course {
    warm(world);
    let token = world.submit(0, Batch::many(12, Plan::succeed(SECOND / 2)));
    until(world, SOON, "they are taken", |world| {
        world.reply(token).is_some()
    })?;
    let ids = world.tasks_of(token).to_vec();
    for round in 0..9_u32 {
        let edits = |host: usize| Edits {
            cpus: Some((400 + 50 * round, None)),
            queue: Some(format!("q{round}-{host}")),
            ..priority(i32::try_from(round).unwrap_or(0))
        };
        match round % 3 {
            0 => world.split(&[&[0, 1], &[2]]),
            1 => {
                next_start(world, SOON * 2)?;
                world.crash_host(1, Some(SECOND), Unsynced::Drawn);
            }
            _ => world.heal_links(),
        }
        let up = (0..3).filter(|host| world.replica(*host).is_some());
        for host in up.collect::<Vec<_>>() {
            world.edit(host, &ids, edits(host));
        }
        world.run_for(SECOND / 3);
    }
    world.heal_links();
    world.finish();
    cut_power(world);
    world.finish();
    expect(
        ids.iter()
            .all(|id| all_say(world, *id, TaskState::Success, "")),
        "all have succeeded",
    )
}
