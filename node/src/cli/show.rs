//! `aque show`: everything known of a task.

use std::fmt::Write as _;

use crdt::task::{Arg, Captured, OnLost, OnPartition};

use super::parse::signal_name;
use super::problem::Problem;
use super::select::{InStates, Which};
use super::{Context, Form};
use crate::api::wire::{AttemptLine, Detail, Life, StdinWord, TaskLine};
use crate::render::text::{
    command, duration, harmless, instant, painted, size, span, states, style,
};

/// Show everything known of tasks
///
/// What was submitted, where it stands and why, its runs, its claims and votes, and the size of its output.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
}

const EXAMPLES: &str = "\
Examples:
  aque show last
  aque show --json k3v7qa-12 | jq '.tasks[0].usage'";

/// Shows tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let which = options.which.some(options.states)?;
    let details = context.connect()?.show(which)?.tasks;
    match context.form {
        Form::Json => context.json_list("tasks", &details)?,
        Form::Text => {
            let texts: Vec<_> = details.iter().map(render).collect();
            context.print(&texts.join("\n"))?;
        }
    }
    Ok(0)
}

fn render(detail: &Detail) -> String {
    let mut text = String::new();
    for (name, value) in facts(detail)
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    {
        // Writing to a string cannot fail.
        let _done = writeln!(text, "{name:<12}{value}");
    }
    for (place, attempt) in detail.attempts.iter().enumerate() {
        let name = if place == 0 { "claims" } else { "" };
        let _done = writeln!(text, "{name:<12}{}", claim(attempt));
    }
    for (place, register) in detail.registers.iter().enumerate() {
        let name = if place == 0 { "registers" } else { "" };
        let _done = writeln!(text, "{name:<12}{}", harmless(register));
    }
    text
}

fn facts(detail: &Detail) -> Vec<(&'static str, String)> {
    let line = &detail.line;
    let text = |text: &Option<String>| {
        text.as_deref()
            .map(harmless)
            .unwrap_or_default()
            .into_owned()
    };
    let usage = detail.usage.map_or_else(String::new, |usage| {
        let seconds = |us: u64| std::time::Duration::from_micros(us).as_secs_f64();
        let (user, system) = (seconds(usage.user_us), seconds(usage.system_us));
        let memory = size(usage.max_rss_kib.saturating_mul(1_024));
        let mut text = format!("{user:.3}s user, {system:.3}s system, {memory} at most");
        for (bytes, what) in [(usage.read_bytes, "read"), (usage.written_bytes, "written")] {
            if bytes > 0 {
                text += &format!(", {} {what}", size(bytes));
            }
        }
        text
    });
    vec![
        ("id", harmless(&line.id).into_owned()),
        ("name", text(&line.name)),
        ("state", state(line)),
        (
            "members",
            line.members.as_ref().map(states).unwrap_or_default(),
        ),
        ("command", command(&detail.argv)),
        ("calls", function(detail)),
        ("directory", harmless(&detail.cwd.to_text()).into_owned()),
        ("group", text(&line.group)),
        ("parent", text(&line.parent)),
        ("after", after(detail)),
        (
            "after any",
            harmless(&detail.life.after_any.join(" ")).into_owned(),
        ),
        (
            "after fail",
            harmless(&detail.life.after_fail.join(" ")).into_owned(),
        ),
        ("user", user(detail)),
        ("needs", needs(detail)),
        ("hosts", harmless(&detail.requires.hosts).into_owned()),
        ("platform", harmless(&detail.requires.platform).into_owned()),
        ("paths", command(&detail.requires.reads)),
        ("priority", line.priority.to_string()),
        ("retries", retries(detail)),
        ("on lost", on_lost(detail.on_lost).to_owned()),
        ("on partition", on_partition(detail.on_partition).to_owned()),
        ("stdin", input(&detail.life)),
        (
            "timeout",
            detail.life.timeout.map(duration).unwrap_or_default(),
        ),
        ("queue", text(&line.queue)),
        ("key", harmless(&detail.life.key).into_owned()),
        ("submitted", instant(line.created_ms)),
        (
            "not before",
            detail.life.not_before_ms.map(instant).unwrap_or_default(),
        ),
        (
            "expires",
            detail.life.expires_ms.map(instant).unwrap_or_default(),
        ),
        ("started", line.started_ms.map(instant).unwrap_or_default()),
        ("ended", ended(line)),
        ("progress", text(&line.progress)),
        ("host", text(&line.host)),
        ("epoch", line.epoch.to_string()),
        ("runs", line.attempts.to_string()),
        ("usage", usage),
        ("limits", limits(detail)),
        ("stdout", stream(detail.life.stdout.as_ref(), detail.stdout)),
        ("stderr", stream(detail.life.stderr.as_ref(), detail.stderr)),
        (
            "committee",
            harmless(&detail.committee.join(" ")).into_owned(),
        ),
    ]
}

