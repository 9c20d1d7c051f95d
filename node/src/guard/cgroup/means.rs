//! Where a limit of a run is set: on its own cgroup, or on a second one.
//!
//! In the unified hierarchy a run's own cgroup takes its limits. That needs the controller below the guard's directory, which the
//! kernel gives only where no process sits in between: the node has to be in a subgroup of what was delegated to it (see
//! [`super::find::SUBGROUP`]). In version 1 memory and processors have hierarchies of their own: there a second cgroup is made for
//! each run with a limit, and its first process enters both.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::find::{self, Hierarchy};
use super::home::{lock, make_locked};
use super::{Group, Home, Kind, PREFIX, tree};
use crate::guard::protocol::RunKey;
use crate::guard::trees::Limiting;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    /// Memory.
    Memory,
    /// Processors.
    Cpu,
}

impl Controller {
    /// As the unified hierarchy calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }

    fn hierarchy(self) -> Hierarchy {
        match self {
            Self::Memory => Hierarchy::Memory,
            Self::Cpu => Hierarchy::Cpu,
        }
    }

    /// A file that each cgroup of version 1 has where this can be limited.
    fn sign(self) -> &'static str {
        match self {
            Self::Memory => "memory.limit_in_bytes",
            Self::Cpu => "cpu.cfs_quota_us",
        }
    }
}

/// How something is limited here.
#[derive(Debug)]
pub(super) enum Means {
    /// On runs' own cgroups.
    Unified,
    /// On a second cgroup each.
    Apart(Apart),
}

/// A guard's directory in a hierarchy of version 1, locked as long as the guard lives.
#[derive(Debug)]
pub(super) struct Apart {
    directory: PathBuf,
    #[expect(dead_code, reason = "held, not read")]
    lock: File,
}

/// The cgroup on which a limit of one run is set.
#[derive(Debug)]
pub(super) struct Seat {
    directory: PathBuf,
    version: Version,
}

/// Of the hierarchy in which a seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Means {
    /// Finds out how something can be limited.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub(super) fn open(controller: Controller, home: &Home, guard: u64) -> Result<Self, String> {
        let unified = match home.base().kind {
            Kind::V2(_) => enable(home.base(), controller.name()),
            Kind::V1 => Err(io::ErrorKind::Unsupported.into()),
        };
        let Err(why) = unified else {
            return Ok(Self::Unified);
        };
        let mut reasons = match home.base().kind {
            Kind::V2(_) => vec![format!("cgroup v2: {why}")],
            Kind::V1 => Vec::new(),
        };
        for place in find::own_places(controller.hierarchy()) {
            match Apart::open(controller, &place, guard) {
                Ok(apart) => return Ok(Self::Apart(apart)),
                Err(error) => reasons.push(format!("{}: {error}", place.display())),
            }
        }
        if reasons.is_empty() {
            let name = controller.name();
            reasons.push(format!(
                "no hierarchy with the {name} controller is mounted"
            ));
        }
        Err(reasons.join("; "))
    }

    /// What the node is told.
    pub(super) fn told(&self) -> Limiting {
        match self {
            Self::Unified => Limiting::Unified,
            Self::Apart(Apart { directory, .. }) => Limiting::Apart {
                path: directory.display().to_string(),
            },
        }
    }

    /// Returns where the limit of a run is set, whose own cgroup is there already, and has no process yet.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn seat(&self, key: RunKey, group: &Group) -> io::Result<Seat> {
        match self {
            Self::Unified => Ok(Seat {
                directory: group.directory.clone(),
                version: Version::V2,
            }),
            Self::Apart(apart) => {
                let directory = apart.directory.join(key.to_string());
                fs::create_dir(&directory)?;
                Ok(Seat {
                    directory,
                    version: Version::V1,
                })
            }
        }
    }
}

impl Seat {
    /// Of its hierarchy.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Writes to one of its files.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn tell(&self, file: &str, word: &str) -> io::Result<()> {
        tree::tell(&self.directory, file, word)
    }

    /// The text of one of its files; empty if that cannot be read.
    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap_or_default()
    }

    /// The file by which a first process enters it, if it is not in it by its run's cgroup.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn entrance(&self) -> io::Result<Option<OwnedFd>> {
        match self.version {
            Version::V2 => Ok(None),
            Version::V1 => {
                let procs = self.directory.join("cgroup.procs");
                let file = File::options().write(true).open(procs)?;
                Ok(Some(file.into()))
            }
        }
    }

    /// Removes what there is besides the run's own cgroup. What is busy is left to the next guard.
    pub(super) fn remove(&self) {
        if self.version == Version::V1 {
            let _removed = tree::remove(&self.directory);
        }
    }
}

/// Gets a controller for the runs of a guard.
fn enable(base: &Group, name: &str) -> io::Result<()> {
    const CONTROL: &str = "cgroup.subtree_control";
    let word = format!("+{name}");
    if let Some(above) = base.directory.parent() {
        // It may be there already.
        let _enabled = tree::tell(above, CONTROL, &word);
    }
    let controllers = fs::read_to_string(base.directory.join("cgroup.controllers"))?;
    if !controllers.split_whitespace().any(|found| found == name) {
        let why = format!("the {name} controller is not given to this node's cgroup");
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    tree::tell(&base.directory, CONTROL, &word)
}

impl Apart {
    /// Makes a guard's directory, and clears what dead guards left there.
    fn open(controller: Controller, place: &Path, guard: u64) -> io::Result<Self> {
        let (directory, lock) = make_locked(place, guard)?;
        if !directory.join(controller.sign()).exists() {
            let _removed = fs::remove_dir(&directory);
            return Err(io::ErrorKind::Unsupported.into());
        }
        sweep(place);
        Ok(Self { directory, lock })
    }

    /// Writes to a file of the directory of all runs.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn tell(&self, file: &str, word: &str) -> io::Result<()> {
        tree::tell(&self.directory, file, word)
    }
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

impl Drop for Apart {
    fn drop(&mut self) {
        let _removed = tree::remove(&self.directory);
    }
}
