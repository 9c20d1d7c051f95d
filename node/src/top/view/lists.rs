//! The lists: tasks, hosts, what has happened.

use crdt::task::TaskState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::columns::{self, Cell, Column, Side, put};
use super::{Look, bold, colour, draw_title, faint, reversed};
use crate::api::wire::{NodeLine, TaskLine};
use crate::render::happening::{Words, time_of_day, words};
use crate::render::text::{differing, harmless, span, standing, states};
use crate::top::layout::Layout;
use crate::top::state::{State, Tab};

/// Draws what is looked at.
pub(super) fn draw(state: &State, look: &Look, buffer: &mut Buffer) {
    let layout = Layout::of(buffer.area.height);
    if let Some(line) = layout.title {
        draw_title(state, buffer, line, &title(state));
    }
    if let Some(line) = layout.counts {
        draw_counts(state, buffer, line);
    }
    if let Some(line) = layout.tabs {
        draw_tabs(state, buffer, line);
    }
    match state.tab {
        Tab::Tasks => draw_tasks(state, buffer, layout),
        Tab::Hosts => draw_hosts(state, buffer, layout),
        Tab::Events => draw_events(state, look, buffer, layout),
    }
}

fn title(state: &State) -> String {
    match state.tab {
        Tab::Tasks => {
            let inside = state.tasks.inside.last();
            let of = inside.map_or_else(String::new, |inside| {
                format!(" of {}", harmless(&inside.id))
            });
            format!("{} tasks{of}", state.tasks.total())
        }
        Tab::Hosts => format!("{} hosts", state.hosts.nodes.len()),
        Tab::Events => match state.events.newer() {
            0 => "events".to_owned(),
            newer => format!("events, {newer} newer ones below"),
        },
    }
}

fn draw_counts(state: &State, buffer: &mut Buffer, line: u16) {
    let width = usize::from(buffer.area.width);
    let alive = state.hosts.nodes.iter().filter(|node| node.alive).count();
    let hosts = format!(" {alive} of {} hosts alive", state.hosts.nodes.len());
    let mut x = put(buffer, 0, line, &hosts, width, Style::new());
    let counts = state.tasks.page.as_ref().map(|page| &page.counts);
    for known in TaskState::ALL {
        let count = counts.and_then(|counts| counts.get(known.name()).copied());
        if let Some(count) = count.filter(|count| *count > 0) {
            let text = format!("{count} {}", known.name());
            x = put(buffer, x + 2, line, &text, width, colour(known));
        }
    }
}

fn draw_tabs(state: &State, buffer: &mut Buffer, line: u16) {
    let width = usize::from(buffer.area.width);
    let mut x = 0;
    for (place, tab) in (1..).zip(Tab::ALL) {
        let style = if tab == state.tab {
            reversed()
        } else {
            faint()
        };
        x = put(
            buffer,
            x,
            line,
            &format!(" {place} {} ", tab.name()),
            width,
            style,
        ) + 1;
    }
    if state.tab != Tab::Tasks {
        return;
    }
    let tasks = &state.tasks;
    let order = if tasks.reversed { ", reversed" } else { "" };
    let whose = if tasks.all_users() {
        "all users"
    } else {
        "yours"
    };
    let shape = if tasks.flat { ", by themselves" } else { "" };
    let how = format!("{whose}{shape}, by {}{order}", tasks.sort.name());
    x = put(buffer, x + 1, line, &how, width, Style::new());
    if !tasks.typed.is_empty() {
        let filter = format!("/{}", harmless(&tasks.typed));
        put(
            buffer,
            x + 2,
            line,
            &filter,
            width,
            bold().fg(Color::Yellow),
        );
    }
}

