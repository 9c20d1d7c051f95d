//! Graphs of tasks on real meshes: hundreds of them, deep and wide, killed and run again from the middle; and what makes none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use node::api::wire::{MemberRequest, Submission, TaskRequest};
use node::client::ClientError;
use tests::{Cluster, Node, settle};

use super::{wait_known, wait_state};

/// A task that writes its number to a file, and fails while there is a file of that name.
fn writes(file: &Path, number: usize) -> TaskRequest {
    let script = format!(
        "echo {number} >> {0}; ! test -e {0}.{number}",
        file.display()
    );
    TaskRequest {
        argv: ["sh", "-c", &script].map(Into::into).to_vec(),
        cwd: "/".into(),
        needs: crdt::task::Needs {
            cpu_milli: 100,
            memory_bytes: 0,
        },
        ..TaskRequest::default()
    }
}

fn submit(node: &Node, tasks: Vec<TaskRequest>) -> Result<Vec<String>, ClientError> {
    let submission = Submission {
        tasks,
        ..Submission::default()
    };
    Ok(node.client()?.submit(submission)?.ids)
}

/// Submits a graph in one request: a task waits for those at these places.
fn submit_graph(node: &Node, file: &Path, graph: &[Vec<usize>]) -> Vec<String> {
    let tasks = graph.iter().enumerate().map(|(number, after)| TaskRequest {
        after_places: places(after),
        ..writes(file, number)
    });
    submit(node, tasks.collect()).expect("a graph is taken")
}

/// The numbers that were written, in order.
fn written(file: &Path) -> Vec<usize> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

/// Fails unless each number was written once, after those that it waits for.
#[track_caller]
fn in_order(written: &[usize], graph: &[Vec<usize>]) {
    let at: BTreeMap<usize, usize> = written.iter().enumerate().map(|(at, n)| (*n, at)).collect();
    assert_eq!((at.len(), written.len()), (graph.len(), graph.len()));
    for (number, after) in graph.iter().enumerate() {
        assert!(
            after.iter().all(|before| at[before] < at[&number]),
            "{number}"
        );
    }
}

#[test]
fn hundreds_of_tasks_run_in_their_order() {
    let cluster = Cluster::start(3);
    let last = |at: usize| at.checked_sub(1).into_iter().collect();
    let chain: Vec<Vec<usize>> = (0..120).map(last).collect();
    // One, nine that wait for it, one that waits for those nine, and so on.
    let diamond = |at: usize| match at % 10 {
        0 => (at.saturating_sub(9)..at).collect(),
        nth => vec![at - nth],
    };
    let diamonds: Vec<Vec<usize>> = (0..201).map(diamond).collect();
    let fan: Vec<Vec<usize>> = (0..150)
        .map(|at| if at == 0 { vec![] } else { vec![0] })
        .collect();
    let graphs = [&chain, &diamonds, &fan];
    let ids: Vec<Vec<String>> = (0..3)
        .map(|at| {
            let file = cluster.path(&format!("graph{at}"));
            submit_graph(&cluster[at], &file, graphs[at])
        })
        .collect();
    let ended = cluster.wait_ended();
    assert!(ended.iter().all(|line| line.state.name() == "success"));
    assert_eq!(ended.len(), ids.iter().map(Vec::len).sum::<usize>());
    for (at, graph) in graphs.into_iter().enumerate() {
        in_order(&written(&cluster.path(&format!("graph{at}"))), graph);
    }
}

