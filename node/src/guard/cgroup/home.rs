//! A guard's own directory of cgroups: how it is made, tried, held, and given up.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Group, Kind, NOTE, PREFIX, find, is_a_guards, run_of};
use crate::clock::boottime;
use crate::guard::protocol::RunKey;
use crate::guard::sys::{Entrance, Fault, Plan, Shot, Step};
use crate::guard::trees::{Cgroups, Way};
use crate::lock::{Lock, try_lock};

/// How often a fresh directory may be swept away by another guard before it is locked.
const TRIES: u32 = 8;

/// How long a guard's start may take to clear what others left.
const SWEEP: Duration = Duration::from_millis(500);

/// Between two looks at what was killed.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Most removals that are put off, each of a cgroup whose run is over.
const MOST_LATE: usize = 1_024;

/// The directory in which a living guard makes its runs' cgroups.
#[derive(Debug)]
pub(in crate::guard) struct Home {
    base: Group,
    name: String,
    entry: Entry,
    /// Cgroups of children that never came to be, and of which the kernel had not seen the end yet.
    late: Vec<Group>,
    /// Locked, as a sign of life.
    _lock: File,
}

/// By which way a child gets into its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// It is born there: nothing is moved, which would wait for every processor of a machine with an older kernel.
    Birth,
    /// It goes there as the first thing that it does.
    Move,
}

impl Home {
    /// Makes the directory of a guard where it can be made, and notes it beside the records; clears what dead guards left there.
    ///
    /// # Errors
    /// Why there is none, in words, for each place that was tried; the kernel's, if it cannot be noted.
    pub(in crate::guard) fn open(
        shot: &mut Shot,
        wish: Cgroups,
        guard: u64,
        records: &Path,
    ) -> io::Result<Result<Self, String>> {
        let (mountinfo, own) = ("/proc/self/mountinfo", "/proc/self/cgroup");
        let (Ok(mountinfo), Ok(own)) = (fs::read(mountinfo), fs::read(own)) else {
            return Ok(Err("this kernel has no cgroups".to_owned()));
        };
        let mut why = Vec::new();
        for place in find::places(&mountinfo, &own, wish) {
            match Self::at(&place, shot, guard) {
                Ok(home) => {
                    home.note(records)?;
                    sweep(&place);
                    return Ok(Ok(home));
                }
                Err(error) => why.push(format!("{}: {error}", place.display())),
            }
        }
        if why.is_empty() {
            why.push(
                "neither cgroup v2 nor the freezer of v1 is mounted where this node is".into(),
            );
        }
        Ok(Err(why.join("; ")))
    }

    fn at(place: &Path, shot: &mut Shot, guard: u64) -> io::Result<Self> {
        let (directory, lock) = make_locked(place, guard)?;
        let name = directory.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let tried = Group::at(directory.clone()).and_then(|base| {
            let entry = entry(&base, shot)?;
            Ok((base, entry))
        });
        match tried {
            Ok((base, entry)) => Ok(Self {
                base,
                name,
                entry,
                late: Vec::new(),
                _lock: lock,
            }),
            Err(error) => {
                // The next sweep takes it otherwise.
                let _removed = super::tree::remove(&directory);
                Err(error)
            }
        }
    }

    fn note(&self, records: &Path) -> io::Result<()> {
        let note = records.with_file_name(NOTE);
        let fresh = note.with_extension("new");
        fs::write(&fresh, self.base.directory.as_os_str().as_bytes())?;
        fs::rename(&fresh, &note)
    }

    /// What the node is told.
    pub(in crate::guard) fn way(&self) -> Way {
        let path = self.base.directory.display().to_string();
        match self.base.kind {
            Kind::V1 => Way::V1 { path },
            Kind::V2(_) => Way::V2 { path },
        }
    }

    /// All of the guard's cgroups.
    pub(in crate::guard) fn base(&self) -> &Group {
        &self.base
    }

    /// Makes a run's cgroup, and a way into it for one child.
    ///
    /// # Errors
    /// The kernel's; there is none then.
    pub(in crate::guard) fn make(&mut self, key: RunKey) -> io::Result<(Group, Entrance)> {
        self.late.retain(|group| !group.is_gone());
        let group = self.base.of_run(key);
        let entrance = make(&group, self.entry)?;
        Ok((group, entrance))
    }

