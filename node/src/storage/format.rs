//! How a log file looks, byte by byte.
//!
//! ```text
//! 0      header: magic, number, end of the file before, own end, id, tag     (one block)
//! 4096   records, each aligned to 8 bytes:
//!          u32 length | u32 distance from the start of its group | payload | 16 bytes of tag | padding
//!        a length of 0 ends the file
//! ```
//! All numbers are little-endian. A *group* is what was written and synced at once. The tag is a
//! blake3 keyed with the file's random id, over offset, length, distance and payload: bytes of
//! another file, of another place, or of an older life of the same blocks are never taken for a
//! record.
//!
//! Why the distance: the writer begins a group only after the one before is on disk. So a valid
//! record of a *later* group proves that everything before it was durable once, and what cannot be
//! read there was damaged since. Without such a record, a tail that cannot be read was merely never
//! finished.

/// Unit in which files are written.
pub(super) const BLOCK: usize = 4096;

/// Offset of the first record.
pub(super) const BODY: usize = BLOCK;

/// Largest payload in bytes: far above any envelope, and what bounds a reader's trust in a length.
pub const RECORD_BYTES: usize = 16 << 20;

/// Bytes of the zero length that ends a file.
pub(super) const END_MARK: usize = 8;

const HEAD: usize = 8;
const TAG: usize = 16;
/// Version of the layout; the last byte of `MAGIC`.
pub const LOG_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"aquelog1";
const HEADER_BYTES: usize = 64;
const KEY_CONTEXT: &str = "aque 2025 log record tag";

/// The fixed part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Place in the row of files.
    pub(super) number: u64,
    /// Where the file before this one ended when this one came into use; [`NO_FILE_BEFORE`] for the
    /// first.
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
        let mut block = Vec::with_capacity(BLOCK);
        block.extend_from_slice(MAGIC);
        for number in [self.number, self.previous_end, self.own_end] {
            block.extend_from_slice(&number.to_le_bytes());
        }
        block.extend_from_slice(&self.id);
        let tag = blake3::hash(&block);
        block.extend_from_slice(&tag.as_bytes()[..TAG]);
        block.resize(BLOCK, 0);
        block
    }

    /// Reads the first block of a file.
    pub(super) fn decode(file: &[u8]) -> FirstBlock {
        let Some(bytes) = file.first_chunk::<HEADER_BYTES>() else {
            let zero = file.iter().all(|byte| *byte == 0);
            return if zero {
                FirstBlock::Unused
            } else {
                FirstBlock::Damaged
            };
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return FirstBlock::Unused;
        }
        let tag = blake3::hash(&bytes[..HEADER_BYTES - TAG]);
        if &bytes[..8] != MAGIC || bytes[HEADER_BYTES - TAG..] != tag.as_bytes()[..TAG] {
            return FirstBlock::Damaged;
        }
        FirstBlock::Header(Self {
            number: number_at(bytes, 8),
            previous_end: number_at(bytes, 16),
            own_end: number_at(bytes, 24),
            id: bytes[32..48].try_into().unwrap_or_default(),
        })
    }
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |number| u64::from_le_bytes(*number))
}

/// Makes and checks the tags of one file.
#[derive(Clone, Debug)]
pub(super) struct Tagger([u8; 32]);

/// A record that was found and is intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// What was written.
    pub(super) payload: &'a [u8],
    /// Offset of the first record of its group.
    pub(super) group: usize,
    /// Offset behind it.
    pub(super) end: usize,
}

impl Tagger {
    /// For the file with this id.
    pub(super) fn new(id: [u8; 16]) -> Self {
        Self(blake3::derive_key(KEY_CONTEXT, &id))
    }

    /// Appends a record to `out`, which will be written such that its byte 0 is at `base`; `group`
    /// is the offset in the file at which its group starts.
    pub(super) fn encode(&self, payload: &[u8], group: usize, base: usize, out: &mut Vec<u8>) {
        let offset = base + out.len();
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let distance = u32::try_from(offset - group).unwrap_or(u32::MAX);
        assert!(
            payload.len() <= RECORD_BYTES && !payload.is_empty(),
            "callers check lengths"
        );
        assert!(distance < u32::MAX, "callers bound a group");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&distance.to_le_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(&self.tag(offset, length, distance, payload));
        out.resize(out.len().next_multiple_of(8), 0);
    }

    /// Returns the intact record at `offset` of a file's bytes, if there is one.
    pub(super) fn record<'a>(&self, file: &'a [u8], offset: usize) -> Option<Found<'a>> {
        let (head, rest) = file.get(offset..)?.split_first_chunk::<HEAD>()?;
        let [l0, l1, l2, l3, d0, d1, d2, d3] = *head;
        let (length, distance) = (u32::from_le_bytes([l0, l1, l2, l3]), [d0, d1, d2, d3]);
        let distance = u32::from_le_bytes(distance);
        let bytes = length as usize;
        let group = offset
            .checked_sub(distance as usize)
            .filter(|group| *group >= BODY)?;
        if bytes == 0 || bytes > RECORD_BYTES {
            return None;
        }
        let payload = rest.get(..bytes)?;
        let tag = rest.get(bytes..bytes + TAG)?;
        let end = (offset + HEAD + bytes + TAG).next_multiple_of(8);
        let intact = tag == self.tag(offset, length, distance, payload);
        intact.then_some(Found {
            payload,
            group,
            end,
        })
    }

    fn tag(&self, offset: usize, length: u32, distance: u32, payload: &[u8]) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let mut place = [0; 16];
        place[..8].copy_from_slice(&(offset as u64).to_le_bytes());
        place[8..12].copy_from_slice(&length.to_le_bytes());
        place[12..].copy_from_slice(&distance.to_le_bytes());
        hasher.update(&place).update(payload);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG]);
        tag
    }
}

