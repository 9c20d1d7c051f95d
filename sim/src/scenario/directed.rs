//! The directed scenarios of the negative controls: each drives a world to where one rule alone stands between it and harm.
//! Traces after `docs/protocol.md`, section 7.

use std::time::Duration;

use crdt::ids::{Epoch, TaskId};
use crdt::time::Timing;

use super::{
    Course, Missed, SOON, expect, five, knows, next_start, one_running, only, others, own_vote,
    submit, three, until, warm,
};
use crate::disk::DiskModel;
use crate::link::{Lanes, LinkModel};
use crate::plan::{Batch, Plan};
use crate::world::{Clocks, GuardPace, Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

/// Submits one task at a host while nobody takes tasks, and waits until all know it.
pub(super) fn parked_task(world: &mut World, host: usize, plan: Plan) -> Result<TaskId, Missed> {
    only(world, &[]);
    let task = submit(world, host, Batch::one(plan))?[0];
    until(world, SOON, "all know the task", |world| {
        (0..world.hosts()).all(|host| knows(world, host, task))
    })?;
    world.run_for(SECOND / 10);
    Ok(task)
}

/// n1. h1's vote reaches h0, which starts; h1 dies, the vote is lost, and h1 votes at the same epoch for h2.
pub(super) fn vote_lost(world: &mut World) -> Course {
    warm(world);
    let length = world.lease() * 4;
    parked_task(world, 2, Plan::succeed(length))?;
    for from in [0, 1] {
        world.cut_way(from, 2, Lanes::Gossip, Notice::Never);
    }
    let disk = world.setup().disks;
    world.set_disk(
        1,
        DiskModel {
            least: world.lease() / 5,
            mean: Duration::ZERO,
        },
    );
    world.undrain_host(0);
    next_start(world, SOON)?;
    world.crash_host(1, Some(SECOND / 50), Unsynced::Lost);
    world.isolate(0);
    world.set_disk(1, disk);
    world.mend_way(1, 2);
    world.undrain_host(2);
    world.run_for(world.lease());
    world.finish();
    Ok(())
}

/// n3. Each ack arrives 3/4 of a lease after it was sent; then heartbeats stop and only acks under way still arrive.
pub(super) fn late_acks(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    let length = world.lease() * 8;
    one_running(world, 0, Plan::succeed(length))?;
    world.cut(0, 2);
    world.slow_way(1, 0, Lanes::All, world.lease() * 3 / 4);
    world.undrain_host(2);
    world.run_for(world.lease() * 2);
    expect(
        world.oracle().tally().expired == 0,
        "late answers are enough",
    )?;
    world.cut_way(0, 1, Lanes::All, Notice::Never);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// n4. h2 lost its tie to h0's claim long ago and bids; h1, which answers h0 all the time, restarts.
pub(super) fn witness_restarts(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    let length = world.lease() * 6;
    one_running(world, 0, Plan::succeed(length))?;
    world.cut(0, 2);
    world.run_for(world.lease() * 3 / 2);
    world.undrain_host(2);
    world.run_for(world.lease() / 2);
    world.crash_node(1, Some(SECOND / 50), Unsynced::Lost);
    world.run_for(world.lease());
    world.finish();
    Ok(())
}

pub(super) fn crowded(seed: u64) -> Setup {
    Setup {
        cpu_milli: 2_000,
        ..three(seed)
    }
}

/// n5. h0 bids ahead of its room; what it holds and has not started expires while its node is stopped, is given up, and must stay so:
/// the guard has made room by then.
pub(super) fn held_expire(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    let long = world.lease() * 3;
    let mut batch = Batch::default();
    for _ in 0..24 {
        batch
            .add(Plan::succeed(Duration::from_millis(15)))
            .spec
            .priority += 2;
    }
    for _ in 0..2 {
        batch.add(Plan::succeed(long)).spec.priority += 1;
    }
    for _ in 0..10 {
        batch.add(Plan::succeed(long));
    }
    world.submit(0, batch);
    until(world, SOON, "the long tasks run", |world| {
        let tally = world.oracle().tally();
        tally.exits == 24 && tally.starts == 26
    })?;
    expect(
        world
            .replica(0)
            .is_some_and(|replica| replica.live_claims() > 2),
        "it bids ahead",
    )?;
    world.stop_node(0);
    world.run_for(world.lease() * 21 / 20);
    only(world, &[0, 1, 2]);
    world.resume(0);
    world.run_for(world.lease() * 2);
    world.finish();
    Ok(())
}

/// n7. h0's run ends while h0 reaches nobody; the others run the task again, so its outcome must not have counted.
pub(super) fn outcome_alone(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    let length = world.lease() / 2;
    one_running(world, 0, Plan::succeed(length))?;
    only(world, &[1, 2]);
    world.isolate(0);
    next_start(world, world.lease() * 4)?;
    expect(world.oracle().tally().exits == 1, "the first run had ended")?;
    world.finish();
    Ok(())
}

/// Leases so short that a bid outlives a witness's patience.
pub(super) fn hasty(seed: u64) -> Setup {
    let timing = Timing {
        heartbeat: Duration::from_millis(5),
        lease: Duration::from_millis(40),
        kill_margin: Duration::from_millis(5),
        kill_latency: Duration::from_millis(5),
        drift_ppm: 1_000,
        grain: Duration::from_millis(1),
        witness_wait: None,
    };
    let links = LinkModel {
        least: Duration::from_micros(50),
        mean: Duration::from_micros(50),
        ..LinkModel::default()
    };
    let disks = DiskModel {
        least: Duration::from_micros(50),
        mean: Duration::from_micros(50),
    };
    Setup {
        timing,
        links,
        disks,
        guards: GuardPace::Worst,
        ..three(seed)
    }
}

/// F1. h1 votes for h0 and, long silent, away from it to h2; h0 sees the first vote late, and an ack of after the second.
pub(super) fn stale_view(world: &mut World) -> Course {
    warm(world);
    let task = parked_task(world, 1, Plan::succeed(SECOND))?;
    for (from, to) in [(0, 2), (2, 0), (1, 2)] {
        world.cut_way(from, to, Lanes::Gossip, Notice::Never);
    }
    world.cut_way(0, 2, Lanes::Claims, Notice::Never);
    // h2's first bid arrives when h1 has voted for h0.
    world.slow_way(2, 1, Lanes::Gossip, Duration::from_millis(75));
    world.undrain_host(2);
    world.run_for(Duration::from_millis(60));
    world.slow_way(1, 0, Lanes::Gossip, Duration::from_millis(65));
    world.cut_way(0, 1, Lanes::Claims, Notice::Never);
    world.undrain_host(0);
    until(world, SECOND, "h1 votes for h0", |world| {
        own_vote(world, 1, task).is_some_and(|vote| vote.claimant == world.host(0).tag)
    })?;
    world.mend_way(2, 1);
    let away = world.until(SECOND / 10, |world| {
        own_vote(world, 1, task).is_some_and(|vote| vote.claimant == world.host(2).tag)
    });
    world.mend_way(1, 2);
    world.cut_way(0, 2, Lanes::All, Notice::Never);
    world.mend_way(0, 1);
    expect(away, "h1 votes away to h2")?;
    world.run_for(Duration::from_millis(150));
    world.finish();
    Ok(())
}

/// F3. h0, h1 and h2 accept; only h0 sees all three. h1 and two that voted later make the next majority: it must adopt.
pub(super) fn commit_seen_by_one(world: &mut World) -> Course {
    warm(world);
    let task = parked_task(world, 1, Plan::succeed(world.lease() * 2))?;
    for near in [0, 1, 2] {
        for far in [3, 4] {
            world.cut(near, far);
        }
    }
    only(world, &[0, 3, 4]);
    next_start(world, SOON)?;
    world.cut(1, 2);
    let later =
        |world: &World, host| own_vote(world, host, task).is_some_and(|vote| vote.epoch > Epoch(1));
    until(world, SOON, "h3 and h4 vote at later epochs", |world| {
        later(world, 3) && later(world, 4)
    })?;
    let accepted = |world: &World, host| {
        own_vote(world, host, task).is_some_and(|vote| vote.accepted.is_some())
    };
    until(world, SOON, "h1 and h2 accept", |world| {
        accepted(world, 1) && accepted(world, 2)
    })?;
    for to in [1, 2] {
        world.cut_way(0, to, Lanes::All, Notice::Never);
    }
    until(world, SOON, "h0 sees the commit", |world| {
        world.oracle().is_committed(task)
    })?;
    world.isolate(0);
    world.isolate(2);
    for far in [3, 4] {
        world.mend(1, far);
    }
    only(world, &[3, 4]);
    world.run_for(world.lease() * 4);
    world.finish();
    expect(
        world.oracle().tally().starts == 1,
        "the outcome is adopted, not made again",
    )
}

/// F5. h2 does not hear h0 and bids through h1, which relays; h0's vote for itself must not become free.
pub(super) fn rival_behind_relay(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    one_running(world, 0, Plan::succeed(world.lease() * 4))?;
    world.cut(0, 2);
    world.run_for(world.lease() * 3 / 2);
    world.undrain_host(2);
    world.run_for(world.lease() * 2);
    expect(world.oracle().tally().expired == 0, "h0 keeps its hold")?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "it runs once")
}

/// n8. Only h0 and h1 voted for h0. h1 is cut off and in time votes for h2, which never voted for h0 but answers it.
pub(super) fn non_voter_acks(world: &mut World) -> Course {
    warm(world);
    // All have voted in the segment before, and stated how long they wait.
    let before = submit(world, 1, Batch::one(Plan::succeed(SECOND / 10)))?[0];
    until(world, SOON, "it ends", |world| {
        world.oracle().is_committed(before)
    })?;
    world.run_for(SECOND / 2);
    parked_task(world, 1, Plan::succeed(world.lease() * 6))?;
    for (from, to) in [(0, 2), (2, 0), (1, 2)] {
        world.cut_way(from, to, Lanes::Gossip, Notice::Never);
    }
    world.undrain_host(0);
    next_start(world, SOON)?;
    world.undrain_host(2);
    world.run_for(world.lease());
    world.cut(0, 1);
    world.mend_way(1, 2);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// n6. The claimant's node stands still; nobody but a guard can end its run in time.
pub(super) fn node_stopped(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 5))?;
    world.stop_node(claimant);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// n6. The claimant's node dies; a guard ends its run before the node is back and gives the epoch up.
pub(super) fn node_killed(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 5))?;
    world.crash_node(claimant, Some(world.lease() * 2), Unsynced::Drawn);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// n5c. The node stands still between the order and the fork; the guard itself must look at the clock.
