//! How a committee is replaced: ordinary Paxos among its members (Lamport, "The Part-Time Parliament", 1998), without leases.
//! Pure functions over what proposers and members wrote; the rules are those of `docs/protocol.md`, "Another committee".
//!
//! A member that promises a ballot is *sealed*: from then on it votes, accepts and answers no more in this committee, so what it
//! had voted is final. A proposal names a majority that is sealed. Once a majority has accepted one proposal at one ballot, it
//! is chosen; the next committee starts from the votes of those that it names, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Sabotage;
use crate::entry::{BallotNumber, Motion, Proposal, Stand};
use crate::ids::{PeerId, Tag};

/// What was said about the replacement of one committee: for each writer the newest.
#[derive(Clone, Debug, Default)]
pub struct Replacement {
    motions: BTreeMap<Tag, Motion>,
    stands: BTreeMap<Tag, Stand>,
    /// Every accept ever seen: a stand keeps only the newest, but what was chosen stays so.
    accepts: BTreeMap<BallotNumber, (Proposal, BTreeSet<Tag>)>,
}

/// An entry that takes back what its writer had said: nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a motion or a stand was taken back")]
pub struct TakenBack;

/// The committee that is to be replaced.
#[derive(Clone, Copy, Debug)]
pub struct Electorate<'a> {
    /// Its members.
    pub members: &'a [Tag],
    /// How many are a majority.
    pub majority: usize,
    /// A member whose newest words are not durable yet.
    pub uncounted: Option<Tag>,
    /// The rule that is broken on purpose.
    pub broken: Option<Sabotage>,
}

impl Electorate<'_> {
    fn counted(&self) -> impl Iterator<Item = Tag> + '_ {
        let members = self.members.iter().copied();
        members.filter(|member| Some(*member) != self.uncounted)
    }

    /// A proposal that names no majority is none: nobody accepts it.
    fn is_named_by(&self, proposal: &Proposal) -> bool {
        let named = proposal.sealed.iter();
        named.filter(|tag| self.members.contains(tag)).count() >= self.majority
    }
}

impl Replacement {
    /// Folds a motion.
    ///
    /// # Errors
    /// A lower round than before, or another proposal in the same round.
    pub fn fold_motion(&mut self, writer: Tag, new: Motion) -> Result<(), TakenBack> {
        if let Some(old) = self.motions.get(&writer) {
            let same = new.round == old.round;
            if new.round < old.round
                || same && old.proposal.is_some() && new.proposal != old.proposal
            {
                return Err(TakenBack);
            }
        }
        self.motions.insert(writer, new);
        Ok(())
    }

    /// Folds a stand.
    ///
    /// # Errors
    /// A promise or an accept that is taken back, or another account of what was seen when the member was sealed.
    pub fn fold_stand(&mut self, writer: Tag, new: Stand) -> Result<(), TakenBack> {
        if let Some(old) = self.stands.get(&writer) {
            let ballot = |stand: &Stand| stand.accepted.as_ref().map(|(ballot, _)| *ballot);
            let recounted = old.promised.is_some() && new.seen != old.seen;
            if new.promised < old.promised || ballot(&new) < ballot(old) || recounted {
                return Err(TakenBack);
            }
        }
        if let Some((ballot, proposal)) = &new.accepted {
            let fresh = || (proposal.clone(), BTreeSet::new());
            let (_, members) = self.accepts.entry(*ballot).or_insert_with(fresh);
            members.insert(writer);
        }
        self.stands.insert(writer, new);
        Ok(())
    }

    /// Returns the newest stand of a member.
    #[must_use]
    pub fn stand(&self, member: Tag) -> Option<&Stand> {
        self.stands.get(&member)
    }

    /// Returns the newest motion of a proposer.
    #[must_use]
    pub fn motion(&self, proposer: Tag) -> Option<&Motion> {
        self.motions.get(&proposer)
    }

    /// Says whether this member votes and answers no more.
    #[must_use]
    pub fn is_sealed(&self, member: Tag) -> bool {
        self.stand(member)
            .is_some_and(|stand| stand.promised.is_some())
    }

