//! What tasks and people say about starts and ends, on real meshes: conditions, holds, times, timeouts, retries, streams.

use std::fs;

use tests::{Cluster, Evidence, Node, Plan, settle};

use super::wait_state;

/// Waits until a task has this state and a reason that contains this.
#[track_caller]
pub(super) fn wait_reason(node: &Node, id: &str, state: &str, reason: &str) {
    settle(&format!("{id} to be {state} because of {reason:?}"), || {
        let line = node.task(id)?;
        let why = line.reason.unwrap_or_default();
        match line.state.name() == state && why.contains(reason) {
            true => Ok(()),
            false => Err(format!("it is {}: {why}", line.state)),
        }
    });
}

fn out(node: &Node, id: &str) -> String {
    node.ok(&["output", id])
}

fn wall_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("it is after 1970").as_millis())
        .expect("it is before the year 584556019")
}

#[test]
fn conditions_decide_what_runs() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let fails = node.submit(&["--hold"], &["false"]);
    let after = |option: &str| node.submit(&[option, &fails], &["true"]);
    let (success, any, fail) = (
        after("--after"),
        after("--after-any"),
        after("--after-fail"),
    );
    let behind = node.submit(&["--after", &success], &["true"]);
    for id in [&success, &any, &fail] {
        wait_reason(&cluster[1], id, "blocked", &fails);
    }
    node.ok(&["release", &fails]);
    wait_state(&cluster[1], &any, "success");
    wait_state(&cluster[1], &fail, "success");
    let why = format!("dependency {fails}");
    wait_reason(&cluster[1], &success, "cancelled", &why);
    let why = format!("dependency {success}");
    wait_reason(&cluster[1], &behind, "cancelled", &why);
    // What waits for a failure that does not come is cancelled, too.
    let never = node.submit(&["--after-fail", &any], &["true"]);
    wait_reason(node, &never, "cancelled", &format!("dependency {any}"));
    let show = node.ok(&["show", &fail]);
    assert!(show.contains(&format!("after fail  {fails}")), "{show}");
    let unknown = node
        .aque(&["submit", "--after-any", "zzzzzz-9", "true"])
        .run();
    assert!(unknown.refused(1).contains("zzzzzz-9"), "{unknown}");
}

#[test]
fn what_is_held_waits_for_its_release() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let gate = evidence.until(&cluster.path("gate"));
    let running = cluster[0].submit(&[], &gate);
    let held = cluster[0].submit(&["--hold"], &gate);
    let later = cluster[0].submit(&["--after", &running], &gate);
    wait_state(&cluster[1], &running, "running");
    wait_reason(&cluster[2], &held, "held", "since its submission");
    // A hold from another host; what runs, runs on.
    let said = cluster[1].aque(&["hold", &later, &running]).run();
    said.ok();
    wait_reason(&cluster[2], &later, "held", "by ");
    fs::write(cluster.path("gate"), "").expect("the gate opens");
    wait_state(&cluster[2], &running, "success");
    wait_state(&cluster[2], &later, "held");
    cluster[2].ok(&["release", &held, &later]);
    for id in [&held, &later] {
        wait_state(&cluster[0], id, "success");
    }
    assert_eq!(evidence.history().of(&running).len(), 1);
    let late = cluster[0].aque(&["hold", &held]).run();
    assert!(late.refused(1).contains("it has ended"), "{late}");
    // A held task can be killed.
    let doomed = cluster[0].submit(&["--hold"], &gate);
    cluster[0].ok(&["kill", &doomed]);
    wait_state(&cluster[0], &doomed, "cancelled");
    assert_eq!(evidence.history().of(&doomed).len(), 0);
}

#[test]
fn a_group_is_held_and_released_as_one() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let blocker = node.submit(&["--hold"], &["true"]);
    let words = ["xargs", "-n1", "--after", &blocker, "echo"];
    let group = node.aque(&words).input("a b c").run();
    let group = group.ok().to_owned();
    node.ok(&["hold", &group]);
    node.ok(&["release", &blocker]);
    wait_state(node, &blocker, "success");
    settle("all three members to be held", || {
        let members = node.task(&group)?.members.unwrap_or_default();
        match members.get("held") {
            Some(3) => Ok(()),
            _ => Err(format!("they are {members:?}")),
        }
    });
    node.ok(&["release", &group]);
    wait_state(node, &group, "success");
}

