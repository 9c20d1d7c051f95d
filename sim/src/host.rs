//! One simulated host: its clocks, its disk, its node (a real `Replica`, running, stopped or dead), and the guards of its runs.

use std::collections::{BTreeMap, VecDeque};

use crdt::event::{FoundRun, RunEnd, StartOrder};
use crdt::ids::{PeerId, RunId, Tag};
use crdt::replica::Replica;
use crdt::time::Mono;
use fastrand::Rng;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::keys::SimKeys;
use crate::oracle::Backing;
use crate::plan::Plan;
use crate::queue::{Event, RunEvent};

/// Whether things on a host go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// All of them.
    #[default]
    Runs,
    /// The node does not (SIGSTOP); guards and processes do.
    NodeStopped,
    /// Nothing does: the whole machine stands still. Its clocks count on.
    Frozen,
}

/// A rule of the guard that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuardFlaw {
    /// There is none: the node itself kills at the deadline, if it can; a dead node's processes live on.
    Absent,
    /// It does not look at the clock before it starts the process.
    NoStartCheck,
    /// It takes the lease's whole length to kill.
    Slow,
    /// It stands still whenever its node does.
    StopsToo,
}

/// Why a process is being killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Its deadline came.
    Deadline,
    /// Its node ordered so.
    Ordered,
    /// Its guard was killed.
    Guardless,
}

/// Where a run stands on its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The node has not forked its guard yet; a signal that came is kept.
    Ordered {
        /// That signal.
        signal: Option<i32>,
    },
    /// The guard gets ready; a signal that came is kept.
    Arming {
        /// That signal.
        signal: Option<i32>,
    },
    /// The process executes until then, in true time.
    Runs {
        /// Its own end.
        until: u64,
    },
    /// It stands still with its host; so much of it is left, in nanoseconds.
    Frozen {
        /// What is left.
        left: u64,
    },
    /// It is being killed.
    Dying(Cause),
}

/// A run and its guard.
#[derive(Debug)]
pub struct Guard {
    /// Tells orders of one run apart.
    pub serial: u64,
    /// The life of the node that ordered it.
    pub life: u32,
    /// The order; its deadline is the newest that reached the guard.
    pub order: Box<StartOrder>,
    /// Who had voted for it then.
    pub backing: Backing,
    /// What the process does.
    pub plan: Plan,
    /// Where it stands.
    pub phase: Phase,
    /// How often its host was frozen: an end planned before a freeze is void.
    pub freezes: u32,
    /// When its node asked for a signal or for its end.
    pub signalled: Option<Mono>,
}

/// The end of a run, kept by the host's guard.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What a node that starts is told first.
    pub found: FoundRun,
    /// And then.
    pub end: RunEnd,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    /// Its identity.
    pub peer: PeerId,
    /// Its short name.
    pub tag: Tag,
    /// Its keys.
    pub keys: SimKeys,
    /// Its clocks.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// Its node, if alive.
    pub replica: Option<Box<Replica>>,
    /// How often it lost its disk.
    pub identity: u32,
    /// How often its node was started.
    pub life: u32,
    /// Whether things go on.
    pub mode: Mode,
    /// What waits until they do.
    pub inbox: VecDeque<Event>,
    /// Its runs.
    pub guards: BTreeMap<RunId, Guard>,
    /// Ends of runs, until what the node wrote about them is durable.
    pub kept: BTreeMap<RunId, Kept>,
    /// Latencies of its guards.
    pub chance: Rng,
    /// When the replica is woken next, in true time.
    pub wake_at: Option<u64>,
    /// The number of that request.
    pub wake_request: u64,
    /// Wake-ups since the last sweep.
    pub wakes: u32,
    /// When it is started again.
    pub restart_at: Option<u64>,
}

/// More frames than this are not kept for a node that stands still: its sockets' buffers are full.
pub const INBOX_FRAMES: usize = 4_096;

impl Host {
    /// Says whether the node is alive.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// Returns its clock's reading.
    #[must_use]
    pub fn local(&self, now: u64) -> Mono {
        self.clock.local(now)
    }

    /// Says whether an event has to wait until this host goes on.
    #[must_use]
    pub fn holds(&self, event: &Event, flaw: Option<GuardFlaw>) -> bool {
        match (self.mode, event) {
            (Mode::Runs, _) => false,
            (
                Mode::Frozen,
                Event::Run {
                    what: RunEvent::Exit(_),
                    ..
                },
            ) => false,
            (Mode::Frozen, _) => true,
            (Mode::NodeStopped, Event::Run { what, .. }) => {
                // Without guards it is the node that watches deadlines.
                matches!(flaw, Some(GuardFlaw::Absent | GuardFlaw::StopsToo))
                    && matches!(
                        what,
                        RunEvent::Deadline | RunEvent::Extend(_) | RunEvent::Kill
                    )
            }
            (Mode::NodeStopped, Event::Restart { .. }) => false,
            (Mode::NodeStopped, _) => true,
        }
    }

    /// Keeps an event until this host goes on. Says no if a buffer is full and the event, a frame, is lost.
    pub fn keep(&mut self, event: Event) -> bool {
        if matches!(event, Event::Deliver { .. }) && self.inbox.len() >= INBOX_FRAMES {
            return false;
        }
        self.inbox.push_back(event);
        true
    }

    /// Returns the guard of a run, if it is still the one with this serial number.
    pub fn guard(&mut self, run: RunId, serial: u64) -> Option<&mut Guard> {
        self.guards
            .get_mut(&run)
            .filter(|guard| guard.serial == serial)
    }
}
