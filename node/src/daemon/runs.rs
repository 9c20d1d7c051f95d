//! Runs: from a replica's order to the guard's, and from the guard's report back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crdt::entry::Beat;
use crdt::event::{CallEnd, Input, RunEnd, StartOrder};
use crdt::ids::{Digest, RunId, TaskId};
use crdt::places::Place;
use crdt::schedule::Demand;
use crdt::task::{self, Arg, Captured, Element, Exit, Limits, RunReport, Work};
use crdt::time::{Mono, Wall};
use crdt::units::Allotment;
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use super::found;
use super::node::Node;
use crate::call;
use crate::clock::{boottime, wall_ms};
use crate::config::Settings;
use crate::executor::{Environment, ExecEvent, Order};
use crate::guard::launcher::PROGRESS_VAR;
use crate::guard::{Bounds, Cause, Ended, How, Refusal, RunKey, Sink, Stdin, Var};
use crate::outputs::{self, Outputs, Stream};

/// Environments that are kept for the next run that shares them.
const ENVIRONMENTS: usize = 64;
/// So many runs are asked how far they are.
const RUNS_HEARD: usize = 256;
/// What the kernel counts reads and writes in, bytes.
const BLOCK: u64 = 512;

/// A run under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) id: RunId,
    /// A person's signal was passed on: its end is an outcome.
    pub(super) asked: bool,
}

/// The runs of this node.
#[derive(Debug)]
pub(super) struct Runs {
    by_key: BTreeMap<RunKey, Run>,
    by_id: BTreeMap<RunId, RunKey>,
    /// Runs whose ends are not durable yet: the guard and the live files keep them.
    unsettled: BTreeMap<RunKey, RunId>,
    next: u64,
    environments: BTreeMap<Digest, Arc<Environment>>,
    bare: Arc<Environment>,
    host: String,
    socket: PathBuf,
    leaving: bool,
    /// How the guard died last.
    guard_lost: Option<String>,
    /// What cuts out the middle of live outputs.
    thinning: Option<JoinHandle<()>>,
}

/// A run whose outputs are in their place.
#[derive(Debug)]
pub(super) struct Adopted {
    ended: Ended,
    stdout: std::io::Result<Captured>,
    stderr: std::io::Result<Captured>,
}

impl Runs {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_id: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            // Keys name live output files: those of an earlier process are not met again.
            next: fastrand::u64(..u64::MAX / 2),
            environments: BTreeMap::new(),
            bare: Arc::new(Environment::new(bare_environment())),
            host: settings.name.clone(),
            socket: settings.api.clone(),
            leaving: false,
            guard_lost: None,
            thinning: None,
        }
    }

    /// Returns the guard's handle of a run.
    pub(super) fn key(&self, run: RunId) -> Option<RunKey> {
        self.by_id.get(&run).copied()
    }

    /// Returns the guard's handle of a run, and remembers that a person asked for its end.
    pub(super) fn ask(&mut self, run: RunId) -> Option<RunKey> {
        let key = self.key(run)?;
        if let Some(run) = self.by_key.get_mut(&key) {
            run.asked = true;
        }
        Some(key)
    }

    /// From now on runs end because the node leaves.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Says whether a run is under way.
    pub(super) fn has(&self, key: RunKey) -> bool {
        self.by_key.contains_key(&key)
    }

    pub(super) fn add(&mut self, id: RunId) -> RunKey {
        self.next += 1;
        let key = RunKey(self.next);
        self.by_key.insert(key, Run { id, asked: false });
        self.by_id.insert(id, key);
        key
    }

    /// Takes up a run that was found under its key.
    pub(super) fn take_over(&mut self, key: RunKey, run: Run) {
        self.by_id.insert(run.id, key);
        self.by_key.insert(key, run);
    }

    /// Takes out the runs of which nothing more is to be written, as `settled` says.
    pub(super) fn take_settled(&mut self, settled: impl Fn(RunId) -> bool) -> Vec<RunKey> {
        let done = self.unsettled.iter().filter(|(_, run)| settled(**run));
        let done: Vec<RunKey> = done.map(|(key, _)| *key).collect();
        for key in &done {
            self.unsettled.remove(key);
        }
        done
    }

    fn get(&self, key: RunKey) -> Option<Run> {
        self.by_key.get(&key).copied()
    }

    fn remove(&mut self, key: RunKey) -> Option<Run> {
        let run = self.by_key.remove(&key)?;
        self.by_id.remove(&run.id);
        Some(run)
    }

    fn environment(&mut self, env: Option<&Arc<task::Environment>>) -> Arc<Environment> {
        let Some(env) = env else {
            return Arc::clone(&self.bare);
        };
        let digest = env.digest();
        if !self.environments.contains_key(&digest) {
            if self.environments.len() >= ENVIRONMENTS {
                self.environments.pop_first();
            }
            let vars = env
                .0
                .iter()
                .map(|(key, value)| (key.0.clone(), value.0.clone()))
                .collect();
            self.environments
                .insert(digest, Arc::new(Environment::new(vars)));
        }
        Arc::clone(&self.environments[&digest])
    }
}

