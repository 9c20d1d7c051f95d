//! Small texts: durations, sizes, counts, states; and how foreign text is made harmless.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use crdt::task::{Arg, TaskState};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::api::wire::NodeLine;

/// Says whether a character may steer a terminal, or turn the text around it.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns text that cannot steer a terminal: control characters are shown as escapes.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            safe.extend(c.escape_default())
        } else {
            safe.push(c)
        }
    }
    Cow::Owned(safe)
}

/// Returns how wide text is on a terminal; its colours are not.
#[must_use]
pub fn width(text: &str) -> usize {
    let parts = anstream::adapter::strip_str(text);
    parts.map(UnicodeWidthStr::width).sum()
}

/// Returns a line with colours that is at most so wide; what is cut off is told by `…`.
#[must_use]
pub fn cut(line: &str, most: usize) -> Cow<'_, str> {
    if width(line) <= most {
        return Cow::Borrowed(line);
    }
    let (mut kept, mut wide, mut painted) = (String::new(), 0, false);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        // Our own colours are all that begins so.
        let code = rest.strip_prefix("\u{1b}[").and_then(|code| code.find('m'));
        let (part, own) = match code {
            Some(end) => (&rest[..end + 3], 0),
            None => (&rest[..c.len_utf8()], c.width().unwrap_or(0)),
        };
        if code.is_none() && wide + own >= most {
            break;
        }
        painted |= code.is_some();
        wide += own;
        kept.push_str(part);
        rest = &rest[part.len()..];
    }
    kept.push_str(if most > 0 { "…" } else { "" });
    kept.push_str(if painted { "\u{1b}[0m" } else { "" });
    Cow::Owned(kept)
}

/// Returns a command as one would type it.
#[must_use]
pub fn command<'a>(argv: impl IntoIterator<Item = &'a Arg>) -> String {
    let words: Vec<_> = argv
        .into_iter()
        .map(|arg| arg.to_text().into_owned())
        .collect();
    let quoted: Vec<_> = words
        .iter()
        .map(|word| shlex::try_quote(word).unwrap_or(Cow::Borrowed("'\u{fffd}'")))
        .collect();
    harmless(&quoted.join(" ")).into_owned()
}

/// Returns a duration in at most two units: `480ms`, `3.2s`, `2m05s`, `3h10m`, `4d2h`.
#[must_use]
pub fn duration(time: Duration) -> String {
    let (ms, s) = (time.as_millis(), time.as_secs());
    match s {
        0 => format!("{ms}ms"),
        1..10 => format!("{s}.{}s", time.subsec_millis() / 100),
        10..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Returns the time between two readings of the wall clock, milliseconds.
#[must_use]
pub fn span(from_ms: u64, to_ms: u64) -> String {
    duration(Duration::from_millis(to_ms.saturating_sub(from_ms)))
}

/// Returns a size with its unit: `512 B`, `4.0 KiB`, `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// Returns a count with its noun: `1 task`, `3 tasks`.
#[must_use]
pub fn count(n: u64, noun: &str) -> String {
    let ending = match n {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{n} {noun}{ending}")
}

/// Returns whether a host is alive, and since when.
#[must_use]
pub fn standing(node: &NodeLine) -> String {
    let (word, since_ms) = match (node.alive, node.draining) {
        (true, true) => ("drained, alive", node.since_ms),
        (true, false) => ("alive", node.since_ms),
        (false, _) => ("silent", node.silent_ms),
    };
    let since = since_ms.map(|ms| format!(" for {}", duration(Duration::from_millis(ms))));
    format!("{word}{}", since.unwrap_or_default())
}

/// Returns in how many lists another host differs.
#[must_use]
pub fn differing(lists: usize) -> String {
    match lists {
        0 => "none".to_owned(),
        lists => count(lists as u64, "list"),
    }
}

/// Returns counts by state, the states that occur, in the order of a task's life: `12 pending, 280 success`.
#[must_use]
pub fn states(counts: &BTreeMap<String, u32>) -> String {
    let mut text = String::new();
    let known = TaskState::ALL.iter().map(|state| state.name());
    for (state, n) in known.filter_map(|name| Some((name, *counts.get(name)?))) {
        if n > 0 {
            let gap = if text.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _done = write!(text, "{gap}{n} {state}");
        }
    }
    text
}

/// Returns how a state looks.
#[must_use]
pub fn style(state: TaskState) -> Style {
    let colour = match state {
        TaskState::Success => AnsiColor::Green,
        TaskState::Error | TaskState::Lost => AnsiColor::Red,
        TaskState::Killed | TaskState::Cancelled => AnsiColor::Magenta,
        TaskState::Running | TaskState::Claimed => AnsiColor::Cyan,
        TaskState::Creating | TaskState::Pending | TaskState::Blocked | TaskState::Held => {
            AnsiColor::Yellow
        }
    };
    colour.on_default()
}

/// Returns text in a style, with the codes that end it.
#[must_use]
pub fn painted(style: Style, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{style}{text}{style:#}")
    }
}

/// Returns faint text, for what is less important.
#[must_use]
pub fn faint(text: &str) -> String {
    painted(Style::new().dimmed(), text)
}

/// Returns an instant of the wall clock, milliseconds since 1970, in UTC.
#[must_use]
pub fn instant(ms: u64) -> String {
    let at = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    at.map_or_else(String::new, |at| {
        humantime::format_rfc3339_seconds(at).to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_table() {
        for (ms, text) in [
            (0, "0ms"),
            (480, "480ms"),
            (3_290, "3.2s"),
            (59_999, "59s"),
            (125_000, "2m05s"),
            (11_400_000, "3h10m"),
            (356_400_000, "4d3h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(span(5, 3), "0ms");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(
            harmless("a\u{1b}[31mb\r\n\u{202e}"),
            "a\\u{1b}[31mb\\r\\n\\u{202e}"
        );
        assert_eq!(harmless("grün ✓"), "grün ✓");
        let argv = ["echo", "it's", "", "a b"].map(Arg::from);
        assert_eq!(command(&argv), r#"echo "it's" '' 'a b'"#);
    }

    #[test]
    fn lines_are_cut_by_what_is_seen_of_them() {
        let red = |text: &str| format!("\u{1b}[31m{text}\u{1b}[0m");
        for (line, most, shown) in [
            ("abc", 3, "abc".to_owned()),
            ("abcd", 3, "ab…".to_owned()),
            ("漢字x", 4, "漢…".to_owned()),
            ("abcd", 0, String::new()),
            (&red("abcd"), 4, red("abcd")),
            (&red("abcd"), 3, red("ab…")),
            (&format!("a{}", red("bcd")), 1, "…".to_owned()),
        ] {
            assert_eq!(cut(line, most), shown, "{line}");
            assert!(width(&cut(line, most)) <= most);
        }
    }

    #[test]
    fn counts_follow_the_life_of_a_task() {
        let counts = [("success", 280), ("pending", 12), ("error", 0)];
        let counts = counts
            .map(|(name, n)| (name.to_owned(), n))
            .into_iter()
            .collect();
        assert_eq!(states(&counts), "12 pending, 280 success");
        assert_eq!(
            (count(1, "task"), count(0, "task")),
            ("1 task".into(), "0 tasks".into())
        );
    }

    #[test]
    fn instants_are_utc() {
        assert_eq!(instant(1_700_000_000_123), "2023-11-14T22:13:20Z");
        assert_eq!(size(4_096), "4.0 KiB");
    }
}
