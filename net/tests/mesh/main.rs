//! Nodes on loopback: what they promise each other, and what strangers get.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod finding;
mod frames;
mod meeting;
mod strangers;
mod support;
