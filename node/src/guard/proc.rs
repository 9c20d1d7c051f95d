//! What `/proc` tells about processes: descent, session, start, and the mark of the run they belong
//! to.
//!
//! Each program that a guard starts finds [`MARK_VAR`] in its environment, and its descendants
//! inherit it. A process that left its session and its parents (a daemon) is still known by it.
//!
//! Units: `start` is in ticks since boot, see [`ticks`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::RunKey;
use super::sys;

/// Name of the variable that marks a run's processes.
pub(crate) const MARK_VAR: &str = "AQUE_RUN_MARK";

/// Largest environment that is searched for a mark.
const ENVIRON_BYTES: u64 = 4 << 20;

/// A mark: which guard, and which of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The guard's own number, drawn for each guard.
    pub(crate) guard: u64,
    /// The run.
    pub(crate) key: RunKey,
}

impl Mark {
    /// The mark as the value of [`MARK_VAR`].
    pub(crate) fn text(self) -> String {
        format!("{:016x}-{}", self.guard, self.key)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (guard, key) = std::str::from_utf8(text).ok()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            guard: number(guard)?,
            key: RunKey(number(key)?),
        })
    }
}

/// A process, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proc {
    /// Its number.
    pub(crate) pid: i32,
    /// Its state, `Z` for a zombie.
    pub(crate) state: u8,
    /// Its parent.
    pub(crate) ppid: i32,
    /// Its session.
    pub(crate) sid: i32,
    /// When it was made.
    pub(crate) start: u64,
}

impl Proc {
    /// Whether it has ended and only waits to be reaped.
    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Whether somebody stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }
}

/// Converts an instant since boot to ticks, rounded down as `/proc` does.
pub(crate) fn ticks(at: Duration) -> u64 {
    let per_second = sys::ticks_per_second();
    at.as_secs() * per_second + u64::from(at.subsec_nanos()) * per_second / 1_000_000_000
}

/// Looks at one process; `None` if there is none of this number.
pub(crate) fn look(pid: i32) -> Option<Proc> {
    parse_stat(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields are separated by spaces, but the second is a name in parentheses that may hold anything.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Proc> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    Some(Proc {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        ppid: fields.get(1)?.parse().ok()?,
        sid: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// Looks at all processes of the machine that this process may see.
///
/// # Errors
/// When `/proc` is not there.
pub(crate) fn all() -> io::Result<Vec<Proc>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        found.extend(pid.and_then(look));
    }
    Ok(found)
}

/// Returns the mark of a process; `None` if it has none or may not be read.
pub(crate) fn mark(pid: i32) -> Option<Mark> {
    let mut environ = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRON_BYTES).read_to_end(&mut environ).ok()?;
    let value = |var: &[u8]| {
        let text = var.strip_prefix(MARK_VAR.as_bytes())?.strip_prefix(b"=")?;
        Mark::parse(text)
    };
    environ.split(|byte| *byte == 0).find_map(value)
}

/// The children of this process, whether born to it or adopted by it.
#[derive(Debug)]
pub(crate) struct Children {
    /// The kernel's list; `None` for a kernel without it.
    list: Option<File>,
    buffer: Vec<u8>,
}

impl Children {
    /// Opens the list.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub(crate) fn open() -> io::Result<Self> {
        let me = std::process::id();
        let list = match File::open(format!("/proc/{me}/task/{me}/children")) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                all()?;
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            list,
            buffer: Vec::new(),
        })
    }

    /// Lists them. Exact as long as only the main thread makes and reaps children.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub(crate) fn pids(&mut self) -> io::Result<Vec<i32>> {
        let Some(list) = &self.list else {
            let me = std::process::id().cast_signed();
            return Ok(all()?
                .iter()
                .filter(|proc| proc.ppid == me)
                .map(|proc| proc.pid)
                .collect());
        };
        self.buffer.clear();
        let mut chunk = [0; 4096];
        loop {
            let bytes = list.read_at(&mut chunk, self.buffer.len() as u64)?;
            self.buffer.extend_from_slice(&chunk[..bytes]);
            // The kernel fills what it is given as long as there is more.
            if bytes < chunk.len() / 2 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&self.buffer);
        Ok(text
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect())
    }
}

/// Returns the number that tells this boot of the machine from all others.
///
/// # Errors
/// When `/proc` is not there.
pub(crate) fn boot_id() -> io::Result<[u8; 36]> {
    let text = fs::read("/proc/sys/kernel/random/boot_id")?;
    let id = text.first_chunk::<36>();
    id.copied()
        .ok_or_else(|| io::Error::other("the kernel's boot id is too short"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn stat_of_a_strange_name() {
        let stat = b"42 (a) b (c)) S 7 41 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2";
        let proc = parse_stat(42, stat).unwrap();
        assert_eq!(
            (proc.ppid, proc.sid, proc.start, proc.state),
            (7, 40, 12345, b'S')
        );
        assert_eq!(parse_stat(42, b"42 (cut"), None);
        assert_eq!(parse_stat(42, b""), None);
    }

    #[test]
    fn this_process_is_found() {
        let me = std::process::id().cast_signed();
        let proc = look(me).unwrap();
        assert!(!proc.is_zombie() && proc.start > 0);
        assert!(proc.start <= ticks(crate::clock::boottime()));
        assert!(all().unwrap().iter().any(|other| other.pid == me));
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }

    #[test]
    fn mark_round_trip() {
        let mark = Mark {
            guard: 0xfeed,
            key: RunKey(77),
        };
        assert_eq!(Mark::parse(mark.text().as_bytes()), Some(mark));
        assert_eq!(Mark::parse(b"x-1"), None);
    }
}
