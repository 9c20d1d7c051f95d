//! How long witnesses wait for silent claimants, and how much of a lease their answers are therefore worth.
//!
//! Hosts need not agree on the lease: each witness writes into a segment how long it waits there at least, before its first vote in
//! it, and never less. A claimant counts no answer for longer than that lets it (rule R5 of `docs/protocol.md`).

use std::time::Duration;

use super::Replica;
use crate::config::Sabotage;
use crate::graph::TaskIx;
use crate::ids::{DocId, SegmentId, Tag};
use crate::registers::Misfit;

impl Replica {
    pub(super) fn fold_wait(
        &mut self,
        id: SegmentId,
        writer: Tag,
        wait: Duration,
    ) -> Result<(), Misfit> {
        let Some(segment) = self.segments.get_mut(&id) else {
            return Ok(());
        };
        let stated = segment.waits.entry(writer).or_default();
        if *stated > wait {
            return Err(Misfit::WentBack);
        }
        *stated = wait;
        self.touch_claims_in(id);
        Ok(())
    }

    /// R5: states how long this node waits in a segment, unless it has stated as much.
    pub(super) fn state_wait(&mut self, id: SegmentId) {
        let wait = self.timing.least_wait();
        let stated = self.segments[&id].waits.get(&self.tag);
        if stated.is_some_and(|stated| *stated >= wait) {
            return;
        }
        let staged = self.staged.entry(DocId::Segment(id)).or_default();
        staged.wait = Some(wait);
        let tag = self.tag;
        self.fold_wait(id, tag, wait)
            .expect("own waits are never taken back");
    }

    /// States it wherever this node is a witness of what has not ended.
    pub(super) fn state_waits(&mut self) {
        let witnessed = |id: &&SegmentId| self.segments[*id].committee.contains(&self.tag);
        let witnessed: Vec<SegmentId> = self.live.iter().filter(witnessed).copied().collect();
        for id in witnessed {
            self.state_wait(id);
        }
    }

    /// How long this node waits for silent claimants of a segment (V2 d), and for claims that the committee before may have let
    /// somebody hold (M6).
    pub(super) fn wait_in(&self, ix: TaskIx) -> Duration {
        let told = self.timing.wait();
        if self.timing.witness_wait.is_some() || self.broken == Some(Sabotage::WaitTakenBack) {
            return told;
        }
        let segment = self.segment_of(ix);
        let stated = segment.waits.get(&self.tag).copied().unwrap_or_default();
        let before = match self.broken {
            Some(Sabotage::WaitLeftBehind) => Duration::ZERO,
            Some(_) | None => segment.waited_before,
        };
        told.max(stated).max(before)
    }
}
