//! What node's system modules do on a real Linux: processes, signals, sockets and files.
//!
//! Tests wait for conditions. The only use of time is a limit on how long a test may hang.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod disk;
mod lifecycle;
mod outlive;
mod persons;
mod rig;
mod rules;
mod standstill;
mod trees;
