//! Processes of a run that left its process group: whose are they?
//!
//! The guard is a *subreaper*: a process that loses its parent becomes the guard's child. So
//! everything that a run started is, sooner or later, either in the run's group or a child of the
//! guard, and the list of the guard's children is all that must be looked at. The owner of a stray
//! is told by its cgroup, else by its session, else by the mark in its environment. One that has none of these (there are no
//! cgroups here, it made a session of its own and scrubbed its environment) may belong to any run that is older than
//! itself: it is killed when the first of those ends, for "nothing of the run lives" must be true.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use super::proc::{self, Children};
use super::protocol::RunKey;

/// A stray that cannot be attributed may be between `fork` and `exec`, where its environment cannot
/// be read; after this time it is what it seems. A guess: far above the microseconds that this
/// takes.
const DOUBT: Duration = Duration::from_millis(10);

/// A living child of the guard that leads no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stray {
    /// Its number.
    pub(super) pid: i32,
    /// Whose it is.
    pub(super) owner: Owner,
}

/// To which run a stray belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// To this one, which may have ended already.
    Run(RunKey),
    /// Perhaps to any run that started at this tick or before; looked at for long enough to be sure
    /// that more cannot be known.
    Anyone {
        /// When the stray was made, in ticks.
        start: u64,
    },
    /// Too early to tell.
    Unclear {
        /// When the stray was made, in ticks.
        start: u64,
    },
}

/// What is known about the guard's children.
#[derive(Debug)]
pub(super) struct Strays {
    guard: u64,
    children: Children,
    known: HashMap<i32, RunKey>,
    doubtful: HashMap<i32, Duration>,
}

impl Strays {
    /// Starts with nothing known; `guard` is the number in the marks of this guard's runs.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub(super) fn new(guard: u64) -> io::Result<Self> {
        let children = Children::open()?;
        Ok(Self {
            guard,
            children,
            known: HashMap::new(),
            doubtful: HashMap::new(),
        })
    }

    /// Lists the living children of the guard but for the leaders of runs. `run_of` tells which run
    /// has a session, and [`Place`] of its leader; `held` which run's cgroup a process is in.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub(super) fn survey(
        &mut self,
        now: Duration,
        run_of: impl Fn(i32) -> Option<(RunKey, Place)>,
        held: impl Fn(i32) -> Option<RunKey>,
    ) -> io::Result<Vec<Stray>> {
        let mut found = Vec::new();
        for pid in self.children.pids()? {
            let leads = matches!(run_of(pid), Some((_, Place::Here)));
            if !leads && let Some(owner) = self.owner(pid, now, &run_of, &held) {
                found.push(Stray { pid, owner });
            }
        }
        Ok(found)
    }

    /// Returns to whom a child of the guard belongs that has ended and is about to be reaped, and
    /// forgets it.
    pub(super) fn bury(
        &mut self,
        pid: i32,
        run_of: impl Fn(i32) -> Option<(RunKey, Place)>,
    ) -> Option<RunKey> {
        self.doubtful.remove(&pid);
        self.known
            .remove(&pid)
            .or_else(|| Some(run_of(proc::look(pid)?.sid)?.0))
    }

    /// `None` for one that has ended already.
    fn owner(
        &mut self,
        pid: i32,
        now: Duration,
        run_of: impl Fn(i32) -> Option<(RunKey, Place)>,
        held: impl Fn(i32) -> Option<RunKey>,
    ) -> Option<Owner> {
        let look = proc::look(pid).filter(|look| !look.is_zombie())?;
        if let Some(key) = self.known.get(&pid) {
            return Some(Owner::Run(*key));
        }
        let mark = || {
            proc::mark(pid)
                .filter(|mark| mark.guard == self.guard)
                .map(|mark| mark.key)
        };
        let session = || run_of(look.sid).map(|(key, _)| key);
        let key = held(pid).or_else(session).or_else(mark);
        if let Some(key) = key {
            self.doubtful.remove(&pid);
            self.known.insert(pid, key);
            return Some(Owner::Run(key));
        }
        let start = look.start;
        let since = *self.doubtful.entry(pid).or_insert(now);
        let sure = now >= since + DOUBT;
        Some(if sure {
            Owner::Anyone { start }
        } else {
            Owner::Unclear { start }
        })
    }
}

/// Whether the leader of a run is still a child of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is: its number is its own.
    Here,
    /// It has been reaped.
    Reaped,
}
