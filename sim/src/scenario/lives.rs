//! Scenarios of what tasks and people say about starts and ends: holds, times, timeouts, retries, dependencies, poison.

use std::time::Duration;

use crdt::event::Reply;
use crdt::ids::TaskId;
use crdt::task::{Cause, TaskState};
use crdt::time::Wall;

use super::{Course, SOON, Scenario, expect, next_start, submit, three, until, warm};
use crate::plan::{Batch, Manners, Plan};
use crate::queue::HostIx;
use crate::world::{Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "held_and_released",
        about: "a person holds one task, another is submitted so: neither runs before it is let go",
        setup: three,
        script: release,
    },
    Scenario {
        name: "held_and_killed",
        about: "a held task is cancelled without a run",
        setup: three,
        script: kill_held,
    },
    Scenario {
        name: "not_before_its_time",
        about: "a task that states a start runs then, also where the clock was set",
        setup: three,
        script: not_before,
    },
    Scenario {
        name: "expires_where_nobody_can_start_it",
        about: "held, waiting, too large: what has not begun in time is cancelled; what runs, runs on",
        setup: three,
        script: expiry,
    },
    Scenario {
        name: "timeout_ends_a_stubborn_run",
        about: "a run that takes too long is signalled, then killed, and tried again as often as it may be",
        setup: three,
        script: timeout,
    },
    Scenario {
        name: "timeout_survives_a_restart",
        about: "the node dies and comes back: the run's time counts from its start",
        setup: three,
        script: timeout_over_restart,
    },
    Scenario {
        name: "backoff_between_retries",
        about: "each retry waits longer than the one before",
        setup: three,
        script: backoff,
    },
    Scenario {
        name: "retried_on_named_failures_alone",
        about: "one exit code asks for another try, another does not",
        setup: three,
        script: retry_on,
    },
    Scenario {
        name: "conditions_on_ends",
        about: "after a failure: what waits for any end or for a failure runs, what waits for success is cancelled",
        setup: three,
        script: conditions,
    },
    Scenario {
        name: "memory_ladder",
        about: "each run out of memory needs the next size; after the last it has failed",
        setup: three,
        script: ladder,
    },
    Scenario {
        name: "poison_is_held",
        about: "a task whose hosts die waits for a person after three of them",
        setup: poisoned,
        script: poison,
    },
    Scenario {
        name: "slots_of_a_queue",
        about: "tasks of one queue come from all hosts: never more run than it has slots, and none while it is paused",
        setup: three,
        script: slots,
    },
    Scenario {
        name: "settings_are_heard_by_all",
        about: "two hosts say different things in a split, one of them unsafe: all come to the later one, also after a power cut",
        setup: three,
        script: settings,
    },
    Scenario {
        name: "options_of_a_newer_version",
        about: "a task states what no host knows: it passes through one that lies between two others, and its disk, as it was",
        setup: three,
        script: newer,
    },
];

fn poisoned(seed: u64) -> Setup {
    Setup {
        most_losses: 3,
        ..three(seed)
    }
}

/// What a host says of a task.
pub(super) fn seen(
    world: &World,
    host: HostIx,
    task: TaskId,
) -> Option<(TaskState, Option<String>)> {
    let replica = world.replica(host)?;
    let task = replica.glance(task)?;
    Some((task.state(), replica.outlook().reason(&task)))
}

/// Says whether every host says so of a task.
pub(super) fn all_say(world: &World, task: TaskId, state: TaskState, reason: &str) -> bool {
    (0..world.hosts()).all(|host| {
        seen(world, host, task).is_some_and(|(is, why)| {
            is == state && why.as_deref().unwrap_or_default().contains(reason)
        })
    })
}

