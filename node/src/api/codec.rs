//! Lines with a bound: bytes up to a newline, whatever they are. A line that is too long is skipped whole, not kept.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// What was found up to a newline, or up to the end of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its newline.
    Whole(Bytes),
    /// A line longer than the bound; its bytes are gone.
    TooLong,
}

/// Finds lines of at most `most` bytes.
#[derive(Debug)]
pub struct Lines {
    most: usize,
    /// Bytes that hold no newline.
    seen: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Skipping,
}

impl Lines {
    /// Returns a decoder for lines of at most `most` bytes.
    #[must_use]
    pub fn up_to(most: usize) -> Self {
        Self {
            most,
            seen: 0,
            state: State::Reading,
        }
    }

    fn take(&mut self, line: Bytes) -> Line {
        self.seen = 0;
        match std::mem::replace(&mut self.state, State::Reading) {
            State::Reading if line.len() <= self.most => Line::Whole(line),
            State::Reading | State::Skipping => Line::TooLong,
        }
    }
}

impl Decoder for Lines {
    type Item = Line;
    type Error = std::io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, std::io::Error> {
        let newline = buffer[self.seen..].iter().position(|byte| *byte == b'\n');
        if let Some(at) = newline {
            let line = buffer.split_to(self.seen + at).freeze();
            buffer.advance(1);
            return Ok(Some(self.take(line)));
        }
        self.seen = buffer.len();
        if self.seen > self.most {
            self.state = State::Skipping;
        }
        if self.state == State::Skipping {
            buffer.clear();
            self.seen = 0;
        }
        Ok(None)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, std::io::Error> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        let rest = buffer.split().freeze();
        let nothing = rest.is_empty() && self.state == State::Reading;
        Ok((!nothing).then(|| self.take(rest)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Line> {
        let (mut lines, mut buffer, mut found) = (Lines::up_to(5), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(line) = lines.decode(&mut buffer).unwrap() {
                found.push(line);
            }
            assert!(buffer.len() <= 5, "no more is kept than a line may have");
        }
        while let Some(line) = lines.decode_eof(&mut buffer).unwrap() {
            found.push(line);
        }
        found
    }

    #[test]
    fn lines_table() {
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        let rows: [(&[&[u8]], &[Line]); 8] = [
            (&[b""], &[]),
            (&[b"a\nbc\n"], &[whole("a"), whole("bc")]),
            (&[b"12", b"345", b"\n"], &[whole("12345")]),
            (&[b"123456\n7\n"], &[Line::TooLong, whole("7")]),
            (
                &[b"1234", b"5678", b"9", b"0\nab\n"],
                &[Line::TooLong, whole("ab")],
            ),
            (&[b"half"], &[whole("half")]),
            (&[b"too long and half"], &[Line::TooLong]),
            (&[b"\n\n"], &[whole(""), whole("")]),
        ];
        for (pieces, want) in rows {
            assert_eq!(decode(pieces), want, "{pieces:?}");
        }
        assert_eq!(
            decode(&[b"\xff\0\xfe\n"]),
            [Line::Whole(Bytes::from_static(b"\xff\0\xfe"))]
        );
    }
}
