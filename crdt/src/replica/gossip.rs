//! Frames: pushed changes, their repair by digests, heartbeats and acks.
//!
//! Repair: `Root` (one number for everything) → on a difference `Documents` (a number a document) → `Vector` (how many changes
//! of each author) → `Changes`. Every step is idempotent and may be lost; it starts again at each connection and at intervals.

use std::sync::Arc;
use std::time::Duration;

use super::{Replica, Segment, Timer};
use crate::config::Sabotage;
use crate::event::{Notice, Output};
use crate::ids::{DocId, PeerId, SegmentId, Tag};
use crate::ledger::Accepted;
use crate::message::{Ack, Heartbeat, Message};
use crate::offences::Offence;
use crate::time::Mono;

/// Digests are exchanged with every neighbour this often, give or take a quarter.
const SYNC_EVERY: Duration = Duration::from_secs(10);
/// After a difference was found, digests are exchanged again after this.
const SYNC_AGAIN: Duration = Duration::from_secs(1);
/// One document is asked for at most this often from one peer.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// What waits for the disk at most; more is refused and comes again by repair. Bytes.
const FOREIGN_LIMIT: usize = 64 << 20;
/// What one answer to a vector carries at most; the rest is asked for again. Bytes.
const REPAIR_LIMIT: usize = 4 << 20;

impl Replica {
    pub(super) fn send(&mut self, to: PeerId, message: &Message) {
        self.counters.frames_sent += 1;
        let (lane, bytes) = (message.lane(), message.encode());
        self.outputs.push_back(Output::Send { to, lane, bytes });
    }

    pub(super) fn peer_up(&mut self, peer: PeerId) {
        self.roster.up(peer, self.now.mono);
        self.refresh_alive();
        let beat = self.beat();
        self.send(peer, &Message::Hello(self.incarnation, Box::new(beat)));
        self.send(peer, &Message::Root(self.ledger.root()));
        self.unpark();
    }

    pub(super) fn peer_down(&mut self, peer: PeerId) {
        self.roster.down(peer);
        self.in_step.remove(&peer.tag());
        self.differing.remove(&peer.tag());
        self.refresh_alive();
        self.asked.retain(|(of, _), _| *of != peer);
    }

    pub(super) fn send_roots(&mut self) {
        let root = self.ledger.root();
        let peers: Vec<PeerId> = self.roster.connected().collect();
        for peer in peers {
            self.send(peer, &Message::Root(root));
        }
        let now = self.now.mono;
        self.asked.retain(|_, at| now.since(*at) < ASK_EVERY);
        self.ledger.settle_all(1);
        self.tell_quarantined();
        let quarter = SYNC_EVERY.as_millis() / 4;
        let spread = u64::try_from(quarter).unwrap_or(0);
        let jitter = Duration::from_millis(self.chance.u64(0..=2 * spread));
        self.sync_by(now + SYNC_EVERY * 3 / 4 + jitter);
    }

    /// Compares digests again at this instant, or earlier if that is planned.
    pub(super) fn sync_by(&mut self, at: Mono) {
        if self
            .next_sync
            .is_some_and(|planned| planned > self.now.mono && planned <= at)
        {
            return;
        }
        if let Some(planned) = self.next_sync.replace(at) {
            self.timers.remove(&(planned, Timer::Sync));
        }
        self.set_timer(at, Timer::Sync);
    }

    fn tell_quarantined(&mut self) {
        for (_, author, why) in self.ledger.take_quarantined() {
            self.counters.quarantined += 1;
            self.outputs
                .push_back(Output::Notice(Notice::Quarantined { author, why }));
        }
    }

    pub(super) fn take_frame(&mut self, from: PeerId, frame: &[u8]) {
        let Ok(message) = Message::decode(frame) else {
            self.counters.bad_frames += 1;
            self.offences.note(from, Offence::Frame, self.now.wall);
            return;
        };
        self.counters.frames_received += 1;
        self.roster.hear(from, self.now.mono);
        match message {
            Message::Hello(_, beat) => self.take_beat(from, *beat),
            Message::Changes(list) => self.take_changes(from, &list),
            Message::Root(root) => {
                let compares = self.broken != Some(Sabotage::NoRepair);
                if root == self.ledger.root() {
                    self.in_step.insert(from.tag());
                    self.differing.insert(from.tag(), 0);
                } else if compares {
                    // In how many, its own list tells, which answers this node's own digest.
                    let known = self.differing.entry(from.tag()).or_default();
                    *known = (*known).max(1);
                    let list = self.ledger.documents().collect();
                    self.send(from, &Message::Documents(list));
                }
            }
            Message::Documents(list) => self.compare(from, &list),
            Message::Vector(doc, have) => self.repair(from, doc, &have),
            Message::Heartbeat(beat) => self.acknowledge(from, &beat),
            Message::Ack(ack) => self.take_ack(from, &ack),
            Message::Stored(list) => self.take_stored(from, &list),
        }
    }

