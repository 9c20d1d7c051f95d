//! Options of `submit` and `xargs` that decide when it is a task's turn: its queue, how long it takes, and what it reads and writes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crdt::settings::Settings;
use crdt::task::Arg;

use super::parse;
use crate::api::wire::Turn;

/// The most mounts of one task.
const MOST_MOUNTS: usize = 8;

/// What decides whose turn it is, beside the priority.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Order")]
pub(crate) struct TurnOptions {
    /// The named queue that it counts in (see 'aque queue')
    #[arg(long, value_name = "NAME", value_parser = queue)]
    queue: Option<String>,
    /// How long it will take, as far as you know: longer ones go first
    #[arg(long, value_name = "DUR", value_parser = parse::duration)]
    duration: Option<Duration>,
    /// It needs this path, and reads or writes much there: it runs only where that can be read, and tasks that share a mount are spread
    /// [default: spread by where its arguments lie, but for /]
    #[arg(long, value_name = "PATH")]
    io_hint: Vec<PathBuf>,
    /// Take no hints from its arguments
    #[arg(long)]
    no_hints: bool,
}

fn queue(text: &str) -> Result<String, String> {
    if Settings::is_queue_name(text) {
        return Ok(text.to_owned());
    }
    Err("a queue is called by 1 to 64 letters, digits, '.', '_' and '-'".to_owned())
}

impl TurnOptions {
    /// Returns the paths that its host must be able to read.
    pub(crate) fn declared(&self) -> Vec<Arg> {
        self.io_hint.iter().map(|path| declared(path)).collect()
    }

    /// Returns what is stated; `argv` may name files.
    pub(crate) fn stated(&self, argv: &[Arg]) -> Turn {
        let mounts = Mounts::read();
        let hints = self.io_hint.iter().map(PathBuf::as_path);
        let mut io: BTreeSet<String> = hints.map(|path| mounts.of(path)).collect();
        if !self.no_hints && self.io_hint.is_empty() {
            let paths = argv
                .iter()
                .map(|arg| Path::new(std::ffi::OsStr::from_bytes(&arg.0)));
            let named = paths.filter(|path| path.is_absolute() || path.components().count() > 1);
            let there = named.filter(|path| path.exists());
            io.extend(
                there
                    .map(|path| mounts.of(path))
                    .filter(|mount| mount != "/"),
            );
        }
        Turn {
            queue: self.queue.clone(),
            duration: self.duration,
            io: io.into_iter().take(MOST_MOUNTS).collect(),
        }
    }
}

/// A path as it is named, from the root on: not resolved, for on another host a link may lead elsewhere.
fn declared(path: &Path) -> Arg {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Arg(whole.into_os_string().into_vec())
}

/// What is mounted on this machine, by path.
struct Mounts(Vec<PathBuf>);

impl Mounts {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let field = |line: &str| {
            line.split(' ')
                .nth(1)
                .map(|path| path.replace("\\040", " "))
        };
        Self(text.lines().filter_map(field).map(PathBuf::from).collect())
    }

    /// The mount on which a path lies; the path itself if there is no such file here.
    fn of(&self, path: &Path) -> String {
        let Ok(whole) = fs::canonicalize(path) else {
            return path.to_string_lossy().into_owned();
        };
        let holds = self.0.iter().filter(|mount| whole.starts_with(mount));
        let nearest = holds.max_by_key(|mount| mount.as_os_str().len());
        nearest.map_or_else(
            || "/".to_owned(),
            |mount| mount.to_string_lossy().into_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts =
            Mounts::parse("disk / ext4 rw 0 0\nproc /proc proc rw 0 0\nx /no\\040where x\n");
        assert_eq!(mounts.0[2], Path::new("/no where"));
        assert_eq!(mounts.of(Path::new("/proc/self/mounts")), "/proc");
        assert_eq!(mounts.of(Path::new("/")), "/");
        assert_eq!(mounts.of(Path::new("/no/such/file")), "/no/such/file");
    }

    #[test]
    fn arguments_give_hints_unless_told_not_to() {
        let argv = ["cat", "/proc/version", "nothing"].map(Arg::from);
        let options = TurnOptions::default();
        assert_eq!(options.stated(&argv).io, ["/proc"]);
        let none = TurnOptions {
            no_hints: true,
            ..TurnOptions::default()
        };
        assert!(none.stated(&argv).io.is_empty());
        let own = TurnOptions {
            io_hint: vec!["/no/such/share".into()],
            ..TurnOptions::default()
        };
        assert_eq!(own.stated(&argv).io, ["/no/such/share"]);
        assert_eq!(own.declared(), ["/no/such/share".into()]);
        assert!(options.declared().is_empty(), "a guess bars no host");
    }
}
