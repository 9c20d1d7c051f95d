//! The guard's promises while its node lives: deadlines, ends, and what happens when the guard dies.

use std::time::Duration;

use node::clock::boottime;
use node::executor::ExecEvent;
use node::guard::{Cause, How, Refusal, RunKey, Sink};
use rustix::process::Signal;

use crate::rig::{FAMILY, MEMBERS, Rig, SIGKILLED, family, freeze, lives, signal, until};

#[tokio::test]
async fn at_the_deadline_the_whole_family_dies() {
    let mut rig = Rig::new().await;
    let mut order = rig.script(1, FAMILY);
    order.deadline = boottime() + Duration::from_secs(3600);
    rig.executor.order(order).unwrap();
    rig.started().await;
    let pids = family(&rig).await;
    // A second run with a deadline that comes; the first shows that only it dies.
    let mut order = rig.script(2, "sleep 1000");
    order.deadline = boottime() + Duration::from_secs(1);
    let deadline = order.deadline;
    rig.executor.order(order).unwrap();
    rig.started().await;
    let ended = rig.ended().await;
    assert_eq!(
        (ended.key, ended.how, ended.cause),
        (RunKey(2), SIGKILLED, Cause::DeadlineKill)
    );
    assert!(ended.ended_at >= deadline);
    assert!(
        pids.iter().all(|pid| lives(*pid)),
        "the other family goes on"
    );
    rig.executor.kill(RunKey(1));
    let ended = rig.ended().await;
    assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::Asked));
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
}

#[tokio::test]
async fn the_deadline_reaches_those_who_left() {
    let mut rig = Rig::new().await;
    let mut order = rig.script(1, FAMILY);
    let step = Duration::from_secs(2);
    order.deadline = boottime() + step;
    rig.executor.order(order).unwrap();
    rig.started().await;
    // Kept alive until the family is complete, as leases do.
    while !MEMBERS
        .iter()
        .all(|name| rig.path(name).metadata().is_ok_and(|meta| meta.len() > 1))
    {
        rig.executor.extend(RunKey(1), boottime() + step);
        tokio::task::yield_now().await;
    }
    let pids = family(&rig).await;
    let ended = rig.ended().await;
    assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::DeadlineKill));
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
}

#[tokio::test]
async fn after_its_deadline_a_run_is_not_started() {
    let mut rig = Rig::new().await;
    let mut order = rig.script(1, "touch $D/ran");
    order.deadline = boottime();
    rig.executor.order(order).unwrap();
    assert_eq!(rig.refused().await, Refusal::DeadlinePassed);
    assert!(!rig.path("ran").exists() && !rig.path("1.out").exists());
}

#[tokio::test]
async fn an_order_that_waited_too_long_is_refused_by_the_guard_itself() {
    let mut rig = Rig::new().await;
    let guard = rig.guard();
    freeze(guard).await;
    let mut order = rig.script(1, "touch $D/ran");
    order.deadline = boottime() + Duration::from_millis(50);
    let deadline = order.deadline;
    rig.executor.order(order).unwrap();
    until(|| boottime() > deadline).await;
    signal(guard, Signal::CONT);
    assert_eq!(rig.refused().await, Refusal::DeadlinePassed);
    assert!(!rig.path("ran").exists());
}

#[tokio::test]
async fn an_extension_moves_the_deadline_and_never_back() {
    let mut rig = Rig::new().await;
    let mut order = rig.script(1, "sleep 2.5");
    order.deadline = boottime() + Duration::from_secs(2);
    let first = order.deadline;
    rig.executor.order(order).unwrap();
    rig.executor
        .extend(RunKey(1), first + Duration::from_secs(600));
    rig.executor
        .extend(RunKey(1), first + Duration::from_millis(1));
    rig.started().await;
    let ended = rig.ended().await;
    assert_eq!((ended.how, ended.cause), (How::Exited(0), Cause::ByItself));
    assert!(ended.ended_at > first);
}

#[tokio::test]
async fn an_extension_after_the_deadline_revives_nothing() {
    let mut rig = Rig::new().await;
    let mut order = rig.script(1, "sleep 1000");
    order.deadline = boottime() + Duration::from_secs(2);
    let deadline = order.deadline;
    rig.executor.order(order).unwrap();
    rig.started().await;
    let guard = rig.guard();
    freeze(guard).await;
    // The message lies in the guard's socket when it wakes, too late.
    until(|| boottime() > deadline).await;
    rig.executor
        .extend(RunKey(1), boottime() + Duration::from_secs(3600));
    signal(guard, Signal::CONT);
    let ended = rig.ended().await;
    assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::DeadlineKill));
}

