//! Which tasks a verb is about: states, filters, and ids that they narrow, on real meshes.

use tests::{Cluster, Node, Plan};

use super::{wait_known, wait_state};

/// The ids of a status with these options, in order.
fn listed(node: &Node, options: &[&str]) -> Vec<String> {
    let said = node.aque(&[&["status", "--json"], options].concat()).run();
    let list = said.json();
    let tasks = list["tasks"].as_array().expect("a list");
    let ids = tasks.iter().map(|task| task["id"].as_str().expect("an id"));
    ids.map(str::to_owned).collect()
}

#[test]
fn filters_choose_what_is_shown_at_any_host() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let good = node.submit(&["-n", "render 1", "-p", "2000", "-m", "1M"], &["true"]);
    let bad = node.submit(&["-n", "render 2"], &["sh", "-c", "exit 3"]);
    let killed = node.submit(&["-n", "other"], &["sh", "-c", "kill -9 $$"]);
    let later = node.submit(&["-n", "it's late", "--hold", "-a", &good], &["true"]);
    let all = [&good, &bad, &killed, &later];
    for node in cluster.nodes() {
        wait_state(node, &good, "success");
        wait_state(node, &bad, "error");
        wait_state(node, &killed, "error");
        wait_state(node, &later, "held");
        for (filter, fits) in [
            ("state = success", &all[..1]),
            ("state in (success, HELD)", &[&good, &later]),
            ("state = COMPLETE", &all[..3]),
            ("name ~ 'render*' and state != success", &[&bad]),
            ("exit = 3", &[&bad]),
            ("exit > 0 or signal = KILL", &all[1..3]),
            ("not name ~ 'render*'", &all[2..]),
            ("name = 'it''s late' and host = none", &[&later]),
            ("priority > 1000 and memory >= 1M", &[&good]),
            (
                "age < 1h and created > 2020-01-01 and ended != none",
                &all[..3],
            ),
            ("wall < 10m and rss > 0", &all[..3]),
            ("host in (n0, n1) and attempts = 1", &all[..3]),
            ("reason = 'exit 3'", &[&bad]),
            (&format!("after = {good}"), &[&later]),
            ("command ~ '*exit 3*'", &[&bad]),
            ("user = nobody-at-all", &[]),
        ] {
            let expected: Vec<String> = fits.iter().map(|id| (*id).clone()).collect();
            assert_eq!(listed(node, &["-f", filter]), expected, "{filter}");
        }
        assert_eq!(listed(node, &["--failed"]), [bad.clone(), killed.clone()]);
        assert_eq!(
            listed(node, &["--state", "UNREADY"]),
            std::slice::from_ref(&later)
        );
        assert_eq!(
            listed(node, &["--failed", &good, &bad]),
            std::slice::from_ref(&bad)
        );
    }
    // A limit counts what fits.
    let newest = listed(node, &["-f", "state = COMPLETE", "--limit", "1"]);
    assert_eq!(newest, std::slice::from_ref(&killed));
    let wrong = node.aque(&["status", "-f", "sate = error"]).run();
    assert!(
        wrong.refused(2).contains("column 1 of the filter"),
        "{wrong}"
    );
    assert!(wrong.stderr.contains("do you mean state?"), "{wrong}");
    assert_eq!(node.ok(&["output", "-f", "exit = 3"]), "");
    let shown = node.ok(&["show", "-f", "exit = 3"]);
    assert!(shown.contains(&bad) && !shown.contains(&good), "{shown}");
}

#[test]
fn verbs_take_what_fits_and_nothing_else() {
    let cluster = Plan::of(2).cpus(1).start();
    let node = &cluster[0];
    let held: Vec<String> = (0..4)
        .map(|n| node.submit(&["--hold", "-n", &format!("h{n}")], &["true"]))
        .collect();
    wait_known(&cluster[1], &held.iter().collect::<Vec<_>>());
    let other = &cluster[1];
    other.ok(&["release", "-f", "name in (h0, h1)"]);
    other.ok(&["wait", "-f", "name in (h0, h1)"]);
    other.ok(&["kill", "--state", "held", &held[2]]);
    wait_state(node, &held[2], "cancelled");
    wait_state(node, &held[3], "held");
    node.ok(&["release", "--state", "UNREADY"]);
    node.ok(&["wait", &held[3]]);
    for words in [
        &["kill", "-f", "name = nothing"][..],
        &["wait", "--failed"],
        &["hold", "--state", "running"],
        &["output", "-f", "name = nothing"],
    ] {
        let said = node.aque(words).run();
        assert!(said.refused(1).contains("no task fits"), "{said}");
    }
    for words in [&["kill"][..], &["wait", "-x"], &["hold"], &["show"]] {
        let said = node.aque(words).run();
        assert!(said.refused(2).contains("not said which tasks"), "{said}");
    }
}

#[test]
fn groups_are_looked_at_through_their_members() {
    let cluster = Plan::of(1).cpus(2).start();
    let node = &cluster[0];
    let array = node.ok(&[
        "submit",
        "-n",
        "frames",
        "--array",
        "1-4",
        "-s",
        "exit $((AQUE_ARRAY_INDEX / 3))",
    ]);
    let waited = node.aque(&["wait", &array]).run();
    assert_eq!(waited.status.code(), Some(1), "{waited}");
    let elements = |from: u32, to: u32| -> Vec<String> {
        (from..=to)
            .map(|index| format!("{array}.{index}"))
            .collect()
    };
    assert_eq!(listed(node, &["-f", "name = frames"]), elements(1, 4));
    assert_eq!(listed(node, &["--failed", &array]), elements(3, 4));
    assert_eq!(
        listed(node, &["-f", &format!("group = {array} and exit = 0")]),
        elements(1, 2)
    );
    node.ok(&["retry", "-f", &format!("id = {array}.3")]);
    let waited = node.aque(&["wait", &format!("{array}.3")]).run();
    assert_eq!(waited.status.code(), Some(1), "{waited}");
    assert_eq!(listed(node, &["-f", "attempts > 1"]), elements(3, 3));
}
