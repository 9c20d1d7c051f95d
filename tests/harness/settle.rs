//! Waiting for a condition: looked at again and again with back-off, until one generous limit has passed.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a condition may take to come true. Far more than a busy machine needs: it bounds hangs, it measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The first and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Waits until `look` returns `Ok`, and returns that.
///
/// # Panics
/// After [`PATIENCE`], with `what` was waited for and the last reason that `look` gave.
#[track_caller]
pub fn settle<T, E: Display>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) if began.elapsed() > PATIENCE => panic!("waited in vain for {what}: {why}"),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(PAUSES.1);
    }
}
