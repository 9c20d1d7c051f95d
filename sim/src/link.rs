//! The simulated network: for each direction a delay, loss, copies and cuts by lane; for each pair a connection that comes and
//! goes. Frames of one connection and lane keep their order unless the model says otherwise; lanes never wait for each other.

use std::time::Duration;

use crdt::message::Lane;
use fastrand::Rng;

use crate::chance::{self, Purpose};
use crate::queue::HostIx;

/// Whether frames of one lane may overtake each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Never: a lane is a stream.
    #[default]
    Kept,
    /// Each frame takes its own time.
    Free,
}

/// How links behave between faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkModel {
    /// No frame takes less.
    pub least: Duration,
    /// The mean of what it takes beyond that.
    pub mean: Duration,
    /// Frames lost, of a thousand.
    pub loss: u32,
    /// Frames that arrive twice, of a thousand.
    pub copies: u32,
    /// The latest that a copy arrives after the original.
    pub copy_late: Duration,
    /// Whether frames overtake.
    pub order: Order,
    /// The mean time until a dead connection is given up by its ends.
    pub notice: Duration,
}

impl Default for LinkModel {
    /// A local network without faults: 0.2 ms and, on average, 0.8 ms more.
    fn default() -> Self {
        Self {
            least: Duration::from_micros(200),
            mean: Duration::from_micros(800),
            loss: 0,
            copies: 0,
            copy_late: Duration::from_secs(4),
            order: Order::Kept,
            notice: Duration::from_millis(1_500),
        }
    }
}

/// Which lanes a cut concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lanes {
    /// Both.
    All,
    /// Documents only: claims get through.
    Gossip,
    /// Heartbeats and acks only: documents get through.
    Claims,
}

impl Lanes {
    fn slots(self) -> &'static [usize] {
        match self {
            Self::All => &[0, 1],
            Self::Gossip => &[0],
            Self::Claims => &[1],
        }
    }
}

fn slot(lane: Lane) -> usize {
    match lane {
        Lane::Gossip => 0,
        Lane::Claims => 1,
    }
}

#[derive(Debug)]
struct Direction {
    rng: Rng,
    cut: [bool; 2],
    slow: [u64; 2],
    last: [u64; 2],
}

/// The connection of two hosts.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    connection: u32,
    up: bool,
}

/// When the copies of a frame arrive: none, one or two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arrivals {
    /// The frame itself.
    pub first: Option<u64>,
    /// A copy.
    pub second: Option<u64>,
}

/// All links of a world.
#[derive(Debug)]
pub struct Network {
    /// How links behave now.
    pub model: LinkModel,
    /// Frames dropped: lost, cut, or without a connection.
    pub dropped: u64,
    hosts: usize,
    directions: Vec<Direction>,
    pairs: Vec<Pair>,
    waits: Rng,
}

impl Network {
    /// Returns the links between so many hosts, none of them connected.
    #[must_use]
    pub fn new(seed: u64, hosts: usize, model: LinkModel) -> Self {
        let directions = (0..hosts * hosts)
            .map(|place| {
                let (from, to) = (place / hosts, place % hosts);
                let rng = chance::stream(seed, Purpose::Link, from as u64, to as u64);
                Direction {
                    rng,
                    cut: [false; 2],
                    slow: [0; 2],
                    last: [0; 2],
                }
            })
            .collect();
        Self {
            model,
            dropped: 0,
            hosts,
            directions,
            pairs: vec![Pair::default(); hosts * hosts],
            waits: chance::stream(seed, Purpose::Connection, 0, 0),
        }
    }

    fn direction(&mut self, from: HostIx, to: HostIx) -> &mut Direction {
        &mut self.directions[from * self.hosts + to]
    }

    fn pair(&mut self, a: HostIx, b: HostIx) -> &mut Pair {
        &mut self.pairs[a.min(b) * self.hosts + a.max(b)]
    }

    /// Says whether two hosts are connected, as both of them believe.
    #[must_use]
    pub fn is_up(&self, a: HostIx, b: HostIx) -> bool {
        self.pairs[a.min(b) * self.hosts + a.max(b)].up
    }

    /// Returns the number of the present or last connection of two hosts.
    #[must_use]
    pub fn connection(&self, a: HostIx, b: HostIx) -> u32 {
        self.pairs[a.min(b) * self.hosts + a.max(b)].connection
    }

