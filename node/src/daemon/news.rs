//! What happened last, and those who are told of it.
//!
//! The one idea: what happened is kept once, in a ring of a fixed length, and everybody who reads is a number in it. So a slow
//! reader costs nothing, holds nobody up, and is told exactly how much it missed when the ring has gone past it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crdt::entry::DutyKind;
use crdt::event::Notice;
use crdt::ids::{Epoch, PeerId, TaskId};
use crdt::replica::Replica;
use crdt::roster::Standing;
use crdt::task::TaskState;

use super::node::Node;
use crate::api::answers::{Answers, Taken};
use crate::api::lines::Names;
use crate::api::news::{EventLine, EventList, EventsQuery, Happening, HostWord, Place};
use crate::api::rights::Caller;
use crate::api::wire::{Body, FailureKind};
use crate::clock::{boottime, wall_ms};

/// So much of what happened is kept: some megabytes at most, and minutes of a busy mesh. A guess.
const KEPT: usize = 16_384;
/// One line tells so much at most.
const A_LINE: usize = 256;
/// So many lines are told one reader before others have their turn.
const LINES_A_TURN: usize = 4;
/// A reader that has no room is looked at again after this.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);
/// So many read at one time.
const READERS: usize = 64;
/// How often it is looked who is heard of.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that happened, as short as it can be kept.
#[derive(Debug)]
struct Happened {
    at_ms: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Task {
        id: TaskId,
        state: TaskState,
        reason: Option<String>,
        host: Option<PeerId>,
        epoch: Epoch,
    },
    /// Something rare about a task.
    Of(TaskId, Happening),
    /// All else is rare.
    Told(Happening),
}

/// How a member stood when it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: String,
    alive: bool,
    draining: bool,
    /// Since when it has been alive, or has not.
    since: Duration,
}

/// What happened last, and who reads it.
#[derive(Debug)]
pub(super) struct News {
    stream: u64,
    kept: VecDeque<Happened>,
    /// The number of the first that is kept.
    first: u64,
    /// When the newest happened of those that are kept no more; none: nothing was let go since this telling began.
    gone_ms: Option<u64>,
    begun_ms: u64,
    /// What was found at the start has not just happened.
    state: State,
    hosts: BTreeMap<PeerId, Seen>,
    look_at: Duration,
    readers: BTreeMap<u64, Reader>,
    next_reader: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The replica tells what it has found in its log.
    Starting,
    Telling,
}

/// What there is to know of tasks and hosts.
pub(super) trait World {
    fn names(&self) -> Names;
    /// The task as a line tells it, without what was kept of it.
    fn describe(&self, id: TaskId) -> Described;
    /// The group that a task belongs to.
    fn group(&self, id: TaskId) -> Option<TaskId>;
}

/// What does not change of a task.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) label: String,
    pub(super) group: Option<String>,
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
}

impl World for Replica {
    fn names(&self) -> Names {
        Names::of(self)
    }

    fn describe(&self, id: TaskId) -> Described {
        let Some(task) = self.known_task(id) else {
            return Described {
                label: id.to_string(),
                ..Described::default()
            };
        };
        Described {
            label: task.label(),
            group: task.member_of.map(|member| member.group.to_string()),
            name: task.spec.name.clone(),
            user: Some(task.spec.user.clone()),
        }
    }

    fn group(&self, id: TaskId) -> Option<TaskId> {
        Some(self.known_task(id)?.member_of?.group)
    }
}

impl News {
    /// Begins to tell, or goes on where an earlier program of this process was.
    pub(super) fn new(before: Option<Place>) -> Self {
        // Numbers of 53 bits are the same in every reader of JSON.
        let begin = || Place {
            stream: fastrand::u64(1..1 << 53),
            seq: 0,
        };
        let Place { stream, seq } = before.unwrap_or_else(begin);
        Self {
            stream,
            kept: VecDeque::new(),
            first: seq + 1,
            gone_ms: None,
            begun_ms: 0,
            state: State::Starting,
            hosts: BTreeMap::new(),
            look_at: Duration::ZERO,
            readers: BTreeMap::new(),
            next_reader: 0,
        }
    }

    /// Returns how far it has been told.
    pub(super) fn place(&self) -> Place {
        Place {
            stream: self.stream,
            seq: self.end() - 1,
        }
    }

