//! `aque retry`: tasks that have ended run again, and tasks that wait for a lost host run elsewhere.

use super::problem::Problem;
use super::select::{InStates, Which};
use super::{Context, Form};
use crate::api::wire::Call;
use crate::render::text::count;

/// Run tasks again that have ended
///
/// They keep their ids; the next run is their next attempt, with all its retries. What was cancelled for want of a dependency
/// follows by itself when that runs again and succeeds.
///
/// A task that waits for a lost host (--on-lost wait) runs elsewhere. Say so only when that host is off for good, or its run is
/// dead for certain: nobody else can know, and a run that is alive after all would make two.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
    /// Also what has succeeded
    #[arg(short, long, conflicts_with = "failed")]
    succeeded: bool,
    /// With all that stands behind them and has ended so: children, and what depends on them
    #[arg(short, long)]
    recursive: bool,
}

const EXAMPLES: &str = "\
Examples:
  aque retry k3v7qa-12                 once more, with all its retries
  aque retry --failed k3v7qa-40        the members of a group that failed
  aque retry --failed                  whatever of yours has failed
  aque retry -f 'exit = 75'            what of yours ended so
  aque retry -s -r k3v7qa-12           it and all that came after, whatever became of it
  aque retry k3v7qa-12                 its host has burnt down (--on-lost wait): run it elsewhere";

/// Says so.
pub(crate) fn run(context: &Context, mut options: Options) -> Result<u8, Problem> {
    // The node knows what it means where nothing is named.
    let failed = std::mem::take(&mut options.which.failed);
    let which = match failed {
        true => options.which.any(options.states),
        false => options.which.some(options.states)?,
    };
    let retried = context.connect()?.want(Call::Retry {
        which,
        failed,
        succeeded: options.succeeded,
        recursive: options.recursive,
    })?;
    if context.form == Form::Json {
        context.json(&retried)?;
    }
    if retried.asked == 0 {
        return Err(Problem::failed("nothing to retry").hint("see 'aque status'"));
    }
    let runs = if retried.asked == 1 { "runs" } else { "run" };
    let tasks = count(retried.asked, "task");
    context.remark(&format!("aque: {tasks} {runs} again"));
    Ok(0)
}
