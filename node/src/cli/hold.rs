//! `aque hold` and `aque release`: keep tasks from starting, and let them go.

use super::problem::Problem;
use super::select::{InStates, Which, named};
use super::{Context, Form};
use crate::api::wire::{Call, TaskLine};
use crate::render::text::count;

/// Keep tasks from starting until they are released
///
/// What runs, runs on; if it is to run again after a failure, it waits. A held task can be killed.
#[derive(Debug, clap::Args)]
#[command(after_help = HOLD)]
pub(crate) struct HoldOptions {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
}

const HOLD: &str = "\
Examples:
  aque hold k3v7qa-12
  aque submit --hold ./nightly.sh        held from the start
  aque status                            what is held, and by whom";

/// Let tasks start that were held
///
/// By a person, since their submission, or because too many of their runs were lost with their hosts: those count anew from here.
#[derive(Debug, clap::Args)]
#[command(after_help = RELEASE)]
pub(crate) struct ReleaseOptions {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
}

const RELEASE: &str = "\
Examples:
  aque release k3v7qa-12
  aque release last
  aque release --state held              all that you hold";

/// Holds tasks.
pub(crate) fn hold(context: &Context, options: HoldOptions) -> Result<u8, Problem> {
    let which = options.which.some(options.states)?;
    let named = named(&which);
    want(context, Call::Hold { which }, &named, "held")
}

/// Lets tasks go.
pub(crate) fn release(context: &Context, options: ReleaseOptions) -> Result<u8, Problem> {
    let which = options.which.some(options.states)?;
    let named = named(&which);
    want(context, Call::Release { which }, &named, "released")
}

fn want(context: &Context, call: Call, named: &str, done: &str) -> Result<u8, Problem> {
    let noted = context.connect()?.want(call)?;
    if context.form == Form::Json {
        context.json(&noted)?;
    }
    if noted.asked == 0 {
        let what = format!("nothing in {named} was {done}: it has ended");
        return Err(Problem::failed(what).hint("see 'aque status'"));
    }
    tell_ended(context, &noted.ended);
    context.remark(&format!("aque: {} {done}", count(noted.asked, "task")));
    Ok(0)
}

/// Tells for which tasks a wish came too late: each, or how many if that would be many lines.
pub(crate) fn tell_ended(context: &Context, ended: &[TaskLine]) {
    if ended.len() > MOST_TOLD {
        let tasks = count(ended.len() as u64, "task");
        return context.remark(&format!("aque: {tasks} had ended before"));
    }
    for line in ended {
        let (id, state) = (&line.id, line.state);
        context.remark(&format!("aque: {id} had ended before: {state}"));
    }
}

/// From so many on they are counted. A guess.
const MOST_TOLD: usize = 10;
