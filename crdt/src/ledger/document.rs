//! One document: its authors' chains, what they add up to, and the digest of what it shows to others.
//!
//! A change is judged against the segment's header and its author's chain alone, then appended and queued for Automerge. Own
//! changes are shown (vector, digest, repair) from when they are durable on, others' at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{Entry, Header, Total};
use crate::ids::{DocId, Incarnation, PeerId, Tag};
use crate::keys::Keys;

use super::chain::{Built, Chain, Place, Tip};
use super::chunk::{self, Chunk, Decoration};
use super::content::{Content, Settled};
use super::envelope::{Envelope, Head, seal};
use super::refused::Rule;
use super::schema::{self, Key, Writer};
use super::validate::{Additions, Case, Contents};

/// One presence document's span of the wall clock.
const PRESENCE_MS: u64 = 60_000;

/// How far the header of a segment has come; documents without one stay at `None`.
#[derive(Clone, Debug)]
enum Opening {
    None,
    /// Opened here; goes out with the first write.
    Pending(Header),
    /// Written: every other author's first change depends on it.
    Written(Header, Tip),
}

/// One document.
#[derive(Debug)]
pub(super) struct Document {
    id: DocId,
    me: PeerId,
    chains: BTreeMap<PeerId, Chain>,
    opening: Opening,
    contents: Contents,
    quarantined: BTreeMap<PeerId, String>,
    content: Content,
    /// Own changes up to here are durable and shown.
    durable: u32,
    digest: u64,
}

/// A change that fits its place.
#[derive(Debug)]
pub(super) struct Fit {
    built: Built,
    additions: Additions,
    pub(super) entries: Vec<Entry>,
}

/// What became of a change in front of its judge.
#[derive(Debug)]
pub(super) enum Judged {
    Fits(Box<Fit>),
    /// Something before it is missing.
    Early,
}

impl Document {
    pub(super) fn new(id: DocId, me: PeerId) -> Self {
        Self {
            id,
            me,
            chains: BTreeMap::new(),
            opening: Opening::None,
            contents: Contents::default(),
            quarantined: BTreeMap::new(),
            content: Content::default(),
            durable: 0,
            digest: 0,
        }
    }

    /// Returns a segment of this node's whose header goes out with the first write.
    pub(super) fn open(id: DocId, me: PeerId, header: Header) -> Self {
        Self {
            opening: Opening::Pending(header),
            ..Self::new(id, me)
        }
    }

    pub(super) fn header(&self) -> Option<&Header> {
        match &self.opening {
            Opening::None => None,
            Opening::Pending(header) | Opening::Written(header, _) => Some(header),
        }
    }

    pub(super) fn count(&self, author: &PeerId) -> u32 {
        self.chains.get(author).map_or(0, Chain::count)
    }

    pub(super) fn record(&self, author: &PeerId, count: u32) -> Option<&Arc<[u8]>> {
        self.chains
            .get(author)
            .and_then(|chain| chain.record(count))
    }

    pub(super) fn durable(&self) -> u32 {
        self.durable
    }

    pub(super) fn queued(&self) -> usize {
        self.content.queued()
    }

    pub(super) fn is_quarantined(&self, author: &PeerId) -> bool {
        self.quarantined.contains_key(author)
    }

    /// Ends an author's chain here; says whether it was still open.
    pub(super) fn quarantine(&mut self, author: PeerId, why: String) -> bool {
        self.quarantined.insert(author, why).is_none()
    }

    /// Says whether its author has gone on to another start since: of presence, which no log brings back.
    pub(super) fn is_past(&self, head: &Head) -> bool {
        let chain = self.chains.get(&head.author);
        chain.is_some_and(|chain| chain.has_left(head.incarnation))
    }

