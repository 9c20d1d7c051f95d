//! The thread that owns the log.
//!
//! Batches are queued without waiting and completed in order by [`LogEvent`]s. While the disk is
//! busy with one group, what is submitted gathers and becomes the next: no timer, no delay when
//! idle, and as few syncs as the disk can do when busy.
//!
//! A second thread keeps house: it prepares the next file, trims sealed ones and compacts.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::warn;

use super::compaction::{Compaction, Keep};
use super::log::{Appended, Background, Log, LogError, check};
use crate::panics;

/// Most batches that may wait. A node has a few under way; this is a bound, not a target.
const BATCHES: usize = 4096;

/// Most bytes that may wait; one batch may exceed it when nothing else waits.
const QUEUE_BYTES: usize = 64 << 20;

/// Bytes after which a group takes no further batch: a sync of some ten milliseconds on a slow
/// disk.
const GROUP_TARGET: usize = 2 << 20;

/// Most chores that may wait for the house-keeper; more are left out, and come up again.
const CHORES: usize = 64;

/// A handle to the log's threads. Dropping it writes what was submitted, and waits for that.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    chores: Option<std_mpsc::SyncSender<Chore>>,
}

/// What the log's threads tell.
#[derive(Debug)]
pub enum LogEvent {
    /// A batch is durable, or was not written at all. In the order of submission.
    Written {
        /// The caller's name for the batch.
        token: u64,
        /// Of several batches that went out together, all share one error. The log can be used as
        /// before: the caller may submit the same again, and should wait a little if the disk is
        /// full.
        result: Result<(), Arc<LogError>>,
    },
    /// The writing thread has panicked: a mistake in the program. What was not written is lost, and nothing more is taken.
    Ended {
        /// Its words.
        why: String,
    },
    /// A compaction has come to its end.
    Compacted {
        /// The caller's name for it.
        token: u64,
        /// What it did.
        result: Result<Compaction, LogError>,
    },
}

/// Why something was not accepted. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Too much waits for the disk. Wait for a completion.
    #[error("the log is busy: {0} batches wait for the disk")]
    Busy(usize),
    /// The batch can never be written.
    #[error(transparent)]
    Bad(#[from] LogError),
    /// The threads have ended.
    #[error("the log is closed")]
    Closed,
}

/// Counters since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Batches that became durable.
    pub batches: u64,
    /// Their records.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Groups, which is syncs.
    pub groups: u64,
    /// Groups that failed.
    pub failures: u64,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    batches: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Batch>,
    bytes: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Closed,
}

#[derive(Debug)]
struct Batch {
    token: u64,
    records: Vec<Bytes>,
    bytes: usize,
}

/// Says which records are kept.
type Verdict = Box<dyn FnMut(&[u8]) -> Keep + Send>;

/// Work for the house-keeper.
enum Chore {
    Prepare,
    Trim(u64),
    Compact { token: u64, keep: Verdict },
}

