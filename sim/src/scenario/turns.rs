//! Scenarios of whose turn it is: priorities, lengths, mounts, what was declared, and that idle hosts do not all run for one task.
//!
//! What is counted is counted by the replicas: bids and votes, of all hosts, for each task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crdt::ids::TaskId;
use crdt::task::{TaskSpec, TaskState};

use super::{Course, Missed, SOON, Scenario, expect, submit, until, warm};
use crate::plan::{Batch, Fate, Plan};
use crate::queue::HostIx;
use crate::world::{Setup, World};

const SECOND: Duration = Duration::from_secs(1);
/// A ready task that has a host starts within this: some syncs and some ways between hosts.
const AT_ONCE: Duration = Duration::from_millis(150);

/// What a host has ordered starts within this.
const ORDERED: Duration = Duration::from_millis(3);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "idle_hosts_do_not_stampede",
        about: "twenty idle hosts and one task, again and again: one bids, three vote",
        setup: twenty,
        script: one_for_twenty,
    },
    Scenario {
        name: "idle_hosts_share_a_batch_without_a_stampede",
        about: "twenty idle hosts and two hundred tasks: few more bids than tasks",
        setup: twenty,
        script: |world| batch_for_twenty(world, 240, |_, _| ()),
    },
    Scenario {
        name: "lengths_that_differ_are_no_stampede",
        about: "the same with lengths from the longest to the shortest: affinity still tells hosts apart, so that a task gets less than two bids",
        setup: twenty,
        script: |world| {
            let length = |n: usize| Duration::from_secs(n as u64 % 20);
            batch_for_twenty(world, 400, |n, spec| spec.options.duration = length(n))
        },
    },
    Scenario {
        name: "an_order_that_leaves_no_choice_is_no_stampede",
        about: "the same with ten priorities, so that twenty hosts mean the same few tasks: still less than two bids for each",
        setup: twenty,
        script: |world| {
            let priority = |n: usize| i32::try_from(n / 20).unwrap_or(0);
            batch_for_twenty(world, 400, |n, spec| spec.priority = priority(n))
        },
    },
    Scenario {
        name: "what_is_more_urgent_goes_first",
        about: "urgent tasks come while short ones stream, claimed ahead: none of those starts before them",
        setup: |seed| Setup::new(seed, 1),
        script: urgent_first,
    },
    Scenario {
        name: "what_is_more_urgent_goes_first_everywhere",
        about: "the same in a mesh of five",
        setup: super::five,
        script: urgent_first,
    },
    Scenario {
        name: "longer_ones_go_first",
        about: "tasks that say how long they take start from the longest to the shortest",
        setup: alone_with_one_processor,
        script: longest_first,
    },
    Scenario {
        name: "tasks_of_one_mount_are_spread",
        about: "two hosts, two mounts: each host runs one task of either",
        setup: |seed| Setup::new(seed, 2),
        script: spread,
    },
    Scenario {
        name: "what_is_ready_starts_at_once",
        about: "no task waits for a timer: not after a submission, a dependency, a release, a pause, or an end",
        setup: super::three,
        script: at_once,
    },
    Scenario {
        name: "held_claims_are_left_to_hosts_with_room",
        about: "a host that claimed ahead starts something long: what it claimed runs elsewhere",
        setup: |seed| Setup::new(seed, 2),
        script: no_hoard,
    },
    Scenario {
        name: "what_was_declared_is_looked_at_first",
        about: "five hosts, what tasks need is on one of them: no other bids",
        setup: super::five,
        script: declared,
    },
];

fn twenty(seed: u64) -> Setup {
    Setup {
        committee: 3,
        ..Setup::new(seed, 20)
    }
}

fn alone_with_one_processor(seed: u64) -> Setup {
    Setup {
        cpu_milli: 1_000,
        ..Setup::new(seed, 1)
    }
}

/// A process that has started.
#[derive(Clone, Copy, Debug)]
struct Start {
    host: HostIx,
    task: TaskId,
}

