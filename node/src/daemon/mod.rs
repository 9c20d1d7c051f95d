//! `aque-node`: one event loop that joins the replica to sockets, disk, processes and people.
//!
//! `program` starts and ends it; `node` is the loop; `runs` speaks to the guard, `answers` to clients, `waits` keeps those who
//! wait, `streams` serves captured output.

mod answers;
mod found;
mod node;
mod program;
mod runs;
mod streams;
mod waits;

pub use program::program;
