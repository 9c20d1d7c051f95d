//! The exit status of `xargs -w`: GNU's, from how each task ended.

use crdt::task::TaskState;

use crate::api::wire::TaskLine;
use crate::cli::task::own_exit;

/// How a task's end counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Well.
    Well,
    /// Badly; the others go on: 123.
    Badly,
    /// So that nothing more is to be started.
    Fatal {
        /// Exit status of xargs.
        status: u8,
        /// What to tell.
        why: String,
    },
}

/// Judges one task.
pub(crate) fn judge(line: &TaskLine) -> Ending {
    let program = line.command.split(' ').next().unwrap_or_default();
    let fatal = |status, why: String| Ending::Fatal {
        status,
        why: format!("{program}: {why}"),
    };
    let never_ran = line.started_ms.is_none();
    match (line.state, line.signal, own_exit(line)) {
        (TaskState::Success, ..) => Ending::Well,
        (TaskState::Killed | TaskState::Cancelled | TaskState::Lost, ..) => Ending::Badly,
        (_, Some(signal), _) => fatal(125, format!("terminated by signal {signal}")),
        (_, None, Some(255)) => fatal(124, "exited with status 255; aborting".to_owned()),
        (_, None, Some(code @ (126 | 127))) if never_ran => {
            let why = line.reason.clone().unwrap_or_default();
            fatal(if code == 126 { 126 } else { 127 }, why)
        }
        (_, None, _) => Ending::Badly,
    }
}

/// What all tasks together come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The exit status.
    pub(crate) status: u8,
}

impl Verdict {
    /// Counts one ending: the first fatal one decides, else 123 if one was bad.
    pub(crate) fn count(&mut self, ending: &Ending) {
        match ending {
            Ending::Well => {}
            Ending::Badly if self.status == 0 => self.status = 123,
            Ending::Fatal { status, .. } if matches!(self.status, 0 | 123) => self.status = *status,
            Ending::Badly | Ending::Fatal { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::task::tests::line;
    use super::*;

    fn ended(exit: Option<i32>, signal: Option<i32>) -> TaskLine {
        TaskLine {
            exit,
            signal,
            started_ms: Some(1),
            ..line("a-1", TaskState::Error)
        }
    }

    fn status(line: &TaskLine) -> u8 {
        let mut verdict = Verdict::default();
        verdict.count(&judge(line));
        verdict.status
    }

    #[test]
    fn exit_table() {
        for (exit, signal, expected) in [
            (Some(1), None, 123),
            (Some(125), None, 123),
            // The command's own 126 and 127 are not xargs's.
            (Some(127), None, 123),
            (Some(254), None, 123),
            (Some(255), None, 124),
            (None, Some(9), 125),
        ] {
            assert_eq!(
                status(&ended(exit, signal)),
                expected,
                "{exit:?} {signal:?}"
            );
        }
        assert_eq!(status(&line("a-1", TaskState::Success)), 0);
        assert_eq!(status(&line("a-1", TaskState::Cancelled)), 123);
    }

    #[test]
    fn a_command_that_cannot_run() {
        let reason = |reason: &str| TaskLine {
            reason: Some(reason.into()),
            ..line("a-1", TaskState::Error)
        };
        assert_eq!(status(&reason("exit 127: no such program")), 127);
        assert_eq!(status(&reason("exit 126: permission denied")), 126);
        assert_eq!(status(&reason("something else")), 123);
    }

    #[test]
    fn the_first_fatal_end_decides() {
        let mut verdict = Verdict::default();
        for line in [
            ended(Some(1), None),
            ended(None, Some(9)),
            ended(Some(255), None),
        ] {
            verdict.count(&judge(&line));
        }
        assert_eq!(verdict.status, 125);
    }
}
