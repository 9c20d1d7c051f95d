//! `cargo xtask bench`: what the mesh costs on this machine, beside the machine's own floor in the same run.
//!
//! Real release programs, real processes, real disks. Rates are given as shares of the floor (spawn and wait of `/bin/true` from a
//! small process with two slots), because absolute figures say more about the machine than about the mesh. Each row carries the
//! goal of the first step and the final one. Medians of five where a repetition is cheap; `--quick` makes one of each, and smaller.

mod measures;
mod mesh;
mod start;
mod table;
mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;

use mesh::Programs;
use table::Table;

/// What `cargo xtask bench` is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Smaller and without repetition: a minute or two
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only measures whose name contains one of these words
    #[arg(value_name = "WORD")]
    only: Vec<String>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Repetitions of what is cheap.
    repeats: usize,
    /// Tasks of a run that is timed as a whole.
    tasks: usize,
    /// Single calls whose times are sorted.
    samples: usize,
    /// Tasks that are queued in one call.
    bulk: usize,
    /// Tasks of the run in whose midst everything is killed.
    killed: usize,
    /// Hosts killed one after the other.
    losses: usize,
}

const FULL: Size = Size {
    repeats: 5,
    tasks: 2_000,
    samples: 200,
    bulk: 100_000,
    killed: 10_000,
    losses: 3,
};
const QUICK: Size = Size {
    repeats: 1,
    tasks: 400,
    samples: 30,
    bulk: 10_000,
    killed: 1_000,
    losses: 1,
};

/// What a measure that failed says.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// A measure: the words by which it is chosen, and what adds its rows to the table.
type Measure = (
    &'static str,
    fn(&Programs, Size, &mut Table) -> Result<(), Failed>,
);

/// In the order of the table. The floor comes first: the others are shares of it.
const MEASURES: [Measure; 9] = [
    ("floor", measures::floor),
    ("client start", start::start_up),
    ("one node", measures::one_node),
    ("three nodes", measures::three_nodes),
    ("submit status bulk memory", measures::submission),
    ("start latency idle", measures::latency),
    ("take-over lost host", measures::take_over),
    ("all killed restart", measures::all_killed),
    ("binary size", measures::binaries),
];

/// Builds, measures, prints; the error lists every measure that failed.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Vec<String>> {
    let programs = build(root).map_err(|error| vec![format!("bench: {error}")])?;
    let size = if options.quick { QUICK } else { FULL };
    let mut table = Table::default();
    let mut problems = Vec::new();
    let wanted = |name: &str| {
        name == "floor"
            || options.only.is_empty()
            || options.only.iter().any(|word| name.contains(word.as_str()))
    };
    for (name, measure) in MEASURES.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("bench: {name}");
        if let Err(error) = measure(&programs, size, &mut table) {
            problems.push(format!("bench: {name}: {error}"));
        }
    }
    print!("{}", table.text());
    if let Some(path) = &options.json
        && let Err(error) = std::fs::write(path, table.json())
    {
        problems.push(format!("bench: {}: {error}", path.display()));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn build(root: &Path) -> Result<Programs, Failed> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--release", "--package", "node", "--bins"];
    let built = Command::new(cargo).args(words).current_dir(root).status()?;
    if !built.success() {
        return Err("the programs cannot be built".into());
    }
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()?;
    let folder = metadata.target_directory.as_std_path().join("release");
    Ok(Programs {
        node: folder.join("aque-node"),
        aque: folder.join("aque"),
        xtask: std::env::current_exe()?,
    })
}
