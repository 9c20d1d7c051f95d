//! `aque explain`: why a task does not run, host by host.

use super::problem::Problem;
use super::{Context, Form};
use crate::api::wire::{Call, ReasonLine, Reasons};
use crate::render::table::{Align, table};
use crate::render::text::{faint, harmless, instant, painted, style};

/// Show why a task does not run, host by host
///
/// Each host says itself what stands in its way first, the one that is asked before the others; of one that does not answer within two
/// seconds it is told what was heard of it last.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// A task's id; 'last' is the newest
    #[arg(value_name = "ID")]
    id: String,
}

const EXAMPLES: &str = "\
Examples:
  aque explain last
  aque explain --json k3v7qa-12 | jq -r '.hosts[] | select(.kind == \"room\") | .host'";

/// Explains.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let call = Call::Explain {
        id: options.id,
        alone: false,
    };
    let reasons = context.connect()?.explain(call)?;
    match context.form {
        Form::Json => context.json(&reasons)?,
        Form::Text => context.print(&render(&reasons, context.screen.width()))?,
    }
    Ok(0)
}

fn render(reasons: &Reasons, width: Option<u16>) -> String {
    let task = &reasons.task;
    let state = painted(style(task.state), task.state.name());
    let why = task.reason.as_deref().map(harmless);
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    let rows = reasons.hosts.iter().map(row).collect();
    let hosts = table(&[("HOST", Align::Left), ("WHY", Align::Left)], rows, width);
    format!("{} is {state}{why}\n{hosts}", harmless(&task.id))
}

fn row(line: &ReasonLine) -> Vec<String> {
    let until = line.until_ms.map(instant);
    let until = until.map_or_else(String::new, |until| format!(", until {until}"));
    let what = harmless(&line.what);
    let what = format!("{what}{until}");
    let host = harmless(&line.host).into_owned();
    match line.told {
        true => vec![host, what],
        false => vec![host, faint(&what)],
    }
}

#[cfg(test)]
mod tests {
    use crdt::task::TaskState;

    use super::super::task::tests::line;
    use super::*;
    use crate::api::wire::TaskLine;

    #[test]
    fn a_line_a_host() {
        let of = |host: &str, told, what: &str, until_ms| ReasonLine {
            host: host.into(),
            tag: "aaaaaa".into(),
            told,
            kind: "room".into(),
            what: what.into(),
            until_ms,
        };
        let reasons = Reasons {
            task: TaskLine {
                reason: Some("waits before retry 1 of 2".into()),
                ..line("k3v7qa-1", TaskState::Blocked)
            },
            hosts: vec![
                of(
                    "alpha",
                    true,
                    "waits before retry 1 of 2",
                    Some(1_700_000_000_000),
                ),
                of("beta", false, "is not heard of since 3m ago", None),
            ],
        };
        let text = anstream::adapter::strip_str(&render(&reasons, None)).to_string();
        assert_eq!(
            text,
            "\
k3v7qa-1 is blocked (waits before retry 1 of 2)
HOST   WHY
alpha  waits before retry 1 of 2, until 2023-11-14T22:13:20Z
beta   is not heard of since 3m ago
"
        );
    }
}
