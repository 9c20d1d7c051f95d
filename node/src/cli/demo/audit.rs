//! The audit: what the tasks' own lines say, beside what the nodes say.
//!
//! Each task appends lines to one file as it runs: `WORD TASK EPOCH HOST PID UPTIME`. The kernel orders appends, so the
//! order of lines is the order of what happened, whatever any node believes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crdt::task::TaskState;
use serde::Serialize;

use crate::api::wire::TaskLine;

/// What every task runs: `sh -c SCRIPT FILE TICKS`. A line when it starts, every 50 ms while it lives, and when it ends.
pub(super) const SCRIPT: &str = "\
mark() { read -r up _ < /proc/uptime; echo \"$1 $AQUE_TID $AQUE_EPOCH $AQUE_HOST $$ $up\" >> \"$0\"; }
mark start; n=0; while [ $n -lt $1 ]; do sleep 0.05; mark alive; n=$((n+1)); done; mark end";

/// Something that was done to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The host's name.
    pub(super) host: String,
    /// What, as a phrase: `host killed`.
    pub(super) what: &'static str,
    /// When, since boot.
    pub(super) at: Duration,
}

/// One run, by its own lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The task.
    pub(super) task: String,
    /// At which epoch.
    pub(super) epoch: u32,
    /// Where.
    pub(super) host: String,
    /// When it began, since boot.
    pub(super) began: Duration,
    first: usize,
    last: usize,
    end: End,
}

/// Whether a run came to its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It said so.
    Said,
    /// It was cut short, or still runs.
    Unsaid,
}

/// All that tasks have said so far.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    runs: Vec<Run>,
    by_key: BTreeMap<(String, u32, String, u32), usize>,
    lines: usize,
    malformed: usize,
}

impl Evidence {
    /// Takes whole lines.
    pub(super) fn read(&mut self, text: &str) {
        for line in text.lines() {
            self.lines += 1;
            if self.line(line).is_none() {
                self.malformed += 1;
            }
        }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let [word, task, epoch, host, pid, up] = words[..] else {
            return None;
        };
        let epoch: u32 = epoch.parse().ok()?;
        let pid = pid.parse().ok()?;
        let at = Duration::try_from_secs_f64(up.parse().ok()?).ok()?;
        let key = (task.to_owned(), epoch, host.to_owned(), pid);
        let place = *self.by_key.entry(key).or_insert(self.runs.len());
        if place == self.runs.len() {
            self.runs.push(Run {
                task: task.to_owned(),
                epoch,
                host: host.to_owned(),
                began: at,
                first: self.lines,
                last: self.lines,
                end: End::Unsaid,
            });
        }
        let run = self.runs.get_mut(place)?;
        run.last = self.lines;
        match word {
            "start" | "alive" => Some(()),
            "end" => {
                run.end = End::Said;
                Some(())
            }
            _ => None,
        }
    }

    /// Returns how many tasks run on a host, as far as they have said.
    pub(super) fn running_on(&self, host: &str) -> usize {
        self.runs
            .iter()
            .filter(|run| run.host == host && run.end == End::Unsaid)
            .count()
    }

    /// Returns the first second run of a task whose earlier run was on `host`, begun after `at`.
    pub(super) fn takeover(&self, host: &str, at: Duration) -> Option<&Run> {
        let lost: BTreeMap<&str, usize> = self
            .runs
            .iter()
            .filter(|run| run.host == host && run.began <= at)
            .map(|run| (run.task.as_str(), run.first))
            .collect();
        let again = |run: &&Run| {
            run.began > at
                && lost
                    .get(run.task.as_str())
                    .is_some_and(|first| *first < run.first)
        };
        self.runs.iter().find(again)
    }

    fn by_task(&self) -> BTreeMap<&str, Vec<&Run>> {
        let mut tasks: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
        for run in &self.runs {
            tasks.entry(&run.task).or_default().push(run);
        }
        tasks
    }
}

/// What the audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Tasks submitted.
    pub(super) tasks: usize,
    /// Runs, by the tasks' own lines.
    pub(super) runs: usize,
    /// Second runs and later ones, by why.
    pub(super) second_runs: BTreeMap<String, usize>,
    /// Runs that began while an earlier one of the same task still lived.
    pub(super) overlapping_runs: usize,
    /// Tasks with a committed outcome.
    pub(super) committed: usize,
    /// From the kill to the first run that took over; nothing if nothing ran there.
    pub(super) takeover_ms: Option<u64>,
    /// Promises that were broken.
    pub(super) broken: Vec<String>,
}

