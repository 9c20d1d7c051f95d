//! Who runs as whom, and who may do what, on real meshes with real users: root, whose nodes these are, and two others that every
//! system has.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tests::lan::skip;
use tests::{Cluster, Guest, Node, Outcome, Plan, processes, settle};

use super::lives::wait_reason;
use super::{wait_known, wait_state};

/// A cluster of root's nodes, and two users who may ask them; `None` where this is not root.
fn shared(plan: Plan) -> Option<(Cluster, Guest, Guest)> {
    let cluster = plan.start();
    let ann = Guest::named("www-data", cluster.dir())?;
    let bob = Guest::named("daemon", cluster.dir())?;
    Some((cluster, ann, bob))
}

/// Submits as a user, who must be allowed to, and returns the id.
#[track_caller]
fn submit(node: &Node, who: &Guest, options: &[&str], command: &[&str]) -> String {
    let words = [&["submit"], options, &["--"], command].concat();
    node.aque_by(who, &words).run().ok().to_owned()
}

/// Submits as a user and follows the task to its end.
#[track_caller]
fn run(node: &Node, who: &Guest, options: &[&str], command: &[&str]) -> String {
    let words = [&["submit", "-w"], options, &["--"], command].concat();
    node.aque_by(who, &words).run().ok().to_owned()
}

/// What `id` tells of a user.
fn ids(who: &Guest) -> String {
    let mut groups = who.user.groups().expect("groups can be looked up");
    groups.sort_unstable();
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    format!("{} {} {}", who.user.uid, who.user.gid, groups.join(","))
}

const IDS: &str = "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n | paste -sd,)";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of a test is text")
}

#[test]
fn a_run_is_its_users() {
    let Some((cluster, ann, bob)) = shared(Plan::of(1)) else {
        return;
    };
    let node = &cluster[0];
    for who in [&ann, &bob] {
        assert_eq!(run(node, who, &[], &["sh", "-c", IDS]), ids(who));
    }
    let own = run(node, &ann, &[], &["grep", "CapEff", "/proc/self/status"]);
    assert_eq!(own.split_whitespace().last(), Some("0000000000000000"));
    let session = "test $(ps -o sid= -p $$) = $$ && ls /proc/self/fd | wc -l";
    // The directory that is listed is the fourth.
    assert_eq!(run(node, &ann, &[], &["sh", "-c", session]), "4");
    let home = "echo $HOME $USER $LOGNAME $SHELL";
    let user = &ann.user;
    let expected = format!(
        "{} {name} {name} {}",
        user.home.display(),
        user.shell.display(),
        name = user.name
    );
    let clean = ["--env-mode", "clean"];
    assert_eq!(run(node, &ann, &clean, &["sh", "-c", home]), expected);
    let given = ["--env", "HOME=/given", "--env", "USER=x"];
    let said = run(node, &ann, &given, &["sh", "-c", "echo $HOME $USER"]);
    assert_eq!(said, "/given x", "what a task brings is kept");
    // It may open again by name what it writes to; the file is the node's.
    let again = "echo one > /dev/stdout; echo two >> /dev/stderr; stat -L -c %u /proc/self/fd/1";
    assert_eq!(run(node, &ann, &[], &["sh", "-c", again]), "one\n0");
    let stdin = ["--stdin-text", "a word"];
    let said = run(node, &ann, &stdin, &["sh", "-c", "cat /dev/stdin"]);
    assert_eq!(said, "a word");
    let missing = node.aque_by(&ann, &["submit", "-w", "no-such-program"]);
    assert_eq!(missing.run().status.code(), Some(127));
    let doctor = node.ok(&["doctor"]);
    assert!(doctor.contains("tasks run as their users"), "{doctor}");
}