/// What a task finds that inherits nothing.
fn bare_environment() -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    vec![(
        b"PATH".to_vec(),
        std::os::unix::ffi::OsStringExt::into_vec(path),
    )]
}

impl Node {
    /// Tells the guard to start a run that reads this.
    pub(super) fn order_run(&mut self, key: RunKey, order: &StartOrder, stdin: Stdin) {
        let Work::Command { argv, shell } = &order.spec.work else {
            return self.never_ran(key, RunEnd::Unfit("not a command".to_owned()));
        };
        if let Err(why) = self.may_run(order) {
            return self.never_ran(key, RunEnd::Unfit(why));
        }
        let options = &order.spec.options;
        let words = match shell {
            Some(shell) => in_shell(shell, argv),
            None if options.call => match call::executed(argv) {
                Some(words) => words,
                None => {
                    let why = "this host does not know how to call that".to_owned();
                    return self.never_ran(key, RunEnd::Unfit(why));
                }
            },
            None => argv.iter().map(|arg| arg.0.clone()).collect(),
        };
        let Mono(deadline) = order.deadline;
        let sink = |file: Option<&Arg>, stream| match file {
            Some(path) => Sink::File(path_of(&path.0)),
            None => Sink::Captured(self.outputs.live(key, stream)),
        };
        let ordered = Order {
            key,
            label: found::label(order.run),
            memo: found::memo(&order.units),
            argv: words,
            env: self.runs.environment(order.env.as_ref()),
            extra: self.extra_variables(order, key),
            cwd: path_of(&order.spec.cwd.0),
            stdin,
            stdout: sink(options.stdout.as_ref(), Stream::Out),
            stderr: sink(options.stderr.as_ref(), Stream::Err),
            deadline: Duration::from_nanos(deadline),
            nice: 0,
            bounds: bounds(order),
            person: self.person(order, key),
        };
        self.order_at(Place::of(&order.spec), ordered);
    }

    /// Gives the guard an order whose place is there.
    pub(super) fn order_now(&mut self, order: Order) {
        let key = order.key;
        let task = self.runs.get(key).map(|run| run.id.task);
        debug!(?task, "run ordered");
        if let Err(problem) = self.executor.order(order) {
            let end = if self.runs.leaving {
                RunEnd::TooLate
            } else {
                warn!(?task, %problem, "run not ordered");
                RunEnd::Unfit(problem.to_string())
            };
            self.never_ran(key, end);
        }
    }

    /// Ends a run of which the guard has not heard yet: its input, or a look at its place, is still to come. Says whether it did.
    pub(super) fn stop_before_start(&mut self, run: RunId, end: RunEnd) -> bool {
        if self.stop_waiting(run, end.clone()) {
            return true;
        }
        let key = self.runs.key(run);
        let Some(key) = key.filter(|key| self.looks.take_order(*key).is_some()) else {
            return false;
        };
        self.never_ran(key, end);
        true
    }

    /// Tells the replica that a run is over of which the guard has heard nothing.
    pub(super) fn never_ran(&mut self, key: RunKey, end: RunEnd) {
        if let Some(run) = self.runs.remove(key) {
            self.run_is_over(run.id, end);
        }
    }

