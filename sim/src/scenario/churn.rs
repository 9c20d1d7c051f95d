//! Scenarios of hosts that come, go and come back, and of tasks that belong together meanwhile.

use std::time::Duration;

use super::{
    Course, SOON, Scenario, expect, five, next_start, one_running, others, submit, three, until,
    warm,
};
use crate::host::INBOX_FRAMES;
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::{Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);
/// Members of the group that is there across crashes, and its window.
const GROUP: (u32, u32) = (12, 3);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two_witnesses_down_one_back",
        about: "two of three die while a task runs; with one of them back it goes on",
        setup: three,
        script: one_back,
    },
    Scenario {
        name: "restarted_in_every_order",
        about: "all hosts lose their power and come back in each of six orders",
        setup: three,
        script: every_order,
    },
    Scenario {
        name: "leave_during_a_split",
        about: "hosts of a side leave for good while the other side is out of sight",
        setup: five,
        script: leave_in_split,
    },
    Scenario {
        name: "two_join_and_one_is_replaced",
        about: "two hosts join, one loses its disk and comes back as another, and work goes on",
        setup: late_two,
        script: join_and_replace,
    },
    Scenario {
        name: "retry_while_the_outcome_is_late",
        about: "a run fails where nobody hears of it, and the task is tried elsewhere",
        setup: three,
        script: late_failure,
    },
    Scenario {
        name: "fan_in_across_a_split",
        about: "the two sides of a split each end half of what a task waits for",
        setup: five,
        script: fan_in,
    },
    Scenario {
        name: "group_across_crashes",
        about: "a group with a window; its author and its claimants die and come back",
        setup: five,
        script: group,
    },
    Scenario {
        name: "priorities_under_churn",
        about: "urgent tasks come after others, and hosts die; the urgent ones end first",
        setup: three,
        script: priorities,
    },
    Scenario {
        name: "resumed_with_a_full_inbox",
        about: "a node stands still until its sockets are full, and goes on",
        setup: three,
        script: full_inbox,
    },
];

fn one_back(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 4))?;
    let rest = others(world, claimant);
    for host in &rest {
        world.crash_host(*host, None, Unsynced::Drawn);
    }
    world.run_for(world.lease() * 2);
    expect(
        world.oracle().leftover().is_none(),
        "nothing runs without a majority",
    )?;
    world.start_node(rest[0], Duration::ZERO);
    until(
        world,
        world.lease() * 12,
        "two of three are enough",
        |world| world.oracle().is_committed(run.task),
    )?;
    world.finish();
    Ok(())
}

fn every_order(world: &mut World) -> Course {
    const ORDERS: [[HostIx; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    warm(world);
    for order in ORDERS {
        submit(world, order[2], Batch::many(3, Plan::succeed(SECOND)))?;
        world.run_for(SECOND / 3);
        for (host, nth) in order.into_iter().zip(1..) {
            world.crash_host(host, Some(world.lease() / 2 * nth), Unsynced::Drawn);
        }
        world.run_for(world.lease() * 2);
    }
    world.finish();
    expect(world.oracle().tally().commits == 18, "every task ends")
}

fn leave_in_split(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(10, Plan::succeed(world.lease())));
    next_start(world, SOON)?;
    world.split(&[&[0, 1, 2], &[3, 4]]);
    world.run_for(world.lease());
    for host in [3, 4] {
        world.crash_host(host, None, Unsynced::Drawn);
    }
    world.run_for(world.lease() * 3);
    world.finish_without(&[3, 4]);
    expect(world.oracle().tally().commits == 10, "every task ends")
}

fn late_two(seed: u64) -> Setup {
    Setup {
        late: vec![3, 4],
        ..five(seed)
    }
}

fn join_and_replace(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(6, Plan::succeed(world.lease())));
    next_start(world, SOON)?;
    for host in [3, 4] {
        world.start_node(host, Duration::ZERO);
        world.run_for(SECOND);
        world.submit(host, Batch::many(4, Plan::succeed(SECOND)));
    }
    world.run_for(SECOND * 3);
    world.lose_disk(2, SECOND / 10);
    world.run_for(SECOND * 3);
    // A segment opened from now on asks those that are there; old ones go on with the two that are left of three.
    world.submit(4, Batch::many(4, Plan::succeed(SECOND)));
    world.run_for(world.lease() * 4);
    world.finish();
    expect(world.oracle().tally().commits == 18, "every task ends")
}