impl LogWriter {
    /// Starts the threads. Events come through the receiver, which must be read: the threads wait
    /// for room in it. When it is dropped, batches are written all the same.
    ///
    /// # Errors
    /// The kernel's: no thread is left.
    pub fn start(log: Log) -> io::Result<(Self, mpsc::Receiver<LogEvent>)> {
        let (events, receiver) = mpsc::channel(256);
        let shared = Arc::new(Shared::new());
        let (chores, todo) = std_mpsc::sync_channel(CHORES);
        let background = log.background();
        let tell = events.clone();
        let keeper = std::thread::Builder::new()
            .name("log-keeper".into())
            .spawn(move || keep_house(&background, &todo, &tell))?;
        let chores_too = chores.clone();
        let desk = Desk {
            log,
            shared: Arc::clone(&shared),
            chores: chores_too,
            events,
            prepared_for: 0,
        };
        let (tell, watched) = (desk.events.clone(), Arc::clone(&shared));
        let writer = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || watch(&watched, &tell, || desk.work()))?;
        let this = Self {
            shared,
            writer: Some(writer),
            keeper: Some(keeper),
            chores: Some(chores),
        };
        Ok((this, receiver))
    }

    /// Queues a batch; never waits. An empty batch is complete when those before it are.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn submit(&self, token: u64, records: Vec<Bytes>) -> Result<(), Refused> {
        check(&records)?;
        let bytes = records.iter().map(Bytes::len).sum();
        let mut queue = self.shared.lock();
        let waiting = queue.batches.len();
        if queue.state == State::Closed {
            return Err(Refused::Closed);
        }
        if waiting >= BATCHES || (waiting > 0 && queue.bytes + bytes > QUEUE_BYTES) {
            return Err(Refused::Busy(waiting));
        }
        queue.bytes += bytes;
        queue.batches.push_back(Batch {
            token,
            records,
            bytes,
        });
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Drops from the sealed files the records that `keep` does not want; see [`Log::compact`].
    /// Runs beside the writer; `keep` is called on another thread with every sealed record.
    ///
    /// # Errors
    /// [`Refused::Busy`] when too many chores wait already.
    pub fn compact(
        &self,
        token: u64,
        keep: impl FnMut(&[u8]) -> Keep + Send + 'static,
    ) -> Result<(), Refused> {
        let chores = self.chores.as_ref().ok_or(Refused::Closed)?;
        let chore = Chore::Compact {
            token,
            keep: Box::new(keep),
        };
        chores.try_send(chore).map_err(|error| match error {
            std_mpsc::TrySendError::Full(_) => Refused::Busy(CHORES),
            std_mpsc::TrySendError::Disconnected(_) => Refused::Closed,
        })
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let shared = &self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            batches: read(&shared.batches),
            records: read(&shared.records),
            bytes: read(&shared.bytes),
            groups: read(&shared.groups),
            failures: read(&shared.failures),
        }
    }

    /// Writes what was submitted, then ends the threads. Blocks; the receiver must be read
    /// meanwhile or have been dropped.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.lock().state = State::Closed;
        self.shared.changed.notify_all();
        self.chores = None;
        for thread in [self.writer.take(), self.keeper.take()]
            .into_iter()
            .flatten()
        {
            if thread.join().is_err() {
                warn!("a thread of the log had panicked");
            }
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            batches: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for batches and takes as many as make a group; `None` when all is done.
    fn next_group(&self) -> Option<Vec<Batch>> {
        let mut queue = self.lock();
        while queue.batches.is_empty() {
            if queue.state == State::Closed {
                return None;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut group: Vec<Batch> = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = queue.batches.front()
            && (group.is_empty() || bytes + batch.bytes <= GROUP_TARGET)
        {
            bytes += batch.bytes;
            group.extend(queue.batches.pop_front());
        }
        queue.bytes -= bytes;
        Some(group)
    }

    fn count(&self, group: &[Batch], result: Result<(), &LogError>) {
        let add = |counter: &AtomicU64, number: usize| {
            counter.fetch_add(number as u64, Ordering::Relaxed);
        };
        if result.is_err() {
            add(&self.failures, 1);
            return;
        }
        add(&self.groups, 1);
        add(&self.batches, group.len());
        add(
            &self.records,
            group.iter().map(|batch| batch.records.len()).sum(),
        );
        add(&self.bytes, group.iter().map(|batch| batch.bytes).sum());
    }
}

/// What the writing thread works with.
struct Desk {
    log: Log,
    shared: Arc<Shared>,
    chores: std_mpsc::SyncSender<Chore>,
    events: mpsc::Sender<LogEvent>,
    /// Number of the file during which a next one was asked for.
    prepared_for: u64,
}

impl Desk {
    fn work(mut self) {
        while let Some(group) = self.shared.next_group() {
            let records: Vec<&[u8]> = group
                .iter()
                .flat_map(|batch| batch.records.iter().map(AsRef::as_ref))
                .collect();
            let result = self.log.add(&records);
            self.shared.count(&group, result.as_ref().map(|_| ()));
            let result = result.map_err(Arc::new);
            for Batch { token, .. } in group {
                let result = result.as_ref().map(|_| ()).map_err(Arc::clone);
                // Nobody listens any more: what was submitted is written all the same.
                let _told = self
                    .events
                    .blocking_send(LogEvent::Written { token, result });
            }
            self.give_chores(result.unwrap_or(Appended::Here));
        }
    }

    /// What is left out here comes up again, or only costs some disk.
    fn give_chores(&mut self, appended: Appended) {
        if let Appended::NextFile { sealed } = appended {
            let _given = self.chores.try_send(Chore::Trim(sealed));
        }
        if self.log.wants_spare() && self.prepared_for != self.log.number() {
            self.prepared_for = self.log.number();
            let _given = self.chores.try_send(Chore::Prepare);
        }
    }
}

fn keep_house(
    background: &Background,
    todo: &std_mpsc::Receiver<Chore>,
    events: &mpsc::Sender<LogEvent>,
) {
    for chore in todo {
        match chore {
            Chore::Prepare => {
                if let Err(error) = caught(|| Ok(background.prepare()?)) {
                    warn!(%error, "cannot prepare the log's next file");
                }
            }
            Chore::Trim(sealed) => {
                let trimmed = caught(|| {
                    background.trim(sealed);
                    Ok(())
                });
                if let Err(error) = trimmed {
                    warn!(%error, "cannot trim a sealed file of the log");
                }
            }
            Chore::Compact { token, keep } => {
                let result = caught(|| background.compact(keep));
                let _told = events.blocking_send(LogEvent::Compacted { token, result });
            }
        }
    }
}

/// Does a chore that the log can do without: a panic is one that failed.
fn caught<T>(chore: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
    catch_unwind(AssertUnwindSafe(chore)).unwrap_or_else(|panic| {
        let words = panics::words(panic.as_ref());
        Err(LogError::Io(io::Error::other(format!("panic: {words}"))))
    })
}

/// Does the writer's work; if it panics, nothing more is taken, and that is told.
fn watch(shared: &Shared, events: &mpsc::Sender<LogEvent>, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        let mut queue = shared.lock();
        *queue = Queue {
            state: State::Closed,
            ..Queue::default()
        };
        drop(queue);
        let why = panics::words(panic.as_ref());
        // Who listens no more needs no telling.
        let _told = events.blocking_send(LogEvent::Ended { why });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_writer_that_panics_is_told_and_takes_nothing_more() {
        let (events, mut heard) = mpsc::channel(1);
        let shared = Shared::new();
        watch(&shared, &events, || ());
        assert!(heard.try_recv().is_err() && shared.lock().state == State::Open);
        watch(&shared, &events, || panic!("no such record"));
        let ended = heard.try_recv().unwrap();
        assert!(matches!(ended, LogEvent::Ended { why } if why == "no such record"));
        assert!(shared.next_group().is_none());
    }
}
