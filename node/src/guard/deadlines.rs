//! The guard's one promise: a run does not outlive its deadline.
//!
//! A thread of its own waits for a timer of the kernel on `CLOCK_BOOTTIME` and does nothing but
//! kill. The guard's main thread may at that moment be waiting for something slow, such as a
//! program on a network file system that does not answer; the deadlines of all other runs hold
//! nevertheless, and that of the slow one as well: its half-made process is killed, and the main
//! thread goes on. Where one word to the kernel kills a run's cgroup, this thread says it; all else that takes longer is the main
//! thread's.
//!
//! The latch: what has fired stays fired. An extension that comes later is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::time::TimerfdFlags;

use super::cgroup::Group;
use super::protocol::RunKey;
use crate::clock::{BootTimer, boottime};

/// The deadline had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLate;

/// What became of a run's deadline while it was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// It did not come.
    InTime,
    /// It came: the run was killed, although perhaps not before it had ended by itself.
    Fired,
}

/// The deadlines of all runs; the handle of the main thread.
#[derive(Clone, Debug)]
pub(super) struct Deadlines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    timer: BootTimer,
    fired: OwnedFd,
    /// The child that the main thread is waiting for, see [`super::sys::Shot::pid`].
    flying: Arc<AtomicI32>,
    /// Where the runs' cgroups are, if they have any.
    cgroups: Option<Group>,
}

#[derive(Debug, Default)]
struct Table {
    runs: BTreeMap<RunKey, Watch>,
    order: BTreeSet<(Duration, RunKey)>,
    /// What the timer is set to; never later than the first of `order`.
    set: Option<Duration>,
    fired: Vec<RunKey>,
}

#[derive(Clone, Copy, Debug)]
enum Watch {
    /// No process is known yet.
    Starting(Duration),
    /// The leader runs.
    Running(Duration, Pid),
    /// The deadline came.
    Fired,
}

impl Deadlines {
    /// Starts the thread; `cgroups` is where those of the runs are.
    ///
    /// # Errors
    /// The kernel's: no descriptor or no thread is left.
    pub(super) fn new(flying: Arc<AtomicI32>, cgroups: Option<Group>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            table: Mutex::default(),
            timer: BootTimer::new(TimerfdFlags::empty())?,
            fired: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            flying,
            cgroups,
        });
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("deadlines".into())
            .stack_size(64 << 10);
        super::sys::without_signals(|| thread.spawn(move || watched.watch()))?;
        Ok(Self(shared))
    }

    /// Watches a run that is about to be started.
    ///
    /// # Errors
    /// [`TooLate`]: nothing is watched, and the run must not be started.
    pub(super) fn arm(&self, key: RunKey, deadline: Duration) -> Result<(), TooLate> {
        let mut table = self.0.lock();
        if boottime() >= deadline {
            return Err(TooLate);
        }
        table.runs.insert(key, Watch::Starting(deadline));
        table.order.insert((deadline, key));
        self.0.set_timer(&mut table);
        Ok(())
    }

    /// Tells the leader of a run that was armed; it is killed at once if the deadline came
    /// meanwhile.
    pub(super) fn started(&self, key: RunKey, leader: Pid) {
        match self.0.lock().runs.get_mut(&key) {
            Some(watch) => match *watch {
                Watch::Starting(at) | Watch::Running(at, _) => *watch = Watch::Running(at, leader),
                Watch::Fired => kill_run(leader),
            },
            None => debug_assert!(false, "a run that was never armed"),
        }
    }

    /// Moves a deadline back; ignored if it has come, and if the new one is not later.
    pub(super) fn extend(&self, key: RunKey, later: Duration) {
        let mut table = self.0.lock();
        let Some(watch) = table.runs.get_mut(&key) else {
            return;
        };
        let (Watch::Starting(at) | Watch::Running(at, _)) = watch else {
            return;
        };
        let old = *at;
        if later <= old || boottime() >= old {
            return;
        }
        *at = later;
        table.order.remove(&(old, key));
        table.order.insert((later, key));
    }

    /// Returns when a run is killed; now, if its deadline has come.
    pub(super) fn deadline(&self, key: RunKey) -> Duration {
        match self.0.lock().runs.get(&key) {
            Some(Watch::Starting(at) | Watch::Running(at, _)) => *at,
            Some(Watch::Fired) | None => boottime(),
        }
    }

    /// Ends the watch over a run, and tells whether its deadline had come; its leader's number may be
    /// given to another process from now on.
    ///
    /// By the clock as well: a guard that stood still may see the end of a run that its node killed
    /// before the thread sees the timer.
    pub(super) fn release(&self, key: RunKey) -> Watched {
        let mut table = self.0.lock();
        match table.runs.remove(&key) {
            Some(Watch::Starting(at) | Watch::Running(at, _)) => {
                table.order.remove(&(at, key));
                match boottime() < at {
                    true => Watched::InTime,
                    false => Watched::Fired,
                }
            }
            Some(Watch::Fired) => Watched::Fired,
            None => Watched::InTime,
        }
    }

    /// Returns the runs whose deadlines came since the last call. Their groups have been killed.
    pub(super) fn take_fired(&self) -> Vec<RunKey> {
        let _count = rustix::io::read(&self.0.fired, &mut [0_u8; 8]);
        std::mem::take(&mut self.0.lock().fired)
    }

    /// Readable when [`Deadlines::take_fired`] has something to tell.
    pub(super) fn fired(&self) -> BorrowedFd<'_> {
        self.0.fired.as_fd()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        loop {
            match self.timer.take() {
                Ok(()) => self.fire(boottime()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A guard that cannot tell the time must not go on: its runs die with it.
                Err(_) => std::process::abort(),
            }
        }
    }

    fn fire(&self, now: Duration) {
        let mut table = self.lock();
        let mut fired = Vec::new();
        while let Some((deadline, key)) = table.order.first().copied().filter(|(at, _)| *at <= now)
        {
            table.order.remove(&(deadline, key));
            match table.runs.insert(key, Watch::Fired) {
                Some(Watch::Running(_, leader)) => kill_run(leader),
                // Between `arm` and `started` only one run can be.
                Some(Watch::Starting(_)) => {
                    if let Some(child) = Pid::from_raw(self.flying.load(Ordering::Acquire)) {
                        kill_run(child);
                    }
                }
                Some(Watch::Fired) | None => {}
            }
            table.fired.push(key);
            fired.push(key);
        }
        table.set = None;
        self.set_timer(&mut table);
        if !table.fired.is_empty() {
            let _woken = rustix::io::write(&self.fired, &1_u64.to_ne_bytes());
        }
        drop(table);
        for key in fired {
            self.cgroups.iter().for_each(|all| {
                // Whatever is left is the main thread's.
                let _killed = all.of_run(key).kill_at_once();
            });
        }
    }

    fn set_timer(&self, table: &mut Table) {
        let Some((first, _)) = table.order.first().copied() else {
            return;
        };
        if table.set.is_some_and(|set| set <= first) {
            return;
        }
        if self.timer.set(first).is_err() {
            std::process::abort();
        }
        table.set = Some(first);
    }
}

/// Kills a run's process group, and its leader if that has not made its group yet.
pub(super) fn kill_run(leader: Pid) {
    let _group = kill_process_group(leader, Signal::KILL);
    let _leader = kill_process(leader, Signal::KILL);
}
