//! Processes by what `/proc` says of them: all that belong to a directory are found by its path in their command line or
//! environment, wherever they have gone. Guards carry it in the former, runs in the latter.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::settle::settle;

/// Sends a signal; a process that is gone is no error.
pub fn signal(pid: Pid, signal: Signal) {
    // The caller looks at what became of it.
    let _sent = kill_process(pid, signal);
}

/// Returns the processes that belong to a directory, this one not among them; the dead that nobody has waited for are not either.
#[must_use]
pub fn of_directory(directory: &Path) -> BTreeSet<i32> {
    let needle = directory.as_os_str().as_bytes();
    let own = std::process::id();
    let Ok(listing) = std::fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    let numbers = listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &i32| {
            u32::try_from(*pid).is_ok_and(|pid| pid != own) && mentions(*pid, needle)
        })
        .collect()
}

/// Stops everything that belongs to a directory, and returns what it was when all of it stands still. A process that sleeps in
/// the kernel, for a child that was stopped before its `exec` say, stops before it does anything else.
///
/// # Panics
/// If something cannot be stopped.
#[must_use]
pub fn stop_all_of(directory: &Path) -> BTreeSet<i32> {
    settle("a standstill of every process of a directory", || {
        let found = of_directory(directory);
        signal_all(&found, Signal::STOP);
        match found
            .iter()
            .find(|pid| lives(**pid) && !matches!(state(**pid), Some('T' | 't' | 'D')))
        {
            None => Ok(found),
            Some(pid) => Err(format!("{pid} moves")),
        }
    })
}

/// Kills everything that belongs to a directory as a power cut does, and returns when nothing of it lives: all of it stands
/// still before the first dies, so that none sees the end of another.
///
/// # Panics
/// If something cannot be killed.
pub fn kill_all_of(directory: &Path) {
    let _stopped = stop_all_of(directory);
    settle("the end of every process of a directory", || {
        let found = of_directory(directory);
        signal_all(&found, Signal::KILL);
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("{found:?} live"))
        }
    });
}

fn signal_all(pids: &BTreeSet<i32>, what: Signal) {
    let pids = pids.iter().filter_map(|pid| Pid::from_raw(*pid));
    pids.for_each(|pid| signal(pid, what));
}

/// Says whether a process lives, though it may be stopped.
#[must_use]
pub fn lives(pid: i32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// Returns the kernel's letter for what a process does; `None` if there is none.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // It follows the name, which stands in brackets and may have brackets of its own.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}

fn mentions(pid: i32, needle: &[u8]) -> bool {
    // A dead process has neither.
    ["cmdline", "environ"].iter().any(|name| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}
