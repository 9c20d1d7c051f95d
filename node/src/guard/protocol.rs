//! What a node and its guard say to each other.
//!
//! Both are the same program, so there is one version of this at a time; [`VERSION`] catches the
//! rest. Times are [`Duration`]s since boot ([`crate::clock::boottime`]). Paths, arguments and
//! environment are bytes: Linux does not promise text.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::trees::Trees;

/// Version of the messages, told in [`Reply::Ready`].
pub const VERSION: u32 = 7;

/// A node's handle for one run. Never used twice in the life of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey(pub u64);

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a node calls a run in its own words: kept by the guard, told to the node's next start, never looked into.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Label(pub [u8; 16]);

/// A node's handle for an environment that it defined once for many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EnvId(pub u64);

/// Name and value of an environment variable.
pub type Var = (Vec<u8>, Vec<u8>);

/// From the node to the guard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Keep these variables under this id; the node forgets what it no longer needs.
    DefineEnv {
        /// A fresh id.
        id: EnvId,
        /// The variables, in the order in which the run is to find them.
        vars: Vec<Var>,
    },
    /// Drop a defined environment. Runs that have started keep it.
    ForgetEnv {
        /// The id of its definition.
        id: EnvId,
    },
    /// Start a run.
    Start(Box<StartRun>),
    /// Move a run's deadline back; ignored once it has passed, and when it is not later.
    Extend {
        /// Which run.
        key: RunKey,
        /// The new deadline.
        deadline: Duration,
    },
    /// Send a signal to a run's process group.
    Signal {
        /// Which run.
        key: RunKey,
        /// Number of the signal.
        signo: i32,
    },
    /// End a run at once, with all that it started.
    Kill {
        /// Which run.
        key: RunKey,
    },
    /// Say [`Reply::Alive`].
    AreYouAlive,
    /// The node has made durable what it wants to keep of a run's end: forget it.
    Forget {
        /// Which run.
        key: RunKey,
    },
    /// Start nothing more, ask all runs to end, kill those that have not ended after `grace`, then
    /// exit.
    Shutdown {
        /// Time between `SIGTERM` and `SIGKILL`.
        grace: Duration,
    },
}

/// All that a guard must know to start a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRun {
    /// The node's handle.
    pub key: RunKey,
    /// What the node calls it.
    pub label: Label,
    /// What the node wants to be told of it again while it lives; never looked into.
    pub memo: Vec<u8>,
    /// Program and arguments; the program is looked up in the run's own `PATH`.
    pub argv: Vec<Vec<u8>>,
    /// A defined environment.
    pub env: EnvId,
    /// Variables of this run alone; they win over those of `env`.
    pub extra: Vec<Var>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Where input comes from.
    pub stdin: Stdin,
    /// Where output goes.
    pub stdout: Sink,
    /// Where errors go; the same as `stdout` puts both in one file, in the order of writing.
    pub stderr: Sink,
    /// The instant at which the run is killed, and from which on it is not started.
    pub deadline: Duration,
    /// Added niceness, 0 to 19.
    pub nice: u8,
    /// How much of its host it gets.
    pub bounds: Bounds,
    /// As whom it is started; none: as the guard's own user.
    pub person: Option<Person>,
}

impl StartRun {
    /// Returns the files that the task names for its streams; a relative path starts at the working directory.
    pub(super) fn named_files(&self) -> impl Iterator<Item = &Path> {
        let input = match &self.stdin {
            Stdin::File(path) => Some(Path::new(OsStr::from_bytes(path))),
            Stdin::Null | Stdin::Stored(_) | Stdin::Bytes(_) => None,
        };
        let all = [input, self.stdout.named(), self.stderr.named()];
        all.into_iter().flatten()
    }

    /// Says whether what comes before its execution is in the hands of others: of a directory of users, or of whoever opens the other end
    /// of a pipe.
    pub(super) fn may_hang(&self) -> bool {
        self.person.is_some() || self.named_files().next().is_some()
    }
}

/// How much of its host a run gets, where that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The most memory, bytes; none: what there is.
    pub memory: Option<u64>,
    /// The most of the processors, thousandths of one; none: what there is.
    pub cpus: Option<u32>,
    /// Its part of them where runs compete, thousandths of one.
    pub part: u32,
}

impl Default for Bounds {
    /// Those of a run that states nothing.
    fn default() -> Self {
        Self {
            memory: None,
            cpus: None,
            part: 1_000,
        }
    }
}

/// Which limits were in force for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// Of its memory.
    pub memory: bool,
    /// Of its processors.
    pub cpus: bool,
}

