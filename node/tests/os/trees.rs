//! The whole tree of a run dies with it, however it forks: by cgroups of both versions, and by the older way.
//!
//! Both versions are tried wherever they can be: where a test cannot make cgroups, it says so and why.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use node::clock::boottime;
use node::executor::{ExecEvent, Executor, Order, Patience};
use node::guard::{Bounds, Cause, Cgroups, How, RunKey, Way};
use rustix::process::Signal;

use crate::rig::{
    FAMILY, PATIENT, Rig, SIGKILLED, config, family, freeze, lives, signal, until, within,
};

/// Does a stopped guard's work soon, and never gives it up.
const FAITHFUL: Patience = Patience {
    overdue: Duration::from_millis(50),
    silence: Duration::from_secs(3600),
};

/// It has another session, another parent, no environment and no descriptors.
const ESCAPED: &str = "env -i D=$D setsid sh -c 'sh -c \"echo \\$\\$ > $D/left; exec sleep 1000 <&- >&- 2>&-\" & exit' & \
    sleep 1000";

/// Name of the variable that makes [`storm_until_killed`] one.
const STORM_DIR: &str = "AQUE_TEST_STORM_DIR";

/// Storms, of which nothing but their age tells whose they are.
const CHAINS: &str = "for chain in 1 2 3; do env -i AQUE_TEST_STORM_DIR=$D $T --exact trees::storm_until_killed & done; sleep 1000";

/// Some hundred generations of each.
const FULL_SWING: u64 = 1_000;

/// Far more than a guard reaps in a turn; a machine has numbers for four times as many.
const HOSTS_OF_DEAD: u64 = 8_000;

/// A rig with cgroups of this version, and the directory of them.
async fn held(wish: Cgroups) -> Option<(Rig, PathBuf)> {
    held_with(wish, PATIENT).await
}

async fn held_with(wish: Cgroups, patience: Patience) -> Option<(Rig, PathBuf)> {
    let rig = Rig::held(wish, patience).await;
    match rig.executor.trees().way {
        Way::V1 { path } | Way::V2 { path } => Some((rig, path.into())),
        Way::Walk { why } => {
            skip(wish, &why);
            None
        }
        Way::Off => panic!("nobody wished that"),
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn skip(wish: Cgroups, why: &str) {
    eprintln!("skipped for cgroups {wish}, which need a hierarchy that may be written: {why}");
}

/// The processes in a cgroup.
fn processes_of(group: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

fn of_run(base: &Path, key: u64) -> PathBuf {
    base.join(RunKey(key).to_string())
}

/// Each process starts the next, which makes a session of its own, and is gone. Started by the runs of the tests below; without
/// its directory there is nothing to do, and it checks only that. Ends when the directory does, whatever becomes of the test.
#[test]
#[expect(
    unsafe_code,
    reason = "fork(2) has no safe form; only system calls follow"
)]
fn storm_until_killed() {
    let Some(dir) = std::env::var_os(STORM_DIR) else {
        return assert!(std::env::var(STORM_DIR).is_err());
    };
    let path = Path::new(&dir).join("born");
    let born = std::fs::File::options()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: plain system calls with memory that each child has a copy of.
    unsafe {
        while libc::access(path.as_ptr(), libc::F_OK) == 0 {
            match libc::fork() {
                0 => libc::setsid(),
                _ => break,
            };
            libc::write(born.as_raw_fd(), c"x".as_ptr().cast(), 1);
        }
        libc::_exit(0)
    }
}

/// Orders a run whose storm is in full swing when this returns.
async fn storm(rig: &mut Rig, key: u64, script: &str) {
    let mut order = rig.script(key, script);
    let program = std::env::current_exe().unwrap().into_os_string();
    order
        .extra
        .push((b"T".to_vec(), program.into_encoded_bytes()));
    rig.executor.order(order).unwrap();
    rig.started().await;
    until(|| born(rig) > FULL_SWING).await;
}

fn born(rig: &Rig) -> u64 {
    rig.path("born").metadata().map_or(0, |meta| meta.len())
}

/// Looks for long enough that a storm would have grown.
fn assert_calm(rig: &Rig) {
    let before = born(rig);
    for _ in 0..20 {
        assert!(std::fs::read_dir("/proc").unwrap().count() > 0);
    }
    assert_eq!(born(rig), before, "nothing forks any more");
}

/// A process that nobody would find as a run's but by the run's cgroup.
struct Implant(std::process::Child);

impl Implant {
    fn new(group: &Path) -> Self {
        let child = std::process::Command::new("sleep").arg("1000").spawn();
        let implant = Self(child.unwrap());
        std::fs::write(group.join("cgroup.procs"), implant.0.id().to_string()).unwrap();
        implant
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Implant {
    fn drop(&mut self) {
        // It may be dead already.
        let _sent = self.0.kill();
        let _status = self.0.wait();
    }
}

#[tokio::test]
async fn who_forks_twice_dies_when_the_run_is_killed() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        rig.order(1, ESCAPED);
        rig.started().await;
        let left = rig.number("left").await;
        let mut implant = Implant::new(&of_run(&base, 1));
        rig.executor.kill(RunKey(1));
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::Asked));
        assert!(!lives(left) && !implant.lives(), "{wish}");
        assert!(!of_run(&base, 1).exists(), "{wish}");
    }
}

