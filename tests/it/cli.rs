//! The programs as scripts meet them: what is printed where, exit statuses, options of `submit`, waiting, killing, reading.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::{Cluster, Evidence, Plan, settle};

use super::{all_succeed, wait_known, wait_state};

#[test]
fn submit_prints_the_id_alone() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let done = node.aque(&["submit", "true"]).run();
    assert_eq!(done.stdout, format!("{}-1\n", node.ready().tag));
    assert_eq!(done.stderr, "");
    assert_eq!(node.ok(&["s", "true"]), format!("{}-2", node.ready().tag));
}

#[test]
fn watching_ends_as_the_task_does() {
    let cluster = Cluster::start(1);
    for (command, code) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "kill -9 $$"], 128 + 9),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
    ] {
        for how in ["-w", "--wait"] {
            let done = cluster[0].aque(&[&["submit", how], command].concat()).run();
            assert_eq!(done.status.code(), Some(code), "{done}");
        }
    }
    let done = cluster[0]
        .aque(&["submit", "-w", "sh", "-c", "echo out; echo err >&2; exit 3"])
        .run();
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn a_command_that_does_not_exist_fails_and_says_so() {
    let cluster = Cluster::start(1);
    let id = cluster[0].submit(&[], &["/no/such/program"]);
    let ended = &cluster.wait_ended()[0];
    assert_eq!(
        (ended.id.as_str(), ended.state.name()),
        (id.as_str(), "error")
    );
    let reason = ended.reason.clone().unwrap_or_default();
    assert!(
        reason.contains("found") || reason.contains("No such file"),
        "{reason:?}"
    );
    // The node is none the worse.
    assert_eq!(cluster[0].ok(&["submit", "-w", "echo", "fine"]), "fine");
}

#[test]
fn directory_environment_and_shell() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let dir = cluster.path("a dir");
    fs::create_dir(&dir).expect("a directory can be made");
    let text = dir.display().to_string();
    let said = |call: tests::Aque| call.run().ok().to_owned();
    assert_eq!(said(node.aque(&["submit", "-w", "pwd"]).dir(&dir)), text);
    assert_eq!(
        said(node.aque(&["submit", "-w", "--cwd", &text, "pwd"])),
        text
    );
    let show = ["sh", "-c", "echo $ONE,$TWO,$THREE,$FOUR"];
    let call = |options: &[&str]| node.aque(&[&["submit", "-w"], options, &show].concat());
    assert_eq!(said(call(&[]).env("ONE", "1")), "1,,,");
    assert_eq!(
        said(call(&["-e", "TWO=2", "-e", "ONE=x"]).env("ONE", "1")),
        "x,2,,"
    );
    assert_eq!(said(call(&["THREE=3", "FOUR=a b"])), ",,3,a b");
    assert_eq!(
        said(
            call(&["--env-mode", "clean", "-e", "TWO"])
                .env("ONE", "1")
                .env("TWO", "2")
        ),
        ",2,,"
    );
    assert_eq!(
        said(node.aque(&[
            "submit",
            "-w",
            "-s",
            "echo \"$1\" | tr a-z A-Z; echo $#",
            "a  b",
            "c"
        ])),
        "A  B\n2"
    );
}

#[test]
fn a_task_knows_what_it_is_and_can_submit_another() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let words = "echo $AQUE_TID $AQUE_EPOCH $AQUE_FENCE $AQUE_ATTEMPT $AQUE_HOST $AQUE_CPUS";
    let id = node.submit(&["-c", "1"], &["sh", "-c", words]);
    assert_eq!(
        node.ok(&["output", "-w", &id]),
        format!("{id} 1 {id}/1 1 n0 1")
    );
    let aque = tests::programs::programs().aque.display().to_string();
    let child = node.ok(&[
        "submit",
        "-w",
        &aque,
        "submit",
        "sh",
        "-c",
        "echo I am $AQUE_TID",
    ]);
    assert_ne!(child, id);
    assert_eq!(node.ok(&["output", "-w", &child]), format!("I am {child}"));
}

