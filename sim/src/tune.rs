//! What lease times do, measured: where they become unsafe, when holds are lost without cause, and how long a take-over takes.
//!
//! The first three sweeps play the worst case of `docs/protocol.md`, section on timing: the claimant's clock at one end of the bound,
//! the witness's at the other, every kill as late as it may be, and a rival that bids all the time. The others play ordinary
//! weather. Each point is many worlds; a point's seeds do not depend on the number of points.

mod plot;

use std::time::Duration;

use crdt::time::Timing;

use crate::link::LinkModel;
use crate::oracle::Judge;
use crate::plan::{Batch, Plan};
use crate::scenario::{self, Scenario, Verdict};
use crate::world::{Clocks, Setup, Unsynced, World};

pub use plot::draw;

/// One sweep: a table and a picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Sweep {
    /// Names its picture.
    pub name: &'static str,
    /// What is shown.
    pub title: &'static str,
    /// What is varied, with its unit.
    pub across: &'static str,
    /// What is measured, with its unit.
    pub up: &'static str,
    /// The names of the curves.
    pub curves: Vec<String>,
    /// For each value of what is varied, one of each curve.
    pub points: Vec<(f64, Vec<f64>)>,
    /// Where the formula draws the line: values on the unsafe side of it are refused by `aque-node`.
    pub line: Option<Line>,
}

/// The line between safe and unsafe.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Line {
    /// The last safe value.
    pub at: f64,
    /// Where the safe values are.
    pub safe: Side,
}

/// A side of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Lower values.
    Left,
    /// Higher values.
    Right,
}

impl Line {
    /// Says whether a value is on the safe side.
    #[must_use]
    pub fn allows(&self, value: f64) -> bool {
        match self.safe {
            Side::Left => value <= self.at,
            Side::Right => value >= self.at,
        }
    }
}

impl Sweep {
    /// Returns the points on the safe side at which something was measured that must never be.
    pub fn unsafe_though_allowed(&self) -> impl Iterator<Item = f64> + '_ {
        let line = self.line;
        let allowed = move |at: f64| line.is_some_and(|line| line.allows(at));
        let wrong = move |(at, values): &(f64, Vec<f64>)| {
            (allowed(*at) && values.iter().any(|value| *value > 0.0)).then_some(*at)
        };
        self.points.iter().filter_map(wrong)
    }
}

/// Every sweep, each point of so many worlds.
#[must_use]
pub fn sweeps(worlds: u64) -> Vec<Sweep> {
    vec![
        witness_wait(worlds),
        drift(worlds),
        kill_margin(worlds),
        losses(worlds),
        delays(worlds),
        take_over(worlds),
    ]
}

fn worst_clocks() -> Scenario {
    let control = scenario::find_control("witness_wait_below_the_formula");
    control
        .expect("the worst case is one of the controls")
        .scenario
}

/// Returns the share of worst cases in which a task ran twice at once.
fn doubled(worlds: u64, alter: impl Fn(Setup) -> Setup) -> f64 {
    let worst = worst_clocks();
    let broken = (0..worlds).filter(|seed| {
        let (_, verdict) = worst.play_in(alter((worst.setup)(*seed)));
        matches!(verdict, Verdict::Broken(_, broken) if broken.judge == Judge::S1)
    });
    share(broken.count() as u64, worlds)
}

fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn witness_wait(worlds: u64) -> Sweep {
    let point = |percent: u32| {
        let share = doubled(worlds, |setup| {
            let wait = setup.timing.least_wait() * percent / 100;
            timed(setup, |timing| timing.witness_wait = Some(wait))
        });
        (f64::from(percent), vec![share])
    };
    Sweep {
        name: "witness-wait",
        title: "Two runs at once, by the wait of witnesses",
        across: "witness wait, % of the formula",
        up: "worst cases with two runs at once, %",
        curves: vec!["two runs at once".to_owned()],
        points: [84, 88, 90, 92, 94, 96, 97, 98, 99, 100, 102, 106, 110]
            .map(point)
            .to_vec(),
        line: Some(Line {
            at: 100.0,
            safe: Side::Right,
        }),
    }
}

