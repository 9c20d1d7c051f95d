//! What a log promises, against torn, damaged and stale bytes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::format::{BODY, record_bytes};
use super::*;

const SMALL: LogOptions = LogOptions {
    file_bytes: 16 << 10,
};

fn open(dir: &Path) -> (Log, Recovery, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let (log, recovery) = Log::open(dir, SMALL, |record| seen.push(record.to_vec())).unwrap();
    assert_eq!(recovery.records, seen.len() as u64);
    (log, recovery, seen)
}

fn append(log: &mut Log, group: &[&str]) {
    let records: Vec<&[u8]> = group.iter().map(|record| record.as_bytes()).collect();
    log.append(&records).unwrap();
}

fn record(number: usize) -> String {
    format!("{number} {}", "x".repeat(number % 700))
}

/// Writes records `0..count`, three a group.
fn fill(dir: &Path, count: usize) {
    let (mut log, _, seen) = open(dir);
    for first in (seen.len()..count).step_by(3) {
        let group: Vec<String> = (first..count.min(first + 3)).map(record).collect();
        append(
            &mut log,
            &group.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
}

fn expected(numbers: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    numbers
        .into_iter()
        .map(|number| record(number).into_bytes())
        .collect()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

/// Lets a log have this one file.
fn only(path: &Path, bytes: &[u8]) {
    for other in files(path.parent().unwrap(), "log") {
        fs::remove_file(other).unwrap();
    }
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn everything_comes_back_in_order() {
    let temp = tempfile::tempdir().unwrap();
    for count in [0, 1, 40, 41, 400] {
        fill(temp.path(), count);
        let (log, recovery, seen) = open(temp.path());
        assert_eq!(seen, expected(0..count));
        assert_eq!((recovery.tail, recovery.damage), (Tail::Clean, None));
        assert_eq!(log.files(), files(temp.path(), "log").len());
    }
    assert!(files(temp.path(), "log").len() > 3);
}

#[test]
fn a_batch_larger_than_a_file_and_bad_lengths() {
    let temp = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(temp.path());
    let large = vec![7; 100 << 10];
    log.append(&[b"small"]).unwrap();
    log.append(&[&large, b"with it"]).unwrap();
    log.append(&[b"after"]).unwrap();
    log.append(&[]).unwrap();
    assert!(matches!(log.append(&[b"a", b""]), Err(LogError::Length(0))));
    let huge = vec![0; RECORD_BYTES + 1];
    assert!(matches!(log.append(&[&huge]), Err(LogError::Length(_))));
    drop(log);
    let (_, recovery, seen) = open(temp.path());
    assert_eq!(seen, [&b"small"[..], &large, b"with it", b"after"]);
    assert_eq!(recovery.damage, None);
}

/// A crash may leave any part of the last group: cut off, zeros, or old bytes from some byte on.
#[test]
fn a_group_torn_at_any_byte_is_cut_and_nothing_before_it() {
    let temp = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(temp.path());
    append(&mut log, &["first", "second"]);
    append(&mut log, &["third"]);
    append(&mut log, &["fourth", "fifth, somewhat longer", "6"]);
    drop(log);
    let path = files(temp.path(), "log").remove(0);
    let whole = fs::read(&path).unwrap();
    let sizes = [5, 6, 5, 6, 22, 1].map(record_bytes);
    let group = BODY + sizes[..3].iter().sum::<usize>();
    let end = group + sizes[3..].iter().sum::<usize>();
    for at in group..end {
        let cut = whole[..at].to_vec();
        let mut zeroed = whole.clone();
        zeroed[at..].fill(0);
        let mut noise = whole.clone();
        noise[at] ^= 0xff;
        noise[at + 1..].fill_with(|| fastrand::u8(..));
        let mut hurt = whole.clone();
        hurt[at] ^= 1;
        for bytes in [cut, zeroed, noise, hurt] {
            only(&path, &bytes);
            let (mut log, recovery, seen) = open(temp.path());
            assert_eq!(recovery.damage, None, "at {at}");
            let mut all = [
                "first",
                "second",
                "third",
                "fourth",
                "fifth, somewhat longer",
                "6",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec();
            all.truncate(seen.len());
            assert_eq!(seen, all, "at {at}");
            assert!(seen.len() >= 3, "at {at}: nothing durable is lost");
            append(&mut log, &["after"]);
            drop(log);
            let (_, recovery, again) = open(temp.path());
            assert_eq!(recovery.tail, Tail::Clean, "at {at}");
            assert_eq!(again[..seen.len()], seen[..]);
            assert_eq!(again[seen.len()..], [b"after".to_vec()]);
        }
    }
}

#[test]
fn damage_in_the_middle_is_told_and_kept_aside() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 20);
    let path = files(temp.path(), "log").remove(0);
    let third = BODY
        + (0..3)
            .map(|number| record_bytes(record(number).len()))
            .sum::<usize>();
    flip(&path, third + 9);
    let hurt = fs::read(&path).unwrap();
    let (mut log, recovery, seen) = open(temp.path());
    assert_eq!(seen, expected(0..3));
    let damage = recovery.damage.unwrap();
    assert_eq!((damage.offset, damage.later_records), (third as u64, 16));
    assert_eq!(damage.aside, files(temp.path(), "corrupt"));
    assert_eq!(fs::read(&damage.aside[0]).unwrap(), hurt);
    append(&mut log, &["goes on"]);
    drop(log);
    let (_, recovery, seen) = open(temp.path());
    assert_eq!(recovery.damage, None);
    assert_eq!(seen, [expected(0..3), vec![b"goes on".to_vec()]].concat());
    // A second damage does not overwrite what was kept of the first.
    only(&path, &hurt);
    assert!(open(temp.path()).1.damage.is_some());
    assert_eq!(files(temp.path(), "corrupt").len(), 2);
}

#[test]
fn damage_to_a_sealed_file_is_never_taken_for_a_torn_tail() {
    let build = || {
        let temp = tempfile::tempdir().unwrap();
        fill(temp.path(), 300);
        let logs = files(temp.path(), "log");
        assert!(logs.len() >= 5);
        (temp, logs)
    };
    type Hurt = fn(&Path);
    let hurts: [(&str, Hurt); 5] = [
        ("its last record", |path| {
            let bytes = fs::read(path).unwrap();
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            flip(path, last);
        }),
        ("its header", |path| flip(path, 20)),
        ("its id", |path| flip(path, 40)),
        ("all of it", |path| fs::write(path, []).unwrap()),
        ("its name", |path| fs::remove_file(path).unwrap()),
    ];
    for (what, hurt) in hurts {
        let (temp, logs) = build();
        hurt(&logs[2]);
        let (mut log, recovery, seen) = open(temp.path());
        let damage = recovery.damage.expect(what);
        assert!(damage.later_records > 30, "{what}: {damage:?}");
        assert!(
            seen.len() > 30 && seen.len() < 250,
            "{what}: {}",
            seen.len()
        );
        assert_eq!(seen, expected(0..seen.len()), "{what}");
        assert!(damage.aside.iter().all(|path| path.exists()), "{what}");
        append(&mut log, &["goes on"]);
        drop(log);
        let (_, recovery, again) = open(temp.path());
        assert_eq!(recovery.damage, None, "{what}");
        assert_eq!(again.len(), seen.len() + 1, "{what}");
    }
}

#[test]
fn bytes_of_a_former_log_are_never_records() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(old.path(), 20);
    let old = fs::read(files(old.path(), "log").remove(0)).unwrap();
    let (mut log, ..) = open(new.path());
    append(&mut log, &["mine"]);
    drop(log);
    let path = files(new.path(), "log").remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let end = BODY + record_bytes(4);
    // The same blocks, as if the file system had given them again without zeros.
    let size = bytes.len();
    bytes[end..].copy_from_slice(&old[end..size]);
    fs::write(&path, bytes).unwrap();
    let (_, recovery, seen) = open(new.path());
    assert_eq!((seen, recovery.damage), (vec![b"mine".to_vec()], None));
}

/// A write that failed may have left its bytes; the next group, shorter, is written over their
/// start.
#[test]
fn what_a_failed_write_left_is_not_found_later() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 3);
    let path = files(temp.path(), "log").remove(0);
    let before = fs::read(&path).unwrap();
    let (mut log, ..) = open(temp.path());
    // Exactly to the end of a block, and on: the hardest place.
    let end = before.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(8);
    let fit = 4096 - (end + record_bytes(0)) % 4096;
    let filler = "f".repeat(fit);
    let group = [filler.as_str(), "stale", "stale too"];
    append(&mut log, &group);
    let failed = fs::read(&path).unwrap();
    drop(log);
    fs::write(&path, &before).unwrap();
    let (mut log, ..) = open(temp.path());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&failed, 0).unwrap();
    append(&mut log, &[filler.as_str()]);
    drop(log);
    let (_, recovery, seen) = open(temp.path());
    assert_eq!(seen, [expected(0..3), vec![filler.into_bytes()]].concat());
    assert_eq!((recovery.tail, recovery.damage), (Tail::Clean, None));
}

