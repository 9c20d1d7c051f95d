//! Tasks that are edited before they start, on real meshes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tests::{Cluster, Evidence, Plan, settle};

use super::lives::wait_reason;
use super::{all_succeed, wait_known, wait_state};

#[test]
fn what_was_edited_decides_what_starts_first_and_where() {
    let cluster = Plan::of(2).cpus(1).start();
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let busy = cluster[0].submit_many(2, &evidence.until(&gate));
    for id in &busy {
        wait_state(&cluster[0], id, "running");
    }
    let host = ["--host", "n1"];
    // Who took a task bids for it at once: what it starts first depends on nothing else.
    let first = cluster[1].submit(&host, &evidence.brief());
    let second = cluster[1].submit(&host, &evidence.brief());
    let third = cluster[1].submit(&host, &evidence.brief());
    let elsewhere = cluster[0].submit(
        &["--host", "n7", "-c", "8"],
        &["sh", "-c", "echo $AQUE_HOST $AQUE_QUEUE"],
    );
    wait_known(&cluster[1], &[&elsewhere]);
    wait_known(&cluster[0], &[&third]);
    wait_reason(&cluster[1], &elsewhere, "pending", "fits no host");
    cluster[0].ok(&["edit", "-p", "3000", "-n", "hurry", &third]);
    cluster[1].ok(&["edit", "-p", "2000", &second]);
    cluster[1].ok(&["edit", "--host", "n0", "--queue", "q", &elsewhere]);
    cluster[1].ok(&["edit", "-c", "0.5", &elsewhere]);
    let said = cluster[1].aque(&["edit", "-p", "5", &busy[0]]).run();
    let why = format!("{} is running: only what has not started", busy[0]);
    assert!(said.refused(1).contains(&why), "{said}");
    settle("n1 to hear of the edit", || {
        let line = cluster[1].task(&third)?;
        (line.priority == 3_000)
            .then_some(())
            .ok_or("it is as it was".to_owned())
    });
    let shown = cluster[1].ok(&["show", &third]);
    assert!(shown.contains("name        hurry\n"), "{shown}");
    assert!(shown.contains("priority    3000\n"), "{shown}");
    assert!(shown.contains("edited by"), "{shown}");
    let told = cluster[0].ok(&["events", "--past", &third]);
    assert!(told.contains("\"event\":\"edited\""), "{told}");
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 6);
    let history = evidence.history();
    let mut order = [&first, &second, &third];
    order.sort_by_key(|id| history.of(id)[0].first);
    assert_eq!(order, [&third, &second, &first]);
    assert_eq!(cluster[0].ok(&["output", &elsewhere]), "n0 q");
    let said = cluster[0].aque(&["edit", "-p", "5", &first]).run();
    assert!(said.refused(1).contains("is success"), "{said}");
}

#[test]
fn of_a_group_the_members_that_have_not_started_are_edited_and_no_restart_forgets_it() {
    let mut cluster = Plan::of(1).cpus(1).start();
    let gate = cluster.path("gate");
    let script = format!(
        "until test -e {}; do sleep 0.05; done; echo $AQUE_QUEUE",
        gate.display()
    );
    let array = cluster[0].submit(&["--array", "1-4"], &["sh", "-c", &script]);
    let mut first = String::new();
    settle("an element to run", || {
        let tasks = cluster[0].tasks().map_err(|error| error.to_string())?;
        let mut running = tasks.iter().filter(|line| line.state.name() == "running");
        first = running.next().ok_or("none does")?.id.clone();
        Ok::<_, String>(())
    });
    let said = cluster[0].aque(&["edit", "--queue", "night", &array]).run();
    assert!(
        said.stderr
            .contains(&format!("{first} is running, and stays")),
        "{said}"
    );
    assert!(said.stderr.contains("3 tasks edited"), "{said}");
    cluster[0].kill();
    cluster[0].start();
    let line = cluster[0].task(&array).expect("it is known");
    assert_eq!(line.queue.as_deref(), Some("night"));
    fs::write(&gate, "").expect("the gate opens");
    wait_state(&cluster[0], &array, "success");
    for index in 1..=4 {
        let element = format!("{array}.{index}");
        let queue = if element == first { "" } else { "night" };
        assert_eq!(cluster[0].ok(&["output", &element]), queue);
    }
}

#[test]
fn what_makes_no_sense_is_one_line() {
    let cluster = Cluster::start(1);
    let held = cluster[0].submit(&["--hold"], &["true"]);
    for (args, status, why) in [
        (&["--queue", "a b"][..], 1, "its queue's name"),
        (&["--host", "a,,b"], 2, "a pattern is empty"),
        (&["-r", "gpu=1", "-r", "gpu=2"], 2, "named twice"),
        (&["-m", "8G,4G"], 2, "must grow"),
        (&["-c", "many"], 2, "number of processors"),
    ] {
        let said = cluster[0]
            .aque(&[&["edit"], args, &[&held[..]]].concat())
            .run();
        assert!(said.refused(status).contains(why), "{said}");
    }
    let said = cluster[0].aque(&["edit", &held, "last"]).run();
    assert!(
        said.refused(2).contains("an editor is for one task"),
        "{said}"
    );
}

/// An editor: a script that finds the file in $1.
fn editor(cluster: &Cluster, script: &str) -> PathBuf {
    let path = cluster.path("editor");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be made to run");
    path
}

#[test]
fn an_editor_is_opened_again_until_it_makes_sense() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let held = node.submit(&["--hold", "-r", "gpu=1", "-m", "1G"], &["true"]);
    let saved = cluster.path("saved").display().to_string();
    let edit = |script: &str| {
        let editor = editor(&cluster, script).display().to_string();
        node.aque(&["edit", &held]).env("EDITOR", &editor).run()
    };
    // First a mistake; then, with what was said about it below the line, the right word.
    let said = edit(&format!(
        "if grep -q '^#! ' \"$1\"; then cp \"$1\" {saved}; sed -i 's/pirority/priority/' \"$1\"; \
         else sed -i 's/^priority.*/pirority = 7/; s/^resource.*/resource = []/; s/^cpus.*/cpus = \"all\"/' \"$1\"; fi"
    ));
    assert!(said.status.success(), "{said}");
    assert!(
        said.stderr
            .contains("line 4: unknown key pirority; do you mean priority?"),
        "{said}"
    );
    assert!(said.stderr.contains("1 task edited"), "{said}");
    let text = fs::read_to_string(&saved).expect("the editor was opened twice");
    assert!(
        text.contains("pirority = 7\n#! unknown key pirority"),
        "{text}"
    );
    assert!(text.contains("memory = [\"1GB\"]"), "{text}");
    let shown = node.ok(&["show", &held]);
    assert!(
        shown.contains("needs       all cpus, 953.7 MiB memory\n"),
        "{shown}"
    );
    assert!(shown.contains("priority    7\n"), "{shown}");
    let said = edit("true");
    assert!(
        said.status.success() && said.stderr.contains("nothing was changed"),
        "{said}"
    );
    let said = edit("sed -i 's/^cpus.*/cpus = \"lots\"/' \"$1\"");
    assert_eq!(said.status.code(), Some(1), "{said}");
    assert!(said.stderr.contains("line 5: cpus:"), "{said}");
    assert!(said.stderr.ends_with("nothing was changed\n"), "{said}");
    let said = edit("exit 3");
    assert!(
        said.refused(1).contains("failed (exit status: 3)"),
        "{said}"
    );
    let shown = node.ok(&["show", &held]);
    assert!(shown.contains("priority    7\n"), "{shown}");
}
