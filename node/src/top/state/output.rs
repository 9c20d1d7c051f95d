//! What a task prints, as far as a screen needs it: the last lines, as text that cannot steer a terminal.

use std::collections::VecDeque;

use super::Key;
use crate::api::wire::StreamName;
use crate::render::text::harmless;

/// So many lines are kept: what a person scrolls back over. A guess.
const MOST_LINES: usize = 5_000;
/// A line is cut after so many bytes: it is looked at, not kept.
const MOST_BYTES: usize = 4 << 10;
/// How far a step to the side goes, columns.
const ASIDE: usize = 10;

/// A line that was printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// On which stream.
    pub(crate) stream: StreamName,
    /// What, made harmless.
    pub(crate) text: String,
}

/// How far the reading is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// More may come.
    Open,
    /// That was all.
    Ended,
    /// It broke off.
    Failed(String),
}

/// Which lines are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The last ones, as they come.
    End,
    /// From this one on.
    At(usize),
}

/// The output of one task.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Tells this view from those before.
    pub(crate) view: u64,
    /// The task.
    pub(crate) id: String,
    /// Where it comes from.
    pub(crate) host: Option<String>,
    /// How far the reading is.
    pub(crate) reading: Reading,
    /// Columns that are left out at the left.
    pub(crate) aside: usize,
    lines: VecDeque<Printed>,
    /// Lines that have begun, of each stream.
    begun: [Vec<u8>; 2],
    place: Place,
    height: usize,
}

impl Output {
    /// Begins to look.
    pub(crate) fn new(view: u64, id: String, height: usize) -> Self {
        Self {
            view,
            id,
            host: None,
            reading: Reading::Open,
            aside: 0,
            lines: VecDeque::new(),
            begun: [Vec::new(), Vec::new()],
            place: Place::End,
            height: height.max(1),
        }
    }

    /// The reading begins anew: what was there comes again.
    pub(crate) fn begin_anew(&mut self) {
        self.lines.clear();
        self.begun = [Vec::new(), Vec::new()];
        self.reading = Reading::Open;
    }

    /// Takes a piece of it.
    pub(crate) fn take(&mut self, stream: StreamName, host: Option<String>, bytes: &[u8]) {
        self.host = host.or(self.host.take());
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let begun = &mut self.begun[place_of(stream)];
            let room = MOST_BYTES.saturating_sub(begun.len());
            begun.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = std::mem::take(begun);
                self.push(stream, &line);
            }
        }
    }

    fn push(&mut self, stream: StreamName, line: &[u8]) {
        let text = readable(line);
        self.lines.push_back(Printed { stream, text });
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
            if let Place::At(at) = self.place {
                self.place = Place::At(at.saturating_sub(1));
            }
        }
    }

    /// There is no more, or it broke off: lines that have no end are lines now.
    pub(crate) fn end(&mut self, reading: Reading) {
        for stream in [StreamName::Stdout, StreamName::Stderr] {
            let line = std::mem::take(&mut self.begun[place_of(stream)]);
            if !line.is_empty() {
                self.push(stream, &line);
            }
        }
        self.reading = reading;
    }

    /// The screen has so many lines for it.
    pub(crate) fn resize(&mut self, height: usize) {
        self.height = height.max(1);
    }

    /// Returns the lines on the screen. A line that has only begun is the last.
    pub(crate) fn visible(&self) -> Vec<Printed> {
        let begun = [StreamName::Stdout, StreamName::Stderr]
            .into_iter()
            .filter_map(|stream| {
                let line = &self.begun[place_of(stream)];
                (!line.is_empty()).then(|| Printed {
                    stream,
                    text: readable(line),
                })
            });
        let all = self.lines.iter().cloned().chain(begun);
        all.skip(self.top()).take(self.height).collect()
    }

    /// Returns the first line on the screen, and how many there are.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.top(), self.len())
    }

    /// Says whether the end is looked at.
    pub(crate) fn is_at_end(&self) -> bool {
        self.place == Place::End
    }

    fn len(&self) -> usize {
        let begun = self.begun.iter().filter(|line| !line.is_empty()).count();
        self.lines.len() + begun
    }

    fn last_top(&self) -> usize {
        self.len().saturating_sub(self.height)
    }

    fn top(&self) -> usize {
        match self.place {
            Place::End => self.last_top(),
            Place::At(at) => at.min(self.last_top()),
        }
    }

    /// Moves over it.
    pub(crate) fn go(&mut self, key: Key) {
        let (top, page) = (self.top(), self.height.saturating_sub(1).max(1));
        let to = match key {
            Key::Up => top.saturating_sub(1),
            Key::PageUp => top.saturating_sub(page),
            Key::Down => top + 1,
            Key::PageDown => top + page,
            Key::Home => 0,
            Key::End => usize::MAX,
            Key::Left => return self.aside = self.aside.saturating_sub(ASIDE),
            Key::Right => return self.aside = (self.aside + ASIDE).min(MOST_BYTES),
            _ => return,
        };
        self.place = match to >= self.last_top() {
            true => Place::End,
            false => Place::At(to),
        };
    }
}

