//! Panics of this process: each is a mistake in the program. They are counted where they happen, whoever catches them, so that
//! `aque doctor` can tell of them; what stands on standard error stays as it is.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;

use crate::clock::wall_ms;

/// The panics since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Panics {
    /// How many.
    pub count: u64,
    /// Where the last was, and its words.
    pub last: String,
    /// When, by the wall clock.
    pub last_ms: u64,
}

static SEEN: Mutex<Panics> = Mutex::new(Panics {
    count: 0,
    last: String::new(),
    last_ms: 0,
});

/// Begins to count, beside what is done about panics already. To be called once.
pub fn watch() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        note(panic);
        others(panic);
    }));
}

/// Returns what was counted.
#[must_use]
pub fn seen() -> Panics {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Waits for some work, and says in words that it panicked if it did: for work that somebody waits for, whatever becomes of it. As safe
/// to drop as the work.
///
/// # Errors
/// The panic.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.map_err(|panic| format!("it panicked: {}", words(panic.as_ref())))
}

/// Returns the words of a panic that was caught.
#[must_use]
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it said nothing").to_owned()
}

fn note(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let words = words(panic.payload());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.count += 1;
    seen.last = format!("{}: {words}", place.unwrap_or_default());
    seen.last_ms = wall_ms();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_is_caught_is_counted_with_its_place() {
        watch();
        let before = seen().count;
        let caught = std::panic::catch_unwind(|| panic!("number {}", 7));
        assert_eq!(
            caught.map_err(|panic| words(panic.as_ref())),
            Err::<(), _>("number 7".to_owned())
        );
        // Other tests of this process may panic as well.
        assert!(seen().count > before && seen().last_ms > 0);
        assert!(seen().last.contains(".rs:"), "{:?}", seen());
    }

    #[tokio::test]
    async fn work_that_panics_says_so_to_who_waits() {
        assert_eq!(caught(async { 4 }).await, Ok(4));
        let fails = async {
            tokio::task::yield_now().await;
            assert_eq!(1, 2, "one is two");
        };
        let why = caught(fails).await.err().unwrap_or_default();
        assert!(why.starts_with("it panicked: ") && why.contains("one is two"));
    }
}
