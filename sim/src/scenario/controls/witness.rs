//! The witness's rules, broken one at a time: when a vote binds, how often it is given, which outcome it accepts.

use std::time::Duration;

use crdt::config::Sabotage;

use super::super::directed::{outcome_alone, parked_task, rival_behind_relay};
use super::super::leases::LOWERED;
use super::super::{
    Control, Course, SOON, Scenario, expect, five, next_start, one_running, only, submit, three,
    warm,
};
use super::rule;
use crate::link::Lanes;
use crate::oracle::Judge;
use crate::plan::{Batch, Plan};
use crate::world::{Notice, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

const RIVAL_BEHIND_A_RELAY: Scenario = Scenario {
    name: "rival_behind_a_relay",
    about: "a rival that does not hear the claimant bids through a third host",
    setup: three,
    script: rival_behind_relay,
};

/// Every control of this file.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "wait_taken_back",
        rule: "V2 d, R5",
        breaks: |setup| rule(setup, Sabotage::WaitTakenBack),
        judge: Judge::S1,
        scenario: LOWERED,
    },
    Control {
        name: "nothing_binds",
        rule: "V1, V2",
        breaks: |setup| rule(setup, Sabotage::NothingBinds),
        judge: Judge::S1,
        scenario: RIVAL_BEHIND_A_RELAY,
    },
    Control {
        name: "acks_forgotten",
        rule: "V2 (d), V5",
        breaks: |setup| rule(setup, Sabotage::AcksForgotten),
        judge: Judge::S1,
        scenario: RIVAL_BEHIND_A_RELAY,
    },
    Control {
        name: "votes_twice",
        rule: "V1, I1",
        breaks: |setup| rule(setup, Sabotage::VotesTwice),
        judge: Judge::S4,
        scenario: Scenario {
            name: "two_bids_at_one_epoch",
            about: "the claimant dies; a rival that saw nothing of it bids at the same epoch",
            setup: three,
            script: two_bids,
        },
    },
    Control {
        name: "absence_frees",
        rule: "V2 (c), n9",
        breaks: |setup| rule(setup, Sabotage::AbsenceFrees),
        judge: Judge::S1,
        scenario: Scenario {
            name: "majority_out_of_sight",
            about: "a voter does not see the other votes for its claimant, and meets a rival's side",
            setup: five,
            script: out_of_sight,
        },
    },
    Control {
        name: "accepts_freeze",
        rule: "V2 (0), F2",
        breaks: |setup| rule(setup, Sabotage::AcceptsFreeze),
        judge: Judge::L1,
        scenario: ACCEPT_IN_A_MINORITY,
    },
    Control {
        name: "any_outcome_accepted",
        rule: "V4",
        breaks: |setup| rule(setup, Sabotage::AnyOutcomeAccepted),
        judge: Judge::S3,
        scenario: Scenario {
            name: "late_outcome_of_an_old_claim",
            about: "a run ends where nobody hears of it, and its outcome comes while the task runs again",
            setup: three,
            script: outcome_alone,
        },
    },
    Control {
        name: "retry_accepted",
        rule: "V4, F11",
        breaks: |setup| rule(setup, Sabotage::RetryAccepted),
        judge: Judge::L1,
        scenario: Scenario {
            name: "fails_once",
            about: "a task fails once and may be tried again",
            setup: three,
            script: fails_once,
        },
    },
];

/// F2. A claimant accepts its own outcome, alone; its other voter votes on, and the third member dies for good.
pub(super) const ACCEPT_IN_A_MINORITY: Scenario = Scenario {
    name: "accept_in_a_minority",
    about: "one member has accepted, one has voted on, the third is dead",
    setup: three,
    script: accept_in_minority,
};

/// I1. h0's run dies with its host; h2, which saw neither bid nor votes, bids at epoch 1 too.
fn two_bids(world: &mut World) -> Course {
    warm(world);
    parked_task(world, 2, Plan::succeed(world.lease() * 2))?;
    for from in [0, 1] {
        world.cut_way(from, 2, Lanes::Gossip, Notice::Never);
    }
    world.undrain_host(0);
    next_start(world, SOON)?;
    world.crash_host(0, Some(SECOND / 20), Unsynced::Drawn);
    world.undrain_host(2);
    world.run_for(SECOND / 20);
    world.mend_way(1, 2);
    world.run_for(world.lease() * 2);
    world.finish();
    Ok(())
}

/// n9. h0 holds with h1 and h2, which do not see each other's votes; then h1 meets h3 and h4.
fn out_of_sight(world: &mut World) -> Course {
    warm(world);
    parked_task(world, 0, Plan::succeed(world.lease() * 6))?;
    for near in [0, 1, 2] {
        for far in [3, 4] {
            world.cut(near, far);
        }
    }
    world.cut_way(1, 2, Lanes::Gossip, Notice::Never);
    world.cut_way(2, 1, Lanes::Gossip, Notice::Never);
    world.undrain_host(0);
    next_start(world, SOON)?;
    for far in [3, 4] {
        world.mend(1, far);
    }
    world.undrain_host(3);
    world.run_for(world.lease() * 3);
    expect(world.oracle().tally().expired == 0, "h0 keeps its hold")?;
    world.finish();
    expect(world.oracle().tally().starts == 1, "it runs once")
}

fn accept_in_minority(world: &mut World) -> Course {
    warm(world);
    only(world, &[0]);
    one_running(world, 0, Plan::succeed(world.lease() / 2))?;
    only(world, &[2]);
    world.isolate(0);
    next_start(world, world.lease() * 4)?;
    expect(world.oracle().tally().exits == 1, "the first run had ended")?;
    world.crash_host(2, None, Unsynced::Drawn);
    only(world, &[0, 1]);
    world.finish_without(&[2]);
    expect(
        world.oracle().tally().commits == 1,
        "the first outcome is taken up",
    )
}

/// F11. Only a final outcome is accepted.
fn fails_once(world: &mut World) -> Course {
    warm(world);
    let mut batch = Batch::default();
    let plan = Plan {
        failures: 1,
        ..Plan::succeed(SECOND / 5)
    };
    batch.add(plan).spec.retries = 2;
    submit(world, 0, batch)?;
    world.finish();
    let tally = world.oracle().tally();
    expect((tally.starts, tally.commits) == (2, 1), "it is tried twice")
}
