//! What people ask of this node: submissions, and wishes about tasks that are there.

use std::sync::Arc;
use std::time::Duration;

use super::keyed::key_problem;
use super::links::Tangle;
use super::{Replica, SEGMENT_TASKS, Segment, Timer};
use crate::entry::{Entry, Header};
use crate::event::{Durability, NewTask, Output, Refusal, Reply, Token};
use crate::fit::HostPatterns;
use crate::graph::{Group, TaskIx};
use crate::ids::{DocId, PeerId, SegmentId, TaskId};
use crate::settings::Settings;
use crate::task::{
    About, Elements, Environment, OnLost, OnPartition, TaskSpec, TaskState, Want, Wish, Work,
};
use crate::time::{Hlc, Mono};

/// Specs and environments of one segment, bytes: with the largest spec it stays below what one change may carry.
const SEGMENT_BYTES: usize = 192 << 10;
/// The largest environment, bytes.
const ENVIRONMENT_BYTES: usize = 128 << 10;
/// A segment takes new tasks for so long.
const SEGMENT_AGE: Duration = Duration::from_secs(60);
/// After a start, submissions wait at most so long for known members, so that the first segment has a full committee.
const SETTLE: Duration = Duration::from_secs(2);
/// A submission that no majority confirms is answered after this, with the copies that there are.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most submissions and wishes that wait for an answer.
const UNANSWERED_LIMIT: usize = 10_000;
/// The entries of an array in one record, bytes.
const ELEMENT_BYTES: usize = 32 << 10;
/// The most elements of an array in one submission: it is taken in one go.
const SUBMISSION_ELEMENTS: u32 = 1 << 16;
/// The most mounts that a task may name.
const MOST_MOUNTS: usize = 16;
/// The most tasks of one submission.
const SUBMISSION_TASKS: usize = 4_096;

/// The segment that takes new tasks.
#[derive(Debug)]
pub(super) struct Open {
    id: SegmentId,
    since: Mono,
    bytes: usize,
    committee: Vec<PeerId>,
}

/// A submission that waits for known members to connect.
#[derive(Debug)]
pub(super) struct Parked {
    token: Token,
    tasks: Vec<NewTask>,
    durable: Durability,
}

/// Something done that waits for disks before it is answered.
#[derive(Debug)]
pub(super) struct Unanswered {
    token: Token,
    since: Mono,
    pub(super) kind: Answer,
}

#[derive(Debug)]
pub(super) enum Answer {
    Submitted {
        ids: Vec<TaskId>,
        written: Vec<(SegmentId, u32)>,
        durable: Durability,
        /// They were taken before.
        known: bool,
    },
    /// Durable with this flush.
    Noted {
        flush: u64,
        ended: Vec<(TaskId, TaskState)>,
    },
}

impl Replica {
    pub(super) fn submit(&mut self, token: Token, tasks: Vec<NewTask>, durable: Durability) {
        if self.unanswered.len() + self.parked.len() >= UNANSWERED_LIMIT {
            return self.reply(token, Reply::Refused(Refusal::Busy));
        }
        if self.stalled {
            return self.reply(token, Reply::Refused(Refusal::Disk));
        }
        if self.is_settling() {
            if self.parked.is_empty() {
                self.set_timer(self.booted + SETTLE, Timer::Parked);
            }
            return self.parked.push(Parked {
                token,
                tasks,
                durable,
            });
        }
        match self.check_submission(&tasks) {
            Err(refusal) => self.reply(token, Reply::Refused(refusal)),
            Ok(()) if self.answer_by_key(token, &tasks, durable) => {}
            Ok(()) => self.accept_submission(token, tasks, durable),
        }
    }

    /// Says whether a known member may still be about to connect.
    fn is_settling(&self) -> bool {
        self.now.mono < self.booted + SETTLE
            && self
                .roster
                .members()
                .any(|tag| tag != self.tag && !self.roster.is_connected(tag))
    }

