//! Storms of faults over meshes of real processes, one after the other, for as long as one likes. Exit status 1 if a promise is
//! broken. The seed of each storm is printed, so that its mixture can be had again.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tests::chaos::{Fault, Storm, Tally, rage};

/// Let storms of faults rage over meshes of real nodes, and judge what their tasks wrote down
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Options {
    /// How long, in minutes; the storm that is under way is brought to its end
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// The first storm's seed; each further one takes the next number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes of each mesh
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=20))]
    nodes: u8,
    /// Tasks of each storm
    #[arg(long, default_value_t = 400)]
    tasks: usize,
    /// How long faults go on in each storm, in seconds
    #[arg(long, default_value_t = 45)]
    storm: u64,
    /// Leave out faults of the network, which need root
    #[arg(long)]
    no_network: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let began = Instant::now();
    let enough = Duration::try_from_secs_f64(options.minutes * 60.0).unwrap_or(Duration::MAX);
    let mut tally = Tally::default();
    let mut seed = options.seed;
    while began.elapsed() < enough && tally.violations.is_empty() {
        let storm = Storm {
            seed,
            nodes: options.nodes.into(),
            tasks: options.tasks,
            lasts: Duration::from_secs(options.storm),
            faults: if options.no_network {
                Fault::PROCESSES
            } else {
                Fault::ALL
            },
        };
        if rage(&storm, &mut tally).is_none() {
            eprintln!("chaos: network namespaces are not to be had; --no-network does without");
            return ExitCode::FAILURE;
        }
        println!(
            "{:>4} s  seed {seed}: {} tasks, {} runs, {} faults so far, {} violations",
            began.elapsed().as_secs(),
            tally.tasks,
            tally.runs,
            tally.faults.values().sum::<usize>(),
            tally.violations.len()
        );
        seed += 1;
    }
    println!("{tally}");
    ExitCode::from(u8::from(!tally.violations.is_empty()))
}