pub(super) fn stopped_before_fork(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::one(Plan::succeed(world.lease() * 3)));
    until(world, SOON, "a start is ordered", |world| {
        world.orders() > 0
    })?;
    let Some((claimant, _)) = world.last_order() else {
        return expect(false, "a start is ordered");
    };
    world.stop_node(claimant);
    next_start(world, world.lease() * 4)?;
    world.resume(claimant);
    world.run_for(SECOND);
    world.finish();
    Ok(())
}

/// F10. The claimant is cut off; its run must be dead when the witnesses' patience ends.
pub(super) fn isolated(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 4))?;
    world.isolate(claimant);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

pub(super) fn worst(seed: u64) -> Setup {
    let timing = Timing {
        grain: Duration::from_millis(1),
        ..three(seed).timing
    };
    let bound = i32::try_from(timing.drift_ppm).unwrap_or(0);
    Setup {
        timing,
        clocks: Clocks::Given(vec![-bound, bound, bound]),
        guards: GuardPace::Worst,
        links: LinkModel {
            least: Duration::from_micros(20),
            mean: Duration::from_micros(20),
            ..LinkModel::default()
        },
        disks: DiskModel {
            least: Duration::from_micros(20),
            mean: Duration::from_micros(20),
        },
        ..three(seed)
    }
}

