//! The actor that alone owns the swarm, and the handle through which everybody else speaks to it.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify, mdns, ping, swarm};
use libp2p_stream::Control;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use tracing::{debug, info, warn};

use crate::NetConfig;
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::book::Book;
use crate::dialer::{Dialer, Due};
use crate::error::{NetError, OpenError, SendError};
use crate::identity::PeerKey;
use crate::lanes::{self, Lane, LaneFault, Lanes};
use crate::listen::{is_local, is_tcp, port_of, with_port};
use crate::stats::{Counts, NetStats, add};
use crate::transport;

/// Events that wait for the node; readers of streams wait when it is full.
const EVENTS: usize = 1_024;
/// Wishes of the node that wait for the actor.
const COMMANDS: usize = 1_024;
/// How often dials and the address book are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long a listener may take to say where it listens.
const LISTEN_PATIENCE: Duration = Duration::from_secs(3);
/// How long opening a stream may take.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// The pause before a lane is opened again.
const REOPEN: Duration = Duration::from_millis(100);
/// Pings that may be lost in a row.
const LOST_PINGS: u32 = 2;

/// A stream to a peer, beside the lanes.
pub type Stream = Compat<libp2p::Stream>;

/// What the network tells the node.
#[derive(Debug)]
pub enum NetEvent {
    /// Frames can be sent to this peer from now on.
    Up {
        /// Who.
        peer: PeerKey,
    },
    /// They cannot any more.
    Down {
        /// Who.
        peer: PeerKey,
    },
    /// A frame has come.
    Frame {
        /// From whom.
        peer: PeerKey,
        /// On which stream.
        lane: Lane,
        /// What.
        frame: Bytes,
    },
    /// A peer opened a stream of one of [`NetConfig::protocols`].
    Incoming {
        /// Who.
        peer: PeerKey,
        /// Which protocol.
        protocol: &'static str,
        /// The stream.
        stream: Stream,
    },
    /// This node listens here now.
    Listening {
        /// Every address, those of this machine alone only if there is no other.
        addrs: Vec<Multiaddr>,
    },
}

enum Command {
    Dial(Multiaddr),
    Learn(PeerKey, Vec<Multiaddr>),
    Forget(PeerKey),
    Addresses(oneshot::Sender<Vec<(PeerKey, Vec<Multiaddr>)>>),
    Disconnect(PeerKey),
    Shutdown(oneshot::Sender<()>),
}

enum Internal {
    Opened(PeerKey, Lane, libp2p::Stream),
    NotOpened(PeerKey, Lane),
    Incoming(PeerId, Lane, libp2p::Stream),
    Bulk(PeerId, &'static str, libp2p::Stream),
    Ended(PeerKey, Lane, u64, LaneFault),
}

/// A handle to the network of a node.
#[derive(Clone)]
pub struct Net {
    lanes: Arc<Lanes>,
    counts: Arc<Counts>,
    round_trips: Arc<Mutex<BTreeMap<PeerKey, Duration>>>,
    listening: Arc<Mutex<Vec<Multiaddr>>>,
    commands: mpsc::Sender<Command>,
    control: Control,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("connected", &self.connected()).finish_non_exhaustive()
    }
}

impl Net {
    /// Queues a frame; never waits.
    ///
    /// # Errors
    /// The peer is away, too much waits for it, or the frame is too long; nothing was queued.
    pub fn send(&self, peer: PeerKey, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.lanes.send(peer, lane, frame)
    }

    /// Opens a stream beside the lanes. Safe to drop.
    ///
    /// # Errors
    /// The peer is away, answers too late, or does not speak the protocol.
    pub async fn open(&self, peer: PeerKey, protocol: &'static str) -> Result<Stream, OpenError> {
        let id = peer.peer_id().filter(|_| self.lanes.is_up(peer)).ok_or(OpenError::Away)?;
        let mut control = self.control.clone();
        let opening = control.open_stream(id, StreamProtocol::new(protocol));
        match tokio::time::timeout(OPEN_PATIENCE, opening).await {
            Ok(Ok(stream)) => Ok(stream.compat()),
            Ok(Err(error)) => Err(OpenError::Failed(error.to_string())),
            Err(_) => Err(OpenError::Late),
        }
    }

