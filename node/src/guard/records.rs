//! `<data>/runs/live`: which processes a guard has started, for whoever comes after it.
//!
//! A guard that ends in order leaves nothing behind. One that is killed leaves this file, and with
//! it the next executor finds what still lives: by the sessions listed here, and by the guard's
//! mark in the environment of processes that left them. The file need not survive the machine: its
//! runs do not either, so it is never synced, and one of an earlier boot is ignored.
//!
//! Format: 64 bytes of header (magic, boot id, guard's mark), then slots of 32 bytes: key, pid,
//! start in nanoseconds since boot, all little-endian; a slot with pid 0 is free.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proc;
use super::protocol::RunKey;

const MAGIC: &[u8; 8] = b"aqruns01";
const HEADER_BYTES: usize = 64;
const SLOT_BYTES: usize = 32;

/// A run that was alive when its guard last wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The node's handle.
    pub(crate) key: RunKey,
    /// Its leader, process group and session.
    pub(crate) pid: i32,
    /// When it was started.
    pub(crate) started_at: Duration,
}

/// What a guard left behind in this boot of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// The guard's mark.
    pub(crate) guard: u64,
    /// Its runs.
    pub(crate) runs: Vec<Recorded>,
}

/// Place of a run in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(u32);

/// The file of a living guard.
#[derive(Debug)]
pub(super) struct Records {
    file: File,
    path: PathBuf,
    free: Vec<Slot>,
    used: u32,
}

impl Records {
    /// Makes the file anew.
    ///
    /// # Errors
    /// The kernel's; the guard must not work then.
    pub(super) fn create(path: &Path, guard: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..44].copy_from_slice(&proc::boot_id()?);
        header[48..56].copy_from_slice(&guard.to_le_bytes());
        file.write_all_at(&header, 0)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            free: Vec::new(),
            used: 0,
        })
    }

    /// Notes a run. That a full disk has no room for it is no reason not to run: its processes bear
    /// the guard's mark as well.
    pub(super) fn add(&mut self, run: Recorded) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            Slot(self.used - 1)
        });
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&run.key.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&run.pid.to_le_bytes());
        let nanos = u64::try_from(run.started_at.as_nanos()).unwrap_or(u64::MAX);
        bytes[16..24].copy_from_slice(&nanos.to_le_bytes());
        self.write(slot, &bytes);
        slot
    }

    /// Forgets a run.
    pub(super) fn clear(&mut self, slot: Slot) {
        self.write(slot, &[0; SLOT_BYTES]);
        self.free.push(slot);
    }

    /// Removes the file: nothing is left of this guard's runs.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn remove(self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            // With its whole directory: that was the node's.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn write(&self, slot: Slot, bytes: &[u8; SLOT_BYTES]) {
        let offset = HEADER_BYTES as u64 + u64::from(slot.0) * SLOT_BYTES as u64;
        // Nothing depends on success alone, see `add`.
        let _written = self.file.write_all_at(bytes, offset);
    }
}

/// Reads what a guard of this boot left behind; `None` if there is nothing, or nothing of this
/// boot.
///
/// # Errors
/// The kernel's.
pub(crate) fn read(path: &Path) -> io::Result<Option<Left>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Some((header, slots)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Ok(None);
    };
    if &header[..8] != MAGIC || header[8..44] != proc::boot_id()? {
        return Ok(None);
    }
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let recorded = |slot: &[u8]| Recorded {
        key: RunKey(number(&slot[..8])),
        pid: slot[8..12].try_into().map_or(0, i32::from_le_bytes),
        started_at: Duration::from_nanos(number(&slot[16..24])),
    };
    let runs = slots
        .chunks_exact(SLOT_BYTES)
        .map(recorded)
        .filter(|run| run.pid > 1)
        .collect();
    Ok(Some(Left {
        guard: number(&header[48..56]),
        runs,
    }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn run(key: u64) -> Recorded {
        let pid = 1000 + i32::try_from(key).unwrap();
        Recorded {
            key: RunKey(key),
            pid,
            started_at: Duration::new(5, 7),
        }
    }

    #[test]
    fn what_is_added_and_not_cleared_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("live");
        assert_eq!(read(&path).unwrap(), None);
        let mut records = Records::create(&path, 9).unwrap();
        let first = records.add(run(1));
        records.add(run(2));
        records.clear(first);
        records.add(run(3));
        records.add(run(4));
        let left = read(&path).unwrap().unwrap();
        assert_eq!(left.guard, 9);
        assert_eq!(left.runs, [run(3), run(2), run(4)]);
    }

    #[test]
    fn another_boot_and_a_cut_file_hold_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("live");
        Records::create(&path, 9).unwrap().add(run(1));
        let mut bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..40]).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        bytes[8] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
