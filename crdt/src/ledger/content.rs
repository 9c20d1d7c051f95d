//! What a document's chains add up to: the Automerge document, behind a queue of changes that it has not seen yet.
//!
//! Automerge takes changes in batches, when somebody reads or [`SETTLE_AT`] of them wait. Each batch goes to a copy, under
//! `catch_unwind`, and the copy replaces the document if all went well; copying also gives back the memory that Automerge's
//! columns hold after many small inserts. Every change in the queue was built by [`super::chain`], so none should ever fail.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Automerge, ROOT, ReadDoc, ScalarValue};

use crate::entry::ClaimMark;
use crate::ids::{PeerId, Tag};

use super::schema::{self, Key};

/// So many queued changes go to Automerge without being asked for. A call costs some 0.3 ms for a segment of 1,024 tasks
/// whatever it carries (measured), so this is about 1 us a change; and the queue stays small beside the document.
const SETTLE_AT: usize = 256;

/// An Automerge document and the changes that wait for it.
#[derive(Debug, Default)]
pub(super) struct Content {
    settled: Option<Box<Automerge>>,
    queue: Vec<(PeerId, automerge::Change)>,
}

/// What became of a queue.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Calls of Automerge's apply.
    pub(super) applies: u64,
    /// Those of them that failed.
    pub(super) failed: u64,
    /// The authors whose changes failed, and why.
    pub(super) culprits: Vec<(PeerId, String)>,
}

impl Content {
    pub(super) fn push(&mut self, author: PeerId, change: automerge::Change) {
        self.queue.push((author, change));
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_due(&self) -> bool {
        self.queue.len() >= SETTLE_AT
    }

    /// Gives the queued changes to Automerge; those of `first`, on which others may build, before theirs.
    pub(super) fn settle(&mut self, first: Option<&PeerId>) -> Settled {
        let mut settled = Settled::default();
        let queue = std::mem::take(&mut self.queue);
        if queue.is_empty() {
            return settled;
        }
        settled.applies += 1;
        if self.apply(queue.iter().map(|(_, change)| change)).is_ok() {
            return settled;
        }
        settled.failed += 1;
        let mut by_author = BTreeMap::<PeerId, Vec<automerge::Change>>::new();
        for (author, change) in queue {
            by_author.entry(author).or_default().push(change);
        }
        let first = first.and_then(|author| by_author.remove_entry(author));
        for (author, changes) in first.into_iter().chain(by_author) {
            settled.applies += 1;
            if let Err(why) = self.apply(changes.iter()) {
                settled.failed += 1;
                settled.culprits.push((author, why));
            }
        }
        settled
    }

    /// Applies changes to a copy and keeps it if all went well.
    fn apply<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a automerge::Change> + Clone,
    ) -> Result<(), String> {
        let empty = || Box::new(Automerge::new().with_actor(ActorId::from([0; 16])));
        let mut copy = self.settled.clone().unwrap_or_else(empty);
        match catch_unwind(AssertUnwindSafe(|| copy.apply_changes(changes.cloned()))) {
            Ok(Ok(())) => {
                self.settled = Some(copy);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("Automerge refuses a change: {error}")),
            Err(_) => Err("Automerge panics on a change".to_owned()),
        }
    }

    /// Returns the conflict set of a claim register, by epoch and then tag.
    pub(super) fn claims(&self, index: u16) -> Vec<(Tag, ClaimMark)> {
        let Some(settled) = &self.settled else {
            return Vec::new();
        };
        let values = settled
            .get_all(ROOT, Key::Claim(index).to_string())
            .unwrap_or_default();
        let mut claims: Vec<_> = values
            .iter()
            .filter_map(|(value, _)| value.as_bytes().and_then(schema::read_claim))
            .collect();
        claims.sort_unstable_by_key(|(tag, mark)| (mark.epoch, *tag));
        claims
    }

    /// Returns the value of a PN-counter.
    pub(super) fn counter(&self, key: &Key) -> Option<i64> {
        let (value, _) = self.settled.as_ref()?.get(ROOT, key.to_string()).ok()??;
        match value.as_scalar()? {
            ScalarValue::Counter(counter) => Some(i64::from(counter)),
            _ => None,
        }
    }

    /// Returns the blake3 digest of Automerge's sorted heads.
    pub(super) fn heads(&self) -> [u8; 32] {
        let mut heads = self
            .settled
            .as_ref()
            .map_or_else(Vec::new, |settled| settled.get_heads());
        heads.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for head in &heads {
            hasher.update(&head.0);
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
impl Content {
    /// Returns what Automerge holds.
    pub(super) fn automerge(&self) -> Option<&Automerge> {
        self.settled.as_deref()
    }

    /// Returns what Automerge saves.
    pub(super) fn saved(&self) -> Vec<u8> {
        self.automerge().map_or_else(Vec::new, Automerge::save)
    }
}