#[tokio::test]
async fn who_forks_twice_dies_at_the_deadline() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        let step = Duration::from_secs(2);
        let mut order = rig.script(1, ESCAPED);
        order.deadline = boottime() + step;
        rig.executor.order(order).unwrap();
        rig.started().await;
        // Kept alive until it has forked, as leases do.
        while !rig.path("left").exists() {
            rig.executor.extend(RunKey(1), boottime() + step);
            tokio::task::yield_now().await;
        }
        let mut implant = Implant::new(&of_run(&base, 1));
        let left = rig.number("left").await;
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::DeadlineKill));
        assert!(!lives(left) && !implant.lives(), "{wish}");
        assert!(!of_run(&base, 1).exists(), "{wish}");
    }
}

#[tokio::test]
async fn a_storm_of_forks_is_dead_after_a_kill() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        storm(&mut rig, 1, CHAINS).await;
        rig.executor.kill(RunKey(1));
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::Asked));
        assert_calm(&rig);
        assert!(!of_run(&base, 1).exists(), "{wish}");
    }
}

#[tokio::test]
async fn a_storm_of_forks_does_not_outlive_its_run() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        storm(
            &mut rig,
            1,
            &format!("({CHAINS}) & until [ -e $D/gate ]; do sleep 0.01; done; exit 3"),
        )
        .await;
        let mut implant = Implant::new(&of_run(&base, 1));
        std::fs::write(rig.path("gate"), "").unwrap();
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (How::Exited(3), Cause::ByItself));
        assert!(!implant.lives(), "{wish}");
        assert_calm(&rig);
        assert!(!of_run(&base, 1).exists(), "{wish}");
    }
}

/// A guard that is behind with reaping said of a run of which nothing lived that it could not be killed: each of its turns looked at all
/// of the dead, and reaped some.
#[tokio::test]
async fn thousands_of_dead_are_not_taken_for_a_run_that_resists() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        storm(&mut rig, 1, CHAINS).await;
        freeze(rig.guard()).await;
        // Whatever ends now waits for the guard.
        let before = born(&rig);
        until(|| born(&rig) > before + HOSTS_OF_DEAD).await;
        rig.executor.kill(RunKey(1));
        signal(rig.guard(), Signal::CONT);
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::Asked));
        assert!(!of_run(&base, 1).exists(), "{wish}");
    }
}

#[tokio::test]
async fn directories_go_with_their_runs_and_with_their_guard() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        let note = rig.path("data/runs/cgroup");
        assert_eq!(
            std::fs::read_to_string(&note).unwrap(),
            base.to_str().unwrap()
        );
        let ended = rig.run(1, "cat /proc/self/cgroup; exit 4").await;
        assert_eq!((ended.how, ended.cause), (How::Exited(4), Cause::ByItself));
        let own = format!("{}/{}", base.file_name().unwrap().display(), RunKey(1));
        assert!(rig.output(1).contains(&own), "{}", rig.output(1));
        let mut bad = rig.script(2, "");
        bad.argv = vec![b"/no/such".to_vec()];
        rig.executor.order(bad).unwrap();
        rig.refused().await;
        let directories = || {
            let entries = std::fs::read_dir(&base).unwrap().flatten();
            entries
                .filter(|entry| entry.file_type().unwrap().is_dir())
                .count()
        };
        assert_eq!(directories(), 0, "{wish}");
        rig.executor.shutdown(Duration::ZERO).await;
        assert!(!base.exists() && !note.exists(), "{wish}");
    }
}

