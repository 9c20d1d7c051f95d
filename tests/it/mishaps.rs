//! What people get wrong and what goes wrong with tasks: each has one defined end, and says so in one line.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rustix::process::Pid;
use tests::disk::SmallDisk;
use tests::{Aque, Cluster, Node, Plan, processes, settle};

use super::lives::wait_reason;
use super::wait_state;

/// Options of `aque submit` with what nobody can mean by them, and a part of what is said.
const SUBMIT: &[(&str, &[&str], &str)] = &[
    ("--after", &["nobody"], "no task 'nobody' is known here"),
    ("--after-any", &["9"], "no task '9' is known here"),
    ("--after-fail", &["99999"], "no task '99999' is known here"),
    (
        "--array",
        &["5-1", "1-3%0", "x", "1-99999999999"],
        "--array",
    ),
    ("--at", &["25:00", "soon", "1960-01-01"], "--at"),
    ("--at-once", &["x", "-1"], "--at-once"),
    ("--backoff", &["x", "-1s"], "--backoff"),
    ("--call", &["no module", ":"], "MODULE:NAME"),
    (
        "--color",
        &["red"],
        "[possible values: auto, always, never]",
    ),
    ("--cpus", &["x", "nan", "1e9", "-1e12"], "--cpus"),
    ("--delay", &["x"], "--delay"),
    ("--duration", &["long"], "--duration"),
    ("--durable", &["never"], "[possible values: local, quorum]"),
    ("--each-line", &["/nowhere/list"], "/nowhere/list"),
    ("--env", &["=x", ""], "needs a name"),
    ("--env-mode", &["x"], "[possible values: inherit, clean]"),
    ("--expire", &["x"], "--expire"),
    ("--from-json", &["/nowhere/list"], "/nowhere/list"),
    ("--group", &["", "0", "a:b"], "--group"),
    ("--host", &[",", "!", "10.0.0.0/99"], "--host"),
    ("--key", &[""], "a key has 1 to 256 bytes"),
    ("--memory", &["x", "-1", "4G,2G"], "--memory"),
    ("--on-lost", &["x"], "[possible values: retry, wait, fail]"),
    ("--on-partition", &["x"], "[possible values: wait, run]"),
    ("--parent", &["nobody"], "no task 'nobody' is known here"),
    ("--pipe-from", &["nobody"], "no task 'nobody' is known here"),
    ("--platform", &["///", "a b", ""], "linux/x86_64"),
    ("--priority", &["x", "99999999999", "1.5"], "--priority"),
    ("--queue", &["/", "", "two words"], "letters, digits"),
    ("--resource", &["=1", "gpu=-1", "gpu=x", "a b=1"], "gpu="),
    ("--retries", &["x", "-1", "99999999999"], "--retries"),
    ("--retry-on", &["x", "300", "9-1"], "--retry-on"),
    ("--timeout", &["x", "0"], "--timeout"),
    ("--user", &["", "0", "a:b"], "--user"),
];

/// Options of which any text makes sense, if only for a host that there is not yet.
const SUBMIT_ANY: &[&str] = &[
    "--cwd",
    "--interpreter",
    "--io-hint",
    "--name",
    "--node",
    "--stderr",
    "--stdin",
    "--stdin-text",
    "--stdout",
];

const NODE: &[(&str, &[&str], &str)] = &[
    ("--cgroups", &["x"], "--cgroups"),
    ("--committee", &["2", "x"], "--committee"),
    ("--config", &["/nowhere/node.toml"], "/nowhere/node.toml"),
    ("--cpus", &["x", "-5"], "--cpus"),
    ("--data", &["/dev/null/data"], "/dev/null/data"),
    ("--drift", &["x", "999999999"], "drift"),
    ("--grace", &["x"], "--grace"),
    ("--heartbeat", &["x", "10s"], "heartbeat"),
    ("--idle-exit", &["x"], "--idle-exit"),
    ("--join", &["x", "aque1zzz"], "ticket"),
    ("--lease", &["x", "0"], "lease"),
    ("--listen", &["x", "1.2.3.4.5:1"], "IP:PORT"),
    ("--log", &["]["], "--log"),
    ("--log-format", &["x"], "[possible values: text, json]"),
    ("--lost-limit", &["x", "-1"], "--lost-limit"),
    ("--memory", &["x"], "--memory"),
    ("--output-limit", &["x", "1"], "--output-limit"),
    ("--replace-after", &["x", "1s"], "--replace-after"),
    ("--resource", &["=1", "gpu=x"], "resource"),
];

const NODE_ANY: &[&str] = &["--api", "--name"];

/// Fails unless each option of a help text that takes a value is in one of the lists.
#[track_caller]
fn all_are_listed(help: &str, listed: &[(&str, &[&str], &str)], any: &[&str]) {
    let takes_value = |line: &str| {
        let option = line
            .split_whitespace()
            .find(|word| word.starts_with("--"))?;
        line.contains('<').then(|| option.to_owned())
    };
    let options = help.lines().map(str::trim_start);
    let options = options.filter(|line| line.starts_with('-'));
    let options: BTreeSet<String> = options.filter_map(takes_value).collect();
    let known = listed.iter().map(|(option, ..)| *option);
    let known: BTreeSet<String> = known.chain(any.iter().copied()).map(Into::into).collect();
    assert_eq!(options, known);
}

