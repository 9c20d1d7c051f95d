//! Processors: each run's part where runs compete for them, and a limit for those that stated how many they need.
//!
//! A part costs nobody anything while processors are idle, so every run gets one where its own cgroup takes it. In version 1 it would
//! need a second cgroup, into which a process is moved, and that waits for every processor of the machine: only runs with a limit
//! have one there.

use std::io;

use super::means::{Apart, Seat, Version};
use crate::guard::protocol::Bounds;

/// The kernel counts processor time in periods of this length, microseconds; a run that has used up its time waits for the next.
const PERIOD_US: u64 = 100_000;
/// The longest period that it takes.
const LONGEST_PERIOD_US: u64 = 1_000_000;
/// The least time in a period that it takes.
const LEAST_QUOTA_US: u64 = 1_000;
/// The weight of one processor, in either version, and the kernel's bounds of it.
const V2_WEIGHT: (u64, u64, u64) = (100, 1, 10_000);
const V1_SHARES: (u64, u64, u64) = (1_024, 2, 262_144);

/// Sets a run's part and its limit on a cgroup without processes.
///
/// # Errors
/// The kernel's; there may be no limit then.
pub(super) fn limit(seat: &Seat, bounds: &Bounds) -> io::Result<()> {
    let quota = bounds.cpus.map(quota);
    match seat.version() {
        Version::V2 => {
            seat.tell("cpu.weight", &weight(bounds.part, V2_WEIGHT))?;
            if let Some((quota, period)) = quota {
                seat.tell("cpu.max", &format!("{quota} {period}"))?;
            }
        }
        Version::V1 => {
            seat.tell("cpu.shares", &weight(bounds.part, V1_SHARES))?;
            if let Some((quota, period)) = quota {
                seat.tell("cpu.cfs_period_us", &period.to_string())?;
                seat.tell("cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
    }
    Ok(())
}

/// Gives all runs with limits together the weight of a whole machine beside those without, as far as the kernel lets us.
pub(super) fn weigh_together(apart: &Apart) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let milli = u32::try_from(cpus.saturating_mul(1_000)).unwrap_or(u32::MAX);
    // Without it they get less than their part beside the others, and their limits all the same.
    let _set = apart.tell("cpu.shares", &weight(milli, V1_SHARES));
}

/// How long a run may use processors in a period of which length, microseconds, for so many thousandths of a processor.
fn quota(milli: u32) -> (u64, u64) {
    let of = |period| u64::from(milli) * period / 1_000;
    let quota = of(PERIOD_US);
    if quota >= LEAST_QUOTA_US {
        (quota, PERIOD_US)
    } else {
        let quota = of(LONGEST_PERIOD_US).max(LEAST_QUOTA_US);
        (quota, LONGEST_PERIOD_US)
    }
}

fn weight(milli: u32, (one, least, most): (u64, u64, u64)) -> String {
    let weight = u64::from(milli) * one / 1_000;
    weight.clamp(least, most).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_table() {
        for (milli, expected) in [
            (1_000, (100_000, 100_000)),
            (1_500, (150_000, 100_000)),
            (10, (1_000, 100_000)),
            (9, (9_000, 1_000_000)),
            (1, (1_000, 1_000_000)),
            (u32::MAX, (429_496_729_500, 100_000)),
        ] {
            assert_eq!(quota(milli), expected, "{milli}");
        }
    }

    #[test]
    fn weight_table() {
        for (milli, v2, v1) in [
            (1_000, "100", "1024"),
            (500, "50", "512"),
            (0, "1", "2"),
            (u32::MAX, "10000", "262144"),
        ] {
            assert_eq!(weight(milli, V2_WEIGHT), v2, "{milli}");
            assert_eq!(weight(milli, V1_SHARES), v1, "{milli}");
        }
    }
}
