//! Captured output, from whichever host has it: stored streams by digest, live ones as they grow.
//!
//! `local` reads this host's files, `peer` carries a stream from one host to another, `answer` brings both streams of a run to a
//! client, `fetch` one of them into a file for a run that reads it, `tail` keeps the last lines. What has a digest is hashed by the
//! node that takes it, as it passes.

mod answer;
mod fetch;
mod local;
mod peer;
mod tail;

use bytes::Bytes;
use crdt::ids::{Digest, RunId};
use serde::{Deserialize, Serialize};
use std::io;
use tokio::sync::mpsc;

pub(super) use answer::{Mesh, answer};
pub(super) use fetch::{Lack, Origin, part_of};
pub(super) use local::Store;
pub(super) use peer::serve;

use crate::api::wire::StreamName;

/// The protocol on which peers ask for output.
pub(super) const PROTOCOL: &str = "/aque/output/1";
/// What a host says that does not have what is wanted of it, and will not.
const GONE: &str = "it is not stored there any more";
/// Pieces are at most this long, bytes.
const PIECE: usize = 64 << 10;
/// Pieces that wait for whoever takes them.
const PIECES: usize = 8;

/// Part of a stream of a run, as one peer asks another for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    run: RunId,
    stream: StreamName,
    /// Bytes before this are there already.
    from: u64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    /// What is there by now.
    Now,
    /// Everything until the run ends.
    Follow,
    /// A stored stream.
    Stored(Digest),
}

type Pieces = mpsc::Sender<Bytes>;

/// Passes a piece on; an error if nobody takes it.
async fn pass(to: &Pieces, piece: Bytes) -> io::Result<()> {
    to.send(piece)
        .await
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// Does `work` until it is done or nobody takes its pieces any more.
async fn while_taken(to: &Pieces, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::select! {
        done = work => done,
        () = to.closed() => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
