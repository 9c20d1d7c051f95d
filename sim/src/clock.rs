//! A host's clocks: a monotonic one with an offset and a rate of its own that counts suspend, and a wall clock that may step.
//!
//! True time is a count of nanoseconds since the world began. Rates are given in parts per million of error and may change;
//! the local reading never goes back.

use crdt::time::{Mono, Now, Wall};

const MILLION: i128 = 1_000_000;
/// The wall clock's reading when the worlds begin: 2026-01-01.
const WALL_START_MS: i64 = 1_767_225_600_000;

/// The clocks of one host.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_true: u64,
    base_local: u64,
    rate_ppm: i32,
    wall_error_ms: i64,
}

impl Clock {
    /// Returns a clock that reads `offset` when the world begins and errs by `rate_ppm`; its wall clock is wrong by
    /// `wall_error_ms`.
    #[must_use]
    pub fn new(offset: u64, rate_ppm: i32, wall_error_ms: i64) -> Self {
        Self {
            base_true: 0,
            base_local: offset,
            rate_ppm,
            wall_error_ms,
        }
    }

    /// Returns the local reading at a true time.
    #[must_use]
    pub fn local(&self, now: u64) -> Mono {
        let passed = i128::from(now.saturating_sub(self.base_true));
        let scaled = passed * (MILLION + i128::from(self.rate_ppm)) / MILLION;
        Mono(
            self.base_local
                .saturating_add(u64::try_from(scaled).unwrap_or(0)),
        )
    }

    /// Returns both readings at a true time.
    #[must_use]
    pub fn read(&self, now: u64) -> Now {
        let passed_ms = i64::try_from(now / 1_000_000).unwrap_or(i64::MAX);
        let wall = WALL_START_MS
            .saturating_add(passed_ms)
            .saturating_add(self.wall_error_ms);
        Now {
            mono: self.local(now),
            wall: Wall(u64::try_from(wall).unwrap_or(0)),
        }
    }

    /// Returns the first true time, not before `now`, at which the local reading is `at` or later.
    #[must_use]
    pub fn when(&self, at: Mono, now: u64) -> u64 {
        let ahead = i128::from(at.0.saturating_sub(self.base_local));
        let rate = MILLION + i128::from(self.rate_ppm);
        let passed = (ahead * MILLION + rate - 1) / rate;
        let truth = self
            .base_true
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        truth.max(now)
    }

    /// Returns the true length of a local span.
    #[must_use]
    pub fn stretch(&self, local: u64) -> u64 {
        let rate = MILLION + i128::from(self.rate_ppm);
        u64::try_from(i128::from(local) * MILLION / rate).unwrap_or(u64::MAX)
    }

    /// Gives the clock another rate from `now` on.
    pub fn set_rate(&mut self, now: u64, rate_ppm: i32) {
        self.base_local = self.local(now).0;
        self.base_true = now;
        self.rate_ppm = rate_ppm;
    }

    /// Steps the monotonic clock, which no real one does.
    pub fn jump(&mut self, now: u64, by_ms: i64) {
        let by = by_ms.saturating_mul(1_000_000);
        self.base_local = self.local(now).0.saturating_add_signed(by);
        self.base_true = now;
    }

    /// Steps the wall clock.
    pub fn step_wall(&mut self, by_ms: i64) {
        self.wall_error_ms = self.wall_error_ms.saturating_add(by_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_instant_at_which_the_reading_is_reached() {
        for rate in [-10_000, -137, 0, 1, 9_999] {
            let mut clock = Clock::new(5_000, rate, 0);
            clock.set_rate(1_000_003, rate / 2);
            for at in [5_000, 1_005_004, 123_456_789, 987_654_321_012] {
                let truth = clock.when(Mono(at), 0);
                assert!(clock.local(truth) >= Mono(at));
                assert!(truth <= 1_000_003 || clock.local(truth - 1) < Mono(at));
            }
        }
    }

    #[test]
    fn a_change_of_rate_does_not_step() {
        let mut clock = Clock::new(1, 10_000, 0);
        let before = clock.local(1_000_000_000);
        clock.set_rate(1_000_000_000, -10_000);
        assert_eq!(clock.local(1_000_000_000), before);
    }
}
