//! Tasks that read what other tasks wrote, on real meshes: from whichever host has it, whole or not at all.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tests::{Cluster, Node, Plan, settle};

use super::lives::wait_reason;
use super::{wait_known, wait_state};

/// Prints a few megabytes that differ everywhere, and no newline at their end.
const LONG: &str = "seq 1 500000; printf 'the\\0end'";

fn run_on(node: &Node, host: &str, options: &[&str], script: &str) -> String {
    node.submit(
        &[&["--host", host], options].concat(),
        &["sh", "-c", script],
    )
}

/// The stored outputs of a node.
fn stored(node: &Node) -> Vec<PathBuf> {
    let shelves = fs::read_dir(node.data().join("outputs")).expect("a node has a store");
    let shelves = shelves.map(|shelf| shelf.expect("it can be read").path());
    let shelves = shelves.filter(|shelf| shelf.file_name().is_some_and(|name| name.len() == 2));
    let files = shelves.flat_map(|shelf| fs::read_dir(shelf).expect("it can be read"));
    files
        .map(|file| file.expect("it can be read").path())
        .collect()
}

fn spooled(node: &Node) -> usize {
    let files = fs::read_dir(node.data().join("outputs/spool"));
    files.map_or(0, Iterator::count)
}

#[test]
fn any_host_reads_it_whole() {
    let mut cluster = Cluster::start(3);
    let source = run_on(&cluster[0], "n1", &[], LONG);
    let sinks: Vec<String> = ["n0", "n1", "n2"]
        .iter()
        .map(|host| {
            run_on(
                &cluster[2 * usize::from(*host == "n1")],
                host,
                &["--pipe-from", &source],
                "cksum",
            )
        })
        .collect();
    let direct = cluster[0].ok(&["submit", "-w", "sh", "-c", &format!("({LONG}) | cksum")]);
    for sink in &sinks {
        wait_state(&cluster[1], sink, "success");
        assert_eq!(cluster[1].ok(&["output", sink]), direct);
    }
    let show = cluster[2].ok(&["show", &sinks[0]]);
    assert!(show.contains(&format!("after       {source}")), "{show}");
    assert!(
        show.contains(&format!("stdin       output of {source}")),
        "{show}"
    );
    assert_eq!([0, 1, 2].map(|place| spooled(&cluster[place])), [1, 0, 1]);
    // What was kept for runs goes with the node's process.
    cluster[0].kill();
    cluster[0].start();
    assert_eq!(spooled(&cluster[0]), 0);
}

#[test]
fn every_kind_of_task_can_be_read_and_can_read() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let read = |options: &[&str], script: &str| {
        node.ok(&[&["submit", "-w"], options, &["sh", "-c", script]].concat())
    };
    // Nothing written is nothing to read, and so is what never ran.
    let silent = node.submit(&[], &["true"]);
    assert_eq!(read(&["--pipe-from", &silent], "wc -c"), "0");
    let never = node.submit(&["--hold"], &["echo", "never"]);
    node.ok(&["kill", &never]);
    let words = ["--pipe-from", &never, "--after-any", &never];
    assert_eq!(read(&words, "wc -c"), "0");
    // Of a failure its output is read where that is asked for.
    let fails = run_on(node, "n1", &[], "echo so far; exit 3");
    let words = ["--pipe-from", &fails, "--after-fail", &fails];
    assert_eq!(read(&words, "cat"), "so far");
    let not = node.submit(&["--pipe-from", &fails], &["cat"]);
    wait_reason(node, &not, "cancelled", &format!("dependency {fails}"));
    // An element of an array, by an array, and by the members of a group.
    let array = node.submit(&["--array", "5-7"], &["sh", "-c", "echo $AQUE_ARRAY_INDEX"]);
    let words = ["--pipe-from", &format!("{array}.6"), "--array", "1-2"];
    let readers = node.submit(&words, &["cat"]);
    wait_state(node, &readers, "success");
    for index in 1..=2 {
        let element = format!("{readers}.{index}");
        assert_eq!(node.ok(&["output", &element]), "6");
    }
    let words = [
        "xargs",
        "-w",
        "-k",
        "-n1",
        "--pipe-from",
        &fails,
        "--after-any",
        &fails,
    ];
    let words = [&words[..], &["sh", "-c", "cat; echo $0"]].concat();
    let said = node.aque(&words).input("a b").run();
    assert_eq!(said.ok(), "so far\na\nso far\nb");
    // What a run submits reads nothing of that.
    let aque = tests::programs::programs().aque.display().to_string();
    let script = format!("cat; {aque} submit -w wc -c");
    let words = ["--pipe-from", &fails, "--after-any", &fails];
    assert_eq!(read(&words, &script), "so far\n0");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let group = node.aque(&["xargs", "-n1", "echo"]).input("a b").run();
    let group = group.ok().to_owned();
    let array = node.submit(&["--array", "1-3"], &["true"]);
    let file = cluster.path("file").to_string_lossy().into_owned();
    let writes = node.submit(&["--stdout", &file], &["echo", "x"]);
    let plain = node.submit(&[], &["true"]);
    for (words, status, why) in [
        (vec!["--pipe-from", &group], 1, "name one of them, such as"),
        (
            vec!["--pipe-from", &array],
            1,
            &format!("such as {array}.1")[..],
        ),
        (vec!["--pipe-from", &writes], 1, &format!("--stdin {file}")),
        (vec!["--pipe-from", "zzzzzz-9"], 1, "zzzzzz-9"),
        (
            vec!["--pipe-from", &plain, "--stdin", "x"],
            2,
            "cannot be used with",
        ),
        (
            vec!["--pipe-from", &plain, "--stdin-text", "x"],
            2,
            "cannot be used with",
        ),
    ] {
        let said = node
            .aque(&[&["submit"], &words[..], &["cat"]].concat())
            .run();
        assert!(said.refused(status).contains(why), "{said}");
    }
}

