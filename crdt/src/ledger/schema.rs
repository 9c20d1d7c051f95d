//! How entries are spelled as keys and values of a document: the only file that knows it.
//!
//! Every document is one flat map. Keys of a segment: `!h` header, `!0000` specs from that index on (four hex digits),
//! `!e` and a digest: an environment, `!z` end; `b`, `v`, `o` with the writer's tag and the number of the change (six hex
//! digits): write-once chunks of bids, votes and outcomes; `r` and `s` so: motions to replace the committee, and where a member of
//! it stands; `t` and a tag: how long a witness waits; `c` and an index: claim register, `w` and an index: what people want, `h` so: whether it is held, `a` so: that it
//! runs again, `f` so: that nobody is to see it any more, `e` so: in what it is otherwise than it was submitted; `k` and a tag: PN-counter of live claims;
//! `u`, a letter and a tag: PN-counters of totals. Directory: `m` and a peer's key in hex; `x`, the writer's tag and a peer's key:
//! what a person wants of it; `y`, the writer's tag and the digest of a name: a setting of the mesh; `z`, the writer's tag and a
//! peer's key: which of its segments have lapsed. Presence: `p` and a tag. What starts with `!` sorts first, so that bulk stays ahead of what is inserted later.
//! Values are postcard; those of counters are Automerge's.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entry::{ClaimMark, Entry, SpecChunk, Total};
use crate::ids::{Digest, PeerId, Tag};
use crate::task::{About, TaskSpec, Want};

use crate::settings::Stated;

use super::chunk::RawValue;
use super::refused::Rule;
use super::validate::MAX_CHUNK;

/// A key of a document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    Header,
    Specs(u16),
    Environment(Digest),
    End,
    Bids(Tag, u32),
    Votes(Tag, u32),
    Outcomes(Tag, u32),
    Harms(Tag, u32),
    Motion(Tag, u32),
    Stand(Tag, u32),
    Wait(Tag),
    Claim(u16),
    Want(u16),
    Hold(u16),
    Again(u16),
    Removal(u16),
    Edit(u16),
    Live(Tag),
    Count(Total, Tag),
    Member(PeerId),
    Duty(Tag, PeerId),
    Setting(Tag, [u8; 16]),
    Lapsed(Tag, PeerId),
    Beat(Tag),
}

/// What a write does to its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// Put of bytes.
    Bytes(Vec<u8>),
    /// A step of a counter: a put where its writer has none yet, then increments.
    Step(i64),
}

/// Who writes, in which change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Writer {
    pub(super) peer: PeerId,
    pub(super) tag: Tag,
    /// The number of the change in its chain.
    pub(super) count: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("!h"),
            Self::Specs(first) => write!(f, "!{first:04x}"),
            Self::Environment(digest) => write!(f, "!e{digest}"),
            Self::End => f.write_str("!z"),
            Self::Bids(tag, count) => write!(f, "b{tag}{count:06x}"),
            Self::Votes(tag, count) => write!(f, "v{tag}{count:06x}"),
            Self::Outcomes(tag, count) => write!(f, "o{tag}{count:06x}"),
            Self::Harms(tag, count) => write!(f, "d{tag}{count:06x}"),
            Self::Motion(tag, count) => write!(f, "r{tag}{count:06x}"),
            Self::Stand(tag, count) => write!(f, "s{tag}{count:06x}"),
            Self::Wait(tag) => write!(f, "t{tag}"),
            Self::Claim(index) => write!(f, "c{index:04x}"),
            Self::Want(index) => write!(f, "w{index:04x}"),
            Self::Hold(index) => write!(f, "h{index:04x}"),
            Self::Again(index) => write!(f, "a{index:04x}"),
            Self::Removal(index) => write!(f, "f{index:04x}"),
            Self::Edit(index) => write!(f, "e{index:04x}"),
            Self::Live(tag) => write!(f, "k{tag}"),
            Self::Count(total, tag) => write!(f, "u{}{tag}", letter(*total)),
            Self::Member(peer) => write!(f, "m{}", HEXLOWER.encode(&peer.0)),
            Self::Duty(tag, peer) => write!(f, "x{tag}{}", HEXLOWER.encode(&peer.0)),
            Self::Setting(tag, name) => write!(f, "y{tag}{}", HEXLOWER.encode(name)),
            Self::Lapsed(tag, peer) => write!(f, "z{tag}{}", HEXLOWER.encode(&peer.0)),
            Self::Beat(tag) => write!(f, "p{tag}"),
        }
    }
}

