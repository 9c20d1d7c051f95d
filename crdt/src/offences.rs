//! What peers sent that no honest node sends: who, what, how often, when last. For people; no rule reads it.
//!
//! Counted since the start. What was taken into the log, and only its meaning refused, is judged again at each start and
//! counts as noticed then.
//!
//! What was signed is its author's; junk and forgeries are laid at the door of the neighbour that handed them over, since
//! whoever they name need not have written them.

use std::collections::BTreeMap;

use crate::ids::PeerId;
use crate::ledger::{Refused, Rule};
use crate::registers::Misfit;
use crate::time::Wall;

/// Kinds of offences, of all peers together, of which times are kept; more are counted only.
const MAX_KEPT: usize = 1_024;

/// One kind of thing that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Offence {
    /// A frame that is no message.
    Frame,
    /// An envelope that is none, or too large.
    Envelope,
    /// A change under another peer's name.
    Forgery,
    /// Two changes for one place of a chain.
    Equivocation,
    /// A change against a rule.
    Rule(Rule),
    /// A register that went back.
    WentBack,
    /// An epoch far above all that led to it.
    Leap,
    /// An outcome or a run without a bid.
    NoBid,
    /// An entry where it means nothing.
    Misplaced,
    /// A wish stamped far ahead of this host's wall clock.
    Stamp,
}

impl Offence {
    /// Returns its name, the same in every version: lower case, words joined by `-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frame => "bad-frame",
            Self::Envelope => "malformed-envelope",
            Self::Forgery => "forged-signature",
            Self::Equivocation => "equivocation",
            Self::Rule(rule) => rule.name(),
            Self::WentBack => "register-went-back",
            Self::Leap => "epoch-leap",
            Self::NoBid => "outcome-without-bid",
            Self::Misplaced => "entry-out-of-place",
            Self::Stamp => "absurd-stamp",
        }
    }
}

impl std::fmt::Display for Offence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame => f.write_str("a frame that is no message"),
            Self::Envelope => f.write_str("a malformed envelope"),
            Self::Forgery => f.write_str("a change that its author did not sign"),
            Self::Equivocation => f.write_str("two changes for one place"),
            Self::Rule(rule) => write!(f, "a change against a rule: {rule}"),
            Self::WentBack => Misfit::WentBack.fmt(f),
            Self::Leap => Misfit::Leap.fmt(f),
            Self::NoBid => Misfit::NoBid.fmt(f),
            Self::Misplaced => f.write_str("an entry where it means nothing"),
            Self::Stamp => f.write_str("a wish stamped an hour ahead or more"),
        }
    }
}

impl From<Misfit> for Offence {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::WentBack => Self::WentBack,
            Misfit::Leap => Self::Leap,
            Misfit::NoBid => Self::NoBid,
        }
    }
}

/// How often and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// Since the start.
    pub count: u64,
    /// The latest, by this host's wall clock.
    pub last: Wall,
}

/// What was noticed since the start.
#[derive(Clone, Debug, Default)]
pub struct Offences {
    kept: BTreeMap<(PeerId, Offence), Times>,
    unkept: u64,
}

impl Offences {
    /// Notes that `peer` did it.
    pub(crate) fn note(&mut self, peer: PeerId, offence: Offence, now: Wall) {
        let room = self.kept.len() < MAX_KEPT;
        match self.kept.get_mut(&(peer, offence)) {
            Some(times) => {
                times.count = times.count.saturating_add(1);
                times.last = now;
            }
            None if room => {
                let first = Times {
                    count: 1,
                    last: now,
                };
                self.kept.insert((peer, offence), first);
            }
            None => self.unkept = self.unkept.saturating_add(1),
        }
    }

    /// Notes a refused change that `from` handed over in the name of `author`.
    pub(crate) fn refused(
        &mut self,
        from: PeerId,
        author: Option<PeerId>,
        why: Refused,
        now: Wall,
    ) {
        let signer = author.unwrap_or(from);
        let (peer, offence) = match why {
            Refused::Malformed | Refused::Oversized(_) => (from, Offence::Envelope),
            Refused::Signature => (from, Offence::Forgery),
            Refused::Equivocation => (signer, Offence::Equivocation),
            Refused::Rule(rule) => (signer, Offence::Rule(rule)),
            // What follows a breach comes again with every repair, and is no news.
            Refused::Quarantined => return,
        };
        self.note(peer, offence, now);
    }

    /// Returns all that is kept, by peer.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, Offence, Times)> + '_ {
        let kept = self.kept.iter();
        kept.map(|((peer, offence), times)| (*peer, *offence, *times))
    }

    /// Returns how often something was noticed for which there was no room.
    #[must_use]
    pub fn unkept(&self) -> u64 {
        self.unkept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_falls_on_who_signed_or_handed_over() {
        let (carrier, author) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut offences = Offences::default();
        for why in [
            Refused::Signature,
            Refused::Rule(Rule::Writer),
            Refused::Quarantined,
            Refused::Rule(Rule::Writer),
        ] {
            offences.refused(carrier, Some(author), why, Wall(7));
        }
        let kept: Vec<_> = offences
            .iter()
            .map(|(p, o, t)| (p, o.name(), t.count))
            .collect();
        let expected = vec![(carrier, "forged-signature", 1), (author, "rule-writer", 2)];
        assert_eq!(kept, expected);
    }

    #[test]
    fn many_strangers_fill_it_and_no_more() {
        let mut offences = Offences::default();
        for n in 0..2_000_u16 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_le_bytes());
            offences.note(PeerId(key), Offence::Frame, Wall(1));
        }
        assert_eq!(offences.iter().count(), MAX_KEPT);
        assert_eq!(offences.unkept(), 2_000 - MAX_KEPT as u64);
    }
}