/// As whom a run is started that is not the guard's own user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The user's name; looked up on this machine, just before the start.
    pub user: String,
    /// The name of a group in place of the user's own.
    pub group: Option<String>,
    /// How far the word counts that named them.
    pub latitude: Latitude,
    /// Where the run's variables come from.
    pub surroundings: Surroundings,
    /// Files in which it may say something to the node: made for it, where nobody but the node makes any.
    pub files: Vec<PathBuf>,
}

/// How far the word counts that named a user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Latitude {
    /// The user is not root, and is in the group.
    Ordinary,
    /// The user may be root.
    EvenRoot,
    /// And need not be in the group: root has said so.
    AnyGroup,
}

/// Whose the variables of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Surroundings {
    /// The user's own: what they do not say of home and shell is added.
    Own,
    /// Another's, who submitted for the user: home and shell are the user's all the same.
    Anothers,
}

/// Where a run's input comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// A file; a relative path starts at the working directory.
    File(Vec<u8>),
    /// A file of the node's; absolute. It is opened with the node's rights, whoever the run's user is.
    Stored(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A file that takes what a run writes: made, or emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sink {
    /// The node's: its size is told at the end, and an empty one is removed.
    Captured(PathBuf),
    /// The run's own; a relative path starts at the working directory.
    File(PathBuf),
}

impl Sink {
    /// Returns the file, if the task names it.
    fn named(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Captured(_) => None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Captured(path) | Self::File(path) => path,
        }
    }
}

/// From the guard to the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// First of all: the guard works.
    Ready {
        /// [`VERSION`] of the guard.
        version: u32,
        /// Its process id.
        pid: u32,
    },
    /// Second, and whenever that changes: how processes of runs are ended.
    Trees(Trees),
    /// Then, one by one: the runs that the guard has, and the ends that no node has had it forget.
    Found(Found),
    /// That was all of them.
    Listed,
    /// The answer to [`Request::AreYouAlive`].
    Alive,
    /// The program runs.
    Started {
        /// Which run.
        key: RunKey,
        /// Process id of its leader, which is also the number of its process group and its session.
        pid: i32,
        /// When.
        at: Duration,
    },
    /// The run was not started and will not be; nothing of it lives.
    Refused {
        /// Which run.
        key: RunKey,
        /// Why.
        why: Refusal,
    },
    /// Nothing of the run lives any more.
    Ended(Ended),
    /// The run should have ended, but these processes resist `SIGKILL` so far (another user's, or
    /// stuck in the kernel). Told once a run; [`Reply::Ended`] follows when they are gone.
    Stuck {
        /// Which run.
        key: RunKey,
        /// The processes that were found, at most 16.
        pids: Vec<i32>,
    },
}

/// A run that a guard had before a node came to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The handle that it was started with.
    pub key: RunKey,
    /// What the node called it.
    pub label: Label,
    /// The memo of its order; empty once it has ended.
    pub memo: Vec<u8>,
    /// When a node first asked for a signal or for its end, if one did.
    pub asked: Option<Duration>,
    /// What there is of it.
    pub state: FoundState,
}

/// What there is of a run that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FoundState {
    /// It lives, or its end has not been seen yet; that is told as any run's.
    Alive {
        /// When it was started.
        started_at: Duration,
        /// When it is killed.
        deadline: Duration,
    },
    /// It has ended.
    Ended(Ended),
}

