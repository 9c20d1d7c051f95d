//! Ctrl-C of a watcher: the task is left alone, and the person is told how to end it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use signal_hook::consts::SIGINT;

use super::problem::Problem;

/// Exit status of a process that Ctrl-C ended, as a shell shows it.
const INTERRUPTED: i32 = 128 + SIGINT;

/// From now on an interrupt runs `last` and ends the program with status 130.
///
/// # Errors
/// No descriptor or thread is left.
pub(crate) fn on_interrupt(last: impl FnOnce() + Send + 'static) -> Result<(), Problem> {
    let install = || {
        let (mut hear, tell) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGINT, tell)?;
        let wait = move || {
            if hear.read_exact(&mut [0]).is_ok() {
                last();
                let _flushed = std::io::stdout().flush();
                std::process::exit(INTERRUPTED);
            }
        };
        std::thread::Builder::new()
            .name("interrupt".into())
            .spawn(wait)
    };
    match install() {
        Ok(_detached) => Ok(()),
        Err(error) => Err(Problem::failed(format!(
            "cannot listen for Ctrl-C: {error}"
        ))),
    }
}

/// Returns what a watcher of `id` says when it is interrupted.
pub(crate) fn left_alone(id: &str) -> String {
    format!("\naque: {id} goes on; 'aque kill {id}' ends it, 'aque wait {id}' waits for it again")
}
