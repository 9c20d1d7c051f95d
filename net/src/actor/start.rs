//! How the network of a node begins: the swarm and its listeners.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, swarm};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::Actor;
use crate::NetConfig;
use crate::admission::Admission;
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::book::Book;
use crate::dialer::Dialer;
use crate::error::NetError;
use crate::handle::{Net, NetEvent, Shared};
use crate::lanes::Lanes;
use crate::listen::{is_any_ip6, is_tcp, port_before, port_of, tcp_socket, with_port};
use crate::stats::Counts;
use crate::transport;

/// Wishes of the node that wait for the actor.
const COMMANDS: usize = 1_024;
/// Connections stay while nothing is said on them: pings watch over them.
const IDLE: Duration = Duration::from_secs(3_600);
/// Streams of one connection that are being opened by the other side.
const NEGOTIATING: usize = 32;
/// How long a listener may take to say where it listens.
const LISTEN_PATIENCE: Duration = Duration::from_secs(3);
/// Further addresses of a wildcard come at once after the first; later ones are events.
const LISTEN_MORE: Duration = Duration::from_millis(20);
/// How many free TCP ports are tried until one is free for UDP too.
const PORT_TRIES: usize = 16;

/// Starts the network of a node; listens before it returns.
///
/// # Errors
/// The transport cannot be set up, or an address cannot be listened on.
pub async fn start(config: NetConfig) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let counts = Arc::new(Counts::default());
    let admission = Arc::new(Admission::new(&config.limits));
    let transport = transport::build(&config.identity, &config.secret, &config.limits, &admission)?;
    let me = config.identity.peer();
    let id = config.identity.keypair().public().to_peer_id();
    let settings = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_max_negotiating_inbound_streams(NEGOTIATING);
    let mut swarm = Swarm::new(transport, Behaviour::new(&config), id, settings);
    let Listening {
        listeners,
        addresses,
        early,
    } = listen_all(&mut swarm, &config.listen, &config.listened).await?;
    let (events, receiver) = mpsc::channel(config.limits.events.max(1));
    let (commands, wishes) = mpsc::channel(COMMANDS);
    let (ended, inbox) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        lanes: Lanes::new(config.limits.queue_bytes, Arc::clone(&counts)),
        counts,
        admission,
        round_trips: Mutex::default(),
        listening: Mutex::new(addresses),
        news: watch::Sender::new(0),
        open: config.limits.open,
    });
    let net = Net::new(Arc::clone(&shared), commands);
    let mut actor = Actor {
        swarm,
        me,
        listeners,
        shared,
        links: BTreeMap::new(),
        left: BTreeMap::new(),
        book: Book::open(config.address_book),
        saving: None,
        dialer: Dialer::new(me, &config.limits, &config.bootstrap),
        addresses_dialled: BTreeMap::new(),
        ended,
        events,
        backlog: VecDeque::new(),
        next_lane: 0,
        limits: config.limits,
    };
    early.into_iter().for_each(|event| actor.take(event));
    tokio::spawn(actor.work(wishes, inbox));
    Ok((net, receiver))
}

/// Fails if somebody else listens there: libp2p would share the port with them (SO_REUSEPORT), and
/// each would get some of the other's connections. Every address of IPv6 cannot be asked about
/// alone here; it comes beside one of IPv4 on the same port, or fails later.
async fn check_free(address: &Multiaddr) -> Result<(), String> {
    let Some(socket) = tcp_socket(address).filter(|_| !is_any_ip6(address)) else {
        return Ok(());
    };
    let asked = tokio::net::TcpListener::bind(socket).await;
    asked.map(drop).map_err(|error| error.to_string())
}

/// Where a swarm listens, and what else it said meanwhile.
#[derive(Default)]
struct Listening {
    listeners: Vec<ListenerId>,
    addresses: Vec<Multiaddr>,
    early: Vec<SwarmEvent<BehaviourEvent>>,
}

