//! Captured output: files that grow while a run lives, and then stand under the blake3 hash of their contents.
//!
//! `live/<run>.stdout` is written by the run itself. When it has ended, [`Outputs::adopt`] hashes the file and moves it to
//! `ab/<hash>`; equal outputs are stored once. Nothing here is in the log: an output that is lost with its host's disk is
//! lost, its outcome is not.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crdt::ids::Digest;
use crdt::task::Captured;

use crate::guard::RunKey;

/// A captured stream of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The store of a node.
#[derive(Debug)]
pub struct Outputs {
    dir: PathBuf,
}

impl Outputs {
    /// Opens the store and removes live files that an earlier process left: no run owns them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let live = dir.join("live");
        fs::create_dir_all(&live)?;
        for entry in fs::read_dir(&live)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Returns the file into which a live run writes a stream.
    #[must_use]
    pub fn live_path(&self, key: RunKey, stream: StreamName) -> PathBuf {
        let name = match stream {
            StreamName::Stdout => "stdout",
            StreamName::Stderr => "stderr",
        };
        self.dir.join("live").join(format!("{key}.{name}"))
    }

    /// Returns where contents with this digest are stored, if they are.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        self.dir.join(&hex[..2]).join(hex)
    }

    /// Hashes a live stream of an ended run and stores it. Blocks.
    ///
    /// # Errors
    /// The kernel's; the live file stays where it is then.
    pub fn adopt(&self, key: RunKey, stream: StreamName) -> io::Result<Captured> {
        let live = self.live_path(key, stream);
        let mut file = File::open(&live)?;
        let mut hasher = blake3::Hasher::new();
        let len = io::copy(&mut file, &mut hasher)?;
        if len == 0 {
            fs::remove_file(&live)?;
            return Ok(Captured::default());
        }
        let digest = Digest(*hasher.finalize().as_bytes());
        let stored = self.path(&digest);
        if let Some(folder) = stored.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::rename(&live, &stored)?;
        Ok(Captured { len, digest: Some(digest) })
    }

    /// Removes what a run wrote that has no outcome.
    ///
    /// # Errors
    /// The kernel's, but for files that are gone already.
    pub fn discard(&self, key: RunKey) -> io::Result<()> {
        for stream in [StreamName::Stdout, StreamName::Stderr] {
            match fs::remove_file(self.live_path(key, stream)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn equal_outputs_are_stored_once_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(dir.path()).unwrap();
        let write = |n, text: &str| {
            fs::write(outputs.live_path(RunKey(n), StreamName::Stdout), text).unwrap();
        };
        write(1, "same\n");
        write(2, "same\n");
        let first = outputs.adopt(RunKey(1), StreamName::Stdout).unwrap();
        let second = outputs.adopt(RunKey(2), StreamName::Stdout).unwrap();
        assert_eq!((first, first.len), (second, 5));
        let digest = first.digest.unwrap();
        assert_eq!(digest, Digest::of(b"same\n"));
        assert_eq!(fs::read(outputs.path(&digest)).unwrap(), b"same\n");
        write(3, "");
        assert_eq!(outputs.adopt(RunKey(3), StreamName::Stdout).unwrap(), Captured::default());
        write(4, "lost");
        outputs.discard(RunKey(4)).unwrap();
        write(5, "left over");
        Outputs::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("live")).unwrap().count(), 0);
    }
}