#[test]
fn a_new_file_that_was_never_used_is_no_damage() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 20);
    fs::write(temp.path().join("0000000000000002.log"), [0; 8192]).unwrap();
    fs::write(temp.path().join("spare-0.tmp"), [0; 8192]).unwrap();
    let (_, recovery, seen) = open(temp.path());
    assert_eq!((seen.len(), recovery.damage), (20, None));
    assert!(files(temp.path(), "tmp").is_empty());
    assert_eq!(files(temp.path(), "log").len(), 1);
}

#[test]
fn compaction_keeps_what_is_wanted_in_order() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 300);
    let (log, ..) = open(temp.path());
    let number = |record: &[u8]| {
        let text = std::str::from_utf8(record).unwrap();
        text.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let done = log.compact(|_| Keep::Yes).unwrap();
    assert_eq!(done, Compaction::default());
    let few = |record: &[u8]| {
        if number(record) % 10 == 0 {
            Keep::Yes
        } else {
            Keep::No
        }
    };
    let done = log.compact(few).unwrap();
    assert!(
        done.files > 3 && done.dropped > 100 && done.freed_bytes > 30_000,
        "{done:?}"
    );
    assert_eq!(log.compact(few).unwrap(), Compaction::default());
    drop(log);
    let (mut log, recovery, seen) = open(temp.path());
    assert_eq!(recovery.damage, None);
    let left: Vec<usize> = seen.iter().map(|record| number(record)).collect();
    assert!(left.is_sorted() && left.len() == 300 - usize::try_from(done.dropped).unwrap());
    assert!((0..300).step_by(10).all(|wanted| left.contains(&wanted)));
    // Nothing is wanted: the files go, from the first on, and the log goes on.
    let sealed = log.files() - 1;
    assert_eq!(log.compact(|_| Keep::No).unwrap().files, sealed);
    assert_eq!(files(temp.path(), "log").len(), 1);
    append(&mut log, &["goes on"]);
    drop(log);
    let (log, recovery, seen) = open(temp.path());
    assert_eq!((recovery.damage, log.files()), (None, 1));
    assert_eq!(seen.last().unwrap(), b"goes on");
}

