//! Scenarios of clocks, disks and links that behave worse than usual, within what is assumed of them.

use std::time::Duration;

use super::{
    Course, SOON, Scenario, expect, five, next_start, one_running, only, others, submit, three,
    until, warm,
};
use crate::disk::DiskModel;
use crate::link::Lanes;
use crate::plan::{Batch, Plan};
use crate::world::{Clocks, GuardPace, Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "rates_flip_in_mid_lease",
        about: "clocks go from one end of the bound to the other while claims are held and lost",
        setup: drifting,
        script: rates_flip,
    },
    Scenario {
        name: "wall_clock_jumps_on_claimant_and_witness",
        about: "wall clocks jump by hours while a run is taken over",
        setup: three,
        script: walls_jump,
    },
    Scenario {
        name: "own_beats_of_an_earlier_start_come_back",
        about: "a node restarts, its wall clock goes back, and a peer tells it what it wrote before",
        setup: late_third,
        script: old_beats,
    },
    Scenario {
        name: "slow_disk_on_the_claimant",
        about: "each sync takes longer than a lease, then the disk is itself again",
        setup: three,
        script: slow_disk,
    },
    Scenario {
        name: "all_disks_full",
        about: "no disk has room while tasks run and come; then all have",
        setup: three,
        script: all_full,
    },
    Scenario {
        name: "disk_full_then_power_cut",
        about: "a host with a full disk loses its power in the middle of work",
        setup: three,
        script: full_then_cut,
    },
    Scenario {
        name: "witness_slow_to_sync_dies",
        about: "a witness dies again and again between its votes and their sync",
        setup: three,
        script: dies_before_sync,
    },
    Scenario {
        name: "swizzled_links",
        about: "hosts are cut off one by one and come back in another order",
        setup: five,
        script: swizzle,
    },
    Scenario {
        name: "garbage_among_claims",
        about: "every host gets nonsense and twisted frames while claims are made and taken over",
        setup: five,
        script: garbage,
    },
    Scenario {
        name: "forged_frames",
        about: "a peer passes on what somebody signed who goes by a member's name without its key",
        setup: five,
        script: forged,
    },
];

fn drifting(seed: u64) -> Setup {
    Setup {
        clocks: Clocks::Ends,
        guards: GuardPace::Worst,
        ..three(seed)
    }
}

fn rates_flip(world: &mut World) -> Course {
    warm(world);
    let bound = i32::try_from(world.setup().timing.drift_ppm).unwrap_or(0);
    for round in 0..4 {
        let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 3))?;
        for flip in 0..6 {
            world.run_for(world.lease() / 5);
            for host in 0..3 {
                let fast = (host + flip) % 2 == 0;
                world.set_rate(host, if fast { bound } else { -bound });
            }
            if flip == 3 && round % 2 == 0 {
                world.isolate(claimant);
            }
        }
        world.run_for(world.lease() * 3);
        world.heal_links();
        world.run_for(world.lease() * 2);
    }
    world.finish();
    let tally = world.oracle().tally();
    expect(tally.reruns > 0, "somebody takes over")?;
    expect(tally.commits == 4, "every task ends")
}

fn walls_jump(world: &mut World) -> Course {
    warm(world);
    let (claimant, _) = one_running(world, 0, Plan::succeed(world.lease() * 3))?;
    let rest = others(world, claimant);
    world.isolate(claimant);
    world.run_for(world.lease() / 3);
    world.step_wall(rest[0], 8 * 3_600_000);
    world.step_wall(rest[1], -2 * 3_600_000);
    world.step_wall(claimant, -8 * 3_600_000);
    next_start(world, world.lease() * 4)?;
    world.finish();
    expect(world.oracle().tally().commits == 1, "it ends")
}

/// Clocks that agree, and h2 started so that its first beat of each minute comes in the middle of a second.
fn late_third(seed: u64) -> Setup {
    Setup {
        clocks: Clocks::Ideal,
        late: vec![2],
        ..three(seed)
    }
}

/// Beats are in no log: h2 does not know what it wrote in this minute before its restart, and by the clock that it has now that
/// lies ahead. It has written anew when it hears from the others again, and is told its own old beats with all that it missed.
fn old_beats(world: &mut World) -> Course {
    world.run_for(Duration::from_millis(9_500));
    world.start_node(2, Duration::ZERO);
    world.run_until(Duration::from_millis(62_500));
    for from in [0, 1] {
        world.cut_way(from, 2, Lanes::Gossip, Notice::Never);
    }
    world.crash_node(2, Some(SECOND / 20), Unsynced::Drawn);
    world.run_for(SECOND);
    world.step_wall(2, -4_000);
    world.run_for(SECOND * 3 / 2);
    let known = |world: &World| {
        let replica = world.replica(2);
        replica.map_or(0, |replica| replica.counters().known_changes)
    };
    let before = known(world);
    for from in [0, 1] {
        world.mend_way(from, 2);
    }
    world.run_for(SECOND * 12);
    expect(known(world) > before, "it is told what it wrote before")?;
    world.submit(0, Batch::many(3, Plan::succeed(SECOND)));
    world.finish();
    expect(world.oracle().tally().commits == 3, "every task ends")
}

