//! `aque explain`: what stands in a task's way, as each host says, on real meshes.

use std::fs;

use rustix::process::Signal;
use tests::{Cluster, Evidence, Node, Plan, settle};

use super::{wait_known, wait_state};

/// What each host says, by name: the kind of reason and the words.
fn reasons(node: &Node, id: &str) -> Vec<(String, String, String)> {
    let said = node.aque(&["--json", "explain", id]).run().json();
    let hosts = said["hosts"].as_array().expect("there are hosts").clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    hosts
        .iter()
        .map(|line| {
            (
                text(&line["host"]),
                text(&line["kind"]),
                text(&line["what"]),
            )
        })
        .collect()
}

/// Waits until the hosts name these kinds, the one that is asked first.
#[track_caller]
fn wait_kinds(node: &Node, id: &str, kinds: &[(&str, &str)]) -> Vec<String> {
    settle(&format!("{kinds:?} of {id}"), || {
        let found = reasons(node, id);
        let named: Vec<(&str, &str)> = found
            .iter()
            .map(|(host, kind, _)| (&host[..], &kind[..]))
            .collect();
        if named == kinds {
            Ok(found.into_iter().map(|(.., what)| what).collect())
        } else {
            Err(format!("{found:?}"))
        }
    })
}

#[test]
fn each_host_says_what_stands_in_the_way() {
    let cluster = Plan::of(3).cpus(1).start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let busy = cluster[0].submit_many(3, &evidence.until(&gate));
    for id in &busy {
        wait_state(&cluster[2], id, "running");
    }
    let first = cluster[0].submit(&["-p", "2000", "--host", "n0"], &evidence.brief());
    let waits = cluster[0].submit(&["--host", "n0,n1"], &evidence.brief());
    wait_known(&cluster[2], &[&first, &waits]);
    let said = wait_kinds(
        &cluster[2],
        &waits,
        &[("n2", "misfit"), ("n0", "behind"), ("n1", "room")],
    );
    assert_eq!(said[0], "is not asked for");
    let before = format!("takes {first} (priority 2000, not 1000) first, and has no room");
    assert!(said[1].starts_with(&before), "{said:?}");
    assert!(
        said[2].starts_with("has no room: 1 of 1 cpus are taken by "),
        "{said:?}"
    );
    assert!(busy.iter().any(|id| said[2].ends_with(id)), "{said:?}");
    let text = cluster[2].ok(&["explain", &waits]);
    assert!(
        text.starts_with(&format!("{waits} is pending (waits for cpus on ")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 5, "{text}");
    // What holds for all hosts, all say.
    let everywhere = |id: &str, kind: &str, what: &str| {
        let kinds = [("n1", kind), ("n0", kind), ("n2", kind)];
        let said = wait_kinds(&cluster[1], id, &kinds);
        assert!(said.iter().all(|of| of.contains(what)), "{what}: {said:?}");
    };
    let behind = cluster[1].submit(&["--after", &busy[0]], &evidence.brief());
    everywhere(&behind, "waits", &format!("waits for {}", busy[0]));
    let held = cluster[1].submit(&["--hold"], &evidence.brief());
    everywhere(&held, "held", "since its submission");
    let later = cluster[1].submit(&["--delay", "1h"], &evidence.brief());
    everywhere(&later, "early", "waits for its time");
    assert!(cluster[0].ok(&["explain", &later]).contains(", until 20"));
    cluster[0].ok(&["queue", "set", "q", "--slots", "1"]);
    cluster[0].ok(&["queue", "pause", "q"]);
    let queued = cluster[1].submit(&["--queue", "q"], &evidence.brief());
    everywhere(&queued, "queue", "queue q is paused");
    cluster[1].ok(&["drain", "n1"]);
    wait_kinds(
        &cluster[0],
        &waits,
        &[("n0", "behind"), ("n1", "drained"), ("n2", "misfit")],
    );
    for id in [&behind, &held, &later, &queued] {
        cluster[1].ok(&["kill", id]);
    }
    fs::write(&gate, "").expect("the gate opens");
    wait_state(&cluster[0], &waits, "success");
    let ended = cluster[1].ok(&["explain", &waits]);
    assert!(
        ended.contains("knows that it has ended: success"),
        "{ended}"
    );
}

#[test]
fn who_cannot_start_it_says_why() {
    let cluster = Cluster::start(2);
    let dir = cluster.path("later");
    let id = cluster[0].submit(&["--cwd", &dir.display().to_string()], &["pwd"]);
    let said = wait_kinds(&cluster[0], &id, &[("n0", "unfit"), ("n1", "unfit")]);
    assert!(
        said.iter().all(|of| of.contains("is not there")),
        "{said:?}"
    );
    fs::create_dir(&dir).expect("a directory can be made");
    wait_state(&cluster[0], &id, "success");
}

#[test]
fn hosts_that_do_not_answer_are_told_of_as_they_were() {
    let mut cluster = Plan::of(3).start();
    let id = cluster[0].submit(&["-c", "64"], &["true"]);
    let open = cluster[0].submit(&["--hold"], &["true"]);
    wait_kinds(
        &cluster[0],
        &id,
        &[("n0", "misfit"), ("n1", "misfit"), ("n2", "misfit")],
    );
    cluster[1].signal(Signal::STOP);
    let said = wait_kinds(
        &cluster[0],
        &id,
        &[("n0", "misfit"), ("n1", "silent"), ("n2", "misfit")],
    );
    assert!(said[1].ends_with("; it has 2 of 64 cpus"), "{said:?}");
    cluster[1].signal(Signal::CONT);
    cluster[1].kill_host();
    cluster[2].kill_host();
    let said = wait_kinds(
        &cluster[0],
        &id,
        &[("n0", "misfit"), ("n1", "silent"), ("n2", "silent")],
    );
    settle("both to be missed", || {
        let said = reasons(&cluster[0], &id);
        let missed = |of: &(String, String, String)| of.2.starts_with("is not heard of since");
        if said[1..].iter().all(missed) {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    });
    assert_eq!(said[0], "has 2 of 64 cpus");
    cluster[0].ok(&["release", &open]);
    let said = wait_kinds(
        &cluster[0],
        &open,
        &[("n0", "committee"), ("n1", "silent"), ("n2", "silent")],
    );
    let why = "waits for a majority of its committee: n1, n2 not heard of";
    assert_eq!(said[0], why);
    let said = cluster[0].aque(&["explain", "nope"]).run();
    assert!(said.refused(1).contains("no task 'nope'"), "{said}");
}
