//! What became of a task, claim by claim, told from all that was ever written about it. For people: nothing is decided by it.
//!
//! Documents keep no instants across writers, so where two rules may have freed a vote (its claimant fell silent, and gave up
//! later, when it came back) the one that documents prove is told. Rules are those of `docs/protocol.md`.

use std::collections::BTreeMap;
use std::fmt;

use crate::entry::{Bid, ClaimMark, Entry, Harm, Vote};
use crate::ids::{Epoch, Generation, Tag};
use crate::task::{Captured, Outcome, Verdict};
use crate::time::Wall;

/// One claimant's claim of a task at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its epoch.
    pub epoch: Epoch,
    /// Who bid.
    pub claimant: Tag,
    /// Who voted for it, and what allowed each to.
    pub votes: Vec<(Tag, Freed)>,
    /// When its run started, by the claimant's wall clock; `None` if none did.
    pub started: Option<Wall>,
    /// How it ended.
    pub end: End,
    /// What was captured of its run, if that ended with an outcome: standard output and standard error.
    pub captured: Option<[Captured; 2]>,
    /// Parts of the claimant's host that failed, and what each did to it.
    pub harms: Vec<String>,
}

/// What allowed a member to vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// It had not voted before (V2, case 0).
    Unvoted,
    /// It was new in a committee that replaced another, and in which no lease of that one can have been left.
    Newcomer,
    /// It had accepted the outcome of its vote: the run had ended (V2, case 0).
    Done,
    /// The claimant had given up, or bid higher: its run was dead (V2 a).
    GivenUp(Tag, Epoch),
    /// The claimant's run had ended with an outcome that was not accepted yet (V2 b).
    Ended(Tag, Epoch),
    /// Too many had voted for others at that epoch for it to ever hold (V2 c).
    Split(Tag, Epoch),
    /// It was cast in an earlier committee, which was replaced; in the new one no lease of the old can have been left.
    Replaced(Tag, Epoch),
    /// The claimant was silent for longer than its lease can have lasted (V2 d).
    Silent(Tag, Epoch),
}

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its outcome, as its writer judged it.
    Outcome(Verdict),
    /// It met an outcome of an earlier claim that others had accepted, and took that one up without running (C5).
    Adopted(Epoch, Tag),
    /// It was given up, at the latest when it bid again; a run of it was dead by then (C8).
    GivenUp,
    /// Nothing says that it has ended.
    Open,
}

/// What writers said of one task, each in its own order.
#[derive(Clone, Debug, Default)]
pub struct Statements(BTreeMap<Tag, Said>);

#[derive(Clone, Debug, Default)]
struct Said {
    bids: Vec<Bid>,
    votes: Vec<Vote>,
    outcomes: Vec<(Epoch, Outcome)>,
    marks: Vec<ClaimMark>,
    harms: Vec<Harm>,
}

impl Statements {
    /// Takes an entry of `writer`, if it is about the task at this place. To be called in the order of the writer's chain.
    pub fn take(&mut self, writer: Tag, index: u16, entry: Entry) {
        let said = self.0.entry(writer).or_default();
        match entry {
            Entry::Bids(bids) => said
                .bids
                .extend(bids.iter().filter(|bid| bid.index == index)),
            Entry::Votes(votes) => said
                .votes
                .extend(votes.iter().filter(|vote| vote.index == index)),
            Entry::Outcomes(outcomes) => {
                let ours = outcomes.into_iter().filter(|at| at.index == index);
                said.outcomes.extend(ours.map(|at| (at.epoch, at.outcome)));
            }
            Entry::Harms(harms) => {
                let ours = harms.into_iter().filter(|harm| harm.index == index);
                said.harms.extend(ours);
            }
            Entry::Claim(place, mark) if place == index => said.marks.push(mark),
            _ => {}
        }
    }

    /// Returns every claim that got a vote, a run or an outcome, in order of epochs. `members` is the committee's size.
    #[must_use]
    pub fn attempts(&self, members: usize) -> Vec<Attempt> {
        let mut attempts = BTreeMap::<(Epoch, Tag), Attempt>::new();
        for (claimant, said) in &self.0 {
            let started = said.marks.iter().filter(|mark| mark.started.is_some());
            let marked = started.map(|mark| mark.epoch);
            for epoch in marked.chain(said.outcomes.iter().map(|(at, _)| *at)) {
                attempts
                    .entry((epoch, *claimant))
                    .or_insert_with(|| self.attempt(epoch, *claimant));
            }
        }
        for (voter, said) in &self.0 {
            let mut before: Option<&Vote> = None;
            for vote in &said.votes {
                if before.is_some_and(|before| before.epoch == vote.epoch) {
                    // An accept, or the same vote in the next committee.
                    before = Some(vote);
                    continue;
                }
                let freed = match before {
                    Some(before) => self.freed(before, vote, members),
                    None if vote.generation == Generation::FIRST => Freed::Unvoted,
                    None => Freed::Newcomer,
                };
                attempts
                    .entry((vote.epoch, vote.claimant))
                    .or_insert_with(|| self.attempt(vote.epoch, vote.claimant))
                    .votes
                    .push((*voter, freed));
                before = Some(vote);
            }
        }
        attempts.into_values().collect()
    }

