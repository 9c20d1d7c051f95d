//! The log on a disk that is full, and under a process that is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use node::storage::{Log, LogError, LogEvent, LogOptions, LogWriter};

const SMALL: LogOptions = LogOptions {
    file_bytes: 64 << 10,
};

/// Name of the variable that makes [`writer_until_killed`] write.
const CRASH_DIR: &str = "AQUE_TEST_CRASH_DIR";

fn open(dir: &Path) -> (Log, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let (log, recovery) = Log::open(dir, SMALL, |record| seen.push(record.to_vec())).unwrap();
    assert_eq!(recovery.damage, None);
    (log, seen)
}

/// A file system of a megabyte, while it lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn new() -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(temp.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self(temp))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "the small disk is unmounted"
        );
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else {
        let told = "SKIPPED a_full_disk_refuses_and_loses_nothing: it must mount a file system\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return;
    };
    let dir = disk.0.path().join("log");
    let (mut log, _) = open(&dir);
    let mut written: Vec<Vec<u8>> = Vec::new();
    let record = |number: usize| format!("{number} {}", "x".repeat(3000)).into_bytes();
    let error = loop {
        let next = record(written.len());
        match log.append(&[&next]) {
            Ok(()) => written.push(next),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Full(_)), "{error}");
    assert!(written.len() > 200);
    // It goes on refusing what does not fit, and takes what does.
    assert!(matches!(
        log.append(&[&vec![1; 500 << 10]]),
        Err(LogError::Full(_))
    ));
    // Room is made: the same log goes on.
    let half = written.len() / 2;
    let old: Vec<Vec<u8>> = written[..half].to_vec();
    let wanted = |record: &[u8]| {
        let dropped = old.iter().any(|old| old == record);
        if dropped {
            node::storage::Keep::No
        } else {
            node::storage::Keep::Yes
        }
    };
    assert!(log.compact(wanted).unwrap().freed_bytes > 100 << 10);
    let last = record(9999);
    log.append(&[&last]).unwrap();
    drop(log);
    let (_, seen) = open(&dir);
    written.push(last);
    let tail = &seen[seen.len() - (written.len() - half)..];
    assert_eq!(
        tail,
        &written[half..],
        "what was durable and is wanted is there"
    );
}

#[test]
fn a_full_disk_fails_batches_and_the_writer_lives_on() {
    let Some(disk) = SmallDisk::new() else {
        let told = "SKIPPED a_full_disk_fails_batches: it must mount a file system\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return;
    };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 600 << 10]).unwrap();
    let dir = disk.0.path().join("log");
    let (writer, mut events) = LogWriter::start(open(&dir).0).unwrap();
    let mut written = |token: u64| {
        writer
            .submit(token, vec![Bytes::from(vec![b'a'; 20_000])])
            .unwrap();
        match events.blocking_recv().unwrap() {
            LogEvent::Written {
                token: told,
                result,
            } => {
                assert_eq!(told, token);
                result
            }
            other @ (LogEvent::Compacted { .. } | LogEvent::Ended { .. }) => panic!("{other:?}"),
        }
    };
    let mut token = 0;
    while written(token).is_ok() {
        token += 1;
    }
    std::fs::remove_file(ballast).unwrap();
    written(token).unwrap();
    assert!(writer.stats().failures >= 1);
    writer.close();
    assert_eq!(open(&dir).1.len() as u64, token + 1);
}

/// Writes and names what is durable until it is killed. Started as a process by the test below;
/// without its directory there is nothing to write, and it checks only that.
#[test]
fn writer_until_killed() {
    let Some(dir) = std::env::var_os(CRASH_DIR) else {
        return assert!(std::env::var(CRASH_DIR).is_err());
    };
    let (log, seen) = open(Path::new(&dir));
    let (writer, mut events) = LogWriter::start(log).unwrap();
    let mut out = std::io::stdout();
    let mut waiting = 0;
    for token in seen.len() as u64.. {
        writer
            .submit(token, vec![Bytes::from(format!("record {token}"))])
            .unwrap();
        waiting += 1;
        // Some always wait, so that groups have several batches and the kill comes in the middle.
        while waiting > 30 {
            let Some(LogEvent::Written { token, result }) = events.blocking_recv() else {
                panic!("nothing else was asked for");
            };
            result.unwrap();
            waiting -= 1;
            writeln!(out, "durable {token}").unwrap();
        }
    }
}

#[test]
fn what_was_called_durable_survives_kill() {
    let temp = tempfile::tempdir().unwrap();
    for round in 1..=5_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk::writer_until_killed", "--nocapture"])
            .env(CRASH_DIR, temp.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut durable = None;
        let tokens = lines.map_while(Result::ok).filter_map(|line| {
            line.rsplit_once("durable ")
                .and_then(|(_, token)| token.parse::<u64>().ok())
        });
        for (count, token) in (1..).zip(tokens) {
            durable = Some(token);
            if count == round * 300 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let (_, seen) = open(temp.path());
        assert!(
            seen.len() as u64 > durable.unwrap(),
            "{} {durable:?}",
            seen.len()
        );
        let all = (0..seen.len()).map(|token| format!("record {token}").into_bytes());
        assert!(
            seen.iter().eq(all.collect::<Vec<_>>().iter()),
            "in order, without a gap"
        );
    }
}
