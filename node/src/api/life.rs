//! What few tasks state: between the words of the API and the options of a spec.

use crdt::ids::TaskId;
use crdt::replica::Replica;
use crdt::task::{Edits, Input, Needs, Options, Work};
use crdt::time::Wall;

use super::ids;
use super::lines::SubmissionError;
use super::rights::Caller;
use super::wire::{EditWords, Life, Requirements, StdinWord};

/// Returns the options that a request states; `place` is the task's in its submission.
///
/// # Errors
/// Ids that name no task, and words that name no failure.
pub(super) fn options(
    replica: &Replica,
    life: Life,
    requires: Requirements,
    caller: &Caller,
    place: usize,
) -> Result<Options, SubmissionError> {
    let known = |texts: &[String]| ids::resolve(replica, texts, &caller.user);
    let causes = life.retry_on.iter().map(|text| text.parse());
    let retry_on: Result<_, _> = causes.collect();
    let pipe_from = match &life.pipe_from {
        Some(text) => Some(source(replica, text, caller, place)?),
        None => None,
    };
    Ok(Options {
        pipe_from,
        after_any: known(&life.after_any)?,
        after_fail: known(&life.after_fail)?,
        not_before: life.not_before_ms.map(Wall),
        expires: life.expires_ms.map(Wall),
        timeout: life.timeout,
        held: life.held,
        retry_on: retry_on.map_err(|error| SubmissionError::Task {
            place,
            why: format!("what it is retried on is {error}"),
        })?,
        backoff: life.backoff.unwrap_or_default(),
        stdin: life.stdin.map(|stdin| match stdin {
            StdinWord::File(path) => Input::File(path),
            StdinWord::Text(text) => Input::Bytes(text),
        }),
        stdout: life.stdout,
        stderr: life.stderr,
        key: life.key,
        resources: requires
            .resources
            .into_iter()
            .map(|(name, amount)| (name, milli(amount)))
            .collect(),
        memory_ladder: requires.memory_ladder,
        hosts: requires.hosts,
        platform: requires.platform,
        reads: requires.reads,
        cpus_but: requires.cpus_but.map(milli),
        cpu_limit: requires.cpu_limit,
        ..Options::default()
    })
}

/// Returns the task whose output another is to read.
fn source(
    replica: &Replica,
    text: &str,
    caller: &Caller,
    place: usize,
) -> Result<TaskId, SubmissionError> {
    let id = ids::one(replica, text, &caller.user)?;
    let Some(view) = replica.task(id) else {
        return Ok(id);
    };
    let label = view.label();
    let refused = |why: String, hint: String| Err(SubmissionError::Pipe { place, why, hint });
    if matches!(view.spec.work, Work::Group { .. }) {
        let first = replica.tasks_of_group(id).first().copied();
        let first = first.and_then(|id| replica.task(id));
        let first = first.map_or_else(String::new, |view| format!(", such as {}", view.label()));
        return refused(
            format!("{label} is a group of tasks and has no output of its own"),
            format!("name one of them{first}"),
        );
    }
    if let Some(file) = &view.spec.options.stdout {
        let file = file.to_text();
        return refused(
            format!("{label} writes its output to the file {file}"),
            format!("read that with --stdin {file}"),
        );
    }
    Ok(id)
}

/// Returns what a person states of a task otherwise.
pub(crate) fn edits(words: EditWords) -> Edits {
    let default = Needs::default().cpu_milli;
    let cpus = match (words.cpus, words.cpus_but) {
        (cpus, Some(but)) => Some((cpus.map_or(default, milli), Some(milli(but)))),
        (Some(cpus), None) => Some((milli(cpus), None)),
        (None, None) => None,
    };
    let resources = words.resources.map(|resources| {
        let each = resources.into_iter();
        each.map(|(name, amount)| (name, milli(amount))).collect()
    });
    Edits {
        name: words.name,
        priority: words.priority,
        cpus,
        memory: words.memory,
        resources,
        hosts: words.hosts,
        platform: words.platform,
        queue: words.queue,
        ..Edits::default()
    }
}

/// Thousandths of an amount.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates"
)]
fn milli(amount: f64) -> u32 {
    (amount * 1_000.0).round() as u32
}

/// Returns what a spec's options state of hosts.
pub(super) fn requirements(options: &Options) -> Requirements {
    let whole = |milli: u32| f64::from(milli) / 1_000.0;
    let resources = options.resources.iter();
    Requirements {
        resources: resources
            .map(|(name, milli)| (name.clone(), whole(*milli)))
            .collect(),
        cpus_but: options.cpus_but.map(whole),
        cpu_limit: options.cpu_limit,
        memory_ladder: options.memory_ladder.clone(),
        hosts: options.hosts.clone(),
        platform: options.platform.clone(),
        reads: options.reads.clone(),
    }
}

/// Returns what a spec's options state of starts, ends and streams.
pub(super) fn life(options: &Options) -> Life {
    let texts = |ids: &[crdt::ids::TaskId]| ids.iter().map(ToString::to_string).collect();
    Life {
        after_any: texts(&options.after_any),
        after_fail: texts(&options.after_fail),
        not_before_ms: options.not_before.map(|wall| wall.0),
        expires_ms: options.expires.map(|wall| wall.0),
        timeout: options.timeout,
        held: options.held,
        retry_on: options.retry_on.iter().map(ToString::to_string).collect(),
        backoff: (!options.backoff.is_zero()).then_some(options.backoff),
        stdin: options.stdin.clone().map(|stdin| match stdin {
            Input::File(path) => StdinWord::File(path),
            Input::Bytes(text) => StdinWord::Text(text),
        }),
        pipe_from: options.pipe_from.map(|id| id.to_string()),
        stdout: options.stdout.clone(),
        stderr: options.stderr.clone(),
        key: options.key.clone(),
    }
}
