//! Taking changes that were written elsewhere, or before this start: what is checked, in which order, and what a breach costs.
//!
//! Cheap checks come first: frame, places that are taken, quarantine, membership, gaps; then the signature; only then is the
//! chunk read, judged and rebuilt. Whoever signs a breach has ended its own chain in that document; nobody else can end it.

use std::sync::Arc;

use crate::entry::Entry;
use crate::ids::{DocId, PeerId};

use super::content::Settled;
use super::document::{Document, Fit, Judged};
use super::envelope::{Envelope, Head};
use super::refused::{Refused, Rule};
use super::{Accepted, Change, Ledger};

/// Where a record comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// The own log: its signature was checked when it was written there.
    Log,
    /// A peer.
    Afar,
}

impl Ledger {
    /// Returns where a change stands, unverified; `None` if it is no envelope.
    #[must_use]
    pub fn peek(envelope: &[u8]) -> Option<(DocId, PeerId, u32)> {
        let head = Envelope::parse(envelope).ok()?.head;
        Some((head.doc, head.author, head.count))
    }

    /// Takes a change from afar.
    ///
    /// # Errors
    /// Everything that an honest peer's change cannot be. Nothing of it is stored; a signed breach by a member in a document
    /// held here ends its chain there (see [`Self::take_quarantined`]).
    pub fn accept(&mut self, envelope: &Arc<[u8]>) -> Result<Accepted, Refused> {
        self.take(envelope, Source::Afar)
    }

    pub(super) fn take(&mut self, record: &Arc<[u8]>, source: Source) -> Result<Accepted, Refused> {
        let taken = self.try_take(record, source);
        match &taken {
            Ok(Accepted::New(_)) => self.stats.accepted += 1,
            Ok(Accepted::Known) => self.stats.known += 1,
            Ok(Accepted::Gap { .. }) => self.stats.gaps += 1,
            Ok(Accepted::Stranger { .. }) => self.stats.strangers += 1,
            Err(why) => self.stats.refuse(*why),
        }
        taken
    }

    fn try_take(&mut self, record: &Arc<[u8]>, source: Source) -> Result<Accepted, Refused> {
        let envelope = Envelope::parse(record)?;
        let Head {
            doc,
            author,
            incarnation,
            count,
        } = envelope.head;
        if count == 0 {
            return Err(Refused::Malformed);
        }
        if count <= self.count(doc, &author) {
            return self.compare(record, &envelope, source);
        }
        // Own presence of an earlier start was not logged; nothing of it is to be taken up.
        let presence = matches!(doc, DocId::Presence(_));
        if presence && author == self.me && incarnation != self.incarnation {
            return Ok(Accepted::Known);
        }
        let nothing = Document::new(doc, self.me);
        let document = self.documents.get(&doc).unwrap_or(&nothing);
        if document.is_quarantined(&author) {
            return Err(Refused::Quarantined);
        }
        if document.is_past(&envelope.head) {
            return Ok(Accepted::Known);
        }
        if !self.is_member(&author) && doc != DocId::Directory {
            return Ok(Accepted::Stranger { author });
        }
        if document.lacks_before(&envelope.head) {
            return Ok(Accepted::Gap { doc });
        }
        self.check_signature(&envelope, source)?;
        let proof = |peer: &PeerId| self.keys.admission(peer);
        match document
            .judge(&envelope, &proof)
            .and_then(|judged| self.admit(&author, judged))
        {
            Ok(Judged::Fits(fit)) => {
                let entries = self.append(&envelope.head, *fit, record, source);
                Ok(Accepted::New(Change {
                    doc,
                    author,
                    count,
                    entries,
                }))
            }
            Ok(Judged::Early) => Ok(Accepted::Gap { doc }),
            Err(rule) => {
                self.quarantine(doc, author, rule.to_string());
                Err(Refused::Rule(rule))
            }
        }
    }

