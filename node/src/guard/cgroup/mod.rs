//! A cgroup for each run: whatever a run starts is in it, wherever it goes, and is killed with it.
//!
//! ```text
//! <the guard's own cgroup>/aque-<guard>/            locked (flock) as long as the guard lives
//!                                      <run>/       the run's processes; removed when the run is over
//! ```
//! A child is in its run's cgroup before it executes. No process leaves it without rights to the hierarchy, so that a process
//! group and `/proc`, by which a guard finds its runs' processes where it can make no cgroups, are only a second net here.
//!
//! **Gone** means that the kernel has removed the run's directory: it does so only when no process lives in it.
//!
//! The path is noted in `<data>/runs/cgroup`, for whoever ends what a killed guard left; and where nobody does, the next guard at
//! the same place clears what no living guard has locked. Limits are set on a run's directory, or on others in the hierarchies of
//! memory and of processors, between its making and its first process (see `limits`).

mod cpu;
mod find;
mod home;
mod limits;
mod means;
mod memory;
mod tree;
mod v1;
mod v2;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::protocol::RunKey;
pub(super) use home::Home;
pub(super) use limits::{Held, Limits};

/// First part of the name of a guard's directory.
const PREFIX: &str = "aque-";

/// Name of the file beside the records that tells where the cgroups of their guard are.
const NOTE: &str = "cgroup";

/// What the kernel calls the file systems of both versions (`linux/magic.h`).
const V1_MAGIC: i128 = 0x27e0eb;
const V2_MAGIC: i128 = 0x6367_7270;

/// A cgroup: a run's, or that of all runs of a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    directory: PathBuf,
    kind: Kind,
}

/// How its processes are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    V1,
    V2(v2::Kill),
}

impl Group {
    /// Looks at a directory.
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::Unsupported`] if it is no cgroup that can be killed.
    fn at(directory: PathBuf) -> io::Result<Self> {
        let kind = match i128::from(rustix::fs::statfs(&directory)?.f_type) {
            V1_MAGIC => v1::offer(&directory).map(|()| Kind::V1)?,
            V2_MAGIC => v2::offer(&directory).map(Kind::V2)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "this is no cgroup",
                ));
            }
        };
        Ok(Self { directory, kind })
    }

    /// The cgroups of the guard that kept these records, if it had any and they have not been cleared.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn noted(records: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(records.with_file_name(NOTE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let directory = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes));
        let named = directory.file_name().is_some_and(is_a_guards);
        if !named || !directory.is_absolute() || !directory.is_dir() {
            return Ok(None);
        }
        match Self::at(directory) {
            // Unmounted, or never one: there is nothing to clear.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            other => other.map(Some),
        }
    }

    /// That of one of the guard's runs, whether it is there or not.
    pub(crate) fn of_run(&self, key: RunKey) -> Self {
        self.below(&key.to_string())
    }

    fn below(&self, name: &str) -> Self {
        Self {
            directory: self.directory.join(name),
            kind: self.kind,
        }
    }

    /// Kills all of it. Bounded in time: what is stuck in the kernel may be left, so ask [`Group::is_gone`].
    pub(crate) fn kill(&self) {
        let at_once = self.kill_at_once();
        let killed = match self.kind {
            Kind::V1 => v1::kill(&self.directory),
            Kind::V2(_) if at_once => Ok(()),
            Kind::V2(_) => v2::kill_frozen(&self.directory),
        };
        if killed.is_err() {
            // Without a freezer some may escape this time: the caller looks again.
            let _listed = tree::kill_each(&self.directory);
        }
    }

    /// Kills all of it if that takes one system call's time; returns whether it does.
    pub(super) fn kill_at_once(&self) -> bool {
        self.kind == Kind::V2(v2::Kill::AtOnce) && v2::kill_at_once(&self.directory).is_ok()
    }

    /// The processes that live in it, as far as they can be listed.
    pub(crate) fn processes(&self) -> Vec<i32> {
        tree::processes(&self.directory).unwrap_or_default()
    }

    /// Removes it; whether nothing of it lives.
    pub(crate) fn is_gone(&self) -> bool {
        match tree::remove(&self.directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => false,
            // It cannot be removed any more, but perhaps be looked at.
            Err(_) => !self.is_populated().unwrap_or(true),
        }
    }

    fn is_populated(&self) -> io::Result<bool> {
        match self.kind {
            Kind::V1 => v1::is_populated(&self.directory),
            Kind::V2(_) => v2::is_populated(&self.directory),
        }
    }
}

/// Forgets where the cgroups of a guard were, of which nothing is left.
///
/// # Errors
/// The kernel's.
pub(crate) fn forget(records: &Path) -> io::Result<()> {
    match std::fs::remove_file(records.with_file_name(NOTE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn is_a_guards(name: &std::ffi::OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}

/// Which run of the guard with this directory a process belongs to, by its `/proc/PID/cgroup`.
fn run_of(directory: &str, cgroup: &str) -> Option<RunKey> {
    cgroup.lines().find_map(|line| {
        let mut parts = line.split('/').skip_while(|part| *part != directory);
        let key = parts.nth(1).filter(|key| key.len() == 16)?;
        u64::from_str_radix(key, 16).ok().map(RunKey)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn run_of_table() {
        let key = RunKey(0x2a);
        let rows = [
            (format!("7:freezer:/x/aque-1/{key}\n0::/\n"), Some(key)),
            (format!("0::/a/aque-1/{key}/below/it\n"), Some(key)),
            (format!("0::/a/aque-2/{key}\n"), None),
            ("0::/a/aque-1\n".to_owned(), None),
            ("0::/a/aque-1/probe\n".to_owned(), None),
            (String::new(), None),
        ];
        for (cgroup, expected) in rows {
            assert_eq!(run_of("aque-1", &cgroup), expected, "{cgroup}");
        }
    }

    #[test]
    fn what_is_noted_must_be_a_guards_cgroup() {
        let temp = tempfile::tempdir().unwrap();
        let records = temp.path().join("live");
        assert_eq!(Group::noted(&records).unwrap(), None);
        let ours = temp.path().join("aque-1");
        std::fs::create_dir(&ours).unwrap();
        let note =
            |text: &Path| std::fs::write(records.with_file_name(NOTE), text.as_os_str().as_bytes());
        for text in ["", "aque-1", "/", "/nowhere/aque-1"] {
            note(Path::new(text)).unwrap();
            assert_eq!(Group::noted(&records).unwrap(), None, "{text}");
        }
        note(&ours).unwrap();
        assert_eq!(Group::noted(&records).unwrap(), None);
        let error = Group::at(ours).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        forget(&records).unwrap();
        forget(&records).unwrap();
        assert_eq!(Group::noted(&records).unwrap(), None);
    }
}
