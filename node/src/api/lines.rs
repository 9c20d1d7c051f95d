//! From a replica's views to the lines that clients read, and from their requests to its inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crdt::entry::DutyKind;
use crdt::event::{Links, NewTask};
use crdt::history::{Attempt, Freed};
use crdt::ids::{PeerId, Tag, TaskId};
use crdt::replica::{Glance, Outlook, Replica};
use crdt::roster::MemberView;
use crdt::settings::Settings;
use crdt::task::{
    Arg, Environment, Exit, Limits, Membership, OnLost, OnPartition, Options, TaskSpec, TaskState,
    TaskView, Work,
};
use crdt::time::Wall;

use super::ids::{self, IdError};
use super::life::{life, options, requirements};
use super::rights::Caller;
use super::wire::{
    AttemptLine, Detail, LimitWords, NodeLine, RunAs, Submission, TaskLine, TaskRequest, VoteLine,
};
use crate::call;

/// Names of hosts, and whether they are heard of, for many lines at once.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<PeerId, Known>);

#[derive(Clone, Debug)]
struct Known {
    name: String,
    alive: bool,
}

impl Names {
    /// Reads the names of all members.
    #[must_use]
    pub fn of(replica: &Replica) -> Self {
        let known = replica.members().into_iter().map(|member| {
            let (name, alive) = (member.name, member.alive);
            (member.peer, Known { name, alive })
        });
        Self(known.collect())
    }

    /// Says whether a host that has told its name is not heard of.
    fn is_away(&self, peer: PeerId) -> bool {
        self.0.get(&peer).is_some_and(|known| !known.alive)
    }

    /// Returns what people call the host with this tag; the tag itself if it has said nothing yet.
    #[must_use]
    pub fn name_of(&self, tag: Tag) -> String {
        let known = self.0.iter().find(|(peer, _)| peer.tag() == tag);
        known.map_or_else(|| tag.to_string(), |(_, known)| known.name.clone())
    }

    /// Returns what people call a host; its tag if it has said nothing yet.
    #[must_use]
    pub fn name(&self, peer: PeerId) -> String {
        self.0
            .get(&peer)
            .map_or_else(|| peer.tag().to_string(), |known| known.name.clone())
    }
}

/// What the lines of many tasks are made with.
#[derive(Debug)]
pub struct Lines<'a> {
    names: Names,
    outlook: Outlook<'a>,
}

impl<'a> Lines<'a> {
    /// Looks at the hosts once.
    #[must_use]
    pub fn of(replica: &'a Replica) -> Self {
        Self {
            names: Names::of(replica),
            outlook: replica.outlook(),
        }
    }

    /// Returns the names of the hosts.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the status line of a task, with the reason why it does not run now.
    #[must_use]
    pub fn line(&self, task: &Glance<'_>) -> TaskLine {
        TaskLine {
            reason: self.reason(task),
            ..task_line(&task.view(), &self.names)
        }
    }

    /// Says why a task stands where it stands.
    #[must_use]
    pub fn reason(&self, task: &Glance<'_>) -> Option<String> {
        let known = self.outlook.reason(task);
        known.or_else(|| absence(task.spec(), task.state(), || task.host(), &self.names))
    }
}

