//! Coming by a guard: the one of an earlier start, or a new one, alone with its data directory and
//! over nobody's living runs.

mod process;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, set_child_subreaper};
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};

use super::leftovers::Prey;
use super::patience::{Patience, STOPPED_LOOKS, Standing};
use super::{ExecConfig, ExecError, Program, leftovers};
use crate::guard::frame::Decoder;
use crate::guard::records::Kept;
use crate::guard::{Cgroups, Found, Reply, RunKey, Trees, VERB, door, protocol};
use crate::lock::{Lock, open_lock, passable_dir, private_dir, try_lock};
use process::Process;

/// Shortest and longest time between two tries for the former guard's lock.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Number of tries after which someone is told (about two seconds).
const TELL_AFTER: u32 = 25;

/// Knows how to start a guard for one data directory.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    program: PathBuf,
    lock: PathBuf,
    records: PathBuf,
    patience: Patience,
    cgroups: Cgroups,
}

/// What a guard says first.
#[derive(Debug)]
pub(super) struct Greeting {
    /// How it ends processes of runs.
    pub(super) trees: Trees,
    /// The runs that it has, and ends that it kept.
    pub(super) found: Vec<Found>,
}

/// A guard's process and the node's end of its socket.
#[derive(Debug)]
pub(super) struct Guard {
    /// The socket.
    pub(super) stream: UnixStream,
    /// What was read and not yet understood.
    pub(super) decoder: Decoder,
    process: Process,
}

impl Guard {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it is stopped.
    pub(super) fn standing(&self) -> Standing {
        self.process.standing()
    }

