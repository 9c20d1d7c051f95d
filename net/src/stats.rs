//! What the network counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Counts since the start.
        #[derive(Debug, Default)]
        pub(crate) struct Counts { $(pub(crate) $name: AtomicU64,)* }

        /// A reading of all counts.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct NetStats { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Counts {
            pub(crate) fn read(&self) -> NetStats {
                NetStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl NetStats {
            /// Returns every count with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

stats! {
    /// Frames queued for peers.
    frames_sent,
    /// Frames received whole.
    frames_received,
    /// Bytes of frames queued.
    bytes_sent,
    /// Bytes of frames received.
    bytes_received,
    /// Frames not queued: peer away, queue full, or too long.
    frames_unsent,
    /// Lanes ended because a frame was announced that is too long.
    frames_oversized,
    /// Lanes ended because a frame that was begun did not become whole in time.
    frames_half,
    /// Lanes and bulk streams of peers turned away: too fast, too many, or not theirs to open.
    streams_refused,
    /// Peers blocked for a while because of their offences.
    peers_blocked,
    /// Connections from afar that were refused: the sum of the next five.
    refused,
    /// Of them: who does not know the mesh's secret.
    refused_secret,
    /// Of them: who is forgotten or blocked.
    refused_blocked,
    /// Of them: who does not speak as the gate does.
    refused_garbled,
    /// Of them: who was not through in time.
    refused_late,
    /// Of them: who did not even come to the gate, or was one too many.
    refused_handshake,
    /// Connections made.
    connected,
    /// Connections lost.
    lost,
    /// Dials that failed.
    dials_failed,
    /// Dials that failed since the other end is not of this mesh.
    dials_foreign,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}
