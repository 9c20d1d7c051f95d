//! Well-formed changes of a wrong shape: what Automerge would take, and some of what would break it.

use std::num::NonZeroU64;

use automerge::legacy::{Key as OpKey, MarkData, ObjectId, OpId, OpType, SortedVec};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{
    ActorId, ChangeHash, ExpandedChange, ObjType, PatchLog, ROOT, ReadDoc, ScalarValue,
};
use proptest::prelude::*;

use super::*;
use crate::ids::Digest;

#[test]
fn forged_structure_is_refused_by_name() {
    type Forge = fn(&mut ExpandedChange, &Scene);
    let rows: &[(&str, Rule, Forge)] = &[
        ("sequence gap", Rule::Sequence, |c, _| c.seq += 1),
        ("sequence again", Rule::Sequence, |c, _| c.seq -= 1),
        ("foreign actor", Rule::Actor, |c, _| {
            c.actor_id = ActorId::from([7; 16])
        }),
        ("no dependency", Rule::Dependency, |c, _| c.deps.clear()),
        ("unknown dependency", Rule::Dependency, |c, _| {
            c.deps = vec![ChangeHash([7; 32])]
        }),
        ("one more dependency", Rule::Dependency, |c, _| {
            c.deps.push(ChangeHash([7; 32]))
        }),
        ("ten thousand dependencies", Rule::Dependency, |c, _| {
            c.deps = (0..10_000_u32)
                .map(|n| ChangeHash(Digest::of(&n.to_le_bytes()).0))
                .collect();
        }),
        ("the end of the counters", Rule::Start, |c, _| {
            c.start_op = NonZeroU64::new((1 << 32) - 1).unwrap();
        }),
        ("a jump of the counters", Rule::Start, |c, _| {
            c.start_op = c.start_op.checked_add(1 << 20).unwrap();
        }),
        ("counters that go back", Rule::Start, |c, _| {
            c.start_op = NonZeroU64::MIN
        }),
        ("a time", Rule::Decoration, |c, _| c.time = 1),
        ("a message", Rule::Decoration, |c, _| {
            c.message = Some("hello".to_owned())
        }),
        ("an author footer", Rule::Decoration, |c, _| {
            c.extra_bytes = vec![1, 2, 3, 4]
        }),
        ("no operation", Rule::Operations, |c, _| {
            c.operations.clear()
        }),
        ("too many operations", Rule::Operations, |c, _| {
            c.operations = vec![c.operations[0].clone(); 4097];
        }),
        ("missing object", Rule::Object, |c, _| {
            c.operations[0].obj = ObjectId::Id(OpId(77, c.actor_id.clone()));
        }),
        ("list key", Rule::List, |c, _| {
            c.operations[0].key = OpKey::head()
        }),
        ("insertion", Rule::List, |c, _| {
            c.operations[0].insert = true
        }),
        ("delete", Rule::Action, |c, _| {
            c.operations[0].action = OpType::Delete
        }),
        ("new object", Rule::Action, |c, _| {
            c.operations[0].action = OpType::Make(ObjType::Map)
        }),
        ("mark", Rule::Columns, |c, _| {
            let (name, value) = ("bold".into(), ScalarValue::Null);
            c.operations[0].action = OpType::MarkBegin(MarkData {
                name,
                value,
                expand: true,
            });
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
        ("key twice", Rule::KeyTwice, |c, _| {
            c.operations.push(c.operations[1].clone())
        }),
    ];
    for (name, rule, forge) in rows {
        let mut scene = Scene::new();
        let mut change = scene.honest(&[Entry::Claim(0, mark(2)), Entry::Live(-1)]);
        forge(&mut change, &scene);
        let doc = scene.doc();
        assert_eq!(
            scene.give(doc, &raw(change)),
            Err(Refused::Rule(*rule)),
            "{name}"
        );
        assert_eq!(scene.host.stats().rules[rule], 1, "{name}");
        assert_eq!(scene.give(doc, b""), Err(Refused::Quarantined), "{name}");
        let told = scene.host.take_quarantined();
        assert_eq!(told, [(doc, scene.evil.me(), rule.to_string())], "{name}");
        scene.is_unharmed();
    }
}

#[test]
fn honest_changes_are_what_automerge_itself_writes() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let me = scene.evil.me();
    let tag = me.tag();
    let writes: [&[Entry]; 3] = [
        &[
            Entry::Claim(0, mark(2)),
            Entry::Live(-1),
            Entry::Bids(vec![bid(0, 2), bid(1, 1)]),
        ],
        &[
            Entry::Count(Total::Lost, 7),
            Entry::Live(1),
            Entry::Claim(1, mark(1)),
        ],
        &[Entry::Count(Total::Lost, -2), Entry::Claim(0, mark(3))],
    ];
    for entries in writes {
        let count = scene.evil.count(doc, &me) + 1;
        let heads_before = {
            scene.evil.settle(doc);
            scene.evil.documents[&doc]
                .content()
                .automerge()
                .unwrap()
                .clone()
        };
        let record = scene.evil.write(doc, entries).0;
        let chunk = Envelope::parse(&record).unwrap().chunk;
        let ours = automerge::Change::from_bytes(chunk.to_vec()).unwrap();
        let mut theirs = heads_before.with_actor(ours.actor_id().clone());
        let mut tx = theirs
            .transaction_at(PatchLog::inactive(), ours.deps())
            .unwrap();
        for entry in entries {
            let (key, value) = spell(
                entry,
                &Writer {
                    peer: me,
                    tag,
                    count,
                },
            );
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

    /// Whatever a member signs: of changes whose parts are shuffled, repeated or dropped, none enters but the honest one.
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
