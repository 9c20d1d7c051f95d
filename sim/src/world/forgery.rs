//! What no honest peer sends: nonsense, and frames by somebody who goes by another's name without its key.
//!
//! Connections are authenticated, so a peer cannot heartbeat or ack in another's name; what it says in its own it may say
//! falsely (that is treason, and not in these worlds). Changes carry signatures of their own, and any peer may pass them on.

use std::sync::Arc;

use crdt::config::Config;
use crdt::event::{Durability, Input, Output};
use crdt::ids::{DocId, Incarnation, SegmentId};
use crdt::message::{Message, VERSION};
use crdt::replica::Replica;

use super::World;
use crate::keys::SimKeys;
use crate::plan::{Batch, Plan};
use crate::queue::{Event, HostIx};
use crate::timeline::Mark;

/// The most frames that one forgery is made of.
const FRAMES: usize = 8;

impl World {
    /// A peer sends nonsense to another: random bytes, or a frame of changes with some bits turned.
    pub fn send_garbage(&mut self, from: HostIx, to: HostIx) {
        let mut bytes = match &self.sample {
            Some(frame) if self.garbage.bool() => frame.to_vec(),
            Some(_) | None => {
                let mut bytes = vec![0; self.garbage.usize(0..512)];
                self.garbage.fill(&mut bytes);
                if let Some(first) = bytes.first_mut() {
                    // One in eight is of a version that is still to come.
                    *first = VERSION + u8::from(self.garbage.u32(0..8) == 0);
                }
                bytes
            }
        };
        if bytes.len() > 3 {
            for _ in 0..self.garbage.usize(1..8) {
                // Not the version and not the kind: a forged ack is not nonsense but treason.
                let place = self.garbage.usize(2..bytes.len());
                bytes[place] ^= 1 << self.garbage.u32(0..8);
            }
            if self.garbage.bool() {
                bytes.truncate(self.garbage.usize(2..bytes.len()));
            }
        }
        self.slip_in(from, to, &[bytes.into()], "nonsense");
    }

    /// A peer passes on what somebody signed who goes by the name of a member without its key, asks for what nobody has, and
    /// says again what was said long ago.
    pub fn send_forged(&mut self, from: HostIx, to: HostIx) {
        let named = self.garbage.usize(0..self.hosts.len());
        let mut frames = self.forge(named, to);
        let nowhere = DocId::Segment(SegmentId {
            author: self.hosts[named].peer,
            n: self.garbage.u32(1 << 20..1 << 30),
        });
        let count = self.garbage.u32(..);
        frames.push(Message::Root(self.garbage.u64(..)).encode());
        frames.push(Message::Documents(vec![(nowhere, self.garbage.u64(..))]).encode());
        frames.push(Message::Vector(nowhere, vec![(self.hosts[to].peer, count)]).encode());
        frames.extend(self.sample.clone());
        self.slip_in(from, to, &frames, "forged");
    }

    /// Returns the changes by which a host that is not `named` would submit a task as if it were.
    fn forge(&mut self, named: HostIx, to: HostIx) -> Vec<Arc<[u8]>> {
        let config = Config {
            keys: Box::new(SimKeys::stolen_name(
                self.hosts[named].peer,
                self.garbage.u64(..),
            )),
            incarnation: Incarnation(self.garbage.u64(..)),
            ..self.config(named)
        };
        let now = self.hosts[named].clock.read(self.now);
        let mut forger = Replica::new(config, Vec::new(), &[], now);
        forger.handle(now, Input::PeerUp(self.hosts[to].peer));
        let submit = Input::Submit {
            token: 0,
            tasks: Batch::one(Plan::succeed(self.setup.timing.lease)).into_tasks(),
            durable: Durability::Local,
        };
        forger.handle(now, submit);
        let mut frames = Vec::new();
        while let Some(output) = forger.poll_output() {
            match output {
                Output::Persist { token, .. } => forger.handle(now, Input::Persisted(token)),
                Output::Send { bytes, .. } if is_changes(&bytes) => frames.push(bytes),
                Output::Send { .. }
                | Output::Start(_)
                | Output::Look(_)
                | Output::Extend(..)
                | Output::Signal(..)
                | Output::Kill(_)
                | Output::Withdraw(_)
                | Output::Reply(..)
                | Output::Notice(_) => {}
            }
        }
        frames.truncate(FRAMES);
        frames
    }

    /// Frames arrive that the node of their sender never sent.
    fn slip_in(&mut self, from: HostIx, to: HostIx, frames: &[Arc<[u8]>], what: &str) {
        if !self.network.is_up(from, to) {
            return;
        }
        let connection = self.network.connection(from, to);
        for bytes in frames {
            let text = format!("{} bytes, {what}, by h{from}", bytes.len());
            self.deed(Some(to), Mark::Deed, &text);
            let bytes = Arc::clone(bytes);
            self.after(
                1_000,
                Event::Deliver {
                    from,
                    to,
                    connection,
                    bytes,
                },
            );
        }
    }
}

fn is_changes(frame: &[u8]) -> bool {
    matches!(Message::decode(frame), Ok(Message::Changes(_)))
}
