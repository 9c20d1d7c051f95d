//! Reads the outputs of tasks from a node, several at a time over one connection.

use std::collections::BTreeMap;

use crate::api::wire::{Body, Call, OutputPiece, OutputQuery, Reply, StreamName};
use crate::cli::problem::Problem;
use crate::client::{AWAY, Client, ClientError, Limit, strange};

/// So many outputs are followed at a time; the others are as these end.
const AT_A_TIME: usize = 32;

/// Which part of a task's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of both streams.
    Everything,
    /// A stream, or the last lines.
    Part {
        /// Both unless one is named.
        only: Option<StreamName>,
        /// All lines unless it is named how many.
        lines: Option<u32>,
        /// Of the run that counts unless one is named, from 1.
        attempt: Option<u32>,
    },
}

/// How long output is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// What is there.
    Now,
    /// Until the task has ended.
    End,
}

/// What comes of a task's output.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Some of it.
    Piece(OutputPiece),
    /// That was all.
    End,
    /// It cannot be had.
    Failed(ClientError),
}

/// One that is being read.
#[derive(Debug)]
struct Open {
    /// Its place among those that are wanted.
    place: usize,
    /// How much of each stream was given.
    given: [u64; 2],
    /// How much of that comes again, because it was asked for anew.
    again: [u64; 2],
}

impl Open {
    /// Takes off a piece what was given before; `None` if nothing is left of it.
    fn fresh(&mut self, mut piece: OutputPiece) -> Option<OutputPiece> {
        let stream = match piece.stream {
            StreamName::Stdout => 0,
            StreamName::Stderr => 1,
        };
        let length = piece.data.0.len() as u64;
        let known = self.again[stream].min(length);
        self.again[stream] -= known;
        if known > 0 && known == length {
            return None;
        }
        piece
            .data
            .0
            .drain(..usize::try_from(known).unwrap_or(usize::MAX));
        self.given[stream] += length - known;
        Some(piece)
    }
}

/// What came of one task's output at once.
#[derive(Debug, Default)]
struct Heard {
    place: usize,
    taken: Vec<Taken>,
}

/// Outputs that are read.
pub(crate) struct Taking<'a> {
    client: &'a mut Client,
    ids: &'a [String],
    wanted: Wanted,
    until: Until,
    next: usize,
    open: BTreeMap<u64, Open>,
    /// Those that were when the connection ended.
    lost: Vec<Open>,
    /// By when a node must be back that has gone away.
    back: Option<Limit>,
    told: bool,
}

impl<'a> Taking<'a> {
    /// Begins with nothing asked for yet.
    pub(crate) fn new(
        client: &'a mut Client,
        ids: &'a [String],
        wanted: Wanted,
        until: Until,
    ) -> Self {
        Self {
            client,
            ids,
            wanted,
            until,
            next: 0,
            open: BTreeMap::new(),
            lost: Vec::new(),
            back: None,
            told: false,
        }
    }

    /// Reads all of them, and gives what comes to `each`, with the place of its task. A node that changes its program (HUP), or is
    /// started again, is asked anew, and goes on where it was.
    ///
    /// # Errors
    /// What stands in the way of all of them, and what `each` returns.
    pub(crate) fn all(
        mut self,
        mut each: impl FnMut(usize, Taken) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        loop {
            let more = match self.ask() {
                Ok(()) if self.open.is_empty() => return Ok(()),
                Ok(()) => self.hear(),
                Err(error) => Err(error),
            };
            match more {
                Ok(heard) => {
                    for taken in heard.taken {
                        each(heard.place, taken)?;
                    }
                }
                Err(lost) => self.come_back(lost)?,
            }
        }
    }

    /// Asks for as many as are read at a time, and anew for those that were lost.
    fn ask(&mut self) -> Result<(), ClientError> {
        // What is there comes in order.
        let most = match self.until {
            Until::End => AT_A_TIME,
            Until::Now => 1,
        };
        while let Some(open) = self.lost.pop() {
            match self.client.open(Call::Output(self.query(open.place))) {
                Ok(number) => drop(self.open.insert(number, open)),
                Err(error) => {
                    self.lost.push(open);
                    return Err(error);
                }
            }
        }
        while self.open.len() < most && self.next < self.ids.len() {
            let place = self.next;
            let number = self.client.open(Call::Output(self.query(place)))?;
            self.next += 1;
            let open = Open {
                place,
                given: [0; 2],
                again: [0; 2],
            };
            self.open.insert(number, open);
        }
        Ok(())
    }

    fn query(&self, place: usize) -> OutputQuery {
        let (only, last_lines, attempt) = match self.wanted {
            Wanted::Everything => (None, None, None),
            Wanted::Part {
                only,
                lines,
                attempt,
            } => (only, lines, attempt),
        };
        OutputQuery {
            task: self.ids[place].clone(),
            only,
            follow: self.until == Until::End,
            last_lines,
            attempt,
        }
    }

    fn hear(&mut self) -> Result<Heard, ClientError> {
        let patience = self.client.patience();
        let limit = match self.until {
            Until::End => Limit::Never,
            Until::Now => Limit::within(patience),
        };
        let reply = self.client.heard(limit)?;
        let Reply { id, end, body } = reply.ok_or(ClientError::Silent(patience))?;
        (self.told, self.back) = (true, None);
        let Some(open) = self.open.get_mut(&id) else {
            return Ok(Heard::default());
        };
        let place = open.place;
        let taken = match body {
            Body::Output(piece) => open.fresh(piece).map(Taken::Piece),
            Body::Error(failure) => Some(Taken::Failed(ClientError::Refused(failure))),
            other => Some(Taken::Failed(strange("output", &other))),
        };
        let failed = matches!(taken, Some(Taken::Failed(_)));
        if end || failed {
            self.open.remove(&id);
        }
        let over = (end && !failed).then_some(Taken::End);
        Ok(Heard {
            place,
            taken: taken.into_iter().chain(over).collect(),
        })
    }

    /// Connects again to ask anew for what was open when the connection ended. The last lines of before would be others now.
    fn come_back(&mut self, lost: ClientError) -> Result<(), ClientError> {
        let by_lines = matches!(self.wanted, Wanted::Part { lines: Some(_), .. });
        // One that has not answered yet is asked once more, and not waited for.
        let again = !self.told && self.back.is_some();
        if !lost.is_loss() || by_lines || again {
            return Err(lost);
        }
        let back = *self.back.get_or_insert_with(|| Limit::within(AWAY));
        self.client.come_back(back, lost)?;
        let open = std::mem::take(&mut self.open).into_values();
        self.lost.extend(open.map(|open| Open {
            again: open.given,
            ..open
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_not_given_again() {
        let piece = |stream, text: &str| OutputPiece {
            stream,
            host: None,
            data: text.into(),
        };
        let mut open = Open {
            place: 0,
            given: [5, 1],
            again: [5, 1],
        };
        let mut fresh = |stream, text: &str| {
            let piece = open.fresh(piece(stream, text));
            piece.map(|piece| piece.data.to_text().into_owned())
        };
        assert_eq!(fresh(StreamName::Stdout, "abc"), None);
        assert_eq!(fresh(StreamName::Stdout, "defg").as_deref(), Some("fg"));
        assert_eq!(fresh(StreamName::Stderr, "").as_deref(), Some(""));
        assert_eq!(fresh(StreamName::Stderr, "xy").as_deref(), Some("y"));
        assert_eq!(fresh(StreamName::Stdout, "h").as_deref(), Some("h"));
        assert_eq!(open.given, [8, 2]);
    }
}
