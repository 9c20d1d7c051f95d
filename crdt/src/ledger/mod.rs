//! The ledger: every Automerge document that this node holds, as chains of signed changes.
//!
//! One idea carries it: *a change is accepted only if this code would have written the very same bytes*. What an author says
//! (entries), and where it stands (document, author, incarnation, count), determine the change; see `chain`. So bytes from
//! afar are read by a strict reader of our own, judged, rebuilt, and compared; Automerge itself never decodes them, and what it
//! is given is always of our own making.
//!
//! Files, in reading order: `schema` spells entries as keys and values, `chain` gives a change its place, `chunk` reads raw
//! changes, `validate` says who may write what, `envelope` signs, `document` holds chains, `content` adds them up in
//! Automerge, `afar` takes what others wrote, `refused` names what is refused.
//!
//! A node that has lost its log must take a new key: with the old one it would write other changes at places that its peers
//! hold already, which is the one thing that ends a chain for good.

mod afar;
mod chain;
mod chunk;
mod content;
mod document;
mod envelope;
#[cfg(test)]
mod hostile;
mod refused;
mod schema;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{ClaimMark, Entry, Header, Member, Total};
use crate::ids::{DocId, Incarnation, PeerId, SegmentId, Tag};
use crate::keys::Keys;

use content::Content;
use document::Document;

pub use envelope::{ENVELOPE_VERSION, MAX_ENVELOPE};
pub use refused::{LedgerStats, Refused, Rule};
pub use validate::{MAX_CHUNK, MAX_TASKS};

/// Every document of this node.
///
/// Start: [`Self::new`], [`Self::recover`] for each record of the log. Own words: [`Self::open_segment`], [`Self::write`],
/// [`Self::persisted`]. Others': [`Self::accept`]. Repair: [`Self::root`], [`Self::documents`], [`Self::vector`],
/// [`Self::since`]. What Automerge holds is read by [`Self::claims`], [`Self::live`], [`Self::total`] and [`Self::heads`].
#[derive(Debug)]
pub struct Ledger {
    keys: Box<dyn Keys>,
    me: PeerId,
    incarnation: Incarnation,
    documents: BTreeMap<DocId, Document>,
    members: BTreeMap<PeerId, Member>,
    peers: BTreeMap<Tag, PeerId>,
    next_segment: u32,
    root: u64,
    quarantined: Vec<(DocId, PeerId, String)>,
    stats: LedgerStats,
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

/// Says whether a document is part of the truth that replicas compare; presence is not.
fn is_lasting(doc: DocId) -> bool {
    !matches!(doc, DocId::Presence(_))
}

/// Life and own words.
impl Ledger {
    /// Returns an empty ledger of the node with these keys, for this start of its process.
    #[must_use]
    pub fn new(keys: Box<dyn Keys>, incarnation: Incarnation) -> Self {
        Self {
            me: keys.me(),
            keys,
            incarnation,
            documents: BTreeMap::new(),
            members: BTreeMap::new(),
            peers: BTreeMap::new(),
            next_segment: 0,
            root: 0,
            quarantined: Vec::new(),
            stats: LedgerStats::default(),
        }
    }

    /// Returns the keys.
    #[must_use]
    pub fn keys(&self) -> &dyn Keys {
        &*self.keys
    }

    /// Returns this node's identity.
    #[must_use]
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// Takes back a record of the own log, in the order in which they were written. Own changes count as durable, and own
    /// segments and chains go on after them.
    ///
    /// # Errors
    /// As [`Self::accept`], but for signatures, which are not checked again.
    pub fn recover(&mut self, record: &Arc<[u8]>) -> Result<Accepted, Refused> {
        self.take(record, afar::Source::Log)
    }

    /// Opens the next segment of this node; its header goes out with the first write to it.
    pub fn open_segment(&mut self, header: Header) -> SegmentId {
        let segment = SegmentId {
            author: self.me,
            n: self.next_segment,
        };
        self.next_segment += 1;
        let doc = DocId::Segment(segment);
        self.documents
            .insert(doc, Document::open(doc, self.me, header));
        segment
    }

