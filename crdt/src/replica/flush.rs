//! Writing: own entries gather until the disk is free, then go out as one change a document, one record each, one sync for all.
//!
//! Law 2 lives here: what a flush carries is sent, answered for and counted only when its `Persisted` came back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Replica, Timer};
use crate::config::Sabotage;
use crate::entry::{
    Bid, ClaimMark, Duty, Entry, Harm, Member, Motion, OutcomeAt, SpecChunk, Stand, Total, Vote,
};
use crate::event::{Output, PersistToken};
use crate::graph::TaskIx;
use crate::ids::{DocId, PeerId, SegmentId};
use crate::lapses::Lapsed;
use crate::message::{FULL_FRAME, Message};
use crate::settings::Stated;
use crate::task::{About, TaskSpec, Want};

/// Flushes follow each other no closer than this: it gathers a batch and costs little against a sync.
const FLUSH_PACE: Duration = Duration::from_millis(3);

/// Own entries of one document that wait for the next flush.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Environments and ends of segments, in order.
    pub(super) entries: Vec<Entry>,
    pub(super) member: Option<Member>,
    pub(super) specs: BTreeMap<u16, TaskSpec>,
    pub(super) bids: BTreeMap<u16, Bid>,
    pub(super) votes: BTreeMap<u16, Vote>,
    pub(super) outcomes: BTreeMap<u16, OutcomeAt>,
    pub(super) harms: BTreeMap<u16, Harm>,
    pub(super) marks: BTreeMap<u16, ClaimMark>,
    /// By place, and by what they are about.
    pub(super) wants: BTreeMap<(u16, About), Want>,
    pub(super) motion: Option<Motion>,
    pub(super) stand: Option<Stand>,
    pub(super) wait: Option<Duration>,
    pub(super) duties: BTreeMap<PeerId, Duty>,
    pub(super) settings: BTreeMap<String, Stated>,
    pub(super) lapsed: BTreeMap<PeerId, Lapsed>,
    /// Change of the PN-counter of live claims.
    pub(super) live: i64,
    totals: BTreeMap<Total, i64>,
    pub(super) tasks: Vec<TaskIx>,
}

impl Staged {
    /// Counts one of `total`.
    pub(super) fn count(&mut self, total: Total) {
        *self.totals.entry(total).or_default() += 1;
    }

    /// Returns the entries of one change. Registers of one task are merged: only the last of a flush was ever written.
    fn into_entries(self) -> Vec<Entry> {
        let mut entries = self.entries;
        let submitted = self
            .specs
            .values()
            .map(|spec| i64::from(spec.places()))
            .sum();
        let mut specs = self.specs.into_iter().peekable();
        while let Some((first, spec)) = specs.next() {
            let mut next = after(first, spec.places());
            let mut chunk = vec![spec];
            while chunk.len() < 64
                && let Some((_, spec)) = specs.next_if(|(place, _)| *place == next)
            {
                next = after(next, spec.places());
                chunk.push(spec);
            }
            entries.push(Entry::Specs(SpecChunk {
                first,
                specs: chunk,
            }));
        }
        if !self.bids.is_empty() {
            entries.push(Entry::Bids(self.bids.into_values().collect()));
        }
        if !self.votes.is_empty() {
            entries.push(Entry::Votes(self.votes.into_values().collect()));
        }
        if !self.outcomes.is_empty() {
            entries.push(Entry::Outcomes(self.outcomes.into_values().collect()));
        }
        if !self.harms.is_empty() {
            entries.push(Entry::Harms(self.harms.into_values().collect()));
        }
        entries.extend(
            self.marks
                .into_iter()
                .map(|(place, mark)| Entry::Claim(place, mark)),
        );
        entries.extend(
            self.wants
                .into_iter()
                .map(|((place, _), want)| Entry::Want(place, want)),
        );
        entries.extend(self.motion.map(Entry::Motion));
        entries.extend(self.stand.map(Entry::Stand));
        entries.extend(self.wait.map(Entry::Wait));
        entries.extend(self.member.map(Entry::Member));
        let duties = self.duties.into_iter();
        entries.extend(duties.map(|(peer, duty)| Entry::Duty(peer, duty)));
        let settings = self.settings.into_iter();
        entries.extend(settings.map(|(name, said)| Entry::Setting(name, said)));
        let lapsed = self.lapsed.into_iter();
        entries.extend(lapsed.map(|(peer, lapsed)| Entry::Lapsed(peer, lapsed)));
        if self.live != 0 {
            entries.push(Entry::Live(self.live));
        }
        if submitted > 0 {
            entries.push(Entry::Count(Total::Submitted, submitted));
        }
        entries.extend(
            self.totals
                .into_iter()
                .map(|(total, by)| Entry::Count(total, by)),
        );
        entries
    }
}

/// The place after so many from a place on.
pub(super) fn after(place: u16, count: u32) -> u16 {
    place + u16::try_from(count).expect("a spec has no more places than a segment")
}

/// What the disk is writing.
#[derive(Debug)]
pub(super) struct Flight {
    token: PersistToken,
    own: Vec<(DocId, u32, Arc<[u8]>)>,
    pub(super) tasks: Vec<TaskIx>,
    confirm: BTreeMap<(PeerId, DocId), u32>,
}

