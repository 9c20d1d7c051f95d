//! The rules by which committees are replaced, broken one at a time.

use std::time::Duration;

use crdt::config::Sabotage;
use crdt::ids::{Generation, RunId};

use super::super::committees::{
    MINORITY_SIDE, members, minority_side, proposer_alone, replacements, spare,
};
use super::super::leases::LEFT_BEHIND;
use super::super::{
    Control, Course, Missed, SOON, Scenario, next_start, only, others, own_vote, submit, until,
    warm,
};
use super::rule;
use crate::link::Lanes;
use crate::oracle::Judge;
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::{Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

const CUT_OFF_AT_THE_SEAL: Scenario = Scenario {
    name: "cut_off_at_the_seal",
    about: "a claimant sees its voters sealed and nothing of what follows; they and their acks are there",
    setup: spare,
    script: at_the_seal,
};

const CUT_OFF_BEFORE_THE_SEAL: Scenario = Scenario {
    name: "cut_off_before_the_seal",
    about: "a claimant that hears nothing any more runs until its lease ends; another committee is there long before",
    setup: lasting,
    script: before_the_seal,
};

/// Every control of this file.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "seals_ignored",
        rule: "M2",
        breaks: |setup| rule(setup, Sabotage::SealsIgnored),
        judge: Judge::S1,
        scenario: CUT_OFF_AT_THE_SEAL,
    },
    Control {
        name: "minority_replaces",
        rule: "M4",
        breaks: |setup| rule(setup, Sabotage::MinorityReplaces),
        judge: Judge::S1,
        scenario: Scenario {
            script: minority_side,
            ..MINORITY_SIDE
        },
    },
    Control {
        name: "basis_empty",
        rule: "M5",
        breaks: |setup| rule(setup, Sabotage::BasisEmpty),
        judge: Judge::S3,
        scenario: Scenario {
            name: "accepts_that_only_the_claimant_saw",
            about: "a claimant alone has seen a majority of accepts, and dies; of those only one member is left when the committee is replaced",
            setup: spare,
            script: accepts_apart,
        },
    },
    Control {
        name: "basis_binds_nobody",
        rule: "M6",
        breaks: |setup| rule(setup, Sabotage::BasisBindsNobody),
        judge: Judge::S1,
        scenario: CUT_OFF_BEFORE_THE_SEAL,
    },
    Control {
        name: "wait_left_behind",
        rule: "M6, R5",
        breaks: |setup| rule(setup, Sabotage::WaitLeftBehind),
        judge: Judge::S1,
        scenario: LEFT_BEHIND,
    },
    Control {
        name: "change_abandoned",
        rule: "M9",
        breaks: |setup| rule(setup, Sabotage::ChangeAbandoned),
        judge: Judge::L1,
        scenario: Scenario {
            name: "proposer_stays_away",
            about: "whoever asked for another committee dies for good when all of its members are sealed",
            setup: spare,
            script: proposer_alone,
        },
    },
];

/// Leases of a minute: a replacement takes a small part of one.
fn lasting(seed: u64) -> Setup {
    Setup {
        timing: crdt::time::Timing::with_lease(SECOND, SECOND * 60, 10_000),
        ..spare(seed)
    }
}

/// Lets h0 run a task of its own for long, and the others after it.
fn running_at_home(world: &mut World) -> Result<RunId, Missed> {
    only(world, &[0]);
    world.submit(0, Batch::one(Plan::succeed(world.lease() * 8)));
    let (_, run) = next_start(world, SOON)?;
    let rest = others(world, 0);
    only(world, &rest);
    Ok(run)
}

