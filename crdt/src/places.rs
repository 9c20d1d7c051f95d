//! Places: what tasks need of their host's file systems, and what this host has found out about it.
//!
//! A host bids for a task only if the task's directory is there and all that it declared can be read, as far as that is known. What a
//! task declares is looked at before the first bid; a directory alone is taken to be there until a start has failed for it, which is
//! the cheaper way for nearly all tasks. What is missing is looked at again ever more rarely, as long as a task waits for it. The replica
//! looks at no file: it asks ([`crate::event::Output::Look`]) and is told ([`crate::event::Input::Looked`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::graph::TaskIx;
use crate::task::{Arg, Input, TaskSpec};
use crate::time::Mono;

/// What is missing is looked at again after the first of these, and then ever more rarely down to the second; so is a start that failed
/// for another reason tried again.
pub const MISSING_FOR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// While something is looked at for the first time no other task is bid for that long: it may be the one that goes first. A look takes
/// some milliseconds; one that takes longer is for a file system that does not answer, and nothing waits for that.
const PATIENCE: Duration = Duration::from_millis(250);
/// So many are looked at for the first time at once.
const MOST_ASKED: usize = 16;
/// So many are remembered that are there.
const MOST_THERE: usize = 1_024;

/// What a task needs of the file systems of the host that runs it. What one user may read another may not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    /// As whom it is looked at.
    pub user: String,
    /// The group in the place of the user's own; empty: that.
    pub group: String,
    /// Its working directory.
    pub cwd: Arg,
    /// What must be readable; a relative path starts at the directory.
    pub reads: Vec<Arg>,
    /// Files that are made or emptied: the directories in which they lie must be there.
    pub writes: Vec<Arg>,
}

impl Place {
    /// Returns that of a task.
    #[must_use]
    pub fn of(spec: &TaskSpec) -> Self {
        let input = match &spec.options.stdin {
            Some(Input::File(path)) => Some(path.clone()),
            Some(Input::Bytes(_)) | None => None,
        };
        let declared = spec.options.reads.iter().cloned();
        let streams = [&spec.options.stdout, &spec.options.stderr];
        Self {
            user: spec.user.clone(),
            group: spec.options.as_group.clone(),
            cwd: spec.cwd.clone(),
            reads: declared.chain(input).collect(),
            writes: streams.into_iter().flatten().cloned().collect(),
        }
    }

    /// Returns the number by which hosts tell each other of it.
    ///
    /// # Panics
    /// Never: a place always encodes.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let bytes = postcard::to_stdvec(self).expect("a place encodes");
        let hash = blake3::derive_key("aque 2026 place", &bytes);
        let (first, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
        u64::from_le_bytes(*first)
    }

    /// Says whether more is declared than a directory.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        !(self.reads.is_empty() && self.writes.is_empty())
    }
}

/// What is known of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing<'a> {
    /// Nothing.
    Unknown,
    /// It is looked at for the first time.
    Asked,
    /// All of it is there.
    There,
    /// Something is not, and why.
    Missing(&'a str),
}

#[derive(Debug)]
struct Known {
    found: Found,
    /// How long it was taken to be missing last.
    pause: Option<Duration>,
    waiting: BTreeSet<TaskIx>,
}

#[derive(Debug)]
enum Found {
    Nothing { asked: Mono },
    There,
    Missing { why: String, again: Again },
}

/// When something that is missing is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    At(Mono),
    Now,
}

/// The places of which something is known or wanted.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<Place, Known>);

