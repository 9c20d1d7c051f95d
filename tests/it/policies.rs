//! What people choose for a lost host (`--on-lost`) and for a split (`--on-partition`), on real meshes.

use std::fs;

use tests::{Cluster, Evidence, Lan, Plan, settle};

use super::wait_state;

/// Waits until a task has begun so many runs, by what the runs themselves wrote down.
#[track_caller]
fn wait_runs(evidence: &Evidence, id: &str, count: usize) {
    settle(&format!("{count} runs of {id}"), || {
        match evidence.history().of(id).len() {
            runs if runs >= count => Ok(()),
            runs => Err(format!("it has {runs}")),
        }
    });
}

/// A mesh of three whose last host runs a task of the given policy, and one that runs again elsewhere when that host is lost.
struct Stage {
    cluster: Cluster,
    evidence: Evidence,
    task: String,
    other: String,
}

impl Stage {
    fn new(policy: &[&str]) -> Self {
        let cluster = Plan::of(3).cpus(2).short_lease().start();
        let evidence = Evidence::new(cluster.dir());
        let run = evidence.until(&cluster.path("gate"));
        let task = cluster[2].submit(policy, &run);
        let other = cluster[2].submit(&[], &run);
        for id in [&task, &other] {
            wait_runs(&evidence, id, 1);
            assert_eq!(evidence.history().of(id)[0].host, "n2");
            // What a host ran is known to the others before it dies.
            wait_state(&cluster[0], id, "running");
        }
        Self {
            cluster,
            evidence,
            task,
            other,
        }
    }

    /// The last host dies; the others have waited long enough to take over what they may.
    fn lose_host(&mut self) {
        self.cluster[2].kill_host();
        wait_runs(&self.evidence, &self.other, 2);
    }

    fn runs(&self) -> usize {
        self.evidence.history().of(&self.task).len()
    }

    fn open_gate(&self) {
        fs::write(self.cluster.path("gate"), "").expect("the gate opens");
    }
}

#[test]
fn what_waits_for_its_host_is_told_of_by_that_host() {
    let mut stage = Stage::new(&["--on-lost", "wait"]);
    stage.lose_host();
    wait_state(&stage.cluster[0], &stage.task, "running");
    // A short lease runs out before its host counts as silent.
    settle("the reason why it waits", || {
        let reason = stage.cluster[0].task(&stage.task)?.reason;
        let reason = reason.unwrap_or_default();
        match reason.contains("n2 is not heard of: waits") {
            true => Ok(()),
            false => Err(format!("it is '{reason}'")),
        }
    });
    stage.cluster[2].start();
    for place in 0..3 {
        wait_state(&stage.cluster[place], &stage.task, "lost");
    }
    stage.open_gate();
    wait_state(&stage.cluster[0], &stage.other, "success");
    assert_eq!(stage.runs(), 1);
}

#[test]
fn what_waits_for_its_host_runs_elsewhere_when_someone_says_retry() {
    let mut stage = Stage::new(&["--on-lost", "wait"]);
    let id = stage.task.clone();
    let words = ["retry", id.as_str()];
    let said = stage.cluster[0].aque(&words).run();
    assert!(said.refused(1).contains("which is alive"), "{said}");
    let said = stage.cluster[0].aque(&["retry", &stage.other]).run();
    assert!(said.refused(1).contains("--on-lost wait"), "{said}");
    stage.lose_host();
    settle("the dead host to be missed", || {
        match stage.cluster[0].aque(&words).run() {
            said if said.status.success() => Ok(()),
            said => Err(said.to_string()),
        }
    });
    wait_runs(&stage.evidence, &stage.task, 2);
    stage.open_gate();
    wait_state(&stage.cluster[0], &stage.task, "success");
    assert_eq!(stage.runs(), 2);
}

#[test]
fn what_fails_with_its_host_ends_as_lost() {
    let mut stage = Stage::new(&["--on-lost", "fail"]);
    stage.lose_host();
    for place in 0..2 {
        wait_state(&stage.cluster[place], &stage.task, "lost");
    }
    stage.open_gate();
    wait_state(&stage.cluster[0], &stage.other, "success");
    assert_eq!(stage.runs(), 1);
    let waited = stage.cluster[0].aque(&["wait", &stage.task]).run();
    assert_eq!(waited.status.code(), Some(1), "{waited}");
}

#[test]
fn what_runs_on_either_side_of_a_split_has_one_result() {
    let Some(lan) = Lan::of(3) else { return };
    let cluster = Plan::of(3).short_lease().start_on(lan);
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let policy = ["--on-partition", "run", "--durable", "local"];
    cluster.lan().split(&[2]);
    settle("the lonely host to miss the others", || {
        let hosts = cluster[2].hosts().map_err(|error| error.to_string())?;
        match hosts.nodes.iter().filter(|host| host.alive).count() {
            1 => Ok(()),
            alive => Err(format!("{alive} are alive")),
        }
    });
    // A minority of one goes on with what may run anywhere.
    let alone = cluster[2].submit(&policy, &evidence.brief());
    wait_state(&cluster[2], &alone, "success");
    cluster.lan().heal();
    cluster.wait_whole();
    // Its run is cut off; the others run it, too.
    let both = cluster[2].submit(&policy, &evidence.until(&gate));
    wait_runs(&evidence, &both, 1);
    let first = evidence.history().of(&both)[0].host.clone();
    let place = cluster.nodes().iter().position(|node| node.name() == first);
    wait_state(&cluster[0], &both, "running");
    wait_state(&cluster[1], &both, "running");
    cluster.lan().split(&[place.expect("a known host")]);
    wait_runs(&evidence, &both, 2);
    fs::write(&gate, "").expect("the gate opens");
    for node in cluster.nodes() {
        wait_state(node, &both, "success");
    }
    cluster.lan().heal();
    cluster.wait_whole();
    let ended = cluster.wait_ended();
    assert!(
        ended.iter().all(|line| line.state.name() == "success"),
        "{ended:#?}"
    );
    let results: Vec<_> = (0..3)
        .map(|place| cluster[place].task(&both).expect("it is known").host)
        .collect();
    assert!(
        results.iter().all(|host| *host == results[0]),
        "{results:?}"
    );
    assert_eq!(evidence.history().of(&alone).len(), 1);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let cluster = Plan::of(1).start();
    let words = [
        "submit",
        "--on-partition",
        "run",
        "--on-lost",
        "wait",
        "true",
    ];
    let said = cluster[0].aque(&words).run();
    assert!(said.refused(2).contains("--on-lost retry"), "{said}");
}
