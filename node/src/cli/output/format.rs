//! `aque output --format`: how each line of a task's output looks.

use crate::api::wire::StreamName;
use crate::cli::braces::{self, Part};

/// What may stand in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Host,
    Fd,
    Data,
}

/// How a line looks: `{id} {host} {fd} {data}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Part<Field>>);

/// Parses a format.
pub(super) fn format(text: &str) -> Result<Format, String> {
    let field = |name: &str| match name {
        "id" => Ok(Field::Id),
        "host" => Ok(Field::Host),
        "fd" => Ok(Field::Fd),
        "data" => Ok(Field::Data),
        other => Err(format!(
            "there is no field '{other}'; there are id, host, fd, data"
        )),
    };
    braces::parts(text, field).map(Format)
}

impl Format {
    /// Appends a line of a stream, without its own end.
    pub(super) fn line(
        &self,
        (id, host): (&str, &str),
        stream: StreamName,
        data: &[u8],
        to: &mut Vec<u8>,
    ) {
        for part in &self.0 {
            match part {
                Part::Text(text) => to.extend_from_slice(text.as_bytes()),
                Part::Place(Field::Id) => to.extend_from_slice(id.as_bytes()),
                Part::Place(Field::Host) => to.extend_from_slice(host.as_bytes()),
                Part::Place(Field::Fd) => to.push(match stream {
                    StreamName::Stdout => b'1',
                    StreamName::Stderr => b'2',
                }),
                Part::Place(Field::Data) => to.extend_from_slice(data),
            }
        }
        to.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_format_is_read_and_filled_in() {
        let mut line = Vec::new();
        let asked = format("{id}@{host} {{{fd}}}: {data}!").unwrap();
        asked.line(("a-1", "n0"), StreamName::Stderr, b"x\xff", &mut line);
        assert_eq!(line, b"a-1@n0 {2}: x\xff!\n");
        for (text, why) in [
            (
                "{what}",
                "column 2: there is no field 'what'; there are id,",
            ),
            ("{id", "a brace at column 1 stands alone"),
            ("id}", "a brace at column 3 stands alone"),
        ] {
            let said = format(text).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
