//! The log: a row of files, of which the last one grows.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::compaction::{self, Compaction, Keep};
use super::file::{LogFile, Spare, trim};
use super::format::{Header, NO_FILE_BEFORE, RECORD_BYTES};
use super::recovery::{self, Recovery};
use crate::lock::private_dir;

/// How a log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of one file. More makes the first start slower (the file is written in full) and
    /// compaction coarser; less means more files and more changes of file, which cost a sync of the
    /// directory each. The default, 4 MiB, holds some 12,000 tasks, and takes 10 to 30 ms to
    /// prepare.
    pub file_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            file_bytes: 4 << 20,
        }
    }
}

/// Why a log could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk is full. Nothing was added; what was written before is as it was.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// Another error of the disk. Nothing was added; what was written before is as it was.
    #[error("the log cannot be written or read: {0}")]
    Io(#[source] io::Error),
    /// A record has no bytes, or more than [`RECORD_BYTES`]. Nothing was added.
    #[error("a record of {0} bytes: the log takes 1 to {RECORD_BYTES}")]
    Length(usize),
    /// Records of one batch have more bytes than a group may have. Nothing was added.
    #[error("a batch of {0} bytes: the log takes at most {GROUP_BYTES} at once")]
    Batch(usize),
}

/// Most bytes of payload in one group: a bound for memory, and far below what offsets can tell.
pub(super) const GROUP_BYTES: usize = 256 << 20;

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

/// An open log. See the module's documentation; [`super::LogWriter`] is the usual way to write one.
#[derive(Debug)]
pub struct Log {
    number: u64,
    file: LogFile,
    background: Background,
}

/// What the writer and the background share.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    spare: Mutex<Option<Spare>>,
    sealed: Mutex<BTreeMap<u64, usize>>,
    made: AtomicU64,
}

impl Shelf {
    /// Puts a prepared file there.
    pub(super) fn put(&self, spare: Spare) {
        *lock(&self.spare) = Some(spare);
    }

    /// Takes a prepared file, if one is there.
    pub(super) fn take(&self) -> Option<Spare> {
        lock(&self.spare).take()
    }

    /// A name for a file that has no place yet, which no other has: the writer may be about to give one a place while the
    /// background prepares the next.
    pub(super) fn fresh_path(&self, dir: &Path) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        dir.join(format!("spare-{number}.tmp"))
    }

    /// Whether a prepared file is there.
    pub(super) fn has_spare(&self) -> bool {
        lock(&self.spare).is_some()
    }

    /// The numbers of the sealed files and where they end.
    pub(super) fn sealed(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        lock(&self.sealed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an append changed besides the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// Nothing.
    Here,
    /// A file was sealed, and a new one begun.
    NextFile {
        /// The sealed file.
        sealed: u64,
    },
}

impl Log {
    /// Opens the log in `dir`, or makes one; hands each record to `visit` in the order of writing.
    ///
    /// A tail that was never finished is cut; it was never reported as durable. Damage to what was
    /// durable is reported in [`Recovery`]; the records before it are handed out, the files from
    /// there on are kept aside, and the log goes on without them.
    ///
    /// # Errors
    /// [`LogError`]; the files are then as they were.
    pub fn open(
        dir: &Path,
        options: LogOptions,
        visit: impl FnMut(&[u8]),
    ) -> Result<(Self, Recovery), LogError> {
        private_dir(dir)?;
        let shelf = Arc::new(Shelf::default());
        let (recovery, last) = recovery::recover(dir, visit, &mut shelf.sealed())?;
        let (number, file) = match last {
            recovery::Last::Open { number, file } => (number, file),
            recovery::Last::Missing {
                number,
                previous_end,
            } => {
                let spare = Spare::filled(shelf.fresh_path(dir), options.file_bytes)?;
                let header = Header {
                    number,
                    previous_end,
                    own_end: 0,
                    id: fresh_id(),
                };
                (number, spare.take_place(&file_path(dir, number), header)?)
            }
        };
        let background = Background {
            dir: dir.to_owned(),
            file_bytes: options.file_bytes,
            shelf,
        };
        Ok((
            Self {
                number,
                file,
                background,
            },
            recovery,
        ))
    }

    /// Adds records and returns when they are durable.
    ///
    /// # Errors
    /// [`LogError`]: none of them was added, and the log can be used as before.
    pub fn append(&mut self, records: &[&[u8]]) -> Result<(), LogError> {
        if let Appended::NextFile { sealed } = self.add(records)? {
            self.background.trim(sealed);
        }
        Ok(())
    }

    /// Drops the records that are not to be kept from the sealed files, as far as it pays: a file
    /// is rewritten if that saves half of it, and removed if nothing of it is kept.
    ///
    /// # Errors
    /// [`LogError`]; each file is either as it was or rewritten.
    pub fn compact(&self, keep: impl FnMut(&[u8]) -> Keep) -> Result<Compaction, LogError> {
        self.background.compact(keep)
    }

    /// Number of files, the growing one included.
    #[must_use]
    pub fn files(&self) -> usize {
        self.background.shelf.sealed().len() + 1
    }

    /// As [`Log::append`], but tells of a file to trim instead of trimming it.
    pub(super) fn add(&mut self, records: &[&[u8]]) -> Result<Appended, LogError> {
        check(records)?;
        if records.is_empty() {
            return Ok(Appended::Here);
        }
        let sealed = self.number;
        let mut appended = Appended::Here;
        if !self.file.is_fresh() && !self.file.has_room(records) {
            self.next_file()?;
            appended = Appended::NextFile { sealed };
        }
        self.file.append(records)?;
        Ok(appended)
    }

    fn next_file(&mut self) -> Result<(), LogError> {
        let number = self.number + 1;
        let previous_end = self.file.end() as u64;
        let header = Header {
            number,
            previous_end,
            own_end: 0,
            id: fresh_id(),
        };
        let Background {
            dir,
            file_bytes,
            shelf,
        } = &self.background;
        let spare = match shelf.take() {
            Some(spare) => spare,
            // Nobody was fast enough, or nobody prepares: it works without.
            None => Spare::empty(shelf.fresh_path(dir), *file_bytes)?,
        };
        let file = spare.take_place(&file_path(dir, number), header)?;
        shelf.sealed().insert(self.number, self.file.end());
        self.file = file;
        self.number = number;
        Ok(())
    }

    /// Number of the file that grows.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether a next file should be prepared.
    pub(super) fn wants_spare(&self) -> bool {
        self.file.is_half_full() && !self.background.shelf.has_spare()
    }

    /// What the background needs to work for this log.
    pub(super) fn background(&self) -> Background {
        self.background.clone()
    }
}

/// The work on a log that needs not hold up its writer.
#[derive(Clone, Debug)]
pub(super) struct Background {
    dir: PathBuf,
    file_bytes: usize,
    shelf: Arc<Shelf>,
}

impl Background {
    /// Prepares a next file, if there is none.
    ///
    /// # Errors
    /// The kernel's; the log works without.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if !self.shelf.has_spare() {
            let path = self.shelf.fresh_path(&self.dir);
            self.shelf.put(Spare::filled(path, self.file_bytes)?);
        }
        Ok(())
    }

    /// Gives back what a sealed file did not use; a failure costs some disk.
    pub(super) fn trim(&self, sealed: u64) {
        if let Some(end) = self.shelf.sealed().get(&sealed) {
            let _trimmed = trim(&file_path(&self.dir, sealed), *end);
        }
    }

    /// See [`Log::compact`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn compact(&self, keep: impl FnMut(&[u8]) -> Keep) -> Result<Compaction, LogError> {
        compaction::compact(&self.dir, &self.shelf, keep)
    }
}

