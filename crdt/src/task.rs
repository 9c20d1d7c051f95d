//! Tasks: what a person submits, how a run ended, and the states that people read.
//!
//! A [`TaskSpec`] is immutable once written. An [`Outcome`] says how one run ended; it is final or asks for another run.
//! Units: cpus in thousandths, memory in bytes, times in milliseconds of the wall clock, usage in microseconds.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{Digest, Epoch, PeerId, Tag, TaskId};
use crate::time::{Hlc, Wall};

/// An operating-system string: bytes, mostly UTF-8. JSON shows it as text, or as `{"base64": "…"}` when it is not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Arg(pub Vec<u8>);

impl Arg {
    /// Returns the text, with replacement characters where it is not UTF-8.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ArgForm<'a> {
    Text(Cow<'a, str>),
    Bytes { base64: String },
}

impl Serialize for Arg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) => ArgForm::Text(text.into()),
            Err(_) => ArgForm::Bytes {
                base64: BASE64.encode(&self.0),
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Vec::<u8>::deserialize(deserializer).map(Self);
        }
        match ArgForm::deserialize(deserializer)? {
            ArgForm::Text(text) => Ok(Self(text.into_owned().into_bytes())),
            ArgForm::Bytes { base64 } => BASE64
                .decode(base64.as_bytes())
                .map(Self)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// Environment variables, sorted by name.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Environment(pub Vec<(Arg, Arg)>);

impl Environment {
    /// Returns the content address under which a segment stores it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("aque 2026 environment");
        for (key, value) in &self.0 {
            for part in [key, value] {
                hasher.update(&(part.0.len() as u64).to_le_bytes());
                hasher.update(&part.0);
            }
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

/// What a task asks of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Needs {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// Bytes; 0 = unstated.
    pub memory_bytes: u64,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            cpu_milli: 1_000,
            memory_bytes: 0,
        }
    }
}

/// What becomes of a task whose host was lost while it ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// Run it again elsewhere once the lease has run out.
    #[default]
    Retry,
    /// Wait for that host, however long: it alone knows what became of the run. Votes are never freed by silence, so this
    /// needs no clock.
    Wait,
    /// End it as lost once the lease has run out.
    Fail,
}

/// Where a task may run while the mesh is split.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPartition {
    /// Only where a majority of its committee answers: never twice at once.
    #[default]
    Wait,
    /// On any host that can be reached: both sides of a split may run it, and one result counts.
    Run,
}

/// Membership of a group: which one, the place in it, and how many of it may run at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// The group's own task id.
    pub group: TaskId,
    /// Place in the order of input, from 0.
    pub index: u32,
    /// At most this many members run at once, mesh-wide; 0 = no limit.
    pub window: u32,
}

/// What a record of a segment is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A command to run; never empty. With `shell`, the first word is a script and the rest its `$@`.
    Command {
        /// Program and arguments.
        argv: Vec<Arg>,
        /// Run through a shell (its program), or directly.
        shell: Option<Arg>,
    },
    /// A group: never runs; its state is that of its members.
    Group {
        /// How many members there are, once that is known.
        size: Option<u32>,
    },
}

/// What a person submits. Immutable; at most [`TaskSpec::MAX_BYTES`] encoded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The command, or that it is a group.
    pub work: Work,
    /// For people.
    pub name: Option<String>,
    /// Working directory, absolute.
    pub cwd: Arg,
    /// Content address of the environment, stored once a segment.
    pub env: Option<Digest>,
    /// Variables on top of it.
    pub extra_env: Environment,
    /// What a host must have free.
    pub needs: Needs,
    /// Higher first.
    pub priority: i32,
    /// These must succeed first.
    pub after: Vec<TaskId>,
    /// The group it belongs to.
    pub member_of: Option<Membership>,
    /// Name of the submitting user, for people.
    pub user: String,
    /// User id of the submitting user on the submitting host.
    pub uid: u32,
    /// When it was submitted.
    pub created: Wall,
    /// How many more times it may run after a failure.
    pub retries: u32,
    /// What happens when its host is lost.
    pub on_lost: OnLost,
    /// Where it may run while the mesh is split.
    pub on_partition: OnPartition,
}

impl TaskSpec {
    /// The largest encoded size of one spec.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The priority of a task that states none.
    pub const DEFAULT_PRIORITY: i32 = 1_000;

    /// Returns a spec of `argv` with every default.
    #[must_use]
    pub fn command<A: Into<Arg>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            work: Work::Command {
                argv: argv.into_iter().map(Into::into).collect(),
                shell: None,
            },
            name: None,
            cwd: Arg::from("/"),
            env: None,
            extra_env: Environment::default(),
            needs: Needs::default(),
            priority: Self::DEFAULT_PRIORITY,
            after: Vec::new(),
            member_of: None,
            user: String::new(),
            uid: 0,
            created: Wall(0),
            retries: 0,
            on_lost: OnLost::Retry,
            on_partition: OnPartition::Wait,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// Its exit code.
    Code(i32),
    /// The signal that ended it.
    Signal(i32),
}

/// One captured stream of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Captured {
    /// Length in bytes.
    pub len: u64,
    /// Content address; `None` for an empty stream.
    pub digest: Option<Digest>,
}

/// What a run used, by the kernel's count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User CPU time, microseconds.
    pub user_us: u64,
    /// System CPU time, microseconds.
    pub system_us: u64,
    /// Largest resident set, KiB.
    pub max_rss_kib: u64,
}

