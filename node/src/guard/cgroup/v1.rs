//! Version 1: the freezer's hierarchy. Frozen processes fork no more, so all of them can be found and killed; they die as they
//! thaw, before they execute anything.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::tree;

const STATE: &str = "freezer.state";

/// How often one attempt looks whether all stand still. One that is stuck in the kernel never does; the others are killed all
/// the same, and what they forked meanwhile by the next attempt.
const LOOKS: u32 = 10;

/// Between two of these.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Checks that the freezer is there.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] if it is not.
pub(super) fn offer(directory: &Path) -> io::Result<()> {
    if directory.join(STATE).exists() {
        Ok(())
    } else {
        let why = "there is no freezer in this hierarchy";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }
}

/// Kills all of a cgroup and below it; what is stuck in the kernel may be left.
///
/// # Errors
/// The kernel's; some may be dead then.
pub(super) fn kill(directory: &Path) -> io::Result<()> {
    tree::tell(directory, STATE, "FROZEN")?;
    let killed = kill_standing(directory);
    // Those below may have been frozen on their own account.
    let thawed = tree::directories(directory)?.iter().try_for_each(|one| {
        match tree::tell(one, STATE, "THAWED") {
            Err(error) if tree::is_gone(&error) => Ok(()),
            other => other,
        }
    });
    killed.and(thawed)
}

fn kill_standing(directory: &Path) -> io::Result<()> {
    for _ in 0..LOOKS {
        let state = std::fs::read_to_string(directory.join(STATE))?;
        if state.trim_end() == "FROZEN" {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    tree::kill_each(directory).map(|_count| ())
}

/// Whether a process lives in it or below it.
///
/// # Errors
/// The kernel's.
pub(super) fn is_populated(directory: &Path) -> io::Result<bool> {
    tree::processes(directory).map(|found| !found.is_empty())
}
