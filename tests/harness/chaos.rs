//! Storms: a mesh of real nodes under work and random faults, judged by what the tasks wrote down, and the tally of it all.
//!
//! One seed draws every fault, its victim, its length and all the work. What the operating system makes of it differs from run to
//! run, so a storm is no replay, but the same mixture comes again.

mod nemesis;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use node::api::wire::TaskLine;

use crate::cluster::{Cluster, Plan};
use crate::evidence::{Evidence, History, Run};
use crate::lan::Lan;
use nemesis::Nemesis;
pub use tally::Tally;

/// A host's fault may end a run so much later: a lease and the time to take over.
const ECHO: Duration = Duration::from_secs(8);

/// Tasks with which something is wrong that are shown in full.
const SHOWN: usize = 3;

/// What befalls hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a node; its guard lives.
    KillNode,
    /// `kill -9` of a node, its guard and its runs, as a power cut does.
    KillHost,
    /// `kill -9` of a guard.
    KillGuard,
    /// `kill -9` of a node and, right after it, of its guard; runs that die by that are not waited for.
    KillBoth,
    /// Every node and some guards at once; they come back in any order.
    KillAll,
    /// `SIGSTOP` of a node, and `SIGCONT` later.
    PauseNode,
    /// Some hosts hear nothing of the others, nor these of them.
    Split,
    /// One host does not hear another.
    OneWay,
    /// One host is cut off and heard again several times in a few seconds.
    Flap,
}

impl Fault {
    /// Those that need no network of their own.
    pub const PROCESSES: &[Self] = &[
        Self::KillNode,
        Self::KillNode,
        Self::KillHost,
        Self::KillGuard,
        Self::KillBoth,
        Self::PauseNode,
        Self::PauseNode,
        Self::KillAll,
    ];
    /// All; some are drawn more often than others.
    pub const ALL: &[Self] = &[
        Self::KillNode,
        Self::KillNode,
        Self::KillHost,
        Self::KillGuard,
        Self::KillBoth,
        Self::PauseNode,
        Self::PauseNode,
        Self::Split,
        Self::Split,
        Self::OneWay,
        Self::Flap,
        Self::KillAll,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillNode => "node killed",
            Self::KillHost => "host killed",
            Self::KillGuard => "guard killed",
            Self::KillBoth => "node and guard killed",
            Self::KillAll => "all killed",
            Self::PauseNode => "node paused",
            Self::Split => "network split",
            Self::OneWay => "link cut one way",
            Self::Flap => "link flaps",
        })
    }
}

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
    /// Drawn from these. Splits need root and network namespaces.
    pub faults: &'static [Fault],
}

/// Which host a fault befell and when, by [`crate::evidence::now`]; with no host, all of them.
#[derive(Clone, Copy, Debug)]
struct Band {
    fault: Fault,
    host: Option<usize>,
    from: Duration,
    to: Duration,
}

impl Band {
    fn explains(&self, run: &Run) -> bool {
        let (first, last) = (
            Duration::from_nanos(run.first),
            Duration::from_nanos(run.last),
        );
        self.from <= last + ECHO && self.to + ECHO >= first
    }

    fn is_of(&self, run: &Run) -> bool {
        self.host
            .is_none_or(|place| run.host == format!("n{place}"))
    }
}

/// Lets a storm rage over a new mesh, and adds what it showed to the tally. `None` where the storm needs network namespaces
/// and there are none.
///
/// # Panics
/// If tasks do not end once all faults have ended, or if the nodes do not agree on how.
pub fn rage(storm: &Storm, tally: &mut Tally) -> Option<()> {
    let plan = Plan::of(storm.nodes).cpus(4).short_lease();
    let networked = [Fault::Split, Fault::OneWay]
        .iter()
        .any(|fault| storm.faults.contains(fault));
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
    wrong.extend(history.violations(&ids, |run| {
        after.bands.iter().any(|band| band.explains(run))
    }));
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
