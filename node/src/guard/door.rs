//! `<data>/runs/guard`: the socket by which a node that starts finds the guard of an earlier start.
//!
//! It lies in a directory that only its owner may enter, and is opened to its owner only. The kernel takes no path of more than
//! 107 bytes for a socket; so it is named through the open directory, `/proc/self/fd/N/guard`, which is always short. One node
//! at a time is let in, and only when the one before has gone: what that one had said last is heard first.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Name of the socket beside the records.
const NAME: &str = "guard";

/// The guard's end.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens the door beside `records`, in place of the one that a dead guard left. The caller holds the guard's lock.
    ///
    /// # Errors
    /// The kernel's; the guard must not work then, since nobody would find its runs.
    pub(super) fn open(records: &Path) -> io::Result<Self> {
        let path = beside(records);
        remove(&path)?;
        let listener = short(&path, UnixListener::bind)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Lets a node in; `None` if none waits.
    pub(super) fn let_in(&self) -> Option<UnixStream> {
        self.listener.accept().ok().map(|(stream, _)| stream)
    }

    /// Closes the door for good.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn close(self) -> io::Result<()> {
        remove(&self.path)
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Knocks at the door of the guard that keeps `records`.
///
/// # Errors
/// The kernel's: there is no door, or nobody behind it.
pub(crate) fn knock(records: &Path) -> io::Result<UnixStream> {
    short(&beside(records), UnixStream::connect)
}

fn beside(records: &Path) -> PathBuf {
    records.with_file_name(NAME)
}

fn short<T>(path: &Path, with: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
    with(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()).into())
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_door_is_found_however_long_its_path() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let records = deep.join("live");
        assert!(knock(&records).is_err());
        let first = Door::open(&records).unwrap();
        let mode = deep.join(NAME).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(first.let_in().is_none());
        let _guest = knock(&records).unwrap();
        assert!(first.let_in().is_some());
        // A guard that was killed leaves its door, with nobody behind it.
        drop(first);
        assert!(knock(&records).is_err());
        let second = Door::open(&records).unwrap();
        let _guest = knock(&records).unwrap();
        second.close().unwrap();
        assert!(!deep.join(NAME).exists());
    }
}