    /// Closes the socket, and waits for the guard's end unless it is left to itself. Returns what is
    /// known about its end.
    ///
    /// One that is killed goes before its runs: what has a `SIGKILL` pending executes nothing more,
    /// so it cannot take the death of a run, which follows at once, for the run's own end. A guard
    /// that is stuck in the kernel may take for ever to die; its runs do not wait for that.
    pub(super) async fn end(self, how: Farewell, launcher: &Launcher) -> String {
        let Self {
            stream, process, ..
        } = self;
        drop(stream);
        if how == Farewell::Leave {
            return "left to itself".to_owned();
        }
        let records = launcher.records.clone();
        let waited = spawn_blocking(move || match how {
            Farewell::Kill => process.kill_with_all(&records),
            Farewell::Await | Farewell::Leave => process.wait(),
        });
        match waited.await {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// How a guard is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It goes on until its runs have ended.
    Leave,
    /// It was asked to end.
    Await,
    /// It is of no use any more.
    Kill,
}

impl Launcher {
    /// Prepares the data directory and this process.
    pub(super) fn new(config: &ExecConfig) -> Result<Self, ExecError> {
        let data =
            std::path::absolute(&config.data).map_err(io_error("find the data directory"))?;
        let runs = data.join("runs");
        passable_dir(&data)
            .and_then(|()| private_dir(&runs))
            .map_err(io_error("make <data>/runs"))?;
        set_child_subreaper(Some(Pid::INIT))
            .map_err(|error| io_error("become a subreaper")(error.into()))?;
        let program = match &config.program {
            Program::This => PathBuf::from("/proc/self/exe"),
            Program::At(path) => path.clone(),
        };
        Ok(Self {
            program,
            lock: data.join("guard.lock"),
            records: runs.join("live"),
            patience: config.patience,
            cgroups: config.cgroups,
        })
    }

    /// Meets the guard of an earlier start, or starts one when none is left; returns what it says of
    /// itself and its runs.
    pub(super) async fn launch(&self) -> Result<(Guard, Greeting), ExecError> {
        let what = || io_error("lock <data>/guard.lock");
        let file = open_lock(&self.lock).map_err(what())?;
        let (mut pause, mut tries) = (TRY_AGAIN.0, 0);
        while try_lock(&file).map_err(what())? == Lock::Theirs {
            match self.meet().await {
                Ok(met) => return Ok(met),
                // It is about to begin, about to end, or of another version.
                Err(why) => debug!(%why, "the former guard was not met"),
            }
            tries += 1;
            if tries == TELL_AFTER {
                info!(lock = %self.lock.display(), "waiting for a former guard to end its runs");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TRY_AGAIN.1);
        }
        self.start(file).await
    }

    /// Kills what a guard that died left, and waits until it is gone. Returns the ends that it kept.
    pub(super) async fn clear(&self) -> Result<Vec<Kept>, ExecError> {
        let records = self.records.clone();
        let what = io_error("clear what a lost guard left");
        blocking(move || leftovers::clear(&records).map_err(what)).await
    }

    /// Kills what lives of these runs, whose guard does not do it. Returns the number of processes.
    pub(super) async fn strike(&self, runs: BTreeSet<RunKey>) -> Result<usize, ExecError> {
        let records = self.records.clone();
        let what = io_error("kill overdue runs");
        blocking(move || leftovers::strike(&records, Prey::Of(&runs)).map_err(what)).await
    }

    /// Knocks at the former guard's door and hears what it has. One that stands still behind it is
    /// killed: its runs have no watch.
    async fn meet(&self) -> Result<(Guard, Greeting), ExecError> {
        let what = || io_error("meet the former guard");
        let records = self.records.clone();
        let stream = blocking(move || door::knock(&records).map_err(what())).await?;
        let mut guard = Guard {
            process: Process::met(&stream).map_err(what())?,
            stream: tokio_stream(stream)?,
            decoder: Decoder::default(),
        };
        let Some(heard) = self.hear_patiently(&mut guard).await else {
            warn!(
                pid = guard.pid(),
                "the guard of an earlier start stands still: killing it"
            );
            let end = guard.end(Farewell::Kill, self).await;
            return Err(ExecError::NoGuard(end));
        };
        let greeting = heard?;
        info!(
            pid = guard.pid(),
            runs = greeting.found.len(),
            "going on with the guard of an earlier start"
        );
        Ok((guard, greeting))
    }

    /// Hears the list of a guard; `None` if it stands still, by the same measure as one at work.
    async fn hear_patiently(&self, guard: &mut Guard) -> Option<Result<Greeting, ExecError>> {
        let Guard {
            stream,
            decoder,
            process,
        } = guard;
        let mut heard = std::pin::pin!(hear_list(stream, decoder));
        for look in 1..=self.patience.hung_looks() {
            if let Ok(heard) = tokio::time::timeout(self.patience.step(), &mut heard).await {
                return Some(heard);
            }
            if look >= STOPPED_LOOKS && process.standing() == Standing::Stopped {
                break;
            }
        }
        None
    }

    /// Clears what a dead guard left, starts a new one and hears its first words.
    async fn start(&self, lock: File) -> Result<(Guard, Greeting), ExecError> {
        let this = self.clone();
        let (stream, child) = blocking(move || this.spawn(lock)).await?;
        let mut guard = Guard {
            stream: tokio_stream(stream)?,
            decoder: Decoder::default(),
            process: Process::child(child).map_err(io_error("watch the guard"))?,
        };
        let why = match self.hear_patiently(&mut guard).await {
            Some(Ok(greeting)) => {
                debug!(pid = guard.pid(), trees = ?greeting.trees, "guard works");
                return Ok((guard, greeting));
            }
            Some(Err(error)) => error.to_string(),
            None => "it stands still".to_owned(),
        };
        let end = guard.end(Farewell::Kill, self).await;
        Err(ExecError::NoGuard(format!("{why}; {end}")))
    }

    /// Starts the guard with the lock as its output: held as long as it lives, and not by this
    /// process.
    fn spawn(&self, lock: File) -> Result<(StdStream, Child), ExecError> {
        leftovers::clear(&self.records).map_err(io_error("clear what a former guard left"))?;
        let (ours, theirs) = StdStream::pair().map_err(io_error("make a socket"))?;
        let child = Command::new(&self.program)
            .arg0("aque-node")
            .arg(VERB)
            .arg(&self.records)
            .arg(format!("{:016x}", fastrand::u64(1..)))
            .arg(self.cgroups.to_string())
            .current_dir(Path::new("/"))
            .env_clear()
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(lock))
            .spawn()
            .map_err(|source| ExecError::Launch {
                program: self.program.clone(),
                source,
            })?;
        Ok((ours, child))
    }
}

fn tokio_stream(stream: StdStream) -> Result<UnixStream, ExecError> {
    stream
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(stream))
        .map_err(io_error("use the guard's socket"))
}

/// Hears a guard's first words.
async fn hear_list(stream: &mut UnixStream, decoder: &mut Decoder) -> Result<Greeting, ExecError> {
    let strange = |reply: Reply| ExecError::NoGuard(format!("it said {reply:?}"));
    match hear(stream, decoder).await? {
        Reply::Ready {
            version: protocol::VERSION,
            ..
        } => {}
        other => return Err(strange(other)),
    }
    let trees = match hear(stream, decoder).await? {
        Reply::Trees(trees) => trees,
        other => return Err(strange(other)),
    };
    let mut found = Vec::new();
    loop {
        match hear(stream, decoder).await? {
            Reply::Found(run) => found.push(run),
            Reply::Listed => return Ok(Greeting { trees, found }),
            other => return Err(strange(other)),
        }
    }
}

async fn hear(stream: &mut UnixStream, decoder: &mut Decoder) -> Result<Reply, ExecError> {
    let mut buffer = [0; 4 << 10];
    loop {
        if let Some(reply) = decoder.next()? {
            return Ok(reply);
        }
        stream
            .readable()
            .await
            .map_err(io_error("hear the guard"))?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(ExecError::NoGuard("it said nothing".into())),
            Ok(bytes) => decoder.push(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(io_error("hear the guard")(error)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExecError> + Send + 'static,
) -> Result<T, ExecError> {
    let joined = spawn_blocking(work).await;
    joined.map_err(|error| io_error("run a blocking task")(io::Error::other(error)))?
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> ExecError {
    move |source| ExecError::Io { what, source }
}
