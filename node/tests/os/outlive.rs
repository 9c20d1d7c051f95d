//! The guard outlives its node: what it goes on doing, what the next node finds, and what is left when none comes.

use std::sync::Arc;
use std::time::Duration;

use node::clock::boottime;
use node::executor::{ExecEvent, Executor, GuardState};
use node::guard::{Cause, Found, FoundState, How, RunKey};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::rig::{
    FAMILY, FAR, Rig, SIGKILLED, config, family, freeze, label, lives, signal, until, within,
};

/// A node: what it did not finish is gone when it is dropped.
fn node() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// Ends a node as SIGKILL does, in the middle of everything; its socket to the guard closes.
fn killed(node: Runtime, rig: Rig) -> Arc<tempfile::TempDir> {
    let temp = Arc::clone(&rig.temp);
    node.shutdown_background();
    drop(rig);
    temp
}

fn ended(found: &Found) -> node::guard::Ended {
    match found.state {
        FoundState::Ended(ended) => ended,
        FoundState::Alive { .. } => panic!("it lives: {found:?}"),
    }
}

#[test]
fn the_next_node_finds_runs_and_ends_again() {
    let first = node();
    let (rig, deadline) = first.block_on(async {
        let mut rig = Rig::new().await;
        let order = rig.script(
            1,
            "echo begun; until [ -e $D/gate ]; do sleep 0.01; done; exit 3",
        );
        let deadline = order.deadline;
        rig.executor.order(order).unwrap();
        rig.started().await;
        // Told, and never made durable.
        rig.order(2, "echo two; exit 5");
        rig.started().await;
        assert!(matches!(rig.event().await, ExecEvent::Ended(_)));
        (rig, deadline)
    });
    let guard = rig.guard();
    let temp = killed(first, rig);
    let second = node();
    let rig = second.block_on(async {
        let mut rig = Rig::at(temp).await;
        assert_eq!(rig.guard(), guard, "it goes on with the same guard");
        rig.found.sort_by_key(|found| found.key);
        let [one, two] = &rig.found[..] else {
            panic!("{:?}", rig.found);
        };
        assert_eq!((one.key, one.label, one.asked), (RunKey(1), label(1), None));
        assert!(matches!(one.state, FoundState::Alive { deadline: at, .. } if at == deadline));
        assert_eq!((two.key, two.label), (RunKey(2), label(2)));
        assert_eq!(one.memo, 1_u64.to_le_bytes());
        assert_eq!(
            (ended(two).how, ended(two).stdout_bytes),
            (How::Exited(5), 4)
        );
        assert_eq!(rig.executor.live(), 1);
        rig.executor.forget(RunKey(2));
        std::fs::write(rig.path("gate"), "").unwrap();
        let ended = match rig.event().await {
            ExecEvent::Ended(ended) => ended,
            other => panic!("{other:?}"),
        };
        assert_eq!((ended.how, ended.cause), (How::Exited(3), Cause::ByItself));
        assert_eq!(rig.output(1), "begun\n");
        assert_eq!(rig.run(3, "true").await.how, How::Exited(0));
        rig
    });
    let temp = killed(second, rig);
    // Nothing lives, so the guard has gone; the end that nobody had forgotten is found all the same.
    node().block_on(async {
        until(|| !lives(guard)).await;
        let rig = Rig::at(temp).await;
        let how = |key| {
            let found = rig.found.iter().find(|found| found.key == RunKey(key));
            found.map(|found| ended(found).how)
        };
        assert_eq!((how(1), how(2)), (Some(How::Exited(3)), None));
    });
}

#[test]
fn a_run_that_was_found_is_extended_signalled_and_killed() {
    let first = node();
    let rig = first.block_on(async {
        let mut rig = Rig::new().await;
        let mut order = rig.script(
            1,
            "trap 'exit 4' USR1; echo $$ > $D/one; while :; do sleep 0.01; done",
        );
        order.deadline = boottime() + Duration::from_secs(4);
        rig.executor.order(order).unwrap();
        rig.order(2, FAMILY);
        rig.started().await;
        rig.started().await;
        rig.number("one").await;
        family(&rig).await;
        rig
    });
    let temp = killed(first, rig);
    node().block_on(async {
        let mut rig = Rig::at(temp).await;
        rig.executor.extend(RunKey(1), boottime() + FAR);
        rig.executor.signal(RunKey(1), 10);
        let ended = rig.ended().await;
        assert_eq!((ended.key, ended.how), (RunKey(1), How::Exited(4)));
        let pids = family(&rig).await;
        assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
        rig.executor.kill(RunKey(2));
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::Asked));
        assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    });
}

