//! Tasks that have ended and run again, on real meshes.

use std::fs;

use tests::{Cluster, Node, settle};

use super::lives::wait_reason;
use super::{wait_known, wait_state};

/// A script that fails until there is a file.
fn unless(cluster: &Cluster, file: &str) -> [String; 3] {
    let file = cluster.path(file);
    let script = format!(
        "echo try $AQUE_ATTEMPT epoch $AQUE_EPOCH; test -e {}",
        file.display()
    );
    ["sh".to_owned(), "-c".to_owned(), script]
}

fn attempts(node: &Node, id: &str) -> u32 {
    node.task(id).map_or(0, |line| line.attempts)
}

#[test]
fn what_failed_runs_again_under_its_id() {
    let cluster = Cluster::start(3);
    let id = cluster[0].submit(
        &["--retries", "1", "--backoff", "10ms"],
        &unless(&cluster, "go"),
    );
    let after = cluster[0].submit(&["--after", &id], &["true"]);
    wait_reason(&cluster[1], &id, "error", "exit 1");
    wait_reason(&cluster[2], &after, "cancelled", "dependency");
    let said = cluster[2].aque(&["retry", &after]).run();
    assert!(said.refused(1).contains("never ran (dependency"), "{said}");
    // Both tries again, and another failure.
    cluster[1].ok(&["retry", &id]);
    settle("both tries to be made again", || {
        match attempts(&cluster[0], &id) {
            4 => Ok(()),
            count => Err(format!("{count} runs")),
        }
    });
    wait_reason(&cluster[0], &id, "error", "exit 1");
    fs::write(cluster.path("go"), "").expect("the file is made");
    cluster[2].ok(&["retry", &id]);
    for node in cluster.nodes() {
        wait_state(node, &id, "success");
        // What was cancelled for want of it follows.
        wait_state(node, &after, "success");
    }
    let output = cluster[0].ok(&["output", &id]);
    assert!(output.starts_with("try 5 "), "{output}");
    // What the earlier ones printed is there still, from any host.
    for (node, n) in cluster.nodes().iter().zip(["1", "3", "5"]) {
        let output = node.ok(&["output", "--attempt", n, &id]);
        assert!(output.starts_with(&format!("try {n} ")), "{output}");
    }
    for n in ["0", "6"] {
        let said = cluster[1].aque(&["output", "--attempt", n, &id]).run();
        let why = format!("there is no attempt {n}: it has run 5 times");
        assert!(said.refused(1).contains(&why), "{said}");
    }
    let said = cluster[0].aque(&["retry", &id]).run();
    assert!(said.refused(1).contains("-s runs"), "{said}");
    cluster[0].ok(&["retry", "-s", &id]);
    settle("it to run once more", || match attempts(&cluster[1], &id) {
        6 => Ok(()),
        count => Err(format!("{count} runs")),
    });
    wait_state(&cluster[0], &id, "success");
}

#[test]
fn what_was_killed_or_has_expired_may_run_after_all() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let killed = node.submit(&["--hold"], &["true"]);
    node.ok(&["kill", &killed]);
    let expired = node.submit(&["--expire", "100ms", "--cpus", "5000"], &["true"]);
    wait_state(node, &killed, "cancelled");
    wait_reason(node, &expired, "cancelled", "expired");
    cluster[1].ok(&["retry", &killed]);
    // It was submitted held, and nobody has let it go.
    wait_state(node, &killed, "held");
    cluster[1].ok(&["release", &killed]);
    wait_state(node, &killed, "success");
    cluster[1].ok(&["retry", &expired]);
    wait_reason(node, &expired, "pending", "fits no host");
    node.ok(&["kill", &expired]);
    wait_state(&cluster[1], &expired, "cancelled");
    let said = node.aque(&["retry"]).run();
    assert_eq!(said.status.code(), Some(2), "{said}");
    let said = node.aque(&["retry", "--failed"]).run();
    assert!(said.refused(1).contains("none of your tasks"), "{said}");
}

#[test]
fn of_a_group_only_what_failed_runs_again() {
    let cluster = Cluster::start(2);
    let marks = cluster.path("marks");
    let script = format!(
        "echo $0 >> {}; test $0 = a -o $0 = d -o -e {}",
        marks.display(),
        cluster.path("go").display()
    );
    let words = ["xargs", "-n1", "-P1", "sh", "-c", &script];
    let group = cluster[0].aque(&words).input("a b c d").run();
    let group = group.ok().to_owned();
    wait_known(&cluster[1], &[&group]);
    wait_state(&cluster[1], &group, "error");
    fs::write(cluster.path("go"), "").expect("the file is made");
    let said = cluster[1].aque(&["retry", "--failed", &group]).run();
    assert!(said.stderr.contains("2 tasks run again"), "{said}");
    wait_state(&cluster[0], &group, "success");
    let mut ran: Vec<String> = fs::read_to_string(&marks)
        .expect("they ran")
        .lines()
        .map(str::to_owned)
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, ["a", "b", "b", "c", "c", "d"]);
}

#[test]
fn a_sub_tree_runs_again_and_no_restart_forgets_it() {
    let mut cluster = Cluster::start(1);
    let first = cluster[0].submit(&[], &["true"]);
    let second = cluster[0].submit(&["--after", &first], &["false"]);
    let third = cluster[0].submit(&["--after-fail", &second], &["true"]);
    wait_state(&cluster[0], &third, "success");
    cluster[0].ok(&["retry", "-s", "-r", &first]);
    let all_ran_twice = |node: &Node| {
        settle("all three to run twice", || {
            let counts = [&first, &second, &third].map(|id| attempts(node, id));
            match counts {
                [2, 2, 2] => Ok(()),
                _ => Err(format!("{counts:?}")),
            }
        });
    };
    all_ran_twice(&cluster[0]);
    wait_state(&cluster[0], &third, "success");
    cluster.nodes_mut()[0].kill();
    cluster.nodes_mut()[0].start();
    all_ran_twice(&cluster[0]);
    for (id, state) in [(&first, "success"), (&second, "error"), (&third, "success")] {
        wait_state(&cluster[0], id, state);
    }
}