/// Lets things happen until so many more processes have started, and returns them in order.
fn starts(world: &mut World, many: usize, limit: Duration) -> Result<Vec<Start>, Missed> {
    let mut seen = world.oracle().tally().starts;
    let mut starts = Vec::new();
    world.until(limit, |world| {
        let count = world.oracle().tally().starts;
        if count > seen
            && let Some((host, run)) = world.last_start()
        {
            seen = count;
            let task = run.task;
            starts.push(Start { host, task });
        }
        starts.len() >= many
    });
    expect(starts.len() >= many, "as many processes start as there are")?;
    Ok(starts)
}

/// Bids and votes of all hosts.
fn counts(world: &World) -> (u64, u64) {
    let replicas = (0..world.hosts()).filter_map(|host| world.replica(host));
    let counted = replicas.map(|replica| replica.counters());
    counted.fold((0, 0), |(bids, votes), of| {
        (bids + of.bids, votes + of.votes)
    })
}

fn one_for_twenty(world: &mut World) -> Course {
    warm(world);
    for round in 0..10 {
        let before = counts(world);
        let host = round * 7 % world.hosts();
        submit(world, host, Batch::one(Plan::succeed(SECOND / 10)))?;
        world.run_for(SECOND);
        let (bids, votes) = counts(world);
        let (bids, votes) = (bids - before.0, votes - before.1);
        expect(bids == 1, "one host bids")?;
        expect(votes <= 3, "each member of the committee votes once")?;
    }
    // Nor where the host that was asked cannot run it itself.
    world.drain_host(0);
    world.run_for(SOON);
    let before = counts(world);
    for _ in 0..10 {
        submit(world, 0, Batch::one(Plan::succeed(SECOND / 10)))?;
        world.run_for(SECOND);
    }
    let (bids, votes) = counts(world);
    expect(
        bids - before.0 <= 12,
        "few hosts bid for the task of another",
    )?;
    expect(votes - before.1 <= 36, "few votes are given")?;
    world.undrain_host(0);
    world.finish();
    expect(world.oracle().tally().reruns == 0, "each task runs once")
}

fn batch_for_twenty(
    world: &mut World,
    most_bids: u64,
    state: impl Fn(usize, &mut TaskSpec),
) -> Course {
    const TASKS: usize = 200;
    warm(world);
    let mut batch = Batch::many(TASKS, Plan::succeed(SECOND / 2));
    for (n, task) in batch.tasks_mut().enumerate() {
        state(n, &mut task.spec);
    }
    submit(world, 3, batch)?;
    let starts = starts(world, TASKS, 6 * SOON)?;
    let (bids, votes) = counts(world);
    let hosts: BTreeSet<HostIx> = starts.iter().map(|start| start.host).collect();
    expect(hosts.len() == world.hosts(), "every host helps")?;
    expect(bids <= most_bids, "a task gets few bids")?;
    expect(votes <= 720, "nor more than one vote of each member")?;
    world.finish();
    expect(world.oracle().tally().reruns == 0, "each task runs once")
}

fn urgent_first(world: &mut World) -> Course {
    const URGENT: usize = 8;
    warm(world);
    submit(world, 0, Batch::many(600, Plan::succeed(SECOND / 50)))?;
    world.run_for(SECOND / 2);
    for round in 0..4 {
        let mut batch = Batch::many(URGENT, Plan::succeed(SECOND / 10));
        for task in batch.tasks_mut() {
            task.spec.priority = 2_000 + round;
        }
        let ids: BTreeSet<TaskId> = submit(world, 0, batch)?.into_iter().collect();
        overtaken(world, &ids)?;
        world.run_for(SECOND / 4);
    }
    world.finish();
    Ok(())
}