const TASKS: [Column; 7] = [
    Column {
        name: "ID",
        side: Side::Left,
        weight: 9,
    },
    Column {
        name: "STATE",
        side: Side::Left,
        weight: 8,
    },
    Column {
        name: "HOST",
        side: Side::Left,
        weight: 5,
    },
    Column {
        name: "RUNS",
        side: Side::Right,
        weight: 1,
    },
    Column {
        name: "AGE",
        side: Side::Right,
        weight: 3,
    },
    Column {
        name: "TIME",
        side: Side::Right,
        weight: 6,
    },
    Column {
        name: "COMMAND",
        side: Side::Left,
        weight: 7,
    },
];

fn draw_tasks(state: &State, buffer: &mut Buffer, layout: Layout) {
    let tasks = &state.tasks;
    let rows = tasks.offset..tasks.offset + u64::from(layout.height);
    let lines: Vec<Option<&TaskLine>> = rows.clone().map(|row| tasks.at(row)).collect();
    let known: Vec<Vec<Cell>> = lines
        .iter()
        .flatten()
        .map(|line| task_row(line, state.now_ms))
        .collect();
    let width = usize::from(buffer.area.width);
    let chosen = columns::fit(&TASKS, &known, width);
    if let Some(line) = layout.header {
        columns::header(buffer, line, &TASKS, &chosen);
    }
    let mut known = known.into_iter();
    for ((line, row), task) in (layout.body..).zip(rows).zip(&lines) {
        if task.is_some()
            && let Some(cells) = known.next()
        {
            columns::draw(buffer, line, &cells, &TASKS, &chosen);
        }
        if row == tasks.selected && tasks.total() > 0 {
            buffer.set_style(Rect::new(0, line, buffer.area.width, 1), reversed());
        }
    }
    if tasks.page.is_none() || tasks.total() == 0 {
        let text = match (&tasks.page, tasks.typed.is_empty()) {
            (None, _) => "asking…",
            (Some(_), true) => "no tasks; 'aque submit CMD' queues one",
            (Some(_), false) => "no task fits; Esc shows all",
        };
        if layout.height > 0 {
            put(buffer, 0, layout.body, text, width, faint());
        }
    }
}

fn task_row(line: &TaskLine, now_ms: u64) -> Vec<Cell> {
    let time = line.started_ms.map(|from| match line.ended_ms {
        Some(to) => span(from, to),
        None if line.state == TaskState::Running => span(from, now_ms),
        None => String::new(),
    });
    let is_group = line.members.is_some();
    let host = line.host.as_deref().filter(|_| !is_group);
    vec![
        Cell::plain(harmless(&line.id)),
        Cell {
            text: line.state.name().to_owned(),
            style: colour(line.state),
        },
        Cell::plain(host.map(harmless).unwrap_or_default()),
        Cell::plain(if is_group {
            String::new()
        } else {
            line.attempts.to_string()
        }),
        Cell::plain(span(line.created_ms, now_ms)),
        Cell::plain(time.unwrap_or_default()),
        Cell::plain(what(line)),
    ]
}

/// The last column: counts of a group, or why it stands where it stands, what it says of itself, its name, its command.
fn what(line: &TaskLine) -> String {
    let mut parts = Vec::new();
    if let Some(members) = &line.members {
        parts.push(format!("({})", states(members)));
    } else if let Some(reason) = &line.reason
        && line.state != TaskState::Success
    {
        parts.push(format!("({})", harmless(reason)));
    }
    if let Some(progress) = &line.progress {
        parts.push(format!("[{}]", harmless(progress)));
    }
    match &line.name {
        Some(name) if line.command.is_empty() => parts.push(harmless(name).into_owned()),
        Some(name) => parts.push(format!("{}: {}", harmless(name), harmless(&line.command))),
        None => parts.push(harmless(&line.command).into_owned()),
    }
    parts.join(" ")
}