fn slow_disk(world: &mut World) -> Course {
    warm(world);
    let usual = world.setup().disks;
    only(world, &[0]);
    one_running(world, 1, Plan::succeed(world.lease() * 2))?;
    world.set_disk(
        0,
        DiskModel {
            least: world.lease() * 3 / 2,
            mean: Duration::ZERO,
        },
    );
    only(world, &[0, 1, 2]);
    world.submit(1, Batch::many(6, Plan::succeed(SECOND)));
    world.run_for(world.lease() * 5);
    world.set_disk(0, usual);
    world.finish();
    expect(world.oracle().tally().commits == 7, "every task ends")
}

fn all_full(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(6, Plan::succeed(world.lease())));
    next_start(world, SOON)?;
    for host in 0..3 {
        world.fill_disk(host);
    }
    let starts = world.orders();
    world.submit(1, Batch::many(4, Plan::succeed(SECOND)));
    world.run_for(world.lease() * 3);
    let held = world.oracle().tally();
    expect(
        held.commits == 0 && starts >= 1,
        "nothing is committed on full disks",
    )?;
    for host in 0..3 {
        world.free_disk(host);
    }
    world.finish();
    expect(world.oracle().tally().commits == 10, "every task ends")
}

fn full_then_cut(world: &mut World) -> Course {
    warm(world);
    for victim in 0..3 {
        world.submit((victim + 1) % 3, Batch::many(4, Plan::succeed(SECOND)));
        next_start(world, SOON)?;
        world.fill_disk(victim);
        world.run_for(SECOND / 2);
        world.crash_host(victim, Some(SECOND / 5), Unsynced::Drawn);
        world.run_for(SECOND);
        world.free_disk(victim);
        world.run_for(SECOND * 2);
    }
    world.finish();
    expect(world.oracle().tally().commits == 12, "every task ends")
}

fn dies_before_sync(world: &mut World) -> Course {
    warm(world);
    world.set_disk(
        1,
        DiskModel {
            least: world.lease() / 5,
            mean: Duration::ZERO,
        },
    );
    for round in 0..6 {
        world.submit([0, 2][round % 2], Batch::many(2, Plan::succeed(SECOND)));
        until(world, SOON, "the witness writes", |world| {
            world.host(1).disk.backlog() > 0
        })?;
        world.run_for(world.lease() / 10);
        world.crash_host(1, Some(SECOND / 20), Unsynced::Lost);
        world.run_for(world.lease());
    }
    world.finish();
    expect(world.oracle().tally().commits == 12, "every task ends")
}

fn swizzle(world: &mut World) -> Course {
    warm(world);
    world.submit(0, Batch::many(10, Plan::succeed(world.lease())));
    next_start(world, SOON)?;
    for (away, back) in [([3, 1, 4], [1, 4, 3]), ([0, 2, 1], [2, 1, 0])] {
        for host in away {
            world.isolate(host);
            world.run_for(world.lease() / 3);
        }
        for host in back {
            for other in others(world, host) {
                world.mend(host, other);
            }
            world.run_for(world.lease() / 3);
        }
    }
    world.finish();
    expect(world.oracle().tally().commits == 10, "every task ends")
}

fn garbage(world: &mut World) -> Course {
    warm(world);
    submit(world, 0, Batch::many(8, Plan::succeed(world.lease())))?;
    let (claimant, _) = next_start(world, SOON)?;
    for round in 0..40 {
        for to in 0..5 {
            world.send_garbage((to + 1 + round % 4) % 5, to);
        }
        world.run_for(world.lease() / 20);
        if round == 20 {
            world.crash_host(claimant, Some(world.lease() * 2), Unsynced::Drawn);
        }
    }
    world.finish();
    let bad = (0..5)
        .filter_map(|host| world.replica(host))
        .map(|replica| {
            let counters = replica.counters();
            counters.bad_frames + counters.refused_changes + counters.known_changes
        })
        .sum::<u64>();
    expect(bad > 0, "nonsense is counted")?;
    expect(world.oracle().tally().commits == 8, "every task ends")
}

fn forged(world: &mut World) -> Course {
    warm(world);
    submit(world, 0, Batch::many(8, Plan::succeed(world.lease())))?;
    for round in 0..20 {
        for to in 0..5 {
            world.send_forged((to + 1 + round % 4) % 5, to);
        }
        world.run_for(world.lease() / 10);
    }
    world.finish();
    let refused = |host| {
        let replica = world.replica(host);
        replica.map_or(0, |replica| replica.counters().refused_changes)
    };
    let least = (0..5).map(refused).min().unwrap_or(0);
    expect(least > 0, "every host refuses what is forged")?;
    let tally = world.oracle().tally();
    expect(
        (tally.starts, tally.reruns, tally.commits) == (8, 0, 8),
        "nothing forged counts, and each task runs once",
    )
}