    /// Connects two hosts anew.
    pub fn connect(&mut self, a: HostIx, b: HostIx) {
        let pair = self.pair(a, b);
        pair.connection += 1;
        pair.up = true;
    }

    /// Ends a connection; what is under way on it is lost.
    pub fn disconnect(&mut self, a: HostIx, b: HostIx) {
        let pair = self.pair(a, b);
        pair.connection += 1;
        pair.up = false;
    }

    /// Says whether nothing gets from one host to another.
    #[must_use]
    pub fn is_cut(&self, from: HostIx, to: HostIx) -> bool {
        self.directions[from * self.hosts + to].cut == [true; 2]
    }

    /// Cuts one direction; nobody is told.
    pub fn cut(&mut self, from: HostIx, to: HostIx, lanes: Lanes) {
        let cut = &mut self.direction(from, to).cut;
        for lane in lanes.slots() {
            cut[*lane] = true;
        }
    }

    /// Mends one direction.
    pub fn mend(&mut self, from: HostIx, to: HostIx) {
        let direction = self.direction(from, to);
        direction.cut = [false; 2];
        direction.slow = [0; 2];
    }

    /// Makes one direction slower by so much.
    pub fn slow(&mut self, from: HostIx, to: HostIx, lanes: Lanes, by: Duration) {
        for lane in lanes.slots() {
            self.direction(from, to).slow[*lane] = chance::nanos(by);
        }
    }

    /// Mends everything and ends loss, copies and overtaking.
    pub fn calm(&mut self) {
        for direction in &mut self.directions {
            direction.cut = [false; 2];
            direction.slow = [0; 2];
        }
        self.model.loss = 0;
        self.model.copies = 0;
        self.model.order = Order::Kept;
    }

    /// Draws when a frame sent now arrives.
    pub fn send(&mut self, from: HostIx, to: HostIx, lane: Lane, now: u64) -> Arrivals {
        let model = self.model;
        let up = self.is_up(from, to);
        let direction = self.direction(from, to);
        let lost = chance::happens(&mut direction.rng, model.loss);
        let copied = chance::happens(&mut direction.rng, model.copies);
        let extra = chance::exponential(&mut direction.rng, chance::nanos(model.mean));
        let lane = slot(lane);
        if !up || lost || direction.cut[lane] {
            self.dropped += 1;
            return Arrivals::default();
        }
        let mut at = now + chance::nanos(model.least) + extra + direction.slow[lane];
        if model.order == Order::Kept {
            at = at.max(direction.last[lane] + 1);
            direction.last[lane] = at;
        }
        let late = chance::nanos(model.copy_late);
        let second = copied.then(|| at + chance::up_to(&mut direction.rng, late));
        Arrivals {
            first: Some(at),
            second,
        }
    }

    /// Draws how long two ends wait before they give up a silent connection.
    pub fn notice_after(&mut self) -> u64 {
        let mean = chance::nanos(self.model.notice);
        mean / 2 + chance::exponential(&mut self.waits, mean / 2)
    }

    /// Draws how long two hosts wait before they try to connect.
    pub fn connect_after(&mut self) -> u64 {
        20_000_000 + chance::exponential(&mut self.waits, 100_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_keeps_its_order_and_lanes_do_not_wait() {
        let mut network = Network::new(1, 2, LinkModel::default());
        assert_eq!(network.send(0, 1, Lane::Gossip, 0), Arrivals::default());
        network.connect(0, 1);
        let mut last = 0;
        for now in 0..1_000 {
            let at = network.send(0, 1, Lane::Gossip, now).first;
            assert!(at > Some(last));
            last = at.unwrap_or(0);
        }
        assert!(network.send(0, 1, Lane::Claims, 1_000).first < Some(last));
    }

    #[test]
    fn cuts_have_a_direction_and_a_lane() {
        let mut network = Network::new(1, 2, LinkModel::default());
        network.connect(0, 1);
        network.cut(0, 1, Lanes::Gossip);
        assert_eq!(network.send(0, 1, Lane::Gossip, 0).first, None);
        assert!(network.send(0, 1, Lane::Claims, 0).first.is_some());
        assert!(network.send(1, 0, Lane::Gossip, 0).first.is_some());
        assert!(!network.is_cut(0, 1));
        network.cut(0, 1, Lanes::Claims);
        assert!(network.is_cut(0, 1) && !network.is_cut(1, 0));
        network.calm();
        assert!(network.send(0, 1, Lane::Gossip, 0).first.is_some());
    }
}