/// What a finished run left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// How it ended.
    pub exit: Exit,
    /// When it was started.
    pub started: Wall,
    /// When it ended.
    pub ended: Wall,
    /// What it used.
    pub usage: Usage,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
}

/// The meaning of an outcome, decided by its writer alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// Exit code 0.
    Success,
    /// A failure that is not tried again; text for failures without a process (`command not found`).
    Failure(Option<String>),
    /// Ended because a person asked.
    Killed,
    /// Never started, because a person asked.
    Cancelled,
    /// A failure that asks for another run: frees the task, is never committed.
    Retry,
    /// Its host was lost with its run, and it asks for no other.
    Lost,
}

impl Verdict {
    /// Says whether an outcome of this verdict may be committed.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Retry)
    }
}

/// How a task ended, or how one run did: the value of an outcome register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The epoch and claimant that first wrote it; kept when a later claimant adopts it.
    pub origin: (Epoch, Tag),
    /// What it means.
    pub verdict: Verdict,
    /// What the run left; `None` where nothing ran.
    pub report: Option<RunReport>,
    /// A person's reason, for a kill or a cancellation.
    pub reason: Option<String>,
}

/// The digest by which votes name an outcome: 16 bytes of blake3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OutcomeDigest(pub [u8; 16]);

impl fmt::Debug for OutcomeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl Outcome {
    /// Returns the digest by which votes name this outcome.
    ///
    /// # Panics
    /// Never: an outcome always encodes.
    #[must_use]
    pub fn digest(&self) -> OutcomeDigest {
        let bytes = postcard::to_stdvec(self).expect("an outcome encodes");
        let hash = blake3::derive_key("aque 2026 outcome", &bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        OutcomeDigest(short)
    }
}

/// What a person wants of a task after its submission; the newest stamp wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Want {
    /// Orders wants.
    pub stamp: Hlc,
    /// Who asked, for people.
    pub by: String,
    /// What.
    pub wish: Wish,
}

/// The kinds of [`Want`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// End it: cancel if it has not started, else `signal`, then SIGKILL after `grace`.
    Kill {
        /// The first signal's number.
        signal: i32,
        /// How long it gets.
        grace: Duration,
        /// A person's reason.
        reason: Option<String>,
    },
    /// A group has so many members, and no more will come.
    Close {
        /// How many.
        size: u32,
    },
    /// A person's word that no run of it at this epoch or below is alive, though its host cannot be asked.
    Retry {
        /// The epoch of the run that was lost. The replica that takes the wish puts in the highest that it knows.
        lost: Epoch,
    },
}

/// The states that people read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Its spec has not arrived here yet.
    Creating,
    /// Waits for a host.
    Pending,
    /// Waits for other tasks.
    Blocked,
    /// Waits for a person.
    Held,
    /// A host holds it and has not started it.
    Claimed,
    /// A host runs it.
    Running,
    /// Ended well.
    Success,
    /// Ended badly.
    Error,
    /// Ended by a person.
    Killed,
    /// Ended before it began.
    Cancelled,
    /// Its host was lost.
    Lost,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 11] = [
        Self::Creating,
        Self::Pending,
        Self::Blocked,
        Self::Held,
        Self::Claimed,
        Self::Running,
        Self::Success,
        Self::Error,
        Self::Killed,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Says whether nothing more will happen (COMPLETE).
    #[must_use]
    pub fn is_complete(self) -> bool {
        match self {
            Self::Success | Self::Error | Self::Killed | Self::Cancelled | Self::Lost => true,
            Self::Creating
            | Self::Pending
            | Self::Blocked
            | Self::Held
            | Self::Claimed
            | Self::Running => false,
        }
    }

    /// Returns the name that people type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Pending => "pending",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Success => "success",
            Self::Error => "error",
            Self::Killed => "killed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Everything a status line shows of a task.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskView {
    /// Which task.
    pub id: TaskId,
    /// What was submitted.
    pub spec: std::sync::Arc<TaskSpec>,
    /// Where it stands.
    pub state: TaskState,
    /// Why it stands there: `exit 3`, `signal 9`, `dependency ID`, …
    pub reason: Option<String>,
    /// The host that holds or held it last.
    pub host: Option<PeerId>,
    /// The highest epoch at which it was claimed.
    pub epoch: Epoch,
    /// How many runs were started, as far as is known here.
    pub attempts: u32,
    /// When its latest run started, by its host's wall clock.
    pub started: Option<Wall>,
    /// The committed outcome.
    pub outcome: Option<std::sync::Arc<Outcome>>,
    /// For a group: members by state, in the order of [`TaskState::ALL`].
    pub members: Option<[u32; 11]>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn arguments_survive_json_and_the_wire() {
        for bytes in [b"plain".to_vec(), b"\xff\xfe\x00x".to_vec(), Vec::new()] {
            let arg = Arg(bytes);
            let json = serde_json::to_string(&arg).unwrap();
            assert_eq!(serde_json::from_str::<Arg>(&json).unwrap(), arg);
            let wire = postcard::to_stdvec(&arg).unwrap();
            assert_eq!(postcard::from_bytes::<Arg>(&wire).unwrap(), arg);
        }
    }

    #[test]
    fn digest_names_the_whole_outcome() {
        let first = Outcome {
            origin: (Epoch(1), Tag(1)),
            verdict: Verdict::Success,
            report: None,
            reason: None,
        };
        let second = Outcome {
            origin: (Epoch(2), Tag(1)),
            ..first.clone()
        };
        assert_ne!(first.digest(), second.digest());
        assert_eq!(first.digest(), first.clone().digest());
    }
}
