//! TCP (Noise, Yamux) and QUIC, each through the gate, each with one deadline around everything.

use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::{TransportTimeout, TransportTimeoutError};
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::{PeerId, Transport, noise, quic, tcp, yamux};

use crate::admission::Admission;
use crate::error::NetError;
use crate::gate::{Gate, Refusal, Refused};
use crate::identity::Identity;
use crate::{Limits, MeshSecret};

/// Streams of one connection at a time, both sides' together. A multiplexer ends the connection of
/// whoever exceeds this, so it is far above what two members open.
const STREAMS: u32 = 4 * OPEN_STREAMS;
/// What `streams` opens at most, as the transports count it.
#[expect(clippy::cast_possible_truncation, reason = "it is a small constant")]
const OPEN_STREAMS: u32 = crate::streams::OPEN as u32;
/// A QUIC connection that hears nothing for so long is dead; pings keep live ones busy.
const QUIC_IDLE_MS: u32 = 10_000;
/// Kept alive three times within that.
const QUIC_ALIVE: Duration = Duration::from_secs(3);
/// The longest QUIC handshake.
const QUIC_HANDSHAKE: Duration = Duration::from_secs(5);
/// Unread bytes of one QUIC stream, and of all streams of a connection.
const QUIC_WINDOWS: (u32, u32) = (4 << 20, 8 << 20);

/// Returns the transport of a member of a mesh. Its errors hold a [`Refused`].
pub(crate) fn build(
    identity: &Identity,
    secret: &MeshSecret,
    limits: &Limits,
    admission: &Arc<Admission>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let secured =
        ungated(identity, limits)?.map_err(|error| Refused::because(Refusal::Handshake, &error));
    let gate = Gate::new(secret, identity.peer(), Arc::clone(admission));
    let gated = secured.and_then(move |(peer, muxer), endpoint| gate.pass(peer, muxer, endpoint));
    let timed = TransportTimeout::new(gated, limits.handshake).map_err(|error| match error {
        TransportTimeoutError::Timeout => Refusal::Late.into(),
        TransportTimeoutError::TimerError(error) => Refused::because(Refusal::Late, &error),
        TransportTimeoutError::Other(refused) => refused.into_inner(),
    });
    Ok(timed.boxed())
}

/// Returns the same transport without gate and deadline: what any libp2p node has.
pub(crate) fn ungated(
    identity: &Identity,
    limits: &Limits,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let keypair = identity.keypair();
    let noise =
        noise::Config::new(&keypair).map_err(|error| NetError::Transport(error.to_string()))?;
    let mut muxing = yamux::Config::default();
    muxing.set_max_num_streams(STREAMS as usize);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1)
        .authenticate(noise)
        .multiplex(muxing)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut config = quic::Config::new(&keypair);
    config.handshake_timeout = limits.handshake.min(QUIC_HANDSHAKE);
    config.max_idle_timeout = QUIC_IDLE_MS;
    config.keep_alive_interval = QUIC_ALIVE;
    config.max_concurrent_stream_limit = STREAMS;
    (config.max_stream_data, config.max_connection_data) = QUIC_WINDOWS;
    let quic = quic::tokio::Transport::new(config)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let either = OrTransport::new(quic, tcp).map(|either, _| match either {
        Either::Left(connection) | Either::Right(connection) => connection,
    });
    Ok(either.boxed())
}
