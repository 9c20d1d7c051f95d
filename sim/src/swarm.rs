//! Swarm runs: one seed draws a mesh, its work and its faults; whole kinds of faults are switched off at random (Groce et al.,
//! "Swarm Testing", 2012), so that each seed leans on some of them. Two phases: faults with safety judged all the time, then
//! everything is healed (in some runs but for a minority that stays away) and liveness is judged.

use std::sync::Arc;
use std::time::Duration;

use crdt::ids::TaskId;
use crdt::task::{Arg, Environment};
use crdt::time::Timing;
use fastrand::Rng;

use crate::chance::{self, Purpose};
use crate::disk::DiskModel;
use crate::link::{Lanes, LinkModel, Order};
use crate::plan::{Batch, Fate, Manners, Plan};
use crate::queue::HostIx;
use crate::timeline::Keep;
use crate::world::{Clocks, Flaw, Notice, Setup, Unsynced, World};

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
    /// Two hosts are cut off from each other.
    Cut(HostIx, HostIx),
    /// One direction is cut.
    CutWay(HostIx, HostIx, Lanes),
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
    /// A person wants a task ended: the n-th of those that were acknowledged.
    Kill(HostIx, usize),
    /// A host takes no new tasks.
    Drain(HostIx),
    /// It takes new tasks again.
    Undrain(HostIx),
}

/// The kinds of faults that a seed switches on or off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Stop,
    Freeze,
    CrashNode,
    CrashHost,
    CrashAll,
    Cut,
    OneWay,
    Split,
    Break,
    Slow,
    Spoil,
    Disk,
    Rate,
    Wall,
    Garbage,
    Kill,
    Drain,
}

const KINDS: [Kind; 17] = [
    Kind::Stop,
    Kind::Freeze,
    Kind::CrashNode,
    Kind::CrashHost,
    Kind::CrashAll,
    Kind::Cut,
    Kind::OneWay,
    Kind::Split,
    Kind::Break,
    Kind::Slow,
    Kind::Spoil,
    Kind::Disk,
    Kind::Rate,
    Kind::Wall,
    Kind::Garbage,
    Kind::Kill,
    Kind::Drain,
];

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

/// Draws what a seed means.
#[must_use]
pub fn draw(seed: u64) -> Drawn {
    let mut rng = chance::stream(seed, Purpose::Faults, 0, 0);
    let setup = draw_setup(seed, &mut rng);
    let calm_at = Duration::from_millis(rng.u64(8_000..24_000));
    let submitters = draw_submitters(setup.hosts, &mut rng);
    let work = draw_work(&setup, &submitters, calm_at);
    let (deeds, absent) = draw_deeds(&setup, &submitters, calm_at, &mut rng);
    let spite = if rng.bool() { 0 } else { rng.u32(20..200) };
    Drawn {
        setup,
        work,
        deeds,
        calm_at,
        absent,
        spite,
    }
}

fn draw_setup(seed: u64, rng: &mut Rng) -> Setup {
    let hosts = [1, 2, 3, 3, 3, 4, 5, 5, 5, 7][rng.usize(0..10)];
    let lease = Duration::from_millis(rng.u64(800..3_000));
    let committee = match hosts {
        1 | 2 => 1,
        3 | 4 => 3,
        _ if rng.bool() => 3,
        _ => 5,
    };
    let clocks = [Clocks::Ideal, Clocks::Within, Clocks::Ends][rng.usize(0..3)].clone();
    let slow = rng.u64(1..30);
    Setup {
        committee,
        timing: Timing::with_lease(lease / 8, lease, rng.u32(0..20_000)),
        clocks,
        links: LinkModel {
            mean: Duration::from_micros(rng.u64(100..1_000) * slow),
            ..LinkModel::default()
        },
        disks: DiskModel {
            least: Duration::from_micros(100),
            mean: Duration::from_micros(rng.u64(100..10_000)),
        },
        cpu_milli: 1_000 * rng.u32(1..5),
        ..Setup::new(seed, hosts)
    }
}

/// Only some hosts take submissions, so that others may stay away for good.
fn draw_submitters(hosts: usize, rng: &mut Rng) -> Vec<HostIx> {
    let first = rng.usize(0..hosts);
    let mut submitters = vec![first];
    submitters.extend((0..hosts).filter(|host| *host != first && rng.u32(0..3) == 0));
    submitters
}

