//! `aque status`: the tree of tasks.

use crdt::task::TaskState;

use super::problem::Problem;
use super::tree::{Branch, grow};
use super::{Context, Form, top};
use crate::api::page::Which;
use crate::api::wire::{StatusQuery, TaskLine};
use crate::clock::wall_ms;
use crate::render::table::{Align, table};
use crate::render::text::{faint, harmless, painted, span, states, style};
use crate::top::{Beginning, Tab};

/// Show tasks: what waits, runs and has ended
///
/// Groups are one line with their members counted by state.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Only these tasks and what belongs to them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Every task by itself, members of groups too, without the groups
    #[arg(long)]
    flat: bool,
    /// Levels of the tree: 1 = groups only, 2 = their members, 0 = all
    #[arg(short, long, value_name = "N", conflicts_with = "flat")]
    depth: Option<usize>,
    /// Tasks of all users
    #[arg(short = 'x', long)]
    all_users: bool,
    /// Go on, on the whole screen, as 'aque top' does
    #[arg(short, long, conflicts_with_all = ["depth", "limit"])]
    watch: bool,
    /// At most so many, the newest; 0 = all [default: all, on a terminal 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

const EXAMPLES: &str = "\
Examples:
  aque                            the same as 'aque status'
  aque status -d 2 k3v7qa-1       one group with its members
  aque status --flat -x           every task of every user
  aque status --flat --json | jq -r '.[] | select(.state == \"error\") | .id'";

/// The most lines on a terminal unless a person asks for more: some screens full. A guess.
const TERMINAL_LIMIT: u32 = 100;

/// Lists tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let Options {
        ids,
        flat,
        depth,
        all_users,
        watch,
        limit,
    } = options;
    if watch {
        let which = Which {
            all_users: all_users || !ids.is_empty(),
            ids,
            filter: None,
        };
        let tab = Tab::Tasks;
        return top::show(context, Beginning { tab, which, flat });
    }
    let depth = depth.unwrap_or(1);
    let on_terminal = context.form == Form::Text && context.screen.width().is_some();
    let limit = limit.unwrap_or(if on_terminal && ids.is_empty() {
        TERMINAL_LIMIT
    } else {
        0
    });
    let query = StatusQuery {
        flat: flat || depth != 1,
        all_users: all_users || !ids.is_empty(),
        ids,
        states: Vec::new(),
        limit,
    };
    let mut list = context.connect()?.status(query)?;
    if flat {
        list.tasks.retain(|line| line.members.is_none());
    }
    match context.form {
        Form::Json => context.json(&list.tasks)?,
        Form::Text => {
            let rows = match flat {
                true => list
                    .tasks
                    .iter()
                    .map(|line| row(line, "", None, wall_ms()))
                    .collect(),
                false => tree(&grow(list.tasks), depth, wall_ms()),
            };
            show(context, rows)?;
        }
    }
    if list.more > 0 {
        context.remark(&format!(
            "{} older not shown; 'aque status --limit 0' shows all",
            list.more
        ));
    }
    Ok(0)
}

fn show(context: &Context, rows: Vec<Vec<String>>) -> Result<(), Problem> {
    if rows.is_empty() {
        context.remark("no tasks; 'aque submit CMD' queues one");
        return Ok(());
    }
    context.print(&render(rows, context.screen.width()))
}

fn render(rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let header = [
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("HOST", Align::Left),
        ("RUNS", Align::Right),
        ("AGE", Align::Right),
        ("TIME", Align::Right),
        ("COMMAND", Align::Left),
    ];
    table(&header, rows, width)
}

/// The rows of a tree down to `depth` levels; 0 = all.
fn tree(roots: &[Branch], depth: usize, now_ms: u64) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    // Depth first without recursion: a tree may be as deep as a list is long.
    let mut open: Vec<(usize, &Branch)> = roots.iter().rev().map(|root| (1, root)).collect();
    while let Some((level, branch)) = open.pop() {
        let indent = "  ".repeat(level - 1);
        let counts = branch.counts.as_ref().map(states);
        rows.push(row(&branch.line, &indent, counts.as_deref(), now_ms));
        if depth == 0 || level < depth {
            open.extend(
                branch
                    .members
                    .iter()
                    .rev()
                    .map(|member| (level + 1, member)),
            );
        }
    }
    rows
}

