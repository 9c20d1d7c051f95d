//! Tests: changes that no honest peer writes. Each is signed by a member, as the strongest attacker can, and refused by name.
//!
//! Rows follow the hazards of Automerge 0.12 as measured: a few of these changes panic in `apply_changes`, hang in
//! `from_bytes`, or make a document that saves and never loads again.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::num::NonZeroU64;
use std::sync::Arc;

use automerge::legacy::{Key as OpKey, MarkData, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ChangeHash, ExpandedChange, ObjType, PatchLog, ROOT};
use automerge::{ReadDoc, ScalarValue};
use proptest::prelude::*;

use super::envelope::{Envelope, Head, seal};
use super::schema::{Key, Value, Writer, spell};
use super::*;
use crate::entry::{Bid, OutcomeAt, SpecChunk, Vote};
use crate::ids::{Digest, Epoch};
use crate::keys::Ed25519Keys;
use crate::task::{Environment, Outcome, TaskSpec, Verdict, Want, Wish};
use crate::time::{Hlc, Wall};

const SECRET: [u8; 32] = [9; 32];

fn keys(seed: u8) -> Ed25519Keys {
    Ed25519Keys::new(&[seed; 32], &SECRET)
}

fn member(keys: &dyn Keys, name: &str) -> Entry {
    Entry::Member(Member {
        name: name.to_owned(),
        proof: keys.admission(&keys.me()),
        addresses: Vec::new(),
        joined: Wall(0),
        left: false,
    })
}

fn bid(index: u16, epoch: u32) -> Bid {
    Bid { index, epoch: Epoch(epoch), gave_up: false }
}

fn mark(epoch: u32) -> ClaimMark {
    ClaimMark { epoch: Epoch(epoch), started: Wall(5) }
}

/// A host with an open segment, and a member that turns on it.
struct Scene {
    host: Ledger,
    evil: Ledger,
    segment: SegmentId,
}

impl Scene {
    fn new() -> Self {
        let mut host = Ledger::new(Box::new(keys(1)), Incarnation(10));
        let mut evil = Ledger::new(Box::new(keys(2)), Incarnation(20));
        let joins = [
            host.write(DocId::Directory, &[member(&keys(1), "host")]).0,
            evil.write(DocId::Directory, &[member(&keys(2), "evil")]).0,
        ];
        let committee = vec![host.me()];
        let header = Header { format: Header::FORMAT, first: 1, committee, created: Wall(1) };
        let segment = host.open_segment(header);
        let doc = DocId::Segment(segment);
        let specs = SpecChunk { first: 0, specs: vec![TaskSpec::command(["true"]); 3] };
        let opening = host.write(doc, &[Entry::Specs(specs)]).0;
        for record in [&joins[0], &opening] {
            evil.accept(record).unwrap();
        }
        host.accept(&joins[1]).unwrap();
        let first = evil.write(doc, &[Entry::Claim(0, mark(1)), Entry::Live(1)]).0;
        assert!(matches!(host.accept(&first), Ok(Accepted::New(_))));
        Self { host, evil, segment }
    }

    fn doc(&self) -> DocId {
        DocId::Segment(self.segment)
    }

    /// The head of the evil member's next change.
    fn head(&self, doc: DocId) -> Head {
        let author = self.evil.me();
        let count = self.host.count(doc, &author) + 1;
        Head { doc, author, incarnation: Incarnation(20), count }
    }

    /// What its next change would honestly be.
    fn honest(&mut self, entries: &[Entry]) -> ExpandedChange {
        let record = self.evil.write(self.doc(), entries).0;
        let chunk = Envelope::parse(&record).unwrap().chunk.to_vec();
        automerge::Change::from_bytes(chunk).unwrap().decode()
    }

    /// Gives the host a signed chunk and returns its answer.
    fn give(&mut self, doc: DocId, chunk: &[u8]) -> Result<Accepted, Refused> {
        let record = seal(&self.head(doc), chunk, self.evil.keys());
        self.host.accept(&record)
    }