#[tokio::test]
async fn a_start_that_hangs_holds_up_no_deadline() {
    let mut rig = Rig::new().await;
    let mut victim = rig.script(1, "echo $$ > $D/victim; sleep 1000");
    victim.deadline = boottime() + Duration::from_secs(3);
    rig.executor.order(victim).unwrap();
    rig.started().await;
    let pid = rig.number("victim").await;
    // A pipe that nobody reads, as a file system that does not answer: its opening waits for ever.
    let pipe = rig.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mut hung = rig.script(2, "touch $D/ran");
    hung.stdout = Sink::Captured(pipe);
    hung.deadline = boottime() + Duration::from_secs(6);
    let late = hung.deadline;
    rig.executor.order(hung).unwrap();
    until(|| !lives(pid)).await;
    assert!(
        boottime() < late,
        "killed while the guard was busy with the other"
    );
    let (mut refused, mut ended) = (None, None);
    while refused.is_none() || ended.is_none() {
        match rig.event().await {
            ExecEvent::Refused { key, why } => refused = Some((key, why)),
            ExecEvent::Ended(end) => ended = Some((end.key, end.cause)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, Some((RunKey(2), Refusal::DeadlinePassed)));
    assert_eq!(ended, Some((RunKey(1), Cause::DeadlineKill)));
    assert!(!rig.path("ran").exists());
    assert_eq!(rig.run(3, "true").await.how, How::Exited(0));
}

#[tokio::test]
async fn a_run_has_ended_when_nothing_of_it_lives() {
    let mut rig = Rig::new().await;
    let scripts = [
        "sleep 1000 & echo $! > $D/left",
        "(setsid sh -c 'echo $$ > $D/left; exec sleep 1000' &); \
         while [ ! -s $D/left ]; do sleep 0.01; done",
        // It scrubs its environment and forks twice: known by nothing but its age.
        "env -i D=$D setsid sh -c 'sh -c \"echo \\$\\$ > $D/left; exec sleep 1000\" & exit' & \
         while [ ! -s $D/left ]; do sleep 0.01; done",
        // A group of its own in the same session, as interactive shells make.
        "set -m; sh -c 'echo $$ > $D/left; exec sleep 1000' & \
         while [ ! -s $D/left ]; do sleep 0.01; done",
    ];
    for (key, script) in (1..).zip(scripts) {
        let ended = rig.run(key, &format!("{script}; exit 5")).await;
        assert_eq!(
            (ended.how, ended.cause),
            (How::Exited(5), Cause::ByItself),
            "{script}"
        );
        let left = rig.number("left").await;
        assert!(!lives(left), "{script}");
        std::fs::remove_file(rig.path("left")).unwrap();
    }
}

#[tokio::test]
async fn the_daemon_of_a_run_survives_the_end_of_another() {
    let mut rig = Rig::new().await;
    rig.order(
        1,
        "(setsid sh -c 'echo $$ > $D/daemon; exec sleep 1000' &); sleep 1000",
    );
    rig.started().await;
    let daemon = rig.number("daemon").await;
    for key in 2..12 {
        rig.run(key, "true & (setsid true &)").await;
    }
    assert!(lives(daemon));
    rig.executor.kill(RunKey(1));
    rig.ended().await;
    assert!(!lives(daemon));
}

#[tokio::test]
async fn signals_reach_the_run() {
    let mut rig = Rig::new().await;
    let script = "trap 'echo usr1; exit 4' USR1; echo $$ > $D/ready; while :; do sleep 0.01; done";
    rig.order(1, script);
    rig.started().await;
    rig.number("ready").await;
    rig.executor.signal(RunKey(1), 10);
    let ended = rig.ended().await;
    assert_eq!((ended.how, ended.cause), (How::Exited(4), Cause::ByItself));
    assert_eq!(rig.output(1), "usr1\n");
    rig.order(2, "sleep 1000");
    rig.started().await;
    rig.executor.signal(RunKey(2), 15);
    let ended = rig.ended().await;
    assert!(matches!(ended.how, How::Signalled { signo: 15, .. }));
    assert_eq!(ended.cause, Cause::Asked);
    // A signal that nobody asked for is the run's own affair.
    let ended = rig.run(3, "kill -15 $$").await;
    assert_eq!(ended.cause, Cause::ByItself);
    // Nonsense and latecomers are ignored.
    rig.executor.signal(RunKey(3), 15);
    rig.order(4, "sleep 0.1");
    rig.executor.signal(RunKey(4), 4711);
    rig.executor.signal(RunKey(4), -1);
    rig.started().await;
    assert_eq!(rig.ended().await.how, How::Exited(0));
}

#[tokio::test]
async fn a_terminal_interrupt_does_not_end_the_guard() {
    let mut rig = Rig::new().await;
    for number in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        signal(rig.guard(), number);
    }
    assert_eq!(rig.run(1, "true").await.how, How::Exited(0));
}

#[tokio::test]
async fn when_the_guard_is_killed_its_runs_die_before_they_are_reported() {
    let mut rig = Rig::new().await;
    rig.order(1, FAMILY);
    rig.started().await;
    let pids = family(&rig).await;
    let guard = rig.guard();
    signal(guard, Signal::KILL);
    assert!(matches!(rig.event().await, ExecEvent::GuardLost { .. }));
    let ended = rig.ended().await;
    assert_eq!(
        (ended.key, ended.how, ended.cause),
        (RunKey(1), SIGKILLED, Cause::GuardLost)
    );
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    assert_eq!(rig.event().await, ExecEvent::GuardBack);
    assert_ne!(rig.guard(), guard);
    assert_eq!(rig.run(2, "true").await.how, How::Exited(0));
}
