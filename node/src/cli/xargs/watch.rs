//! `xargs -w`: prints what the tasks print, as they end or in the order of the input, and comes to GNU's exit status.
//!
//! A thread with connections of its own, so that outputs come while the input is still being read. In order of the input
//! only ranges of ids are kept, so memory does not grow with the input in either way.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::{self, JoinHandle};

use crdt::ids::TaskId;

use super::feed::Event;
use super::judge::{Ending, Verdict, judge};
use crate::api::wire::{Call, TaskLine};
use crate::cli::Context;
use crate::cli::output::copy_now;
use crate::cli::problem::Problem;
use crate::client::{Client, Limit};
use crate::render::note;

/// What a person sees of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// The group's id; nothing is waited for.
    Id,
    /// Each task's output when it has ended.
    AsTheyEnd,
    /// Each task's output, in the order of the input.
    InOrder,
    /// Nothing, but they are waited for.
    Nothing,
}

/// Members with ids in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    runs: Vec<(TaskId, u64)>,
}

impl Batch {
    /// Packs ids; those of one submission follow each other nearly always.
    ///
    /// # Errors
    /// One is not an id.
    pub(crate) fn of(ids: &[String]) -> Result<Self, Problem> {
        let mut runs: Vec<(TaskId, u64)> = Vec::new();
        for text in ids {
            let id = id_of(text)?;
            match runs.last_mut() {
                Some((first, count)) if first.tag == id.tag && first.n + *count == id.n => {
                    *count += 1
                }
                _ => runs.push((id, 1)),
            }
        }
        Ok(Self { runs })
    }

    fn ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        let row = |(first, count): &(TaskId, u64)| {
            let first = *first;
            (first.n..first.n + count).map(move |n| TaskId { n, ..first })
        };
        self.runs.iter().flat_map(row)
    }
}

/// A watching thread.
pub(crate) struct Watcher {
    batches: Option<Sender<Batch>>,
    thread: JoinHandle<Result<Verdict, Problem>>,
}

