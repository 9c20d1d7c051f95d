//! What a person sees, drawn into a buffer: a pure function of the state. Text from afar has been made harmless, or is made so here;
//! what a buffer cannot hold as a character in a cell never reaches a terminal.

mod columns;
mod lists;
#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use self::columns::put;
use super::layout::Layout;
use super::state::{Bar, Cover, KEYS, Link, Output, Reading, Said, State, Tab};
use crate::api::wire::StreamName;
use crate::render::text::{duration, harmless};
use crdt::task::TaskState;

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// There are.
    Colours,
    /// There are none; what stands out is bold or reversed.
    Plain,
}

/// What drawing needs beside the state.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Colours or none.
    pub(crate) paint: Paint,
    /// In which times of day are told.
    pub(crate) zone: TimeZone,
}

/// What is drawn, and where the cursor stands, if it is to be seen.
pub(crate) fn draw(state: &State, look: &Look, buffer: &mut Buffer) -> Option<(u16, u16)> {
    let (columns, lines) = (buffer.area.width, buffer.area.height);
    if columns == 0 || lines == 0 {
        return None;
    }
    match &state.cover {
        Cover::None => lists::draw(state, look, buffer),
        Cover::Help(from) => draw_help(buffer, *from),
        Cover::Output(output) => draw_output(state, output, buffer),
    }
    let cursor = Layout::of(lines)
        .bar
        .and_then(|line| draw_bar(state, buffer, line));
    if look.paint == Paint::Plain {
        for cell in &mut buffer.content {
            cell.set_fg(Color::Reset).set_bg(Color::Reset);
        }
    }
    cursor
}

