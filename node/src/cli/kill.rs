//! `aque kill`: end tasks; those that have not started are cancelled.

use std::time::Duration;

use super::hold::tell_ended;
use super::parse::{self, signal_name};
use super::problem::Problem;
use super::select::{InStates, Which, named};
use super::{Context, Form};
use crate::api::wire::Call;
use crate::render::text::count;

/// End tasks: cancel those that have not started, signal the others
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
    /// First signal, by name or number
    #[arg(short, long, value_name = "SIG", default_value = "TERM", value_parser = parse::signal)]
    signal: i32,
    /// Time until SIGKILL follows
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = parse::duration)]
    grace: Duration,
    /// With all that stands behind them: their children, and what depends on them
    #[arg(short, long)]
    recursive: bool,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  aque kill k3v7qa-12
  aque kill -s INT --grace 1m k3v7qa-12
  aque kill -r k3v7qa-12                with its children and all that waits for it
  aque kill --reason 'wrong input' last
  aque kill --state READY -f 'name ~ render*'   what of that has not started";

/// Ends the named tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let Options {
        which,
        states,
        signal,
        grace,
        reason,
        recursive,
    } = options;
    let which = which.some(states)?;
    let named = named(&which);
    let killed = context.connect()?.want(Call::Kill {
        which,
        signal,
        grace,
        reason,
        recursive,
    })?;
    if context.form == Form::Json {
        context.json(&killed)?;
    }
    tell_ended(context, &killed.ended);
    if killed.asked == 0 && killed.ended.is_empty() {
        return Err(
            Problem::failed(format!("nothing to kill in {named}")).hint("see 'aque status'")
        );
    }
    if killed.asked > 0 {
        let (tasks, name) = (count(killed.asked, "task"), signal_name(signal));
        let grace = humantime::format_duration(grace);
        context.remark(&format!(
            "aque: {tasks} asked to end ({name}, SIGKILL after {grace})"
        ));
    }
    Ok(u8::from(killed.asked == 0))
}
