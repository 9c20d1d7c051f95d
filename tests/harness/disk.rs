//! Disks as they should not be. One that is soon full: a small tmpfs, mounted where a node keeps its data, with a file that takes what
//! is left of it. And one that does not answer.
//!
//! Needs root and `mount`. The source of each mount names the process that made it, so that those of a process that was killed are
//! recognised and removed by the next.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use crate::lan::{is_root, skip};

/// The first part of every mount's source.
const PREFIX: &str = "aqueit";
/// Room for all that a node writes in a storm, many times.
const SIZE: &str = "size=64m,mode=0700";

/// A mounted disk; it is unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk over a directory, which is made; `None`, with the reason on standard error, where that is not possible.
    ///
    /// # Panics
    /// If it is not possible although this is root in continuous integration (`CI=true`).
    #[must_use]
    pub fn mount(at: &Path) -> Option<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let source = format!("{PREFIX}-{}", std::process::id());
        let mounted = if is_root() {
            fs::create_dir_all(at)
                .map_err(|error| error.to_string())
                .and_then(|()| {
                    let at = at.display().to_string();
                    run(&["mount", "-t", "tmpfs", "-o", SIZE, &source, &at])
                })
        } else {
            Err("it needs root".to_owned())
        };
        match mounted {
            Ok(()) => Some(Self { at: at.to_owned() }),
            Err(why) => {
                skip("a disk of its own", &why);
                None
            }
        }
    }

    /// Takes all the room that is left.
    ///
    /// # Panics
    /// If writing ends for another reason than a full disk.
    pub fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file can be made");
        for size in [1 << 20, 4 << 10, 1] {
            let block = vec![7; size];
            let error = loop {
                if let Err(error) = file.write_all(&block) {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        }
    }

    /// Gives it back.
    ///
    /// # Panics
    /// If the disk was not filled.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for whoever still has a file open; what is left is removed by the next process.
        let _unmounted = unmount(&self.at.display().to_string());
    }
}

/// A mount that does not answer: a file system in user space without anybody behind it. Who looks at it waits until it is given up.
#[derive(Debug)]
pub struct DeadMount {
    at: PathBuf,
    holder: Child,
}

impl DeadMount {
    /// Mounts it over a directory, which is made; `None`, with the reason on standard error, where that is not possible.
    ///
    /// # Panics
    /// If it is not possible although this is root in continuous integration (`CI=true`).
    #[must_use]
    pub fn mount(at: &Path) -> Option<Self> {
        const SCRIPT: &str = "exec 3<>/dev/fuse && mount -i -t fuse \
            -o fd=3,rootmode=40000,user_id=0,group_id=0 \"$0\" \"$1\" && echo up && exec sleep 100000";
        let mounted = if is_root() && Path::new("/dev/fuse").exists() {
            fs::create_dir_all(at)
                .map_err(|error| error.to_string())
                .and_then(|()| held(SCRIPT, &format!("{PREFIX}-{}", std::process::id()), at))
        } else {
            Err("it needs root and /dev/fuse".to_owned())
        };
        match mounted {
            Ok(holder) => Some(Self {
                at: at.to_owned(),
                holder,
            }),
            Err(why) => {
                skip("a mount that does not answer", &why);
                None
            }
        }
    }
}

/// Runs a script that mounts something, says so, and holds it.
fn held(script: &str, source: &str, at: &Path) -> Result<Child, String> {
    let failed = |error: io::Error| error.to_string();
    let mut holder = Command::new("sh")
        .args(["-c", script, source])
        .arg(at)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let said = holder.stdout.take().ok_or("it has an output")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).map_err(failed)?;
    if line == "up\n" {
        return Ok(holder);
    }
    let status = holder.wait().map_err(failed)?;
    Err(format!("mount ended with {status}"))
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        // First: what waits for an answer goes on with an error. It may have been killed before.
        let _killed = self.holder.kill().and_then(|()| self.holder.wait());
        let _unmounted = unmount(&self.at.display().to_string());
    }
}

/// Unmounts the disks of test processes that are gone.
fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let maker = fields.next().and_then(|source| {
            let number = source.strip_prefix(PREFIX)?.strip_prefix('-')?;
            number.parse::<u32>().ok()
        });
        if let (Some(maker), Some(at)) = (maker, fields.next())
            && !Path::new(&format!("/proc/{maker}")).exists()
        {
            // Another test process may have been faster.
            let _unmounted = unmount(at);
        }
    }
}

fn unmount(at: &str) -> Result<(), String> {
    run(&["umount", "--lazy", at])
}

fn run(words: &[&str]) -> Result<(), String> {
    let done = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}