#[tokio::test]
async fn what_a_run_puts_into_cgroups_of_its_own_dies_as_well() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        let mut order = rig.script(
            1,
            "mkdir -p $G/a/b; setsid sh -c 'echo 0 > $G/a/b/cgroup.procs; echo $$ > $D/deep; exec sleep 1000' & \
             while [ ! -s $D/deep ]; do sleep 0.01; done; exit 6",
        );
        let group = of_run(&base, 1).into_os_string().into_encoded_bytes();
        order.extra.push((b"G".to_vec(), group));
        rig.executor.order(order).unwrap();
        rig.started().await;
        assert_eq!(rig.ended().await.how, How::Exited(6));
        assert!(!lives(rig.number("deep").await), "{wish}");
        assert!(!of_run(&base, 1).exists(), "{wish}");
    }
}

#[tokio::test]
async fn an_escaped_process_of_one_run_survives_the_end_of_another() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, _)) = held(wish).await else {
            continue;
        };
        rig.order(
            2,
            "echo $$ > $D/second; until [ -e $D/gate ]; do sleep 0.01; done",
        );
        rig.started().await;
        rig.number("second").await;
        rig.order(1, ESCAPED);
        rig.started().await;
        let left = rig.number("left").await;
        // By its age alone it could be either's.
        std::fs::write(rig.path("gate"), "").unwrap();
        assert_eq!(rig.ended().await.key, RunKey(2));
        assert!(lives(left), "{wish}");
        rig.executor.kill(RunKey(1));
        rig.ended().await;
        assert!(!lives(left), "{wish}");
    }
}

#[tokio::test]
async fn what_a_killed_guard_left_is_ended_and_its_directories_removed() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        rig.order(1, ESCAPED);
        rig.started().await;
        let left = rig.number("left").await;
        storm(&mut rig, 2, CHAINS).await;
        let mut implant = Implant::new(&of_run(&base, 1));
        signal(rig.guard(), Signal::KILL);
        assert!(matches!(rig.event().await, ExecEvent::GuardLost { .. }));
        let mut keys = BTreeSet::new();
        while keys.len() < 2 {
            let ended = rig.ended().await;
            assert_eq!(ended.cause, Cause::GuardLost);
            keys.insert(ended.key);
        }
        assert!(!lives(left) && !implant.lives(), "{wish}");
        assert_calm(&rig);
        assert!(!base.exists(), "{wish}");
        assert_eq!(rig.event().await, ExecEvent::GuardBack);
        let (Way::V1 { path } | Way::V2 { path }) = rig.executor.trees().way else {
            panic!("{:?}", rig.executor.trees());
        };
        assert_ne!(Path::new(&path), base);
        assert_eq!(rig.run(3, "true").await.how, How::Exited(0));
    }
}

#[tokio::test]
async fn what_a_stopped_guard_does_not_kill_its_node_does() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held_with(wish, FAITHFUL).await else {
            continue;
        };
        let mut order = rig.script(1, "sleep 1000");
        order.deadline = boottime() + Duration::from_secs(2);
        rig.executor.order(order).unwrap();
        rig.order(2, "sleep 1000");
        rig.started().await;
        rig.started().await;
        let mut implant = Implant::new(&of_run(&base, 1));
        let mut other = Implant::new(&of_run(&base, 2));
        freeze(rig.guard()).await;
        until(|| !implant.lives()).await;
        assert!(other.lives(), "another run's deadline is far away");
        signal(rig.guard(), Signal::CONT);
        assert_eq!(rig.ended().await.cause, Cause::DeadlineKill);
    }
}

#[test]
fn what_nobody_comes_back_for_is_cleared_by_the_next_guard_of_the_place() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let node = || tokio::runtime::Runtime::new().unwrap();
        let first = node();
        let Some((rig, base)) = first.block_on(held(wish)) else {
            continue;
        };
        let left = first.block_on(async {
            rig.order(1, ESCAPED);
            let left = rig.number("left").await;
            // Neither it nor the node may do anything about its end.
            freeze(rig.guard()).await;
            left
        });
        let guard = rig.guard();
        let mut implant = Implant::new(&of_run(&base, 1));
        let _temp = std::sync::Arc::clone(&rig.temp);
        first.shutdown_background();
        drop(rig);
        signal(guard, Signal::KILL);
        let next = node();
        next.block_on(async {
            until(|| !lives(guard)).await;
            // Of another data directory: it knows nothing of the first.
            let (mut other, place) = held(wish).await.expect("as before");
            assert_eq!(place.parent(), base.parent());
            until(|| !lives(left) && !implant.lives() && !base.exists()).await;
            assert_eq!(other.run(1, "true").await.how, How::Exited(0));
        });
    }
}

