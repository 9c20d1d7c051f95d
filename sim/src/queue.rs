//! The one queue of events, in true time; ties in the order in which they were put in. No ticks: idle time costs nothing.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use crdt::event::Input;
use crdt::ids::RunId;
use crdt::time::Mono;

/// A host's number in its world, from 0.
pub type HostIx = usize;

/// Something that is going to happen. `life` is the node's count of starts: what was meant for an earlier one is void.
#[derive(Debug)]
pub enum Event {
    /// A frame reaches a node, unless its connection was lost meanwhile.
    Deliver {
        /// Who sent it.
        from: HostIx,
        /// To whom.
        to: HostIx,
        /// Which connection of the two.
        connection: u32,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// Both ends of a silent connection give it up, if it is still cut.
    GiveUpConnection {
        /// The lower host.
        a: HostIx,
        /// The higher one.
        b: HostIx,
        /// Which connection of the two.
        connection: u32,
    },
    /// Two hosts try to connect.
    Connect {
        /// The lower host.
        a: HostIx,
        /// The higher one.
        b: HostIx,
    },
    /// A sync of the disk is done.
    Synced {
        /// Whose.
        host: HostIx,
        /// For which life.
        life: u32,
    },
    /// A full disk is tried again.
    RetryDisk {
        /// Whose.
        host: HostIx,
        /// For which life.
        life: u32,
    },
    /// The replica asked to be woken.
    Wake {
        /// Whose.
        host: HostIx,
        /// For which life.
        life: u32,
        /// Which request; only the newest counts.
        request: u64,
    },
    /// Something that the node itself hears: from a guard or from a person.
    Tell {
        /// Whom.
        host: HostIx,
        /// For which life.
        life: u32,
        /// What.
        input: Box<Input>,
    },
    /// The node starts a node again.
    Restart {
        /// Which.
        host: HostIx,
    },
    /// The node forks the guard of an ordered run.
    Spawn {
        /// Where.
        host: HostIx,
        /// For which life.
        life: u32,
        /// Which run.
        run: RunId,
    },
    /// What happens to a run under its guard.
    Run {
        /// Where.
        host: HostIx,
        /// Which run.
        run: RunId,
        /// The guard's serial number: a run may be ordered twice if a rule is broken.
        serial: u64,
        /// What.
        what: RunEvent,
    },
    /// Bounds are checked.
    Sweep,
}

/// What happens to a run under its guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunEvent {
    /// The guard is ready to start the process.
    Exec,
    /// A later deadline reaches the guard.
    Extend(Mono),
    /// The guard's timer.
    Deadline,
    /// The process ends by itself, unless it was frozen since (the count of freezes).
    Exit(u32),
    /// A signal reaches the process.
    Signal(i32),
    /// The guard is told to kill.
    Kill,
    /// The process group is gone and reaped.
    Reaped,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// Events in the order in which they happen.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    serial: u64,
}

impl Queue {
    /// Puts in an event that happens at a true time.
    pub fn push(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.heap.push(Reverse(Scheduled {
            at,
            serial: self.serial,
            event,
        }));
    }

    /// Returns when the next event happens.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.event))
    }

    /// Returns how many events are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Says whether nothing is going to happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_keep_their_order() {
        let mut queue = Queue::default();
        for (at, host) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(at, Event::Restart { host });
        }
        let mut order = Vec::new();
        while let Some((at, Event::Restart { host })) = queue.pop() {
            order.push((at, host));
        }
        assert_eq!(order, [(3, 1), (3, 3), (5, 0), (5, 2)]);
    }
}