#[test]
fn a_missing_directory_is_waited_for() {
    let cluster = Cluster::start(1);
    let dir = cluster.path("later");
    let id = cluster[0].submit(&["--cwd", &dir.display().to_string()], &["pwd"]);
    // The host does not take it, and goes on with what comes after it.
    assert_eq!(cluster[0].ok(&["submit", "-w", "echo", "next"]), "next");
    assert_eq!(
        cluster[0].task(&id).expect("it is known").state.name(),
        "pending"
    );
    fs::create_dir(&dir).expect("a directory can be made");
    assert_eq!(
        cluster[0].ok(&["output", "-w", &id]),
        dir.display().to_string()
    );
}

#[test]
fn dependencies_wait_for_success_and_end_with_failure() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let first = cluster[0].submit(&[], &evidence.until(&gate));
    let second = cluster[1].submit(&[], &evidence.beats(2));
    wait_known(&cluster[2], &[&first, &second]);
    let both = cluster[2].submit(&["-a", &format!("{first},{second}")], &evidence.brief());
    wait_known(&cluster[0], &[&both]);
    let last = cluster[0].submit(&["--after", &both], &evidence.brief());
    wait_state(&cluster[1], &second, "success");
    for node in cluster.nodes() {
        wait_state(node, &both, "blocked");
        wait_state(node, &last, "blocked");
    }
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 4);
    let history = evidence.history();
    history.judge(
        &[first.clone(), second.clone(), both.clone(), last.clone()],
        &[],
    );
    for (earlier, later) in [(&first, &both), (&second, &both), (&both, &last)] {
        assert!(
            history.of(earlier)[0].last < history.of(later)[0].first,
            "{earlier} before {later}"
        );
    }
    let failed = cluster[0].submit(&[], &["false"]);
    wait_known(&cluster[1], &[&failed]);
    let never = cluster[1].submit(&["-a", &failed], &evidence.brief());
    wait_known(&cluster[2], &[&never]);
    let neither = cluster[2].submit(&["-a", &never], &evidence.brief());
    let ended = cluster.wait_ended();
    for (id, cause) in [(&never, &failed), (&neither, &never)] {
        let line = ended
            .iter()
            .find(|line| line.id == **id)
            .expect("it is known");
        assert_eq!(line.state.name(), "cancelled", "{line:?}");
        assert_eq!(
            line.reason.as_deref(),
            Some(format!("dependency {cause}").as_str())
        );
        assert_eq!(line.attempts, 0);
    }
    assert_eq!(evidence.history().started(), 4);
}

#[test]
fn priority_decides_what_starts_first() {
    let cluster = Plan::of(1).cpus(1).start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let blocker = cluster[0].submit(&[], &evidence.until(&gate));
    wait_state(&cluster[0], &blocker, "running");
    let order = ["5", "-7", "2000", "1000", "999"];
    let ids: Vec<String> = order
        .map(|priority| cluster[0].submit(&["-p", priority], &evidence.brief()))
        .into();
    let default = cluster[0].submit(&[], &evidence.brief());
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 7);
    let history = evidence.history();
    let mut started: Vec<&String> = ids.iter().chain([&default]).collect();
    started.sort_by_key(|id| history.of(id)[0].first);
    assert_eq!(
        started,
        [&ids[2], &ids[3], &default, &ids[4], &ids[0], &ids[1]]
    );
}

