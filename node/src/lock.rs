//! The data directory: private to its owner (who is root lets others pass through), and to one daemon at a time.
//!
//! A lock of the kernel (`flock`) on `<data>/lock` is held as long as the daemon lives, however it
//! ends, so nothing stale is left to be removed by hand. The file also names the holder, for the
//! message that a second daemon prints.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A data directory that this process owns until the value is dropped.
#[derive(Debug)]
pub struct DirLock {
    dir: PathBuf,
    file: File,
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
    /// Makes `dir` with mode 0700 (as root: [`passable_dir`]) if it is missing, takes away others'
    /// access if it is there, and locks it.
    ///
    /// # Errors
    /// [`LockError::InUse`] names the process that holds it; [`LockError::Unusable`] says what
    /// failed.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable {
            dir: dir.to_owned(),
            source,
        };
        passable_dir(dir).map_err(unusable)?;
        let file = open_lock(&dir.join("lock")).map_err(unusable)?;
        Self::with(dir, file)
    }

    /// Goes on with the lock that an earlier program of this process left as an open file; takes it anew if that is another.
    ///
    /// # Errors
    /// As for [`DirLock::take`].
    pub fn inherit(dir: &Path, left: OwnedFd) -> Result<Self, LockError> {
        let left = File::from(left);
        let number =
            |meta: io::Result<std::fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
        let wanted = number(dir.join("lock").metadata());
        if wanted.is_some() && number(left.metadata()) == wanted {
            return Self::with(dir, left);
        }
        drop(left);
        Self::take(dir)
    }

    fn with(dir: &Path, mut file: File) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable {
            dir: dir.to_owned(),
            source,
        };
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
            file,
        })
    }

    /// The directory that is held.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The open file that holds the lock: whoever has it open keeps the lock.
impl AsFd for DirLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
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
    own_dir(dir, 0)
}

/// Makes a directory as [`private_dir`] does; but where this process is root, others may pass through it to what lies in it and is
/// open to them. They cannot list it.
///
/// # Errors
/// The kernel's.
pub(crate) fn passable_dir(dir: &Path) -> io::Result<()> {
    own_dir(dir, passage())
}

/// What others may do with a directory that is passable.
fn passage() -> u32 {
    match rustix::process::geteuid().is_root() {
        true => 0o011,
        false => 0,
    }
}

fn own_dir(dir: &Path, others: u32) -> io::Result<()> {
    let own = 0o700 | others;
    DirBuilder::new().recursive(true).mode(own).create(dir)?;
    let mode = dir.metadata()?.permissions().mode();
    if mode & 0o077 != others {
        let mode = mode & 0o7700 | others;
        std::fs::set_permissions(dir, Permissions::from_mode(mode))?;
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
    fn an_open_file_keeps_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, other) = (temp.path().join("data"), temp.path().join("other"));
        let held = DirLock::take(&dir).unwrap();
        let left = held.as_fd().try_clone_to_owned().unwrap();
        let stray = held.as_fd().try_clone_to_owned().unwrap();
        drop(held);
        assert!(matches!(DirLock::take(&dir), Err(LockError::InUse { .. })));
        let held = DirLock::inherit(&dir, left).unwrap();
        assert!(matches!(DirLock::take(&dir), Err(LockError::InUse { .. })));
        // That of another directory is let go.
        let elsewhere = DirLock::inherit(&other, stray).unwrap();
        drop(held);
        DirLock::take(&dir).unwrap();
        assert!(matches!(
            DirLock::take(&other),
            Err(LockError::InUse { .. })
        ));
        drop(elsewhere);
    }

    #[test]
    fn mode_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let _held = DirLock::take(&dir).unwrap();
        let mode = |dir: &Path| dir.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700 | passage());
        private_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        passable_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700 | passage());
        assert_eq!(passage() & !0o011, 0, "nobody else reads or writes");
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
