//! What a person is promised, shown on real meshes: real processes, sockets, disks, signals and partitions.
//!
//! Each test has nodes and directories of its own, so all of them may run at once. Reading order: `cluster` (a mesh does its job),
//! `readme`, `cli`, `json`, `select`, `shells`, `status`, `verbs` and `xargs` (the programs as scripts meet them), `transcripts` (each verb as people meet it), `demo`, `doctor`, `events`, `explain` and `top` (what happens, and why not, for programs and on a screen), `afar` (who asks through another node), `faults` (kill, stop, restart), `guard` (what outlives a
//! node), `node_life` (what a node does by itself), `partition` (networks that split), `committees` (hosts that leave), `lives`, `again`, `edit`, `rm`, `arrays`, `graphs`, `pipes`, `calls`, `environments`, `queues`, `fit`, `places` and `limits`
//! (when a task starts and ends, where, and what it may take), `users` (as whom, and who may do what), `policies` (what people choose for both), `chaos`
//! (all of that at random), `mishaps`, `bad_input`, `impostor` and `traitor` (what goes wrong by itself, and who sends what nobody may).

mod accounts;
mod afar;
mod again;
mod arrays;
mod bad_input;
mod calls;
mod chaos;
mod cli;
mod cluster;
mod committees;
mod demo;
mod doctor;
mod edit;
mod environments;
mod events;
mod explain;
mod faults;
mod fit;
mod graphs;
mod guard;
mod impostor;
mod json;
mod keys;
mod limits;
mod lives;
mod mishaps;
mod named_pipes;
mod node_life;
mod outputs;
mod partition;
mod pipes;
mod places;
mod policies;
mod queues;
mod readme;
mod retention;
mod rm;
mod select;
mod shells;
mod status;
mod top;
mod traitor;
mod transcripts;
mod users;
mod verbs;
mod xargs;

use tests::{Cluster, Node, settle};

/// Waits until a task is in a state, as one node sees it.
#[track_caller]
fn wait_state(node: &Node, id: &str, state: &str) {
    settle(&format!("{id} to be {state}"), || {
        let line = node.task(id)?;
        if line.state.name() == state {
            Ok(())
        } else {
            Err(format!("it is {}", line.state))
        }
    });
}

/// Waits until a node knows the tasks: they were given to others.
#[track_caller]
fn wait_known(node: &Node, ids: &[&String]) {
    for id in ids {
        settle(&format!("{} to know {id}", node.name()), || {
            node.task(id).map(drop)
        });
    }
}

/// Fails unless every task that all nodes agree on has ended in success.
#[track_caller]
fn all_succeed(cluster: &Cluster, expected: usize) {
    let ended = cluster.wait_ended();
    let failed: Vec<_> = ended
        .iter()
        .filter(|line| line.state.name() != "success")
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(ended.len(), expected);
}

/// Looks whether nothing lives on a host but the node and its guard.
fn no_runs(node: &Node) -> Result<(), String> {
    match tests::processes::of_directory(&node.home().join("")).len() {
        0..=2 => Ok(()),
        more => Err(format!("{more} processes belong to {}", node.name())),
    }
}
