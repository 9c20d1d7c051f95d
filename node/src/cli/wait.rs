//! `aque wait`: until tasks have ended.

use std::time::Duration;

use crdt::task::TaskState;

use super::interrupt::{left_alone, on_interrupt};
use super::problem::{Kind, Problem};
use super::select::{InStates, Which, named};
use super::{Context, Form, Talk, parse};
use crate::api::select::Selection;
use crate::api::wire::{Call, Progress, StatusQuery};
use crate::client::{Client, ClientError, Limit};
use crate::render::note;
use crate::render::progress::Meter;

/// Wait until tasks have ended
///
/// Exits with 0 if all ended well, with 1 if one did not, with 124 if the time ran out. A group counts as its members.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    /// One that has ended is enough
    #[arg(long)]
    any: bool,
    /// Give up after this long: 30s, 5m
    #[arg(long, value_name = "DUR", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// Wait for this state instead of for the end
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<TaskState>,
}

const EXAMPLES: &str = "\
Examples:
  aque wait last
  aque wait --any k3v7qa-12 k3v7qa-13
  aque wait --timeout 10m k3v7qa-12 || aque kill k3v7qa-12
  aque wait --state running k3v7qa-12
  aque wait -f 'name ~ render*'";

/// What is waited for.
struct Wish {
    which: Selection,
    any: Any,
    state: Option<TaskState>,
    limit: Limit,
}

/// How many of the tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Any {
    One,
    All,
}

/// Waits, and shows how far it is.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let which = options.which.some(InStates::default())?;
    let mut client = context.connect()?;
    let text = left_alone(&named(&which));
    on_interrupt(move || note(&text))?;
    let wanted = options.state;
    let wish = Wish {
        which,
        any: if options.any { Any::One } else { Any::All },
        state: wanted,
        limit: options.timeout.map_or(Limit::Never, Limit::within),
    };
    let Some(progress) = watch(context, &mut client, wish)? else {
        return Err(
            Problem::new(Kind::TimedOut, "the time ran out before they had ended")
                .hint("they go on; 'aque status' shows how far they are"),
        );
    };
    if context.form == Form::Json {
        context.json(&progress)?;
    }
    let failed = verdict(&progress, wanted);
    if failed > 0 {
        let total = progress.total;
        context.remark(&format!(
            "aque: {failed} of {total} did not end well; see 'aque status'"
        ));
    }
    Ok(u8::from(failed > 0))
}

/// Waits for the end of all these tasks, and shows how far it is.
pub(crate) fn wait_with_meter(
    context: &Context,
    client: &mut Client,
    ids: Vec<String>,
) -> Result<(), Problem> {
    let wish = Wish {
        which: ids.into(),
        any: Any::All,
        state: None,
        limit: Limit::Never,
    };
    watch(context, client, wish).map(|_ended| ())
}

/// Returns the last progress; `None` when the limit came first.
fn watch(context: &Context, client: &mut Client, wish: Wish) -> Result<Option<Progress>, Problem> {
    let Wish {
        which,
        any,
        state,
        limit,
    } = wish;
    let any = any == Any::One;
    let call = Call::Wait {
        which: as_ids(client, which)?,
        any,
        state,
        each: false,
    };
    let mut meter = match context.talk {
        Talk::Normal => Meter::new(),
        Talk::Quiet => Meter::Silent,
    };
    let mut last = None;
    let ended = client.wait(&call, limit, |progress| {
        meter.show(progress.done, progress.total, &remark(&progress));
        last = Some(progress);
        Ok::<(), ClientError>(())
    });
    meter.clear();
    let ended = ended?;
    Ok(last.filter(|_| ended))
}

/// Returns what is meant now by ids that would mean others later: a node may have to be asked again.
fn as_ids(client: &mut Client, which: Selection) -> Result<Selection, Problem> {
    if !which.narrows() && !which.ids.iter().any(|id| id == "last") {
        return Ok(which);
    }
    let query = StatusQuery {
        which: which.clone(),
        ..StatusQuery::default()
    };
    let tasks = client.status(query)?.tasks.into_iter();
    let ids: Vec<String> = tasks.map(|line| line.id).collect();
    // That there is none is for the node to say.
    Ok(if ids.is_empty() { which } else { ids.into() })
}

fn remark(progress: &Progress) -> String {
    let Progress {
        failed, running, ..
    } = progress;
    match (failed, running) {
        (0, 0) => String::new(),
        (0, _) => format!("{running} running"),
        (_, 0) => format!("{failed} failed"),
        _ => format!("{running} running, {failed} failed"),
    }
}

/// How many of the tasks are not as they were wanted.
fn verdict(progress: &Progress, wanted: Option<TaskState>) -> u64 {
    let Some(wanted) = wanted else {
        return progress.failed;
    };
    let other = |state: TaskState| wanted.is_complete() && state.is_complete() && state != wanted;
    let missed = progress
        .tasks
        .iter()
        .filter(|line| other(line.state))
        .count();
    u64::try_from(missed).unwrap_or(u64::MAX)
}

fn state(text: &str) -> Result<TaskState, String> {
    let names: Vec<_> = TaskState::ALL.iter().map(|state| state.name()).collect();
    let found = TaskState::ALL
        .into_iter()
        .find(|state| state.name() == text.to_ascii_lowercase());
    found.ok_or_else(|| format!("states are {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::line;
    use super::*;

    #[test]
    fn state_table() {
        assert_eq!(state("Running"), Ok(TaskState::Running));
        assert!(state("done").is_err_and(|why| why.contains("success")));
    }

    #[test]
    fn verdict_table() {
        let progress = |state| Progress {
            total: 1,
            done: 1,
            failed: u64::from(state != TaskState::Success),
            running: 0,
            tasks: vec![line("a-1", state)],
        };
        for (ended, wanted, missed) in [
            (TaskState::Success, None, 0),
            (TaskState::Error, None, 1),
            (TaskState::Error, Some(TaskState::Error), 0),
            (TaskState::Success, Some(TaskState::Error), 1),
            (TaskState::Error, Some(TaskState::Running), 0),
            (TaskState::Running, Some(TaskState::Running), 0),
        ] {
            assert_eq!(
                verdict(&progress(ended), wanted),
                missed,
                "{ended} for {wanted:?}"
            );
        }
    }

    #[test]
    fn remark_table() {
        let progress = |failed, running| Progress {
            total: 9,
            done: 0,
            failed,
            running,
            tasks: vec![],
        };
        for (failed, running, text) in [
            (0, 0, ""),
            (0, 2, "2 running"),
            (1, 0, "1 failed"),
            (1, 2, "2 running, 1 failed"),
        ] {
            assert_eq!(remark(&progress(failed, running)), text);
        }
    }
}
