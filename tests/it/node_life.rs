//! The node's own life: another program takes its place while runs go on; it leaves by itself or when it is told to; what fails in it
//! is begun anew.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crdt::task::TaskState;
use node::api::wire::Health;
use node::client::Client;
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
pub(super) fn take_over(node: &Node) {
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
fn whoever_waits_does_not_notice_that_the_program_changes_or_is_started_again() {
    let mut cluster = Plan::of(1).own_programs().start();
    let gate = cluster.path("gate");
    let node = &cluster[0];
    let words = format!(
        "until [ -e {} ]; do sleep 0.05; done; echo $0",
        gate.display()
    );
    let id = node.submit(&["--cpus", "0"], &["sh", "-c", words.as_str()]);
    let mut waiting = [
        node.aque(&["wait", &id]).spawn(),
        node.aque(&["wait", "last"]).spawn(),
        node.aque(&[
            "submit",
            "--cpus",
            "0",
            "--wait",
            "--",
            "sh",
            "-c",
            words.as_str(),
        ])
        .spawn(),
    ];
    let printing = format!(
        "n=0; until [ -e {} ]; do n=$((n+1)); echo line $n; sleep 0.01; done; echo end $n",
        gate.display()
    );
    let printing = node.submit(&["--cpus", "0"], &["sh", "-c", printing.as_str()]);
    let mut following = node.aque(&["output", "-w", &printing]).spawn();
    let mut fed = node
        .aque(&["xargs", "--cpus", "0", "-w", "sh", "-c", words.as_str()])
        .spawn();
    // Then nobody waits for the answer to a submission any more: who does cannot know whether it was taken.
    settle("all to run", || {
        let tasks = node.tasks().map_err(|error| error.to_string())?;
        let running = tasks.iter().filter(|line| line.state == TaskState::Running);
        match running.count() {
            4 => Ok(()),
            count => Err(format!("{count} of {} run", tasks.len())),
        }
    });
    take_over(node);
    let node = &mut cluster.nodes_mut()[0];
    node.kill();
    node.start();
    for child in waiting.iter_mut().chain([&mut following, &mut fed]) {
        let early = child.try_wait().expect("a child can be asked");
        assert!(early.is_none(), "{early:?}");
    }
    fs::write(&gate, "").expect("the gate opens");
    let followed = following.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&followed.stdout).into_owned();
    assert_eq!(
        text.trim_end(),
        node.ok(&["output", &printing]),
        "once, and whole"
    );
    let fed = fed.wait_with_output().expect("it ends");
    assert!(fed.status.success(), "{fed:?}");
    assert_eq!(String::from_utf8_lossy(&fed.stdout).trim(), "sh");
    for child in waiting {
        let done = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{} {said}", done.status);
    }
}