    fn take_changes(&mut self, from: PeerId, list: &[Arc<[u8]>]) {
        for record in list {
            if self.foreign_bytes > FOREIGN_LIMIT {
                self.counters.backlog_drops += 1;
                return;
            }
            self.take_change(from, record);
        }
        self.tell_quarantined();
    }

    fn take_change(&mut self, from: PeerId, record: &Arc<[u8]>) {
        let Some((doc, author, _)) = crate::ledger::Ledger::peek(record) else {
            self.counters.refused_changes += 1;
            self.offences.note(from, Offence::Envelope, self.now.wall);
            return;
        };
        let lasting = match doc {
            DocId::Presence(minute) => {
                if !self.is_current(minute) {
                    self.counters.stale_beats += 1;
                    return;
                }
                false
            }
            DocId::Segment(_) if self.has_lapsed(doc) => {
                self.counters.lapsed_changes += 1;
                return;
            }
            DocId::Directory | DocId::Segment(_) => true,
        };
        match self.ledger.accept(record) {
            Ok(Accepted::New(change)) => {
                self.counters.changes += 1;
                self.pass_on(from, author, record);
                if lasting {
                    self.foreign.push(Arc::clone(record));
                    self.foreign_bytes += record.len();
                    self.note_to_confirm(&change);
                }
                self.fold(change);
            }
            Ok(Accepted::Known) => self.counters.known_changes += 1,
            Ok(Accepted::Gap { doc }) => {
                self.counters.gaps += 1;
                self.ask(from, doc);
            }
            Ok(Accepted::Stranger { .. }) => {
                self.counters.strangers += 1;
                self.ask(from, DocId::Directory);
                self.ask(from, doc);
            }
            Err(why) => {
                self.counters.refused_changes += 1;
                let author = Some(author).filter(|author| self.ledger.is_member(author));
                self.offences.refused(from, author, why, self.now.wall);
            }
        }
    }

    /// Witnesses tell a segment's author when its specs are on their disk too.
    fn note_to_confirm(&mut self, change: &crate::ledger::Change) {
        let DocId::Segment(id) = change.doc else {
            return;
        };
        if id.author != change.author {
            return;
        }
        // A sealed member's disk does not count any more: the next committee starts from what it had then.
        let counts = |segment: &Segment| {
            segment.committee.contains(&self.tag) && !segment.is_sealed(self.tag)
        };
        let known = self.segments.get(&id);
        let opens = || {
            let header = self.ledger.header(id);
            header.is_some_and(|header| header.committee.contains(&self.me))
        };
        if known.map_or_else(opens, counts) {
            self.to_confirm
                .insert((change.author, change.doc), change.count);
        }
    }

    /// Forwards what was new here to neighbours that its author may not reach.
    fn pass_on(&mut self, from: PeerId, author: PeerId, record: &Arc<[u8]>) {
        if self.broken == Some(Sabotage::NoRelay) {
            return;
        }
        let (via, source) = (from.tag(), author.tag());
        let targets: Vec<PeerId> = self
            .roster
            .connected()
            .filter(|peer| ![via, source].contains(&peer.tag()))
            .filter(|peer| !self.roster.are_neighbours(source, peer.tag()))
            .collect();
        for peer in targets {
            self.forward
                .entry(peer)
                .or_default()
                .push(Arc::clone(record));
        }
    }

    pub(super) fn send_forwards(&mut self) {
        for (peer, records) in std::mem::take(&mut self.forward) {
            self.counters.forwarded += records.len() as u64;
            self.send_changes(&[peer], records);
        }
    }

