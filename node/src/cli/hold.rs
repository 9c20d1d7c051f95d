//! `aque hold` and `aque release`: keep tasks from starting, and let them go.

use super::problem::Problem;
use super::{Context, Form};
use crate::api::wire::Call;
use crate::render::text::count;

/// Keep tasks from starting until they are released
///
/// What runs, runs on; if it is to run again after a failure, it waits. A held task can be killed.
#[derive(Debug, clap::Args)]
#[command(after_help = HOLD)]
pub(crate) struct HoldOptions {
    /// Task ids; a group's id means all its members
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
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
    /// Task ids; a group's id means all its members
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

const RELEASE: &str = "\
Examples:
  aque release k3v7qa-12
  aque release last";

/// Holds tasks.
pub(crate) fn hold(context: &Context, options: HoldOptions) -> Result<u8, Problem> {
    let named = options.ids.join(" ");
    want(context, Call::Hold { ids: options.ids }, &named, "held")
}

/// Lets tasks go.
pub(crate) fn release(context: &Context, options: ReleaseOptions) -> Result<u8, Problem> {
    let named = options.ids.join(" ");
    let call = Call::Release { ids: options.ids };
    want(context, call, &named, "released")
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
    for line in &noted.ended {
        context.remark(&format!("aque: {} had ended: {}", line.id, line.state));
    }
    context.remark(&format!("aque: {} {done}", count(noted.asked, "task")));
    Ok(0)
}
