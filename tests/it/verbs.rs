//! Every verb of `aque`, by name: the definitions of the command line are walked, so that none is forgotten. Here: each with a
//! standard output that nobody reads, and on a terminal of 20 columns.

use std::collections::BTreeSet;
use std::fs;

use clap::Command;
use tests::tmux::Tmux;
use tests::{Aque, Cluster, Node, processes, settle};

use super::wait_state;

/// The verbs that ask a node, with words behind each that make it do so where task 1 has failed and task 2 is held. In this order they
/// leave each other what they need.
pub(crate) const ASKING: &[(&str, &[&str])] = &[
    ("status", &[]),
    ("show", &["1"]),
    ("why-twice", &["1"]),
    ("explain", &["2"]),
    ("output", &["1"]),
    ("wait", &["1"]),
    ("nodes", &[]),
    ("doctor", &[]),
    ("events", &["--past"]),
    ("invite", &[]),
    ("queue", &[]),
    ("queue list", &[]),
    ("queue set", &["render", "--slots", "2"]),
    ("queue pause", &["render"]),
    ("queue resume", &["render"]),
    ("settings", &[]),
    ("settings get", &[]),
    ("settings set", &["lost-limit", "3"]),
    ("settings unset", &["lost-limit"]),
    ("submit", &["true"]),
    ("xargs", &["true"]),
    ("edit", &["2", "--priority", "7"]),
    ("release", &["2"]),
    ("hold", &["2"]),
    ("kill", &["2"]),
    ("retry", &["1"]),
    ("rm", &["2"]),
    ("drain", &[]),
    ("undrain", &[]),
    ("forget", &["n0"]),
];

/// The verb that asks a node and needs a terminal.
pub(crate) const ON_TERMINAL: &str = "top";

/// The verbs that ask none, with words that they need.
const ALONE: &[(&str, &[&str])] = &[
    ("completions", &["bash"]),
    ("demo", &["--nodes", "1", "--tasks", "3"]),
    ("help", &["ids"]),
    ("man", &[]),
];

/// Verbs that tell a person what they did, and print nothing.
const SILENT: &[&str] = &[
    "wait",
    "queue set",
    "queue pause",
    "queue resume",
    "settings set",
    "settings unset",
    "edit",
    "release",
    "hold",
    "kill",
    "retry",
    "rm",
    "drain",
    "undrain",
];

/// Returns every verb and what stands below it, as typed: `queue`, `queue list`.
pub(crate) fn defined() -> BTreeSet<String> {
    fn add(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        for verb in command.get_subcommands() {
            let path = format!("{path} {}", verb.get_name());
            add(verb, &path, found);
            found.insert(path.trim_start().to_owned());
        }
    }
    let mut found = BTreeSet::new();
    add(&node::cli::command(), "", &mut found);
    found
}

/// Returns the words of a call.
pub(crate) fn words<'a>(verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    verb.split(' ').chain(more.iter().copied()).collect()
}

/// Returns the exit status of such a call: task 1 has failed, and a host that is heard of is not forgotten.
pub(crate) fn status_of(verb: &str) -> i32 {
    i32::from(["wait", "forget"].contains(&verb))
}

/// Submits to a node what the words go by.
pub(crate) fn with_tasks(cluster: &Cluster) -> &Node {
    let node = &cluster[0];
    let failed = node.submit(&[], &["sh", "-c", "echo said; exit 3"]);
    // Released, it does not start either.
    let _held = node.submit(&["--hold", "--delay", "1d"], &["true"]);
    wait_state(node, &failed, "error");
    node
}

#[test]
fn no_verb_is_forgotten() {
    let listed = ASKING.iter().chain(ALONE).map(|(verb, _)| *verb);
    let listed: BTreeSet<String> = listed.chain([ON_TERMINAL]).map(str::to_owned).collect();
    assert_eq!(listed, defined());
}

