//! Time as an argument: a host's own clock, the wall clock that people read, and the arithmetic of leases.
//!
//! [`Mono`] counts nanoseconds of one host's clock that goes on during suspend (Linux `CLOCK_BOOTTIME`); values of two hosts
//! are never compared. [`Wall`] is for people and for naming presence documents; no claim depends on it.
//! The timing condition and its derivation: `docs/protocol.md` (leases after Gray and Cheriton, 1989).

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::Tag;

/// An instant of this host's suspend-counting clock, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Mono(pub u64);

impl Mono {
    /// Later than any instant.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the time since `earlier`, zero if that lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000 / 1_000
        )
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The wall clock: milliseconds since 1970 (UTC).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Wall(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Now {
    /// For deadlines and waits.
    pub mono: Mono,
    /// For people.
    pub wall: Wall,
}

/// A hybrid logical clock stamp: orders what people asked for, the same on every host
/// (Kulkarni et al., "Logical Physical Clocks", 2014).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Hlc {
    /// Wall milliseconds, never behind a stamp already seen.
    pub wall_ms: u64,
    /// Orders stamps of one millisecond.
    pub count: u32,
    /// The writer's tag, the last resort.
    pub tag: u32,
}

impl Hlc {
    /// Later than any wall clock that is set at all: the year 2248.
    const LAST_MS: u64 = 1 << 43;

    /// Says whether stamps can follow this one for ever; one that leaves no room would be the last word on its task.
    #[must_use]
    pub fn leaves_room(self) -> bool {
        self.wall_ms <= Self::LAST_MS && self.count <= u32::MAX / 2
    }

    /// Returns a stamp later than `last` (the newest seen), at `wall`, by `tag`.
    #[must_use]
    pub fn after(last: Self, wall: Wall, tag: Tag) -> Self {
        if wall.0 > last.wall_ms {
            Self {
                wall_ms: wall.0,
                count: 0,
                tag: tag.0,
            }
        } else {
            Self {
                wall_ms: last.wall_ms,
                count: last.count.saturating_add(1),
                tag: tag.0,
            }
        }
    }
}

/// The times on which safety rests. All are measured on the clock of the host that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// H: a claimant renews its leases this often.
    pub heartbeat: Duration,
    /// L: how long an answer of a witness counts, from the *sending* of what it answered.
    pub lease: Duration,
    /// K: a run is killed this long before its lease ends; at least the kill latency.
    pub kill_margin: Duration,
    /// kappa: the guard's bound on the time from its deadline to a reaped process group.
    pub kill_latency: Duration,
    /// r: the bound on any clock's rate error, in parts per million.
    pub drift_ppm: u32,
    /// g: how coarse clock readings and timers are.
    pub grain: Duration,
    /// W: how long a witness waits after its last answer before a silent claimant's vote is free, whatever it has stated; for
    /// experiments. `None`: as long as it has stated, and this lease asks for.
    pub witness_wait: Option<Duration>,
}

impl Default for Timing {
    /// A local network: heartbeat 1 s, lease 6 s (four heartbeats and more may be lost), margin 300 ms, drift 1 %.
    fn default() -> Self {
        Self::with_lease(Duration::from_secs(1), Duration::from_secs(6), 10_000)
    }
}

/// Why a set of times is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The witness wait is too short: two runs could overlap.
    #[error(
        "witness wait {wait:?} is unsafe: it must be at least (lease - margin + kill latency) * (1 + eps) + 2 * grain = {least:?}"
    )]
    Wait {
        /// As configured.
        wait: Duration,
        /// The least safe value.
        least: Duration,
    },
    /// The margin does not cover a kill.
    #[error("kill margin {margin:?} is unsafe: it must be at least the kill latency {latency:?}")]
    Margin {
        /// As configured.
        margin: Duration,
        /// The bound on a kill.
        latency: Duration,
    },
    /// The lease does not outlast its renewals.
    #[error(
        "lease {lease:?} is too short: lease - margin must exceed 3 heartbeats of {heartbeat:?}, or holds are lost without cause"
    )]
    Lease {
        /// As configured.
        lease: Duration,
        /// As configured.
        heartbeat: Duration,
    },
    /// A zero or absurd value.
    #[error("{0} is out of range")]
    Range(&'static str),
}

impl Timing {
    /// The longest wait of a witness that anybody may state: more than the longest lease asks for with the worst clocks.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(2 * 86_400);