#[test]
fn processors_are_shared_out() {
    let cluster = Plan::of(1).cpus(4).start();
    let evidence = Evidence::new(cluster.dir());
    // Too large for any host: it waits, and stands in nobody's way.
    let giant = cluster[0].submit(&["-c", "64"], &evidence.brief());
    let mut ids: Vec<String> = (0..6)
        .map(|_| cluster[0].submit(&["-c", "2"], &evidence.beats(3)))
        .collect();
    cluster[0]
        .aque(
            &[
                &["wait"][..],
                &ids.iter().map(String::as_str).collect::<Vec<_>>(),
            ]
            .concat(),
        )
        .run()
        .ok();
    assert_eq!(evidence.history().most_at_once(), 2);
    ids.extend((0..16).map(|_| cluster[0].submit(&["-c", "0.5"], &evidence.beats(6))));
    cluster[0]
        .aque(
            &[
                &["wait"][..],
                &ids.iter().map(String::as_str).collect::<Vec<_>>(),
            ]
            .concat(),
        )
        .run()
        .ok();
    let most = evidence.history().most_at_once();
    assert!((5..=8).contains(&most), "{most} at once");
    evidence.history().judge(&ids, &[]);
    assert_eq!(
        cluster[0].task(&giant).expect("it is known").state.name(),
        "pending"
    );
    cluster[0].ok(&["kill", &giant]);
    assert_eq!(cluster.wait_ended().len(), ids.len() + 1);
}

#[test]
fn killing_ends_runs_and_cancels_what_waits() {
    let cluster = Plan::of(3).cpus(1).start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let running = cluster[0].submit_many(3, &evidence.until(&gate));
    running
        .iter()
        .for_each(|id| wait_state(&cluster[0], id, "running"));
    let pending = cluster[1].submit(&[], &evidence.brief());
    wait_state(&cluster[2], &pending, "pending");
    // Whoever is asked, wherever it runs.
    cluster[2].ok(&["kill", &pending]);
    wait_state(&cluster[0], &pending, "cancelled");
    cluster[1].ok(&["kill", "-s", "KILL", &running[0]]);
    cluster[2].ok(&["kill", "-s", "15", "--reason", "not needed", &running[1]]);
    for (id, signal) in [(&running[0], 9), (&running[1], 15)] {
        wait_state(&cluster[0], id, "killed");
        assert_eq!(
            cluster[0].task(id).expect("it is known").signal,
            Some(signal)
        );
    }
    fs::write(&gate, "").expect("the gate opens");
    wait_state(&cluster[0], &running[2], "success");
    assert_eq!(evidence.history().started(), 3);
    let again = cluster[0].aque(&["kill", &running[2]]).run();
    assert_eq!(again.status.code(), Some(1), "{again}");
    assert!(again.stderr.contains("ended before"), "{again}");
}

#[test]
fn a_task_that_ignores_term_is_killed_after_the_grace() {
    let cluster = Cluster::start(1);
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 0.1; done";
    let id = cluster[0].submit(&[], &["sh", "-c", deaf]);
    settle("its first line", || {
        match cluster[0].ok(&["output", &id]).as_str() {
            "deaf" => Ok(()),
            other => Err(format!("it said {other:?}")),
        }
    });
    cluster[0].ok(&["kill", "--grace", "200ms", &id]);
    wait_state(&cluster[0], &id, "killed");
    assert_eq!(cluster[0].task(&id).expect("it is known").signal, Some(9));
    // One that ends by itself when it is told to keeps its output.
    let polite = "trap 'echo bye; exit 3' TERM; echo here; while :; do sleep 0.1; done";
    let id = cluster[0].submit(&[], &["sh", "-c", polite]);
    settle("its first line", || {
        match cluster[0].ok(&["output", &id]).as_str() {
            "here" => Ok(()),
            other => Err(format!("it said {other:?}")),
        }
    });
    cluster[0].ok(&["kill", &id]);
    wait_state(&cluster[0], &id, "killed");
    assert_eq!(cluster[0].ok(&["output", &id]), "here\nbye");
}

#[test]
fn waiting() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let long = node.submit(&[], &evidence.until(&gate));
    let good = node.submit(&[], &["true"]);
    node.ok(&["wait", &good]);
    node.ok(&["wait", "--any", &long, &good]);
    node.ok(&["wait", "--state", "running", &long]);
    let late = node
        .aque(&["wait", "--timeout", "100ms", &long, &good])
        .run();
    assert_eq!(
        (late.status.code(), late.stdout.as_str()),
        (Some(124), ""),
        "{late}"
    );
    assert!(late.stderr.contains("the time ran out"), "{late}");
    fs::write(&gate, "").expect("the gate opens");
    node.ok(&["wait", &long, &good]);
    let bad = node.submit(&[], &["false"]);
    let waited = node.aque(&["wait", &good, &bad]).run();
    assert_eq!(waited.status.code(), Some(1), "{waited}");
}

