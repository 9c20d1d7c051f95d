//! Chores of the project: `cargo xtask tidy` checks what the compiler does not, `cargo xtask bench` measures, `cargo xtask chaos`
//! breaks things.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for the terminal"
)]

mod bench;
mod floor;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

/// Chores of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Checks the edges between packages, module docs, and that no source file is left over.
    Tidy,
    /// Builds release programs, measures them beside the machine's own floor, prints a table and writes JSON.
    Bench(bench::Options),
    /// Builds release programs and lets storms of faults rage over meshes of them: `cargo xtask chaos --minutes 30`.
    #[command(disable_help_flag = true)]
    Chaos {
        /// `--help` tells.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Spawns and waits for `/bin/true` so many times from two threads: the floor, in a process of its own.
    #[command(hide = true)]
    Floor {
        /// How many processes.
        count: u32,
    },
}

fn main() -> ExitCode {
    let root = workspace_root();
    let done = match Cli::parse().chore {
        Chore::Tidy => tidy::run(&root),
        Chore::Bench(options) => bench::run(&root, &options),
        Chore::Chaos { args } => chaos(&root, &args),
        Chore::Floor { count } => floor::run(count),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn chaos(root: &Path, args: &[String]) -> Result<(), Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args([
            "run",
            "--release",
            "--package",
            "tests",
            "--bin",
            "chaos",
            "--",
        ])
        .args(args)
        .current_dir(root)
        .status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(vec![format!("chaos: {status}")]),
        Err(error) => Err(vec![format!("chaos: cargo cannot be run: {error}")]),
    }
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}
