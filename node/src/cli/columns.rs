//! Tasks as columns, as CSV and as lines of a pattern: which fields, and how their values are written.

use std::fmt::Write as _;
use std::time::Duration;

use crdt::task::TaskState;
use jiff::Timestamp;

use super::braces::{self, Part};
use crate::api::wire::TaskLine;
use crate::filter::{Field, Kind, Subject, Value};
use crate::render::table::Align;
use crate::render::text::{duration, harmless, instant, size, width};

/// The widest place in a pattern. A guess.
const WIDEST: usize = 1_000;

/// A line of a status, at an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// The task.
    pub(crate) line: &'a TaskLine,
    /// The wall clock.
    pub(crate) now_ms: u64,
}

impl Subject for Shown<'_> {
    fn value(&self, field: Field) -> Value<'_> {
        let line = self.line;
        let number = |number: Option<f64>| number.map_or(Value::None, Value::Number);
        let size = |bytes: Option<u64>| bytes.map_or(Value::None, Value::Size);
        let at = |ms: Option<u64>| ms.map_or(Value::None, Value::Time);
        let span = |from: u64, to: u64| Value::Span(Duration::from_millis(to.saturating_sub(from)));
        match field {
            Field::Id => Value::text(Some(&line.id)),
            Field::State => Value::State(line.state),
            Field::Reason => Value::text(line.reason.as_deref()),
            Field::Name => Value::text(line.name.as_deref()),
            Field::Command => Value::text(Some(&line.command)),
            Field::Host => Value::text(line.host.as_deref()),
            Field::User => Value::text(Some(&line.user)),
            Field::Queue => Value::text(line.queue.as_deref()),
            Field::Group => Value::text(line.group.as_deref()),
            Field::Parent => Value::text(line.parent.as_deref()),
            Field::After => Value::Texts(line.after.as_slice().into()),
            Field::Priority => Value::Number(line.priority.into()),
            Field::Attempts => Value::Number(line.attempts.into()),
            Field::Epoch => Value::Number(line.epoch.into()),
            Field::Exit => number(line.exit.map(f64::from)),
            Field::Signal => number(line.signal.map(f64::from)),
            Field::Age => span(line.created_ms, self.now_ms),
            Field::Wall => {
                let running = (line.state == TaskState::Running).then_some(self.now_ms);
                let end = line.ended_ms.or(running);
                let span = line.started_ms.zip(end).map(|(from, to)| span(from, to));
                span.unwrap_or(Value::None)
            }
            Field::Cpus => number(line.cpus),
            Field::Memory => size(line.memory_bytes),
            Field::Rss => size(line.rss_bytes),
            Field::Created => Value::Time(line.created_ms),
            Field::Started => at(line.started_ms),
            Field::Ended => at(line.ended_ms),
            Field::Progress => Value::text(line.progress.as_deref()),
        }
    }
}

impl Shown<'_> {
    /// Returns a value as people read it, harmless for a terminal.
    pub(crate) fn pretty(&self, field: Field) -> String {
        match self.value(field) {
            Value::Size(bytes) => size(bytes),
            Value::Span(span) => duration(span),
            Value::Time(ms) => instant(ms),
            other => harmless(&plain(&other)).into_owned(),
        }
    }

    /// Returns a value as programs read it: bytes, seconds, instants in UTC.
    pub(crate) fn plain(&self, field: Field) -> String {
        plain(&self.value(field))
    }
}

fn plain(value: &Value<'_>) -> String {
    match value {
        Value::None => String::new(),
        Value::Text(text) => text.clone().into_owned(),
        Value::Texts(list) => list.join(" "),
        Value::State(state) => state.name().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Size(bytes) => bytes.to_string(),
        Value::Span(span) => format!("{}.{:03}", span.as_secs(), span.subsec_millis()),
        Value::Time(ms) => {
            let at = i64::try_from(*ms).ok().map(Timestamp::from_millisecond);
            let at = at.and_then(Result::ok);
            at.map_or_else(String::new, |at| at.to_string())
        }
    }
}

/// Returns how the column of a field stands.
pub(crate) fn align(field: Field) -> Align {
    match field.kind() {
        Kind::Number | Kind::Signal | Kind::Size | Kind::Span => Align::Right,
        Kind::Text | Kind::Texts | Kind::State | Kind::Time => Align::Left,
    }
}

/// Parses the name of a field.
pub(crate) fn field(text: &str) -> Result<Field, String> {
    let instead = || format!("there is no such field; {}", Field::instead_of(text));
    Field::find(text).ok_or_else(instead)
}

/// What each task is written as: `{id:<14} {state}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part<Place>>);

/// A field, on which side of its place, and how wide that is at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(Field, Side, usize);

/// On which side a value stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Middle,
}

/// Parses a pattern.
pub(crate) fn pattern(text: &str) -> Result<Pattern, String> {
    braces::parts(text, place).map(Pattern)
}

