//! The node's own life: another program takes its place while runs go on.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use tests::{Evidence, Node, Plan, processes, settle};

use super::{all_succeed, wait_state};

/// The file that a node's process executes: device and number.
fn executed(node: &Node) -> (u64, u64) {
    let pid = node.pid().as_raw_nonzero();
    let file = fs::metadata(format!("/proc/{pid}/exe")).expect("a node executes a file");
    (file.dev(), file.ino())
}

fn installed(node: &Node) -> (u64, u64) {
    let file = fs::metadata(node.program()).expect("there is a program");
    (file.dev(), file.ino())
}

/// How often a node has said something in its log.
fn times(node: &Node, words: &str) -> usize {
    node.log().matches(words).count()
}

/// Lets the program on disk take over, and returns when it has: it works with the guard that it met or made.
#[track_caller]
fn take_over(node: &Node) {
    let before = times(node, "replica is ready");
    node.install();
    node.signal(Signal::HUP);
    settle("the program on disk to take over", || {
        let ready = times(node, "replica is ready") > before;
        match ready && executed(node) == installed(node) {
            true => Ok(()),
            false => Err(node.log_tail()),
        }
    });
}

/// A mask of signals as `/proc` tells it.
fn blocked(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero()));
    let status = status.expect("a node has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let mask = line.expect("the kernel tells the mask").trim();
    u64::from_str_radix(mask, 16).expect("a mask is a number")
}

/// Children of a node that have ended and that it has not waited for.
fn zombies(node: &Node) -> Result<(), String> {
    let own = node.pid().as_raw_nonzero().get();
    let listing = fs::read_dir("/proc").expect("there is /proc");
    for entry in listing.flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut fields = rest.split(' ');
        if fields.next() == Some("Z") && fields.next() == Some(&own.to_string()) {
            return Err(stat);
        }
    }
    Ok(())
}

#[test]
fn a_run_does_not_notice_that_the_program_changes() {
    let cluster = Plan::of(1).own_programs().start();
    let node = &cluster[0];
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let witnessed = node.submit(&[], &evidence.until(&gate));
    // Each line as it is made, so that a pipe or a file that is lost in between shows.
    let script = format!(
        "n=0; until [ -e {} ]; do n=$((n+1)); echo line $n; echo error $n >&2; sleep 0.01; done; echo end $n",
        gate.display()
    );
    let writing = node.submit(&[], &["sh", "-c", script.as_str()]);
    let lines = |least: usize| {
        settle("some lines of output", || {
            match node.ok(&["output", &writing]).lines().count() {
                found if found >= least => Ok(found),
                found => Err(found),
            }
        })
    };
    let mut seen = lines(3);
    let (pid, guard) = (node.pid(), node.guard().expect("a node has a guard"));
    for _ in 0..2 {
        let old = executed(node);
        take_over(node);
        assert_ne!(executed(node), old, "another file is executed");
        assert_eq!(node.pid(), pid);
        assert!(processes::lives(pid.as_raw_pid()));
        assert_eq!(node.guard(), Some(guard), "the guard went on");
        assert_eq!(blocked(node), 0, "no signal is held back");
        for id in [&witnessed, &writing] {
            wait_state(node, id, "running");
        }
        assert!(node.ok(&["status"]).contains(&writing));
        seen = lines(seen + 3);
    }
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 2);
    let output = node.ok(&["output", &writing]);
    let count = output
        .lines()
        .filter(|line| line.starts_with("line "))
        .count();
    let whole: Vec<String> = (1..=count).map(|n| format!("line {n}")).collect();
    assert_eq!(output, format!("{}\nend {count}", whole.join("\n")));
    let history = evidence.history();
    history.judge(std::slice::from_ref(&witnessed), &[]);
    assert_eq!(history.of(&witnessed).len(), 1, "it ran once");
    for id in [&witnessed, &writing] {
        assert_eq!(node.task(id).expect("it is known").attempts, 1);
    }
    assert_eq!(node.ok(&["submit", "-w", "echo", "alive"]), "alive");
}

