//! Swarm runs: one seed draws a mesh, its work and its faults; whole kinds of faults are switched off at random (Groce et al.,
//! "Swarm Testing", 2012), so that each seed leans on some of them. Two phases: faults with safety judged all the time, then
//! everything is healed (in some runs but for a minority that stays away) and liveness is judged.

mod draw;
mod lessen;
mod play;
mod shrink;

use std::time::Duration;

use crate::link::{Lanes, Order};
use crate::plan::Batch;
use crate::queue::HostIx;
use crate::world::{Notice, Setup};

pub use draw::draw;
pub use play::{live, play, play_altered, play_drawn, play_until};
pub use shrink::{Shrunk, Size, Wrong, shrink};

/// Something done to a world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A node is stopped.
    Stop(HostIx),
    /// A host is frozen.
    Freeze(HostIx),
    /// A stopped node or frozen host goes on.
    Resume(HostIx),
    /// A node is killed and started again after a while.
    CrashNode(HostIx, Duration),
    /// A host loses its power and comes back after a while.
    CrashHost(HostIx, Duration),
    /// All hosts lose their power and come back after a while.
    CrashAll(Duration),
    /// A host loses its power and stays away.
    Leave(HostIx),
    /// A host loses its disk and comes back under a new identity.
    LoseDisk(HostIx, Duration),
    /// A host that was not there yet starts.
    Join(HostIx),
    /// Two hosts are cut off from each other.
    Cut(HostIx, HostIx),
    /// One direction is cut, and its ends notice or do not.
    CutWay(HostIx, HostIx, Lanes, Notice),
    /// The first side is cut off from all other hosts.
    Split(Vec<HostIx>),
    /// All links are whole again.
    HealLinks,
    /// A connection breaks once.
    Break(HostIx, HostIx),
    /// One direction becomes slower.
    Slow(HostIx, HostIx, Duration),
    /// Links lose, copy and reorder: frames of a thousand each.
    Spoil(u32, u32, Order),
    /// A disk is full.
    FillDisk(HostIx),
    /// It has room again.
    FreeDisk(HostIx),
    /// A clock runs at another rate.
    Rate(HostIx, i32),
    /// A wall clock steps.
    Wall(HostIx, i64),
    /// Nonsense is sent.
    Garbage(HostIx, HostIx),
    /// Forged frames are sent.
    Forged(HostIx, HostIx),
    /// A guard is killed, and its runs with it.
    KillGuard(HostIx),
    /// Each sync of a disk takes so much longer.
    SlowDisk(HostIx, Duration),
    /// A person wants a task ended: the n-th of those that were acknowledged.
    Kill(HostIx, usize),
    /// A person wants a task to run again that has ended: the n-th of those that were acknowledged.
    Again(HostIx, usize),
    /// A person wants nobody to see a task any more that has ended: the n-th of those that were acknowledged.
    Remove(HostIx, usize),
    /// A person wants a task to be otherwise that has not started: the n-th of those that were acknowledged. It takes so many
    /// thousandths of a processor then, and has another priority and queue.
    Edit(HostIx, usize, u32),
    /// A person says at a host how long leases last, milliseconds, or takes it back.
    Lease(HostIx, Option<u64>),
    /// A person says at a host how long what has ended is kept, milliseconds.
    Retention(HostIx, u64),
    /// A host takes no new tasks.
    Drain(HostIx),
    /// It takes new tasks again.
    Undrain(HostIx),
    /// A host takes no more work and hands over its places in committees, or goes back to work.
    Retire(HostIx, bool),
    /// At the first host a person says that the second will not come back.
    Forget(HostIx, HostIx),
}

/// Everything that one seed means.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The world.
    pub setup: Setup,
    /// Submissions: when, where, what.
    pub work: Vec<(Duration, HostIx, Batch)>,
    /// Faults in order.
    pub deeds: Vec<(Duration, Deed)>,
    /// When faults end.
    pub calm_at: Duration,
    /// Hosts that stay away.
    pub absent: Vec<HostIx>,
    /// So many of a thousand starts, ends and orders are followed by a fault right there.
    pub spite: u32,
}
