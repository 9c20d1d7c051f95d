//! `aque kill`: end tasks; those that have not started are cancelled.

use std::time::Duration;

use super::parse::{self, signal_name};
use super::problem::Problem;
use super::{Context, Form};
use crate::api::wire::Call;
use crate::render::text::count;

/// End tasks: cancel those that have not started, signal the others
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Task ids; a group's id means all its members
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
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
  aque kill --reason 'wrong input' last";

/// Ends the named tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let Options {
        ids,
        signal,
        grace,
        reason,
        recursive,
    } = options;
    let named = ids.join(" ");
    let killed = context.connect()?.want(Call::Kill {
        ids,
        signal,
        grace,
        reason,
        recursive,
    })?;
    if context.form == Form::Json {
        context.json(&killed)?;
    }
    for line in &killed.ended {
        context.remark(&format!(
            "aque: {} had ended before: {}",
            line.id, line.state
        ));
    }
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