#[test]
fn a_node_without_runs_changes_its_program_and_nobody_is_refused() {
    let mut cluster = Plan::of(1).own_programs().start();
    let node = &cluster[0];
    let before = node.guard();
    let done = AtomicBool::new(false);
    let done = &done;
    let asking = std::thread::scope(|scope| {
        let asker = scope.spawn(move || {
            let mut asked = 0;
            // Whoever has connected waits for the next program; who asks of the old one may be cut off.
            while !done.load(Ordering::Relaxed) {
                node.client().expect("somebody answers, now or in a moment");
                asked += 1;
            }
            asked
        });
        take_over(node);
        done.store(true, Ordering::Relaxed);
        asker.join().expect("nobody was refused")
    });
    assert!(asking > 0);
    assert_ne!(
        node.guard(),
        before,
        "a guard without runs ends with its node"
    );
    settle("the end of that guard to be waited for", || zombies(node));
    let second = Node::new(
        "n0",
        node.home(),
        &["--listen".into(), "127.0.0.1:0".into()],
    );
    let (status, said) = second.run_to_end(&[]);
    assert!(
        !status.success() && said.contains("in use by process"),
        "{said}"
    );
    // Neither is the way out forgotten.
    assert!(cluster[0].leave().success());
    assert!(!cluster[0].socket().exists());
}

#[test]
fn a_program_that_cannot_follow_is_refused_with_the_reason() {
    let cluster = Plan::of(1).own_programs().start();
    let node = &cluster[0];
    let gate = cluster.path("gate");
    let script = format!("until [ -e {} ]; do sleep 0.01; done", gate.display());
    let id = node.submit(&[], &["sh", "-c", script.as_str()]);
    wait_state(node, &id, "running");
    let script = |text: &'static str| {
        move |path: &Path| {
            fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script can be written");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .expect("a mode can be set");
        }
    };
    type Make = Box<dyn Fn(&Path)>;
    let rows: [(&str, Make); 6] = [
        (
            "ended with exit status: 3: no such",
            Box::new(script("echo no such verb >&2; exit 3")),
        ),
        ("does not answer as a node", Box::new(script("echo hello"))),
        (
            "its guard has version none",
            Box::new(script(r#"echo '{"version":"9","data":"/x","formats":{}}'"#)),
        ),
        ("has not answered", Box::new(script("exec sleep 1000"))),
        (
            "cannot be executed: Permission denied",
            Box::new(|path| fs::write(path, "x").expect("a file can be written")),
        ),
        (
            "cannot be executed: No such file",
            Box::new(|path| fs::write(path, "x").expect("a file can be written")),
        ),
    ];
    let (pid, running) = (node.pid(), executed(node));
    for (place, (why, make)) in rows.into_iter().enumerate() {
        node.replace_program(make);
        if why.contains("No such file") {
            fs::remove_file(node.program()).expect("a file can be removed");
        }
        node.signal(Signal::HUP);
        settle("the refusal", || {
            let log = node.log();
            let mut refusals = log.lines().filter(|line| line.contains("cannot follow"));
            match refusals.nth(place) {
                Some(line) if line.contains(why) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        assert_eq!((node.pid(), executed(node)), (pid, running));
        wait_state(node, &id, "running");
    }
    // A whole one can follow, whatever was there before.
    take_over(node);
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 1);
    assert_eq!(node.task(&id).expect("it is known").attempts, 1);
}

#[test]
fn a_mesh_goes_on_while_each_of_its_nodes_changes_its_program() {
    let cluster = Plan::of(3).own_programs().start();
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[0].submit_many(12, &evidence.beats(20));
    for node in cluster.nodes() {
        take_over(node);
        cluster.wait_whole();
    }
    all_succeed(&cluster, 12);
    let history = evidence.history();
    history.judge(&ids, &[]);
    for id in &ids {
        assert_eq!(history.of(id).len(), 1, "{id} ran once");
    }
}
