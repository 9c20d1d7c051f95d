//! `aque-node`: the daemon of one host, and the guard that it starts beside itself.

use std::ffi::OsStr;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args
        .next_if(|verb| verb == OsStr::new(node::guard::VERB))
        .is_some()
    {
        return node::guard::main(args);
    }
    ExitCode::FAILURE
}