    /// Says whether something before this change is missing here.
    pub(super) fn lacks_before(&self, head: &Head) -> bool {
        let rooted = match (self.id, &self.opening) {
            (DocId::Segment(segment), Opening::None | Opening::Pending(_)) => {
                segment.author == head.author
            }
            (DocId::Segment(_), Opening::Written(..)) => true,
            (DocId::Directory | DocId::Presence(_), _) => true,
        };
        let chain = self.chains.get(&head.author);
        let next = chain.map_or(0, Chain::count).checked_add(1);
        let begins_afresh = matches!(self.id, DocId::Presence(_))
            && !chain.is_some_and(|chain| chain.is_current(head.incarnation));
        !rooted || (next != Some(head.count) && !begins_afresh)
    }
}

/// Writing and judging.
impl Document {
    /// Writes a change of this node and returns its envelope and count.
    pub(super) fn write(
        &mut self,
        entries: &[Entry],
        incarnation: Incarnation,
        keys: &dyn Keys,
    ) -> (Arc<[u8]>, u32) {
        let with_header;
        let entries = if let Opening::Pending(header) = &self.opening {
            let header = Entry::Header(header.clone());
            with_header = [&[header], entries].concat();
            &with_header
        } else {
            entries
        };
        let count = self.next_own_count(entries, incarnation);
        let writer = Writer {
            peer: self.me,
            tag: self.me.tag(),
            count,
        };
        let proof = |peer: &PeerId| keys.admission(peer);
        let fit = self
            .fit(writer, incarnation, entries.to_vec(), &proof)
            .unwrap_or_else(|rule| panic!("own changes keep the rules of {:?}: {rule}", self.id));
        let head = Head {
            doc: self.id,
            author: self.me,
            incarnation,
            count,
        };
        let chunk = fit.built.change.raw_bytes();
        let record = seal(&head, chunk, keys);
        assert!(
            record.len() <= super::MAX_ENVELOPE,
            "own changes fit an envelope"
        );
        debug_assert_eq!(
            read_entries(&chunk::read(chunk).expect("own chunks are read"), &writer).as_ref(),
            Ok(&fit.entries),
            "own entries read back as they were written"
        );
        self.append(self.me, fit, &record);
        (record, count)
    }

    fn next_own_count(&self, entries: &[Entry], incarnation: Incarnation) -> u32 {
        let chain = self.chains.get(&self.me);
        let next = chain.map_or(0, Chain::count) + 1;
        match (self.id, entries.first()) {
            // Above what an earlier start of this process may have written in the same minute: it wrote less than once a
            // millisecond. If the wall clock went back in between, peers ignore these beats until the minute ends.
            (DocId::Presence(epoch), Some(Entry::Beat(beat)))
                if !chain.is_some_and(|chain| chain.is_current(incarnation)) =>
            {
                let from = epoch.saturating_mul(PRESENCE_MS);
                let offset = beat.wall.0.saturating_sub(from).min(PRESENCE_MS);
                next.max(u32::try_from(offset).unwrap_or(u32::MAX).saturating_add(1))
            }
            (DocId::Presence(_) | DocId::Directory | DocId::Segment(_), _) => next,
        }
    }

    /// Judges a change from afar whose signature holds.
    pub(super) fn judge(
        &self,
        envelope: &Envelope<'_>,
        proof: &dyn Fn(&PeerId) -> [u8; 32],
    ) -> Result<Judged, Rule> {
        let Head {
            author,
            incarnation,
            count,
            ..
        } = envelope.head;
        let chunk = chunk::read(envelope.chunk)?;
        let writer = Writer {
            peer: author,
            tag: author.tag(),
            count,
        };
        let nothing = Chain::default();
        let place = self.place(&nothing, writer, incarnation)?;
        if chunk.sequence > 1 && place.begins_afresh() {
            return Ok(Judged::Early);
        }
        check_place(&chunk, &place)?;
        let entries = read_entries(&chunk, &writer)?;
        let fit = self.fit(writer, incarnation, entries, proof)?;
        let expected = fit.built.change.raw_bytes();
        if expected == envelope.chunk {
            return Ok(Judged::Fits(Box::new(fit)));
        }
        let expected = chunk::read(expected).expect("own chunks are read");
        if expected.predecessors == chunk.predecessors {
            Err(Rule::Canonical)
        } else {
            Err(Rule::Predecessor)
        }
    }