fn draw_plan(setup: &Setup, rng: &mut Rng) -> Plan {
    let lease = chance::nanos(setup.timing.lease);
    let length = match rng.u32(0..10) {
        0..6 => chance::exponential(rng, lease / 8),
        6..9 => chance::exponential(rng, lease),
        _ => lease * 3,
    };
    let failures = match rng.u32(0..10) {
        0..7 => 0,
        7..9 => rng.u32(1..3),
        _ => u32::MAX,
    };
    let manners = if rng.u32(0..5) == 0 {
        Manners::Stubborn
    } else {
        Manners::Obeys
    };
    let fate = match rng.u32(0..20) {
        0 => Fate::Impossible,
        1 if setup.hosts > 1 => Fate::UnfitOn(rng.usize(0..setup.hosts)),
        _ => Fate::Starts,
    };
    Plan {
        fate,
        length: Duration::from_nanos(length),
        failures,
        code: rng.i32(1..9),
        manners,
    }
}

fn draw_work(
    setup: &Setup,
    submitters: &[HostIx],
    calm_at: Duration,
) -> Vec<(Duration, HostIx, Batch)> {
    let mut rng = chance::stream(setup.seed, Purpose::Work, 0, 0);
    let batches = rng.usize(1..8);
    (0..batches)
        .map(|_| {
            let host = submitters[rng.usize(0..submitters.len())];
            let at = chance::span(&mut rng, Duration::from_millis(50), calm_at);
            (at, host, draw_batch(setup, &mut rng))
        })
        .collect()
}

fn draw_batch(setup: &Setup, rng: &mut Rng) -> Batch {
    let count = rng.u32(1..10);
    if rng.u32(0..4) == 0 {
        let plan = Plan {
            failures: 0,
            ..draw_plan(setup, rng)
        };
        return Batch::group(count, rng.u32(0..4), plan);
    }
    let mut batch = Batch::default();
    let with_env = rng.u32(0..4) == 0;
    let pair = (Arg::from("SEED"), Arg::from(setup.seed.to_string()));
    let env = Arc::new(Environment(vec![pair]));
    for place in 0..count {
        let plan = draw_plan(setup, rng);
        let chained = place > 0 && rng.u32(0..4) == 0;
        let after = if chained {
            vec![rng.u32(0..place)]
        } else {
            Vec::new()
        };
        let task = batch.add_after(plan, &after);
        task.spec.retries = rng.u32(0..3);
        task.spec.priority += rng.i32(-2..3);
        task.env = with_env.then(|| env.clone());
    }
    batch
}

struct Dice<'a> {
    setup: &'a Setup,
    rng: &'a mut Rng,
    calm_at: Duration,
    quiet: (Duration, Duration),
}

impl Dice<'_> {
    fn host(&mut self) -> HostIx {
        self.rng.usize(0..self.setup.hosts)
    }

    fn pair(&mut self) -> (HostIx, HostIx) {
        let a = self.host();
        let other = self.rng.usize(0..self.setup.hosts.max(2) - 1);
        (
            a,
            if other >= a { other + 1 } else { other }.min(self.setup.hosts - 1),
        )
    }

    fn side(&mut self) -> Vec<HostIx> {
        (0..self.setup.hosts).filter(|_| self.rng.bool()).collect()
    }

    /// A time for a fault to begin, outside the quiet window.
    fn begin(&mut self) -> Duration {
        let at = chance::span(self.rng, Duration::from_millis(100), self.calm_at);
        if at >= self.quiet.0 && at < self.quiet.1 {
            self.quiet.1
        } else {
            at
        }
    }

    /// How long a fault lasts: around the lease, where it matters most.
    fn length(&mut self) -> Duration {
        let lease = chance::nanos(self.setup.timing.lease);
        Duration::from_nanos(match self.rng.u32(0..4) {
            0 => self.rng.u64(1_000_000..lease / 4),
            1 | 2 => self.rng.u64(lease / 2..lease * 3 / 2),
            _ => self.rng.u64(lease..lease * 4),
        })
    }

    fn fault(&mut self, kind: Kind, deeds: &mut Vec<(Duration, Deed)>) {
        let (at, host) = (self.begin(), self.host());
        let (a, b) = self.pair();
        let end = at + self.length();
        let short = chance::span(
            self.rng,
            Duration::from_millis(1),
            Duration::from_millis(800),
        );
        let bound = i32::try_from(self.setup.timing.drift_ppm).unwrap_or(0);
        let (begun, ended) = match kind {
            Kind::Stop => (Deed::Stop(host), Some(Deed::Resume(host))),
            Kind::Freeze => (Deed::Freeze(host), Some(Deed::Resume(host))),
            Kind::CrashNode => (Deed::CrashNode(host, short), None),
            Kind::CrashHost => (Deed::CrashHost(host, short), None),
            Kind::CrashAll => (Deed::CrashAll(short), None),
            Kind::Cut => (Deed::Cut(a, b), Some(Deed::HealLinks)),
            Kind::OneWay => {
                let lanes = [Lanes::All, Lanes::Gossip, Lanes::Claims][self.rng.usize(0..3)];
                (Deed::CutWay(a, b, lanes), Some(Deed::HealLinks))
            }
            Kind::Split => (Deed::Split(self.side()), Some(Deed::HealLinks)),
            Kind::Break => (Deed::Break(a, b), None),
            Kind::Slow => {
                let by = self.length() / 2;
                (Deed::Slow(a, b, by), Some(Deed::HealLinks))
            }
            Kind::Spoil => {
                let order = if self.rng.bool() {
                    Order::Kept
                } else {
                    Order::Free
                };
                let deed = Deed::Spoil(self.rng.u32(0..400), self.rng.u32(0..300), order);
                (deed, Some(Deed::Spoil(0, 0, Order::Kept)))
            }
            Kind::Disk => (Deed::FillDisk(host), Some(Deed::FreeDisk(host))),
            Kind::Rate => (Deed::Rate(host, self.rng.i32(-bound..=bound)), None),
            Kind::Wall => (Deed::Wall(host, self.rng.i64(-90_000..90_000)), None),
            Kind::Garbage => (Deed::Garbage(a, b), None),
            Kind::Kill => (Deed::Kill(host, self.rng.usize(0..20)), None),
            Kind::Drain => (Deed::Drain(host), Some(Deed::Undrain(host))),
        };
        deeds.push((at, begun));
        deeds.extend(ended.map(|deed| (end, deed)));
    }
}

