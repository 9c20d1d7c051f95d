//! What tasks need of their host's file systems: directories, and paths that were declared.

use std::fs;

use tests::disk::DeadMount;
use tests::lan::{is_root, skip};
use tests::{Cluster, Node, Plan, settle};

use super::lives::wait_reason;
use super::wait_state;

/// Starts a node that sees an empty directory where the others see something: its words, and then its own.
const HIDING: &str = "mount -t tmpfs none \"$0\" && exec \"$@\"";

/// The children of a node's process.
fn children(node: &Node) -> Vec<String> {
    let tasks = format!("/proc/{}/task", node.pid().as_raw_pid());
    let threads = fs::read_dir(tasks).expect("it lives").flatten();
    let listed =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let words = listed.collect::<Vec<String>>().join(" ");
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_path_that_was_declared_must_be_there() {
    let cluster = Cluster::start(2);
    let there = cluster.path("share");
    let path = there.display().to_string();
    let id = cluster[0].submit(&["--io-hint", &path], &["cat", "/dev/null"]);
    // Each host says what it found, and every host shows that.
    let missing = format!("{path} is not there");
    for (node, other) in [(0, 1), (1, 0)] {
        let all = format!("fits no host: n{node}: {missing}, n{other}: {missing}");
        wait_reason(&cluster[node], &id, "pending", &all);
    }
    let show = cluster[0].ok(&["show", &id]);
    assert!(show.contains(&format!("paths       {path}\n")), "{show}");
    let bids = |node: usize| cluster[node].figure("aque_bids_total").expect("it counts");
    assert_eq!(bids(0) + bids(1), 0, "nobody bids for what cannot be run");
    fs::create_dir(&there).expect("a directory can be made");
    wait_state(&cluster[0], &id, "success");
    // What only looks like a path says nothing of hosts.
    let id = cluster[0].submit(&[], &["echo", "/no/such/file"]);
    wait_state(&cluster[0], &id, "success");
    // Streams from and to files are declared, too.
    for (option, found) in [
        ("--stdin", "is not there"),
        ("--stdout", "is not there"),
        ("--stderr", "is not there"),
    ] {
        let path = cluster.path("none/file").display().to_string();
        let id = cluster[0].submit(&[option, &path], &["true"]);
        wait_reason(&cluster[1], &id, "pending", found);
    }
}

#[test]
fn who_does_not_see_a_path_leaves_its_tasks_to_others() {
    if !is_root() {
        return skip("a mount of one's own", "it needs root");
    }
    let mut cluster = Plan::of(1).cpus(0).start();
    let share = cluster.path("share");
    fs::create_dir(&share).expect("a directory can be made");
    fs::write(share.join("data"), "text").expect("a file can be written");
    let ticket = cluster[0].ready().ticket.clone();
    let path = share.display().to_string();
    let hiding = ["unshare", "--mount", "sh", "-c", HIDING, &path];
    let join = ["--join", &ticket];
    cluster.add_through(&hiding, 2, &join);
    cluster.add_through(&hiding, 2, &join);
    cluster.wait_whole();
    let data = share.join("data").display().to_string();
    let ids: Vec<String> = (0..5)
        .map(|_| cluster[1].submit(&["--io-hint", &data], &["cat", &data]))
        .collect();
    let missing = format!("{data} is not there");
    let all = format!("fits no host: n0 runs no tasks, n1: {missing}, n2: {missing}");
    for id in &ids {
        wait_reason(&cluster[0], id, "pending", &all);
    }
    let sees = cluster.add(1, &ticket);
    for id in &ids {
        wait_state(&cluster[0], id, "success");
        let line = cluster[0].task(id).expect("it is known");
        let host = line.host.expect("it ran");
        assert_eq!((host, line.attempts), (format!("n{sees}"), 1));
    }
    for blind in [1, 2] {
        assert_eq!(
            cluster[blind].figure("aque_bids_total").expect("it counts"),
            0
        );
    }
}

#[test]
fn a_directory_that_is_missing_is_learnt_once_for_all_tasks() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let cwd = cluster.path("later");
    let path = cwd.display().to_string();
    let ids: Vec<String> = (0..20)
        .map(|_| node.submit(&["--cwd", &path], &["true"]))
        .collect();
    for id in &ids {
        wait_reason(node, id, "pending", &format!("{path} is not there"));
    }
    fs::create_dir(&cwd).expect("a directory can be made");
    for id in &ids {
        wait_state(node, id, "success");
    }
    let wasted = node.figure("aque_bids_total").expect("it counts") - 20;
    assert!(wasted <= 2, "{wasted} bids for what could not be started");
}

#[test]
fn a_mount_that_does_not_answer_holds_nobody() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let at = cluster.path("dead");
    let Some(dead) = DeadMount::mount(&at) else {
        return;
    };
    let guard = node.guard();
    let path = at.display().to_string();
    let below = at.join("input").display().to_string();
    let told = format!("{path} does not answer");
    let id = node.submit(&["--cwd", &path], &["true"]);
    let reads = node.submit(&["--io-hint", &path], &["true"]);
    let input = node.submit(&["--stdin", &below], &["cat"]);
    // All the while others run.
    assert_eq!(node.ok(&["submit", "-w", "echo", "alive"]), "alive");
    for id in [&id, &reads] {
        wait_reason(node, id, "pending", &told);
    }
    wait_reason(node, &input, "pending", &format!("{below} does not answer"));
    assert_eq!(node.ok(&["submit", "-w", "echo", "alive"]), "alive");
    assert_eq!(node.guard(), guard, "the guard was never held");
    drop(dead);
    fs::write(&below, "text").expect("it is a directory as any other now");
    for id in [&id, &reads, &input] {
        wait_state(node, id, "success");
    }
    settle("no look to be left over", || {
        let left = children(node);
        match left.len() {
            // The guard.
            1 => Ok(()),
            _ => Err(format!("the node has the children {left:?}")),
        }
    });
}
