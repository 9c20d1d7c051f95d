//! Tests with peers that do not keep to the rules: strangers who know libp2p but not the gate, and
//! members who know the secret and misbehave behind it.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, poll_fn, select};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt};
use libp2p::core::transport::{Boxed, DialOpts, PortUse, Transport};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, swarm};
use libp2p_stream::Control;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::admission::Admission;
use crate::lanes::{Lane, MAX_FRAME};
use crate::{Identity, Limits, MeshSecret, Net, NetConfig, NetEvent, NetStats, PeerKey};
use crate::{parse_listen, start, transport};

/// Far longer than anything here takes: a test that waits so long has failed.
const LIMIT: Duration = Duration::from_secs(60);

struct Victim {
    net: Net,
    events: Receiver<NetEvent>,
    key: PeerKey,
    secret: MeshSecret,
}

fn limits() -> Limits {
    let (handshake, frame) = (Duration::from_secs(2), Duration::from_millis(200));
    Limits {
        handshake,
        frame,
        ..Limits::default()
    }
}

async fn victim() -> Victim {
    let secret = MeshSecret::generate();
    let identity = Identity::generate();
    let key = identity.peer();
    let listen = parse_listen("127.0.0.1:0").unwrap();
    let config = NetConfig {
        listen,
        limits: limits(),
        ..NetConfig::new(identity, secret.clone())
    };
    let (net, events) = start(config).await.unwrap();
    Victim {
        net,
        events,
        key,
        secret,
    }
}

impl Victim {
    fn address(&self, kind: &str) -> Multiaddr {
        let all = self.net.listen_addrs();
        all.into_iter()
            .find(|address| address.to_string().contains(kind))
            .unwrap()
    }

    /// Waits until the counts say so.
    async fn counts(&self, enough: impl Fn(&NetStats) -> bool) -> NetStats {
        let wait = async {
            while !enough(&self.net.stats()) {
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(LIMIT, wait).await;
        assert!(ended.is_ok(), "{:?}", self.net.stats());
        self.net.stats()
    }

    /// Returns the next of what the node is told of a peer: that it is up, or why it is down.
    async fn told(&mut self) -> &'static str {
        let next = async {
            loop {
                match self.events.recv().await.unwrap() {
                    NetEvent::Up { .. } => return "up",
                    NetEvent::Down { why, .. } => return why,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.unwrap()
    }

    /// Returns an identity that opens the lanes, or that does not.
    fn opener(&self, opens: impl Fn(PeerKey, PeerKey) -> bool) -> Identity {
        let mut all = std::iter::repeat_with(Identity::generate);
        all.find(|identity| opens(identity.peer(), self.key))
            .unwrap()
    }
}

/// A libp2p node with nothing of ours in it but the transport.
struct Raw {
    control: Control,
    victim: PeerId,
    news: UnboundedReceiver<News>,
    dials: UnboundedSender<Multiaddr>,
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    Begun,
    Ended,
}

impl Raw {
    fn dial(transport: Boxed<(PeerId, StreamMuxerBox)>, identity: &Identity, to: &Victim) -> Self {
        let me = identity.keypair().public().to_peer_id();
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(600));
        let mut swarm = Swarm::new(transport, libp2p_stream::Behaviour::new(), me, config);
        swarm.dial(to.address("tcp")).unwrap();
        let control = swarm.behaviour().new_control();
        let (heard, news) = unbounded_channel();
        let (dials, mut wanted) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = swarm.select_next_some() => event,
                    Some(address) = wanted.recv() => {
                        let address: Multiaddr = address;
                        swarm.dial(address).unwrap();
                        continue;
                    }
                };
                let said = match event {
                    SwarmEvent::ConnectionEstablished { .. } => News::Begun,
                    SwarmEvent::ConnectionClosed { .. } => News::Ended,
                    _ => continue,
                };
                if heard.send(said).is_err() {
                    return;
                }
            }
        });
        Self {
            control,
            victim: to.key.peer_id().unwrap(),
            news,
            dials,
        }
    }

    fn dial_as_member(identity: &Identity, to: &Victim) -> Self {
        let admission = Arc::new(Admission::new(&limits()));
        let transport = transport::build(identity, &to.secret, &limits(), &admission).unwrap();
        Self::dial(transport, identity, to)
    }

    async fn member(identity: &Identity, to: &Victim) -> Self {
        let mut member = Self::dial_as_member(identity, to);
        member.hears(News::Begun).await;
        member
    }

    async fn open(&mut self, lane: Lane) -> libp2p::Stream {
        let opening = self.control.open_stream(self.victim, lane.protocol());
        tokio::time::timeout(LIMIT, opening).await.unwrap().unwrap()
    }

    /// Opens a lane until the victim takes it: one that is refused ends at once.
    async fn lasting(&mut self, lane: Lane) -> libp2p::Stream {
        loop {
            let mut stream = self.open(lane).await;
            let end = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut [0])).await;
            if end.is_err() {
                return stream;
            }
        }
    }

    /// Waits for the next news, which must be this.
    async fn hears(&mut self, news: News) {
        let heard = tokio::time::timeout(LIMIT, self.news.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(heard, news);
    }
}

