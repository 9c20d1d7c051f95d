//! The executor: the node's side of its [guard](crate::guard).
//!
//! An [`Executor`] is a handle to one tokio task that owns the socket to the guard. Its methods
//! never wait: they leave a wish on a desk, and the task carries what lies there to the guard in
//! one write. The desk is bounded by what it holds: orders by [`ExecConfig::max_runs`], everything
//! else by the runs that live (two extensions of one run are one). What happens is told by
//! [`ExecEvent`]s.
//!
//! A guard outlives its node. An executor that starts where a guard still lives goes on with it, and
//! is told of its runs; where a guard has died, of the ends that it had kept ([`Found`]). An end is
//! kept until [`Executor::forget`] is called for it.
//!
//! A guard that was stopped, or hangs, keeps no deadline: its node kills what is overdue, and replaces it ([`Patience`]).
//!
//! When the guard dies, all runs are dead or killed before any of them is reported as
//! [`Cause::GuardLost`](crate::guard::Cause::GuardLost); then a new guard is started.
//!
//! All paths in orders are absolute. Times are since boot ([`crate::clock::boottime`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::Alarm;
use crate::guard::{
    Bounds, Cgroups, Ended, Found, FoundState, FrameError, Label, Person, Refusal, RunKey, Sink,
    Stdin, Trees, Var,
};

mod actor;
mod desk;
mod environments;
mod launch;
mod leftovers;
mod patience;

use desk::Desk;
pub use environments::Environment;
pub use patience::Patience;

/// How an executor is set up.
#[derive(Clone, Debug)]
pub struct ExecConfig {
    /// The node's data directory, locked by the caller ([`crate::lock::DirLock`]).
    pub data: PathBuf,
    /// Which program is started as the guard.
    pub program: Program,
    /// How long a guard's silence is borne.
    pub patience: Patience,
    /// Whether a guard that is started gives each run a cgroup. One that is met has made its choice.
    pub cgroups: Cgroups,
    /// Most runs at a time, those under way to their start or their report included. Choose twice
    /// the number of slots or more; too low refuses orders, too high costs some 200 bytes each.
    pub max_runs: usize,
}

/// Which program is started as the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The one that runs now, even if its file has been replaced since.
    This,
    /// Another, which must understand the verb [`crate::guard::VERB`].
    At(PathBuf),
}

/// What is to be run. See [`crate::guard::StartRun`] for the fields' meaning.
#[derive(Clone, Debug)]
pub struct Order {
    /// A handle that was never used before in this data directory.
    pub key: RunKey,
    /// What the node calls it, for its next start.
    pub label: Label,
    /// What the node wants to be told of it again while it lives.
    pub memo: Vec<u8>,
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// The environment; many orders may share one.
    pub env: Arc<Environment>,
    /// Variables of this run alone; they win.
    pub extra: Vec<Var>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Where input comes from.
    pub stdin: Stdin,
    /// Where output goes.
    pub stdout: Sink,
    /// Where errors go; may be the same.
    pub stderr: Sink,
    /// When the run is killed, since boot.
    pub deadline: Duration,
    /// Added niceness, 0 to 19.
    pub nice: u8,
    /// How much of its host it gets.
    pub bounds: Bounds,
    /// As whom it is started; none: as this process's own user.
    pub person: Option<Person>,
}

/// What an executor tells. For each order: [`ExecEvent::Refused`], or [`ExecEvent::Started`]
/// (unless the guard died first) and then [`ExecEvent::Ended`].
#[derive(Clone, Debug, PartialEq)]
pub enum ExecEvent {
    /// The run's program executes.
    Started {
        /// Which run.
        key: RunKey,
        /// Its leader's process id, which is also its process group's and its session's.
        pid: i32,
        /// When.
        at: Duration,
    },
    /// The run was not and will not be started.
    Refused {
        /// Which run.
        key: RunKey,
        /// Why.
        why: Refusal,
    },
    /// Nothing of the run lives any more.
    Ended(Ended),
    /// The run should be dead, but these processes resist.
    Stuck {
        /// Which run.
        key: RunKey,
        /// Some of the processes.
        pids: Vec<i32>,
    },
    /// The guard died; the ends of its runs follow, then [`ExecEvent::GuardBack`].
    GuardLost {
        /// What is known about its end.
        why: String,
    },
    /// A new guard works.
    GuardBack,
    /// No new guard could be started; the executor goes on trying, orders wait.
    GuardFailed {
        /// Why.
        why: String,
    },
}