#[test]
fn a_run_of_another_user_says_how_far_it_is() {
    let Some((cluster, ann, _)) = shared(Plan::of(1)) else {
        return;
    };
    let node = &cluster[0];
    let gate = cluster.path("gate");
    let script = format!(
        "echo 0.5 half > $AQUE_PROGRESS && while ! [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    let id = submit(node, &ann, &["-s"], &[&script]);
    settle("its word", || match node.task(&id)?.progress {
        Some(word) if word == "0.5 half" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    fs::write(&gate, "").expect("the gate opens");
    wait_state(node, &id, "success");
    settle("nothing to be left of it", || {
        let left = fs::read_dir(node.data().join("progress")).expect("it is there");
        match left.count() {
            0 => Ok(()),
            more => Err(format!("{more} files")),
        }
    });
}

#[test]
fn files_are_opened_with_the_users_rights() {
    let Some((cluster, ann, _)) = shared(Plan::of(1)) else {
        return;
    };
    let node = &cluster[0];
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("modes can be set");
    };
    let secret = cluster.path("secret");
    fs::create_dir(&secret).expect("a directory");
    fs::write(secret.join("key"), "secret").expect("a file");
    mode(&secret, 0o700);
    let precious = cluster.path("precious");
    fs::write(&precious, "precious").expect("a file");
    mode(&precious, 0o644);
    let denied = |options: &[&str], why: &str| {
        let id = submit(node, &ann, options, &["cat"]);
        wait_reason(node, &id, "pending", why);
        node.aque_by(&ann, &["kill", &id]).run().ok();
    };
    let (key, new) = (secret.join("key"), secret.join("new"));
    let told = |path: &Path, what: &str| format!("{} may not be {what}", path.display());
    denied(&["--stdin", text(&key)], &told(&key, "read"));
    denied(&["--io-hint", text(&key)], &told(&key, "read"));
    denied(&["--stdout", text(&new)], &told(&new, "written"));
    denied(&["--stderr", text(&new)], &told(&new, "written"));
    assert!(!new.exists(), "root made nothing for them");
    denied(&["--stdout", text(&key)], &told(&key, "written"));
    denied(&["--stdout", text(&precious)], &told(&precious, "written"));
    assert_eq!(fs::read(&key).expect("it is there"), b"secret");
    assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
    denied(&["--cwd", text(&secret)], &told(&secret, "entered"));
    // Nor is a program executed that the user may not.
    let own = secret.join("program");
    fs::write(&own, "#!/bin/sh\n").expect("a file");
    mode(&own, 0o755);
    let said = node.aque_by(&ann, &["submit", "-w", text(&own)]).run();
    assert_eq!(said.status.code(), Some(126), "{said}");
    // What is theirs is made as theirs.
    let mine = cluster.path("mine");
    fs::create_dir(&mine).expect("a directory");
    ann.give(&mine);
    let options = ["--cwd", text(&mine), "--stdout", "out"];
    run(node, &ann, &options, &["echo", "hello"]);
    let made = mine.join("out");
    assert_eq!(fs::read(&made).expect("it is there"), b"hello\n");
    let about = made.metadata().expect("it is there");
    assert_eq!((about.uid(), about.gid()), (ann.user.uid, ann.user.gid));
}

#[test]
fn what_one_user_may_not_read_another_may() {
    let Some((mut cluster, ann, bob)) = shared(Plan::of(1)) else {
        return;
    };
    let ticket = cluster[0].ready().ticket.clone();
    cluster.add(1, &ticket);
    cluster.wait_whole();
    let bobs = cluster.path("bobs");
    fs::create_dir(&bobs).expect("a directory");
    fs::write(bobs.join("key"), "word").expect("a file");
    bob.give(&bobs);
    fs::set_permissions(&bobs, Permissions::from_mode(0o700)).expect("modes can be set");
    let node = &cluster[0];
    let key = bobs.join("key");
    let options = ["--stdin", text(&key)];
    let waits = submit(node, &ann, &options, &["cat"]);
    let why = format!("{} may not be read", key.display());
    wait_reason(node, &waits, "pending", &format!("n0: {why}"));
    wait_reason(node, &waits, "pending", &format!("n1: {why}"));
    assert_eq!(run(node, &bob, &options, &["cat"]), "word");
    let moves = ["--cwd", text(&bobs)];
    assert_eq!(run(node, &bob, &moves, &["cat", "key"]), "word");
    // Nor does a name that leads nowhere bar anybody: that is told by the start.
    let group = submit(node, &ann, &["--group", &ann.user.name], &["id", "-gn"]);
    wait_state(node, &group, "success");
    // Once it is theirs to read, it is read.
    ann.give(&bobs);
    wait_state(node, &waits, "success");
    assert_eq!(node.aque_by(&ann, &["output", &waits]).run().ok(), "word");
}

#[test]
fn what_a_task_wrote_is_read_by_its_users_tasks_alone() {
    let Some((mut cluster, ann, bob)) = shared(Plan::of(1)) else {
        return;
    };
    let ticket = cluster[0].ready().ticket.clone();
    cluster.add(1, &ticket);
    cluster.wait_whole();
    let node = &cluster[0];
    let source = submit(node, &ann, &["--host", "n0"], &["echo", "a secret"]);
    wait_state(node, &source, "success");
    // It may open again what it reads, and write to neither the stored output nor the copy of another host.
    let script = "cat /dev/stdin; (echo bad > /dev/stdin) 2>&1 | grep -c denied";
    for host in ["n0", "n1"] {
        let options = ["--host", host, "--pipe-from", source.as_str()];
        let said = run(node, &ann, &options, &["sh", "-c", script]);
        assert_eq!(said, "a secret\n1", "{host}");
        let refused = [&["submit"], &options[..], &["cat"]].concat();
        let said = node.aque_by(&bob, &refused).run();
        assert!(said.refused(77).contains("is "), "{said}");
    }
    assert_eq!(
        node.aque_by(&ann, &["output", &source]).run().ok(),
        "a secret"
    );
    // Root may read it, and have it read.
    let options = ["--pipe-from", source.as_str()];
    assert_eq!(
        node.ok(&[&["submit", "-w"], &options[..], &["cat"]].concat()),
        "a secret"
    );
    let for_bob = ["submit", "-w", "--user", &bob.user.name];
    let words = [&for_bob[..], &options[..], &["cat"]].concat();
    assert_eq!(node.ok(&words), "a secret");
}

#[test]
fn a_call_says_why_it_failed_whoever_made_it() {
    let Some((cluster, ann, _)) = shared(Plan::of(1)) else {
        return;
    };
    let node = &cluster[0];
    if !Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|said| said.status.success())
    {
        return skip("a call of python3", "it is not installed");
    }
    let gone = submit(node, &ann, &["--call", "no_such_module:f"], &[]);
    wait_state(node, &gone, "error");
    let why = node.task(&gone).expect("it is known").reason;
    assert!(
        why.as_deref().is_some_and(|why| why.starts_with("call: ")),
        "{why:?}"
    );
    assert_eq!(
        run(node, &ann, &["--call", "os:getuid"], &["[]"]),
        ann.user.uid.to_string()
    );
}

#[test]
fn what_is_anothers_is_looked_at_and_not_touched() {
    let Some((cluster, ann, bob)) = shared(Plan::of(1)) else {
        return;
    };
    let node = &cluster[0];
    let stdin = ["--stdin-text", "a secret"];
    let id = submit(node, &ann, &stdin, &["sh", "-c", "cat; exec sleep 1000"]);
    wait_state(node, &id, "running");
    let theirs = format!("{id} is {}'s", ann.user.name);
    let refused = |words: &[&str], why: &str| {
        let said = node.aque_by(&bob, words).run();
        assert!(said.refused(77).contains(why), "{said}");
    };
    let touches = [
        &["kill", &id][..],
        &["kill", "-r", &id],
        &["hold", &id],
        &["release", &id],
        &["retry", &id],
        &["edit", &id, "--priority", "1"],
        &["rm", &id],
        &["output", &id],
        &["output", "-w", &id],
        &["kill", "-x", "--state", "running"],
        &["hold", "-x", "--filter", "age >= 0s"],
    ];
    for words in touches {
        refused(words, &theirs);
    }
    let rules = [
        &["settings", "set", "lost-limit", "3"][..],
        &["settings", "unset", "lost-limit"],
        &["settings", "set", "root-tasks", "anywhere"],
        &["queue", "set", "q", "--slots", "1"],
        &["queue", "pause", "q"],
        &["drain"],
        &["undrain"],
        &["forget", "n0"],
        &["invite"],
    ];
    for words in rules {
        refused(words, "may not");
    }
    let by_bob = |words: &[&str]| -> Outcome { node.aque_by(&bob, words).run() };
    assert!(by_bob(&["status", "-x"]).ok().contains(&id));
    assert!(!by_bob(&["status"]).ok().contains(&id));
    let shown = |who: &Guest| node.aque_by(who, &["show", "--json", &id]).run();
    assert!(shown(&ann).ok().contains("a secret"));
    assert!(!shown(&bob).ok().contains("a secret"), "nor what it reads");
    assert!(by_bob(&["doctor"]).status.success() && by_bob(&["nodes"]).status.success());
    assert_eq!(node.task(&id).expect("it is known").state.name(), "running");
    let read = node.aque_by(&ann, &["output", &id]).run();
    assert_eq!(read.ok(), "a secret");
    assert_eq!(node.ok(&["output", &id]), "a secret", "root may");
    // What depends on it and is another's goes on when it is killed with its family.
    let after = ["--after-any", id.as_str()];
    let behind = submit(node, &bob, &after, &["echo", "bob"]);
    let own = submit(node, &ann, &["--after", &id], &["echo", "ann"]);
    node.aque_by(&ann, &["kill", "-r", &id]).run().ok();
    wait_state(node, &id, "killed");
    wait_state(node, &behind, "success");
    wait_state(node, &own, "cancelled");
    refused(&["rm", "-x", "-k"], &format!("is {}'s", ann.user.name));
    // All that is one's own goes, and nothing else.
    by_bob(&["rm", "-a", "-x"]).ok();
    assert!(node.task(&behind).is_err(), "it was bob's");
    assert_eq!(node.task(&id).expect("it is known").state.name(), "killed");
    let id = submit(node, &ann, &[], &["sleep", "1000"]);
    node.ok(&["kill", &id]);
    wait_state(node, &id, "killed");
}

#[test]
fn only_root_names_another_user() {
    let Some((cluster, ann, bob)) = shared(Plan::of(1)) else {
        return;
    };
    let node = &cluster[0];
    let (anns, bobs) = (ann.user.name.as_str(), bob.user.name.as_str());
    let said = |who: Option<&Guest>, words: &[&str]| -> Outcome {
        let words = [&["submit", "-w"], words, &["sh", "-c", IDS]].concat();
        match who {
            Some(guest) => node.aque_by(guest, &words).run(),
            None => node.aque(&words).run(),
        }
    };
    let rows: [(Option<&Guest>, &[&str], i32, &str); 13] = [
        (Some(&ann), &["--user", bobs], 77, "may not run tasks as"),
        (
            Some(&ann),
            &["--user", "root"],
            77,
            "may not run tasks as root",
        ),
        (Some(&ann), &["--user", "no-such-user"], 77, "may not run"),
        (Some(&ann), &["--group", bobs], 77, "is not in group"),
        (Some(&ann), &["--group", "root"], 77, "is not in group root"),
        (
            Some(&ann),
            &["--group", "no-such-group"],
            1,
            "there is no group",
        ),
        (
            Some(&ann),
            &["--user", anns, "--group", bobs],
            77,
            "not in group",
        ),
        (
            None,
            &["--user", "no-such-user"],
            1,
            "there is no user no-such-user",
        ),
        (None, &["--group", "no-such-group"], 1, "there is no group"),
        (None, &["--user", ""], 2, "a name is missing"),
        (None, &["--group", ""], 2, "a name is missing"),
        (None, &["--user", "33"], 2, "give the name"),
        (None, &["--user", "a:b"], 2, "no ':'"),
    ];
    for (who, words, status, why) in rows {
        let said = said(who, words);
        assert!(said.refused(status).contains(why), "{said}");
    }
    assert_eq!(said(Some(&ann), &["--user", anns]).ok(), ids(&ann));
    assert_eq!(said(Some(&ann), &["--group", anns]).ok(), ids(&ann));
    assert_eq!(said(None, &["--user", anns]).ok(), ids(&ann));
    let as_group = said(None, &["--user", anns, "--group", bobs]);
    let gids = as_group.ok().split(' ').nth(1);
    assert_eq!(gids, Some(bob.user.gid.to_string().as_str()), "{as_group}");
    // It is that user's from then on, and at home there, whatever root's variables say.
    let words = ["submit", "--user", anns, "sh", "-c", "echo $HOME $USER"];
    let id = node.aque(&words).env("HOME", "/root").run().ok().to_owned();
    wait_state(node, &id, "success");
    let read = node.aque_by(&ann, &["output", &id]).run();
    assert_eq!(read.ok(), format!("{} {anns}", ann.user.home.display()));
    let show = node.ok(&["show", &id]);
    assert!(
        show.contains(&format!("{anns}, submitted by root")),
        "{show}"
    );
    node.aque_by(&bob, &["output", &id]).run().refused(77);
    let all = node.aque(&[
        "xargs", "-n", "1", "-w", "--user", bobs, "sh", "-c", "id -u",
    ]);
    let all = all.input("1\n2\n").run();
    let uid = bob.user.uid;
    assert_eq!(all.ok(), format!("{uid}\n{uid}"));
    let refused = node.aque_by(&ann, &["xargs", "--user", bobs, "true"]);
    let refused = refused.input("1\n").run();
    assert!(refused.refused(77).contains("may not run"), "{refused}");
}

#[test]
fn roots_tasks_stay_where_they_were_submitted_until_the_mesh_lets_them_go() {
    let Some((mut cluster, ann, _)) = shared(Plan::of(1).cpus(0).root_stays()) else {
        return;
    };
    let ticket = cluster[0].ready().ticket.clone();
    cluster.add(1, &ticket);
    cluster.wait_whole();
    let node = &cluster[0];
    let as_root = |node: &Node| node.submit(&[], &["sh", "-c", IDS]);
    let id = as_root(node);
    wait_known(&cluster[1], &[&id]);
    for node in cluster.nodes() {
        let why = "n1 takes no task of root from another host";
        wait_reason(node, &id, "pending", why);
        let todo = "'aque settings set root-tasks anywhere' lets";
        wait_reason(node, &id, "pending", todo);
    }
    // Others' tasks go anywhere, as the user of that name there.
    assert_eq!(run(node, &ann, &[], &["sh", "-c", IDS]), ids(&ann));
    // What was submitted there runs there, and goes nowhere else.
    assert!(
        cluster[1]
            .ok(&["submit", "-w", "sh", "-c", IDS])
            .starts_with("0 0 ")
    );
    let place = cluster.add(1, &ticket);
    cluster.wait_whole();
    let far = cluster[1].submit(&["--host", "n2"], &["sh", "-c", IDS]);
    for node in [&cluster[1], &cluster[place]] {
        wait_known(node, &[&far]);
        let why = "n2 takes no task of root from another host";
        wait_reason(node, &far, "pending", why);
    }
    let node = &cluster[0];
    let said = node.aque(&["settings", "set", "root-tasks", "maybe"]).run();
    assert!(said.refused(1).contains("local or anywhere"), "{said}");
    node.ok(&["settings", "set", "root-tasks", "anywhere"]);
    for id in [&id, &far] {
        wait_state(node, id, "success");
        assert!(node.ok(&["output", id]).starts_with("0 0 "), "it was root");
    }
    node.ok(&["settings", "unset", "root-tasks"]);
    let id = as_root(node);
    wait_known(&cluster[1], &[&id]);
    wait_reason(&cluster[1], &id, "pending", "takes no task of root");
}

#[test]
fn an_ordinary_users_node_runs_that_users_tasks_alone() {
    let Some((mut cluster, ann, bob)) = shared(Plan::of(1).cpus(0)) else {
        return;
    };
    let ticket = cluster[0].ready().ticket.clone();
    cluster.add_owned(&bob, 2, &ticket);
    cluster.wait_whole();
    let (node, bobs) = (&cluster[0], bob.user.name.as_str());
    let why = format!("fits no host: n0 runs no tasks, n1 runs only {bobs}'s tasks");
    let of_root = node.submit(&[], &["true"]);
    wait_reason(node, &of_root, "pending", &why);
    let of_ann = submit(node, &ann, &[], &["true"]);
    wait_reason(node, &of_ann, "pending", &why);
    assert_eq!(
        run(node, &bob, &[], &["id", "-u"]),
        bob.user.uid.to_string()
    );
    let root_for_bob = node.submit(&["--user", bobs], &["true"]);
    wait_state(node, &root_for_bob, "success");
    let as_group = submit(node, &bob, &["--group", bobs], &["true"]);
    let why = format!("n1 cannot run it as group {bobs}");
    wait_reason(node, &as_group, "pending", &why);
    // Its socket is its user's, who may do everything there, and root's.
    let own = &cluster[1];
    own.aque_by(&ann, &["status"]).run().refused(77);
    own.aque_by(&bob, &["settings", "set", "lost-limit", "4"])
        .run()
        .ok();
    let doctor = own.ok(&["doctor"]);
    assert!(
        doctor.contains(&format!("runs only {bobs}'s tasks")),
        "{doctor}"
    );
    let refused = own.aque_by(&bob, &["submit", "--user", &ann.user.name, "true"]);
    assert!(refused.run().refused(77).contains("may not run tasks as"));
}

/// The processes of a run that wrote their numbers into these files.
fn pids(dir: &Path) -> Vec<i32> {
    let read = |name: &str| {
        settle(&format!("{name} to have begun"), || {
            let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
            text.trim().parse::<i32>().map_err(|_| text)
        })
    };
    ["leader", "child", "daemon"].map(read).to_vec()
}

fn wait_dead(pids: &[i32]) {
    settle("nothing of it to live", || {
        let left: Vec<_> = pids.iter().filter(|pid| processes::lives(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?} live"))
        }
    });
}

#[test]
fn runs_of_others_outlive_a_change_of_program_and_end_when_they_must() {
    let plan = Plan::of(1).own_programs().short_lease();
    let Some((mut cluster, ann, _)) = shared(plan) else {
        return;
    };
    let dir = cluster.path("run");
    fs::create_dir(&dir).expect("a directory");
    ann.give(&dir);
    // It ignores what can be ignored, with a child in its group and a daemon that left it.
    let family = "trap '' TERM HUP INT; \
        sh -c 'echo $$ > child; exec sleep 1000' & \
        (setsid sh -c 'echo $$ > daemon; exec sleep 1000' &); \
        echo $$ > leader; while :; do sleep 0.01; done";
    let begin = |node: &Node| {
        let id = submit(node, &ann, &["--cwd", text(&dir)], &["sh", "-c", family]);
        wait_state(node, &id, "running");
        (id, pids(&dir))
    };
    let (id, first) = begin(&cluster[0]);
    let guard = cluster[0].guard().expect("a node has a guard");
    cluster[0].install();
    cluster[0].signal(Signal::HUP);
    settle("the program to have changed", || {
        let log = fs::read_to_string(cluster[0].home().join("log")).unwrap_or_default();
        match log.contains("a run has outlived its node") {
            true => Ok(()),
            false => Err("it has not said so"),
        }
    });
    assert_eq!(cluster[0].guard(), Some(guard));
    wait_state(&cluster[0], &id, "running");
    assert!(first.iter().all(|pid| processes::lives(*pid)));
    let kill = ["kill", "--grace", "100ms", &id];
    cluster[0].aque_by(&ann, &kill).run().ok();
    wait_state(&cluster[0], &id, "killed");
    wait_dead(&first);
    for name in ["leader", "child", "daemon"] {
        fs::remove_file(dir.join(name)).expect("it is there");
    }
    let (_, second) = begin(&cluster[0]);
    // Nobody renews its lease any more: its guard ends it.
    cluster[0].kill();
    wait_dead(&second);
}
