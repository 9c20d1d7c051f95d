//! Versioned messages between replicas, and their codec.
//!
//! A frame is one version byte and one postcard-encoded [`Message`]; at most [`MAX_FRAME`] bytes. Lists are as long as the
//! frame lets them be, so decoding allocates no more than a small multiple of what arrived.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entry::Beat;
use crate::ids::{DocId, Incarnation, PeerId, SegmentId};
use crate::time::Mono;

/// The largest frame, bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// What one frame of changes is filled to before the next is begun, bytes.
pub const FULL_FRAME: usize = 256 << 10;
/// The version of this codec.
pub const VERSION: u8 = 1;

/// The stream of a neighbour on which a frame travels: claims do not wait behind documents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Documents and their repair.
    Gossip,
    /// Heartbeats and acks.
    Claims,
}

/// What replicas say to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// The sender was just connected, or started within this minute: which start of its process this is, and how it is.
    Hello(Incarnation, Box<Beat>),
    /// Signed changes: a hint that may be lost.
    Changes(Vec<Arc<[u8]>>),
    /// The digest of everything the sender holds; equal digests end the exchange.
    Root(u64),
    /// The documents the sender holds, each with the digest of its vector.
    Documents(Vec<(DocId, u64)>),
    /// How many changes of each author the sender has of a document: send what is missing.
    Vector(DocId, Vec<(PeerId, u32)>),
    /// The sender's bids and holds in these segments are alive.
    Heartbeat(Heartbeat),
    /// The answer to a heartbeat.
    Ack(Ack),
    /// The sender's disk holds so many changes of the receiver's own in these documents.
    Stored(Vec<(DocId, u32)>),
}

/// Renews every lease of its sender at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Which start of the sender's process.
    pub incarnation: Incarnation,
    /// When it was sent, by the sender's clock.
    pub sent: Mono,
    /// The segments in which the sender bids or holds and the receiver is a witness.
    pub segments: Vec<SegmentId>,
}

/// Answers a heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ack {
    /// As in the heartbeat.
    pub incarnation: Incarnation,
    /// As in the heartbeat.
    pub sent: Mono,
    /// For each segment of the heartbeat: how many changes of the sender's the receiver must have seen for this ack to count.
    /// It is the count at the last vote that took a task of the segment away from the receiver.
    pub left: Vec<(SegmentId, u32)>,
}

/// Why a frame is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame may be.
    #[error("frame of {0} bytes")]
    Oversized(usize),
    /// Another version of the codec.
    #[error("frame of version {0}")]
    Version(u8),
    /// Not a message.
    #[error("malformed frame")]
    Malformed,
}

impl Message {
    /// Returns the frame of this message.
    ///
    /// # Panics
    /// Never: a message always encodes.
    #[must_use]
    pub fn encode(&self) -> Arc<[u8]> {
        postcard::to_extend(self, vec![VERSION])
            .expect("a message encodes")
            .into()
    }

    /// Returns the message of a frame.
    ///
    /// # Errors
    /// A frame that is too long, of another version, or malformed; trailing bytes count as malformed.
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        if frame.len() > MAX_FRAME {
            return Err(FrameError::Oversized(frame.len()));
        }
        match frame.split_first() {
            Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
                Ok((message, [])) => Ok(message),
                Ok(_) | Err(_) => Err(FrameError::Malformed),
            },
            Some((&version, _)) => Err(FrameError::Version(version)),
            None => Err(FrameError::Malformed),
        }
    }

    /// Returns the stream it travels on.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Self::Heartbeat(_) | Self::Ack(_) => Lane::Claims,
            Self::Hello(..)
            | Self::Changes(_)
            | Self::Root(_)
            | Self::Documents(_)
            | Self::Vector(..)
            | Self::Stored(_) => Lane::Gossip,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn sample() -> Message {
        let author = PeerId([7; 32]);
        Message::Vector(
            DocId::Segment(SegmentId { author, n: 3 }),
            vec![(author, 9)],
        )
    }

    #[test]
    fn a_frame_round_trips() {
        assert_eq!(Message::decode(&sample().encode()).unwrap(), sample());
    }

    #[test]
    fn every_truncation_and_any_tail_is_malformed() {
        let frame = sample().encode();
        for len in 0..frame.len() {
            assert!(Message::decode(&frame[..len]).is_err(), "{len}");
        }
        let longer = [&frame[..], &[0]].concat();
        assert_eq!(Message::decode(&longer), Err(FrameError::Malformed));
        assert_eq!(Message::decode(&[9, 0]), Err(FrameError::Version(9)));
        assert_eq!(
            Message::decode(&vec![VERSION; MAX_FRAME + 1]),
            Err(FrameError::Oversized(MAX_FRAME + 1))
        );
    }
}
