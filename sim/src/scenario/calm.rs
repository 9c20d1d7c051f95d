//! Scenarios without crashes or cuts: sizes of meshes, bad links, bad clocks, dependencies, groups, kills, retries, full disks.

use std::time::Duration;

use super::{
    Course, SOON, Scenario, expect, five, next_start, one_running, submit, three, until, warm,
};
use crate::link::{Lanes, LinkModel, Order};
use crate::plan::{Batch, Manners, Plan};
use crate::world::{Clocks, GuardPace, Setup, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "quiet_mesh",
        about: "five hosts, forty tasks, no fault: each runs once",
        setup: five,
        script: quiet_mesh,
    },
    Scenario {
        name: "one_host",
        about: "a host alone, tasks longer than a lease",
        setup: |seed| Setup::new(seed, 1),
        script: one_host,
    },
    Scenario {
        name: "two_hosts",
        about: "two hosts, work from both",
        setup: |seed| Setup::new(seed, 2),
        script: two_hosts,
    },
    Scenario {
        name: "duplicated_and_reordered_frames",
        about: "a third of all frames arrive twice, none keeps its place",
        setup: jumbled,
        script: bad_links,
    },
    Scenario {
        name: "loss_20_percent",
        about: "a fifth of all frames is lost",
        setup: lossy,
        script: bad_links,
    },
    Scenario {
        name: "clock_drift_at_the_bound",
        about: "clocks err by the whole bound while leases run out",
        setup: drifting,
        script: drift,
    },
    Scenario {
        name: "wall_clock_steps",
        about: "wall clocks jump by an hour: nothing changes",
        setup: three,
        script: wall_steps,
    },
    Scenario {
        name: "kill_racing_success",
        about: "a kill arrives as its task ends",
        setup: three,
        script: kill_race,
    },
    Scenario {
        name: "kill_a_stubborn_task",
        about: "SIGTERM is ignored, SIGKILL follows",
        setup: three,
        script: kill_stubborn,
    },
    Scenario {
        name: "retry_after_failure",
        about: "two failures, then success",
        setup: three,
        script: retries,
    },
    Scenario {
        name: "group_window",
        about: "never more than two of a group at once, mesh-wide",
        setup: five,
        script: group_window,
    },
    Scenario {
        name: "disk_full_on_a_witness",
        about: "a witness cannot write for three leases",
        setup: three,
        script: |world| full_disk(world, Full::Witness),
    },
    Scenario {
        name: "disk_full_on_the_claimant",
        about: "the claimant cannot write while its task ends",
        setup: three,
        script: |world| full_disk(world, Full::Claimant),
    },
    Scenario {
        name: "garbage_frames",
        about: "nonsense from every peer all the time",
        setup: three,
        script: garbage,
    },
    Scenario {
        name: "five_claimants_for_one_task",
        about: "all want the same few tasks at once",
        setup: five,
        script: rush,
    },
    Scenario {
        name: "slow_link_longer_than_the_lease",
        about: "frames take longer than a lease in one direction",
        setup: three,
        script: slow_link,
    },
];

fn jumbled(seed: u64) -> Setup {
    let links = LinkModel {
        copies: 333,
        order: Order::Free,
        mean: Duration::from_millis(20),
        ..LinkModel::default()
    };
    Setup {
        links,
        ..five(seed)
    }
}

fn lossy(seed: u64) -> Setup {
    Setup {
        links: LinkModel {
            loss: 200,
            ..LinkModel::default()
        },
        ..five(seed)
    }
}

fn drifting(seed: u64) -> Setup {
    Setup {
        clocks: Clocks::Ends,
        guards: GuardPace::Worst,
        ..five(seed)
    }
}

fn quiet_mesh(world: &mut World) -> Course {
    warm(world);
    for host in 0..world.hosts() {
        world.submit(host, Batch::many(8, Plan::succeed(SECOND / 2)));
    }
    world.finish();
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.reruns, tally.commits) == (40, 0, 40),
        "each task runs once",
    )
}

fn one_host(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 5 / 2;
    submit(world, 0, Batch::many(6, Plan::succeed(length)))?;
    submit(world, 0, Batch::many(3, Plan::fail(SECOND / 10, 3)))?;
    world.finish();
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.reruns, tally.commits) == (9, 0, 9),
        "each task runs once",
    )
}

fn two_hosts(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 3 / 2;
    for host in [0, 1] {
        world.submit(host, Batch::many(5, Plan::succeed(length)));
    }
    world.finish();
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.reruns, tally.commits) == (10, 0, 10),
        "each task runs once",
    )
}

fn bad_links(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::many(12, Plan::succeed(SECOND / 5));
    batch.add(Plan::succeed(world.lease() * 2));
    world.submit(0, batch);
    world.submit(3, Batch::many(6, Plan::succeed(SECOND)));
    world.run_for(SOON);
    expect(
        world.oracle().tally().commits >= 12,
        "tasks end in spite of bad links",
    )?;
    world.finish();
    expect(world.oracle().tally().commits == 19, "every task ends")
}

fn drift(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 2;
    for _ in 0..3 {
        let (host, _) = one_running(world, 0, Plan::succeed(length))?;
        world.isolate(host);
        world.run_for(length * 2);
        world.heal_links();
        world.run_for(SECOND);
    }
    expect(world.oracle().tally().reruns > 0, "somebody takes over")?;
    world.finish();
    Ok(())
}