    /// The host's document is as it was, can be saved and loaded, and takes honest changes of others.
    fn is_unharmed(&mut self) {
        let doc = self.doc();
        let own = self.host.count(doc, &self.host.me());
        self.host.write(doc, &[Entry::Bids(vec![bid(1, 1)])]);
        assert_eq!(self.host.count(doc, &self.host.me()), own + 1);
        let heads = self.host.heads(doc);
        let document = &self.host.documents[&doc];
        let saved = document.saved();
        let mut loaded = Automerge::load(&saved).unwrap().get_heads();
        loaded.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for head in &loaded {
            hasher.update(&head.0);
        }
        assert_eq!(heads, *hasher.finalize().as_bytes());
        assert_eq!(self.host.stats().failed_applies, 0);
    }
}

fn raw(change: ExpandedChange) -> Vec<u8> {
    automerge::Change::from(change).raw_bytes().to_vec()
}

/// A put of bytes by the evil member's rules.
fn put(key: &str, bytes: Vec<u8>) -> Op {
    Op {
        action: OpType::Put(ScalarValue::Bytes(bytes)),
        obj: ObjectId::Root,
        key: OpKey::Map(key.into()),
        pred: SortedVec::new(),
        insert: false,
    }
}

/// The operation of an entry, by whoever is said to write it.
fn op_of(entry: &Entry, peer: PeerId, count: u32) -> Op {
    let (key, value) = spell(entry, &Writer { peer, tag: peer.tag(), count });
    let action = match value {
        Value::Bytes(bytes) => OpType::Put(ScalarValue::Bytes(bytes)),
        Value::Step(step) => OpType::Put(ScalarValue::counter(step)),
    };
    Op { action, ..put(&key.to_string(), Vec::new()) }
}