#[test]
fn a_port_that_nobody_stated_stays_through_a_change_of_the_program() {
    let mut cluster = Plan::of(1).own_programs().start();
    let ticket = cluster[0].ready().ticket.clone();
    let free = ["--join", ticket.as_str(), "--listen", "127.0.0.1:0"];
    let place = cluster.add_with(1, &free);
    cluster.wait_whole();
    let node = &cluster[place];
    let before = node.ready().listen.clone();
    let count = node.times_ready();
    take_over(node);
    settle("it to say where it listens", || {
        match node.times_ready() > count {
            true => Ok(()),
            false => Err(node.log_tail()),
        }
    });
    let after = node.ready_last().expect("it says so").listen;
    assert!(before.len() > 2, "{before:?}");
    assert_eq!(after, before);
    cluster.wait_whole();
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

#[test]
fn a_node_for_one_task_runs_one_that_it_can_run_and_leaves() {
    let mut cluster = Plan::of(1).cpus(0).start();
    let evidence = Evidence::new(cluster.dir());
    // Where the directory is missing nothing can be started: that is no task.
    let impossible = cluster[0].submit(&["--cwd", "/no/such/place"], &["true"]);
    let ids = cluster[0].submit_many(4, &evidence.beats(3));
    let ticket = cluster[0].ready().ticket.clone();
    let place = cluster.add_with(4, &["--join", &ticket, "--one"]);
    assert!(cluster[place].wait_end().success());
    let history = evidence.history();
    let taken: Vec<&String> = ids.iter().filter(|id| !history.of(id).is_empty()).collect();
    let [taken] = taken[..] else {
        panic!("{taken:?} were taken");
    };
    history.judge(std::slice::from_ref(taken), &[]);
    // It is committed: the node has not left with the news.
    wait_state(&cluster[0], taken, "success");
    assert_eq!(cluster[0].task(taken).expect("it is known").attempts, 1);
    for id in ids.iter().filter(|id| *id != taken) {
        wait_state(&cluster[0], id, "pending");
    }
    wait_state(&cluster[0], &impossible, "pending");
}

#[test]
fn a_node_that_works_to_the_end_leaves_when_nothing_is_left_for_it() {
    let mut cluster = Plan::of(1).cpus(0).start();
    let evidence = Evidence::new(cluster.dir());
    let too_big = cluster[0].submit(&["--cpus", "64"], &["true"]);
    let ids = cluster[0].submit_many(5, &evidence.beats(5));
    let fails = cluster[0].submit(&["--retries", "1"], &["sh", "-c", "exit 3"]);
    let later = cluster[0].submit(&["--after", &ids[0]], &evidence.brief());
    let ticket = cluster[0].ready().ticket.clone();
    let place = cluster.add_with(2, &["--join", &ticket, "--to-end"]);
    assert!(cluster[place].wait_end().success());
    let mut all = ids.clone();
    all.push(later);
    for id in &all {
        wait_state(&cluster[0], id, "success");
    }
    wait_state(&cluster[0], &fails, "error");
    assert_eq!(cluster[0].task(&fails).expect("it is known").attempts, 2);
    wait_state(&cluster[0], &too_big, "pending");
    evidence.history().judge(&all, &[]);
    // Alone, with nothing to do, there is nothing to wait for.
    let alone = Node::new(
        "alone",
        &cluster.path("alone"),
        &["--listen".into(), "127.0.0.1:0".into()],
    );
    let (status, said) = alone.run_to_end(&["--to-end"]);
    assert!(status.success(), "{said}");
}

#[test]
fn a_node_leaves_when_it_was_idle_and_not_while_it_works() {
    let mut cluster = Plan::of(1).start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    // It is there when the node starts, so that it is not idle for long at first.
    cluster[0].signal(Signal::USR1);
    settle("the node to have heard", || {
        match times(&cluster[0], "told whether to take no more work") {
            0 => Err("it has not"),
            _ => Ok(()),
        }
    });
    let id = cluster[0].submit(&[], &evidence.until(&gate));
    assert!(cluster[0].leave().success());
    cluster[0].launch(&["--idle-exit", "4s"]);
    cluster[0].wait_ready();
    settle("the run to go on for longer", || {
        match evidence.history().of(&id) {
            [run] if run.last > run.first + 5_000_000_000 => Ok(()),
            runs => Err(format!("{runs:?}")),
        }
    });
    assert!(cluster[0].lives());
    fs::write(&gate, "").expect("the gate opens");
    wait_state(&cluster[0], &id, "success");
    assert!(cluster[0].wait_end().success());
    assert!(
        cluster[0]
            .log()
            .contains("nothing has run here for long enough")
    );
}

#[test]
fn told_a_second_time_it_leaves_at_once() {
    let mut cluster = Plan::of(1).flags(&["--grace", "1h"]).start();
    let evidence = Evidence::new(cluster.dir());
    let pid = cluster.path("pid");
    let script = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 0.01; done",
        pid.display()
    );
    let id = cluster[0].submit(&[], &["sh", "-c", script.as_str()]);
    wait_state(&cluster[0], &id, "running");
    let run = settle("the run", || {
        let text = fs::read_to_string(&pid).unwrap_or_default();
        text.trim().parse::<i32>().map_err(|_| "it has not begun")
    });
    cluster[0].signal(Signal::TERM);
    settle("the node to leave", || {
        match times(&cluster[0], "leaving: no new task") {
            0 => Err("it stays"),
            _ => Ok(()),
        }
    });
    // Neither is a task taken any more, nor is the run disturbed.
    let other = cluster[0].submit(&[], &evidence.brief());
    assert!(cluster[0].lives() && processes::lives(run));
    cluster[0].signal(Signal::TERM);
    assert!(cluster[0].wait_end().success());
    assert!(!processes::lives(run), "{run} lives");
    assert!(evidence.history().of(&other).is_empty());
    cluster[0].start();
    wait_state(&cluster[0], &other, "success");
    wait_state(&cluster[0], &id, "running");
    assert_eq!(cluster[0].task(&id).expect("it is known").attempts, 2);
}

