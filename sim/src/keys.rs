//! Keys of a simulated mesh: a keyed hash under one secret that all share, so that a change costs a fraction of a microsecond
//! to sign or to check. A forger has another secret; what else a forger can do is the ledger's own tests' business.

use crdt::ids::PeerId;
use crdt::keys::{Keys, SignatureBytes};

use crate::chance::{self, Purpose};

/// The keys of one simulated node.
#[derive(Clone, Debug)]
pub struct SimKeys {
    me: PeerId,
    secret: [u8; 32],
    gullible: bool,
}

impl SimKeys {
    /// Returns the keys of a host in the world of this seed; each `identity` of a host is another.
    #[must_use]
    pub fn new(seed: u64, host: usize, identity: u32) -> Self {
        let mut secret = [0; 32];
        chance::stream(seed, Purpose::Identity, u64::MAX, 0).fill(&mut secret);
        let mut me = [0; 32];
        chance::stream(seed, Purpose::Identity, host as u64, u64::from(identity)).fill(&mut me);
        Self {
            me: PeerId(me),
            secret,
            gullible: false,
        }
    }

    /// Breaks these keys: they take every signature for a good one.
    #[must_use]
    pub fn gullible(self) -> Self {
        Self {
            gullible: true,
            ..self
        }
    }

    /// Returns the keys of somebody who goes by another's name, and knows no secret but its own.
    #[must_use]
    pub fn stolen_name(me: PeerId, secret: u64) -> Self {
        Self {
            me,
            secret: *blake3::hash(&secret.to_le_bytes()).as_bytes(),
            gullible: false,
        }
    }

    fn signature(&self, author: &PeerId, message: &[u8]) -> SignatureBytes {
        let mut bytes = [0; 64];
        blake3::Hasher::new_keyed(&self.secret)
            .update(&author.0)
            .update(message)
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }
}

impl Keys for SimKeys {
    fn me(&self) -> PeerId {
        self.me
    }

    fn sign(&self, message: &[u8]) -> SignatureBytes {
        self.signature(&self.me, message)
    }

    fn verify(&self, author: &PeerId, message: &[u8], signature: &SignatureBytes) -> bool {
        self.gullible || self.signature(author, message) == *signature
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
        let (one, other) = (SimKeys::new(1, 0, 0), SimKeys::new(1, 0, 1));
        let signature = one.sign(b"bid");
        assert!(other.verify(&one.me(), b"bid", &signature));
        assert!(!other.verify(&one.me(), b"vote", &signature));
        assert!(!other.verify(&other.me(), b"bid", &signature));
        let forged = SimKeys::stolen_name(one.me(), 1).sign(b"bid");
        assert!(!other.verify(&one.me(), b"bid", &forged));
        assert!(!SimKeys::new(2, 0, 0).verify(&one.me(), b"bid", &signature));
    }
}
