//! A mesh does its job: tasks are submitted anywhere, run anywhere, and look the same from everywhere.

use std::collections::BTreeSet;
use std::fs;

use tests::{Cluster, Evidence, settle};

use super::all_succeed;

#[test]
fn submit_anywhere_run_anywhere_read_anywhere() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let mut command = evidence.until(&gate);
    command.splice(
        ..0,
        [
            "/bin/sh",
            "-c",
            "\"$@\"; echo out of $AQUE_TID; echo err >&2",
            "sh",
        ]
        .map(str::to_owned),
    );
    // As many as the mesh has slots: each host must run some of them.
    let ids: Vec<String> = cluster
        .nodes()
        .iter()
        .flat_map(|node| [(); 2].map(|()| node.submit(&[], &command)))
        .collect();
    settle("runs on every host", || {
        match evidence.history().hosts().len() {
            3 => Ok(()),
            count => Err(format!("{count} hosts run tasks")),
        }
    });
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &[]);
    for node in cluster.nodes() {
        for id in &ids {
            let output = node.aque(&["output", id]).run();
            assert_eq!(
                (output.ok(), output.stderr.as_str()),
                (format!("out of {id}").as_str(), "err\n"),
                "{output}"
            );
        }
    }
}

#[test]
fn a_thousand_files_are_each_taken_once() {
    const FILES: usize = 1_000;
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let names = (0..FILES).map(|n| {
        cluster
            .path(&format!("it's file {n}"))
            .display()
            .to_string()
    });
    let names: Vec<String> = names.collect();
    for (n, name) in names.iter().enumerate() {
        fs::write(name, format!("content {n}\n")).expect("a file can be written");
    }
    let words = evidence.reading();
    let mut args = vec!["xargs", "-0", "-n", "1", "-w"];
    args.extend(words.iter().map(String::as_str));
    let done = cluster[0].aque(&args).input(names.join("\0")).run();
    let printed: BTreeSet<&str> = done.ok().lines().collect();
    assert_eq!(printed.len(), FILES);
    assert_eq!(done.stdout.lines().count(), FILES);
    all_succeed(&cluster, FILES);
    let ids: Vec<String> = cluster
        .wait_ended()
        .into_iter()
        .map(|line| line.id)
        .collect();
    let history = evidence.history();
    history.judge(&ids, &[]);
    assert_eq!(history.hosts().len(), 3, "every host takes part");
}

#[test]
fn a_host_that_joins_later_knows_everything_and_takes_part() {
    let mut cluster = Cluster::start(2);
    let evidence = Evidence::new(cluster.dir());
    let mut ids = cluster[0].submit_many(5, &evidence.brief());
    all_succeed(&cluster, ids.len());
    let ticket = cluster[1].ok(&["invite"]);
    let late = cluster.add(2, &ticket);
    cluster.wait_whole();
    let gate = cluster.path("gate");
    ids.extend(cluster[late].submit_many(6, &evidence.until(&gate)));
    settle("runs on the new host", || {
        if evidence.history().hosts().contains("n2") {
            Ok(())
        } else {
            Err("it runs none")
        }
    });
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &[]);
}

#[test]
fn a_host_that_offers_nothing_is_still_a_full_peer() {
    let mut cluster = Cluster::start(1);
    let ticket = cluster[0].ready().ticket.clone();
    let idle = cluster.add(0, &ticket);
    cluster.wait_whole();
    let id = cluster[idle].submit(&[], &["sh", "-c", "echo $AQUE_HOST"]);
    assert_eq!(cluster[idle].ok(&["output", "-w", &id]), "n0");
    assert_eq!(cluster.wait_ended()[0].host.as_deref(), Some("n0"));
}