const HOSTS: [Column; 10] = [
    Column {
        name: "NAME",
        side: Side::Left,
        weight: 9,
    },
    Column {
        name: "STATE",
        side: Side::Left,
        weight: 8,
    },
    Column {
        name: "RUNNING",
        side: Side::Right,
        weight: 7,
    },
    Column {
        name: "FREE",
        side: Side::Right,
        weight: 6,
    },
    Column {
        name: "CPUS",
        side: Side::Right,
        weight: 4,
    },
    Column {
        name: "LOAD",
        side: Side::Right,
        weight: 5,
    },
    Column {
        name: "PING",
        side: Side::Right,
        weight: 3,
    },
    Column {
        name: "LAG",
        side: Side::Right,
        weight: 2,
    },
    Column {
        name: "VERSION",
        side: Side::Left,
        weight: 1,
    },
    Column {
        name: "TAG",
        side: Side::Left,
        weight: 0,
    },
];

fn draw_hosts(state: &State, buffer: &mut Buffer, layout: Layout) {
    let nodes = state.hosts.nodes.iter().skip(state.hosts.offset);
    let rows: Vec<Vec<Cell>> = nodes.take(layout.height.into()).map(host_row).collect();
    let chosen = columns::fit(&HOSTS, &rows, buffer.area.width.into());
    if let Some(line) = layout.header {
        columns::header(buffer, line, &HOSTS, &chosen);
    }
    for (line, row) in (layout.body..).zip(&rows) {
        columns::draw(buffer, line, row, &HOSTS, &chosen);
    }
}

fn host_row(node: &NodeLine) -> Vec<Cell> {
    let color = match (node.alive, node.draining) {
        (true, true) => Color::Yellow,
        (true, false) => Color::Green,
        (false, _) => Color::Red,
    };
    let alive = |text: String| Cell::plain(if node.alive { text } else { String::new() });
    let ping = match (node.own, node.round_trip_ms) {
        (true, _) => "here".to_owned(),
        (false, Some(ms)) => format!("{ms:.1}ms"),
        (false, None) => String::new(),
    };
    let lag = node.differs.filter(|_| !node.own).map(differing);
    vec![
        Cell::plain(harmless(&node.name)),
        Cell {
            text: standing(node),
            style: Style::new().fg(color),
        },
        alive(node.running.to_string()),
        alive(format!("{:.1}", node.cpus_free)),
        Cell::plain(format!("{:.1}", node.cpus)),
        alive(format!("{:.2}", node.load)),
        Cell::plain(ping),
        Cell::plain(lag.unwrap_or_default()),
        Cell::plain(harmless(&node.version)),
        Cell::plain(harmless(&node.tag)),
    ]
}

fn draw_events(state: &State, look: &Look, buffer: &mut Buffer, layout: Layout) {
    let width = usize::from(buffer.area.width);
    if let Some(line) = layout.header {
        put(buffer, 0, line, "TIME      WHAT", width, bold());
    }
    for (line, event) in (layout.body..).zip(state.events.visible(layout.height.into())) {
        let Words {
            subject,
            is,
            style,
            more,
        } = words(&event.what);
        let time = time_of_day(event.at_ms, &look.zone);
        let x = put(buffer, 0, line, &time, width, faint());
        let x = put(buffer, x + 2, line, &subject, width, Style::new());
        let x = put(buffer, x + 1, line, &is, width, tone(style));
        put(buffer, x + 1, line, &more, width, Style::new());
    }
}

/// The same colour on the screen.
fn tone(style: anstyle::Style) -> Style {
    use anstyle::AnsiColor;
    let color = match style.get_fg_color() {
        Some(anstyle::Color::Ansi(AnsiColor::Green)) => Color::Green,
        Some(anstyle::Color::Ansi(AnsiColor::Red)) => Color::Red,
        Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => Color::Yellow,
        Some(anstyle::Color::Ansi(AnsiColor::Cyan)) => Color::Cyan,
        Some(anstyle::Color::Ansi(AnsiColor::Magenta)) => Color::Magenta,
        Some(_) | None => Color::Reset,
    };
    Style::new().fg(color)
}
