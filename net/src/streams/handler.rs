//! The streams of one connection: what is asked for is negotiated in turn, what peers open is handed
//! over in the order in which it came.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{InboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, DialUpgradeError,
    FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError, SubstreamProtocol,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::sync::PollSemaphore;

use super::{Answer, Ask, Event, Fault, Held, OPEN, Stream, Uses};
use crate::lanes::Lane;

/// Bulk streams that wait for a permit on one connection.
const WAITING: usize = 256;
/// Streams that are negotiated at a time on one connection: half of what the other side takes.
const NEGOTIATING: usize = 16;

/// The streams of one connection.
pub(crate) struct Handler {
    bulk: Arc<[&'static str]>,
    uses: Arc<Uses>,
    permits: PollSemaphore,
    asked: VecDeque<Ask>,
    negotiating: usize,
    events: VecDeque<Event>,
}

/// A stream that is being negotiated.
#[derive(Debug)]
pub(crate) enum Opening {
    Lane(Lane),
    Bulk(Answer, OwnedSemaphorePermit),
}

type Request = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Opening, Event>;

impl Handler {
    pub(super) fn new(bulk: Arc<[&'static str]>, uses: Arc<Uses>) -> Self {
        Self {
            bulk,
            uses,
            permits: PollSemaphore::new(Arc::new(Semaphore::new(OPEN))),
            asked: VecDeque::new(),
            negotiating: 0,
            events: VecDeque::new(),
        }
    }

    fn request(&mut self, protocol: StreamProtocol, opening: Opening) -> Poll<Request> {
        self.negotiating += 1;
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), opening);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<Request> {
        while self.negotiating < NEGOTIATING {
            match self.asked.pop_front() {
                Some(Ask::Lane(lane)) => {
                    return self.request(lane.protocol(), Opening::Lane(lane));
                }
                Some(ask) if ask.is_idle() => {}
                Some(Ask::Bulk(protocol, answer)) => {
                    let Poll::Ready(Some(permit)) = self.permits.poll_acquire(cx) else {
                        self.asked.push_front(Ask::Bulk(protocol, answer));
                        return Poll::Pending;
                    };
                    return self.request(protocol, Opening::Bulk(answer, permit));
                }
                None => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    fn hold(&self, stream: libp2p::Stream, permit: Option<OwnedSemaphorePermit>) -> Stream {
        let held = Held {
            _uses: Arc::clone(&self.uses),
            _permit: permit,
        };
        let bytes = stream.compat();
        Stream { bytes, _held: held }
    }

    fn opened(&mut self, stream: libp2p::Stream, opening: Opening) {
        match opening {
            Opening::Lane(lane) => self.events.push_back(Event::Opened(lane, stream)),
            Opening::Bulk(answer, permit) => {
                let stream = self.hold(stream, Some(permit));
                // Whoever asked may have given up.
                drop(answer.send(Ok(stream)));
            }
        }
    }

    fn failed(&mut self, opening: Opening, error: &StreamUpgradeError<Infallible>) {
        match opening {
            Opening::Lane(lane) => self.events.push_back(Event::Failed(lane)),
            Opening::Bulk(answer, _) => {
                let fault = match error {
                    StreamUpgradeError::NegotiationFailed => {
                        Fault::Refused("the host does not speak this protocol".to_owned())
                    }
                    other => Fault::Broken(other.to_string()),
                };
                drop(answer.send(Err(fault)));
            }
        }
    }

    fn arrived(&mut self, stream: libp2p::Stream, protocol: &StreamProtocol) {
        if let Some(lane) = Lane::ALL.into_iter().find(|l| l.protocol() == *protocol) {
            return self.events.push_back(Event::Lane(lane, stream));
        }
        let bulk = self.bulk.iter().find(|name| **name == protocol.as_ref());
        if let Some(name) = bulk.copied() {
            let stream = self.hold(stream, None);
            self.events.push_back(Event::Bulk(name, stream));
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Ask;
    type ToBehaviour = Event;
    type InboundProtocol = Accept;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opening;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept, ()> {
        SubstreamProtocol::new(Accept(Arc::clone(&self.bulk)), ())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Request> {
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)),
            None => self.poll_asked(cx),
        }
    }

    fn on_behaviour_event(&mut self, ask: Ask) {
        match ask {
            // Claims do not wait behind documents, nor for permits.
            Ask::Lane(_) => self.asked.push_front(ask),
            Ask::Bulk(..) => {
                self.asked.retain(|ask| !ask.is_idle());
                if self.asked.len() < WAITING {
                    self.asked.push_back(ask);
                } else {
                    ask.refuse("too many streams to this host are wanted");
                }
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Accept, ReadyUpgrade<StreamProtocol>, (), Opening>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => self.arrived(stream, &protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => {
                self.negotiating -= 1;
                self.opened(protocol, info);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.negotiating -= 1;
                self.failed(info, &error);
            }
            _ => {}
        }
    }
}

/// What a peer may open: lanes and bulk streams.
#[derive(Debug)]
pub(crate) struct Accept(Arc<[&'static str]>);

impl UpgradeInfo for Accept {
    type Info = StreamProtocol;
    type InfoIter = Vec<StreamProtocol>;

    fn protocol_info(&self) -> Vec<StreamProtocol> {
        let lanes = Lane::ALL.map(Lane::protocol).into_iter();
        lanes
            .chain(self.0.iter().map(|name| StreamProtocol::new(name)))
            .collect()
    }
}

impl InboundUpgrade<libp2p::Stream> for Accept {
    type Output = (libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
