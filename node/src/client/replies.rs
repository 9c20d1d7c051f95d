//! The answers to one question, as they come, and how long each is waited for.

use std::time::{Duration, Instant};

use super::{Client, ClientError};
use crate::api::wire::{Body, Call, Reply};

/// How long to wait for a line.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// For ever.
    Never,
    /// Until then.
    At(Instant),
}

impl Limit {
    /// Returns the limit that comes after `patience` from now.
    #[must_use]
    pub fn within(patience: Duration) -> Self {
        Instant::now()
            .checked_add(patience)
            .map_or(Self::Never, Self::At)
    }

    fn is_before(self, other: Self) -> bool {
        match (self, other) {
            (Self::Never, _) => false,
            (Self::At(_), Self::Never) => true,
            (Self::At(own), Self::At(other)) => own < other,
        }
    }

    /// Returns what is left, as a socket's time limit; `None` when nothing is.
    #[expect(
        clippy::option_option,
        reason = "the outer one is ours, the inner one the socket's"
    )]
    pub(crate) fn left(self) -> Option<Option<Duration>> {
        match self {
            Self::Never => Some(None),
            Self::At(at) => {
                let left = at.saturating_duration_since(Instant::now());
                (left > Duration::ZERO).then_some(Some(left))
            }
        }
    }
}

impl Client {
    /// Asks a question that may have many answers.
    ///
    /// # Errors
    /// [`ClientError`]; nothing was asked.
    pub fn start(&mut self, call: Call) -> Result<Replies<'_>, ClientError> {
        let id = self.open(call)?;
        Ok(Replies {
            client: self,
            id,
            state: State::Asked,
        })
    }
}

/// The answers to one question, as they come.
#[derive(Debug)]
pub struct Replies<'a> {
    client: &'a mut Client,
    id: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come yet.
    Asked,
    Open,
    Ended,
}

/// What came of waiting for an answer.
#[derive(Debug)]
pub enum Heard {
    /// An answer.
    Reply(Body),
    /// The limit has come; more may follow.
    Nothing,
    /// There are no more.
    End,
}

impl Replies<'_> {
    /// Waits for the next answer to a question of which the first answer comes at once, and tells how far things are.
    ///
    /// # Errors
    /// As for [`Replies::next`]; that the first did not come.
    pub fn next_of_progress(&mut self, limit: Limit) -> Result<Heard, ClientError> {
        let patience = self.client.patience;
        let at_once = Limit::within(patience);
        match self.state {
            State::Asked if at_once.is_before(limit) => match self.next(at_once)? {
                Heard::Nothing => Err(ClientError::Silent(patience)),
                heard => Ok(heard),
            },
            State::Asked | State::Open | State::Ended => self.next(limit),
        }
    }

    /// Waits for the next answer to a question that needs no waiting.
    ///
    /// # Errors
    /// As for [`Replies::next`]; that it did not come.
    pub fn next_soon(&mut self) -> Result<Heard, ClientError> {
        let patience = self.client.patience;
        match self.next(Limit::within(patience))? {
            Heard::Nothing => Err(ClientError::Silent(patience)),
            heard => Ok(heard),
        }
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal by the node is [`ClientError::Refused`].
    pub fn next(&mut self, limit: Limit) -> Result<Heard, ClientError> {
        if self.state == State::Ended {
            return Ok(Heard::End);
        }
        loop {
            let Some(reply) = self.client.line::<Reply>(limit)? else {
                return Ok(Heard::Nothing);
            };
            if reply.id != self.id {
                continue;
            }
            self.state = match reply.end {
                true => State::Ended,
                false => State::Open,
            };
            return match reply.body {
                Body::Error(failure) => Err(ClientError::Refused(failure)),
                body => Ok(Heard::Reply(body)),
            };
        }
    }
}
