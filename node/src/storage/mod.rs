//! Storage: the log of signed changes, and small files that are replaced as a whole.
//!
//! [`LogWriter`] owns a [`Log`] on a thread of its own: what was submitted while the disk was busy
//! goes out in one write and one sync (*group commit*). A record is durable when its batch's
//! completion says so, and not before.
//!
//! A log is a row of files, `<number>.log`, of some megabytes each. Only the last is written; the
//! others are *sealed*, and compaction rewrites or removes them one by one while the last goes on
//! growing. Each file is allocated and filled with zeros before it is used. That is what makes a
//! sync cheap: it overwrites blocks that exist, and the file system's own journal has nothing to
//! note. Measured, median of 100 (`fdatasync` after a write of 300 B / 64 KiB): appended 0.24 /
//! 0.48 ms, only allocated (`fallocate`) 0.17 / 0.39 ms, overwritten zeros 0.16 / 0.24 ms on a fast
//! virtual disk with ext4; on another whose journal is slow 3 to 4 ms against 0.07 to 0.14 ms.
//!
//! Reading order: `format`, `file`, `log`, `recovery`, `compaction`, `writer`, `small`.

mod compaction;
mod file;
mod format;
mod log;
mod recovery;
mod small;
#[cfg(test)]
mod tests;
mod writer;

pub use compaction::{Compaction, Keep};
pub use format::{LOG_VERSION, RECORD_BYTES};
pub use log::{Log, LogError, LogOptions};
pub use recovery::{Damage, Recovery, Tail};
pub use small::{read_small, write_small};
pub use writer::{LogEvent, LogStats, LogWriter, Refused};
