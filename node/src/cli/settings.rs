//! `aque settings`: what holds for the whole mesh.

use std::time::Duration;

use clap::Subcommand;
use crdt::settings::{BadSetting, Settings};

use super::parse;
use super::problem::Problem;
use super::{Context, Form};
use crate::api::wire::SettingLine;
use crate::render::table::{Align, table};
use crate::render::text::{faint, harmless};

/// Show and change what holds for the whole mesh
///
/// Every host applies a change while it runs, also one that hears of it later; no run is in danger meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show one setting, or all
    Get {
        /// lease, heartbeat, replace-after, retention, lost-limit, default.priority, default.queue, root-tasks, queue.NAME
        #[arg(value_name = "KEY")]
        name: Option<String>,
    },
    /// Change a setting
    Set {
        /// lease, heartbeat, replace-after, retention, lost-limit, default.priority, default.queue, root-tasks
        #[arg(value_name = "KEY")]
        name: String,
        /// The value, such as 500ms or 3
        #[arg(value_name = "VALUE", allow_hyphen_values = true)]
        value: String,
    },
    /// Let every host go by its own options again
    Unset {
        /// Which
        #[arg(value_name = "KEY")]
        name: String,
    },
}

const EXAMPLES: &str = "\
Examples:
  aque settings                          what was set, by whom
  aque settings set lost-limit 3         hold a task of which three runs were lost with their hosts
  aque settings set lease 20s            for a slow or lossy network; a lost host's tasks run elsewhere so much later
  aque settings set retention 30d        drop what ended longer ago, with its output; without it all is kept
  aque settings set replace-after 30m    let a host be away for half an hour before others take its places
  aque settings set default.queue day    the queue of tasks that name none (aque queue)
  aque settings set root-tasks anywhere  let tasks of root run on hosts where they were not submitted
  aque settings unset lost-limit";

/// Shows or changes settings.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    match options.verb {
        None => show(context, None),
        Some(Verb::Get { name }) => show(context, name.as_deref()),
        Some(Verb::Set { name, value }) => set(context, &name, Some(spelled(&name, value)?)),
        Some(Verb::Unset { name }) => set(context, &name, None),
    }
}

/// The settings that are lengths of time.
const SPANS: [&str; 4] = [
    Settings::LEASE,
    Settings::HEARTBEAT,
    Settings::REPLACE_AFTER,
    Settings::RETENTION,
];

/// Lengths of time are written in milliseconds.
fn spelled(name: &str, value: String) -> Result<String, Problem> {
    let is_span = SPANS.contains(&name);
    if !is_span {
        return Ok(value);
    }
    let span = parse::duration(&value)
        .map_err(|why| Problem::usage(format!("invalid value '{value}' for {name}: {why}")))?;
    Ok(format!("{}ms", span.as_millis()))
}

/// Sets something, or takes it back.
pub(super) fn set(context: &Context, name: &str, value: Option<String>) -> Result<u8, Problem> {
    let set = context.connect()?.set(name.to_owned(), value)?;
    match context.form {
        Form::Json => context.json(&set)?,
        Form::Text => {}
    }
    let said = match &set.value {
        Some(value) => format!("aque: {name} is {} on every host", shown(value)),
        None => format!("aque: {name} is each host's own again"),
    };
    context.remark(&said);
    Ok(0)
}

fn show(context: &Context, name: Option<&str>) -> Result<u8, Problem> {
    let all = context.connect()?.settings()?.settings;
    let lines: Vec<SettingLine> = all
        .into_iter()
        .filter(|line| name.is_none_or(|name| line.name == name))
        .collect();
    if let Some(name) = name
        && lines.iter().all(|line| line.value.is_none())
    {
        if !Settings::is_name(name) {
            let what = format!("{name}: {}", BadSetting::Name);
            return Err(Problem::failed(what).hint("see 'aque settings --help'"));
        }
        return Err(Problem::failed(format!("nobody has set {name}"))
            .hint("then each host goes by its own options: see 'aque-node --help'"));
    }
    match context.form {
        Form::Json => context.json_list("settings", &lines)?,
        Form::Text if name.is_some() => {
            let value = lines.first().and_then(|line| line.value.as_deref());
            context.print(&format!("{}\n", shown(value.unwrap_or("-"))))?;
        }
        Form::Text if lines.is_empty() => {
            context.remark("nothing is set: each host goes by its own options; 'aque settings set KEY VALUE' sets it for all");
        }
        Form::Text => {
            let header = [
                ("KEY", Align::Left),
                ("VALUE", Align::Left),
                ("BY", Align::Left),
            ];
            let rows = lines.iter().map(row).collect();
            context.print(&table(&header, rows, context.screen.width()))?;
        }
    }
    Ok(0)
}

fn row(line: &SettingLine) -> Vec<String> {
    let value = line.value.as_deref().map_or_else(|| faint("-"), shown);
    vec![
        harmless(&line.name).into_owned(),
        value,
        harmless(&line.by).into_owned(),
    ]
}

/// A value as people write it.
fn shown(value: &str) -> String {
    let millis = value.strip_suffix("ms").and_then(|text| text.parse().ok());
    match millis {
        Some(millis) => humantime::format_duration(Duration::from_millis(millis)).to_string(),
        None => harmless(value).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn lengths_of_time_are_spelled_alike() {
        for (value, spelling) in [("2s", "2000ms"), ("1m 30s", "90000ms"), ("0.5", "500ms")] {
            assert_eq!(spelled("heartbeat", value.to_owned()).unwrap(), spelling);
        }
        assert_eq!(spelled("lost-limit", "3".to_owned()).unwrap(), "3");
        assert!(spelled("heartbeat", "soon".to_owned()).is_err());
        assert_eq!(shown("90000ms"), "1m 30s");
        assert_eq!(shown("slots=4 weight=1"), "slots=4 weight=1");
    }
}