    /// Returns where this node listens: addresses of this machine alone only if there is no other.
    #[must_use]
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        shown(&self.listening.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the peers that frames can be sent to.
    #[must_use]
    pub fn connected(&self) -> Vec<PeerKey> {
        self.lanes.connected()
    }

    /// Returns the last round trip to a peer.
    #[must_use]
    pub fn round_trip(&self, peer: PeerKey) -> Option<Duration> {
        self.round_trips.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).copied()
    }

    /// Returns what was counted since the start.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        self.counts.read()
    }

    /// Dials an address of an unknown peer.
    pub fn dial(&self, address: Multiaddr) {
        self.wish(Command::Dial(address));
    }

    /// Takes addresses of a peer into the book; it is dialled until it is connected.
    pub fn learn(&self, peer: PeerKey, addresses: Vec<Multiaddr>) {
        self.wish(Command::Learn(peer, addresses));
    }

    /// Forgets a peer's addresses and closes its connections.
    pub fn forget(&self, peer: PeerKey) {
        self.wish(Command::Forget(peer));
    }

    /// Closes a peer's connections; it is dialled again.
    pub fn disconnect(&self, peer: PeerKey) {
        self.wish(Command::Disconnect(peer));
    }

    fn wish(&self, command: Command) {
        // Every wish may be repeated, so one that finds the queue full is dropped.
        if self.commands.try_send(command).is_err() {
            debug!("the network is busy or gone; a wish was dropped");
        }
    }

    /// Returns the address book.
    pub async fn addresses(&self) -> Vec<(PeerKey, Vec<Multiaddr>)> {
        let (answer, book) = oneshot::channel();
        if self.commands.send(Command::Addresses(answer)).await.is_err() {
            return Vec::new();
        }
        book.await.unwrap_or_default()
    }

    /// Closes every connection and ends the actor.
    pub async fn shutdown(self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).await.is_ok() && ended.await.is_err() {
            debug!("the network was gone already");
        }
    }
}

fn shown(all: &[Multiaddr]) -> Vec<Multiaddr> {
    let far: Vec<Multiaddr> = all.iter().filter(|address| !is_local(address)).cloned().collect();
    if far.is_empty() { all.to_vec() } else { far }
}

#[derive(Debug, Default)]
struct Link {
    connections: BTreeMap<ConnectionId, ConnectedPoint>,
    lost_pings: u32,
    up: bool,
    opening: [bool; 2],
    offences: u32,
}

struct Actor {
    swarm: Swarm<Behaviour>,
    me: PeerKey,
    config: NetConfig,
    lanes: Arc<Lanes>,
    counts: Arc<Counts>,
    round_trips: Arc<Mutex<BTreeMap<PeerKey, Duration>>>,
    listening: Arc<Mutex<Vec<Multiaddr>>>,
    control: Control,
    links: BTreeMap<PeerKey, Link>,
    book: Book,
    dialer: Dialer,
    addresses_dialled: BTreeMap<ConnectionId, Multiaddr>,
    internal: mpsc::UnboundedSender<Internal>,
    events: mpsc::Sender<NetEvent>,
    backlog: VecDeque<NetEvent>,
    next_lane: Arc<AtomicU64>,
}

/// Starts the network of a node; listens before it returns.
///
/// # Errors
/// The transport cannot be set up, or an address cannot be listened on.
pub async fn start(config: NetConfig) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let counts = Arc::new(Counts::default());
    let transport = transport::build(&config.identity, &config.secret, &config.limits, &counts)?;
    let me = config.identity.peer();
    let id = config.identity.keypair().public().to_peer_id();
    let settings = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(Duration::from_secs(3_600))
        .with_max_negotiating_inbound_streams(32);
    let mut swarm = Swarm::new(transport, Behaviour::new(&config)?, id, settings);
    let listening = listen_all(&mut swarm, &config.listen).await?;
    let (internal, inbox) = mpsc::unbounded_channel();
    let mut control = swarm.behaviour().streams.new_control();
    accept_all(&mut control, &config, &internal)?;
    let (events, receiver) = mpsc::channel(EVENTS);
    let (commands, wishes) = mpsc::channel(COMMANDS);
    let lanes = Arc::new(Lanes::new(config.limits.queue_bytes, Arc::clone(&counts)));
    let net = Net {
        lanes: Arc::clone(&lanes),
        counts: Arc::clone(&counts),
        round_trips: Arc::default(),
        listening: Arc::new(Mutex::new(listening)),
        commands,
        control: control.clone(),
    };
    let actor = Actor {
        swarm,
        me,
        lanes,
        counts,
        round_trips: Arc::clone(&net.round_trips),
        listening: Arc::clone(&net.listening),
        control,
        links: BTreeMap::new(),
        book: Book::open(config.address_book.clone()),
        dialer: Dialer::new(me, &config.limits, &config.bootstrap),
        addresses_dialled: BTreeMap::new(),
        internal,
        events,
        backlog: VecDeque::new(),
        next_lane: Arc::default(),
        config,
    };
    tokio::spawn(actor.work(wishes, inbox));
    Ok((net, receiver))
}