    /// Returns the change that says `entries` at the author's next place, if it may.
    fn fit(
        &self,
        writer: Writer,
        incarnation: Incarnation,
        entries: Vec<Entry>,
        proof: &dyn Fn(&PeerId) -> [u8; 32],
    ) -> Result<Fit, Rule> {
        let header = self.header();
        let contents = &self.contents;
        let case = Case {
            doc: self.id,
            writer: &writer,
            header,
            contents,
            proof,
        };
        let additions = case.judge(&entries)?;
        let nothing = Chain::default();
        let built = self
            .place(&nothing, writer, incarnation)?
            .change(&entries)?;
        Ok(Fit {
            built,
            additions,
            entries,
        })
    }

    fn place<'a>(
        &'a self,
        nothing: &'a Chain,
        writer: Writer,
        incarnation: Incarnation,
    ) -> Result<Place<'a>, Rule> {
        let root = match &self.opening {
            Opening::None | Opening::Pending(_) => None,
            Opening::Written(_, tip) => Some(*tip),
        };
        let chain = self.chains.get(&writer.peer).unwrap_or(nothing);
        chain.next(self.id, writer, incarnation, root)
    }

    /// Appends a change to its author's chain and returns its entries.
    pub(super) fn append(&mut self, author: PeerId, fit: Fit, record: &Arc<[u8]>) -> Vec<Entry> {
        let Fit {
            built,
            additions,
            entries,
        } = fit;
        let before = self.shown(&author);
        let chain = self.chains.entry(author).or_default();
        chain.append(&built, record);
        if let (Some(Entry::Header(header)), Some(tip)) = (entries.first(), chain.tip()) {
            self.opening = Opening::Written(header.clone(), tip);
        }
        self.contents.add(additions);
        self.content.push(author, built.change);
        self.show(&author, before);
        entries
    }
}

fn check_place(chunk: &Chunk<'_>, place: &Place<'_>) -> Result<(), Rule> {
    let dependency = place.dependency.map(|tip| tip.hash);
    let dependency = dependency.as_ref().map_or(&[][..], |hash| &hash.0);
    if chunk.decoration != Decoration::None {
        Err(Rule::Decoration)
    } else if chunk.actor != place.actor.to_bytes() {
        Err(Rule::Actor)
    } else if chunk.sequence != place.sequence {
        Err(Rule::Sequence)
    } else if chunk.dependencies != dependency {
        Err(Rule::Dependency)
    } else if chunk.start != place.start() {
        Err(Rule::Start)
    } else {
        Ok(())
    }
}

fn read_entries(chunk: &Chunk<'_>, writer: &Writer) -> Result<Vec<Entry>, Rule> {
    chunk
        .operations
        .iter()
        .map(|op| schema::read(op.key, op.value, writer))
        .collect()
}

/// What others see of it.
impl Document {
    /// Returns how many changes of `author` others may see.
    fn shown(&self, author: &PeerId) -> u32 {
        if *author == self.me {
            self.durable
        } else {
            self.count(author)
        }
    }

    /// Brings the digest up to date after `author`'s shown count was `before`.
    fn show(&mut self, author: &PeerId, before: u32) {
        let after = self.shown(author);
        self.digest = self
            .digest
            .wrapping_sub(stamp(self.id, author, before))
            .wrapping_add(stamp(self.id, author, after));
    }

    /// Own changes up to `count` are durable.
    pub(super) fn persisted(&mut self, count: u32) {
        let me = self.me;
        assert!(count <= self.count(&me), "only what was written is durable");
        let before = self.durable;
        self.durable = before.max(count);
        self.show(&me, before);
    }

    /// Returns the digest of what it shows.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the counts that it shows, without zeros.
    pub(super) fn vector(&self) -> impl Iterator<Item = (PeerId, u32)> {
        self.chains
            .keys()
            .map(|author| (*author, self.shown(author)))
            .filter(|(_, n)| *n > 0)
    }