/// M2. h0 holds with one other member; the third, which saw nothing of it, is drained, and is sealed before it could vote. h0
/// sees that its voter is sealed, and hears acks only from then on.
fn at_the_seal(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    let first = submit(world, 0, Batch::one(Plan::succeed(SECOND / 10)))?[0];
    let mut sits = members(world, 0, first);
    sits.retain(|host| *host != 0);
    let (voter, other) = (sits[0], sits[1]);
    for host in others(world, other) {
        world.cut_way(host, other, Lanes::Gossip, Notice::Never);
    }
    world.submit(0, Batch::one(Plan::succeed(world.lease() * 8)));
    let (_, run) = next_start(world, SOON)?;
    let rest = others(world, 0);
    only(world, &rest);
    for host in &rest {
        world.cut_way(0, *host, Lanes::Gossip, Notice::Never);
    }
    world.retire_host(other, true);
    until(world, SOON, "another committee is asked for", |world| {
        (0..world.hosts()).any(|h| world.replica(h).is_some_and(|r| r.counters().motions > 0))
    })?;
    for host in others(world, other) {
        world.mend_way(host, other);
    }
    let tag = world.host(voter).tag;
    until(world, SOON, "its voter is sealed", |world| {
        let replica = world.replica(0);
        replica.is_some_and(|replica| {
            let later = replica.generation(run.task) > Some(Generation::FIRST);
            later || replica.sealed(run.task).contains(&tag)
        })
    })?;
    for host in rest {
        world.cut_way(host, 0, Lanes::Gossip, Notice::Never);
    }
    world.run_for(world.lease() * 5);
    world.finish();
    Ok(())
}

/// M6. h0 is cut off; its voters hand over to the spare hosts well before its lease can have ended.
fn before_the_seal(world: &mut World) -> Course {
    warm(world);
    let run = running_at_home(world)?;
    let rest = others(world, 0);
    world.split(&[&[0], &rest]);
    for member in members(world, 1, run.task).into_iter().filter(|h| *h != 0) {
        world.retire_host(member, true);
    }
    until(
        world,
        world.lease() / 2,
        "the committee is replaced",
        |world| replacements(world, run.task) > 0,
    )?;
    world.run_for(world.lease() * 3);
    world.finish();
    Ok(())
}

/// M5. A host that is no member claims; two members accept its outcome and do not hear of each other.
fn accepts_apart(world: &mut World) -> Course {
    warm(world);
    let before = submit(world, 0, Batch::one(Plan::succeed(SECOND / 10)))?[0];
    let sits = members(world, 0, before);
    let claimant = (0..world.hosts()).find(|host| !sits.contains(host));
    let claimant: HostIx = claimant.ok_or(Missed("a host that is no member"))?;
    world.run_for(SECOND);
    only(world, &[claimant]);
    world.submit(0, Batch::one(Plan::succeed(SECOND)));
    let (_, run) = next_start(world, SOON)?;
    let [first, second] = [sits[0], sits[1]];
    let far: Vec<HostIx> = (0..world.hosts())
        .filter(|h| ![claimant, first, second].contains(h))
        .collect();
    world.split(&[&[claimant, first, second], &far]);
    for (from, to) in [(first, second), (second, first)] {
        world.cut_way(from, to, Lanes::Gossip, Notice::Never);
    }
    until(world, SOON, "both accept its end", |world| {
        [first, second].iter().all(|host| {
            own_vote(world, *host, run.task).is_some_and(|vote| vote.accepted.is_some())
        })
    })?;
    for to in [first, second] {
        world.cut_way(claimant, to, Lanes::Gossip, Notice::Never);
    }
    until(world, SOON, "the claimant sees it", |world| {
        world.oracle().is_committed(run.task)
    })?;
    world.crash_host(claimant, None, Unsynced::Drawn);
    world.crash_host(first, None, Unsynced::Drawn);
    world.heal_links();
    let rest: Vec<HostIx> = (0..world.hosts())
        .filter(|h| *h != claimant && *h != first)
        .collect();
    only(world, &rest);
    let third = sits
        .iter()
        .copied()
        .find(|h| ![claimant, first, second].contains(h));
    world.retire_host(third.unwrap_or(second), true);
    until(world, SOON, "the committee is replaced", |world| {
        replacements(world, run.task) > 0
    })?;
    world.run_for(world.lease() * 6);
    world.start_node(first, Duration::ZERO);
    world.start_node(claimant, Duration::ZERO);
    world.finish();
    Ok(())
}