/// Compares what the tasks said with what each living node says.
pub(super) fn audit(
    submitted: &[String],
    evidence: &Evidence,
    said: &[(String, Vec<TaskLine>)],
    faults: &[Fault],
) -> Report {
    let by_task = evidence.by_task();
    let mut report = Report {
        tasks: submitted.len(),
        runs: evidence.runs.len(),
        ..Report::default()
    };
    for runs in by_task.values() {
        for pair in runs.windows(2) {
            let [earlier, later] = pair else { continue };
            *report
                .second_runs
                .entry(why(earlier, later, faults))
                .or_default() += 1;
            report.overlapping_runs += usize::from(earlier.last > later.first);
        }
    }
    if report.overlapping_runs > 0 {
        report.broken.push("a task ran twice at once".to_owned());
    }
    let ran = |id: &&String| !by_task.get(id.as_str()).is_some_and(|runs| any_ended(runs));
    let missing = submitted.iter().filter(ran).count();
    if missing > 0 {
        report
            .broken
            .push(format!("{missing} tasks never ran to their end"));
    }
    let known: BTreeSet<&str> = submitted.iter().map(String::as_str).collect();
    if by_task.keys().any(|task| !known.contains(task)) || evidence.malformed > 0 {
        report
            .broken
            .push("there are lines of tasks that nobody submitted".to_owned());
    }
    outcomes(&mut report, submitted, said);
    report.takeover_ms = takeover(evidence, faults);
    report
}

fn any_ended(runs: &[&Run]) -> bool {
    runs.iter().any(|run| run.end == End::Said)
}

/// Every node must tell the same of every task: that it has succeeded, and at which epoch.
fn outcomes(report: &mut Report, submitted: &[String], said: &[(String, Vec<TaskLine>)]) {
    let Some((_, first)) = said.first() else {
        report.broken.push("no node is left to ask".to_owned());
        return;
    };
    let outcome = |line: &TaskLine| (line.state, line.exit, line.host.clone(), line.ended_ms);
    let index = |lines: &[TaskLine]| -> BTreeMap<String, _> {
        lines
            .iter()
            .map(|line| (line.id.clone(), outcome(line)))
            .collect()
    };
    let truth = index(first);
    let good = |id: &&String| {
        truth
            .get(*id)
            .is_some_and(|told| told.0 == TaskState::Success)
    };
    report.committed = submitted.iter().filter(good).count();
    let without = report.tasks - report.committed;
    if without > 0 {
        report
            .broken
            .push(format!("{without} tasks have no committed success"));
    }
    for (host, lines) in said.iter().skip(1) {
        let theirs = index(lines);
        let differ = submitted
            .iter()
            .filter(|id| theirs.get(*id) != truth.get(*id))
            .count();
        if differ > 0 {
            report
                .broken
                .push(format!("{host} tells another story of {differ} tasks"));
        }
    }
}

fn why(earlier: &Run, later: &Run, faults: &[Fault]) -> String {
    let caused = |fault: &&Fault| {
        fault.host == earlier.host && fault.at >= earlier.began && fault.at <= later.began
    };
    let fault = faults.iter().find(caused);
    fault
        .map_or("lease not renewed in time", |fault| fault.what)
        .to_owned()
}