    fn extra_variables(&self, order: &StartOrder, key: RunKey) -> Vec<Var> {
        let spec = &order.spec;
        let RunId { task, epoch } = order.run;
        let array = spec.member_of.map(|member| member.group);
        let element = order.element.as_ref();
        let label = element
            .zip(array)
            .map_or_else(|| task.to_string(), |(element, array)| element.label(array));
        let cpus = f64::from(order.demand.cpu_milli) / 1_000.0;
        let own = spec
            .extra_env
            .0
            .iter()
            .map(|(key, value)| (key.0.clone(), value.0.clone()));
        let socket = self.runs.socket.to_string_lossy().into_owned();
        let progress = self.outputs.progress(key);
        let ours = [
            ("AQUE_TID", label.clone()),
            ("AQUE_EPOCH", epoch.to_string()),
            ("AQUE_FENCE", format!("{label}/{epoch}")),
            ("AQUE_ATTEMPT", order.attempt.to_string()),
            ("AQUE_HOST", self.runs.host.clone()),
            ("AQUE_NODE", socket),
            ("AQUE_CPUS", cpus.to_string()),
            (PROGRESS_VAR, progress.to_string_lossy().into_owned()),
        ];
        let ours = ours.map(|(key, value)| (key.as_bytes().to_vec(), value.into_bytes()));
        let queue = Some(&spec.options.queue).filter(|queue| !queue.is_empty());
        let queue = queue.map(|queue| (b"AQUE_QUEUE".to_vec(), queue.clone().into_bytes()));
        let parent = spec.options.parent;
        let parent = parent.map(|id| (b"AQUE_PARENT".to_vec(), id.to_string().into_bytes()));
        let told = self.outputs.call(key).into_os_string();
        let told = (
            call::VARIABLE.into(),
            std::os::unix::ffi::OsStringExt::into_vec(told),
        );
        own.chain(ours)
            .chain(parent)
            .chain(spec.options.call.then_some(told))
            .chain(order.element.iter().flat_map(element_variables))
            .chain(queue)
            .chain(resource_variables(&order.units))
            .collect()
    }

    /// Cuts out the middle of live outputs that are too long, off the loop, once what did so before is done: a disk that does not answer
    /// holds one thread, not ever more of them.
    pub(super) fn thin_outputs(&mut self) {
        let is_done = |thinning: &JoinHandle<()>| thinning.is_finished();
        let keys: Vec<RunKey> = self.runs.by_key.keys().copied().collect();
        if keys.is_empty() || !self.runs.thinning.as_ref().is_none_or(is_done) {
            return;
        }
        let outputs = self.outputs.clone();
        let thinning = tokio::task::spawn_blocking(move || {
            for key in keys {
                for stream in [Stream::Out, Stream::Err] {
                    match outputs.thin(key, stream) {
                        Ok(0) => {}
                        Ok(bytes) => debug!(%key, bytes, "the middle of an output was cut out"),
                        Err(error) => debug!(%key, %error, "an output cannot be thinned"),
                    }
                }
            }
        });
        self.runs.thinning = Some(thinning);
    }

    /// Reads how far the runs say that they are: of the first few hundred, the first few that say anything.
    pub(super) fn hear_progress(&mut self) {
        let runs = self.runs.by_key.iter().take(RUNS_HEARD);
        let words = runs.filter_map(|(key, run)| {
            let word = self.outputs.last_word(*key, Beat::PROGRESS_BYTES)?;
            Some((run.id.task, word))
        });
        let words: Vec<(TaskId, String)> = words.take(Beat::MOST_PROGRESS).collect();
        self.feed(Input::Progress(words));
    }

    /// Takes what the guard says.
    pub(super) fn take_exec_event(&mut self, event: ExecEvent) {
        match event {
            ExecEvent::Started { key, pid, .. } => {
                if let Some(run) = self.runs.get(key) {
                    debug!(task = %run.id.task, epoch = %run.id.epoch, pid, "run started");
                    self.feed(Input::RunStarted(run.id));
                }
            }
            ExecEvent::Refused { key, why } => {
                if let Some(run) = self.runs.remove(key) {
                    info!(task = %run.id.task, epoch = %run.id.epoch, %why, "run refused");
                    self.runs.unsettled.insert(key, run.id);
                    self.run_is_over(run.id, refused(&why));
                }
            }
            ExecEvent::Ended(ended) => self.collect(ended),
            ExecEvent::Stuck { key, pids } => {
                if let Some(run) = self.runs.get(key) {
                    error!(task = %run.id.task, ?pids, "processes of a run resist being killed");
                }
            }
            ExecEvent::GuardLost { why } => {
                error!(why, "the guard died; its runs were killed");
                self.news.mishap("guard", format!("it died: {why}"));
                self.runs.guard_lost = Some(why);
            }
            ExecEvent::GuardBack => info!("a new guard works"),
            ExecEvent::GuardFailed { why } => {
                error!(why, "no guard can be started; trying again");
                self.news
                    .mishap("guard", format!("none can be started: {why}"));
            }
        }
    }