fn wall_steps(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 3;
    one_running(world, 0, Plan::succeed(length))?;
    for (host, hours) in [(0, 1), (1, -1), (2, 2), (0, -3)] {
        world.step_wall(host, hours * 3_600_000);
        world.submit(host, Batch::many(3, Plan::succeed(SECOND / 10)));
        world.run_for(SECOND);
    }
    world.finish();
    expect(world.oracle().tally().reruns == 0, "no hold is lost")
}

fn kill_race(world: &mut World) -> Course {
    warm(world);
    for early in 0..10 {
        let ids = submit(world, 0, Batch::one(Plan::succeed(SECOND)))?;
        next_start(world, SOON)?;
        world.run_for(SECOND - Duration::from_millis(5) + Duration::from_millis(early));
        world.kill(2, &ids, SECOND);
        world.kill(1, &ids, SECOND);
        world.run_for(SECOND / 2);
    }
    world.finish();
    expect(world.oracle().tally().commits == 10, "every task ends")
}

fn kill_stubborn(world: &mut World) -> Course {
    warm(world);
    let plan = Plan {
        manners: Manners::Stubborn,
        ..Plan::succeed(world.lease() * 30)
    };
    let ids = submit(world, 1, Batch::one(plan))?;
    next_start(world, SOON)?;
    world.kill(0, &ids, SECOND);
    until(world, SOON, "SIGKILL ends it", |world| {
        world.oracle().tally().exits == 1
    })?;
    // One that has not started is cancelled; nothing of it ever runs.
    for host in 0..world.hosts() {
        world.drain_host(host);
    }
    let ids = submit(world, 1, Batch::one(plan))?;
    let task = ids[0];
    until(world, SOON, "h2 knows it", move |world| {
        super::knows(world, 2, task)
    })?;
    world.kill(2, &ids, SECOND);
    until(world, SOON, "it is cancelled", move |world| {
        world.oracle().is_committed(task)
    })?;
    world.finish();
    expect(
        world.oracle().tally().starts == 1,
        "a cancelled task never runs",
    )
}

fn retries(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    batch
        .add(Plan {
            failures: 2,
            ..Plan::succeed(SECOND / 10)
        })
        .spec
        .retries = 3;
    batch.add(Plan::fail(SECOND / 10, 7)).spec.retries = 2;
    let ids = submit(world, 0, batch)?;
    world.finish();
    expect(
        world.oracle().starts(ids[0]) == 3,
        "success at the third run",
    )?;
    expect(
        world.oracle().starts(ids[1]) == 3,
        "one run and two retries",
    )
}

fn group_window(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(SECOND / 4);
    world.submit(0, Batch::group(24, 2, plan));
    world.submit(1, Batch::group(12, 1, plan));
    world.run_for(SECOND);
    world.split(&[&[0, 1], &[2, 3, 4]]);
    world.run_for(world.lease() * 2);
    world.heal_links();
    let (host, _) = next_start(world, SOON)?;
    world.crash_node(host, Some(SECOND / 10), crate::world::Unsynced::Drawn);
    world.finish();
    expect(world.oracle().tally().commits == 36, "every member ends")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    Witness,
    Claimant,
}

fn full_disk(world: &mut World, whose: Full) -> Course {
    warm(world);
    let length = world.lease() * 2;
    let (claimant, _) = one_running(world, 0, Plan::succeed(length))?;
    let victim = if whose == Full::Claimant {
        claimant
    } else {
        (claimant + 1) % 3
    };
    world.fill_disk(victim);
    let token = world.submit(victim, Batch::one(Plan::succeed(SECOND)));
    world.submit((victim + 1) % 3, Batch::many(4, Plan::succeed(SECOND)));
    world.run_for(world.lease() * 3);
    expect(
        world.host(victim).disk.backlog() > 0,
        "something waits for the disk",
    )?;
    expect(
        world.tasks_of(token).is_empty(),
        "nothing is promised that is not durable",
    )?;
    let commits = world.oracle().tally().commits;
    expect(commits >= 4, "the others go on")?;
    world.finish();
    Ok(())
}

fn garbage(world: &mut World) -> Course {
    warm(world);
    for round in 0..40_usize {
        for (from, to) in [(0, 1), (1, 2), (2, 0), (2, 1)] {
            world.send_garbage(from, to);
        }
        if round % 8 == 0 {
            world.submit(round % 3, Batch::many(3, Plan::succeed(SECOND / 2)));
        }
        world.run_for(SECOND / 10);
    }
    world.finish();
    let dropped = |host| {
        world.replica(host).map_or(0, |replica| {
            let counters = replica.counters();
            counters.bad_frames + counters.refused_changes
        })
    };
    expect((0..3).map(dropped).sum::<u64>() > 40, "nonsense is counted")?;
    expect(
        world.oracle().tally().reruns == 0,
        "nonsense changes nothing",
    )
}

fn rush(world: &mut World) -> Course {
    warm(world);
    for round in 0..8 {
        world.submit(round % 5, Batch::many(2, Plan::succeed(SECOND / 10)));
        world.run_for(SECOND / 5);
    }
    world.finish();
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.commits) == (16, 16),
        "each task runs once",
    )
}

fn slow_link(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 3;
    let (claimant, _) = one_running(world, 0, Plan::succeed(length))?;
    for other in super::others(world, claimant) {
        world.slow_way(other, claimant, Lanes::All, world.lease() * 3 / 2);
    }
    world.submit((claimant + 1) % 3, Batch::many(3, Plan::succeed(SECOND)));
    world.run_for(world.lease() * 8);
    expect(
        world.oracle().tally().expired > 0,
        "late answers do not count",
    )?;
    world.finish();
    Ok(())
}
