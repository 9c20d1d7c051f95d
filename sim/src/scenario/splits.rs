//! Scenarios with cuts: splits, one-way links, flapping, a host alone.

use std::time::Duration;

use super::{
    Course, Missed, SOON, Scenario, expect, five, next_start, one_running, only, others, submit,
    three, until, warm,
};
use crate::link::Lanes;
use crate::plan::{Batch, Plan};
use crate::world::{Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "split_claimant_in_the_minority",
        about: "2 | 3, the claimant among two: it stops, the others take over",
        setup: five,
        script: claimant_in_minority,
    },
    Scenario {
        name: "split_claimant_in_the_majority",
        about: "2 | 3, the claimant among three: it goes on",
        setup: five,
        script: claimant_in_majority,
    },
    Scenario {
        name: "work_done_alone_is_not_done_again",
        about: "a host is cut off as its run ends, the next claimant dies; then the first one comes back",
        setup: three_of_five,
        script: done_alone,
    },
    Scenario {
        name: "every_host_alone",
        about: "nobody reaches anybody for three leases",
        setup: five,
        script: everyone_alone,
    },
    Scenario {
        name: "one_way_claimant_to_witnesses",
        about: "the claimant hears the witnesses and they do not hear it",
        setup: three,
        script: |world| one_way(world, Way::FromClaimant),
    },
    Scenario {
        name: "one_way_witnesses_to_claimant",
        about: "the witnesses hear the claimant and it does not hear them",
        setup: three,
        script: |world| one_way(world, Way::ToClaimant),
    },
    Scenario {
        name: "claims_lane_cut",
        about: "documents flow, heartbeats and acks do not",
        setup: three,
        script: |world| lane_cut(world, Lanes::Claims),
    },
    Scenario {
        name: "gossip_lane_cut",
        about: "heartbeats and acks flow, documents do not",
        setup: three,
        script: |world| lane_cut(world, Lanes::Gossip),
    },
    Scenario {
        name: "flapping_link",
        about: "links come and go at the rhythm of heartbeats",
        setup: three,
        script: flapping,
    },
    Scenario {
        name: "submit_during_a_split",
        about: "both sides of a split take submissions",
        setup: five,
        script: submit_in_split,
    },
    Scenario {
        name: "kill_during_a_split",
        about: "a kill on the other side of a split reaches the run later",
        setup: five,
        script: kill_in_split,
    },
    Scenario {
        name: "dependency_chain_across_a_split",
        about: "a chain and a fan-in whose tasks end on different sides",
        setup: five,
        script: chain,
    },
    Scenario {
        name: "majorities_in_a_ring",
        about: "each host reaches a majority, no two the same one",
        setup: five,
        script: ring,
    },
];

fn claimant_in_minority(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 2;
    let (claimant, run) = one_running(world, 0, Plan::succeed(length))?;
    let rest = others(world, claimant);
    world.split(&[&[claimant, rest[0]], &rest[1..]]);
    let (other, _) = next_start(world, world.lease() * 4)?;
    expect(rest[1..].contains(&other), "the majority takes over")?;
    until(world, SOON, "the majority commits", |world| {
        world.oracle().is_committed(run.task)
    })?;
    world.run_for(world.lease());
    world.finish();
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.expired) == (2, 1),
        "one run is killed at its deadline, one ends",
    )
}

/// One task that h0 claims without a rival, so that every member's vote is its own: a claim won in a tie depends on its own voters.
fn alone_running(
    world: &mut World,
    plan: Plan,
) -> Result<(usize, crdt::ids::RunId), super::Missed> {
    super::only(world, &[0]);
    let running = one_running(world, 0, plan)?;
    world.run_for(SECOND / 5);
    super::only(world, &[0, 1, 2, 3, 4]);
    Ok(running)
}

fn claimant_in_majority(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 2;
    let (claimant, run) = alone_running(world, Plan::succeed(length))?;
    let rest = others(world, claimant);
    world.split(&[&[claimant, rest[0], rest[1]], &rest[2..]]);
    until(world, length * 2, "it is committed", |world| {
        world.oracle().is_committed(run.task)
    })?;
    world.run_for(world.lease() * 2);
    world.finish();
    expect(world.oracle().tally().starts == 1, "it runs once")
}

fn three_of_five(seed: u64) -> Setup {
    Setup {
        committee: 3,
        ..five(seed)
    }
}

fn done_alone(world: &mut World) -> Course {
    warm(world);
    only(world, &[]);
    let task = submit(world, 0, Batch::one(Plan::succeed(SECOND)))?[0];
    let members = world.replica(0).and_then(|replica| replica.committee(task));
    let members = members.ok_or(Missed("the committee is known"))?;
    let mut outsiders =
        (0..world.hosts()).filter(|host| !members.contains(&world.host(*host).peer));
    let (Some(claimant), Some(second)) = (outsiders.next(), outsiders.next()) else {
        return Err(Missed("two hosts are no members"));
    };
    only(world, &[claimant]);
    next_start(world, SOON)?;
    until(world, SOON * 2, "it ends", |world| {
        world.oracle().exits(task) > 0
    })?;
    world.isolate(claimant);
    world.undrain_host(second);
    next_start(world, world.lease() * 3)?;
    world.drain_host(second);
    world.crash_host(second, Some(world.lease() * 8), Unsynced::Lost);
    world.heal_links();
    until(world, world.lease() * 6, "it is committed", |world| {
        world.oracle().is_committed(task)
    })?;
    expect(
        world.oracle().tally().starts == 2,
        "work that is done is not done again",
    )?;
    world.finish();
    Ok(())
}

