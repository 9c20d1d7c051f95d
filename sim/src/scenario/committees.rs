//! Scenarios of committees that are replaced: because a host is drained, forgotten, or silent for long; in the middle of runs,
//! across splits, and when the one who asks for it dies.

use std::time::Duration;

use crdt::ids::TaskId;
use crdt::task::OnLost;
use crdt::time::Timing;

use super::{
    Course, SOON, Scenario, expect, five, next_start, one_running, only, others, submit, three,
    until, warm,
};
use crate::link::Lanes;
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::world::{Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "drained_member_hands_over",
        about: "a member of the committee is drained under a run: another takes its place, and the run goes on",
        setup: spare,
        script: drained,
    },
    Scenario {
        name: "every_host_drained_in_turn",
        about: "each host is drained until nothing rests on it, dies, and comes back, while work goes on",
        setup: spare,
        script: in_turn,
    },
    Scenario {
        name: "only_member_hands_over",
        about: "a committee of one is drained, and its disk goes with it",
        setup: alone,
        script: only_member,
    },
    Scenario {
        name: "silent_members_are_replaced_one_by_one",
        about: "two of three members die for good, one long after the other: the committee outlives a majority of its first members",
        setup: impatient,
        script: one_by_one,
    },
    Scenario {
        name: "forgotten_member_is_replaced",
        about: "a member dies, and a person says that it will not come back",
        setup: spare,
        script: forgotten,
    },
    Scenario {
        name: "forgotten_and_back",
        about: "a host that was forgotten comes back: it takes part again, and its old votes change nothing",
        setup: spare,
        script: forgotten_and_back,
    },
    Scenario {
        name: "claimant_cut_off_while_it_is_replaced",
        about: "a claimant and its vote are out of sight; the others replace it and take its task over, after its lease",
        setup: patient,
        script: claimant_cut_off,
    },
    Scenario {
        name: "sealed_votes_answer_nobody",
        about: "members are sealed while the claimant cannot hear of it; its lease ends before the next committee votes",
        setup: spare,
        script: sealed_unheard,
    },
    Scenario {
        name: "outcome_seen_by_one_is_taken_up",
        about: "one member alone has accepted the outcome when the committee is replaced: nothing runs again",
        setup: spare,
        script: accepted_by_one,
    },
    Scenario {
        name: "proposer_dies_at_each_step",
        about: "whoever asked for another committee dies; the members are sealed, and somebody else finishes it",
        setup: spare,
        script: proposer_dies,
    },
    MINORITY_SIDE,
    Scenario {
        name: "replaced_across_crashes",
        about: "every host loses its power while committees are being replaced",
        setup: spare,
        script: across_crashes,
    },
    Scenario {
        name: "waiting_task_outlives_its_committee",
        about: "a task that waits for its host is not started elsewhere because its committee was replaced",
        setup: spare,
        script: waits,
    },
    Scenario {
        name: "no_spare_host",
        about: "three hosts, one drained: nobody can take its place, and the other two go on",
        setup: three,
        script: no_spare,
    },
];

pub(super) const MINORITY_SIDE: Scenario = Scenario {
    name: "minority_cannot_replace_the_majority",
    about: "on the small side of a split everybody else looks dead; nothing is replaced there",
    setup: impatient,
    script: minority_side,
};

/// Five hosts, three of which decide.
pub(super) fn spare(seed: u64) -> Setup {
    Setup {
        committee: 3,
        ..five(seed)
    }
}

/// The same; a silent member is replaced after two leases.
fn impatient(seed: u64) -> Setup {
    Setup {
        replace_after: Duration::from_secs(4),
        ..spare(seed)
    }
}

/// The same, with leases that outlast the five seconds after which a host counts as away.
fn patient(seed: u64) -> Setup {
    Setup {
        timing: Timing::with_lease(SECOND, SECOND * 12, 10_000),
        ..spare(seed)
    }
}

fn alone(seed: u64) -> Setup {
    Setup {
        committee: 1,
        ..Setup::new(seed, 2)
    }
}