/// Listens at every address; a QUIC address with port 0 takes the port of the TCP address before it.
async fn listen_all(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<Multiaddr>, NetError> {
    let mut listening = Vec::new();
    let mut tcp_port = None;
    for address in addresses {
        let wanted = match tcp_port {
            Some(port) if !is_tcp(address) && port_of(address) == Some(0) => with_port(address, port),
            Some(_) | None => address.clone(),
        };
        match listen_at(swarm, &wanted).await {
            Ok(found) => {
                if is_tcp(address) {
                    tcp_port = found.first().and_then(port_of);
                }
                listening.extend(found);
            }
            Err(why) if is_tcp(address) && (why.contains("in use") || addresses.len() < 3) => {
                return Err(NetError::Listen { address: wanted.to_string(), why });
            }
            Err(why) => warn!(address = %wanted, why, "cannot listen here"),
        }
    }
    if listening.is_empty() && !addresses.is_empty() {
        let why = "none of the addresses can be listened on".to_owned();
        return Err(NetError::Listen { address: addresses[0].to_string(), why });
    }
    Ok(listening)
}

async fn listen_at(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<Vec<Multiaddr>, String> {
    let listener = swarm.listen_on(address.clone()).map_err(|error| match error {
        libp2p::TransportError::Other(error) => error.to_string(),
        other => other.to_string(),
    })?;
    let mut found = Vec::new();
    let end = tokio::time::Instant::now() + LISTEN_PATIENCE;
    loop {
        // Further addresses of a wildcard come at once after the first.
        let patience = if found.is_empty() { end } else { tokio::time::Instant::now() + TICK / 5 };
        match tokio::time::timeout_at(patience, next_listen(swarm, listener)).await {
            Ok(Ok(address)) => found.push(address),
            Ok(Err(why)) => return Err(why),
            Err(_) => return Ok(found),
        }
    }
}

async fn next_listen(swarm: &mut Swarm<Behaviour>, listener: ListenerId) -> Result<Multiaddr, String> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => {
                return Ok(address);
            }
            SwarmEvent::ListenerError { listener_id, error } if listener_id == listener => {
                return Err(error.to_string());
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                return Err(reason.err().map_or_else(|| "closed".to_owned(), |e| e.to_string()));
            }
            _ => {}
        }
    }
}

