//! Items as commands: so many words or lines each, or one for each item with its text put in, within a size.
//!
//! Sizes are counted as GNU xargs does: each word with the zero behind it, the command's own words included.

use crdt::task::Arg;

use super::split::{Item, Line};

/// The largest command, bytes; the default too. A node takes 63 KiB with all that belongs to a task.
pub(crate) const MAX_CHARS: usize = 56 << 10;

/// Which items make a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// As many as fit.
    All,
    /// So many.
    Items(usize),
    /// Those of so many lines.
    Lines(usize),
    /// One, put in wherever this text stands in the command's own words but the first.
    Replace(Vec<u8>),
}

/// What happens when the size is reached before the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The command is cut there.
    Cut,
    /// That is an error.
    Fail,
}

/// Why items make no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PackError {
    /// The command's own words are too much already.
    #[error("the command itself is longer than {0} bytes")]
    Command(usize),
    /// One item does not fit.
    #[error("cannot fit single argument within argument list size limit")]
    Item,
    /// The count does not fit.
    #[error("argument list too long")]
    List,
}

/// A command: program and arguments.
pub(crate) type Command = Vec<Arg>;

/// Makes commands.
#[derive(Debug)]
pub(crate) struct Packer {
    own: Vec<Arg>,
    grouping: Grouping,
    max_chars: usize,
    overflow: Overflow,
    items: Vec<Arg>,
    chars: usize,
    lines: usize,
    made: u64,
}

impl Packer {
    /// Makes commands that begin with `own` words, of at most `max_chars` bytes.
    ///
    /// # Errors
    /// [`PackError::Command`].
    pub(crate) fn new(
        own: Vec<Arg>,
        grouping: Grouping,
        max_chars: usize,
        overflow: Overflow,
    ) -> Result<Self, PackError> {
        let chars = size(&own);
        if chars > max_chars {
            return Err(PackError::Command(max_chars));
        }
        Ok(Self {
            own,
            grouping,
            max_chars,
            overflow,
            items: Vec::new(),
            chars,
            lines: 0,
            made: 0,
        })
    }

    /// Adds an item and returns the commands that are whole now: none, one or two.
    ///
    /// # Errors
    /// [`PackError`]; commands made before are good.
    pub(crate) fn push(&mut self, item: Item) -> Result<Vec<Command>, PackError> {
        if let Grouping::Replace(text) = &self.grouping {
            let command = replaced(&self.own, text, &item.bytes);
            if size(&command) > self.max_chars {
                return Err(PackError::Item);
            }
            self.made += 1;
            return Ok(vec![command]);
        }
        let mut whole = Vec::new();
        let more = item.bytes.len() + 1;
        if self.chars + more > self.max_chars {
            match self.overflow {
                _ if self.items.is_empty() => return Err(PackError::Item),
                Overflow::Fail => return Err(PackError::List),
                Overflow::Cut => whole.push(self.take()),
            }
            if self.chars + more > self.max_chars {
                return Err(PackError::Item);
            }
        }
        self.chars += more;
        self.items.push(Arg(item.bytes));
        self.lines += usize::from(item.line == Line::Ends);
        let full = match self.grouping {
            Grouping::All | Grouping::Replace(_) => false,
            Grouping::Items(most) => self.items.len() >= most,
            Grouping::Lines(most) => self.lines >= most,
        };
        if full {
            whole.push(self.take());
        }
        Ok(whole)
    }

    /// Returns the last command, if items are left for it.
    pub(crate) fn rest(&mut self) -> Option<Command> {
        (!self.items.is_empty()).then(|| self.take())
    }

    /// Returns what is still good when the input turns out to be malformed; nothing where the count matters.
    pub(crate) fn salvage(&mut self) -> Option<Command> {
        if self.overflow == Overflow::Fail {
            None
        } else {
            self.rest()
        }
    }

    /// Returns the command without items that stands for an input without items; nothing where items were, and for `-I`.
    pub(crate) fn bare(&mut self) -> Option<Command> {
        let none = self.made == 0 && self.items.is_empty();
        (none && !matches!(self.grouping, Grouping::Replace(_))).then(|| self.take())
    }

    fn take(&mut self) -> Command {
        let mut command = self.own.clone();
        command.append(&mut self.items);
        self.chars = size(&self.own);
        self.lines = 0;
        self.made += 1;
        command
    }
}

