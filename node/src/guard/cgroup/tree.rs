//! What both kinds of hierarchy have in common: directories in directories, the processes in them, and their removal.
//!
//! A run with the rights to it may have made cgroups below its own; all of this looks at these as well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process};

/// Lists a cgroup and all below it, parents before children. What goes meanwhile is left out.
///
/// # Errors
/// The kernel's.
pub(super) fn directories(top: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![top.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next) {
        let entries = match fs::read_dir(directory) {
            Err(error) if is_gone(&error) => Vec::new(),
            other => other?.collect(),
        };
        for entry in entries.into_iter().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
        next += 1;
    }
    Ok(found)
}

/// Lists the living processes of a cgroup and of all below it.
///
/// # Errors
/// The kernel's.
pub(super) fn processes(top: &Path) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for directory in directories(top)? {
        let text = match fs::read_to_string(directory.join("cgroup.procs")) {
            Err(error) if is_gone(&error) => continue,
            // A threaded one: its processes are those of a cgroup above.
            Err(error) if is(&error, Errno::OPNOTSUPP) => continue,
            other => other?,
        };
        let numbers = text.lines().filter_map(|line| line.parse::<i32>().ok());
        // Zero is a process of another namespace.
        found.extend(numbers.filter(|pid| *pid > 1));
    }
    Ok(found)
}

/// Sends `SIGKILL` to each of a cgroup and of all below it, and returns how many there were.
///
/// # Errors
/// The kernel's, when they cannot be listed.
pub(super) fn kill_each(top: &Path) -> io::Result<usize> {
    let found = processes(top)?;
    for pid in found.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        if pid != getpid() {
            // One that has ended meanwhile is as dead; one that resists is seen by the next look.
            let _sent = kill_process(pid, Signal::KILL);
        }
    }
    Ok(found.len())
}

/// Removes a cgroup and all below it; what is not there is no error.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] while a process lives in it; or the kernel's.
pub(super) fn remove(top: &Path) -> io::Result<()> {
    match remove_one(top) {
        Err(error) if is(&error, Errno::BUSY) || is(&error, Errno::NOTEMPTY) => {
            let below = directories(top)?;
            if below.len() == 1 {
                return Err(error);
            }
            below.iter().rev().try_for_each(|one| remove_one(one))
        }
        other => other,
    }
}

fn remove_one(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}

/// Writes to a file of a cgroup that is there already.
///
/// # Errors
/// The kernel's.
pub(super) fn tell(directory: &Path, file: &str, word: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).open(directory.join(file))?;
    io::Write::write_all(&mut file, word.as_bytes())
}

/// Whether something failed because the cgroup is not there any more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    is(error, Errno::NOENT) || is(error, Errno::NODEV)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
