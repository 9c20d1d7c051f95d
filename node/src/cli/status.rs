//! `aque status`: the tree of tasks.

use crdt::task::TaskState;

use super::columns::{self, Pattern, Shown};
use super::problem::Problem;
use super::select::{InStates, Which};
use super::tree::{Branch, Count, Counts, Tree};
use super::{Context, Form, top};
use crate::api::page;
use crate::api::wire::{self, StatusQuery, TaskLine, Tasks};
use crate::clock::wall_ms;
use crate::filter::Field;
use crate::render::table::{Align, table, table_without};
use crate::render::text::{faint, harmless, painted, span, states, style};
use crate::top::{Beginning, Tab};

/// Show tasks: what waits, runs and has ended
///
/// As a tree: below a group its members, below a task what it submitted, and behind a task ('→') what depends on it. Groups are one
/// line with their members counted by state, unless -d opens them, or a filter chooses some.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
    /// Every task by itself, members of groups too, without the groups
    #[arg(long)]
    flat: bool,
    /// So many levels of the tree, members of groups among them; 0 = all [default: all but members of groups]
    #[arg(short, long, value_name = "N", conflicts_with = "flat")]
    depth: Option<usize>,
    /// Go on, on the whole screen, as 'aque top' does
    #[arg(
        short,
        long,
        conflicts_with_all = ["depth", "limit", "columns", "csv", "pattern"]
    )]
    watch: bool,
    /// These columns (the fields of 'aque help filters')
    #[arg(
        short = 'o',
        long,
        value_name = "FIELDS",
        value_delimiter = ',',
        value_parser = columns::field,
        conflicts_with = "json"
    )]
    columns: Vec<Field>,
    /// As CSV with these fields: sizes in bytes, lengths of time in seconds, instants in UTC
    #[arg(
        short,
        long,
        value_name = "FIELDS",
        value_delimiter = ',',
        value_parser = columns::field,
        conflicts_with_all = ["columns", "pattern", "depth", "json"]
    )]
    csv: Vec<Field>,
    /// A line for each task, such as '{id:<14} {state} {name}'; {{ and }} are braces
    #[arg(
        short,
        long,
        value_name = "TEXT",
        value_parser = columns::pattern,
        conflicts_with_all = ["columns", "depth", "json"]
    )]
    pattern: Option<Pattern>,
    /// At most so many, the newest; 0 = all [default: all, on a terminal 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

const EXAMPLES: &str = "\
Examples:
  aque                            the same as 'aque status'
  aque status -d 2 k3v7qa-1       one group with its members
  aque status --flat -x           every task of every user
  aque status --failed            which of yours have failed
  aque status -f 'state = running and wall > 10m' -o id,host,wall,command
  aque status -f 'name ~ render*' -p '{id}'
  aque status -xc id,user,state,wall,rss > tasks.csv
  aque status --flat --json | jq -r '.tasks[] | select(.state == \"error\") | .id'";

/// The most lines on a terminal unless a person asks for more: some screens full. A guess.
const TERMINAL_LIMIT: u32 = 100;
/// Further from the margin nothing is moved.
const MOST_INDENT: usize = 8;
/// Columns that a narrow terminal does without, the first of them first.
const SPARE: [&str; 4] = ["AGE", "RUNS", "TIME", "HOST"];

/// How tasks are written.
#[derive(Debug)]
enum Style {
    Json,
    Pattern(Pattern),
    Csv(Vec<Field>),
    Columns(Vec<Field>),
    Usual,
}

impl Style {
    /// Says whether tasks are shown as a tree, if they are not asked for one by one.
    fn is_tree(&self) -> bool {
        match self {
            Self::Columns(_) | Self::Usual => true,
            Self::Json | Self::Pattern(_) | Self::Csv(_) => false,
        }
    }
}