fn row(line: &TaskLine, indent: &str, counts: Option<&str>, now_ms: u64) -> Vec<String> {
    let time = line.started_ms.map(|from| match line.ended_ms {
        Some(to) => span(from, to),
        None if line.state == TaskState::Running => span(from, now_ms),
        None => String::new(),
    });
    let host = line
        .host
        .as_deref()
        .map_or_else(|| faint("-"), |host| harmless(host).into_owned());
    let runs = if counts.is_some() {
        String::new()
    } else {
        line.attempts.to_string()
    };
    vec![
        format!("{indent}{}", harmless(&line.id)),
        painted(style(line.state), line.state.name()),
        if counts.is_some() {
            String::new()
        } else {
            host
        },
        runs,
        span(line.created_ms, now_ms),
        time.unwrap_or_default(),
        what(line, counts),
    ]
}

/// The last column: counts of a group, or why it stands where it stands, then the name, then the command.
fn what(line: &TaskLine, counts: Option<&str>) -> String {
    let mut parts = Vec::new();
    match counts {
        Some("") => parts.push(faint("(no members)")),
        Some(counts) => parts.push(format!("({counts})")),
        None => {}
    }
    if let Some(reason) = &line.reason
        && line.state != TaskState::Success
        && counts.is_none()
    {
        parts.push(painted(
            style(line.state),
            &format!("({})", harmless(reason)),
        ));
    }
    if let Some(progress) = &line.progress {
        parts.push(painted(
            style(line.state),
            &format!("[{}]", harmless(progress)),
        ));
    }
    let command = harmless(&line.command);
    match &line.name {
        Some(name) if command.is_empty() => parts.push(harmless(name).into_owned()),
        Some(name) => parts.push(format!("{}: {command}", harmless(name))),
        None => parts.push(command.into_owned()),
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::line;
    use super::*;

    fn lines() -> Vec<TaskLine> {
        let group = TaskLine {
            name: Some("pictures".into()),
            command: String::new(),
            members: Some([("error".to_owned(), 1), ("running".to_owned(), 1)].into()),
            ..line("k3v7qa-2", TaskState::Running)
        };
        let member = |id, state| TaskLine {
            group: Some("k3v7qa-2".into()),
            ..line(id, state)
        };
        vec![
            TaskLine {
                host: Some("alpha".into()),
                attempts: 2,
                epoch: 2,
                started_ms: Some(1_000),
                ended_ms: Some(3_500),
                reason: Some("exit 0".into()),
                ..line("k3v7qa-1", TaskState::Success)
            },
            group,
            TaskLine {
                reason: Some("exit 3".into()),
                host: Some("beta".into()),
                ..member("k3v7qa-3", TaskState::Error)
            },
            TaskLine {
                started_ms: Some(9_000),
                ..member("k3v7qa-4", TaskState::Running)
            },
            TaskLine {
                name: Some("last".into()),
                reason: Some("dependency k3v7qa-1".into()),
                ..line("k3v7qa-5", TaskState::Blocked)
            },
        ]
    }

    fn shown(depth: usize) -> String {
        let text = render(tree(&grow(lines()), depth, 10_000), None);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn groups_are_one_line() {
        assert_eq!(
            shown(1),
            "\
ID        STATE    HOST   RUNS  AGE  TIME  COMMAND
k3v7qa-1  success  alpha     2  10s  2.5s  true
k3v7qa-2  running               10s        (1 running, 1 error) pictures
k3v7qa-5  blocked  -         0  10s        (dependency k3v7qa-1) last: true
"
        );
    }

    #[test]
    fn members_are_listed_at_depth() {
        assert_eq!(shown(0), shown(2));
        assert_eq!(
            shown(2),
            "\
ID          STATE    HOST   RUNS  AGE  TIME  COMMAND
k3v7qa-1    success  alpha     2  10s  2.5s  true
k3v7qa-2    running               10s        (1 running, 1 error) pictures
  k3v7qa-3  error    beta      0  10s        (exit 3) true
  k3v7qa-4  running  -         0  10s  1.0s  true
k3v7qa-5    blocked  -         0  10s        (dependency k3v7qa-1) last: true
"
        );
    }

    #[test]
    fn hostile_text_is_shown_as_text() {
        let line = TaskLine {
            command: "a\u{1b}[2J\nb".into(),
            ..line("x-1", TaskState::Pending)
        };
        assert_eq!(what(&line, None), "a\\u{1b}[2J\\nb");
    }
}
