//! What libp2p does for us on each connection.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{identify, mdns, ping};
use tracing::warn;

use crate::NetConfig;
use crate::streams::Streams;

/// How often the local network is asked for peers, and how long its answers hold.
const MDNS_QUERY: Duration = Duration::from_secs(60);
const MDNS_TTL: Duration = Duration::from_secs(120);

/// The protocols of every connection, limits first.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) streams: Streams,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    pub(crate) fn new(config: &NetConfig) -> Self {
        let keypair = config.identity.keypair();
        let limits = &config.limits;
        let connections = ConnectionLimits::default()
            .with_max_pending_incoming(Some(limits.pending))
            .with_max_pending_outgoing(Some(limits.pending))
            .with_max_established_per_peer(Some(limits.per_peer))
            .with_max_established(Some(limits.connections));
        let identify = identify::Config::new("/aque/1".to_owned(), keypair.public())
            .with_agent_version(config.agent.clone())
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        let ping = ping::Config::new()
            .with_interval(limits.ping)
            .with_timeout(limits.ping);
        Self {
            limits: connection_limits::Behaviour::new(connections),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            streams: Streams::new(&config.protocols),
            mdns: discovery(config).into(),
        }
    }
}

/// Discovery on the local network is a help, never a need: where it cannot start, all else goes on.
fn discovery(config: &NetConfig) -> Option<mdns::tokio::Behaviour> {
    if !config.mdns {
        return None;
    }
    let settings = mdns::Config {
        query_interval: MDNS_QUERY,
        ttl: MDNS_TTL,
        enable_ipv6: false,
    };
    let me = config.identity.keypair().public().to_peer_id();
    mdns::tokio::Behaviour::new(settings, me)
        .inspect_err(|error| warn!(%error, "peers on the local network cannot be discovered"))
        .ok()
}