/// Lists tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let Options {
        which,
        states,
        flat,
        depth,
        watch,
        columns,
        csv,
        pattern,
        limit,
    } = options;
    let which = which.any(states);
    if watch {
        let which = page::Which {
            all_users: which.all_users || !which.ids.is_empty(),
            expr: which.as_filter(),
            ids: which.ids,
            filter: None,
        };
        let tab = Tab::Tasks;
        return top::show(context, Beginning { tab, which, flat });
    }
    let style = match (context.form, pattern) {
        (Form::Json, _) => Style::Json,
        (Form::Text, Some(pattern)) => Style::Pattern(pattern),
        (Form::Text, None) if !csv.is_empty() => Style::Csv(csv),
        (Form::Text, None) if !columns.is_empty() => Style::Columns(columns),
        (Form::Text, None) => Style::Usual,
    };
    let on_terminal = context.form == Form::Text && context.screen.width().is_some();
    let many = on_terminal && which.ids.is_empty();
    let as_tree = !flat && style.is_tree();
    let form = match depth {
        None => wire::Tree::Closed,
        Some(_) => wire::Tree::Open,
    };
    let (count, none) = match which.narrows() {
        true => (
            Count::Listed,
            "no task fits; 'aque status' lists all of yours",
        ),
        false => (Count::All, "no tasks; 'aque submit CMD' queues one"),
    };
    let query = StatusQuery {
        which,
        flat,
        tree: as_tree.then_some(form),
        limit: limit.unwrap_or(if many { TERMINAL_LIMIT } else { 0 }),
    };
    let found = context.connect()?.status(query)?;
    let (more, is_empty) = (found.more, found.tasks.is_empty());
    let now_ms = wall_ms();
    if as_tree {
        let tree = Tree::grow(found.tasks, count);
        show(context, &style, &tree.branches(depth.unwrap_or(0)), now_ms)?;
    } else {
        list(context, &style, &found, now_ms)?;
    }
    if is_empty && style.is_tree() {
        context.remark(none);
    }
    if more > 0 {
        context.remark(&format!(
            "{more} older not shown; 'aque status --limit 0' shows all"
        ));
    }
    Ok(0)
}

/// Writes tasks one after the other.
fn list(context: &Context, style: &Style, found: &Tasks, now_ms: u64) -> Result<(), Problem> {
    let shown = |line| Shown { line, now_ms };
    let tasks = &found.tasks;
    match style {
        Style::Json => context.json(found),
        Style::Pattern(pattern) => {
            let lines = tasks.iter().map(|line| pattern.line(&shown(line)) + "\n");
            context.print(&lines.collect::<String>())
        }
        Style::Csv(fields) => {
            let text = columns::csv(fields, tasks.iter().map(shown));
            let text = text.map_err(|error| Problem::failed(error.to_string()))?;
            context.pass(&text)
        }
        Style::Columns(_) | Style::Usual => {
            let branches: Vec<Branch<'_>> = tasks.iter().map(Branch::alone).collect();
            show(context, style, &branches, now_ms)
        }
    }
}

