//! What can be read of a replica: tasks, members, figures. Reading changes nothing that anyone else sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Replica, Task};
use crate::ballots::VoteRegister;
use crate::claim::Phase;
use crate::entry::{DutyKind, Total, Vote};
use crate::fit::RunsAs;
use crate::graph::{Group, TaskIx};
use crate::history::{Attempt, End, Statements};
use crate::ids::{DocId, Epoch, PeerId, Tag, TaskId};
use crate::ledger::LedgerStats;
use crate::offences::Offences;
use crate::registers::BidRegister;
use crate::task::{
    Element, Membership, Outcome, OutcomeDigest, TaskSpec, TaskState, TaskView, Verdict, Work,
};
use crate::time::{Timing, Wall};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// What a replica counts since its start.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Returns every counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Tasks taken from people.
    submitted,
    /// Elements of arrays that were woken.
    woken,
    /// Submissions whose key had a task already.
    submitted_again,
    /// Tasks looked at, for whatever happened.
    touched,
    /// Bids written.
    bids,
    /// Votes written.
    votes,
    /// Bids given up for lack of answers.
    bids_timed_out,
    /// Outcomes of earlier epochs written again.
    adoptions,
    /// Runs started.
    runs_started,
    /// Runs of an earlier start of this node that its guard still had.
    runs_found,
    /// Runs that the guard killed at their deadline.
    runs_expired,
    /// Starts that the guard refused because the deadline had passed.
    starts_too_late,
    /// Holds that could not be renewed in time.
    holds_lost,
    /// Batches given to the disk.
    flushes,
    /// Records in them.
    records,
    /// Segments of which everything ended so long ago that they were dropped.
    segments_dropped,
    /// Segments that could not be stated to have lapsed: too many others stand between.
    lapses_unstated,
    /// Changes and questions of others about what has lapsed.
    lapsed_changes,
    /// Frames sent.
    frames_sent,
    /// Frames received that are messages.
    frames_received,
    /// Frames that are not.
    bad_frames,
    /// Changes accepted from afar.
    changes,
    /// Changes that were known.
    known_changes,
    /// Changes refused: malformed, forged, or against a rule.
    refused_changes,
    /// Changes that came before an earlier one of their author.
    gaps,
    /// Changes of authors that are not members.
    strangers,
    /// Changes forwarded.
    forwarded,
    /// Changes sent again by repair.
    repaired,
    /// Changes dropped because too much waited for the disk.
    backlog_drops,
    /// Presence of another minute.
    stale_beats,
    /// Beats of a clock that is far off.
    skewed_beats,
    /// Registers that went back and were ignored.
    went_back,
    /// Bids far above their writer's last, ignored.
    epoch_leaps,
    /// Outcomes and marks of runs at epochs for which their writer never bid, ignored.
    without_bid,
    /// Wishes stamped an hour ahead of this host's wall clock, or more.
    absurd_stamps,
    /// Entries in a document where they mean nothing.
    misplaced,
    /// Committees that were seen to take the place of another.
    committees_replaced,
    /// Attempts of this node to replace one.
    motions,
    /// Authors quarantined in a document.
    quarantined,
    /// Times this node found that it had stood still.
    standstills,
    /// Acks of another incarnation or from the future.
    strange_acks,
    /// Reports of runs that are not this node's.
    strange_runs,
    /// Answers of a disk that was not asked.
    strange_persists,
    /// Records found twice in the log.
    recovered_again,
    /// Records of the log that no longer fit.
    recovered_badly,
}

/// How much a replica holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Tasks.
    pub tasks: usize,
    /// Documents.
    pub documents: usize,
    /// Outputs that nobody has drained.
    pub outputs: usize,
    /// Timers.
    pub timers: usize,
    /// Foreign changes that wait for the disk, bytes.
    pub backlog_bytes: usize,
    /// Submissions and wishes that wait for an answer.
    pub unanswered: usize,
    /// Live claims.
    pub claims: usize,
}

/// A task that is looked at in passing: nothing is copied.
#[derive(Clone, Copy)]
pub struct Glance<'a> {
    replica: &'a Replica,
    ix: TaskIx,
    task: &'a Task,
    spec: &'a Arc<TaskSpec>,
    /// How far it stands behind the task that stands for it.
    after: u32,
}

impl fmt::Debug for Glance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Glance").field(&self.id()).finish()
    }
}

