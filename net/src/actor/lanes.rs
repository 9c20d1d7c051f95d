//! The lanes of a link: opened by the peer with the lower key on the connection of its choice, taken
//! by the other wherever they come; both or none. Bulk streams go where the lanes are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::StreamProtocol;
use libp2p::swarm::ConnectionId;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tracing::{debug, warn};

use super::{Actor, BACKLOG, Ended};
use crate::admission::Verdict;
use crate::handle::NetEvent;
use crate::identity::PeerKey;
use crate::lanes::{self, Lane, LaneFault};
use crate::stats::add;
use crate::streams::{Answer, Ask, Event, Fault, On, Stream};

/// Lanes that a peer may open at once, and how long it takes until it may open one more. Honest
/// peers pause before they open lanes again; connections that break in a row are few.
const ALLOWANCE: u32 = 16;
const ALLOWANCE_EACH: Duration = Duration::from_millis(50);

/// What is under way for a lane that is not there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneState {
    #[default]
    Idle,
    /// It was asked for on the carrier.
    Opening,
}

/// How many lanes a peer may open now.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    counted: Instant,
}

impl Allowance {
    pub(super) fn full() -> Self {
        Self {
            left: ALLOWANCE,
            counted: Instant::now(),
        }
    }

    fn take(&mut self) -> bool {
        let gained = self.counted.elapsed().as_millis() / ALLOWANCE_EACH.as_millis();
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(ALLOWANCE);
            self.left = self.left.saturating_add(gained).min(ALLOWANCE);
            self.counted = Instant::now();
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl Actor {
    /// Opens what is not there and not under way, if that is this side's to do.
    pub(super) fn open_lanes(&mut self, peer: PeerKey) {
        let (Some(id), false) = (peer.peer_id(), self.me > peer) else {
            return;
        };
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if link.rest > Instant::now() {
            return;
        }
        if link.carrier.is_none() {
            link.carrier = link.best();
        }
        let Some(carrier) = link.carrier else { return };
        for lane in Lane::ALL {
            let state = &mut link.lanes[lane.place()];
            if *state == LaneState::Idle && !self.shared.lanes.has(peer, lane) {
                *state = LaneState::Opening;
                let streams = &mut self.swarm.behaviour_mut().streams;
                streams.ask(id, carrier, Ask::Lane(lane));
            }
        }
    }

    pub(super) fn take_stream(&mut self, on: On) {
        let On {
            peer,
            connection,
            event,
        } = on;
        let Some(peer) = PeerKey::of(&peer) else {
            return;
        };
        match event {
            Event::Opened(lane, stream) => {
                if self.was_opening(peer, connection, lane) {
                    self.begin_lane(peer, lane, stream);
                }
            }
            Event::Failed(lane) => {
                debug!(?peer, ?lane, "lane not opened");
                if self.was_opening(peer, connection, lane)
                    && let Some(link) = self.links.get_mut(&peer)
                {
                    link.blame();
                    self.drop_lanes(peer);
                }
            }
            Event::Lane(lane, stream) => self.lane_came(peer, connection, lane, stream),
            Event::Bulk(protocol, stream) => self.bulk_came(peer, protocol, stream),
        }
    }

    /// Says whether a lane was asked for on this connection; it is not any more.
    fn was_opening(&mut self, peer: PeerKey, on: ConnectionId, lane: Lane) -> bool {
        let link = self.links.get_mut(&peer);
        let Some(link) = link.filter(|link| link.carrier == Some(on)) else {
            return false;
        };
        std::mem::take(&mut link.lanes[lane.place()]) == LaneState::Opening
    }

    fn lane_came(&mut self, peer: PeerKey, on: ConnectionId, lane: Lane, stream: libp2p::Stream) {
        let link = self.links.get_mut(&peer);
        let link = link.filter(|link| peer < self.me && link.is_usable(on));
        let Some(link) = link.and_then(|link| link.allowance.take().then_some(link)) else {
            debug!(?peer, ?lane, "lane refused");
            return add(&self.shared.counts.streams_refused, 1);
        };
        if link.carrier != Some(on) || self.shared.lanes.has(peer, lane) {
            // The peer has let go of the old ones.
            self.drop_lanes(peer);
        }
        if let Some(link) = self.links.get_mut(&peer) {
            link.carrier = Some(on);
        }
        self.begin_lane(peer, lane, stream);
    }

    fn bulk_came(&mut self, peer: PeerKey, protocol: &'static str, stream: Stream) {
        if self.backlog.len() >= BACKLOG / 2 {
            debug!(?peer, protocol, "stream refused");
            return add(&self.shared.counts.streams_refused, 1);
        }
        self.tell(NetEvent::Incoming {
            peer,
            protocol,
            stream,
        });
    }

    /// Opens a bulk stream on the connection that is kept.
    pub(super) fn open(&mut self, peer: PeerKey, protocol: &'static str, answer: Answer) {
        let link = self.links.get(&peer);
        let carrier = link.filter(|link| link.is_up()).and_then(|l| l.carrier);
        if let (Some(carrier), Some(id)) = (carrier, peer.peer_id()) {
            let ask = Ask::Bulk(StreamProtocol::new(protocol), answer);
            return self.swarm.behaviour_mut().streams.ask(id, carrier, ask);
        }
        let fault = if link.is_some() || self.left.contains_key(&peer) {
            Fault::Broken("the host was lost a moment ago".to_owned())
        } else {
            Fault::Away
        };
        if answer.send(Err(fault)).is_err() {
            debug!(?peer, "nobody waits for the stream");
        }
    }

    fn begin_lane(&mut self, peer: PeerKey, lane: Lane, stream: libp2p::Stream) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        self.next_lane += 1;
        let id = self.next_lane;
        let (events, told) = (self.events.clone(), link.told.subscribe());
        let deliver = move |frame| {
            let (events, mut told) = (events.clone(), told.clone());
            async move {
                let told = told.wait_for(|told| *told).await.is_ok();
                told && events
                    .send(NetEvent::Frame { peer, lane, frame })
                    .await
                    .is_ok()
            }
        };
        let end = self.ended.clone();
        let ended = move |fault| {
            if end.send(Ended(peer, lane, id, fault)).is_err() {
                debug!("the network is gone");
            }
        };
        let counts = Arc::clone(&self.shared.counts);
        let patience = self.limits.frame;
        let end = lanes::run(stream.compat(), id, patience, counts, deliver, ended);
        self.shared.lanes.put(peer, lane, end);
        if self.shared.lanes.is_up(peer) {
            self.set_up(peer);
        }
    }

    pub(super) fn lane_ended(&mut self, peer: PeerKey, lane: Lane, id: u64, fault: LaneFault) {
        if !self.shared.lanes.remove(peer, lane, id) {
            return;
        }
        debug!(?peer, ?lane, ?fault, "lane ended");
        match fault {
            LaneFault::Broken => self.drop_lanes(peer),
            LaneFault::Oversized => self.offended(peer, "frame too long"),
            LaneFault::Half => self.offended(peer, "frame never whole"),
        }
        if let Some(link) = self.links.get_mut(&peer) {
            link.rest();
        }
    }

    fn offended(&mut self, peer: PeerKey, why: &'static str) {
        self.set_down(peer, why);
        if self.shared.admission.offend(peer) == Verdict::Blocked {
            warn!(
                ?peer,
                why, "peer keeps sending what is no frame; it is blocked for a while"
            );
            add(&self.shared.counts.peers_blocked, 1);
            self.disconnect(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_grows_again() {
        let mut allowance = Allowance::full();
        let taken = (0..1_000).filter(|_| allowance.take()).count();
        // What grows while this runs is all that comes on top.
        assert!((ALLOWANCE as usize..1_000).contains(&taken), "{taken}");
        allowance.left = 0;
        allowance.counted = Instant::now()
            .checked_sub(ALLOWANCE_EACH)
            .unwrap_or(allowance.counted);
        assert!(allowance.take());
    }
}