#[test]
fn a_host_that_is_away_is_waited_for() {
    let mut cluster = Plan::of(3).short_lease().start();
    let source = run_on(&cluster[0], "n1", &[], LONG);
    wait_state(&cluster[0], &source, "success");
    cluster[1].kill_host();
    let sink = run_on(&cluster[0], "n0", &["--pipe-from", &source], "wc -c");
    wait_reason(&cluster[0], &sink, "pending", "no input: the output of");
    wait_reason(
        &cluster[2],
        &sink,
        "pending",
        "on n1, which is not heard of",
    );
    // Its slot is free.
    let other = run_on(&cluster[0], "n0", &[], "true");
    wait_state(&cluster[0], &other, "success");
    cluster[1].start();
    wait_state(&cluster[0], &sink, "success");
}

#[test]
fn what_is_gone_for_good_fails_the_task() {
    let mut cluster = Plan::of(3).short_lease().start();
    let [lost, damaged, cut, given_up] = ["a", "b", "c", "d"].map(|word| {
        let before = stored(&cluster[1]);
        let script = format!("seq 1 5000; echo {word}");
        let source = run_on(&cluster[0], "n1", &[], &script);
        wait_state(&cluster[1], &source, "success");
        let mut files = stored(&cluster[1]);
        files.retain(|file| !before.contains(file));
        assert_eq!(files.len(), 1, "{files:?}");
        (source, files.remove(0))
    });
    fs::remove_file(&lost.1).expect("a file is removed");
    let mut bytes = fs::read(&damaged.1).expect("a file is read");
    bytes[0] ^= 1;
    fs::write(&damaged.1, bytes).expect("a file is written");
    let short = fs::read(&cut.1).expect("a file is read");
    fs::write(&cut.1, &short[..100]).expect("a file is written");
    for host in ["n0", "n1"] {
        for (source, why) in [
            (&lost.0, "not stored there any more"),
            (&damaged.0, ""),
            (&cut.0, ""),
        ] {
            let sink = run_on(
                &cluster[0],
                host,
                &["--pipe-from", source, "--retries", "3"],
                "wc -c",
            );
            let reason = format!("no input: the output of {source} on n1: ");
            wait_reason(&cluster[0], &sink, "error", &reason);
            wait_reason(&cluster[0], &sink, "error", why);
            let line = cluster[0].task(&sink).expect("it is known");
            assert_eq!((line.attempts, line.exit), (0, None));
        }
    }
    cluster[1].kill_host();
    let sink = run_on(&cluster[0], "n0", &["--pipe-from", &given_up.0], "wc -c");
    wait_reason(&cluster[0], &sink, "pending", "no input");
    cluster[0].ok(&["forget", "n1"]);
    wait_reason(&cluster[2], &sink, "error", "n1: that host was given up");
}

#[test]
fn of_a_cut_output_nothing_is_read() {
    let cluster = Plan::of(2).flags(&["--output-limit", "64KiB"]).start();
    let source = run_on(&cluster[0], "n1", &[], LONG);
    wait_state(&cluster[0], &source, "success");
    for host in ["n0", "n1"] {
        let sink = run_on(&cluster[0], host, &["--pipe-from", &source], "wc -c");
        wait_reason(&cluster[0], &sink, "error", "its middle was cut out");
    }
}

/// A node that stands still has answered nothing and closed nothing: who reads from it waits.
#[test]
fn a_run_that_waits_can_be_ended() {
    let mut cluster = Cluster::start(3);
    let source = run_on(&cluster[0], "n1", &[], LONG);
    wait_state(&cluster[0], &source, "success");
    wait_known(&cluster[2], &[&source]);
    cluster[1].signal(Signal::STOP);
    let waits = |node: &Node, count: usize| {
        settle("runs to wait for their input", || {
            let waiting = node.log().matches("run waits for its input").count();
            (waiting >= count).then_some(()).ok_or(waiting)
        });
    };
    let killed = run_on(&cluster[0], "n0", &["--pipe-from", &source], "cat");
    let held = run_on(&cluster[0], "n0", &["--pipe-from", &source], "cat");
    waits(&cluster[0], 2);
    cluster[0].ok(&["kill", &killed]);
    wait_state(&cluster[0], &killed, "cancelled");
    cluster[0].ok(&["hold", &held]);
    wait_state(&cluster[0], &held, "held");
    let left = run_on(&cluster[2], "n2", &["--pipe-from", &source], "wc -c");
    waits(&cluster[2], 1);
    // A node that leaves hands back what waits.
    assert!(cluster[2].leave().success());
    cluster[1].signal(Signal::CONT);
    cluster[2].start();
    wait_state(&cluster[0], &left, "success");
    cluster[0].ok(&["release", &held]);
    wait_state(&cluster[0], &held, "success");
    let history: Vec<u32> = [&killed, &held, &left]
        .iter()
        .map(|id| cluster[0].task(id).expect("it is known").attempts)
        .collect();
    assert_eq!(history, [0, 1, 1]);
}
