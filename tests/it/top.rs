//! The full-screen view, in a real terminal: what is seen, what keys do, and that the terminal is given back in every way out.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};
use tests::tmux::Tmux;
use tests::{Cluster, Node, Plan, processes, settle};

use super::wait_state;

/// The command that shows the view.
fn top(node: &Node, args: &str) -> String {
    let aque = tests::programs::programs().aque.display().to_string();
    format!("{aque} --node {} {args}", node.socket().display())
}

/// Asks the shell how its terminal is set.
fn settings(tmux: &Tmux, file: &Path) -> String {
    tmux.command(&format!(
        "stty -g > {}.new && mv {0}.new {0}",
        file.display()
    ));
    let found = settle("the terminal's settings", || fs::read_to_string(file));
    fs::remove_file(file).expect("a file can be removed");
    tmux.wait_prompt();
    found
}

/// Asks the shell with which status its last command ended.
fn status(tmux: &Tmux, file: &Path) -> String {
    tmux.command(&format!("echo $? > {}.new; mv {0}.new {0}", file.display()));
    let found = settle("an exit status", || fs::read_to_string(file));
    fs::remove_file(file).expect("a file can be removed");
    found.trim().to_owned()
}

/// The view's process: the one child of the shell.
fn view(tmux: &Tmux) -> Pid {
    let shell = tmux.shell();
    settle("the view's process", || {
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))
            .map_err(|error| error.to_string())?;
        let child = children.split_whitespace().next();
        let child = child.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        child.ok_or_else(|| "the shell has no child".to_owned())
    })
}

