//! A strict reader of raw Automerge change chunks, for flat documents only.
//!
//! Bytes from afar never reach Automerge's own decoders, which panic on some and inflate or unroll others without bound
//! (a change of 69 bytes may claim 2^40 operations). This reader borrows from its input, unrolls no more than
//! [`MAX_OPERATIONS`], and knows only what flat documents need: map keys at the root, puts of bytes and counters, increments.
//! It need not be complete: the ledger rebuilds the change from what was read here and compares every byte.
//! Format: <https://automerge.org/automerge-binary-format-spec/>.

use super::refused::Rule;

/// The most operations in one change.
pub(super) const MAX_OPERATIONS: usize = 4096;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE: u8 = 1;
const COMPRESSED: u8 = 2;
const DEFLATE: u64 = 0b1000;

/// Column specifications: id in the upper bits, then the deflate bit, then three bits of type.
mod column {
    pub(super) const OBJECT: std::ops::RangeInclusive<u64> = 0x00..=0x0f;
    pub(super) const KEY_ELEMENT: [u64; 2] = [0x11, 0x13];
    pub(super) const KEY_TEXT: u64 = 0x15;
    pub(super) const INSERT: u64 = 0x34;
    pub(super) const ACTION: u64 = 0x42;
    pub(super) const VALUE_META: u64 = 0x56;
    pub(super) const VALUE: u64 = 0x57;
    pub(super) const PREDECESSORS: std::ops::RangeInclusive<u64> = 0x70..=0x77;
}

/// A change chunk in parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk<'a> {
    /// Hashes, 32 bytes each.
    pub(super) dependencies: &'a [u8],
    pub(super) actor: &'a [u8],
    pub(super) sequence: u64,
    pub(super) start: u64,
    pub(super) decoration: Decoration,
    pub(super) operations: Vec<Operation<'a>>,
    /// The raw columns of predecessors, and the foreign actors that they refer to.
    pub(super) predecessors: (&'a [u8], &'a [u8]),
}

/// What a change of ours never has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decoration {
    None,
    Some,
}

/// One operation on the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Operation<'a> {
    pub(super) key: &'a str,
    pub(super) value: RawValue<'a>,
}

/// What an operation does to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RawValue<'a> {
    Bytes(&'a [u8]),
    Counter(i64),
    Increment(i64),
}

/// Returns the parts of a change chunk.
pub(super) fn read(bytes: &[u8]) -> Result<Chunk<'_>, Rule> {
    let mut reader = Reader(bytes);
    let magic = reader.take(MAGIC.len()).ok_or(Rule::Chunk)?;
    // The checksum is the beginning of the change's hash: comparing with the rebuilt change checks it.
    reader.take(4).ok_or(Rule::Chunk)?;
    let kind = reader.take(1).ok_or(Rule::Chunk)?;
    let length = reader.size().ok_or(Rule::Chunk)?;
    if kind == [COMPRESSED] {
        return Err(Rule::Compressed);
    }
    if magic != MAGIC || kind != [CHANGE] || length != reader.0.len() {
        return Err(Rule::Chunk);
    }
    read_body(reader)
}