#[test]
fn each_option_of_submit_with_nonsense_is_answered_in_one_line() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    all_are_listed(&node.ok(&["submit", "--help"]), SUBMIT, SUBMIT_ANY);
    for (option, values, told) in SUBMIT {
        for value in *values {
            let option = format!("{option}={value}");
            let done = node.aque(&["submit", &option, "true"]).run();
            let status = done.status.code().unwrap_or(-1);
            assert!(matches!(status, 1 | 2), "{done}");
            let line = done.refused(status);
            assert!(line.contains(told), "{option}: {line}");
        }
    }
    assert_eq!(
        node.tasks().expect("it answers").len(),
        0,
        "nothing was taken"
    );
}

#[test]
fn each_option_of_the_node_with_nonsense_is_answered_in_one_line() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let run = |words: &[&str]| {
        let mut command = Command::new(&tests::programs::programs().node);
        let settled = command.env_remove("AQUE_CONFIG").env("HOME", dir.path());
        let done = settled.args(words).output().expect("the program runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    all_are_listed(&run(&["--help"]).1, NODE, NODE_ANY);
    let data = format!("--data={}", dir.path().join("data").display());
    for (option, values, told) in NODE {
        for value in *values {
            let option = format!("{option}={value}");
            let listen = "--listen=127.0.0.1:0";
            let words = [option.as_str(), &data, listen, "--no-mdns"];
            let is_stated = |word: &&str| !word.starts_with(option.split('=').next().unwrap_or(""));
            let others: Vec<&str> = words[1..].iter().copied().filter(is_stated).collect();
            let (status, out, err) = run(&[&[option.as_str()], &others[..]].concat());
            assert!(matches!(status, Some(1 | 2)), "{option}: {status:?} {err}");
            assert_eq!(
                (out.as_str(), err.lines().count()),
                ("", 1),
                "{option}: {err}"
            );
            assert!(
                err.starts_with("aque-node: ") && err.contains(told),
                "{option}: {err}"
            );
        }
    }
    let (status, _, err) = run(&["--heartbaet", "1s"]);
    assert_eq!((status, err.lines().count()), (Some(2), 1), "{err}");
    assert!(
        err.contains("'--heartbeat'") && err.contains("try 'aque-node --help'"),
        "{err}"
    );
}

#[test]
fn a_directory_that_vanishes_is_waited_for() {
    let cluster = Plan::of(1).cpus(1).start();
    let node = &cluster[0];
    let (gate, cwd) = (cluster.path("gate"), cluster.path("there"));
    fs::create_dir(&cwd).expect("a directory can be made");
    let script = format!("until test -e {}; do sleep 0.05; done", gate.display());
    let first = node.submit(&[], &["sh", "-c", &script]);
    let path = cwd.display().to_string();
    let id = node.submit(&["--cwd", &path], &["pwd"]);
    wait_state(node, &first, "running");
    fs::remove_dir(&cwd).expect("it is empty");
    fs::write(&gate, "").expect("a file can be made");
    wait_reason(node, &id, "pending", &format!("{path} is not there"));
    fs::create_dir(&cwd).expect("a directory can be made");
    assert_eq!(node.ok(&["output", "-w", &id]), path);
    assert_eq!(node.task(&id).map(|line| line.attempts), Ok(1));
}

#[test]
fn a_task_that_closes_its_streams_ends_as_it_says() {
    let cluster = Cluster::start(2);
    let script = "exec <&- >&- 2>&-; sleep 0.1; exit 7";
    let id = cluster[0].submit(&["--host", "n1"], &["sh", "-c", script]);
    wait_reason(&cluster[0], &id, "error", "exit 7");
    let followed = cluster[0].aque(&["output", "-w", &id]).run();
    assert_eq!(followed.status.code(), Some(7), "{followed}");
    assert_eq!(
        (&*followed.stdout, &*followed.stderr),
        ("", ""),
        "it said nothing"
    );
}

#[test]
fn a_task_that_fills_its_disk_harms_nobody_else() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let at = cluster.path("small");
    let Some(_disk) = SmallDisk::mount(&at) else {
        return;
    };
    let path = at.display().to_string();
    let id = node.submit(&["--cwd", &path], &["sh", "-c", "cat /dev/zero > full"]);
    wait_reason(node, &id, "error", "exit 1");
    let told = node.aque(&["output", "--stderr", &id]).run();
    assert!(told.stderr.contains("No space left on device"), "{told}");
    assert_eq!(node.ok(&["submit", "-w", "echo", "next"]), "next");
}