    /// The number of what happens next.
    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn add(&mut self, what: What) {
        if self.state == State::Starting {
            return;
        }
        if self.kept.len() >= KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.first += 1;
            self.gone_ms = Some(oldest.at_ms);
        }
        let at_ms = wall_ms();
        self.kept.push_back(Happened { at_ms, what });
        for reader in self.readers.values_mut() {
            reader.due.get_or_insert(reader.told + reader.pace);
        }
    }

    /// Takes note of what the replica tells.
    pub(super) fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::Task {
                id,
                state,
                reason,
                host,
                epoch,
                sleepers,
            } => (0..=*sleepers).for_each(|after| {
                self.add(What::Task {
                    id: id.plus(after),
                    state: *state,
                    reason: reason.clone(),
                    host: *host,
                    epoch: *epoch,
                });
            }),
            Notice::Sight { id, label, removed } => {
                // What is there again is in another state, which is told.
                if *removed {
                    self.add(What::Of(*id, Happening::Removed { id: label.clone() }));
                }
            }
            Notice::Edited { id, label, by } => {
                let (label, by) = (label.clone(), by.clone());
                self.add(What::Of(*id, Happening::Edited { id: label, by }));
            }
            Notice::Setting { name, said } => self.tell(Happening::Setting {
                name: name.clone(),
                value: said.value.clone(),
                by: said.by.clone(),
            }),
            // Who is a member is looked up at once.
            Notice::Member { .. } => self.look_at = Duration::ZERO,
            Notice::HoldLost(run) => {
                let what = format!(
                    "the hold of {} at epoch {} could not be renewed in time",
                    run.task, run.epoch
                );
                self.mishap("leases", what);
            }
            Notice::Quarantined { author, why } => {
                let what = format!("changes of {} are refused: {why}", author.tag());
                self.mishap("authors", what);
            }
            // Each beat tells it again: the doctor knows.
            Notice::Skewed { .. } => {}
        }
    }

    /// Takes note of something rare.
    pub(super) fn tell(&mut self, what: Happening) {
        self.add(What::Told(what));
    }

    /// Takes note of something that went wrong.
    pub(super) fn mishap(&mut self, part: &str, what: impl Into<String>) {
        self.tell(Happening::Mishap {
            part: part.to_owned(),
            what: what.into(),
        });
    }

    /// A connection has come or gone: it is looked at once who is heard of.
    pub(super) fn hosts_may_differ(&mut self) {
        self.look_at = Duration::ZERO;
    }

    /// Compares who is there with who was there, now and then. The first time, nothing has changed.
    fn look<'a>(&mut self, now: Duration, hosts: impl Iterator<Item = Standing<'a>>) {
        if self.look_at > now {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let mut gone: BTreeSet<PeerId> = self.hosts.keys().copied().collect();
        for host in hosts {
            gone.remove(&host.peer);
            self.compare(now, host);
        }
        for peer in gone {
            if let Some(seen) = self.hosts.remove(&peer) {
                self.tell_host(peer, seen.name, HostWord::Gone);
            }
        }
    }

    fn compare(&mut self, now: Duration, host: Standing<'_>) {
        let mut seen = Seen {
            name: host.name.to_owned(),
            alive: host.alive,
            draining: host.duty == DutyKind::Drains,
            since: now,
        };
        let mut words = Vec::new();
        match self.hosts.get(&host.peer) {
            None => words.push(HostWord::Joined),
            Some(before) => {
                match (before.alive, seen.alive) {
                    (true, false) => words.push(HostWord::Silent),
                    (false, true) => words.push(HostWord::Alive),
                    (true, true) | (false, false) => seen.since = before.since,
                }
                match (before.draining, seen.draining) {
                    (false, true) => words.push(HostWord::Draining),
                    (true, false) => words.push(HostWord::Working),
                    (true, true) | (false, false) => {}
                }
            }
        }
        for is in words {
            self.tell_host(host.peer, seen.name.clone(), is);
        }
        self.hosts.insert(host.peer, seen);
    }

    fn tell_host(&mut self, peer: PeerId, host: String, is: HostWord) {
        self.tell(Happening::Host {
            host,
            tag: peer.tag().to_string(),
            is,
        });
    }

    /// Returns for how long a member has been alive, or has not.
    pub(super) fn standing_since(&self, peer: PeerId, now: Duration) -> Option<Duration> {
        let seen = self.hosts.get(&peer)?;
        Some(now.saturating_sub(seen.since))
    }

    /// What was found at the start is known by now: what is told from now on happens.
    fn begin<'a>(&mut self, now: Duration, hosts: impl Iterator<Item = Standing<'a>>) {
        self.look(now, hosts);
        self.begun_ms = wall_ms();
        self.state = State::Telling;
    }

    /// Adds a reader.
    fn add_reader(&mut self, query: &EventsQuery, only: BTreeSet<TaskId>, answers: Answers) {
        let (next, missed) = self.beginning(query);
        self.next_reader += 1;
        let reader = Reader {
            answers,
            next,
            missed,
            only,
            last: query.past.then(|| self.end()),
            pace: Duration::from_millis(query.pace_ms),
            most: match query.most {
                0 => u64::MAX,
                most => most.into(),
            },
            is_greeted: false,
            told: Duration::ZERO,
            due: Some(Duration::ZERO),
        };
        self.readers.insert(self.next_reader, reader);
    }

    /// Where a reader begins, and what it has missed by then.
    fn beginning(&self, query: &EventsQuery) -> (u64, Missed) {
        match (query.after, query.since_ms) {
            (Some(Place { stream, seq }), _) if stream == self.stream => {
                ((seq + 1).min(self.end()), Missed::Counted)
            }
            (Some(_), _) => (self.first, Missed::Unknown),
            (None, Some(since_ms)) => {
                let before = self.kept.partition_point(|one| one.at_ms < since_ms);
                let known_from = self.gone_ms.map_or(self.begun_ms, |gone| gone + 1);
                let missed = match known_from <= since_ms {
                    true => Missed::Counted,
                    false => Missed::Unknown,
                };
                (self.first + before as u64, missed)
            }
            (None, None) => (self.end(), Missed::Counted),
        }
    }

    /// Returns when something is to be told next.
    pub(super) fn next_report(&self) -> Option<Duration> {
        self.readers.values().filter_map(|reader| reader.due).min()
    }

    /// Tells those whose time has come, and lets go of those that are done or gone.
    pub(super) fn report(&mut self, world: &impl World, now: Duration) {
        if self.next_report().is_none_or(|at| at > now) {
            return;
        }
        let names = world.names();
        let is_due = |reader: &Reader| reader.due.is_some_and(|due| due <= now);
        let due = self.readers.iter().filter(|(_, reader)| is_due(reader));
        for key in due.map(|(key, _)| *key).collect::<Vec<_>>() {
            let Some(mut reader) = self.readers.remove(&key) else {
                continue;
            };
            reader.told = now;
            reader.due = match self.serve(&mut reader, world, &names) {
                Turn::Done => None,
                Turn::Again(pause) => Some(now + pause),
                Turn::Left => continue,
                Turn::Last(list) => {
                    reader.answers.end(Body::Events(list));
                    continue;
                }
            };
            self.readers.insert(key, reader);
        }
    }

    fn serve(&self, reader: &mut Reader, world: &impl World, names: &Names) -> Turn {
        for _ in 0..LINES_A_TURN {
            let before = (reader.next, reader.missed);
            let list = self.gather(reader, world, names);
            if reader.last.is_some_and(|last| reader.next >= last) {
                return Turn::Last(list);
            }
            // The first line tells where the reader begins.
            if !list.events.is_empty() || list.skipped > 0 || !reader.is_greeted {
                match reader.answers.offer(Body::Events(list)) {
                    Taken::Yes => reader.is_greeted = true,
                    Taken::NoRoom => {
                        (reader.next, reader.missed) = before;
                        return Turn::Again(NO_ROOM_PAUSE);
                    }
                    Taken::Left => return Turn::Left,
                }
            }
            if reader.next >= self.end() {
                return Turn::Done;
            }
        }
        Turn::Again(Duration::ZERO)
    }

    /// Takes a line's worth of what a reader has not been told.
    fn gather(&self, reader: &mut Reader, world: &impl World, names: &Names) -> EventList {
        let mut events = Vec::new();
        let lost = match std::mem::replace(&mut reader.missed, Missed::Counted) {
            Missed::Unknown => Some(None),
            Missed::Counted if reader.next < self.first => Some(Some(self.first - reader.next)),
            Missed::Counted => None,
        };
        reader.next = reader.next.max(self.first);
        if let Some(lost) = lost {
            events.push(EventLine {
                seq: reader.next - 1,
                at_ms: self.gone_ms.unwrap_or_else(wall_ms),
                what: Happening::Gap { lost },
            });
        }
        let end = reader.last.unwrap_or_else(|| self.end());
        let skipped = end.saturating_sub(reader.next).saturating_sub(reader.most);
        reader.next += skipped;
        while reader.next < end && events.len() < A_LINE {
            if let Some(happened) = self.at(reader.next)
                && reader.wants(happened, world)
            {
                events.push(line(reader.next, happened, world, names));
            }
            reader.next += 1;
        }
        let place = Place {
            stream: self.stream,
            seq: reader.next - 1,
        };
        EventList {
            place,
            events,
            skipped,
        }
    }

    fn at(&self, seq: u64) -> Option<&Happened> {
        let place = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.kept.get(place)
    }

    /// Lets go of readers that have left.
    pub(super) fn sweep(&mut self) {
        self.readers.retain(|_, reader| !reader.answers.is_closed());
    }
}

