//! States of tasks, and sets of them, as people name them.

use std::fmt;
use std::str::FromStr;

use crdt::task::TaskState;

/// A state, or a set of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum States {
    /// One.
    One(TaskState),
    /// Could start.
    Ready,
    /// May not start yet.
    Unready,
    /// A host has it.
    Active,
    /// Has ended.
    Complete,
}

impl States {
    const SETS: [Self; 4] = [Self::Ready, Self::Unready, Self::Active, Self::Complete];

    /// Says whether a state is meant.
    #[must_use]
    pub fn contains(self, state: TaskState) -> bool {
        let unready = matches!(
            state,
            TaskState::Creating | TaskState::Blocked | TaskState::Held
        );
        match self {
            Self::One(one) => one == state,
            Self::Ready => state == TaskState::Pending,
            Self::Unready => unready,
            Self::Active => matches!(state, TaskState::Claimed | TaskState::Running),
            Self::Complete => state.is_complete(),
        }
    }

    /// Returns the states that are meant.
    #[must_use]
    pub fn list(self) -> Vec<TaskState> {
        let all = TaskState::ALL.into_iter();
        all.filter(|state| self.contains(*state)).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::One(state) => state.name(),
            Self::Ready => "READY",
            Self::Unready => "UNREADY",
            Self::Active => "ACTIVE",
            Self::Complete => "COMPLETE",
        }
    }
}

impl fmt::Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// That a text names no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "states are creating, pending, blocked, held, claimed, running, success, error, killed, cancelled, lost, and the sets READY, UNREADY, ACTIVE, COMPLETE"
)]
pub struct NoState;

impl FromStr for States {
    type Err = NoState;

    fn from_str(text: &str) -> Result<Self, NoState> {
        let states = TaskState::ALL.into_iter().map(Self::One);
        let mut known = states.chain(Self::SETS);
        let found = known.find(|states| states.name().eq_ignore_ascii_case(text));
        found.ok_or(NoState)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_share_out_all_states() {
        for state in TaskState::ALL {
            let sets = States::SETS.iter().filter(|set| set.contains(state));
            assert_eq!(sets.count(), 1, "{state}");
            assert_eq!(States::One(state).list(), [state]);
        }
    }

    #[test]
    fn states_are_read_as_they_are_shown() {
        for set in States::SETS {
            assert_eq!(set.to_string().parse(), Ok(set));
            assert_eq!(set.to_string().to_lowercase().parse(), Ok(set));
        }
        assert_eq!("Running".parse(), Ok(States::One(TaskState::Running)));
        assert_eq!("done".parse::<States>(), Err(NoState));
    }
}