    /// Puts the outputs of an ended run into their place, off the loop, and goes on with [`Node::finish_run`].
    pub(super) fn collect(&mut self, ended: Ended) {
        let has_outcome = self
            .runs
            .get(ended.key)
            .is_some_and(|run| self.has_outcome(run, &ended));
        let silent = ended.stdout_bytes == 0 && ended.stderr_bytes == 0;
        if !has_outcome || silent {
            let nothing = || Ok(Captured::default());
            return self.finish_run(Adopted {
                ended,
                stdout: nothing(),
                stderr: nothing(),
            });
        }
        let (outputs, adopted) = (self.outputs.clone(), self.adopted.clone());
        let adoption = tokio::task::spawn_blocking(move || {
            let put = |stream, bytes| adopt(&outputs, ended.key, stream, bytes);
            let stdout = put(Stream::Out, ended.stdout_bytes);
            (stdout, put(Stream::Err, ended.stderr_bytes))
        });
        tokio::spawn(async move {
            let lost = |why: &tokio::task::JoinError| Err(std::io::Error::other(why.to_string()));
            let (stdout, stderr) = adoption
                .await
                .unwrap_or_else(|why| (lost(&why), lost(&why)));
            let adopted = adopted.send(Adopted {
                ended,
                stdout,
                stderr,
            });
            if adopted.await.is_err() {
                debug!("the node left before a run's output was in place");
            }
        });
    }

    /// Says whether a run's end is an outcome: not when the guard ended it, and not when it ended because the node leaves.
    fn has_outcome(&self, run: Run, ended: &Ended) -> bool {
        match ended.cause {
            Cause::DeadlineKill | Cause::GuardLost => false,
            Cause::Asked => run.asked,
            Cause::ByItself => run.asked || !self.runs.leaving || ended.how == How::Exited(0),
        }
    }

    /// Tells the replica that a run has ended.
    pub(super) fn finish_run(&mut self, adopted: Adopted) {
        let Adopted {
            ended,
            stdout,
            stderr,
        } = adopted;
        let captured = [&stdout, &stderr].map(|of| of.as_ref().ok().and_then(|of| of.digest));
        self.report_end(ended, stdout, stderr);
        // The outcome names them now, or none ever will.
        for Digest(digest) in captured.into_iter().flatten() {
            self.outputs.unpin(outputs::Digest(digest));
        }
    }

    fn report_end(
        &mut self,
        ended: Ended,
        stdout: std::io::Result<Captured>,
        stderr: std::io::Result<Captured>,
    ) {
        let Some(run) = self.runs.remove(ended.key) else {
            return;
        };
        self.runs.unsettled.insert(ended.key, run.id);
        if !self.has_outcome(run, &ended) {
            info!(task = %run.id.task, epoch = %run.id.epoch, cause = ?ended.cause, "run cut short");
            if ended.cause == Cause::GuardLost {
                let why = self.runs.guard_lost.as_deref();
                let why = why.unwrap_or("with an earlier start of the node");
                let what = format!("the guard died and the run with it: {why}");
                self.feed(Input::Harmed(run.id, what));
            }
            return self.run_is_over(run.id, RunEnd::Expired);
        }
        let lost = [&stdout, &stderr]
            .into_iter()
            .find_map(|of| of.as_ref().err());
        if let Some(problem) = lost {
            error!(task = %run.id.task, %problem, "output of a run was lost");
            let what = format!("its output was lost: {problem}");
            self.feed(Input::Harmed(run.id, what));
        }
        let captured = |stream: std::io::Result<Captured>| stream.unwrap_or_default();
        let exit = match ended.how {
            How::Exited(code) => Exit::Code(code),
            How::Signalled { signo, .. } => Exit::Signal(signo),
        };
        if exit != Exit::Code(0) && self.outputs.is_disk_full() {
            // It could not even say so.
            let what =
                "the disk for outputs was full when it ended: what it printed is cut or missing";
            self.feed(Input::Harmed(run.id, what.to_owned()));
        }
        let (boot, wall) = (boottime(), wall_ms());
        let at = |then: Duration| {
            let ago = u64::try_from(boot.saturating_sub(then).as_millis()).unwrap_or(u64::MAX);
            Wall(wall.saturating_sub(ago))
        };
        let report = RunReport {
            exit,
            started: at(ended.started_at),
            ended: at(ended.ended_at),
            usage: task::Usage {
                user_us: ended.usage.utime_us,
                system_us: ended.usage.stime_us,
                max_rss_kib: ended.usage.max_rss_kib,
                read_bytes: ended.usage.inblock.saturating_mul(BLOCK),
                written_bytes: ended.usage.oublock.saturating_mul(BLOCK),
            },
            stdout: captured(stdout),
            stderr: captured(stderr),
            limits: limits(&ended),
        };
        debug!(task = %run.id.task, epoch = %run.id.epoch, ?exit, "run ended");
        let end = match self.said_of_call(ended.key, run.id.task, exit) {
            Some(said) => RunEnd::Called(report, said),
            None => RunEnd::Exited(report),
        };
        self.run_is_over(run.id, end);
    }

