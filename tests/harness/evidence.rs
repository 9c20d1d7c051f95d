//! What tasks themselves write down about their runs, and the judge of it: the promises among real processes, without a word of
//! any node.
//!
//! A run appends lines `WORD TASK EPOCH HOST NANOSECONDS PID` to one file that all share, each with one `O_APPEND` write: `start`,
//! `beat` while it lives, `end` with its last breath. All hosts of a test are one kernel, so its clock (`CLOCK_BOOTTIME`) orders
//! them. A run that was killed has no `end`: its last line is a lower bound of its end, close because of the beats.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::programs::programs;

/// Between two lines of a run that goes on.
pub const BEAT: Duration = Duration::from_millis(50);

/// Returns the clock of all evidence: `CLOCK_BOOTTIME`.
#[must_use]
pub fn now() -> Duration {
    let at = clock_gettime(ClockId::Boottime);
    Duration::try_from(at).unwrap_or_default()
}

/// A file of evidence, which the program `witness` writes.
#[derive(Debug)]
pub struct Evidence {
    file: PathBuf,
}

impl Evidence {
    /// Begins a file in a directory.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let file = directory.join("evidence");
        fs::write(&file, "").expect("a file can be written");
        Self { file }
    }

    /// Returns the command of a task that ends at once.
    #[must_use]
    pub fn brief(&self) -> Vec<String> {
        self.command("brief", "")
    }

    /// Returns the command of a task that writes so many lines, 50 ms apart.
    #[must_use]
    pub fn beats(&self, count: u32) -> Vec<String> {
        self.command("beats", &count.to_string())
    }

    /// Returns the command of a task that goes on until a file exists.
    #[must_use]
    pub fn until(&self, gate: &Path) -> Vec<String> {
        self.command("until", &gate.display().to_string())
    }

    /// Returns the command of a task that prints the file that is named after it.
    #[must_use]
    pub fn reading(&self) -> Vec<String> {
        let mut words = self.command("file", "");
        words.pop();
        words
    }

    /// Returns what has been written so far.
    #[must_use]
    pub fn history(&self) -> History {
        History::parse(&fs::read_to_string(&self.file).unwrap_or_default())
    }

    fn command(&self, mode: &str, argument: &str) -> Vec<String> {
        let program = programs().witness.display().to_string();
        let file = self.file.display().to_string();
        [&program, &file, mode, argument]
            .map(str::to_owned)
            .to_vec()
    }
}

/// One run, as it told it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its epoch.
    pub epoch: u32,
    /// The name of its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Its first line, nanoseconds of [`now`].
    pub first: u64,
    /// Its last line.
    pub last: u64,
    /// It came to its own end.
    pub ended: bool,
}

impl Run {
    /// Whether it began before an earlier run of its task had ended.
    #[must_use]
    pub fn follows_too_soon(&self, earlier: &Self) -> bool {
        self.first <= earlier.last
    }
}

/// What is right although it looks wrong.
#[derive(Clone, Copy, Debug)]
pub struct Excuses<A, B> {
    /// Whether another run may follow this one.
    pub again: A,
    /// Whether nothing is promised of a run on this earlier one's host that the later one overlaps.
    pub beside: B,
}

/// All runs of all tasks.
#[derive(Debug, Default)]
pub struct History {
    runs: BTreeMap<String, Vec<Run>>,
    garbled: Vec<String>,
}

