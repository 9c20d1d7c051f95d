//! Opening a log: read what is intact, cut what was never finished, set aside what was damaged.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::compaction::{Keep, rewrite};
use super::file::{LogFile, sync_dir_of};
use super::format::{BODY, Count, FirstBlock, Header, Stop, Tagger, intact_behind, scan};
use super::log::{LogError, file_path, previous_end};

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that were handed out.
    pub records: u64,
    /// Files that were read.
    pub files: usize,
    /// Whether the last file ended in something that was never finished. This is normal after a
    /// crash.
    pub tail: Tail,
    /// What had been durable and cannot be read any more. The node's promises (votes above all) may
    /// be among it: it must not go on as if nothing had happened.
    pub damage: Option<Damage>,
}

/// How the last file ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// At its end.
    #[default]
    Clean,
    /// In the middle of a group that was never reported as durable; it was cut off.
    Cut,
}

/// Damage to what had been durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first file that was hurt.
    pub file: PathBuf,
    /// Offset of the first byte that cannot be read.
    pub offset: u64,
    /// Intact records behind that place, in this file and the later ones. They were not handed out.
    pub later_records: u64,
    /// Where the files were put aside, unchanged.
    pub aside: Vec<PathBuf>,
}

/// The file in which the log goes on.
#[derive(Debug)]
pub(super) enum Last {
    /// One that was there.
    Open {
        /// Its number.
        number: u64,
        /// It.
        file: LogFile,
    },
    /// There is none: it is to be made.
    Missing {
        /// Its number.
        number: u64,
        /// For its header.
        previous_end: u64,
    },
}

/// A file of the log, read.
struct ReadFile {
    number: u64,
    path: PathBuf,
    bytes: Vec<u8>,
    first: FirstBlock,
}

impl ReadFile {
    fn read(number: u64, path: PathBuf) -> io::Result<Self> {
        let bytes = fs::read(&path)?;
        let first = Header::decode(&bytes);
        let first = match first {
            FirstBlock::Header(header) if header.number != number => FirstBlock::Damaged,
            other => other,
        };
        Ok(Self {
            number,
            path,
            bytes,
            first,
        })
    }
}

/// Where reading stopped in one file.
struct Reached {
    header: Header,
    end: usize,
    stop: Stop,
}

/// Reads the log in `dir`; fills `sealed`.
///
/// # Errors
/// The kernel's.
pub(super) fn recover(
    dir: &Path,
    mut visit: impl FnMut(&[u8]),
    sealed: &mut BTreeMap<u64, usize>,
) -> Result<(Recovery, Last), LogError> {
    let numbers = list(dir)?;
    let mut recovery = Recovery::default();
    let mut before: Option<(ReadFile, Reached)> = None;
    for (at, number) in numbers.iter().copied().enumerate() {
        let file = ReadFile::read(number, file_path(dir, number))?;
        let header = match file.first {
            FirstBlock::Header(header) => Some(header),
            FirstBlock::Unused if at + 1 == numbers.len() => {
                fs::remove_file(&file.path)?;
                break;
            }
            FirstBlock::Unused | FirstBlock::Damaged => None,
        };
        // The file before can only be judged now: this one knows where it ended.
        if let Some((last, reached)) = before.take() {
            if last.number + 1 != number || is_hurt(&last, &reached, header.as_ref()) {
                return set_aside(
                    dir,
                    &numbers[at - 1..],
                    last,
                    Some(reached),
                    recovery,
                    sealed,
                );
            }
            sealed.insert(last.number, reached.end);
        }
        let Some(header) = header else {
            return set_aside(dir, &numbers[at..], file, None, recovery, sealed);
        };
        let next = numbers.get(at + 1).and_then(|next| peek(dir, *next));
        let limit = known_end(&header, next.as_ref());
        let (end, stop) = scan(&file.bytes, &Tagger::new(header.id), limit, |payload| {
            recovery.records += 1;
            visit(payload);
        });
        recovery.files += 1;
        before = Some((file, Reached { header, end, stop }));
    }
    match before {
        None => Ok((
            recovery,
            Last::Missing {
                number: 1,
                previous_end: previous_end(None),
            },
        )),
        Some((file, reached)) => finish(dir, file, reached, recovery, sealed),
    }
}