fn drift(worlds: u64) -> Sweep {
    let stated = worst_clocks_drift();
    let point = |percent: i32| {
        let share = doubled(worlds, |setup| {
            let real = stated * percent / 100;
            Setup {
                clocks: Clocks::Given(vec![-real, real, real]),
                ..setup
            }
        });
        (f64::from(percent), vec![share])
    };
    Sweep {
        name: "drift",
        title: "Two runs at once, by the real drift of clocks",
        across: "real drift, % of the stated bound",
        up: "worst cases with two runs at once, %",
        curves: vec!["two runs at once".to_owned()],
        points: [0, 25, 50, 75, 100, 150, 200, 250, 300, 400, 600]
            .map(point)
            .to_vec(),
        line: Some(Line {
            at: 100.0,
            safe: Side::Left,
        }),
    }
}

fn worst_clocks_drift() -> i32 {
    let setup = (worst_clocks().setup)(0);
    i32::try_from(setup.timing.drift_ppm).unwrap_or(i32::MAX)
}

/// The wait is made for a kill that takes its stated bound; here kills really take that long, and the margin and the bound that
/// nodes believe in shrink together.
fn kill_margin(worlds: u64) -> Sweep {
    let point = |percent: u32| {
        let share = doubled(worlds, |setup| {
            let believed = setup.timing.least_wait();
            let real = setup.timing.kill_latency;
            timed(setup, |timing| {
                timing.witness_wait = Some(believed.saturating_sub(real) + real * percent / 100);
            })
        });
        (f64::from(percent), vec![share])
    };
    Sweep {
        name: "kill-latency",
        title: "Two runs at once, by the time that nodes allow for a kill",
        across: "time allowed for a kill, % of what it takes",
        up: "worst cases with two runs at once, %",
        curves: vec!["two runs at once".to_owned()],
        points: [0, 20, 40, 50, 60, 70, 80, 90, 100, 120, 150]
            .map(point)
            .to_vec(),
        line: Some(Line {
            at: 100.0,
            safe: Side::Right,
        }),
    }
}

fn timed(setup: Setup, change: impl FnOnce(&mut Timing)) -> Setup {
    let mut timing = setup.timing;
    change(&mut timing);
    Setup { timing, ..setup }
}

/// Heartbeats for a lease, and what a lease is called in a picture.
const BEATS: [(u32, &str); 3] = [
    (4, "4 heartbeats a lease"),
    (6, "6 heartbeats a lease"),
    (10, "10 heartbeats a lease"),
];

/// Returns the share of runs that were killed at a deadline although no host was lost, within twenty leases under such links.
fn lost_without_cause(worlds: u64, beats: u32, links: LinkModel) -> f64 {
    let (mut starts, mut expired) = (0, 0);
    for seed in 0..worlds.div_ceil(8) {
        let setup = Setup::new(seed, 3);
        let lease = setup.timing.lease;
        let mut world = World::new(Setup {
            timing: Timing::with_lease(lease / beats, lease, setup.timing.drift_ppm),
            cpu_milli: 8_000,
            ..setup
        });
        world.run_for(Duration::from_secs(1));
        world.submit(0, Batch::many(8, Plan::succeed(lease * 30)));
        world.until(lease * 5, |world| world.oracle().tally().starts >= 8);
        world.set_links(links);
        world.run_for(lease * 20);
        let tally = world.oracle().tally();
        starts += tally.starts;
        expired += tally.expired;
    }
    share(expired, starts)
}

fn losses(worlds: u64) -> Sweep {
    let point = |percent: u32| {
        let links = LinkModel {
            loss: percent * 10,
            ..LinkModel::default()
        };
        let values = BEATS.map(|(beats, _)| lost_without_cause(worlds, beats, links));
        (f64::from(percent), values.to_vec())
    };
    Sweep {
        name: "loss",
        title: "Holds lost without cause, by frames lost",
        across: "frames lost, %",
        up: "runs killed at a deadline, %",
        curves: BEATS.map(|(_, name)| name.to_owned()).to_vec(),
        points: [0, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60]
            .map(point)
            .to_vec(),
        line: None,
    }
}