/// Writes bytes and waits for the end of the stream, which may come while they are written.
async fn say(mut stream: libp2p::Stream, bytes: &[u8]) {
    let talk = async {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    let ended = tokio::time::timeout(LIMIT, talk).await;
    assert!(ended.is_ok(), "the stream is ended");
}

#[tokio::test]
async fn three_offences_close_the_connection_and_the_door() {
    let victim = victim().await;
    let identity = victim.opener(|one, other| one < other);
    let mut member = Raw::member(&identity, &victim).await;
    victim.counts(|counts| counts.connected == 1).await;
    say(member.open(Lane::Gossip).await, &[0xff; 4]).await;
    // A lane that is opened again at once is refused; one that is opened a little later is not.
    while victim.net.stats().frames_half == 0 {
        // Half a head, and nothing more.
        say(member.open(Lane::Claims).await, &[0, 0]).await;
    }
    let oversized = u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes();
    while victim.net.stats().frames_oversized == 1 {
        say(member.open(Lane::Gossip).await, &oversized).await;
    }
    member.hears(News::Ended).await;
    let counts = victim.net.stats();
    assert_eq!(
        (
            counts.frames_oversized,
            counts.frames_half,
            counts.peers_blocked
        ),
        (2, 1, 1)
    );
    let _again = Raw::dial_as_member(&identity, &victim);
    let counts = victim.counts(|counts| counts.refused_blocked == 1).await;
    assert_eq!(counts.connected, 1, "it did not come in again");
    victim.net.allow(identity.peer());
    let _again = Raw::dial_as_member(&identity, &victim);
    victim.counts(|counts| counts.connected == 2).await;
}

#[tokio::test]
async fn lanes_are_opened_by_the_lower_key_only() {
    let victim = victim().await;
    let mut member = Raw::member(&victim.opener(|one, other| one > other), &victim).await;
    victim.counts(|counts| counts.connected == 1).await;
    say(member.open(Lane::Gossip).await, &[0, 0, 0, 0]).await;
    let counts = victim.counts(|counts| counts.streams_refused >= 1).await;
    assert_eq!(counts.frames_received, 0);
    assert!(victim.net.connected().is_empty());
}

#[tokio::test]
async fn a_flood_of_streams_is_no_flood_of_events() {
    let mut victim = victim().await;
    let mut member = Raw::member(&victim.opener(|one, other| one < other), &victim).await;
    victim.counts(|counts| counts.connected == 1).await;
    for _ in 0..300 {
        drop(member.open(Lane::Gossip).await);
    }
    victim.counts(|counts| counts.streams_refused > 100).await;
    let _gossip = member.lasting(Lane::Gossip).await;
    let mut claims = member.lasting(Lane::Claims).await;
    claims.write_all(&[0, 0, 0, 2, 1, 2]).await.unwrap();
    claims.flush().await.unwrap();
    let frame = async {
        loop {
            if let NetEvent::Frame { frame, .. } = victim.events.recv().await.unwrap() {
                return frame;
            }
        }
    };
    assert_eq!(
        tokio::time::timeout(LIMIT, frame).await.unwrap(),
        [1, 2][..]
    );
}

#[tokio::test]
async fn who_comes_again_has_lost_what_was_there() {
    let victim = victim().await;
    let identity = victim.opener(|one, other| one < other);
    let mut member = Raw::member(&identity, &victim).await;
    victim.counts(|counts| counts.connected == 1).await;
    // What is tested is an age.
    tokio::time::sleep(limits().handshake).await;
    member.dials.send(victim.address("tcp")).unwrap();
    victim.counts(|counts| counts.connected == 2).await;
    victim.counts(|counts| counts.lost == 1).await;
    // The old connection may end before the new one is seen to begin.
    let both = async { [member.news.recv().await, member.news.recv().await] };
    let heard = tokio::time::timeout(LIMIT, both).await.unwrap();
    assert!(heard.contains(&Some(News::Begun)) && heard.contains(&Some(News::Ended)));
}

#[tokio::test]
async fn who_has_restarted_is_down_and_up_though_the_old_connection_seems_alive() {
    let mut victim = victim().await;
    let identity = victim.opener(|one, other| one < other);
    let mut first = Raw::member(&identity, &victim).await;
    let _lanes = (
        first.open(Lane::Gossip).await,
        first.open(Lane::Claims).await,
    );
    let mut told = Vec::new();
    told.push(victim.told().await);
    // Another transport is another process: it shares nothing with the first but the key.
    let mut second = Raw::member(&identity, &victim).await;
    first.hears(News::Ended).await;
    told.push(victim.told().await);
    let _lanes = (
        second.open(Lane::Gossip).await,
        second.open(Lane::Claims).await,
    );
    told.push(victim.told().await);
    assert_eq!(told, ["up", "peer restarted", "up"]);
    assert_eq!(victim.counts(|counts| counts.lost == 1).await.connected, 2);
}

#[tokio::test]
async fn lanes_that_move_to_another_connection_are_no_news() {
    let mut victim = victim().await;
    let identity = victim.opener(|one, other| one < other);
    let mut member = Raw::member(&identity, &victim).await;
    let first = (
        member.open(Lane::Gossip).await,
        member.open(Lane::Claims).await,
    );
    assert_eq!(victim.told().await, "up");
    drop(first);
    let _gossip = member.lasting(Lane::Gossip).await;
    let mut claims = member.lasting(Lane::Claims).await;
    claims.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
    claims.flush().await.unwrap();
    let event = tokio::time::timeout(LIMIT, victim.events.recv()).await;
    let frame = matches!(event, Ok(Some(NetEvent::Frame { ref frame, .. })) if frame[..] == [7]);
    assert!(frame, "{event:?}");
}

#[tokio::test]
async fn lanes_that_stay_away_are_told_of() {
    let mut victim = victim().await;
    let identity = victim.opener(|one, other| one < other);
    let mut member = Raw::member(&identity, &victim).await;
    let lanes = (
        member.open(Lane::Gossip).await,
        member.open(Lane::Claims).await,
    );
    assert_eq!(victim.told().await, "up");
    drop(lanes);
    assert_eq!(victim.told().await, "streams not mended");
    assert_eq!(victim.net.stats().lost, 0, "the connection lives");
}

/// Secures a connection as libp2p does, then says something else than the gate on its first stream,
/// and waits for the end.
async fn at_the_gate(victim: &Victim, kind: &str, bytes: &[u8], then: Then) {
    let identity = Identity::generate();
    let mut transport = transport::ungated(&identity, &limits()).unwrap();
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let dial = transport.dial(victim.address(kind), opts).unwrap();
    // QUIC's endpoint is driven by its transport.
    let turning = poll_fn(|cx| -> std::task::Poll<()> {
        while std::pin::Pin::new(&mut transport).poll(cx).is_ready() {}
        std::task::Poll::Pending
    });
    let talking = async {
        let (peer, mut muxer) = dial.await.unwrap();
        assert_eq!(PeerKey::of(&peer), Some(victim.key));
        let mut stream = poll_fn(|cx| {
            let opened = muxer.poll_outbound_unpin(cx);
            if opened.is_pending() {
                assert!(muxer.poll_unpin(cx).is_pending(), "no address changes here");
            }
            opened
        })
        .await
        .unwrap();
        let talk = Box::pin(async {
            stream.write_all(bytes).await?;
            stream.flush().await?;
            if matches!(then, Then::Leave) {
                return stream.close().await;
            }
            stream.read_to_end(&mut Vec::new()).await.map(drop)
        });
        let driven = Box::pin(poll_fn(|cx| muxer.poll_unpin(cx)));
        match select(talk, driven).await {
            Either::Left((ended, _)) => drop(ended),
            Either::Right((broken, _)) => assert!(broken.is_err(), "the connection is closed"),
        }
    };
    let both = select(Box::pin(talking), Box::pin(turning));
    assert!(
        tokio::time::timeout(LIMIT, both).await.is_ok(),
        "the victim makes an end of it"
    );
}

#[derive(Clone, Copy)]
enum Then {
    Wait,
    Leave,
}

#[tokio::test]
async fn strangers_at_the_gate_are_refused_by_kind() {
    for kind in ["tcp", "quic"] {
        let victim = victim().await;
        let mut hello = [1; 33];
        hello[1..].fill(9);
        let unknowing = [&hello[..], &[7; 32]].concat();
        at_the_gate(&victim, kind, &unknowing, Then::Wait).await;
        victim.counts(|counts| counts.refused_secret == 1).await;
        at_the_gate(&victim, kind, &[2; 33], Then::Wait).await;
        victim.counts(|counts| counts.refused_garbled == 1).await;
        at_the_gate(&victim, kind, b"\x13/multistream/1.0.0\n", Then::Wait).await;
        victim.counts(|counts| counts.refused_garbled == 2).await;
        let long = [&unknowing[..], &vec![0; 300_000]].concat();
        at_the_gate(&victim, kind, &long, Then::Wait).await;
        victim.counts(|counts| counts.refused_secret == 2).await;
        at_the_gate(&victim, kind, &hello[..20], Then::Leave).await;
        victim.counts(|counts| counts.refused_garbled == 3).await;
        at_the_gate(&victim, kind, &hello, Then::Wait).await;
        let counts = victim.counts(|counts| counts.refused_late == 1).await;
        assert_eq!((counts.refused, counts.connected), (6, 0));
    }
}

#[tokio::test]
async fn a_node_without_gate_stays_outside() {
    let mut victim = victim().await;
    let identity = Identity::generate();
    let transport = transport::ungated(&identity, &limits()).unwrap();
    let mut stock = Raw::dial(transport, &identity, &victim);
    stock.hears(News::Begun).await;
    let opened = stock
        .control
        .open_stream(stock.victim, StreamProtocol::new("/aque/sync/1"))
        .await;
    assert!(opened.is_err());
    let counts = victim.counts(|counts| counts.refused_garbled == 1).await;
    assert_eq!((counts.refused, counts.connected), (1, 0));
    stock.hears(News::Ended).await;
    assert!(
        victim.events.try_recv().is_err(),
        "the node never hears of it"
    );
}