    /// Takes parked submissions if nothing more is to be waited for.
    pub(super) fn unpark(&mut self) {
        if !self.is_settling() {
            self.unpark_all();
        }
    }

    pub(super) fn unpark_all(&mut self) {
        for parked in std::mem::take(&mut self.parked) {
            self.submit(parked.token, parked.tasks, parked.durable);
        }
    }

    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.outputs.push_back(Output::Reply(token, reply));
    }

    fn check_submission(&self, tasks: &[NewTask]) -> Result<(), Refusal> {
        let wrong = |place: usize, why: &str| {
            Err(Refusal::Spec {
                place: u32::try_from(place).unwrap_or(u32::MAX),
                why: why.to_owned(),
            })
        };
        if tasks.is_empty() || tasks.len() > SUBMISSION_TASKS {
            return wrong(0, "a submission has 1 to 4096 tasks");
        }
        for (place, task) in tasks.iter().enumerate() {
            let links = &task.links;
            let earlier = |other: &u32| (*other as usize) < place;
            if !links.after.iter().all(earlier) {
                return wrong(place, "it can only come after earlier tasks");
            }
            let grouped = match links.group {
                Some(group) if !earlier(&group) => return wrong(place, "its group comes first"),
                Some(group) => matches!(tasks[group as usize].spec.work, Work::Group { .. }),
                None => task
                    .spec
                    .member_of
                    .is_none_or(|member| self.is_group(member.group)),
            };
            if !grouped || links.group.is_some() && task.spec.member_of.is_none() {
                return wrong(place, "its group is not a group");
            }
            if let Some(why) = spec_problem(task) {
                return wrong(place, why);
            }
            let dependencies = task.spec.dependencies().map(|(id, _)| id);
            let group = task.spec.member_of.filter(|_| links.group.is_none());
            let dependencies = dependencies.chain(group.map(|of| of.group));
            let mut named = dependencies.chain(task.spec.options.parent);
            let gone = |id: &TaskId| !self.is_shown(*id) || self.is_lapsing(*id);
            if let Some(id) = named.find(gone) {
                return Err(Refusal::Unknown(id));
            }
        }
        if let Some((place, why)) = key_problem(tasks) {
            return wrong(place, why);
        }
        match self.tangle(tasks) {
            Some(Tangle { place, why }) => wrong(place, &why),
            None => Ok(()),
        }
    }

    fn is_group(&self, id: TaskId) -> bool {
        let spec = self
            .ids
            .get(&id)
            .and_then(|ix| self.known(*ix).spec.as_ref());
        spec.is_some_and(|spec| matches!(spec.work, Work::Group { .. }))
    }

    fn accept_submission(&mut self, token: Token, tasks: Vec<NewTask>, durable: Durability) {
        let first = self.next_n;
        let tag = self.tag;
        let id_at = |place: u32| TaskId {
            tag,
            n: first + u64::from(place),
        };
        let mut ids = Vec::with_capacity(tasks.len());
        let mut written: Vec<(SegmentId, u32)> = Vec::new();
        for NewTask {
            mut spec,
            env,
            links,
        } in tasks
        {
            spec.after
                .extend(links.after.iter().map(|place| id_at(*place)));
            if let (Some(place), Some(member)) = (links.group, &mut spec.member_of) {
                member.group = id_at(place);
            }
            spec.env = env.as_ref().map(|env| env.digest());
            self.counters.submitted += u64::from(spec.places());
            let mut own = None;
            let mut rest = Some(spec);
            while let Some(spec) = rest {
                let (id, segment, left) = self.write_task(spec, env.clone());
                rest = left;
                own.get_or_insert(id);
                if written.last().is_none_or(|(last, _)| *last != segment) {
                    written.push((segment, self.next_count(segment)));
                }
            }
            ids.extend(own);
        }
        let kind = Answer::Submitted {
            ids,
            written,
            durable,
            known: false,
        };
        self.await_answer(token, kind);
    }

    pub(super) fn await_answer(&mut self, token: Token, kind: Answer) {
        if self.unanswered.is_empty() {
            self.set_timer(self.now.mono + PATIENCE, Timer::Unanswered);
        }
        self.unanswered.push(Unanswered {
            token,
            since: self.now.mono,
            kind,
        });
    }

    /// Writes a task, or as much of an array as there is room for in one segment. Returns the first's id, and what is left.
    fn write_task(
        &mut self,
        spec: TaskSpec,
        env: Option<Arc<Environment>>,
    ) -> (TaskId, SegmentId, Option<TaskSpec>) {
        let bytes = encoded_bytes(&spec).min(TaskSpec::MAX_BYTES);
        let segment = self.open_for(bytes, env.as_deref());
        let known = self
            .segments
            .get_mut(&segment)
            .expect("an open segment is known");
        let place = u16::try_from(known.tasks.len()).expect("a segment is closed when it is full");
        if let (Some(env), Some(digest)) = (env, spec.env)
            && !known.environments.contains_key(&digest)
        {
            let entry = Entry::Environment(digest, (*env).clone());
            known.environments.insert(digest, env);
            self.staged
                .entry(DocId::Segment(segment))
                .or_default()
                .entries
                .push(entry);
        }
        let (spec, left) = split_for(spec, u32::from(SEGMENT_TASKS - place));
        let next = self.give_places(segment, place, Arc::new(spec.clone()));
        let ix = self.task_at(segment, place);
        self.stage(ix).specs.insert(place, spec);
        if self.stands_for(ix) == 1 {
            // The other elements, too, are bid for when they are durable, in their order.
            for place in place + 1..next {
                let ix = self.task_at(segment, place);
                self.stage(ix);
            }
        }
        (self.known(ix).id, segment, left)
    }

    /// Returns the segment that takes a task of so many bytes, opened if need be.
    fn open_for(&mut self, spec_bytes: usize, env: Option<&Environment>) -> SegmentId {
        let env_bytes = env.map_or(0, environment_bytes);
        let committee = self
            .roster
            .committee(self.committee_size, self.next_n, self.now.mono);
        if let Some(open) = &mut self.open {
            let known = &self.segments[&open.id];
            let has_env = env.is_some_and(|env| known.environments.contains_key(&env.digest()));
            let more = spec_bytes + if has_env { 0 } else { env_bytes };
            let serves = known.replacements.is_empty()
                && known.tasks.len() < usize::from(SEGMENT_TASKS)
                && open.bytes + more <= SEGMENT_BYTES
                && self.now.mono.since(open.since) < SEGMENT_AGE
                && still_good(
                    &self.roster,
                    &open.committee,
                    committee.len(),
                    self.now.mono,
                );
            if serves {
                open.bytes += more;
                return open.id;
            }
        }
        self.close_segment();
        let header = Header {
            format: Header::FORMAT,
            first: self.next_n,
            committee: committee.clone(),
            created: self.now.wall,
        };
        let segment = Segment::new(&header, self.now.mono);
        let id = self.ledger.open_segment(header);
        self.segments.insert(id, segment);
        let bytes = spec_bytes + env_bytes;
        self.open = Some(Open {
            id,
            since: self.now.mono,
            bytes,
            committee,
        });
        id
    }

    fn close_segment(&mut self) {
        if let Some(open) = self.open.take() {
            self.end_segment(open.id);
        }
    }

    /// Says whether an own segment takes tasks still.
    pub(super) fn has_open(&self, id: SegmentId) -> bool {
        self.open.as_ref().is_some_and(|open| open.id == id)
    }

    /// Closes the open segment if it is so old that it takes no more tasks.
    pub(super) fn close_old_segment(&mut self) {
        let old = |open: &Open| self.now.mono.since(open.since) >= SEGMENT_AGE;
        if self.open.as_ref().is_some_and(old) {
            self.close_segment();
        }
    }

    /// Says that no more tasks come in an own segment.
    pub(super) fn end_segment(&mut self, id: SegmentId) {
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        let count = u16::try_from(segment.tasks.len()).unwrap_or(u16::MAX);
        segment.specs = Some(count);
        self.staged
            .entry(DocId::Segment(id))
            .or_default()
            .entries
            .push(Entry::End(count));
    }

    pub(super) fn control(&mut self, token: Token, tasks: &[TaskId], by: &str, wish: &Wish) {
        if self.stalled {
            return self.reply(token, Reply::Refused(Refusal::Disk));
        }
        if self.unanswered.len() >= UNANSWERED_LIMIT {
            return self.reply(token, Reply::Refused(Refusal::Busy));
        }
        let again = matches!(wish, Wish::Retry { .. });
        let gone = |id: &&TaskId| !self.is_shown(**id) || again && self.is_lapsing(**id);
        if let Some(id) = tasks.iter().find(gone) {
            return self.reply(token, Reply::Refused(Refusal::Unknown(*id)));
        }
        let (mut ended, mut flush) = (Vec::new(), 0);
        for id in tasks {
            self.wake_one(*id);
            if !is_of_group_alone(wish) {
                self.wake_group(*id);
            }
        }
        for ix in self.meant_by(tasks, wish) {
            let task = self.known(ix);
            if let Wish::Edit(edits) = wish
                && let Some(refusal) = self.edit_problem(ix, edits)
            {
                return self.reply(token, Reply::Refused(refusal));
            }
            let fits = match wish.about() {
                About::Again => task.complete.is_some(),
                About::Removal => self.may_be_removed(ix),
                About::Edit => self.may_be_edited(ix),
                About::End | About::Hold => !task.state.is_complete(),
            };
            if !fits {
                ended.push((task.id, task.state));
            } else {
                self.want(ix, by, wish);
                flush = self.flush;
            }
        }
        self.await_answer(token, Answer::Noted { flush, ended });
        self.answer_submissions();
    }

    /// The tasks that a wish about these is about: a group's members for all but its end and what it is to be; with a removal, the
    /// group as well.
    fn meant_by(&self, tasks: &[TaskId], wish: &Wish) -> Vec<TaskIx> {
        let mut meant = Vec::new();
        for id in tasks {
            let group = self.graph.group(*id);
            let members = group.filter(|_| !is_of_group_alone(wish));
            // What was removed is nobody's any more, and does not run again with the others.
            let those = members.into_iter().flat_map(Group::members);
            meant.extend(those.filter(|ix| !self.known(*ix).removed));
            if members.is_none() || wish.about() == About::Removal {
                meant.extend(self.ids.get(id));
            }
        }
        meant
    }

    fn want(&mut self, ix: TaskIx, by: &str, wish: &Wish) {
        self.stamp = Hlc::after(self.stamp, self.now.wall, self.tag);
        let registers = &self.known(ix).registers;
        let said = registers.newest_wish();
        let last = said.map_or(self.stamp, |stamp| stamp.max(self.stamp));
        let stamp = if last == self.stamp {
            last
        } else {
            // A clock far ahead had the last word on this task alone.
            Hlc::after(last, self.now.wall, self.tag)
        };
        let mut wish = wish.clone();
        match &mut wish {
            Wish::Retry { lost } => *lost = registers.top(),
            Wish::Release { forgiven } => *forgiven = registers.runs_without_end(),
            Wish::Again {
                void,
                tries,
                losses,
            } => {
                let rungs = self.rungs(ix);
                *void = self.outcomes_to_void(ix);
                *tries = registers.all_tries(rungs);
                *losses = registers.runs_without_end();
            }
            Wish::Edit(edits) => **edits = self.edits_with(ix, edits),
            Wish::Remove { ended } => *ended = self.outcomes_to_void(ix),
            Wish::Kill { .. } | Wish::Close { .. } | Wish::Hold => {}
        }
        let want = Want {
            stamp,
            by: by.to_owned(),
            wish,
        };
        let place = self.known(ix).index;
        let kind = (place, want.wish.about());
        self.stage(ix).wants.insert(kind, want.clone());
        self.take_want(ix, want);
    }

    pub(super) fn take_stored(&mut self, from: PeerId, list: &[(DocId, u32)]) {
        for (doc, count) in list {
            if let DocId::Segment(id) = doc
                && id.author == self.me
                && self.segments.contains_key(id)
            {
                let known = self.confirmed.entry((*id, from.tag())).or_default();
                *known = (*known).max(*count);
            }
        }
        self.answer_submissions();
    }

    /// Answers what has become durable enough.
    pub(super) fn answer_submissions(&mut self) {
        let waiting = std::mem::take(&mut self.unanswered);
        for entry in waiting {
            let late = self.now.mono.since(entry.since) >= PATIENCE;
            match self.ripe(&entry.kind, late) {
                Some(reply) => self.reply(entry.token, reply),
                None => self.unanswered.push(entry),
            }
        }
    }

    pub(super) fn answer_late(&mut self) {
        self.answer_submissions();
        if let Some(first) = self.unanswered.first() {
            let at = (first.since + PATIENCE).max(self.now.mono + PATIENCE / 10);
            self.set_timer(at, Timer::Unanswered);
        }
    }

    fn ripe(&self, answer: &Answer, late: bool) -> Option<Reply> {
        match answer {
            Answer::Noted { flush, ended } => (self.durable >= *flush).then(|| Reply::Noted {
                ended: ended.clone(),
            }),
            Answer::Submitted {
                ids,
                written,
                durable,
                known,
            } => {
                let mut copies = (u8::MAX, 0);
                for (id, count) in written {
                    if self.ledger.durable_count(DocId::Segment(*id)) < *count {
                        return None;
                    }
                    copies = copies.min(self.copies(*id, *count));
                }
                let enough = match durable {
                    Durability::Local => 1,
                    Durability::Quorum => copies.1 / 2 + 1,
                };
                let ripe = copies.0 >= enough || late;
                ripe.then(|| Reply::Submitted {
                    ids: ids.clone(),
                    copies: (!written.is_empty()).then_some(copies),
                    known: *known,
                })
            }
        }
    }

    fn copies(&self, id: SegmentId, count: u32) -> (u8, u8) {
        let committee = &self.segments[&id].committee;
        let holds = |tag: &&crate::ids::Tag| {
            **tag == self.tag
                || self
                    .confirmed
                    .get(&(id, **tag))
                    .is_some_and(|have| *have >= count)
        };
        let copies = committee.iter().filter(holds).count();
        let small = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        (small(copies), small(committee.len()))
    }
}

