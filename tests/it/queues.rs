//! Named queues, the order of tasks, and settings of the mesh, on real meshes.

use std::fs;

use serde_json::Value;
use tests::{Cluster, Evidence, Node, Plan, settle};

use super::wait_state;

/// Waits until a node says this of the mesh's setting.
#[track_caller]
fn wait_setting(node: &Node, name: &str, value: &str) {
    settle(&format!("{} to hear of {name}", node.name()), || {
        let said = node.aque(&["settings", "get", name]).run();
        match said.stdout.trim() == value {
            true => Ok(()),
            false => Err(said.to_string()),
        }
    });
}

#[track_caller]
pub(super) fn wait_why(node: &Node, id: &str, why: &str) {
    settle(&format!("{id} to wait because {why}"), || {
        let line = node.task(id)?;
        let reason = line.reason.unwrap_or_default();
        match reason.contains(why) {
            true => Ok(()),
            false => Err(format!("{}: {reason}", line.state)),
        }
    });
}

#[test]
fn no_more_of_a_queue_run_than_it_has_slots() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    cluster[2].ok(&["queue", "set", "few", "--slots", "2"]);
    for node in cluster.nodes() {
        wait_setting(node, "queue.few", "slots=2 weight=1");
    }
    let ids: Vec<String> = (0..12)
        .map(|n| cluster[n % 3].submit(&["-q", "few"], &evidence.brief()))
        .collect();
    let _ended = cluster.wait_ended();
    let history = evidence.history();
    assert_eq!(history.started(), ids.len());
    assert!(history.most_at_once() <= 2, "{}", history.most_at_once());
    let named = cluster[0].submit(&["-q", "few"], &["sh", "-c", "echo $AQUE_QUEUE"]);
    wait_state(&cluster[0], &named, "success");
    assert_eq!(cluster[0].ok(&["output", &named]), "few");
}

#[test]
fn a_queue_is_paused_and_resumed_mesh_wide() {
    let cluster = Cluster::start(2);
    cluster[0].ok(&["queue", "pause", "day"]);
    wait_setting(&cluster[1], "queue.day", "slots=0 weight=1 paused");
    let id = cluster[1].submit(&["--queue", "day"], &["true"]);
    let other = cluster[1].submit(&[], &["true"]);
    wait_state(&cluster[1], &other, "success");
    wait_why(&cluster[1], &id, "queue day is paused");
    let list = cluster[1].aque(&["queue", "list", "--json"]).run().json();
    assert_eq!(
        (&list["queues"][0]["name"], &list["queues"][0]["waiting"]),
        (&"day".into(), &1.into())
    );
    cluster[1].ok(&["queue", "set", "day", "--weight", "2"]);
    wait_why(&cluster[1], &id, "paused");
    cluster[1].ok(&["queue", "resume", "day"]);
    wait_state(&cluster[0], &id, "success");
    for words in [
        &["queue", "pause", "a b"][..],
        &["submit", "-q", "", "true"],
    ] {
        let said = cluster[0].aque(words).run();
        assert!(said.refused(2).contains("64 letters"), "{said}");
    }
}

#[test]
fn queues_share_a_host_by_their_weights() {
    let cluster = Plan::of(1).cpus(4).start();
    let node = &cluster[0];
    node.ok(&["queue", "set", "heavy", "--weight", "3"]);
    let gate = Evidence::new(cluster.dir()).until(&cluster.path("gate"));
    let blocker = node.submit(&["--cpus", "4"], &gate);
    wait_state(node, &blocker, "running");
    let other_gate = Evidence::new(cluster.dir()).until(&cluster.path("other"));
    for queue in ["light", "heavy"] {
        for _ in 0..4 {
            node.submit(&["-q", queue], &other_gate);
        }
    }
    fs::write(cluster.path("gate"), "").expect("the gate opens");
    settle("four of them to run", || {
        let running = |queue: &str| {
            let lines = node.tasks().unwrap_or_default();
            let of = lines
                .iter()
                .filter(|line| line.queue.as_deref() == Some(queue));
            of.filter(|line| line.state.name() == "running").count()
        };
        match (running("heavy"), running("light")) {
            (3, 1) => Ok(()),
            counts => Err(format!("{counts:?}")),
        }
    });
    fs::write(cluster.path("other"), "").expect("the gate opens");
    let _ended = cluster.wait_ended();
}

