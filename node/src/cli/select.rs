//! Which tasks a verb is about: ids, states, filters; the same for every verb.

use super::problem::Problem;
use crate::api::select::Selection;
use crate::filter::{Filter, States};
use crdt::task::TaskState;

/// Which tasks.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Which {
    /// Task ids: TAG-N, N, a unique beginning, A..B; 'last' is the newest; a group's id means its members
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Those that failed or were lost
    #[arg(long, help_heading = HEADING)]
    pub(crate) failed: bool,
    /// Those that fit, such as "name ~ 'render*' and age > 1h" (see 'aque help filters')
    #[arg(short, long, value_name = "EXPR", help_heading = HEADING)]
    filter: Option<Filter>,
    /// Without an ID: those of all users, not only yours
    #[arg(short = 'x', long, help_heading = HEADING)]
    pub(crate) all_users: bool,
}

/// In which states.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct InStates {
    /// Those in these states, or sets of them: READY, UNREADY, ACTIVE, COMPLETE
    #[arg(long, value_name = "STATE", value_delimiter = ',', help_heading = HEADING)]
    state: Vec<States>,
}

const HEADING: &str = "Which tasks";

/// The states of what is called failed.
const FAILED: [TaskState; 2] = [TaskState::Error, TaskState::Lost];

impl Which {
    /// Returns the tasks that are meant, perhaps all.
    pub(crate) fn any(self, states: InStates) -> Selection {
        let mut list: Vec<TaskState> = states.state.iter().flat_map(|of| of.list()).collect();
        if self.failed {
            list.extend(FAILED);
        }
        Selection {
            ids: self.ids,
            states: list,
            filter: self.filter.map(|filter| filter.to_string()),
            all_users: self.all_users,
        }
    }

    /// Returns the tasks that are meant.
    ///
    /// # Errors
    /// Neither are any named nor described.
    pub(crate) fn some(self, states: InStates) -> Result<Selection, Problem> {
        let selection = self.any(states);
        if selection.is_empty() {
            return Err(unnamed());
        }
        Ok(selection)
    }
}

/// That it is not said which tasks are meant.
pub(crate) fn unnamed() -> Problem {
    Problem::usage("it is not said which tasks")
        .hint("name some (an id, 'last', A..B), or say which with --failed or --filter EXPR")
}

/// Returns how people would name what was selected: `k3v7qa-1 k3v7qa-2`, `what fits`.
pub(crate) fn named(selection: &Selection) -> String {
    if selection.narrows() {
        return "what fits".to_owned();
    }
    selection.ids.join(" ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        states: InStates,
    }

    fn selected(words: &[&str]) -> Option<Selection> {
        let words = std::iter::once("verb").chain(words.iter().copied());
        let line = Line::try_parse_from(words).ok()?;
        line.which.some(line.states).ok()
    }

    #[test]
    fn selections_table() {
        let plain = selected(&["last", "3..5"]).unwrap();
        assert_eq!((plain.ids.len(), plain.narrows()), (2, false));
        assert_eq!(selected(&["--failed"]).unwrap().states, FAILED);
        let states = selected(&["-x", "--state", "ready,Held", "7"]).unwrap();
        assert_eq!(states.states, [TaskState::Pending, TaskState::Held]);
        assert!(states.all_users);
        let filter = selected(&["-f", "age>1h and exit=3"]).unwrap().filter;
        assert_eq!(filter.as_deref(), Some("age > 1h and exit = 3"));
        for words in [
            &[][..],
            &["-x"],
            &["-f", "sate = x"],
            &["--state", "done"],
            &["--filter"],
        ] {
            assert!(selected(words).is_none(), "{words:?}");
        }
    }
}