fn size(words: &[Arg]) -> usize {
    words.iter().map(|word| word.0.len() + 1).sum()
}

fn replaced(own: &[Arg], text: &[u8], with: &[u8]) -> Command {
    let one = |(place, word): (usize, &Arg)| match place {
        0 => word.clone(),
        _ => Arg(replace(&word.0, text, with)),
    };
    own.iter().enumerate().map(one).collect()
}

fn replace(word: &[u8], text: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        match rest.strip_prefix(text) {
            Some(after) if !text.is_empty() => {
                out.extend_from_slice(with);
                rest = after;
            }
            _ => {
                out.push(rest[0]);
                rest = &rest[1..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::split::{Rules, Splitter};
    use super::*;

    /// Commands separated by bars; an error stands last.
    fn packed(
        own: &str,
        input: &str,
        grouping: Grouping,
        max: usize,
        overflow: Overflow,
    ) -> String {
        let own = own.split(' ').map(Arg::from).collect();
        let mut packer = match Packer::new(own, grouping.clone(), max, overflow) {
            Ok(packer) => packer,
            Err(error) => return error.to_string(),
        };
        let rules = match grouping {
            Grouping::Replace(_) => Rules::Lines(None),
            Grouping::All | Grouping::Items(_) | Grouping::Lines(_) => Rules::Words(None),
        };
        let mut splitter = Splitter::new(input.as_bytes(), rules, max);
        let mut out: Vec<String> = Vec::new();
        let text = |command: Command| {
            command
                .iter()
                .map(|word| word.to_text().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        while let Ok(Some(item)) = splitter.next() {
            match packer.push(item) {
                Ok(commands) => out.extend(commands.into_iter().map(text)),
                Err(error) => {
                    out.push(error.to_string());
                    return out.join("|");
                }
            }
        }
        out.extend(packer.rest().map(text));
        out.extend(packer.bare().map(text));
        out.join("|")
    }

    #[test]
    fn grouping_table() {
        let replace = |text: &str| Grouping::Replace(text.as_bytes().to_vec());
        for (own, input, grouping, commands) in [
            ("echo", "a b\nc\n", Grouping::All, "echo a b c"),
            ("echo", "", Grouping::All, "echo"),
            ("echo x", "a b c", Grouping::Items(2), "echo x a b|echo x c"),
            ("echo", "a b", Grouping::Items(2), "echo a b"),
            (
                "echo",
                "a b\nc \nd\n\ne\n",
                Grouping::Lines(1),
                "echo a b|echo c d|echo e",
            ),
            (
                "echo",
                "a b\nc\nd\n",
                Grouping::Lines(2),
                "echo a b c|echo d",
            ),
            (
                "mv {} {}.old -{",
                " a b\nc\n",
                replace("{}"),
                "mv a b a b.old -{|mv c c.old -{",
            ),
            ("{} {}", "a\n", replace("{}"), "{} a"),
            ("echo III", "a\n", replace("II"), "echo aI"),
            ("echo x", "a\n", replace("{}"), "echo x"),
            ("echo {}", "", replace("{}"), ""),
        ] {
            let packed = packed(own, input, grouping.clone(), 100, Overflow::Cut);
            assert_eq!(packed, commands, "{input:?} {grouping:?}");
        }
    }

    #[test]
    fn size_table() {
        let list = "argument list too long";
        let item = "cannot fit single argument within argument list size limit";
        for (input, grouping, overflow, commands) in [
            ("a b c d", Grouping::All, Overflow::Cut, "echo a b|echo c d"),
            (
                "a b c d",
                Grouping::Items(3),
                Overflow::Cut,
                "echo a b|echo c d",
            ),
            ("a b c d", Grouping::Items(3), Overflow::Fail, list),
            (
                "a b c d",
                Grouping::Items(2),
                Overflow::Fail,
                "echo a b|echo c d",
            ),
            ("abcde", Grouping::All, Overflow::Cut, item),
            ("a abcde", Grouping::All, Overflow::Cut, item),
            ("a b\nc d", Grouping::Lines(2), Overflow::Fail, list),
        ] {
            let packed = packed("echo", input, grouping.clone(), 9, overflow);
            assert_eq!(packed, commands, "{input:?} {grouping:?} {overflow:?}");
        }
        let packed = packed("a-long-command", "a", Grouping::All, 9, Overflow::Cut);
        assert_eq!(packed, "the command itself is longer than 9 bytes");
    }
}
