//! What runs read that other tasks wrote (`--pipe-from`): brought to this host, whole, before the guard is told of the run.
//!
//! A run that waits for it has its key and its slot already, and its deadline moves as any run's. It waits until the input is here
//! or cannot be had; its hold is lost; it is not wanted any more; or the node leaves. It has never run then.
//!
//! Runs that read the same output share a file: the stored one if this host has it, else one in the spool, which goes when nothing
//! has read it for a while, and at the next start of the node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crdt::event::{RunEnd, StartOrder};
use crdt::ids::{Digest, RunId};
use crdt::task::{TaskSpec, Verdict};
use crdt::time::Mono;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tracing::{debug, info, warn};

use super::leaving::Leaving;
use super::node::Node;
use super::output::{Lack, Origin, part_of};
use super::runs::input;
use crate::clock::boottime;
use crate::guard::{RunKey, Stdin};
use crate::outputs::{self, Outputs};
use crate::panics;

/// What nothing reads any more is kept for so long: longer than the longest pause of a host that could not start a task, so
/// that what came of an output is of use to the next try.
const LINGER: Duration = Duration::from_secs(120);

/// The inputs that are here, or come, and the runs that wait for them.
#[derive(Debug)]
pub(super) struct Inputs {
    waiting: BTreeMap<RunKey, Waiting>,
    kept: BTreeMap<Digest, Kept>,
    come: mpsc::Sender<Come>,
}

/// A run that waits.
#[derive(Debug)]
struct Waiting {
    order: Box<StartOrder>,
    digest: Digest,
    /// What it waits for, for people.
    what: String,
}

/// An output that runs read.
#[derive(Debug)]
struct Kept {
    state: State,
    readers: BTreeSet<RunKey>,
    /// Since when nothing has read it.
    unread: Duration,
}

#[derive(Debug)]
enum State {
    /// It is on its way.
    Coming(AbortHandle),
    /// It is here.
    Here(PathBuf),
    /// It did not come; a part of it may be here.
    Lacking,
}

/// What came of an output that was wanted.
#[derive(Debug)]
pub(super) struct Come {
    digest: Digest,
    found: Result<PathBuf, Lack>,
}

/// Where the input of a run is.
#[derive(Debug, PartialEq)]
enum Input {
    /// The guard finds it.
    Ready(Stdin),
    /// On some host; for people: what it is.
    At(Origin, String),
    /// Nowhere: the run is over before it began.
    Lacks(RunEnd),
}

impl Inputs {
    pub(super) fn new(come: mpsc::Sender<Come>) -> Self {
        Self {
            waiting: BTreeMap::new(),
            kept: BTreeMap::new(),
            come,
        }
    }

    /// Moves the deadline of a run that waits; says whether it does.
    pub(super) fn extend(&mut self, key: RunKey, deadline: Mono) -> bool {
        let waiting = self.waiting.get_mut(&key);
        let waits = waiting.is_some();
        if let Some(waiting) = waiting {
            waiting.order.deadline = waiting.order.deadline.max(deadline);
        }
        waits
    }

    /// Forgets what nothing has read for long, and returns it; `lives` says which runs are not over.
    fn sweep(&mut self, now: Duration, lives: impl Fn(RunKey) -> bool) -> Vec<Digest> {
        let mut over = Vec::new();
        self.kept.retain(|digest, kept| {
            if !kept.readers.is_empty() {
                kept.unread = now;
            }
            kept.readers.retain(|key| lives(*key));
            let stays = !kept.readers.is_empty() || now < kept.unread.saturating_add(LINGER);
            if !stays {
                over.push(*digest);
            }
            stays
        });
        over
    }

    fn take_waiting(&mut self, digest: Digest) -> Vec<(RunKey, Waiting)> {
        let all = self.waiting.iter().filter(|(_, run)| run.digest == digest);
        let keys: Vec<RunKey> = all.map(|(key, _)| *key).collect();
        let take = |key| Some((key, self.waiting.remove(&key)?));
        keys.into_iter().filter_map(take).collect()
    }
}

impl Node {
    /// Starts a run: at once, or when its input is here.
    pub(super) fn start_run(&mut self, order: Box<StartOrder>) {
        let key = self.runs.add(order.run);
        self.run_begins(order.run);
        match self.input_of(&order.spec) {
            Input::Ready(stdin) => self.order_run(key, &order, stdin),
            Input::Lacks(end) => self.never_ran(key, end),
            Input::At(origin, what) => self.await_input(key, order, &origin, what),
        }
    }