fn draw_deeds(
    setup: &Setup,
    submitters: &[HostIx],
    calm_at: Duration,
    rng: &mut Rng,
) -> (Vec<(Duration, Deed)>, Vec<HostIx>) {
    let quiet_from = chance::span(rng, Duration::ZERO, calm_at);
    let quiet = (quiet_from, quiet_from + calm_at / 5);
    let mut dice = Dice {
        setup,
        rng,
        calm_at,
        quiet,
    };
    let mut deeds = Vec::new();
    for kind in KINDS {
        if dice.rng.bool() || setup.hosts == 1 && kind == Kind::Drain {
            continue;
        }
        for _ in 0..dice.rng.usize(1..5) {
            dice.fault(kind, &mut deeds);
        }
    }
    // Of three hosts, or of five, one that takes no submissions may leave for good: every committee keeps its majority.
    let mut absent = Vec::new();
    let leaver = dice.host();
    let minority = setup.hosts == 3 || setup.hosts == 5;
    if minority && !submitters.contains(&leaver) && dice.rng.bool() {
        deeds.push((dice.begin(), Deed::Leave(leaver)));
        absent.push(leaver);
    }
    deeds.sort_by_key(|(at, _)| *at);
    (deeds, absent)
}

/// Plays what a seed means, to the end.
#[must_use]
pub fn play(seed: u64, flaw: Option<Flaw>, keep: Keep) -> World {
    play_until(seed, flaw, keep, None)
}

/// Plays what a seed means, up to a time if one is given.
#[must_use]
pub fn play_until(seed: u64, flaw: Option<Flaw>, keep: Keep, until: Option<Duration>) -> World {
    let drawn = draw(seed);
    let mut world = World::new(Setup {
        flaw,
        keep,
        ..drawn.setup.clone()
    });
    let mut player = Player {
        spite: drawn.spite,
        rng: chance::stream(seed, Purpose::Faults, 1, 0),
        hosts: drawn.setup.hosts,
        absent: drawn.absent.clone(),
        seen: (0, 0, 0),
        pending: Vec::new(),
    };
    let mut steps: Vec<(Duration, Step)> = Vec::new();
    steps.extend(
        drawn
            .work
            .into_iter()
            .map(|(at, host, batch)| (at, Step::Submit(host, batch))),
    );
    steps.extend(
        drawn
            .deeds
            .into_iter()
            .map(|(at, deed)| (at, Step::Deed(deed))),
    );
    steps.sort_by_key(|(at, _)| *at);
    for (at, step) in steps {
        if until.is_some_and(|until| at > until) {
            break;
        }
        player.run_to(&mut world, at);
        match step {
            Step::Submit(host, batch) => {
                world.submit(host, batch);
            }
            Step::Deed(deed) => player.play(&mut world, deed),
        }
    }
    player.run_to(
        &mut world,
        until.map_or(drawn.calm_at, |until| until.min(drawn.calm_at)),
    );
    match until {
        Some(until) => world.run_until(until),
        None => world.finish_without(&drawn.absent),
    }
    world
}

enum Step {
    Submit(HostIx, Batch),
    Deed(Deed),
}

/// Plays deeds, and spiteful ones right after something happened.
struct Player {
    spite: u32,
    rng: Rng,
    hosts: usize,
    absent: Vec<HostIx>,
    seen: (u64, u64, u64),
    pending: Vec<(Duration, Deed)>,
}