/// Polls inbound streams of every protocol, always: one that nobody polls for is lost.
fn accept_all(
    control: &mut Control,
    config: &NetConfig,
    internal: &mpsc::UnboundedSender<Internal>,
) -> Result<(), NetError> {
    let twice = |_| NetError::Transport("a protocol is accepted twice".to_owned());
    for lane in Lane::ALL {
        let mut incoming = control.accept(lane.protocol()).map_err(twice)?;
        let internal = internal.clone();
        tokio::spawn(async move {
            while let Some((peer, stream)) = incoming.next().await {
                if internal.send(Internal::Incoming(peer, lane, stream)).is_err() {
                    return;
                }
            }
        });
    }
    for protocol in config.protocols.iter().copied() {
        let mut incoming = control.accept(StreamProtocol::new(protocol)).map_err(twice)?;
        let internal = internal.clone();
        tokio::spawn(async move {
            while let Some((peer, stream)) = incoming.next().await {
                if internal.send(Internal::Bulk(peer, protocol, stream)).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

impl Actor {
    async fn work(
        mut self,
        mut wishes: mpsc::Receiver<Command>,
        mut inbox: mpsc::UnboundedReceiver<Internal>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let events = self.events.clone();
            tokio::select! {
                event = self.swarm.select_next_some() => self.take(event),
                Some(message) = inbox.recv() => self.take_internal(message),
                wish = wishes.recv() => match wish {
                    Some(Command::Shutdown(done)) => {
                        self.close().await;
                        if done.send(()).is_err() {
                            debug!("nobody waits for the end");
                        }
                        return;
                    }
                    Some(wish) => self.obey(wish),
                    None => return self.close().await,
                },
                _ = tick.tick() => self.look(),
                place = events.reserve(), if !self.backlog.is_empty() => match place {
                    Ok(place) => if let Some(event) = self.backlog.pop_front() {
                        place.send(event);
                    },
                    Err(_) => return self.close().await,
                },
            }
        }
    }

    async fn close(&mut self) {
        self.book.save();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            self.disconnect(peer);
        }
        let closing = poll_fn(|cx| {
            while self.swarm.poll_next_unpin(cx).is_ready() {}
            if self.swarm.connected_peers().next().is_none() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        });
        if tokio::time::timeout(Duration::from_secs(1), closing).await.is_err() {
            debug!("some connections were still open");
        }
    }

    fn disconnect(&mut self, peer: PeerId) {
        if self.swarm.disconnect_peer_id(peer).is_err() {
            debug!(%peer, "was not connected");
        }
    }

    fn disconnect_key(&mut self, peer: PeerKey) {
        if let Some(id) = peer.peer_id() {
            self.disconnect(id);
        }
    }

    fn tell(&mut self, event: NetEvent) {
        if !self.backlog.is_empty() {
            return self.backlog.push_back(event);
        }
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            self.backlog.push_back(event);
        }
    }

    fn obey(&mut self, wish: Command) {
        match wish {
            Command::Dial(address) => self.dialer.try_address(address),
            Command::Learn(peer, addresses) => self.learn(peer, &addresses),
            Command::Forget(peer) => {
                self.book.forget(peer);
                self.dialer.forget(peer);
                self.disconnect_key(peer);
            }
            Command::Addresses(answer) => {
                let all = self.book.iter().map(|(peer, list)| (peer, list.clone())).collect();
                if answer.send(all).is_err() {
                    debug!("nobody waits for the book");
                }
            }
            Command::Disconnect(peer) => self.disconnect_key(peer),
            Command::Shutdown(_) => {}
        }
    }

    fn learn(&mut self, peer: PeerKey, addresses: &[Multiaddr]) {
        let is_new = peer != self.me && self.book.learn(peer, addresses);
        if is_new && !self.is_linked(peer) {
            self.dialer.hurry(peer);
        }
    }

    fn is_linked(&self, peer: PeerKey) -> bool {
        self.links.get(&peer).is_some_and(|link| !link.connections.is_empty())
    }

    /// Dials whom it is time to dial, and keeps the book.
    fn look(&mut self) {
        let linked = |peer| self.links.get(&peer).is_some_and(|link| !link.connections.is_empty());
        let lonely = !self.links.values().any(|link| link.up);
        for due in self.dialer.due(&self.book, linked, lonely) {
            self.dial(due);
        }
        self.book.save();
    }

    fn dial(&mut self, due: Due) {
        let dialled = match &due {
            Due::Peer(peer, addresses) => match peer.peer_id() {
                Some(id) => {
                    let condition = PeerCondition::DisconnectedAndNotDialing;
                    let opts = DialOpts::peer_id(id).addresses(addresses.clone()).condition(condition);
                    self.swarm.dial(opts.build())
                }
                None => return,
            },
            Due::Address(address) => {
                let opts = DialOpts::unknown_peer_id().address(address.clone()).build();
                self.addresses_dialled.insert(opts.connection_id(), address.clone());
                self.swarm.dial(opts)
            }
        };
        if let Err(error) = dialled {
            debug!(?due, %error, "not dialled");
            match due {
                Due::Peer(peer, _) => self.dialer.peer_done(peer, false),
                Due::Address(address) => self.dialer.address_done(&address, false),
            }
        }
    }

    fn take(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(&peer_id, connection_id, endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                debug!(%peer_id, ?cause, "connection closed");
                self.disconnected(&peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, connection_id, error } => {
                debug!(?peer_id, %error, "dial failed");
                add(&self.counts.dials_failed, 1);
                if let Some(peer) = peer_id.as_ref().and_then(PeerKey::of) {
                    self.dialer.peer_done(peer, false);
                }
                if let Some(address) = self.addresses_dialled.remove(&connection_id) {
                    self.dialer.address_done(&address, false);
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                debug!(from = %send_back_addr, %error, "connection refused");
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listens(|list| {
                if !list.contains(&address) {
                    list.push(address);
                }
            }),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listens(|list| list.retain(|other| *other != address));
            }
            SwarmEvent::Behaviour(event) => self.take_behaviour(event),
            _ => {}
        }
    }

    fn listens(&mut self, change: impl FnOnce(&mut Vec<Multiaddr>)) {
        let addrs = {
            let mut list = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut list);
            shown(&list)
        };
        self.tell(NetEvent::Listening { addrs });
    }

    fn take_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Ping(ping::Event { peer, result, connection }) => {
                self.pinged(&peer, connection, result.ok());
            }
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                if let Some(peer) = PeerKey::of(&peer_id) {
                    let near = self.is_near(peer);
                    let reachable = info.listen_addrs.into_iter().filter(|a| near || !is_local(a));
                    let list: Vec<Multiaddr> = reachable.collect();
                    self.learn(peer, &list);
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    if let Some(peer) = PeerKey::of(&peer) {
                        self.learn(peer, &[address]);
                        if !self.is_linked(peer) {
                            self.dialer.hurry(peer);
                        }
                    }
                }
            }
            // An mDNS record that ends says nothing about a connection.
            _ => {}
        }
    }

    /// Says whether a peer is on this very machine.
    fn is_near(&self, peer: PeerKey) -> bool {
        let link = self.links.get(&peer);
        link.is_some_and(|link| {
            link.connections.values().any(|end| is_local(end.get_remote_address()))
        })
    }

    fn pinged(&mut self, peer: &PeerId, connection: ConnectionId, answer: Option<Duration>) {
        let Some(key) = PeerKey::of(peer) else { return };
        let Some(link) = self.links.get_mut(&key) else { return };
        match answer {
            Some(time) => {
                link.lost_pings = 0;
                let mut times = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
                times.insert(key, time);
            }
            None => {
                link.lost_pings += 1;
                if link.lost_pings >= LOST_PINGS {
                    info!(peer = ?key, "peer does not answer; closing");
                    link.lost_pings = 0;
                    self.swarm.close_connection(connection);
                }
            }
        }
    }

    fn connected(&mut self, peer: &PeerId, connection: ConnectionId, endpoint: ConnectedPoint) {
        let Some(key) = PeerKey::of(peer) else { return };
        add(&self.counts.connected, 1);
        if let Some(address) = self.addresses_dialled.remove(&connection) {
            self.dialer.address_done(&address, true);
        }
        self.dialer.peer_done(key, true);
        if let ConnectedPoint::Dialer { address, .. } = &endpoint {
            self.book.worked(key, address);
        }
        self.links.entry(key).or_default().connections.insert(connection, endpoint);
        self.open_lanes(key);
    }

    fn disconnected(&mut self, peer: &PeerId, connection: ConnectionId) {
        let Some(key) = PeerKey::of(peer) else { return };
        add(&self.counts.lost, 1);
        let Some(link) = self.links.get_mut(&key) else { return };
        link.connections.remove(&connection);
        if link.connections.is_empty() {
            self.lanes.remove_all(key);
            self.set_down(key);
            self.links.remove(&key);
            self.round_trips.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            self.dialer.hurry(key);
        }
    }

    /// The peer with the lower key opens the lanes, so that there is one of each.
    fn open_lanes(&mut self, peer: PeerKey) {
        if self.me > peer {
            return;
        }
        for (place, lane) in Lane::ALL.into_iter().enumerate() {
            let has = self.lanes.has(peer, lane);
            let Some(link) = self.links.get_mut(&peer) else { return };
            if !has && !link.opening[place] {
                link.opening[place] = true;
                self.open_lane(peer, lane, Duration::ZERO);
            }
        }
    }

    fn open_lane(&self, peer: PeerKey, lane: Lane, pause: Duration) {
        let Some(id) = peer.peer_id() else { return };
        let (mut control, internal) = (self.control.clone(), self.internal.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let opening = control.open_stream(id, lane.protocol());
            let message = match tokio::time::timeout(OPEN_PATIENCE, opening).await {
                Ok(Ok(stream)) => Internal::Opened(peer, lane, stream),
                Ok(Err(error)) => {
                    debug!(?peer, ?lane, %error, "lane not opened");
                    Internal::NotOpened(peer, lane)
                }
                Err(_) => Internal::NotOpened(peer, lane),
            };
            if internal.send(message).is_err() {
                debug!("the network is gone");
            }
        });
    }

    fn take_internal(&mut self, message: Internal) {
        match message {
            Internal::Opened(peer, lane, stream) => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.opening[lane as usize] = false;
                    self.begin_lane(peer, lane, stream);
                }
            }
            Internal::NotOpened(peer, lane) => {
                let linked = self.is_linked(peer);
                if let Some(link) = self.links.get_mut(&peer) {
                    link.opening[lane as usize] = linked;
                    if linked {
                        self.open_lane(peer, lane, REOPEN * 2);
                    }
                }
            }
            Internal::Incoming(peer, lane, stream) => {
                let Some(key) = PeerKey::of(&peer) else { return };
                if key < self.me && self.links.contains_key(&key) {
                    self.begin_lane(key, lane, stream);
                }
            }
            Internal::Bulk(peer, protocol, stream) => {
                if let Some(peer) = PeerKey::of(&peer) {
                    self.tell(NetEvent::Incoming { peer, protocol, stream: stream.compat() });
                }
            }
            Internal::Ended(peer, lane, id, fault) => self.lane_ended(peer, lane, id, fault),
        }
    }

    fn begin_lane(&mut self, peer: PeerKey, lane: Lane, stream: libp2p::Stream) {
        let id = self.next_lane.fetch_add(1, Ordering::Relaxed);
        let events = self.events.clone();
        let deliver = move |frame| {
            let events = events.clone();
            async move { events.send(NetEvent::Frame { peer, lane, frame }).await.is_ok() }
        };
        let internal = self.internal.clone();
        let ended = move |fault| {
            if internal.send(Internal::Ended(peer, lane, id, fault)).is_err() {
                debug!("the network is gone");
            }
        };
        // A lane that is replaced belongs to a connection that the other side knows to be dead.
        self.set_down(peer);
        let (counts, patience) = (Arc::clone(&self.counts), self.config.limits.frame);
        let end = lanes::run(stream.compat(), id, patience, counts, deliver, ended);
        drop(self.lanes.put(peer, lane, end));
        if self.lanes.is_up(peer)
            && let Some(link) = self.links.get_mut(&peer)
        {
            link.up = true;
            self.tell(NetEvent::Up { peer });
        }
    }

    fn set_down(&mut self, peer: PeerKey) {
        if let Some(link) = self.links.get_mut(&peer)
            && std::mem::take(&mut link.up)
        {
            self.tell(NetEvent::Down { peer });
        }
    }

    fn lane_ended(&mut self, peer: PeerKey, lane: Lane, id: u64, fault: LaneFault) {
        if !self.lanes.remove(peer, lane, id) {
            return;
        }
        debug!(?peer, ?lane, ?fault, "lane ended");
        self.lanes.remove_all(peer);
        self.set_down(peer);
        if fault == LaneFault::Misbehaved
            && let Some(link) = self.links.get_mut(&peer)
        {
            link.offences += 1;
            if link.offences >= 3 {
                warn!(?peer, "peer keeps sending what is no frame; closing");
                self.disconnect_key(peer);
                return;
            }
        }
        if self.me < peer
            && let Some(link) = self.links.get_mut(&peer)
        {
            let idle = Lane::ALL
                .into_iter()
                .filter(|lane| !std::mem::replace(&mut link.opening[*lane as usize], true));
            let lanes: Vec<Lane> = idle.collect();
            for lane in lanes {
                self.open_lane(peer, lane, REOPEN);
            }
        }
    }
}
