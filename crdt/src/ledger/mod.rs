//! The document layer: Automerge documents, each a star of signed chains, one chain an author.
//!
//! Skeleton of the signatures; the implementation replaces it.

use std::sync::Arc;

use crate::entry::{ClaimMark, Entry, Header, Member, Total};
use crate::ids::{DocId, Incarnation, PeerId, SegmentId, Tag};
use crate::keys::Keys;

/// Every document this node holds.
#[derive(Debug)]
pub struct Ledger {
    keys: Box<dyn Keys>,
}

/// One accepted change, as entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// In which document.
    pub doc: DocId,
    /// Who wrote it.
    pub author: PeerId,
    /// Its place in the author's chain in that document, from 1.
    pub count: u32,
    /// What it says.
    pub entries: Vec<Entry>,
}

/// What became of a change that broke no rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// It is new: stored, and these are its entries.
    New(Change),
    /// It was held already.
    Known,
    /// Its predecessor or the segment's header is missing; nothing was stored.
    Gap {
        /// Where.
        doc: DocId,
    },
    /// Its author is no member yet; nothing was stored.
    Stranger {
        /// Who.
        author: PeerId,
    },
}

/// Why a change was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Not an envelope of this version.
    #[error("malformed envelope")]
    Malformed,
    /// Longer than a change may be.
    #[error("change of {0} bytes")]
    Oversized(usize),
    /// Not signed by its author.
    #[error("bad signature")]
    Signature,
    /// The author signed two changes for one place of its chain.
    #[error("author signed two different changes for one place")]
    Equivocation,
    /// The author's chain in that document is closed since an earlier breach.
    #[error("author is quarantined in this document")]
    Quarantined,
    /// The signed change breaks a rule.
    #[error("change breaks a rule: {0}")]
    Rule(&'static str),
}

/// Counts for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LedgerStats {
    /// New changes.
    pub accepted: u64,
}

#[expect(unused_variables, reason = "skeleton")]
#[expect(missing_docs, reason = "skeleton")]
impl Ledger {
    #[must_use]
    pub fn new(keys: Box<dyn Keys>, incarnation: Incarnation) -> Self {
        Self { keys }
    }
    pub fn keys(&self) -> &dyn Keys {
        &*self.keys
    }
    pub fn me(&self) -> PeerId {
        self.keys.me()
    }
    pub fn recover(&mut self, record: &Arc<[u8]>) -> Result<Accepted, Refused> {
        unimplemented!()
    }
    pub fn open_segment(&mut self, header: Header) -> SegmentId {
        unimplemented!()
    }
    pub fn write(&mut self, doc: DocId, entries: &[Entry]) -> (Arc<[u8]>, u32) {
        unimplemented!()
    }
    pub fn persisted(&mut self, doc: DocId, count: u32) {
        unimplemented!()
    }
    pub fn accept(&mut self, envelope: &Arc<[u8]>) -> Result<Accepted, Refused> {
        unimplemented!()
    }
    #[must_use]
    pub fn peek(envelope: &[u8]) -> Option<(DocId, PeerId, u32)> {
        unimplemented!()
    }
    pub fn settle(&mut self, doc: DocId) {
        unimplemented!()
    }
    pub fn settle_all(&mut self, at_least: usize) {
        unimplemented!()
    }
    pub fn take_quarantined(&mut self) -> Vec<(DocId, PeerId, String)> {
        unimplemented!()
    }
    #[must_use]
    pub fn has(&self, doc: DocId) -> bool {
        unimplemented!()
    }
    #[must_use]
    pub fn count(&self, doc: DocId, author: &PeerId) -> u32 {
        unimplemented!()
    }
    #[must_use]
    pub fn durable_count(&self, doc: DocId) -> u32 {
        unimplemented!()
    }
    pub fn documents(&self) -> impl Iterator<Item = (DocId, u64)> {
        std::iter::empty()
    }
    #[must_use]
    pub fn digest(&self, doc: DocId) -> Option<u64> {
        unimplemented!()
    }
    #[must_use]
    pub fn root(&self) -> u64 {
        unimplemented!()
    }
    #[must_use]
    pub fn vector(&self, doc: DocId) -> Vec<(PeerId, u32)> {
        unimplemented!()
    }
    #[must_use]
    pub fn since(
        &self,
        doc: DocId,
        have: &[(PeerId, u32)],
        limit_bytes: usize,
    ) -> Vec<Arc<[u8]>> {
        unimplemented!()
    }
    pub fn drop_document(&mut self, doc: DocId) {
        unimplemented!()
    }
    #[must_use]
    pub fn header(&self, seg: SegmentId) -> Option<&Header> {
        unimplemented!()
    }
    #[must_use]
    pub fn is_member(&self, peer: &PeerId) -> bool {
        unimplemented!()
    }
    pub fn members(&self) -> impl Iterator<Item = (PeerId, &Member)> {
        std::iter::empty()
    }
    #[must_use]
    pub fn peer_of(&self, tag: Tag) -> Option<PeerId> {
        unimplemented!()
    }
    pub fn claims(&mut self, seg: SegmentId, index: u16) -> Vec<(PeerId, ClaimMark)> {
        unimplemented!()
    }
    pub fn live(&mut self, seg: SegmentId) -> Vec<(PeerId, i64)> {
        unimplemented!()
    }
    pub fn total(&mut self, seg: SegmentId, total: Total) -> i64 {
        unimplemented!()
    }
    pub fn heads(&mut self, doc: DocId) -> [u8; 32] {
        unimplemented!()
    }
    #[must_use]
    pub fn stats(&self) -> LedgerStats {
        unimplemented!()
    }
}