#[test]
fn forged_structure_is_refused_by_name() {
    type Forge = fn(&mut ExpandedChange, &Scene);
    let rows: &[(&str, Rule, Forge)] = &[
        ("sequence gap", Rule::Sequence, |c, _| c.seq += 1),
        ("sequence again", Rule::Sequence, |c, _| c.seq -= 1),
        ("foreign actor", Rule::Actor, |c, _| c.actor_id = ActorId::from([7; 16])),
        ("no dependency", Rule::Dependency, |c, _| c.deps.clear()),
        ("unknown dependency", Rule::Dependency, |c, _| c.deps = vec![ChangeHash([7; 32])]),
        ("one more dependency", Rule::Dependency, |c, _| c.deps.push(ChangeHash([7; 32]))),
        ("ten thousand dependencies", Rule::Dependency, |c, _| {
            c.deps = (0..10_000_u32).map(|n| ChangeHash(Digest::of(&n.to_le_bytes()).0)).collect();
        }),
        ("the end of the counters", Rule::Start, |c, _| {
            c.start_op = NonZeroU64::new((1 << 32) - 1).unwrap();
        }),
        ("a jump of the counters", Rule::Start, |c, _| {
            c.start_op = c.start_op.checked_add(1 << 20).unwrap();
        }),
        ("counters that go back", Rule::Start, |c, _| c.start_op = NonZeroU64::MIN),
        ("a time", Rule::Decoration, |c, _| c.time = 1),
        ("a message", Rule::Decoration, |c, _| c.message = Some("hello".to_owned())),
        ("an author footer", Rule::Decoration, |c, _| c.extra_bytes = vec![1, 2, 3, 4]),
        ("no operation", Rule::Operations, |c, _| c.operations.clear()),
        ("too many operations", Rule::Operations, |c, _| {
            c.operations = vec![c.operations[0].clone(); 4097];
        }),
        ("missing object", Rule::Object, |c, _| {
            c.operations[0].obj = ObjectId::Id(OpId(77, c.actor_id.clone()));
        }),
        ("list key", Rule::List, |c, _| c.operations[0].key = OpKey::head()),
        ("insertion", Rule::List, |c, _| c.operations[0].insert = true),
        ("delete", Rule::Action, |c, _| c.operations[0].action = OpType::Delete),
        ("new object", Rule::Action, |c, _| c.operations[0].action = OpType::Make(ObjType::Map)),
        ("mark", Rule::Columns, |c, _| {
            let (name, value) = ("bold".into(), ScalarValue::Null);
            c.operations[0].action = OpType::MarkBegin(MarkData { name, value, expand: true });
        }),
        ("text value", Rule::Value, |c, _| {
            c.operations[0].action = OpType::Put(ScalarValue::Str("text".into()));
        }),
        ("increment of nothing", Rule::Value, |c, _| {
            c.operations[0].action = OpType::Increment(1);
        }),
        ("counter in place of bytes", Rule::Value, |c, _| {
            c.operations[0].action = OpType::Put(ScalarValue::counter(1));
        }),
        ("counter put anew", Rule::Canonical, |c, _| {
            c.operations[1].action = OpType::Put(ScalarValue::counter(1));
        }),
        ("predecessor missing", Rule::Predecessor, |c, _| {
            c.operations[0].pred = SortedVec::new();
        }),
        ("predecessor unknown", Rule::Predecessor, |c, _| {
            c.operations[0].pred = vec![OpId(77, c.actor_id.clone())].into();
        }),
        ("predecessor of another key", Rule::Predecessor, |c, _| {
            c.operations[0].pred = c.operations[1].pred.clone();
        }),
        ("predecessor of another actor", Rule::Predecessor, |c, _| {
            c.operations[0].pred = vec![OpId(1, ActorId::from([7; 16]))].into();
        }),
        ("key twice", Rule::KeyTwice, |c, _| c.operations.push(c.operations[1].clone())),
    ];
    for (name, rule, forge) in rows {
        let mut scene = Scene::new();
        let mut change = scene.honest(&[Entry::Claim(0, mark(2)), Entry::Live(-1)]);
        forge(&mut change, &scene);
        let doc = scene.doc();
        assert_eq!(scene.give(doc, &raw(change)), Err(Refused::Rule(*rule)), "{name}");
        assert_eq!(scene.host.stats().rules[rule], 1, "{name}");
        assert_eq!(scene.give(doc, b""), Err(Refused::Quarantined), "{name}");
        let told = scene.host.take_quarantined();
        assert_eq!(told, [(doc, scene.evil.me(), rule.to_string())], "{name}");
        scene.is_unharmed();
    }
}

