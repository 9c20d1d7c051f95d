//! What can be done to a world: pauses, crashes, cuts, full disks, bad clocks; and the undoing of all that.

use std::time::Duration;

use crdt::event::Input;
use crdt::ids::DocId;
use crdt::keys::Keys;
use crdt::ledger::Ledger;

use super::{Flaw, World};
use crate::chance;
use crate::disk::DiskModel;
use crate::host::Mode;
use crate::keys::SimKeys;
use crate::link::{Lanes, LinkModel};
use crate::queue::{Event, HostIx};
use crate::timeline::{BandKind, Mark};

/// What a crash leaves on the disk of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsynced {
    /// Some prefix, by a draw.
    Drawn,
    /// Nothing.
    Lost,
}

/// Whether the ends of a cut connection notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// After a while.
    Later,
    /// Never.
    Never,
}

impl World {
    pub(super) fn deed(&mut self, host: Option<HostIx>, mark: Mark, what: &str) {
        self.timeline.note(self.now, host, mark, || what.to_owned());
    }

    /// Stops a node (SIGSTOP); its guards and processes go on.
    pub fn stop_node(&mut self, host: HostIx) {
        if self.hosts[host].mode == Mode::Runs && self.hosts[host].is_up() {
            self.hosts[host].mode = Mode::NodeStopped;
            self.deed(Some(host), Mark::Pause, "node stopped");
            self.timeline.band_begins(self.now, host, BandKind::Paused);
        }
    }

    /// Freezes a whole host: node, guards and processes; its clocks count on.
    pub fn freeze_host(&mut self, host: HostIx) {
        if self.hosts[host].mode == Mode::Frozen || !self.hosts[host].is_up() {
            return;
        }
        self.hosts[host].mode = Mode::Frozen;
        self.freeze_runs(host);
        self.deed(Some(host), Mark::Pause, "host frozen");
        self.timeline.band_begins(self.now, host, BandKind::Paused);
    }

    /// Lets a stopped node or a frozen host go on.
    pub fn resume(&mut self, host: HostIx) {
        let mode = std::mem::take(&mut self.hosts[host].mode);
        if mode == Mode::Runs {
            return;
        }
        self.deed(Some(host), Mark::Resume, "goes on");
        self.timeline.band_ends(self.now, host, BandKind::Paused);
        if mode == Mode::Frozen {
            self.thaw_runs(host);
        }
        for event in std::mem::take(&mut self.hosts[host].inbox) {
            if self.is_broken() {
                return;
            }
            self.happen(event);
        }
    }