fn takeover(evidence: &Evidence, faults: &[Fault]) -> Option<u64> {
    let kill = faults.iter().find(|fault| fault.what == super::KILLED)?;
    let run = evidence.takeover(&kill.host, kill.at)?;
    u64::try_from(run.began.saturating_sub(kill.at).as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::task::tests::line;
    use super::*;

    const KILL: Fault = Fault {
        host: String::new(),
        what: super::super::KILLED,
        at: Duration::from_secs(10),
    };

    fn evidence(text: &str) -> Evidence {
        let mut evidence = Evidence::default();
        evidence.read(text);
        evidence
    }

    fn success(id: &str) -> TaskLine {
        TaskLine {
            exit: Some(0),
            host: Some("b".into()),
            ..line(id, TaskState::Success)
        }
    }

    fn audited(text: &str, tasks: &[&str], faults: &[Fault]) -> Report {
        let submitted: Vec<String> = tasks.iter().map(|id| (*id).to_owned()).collect();
        let said: Vec<TaskLine> = tasks.iter().map(|id| success(id)).collect();
        let said = [("b".to_owned(), said.clone()), ("c".to_owned(), said)];
        audit(&submitted, &evidence(text), &said, faults)
    }

    #[test]
    fn a_quiet_day() {
        let report = audited("start x-1 1 a 7 1.00\nend x-1 1 a 7 1.05\n", &["x-1"], &[]);
        let expected = Report {
            tasks: 1,
            runs: 1,
            committed: 1,
            ..Report::default()
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn a_killed_host_explains_a_second_run() {
        let text = "start x-1 1 a 7 9.90\nalive x-1 1 a 7 9.95\nstart x-1 2 b 9 11.60\nend x-1 2 b 9 11.70\n";
        let kill = Fault {
            host: "a".into(),
            ..KILL
        };
        let report = audited(text, &["x-1"], &[kill]);
        assert_eq!(report.second_runs, [("host killed".to_owned(), 1)].into());
        assert_eq!(
            (report.runs, report.overlapping_runs, report.takeover_ms),
            (2, 0, Some(1_600))
        );
        assert!(report.broken.is_empty());
        let report = audited(text, &["x-1"], &[]);
        assert_eq!(
            report.second_runs,
            [("lease not renewed in time".to_owned(), 1)].into()
        );
    }

    #[test]
    fn overlapping_runs_break_the_promise() {
        let text =
            "start x-1 1 a 7 1.0\nstart x-1 2 b 9 1.2\nend x-1 1 a 7 1.3\nend x-1 2 b 9 1.4\n";
        let report = audited(text, &["x-1"], &[]);
        assert_eq!(report.overlapping_runs, 1);
        assert_eq!(report.broken, ["a task ran twice at once"]);
        // The same epoch on two hosts.
        let text =
            "start x-1 1 a 7 1.0\nstart x-1 1 b 7 1.2\nend x-1 1 a 7 1.3\nend x-1 1 b 7 1.4\n";
        assert_eq!(audited(text, &["x-1"], &[]).overlapping_runs, 1);
    }

    #[test]
    fn every_other_breach_is_told() {
        let broken = |text: &str, tasks: &[&str]| audited(text, tasks, &[]).broken.join("; ");
        assert_eq!(broken("", &["x-1"]), "1 tasks never ran to their end");
        assert_eq!(
            broken("start x-1 1 a 7 1\n", &["x-1"]),
            "1 tasks never ran to their end"
        );
        let stranger = "start x-1 1 a 7 1\nend x-1 1 a 7 1\nstart x-2 1 a 8 1\n";
        assert_eq!(
            broken(stranger, &["x-1"]),
            "there are lines of tasks that nobody submitted"
        );
        let torn = "start x-1 1 a 7 1\nend x-1 1 a 7 1\nsta\n";
        assert_eq!(
            broken(torn, &["x-1"]),
            "there are lines of tasks that nobody submitted"
        );
    }

    #[test]
    fn nodes_that_disagree_are_told() {
        let text = "start x-1 1 a 7 1\nend x-1 1 a 7 1\n";
        let submitted = ["x-1".to_owned()];
        let other = TaskLine {
            host: Some("c".into()),
            ..success("x-1")
        };
        let said = [
            ("b".to_owned(), vec![success("x-1")]),
            ("c".to_owned(), vec![other]),
        ];
        let report = audit(&submitted, &evidence(text), &said, &[]);
        assert_eq!(report.broken, ["c tells another story of 1 tasks"]);
        let said = [("b".to_owned(), vec![line("x-1", TaskState::Error)])];
        let report = audit(&submitted, &evidence(text), &said, &[]);
        assert_eq!(report.broken, ["1 tasks have no committed success"]);
        assert_eq!(
            audit(&submitted, &evidence(text), &[], &[]).broken,
            ["no node is left to ask"]
        );
    }

    #[test]
    fn running_on_counts_those_without_an_end() {
        let evidence = evidence("start x-1 1 a 7 1\nstart x-2 1 a 8 1\nend x-1 1 a 7 1\n");
        assert_eq!((evidence.running_on("a"), evidence.running_on("b")), (1, 0));
    }
}
