//! From what was drawn to a world that has lived through it.

use std::time::Duration;

use crdt::ids::TaskId;
use crdt::settings::Settings;
use crdt::task::Edits;
use fastrand::Rng;

use super::{Deed, Drawn, draw};
use crate::chance::{self, Purpose};
use crate::link::{Lanes, LinkModel};
use crate::plan::Batch;
use crate::queue::HostIx;
use crate::timeline::Keep;
use crate::world::{Setup, Unsynced, World};

/// Plays what a seed means, to the end.
#[must_use]
pub fn play(seed: u64, keep: Keep) -> World {
    play_until(seed, keep, None)
}

/// Plays what a seed means, up to a time if one is given.
#[must_use]
pub fn play_until(seed: u64, keep: Keep, until: Option<Duration>) -> World {
    play_altered(seed, until, |setup| Setup { keep, ..setup })
}

/// Plays what a seed means in a world that is set up a little differently: with a rule broken, say.
#[must_use]
pub fn play_altered(
    seed: u64,
    until: Option<Duration>,
    alter: impl FnOnce(Setup) -> Setup,
) -> World {
    let drawn = draw(seed);
    let mut world = World::new(alter(drawn.setup.clone()));
    live(&mut world, &drawn, until);
    world
}

/// Plays a history, to the end.
#[must_use]
pub fn play_drawn(drawn: &Drawn, alter: impl FnOnce(Setup) -> Setup) -> World {
    let mut world = World::new(alter(drawn.setup.clone()));
    live(&mut world, drawn, None);
    world
}

/// Lets a world live through a history, up to a time if one is given. Returns the faults that it added itself, spitefully.
pub fn live(world: &mut World, drawn: &Drawn, until: Option<Duration>) -> Vec<(Duration, Deed)> {
    let mut player = Player {
        spite: drawn.spite,
        rng: chance::stream(drawn.setup.seed, Purpose::Faults, 1, 0),
        hosts: drawn.setup.hosts,
        absent: drawn.absent.clone(),
        seen: (0, 0, 0),
        pending: Vec::new(),
        spiteful: Vec::new(),
    };
    let mut steps: Vec<(Duration, Step)> = Vec::new();
    steps.extend(
        drawn
            .work
            .iter()
            .map(|(at, host, batch)| (*at, Step::Submit(*host, batch.clone()))),
    );
    steps.extend(
        drawn
            .deeds
            .iter()
            .map(|(at, deed)| (*at, Step::Deed(deed.clone()))),
    );
    steps.sort_by_key(|(at, _)| *at);
    for (at, step) in steps {
        if until.is_some_and(|until| at > until) {
            break;
        }
        player.run_to(world, at);
        match step {
            Step::Submit(host, batch) => {
                world.submit(host, batch);
            }
            Step::Deed(deed) => player.play(world, deed),
        }
    }
    player.run_to(
        world,
        until.map_or(drawn.calm_at, |until| until.min(drawn.calm_at)),
    );
    match until {
        Some(until) => world.run_until(until),
        None => world.finish_without(&drawn.absent),
    }
    player.spiteful
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
    /// What was done out of spite.
    spiteful: Vec<(Duration, Deed)>,
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
        let (deed, after) = match self.rng.u32(0..6) {
            0 => (Deed::CrashHost(host, short), None),
            1 => (Deed::CrashNode(host, short), None),
            2 => (Deed::Stop(host), Some(Deed::Resume(host))),
            3 => (Deed::Split(vec![host]), Some(Deed::HealLinks)),
            4 => (Deed::KillGuard(host), None),
            _ => {
                let other = self.rng.usize(0..self.hosts);
                (Deed::Split(vec![host, other]), Some(Deed::HealLinks))
            }
        };
        let now = world.now();
        self.spiteful.push((now, deed.clone()));
        self.spiteful.extend(after.clone().map(|deed| (end, deed)));
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
                for (host, nth) in (0..self.hosts).zip(1..) {
                    let back = (!self.absent.contains(&host)).then_some(back * nth);
                    world.crash_host(host, back, Unsynced::Drawn);
                }
            }
            Deed::LoseDisk(host, back) => world.lose_disk(host, back),
            Deed::Join(host) => world.start_node(host, Duration::ZERO),
            Deed::Leave(host) => world.crash_host(host, None, Unsynced::Drawn),
            Deed::Cut(a, b) if a != b => world.cut(a, b),
            Deed::CutWay(a, b, lanes, notice) if a != b => world.cut_way(a, b, lanes, notice),
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
            Deed::Forged(a, b) if a != b => world.send_forged(a, b),
            Deed::KillGuard(host) => world.kill_guard(host),
            Deed::SlowDisk(host, by) => world.slow_disk(host, by),
            Deed::Kill(host, nth) => {
                let target: Option<TaskId> = world.oracle().acked().nth(nth);
                if let Some(task) = target {
                    let grace = world.lease() / 4;
                    world.kill(host, &[task], grace);
                }
            }
            Deed::Again(host, nth) => {
                let target: Option<TaskId> = world.oracle().acked().nth(nth);
                if let Some(task) = target {
                    world.run_again(host, &[task]);
                }
            }
            Deed::Remove(host, nth) => {
                let target: Option<TaskId> = world.oracle().acked().nth(nth);
                if let Some(task) = target {
                    world.remove(host, &[task]);
                }
            }
            Deed::Edit(host, nth, milli) => {
                let target: Option<TaskId> = world.oracle().acked().nth(nth);
                if let Some(task) = target {
                    let edits = Edits {
                        cpus: Some((milli, None)),
                        priority: i32::try_from(milli).ok(),
                        queue: Some(format!("q{}", milli % 3)),
                        ..Edits::default()
                    };
                    world.edit(host, &[task], edits);
                }
            }
            Deed::Lease(host, millis) => {
                let value = millis.map(|millis| format!("{millis}ms"));
                world.set(host, Settings::LEASE, value.as_deref());
            }
            Deed::Retention(host, millis) => {
                world.set(host, Settings::RETENTION, Some(&format!("{millis}ms")));
            }
            Deed::Drain(host) => world.drain_host(host),
            Deed::Retire(host, on) => {
                world.retire_host(host, on);
            }
            Deed::Forget(host, other) => {
                world.forget_host(host, other);
            }
            Deed::Undrain(host) => world.undrain_host(host),
            // A world of one host has no pairs.
            Deed::Cut(..)
            | Deed::CutWay(..)
            | Deed::Break(..)
            | Deed::Slow(..)
            | Deed::Forged(..)
            | Deed::Garbage(..) => {}
        }
    }
}