impl Key {
    /// Returns the key that `text` spells. Some keys have more spellings than one; the comparison with the rebuilt change
    /// refuses all but that of `Display`.
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        Some(match kind {
            "!" => Self::parse_bulk(rest)?,
            "b" => tagged(rest).and_then(|(tag, n)| Some(Self::Bids(tag, hex(n)?)))?,
            "v" => tagged(rest).and_then(|(tag, n)| Some(Self::Votes(tag, hex(n)?)))?,
            "o" => tagged(rest).and_then(|(tag, n)| Some(Self::Outcomes(tag, hex(n)?)))?,
            "d" => tagged(rest).and_then(|(tag, n)| Some(Self::Harms(tag, hex(n)?)))?,
            "r" => tagged(rest).and_then(|(tag, n)| Some(Self::Motion(tag, hex(n)?)))?,
            "s" => tagged(rest).and_then(|(tag, n)| Some(Self::Stand(tag, hex(n)?)))?,
            "t" => Self::Wait(rest.parse().ok()?),
            "c" => Self::Claim(index(rest)?),
            "w" => Self::Want(index(rest)?),
            "h" => Self::Hold(index(rest)?),
            "a" => Self::Again(index(rest)?),
            "f" => Self::Removal(index(rest)?),
            "e" => Self::Edit(index(rest)?),
            "k" => Self::Live(rest.parse().ok()?),
            "u" => {
                let (kind, tag) = rest.split_at_checked(1)?;
                let total = Total::ALL
                    .into_iter()
                    .find(|total| letter(*total) == kind)?;
                Self::Count(total, tag.parse().ok()?)
            }
            "m" => Self::Member(PeerId(hex_bytes(rest)?)),
            "x" => tagged(rest)
                .and_then(|(tag, peer)| Some(Self::Duty(tag, PeerId(hex_bytes(peer)?))))?,
            "y" => {
                tagged(rest).and_then(|(tag, name)| Some(Self::Setting(tag, hex_bytes(name)?)))?
            }
            "z" => tagged(rest)
                .and_then(|(tag, peer)| Some(Self::Lapsed(tag, PeerId(hex_bytes(peer)?))))?,
            "p" => Self::Beat(rest.parse().ok()?),
            _ => return None,
        })
    }

    fn parse_bulk(rest: &str) -> Option<Self> {
        match rest {
            "h" => Some(Self::Header),
            "z" => Some(Self::End),
            _ => match rest.strip_prefix('e') {
                Some(digest) if digest.len() == 64 => {
                    hex_bytes(digest).map(Digest).map(Self::Environment)
                }
                Some(_) | None => index(rest).map(Self::Specs),
            },
        }
    }

    /// Says whether a later write of the same author may supersede an earlier one.
    pub(super) fn is_register(&self) -> bool {
        match self {
            Self::Wait(_)
            | Self::Claim(_)
            | Self::Want(_)
            | Self::Hold(_)
            | Self::Again(_)
            | Self::Removal(_)
            | Self::Edit(_)
            | Self::Live(_)
            | Self::Count(..)
            | Self::Member(_)
            | Self::Duty(..)
            | Self::Setting(..)
            | Self::Lapsed(..)
            | Self::Beat(_) => true,
            Self::Header
            | Self::Specs(_)
            | Self::Environment(_)
            | Self::End
            | Self::Bids(..)
            | Self::Votes(..)
            | Self::Outcomes(..)
            | Self::Harms(..)
            | Self::Motion(..)
            | Self::Stand(..) => false,
        }
    }
}

fn letter(total: Total) -> &'static str {
    match total {
        Total::Submitted => "s",
        Total::Started => "r",
        Total::Succeeded => "g",
        Total::Failed => "f",
        Total::Lost => "l",
    }
}