/// How a state looks.
fn colour(state: TaskState) -> Style {
    let colour = match state {
        TaskState::Success => Color::Green,
        TaskState::Error | TaskState::Lost => Color::Red,
        TaskState::Killed | TaskState::Cancelled => Color::Magenta,
        TaskState::Running | TaskState::Claimed => Color::Cyan,
        TaskState::Creating | TaskState::Pending | TaskState::Blocked | TaskState::Held => {
            Color::Yellow
        }
    };
    Style::new().fg(colour)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Draws the first line: what is looked at, and whether it is as it is now.
fn draw_title(state: &State, buffer: &mut Buffer, line: u16, what: &str) {
    let width = usize::from(buffer.area.width);
    buffer.set_style(Rect::new(0, line, buffer.area.width, 1), reversed());
    let away = match &state.link {
        Link::Up => String::new(),
        Link::Away(since, why) => {
            let away = state.now_ms.saturating_sub(*since);
            let away = duration(std::time::Duration::from_millis(away));
            format!(" away for {away}: {}", harmless(why))
        }
    };
    let name = format!(" aque {}", harmless(&state.node));
    let mut x = put(buffer, 0, line, &name, width, reversed());
    if !away.is_empty() {
        let style = reversed().fg(Color::Red).add_modifier(Modifier::BOLD);
        x = put(buffer, x, line, &away, width, style);
    }
    put(buffer, x + 1, line, what, width, reversed());
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// Draws the last line. Returns where the cursor stands if text is typed there.
fn draw_bar(state: &State, buffer: &mut Buffer, line: u16) -> Option<(u16, u16)> {
    let width = usize::from(buffer.area.width);
    match &state.bar {
        Bar::Keys => {
            let keys = match (&state.cover, state.tab) {
                (Cover::Help(_), _) => "arrows move, any other key: back",
                (Cover::Output(_), _) => {
                    "Esc back  K kill  R retry  arrows move  End follow  ? help"
                }
                (Cover::None, Tab::Tasks) => {
                    "q quit  ? help  Enter open  / filter  s sort  a all users  K kill  R retry  H hold  L release"
                }
                (Cover::None, Tab::Hosts | Tab::Events) => "q quit  ? help  Tab next  arrows move",
            };
            put(buffer, 0, line, keys, width, faint());
            None
        }
        Bar::Said(Said::Good(word), _) => {
            put(
                buffer,
                0,
                line,
                &harmless(word),
                width,
                Style::new().fg(Color::Green),
            );
            None
        }
        Bar::Said(Said::Bad(word), _) => {
            let style = bold().fg(Color::Red);
            put(buffer, 0, line, &harmless(word), width, style);
            None
        }
        Bar::Question(text, _) => {
            let style = bold().fg(Color::Yellow);
            // The answers stay in sight, whatever the question.
            let answers = " y/n";
            let room = width.saturating_sub(answers.len());
            let x = put(buffer, 0, line, text, room, style);
            put(buffer, x, line, answers, answers.len(), style);
            None
        }
        Bar::Filter(edit, why) => {
            let start = put(buffer, 0, line, "/", width, bold());
            let room = width.saturating_sub(start + 1);
            // What stands before the cursor is in sight, and what is wrong behind it.
            let before = edit.before();
            let skipped = columns::wide(&before).saturating_sub(room);
            let shown: String = skip_columns(&edit.text(), skipped);
            let x = put(buffer, start, line, &shown, room + 1, Style::new());
            if let Some(why) = why {
                let style = Style::new().fg(Color::Red);
                put(buffer, x + 2, line, &harmless(why), width, style);
            }
            let at = start + columns::wide(&before) - skipped;
            Some((u16::try_from(at).unwrap_or(u16::MAX), line))
        }
    }
}

/// A text without its first columns.
fn skip_columns(text: &str, columns: usize) -> String {
    let mut left = columns;
    let rest = text.chars().skip_while(|c| {
        let wide = columns::wide(c.encode_utf8(&mut [0; 4]));
        let skips = left > 0;
        left = left.saturating_sub(wide);
        skips
    });
    rest.collect()
}

fn draw_output(state: &State, output: &Output, buffer: &mut Buffer) {
    let layout = Layout::plain(buffer.area.height);
    let width = usize::from(buffer.area.width);
    if let Some(line) = layout.title {
        let (top, all) = output.place();
        let reading = match &output.reading {
            Reading::Open if output.is_at_end() => "follows".to_owned(),
            Reading::Open => format!("line {} of {all}, goes on", top + 1),
            Reading::Ended => format!("line {} of {all}, ended", (top + 1).min(all)),
            Reading::Failed(why) => format!("broke off: {}", harmless(why)),
        };
        let host = output
            .host
            .as_deref()
            .map_or_else(String::new, |host| format!(" on {}", harmless(host)));
        let task = state.tasks.find(&output.id);
        let now = task.map_or_else(String::new, |task| format!(" {}", task.state.name()));
        let what = format!("output of {}{now}{host}: {reading}", harmless(&output.id));
        draw_title(state, buffer, line, &what);
    }
    for (place, printed) in (layout.body..).zip(output.visible()) {
        if place >= layout.body + layout.height {
            break;
        }
        let style = match printed.stream {
            StreamName::Stdout => Style::new(),
            StreamName::Stderr => Style::new().fg(Color::Red),
        };
        let text = skip_columns(&printed.text, output.aside);
        put(buffer, 0, place, &text, width, style);
    }
}

fn draw_help(buffer: &mut Buffer, from: usize) {
    let layout = Layout::plain(buffer.area.height);
    let width = usize::from(buffer.area.width);
    if let Some(line) = layout.title {
        buffer.set_style(Rect::new(0, line, buffer.area.width, 1), reversed());
        put(buffer, 0, line, " aque: keys", width, reversed());
    }
    let shown = KEYS.iter().skip(from);
    for (line, (keys, what)) in (layout.body..layout.body + layout.height).zip(shown) {
        let x = put(buffer, 1, line, keys, width, bold());
        put(buffer, x.max(18) + 1, line, what, width, Style::new());
    }
}
