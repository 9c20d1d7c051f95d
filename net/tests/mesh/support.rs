//! Nodes on loopback, and waiting for what they do.

use std::time::Duration;

use bytes::Bytes;
use net::{
    Identity, Lane, Limits, MeshSecret, Multiaddr, Net, NetConfig, NetEvent, NetStats, PeerKey,
    parse_listen, start,
};
use tokio::sync::mpsc::Receiver;

/// Far longer than anything here takes: a test that waits so long has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) net: Net,
    pub(crate) events: Receiver<NetEvent>,
    pub(crate) key: PeerKey,
}

pub(crate) fn limits() -> Limits {
    Limits {
        handshake: Duration::from_secs(3),
        frame: Duration::from_millis(500),
        ping: Duration::from_millis(500),
        redial_least: Duration::from_millis(50),
        redial_most: Duration::from_millis(400),
        settle: Duration::from_millis(300),
        ..Limits::default()
    }
}

pub(crate) fn config(secret: &MeshSecret) -> NetConfig {
    NetConfig {
        listen: parse_listen("127.0.0.1:0").unwrap(),
        limits: limits(),
        protocols: vec!["/test/bulk/1"],
        ..NetConfig::new(Identity::generate(), secret.clone())
    }
}

pub(crate) async fn node_of(config: NetConfig) -> Node {
    let key = config.identity.peer();
    let (net, events) = start(config).await.unwrap();
    Node { net, events, key }
}

pub(crate) async fn node(secret: &MeshSecret) -> Node {
    node_of(config(secret)).await
}

impl Node {
    pub(crate) fn address(&self, kind: &str) -> Multiaddr {
        let all = self.net.listen_addrs();
        all.into_iter()
            .find(|address| address.to_string().contains(kind))
            .unwrap()
    }

    pub(crate) async fn wait<T>(&mut self, mut found: impl FnMut(NetEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the network goes on");
                if let Some(found) = found(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LIMIT, search)
            .await
            .expect("it happens in time")
    }

    pub(crate) async fn up(&mut self) -> PeerKey {
        self.wait(|event| match event {
            NetEvent::Up { peer, .. } => Some(peer),
            _ => None,
        })
        .await
    }

    /// Waits until the counts say so.
    pub(crate) async fn counts(&self, enough: impl Fn(&NetStats) -> bool) -> NetStats {
        let wait = async {
            while !enough(&self.net.stats()) {
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(LIMIT, wait).await;
        assert!(ended.is_ok(), "{:?}", self.net.stats());
        self.net.stats()
    }

    pub(crate) fn port(&self, kind: &str) -> u16 {
        let text = self.address(kind).to_string();
        text.split('/').find_map(|part| part.parse().ok()).unwrap()
    }

    pub(crate) async fn down(&mut self) {
        self.wait(|event| matches!(event, NetEvent::Down { .. }).then_some(()))
            .await;
    }

    pub(crate) async fn frame(&mut self) -> (PeerKey, Lane, Bytes) {
        self.wait(|event| match event {
            NetEvent::Frame { peer, lane, frame } => Some((peer, lane, frame)),
            _ => None,
        })
        .await
    }
}

pub(crate) async fn pair(kind: &str) -> (Node, Node) {
    let secret = MeshSecret::generate();
    let (mut one, mut two) = (node(&secret).await, node(&secret).await);
    two.net.dial(one.address(kind));
    assert_eq!(one.up().await, two.key);
    assert_eq!(two.up().await, one.key);
    (one, two)
}
