//! A member that turns on the others, as a whole replica meets it: what it sends is dropped, counted under its own name and
//! author, and changes nothing about the task.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use crdt::ballots::VoteRegister;
use crdt::config::{Config, Offer};
use crdt::entry::{Bid, ClaimMark, Entry, Member, OutcomeAt};
use crdt::event::{Durability, Input, Links, NewTask, Output, RunEnd};
use crdt::fit::RunsAs;
use crdt::ids::{DocId, Epoch, Generation, Incarnation, PeerId, RunId, SegmentId, Tag, TaskId};
use crdt::keys::Ed25519Keys;
use crdt::ledger::Ledger;
use crdt::message::Message;
use crdt::registers::{BidRegister, Misfit, Registers};
use crdt::replica::Replica;
use crdt::task::{Outcome, TaskSpec, TaskState, Verdict, Want, Wish};
use crdt::time::{Hlc, Mono, Now, Timing, Wall};

const SECRET: [u8; 32] = [9; 32];
const START: Wall = Wall(1_700_000_000_000);

/// A node of one host that offers so much, and a member that is connected to it.
struct Scene {
    replica: Replica,
    evil: Ledger,
    mono: Duration,
    started: Vec<RunId>,
}

impl Scene {
    fn new(cpu_milli: u32) -> Self {
        let config = Config {
            keys: Box::new(Ed25519Keys::new(&[1; 32], &SECRET)),
            incarnation: Incarnation(10),
            name: "good".to_owned(),
            version: "test".to_owned(),
            timing: Timing::default(),
            committee: 1,
            replace_after: Duration::from_secs(600),
            most_claims: usize::MAX,
            most_losses: 0,
            offer: Offer {
                cpu_milli,
                memory_bytes: 1 << 30,
                ..Offer::default()
            },
            platform: "test".to_owned(),
            runs_as: RunsAs::Anyone,
            seed: 1,
        };
        let now = Now {
            mono: Mono(0),
            wall: START,
        };
        let mut scene = Self {
            replica: Replica::new(config, Vec::new(), &[], now),
            evil: member(2, &SECRET).0,
            mono: Duration::ZERO,
            started: Vec::new(),
        };
        scene.tell(Input::Wakeup);
        let joining = member(2, &SECRET).1;
        scene.give(vec![joining]);
        scene.tell(Input::PeerUp(scene.evil.me()));
        scene
    }

    fn now(&self) -> Now {
        let millis = u64::try_from(self.mono.as_millis()).unwrap();
        Now {
            mono: Mono(0) + self.mono,
            wall: Wall(START.0 + millis),
        }
    }

    /// Feeds an input and does at once what the replica asks; the evil member hears all that is written.
    fn tell(&mut self, input: Input) {
        let now = self.now();
        self.replica.handle(now, input);
        while let Some(output) = self.replica.poll_output() {
            match output {
                Output::Persist { token, records } => {
                    for record in &records {
                        let _heard = self.evil.accept(record);
                    }
                    self.replica.handle(now, Input::Persisted(token));
                }
                Output::Start(order) => {
                    self.started.push(order.run);
                    self.replica.handle(now, Input::RunStarted(order.run));
                }
                Output::Look(place) => self.replica.handle(now, Input::Looked(place, Ok(()))),
                Output::Send { .. }
                | Output::Extend(..)
                | Output::Signal(..)
                | Output::Kill(_)
                | Output::Withdraw(_)
                | Output::Reply(..)
                | Output::Notice(_) => {}
            }
        }
    }

    /// Lets time pass.
    fn pass(&mut self, span: Duration) {
        let end = self.mono + span;
        while self.mono < end {
            self.mono += Duration::from_millis(20);
            self.tell(Input::Wakeup);
        }
    }

    fn give(&mut self, records: Vec<Arc<[u8]>>) {
        let bytes = Message::Changes(records).encode();
        let from = self.evil.me();
        self.tell(Input::Frame { from, bytes });
    }

    fn submit(&mut self) -> (TaskId, SegmentId) {
        let task = NewTask {
            spec: TaskSpec::command(["true"]),
            env: None,
            links: Links::default(),
        };
        self.tell(Input::Submit {
            token: 1,
            tasks: vec![task],
            durable: Durability::Local,
        });
        self.pass(Duration::from_millis(200));
        let id = self.replica.task_ids().last().unwrap();
        let author = self.replica.own_peer();
        (id, SegmentId { author, n: 0 })
    }

    /// The evil member writes this, by its own rules, and the node hears of it.
    fn write(&mut self, segment: SegmentId, entries: &[Entry]) {
        let doc = DocId::Segment(segment);
        let (record, count) = self.evil.write(doc, entries);
        self.evil.persisted(doc, count);
        self.give(vec![record]);
    }