impl History {
    /// Reads lines of evidence.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut history = Self::default();
        for line in text.lines() {
            if history.take(line).is_none() {
                history.garbled.push(line.to_owned());
            }
        }
        history
            .runs
            .values_mut()
            .for_each(|runs| runs.sort_by_key(|run| (run.first, run.epoch)));
        history
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let [word, task, epoch, host, at, pid] =
            line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let (epoch, at, pid) = (epoch.parse().ok()?, at.parse().ok()?, pid.parse().ok()?);
        let runs = self.runs.entry(task.to_owned()).or_default();
        let known = runs
            .iter_mut()
            .find(|run| run.epoch == epoch && run.host == host && run.pid == pid);
        match (word, known) {
            ("start", None) => {
                let host = host.to_owned();
                runs.push(Run {
                    epoch,
                    host,
                    pid,
                    first: at,
                    last: at,
                    ended: false,
                });
            }
            ("beat" | "end", Some(run)) => {
                run.last = at;
                run.ended = word == "end";
            }
            _ => return None,
        }
        Some(())
    }

    /// Returns the runs of a task in the order of their starts.
    #[must_use]
    pub fn of(&self, task: &str) -> &[Run] {
        self.runs.get(task).map_or(&[], Vec::as_slice)
    }

    /// Returns how many runs have started.
    #[must_use]
    pub fn started(&self) -> usize {
        self.runs.values().map(Vec::len).sum()
    }

    /// Returns how many runs have come to their own end.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.runs.values().flatten().filter(|run| run.ended).count()
    }

    /// Returns the names of all hosts that ran something.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<&str> {
        self.runs
            .values()
            .flatten()
            .map(|run| run.host.as_str())
            .collect()
    }

    /// Returns how many runs lived at once, at most.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        let ends = self
            .runs
            .values()
            .flatten()
            .flat_map(|run| [(run.first, 1), (run.last, -1)]);
        let mut ends: Vec<(u64, i32)> = ends.collect();
        // At one instant ends come first.
        ends.sort_unstable();
        let (_, most) = ends.iter().fold((0, 0), |(now, most), (_, step)| {
            (now + step, most.max(now + step))
        });
        usize::try_from(most).unwrap_or_default()
    }

    /// Judges the history of `tasks`, all of which have ended in success. A second run of a task is right only where every earlier
    /// run of it was on one of the `excused` hosts (killed, paused or cut off).
    ///
    /// # Panics
    /// With every violation: runs of one task that overlap or whose epochs do not grow, tasks without a run that came to its end,
    /// runs without an excuse, runs of tasks that nobody submitted, garbled lines.
    #[track_caller]
    pub fn judge(&self, tasks: &[String], excused: &[&str]) {
        let excuses = Excuses {
            again: |run: &Run| excused.contains(&run.host.as_str()),
            beside: |_: &Run, _: &Run| false,
        };
        let wrong = self.violations(tasks, &excuses);
        assert!(
            wrong.is_empty(),
            "the evidence shows {} violations:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    /// Returns what is wrong with the history of `tasks`, as [`History::judge`] has it.
    #[must_use]
    pub fn violations<A, B>(&self, tasks: &[String], excuses: &Excuses<A, B>) -> Vec<String>
    where
        A: Fn(&Run) -> bool,
        B: Fn(&Run, &Run) -> bool,
    {
        let mut wrong: Vec<String> = self
            .garbled
            .iter()
            .map(|line| format!("garbled: {line:?}"))
            .collect();
        for task in tasks {
            self.judge_task(task, excuses, &mut wrong);
        }
        let known: BTreeSet<&String> = tasks.iter().collect();
        wrong.extend(
            self.runs
                .keys()
                .filter(|task| !known.contains(task))
                .map(|task| format!("{task}: nobody's")),
        );
        wrong
    }

    fn judge_task<A, B>(&self, task: &str, excuses: &Excuses<A, B>, wrong: &mut Vec<String>)
    where
        A: Fn(&Run) -> bool,
        B: Fn(&Run, &Run) -> bool,
    {
        let runs = self.of(task);
        let Some((_, earlier)) = runs.split_last() else {
            wrong.push(format!("{task}: never ran"));
            return;
        };
        // Not always the last one: the outcome of a run that ended on a host that nobody heard may be adopted later.
        if !runs.iter().any(|run| run.ended) {
            wrong.push(format!("{task}: no run of it came to its end: {runs:?}"));
        }
        for run in earlier.iter().filter(|run| !(excuses.again)(run)) {
            wrong.push(format!(
                "{task}: ran again although {} was never lost: {runs:?}",
                run.host
            ));
        }
        for pair in runs.windows(2) {
            if pair[1].follows_too_soon(&pair[0]) && !(excuses.beside)(&pair[0], &pair[1]) {
                wrong.push(format!("{task}: S1 is broken, two runs overlap: {pair:?}"));
            }
            if pair[1].epoch <= pair[0].epoch {
                wrong.push(format!("{task}: the epoch did not grow: {pair:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, excused: &[&str]) -> Result<(), String> {
        let history = History::parse(text);
        let judged = std::panic::catch_unwind(|| history.judge(&["a-1".to_owned()], excused));
        judged.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    const ONE: &str = "start a-1 1 n0 100 7\nbeat a-1 1 n0 150 7\nend a-1 1 n0 200 7\n";

    #[test]
    fn one_whole_run_is_right() {
        assert_eq!(judged(ONE, &[]), Ok(()));
    }

    #[test]
    fn a_second_run_needs_an_excuse() {
        let text =
            "start a-1 1 n1 10 5\nbeat a-1 1 n1 60 5\n".to_owned() + &ONE.replace("-1 1 ", "-1 2 ");
        assert_eq!(judged(&text, &["n1"]), Ok(()));
        assert!(judged(&text, &["n2"]).is_err_and(|why| why.contains("never lost")));
    }

    #[test]
    fn judge_table() {
        for (text, why) in [
            ("", "never ran"),
            ("start a-1 1 n0 100 7\n", "came to its end"),
            (
                "start a-1 1 n0 100 7\nend a-1 1 n0 200 7\nstart a-1 2 n1 150 8\nend a-1 2 n1 250 8\n",
                "overlap",
            ),
            (
                "start a-1 2 n0 100 7\nend a-1 2 n0 200 7\nstart a-1 1 n1 250 8\nend a-1 1 n1 251 8\n",
                "grow",
            ),
            (
                "start a-1 1 n0 100 7\nend a-1 1 n0 200 7\nstart a-2 1 n0 1 9\n",
                "nobody's",
            ),
            (
                "start a-1 1 n0 100 7\nend a-1 1 n0 200 7\nend a-1 1 n0 300 9\n",
                "garbled",
            ),
            (
                "start a-1 1 n0 100 7\nend a-1 1 n0 200 7\nstart a-1",
                "garbled",
            ),
        ] {
            assert!(
                judged(text, &["n0", "n1"]).is_err_and(|said| said.contains(why)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn concurrency_is_counted() {
        let text = "start a-1 1 n0 1 1\nstart a-2 1 n0 2 2\nend a-1 1 n0 3 1\nstart a-3 1 n0 3 3\nend a-2 1 n0 9 2\n";
        assert_eq!(History::parse(text).most_at_once(), 2);
    }
}
