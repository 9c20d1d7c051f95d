//! What tasks need of this host's file systems: what is looked at before a bid, what a failed start has shown, and what people and
//! other hosts are told of it. See [`crate::places`].

use super::{Replica, Timer};
use crate::entry::Beat;
use crate::event::Output;
use crate::graph::TaskIx;
use crate::places::{Place, Standing};
use crate::task::TaskState;

/// Whether a ready task may be bid for as far as its place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It may.
    Yes,
    /// It has to wait for news of its place, and is told.
    Waits,
    /// A look is under way that may show a better one.
    NotNow,
}

impl Replica {
    fn place_of(&self, ix: TaskIx) -> Option<Place> {
        self.known(ix).spec.as_deref().map(Place::of)
    }

    /// Says whether a ready task has to wait for news of its place; it is told.
    pub(super) fn awaits_place(&mut self, ix: TaskIx) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let Some(place) = self.place_of(ix) else {
            return false;
        };
        let waits = match self.places.standing(&place) {
            Standing::Asked | Standing::Missing(_) => true,
            Standing::Unknown | Standing::There => false,
        };
        if waits {
            self.places.wait(&place, ix);
        }
        waits
    }

    /// Says whether the best of the ready tasks may be bid for now. A place that nobody has seen is looked at first if it was
    /// declared; what comes behind waits a moment for what that shows.
    pub(super) fn placed(&mut self, ix: TaskIx) -> Placed {
        let Some(place) = self.place_of(ix) else {
            return Placed::Yes;
        };
        match self.places.standing(&place) {
            Standing::Asked | Standing::Missing(_) => {}
            Standing::Unknown if place.is_declared() => {
                if !self.places.may_ask() {
                    return Placed::NotNow;
                }
                self.places.ask(place.clone(), self.now.mono);
                self.outputs.push_back(Output::Look(place.clone()));
                self.wake_for_places();
            }
            Standing::Unknown | Standing::There => {
                return match self.places.is_awaited(self.now.mono) {
                    true => Placed::NotNow,
                    false => Placed::Yes,
                };
            }
        }
        self.places.wait(&place, ix);
        Placed::Waits
    }

    /// Takes what was found at a place.
    pub(super) fn looked(&mut self, place: Place, found: Result<(), String>) {
        let waited = self.places.take(place, found, self.now.mono);
        self.dirty.extend(waited);
        self.wake_for_places();
    }

    /// Takes that a start has failed for want of its place.
    pub(super) fn miss_place(&mut self, ix: TaskIx, why: String) {
        if let Some(place) = self.place_of(ix) {
            self.looked(place, Err(why));
        }
    }

    fn wake_for_places(&mut self) {
        if let Some(at) = self.places.next_due(self.now.mono) {
            self.set_timer(at, Timer::Places);
        }
    }

    /// Has those places looked at again for which it is time.
    pub(super) fn tend_places(&mut self) {
        let tasks = &self.tasks;
        let waits = |ix: TaskIx| tasks[ix as usize].state == TaskState::Pending;
        for place in self.places.due(self.now.mono, waits) {
            self.outputs.push_back(Output::Look(place));
        }
        self.wake_for_places();
    }

    /// Says what of a task's place is missing here, as far as is known.
    pub(super) fn what_is_missing(&self, ix: TaskIx) -> Option<String> {
        if self.places.is_empty() {
            return None;
        }
        match self.places.standing(&self.place_of(ix)?) {
            Standing::Missing(why) => Some(why.to_owned()),
            Standing::Unknown | Standing::Asked | Standing::There => None,
        }
    }

    /// The same of another host, in its own words.
    pub(super) fn what_misses<'a>(&self, ix: TaskIx, beat: &'a Beat) -> Option<&'a str> {
        if beat.missing.is_empty() {
            return None;
        }
        let digest = self.place_of(ix)?.digest();
        let found = beat.missing.iter().find(|(place, _)| *place == digest);
        found.map(|(_, why)| why.as_str())
    }

    /// What other hosts are told of places that are missing here.
    pub(super) fn missing_places(&self) -> Vec<(u64, String)> {
        let told = |(place, why): (&Place, &str)| {
            let mut end = why.len().min(Beat::MISSING_BYTES);
            while !why.is_char_boundary(end) {
                end -= 1;
            }
            (place.digest(), why[..end].to_owned())
        };
        let missing = self.places.missing().map(told);
        missing.take(Beat::MOST_MISSING).collect()
    }
}
