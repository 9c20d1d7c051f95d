//! Signatures and membership proofs: the two operations of a key that documents need.
//!
//! A trait, so that a simulated world may sign ten thousand times a second with a cheap keyed hash
//! while programs use [`Ed25519Keys`] (RFC 8032; verification is strict, so that every replica agrees on what is valid).

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::ids::PeerId;

/// A signature: 64 bytes.
pub type SignatureBytes = [u8; 64];

/// This node's key, and the checks of others' keys.
pub trait Keys: fmt::Debug + Send {
    /// Returns this node's identity.
    fn me(&self) -> PeerId;

    /// Signs `message`; deterministic.
    fn sign(&self, message: &[u8]) -> SignatureBytes;

    /// Says whether `signature` of `message` is `author`'s.
    fn verify(&self, author: &PeerId, message: &[u8], signature: &SignatureBytes) -> bool;

    /// Returns the proof that `peer` was admitted: a keyed hash of its identity under the mesh's secret.
    fn admission(&self, peer: &PeerId) -> [u8; 32];
}

/// The keys of real nodes.
pub struct Ed25519Keys {
    key: SigningKey,
    me: PeerId,
    secret: [u8; 32],
}

impl Ed25519Keys {
    /// Returns keys of an ed25519 secret key (32 bytes) in the mesh with this secret.
    #[must_use]
    pub fn new(secret_key: &[u8; 32], mesh_secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret_key);
        let me = PeerId(key.verifying_key().to_bytes());
        Self {
            key,
            me,
            secret: blake3::derive_key("aque 2026 admission", mesh_secret),
        }
    }
}

impl fmt::Debug for Ed25519Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519Keys")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

impl Keys for Ed25519Keys {
    fn me(&self) -> PeerId {
        self.me
    }

    fn sign(&self, message: &[u8]) -> SignatureBytes {
        self.key.sign(message).to_bytes()
    }

    fn verify(&self, author: &PeerId, message: &[u8], signature: &SignatureBytes) -> bool {
        VerifyingKey::from_bytes(&author.0)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
            .is_ok()
    }

    fn admission(&self, peer: &PeerId) -> [u8; 32] {
        *blake3::keyed_hash(&self.secret, &peer.0).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_its_authors_alone() {
        let ours = Ed25519Keys::new(&[1; 32], &[9; 32]);
        let theirs = Ed25519Keys::new(&[2; 32], &[9; 32]);
        let signature = ours.sign(b"bid");
        assert!(theirs.verify(&ours.me(), b"bid", &signature));
        assert!(!theirs.verify(&ours.me(), b"vote", &signature));
        assert!(!theirs.verify(&theirs.me(), b"bid", &signature));
        assert_eq!(ours.admission(&theirs.me()), theirs.admission(&theirs.me()));
        let foreign = Ed25519Keys::new(&[1; 32], &[8; 32]);
        assert_ne!(
            foreign.admission(&theirs.me()),
            theirs.admission(&theirs.me())
        );
    }
}