fn everyone_alone(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(6, Plan::succeed(SECOND)));
    next_start(world, SOON)?;
    world.split(&[]);
    world.run_for(world.lease() * 3);
    let starts = world.oracle().tally().starts;
    world.run_for(world.lease() * 3);
    expect(
        world.oracle().tally().starts == starts,
        "nobody starts anything alone",
    )?;
    world.finish();
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    FromClaimant,
    ToClaimant,
}

fn one_way(world: &mut World, way: Way) -> Course {
    warm(world);
    let length = world.lease() * 2;
    let (claimant, _) = one_running(world, 0, Plan::succeed(length))?;
    // Of every second seed's links the ends notice, of the others they never do.
    let notice = if world.setup().seed.is_multiple_of(2) {
        Notice::Later
    } else {
        Notice::Never
    };
    for other in others(world, claimant) {
        match way {
            Way::FromClaimant => world.cut_way(claimant, other, Lanes::All, notice),
            Way::ToClaimant => world.cut_way(other, claimant, Lanes::All, notice),
        }
    }
    next_start(world, world.lease() * 5)?;
    expect(
        world.oracle().tally().expired == 1,
        "the cut-off run is killed first",
    )?;
    world.run_for(world.lease());
    world.finish();
    Ok(())
}

fn lane_cut(world: &mut World, lanes: Lanes) -> Course {
    warm(world);
    let length = world.lease() * 2;
    let (claimant, run) = one_running(world, 0, Plan::succeed(length))?;
    for other in others(world, claimant) {
        world.cut_way(claimant, other, lanes, Notice::Never);
        world.cut_way(other, claimant, lanes, Notice::Never);
    }
    world.run_for(world.lease() * 4);
    if lanes == Lanes::Claims {
        expect(
            world.oracle().tally().expired > 0,
            "without answers the run is killed",
        )?;
    } else {
        expect(
            world.oracle().exits(run.task) == 1,
            "the run goes on to its end",
        )?;
        expect(
            !world.oracle().is_committed(run.task),
            "nobody knows its outcome",
        )?;
    }
    world.finish();
    Ok(())
}

fn flapping(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(8, Plan::succeed(world.lease())));
    let beat = world.setup().timing.heartbeat;
    for round in 0..24_usize {
        let (a, b) = [(0, 1), (1, 2), (0, 2)][round % 3];
        world.cut(a, b);
        world.run_for(beat * 3 / 2);
        world.mend(a, b);
        if round % 4 == 0 {
            world.break_connection(b, (b + 1) % 3);
        }
        world.run_for(beat / 2);
    }
    expect(world.oracle().tally().starts > 0, "something runs")?;
    world.finish();
    Ok(())
}

fn submit_in_split(world: &mut World) -> Course {
    warm(world);
    world.split(&[&[0, 1], &[2, 3, 4]]);
    world.run_for(SECOND * 4);
    let minority = world.submit(0, Batch::many(4, Plan::succeed(SECOND)));
    let majority = world.submit(3, Batch::many(4, Plan::succeed(SECOND)));
    world.run_for(world.lease() * 5);
    expect(
        world.tasks_of(majority).len() == 4,
        "the majority's people are answered",
    )?;
    expect(
        world.oracle().tally().commits >= 4,
        "the majority's tasks end",
    )?;
    expect(
        world.tasks_of(minority).len() == 4,
        "the minority's people get an answer too",
    )?;
    world.finish();
    expect(world.oracle().tally().commits == 8, "every task ends")
}

fn kill_in_split(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 20;
    let (claimant, run) = alone_running(world, Plan::succeed(length))?;
    let rest = others(world, claimant);
    world.split(&[&[claimant, rest[0], rest[1]], &rest[2..]]);
    world.run_for(SECOND);
    world.kill(rest[3], &[run.task], SECOND / 2);
    world.run_for(world.lease() * 2);
    expect(
        world.oracle().tally().exits == 0,
        "the kill has not arrived",
    )?;
    world.heal_links();
    until(world, SOON, "the kill arrives", |world| {
        world.oracle().tally().exits == 1
    })?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "it ran once")
}

fn chain(world: &mut World) -> Course {
    warm(world);
    let plan = Plan::succeed(SECOND / 2);
    let mut batch = Batch::default();
    batch.add(plan);
    for place in 0..7 {
        batch.add_after(plan, &[place]);
    }
    batch.add(plan);
    batch.add_after(plan, &[3, 7, 8]);
    batch.add(Plan::fail(SECOND / 2, 1));
    batch.add_after(plan, &[10]);
    let ids = submit(world, 0, batch)?;
    for round in 0..4 {
        world.run_for(SECOND);
        let odd = [[0, 2], [1, 3], [2, 4], [0, 4]][round];
        let rest: Vec<usize> = (0..5).filter(|host| !odd.contains(host)).collect();
        world.split(&[&odd, &rest]);
        world.run_for(world.lease());
        world.heal_links();
    }
    world.finish();
    expect(
        world.oracle().starts(ids[11]) == 0,
        "what depends on a failure never runs",
    )?;
    expect(world.oracle().is_committed(ids[9]), "the fan-in ends")
}

fn ring(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(6, Plan::succeed(world.lease())));
    next_start(world, SOON)?;
    for host in 0..5 {
        // Each reaches its two neighbours on either side of the ring only.
        world.cut(host, (host + 2) % 5);
    }
    world.submit(2, Batch::many(6, Plan::succeed(SECOND)));
    world.run_for(world.lease() * 5);
    expect(world.oracle().tally().commits > 0, "work goes on")?;
    world.finish();
    Ok(())
}