    /// Returns times for a heartbeat and a lease, with a margin of a twentieth of the lease (at least 20 ms).
    #[must_use]
    pub fn with_lease(heartbeat: Duration, lease: Duration, drift_ppm: u32) -> Self {
        let margin = (lease / 20).clamp(Duration::from_millis(20), Duration::from_secs(1));
        Self {
            heartbeat,
            lease,
            kill_margin: margin,
            kill_latency: margin,
            drift_ppm,
            grain: Duration::from_millis(10),
            witness_wait: None,
        }
    }

    /// Returns the least safe witness wait: (L - K + kappa) * (1 + eps) + 2g with eps = 2r / (1 - r).
    #[must_use]
    pub fn least_wait(&self) -> Duration {
        let span = self.lease.saturating_sub(self.kill_margin) + self.kill_latency;
        let extra = (span.as_nanos() * u128::from(self.eps_ppm())).div_ceil(1_000_000);
        let extra = u64::try_from(extra).unwrap_or(u64::MAX);
        span + Duration::from_nanos(extra) + 2 * self.grain
    }

    /// eps = 2r / (1 - r), rounded up, in parts per million.
    fn eps_ppm(&self) -> u64 {
        let ppm = u64::from(self.drift_ppm.min(500_000));
        (2 * ppm * 1_000_000).div_ceil(1_000_000 - ppm)
    }

    /// Returns W: the configured wait, or the least safe one.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.witness_wait.unwrap_or_else(|| self.least_wait())
    }

    /// Returns how long a hold lasts after the send time of its deciding answer: L - K.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.lease.saturating_sub(self.kill_margin)
    }

    /// Returns how long a hold lasts at most after the send time of an answer whose witness waits this long for a silent
    /// claimant: L - K, or less where the wait covers less.
    #[must_use]
    pub fn hold_under(&self, wait: Duration) -> Duration {
        if wait >= self.least_wait() {
            return self.hold();
        }
        let span = wait.saturating_sub(2 * self.grain).as_nanos() * 1_000_000;
        let covered = span / (1_000_000 + u128::from(self.eps_ppm()));
        let covered = Duration::from_nanos(u64::try_from(covered).unwrap_or(u64::MAX));
        covered.saturating_sub(self.kill_latency).min(self.hold())
    }

    /// Lists every reason why these times must not be used; empty = safe and sensible.
    #[must_use]
    pub fn problems(&self) -> Vec<TimingError> {
        let mut found = Vec::new();
        if self.heartbeat < Duration::from_millis(1) || self.heartbeat > Duration::from_secs(3_600)
        {
            found.push(TimingError::Range("heartbeat (1 ms to 1 h)"));
        }
        if self.lease > Duration::from_secs(86_400) {
            found.push(TimingError::Range("lease (at most a day)"));
        }
        if self.drift_ppm > 200_000 {
            found.push(TimingError::Range("drift (at most 200000 ppm)"));
        }
        if self.kill_margin < self.kill_latency {
            found.push(TimingError::Margin {
                margin: self.kill_margin,
                latency: self.kill_latency,
            });
        }
        if self.hold() <= 3 * self.heartbeat {
            found.push(TimingError::Lease {
                lease: self.lease,
                heartbeat: self.heartbeat,
            });
        }
        if self.wait() < self.least_wait() {
            found.push(TimingError::Wait {
                wait: self.wait(),
                least: self.least_wait(),
            });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_covers_lease_and_drift() {
        let timing = Timing::default();
        assert!(timing.problems().is_empty());
        assert!(timing.wait() > timing.lease.mul_f64(1.02));
        let short = Timing {
            witness_wait: Some(timing.lease),
            ..timing
        };
        assert!(matches!(short.problems()[..], [TimingError::Wait { .. }]));
        let blunt = Timing {
            kill_margin: Duration::ZERO,
            ..timing
        };
        assert!(matches!(blunt.problems()[..], [TimingError::Margin { .. }]));
        assert_eq!(timing.hold_under(timing.least_wait()), timing.hold());
        assert_eq!(timing.hold_under(Duration::ZERO), Duration::ZERO);
        for percent in 1..100 {
            let wait = timing.least_wait() * percent / 100;
            let shorter = Timing {
                lease: timing.hold_under(wait) + timing.kill_margin,
                ..timing
            };
            assert!(shorter.least_wait() <= wait || shorter.hold().is_zero());
        }
        let hasty = Timing::with_lease(Duration::from_secs(1), Duration::from_secs(3), 10_000);
        assert!(matches!(hasty.problems()[..], [TimingError::Lease { .. }]));
    }

    #[test]
    fn hlc_never_goes_back() {
        let tag = Tag(7);
        let first = Hlc::after(Hlc::default(), Wall(1_000), tag);
        let second = Hlc::after(first, Wall(900), tag);
        assert!(second > first);
        assert!(Hlc::after(second, Wall(2_000), tag) > second);
    }
}