/// Judges the last file that is in use.
fn finish(
    dir: &Path,
    file: ReadFile,
    reached: Reached,
    mut recovery: Recovery,
    sealed: &mut BTreeMap<u64, usize>,
) -> Result<(Recovery, Last), LogError> {
    if is_hurt(&file, &reached, None) {
        let number = file.number;
        return set_aside(dir, &[number], file, Some(reached), recovery, sealed);
    }
    let Reached { header, end, stop } = reached;
    if stop == Stop::Unreadable {
        recovery.tail = Tail::Cut;
    }
    if header.own_end != 0 {
        // Written as a whole by compaction or repair: it does not grow any more.
        sealed.insert(file.number, end);
        let previous_end = previous_end(Some(end));
        return Ok((
            recovery,
            Last::Missing {
                number: file.number + 1,
                previous_end,
            },
        ));
    }
    let log = LogFile::reopen(&file.path, &file.bytes, header, end)?;
    Ok((
        recovery,
        Last::Open {
            number: file.number,
            file: log,
        },
    ))
}

/// Where a file is known to end: as it says itself, or as the next one remembers.
fn known_end(header: &Header, next: Option<&Header>) -> Option<usize> {
    let end = match header.own_end {
        0 => next?.previous_end,
        own => own,
    };
    Some(usize::try_from(end).unwrap_or(usize::MAX))
}

/// Whether something that had been durable could not be read.
fn is_hurt(file: &ReadFile, reached: &Reached, next: Option<&Header>) -> bool {
    let Reached { header, end, .. } = reached;
    match known_end(header, next) {
        Some(known) => *end < known,
        None => {
            let tagger = Tagger::new(header.id);
            intact_behind(&file.bytes, &tagger, *end, Count::LaterGroups) > 0
        }
    }
}

/// The header of a file that has one.
fn peek(dir: &Path, number: u64) -> Option<Header> {
    let mut first = vec![0; BODY];
    let file = fs::File::open(file_path(dir, number)).ok()?;
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut first, 0).ok()?;
    match Header::decode(&first) {
        FirstBlock::Header(header) => Some(header),
        FirstBlock::Unused | FirstBlock::Damaged => None,
    }
}

/// Keeps the files `from` (of which `hurt` is the first) under other names, and what is intact of
/// `hurt` under its own.
fn set_aside(
    dir: &Path,
    from: &[u64],
    hurt: ReadFile,
    reached: Option<Reached>,
    mut recovery: Recovery,
    sealed: &mut BTreeMap<u64, usize>,
) -> Result<(Recovery, Last), LogError> {
    let offset = reached.as_ref().map_or(0, |reached| reached.end);
    let mut later = reached.as_ref().map_or(0, |reached| {
        intact_behind(
            &hurt.bytes,
            &Tagger::new(reached.header.id),
            offset,
            Count::All,
        )
    });
    let mut aside = Vec::new();
    for number in from.iter().filter(|number| **number != hurt.number) {
        let file = ReadFile::read(*number, file_path(dir, *number))?;
        if let FirstBlock::Header(header) = file.first {
            scan(&file.bytes, &Tagger::new(header.id), None, |_| later += 1);
        }
        let path = free_name(&file.path);
        fs::rename(&file.path, &path)?;
        aside.push(path);
    }
    let path = free_name(&hurt.path);
    fs::hard_link(&hurt.path, &path).or_else(|_| fs::copy(&hurt.path, &path).map(drop))?;
    aside.insert(0, path);
    let last = match reached {
        Some(Reached { header, end, .. }) => {
            let end = rewrite(&hurt.path, &hurt.bytes, header, end, |_| Keep::Yes)?;
            sealed.insert(hurt.number, end);
            Last::Missing {
                number: hurt.number + 1,
                previous_end: previous_end(Some(end)),
            }
        }
        None => {
            fs::remove_file(&hurt.path)?;
            let end = sealed.last_key_value().map(|(_, end)| *end);
            Last::Missing {
                number: hurt.number,
                previous_end: previous_end(end),
            }
        }
    };
    sync_dir_of(&hurt.path)?;
    let offset = offset as u64;
    recovery.damage = Some(Damage {
        file: hurt.path,
        offset,
        later_records: later,
        aside,
    });
    Ok((recovery, last))
}

/// A name beside `path` that nothing has: a former damage is not overwritten.
fn free_name(path: &Path) -> PathBuf {
    let names = (0_u32..).map(|count| match count {
        0 => path.with_extension("corrupt"),
        count => path.with_extension(format!("{count}.corrupt")),
    });
    // There are more names than files can be.
    names
        .into_iter()
        .find(|name| !name.exists())
        .unwrap_or_else(|| path.with_extension("corrupt"))
}

/// The numbers of the log's files in order. Removes what was never given a place.
fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => {
                let name = path.file_stem().and_then(|name| name.to_str());
                numbers.extend(name.and_then(|name| u64::from_str_radix(name, 16).ok()));
            }
            Some("tmp") => fs::remove_file(&path)?,
            _ => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
