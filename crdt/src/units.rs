//! Named resources of a host, unit by unit: which of its two graphics cards a run gets.
//!
//! So much of a resource as a host offers is cut into units of one; the last may be smaller. A run that needs whole units gets units
//! that nobody else has; what it needs beyond those is taken from one more, which it may share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Offer;

/// One unit, in thousandths.
const WHOLE: u32 = 1_000;

/// What a run has of one unit: its number, from 0, and how much of it, in thousandths.
pub type Part = (u32, u32);

/// What a run has of a host's named resources.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Allotment(pub Vec<(String, Vec<Part>)>);

/// What is free of each unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Units(BTreeMap<String, Vec<u32>>);

impl Units {
    /// Returns the units of a host that offers so much, all free.
    #[must_use]
    pub fn of(offer: &Offer) -> Self {
        let units = |milli: u32| {
            let last = milli % WHOLE;
            let whole = std::iter::repeat_n(WHOLE, (milli / WHOLE) as usize);
            whole.chain((last > 0).then_some(last)).collect()
        };
        let resources = offer.resources.iter();
        Self(
            resources
                .map(|(name, milli)| (name.clone(), units(*milli)))
                .collect(),
        )
    }

    /// Finds units for what a run needs (name and thousandths); `None` if they are not free.
    #[must_use]
    pub fn find(&self, needs: &[(String, u32)]) -> Option<Allotment> {
        let parts = needs.iter().map(|(name, milli)| {
            let free = self.0.get(name).map_or(&[][..], Vec::as_slice);
            Some((name.clone(), find_parts(free, *milli)?))
        });
        parts.collect::<Option<_>>().map(Allotment)
    }

    /// Takes units. Of what is not there nothing is taken.
    pub fn take(&mut self, allotment: &Allotment) {
        self.change(allotment, u32::saturating_sub);
    }

    /// Gives units back.
    pub fn give(&mut self, allotment: &Allotment) {
        self.change(allotment, |free, part| (free + part).min(WHOLE));
    }

    fn change(&mut self, Allotment(list): &Allotment, by: impl Fn(u32, u32) -> u32) {
        for (name, parts) in list {
            let Some(units) = self.0.get_mut(name) else {
                continue;
            };
            for (unit, part) in parts {
                if let Some(free) = units.get_mut(*unit as usize) {
                    *free = by(*free, *part);
                }
            }
        }
    }
}

/// Whole units first, the lowest numbers; then the fullest unit that has room for the rest.
fn find_parts(free: &[u32], needs: u32) -> Option<Vec<Part>> {
    let (count, rest) = ((needs / WHOLE) as usize, needs % WHOLE);
    let units = || (0..).zip(free.iter().copied());
    let mut parts: Vec<Part> = units()
        .filter(|(_, free)| *free == WHOLE)
        .take(count)
        .collect();
    if parts.len() < count {
        return None;
    }
    if rest > 0 {
        let taken = |unit: u32| parts.iter().any(|(whole, _)| *whole == unit);
        let open = units().filter(|(unit, free)| *free >= rest && !taken(*unit));
        let (unit, _) = open.min_by_key(|(unit, free)| (*free, *unit))?;
        parts.push((unit, rest));
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(milli: u32) -> Units {
        Units::of(&Offer {
            resources: vec![("gpu".to_owned(), milli)],
            ..Offer::default()
        })
    }

    fn get(units: &mut Units, milli: u32) -> Option<Vec<Part>> {
        let found = units.find(&[("gpu".to_owned(), milli)])?;
        units.take(&found);
        found.0.into_iter().next().map(|(_, parts)| parts)
    }

    #[test]
    fn whole_units_are_had_alone_and_fractions_share() {
        let mut gpus = units(3_500);
        assert_eq!(get(&mut gpus, 500), Some(vec![(3, 500)]));
        assert_eq!(get(&mut gpus, 250), Some(vec![(0, 250)]));
        assert_eq!(get(&mut gpus, 750), Some(vec![(0, 750)]));
        assert_eq!(get(&mut gpus, 1_500), Some(vec![(1, 1_000), (2, 500)]));
        assert_eq!(get(&mut gpus, 1_000), None, "half a unit is left");
        assert_eq!(get(&mut gpus, 600), None);
        assert_eq!(get(&mut gpus, 500), Some(vec![(2, 500)]));
    }

    #[test]
    fn what_is_given_back_is_free_again() {
        let mut gpus = units(2_000);
        let needs = [("gpu".to_owned(), 1_200)];
        let found = gpus.find(&needs).unwrap_or_default();
        gpus.take(&found);
        assert_ne!(gpus, units(2_000));
        gpus.give(&found);
        assert_eq!(gpus, units(2_000));
        assert_eq!(gpus.find(&[("licence".to_owned(), 1)]), None);
        assert_eq!(gpus.find(&[]), Some(Allotment::default()));
        // What another start of the host had, and this one has not.
        let strange = Allotment(vec![
            ("gpu".to_owned(), vec![(9, 1_000)]),
            ("licence".to_owned(), vec![(0, 1_000)]),
        ]);
        gpus.take(&strange);
        gpus.give(&strange);
        assert_eq!(gpus, units(2_000));
    }
}
