//! Limits of memory: a run that stated how much it needs gets no more, where the kernel lets us see to that.

use std::io;

use super::means::{Seat, Version};

/// Sets a limit, bytes, on a cgroup without processes.
///
/// # Errors
/// The kernel's; there is no limit then.
pub(super) fn limit(seat: &Seat, bytes: u64) -> io::Result<()> {
    let bytes = bytes.to_string();
    match seat.version() {
        Version::V2 => {
            seat.tell("memory.max", &bytes)?;
            // A machine without swap has no such file, an old kernel cannot kill as one.
            for (file, word) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
                let _set = seat.tell(file, word);
            }
        }
        Version::V1 => {
            seat.tell("memory.limit_in_bytes", &bytes)?;
            // Without the account of swap there is no such file.
            let _set = seat.tell("memory.memsw.limit_in_bytes", &bytes);
        }
    }
    Ok(())
}

/// Whether the kernel has killed a process because the limit was reached.
pub(super) fn has_killed(seat: &Seat) -> bool {
    let text = seat.read(match seat.version() {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    });
    let mut counts = text.lines().filter_map(|line| line.split_once(' '));
    counts.any(|(name, count)| name == "oom_kill" && count.trim() != "0")
}
