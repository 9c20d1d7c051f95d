//! What ended long ago is dropped, on real meshes: its tasks, its outputs, its place on the disk, and never its numbers.

use std::fs;
use std::path::Path;

use tests::{Cluster, Node, settle};

use super::wait_state;

/// The bytes of all files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// What was captured of a node's runs: files named by their digests.
fn captured(node: &Node) -> usize {
    let entries = fs::read_dir(node.data().join("outputs"));
    let dirs = entries.into_iter().flatten().flatten();
    let dirs = dirs.filter(|entry| entry.file_name().len() == 2);
    dirs.filter_map(|dir| Some(fs::read_dir(dir.path()).ok()?.flatten().count()))
        .sum()
}

fn wait_dropped(cluster: &Cluster) {
    for node in cluster.nodes() {
        settle(&format!("{} to drop all", node.name()), || {
            let known = node.tasks().map_err(|error| error.to_string())?.len();
            match (known, captured(node)) {
                (0, 0) => Ok(()),
                (tasks, outputs) => Err(format!("{tasks} tasks, {outputs} outputs")),
            }
        });
    }
}

/// An own segment of an earlier start takes no more tasks.
fn start_again(cluster: &mut Cluster) {
    for node in cluster.nodes_mut() {
        node.kill();
    }
    for node in cluster.nodes_mut() {
        node.start();
    }
}

#[test]
fn what_ended_long_ago_is_dropped_and_leaves_the_disk() {
    let mut cluster = Cluster::start(3);
    let long = "x".repeat(60_000);
    let script = "echo $AQUE_TID; true".to_owned();
    let command = ["sh".to_owned(), "-c".to_owned(), script, long];
    let mut ids = cluster[0].submit_many(90, &command);
    ids.push(cluster[1].submit(&[], &["sh", "-c", "echo other; exit 3"]));
    ids.push(cluster[2].submit(&["--key", "one"], &["true"]));
    let _ended = cluster.wait_ended();
    let waits = cluster[2].submit(&["--hold", "--after", &ids[0]], &["true"]);
    let logs = |cluster: &Cluster| -> Vec<u64> {
        let log = |node: &Node| bytes_below(&node.data().join("log"));
        cluster.nodes().iter().map(log).collect()
    };
    let before = logs(&cluster);
    cluster[1].ok(&["settings", "set", "retention", "2s"]);
    start_again(&mut cluster);
    settle("all to be dropped but what is waited for", || {
        let known = cluster[1].tasks().map_err(|error| error.to_string())?;
        // Tasks of one segment stay together.
        let stays = known.iter().any(|task| task.id == ids[0]) && known.len() <= 6;
        if stays {
            Ok(())
        } else {
            Err(format!("{} are known", known.len()))
        }
    });
    let said = cluster[0].aque(&["show", &ids[89]]).run();
    assert!(said.refused(1).contains("no task"), "{said}");
    cluster[0].ok(&["release", &waits]);
    for node in cluster.nodes() {
        settle("it to end", || match node.task(&waits) {
            Ok(task) if !task.state.is_complete() => Err(format!("it is {}", task.state)),
            _ => Ok(()),
        });
    }
    start_again(&mut cluster);
    wait_dropped(&cluster);
    start_again(&mut cluster);
    settle("the logs to become smaller", || {
        let now = logs(&cluster);
        let smaller = now
            .iter()
            .zip(&before)
            .all(|(now, then)| now + (2 << 20) < *then);
        if smaller {
            Ok(())
        } else {
            Err(format!("{before:?} became {now:?}"))
        }
    });
    // The key is free, and no number is given twice.
    let again = cluster[2].submit(&["--key", "one"], &["true"]);
    let mut later = cluster[0].submit_many(3, &command[..1]);
    later.push(again);
    later.push(cluster[1].submit(&[], &["true"]));
    for id in &later {
        assert!(!ids.contains(id), "{id} is given twice");
    }
    wait_state(&cluster[0], &later[3], "success");
}