    /// A change for a place that is taken: the same again, or an author that says two things.
    fn compare(
        &mut self,
        record: &Arc<[u8]>,
        envelope: &Envelope<'_>,
        source: Source,
    ) -> Result<Accepted, Refused> {
        let Head {
            doc,
            author,
            incarnation,
            count,
        } = envelope.head;
        let held = self
            .documents
            .get(&doc)
            .and_then(|document| document.record(&author, count));
        let Some(held) = held else {
            return Ok(Accepted::Known);
        };
        if held == record || envelope.says_the_same(held) {
            return Ok(Accepted::Known);
        }
        // A restarted author whose clock went back may reuse places of presence.
        let other_start = Envelope::parse(held).is_ok_and(|h| h.head.incarnation != incarnation);
        if matches!(doc, DocId::Presence(_)) && other_start {
            return Ok(Accepted::Known);
        }
        self.check_signature(envelope, source)?;
        let refused = Refused::Equivocation;
        self.quarantine(doc, author, refused.to_string());
        Err(refused)
    }

    fn check_signature(&self, envelope: &Envelope<'_>, source: Source) -> Result<(), Refused> {
        match source {
            Source::Log => Ok(()),
            Source::Afar if envelope.is_signed(&*self.keys) => Ok(()),
            Source::Afar => Err(Refused::Signature),
        }
    }

    /// A newcomer's tag must be free. Its proof was judged with its `Member` entry.
    fn admit(&self, author: &PeerId, judged: Judged) -> Result<Judged, Rule> {
        match self.peers.get(&author.tag()) {
            Some(holder) if holder != author => Err(Rule::Tag),
            Some(_) | None => Ok(judged),
        }
    }

    fn append(&mut self, head: &Head, fit: Fit, record: &Arc<[u8]>, source: Source) -> Vec<Entry> {
        let Head {
            doc, author, count, ..
        } = *head;
        let me = self.me;
        self.documents
            .entry(doc)
            .or_insert_with(|| Document::new(doc, me));
        let mut entries = Vec::new();
        let mut settled = Settled::default();
        self.shift(doc, |document| {
            entries = document.append(author, fit, record);
            // An own change that comes from a log or a peer is held outside this process already.
            let stored = source == Source::Log || document.durable() + 1 == count;
            if author == me && stored {
                document.persisted(count);
            }
            settled = document.settle_if_due();
        });
        self.note_settled(doc, settled);
        self.note_members(author, &entries);
        if let DocId::Segment(segment) = doc
            && segment.author == me
        {
            self.next_segment = self.next_segment.max(segment.n.saturating_add(1));
        }
        entries
    }

    pub(super) fn note_members(&mut self, author: PeerId, entries: &[Entry]) {
        for entry in entries {
            if let Entry::Member(member) = entry {
                self.peers.insert(author.tag(), author);
                self.members.insert(author, member.clone());
            }
        }
    }

    /// Ends a member's chain in a document held here. A stranger's is not worth the memory, nor is a document that was never
    /// begun: such a change is judged anew each time.
    fn quarantine(&mut self, doc: DocId, author: PeerId, why: String) {
        let member = self.is_member(&author);
        if let Some(document) = self.documents.get_mut(&doc)
            && member
            && document.quarantine(author, why.clone())
        {
            self.quarantined.push((doc, author, why));
        }
    }

    /// Returns the chains that ended since the last call, and why.
    pub fn take_quarantined(&mut self) -> Vec<(DocId, PeerId, String)> {
        std::mem::take(&mut self.quarantined)
    }

    pub(super) fn note_settled(&mut self, doc: DocId, settled: Settled) {
        self.stats.applies += settled.applies;
        self.stats.failed_applies += settled.failed;
        let ended = settled
            .culprits
            .into_iter()
            .map(|(author, why)| (doc, author, why));
        self.quarantined.extend(ended);
    }

    /// Changes a document and keeps the root in step.
    pub(super) fn shift(&mut self, doc: DocId, change: impl FnOnce(&mut Document)) {
        if let Some(document) = self.documents.get_mut(&doc) {
            let before = document.digest();
            change(document);
            if super::is_lasting(doc) {
                self.root = self
                    .root
                    .wrapping_sub(before)
                    .wrapping_add(document.digest());
            }
        }
    }
}
