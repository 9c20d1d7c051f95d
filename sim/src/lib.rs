//! Simulated worlds that drive the shipped replica, and the judges of its promises.
//!
//! One seed, one history: no thread, no real clock, no unordered map. Everything but the replica is simulated: links, disks,
//! clocks, guards, runs and people. Reading order: [`world`], then [`oracle`], [`scenario`], [`swarm`], [`tune`].

pub mod chance;
pub mod clock;
pub mod disk;
pub mod host;
pub mod keys;
pub mod link;
pub mod oracle;
pub mod plan;
pub mod queue;
pub mod scenario;
pub mod svg;
pub mod swarm;
pub mod timeline;
pub mod trace;
pub mod tune;
pub mod world;
