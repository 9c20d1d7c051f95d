//! Pipes with a name in the place of files: whoever opens one waits for whoever opens its other end. That holds up the task that names
//! it, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use crdt::entry::Beat;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tests::{Cluster, Guest, Node, settle};

use super::lives::wait_reason;
use super::wait_state;

const OPTIONS: [&str; 3] = ["--stdin", "--stdout", "--stderr"];

/// A pipe that everybody may open.
fn pipe(cluster: &Cluster, name: &str) -> PathBuf {
    let path = cluster.path(name);
    let everybody = Mode::from_raw_mode(0o666);
    mknodat(CWD, &path, FileType::Fifo, everybody, 0).expect("a pipe can be made");
    rustix::fs::chmod(&path, everybody).expect("modes can be set");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of a test is text")
}

/// Submits as root or somebody else.
#[track_caller]
fn submit(node: &Node, who: Option<&Guest>, options: &[&str], command: &[&str]) -> String {
    let words = [&["submit"], options, &["--"], command].concat();
    let said = match who {
        Some(guest) => node.aque_by(guest, &words),
        None => node.aque(&words),
    };
    said.run().ok().to_owned()
}

/// The node's own user and, where there can be one, another, whose tasks are started in another way.
fn persons(cluster: &Cluster) -> Vec<Option<Guest>> {
    let guest = Guest::named("www-data", cluster.dir());
    [None].into_iter().chain(guest.map(Some)).collect()
}

/// What a task says that waits at a pipe, as far as it is passed on.
fn waits_for(pipe: &Path) -> String {
    let mut word = format!("waits for the other end of {}", pipe.display());
    word.truncate(Beat::PROGRESS_BYTES);
    word
}

/// Waits until a task says how far it is, or says it no more.
fn says(node: &Node, id: &str, word: Option<&str>) {
    settle("it to say how far it is", || {
        let progress = node.task(id)?.progress;
        match progress.as_deref() == word {
            true => Ok(()),
            false => Err(format!("{progress:?}")),
        }
    });
}

#[test]
fn who_waits_at_a_pipe_waits_alone_until_it_is_killed_or_its_time_is_up() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let pipe = pipe(&cluster, "pipe");
    for who in persons(&cluster) {
        let who = who.as_ref();
        for option in OPTIONS {
            let named = [option, text(&pipe)];
            let waits = submit(node, who, &named, &["true"]);
            wait_state(node, &waits, "running");
            let other = submit(node, who, &[], &["true"]);
            wait_state(node, &other, "success");
            if option == OPTIONS[1] {
                says(node, &waits, Some(&waits_for(&pipe)));
            }
            node.ok(&["kill", &waits]);
            wait_state(node, &waits, "killed");
            let timed = [&named[..], &["--timeout", "1s"]].concat();
            let timed = submit(node, who, &timed, &["true"]);
            wait_reason(node, &timed, "error", "timeout");
        }
        // A directory is none.
        let cwd = ["--cwd", text(&pipe)];
        let never = submit(node, who, &cwd, &["true"]);
        wait_reason(node, &never, "pending", "is not a directory");
        node.ok(&["kill", &never]);
    }
}

#[test]
fn what_comes_through_a_pipe_is_read_and_what_goes_into_one_is_written() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let (input, output) = (pipe(&cluster, "in"), pipe(&cluster, "out"));
    let gate = cluster.path("gate");
    for who in persons(&cluster) {
        let who = who.as_ref();
        let options = ["--stdin", text(&input), "--stdout", text(&output)];
        let script = "tr a-z A-Z; exec >&-; until [ -e \"$0\" ]; do sleep 0.05; done";
        let _closed = fs::remove_file(&gate);
        let command = ["sh", "-c", script, text(&gate)];
        let id = submit(node, who, &options, &command);
        wait_state(node, &id, "running");
        says(node, &id, Some(&waits_for(&input)));
        fs::write(&input, "some words").expect("it is read");
        let read = fs::read_to_string(&output).expect("it is written");
        assert_eq!(read, "SOME WORDS");
        says(node, &id, None);
        fs::write(&gate, "").expect("the gate opens");
        wait_state(node, &id, "success");
        // It has begun when it turns out that there is nothing to execute: told as a shell tells it.
        let gone = submit(node, who, &["--stdin", text(&input)], &["/no/such/program"]);
        wait_state(node, &gone, "running");
        fs::write(&input, "").expect("it is opened");
        wait_state(node, &gone, "error");
        let line = node.task(&gone).expect("it is known");
        assert_eq!(line.exit, Some(127));
        let said = settle("what it says", || {
            let said = node.aque(&["output", "--stderr", &gone]).run();
            match said.stderr.is_empty() {
                true => Err(said.to_string()),
                false => Ok(said.stderr),
            }
        });
        assert!(said.contains("/no/such/program"), "{said}");
    }
}