/// Why a run was not started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Its deadline had passed.
    #[error("the deadline had passed before the run could start")]
    DeadlinePassed,
    /// The guard is about to exit.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The guard died before it could start the run.
    #[error("the guard ended before the run could start")]
    GuardLost,
    /// The order makes no sense: a mistake of the node, not of a person.
    #[error("bad order: {0}")]
    BadOrder(String),
    /// The working directory cannot be entered.
    #[error("working directory {path}: {}", errno_text(*errno))]
    Cwd {
        /// The directory.
        path: String,
        /// The kernel's error number.
        errno: i32,
    },
    /// The file for input cannot be read.
    #[error("input file {path}: {}", errno_text(*errno))]
    Stdin {
        /// The file.
        path: String,
        /// The kernel's error number.
        errno: i32,
    },
    /// A file for output cannot be made.
    #[error("output file {path}: {}", errno_text(*errno))]
    Output {
        /// The file.
        path: String,
        /// The kernel's error number.
        errno: i32,
    },
    /// The program cannot be executed.
    #[error("program {program}: {}", program_text(program, *errno))]
    Program {
        /// The first argument.
        program: String,
        /// The kernel's error number.
        errno: i32,
    },
    /// The user as whom it is to run is not there.
    #[error("there is no user {0} on this host")]
    NoUser(String),
    /// The group as which it is to run is not there.
    #[error("there is no group {0} on this host")]
    NoGroup(String),
    /// The user is not in the group.
    #[error("{user} is not in group {group} on this host")]
    NotInGroup {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// The user is root, and the task was submitted on another host.
    #[error("{0} is root on this host, which takes no task of root from another")]
    Root(String),
    /// The process could not become that user.
    #[error("cannot run as {user}: {}", errno_text(*errno))]
    Become {
        /// The user.
        user: String,
        /// The kernel's error number.
        errno: i32,
    },
    /// What was to become that user ended before.
    #[error("it could not be started as another user: {0}")]
    Launcher(String),
    /// No process could be made: too many, or too little memory.
    #[error("no new process: {}", errno_text(*errno))]
    Process {
        /// The kernel's error number.
        errno: i32,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which run.
    pub key: RunKey,
    /// What its leader said.
    pub how: How,
    /// Who wanted it.
    pub cause: Cause,
    /// What it used.
    pub usage: Usage,
    /// When its program was started.
    pub started_at: Duration,
    /// When its last process was gone.
    pub ended_at: Duration,
    /// Size of its captured output; the file of an empty one has been removed already.
    pub stdout_bytes: u64,
    /// Size of its captured errors; the file of an empty one has been removed already. 0 when both share
    /// a file.
    pub stderr_bytes: u64,
    /// The kernel has killed a process of it that would have taken more memory than it may.
    pub out_of_memory: bool,
    /// Which limits were in force.
    pub limited: Limited,
}

/// What a run's leader said at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signalled {
        /// Number of the signal.
        signo: i32,
        /// Whether it left a core dump.
        core: Core,
    },
}

/// Whether a core dump was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Core {
    /// Yes.
    Dumped,
    /// No.
    None,
}

/// Who wanted a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Nobody: the run came to its end.
    ByItself,
    /// The guard, at the deadline. Such a run has no outcome.
    DeadlineKill,
    /// The node: by `Kill`, by `Shutdown`, or by the very signal that ended it.
    Asked,
    /// The guard died, and its runs were killed with it. Such a run has no outcome.
    GuardLost,
}

/// What a run used: its leader, the descendants that were waited for, and the strays that were
/// found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in programs.
    pub utime_us: u64,
    /// Processor time in the kernel.
    pub stime_us: u64,
    /// Largest resident size of one process.
    pub max_rss_kib: u64,
    /// Blocks of 512 bytes read from disks.
    pub inblock: u64,
    /// Blocks of 512 bytes written to disks.
    pub oublock: u64,
}

impl Usage {
    /// Adds what another process of the same run used.
    pub(crate) fn add(&mut self, other: Self) {
        self.utime_us = self.utime_us.saturating_add(other.utime_us);
        self.stime_us = self.stime_us.saturating_add(other.stime_us);
        self.max_rss_kib = self.max_rss_kib.max(other.max_rss_kib);
        self.inblock = self.inblock.saturating_add(other.inblock);
        self.oublock = self.oublock.saturating_add(other.oublock);
    }
}

/// The usual text of an error number, without std's "(os error N)".
pub(crate) fn errno_text(errno: i32) -> String {
    match errno {
        libc::ENOENT => "does not exist".to_owned(),
        libc::ENOTDIR => "is not a directory".to_owned(),
        _ => {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            let end = text.rfind(" (os error").unwrap_or(text.len());
            text[..end].to_lowercase()
        }
    }
}

fn program_text(program: &str, errno: i32) -> String {
    match errno {
        libc::ENOENT if program.contains('/') => {
            "not found (it is missing, or if it is a script, its interpreter)".to_owned()
        }
        libc::ENOENT => "not found in PATH".to_owned(),
        libc::EACCES => "not executable, or its directory may not be entered".to_owned(),
        libc::E2BIG => "arguments and environment together are too long".to_owned(),
        libc::ENOEXEC => "not a program for this machine".to_owned(),
        libc::ENOTDIR => "not found (a part of its path is not a directory)".to_owned(),
        _ => errno_text(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_text_table() {
        let program = |program: &str, errno| Refusal::Program {
            program: program.into(),
            errno,
        };
        let rows = [
            (
                program("frob", libc::ENOENT),
                "program frob: not found in PATH",
            ),
            (
                program("./x", libc::EACCES),
                "program ./x: not executable, or its directory may not be entered",
            ),
            (
                Refusal::Cwd {
                    path: "/no".into(),
                    errno: libc::ENOENT,
                },
                "working directory /no: does not exist",
            ),
            (
                Refusal::Process {
                    errno: libc::EAGAIN,
                },
                "no new process: resource temporarily unavailable",
            ),
        ];
        for (refusal, text) in rows {
            assert_eq!(refusal.to_string(), text);
        }
    }
}
