//! How runs end, and with them their task.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, Epoch, Tag};
use crate::time::Wall;

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
    /// Read from disks, bytes.
    pub read_bytes: u64,
    /// Written to disks, bytes.
    pub written_bytes: u64,
}

/// What the kernel kept a run to: one byte, a bit for each fact, so that facts which are not known here pass through unharmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Limits(u8);

impl Limits {
    /// A process of it was killed for want of memory.
    pub const OUT_OF_MEMORY: Self = Self(1);
    /// It could take no more memory than was stated.
    pub const MEMORY: Self = Self(2);
    /// It could take no more processors than were stated.
    pub const CPUS: Self = Self(4);

    /// Says whether all facts of `which` are among these.
    #[must_use]
    pub fn has(self, which: Self) -> bool {
        self.0 & which.0 == which.0
    }
}

impl FromIterator<Self> for Limits {
    fn from_iter<I: IntoIterator<Item = Self>>(facts: I) -> Self {
        Self(facts.into_iter().fold(0, |all, Self(fact)| all | fact))
    }
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
    /// What the kernel kept it to.
    pub limits: Limits,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_sets_of_facts() {
        let none: Limits = [].into_iter().collect();
        assert_eq!(none, Limits::default());
        assert!(!none.has(Limits::CPUS));
        let both: Limits = [Limits::CPUS, Limits::OUT_OF_MEMORY].into_iter().collect();
        assert!(both.has(Limits::CPUS) && both.has(Limits::OUT_OF_MEMORY));
        assert!(!both.has(Limits::MEMORY));
        // As before there were others: whether memory ran out.
        let bytes = postcard::to_stdvec(&(Limits::OUT_OF_MEMORY, Limits::default()));
        assert_eq!(bytes.ok(), postcard::to_stdvec(&(true, false)).ok());
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