    /// Returns envelopes that `have` lacks, those of the segment's author first, until `limit` bytes are exceeded.
    pub(super) fn since(&self, have: &[(PeerId, u32)], limit: usize) -> Vec<Arc<[u8]>> {
        let mut held = BTreeMap::<&PeerId, u32>::new();
        for (author, count) in have {
            let held = held.entry(author).or_default();
            *held = (*held).max(*count);
        }
        let first = match self.id {
            DocId::Segment(segment) => self.chains.get_key_value(&segment.author),
            DocId::Directory | DocId::Presence(_) => None,
        };
        let others = self
            .chains
            .iter()
            .filter(|(author, _)| first.is_none_or(|f| f.0 != *author));
        let mut bytes = 0_usize;
        let mut records = Vec::new();
        for (author, chain) in first.into_iter().chain(others) {
            let held = held.get(author).copied().unwrap_or(0);
            for record in chain.after(held, self.shown(author)) {
                bytes = bytes.saturating_add(record.len());
                if bytes > limit && !records.is_empty() {
                    return records;
                }
                records.push(Arc::clone(record));
            }
        }
        records
    }
}

/// What it says, read again.
impl Document {
    /// Returns all entries, each author's in order.
    pub(super) fn entries(&self) -> Vec<(PeerId, Entry)> {
        let records = self.since(&[], usize::MAX);
        let mut said = Vec::new();
        for record in &records {
            // What was appended has been read before.
            let Ok(envelope) = Envelope::parse(record) else {
                continue;
            };
            let Head { author, count, .. } = envelope.head;
            let writer = Writer {
                peer: author,
                tag: author.tag(),
                count,
            };
            let entries =
                chunk::read(envelope.chunk).and_then(|chunk| read_entries(&chunk, &writer));
            said.extend(
                entries
                    .unwrap_or_default()
                    .into_iter()
                    .map(|entry| (author, entry)),
            );
        }
        said
    }
}

/// A place's share of a digest: digests are sums of these, so that one change costs two of them and order is nothing.
fn stamp(doc: DocId, author: &PeerId, count: u32) -> u64 {
    const KEY: &[u8; 32] = b"aque 2026: stamp of (author, n).";
    if count == 0 {
        return 0;
    }
    let mut place = [0; 128];
    let place = postcard::to_slice(&(doc, author, count), &mut place).expect("places are short");
    let hash = blake3::keyed_hash(KEY, place);
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}

/// What Automerge makes of it.
impl Document {
    /// Settles if many changes wait.
    pub(super) fn settle_if_due(&mut self) -> Settled {
        if self.content.is_due() {
            self.settle()
        } else {
            Settled::default()
        }
    }

    /// Gives the queued changes to Automerge. Authors whose changes it cannot take are quarantined; of the culprits returned,
    /// all are newly so.
    pub(super) fn settle(&mut self) -> Settled {
        let first = match &self.id {
            DocId::Segment(segment) => Some(segment.author),
            DocId::Directory | DocId::Presence(_) => None,
        };
        let mut settled = self.content.settle(first.as_ref());
        settled
            .culprits
            .retain(|(author, why)| self.quarantine(*author, why.clone()));
        settled
    }

    /// Returns what Automerge holds; settled changes only.
    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// Returns each author's counter of live claims; settled changes only.
    pub(super) fn live(&self) -> Vec<(PeerId, i64)> {
        self.counters(Key::Live).collect()
    }

    /// Returns the sum of all authors' counters of `total`; settled changes only.
    pub(super) fn total(&self, total: Total) -> i64 {
        self.counters(|tag| Key::Count(total, tag))
            .map(|(_, count)| count)
            .sum()
    }

    fn counters(&self, key: impl Fn(Tag) -> Key) -> impl Iterator<Item = (PeerId, i64)> {
        self.chains.iter().filter_map(move |(author, chain)| {
            let key = key(author.tag());
            let counter = chain.has_written(&key).then(|| self.content.counter(&key));
            Some((*author, counter??))
        })
    }
}