/// Parses what stands between braces: a field, perhaps with a side and a width.
fn place(text: &str) -> Result<Place, String> {
    let (name, form) = text.split_once(':').unwrap_or((text, "0"));
    let field = Field::find(name)
        .ok_or_else(|| format!("there is no field '{name}'; {}", Field::instead_of(name)))?;
    let sides = [('<', Side::Left), ('>', Side::Right), ('^', Side::Middle)];
    let mut sides = sides.into_iter();
    let side = sides.find_map(|(sign, side)| Some((side, form.strip_prefix(sign)?)));
    let (side, digits) = side.unwrap_or((Side::Left, form));
    let width = digits.parse().ok().filter(|width| *width <= WIDEST);
    let width = width.ok_or_else(|| {
        format!("'{form}' is no width: write {{{name}:>12}}, with <, > or ^ and at most {WIDEST}")
    })?;
    Ok(Place(field, side, width))
}

impl Pattern {
    /// Returns a task's line.
    pub(crate) fn line(&self, task: &Shown<'_>) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Place(Place(field, side, wide)) => {
                    let value = task.pretty(*field);
                    let free = wide.saturating_sub(width(&value));
                    let before = match side {
                        Side::Left => 0,
                        Side::Right => free,
                        Side::Middle => free / 2,
                    };
                    let after = free - before;
                    // Writing to a string cannot fail.
                    let _done = write!(line, "{:before$}{value}{:after$}", "", "");
                }
            }
        }
        line
    }
}

/// Returns tasks as CSV (RFC 4180): a line of names, and one for each task.
pub(crate) fn csv<'a>(
    fields: &[Field],
    tasks: impl Iterator<Item = Shown<'a>>,
) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    writer.write_record(fields.iter().map(|field| field.name()))?;
    for task in tasks {
        writer.write_record(fields.iter().map(|field| task.plain(*field)))?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::super::task::tests::line;
    use super::*;

    fn sample() -> TaskLine {
        TaskLine {
            name: Some("a, \"b\"\n\u{1b}c".into()),
            started_ms: Some(1_700_000_001_000),
            ended_ms: Some(1_700_000_003_500),
            created_ms: 1_700_000_000_000,
            memory_bytes: Some(1 << 30),
            exit: Some(3),
            after: vec!["x-1".into(), "x-2".into()],
            ..line("k3v7qa-1", TaskState::Error)
        }
    }

    fn shown(line: &TaskLine) -> Shown<'_> {
        Shown {
            line,
            now_ms: 1_700_000_010_000,
        }
    }

    fn written(text: &str) -> String {
        pattern(text).unwrap().line(&shown(&sample()))
    }

    #[test]
    fn patterns_table() {
        for (text, line) in [
            ("", ""),
            ("{id} {state}", "k3v7qa-1 error"),
            ("{ID}", "k3v7qa-1"),
            ("{{{exit}}} {{}}", "{3} {}"),
            (
                "[{id:>10}|{id:<10}|{id:^10}|{id:10}]",
                "[  k3v7qa-1|k3v7qa-1  | k3v7qa-1 |k3v7qa-1  ]",
            ),
            ("{id:3}", "k3v7qa-1"),
            ("{memory} {wall} {age} {queue}.", "1.0 GiB 2.5s 10s ."),
            ("{name}", "a, \"b\"\\n\\u{1b}c"),
            ("{after} {ended}", "x-1 x-2 2023-11-14T22:13:23Z"),
        ] {
            assert_eq!(written(text), line, "{text}");
        }
        for (text, why) in [
            (
                "{sate}",
                "column 2: there is no field 'sate'; do you mean state?",
            ),
            (
                "ab {nonsense}",
                "column 5: there is no field 'nonsense'; fields are id state",
            ),
            ("{}", "column 2: there is no field ''; fields are "),
            (
                "{id",
                "a brace at column 1 stands alone; write {{ or }} for one",
            ),
            (
                "é}",
                "a brace at column 2 stands alone; write {{ or }} for one",
            ),
            ("{id:>x}", "column 2: '>x' is no width: write {id:>12}, "),
            ("{id:9999}", "column 2: '9999' is no width"),
        ] {
            let told = pattern(text).unwrap_err();
            assert!(told.starts_with(why), "{text}: {told}");
        }
    }

    #[test]
    fn csv_is_read_again_as_it_was() {
        let fields: Vec<Field> = Field::ALL.to_vec();
        let line = sample();
        let text = csv(&fields, [shown(&line)].into_iter()).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("id,state,reason,") && text.ends_with("\r\n"));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        for (field, value) in fields.iter().zip(&record) {
            assert_eq!(value, shown(&line).plain(*field), "{field:?}");
        }
        let some = [Field::Name, Field::Wall, Field::Memory, Field::Ended];
        let text = csv(&some, [shown(&line)].into_iter()).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "name,wall,memory,ended\r\n\"a, \"\"b\"\"\n\u{1b}c\",2.500,1073741824,2023-11-14T22:13:23.5Z\r\n"
        );
    }
}