/// Lets all of these start, and fails if a host starts something else while one of them has been pending there for a moment.
fn overtaken(world: &mut World, urgent: &BTreeSet<TaskId>) -> Course {
    let mut pending = BTreeMap::<(HostIx, TaskId), Duration>::new();
    let mut begun = world.oracle().tally().starts;
    let mut overtaken = false;
    until(world, SOON, "all that is urgent starts", |world| {
        let starts = world.oracle().tally().starts;
        let started = world.last_start().filter(|_| starts > begun);
        begun = starts;
        if let Some((host, _)) = started.filter(|(_, run)| !urgent.contains(&run.task)) {
            let now = world.now();
            let waited = |id: &TaskId| pending.get(&(host, *id)).map(|since| now - *since);
            overtaken |= urgent
                .iter()
                .filter_map(waited)
                .any(|since| since > ORDERED);
        }
        for host in 0..world.hosts() {
            let Some(replica) = world.replica(host) else {
                continue;
            };
            for id in urgent {
                let state = replica.glance(*id).map(|task| task.state());
                if state == Some(TaskState::Pending) {
                    pending.entry((host, *id)).or_insert(world.now());
                } else {
                    pending.remove(&(host, *id));
                }
            }
        }
        urgent.iter().all(|id| world.oracle().starts(*id) > 0)
    })?;
    expect(
        !overtaken,
        "nothing else starts where what is urgent is ready",
    )
}

fn longest_first(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::many(30, Plan::succeed(SECOND / 10));
    let mut lengths = Vec::new();
    for (n, task) in batch.tasks_mut().enumerate() {
        let length = Duration::from_secs((n as u64 * 7 + 3) % 30);
        task.spec.options.duration = length;
        lengths.push(length);
    }
    let ids = submit(world, 0, batch)?;
    let order: Vec<Duration> = starts_of(world, &ids, &lengths)?;
    expect(
        order.is_sorted_by(|before, after| before >= after),
        "each is followed by none that is longer",
    )
}

/// The lengths of tasks in the order of their starts, some of which may have happened.
fn starts_of(
    world: &mut World,
    ids: &[TaskId],
    lengths: &[Duration],
) -> Result<Vec<Duration>, Missed> {
    let length = |id: TaskId| {
        let place = ids.iter().position(|of| *of == id);
        place.map_or(Duration::ZERO, |place| lengths[place])
    };
    let mut order: Vec<Duration> = Vec::new();
    let begun = ids.iter().filter(|id| world.oracle().starts(**id) > 0);
    order.extend(begun.map(|id| length(*id)));
    expect(order.len() <= 1, "one has room at a time")?;
    let more = starts(world, ids.len() - order.len(), 2 * SOON)?;
    order.extend(more.iter().map(|start| length(start.task)));
    Ok(order)
}

fn spread(world: &mut World) -> Course {
    warm(world);
    for round in 0..5 {
        let mut batch = Batch::many(4, Plan::succeed(3 * SECOND));
        for (n, task) in batch.tasks_mut().enumerate() {
            let mount = if n < 2 { "/mnt/a" } else { "/mnt/b" };
            task.spec.options.io = vec![mount.to_owned()];
        }
        let ids = submit(world, round % 2, batch)?;
        until(world, SOON, "all four run", |world| {
            ids.iter().all(|id| world.host_of_run(*id).is_some())
        })?;
        let host = |n: usize| world.host_of_run(ids[n]);
        expect(
            host(0) != host(1) && host(2) != host(3),
            "tasks of one mount run on different hosts",
        )?;
        world.run_for(5 * SECOND);
    }
    world.finish();
    Ok(())
}

/// Waits until a task starts, and fails if that takes longer than anything but claims can take.
fn starts_at_once(world: &mut World, task: TaskId, what: &'static str) -> Course {
    until(world, AT_ONCE, what, |world| {
        world.oracle().starts(task) > 0
    })
}

