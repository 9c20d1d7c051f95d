//! Who is not let in.

use net::{MeshSecret, NetConfig, parse_listen, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{LIMIT, config, node, node_of, pair};

#[tokio::test]
async fn who_does_not_know_the_secret_is_refused() {
    for kind in ["tcp", "quic"] {
        let (ours, theirs) = (MeshSecret::generate(), MeshSecret::generate());
        let (member, mut stranger) = (node(&ours).await, node(&theirs).await);
        stranger.net.dial(member.address(kind));
        let counts = member.counts(|counts| counts.refused >= 1).await;
        assert_eq!(counts.refused, counts.refused_secret);
        stranger.counts(|counts| counts.dials_foreign >= 1).await;
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
    let port = one.port("tcp");
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
    let counts = one.counts(|counts| counts.refused == 4).await;
    assert_eq!(counts.refused_late + counts.refused_handshake, 4);
    let mut two = node(&secret).await;
    two.net.dial(one.address("tcp"));
    assert_eq!(one.up().await, two.key);
    assert_eq!(two.up().await, one.key);
}

#[tokio::test]
async fn the_forgotten_stay_outside_until_they_are_allowed() {
    let (mut one, mut two) = pair("tcp").await;
    one.net.forget(two.key);
    one.down().await;
    two.down().await;
    one.counts(|counts| counts.refused_blocked >= 1).await;
    assert_eq!(one.net.addresses().await, []);
    assert!(one.net.connected().is_empty());
    one.net.allow(two.key);
    assert_eq!(two.up().await, one.key);
    assert_eq!(one.up().await, two.key);
}

#[tokio::test]
async fn a_node_that_dials_itself_lets_it_be() {
    let secret = MeshSecret::generate();
    let one = node(&secret).await;
    let everywhere = parse_listen("0.0.0.0:0").unwrap();
    let mut wide = node_of(NetConfig {
        listen: everywhere,
        ..config(&secret)
    })
    .await;
    // Another spelling of its own address, which only the answer tells.
    wide.net.dial(
        format!("/ip4/127.0.0.9/tcp/{}", wide.port("tcp"))
            .parse()
            .unwrap(),
    );
    wide.counts(|counts| counts.dials_failed == 1).await;
    wide.net.dial(one.address("tcp"));
    assert_eq!(wide.up().await, one.key);
    let counts = wide.net.stats();
    assert_eq!((counts.dials_failed, counts.refused), (1, 0));
}

#[tokio::test]
async fn tcp_and_quic_share_a_free_port() {
    let one = node(&MeshSecret::generate()).await;
    assert_eq!(one.port("tcp"), one.port("udp"));
    assert_ne!(one.port("tcp"), 0);
    let taken = NetConfig {
        listen: vec![one.address("tcp")],
        ..config(&MeshSecret::generate())
    };
    let error = start(taken).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen on"), "{error}");
}