#[test]
fn a_sub_tree_fails_is_killed_and_runs_again() {
    let cluster = Cluster::start(2);
    let file = cluster.path("tree");
    // A binary tree: each waits for its parent.
    let tree: Vec<Vec<usize>> = (0..63_usize)
        .map(|at| at.checked_sub(1).map(|at| at / 2).into_iter().collect())
        .collect();
    let below = |root: usize| -> Vec<usize> {
        let mut all = vec![root];
        for (at, before) in tree.iter().enumerate() {
            if before.first().is_some_and(|parent| all.contains(parent)) {
                all.push(at);
            }
        }
        all
    };
    let blocked = cluster.path("tree.2");
    fs::write(&blocked, "").expect("a file is made");
    let ids = submit_graph(&cluster[0], &file, &tree);
    let lost = below(2);
    let ended = cluster.wait_ended();
    let state = |lines: &[node::api::wire::TaskLine], at: usize| {
        let line = lines.iter().find(|line| line.id == ids[at]);
        line.expect("it is known").state.name()
    };
    for at in 0..tree.len() {
        let expected = match at {
            2 => "error",
            _ if lost.contains(&at) => "cancelled",
            _ => "success",
        };
        assert_eq!(state(&ended, at), expected, "{at}");
    }
    assert_eq!(written(&file).len(), tree.len() - lost.len() + 1);
    // What was cancelled for want of it follows by itself.
    fs::remove_file(&blocked).expect("the file is removed");
    fs::remove_file(&file).expect("the file is removed");
    cluster[1].ok(&["retry", &ids[2]]);
    settle("the sub-tree to run", || match written(&file).len() {
        all if all == lost.len() => Ok(()),
        some => Err(format!("{some} ran")),
    });
    let ended = cluster.wait_ended();
    assert!(ended.iter().all(|line| line.state.name() == "success"));
    // All of a sub-tree again, also what has succeeded: in its order, and nothing else.
    fs::remove_file(&file).expect("the file is removed");
    let again = below(1);
    cluster[1].ok(&["retry", "-s", "-r", &ids[1]]);
    settle("the other sub-tree to run", || match written(&file).len() {
        all if all == again.len() => Ok(()),
        some => Err(format!("{some} ran")),
    });
    let ended = cluster.wait_ended();
    assert!(ended.iter().all(|line| line.state.name() == "success"));
    let ran = written(&file);
    let at: BTreeMap<usize, usize> = ran.iter().enumerate().map(|(at, n)| (*n, at)).collect();
    assert_eq!(at.keys().copied().collect::<Vec<_>>(), sorted(&again));
    for number in &again[1..] {
        assert!(at[&tree[*number][0]] < at[number], "{number}");
    }
    // A sub-tree that is killed takes all below it along, and nothing else.
    let file = cluster.path("killed");
    let mut tasks: Vec<TaskRequest> = tree
        .iter()
        .enumerate()
        .map(|(n, after)| TaskRequest {
            after_places: places(after),
            ..writes(&file, n)
        })
        .collect();
    tasks[0].life.held = true;
    let ids = submit(&cluster[0], tasks).expect("a graph is taken");
    wait_known(&cluster[1], &[&ids[62]]);
    cluster[1].ok(&["kill", "-r", &ids[2]]);
    cluster[1].ok(&["release", &ids[0]]);
    let ended = cluster.wait_ended();
    for (at, id) in ids.iter().enumerate() {
        let line = ended.iter().find(|line| line.id == *id);
        let state = line.expect("it is known").state.name();
        let expected = if lost.contains(&at) {
            "cancelled"
        } else {
            "success"
        };
        assert_eq!(state, expected, "{at}");
    }
}

fn places(after: &[usize]) -> Vec<u32> {
    let place = |at: &usize| u32::try_from(*at).expect("a graph is small");
    after.iter().map(place).collect()
}

fn sorted(numbers: &[usize]) -> Vec<usize> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted
}

#[test]
fn a_group_ends_with_its_members() {
    let cluster = Cluster::start(2);
    let gate = cluster.path("gate");
    let script = format!("until test -e {}; do sleep 0.02; done", gate.display());
    let words = ["xargs", "-n1", "sh", "-c", &script];
    let group = cluster[0].aque(&words).input("a b c").run().ok().to_owned();
    let after = cluster[1].aque(&["submit", "--after", &group, "true"]);
    wait_known(&cluster[1], &[&group]);
    let after = after.run().ok().to_owned();
    wait_state(&cluster[0], &group, "running");
    wait_state(&cluster[0], &after, "blocked");
    fs::write(&gate, "").expect("the gate opens");
    wait_state(&cluster[1], &group, "success");
    wait_state(&cluster[1], &after, "success");
    // An empty one has ended at once.
    let empty = cluster[0].aque(&["xargs", "-r", "true"]).input("").run();
    assert_eq!(empty.ok(), "");
}

#[test]
fn what_would_wait_for_itself_is_refused() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    let file = cluster.path("never");
    let group = |size| TaskRequest {
        argv: Vec::new(),
        group_size: Some(size),
        ..writes(&file, 0)
    };
    let member =
        |place: Option<u32>, group: Option<&str>, index, window, after: &[u32]| TaskRequest {
            member: Some(MemberRequest {
                group: group.map(str::to_owned),
                group_place: place,
                index,
                window,
            }),
            after_places: after.to_vec(),
            ..writes(&file, 1)
        };
    let waits_for = |after: &[u32]| TaskRequest {
        after_places: after.to_vec(),
        ..writes(&file, 2)
    };
    let told = |tasks: Vec<TaskRequest>| match submit(node, tasks) {
        Err(ClientError::Refused(failure)) => failure.message,
        other => panic!("{other:?}"),
    };
    for tasks in [
        vec![group(1), member(Some(0), None, 0, 0, &[0])],
        vec![group(1), waits_for(&[0]), member(Some(0), None, 0, 0, &[1])],
        vec![
            group(2),
            member(Some(0), None, 1, 1, &[]),
            member(Some(0), None, 0, 1, &[1]),
        ],
    ] {
        let said = told(tasks);
        assert!(said.contains("waits for it in turn"), "{said}");
    }
    let said = told(vec![waits_for(&[0])]);
    assert!(said.contains("only come after earlier tasks"), "{said}");
    // A member that comes later, by way of a task that waits for the group; read from, too.
    let open = submit(node, vec![group(0)])
        .expect("a group is taken")
        .remove(0);
    let behind = node.submit(&["--after", &open], &["true"]);
    let mut late = member(None, Some(&open), 0, 0, &[]);
    late.life.pipe_from = Some(behind.clone());
    let said = told(vec![late]);
    assert!(said.contains("which was submitted before"), "{said}");
    assert_eq!(written(&file), Vec::<usize>::new());
    // Nothing of a submission that is refused is there.
    assert_eq!(node.figure("aque_tasks").expect("a figure"), 2);
}
