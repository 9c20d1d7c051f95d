//! Arrays: one command, many tasks that differ in an index, or in a line of a file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::str::FromStr;

use crdt::task::{Arg, Elements};
use serde_json::value::RawValue;

use super::Context;
use super::problem::Problem;
use crate::api::wire::{MemberRequest, Requirements, Submission, Submitted, TaskRequest};
use crate::client::Client;
use crate::render::text::command as as_typed;

/// The most elements of one request.
const REQUEST_ELEMENTS: u32 = 1 << 16;
/// The most bytes of entries in one request: far below the longest line of the API, even where JSON escapes each byte.
const REQUEST_BYTES: usize = 1 << 20;
/// The most elements of an array. A guess: once it has begun, each has its registers on every host, a kilobyte.
const MOST: u32 = 1_000_000;
/// The longest text of entries that is read, bytes.
const MOST_BYTES: u64 = 256 << 20;

/// Which elements an array has.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Arrays")]
pub(crate) struct ArrayOptions {
    /// One task for each index: 1-100, 0-99:3 in steps of three, 1-100%8 at most eight at once
    #[arg(long, value_name = "A-B[:STEP][%N]", value_parser = str::parse::<Indices>)]
    array: Option<Indices>,
    /// One task for each line of this file ('-': standard input), which is in AQUE_ARRAY_ENTRY
    #[arg(long, value_name = "FILE", conflicts_with_all = ["array", "from_json"])]
    each_line: Option<OsString>,
    /// One task for each item of the JSON list in this file ('-': standard input); JSON in AQUE_ARRAY_ENTRY
    #[arg(long, value_name = "FILE", conflicts_with = "array")]
    from_json: Option<OsString>,
    /// At most so many elements run at once, mesh-wide
    #[arg(long, value_name = "N")]
    at_once: Option<u32>,
}

/// `A-B[:STEP][%N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Indices {
    first: u32,
    last: u32,
    step: u32,
    at_once: Option<u32>,
}

impl FromStr for Indices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write 1-100, 0-99:3 (in steps of 3) or 1-100%8 (8 at once)".to_owned();
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let positive =
            |text: &str| number(text).and_then(|n| if n > 0 { Ok(n) } else { Err(wrong()) });
        let (text, at_once) = match text.split_once('%') {
            Some((text, most)) => (text, Some(positive(most)?)),
            None => (text, None),
        };
        let (text, step) = match text.split_once(':') {
            Some((text, step)) => (text, positive(step)?),
            None => (text, 1),
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if last < first {
            return Err(format!("{last} is less than {first}"));
        }
        Ok(Self {
            first,
            last,
            step,
            at_once,
        })
    }
}

/// An array that was asked for.
#[derive(Debug)]
pub(crate) struct Array {
    elements: Elements,
    window: u32,
}

impl ArrayOptions {
    /// Says whether the elements come from standard input.
    pub(crate) fn reads_here(&self) -> bool {
        [&self.each_line, &self.from_json]
            .into_iter()
            .flatten()
            .any(|file| file == "-")
    }

    /// Returns the array that is asked for, if one is; reads its entries.
    ///
    /// # Errors
    /// They cannot be read, or there are none, or too many.
    pub(crate) fn array(&self) -> Result<Option<Array>, Problem> {
        let entries = |list| Elements::Entries { first: 1, list };
        let (elements, window) = match (&self.array, &self.each_line, &self.from_json) {
            (Some(indices), ..) => {
                let count = (indices.last - indices.first) / indices.step;
                let range = Elements::Range {
                    first: indices.first,
                    step: indices.step,
                    count: count.saturating_add(1),
                };
                (range, indices.at_once)
            }
            (None, Some(file), _) => (entries(read(file, lines)?), None),
            (None, None, Some(file)) => (entries(read(file, items)?), None),
            (None, None, None) if self.at_once.is_some() => {
                return Err(Problem::usage(
                    "--at-once goes with --array, --each-line and --from-json",
                ));
            }
            (None, None, None) => return Ok(None),
        };
        if elements.is_empty() {
            return Err(Problem::failed("there are no entries: nothing to run"));
        }
        if elements.len() > MOST {
            let what = format!(
                "an array has at most {MOST} elements, and this one {}",
                elements.len()
            );
            return Err(Problem::failed(what).hint("submit it in parts"));
        }
        Ok(Some(Array {
            elements,
            window: window.or(self.at_once).unwrap_or(0),
        }))
    }
}

/// Reads all of a file, or of standard input.
fn read(
    file: &OsStr,
    cut: impl Fn(&mut dyn BufRead) -> io::Result<Vec<Arg>>,
) -> Result<Vec<Arg>, Problem> {
    let entries = if file == "-" {
        cut(&mut BufReader::new(io::stdin().lock().take(MOST_BYTES)))
    } else {
        File::open(file).and_then(|file| cut(&mut BufReader::new(file.take(MOST_BYTES))))
    };
    let name = file.to_string_lossy();
    entries.map_err(|error| Problem::failed(format!("cannot read the entries in {name}: {error}")))
}