#[test]
fn longer_tasks_go_first_but_after_higher_ones() {
    let cluster = Plan::of(1).cpus(1).start();
    let node = &cluster[0];
    let gate = Evidence::new(cluster.dir()).until(&cluster.path("gate"));
    let blocker = node.submit(&[], &gate);
    wait_state(node, &blocker, "running");
    let marks = cluster.path("marks");
    let script = format!("echo $0 >> {}", marks.display());
    for (options, name) in [
        (&["--duration", "10s"][..], "short"),
        (&["--duration", "1h"], "long"),
        (&[], "unknown"),
        (&["--duration", "1m"], "middle"),
        (&["--priority", "2000"], "urgent"),
    ] {
        node.submit(options, &["sh", "-c", &script, name]);
    }
    fs::write(cluster.path("gate"), "").expect("the gate opens");
    let _ended = cluster.wait_ended();
    let order = fs::read_to_string(marks).expect("they ran");
    let order: Vec<&str> = order.lines().collect();
    assert_eq!(order, ["urgent", "long", "middle", "short", "unknown"]);
}

#[test]
fn settings_are_heard_by_all_and_kept() {
    let mut cluster = Cluster::start(3);
    cluster[0].ok(&["settings", "set", "default.queue", "day"]);
    cluster[1].ok(&["settings", "set", "default.priority", "-5"]);
    cluster[2].ok(&["settings", "set", "replace-after", "30m"]);
    for node in cluster.nodes() {
        wait_setting(node, "default.queue", "day");
        wait_setting(node, "default.priority", "-5");
        wait_setting(node, "replace-after", "30m");
    }
    let id = cluster[1].submit(&[], &["true"]);
    let line = cluster[1].task(&id).expect("it is known");
    assert_eq!((line.queue.as_deref(), line.priority), (Some("day"), -5));
    for (words, status, why) in [
        (["heartbeat", "1h"], 1, "heartbeat"),
        (["heartbeat", "soon"], 2, "heartbeat"),
        (["replace-after", "1ms"], 1, "less than"),
        (["lease", "2s"], 1, "too short"),
        (["lease", "2d"], 1, "at most a day"),
        (["leese", "10s"], 1, "no such setting; there are lease"),
        (["lost-limit", "many"], 1, "a number"),
    ] {
        let words = [&["settings", "set"], &words[..]].concat();
        let said = cluster[0].aque(&words).run();
        assert!(said.refused(status).contains(why), "{said}");
    }
    cluster.nodes_mut()[2].kill();
    cluster.nodes_mut()[2].start();
    wait_setting(&cluster[2], "default.queue", "day");
    cluster[2].ok(&["settings", "unset", "default.queue"]);
    settle("n0 to hear of it", || {
        let id = cluster[0].submit(&[], &["true"]);
        match cluster[0].task(&id)?.queue {
            None => Ok(()),
            Some(queue) => Err(format!("it is in {queue}")),
        }
    });
}

/// By which times a node goes, in the words of its doctor.
fn wait_times(node: &Node, times: &str) {
    settle("the times by which it goes", || {
        // It ends with 1 where something is at fault.
        let said = node.aque(&["doctor", "--json"]).run().stdout;
        let said: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let checks = said["checks"].as_array().into_iter().flatten();
        let mut leases = checks.filter(|check| check["topic"] == "leases");
        let what = leases.next().map(|check| check["what"].to_string());
        match what {
            Some(what) if what.contains(times) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn leases_are_changed_while_tasks_run() {
    let mut cluster = Cluster::start(3);
    let gate = cluster.path("gate");
    let script = format!("until test -e {}; do sleep 0.05; done", gate.display());
    let id = cluster[0].submit(&[], &["sh", "-c", &script]);
    wait_state(&cluster[1], &id, "running");
    for lease in ["20s", "4s"] {
        cluster[1].ok(&["settings", "set", "lease", lease]);
        for node in cluster.nodes() {
            wait_times(node, &format!("lease {lease}"));
        }
    }
    // What leaves no room for heartbeats is refused, also as the other half of it.
    let said = cluster[2]
        .aque(&["settings", "set", "heartbeat", "2s"])
        .run();
    assert!(said.refused(1).contains("heartbeats of 2s"), "{said}");
    cluster[2].ok(&["settings", "set", "heartbeat", "500ms"]);
    cluster[2].ok(&["settings", "set", "lease", "2s"]);
    let said = cluster[2].aque(&["settings", "unset", "heartbeat"]).run();
    assert!(said.refused(1).contains("too short"), "{said}");
    cluster.nodes_mut()[2].kill();
    cluster.nodes_mut()[2].start();
    wait_times(&cluster[2], "heartbeat 500ms, lease 2s");
    fs::write(&gate, "").expect("the gate opens");
    let _ended = cluster.wait_ended();
    let task = cluster[2].task(&id).expect("it is known");
    assert_eq!((task.state.name(), task.attempts), ("success", 1));
}
