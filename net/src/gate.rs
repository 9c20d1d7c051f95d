//! The gate: both ends of a new connection prove that they know the mesh's secret, inside the
//! transport, before the swarm hears of the connection.
//!
//! It runs on the first substream, after encryption and multiplexing, alike on TCP and QUIC:
//!
//! ```text
//! dialer                                  listener
//!   version (1), nonce (32)       ->
//!                                 <-      nonce (32), keyed hash (32)
//!   keyed hash (32)               ->
//!                                 <-      welcome (1)
//! ```
//! A hash is over role, version, both keys and both nonces: it is good for one connection and one
//! side only, and the secret never travels. The first half of each nonce of a node stays the same
//! while its process runs: it tells a peer that has restarted from one that comes once more. Every read has a fixed size, so nothing said here can
//! be too long; the deadline is the transport's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, poll_fn};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::identity::Keypair;

use crate::admission::{Admission, Instance};
use crate::identity::{MeshSecret, PeerKey};

/// The version of the gate.
const VERSION: u8 = 1;
/// The byte that ends the exchange.
const WELCOME: u8 = 0xA9;

/// Why a connection did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The peer does not know the mesh's secret.
    #[error("it does not know the mesh's secret")]
    Secret,
    /// The peer is forgotten or blocked.
    #[error("it is forgotten or blocked")]
    Blocked,
    /// What came is not what the gate of this version says, or the peer left in the middle.
    #[error("it does not speak as the gate does")]
    Garbled,
    /// The deadline passed.
    #[error("it took too long")]
    Late,
    /// Nothing came that the gate could have been asked about.
    #[error("no secured connection came about")]
    Handshake,
}

/// A refusal with what else is known about it.
#[derive(Debug, thiserror::Error)]
#[error("{kind}{detail}")]
pub(crate) struct Refused {
    pub(crate) kind: Refusal,
    detail: String,
}

impl Refused {
    pub(crate) fn because(kind: Refusal, source: &impl std::fmt::Display) -> Self {
        Self {
            kind,
            detail: format!(": {source}"),
        }
    }

    /// Returns the refusal inside an error that came through libp2p.
    pub(crate) fn inside(error: &io::Error) -> Option<Refusal> {
        error
            .get_ref()?
            .downcast_ref::<Self>()
            .map(|refused| refused.kind)
    }
}

impl From<Refusal> for Refused {
    fn from(kind: Refusal) -> Self {
        Self {
            kind,
            detail: String::new(),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        Self::because(Refusal::Garbled, &source)
    }
}

/// What one node brings to the gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    key: [u8; 32],
    me: PeerKey,
    instance: Instance,
    admission: Arc<Admission>,
}

/// Who speaks.
#[derive(Clone, Copy)]
enum Side {
    Dialer,
    Listener,
}

/// Both identities and both nonces: what a proof is about.
struct Meeting {
    dialer: PeerKey,
    listener: PeerKey,
    dialer_nonce: [u8; 32],
    listener_nonce: [u8; 32],
}

impl Gate {
    pub(crate) fn new(secret: &MeshSecret, me: PeerKey, admission: Arc<Admission>) -> Self {
        Self {
            key: blake3::derive_key("aque 2026 gate", &secret.0),
            me,
            instance: Instance::of(&nonce()),
            admission,
        }
    }

    /// A fresh nonce of this process.
    fn nonce(&self) -> [u8; 32] {
        let mut nonce = nonce();
        nonce[..16].copy_from_slice(&self.instance.0);
        nonce
    }