#[test]
fn times_are_kept() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let date = ["date", "+%s%3N"];
    let before = wall_ms();
    let delayed = node.submit(&["--delay", "2s"], &date);
    let dated = node.submit(&["--at", "2031-05-01 18:30"], &date);
    let past = node.submit(&["--at", "2001-01-01"], &date);
    wait_reason(&cluster[1], &dated, "blocked", "waits for its time");
    wait_state(node, &past, "success");
    wait_state(node, &delayed, "success");
    let ran: u64 = out(node, &delayed)
        .trim()
        .parse()
        .expect("date prints a number");
    // All on one machine, with one clock.
    assert!(ran >= before + 2_000, "{ran} is too early for {before}");
    let expired = node.submit(&["--hold", "--expire", "1s"], &["true"]);
    let large = node.submit(&["--cpus", "5000", "--expire", "1s"], &["true"]);
    for id in [&expired, &large] {
        wait_reason(&cluster[1], id, "cancelled", "expired");
    }
    assert_eq!(
        node.task(&dated).expect("it is known").state.name(),
        "blocked"
    );
    for (words, why) in [
        (&["--at", "soon", "true"][..], "write 18:30"),
        (
            &["--at", "18:30", "--delay", "1s", "true"],
            "cannot be used with",
        ),
        (
            &["--retry-on", "often", "--retries", "1", "true"],
            "exit code",
        ),
        (&["--backoff", "5s", "true"], "--retries"),
    ] {
        let said = node.aque(&[&["submit"], words].concat()).run();
        assert!(said.refused(2).contains(why), "{said}");
    }
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let id = node.submit(&["--timeout", "500ms"], &["sleep", "600"]);
    wait_reason(node, &id, "error", "timeout");
    // Ending with exit code 0 when told to is a timeout none the less.
    let polite = ["-s", "--timeout", "500ms"];
    let script = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let id = node.submit(&polite, &[script]);
    wait_reason(node, &id, "error", "timeout");
    let quick = node.submit(&["--timeout", "1h"], &["true"]);
    wait_state(node, &quick, "success");
    let again = [
        "--timeout",
        "300ms",
        "--retries",
        "1",
        "--retry-on",
        "timeout",
        "--backoff",
        "0",
    ];
    let id = node.submit(&again, &["sleep", "600"]);
    wait_reason(node, &id, "error", "timeout");
    assert_eq!(node.task(&id).expect("it is known").attempts, 2);
}

#[test]
fn a_timeout_counts_on_over_a_restart() {
    let mut cluster = Cluster::start(1);
    let id = cluster[0].submit(&["--timeout", "3s"], &["sleep", "600"]);
    wait_state(&cluster[0], &id, "running");
    cluster[0].kill();
    cluster[0].start();
    wait_reason(&cluster[0], &id, "error", "timeout");
    let line = cluster[0].task(&id).expect("it is known");
    assert_eq!(line.attempts, 1, "the run went on");
}

#[test]
fn retries_follow_named_failures_alone() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let options = [
        "-s",
        "--retries",
        "2",
        "--retry-on",
        "70-79,signal:9",
        "--backoff",
        "100ms",
    ];
    let named = node.submit(&options, &["exit 75"]);
    let killed = node.submit(&options, &["kill -9 $$"]);
    let other = node.submit(&options, &["exit 3"]);
    for (id, attempts) in [(&named, 3), (&killed, 3), (&other, 1)] {
        wait_state(&cluster[1], id, "error");
        assert_eq!(
            node.task(id).expect("it is known").attempts,
            attempts,
            "{id}"
        );
    }
    // A pause is seen as such.
    let options = ["--retries", "1", "--backoff", "1h"];
    let id = node.submit(&options, &["false"]);
    wait_reason(&cluster[1], &id, "blocked", "before retry 1 of 1");
    node.ok(&["kill", &id]);
    wait_state(node, &id, "cancelled");
}

