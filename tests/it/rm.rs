//! Tasks that are removed once they have ended, on real meshes.

use std::fs;
use std::path::Path;

use tests::{Cluster, Node, settle};

use super::lives::wait_reason;
use super::{wait_known, wait_state};

/// The outputs that a node keeps: names of files, which are digests.
fn outputs(node: &Node) -> Vec<String> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a directory can be read");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    };
    let store = node.data().join("outputs");
    let shelves = names(&store).into_iter().filter(|name| name.len() == 2);
    let mut all: Vec<String> = shelves.flat_map(|name| names(&store.join(name))).collect();
    all.sort_unstable();
    all
}

#[track_caller]
fn wait_outputs(cluster: &Cluster, count: usize) {
    settle(&format!("{count} outputs to be kept"), || {
        let kept: usize = cluster.nodes().iter().map(|node| outputs(node).len()).sum();
        if kept == count { Ok(()) } else { Err(kept) }
    });
}

/// Waits until a node shows just these tasks.
#[track_caller]
fn wait_shown(node: &Node, ids: &[&String]) {
    settle(&format!("{} to show {ids:?}", node.name()), || {
        let tasks = node.tasks().map_err(|error| error.to_string())?;
        let mut shown: Vec<String> = tasks.into_iter().map(|line| line.id).collect();
        shown.sort_unstable();
        let mut wanted: Vec<&String> = ids.to_vec();
        wanted.sort_unstable();
        let same = shown.iter().eq(wanted);
        if same {
            Ok(())
        } else {
            Err(format!("{shown:?}"))
        }
    });
}

#[test]
fn what_was_removed_is_gone_with_its_output_and_stays_gone() {
    let mut cluster = Cluster::start(3);
    let one = cluster[0].submit(&[], &["echo", "of one alone"]);
    let two = cluster[1].submit(&[], &["echo", "of two"]);
    let three = cluster[2].submit(&[], &["echo", "of two"]);
    let failed = cluster[2].submit(&[], &["sh", "-c", "echo why >&2; exit 3"]);
    for id in [&one, &two, &three, &failed] {
        for node in cluster.nodes() {
            wait_known(node, &[id]);
        }
    }
    let kept: usize = {
        assert_eq!(cluster.wait_ended().len(), 4);
        let hosts = [&two, &three].map(|id| cluster[0].task(id).expect("it is known").host);
        if hosts[0] == hosts[1] { 3 } else { 4 }
    };
    wait_outputs(&cluster, kept);
    let said = cluster[1].aque(&["rm", &one, &two]).run();
    assert_eq!(said.stderr, "aque: 2 tasks removed\n", "{said}");
    assert_eq!(said.ok(), "");
    for node in cluster.nodes() {
        wait_shown(node, &[&three, &failed]);
    }
    let told = cluster[2].ok(&["events", "--past"]);
    let removed = format!("\"event\":\"removed\",\"id\":\"{one}\"");
    assert!(told.contains(&removed), "{told}");
    // What another task wrote as well is kept.
    wait_outputs(&cluster, 2);
    assert_eq!(cluster[0].ok(&["output", &three]), "of two");
    for verb in ["show", "output", "retry", "rm", "kill", "wait"] {
        let said = cluster[0].aque(&[verb, &one]).run();
        let why = format!("task '{one}' was removed");
        assert!(said.refused(1).contains(&why), "{said}");
    }
    let said = cluster[2].aque(&["submit", "--after", &one, "true"]).run();
    assert!(said.refused(1).contains("was removed"), "{said}");
    cluster[2].ok(&["rm", "--errored"]);
    for place in 0..3 {
        cluster[place].kill_host();
    }
    for node in cluster.nodes_mut() {
        node.start();
    }
    cluster.wait_whole();
    for node in cluster.nodes() {
        wait_shown(node, &[&three]);
    }
    wait_outputs(&cluster, 1);
    let next = cluster[0].submit(&[], &["true"]);
    assert_eq!(next, format!("{}-2", cluster[0].ready().tag));
    wait_state(&cluster[1], &next, "success");
}