    fn attempt(&self, epoch: Epoch, claimant: Tag) -> Attempt {
        let mark = self.said(claimant).and_then(|said| {
            let mut marks = said.marks.iter();
            marks.find(|mark| mark.epoch == epoch && mark.started.is_some())
        });
        Attempt {
            epoch,
            claimant,
            votes: Vec::new(),
            started: mark.and_then(|mark| mark.started),
            end: self.end(epoch, claimant),
            captured: self.captured(epoch, claimant),
            harms: self.harms(epoch, claimant),
        }
    }

    fn said(&self, writer: Tag) -> Option<&Said> {
        self.0.get(&writer)
    }

    fn harms(&self, epoch: Epoch, claimant: Tag) -> Vec<String> {
        let said = self.said(claimant).into_iter();
        let harms = said.flat_map(|said| &said.harms);
        let ours = harms.filter(|harm| harm.epoch == epoch);
        ours.map(|harm| harm.what.clone()).collect()
    }

    fn captured(&self, epoch: Epoch, claimant: Tag) -> Option<[Captured; 2]> {
        let mut written = self.said(claimant)?.outcomes.iter();
        let (_, outcome) =
            written.find(|(at, outcome)| *at == epoch && outcome.origin == (epoch, claimant))?;
        let report = outcome.report.as_ref()?;
        Some([report.stdout, report.stderr])
    }

    fn end(&self, epoch: Epoch, claimant: Tag) -> End {
        let Some(said) = self.said(claimant) else {
            return End::Open;
        };
        let written = said.outcomes.iter().find(|(at, _)| *at == epoch);
        match written {
            Some((_, outcome)) if outcome.origin != (epoch, claimant) => {
                End::Adopted(outcome.origin.0, outcome.origin.1)
            }
            Some((_, outcome)) => End::Outcome(outcome.verdict.clone()),
            None if said.gave_up(epoch) => End::GivenUp,
            None => End::Open,
        }
    }

    /// Says what freed a vote that was followed by another.
    fn freed(&self, before: &Vote, vote: &Vote, members: usize) -> Freed {
        let Vote {
            epoch, claimant, ..
        } = *before;
        if before.accepted.is_some_and(|accept| accept.epoch == epoch) {
            return Freed::Done;
        }
        let said = self.said(claimant);
        if said.is_some_and(|said| said.gave_up(epoch)) {
            return Freed::GivenUp(claimant, epoch);
        }
        if said.is_some_and(|said| said.outcomes.iter().any(|(at, _)| *at >= epoch)) {
            return Freed::Ended(claimant, epoch);
        }
        if vote.generation != before.generation {
            return Freed::Replaced(claimant, epoch);
        }
        let elsewhere = self.0.values().flat_map(|said| {
            let mut votes = said.votes.iter();
            votes.find(|vote| vote.epoch == epoch && vote.claimant != claimant)
        });
        if elsewhere.count() > members.saturating_sub(members / 2 + 1) {
            return Freed::Split(claimant, epoch);
        }
        Freed::Silent(claimant, epoch)
    }
}