/// The function that is called, if one is.
fn function(detail: &Detail) -> String {
    let function = detail.argv.get(1).filter(|_| detail.call);
    let text = function.map(|function| function.to_text());
    text.map_or_else(String::new, |text| harmless(&text).into_owned())
}

/// What must have succeeded first.
fn after(detail: &Detail) -> String {
    let life = &detail.life;
    let other = |id: &&String| life.after_any.contains(id) || life.after_fail.contains(id);
    let own = detail.line.after.iter().filter(|id| !other(id));
    let own: Vec<&str> = own.map(String::as_str).collect();
    harmless(&own.join(" ")).into_owned()
}

/// To whom it belongs and as whom it runs.
fn user(detail: &Detail) -> String {
    let mut text = harmless(&detail.line.user).into_owned();
    if let Some(group) = &detail.as_group {
        text += &format!(" as group {}", harmless(group));
    }
    if let Some(submitter) = &detail.submitter {
        text += &format!(", submitted by {}", harmless(submitter));
    }
    text
}

/// Nothing is said where there is nothing to say.
fn retries(detail: &Detail) -> String {
    if detail.retries == 0 {
        return String::new();
    }
    let mut text = format!("at most {}", detail.retries);
    if !detail.life.retry_on.is_empty() {
        text += " on ";
        text += &harmless(&detail.life.retry_on.join(","));
    }
    if let Some(backoff) = detail.life.backoff {
        text += ", after ";
        text += &duration(backoff);
    }
    text
}

fn input(life: &Life) -> String {
    if let Some(source) = &life.pipe_from {
        return format!("output of {}", harmless(source));
    }
    match &life.stdin {
        None => String::new(),
        Some(StdinWord::File(path)) => harmless(&path.to_text()).into_owned(),
        Some(StdinWord::Text(text)) => format!("{} of text", size(text.0.len() as u64)),
    }
}

/// Where a stream leads, or what was kept of it.
fn stream(file: Option<&Arg>, kept: Option<Captured>) -> String {
    file.map_or_else(
        || captured(kept),
        |path| format!("to {}", harmless(&path.to_text())),
    )
}

/// The default is not worth a line.
fn on_lost(on_lost: OnLost) -> &'static str {
    match on_lost {
        OnLost::Retry => "",
        OnLost::Wait => "wait for its host",
        OnLost::Fail => "end it",
    }
}

fn on_partition(on_partition: OnPartition) -> &'static str {
    match on_partition {
        OnPartition::Wait => "",
        OnPartition::Run => "run on either side",
    }
}

/// One claim: whose, whether it ran, who voted for it, how it ended.
fn claim(attempt: &AttemptLine) -> String {
    let ran = attempt.started_ms.map_or_else(
        || "not run".to_owned(),
        |at| format!("ran from {}", instant(at)),
    );
    let votes: Vec<_> = attempt
        .votes
        .iter()
        .map(|vote| harmless(&vote.member))
        .collect();
    let votes = match votes.as_slice() {
        // What may run on either side of a split is not voted for.
        [] => String::new(),
        votes => format!(", votes of {}", votes.join(" ")),
    };
    let (host, end) = (harmless(&attempt.host), harmless(&attempt.end));
    let harms = attempt
        .harms
        .iter()
        .map(|harm| format!("; {}", harmless(harm)));
    let harms: String = harms.collect();
    let epoch = attempt.epoch;
    format!("epoch {epoch} of {host}, {ran}{votes}: {end}{harms}")
}

