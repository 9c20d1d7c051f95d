//! The API's lines from host to host, on streams of the protocol [`PROTOCOL`]: a client's, passed on by the node that it asked, and a
//! node's own questions.
//!
//! Whoever opens the stream first says in a line for whom ([`Preface`]); then all is as on a socket. Who that is, is the word of the
//! host that opened it, a member of the mesh: it has looked at its own kernel's. It might as well submit a task of that user itself, which
//! hosts would take at its word; so a client from afar may look, and do with that user's own tasks what could be done at home
//! ([`Reach`]), but has none of the rights that come from being somebody on this host.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use net::{Net, PeerKey, Stream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::codec::FramedRead;
use tracing::debug;

use super::answers::Question;
use super::codec::{Line, Lines};
use super::rights::Caller;
use super::server::{Farewell, serve_lines};
use super::wire::{Body, Call, Hello, MAX_LINE, Reply, Request, SCHEMA};

/// The protocol on which peers pass on lines of the API.
pub const PROTOCOL: &str = "/aque/api/1";
/// The other side has so long for each step before the first answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest name of a user, bytes.
const USER_BYTES: usize = 64;

/// From how far something may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From anywhere: it changes nothing, and shows nothing of what tasks wrote or what lets a host in.
    Looks,
    /// From anywhere, in the name of those whose tasks it is about.
    Owners,
    /// On this host alone.
    Here,
}

impl Call {
    /// Returns from how far it may be asked.
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self {
            Self::Status(_)
            | Self::Page(_)
            | Self::Show { .. }
            | Self::Wait { .. }
            | Self::Events(_)
            | Self::Explain { .. }
            | Self::Nodes {}
            | Self::Settings {}
            | Self::Queues {}
            | Self::Stats {}
            | Self::Doctor {} => Reach::Looks,
            Self::Submit(_)
            | Self::Output(_)
            | Self::Close { .. }
            | Self::Kill { .. }
            | Self::Retry { .. }
            | Self::Edit { .. }
            | Self::Remove { .. }
            | Self::Hold { .. }
            | Self::Release { .. } => Reach::Owners,
            Self::Assign { .. } | Self::Set { .. } | Self::Invite {} | Self::Pass { .. } => {
                Reach::Here
            }
        }
    }
}

/// The first line of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Preface {
    /// Who asks there; empty: the node itself.
    user: String,
}

/// A stream on which another node has greeted.
#[derive(Debug)]
pub struct Passage {
    /// What it says.
    pub(super) theirs: FramedRead<ReadHalf<Stream>, Lines>,
    /// What is said to it.
    pub(super) ours: WriteHalf<Stream>,
    /// Its greeting.
    pub(super) hello: Hello,
}

impl Passage {
    /// Opens a stream to a peer for a user of this host, or for the node itself. Safe to drop.
    ///
    /// # Errors
    /// The peer is away, silent, or speaks otherwise.
    pub async fn open(net: &Net, peer: PeerKey, user: &str) -> io::Result<Self> {
        let opened = net.open(peer, PROTOCOL).await;
        let stream = opened.map_err(|error| io::Error::other(error.to_string()))?;
        let (read, mut ours) = tokio::io::split(stream);
        let mut theirs = FramedRead::new(read, Lines::up_to(MAX_LINE));
        let user = user.to_owned();
        let hello: Hello = timeout(PATIENCE, async {
            say(&mut ours, &Preface { user }).await?;
            hear(&mut theirs).await
        })
        .await??;
        if hello.aque != SCHEMA {
            let what = format!("it speaks version {} of the API, not {SCHEMA}", hello.aque);
            return Err(io::Error::other(what));
        }
        Ok(Self {
            theirs,
            ours,
            hello,
        })
    }

    /// Returns the other node's greeting.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Asks a question that has one answer. Safe to drop.
    ///
    /// # Errors
    /// The stream breaks, or what comes is no answer.
    pub async fn ask(&mut self, call: Call) -> io::Result<Body> {
        say(&mut self.ours, &Request { id: 1, call }).await?;
        let reply: Reply = hear(&mut self.theirs).await?;
        Ok(reply.body)
    }
}

async fn say(to: &mut WriteHalf<Stream>, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    to.write_all(&bytes).await?;
    to.flush().await
}

async fn hear<T: DeserializeOwned>(
    from: &mut FramedRead<ReadHalf<Stream>, Lines>,
) -> io::Result<T> {
    match from.next().await {
        Some(Ok(Line::Whole(line))) => Ok(serde_json::from_slice(&line)?),
        Some(Ok(Line::TooLong)) => Err(io::Error::other("a line is too long")),
        Some(Err(error)) => Err(error),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Serves a peer that passes on lines, as long as it keeps the stream open; `host` is what people call it.
pub async fn serve(stream: Stream, host: &str, hello: Hello, questions: mpsc::Sender<Question>) {
    let (read, write) = tokio::io::split(stream);
    let mut theirs = FramedRead::new(read, Lines::up_to(MAX_LINE));
    let preface = timeout(PATIENCE, hear::<Preface>(&mut theirs)).await;
    let user = match preface {
        Ok(Ok(Preface { user })) if is_name(&user) => user,
        Ok(Ok(_)) => return debug!(host, "a peer passes on lines of nobody"),
        Ok(Err(error)) => return debug!(host, %error, "a peer passes on no lines"),
        Err(_) => return debug!(host, "a peer passes on no lines in time"),
    };
    let caller = Caller::from_afar(&user, host);
    // What can be read no more is the end: nobody waits for an answer then.
    serve_lines(theirs, write, caller, (hello, questions), Farewell::None).await;
}

/// Says whether a text may be the name of a user, as far as it is shown to people.
fn is_name(text: &str) -> bool {
    text.len() <= USER_BYTES && !text.chars().any(char::is_control)
}
