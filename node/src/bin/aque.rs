//! `aque`: the client. The same file is also a node, so that `aque demo` needs nothing beside itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::cli::main(std::env::args_os())
}
