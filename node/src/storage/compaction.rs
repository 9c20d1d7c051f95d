//! Compaction: sealed files without the records that nobody needs any more.
//!
//! Each file is replaced on its own by an atomic rename, so a crash leaves each either old or new.
//! The growing file is not touched, and neither is its writer held up: this runs on another thread.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::file::sync_dir_of;
use super::format::{BLOCK, BODY, END_MARK, FirstBlock, Header, Tagger, scan};
use super::log::{LogError, Shelf, file_path, fresh_id};

/// Whether a record is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Someone may need it.
    Yes,
    /// Nobody does.
    No,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Files that were rewritten or removed.
    pub files: usize,
    /// Records that were dropped.
    pub dropped: u64,
    /// Bytes of disk that were given back.
    pub freed_bytes: u64,
}

/// A file is rewritten if no more than this share of it (as a divisor) would stay: then each byte
/// is copied at most once for each byte that is freed.
const WORTH_IT: usize = 2;

/// Compacts all sealed files.
///
/// # Errors
/// [`LogError`]; each file is either as it was or rewritten.
pub(super) fn compact(
    dir: &Path,
    shelf: &Shelf,
    mut keep: impl FnMut(&[u8]) -> Keep,
) -> Result<Compaction, LogError> {
    let sealed: Vec<(u64, usize)> = shelf
        .sealed()
        .iter()
        .map(|(number, end)| (*number, *end))
        .collect();
    let mut done = Compaction::default();
    for (number, end) in sealed {
        let end = compact_one(dir, number, end, &mut keep, shelf, &mut done)?;
        match end {
            Some(end) => shelf.sealed().insert(number, end),
            None => shelf.sealed().remove(&number),
        };
    }
    Ok(done)
}

/// Returns where the file ends now; `None` if it is gone.
fn compact_one(
    dir: &Path,
    number: u64,
    end: usize,
    mut keep: impl FnMut(&[u8]) -> Keep,
    shelf: &Shelf,
    done: &mut Compaction,
) -> Result<Option<usize>, LogError> {
    let path = file_path(dir, number);
    let bytes = std::fs::read(&path)?;
    let FirstBlock::Header(header) = Header::decode(&bytes) else {
        return Err(LogError::Io(io::Error::other(format!(
            "{} is damaged",
            path.display()
        ))));
    };
    let (mut kept, mut dropped) = (0, 0);
    let mut verdicts = Vec::new();
    scan(&bytes, &Tagger::new(header.id), Some(end), |record| {
        let verdict = keep(record);
        verdicts.push(verdict);
        match verdict {
            Keep::Yes => kept += record.len(),
            Keep::No => dropped += 1,
        }
    });
    // A gap in the row would look like damage: only the first file is removed. That needs no room,
    // which counts when the disk is full.
    let is_first = shelf
        .sealed()
        .first_key_value()
        .is_some_and(|(first, _)| *first == number);
    if kept == 0 && is_first {
        done.files += 1;
        done.dropped += dropped;
        done.freed_bytes += bytes.len() as u64;
        std::fs::remove_file(&path)?;
        sync_dir_of(&path)?;
        return Ok(None);
    }
    if dropped == 0 || kept > (end - BODY) / WORTH_IT {
        return Ok(Some(end));
    }
    let mut verdicts = verdicts.into_iter();
    let verdict = |_: &[u8]| verdicts.next().unwrap_or(Keep::Yes);
    let new_end = rewrite(&path, &bytes, header, end, verdict)?;
    done.files += 1;
    done.dropped += dropped;
    done.freed_bytes += (bytes.len() as u64).saturating_sub(std::fs::metadata(&path)?.len());
    Ok(Some(new_end))
}

/// Replaces a file by one with the records up to `end` that are to be kept; returns its end.
///
/// # Errors
/// The kernel's; the file is then as it was.
pub(super) fn rewrite(
    path: &Path,
    bytes: &[u8],
    header: Header,
    end: usize,
    mut keep: impl FnMut(&[u8]) -> Keep,
) -> io::Result<usize> {
    let mut header_now = Header {
        id: fresh_id(),
        own_end: 0,
        ..header
    };
    let tagger = Tagger::new(header_now.id);
    let mut out = vec![0; BODY];
    scan(bytes, &Tagger::new(header.id), Some(end), |record| {
        if keep(record) == Keep::Yes {
            tagger.encode(record, BODY, 0, &mut out);
        }
    });
    let new_end = out.len();
    header_now.own_end = new_end as u64;
    out[..BODY].copy_from_slice(&header_now.encode());
    out.resize((new_end + END_MARK).next_multiple_of(BLOCK), 0);
    replace(path, &out)?;
    Ok(new_end)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("compact.tmp");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all_at(bytes, 0)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What failed is told already.
        let _removed = std::fs::remove_file(&temporary);
    }
    written?;
    sync_dir_of(path)
}
