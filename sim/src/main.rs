//! The simulator's command: swarm runs by seed, replay of one seed with its trace and picture, named scenarios, negative
//! controls, and how fast worlds go.

mod failures;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use sim::plan::{Batch, Plan};
use sim::scenario::{self, Verdict};
use sim::timeline::Keep;
use sim::world::{Report, Setup, World};
use sim::{svg, swarm, tune};

/// Simulated worlds around the shipped replica: one seed, one history.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play worlds drawn from seeds; exit 1 if a promise is broken in one.
    Run {
        /// How many seeds.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Where the timelines of seeds that break a promise go, as text and picture.
        #[arg(long, value_name = "DIR", default_value = TIMELINES)]
        out: PathBuf,
    },
    /// Play one seed again.
    Replay {
        /// Which.
        seed: u64,
        /// Stop after so many seconds of its own time.
        #[arg(long)]
        until: Option<u64>,
        #[command(flatten)]
        show: Show,
    },
    /// Find the least history of a seed that still breaks its promise, and show it.
    Shrink {
        /// Which.
        seed: u64,
        /// With this rule broken on purpose (see `mutants`); without, the seed must break a promise by itself.
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
        /// At most so many worlds are played.
        #[arg(long, default_value_t = 2_000)]
        budget: usize,
        /// Where its timeline goes, as text and picture.
        #[arg(long, value_name = "DIR", default_value = TIMELINES)]
        out: PathBuf,
    },
    /// Play the named scenarios, or one.
    Scenarios {
        /// Which; all if none is given.
        name: Option<String>,
        /// How many seeds of each.
        #[arg(long, default_value_t = 5)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[command(flatten)]
        show: Show,
    },
    /// Break one rule at a time: each must be caught by the judge that it serves.
    Mutants {
        /// Which; all if none is given.
        name: Option<String>,
        /// How many seeds until it counts as not caught.
        #[arg(long, default_value_t = 60)]
        seeds: u64,
        /// Also count in how many of so many swarm seeds any judge sees it.
        #[arg(long, default_value_t = 0)]
        swarm: u64,
        #[command(flatten)]
        show: Show,
    },
    /// Vary lease times, drift, loss and delay; write a table and a picture of each sweep; exit 1 if what is allowed proves unsafe.
    Tune {
        /// Worlds for each point.
        #[arg(long, default_value_t = 200)]
        worlds: u64,
        /// Where the pictures go.
        #[arg(long, value_name = "DIR", default_value = "target/sim/tune")]
        out: PathBuf,
    },
    /// Measure simulated time per second of CPU time: five nodes, 1,000 tasks.
    Speed,
}

/// What is shown of a history.
#[derive(Debug, Args)]
struct Show {
    /// Print its trace, a line each state change.
    #[arg(long)]
    trace: bool,
    /// The newest so many lines of it.
    #[arg(long, default_value_t = 1_000)]
    lines: usize,
    /// Draw it into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Show {
    fn keep(&self) -> Keep {
        if self.trace || self.svg.is_some() {
            Keep::Everything
        } else {
            Keep::Nothing
        }
    }

    fn show(&self, out: &mut impl Write, world: &World) -> io::Result<()> {
        if self.trace {
            out.write_all(
                world
                    .timeline()
                    .to_text(world.hosts(), self.lines)
                    .as_bytes(),
            )?;
        }
        match &self.svg {
            Some(path) => draw(path, world),
            None => Ok(()),
        }
    }
}

/// Where timelines of broken promises go.
const TIMELINES: &str = "target/sim";