    fn ask(&mut self, peer: PeerId, doc: DocId) {
        let now = self.now.mono;
        if self
            .asked
            .get(&(peer, doc))
            .is_some_and(|at| now.since(*at) < ASK_EVERY)
        {
            return;
        }
        self.asked.insert((peer, doc), now);
        let vector = self.ledger.vector(doc);
        self.send(peer, &Message::Vector(doc, vector));
    }

    fn compare(&mut self, from: PeerId, list: &[(DocId, u64)]) {
        let mut differing = 0;
        for (doc, digest) in list {
            if self.ledger.digest(*doc) != Some(*digest) && !self.has_lapsed(*doc) {
                differing += 1;
                self.ask(from, *doc);
            }
        }
        // What one round could not carry is asked for soon.
        self.sync_by(self.now.mono + SYNC_AGAIN);
        let theirs: std::collections::BTreeSet<DocId> = list.iter().map(|(doc, _)| *doc).collect();
        let missing: Vec<DocId> = self
            .ledger
            .documents()
            .map(|(doc, _)| doc)
            .filter(|doc| !theirs.contains(doc) && !self.has_lapsed(*doc))
            .collect();
        self.differing.insert(from.tag(), differing + missing.len());
        for doc in missing {
            let records = self.ledger.since(doc, &[], REPAIR_LIMIT);
            let records = self.told_to_others(records);
            self.send_changes(&[from], records);
        }
    }

    fn repair(&mut self, from: PeerId, doc: DocId, have: &[(PeerId, u32)]) {
        if self.has_lapsed(doc) {
            self.counters.lapsed_changes += 1;
            return;
        }
        let records = self.ledger.since(doc, have, REPAIR_LIMIT);
        let records = self.told_to_others(records);
        self.counters.repaired += records.len() as u64;
        self.send_changes(&[from], records);
        let ahead = have
            .iter()
            .any(|(author, count)| *count > self.ledger.count(doc, author));
        if ahead {
            self.ask(from, doc);
        }
    }

    /// L6: everything that is known is passed on, whoever wrote it.
    fn told_to_others(&self, mut records: Vec<Arc<[u8]>>) -> Vec<Arc<[u8]>> {
        if self.broken == Some(Sabotage::NoRelay) {
            records.retain(|record| {
                crate::ledger::Ledger::peek(record).is_some_and(|(_, author, _)| author == self.me)
            });
        }
        records
    }

    /// V5: answers every heartbeat, and says what the claimant must have seen for the answer to count.
    fn acknowledge(&mut self, from: PeerId, beat: &Heartbeat) {
        let claimant = from.tag();
        let left = beat
            .segments
            .iter()
            .filter_map(|id| Some((*id, self.left_behind(*id, claimant)?)))
            .collect();
        self.acked.insert(claimant, self.now.mono);
        let ack = Ack {
            incarnation: beat.incarnation,
            sent: beat.sent,
            left,
        };
        self.send(from, &Message::Ack(ack));
    }

    /// R4: own changes in a segment up to the last vote that left this claimant, at least those before this start.
    fn left_behind(&self, id: SegmentId, claimant: Tag) -> Option<u32> {
        let segment = self.segments.get(&id)?;
        segment.committee.contains(&self.tag).then(|| {
            let left = self.left.get(&(id, claimant)).copied().unwrap_or(0);
            left.max(segment.boot_count).max(segment.sealed_at)
        })
    }

    fn take_ack(&mut self, from: PeerId, ack: &Ack) {
        if ack.incarnation != self.incarnation || ack.sent > self.now.mono {
            self.counters.strange_acks += 1;
            return;
        }
        let from_receipt = self.broken == Some(Sabotage::LeaseFromReceipt);
        let sent = if from_receipt {
            self.now.mono
        } else {
            ack.sent
        };
        for (id, left) in &ack.left {
            let key = (*id, from.tag());
            let seen = self.ledger.count(DocId::Segment(*id), &from);
            let left = if self.broken == Some(Sabotage::StaleLeft) {
                0
            } else {
                *left
            };
            if self.segments.contains_key(id) && self.answers.note(key, sent, left, seen) {
                self.touch_claims_in(*id);
            }
        }
    }

    /// Sabotage: a vote counts from its receipt.
    pub(super) fn note_receipt(&mut self, id: SegmentId, writer: Tag) {
        if self.broken == Some(Sabotage::LeaseFromReceipt) {
            let now: Mono = self.now.mono;
            self.answers.note((id, writer), now, 0, 0);
        }
    }
}