    /// Kills a node; its guard and its runs go on. It is started again `back` from now.
    pub fn crash_node(&mut self, host: HostIx, back: Option<Duration>, unsynced: Unsynced) {
        if self.hosts[host].mode == Mode::Frozen {
            self.resume(host);
        }
        if !self.hosts[host].is_up() {
            return;
        }
        self.deed(Some(host), Mark::Crash, "node killed");
        self.node_dies(host, unsynced);
        self.orphan_runs(host);
        // The kernel closes its sockets: the others know soon.
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.drop_dead_connection(host, other);
        }
        if let Some(back) = back {
            self.start_node(host, back);
        }
    }

    /// Cuts the power of a host.
    pub fn crash_host(&mut self, host: HostIx, back: Option<Duration>, unsynced: Unsynced) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.deed(Some(host), Mark::Crash, "host lost its power");
        self.node_dies(host, unsynced);
        self.drop_runs(host);
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.notice_later(host, other);
        }
        if let Some(back) = back {
            self.start_node(host, back);
        }
    }

    /// A host loses its power and its disk; it comes back under a new identity, and the old one is down for ever.
    pub fn lose_disk(&mut self, host: HostIx, back: Duration) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.deed(Some(host), Mark::Crash, "host lost its disk");
        self.node_dies(host, Unsynced::Lost);
        self.drop_runs(host);
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.drop_dead_connection(host, other);
        }
        let node = &mut self.hosts[host];
        node.disk.wipe();
        node.identity += 1;
        node.keys = SimKeys::new(self.setup.seed, host, node.identity);
        self.by_peer.remove(&node.peer);
        node.peer = node.keys.me();
        node.tag = node.peer.tag();
        self.by_peer.insert(node.peer, host);
        self.tags[host] = node.tag;
        self.start_node(host, back);
    }

    /// Drops from a host's log what its node has dropped, as a node does now and then.
    fn compact(&mut self, host: HostIx) {
        let node = &mut self.hosts[host];
        let Some(replica) = &node.replica else { return };
        if replica.counters().segments_dropped > 0 {
            let dropped = replica.dropped();
            node.disk.compact(|record| match Ledger::peek(record) {
                Some((DocId::Segment(id), ..)) => !dropped.has(id),
                Some(_) | None => true,
            });
        }
    }

    fn node_dies(&mut self, host: HostIx, unsynced: Unsynced) {
        self.compact(host);
        let node = &mut self.hosts[host];
        node.replica = None;
        node.life += 1;
        node.mode = Mode::Runs;
        node.inbox.clear();
        node.wake_at = None;
        node.restart_at = None;
        match unsynced {
            Unsynced::Drawn => node.disk.crash(),
            Unsynced::Lost => node.disk.crash_and_lose(),
        }
        if self.setup.flaw == Some(Flaw::DiskRollsBack) {
            node.disk.roll_back();
        }
        self.timeline.band_ends(self.now, host, BandKind::Paused);
        self.timeline.band_begins(self.now, host, BandKind::Down);
    }

    /// Starts a dead node after a while.
    pub fn start_node(&mut self, host: HostIx, after: Duration) {
        if self.hosts[host].is_up() || self.hosts[host].restart_at.is_some() {
            return;
        }
        let at = self.now + chance::nanos(after);
        self.hosts[host].restart_at = Some(at);
        self.queue.push(at, Event::Restart { host });
    }

    /// From its next start on a host goes by another lease.
    pub fn start_with_lease(&mut self, host: HostIx, lease: Duration) {
        let (hosts, usual) = (self.hosts.len(), self.setup.timing.lease);
        self.setup.leases.resize(hosts, usual);
        self.setup.leases[host] = lease;
    }

    pub(super) fn restart_now(&mut self, host: HostIx) {
        let due = self.hosts[host].restart_at.is_some_and(|at| at <= self.now);
        if !due || self.hosts[host].is_up() {
            return;
        }
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.drop_dead_connection(host, other);
        }
        self.boot(host);
    }

    /// The survivor of a dead connection learns of its end.
    fn drop_dead_connection(&mut self, dead: HostIx, other: HostIx) {
        if self.network.is_up(dead, other) {
            self.network.disconnect(dead, other);
            let peer = self.hosts[dead].peer;
            self.tell_now(other, Input::PeerDown(peer));
        }
    }

    /// Cuts one direction.
    pub fn cut_way(&mut self, from: HostIx, to: HostIx, lanes: Lanes, notice: Notice) {
        self.network.cut(from, to, lanes);
        self.deed(
            None,
            Mark::Cut,
            &format!("h{from} to h{to} cut ({lanes:?})"),
        );
        if lanes == Lanes::All && notice == Notice::Later {
            self.notice_later(from, to);
        }
    }

    /// Cuts both directions between two hosts; they notice after a while.
    pub fn cut(&mut self, a: HostIx, b: HostIx) {
        self.cut_way(a, b, Lanes::All, Notice::Later);
        self.cut_way(b, a, Lanes::All, Notice::Never);
        self.timeline.band_begins(self.now, a, BandKind::Cut);
        self.timeline.band_begins(self.now, b, BandKind::Cut);
    }

    /// Mends one direction.
    pub fn mend_way(&mut self, from: HostIx, to: HostIx) {
        self.network.mend(from, to);
        self.deed(None, Mark::Mend, &format!("h{from} to h{to} mended"));
    }

    /// Mends both directions between two hosts.
    pub fn mend(&mut self, a: HostIx, b: HostIx) {
        self.mend_way(a, b);
        self.mend_way(b, a);
        self.timeline.band_ends(self.now, a, BandKind::Cut);
        self.timeline.band_ends(self.now, b, BandKind::Cut);
    }

    /// Splits the world: hosts reach only those of their own side. Hosts that are not named are a side of their own each.
    pub fn split(&mut self, sides: &[&[HostIx]]) {
        let side = |host: HostIx| {
            sides
                .iter()
                .position(|side| side.contains(&host))
                .unwrap_or(sides.len() + host)
        };
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                if side(a) == side(b) {
                    self.mend(a, b);
                }
            }
        }
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                if side(a) != side(b) {
                    self.cut(a, b);
                }
            }
        }
    }

    /// Cuts a host off from all others.
    pub fn isolate(&mut self, host: HostIx) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.cut(host, other);
        }
    }

    /// Mends every link.
    pub fn heal_links(&mut self) {
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                let cut = |from, to| self.network.is_cut(from, to);
                if cut(a, b) || cut(b, a) {
                    self.mend(a, b);
                }
            }
            self.timeline.band_ends(self.now, a, BandKind::Cut);
        }
        self.network.calm();
    }

    /// Breaks a connection once; it comes back by itself.
    pub fn break_connection(&mut self, a: HostIx, b: HostIx) {
        self.lose_connection(a.min(b), a.max(b));
    }

    /// Makes one direction slower.
    pub fn slow_way(&mut self, from: HostIx, to: HostIx, lanes: Lanes, by: Duration) {
        self.network.slow(from, to, lanes, by);
        self.deed(
            None,
            Mark::Cut,
            &format!("h{from} to h{to} slower by {by:?}"),
        );
    }

    /// Changes how all links behave.
    pub fn set_links(&mut self, model: LinkModel) {
        self.network.model = model;
        self.deed(None, Mark::Cut, &format!("links: {model:?}"));
    }

    /// Returns how links behave now.
    #[must_use]
    pub fn links(&self) -> LinkModel {
        self.network.model
    }

    /// Fills a host's disk.
    pub fn fill_disk(&mut self, host: HostIx) {
        self.hosts[host].disk.fill();
        self.deed(Some(host), Mark::Disk, "disk full");
    }

    /// Makes room on a host's disk.
    pub fn free_disk(&mut self, host: HostIx) {
        self.hosts[host].disk.free();
        self.deed(Some(host), Mark::Disk, "disk has room again");
    }

    /// Makes a host's disk faster or slower.
    pub fn set_disk(&mut self, host: HostIx, model: DiskModel) {
        self.hosts[host].disk.model = model;
        self.deed(Some(host), Mark::Disk, &format!("{model:?}"));
    }

    /// Lets each sync of a host's disk take so much longer than it would.
    pub fn slow_disk(&mut self, host: HostIx, by: Duration) {
        let usual = self.setup.disks;
        let least = usual.least + by;
        self.set_disk(host, DiskModel { least, ..usual });
    }

    /// Makes a copy of a host's disk, which is never used in place of it unless that is what is broken.
    pub fn copy_disk(&mut self, host: HostIx) {
        self.hosts[host].disk.copy();
        self.deed(Some(host), Mark::Disk, "disk copied");
    }

    /// Gives a host's clock another rate.
    pub fn set_rate(&mut self, host: HostIx, rate_ppm: i32) {
        self.hosts[host].clock.set_rate(self.now, rate_ppm);
        self.deed(Some(host), Mark::Clock, &format!("rate {rate_ppm} ppm"));
        self.clock_changed(host);
    }

    fn clock_changed(&mut self, host: HostIx) {
        // Timers were set by the old rate; those that are early set themselves anew.
        self.hosts[host].wake_at = None;
        self.arm(host);
        let timers: Vec<_> = self.hosts[host]
            .guards
            .iter()
            .map(|(run, guard)| (*run, guard.serial))
            .collect();
        for (run, serial) in timers {
            self.recheck_deadline(host, run, serial);
        }
    }

    /// Steps a host's wall clock.
    pub fn step_wall(&mut self, host: HostIx, by_ms: i64) {
        self.hosts[host].clock.step_wall(by_ms);
        if self.setup.flaw == Some(Flaw::ClockIsSet) {
            self.hosts[host].clock.jump(self.now, by_ms);
            self.clock_changed(host);
        }
        self.deed(
            Some(host),
            Mark::Clock,
            &format!("wall clock stepped by {by_ms} ms"),
        );
    }

    /// Ends every fault: links are whole, disks have room, and every node runs, but for those that stay away.
    pub fn heal(&mut self, absent: &[HostIx]) {
        self.deed(None, Mark::Mend, "all faults end");
        self.heal_links();
        for host in 0..self.hosts.len() {
            if absent.contains(&host) {
                continue;
            }
            self.hosts[host].disk.free();
            self.hosts[host].disk.model = self.setup.disks;
            self.resume(host);
            self.start_node(host, Duration::from_millis(10));
        }
    }
}
