//! Completions in real shells, manual pages, and help.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{Cluster, Node, programs};

/// Says whether a shell is there; its tests skip themselves elsewhere.
fn is_there(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").output();
    if found.is_err() {
        tests::lan::skip(&format!("a look at {shell}"), "the machine has none");
    }
    found.is_ok()
}

/// Runs a script in a shell on the machine of a node, with the client in its path; returns what it prints.
fn run_in(shell: &str, node: &Node, flags: &[&str], script: &str) -> String {
    let aque = programs::programs().aque.clone();
    let folder = aque.parent().expect("a program lies in a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![folder.to_owned()];
    folders.extend(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).expect("folders make a path");
    let done = Command::new(shell)
        .args(flags)
        .arg(script)
        .env("PATH", path)
        .env("AQUE_DATA", node.home())
        .env("HOME", node.home())
        .env_remove("AQUE_NODE")
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .expect("a shell runs");
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{shell}: {errors}");
    assert_eq!(errors, "", "{shell} finds fault with the script");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// What a shell offers for a line: its last word is what is completed.
fn offered(shell: &str, node: &Node, line: &[&str]) -> BTreeSet<String> {
    let last = line.len();
    let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let (words, current) = (words.join(" "), line.last().copied().unwrap_or_default());
    let text = match shell {
        "bash" => run_in(
            "bash",
            node,
            &["--norc", "-c"],
            &format!(
                "source <(aque completions bash); COMP_WORDS=(aque {words}); COMP_CWORD={last}; COMP_TYPE=9; \
                 _clap_complete_aque aque '{current}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
            ),
        ),
        // The script defines a function for the completion system; what it hands over to that is what is offered.
        "zsh" => run_in(
            "zsh",
            node,
            &["-f", "-c"],
            &format!(
                "compdef() {{ :; }}; _describe() {{ print -l -- ${{(P)@[-1]}}; }}; compadd() {{ :; }}; \
                 eval \"$(aque completions zsh)\"; words=(aque {words}); CURRENT={}; \
                 _clap_dynamic_completer_aque",
                last + 1
            ),
        ),
        _ => run_in(
            "fish",
            node,
            &["--no-config", "-c"],
            &format!(
                "aque completions fish | source; complete -C 'aque {}'",
                line.join(" ")
            ),
        ),
    };
    // What stands behind a word is its help.
    let words = text.lines().map(|line| match shell {
        "zsh" => line.split_once(':').map_or(line, |(word, _)| word),
        _ => line.split('\t').next().unwrap_or_default(),
    });
    let words = words.map(|word| word.trim_end().to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

#[test]
fn shells_complete_what_the_node_knows() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let id = node.submit(&["--hold"], &["true"]);
    node.ok(&["queue", "set", "render", "--slots", "2"]);
    let set = |words: &[&str]| -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    };
    for shell in ["bash", "zsh", "fish"] {
        if !is_there(shell) {
            continue;
        }
        for (line, expected) in [
            (&["show", &id[..3]][..], &[&id[..]][..]),
            (&["kill", "--reason", "x", "la"], &["last"]),
            (&["drain", "n"], &["n0", "n1"]),
            (&["submit", "--queue", "re"], &["render"]),
            (&["queue", "pause", "re"], &["render"]),
            (&["comp"], &["completions"]),
            (&["help", "exit"], &["exit-status"]),
            (&["completions", "f"], &["fish"]),
        ] {
            let found = offered(shell, node, line);
            assert_eq!(found, set(expected), "{shell}: {line:?}");
        }
        let options = offered(shell, node, &["rm", "--"]);
        for option in ["--errored", "--pending", "--json"] {
            assert!(options.contains(option), "{shell}: {options:?}");
        }
    }
}

#[test]
fn where_no_node_answers_nothing_is_offered_and_nothing_said() {
    let mut cluster = Cluster::start(1);
    cluster[0].kill_host();
    if is_there("bash") {
        assert_eq!(
            offered("bash", &cluster[0], &["show", "x"]),
            BTreeSet::new()
        );
    }
}

/// The verbs that the client lists.
fn verbs(node: &Node) -> BTreeSet<String> {
    let help = node.ok(&["--help"]);
    let list = help.split("Commands:\n").nth(1).expect("verbs are listed");
    let list = list.split("\n\n").next().unwrap_or_default();
    let names = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[test]
fn there_is_a_page_for_each_verb_and_each_topic() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let dir = cluster.path("man");
    node.ok(&["man", &dir.display().to_string()]);
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).expect("the folder is there");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    };
    let pages = names(&dir.join("man1"));
    assert!(
        pages.contains("aque.1") && pages.contains("aque-node.1"),
        "{pages:?}"
    );
    for verb in verbs(node) {
        assert!(
            pages.contains(&format!("aque-{verb}.1")),
            "{verb} has no page"
        );
    }
    let submit = fs::read_to_string(dir.join("man1/aque-submit.1")).expect("a page");
    for part in [
        ".TH aque-submit 1",
        "Queue a command",
        "\\-\\-retries",
        "Examples:",
    ] {
        assert!(submit.contains(part), "{part} is not in:\n{submit}");
    }
    let topics = names(&dir.join("man7"));
    assert!(topics.contains("aque-ids.7"), "{topics:?}");
    let said = node.aque(&["man", "/proc/nowhere"]).run();
    assert!(
        said.refused(1).contains("cannot write into /proc/nowhere"),
        "{said}"
    );
    assert!(
        node.ok(&["man"]).starts_with(".ie"),
        "the page of the program"
    );
}

#[test]
fn help_is_of_verbs_and_of_topics() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    assert_eq!(node.ok(&["help", "kill"]), node.ok(&["kill", "--help"]));
    assert_eq!(node.ok(&["help"]), node.ok(&["--help"]));
    assert!(node.ok(&["help", "queue", "set"]).contains("--slots"));
    assert!(node.ok(&["help", "states"]).contains("cancelled"));
    let said = node.aque(&["help", "nonsense"]).run();
    assert!(
        said.refused(2).contains("the topics are ids, filters"),
        "{said}"
    );
    let said = node.aque(&["help", "exit-statsu"]).run();
    assert!(
        said.refused(2).contains("try 'aque help exit-status'"),
        "{said}"
    );
    let said = node.aque(&["help", "queue", "sett"]).run();
    assert!(
        said.refused(2).contains("try 'aque help queue set'"),
        "{said}"
    );
    assert!(node.ok(&["help", "filters"]).contains("  attempts    runs"));
}
