//! Why a node could not be asked, or did not answer: what may have been done, and which exit status that is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::wire::{Body, Failure, FailureKind};

/// Why a node could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens on it. Nothing was asked.
    #[error("no node answers on {}", tried.iter().map(Attempt::text).collect::<Vec<_>>().join(", nor on "))]
    NoNode {
        /// Each socket that was tried, and why it failed.
        tried: Vec<Attempt>,
    },
    /// The connection ended before the answer was complete: what was asked may or may not have been done.
    #[error("the node ended the connection before it had answered")]
    Closed,
    /// No answer in time: what was asked may or may not have been done.
    #[error("the node did not answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// What answers does not speak this language.
    #[error("what answers is not a node of this version: {0}")]
    Garbled(String),
    /// The question is larger than a line may be. Nothing was asked.
    #[error("a request of {0} bytes is too large for a node")]
    TooLarge(usize),
    /// The kernel refused to read or write.
    #[error("the connection to the node failed: {0}")]
    Io(#[from] io::Error),
    /// The node refused.
    #[error("{}", .0.message)]
    Refused(Failure),
}

impl ClientError {
    /// Says whether the node may be there again soon.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NoNode { .. } | Self::Closed | Self::Silent(_) | Self::Io(_) => true,
            // The host to which it passes questions on.
            Self::Refused(failure) => failure.kind == FailureKind::Unreachable,
            Self::Garbled(_) | Self::TooLarge(_) => false,
        }
    }

    /// Says whether the connection ended.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Closed) || matches!(self, Self::Io(error) if is_reset(error))
    }

    /// Sorts an error: that the connection ended, or another.
    pub(super) fn or_loss<T, E: From<Self>>(self) -> Result<Result<T, E>, Self> {
        match self.is_loss() {
            true => Err(self),
            false => Ok(Err(self.into())),
        }
    }

    /// Returns the kind that decides the exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Refused(failure) => failure.kind,
            Self::TooLarge(_) => FailureKind::Request,
            Self::NoNode { tried } if tried.iter().any(Attempt::is_forbidden) => {
                FailureKind::Forbidden
            }
            Self::NoNode { .. }
            | Self::Closed
            | Self::Silent(_)
            | Self::Garbled(_)
            | Self::Io(_) => FailureKind::Unreachable,
        }
    }
}

pub(super) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// A socket on which no node answered.
#[derive(Debug)]
pub struct Attempt {
    /// The socket.
    pub path: PathBuf,
    /// What the kernel said.
    pub error: io::Error,
}

impl Attempt {
    fn text(&self) -> String {
        let why = match self.error.kind() {
            io::ErrorKind::NotFound => "there is no such socket".to_owned(),
            io::ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::WouldBlock => "it takes no connection".to_owned(),
            _ => self.error.to_string(),
        };
        format!("{} ({why})", self.path.display())
    }

    fn is_forbidden(&self) -> bool {
        self.error.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Returns the error for an answer to another question.
#[must_use]
pub fn strange(verb: &str, body: &Body) -> ClientError {
    let text = format!("{body:?}");
    let name = text.split(['(', ' ', '{']).next().unwrap_or_default();
    ClientError::Garbled(format!(
        "it answers '{verb}' with '{}'",
        name.to_lowercase()
    ))
}
