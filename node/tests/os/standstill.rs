//! A guard that stands still: what its node does in its place, when it gives it up, and that nothing is said before it is so.

use std::sync::Arc;
use std::time::Duration;

use node::clock::boottime;
use node::executor::{ExecEvent, GuardState, Patience};
use node::guard::{Cause, How};
use rustix::process::Signal;

use crate::rig::{FAMILY, Rig, SIGKILLED, family, freeze, lives, signal, until, within};

/// Gives a stopped guard up soon, and never does its work.
const HASTY: Patience = Patience {
    overdue: Duration::from_secs(3600),
    silence: Duration::from_millis(500),
};

/// Does its work soon, and never gives it up.
const FAITHFUL: Patience = Patience {
    overdue: Duration::from_millis(50),
    silence: Duration::from_secs(3600),
};

async fn lost(rig: &mut Rig) {
    match rig.event().await {
        ExecEvent::GuardLost { why } => assert!(why.contains("stands still"), "{why}"),
        other => panic!("instead of a loss: {other:?}"),
    }
}

#[tokio::test]
async fn a_stopped_guard_is_replaced_and_its_runs_are_dead_before_they_are_lost() {
    let mut rig = Rig::with(HASTY).await;
    assert_eq!(rig.run(1, "true").await.how, How::Exited(0));
    rig.order(2, FAMILY);
    rig.started().await;
    let pids = family(&rig).await;
    let guard = rig.guard();
    freeze(guard).await;
    // Ordered from a guard that no longer hears it.
    rig.order(3, "true");
    lost(&mut rig).await;
    for key in [2, 3] {
        let ended = rig.ended().await;
        assert_eq!((ended.key.0, ended.cause), (key, Cause::GuardLost));
        assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
        assert!(!lives(guard));
    }
    assert_eq!(rig.event().await, ExecEvent::GuardBack);
    assert_ne!(rig.guard(), guard);
    assert_eq!(rig.run(4, "exit 5").await.how, How::Exited(5));
}

#[tokio::test]
async fn what_a_stopped_guard_does_not_kill_its_node_does() {
    let mut rig = Rig::with(FAITHFUL).await;
    let mut order = rig.script(1, FAMILY);
    order.deadline = boottime() + Duration::from_secs(3);
    let deadline = order.deadline;
    rig.executor.order(order).unwrap();
    rig.order(2, "echo $$ > $D/other; exec sleep 1000");
    rig.started().await;
    rig.started().await;
    let (pids, other) = (family(&rig).await, rig.number("other").await);
    freeze(rig.guard()).await;
    until(|| !pids.iter().any(|pid| lives(*pid))).await;
    assert!(boottime() >= deadline, "not before its time");
    assert!(lives(other), "another run's deadline is far away");
    assert_eq!(
        rig.executor.live(),
        2,
        "nothing is said of a run without its guard"
    );
    signal(rig.guard(), Signal::CONT);
    let ended = rig.ended().await;
    // The guard has not seen who did it; that is no end of the run's own.
    assert_eq!((ended.key.0, ended.how), (1, SIGKILLED));
    assert_eq!(ended.cause, Cause::DeadlineKill);
    assert!(lives(other));
}

#[tokio::test]
async fn a_stopped_guard_holds_up_no_shutdown() {
    let mut rig = Rig::with(HASTY).await;
    rig.order(1, FAMILY);
    rig.started().await;
    let pids = family(&rig).await;
    let guard = rig.guard();
    freeze(guard).await;
    let shutdown = rig.executor.shutdown(FAR_GRACE);
    within(shutdown).await;
    assert_eq!(rig.executor.guard(), GuardState::Closed);
    assert!(!lives(guard));
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    lost(&mut rig).await;
    assert_eq!(rig.ended().await.cause, Cause::GuardLost);
}

/// Not waited for by a guard that is given up.
const FAR_GRACE: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn the_next_node_kills_a_stopped_guard_and_its_runs() {
    let mut rig = Rig::with(HASTY).await;
    rig.order(1, "exit 6");
    rig.started().await;
    assert!(matches!(rig.event().await, ExecEvent::Ended(_)));
    rig.order(2, FAMILY);
    rig.started().await;
    let pids = family(&rig).await;
    let guard = rig.guard();
    freeze(guard).await;
    let temp = Arc::clone(&rig.temp);
    drop(rig);
    let mut rig = Rig::at_with(temp, HASTY).await;
    assert_ne!(rig.guard(), guard);
    assert!(!lives(guard));
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    let found: Vec<u64> = rig.found.iter().map(|found| found.key.0).collect();
    assert_eq!(found, [1], "an end that it had kept is found");
    assert_eq!(rig.run(3, "true").await.how, How::Exited(0));
}

#[tokio::test]
async fn a_guard_that_stops_for_a_moment_keeps_its_runs() {
    let mut rig = Rig::new().await;
    rig.order(1, "until [ -e $D/gate ]; do sleep 0.01; done; exit 4");
    rig.started().await;
    let guard = rig.guard();
    freeze(guard).await;
    std::fs::write(rig.path("gate"), "").unwrap();
    signal(guard, Signal::CONT);
    assert_eq!(rig.ended().await.how, How::Exited(4));
    assert_eq!(rig.guard(), guard);
}
