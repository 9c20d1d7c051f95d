//! TCP (Noise, Yamux) and QUIC, each through the gate, each with one deadline around everything.

use std::io;
use std::sync::Arc;

use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::{PeerId, Transport, noise, quic, tcp, yamux};

use crate::error::NetError;
use crate::gate::Gate;
use crate::identity::Identity;
use crate::stats::{Counts, add};
use crate::{Limits, MeshSecret};

/// Streams of one connection at a time.
const STREAMS: u32 = 64;

/// Returns the transport of a member of a mesh.
pub(crate) fn build(
    identity: &Identity,
    secret: &MeshSecret,
    limits: &Limits,
    counts: &Arc<Counts>,
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
        .timeout(limits.handshake)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut config = quic::Config::new(&keypair);
    config.handshake_timeout = limits.handshake.min(std::time::Duration::from_secs(5));
    config.max_idle_timeout = 10_000;
    config.keep_alive_interval = std::time::Duration::from_secs(3);
    config.max_concurrent_stream_limit = STREAMS;
    config.max_stream_data = 4 << 20;
    config.max_connection_data = 8 << 20;
    let quic = quic::tokio::Transport::new(config)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let either = OrTransport::new(quic, tcp).map(|either, _| match either {
        Either::Left(connection) | Either::Right(connection) => connection,
    });
    let gate = Gate::new(secret, identity.peer());
    let counts = Arc::clone(counts);
    let gated = either.and_then(move |(peer, muxer), endpoint| async move {
        let passed = gate.pass(peer, muxer, endpoint).await;
        if passed.is_err() {
            add(&counts.refused, 1);
        }
        passed
    });
    Ok(TransportTimeout::new(gated, limits.handshake)
        .map_err(|error| io::Error::other(error.to_string()))
        .boxed())
}
