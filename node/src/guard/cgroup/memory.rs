//! Limits of memory: a run that stated how much it needs gets no more, where the kernel lets us see to that.
//!
//! In the unified hierarchy the limit is set on the run's own cgroup. That needs the memory controller below the guard's directory, which
//! the kernel gives only where no process sits in between: the node has to be in a subgroup of what was delegated to it (see
//! [`super::find::SUBGROUP`]). In version 1 memory has a hierarchy of its own: there a second cgroup is made for each run with a limit,
//! and its first process enters both.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::home::{lock, make_locked};
use super::{Group, Home, Kind, PREFIX, find, tree};
use crate::guard::protocol::RunKey;
use crate::guard::trees::Memory;

/// How memory is limited here.
#[derive(Debug)]
pub(in crate::guard) enum Limits {
    /// On runs' own cgroups.
    Unified,
    /// On a second cgroup each, below this one, which is locked as long as the guard lives.
    Apart(
        PathBuf,
        #[expect(dead_code, reason = "held, not read")] File,
    ),
}

/// The limit of one run.
#[derive(Debug)]
pub(in crate::guard) struct Limit {
    directory: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Limits {
    /// Finds out how memory can be limited.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub(in crate::guard) fn open(home: &Home, guard: u64) -> Result<Self, String> {
        let unified = match home.base().kind {
            Kind::V2(_) => enable(home.base()),
            Kind::V1 => Err(io::ErrorKind::Unsupported.into()),
        };
        let Err(why) = unified else {
            return Ok(Self::Unified);
        };
        let mut reasons = match home.base().kind {
            Kind::V2(_) => vec![format!("cgroup v2: {why}")],
            Kind::V1 => Vec::new(),
        };
        for place in find::memory_places() {
            match apart(&place, guard) {
                Ok(limits) => return Ok(limits),
                Err(error) => reasons.push(format!("{}: {error}", place.display())),
            }
        }
        if reasons.is_empty() {
            reasons.push("no hierarchy with the memory controller is mounted".to_owned());
        }
        Err(reasons.join("; "))
    }

    /// What the node is told.
    pub(in crate::guard) fn told(&self) -> Memory {
        match self {
            Self::Unified => Memory::Unified,
            Self::Apart(directory, _) => Memory::Apart {
                path: directory.display().to_string(),
            },
        }
    }

    /// Sets the limit of a run, whose own cgroup is there already, and has no process yet.
    ///
    /// # Errors
    /// The kernel's; there is no limit then.
    pub(in crate::guard) fn set(
        &self,
        key: RunKey,
        bytes: u64,
        group: &Group,
    ) -> io::Result<Limit> {
        match self {
            Self::Unified => {
                let directory = group.directory.clone();
                tree::tell(&directory, "memory.max", &bytes.to_string())?;
                // A machine without swap has no such file, an old kernel cannot kill as one.
                for (file, word) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
                    let _set = tree::tell(&directory, file, word);
                }
                Ok(Limit {
                    directory,
                    version: Version::V2,
                })
            }
            Self::Apart(base, _) => {
                let directory = base.join(key.to_string());
                fs::create_dir(&directory)?;
                let limit = Limit {
                    directory,
                    version: Version::V1,
                };
                let set = tree::tell(
                    &limit.directory,
                    "memory.limit_in_bytes",
                    &bytes.to_string(),
                );
                if let Err(error) = set {
                    limit.remove();
                    return Err(error);
                }
                // Without the account of swap there is no such file.
                let swap = "memory.memsw.limit_in_bytes";
                let _set = tree::tell(&limit.directory, swap, &bytes.to_string());
                Ok(limit)
            }
        }
    }
}

impl Limit {
    /// The file by which a first process enters it, if it is not in it by its run's cgroup.
    ///
    /// # Errors
    /// The kernel's.
    pub(in crate::guard) fn entrance(&self) -> io::Result<Option<OwnedFd>> {
        match self.version {
            Version::V2 => Ok(None),
            Version::V1 => {
                let procs = self.directory.join("cgroup.procs");
                let file = File::options().write(true).open(procs)?;
                Ok(Some(file.into()))
            }
        }
    }

    /// Whether the kernel has killed a process because the limit was reached.
    pub(in crate::guard) fn has_killed(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        let mut counts = text.lines().filter_map(|line| line.split_once(' '));
        counts.any(|(name, count)| name == "oom_kill" && count.trim() != "0")
    }

    /// Removes what there is besides the run's own cgroup. What is busy is left to the next guard.
    pub(in crate::guard) fn remove(&self) {
        if self.version == Version::V1 {
            let _removed = tree::remove(&self.directory);
        }
    }
}

/// Gets the controller for the runs of a guard.
fn enable(base: &Group) -> io::Result<()> {
    const CONTROL: &str = "cgroup.subtree_control";
    if let Some(above) = base.directory.parent() {
        // It may be there already.
        let _enabled = tree::tell(above, CONTROL, "+memory");
    }
    let controllers = fs::read_to_string(base.directory.join("cgroup.controllers"))?;
    if !controllers.split_whitespace().any(|word| word == "memory") {
        let why = "the memory controller is not given to this node's cgroup";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    tree::tell(&base.directory, CONTROL, "+memory")
}

/// Makes a guard's directory in the hierarchy of memory, and clears what dead guards left there.
fn apart(place: &Path, guard: u64) -> io::Result<Limits> {
    let (directory, lock) = make_locked(place, guard)?;
    if !directory.join("memory.limit_in_bytes").exists() {
        let _removed = fs::remove_dir(&directory);
        return Err(io::ErrorKind::Unsupported.into());
    }
    sweep(place);
    Ok(Limits::Apart(directory, lock))
}

fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && let Ok(Some(_lock)) = lock(&entry.path()) {
            // Its processes have been killed by their other cgroup; one that has not yet keeps it.
            let _removed = tree::remove(&entry.path());
        }
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        if let Self::Apart(directory, _) = self {
            let _removed = tree::remove(directory);
        }
    }
}