fn late_failure(world: &mut World) -> Course {
    warm(world);
    let plan = Plan {
        failures: 1,
        ..Plan::succeed(world.lease() / 2)
    };
    let mut batch = Batch::default();
    batch.add(plan).spec.retries = 1;
    world.submit(0, batch);
    let (claimant, run) = next_start(world, SOON)?;
    world.isolate(claimant);
    let (second, _) = next_start(world, world.lease() * 4)?;
    expect(second != claimant, "another host tries it")?;
    world.heal_links();
    until(world, world.lease() * 6, "it is committed", |world| {
        world.oracle().is_committed(run.task)
    })?;
    world.finish();
    expect(world.oracle().starts(run.task) == 2, "it runs twice")
}

fn fan_in(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(world.lease());
    let mut batch = Batch::default();
    for _ in 0..4 {
        batch.add(plan);
    }
    batch.add_after(plan, &[0, 1]);
    batch.add_after(plan, &[2, 3]);
    batch.add_after(plan, &[4, 5]);
    let ids = submit(world, 0, batch)?;
    until(world, SOON, "all four run", |world| {
        world.oracle().tally().starts == 4
    })?;
    let odd = world.host_of_run(ids[0]).unwrap_or(0);
    let rest = others(world, odd);
    world.split(&[&[odd], &rest]);
    world.run_for(world.lease() * 4);
    expect(
        !world.oracle().is_committed(ids[6]),
        "the fan-in waits for both",
    )?;
    world.heal_links();
    world.finish();
    expect(world.oracle().is_committed(ids[6]), "the fan-in ends")
}

fn group(world: &mut World) -> Course {
    warm(world);
    let (members, window) = GROUP;
    let plan = Plan::succeed(world.lease() / 2);
    submit(world, 0, Batch::group(members, window, plan))?;
    for _ in 0..4 {
        let (claimant, _) = next_start(world, world.lease() * 8)?;
        world.crash_host(claimant, Some(SECOND / 2), Unsynced::Drawn);
        world.run_for(world.lease() / 2);
        world.crash_node(0, Some(SECOND / 10), Unsynced::Drawn);
    }
    world.finish();
    expect(
        world.oracle().tally().commits == u64::from(members),
        "every member ends",
    )
}

fn priorities(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(24, Plan::succeed(world.lease() / 2)));
    next_start(world, SOON)?;
    let mut urgent = Batch::default();
    for _ in 0..4 {
        urgent.add(Plan::succeed(SECOND / 5)).spec.priority += 10;
    }
    let ids = submit(world, 1, urgent)?;
    world.crash_node(2, Some(SECOND / 10), Unsynced::Drawn);
    let all_urgent = |world: &World| ids.iter().all(|id| world.oracle().is_committed(*id));
    until(world, world.lease() * 6, "the urgent ones end", all_urgent)?;
    expect(
        world.oracle().tally().commits < 24,
        "the others are not done yet",
    )?;
    world.finish();
    expect(world.oracle().tally().commits == 28, "every task ends")
}

fn full_inbox(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 2))?;
    let witness = others(world, claimant)[0];
    world.stop_node(witness);
    for _ in 0..50 {
        for _ in 0..100 {
            world.send_garbage(claimant, witness);
        }
        world.run_for(SECOND / 50);
    }
    expect(
        world.host(witness).inbox.len() >= INBOX_FRAMES,
        "its sockets are full",
    )?;
    world.submit(claimant, Batch::many(10, Plan::succeed(SECOND / 50)));
    world.run_for(world.lease());
    world.resume(witness);
    world.finish();
    expect(world.oracle().tally().commits == 11, "every task ends")
}
