//! The gate: both ends of a new connection prove that they know the mesh's secret, inside the transport.
//!
//! It runs on the first substream, after encryption and multiplexing and before the swarm hears of the connection. The dialer
//! sends a version and a nonce, the listener its nonce and a keyed hash over both identities and nonces, the dialer its own
//! keyed hash, the listener one byte of welcome. The secret never travels; a hash is good for one connection only.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, poll_fn};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::identity::Keypair;
use libp2p::PeerId;

use crate::identity::{MeshSecret, PeerKey};

/// The version of the gate.
const VERSION: u8 = 1;
/// The byte that ends the exchange.
const WELCOME: u8 = 0xA9;

/// What one node brings to the gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    key: [u8; 32],
    me: PeerKey,
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
    pub(crate) fn new(secret: &MeshSecret, me: PeerKey) -> Self {
        Self { key: blake3::derive_key("aque 2026 gate", &secret.0), me }
    }

    /// Lets a connection through, or not.
    pub(crate) async fn pass(
        self,
        peer: PeerId,
        mut muxer: StreamMuxerBox,
        endpoint: ConnectedPoint,
    ) -> io::Result<(PeerId, StreamMuxerBox)> {
        let Some(other) = PeerKey::of(&peer) else { return Err(refused("a key of another kind")) };
        if other == self.me {
            return Err(refused("it is this very node"));
        }
        let dials = endpoint.is_dialer();
        let stream = poll_fn(|cx| first_stream(&mut muxer, dials, cx)).await?;
        let mut talk: BoxFuture<'_, io::Result<()>> =
            if dials { self.dial(other, stream).boxed() } else { self.listen(other, stream).boxed() };
        // The exchange needs the connection to be driven, and the connection is ours for now.
        poll_fn(|cx| {
            if let Poll::Ready(done) = talk.poll_unpin(cx) {
                return Poll::Ready(done);
            }
            drive(&mut muxer, cx)
        })
        .await?;
        drop(talk);
        Ok((peer, muxer))
    }

    async fn dial(&self, listener: PeerKey, mut stream: SubstreamBox) -> io::Result<()> {
        let dialer_nonce = nonce();
        let mut hello = [VERSION; 33];
        hello[1..].copy_from_slice(&dialer_nonce);
        stream.write_all(&hello).await?;
        stream.flush().await?;
        let (mut listener_nonce, mut proof) = ([0; 32], [0; 32]);
        stream.read_exact(&mut listener_nonce).await?;
        stream.read_exact(&mut proof).await?;
        let meeting = Meeting { dialer: self.me, listener, dialer_nonce, listener_nonce };
        if self.proof(Side::Listener, &meeting) != blake3::Hash::from_bytes(proof) {
            return Err(refused("it does not know the mesh's secret"));
        }
        stream.write_all(self.proof(Side::Dialer, &meeting).as_bytes()).await?;
        stream.flush().await?;
        let mut welcome = [0];
        stream.read_exact(&mut welcome).await?;
        if welcome != [WELCOME] {
            return Err(refused("no welcome"));
        }
        stream.close().await
    }

    async fn listen(&self, dialer: PeerKey, mut stream: SubstreamBox) -> io::Result<()> {
        let mut hello = [0; 33];
        stream.read_exact(&mut hello).await?;
        if hello[0] != VERSION {
            return Err(refused("another version of the gate"));
        }
        let mut dialer_nonce = [0; 32];
        dialer_nonce.copy_from_slice(&hello[1..]);
        let listener_nonce = nonce();
        let meeting = Meeting { dialer, listener: self.me, dialer_nonce, listener_nonce };
        stream.write_all(&listener_nonce).await?;
        stream.write_all(self.proof(Side::Listener, &meeting).as_bytes()).await?;
        stream.flush().await?;
        let mut proof = [0; 32];
        stream.read_exact(&mut proof).await?;
        if self.proof(Side::Dialer, &meeting) != blake3::Hash::from_bytes(proof) {
            return Err(refused("it does not know the mesh's secret"));
        }
        stream.write_all(&[WELCOME]).await?;
        stream.flush().await?;
        stream.close().await
    }

    /// A keyed hash; comparing two takes the same time whatever they hold.
    fn proof(&self, side: Side, meeting: &Meeting) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(match side {
            Side::Dialer => b"dialer",
            Side::Listener => b"answer",
        });
        hasher.update(&meeting.dialer.0).update(&meeting.listener.0);
        hasher.update(&meeting.dialer_nonce).update(&meeting.listener_nonce);
        hasher.finalize()
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("refused at the gate: {why}"))
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
    let stream = if dials { pinned.poll_outbound(cx) } else { pinned.poll_inbound(cx) };
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
