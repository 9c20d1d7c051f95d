//! Submissions with a key: asked again, they are the same task.

use serde_json::json;
use tests::{Cluster, Lan, Node, Plan};

use super::queues::wait_why;
use super::{wait_known, wait_state};

#[test]
fn what_is_submitted_again_under_its_key_is_the_same_task() {
    let mut cluster = Cluster::start(2);
    let key = ["--key", "nightly 2026"];
    let submit = |node: &Node| node.submit(&key, &["sh", "-c", "echo once"]);
    let id = submit(&cluster[0]);
    wait_known(&cluster[1], &[&id]);
    assert_eq!(
        [submit(&cluster[0]), submit(&cluster[1])],
        [id.clone(), id.clone()]
    );
    wait_state(&cluster[1], &id, "success");
    assert_eq!(submit(&cluster[1]), id, "also after its end");
    let shown = cluster[1].ok(&["show", &id]);
    assert!(shown.contains("nightly 2026"), "{shown}");
    let other = cluster[0].submit(&["--key", "weekly"], &["true"]);
    assert_ne!(other, id);
    let again = cluster[1].aque(&["submit", "--json", "--key=nightly 2026", "true"]);
    let said = again.run().json();
    assert_eq!((&said["id"], &said["known"]), (&json!(id), &json!(true)));

    let first = &mut cluster.nodes_mut()[0];
    first.kill();
    first.start();
    assert_eq!(submit(&cluster[0]), id, "and after a restart");
    assert_eq!(cluster[0].ok(&["output", &id]), "once", "it ran once");
    cluster[0].ok(&["rm", &id]);
    assert_ne!(
        submit(&cluster[0]),
        id,
        "once it is removed, the key is free"
    );
}

#[test]
fn groups_have_keys_as_well() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let array = || node.ok(&["submit", "--key", "frames", "--array", "1-3", "true"]);
    let id = array();
    assert_eq!(array(), id);
    let fed = |more: &[&str]| {
        let words = [&["xargs", "--key", "lines", "-n1"][..], more, &["echo"]].concat();
        node.aque(&words).input("a\nb\n").run()
    };
    let first = fed(&[]).ok().to_owned();
    let second = fed(&[]);
    assert!(second.stderr.contains("has this key already"), "{second}");
    assert_eq!(second.ok(), first);
    let watched = fed(&["-w"]);
    assert!(watched.refused(1).contains("aque wait"), "{watched}");
    node.ok(&["wait", id.trim(), first.trim()]);
    assert_eq!(
        node.tasks().expect("it answers").len(),
        5,
        "of each as many as at first"
    );
}

#[test]
fn of_two_that_were_taken_apart_the_first_counts() {
    let Some(lan) = Lan::of(3) else { return };
    let cluster = Plan::of(3).short_lease().start_on(lan);
    // Nothing starts before both sides have heard of each other.
    cluster[0].ok(&["queue", "pause", "slow"]);
    let queue = ["--queue", "slow", "--durable", "local", "--key", "nightly"];
    let probe = cluster[2].submit(&["--queue", "slow"], &["true"]);
    wait_why(&cluster[2], &probe, "paused");
    cluster.lan().split(&[2]);
    let first = cluster[0].submit(&queue, &["true"]);
    let second = cluster[2].submit(&queue, &["true"]);
    assert_ne!(first, second);
    cluster.lan().heal();
    wait_known(&cluster[0], &[&second]);
    wait_state(&cluster[0], &second, "cancelled");
    cluster[0].ok(&["queue", "resume", "slow"]);
    wait_state(&cluster[2], &first, "success");
    let shown = cluster[2].ok(&["show", &second]);
    let why = format!("superseded by {first}");
    assert!(shown.contains(&why), "{shown}");
    assert_eq!(cluster[2].submit(&queue, &["true"]), first);
}