#[test]
fn a_person_sees_tasks_opens_one_kills_it_and_gets_the_terminal_back() {
    let mut cluster = Plan::of(2).short_lease().start();
    let file = cluster.path("said");
    let Some(tmux) = Tmux::start(cluster.dir(), (80, 24)) else {
        return;
    };
    let before = settings(&tmux, &file);
    let words = "printf 'hello\\033[31m from the task\\n'; sleep 1000";
    let done = cluster[0].submit(&["--name", "first"], &["true"]);
    let id = cluster[0].submit(&["--name", "second"], &["sh", "-c", words]);
    wait_state(&cluster[0], &done, "success");
    wait_state(&cluster[0], &id, "running");
    tmux.command(&top(&cluster[0], "top -x"));
    tmux.wait("both tasks", |screen| {
        screen.contains(&done) && screen.contains(&id) && screen.contains("2 of 2 hosts alive")
    });
    assert_eq!(tmux.cursor_and_other_screen(), (false, true));
    // What happens is seen without a key.
    let third = cluster[1].submit(&["--name", "third", "--hold"], &["true"]);
    tmux.wait("the new task", |screen| {
        screen
            .lines()
            .any(|line| line.contains(&third) && line.contains("held"))
    });
    // The mark goes down to the task that runs, and into it.
    tmux.press("Down");
    tmux.press("Enter");
    tmux.wait("what the task prints", |screen| {
        screen.contains("hello from the task") && screen.contains("follows")
    });
    tmux.press("K");
    tmux.wait("a question", |screen| {
        screen.contains("kill") && screen.contains("y/n")
    });
    tmux.press("n");
    tmux.press("Escape");
    tmux.wait("the list", |screen| screen.contains("COMMAND"));
    assert_eq!(
        cluster[0].task(&id).expect("it is known").state.name(),
        "running"
    );
    tmux.press("K");
    tmux.wait("a question", |screen| {
        screen.contains(&format!("kill {id}"))
    });
    tmux.press("y");
    tmux.wait("its end", |screen| {
        screen
            .lines()
            .any(|line| line.contains(&id) && line.contains("killed"))
    });
    // Smaller, and larger.
    tmux.resize(40, 8);
    tmux.wait("a smaller view", |screen| {
        screen.contains("3 tasks") && !screen.contains("hosts alive") && screen.contains(&third)
    });
    tmux.resize(100, 30);
    tmux.wait("a larger view", |screen| {
        screen.contains("2 of 2 hosts alive")
    });
    // A filter, and all again.
    tmux.write("/first");
    tmux.press("Enter");
    tmux.wait("one task", |screen| {
        screen.contains(&done) && !screen.contains(&third)
    });
    tmux.press("Escape");
    tmux.wait("all tasks", |screen| screen.contains(&third));
    tmux.write("/state = killed");
    tmux.press("Enter");
    tmux.wait("what was killed", |screen| {
        screen.contains(&id) && !screen.contains(&third)
    });
    tmux.write("/ and colour = red");
    tmux.press("Enter");
    tmux.wait("what is wrong with it", |screen| {
        screen.contains("of the filter") && screen.contains(&id)
    });
    tmux.press("Escape");
    tmux.press("Escape");
    tmux.wait("all tasks again", |screen| screen.contains(&third));
    // A node that goes away is told of, and found again.
    cluster[0].kill();
    tmux.wait("that it is away", |screen| screen.contains("away for"));
    cluster[0].start();
    tmux.wait("that it is back", |screen| {
        !screen.contains("away for") && screen.contains(&third)
    });
    tmux.press("2");
    tmux.wait("the hosts", |screen| {
        screen.contains("LOAD") && screen.lines().any(|line| line.contains("n1"))
    });
    tmux.press("3");
    tmux.wait("what has happened", |screen| screen.contains("WHAT"));
    // Stopped and continued: the shell has its terminal meanwhile.
    tmux.press("C-z");
    tmux.wait_prompt();
    assert_eq!(settings(&tmux, &file), before);
    tmux.command("fg");
    tmux.wait("the view again", |screen| screen.contains("WHAT"));
    assert_eq!(tmux.cursor_and_other_screen(), (false, true));
    tmux.press("q");
    tmux.wait_prompt();
    assert_eq!(status(&tmux, &file), "0");
    assert_eq!(settings(&tmux, &file), before);
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    let cluster = Cluster::start(1);
    let file = cluster.path("said");
    let Some(tmux) = Tmux::start(cluster.dir(), (80, 24)) else {
        return;
    };
    let before = settings(&tmux, &file);
    let show = |args: &str| {
        tmux.command(&top(&cluster[0], args));
        tmux.wait("the view", |screen| screen.contains("aque n0"));
    };
    show("top");
    tmux.press("C-c");
    tmux.wait_prompt();
    assert_eq!(status(&tmux, &file), "130");
    assert_eq!(settings(&tmux, &file), before);
    for (args, signal, code) in [
        ("status --watch", Signal::TERM, "143"),
        ("nodes --watch", Signal::HUP, "129"),
        ("top", Signal::INT, "130"),
    ] {
        show(args);
        processes::signal(view(&tmux), signal);
        tmux.wait_prompt();
        assert_eq!(status(&tmux, &file), code, "{args}");
        assert_eq!(settings(&tmux, &file), before);
    }
    // Stopped from outside, so that it could not prepare: what it finds afterwards is put right.
    show("top");
    processes::signal(view(&tmux), Signal::STOP);
    tmux.wait("the shell", |screen| screen.contains("topped"));
    // The terminal is as the view had it: Enter is not yet the end of a line.
    tmux.write("fg");
    tmux.press("C-j");
    tmux.wait("the view again", |screen| !screen.contains("topped"));
    tmux.press("q");
    tmux.wait_prompt();
    assert_eq!(settings(&tmux, &file), before);
}

#[test]
fn without_a_terminal_it_says_so() {
    let cluster = Cluster::start(1);
    for args in [
        &["top"][..],
        &["status", "--watch"],
        &["nodes", "--watch"],
        &["top", "--json"],
    ] {
        let done = cluster[0].aque(args).run();
        let line = done.refused(2);
        assert!(line.contains("aque events"), "{line}");
    }
}
