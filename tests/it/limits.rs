//! Limits: of memory, where the machine lets a node set them (where it does not, these say so and are skipped), and of outputs.

use tests::{Cluster, Node, Plan};

use super::lives::wait_reason;
use super::wait_state;

/// Takes so much memory, in MiB, in a process that the leader starts.
fn hog(mib: u32) -> [String; 3] {
    let script = format!("head -c {mib}m /dev/zero | tail > /dev/null");
    ["sh".to_owned(), "-c".to_owned(), script]
}

/// A node that limits memory; `None` where it cannot.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn limiting() -> Option<Cluster> {
    let cluster = Cluster::start(1);
    let checkup = cluster[0].aque(&["doctor", "--json"]).run().json();
    let checks = checkup["checks"].as_array().cloned().unwrap_or_default();
    let memory = checks.iter().find(|check| check["topic"] == "memory");
    let memory = memory.expect("the doctor looks at memory");
    if memory["health"] == "ok" {
        return Some(cluster);
    }
    eprintln!("skipped: {}", memory["what"]);
    None
}

fn attempts(node: &Node, id: &str) -> u32 {
    node.task(id).expect("it is known").attempts
}

#[test]
fn who_takes_more_than_was_stated_is_killed() {
    let Some(cluster) = limiting() else { return };
    let node = &cluster[0];
    let id = node.submit(&["--memory", "50M"], &hog(200));
    wait_reason(node, &id, "error", "oom");
    assert_eq!(attempts(node, &id), 1);
    let id = node.submit(&["--memory", "500M"], &hog(20));
    wait_state(node, &id, "success");
    // Nothing was stated: nothing is limited.
    let id = node.submit(&[], &hog(200));
    wait_state(node, &id, "success");
    // A failure of its own is none of the kernel's.
    let id = node.submit(&["--memory", "50M"], &["sh", "-c", "exit 137"]);
    wait_reason(node, &id, "error", "exit 137");
}

#[test]
fn each_try_after_running_out_gets_the_next_size() {
    let Some(cluster) = limiting() else { return };
    let node = &cluster[0];
    let id = node.submit(&["--memory", "30M,60M,900M"], &hog(200));
    wait_state(node, &id, "success");
    assert_eq!(attempts(node, &id), 3);
    let id = node.submit(&["--memory", "20M,40M"], &hog(200));
    wait_reason(node, &id, "error", "oom");
    assert_eq!(attempts(node, &id), 2);
    let named = [
        "--memory",
        "20M",
        "--retries",
        "2",
        "--retry-on",
        "oom",
        "--backoff",
        "0",
    ];
    let id = node.submit(&named, &hog(200));
    wait_reason(node, &id, "error", "oom");
    assert_eq!(attempts(node, &id), 3);
    let shown = node.submit(&["--memory", "1G,2G", "--hold"], &["true"]);
    let show = node.ok(&["show", &shown]);
    assert!(show.contains("then"), "{show}");
    let said = node.aque(&["submit", "--memory", "2G,1G", "true"]).run();
    assert!(said.refused(2).contains("must grow"), "{said}");
}

#[test]
fn a_limit_outlives_the_node_and_leaves_nothing_behind() {
    let Some(mut cluster) = limiting() else {
        return;
    };
    let gate = cluster.path("gate");
    let script = format!(
        "while ! [ -e {} ]; do sleep 0.05; done; head -c 200m /dev/zero | tail > /dev/null",
        gate.display()
    );
    let id = cluster[0].submit(&["-s", "--memory", "50M"], &[script]);
    wait_state(&cluster[0], &id, "running");
    cluster[0].kill();
    cluster[0].start();
    std::fs::write(&gate, "").expect("the gate opens");
    wait_reason(&cluster[0], &id, "error", "oom");
    assert_eq!(attempts(&cluster[0], &id), 1, "it is the same run");
}

#[test]
fn of_a_long_output_the_beginning_and_the_end_are_kept() {
    let cluster = Plan::of(2).flags(&["--output-limit", "64KiB"]).start();
    let script = "seq 100000 130000; sleep 0.3; seq 130001 160000; echo the end";
    let id = cluster[0].submit(&[], &["sh", "-c", script]);
    let followed = cluster[1].ok(&["output", "-w", &id]);
    wait_state(&cluster[0], &id, "success");
    let kept = cluster[1].ok(&["output", &id]);
    assert_eq!(followed, kept, "who follows it gets what is kept");
    assert!(kept.starts_with("100000\n100001\n") && kept.ends_with("160000\nthe end"));
    assert!(kept.contains("of the middle are cut out]\n"), "it is told");
    assert!(kept.len() < 70_000, "{}", kept.len());
    let last = cluster[1].ok(&["output", "-n", "2", &id]);
    assert_eq!(last, "160000\nthe end");
}
