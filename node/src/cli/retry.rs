//! `aque retry`: a person's word that the run of a task which waits for its host is dead.

use super::problem::Problem;
use super::{Context, Form};
use crate::api::wire::Call;
use crate::render::text::count;

/// Run tasks elsewhere that wait for a lost host (--on-lost wait)
///
/// Say so only when that host is off for good, or its run is dead for certain: nobody else can know, and a run that is alive
/// after all would make two.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Task ids; a group's id means all its members
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  aque status                          what still runs on a host that is not heard of
  aque retry k3v7qa-12                 its host has burnt down: run it elsewhere";

/// Gives the word.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let retried = context.connect()?.want(Call::Retry { ids: options.ids })?;
    if context.form == Form::Json {
        context.json(&retried)?;
    }
    if retried.asked == 0 {
        return Err(Problem::failed("nothing to retry: it has ended").hint("see 'aque status'"));
    }
    let tasks = count(retried.asked, "task");
    context.remark(&format!("aque: {tasks} may run elsewhere"));
    Ok(0)
}