#[test]
fn a_task_that_takes_down_its_hosts_waits_for_a_person() {
    let mut cluster = Plan::of(3)
        .short_lease()
        .flags(&["--lost-limit", "2"])
        .start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let id = cluster[0].submit(&[], &evidence.until(&gate));
    for runs in 1..=2 {
        let host = settle(&format!("run {runs}"), || {
            let history = evidence.history();
            match history.of(&id) {
                list if list.len() == runs => Ok(list[runs - 1].host.clone()),
                list => Err(format!("it has {}", list.len())),
            }
        });
        let place = usize::from(host.as_bytes()[1] - b'0');
        // What a host ran is known to the others before it dies.
        let other = (place + 1) % 3;
        wait_state(&cluster[other], &id, "running");
        cluster[place].kill_host();
        cluster[place].start();
    }
    for place in 0..3 {
        wait_reason(&cluster[place], &id, "held", "2 of its runs were lost");
    }
    fs::write(&gate, "").expect("the gate opens");
    cluster[1].ok(&["release", &id]);
    wait_state(&cluster[0], &id, "success");
    assert_eq!(evidence.history().of(&id).len(), 3);
}

#[test]
fn streams_come_from_and_go_to_files() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let dir = cluster.path("work");
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("in.txt"), "from a file").expect("a file");
    let cwd = dir.to_str().expect("a path of text");
    let submit = |options: &[&str], command: &[&str]| {
        let id = node.submit(&[&["--cwd", cwd], options].concat(), command);
        wait_state(node, &id, "success");
        id
    };
    let id = submit(&["--stdin", "in.txt"], &["cat"]);
    assert_eq!(out(node, &id), "from a file");
    let id = submit(&["--stdin-text", "-n some\ntext"], &["cat"]);
    assert_eq!(out(node, &id), "-n some\ntext");
    let words = ["submit", "-w", "--cwd", cwd, "--stdin", "-", "wc", "-c"];
    let counted = node.aque(&words).input("x".repeat(40_000)).run();
    assert_eq!(counted.ok(), "40000");
    let long = node.aque(&words).input("x".repeat(60_000)).run();
    assert!(long.refused(1).contains("48.0 KiB"), "{long}");
    let id = submit(
        &["-s", "--stdout", "out", "--stderr", "out"],
        &["echo a; echo b >&2; echo c"],
    );
    assert_eq!(
        fs::read_to_string(dir.join("out")).expect("it is there"),
        "a\nb\nc\n"
    );
    assert_eq!(out(node, &id), "");
    let show = node.ok(&["show", &id]);
    assert!(show.contains("stdout      to out"), "{show}");
    let id = node.submit(&["--cwd", cwd, "--stdin", "missing"], &["cat"]);
    wait_reason(node, &id, "pending", "missing is not there");
    fs::write(dir.join("missing"), "late").expect("a file");
    wait_state(node, &id, "success");
    let twice = node
        .aque(&["xargs", "--stdin", "-", "cat"])
        .input("a")
        .run();
    assert!(twice.refused(2).contains("so do the arguments"), "{twice}");
}

#[test]
fn secrets_stay_behind() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let run = |options: &[&str]| {
        let words = [
            &["submit", "-w"],
            options,
            &["sh", "-c", "echo $MY_TOKEN $PLAIN"],
        ]
        .concat();
        let aque = node
            .aque(&words)
            .env("MY_TOKEN", "secret")
            .env("PLAIN", "x");
        aque.run().ok().to_owned()
    };
    assert_eq!(run(&[]), "x");
    assert_eq!(run(&["-e", "MY_TOKEN"]), "secret x");
}

#[test]
fn usage_counts_what_was_written() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let file = cluster.path("data");
    let file = format!("of={}", file.display());
    let command = [
        "dd",
        "if=/dev/zero",
        &file,
        "bs=1M",
        "count=4",
        "conv=fsync",
    ];
    let id = node.submit(&[], &command);
    wait_state(node, &id, "success");
    let detail = node.aque(&["show", "--json", &id]).run().json();
    let usage = &detail["tasks"][0]["usage"];
    assert!(usage["written_bytes"].is_u64(), "{usage}");
}

