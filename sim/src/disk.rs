//! A simulated disk: one append-only log, durable after a sync that takes its time; a crash keeps some prefix of what was not
//! synced (a torn record counts as absent: storage drops it by its checksum); a full disk stalls and is tried again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crdt::event::PersistToken;
use fastrand::Rng;

use crate::chance;

/// How fast a disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskModel {
    /// No sync takes less.
    pub least: Duration,
    /// The mean of what it takes beyond that.
    pub mean: Duration,
}

impl Default for DiskModel {
    /// A solid-state disk: 100 us and, on average, 300 us more.
    fn default() -> Self {
        Self {
            least: Duration::from_micros(100),
            mean: Duration::from_micros(300),
        }
    }
}

/// What a disk does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskStep {
    /// Nothing: idle, or a sync is under way already.
    Nothing,
    /// A sync began; it is done after so many nanoseconds.
    SyncIn(u64),
    /// It is full: the oldest batch could not be written.
    Stalled(PersistToken),
}

/// The disk of one host.
#[derive(Debug)]
pub struct Disk {
    /// How fast it is.
    pub model: DiskModel,
    rng: Rng,
    log: Vec<Arc<[u8]>>,
    waiting: VecDeque<(PersistToken, Vec<Arc<[u8]>>)>,
    syncing: usize,
    full: bool,
    copied: Option<usize>,
}

impl Disk {
    /// Returns an empty disk.
    #[must_use]
    pub fn new(model: DiskModel, rng: Rng) -> Self {
        Self {
            model,
            rng,
            log: Vec::new(),
            waiting: VecDeque::new(),
            syncing: 0,
            full: false,
            copied: None,
        }
    }

    /// Returns what is durable, in order.
    #[must_use]
    pub fn records(&self) -> &[Arc<[u8]>] {
        &self.log
    }

    /// Returns how many batches are not durable.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// Says whether it is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Fills the disk: from now on nothing can be written.
    pub fn fill(&mut self) {
        self.full = true;
    }

    /// Makes room again; the next retry succeeds.
    pub fn free(&mut self) {
        self.full = false;
    }

    /// Drops the durable records that nobody needs any more.
    pub fn compact(&mut self, keep: impl FnMut(&Arc<[u8]>) -> bool) {
        self.copied = None;
        self.log.retain(keep);
    }

    /// Takes a batch of records to write.
    pub fn append(&mut self, token: PersistToken, records: Vec<Arc<[u8]>>) -> DiskStep {
        self.waiting.push_back((token, records));
        self.begin()
    }

    /// Begins a sync of everything that waits, if none is under way.
    pub fn begin(&mut self) -> DiskStep {
        match self.waiting.front() {
            Some(_) if self.syncing > 0 => DiskStep::Nothing,
            Some((token, _)) if self.full => DiskStep::Stalled(*token),
            Some(_) => {
                self.syncing = self.waiting.len();
                let extra = chance::exponential(&mut self.rng, chance::nanos(self.model.mean));
                DiskStep::SyncIn(chance::nanos(self.model.least) + extra)
            }
            None => DiskStep::Nothing,
        }
    }

    /// Ends the sync under way. Returns the newest token that is durable now.
    pub fn finish(&mut self) -> Option<PersistToken> {
        let mut newest = None;
        for (token, records) in self.waiting.drain(..self.syncing) {
            self.log.extend(records);
            newest = Some(token);
        }
        self.syncing = 0;
        newest
    }

    /// The node or the host died: some prefix of what was not durable is there all the same.
    pub fn crash(&mut self) {
        let lost: Vec<Arc<[u8]>> = self
            .waiting
            .drain(..)
            .flat_map(|(_, records)| records)
            .collect();
        // Half of the crashes lose everything that was not synced: the harshest and the most likely case.
        let kept = if self.rng.bool() {
            0
        } else {
            self.rng.usize(0..=lost.len())
        };
        self.log.extend(lost.into_iter().take(kept));
        self.syncing = 0;
    }

    /// Makes a copy of what is durable.
    pub fn copy(&mut self) {
        self.copied = Some(self.log.len());
    }

    /// The newest copy, if there is one, takes the disk's place: what nobody may do under the old identity.
    pub fn roll_back(&mut self) {
        if let Some(length) = self.copied {
            self.log.truncate(length);
        }
    }

    /// Everything on it is gone.
    pub fn wipe(&mut self) {
        self.crash_and_lose();
        self.log.clear();
        self.copied = None;
    }

    /// As [`Disk::crash`], with nothing kept that was not durable.
    pub fn crash_and_lose(&mut self) {
        self.waiting.clear();
        self.syncing = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> Arc<[u8]> {
        vec![n].into()
    }

    #[test]
    fn one_sync_serves_what_waited_when_it_began() {
        let mut disk = Disk::new(DiskModel::default(), Rng::with_seed(1));
        assert!(matches!(
            disk.append(1, vec![record(1)]),
            DiskStep::SyncIn(_)
        ));
        assert_eq!(disk.append(2, vec![record(2)]), DiskStep::Nothing);
        assert_eq!(disk.finish(), Some(1));
        assert_eq!(disk.records().len(), 1);
        assert!(matches!(disk.begin(), DiskStep::SyncIn(_)));
        assert_eq!(disk.finish(), Some(2));
        assert_eq!(disk.begin(), DiskStep::Nothing);
    }

    #[test]
    fn a_crash_keeps_a_prefix() {
        for seed in 0..50 {
            let mut disk = Disk::new(DiskModel::default(), Rng::with_seed(seed));
            disk.append(1, vec![record(1), record(2)]);
            disk.append(2, vec![record(3)]);
            disk.crash();
            let kept: Vec<u8> = disk.records().iter().map(|record| record[0]).collect();
            assert!([1, 2, 3].starts_with(&kept));
            assert_eq!(disk.backlog(), 0);
        }
    }

    #[test]
    fn a_full_disk_stalls_and_goes_on() {
        let mut disk = Disk::new(DiskModel::default(), Rng::with_seed(1));
        disk.fill();
        assert_eq!(disk.append(7, vec![record(1)]), DiskStep::Stalled(7));
        disk.free();
        assert!(matches!(disk.begin(), DiskStep::SyncIn(_)));
        assert_eq!(disk.finish(), Some(7));
    }
}
