//! What is committed, and what the next claimant adopts: Paxos's rules, broken one at a time.

use std::time::Duration;

use crdt::config::Sabotage;
use crdt::ids::{Epoch, TaskId};

use super::super::lapses::WRONG_CLOCK;
use super::super::{
    Control, Course, Missed, SOON, Scenario, expect, next_start, one_running, only, own_vote,
    three, until, warm,
};
use super::rule;
use crate::link::Lanes;
use crate::oracle::Judge;
use crate::plan::Plan;
use crate::world::{Notice, World};

const SECOND: Duration = Duration::from_secs(1);

/// Every control of this file.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "lapses_alone",
        rule: "R7",
        breaks: |setup| rule(setup, Sabotage::LapsesAlone),
        judge: Judge::D1,
        scenario: WRONG_CLOCK,
    },
    Control {
        name: "epochs_mixed",
        rule: "O1",
        breaks: |setup| rule(setup, Sabotage::EpochsMixed),
        judge: Judge::S2,
        scenario: Scenario {
            name: "one_outcome_at_two_epochs",
            about: "an outcome is accepted by one member, adopted, and accepted by another at a later epoch",
            setup: three,
            script: two_epochs,
        },
    },
    Control {
        name: "oldest_adopted",
        rule: "C5",
        breaks: |setup| rule(setup, Sabotage::OldestAdopted),
        judge: Judge::S2,
        scenario: Scenario {
            name: "newer_outcome_committed",
            about: "two outcomes were accepted; the newer one is committed where nobody hears of it",
            setup: three,
            script: newer_committed,
        },
    },
    Control {
        name: "wish_is_final",
        rule: "C5, F8",
        breaks: |setup| rule(setup, Sabotage::WishIsFinal),
        judge: Judge::S3,
        scenario: Scenario {
            name: "kill_while_it_runs",
            about: "a person wants a running task ended",
            setup: three,
            script: kill_running,
        },
    },
];

/// The accept that a host's own vote carries.
fn accepted_at(world: &World, host: usize, task: TaskId) -> Option<Epoch> {
    own_vote(world, host, task)?
        .accepted
        .map(|accept| accept.epoch)
}

/// h0 runs the task, cut off from all others, and accepts its outcome alone; h1 takes over.
fn accepted_alone(world: &mut World) -> Result<TaskId, Missed> {
    warm(world);
    only(world, &[0]);
    let (_, run) = one_running(world, 0, Plan::succeed(world.lease() / 2))?;
    only(world, &[1]);
    world.isolate(0);
    next_start(world, world.lease() * 4)?;
    let alone = |world: &World| accepted_at(world, 0, run.task).is_some();
    expect(alone(world), "h0 accepts its own outcome")?;
    Ok(run.task)
}

/// O1. h0 accepted A at 1, h1 accepts B at 2, h2 adopts A at 3 and accepts it: that is no majority for A.
fn two_epochs(world: &mut World) -> Course {
    let task = accepted_alone(world)?;
    world.isolate(1);
    until(world, SOON, "h1 accepts its own outcome", |world| {
        accepted_at(world, 1, task).is_some()
    })?;
    only(world, &[2]);
    world.mend(0, 2);
    until(world, SOON, "h0 votes for h2", |world| {
        own_vote(world, 0, task).is_some_and(|vote| vote.claimant == world.host(2).tag)
    })?;
    // Its vote gets through; what h2 makes of it does not.
    world.cut_way(2, 0, Lanes::All, Notice::Never);
    until(world, SOON, "h2 adopts and accepts", |world| {
        accepted_at(world, 2, task).is_some()
    })?;
    world.isolate(2);
    only(world, &[0, 1]);
    world.mend(0, 1);
    world.run_for(world.lease() * 4);
    world.finish();
    expect(world.oracle().tally().starts == 2, "nothing runs again")
}

/// C5. h1 and h2 accept B at 2, which only h2 sees; h0, with A of 1, and h1 must go on with B.
fn newer_committed(world: &mut World) -> Course {
    let task = accepted_alone(world)?;
    world.cut_way(2, 1, Lanes::All, Notice::Never);
    until(world, SOON, "h2 sees the commit", |world| {
        world.oracle().is_committed(task)
    })?;
    world.isolate(2);
    only(world, &[0, 1]);
    world.mend(0, 1);
    world.run_for(world.lease() * 4);
    world.finish();
    expect(world.oracle().tally().starts == 2, "nothing runs again")
}

/// F8. A wish is no outcome.
fn kill_running(world: &mut World) -> Course {
    warm(world);
    let (_, run) = one_running(world, 0, Plan::succeed(world.lease() * 2))?;
    world.kill(2, &[run.task], SECOND);
    world.finish();
    expect(world.oracle().tally().commits == 1, "it ends")
}
