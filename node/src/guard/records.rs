//! `<data>/runs/live`: the runs of a guard, for whoever comes after it.
//!
//! Two things are written here. Which processes a guard has started: one that is killed leaves them, and by this file the next
//! executor finds what still lives (by the sessions listed here, and by the guard's mark in the environment of processes that
//! left them). And how runs ended, until the node has made that durable: an end outlives its node, and its guard as well.
//!
//! The file must outlive processes, not the machine: with the machine all runs are gone and their leases run out. So it is
//! never synced, and one of an earlier boot is ignored.
//!
//! Format: 64 bytes of header (magic, boot id, guard's mark), then slots of 256 bytes: a length (`u16`, little-endian; 0 is a
//! free slot) and an [`Entry`] in postcard.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::proc;
use super::protocol::{Ended, Found, FoundState, Label, RunKey};

/// Version of the layout; the end of `MAGIC`.
pub(crate) const RECORDS_VERSION: u32 = 4;
const MAGIC: &[u8; 8] = b"aqruns04";
const HEADER_BYTES: usize = 64;
const SLOT_BYTES: usize = 256;

/// A run that was alive when its guard last wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// The node's handle.
    pub(crate) key: RunKey,
    /// Its leader, process group and session.
    pub(crate) pid: i32,
    /// When it was started.
    pub(crate) started_at: Duration,
}

/// The end of a run that no node has made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What the node called it.
    pub(crate) label: Label,
    /// When a node first asked for a signal or for its end, if one did.
    pub(crate) asked: Option<Duration>,
    /// How it ended.
    pub(crate) ended: Ended,
}

impl Kept {
    /// The same, as a node is told.
    pub(crate) fn found(&self) -> Found {
        Found {
            key: self.ended.key,
            label: self.label,
            memo: Vec::new(),
            asked: self.asked,
            state: FoundState::Ended(self.ended),
        }
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Entry {
    Live(Recorded),
    Ended(Kept),
}

/// What a guard left behind in this boot of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// The guard's mark.
    pub(crate) guard: u64,
    /// Its runs.
    pub(crate) runs: Vec<Recorded>,
    /// Ends that it kept.
    pub(crate) ended: Vec<Kept>,
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
    /// Makes the file anew, with the ends that a former guard kept.
    ///
    /// # Errors
    /// The kernel's; the guard must not work then.
    pub(super) fn open(path: &Path, guard: u64) -> io::Result<(Self, Vec<(Slot, Kept)>)> {
        let ended = read(path)?.map_or_else(Vec::new, |left| left.ended);
        let file = rewrite(path, guard, &ended)?;
        let slots = (0..).map(Slot);
        let kept: Vec<(Slot, Kept)> = slots.zip(ended).collect();
        let records = Self {
            file,
            path: path.to_owned(),
            free: Vec::new(),
            used: u32::try_from(kept.len()).map_err(io::Error::other)?,
        };
        Ok((records, kept))
    }

    /// Notes a run. That a full disk has no room for it is no reason not to run: its processes bear
    /// the guard's mark as well.
    pub(super) fn add(&mut self, run: Recorded) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            Slot(self.used - 1)
        });
        self.write(slot, &encode(&Entry::Live(run)));
        slot
    }

    /// Notes the end of a run.
    pub(super) fn end(&self, slot: Slot, kept: &Kept) {
        self.write(slot, &encode(&Entry::Ended(*kept)));
    }

    /// Forgets a run.
    pub(super) fn clear(&mut self, slot: Slot) {
        self.write(slot, &[0; SLOT_BYTES]);
        self.free.push(slot);
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
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
        // Nothing depends on success alone, see `add`; an end that could not be written is told all
        // the same as long as this guard lives.
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
    let guard = header[48..56].try_into().map_or(0, u64::from_le_bytes);
    let (mut runs, mut ended) = (Vec::new(), Vec::new());
    // A cut or damaged slot holds nothing: what it named is found by its mark.
    for entry in slots.chunks(SLOT_BYTES).filter_map(decode) {
        match entry {
            Entry::Live(run) => runs.push(run),
            Entry::Ended(kept) => ended.push(kept),
        }
    }
    runs.retain(|run| run.pid > 1);
    Ok(Some(Left { guard, runs, ended }))
}