    /// Returns the members that vote and answer no more.
    pub fn sealed(&self) -> impl Iterator<Item = Tag> + '_ {
        let sealed = self
            .stands
            .iter()
            .filter(|(_, stand)| stand.promised.is_some());
        sealed.map(|(tag, _)| *tag)
    }

    /// Says whether anybody asked for another committee.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        !self.motions.is_empty()
    }

    /// Returns the round after every round seen.
    #[must_use]
    pub fn next_round(&self) -> u32 {
        let motions = self.motions.values().map(|motion| motion.round);
        let promises = self.stands.values().filter_map(|stand| stand.promised);
        let seen = motions.chain(promises.map(|ballot| ballot.round)).max();
        seen.unwrap_or(0).saturating_add(1)
    }

    /// Returns what member `me` says next, if there is anything new: a promise for the highest ballot seen, or the accept of
    /// its proposal. `seen` is how much of the segment it has.
    #[must_use]
    pub fn answer(
        &self,
        me: Tag,
        electorate: Electorate<'_>,
        seen: impl FnOnce() -> Vec<(PeerId, u32)>,
    ) -> Option<Stand> {
        let old = self.stand(me);
        if electorate.broken == Some(Sabotage::PromiseBroken)
            && let Some(stand) = self.belated_accept(me, electorate)
        {
            return Some(stand);
        }
        let (proposer, motion) = self
            .motions
            .iter()
            .max_by_key(|(proposer, motion)| (motion.round, **proposer))?;
        let ballot = BallotNumber {
            round: motion.round,
            proposer: *proposer,
        };
        let promised = old.and_then(|stand| stand.promised);
        let accepted = old.and_then(|stand| stand.accepted.clone());
        let proposal = motion
            .proposal
            .as_ref()
            .filter(|p| electorate.is_named_by(p));
        let accepts =
            proposal.is_some() && accepted.as_ref().is_none_or(|(last, _)| *last < ballot);
        if promised > Some(ballot) || promised == Some(ballot) && !accepts {
            return None;
        }
        let seen = match old {
            Some(stand) if promised.is_some() => stand.seen.clone(),
            Some(_) | None => seen(),
        };
        Some(Stand {
            generation: motion.generation,
            promised: Some(ballot),
            accepted: match proposal {
                Some(proposal) => Some((ballot, proposal.clone())),
                None => accepted,
            },
            seen,
        })
    }

    /// Sabotage: the accept of a proposal that lies below the ballot that `me` has promised.
    fn belated_accept(&self, me: Tag, electorate: Electorate<'_>) -> Option<Stand> {
        let old = self.stand(me)?;
        let last = old.accepted.as_ref().map(|(ballot, _)| *ballot);
        let ballot = |proposer: &Tag, motion: &Motion| BallotNumber {
            round: motion.round,
            proposer: *proposer,
        };
        let open = |(proposer, motion): (&Tag, &Motion)| {
            let proposal = motion.proposal.as_ref();
            let ballot = ballot(proposer, motion);
            let proposal = proposal.filter(|proposal| electorate.is_named_by(proposal));
            let late = old.promised > Some(ballot) && Some(ballot) > last;
            proposal.filter(|_| late).map(|p| (ballot, p.clone()))
        };
        let accepted = self.motions.iter().find_map(open)?;
        Some(Stand {
            accepted: Some(accepted),
            ..old.clone()
        })
    }

    /// Returns the proposal that `me` makes in its open round once a majority of the committee has promised it: that which was
    /// accepted at the highest ballot, or else one with these `members`.
    #[must_use]
    pub fn propose(
        &self,
        me: Tag,
        electorate: Electorate<'_>,
        members: impl FnOnce() -> Option<Vec<PeerId>>,
    ) -> Option<Motion> {
        let motion = self.motions.get(&me).filter(|m| m.proposal.is_none())?;
        let ballot = BallotNumber {
            round: motion.round,
            proposer: me,
        };
        let promises: Vec<(Tag, &Stand)> = electorate
            .counted()
            .filter_map(|member| Some((member, self.stand(member)?)))
            .filter(|(_, stand)| stand.promised == Some(ballot))
            .collect();
        if promises.len() < electorate.majority {
            return None;
        }
        let passed_over = electorate.broken == Some(Sabotage::AcceptsPassedOver);
        let accepted = promises
            .iter()
            .filter_map(|(_, stand)| stand.accepted.as_ref())
            .filter(|_| !passed_over);
        let proposal = match accepted.max_by_key(|(ballot, _)| *ballot) {
            Some((_, proposal)) => proposal.clone(),
            None => {
                let mut sealed: Vec<Tag> = promises.iter().map(|(member, _)| *member).collect();
                sealed.sort_unstable();
                Proposal {
                    members: members()?,
                    sealed,
                }
            }
        };
        Some(Motion {
            proposal: Some(proposal),
            ..motion.clone()
        })
    }

    /// Returns the proposal that a majority of the committee has accepted at one ballot. Once there is one it is the only one,
    /// at every replica.
    #[must_use]
    pub fn chosen(&self, electorate: Electorate<'_>) -> Option<&Proposal> {
        let behind = |members: &BTreeSet<Tag>| {
            electorate
                .counted()
                .filter(|member| members.contains(member))
                .count()
        };
        let mut ballots = self.accepts.values();
        let chosen = ballots.find(|(_, members)| behind(members) >= electorate.majority);
        chosen.map(|(proposal, _)| proposal)
    }

    /// Says whether every change that the members of `proposal.sealed` had is seen: `have` tells how many of an author are.
    #[must_use]
    pub fn is_covered(&self, proposal: &Proposal, have: impl Fn(&PeerId) -> u32) -> bool {
        proposal.sealed.iter().all(|member| {
            self.stand(*member).is_some_and(|stand| {
                stand.promised.is_some()
                    && stand
                        .seen
                        .iter()
                        .all(|(author, count)| have(author) >= *count)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::ids::Generation;

    const COMMITTEE: Electorate<'_> = Electorate {
        members: &[Tag(1), Tag(2), Tag(3)],
        majority: 2,
        uncounted: None,
        broken: None,
    };

    fn without(uncounted: u32) -> Electorate<'static> {
        Electorate {
            uncounted: Some(Tag(uncounted)),
            ..COMMITTEE
        }
    }

    fn ask(round: u32) -> Motion {
        Motion {
            generation: Generation::FIRST,
            round,
            proposal: None,
        }
    }

    fn answer(replacement: &mut Replacement, member: u32) -> bool {
        match replacement.answer(Tag(member), COMMITTEE, Vec::new) {
            Some(stand) => {
                replacement.fold_stand(Tag(member), stand).unwrap();
                true
            }
            None => false,
        }
    }

    fn members(seed: u8) -> Option<Vec<PeerId>> {
        Some(vec![PeerId([seed; 32])])
    }

    #[test]
    fn a_majority_chooses_and_a_later_proposer_finds_it() {
        let mut replacement = Replacement::default();
        replacement.fold_motion(Tag(9), ask(1)).unwrap();
        assert!(answer(&mut replacement, 1));
        assert!(!answer(&mut replacement, 1), "it has said so");
        assert_eq!(replacement.propose(Tag(9), COMMITTEE, || members(1)), None);
        assert!(answer(&mut replacement, 2));
        assert_eq!(replacement.propose(Tag(9), without(2), || members(1)), None);
        let motion = replacement
            .propose(Tag(9), COMMITTEE, || members(1))
            .unwrap();
        let first = motion.proposal.clone().unwrap();
        assert_eq!(first.sealed, [Tag(1), Tag(2)]);
        replacement.fold_motion(Tag(9), motion).unwrap();
        assert!(answer(&mut replacement, 1));
        assert_eq!(replacement.chosen(COMMITTEE), None);
        // Another proposer meets the accept of the first member, and takes its proposal up.
        assert_eq!(replacement.next_round(), 2);
        replacement.fold_motion(Tag(8), ask(2)).unwrap();
        assert!(answer(&mut replacement, 1));
        assert!(answer(&mut replacement, 3));
        let motion = replacement
            .propose(Tag(8), COMMITTEE, || members(2))
            .unwrap();
        assert_eq!(motion.proposal.as_ref(), Some(&first));
        replacement.fold_motion(Tag(8), motion).unwrap();
        assert!(answer(&mut replacement, 1) && answer(&mut replacement, 3));
        assert_eq!(replacement.chosen(without(3)), None);
        assert_eq!(replacement.chosen(COMMITTEE), Some(&first));
        // Who has promised more since has still accepted it.
        replacement.fold_motion(Tag(9), ask(3)).unwrap();
        assert!(answer(&mut replacement, 1) && answer(&mut replacement, 3));
        assert_eq!(replacement.chosen(COMMITTEE), Some(&first));
        replacement
            .fold_motion(
                Tag(9),
                Motion {
                    proposal: Some(first.clone()),
                    ..ask(3)
                },
            )
            .unwrap();
        // The second member was late: it accepts the same.
        assert!(answer(&mut replacement, 2));
        assert_eq!(replacement.chosen(without(2)), Some(&first));
        assert_eq!(replacement.chosen(without(3)), None);
    }

    #[test]
    fn nothing_is_taken_back() {
        let mut replacement = Replacement::default();
        replacement.fold_motion(Tag(9), ask(2)).unwrap();
        assert_eq!(replacement.fold_motion(Tag(9), ask(1)), Err(TakenBack));
        let stand = replacement
            .answer(Tag(1), COMMITTEE, || vec![(PeerId([1; 32]), 4)])
            .unwrap();
        replacement.fold_stand(Tag(1), stand.clone()).unwrap();
        let unsealed = Stand {
            promised: None,
            ..stand.clone()
        };
        assert_eq!(replacement.fold_stand(Tag(1), unsealed), Err(TakenBack));
        let recounted = Stand {
            seen: Vec::new(),
            ..stand
        };
        assert_eq!(replacement.fold_stand(Tag(1), recounted), Err(TakenBack));
        let proposal = |seed| Motion {
            proposal: Some(Proposal {
                members: members(seed).unwrap(),
                sealed: vec![Tag(1)],
            }),
            ..ask(2)
        };
        replacement.fold_motion(Tag(9), proposal(1)).unwrap();
        assert_eq!(replacement.fold_motion(Tag(9), proposal(2)), Err(TakenBack));
    }

    #[test]
    fn what_a_sealed_member_had_must_be_seen() {
        let author = PeerId([7; 32]);
        let mut replacement = Replacement::default();
        replacement.fold_motion(Tag(9), ask(1)).unwrap();
        let stand = replacement
            .answer(Tag(1), COMMITTEE, || vec![(author, 4)])
            .unwrap();
        replacement.fold_stand(Tag(1), stand).unwrap();
        let proposal = |sealed| Proposal {
            members: members(1).unwrap(),
            sealed,
        };
        assert!(!replacement.is_covered(&proposal(vec![Tag(1)]), |_| 3));
        assert!(replacement.is_covered(&proposal(vec![Tag(1)]), |_| 4));
        assert!(!replacement.is_covered(&proposal(vec![Tag(1), Tag(2)]), |_| 4));
    }
    /// A writer's words in order.
    #[derive(Clone, Debug)]
    enum Word {
        Motion(Motion),
        Stand(Stand),
    }

    /// Three members, of which two also propose, and two more proposers, each with a view of its own: every view has a part of each
    /// writer's words, from the first on, and which part is drawn.
    struct Mesh {
        broken: Option<Sabotage>,
        chance: fastrand::Rng,
        words: BTreeMap<Tag, Vec<Word>>,
        views: BTreeMap<Tag, (Replacement, BTreeMap<Tag, usize>)>,
    }

    impl Mesh {
        const MEMBERS: [Tag; 3] = [Tag(1), Tag(2), Tag(3)];
        const PROPOSERS: [Tag; 4] = [Tag(2), Tag(3), Tag(8), Tag(9)];

        fn of(seed: u64, broken: Option<Sabotage>) -> Self {
            let all = Self::MEMBERS.into_iter().chain(Self::PROPOSERS);
            Self {
                broken,
                chance: fastrand::Rng::with_seed(seed),
                words: BTreeMap::new(),
                views: all.map(|tag| (tag, Default::default())).collect(),
            }
        }

        fn electorate(&self) -> Electorate<'static> {
            Electorate {
                broken: self.broken,
                ..COMMITTEE
            }
        }

        fn fold(view: &mut Replacement, writer: Tag, word: Word) {
            match word {
                Word::Motion(motion) => view.fold_motion(writer, motion).unwrap(),
                Word::Stand(stand) => view.fold_stand(writer, stand).unwrap(),
            }
        }

        fn say(&mut self, writer: Tag, word: Word) {
            self.words.entry(writer).or_default().push(word.clone());
            let (view, seen) = self.views.get_mut(&writer).unwrap();
            *seen.entry(writer).or_default() += 1;
            Self::fold(view, writer, word);
        }

        /// Somebody hears the next word of somebody else.
        fn hear(&mut self) {
            let names: Vec<Tag> = self.views.keys().copied().collect();
            let (hearer, writer) = (self.pick(&names), self.pick(&names));
            let (view, seen) = self.views.get_mut(&hearer).unwrap();
            let next = seen.entry(writer).or_default();
            let words = self.words.get(&writer).map_or(&[][..], Vec::as_slice);
            if let Some(word) = words.get(*next).cloned() {
                *next += 1;
                Self::fold(view, writer, word);
            }
        }

        fn pick(&mut self, of: &[Tag]) -> Tag {
            of[self.chance.usize(..of.len())]
        }

        fn step(&mut self) {
            let electorate = self.electorate();
            match self.chance.u8(..160) {
                // Few attempts: too many of them keep each other from ending.
                0..2 => {
                    let proposer = self.pick(&Self::PROPOSERS);
                    let round = self.views[&proposer].0.next_round();
                    self.say(proposer, Word::Motion(ask(round)));
                }
                2..20 => {
                    let proposer = self.pick(&Self::PROPOSERS);
                    let own = u8::try_from(proposer.0).ok().and_then(members);
                    let view = &self.views[&proposer].0;
                    if let Some(motion) = view.propose(proposer, electorate, || own) {
                        self.say(proposer, Word::Motion(motion));
                    }
                }
                20..60 => {
                    let member = self.pick(&Self::MEMBERS);
                    let view = &self.views[&member].0;
                    if let Some(stand) = view.answer(member, electorate, Vec::new) {
                        self.say(member, Word::Stand(stand));
                    }
                }
                _ => self.hear(),
            }
        }

        /// Every proposal that a majority accepted at one ballot, to who has heard all.
        fn chosen(&self) -> BTreeSet<Vec<PeerId>> {
            let mut all = Replacement::default();
            for (writer, words) in &self.words {
                for word in words {
                    Self::fold(&mut all, *writer, word.clone());
                }
            }
            let accepts = all.accepts.into_values();
            let majority = accepts.filter(|(_, members)| members.len() >= COMMITTEE.majority);
            majority.map(|(proposal, _)| proposal.members).collect()
        }
    }

    /// How many of so many drawn histories choose one committee, and how many more than one.
    fn histories(seeds: std::ops::Range<u64>, broken: Option<Sabotage>) -> (usize, usize) {
        let mut counts = (0, 0);
        for seed in seeds {
            let mut mesh = Mesh::of(seed, broken);
            for _ in 0..600 {
                mesh.step();
            }
            match mesh.chosen().len() {
                0 => {}
                1 => counts.0 += 1,
                _ => counts.1 += 1,
            }
        }
        counts
    }

    /// M1, M3 and M4 together let one committee be chosen; with M1 or M3 broken, histories are found in which two are.
    #[test]
    fn one_committee_is_chosen_and_two_with_a_rule_broken() {
        let (one, more) = histories(0..2_000, None);
        assert!(one > 1_000, "most histories choose one: {one}");
        assert_eq!(more, 0);
        for rule in [Sabotage::PromiseBroken, Sabotage::AcceptsPassedOver] {
            let (_, more) = histories(0..2_000, Some(rule));
            assert!(more > 0, "{rule:?} is not caught");
        }
    }
}
