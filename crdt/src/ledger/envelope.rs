//! The signed envelope of one change: what travels between peers and what the log keeps, byte for byte the same.
//!
//! Layout: one version byte; postcard of document, author, incarnation and count; the raw Automerge change chunk; 64 bytes of
//! signature. The signature stands over a blake3 hash of all that precedes it, derived for this purpose alone, so it holds for
//! one place of one author's chain in one document and for nothing else. There is one spelling of each envelope: numbers that
//! are longer than they need be are malformed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{DocId, Incarnation, PeerId};
use crate::keys::{Keys, SignatureBytes};

use super::refused::Refused;

/// The largest envelope, bytes.
pub const MAX_ENVELOPE: usize = 512 << 10;

/// Version of the layout.
pub const ENVELOPE_VERSION: u8 = 1;
const SIGNATURE: usize = 64;
/// More than any head: tag, author, number, author, incarnation, count.
const MAX_HEAD: usize = 1 + 32 + 10 + 32 + 10 + 5;

/// Whose change this is and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// In which document.
    pub(super) doc: DocId,
    /// Who wrote and signed it.
    pub(super) author: PeerId,
    /// Which start of the author's process.
    pub(super) incarnation: Incarnation,
    /// Its place in the author's chain in that document.
    pub(super) count: u32,
}

/// An envelope in parts; nothing of it is verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) head: Head,
    /// The raw change chunk.
    pub(super) chunk: &'a [u8],
    signed: &'a [u8],
    signature: &'a SignatureBytes,
}

impl<'a> Envelope<'a> {
    /// Returns the parts of `bytes`.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(Refused::Oversized(bytes.len()));
        }
        let (signed, signature) = bytes.split_last_chunk().ok_or(Refused::Malformed)?;
        let body = signed
            .strip_prefix(&[ENVELOPE_VERSION])
            .ok_or(Refused::Malformed)?;
        let (head, chunk) =
            postcard::take_from_bytes::<Head>(body).map_err(|_| Refused::Malformed)?;
        let mut spelling = [0; MAX_HEAD];
        let canonical = postcard::to_slice(&head, &mut spelling).map_err(|_| Refused::Malformed)?;
        if !body.starts_with(canonical) || canonical.len() + chunk.len() != body.len() {
            return Err(Refused::Malformed);
        }
        Ok(Self {
            head,
            chunk,
            signed,
            signature,
        })
    }

    /// Says whether its author signed it.
    pub(super) fn is_signed(&self, keys: &dyn Keys) -> bool {
        keys.verify(
            &self.head.author,
            &signing_hash(self.signed),
            self.signature,
        )
    }

    /// Says whether `other` signs the very same contents.
    pub(super) fn says_the_same(&self, other: &[u8]) -> bool {
        other.len() == self.signed.len() + SIGNATURE && other.starts_with(self.signed)
    }
}

/// Returns the signed envelope of a change of this node.
pub(super) fn seal(head: &Head, chunk: &[u8], keys: &dyn Keys) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(1 + MAX_HEAD + chunk.len() + SIGNATURE);
    bytes.push(ENVELOPE_VERSION);
    let mut bytes = postcard::to_extend(head, bytes).expect("a head encodes");
    bytes.extend_from_slice(chunk);
    let signature = keys.sign(&signing_hash(&bytes));
    bytes.extend_from_slice(&signature);
    bytes.into()
}

fn signing_hash(signed: &[u8]) -> [u8; 32] {
    blake3::derive_key("aque 2026 signed change", signed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::ids::SegmentId;
    use crate::keys::Ed25519Keys;

    fn sample(keys: &dyn Keys) -> (Head, Arc<[u8]>) {
        let author = keys.me();
        let head = Head {
            doc: DocId::Segment(SegmentId { author, n: 3 }),
            author,
            incarnation: Incarnation(u64::MAX),
            count: 300,
        };
        (head, seal(&head, b"chunk", keys))
    }

    #[test]
    fn a_sealed_change_opens() {
        let keys = Ed25519Keys::new(&[1; 32], &[9; 32]);
        let (head, bytes) = sample(&keys);
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!((envelope.head, envelope.chunk), (head, &b"chunk"[..]));
        assert!(envelope.is_signed(&keys));
        assert!(envelope.says_the_same(&bytes));
    }

    #[test]
    fn no_flipped_byte_stays_signed() {
        let keys = Ed25519Keys::new(&[1; 32], &[9; 32]);
        let (_, bytes) = sample(&keys);
        for place in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[place] ^= 1;
            assert!(
                !Envelope::parse(&bad).is_ok_and(|e| e.is_signed(&keys)),
                "{place}"
            );
        }
    }

    #[test]
    fn a_long_spelling_is_malformed() {
        let keys = Ed25519Keys::new(&[1; 32], &[9; 32]);
        let head = Head {
            doc: DocId::Directory,
            author: keys.me(),
            incarnation: Incarnation(0),
            count: 1,
        };
        let mut body = seal(&head, b"", &keys)[..].to_vec();
        body.truncate(body.len() - SIGNATURE);
        assert_eq!(body.pop(), Some(1), "the count comes last");
        body.extend([0x81, 0x00]);
        let signature = keys.sign(&signing_hash(&body));
        body.extend(signature);
        assert_eq!(Envelope::parse(&body).unwrap_err(), Refused::Malformed);
    }
}