/// Listens at every address, where none names a port on that of `before` if that is still free. One that fails is an error, but for two: QUIC, since TCP does as well,
/// and every address of IPv6, which some hosts do not have, beside one that works.
async fn listen_all(
    swarm: &mut Swarm<Behaviour>,
    wanted: &[Multiaddr],
    before: &[Multiaddr],
) -> Result<Listening, NetError> {
    let mut all = Listening::default();
    let mut rest = wanted;
    while let [first, others @ ..] = rest {
        let pair = others
            .first()
            .filter(|second| are_one_free_port(first, second));
        let again = port_before(first, before).map(|port| with_port(first, port));
        let again = match &again {
            Some(again) => all.listen_at(swarm, again, pair).await.is_ok(),
            None => false,
        };
        let listened = match again {
            true => Ok(()),
            false => all.listen_at(swarm, first, pair).await,
        };
        rest = if pair.is_some() { &others[1..] } else { others };
        if let Err(why) = listened {
            if is_tcp(first) && !is_any_ip6(first) {
                return Err(NetError::Listen {
                    address: first.to_string(),
                    why,
                });
            }
            warn!(address = %first, why, "cannot listen here");
        }
    }
    match wanted.first() {
        Some(first) if all.addresses.is_empty() => Err(NetError::Listen {
            address: first.to_string(),
            why: "nor on any other of the addresses".to_owned(),
        }),
        Some(_) | None => Ok(all),
    }
}

/// Says whether these are TCP and QUIC on any free port, which then must be one and the same.
fn are_one_free_port(first: &Multiaddr, second: &Multiaddr) -> bool {
    let free = |address| port_of(address) == Some(0);
    is_tcp(first) && free(first) && !is_tcp(second) && free(second)
}

impl Listening {
    /// Listens at an address, and on its port at that of another transport, if there is one.
    async fn listen_at(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        first: &Multiaddr,
        pair: Option<&Multiaddr>,
    ) -> Result<(), String> {
        match pair {
            Some(second) => self.listen_pair(swarm, first, second).await,
            None => self.listen(swarm, first).await.map(drop),
        }
    }

    async fn listen_pair(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        tcp: &Multiaddr,
        quic: &Multiaddr,
    ) -> Result<(), String> {
        let mut problem = String::new();
        for _ in 0..PORT_TRIES {
            let listener = self.listen(swarm, tcp).await?;
            let port = self.addresses.last().and_then(port_of).unwrap_or_default();
            match self.listen(swarm, &with_port(quic, port)).await {
                Ok(_) => return Ok(()),
                Err(why) => problem = why,
            }
            swarm.remove_listener(listener);
            self.addresses
                .retain(|address| port_of(address) != Some(port));
        }
        Err(problem)
    }

    async fn listen(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        address: &Multiaddr,
    ) -> Result<ListenerId, String> {
        check_free(address).await?;
        let listener = swarm
            .listen_on(address.clone())
            .map_err(|error| match error {
                libp2p::TransportError::Other(error) => error.to_string(),
                other => other.to_string(),
            })?;
        let before = self.addresses.len();
        let end = tokio::time::Instant::now() + LISTEN_PATIENCE;
        loop {
            let found = self.addresses.len() > before;
            let until = if found {
                tokio::time::Instant::now() + LISTEN_MORE
            } else {
                end
            };
            match tokio::time::timeout_at(until, self.next(swarm, listener)).await {
                Ok(Ok(address)) => self.addresses.push(address),
                Ok(Err(why)) => return Err(why),
                Err(_) if found => {
                    self.listeners.push(listener);
                    return Ok(listener);
                }
                Err(_) => {
                    swarm.remove_listener(listener);
                    return Err("it does not say where it listens".to_owned());
                }
            }
        }
    }

    /// Returns a listener's next address. What the swarm says of anything else is for the actor: a
    /// peer may well be connected before the last listener is.
    async fn next(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        listener: ListenerId,
    ) -> Result<Multiaddr, String> {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr {
                    listener_id,
                    address,
                } if listener_id == listener => {
                    return Ok(address);
                }
                SwarmEvent::ListenerError { listener_id, error } if listener_id == listener => {
                    return Err(error.to_string());
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason,
                    ..
                } if listener_id == listener => {
                    return Err(reason
                        .err()
                        .map_or_else(|| "closed".to_owned(), |e| e.to_string()));
                }
                other => self.early.push(other),
            }
        }
    }
}
