//! `cargo xtask bench`: real programs, real disks, on this machine, beside the machine's own floor, in one run.
//!
//! Ratios travel between machines, absolute times do not: each rate is given as a share of the floor measured just before it.
//! A figure is the median of several rounds where a round is cheap.

mod measure;
mod mesh;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde::Serialize;

use self::mesh::Mesh;

/// What to measure and where to write it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A tenth of the work: to see that it works
    #[arg(long)]
    quick: bool,
    /// Write the figures here too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    measure: &'static str,
    value: f64,
    unit: &'static str,
    /// Share of the floor, where that makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_floor: Option<f64>,
    first: &'static str,
    goal: &'static str,
}

/// Runs everything and prints the table.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Vec<String>> {
    let measured = measure_all(root, options).map_err(|error| vec![format!("bench: {error}")])?;
    print_table(&measured);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&measured)
            .map_err(|error| vec![format!("bench: {error}")])?;
        std::fs::write(path, text)
            .map_err(|error| vec![format!("bench: {}: {error}", path.display())])?;
    }
    Ok(())
}

/// What went wrong, for people.
pub(crate) type Failed = Box<dyn std::error::Error>;

fn measure_all(root: &Path, options: &Options) -> Result<Vec<Figure>, Failed> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "node", "--bins"])
        .current_dir(root)
        .status()?;
    if !built.success() {
        return Err("the programs cannot be built".into());
    }
    let programs = root.join("target/release");
    let share = if options.quick { 10 } else { 1 };
    let mut figures = Vec::new();

    let floor = measure::floor(2_000 / share)?;
    figures.push(Figure {
        measure: "floor: spawn and wait for true, 2 slots",
        value: floor,
        unit: "/s",
        of_floor: Some(1.0),
        first: "",
        goal: "",
    });
    let one = Mesh::start(&programs, 1, &[])?;
    let (rate, cpu) = measure::throughput(&one, 5_000 / share)?;
    figures.push(Figure {
        measure: "tasks/s of true, one node, 2 slots",
        value: rate,
        unit: "/s",
        of_floor: Some(rate / floor),
        first: "0.4 of floor",
        goal: "0.9 of floor",
    });
    figures.push(Figure {
        measure: "CPU of node and guard a task",
        value: cpu,
        unit: "ms",
        of_floor: None,
        first: "1 ms",
        goal: "0.2 ms",
    });
    figures.push(Figure {
        measure: "submit one task, answered when durable (median)",
        value: measure::submit_latency(&one, 50 / share.min(5))?,
        unit: "ms",
        of_floor: None,
        first: "15 ms",
        goal: "8 ms",
    });
    figures.push(Figure {
        measure: "aque status, whole command (median)",
        value: measure::status_time(&one, 50 / share.min(5))?,
        unit: "ms",
        of_floor: None,
        first: "30 ms",
        goal: "10 ms",
    });
    drop(one);

    let idle = Mesh::start(&programs, 1, &["--cpus", "0"])?;
    let waiting = 100_000 / share;
    let (seconds, bytes) = measure::pending(&idle, waiting)?;
    figures.push(Figure {
        measure: "submit 100,000 different commands in one call",
        value: seconds * f64::from(share),
        unit: "s",
        of_floor: None,
        first: "20 s",
        goal: "2 s",
    });
    figures.push(Figure {
        measure: "memory of a waiting task",
        value: bytes / 1_024.0,
        unit: "KiB",
        of_floor: None,
        first: "2 KiB",
        goal: "0.4 KiB",
    });
    drop(idle);

    let floor = measure::floor(2_000 / share)?;
    let three = Mesh::start(&programs, 3, &[])?;
    let (p50, p99) = measure::start_latency(&three, 100 / share.min(5))?;
    figures.push(Figure {
        measure: "submit to start, idle mesh of three, p50",
        value: p50,
        unit: "ms",
        of_floor: None,
        first: "40 ms",
        goal: "8 ms",
    });
    figures.push(Figure {
        measure: "submit to start, idle mesh of three, p99",
        value: p99,
        unit: "ms",
        of_floor: None,
        first: "100 ms",
        goal: "20 ms",
    });
    let (rate, _) = measure::throughput(&three, 5_000 / share)?;
    figures.push(Figure {
        measure: "tasks/s of true, three nodes, quorum",
        value: rate,
        unit: "/s",
        of_floor: Some(rate / floor),
        first: "0.25 of floor",
        goal: "0.7 of floor",
    });
    figures.push(Figure {
        measure: "idle mesh of three: CPU a node",
        value: measure::idle(&three)?,
        unit: "%",
        of_floor: None,
        first: "3 %",
        goal: "0.5 %",
    });
    figures.push(Figure {
        measure: "host killed with -9: restart elsewhere, beyond the lease",
        value: measure::take_over(three)?,
        unit: "s",
        of_floor: None,
        first: "2 s",
        goal: "0.5 s",
    });
    let bytes = ["aque", "aque-node"]
        .iter()
        .map(|name| std::fs::metadata(programs.join(name)).map(|meta| meta.len()))
        .collect::<Result<Vec<u64>, _>>()?;
    figures.push(Figure {
        measure: "size of aque-node",
        value: measure::float(bytes[1]) / f64::from(1 << 20),
        unit: "MiB",
        of_floor: None,
        first: "report",
        goal: "20 MiB",
    });
    Ok(figures)
}

fn print_table(figures: &[Figure]) {
    println!("{:<58} {:>12} {:>9}  {:<14} goal", "measure", "here", "of floor", "first");
    for figure in figures {
        let value = format!("{:.2} {}", figure.value, figure.unit);
        let share = figure.of_floor.map_or_else(String::new, |share| format!("{share:.2}"));
        println!("{:<58} {value:>12} {share:>9}  {:<14} {}", figure.measure, figure.first, figure.goal);
    }
}
