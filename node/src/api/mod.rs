//! The node's side of its API: lines in, lines out. The event loop answers; nothing here decides.

pub mod ids;
pub mod lines;
pub mod server;
pub mod wire;
