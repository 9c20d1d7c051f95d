//! Limits: of memory and processors, where the machine lets a node set them (where it does not, these say so and are skipped), and
//! of outputs.

use std::fs;
use std::path::{Path, PathBuf};

use tests::{Cluster, Node, Plan};

use super::lives::wait_reason;
use super::wait_state;

/// Takes so much memory, in MiB, in a process that the leader starts.
fn hog(mib: u32) -> [String; 3] {
    let script = format!("head -c {mib}m /dev/zero | tail > /dev/null");
    ["sh".to_owned(), "-c".to_owned(), script]
}

/// A node that limits something, and what its doctor says of it; `None` where it cannot.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn limits(topic: &str) -> Option<(Cluster, String)> {
    let cluster = Cluster::start(1);
    let checkup = cluster[0].aque(&["doctor", "--json"]).run().json();
    let checks = checkup["checks"].as_array().cloned().unwrap_or_default();
    let told = |topic: &str| {
        let check = checks.iter().find(|check| check["topic"] == topic);
        let check = check.expect("the doctor looks at it");
        let what = check["what"].as_str().unwrap_or_default().to_owned();
        (check["health"] == "ok", what)
    };
    let (works, what) = told(topic);
    if !works {
        eprintln!("skipped: {what}");
        return None;
    }
    // Where all cgroups of runs are, if no other directory has those with the limit.
    let place = if what.contains(" at /") {
        what
    } else {
        told("trees").1
    };
    Some((cluster, place))
}

/// A node that limits memory; `None` where it cannot.
fn limiting() -> Option<Cluster> {
    limits("memory").map(|(cluster, _)| cluster)
}

/// The directory of all cgroups with a limit, in a doctor's words.
fn directory(told: &str) -> PathBuf {
    let path = told.split(" at ").nth(1).expect("it names a directory");
    PathBuf::from(path)
}

/// What is said in one file of each run's cgroup.
fn said(directory: &Path, file: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the guard has a directory");
    let texts = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join(file)).ok());
    texts.map(|text| text.trim_end().to_owned()).collect()
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
fn who_states_processors_gets_no_more_of_them() {
    let Some((cluster, told)) = limits("cpus") else {
        return;
    };
    let node = &cluster[0];
    let directory = directory(&told);
    // It works until it has had to wait: without a limit, for ever.
    let script = format!(
        "until grep -q 'nr_throttled [1-9]' {}/*/cpu.stat; do :; done",
        directory.display()
    );
    let id = node.submit(&["-s", "-c", "0.1"], &[&script]);
    wait_state(node, &id, "success");
    let show = node.ok(&["show", &id]);
    assert!(show.contains("limits      in force: cpus\n"), "{show}");
    let gate = cluster.path("gate");
    let waits = format!("until [ -e {} ]; do sleep 0.01; done", gate.display());
    let limited = |options: &[&str]| {
        let _gone = fs::remove_file(&gate);
        let id = node.submit(&[&["-s"], options].concat(), &[&waits]);
        wait_state(node, &id, "running");
        let quotas = [
            said(&directory, "cpu.max"),
            said(&directory, "cpu.cfs_quota_us"),
        ]
        .concat();
        fs::write(&gate, "").expect("the gate opens");
        wait_state(node, &id, "success");
        let has_limit = |quota: &&String| !quota.starts_with("max") && *quota != "-1";
        let found: Vec<String> = quotas.iter().filter(has_limit).cloned().collect();
        (found, node.ok(&["show", &id]))
    };
    let (quotas, _) = limited(&["-c", "0.5"]);
    let [quota] = &quotas[..] else {
        panic!("{quotas:?}");
    };
    assert!(
        ["50000", "50000 100000"].contains(&quota.as_str()),
        "{quota}"
    );
    // Nothing was stated: nothing is limited, and nothing said of it.
    let (quotas, show) = limited(&[]);
    assert!(quotas.is_empty(), "{quotas:?}");
    assert!(!show.contains("\nlimits "), "{show}");
    let (quotas, _) = limited(&["-c", "0"]);
    assert!(quotas.is_empty(), "{quotas:?}");
}

#[test]
fn a_node_without_cgroups_says_that_limits_were_not_in_force() {
    let cluster = Plan::of(1).flags(&["--cgroups", "off"]).start();
    let node = &cluster[0];
    let id = node.submit(&["-c", "1", "-m", "1G"], &["true"]);
    wait_state(node, &id, "success");
    let show = node.ok(&["show", &id]);
    assert!(show.contains("not in force: cpus, memory"), "{show}");
    let doctor = node.aque(&["doctor"]).run().stdout;
    assert!(
        doctor.contains("runs may take more of cpus than their tasks state: --cgroups is off"),
        "{doctor}"
    );
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