fn read_body(mut reader: Reader<'_>) -> Result<Chunk<'_>, Rule> {
    let dependencies = reader
        .size()
        .and_then(|n| n.checked_mul(32))
        .ok_or(Rule::Chunk)?;
    let dependencies = reader.take(dependencies).ok_or(Rule::Chunk)?;
    let actor = reader.prefixed().ok_or(Rule::Chunk)?;
    let sequence = reader.unsigned().ok_or(Rule::Chunk)?;
    let start = reader.unsigned().ok_or(Rule::Chunk)?;
    let time = reader.signed().ok_or(Rule::Chunk)?;
    let message = reader.prefixed().ok_or(Rule::Chunk)?;
    let others = reader.foreign_actors().ok_or(Rule::Chunk)?;
    let columns = Columns::read(&mut reader)?;
    let extra = reader.0;
    let plain = time == 0 && message.is_empty() && extra.is_empty();
    Ok(Chunk {
        dependencies,
        actor,
        sequence,
        start,
        decoration: if plain {
            Decoration::None
        } else {
            Decoration::Some
        },
        operations: columns.operations()?,
        predecessors: (columns.predecessors, others),
    })
}

/// The columns that flat documents have.
#[derive(Default)]
struct Columns<'a> {
    keys: &'a [u8],
    inserts: &'a [u8],
    actions: &'a [u8],
    metas: &'a [u8],
    values: &'a [u8],
    predecessors: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Reads the list of columns and then their data.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Rule> {
        let count = reader.size().ok_or(Rule::Chunk)?;
        // Eleven columns in all, strictly ascending: a longer list repeats some or has unknown ones.
        if count > 11 {
            return Err(Rule::Columns);
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            let spec = reader.unsigned().ok_or(Rule::Chunk)?;
            let length = reader.size().ok_or(Rule::Chunk)?;
            list.push((spec, length));
        }
        if !list.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Rule::Columns);
        }
        let mut columns = Self::default();
        let mut predecessors = reader.0;
        for (spec, length) in list {
            let before = reader.0;
            let data = reader.take(length).ok_or(Rule::Chunk)?;
            match spec {
                _ if spec & DEFLATE != 0 => return Err(Rule::Compressed),
                column::KEY_TEXT => columns.keys = data,
                column::INSERT => columns.inserts = data,
                column::ACTION => columns.actions = data,
                column::VALUE_META => columns.metas = data,
                column::VALUE => columns.values = data,
                _ if column::PREDECESSORS.contains(&spec) => {
                    if columns.predecessors.is_empty() {
                        predecessors = before;
                    }
                    let length = columns.predecessors.len() + data.len();
                    columns.predecessors = &predecessors[..length];
                }
                _ if column::OBJECT.contains(&spec) => return Err(Rule::Object),
                _ if column::KEY_ELEMENT.contains(&spec) => return Err(Rule::List),
                _ => return Err(Rule::Columns),
            }
        }
        Ok(columns)
    }

    fn operations(&self) -> Result<Vec<Operation<'a>>, Rule> {
        let keys = unroll(self.keys, Reader::prefixed)?;
        let actions = unroll(self.actions, Reader::unsigned)?;
        let metas = unroll(self.metas, Reader::unsigned)?;
        if keys.is_empty() || keys.len() != actions.len() || keys.len() != metas.len() {
            return Err(Rule::Operations);
        }
        // One run of "no insertion" over all operations.
        let mut inserts = Reader(self.inserts);
        if inserts.size() != Some(keys.len()) || !inserts.0.is_empty() {
            return Err(Rule::List);
        }
        let mut values = Reader(self.values);
        let mut operations = Vec::with_capacity(keys.len());
        for ((key, action), meta) in keys.into_iter().zip(actions).zip(metas) {
            let key = std::str::from_utf8(key).map_err(|_| Rule::Key)?;
            operations.push(Operation {
                key,
                value: values.value(action, meta)?,
            });
        }
        if values.0.is_empty() {
            Ok(operations)
        } else {
            Err(Rule::Value)
        }
    }
}

/// Returns the values of a run-length column: positive = a repeated value, negative = so many values, zero = nulls,
/// which no column read here has.
fn unroll<'a, T: Copy>(
    data: &'a [u8],
    read: fn(&mut Reader<'a>) -> Option<T>,
) -> Result<Vec<T>, Rule> {
    let mut reader = Reader(data);
    let mut values = Vec::new();
    while !reader.0.is_empty() {
        let run = reader.signed().ok_or(Rule::Chunk)?;
        let length = usize::try_from(run.unsigned_abs()).map_err(|_| Rule::Operations)?;
        if run == 0 || length > MAX_OPERATIONS - values.len() {
            return Err(Rule::Operations);
        }
        if run > 0 {
            let value = read(&mut reader).ok_or(Rule::Chunk)?;
            values.resize(values.len() + length, value);
        } else {
            for _ in 0..length {
                values.push(read(&mut reader).ok_or(Rule::Chunk)?);
            }
        }
    }
    Ok(values)
}

/// Reads numbers (LEB128) and byte strings; `None` where the input ends early or a number does not fit.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift < 57;
                return Some(if negative {
                    number | -1 << (shift + 7)
                } else {
                    number
                });
            }
        }
        None
    }

    fn size(&mut self) -> Option<usize> {
        self.unsigned().and_then(|n| usize::try_from(n).ok())
    }

    fn prefixed(&mut self) -> Option<&'a [u8]> {
        let length = self.size()?;
        self.take(length)
    }

    /// Returns the raw list of actors other than the change's own.
    fn foreign_actors(&mut self) -> Option<&'a [u8]> {
        let from = self.0;
        for _ in 0..self.size()? {
            self.prefixed()?;
        }
        from.get(..from.len() - self.0.len())
    }

    /// Returns the next value: `meta` holds its length and, in the lowest four bits, its type.
    fn value(&mut self, action: u64, meta: u64) -> Result<RawValue<'a>, Rule> {
        const PUT: u64 = 1;
        const INCREMENT: u64 = 5;
        const INTEGER: u64 = 4;
        const BYTES: u64 = 7;
        const COUNTER: u64 = 8;
        let length = usize::try_from(meta >> 4).map_err(|_| Rule::Value)?;
        let data = self.take(length).ok_or(Rule::Value)?;
        let number = || {
            let mut reader = Reader(data);
            reader
                .signed()
                .filter(|_| reader.0.is_empty())
                .ok_or(Rule::Value)
        };
        match (action, meta & 0xf) {
            (PUT, BYTES) => Ok(RawValue::Bytes(data)),
            (PUT, COUNTER) => Ok(RawValue::Counter(number()?)),
            (INCREMENT, INTEGER) => Ok(RawValue::Increment(number()?)),
            (PUT | INCREMENT, _) => Err(Rule::Value),
            _ => Err(Rule::Action),
        }
    }
}
