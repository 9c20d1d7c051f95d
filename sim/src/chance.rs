//! Seeded chance: one independent stream for each purpose and party, so that taking away one fault or one host does not
//! reshuffle all other draws (a run can be shrunk by hand). Integers only: no platform's logarithm is part of a history.

use std::time::Duration;

use fastrand::Rng;

/// What a stream of chance is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Delay, loss and copies of frames, by direction.
    Link,
    /// Connections: when they are noticed as lost, when they come back.
    Connection,
    /// Sync times of a disk and what a crash leaves on it.
    Disk,
    /// Latencies of guards and processes on a host.
    Guard,
    /// Offset and rate of a host's clock.
    Clock,
    /// Keys.
    Identity,
    /// Seeds of replicas and their incarnations.
    Replica,
    /// What the workload is.
    Work,
    /// Which faults happen when.
    Faults,
    /// Bytes of nonsense.
    Garbage,
}

fn mix(state: u64) -> u64 {
    // SplitMix64's finaliser (Steele, Lea and Flood, 2014).
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Returns a number that depends on all of its arguments.
#[must_use]
pub fn number(seed: u64, purpose: Purpose, a: u64, b: u64) -> u64 {
    [purpose as u64, a, b]
        .into_iter()
        .fold(mix(seed ^ 0x6171_7565), |state, part| {
            mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(part))
        })
}

/// Returns the stream of one purpose between two parties.
#[must_use]
pub fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> Rng {
    Rng::with_seed(number(seed, purpose, a, b))
}

/// Says yes in so many of a thousand cases.
pub fn happens(rng: &mut Rng, permille: u32) -> bool {
    permille > 0 && rng.u32(0..1_000) < permille
}

/// Returns a span in nanoseconds.
#[must_use]
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Draws from an exponential distribution with this mean, in nanoseconds; at most 40 times the mean.
pub fn exponential(rng: &mut Rng, mean: u64) -> u64 {
    // -log2(u) of a 64-bit u: leading zeros, and the mantissa by a chord (error below 0.09), in 1/65536.
    let u = rng.u64(..) | (1 << 12);
    let zeros = u64::from(u.leading_zeros());
    let mantissa = (u << zeros) >> 47 & 0xffff;
    let halvings = (zeros << 16) + (0x1_0000 - mantissa);
    // ln 2 = 45426 / 65536.
    let scaled = u128::from(mean) * u128::from(halvings) * 45_426;
    u64::try_from(scaled >> 32).unwrap_or(u64::MAX)
}

/// Draws evenly from `0..=most`.
pub fn up_to(rng: &mut Rng, most: u64) -> u64 {
    rng.u64(0..=most)
}

/// Draws a span evenly from `least..=most`.
pub fn span(rng: &mut Rng, least: Duration, most: Duration) -> Duration {
    Duration::from_nanos(rng.u64(nanos(least)..=nanos(most.max(least))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_independent_and_repeatable() {
        let draw = |a, b| stream(7, Purpose::Link, a, b).u64(..);
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 1));
        assert_ne!(draw(1, 2), stream(8, Purpose::Link, 1, 2).u64(..));
        assert_ne!(draw(1, 2), stream(7, Purpose::Disk, 1, 2).u64(..));
    }

    #[test]
    fn exponential_has_its_mean() {
        let mut rng = Rng::with_seed(3);
        let sum: u64 = (0..100_000).map(|_| exponential(&mut rng, 1_000_000)).sum();
        let mean = sum / 100_000;
        assert!((900_000..1_150_000).contains(&mean), "{mean}");
    }
}
