//! Changes of the right shape that say what their author may not say.

use std::time::Duration;

use automerge::legacy::{Key as OpKey, Op};

use super::super::schema::Key;
use super::*;
use crate::entry::{BallotNumber, Harm, Motion, OutcomeAt, Proposal, Stand, Vote};
use crate::ids::Generation;
use crate::task::{Environment, Outcome, Verdict, Want, Wish};
use crate::time::Hlc;

#[test]
fn forged_words_are_refused_by_name() {
    type Say = fn(&Scene) -> Op;
    fn by_evil(scene: &Scene, entry: &Entry) -> Op {
        op_of(entry, scene.evil.me(), 2)
    }
    fn want(tag: Tag, by: &str) -> Entry {
        let stamp = Hlc {
            wall_ms: 1,
            count: 0,
            tag: tag.0,
        };
        let wish = Wish::Close { size: 1 };
        Entry::Want(
            0,
            Want {
                stamp,
                by: by.to_owned(),
                wish,
            },
        )
    }
    fn late_want(tag: Tag, wall_ms: u64, count: u32) -> Entry {
        let Entry::Want(index, want) = want(tag, "evil") else {
            unreachable!("a want is a want");
        };
        let stamp = Hlc {
            wall_ms,
            count,
            ..want.stamp
        };
        Entry::Want(index, Want { stamp, ..want })
    }
    fn outcome(epoch: u32, reason: &str) -> Entry {
        let outcome = Outcome {
            origin: (Epoch(1), Tag(1)),
            verdict: Verdict::Success,
            report: None,
            reason: Some(reason.to_owned()),
        };
        Entry::Outcomes(vec![OutcomeAt {
            index: 0,
            epoch: Epoch(epoch),
            outcome,
        }])
    }
    fn motion(round: u32, mut members: Vec<PeerId>) -> Motion {
        members.sort_unstable();
        Motion {
            generation: Generation::FIRST,
            round,
            proposal: Some(Proposal {
                members,
                sealed: vec![Tag(1)],
            }),
        }
    }
    let rows: &[(&str, Rule, Say)] = &[
        ("unknown key", Rule::Key, |_| put("x", Vec::new())),
        ("another spelling of an index", Rule::Canonical, |s| Op {
            key: OpKey::Map("c000A".into()),
            ..by_evil(s, &Entry::Claim(10, mark(1)))
        }),
        ("another peer's bids", Rule::Writer, |s| {
            op_of(&Entry::Bids(vec![bid(0, 1)]), s.host.me(), 2)
        }),
        ("another peer's counter", Rule::Writer, |s| {
            op_of(&Entry::Live(-1), s.host.me(), 2)
        }),
        ("another peer's claim", Rule::Writer, |s| {
            op_of(&Entry::Claim(0, mark(9)), s.host.me(), 2)
        }),
        ("an earlier chunk", Rule::Number, |s| {
            op_of(&Entry::Bids(vec![bid(0, 1)]), s.evil.me(), 1)
        }),
        ("specs of another author", Rule::Writer, |s| {
            let specs = vec![TaskSpec::command(["rm"])];
            by_evil(s, &Entry::Specs(SpecChunk { first: 3, specs }))
        }),
        ("environment of another author", Rule::Writer, |s| {
            let environment = Environment::default();
            by_evil(s, &Entry::Environment(environment.digest(), environment))
        }),
        ("end of another author", Rule::Writer, |s| {
            by_evil(s, &Entry::End(3))
        }),
        ("second header", Rule::Header, |s| {
            let committee = vec![s.evil.me()];
            let header = Header {
                format: Header::FORMAT,
                first: 1,
                committee,
                created: Wall(0),
            };
            by_evil(s, &Entry::Header(header))
        }),
        ("vote of no witness", Rule::Writer, |s| {
            let vote = Vote {
                index: 0,
                generation: Generation::FIRST,
                epoch: Epoch(1),
                claimant: Tag(1),
                accepted: None,
            };
            by_evil(s, &Entry::Votes(vec![vote]))
        }),
        ("committee of two", Rule::Header, |s| {
            let members = vec![s.evil.me(), s.host.me()];
            by_evil(s, &Entry::Motion(motion(1, members)))
        }),
        ("the same member twice", Rule::Header, |s| {
            let members = vec![s.evil.me(); 3];
            by_evil(s, &Entry::Motion(motion(1, members)))
        }),
        ("round after which there is none", Rule::Epoch, |s| {
            let members = vec![s.evil.me()];
            by_evil(s, &Entry::Motion(motion(u32::MAX, members)))
        }),
        ("accepted above the promise", Rule::Epoch, |s| {
            let ballot = |round| BallotNumber {
                round,
                proposer: Tag(1),
            };
            let proposal = motion(1, vec![s.evil.me()]).proposal;
            let stand = Stand {
                generation: Generation(1),
                promised: Some(ballot(1)),
                accepted: proposal.map(|proposal| (ballot(2), proposal)),
                seen: Vec::new(),
            };
            by_evil(s, &Entry::Stand(stand))
        }),
        ("member in a segment", Rule::Document, |s| {
            by_evil(s, &member(&keys(2), "evil"))
        }),
        ("index beyond the segment", Rule::Index, |s| {
            by_evil(s, &Entry::Claim(1024, mark(1)))
        }),
        ("empty batch", Rule::Batch, |s| {
            by_evil(s, &Entry::Bids(Vec::new()))
        }),
        ("endless harm", Rule::Length, |s| {
            let harm = |what: String| Harm {
                index: 0,
                epoch: Epoch(1),
                what,
            };
            by_evil(s, &Entry::Harms(vec![harm("x".repeat(201))]))
        }),
        ("task twice in a batch", Rule::Batch, |s| {
            by_evil(s, &Entry::Bids(vec![bid(5, 1), bid(5, 2)]))
        }),
        ("epoch 0", Rule::Epoch, |s| {
            by_evil(s, &Entry::Bids(vec![bid(5, 0)]))
        }),
        ("epoch after which there is none", Rule::Epoch, |s| {
            by_evil(s, &Entry::Bids(vec![bid(5, u32::MAX)]))
        }),
        ("outcome at such an epoch", Rule::Epoch, |s| {
            by_evil(s, &outcome(u32::MAX, ""))
        }),
        ("stamp beyond all clocks", Rule::Stamp, |s| {
            by_evil(s, &late_want(s.evil.me().tag(), u64::MAX, 0))
        }),
        ("stamp that no other can follow", Rule::Stamp, |s| {
            by_evil(s, &late_want(s.evil.me().tag(), 1, u32::MAX))
        }),
        ("outcome at epoch 0", Rule::Epoch, |s| {
            by_evil(s, &outcome(0, ""))
        }),
        ("endless reason", Rule::Length, |s| {
            by_evil(s, &outcome(1, &"x".repeat(5_000)))
        }),
        ("endless name", Rule::Length, |s| {
            by_evil(s, &want(s.evil.me().tag(), &"x".repeat(5_000)))
        }),
        ("stamp of another peer", Rule::Stamp, |s| {
            by_evil(s, &want(s.host.me().tag(), "me"))
        }),
        ("wait beyond any lease", Rule::Wait, |s| {
            by_evil(s, &Entry::Wait(Duration::MAX))
        }),
        ("huge step", Rule::Step, |s| {
            by_evil(s, &Entry::Live(i64::MIN))
        }),
        ("value with a tail", Rule::Value, |s| {
            let tag = s.evil.me().tag();
            put(&Key::Bids(tag, 2).to_string(), vec![1, 5, 1, 0, 0])
        }),
        ("long spelling of a number", Rule::Canonical, |s| {
            let tag = s.evil.me().tag();
            put(&Key::Bids(tag, 2).to_string(), vec![1, 0x85, 0, 1, 0])
        }),
        ("a list that claims to be endless", Rule::Value, |s| {
            let tag = s.evil.me().tag();
            put(
                &Key::Bids(tag, 2).to_string(),
                vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1],
            )
        }),
    ];
    for (name, rule, say) in rows {
        let mut scene = Scene::new();
        let mut change = scene.honest(&[Entry::Bids(vec![bid(2, 1)])]);
        change.operations = vec![say(&scene)];
        let doc = scene.doc();
        assert_eq!(
            scene.give(doc, &raw(change)),
            Err(Refused::Rule(*rule)),
            "{name}"
        );
        scene.is_unharmed();
    }
}