/// Why an executor could not do what it was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// As many runs as are allowed are under way.
    #[error("{0} runs are under way, which is the limit")]
    Full(usize),
    /// The handle belongs to a run that is under way.
    #[error("run {0} has been ordered already")]
    KeyInUse(RunKey),
    /// The executor has been shut down.
    #[error("the executor has been shut down")]
    Closed,
    /// An order is larger than Linux allows a program's arguments and environment to be.
    #[error("arguments and environment together have {0} bytes, which is more than Linux allows")]
    TooLarge(usize),
    /// The guard could not be started.
    #[error("the guard {} cannot be started: {source}", program.display())]
    Launch {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// What was started is no guard of this version.
    #[error("what was started as the guard is none of this version: {0}")]
    NoGuard(String),
    /// Node and guard do not understand each other.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The data directory, `/proc` or another thing of the machine is not as it must be.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// A handle to the guard of this node. When it is dropped, as when the process ends, the guard goes
/// on until its runs have ended or their deadlines have come.
#[derive(Debug)]
pub struct Executor {
    desk: Arc<Desk>,
    state: watch::Receiver<GuardState>,
    trees: watch::Receiver<Trees>,
}

/// An executor that has just started.
#[derive(Debug)]
pub struct Beginning {
    /// The handle.
    pub executor: Executor,
    /// What an earlier start left. Those that are alive are told of like any other from now on.
    pub found: Vec<Found>,
    /// What happens.
    pub events: mpsc::Receiver<ExecEvent>,
}

/// What is known about the guard's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// It works under this process id.
    Working(u32),
    /// It is being started.
    Absent,
    /// It has ended for good, and all runs with it.
    Closed,
}

impl GuardState {
    /// The guard's process, if one works.
    #[must_use]
    pub fn pid(self) -> Option<u32> {
        match self {
            Self::Working(pid) => Some(pid),
            Self::Absent | Self::Closed => None,
        }
    }
}

impl Executor {
    /// Goes on with the guard of an earlier start, or, when what a dead one left is gone, starts one.
    ///
    /// Makes this process a *subreaper*: processes whose guard died become its children.
    /// Not to be dropped half-way: what was started would go on until it sees its socket closed.
    ///
    /// # Errors
    /// [`ExecError`]; a guard that was started is gone then.
    pub async fn start(config: ExecConfig) -> Result<Beginning, ExecError> {
        let launcher = launch::Launcher::new(&config)?;
        let (guard, launch::Greeting { trees, found }) = launcher.launch().await?;
        let (sender, events) = mpsc::channel(2 * config.max_runs + 16);
        let desk = Arc::new(Desk::new(config.max_runs));
        let alive = found.iter().filter_map(|found| match found.state {
            FoundState::Alive {
                started_at,
                deadline,
            } => Some(actor::Living {
                key: found.key,
                started_at,
                deadline,
            }),
            FoundState::Ended(_) => None,
        });
        let alive: Vec<actor::Living> = alive.collect();
        desk.take_over(alive.iter().map(|run| run.key));
        let (tell, state) = watch::channel(GuardState::Working(guard.pid()));
        let (tell_trees, trees) = watch::channel(trees);
        let watch = patience::Watch::new(config.patience);
        let alarm = Alarm::new().map_err(|source| ExecError::Io {
            what: "make a timer",
            source,
        })?;
        let actor = actor::Actor::new(
            launcher,
            Arc::clone(&desk),
            sender,
            (tell, tell_trees),
            (watch, alarm),
        );
        tokio::spawn(actor.work(guard, alive));
        Ok(Beginning {
            executor: Self { desk, state, trees },
            found,
            events,
        })
    }

    /// Orders a run.
    ///
    /// # Errors
    /// [`ExecError::Full`], [`ExecError::KeyInUse`], [`ExecError::TooLarge`] or
    /// [`ExecError::Closed`].
    pub fn order(&self, order: Order) -> Result<(), ExecError> {
        self.desk.order(order)
    }

    /// Moves a run's deadline back; ignored for a run that is over, and when it is not later.
    pub fn extend(&self, key: RunKey, deadline: Duration) {
        self.desk.extend([(key, deadline)]);
    }

    /// Moves the deadlines of many runs.
    pub fn extend_all(&self, runs: impl IntoIterator<Item = (RunKey, Duration)>) {
        self.desk.extend(runs);
    }

    /// Sends a signal to a run's process group; ignored for a run that is over.
    pub fn signal(&self, key: RunKey, signo: i32) {
        self.desk.signal(key, signo);
    }

    /// Forgets the end of a run: what the node wants to keep of it is durable.
    pub fn forget(&self, key: RunKey) {
        self.desk.forget(key);
    }

    /// Ends a run at once, with all that it started; ignored for a run that is over.
    pub fn kill(&self, key: RunKey) {
        self.desk.kill(key);
    }

    /// Number of runs under way: ordered, and neither refused nor ended.
    #[must_use]
    pub fn live(&self) -> usize {
        self.desk.live()
    }

    /// What is known about the guard's process.
    #[must_use]
    pub fn guard(&self) -> GuardState {
        *self.state.borrow()
    }

    /// How the guard, or the last that worked, ends the processes of runs.
    #[must_use]
    pub fn trees(&self) -> Trees {
        self.trees.borrow().clone()
    }

    /// Asks all runs to end (`SIGTERM`), kills those left after `grace`, and waits until the guard
    /// is gone. Called again with less grace, it leaves the runs no more than that from now on.
    ///
    /// Go on receiving events meanwhile: the ends are told as usual, then the channel closes.
    /// Safe to drop: the end goes on.
    pub async fn shutdown(&self, grace: Duration) {
        self.desk.shut_down(grace);
        let mut state = self.state.clone();
        // An error means that the task is gone: closed as well.
        let _closed = state
            .wait_for(|state| *state == GuardState::Closed)
            .await
            .is_ok();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.desk.abandon();
    }
}
