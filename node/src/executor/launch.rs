//! Coming by a guard: the one of an earlier start, or a new one, alone with its data directory and
//! over nobody's living runs.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_child_subreaper,
};
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tracing::{debug, info};

use super::{ExecConfig, ExecError, Program, leftovers};
use crate::guard::frame::Decoder;
use crate::guard::records::Kept;
use crate::guard::{Found, Reply, VERB, door, protocol};
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
    process: Process,
}

/// How a guard came to be this executor's.
#[derive(Debug)]
enum Process {
    /// It was started.
    Child(Child),
    /// It was met, the child of an earlier start.
    Met {
        /// Its process id.
        pid: u32,
        /// The process itself, whose number cannot be given to another meanwhile.
        handle: OwnedFd,
    },
}

impl Process {
    fn kill(&mut self) -> io::Result<()> {
        match self {
            Self::Child(child) => child.kill(),
            Self::Met { handle, .. } => match pidfd_send_signal(handle, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Blocks until it has ended. Returns what is known about its end.
    fn wait(&mut self) -> io::Result<String> {
        match self {
            Self::Child(child) => child.wait().map(|status| status.to_string()),
            Self::Met { handle, .. } => {
                while let Err(error) = poll(&mut [PollFd::new(handle, PollFlags::IN)], None) {
                    if error != Errno::INTR {
                        return Err(error.into());
                    }
                }
                Ok("it has ended".to_owned())
            }
        }
    }
}

impl Guard {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Met { pid, .. } => *pid,
        }
    }

    /// Closes the socket, and waits for the guard's end unless it is left to itself. Returns what is
    /// known about its end.
    pub(super) async fn end(self, how: Farewell) -> String {
        let Self {
            stream,
            mut process,
            ..
        } = self;
        drop(stream);
        if how == Farewell::Leave {
            return "left to itself".to_owned();
        }
        let waited = spawn_blocking(move || {
            if how == Farewell::Kill {
                process.kill()?;
            }
            process.wait()
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

    /// Meets the guard of an earlier start, or starts one when none is left; returns the runs that it
    /// has.
    pub(super) async fn launch(&self) -> Result<(Guard, Vec<Found>), ExecError> {
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

    async fn meet(&self) -> Result<(Guard, Vec<Found>), ExecError> {
        let what = || io_error("meet the former guard");
        let records = self.records.clone();
        let stream = blocking(move || door::knock(&records).map_err(what())).await?;
        let mut stream = tokio_stream(stream)?;
        let mut decoder = Decoder::default();
        let (pid, found) = hear_list(&mut stream, &mut decoder).await?;
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| ExecError::NoGuard(format!("process {pid}")))?;
        let handle =
            pidfd_open(number, PidfdFlags::empty()).map_err(|error| what()(error.into()))?;
        info!(
            pid,
            runs = found.len(),
            "going on with the guard of an earlier start"
        );
        let process = Process::Met { pid, handle };
        let guard = Guard {
            stream,
            decoder,
            process,
        };
        Ok((guard, found))
    }

    /// Clears what a dead guard left, starts a new one and hears its first words.
    async fn start(&self, lock: File) -> Result<(Guard, Vec<Found>), ExecError> {
        let this = self.clone();
        let (stream, child) = blocking(move || this.spawn(lock)).await?;
        let mut guard = Guard {
            stream: tokio_stream(stream)?,
            decoder: Decoder::default(),
            process: Process::Child(child),
        };
        match hear_list(&mut guard.stream, &mut guard.decoder).await {
            Ok((_, found)) => {
                debug!(pid = guard.pid(), "guard works");
                Ok((guard, found))
            }
            Err(error) => {
                let end = guard.end(Farewell::Kill).await;
                Err(ExecError::NoGuard(format!("{error}; {end}")))
            }
        }
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

/// Hears a guard's first words: its process id, and the runs that it has.
async fn hear_list(
    stream: &mut UnixStream,
    decoder: &mut Decoder,
) -> Result<(u32, Vec<Found>), ExecError> {
    let pid = match hear(stream, decoder).await? {
        Reply::Ready {
            version: protocol::VERSION,
            pid,
        } => pid,
        other => return Err(ExecError::NoGuard(format!("it said {other:?}"))),
    };
    let mut found = Vec::new();
    loop {
        match hear(stream, decoder).await? {
            Reply::Found(run) => found.push(run),
            Reply::Listed => return Ok((pid, found)),
            other => return Err(ExecError::NoGuard(format!("it said {other:?}"))),
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
