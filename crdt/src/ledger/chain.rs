//! One author's chain in one document, and the change that stands next in it.
//!
//! A change has exactly one dependency: its author's previous change in the document, across restarts of the author's process;
//! an author's first change in a segment depends on the segment's header; all other first changes on nothing. A document is
//! thus a star of chains, and (author, count) says exactly what one has of it. Nothing in a change is left to its author but
//! its entries: actor, sequence, dependency, operation counters and predecessors follow from the place in the chain. So equal
//! entries at one place give equal bytes, local writes wait for nothing, and [`Place::change`] is writer and judge at once.
//!
//! Presence documents are written to no log. There, a restarted author begins a chain anew at a higher count that its wall
//! clock gives, and what it wrote before the restart is forgotten.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use automerge::legacy::{Key as OpKey, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ActorId, ChangeHash, ExpandedChange, ScalarValue};

use crate::entry::Entry;
use crate::ids::{DocId, Incarnation, PeerId};

use super::refused::Rule;
use super::schema::{self, Key, Value, Writer};

/// So many incarnations that were left behind are remembered: far more than a node can start in a minute.
const LEFT_BEHIND: usize = 64;

/// Operation counters and counts end here, far below where Automerge's 32 bits do.
const MAX_COUNTER: u64 = 1 << 31;

/// The end of a chain: what the next change depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tip {
    pub(super) hash: ChangeHash,
    /// The counter of its last operation.
    pub(super) last: u64,
}

/// An operation that a later one of its author supersedes or increments: its counter and its actor's index.
type Register = (u64, usize);

/// An author's changes in one document.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// What came before the first record; 0 but in presence documents.
    base: u32,
    /// The latest incarnations that were left behind; only presence leaves any.
    left: Vec<Incarnation>,
    records: Vec<Arc<[u8]>>,
    /// One actor for each incarnation; the last one is the present one's.
    actors: Vec<ActorId>,
    incarnations: BTreeMap<Incarnation, usize>,
    sequence: u64,
    tip: Option<Tip>,
    registers: BTreeMap<Key, Register>,
}

/// How a change continues its chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// By the same incarnation as the last.
    Same,
    /// By a new incarnation.
    Restart,
    /// By a new incarnation that leaves everything before behind (presence).
    Afresh,
}

/// The place of the next change of a chain.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    chain: &'a Chain,
    step: Step,
    incarnation: Incarnation,
    pub(super) writer: Writer,
    pub(super) actor: ActorId,
    pub(super) sequence: u64,
    /// The one dependency.
    pub(super) dependency: Option<Tip>,
}

/// A change built for its place, and what the chain notes of it.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) change: automerge::Change,
    count: u32,
    step: Step,
    incarnation: Incarnation,
    sequence: u64,
    actor: ActorId,
    tip: Tip,
    registers: Vec<(Key, u64)>,
}

impl Chain {
    /// Returns how long it is.
    pub(super) fn count(&self) -> u32 {
        self.base
            .saturating_add(u32::try_from(self.records.len()).unwrap_or(u32::MAX))
    }

    /// Returns the change at `count`, from 1; `None` also for what was left behind.
    pub(super) fn record(&self, count: u32) -> Option<&Arc<[u8]>> {
        let place = count.checked_sub(self.base)?.checked_sub(1)?;
        self.records.get(usize::try_from(place).ok()?)
    }

    /// Returns the changes after the first `have`, up to and with `upto`.
    pub(super) fn after(&self, have: u32, upto: u32) -> impl Iterator<Item = &Arc<[u8]>> {
        (have.max(self.base)..upto).filter_map(|count| self.record(count + 1))
    }

    pub(super) fn tip(&self) -> Option<Tip> {
        self.tip
    }

    /// Says whether the author has written to this key.
    pub(super) fn has_written(&self, key: &Key) -> bool {
        self.registers.contains_key(key)
    }

    /// Says whether this incarnation has been left behind: what comes of it now is late.
    pub(super) fn has_left(&self, incarnation: Incarnation) -> bool {
        self.left.contains(&incarnation)
    }

    /// Says whether this incarnation wrote its last change.
    pub(super) fn is_current(&self, incarnation: Incarnation) -> bool {
        self.incarnations
            .get(&incarnation)
            .is_some_and(|actor| actor + 1 == self.actors.len())
    }