#[test]
fn output_is_followed_live_from_another_host() {
    let cluster = Cluster::start(2);
    let gate = cluster.path("gate");
    let script = format!(
        "echo one; while [ ! -e {} ]; do sleep 0.02; done; echo two; exit 5",
        gate.display()
    );
    let id = cluster[0].submit(&[], &["sh", "-c", &script]);
    wait_state(&cluster[0], &id, "running");
    let host = cluster[0].task(&id).expect("it is known").host;
    let other = usize::from(host.as_deref() == Some("n0"));
    let mut child = cluster[other].aque(&["output", "-w", &id]).spawn();
    let mut pipe = child.stdout.take().expect("it has a pipe");
    let mut first = [0; 4];
    pipe.read_exact(&mut first)
        .expect("the first line comes while the task runs");
    assert_eq!(&first, b"one\n");
    fs::write(&gate, "").expect("the gate opens");
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).expect("the rest comes");
    assert_eq!(rest, "two\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
    for node in cluster.nodes() {
        assert_eq!(node.ok(&["output", &id]), "one\ntwo");
        assert_eq!(node.ok(&["output", "-n", "1", &id]), "two");
    }
}

#[test]
fn large_and_binary_output_arrives_whole() {
    let cluster = Plan::of(2).start();
    let id = cluster[0].submit(
        &[],
        &[
            "sh",
            "-c",
            "head -c 20000000 /dev/zero | tr '\\0' x; printf '\\377\\000end' >&2",
        ],
    );
    wait_state(&cluster[1], &id, "success");
    for node in cluster.nodes() {
        let out = node.aque(&["output", "--stdout", &id]).run();
        assert_eq!(out.ok().len(), 20_000_000);
        assert!(out.stdout.bytes().all(|byte| byte == b'x'));
        let err = node.aque(&["output", "--stderr", &id]).run();
        assert_eq!(err.ok(), "");
        assert_eq!(err.stderr.as_bytes(), "\u{fffd}\0end".as_bytes());
    }
}

#[test]
fn json_for_programs() {
    let cluster = Cluster::start(3);
    let id = cluster[0].submit(&["-n", "a name", "-p", "7"], &["sh", "-c", "exit 3"]);
    let _alike = cluster.wait_ended();
    for node in cluster.nodes() {
        let hosts = node.aque(&["--json", "nodes"]).run().json();
        let mut names: Vec<&str> = hosts["nodes"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|host| host["name"].as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["n0", "n1", "n2"]);
        assert!(
            hosts["nodes"]
                .as_array()
                .is_some_and(|hosts| hosts.iter().all(|host| host["alive"] == Value::Bool(true)))
        );
        let tasks = node.aque(&["--json", "status", "--flat"]).run().json();
        let task = &tasks["tasks"][0];
        assert_eq!(
            (&task["id"], &task["state"], &task["exit"]),
            (&id.as_str().into(), &"error".into(), &3.into())
        );
        assert_eq!(
            (&task["epoch"], &task["attempts"], &task["priority"]),
            (&1.into(), &1.into(), &7.into())
        );
        assert!(
            task["host"]
                .as_str()
                .is_some_and(|host| names.contains(&host)),
            "{task}"
        );
        assert_eq!(
            (&task["name"], &task["reason"]),
            (&"a name".into(), &"exit 3".into())
        );
    }
    let record = cluster[1].aque(&["submit", "--json", "true"]).run().json();
    assert!(record["id"].is_string(), "{record}");
}