impl Places {
    /// Says whether nothing is known of any place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what is known of a place.
    #[must_use]
    pub fn standing(&self, place: &Place) -> Standing<'_> {
        match self.0.get(place).map(|known| &known.found) {
            None => Standing::Unknown,
            Some(Found::Nothing { .. }) => Standing::Asked,
            Some(Found::There) => Standing::There,
            Some(Found::Missing { why, .. }) => Standing::Missing(why),
        }
    }

    /// Says whether one more may be looked at for the first time.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        self.asked().count() < MOST_ASKED
    }

    /// Says whether something that was asked for just now may change which task goes first.
    #[must_use]
    pub fn is_awaited(&self, now: Mono) -> bool {
        self.asked().any(|asked| now < asked + PATIENCE)
    }

    fn asked(&self) -> impl Iterator<Item = Mono> + '_ {
        self.0.values().filter_map(|known| match known.found {
            Found::Nothing { asked } => Some(asked),
            Found::There | Found::Missing { .. } => None,
        })
    }

    /// Notes that a place is looked at for the first time.
    pub fn ask(&mut self, place: Place, now: Mono) {
        self.forget_some();
        self.0.entry(place).or_insert(Known {
            found: Found::Nothing { asked: now },
            pause: None,
            waiting: BTreeSet::new(),
        });
    }

    /// Notes that a task waits for a place of which something is known.
    pub fn wait(&mut self, place: &Place, task: TaskIx) {
        if let Some(known) = self.0.get_mut(place) {
            known.waiting.insert(task);
        }
    }

    /// Takes what was found at a place, by a look or by a start that failed. Returns the tasks that waited for it.
    pub fn take(&mut self, place: Place, found: Result<(), String>, now: Mono) -> Vec<TaskIx> {
        self.forget_some();
        let known = self.0.entry(place).or_insert(Known {
            found: Found::There,
            pause: None,
            waiting: BTreeSet::new(),
        });
        known.found = match found {
            Ok(()) => Found::There,
            Err(why) => {
                let (first, longest) = MISSING_FOR;
                let pause = known.pause.map_or(first, |pause| (2 * pause).min(longest));
                known.pause = Some(pause);
                Found::Missing {
                    why,
                    again: Again::At(now + pause),
                }
            }
        };
        std::mem::take(&mut known.waiting).into_iter().collect()
    }

    /// Returns the places that are to be looked at again now; those for which no task waits any more, as `waits` says, are forgotten.
    pub fn due(&mut self, now: Mono, waits: impl Fn(TaskIx) -> bool) -> Vec<Place> {
        let is_due = |known: &Known| matches!(known.found, Found::Missing { again: Again::At(at), .. } if at <= now);
        for known in self.0.values_mut().filter(|known| is_due(known)) {
            known.waiting.retain(|task| waits(*task));
        }
        self.0
            .retain(|_, known| !is_due(known) || !known.waiting.is_empty());
        let mut due = Vec::new();
        for (place, known) in self.0.iter_mut().filter(|(_, known)| is_due(known)) {
            if let Found::Missing { again, .. } = &mut known.found {
                *again = Again::Now;
                due.push(place.clone());
            }
        }
        due
    }

    /// Returns when something is to be done next: a place looked at again, or a task bid for without waiting for a look any more.
    #[must_use]
    pub fn next_due(&self, now: Mono) -> Option<Mono> {
        let again = self.0.values().filter_map(|known| match known.found {
            Found::Missing {
                again: Again::At(at),
                ..
            } => Some(at),
            Found::Nothing { asked } => Some(asked + PATIENCE).filter(|at| *at > now),
            Found::There | Found::Missing { .. } => None,
        });
        again.min()
    }

    /// Returns what is missing here, and why.
    pub fn missing(&self) -> impl Iterator<Item = (&Place, &str)> + '_ {
        self.0
            .iter()
            .filter_map(|(place, known)| match &known.found {
                Found::Missing { why, .. } => Some((place, why.as_str())),
                Found::There | Found::Nothing { .. } => None,
            })
    }

    /// Forgets a place that is there, for another, if there are too many.
    fn forget_some(&mut self) {
        if self.0.len() < MOST_THERE {
            return;
        }
        let there = |(_, known): &(&Place, &Known)| matches!(known.found, Found::There);
        let first = self.0.iter().find(there).map(|(place, _)| place.clone());
        if let Some(place) = first {
            self.0.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000_000_000);

    fn place(path: &str) -> Place {
        Place {
            user: "ann".to_owned(),
            group: String::new(),
            cwd: "/".into(),
            reads: vec![path.into()],
            writes: Vec::new(),
        }
    }

    fn gone() -> Result<(), String> {
        Err("it is not there".to_owned())
    }

    #[test]
    fn what_is_asked_for_is_awaited_for_a_moment() {
        let mut places = Places::default();
        assert!(places.is_empty() && places.standing(&place("/a")) == Standing::Unknown);
        places.ask(place("/a"), NOW);
        places.wait(&place("/a"), 7);
        assert_eq!(places.standing(&place("/a")), Standing::Asked);
        assert!(places.is_awaited(NOW) && !places.is_awaited(NOW + PATIENCE));
        assert_eq!(places.next_due(NOW), Some(NOW + PATIENCE));
        assert_eq!(places.next_due(NOW + PATIENCE), None, "it goes on waiting");
        assert_eq!(places.take(place("/a"), Ok(()), NOW), [7]);
        assert_eq!(places.standing(&place("/a")), Standing::There);
        assert!(!places.is_awaited(NOW) && places.next_due(NOW).is_none());
    }

    #[test]
    fn what_is_missing_is_looked_at_ever_more_rarely_while_somebody_waits() {
        let mut places = Places::default();
        let mut now = NOW;
        let mut pauses = Vec::new();
        places.take(place("/a"), gone(), now);
        for _ in 0..7 {
            places.wait(&place("/a"), 1);
            places.wait(&place("/a"), 2);
            let due = places.next_due(now).unwrap_or(now);
            assert!(
                places
                    .due(due - Duration::from_millis(1), |_| true)
                    .is_empty()
            );
            assert_eq!(places.due(due, |task| task == 2), [place("/a")]);
            assert!(places.due(due, |_| true).is_empty(), "once");
            assert!(matches!(
                places.standing(&place("/a")),
                Standing::Missing(_)
            ));
            pauses.push(due.since(now).as_secs());
            now = due;
            assert_eq!(places.take(place("/a"), gone(), now), [2]);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        // Nobody waits: it is forgotten.
        assert!(places.due(now + MISSING_FOR.1, |_| true).is_empty());
        assert!(places.is_empty());
    }

    #[test]
    fn so_many_are_asked_and_remembered_and_no_more() {
        let mut places = Places::default();
        for n in 0..MOST_ASKED {
            assert!(places.may_ask());
            places.ask(place(&format!("/{n}")), NOW);
        }
        assert!(!places.may_ask());
        places.take(place("/x"), gone(), NOW);
        for n in 0..2 * MOST_THERE {
            places.take(place(&format!("/{n}")), Ok(()), NOW);
        }
        assert!(places.0.len() <= MOST_THERE);
        assert_eq!(places.missing().count(), 1);
    }

    #[test]
    fn a_place_is_what_was_declared() {
        let mut spec = TaskSpec::command(["true"]);
        assert!(!Place::of(&spec).is_declared());
        spec.options.reads = vec!["/proj".into()];
        spec.options.stdin = Some(Input::File("in".into()));
        let both = Place::of(&spec);
        assert_eq!(both.reads, ["/proj".into(), "in".into()]);
        spec.options.stdin = Some(Input::Bytes("text".into()));
        let one = Place::of(&spec);
        assert_eq!(one.reads, ["/proj".into()]);
        assert_ne!(one.digest(), both.digest());
        for change in [
            |spec: &mut TaskSpec| spec.user = "bob".to_owned(),
            |spec: &mut TaskSpec| spec.options.as_group = "video".to_owned(),
        ] {
            let mut others = spec.clone();
            change(&mut others);
            assert_ne!(Place::of(&others).digest(), one.digest());
        }
        spec.options.reads.clear();
        spec.options.stderr = Some("errors".into());
        assert!(Place::of(&spec).is_declared());
        assert_eq!(one.digest(), one.clone().digest());
    }
}