/// Checks what a caller wants to add.
///
/// # Errors
/// [`LogError::Length`] and [`LogError::Batch`].
pub(super) fn check(records: &[impl AsRef<[u8]>]) -> Result<(), LogError> {
    let lengths = || records.iter().map(|record| record.as_ref().len());
    if let Some(length) = lengths().find(|length| *length == 0 || *length > RECORD_BYTES) {
        return Err(LogError::Length(length));
    }
    let bytes = lengths().sum();
    if bytes > GROUP_BYTES {
        Err(LogError::Batch(bytes))
    } else {
        Ok(())
    }
}

/// Where the file of this number is.
pub(super) fn file_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.log"))
}

/// A file id that no other file has.
pub(super) fn fresh_id() -> [u8; 16] {
    fastrand::u128(..).to_le_bytes()
}

/// `previous_end` for a file after one that ended at `end`, or after none.
pub(super) fn previous_end(end: Option<usize>) -> u64 {
    end.map_or(NO_FILE_BEFORE, |end| end as u64)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    /// The writer has taken the prepared file and is about to give it its place, while the background prepares the next.
    #[test]
    fn two_files_without_a_place_are_two_files() {
        let temp = tempfile::tempdir().unwrap();
        let options = LogOptions {
            file_bytes: 16 << 10,
        };
        let (log, _) = Log::open(temp.path(), options, |_| {}).unwrap();
        let background = log.background();
        background.prepare().unwrap();
        let taken = background.shelf.take().unwrap();
        background.prepare().unwrap();
        let next = background.shelf.take().unwrap();
        let header = |number| Header {
            number,
            previous_end: 0,
            own_end: 0,
            id: fresh_id(),
        };
        let place = |spare: Spare, number| {
            let path = file_path(temp.path(), number);
            spare.take_place(&path, header(number)).unwrap()
        };
        let mut first = place(taken, 2);
        first.append(&[b"first"]).unwrap();
        let mut second = place(next, 3);
        second.append(&[b"second"]).unwrap();
        let read = |number| std::fs::read(file_path(temp.path(), number)).unwrap();
        let has = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        assert!(has(&read(2), b"first") && !has(&read(2), b"second"));
        assert!(has(&read(3), b"second"));
    }
}