    /// What is counted against whom.
    fn offences(&self) -> Vec<(PeerId, &'static str, u64)> {
        let all = self.replica.offences().iter();
        all.map(|(peer, offence, times)| (peer, offence.name(), times.count))
            .collect()
    }
}

/// A member's ledger, and the change with which it joins.
fn member(seed: u8, secret: &[u8; 32]) -> (Ledger, Arc<[u8]>) {
    let keys = Ed25519Keys::new(&[seed; 32], secret);
    let mut ledger = Ledger::new(Box::new(keys), Incarnation(u64::from(seed)));
    let member = Member {
        name: format!("member-{seed}"),
        proof: ledger.keys().admission(&ledger.me()),
        addresses: Vec::new(),
        joined: START,
        left: false,
    };
    let (record, count) = ledger.write(DocId::Directory, &[Entry::Member(member)]);
    ledger.persisted(DocId::Directory, count);
    (ledger, record)
}

fn bid(epoch: Epoch, gave_up: bool) -> Entry {
    Entry::Bids(vec![Bid {
        index: 0,
        epoch,
        gave_up,
    }])
}

fn outcome(writer: PeerId, epoch: Epoch) -> Entry {
    Entry::Outcomes(vec![OutcomeAt {
        index: 0,
        epoch,
        outcome: Outcome {
            origin: (epoch, writer.tag()),
            verdict: Verdict::Success,
            report: None,
            reason: None,
        },
    }])
}

#[test]
fn what_a_member_must_not_write_changes_no_task_and_is_counted() {
    let mut scene = Scene::new(0);
    let (id, segment) = scene.submit();
    let before = scene.replica.task(id).unwrap();
    assert_eq!(
        (before.state, before.epoch),
        (TaskState::Pending, Epoch::NONE)
    );
    let evil = scene.evil.me();
    let mark = ClaimMark {
        epoch: Epoch(9),
        started: Some(START),
    };
    scene.write(segment, &[bid(Epoch::LAST, false)]);
    scene.write(segment, &[outcome(evil, Epoch(5))]);
    scene.write(segment, &[Entry::Claim(0, mark)]);
    scene.write(segment, &[bid(Epoch::NONE.leap().next(), true)]);
    let after = scene.replica.task(id).unwrap();
    assert_eq!(
        (after.state, after.epoch, after.started, after.attempts),
        (before.state, before.epoch, before.started, before.attempts)
    );
    assert!(scene.replica.explain_registers(id).is_empty());
    assert_eq!(
        scene.offences(),
        [(evil, "epoch-leap", 2), (evil, "outcome-without-bid", 2)]
    );
    // One that goes back, after one that stands.
    scene.write(segment, &[bid(Epoch(3), true)]);
    scene.write(segment, &[bid(Epoch(2), false)]);
    assert_eq!(scene.replica.task(id).unwrap().epoch, Epoch(3));
    assert!(scene.offences().contains(&(evil, "register-went-back", 1)));
}

#[test]
fn epochs_driven_up_in_many_steps_do_not_keep_a_task_from_running() {
    let mut scene = Scene::new(1_000);
    let (first, segment) = scene.submit();
    assert_eq!(scene.started.len(), 1, "it fills the host");
    let (second, _) = scene.submit();
    let mut epoch = Epoch::NONE;
    for _ in 0..5 {
        epoch = epoch.leap();
        let bid = Bid {
            index: 1,
            epoch,
            gave_up: true,
        };
        scene.write(segment, &[Entry::Bids(vec![bid])]);
    }
    assert_eq!(scene.replica.task(second).unwrap().epoch, epoch);
    assert_eq!(scene.offences(), []);
    let run = scene.started[0];
    assert_eq!(run.task, first);
    let end = RunEnd::Impossible {
        code: 127,
        why: "no such command".to_owned(),
    };
    scene.tell(Input::RunEnded(run, end));
    scene.pass(Duration::from_secs(30));
    let mine = scene.started.iter().find(|run| run.task == second).unwrap();
    assert!(mine.epoch > epoch, "{mine:?}");
    assert_eq!(scene.replica.counters().epoch_leaps, 0, "it never leapt");
}