/// The members of a task's committee as a host knows them.
pub(super) fn members(world: &World, host: HostIx, task: TaskId) -> Vec<HostIx> {
    let known = world
        .replica(host)
        .and_then(|replica| replica.committee(task))
        .unwrap_or_default();
    (0..world.hosts())
        .filter(|host| known.contains(&world.host(*host).peer))
        .collect()
}

/// How many committees a task had, as the host that knows most says.
pub(super) fn replacements(world: &World, task: TaskId) -> u16 {
    let known = (0..world.hosts()).filter_map(|host| world.replica(host)?.generation(task));
    known.max().map_or(0, |generation| generation.0)
}

fn rests_on(world: &World, host: HostIx) -> usize {
    let tag = world.host(host).tag;
    world.replica(host).map_or(0, |replica| replica.places(tag))
}

fn until_replaced(world: &mut World, task: TaskId, times: u16) -> Course {
    until(world, SOON * 3, "the committee is replaced", |world| {
        let known = (0..world.hosts()).filter_map(|host| world.replica(host));
        known
            .filter_map(|replica| replica.generation(task))
            .all(|generation| generation.0 >= times)
    })
}

fn drained(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 5))?;
    let old = members(world, 0, run.task);
    let member = old.iter().find(|host| **host != claimant);
    let member = *member.expect("a committee of three");
    world.retire_host(member, true);
    until(world, SOON * 3, "its place is taken", |world| {
        rests_on(world, member) == 0
    })?;
    let new = members(world, claimant, run.task);
    expect(
        new.len() == 3 && !new.contains(&member),
        "another is a member",
    )?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "the run went on")
}

fn in_turn(world: &mut World) -> Course {
    warm(world);
    for host in 0..world.hosts() {
        let other = (host + 1) % world.hosts();
        submit(world, other, Batch::many(4, Plan::succeed(SECOND * 4)))?;
        world.run_for(SECOND);
        world.retire_host(host, true);
        until(world, SOON * 6, "nothing rests on it", |world| {
            rests_on(world, host) == 0
        })?;
        world.crash_host(host, None, Unsynced::Drawn);
        world.run_for(SECOND);
        world.start_node(host, Duration::ZERO);
        world.run_for(SECOND);
        world.retire_host(host, false);
    }
    world.finish();
    expect(world.oracle().tally().commits == 20, "every task ends")
}

fn only_member(world: &mut World) -> Course {
    warm(world);
    only(world, &[1]);
    let task = submit(world, 0, Batch::one(Plan::succeed(SECOND * 5)))?[0];
    next_start(world, SOON)?;
    world.retire_host(0, true);
    until(world, SOON, "the other is the committee", |world| {
        rests_on(world, 0) == 0
    })?;
    expect(members(world, 1, task) == [1], "it sits alone")?;
    world.crash_host(0, None, Unsynced::Drawn);
    world.finish_without(&[0]);
    expect(world.oracle().is_committed(task), "it ends")
}

fn one_by_one(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 20))?;
    let old = members(world, 0, run.task);
    let mut absent = Vec::new();
    for (member, times) in old.iter().filter(|host| **host != claimant).zip(1..) {
        world.crash_host(*member, None, Unsynced::Drawn);
        absent.push(*member);
        until(world, SOON * 3, "it is replaced", |world| {
            replacements(world, run.task) >= times
        })?;
        // Until the newcomer has told it, it cannot be missed.
        world.run_for(world.lease() * 2);
    }
    world.finish_without(&absent);
    expect(world.oracle().is_committed(run.task), "it ends")
}

fn forgotten(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 6))?;
    let old = members(world, 0, run.task);
    let member = *old.iter().find(|host| **host != claimant).expect("three");
    world.crash_host(member, None, Unsynced::Drawn);
    // While it is alive, or seems to be, nobody may be told that.
    let early = world.forget_host(claimant, member);
    world.run_for(SECOND);
    expect(
        matches!(world.reply(early), Some(crdt::event::Reply::Refused(_))),
        "a host that was heard of lately is not forgotten",
    )?;
    world.run_for(SOON);
    world.forget_host(claimant, member);
    until_replaced(world, run.task, 1)?;
    world.finish_without(&[member]);
    expect(world.oracle().tally().starts == 1, "the run went on")
}

