//! Standard input as items, by the rules of GNU xargs (findutils 4.9), a byte at a time.
//!
//! Words are separated by blanks and line ends; quotes and backslashes protect; a line that ends in a blank goes on
//! on the next. For `-I` whole lines are items, without their leading blanks. With a delimiter nothing is special.
//! Memory: one item, at most `limit` bytes.

use std::io::BufRead;

/// How input is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Words with quotes; the item that ends the input early.
    Words(Option<Vec<u8>>),
    /// Lines with quotes, for `-I`; the item that ends the input early.
    Lines(Option<Vec<u8>>),
    /// Items that end with this byte.
    Delimited(u8),
}

/// An item, and whether a line ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its bytes, without what protected them.
    pub(crate) bytes: Vec<u8>,
    /// For `-L`.
    pub(crate) line: Line,
}

/// Where an item stands in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// More may follow on the line.
    GoesOn,
    /// It is the last of the line.
    Ends,
}

/// Why the input cannot be cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitError {
    /// A quote without its partner on the same line.
    #[error(
        "unmatched {0} quote; by default quotes are special to xargs unless you use the -0 option"
    )]
    Quote(&'static str),
    /// One item is larger than a command may be.
    #[error("argument line too long")]
    TooLong,
    /// A byte that no argument can hold.
    #[error("the input has a NUL byte, which no argument can hold; use -0 if items end with NUL")]
    Nul,
    /// The input cannot be read.
    #[error("cannot read the input: {0}")]
    Read(#[from] std::io::Error),
}

/// Cuts an input.
#[derive(Debug)]
pub(crate) struct Splitter<R> {
    input: R,
    rules: Rules,
    limit: usize,
    place: Place,
    item: Vec<u8>,
    before: u8,
}

/// Where in an item the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before an item.
    Space,
    /// In one.
    Normal,
    /// In quotes that end with this byte.
    Quoted(u8),
    /// Behind a backslash.
    Escaped,
    /// Behind the end.
    Finished,
}

impl<R: BufRead> Splitter<R> {
    /// Cuts `input`; an item may have `limit` bytes.
    pub(crate) fn new(input: R, rules: Rules, limit: usize) -> Self {
        Self {
            input,
            rules,
            limit,
            place: Place::Space,
            item: Vec::new(),
            before: 0,
        }
    }