#[test]
fn forged_words_are_refused_by_name() {
    type Say = fn(&Scene) -> Op;
    fn by_evil(scene: &Scene, entry: &Entry) -> Op {
        op_of(entry, scene.evil.me(), 2)
    }
    fn want(tag: Tag, by: &str) -> Entry {
        let stamp = Hlc { wall_ms: 1, count: 0, tag: tag.0 };
        let wish = Wish::Close { size: 1 };
        Entry::Want(0, Want { stamp, by: by.to_owned(), wish })
    }
    fn outcome(epoch: u32, reason: &str) -> Entry {
        let outcome = Outcome {
            origin: (Epoch(1), Tag(1)),
            verdict: Verdict::Success,
            report: None,
            reason: Some(reason.to_owned()),
        };
        Entry::Outcomes(vec![OutcomeAt { index: 0, epoch: Epoch(epoch), outcome }])
    }
    let rows: &[(&str, Rule, Say)] = &[
        ("unknown key", Rule::Key, |_| put("x", Vec::new())),
        ("another spelling of an index", Rule::Canonical, |s| {
            Op { key: OpKey::Map("c000A".into()), ..by_evil(s, &Entry::Claim(10, mark(1))) }
        }),
        ("another peer's bids", Rule::Writer, |s| {
            op_of(&Entry::Bids(vec![bid(0, 1)]), s.host.me(), 2)
        }),
        ("another peer's counter", Rule::Writer, |s| op_of(&Entry::Live(-1), s.host.me(), 2)),
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
        ("end of another author", Rule::Writer, |s| by_evil(s, &Entry::End(3))),
        ("second header", Rule::Header, |s| {
            let committee = vec![s.evil.me()];
            let header = Header { format: 1, first: 1, committee, created: Wall(0) };
            by_evil(s, &Entry::Header(header))
        }),
        ("vote of no witness", Rule::Writer, |s| {
            let vote = Vote { index: 0, epoch: Epoch(1), claimant: Tag(1), accepted: None };
            by_evil(s, &Entry::Votes(vec![vote]))
        }),
        ("member in a segment", Rule::Document, |s| by_evil(s, &member(&keys(2), "evil"))),
        ("index beyond the segment", Rule::Index, |s| by_evil(s, &Entry::Claim(1024, mark(1)))),
        ("empty batch", Rule::Batch, |s| by_evil(s, &Entry::Bids(Vec::new()))),
        ("task twice in a batch", Rule::Batch, |s| {
            by_evil(s, &Entry::Bids(vec![bid(5, 1), bid(5, 2)]))
        }),
        ("epoch 0", Rule::Epoch, |s| by_evil(s, &Entry::Bids(vec![bid(5, 0)]))),
        ("outcome at epoch 0", Rule::Epoch, |s| by_evil(s, &outcome(0, ""))),
        ("endless reason", Rule::Length, |s| by_evil(s, &outcome(1, &"x".repeat(5_000)))),
        ("endless name", Rule::Length, |s| by_evil(s, &want(s.evil.me().tag(), &"x".repeat(5_000)))),
        ("stamp of another peer", Rule::Stamp, |s| by_evil(s, &want(s.host.me().tag(), "me"))),
        ("huge step", Rule::Step, |s| by_evil(s, &Entry::Live(i64::MIN))),
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
            put(&Key::Bids(tag, 2).to_string(), vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1])
        }),
    ];
    for (name, rule, say) in rows {
        let mut scene = Scene::new();
        let mut change = scene.honest(&[Entry::Bids(vec![bid(2, 1)])]);
        change.operations = vec![say(&scene)];
        let doc = scene.doc();
        assert_eq!(scene.give(doc, &raw(change)), Err(Refused::Rule(*rule)), "{name}");
        scene.is_unharmed();
    }
}

