//! The API's socket: a name in the file system, taken only where nobody answers. Of a node that runs as root everybody on its
//! host may connect, for it runs each one's tasks; of any other node its own user alone.
//!
//! The listening socket can be left to the program that follows in this process: who connects meanwhile waits for it, and is
//! refused by neither. A name is removed, or left, only as long as it is this socket's: see [`Place`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tracing::debug;

/// The API's socket. Its name is removed when it is dropped, unless it was left to a successor.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    place: Place,
    left: AtomicBool,
}

/// Which file a name stands for. A socket that is open keeps its file's number from being given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    /// What a name stands for now.
    ///
    /// # Errors
    /// The kernel's, such as that there is no such name.
    pub fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
        })
    }
}

/// A listening socket on its way to the next program, and where its name lies.
#[derive(Debug)]
pub struct Heirloom {
    /// The socket.
    pub listener: OwnedFd,
    /// Its name.
    pub path: PathBuf,
    /// What the name must still stand for.
    pub place: Place,
}

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("another node answers at {}; name another socket with --api", .0.display())]
    InUse(PathBuf),
    /// Something else is in the way.
    #[error("{} is no socket; remove it, or name another with --api", .0.display())]
    NotASocket(PathBuf),
    /// The kernel's.
    #[error("cannot listen at {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.left.load(Ordering::Relaxed) || !self.is_in_place() {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            debug!(%error, "the socket's name stays");
        }
    }
}

impl Socket {
    /// Listens at `path`, replacing a socket that nobody answers at. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`]; what was there is left there.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        clear_way(path)?;
        // Nobody can connect before the mode is set: the socket gets its name afterwards.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let early = PathBuf::from(name);
        let bound = UnixListener::bind(&early).and_then(|listener| {
            std::fs::set_permissions(&early, std::fs::Permissions::from_mode(mode()))?;
            let place = Place::of(&early)?;
            std::fs::rename(&early, path)?;
            Ok(Self::new(listener, path, place))
        });
        if bound.is_err() {
            // What failed is told already.
            let _removed = std::fs::remove_file(&early);
        }
        bound.map_err(failed)
    }

    /// Goes on with a socket that an earlier program left, if it is the one at `path`; else listens anew. To be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// As for [`Socket::bind`].
    pub fn inherit(path: &Path, heirloom: Heirloom) -> Result<Self, SocketError> {
        let is_it = heirloom.path == path && Place::of(path).is_ok_and(|at| at == heirloom.place);
        let listener = StdListener::from(heirloom.listener);
        if !is_it {
            drop(listener);
            return Self::bind(path);
        }
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener));
        match listener {
            Ok(listener) => Ok(Self::new(listener, path, heirloom.place)),
            Err(error) => {
                debug!(%error, "the socket that was left is of no use");
                Self::bind(path)
            }
        }
    }

    fn new(listener: UnixListener, path: &Path, place: Place) -> Self {
        Self {
            listener,
            path: path.to_owned(),
            place,
            left: AtomicBool::new(false),
        }
    }

    /// What clients connect to.
    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its name still stands for it: otherwise nobody can connect.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        Place::of(&self.path).is_ok_and(|place| place == self.place)
    }

    /// Leaves the socket, under its name, to the next program.
    ///
    /// # Errors
    /// The kernel's, when no descriptor is left; the name is removed at the end then.
    pub fn leave(&self) -> io::Result<Heirloom> {
        let listener = rustix::io::fcntl_dupfd_cloexec(self.listener.as_fd(), 3)?;
        self.left.store(true, Ordering::Relaxed);
        Ok(Heirloom {
            listener,
            path: self.path.clone(),
            place: self.place,
        })
    }
}

/// Who may connect.
fn mode() -> u32 {
    match rustix::process::geteuid().is_root() {
        true => 0o666,
        false => 0o600,
    }
}

fn clear_way(path: &Path) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(meta) if !meta.file_type().is_socket() => Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(SocketError::InUse(path.to_owned()))
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn the_socket_has_its_mode_and_replaces_a_stale_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/aque.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            mode()
        );
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        // As after a crash: the name is left over, nobody answers.
        drop(socket);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Socket::bind(&path).unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Socket::bind(&path),
            Err(SocketError::NotASocket(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_socket_that_was_left_is_taken_up_with_those_who_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aque.sock");
        let socket = Socket::bind(&path).unwrap();
        let heirloom = socket.leave().unwrap();
        drop(socket);
        let _waits = UnixStream::connect(&path).unwrap();
        let socket = Socket::inherit(&path, heirloom).unwrap();
        socket.listener().accept().await.unwrap();
        // Elsewhere, or where another has taken the name, it is of no use.
        let heirloom = socket.leave().unwrap();
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        let socket = Socket::inherit(&path, heirloom).unwrap();
        assert!(socket.is_in_place());
        let _waits = UnixStream::connect(&path).unwrap();
        socket.listener().accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_name_that_another_took_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aque.sock");
        let first = Socket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!first.is_in_place());
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(second.is_in_place() && UnixStream::connect(&path).is_ok());
    }
}
