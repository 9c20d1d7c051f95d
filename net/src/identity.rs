//! Who a node is (an ed25519 key), and which mesh it belongs to (a secret).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use serde::{Deserialize, Serialize};

use crate::error::NetError;

/// A peer's ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerKey(pub [u8; 32]);

impl PeerKey {
    /// Returns the key inside a libp2p peer id; `None` for keys of another kind.
    #[must_use]
    pub fn of(peer: &PeerId) -> Option<Self> {
        let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
        Some(Self(key.try_into_ed25519().ok()?.to_bytes()))
    }

    /// Returns the libp2p peer id of this key; `None` if it is no point of the curve.
    #[must_use]
    pub fn peer_id(&self) -> Option<PeerId> {
        let key = ed25519::PublicKey::try_from_bytes(&self.0).ok()?;
        Some(PublicKey::from(key).to_peer_id())
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..4]))
    }
}

/// A node's key pair.
#[derive(Clone)]
pub struct Identity(ed25519::Keypair);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.peer()).finish()
    }
}

impl Identity {
    /// Returns a fresh identity.
    #[must_use]
    pub fn generate() -> Self {
        Self(ed25519::Keypair::generate())
    }

    /// Reads the identity from a file, or makes one and writes it there, durably, readable by its owner alone.
    ///
    /// # Errors
    /// The kernel's, or a file that holds no key; it is never replaced.
    pub fn load_or_create(path: &Path) -> Result<Self, NetError> {
        let failed = |source| NetError::File {
            path: path.display().to_string(),
            source,
        };
        match File::open(path) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(failed)?;
                let secret = ed25519::SecretKey::try_from_bytes(&mut bytes)
                    .map_err(|_| NetError::Key(path.display().to_string()))?;
                Ok(Self(ed25519::Keypair::from(secret)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::generate();
                write_private(path, &made.secret_bytes()).map_err(failed)?;
                Ok(made)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the secret key.
    #[must_use]
    pub fn secret_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.secret().as_ref());
        bytes
    }

    /// Returns the public key.
    #[must_use]
    pub fn peer(&self) -> PeerKey {
        PeerKey(self.0.public().to_bytes())
    }

    pub(crate) fn keypair(&self) -> Keypair {
        Keypair::from(self.0.clone())
    }
}

/// Replaces a file at once or not at all, readable by its owner alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

/// What the members of a mesh know and nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshSecret(pub [u8; 32]);

impl fmt::Debug for MeshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeshSecret({:?})", self.id())
    }
}

impl MeshSecret {
    /// Returns a fresh secret: a new mesh.
    #[must_use]
    pub fn generate() -> Self {
        let seed = Identity::generate().secret_bytes();
        Self(blake3::derive_key("aque 2026 mesh secret", &seed))
    }

    /// Returns the mesh's name.
    #[must_use]
    pub fn id(&self) -> MeshId {
        let hash = blake3::derive_key("aque 2026 mesh id", &self.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        MeshId(id)
    }
}

/// A mesh's name, which gives nothing of its secret away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshId(pub [u8; 16]);

impl fmt::Debug for MeshId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn an_identity_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        let made = Identity::load_or_create(&path).unwrap();
        let again = Identity::load_or_create(&path).unwrap();
        assert_eq!(made.peer(), again.peer());
        assert_eq!(
            PeerKey::of(&made.peer().peer_id().unwrap()),
            Some(made.peer())
        );
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(
            Identity::load_or_create(&path),
            Err(NetError::Key(_))
        ));
    }
}