/// LEB128, unsigned.
fn number(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// A change chunk around this body, with the checksum of `template` (which is looked at last).
fn chunk_of(template: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = template[..8].to_vec();
    chunk.push(kind);
    number(body.len() as u64, &mut chunk);
    chunk.extend_from_slice(body);
    chunk
}

/// The length of a chunk's body: all but magic, checksum, kind and that length.
fn chunk_body_length(chunk: &[u8]) -> usize {
    (1..=chunk.len()).rev().find(|n| chunk_of(chunk, 1, &chunk[chunk.len() - n..]) == chunk).unwrap()
}

#[test]
fn bombs_are_refused_before_they_are_unrolled() {
    for exponent in [12, 20, 28, 40, 62] {
        let mut scene = Scene::new();
        let change = scene.honest(&[Entry::Live(1)]);
        let honest = raw(change.clone());
        let mut body = vec![1];
        body.extend_from_slice(&change.deps[0].0);
        body.push(16);
        body.extend_from_slice(change.actor_id.to_bytes());
        number(change.seq, &mut body);
        number(change.start_op.get(), &mut body);
        body.extend([0, 0, 0]);
        // Keys, insertions, actions and value lengths, each one run of 2^exponent; 69 bytes in all were 2^20 operations.
        let mut run = Vec::new();
        number(1 << exponent, &mut run);
        if run.last().is_some_and(|byte| byte & 0x40 != 0) {
            *run.last_mut().unwrap() |= 0x80;
            run.push(0);
        }
        let columns: [(u8, &[u8]); 4] =
            [(0x15, &[1, b'x']), (0x34, &[]), (0x42, &[1]), (0x56, &[7])];
        body.push(4);
        for (spec, value) in &columns {
            body.push(*spec);
            number((run.len() + value.len()) as u64, &mut body);
        }
        for (_, value) in &columns {
            body.extend_from_slice(&run);
            body.extend_from_slice(value);
        }
        let doc = scene.doc();
        // 2^12 operations are few enough to be unrolled, and then fall over their key.
        let rule = if exponent == 12 { Rule::Key } else { Rule::Operations };
        assert!(body.len() < 130, "small on the wire");
        let given = scene.give(doc, &chunk_of(&honest, 1, &body));
        assert_eq!(given, Err(Refused::Rule(rule)), "2^{exponent}");
        scene.is_unharmed();
    }
}

#[test]
fn other_chunks_are_refused() {
    let many: Vec<_> = (0..200).map(|index| bid(index, 1)).collect();
    let mut scene = Scene::new();
    let doc = scene.doc();
    let mut change = automerge::Change::from(scene.honest(&[Entry::Bids(many)]));
    let plain = change.raw_bytes().to_vec();
    let compressed = change.bytes().to_vec();
    assert_eq!((plain[8], compressed[8]), (1, 2), "Automerge compresses a change of this size");
    let mut document = Automerge::new();
    document.transact(|tx| tx.put(ROOT, "x", 1)).unwrap();
    let rows: [(&str, Rule, Vec<u8>); 7] = [
        ("compressed", Rule::Compressed, compressed),
        ("document", Rule::Chunk, document.save()),
        ("bundle", Rule::Chunk, chunk_of(&plain, 3, &plain[10..])),
        ("nothing", Rule::Chunk, Vec::new()),
        ("two chunks", Rule::Chunk, [&plain[..], &plain].concat()),
        ("wrong magic", Rule::Chunk, [&[0][..], &plain[1..]].concat()),
        ("wrong checksum", Rule::Canonical, [&plain[..4], &[0; 4], &plain[8..]].concat()),
    ];
    for (name, rule, chunk) in rows {
        let mut scene = Scene::new();
        assert_eq!(scene.give(doc, &chunk), Err(Refused::Rule(rule)), "{name}");
        scene.is_unharmed();
    }
    assert!(matches!(Scene::new().give(doc, &plain), Ok(Accepted::New(_))), "the honest one fits");
}

#[test]
fn admission_is_proved_and_tags_are_unique() {
    let mut scene = Scene::new();
    let stranger = Ed25519Keys::new(&[3; 32], &[8; 32]);
    let mut foreign = Ledger::new(Box::new(stranger), Incarnation(1));
    let uninvited = foreign.write(DocId::Directory, &[member(foreign.keys(), "x")]).0;
    assert_eq!(scene.host.accept(&uninvited), Err(Refused::Rule(Rule::Proof)));
    let author = foreign.me();
    let beat = foreign.write(DocId::Presence(1), &[beat(60_001)]).0;
    assert_eq!(scene.host.accept(&beat), Ok(Accepted::Stranger { author }));
    assert!(scene.host.take_quarantined().is_empty(), "a stranger leaves no trace");
    assert!(!scene.host.is_member(&author));

    let tag = author.tag();
    scene.host.peers.insert(tag, PeerId([0; 32]));
    let mut twin = Ledger::new(Box::new(Ed25519Keys::new(&[3; 32], &SECRET)), Incarnation(1));
    let record = twin.write(DocId::Directory, &[member(twin.keys(), "x")]).0;
    assert_eq!(scene.host.accept(&record), Err(Refused::Rule(Rule::Tag)));
    scene.host.peers.remove(&tag);
    assert!(matches!(scene.host.accept(&record), Ok(Accepted::New(_))));
    assert_eq!(scene.host.peer_of(tag), Some(author));
}

fn beat(wall_ms: u64) -> Entry {
    Entry::Beat(crate::entry::Beat {
        count: 1,
        wall: Wall(wall_ms),
        cpu_milli: 1_000,
        free_milli: 1_000,
        memory_bytes: 0,
        running: 0,
        load_centi: 0,
        version: String::new(),
        neighbours: Vec::new(),
    })
}

#[test]
fn an_equivocation_ends_the_chain_and_a_forgery_does_not() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let honest = scene.evil.since(doc, &[], usize::MAX);
    assert!(honest.iter().all(|record| Ledger::peek(record).unwrap().1 != scene.evil.me()));
    let held = scene.host.since(doc, &[], usize::MAX).pop().unwrap();
    assert_eq!(scene.host.accept(&held), Ok(Accepted::Known), "a replay");
    let head = Envelope::parse(&held).unwrap().head;
    assert_eq!((head.author, head.count), (scene.evil.me(), 1));

    let framed = seal(&head, b"something else", &keys(1));
    assert_eq!(scene.host.accept(&framed), Err(Refused::Signature), "others cannot frame it");
    let mut again = held.to_vec();
    *again.last_mut().unwrap() ^= 1;
    assert_eq!(scene.host.accept(&again.into()), Ok(Accepted::Known), "same words");
    assert!(scene.host.take_quarantined().is_empty());

    let second = seal(&head, b"something else", scene.evil.keys());
    assert_eq!(scene.host.accept(&second), Err(Refused::Equivocation));
    assert_eq!(scene.host.take_quarantined().len(), 1);
    let next = scene.evil.write(doc, &[Entry::Live(1)]).0;
    assert_eq!(scene.host.accept(&next), Err(Refused::Quarantined));
    scene.is_unharmed();
}