fn place_of(stream: StreamName) -> usize {
    match stream {
        StreamName::Stdout => 0,
        StreamName::Stderr => 1,
    }
}

/// Returns a line as a person would see it: after the last return of the carriage, without codes for colours and the like.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    let last = text.rsplit('\r').next().unwrap_or_default();
    let plain = anstream::adapter::strip_str(last).to_string();
    harmless(&plain.replace('\t', "    ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(output: &Output) -> Vec<String> {
        let lines = output.visible().into_iter();
        lines.map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_whole_whatever_the_pieces() {
        let mut output = Output::new(1, "a-1".into(), 10);
        output.take(StreamName::Stdout, None, b"on");
        output.take(StreamName::Stderr, None, b"er\xc3");
        output.take(StreamName::Stdout, None, b"e\ntwo");
        output.take(StreamName::Stderr, None, b"\xb6r\n");
        assert_eq!(texts(&output), ["one", "er\u{f6}r", "two"]);
        output.end(Reading::Ended);
        assert_eq!(texts(&output), ["one", "er\u{f6}r", "two"]);
        output.begin_anew();
        assert!(texts(&output).is_empty());
    }

    #[test]
    fn hostile_bytes_are_shown_as_text() {
        for (bytes, text) in [
            (&b"\x1b[2J\x1b[31mred\x1b[0m\n"[..], "red"),
            (b"10%\r20%\r30%\n", "30%"),
            (b"a\tb\r\n", "a    b"),
            (b"\x07\x08x\xff\n", "x\u{fffd}"),
            (b"\x1b]0;title\x07shown\n", "shown"),
            ("\u{202e}abc\u{9b}2J\n".as_bytes(), "\\u{202e}abc"),
        ] {
            let shown = readable(bytes);
            assert!(!shown.contains(char::is_control), "{shown:?}");
            assert!(shown.starts_with(text), "{shown:?}");
        }
    }

    #[test]
    fn the_end_is_followed_until_a_person_looks_elsewhere() {
        let mut output = Output::new(1, "a-1".into(), 3);
        let say = |output: &mut Output, n: usize| {
            output.take(StreamName::Stdout, None, format!("{n}\n").as_bytes());
        };
        (0..10).for_each(|n| say(&mut output, n));
        assert_eq!(texts(&output), ["7", "8", "9"]);
        output.go(Key::PageUp);
        assert_eq!(texts(&output), ["5", "6", "7"]);
        say(&mut output, 10);
        assert_eq!(texts(&output), ["5", "6", "7"]);
        output.go(Key::Down);
        assert_eq!(
            (texts(&output)[0].as_str(), output.is_at_end()),
            ("6", false)
        );
        output.go(Key::End);
        say(&mut output, 11);
        assert_eq!(texts(&output), ["9", "10", "11"]);
        output.go(Key::Home);
        output.resize(20);
        assert_eq!(texts(&output).len(), 12);
    }

    #[test]
    fn no_more_is_kept_than_a_person_looks_at() {
        let mut output = Output::new(1, "a-1".into(), 2);
        output.take(StreamName::Stdout, None, &vec![b'x'; 1 << 20]);
        output.take(StreamName::Stdout, None, b"\n");
        assert_eq!(texts(&output), ["x".repeat(MOST_BYTES - 1) + "x"]);
        for n in 0..2 * MOST_LINES {
            output.take(StreamName::Stdout, None, format!("{n}\n").as_bytes());
        }
        assert_eq!(output.place().1, MOST_LINES);
        output.go(Key::Home);
        let first = texts(&output).remove(0);
        output.take(StreamName::Stdout, None, b"more\n");
        assert_ne!(texts(&output)[0], first, "the oldest are let go");
    }
}
