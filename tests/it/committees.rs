//! Hosts that leave: drained, forgotten, silent for long. Others take their places in committees, and work goes on.

use std::fs;

use serde_json::Value;
use tests::{Cluster, Evidence, Node, Plan, settle};

use super::wait_state;

/// A mesh with a task that runs until a gate opens.
struct Stage {
    cluster: Cluster,
    evidence: Evidence,
    task: String,
    /// Where it runs.
    host: String,
}

impl Stage {
    fn new(plan: Plan) -> Self {
        let cluster = plan.start();
        let evidence = Evidence::new(cluster.dir());
        let task = cluster[0].submit(&[], &evidence.until(&cluster.path("gate")));
        for node in cluster.nodes() {
            wait_state(node, &task, "running");
        }
        let host = settle("its first line", || {
            let history = evidence.history();
            let run = history.of(&task).first();
            run.map(|run| run.host.clone()).ok_or("there is none")
        });
        Self {
            cluster,
            evidence,
            task,
            host,
        }
    }

    /// Names of the members of the task's committee, as a host that stays knows them.
    fn members(&self) -> Vec<String> {
        let shown = self.cluster[self.place(&self.host)].aque(&["show", "--json", &self.task]);
        let shown = shown.run().json();
        let members = shown["tasks"][0]["committee"].as_array().cloned();
        let members = members.unwrap_or_default().into_iter();
        members
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }

    /// Members beside the host that runs it.
    fn others(&self) -> Vec<String> {
        let mut members = self.members();
        members.retain(|name| *name != self.host);
        members
    }

    fn place(&self, name: &str) -> usize {
        let mut nodes = self.cluster.nodes().iter();
        nodes
            .position(|node| node.name() == name)
            .expect("a host of the mesh")
    }

    /// A host that is neither of these.
    fn other_than(&self, names: &[&String]) -> &Node {
        let mut nodes = self.cluster.nodes().iter();
        let free = nodes.find(|node| !names.iter().any(|name| *name == node.name()));
        free.expect("another host")
    }

    fn wait_replaced(&self, member: &String) {
        settle(&format!("another in the place of {member}"), || {
            let members = self.members();
            if members.len() == 3 && !members.contains(member) {
                Ok(())
            } else {
                Err(format!("they are {members:?}"))
            }
        });
    }

    /// The task comes to its end although so many hosts are away, and ran nowhere else unless its own host was too slow.
    fn end(&self) {
        fs::write(self.cluster.path("gate"), "").expect("the gate opens");
        wait_state(&self.cluster[self.place(&self.host)], &self.task, "success");
        let tasks = [self.task.clone()];
        self.evidence.history().judge(&tasks, &[self.host.as_str()]);
    }
}

/// What a host says of another in the list of hosts.
fn line_of(node: &Node, name: &str) -> Option<Value> {
    let nodes = node.aque(&["nodes", "--json"]).run().json();
    let nodes = nodes["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|node| node["name"] == name)
}

#[test]
fn a_drained_host_can_be_switched_off_for_good_and_then_another() {
    let mut stage = Stage::new(Plan::of(5).short_lease());
    let [drained, second, ..] = &stage.others()[..] else {
        panic!("a committee of three");
    };
    let asked = stage.other_than(&[drained, second]);
    let said = asked
        .aque(&["drain", drained, "--wait", "--timeout", "60s"])
        .run();
    said.ok();
    assert!(said.stderr.contains("nothing rests on"), "{}", said.stderr);
    assert!(!stage.members().contains(drained), "its place is taken");
    let places = [drained, second].map(|name| stage.place(name));
    // Of the first committee a minority is left.
    for place in places {
        stage.cluster.nodes_mut()[place].kill_host();
    }
    stage.end();
}

#[test]
fn a_drained_host_takes_no_task_until_it_is_wanted_again() {
    let mut cluster = Plan::of(2).short_lease().start();
    let said = cluster[0].aque(&["drain", "n1"]).run();
    assert!(
        said.stderr.contains("n1 takes no more work"),
        "{}",
        said.stderr
    );
    let drained = |node: &Node, wanted: bool| {
        settle(&format!("n1 to be drained: {wanted}"), || {
            match line_of(node, "n1").map(|line| line["draining"] == wanted) {
                Some(true) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    };
    drained(&cluster[1], true);
    cluster.nodes_mut()[1].kill_host();
    cluster.nodes_mut()[1].start();
    drained(&cluster[1], true);
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[1].submit_many(6, &evidence.brief());
    for id in &ids {
        wait_state(&cluster[1], id, "success");
    }
    let history = evidence.history();
    assert_eq!(history.hosts().into_iter().collect::<Vec<_>>(), ["n0"]);
    cluster[1].ok(&["undrain"]);
    drained(&cluster[0], false);
    cluster[1].ok(&["drain", "n0"]);
    drained(&cluster[1], false);
    let id = cluster[0].submit(&[], &evidence.brief());
    wait_state(&cluster[0], &id, "success");
    assert_eq!(evidence.history().of(&id)[0].host, "n1");
}

#[test]
fn a_host_that_is_forgotten_gives_up_its_places_and_may_come_back() {
    let mut stage = Stage::new(Plan::of(4).short_lease());
    let lost = stage.others()[0].clone();
    let place = stage.place(&lost);
    let asked = stage.place(&stage.host);
    let alive = stage.cluster[asked].aque(&["forget", &lost]).run();
    assert!(alive.refused(1).contains("is alive"), "{}", alive.stderr);
    let nobody = stage.cluster[asked].aque(&["forget", "nobody"]).run();
    assert!(
        nobody.refused(1).contains("no host of the mesh"),
        "{}",
        nobody.stderr
    );
    stage.cluster.nodes_mut()[place].kill_host();
    settle("it counts as silent", || {
        let said = stage.cluster[asked].aque(&["forget", &lost]).run();
        if said.status.success() {
            Ok(())
        } else {
            Err(said.stderr)
        }
    });
    assert_eq!(line_of(&stage.cluster[asked], &lost), None);
    stage.wait_replaced(&lost);
    stage.cluster.nodes_mut()[place].start();
    settle("it is back", || {
        line_of(&stage.cluster[asked], &lost)
            .filter(|line| line["alive"] == true)
            .map(|_| ())
            .ok_or("it is not listed")
    });
    stage.end();
}

#[test]
fn a_host_that_is_silent_for_long_is_replaced() {
    let plan = Plan::of(4).short_lease().flags(&["--replace-after", "4s"]);
    let mut stage = Stage::new(plan);
    let lost = stage.others()[0].clone();
    let place = stage.place(&lost);
    stage.cluster.nodes_mut()[place].kill_host();
    stage.wait_replaced(&lost);
    stage.end();
}