#[test]
fn stamps_of_tomorrow_move_no_other_task() {
    let mut scene = Scene::new(0);
    let (id, segment) = scene.submit();
    let evil = scene.evil.me();
    let stamp = Hlc {
        wall_ms: START.0 + 86_400_000,
        count: 0,
        tag: evil.tag().0,
    };
    let wish = Wish::Close { size: 1 };
    let by = "evil".to_owned();
    scene.write(segment, &[Entry::Want(0, Want { stamp, by, wish })]);
    assert_eq!(scene.replica.counters().absurd_stamps, 1);
    assert_eq!(scene.offences(), [(evil, "absurd-stamp", 1)]);
    assert_eq!(scene.replica.task(id).unwrap().state, TaskState::Pending);
}

#[test]
fn another_mesh_and_forgers_are_named_by_who_brought_it() {
    let mut scene = Scene::new(0);
    let carrier = scene.evil.me();
    let (_, foreign) = member(3, &[8; 32]);
    scene.give(vec![foreign]);
    let (_, joining) = member(4, &SECRET);
    let mut forged = joining.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    scene.give(vec![forged.into()]);
    let from = carrier;
    scene.tell(Input::Frame {
        from,
        bytes: Arc::from(&b"junk"[..]),
    });
    scene.give(vec![Arc::from(&b"no envelope"[..])]);
    let expected = [
        (carrier, "bad-frame", 1),
        (carrier, "malformed-envelope", 1),
        (carrier, "forged-signature", 1),
        (carrier, "rule-proof", 1),
    ];
    assert_eq!(scene.offences(), expected);
    assert_eq!(scene.replica.members().len(), 2, "nobody has joined by it");
    assert_eq!(scene.replica.counters().quarantined, 0);
    scene.give(vec![joining]);
    assert_eq!(
        scene.replica.members().len(),
        3,
        "the forgery harmed nobody"
    );
}

/// What one of two writers says next.
#[derive(Clone, Copy)]
enum Says {
    Bid(u32),
    Vote(u32),
    Mark(u32),
    Ends(u32),
}

fn say(registers: &mut Registers, writer: Tag, says: Says) -> Result<(), Misfit> {
    match says {
        Says::Bid(epoch) => registers.fold_bid(
            writer,
            BidRegister {
                epoch: Epoch(epoch),
                gave_up: false,
            },
        ),
        Says::Vote(epoch) => registers.fold_vote(
            writer,
            Generation::FIRST,
            VoteRegister {
                epoch: Epoch(epoch),
                claimant: Tag(1),
                accepted: None,
            },
        ),
        Says::Mark(epoch) => registers.fold_mark(
            writer,
            ClaimMark {
                epoch: Epoch(epoch),
                started: Some(START),
            },
        ),
        Says::Ends(epoch) => {
            let outcome = Outcome {
                origin: (Epoch(epoch), writer),
                verdict: Verdict::Success,
                report: None,
                reason: None,
            };
            registers.fold_outcome(writer, Epoch(epoch), Arc::new(outcome))
        }
    }
}

#[test]
fn whatever_comes_first_all_judge_alike() {
    let leap = Epoch::LEAP;
    // An honest writer that climbs after a dishonest one, votes for it, and runs in the end.
    let honest = [
        Says::Vote(2 * leap),
        Says::Bid(leap),
        Says::Bid(2 * leap),
        Says::Bid(2 * leap + 1),
        Says::Mark(2 * leap + 1),
        Says::Ends(2 * leap + 1),
    ];
    let dishonest = [
        Says::Ends(1),
        Says::Bid(leap),
        Says::Bid(2 * leap + 1),
        Says::Bid(2 * leap),
        Says::Mark(2 * leap + 1),
        Says::Vote(u32::MAX / 2),
    ];
    let bad = [
        Err(Misfit::NoBid),
        Ok(()),
        Err(Misfit::Leap),
        Ok(()),
        Err(Misfit::NoBid),
        Ok(()),
    ];
    let all = honest.len() + dishonest.len();
    let mut seen = None;
    for order in 0..1_u32 << all {
        if order.count_ones() as usize != honest.len() {
            continue;
        }
        let mut registers = Registers::default();
        let (mut well, mut ill) = (honest.iter(), dishonest.iter().zip(bad));
        for place in 0..all {
            if order >> place & 1 == 1 {
                let said = say(&mut registers, Tag(1), *well.next().unwrap());
                assert_eq!(said, Ok(()), "in order {order:b}");
            } else {
                let (says, expected) = ill.next().unwrap();
                assert_eq!(say(&mut registers, Tag(2), *says), expected);
            }
        }
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            registers.top(),
            registers.bids().collect::<Vec<_>>(),
            registers.votes().collect::<Vec<_>>(),
            registers.outcomes().collect::<Vec<_>>(),
            registers.mark()
        );
        assert_eq!(*seen.get_or_insert_with(|| shown.clone()), shown);
    }
}
