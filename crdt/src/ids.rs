//! Identifiers: newtypes with one text form each, and a short form for logs.
//!
//! A peer is its ed25519 public key. A [`Tag`] is the six characters that people read for it, 30 bits of a blake3 hash;
//! the mesh admits no two members with one tag, so registers and votes name peers by tag.
//! A [`TaskId`] is the tag of the peer that took the submission and that peer's own count, from 1.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A node's identity: its ed25519 public key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub [u8; 32]);

impl PeerId {
    /// Returns the short name of this peer.
    #[must_use]
    pub fn tag(&self) -> Tag {
        let hash = blake3::derive_key("aque 2026 peer tag", &self.0);
        let word = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        Tag(word >> 2)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.tag())
    }
}

/// The short name of a peer: 30 bits, written as six characters of base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(pub u32);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 30 bits in the upper part of four bytes give seven characters; the seventh carries no information.
        let text = BASE32_NOPAD
            .encode(&(self.0 << 2).to_be_bytes())
            .to_ascii_lowercase();
        f.write_str(&text[..6])
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Tag {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != 6 || !text.is_ascii() {
            return Err(ParseIdError::Tag(text.to_owned()));
        }
        let padded = format!("{}A", text.to_ascii_uppercase());
        let bytes = BASE32_NOPAD
            .decode(padded.as_bytes())
            .map_err(|_| ParseIdError::Tag(text.to_owned()))?;
        match bytes.first_chunk::<4>() {
            Some(word) => Ok(Self(u32::from_be_bytes(*word) >> 2)),
            None => Err(ParseIdError::Tag(text.to_owned())),
        }
    }
}

/// A task: who took its submission, and that peer's count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The peer that took the submission.
    pub tag: Tag,
    /// That peer's own count of tasks, from 1.
    pub n: u64,
}

impl TaskId {
    /// Returns the id so many after this one of the same peer.
    #[must_use]
    pub fn plus(self, many: u32) -> Self {
        Self {
            n: self.n.saturating_add(u64::from(many)),
            ..self
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.tag, self.n)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (tag, n) = text
            .split_once('-')
            .ok_or_else(|| ParseIdError::Task(text.to_owned()))?;
        let n = n.parse().map_err(|_| ParseIdError::Task(text.to_owned()))?;
        Ok(Self {
            tag: tag.parse()?,
            n,
        })
    }
}

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not six characters of base 32.
    #[error("'{0}' is not a host tag (six characters of a-z, 2-7)")]
    Tag(String),
    /// Not TAG-N.
    #[error("'{0}' is not a task id (TAG-N, for example k3v7qa-12)")]
    Task(String),
}

/// A segment: its author and that author's count of segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId {
    /// The peer whose submissions it holds.
    pub author: PeerId,
    /// The author's count of segments, from 0.
    pub n: u32,
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seg/{}/{}", self.author.tag(), self.n)
    }
}

/// One Automerge document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DocId {
    /// Members and mesh-wide settings.
    Directory,
    /// Presence of one minute: wall clock divided by 60 s.
    Presence(u64),
    /// Tasks and their registers.
    Segment(SegmentId),
}

impl fmt::Debug for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("dir"),
            Self::Presence(epoch) => write!(f, "hb/{epoch}"),
            Self::Segment(id) => write!(f, "{id:?}"),
        }
    }
}

/// A fencing token: grows with each claim of a task; 0 means none.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Debug,
)]
pub struct Epoch(pub u32);

impl Epoch {
    /// No claim yet.
    pub const NONE: Self = Self(0);
    /// How far one bid may reach above its writer's last: more claims than a task sees in years. A host whose next bid would
    /// reach further gets there in several steps; so one bid alone never takes the room that others need.
    pub const LEAP: u32 = 1 << 20;
    /// The last that may be written: no honest mesh comes near it.
    pub const LAST: Self = Self(u32::MAX / 2);

    /// Returns the highest epoch that may follow this one.
    #[must_use]
    pub fn leap(self) -> Self {
        Self(self.0.saturating_add(Self::LEAP))
    }

    /// Returns the epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which committee of a segment: that of its header is the first, 0, and each that replaces another has the next number.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Debug,
)]
pub struct Generation(pub u16);

impl Generation {
    /// The committee of the header.
    pub const FIRST: Self = Self(0);

    /// Returns the one that replaces this one; `None` after 65,535 replacements.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One execution of a task at one epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RunId {
    /// The task.
    pub task: TaskId,
    /// The epoch that allowed it.
    pub epoch: Epoch,
}

/// A start of a node's process: drawn afresh at each start, so that answers to an earlier one never count for a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A blake3 digest of contents: 32 bytes, and 64 hexadecimal digits where people may read it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 32]>::deserialize(deserializer).map(Self);
        }
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let wrong = |bytes: Vec<u8>| D::Error::invalid_length(bytes.len(), &"32 bytes");
        bytes.try_into().map(Self).map_err(wrong)
    }
}

impl Digest {
    /// Returns the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn digests_are_read_by_programs_and_by_people() {
        let digest = Digest::of(b"x");
        let bytes = postcard::to_stdvec(&digest).unwrap();
        assert_eq!(bytes, digest.0);
        assert_eq!(postcard::from_bytes::<Digest>(&bytes), Ok(digest));
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        for text in ["\"\"", "\"0a\"", "\"x\"", "[1, 2]"] {
            assert!(serde_json::from_str::<Digest>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_forms_round_trip() {
        for seed in 0..=255_u8 {
            let tag = PeerId([seed; 32]).tag();
            assert_eq!(tag.to_string().len(), 6);
            assert_eq!(tag.to_string().parse::<Tag>().unwrap(), tag);
            let id = TaskId {
                tag,
                n: u64::from(seed) * 1_000 + 1,
            };
            assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "abc",
            "abcdef",
            "abcdef-",
            "abcdef-x",
            "abc1ef-3",
            "äbcde-1",
            "-1",
            "abcdefg-1",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }
}
