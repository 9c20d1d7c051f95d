//! The truth, and how it is judged as it happens.

use std::collections::{BTreeMap, BTreeSet};

use crdt::ids::{Epoch, RunId, Tag, TaskId};
use crdt::task::{Exit, Outcome, OutcomeDigest};
use crdt::terms::Terms;

use super::{Backing, Judge, StartFacts, Tally, Violation};
use crate::queue::HostIx;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Executing {
    epoch: Epoch,
    host: HostIx,
    since: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Commit {
    digest: OutcomeDigest,
    host: HostIx,
    at: u64,
}

#[derive(Debug, Default)]
struct Truth {
    executing: Vec<Executing>,
    started: Vec<(Epoch, HostIx)>,
    exits: Vec<(Epoch, Tag, Exit)>,
    commit: Option<Commit>,
    acked: bool,
    /// Under which S1 to S4 are promised, or not.
    terms: Terms,
    /// How often people said that its run was dead.
    written_off: u32,
    /// How often people wanted it to run again after it had ended.
    again: u32,
    /// What it had ended as by then: the next round starts from nothing.
    void: BTreeSet<OutcomeDigest>,
    /// A person wanted nobody to see it any more.
    removed: bool,
    group: Option<(TaskId, u32)>,
}

/// All judges of one world.
#[derive(Debug, Default)]
pub struct Oracle {
    tasks: BTreeMap<TaskId, Truth>,
    groups: BTreeMap<TaskId, u32>,
    tally: Tally,
    violation: Option<Violation>,
}

fn seconds(ns: u64) -> String {
    format!("{}.{:06}s", ns / 1_000_000_000, ns % 1_000_000_000 / 1_000)
}

impl Oracle {
    /// Returns the first broken promise.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Returns what really happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Notes a broken promise, unless there is one already.
    pub fn accuse(&mut self, judge: Judge, at: u64, task: Option<TaskId>, what: String) {
        self.violation.get_or_insert(Violation {
            judge,
            at,
            task,
            what,
        });
    }

    /// Returns the tasks that were acknowledged as durable on a majority.
    pub fn acked(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.tasks
            .iter()
            .filter(|(_, truth)| truth.acked)
            .map(|(id, _)| *id)
    }

    /// Returns how many processes of a task ran to an end of their own.
    #[must_use]
    pub fn exits(&self, task: TaskId) -> u32 {
        let count = self.tasks.get(&task).map_or(0, |truth| truth.exits.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns how many processes of a task were started.
    #[must_use]
    pub fn starts(&self, task: TaskId) -> usize {
        self.tasks.get(&task).map_or(0, |truth| truth.started.len())
    }

    /// Returns where processes of a task execute now.
    pub fn executing(&self, task: TaskId) -> impl Iterator<Item = (Epoch, HostIx)> + '_ {
        let list = self
            .tasks
            .get(&task)
            .map_or(&[][..], |truth| &truth.executing);
        list.iter().map(|run| (run.epoch, run.host))
    }

    /// Returns when the first replica saw the committed outcome of a task, nanoseconds of real time.
    #[must_use]
    pub fn committed_at(&self, task: TaskId) -> Option<u64> {
        let commit = self.tasks.get(&task)?.commit.as_ref()?;
        Some(commit.at)
    }

    /// Says whether some replica saw the committed outcome of a task.
    #[must_use]
    pub fn is_committed(&self, task: TaskId) -> bool {
        self.tasks
            .get(&task)
            .is_some_and(|truth| truth.commit.is_some())
    }

    /// A person said that the run of a task is dead.
    pub fn written_off(&mut self, task: TaskId) {
        self.tasks.entry(task).or_default().written_off += 1;
    }

    /// A person wanted a task that has ended to run again, if the host asked thought so.
    pub fn wanted_again(&mut self, task: TaskId) {
        self.tasks.entry(task).or_default().again += 1;
    }

    /// A person wanted nobody to see a task any more, if the host asked thought that it had ended.
    pub fn removed(&mut self, task: TaskId) {
        self.tasks.entry(task).or_default().removed = true;
    }

    /// Says whether a person wanted nobody to see a task any more.
    #[must_use]
    pub fn is_removed(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|truth| truth.removed)
    }

    /// A host takes outcomes for void: believed only where a person said so.
    fn forget_void(&mut self, task: TaskId, void: &[OutcomeDigest]) {
        let truth = self.tasks.entry(task).or_default();
        if truth.again == 0 {
            return;
        }
        truth.void.extend(void);
        let is_void = |commit: &Commit| truth.void.contains(&commit.digest);
        if truth.commit.as_ref().is_some_and(is_void) {
            truth.commit = None;
        }
    }

    /// A person was told that a task is durable on a majority.
    pub fn acknowledged(&mut self, task: TaskId) {
        let truth = self.tasks.entry(task).or_default();
        if !truth.acked {
            truth.acked = true;
            self.tally.acked += 1;
        }
    }

    /// A process started. Judges S1, S3, S4 and N1.
    pub fn started(&mut self, now: u64, run: RunId, facts: &StartFacts) {
        self.tally.starts += 1;
        self.forget_void(run.task, &facts.backing.void);
        let truth = self.tasks.entry(run.task).or_default();
        truth.terms = facts.terms;
        self.tally.reruns += u64::from(!truth.started.is_empty());
        let mut wrong: Option<(Judge, String)> = None;
        if let Some((_, host)) = truth.started.iter().find(|(epoch, _)| *epoch == run.epoch) {
            let what = format!(
                "started at epoch {} on host {host} and again on {}",
                run.epoch, facts.host
            );
            wrong = Some((Judge::S4, what));
        } else if let Some(what) = no_majority(run, facts) {
            wrong = Some((Judge::S4, what));
        }
        // A claimant that has not heard of a failure does not count it among the retries: failures are allowed for by themselves.
        let failures = truth
            .exits
            .iter()
            .filter(|(.., exit)| *exit != Exit::Code(0));
        let failures = u32::try_from(failures.count()).unwrap_or(u32::MAX);
        let rounds = truth.again.saturating_add(1);
        let stated = facts.most_starts.map(|most| most.saturating_mul(rounds));
        let most = stated.map(|most| match most {
            0 | 1 => most.saturating_add(truth.written_off),
            _ => most
                .saturating_add(truth.written_off)
                .saturating_add(failures),
        });
        if most.is_some_and(|most| truth.started.len() >= most as usize) {
            let what = format!(
                "started at epoch {} on host {}, the {}. time",
                run.epoch,
                facts.host,
                truth.started.len() + 1
            );
            wrong = Some((Judge::S5, what));
        }
        if let Some(commit) = truth.commit {
            let when = seconds(commit.at);
            let what = format!(
                "started at epoch {} on host {} after host {} saw it committed at {when}",
                run.epoch, facts.host, commit.host
            );
            wrong = Some((Judge::S3, what));
        }
        truth.group = facts.group;
        truth.started.push((run.epoch, facts.host));
        if let Some((judge, what)) = wrong.filter(|_| facts.terms != Terms::Anywhere) {
            self.accuse(judge, now, Some(run.task), what);
        }
        self.execute(now, run, facts.host);
    }

    /// A process executes from now on. Judges S1 and N1.
    fn execute(&mut self, now: u64, run: RunId, host: HostIx) {
        let truth = self.tasks.entry(run.task).or_default();
        let promised = truth.terms != Terms::Anywhere;
        let other = truth.executing.first().copied();
        truth.executing.push(Executing {
            epoch: run.epoch,
            host,
            since: now,
        });
        if let Some(other) = other.filter(|_| promised) {
            let what = format!(
                "epoch {} on host {host} while epoch {} runs on host {} since {}",
                run.epoch,
                other.epoch,
                other.host,
                seconds(other.since)
            );
            // An overlap says more than anything else about the same start.
            self.violation = None;
            self.accuse(Judge::S1, now, Some(run.task), what);
        }
        let Some((group, window)) = truth_group(&self.tasks, run.task) else {
            return;
        };
        let count = self.groups.entry(group).or_default();
        *count += 1;
        // A host that has not heard that one runs again may let another one run.
        let again = self
            .tasks
            .values()
            .filter(|of| of.group.is_some_and(|(id, _)| id == group));
        let again: u32 = again.map(|of| of.again).sum();
        if window > 0 && *count > window + again {
            let what =
                format!("{count} members of group {group} run at once; its window is {window}");
            self.accuse(Judge::N1, now, Some(run.task), what);
        }
    }

    fn leave(&mut self, run: RunId, host: HostIx) -> bool {
        let Some(truth) = self.tasks.get_mut(&run.task) else {
            return false;
        };
        let found = truth
            .executing
            .iter()
            .position(|other| (other.epoch, other.host) == (run.epoch, host));
        let Some(place) = found else { return false };
        truth.executing.remove(place);
        if let Some((group, _)) = truth_group(&self.tasks, run.task)
            && let Some(count) = self.groups.get_mut(&group)
        {
            *count = count.saturating_sub(1);
        }
        true
    }

    /// A process ended by itself, or by a signal that was asked for.
    pub fn exited(&mut self, run: RunId, (host, tag): (HostIx, Tag), exit: Exit) {
        self.tally.exits += 1;
        self.leave(run, host);
        self.tasks
            .entry(run.task)
            .or_default()
            .exits
            .push((run.epoch, tag, exit));
    }

    /// A process was killed at its deadline or with its node.
    pub fn expired(&mut self, run: RunId, host: HostIx) {
        self.tally.expired += 1;
        self.leave(run, host);
    }

    /// A guard refused to start a process.
    pub fn too_late(&mut self) {
        self.tally.too_late += 1;
    }

    /// A guard found that a command can be started nowhere.
    pub fn impossible(&mut self) {
        self.tally.impossible += 1;
    }

    /// A process does not execute for now: its host is frozen.
    pub fn frozen(&mut self, run: RunId, host: HostIx) {
        self.leave(run, host);
    }

    /// A frozen process executes again before its deadline. (One thawed after it may execute until its guard has killed it;
    /// no lease can prevent that, and tasks get a fencing token against it: it is not counted.)
    pub fn thawed(&mut self, now: u64, run: RunId, host: HostIx) {
        self.execute(now, run, host);
    }

    /// A replica shows a committed outcome. Judges S2 and S3; of a task that may run anywhere only that it was not invented:
    /// its outcome may give way to another, and that all agree in the end is C1's to judge.
    pub fn committed(
        &mut self,
        now: u64,
        task: TaskId,
        host: HostIx,
        (outcome, terms): (&Outcome, Terms),
        void: &[OutcomeDigest],
    ) {
        let digest = outcome.digest();
        self.forget_void(task, void);
        let truth = self.tasks.entry(task).or_default();
        truth.terms = terms;
        if truth.void.contains(&digest) && !void.contains(&digest) {
            // It has not heard yet.
            return;
        }
        let promised = terms != Terms::Anywhere;
        let Some(commit) = truth.commit else {
            truth.commit = Some(Commit {
                digest,
                host,
                at: now,
            });
            let running = truth.executing.first().copied();
            let invented = invented(outcome, &truth.exits);
            self.tally.commits += 1;
            if let Some(run) = running.filter(|_| promised) {
                let what = format!(
                    "host {host} sees {:?} committed while epoch {} runs on host {}",
                    outcome.verdict, run.epoch, run.host
                );
                self.accuse(Judge::S3, now, Some(task), what);
            }
            if let Some(what) = invented {
                self.accuse(Judge::S2, now, Some(task), what);
            }
            return;
        };
        if commit.digest != digest && promised {
            let what = format!(
                "host {host} sees {:?} of epoch {} committed ({digest:?}), host {} saw {:?} at {}",
                outcome.verdict,
                outcome.origin.0,
                commit.host,
                commit.digest,
                seconds(commit.at)
            );
            self.accuse(Judge::S2, now, Some(task), what);
        }
    }

    /// Returns a process that still executes, if there is one.
    #[must_use]
    pub fn leftover(&self) -> Option<(TaskId, Epoch, HostIx)> {
        self.tasks.iter().find_map(|(task, truth)| {
            truth
                .executing
                .first()
                .map(|run| (*task, run.epoch, run.host))
        })
    }
}

/// The group whose window a task's runs count for. A window is not promised for what may run anywhere.
fn truth_group(tasks: &BTreeMap<TaskId, Truth>, task: TaskId) -> Option<(TaskId, u32)> {
    let truth = tasks.get(&task)?;
    truth.group.filter(|_| truth.terms != Terms::Anywhere)
}

/// Says why a majority cannot have voted for a run, by the votes that members held when it was ordered.
fn no_majority(run: RunId, facts: &StartFacts) -> Option<String> {
    let Backing {
        committee, votes, ..
    } = &facts.backing;
    if *committee == 0 {
        // No node is alive that knows it.
        return None;
    }
    let against = votes
        .iter()
        .filter(|(_, vote)| match vote {
            Some(vote) if vote.epoch == run.epoch => vote.claimant != facts.tag,
            Some(vote) => vote.epoch < run.epoch,
            None => true,
        })
        .count();
    let majority = committee / 2 + 1;
    (against > committee - majority).then(|| {
        format!(
            "started at epoch {} on host {}, but {against} of {} members never voted for it",
            run.epoch, facts.host, committee
        )
    })
}

/// Says why an outcome is not what a process did.
fn invented(outcome: &Outcome, exits: &[(Epoch, Tag, Exit)]) -> Option<String> {
    let report = outcome.report?;
    let (epoch, writer) = outcome.origin;
    let real = exits.contains(&(epoch, writer, report.exit));
    (!real).then(|| {
        format!(
            "{:?} of epoch {epoch} by {writer} was never the end of a process",
            report.exit
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crdt::task::Verdict;

    fn run(epoch: u32) -> RunId {
        RunId {
            task: TaskId { tag: Tag(1), n: 1 },
            epoch: Epoch(epoch),
        }
    }

    fn facts(host: HostIx) -> StartFacts {
        StartFacts {
            host,
            tag: Tag(1),
            backing: Backing {
                committee: 3,
                votes: Vec::new(),
                void: Vec::new(),
            },
            terms: Terms::Lease,
            most_starts: None,
            group: None,
        }
    }

    fn found(oracle: &Oracle) -> Option<Judge> {
        oracle.violation().map(|violation| violation.judge)
    }

    #[test]
    fn overlap_is_seen_and_succession_is_not_one() {
        let mut oracle = Oracle::default();
        oracle.started(10, run(1), &facts(0));
        oracle.expired(run(1), 0);
        oracle.started(20, run(2), &facts(1));
        assert_eq!(found(&oracle), None);
        oracle.started(30, run(3), &facts(0));
        assert_eq!(found(&oracle), Some(Judge::S1));
    }

    #[test]
    fn a_start_after_the_commit_is_seen() {
        let mut oracle = Oracle::default();
        let outcome = Outcome {
            origin: (Epoch(1), Tag(1)),
            verdict: Verdict::Success,
            report: None,
            reason: None,
        };
        oracle.committed(10, run(1).task, 0, (&outcome, Terms::Lease), &[]);
        oracle.started(20, run(2), &facts(1));
        assert_eq!(found(&oracle), Some(Judge::S3));
    }

    #[test]
    fn a_start_after_a_commit_is_no_fault_where_a_person_wanted_it() {
        let outcome = |epoch| Outcome {
            origin: (Epoch(epoch), Tag(1)),
            verdict: Verdict::Success,
            report: None,
            reason: None,
        };
        let first = outcome(1);
        for wanted in [true, false] {
            let mut oracle = Oracle::default();
            oracle.committed(10, run(1).task, 0, (&first, Terms::Lease), &[]);
            if wanted {
                oracle.wanted_again(run(1).task);
            }
            let mut again = facts(1);
            again.backing.void = vec![first.digest()];
            oracle.started(20, run(2), &again);
            assert_eq!(found(&oracle), (!wanted).then_some(Judge::S3));
            if wanted {
                // Who has not heard of it sees what was, who has sees what will be.
                oracle.committed(21, run(1).task, 0, (&first, Terms::Lease), &[]);
                oracle.expired(run(2), 1);
                let void = [first.digest()];
                oracle.committed(22, run(1).task, 1, (&outcome(2), Terms::Lease), &void);
                assert_eq!(found(&oracle), None);
                oracle.committed(23, run(1).task, 1, (&first, Terms::Lease), &void);
                assert_eq!(
                    found(&oracle),
                    Some(Judge::S2),
                    "it knows that this is void"
                );
            }
        }
    }

    #[test]
    fn two_values_and_invented_ones_are_seen() {
        let mut oracle = Oracle::default();
        let outcome = |epoch| Outcome {
            origin: (Epoch(epoch), Tag(1)),
            verdict: Verdict::Success,
            report: None,
            reason: None,
        };
        oracle.committed(10, run(1).task, 0, (&outcome(1), Terms::Lease), &[]);
        oracle.committed(11, run(1).task, 1, (&outcome(1), Terms::Lease), &[]);
        assert_eq!(found(&oracle), None);
        oracle.committed(12, run(1).task, 1, (&outcome(2), Terms::Lease), &[]);
        assert_eq!(found(&oracle), Some(Judge::S2));
    }

    #[test]
    fn one_epoch_starts_once_with_a_majority() {
        let mut oracle = Oracle::default();
        oracle.started(10, run(1), &facts(0));
        oracle.expired(run(1), 0);
        oracle.started(20, run(1), &facts(0));
        assert_eq!(found(&oracle), Some(Judge::S4));
        let mut oracle = Oracle::default();
        let votes = vec![(Tag(1), None), (Tag(2), None)];
        let backing = Backing {
            committee: 3,
            votes,
            void: Vec::new(),
        };
        oracle.started(
            10,
            run(1),
            &StartFacts {
                backing,
                ..facts(0)
            },
        );
        assert_eq!(found(&oracle), Some(Judge::S4));
    }

    #[test]
    fn a_window_counts_what_executes() {
        let mut oracle = Oracle::default();
        let group = Some((TaskId { tag: Tag(1), n: 99 }, 1));
        let member = |n| RunId {
            task: TaskId { tag: Tag(1), n },
            epoch: Epoch(1),
        };
        oracle.started(1, member(1), &StartFacts { group, ..facts(0) });
        oracle.exited(member(1), (0, Tag(1)), Exit::Code(0));
        oracle.started(2, member(2), &StartFacts { group, ..facts(0) });
        assert_eq!(found(&oracle), None);
        oracle.started(3, member(3), &StartFacts { group, ..facts(1) });
        assert_eq!(found(&oracle), Some(Judge::N1));
    }
}
