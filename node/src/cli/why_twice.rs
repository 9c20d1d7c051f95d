//! `aque why-twice`: why a task ran more than once, and by which rule each further run was allowed.

use std::fmt::Write as _;

use crdt::task::OnPartition;

use super::problem::Problem;
use super::select::{InStates, Which};
use super::{Context, Form};
use crate::api::wire::{AttemptLine, Detail};
use crate::render::text::{count, harmless, instant};

/// Show why a task ran more than once
///
/// A task runs again if the host that ran it was lost or failed, and only after that run was dead. What is shown are the votes
/// that allowed it, as the documents prove them; docs/protocol.md has the rules.
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
  aque why-twice k3v7qa-12
  aque why-twice -f 'attempts > 1'
  aque why-twice --json last | jq '.tasks[0].runs'";

/// Explains the runs of tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    #[derive(serde::Serialize)]
    struct Runs<'a> {
        id: &'a str,
        runs: Vec<&'a AttemptLine>,
    }
    let which = options.which.some(options.states)?;
    let details = context.connect()?.show(which)?.tasks;
    match context.form {
        Form::Json => {
            let runs = details.iter().map(|detail| Runs {
                id: &detail.line.id,
                runs: runs(detail),
            });
            context.json_list("tasks", &runs.collect::<Vec<_>>())?;
        }
        Form::Text => {
            let texts: Vec<_> = details.iter().map(render).collect();
            context.print(&texts.join("\n"))?;
        }
    }
    Ok(0)
}

fn runs(detail: &Detail) -> Vec<&AttemptLine> {
    let attempts = detail.attempts.iter();
    attempts
        .filter(|attempt| attempt.started_ms.is_some())
        .collect()
}

fn render(detail: &Detail) -> String {
    let (id, runs) = (harmless(&detail.line.id), runs(detail));
    let mut text = match runs.len() {
        0 => return format!("{id} has not run.\n"),
        1 => format!("{id} ran once.\n"),
        times => {
            let times = count(times as u64, "time");
            match detail.on_partition {
                OnPartition::Wait => format!("{id} ran {times}, one after the other.\n"),
                OnPartition::Run => format!(
                    "{id} ran {times}: it may run on either side of a split (--on-partition run), and one result counts.\n"
                ),
            }
        }
    };
    for (place, run) in runs.iter().enumerate() {
        let (host, end) = (harmless(&run.host), harmless(&run.end));
        let started = run.started_ms.map(instant).unwrap_or_default();
        // Writing to a string cannot fail.
        let _done = writeln!(
            text,
            "run {} on {host} at epoch {}, started {started}: {end}",
            place + 1,
            run.epoch
        );
        for harm in &run.harms {
            let _done = writeln!(text, "    {}", harmless(harm));
        }
        for vote in run.votes.iter().filter(|_| place > 0) {
            let (member, because) = (harmless(&vote.member), harmless(&vote.because));
            let _done = writeln!(
                text,
                "    {member} voted for it: {because}  [{}]",
                vote.rule
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crdt::task::{Needs, TaskState};

    use super::super::task::tests::line;
    use super::*;
    use crate::api::wire::VoteLine;

    fn detail(attempts: Vec<AttemptLine>) -> Detail {
        Detail {
            line: line("k3v7qa-12", TaskState::Success),
            call: false,
            argv: Vec::new(),
            cwd: "/".into(),
            retries: 0,
            on_lost: Default::default(),
            on_partition: Default::default(),
            life: Default::default(),
            requires: Default::default(),
            needs: Needs::default(),
            as_group: None,
            submitter: None,
            committee: Vec::new(),
            registers: Vec::new(),
            attempts,
            usage: None,
            limits: None,
            stdout: None,
            stderr: None,
        }
    }

    fn attempt(epoch: u32, host: &str, started_ms: Option<u64>, end: &str) -> AttemptLine {
        let vote = VoteLine {
            member: "gamma".into(),
            because: "alpha had given up epoch 1, its run dead".into(),
            rule: "V2 (a)".into(),
        };
        AttemptLine {
            epoch,
            host: host.into(),
            started_ms,
            votes: vec![vote],
            end: end.into(),
            harms: Vec::new(),
        }
    }

    #[test]
    fn every_run_but_the_first_is_explained() {
        let at = Some(1_700_000_000_000);
        let twice = detail(vec![
            attempt(1, "alpha", at, "given up"),
            attempt(2, "alpha", None, "given up"),
            attempt(3, "beta", at, "success"),
        ]);
        assert_eq!(
            render(&twice),
            "\
k3v7qa-12 ran 2 times, one after the other.
run 1 on alpha at epoch 1, started 2023-11-14T22:13:20Z: given up
run 2 on beta at epoch 3, started 2023-11-14T22:13:20Z: success
    gamma voted for it: alpha had given up epoch 1, its run dead  [V2 (a)]
"
        );
        let anywhere = Detail {
            on_partition: OnPartition::Run,
            ..twice
        };
        assert!(render(&anywhere).contains("either side of a split"));
        assert_eq!(render(&detail(Vec::new())), "k3v7qa-12 has not run.\n");
        let once = render(&detail(vec![attempt(1, "alpha", at, "success")]));
        assert!(
            once.starts_with("k3v7qa-12 ran once.\n") && !once.contains("voted"),
            "{once}"
        );
    }
}
