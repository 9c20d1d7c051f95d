//! Hosts die, freeze and come back, at any instant and in any order; nothing is lost, and nothing runs twice at once.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use tests::{Cluster, Evidence, Plan, settle};

use super::{all_succeed, no_runs, wait_state};

/// Waits until so many runs have started.
#[track_caller]
fn wait_started(evidence: &Evidence, count: usize) {
    settle("runs to start", || match evidence.history().started() {
        started if started >= count => Ok(()),
        started => Err(format!("{started} of {count}")),
    });
}

/// Waits until a host runs something that has not come to its end.
#[track_caller]
fn wait_busy(evidence: &Evidence, ids: &[String], host: &str) {
    settle("a run in full swing", || {
        let history = evidence.history();
        let open = |id: &String| {
            history
                .of(id)
                .iter()
                .any(|run| run.host == host && !run.ended)
        };
        if ids.iter().any(open) {
            Ok(())
        } else {
            Err(format!("{host} runs nothing"))
        }
    });
}

#[test]
fn a_killed_nodes_work_is_done_elsewhere() {
    let mut cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[0].submit_many(60, &evidence.beats(4));
    wait_started(&evidence, 12);
    wait_busy(&evidence, &ids, "n2");
    // The node alone: its guard ends the runs at their deadlines, unless they end before.
    cluster[2].kill();
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &["n2"]);
    cluster[2].start();
    cluster.wait_whole();
    all_succeed(&cluster, ids.len());
}

#[test]
fn a_host_that_took_submissions_and_died_is_not_missed() {
    let mut cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[0].submit_many(40, &evidence.beats(4));
    wait_busy(&evidence, &ids, "n0");
    cluster[0].kill_host();
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &["n0"]);
    cluster[0].start();
    cluster.wait_whole();
    all_succeed(&cluster, ids.len());
    // It goes on counting where it was.
    let next = cluster[0].submit(&[], &["true"]);
    assert!(!ids.contains(&next));
    all_succeed(&cluster, ids.len() + 1);
}

#[test]
fn a_killed_guard_takes_its_runs_along_and_they_run_again() {
    let cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[0].submit_many(30, &evidence.beats(4));
    wait_busy(&evidence, &ids, "n1");
    let guard = cluster[1].guard().expect("a node has a guard");
    tests::processes::signal(guard, Signal::KILL);
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &["n1"]);
}

#[test]
fn a_frozen_nodes_runs_end_at_their_deadline_and_run_elsewhere() {
    let cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let ids = cluster[0].submit_many(6, &evidence.until(&gate));
    wait_started(&evidence, 6);
    wait_busy(&evidence, &ids, "n2");
    cluster[2].signal(Signal::STOP);
    settle("the guard to end the runs of the frozen node", || {
        no_runs(&cluster[2])
    });
    fs::write(&gate, "").expect("the gate opens");
    settle("others to take over what n2 ran", || {
        let history = evidence.history();
        match ids
            .iter()
            .filter(|id| history.of(id).last().is_some_and(|run| run.host == "n2"))
            .count()
        {
            0 => Ok(()),
            left => Err(format!("{left} tasks have not run since")),
        }
    });
    cluster[2].signal(Signal::CONT);
    cluster.wait_whole();
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &["n2"]);
}

#[test]
fn all_hosts_restart_in_every_order() {
    let mut cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let mut ids = Vec::new();
    for (round, order) in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ]
    .into_iter()
    .enumerate()
    {
        let before = evidence.history().started();
        ids.extend(cluster[order[0]].submit_many(6, &evidence.beats(2)));
        wait_started(&evidence, before + 1);
        for place in order {
            // Every other time properly, every other time as by a power cut.
            if round % 2 == 0 {
                assert!(cluster[place].leave().success());
            } else {
                cluster[place].kill_host();
            }
        }
        for place in order {
            cluster[place].launch(&[]);
        }
        cluster
            .nodes_mut()
            .iter_mut()
            .for_each(tests::Node::wait_ready);
        cluster.wait_whole();
    }
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &["n0", "n1", "n2"]);
}