/// Says whether a wish about a group is none about its members.
fn is_of_group_alone(wish: &Wish) -> bool {
    matches!(wish, Wish::Close { .. } | Wish::Edit(_))
}

/// Says whether a committee chosen earlier still serves: as large as one chosen now, with a living majority.
fn still_good(roster: &crate::roster::Roster, chosen: &[PeerId], size: usize, now: Mono) -> bool {
    let alive = chosen
        .iter()
        .filter(|peer| roster.is_alive(peer.tag(), now))
        .count();
    chosen.len() >= size && alive > chosen.len() / 2
}

fn environment_bytes(env: &Environment) -> usize {
    env.0
        .iter()
        .map(|(key, value)| key.0.len() + value.0.len() + 4)
        .sum()
}

fn spec_problem(task: &NewTask) -> Option<&'static str> {
    let spec = &task.spec;
    if let Some(elements) = &spec.options.elements
        && let Some(why) = array_problem(spec, elements)
    {
        return Some(why);
    }
    if let Work::Command { argv, .. } = &spec.work
        && argv.first().is_none_or(|program| program.0.is_empty())
    {
        return Some("the command is empty");
    }
    if spec.cwd.0.first() != Some(&b'/') {
        return Some("its directory is not absolute");
    }
    let nul = |arg: &crate::task::Arg| arg.0.contains(&0);
    if let Work::Command { argv, .. } = &spec.work
        && argv.iter().any(nul)
    {
        return Some("an argument contains a NUL byte");
    }
    let pairs = task
        .env
        .iter()
        .flat_map(|env| &env.0)
        .chain(&spec.extra_env.0);
    if pairs
        .clone()
        .any(|(key, value)| nul(key) || nul(value) || key.0.is_empty() || key.0.contains(&b'='))
    {
        return Some("an environment variable has no name, or a NUL byte or '=' where none may be");
    }
    if task
        .env
        .as_deref()
        .is_some_and(|env| environment_bytes(env) > ENVIRONMENT_BYTES)
    {
        return Some("its environment is larger than 128 KiB");
    }
    let options = &spec.options;
    if let Some(source) = options.pipe_from {
        if options.stdin.is_some() {
            return Some("what it reads is stated twice");
        }
        if !spec.dependencies().any(|(id, _)| id == source) {
            return Some("it reads the output of a task that it does not wait for");
        }
    }
    if let Some(why) = needs_problem(spec) {
        return Some(why);
    }
    if options.io.len() > MOST_MOUNTS || options.io.iter().any(|mount| mount.len() > 4_096) {
        return Some("it names more than 16 mounts, or one that is no path");
    }
    if spec.on_partition == OnPartition::Run && spec.on_lost != OnLost::Retry {
        return Some("what may run on both sides of a split is retried when a host is lost");
    }
    let bytes = match spec.options.elements {
        None => encoded_bytes(spec),
        // Its entries are spread over as many records as they need.
        Some(_) => {
            let mut bare = spec.clone();
            bare.options.elements = None;
            encoded_bytes(&bare) + ELEMENT_BYTES
        }
    };
    (bytes + 1_024 > TaskSpec::MAX_BYTES).then_some("it is larger than 63 KiB")
}