/// The claimant is cut off from its only witness right after an answer, while a rival bids all the time.
pub(super) fn worst_case(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    one_running(world, 0, Plan::succeed(world.lease() * 8))?;
    world.cut(0, 2);
    world.undrain_host(2);
    let phase = Duration::from_millis(world.setup().seed * 137 % 1_000);
    world.run_for(world.lease() * 2 + phase);
    world.cut(0, 1);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// C8. The claimant's deadline comes while its documents still reach everybody: what it gives up must be dead.
pub(super) fn heartbeats_cut(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 8))?;
    for other in others(world, claimant) {
        world.cut_way(claimant, other, Lanes::Claims, Notice::Never);
        world.cut_way(other, claimant, Lanes::Claims, Notice::Never);
    }
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// N1. The window of a group holds mesh-wide.
pub(super) fn windowed(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::group(12, 2, Plan::succeed(SECOND / 2)));
    world.finish();
    expect(world.oracle().tally().commits == 12, "every member ends")
}

/// B1. Where there is little to do, little is done.
pub(super) fn little_to_do(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::one(Plan::succeed(SECOND)));
    world.run_for(SECOND * 5);
    world.finish();
    Ok(())
}

pub(super) fn slow_disks(seed: u64) -> Setup {
    let disks = DiskModel {
        least: Duration::from_millis(50),
        mean: Duration::ZERO,
    };
    Setup {
        disks,
        ..five(seed)
    }
}

/// D1. What was acknowledged as durable must be there after a power cut of everything.
pub(super) fn power_cut(world: &mut World) -> Course {
    warm(world);
    submit(world, 0, Batch::many(3, Plan::succeed(SECOND)))?;
    for host in 0..5 {
        world.crash_host(host, Some(SECOND / 10), Unsynced::Lost);
    }
    world.finish();
    Ok(())
}

/// C1. Replicas become equal by themselves, if documents reach them.
pub(super) fn nothing_special(world: &mut World) -> Course {
    warm(world);
    submit(world, 0, Batch::many(3, Plan::succeed(SECOND)))?;
    world.finish();
    Ok(())
}
