//! Who this node is and how it is: its member record in the directory, and its beats in the presence document of the minute.
//!
//! Presence is never logged. So a node does not write into the document of the minute in which it started (an earlier start may
//! have done so, and a chain has no two beginnings): until the next minute its beats travel in `Hello` messages.

use super::{Replica, Timer};
use crate::entry::{Beat, Entry, Member};
use crate::event::{Notice, Output};
use crate::ids::{DocId, PeerId, Tag};
use crate::message::Message;
use crate::roster::{BEAT_EVERY, MemberView, Standing};
use crate::time::Wall;

/// The length of a presence document, milliseconds.
const MINUTE_MS: u64 = 60_000;
/// A peer's wall clock may differ by so much before it is reported, milliseconds.
const SKEW_MS: u64 = 30_000;

impl Replica {
    /// Writes the own member record if the directory has another one or none.
    pub(super) fn join(&mut self) {
        let old = self
            .ledger
            .members()
            .find(|(peer, _)| *peer == self.me)
            .map(|(_, m)| m.clone());
        let member = Member {
            name: self.name.clone(),
            proof: self.ledger.keys().admission(&self.me),
            addresses: self.addresses.clone(),
            joined: old.as_ref().map_or(self.now.wall, |old| old.joined),
            left: false,
        };
        let member = match &old {
            Some(old) if self.addresses.is_empty() => Member {
                addresses: old.addresses.clone(),
                ..member
            },
            Some(_) | None => member,
        };
        if old.as_ref() != Some(&member) {
            self.staged.entry(DocId::Directory).or_default().member = Some(member.clone());
        }
        self.roster.learn(self.me, member);
        self.refresh_alive();
    }

    /// The node listens at these addresses now.
    pub(super) fn listen_at(&mut self, mut addresses: Vec<String>) {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.retain(|address| address.len() <= 128);
        addresses.truncate(8);
        if self.addresses != addresses {
            self.addresses = addresses;
            self.join();
        }
    }

    /// Returns how this node is.
    pub(super) fn beat(&self) -> Beat {
        let running = self.claims.iter().filter(|ix| {
            self.known(**ix)
                .claim
                .is_some_and(|claim| claim.phase == crate::claim::Phase::Running)
        });
        Beat {
            count: self.beats,
            wall: self.now.wall,
            cpu_milli: self.offered.cpu_milli,
            free_milli: if self.draining || self.is_retired() {
                0
            } else {
                self.schedule.free_milli()
            },
            memory_bytes: self.offered.memory_bytes,
            resources: self.offered.resources.clone(),
            platform: self.platform.clone(),
            runs_as: self.runs_as.clone(),
            running: u32::try_from(running.count()).unwrap_or(u32::MAX),
            load_centi: self.load_centi,
            progress: self.progress.clone(),
            missing: self.missing_places(),
            version: self.version.clone(),
            neighbours: self
                .roster
                .connected()
                .map(|peer| peer.tag())
                .take(1_024)
                .collect(),
        }
    }

    pub(super) fn write_beat(&mut self) {
        self.beats = self.beats.wrapping_add(1);
        let beat = self.beat();
        self.refresh_alive();
        self.mind_committees();
        self.tend_lapses();
        self.set_timer(self.now.mono + BEAT_EVERY, Timer::Beat);
        let minute = self.now.wall.0 / MINUTE_MS;
        self.drop_old_presence(minute);
        let peers: Vec<PeerId> = self.roster.connected().collect();
        self.roster.beat(self.me, beat.clone(), self.now);
        if minute <= self.boot_minute() {
            for peer in peers {
                self.send(
                    peer,
                    &Message::Hello(self.incarnation, Box::new(beat.clone())),
                );
            }
            return;
        }
        let doc = DocId::Presence(minute);
        let (record, count) = self.ledger.write(doc, &[Entry::Beat(beat)]);
        self.ledger.persisted(doc, count);
        self.send_changes(&peers, vec![record]);
    }

    fn boot_minute(&self) -> u64 {
        let age = u64::try_from(self.now.mono.since(self.booted).as_millis()).unwrap_or(u64::MAX);
        self.now.wall.0.saturating_sub(age) / MINUTE_MS
    }

    fn drop_old_presence(&mut self, minute: u64) {
        let old: Vec<DocId> = self
            .ledger
            .presence()
            .filter(|doc| matches!(doc, DocId::Presence(of) if *of + 1 < minute))
            .collect();
        for doc in old {
            self.ledger.drop_document(doc);
        }
    }

    /// Says whether a presence document is of about now.
    pub(super) fn is_current(&self, minute: u64) -> bool {
        minute.abs_diff(self.now.wall.0 / MINUTE_MS) <= 1
    }

    pub(super) fn take_beat(&mut self, peer: PeerId, beat: Beat) {
        if beat.wall.0.abs_diff(self.now.wall.0) > SKEW_MS {
            self.counters.skewed_beats += 1;
            let theirs: Wall = beat.wall;
            self.outputs
                .push_back(Output::Notice(Notice::Skewed { peer, theirs }));
        }
        self.roster.beat(peer, beat, self.now);
    }

    /// Looks up who takes part now; ranks depend on it.
    pub(super) fn refresh_alive(&mut self) {
        let now = self.now.mono;
        let alive: Vec<Tag> = self
            .roster
            .members()
            .filter(|tag| self.roster.is_alive(*tag, now) && !self.roster.is_draining(*tag))
            .collect();
        self.alive = if alive.is_empty() {
            vec![self.tag]
        } else {
            alive
        };
    }

    /// Returns how every member stands, in brief.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.roster.standings(self.now.mono)
    }

    /// Returns the members as people see them, this node first.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        self.roster.views(self.now.mono)
    }
}
