//! One log file that grows: what has been written, where it ends, and how a group is added.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::format::{BLOCK, BODY, END_MARK, Header, Tagger, record_bytes};

/// Bytes of zeros that are written and synced at a time while a file is prepared in the background,
/// so that a sync of the log next door does not wait for all of them.
const ZERO_STEP: usize = 256 << 10;

/// A file that was made and has no place in the log yet.
#[derive(Debug)]
pub(super) struct Spare {
    file: File,
    path: PathBuf,
    size: usize,
    prepared: usize,
}

impl Spare {
    /// Makes a file of `size` bytes, all of them written and on disk.
    ///
    /// # Errors
    /// The kernel's, as when the disk is full; no file is left.
    pub(super) fn filled(path: PathBuf, size: usize) -> io::Result<Self> {
        let mut spare = Self::empty(path, size)?;
        spare.prepared = size;
        let filled = spare.fill();
        if filled.is_err() {
            // What failed is told already.
            let _removed = std::fs::remove_file(&spare.path);
        }
        filled.map(|()| spare)
    }

    /// Makes an empty file, where there is none: correct, but each sync of it costs more.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn empty(path: PathBuf, size: usize) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Self {
            file: options.open(&path)?,
            path,
            size,
            prepared: 0,
        })
    }

    fn fill(&self) -> io::Result<()> {
        // Blocks side by side, where the file system knows how; writing makes them anyway.
        let _allocated = fallocate(&self.file, FallocateFlags::empty(), 0, self.size as u64);
        let zeros = vec![0; ZERO_STEP];
        for at in (0..self.size).step_by(ZERO_STEP) {
            let step = ZERO_STEP.min(self.size - at);
            self.file.write_all_at(&zeros[..step], at as u64)?;
            self.file.sync_data()?;
        }
        self.file.sync_all()
    }

    /// Gives the file its place in the log. Its header is written with the first group.
    ///
    /// # Errors
    /// The kernel's; the file is lost then.
    pub(super) fn take_place(self, path: &Path, header: Header) -> io::Result<LogFile> {
        if let Err(error) = std::fs::rename(&self.path, path) {
            // What failed is told already.
            let _removed = std::fs::remove_file(&self.path);
            return Err(error);
        }
        sync_dir_of(path)?;
        Ok(LogFile {
            file: self.file,
            tagger: Tagger::new(header.id),
            header: Some(header),
            end: BODY,
            tail: Vec::new(),
            size: self.size,
            prepared: self.prepared,
        })
    }
}

/// Syncs the directory that holds `path`, so that its name is durable.
///
/// # Errors
/// The kernel's.
pub(super) fn sync_dir_of(path: &Path) -> io::Result<()> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::other("a file has a directory"))?;
    File::open(dir)?.sync_all()
}

/// The last file of a log.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    tagger: Tagger,
    /// The header, as long as it has not been written.
    header: Option<Header>,
    /// Offset of the next record.
    end: usize,
    /// The bytes of the block in which `end` lies, up to it.
    tail: Vec<u8>,
    /// Bytes after which the next file begins.
    size: usize,
    /// Bytes that were filled before use.
    prepared: usize,
}

impl LogFile {
    /// Opens a file whose records end at `end`; `bytes` are all it has.
    ///
    /// What was read may never have been synced by the process that wrote it: it is now.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn reopen(
        path: &Path,
        bytes: &[u8],
        header: Header,
        end: usize,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.sync_data()?;
        // The padding of the last record may be missing.
        let known = bytes.len().min(end);
        let mut tail = bytes[block_of(end).min(known)..known].to_vec();
        tail.resize(end - block_of(end), 0);
        Ok(Self {
            file,
            tagger: Tagger::new(header.id),
            header: None,
            end,
            tail,
            size: bytes.len(),
            prepared: bytes.len(),
        })
    }

    /// Offset of the next record.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Whether nothing has been written.
    pub(super) fn is_fresh(&self) -> bool {
        self.end == BODY
    }

    /// Whether a group of these payloads fits into this file.
    pub(super) fn has_room(&self, group: &[&[u8]]) -> bool {
        let bytes: usize = group
            .iter()
            .map(|payload| record_bytes(payload.len()))
            .sum();
        self.end + bytes + END_MARK <= self.size
    }

    /// Whether more than half of this file has been used.
    pub(super) fn is_half_full(&self) -> bool {
        self.end > self.size / 2
    }

    /// Writes a group and syncs it.
    ///
    /// Whole blocks are written, and a mark of the end behind the last record, so that nothing old
    /// can follow it.
    ///
    /// # Errors
    /// The kernel's. Then the group counts as never written: the next goes to the same place, from
    /// the same start of a block, so that nothing depends on what a failed sync has left behind.
    pub(super) fn append(&mut self, group: &[&[u8]]) -> io::Result<()> {
        let base = block_of(self.end);
        let mut out = self.tail.clone();
        for payload in group {
            self.tagger.encode(payload, self.end, base, &mut out);
        }
        let end = base + out.len();
        out.resize((out.len() + END_MARK).next_multiple_of(BLOCK), 0);
        if let Err(error) = self.write(&out, base) {
            self.give_back();
            return Err(error);
        }
        self.header = None;
        out.truncate(end - base);
        self.tail = out.split_off(block_of(end) - base);
        self.end = end;
        Ok(())
    }
}

impl LogFile {
    fn write(&self, out: &[u8], base: usize) -> io::Result<()> {
        if let Some(header) = &self.header {
            self.file.write_all_at(&header.encode(), 0)?;
        }
        self.file.write_all_at(out, base as u64)?;
        self.file.sync_data()
    }

    /// Frees what a failed write may have taken on a full disk: others may need it more.
    fn give_back(&self) {
        let size = self
            .prepared
            .max((self.end + END_MARK).next_multiple_of(BLOCK)) as u64;
        if self.file.metadata().is_ok_and(|meta| meta.len() > size) {
            // The failure is told already.
            let _freed = self.file.set_len(size);
        }
    }
}

fn block_of(offset: usize) -> usize {
    offset / BLOCK * BLOCK
}

/// Gives back what a sealed file did not use.
///
/// # Errors
/// The kernel's; nothing depends on it.
pub(super) fn trim(path: &Path, end: usize) -> io::Result<()> {
    let size = (end + END_MARK).next_multiple_of(BLOCK);
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() > size as u64 {
        file.set_len(size as u64)?;
    }
    Ok(())
}