#[test]
fn what_nobody_reads_ends_quietly() {
    for json in [false, true] {
        let cluster = Cluster::start(1);
        let node = with_tasks(&cluster);
        let temp = cluster.path("temp");
        fs::create_dir(&temp).expect("a directory can be made");
        for (verb, more) in ASKING.iter().chain(ALONE) {
            let mut words = words(verb, more);
            words.insert(0, "--quiet");
            if json {
                words.insert(0, "--json");
            }
            let temp = temp.display().to_string();
            let done = node.aque(&words).env("TMPDIR", &temp).run_unread();
            let status = done.status.code();
            match (*verb, json) {
                // Refused before there is anything to print.
                ("forget", _) => assert_eq!(status, Some(1), "{done}"),
                (verb, false) if SILENT.contains(&verb) => {
                    assert_eq!(status, Some(status_of(verb)), "{done}");
                }
                _ => assert_eq!((status, &*done.stderr), (Some(141), ""), "{done}"),
            }
            assert!(!done.stderr.contains("panicked"), "{done}");
        }
        settle("the demo to be gone", || {
            match processes::of_directory(&temp) {
                left if left.is_empty() => Ok(()),
                left => Err(format!("{left:?} live")),
            }
        });
        let left = fs::read_dir(&temp).expect("a directory is read").count();
        assert_eq!(left, 0, "the demo's files are gone");
    }
}

#[test]
fn help_that_nobody_reads_ends_quietly() {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    for verb in defined() {
        let done = Aque::beside(home.path(), &words(&verb, &["--help"])).run_unread();
        let told = (done.status.code(), &*done.stderr);
        assert_eq!(told, (Some(141), ""), "{done}");
    }
}

/// Returns how wide the widest line is that a terminal was sent, without what steers it.
fn widest(sent: &str) -> usize {
    let lines = sent.split(['\r', '\n']);
    lines.map(node::render::text::width).max().unwrap_or(0)
}

#[test]
fn help_has_the_colours_that_are_wanted() {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    for (colour, has) in [("auto", true), ("never", false)] {
        let call = Aque::beside(home.path(), &["--color", colour, "--help"]);
        let call = call.env("TERM", "xterm-256color").env("NO_COLOR", "");
        let done = call.on_terminal().run();
        assert_eq!(done.ok().contains('\u{1b}'), has, "{colour}: {done}");
    }
}

#[test]
fn twenty_columns_are_enough() {
    let cluster = Cluster::start(1);
    let node = with_tasks(&cluster);
    let tables = [
        "status",
        "nodes",
        "queue",
        "queue list",
        "settings",
        "settings get",
    ];
    for (verb, more) in ASKING.iter().chain(ALONE) {
        let call = node.aque(&words(verb, more)).on_terminal_of(20, 6);
        let done = call.run();
        assert!(!done.stdout.contains("panicked"), "{done}");
        assert_eq!(done.status.code(), Some(status_of(verb)), "{done}");
        if tables.contains(verb) {
            assert!((1..=20).contains(&widest(&done.stdout)), "{done}");
        }
    }
    let done = node
        .aque(&["status", "--flat", "-x"])
        .env("COLUMNS", "20")
        .on_terminal()
        .run();
    assert!((10..=20).contains(&widest(done.ok())), "{done}");
    // How far a wait is.
    let id = node.submit(&["--hold"], &["true"]);
    let wait = ["wait", "--timeout", "300ms", &id];
    let done = node.aque(&wait).on_terminal_of(20, 6).run();
    assert_eq!(done.status.code(), Some(124), "{done}");
    let (progress, _) = done.stdout.split_once("aque:").expect("it says why");
    assert!((1..=20).contains(&widest(progress)), "{done}");
    let Some(tmux) = Tmux::start(cluster.dir(), (20, 6)) else {
        return;
    };
    let aque = tests::programs::programs().aque.display().to_string();
    let socket = node.socket().display().to_string();
    tmux.command(&format!("clear; {aque} --node {socket} {ON_TERMINAL}"));
    tmux.wait("the view", |screen| screen.contains("aque n0"));
    tmux.press("q");
    tmux.wait_prompt();
}