impl Said {
    fn gave_up(&self, epoch: Epoch) -> bool {
        let past = |bid: &Bid| bid.epoch > epoch || bid.epoch == epoch && bid.gave_up;
        self.bids.iter().any(past)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome(Verdict::Success) => f.write_str("success"),
            Self::Outcome(Verdict::Failure(_)) => f.write_str("failure"),
            Self::Outcome(Verdict::Killed) => f.write_str("killed as asked"),
            Self::Outcome(Verdict::Cancelled) => f.write_str("cancelled as asked"),
            Self::Outcome(Verdict::Retry) => f.write_str("failure, to be tried again"),
            Self::Outcome(Verdict::Lost) => f.write_str("lost with its host"),
            Self::Adopted(epoch, _) => write!(f, "took up the outcome of epoch {epoch}"),
            Self::GivenUp => f.write_str("given up"),
            Self::Open => f.write_str("no end was heard of"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Accept, OutcomeAt};
    use crate::task::OutcomeDigest;

    const VALUE: OutcomeDigest = OutcomeDigest([1; 16]);

    fn told(said: &[(u32, Entry)]) -> Vec<Attempt> {
        let mut statements = Statements::default();
        for (writer, entry) in said {
            statements.take(Tag(*writer), 0, entry.clone());
            statements.take(Tag(*writer), 1, Entry::End(3));
        }
        statements.attempts(3)
    }

    fn bid(epoch: u32, gave_up: bool) -> Entry {
        let epoch = Epoch(epoch);
        Entry::Bids(vec![Bid {
            index: 0,
            epoch,
            gave_up,
        }])
    }

    fn vote(epoch: u32, claimant: u32, accepted: Option<u32>) -> Entry {
        let accepted = accepted.map(|epoch| Accept {
            epoch: Epoch(epoch),
            digest: VALUE,
        });
        Entry::Votes(vec![Vote {
            index: 0,
            generation: Generation::FIRST,
            epoch: Epoch(epoch),
            claimant: Tag(claimant),
            accepted,
        }])
    }

    fn outcome(epoch: u32, origin: (u32, u32), verdict: Verdict) -> Entry {
        let outcome = Outcome {
            origin: (Epoch(origin.0), Tag(origin.1)),
            verdict,
            report: None,
            reason: None,
        };
        Entry::Outcomes(vec![OutcomeAt {
            index: 0,
            epoch: Epoch(epoch),
            outcome,
        }])
    }

    fn mark(epoch: u32) -> Entry {
        let (epoch, started) = (Epoch(epoch), Some(Wall(5)));
        Entry::Claim(0, ClaimMark { epoch, started })
    }

    #[test]
    fn a_task_that_ran_once() {
        let attempts = told(&[
            (1, bid(1, false)),
            (1, vote(1, 1, None)),
            (2, vote(1, 1, None)),
            (1, mark(1)),
            (1, outcome(1, (1, 1), Verdict::Success)),
            (1, vote(1, 1, Some(1))),
            (2, vote(1, 1, Some(1))),
        ]);
        let [attempt] = &attempts[..] else {
            panic!("{attempts:?}")
        };
        assert_eq!(
            attempt.votes,
            [(Tag(1), Freed::Unvoted), (Tag(2), Freed::Unvoted)]
        );
        assert_eq!(attempt.started, Some(Wall(5)));
        assert_eq!(attempt.end, End::Outcome(Verdict::Success));
    }

    #[test]
    fn what_frees_a_vote_table() {
        let silent = Freed::Silent(Tag(1), Epoch(1));
        let rows: [(&[(u32, Entry)], Freed); 6] = [
            (&[], silent),
            (&[(1, bid(1, true))], Freed::GivenUp(Tag(1), Epoch(1))),
            (&[(1, bid(3, false))], Freed::GivenUp(Tag(1), Epoch(1))),
            (
                &[(1, outcome(1, (1, 1), Verdict::Retry))],
                Freed::Ended(Tag(1), Epoch(1)),
            ),
            (
                &[(3, vote(1, 4, None)), (4, vote(1, 4, None))],
                Freed::Split(Tag(1), Epoch(1)),
            ),
            (&[(3, vote(1, 4, None))], silent),
        ];
        for (more, freed) in rows {
            let before = [(1, bid(1, false)), (2, vote(1, 1, None))];
            let after = [(5, bid(2, false)), (2, vote(2, 5, None))];
            let attempts = told(&[&before[..], more, &after[..]].concat());
            let second = attempts.iter().find(|attempt| attempt.epoch == Epoch(2));
            assert_eq!(
                second.map(|attempt| attempt.votes.clone()),
                Some(vec![(Tag(2), freed)])
            );
        }
        let attempts = told(&[
            (2, vote(1, 1, None)),
            (2, vote(1, 1, Some(1))),
            (2, vote(2, 5, Some(1))),
        ]);
        assert_eq!(attempts[1].votes, [(Tag(2), Freed::Done)]);
    }

    #[test]
    fn ends_table() {
        for (said, end) in [
            (vec![], End::Open),
            (vec![(1, bid(1, true))], End::GivenUp),
            (
                vec![(1, outcome(1, (1, 1), Verdict::Killed))],
                End::Outcome(Verdict::Killed),
            ),
            (
                vec![(1, outcome(1, (7, 9), Verdict::Success))],
                End::Adopted(Epoch(7), Tag(9)),
            ),
        ] {
            let attempts = told(&[vec![(1, bid(1, false)), (2, vote(1, 1, None))], said].concat());
            assert_eq!(attempts[0].end, end);
        }
    }
}
