//! How a log file looks, byte by byte.
//!
//! ```text
//! 0      header: magic, number, end of the file before, own end, id, tag     (one block)
//! 4096   records, each aligned to 8 bytes:
//!          u32 length | u32 distance from the start of its group | payload | 16 bytes of tag | padding
//!        a length of 0 ends the file
//! ```
//! All numbers are little-endian. A *group* is what was written and synced at once. The tag is a blake3
//! keyed with the file's random id, over offset, length, distance and payload: bytes of another file, of
//! another place, or of an older life of the same blocks are never taken for a record.
//!
//! Why the distance: the writer begins a group only after the one before is on disk. So a valid record of
//! a *later* group proves that everything before it was durable once, and what cannot be read there was
//! damaged since. Without such a record, a tail that cannot be read was merely never finished.

use std::ops::Range;

/// Unit in which files are written.
pub(super) const BLOCK: u64 = 4096;

/// Offset of the first record.
pub(super) const BODY: u64 = BLOCK;

/// Largest payload in bytes: far above any envelope, and what bounds a reader's trust in a length.
pub const RECORD_BYTES: usize = 16 << 20;

/// Bytes of the zero length that ends a file.
pub(super) const END_MARK: u64 = 8;

const HEAD: usize = 8;
const TAG: usize = 16;
const MAGIC: &[u8; 8] = b"aquelog1";
const HEADER_BYTES: usize = 64;
const KEY_CONTEXT: &str = "aque 2025 log record tag";

/// The fixed part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Place in the row of files.
    pub(super) number: u64,
    /// Where the file before this one ended when this one came into use; [`NO_FILE_BEFORE`] for the first.
    pub(super) previous_end: u64,
    /// Where this file ends, if it was written as a whole; 0 for one that grew.
    pub(super) own_end: u64,
    /// Random, for the tags.
    pub(super) id: [u8; 16],
}

/// `previous_end` of a file before which there was none.
pub(super) const NO_FILE_BEFORE: u64 = 1;

/// What the first block of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstBlock {
    /// A header.
    Header(Header),
    /// Nothing: the file was made, and never used.
    Unused,
    /// Neither.
    Damaged,
}

impl Header {
    /// The first block of a file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK as usize_);
        block.extend_from_slice(MAGIC);
        for number in [self.number, self.previous_end, self.own_end] {
            block.extend_from_slice(&number.to_le_bytes());
        }
        block.extend_from_slice(&self.id);
        let tag = blake3::hash(&block);
        block.extend_from_slice(&tag.as_bytes()[..TAG]);
        block.resize(BLOCK as usize_, 0);
        block
    }

    /// Reads the first block of a file.
    pub(super) fn decode(file: &[u8]) -> FirstBlock {
        let Some(bytes) = file.first_chunk::<HEADER_BYTES>() else {
            let zero = file.iter().all(|byte| *byte == 0);
            return if zero { FirstBlock::Unused } else { FirstBlock::Damaged };
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return FirstBlock::Unused;
        }
        let tag = blake3::hash(&bytes[..HEADER_BYTES - TAG]);
        if &bytes[..8] != MAGIC || bytes[HEADER_BYTES - TAG..] != tag.as_bytes()[..TAG] {
            return FirstBlock::Damaged;
        }
        let number = |at: Range<usize>| bytes[at].try_into().map_or(0, u64::from_le_bytes);
        let id = bytes[32..48].try_into().unwrap_or_default();
        FirstBlock::Header(Self {
            number: number(8..16),
            previous_end: number(16..24),
            own_end: number(24..32),
            id,
        })
    }
}

/// Makes and checks the tags of one file.
#[derive(Clone, Debug)]
pub(super) struct Tagger([u8; 32]);