impl Watcher {
    /// Starts to watch a group; `events` hears when nothing more is to be started, and of the end.
    ///
    /// # Errors
    /// No node answers, or no thread is left.
    pub(crate) fn start(
        context: &Context,
        group: String,
        show: Show,
        events: SyncSender<Event>,
    ) -> Result<Self, Problem> {
        let (batches, arriving) = channel();
        let watch = Watch {
            waiting: context.connect()?,
            printing: context.connect()?,
            show,
            events,
            verdict: Verdict::default(),
        };
        let work = move || watch.run(group, &arriving);
        let thread = thread::Builder::new().name("watch".into()).spawn(work);
        let thread =
            thread.map_err(|error| Problem::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            batches: Some(batches),
            thread,
        })
    }

    /// Tells that there are no more members.
    pub(crate) fn no_more(&mut self) {
        self.batches = None;
    }

    /// Tells of more members.
    pub(crate) fn add(&self, batch: Batch) {
        if let Some(batches) = &self.batches {
            // If the thread has ended, its verdict says why.
            let _heard = batches.send(batch);
        }
    }

    /// Waits for the thread's end, which it announces with [`Event::Watched`]; returns the exit status.
    ///
    /// # Errors
    /// What went wrong with watching.
    pub(crate) fn verdict(self) -> Result<u8, Problem> {
        match self.thread.join() {
            Ok(verdict) => verdict.map(|verdict| verdict.status),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The thread's own.
struct Watch {
    waiting: Client,
    printing: Client,
    show: Show,
    events: SyncSender<Event>,
    verdict: Verdict,
}

impl Watch {
    fn run(mut self, group: String, batches: &Receiver<Batch>) -> Result<Verdict, Problem> {
        let done = match self.show {
            Show::InOrder => self.in_order(batches),
            Show::Id | Show::AsTheyEnd | Show::Nothing => self.as_they_end(group),
        };
        // If the feeder is gone, it needs no telling.
        let _heard = self.events.send(Event::Watched);
        done.map(|()| self.verdict)
    }

    fn in_order(&mut self, batches: &Receiver<Batch>) -> Result<(), Problem> {
        for batch in batches {
            for id in batch.ids() {
                let line = self.waiting.wait_for(&id.to_string())?;
                self.take(&line)?;
            }
        }
        Ok(())
    }

    fn as_they_end(&mut self, group: String) -> Result<(), Problem> {
        let call = Call::Wait {
            which: vec![group.clone()].into(),
            any: false,
            state: None,
            each: true,
        };
        let Self {
            waiting,
            printing,
            show,
            events,
            verdict,
        } = self;
        let mut taken = Taken::default();
        let ended = waiting.wait(&call, Limit::Never, |progress| {
            for line in progress.tasks.iter().filter(|line| line.id != group) {
                // A node that was asked anew tells of all again.
                if taken.is_new(line)? {
                    take(line, *show, printing, events, verdict)?;
                }
            }
            Ok(())
        });
        ended.map(|_end| ())
    }

    fn take(&mut self, line: &TaskLine) -> Result<(), Problem> {
        take(
            line,
            self.show,
            &mut self.printing,
            &self.events,
            &mut self.verdict,
        )
    }
}

/// Tasks that were taken: the last number of each row of ids, by its first.
#[derive(Debug, Default)]
struct Taken(BTreeMap<TaskId, u64>);

impl Taken {
    /// Notes a task; says whether it had not been noted before.
    fn is_new(&mut self, line: &TaskLine) -> Result<bool, Problem> {
        let id = id_of(&line.id)?;
        let before = self.0.range(..=id).next_back();
        let before = before.filter(|(first, last)| first.tag == id.tag && **last + 1 >= id.n);
        let first = match before {
            Some((_, last)) if *last >= id.n => return Ok(false),
            Some((first, _)) => *first,
            None => id,
        };
        let next = TaskId { n: id.n + 1, ..id };
        let last = self.0.remove(&next).unwrap_or(id.n);
        self.0.insert(first, last);
        Ok(true)
    }
}

fn id_of(text: &str) -> Result<TaskId, Problem> {
    text.parse().map_err(|error: crdt::ids::ParseIdError| {
        Problem::failed(format!("the node's answer makes no sense: {error}"))
    })
}

/// Prints and judges one task that has ended.
fn take(
    line: &TaskLine,
    show: Show,
    printing: &mut Client,
    events: &SyncSender<Event>,
    verdict: &mut Verdict,
) -> Result<(), Problem> {
    if matches!(show, Show::AsTheyEnd | Show::InOrder) && line.started_ms.is_some() {
        copy_now(printing, &line.id)?;
    }
    let ending = judge(line);
    if let Ending::Fatal { why, .. } = &ending
        && matches!(verdict.status, 0 | 123)
    {
        note(&format!("aque: {why}"));
        let _heard = events.send(Event::Stop);
    }
    verdict.count(&ending);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use crdt::task::TaskState;

    use super::*;
    use crate::cli::task::tests::line;

    #[test]
    fn ids_in_a_row_take_no_room() {
        let texts: Vec<String> = [7, 8, 9, 20, 21]
            .iter()
            .map(|n| format!("k3v7qa-{n}"))
            .collect();
        let batch = Batch::of(&texts).unwrap();
        assert_eq!(batch.runs.len(), 2);
        assert_eq!(
            batch.ids().map(|id| id.to_string()).collect::<Vec<_>>(),
            texts
        );
        assert!(Batch::of(&["nonsense".to_owned()]).is_err());
    }

    #[test]
    fn each_is_taken_once() {
        let mut taken = Taken::default();
        let line = |n: u64| line(&format!("k3v7qa-{n}"), TaskState::Success);
        for n in [5, 7, 6, 1, 2, 9, 4, 3, 8] {
            assert!(taken.is_new(&line(n)).unwrap(), "{n}");
        }
        assert_eq!(taken.0.len(), 1, "rows that meet are one");
        for n in 1..10 {
            assert!(!taken.is_new(&line(n)).unwrap(), "{n}");
        }
        assert!(taken.is_new(&line(10)).unwrap());
    }
}