/// Returns the status line of a task, with what its state says of the reason.
#[must_use]
pub fn task_line(view: &TaskView, names: &Names) -> TaskLine {
    let spec = &view.spec;
    let is_group = matches!(spec.work, Work::Group { .. });
    let report = view.outcome.as_ref().and_then(|outcome| outcome.report);
    let (exit, signal) = match report.map(|report| report.exit) {
        Some(Exit::Code(code)) => (Some(code), None),
        Some(Exit::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    TaskLine {
        id: view.label(),
        group: view.member_of.map(|member| member.group.to_string()),
        parent: spec.options.parent.map(|parent| parent.to_string()),
        name: spec.name.clone(),
        command: command_text(&spec.work),
        state: view.state,
        reason: view
            .reason
            .clone()
            .or_else(|| absence(spec, view.state, || view.host, names)),
        progress: view.progress.clone(),
        host: view.host.map(|host| names.name(host)),
        epoch: view.epoch.0,
        attempts: view.attempts,
        priority: spec.priority,
        queue: Some(spec.options.queue.clone()).filter(|queue| !queue.is_empty()),
        user: spec.user.clone(),
        after: spec.dependencies().map(|(id, _)| id.to_string()).collect(),
        created_ms: spec.created.0,
        started_ms: report
            .map(|report| report.started)
            .or(view.started)
            .map(|wall| wall.0),
        ended_ms: report.map(|report| report.ended.0),
        exit,
        signal,
        members: view.members.filter(|_| is_group).map(by_name),
        below: None,
        cpus: (!is_group).then(|| f64::from(spec.needs.cpu_milli) / 1_000.0),
        memory_bytes: Some(spec.needs.memory_bytes).filter(|bytes| !is_group && *bytes > 0),
        rss_bytes: report.map(|report| report.usage.max_rss_kib.saturating_mul(1_024)),
    }
}

/// Says what a task is up to whose host is not heard of.
fn absence(
    spec: &TaskSpec,
    state: TaskState,
    host: impl FnOnce() -> Option<PeerId>,
    names: &Names,
) -> Option<String> {
    if !matches!(state, TaskState::Running | TaskState::Claimed) {
        return None;
    }
    let host = host().filter(|host| names.is_away(*host))?;
    let name = names.name(host);
    Some(match (spec.on_partition, spec.on_lost) {
        (OnPartition::Wait, OnLost::Wait) => {
            format!("{name} is not heard of: waits for it, or for 'aque retry'")
        }
        (OnPartition::Wait, OnLost::Fail) => {
            format!("{name} is not heard of: ends as lost once its lease has run out")
        }
        (_, OnLost::Retry) | (OnPartition::Run, _) => {
            format!("{name} is not heard of: runs again once its lease has run out")
        }
    })
}

fn by_name(counts: [u32; 11]) -> BTreeMap<String, u32> {
    let named = TaskState::ALL
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0);
    named
        .map(|(state, count)| (state.name().to_owned(), count))
        .collect()
}

/// Returns the command as one would type it.
pub(super) fn command_text(work: &Work) -> String {
    match work {
        Work::Command { argv, .. } => crate::render::text::command(argv),
        Work::Group { .. } => String::new(),
    }
}

/// Returns everything known of a task.
#[must_use]
pub fn detail(replica: &Replica, task: &Glance<'_>, lines: &Lines<'_>) -> Detail {
    let (view, names) = (task.view(), lines.names());
    let report = view.outcome.as_ref().and_then(|outcome| outcome.report);
    let argv = match &view.spec.work {
        Work::Command { argv, .. } => argv.clone(),
        Work::Group { .. } => Vec::new(),
    };
    let committee = replica.committee(view.id).unwrap_or_default();
    Detail {
        line: lines.line(task),
        argv,
        call: view.spec.options.call,
        cwd: view.spec.cwd.clone(),
        needs: view.spec.needs,
        retries: view.spec.retries,
        on_lost: view.spec.on_lost,
        on_partition: view.spec.on_partition,
        life: life(&view.spec.options),
        requires: requirements(&view.spec.options),
        as_group: stated(&view.spec.options.as_group),
        submitter: stated(&view.spec.options.submitter),
        committee: committee.into_iter().map(|peer| names.name(peer)).collect(),
        registers: replica.explain_registers(view.id),
        attempts: attempts(replica, view.id, names),
        usage: report.map(|report| report.usage),
        limits: report.map(|report| LimitWords {
            memory: report.limits.has(Limits::MEMORY),
            cpus: report.limits.has(Limits::CPUS),
        }),
        stdout: report.map(|report| report.stdout),
        stderr: report.map(|report| report.stderr),
    }
}

fn stated(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Returns the claims of a task.
fn attempts(replica: &Replica, id: TaskId, names: &Names) -> Vec<AttemptLine> {
    let name = |tag| names.name_of(tag);
    let vote = |(member, freed): &(Tag, Freed)| {
        let (because, rule) = why_free(*freed, &name);
        VoteLine {
            member: name(*member),
            because,
            rule: rule.to_owned(),
        }
    };
    let line = |attempt: &Attempt| AttemptLine {
        epoch: attempt.epoch.0,
        host: name(attempt.claimant),
        started_ms: attempt.started.map(|wall| wall.0),
        votes: attempt.votes.iter().map(vote).collect(),
        end: attempt.end.to_string(),
        harms: attempt.harms.clone(),
    };
    replica.attempts(id).iter().map(line).collect()
}

/// Says what freed a vote, and by which rule.
fn why_free(freed: Freed, name: &impl Fn(Tag) -> String) -> (String, &'static str) {
    match freed {
        Freed::Unvoted => ("it had voted for nobody".to_owned(), "V2 (0)"),
        Freed::Newcomer => (
            "it was new in the committee, and waited out what the one before may have granted"
                .to_owned(),
            "M6",
        ),
        Freed::Replaced(tag, epoch) => (
            format!(
                "the committee was replaced, and {} had no lease left at epoch {epoch}",
                name(tag)
            ),
            "M6",
        ),
        Freed::Done => (
            "it had accepted an outcome: that run had ended".to_owned(),
            "V2 (0)",
        ),
        Freed::GivenUp(tag, epoch) => (
            format!("{} had given up epoch {epoch}, its run dead", name(tag)),
            "V2 (a)",
        ),
        Freed::Ended(tag, epoch) => (
            format!("the run of {} at epoch {epoch} had ended", name(tag)),
            "V2 (b)",
        ),
        Freed::Split(tag, epoch) => (
            format!("{} could not win epoch {epoch} any more", name(tag)),
            "V2 (c)",
        ),
        Freed::Silent(tag, epoch) => (
            format!(
                "{} was silent for longer than its lease at epoch {epoch} could last",
                name(tag)
            ),
            "V2 (d)",
        ),
    }
}

/// Returns the line of a host.
#[must_use]
pub fn node_line(
    member: &MemberView,
    round_trip: Option<std::time::Duration>,
    places: usize,
) -> NodeLine {
    let beat = member.beat.as_ref();
    let milli = |pick: fn(&crdt::entry::Beat) -> u32| f64::from(beat.map_or(0, pick)) / 1_000.0;
    NodeLine {
        name: member.name.clone(),
        tag: member.peer.tag().to_string(),
        alive: member.alive,
        own: member.own,
        since_ms: None,
        silent_ms: member
            .silent
            .filter(|_| !member.alive)
            .and_then(|silent| u64::try_from(silent.as_millis()).ok()),
        cpus: milli(|beat| beat.cpu_milli),
        cpus_free: milli(|beat| beat.free_milli),
        memory_bytes: beat.map_or(0, |beat| beat.memory_bytes),
        running: beat.map_or(0, |beat| beat.running),
        draining: member.duty == DutyKind::Drains,
        places,
        load: f64::from(beat.map_or(0, |beat| beat.load_centi)) / 100.0,
        version: beat.map(|beat| beat.version.clone()).unwrap_or_default(),
        round_trip_ms: round_trip.map(|time| time.as_secs_f64() * 1_000.0),
        differs: None,
        addresses: member.addresses.clone(),
    }
}

/// Why a submission cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// An id in it names no task.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A task refers to a place that is not there, or to nothing.
    #[error("task {place} of the submission: {why}")]
    Task {
        /// Its place, from 0.
        place: usize,
        /// What is wrong.
        why: String,
    },
    /// It would read the output of something that has none.
    #[error("task {place} of the submission: {why}")]
    Pipe {
        /// Its place, from 0.
        place: usize,
        /// What is wrong.
        why: String,
        /// What to do.
        hint: String,
    },
}

impl SubmissionError {
    /// Returns what to do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Id(_) => Some(ids::LOOK.to_owned()),
            Self::Task { .. } => None,
            Self::Pipe { hint, .. } => Some(hint.clone()),
        }
    }
}

