//! Bytes that are no plain change, or not quite: bombs, other chunks, flips and cuts.

use automerge::transaction::Transactable;
use automerge::{Automerge, ROOT};
use proptest::prelude::*;

use super::*;

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
    (1..=chunk.len())
        .rev()
        .find(|n| chunk_of(chunk, 1, &chunk[chunk.len() - n..]) == chunk)
        .unwrap()
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
        let rule = if exponent == 12 {
            Rule::Key
        } else {
            Rule::Operations
        };
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
    assert_eq!(
        (plain[8], compressed[8]),
        (1, 2),
        "Automerge compresses a change of this size"
    );
    let mut document = Automerge::new();
    document.transact(|tx| tx.put(ROOT, "x", 1)).unwrap();
    let rows: [(&str, Rule, Vec<u8>); 7] = [
        ("compressed", Rule::Compressed, compressed),
        ("document", Rule::Chunk, document.save()),
        ("bundle", Rule::Chunk, chunk_of(&plain, 3, &plain[10..])),
        ("nothing", Rule::Chunk, Vec::new()),
        ("two chunks", Rule::Chunk, [&plain[..], &plain].concat()),
        ("wrong magic", Rule::Chunk, [&[0][..], &plain[1..]].concat()),
        (
            "wrong checksum",
            Rule::Canonical,
            [&plain[..4], &[0; 4], &plain[8..]].concat(),
        ),
    ];
    for (name, rule, chunk) in rows {
        let mut scene = Scene::new();
        assert_eq!(scene.give(doc, &chunk), Err(Refused::Rule(rule)), "{name}");
        scene.is_unharmed();
    }
    assert!(
        matches!(Scene::new().give(doc, &plain), Ok(Accepted::New(_))),
        "the honest one fits"
    );
}

#[test]
fn every_flip_and_every_cut_of_an_envelope_is_refused() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let record = scene
        .evil
        .write(doc, &[Entry::Bids(vec![bid(0, 2)]), Entry::Live(1)])
        .0;
    for place in 0..record.len() {
        for bit in 0..8 {
            let mut bad = record.to_vec();
            bad[place] ^= 1 << bit;
            let given = scene.host.accept(&bad.into());
            assert!(
                !matches!(given, Ok(Accepted::New(_))),
                "{place}.{bit}: {given:?}"
            );
        }
        let cut: Arc<[u8]> = record[..place].into();
        assert!(
            !matches!(scene.host.accept(&cut), Ok(Accepted::New(_))),
            "{place}"
        );
        let _ = Ledger::peek(&cut);
    }
    let long: Arc<[u8]> = vec![1; MAX_ENVELOPE + 1].into();
    assert_eq!(
        scene.host.accept(&long),
        Err(Refused::Oversized(MAX_ENVELOPE + 1))
    );
    assert!(
        scene.host.take_quarantined().is_empty(),
        "unsigned junk blames nobody"
    );
    assert!(
        matches!(scene.host.accept(&record), Ok(Accepted::New(_))),
        "and blocks nothing"
    );
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
}
