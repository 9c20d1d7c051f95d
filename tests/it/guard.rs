//! What outlives a node: its guard, its runs until their deadlines, and how they ended.

use std::fs;

use rustix::process::Signal;
use tests::{Cluster, Evidence, Plan, processes, settle};

use super::{all_succeed, no_runs, wait_state};

/// Waits until a task has run so far that its output has begun.
#[track_caller]
fn wait_begun(cluster: &Cluster, evidence: &Evidence, id: &str) {
    wait_state(&cluster[0], id, "running");
    settle("a run in full swing", || {
        match evidence.history().of(id).last() {
            Some(run) if run.last > run.first => Ok(()),
            _ => Err("it has not begun"),
        }
    });
}

#[test]
fn a_run_goes_on_while_its_node_is_killed_and_started() {
    let lease = ["--heartbeat", "500ms", "--lease", "6s"];
    let mut cluster = Plan::of(1).flags(&lease).start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let id = cluster[0].submit(&[], &evidence.until(&gate));
    wait_begun(&cluster, &evidence, &id);
    let guard = cluster[0].guard().expect("a node has a guard");
    // Each time anew: a run that was found is held by this start's own answers.
    for _ in 0..3 {
        cluster[0].kill();
        cluster[0].start();
        wait_state(&cluster[0], &id, "running");
        assert_eq!(
            cluster[0].guard().expect("a node has a guard"),
            guard,
            "the guard has outlived its node"
        );
    }
    let restarted = evidence.history().of(&id)[0].last;
    settle(
        "the run to go on beyond every lease of before",
        || match evidence.history().of(&id) {
            [run] if run.last > restarted + 6_000_000_000 => Ok(()),
            runs => Err(format!("{runs:?}")),
        },
    );
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 1);
    let history = evidence.history();
    history.judge(std::slice::from_ref(&id), &[]);
    assert_eq!(history.of(&id).len(), 1, "it ran once");
    assert_eq!(cluster[0].task(&id).expect("it is known").attempts, 1);
}

#[test]
fn an_end_without_a_node_is_told_by_the_next() {
    let mut cluster = Plan::of(1).start();
    let gate = cluster.path("gate");
    let script = format!(
        "echo before; until [ -e {0} ]; do sleep 0.01; done; echo after; echo error >&2; touch {0}.passed; exit 7",
        gate.display()
    );
    let id = cluster[0].submit(&[], &["sh", "-c", script.as_str()]);
    wait_state(&cluster[0], &id, "running");
    cluster[0].kill();
    fs::write(&gate, "").expect("the gate opens");
    settle("the run to end without its node", || {
        match gate.with_extension("passed").exists() && no_runs(&cluster[0]).is_ok() {
            true => Ok(()),
            false => Err("it lives"),
        }
    });
    cluster[0].start();
    wait_state(&cluster[0], &id, "error");
    let line = cluster[0].task(&id).expect("it is known");
    assert_eq!(line.exit, Some(7), "{line:?}");
    assert_eq!(line.attempts, 1);
    assert_eq!(cluster[0].ok(&["output", &id]), "before\nafter");
    settle("the guard to forget what is durable", || {
        let live = fs::read_dir(cluster[0].data().join("outputs/live"));
        match live.map(Iterator::count) {
            Ok(0) => Ok(()),
            other => Err(format!("live files are left: {other:?}")),
        }
    });
}

#[test]
fn a_node_that_stays_away_loses_its_runs_at_their_deadline_and_its_guard_after_them() {
    let mut cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let id = cluster[0].submit(&[], &evidence.until(&gate));
    wait_begun(&cluster, &evidence, &id);
    let history = evidence.history();
    let host = history.of(&id)[0].host.clone();
    let place = cluster.nodes().iter().position(|node| node.name() == host);
    let place = place.expect("a known host");
    cluster[place].kill();
    let home = cluster[place].home().join("");
    settle(
        "the end of all that the dead node had",
        || match processes::of_directory(&home) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} live")),
        },
    );
    settle("a take-over", || match evidence.history().of(&id).len() {
        2.. => Ok(()),
        _ => Err("nobody took it over"),
    });
    fs::write(&gate, "").expect("the gate opens");
    cluster[place].start();
    cluster.wait_whole();
    all_succeed(&cluster, 1);
    evidence.history().judge(&[id], &[host.as_str()]);
}

#[test]
fn a_stopped_guard_is_replaced_and_its_runs_run_again() {
    let cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let id = cluster[0].submit(&[], &evidence.until(&gate));
    wait_begun(&cluster, &evidence, &id);
    let host = evidence.history().of(&id)[0].host.clone();
    let node = cluster.nodes().iter().find(|node| node.name() == host);
    let node = node.expect("a known host");
    let guard = node.guard().expect("a node has a guard");
    processes::signal(guard, Signal::STOP);
    settle("another guard", || match node.guard() {
        Some(other) if other != guard => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(
        !processes::lives(guard.as_raw_pid()),
        "the stopped one is gone"
    );
    settle("another run", || match evidence.history().of(&id).len() {
        2.. => Ok(()),
        _ => Err("it has not run again"),
    });
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 1);
    for other in cluster.nodes() {
        settle("all to hear what became of the first run", || {
            let shown = other.ok(&["show", &id]);
            match shown.contains("the guard died and the run with it: ") {
                true => Ok(()),
                false => Err(shown),
            }
        });
    }
    evidence.history().judge(&[id], &[host.as_str()]);
    assert!(
        node.log().contains("the guard stands still"),
        "{}",
        node.log_tail()
    );
}

#[test]
fn a_run_that_forks_twice_does_not_escape() {
    let cluster = Plan::of(1).start();
    let pid = cluster.path("pid");
    // Another session, another parent, nothing of the environment.
    let script = format!(
        "env -i setsid sh -c 'sh -c \"echo \\$\\$ > {0}; exec sleep 1000\" & exit' & until [ -s {0} ]; do sleep 0.01; done; sleep 1000",
        pid.display()
    );
    let id = cluster[0].submit(&[], &["sh", "-c", script.as_str()]);
    let stray = settle("the stray", || {
        let text = fs::read_to_string(&pid).unwrap_or_default();
        text.trim().parse::<i32>().map_err(|_| "it has not begun")
    });
    cluster[0].ok(&["kill", &id]);
    wait_state(&cluster[0], &id, "killed");
    assert!(!processes::lives(stray), "{stray} lives");
}

#[test]
fn node_and_guard_killed_together_lose_the_run_and_run_it_again() {
    let mut cluster = Plan::of(1).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let id = cluster[0].submit(&[], &evidence.until(&gate));
    wait_begun(&cluster, &evidence, &id);
    let guard = cluster[0].guard().expect("a node has a guard");
    cluster[0].kill();
    processes::signal(guard, Signal::KILL);
    cluster[0].start();
    assert_ne!(cluster[0].guard().expect("a node has a guard"), guard);
    settle("another run", || match evidence.history().of(&id).len() {
        2.. => Ok(()),
        _ => Err("it has not run again"),
    });
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 1);
    evidence.history().judge(&[id], &["n0"]);
}
