//! `aque output` of several tasks, on real meshes.

use std::collections::BTreeSet;

use tests::Cluster;

use super::{wait_known, wait_state};

#[test]
fn each_line_of_several_tasks_stands_behind_its_id() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    // Halves of lines, so that those of two tasks would meet in one.
    let script = "for n in 1 2 3; do printf half-; sleep 0.05; echo $AQUE_ARRAY_INDEX.$n; done; printf last; echo bad >&2";
    let array = node.ok(&["submit", "--array", "1-3", "--", "sh", "-c", script]);
    let followed = cluster[1].aque(&["output", "-w", &array]).run();
    let mut expected = BTreeSet::new();
    for index in 1..=3 {
        for n in 1..=3 {
            expected.insert(format!("{array}.{index} | half-{index}.{n}"));
        }
        expected.insert(format!("{array}.{index} | last"));
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(lines(followed.ok()), expected);
    let errors: BTreeSet<String> = (1..=3).map(|at| format!("{array}.{at} | bad")).collect();
    assert_eq!(lines(&followed.stderr), errors);
    wait_state(node, &array, "success");
    assert_eq!(lines(&node.ok(&["output", &array])), expected);
    let (first, third) = (format!("{array}.1"), format!("{array}.3"));
    let bare = node.ok(&["output", "--no-prefix", "--stdout", &third, &first]);
    let whole = |index: u32| format!("half-{index}.1\nhalf-{index}.2\nhalf-{index}.3\nlast");
    assert_eq!(
        bare,
        whole(3) + &whole(1),
        "in the order in which they are named"
    );
    assert_eq!(
        node.ok(&["output", "--stdout", &first]),
        whole(1),
        "one alone is as it is"
    );
    let format = "{host} {fd} {id}: {data}";
    let said = cluster[1].ok(&["output", "--format", format, &first]);
    let host = node.task(&first).expect("it is known").host;
    let host = host.expect("it ran somewhere");
    assert!(
        said.contains(&format!("{host} 1 {first}: half-1.2\n")),
        "{said}"
    );
    assert!(said.contains(&format!("{host} 2 {first}: bad\n")), "{said}");
    let json = node.ok(&["output", "--json", &first, &third]);
    assert!(json.lines().all(|line| line.contains(&array)), "{json}");
    let shown = node.aque(&["output", &first, &third]).on_terminal().run();
    assert!(shown.stdout.contains("\u{1b}["), "{shown}");
}

#[test]
fn of_several_the_first_that_did_not_end_well_gives_the_status() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let ids: Vec<String> = [0, 3, 4]
        .map(|code| node.submit(&[], &["sh", "-c", &format!("echo {code}; exit {code}")]))
        .to_vec();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let watched = |names: &[&str]| node.aque(&[&["output", "-w"], names].concat()).run();
    assert_eq!(watched(&names).status.code(), Some(3));
    assert_eq!(watched(&names[..1]).status.code(), Some(0));
    assert_eq!(watched(&[names[2], names[1]]).status.code(), Some(4));
}

#[test]
fn one_whose_output_is_gone_does_not_hide_the_others() {
    let mut cluster = Cluster::start(2);
    let here = cluster[0].submit(&["--host", "n0"], &["echo", "here"]);
    let there = cluster[0].submit(&["--host", "n1"], &["echo", "there"]);
    for id in [&here, &there] {
        wait_state(&cluster[0], id, "success");
    }
    wait_known(&cluster[0], &[&here, &there]);
    cluster.nodes_mut()[1].kill_host();
    let both = cluster[0].aque(&["output", &here, &there]).run();
    assert_eq!(both.status.code(), Some(1), "{both}");
    assert_eq!(both.stdout, format!("{here} | here\n"));
    assert_eq!(both.stderr.lines().count(), 1, "{both}");
    assert!(both.stderr.contains(&there), "{both}");
}