    /// Returns the next item; `None` at the end.
    ///
    /// # Errors
    /// [`SplitError`]; nothing more can be read.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, SplitError> {
        while self.place != Place::Finished {
            let Some(byte) = self.byte()? else {
                return self.last();
            };
            let done = match self.rules {
                Rules::Delimited(end) => self.delimited(byte, end)?,
                Rules::Words(_) | Rules::Lines(_) => self.quoted(byte)?,
            };
            if let Some(line) = done {
                return Ok(self.emit(line));
            }
        }
        Ok(None)
    }

    fn byte(&mut self) -> Result<Option<u8>, SplitError> {
        loop {
            match self.input.fill_buf() {
                Ok(buffer) => {
                    let byte = buffer.first().copied();
                    self.input.consume(usize::from(byte.is_some()));
                    return Ok(byte);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn push(&mut self, byte: u8) -> Result<(), SplitError> {
        if byte == 0 {
            return Err(SplitError::Nul);
        }
        if self.item.len() >= self.limit {
            return Err(SplitError::TooLong);
        }
        self.item.push(byte);
        Ok(())
    }

    fn delimited(&mut self, byte: u8, end: u8) -> Result<Option<Line>, SplitError> {
        if byte == end {
            return Ok(Some(Line::Ends));
        }
        self.push(byte)?;
        Ok(None)
    }

    fn quoted(&mut self, byte: u8) -> Result<Option<Line>, SplitError> {
        let before = std::mem::replace(&mut self.before, byte);
        match self.place {
            Place::Space if is_space(byte) => return Ok(None),
            Place::Space | Place::Normal => {
                self.place = Place::Normal;
                match byte {
                    b'\n' if is_blank(before) => return Ok(Some(Line::GoesOn)),
                    b'\n' => return Ok(Some(Line::Ends)),
                    _ if is_blank(byte) && matches!(self.rules, Rules::Words(_)) => {
                        return Ok(Some(Line::GoesOn));
                    }
                    b'\\' => self.place = Place::Escaped,
                    b'\'' | b'"' => self.place = Place::Quoted(byte),
                    _ => self.push(byte)?,
                }
            }
            Place::Quoted(quote) => match byte {
                b'\n' => return Err(unmatched(quote)),
                _ if byte == quote => self.place = Place::Normal,
                _ => self.push(byte)?,
            },
            Place::Escaped => {
                self.place = Place::Normal;
                self.push(byte)?;
            }
            Place::Finished => {}
        }
        Ok(None)
    }

    /// The input has ended; what was begun is an item, unless it is empty: GNU xargs drops that with its quotes.
    fn last(&mut self) -> Result<Option<Item>, SplitError> {
        let place = std::mem::replace(&mut self.place, Place::Finished);
        if self.item.is_empty() {
            return Ok(None);
        }
        if let Place::Quoted(quote) = place {
            return Err(unmatched(quote));
        }
        let item = self.emit(Line::Ends);
        self.place = Place::Finished;
        Ok(item)
    }

    /// Ends the item that was begun; `None` if it is the one that ends the input.
    fn emit(&mut self, line: Line) -> Option<Item> {
        let bytes = std::mem::take(&mut self.item);
        self.place = Place::Space;
        if let Rules::Words(Some(end)) | Rules::Lines(Some(end)) = &self.rules
            && *end == bytes
        {
            self.place = Place::Finished;
            return None;
        }
        Some(Item { bytes, line })
    }
}

fn unmatched(quote: u8) -> SplitError {
    SplitError::Quote(if quote == b'"' { "double" } else { "single" })
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items separated by commas, a bar where a line ends; an error is its first word.
    fn cut(input: &[u8], rules: Rules) -> String {
        let mut splitter = Splitter::new(input, rules, 10);
        let mut text = String::new();
        loop {
            match splitter.next() {
                Ok(Some(item)) => {
                    text.push_str(&String::from_utf8_lossy(&item.bytes));
                    text.push(if item.line == Line::Ends { '|' } else { ',' });
                }
                Ok(None) => return text,
                Err(error) => {
                    text.push('!');
                    text.push_str(error.to_string().split(' ').next().unwrap_or_default());
                    return text;
                }
            }
        }
    }

    #[test]
    fn words_table() {
        for (input, items) in [
            ("", ""),
            ("\n \n\t\n", ""),
            ("a b\tc\n", "a,b,c|"),
            ("a", "a|"),
            ("  a  b  \nc\n", "a,b,c|"),
            ("a\n\n\nb\n", "a|b|"),
            // A trailing blank: the line goes on.
            ("a \nb\nc\n", "a,b|c|"),
            ("a\\ \nb\n", "a ,b|"),
            // Quotes.
            ("'a b' \"c d\"\n", "a b,c d|"),
            ("a'b c'd\n", "ab cd|"),
            ("'it\"s' \"it's\"\n", "it\"s,it's|"),
            ("'' \"\"\n", ",|"),
            // Without a line end, an empty item is none.
            ("a ''", "a,"),
            ("a '", "a,"),
            ("'a\\b'\n", "a\\b|"),
            // Backslashes.
            ("a\\ b\n", "a b|"),
            ("\\'a \\\\\n", "'a,\\|"),
            ("a\\\nb\n", "a\nb|"),
            ("a\\", "a|"),
            // Errors come behind what is whole.
            ("a 'b\nc'\n", "a,!unmatched"),
            ("a \"b", "a,!unmatched"),
            ("a b\0c\n", "a,!the"),
            ("a 12345678901\n", "a,!argument"),
            ("1234567890\n", "1234567890|"),
        ] {
            assert_eq!(
                cut(input.as_bytes(), Rules::Words(None)),
                items,
                "{input:?}"
            );
        }
    }

    #[test]
    fn an_item_can_end_the_input() {
        for (input, items) in [
            ("a END b\n", "a,"),
            ("a\nEND\nb\n", "a|"),
            ("a ENDE 'END' b", "a,ENDE,"),
            ("END", ""),
            ("a\nEND", "a|"),
        ] {
            let end = Some(b"END".to_vec());
            assert_eq!(cut(input.as_bytes(), Rules::Words(end)), items, "{input:?}");
        }
    }

    #[test]
    fn lines_table() {
        for (input, items) in [
            ("  a b  \n\n c\n", "a b  ,c|"),
            ("a\nb", "a|b|"),
            ("'a b'c\\ d\n", "a bc d|"),
            ("\n\n", ""),
            ("a\\\nb\n", "a\nb|"),
            ("'a\n", "!unmatched"),
        ] {
            assert_eq!(
                cut(input.as_bytes(), Rules::Lines(None)),
                items,
                "{input:?}"
            );
        }
    }

    #[test]
    fn delimited_table() {
        for (input, end, items) in [
            ("a\0b c\0", 0, "a|b c|"),
            ("a\0\0b", 0, "a||b|"),
            ("", 0, ""),
            ("\0", 0, "|"),
            ("'a\\\n\"\0", 0, "'a\\\n\"|"),
            ("a,b,,c\n", b',', "a|b||c\n|"),
            ("a\0b\n", b'\n', "a!the"),
        ] {
            // An error comes behind what was begun, which is no item.
            let items = if items.contains('!') { "!the" } else { items };
            assert_eq!(
                cut(input.as_bytes(), Rules::Delimited(end)),
                items,
                "{input:?}"
            );
        }
    }
}
