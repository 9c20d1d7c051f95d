//! What a guard limits, and the limits of one run.

use std::io;
use std::os::fd::OwnedFd;

use super::means::{Controller, Means, Seat};
use super::{Group, Home, cpu, memory};
use crate::guard::protocol::{Bounds, Limited, RunKey};
use crate::guard::trees::Limiting;

/// What a guard limits; or why it does not, for each.
#[derive(Debug)]
pub(in crate::guard) struct Limits {
    memory: Result<Means, String>,
    cpus: Result<Means, String>,
}

/// The limits of one run: where each is set that is in force.
#[derive(Debug, Default)]
pub(in crate::guard) struct Held {
    memory: Option<Seat>,
    cpus: Option<Seat>,
    limited: Limited,
}

impl Limits {
    /// Finds out what can be limited.
    pub(in crate::guard) fn open(home: &Home, guard: u64) -> Self {
        let cpus = Means::open(Controller::Cpu, home, guard);
        if let Ok(Means::Apart(apart)) = &cpus {
            cpu::weigh_together(apart);
        }
        Self {
            memory: Means::open(Controller::Memory, home, guard),
            cpus,
        }
    }

    /// Those of a guard that limits nothing.
    pub(in crate::guard) fn none(why: &str) -> Self {
        Self {
            memory: Err(why.to_owned()),
            cpus: Err(why.to_owned()),
        }
    }

    /// What the node is told: of memory, and of processors.
    pub(in crate::guard) fn told(&self) -> (Limiting, Limiting) {
        let told = |means: &Result<Means, String>| match means {
            Ok(means) => means.told(),
            Err(why) => Limiting::None { why: why.clone() },
        };
        (told(&self.memory), told(&self.cpus))
    }

    /// Sets the limits of a run, whose own cgroup is there already and has no process yet. Returns them, the doors to cgroups that
    /// its first process has to enter besides, and what could not be limited.
    pub(in crate::guard) fn hold(
        &self,
        key: RunKey,
        bounds: &Bounds,
        group: &Group,
    ) -> (Held, Vec<OwnedFd>, Vec<String>) {
        let (mut held, mut doors, mut missed) = (Held::default(), Vec::new(), Vec::new());
        if let (Some(bytes), Ok(means)) = (bounds.memory, &self.memory) {
            match seated(means, key, group, |seat| memory::limit(seat, bytes)) {
                Ok((seat, door)) => {
                    held.memory = Some(seat);
                    held.limited.memory = true;
                    doors.extend(door);
                }
                Err(error) => missed.push(format!("its memory was not limited: {error}")),
            }
        }
        let weighed = |means: &&Means| match means {
            Means::Unified => true,
            Means::Apart(_) => bounds.cpus.is_some(),
        };
        if let Some(means) = self.cpus.as_ref().ok().filter(weighed) {
            match seated(means, key, group, |seat| cpu::limit(seat, bounds)) {
                Ok((seat, door)) => {
                    held.cpus = Some(seat);
                    held.limited.cpus = bounds.cpus.is_some();
                    doors.extend(door);
                }
                Err(error) => missed.push(format!("its processors were not limited: {error}")),
            }
        }
        (held, doors, missed)
    }
}

/// Makes a seat, sets a limit on it, and opens the door to it; or leaves nothing.
fn seated(
    means: &Means,
    key: RunKey,
    group: &Group,
    limit: impl FnOnce(&Seat) -> io::Result<()>,
) -> io::Result<(Seat, Option<OwnedFd>)> {
    let seat = means.seat(key, group)?;
    let door = limit(&seat).and_then(|()| seat.entrance());
    match door {
        Ok(door) => Ok((seat, door)),
        Err(error) => {
            seat.remove();
            Err(error)
        }
    }
}

impl Held {
    /// Which limits are in force.
    pub(in crate::guard) fn limited(&self) -> Limited {
        self.limited
    }

    /// Whether the kernel has killed a process for want of memory.
    pub(in crate::guard) fn has_run_out(&self) -> bool {
        self.memory.as_ref().is_some_and(memory::has_killed)
    }

    /// Removes what there is besides the run's own cgroup.
    pub(in crate::guard) fn remove(&self) {
        for seat in [&self.memory, &self.cpus].into_iter().flatten() {
            seat.remove();
        }
    }
}