fn draw(path: &Path, world: &World) -> io::Result<()> {
    let end = u64::try_from(world.now().as_nanos()).unwrap_or(u64::MAX);
    let violation = world.oracle().violation();
    std::fs::write(
        path,
        svg::draw(world.timeline(), world.hosts(), end, violation),
    )
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match Cli::parse().command {
        Command::Run {
            seeds,
            from,
            out: dir,
        } => run(&mut out, from, seeds, &dir),
        Command::Shrink {
            seed,
            rule,
            budget,
            out: dir,
        } => failures::shrink(&mut out, seed, rule.as_deref(), budget, &dir),
        Command::Replay { seed, until, show } => replay(&mut out, seed, until, &show),
        Command::Scenarios {
            name,
            seeds,
            from,
            show,
        } => scenarios(&mut out, name.as_deref(), from..from + seeds, &show),
        Command::Mutants {
            name,
            seeds,
            swarm,
            show,
        } => mutants(&mut out, name.as_deref(), (seeds, swarm), &show),
        Command::Tune { worlds, out: dir } => tune(&mut out, worlds, &dir),
        Command::Speed => speed(&mut out),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(out: &mut impl Write, from: u64, seeds: u64, dir: &Path) -> io::Result<bool> {
    let began = Instant::now();
    let (mut broken, mut simulated, mut starts) = (0_u64, Duration::ZERO, 0);
    for seed in from..from + seeds {
        let played = catch_unwind(AssertUnwindSafe(|| {
            swarm::play(seed, Keep::Nothing).report()
        }));
        let good = match played {
            Ok(report) => {
                simulated += report.simulated;
                starts += report.tally.starts;
                report.violation.is_none()
            }
            Err(_) => false,
        };
        if !good {
            broken += 1;
            failures::tell(out, seed, dir)?;
        }
    }
    writeln!(
        out,
        "{seeds} seeds, {broken} broken; {starts} runs in {} s of simulated time, {:.1?}",
        simulated.as_secs(),
        began.elapsed()
    )?;
    Ok(broken == 0)
}

fn replay(out: &mut impl Write, seed: u64, until: Option<u64>, show: &Show) -> io::Result<bool> {
    let until = until.map(Duration::from_secs);
    let world = swarm::play_until(seed, show.keep(), until);
    show.show(out, &world)?;
    tell(out, &world.report())
}

fn tell(out: &mut impl Write, report: &Report) -> io::Result<bool> {
    let tally = report.tally;
    writeln!(
        out,
        "seed {}: hash {}, {:.3} s, {} events; {} starts ({} again), {} ended, {} killed at a deadline, {} too late, \
         {} committed, {} acknowledged",
        report.seed,
        report.hash,
        report.simulated.as_secs_f64(),
        report.events,
        tally.starts,
        tally.reruns,
        tally.exits,
        tally.expired,
        tally.too_late,
        tally.commits,
        tally.acked
    )?;
    if let Some(violation) = &report.violation {
        writeln!(out, "{violation}")?;
    }
    Ok(report.violation.is_none())
}

fn scenarios(
    out: &mut impl Write,
    name: Option<&str>,
    seeds: std::ops::Range<u64>,
    show: &Show,
) -> io::Result<bool> {
    let chosen: Vec<_> = scenario::all()
        .filter(|scenario| name.is_none_or(|name| name == scenario.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = scenario::all().map(|scenario| scenario.name).collect();
        writeln!(out, "no such scenario; there are: {}", names.join(", "))?;
        return Ok(false);
    }
    let mut good = true;
    for scenario in chosen {
        writeln!(out, "{}: {}", scenario.name, scenario.about)?;
        for seed in seeds.clone() {
            let (world, verdict) = scenario.play(seed, show.keep());
            show.show(out, &world)?;
            match verdict {
                Verdict::Kept(_) if show.keep() == Keep::Nothing => {}
                Verdict::Kept(report) => good &= tell(out, &report)?,
                Verdict::Broken(report, _) => good &= tell(out, &report)?,
                Verdict::Missed(report, missed) => {
                    tell(out, &report)?;
                    writeln!(out, "  did not happen: {}", missed.0)?;
                    good = false;
                }
            }
        }
    }
    Ok(good)
}

fn mutants(
    out: &mut impl Write,
    name: Option<&str>,
    (seeds, swarm): (u64, u64),
    show: &Show,
) -> io::Result<bool> {
    let mut good = true;
    for control in scenario::controls().filter(|c| name.is_none_or(|name| name == c.name)) {
        let (scenario, judge) = (control.scenario, control.judge);
        let kept = (0..seeds.min(10))
            .find(|seed| !matches!(scenario.play(*seed, Keep::Nothing).1, Verdict::Kept(_)));
        let caught = control.caught(0..seeds);
        let text = match &caught {
            Some((seed, _)) => format!("caught by {judge} after {} seeds", seed + 1),
            None => format!("NOT caught by {judge} in {seeds} seeds"),
        };
        writeln!(
            out,
            "{:30} {:16} {text}   ({})",
            control.name, control.rule, scenario.about
        )?;
        if let Some((_, violation)) = &caught {
            let what = violation.what.lines().next().unwrap_or_default();
            writeln!(out, "  {what}")?;
        }
        if let Some(seed) = kept {
            writeln!(
                out,
                "  and its scenario does not pass unbroken at seed {seed}"
            )?;
        }
        let first = caught.as_ref().map_or(0, |(seed, _)| *seed);
        let shown = Some(first).filter(|_| show.keep() == Keep::Everything);
        if let Some(seed) = shown {
            let setup = Setup {
                keep: Keep::Everything,
                ..(scenario.setup)(seed)
            };
            let (world, verdict) = scenario.play_in((control.breaks)(setup));
            show.show(out, &world)?;
            tell(out, &world.report())?;
            if let Verdict::Missed(_, missed) = verdict {
                writeln!(out, "  did not happen: {}", missed.0)?;
            }
        }
        if swarm > 0 {
            let seen = (0..swarm)
                .filter(|seed| seen_by_swarm(&control, *seed))
                .count();
            writeln!(out, "  seen in {seen} of {swarm} swarm seeds")?;
        }
        good &= caught.is_some() && kept.is_none();
    }
    Ok(good)
}

/// Says whether a swarm run with the rule broken ends in a broken promise.
fn seen_by_swarm(control: &scenario::Control, seed: u64) -> bool {
    let played = catch_unwind(|| swarm::play_altered(seed, None, control.breaks).report());
    played.map_or(true, |report| report.violation.is_some())
}

fn tune(out: &mut impl Write, worlds: u64, dir: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(dir)?;
    let mut good = true;
    for sweep in tune::sweeps(worlds) {
        let picture = dir.join(format!("{}.svg", sweep.name));
        let drawn = tune::draw(&sweep).map_err(|error| io::Error::other(error.to_string()))?;
        std::fs::write(&picture, drawn)?;
        writeln!(out, "### {}\n", sweep.title)?;
        writeln!(out, "| {} | {} |", sweep.across, sweep.curves.join(" | "))?;
        writeln!(out, "|--:|{}", "--:|".repeat(sweep.curves.len()))?;
        for (at, values) in &sweep.points {
            let values: Vec<String> = values.iter().map(|value| format!("{value:.2}")).collect();
            let allowed = sweep.line.is_none_or(|line| line.allows(*at));
            let mark = if allowed { "" } else { " (unsafe)" };
            writeln!(out, "| {at}{mark} | {} |", values.join(" | "))?;
        }
        writeln!(out, "\n{}: {}\n", sweep.up, picture.display())?;
        for at in sweep.unsafe_though_allowed() {
            writeln!(
                out,
                "BROKEN: at {at} ({}) a promise was broken although that is allowed",
                sweep.across
            )?;
            good = false;
        }
    }
    Ok(good)
}

/// Returns the CPU time of this process in nanoseconds, where the system tells it.
fn cpu_nanos() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn speed(out: &mut impl Write) -> io::Result<bool> {
    let (began, cpu) = (Instant::now(), cpu_nanos());
    let mut world = World::new(Setup {
        cpu_milli: 4_000,
        ..Setup::new(1, 5)
    });
    world.run_for(Duration::from_secs(3));
    for batch in 0..20 {
        world.submit(
            batch % 5,
            Batch::many(50, Plan::succeed(Duration::from_secs(2))),
        );
        world.run_for(Duration::from_secs(4));
    }
    world.finish();
    let spent = match (cpu, cpu_nanos()) {
        (Some(before), Some(after)) => Duration::from_nanos(after.saturating_sub(before)),
        (None, _) | (_, None) => began.elapsed(),
    };
    let report = world.report();
    let good = tell(out, &report)?;
    let rate = report.simulated.as_secs_f64() / spent.as_secs_f64().max(1e-9);
    writeln!(
        out,
        "five nodes, 1,000 tasks: {rate:.0} s of simulated time, {:.0} events, in a second of CPU time",
        report.events as f64 / spent.as_secs_f64().max(1e-9)
    )?;
    Ok(good)
}
