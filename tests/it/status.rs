//! What `aque status` shows, on real meshes: the tree, why tasks wait, columns, CSV and patterns.

use std::fs;

use tests::{Cluster, Evidence, Plan};

use super::lives::wait_reason;
use super::{wait_known, wait_state};

/// The first words of each line but the header: what stands where.
fn shape(text: &str) -> Vec<String> {
    let lines = text.lines().skip(1);
    let id = |line: &str| {
        let margin = line.len() - line.trim_start().len();
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let arrow = if first == "→" { words.next() } else { None };
        let id = arrow.map_or_else(|| first.to_owned(), |id| format!("→ {id}"));
        format!("{}{id}", " ".repeat(margin))
    };
    lines.map(id).collect()
}

#[test]
fn tasks_are_a_tree() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let aque = tests::programs::programs().aque.display().to_string();
    let script = format!("{aque} submit true; seq 2 | {aque} xargs -n1 true");
    let parent = node.submit(&[], &["sh", "-c", &script]);
    let group = node.aque(&["xargs", "-n1", "false"]).input("a b c").run();
    let group = group.ok().to_owned();
    let next = node.submit(&["-a", &parent], &["true"]);
    let last = node.submit(&["--after-any", &next], &["true"]);
    let ended = cluster.wait_ended();
    assert_eq!(ended.len(), 1 + 1 + 2 + 3 + 2);
    let children = ended.iter();
    let children = children.filter(|line| line.parent.as_ref() == Some(&parent));
    let children: Vec<_> = children.collect();
    let alone = children.iter().find(|line| line.group.is_none());
    let alone = &alone.expect("it was submitted").id;
    let inner = children.iter().find_map(|line| line.group.clone());
    let inner = inner.expect("a group was submitted");
    for node in cluster.nodes() {
        let closed = node.ok(&["status"]);
        let expected = [
            parent.clone(),
            format!("  {alone}"),
            format!("  {inner}"),
            format!("→ {next}"),
            format!("  → {last}"),
            group.clone(),
        ];
        let (mut seen, mut wanted) = (shape(&closed), expected.to_vec());
        // The order of tasks of two processes is their clocks'.
        seen.sort();
        wanted.sort();
        assert_eq!(seen, wanted, "{closed}");
        assert!(closed.contains("(below: 3 success) sh -c"), "{closed}");
        assert!(closed.contains("(3 error) xargs false"), "{closed}");
        let roots = node.ok(&["status", "-d", "1"]);
        assert_eq!(shape(&roots).len(), 4, "{roots}");
        let all = node.ok(&["status", "-d", "0"]);
        assert_eq!(shape(&all).len(), expected.len() + 2 + 3, "{all}");
        assert!(all.contains("(below: 3 success) sh -c"), "{all}");
        let below = node.ok(&["status", "-d", "0", &parent]);
        assert_eq!(shape(&below).len(), 1 + 1 + 1 + 2, "{below}");
        let failed = node.ok(&["status", "--failed"]);
        assert_eq!(shape(&failed).len(), 1 + 3, "{failed}");
        assert!(
            failed.starts_with("ID") && failed.contains("(3 error)"),
            "{failed}"
        );
    }
    // Which is the newest depends on when the parent ran: it is shown with what it belongs to.
    let limited = node.aque(&["status", "--limit", "1"]).run();
    let shown = shape(limited.ok());
    let newest = [
        vec![last.clone()],
        vec![parent.clone(), format!("  {inner}")],
    ];
    assert!(newest.contains(&shown), "{limited}");
    assert!(limited.stderr.contains("older not shown"), "{limited}");
}

