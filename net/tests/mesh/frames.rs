//! Frames and streams between members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use net::{Lane, Limits, MeshSecret, NetConfig, NetEvent, OpenError, PeerKey, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{config, limits, node, node_of, pair};

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

#[tokio::test]
async fn frames_come_after_up_however_slow_the_node_is() {
    let secret = MeshSecret::generate();
    let slow = NetConfig {
        limits: Limits {
            events: 1,
            ..limits()
        },
        ..config(&secret)
    };
    let mut slow = node_of(slow).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = node(&secret).await;
        other.net.dial(slow.address("tcp"));
        other.up().await;
        for n in 0..50_u8 {
            other
                .net
                .send(slow.key, Lane::Gossip, Bytes::from(vec![n; 1_000]))
                .unwrap();
            other
                .net
                .send(slow.key, Lane::Claims, Bytes::from(vec![n; 10]))
                .unwrap();
        }
        others.push(other);
    }
    let (mut next, mut up) = (BTreeMap::new(), BTreeSet::new());
    for _ in 0..others.len() * 100 {
        let (peer, lane, frame) = slow
            .wait(|event| match event {
                NetEvent::Up { peer, .. } => {
                    up.insert(peer);
                    None
                }
                NetEvent::Frame { peer, lane, frame } => {
                    assert!(up.contains(&peer), "a frame before its peer is up");
                    Some((peer, lane, frame))
                }
                _ => None,
            })
            .await;
        let expected = next.entry((peer, lane)).or_insert(0_u8);
        assert_eq!(frame[0], *expected, "frames of a lane are in order");
        *expected += 1;
    }
}
