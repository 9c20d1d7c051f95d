//! What is dropped after the mesh's retention: the log without it, and what the doctor says of all that is kept.

use std::time::Duration;

use crdt::ids::DocId;
use crdt::ledger::Ledger;
use tracing::{debug, warn};

use super::node::Node;
use crate::api::wire::{Check, Health};
use crate::clock::boottime;
use crate::render::text::count;
use crate::storage::Keep;

/// The log is gone through for what was dropped at most this often: it reads every sealed file.
const THIN_EVERY: Duration = Duration::from_secs(60);
/// From so many tasks on it is said that nothing is ever dropped.
const MANY: usize = 200_000;

/// How far the log was rid of what is dropped.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Thinned {
    /// So many segments had been dropped.
    segments: u64,
    at: Option<Duration>,
}

impl Node {
    /// Drops from the log what was dropped.
    pub(super) fn thin_log(&mut self) {
        let segments = self.replica.counters().segments_dropped;
        let now = boottime();
        let soon = self.thinned.at.is_some_and(|at| now < at + THIN_EVERY);
        if segments == self.thinned.segments || soon {
            return;
        }
        let dropped = self.replica.dropped();
        let keep = move |record: &[u8]| {
            let doc = Ledger::peek(record).map(|(doc, ..)| doc);
            match doc {
                Some(DocId::Segment(id)) if dropped.has(id) => Keep::No,
                Some(_) | None => Keep::Yes,
            }
        };
        match self.log.compact(segments, keep) {
            Ok(()) => {
                self.thinned = Thinned {
                    segments,
                    at: Some(now),
                };
                debug!(segments, "the log is rid of what was dropped");
            }
            Err(problem) => warn!(%problem, "the log keeps what was dropped for now"),
        }
    }

    pub(super) fn check_history(&self) -> Check {
        const TOPIC: &str = "history";
        let tasks = self.replica.memory().tasks;
        let kept = self.replica.retention();
        let how_long = kept.map_or_else(
            || "for good".to_owned(),
            |span| format!("for {}", humantime::format_duration(span)),
        );
        let what = format!(
            "{} known; what has ended is kept {how_long}",
            count(tasks as u64, "task")
        );
        let topic = TOPIC.to_owned();
        if tasks < MANY || kept.is_some() {
            return Check {
                topic,
                health: Health::Ok,
                what,
                todo: None,
            };
        }
        Check {
            topic,
            health: Health::Warning,
            what,
            todo: Some(
                "'aque settings set retention 30d' drops what ended longer ago, on every host"
                    .to_owned(),
            ),
        }
    }
}
