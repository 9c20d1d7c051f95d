//! `aque xargs` beside GNU xargs: the same input gives the same commands, outputs and exit status, but for the mesh below.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use node::api::wire::TaskLine;
use tests::{Cluster, Evidence, Plan, settle};

use super::{all_succeed, wait_state};

/// Runs GNU xargs; `None` where the machine has none.
fn gnu(args: &[&str], input: &str) -> Option<(Option<i32>, String)> {
    let mut command = Command::new("xargs");
    let mut child = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut pipe = child.stdin.take()?;
    // It may end before it has read everything.
    let _written = pipe.write_all(input.as_bytes());
    drop(pipe);
    let done = child.wait_with_output().ok()?;
    Some((
        done.status.code(),
        String::from_utf8_lossy(&done.stdout).into_owned(),
    ))
}

/// Options, command and input of calls that GNU xargs and aque must understand alike.
const ALIKE: [(&[&str], &str); 35] = [
    (&["-n", "1", "echo", "x"], "a b\nc\n"),
    (&["-n", "2", "echo"], "a b c\nd\te\n"),
    (&["echo"], "a b\n\n  c  \n"),
    (&[], "no command is echo\n"),
    (&["-L", "1", "echo"], "a b\nc\n"),
    (&["-L", "2", "echo"], "a b\nc\nd e\n"),
    (&["-L", "1", "echo"], "a \nb\nc\n"),
    (&["-I", "{}", "echo", "[{}]", "{}{}"], "a b\n  c\n"),
    (&["-I", "%", "echo", "%"], "x y\n\nz\n"),
    (&["-0", "-n", "1", "echo"], "a b\0c\nd\0"),
    (&["-0", "echo"], "'\"\\\0 \0"),
    (&["-d", ",", "-n", "1", "echo"], "a,b c,d"),
    (&["-d", "\\n", "echo"], "a b\nc\n"),
    (&["-n", "1", "echo"], "'a b' \"c d\" e\\ f 'it'\"'\"'s'\n"),
    (&["-n", "1", "echo"], ""),
    (&["-r", "echo", "never"], ""),
    (&["-E", "stop", "echo"], "a b stop c\n"),
    (
        &["-s", "40", "echo"],
        "aaaaaaaaaa bbbbbbbbbb cccccccccc dddddddddd\n",
    ),
    (&["-i", "echo", "[{}]"], "a b\n  c\n"),
    (&["-i%", "echo", "%-%"], "a b\nc\n"),
    (&["-0ti", "echo", "{}"], "a b\0c\0"),
    (&["--replace", "echo", "{}"], "a\nb\n"),
    (&["--replace=%", "-n2", "echo", "%"], "a b c\n"),
    (&["-l", "echo"], "a b\nc\n"),
    (&["-l2", "echo"], "a b\nc\nd\n"),
    (&["--max-lines=2", "echo"], "a b\nc\nd\n"),
    (&["-e", "echo"], "a _ b\n"),
    (&["-eb", "echo"], "a b c\n"),
    (&["--eof=b", "-E", "c", "echo"], "a b c d\n"),
    (
        &["-P1", "--process-slot-var=S", "-n1", "sh", "-c", "echo $S"],
        "a b c\n",
    ),
    (
        &["-n1", "--process-slot-var", "S", "sh", "-c", "exit 255"],
        "a b c\n",
    ),
    (&["-n", "1", "sh", "-c", "exit $0"], "0 1 0 3\n"),
    (&["-n", "1", "sh", "-c", "kill -9 $$"], "a\n"),
    (&["-n", "1", "/no/such/program"], "a\n"),
    (&["-n", "1", "/etc/passwd"], "a\n"),
];

