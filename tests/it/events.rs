//! `aque events`: what happens, told to programs, over changes and deaths of the node that tells it.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Signal;
use serde_json::Value;
use tests::{Cluster, Node, Plan, settle};

use super::node_life::take_over;
use super::wait_state;

/// A running `aque events`, and the lines that it has printed.
struct Listener {
    child: Child,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Listener {
    /// Starts it, and returns once it listens.
    fn start(node: &Node, args: &[&str]) -> Self {
        let mut child = node.aque(&[&["events"], args].concat()).spawn();
        let stdout = child.stdout.take().expect("it is a pipe");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is an object");
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
            }
        });
        let this = Self { child, heard };
        // What happens before it is known to listen may be missed: this does it until it is heard.
        settle("the first event", || {
            node.ok(&["settings", "set", "default.priority", "7"]);
            match this.has(&setting) {
                true => Ok(()),
                false => Err("nothing is heard"),
            }
        });
        this
    }

    fn events(&self) -> Vec<Value> {
        let heard = self.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has(&self, wanted: &dyn Fn(&Value) -> bool) -> bool {
        self.events().iter().any(wanted)
    }

    /// Waits until it has heard of something.
    #[track_caller]
    fn wait(&self, what: &str, wanted: &dyn Fn(&Value) -> bool) {
        settle(what, || match self.has(wanted) {
            true => Ok(()),
            false => Err(format!("{:?}", self.events())),
        });
    }

    /// The states of a task, in the order in which they were told.
    fn states(&self, id: &str) -> Vec<String> {
        let events = self.events();
        let of_task = events.iter().filter(|event| event["id"] == id);
        let mut states: Vec<String> = of_task
            .map(|event| event["state"].as_str().expect("a state").to_owned())
            .collect();
        // There may be another reason to be where it is.
        states.dedup();
        states
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _sent = self.child.kill();
        let _status = self.child.wait();
    }
}

fn setting(event: &Value) -> bool {
    event["event"] == "setting" && event["name"] == "default.priority" && event["value"] == "7"
}

fn gap(event: &Value) -> bool {
    event["event"] == "gap"
}

#[test]
fn a_task_is_told_from_its_first_state_to_its_last_at_any_host() {
    let cluster = Cluster::start(3);
    let listeners: Vec<Listener> = cluster
        .nodes()
        .iter()
        .map(|node| Listener::start(node, &[]))
        .collect();
    let good = cluster[0].submit(&["--name", "pictures"], &["true"]);
    let bad = cluster[1].submit(&[], &["sh", "-c", "exit 3"]);
    for (place, listener) in listeners.iter().enumerate() {
        for (id, last, reason) in [
            (&good, "success", Value::Null),
            (&bad, "error", "exit 3".into()),
        ] {
            listener.wait("the end", &|event| {
                event["id"] == **id && event["state"] == last && event["reason"] == reason
            });
            assert_eq!(listener.states(id).last().map(String::as_str), Some(last));
        }
        let ended = listener.events();
        let ended = ended
            .iter()
            .find(|event| event["id"] == *good && event["state"] == "success")
            .expect("it was waited for");
        assert!(
            ended["host"]
                .as_str()
                .is_some_and(|host| host.starts_with('n'))
        );
        assert_eq!(
            (&ended["name"], &ended["epoch"]),
            (&"pictures".into(), &1.into())
        );
        let numbers: Vec<u64> = listener
            .events()
            .iter()
            .map(|event| event["seq"].as_u64().expect("a number"))
            .collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert!(!listener.has(&gap));
        // Another host may hear of its beginning and of its end at once.
        if place == 0 {
            let states = listener.states(&good);
            assert!(states.len() > 1, "{states:?}");
        }
    }
}

