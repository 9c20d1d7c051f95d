//! What libp2p does for us on each connection.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{identify, mdns, ping};

use crate::NetConfig;
use crate::error::NetError;

/// The protocols of every connection, limits first.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) streams: libp2p_stream::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    pub(crate) fn new(config: &NetConfig) -> Result<Self, NetError> {
        let keypair = config.identity.keypair();
        let limits = &config.limits;
        let connections = ConnectionLimits::default()
            .with_max_pending_incoming(Some(limits.pending))
            .with_max_pending_outgoing(Some(limits.pending))
            .with_max_established_per_peer(Some(4))
            .with_max_established(Some(limits.connections));
        let identify = identify::Config::new("/aque/1".to_owned(), keypair.public())
            .with_agent_version(config.agent.clone())
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(limits.ping).with_timeout(limits.ping);
        let mdns = if config.mdns {
            let settings = mdns::Config {
                query_interval: Duration::from_secs(60),
                ttl: Duration::from_secs(120),
                enable_ipv6: false,
            };
            let made = mdns::tokio::Behaviour::new(settings, keypair.public().to_peer_id());
            Some(made.map_err(|error| NetError::Transport(format!("mDNS: {error}")))?)
        } else {
            None
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(connections),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            streams: libp2p_stream::Behaviour::new(),
            mdns: mdns.into(),
        })
    }
}
