//! Networks that split and heal, made of namespaces and iptables: the side with a majority goes on, the other waits, and no run of
//! a task overlaps another, whatever the network did.

use std::fs;

use tests::{Cluster, Evidence, Lan, Plan, settle};

use super::{all_succeed, no_runs};

fn start() -> Option<(Cluster, Evidence)> {
    let cluster = Plan::of(3).short_lease().start_on(Lan::of(3)?);
    let evidence = Evidence::new(cluster.dir());
    Some((cluster, evidence))
}

/// Waits until a host runs one of these tasks.
#[track_caller]
fn wait_run_on(evidence: &Evidence, ids: &[String], host: &str) {
    settle("a run on a certain host", || {
        let history = evidence.history();
        let runs = |id: &String| {
            history
                .of(id)
                .iter()
                .any(|run| run.host == host && !run.ended)
        };
        if ids.iter().any(runs) {
            Ok(())
        } else {
            Err(format!("{host} runs nothing"))
        }
    });
}

/// Waits until a node shows all these tasks as ended.
#[track_caller]
fn wait_ended_at(cluster: &Cluster, place: usize, ids: &[String]) {
    settle("tasks to end", || {
        let tasks = cluster[place].tasks().map_err(|error| error.to_string())?;
        let open = tasks
            .iter()
            .find(|line| ids.contains(&line.id) && !line.state.is_complete());
        open.map_or(Ok(()), |line| Err(format!("{} is {}", line.id, line.state)))
    });
}

/// Waits until a node sees exactly these hosts alive.
#[track_caller]
fn wait_alive(cluster: &Cluster, place: usize, expected: &[&str]) {
    settle("hosts to be missed", || {
        let hosts = cluster[place]
            .hosts()
            .map_err(|error| error.to_string())?
            .nodes;
        let mut alive: Vec<&str> = hosts
            .iter()
            .filter(|host| host.alive)
            .map(|host| host.name.as_str())
            .collect();
        alive.sort_unstable();
        if alive == expected {
            Ok(())
        } else {
            Err(format!("alive are {alive:?}"))
        }
    });
}

#[test]
fn the_majority_goes_on_the_minority_waits_and_all_ends_after_the_split() {
    let Some((cluster, evidence)) = start() else {
        return;
    };
    let before = cluster[0].submit_many(30, &evidence.beats(6));
    wait_run_on(&evidence, &before, "n2");
    cluster.lan().split(&[2]);
    let alone = cluster[2].submit_many_here(4, &evidence.brief());
    let during = cluster[1].submit_many(12, &evidence.beats(2));
    wait_ended_at(&cluster, 0, &before);
    wait_ended_at(&cluster, 0, &during);
    wait_alive(&cluster, 2, &["n2"]);
    // The others have taken over what n2 ran, so it has had more than a lease: none of its own tasks has started.
    assert!(alone.iter().all(|id| evidence.history().of(id).is_empty()));
    let started = evidence.history().started();
    cluster.lan().heal();
    cluster.wait_whole();
    let all: Vec<String> = [before, during, alone].concat();
    all_succeed(&cluster, all.len());
    evidence.history().judge(&all, &["n2"]);
    assert_eq!(evidence.history().started() - started, 4);
}

#[test]
fn a_host_that_hears_but_is_not_heard_loses_its_runs() {
    let Some((cluster, evidence)) = start() else {
        return;
    };
    let gate = cluster.path("gate");
    let ids = cluster[0].submit_many(6, &evidence.until(&gate));
    wait_run_on(&evidence, &ids, "n2");
    cluster.lan().cut_one_way(2, 0);
    cluster.lan().cut_one_way(2, 1);
    wait_alive(&cluster, 0, &["n0", "n1"]);
    fs::write(&gate, "").expect("the gate opens");
    wait_ended_at(&cluster, 0, &ids);
    cluster.lan().heal();
    cluster.wait_whole();
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &["n2"]);
}

#[test]
fn a_cut_between_two_of_three_hosts_stops_nothing() {
    let Some((cluster, evidence)) = start() else {
        return;
    };
    cluster.lan().cut_one_way(1, 2);
    cluster.lan().cut_one_way(2, 1);
    // Both still have a majority with the host between them, through which each learns of the other.
    let ids: Vec<String> = (0..3)
        .flat_map(|place| cluster[place].submit_many(6, &evidence.beats(2)))
        .collect();
    all_succeed(&cluster, ids.len());
    cluster.lan().heal();
    cluster.wait_whole();
    evidence.history().judge(&ids, &["n1", "n2"]);
}

#[test]
fn hosts_that_were_all_alone_find_each_other_again() {
    let Some((cluster, evidence)) = start() else {
        return;
    };
    let ids = cluster[0].submit_many(18, &evidence.beats(6));
    wait_run_on(&evidence, &ids, "n1");
    cluster.lan().split(&[0]);
    cluster.lan().split(&[1]);
    let late: Vec<String> = (0..3)
        .flat_map(|place| cluster[place].submit_many_here(2, &evidence.brief()))
        .collect();
    (0..3).for_each(|place| wait_alive(&cluster, place, &[cluster[place].name()]));
    settle("every host to end its runs", || {
        cluster.nodes().iter().try_for_each(no_runs)
    });
    assert!(
        late.iter().all(|id| evidence.history().of(id).is_empty()),
        "nothing starts without a majority"
    );
    cluster.lan().heal();
    cluster.wait_whole();
    let all = [ids, late].concat();
    all_succeed(&cluster, all.len());
    evidence.history().judge(&all, &["n0", "n1", "n2"]);
}