#[test]
fn a_rolling_restart_loses_nothing() {
    let mut cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let mut ids = Vec::new();
    for place in 0..3 {
        ids.extend(cluster[(place + 1) % 3].submit_many(30, &evidence.beats(3)));
        wait_busy(&evidence, &ids, &format!("n{place}"));
        assert!(cluster[place].leave().success());
        cluster[place].start();
        cluster.wait_whole();
    }
    all_succeed(&cluster, ids.len());
    // Runs that a leaving host cut short ran again.
    evidence.history().judge(&ids, &["n0", "n1", "n2"]);
}

#[test]
fn a_mesh_killed_as_a_whole_loses_nothing() {
    let mut cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[1].submit_many(90, &evidence.beats(2));
    wait_started(&evidence, 30);
    let known = cluster[1].tasks().expect("it answers");
    cluster.nodes_mut().iter_mut().for_each(tests::Node::kill);
    cluster
        .nodes_mut()
        .iter_mut()
        .for_each(tests::Node::kill_host);
    cluster
        .nodes_mut()
        .iter_mut()
        .for_each(|node| node.launch(&[]));
    cluster
        .nodes_mut()
        .iter_mut()
        .for_each(tests::Node::wait_ready);
    all_succeed(&cluster, ids.len());
    let history = evidence.history();
    history.judge(&ids, &["n0", "n1", "n2"]);
    for line in known.iter().filter(|line| line.state.name() == "success") {
        assert_eq!(
            history.of(&line.id).len(),
            1,
            "{} had succeeded and ran again",
            line.id
        );
    }
}

#[test]
fn a_long_run_survives_only_as_long_as_its_host() {
    let mut cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let id = cluster[0].submit(&[], &evidence.until(&gate));
    wait_state(&cluster[0], &id, "running");
    let mut lost = Vec::new();
    // The task moves from host to host as they die one after the other, each back before the next dies.
    for _ in 0..2 {
        let history = settle("a run in full swing", || {
            let history = evidence.history();
            match history.of(&id).last() {
                Some(run)
                    if run.last > run.first && !lost.contains(&(run.epoch, run.host.clone())) =>
                {
                    Ok(history)
                }
                _ => Err("it does not run"),
            }
        });
        let run = history.of(&id).last().cloned().expect("it runs");
        let place = cluster
            .nodes()
            .iter()
            .position(|node| node.name() == run.host)
            .expect("a known host");
        lost.push((run.epoch, run.host));
        let began = Instant::now();
        cluster[place].kill_host();
        settle("a take-over", || match evidence.history().of(&id).len() {
            runs if runs > lost.len() => Ok(()),
            _ => Err(format!("nobody took it over in {:?}", began.elapsed())),
        });
        cluster[place].start();
        cluster.wait_whole();
    }
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 1);
    let excused: Vec<&str> = lost.iter().map(|(_, host)| host.as_str()).collect();
    let history = evidence.history();
    history.judge(std::slice::from_ref(&id), &excused);
    assert_eq!(history.of(&id).len(), 3);
    assert_eq!(cluster[0].task(&id).expect("it is known").attempts, 3);
    // Any host can tell why it ran again, and by which rule.
    let told = cluster[1].aque(&["why-twice", "--json", &id]).run().json();
    let runs = told["tasks"][0]["runs"].as_array().expect("a list of runs");
    assert_eq!(runs.len(), 3, "{told}");
    for (run, said) in runs.iter().zip(history.of(&id)) {
        assert_eq!(
            (&run["host"], &run["epoch"]),
            (&said.host.as_str().into(), &said.epoch.into())
        );
        assert!(
            run["votes"]
                .as_array()
                .is_some_and(|votes| votes.len() >= 2),
            "{told}"
        );
    }
    assert!(cluster[2].ok(&["why-twice", &id]).contains("[V2 ("));
}

#[test]
fn nothing_is_left_over_when_a_node_leaves() {
    let mut cluster = Cluster::start(1);
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[0].submit_many(4, &evidence.brief());
    all_succeed(&cluster, ids.len());
    assert!(cluster[0].leave().success());
    let data = cluster[0].data();
    settle("the guard's end", || {
        match tests::processes::of_directory(&data) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} live")),
        }
    });
    assert!(!cluster[0].socket().exists(), "the socket is removed");
    let live = fs::read_dir(data.join("runs")).map(|entries| {
        entries
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name != "live")
            .count()
    });
    assert_eq!(live.unwrap_or_default(), 0, "no file of a run is left");
}