    /// What a call said that came to no result.
    fn said_of_call(&self, key: RunKey, task: TaskId, exit: Exit) -> Option<CallEnd> {
        let Exit::Code(code) = exit else {
            return None;
        };
        let is_call = self.replica.task(task)?.spec.options.call;
        (is_call && code != 0).then(|| call::end(&self.outputs.call(key), code))?
    }
}

/// Returns what is executed for a script and its arguments.
fn in_shell(shell: &Arg, argv: &[Arg]) -> Vec<Vec<u8>> {
    let (script, rest) = argv.split_first().expect("a command is never empty");
    let front = [shell, &Arg::from("-c"), script, shell].map(|word| word.0.clone());
    let rest = rest.iter().map(|word| word.0.clone());
    front.into_iter().chain(rest).collect()
}

fn adopt(outputs: &Outputs, key: RunKey, stream: Stream, bytes: u64) -> std::io::Result<Captured> {
    if bytes == 0 {
        return Ok(Captured::default());
    }
    Ok(match outputs.adopt(&outputs.live(key, stream))? {
        outputs::Adopted::Empty => Captured::default(),
        outputs::Adopted::Stored { digest, bytes } => Captured {
            len: bytes,
            digest: Some(Digest(digest.0)),
        },
    })
}

/// Tells a run which element of its array it is.
fn element_variables(element: &Element) -> impl Iterator<Item = Var> {
    let index = (
        b"AQUE_ARRAY_INDEX".to_vec(),
        element.index.to_string().into_bytes(),
    );
    let entry = element.entry.as_ref();
    let entry = entry.map(|entry| (b"AQUE_ARRAY_ENTRY".to_vec(), entry.0.clone()));
    std::iter::once(index).chain(entry)
}

/// Which units of named resources a run has: `AQUE_RESOURCE_gpu=0,2`.
fn resource_variables(Allotment(units): &Allotment) -> impl Iterator<Item = Var> + '_ {
    units.iter().map(|(name, parts)| {
        let numbers: Vec<String> = parts.iter().map(|(unit, _)| unit.to_string()).collect();
        let name = format!("AQUE_RESOURCE_{name}");
        (name.into_bytes(), numbers.join(",").into_bytes())
    })
}

/// What a run gets at most: what its task stated, for nothing that was not stated comes as a surprise.
fn bounds(order: &StartOrder) -> Bounds {
    let Demand {
        cpu_milli,
        memory_bytes,
        ..
    } = order.demand;
    let limited = order.spec.options.cpu_limit && cpu_milli > 0;
    Bounds {
        memory: Some(memory_bytes).filter(|bytes| *bytes > 0),
        cpus: limited.then_some(cpu_milli),
        part: cpu_milli,
    }
}

/// What the kernel kept a run to.
fn limits(ended: &Ended) -> Limits {
    let facts = [
        (ended.out_of_memory, Limits::OUT_OF_MEMORY),
        (ended.limited.memory, Limits::MEMORY),
        (ended.limited.cpus, Limits::CPUS),
    ];
    let so = facts.into_iter().filter(|(so, _)| *so);
    so.map(|(_, fact)| fact).collect()
}

/// What the guard lets a run read.
pub(super) fn input(stated: Option<&task::Input>) -> Stdin {
    match stated {
        None => Stdin::Null,
        Some(task::Input::File(path)) => Stdin::File(path.0.clone()),
        Some(task::Input::Bytes(bytes)) => Stdin::Bytes(bytes.0.clone()),
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

/// What a refusal means for the task.
fn refused(why: &Refusal) -> RunEnd {
    let errno = |number: i32| rustix::io::Errno::from_raw_os_error(number);
    match why {
        Refusal::DeadlinePassed | Refusal::ShuttingDown | Refusal::GuardLost => RunEnd::TooLate,
        Refusal::Program { errno: number, .. } if errno(*number) == rustix::io::Errno::NOENT => {
            RunEnd::Impossible {
                code: 127,
                why: why.to_string(),
            }
        }
        Refusal::Program { .. } | Refusal::BadOrder(_) => RunEnd::Impossible {
            code: 126,
            why: why.to_string(),
        },
        Refusal::Cwd { .. } | Refusal::Stdin { .. } => RunEnd::Misplaced(why.to_string()),
        Refusal::Output { .. }
        | Refusal::NoUser(_)
        | Refusal::NoGroup(_)
        | Refusal::NotInGroup { .. }
        | Refusal::Root(_)
        | Refusal::Become { .. }
        | Refusal::Launcher(_)
        | Refusal::Process { .. } => RunEnd::Unfit(why.to_string()),
    }
}
