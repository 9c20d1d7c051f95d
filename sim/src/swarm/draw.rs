//! From a seed to a mesh, its work and its faults.

use std::sync::Arc;
use std::time::Duration;

use crdt::task::{Arg, Environment, OnLost, OnPartition};
use crdt::time::Timing;
use fastrand::Rng;

use super::{Deed, Drawn};
use crate::chance::{self, Purpose};
use crate::disk::DiskModel;
use crate::link::{Lanes, LinkModel, Order};
use crate::plan::{Batch, Fate, Manners, Plan};
use crate::queue::HostIx;
use crate::world::{Clocks, Notice, Setup};

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
    Guard,
    SlowDisk,
    Forged,
}

const KINDS: [Kind; 20] = [
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
    Kind::Guard,
    Kind::SlowDisk,
    Kind::Forged,
];

/// Draws what a seed means.
#[must_use]
pub fn draw(seed: u64) -> Drawn {
    let mut rng = chance::stream(seed, Purpose::Faults, 0, 0);
    let mut setup = draw_setup(seed, &mut rng);
    let calm_at = Duration::from_millis(rng.u64(8_000..24_000));
    let submitters = draw_submitters(setup.hosts, &mut rng);
    let mut joins = chance::stream(seed, Purpose::Faults, 2, 0);
    setup.late = (0..setup.hosts)
        .filter(|host| !submitters.contains(host) && joins.u32(0..6) == 0)
        .collect();
    let mut work = draw_work(&setup, &submitters, calm_at);
    let (mut deeds, absent) = draw_deeds(&setup, &submitters, calm_at, &mut rng);
    let identity_ends = |(_, deed): &(Duration, Deed)| matches!(deed, Deed::LoseDisk(..));
    let all_return = absent.is_empty() && !deeds.iter().any(identity_ends);
    draw_changes(&mut setup, &submitters, calm_at, &mut deeds);
    draw_policies(&setup, &mut work, all_return);
    draw_inputs(&setup, &mut work);
    draw_keys(&setup, &submitters, calm_at, &mut work);
    draw_arrays(&setup, &submitters, calm_at, &mut work);
    draw_rounds(&setup, calm_at, &mut deeds);
    draw_removals(&setup, calm_at, &mut deeds);
    draw_edits(&setup, calm_at, &mut deeds);
    draw_leases(&mut setup, calm_at, &mut deeds);
    draw_retention(&setup, calm_at, &mut deeds);
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
        input: Duration::ZERO,
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

/// Who is to be replaced in committees: hosts that are silent, drained or forgotten.
fn draw_changes(
    setup: &mut Setup,
    submitters: &[HostIx],
    calm_at: Duration,
    deeds: &mut Vec<(Duration, Deed)>,
) {
    let mut rng = chance::stream(setup.seed, Purpose::Faults, 4, 0);
    if setup.hosts == 1 {
        return;
    }
    if rng.bool() {
        setup.replace_after = Duration::from_millis(rng.u64(1_500..8_000));
    }
    let soon = Duration::from_millis(100);
    // Who drains hosts one after the other until a committee shrinks to fewer must not lose a disk besides.
    let loses = |(_, deed): &(Duration, Deed)| matches!(deed, Deed::LoseDisk(..) | Deed::Leave(_));
    let careful = deeds.iter().any(loses);
    if careful && setup.hosts - setup.late.len() < 5 {
        return;
    }
    let one = rng.usize(0..setup.hosts);
    // A drained host that knows few others puts its tasks on them alone.
    if careful && submitters.contains(&one) {
        return;
    }
    if rng.bool() {
        for _ in 0..rng.usize(1..5) {
            let (host, at) = (
                rng.usize(0..setup.hosts),
                chance::span(&mut rng, soon, calm_at),
            );
            let host = if careful { one } else { host };
            let end = at + chance::span(&mut rng, soon, calm_at / 2);
            deeds.push((at, Deed::Retire(host, true)));
            deeds.push((end, Deed::Retire(host, false)));
        }
    }
    if !careful && rng.u32(0..3) == 0 {
        for _ in 0..rng.usize(1..6) {
            let (host, other) = (rng.usize(0..setup.hosts), rng.usize(0..setup.hosts));
            let at = chance::span(&mut rng, soon, calm_at);
            deeds.push((at, Deed::Forget(host, other)));
        }
    }
    deeds.sort_by_key(|(at, _)| *at);
}

/// Tasks that have ended and are wanted again.
fn draw_rounds(setup: &Setup, calm_at: Duration, deeds: &mut Vec<(Duration, Deed)>) {
    draw_wishes(setup, calm_at, deeds, (5, 8), |rng, host| {
        Deed::Again(host, rng.usize(0..20))
    });
}

/// Tasks that have ended and that nobody is to see any more.
fn draw_removals(setup: &Setup, calm_at: Duration, deeds: &mut Vec<(Duration, Deed)>) {
    draw_wishes(setup, calm_at, deeds, (6, 8), |rng, host| {
        Deed::Remove(host, rng.usize(0..20))
    });
}

/// Tasks that have not started, perhaps, and are to be otherwise; what they need, every host has.
fn draw_edits(setup: &Setup, calm_at: Duration, deeds: &mut Vec<(Duration, Deed)>) {
    draw_wishes(setup, calm_at, deeds, (7, 16), |rng, host| {
        Deed::Edit(host, rng.usize(0..20), rng.u32(100..1_001))
    });
}

/// Other leases, of all hosts that hear of them, and of single ones from their start on: half to four times the usual one.
fn draw_leases(setup: &mut Setup, calm_at: Duration, deeds: &mut Vec<(Duration, Deed)>) {
    let usual = u64::try_from(setup.timing.lease.as_millis()).unwrap_or(u64::MAX);
    draw_wishes(setup, calm_at, deeds, (9, 5), |rng, host| {
        let other = rng.u64(usual / 2..usual * 4);
        Deed::Lease(host, (rng.u32(0..4) > 0).then_some(other))
    });
    let mut rng = chance::stream(setup.seed, Purpose::Faults, 10, 0);
    if rng.u32(0..4) == 0 {
        let other = |_| Duration::from_millis(rng.u64(usual / 2..usual * 4));
        setup.leases = (0..setup.hosts).map(other).collect();
    }
}

/// In a quarter of the histories in which nobody sets a clock, what has ended is soon dropped.
fn draw_retention(setup: &Setup, calm_at: Duration, deeds: &mut Vec<(Duration, Deed)>) {
    let mut rng = chance::stream(setup.seed, Purpose::Faults, 11, 0);
    let clock_is_set = |(_, deed): &(Duration, Deed)| matches!(deed, Deed::Wall(..));
    if rng.u32(0..4) > 0 || deeds.iter().any(clock_is_set) {
        return;
    }
    let at = chance::span(&mut rng, Duration::from_millis(100), calm_at);
    let host = rng.usize(0..setup.hosts);
    deeds.push((at, Deed::Retention(host, rng.u64(1_000..6_000))));
    deeds.sort_by_key(|(at, _)| *at);
}

/// In a third of all histories, what people want of tasks later on: fewer than `most` wishes, from a stream of chance of their own.
fn draw_wishes(
    setup: &Setup,
    calm_at: Duration,
    deeds: &mut Vec<(Duration, Deed)>,
    (stream, most): (u64, usize),
    draw: impl Fn(&mut Rng, HostIx) -> Deed,
) {
    let mut rng = chance::stream(setup.seed, Purpose::Faults, stream, 0);
    if rng.u32(0..3) > 0 {
        return;
    }
    let soon = Duration::from_millis(500);
    for _ in 0..rng.usize(1..most) {
        let host = rng.usize(0..setup.hosts);
        let at = chance::span(&mut rng, soon, calm_at);
        deeds.push((at, draw(&mut rng, host)));
    }
    deeds.sort_by_key(|(at, _)| *at);
}

/// What tasks say of lost hosts and splits; none waits for a host that never comes back.
fn draw_policies(setup: &Setup, work: &mut [(Duration, HostIx, Batch)], all_return: bool) {
    let mut rng = chance::stream(setup.seed, Purpose::Work, 1, 0);
    let tasks = work.iter_mut().flat_map(|(.., batch)| batch.tasks_mut());
    for task in tasks {
        match rng.u32(0..12) {
            0 if all_return => task.spec.on_lost = OnLost::Wait,
            1 => task.spec.on_lost = OnLost::Fail,
            2 => task.spec.on_partition = OnPartition::Run,
            _ => {}
        }
    }
}

/// Some tasks wait on their hosts for what they read, around a lease, where it matters most.
fn draw_inputs(setup: &Setup, work: &mut [(Duration, HostIx, Batch)]) {
    let mut rng = chance::stream(setup.seed, Purpose::Work, 2, 0);
    let tasks = work.iter_mut().flat_map(|(.., batch)| batch.tasks_mut());
    for task in tasks {
        if let Some(plan) = Plan::of(&task.spec).filter(|_| rng.u32(0..8) == 0) {
            let input = chance::span(&mut rng, Duration::ZERO, setup.timing.lease * 2);
            task.spec.work = Plan { input, ..plan }.spec().work;
        }
    }
}

/// In some runs a person asks for the same under one key, again and again and at any host.
fn draw_keys(
    setup: &Setup,
    submitters: &[HostIx],
    calm_at: Duration,
    work: &mut Vec<(Duration, HostIx, Batch)>,
) {
    let mut rng = chance::stream(setup.seed, Purpose::Work, 3, 0);
    if rng.u32(0..3) > 0 {
        return;
    }
    let plan = draw_plan(setup, &mut rng);
    let mut batch = if rng.bool() {
        Batch::group(rng.u32(1..5), rng.u32(0..3), plan)
    } else {
        Batch::one(plan)
    };
    if let Some(first) = batch.tasks_mut().next() {
        "again".clone_into(&mut first.spec.options.key);
    }
    for _ in 0..rng.usize(2..6) {
        let host = submitters[rng.usize(0..submitters.len())];
        let at = chance::span(&mut rng, Duration::from_millis(50), calm_at);
        work.push((at, host, batch.clone()));
    }
}

/// In some runs there are arrays, whose elements sleep until something happens to one of them.
fn draw_arrays(
    setup: &Setup,
    submitters: &[HostIx],
    calm_at: Duration,
    work: &mut Vec<(Duration, HostIx, Batch)>,
) {
    let mut rng = chance::stream(setup.seed, Purpose::Work, 4, 0);
    if rng.bool() {
        return;
    }
    for _ in 0..rng.usize(1..3) {
        let plan = draw_plan(setup, &mut rng);
        let mut batch = Batch::array(rng.u32(2..12), rng.u32(0..4), plan);
        for task in batch.tasks_mut().skip(1) {
            task.spec.retries = rng.u32(0..2);
        }
        let host = submitters[rng.usize(0..submitters.len())];
        let at = chance::span(&mut rng, Duration::from_millis(50), calm_at);
        work.push((at, host, batch));
    }
}

struct Dice<'a> {
    setup: &'a Setup,
    rng: &'a mut Rng,
    notices: Rng,
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
                let notice = if self.notices.bool() {
                    Notice::Later
                } else {
                    Notice::Never
                };
                let cut = Deed::CutWay(a, b, lanes, notice);
                (cut, Some(Deed::HealLinks))
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
            Kind::Wall => {
                let reach = [90_000, 86_400_000][self.rng.usize(0..2)];
                (Deed::Wall(host, self.rng.i64(-reach..reach)), None)
            }
            Kind::Garbage => (Deed::Garbage(a, b), None),
            Kind::Kill => (Deed::Kill(host, self.rng.usize(0..20)), None),
            Kind::Drain => (Deed::Drain(host), Some(Deed::Undrain(host))),
            Kind::Guard => (Deed::KillGuard(host), None),
            Kind::SlowDisk => {
                let by = self.length() / 2;
                let usual = Deed::SlowDisk(host, Duration::ZERO);
                (Deed::SlowDisk(host, by), Some(usual))
            }
            Kind::Forged => (Deed::Forged(a, b), None),
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
        notices: chance::stream(setup.seed, Purpose::Faults, 3, 0),
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
    for host in &setup.late {
        deeds.push((dice.begin(), Deed::Join(*host)));
    }
    // One host that takes no submissions may leave for good, or lose its disk: every committee keeps its majority.
    let mut absent = Vec::new();
    let leaver = dice.host();
    let spare = setup.hosts >= 3 && !submitters.contains(&leaver) && !setup.late.contains(&leaver);
    match dice.rng.u32(0..4) {
        0 if spare => {
            deeds.push((dice.begin(), Deed::Leave(leaver)));
            absent.push(leaver);
        }
        1 if spare => {
            let back = dice.length();
            deeds.push((dice.begin(), Deed::LoseDisk(leaver, back)));
        }
        _ => {}
    }
    deeds.sort_by_key(|(at, _)| *at);
    (deeds, absent)
}