#[test]
fn ids_as_people_type_them() {
    let cluster = Cluster::start(2);
    let node = &cluster[0];
    let ids: Vec<String> = (1..=3)
        .map(|n| node.submit(&[], &["echo", &n.to_string()]))
        .collect();
    let _ended = cluster.wait_ended();
    let tag = &node.ready().tag;
    assert_eq!(node.ok(&["output", "2"]), "2");
    assert_eq!(node.ok(&["output", "last"]), "3");
    let lonely = cluster[1].submit(&[], &["echo", "lonely"]);
    assert_eq!(node.ok(&["output", "-w", &lonely[..4]]), "lonely");
    let several = node.aque(&["output", &tag[..4]]).run();
    assert!(several.refused(1).contains(&ids[0]), "{several}");
    let range = format!("{}..{}", ids[0], ids[2]);
    let bare = cluster[1].ok(&["output", "--no-prefix", &range]);
    assert_eq!(bare, "1\n2\n3");
    let lines = cluster[1].ok(&["output", &range]);
    assert_eq!(lines.lines().nth(1), Some(&*format!("{} | 2", ids[1])));
    let unknown = node.aque(&["output", "99"]).run();
    assert!(unknown.refused(1).contains("99"), "{unknown}");
    let foreign = node.aque(&["show", "zzzzzz-1"]).run();
    assert!(foreign.refused(1).contains("zzzzzz-1"), "{foreign}");
    let none = node.aque(&["submit", "-a", "zzzzzz-1", "true"]).run();
    assert!(none.refused(1).contains("zzzzzz-1"), "{none}");
}

#[test]
fn show_tells_everything() {
    let cluster = Cluster::start(3);
    let id = cluster[0].submit(&["-n", "shown", "-c", "0.5"], &["sh", "-c", "echo hi"]);
    let _ended = cluster.wait_ended();
    for node in cluster.nodes() {
        let text = node.ok(&["show", &id]);
        for part in [id.as_str(), "shown", "success", "n0", "n1", "n2"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        let json = node.aque(&["--json", "show", &id]).run().json();
        assert!(json.to_string().contains("registers"), "{json}");
    }
}

#[test]
fn mistakes_end_with_one_line_and_their_status() {
    let cluster = Cluster::start(1);
    for args in [
        &["statsu"][..],
        &["submit"],
        &["submit", "--cpus", "x", "true"],
        &["kill"],
        &["--color", "red"],
    ] {
        cluster[0].aque(args).run().refused(2);
    }
    let nobody = tests::Aque::new(&cluster.path("nobody.sock"), &["status"]).run();
    assert!(nobody.refused(69).contains("nobody.sock"), "{nobody}");
    let nowhere = cluster[0]
        .aque(&[
            "submit",
            "--cwd",
            "/nowhere/at/all",
            "--durable",
            "local",
            "true",
        ])
        .run();
    assert_eq!(nowhere.status.code(), Some(0), "{nowhere}");
}

#[test]
fn a_closed_standard_output_ends_quietly() {
    let cluster = Cluster::start(1);
    cluster[0].submit(&[], &["sh", "-c", "head -c 5000000 /dev/zero"]);
    let _ended = cluster.wait_ended();
    for args in [
        &["status"][..],
        &["--json", "status"],
        &["nodes"],
        &["output", "last"],
        &["show", "last"],
    ] {
        let mut command = Command::new(&tests::programs::programs().aque);
        command.arg("--node").arg(cluster[0].socket()).args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("aque can be started");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{args:?}");
        assert!(
            matches!(ended.status.code(), Some(0 | 141) | None),
            "{args:?}: {}",
            ended.status
        );
    }
}

#[test]
fn status_is_what_no_command_means() {
    let cluster = Cluster::start(1);
    let empty = cluster[0].aque(&[]).run();
    assert_eq!(
        (empty.ok(), empty.stderr.as_str()),
        ("", "no tasks; 'aque submit CMD' queues one\n")
    );
    let id = cluster[0].submit(&[], &["echo", "a b"]);
    let _ended = cluster.wait_ended();
    for args in [&[][..], &["status"], &["st", "--flat"], &["status", &id]] {
        let text = cluster[0].ok(args);
        let row = text.lines().nth(1).unwrap_or_default();
        assert!(
            row.starts_with(&id) && row.contains("success") && row.ends_with("echo 'a b'"),
            "{text}"
        );
    }
}