impl Flight {
    /// Says whether something of a document is being written.
    pub(super) fn touches(&self, doc: DocId) -> bool {
        let own = self.own.iter().any(|(of, ..)| *of == doc);
        own || self.confirm.keys().any(|(_, of)| *of == doc)
    }
}

impl Replica {
    /// Returns what waits to be written of a task's segment, and marks the task's own entries as not durable.
    pub(super) fn stage(&mut self, ix: TaskIx) -> &mut Staged {
        let task = &mut self.tasks[ix as usize];
        task.staged = self.flush;
        let staged = self.staged.entry(DocId::Segment(task.segment)).or_default();
        staged.tasks.push(ix);
        staged
    }

    /// The count that the next own change in this segment will have.
    pub(super) fn next_count(&self, segment: SegmentId) -> u32 {
        self.ledger.count(DocId::Segment(segment), &self.me) + 1
    }

    /// The number of own changes in a segment once all that is staged there is written.
    pub(super) fn count_with_staged(&self, segment: SegmentId) -> u32 {
        let doc = DocId::Segment(segment);
        self.ledger.count(doc, &self.me) + u32::from(self.staged.contains_key(&doc))
    }

    pub(super) fn flush_if_due(&mut self) {
        let idle = self.staged.is_empty() && self.foreign.is_empty();
        if idle || self.flight.is_some() {
            return;
        }
        let due = self.last_flush + FLUSH_PACE;
        if self.now.mono < due {
            self.set_timer(due, Timer::Flush);
            return;
        }
        self.flush_now();
    }

    fn flush_now(&mut self) {
        self.last_flush = self.now.mono;
        let mut records = std::mem::take(&mut self.foreign);
        self.foreign_bytes = 0;
        let mut own = Vec::new();
        let mut tasks = Vec::new();
        for (doc, mut staged) in std::mem::take(&mut self.staged) {
            tasks.append(&mut staged.tasks);
            let (record, count) = self.ledger.write(doc, &staged.into_entries());
            records.push(Arc::clone(&record));
            own.push((doc, count, record));
        }
        let token = self.flush;
        self.flush += 1;
        self.counters.flushes += 1;
        self.counters.records += records.len() as u64;
        let confirm = std::mem::take(&mut self.to_confirm);
        if self.broken == Some(Sabotage::VotesNotDurable) {
            self.push_own(&own);
        }
        self.flight = Some(Flight {
            token,
            own,
            tasks,
            confirm,
        });
        self.outputs.push_back(Output::Persist { token, records });
    }

    /// The disk holds everything up to `token`: it counts, and it may be seen.
    pub(super) fn persisted(&mut self, token: PersistToken) {
        if std::mem::take(&mut self.stalled) {
            // What was left undone meanwhile is looked at again.
            self.dirty.extend((0..self.tasks.len()).map(super::index));
        }
        let Some(flight) = self.flight.take_if(|flight| flight.token <= token) else {
            self.counters.strange_persists += 1;
            return;
        };
        self.durable = flight.token;
        for (doc, count, _) in &flight.own {
            self.ledger.persisted(*doc, *count);
            if let DocId::Segment(id) = doc {
                self.note_word(*id);
            }
        }
        if self.broken != Some(Sabotage::VotesNotDurable) {
            self.push_own(&flight.own);
        }
        self.confirm(flight.confirm);
        self.dirty.extend(flight.tasks);
        self.answer_submissions();
    }

    fn push_own(&mut self, own: &[(DocId, u32, Arc<[u8]>)]) {
        let peers: Vec<PeerId> = self.roster.connected().collect();
        let records: Vec<Arc<[u8]>> = own
            .iter()
            .map(|(_, _, record)| Arc::clone(record))
            .collect();
        self.send_changes(&peers, records);
    }

    /// Sends changes to peers, in frames of a bounded size that are encoded once.
    pub(super) fn send_changes(&mut self, peers: &[PeerId], records: Vec<Arc<[u8]>>) {
        if peers.is_empty() {
            return;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut frames = Vec::new();
        for record in records {
            if bytes + record.len() > FULL_FRAME && !batch.is_empty() {
                frames.push(Message::Changes(std::mem::take(&mut batch)));
                bytes = 0;
            }
            bytes += record.len();
            batch.push(record);
        }
        if !batch.is_empty() {
            frames.push(Message::Changes(batch));
        }
        for frame in frames {
            let (lane, encoded) = (frame.lane(), frame.encode());
            for to in peers {
                self.counters.frames_sent += 1;
                self.outputs.push_back(Output::Send {
                    to: *to,
                    lane,
                    bytes: Arc::clone(&encoded),
                });
            }
        }
    }

    /// Tells authors how much of theirs this disk holds.
    fn confirm(&mut self, confirm: BTreeMap<(PeerId, DocId), u32>) {
        let mut by_author: BTreeMap<PeerId, Vec<(DocId, u32)>> = BTreeMap::new();
        for ((author, doc), count) in confirm {
            by_author.entry(author).or_default().push((doc, count));
        }
        for (author, list) in by_author {
            if self.roster.is_connected(author.tag()) {
                self.send(author, &Message::Stored(list));
            }
        }
    }
}