#[test]
fn of_ten_gigabytes_of_output_the_beginning_and_the_end_are_kept() {
    let cluster = Plan::of(1).flags(&["--output-limit", "1MiB"]).start();
    let node = &cluster[0];
    let script = "echo begins; head -c 10G /dev/zero; echo; echo ends";
    let id = node.submit(&[], &["sh", "-c", script]);
    wait_state(node, &id, "success");
    let kept = node.ok(&["output", &id]);
    assert!(kept.starts_with("begins\n") && kept.ends_with("\nends"));
    let note = kept
        .split("[aque: ")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    let note = note.expect("it is told that something was cut");
    assert!(note.contains("10.0 GiB were written here"), "{note}");
    assert!(kept.len() < 2 << 20, "{}", kept.len());
}

#[test]
fn a_task_whose_output_fills_the_disk_of_its_node_ends_and_harms_nobody_else() {
    let cluster = Plan::of(1)
        .flags(&["--output-limit", "0"])
        .small_disk()
        .start();
    if cluster.disk().is_none() {
        return;
    }
    let node = &cluster[0];
    let id = node.submit(&[], &["cat", "/dev/zero"]);
    wait_reason(node, &id, "error", "exit 1");
    let why = "the disk for outputs was full when it ended";
    settle("that to be recorded with its claim", || {
        let show = node.ok(&["show", &id]);
        if show.contains(why) {
            Ok(())
        } else {
            Err(show)
        }
    });
    // Who prints nothing needs no room; who would, fails, and it is told of that one as well.
    node.ok(&["submit", "-w", "true"]);
    let mute = node.submit(&[], &["echo", "next"]);
    wait_reason(node, &mute, "error", "exit 1");
    let doctor = node.aque(&["doctor"]).run();
    assert!(doctor.stdout.contains("0 B free"), "{doctor}");
    // With what filled it the trouble is gone.
    node.ok(&["rm", &id]);
    settle("room for what is printed", || {
        let said = node.aque(&["submit", "-w", "echo", "next"]).run();
        if said.stdout == "next\n" {
            Ok(())
        } else {
            Err(said.to_string())
        }
    });
    let shown = node.submit(&[], &["sh", "-c", "exit 1"]);
    wait_reason(node, &shown, "error", "exit 1");
    let show = node.ok(&["show", &shown]);
    assert!(!show.contains(why), "{show}");
}

/// The most memory that a process has had, MiB.
fn peak(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid()));
    let status = status.expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    words.expect("it has a peak") >> 10
}

#[test]
fn what_tasks_print_does_not_gather_in_memory() {
    const MIB: u64 = 96;
    let cluster = Plan::of(2).flags(&["--output-limit", "0"]).start();
    let nodes = cluster.nodes();
    let all = || {
        let guards = nodes.iter().filter_map(Node::guard);
        let all: Vec<u64> = nodes
            .iter()
            .map(Node::pid)
            .chain(guards)
            .map(peak)
            .collect();
        assert_eq!(all.len(), 4, "two nodes, two guards");
        all
    };
    let before = all();
    // Followed from another host while it is written, and read again when it is over.
    let words = format!("head -c {MIB}M /dev/zero");
    let id = nodes[0].submit(&["-s", "--host", "n1"], &[words]);
    for options in ["-w", ""] {
        let line = format!("aque output {options} {id} | wc -c");
        let read = Aque::in_shell(&line, nodes[0].home()).run();
        assert_eq!(read.ok(), (MIB << 20).to_string());
    }
    for (before, after) in before.into_iter().zip(all()) {
        // Queues have bounds, of some 30 MiB in all; what grew with the output would have grown by all of it, twice.
        assert!(
            after < before + MIB / 2,
            "{before} MiB before, {after} MiB after"
        );
    }
}

#[test]
fn what_a_task_leaves_in_the_background_ends_with_it_and_holds_up_nothing() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let pids = cluster.path("pids");
    // One holds its output open, one has left for a session of its own.
    let script = format!(
        "sleep 1000 & echo $! > {at}; setsid sh -c 'echo $$ >> {at}; exec sleep 1000' <&- >&- 2>&- & \
         until [ $(wc -l < {at}) = 2 ]; do sleep 0.01; done; echo done",
        at = pids.display()
    );
    assert_eq!(node.ok(&["submit", "-w", "sh", "-c", &script]), "done");
    let left = fs::read_to_string(&pids).expect("they told");
    for pid in left
        .lines()
        .map(|pid| pid.parse::<i32>().expect("a number"))
    {
        assert!(!processes::lives(pid), "{pid}");
    }
}

#[test]
fn a_task_that_ignores_what_asks_it_to_end_is_ended() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let deaf = "trap '' TERM INT HUP QUIT; while :; do sleep 0.05; done";
    let id = node.submit(&["--timeout", "1s"], &["sh", "-c", deaf]);
    wait_reason(node, &id, "error", "timeout");
    let followed = node.aque(&["output", "-w", &id]).run();
    assert!(followed.stderr.contains("timeout"), "{followed}");
}
