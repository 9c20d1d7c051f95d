//! The clocks of this host, and an alarm that follows the right one.
//!
//! Leases are counted on `CLOCK_BOOTTIME`: it never jumps and it goes on while the machine sleeps,
//! so a laptop that was closed for an hour does not believe that its leases still have time left.
//! `std`'s `Instant` stands still during suspend on Linux and is therefore never used for a
//! deadline here, and neither are tokio's timers, which are built on it: [`Alarm`] is a timer of
//! the kernel's own on the same clock.
//!
//! Units: [`Duration`] since boot for deadlines; milliseconds since 1970 for what people read.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Returns the time since this machine booted, the time spent asleep included.
#[must_use]
pub fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or(0),
        now.tv_nsec.try_into().unwrap_or(0),
    )
}

/// Returns `CLOCK_MONOTONIC`, which stands still during suspend: for service managers, which count on it.
#[must_use]
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// Returns the wall clock in milliseconds since 1970, 0 for a clock set before that.
///
/// For people and for order among hosts only: it may jump in either direction.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A kernel timer on `CLOCK_BOOTTIME` that is set to instants, not to spans.
#[derive(Debug)]
pub(crate) struct BootTimer(OwnedFd);

impl BootTimer {
    /// Makes a timer that is not set.
    ///
    /// # Errors
    /// The kernel's, when no descriptor is left.
    pub(crate) fn new(flags: TimerfdFlags) -> io::Result<Self> {
        let flags = flags | TimerfdFlags::CLOEXEC;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Lets the timer ring at `at`, at once if that has passed; this replaces what was set before.
    ///
    /// # Errors
    /// The kernel's; none is expected for an instant of this clock.
    pub(crate) fn set(&self, at: Duration) -> io::Result<()> {
        // An instant of zero would switch the timer off.
        self.arm(at.max(Duration::from_nanos(1)))
    }

    /// Switches the timer off, and forgets a ring that nobody has read.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.arm(Duration::ZERO)
    }

    /// Takes the rings since the last call; waits for one unless the timer is non-blocking.
    ///
    /// # Errors
    /// `WouldBlock` from a non-blocking timer that has not rung.
    pub(crate) fn take(&self) -> io::Result<()> {
        rustix::io::read(&self.0, &mut [0_u8; 8])?;
        Ok(())
    }

    fn arm(&self, at: Duration) -> io::Result<()> {
        let it_value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos().into(),
        };
        let it_interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Itimerspec {
            it_interval,
            it_value,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &value)?;
        Ok(())
    }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for BootTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// An alarm for an event loop: one instant of [`boottime`], set again as often as one likes.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let mut alarm = node::clock::Alarm::new()?;
/// alarm.set(Some(node::clock::boottime() + std::time::Duration::from_millis(5)))?;
/// alarm.rings().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<BootTimer>,
    set: Option<Duration>,
}

impl Alarm {
    /// Makes an alarm that is not set. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The kernel's, when no descriptor is left.
    #[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
    pub fn new() -> io::Result<Self> {
        let timer = BootTimer::new(TimerfdFlags::NONBLOCK)?;
        // SAFETY: the timer owns its descriptor, never changes it, and closes it only when dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, set: None })
    }

    /// Sets the instant at which the alarm rings, or switches it off. Setting the same instant
    /// again costs nothing.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn set(&mut self, at: Option<Duration>) -> io::Result<()> {
        if self.set == at {
            return Ok(());
        }
        match at {
            Some(at) => self.timer.get_ref().set(at)?,
            None => self.timer.get_ref().clear()?,
        }
        self.set = at;
        Ok(())
    }

    /// Waits until the alarm rings; for ever if it is not set. It is off afterwards.
    ///
    /// Safe to drop at any await: a ring that was not returned is found by the next call.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub async fn rings(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            match ready.try_io(|timer| timer.get_ref().take()) {
                Ok(Ok(())) => {
                    self.set = None;
                    return Ok(());
                }
                Ok(Err(error)) => return Err(error),
                Err(_not_yet) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn boottime_goes_on() {
        let (first, second) = (boottime(), boottime());
        assert!(second >= first && first > Duration::ZERO);
        assert!(wall_ms() > 1_700_000_000_000);
    }

    #[tokio::test]
    async fn alarm_rings_at_its_instant() {
        let mut alarm = Alarm::new().unwrap();
        let at = boottime() + Duration::from_millis(5);
        alarm.set(Some(at + Duration::from_secs(3600))).unwrap();
        alarm.set(Some(at)).unwrap();
        alarm.rings().await.unwrap();
        assert!(boottime() >= at);
    }

    #[tokio::test]
    async fn alarm_of_the_past_rings_at_once_and_only_once() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(Duration::ZERO)).unwrap();
        alarm.rings().await.unwrap();
        assert!(futures::poll!(std::pin::pin!(alarm.rings())).is_pending());
        alarm.set(Some(boottime())).unwrap();
        alarm.set(None).unwrap();
        assert!(futures::poll!(std::pin::pin!(alarm.rings())).is_pending());
    }
}