#[test]
fn only_what_has_ended_goes_unless_it_is_cancelled_first() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let gate = cluster.path("gate");
    let script = format!("until test -e {}; do sleep 0.05; done", gate.display());
    let runs = node.submit(&[], &["sh", "-c", &script]);
    wait_state(node, &runs, "running");
    let held = node.submit(&["--hold"], &["true"]);
    let done = node.submit(&[], &["true"]);
    let behind = node.submit(&["--after-fail", &done], &["true"]);
    wait_reason(node, &behind, "cancelled", "dependency");
    let said = node.aque(&["rm", &runs]).run();
    let why = format!("{runs} is running: only what has ended can be removed");
    assert!(said.refused(1).contains(&why), "{said}");
    // Of several, those that can go do.
    let said = node.aque(&["rm", &held, &done]).run();
    assert_eq!(said.status.code(), Some(1), "{said}");
    assert!(said.stderr.contains("held, and stays"), "{said}");
    wait_shown(&cluster[1], &[&runs, &held, &behind]);
    node.ok(&["rm", "-p", &held]);
    wait_shown(&cluster[1], &[&runs, &behind]);
    let other = node.submit(&["--hold"], &["true"]);
    node.ok(&["rm", "-c", "-p"]);
    wait_shown(&cluster[1], &[&runs]);
    let said = node.aque(&["show", &other]).run();
    assert!(said.refused(1).contains("was removed"), "{said}");
    fs::write(&gate, "").expect("the gate opens");
    wait_state(&cluster[1], &runs, "success");
    let said = node.aque(&["rm", "-e", "-k"]).run();
    assert!(said.refused(1).contains("no task fits"), "{said}");
    for args in [&["rm"][..], &["rm", "-x"]] {
        let said = node.aque(args).run();
        let told = said.refused(2);
        assert!(told.contains("it is not said which tasks"), "{told}");
    }
    let said = node.aque(&["rm", "-f", "exit = "]).run();
    assert_eq!(said.status.code(), Some(2), "{said}");
    let three = node.submit(&[], &["sh", "-c", "exit 3"]);
    wait_state(node, &three, "error");
    node.ok(&["rm", "-f", "exit = 3"]);
    wait_shown(&cluster[1], &[&runs]);
    let noted = node.aque(&["--json", "rm", "-a", "-x"]).run().json();
    assert_eq!(noted["asked"], 1, "{noted}");
    wait_shown(&cluster[1], &[]);
}

#[test]
fn of_a_group_the_members_go_and_it_with_the_last() {
    let cluster = Cluster::start(2);
    let script = "echo $AQUE_ARRAY_INDEX; test $AQUE_ARRAY_INDEX -gt 2";
    let array = cluster[0].submit(&["--array", "1-5"], &["sh", "-c", script]);
    wait_state(&cluster[1], &array, "error");
    let removed = |args: &[&str], count: usize| {
        let noted = cluster[1]
            .aque(&[&["--json", "rm"], args].concat())
            .run()
            .json();
        assert_eq!(noted["asked"], count, "{args:?}: {noted}");
    };
    removed(&["-e", &array], 2);
    let element = |index: u32| format!("{array}.{index}");
    let said = cluster[1].aque(&["show", &element(1)]).run();
    assert!(said.refused(1).contains("was removed"), "{said}");
    let line = cluster[1].task(&array).expect("the array is there");
    let left = line.members.expect("it has members");
    assert_eq!(
        left.into_iter().collect::<Vec<_>>(),
        [("success".to_owned(), 3)]
    );
    removed(&[&element(3)], 1);
    wait_shown(&cluster[0], &[&element(4), &element(5)]);
    removed(&[&array], 2);
    for node in cluster.nodes() {
        wait_shown(node, &[]);
        let said = node.aque(&["show", &array]).run();
        assert!(said.refused(1).contains("was removed"), "{said}");
    }
}
