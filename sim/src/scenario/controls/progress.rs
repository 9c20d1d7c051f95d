//! What makes everything end and every replica equal, broken one at a time: back-off, taking up, relaying, repair.

use std::time::Duration;

use crdt::config::Sabotage;

use super::super::directed::{nothing_special, parked_task};
use super::super::{Control, Course, Scenario, expect, knows, only, submit, three, warm};
use super::rule;
use super::witness::ACCEPT_IN_A_MINORITY;
use crate::disk::DiskModel;
use crate::link::{Lanes, LinkModel};
use crate::oracle::Judge;
use crate::plan::{Batch, Plan};
use crate::world::{Clocks, Notice, Setup, Unsynced, World};

const SECOND: Duration = Duration::from_secs(1);

const SPLIT_VOTE: Scenario = Scenario {
    name: "split_vote",
    about: "two hosts with equal clocks and delays bid at once, the third is dead",
    setup: even,
    script: split_vote,
};

/// Every control of this file.
pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "endless_bids",
        rule: "L2, F9",
        breaks: |setup| rule(setup, Sabotage::EndlessBids),
        judge: Judge::L1,
        scenario: SPLIT_VOTE,
    },
    Control {
        name: "no_stagger",
        rule: "L3",
        breaks: |setup| rule(setup, Sabotage::NoStagger),
        judge: Judge::L1,
        scenario: SPLIT_VOTE,
    },
    Control {
        name: "nobody_takes_up",
        rule: "L5",
        breaks: |setup| rule(setup, Sabotage::NobodyTakesUp),
        judge: Judge::L1,
        scenario: ACCEPT_IN_A_MINORITY,
    },
    Control {
        name: "adoption_refused",
        rule: "C5, L5",
        breaks: |setup| rule(setup, Sabotage::AdoptionRefused),
        judge: Judge::L1,
        scenario: ACCEPT_IN_A_MINORITY,
    },
    Control {
        name: "wish_bars_votes",
        rule: "V5, F8",
        breaks: |setup| rule(setup, Sabotage::WishBarsVotes),
        judge: Judge::L1,
        scenario: Scenario {
            name: "cancelled_before_it_runs",
            about: "a person wants a task ended that nobody has claimed",
            setup: three,
            script: cancelled,
        },
    },
    Control {
        name: "no_relay",
        rule: "L6",
        breaks: |setup| rule(setup, Sabotage::NoRelay),
        judge: Judge::L1,
        scenario: Scenario {
            name: "author_known_to_one",
            about: "the author reaches one other host, and dies for good",
            setup: three,
            script: author_known_to_one,
        },
    },
    Control {
        name: "ends_not_counted",
        rule: "counters",
        breaks: |setup| rule(setup, Sabotage::EndsNotCounted),
        judge: Judge::R1,
        scenario: Scenario {
            name: "some_runs",
            about: "a few tasks, no fault",
            setup: three,
            script: nothing_special,
        },
    },
    Control {
        name: "no_repair",
        rule: "law 3",
        breaks: |setup| rule(setup, Sabotage::NoRepair),
        judge: Judge::C1,
        scenario: Scenario {
            name: "away_meanwhile",
            about: "a host is cut off while tasks come and go",
            setup: three,
            script: away,
        },
    },
];

/// A world without the chance that ends a duel by itself: equal clocks, and every delay the same.
fn even(seed: u64) -> Setup {
    Setup {
        clocks: Clocks::Ideal,
        links: LinkModel {
            mean: Duration::ZERO,
            ..LinkModel::default()
        },
        disks: DiskModel {
            mean: Duration::ZERO,
            ..DiskModel::default()
        },
        ..three(seed)
    }
}

/// L2, L3. h0 and h1 bid at epoch 1 without having seen each other's bid.
fn split_vote(world: &mut World) -> Course {
    warm(world);
    parked_task(world, 2, Plan::succeed(SECOND))?;
    world.crash_host(2, None, Unsynced::Drawn);
    world.cut_way(0, 1, Lanes::Gossip, Notice::Never);
    world.cut_way(1, 0, Lanes::Gossip, Notice::Never);
    only(world, &[0, 1]);
    // The author, which goes first, is dead: the others follow one step after the other, if nobody hears of a bid.
    world.run_for(world.lease() / 8);
    world.mend_way(0, 1);
    world.mend_way(1, 0);
    world.finish_without(&[2]);
    expect(world.oracle().tally().commits == 1, "it ends")
}

/// F8. A cancellation goes through a ballot as any other outcome, and needs its votes.
fn cancelled(world: &mut World) -> Course {
    warm(world);
    let task = parked_task(world, 0, Plan::succeed(SECOND))?;
    world.kill(1, &[task], SECOND);
    world.finish();
    let tally = world.oracle().tally();
    expect((tally.starts, tally.commits) == (0, 1), "it ends unstarted")
}

/// L6. h2 can know of the task only by h1.
fn author_known_to_one(world: &mut World) -> Course {
    warm(world);
    only(world, &[1, 2]);
    world.cut(0, 2);
    let task = submit(world, 0, Batch::one(Plan::succeed(SECOND)))?[0];
    world.crash_host(0, None, Unsynced::Drawn);
    expect(knows(world, 1, task), "h1 knows the task")?;
    world.finish_without(&[0]);
    expect(world.oracle().tally().commits == 1, "it ends")
}

/// Law 3. No frame of what happened meanwhile comes again by itself.
fn away(world: &mut World) -> Course {
    warm(world);
    world.isolate(2);
    submit(world, 0, Batch::many(3, Plan::succeed(SECOND / 5)))?;
    world.run_for(SECOND * 5);
    world.finish();
    expect(world.oracle().tally().commits == 3, "every task ends")
}