#[test]
fn what_waits_says_for_what() {
    let cluster = Plan::of(2)
        .cpus(2)
        .flags(&["-r", "gpu=1", "--memory", "64MiB"])
        .start();
    let node = &cluster[0];
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    node.ok(&["queue", "set", "one", "--slots", "1"]);
    let script = evidence.until(&gate);
    let here = node.submit(&["--host", "n0", "-r", "gpu=1", "-q", "one"], &script);
    let there = node.submit(&["--host", "n1", "-m", "48MiB"], &script);
    for id in [&here, &there] {
        wait_state(node, id, "running");
        wait_state(&cluster[1], id, "running");
    }
    let cases = [
        (&["-c", "2"][..], "waits for cpus on 2 hosts"),
        (&["-c", "2", "--host", "n1"], "waits for cpus on n1"),
        (&["-r", "gpu=1", "--host", "n0"], "waits for gpu on n0"),
        (&["-m", "32MiB", "--host", "n1"], "waits for memory on n1"),
        (&["-r", "gpu=1", "-c", "2"], "waits for cpus on 2 hosts"),
        (&["-c", "3"], "fits no host: n"),
        (&["-q", "one"], "waits for the slot of queue one"),
    ];
    let waiting = cases.map(|(options, why)| (node.submit(options, &["true"]), why));
    let blocked = node.submit(&["-a", &here, "--after-any", &there], &["true"]);
    let window = node.aque(&["xargs", "-n1", "-P1", "-c", "2", "true"]);
    let window = window.input("a b").run();
    let group = window.ok();
    let members = node.ok(&["status", "--flat", "-p", "{id}", group]);
    let second = members.lines().nth(1).expect("there are two").to_owned();
    for node in cluster.nodes() {
        for (id, why) in &waiting {
            wait_reason(node, id, "pending", why);
        }
        let why = format!("waits for {here}, the end of {there}");
        wait_reason(node, &blocked, "blocked", &why);
        let why = format!("waits for its turn: 1 of {group} run at once");
        wait_reason(node, &second, "blocked", &why);
    }
    let fits = node.ok(&["status", "-f", "reason ~ 'waits for memory*'", "-p", "{id}"]);
    assert_eq!(fits, waiting[3].0);
    node.ok(&["drain", "n1"]);
    wait_reason(
        node,
        &waiting[1].0,
        "pending",
        "waits for n1 to take work again",
    );
    node.ok(&["undrain", "n1"]);
    node.ok(&["kill", &waiting[5].0]);
    fs::write(&gate, "").expect("the gate opens");
    let _ended = cluster.wait_ended();
}

#[test]
fn what_cannot_be_decided_says_who_is_missing() {
    let mut cluster = Plan::of(3).cpus(1).start();
    let id = cluster[0].submit(&["--hold"], &["true"]);
    wait_known(&cluster[1], &[&id]);
    wait_known(&cluster[2], &[&id]);
    for place in [1, 2] {
        cluster.nodes_mut()[place].kill_host();
    }
    cluster[0].ok(&["release", &id]);
    let why = "waits for a majority of its committee: n1, n2 not heard of";
    wait_reason(&cluster[0], &id, "pending", why);
    for place in [1, 2] {
        cluster.nodes_mut()[place].start();
    }
    wait_state(&cluster[0], &id, "success");
}

#[test]
fn columns_csv_and_patterns() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let name = "a, \"b\" {x}";
    let id = node.submit(&["-n", name, "-m", "1M"], &["sh", "-c", "exit 3"]);
    let _ended = cluster.wait_ended();
    let said = |args: &[&str]| node.aque(&[&["status"], args].concat()).run();
    assert_eq!(
        said(&["-c", "id,name,exit,memory,ended,queue"])
            .stdout
            .lines()
            .next(),
        Some("id,name,exit,memory,ended,queue")
    );
    let csv = said(&["--csv", "id,name,exit,memory,queue"]);
    assert_eq!(
        csv.stdout,
        format!("id,name,exit,memory,queue\r\n{id},\"a, \"\"b\"\" {{x}}\",3,1000000,\r\n")
    );
    let pattern = said(&["-p", "{{{id}}} {state:>8}|{name}|{host:<4}|"]);
    assert_eq!(pattern.ok(), format!("{{{id}}}    error|{name}|n0  |"));
    let columns = said(&["-o", "exit,id,state"]);
    let mut words = columns.ok().split_whitespace();
    assert!(
        words.by_ref().take(3).eq(["EXIT", "ID", "STATE"]),
        "{columns}"
    );
    assert!(words.eq(["3", &id, "error"]), "{columns}");
    for (args, why) in [
        (&["-p", "{sate}"][..], "do you mean state?"),
        (&["-p", "{id"], "stands alone"),
        (&["-c", "id,nonsense"], "fields are id state"),
        (&["-o", "sate"], "do you mean state?"),
        (&["-c", "id", "-p", "x"], "cannot be used with"),
        (&["-c", "id", "--json"], "cannot be used with"),
    ] {
        let said = said(args);
        assert!(said.refused(2).contains(why), "{said}");
    }
}
