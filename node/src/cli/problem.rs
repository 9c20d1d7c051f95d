//! What can go wrong with a command: one kind, one exit status, one line that says what, why and what to do.

use std::io;

use crate::api::wire::FailureKind;
use crate::client::ClientError;
use crate::render::text::harmless;

/// Exit status of a process that a closed pipe ended, as a shell shows it.
const PIPE_CLOSED: u8 = 128 + 13;

/// Exit status of a process that Ctrl-C ended, as a shell shows it.
const INTERRUPTED: u8 = 128 + 2;

/// The kinds, each with its exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// It did not work.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// No node answers.
    Unreachable,
    /// Refused for now.
    Busy,
    /// Not allowed.
    Forbidden,
    /// A time limit ran out.
    TimedOut,
    /// A person or the system asked the program to end.
    Interrupted,
    /// Nobody reads the output any more: ends without a word.
    Unread,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Busy,
        Self::Forbidden,
        Self::TimedOut,
        Self::Interrupted,
        Self::Unread,
    ];

    /// Returns the exit status.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 69,
            Self::Busy => 75,
            Self::Forbidden => 77,
            Self::TimedOut => 124,
            Self::Interrupted => INTERRUPTED,
            Self::Unread => PIPE_CLOSED,
        }
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    what: String,
    hint: Option<String>,
}

impl Problem {
    /// Describes a problem: what and why.
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            hint: None,
        }
    }

    /// Describes something that did not work.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed, what)
    }

    /// Describes a command line that makes no sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// Describes standard output that cannot be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Kind::Unread, ""),
            _ => Self::failed(format!("cannot write to standard output: {error}")),
        }
    }

    /// Takes it apart: what happened, and what to do.
    pub(crate) fn told(self) -> (String, Option<String>) {
        (self.what, self.hint)
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the exit status.
    pub(crate) fn status(&self) -> u8 {
        self.kind.status()
    }

    /// Returns the one line for people; `None` where silence is right.
    pub(crate) fn line(&self) -> Option<String> {
        if self.kind == Kind::Unread {
            return None;
        }
        let hint = self
            .hint
            .as_ref()
            .map_or_else(String::new, |hint| format!("; {hint}"));
        Some(harmless(&format!("aque: {}{hint}", self.what)).into_owned())
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let kind = match error.kind() {
            FailureKind::Request => Kind::Failed,
            FailureKind::Unreachable => Kind::Unreachable,
            FailureKind::Busy => Kind::Busy,
            FailureKind::Forbidden => Kind::Forbidden,
        };
        let problem = Self::new(kind, error.to_string());
        match error {
            ClientError::NoNode { .. } if kind == Kind::Forbidden => {
                problem.hint("ask as the user who runs the node")
            }
            ClientError::NoNode { .. } => {
                problem.hint("start one with 'aque-node', or name its socket with --node")
            }
            ClientError::Refused(failure) => match failure.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            },
            ClientError::Closed | ClientError::Silent(_) | ClientError::Io(_) => {
                problem.hint("see whether it still runs, and try again")
            }
            ClientError::Garbled(_) => problem.hint("use the 'aque' that came with the node"),
            ClientError::TooLarge(_) => problem.hint("submit it in parts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::Failure;

    #[test]
    fn refusals_are_one_line_with_a_hint() {
        let failure = Failure {
            kind: FailureKind::Busy,
            message: "too much\nwaits".into(),
            hint: Some("try again in a moment".into()),
        };
        let problem = Problem::from(ClientError::Refused(failure));
        assert_eq!(problem.status(), 75);
        assert_eq!(
            problem.line().as_deref(),
            Some("aque: too much\\nwaits; try again in a moment")
        );
    }

    #[test]
    fn a_closed_pipe_is_silent() {
        let problem = Problem::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((problem.status(), problem.line()), (141, None));
        let problem = Problem::output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(problem.status(), 1);
        assert!(problem.line().is_some());
    }
}