    fn input_of(&self, spec: &TaskSpec) -> Input {
        let Some(source) = spec.options.pipe_from else {
            return Input::Ready(input(spec.options.stdin.as_ref()));
        };
        let gone = |why: String| Input::Lacks(RunEnd::NoInput(format!("no input: {why}")));
        let Some(view) = self.replica.known_task(source) else {
            return gone(format!("{source} is not known any more"));
        };
        let label = view.label();
        let nothing = Input::Ready(Stdin::Null);
        let Some(outcome) = &view.outcome else {
            return match view.state.is_complete() {
                true => nothing,
                // A person wants it to run again, and this host was told after the run was ordered.
                false => Input::Lacks(RunEnd::Unfit(format!(
                    "{label}, which it reads, runs again"
                ))),
            };
        };
        let Some(report) = outcome.report else {
            return match outcome.verdict {
                Verdict::Lost => gone(format!("{label} was lost with its host")),
                _ => nothing,
            };
        };
        if view.spec.options.stdout.is_some() {
            return gone(format!("{label} wrote its output to a file of its own"));
        }
        let Some(digest) = report.stdout.digest else {
            return nothing;
        };
        let (epoch, tag) = outcome.origin;
        let name = self.replica.host_name(tag);
        let what = format!("the output of {label} on {name}");
        let Some(host) = view.host else {
            return Input::Lacks(RunEnd::Unfit(format!("{what}: that host is not known")));
        };
        if self.replica.is_given_up(tag) {
            return gone(format!("{what}: that host was given up for good"));
        }
        let origin = Origin {
            host,
            run: RunId {
                task: source,
                epoch,
            },
            len: report.stdout.len,
            digest,
        };
        Input::At(origin, what)
    }

    fn await_input(&mut self, key: RunKey, order: Box<StartOrder>, origin: &Origin, what: String) {
        if !matches!(self.leaving, Leaving::No | Leaving::Settling) {
            return self.never_ran(key, RunEnd::TooLate);
        }
        let digest = origin.digest;
        let kept = self.inputs.kept.entry(digest).or_insert_with(|| Kept {
            state: State::Lacking,
            readers: BTreeSet::new(),
            unread: boottime(),
        });
        kept.readers.insert(key);
        match &kept.state {
            State::Here(path) if path.exists() => {
                let stdin = stdin_of(path);
                return self.order_run(key, &order, stdin);
            }
            // Somebody has removed it.
            State::Here(_) => kept.state = State::Lacking,
            State::Coming(_) | State::Lacking => {}
        }
        info!(task = %order.run.task, epoch = %order.run.epoch, what, "run waits for its input");
        let waiting = Waiting {
            order,
            digest,
            what,
        };
        self.inputs.waiting.insert(key, waiting);
        if matches!(kept.state, State::Lacking) {
            let fetch = self.fetch_input(*origin);
            if let Some(kept) = self.inputs.kept.get_mut(&digest) {
                kept.state = State::Coming(fetch);
            }
        }
    }

    /// Begins to bring an output to this host, or to compare what it has with the outcome.
    fn fetch_input(&self, origin: Origin) -> AbortHandle {
        let (outputs, come) = (self.outputs.clone(), self.inputs.come.clone());
        let mesh = self.output_mesh();
        let own = self.replica.own_peer();
        let digest = origin.digest;
        let bring = async move {
            let name = outputs::Digest(digest.0);
            if origin.host == own {
                let found = spawn_blocking(move || stored_here(&outputs, name)).await;
                return found.unwrap_or_else(|error| Err(Lack::ForNow(error.to_string())));
            }
            let path = outputs.spooled(name);
            mesh.fetch(&origin, &path).await?;
            let whole = spawn_blocking(move || whole(path)).await;
            whole.unwrap_or_else(|error| Err(Lack::ForNow(error.to_string())))
        };
        let work = tokio::spawn(async move {
            // Runs wait for it.
            let found = panics::caught(bring).await;
            let found = found.unwrap_or_else(|why| Err(Lack::ForNow(why)));
            if come.send(Come { digest, found }).await.is_err() {
                debug!("the node left before the input of a run was here");
            }
        });
        work.abort_handle()
    }