fn lines(from: &mut dyn BufRead) -> io::Result<Vec<Arg>> {
    from.split(b'\n').map(|line| line.map(Arg)).collect()
}

/// Each item as it is written; a text without its quotes.
fn items(from: &mut dyn BufRead) -> io::Result<Vec<Arg>> {
    let list: Vec<Box<RawValue>> = serde_json::from_reader(from)?;
    let plain = |item: Box<RawValue>| match serde_json::from_str::<String>(item.get()) {
        Ok(text) => Arg::from(text),
        Err(_) => Arg::from(item.get()),
    };
    Ok(list.into_iter().map(plain).collect())
}

impl Array {
    /// Submits a task as an array, in as many requests as it needs; returns the array's id.
    ///
    /// # Errors
    /// [`Problem`]; an array of which a part was taken is closed with that.
    pub(crate) fn submit(
        mut self,
        context: &Context,
        client: &mut Client,
        task: &TaskRequest,
        rest: &Submission,
    ) -> Result<(String, Submitted), Problem> {
        let whole = self.elements.len();
        let front = self
            .elements
            .split_off_front(REQUEST_ELEMENTS, REQUEST_BYTES);
        let mut sent = front.len();
        let in_one = sent == whole;
        let head = TaskRequest {
            argv: Vec::new(),
            shell: None,
            call: false,
            group_size: Some(if in_one { whole } else { 0 }),
            name: Some(task.name.clone().unwrap_or_else(|| as_typed(&task.argv))),
            after: Vec::new(),
            retries: 0,
            life: task.life.of_group(),
            requires: Requirements::default(),
            ..task.clone()
        };
        let part = |elements: Elements, group: Option<&str>, index: u32| TaskRequest {
            life: task.life.of_member(),
            member: Some(MemberRequest {
                group: group.map(str::to_owned),
                group_place: group.is_none().then_some(0),
                index,
                window: self.window,
            }),
            elements: Some(elements),
            ..task.clone()
        };
        let mut submitted = client.submit(Submission {
            tasks: vec![head, part(front, None, 0)],
            ..rest.clone()
        })?;
        let Some(id) = submitted.ids.first().cloned() else {
            return Err(Problem::failed("the node answered without an id"));
        };
        if submitted.known {
            return Ok((id, submitted));
        }
        while !self.elements.is_empty() {
            let front = self
                .elements
                .split_off_front(REQUEST_ELEMENTS, REQUEST_BYTES);
            let more = front.len();
            let tasks = vec![part(front, Some(&id), sent)];
            match client.submit(Submission {
                tasks,
                ..rest.clone()
            }) {
                Ok(next) => submitted.copies = submitted.copies.min(next.copies),
                Err(error) => {
                    client.close(id.clone(), sent)?;
                    context.remark(&format!(
                        "aque: only {sent} of {whole} elements of {id} were taken"
                    ));
                    return Err(error.into());
                }
            }
            sent += more;
        }
        if !in_one {
            client.close(id.clone(), sent)?;
        }
        Ok((id, submitted))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn indices_table() {
        let indices = |first, last, step, at_once| Indices {
            first,
            last,
            step,
            at_once,
        };
        for (text, read) in [
            ("1-100", indices(1, 100, 1, None)),
            ("0-99:3", indices(0, 99, 3, None)),
            ("1-100000:2%8", indices(1, 100_000, 2, Some(8))),
            ("7", indices(7, 7, 1, None)),
        ] {
            assert_eq!(text.parse(), Ok(read), "{text}");
        }
        for text in [
            "",
            "-",
            "1-",
            "9-1",
            "1-9:0",
            "1-9%0",
            "a-b",
            "1-99999999999",
            "1-3%2:1",
        ] {
            assert!(text.parse::<Indices>().is_err(), "{text}");
        }
    }

    #[test]
    fn entries_are_lines_or_items() {
        let args = |list: &[&str]| list.iter().map(|text| Arg::from(*text)).collect::<Vec<_>>();
        let read_lines = lines(&mut "a b\n\n c".as_bytes()).unwrap();
        assert_eq!(read_lines, args(&["a b", "", " c"]));
        let json = r#"[1, "a b", {"x": [1, 2]}, null]"#;
        let read_items = items(&mut json.as_bytes()).unwrap();
        assert_eq!(read_items, args(&["1", "a b", r#"{"x": [1, 2]}"#, "null"]));
        assert!(items(&mut "{}".as_bytes()).is_err());
    }
}