fn tagged(text: &str) -> Option<(Tag, &str)> {
    let (tag, rest) = text.split_at_checked(6)?;
    Some((tag.parse().ok()?, rest))
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

fn index(text: &str) -> Option<u16> {
    if text.len() == 4 {
        u16::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// Returns the key and value of an entry of `writer`.
pub(super) fn spell(entry: &Entry, writer: &Writer) -> (Key, Value) {
    let Writer { peer, tag, count } = *writer;
    match entry {
        Entry::Header(header) => (Key::Header, bytes(header)),
        Entry::Specs(chunk) => (Key::Specs(chunk.first), bytes(&chunk.specs)),
        Entry::Environment(digest, environment) => (Key::Environment(*digest), bytes(environment)),
        Entry::End(specs) => (Key::End, bytes(specs)),
        Entry::Bids(bids) => (Key::Bids(tag, count), bytes(bids)),
        Entry::Votes(votes) => (Key::Votes(tag, count), bytes(votes)),
        Entry::Outcomes(outcomes) => (Key::Outcomes(tag, count), bytes(outcomes)),
        Entry::Harms(harms) => (Key::Harms(tag, count), bytes(harms)),
        Entry::Motion(motion) => (Key::Motion(tag, count), bytes(motion)),
        Entry::Stand(stand) => (Key::Stand(tag, count), bytes(stand)),
        Entry::Wait(wait) => (Key::Wait(tag), bytes(wait)),
        Entry::Claim(index, mark) => (Key::Claim(*index), bytes(&(tag, mark))),
        Entry::Want(index, want) => {
            let key = match want.wish.about() {
                About::End => Key::Want(*index),
                About::Hold => Key::Hold(*index),
                About::Again => Key::Again(*index),
                About::Removal => Key::Removal(*index),
                About::Edit => Key::Edit(*index),
            };
            (key, bytes(want))
        }
        Entry::Live(step) => (Key::Live(tag), Value::Step(*step)),
        Entry::Count(total, step) => (Key::Count(*total, tag), Value::Step(*step)),
        Entry::Member(member) => (Key::Member(peer), bytes(member)),
        Entry::Duty(peer, duty) => (Key::Duty(tag, *peer), bytes(duty)),
        Entry::Setting(name, said) => (Key::Setting(tag, digest_of(name)), bytes(&(name, said))),
        Entry::Lapsed(peer, lapsed) => (Key::Lapsed(tag, *peer), bytes(lapsed)),
        Entry::Beat(beat) => (Key::Beat(tag), bytes(beat)),
    }
}

/// Returns the entry that `writer` spelled so.
pub(super) fn read(text: &str, value: RawValue<'_>, writer: &Writer) -> Result<Entry, Rule> {
    let key = Key::parse(text).ok_or(Rule::Key)?;
    owned(&key, writer)?;
    Ok(match key {
        Key::Header => Entry::Header(decode(value)?),
        Key::Specs(first) => Entry::Specs(SpecChunk {
            first,
            specs: decode_specs(value)?,
        }),
        Key::Environment(digest) => Entry::Environment(digest, decode(value)?),
        Key::End => Entry::End(decode(value)?),
        Key::Bids(..) => Entry::Bids(decode(value)?),
        Key::Votes(..) => Entry::Votes(decode(value)?),
        Key::Outcomes(..) => Entry::Outcomes(decode(value)?),
        Key::Harms(..) => Entry::Harms(decode(value)?),
        Key::Motion(..) => Entry::Motion(decode(value)?),
        Key::Stand(..) => Entry::Stand(decode(value)?),
        Key::Wait(_) => Entry::Wait(decode(value)?),
        Key::Claim(index) => match decode::<(Tag, ClaimMark)>(value)? {
            (tag, mark) if tag == writer.tag => Entry::Claim(index, mark),
            _ => return Err(Rule::Writer),
        },
        Key::Want(index) => wanted(index, About::End, decode(value)?)?,
        Key::Hold(index) => wanted(index, About::Hold, decode(value)?)?,
        Key::Again(index) => wanted(index, About::Again, decode(value)?)?,
        Key::Removal(index) => wanted(index, About::Removal, decode(value)?)?,
        Key::Edit(index) => wanted(index, About::Edit, decode(value)?)?,
        Key::Live(_) => Entry::Live(step(value)?),
        Key::Count(total, _) => Entry::Count(total, step(value)?),
        Key::Member(_) => Entry::Member(decode(value)?),
        Key::Duty(_, peer) => Entry::Duty(peer, decode(value)?),
        Key::Setting(_, digest) => match decode::<(String, Stated)>(value)? {
            (name, said) if digest_of(&name) == digest => Entry::Setting(name, said),
            _ => return Err(Rule::Key),
        },
        Key::Lapsed(_, peer) => Entry::Lapsed(peer, decode(value)?),
        Key::Beat(_) => Entry::Beat(decode(value)?),
    })
}

/// The digest by which a key names a setting: 16 bytes of blake3.
fn digest_of(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
    short
}

/// Checks that a wish stands under the key of what it is about.
fn wanted(index: u16, about: About, want: Want) -> Result<Entry, Rule> {
    if want.wish.about() == about {
        Ok(Entry::Want(index, want))
    } else {
        Err(Rule::Key)
    }
}

/// Returns who wrote a value of a claim register, and what.
pub(super) fn read_claim(value: &[u8]) -> Option<(Tag, ClaimMark)> {
    decode(RawValue::Bytes(value)).ok()
}

/// Checks that a key that names its writer names this one.
fn owned(key: &Key, writer: &Writer) -> Result<(), Rule> {
    let (tag, count) = match key {
        Key::Bids(tag, count)
        | Key::Votes(tag, count)
        | Key::Outcomes(tag, count)
        | Key::Harms(tag, count)
        | Key::Motion(tag, count)
        | Key::Stand(tag, count) => (*tag, *count),
        Key::Wait(tag)
        | Key::Live(tag)
        | Key::Count(_, tag)
        | Key::Duty(tag, _)
        | Key::Setting(tag, _)
        | Key::Lapsed(tag, _)
        | Key::Beat(tag) => (*tag, writer.count),
        Key::Member(peer) if *peer != writer.peer => return Err(Rule::Writer),
        Key::Member(_)
        | Key::Header
        | Key::Specs(_)
        | Key::Environment(_)
        | Key::End
        | Key::Claim(_)
        | Key::Want(_)
        | Key::Hold(_)
        | Key::Again(_)
        | Key::Removal(_)
        | Key::Edit(_) => return Ok(()),
    };
    if tag != writer.tag {
        Err(Rule::Writer)
    } else if count != writer.count {
        Err(Rule::Number)
    } else {
        Ok(())
    }
}

fn bytes<T: Serialize + ?Sized>(value: &T) -> Value {
    Value::Bytes(postcard::to_stdvec(value).expect("entries encode"))
}

fn decode<T: DeserializeOwned>(value: RawValue<'_>) -> Result<T, Rule> {
    let RawValue::Bytes(bytes) = value else {
        return Err(Rule::Value);
    };
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(Rule::Value),
    }
}

/// Decodes specs one by one, so that none is larger than it may be.
fn decode_specs(value: RawValue<'_>) -> Result<Vec<TaskSpec>, Rule> {
    let RawValue::Bytes(bytes) = value else {
        return Err(Rule::Value);
    };
    let (count, mut rest) = postcard::take_from_bytes::<u32>(bytes).map_err(|_| Rule::Value)?;
    if count > u32::from(MAX_CHUNK) {
        return Err(Rule::Specs);
    }
    let mut specs = Vec::new();
    for _ in 0..count {
        let window = &rest[..rest.len().min(TaskSpec::MAX_BYTES)];
        let (spec, tail) = postcard::take_from_bytes(window).map_err(|_| Rule::Specs)?;
        specs.push(spec);
        rest = &rest[window.len() - tail.len()..];
    }
    if rest.is_empty() {
        Ok(specs)
    } else {
        Err(Rule::Value)
    }
}

fn step(value: RawValue<'_>) -> Result<i64, Rule> {
    match value {
        RawValue::Counter(step) | RawValue::Increment(step) => Ok(step),
        RawValue::Bytes(_) => Err(Rule::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_documented() {
        let peer = PeerId([7; 32]);
        let tag = peer.tag();
        let rows = [
            (Key::Header, "!h".to_owned()),
            (Key::Specs(64), "!0040".to_owned()),
            (
                Key::Environment(Digest([0xab; 32])),
                format!("!e{}", "ab".repeat(32)),
            ),
            (Key::End, "!z".to_owned()),
            (Key::Bids(tag, 31), format!("b{tag}00001f")),
            (Key::Votes(tag, 1 << 24), format!("v{tag}1000000")),
            (Key::Outcomes(tag, 2), format!("o{tag}000002")),
            (Key::Motion(tag, 3), format!("r{tag}000003")),
            (Key::Stand(tag, 4), format!("s{tag}000004")),
            (Key::Claim(1023), "c03ff".to_owned()),
            (Key::Want(0), "w0000".to_owned()),
            (Key::Hold(16), "h0010".to_owned()),
            (Key::Again(17), "a0011".to_owned()),
            (Key::Removal(18), "f0012".to_owned()),
            (Key::Edit(19), "e0013".to_owned()),
            (Key::Live(tag), format!("k{tag}")),
            (Key::Count(Total::Lost, tag), format!("ul{tag}")),
            (Key::Member(peer), format!("m{}", "07".repeat(32))),
            (
                Key::Setting(tag, [9; 16]),
                format!("y{tag}{}", "09".repeat(16)),
            ),
            (Key::Duty(tag, peer), format!("x{tag}{}", "07".repeat(32))),
            (Key::Beat(tag), format!("p{tag}")),
        ];
        for (key, text) in rows {
            assert_eq!(key.to_string(), text);
            assert_eq!(Key::parse(&text), Some(key));
        }
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in [
            "", "!", "x", "c123", "c12345", "!e12", "uxaaaaaa", "b", "mzz", "é", "bééé",
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