impl<'a> Glance<'a> {
    /// Returns which task it is.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.id.plus(self.after)
    }

    /// Returns its id as people type it: `TAG-N`, or `TAG-N.I` for an element of an array.
    #[must_use]
    pub fn label(&self) -> String {
        let array = self.member_of().map(|member| member.group);
        let element = self.element().zip(array);
        element.map_or_else(
            || self.id().to_string(),
            |(element, array)| element.label(array),
        )
    }

    /// Returns what was submitted.
    #[must_use]
    pub fn spec(&self) -> &'a TaskSpec {
        self.spec
    }

    /// Returns where it stands.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.task.state
    }

    /// Says in few words why it stands there; [`super::Outlook`] says more of those that wait.
    #[must_use]
    pub fn reason(&self) -> Option<&'a str> {
        self.task.reason.as_deref()
    }

    /// Returns the group that it belongs to, and its place there.
    #[must_use]
    pub fn member_of(&self) -> Option<Membership> {
        let member = self.task.is_member_of()?;
        Some(Membership {
            index: member.index.saturating_add(self.after),
            ..member
        })
    }

    /// Returns for how many it stands: itself, and elements of an array after it that sleep.
    #[must_use]
    pub fn stands_for(&self) -> u32 {
        match self.after {
            0 => self.replica.stands_for(self.ix),
            1.. => 1,
        }
    }

    /// Returns which task of an array it is.
    fn element(&self) -> Option<Element> {
        let elements = self.spec.options.elements.as_ref()?;
        elements.at(self.task.offset + self.after)
    }

    /// Returns the host that holds or held it last.
    #[must_use]
    pub fn host(&self) -> Option<PeerId> {
        self.replica.host_of(self.ix)
    }

    /// Returns the highest epoch at which it was claimed.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.task.registers.top()
    }

    /// Returns how many runs were started, as far as is known here.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.task.registers.starts
    }

    /// Returns when its latest run started, by its host's wall clock.
    #[must_use]
    pub fn started(&self) -> Option<Wall> {
        let mark = self.task.registers.mark();
        mark.and_then(|(_, mark)| mark.started)
    }

    /// Returns the committed outcome.
    #[must_use]
    pub fn outcome(&self) -> Option<&'a Outcome> {
        self.task.complete.as_deref()
    }

    /// Returns what its run said of itself last.
    #[must_use]
    pub fn progress(&self) -> Option<String> {
        self.replica.progress_of(self.ix)
    }

    /// Returns all of it.
    #[must_use]
    pub fn view(&self) -> TaskView {
        TaskView {
            id: self.id(),
            spec: Arc::clone(self.spec),
            member_of: self.member_of(),
            element: self.element(),
            state: self.state(),
            reason: self.task.reason.clone(),
            progress: self.progress(),
            host: self.host(),
            epoch: self.epoch(),
            attempts: self.attempts(),
            started: self.started(),
            outcome: self.task.complete.clone(),
            members: self.replica.graph.group(self.id()).map(Group::shown),
        }
    }
}

impl Replica {
    /// Returns this node's tag.
    #[must_use]
    pub fn own_tag(&self) -> Tag {
        self.tag
    }

    /// Returns this node's identity.
    #[must_use]
    pub fn own_peer(&self) -> PeerId {
        self.me
    }

