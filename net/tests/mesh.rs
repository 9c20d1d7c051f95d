//! Nodes on loopback: what they promise each other, and what strangers get.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use bytes::Bytes;
use net::{
    Identity, Lane, Limits, MeshSecret, Multiaddr, Net, NetConfig, NetEvent, OpenError, PeerKey,
    SendError, parse_listen, start,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;

/// Far longer than anything here takes: a test that waits so long has failed.
const LIMIT: Duration = Duration::from_secs(60);

struct Node {
    net: Net,
    events: Receiver<NetEvent>,
    key: PeerKey,
}

fn limits() -> Limits {
    Limits {
        handshake: Duration::from_secs(3),
        frame: Duration::from_millis(500),
        ping: Duration::from_millis(500),
        redial_least: Duration::from_millis(50),
        redial_most: Duration::from_millis(400),
        ..Limits::default()
    }
}

fn config(secret: &MeshSecret) -> NetConfig {
    NetConfig {
        listen: parse_listen("127.0.0.1:0").unwrap(),
        limits: limits(),
        protocols: vec!["/test/bulk/1"],
        ..NetConfig::new(Identity::generate(), secret.clone())
    }
}

async fn node_of(config: NetConfig) -> Node {
    let key = config.identity.peer();
    let (net, events) = start(config).await.unwrap();
    Node { net, events, key }
}

async fn node(secret: &MeshSecret) -> Node {
    node_of(config(secret)).await
}

impl Node {
    fn address(&self, kind: &str) -> Multiaddr {
        let all = self.net.listen_addrs();
        all.into_iter()
            .find(|address| address.to_string().contains(kind))
            .unwrap()
    }

    async fn wait<T>(&mut self, mut found: impl FnMut(NetEvent) -> Option<T>) -> T {
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

    async fn up(&mut self) -> PeerKey {
        self.wait(|event| match event {
            NetEvent::Up { peer, .. } => Some(peer),
            _ => None,
        })
        .await
    }

    async fn down(&mut self) {
        self.wait(|event| matches!(event, NetEvent::Down { .. }).then_some(()))
            .await;
    }

    async fn frame(&mut self) -> (PeerKey, Lane, Bytes) {
        self.wait(|event| match event {
            NetEvent::Frame { peer, lane, frame } => Some((peer, lane, frame)),
            _ => None,
        })
        .await
    }
}

async fn pair(kind: &str) -> (Node, Node) {
    let secret = MeshSecret::generate();
    let (mut one, mut two) = (node(&secret).await, node(&secret).await);
    two.net.dial(one.address(kind));
    assert_eq!(one.up().await, two.key);
    assert_eq!(two.up().await, one.key);
    (one, two)
}

#[tokio::test]
async fn frames_pass_both_ways_on_both_lanes_over_tcp_and_quic() {
    for kind in ["tcp", "quic"] {
        let (mut one, mut two) = pair(kind).await;
        for lane in [Lane::Gossip, Lane::Claims] {
            let frame = Bytes::from(vec![7; 100_000]);
            one.net.send(two.key, lane, frame.clone()).unwrap();
            assert_eq!(two.frame().await, (one.key, lane, frame));
            two.net
                .send(one.key, lane, Bytes::from_static(b"back"))
                .unwrap();
            assert_eq!(
                one.frame().await,
                (two.key, lane, Bytes::from_static(b"back"))
            );
        }
        let long = Bytes::from(vec![0; (1 << 20) + 1]);
        assert_eq!(
            one.net.send(two.key, Lane::Gossip, long),
            Err(SendError::Oversized)
        );
        assert_eq!(
            one.net.send(PeerKey([9; 32]), Lane::Gossip, Bytes::new()),
            Err(SendError::Away)
        );
    }
}

#[tokio::test]
async fn bulk_streams_pass_megabytes() {
    let (one, mut two) = pair("tcp").await;
    let mut stream = one.net.open(two.key, "/test/bulk/1").await.unwrap();
    let sent: Vec<u8> = (0..4 << 20).map(|n: u32| n.to_le_bytes()[0]).collect();
    let writer = tokio::spawn({
        let sent = sent.clone();
        async move {
            stream.write_all(&sent).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        }
    });
    let mut inbound = two
        .wait(|event| match event {
            NetEvent::Incoming { stream, .. } => Some(stream),
            _ => None,
        })
        .await;
    let mut received = Vec::new();
    inbound.read_to_end(&mut received).await.unwrap();
    assert!(received == sent);
    drop(writer.await.unwrap());
    let unknown = one.net.open(two.key, "/test/unknown/1").await;
    assert!(matches!(unknown, Err(OpenError::Failed(_))));
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_refused() {
    for kind in ["tcp", "quic"] {
        let (ours, theirs) = (MeshSecret::generate(), MeshSecret::generate());
        let (member, mut stranger) = (node(&ours).await, node(&theirs).await);
        stranger.net.dial(member.address(kind));
        let refused = async {
            while member.net.stats().refused == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, refused).await.unwrap();
        assert_eq!(
            (member.net.stats().connected, stranger.net.stats().connected),
            (0, 0)
        );
        assert!(stranger.events.try_recv().is_err());
    }
}

#[tokio::test]
async fn garbage_and_silence_are_turned_away_and_members_come_in() {
    let secret = MeshSecret::generate();
    let mut one = node(&secret).await;
    let port = one
        .address("tcp")
        .to_string()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let mut connections = Vec::new();
    for words in [
        "GET / HTTP/1.1\r\n\r\n",
        "",
        "\u{13}/multistream/1.0.0\n",
        "\u{7f}\u{7f}\u{7f}",
    ] {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        connections.push(stream);
    }
    for mut stream in connections {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection is closed in the end");
    }
    let mut two = node(&secret).await;
    two.net.dial(one.address("tcp"));
    assert_eq!(one.up().await, two.key);
    assert_eq!(two.up().await, one.key);
}

#[tokio::test]
async fn lost_connections_come_back() {
    let (mut one, mut two) = pair("tcp").await;
    for _ in 0..3 {
        one.net.disconnect(two.key);
        one.down().await;
        two.down().await;
        one.up().await;
        two.up().await;
    }
    one.net
        .send(two.key, Lane::Claims, Bytes::from_static(b"still here"))
        .unwrap();
    assert_eq!(two.frame().await.2, Bytes::from_static(b"still here"));
}

#[tokio::test]
async fn a_restarted_peer_on_another_port_is_found() {
    let secret = MeshSecret::generate();
    let dir = tempfile::tempdir().unwrap();
    let mut one = node(&secret).await;
    let identity = Identity::generate();
    let again = || NetConfig {
        identity: identity.clone(),
        address_book: Some(dir.path().join("book")),
        ..config(&secret)
    };
    let mut two = node_of(again()).await;
    two.net.dial(one.address("tcp"));
    one.up().await;
    two.up().await;
    two.net.shutdown().await;
    one.down().await;
    let mut two = node_of(again()).await;
    assert_eq!(one.up().await, two.key);
    assert_eq!(two.up().await, one.key);
}

#[tokio::test]
async fn what_is_learnt_makes_a_full_mesh() {
    let secret = MeshSecret::generate();
    let (mut one, mut two, mut three) = (
        node(&secret).await,
        node(&secret).await,
        node(&secret).await,
    );
    two.net.dial(one.address("tcp"));
    three.net.dial(one.address("quic"));
    one.up().await;
    one.up().await;
    assert_eq!(two.up().await, one.key);
    assert_eq!(three.up().await, one.key);
    two.net.learn(three.key, three.net.listen_addrs());
    assert_eq!(two.up().await, three.key);
    assert_eq!(three.up().await, two.key);
    let book = one.net.addresses().await;
    assert_eq!(
        book.len(),
        2,
        "identify told the addresses of those who dialled"
    );
}

#[tokio::test]
async fn a_full_queue_refuses_and_the_rest_arrives() {
    let secret = MeshSecret::generate();
    let small = NetConfig {
        limits: Limits {
            queue_bytes: 1 << 20,
            ..limits()
        },
        ..config(&secret)
    };
    let mut one = node_of(small).await;
    let mut two = node(&secret).await;
    two.net.dial(one.address("tcp"));
    one.up().await;
    two.up().await;
    let frame = Bytes::from(vec![1; 200_000]);
    let mut sent = 0;
    while one.net.send(two.key, Lane::Gossip, frame.clone()).is_ok() {
        sent += 1;
        assert!(sent < 100_000, "the queue is bounded");
    }
    assert_eq!(
        one.net.send(two.key, Lane::Gossip, frame),
        Err(SendError::Full)
    );
    for _ in 0..sent {
        two.frame().await;
    }
}
