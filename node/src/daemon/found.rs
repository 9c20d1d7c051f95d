//! Runs of an earlier start of this node, and ends that it had not made durable: found, claimed on, told, forgotten.
//!
//! The guard knows a run by its key, and carries a label of ours through the node's death: the run's id. A run that was found
//! is fed to the replica as one that was started; an end that was found, as one that has just come. Where the replica has no
//! bid that stands for it, it has the run killed, or takes no notice of the end.
//!
//! An end is forgotten, by the guard and with it the files that the run wrote, only when what the replica wrote of it is
//! durable. Until then a crash of this node, at any instant, leaves all that is needed to tell it again.

use std::time::Duration;

use crdt::event::{FoundRun, Input};
use crdt::ids::{Epoch, RunId, Tag, TaskId};
use crdt::time::Mono;
use crdt::units::Allotment;
use tracing::{info, warn};

use super::node::Node;
use super::runs::Run;
use crate::guard::{Found, FoundState, Label};

/// Returns the name of a run for the guard: tag, number and epoch, little-endian.
pub(super) fn label(run: RunId) -> Label {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&run.task.tag.0.to_le_bytes());
    bytes[4..12].copy_from_slice(&run.task.n.to_le_bytes());
    bytes[12..].copy_from_slice(&run.epoch.0.to_le_bytes());
    Label(bytes)
}

/// Returns what the guard is to tell again of a run: the units that it has of named resources.
pub(super) fn memo(units: &Allotment) -> Vec<u8> {
    postcard::to_stdvec(units).unwrap_or_default()
}

/// Returns the run that a label names.
fn run_of(Label(bytes): Label) -> RunId {
    let [a, b, c, d, n @ .., w, x, y, z] = bytes;
    RunId {
        task: TaskId {
            tag: Tag(u32::from_le_bytes([a, b, c, d])),
            n: u64::from_le_bytes(n),
        },
        epoch: Epoch(u32::from_le_bytes([w, x, y, z])),
    }
}

fn mono(at: Duration) -> Mono {
    Mono(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns what the replica must know of the runs that were found.
pub(super) fn runs(found: &[Found]) -> Vec<FoundRun> {
    let run = |found: &Found| FoundRun {
        run: run_of(found.label),
        deadline: mono(match found.state {
            FoundState::Alive { deadline, .. } => deadline,
            // Nothing is left that could outlive it.
            FoundState::Ended(_) => Duration::MAX,
        }),
        signalled: found.asked.map(mono),
        units: postcard::from_bytes(&found.memo).unwrap_or_default(),
    };
    found.iter().map(run).collect()
}

impl Node {
    /// Goes on with runs and ends that were found; the replica knows of them already.
    pub(super) fn go_on_with(&mut self, found: Vec<Found>) {
        for found in found {
            let id = run_of(found.label);
            let asked = found.asked.is_some();
            self.runs.take_over(found.key, Run { id, asked });
            self.run_begins(id);
            self.feed(Input::RunStarted(id));
            match found.state {
                FoundState::Alive { .. } => {
                    info!(task = %id.task, epoch = %id.epoch, "a run has outlived its node");
                }
                FoundState::Ended(ended) => {
                    info!(task = %id.task, epoch = %id.epoch, how = ?ended.how, "a run has ended without its node");
                    self.collect(ended);
                }
            }
        }
    }

    /// Forgets the ends of which everything is durable.
    pub(super) fn forget_ends(&mut self) {
        for key in self.runs.take_settled(|run| self.replica.is_settled(run)) {
            self.executor.forget(key);
            if let Err(problem) = self.outputs.release(key) {
                warn!(%problem, "what a run wrote was not removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_its_run() {
        let task = TaskId {
            tag: Tag(0x3fff_fffe),
            n: u64::MAX - 3,
        };
        let run = RunId {
            task,
            epoch: Epoch(u32::MAX - 7),
        };
        assert_eq!(run_of(label(run)), run);
    }
}