/// Bytes that a record of this payload takes in a file.
pub(super) fn record_bytes(payload: usize) -> usize {
    (HEAD + payload + TAG).next_multiple_of(8)
}

/// Why reading a file stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the mark of the end, at the end of the file, or where the caller wanted.
    End,
    /// At something that is neither a record nor an end.
    Unreadable,
}

/// Reads records from the start of a file's body to `limit`, or as far as they are intact; returns
/// the offset behind the last and why it stopped.
pub(super) fn scan<'a>(
    file: &'a [u8],
    tagger: &Tagger,
    limit: Option<usize>,
    mut visit: impl FnMut(&'a [u8]),
) -> (usize, Stop) {
    let mut at = BODY;
    loop {
        if limit.is_some_and(|limit| at >= limit) {
            return (at, Stop::End);
        }
        match tagger.record(file, at) {
            Some(found) => {
                visit(found.payload);
                at = found.end;
            }
            None => {
                let mark = file.get(at..).unwrap_or_default();
                let zero = mark.iter().take(END_MARK).all(|byte| *byte == 0);
                return (at, if zero { Stop::End } else { Stop::Unreadable });
            }
        }
    }
}

/// Which intact records are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Those of groups that began later: they prove a damage.
    LaterGroups,
    /// All.
    All,
}

/// Counts intact records behind `end`, wherever they begin.
pub(super) fn intact_behind(file: &[u8], tagger: &Tagger, end: usize, count: Count) -> u64 {
    let counts = |found: &Found<'_>| count == Count::All || found.group > end;
    let (mut at, mut counted) = (end, 0);
    while at + HEAD <= file.len() {
        match tagger.record(file, at).filter(counts) {
            Some(found) => {
                counted += 1;
                at = found.end;
            }
            None => at += 8,
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        number: 7,
        previous_end: 5000,
        own_end: 0,
        id: [3; 16],
    };

    fn file(groups: &[&[&[u8]]]) -> (Vec<u8>, Vec<usize>) {
        let tagger = Tagger::new(HEADER.id);
        let (mut bytes, mut starts) = (HEADER.encode(), Vec::new());
        for group in groups {
            let start = bytes.len();
            starts.push(start);
            for payload in *group {
                tagger.encode(payload, start, 0, &mut bytes);
            }
        }
        bytes.extend_from_slice(&[0; 64]);
        (bytes, starts)
    }

    fn read(bytes: &[u8], id: [u8; 16]) -> (Vec<Vec<u8>>, usize, Stop) {
        let mut seen = Vec::new();
        let (end, stop) = scan(bytes, &Tagger::new(id), None, |payload| {
            seen.push(payload.to_vec())
        });
        (seen, end, stop)
    }

    #[test]
    fn header_round_trip() {
        let block = HEADER.encode();
        assert_eq!(block.len(), BLOCK);
        assert_eq!(Header::decode(&block), FirstBlock::Header(HEADER));
        for at in 0..HEADER_BYTES {
            let mut hurt = block.clone();
            hurt[at] ^= 0x40;
            assert_eq!(Header::decode(&hurt), FirstBlock::Damaged, "{at}");
        }
        assert_eq!(Header::decode(&[0; BLOCK]), FirstBlock::Unused);
        assert_eq!(Header::decode(&[]), FirstBlock::Unused);
        assert_eq!(Header::decode(&[1; 9]), FirstBlock::Damaged);
    }

    #[test]
    fn records_are_read_until_the_end() {
        let (bytes, _) = file(&[&[b"a", b"bb"], &[b"ccc"]]);
        let (seen, end, stop) = read(&bytes, HEADER.id);
        assert_eq!(seen, [b"a".to_vec(), b"bb".to_vec(), b"ccc".to_vec()]);
        assert_eq!((end, stop), (bytes.len() - 64, Stop::End));
        let cut = scan(&bytes, &Tagger::new(HEADER.id), Some(BODY + 8), |_| {});
        assert_eq!(cut.1, Stop::End);
    }

    #[test]
    fn a_record_is_bound_to_its_file_and_its_place() {
        let (bytes, starts) = file(&[&[b"payload"]]);
        assert_eq!(read(&bytes, [4; 16]).0.len(), 0);
        let mut moved = HEADER.encode();
        moved.extend_from_slice(&[0; 8]);
        moved.extend_from_slice(&bytes[starts[0]..]);
        let tagger = Tagger::new(HEADER.id);
        assert_eq!(intact_behind(&moved, &tagger, BODY, Count::All), 0);
    }

    #[test]
    fn only_a_later_group_proves_a_damage() {
        let (bytes, starts) = file(&[&[b"one", b"two"], &[b"three", b"four"]]);
        let tagger = Tagger::new(HEADER.id);
        let hurt = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let (end, stop) = scan(&bytes, &tagger, None, |_| {});
            assert_eq!(stop, Stop::Unreadable);
            intact_behind(&bytes, &tagger, end, Count::LaterGroups)
        };
        assert_eq!(
            hurt(starts[0] + HEAD),
            2,
            "the first record of the first group"
        );
        assert_eq!(hurt(starts[0] + record_bytes(3) + HEAD), 2, "the second");
        assert_eq!(
            hurt(starts[1] + HEAD),
            0,
            "of the last group: never finished"
        );
    }
}
