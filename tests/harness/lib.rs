//! The harness: meshes of real `aque-node` processes for the tests in `it/`, and judges fed by what real tasks wrote down.
//!
//! - [`Cluster`] starts nodes in private directories, on loopback addresses of its own or in network namespaces ([`Lan`]), joins
//!   them by ticket, and on drop kills every process that belongs to it (guards and runs too) and removes what it wrote.
//! - [`Node`] is one process: kill, stop, continue, restart, ask.
//! - [`settle`] waits for a condition with back-off and one generous limit; nothing here sleeps for a fixed time.
//! - [`Guest`] is another user of this machine, who asks or runs a node.
//! - [`evidence`] is what tasks record of their lives (by the program `witness`), and the judge of that record.
//!
//! - [`chaos`] lets storms of random faults rage over a cluster and adds up what they show.
//!
//! The harness panics where a test could not go on: it is used by tests only. When a test fails, the tails of all logs are printed.
#![expect(
    clippy::print_stderr,
    reason = "a failed test prints the logs of its nodes"
)]

pub mod aque;
pub mod chaos;
pub mod cluster;
pub mod disk;
pub mod evidence;
pub mod guests;
pub mod lan;
pub mod node;
pub mod processes;
pub mod programs;
pub mod settle;
pub mod tmux;

pub use aque::{Aque, Outcome};
pub use cluster::{Cluster, Plan};
pub use evidence::{Evidence, History};
pub use guests::Guest;
pub use lan::Lan;
pub use node::Node;
pub use settle::{PATIENCE, settle};