#[test]
fn alike_with_gnu_xargs() {
    let cluster = Plan::of(1).cpus(4).start();
    let mut wrong = Vec::new();
    for (args, input) in ALIKE {
        let Some(expected) = gnu(args, input) else {
            tests::lan::skip("a comparison with GNU xargs", "the machine has none");
            return;
        };
        let own = cluster[0]
            .aque(&[&["xargs", "-w", "-k"], args].concat())
            .input(input)
            .run();
        if (own.status.code(), &own.stdout) != (expected.0, &expected.1) {
            wrong.push(format!(
                "xargs {args:?} < {input:?}\n   GNU: {expected:?}\n  aque: {own}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_failure_of_255_ends_it() {
    let cluster = Plan::of(1).cpus(1).start();
    let gate = cluster.path("gate");
    let gate_word = gate.display().to_string();
    let script = "case $0 in 3) exit 255;; 4) until [ -e \"$1\" ]; do sleep 0.02; done;; esac";
    let members = |state: &str| {
        let tasks = cluster[0].tasks().unwrap_or_default();
        let of = |line: &&TaskLine| line.group.is_some() && line.state.name() == state;
        tasks.iter().filter(of).count()
    };
    let done = thread::scope(|scope| {
        let words = ["xargs", "-w", "-P", "1", "-I", "{}", "sh", "-c", script];
        let words = [&words[..], &["{}", &gate_word]].concat();
        let call = cluster[0].aque(&words).input("1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        let running = scope.spawn(move || call.run());
        settle(
            "an end of what waits, while the fourth still runs or waits, too",
            || {
                let ended = members("cancelled");
                (ended >= 5)
                    .then_some(())
                    .ok_or_else(|| format!("{ended} of 5 are cancelled"))
            },
        );
        fs::write(&gate, "").expect("a file can be written");
        running.join().expect("the call ends")
    });
    assert_eq!(done.status.code(), Some(124), "{done}");
    assert_eq!(cluster.wait_ended().len(), 9, "{done}");
    assert_eq!(members("error"), 1, "{done}");
    assert_eq!(members("success") + members("cancelled"), 8, "{done}");
}

#[test]
fn without_watching_it_prints_the_groups_id() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let words = evidence.brief();
    let mut args = vec!["xargs", "-n", "1", "--name", "letters"];
    args.extend(words.iter().map(String::as_str));
    let group = cluster[1]
        .aque(&args)
        .input("a b c d e f")
        .run()
        .ok()
        .to_owned();
    assert_eq!(group.lines().count(), 1);
    cluster[2].ok(&["wait", &group]);
    all_succeed(&cluster, 6);
    let members = cluster[0]
        .aque(&["--json", "status", "--flat"])
        .run()
        .json();
    let members = members["tasks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|line| line["group"] == group.as_str())
        .count();
    assert_eq!(members, 6);
    let tree = cluster[0].ok(&["status"]);
    assert!(
        tree.contains(&group) && tree.contains("6 success") && tree.contains("letters"),
        "{tree}"
    );
}

#[test]
fn outputs_are_kept_in_the_order_of_the_input() {
    let cluster = Cluster::start(3);
    let script = "sleep 0.$(( (7 * $0) % 5 )); echo out $0; echo err $0 >&2";
    let input: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let done = cluster[1]
        .aque(&["xargs", "-w", "-k", "-n", "1", "sh", "-c", script])
        .input(input.join("\n"))
        .run();
    let expected: Vec<String> = input.iter().map(|n| format!("out {n}")).collect();
    assert_eq!(done.ok().lines().collect::<Vec<_>>(), expected);
    let errors: Vec<String> = input.iter().map(|n| format!("err {n}")).collect();
    let told: Vec<&str> = done
        .stderr
        .lines()
        .filter(|line| line.starts_with("err "))
        .collect();
    assert_eq!(told, errors);
}

#[test]
fn a_window_holds_mesh_wide() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let words = evidence.beats(3);
    // The words of the input come after the script's own arguments, which does not mind.
    let mut args = vec!["xargs", "-w", "-P", "2", "-n", "1"];
    args.extend(words.iter().map(String::as_str));
    let input: Vec<String> = (0..16).map(|n| n.to_string()).collect();
    cluster[0].aque(&args).input(input.join(" ")).run().ok();
    all_succeed(&cluster, 16);
    let history = evidence.history();
    let ids: Vec<String> = cluster
        .wait_ended()
        .into_iter()
        .map(|line| line.id)
        .collect();
    history.judge(&ids, &[]);
    assert_eq!(history.most_at_once(), 2);
}

#[test]
fn killing_a_group_ends_its_members() {
    let cluster = Plan::of(1).cpus(2).start();
    let gate = cluster.path("gate");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let group = cluster[0]
        .aque(&["xargs", "-n", "1", "sh", "-c", &script])
        .input("1 2 3 4 5")
        .run()
        .ok()
        .to_owned();
    settle("two members to run", || {
        let tasks = cluster[0].tasks().map_err(|error| error.to_string())?;
        match tasks
            .iter()
            .filter(|line| line.group.is_some() && line.state.name() == "running")
            .count()
        {
            2 => Ok(()),
            count => Err(format!("{count} run")),
        }
    });
    cluster[0].ok(&["kill", "-s", "KILL", &group]);
    let ended = cluster.wait_ended();
    let count = |state: &str| {
        ended
            .iter()
            .filter(|line| line.state.name() == state)
            .count()
    };
    assert_eq!((count("killed"), count("cancelled")), (2, 3), "{ended:#?}");
    fs::write(&gate, "").expect("the gate opens");
    wait_state(&cluster[0], &cluster[0].submit(&[], &["true"]), "success");
}

#[test]
fn numbers_are_of_one_task_at_a_time() {
    let cluster = Cluster::start(3);
    let taken = cluster.path("taken");
    fs::create_dir(&taken).expect("a directory can be made");
    // A number that another has who runs is a directory that is there.
    let script =
        "mkdir \"$1/$SLOT\" || exit 255; sleep 0.0$(( $0 % 4 )); rmdir \"$1/$SLOT\"; echo $SLOT";
    for more in [&["-k", "-P", "3"][..], &["-P", "2"], &["-P", "0"]] {
        let mut args = vec!["xargs", "-w", "--process-slot-var", "SLOT"];
        args.extend(more);
        let taken = taken.display().to_string();
        args.extend(["-I", "{}", "sh", "-c", script, "{}", &taken]);
        let input: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let done = cluster[1].aque(&args).input(input.join("\n")).run();
        let mut numbers: Vec<u32> = done
            .ok()
            .lines()
            .map(|line| line.parse().expect("a number"))
            .collect();
        assert_eq!(numbers.len(), 40, "{done}");
        numbers.sort_unstable();
        numbers.dedup();
        let most = more
            .last()
            .expect("a word")
            .parse::<u32>()
            .expect("a number");
        assert_eq!(numbers[0], 0, "{done}");
        assert!(
            most == 0 || numbers.iter().all(|number| *number < most),
            "{numbers:?}"
        );
    }
}

#[test]
fn a_person_is_asked_before_each_command() {
    let cluster = Cluster::start(1);
    let list = cluster.path("list");
    fs::write(&list, "one two three").expect("a file can be written");
    let list = list.display().to_string();
    let args = ["xargs", "-a", &list, "-p", "-w", "-k", "-n1", "echo", "did"];
    let asked = cluster[0].aque(&args).input("y\nn\nYes\n");
    let done = asked.on_terminal().run();
    let shown = format!("{}\n", done.ok());
    assert!(shown.contains("echo did two?..."), "{shown}");
    let shown = shown.replace('\r', "");
    assert!(shown.ends_with("did one\ndid three\n"), "{shown}");
    assert_eq!(cluster.wait_ended().len(), 2);
}

#[test]
fn a_terminal_is_lent_to_tasks() {
    let cluster = Cluster::start(2);
    let list = cluster.path("list");
    fs::write(&list, "one").expect("a file can be written");
    let list = list.display().to_string();
    let script = "read word; echo $0 heard $word on $AQUE_HOST";
    let args = ["xargs", "-a", &list, "-o", "-w", "sh", "-c", script];
    let lent = cluster[1].aque(&args).input("hello\n");
    let done = lent.on_terminal().run();
    let shown = done.ok();
    let expected = format!("one heard hello on {}", cluster[1].name());
    assert!(shown.contains(&expected), "{shown}");
    let refused = cluster[0].aque(&["xargs", "-o", "echo"]).run();
    assert!(refused.refused(2).contains("needs -w"), "{refused}");
}

#[test]
fn limits_are_told() {
    let cluster = Cluster::start(1);
    let done = cluster[0]
        .aque(&["xargs", "-w", "--show-limits", "-s", "1000", "echo"])
        .input("a")
        .run();
    assert_eq!(done.ok(), "a");
    for told in [
        "Your environment variables take up ",
        "Maximum length of command we could actually use: ",
        "Size of command buffer we are actually using: 1000",
        "Maximum parallelism",
    ] {
        assert!(done.stderr.contains(told), "{done}");
    }
}