    /// Returns every task whose spec is here and that was not removed, in order of their ids.
    pub fn task_ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        let shown = |ix: TaskIx| self.known(ix).spec.is_some() && !self.known(ix).removed;
        self.all_known()
            .filter(move |(_, ix, _)| shown(*ix))
            .map(|(id, ..)| id)
    }

    /// Every task in order of their ids, with the one that stands for it and how far that is before it.
    fn all_known(&self) -> impl Iterator<Item = (TaskId, TaskIx, u32)> + '_ {
        self.ids.iter().flat_map(|(id, ix)| self.those_of(*id, *ix))
    }

    /// A task and those for which it stands.
    fn those_of(
        &self,
        id: TaskId,
        ix: TaskIx,
    ) -> impl DoubleEndedIterator<Item = (TaskId, TaskIx, u32)> + use<> {
        (0..self.stands_for(ix)).map(move |after| (id.plus(after), ix, after))
    }

    /// Returns the ids of tasks taken by one host, from the newest to the oldest.
    pub fn tasks_of(&self, tag: Tag) -> impl Iterator<Item = TaskId> + '_ {
        let range = TaskId { tag, n: 0 }..=TaskId { tag, n: u64::MAX };
        let known = self.ids.range(range).rev();
        known.flat_map(|(id, ix)| self.those_of(*id, *ix).rev().map(|(id, ..)| id))
    }

    /// Returns the members of a group that were not removed, in the order of input.
    #[must_use]
    pub fn tasks_of_group(&self, id: TaskId) -> Vec<TaskId> {
        let members = self.graph.group(id).into_iter().flat_map(Group::members);
        let shown = members.filter(|ix| !self.known(*ix).removed);
        let all = shown.flat_map(|ix| self.those_of(self.known(ix).id, ix));
        all.map(|(id, ..)| id).collect()
    }

    /// Returns the task of an array with this index, as people count.
    #[must_use]
    pub fn element(&self, array: TaskId, index: u32) -> Option<TaskId> {
        let group = self.graph.group(array)?;
        let head = self.known(group.members().next()?);
        let elements = head.spec.as_ref()?.options.elements.as_ref()?;
        let (first, step) = elements.stride();
        let place = index.checked_sub(first)?.checked_div(step)?;
        let (ix, after) = group.member(place)?;
        let task = self.glance_at(ix, after)?;
        let is_it = task.element().is_some_and(|element| element.index == index);
        is_it.then_some(task.id())
    }

    /// Returns tasks and all that stands behind them and has not ended; see [`Replica::behind`].
    #[must_use]
    pub fn family(&self, roots: &[TaskId]) -> Vec<TaskId> {
        let open = |id: &TaskId| {
            let state = self.find(*id).map(|ix| self.known(ix).state);
            roots.contains(id) || state.is_some_and(|state| !state.is_complete())
        };
        let mut family = self.behind(roots);
        family.retain(open);
        family
    }

    /// Returns tasks and all that stands behind them: members of groups, children, and what depends on them. Looks at every task
    /// once: for a person's question.
    #[must_use]
    pub fn behind(&self, roots: &[TaskId]) -> Vec<TaskId> {
        let mut behind = BTreeMap::<TaskId, Vec<TaskId>>::new();
        for (id, ix, _) in self.all_known() {
            let Some(spec) = &self.known(ix).spec else {
                continue;
            };
            let dependencies = spec.dependencies().map(|(of, _)| of);
            let group = spec.member_of.map(|member| member.group);
            for before in dependencies.chain(group).chain(spec.options.parent) {
                behind.entry(before).or_default().push(id);
            }
        }
        let mut found: BTreeSet<TaskId> = roots.iter().copied().collect();
        let mut next: Vec<TaskId> = roots.to_vec();
        while let Some(id) = next.pop() {
            for later in behind.get(&id).into_iter().flatten() {
                if found.insert(*later) {
                    next.push(*later);
                }
            }
        }
        found.into_iter().collect()
    }

    /// Returns what a status line shows of a task; `None` if its spec is not here, or it was removed.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<TaskView> {
        self.glance(id).map(|task| task.view())
    }

    /// Returns the same also of a task that was removed: for those that still have to do with it.
    #[must_use]
    pub fn known_task(&self, id: TaskId) -> Option<TaskView> {
        let (ix, after) = self.find_from(id)?;
        self.glance_at(ix, after).map(|task| task.view())
    }

    /// Returns a task to be looked at; `None` if its spec is not here, or it was removed.
    #[must_use]
    pub fn glance(&self, id: TaskId) -> Option<Glance<'_>> {
        let (ix, after) = self.find_from(id)?;
        self.glance_at(ix, after).filter(|task| !task.task.removed)
    }

    /// Returns every task whose spec is here and that was not removed, in order of their ids.
    pub fn glances(&self) -> impl Iterator<Item = Glance<'_>> + '_ {
        let known = self.all_known();
        let known = known.filter_map(|(_, ix, after)| self.glance_at(ix, after));
        known.filter(|task| !task.task.removed)
    }

    /// Returns the same without elements of arrays that sleep: those that stand for them stand for them.
    pub fn heads(&self) -> impl Iterator<Item = Glance<'_>> + '_ {
        let known = self.ids.values().filter_map(|ix| self.glance_at(*ix, 0));
        known.filter(|task| !task.task.removed)
    }

    fn glance_at(&self, ix: TaskIx, after: u32) -> Option<Glance<'_>> {
        let task = self.known(ix);
        let spec = task.spec.as_ref()?;
        Some(Glance {
            replica: self,
            ix,
            task,
            spec,
            after,
        })
    }

    /// Returns what people call a host; its tag if it has said nothing yet.
    #[must_use]
    pub fn host_name(&self, tag: Tag) -> String {
        let name = self.roster.name(tag);
        name.map_or_else(|| tag.to_string(), str::to_owned)
    }

    /// Returns the identity behind a tag.
    #[must_use]
    pub fn peer_of(&self, tag: Tag) -> Option<PeerId> {
        self.roster.peer(tag)
    }

    /// Says whether a person said of a host that it will not come back.
    #[must_use]
    pub fn is_given_up(&self, tag: Tag) -> bool {
        self.roster.duty(tag).kind == DutyKind::Gone
    }

    /// What a run says of itself, as the host that runs it told last.
    fn progress_of(&self, ix: TaskIx) -> Option<String> {
        let task = self.known(ix);
        if task.state != TaskState::Running {
            return None;
        }
        let host = self.host_of(ix)?;
        let words = if host == self.me {
            &self.progress
        } else {
            &self.roster.last_beat(host.tag())?.progress
        };
        let found = words.iter().find(|(id, _)| *id == task.id);
        found.map(|(_, text)| text.clone())
    }

    /// The host that ran, runs or holds a task.
    pub(super) fn host_of(&self, ix: TaskIx) -> Option<PeerId> {
        let task = self.known(ix);
        if let Some(outcome) = &task.complete {
            let ran = !matches!(outcome.verdict, Verdict::Cancelled);
            return ran.then(|| self.roster.peer(outcome.origin.1)).flatten();
        }
        if task
            .claim
            .is_some_and(|claim| claim.phase != Phase::Bidding)
        {
            return Some(self.me);
        }
        self.holder(ix).and_then(|(tag, _)| self.roster.peer(tag))
    }

    /// Returns the committee that decides a task's claims.
    #[must_use]
    pub fn committee(&self, id: TaskId) -> Option<Vec<PeerId>> {
        self.find(id).map(|ix| self.segment_of(ix).peers.clone())
    }

    /// Returns the votes on a task as seen here.
    #[must_use]
    pub fn votes(&self, id: TaskId) -> Vec<(Tag, Vote)> {
        let Some(ix) = self.find(id) else {
            return Vec::new();
        };
        let task = self.known(ix);
        let entry = |vote: VoteRegister| Vote {
            index: task.index,
            generation: task.registers.generation(),
            epoch: vote.epoch,
            claimant: vote.claimant,
            accepted: vote.accepted,
        };
        task.registers
            .votes()
            .map(|(tag, vote)| (tag, entry(vote)))
            .collect()
    }

    /// Returns the outcomes of a task that a person made void, as far as that is heard of here.
    #[must_use]
    pub fn void_outcomes(&self, id: TaskId) -> Vec<OutcomeDigest> {
        let task = self.find(id).map(|ix| self.known(ix));
        task.into_iter()
            .flat_map(|task| task.registers.void())
            .collect()
    }

    /// Returns this node's own bid on a task, if it ever made one.
    #[must_use]
    pub fn own_bid(&self, id: TaskId) -> Option<BidRegister> {
        let ix = self.find(id)?;
        self.known(ix).registers.bid(self.tag)
    }

    /// Returns a task's registers, a line each, for people.
    #[must_use]
    pub fn explain_registers(&self, id: TaskId) -> Vec<String> {
        let Some(ix) = self.find(id) else {
            return Vec::new();
        };
        let registers = &self.known(ix).registers;
        let mut lines = self.explain_committee(ix);
        lines.extend(registers.edits().map(|(_, by)| format!("edited by {by}")));
        for (tag, bid) in registers.bids() {
            let gone = if bid.gave_up { ", given up" } else { "" };
            lines.push(format!("bid of {tag}: epoch {}{gone}", bid.epoch));
        }
        for (tag, vote) in registers.votes() {
            let accepted = vote.accepted.map_or_else(String::new, |accept| {
                format!(", accepted {:?} at epoch {}", accept.digest, accept.epoch)
            });
            let (epoch, claimant) = (vote.epoch, vote.claimant);
            lines.push(format!(
                "vote of {tag}: epoch {epoch} for {claimant}{accepted}"
            ));
        }
        for (tag, outcome) in registers.outcomes() {
            let (origin, whose) = outcome.outcome.origin;
            let end = End::Outcome(outcome.outcome.verdict.clone());
            lines.push(format!(
                "outcome of {tag}: epoch {}, {:?} of {whose} at epoch {origin}, {end}",
                outcome.epoch, outcome.digest
            ));
        }
        lines
    }

    /// Returns every claim of a task that got a vote, in order. Reads its whole segment again: for a person's question.
    #[must_use]
    pub fn attempts(&self, id: TaskId) -> Vec<Attempt> {
        let Some(ix) = self.find(id) else {
            return Vec::new();
        };
        let task = self.known(ix);
        let mut statements = Statements::default();
        for (author, entry) in self.ledger.entries(DocId::Segment(task.segment)) {
            statements.take(author.tag(), task.index, entry);
        }
        statements.attempts(self.segment_of(ix).committee.len())
    }

    /// Returns the times by which this node goes now.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Returns what this replica has counted since its start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns as whom this host can run tasks.
    #[must_use]
    pub fn runs_as(&self) -> &RunsAs {
        &self.runs_as
    }

    /// Says whether the disk has refused what is to be written: until it takes it, no submission is taken and no claim made.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Returns what its ledger has counted since its start.
    #[must_use]
    pub fn ledger_stats(&self) -> LedgerStats {
        self.ledger.stats()
    }

    /// Returns what peers sent since its start that no honest node sends.
    #[must_use]
    pub fn offences(&self) -> &Offences {
        &self.offences
    }

    /// Says whether a command is left that may yet run on this host: one that has not ended, fits what is offered, could not be
    /// found unfit here, and is not held back by a person.
    #[must_use]
    pub fn has_work_left(&self) -> bool {
        let segments = self.live.iter().map(|id| &self.segments[id]);
        let mut tasks = segments.flat_map(|segment| segment.tasks.iter().flatten());
        tasks.any(|ix| self.is_left(*ix))
    }

    fn is_left(&self, ix: TaskIx) -> bool {
        let task = self.known(ix);
        let open = !task.state.is_complete() && task.state != TaskState::Held;
        let possible = |spec: &TaskSpec| {
            !matches!(spec.work, Work::Group { .. })
                && self.misfit(ix).is_none()
                && task.unfit.is_none()
                && self.what_is_missing(ix).is_none()
        };
        // What has not arrived may be anything.
        open && task.spec.as_deref().is_none_or(possible)
    }

    /// Says whether this node has seen all that some neighbour had when both were compared since they were connected.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        !self.in_step.is_empty()
    }

    /// Returns in how many lasting documents a neighbour differed from this node when both were compared last: at each connection,
    /// every ten seconds, and after a second where they differed. `None` for who is no neighbour, or was not compared yet.
    #[must_use]
    pub fn differing(&self, peer: Tag) -> Option<usize> {
        self.differing.get(&peer).copied()
    }

    /// Returns how many claims of this node are live.
    #[must_use]
    pub fn live_claims(&self) -> usize {
        self.claims.len()
    }

    /// Returns each peer's PN-counters of live claims, summed over all segments: what it runs, as the documents say.
    pub fn counted_live(&mut self) -> BTreeMap<PeerId, i64> {
        let mut sums = BTreeMap::new();
        for id in self.segments.keys() {
            for (peer, count) in self.ledger.live(*id) {
                *sums.entry(peer).or_default() += count;
            }
        }
        sums
    }

    /// Returns the sum of a total over all segments, as the documents count it.
    pub fn counted(&mut self, total: Total) -> i64 {
        self.segments
            .keys()
            .map(|id| self.ledger.total(*id, total))
            .sum()
    }

    /// Returns how much this replica holds.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory {
            tasks: self.tasks.len() - self.vacant.len(),
            documents: self.ledger.documents().count(),
            outputs: self.outputs.len(),
            timers: self.timers.len(),
            backlog_bytes: self.foreign_bytes,
            unanswered: self.unanswered.len() + self.parked.len(),
            claims: self.claims.len(),
        }
    }

    /// Returns a digest of every lasting document's heads and of what each task resolves to: equal on all replicas once they
    /// have seen the same.
    pub fn state_digest(&mut self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let documents: Vec<DocId> = self.ledger.documents().map(|(doc, _)| doc).collect();
        for doc in documents
            .into_iter()
            .filter(|doc| !matches!(doc, DocId::Presence(_)))
        {
            hasher
                .update(format!("{doc:?}").as_bytes())
                .update(&self.ledger.heads(doc));
        }
        for (id, ix, _) in self.all_known() {
            let task = self.known(ix);
            let outcome = task.complete.as_ref().map(|outcome| outcome.digest());
            let sight = if task.removed { " removed" } else { "" };
            if let Some(edited) = task.spec.as_ref().filter(|_| task.stated.is_some()) {
                hasher.update(&postcard::to_stdvec(&**edited).expect("specs encode"));
            }
            hasher.update(format!("{id} {} {outcome:?}{sight}", task.state.name()).as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}