    /// Lets a connection through, or not. A connection to this very node passes: the swarm knows it
    /// by its key and drops it, and tells at which address it was.
    pub(crate) async fn pass(
        self,
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        endpoint: ConnectedPoint,
    ) -> Result<(PeerId, StreamMuxerBox), Refused> {
        let Some(other) = PeerKey::of(&peer) else {
            return Err(Refused::because(Refusal::Garbled, &"a key of another kind"));
        };
        if other == self.me {
            return Ok((peer, muxer));
        }
        if self.admission.refuses(other) {
            return Err(Refusal::Blocked.into());
        }
        let dials = endpoint.is_dialer();
        let stream = poll_fn(|cx| first_stream(&mut muxer, dials, cx)).await?;
        let mut talk: BoxFuture<'_, Result<(), Refused>> = if dials {
            self.dial(other, stream).boxed()
        } else {
            self.listen(other, stream).boxed()
        };
        // The exchange needs the connection to be driven, and the connection is ours for now. When it
        // breaks, the exchange still has the last word: it may know why.
        poll_fn(|cx| {
            if let Poll::Ready(done) = talk.poll_unpin(cx) {
                return Poll::Ready(done);
            }
            let Poll::Ready(broken) = drive(&mut muxer, cx) else {
                return Poll::Pending;
            };
            match talk.poll_unpin(cx) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => Poll::Ready(broken.map_err(Refused::from)),
            }
        })
        .await?;
        drop(talk);
        Ok((peer, muxer))
    }

    async fn dial(&self, listener: PeerKey, mut stream: SubstreamBox) -> Result<(), Refused> {
        let dialer_nonce = self.nonce();
        let mut hello = [VERSION; 33];
        hello[1..].copy_from_slice(&dialer_nonce);
        stream.write_all(&hello).await?;
        stream.flush().await?;
        let (mut listener_nonce, mut proof) = ([0; 32], [0; 32]);
        stream.read_exact(&mut listener_nonce).await?;
        stream.read_exact(&mut proof).await?;
        let meeting = Meeting {
            dialer: self.me,
            listener,
            dialer_nonce,
            listener_nonce,
        };
        // Our own proof goes out, and is answered, before theirs is judged: both ends learn the reason.
        stream
            .write_all(self.proof(Side::Dialer, &meeting).as_bytes())
            .await?;
        stream.flush().await?;
        let mut welcome = [0];
        let answered = stream.read_exact(&mut welcome).await;
        if self.proof(Side::Listener, &meeting) != blake3::Hash::from_bytes(proof) {
            return Err(Refusal::Secret.into());
        }
        answered?;
        if welcome != [WELCOME] {
            return Err(Refusal::Garbled.into());
        }
        self.admission.met(listener, Instance::of(&listener_nonce));
        Ok(stream.close().await?)
    }

    async fn listen(&self, dialer: PeerKey, mut stream: SubstreamBox) -> Result<(), Refused> {
        let mut version = [0];
        stream.read_exact(&mut version).await?;
        if version != [VERSION] {
            return Err(Refused::because(
                Refusal::Garbled,
                &"another version of the gate",
            ));
        }
        let mut dialer_nonce = [0; 32];
        stream.read_exact(&mut dialer_nonce).await?;
        let listener_nonce = self.nonce();
        let meeting = Meeting {
            dialer,
            listener: self.me,
            dialer_nonce,
            listener_nonce,
        };
        stream.write_all(&listener_nonce).await?;
        stream
            .write_all(self.proof(Side::Listener, &meeting).as_bytes())
            .await?;
        stream.flush().await?;
        let mut proof = [0; 32];
        stream.read_exact(&mut proof).await?;
        if self.proof(Side::Dialer, &meeting) != blake3::Hash::from_bytes(proof) {
            return Err(Refusal::Secret.into());
        }
        self.admission.met(dialer, Instance::of(&dialer_nonce));
        stream.write_all(&[WELCOME]).await?;
        stream.flush().await?;
        Ok(stream.close().await?)
    }

    /// A keyed hash; comparing two takes the same time whatever they hold.
    fn proof(&self, side: Side, meeting: &Meeting) -> blake3::Hash {
        let role: u8 = match side {
            Side::Dialer => 1,
            Side::Listener => 2,
        };
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[VERSION, role]);
        hasher.update(&meeting.dialer.0).update(&meeting.listener.0);
        hasher
            .update(&meeting.dialer_nonce)
            .update(&meeting.listener_nonce);
        hasher.finalize()
    }
}

/// A fresh nonce, from the system's entropy by way of a key nobody keeps.
fn nonce() -> [u8; 32] {
    let throwaway = Keypair::generate_ed25519();
    let seed = throwaway.derive_secret(b"aque 2026 gate nonce");
    seed.unwrap_or_else(|| *blake3::hash(&throwaway.public().encode_protobuf()).as_bytes())
}

fn first_stream(
    muxer: &mut StreamMuxerBox,
    dials: bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<SubstreamBox>> {
    let pinned = Pin::new(&mut *muxer);
    let stream = if dials {
        pinned.poll_outbound(cx)
    } else {
        pinned.poll_inbound(cx)
    };
    match stream {
        Poll::Ready(stream) => Poll::Ready(stream),
        Poll::Pending => drive(muxer, cx),
    }
}

/// Lets a connection do its own work; ends only when it broke.
fn drive<T>(muxer: &mut StreamMuxerBox, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    loop {
        match muxer.poll_unpin(cx) {
            Poll::Ready(Ok(_address_change)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}