#[tokio::test]
async fn a_run_that_can_have_no_cgroup_runs_and_the_node_is_told() {
    let Some((mut rig, base)) = held(Cgroups::V2).await else {
        return;
    };
    assert_eq!(rig.executor.trees().missed, None);
    std::fs::write(base.join("cgroup.max.descendants"), "0").unwrap();
    rig.order(1, FAMILY);
    rig.started().await;
    until(|| rig.executor.trees().missed.is_some()).await;
    let pids = family(&rig).await;
    rig.executor.kill(RunKey(1));
    assert_eq!(rig.ended().await.how, SIGKILLED);
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
}

/// As when an administrator tidies up, or another manager of cgroups does.
#[tokio::test]
async fn a_run_whose_cgroup_vanished_under_it_is_ended_all_the_same() {
    for wish in [Cgroups::V1, Cgroups::V2] {
        let Some((mut rig, base)) = held(wish).await else {
            continue;
        };
        let taken_out = |pid: i32, from: PathBuf| {
            let above = base.parent().unwrap().join("cgroup.procs");
            std::fs::write(above, pid.to_string()).unwrap();
            std::fs::remove_dir(from).unwrap();
        };
        for (key, end) in [(1, "sleep 1000"), (2, "exit 7")] {
            let gate = "until [ -e $D/gate ]; do sleep 0.01; done";
            let bounds = Bounds {
                memory: Some(1 << 30),
                cpus: Some(1_000),
                part: 1_000,
            };
            let script = format!("echo $$ > $D/leader{key}; {gate}; {end}");
            let order = Order {
                bounds,
                ..rig.script(key, &script)
            };
            rig.executor.order(order).unwrap();
            rig.started().await;
            let leader = rig.number(&format!("leader{key}")).await;
            let stopped = [Signal::STOP, Signal::CONT];
            // Its children of the moment stay where they are, or there are none.
            signal(leader, stopped[0]);
            until(|| processes_of(&of_run(&base, key)) == [leader]).await;
            taken_out(leader, of_run(&base, key));
            signal(leader, stopped[1]);
        }
        rig.executor.kill(RunKey(1));
        let ended = rig.ended().await;
        assert_eq!((ended.key, ended.how), (RunKey(1), SIGKILLED), "{wish}");
        assert!(!lives(rig.number("leader1").await), "{wish}");
        std::fs::write(rig.path("gate"), "").unwrap();
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (How::Exited(7), Cause::ByItself));
        assert!(!ended.out_of_memory, "nobody can tell");
        // Without a place for cgroups the next has none, and the node is told.
        assert_eq!(rig.executor.trees().missed, None);
        std::fs::remove_dir(&base).unwrap();
        assert_eq!(rig.run(3, "exit 8").await.how, How::Exited(8));
        until(|| rig.executor.trees().missed.is_some()).await;
        rig.executor.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn without_cgroups_who_forks_twice_dies_as_well() {
    let mut rig = Rig::held(Cgroups::Off, PATIENT).await;
    assert_eq!(rig.executor.trees().way, Way::Off);
    assert!(!rig.path("data/runs/cgroup").exists());
    for (key, script, names) in [
        (1, ESCAPED, &["left"][..]),
        (2, FAMILY, &["leader", "child", "daemon"]),
    ] {
        rig.order(key, script);
        rig.started().await;
        let mut pids = Vec::new();
        for name in names {
            pids.push(rig.number(name).await);
        }
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", pids[0])).unwrap();
        assert!(!cgroup.contains(&RunKey(key).to_string()), "{cgroup}");
        rig.executor.kill(RunKey(key));
        let ended = rig.ended().await;
        assert_eq!((ended.how, ended.cause), (SIGKILLED, Cause::Asked));
        assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    }
}

#[tokio::test]
async fn a_guard_goes_on_as_it_began() {
    let rig = Rig::held(Cgroups::Off, PATIENT).await;
    rig.order(1, "echo $$ > $D/leader; sleep 1000");
    rig.number("leader").await;
    let temp = std::sync::Arc::clone(&rig.temp);
    drop(rig);
    // The next start wishes otherwise, but finds the guard.
    let next = within(Executor::start(config(temp.path()))).await.unwrap();
    assert_eq!(next.executor.live(), 1);
    assert_eq!(next.executor.trees().way, Way::Off);
    next.executor.shutdown(Duration::ZERO).await;
}