/// Forgets the runs of a guard that is dead, which are dead as well, and keeps their ends.
///
/// # Errors
/// The kernel's.
pub(crate) fn forget_runs(path: &Path, left: &Left) -> io::Result<()> {
    if left.ended.is_empty() {
        return std::fs::remove_file(path);
    }
    rewrite(path, left.guard, &left.ended).map(|_file| ())
}

/// Replaces the file in one step: whoever reads it finds the ends, before or after.
fn rewrite(path: &Path, guard: u64, ended: &[Kept]) -> io::Result<File> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..44].copy_from_slice(&proc::boot_id()?);
    bytes[48..56].copy_from_slice(&guard.to_le_bytes());
    for kept in ended {
        bytes.extend_from_slice(&encode(&Entry::Ended(*kept)));
    }
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all_at(&bytes, 0)?;
    std::fs::rename(&fresh, path)?;
    Ok(file)
}

fn encode(entry: &Entry) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let (length, body) = slot.split_at_mut(2);
    let bytes = postcard::to_slice(entry, body).map_or(0, |used| used.len());
    debug_assert!(bytes > 0, "an entry has fewer than 200 bytes");
    length.copy_from_slice(&u16::try_from(bytes).unwrap_or(0).to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<Entry> {
    let (length, body) = slot.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    postcard::from_bytes(body.get(..length).filter(|bytes| !bytes.is_empty())?).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::super::protocol::{Cause, How, Limited, Usage};
    use super::*;

    fn run(key: u64) -> Recorded {
        let pid = 1000 + i32::try_from(key).unwrap();
        Recorded {
            key: RunKey(key),
            pid,
            started_at: Duration::new(5, 7),
        }
    }

    /// As large as can be.
    fn kept(key: u64) -> Kept {
        let usage = Usage {
            utime_us: u64::MAX,
            stime_us: u64::MAX,
            max_rss_kib: u64::MAX,
            inblock: u64::MAX,
            oublock: u64::MAX,
        };
        Kept {
            label: Label([255; 16]),
            asked: Some(Duration::MAX),
            ended: Ended {
                key: RunKey(u64::MAX - key),
                how: How::Exited(i32::MIN),
                cause: Cause::GuardLost,
                usage,
                started_at: Duration::MAX,
                ended_at: Duration::MAX,
                stdout_bytes: u64::MAX,
                stderr_bytes: u64::MAX,
                out_of_memory: true,
                limited: Limited {
                    memory: true,
                    cpus: true,
                },
            },
        }
    }

    #[test]
    fn what_is_added_and_not_cleared_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("live");
        assert_eq!(read(&path).unwrap(), None);
        let (mut records, found) = Records::open(&path, 9).unwrap();
        assert!(found.is_empty());
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
    fn ends_outlive_their_guard_until_they_are_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("live");
        let (mut records, _) = Records::open(&path, 9).unwrap();
        let slots = [1, 2, 3].map(|key| records.add(run(key)));
        records.end(slots[0], &kept(1));
        records.end(slots[2], &kept(3));
        let left = read(&path).unwrap().unwrap();
        assert_eq!(left.runs, [run(2)]);
        assert_eq!(left.ended, [kept(1), kept(3)]);
        forget_runs(&path, &left).unwrap();
        let (mut records, found) = Records::open(&path, 10).unwrap();
        let ends: Vec<Kept> = found.iter().map(|(_, kept)| *kept).collect();
        assert_eq!(ends, [kept(1), kept(3)]);
        records.add(run(4));
        records.clear(found[0].0);
        let left = read(&path).unwrap().unwrap();
        assert_eq!((left.guard, left.runs.len()), (10, 1));
        assert_eq!(left.ended, [kept(3)]);
        records.clear(found[1].0);
        forget_runs(&path, &read(&path).unwrap().unwrap()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn another_boot_and_a_cut_file_hold_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("live");
        Records::open(&path, 9).unwrap().0.add(run(1));
        let mut bytes = std::fs::read(&path).unwrap();
        for cut in [40, 65, 70] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(read(&path).unwrap().is_none_or(|left| left.runs.is_empty()));
        }
        bytes[8] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