#[test]
fn hosts_that_come_and_go_are_told() {
    let mut cluster = Plan::of(2).start();
    let listener = Listener::start(&cluster[0], &[]);
    let is = |host: &'static str, word: &'static str| {
        move |event: &Value| {
            event["event"] == "host" && event["host"] == host && event["is"] == word
        }
    };
    cluster[0].ok(&["drain", "n1"]);
    listener.wait("n1 to drain", &is("n1", "draining"));
    cluster[0].ok(&["undrain", "n1"]);
    listener.wait("n1 to work again", &is("n1", "working"));
    cluster[1].kill_host();
    listener.wait("n1 to be silent", &is("n1", "silent"));
    cluster[1].start();
    listener.wait("n1 to be alive", &is("n1", "alive"));
    let ticket = cluster[0].ready().ticket.clone();
    cluster.add(1, &ticket);
    listener.wait("n2 to join", &is("n2", "joined"));
    // A host that is told to take no work says when it has none left.
    cluster[0].signal(Signal::USR1);
    listener.wait("n0 to drain", &is("n0", "draining"));
    listener.wait("n0 to rest", &|event| {
        event["event"] == "rest" && event["host"] == "n0"
    });
    std::fs::remove_file(cluster[0].socket()).expect("the socket's name can be removed");
    listener.wait("a mishap", &|event| {
        event["event"] == "mishap" && event["part"] == "the API's socket"
    });
    assert!(!listener.has(&gap));
}

#[test]
fn a_change_of_the_program_loses_nothing_and_a_death_is_a_gap() {
    let mut cluster = Plan::of(1).own_programs().start();
    let listener = Listener::start(&cluster[0], &[]);
    let first = cluster[0].submit(&[], &["true"]);
    listener.wait("the first end", &|event| {
        event["id"] == *first && event["state"] == "success"
    });
    take_over(&cluster[0]);
    let second = cluster[0].submit(&[], &["true"]);
    listener.wait("the second end", &|event| {
        event["id"] == *second && event["state"] == "success"
    });
    assert!(!listener.has(&gap), "{:?}", listener.events());
    assert_eq!(listener.states(&first), listener.states(&second));
    cluster[0].kill();
    cluster[0].start();
    let third = cluster[0].submit(&[], &["true"]);
    listener.wait("the third end", &|event| {
        event["id"] == *third && event["state"] == "success"
    });
    let gaps: Vec<Value> = listener.events().into_iter().filter(gap).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["lost"], Value::Null);
}

#[test]
fn the_past_is_told_as_far_as_it_is_known() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let told = |args: &[&str]| -> Vec<Value> {
        let text = node.ok(&[&["events", "--past"], args].concat());
        let lines = text.lines().map(serde_json::from_str);
        lines.map(|line| line.expect("an object")).collect()
    };
    let id = node.submit(&[], &["true"]);
    let other = node.submit(&[], &["true"]);
    wait_state(node, &id, "success");
    wait_state(node, &other, "success");
    let all = told(&[]);
    assert_eq!(
        all[0]["event"], "gap",
        "what was before is not known: {all:?}"
    );
    assert!(all.iter().any(|event| event["id"] == *id));
    let of_one = told(&["--since", "10m", &id]);
    let of_one: Vec<&Value> = of_one.iter().filter(|event| !gap(event)).collect();
    assert!(!of_one.is_empty() && of_one.iter().all(|event| event["id"] == *id));
    assert_eq!(told(&["--since", "2100-01-01"]), Vec::<Value>::new());
    assert!(
        node.aque(&["events", "nonsense-1"])
            .run()
            .refused(1)
            .contains("nonsense-1")
    );
    assert!(
        node.aque(&["events", "--since", "yesterday"])
            .run()
            .refused(2)
            .contains("how long ago")
    );
}

#[test]
fn nobody_reading_ends_it_even_while_nothing_happens() {
    let cluster = Cluster::start(1);
    let mut child = cluster[0].aque(&["events"]).spawn();
    drop(child.stdout.take());
    let status = settle("the end of a listener without a reader", || {
        match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err("it lives"),
        }
    });
    assert_eq!(status.code(), Some(128 + 13));
    // As with 'head': what was printed is whole.
    let mut child = cluster[0].aque(&["events", "--since", "1h"]).spawn();
    let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line can be read");
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    drop(stdout);
    let status = settle("the end", || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        _ => Err("it lives"),
    });
    assert_eq!(status.code(), Some(128 + 13));
}

#[test]
fn a_node_that_stays_away_is_given_up() {
    let mut cluster = Cluster::start(1);
    let mut child = cluster[0].aque(&["events"]).spawn();
    let mut stdout = child.stdout.take().expect("it is a pipe");
    assert!(cluster[0].leave().success());
    let mut text = String::new();
    stdout
        .read_to_string(&mut text)
        .expect("what it prints can be read");
    let status = settle("the end", || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        _ => Err("it lives"),
    });
    assert_eq!(status.code(), Some(69), "{text}");
}