    /// Gives the numbers of segments below this one to none.
    pub fn reserve_segments(&mut self, next: u32) {
        self.next_segment = self.next_segment.max(next);
    }

    /// Writes entries as one change and returns its record, to be logged and sent, and its count. It is shown to nobody until
    /// [`Self::persisted`] says that it is durable.
    ///
    /// # Panics
    /// When the entries break a rule, name one register twice, or exceed [`MAX_ENVELOPE`]; when this node is no member and
    /// this is not its `Member` entry; when the segment is unknown.
    pub fn write(&mut self, doc: DocId, entries: &[Entry]) -> (Arc<[u8]>, u32) {
        let known = !matches!(doc, DocId::Segment(_)) || self.documents.contains_key(&doc);
        assert!(known, "a segment is open before anything is written to it");
        assert!(
            doc == DocId::Directory || self.is_member(&self.me),
            "a node joins before it writes"
        );
        let document = self
            .documents
            .entry(doc)
            .or_insert_with(|| Document::new(doc, self.me));
        let (record, count) = document.write(entries, self.incarnation, &*self.keys);
        let settled = document.settle_if_due();
        self.note_settled(doc, settled);
        self.note_members(self.me, entries);
        self.stats.written += 1;
        (record, count)
    }

    /// Own changes in `doc` are durable up to `count`: from now on they are shown.
    pub fn persisted(&mut self, doc: DocId, count: u32) {
        self.shift(doc, |document| document.persisted(count));
    }

    /// Forgets a document; of the directory, members stay known. The caller keeps it from coming back.
    pub fn drop_document(&mut self, doc: DocId) {
        if let Some(document) = self.documents.remove(&doc)
            && is_lasting(doc)
        {
            self.root = self.root.wrapping_sub(document.digest());
        }
    }
}

/// What is held, and its repair.
impl Ledger {
    /// Says whether this document is held.
    #[must_use]
    pub fn has(&self, doc: DocId) -> bool {
        self.documents.contains_key(&doc)
    }

    /// Returns how many changes of `author` are held; of this node's own, those not durable yet included.
    #[must_use]
    pub fn count(&self, doc: DocId, author: &PeerId) -> u32 {
        self.documents
            .get(&doc)
            .map_or(0, |document| document.count(author))
    }

    /// Returns how many own changes are durable.
    #[must_use]
    pub fn durable_count(&self, doc: DocId) -> u32 {
        self.documents.get(&doc).map_or(0, Document::durable)
    }

    /// Returns the lasting documents (all but presence) that have something to show, each with the digest of its vector.
    pub fn documents(&self) -> impl Iterator<Item = (DocId, u64)> {
        let shown = self
            .documents
            .iter()
            .filter(|(doc, document)| is_lasting(**doc) && document.vector().next().is_some());
        shown.map(|(doc, document)| (*doc, document.digest()))
    }

    /// Returns the presence documents that are held.
    pub fn presence(&self) -> impl Iterator<Item = DocId> {
        let all = self.documents.keys().copied();
        all.filter(|doc| !is_lasting(*doc))
    }

    /// Returns the digest of a document's vector; `None` if it is not held.
    #[must_use]
    pub fn digest(&self, doc: DocId) -> Option<u64> {
        self.documents.get(&doc).map(Document::digest)
    }

    /// Returns the digest of every lasting document's vector. Presence repairs itself by its next beat.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Returns how many changes of each author a document shows.
    #[must_use]
    pub fn vector(&self, doc: DocId) -> Vec<(PeerId, u32)> {
        self.documents
            .get(&doc)
            .map_or_else(Vec::new, |document| document.vector().collect())
    }

