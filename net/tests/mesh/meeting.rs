//! Many that meet at the same moment: each pair is up once, and stays up.

use std::collections::BTreeMap;

use bytes::Bytes;
use net::{Identity, Lane, MeshSecret, Multiaddr, NetConfig, NetEvent, PeerKey, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{LIMIT, Node, config, node, node_of, pair};

/// How often a node was told that a peer came and went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    ups: u32,
    downs: u32,
}

const ONCE: Tally = Tally { ups: 1, downs: 0 };
const AGAIN: Tally = Tally { ups: 2, downs: 1 };

/// A node and what it was told so far.
struct Guest {
    node: Node,
    told: BTreeMap<PeerKey, Tally>,
    heard: BTreeMap<PeerKey, Bytes>,
}

impl Guest {
    fn new(node: Node) -> Self {
        let (told, heard) = (BTreeMap::new(), BTreeMap::new());
        Self { node, told, heard }
    }

    /// Takes what has been told meanwhile.
    fn listen(&mut self) {
        while let Ok(event) = self.node.events.try_recv() {
            match event {
                NetEvent::Up { peer, .. } => self.told.entry(peer).or_default().ups += 1,
                NetEvent::Down { peer, .. } => self.told.entry(peer).or_default().downs += 1,
                NetEvent::Frame { peer, frame, .. } => {
                    self.heard.insert(peer, frame);
                }
                NetEvent::Incoming { .. } | NetEvent::Listening { .. } => {}
            }
        }
    }

    fn connections(&self) -> u64 {
        let stats = self.node.net.stats();
        stats.connected - stats.lost
    }
}

/// Waits until every guest is content.
async fn all(guests: &mut [Guest], content: impl Fn(&Guest) -> bool) {
    let wait = async {
        loop {
            guests.iter_mut().for_each(Guest::listen);
            if guests.iter().all(&content) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, wait).await;
    let told: Vec<_> = guests
        .iter()
        .map(|guest| (&guest.told, guest.node.net.stats()))
        .collect();
    assert!(ended.is_ok(), "{told:#?}");
}

/// Waits until each pair has one connection left and has exchanged words on it.
async fn settle(guests: &mut [Guest], word: &'static str) {
    let others = guests.len() - 1;
    all(guests, |guest| guest.node.net.connected().len() == others).await;
    all(guests, |guest| guest.connections() == others as u64).await;
    let keys: Vec<PeerKey> = guests.iter().map(|guest| guest.node.key).collect();
    for guest in guests.iter() {
        for key in keys.iter().filter(|key| **key != guest.node.key) {
            let word = Bytes::from_static(word.as_bytes());
            guest.node.net.send(*key, Lane::Claims, word).unwrap();
        }
    }
    let heard = |guest: &Guest| guest.heard.values().filter(|heard| **heard == word).count();
    all(guests, |guest| heard(guest) == others).await;
}

fn introduce(guests: &[Guest]) {
    for guest in guests {
        for other in guests
            .iter()
            .filter(|other| other.node.key != guest.node.key)
        {
            guest
                .node
                .net
                .learn(other.node.key, other.node.net.listen_addrs());
            // Both ways at once: what a ticket does beside what the book knows.
            for address in other.node.net.listen_addrs() {
                guest.node.net.dial(address);
            }
        }
    }
}

async fn meet(secret: &MeshSecret, count: usize) -> Vec<Guest> {
    let mut guests = Vec::new();
    for _ in 0..count {
        guests.push(Guest::new(node(secret).await));
    }
    introduce(&guests);
    guests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_dial_all_at_once_and_each_is_up_once() {
    for _ in 0..10 {
        let mut guests = meet(&MeshSecret::generate(), 4).await;
        settle(&mut guests, "here").await;
        for guest in &guests {
            assert!(
                guest.told.values().all(|told| *told == ONCE),
                "{:?}",
                guest.told
            );
        }
    }
}

async fn restarted(guests: &mut Vec<Guest>, again: impl Fn(Vec<Multiaddr>) -> NetConfig) {
    let left = guests.remove(0);
    let listen = left.node.net.listen_addrs();
    left.node.net.shutdown().await;
    let back = Guest::new(node_of(again(listen)).await);
    guests.insert(0, back);
    introduce(guests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_is_one_down_and_one_up() {
    for _ in 0..5 {
        let secret = MeshSecret::generate();
        let identity = Identity::generate();
        let config = |listen| NetConfig {
            listen,
            identity: identity.clone(),
            ..config(&secret)
        };
        let first = node_of(config(self::config(&secret).listen)).await;
        let mut guests = meet(&secret, 3).await;
        guests.insert(0, Guest::new(first));
        introduce(&guests);
        settle(&mut guests, "here").await;
        restarted(&mut guests, config).await;
        let back = guests[0].node.key;
        all(&mut guests[1..], |guest| guest.told[&back].ups >= 2).await;
        settle(&mut guests, "here again").await;
        assert!(
            guests[0].told.values().all(|told| *told == ONCE),
            "{:?}",
            guests[0].told
        );
        for guest in &guests[1..] {
            for (peer, told) in &guest.told {
                let expected = if *peer == back { AGAIN } else { ONCE };
                assert_eq!(*told, expected, "{:?}", guest.told);
            }
        }
    }
}

async fn echo(mut stream: Stream) {
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    stream.write_all(&word).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn ask(mut stream: Stream) {
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    let mut word = Vec::new();
    stream.read_to_end(&mut word).await.unwrap();
    assert_eq!(word, b"ping");
}

/// Answers every stream from now on.
fn serve(mut node: Node) -> (net::Net, PeerKey) {
    let answer = (node.net.clone(), node.key);
    tokio::spawn(async move {
        while let Some(event) = node.events.recv().await {
            if let NetEvent::Incoming { stream, .. } = event {
                tokio::spawn(echo(stream));
            }
        }
    });
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_that_are_opened_at_once_are_all_answered() {
    for kind in ["tcp", "quic"] {
        let secret = MeshSecret::generate();
        let mut host = node(&secret).await;
        let mut readers = Vec::new();
        for _ in 0..3 {
            let mut reader = node(&secret).await;
            reader.net.dial(host.address(kind));
            reader.up().await;
            host.up().await;
            readers.push(reader);
        }
        let (net, key) = serve(host);
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            for reader in &readers {
                let net = reader.net.clone();
                asking
                    .spawn(async move { ask(net.open(key, "/test/bulk/1").await.unwrap()).await });
            }
        }
        let answered = tokio::time::timeout(LIMIT, asking.join_all())
            .await
            .unwrap();
        assert_eq!(answered.len(), 300);
        assert_eq!(net.stats().lost, 0, "no connection broke under it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_is_opened_though_its_connection_closes() {
    let (one, two) = pair("tcp").await;
    let (two, key) = serve(two);
    for _ in 0..20 {
        let lost = one.net.stats().lost;
        while one.net.stats().lost == lost {
            // Said each time: it means nothing to a node that has not yet seen the connection come back.
            two.disconnect(one.key);
            let net = one.net.clone();
            let opened = tokio::time::timeout(LIMIT, net.open(key, "/test/bulk/1"))
                .await
                .unwrap();
            drop(opened.unwrap());
        }
    }
}
