//! Progress: a bar on a terminal, a plain line now and then elsewhere; always on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::note;

/// Plain lines come at most this often, unless a tenth more is done.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// On a terminal of so many columns there is room for a bar with words behind it.
const BAR_FROM: u16 = 70;

/// Shows how far something is.
#[derive(Debug)]
pub enum Meter {
    /// Nobody wants to see it.
    Silent,
    /// A bar on a terminal.
    Bar(ProgressBar),
    /// Lines elsewhere.
    Lines(Lines),
}

/// Decides when a plain line is due.
#[derive(Debug)]
pub struct Lines {
    last: Instant,
    tenth: u64,
}

impl Meter {
    /// Makes a bar where standard error is a terminal, else lines.
    #[must_use]
    pub fn new() -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let columns = super::terminal_width(&std::io::stderr());
            let shape = match columns < BAR_FROM {
                true => "{pos}/{len} {wide_msg}",
                false => "{bar:30} {pos}/{len} {msg} {elapsed}",
            };
            if let Ok(style) = ProgressStyle::with_template(shape) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            return Self::Bar(bar);
        }
        Self::Lines(Lines {
            last: Instant::now(),
            tenth: 0,
        })
    }

    /// Shows that `done` of `total` are done.
    pub fn show(&mut self, done: u64, total: u64, text: &str) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(text.to_owned());
            }
            Self::Lines(lines) => {
                if lines.is_due(done, total, Instant::now()) {
                    let gap = if text.is_empty() { "" } else { ", " };
                    note(&format!("{done} of {total} ended{gap}{text}"));
                }
            }
        }
    }

    /// Writes a line above the bar.
    pub fn say(&self, text: &str) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => bar.suspend(|| note(text)),
            Self::Lines(_) => note(text),
        }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Lines {
    fn is_due(&mut self, done: u64, total: u64, now: Instant) -> bool {
        let tenth = (done * 10).checked_div(total).unwrap_or(0);
        let late = now.saturating_duration_since(self.last) >= PLAIN_EVERY;
        if tenth == self.tenth && !late {
            return false;
        }
        (self.last, self.tenth) = (now, tenth);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_by_the_tenth_or_after_a_while() {
        let start = Instant::now();
        let mut lines = Lines {
            last: start,
            tenth: 0,
        };
        let later = start + PLAIN_EVERY;
        for (done, now, due) in [
            (0, start, false),
            (9, start, false),
            (10, start, true),
            (19, start, false),
            (19, later, true),
            (100, later, true),
            (100, later, false),
        ] {
            assert_eq!(lines.is_due(done, 100, now), due, "{done}");
        }
        assert!(!lines.is_due(0, 0, later) || lines.tenth == 0);
    }
}
