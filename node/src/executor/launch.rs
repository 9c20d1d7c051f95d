//! Starting a guard: alone with its data directory, and over nobody's living runs.

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
use tracing::{debug, info};

use super::{ExecConfig, ExecError, Program, leftovers};
use crate::guard::frame::Decoder;
use crate::guard::{Reply, VERB, protocol};
use crate::lock::{Lock, open_lock, private_dir, try_lock};

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
}

/// A guard's process and the node's end of its socket.
#[derive(Debug)]
pub(super) struct Guard {
    /// The socket.
    pub(super) stream: UnixStream,
    /// What was read and not yet understood.
    pub(super) decoder: Decoder,
    child: Child,
}

impl Guard {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the socket and waits for the guard's end, which is also that of its runs; kills it
    /// first if `how` says so. Returns what is known about its end.
    pub(super) async fn end(self, how: Farewell) -> String {
        let Self {
            stream, mut child, ..
        } = self;
        drop(stream);
        let waited = spawn_blocking(move || {
            if how == Farewell::Kill {
                child.kill()?;
            }
            child.wait()
        });
        match waited.await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// How a guard is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It ends by itself once its runs have.
    Leave,
    /// It is of no use any more.
    Kill,
}

impl Launcher {
    /// Prepares the data directory and this process.
    pub(super) fn new(config: &ExecConfig) -> Result<Self, ExecError> {
        let data =
            std::path::absolute(&config.data).map_err(io_error("find the data directory"))?;
        let runs = data.join("runs");
        private_dir(&data)
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
        })
    }

    /// Waits for the end of a former guard, clears what it left, starts a new one and hears its
    /// first word.
    pub(super) async fn launch(&self) -> Result<Guard, ExecError> {
        let lock = self.take_lock().await?;
        let this = self.clone();
        let (stream, child) = blocking(move || this.spawn(lock)).await?;
        let stream = UnixStream::from_std(stream).map_err(io_error("use the guard's socket"))?;
        let mut guard = Guard {
            stream,
            decoder: Decoder::default(),
            child,
        };
        match hear_ready(&mut guard).await {
            Ok(()) => {
                debug!(pid = guard.pid(), "guard works");
                Ok(guard)
            }
            Err(error) => {
                let end = guard.end(Farewell::Kill).await;
                Err(ExecError::NoGuard(format!("{error}; {end}")))
            }
        }
    }

    /// Kills what a guard that died left, and waits until it is gone.
    pub(super) async fn clear(&self) -> Result<(), ExecError> {
        let records = self.records.clone();
        let what = io_error("clear what a lost guard left");
        blocking(move || leftovers::clear(&records).map_err(what)).await
    }

    async fn take_lock(&self) -> Result<File, ExecError> {
        let what = || io_error("lock <data>/guard.lock");
        let file = open_lock(&self.lock).map_err(what())?;
        let (mut pause, mut tries) = (TRY_AGAIN.0, 0);
        while try_lock(&file).map_err(what())? == Lock::Theirs {
            tries += 1;
            if tries == TELL_AFTER {
                info!(lock = %self.lock.display(), "waiting for a former guard to end its runs");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TRY_AGAIN.1);
        }
        Ok(file)
    }

    /// Starts the guard with the lock as its output: held as long as it lives, and not by this
    /// process.
    fn spawn(&self, lock: File) -> Result<(StdStream, Child), ExecError> {
        leftovers::clear(&self.records).map_err(io_error("clear what a former guard left"))?;
        let (ours, theirs) = StdStream::pair().map_err(io_error("make a socket"))?;
        ours.set_nonblocking(true)
            .map_err(io_error("make a socket"))?;
        let child = Command::new(&self.program)
            .arg0("aque-node")
            .arg(VERB)
            .arg(&self.records)
            .arg(format!("{:016x}", fastrand::u64(1..)))
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

async fn hear_ready(guard: &mut Guard) -> Result<(), ExecError> {
    let mut buffer = [0; 256];
    loop {
        match guard.decoder.next()? {
            Some(Reply::Ready {
                version: protocol::VERSION,
            }) => return Ok(()),
            Some(other) => return Err(ExecError::NoGuard(format!("it said {other:?}"))),
            None => {}
        }
        guard
            .stream
            .readable()
            .await
            .map_err(io_error("hear the guard"))?;
        match guard.stream.try_read(&mut buffer) {
            Ok(0) => return Err(ExecError::NoGuard("it said nothing".into())),
            Ok(bytes) => guard.decoder.push(&buffer[..bytes]),
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