/// Somebody who reads.
#[derive(Debug)]
struct Reader {
    answers: Answers,
    /// The number of what is told next.
    next: u64,
    missed: Missed,
    /// Only these tasks and the members of these groups; empty: everything.
    only: BTreeSet<TaskId>,
    /// It ends before this number.
    last: Option<u64>,
    pace: Duration,
    most: u64,
    /// It has been told where it begins.
    is_greeted: bool,
    told: Duration,
    due: Option<Duration>,
}

/// What a reader has missed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    /// As much as the numbers say.
    Counted,
    /// Nobody knows how much.
    Unknown,
}

/// What became of a reader's turn.
enum Turn {
    /// It knows all.
    Done,
    /// There is more, after a pause.
    Again(Duration),
    /// It has left.
    Left,
    /// This is the last that it is told.
    Last(EventList),
}

impl Reader {
    fn wants(&self, happened: &Happened, world: &impl World) -> bool {
        if self.only.is_empty() {
            return true;
        }
        match &happened.what {
            What::Task { id, .. } | What::Of(id, _) => {
                let group = || world.group(*id);
                self.only.contains(id) || group().is_some_and(|group| self.only.contains(&group))
            }
            What::Told(_) => false,
        }
    }
}

fn line(seq: u64, happened: &Happened, world: &impl World, names: &Names) -> EventLine {
    let what = match &happened.what {
        What::Task {
            id,
            state,
            reason,
            host,
            epoch,
        } => {
            let Described {
                label,
                group,
                name,
                user,
            } = world.describe(*id);
            Happening::Task {
                id: label,
                group,
                name,
                user,
                state: *state,
                reason: reason.clone(),
                host: host.map(|host| names.name(host)),
                epoch: epoch.0,
            }
        }
        What::Of(_, what) | What::Told(what) => what.clone(),
    };
    EventLine {
        seq,
        at_ms: happened.at_ms,
        what,
    }
}

