//! Tests: changes that no honest peer writes. Each is signed by a member, as the strongest attacker can, and refused by name.
//!
//! Rows follow the hazards of Automerge 0.12 as measured: a few of these changes panic in `apply_changes`, hang in
//! `from_bytes`, or make a document that saves and never loads again.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    reason = "attackers and judges use Automerge's own codec"
)]

mod authors;
mod bytes;
mod structure;
mod words;

use automerge::legacy::{Key as OpKey, ObjectId, Op, OpType, SortedVec};
use automerge::{Automerge, ExpandedChange, ScalarValue};

use super::envelope::{Envelope, Head, seal};
use super::schema::{Value, Writer, spell};
use super::*;
use crate::entry::{Bid, SpecChunk};
use crate::fit::RunsAs;
use crate::ids::Epoch;
use crate::keys::Ed25519Keys;
use crate::task::TaskSpec;
use crate::time::Wall;

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
    Bid {
        index,
        epoch: Epoch(epoch),
        gave_up: false,
    }
}

fn mark(epoch: u32) -> ClaimMark {
    ClaimMark {
        epoch: Epoch(epoch),
        started: Some(Wall(5)),
    }
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
        let header = Header {
            format: Header::FORMAT,
            first: 1,
            committee,
            created: Wall(1),
        };
        let segment = host.open_segment(header);
        let doc = DocId::Segment(segment);
        let specs = SpecChunk {
            first: 0,
            specs: vec![TaskSpec::command(["true"]); 3],
        };
        let opening = host.write(doc, &[Entry::Specs(specs)]).0;
        for record in [&joins[0], &opening] {
            evil.accept(record).unwrap();
        }
        host.accept(&joins[1]).unwrap();
        host.persisted(DocId::Directory, 1);
        host.persisted(doc, 1);
        let first = evil
            .write(doc, &[Entry::Claim(0, mark(1)), Entry::Live(1)])
            .0;
        assert!(matches!(host.accept(&first), Ok(Accepted::New(_))));
        Self {
            host,
            evil,
            segment,
        }
    }

    fn doc(&self) -> DocId {
        DocId::Segment(self.segment)
    }

    /// The head of the evil member's next change.
    fn head(&self, doc: DocId) -> Head {
        let author = self.evil.me();
        let count = self.host.count(doc, &author) + 1;
        Head {
            doc,
            author,
            incarnation: Incarnation(20),
            count,
        }
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
        let saved = document.content().saved();
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
    let (key, value) = spell(
        entry,
        &Writer {
            peer,
            tag: peer.tag(),
            count,
        },
    );
    let action = match value {
        Value::Bytes(bytes) => OpType::Put(ScalarValue::Bytes(bytes)),
        Value::Step(step) => OpType::Put(ScalarValue::counter(step)),
    };
    Op {
        action,
        ..put(&key.to_string(), Vec::new())
    }
}
