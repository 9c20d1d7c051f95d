//! The node's side of its API: lines in, lines out. The event loop answers; nothing here decides.
//!
//! Reading order: `wire` (the words), `news` and `page` (those about what happens, and about what a screen shows), `socket`, `server` (connections), `passage` (from host to host), `answers` (the way back), `codec` (bytes to lines), `ids`,
//! `select` and `lines` (from what people type to what a replica takes, and from its views to what people read), `rights` (who may ask for what).

pub mod answers;
pub mod codec;
pub mod ids;
pub(crate) mod life;
pub mod lines;
pub mod news;
pub mod page;
pub mod passage;
pub mod rights;
pub mod select;
pub mod server;
pub mod socket;
pub mod wire;