/// Returns a submission as the replica takes it.
///
/// # Errors
/// References that lead nowhere.
pub fn new_tasks(
    replica: &Replica,
    submission: Submission,
    caller: &Caller,
    now: Wall,
) -> Result<Vec<NewTask>, SubmissionError> {
    let mut env = submission.env;
    if let Some(Environment(pairs)) = &mut env {
        pairs.sort_unstable();
        pairs.dedup_by(|a, b| a.0 == b.0);
    }
    let env = env.map(Arc::new);
    let tasks = submission.tasks.into_iter().enumerate();
    tasks
        .map(|(place, task)| new_task(replica, place, task, env.as_ref(), caller, now))
        .collect()
}

/// The queue of a task that names one, or none.
fn turn_queue(replica: &Replica, named: Option<String>) -> String {
    named.unwrap_or_else(|| replica.settings().default_queue().to_owned())
}

fn new_task(
    replica: &Replica,
    place: usize,
    task: TaskRequest,
    env: Option<&Arc<Environment>>,
    caller: &Caller,
    now: Wall,
) -> Result<NewTask, SubmissionError> {
    let wrong = |why: &str| SubmissionError::Task {
        place,
        why: why.to_owned(),
    };
    let work = match task.group_size {
        Some(_) if !task.argv.is_empty() => return Err(wrong("a group has no command")),
        Some(size) => Work::Group {
            size: (size > 0).then_some(size),
        },
        None if task.argv.is_empty() => return Err(wrong("there is no command")),
        None if task.call && task.shell.is_some() => {
            return Err(wrong("a call is made by no shell"));
        }
        None => Work::Command {
            argv: task.argv,
            shell: task.shell,
        },
    };
    if let Work::Command { argv, .. } = &work
        && task.call
    {
        call::check(argv).map_err(|error| wrong(&error.to_string()))?;
    }
    let mut links = Links {
        after: task.after_places,
        group: None,
    };
    let member_of = match task.member {
        None => None,
        Some(member) => {
            links.group = member.group_place;
            let group = match (&member.group, member.group_place) {
                (Some(text), None) => ids::one(replica, text, &caller.user)?,
                // The replica puts the real id in.
                (None, Some(_)) => TaskId {
                    tag: replica.own_tag(),
                    n: 0,
                },
                (Some(_), Some(_)) | (None, None) => return Err(wrong("it names one group")),
            };
            Some(Membership {
                group,
                index: member.index,
                window: member.window,
            })
        }
    };
    let parent = match &task.parent {
        Some(parent) => Some(ids::one(replica, parent, &caller.user)?),
        None => None,
    };
    let RunAs { user, group } = task.run_as;
    let owner = user.unwrap_or_else(|| caller.user.clone());
    let submitter = match owner == caller.user {
        true => String::new(),
        false => caller.user.clone(),
    };
    let mut spec = TaskSpec {
        work,
        name: task.name,
        cwd: if task.cwd.0.is_empty() {
            Arg::from("/")
        } else {
            task.cwd
        },
        env: None,
        extra_env: task.extra_env,
        needs: task.needs,
        priority: task
            .priority
            .or_else(|| replica.settings().number(Settings::PRIORITY))
            .unwrap_or(TaskSpec::DEFAULT_PRIORITY),
        after: ids::resolve(replica, &task.after, &caller.user)?,
        member_of,
        user: owner,
        uid: caller.uid,
        created: now,
        retries: task.retries,
        on_lost: task.on_lost,
        on_partition: task.on_partition,
        options: Options {
            call: task.call,
            parent,
            elements: task.elements,
            queue: turn_queue(replica, task.turn.queue),
            duration: task.turn.duration.unwrap_or_default(),
            io: task.turn.io,
            as_group: group.unwrap_or_default(),
            submitter,
            ..options(replica, task.life, task.requires, caller, place)?
        },
    };
    if let Some(source) = spec.options.pipe_from
        && !spec.dependencies().any(|(id, _)| id == source)
    {
        spec.after.push(source);
    }
    let env = env.filter(|_| task.inherit_env).map(Arc::clone);
    Ok(NewTask { spec, env, links })
}
