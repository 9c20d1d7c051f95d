//! Scenarios in which hosts go by different leases: the mesh's setting is changed where not all hear of it, or hosts were started
//! with other options. A claimant's hold lasts no longer than its witnesses wait (rule R5).

use std::time::Duration;

use crdt::event::Reply;
use crdt::ids::RunId;
use crdt::time::Timing;

use super::committees::{members, replacements};
use super::{
    Course, SOON, Scenario, expect, next_start, one_running, only, others, submit, three, until,
    warm,
};
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::{Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);
/// Lease of the mesh that is told to have shorter ones.
const LONG: Duration = Duration::from_secs(16);

pub(super) const SCENARIOS: &[Scenario] = &[
    RAISED,
    LOWERED,
    LEFT_BEHIND,
    Scenario {
        name: "lease_raised_for_all",
        about: "every host hears of a longer lease: runs outlive a cut that the old one would not have let them outlive",
        setup: three,
        script: raised_for_all,
    },
    Scenario {
        name: "lease_lowered_for_all",
        about: "every host hears of a shorter lease: what is submitted then is taken over sooner",
        setup: long,
        script: lowered_for_all,
    },
    Scenario {
        name: "host_started_with_a_longer_lease",
        about: "one host alone was started with eight times the lease of the others, and is cut off from them",
        setup: one_longer,
        script: |world| cut_off(world, |_, _| ()),
    },
    Scenario {
        name: "hosts_started_again_with_shorter_leases",
        about: "a claimant is cut off; the others are started again with a fraction of its lease",
        setup: long,
        script: |world| cut_off(world, start_again_shorter),
    },
];

/// On one side of a split a longer lease is set.
pub(super) const RAISED: Scenario = Scenario {
    name: "lease_raised_behind_a_split",
    about: "a claimant is cut off, and told there that leases last eight times as long",
    setup: three,
    script: |world| {
        cut_off(world, |world, _| {
            world.set(0, "lease", Some("16000ms"));
        })
    },
};

/// On the other side of a split a shorter lease is set, and its hosts start again.
pub(super) const LOWERED: Scenario = Scenario {
    name: "lease_lowered_behind_a_split",
    about: "a claimant is cut off; the others are told that leases are an eighth as long, and start again",
    setup: long,
    script: |world| {
        cut_off(world, |world, run| {
            world.set(1, "lease", Some("2000ms"));
            world.run_for(SECOND);
            for host in others(world, 0) {
                world.crash_host(host, Some(SECOND / 2), Unsynced::Lost);
            }
            world.run_for(SECOND);
            // Whatever is said of the task, they look at it anew.
            world.hold(1, &[run.task], true);
            world.run_for(SECOND);
            world.hold(1, &[run.task], false);
        })
    },
};

/// A shorter lease is set while the members change.
pub(super) const LEFT_BEHIND: Scenario = Scenario {
    name: "lease_lowered_as_members_change",
    about: "a claimant is cut off; the others are told of leases an eighth as long, and others take their places",
    setup: long_of_five,
    script: members_change,
};

fn times(lease: Duration) -> Timing {
    Timing {
        lease,
        ..Setup::new(0, 3).timing
    }
}

fn long(seed: u64) -> Setup {
    Setup {
        timing: times(LONG),
        ..three(seed)
    }
}

fn long_of_five(seed: u64) -> Setup {
    Setup {
        committee: 3,
        timing: times(LONG),
        ..Setup::new(seed, 5)
    }
}

fn one_longer(seed: u64) -> Setup {
    let usual = three(seed);
    let lease = usual.timing.lease;
    Setup {
        leases: vec![LONG, lease, lease],
        ..usual
    }
}

/// h0 runs something for long and is cut off; then something happens, and the others take the task over.
fn cut_off(world: &mut World, meanwhile: impl FnOnce(&mut World, RunId)) -> Course {
    warm(world);
    only(world, &[0]);
    let (_, run) = one_running(world, 0, Plan::succeed(LONG * 3))?;
    let rest = others(world, 0);
    only(world, &rest);
    world.run_for(SECOND);
    world.isolate(0);
    meanwhile(world, run);
    let (host, _) = next_start(world, LONG * 3)?;
    expect(host != 0, "another host takes it over")?;
    expect(
        world.oracle().tally().expired == 1,
        "the first run was killed before",
    )?;
    world.run_for(LONG);
    world.finish();
    Ok(())
}

fn start_again_shorter(world: &mut World, _: RunId) {
    for host in others(world, 0) {
        world.start_with_lease(host, Setup::new(0, 3).timing.lease);
        world.crash_host(host, Some(SECOND / 2), Unsynced::Lost);
    }
}

fn members_change(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    let (_, run) = one_running(world, 0, Plan::succeed(LONG * 3))?;
    let rest = others(world, 0);
    only(world, &rest);
    world.run_for(SECOND);
    world.isolate(0);
    world.set(1, "lease", Some("2000ms"));
    let sits = members(world, 1, run.task);
    for member in sits.into_iter().filter(|host| *host != 0) {
        world.retire_host(member, true);
    }
    until(world, LONG / 4, "the committee is replaced", |world| {
        replacements(world, run.task) > 0
    })?;
    let (host, _) = next_start(world, LONG * 3)?;
    expect(host != 0, "another host takes it over")?;
    world.run_for(LONG);
    world.finish();
    Ok(())
}

fn goes_by(world: &World, host: HostIx, lease: Duration) -> bool {
    let timing = world.replica(host).map(|replica| *replica.timing());
    timing.is_some_and(|timing| timing.lease == lease)
}

/// Sets a lease of which all hear.
fn set_for_all(world: &mut World, lease: Duration) -> Course {
    let told = world.set(1, "lease", Some(&format!("{}ms", lease.as_millis())));
    until(world, SOON, "all go by it", |world| {
        (0..world.hosts()).all(|host| goes_by(world, host, lease))
    })?;
    expect(
        matches!(world.reply(told), Some(Reply::Noted { .. })),
        "the person is told",
    )
}

fn raised_for_all(world: &mut World) -> Course {
    warm(world);
    let old = world.lease();
    let (claimant, run) = one_running(world, 0, Plan::succeed(old * 8))?;
    for absurd in ["300ms", "90000000ms"] {
        let refused = world.set(0, "lease", Some(absurd));
        world.run_for(SECOND);
        expect(
            matches!(world.reply(refused), Some(Reply::Refused(_))),
            "what is unsafe is refused",
        )?;
    }
    set_for_all(world, old * 4)?;
    world.run_for(SECOND);
    world.isolate(claimant);
    world.run_for(old * 2);
    world.heal_links();
    until(world, old * 20, "it ends", |world| {
        world.oracle().is_committed(run.task)
    })?;
    world.finish();
    expect(world.oracle().tally().expired == 0, "no run was killed")?;
    expect(world.oracle().tally().starts == 1, "it ran once")
}

fn lowered_for_all(world: &mut World) -> Course {
    warm(world);
    let short = world.lease() / 8;
    set_for_all(world, short)?;
    only(world, &[0]);
    let lasting = Plan::succeed(world.lease());
    let run = submit(world, 1, Batch::one(lasting))?;
    next_start(world, SOON)?;
    let rest = others(world, 0);
    only(world, &rest);
    world.run_for(SECOND);
    world.isolate(0);
    next_start(world, world.lease() / 2)?;
    world.heal_links();
    world.finish();
    expect(world.oracle().is_committed(run[0]), "it ends")
}