fn forgotten_and_back(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 12))?;
    let old = members(world, 0, run.task);
    let member = *old.iter().find(|host| **host != claimant).expect("three");
    world.crash_host(member, None, Unsynced::Drawn);
    world.run_for(SOON);
    world.forget_host(claimant, member);
    until_replaced(world, run.task, 1)?;
    world.start_node(member, Duration::ZERO);
    until(world, SOON, "it is a member again", |world| {
        let peer = world.host(member).peer;
        let members = world.replica(claimant).map(|replica| replica.members());
        members.is_some_and(|members| members.iter().any(|of| of.peer == peer && of.alive))
    })?;
    world.finish();
    expect(world.oracle().is_committed(run.task), "it ends")
}

fn claimant_cut_off(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 10))?;
    let rest = others(world, claimant);
    world.split(&[&[claimant], &rest]);
    world.run_for(Duration::from_millis(5_500));
    world.forget_host(rest[0], claimant);
    until(world, SOON * 3, "it is taken over", |world| {
        world.oracle().tally().starts > 1
    })?;
    expect(replacements(world, run.task) > 0, "by another committee")?;
    world.finish();
    Ok(())
}

fn sealed_unheard(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 4))?;
    let old = members(world, 0, run.task);
    let rest: Vec<HostIx> = others(world, claimant);
    let member = *old.iter().find(|host| **host != claimant).expect("three");
    // The claimant hears acks, and no documents.
    for host in &rest {
        world.cut_way(*host, claimant, Lanes::Gossip, Notice::Never);
    }
    world.retire_host(member, true);
    until(world, SOON * 3, "the committee is replaced", |world| {
        rest.iter().any(|host| {
            let replica = world.replica(*host);
            replica
                .and_then(|r| r.generation(run.task))
                .is_some_and(|g| g.0 > 0)
        })
    })?;
    world.run_for(world.lease() * 3);
    world.finish();
    expect(world.oracle().is_committed(run.task), "it ends")
}

fn accepted_by_one(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(SECOND))?;
    let old = members(world, 0, run.task);
    let member = *old.iter().find(|host| **host != claimant).expect("three");
    let third = *old
        .iter()
        .find(|host| ![claimant, member].contains(*host))
        .unwrap_or(&member);
    // Nobody but the claimant and one member hear of the end.
    let rest: Vec<HostIx> = (0..world.hosts())
        .filter(|h| ![claimant, member].contains(h))
        .collect();
    world.split(&[&[claimant, member], &rest]);
    until(world, SOON, "its end is accepted", |world| {
        super::own_vote(world, member, run.task).is_some_and(|vote| vote.accepted.is_some())
    })?;
    world.crash_host(claimant, None, Unsynced::Lost);
    world.heal_links();
    world.retire_host(third, true);
    until_replaced_somewhere(world, run.task)?;
    world.finish_without(&[claimant]);
    expect(world.oracle().tally().starts == 1, "nothing runs again")
}

fn until_replaced_somewhere(world: &mut World, task: TaskId) -> Course {
    until(world, SOON * 3, "the committee is replaced", |world| {
        replacements(world, task) > 0 || world.oracle().is_committed(task)
    })
}

fn proposer_dies(world: &mut World) -> Course {
    warm(world);
    for _ in 0..3 {
        let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 4))?;
        let old = members(world, 0, run.task);
        let member = *old.iter().find(|host| **host != claimant).expect("three");
        let asked = |world: &World| -> Vec<u64> {
            (0..world.hosts())
                .map(|host| world.replica(host).map_or(0, |r| r.counters().motions))
                .collect()
        };
        let before = asked(world);
        world.retire_host(member, true);
        until(world, SOON * 2, "somebody asks", |world| {
            asked(world) != before
        })?;
        let after = asked(world);
        let proposer = (0..world.hosts()).find(|host| after[*host] != before[*host]);
        let proposer = proposer.expect("somebody asked");
        world.run_for(Duration::from_millis(4));
        world.crash_host(proposer, Some(world.lease() * 3), Unsynced::Drawn);
        until_replaced_somewhere(world, run.task)?;
        world.run_for(world.lease() * 4);
        world.retire_host(member, false);
        world.run_for(SECOND);
    }
    world.finish();
    expect(world.oracle().tally().commits == 3, "every task ends")
}