    /// Removes the cgroup of a child that never executed.
    pub(in crate::guard) fn unmake(&mut self, group: Group) {
        if !group.is_gone() && self.late.len() < MOST_LATE {
            self.late.push(group);
        }
    }

    /// Which of this guard's runs a process belongs to; `None` if it is in no cgroup of them.
    pub(in crate::guard) fn run_of(&self, pid: i32) -> Option<RunKey> {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        run_of(&self.name, &cgroup)
    }

    /// Removes everything, for a guard whose runs are over. What cannot be removed is left to the next guard.
    pub(in crate::guard) fn close(self, records: &Path) -> io::Result<()> {
        if self.base.is_gone() {
            super::forget(records)?;
        }
        Ok(())
    }
}

fn make(group: &Group, entry: Entry) -> io::Result<Entrance> {
    let directory = &group.directory;
    match fs::create_dir(directory) {
        // A run of this name is over, but could not be removed then.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && group.is_gone() => {
            fs::create_dir(directory)?;
        }
        other => other?,
    }
    let opened = match entry {
        Entry::Birth => File::open(directory).map(|file| Entrance::Born(file.into())),
        Entry::Move => {
            let file = File::options()
                .write(true)
                .open(directory.join("cgroup.procs"));
            file.map(|file| Entrance::Moves(file.into()))
        }
    };
    if opened.is_err() {
        let _removed = fs::remove_dir(directory);
    }
    opened
}

/// Makes a directory that no other guard takes for a dead one's.
pub(super) fn make_locked(place: &Path, guard: u64) -> io::Result<(PathBuf, File)> {
    for attempt in 0..TRIES {
        let directory = place.join(format!("{PREFIX}{guard:016x}.{attempt}"));
        fs::create_dir(&directory)?;
        if let Some(lock) = lock(&directory)? {
            return Ok((directory, lock));
        }
    }
    Err(io::Error::other(
        "other guards sweep away what is made there",
    ))
}

/// Locks a guard's directory; `None` if a living guard has it, or it is gone.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let file = match File::open(directory) {
        Err(error) if gone(&error) => return Ok(None),
        other => other?,
    };
    if try_lock(&file)? == Lock::Theirs {
        return Ok(None);
    }
    match fs::metadata(directory) {
        Ok(found) => Ok((found.ino() == file.metadata()?.ino()).then_some(file)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds out how children get into cgroups here, by one that does nothing else.
fn entry(base: &Group, shot: &mut Shot) -> io::Result<Entry> {
    let tries: &[Entry] = match base.kind {
        Kind::V1 => &[Entry::Move],
        Kind::V2(_) => &[Entry::Birth, Entry::Move],
    };
    let probe = base.below("probe");
    let mut last = io::ErrorKind::Unsupported.into();
    for entry in tries {
        let entrance = make(&probe, *entry)?;
        let ended = shot.fire(&Plan::nothing(), Some(&entrance), &[]);
        wait_gone(&probe, boottime() + SWEEP);
        match ended {
            // It came as far as it was meant to.
            Err(Fault {
                step: Step::Exec, ..
            }) => return Ok(*entry),
            Err(Fault { errno, .. }) => last = io::Error::from_raw_os_error(errno),
            Ok(_) => return Err(io::Error::other("nothing was executed")),
        }
    }
    Err(last)
}

/// Ends what dead guards left at a place: guards that nobody started again, and whose records nobody reads.
fn sweep(place: &Path) {
    let until = boottime() + SWEEP;
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    let guards = entries
        .flatten()
        .filter(|entry| is_a_guards(&entry.file_name()));
    for entry in guards {
        // Of another user, perhaps: nothing of ours.
        if let Ok(Some(_lock)) = lock(&entry.path())
            && let Ok(left) = Group::at(entry.path())
        {
            wait_gone(&left, until);
        }
    }
}

fn wait_gone(group: &Group, until: Duration) {
    while !group.is_gone() {
        group.kill();
        if boottime() >= until {
            return;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_directory_is_locked_by_one_and_only_while_it_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let (directory, ours) = make_locked(temp.path(), 7).unwrap();
        assert!(is_a_guards(directory.file_name().unwrap()));
        assert!(lock(&directory).unwrap().is_none(), "a living guard has it");
        drop(ours);
        assert!(lock(&directory).unwrap().is_some());
        fs::remove_dir(&directory).unwrap();
        assert!(lock(&directory).unwrap().is_none(), "it is gone");
    }
}