    /// Returns the envelopes that `have` lacks, each chain in order and the segment's header first: as many as fit into
    /// `limit_bytes`, and at least one.
    #[must_use]
    pub fn since(&self, doc: DocId, have: &[(PeerId, u32)], limit_bytes: usize) -> Vec<Arc<[u8]>> {
        let document = self.documents.get(&doc);
        document.map_or_else(Vec::new, |document| document.since(have, limit_bytes))
    }

    /// Returns everything said in a document, each author's in its order. Costs a read of all of it.
    #[must_use]
    pub fn entries(&self, doc: DocId) -> Vec<(PeerId, Entry)> {
        let document = self.documents.get(&doc);
        document.map_or_else(Vec::new, Document::entries)
    }

    /// Returns a segment's header; of an own segment as soon as it is open.
    #[must_use]
    pub fn header(&self, seg: SegmentId) -> Option<&Header> {
        self.documents
            .get(&DocId::Segment(seg))
            .and_then(Document::header)
    }

    /// Says whether this peer's `Member` entry was seen.
    #[must_use]
    pub fn is_member(&self, peer: &PeerId) -> bool {
        self.members.contains_key(peer)
    }

    /// Returns every member's latest entry, those that left included.
    pub fn members(&self) -> impl Iterator<Item = (PeerId, &Member)> {
        self.members.iter().map(|(peer, member)| (*peer, member))
    }

    /// Returns the member with this tag.
    #[must_use]
    pub fn peer_of(&self, tag: Tag) -> Option<PeerId> {
        self.peers.get(&tag).copied()
    }

    /// Returns counts for people.
    #[must_use]
    pub fn stats(&self) -> LedgerStats {
        let queued = self.documents.values().map(Document::queued).sum();
        LedgerStats {
            documents: self.documents.len(),
            queued,
            ..self.stats.clone()
        }
    }
}

/// What Automerge makes of it.
impl Ledger {
    /// Gives a document's queued changes to Automerge.
    pub fn settle(&mut self, doc: DocId) {
        if let Some(document) = self.documents.get_mut(&doc) {
            let settled = document.settle();
            self.note_settled(doc, settled);
        }
    }

    /// Settles every document with at least so many queued changes.
    pub fn settle_all(&mut self, at_least: usize) {
        let due = self
            .documents
            .iter()
            .filter(|(_, document)| document.queued() >= at_least.max(1));
        let due: Vec<_> = due.map(|(doc, _)| *doc).collect();
        for doc in due {
            self.settle(doc);
        }
    }

    fn settled(&mut self, doc: DocId) -> Option<&Document> {
        self.settle(doc);
        self.documents.get(&doc)
    }

    /// Returns the conflict set of a task's claim register: the latest value of each writer, by epoch and then tag.
    pub fn claims(&mut self, seg: SegmentId, index: u16) -> Vec<(PeerId, ClaimMark)> {
        let claims = self
            .settled(DocId::Segment(seg))
            .map_or_else(Vec::new, |d| d.content().claims(index));
        claims
            .into_iter()
            .filter_map(|(tag, mark)| Some((self.peer_of(tag)?, mark)))
            .collect()
    }

    /// Returns each peer's PN-counter of live claims in a segment.
    pub fn live(&mut self, seg: SegmentId) -> Vec<(PeerId, i64)> {
        self.settled(DocId::Segment(seg))
            .map_or_else(Vec::new, Document::live)
    }

    /// Returns the sum over all peers of a segment's PN-counters of `total`.
    pub fn total(&mut self, seg: SegmentId, total: Total) -> i64 {
        self.settled(DocId::Segment(seg))
            .map_or(0, |document| document.total(total))
    }

    /// Returns the blake3 digest of a document's sorted Automerge heads: equal documents have equal heads.
    pub fn heads(&mut self, doc: DocId) -> [u8; 32] {
        let nothing = Content::default().heads();
        self.settled(doc)
            .map_or(nothing, |document| document.content().heads())
    }
}
