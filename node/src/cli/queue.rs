//! `aque queue`: named queues with limits that hold for the whole mesh.

use anstyle::AnsiColor;
use clap::Subcommand;
use crdt::settings::{QueueRule, Settings};

use super::problem::Problem;
use super::settings::set;
use super::{Context, Form};
use crate::api::wire::QueueLine;
use crate::render::table::{Align, table};
use crate::render::text::{harmless, painted};

/// List named queues, set how they are worked off, pause and resume them
///
/// A task names its queue with 'aque submit --queue NAME'. Queues share hosts by their weights; at most as many tasks of one run at
/// once as it has slots, mesh-wide.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the queues
    List,
    /// Set up a queue, or change it
    Set {
        /// The queue
        #[arg(value_name = "NAME")]
        name: String,
        /// At most so many of its tasks run at once; 0 = no limit
        #[arg(long, value_name = "N", required_unless_present = "weight")]
        slots: Option<u32>,
        /// Its share beside other queues, 1 unless stated
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        weight: Option<u32>,
    },
    /// Start none of its tasks; what runs, runs on
    Pause {
        /// The queue
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Start its tasks again
    Resume {
        /// The queue
        #[arg(value_name = "NAME")]
        name: String,
    },
}

const EXAMPLES: &str = "\
Examples:
  aque queue set render --slots 20 --weight 3
  aque submit --queue render ./frame
  aque queue pause render
  aque queue                              how many of each run and wait";

/// Lists or changes queues.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    match options.verb {
        None | Some(Verb::List) => list(context),
        Some(Verb::Set {
            name,
            slots,
            weight,
        }) => change(context, &name, |rule| QueueRule {
            slots: slots.unwrap_or(rule.slots),
            weight: weight.unwrap_or(rule.weight),
            ..rule
        }),
        Some(Verb::Pause { name }) => change(context, &name, |rule| QueueRule {
            paused: true,
            ..rule
        }),
        Some(Verb::Resume { name }) => resume(context, &name),
    }
}

/// Lets the tasks of a queue start again, if somebody has set it up.
fn resume(context: &Context, name: &str) -> Result<u8, Problem> {
    let queues = context.connect()?.queues()?.queues;
    let key = format!("{}{name}", Settings::QUEUE_PREFIX);
    let settings = context.connect()?.settings()?.settings;
    let is_set = settings
        .iter()
        .any(|line| line.name == key && line.value.is_some());
    if Settings::is_queue_name(name) && !is_set {
        let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        let known = names
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect::<Vec<_>>();
        let what = match known.as_slice() {
            [] => format!("{name} is not paused: no queue was set up"),
            known => format!("{name} is not paused; there are {}", known.join(", ")),
        };
        return Err(Problem::failed(what).hint("see 'aque queue'"));
    }
    change(context, name, |rule| QueueRule {
        paused: false,
        ..rule
    })
}

/// Changes what the node asked knows of a queue.
fn change(
    context: &Context,
    name: &str,
    to: impl FnOnce(QueueRule) -> QueueRule,
) -> Result<u8, Problem> {
    if !Settings::is_queue_name(name) {
        return Err(Problem::usage(format!(
            "'{name}' is no name for a queue: it has 1 to 64 letters, digits, '.', '_' and '-'"
        ))
        .hint("see 'aque queue --help'"));
    }
    let key = format!("{}{name}", Settings::QUEUE_PREFIX);
    let settings = context.connect()?.settings()?.settings;
    let stated = settings.into_iter().find(|line| line.name == key);
    let rule = stated.and_then(|line| line.value?.parse().ok());
    set(
        context,
        &key,
        Some(to(rule.unwrap_or_default()).to_string()),
    )
}

fn list(context: &Context) -> Result<u8, Problem> {
    let queues = context.connect()?.queues()?.queues;
    match context.form {
        Form::Json => context.json_list("queues", &queues)?,
        Form::Text if queues.is_empty() => {
            context.remark("no queues; 'aque queue set NAME --slots N' sets one up");
        }
        Form::Text => {
            let header = [
                ("QUEUE", Align::Left),
                ("STATE", Align::Left),
                ("SLOTS", Align::Right),
                ("WEIGHT", Align::Right),
                ("ACTIVE", Align::Right),
                ("WAITING", Align::Right),
            ];
            let rows = queues.iter().map(row).collect();
            context.print(&table(&header, rows, context.screen.width()))?;
        }
    }
    Ok(0)
}

fn row(queue: &QueueLine) -> Vec<String> {
    let state = match queue.paused {
        true => painted(AnsiColor::Yellow.on_default(), "paused"),
        false => painted(AnsiColor::Green.on_default(), "open"),
    };
    let name = match queue.name.as_str() {
        "" => "(none)".to_owned(),
        name => harmless(name).into_owned(),
    };
    let slots = match queue.slots {
        0 => "no limit".to_owned(),
        slots => slots.to_string(),
    };
    vec![
        name,
        state,
        slots,
        queue.weight.to_string(),
        queue.active.to_string(),
        queue.waiting.to_string(),
    ]
}