    /// Returns the place of `writer`'s next change; `root` is what a first change depends on.
    pub(super) fn next(
        &self,
        doc: DocId,
        writer: Writer,
        incarnation: Incarnation,
        root: Option<Tip>,
    ) -> Result<Place<'_>, Rule> {
        let step = match (self.incarnations.get(&incarnation), doc) {
            (Some(_), _) if self.is_current(incarnation) => Step::Same,
            (Some(_), _) => return Err(Rule::Incarnation),
            (None, _) if self.has_left(incarnation) => return Err(Rule::Incarnation),
            (None, DocId::Presence(_)) => Step::Afresh,
            (None, DocId::Directory | DocId::Segment(_)) => Step::Restart,
        };
        let dependency = match step {
            Step::Same | Step::Restart => self.tip.or(root),
            Step::Afresh => root,
        };
        let last = dependency.map_or(0, |tip| tip.last);
        if last.max(u64::from(writer.count)) >= MAX_COUNTER {
            return Err(Rule::Space);
        }
        let (actor, sequence) = match (step, self.actors.last()) {
            (Step::Same, Some(actor)) => (actor.clone(), self.sequence + 1),
            (Step::Same | Step::Restart | Step::Afresh, _) => {
                (actor_of(&writer.peer, doc, incarnation), 1)
            }
        };
        Ok(Place {
            chain: self,
            step,
            incarnation,
            writer,
            actor,
            sequence,
            dependency,
        })
    }

    /// Appends the change built for its next place.
    pub(super) fn append(&mut self, built: &Built, record: &Arc<[u8]>) {
        if built.step == Step::Afresh {
            let mut left = std::mem::take(&mut self.left);
            left.extend(self.incarnations.keys());
            left.drain(..left.len().saturating_sub(LEFT_BEHIND));
            *self = Self {
                base: built.count - 1,
                left,
                ..Self::default()
            };
        }
        assert_eq!(self.count() + 1, built.count, "a chain has no gaps");
        if built.step != Step::Same {
            self.incarnations
                .insert(built.incarnation, self.actors.len());
            self.actors.push(built.actor.clone());
        }
        let actor = self.actors.len() - 1;
        self.sequence = built.sequence;
        self.tip = Some(built.tip);
        for (key, counter) in &built.registers {
            self.registers.insert(*key, (*counter, actor));
        }
        self.records.push(Arc::clone(record));
    }
}

/// The actor of an author in a document and incarnation.
fn actor_of(author: &PeerId, doc: DocId, incarnation: Incarnation) -> ActorId {
    let name = postcard::to_stdvec(&(author, doc, incarnation)).expect("names encode");
    let hash = blake3::derive_key("aque 2026 actor", &name);
    ActorId::from(&hash[..16])
}

impl Place<'_> {
    /// Says whether it leaves everything before it behind.
    pub(super) fn begins_afresh(&self) -> bool {
        self.step == Step::Afresh
    }

    /// Returns the counter of the first operation.
    pub(super) fn start(&self) -> u64 {
        self.dependency.map_or(1, |tip| tip.last + 1)
    }

    /// Returns the one change that says `entries` here.
    pub(super) fn change(&self, entries: &[Entry]) -> Result<Built, Rule> {
        let mut operations = Vec::with_capacity(entries.len());
        let mut keys = Vec::with_capacity(entries.len());
        let mut registers = Vec::new();
        for (counter, entry) in (self.start()..).zip(entries) {
            let (key, value) = schema::spell(entry, &self.writer);
            let earlier = self.earlier(&key);
            keys.push(key);
            if key.is_register() && (matches!(value, Value::Bytes(_)) || earlier.is_none()) {
                registers.push((key, counter));
            }
            operations.push(operation(&key, value, earlier));
        }
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Rule::KeyTwice);
        }
        let count = operations.len() as u64;
        let change = automerge::Change::from(ExpandedChange {
            operations,
            actor_id: self.actor.clone(),
            hash: None,
            seq: self.sequence,
            start_op: NonZeroU64::new(self.start()).unwrap_or(NonZeroU64::MIN),
            time: 0,
            message: None,
            deps: self.dependency.iter().map(|tip| tip.hash).collect(),
            extra_bytes: Vec::new(),
            author: None,
        });
        Ok(Built {
            tip: Tip {
                hash: change.hash(),
                last: self.start() + count - 1,
            },
            change,
            count: self.writer.count,
            step: self.step,
            incarnation: self.incarnation,
            sequence: self.sequence,
            actor: self.actor.clone(),
            registers,
        })
    }

    /// Returns the author's latest operation on `key` that a new one supersedes or increments.
    fn earlier(&self, key: &Key) -> Option<OpId> {
        if self.step == Step::Afresh {
            return None;
        }
        let (counter, actor) = self.chain.registers.get(key)?;
        Some(OpId(*counter, self.chain.actors[*actor].clone()))
    }
}

fn operation(key: &Key, value: Value, earlier: Option<OpId>) -> Op {
    let action = match value {
        Value::Bytes(bytes) => OpType::Put(ScalarValue::Bytes(bytes)),
        Value::Step(step) if earlier.is_none() => OpType::Put(ScalarValue::counter(step)),
        Value::Step(step) => OpType::Increment(step),
    };
    Op {
        action,
        obj: ObjectId::Root,
        key: OpKey::Map(key.to_string().into()),
        pred: earlier.into_iter().collect::<SortedVec<_>>(),
        insert: false,
    }
}