pub(super) fn minority_side(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 12))?;
    let old = members(world, 0, run.task);
    let lone: Vec<HostIx> = old
        .iter()
        .copied()
        .filter(|host| *host != claimant)
        .take(1)
        .collect();
    let spares: Vec<HostIx> = (0..world.hosts()).filter(|h| !old.contains(h)).collect();
    // One member with both spare hosts, against two members.
    let small = [&lone[..], &spares[..]].concat();
    let large: Vec<HostIx> = (0..world.hosts()).filter(|h| !small.contains(h)).collect();
    only(world, &spares);
    world.split(&[&small, &large]);
    world.run_for(SOON * 3);
    let replaced = |host: &HostIx| {
        let generation = world.replica(*host).and_then(|r| r.generation(run.task));
        generation.is_some_and(|generation| generation.0 > 0)
    };
    expect(!small.iter().any(replaced), "nobody is replaced there")?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "the run went on")
}

fn across_crashes(world: &mut World) -> Course {
    warm(world);
    for round in 0..4 {
        submit(world, 0, Batch::many(3, Plan::succeed(SECOND * 3)))?;
        world.run_for(SECOND);
        let member = 1 + round % 4;
        world.retire_host(member, true);
        world.run_for(Duration::from_millis(300) * u32::try_from(round).unwrap_or(0));
        for host in 0..world.hosts() {
            world.crash_host(host, Some(SECOND), Unsynced::Drawn);
        }
        world.run_for(SOON);
        world.retire_host(member, false);
        world.run_for(SECOND);
    }
    world.finish();
    expect(world.oracle().tally().commits == 12, "every task ends")
}

fn waits(world: &mut World) -> Course {
    warm(world);
    only(world, &[4]);
    let mut batch = Batch::one(Plan::succeed(world.lease() * 3));
    for task in batch.tasks_mut() {
        task.spec.on_lost = OnLost::Wait;
    }
    world.submit(0, batch);
    let (claimant, run) = next_start(world, SOON)?;
    world.crash_host(claimant, None, Unsynced::Drawn);
    only(world, &[0, 1, 2, 3]);
    world.run_for(SOON);
    let old = members(world, 0, run.task);
    let member = *old
        .iter()
        .find(|h| **h != claimant && **h != 0)
        .expect("three");
    world.retire_host(member, true);
    until(world, SOON * 3, "the committee is replaced", |world| {
        replacements(world, run.task) > 0
    })?;
    world.run_for(SOON * 2);
    expect(world.oracle().tally().starts == 1, "nobody else starts it")?;
    world.start_node(claimant, Duration::ZERO);
    world.finish();
    expect(world.oracle().is_committed(run.task), "its loss is told")
}

fn no_spare(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 4))?;
    let member = others(world, claimant)[0];
    world.retire_host(member, true);
    world.run_for(world.lease() * 2);
    expect(
        replacements(world, run.task) == 0,
        "nobody could take its place",
    )?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "the run went on")
}

/// M9. Two members are sealed when the one who asked dies for good; the drained one is wanted again.
pub(super) fn proposer_alone(world: &mut World) -> Course {
    warm(world);
    let (claimant, run) = one_running(world, 0, Plan::succeed(world.lease() * 6))?;
    let old = members(world, 0, run.task);
    let member = *old.iter().find(|host| **host != claimant).expect("three");
    world.retire_host(member, true);
    until(world, SOON * 2, "members are sealed", |world| {
        let sealed = |host: HostIx| world.replica(host).map_or(0, |r| r.sealed(run.task).len());
        (0..world.hosts()).any(|host| sealed(host) > 1)
    })?;
    expect(replacements(world, run.task) == 0, "it is not chosen yet")?;
    let asked = |host: &HostIx| {
        world
            .replica(*host)
            .is_some_and(|r| r.counters().motions > 0)
    };
    let proposer = (0..world.hosts())
        .find(|host| asked(host))
        .expect("somebody asked");
    world.crash_host(proposer, None, Unsynced::Lost);
    if proposer != member {
        world.retire_host(member, false);
    }
    world.run_for(world.lease() * 4);
    world.finish_without(&[proposer]);
    expect(world.oracle().is_committed(run.task), "it ends")
}