fn at_once(world: &mut World) -> Course {
    warm(world);
    let short = Plan::succeed(SECOND / 5);
    for round in 0..10 {
        let host = round % 3;
        let first = submit(world, host, Batch::one(short))?[0];
        starts_at_once(world, first, "a task starts when it is submitted")?;
        let mut batch = Batch::one(short);
        batch.add_after(short, &[0]);
        let ids = submit(world, host, batch)?;
        until(world, SOON, "the first ends", |world| {
            world.oracle().is_committed(ids[0])
        })?;
        starts_at_once(world, ids[1], "the second starts when the first has ended")?;
        let mut held = Batch::one(short);
        for task in held.tasks_mut() {
            task.spec.options.held = true;
        }
        let held = submit(world, host, held)?;
        world.run_for(2 * SECOND);
        world.hold((host + 1) % 3, &held, false);
        starts_at_once(world, held[0], "a task starts when it is released")?;
    }
    paused(world, short)?;
    // Six slots; the seventh starts when one is free.
    let full = submit(world, 0, Batch::many(6, Plan::succeed(2 * SECOND)))?;
    until(world, SOON, "all slots are taken", |world| {
        full.iter().all(|id| world.oracle().starts(*id) > 0)
    })?;
    let next = submit(world, 1, Batch::one(short))?[0];
    until(world, SOON, "a slot is free", |world| {
        full.iter().any(|id| world.oracle().exits(*id) > 0)
    })?;
    starts_at_once(world, next, "a task starts when a slot is free")?;
    world.finish();
    Ok(())
}

fn paused(world: &mut World, short: Plan) -> Course {
    world.set(0, "queue.q", Some("paused"));
    world.run_for(2 * SECOND);
    let mut batch = Batch::one(short);
    for task in batch.tasks_mut() {
        task.spec.options.queue = "q".to_owned();
    }
    let task = submit(world, 2, batch)?[0];
    world.run_for(2 * SECOND);
    expect(world.oracle().starts(task) == 0, "its queue is paused")?;
    world.set(1, "queue.q", None);
    starts_at_once(world, task, "a task starts when its queue goes on")
}

fn no_hoard(world: &mut World) -> Course {
    warm(world);
    super::only(world, &[0]);
    // Short ones set the pace; then comes what is long, and behind it what was claimed ahead.
    submit(world, 0, Batch::many(200, Plan::succeed(SECOND / 50)))?;
    world.run_for(SECOND / 2);
    let mut long = Batch::many(2, Plan::succeed(60 * SECOND));
    for task in long.tasks_mut() {
        task.spec.priority = 2_000;
    }
    let long = submit(world, 0, long)?;
    until(world, SOON, "the long ones run", |world| {
        long.iter().all(|id| world.oracle().starts(*id) > 0)
    })?;
    let commits = world.oracle().tally().commits;
    world.undrain_host(1);
    until(world, 2 * SOON, "the other host runs the rest", |world| {
        world.oracle().tally().commits == 200
    })?;
    expect(commits < 200, "something was left to do")?;
    world.finish();
    Ok(())
}

fn declared(world: &mut World) -> Course {
    warm(world);
    let plan = Plan {
        fate: Fate::OnlyOn(3),
        ..Plan::succeed(SECOND / 5)
    };
    let ids = submit(world, 1, Batch::many(20, plan))?;
    let ran = starts(world, 20, 4 * SOON)?;
    expect(ran.iter().all(|start| start.host == 3), "only where it is")?;
    let bids = |world: &World, host: HostIx| {
        world
            .replica(host)
            .map_or(0, |replica| replica.counters().bids)
    };
    let others = super::others(world, 3);
    let wasted: u64 = others.iter().map(|host| bids(world, *host)).sum();
    expect(wasted == 0, "no host bids for what it cannot run")?;
    until(world, SOON, "all end", |world| {
        ids.iter().all(|id| world.oracle().is_committed(*id))
    })?;
    // What is nowhere can be run by nobody, and every host says so.
    let plan = Plan {
        fate: Fate::OnlyOn(9),
        ..plan
    };
    let nowhere = submit(world, 2, Batch::one(plan))?[0];
    until(world, SOON, "all say why", |world| {
        (0..world.hosts()).all(|host| {
            let reason = world.replica(host).and_then(|replica| {
                let task = replica.glance(nowhere)?;
                replica.outlook().reason(&task)
            });
            let reason = reason.unwrap_or_default();
            reason.starts_with("fits no host: ") && reason.contains("and 1 more")
        })
    })?;
    world.kill(0, &[nowhere], SECOND);
    world.finish();
    Ok(())
}
