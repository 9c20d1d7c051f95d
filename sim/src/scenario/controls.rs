//! Negative controls: for each rule a directed scenario that needs it. Played with the rule broken, the judge that the rule
//! serves must see it; played with the rule kept, the very same script must pass. Traces after `docs/protocol.md`, section 7.

use std::time::Duration;

use crdt::config::Sabotage;
use crdt::ids::{Epoch, TaskId};
use crdt::time::Timing;

use super::{
    Control, Course, SOON, Scenario, expect, five, knows, next_start, one_running, only, own_vote,
    submit, three, until, warm, with_guard,
};
use crate::disk::DiskModel;
use crate::host::GuardFlaw;
use crate::link::{Lanes, LinkModel};
use crate::oracle::Judge;
use crate::plan::{Batch, Plan};
use crate::world::{Clocks, Flaw, GuardPace, Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

fn rule(setup: Setup, rule: Sabotage) -> Setup {
    Setup {
        flaw: Some(Flaw::Rule(rule)),
        ..setup
    }
}

/// Every negative control.
pub const CONTROLS: &[Control] = &[
    Control {
        name: "votes_not_durable",
        breaks: |setup| rule(setup, Sabotage::VotesNotDurable),
        judge: Judge::S1,
        scenario: Scenario {
            name: "vote_lost_in_a_crash",
            about: "a witness dies between its vote and its sync",
            setup: three,
            script: vote_lost,
        },
    },
    Control {
        name: "lease_from_receipt",
        breaks: |setup| rule(setup, Sabotage::LeaseFromReceipt),
        judge: Judge::S1,
        scenario: Scenario {
            name: "late_acks",
            about: "acks arrive most of a lease late, then heartbeats are cut",
            setup: three,
            script: late_acks,
        },
    },
    Control {
        name: "restart_not_ack",
        breaks: |setup| rule(setup, Sabotage::RestartNotAck),
        judge: Judge::S1,
        scenario: Scenario {
            name: "deciding_witness_restarts",
            about: "the one witness that answers restarts while a rival bids",
            setup: three,
            script: witness_restarts,
        },
    },
    Control {
        name: "no_latch",
        breaks: |setup| rule(setup, Sabotage::NoLatch),
        judge: Judge::S1,
        scenario: Scenario {
            name: "held_tasks_expire",
            about: "holds that wait for room are lost in a split; then acks come again",
            setup: crowded,
            script: held_expire,
        },
    },
    Control {
        name: "first_outcome_wins",
        breaks: |setup| rule(setup, Sabotage::FirstOutcomeWins),
        judge: Judge::S3,
        scenario: Scenario {
            name: "outcome_in_isolation",
            about: "a run ends where nobody hears of it",
            setup: three,
            script: outcome_alone,
        },
    },
    Control {
        name: "stale_left",
        breaks: |setup| rule(setup, Sabotage::StaleLeft),
        judge: Judge::S1,
        scenario: Scenario {
            name: "stale_view_of_a_vote",
            about: "a witness votes away; the claimant sees its old vote and its new ack",
            setup: hasty,
            script: stale_view,
        },
    },
    Control {
        name: "accepts_dropped",
        breaks: |setup| rule(setup, Sabotage::AcceptsDropped),
        judge: Judge::S3,
        scenario: COMMIT_SEEN_BY_ONE,
    },
    Control {
        name: "no_adoption",
        breaks: |setup| rule(setup, Sabotage::NoAdoption),
        judge: Judge::S3,
        scenario: COMMIT_SEEN_BY_ONE,
    },
    Control {
        name: "self_timeout",
        breaks: |setup| rule(setup, Sabotage::SelfTimeout),
        judge: Judge::S1,
        scenario: Scenario {
            name: "rival_behind_a_relay",
            about: "a rival that does not hear the claimant bids through a third host",
            setup: three,
            script: rival_behind_relay,
        },
    },
    Control {
        name: "any_acks",
        breaks: |setup| rule(setup, Sabotage::AnyAcks),
        judge: Judge::S1,
        scenario: Scenario {
            name: "acks_of_a_non_voter",
            about: "the voter is cut off; a member that never voted answers",
            setup: three,
            script: non_voter_acks,
        },
    },
    Control {
        name: "no_guard",
        breaks: |setup| with_guard(setup, GuardFlaw::Absent),
        judge: Judge::S1,
        scenario: Scenario {
            name: "node_stopped",
            about: "the claimant's node stands still beyond its lease",
            setup: three,
            script: node_stopped,
        },
    },
    Control {
        name: "orphans_live_on",
        breaks: |setup| with_guard(setup, GuardFlaw::Absent),
        judge: Judge::S1,
        scenario: Scenario {
            name: "node_killed",
            about: "the claimant's node dies and comes back",
            setup: three,
            script: node_killed,
        },
    },
    Control {
        name: "no_start_check",
        breaks: |setup| with_guard(setup, GuardFlaw::NoStartCheck),
        judge: Judge::S1,
        scenario: Scenario {
            name: "stopped_before_the_fork",
            about: "the node stands still between the order and the start",
            setup: three,
            script: stopped_before_fork,
        },
    },
    Control {
        name: "kill_beyond_its_bound",
        breaks: |setup| with_guard(setup, GuardFlaw::Slow),
        judge: Judge::S1,
        scenario: Scenario {
            name: "claimant_isolated",
            about: "the claimant is cut off while it runs",
            setup: three,
            script: isolated,
        },
    },
    Control {
        name: "witness_wait_below_the_formula",
        breaks: short_wait,
        judge: Judge::S1,
        scenario: Scenario {
            name: "worst_clocks",
            about: "the claimant's clock is slow, the witness's fast, every kill takes its bound",
            setup: worst,
            script: worst_case,
        },
    },
    Control {
        name: "disk_lies",
        breaks: |setup| Setup {
            flaw: Some(Flaw::DiskLies),
            ..setup
        },
        judge: Judge::D1,
        scenario: Scenario {
            name: "power_cut_after_ack",
            about: "all hosts lose their power right after an acknowledgement",
            setup: slow_disks,
            script: power_cut,
        },
    },
];

const COMMIT_SEEN_BY_ONE: Scenario = Scenario {
    name: "commit_seen_by_one",
    about: "a majority accepts, only the claimant sees it, and is cut off with one of them",
    setup: five,
    script: commit_seen_by_one,
};

/// Submits one task at a host while nobody takes tasks, and waits until all know it.
fn parked_task(world: &mut World, host: usize, plan: Plan) -> Result<TaskId, super::Missed> {
    only(world, &[]);
    let task = submit(world, host, Batch::one(plan))?[0];
    until(world, SOON, "all know the task", |world| {
        (0..world.hosts()).all(|host| knows(world, host, task))
    })?;
    world.run_for(SECOND / 10);
    Ok(task)
}

/// n1. h1's vote reaches h0, which starts; h1 dies, the vote is lost, and h1 votes at the same epoch for h2.
fn vote_lost(world: &mut World) -> Course {
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
fn late_acks(world: &mut World) -> Course {
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
fn witness_restarts(world: &mut World) -> Course {
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

fn crowded(seed: u64) -> Setup {
    Setup {
        cpu_milli: 2_000,
        ..three(seed)
    }
}

/// n5. h0 bids ahead of its room; what it holds and has not started expires in a split, is given up, and must stay so.
fn held_expire(world: &mut World) -> Course {
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
    world.isolate(0);
    world.run_for(world.lease() * 21 / 20);
    only(world, &[0, 1, 2]);
    world.heal_links();
    world.run_for(world.lease() * 2);
    world.finish();
    Ok(())
}

/// n7. h0's run ends while h0 reaches nobody; the others run the task again, so its outcome must not have counted.
fn outcome_alone(world: &mut World) -> Course {
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
fn hasty(seed: u64) -> Setup {
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
fn stale_view(world: &mut World) -> Course {
    warm(world);
    let task = parked_task(world, 1, Plan::succeed(SECOND))?;
    for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        world.cut_way(from, to, Lanes::Gossip, Notice::Never);
    }
    world.cut_way(0, 2, Lanes::Claims, Notice::Never);
    world.undrain_host(2);
    world.run_for(Duration::from_millis(60));
    world.slow_way(1, 0, Lanes::Gossip, Duration::from_millis(65));
    world.cut_way(0, 1, Lanes::Claims, Notice::Never);
    world.undrain_host(0);
    until(world, SECOND, "h1 votes for h0", |world| {
        own_vote(world, 1, task).is_some_and(|vote| vote.claimant == world.host(0).tag)
    })?;
    world.mend_way(2, 1);
    world.mend_way(1, 2);
    let away = world.until(SECOND / 10, |world| {
        own_vote(world, 1, task).is_some_and(|vote| vote.claimant == world.host(2).tag)
    });
    world.cut_way(0, 2, Lanes::All, Notice::Never);
    world.mend_way(0, 1);
    if away {
        world.run_for(Duration::from_millis(150));
    }
    world.finish();
    Ok(())
}

/// F3. h0, h1 and h2 accept; only h0 sees all three. h1 and two that voted later make the next majority: it must adopt.
fn commit_seen_by_one(world: &mut World) -> Course {
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
fn rival_behind_relay(world: &mut World) -> Course {
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
fn non_voter_acks(world: &mut World) -> Course {
    warm(world);
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
fn node_stopped(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 5))?;
    world.stop_node(claimant);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// n6. The claimant's node dies; a guard ends its run before the node is back and gives the epoch up.
fn node_killed(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 5))?;
    world.crash_node(claimant, Some(SECOND / 20), Unsynced::Drawn);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

/// n5c. The node stands still between the order and the fork; the guard itself must look at the clock.
fn stopped_before_fork(world: &mut World) -> Course {
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
fn isolated(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 4))?;
    world.isolate(claimant);
    next_start(world, world.lease() * 4)?;
    world.finish();
    Ok(())
}

fn worst(seed: u64) -> Setup {
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

/// The least wait, less 2 %: of a lease of 2 s, 41 ms.
fn short_wait(setup: Setup) -> Setup {
    let wait = setup.timing.least_wait() * 98 / 100;
    Setup {
        timing: Timing {
            witness_wait: Some(wait),
            ..setup.timing
        },
        ..setup
    }
}

/// The claimant is cut off from its only witness right after an answer, while a rival bids all the time.
fn worst_case(world: &mut World) -> Course {
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

fn slow_disks(seed: u64) -> Setup {
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
fn power_cut(world: &mut World) -> Course {
    warm(world);
    submit(world, 0, Batch::many(3, Plan::succeed(SECOND)))?;
    for host in 0..5 {
        world.crash_host(host, Some(SECOND / 10), Unsynced::Lost);
    }
    world.finish();
    Ok(())
}
