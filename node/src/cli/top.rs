//! `aque top`, and the `--watch` of others: the full-screen view.

use super::problem::Problem;
use super::{Context, Form};
use crate::api::page::Which;
use crate::filter::Filter;
use crate::top::{self, Beginning, Paint, Tab, TopError};

/// Watch tasks, hosts and what happens on the whole screen
///
/// '?' shows the keys: open a group or the output of a task, filter, sort, kill, retry, hold and release. What is
/// typed after '/' is looked for; what compares ("exit != 0") is a filter.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Only these tasks, and the members of these groups
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Tasks of all users
    #[arg(short = 'x', long)]
    all_users: bool,
    /// Every task by itself, members of groups too, without the groups
    #[arg(long)]
    flat: bool,
    /// Those that fit, such as "name ~ 'render*' and age > 1h" (see 'aque help filters')
    #[arg(short, long, value_name = "EXPR")]
    filter: Option<Filter>,
}

const EXAMPLES: &str = "\
Examples:
  aque top                    the newest tasks first
  aque top k3v7qa-12          the members of a group
  aque top -f \"age < 1h\"      what was submitted within an hour (aque help filters)
  aque top -x --flat          every task of every user
  aque nodes --watch          the same, beginning with the hosts";

/// Shows the tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let Options {
        ids,
        all_users,
        flat,
        filter,
    } = options;
    let which = Which {
        all_users: all_users || !ids.is_empty(),
        ids,
        filter: None,
        expr: filter.map(|filter| filter.to_string()),
    };
    show(
        context,
        Beginning {
            tab: Tab::Tasks,
            which,
            flat,
        },
    )
}

/// Shows the hosts.
pub(crate) fn hosts(context: &Context) -> Result<u8, Problem> {
    show(
        context,
        Beginning {
            tab: Tab::Hosts,
            which: Which::default(),
            flat: false,
        },
    )
}

/// Shows the view that begins so.
pub(crate) fn show(context: &Context, beginning: Beginning) -> Result<u8, Problem> {
    if context.form == Form::Json {
        return Err(Problem::usage("a full-screen view is for people, not JSON")
            .hint("'aque events' tells programs what happens"));
    }
    let paint = match context.screen.has_colours() {
        true => Paint::Colours,
        false => Paint::Plain,
    };
    top::run(&context.whom, paint, beginning).map_err(|error| match error {
        TopError::NoTerminal => Problem::usage(error.to_string())
            .hint("'aque status' and 'aque nodes' print once, 'aque events' tells what happens"),
        TopError::Terminal(_) => Problem::failed(error.to_string()),
        TopError::Client(error) => error.into(),
    })
}
