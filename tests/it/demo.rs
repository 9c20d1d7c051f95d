//! The demonstration that a newcomer runs first: it tells the truth in JSON, and leaves nothing behind however it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;

use rustix::process::{Pid, Signal};
use tests::{Aque, processes, settle};

/// Fails unless no file and no process of a demo in `dir` is left.
#[track_caller]
fn nothing_is_left(dir: &Path) {
    let files = std::fs::read_dir(dir).expect("a directory can be read");
    assert_eq!(files.count(), 0, "the demo removes its directory");
    settle("the end of the demo's processes", || {
        let left = processes::of_directory(dir);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?} live"))
        }
    });
}

fn demo(dir: &Path, args: &[&str]) -> Aque {
    let args = [&["demo"], args].concat();
    let tmp = dir.to_str().expect("a readable path");
    Aque::new(Path::new("/nowhere"), &args).env("TMPDIR", tmp)
}

#[test]
fn the_demo_keeps_its_promises_and_leaves_nothing() {
    let temp = tempfile::tempdir().expect("a temporary directory can be made");
    let done = demo(temp.path(), &["--tasks", "100", "--json"]).run();
    super::json::Schema::read().fits("demo", &done);
    let report = done.json();
    for (field, value) in [("tasks", 100), ("committed", 100), ("overlapping_runs", 0)] {
        assert_eq!(report[field], value, "{done}");
    }
    assert_eq!(report["broken"].as_array().map(Vec::len), Some(0), "{done}");
    assert!(!done.stderr.contains("could not"), "{done}");
    nothing_is_left(temp.path());
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let temp = tempfile::tempdir().expect("a temporary directory can be made");
    let mut child = demo(temp.path(), &["--tasks", "1000"]).spawn();
    let lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines();
    let submitted = lines
        .map_while(Result::ok)
        .any(|line| line.contains("submitted"));
    assert!(submitted, "it says when the work is submitted");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    processes::signal(pid.expect("a process has an id"), Signal::INT);
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    nothing_is_left(temp.path());
}
