//! What a task asks of a host, on real meshes: processors, named resources, hosts by name and address, platform.

use std::collections::BTreeSet;
use std::fs;

use tests::{Cluster, Evidence, Node, Plan, settle};

use super::lives::wait_reason;
use super::wait_state;

/// The host that runs or ran a task.
#[track_caller]
fn host_of(node: &Node, id: &str) -> String {
    wait_state(node, id, "success");
    node.task(id).expect("it is known").host.expect("it ran")
}

#[test]
fn tasks_run_on_the_hosts_that_they_name() {
    let cluster = Cluster::start(3);
    let node = &cluster[0];
    for (hosts, fits) in [
        ("n2", &["n2"][..]),
        ("n[1]", &[]),
        ("n?,!n0", &["n1", "n2"]),
        ("!n0,!n1", &["n2"]),
        ("!127.0.0.0/7,n1", &[]),
        ("127.*", &["n0", "n1", "n2"]),
    ] {
        let id = node.submit(&["--host", hosts], &["true"]);
        if fits.is_empty() {
            wait_reason(
                &cluster[1],
                &id,
                "pending",
                "fits no host: n1 is not asked for",
            );
        } else {
            let host = host_of(node, &id);
            assert!(fits.contains(&host.as_str()), "{hosts}: {host}");
        }
    }
    let wrong = node
        .aque(&["submit", "--host", "10.0.0.0/99", "true"])
        .run();
    assert!(
        wrong.refused(2).contains("no block of addresses"),
        "{wrong}"
    );
}

#[test]
fn what_fits_nowhere_says_so_at_once() {
    let cluster = Plan::of(2).cpus(2).start();
    let node = &cluster[0];
    for (options, why) in [
        (&["--cpus", "3"][..], "n0 has 2 of 3 cpus"),
        (&["--cpus", "-2"], "n0 has 2 of 3 cpus"),
        (&["--memory", "900TB"], "MiB of memory"),
        (&["-r", "gpu=1"], "n0 has 0 of 1 gpu"),
        (&["--platform", "plan9"], "n0 is linux/"),
    ] {
        let id = node.submit(options, &["true"]);
        wait_reason(node, &id, "pending", why);
        wait_reason(&cluster[1], &id, "pending", "n1 ");
    }
    let id = node.submit(&["--platform", "linux"], &["true"]);
    wait_state(node, &id, "success");
}

#[test]
fn all_processors_but_some() {
    let cluster = Plan::of(1).cpus(4).start();
    let node = &cluster[0];
    let cpus = |count: &str| {
        let id = node.submit(&["--cpus", count], &["sh", "-c", "echo $AQUE_CPUS"]);
        wait_state(node, &id, "success");
        node.ok(&["output", &id])
    };
    assert_eq!(
        ["0.5", "-1", "all"].map(cpus),
        ["0.5", "3", "4"].map(str::to_owned)
    );
    let id = node.submit(&["--cpus", "-1"], &["true"]);
    assert!(node.ok(&["show", &id]).contains("all cpus but 1"));
}

/// The units of `gpu` that runs have now or had, from what they wrote down.
fn units(cluster: &Cluster) -> Vec<String> {
    let text = fs::read_to_string(cluster.path("units")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn units_of_a_resource_are_had_by_one_run_at_a_time() {
    let mut cluster = Plan::of(1).cpus(8).flags(&["-r", "gpu=2"]).start();
    let node = &cluster[0];
    let file = cluster.path("units");
    let gate = cluster.path("gate");
    let script = format!(
        "echo $AQUE_RESOURCE_gpu >> {}; while ! [ -e {} ]; do sleep 0.05; done",
        file.display(),
        gate.display()
    );
    let submit = |node: &Node, amount: &str| node.submit(&["-s", "-r", amount], &[script.as_str()]);
    let waits_for = |cluster: &Cluster, count: usize| {
        settle(&format!("{count} runs"), || match units(cluster) {
            list if list.len() == count => Ok(list),
            list => Err(format!("there are {list:?}")),
        })
    };
    let one = submit(node, "gpu=1");
    waits_for(&cluster, 1);
    let half = submit(node, "gpu=0.5");
    let other_half = submit(node, "gpu=0.5");
    let had = waits_for(&cluster, 3);
    assert_eq!(had, ["0", "1", "1"]);
    // All is taken, and stays so when the node dies and comes back to its runs.
    let waiting = submit(node, "gpu");
    cluster[0].kill();
    cluster[0].start();
    let node = &cluster[0];
    wait_state(node, &one, "running");
    wait_state(node, &half, "running");
    let free = node.submit(&[], &["true"]);
    wait_state(node, &free, "success");
    assert_eq!(units(&cluster).len(), 3, "no unit is had twice");
    node.ok(&["kill", &one]);
    let had = waits_for(&cluster, 4);
    assert_eq!(had[3], "0");
    fs::write(&gate, "").expect("the gate opens");
    for id in [&half, &other_half, &waiting] {
        wait_state(node, id, "success");
    }
}

#[test]
fn a_window_of_resources_bounds_what_runs() {
    let cluster = Plan::of(2).cpus(8).flags(&["-r", "licence=2"]).start();
    let evidence = Evidence::new(cluster.dir());
    let ids: BTreeSet<String> = (0..12)
        .map(|_| cluster[0].submit(&["-r", "licence=1"], &evidence.brief()))
        .collect();
    for id in &ids {
        wait_state(&cluster[1], id, "success");
    }
    let history = evidence.history();
    assert!(history.most_at_once() <= 4, "two hosts with two each");
    let ids: Vec<String> = ids.into_iter().collect();
    history.judge(&ids, &[]);
}

#[test]
fn resources_are_checked_where_they_are_stated() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    for (amount, why) in [
        ("gpu=x", "write an amount"),
        ("gpu=0", "write an amount"),
        ("=1", "is named by letters"),
        ("a-b=1", "is named by letters"),
    ] {
        let said = node.aque(&["submit", "-r", amount, "true"]).run();
        assert!(said.refused(2).contains(why), "{said}");
    }
    let twice = ["submit", "-r", "gpu=1", "-r", "gpu=2", "true"];
    let said = node.aque(&twice).run();
    assert!(said.refused(2).contains("named twice"), "{said}");
}
