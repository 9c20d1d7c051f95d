//! The node: the replica of [`crdt`] joined to sockets ([`net`]), disk, processes and people; and the client that people use.
//!
//! `daemon` is the event loop; `guard` and `executor` run tasks, `look` looks at file systems, `storage` keeps the log, `outputs` what tasks print, `call`
//! has functions called, `api` speaks to clients. `client`, `feed`, `cli` and `render` are the client's side. `config`, `clock`, `filter`,
//! `lock`, `formats`, `panics`, `signals` and `users` serve both.

pub mod api;
mod call;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod executor;
pub mod feed;
pub mod filter;
pub mod formats;
pub mod guard;
pub mod lock;
pub mod look;
pub mod outputs;
pub mod panics;
pub mod render;
pub mod signals;
pub mod storage;
mod top;
mod usage;
pub mod users;
