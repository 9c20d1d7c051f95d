//! The unified hierarchy: a cgroup is killed by one word to the kernel, which lets no fork escape.
//!
//! Kernels before 5.14 do not know that word. There the cgroup is frozen first, so that nothing forks any more, and each process is
//! killed; a frozen one dies of `SIGKILL` as it is.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::tree;

/// How often one attempt looks again for what forked while it was frozen.
const LOOKS: u32 = 16;

/// Between two of these.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What this kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    /// `cgroup.kill`.
    AtOnce,
    /// `cgroup.freeze`.
    Frozen,
}

/// Looks what there is in a cgroup that is not the root's.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] for kernels before 5.2.
pub(super) fn offer(directory: &Path) -> io::Result<Kill> {
    if directory.join("cgroup.kill").exists() {
        Ok(Kill::AtOnce)
    } else if directory.join("cgroup.freeze").exists() {
        Ok(Kill::Frozen)
    } else {
        let why = "this kernel can neither kill nor freeze a cgroup of version 2";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }
}

/// Kills all of a cgroup and below it, by one word.
///
/// # Errors
/// The kernel's.
pub(super) fn kill_at_once(directory: &Path) -> io::Result<()> {
    tree::tell(directory, "cgroup.kill", "1")
}

/// The same, by hand, for a moment; what is stuck in the kernel may be left.
///
/// # Errors
/// The kernel's; some may be dead then.
pub(super) fn kill_frozen(directory: &Path) -> io::Result<()> {
    tree::tell(directory, "cgroup.freeze", "1")?;
    let killed = kill_standing(directory);
    // Nothing stays frozen for ever: what is left has its signal pending.
    let thawed = tree::tell(directory, "cgroup.freeze", "0");
    killed.and(thawed)
}

fn kill_standing(directory: &Path) -> io::Result<()> {
    for _ in 0..LOOKS {
        tree::kill_each(directory)?;
        if !is_populated(directory)? {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Whether a process lives in it or below it.
///
/// # Errors
/// The kernel's.
pub(super) fn is_populated(directory: &Path) -> io::Result<bool> {
    match std::fs::read_to_string(directory.join("cgroup.events")) {
        Ok(text) => Ok(!text.lines().any(|line| line == "populated 0")),
        Err(error) if tree::is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::process::{Command, Stdio};

    use super::super::find;
    use super::*;
    use crate::guard::trees::Cgroups;

    /// As older kernels need it, which do not know `cgroup.kill`.
    #[test]
    #[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
    fn what_forks_without_end_is_killed_by_freezing() {
        let read = |path| std::fs::read(path).unwrap();
        let (mountinfo, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let places = find::places(&mountinfo, &own, Cgroups::V2);
        let name = format!("test-of-freezing-{}", std::process::id());
        let made = places.into_iter().find_map(|place| {
            let directory = place.join(&name);
            std::fs::create_dir(&directory).ok().map(|()| directory)
        });
        let Some(directory) = made else {
            eprintln!("skipped: it needs a cgroup v2 that may be written");
            return;
        };
        let storm = "echo 0 > $G/cgroup.procs && while :; do (setsid sleep 0.01 &); done";
        let mut child = Command::new("sh")
            .args(["-c", storm])
            .env("G", &directory)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        while tree::processes(&directory).unwrap().len() < 3 {
            assert_eq!(child.try_wait().unwrap(), None);
            std::thread::yield_now();
        }
        while is_populated(&directory).unwrap() {
            kill_frozen(&directory).unwrap();
        }
        assert!(!child.wait().unwrap().success());
        tree::remove(&directory).unwrap();
    }
}