fn state(line: &TaskLine) -> String {
    let state = painted(style(line.state), line.state.name());
    let end = match (line.exit, line.signal) {
        (_, Some(signal)) => signal_name(signal),
        (Some(exit), None) => format!("exit {exit}"),
        (None, None) => String::new(),
    };
    let reason = line.reason.as_deref().map(harmless).unwrap_or_default();
    match (reason.is_empty(), end.is_empty() || reason.contains(&end)) {
        (true, true) => state,
        (true, false) => format!("{state} ({end})"),
        (false, true) => format!("{state} ({reason})"),
        (false, false) => format!("{state} ({end}; {reason})"),
    }
}

fn ended(line: &TaskLine) -> String {
    let Some(ended) = line.ended_ms else {
        return String::new();
    };
    match line.started_ms {
        Some(started) => format!("{} (after {})", instant(ended), span(started, ended)),
        None => instant(ended),
    }
}

fn needs(detail: &Detail) -> String {
    let requires = &detail.requires;
    let cpus = f64::from(detail.needs.cpu_milli) / 1_000.0;
    let mut needs = vec![match requires.cpus_but {
        Some(0.0) => "all cpus".to_owned(),
        Some(but) => format!("all cpus but {but}"),
        None => format!("{cpus} cpus"),
    }];
    if detail.needs.memory_bytes > 0 {
        let sizes = std::iter::once(&detail.needs.memory_bytes).chain(&requires.memory_ladder);
        let sizes: Vec<String> = sizes.map(|bytes| size(*bytes)).collect();
        needs.push(format!("{} memory", sizes.join(", then ")));
    }
    let resources = requires.resources.iter();
    needs.extend(resources.map(|(name, amount)| format!("{amount} {}", harmless(name))));
    needs.join(", ")
}

/// Which stated limits held for the run, and which its host could not see to.
fn limits(detail: &Detail) -> String {
    let Some(held) = detail.limits else {
        return String::new();
    };
    let stated = [
        ("cpus", detail.requires.cpu_limit, held.cpus),
        ("memory", detail.needs.memory_bytes > 0, held.memory),
    ];
    let named = |wanted: bool| {
        let names = stated
            .iter()
            .filter(|(_, stated, held)| *stated && *held == wanted);
        names.map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
    };
    let (kept, not) = (named(true), named(false));
    let mut said = Vec::new();
    if !kept.is_empty() {
        said.push(format!("in force: {kept}"));
    }
    if !not.is_empty() {
        said.push(format!(
            "not in force: {not} ('aque doctor' on that host says why)"
        ));
    }
    said.join("; ")
}