/// Shows a table.
fn show(
    context: &Context,
    style: &Style,
    branches: &[Branch<'_>],
    now_ms: u64,
) -> Result<(), Problem> {
    if branches.is_empty() {
        return Ok(());
    }
    let width = context.screen.width();
    let text = match style {
        Style::Columns(fields) => custom(fields, branches, now_ms, width),
        Style::Json | Style::Pattern(_) | Style::Csv(_) | Style::Usual => {
            usual(branches, now_ms, width)
        }
    };
    context.print(&text)
}

/// The columns that a person asked for.
fn custom(fields: &[Field], branches: &[Branch<'_>], now_ms: u64, width: Option<u16>) -> String {
    let names: Vec<String> = fields.iter().map(|of| of.name().to_uppercase()).collect();
    let header = names.iter().zip(fields);
    let header: Vec<(&str, Align)> = header
        .map(|(name, field)| (name.as_str(), columns::align(*field)))
        .collect();
    let row = |branch: &Branch<'_>| {
        let line = branch.line;
        let shown = Shown { line, now_ms };
        let cell = |field: &Field| match field {
            Field::Id => format!("{}{}", margin(branch), shown.pretty(*field)),
            Field::State => painted(style(line.state), line.state.name()),
            _ => shown.pretty(*field),
        };
        fields.iter().map(cell).collect()
    };
    table(&header, branches.iter().map(row).collect(), width)
}

fn usual(branches: &[Branch<'_>], now_ms: u64, width: Option<u16>) -> String {
    let header = [
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("HOST", Align::Left),
        ("RUNS", Align::Right),
        ("AGE", Align::Right),
        ("TIME", Align::Right),
        ("COMMAND", Align::Left),
    ];
    let rows = branches.iter().map(|branch| row(branch, now_ms)).collect();
    table_without(&SPARE, &header, rows, width)
}

/// What stands before an id: how deep it is, and whether it follows another.
fn margin(branch: &Branch<'_>) -> String {
    let indent = branch.indent.min(MOST_INDENT);
    match branch.follows {
        true => format!("{}→ ", "  ".repeat(indent.saturating_sub(1))),
        false => "  ".repeat(indent),
    }
}

fn row(branch: &Branch<'_>, now_ms: u64) -> Vec<String> {
    let line = branch.line;
    let is_group = line.members.is_some();
    let time = line.started_ms.map(|from| match line.ended_ms {
        Some(to) => span(from, to),
        None if line.state == TaskState::Running => span(from, now_ms),
        None => String::new(),
    });
    let host = line
        .host
        .as_deref()
        .map_or_else(|| faint("-"), |host| harmless(host).into_owned());
    let of_task = |text: String| if is_group { String::new() } else { text };
    vec![
        format!("{}{}", margin(branch), harmless(&line.id)),
        painted(style(line.state), line.state.name()),
        of_task(host),
        of_task(line.attempts.to_string()),
        span(line.created_ms, now_ms),
        time.unwrap_or_default(),
        what(line, branch.counts),
    ]
}

/// The last column: counts of what is below, or why it stands where it stands, then the name, then the command.
fn what(line: &TaskLine, counts: Option<&Counts>) -> String {
    let mut parts = Vec::new();
    let counted = counts.map(states);
    match (counted.as_deref(), line.members.is_some()) {
        (None | Some(""), true) => parts.push(faint("(no members)")),
        (Some(counts), true) => parts.push(format!("({counts})")),
        (None | Some(""), false) => {}
        (Some(counts), false) => parts.push(format!("(below: {counts})")),
    }
    if let Some(reason) = &line.reason
        && line.state != TaskState::Success
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
                exit: Some(0),
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
                reason: Some("waits for k3v7qa-1".into()),
                after: vec!["k3v7qa-1".into()],
                ..line("k3v7qa-5", TaskState::Blocked)
            },
            TaskLine {
                parent: Some("k3v7qa-1".into()),
                ..line("k3v7qa-6", TaskState::Success)
            },
        ]
    }

    fn shown(lines: Vec<TaskLine>, depth: usize, width: Option<u16>) -> String {
        let tree = Tree::grow(lines, Count::All);
        let text = usual(&tree.branches(depth), 10_000, width);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn members_are_listed_at_depth() {
        assert_eq!(
            shown(lines(), 1, None),
            "\
ID          STATE    HOST   RUNS  AGE  TIME  COMMAND
k3v7qa-1    success  alpha     2  10s  2.5s  (below: 1 success) true
→ k3v7qa-5  blocked  -         0  10s        (waits for k3v7qa-1) last: true
k3v7qa-2    running               10s        (1 running, 1 error) pictures
"
        );
        assert_eq!(
            shown(lines(), 0, None),
            "\
ID          STATE    HOST   RUNS  AGE  TIME  COMMAND
k3v7qa-1    success  alpha     2  10s  2.5s  (below: 1 success) true
  k3v7qa-6  success  -         0  10s        true
→ k3v7qa-5  blocked  -         0  10s        (waits for k3v7qa-1) last: true
k3v7qa-2    running               10s        (1 running, 1 error) pictures
  k3v7qa-3  error    beta      0  10s        (exit 3) true
  k3v7qa-4  running  -         0  10s  1.0s  true
"
        );
    }

    #[test]
    fn narrow_terminals_see_what_matters_most() {
        assert_eq!(
            shown(lines(), 1, Some(44)),
            "\
ID          STATE    HOST   COMMAND
k3v7qa-1    success  alpha  (below: 1…
→ k3v7qa-5  blocked  -      (waits for…
k3v7qa-2    running         (1 running, 1…
"
        );
        assert_eq!(
            shown(lines(), 1, Some(20)),
            "\
ID          STATE  …
k3v7qa-1    success…
→ k3v7qa-5  blocked…
k3v7qa-2    running…
"
        );
    }

    #[test]
    fn columns_are_those_asked_for() {
        let tree = Tree::grow(lines(), Count::All);
        let fields = [Field::Wall, Field::Id, Field::State, Field::Exit];
        let text = custom(&fields, &tree.branches(0)[..3], 10_000, None);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
WALL  ID          STATE    EXIT
2.5s  k3v7qa-1    success     0
        k3v7qa-6  success
      → k3v7qa-5  blocked
"
        );
    }

    #[test]
    fn what_is_deep_stays_on_the_screen() {
        let chain = (0..40).map(|n| TaskLine {
            parent: Some(format!("x-{}", n - 1)),
            ..line(&format!("x-{n}"), TaskState::Success)
        });
        let text = shown(chain.collect(), 0, None);
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.starts_with(&format!("{}x-39 ", "  ".repeat(MOST_INDENT))),
            "{last}"
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
