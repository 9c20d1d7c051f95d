//! Storms: a mesh of real nodes under work and random faults, judged by what the tasks wrote down, and the tally of it all.
//!
//! One seed draws every fault, its victim, its length and all the work. What the operating system makes of it differs from run to
//! run, so a storm is no replay, but the same mixture comes again.

mod fault;
mod nemesis;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node::api::wire::TaskLine;

use crate::cluster::{Cluster, Plan};
use crate::evidence::{Evidence, Excuses, History, Run};
use crate::lan::Lan;
use fault::Band;
pub use fault::Fault;
use nemesis::Nemesis;
pub use tally::Tally;

/// Tasks with which something is wrong that are shown in full.
const SHOWN: usize = 3;

/// What a storm is like.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Draws everything.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many tasks of 0 to 3 s are submitted, all along.
    pub tasks: usize,
    /// How long faults go on.
    pub lasts: Duration,
    /// Drawn from these. Those of the network need root and network namespaces; a full disk needs root, and is left out without.
    pub faults: &'static [Fault],
}

/// Lets a storm rage over a new mesh, and adds what it showed to the tally. `None` where the storm needs network namespaces
/// and there are none.
///
/// # Panics
/// If tasks do not end once all faults have ended, or if the nodes do not agree on how.
pub fn rage(storm: &Storm, tally: &mut Tally) -> Option<()> {
    // Hosts are lost all the time here: that is no fault of the tasks.
    let unlimited = ["--lost-limit", "0"];
    let mut plan = Plan::of(storm.nodes)
        .cpus(4)
        .short_lease()
        .flags(&unlimited);
    if storm.faults.contains(&Fault::FullDisk) {
        plan = plan.small_disk();
    }
    let networked = storm.faults.iter().any(|fault| fault.is_of_the_network());
    let cluster = if networked {
        plan.start_on(Lan::of(storm.nodes)?)
    } else {
        plan.start()
    };
    let evidence = Evidence::new(cluster.dir());
    let aftermath = Nemesis::new(storm, cluster, &evidence).rage();
    let history = evidence.history();
    tally.storms += 1;
    tally.count(&aftermath, &history);
    tally.violations.extend(judge(&aftermath, &history));
    Some(())
}

/// What is known after a storm, apart from the evidence.
#[derive(Debug)]
struct Aftermath {
    /// The mesh, healed.
    cluster: Cluster,
    bands: Vec<Band>,
    /// Tasks that a node said were queued.
    accepted: BTreeSet<String>,
    /// When a task was first seen to have succeeded.
    succeeded: BTreeMap<String, Duration>,
    /// All tasks, as all nodes show them in the end.
    lines: Vec<TaskLine>,
    /// What went wrong on the way.
    wrong: Vec<String>,
}

fn judge(after: &Aftermath, history: &History) -> Vec<String> {
    let ids: Vec<String> = after.lines.iter().map(|line| line.id.clone()).collect();
    let mut wrong = after.wrong.clone();
    let excuses = Excuses {
        again: |run: &Run| after.bands.iter().any(|band| band.explains(run)),
        beside: |earlier: &Run, later: &Run| {
            let mut bands = after.bands.iter();
            bands.any(|band| band.is_beyond(earlier, later))
        },
    };
    wrong.extend(history.violations(&ids, &excuses));
    for line in &after.lines {
        if line.state.name() != "success" {
            wrong.push(format!(
                "{} ended as {}: {:?}",
                line.id, line.state, line.reason
            ));
        }
        let seen = after.succeeded.get(&line.id);
        let late = |run: &&Run| seen.is_some_and(|at| Duration::from_nanos(run.first) > *at);
        if let Some(run) = history.of(&line.id).iter().find(late) {
            wrong.push(format!(
                "{}: S3 is broken, it ran after success: {run:?}",
                line.id
            ));
        }
    }
    let known: BTreeSet<&String> = ids.iter().collect();
    for id in after.accepted.iter().filter(|id| !known.contains(id)) {
        wrong.push(format!("{id} was accepted and is lost"));
    }
    let about = ids
        .iter()
        .filter(|id| wrong.iter().any(|line| line.contains(*id)));
    let shown = about
        .take(SHOWN)
        .map(|id| after.cluster[0].aque(&["show", id]).run().stdout);
    let shown: Vec<String> = shown.collect();
    wrong.extend(shown);
    wrong
}