fn captured(stream: Option<Captured>) -> String {
    stream.map_or_else(String::new, |stream| match stream.digest {
        Some(digest) => format!("{} (blake3 {digest})", size(stream.len)),
        None => "empty".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use crdt::ids::Digest;
    use crdt::task::{Arg, Needs, TaskState, Usage};

    use super::super::task::tests::line;
    use super::*;
    use std::time::Duration;

    use crate::api::wire::{LimitWords, Requirements, VoteLine};

    #[test]
    fn show_one_task() {
        let detail = Detail {
            line: TaskLine {
                exit: Some(3),
                reason: Some("exit 3".into()),
                host: Some("beta".into()),
                created_ms: 1_700_000_000_000,
                started_ms: Some(1_700_000_001_000),
                ended_ms: Some(1_700_000_003_500),
                epoch: 1,
                attempts: 1,
                after: vec!["k3v7qa-1".into(), "k3v7qa-2".into()],
                ..line("k3v7qa-12", TaskState::Error)
            },
            argv: ["sh", "-c", "exit 3"].map(Arg::from).to_vec(),
            call: false,
            cwd: Arg::from("/home/ann"),
            retries: 2,
            on_lost: Default::default(),
            on_partition: Default::default(),
            life: Life {
                after_any: vec!["k3v7qa-2".into()],
                expires_ms: Some(1_700_000_600_000),
                timeout: Some(Duration::from_secs(90)),
                stdin: Some(StdinWord::Text("hello".into())),
                stderr: Some("errors.log".into()),
                retry_on: vec!["75".into(), "timeout".into()],
                backoff: Some(Duration::from_secs(1)),
                ..Life::default()
            },
            requires: Requirements {
                resources: [("gpu".to_owned(), 1.5)].into(),
                hosts: "render-*,!render-7".into(),
                cpu_limit: true,
                reads: vec!["/proj".into(), "/a b".into()],
                ..Requirements::default()
            },
            needs: Needs {
                cpu_milli: 500,
                memory_bytes: 1 << 30,
            },
            as_group: Some("video".into()),
            submitter: Some("root".into()),
            committee: vec!["alpha".into(), "beta".into()],
            registers: vec!["bid of a: epoch 1".into(), "vote of b: epoch 1".into()],
            attempts: vec![AttemptLine {
                epoch: 1,
                host: "beta".into(),
                started_ms: Some(1_700_000_001_000),
                votes: vec![VoteLine {
                    member: "alpha".into(),
                    because: String::new(),
                    rule: String::new(),
                }],
                end: "failure".into(),
                harms: vec!["the guard died".into()],
            }],
            usage: Some(Usage {
                user_us: 1_500,
                system_us: 2_000,
                max_rss_kib: 4_096,
                read_bytes: 0,
                written_bytes: 1 << 20,
            }),
            limits: Some(LimitWords {
                memory: true,
                cpus: false,
            }),
            stdout: Some(Captured {
                len: 2_048,
                digest: Some(Digest([0xab; 32])),
            }),
            stderr: None,
        };
        let text = anstream::adapter::strip_str(&render(&detail)).to_string();
        assert_eq!(
            text,
            format!(
                "\
id          k3v7qa-12
state       error (exit 3)
command     sh -c 'exit 3'
directory   /home/ann
after       k3v7qa-1
after any   k3v7qa-2
user        ann as group video, submitted by root
needs       0.5 cpus, 1.0 GiB memory, 1.5 gpu
hosts       render-*,!render-7
paths       /proj '/a b'
priority    1000
retries     at most 2 on 75,timeout, after 1.0s
stdin       5 B of text
timeout     1m30s
submitted   2023-11-14T22:13:20Z
expires     2023-11-14T22:23:20Z
started     2023-11-14T22:13:21Z
ended       2023-11-14T22:13:23Z (after 2.5s)
host        beta
epoch       1
runs        1
usage       0.002s user, 0.002s system, 4.0 MiB at most, 1.0 MiB written
limits      in force: memory; not in force: cpus ('aque doctor' on that host says why)
stdout      2.0 KiB (blake3 {})
stderr      to errors.log
committee   alpha beta
claims      epoch 1 of beta, ran from 2023-11-14T22:13:21Z, votes of alpha: failure; the guard died
registers   bid of a: epoch 1
            vote of b: epoch 1
",
                "ab".repeat(32)
            )
        );
    }

    #[test]
    fn state_table() {
        for (exit, signal, reason, text) in [
            (None, None, None, "error"),
            (Some(3), None, None, "error (exit 3)"),
            (
                None,
                Some(9),
                Some("host lost"),
                "error (SIGKILL; host lost)",
            ),
            (None, None, Some("expired"), "error (expired)"),
        ] {
            let reason = reason.map(str::to_owned);
            let line = TaskLine {
                exit,
                signal,
                reason,
                ..line("a-1", TaskState::Error)
            };
            assert_eq!(
                anstream::adapter::strip_str(&state(&line)).to_string(),
                text
            );
        }
    }
}