impl Player {
    /// Runs up to a time; after a start, an end or an order something bad may happen at that very host.
    fn run_to(&mut self, world: &mut World, end: Duration) {
        loop {
            let due = self
                .pending
                .iter()
                .map(|(at, _)| *at)
                .min()
                .filter(|at| *at <= end);
            let stop = due.unwrap_or(end);
            let seen = self.seen;
            let spite = self.spite;
            let happened = world.until(stop.saturating_sub(world.now()), |world| {
                let tally = world.oracle().tally();
                spite > 0 && (world.orders(), tally.starts, tally.exits) != seen
            });
            if world.is_broken() {
                return;
            }
            if happened {
                self.react(world);
                continue;
            }
            let Some(due) = due else { return };
            let place = self.pending.iter().position(|(at, _)| *at == due);
            if let Some(place) = place {
                let (_, deed) = self.pending.remove(place);
                self.play(world, deed);
            }
        }
    }

    fn react(&mut self, world: &mut World) {
        let tally = world.oracle().tally();
        let now = (world.orders(), tally.starts, tally.exits);
        let place = if now.0 != self.seen.0 {
            world.last_order()
        } else if now.1 != self.seen.1 {
            world.last_start()
        } else {
            world.last_exit()
        };
        self.seen = now;
        let Some((host, _)) = place else { return };
        if !chance::happens(&mut self.rng, self.spite) {
            return;
        }
        let lease = world.lease();
        let short = chance::span(&mut self.rng, Duration::from_millis(1), lease / 4);
        let long = chance::span(&mut self.rng, lease / 2, lease * 2);
        let end = world.now() + long;
        let (deed, after) = match self.rng.u32(0..5) {
            0 => (Deed::CrashHost(host, short), None),
            1 => (Deed::CrashNode(host, short), None),
            2 => (Deed::Stop(host), Some(Deed::Resume(host))),
            3 => (Deed::Split(vec![host]), Some(Deed::HealLinks)),
            _ => {
                let other = self.rng.usize(0..self.hosts);
                (Deed::Split(vec![host, other]), Some(Deed::HealLinks))
            }
        };
        self.play(world, deed);
        self.pending.extend(after.map(|deed| (end, deed)));
    }

    fn play(&mut self, world: &mut World, deed: Deed) {
        let lossy = |loss, copies, order| {
            let links = world.links();
            LinkModel {
                loss,
                copies,
                order,
                ..links
            }
        };
        match deed {
            Deed::Stop(host) => world.stop_node(host),
            Deed::Freeze(host) => world.freeze_host(host),
            Deed::Resume(host) => world.resume(host),
            Deed::CrashNode(host, back) => {
                let back = (!self.absent.contains(&host)).then_some(back);
                world.crash_node(host, back, Unsynced::Drawn);
            }
            Deed::CrashHost(host, back) => {
                let back = (!self.absent.contains(&host)).then_some(back);
                world.crash_host(host, back, Unsynced::Drawn);
            }
            Deed::CrashAll(back) => {
                for host in 0..self.hosts {
                    let back = (!self.absent.contains(&host)).then_some(back * (host as u32 + 1));
                    world.crash_host(host, back, Unsynced::Drawn);
                }
            }
            Deed::Leave(host) => world.crash_host(host, None, Unsynced::Drawn),
            Deed::Cut(a, b) if a != b => world.cut(a, b),
            Deed::CutWay(a, b, lanes) if a != b => {
                let notice = if self.rng.bool() {
                    Notice::Later
                } else {
                    Notice::Never
                };
                world.cut_way(a, b, lanes, notice);
            }
            Deed::Split(side) => {
                let rest: Vec<HostIx> = (0..self.hosts).filter(|h| !side.contains(h)).collect();
                world.split(&[&side, &rest]);
            }
            Deed::HealLinks => world.heal_links(),
            Deed::Break(a, b) if a != b => world.break_connection(a, b),
            Deed::Slow(a, b, by) if a != b => world.slow_way(a, b, Lanes::All, by),
            Deed::Spoil(loss, copies, order) => world.set_links(lossy(loss, copies, order)),
            Deed::FillDisk(host) => world.fill_disk(host),
            Deed::FreeDisk(host) => world.free_disk(host),
            Deed::Rate(host, ppm) => world.set_rate(host, ppm),
            Deed::Wall(host, ms) => world.step_wall(host, ms),
            Deed::Garbage(a, b) if a != b => world.send_garbage(a, b),
            Deed::Kill(host, nth) => {
                let target: Option<TaskId> = world.oracle().acked().nth(nth);
                if let Some(task) = target {
                    let grace = world.lease() / 4;
                    world.kill(host, &[task], grace);
                }
            }
            Deed::Drain(host) => world.drain_host(host),
            Deed::Undrain(host) => world.undrain_host(host),
            // A world of one host has no pairs.
            Deed::Cut(..)
            | Deed::CutWay(..)
            | Deed::Break(..)
            | Deed::Slow(..)
            | Deed::Garbage(..) => {}
        }
    }
}