#[test]
fn without_a_node_runs_end_at_their_deadlines_and_the_guard_after_them() {
    let first = node();
    let (rig, pids) = first.block_on(async {
        let mut rig = Rig::new().await;
        let mut order = rig.script(1, FAMILY);
        order.deadline = boottime() + Duration::from_secs(3);
        rig.executor.order(order).unwrap();
        rig.started().await;
        let pids = family(&rig).await;
        (rig, pids)
    });
    let guard = rig.guard();
    let temp = killed(first, rig);
    assert!(
        pids.iter().all(|pid| lives(*pid)),
        "they outlive their node"
    );
    node().block_on(async {
        until(|| !lives(guard)).await;
        assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
        assert!(
            !temp.path().join("data/runs/guard").exists(),
            "the door is closed"
        );
        let rig = Rig::at(temp).await;
        let [one] = &rig.found[..] else {
            panic!("{:?}", rig.found);
        };
        assert_eq!(
            (ended(one).how, ended(one).cause),
            (SIGKILLED, Cause::DeadlineKill)
        );
        rig.executor.forget(RunKey(1));
        rig.executor.shutdown(Duration::ZERO).await;
        assert_eq!(rig.executor.guard(), GuardState::Closed);
        assert!(!rig.path("data/runs/live").exists(), "nothing is left");
    });
}

#[test]
fn an_idle_guard_goes_with_its_node() {
    let first = node();
    let rig = first.block_on(async {
        let mut rig = Rig::new().await;
        rig.run(1, "true").await;
        rig
    });
    let guard = rig.guard();
    let temp = killed(first, rig);
    node().block_on(until(|| !lives(guard)));
    drop(temp);
}

#[test]
fn ends_outlive_a_guard_that_is_killed() {
    let first = node();
    let rig = first.block_on(async {
        let mut rig = Rig::new().await;
        rig.order(1, "exit 6");
        rig.started().await;
        assert!(matches!(rig.event().await, ExecEvent::Ended(_)));
        rig.order(2, FAMILY);
        rig.started().await;
        family(&rig).await;
        rig
    });
    let guard = rig.guard();
    let pids = first.block_on(family(&rig));
    let temp = killed(first, rig);
    signal(guard, Signal::KILL);
    node().block_on(async {
        let mut rig = Rig::at(temp).await;
        assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
        let [one] = &rig.found[..] else {
            panic!("{:?}", rig.found);
        };
        assert_eq!((one.key, ended(one).how), (RunKey(1), How::Exited(6)));
        assert_ne!(rig.guard(), guard);
        assert_eq!(rig.run(2, "true").await.how, How::Exited(0));
    });
}

#[test]
fn what_a_lost_node_and_guard_left_is_cleared_at_the_next_start() {
    let first = node();
    let (rig, pids) = first.block_on(async {
        let rig = Rig::new().await;
        rig.order(1, FAMILY);
        let pids = family(&rig).await;
        // Neither may do anything about its end.
        freeze(rig.guard()).await;
        (rig, pids)
    });
    let guard = rig.guard();
    let temp = killed(first, rig);
    signal(guard, Signal::KILL);
    node().block_on(async {
        let mut rig = Rig::at(temp).await;
        assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
        assert!(rig.found.is_empty(), "{:?}", rig.found);
        assert_eq!(rig.run(2, "true").await.how, How::Exited(0));
    });
}

#[tokio::test]
async fn a_new_executor_waits_for_a_guard_that_stands_still() {
    let rig = Rig::new().await;
    rig.order(1, "echo $$ > $D/leader; sleep 1000");
    let leader = rig.number("leader").await;
    let guard = rig.guard();
    freeze(guard).await;
    let temp = Arc::clone(&rig.temp);
    drop(rig);
    let next = Executor::start(config(temp.path()));
    let mut next = std::pin::pin!(next);
    for _ in 0..50 {
        assert!(futures::poll!(&mut next).is_pending());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    signal(guard, Signal::CONT);
    let next = within(next).await.unwrap();
    assert!(lives(leader) && lives(guard));
    assert_eq!((next.executor.live(), next.found.len()), (1, 1));
    next.executor.shutdown(Duration::ZERO).await;
    assert!(!lives(leader) && !lives(guard));
}
