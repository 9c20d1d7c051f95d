//! How members find each other, at first and again.

use std::time::Duration;

use bytes::Bytes;
use net::{Identity, Lane, Limits, MeshSecret, NetConfig, Ticket, parse_listen};

use crate::support::{LIMIT, config, limits, node, node_of, pair};

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
async fn one_address_of_a_ticket_leads_to_everybody() {
    let secret = MeshSecret::generate();
    let mut nodes = vec![node(&secret).await];
    for kind in ["tcp", "quic", "tcp"] {
        let ticket = Ticket {
            secret: secret.clone(),
            addrs: vec![nodes[0].address(kind)],
        };
        let Ticket { secret, addrs } = ticket.to_string().parse().unwrap();
        nodes.push(
            node_of(NetConfig {
                bootstrap: addrs,
                ..config(&secret)
            })
            .await,
        );
    }
    // What a node does with its documents: members hear of members.
    let spread = async {
        while nodes.iter().any(|node| node.net.connected().len() < 3) {
            for node in &nodes {
                for (peer, addresses) in node.net.addresses().await {
                    nodes
                        .iter()
                        .for_each(|other| other.net.learn(peer, addresses.clone()));
                }
            }
        }
    };
    tokio::time::timeout(LIMIT, spread)
        .await
        .expect("all are connected to all");
}

#[tokio::test]
async fn a_ticket_is_tried_until_somebody_is_there() {
    let secret = MeshSecret::generate();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = free.local_addr().unwrap();
    let bootstrap = vec![
        format!("/ip4/127.0.0.1/tcp/{}", place.port())
            .parse()
            .unwrap(),
    ];
    drop(free);
    let mut early = node_of(NetConfig {
        bootstrap,
        ..config(&secret)
    })
    .await;
    early.counts(|counts| counts.dials_failed >= 3).await;
    let listen = parse_listen(&place.to_string()).unwrap();
    let mut late = node_of(NetConfig {
        listen,
        ..config(&secret)
    })
    .await;
    assert_eq!(early.up().await, late.key);
    assert_eq!(late.up().await, early.key);
}

#[tokio::test]
async fn a_restarted_node_on_its_old_port_is_up_again() {
    let secret = MeshSecret::generate();
    let identity = Identity::generate();
    let mut one = node_of(NetConfig {
        identity: identity.clone(),
        ..config(&secret)
    })
    .await;
    let listen = vec![one.address("tcp"), one.address("quic")];
    // So eager that it is there before the other has bound its second port.
    let eager = Limits {
        redial_least: Duration::from_millis(1),
        redial_most: Duration::from_millis(1),
        ..limits()
    };
    let mut two = node_of(NetConfig {
        limits: eager,
        ..config(&secret)
    })
    .await;
    two.net.dial(one.address("tcp"));
    two.up().await;
    one.up().await;
    for _ in 0..3 {
        one.net.shutdown().await;
        two.down().await;
        let listen = listen.clone();
        one = node_of(NetConfig {
            identity: identity.clone(),
            listen,
            ..config(&secret)
        })
        .await;
        assert_eq!(two.up().await, one.key);
        assert_eq!(one.up().await, two.key);
    }
}

#[tokio::test]
async fn a_damaged_address_book_is_begun_anew() {
    let secret = MeshSecret::generate();
    let dir = tempfile::tempdir().unwrap();
    let book = dir.path().join("book");
    std::fs::write(&book, b"aquebk01 and then nonsense").unwrap();
    let kept = || NetConfig {
        address_book: Some(book.clone()),
        ..config(&secret)
    };
    let mut one = node_of(kept()).await;
    assert_eq!(one.net.addresses().await, []);
    let mut two = node(&secret).await;
    two.net.dial(one.address("tcp"));
    one.up().await;
    two.up().await;
    let known = async { while one.net.addresses().await.is_empty() {} };
    tokio::time::timeout(LIMIT, known)
        .await
        .expect("the peer says where it listens");
    one.net.shutdown().await;
    let mut one = node_of(kept()).await;
    assert_eq!(one.net.addresses().await.len(), 1);
    assert_eq!(one.up().await, two.key);
}

#[tokio::test]
async fn another_member_at_a_known_address_is_found_out() {
    let secret = MeshSecret::generate();
    let mut one = node(&secret).await;
    let mut two = node(&secret).await;
    let gone = Identity::generate().peer();
    one.net.learn(gone, vec![two.address("tcp")]);
    assert_eq!(one.up().await, two.key);
    assert_eq!(two.up().await, one.key);
    assert!(
        one.net
            .addresses()
            .await
            .iter()
            .all(|(peer, _)| *peer != gone)
    );
}
