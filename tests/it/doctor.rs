//! `aque doctor`: what it finds well, what it finds amiss, and what it says where nobody answers.

use rustix::process::Signal;
use serde_json::Value;
use tests::{Cluster, Node, Plan, processes, settle};

/// Returns how a topic is, as a node's doctor says.
fn health(node: &Node, topic: &str) -> Result<String, String> {
    let said = node.aque(&["--json", "doctor"]).run();
    let checkup: Value = serde_json::from_str(&said.stdout).map_err(|error| error.to_string())?;
    let checks = checkup["checks"].as_array().ok_or("no checks")?;
    let check = checks.iter().find(|check| check["topic"] == topic);
    let health = check.and_then(|check| check["health"].as_str());
    let health = health.ok_or_else(|| format!("{topic} was not looked at: {said}"))?;
    // The exit status follows the worst.
    let fault = checks.iter().any(|check| check["health"] == "fault");
    assert_eq!(said.status.code(), Some(i32::from(fault)), "{said}");
    Ok(health.to_owned())
}

#[track_caller]
fn wait_health(node: &Node, topic: &str, expected: &str) {
    settle(&format!("{topic} to be {expected}"), || {
        match health(node, topic)? {
            found if found == expected => Ok(()),
            found => Err(format!("it is {found}")),
        }
    });
}

#[test]
fn a_lost_host_is_told_of_with_what_to_do() {
    let mut cluster = Cluster::start(3);
    let topics = [
        "disk", "guard", "files", "parts", "peers", "versions", "gate", "refused", "authors",
    ];
    for topic in topics {
        wait_health(&cluster[0], topic, "ok");
    }
    cluster[2].kill_host();
    wait_health(&cluster[0], "peers", "warning");
    let said = cluster[0].aque(&["doctor"]).run();
    let text = said.ok();
    assert!(text.contains("not heard of: n2"), "{text}");
    assert!(text.contains("see that these hosts run"), "{text}");
    cluster[1].kill_host();
    wait_health(&cluster[0], "peers", "fault");
    cluster[1].start();
    cluster[2].start();
    wait_health(&cluster[0], "peers", "ok");
}

#[test]
fn a_guard_that_is_stopped_is_a_fault() {
    let cluster = Cluster::start(1);
    let guard = cluster[0].guard().expect("a node has a guard");
    processes::signal(guard, Signal::STOP);
    wait_health(&cluster[0], "guard", "fault");
    let said = cluster[0].aque(&["doctor"]).run();
    let pid = guard.as_raw_nonzero();
    assert!(
        said.stdout.contains(&format!("process {pid} is stopped")),
        "{said}"
    );
    processes::signal(guard, Signal::CONT);
    wait_health(&cluster[0], "guard", "ok");
}

#[test]
fn it_tells_by_which_means_runs_are_ended() {
    let cluster = Plan::of(1).flags(&["--cgroups", "off"]).start();
    wait_health(&cluster[0], "trees", "ok");
    let said = cluster[0].aque(&["doctor"]).run();
    assert!(said.ok().contains("--cgroups is off"), "{said}");
    // What can be had depends on the host; what is said must fit.
    let cluster = Cluster::start(1);
    let found = health(&cluster[0], "trees").expect("it is looked at");
    let said = cluster[0].aque(&["doctor"]).run();
    let fits = match found.as_str() {
        "ok" => "what runs start is killed with them: cgroup v",
        _ => "no cgroup can be made",
    };
    assert!(said.stdout.contains(fits), "{said}");
}

#[test]
fn tasks_that_nobody_can_claim_are_told_of() {
    let mut cluster = Cluster::start(3);
    let held = cluster[0].submit(&["--hold"], &["true"]);
    wait_health(&cluster[0], "committees", "ok");
    cluster[1].kill_host();
    cluster[2].kill_host();
    wait_health(&cluster[0], "committees", "fault");
    let said = cluster[0].aque(&["doctor"]).run();
    let why = "1 unfinished task can be claimed by nobody";
    assert!(said.stdout.contains(why), "{said}");
    assert!(said.stdout.contains("not heard of: n1, n2\n"), "{said}");
    cluster[1].start();
    wait_health(&cluster[0], "committees", "ok");
    cluster[0].ok(&["release", &held]);
    super::wait_state(&cluster[0], &held, "success");
}

#[test]
fn hosts_that_hear_of_each_other_through_a_third_alone_are_told_of() {
    let Some(lan) = tests::Lan::of(3) else {
        return;
    };
    let cluster = Plan::of(3).short_lease().start_on(lan);
    for topic in ["reach", "clocks", "sync", "wall clocks"] {
        wait_health(&cluster[0], topic, "ok");
    }
    cluster.lan().cut_one_way(0, 2);
    cluster.lan().cut_one_way(2, 0);
    wait_health(&cluster[0], "reach", "warning");
    let said = cluster[0].aque(&["doctor"]).run();
    assert!(
        said.stdout.contains("heard of, but not connected: n2 ("),
        "{said}"
    );
    cluster.lan().heal();
    wait_health(&cluster[0], "reach", "ok");
}

#[test]
fn where_nobody_answers_it_says_so() {
    let mut cluster = Cluster::start(1);
    cluster[0].kill_host();
    let said = cluster[0].aque(&["doctor"]).run();
    assert_eq!(said.status.code(), Some(1), "{said}");
    assert!(said.stdout.starts_with("fault    node"), "{said}");
    assert!(said.stdout.contains("aque-node"), "{said}");
}
