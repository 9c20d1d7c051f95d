//! `aque doctor`: what is well, what is not, and what to do.

use anstyle::AnsiColor;

use super::problem::Problem;
use super::{Context, Form};
use crate::api::wire::{Check, Checkup, Health};
use crate::client::ClientError;
use crate::render::text::{faint, harmless, painted};

/// Check disk, guard, limits, peers, versions, clocks and what was refused, and say what to do
///
/// Exit status: 0 if nothing is at fault (there may be warnings), 1 otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {}

const EXAMPLES: &str = "\
Examples:
  aque doctor
  aque doctor --json | jq '.checks[] | select(.health != \"ok\")'";

/// Asks the node, or tells that there is none to ask.
pub(crate) fn run(context: &Context) -> Result<u8, Problem> {
    let asked = context.whom.connect().and_then(|mut node| node.doctor());
    let checkup = asked.unwrap_or_else(nobody);
    match context.form {
        Form::Json => context.json(&checkup)?,
        Form::Text => context.print(&render(&checkup))?,
    }
    let fault = checkup
        .checks
        .iter()
        .any(|check| check.health == Health::Fault);
    Ok(u8::from(fault))
}

fn nobody(error: ClientError) -> Checkup {
    let (what, todo) = Problem::from(error).told();
    let check = Check {
        topic: "node".to_owned(),
        health: Health::Fault,
        what,
        todo,
    };
    Checkup {
        checks: vec![check],
        refused: Default::default(),
        offences: Vec::new(),
    }
}

fn render(checkup: &Checkup) -> String {
    let width = checkup.checks.iter().map(|check| check.topic.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for check in &checkup.checks {
        let (color, word) = match check.health {
            Health::Ok => (AnsiColor::Green, "ok     "),
            Health::Warning => (AnsiColor::Yellow, "warning"),
            Health::Fault => (AnsiColor::Red, "fault  "),
        };
        let word = painted(color.on_default(), word);
        let (topic, what) = (harmless(&check.topic), harmless(&check.what));
        text.push_str(&format!("{word}  {topic:width$}  {what}\n"));
        if let Some(todo) = &check.todo {
            let todo = faint(&harmless(todo));
            text.push_str(&format!("{:9}{:width$}  {todo}\n", "", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_is_wrong() {
        let checkup = Checkup {
            checks: vec![
                Check {
                    topic: "disk".into(),
                    health: Health::Ok,
                    what: "4 GiB free".into(),
                    todo: None,
                },
                Check {
                    topic: "peers".into(),
                    health: Health::Warning,
                    what: "not heard of: b".into(),
                    todo: Some("see that it runs".into()),
                },
            ],
            refused: Default::default(),
            offences: Vec::new(),
        };
        let text = anstream::adapter::strip_str(&render(&checkup)).to_string();
        assert_eq!(
            text,
            "ok       disk   4 GiB free\nwarning  peers  not heard of: b\n                see that it runs\n"
        );
    }
}