#[test]
fn a_node_that_takes_no_work_says_when_none_is_left_and_stays_so_through_a_change() {
    let cluster = Plan::of(1).own_programs().start();
    let node = &cluster[0];
    let gate = cluster.path("gate");
    let script = format!("until [ -e {} ]; do sleep 0.01; done", gate.display());
    let id = node.submit(&[], &["sh", "-c", script.as_str()]);
    wait_state(node, &id, "running");
    node.signal(Signal::USR1);
    settle("the node to have heard", || {
        match times(node, "told whether to take no more work") {
            0 => Err("it has not"),
            _ => Ok(()),
        }
    });
    let waits = node.submit(&[], &["true"]);
    assert_eq!(times(node, "no claim is left"), 0);
    take_over(node);
    wait_state(node, &id, "running");
    fs::write(&gate, "").expect("the gate opens");
    wait_state(node, &id, "success");
    settle("the last claim to be gone", || {
        match times(node, "no claim is left") {
            0 => Err(node.log_tail()),
            _ => Ok(()),
        }
    });
    wait_state(node, &waits, "pending");
    node.signal(Signal::USR1);
    wait_state(node, &waits, "success");
}

#[test]
fn a_settings_file_is_read_by_each_program_anew_and_faults_are_told_by_line() {
    let place = tempfile::tempdir().expect("a directory can be made");
    let file = place.path().join("node.toml");
    fs::write(&file, "memory = \"1GiB\"\n").expect("a file can be written");
    let named = file.display().to_string();
    let cluster = Plan::of(1)
        .own_programs()
        .flags(&["--config", &named])
        .start();
    let node = &cluster[0];
    let offered = || {
        let hosts = node.hosts().map_err(|error| error.to_string())?.nodes;
        hosts
            .first()
            .map(|host| host.memory_bytes)
            .ok_or_else(|| "no host".to_owned())
    };
    let settles_at = |bytes: u64| {
        settle("the memory of the settings file", || match offered()? {
            found if found == bytes => Ok(()),
            found => Err(format!("{found} bytes are offered")),
        })
    };
    settles_at(1 << 30);
    let faults = "memroy = \"2GiB\"\nlease = 6\n\ncommittee = 4\n";
    fs::write(&file, faults).expect("a file can be written");
    node.signal(Signal::HUP);
    let expected = [
        "1: unknown key memroy; do you mean memory?",
        "2: lease is a string, not of type integer",
        "4: committee 4: it is 1, 3 or 5",
    ]
    .map(|what| format!("{named}:{what}"));
    settle("the refusal", || {
        let log = node.log();
        let refusal = log.lines().find(|line| line.contains("cannot follow"));
        match refusal {
            Some(line) if expected.iter().all(|what| line.contains(what)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // The same faults end a start, as any other wrong word does.
    let other = Node::new("other", &cluster.path("other"), &[]);
    let (status, said) = other.run_to_end(&["--config", &named]);
    assert_eq!(status.code(), Some(2), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, expected.map(|what| format!("aque-node: {what}")));
    fs::write(&file, "memory = \"2GiB\"\n").expect("a file can be written");
    node.signal(Signal::HUP);
    settles_at(2 << 30);
}

/// How the node's parts are, as its doctor says over a connection that is open.
fn parts(client: &mut Client) -> (Health, String) {
    let checkup = client.doctor().expect("who is connected is answered");
    let check = checkup
        .checks
        .into_iter()
        .find(|check| check.topic == "parts");
    let check = check.expect("the parts are looked at");
    (check.health, check.what)
}

#[test]
fn a_socket_that_was_removed_is_made_anew_and_nothing_that_is_in_its_way_is_harmed() {
    let cluster = Plan::of(1).start();
    let node = &cluster[0];
    let mut client = node.client().expect("it answers");
    assert_eq!(parts(&mut client).0, Health::Ok);
    fs::remove_file(node.socket()).expect("a name can be removed");
    settle("the socket to be there again", || node.client().map(drop));
    assert_eq!(node.ok(&["submit", "-w", "echo", "alive"]), "alive");
    settle("the doctor to have it", || match parts(&mut client) {
        (Health::Warning, what) if what.contains("its name was removed") => Ok(()),
        (_, what) => Err(what),
    });
    fs::remove_file(node.socket()).expect("a name can be removed");
    fs::write(node.socket(), "precious").expect("a file can be written");
    settle("the doctor to tell what is in the way", || {
        match parts(&mut client) {
            (Health::Fault, what) if what.contains("is no socket") => Ok(()),
            (_, what) => Err(what),
        }
    });
    assert_eq!(fs::read(node.socket()).expect("it is there"), b"precious");
    fs::remove_file(node.socket()).expect("a file can be removed");
    settle("the socket to be there again", || node.client().map(drop));
    settle("the doctor to have it", || match parts(&mut client) {
        (Health::Warning, _) => Ok(()),
        (_, what) => Err(what),
    });
    assert_eq!(node.ok(&["submit", "-w", "echo", "alive"]), "alive");
}