#[test]
fn children_take_after_their_parent() {
    let cluster = Plan::of(2).cpus(4).flags(&["-r", "gpu=4"]).start();
    let node = &cluster[0];
    let aque = tests::programs::programs().aque.display().to_string();
    let script = format!("{aque} submit -- sh -c 'echo $AQUE_PARENT $AQUE_RESOURCE_gpu'");
    let options = [
        "-s", "-p", "7", "--cpus", "0.5", "-r", "gpu=1", "--host", "n0",
    ];
    let parent = node.submit(&options, &[script.as_str()]);
    wait_state(node, &parent, "success");
    let child = out(node, &parent).trim().to_owned();
    wait_state(&cluster[1], &child, "success");
    // Which unit depends on whether the parent still has one.
    let told = out(node, &child);
    let unit = told.trim().strip_prefix(&format!("{parent} "));
    assert!(matches!(unit, Some("0" | "1")), "{told}");
    let line = node.task(&child).expect("it is known");
    assert_eq!(
        (line.parent.as_deref(), line.priority),
        (Some(parent.as_str()), 7)
    );
    let show = node.ok(&["show", &child]);
    assert!(
        show.contains("needs       0.5 cpus, 1 gpu\nhosts       n0\n"),
        "{show}"
    );
    // What a child states itself wins; from outside, the parent is named.
    let options = ["--parent", &parent, "-p", "9", "--host", "n1"];
    let other = node.submit(&options, &["true"]);
    wait_state(node, &other, "success");
    let line = node.task(&other).expect("it is known");
    assert_eq!((line.priority, line.host.as_deref()), (9, Some("n1")));
    let wrong = node.aque(&["submit", "--parent", "zzzzzz-1", "true"]).run();
    assert!(wrong.refused(1).contains("zzzzzz-1"), "{wrong}");
    // A task of another mesh is no parent here.
    let stranger = node
        .aque(&["submit", "true"])
        .env("AQUE_TID", "zzzzzz-1")
        .run();
    wait_state(node, stranger.ok(), "success");
}

#[test]
fn a_whole_family_is_killed() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let root = node.submit(&["--hold"], &["true"]);
    let after = node.submit(&["--after-any", &root], &["true"]);
    let behind = node.submit(&["--after-any", &after], &["true"]);
    let child = node.submit(&["--parent", &root], &["sleep", "600"]);
    let words = ["xargs", "-n1", "--parent", &child, "sleep"];
    let group = node.aque(&words).input("600 700").run().ok().to_owned();
    let stranger = node.submit(&["--hold"], &["true"]);
    wait_state(&cluster[1], &child, "running");
    wait_state(&cluster[1], &group, "running");
    cluster[1].ok(&["kill", "-r", &root]);
    for id in [&root, &after, &behind] {
        wait_state(node, id, "cancelled");
    }
    wait_state(node, &child, "killed");
    wait_state(node, &group, "error");
    assert_eq!(
        node.task(&stranger).expect("it is known").state.name(),
        "held"
    );
}

#[test]
fn a_run_tells_how_far_it_is() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let gate = cluster.path("gate");
    let script = format!(
        "echo 0.1 begins > $AQUE_PROGRESS; echo 0.42 rendering >> $AQUE_PROGRESS; \
         while ! [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    let id = node.submit(&["-s", "--host", "n1"], &[script.as_str()]);
    for node in [&cluster[0], &cluster[1]] {
        settle("its word", || match node.task(&id)?.progress {
            Some(word) if word == "0.42 rendering" => Ok(()),
            word => Err(format!("it is {word:?}")),
        });
    }
    let status = node.ok(&["status", &id]);
    assert!(status.contains("[0.42 rendering]"), "{status}");
    fs::write(&gate, "").expect("the gate opens");
    wait_state(node, &id, "success");
    assert_eq!(node.task(&id).expect("it is known").progress, None);
    settle("nothing to be left of it", || {
        let live = cluster[1].data().join("outputs/live");
        match fs::read_dir(live).expect("it is there").count() {
            0 => Ok(()),
            more => Err(format!("{more} files")),
        }
    });
}