/// Says what is wrong with what a task asks of hosts and queues.
pub(super) fn needs_problem(spec: &TaskSpec) -> Option<&'static str> {
    let options = &spec.options;
    if !options.hosts.is_empty() && options.hosts.parse::<HostPatterns>().is_err() {
        return Some("the hosts that it asks for are no patterns");
    }
    if !options.queue.is_empty() && !Settings::is_queue_name(&options.queue) {
        return Some("its queue's name is not 1 to 64 letters, digits, '.', '_' and '-'");
    }
    let twice = !options.resources.is_sorted_by(|a, b| a.0 < b.0);
    twice.then_some("a resource is named twice")
}

fn array_problem(spec: &TaskSpec, elements: &Elements) -> Option<&'static str> {
    if matches!(spec.work, Work::Group { .. }) || spec.member_of.is_none() {
        return Some("only commands that belong to a group make an array");
    }
    if !elements.is_sound() {
        return Some("its array has no element, or one whose index is too large");
    }
    if elements.len() > SUBMISSION_ELEMENTS {
        return Some("one submission has at most 65536 elements of an array");
    }
    let Elements::Entries { list, .. } = elements else {
        return None;
    };
    if list.iter().any(|word| word.0.contains(&0)) {
        return Some("an entry of its array contains a NUL byte");
    }
    let longest = list.iter().map(|word| word.0.len()).max();
    (longest.unwrap_or(0) + 64 > ELEMENT_BYTES)
        .then_some("an entry of its array is longer than 31 KiB")
}

fn encoded_bytes(spec: &TaskSpec) -> usize {
    postcard::experimental::serialized_size(spec).unwrap_or(usize::MAX)
}

/// Splits off an array what does not fit into so many places, or into one record.
fn split_for(mut spec: TaskSpec, places: u32) -> (TaskSpec, Option<TaskSpec>) {
    let Some(mut rest) = spec.options.elements.take() else {
        return (spec, None);
    };
    let front = rest.split_off_front(places, ELEMENT_BYTES);
    let taken = front.len();
    spec.options.elements = Some(front);
    let left = (!rest.is_empty()).then(|| {
        let mut left = spec.clone();
        left.options.elements = Some(rest);
        if let Some(member) = &mut left.member_of {
            member.index = member.index.saturating_add(taken);
        }
        left
    });
    (spec, left)
}