    /// An output is here, or cannot be had: the runs that wait for it start, or are over.
    pub(super) fn take_come(&mut self, come: Come) {
        let Come { digest, found } = come;
        let waiting = self.inputs.take_waiting(digest);
        if let Some(kept) = self.inputs.kept.get_mut(&digest) {
            kept.unread = boottime();
            kept.state = match &found {
                Ok(path) => State::Here(path.clone()),
                Err(_) => State::Lacking,
            };
        }
        for (key, Waiting { order, what, .. }) in waiting {
            match &found {
                Ok(path) => self.order_run(key, &order, stdin_of(path)),
                Err(lack) => {
                    info!(task = %order.run.task, what, %lack, "the input of a run did not come");
                    let why = format!("no input: {what}: {lack}");
                    self.never_ran(
                        key,
                        match lack {
                            Lack::ForGood(_) => RunEnd::NoInput(why),
                            Lack::ForNow(_) => RunEnd::Unfit(why),
                        },
                    );
                }
            }
        }
    }

    /// Ends a run that waits for its input; says whether it did.
    pub(super) fn stop_waiting(&mut self, run: RunId, end: RunEnd) -> bool {
        let key = self.runs.key(run);
        let waiting = key.and_then(|key| Some((key, self.inputs.waiting.remove(&key)?)));
        let Some((key, waiting)) = waiting else {
            return false;
        };
        debug!(task = %run.task, epoch = %run.epoch, ?end, "run waits no more for its input");
        if let Some(kept) = self.inputs.kept.get_mut(&waiting.digest) {
            kept.readers.remove(&key);
            kept.unread = boottime();
            if let State::Coming(fetch) = &kept.state
                && kept.readers.is_empty()
            {
                fetch.abort();
                kept.state = State::Lacking;
            }
        }
        self.never_ran(key, end);
        true
    }

    /// Hands back the runs that wait for their inputs: the node leaves.
    pub(super) fn hand_back_waiting(&mut self) {
        let waiting = self.inputs.waiting.values();
        let runs: Vec<RunId> = waiting.map(|waiting| waiting.order.run).collect();
        for run in runs {
            self.stop_waiting(run, RunEnd::TooLate);
        }
    }

    /// Removes what nothing has read for long.
    pub(super) fn sweep_inputs(&mut self) {
        let runs = &self.runs;
        for digest in self.inputs.sweep(boottime(), |key| runs.has(key)) {
            remove_spooled(&self.outputs, digest);
        }
    }
}

/// Removes what there is of an output of another host.
fn remove_spooled(outputs: &Outputs, digest: Digest) {
    let path = outputs.spooled(outputs::Digest(digest.0));
    for path in [part_of(&path), path] {
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => warn!(path = %path.display(), %error, "an input was not removed"),
        }
    }
}

/// Returns the path of an output of this host, if it is what its name says.
fn stored_here(outputs: &Outputs, digest: outputs::Digest) -> Result<PathBuf, Lack> {
    match outputs.verify(digest) {
        Ok(outputs::Verdict::Intact) => whole(outputs.stored(digest)),
        Ok(outputs::Verdict::Missing) => {
            Err(Lack::ForGood("it is not stored there any more".to_owned()))
        }
        Ok(outputs::Verdict::Damaged) => Err(Lack::ForGood("it is damaged there".to_owned())),
        Err(error) => Err(Lack::ForNow(error.to_string())),
    }
}

/// Returns the path of an output, if nothing was cut out of it.
fn whole(path: PathBuf) -> Result<PathBuf, Lack> {
    match Outputs::is_cut(&path) {
        Ok(false) => Ok(path),
        Ok(true) => Err(Lack::ForGood(
            "its middle was cut out there (aque-node --output-limit)".to_owned(),
        )),
        Err(error) => Err(Lack::ForNow(error.to_string())),
    }
}

fn stdin_of(path: &Path) -> Stdin {
    Stdin::Stored(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_reads_for_long_goes() {
        let mut inputs = Inputs::new(mpsc::channel(1).0);
        let kept = |readers: &[u64]| Kept {
            state: State::Lacking,
            readers: readers.iter().map(|key| RunKey(*key)).collect(),
            unread: Duration::ZERO,
        };
        let [read, unread] = [1, 2].map(|n| Digest([n; 32]));
        inputs.kept.insert(read, kept(&[7, 8]));
        inputs.kept.insert(unread, kept(&[]));
        let mut sweep = |secs, lives: &[u64]| {
            let lives = |RunKey(key): RunKey| lives.contains(&key);
            inputs.sweep(Duration::from_secs(secs), lives)
        };
        assert!(sweep(119, &[7, 8]).is_empty());
        assert_eq!(sweep(120, &[8]), [unread]);
        assert!(sweep(1_000, &[]).is_empty(), "it was read until now");
        assert!(sweep(1_119, &[]).is_empty());
        assert_eq!(sweep(1_120, &[]), [read]);
    }
}
