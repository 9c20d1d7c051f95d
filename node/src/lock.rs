//! The data directory: private to its owner, and to one daemon at a time.
//!
//! A lock of the kernel (`flock`) on `<data>/lock` is held as long as the daemon lives, however it
//! ends, so nothing stale is left to be removed by hand. The file also names the holder, for the
//! message that a second daemon prints.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A data directory that this process owns until the value is dropped.
#[derive(Debug)]
pub struct DirLock {
    dir: PathBuf,
    _file: File,
}

/// Why a data directory could not be taken. Nothing was changed in it, but for its mode.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon works in the directory.
    #[error("data directory {} is in use by process {holder}", dir.display())]
    InUse {
        /// The directory that was asked for.
        dir: PathBuf,
        /// Process id of the holder, or what its lock file says instead.
        holder: String,
    },
    /// The directory or its lock file could not be made or opened.
    #[error("cannot use data directory {}: {source}", dir.display())]
    Unusable {
        /// The directory that was asked for.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl DirLock {
    /// Makes `dir` with mode 0700 if it is missing, takes away others' access if it is there, and
    /// locks it.
    ///
    /// # Errors
    /// [`LockError::InUse`] names the process that holds it; [`LockError::Unusable`] says what
    /// failed.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable {
            dir: dir.to_owned(),
            source,
        };
        private_dir(dir).map_err(unusable)?;
        let mut file = open_lock(&dir.join("lock")).map_err(unusable)?;
        match try_lock(&file) {
            Ok(Lock::Ours) => {}
            Ok(Lock::Theirs) => {
                let holder = read_holder(&mut file);
                return Err(LockError::InUse {
                    dir: dir.to_owned(),
                    holder,
                });
            }
            Err(source) => return Err(unusable(source)),
        }
        write_holder(&mut file).map_err(unusable)?;
        Ok(Self {
            dir: dir.to_owned(),
            _file: file,
        })
    }

    /// The directory that is held.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Whether a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// This open file holds it.
    Ours,
    /// Another open file holds it.
    Theirs,
}

/// Makes a directory (and its parents) that only its owner may enter, or makes an existing one so.
///
/// # Errors
/// The kernel's.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mode = dir.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(mode & 0o7700))?;
    }
    Ok(())
}

/// Opens a lock file, made if missing, for [`try_lock`].
///
/// # Errors
/// The kernel's.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Tries to lock an open file for this process; never waits.
///
/// # Errors
/// The kernel's, for a file system without locks.
pub(crate) fn try_lock(file: &File) -> io::Result<Lock> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Ours),
        Err(Errno::WOULDBLOCK) => Ok(Lock::Theirs),
        Err(error) => Err(error.into()),
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => pid.to_string(),
        _ => "(unknown)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn second_taker_is_told_who_holds() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("deep/data");
        let held = DirLock::take(&dir).unwrap();
        let text = DirLock::take(&dir).unwrap_err().to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains(&dir.display().to_string()), "{text}");
        drop(held);
        assert_eq!(DirLock::take(&dir).unwrap().dir(), dir);
    }

    #[test]
    fn mode_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let _held = DirLock::take(&dir).unwrap();
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(
            DirLock::take(&path),
            Err(LockError::Unusable { .. })
        ));
    }
}
