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
    /// Streams ended because of an oversized or half frame.
    bad_streams,
    /// Connections refused by the gate.
    refused,
    /// Connections made.
    connected,
    /// Connections lost.
    lost,
    /// Dials that failed.
    dials_failed,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}