#[test]
fn an_earlier_incarnation_never_comes_back() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let log = scene.host.since(doc, &[], usize::MAX);
    let mut later = Ledger::new(Box::new(keys(2)), Incarnation(21));
    for record in scene.host.since(DocId::Directory, &[], usize::MAX).iter().chain(&log) {
        later.recover(record).unwrap();
    }
    let second = later.write(doc, &[Entry::Live(1)]).0;
    assert!(matches!(scene.host.accept(&second), Ok(Accepted::New(_))));
    let chunk = Envelope::parse(&second).unwrap().chunk;
    assert_eq!(scene.give(doc, chunk), Err(Refused::Rule(Rule::Incarnation)));
    scene.is_unharmed();
}

#[test]
fn honest_changes_are_what_automerge_itself_writes() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let me = scene.evil.me();
    let tag = me.tag();
    let writes: [&[Entry]; 3] = [
        &[Entry::Claim(0, mark(2)), Entry::Live(-1), Entry::Bids(vec![bid(0, 2), bid(1, 1)])],
        &[Entry::Count(Total::Lost, 7), Entry::Live(1), Entry::Claim(1, mark(1))],
        &[Entry::Count(Total::Lost, -2), Entry::Claim(0, mark(3))],
    ];
    for entries in writes {
        let count = scene.evil.count(doc, &me) + 1;
        let heads_before = {
            scene.evil.settle(doc);
            scene.evil.documents[&doc].automerge().unwrap().clone()
        };
        let record = scene.evil.write(doc, entries).0;
        let chunk = Envelope::parse(&record).unwrap().chunk;
        let ours = automerge::Change::from_bytes(chunk.to_vec()).unwrap();
        let mut theirs = heads_before.with_actor(ours.actor_id().clone());
        let mut tx = theirs.transaction_at(PatchLog::inactive(), ours.deps()).unwrap();
        for entry in entries {
            let (key, value) = spell(entry, &Writer { peer: me, tag, count });
            let text = key.to_string();
            match value {
                Value::Bytes(bytes) => tx.put(ROOT, text, ScalarValue::Bytes(bytes)).unwrap(),
                Value::Step(step) if tx.get(ROOT, &text).unwrap().is_none() => {
                    tx.put(ROOT, text, ScalarValue::counter(step)).unwrap();
                }
                Value::Step(step) => tx.increment(ROOT, text, step).unwrap(),
            }
        }
        tx.commit_with(CommitOptions::default().with_time(0));
        let change = theirs.get_last_local_change().unwrap();
        assert_eq!(change.raw_bytes(), chunk);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever a member signs: no panic, and nothing enters but the honest bytes.
    #[test]
    fn prop_no_mutation_enters(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let mut scene = Scene::new();
        let entries = [Entry::Claim(0, mark(2)), Entry::Live(-1), Entry::Bids(vec![bid(0, 2)])];
        let honest = raw(scene.honest(&entries));
        let body_at = honest.len() - chunk_body_length(&honest);
        let mut body = honest[body_at..].to_vec();
        for (place, byte, kind) in edits {
            let place = place.index(body.len());
            match kind {
                0 => body[place] = byte,
                1 => body[place] ^= 1 << (byte % 8),
                2 => body.insert(place, byte),
                _ => body.truncate(place.max(1)),
            }
        }
        // As an attacker would: the frame is right, so that what is in it is tried.
        let chunk = chunk_of(&honest, 1, &body);
        let doc = scene.doc();
        let given = scene.give(doc, &chunk);
        prop_assert_eq!(matches!(given, Ok(Accepted::New(_))), chunk == honest);
        scene.is_unharmed();
    }

    /// The same with well-formed changes whose parts are shuffled, repeated or dropped.
    #[test]
    fn prop_no_rearrangement_enters(
        order in prop::collection::vec(0..3_usize, 0..5),
        start in 0..40_u64,
        seq in 0..4_u64,
    ) {
        let mut scene = Scene::new();
        let entries = [Entry::Claim(0, mark(2)), Entry::Live(-1), Entry::Bids(vec![bid(0, 2)])];
        let honest = scene.honest(&entries);
        let mut change = honest.clone();
        change.operations = order.iter().map(|place| honest.operations[*place].clone()).collect();
        change.seq = seq;
        change.start_op = NonZeroU64::new(start.max(1)).unwrap();
        let sound = change.seq == honest.seq
            && change.start_op == honest.start_op
            && !order.is_empty()
            && order.iter().all(|place| order.iter().filter(|p| *p == place).count() == 1);
        let doc = scene.doc();
        let given = scene.give(doc, &raw(change));
        prop_assert_eq!(matches!(given, Ok(Accepted::New(_))), sound);
        scene.is_unharmed();
    }
}

#[test]
fn every_flip_and_every_cut_of_an_envelope_is_refused() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let record = scene.evil.write(doc, &[Entry::Bids(vec![bid(0, 2)]), Entry::Live(1)]).0;
    for place in 0..record.len() {
        for bit in 0..8 {
            let mut bad = record.to_vec();
            bad[place] ^= 1 << bit;
            let given = scene.host.accept(&bad.into());
            assert!(!matches!(given, Ok(Accepted::New(_))), "{place}.{bit}: {given:?}");
        }
        let cut: Arc<[u8]> = record[..place].into();
        assert!(!matches!(scene.host.accept(&cut), Ok(Accepted::New(_))), "{place}");
        let _ = Ledger::peek(&cut);
    }
    let long: Arc<[u8]> = vec![1; MAX_ENVELOPE + 1].into();
    assert_eq!(scene.host.accept(&long), Err(Refused::Oversized(MAX_ENVELOPE + 1)));
    assert!(scene.host.take_quarantined().is_empty(), "unsigned junk blames nobody");
    assert!(matches!(scene.host.accept(&record), Ok(Accepted::New(_))), "and blocks nothing");
}