/// The wall clock of a host in so long.
pub(super) fn in_future(world: &World, host: HostIx, span: Duration) -> Wall {
    Wall(world.wall(host).0 + u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn release(world: &mut World) -> Course {
    warm(world);
    for host in 0..world.hosts() {
        world.drain_host(host);
    }
    let plan = Plan::succeed(SECOND / 5);
    let mut batch = Batch::many(2, plan);
    batch.add(plan).spec.options.held = true;
    let ids = submit(world, 0, batch)?;
    let [free, held, born_held] = ids[..] else {
        return expect(false, "three tasks");
    };
    until(world, SOON, "h1 knows it", |world| {
        super::knows(world, 1, held)
    })?;
    world.hold(1, &[held], true);
    until(world, SOON, "all see both held", |world| {
        all_say(world, held, TaskState::Held, "by sim")
            && all_say(world, born_held, TaskState::Held, "since its submission")
    })?;
    for host in 0..world.hosts() {
        world.undrain_host(host);
    }
    until(world, SOON, "what is not held runs", |world| {
        world.oracle().is_committed(free)
    })?;
    world.run_for(world.lease() * 2);
    expect(
        world.oracle().tally().starts == 1,
        "what is held does not run",
    )?;
    world.hold(2, &[held, born_held], false);
    world.finish();
    expect(world.oracle().tally().commits == 3, "what is let go runs")
}

fn kill_held(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    batch.add(Plan::succeed(SECOND)).spec.options.held = true;
    let ids = submit(world, 0, batch)?;
    let task = ids[0];
    until(world, SOON, "h2 knows it", |world| {
        super::knows(world, 2, task)
    })?;
    world.kill(2, &ids, SECOND);
    until(world, SOON, "it is cancelled", |world| {
        all_say(world, task, TaskState::Cancelled, "by sim")
    })?;
    world.finish();
    expect(world.oracle().tally().starts == 0, "it never runs")
}

fn not_before(world: &mut World) -> Course {
    warm(world);
    let wait = SECOND * 8;
    let due = world.now() + wait;
    let mut batch = Batch::default();
    let at = in_future(world, 0, wait);
    batch.add(Plan::succeed(SECOND / 5)).spec.options.not_before = Some(at);
    let ids = submit(world, 0, batch)?;
    until(world, SOON, "all see it wait", |world| {
        all_say(world, ids[0], TaskState::Blocked, "waits for its time")
    })?;
    next_start(world, wait + SOON)?;
    // Clocks of this world err by parts in a thousand.
    let early = due.saturating_sub(world.now());
    expect(early < wait / 20, "not before its time")?;
    // A clock that is set: its host starts what is due by it.
    let mut batch = Batch::default();
    let at = in_future(world, 1, SECOND * 3_600);
    batch.add(Plan::succeed(SECOND / 5)).spec.options.not_before = Some(at);
    submit(world, 1, batch)?;
    world.run_for(SECOND);
    world.step_wall(1, 3_600_000);
    world.submit(1, Batch::one(Plan::succeed(SECOND / 5)));
    world.finish();
    expect(
        world.oracle().tally().commits == 3,
        "a clock that was set is seen",
    )
}

fn expiry(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(SECOND / 5);
    let expires = Some(in_future(world, 0, SECOND * 4));
    let mut batch = Batch::default();
    batch.add(plan).spec.options.held = true;
    batch.add_after(plan, &[0]);
    batch.add(plan).spec.needs.cpu_milli = 1_000_000;
    batch.add(plan).spec.options.not_before = Some(in_future(world, 0, SECOND * 3_600));
    // One that runs by then.
    batch.add(Plan::succeed(SECOND * 8));
    for task in batch.tasks_mut() {
        task.spec.options.expires = expires;
    }
    let ids = submit(world, 0, batch)?;
    world.run_for(SECOND * 2);
    expect(world.oracle().tally().starts == 1, "only the last can run")?;
    world.finish();
    expect(
        world.oracle().tally().starts == 1,
        "what has expired never runs",
    )?;
    let expired = |task: &TaskId| all_say(world, *task, TaskState::Cancelled, "expired");
    expect(
        expired(&ids[0]) && expired(&ids[2]) && expired(&ids[3]),
        "all three expire",
    )?;
    expect(
        all_say(world, ids[1], TaskState::Cancelled, "dependency") || expired(&ids[1]),
        "what waits for one goes with it",
    )?;
    expect(
        all_say(world, ids[4], TaskState::Success, ""),
        "what runs, runs on",
    )
}

fn timeout(world: &mut World) -> Course {
    warm(world);
    let plan = Plan {
        manners: Manners::Stubborn,
        ..Plan::succeed(world.lease() * 30)
    };
    let mut batch = Batch::default();
    let task = batch.add(plan);
    task.spec.options.timeout = Some(SECOND * 2);
    task.spec.retries = 1;
    let ids = submit(world, 0, batch)?;
    let (_, _) = next_start(world, SOON)?;
    let begun = world.now();
    until(world, SOON * 3, "SIGKILL ends it", |world| {
        world.oracle().tally().exits == 1
    })?;
    let took = world.now().saturating_sub(begun);
    expect(
        took > SECOND * 11 && took < SECOND * 14,
        "2 s and 10 s of grace",
    )?;
    world.finish();
    expect(world.oracle().starts(ids[0]) == 2, "it is tried again")?;
    expect(
        all_say(world, ids[0], TaskState::Error, "timeout"),
        "its end says why",
    )
}

fn timeout_over_restart(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    batch
        .add(Plan::succeed(world.lease() * 30))
        .spec
        .options
        .timeout = Some(SECOND * 6);
    let ids = submit(world, 0, batch)?;
    let (host, _) = next_start(world, SOON)?;
    let begun = world.now();
    world.run_for(SECOND * 3);
    world.crash_node(host, Some(SECOND / 2), Unsynced::Drawn);
    world.finish();
    if world.oracle().starts(ids[0]) == 1 {
        let took = world.now().saturating_sub(begun);
        expect(took < SECOND * 10, "the time counts from the start")?;
    }
    expect(
        all_say(world, ids[0], TaskState::Error, "timeout"),
        "its end says why",
    )
}

fn backoff(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    let task = batch.add(Plan {
        failures: 3,
        ..Plan::succeed(SECOND / 10)
    });
    task.spec.retries = 3;
    task.spec.options.backoff = SECOND * 2;
    submit(world, 1, batch)?;
    next_start(world, SOON)?;
    let mut last = world.now();
    for doubling in 0..3 {
        let pause = SECOND * 2 * (1 << doubling);
        next_start(world, pause + SOON)?;
        let waited = world.now().saturating_sub(last + SECOND / 10);
        last = world.now();
        // Half of it at least, less what wall clocks of two hosts differ by.
        expect(waited > pause * 2 / 5, "the pause is kept")?;
        expect(
            waited < pause + SECOND * 2,
            "and not much more than all of it",
        )?;
    }
    world.finish();
    expect(
        world.oracle().tally().commits == 1,
        "it succeeds in the end",
    )
}

fn retry_on(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    for code in [3, 4] {
        let task = batch.add(Plan::fail(SECOND / 10, code));
        task.spec.retries = 2;
        task.spec.options.retry_on = vec![Cause::Codes(1, 3), Cause::Timeout];
    }
    let ids = submit(world, 0, batch)?;
    world.finish();
    expect(world.oracle().starts(ids[0]) == 3, "3 is retried")?;
    expect(world.oracle().starts(ids[1]) == 1, "4 is not")
}

fn conditions(world: &mut World) -> Course {
    warm(world);
    let fails = submit(world, 0, Batch::one(Plan::fail(SECOND, 1)))?;
    let plan = Plan::succeed(SECOND / 10);
    let works = submit(world, 0, Batch::one(plan))?;
    let mut batch = Batch::default();
    batch.add(plan).spec.after = fails.clone();
    batch.add(plan).spec.options.after_any = [fails.clone(), works.clone()].concat();
    batch.add(plan).spec.options.after_fail = fails.clone();
    batch.add(plan).spec.options.after_fail = works.clone();
    // Those that were cancelled fail the ones behind them in turn.
    batch.add_after(plan, &[0]);
    let ids = submit(world, 0, batch)?;
    world.finish();
    let says = |at: usize, state, why: TaskId| {
        all_say(world, ids[at], state, &format!("dependency {why}"))
    };
    let ran = |at: usize| all_say(world, ids[at], TaskState::Success, "");
    expect(
        says(0, TaskState::Cancelled, fails[0]),
        "success is out of reach",
    )?;
    expect(ran(1) && ran(2), "any end will do, and a failure was one")?;
    expect(
        says(3, TaskState::Cancelled, works[0]),
        "failure is out of reach",
    )?;
    expect(says(4, TaskState::Cancelled, ids[0]), "and so on")
}

fn ladder(world: &mut World) -> Course {
    warm(world);
    let hungry = |failures| Plan {
        failures,
        code: Plan::OUT_OF_MEMORY,
        ..Plan::succeed(SECOND / 10)
    };
    let mut batch = Batch::default();
    for (failures, retries) in [(2, 0), (3, 0), (4, 1), (1, 0)] {
        let task = batch.add(hungry(failures));
        task.spec.needs.memory_bytes = 1 << 20;
        task.spec.options.memory_ladder = vec![1 << 21, 1 << 22];
        task.spec.retries = retries;
    }
    // No host has so much.
    let task = batch.add(hungry(1));
    task.spec.needs.memory_bytes = 1 << 20;
    task.spec.options.memory_ladder = vec![1 << 60];
    let ids = submit(world, 0, batch)?;
    until(world, SOON, "the last fits nowhere any more", |world| {
        all_say(world, ids[4], TaskState::Pending, "fits no host")
    })?;
    world.kill(0, &ids[4..], SECOND);
    world.finish();
    let starts = [0, 1, 2, 3, 4].map(|at| world.oracle().starts(ids[at]));
    expect(
        starts == [3, 3, 4, 2, 1],
        "a try for each rung and each retry",
    )?;
    expect(
        all_say(world, ids[0], TaskState::Success, "")
            && all_say(world, ids[1], TaskState::Error, "oom")
            && all_say(world, ids[2], TaskState::Error, "oom")
            && all_say(world, ids[3], TaskState::Success, ""),
        "what had enough in the end succeeds",
    )
}

fn in_queue(count: usize, plan: Plan) -> Batch {
    let mut batch = Batch::many(count, plan);
    for task in batch.tasks_mut() {
        task.spec.options.queue = "q".to_owned();
    }
    batch
}

fn slots(world: &mut World) -> Course {
    warm(world);
    world.set(2, "queue.q", Some("slots=2 weight=1 paused"));
    world.run_for(SECOND);
    let mut ids = Vec::new();
    for host in 0..3 {
        ids.extend(submit(world, host, in_queue(5, Plan::succeed(SECOND)))?);
    }
    let free = submit(world, 0, Batch::one(Plan::succeed(SECOND / 5)))?;
    world.run_for(SECOND * 3);
    expect(world.oracle().is_committed(free[0]), "others run")?;
    expect(world.oracle().tally().starts == 1, "it is paused")?;
    expect(
        all_say(world, ids[0], TaskState::Pending, "queue q is paused"),
        "and says so",
    )?;
    world.set(1, "queue.q", Some("slots=2 weight=1"));
    let running = |world: &World| -> usize {
        ids.iter()
            .map(|id| world.oracle().executing(*id).count())
            .sum()
    };
    let mut most = 0;
    until(world, SOON * 6, "all of them run", |world| {
        most = most.max(running(world));
        ids.iter().all(|id| world.oracle().is_committed(*id))
    })?;
    world.finish();
    expect(most == 2, "two at a time, and not fewer")
}

fn settings(world: &mut World) -> Course {
    warm(world);
    world.split(&[&[0, 1], &[2]]);
    world.set(0, "lost-limit", Some("7"));
    world.run_for(SECOND * 2);
    world.set(2, "lost-limit", Some("9"));
    let refused = world.set(1, "heartbeat", Some("60000ms"));
    world.set(1, "heartbeat", Some("300ms"));
    world.run_for(SECOND);
    expect(
        matches!(world.reply(refused), Some(Reply::Refused(_))),
        "what is unsafe is refused",
    )?;
    world.heal_links();
    let agree = |world: &World| {
        (0..world.hosts()).all(|host| {
            world.replica(host).is_some_and(|replica| {
                let stated = |name| replica.settings().stated(name)?.value.clone();
                stated("lost-limit").as_deref() == Some("9")
                    && stated("heartbeat").as_deref() == Some("300ms")
            })
        })
    };
    until(world, SOON, "all say the same", agree)?;
    for host in 0..world.hosts() {
        world.crash_host(host, Some(SECOND), Unsynced::Lost);
    }
    world.submit(1, Batch::many(4, Plan::succeed(SECOND)));
    world.finish();
    expect(agree(world), "and remember it")
}

fn newer(world: &mut World) -> Course {
    warm(world);
    world.cut(0, 2);
    // A number that nobody knows, and one whose value is not understood, beside one that is.
    let stated: Vec<(u16, Vec<u8>)> =
        vec![(2, vec![0xff; 9]), (8, vec![1, 0]), (60_000, vec![7; 300])];
    let encoded = postcard::to_stdvec(&stated).map_err(|_| super::Missed("it is encoded"))?;
    let mut batch = Batch::default();
    let task = batch.add(Plan::succeed(SECOND));
    task.spec.options =
        postcard::from_bytes(&encoded).map_err(|_| super::Missed("it is understood"))?;
    let ids = submit(world, 0, batch)?;
    let is_whole = |world: &World, host: HostIx| {
        let view = world.replica(host).and_then(|of| of.task(ids[0]));
        view.is_some_and(|view| {
            view.spec.options.backoff == SECOND
                && postcard::to_stdvec(&view.spec.options) == Ok(encoded.clone())
        })
    };
    until(world, SOON, "it comes through", |world| is_whole(world, 2))?;
    for host in 0..3 {
        world.crash_host(host, Some(SECOND), Unsynced::Drawn);
    }
    world.heal_links();
    world.finish();
    expect(
        (0..3).all(|host| is_whole(world, host)),
        "every host has it as it was",
    )?;
    expect(
        all_say(world, ids[0], TaskState::Success, ""),
        "and it has run",
    )
}

fn poison(world: &mut World) -> Course {
    warm(world);
    let ids = submit(world, 0, Batch::one(Plan::succeed(world.lease() * 2)))?;
    let task = ids[0];
    for _ in 0..3 {
        let (host, _) = next_start(world, world.lease() * 4 + SOON)?;
        world.run_for(SECOND);
        world.crash_host(host, Some(SECOND), Unsynced::Lost);
    }
    until(
        world,
        world.lease() * 4 + SOON,
        "all see it held",
        |world| all_say(world, task, TaskState::Held, "3 of its runs were lost"),
    )?;
    let starts = world.oracle().tally().starts;
    world.run_for(world.lease() * 4);
    expect(
        world.oracle().tally().starts == starts,
        "it does not run again",
    )?;
    world.hold(1, &[task], false);
    world.finish();
    expect(
        all_say(world, task, TaskState::Success, ""),
        "let go, it runs as any other",
    )
}