#[test]
fn a_damaged_compacted_file_is_damage() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 300);
    let (log, ..) = open(temp.path());
    let mut count = 0;
    log.compact(|_| {
        count += 1;
        if count % 4 == 0 { Keep::Yes } else { Keep::No }
    })
    .unwrap();
    drop(log);
    let path = &files(temp.path(), "log")[1];
    flip(path, BODY + 10);
    let (_, recovery, _) = open(temp.path());
    assert!(recovery.damage.unwrap().later_records > 0);
}

fn batch(number: u64) -> Vec<Bytes> {
    (0..3)
        .map(|part| Bytes::from(format!("{number}.{part}")))
        .collect()
}

#[test]
fn waiting_batches_share_a_sync_and_complete_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let (log, ..) = open(temp.path());
    let (writer, mut events) = LogWriter::start(log).unwrap();
    let count = 2000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for token in 0..count {
                writer.submit(token, batch(token)).unwrap();
            }
        });
        for expected in 0..count {
            match events.blocking_recv().unwrap() {
                LogEvent::Written { token, result } => {
                    assert_eq!((token, result.is_ok()), (expected, true))
                }
                other @ (LogEvent::Compacted { .. } | LogEvent::Ended { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
    });
    let stats = writer.stats();
    assert_eq!(
        (stats.batches, stats.records, stats.failures),
        (count, 3 * count, 0)
    );
    assert!(stats.groups < stats.batches, "{stats:?}");
    writer.close();
    let (_, recovery, seen) = open(temp.path());
    assert_eq!(recovery.damage, None);
    let all = (0..count).flat_map(batch).map(|record| record.to_vec());
    assert_eq!(seen, all.collect::<Vec<_>>());
}

#[test]
fn a_chore_that_panics_leaves_the_next_one_to_be_done() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 300);
    let (log, ..) = open(temp.path());
    let (writer, mut events) = LogWriter::start(log).unwrap();
    let mut compacted = |token, keep: fn(&[u8]) -> Keep| {
        writer.compact(token, keep).unwrap();
        match events.blocking_recv().unwrap() {
            LogEvent::Compacted { token: of, result } if of == token => result,
            other => panic!("{other:?}"),
        }
    };
    let why = compacted(1, |_| panic!("no such record")).unwrap_err();
    assert!(why.to_string().contains("panic: no such record"), "{why}");
    assert!(compacted(2, |_| Keep::No).unwrap().files > 3);
}

#[test]
fn compaction_runs_beside_the_writer() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 300);
    let (log, ..) = open(temp.path());
    let sealed = log.files() - 1;
    let (writer, mut events) = LogWriter::start(log).unwrap();
    writer.compact(7, |_| Keep::No).unwrap();
    for token in 0..100 {
        writer
            .submit(token, vec![Bytes::from(record(600))])
            .unwrap();
    }
    let (mut written, mut compacted) = (0, None);
    while written < 100 || compacted.is_none() {
        match events.blocking_recv().unwrap() {
            LogEvent::Written { result, .. } => {
                result.unwrap();
                written += 1;
            }
            LogEvent::Compacted { token, result } => compacted = Some((token, result.unwrap())),
            LogEvent::Ended { why } => panic!("{why}"),
        }
    }
    let (token, done) = compacted.unwrap();
    assert!(token == 7 && done.files >= sealed, "{done:?}");
    assert!(matches!(
        writer.submit(0, vec![Bytes::new()]),
        Err(Refused::Bad(_))
    ));
    drop(writer);
    let (_, recovery, seen) = open(temp.path());
    assert_eq!(recovery.damage, None);
    let count = seen
        .iter()
        .filter(|seen| **seen == record(600).as_bytes())
        .count();
    assert_eq!(count, 100);
}

#[test]
fn dropping_the_receiver_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (log, ..) = open(temp.path());
    let (writer, events) = LogWriter::start(log).unwrap();
    drop(events);
    for token in 0..500 {
        writer.submit(token, batch(token)).unwrap();
    }
    writer.close();
    assert_eq!(open(temp.path()).2.len(), 1500);
}