fn delays(worlds: u64) -> Sweep {
    let point = |percent: u32| {
        let lease = Setup::new(0, 3).timing.lease;
        let links = LinkModel {
            least: lease * percent / 100,
            ..LinkModel::default()
        };
        let values = BEATS.map(|(beats, _)| lost_without_cause(worlds, beats, links));
        (f64::from(percent), values.to_vec())
    };
    Sweep {
        name: "delay",
        title: "Holds lost without cause, by the delay of links",
        across: "one-way delay, % of the lease",
        up: "runs killed at a deadline, %",
        curves: BEATS.map(|(_, name)| name.to_owned()).to_vec(),
        points: [0, 5, 10, 15, 20, 25, 30, 35, 40, 45].map(point).to_vec(),
        line: None,
    }
}

/// From the loss of a host's power to the next start of what it ran.
fn take_over(worlds: u64) -> Sweep {
    let point = |lease_ms: u32| {
        let lease = Duration::from_millis(lease_ms.into());
        let mut gaps: Vec<f64> = (0..worlds).filter_map(|seed| gap(seed, lease)).collect();
        gaps.sort_by(f64::total_cmp);
        let quantile = |percent: usize| {
            let place = (gaps.len() * percent / 100).min(gaps.len().saturating_sub(1));
            gaps.get(place).copied().unwrap_or_default()
        };
        (
            lease.as_secs_f64(),
            vec![quantile(50), quantile(99), lease.as_secs_f64()],
        )
    };
    Sweep {
        name: "take-over",
        title: "Take-over after the loss of a host, by the lease",
        across: "lease, s",
        up: "from the loss to the next start, s",
        curves: ["p50", "p99", "the lease itself"]
            .map(str::to_owned)
            .to_vec(),
        points: [1_000, 2_000, 3_000, 4_000, 6_000, 8_000, 10_000]
            .map(point)
            .to_vec(),
        line: None,
    }
}

fn gap(seed: u64, lease: Duration) -> Option<f64> {
    let setup = Setup::new(seed, 3);
    let mut world = World::new(Setup {
        timing: Timing::with_lease(lease / 6, lease, setup.timing.drift_ppm),
        ..setup
    });
    world.run_for(Duration::from_secs(1));
    world.submit(0, Batch::one(Plan::succeed(lease * 10)));
    let started = |starts: u64| move |world: &World| world.oracle().tally().starts >= starts;
    if !world.until(lease * 2, started(1)) {
        return None;
    }
    // Not always in the same phase of a heartbeat.
    world.run_for(lease + Duration::from_millis(seed * 37 % 1_000));
    let (host, _) = world.last_start()?;
    let lost = world.now();
    world.crash_host(host, None, Unsynced::Drawn);
    let taken = world.until(lease * 5, started(2));
    taken.then(|| (world.now().saturating_sub(lost)).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_draws_the_line() {
        let sweep = witness_wait(6);
        assert_eq!(sweep.unsafe_though_allowed().count(), 0, "{sweep:?}");
        let first = sweep.points.first().map(|(_, values)| values[0]);
        assert!(first.is_some_and(|share| share > 0.0), "{sweep:?}");
    }

    #[test]
    fn a_sweep_knows_its_safe_side() {
        let mut sweep = Sweep {
            name: "x",
            title: "",
            across: "",
            up: "",
            curves: vec!["y".to_owned()],
            points: vec![(90.0, vec![3.0]), (100.0, vec![0.0]), (110.0, vec![1.0])],
            line: Some(Line {
                at: 100.0,
                safe: Side::Right,
            }),
        };
        assert_eq!(sweep.unsafe_though_allowed().collect::<Vec<_>>(), [110.0]);
        sweep.line = Some(Line {
            at: 100.0,
            safe: Side::Left,
        });
        assert_eq!(sweep.unsafe_though_allowed().collect::<Vec<_>>(), [90.0]);
    }

    #[test]
    fn a_host_that_is_lost_is_replaced_after_its_lease() {
        let lease = Duration::from_secs(2);
        let taken = gap(3, lease).expect("it is taken over");
        assert!(
            taken > lease.as_secs_f64() / 2.0 && taken < 3.0 * lease.as_secs_f64(),
            "{taken}"
        );
    }
}
