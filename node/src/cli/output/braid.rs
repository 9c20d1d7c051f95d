//! Outputs of several tasks in one: whole lines, each behind the id of its task, or as it is asked for.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};

use super::format::Format;
use crate::api::wire::{OutputPiece, StreamName};
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
    look: Look,
    /// The beginnings of lines whose ends have not come yet.
    begun: BTreeMap<(usize, StreamName), Vec<u8>>,
}

/// How lines look.
#[derive(Debug)]
enum Look {
    /// Behind these, of each task.
    Prefixes(Vec<String>),
    /// So, with the ids of the tasks and the hosts of which the newest of each stream came.
    Format(Format, Vec<String>, BTreeMap<(usize, StreamName), String>),
}

impl Braid {
    /// Begins with these tasks, each line as it is asked for.
    pub(super) fn formatted(ids: &[String], format: Format) -> Self {
        Self {
            look: Look::Format(format, ids.to_vec(), BTreeMap::new()),
            begun: BTreeMap::new(),
        }
    }

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
            look: Look::Prefixes(ids.iter().zip(colours).map(prefix).collect()),
            begun: BTreeMap::new(),
        }
    }

    /// Where lines of a stream are written: all to one where each says of which it is.
    pub(super) fn goes_to(&self, stream: StreamName) -> StreamName {
        match self.look {
            Look::Prefixes(_) => stream,
            Look::Format(..) => StreamName::Stdout,
        }
    }

    /// Takes some of a task's stream, and returns the lines that have ended with it.
    pub(super) fn add(&mut self, place: usize, piece: &OutputPiece) -> Vec<u8> {
        let mut lines = Vec::new();
        let (stream, data) = (piece.stream, piece.data.0.as_slice());
        if let (Look::Format(_, _, hosts), Some(host)) = (&mut self.look, &piece.host) {
            hosts.insert((place, stream), host.clone());
        }
        let begun = self.begun.entry((place, stream)).or_default();
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            for part in part.chunks(LONGEST_LINE) {
                begun.extend_from_slice(part);
                if begun.ends_with(b"\n") || begun.len() >= LONGEST_LINE {
                    self.look.end_line((place, stream), begun, &mut lines);
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
            self.look.end_line((place, stream), &mut begun, &mut lines);
        }
        lines
    }
}

impl Look {
    fn end_line(&self, key: (usize, StreamName), begun: &mut Vec<u8>, lines: &mut Vec<u8>) {
        match self {
            Self::Prefixes(prefixes) => {
                lines.extend_from_slice(prefixes[key.0].as_bytes());
                lines.append(begun);
                if !lines.ends_with(b"\n") {
                    lines.push(b'\n');
                }
            }
            Self::Format(format, ids, hosts) => {
                let line = begun.strip_suffix(b"\n").unwrap_or(begun);
                let host = hosts.get(&key).map_or("", String::as_str);
                format.line((&ids[key.0], host), key.1, line, lines);
                begun.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::format;
    use super::*;
    use crdt::task::Arg;

    fn piece(stream: StreamName, data: &[u8]) -> OutputPiece {
        OutputPiece {
            stream,
            host: Some("n1".to_owned()),
            data: Arg(data.to_vec()),
        }
    }

    fn braid() -> Braid {
        Braid::new(&["a-1".to_owned(), "a-12".to_owned()], false)
    }

    #[test]
    fn lines_are_whole_and_tell_their_task() {
        let mut braid = braid();
        let (out, err) = (StreamName::Stdout, StreamName::Stderr);
        assert_eq!(braid.add(0, &piece(out, b"on")), b"");
        assert_eq!(braid.add(1, &piece(out, b"two\nthr")), b"a-12 | two\n");
        assert_eq!(braid.add(0, &piece(err, b"!\n")), b"a-1  | !\n");
        assert_eq!(
            braid.add(0, &piece(out, b"e\n\nx")),
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
        let lines = braid.add(0, &piece(StreamName::Stdout, &data));
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(count, 3);
        assert!(braid.begun.values().all(Vec::is_empty));
    }

    #[test]
    fn tasks_have_colours_on_a_terminal() {
        let mut braid = Braid::new(&["a-1".to_owned()], true);
        let line = braid.add(0, &piece(StreamName::Stdout, b"x\n"));
        assert!(line.starts_with(b"\x1b["), "{line:?}");
    }

    #[test]
    fn lines_look_as_they_are_asked_for() {
        let Ok(format) = format("{id} {host} {fd} {data}") else {
            panic!("it is a format");
        };
        let mut braid = Braid::formatted(&["a-1".to_owned()], format);
        let (out, err) = (StreamName::Stdout, StreamName::Stderr);
        assert_eq!(braid.add(0, &piece(out, b"one\ntw")), b"a-1 n1 1 one\n");
        assert_eq!(braid.add(0, &piece(err, b"\n")), b"a-1 n1 2 \n");
        assert_eq!(braid.end(0, out), b"a-1 n1 1 tw\n");
    }
}
