//! `aque-node`: the daemon of one host, and the guard that it starts beside itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::daemon::program(std::env::args_os().skip(1).collect())
}
