//! Arrays: one record for many tasks that differ in an index, and perhaps in an entry: a line of a file, say.

use serde::{Deserialize, Serialize};

use super::Arg;
use crate::ids::TaskId;

/// The tasks that one spec stands for, in order: each takes a place of its segment, and has registers of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Elements {
    /// So many, with indices from the first on, a step apart.
    Range {
        /// The first index.
        first: u32,
        /// From one to the next; at least 1.
        step: u32,
        /// How many.
        count: u32,
    },
    /// One for each entry, with indices from the first on, one apart.
    Entries {
        /// The first index.
        first: u32,
        /// The entries.
        list: Vec<Arg>,
    },
}

/// One task of an array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    /// Its index, as people count.
    pub index: u32,
    /// Its entry, if they have some.
    pub entry: Option<Arg>,
}

impl Element {
    /// Returns the id of this element of an array, as people type it: `TAG-N.I`.
    #[must_use]
    pub fn label(&self, array: TaskId) -> String {
        format!("{array}.{}", self.index)
    }
}

impl Elements {
    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            Self::Range { count, .. } => *count,
            Self::Entries { list, .. } => u32::try_from(list.len()).unwrap_or(u32::MAX),
        }
    }

    /// Says whether there is none: no such record is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether there are some, each with an index.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let (first, step) = self.stride();
        let Some(beyond) = self.len().checked_sub(1) else {
            return false;
        };
        let last = step
            .checked_mul(beyond)
            .and_then(|way| way.checked_add(first));
        step > 0 && last.is_some()
    }

    /// Returns the element at this place among them.
    #[must_use]
    pub fn at(&self, place: u32) -> Option<Element> {
        if place >= self.len() {
            return None;
        }
        Some(match self {
            Self::Range { first, step, .. } => Element {
                index: first.saturating_add(step.saturating_mul(place)),
                entry: None,
            },
            Self::Entries { first, list } => Element {
                index: first.saturating_add(place),
                entry: list.get(place as usize).cloned(),
            },
        })
    }

    /// Returns the first index, and how far it is from one to the next.
    #[must_use]
    pub fn stride(&self) -> (u32, u32) {
        match self {
            Self::Range { first, step, .. } => (*first, *step),
            Self::Entries { first, .. } => (*first, 1),
        }
    }

    /// Takes elements off the front: at most so many, with entries of at most so many bytes, but one at least if there is one.
    #[must_use]
    pub fn split_off_front(&mut self, most: u32, bytes: usize) -> Self {
        match self {
            Self::Range { first, step, count } => {
                let taken = most.min(*count);
                let front = Self::Range {
                    first: *first,
                    step: *step,
                    count: taken,
                };
                *first = first.saturating_add(step.saturating_mul(taken));
                *count -= taken;
                front
            }
            Self::Entries { first, list } => {
                let mut sum = 0;
                let mut fits = |word: &&Arg| {
                    sum += word.0.len() + 4;
                    sum <= bytes
                };
                let fitting = list
                    .iter()
                    .take(most as usize)
                    .take_while(|word| fits(word));
                let taken = fitting.count().max(1).min(list.len());
                let rest = list.split_off(taken);
                let front = Self::Entries {
                    first: *first,
                    list: std::mem::replace(list, rest),
                };
                *first = first.saturating_add(front.len());
                front
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_a_step_apart() {
        let range = Elements::Range {
            first: 3,
            step: 2,
            count: 4,
        };
        let indices: Vec<u32> = (0..4)
            .filter_map(|place| range.at(place))
            .map(|element| element.index)
            .collect();
        assert_eq!(indices, [3, 5, 7, 9]);
        assert_eq!(range.at(4), None);
    }

    #[test]
    fn fronts_are_bounded_and_nothing_is_lost() {
        let entries: Vec<Arg> = ["a", "bb", "a long word", "d", "e"].map(Arg::from).to_vec();
        let mut rest = Elements::Entries {
            first: 1,
            list: entries.clone(),
        };
        let mut fronts = Vec::new();
        while !rest.is_empty() {
            fronts.push(rest.split_off_front(2, 14));
        }
        let lens: Vec<u32> = fronts.iter().map(Elements::len).collect();
        assert_eq!(lens, [2, 1, 2]);
        let all = fronts
            .iter()
            .flat_map(|front| (0..front.len()).map(|at| front.at(at)));
        let all: Vec<Element> = all.flatten().collect();
        assert_eq!(
            all.iter().map(|one| one.index).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5]
        );
        assert_eq!(
            all.into_iter()
                .filter_map(|one| one.entry)
                .collect::<Vec<_>>(),
            entries
        );
    }

    #[test]
    fn nonsense_is_not_sound() {
        let range = |first, step, count| Elements::Range { first, step, count };
        assert!(range(0, 1, 1).is_sound() && range(u32::MAX, 1, 1).is_sound());
        for (first, step, count) in [(0, 0, 2), (0, 1, 0), (u32::MAX, 1, 2), (0, u32::MAX, 3)] {
            assert!(
                !range(first, step, count).is_sound(),
                "{first} {step} {count}"
            );
        }
        let list = Vec::new();
        assert!(!Elements::Entries { first: 1, list }.is_sound());
    }
}
