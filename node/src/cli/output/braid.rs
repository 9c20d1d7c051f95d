//! Outputs of several tasks in one: whole lines, each behind the id of its task.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};

use crate::api::wire::StreamName;
use crate::render::text::painted;

/// A line that is longer is cut, bytes.
const LONGEST_LINE: usize = 64 << 10;

/// Colours of tasks, in turns.
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// The lines of several tasks.
#[derive(Debug)]
pub(super) struct Braid {
    prefixes: Vec<String>,
    /// The beginnings of lines whose ends have not come yet.
    begun: BTreeMap<(usize, StreamName), Vec<u8>>,
}

impl Braid {
    /// Begins with these tasks.
    pub(super) fn new(ids: &[String], coloured: bool) -> Self {
        let width = ids.iter().map(|id| id.chars().count()).max().unwrap_or(0);
        let colours = COLOURS.iter().cycle();
        let prefix = |(id, colour): (&String, &AnsiColor)| {
            let text = format!("{id:<width$} |");
            let style = Style::new().fg_color(Some((*colour).into()));
            match coloured {
                true => format!("{} ", painted(style, &text)),
                false => format!("{text} "),
            }
        };
        Self {
            prefixes: ids.iter().zip(colours).map(prefix).collect(),
            begun: BTreeMap::new(),
        }
    }

    /// Takes some of a task's stream, and returns the lines that have ended with it.
    pub(super) fn add(&mut self, place: usize, stream: StreamName, data: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        let begun = self.begun.entry((place, stream)).or_default();
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            for part in part.chunks(LONGEST_LINE) {
                begun.extend_from_slice(part);
                if begun.ends_with(b"\n") || begun.len() >= LONGEST_LINE {
                    end_line(&self.prefixes[place], begun, &mut lines);
                }
            }
        }
        lines
    }

    /// Returns the last line of a task's stream, if it has no end.
    pub(super) fn end(&mut self, place: usize, stream: StreamName) -> Vec<u8> {
        let mut lines = Vec::new();
        let begun = self.begun.remove(&(place, stream));
        if let Some(mut begun) = begun.filter(|begun| !begun.is_empty()) {
            end_line(&self.prefixes[place], &mut begun, &mut lines);
        }
        lines
    }
}

fn end_line(prefix: &str, begun: &mut Vec<u8>, lines: &mut Vec<u8>) {
    lines.extend_from_slice(prefix.as_bytes());
    lines.append(begun);
    if !lines.ends_with(b"\n") {
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn braid() -> Braid {
        Braid::new(&["a-1".to_owned(), "a-12".to_owned()], false)
    }

    #[test]
    fn lines_are_whole_and_tell_their_task() {
        let mut braid = braid();
        let (out, err) = (StreamName::Stdout, StreamName::Stderr);
        assert_eq!(braid.add(0, out, b"on"), b"");
        assert_eq!(braid.add(1, out, b"two\nthr"), b"a-12 | two\n");
        assert_eq!(braid.add(0, err, b"!\n"), b"a-1  | !\n");
        assert_eq!(
            braid.add(0, out, b"e\n\nx"),
            b"a-1  | one\na-1  | \n",
            "an empty line is one"
        );
        assert_eq!(braid.end(1, out), b"a-12 | thr\n");
        assert_eq!(braid.end(0, out), b"a-1  | x\n");
        assert_eq!(braid.end(0, err), b"");
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut braid = braid();
        let data = vec![b'x'; 3 * LONGEST_LINE];
        let lines = braid.add(0, StreamName::Stdout, &data);
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(count, 3);
        assert!(braid.begun.values().all(Vec::is_empty));
    }

    #[test]
    fn tasks_have_colours_on_a_terminal() {
        let mut braid = Braid::new(&["a-1".to_owned()], true);
        let line = braid.add(0, StreamName::Stdout, b"x\n");
        assert!(line.starts_with(b"\x1b["), "{line:?}");
    }
}
