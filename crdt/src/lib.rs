//! The documents, the rules of a claim, and the replica that plays them: pure, without input or output.

pub mod ballots;
pub mod claim;
pub mod config;
pub mod entry;
pub mod event;
pub mod fit;
pub mod generation;
pub mod graph;
pub mod history;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod message;
pub mod offences;
pub mod queues;
pub mod registers;
pub mod replica;
pub mod resolve;
pub mod roster;
pub mod schedule;
pub mod settings;
pub mod task;
pub mod terms;
pub mod time;
pub mod units;
pub mod witness;
