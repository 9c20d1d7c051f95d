//! Arrays on real meshes: one record, many tasks.

use std::fs;

use tests::{Cluster, Evidence, Plan, settle};

use super::{wait_known, wait_state};

#[test]
fn elements_know_their_index_and_never_too_many_run() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let words = evidence.brief();
    let array = cluster[0].submit(&["--array", "10-49:3%2"], &words);
    wait_known(&cluster[2], &[&array]);
    wait_state(&cluster[2], &array, "success");
    let history = evidence.history();
    assert!(history.most_at_once() <= 2, "{}", history.most_at_once());
    for index in (10..=49).step_by(3) {
        let id = format!("{array}.{index}");
        assert_eq!(history.of(&id).len(), 1, "{id}");
    }
    assert_eq!(history.started(), 14);
    let line = cluster[1].task(&array).expect("it is known");
    assert_eq!(
        line.members.and_then(|of| of.get("success").copied()),
        Some(14)
    );
    for odd in ["11", "7", "52", "x", ""] {
        let id = format!("{array}.{odd}");
        let said = cluster[1].aque(&["show", &id]).run();
        assert!(said.refused(1).contains("no task"), "{said}");
    }
}

#[test]
fn elements_run_in_their_order_where_one_runs_at_a_time() {
    let cluster = Plan::of(1).cpus(1).start();
    let file = cluster.path("order");
    let script = format!("echo $AQUE_ARRAY_INDEX >> {}", file.display());
    for _ in 0..5 {
        cluster[0].ok(&["submit", "--wait", "--array", "1-6", "-s", &script]);
        let order = fs::read_to_string(&file).expect("they have run");
        assert_eq!(order, "1\n2\n3\n4\n5\n6\n");
        fs::remove_file(&file).expect("it is there");
    }
}

#[test]
fn each_line_and_each_item_is_a_task() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let show = [
        "sh",
        "-c",
        "printf '%s|%s\\n' \"$AQUE_ARRAY_INDEX\" \"$AQUE_ARRAY_ENTRY\"",
    ];
    let file = cluster.path("lines");
    fs::write(&file, "a b\n\n  it's\n").expect("the file is written");
    let file = file.to_string_lossy().into_owned();
    let array = node.submit(&["--each-line", &file], &show);
    wait_state(node, &array, "success");
    let out = |index: u32| node.ok(&["output", &format!("{array}.{index}")]);
    assert_eq!([out(1), out(2), out(3)], ["1|a b", "2|", "3|  it's"]);
    let words = ["submit", "--from-json", "-", "sh", "-c", show[2]];
    let array = node.aque(&words).input(r#"["x y", {"k": [1, 2]}]"#).run();
    let array = array.ok().to_owned();
    wait_state(node, &array, "success");
    let out = |index: u32| node.ok(&["output", &format!("{array}.{index}")]);
    assert_eq!([out(1), out(2)], ["1|x y", r#"2|{"k": [1, 2]}"#]);
    for (words, input, status, why) in [
        (
            &["--from-json", "-", "true"][..],
            "{}",
            1,
            "cannot read the entries",
        ),
        (&["--from-json", "-", "true"], "[]", 1, "no entries"),
        (&["--each-line", "/no/such", "true"], "", 1, "/no/such"),
        (&["--array", "9-1", "true"], "", 2, "less than"),
        (
            &["--array", "1-4294967295", "true"],
            "",
            1,
            "at most 1000000",
        ),
        (&["--array", "1-2", "-w", "true"], "", 2, "--wait waits"),
        (&["--at-once", "2", "true"], "", 2, "goes with"),
    ] {
        let said = node.aque(&[&["submit"], words].concat()).input(input).run();
        assert!(said.refused(status).contains(why), "{said}");
    }
}

#[test]
fn only_the_failed_elements_run_again() {
    let cluster = Cluster::start(2);
    let go = cluster.path("go");
    let marks = cluster.path("marks");
    let script = format!(
        "echo $AQUE_ARRAY_INDEX >> {}; test $((AQUE_ARRAY_INDEX % 4)) != 0 -o -e {}",
        marks.display(),
        go.display()
    );
    let array = cluster[0].submit(&["--array", "1-20"], &["sh", "-c", &script]);
    wait_state(&cluster[0], &array, "error");
    wait_known(&cluster[1], &[&array]);
    wait_state(&cluster[1], &format!("{array}.8"), "error");
    wait_state(&cluster[1], &array, "error");
    fs::write(go, "").expect("the file is made");
    let said = cluster[1].aque(&["retry", "--failed", &array]).run();
    assert!(said.stderr.contains("5 tasks"), "{said}");
    wait_state(&cluster[0], &array, "success");
    let ran = fs::read_to_string(marks).expect("they ran").lines().count();
    assert_eq!(ran, 25);
    let one = format!("{array}.3");
    cluster[0].ok(&["retry", "-s", &one]);
    settle("one element to run twice", || {
        match cluster[1].task(&one)?.attempts {
            2 => Ok(()),
            count => Err(format!("{count} runs")),
        }
    });
}

/// What is written for an array does not grow with it as its elements do: the records are of the segments that hold them.
#[test]
fn one_record_stands_for_a_segment_of_elements() {
    let mut cluster = Plan::of(1).cpus(0).start();
    let node = &cluster[0];
    let before = node.figure("aque_flushes_total").expect("a figure");
    let array = node.submit(&["--array", "1-30000"], &["true"]);
    let spent = node.figure("aque_flushes_total").expect("a figure") - before;
    assert!(spent < 20, "{spent} flushes");
    assert_eq!(
        node.figure("aque_submitted_total").expect("a figure"),
        30_001
    );
    // A restart reads them back.
    cluster.nodes_mut()[0].kill();
    cluster.nodes_mut()[0].start();
    let line = cluster[0].task(&array).expect("it is known");
    assert_eq!(
        line.members.and_then(|of| of.get("pending").copied()),
        Some(30_000)
    );
    let last = cluster[0]
        .task(&format!("{array}.30000"))
        .expect("it is known");
    assert_eq!(last.state.name(), "pending");
    cluster[0].ok(&["kill", &format!("{array}.7")]);
    wait_state(&cluster[0], &format!("{array}.7"), "cancelled");
}