impl Node {
    /// From now on what happens is told.
    pub(super) fn begin_news(&mut self) {
        self.news.begin(boottime(), self.replica.standings());
    }

    /// Looks who is there, and tells those who read what has happened.
    pub(super) fn tell_news(&mut self) {
        let now = boottime();
        self.news.look(now, self.replica.standings());
        self.news.report(&self.replica, now);
    }

    /// Answers a client that wants to be told what happens.
    pub(super) fn read_news(&mut self, query: &EventsQuery, caller: &Caller, answers: Answers) {
        if self.news.readers.len() >= READERS {
            let text = format!("{READERS} clients read events, which is the limit");
            return answers.fail(FailureKind::Busy, text, Some("end one of them"));
        }
        if let Some((only, answers)) = self.resolve(&query.ids.clone().into(), caller, answers) {
            self.news
                .add_reader(query, only.into_iter().collect(), answers);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use crdt::ids::Tag;
    use tokio::sync::mpsc;

    use super::*;
    use crate::api::answers::Desk;
    use crate::api::wire::Reply;

    const NOW: Duration = Duration::from_secs(1);

    /// Every task with an even number is a member of task 1.
    struct Known;

    fn id(n: u64) -> TaskId {
        TaskId { tag: Tag(1), n }
    }

    impl World for Known {
        fn names(&self) -> Names {
            Names::default()
        }

        fn describe(&self, id: TaskId) -> Described {
            Described {
                label: id.n.to_string(),
                ..Described::default()
            }
        }

        fn group(&self, one: TaskId) -> Option<TaskId> {
            one.n.is_multiple_of(2).then_some(id(1))
        }
    }

    /// News and one reader.
    struct Rig {
        news: News,
        replies: mpsc::Receiver<Reply>,
        desk: Desk,
    }

    impl Rig {
        fn new(before: Option<Place>) -> Self {
            let (desk, replies) = Desk::new();
            let mut news = News::new(before);
            news.begin(NOW, std::iter::empty());
            Self {
                news,
                replies,
                desk,
            }
        }

        async fn read(&mut self, query: EventsQuery, only: &[u64]) {
            let answers = self.desk.turn().await.unwrap().answers(1);
            let only = only.iter().map(|n| id(*n)).collect();
            self.news.add_reader(&query, only, answers);
        }

        fn change(&mut self, n: u64) {
            self.news.note(&Notice::Task {
                id: id(n),
                state: TaskState::Running,
                reason: None,
                host: None,
                epoch: Epoch(1),
                sleepers: 0,
            });
        }

        /// What is told by `now`: each line as its numbers; tasks by their ids, gaps by what they have lost.
        fn told(&mut self, now: Duration) -> Vec<(u64, Vec<String>)> {
            self.news.report(&Known, now);
            let replies = std::iter::from_fn(|| self.replies.try_recv().ok());
            let list = |reply: Reply| match reply.body {
                Body::Events(list) => (list.place.seq, list.events.iter().map(short).collect()),
                other => panic!("{other:?}"),
            };
            replies.map(list).collect()
        }
    }

    fn short(event: &EventLine) -> String {
        match &event.what {
            Happening::Task { id, .. } => id.clone(),
            Happening::Gap { lost } => format!("gap {lost:?}"),
            Happening::Host { host, is, .. } => format!("{host} {is:?}"),
            other => panic!("{other:?}"),
        }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_reader_is_told_where_it_begins_and_then_all_that_happens() {
        let mut rig = Rig::new(None);
        rig.change(7);
        rig.read(EventsQuery::default(), &[]).await;
        assert_eq!(rig.told(NOW), [(1, vec![])]);
        assert_eq!(rig.news.next_report(), None);
        rig.change(8);
        rig.change(9);
        assert_eq!(rig.told(NOW), [(3, texts(&["8", "9"]))]);
        assert_eq!(rig.told(NOW), []);
    }

    #[tokio::test]
    async fn what_was_found_at_the_start_has_not_happened() {
        let mut news = News::new(None);
        news.mishap("disk", "it was full");
        assert_eq!(news.place().seq, 0);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_much_it_missed() {
        let mut rig = Rig::new(None);
        rig.read(EventsQuery::default(), &[]).await;
        rig.told(NOW);
        let many = KEPT as u64 + 5;
        (1..=many).for_each(|n| rig.change(n));
        let mut told = rig.told(NOW);
        // Some lines, and then others have their turn.
        assert_eq!(told.len(), LINES_A_TURN);
        let first = told.remove(0);
        assert_eq!(first.1[..2], texts(&["gap Some(5)", "6"]));
        while let Some(last) = rig.told(NOW).pop() {
            told.push(last);
        }
        assert_eq!(told.last().unwrap().0, many);
    }

    #[tokio::test]
    async fn who_has_no_room_loses_nothing() {
        let mut rig = Rig::new(None);
        rig.read(EventsQuery::default(), &[]).await;
        let mut sent = 0;
        // Until its queue is full: it does not read.
        while rig.news.next_report() != Some(NOW + NO_ROOM_PAUSE) {
            rig.change(sent);
            sent += 1;
            rig.news.report(&Known, NOW);
        }
        let mut told = rig.told(NOW + NO_ROOM_PAUSE);
        told.extend(rig.told(NOW + NO_ROOM_PAUSE * 2));
        let all: Vec<String> = told.into_iter().flat_map(|(_, ids)| ids).collect();
        let want: Vec<String> = (0..sent).map(|n| n.to_string()).collect();
        assert_eq!(all, want);
    }

    #[tokio::test]
    async fn where_a_reader_begins_table() {
        let place = |stream, seq| EventsQuery {
            after: Some(Place { stream, seq }),
            ..EventsQuery::default()
        };
        let since = |since_ms| EventsQuery {
            since_ms: Some(since_ms),
            ..EventsQuery::default()
        };
        let rows = [
            (place(7, 11), texts(&["2", "3"])),
            (place(7, 13), vec![]),
            (place(7, 99), vec![]),
            // Before what this program knows, but numbered by the one before.
            (place(7, 3), texts(&["gap Some(7)", "1", "2", "3"])),
            // Of another telling.
            (place(8, 11), texts(&["gap None", "1", "2", "3"])),
            (since(0), texts(&["gap None", "1", "2", "3"])),
            (since(u64::MAX), vec![]),
        ];
        for (query, want) in rows {
            let mut rig = Rig::new(Some(Place { stream: 7, seq: 10 }));
            (1..=3).for_each(|n| rig.change(n));
            rig.read(query.clone(), &[]).await;
            assert_eq!(rig.told(NOW), [(13, want)], "{query:?}");
        }
        let mut rig = Rig::new(None);
        rig.change(1);
        rig.read(since(rig.news.begun_ms), &[]).await;
        assert_eq!(rig.told(NOW), [(1, texts(&["1"]))]);
    }

    #[tokio::test]
    async fn one_may_ask_for_some_tasks_alone() {
        let mut rig = Rig::new(None);
        rig.read(EventsQuery::default(), &[1, 5]).await;
        (1..=6).for_each(|n| rig.change(n));
        rig.news.mishap("disk", "it is full");
        assert_eq!(rig.told(NOW), [(7, texts(&["1", "2", "4", "5", "6"]))]);
    }

    #[tokio::test]
    async fn the_past_has_an_end() {
        let mut rig = Rig::new(None);
        (1..=1_000).for_each(|n| rig.change(n));
        let query = EventsQuery {
            since_ms: Some(rig.news.begun_ms),
            past: true,
            ..EventsQuery::default()
        };
        rig.read(query, &[]).await;
        rig.change(1_001);
        let told: Vec<String> = rig.told(NOW).into_iter().flat_map(|(_, ids)| ids).collect();
        assert_eq!(told.len(), 1_000);
        assert!(rig.news.readers.is_empty());
    }

    #[tokio::test]
    async fn a_reader_may_want_the_newest_alone_now_and_then() {
        let mut rig = Rig::new(None);
        let query = EventsQuery {
            pace_ms: 500,
            most: 2,
            ..EventsQuery::default()
        };
        rig.read(query, &[]).await;
        rig.told(NOW);
        (1..=9).for_each(|n| rig.change(n));
        assert_eq!(rig.told(NOW), []);
        let later = NOW + Duration::from_millis(500);
        assert_eq!(rig.news.next_report(), Some(later));
        assert_eq!(rig.told(later), [(9, texts(&["8", "9"]))]);
    }

    #[tokio::test]
    async fn hosts_come_and_go() {
        let host = |n, alive, duty| Standing {
            peer: PeerId([n; 32]),
            name: "beta",
            alive,
            duty,
        };
        let mut rig = Rig::new(None);
        rig.news
            .look(NOW + LOOK_EVERY, std::iter::empty::<Standing<'_>>());
        rig.read(EventsQuery::default(), &[]).await;
        let rows = [
            (vec![host(1, true, DutyKind::Works)], vec!["beta Joined"]),
            (vec![host(1, true, DutyKind::Works)], vec![]),
            (vec![host(1, false, DutyKind::Works)], vec!["beta Silent"]),
            (
                vec![host(1, true, DutyKind::Drains)],
                vec!["beta Alive", "beta Draining"],
            ),
            (vec![host(1, true, DutyKind::Works)], vec!["beta Working"]),
            (vec![], vec!["beta Gone"]),
        ];
        for (step, (hosts, want)) in (2_u32..).zip(rows) {
            let now = NOW + LOOK_EVERY * step;
            rig.news.look(now, hosts.clone().into_iter());
            // Between two looks nothing is looked at, unless a connection has come or gone.
            rig.news.look(now, std::iter::empty::<Standing<'_>>());
            let told: Vec<String> = rig
                .told(now)
                .into_iter()
                .flat_map(|(_, told)| told)
                .collect();
            assert_eq!(told, want);
            let since = rig.news.standing_since(PeerId([1; 32]), now);
            assert_eq!(since.is_some(), !hosts.is_empty());
        }
    }

    #[tokio::test]
    async fn who_left_is_forgotten() {
        let mut rig = Rig::new(None);
        rig.read(EventsQuery::default(), &[]).await;
        rig.replies.close();
        rig.news.sweep();
        assert!(rig.news.readers.is_empty());
    }
}
