//! Signals across a change of programs in one process: held back while nobody could hear them, remembered where somebody could.
//!
//! Handlers do not survive `exec`; what is blocked does, and what is pending with it. So signals are blocked around the change,
//! and the program that follows lets them go as soon as it has handlers of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// The signals that a node understands.
pub const UNDERSTOOD: [i32; 4] = [SIGHUP, SIGINT, SIGTERM, SIGUSR1];

/// Remembers which signals come, from its making on until it is dropped. Others that hear them go on hearing them.
#[derive(Debug)]
pub struct Memory(Vec<(i32, Arc<AtomicBool>, SigId)>);

impl Memory {
    /// Begins to remember.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn begin() -> io::Result<Self> {
        let mut this = Self(Vec::new());
        for signo in UNDERSTOOD {
            let came = Arc::new(AtomicBool::new(false));
            let id = signal_hook::flag::register(signo, Arc::clone(&came))?;
            this.0.push((signo, came, id));
        }
        Ok(this)
    }

    /// Returns those that came, and forgets them.
    #[must_use]
    pub fn take(&self) -> Vec<i32> {
        let came = self.0.iter();
        let came = came.filter(|(_, came, _)| came.swap(false, Ordering::SeqCst));
        came.map(|(signo, _, _)| *signo).collect()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (_, _, id) in &self.0 {
            signal_hook::low_level::unregister(*id);
        }
    }
}

/// Blocks the signals that a node understands, in this thread and what it executes.
pub fn hold() {
    mask(libc::SIG_BLOCK);
}

/// Lets go what [`hold`] holds; what came meanwhile comes now.
pub fn release() {
    mask(libc::SIG_UNBLOCK);
}

#[expect(unsafe_code, reason = "rustix offers no signal masks")]
fn mask(how: i32) {
    // SAFETY: the set lives as long as it is borrowed; a zeroed set is valid, and so is no set to be told.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signo in UNDERSTOOD {
            libc::sigaddset(&raw mut set, signo);
        }
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn what_comes_is_remembered_until_it_is_taken() {
        let memory = Memory::begin().unwrap();
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        assert_eq!(memory.take(), [SIGUSR1]);
        assert!(memory.take().is_empty());
        hold();
        // To this thread alone: others of the test process hold nothing.
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        assert!(memory.take().is_empty());
        release();
        assert_eq!(memory.take(), [SIGUSR1]);
        // With two memories each remembers for itself.
        let other = Memory::begin().unwrap();
        drop(memory);
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        assert_eq!(other.take(), [SIGUSR1]);
    }
}
