//! The documents, the rules of a claim, and the replica that plays them: pure, without input or output.

pub mod config;
pub mod entry;
pub mod event;
pub mod ids;
pub mod keys;
pub mod message;
pub mod task;
pub mod time;
