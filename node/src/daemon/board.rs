//! Lists of tasks for screens: kept in order while somebody looks at them, so that a part of a long list costs what the part costs.
//!
//! A list is made when it is asked for first, and forgotten when nobody has asked for a while. Meanwhile what changes is noted, and
//! looked at when the next part is asked for. So a node at which nobody looks does nothing, and one at which somebody does looks at
//! every task once, and then at those that change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crdt::ids::TaskId;
use crdt::replica::Replica;
use crdt::task::{TaskState, TaskView, Work};

use super::node::Node;
use super::program::now;
use crate::api::answers::Answers;
use crate::api::ids;
use crate::api::lines::{Lines, Names, task_line};
use crate::api::page::{Page, PageQuery, SortBy};
use crate::api::rights::Caller;
use crate::api::select::{Selection, Sieve};
use crate::api::wire::{Body, FailureKind, TaskLine};
use crate::clock::boottime;
use crate::filter::Filter;

/// So many lists are kept; of more, the one that was asked for longest ago is forgotten.
const BOARDS: usize = 8;
/// A list for which nobody has asked for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(30);
/// A list that depends on the time is made anew after this.
const FILTERED_FOR: Duration = Duration::from_secs(30);
/// The longest part.
const MOST_ROWS: u32 = 1_000;

/// The lists that are kept.
#[derive(Debug, Default)]
pub(super) struct Boards(Vec<Board>);

/// What makes a list what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    /// Only these, and the members of these groups; empty: all.
    named: BTreeSet<TaskId>,
    /// Only this user's.
    user: Option<String>,
    /// Only what has this text.
    filter: Option<String>,
    /// Only what fits this filter.
    expr: Option<String>,
    flat: bool,
    sort: SortBy,
}

/// Where a task stands in a list: the least first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rank: u64,
    text: String,
    newest: Reverse<(u64, TaskId)>,
}

/// One list.
#[derive(Debug)]
struct Board {
    terms: Terms,
    rows: BTreeSet<Key>,
    /// What was found of each task that is listed or counted.
    found: BTreeMap<TaskId, Found>,
    counts: [u64; TaskState::ALL.len()],
    /// Tasks that have changed since they were looked at.
    changed: BTreeSet<TaskId>,
    made: Duration,
    asked: Duration,
}

#[derive(Debug)]
struct Found {
    row: Option<Key>,
    counted: Option<TaskState>,
}

impl Boards {
    /// Notes that a task has changed.
    pub(super) fn task_changed(&mut self, id: TaskId) {
        for board in &mut self.0 {
            board.changed.insert(id);
        }
    }

    /// Forgets lists for which nobody asks any more.
    pub(super) fn sweep(&mut self, now: Duration) {
        self.0
            .retain(|board| now.saturating_sub(board.asked) < FORGET_AFTER);
    }

    /// Returns a part of a list.
    fn page(&mut self, replica: &Replica, terms: Terms, part: &Part, now: Duration) -> Page {
        let names = Names::of(replica);
        let mut board = self.take(replica, &names, terms, now);
        board.catch_up(replica, &names);
        let page = board.page(replica, part);
        self.0.push(board);
        page
    }

    /// Takes out the list that is meant, or makes it.
    fn take(&mut self, replica: &Replica, names: &Names, terms: Terms, now: Duration) -> Board {
        let known = self.0.iter().position(|board| board.terms == terms);
        let known = known.map(|place| self.0.remove(place));
        let is_old = |board: &Board| board.terms.is_narrow() && now > board.made + FILTERED_FOR;
        match known.filter(|board| !is_old(board)) {
            Some(mut board) => {
                board.asked = now;
                board
            }
            None => {
                // They stand in the order in which they were asked for.
                self.0.drain(..(self.0.len() + 1).saturating_sub(BOARDS));
                Board::make(replica, names, terms, now)
            }
        }
    }
}

impl Board {
    fn make(replica: &Replica, names: &Names, terms: Terms, now: Duration) -> Self {
        let mut board = Self {
            terms,
            rows: BTreeSet::new(),
            found: BTreeMap::new(),
            counts: [0; TaskState::ALL.len()],
            changed: BTreeSet::new(),
            made: now,
            asked: now,
        };
        let selection = board.terms.selection();
        let sieve = board.terms.sieve(&selection, replica);
        for id in replica.task_ids() {
            board.look((replica, names, sieve.as_ref()), id);
        }
        board
    }

    fn catch_up(&mut self, replica: &Replica, names: &Names) {
        if self.changed.is_empty() {
            return;
        }
        let selection = self.terms.selection();
        let sieve = self.terms.sieve(&selection, replica);
        for id in std::mem::take(&mut self.changed) {
            self.look((replica, names, sieve.as_ref()), id);
        }
    }

    /// Looks where a task stands now.
    fn look(
        &mut self,
        (replica, names, sieve): (&Replica, &Names, Option<&Sieve<'_>>),
        id: TaskId,
    ) {
        if let Some(Found { row, counted }) = self.found.remove(&id) {
            if let Some(row) = row {
                self.rows.remove(&row);
            }
            if let Some(state) = counted {
                self.counts[state as usize] -= 1;
            }
        }
        let Some(task) = replica.task(id) else {
            return;
        };
        let fits = sieve.is_none_or(|sieve| {
            let glance = replica.glance(id);
            glance.is_some_and(|task| sieve.lets(&task))
        });
        let meant = fits && self.terms.mean(&task, names);
        let counted = meant.then_some(task.state);
        let row = self.terms.lists(&task, meant);
        let row = row.then(|| Key::of(&task, self.terms.sort, names));
        if let Some(state) = counted {
            self.counts[state as usize] += 1;
        }
        if let Some(row) = &row {
            self.rows.insert(row.clone());
        }
        if row.is_some() || counted.is_some() {
            self.found.insert(id, Found { row, counted });
        }
    }

    fn page(&self, replica: &Replica, part: &Part) -> Page {
        let total = self.rows.len();
        let offset = part.anchor.and_then(|anchor| self.offset_for(anchor, part));
        let offset = offset
            .unwrap_or(part.offset)
            .min(total.saturating_sub(part.limit));
        let rows: Vec<&Key> = match part.reversed {
            false => self.rows.iter().skip(offset).take(part.limit).collect(),
            true => {
                let rows = self.rows.iter().rev();
                rows.skip(offset).take(part.limit).collect()
            }
        };
        let lines = Lines::of(replica);
        let tasks = rows
            .into_iter()
            .filter_map(|key| replica.glance(key.task()));
        let counts = TaskState::ALL.iter().zip(self.counts);
        let counts = counts.filter(|(_, count)| *count > 0);
        Page {
            total: total as u64,
            offset: offset as u64,
            counts: counts
                .map(|(state, count)| (state.name().to_owned(), count))
                .collect(),
            tasks: tasks.map(|task| lines.line(&task)).collect(),
        }
    }

    /// Where the part begins in which a task stands on a row; `None` if it is not in the list.
    fn offset_for(&self, (id, row): (TaskId, usize), part: &Part) -> Option<usize> {
        let key = self.found.get(&id)?.row.as_ref()?;
        let before = match part.reversed {
            false => self.rows.range(..key).count(),
            true => self.rows.range((Excluded(key), Unbounded)).count(),
        };
        Some(before.saturating_sub(row))
    }
}

/// Which part of a list.
#[derive(Debug, Clone, Copy)]
struct Part {
    offset: usize,
    limit: usize,
    reversed: bool,
    /// This task stands on this row of it.
    anchor: Option<(TaskId, usize)>,
}

impl Key {
    fn of(task: &TaskView, sort: SortBy, names: &Names) -> Self {
        let newest_first = |at: u64| u64::MAX - at;
        let (rank, text) = match sort {
            SortBy::Age => (0, String::new()),
            SortBy::State => (urgency(task.state), String::new()),
            SortBy::Host => match task.host {
                Some(host) => (0, names.name(host)),
                None => (1, String::new()),
            },
            SortBy::Start => {
                let started = task.started.map_or(0, |wall| wall.0);
                (newest_first(started), String::new())
            }
            SortBy::Priority => {
                // The highest first.
                let rank = i64::from(i32::MAX) - i64::from(task.spec.priority);
                (rank.unsigned_abs(), String::new())
            }
        };
        Self {
            rank,
            text,
            newest: Reverse((task.spec.created.0, task.id)),
        }
    }

    fn task(&self) -> TaskId {
        let Reverse((_, id)) = self.newest;
        id
    }
}

/// How soon a person wants to see tasks in a state: what runs, what waits, what failed, what ended well.
fn urgency(state: TaskState) -> u64 {
    match state {
        TaskState::Running => 0,
        TaskState::Claimed => 1,
        TaskState::Pending => 2,
        TaskState::Blocked => 3,
        TaskState::Held => 4,
        TaskState::Creating => 5,
        TaskState::Error => 6,
        TaskState::Lost => 7,
        TaskState::Killed => 8,
        TaskState::Cancelled => 9,
        TaskState::Success => 10,
    }
}

impl Terms {
    /// Says whether a task is one of those that are meant: no group.
    fn mean(&self, task: &TaskView, names: &Names) -> bool {
        let group = task.member_of.map(|member| member.group);
        let named = self.named.is_empty()
            || self.named.contains(&task.id)
            || group.is_some_and(|group| self.named.contains(&group));
        let of_user = self
            .user
            .as_ref()
            .is_none_or(|user| *user == task.spec.user);
        let fits = |filter: &String| has_text(&task_line(task, names), filter);
        named && of_user && !is_group(task) && self.filter.as_ref().is_none_or(fits)
    }

    /// Says whether single tasks are chosen by what they are, which changes with the time.
    fn is_narrow(&self) -> bool {
        self.filter.is_some() || self.expr.is_some()
    }

    fn selection(&self) -> Selection {
        Selection {
            filter: self.expr.clone(),
            ..Selection::default()
        }
    }

    /// What lets through the tasks that fit the filter, if there is one; it was read before.
    fn sieve<'a>(&self, selection: &'a Selection, replica: &'a Replica) -> Option<Sieve<'a>> {
        self.expr.as_ref()?;
        Sieve::new(selection, replica, now().wall).ok()
    }

    /// Says whether a task has a row; `meant` if it is one of those that are meant.
    fn lists(&self, task: &TaskView, meant: bool) -> bool {
        let of_user = self
            .user
            .as_ref()
            .is_none_or(|user| *user == task.spec.user);
        let group = task.member_of.map(|member| member.group);
        match (self.is_narrow() || self.flat, self.named.is_empty()) {
            (true, _) => meant,
            // Members stand in their groups.
            (false, true) => of_user && group.is_none(),
            (false, false) => {
                meant || is_group(task) && group.is_some_and(|group| self.named.contains(&group))
            }
        }
    }
}

fn is_group(task: &TaskView) -> bool {
    matches!(task.spec.work, Work::Group { .. })
}

/// Says whether a line has a text in it somewhere.
fn has_text(line: &TaskLine, text: &str) -> bool {
    let wanted = text.to_lowercase();
    let texts = [
        Some(&line.id),
        line.name.as_ref(),
        Some(&line.command),
        line.host.as_ref(),
    ];
    let found = |text: &&String| text.to_lowercase().contains(&wanted);
    texts.into_iter().flatten().any(|text| found(&text)) || line.state.name().contains(&wanted)
}

impl Node {
    /// Answers a client that shows part of a list of tasks.
    pub(super) fn page(&mut self, query: &PageQuery, caller: &Caller, answers: Answers) {
        let ids = query.which.ids.clone();
        let Some((named, answers)) = self.resolve(&ids.into(), caller, answers) else {
            return;
        };
        let read = query.which.expr.as_deref().map(str::parse::<Filter>);
        if let Some(Err(why)) = read {
            return answers.fail(
                FailureKind::Request,
                why.to_string(),
                Some("see 'aque help filters'"),
            );
        }
        let anyone = query.which.all_users || !named.is_empty();
        let terms = Terms {
            user: (!anyone).then(|| caller.user.clone()),
            named: named.into_iter().collect(),
            filter: query.which.filter.clone(),
            expr: query.which.expr.clone(),
            flat: query.flat,
            sort: query.sort,
        };
        let anchor = query.anchor.as_ref().and_then(|anchor| {
            let id = ids::one(&self.replica, &anchor.id, &caller.user).ok()?;
            Some((id, anchor.row as usize))
        });
        let part = Part {
            offset: usize::try_from(query.offset).unwrap_or(usize::MAX),
            limit: query.limit.min(MOST_ROWS) as usize,
            reversed: query.reversed,
            anchor,
        };
        let page = self.boards.page(&self.replica, terms, &part, boottime());
        answers.end(Body::Page(page));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use crdt::config::{Config, Offer};
    use crdt::event::{Durability, Input, Links, NewTask, Notice, Output, Reply};
    use crdt::fit::RunsAs;
    use crdt::ids::Incarnation;
    use crdt::keys::Ed25519Keys;
    use crdt::task::{Membership, TaskSpec, Wish};
    use crdt::time::{Mono, Now, Timing, Wall};

    use super::*;

    const WALL: u64 = 1_700_000_000_000;

    /// A node's replica alone in its mesh, with room for one task, and lists of its tasks.
    struct Rig {
        replica: Replica,
        boards: Boards,
        clock: Duration,
        submitted: Vec<TaskId>,
    }

    impl Rig {
        fn new() -> Self {
            let clock = Duration::from_secs(1_000);
            let config = Config {
                keys: Box::new(Ed25519Keys::new(&[1; 32], &[99; 32])),
                incarnation: Incarnation(1),
                name: "alpha".to_owned(),
                version: "test".to_owned(),
                timing: Timing::default(),
                committee: 1,
                replace_after: Duration::from_secs(600),
                most_claims: usize::MAX,
                most_losses: 0,
                platform: "test".to_owned(),
                runs_as: RunsAs::Anyone,
                offer: Offer {
                    cpu_milli: 1_000,
                    memory_bytes: 1 << 30,
                    ..Offer::default()
                },
                seed: 1,
            };
            let replica = Replica::new(config, Vec::new(), &[], at(clock));
            let mut rig = Self {
                replica,
                boards: Boards::default(),
                clock,
                submitted: Vec::new(),
            };
            rig.settle();
            rig
        }

        fn feed(&mut self, input: Input) {
            self.replica.handle(at(self.clock), input);
        }

        /// Lets things happen until nothing does: what starts runs on.
        fn settle(&mut self) {
            for _ in 0..20 {
                self.clock += Duration::from_millis(50);
                self.feed(Input::Wakeup);
                while let Some(output) = self.replica.poll_output() {
                    match output {
                        Output::Persist { token, .. } => self.feed(Input::Persisted(token)),
                        Output::Start(order) => self.feed(Input::RunStarted(order.run)),
                        Output::Notice(Notice::Task { id, .. }) => self.boards.task_changed(id),
                        Output::Reply(_, Reply::Submitted { ids, .. }) => {
                            self.submitted.extend(ids);
                        }
                        _ => {}
                    }
                }
            }
        }

        fn submit(&mut self, change: impl Fn(&mut TaskSpec)) -> TaskId {
            let mut spec = TaskSpec::command(["true"]);
            spec.user = "ann".to_owned();
            spec.created = Wall(WALL + self.submitted.len() as u64);
            change(&mut spec);
            let task = NewTask {
                spec,
                env: None,
                links: Links::default(),
            };
            self.feed(Input::Submit {
                token: 1,
                tasks: vec![task],
                durable: Durability::Local,
            });
            self.settle();
            *self.submitted.last().unwrap()
        }

        fn wish(&mut self, id: TaskId, wish: Wish) {
            self.feed(Input::Control {
                token: 2,
                tasks: vec![id],
                by: "ann".to_owned(),
                wish,
            });
            self.settle();
        }

        fn page(&mut self, terms: Terms, part: Part) -> Page {
            self.boards.page(&self.replica, terms, &part, self.clock)
        }

        /// The ids' numbers of a part, and where it begins.
        fn rows(&mut self, terms: Terms, part: Part) -> (u64, Vec<String>) {
            let page = self.page(terms, part);
            let number = |line: &TaskLine| line.id.split_once('-').unwrap().1.to_owned();
            (page.offset, page.tasks.iter().map(number).collect())
        }
    }

    fn at(clock: Duration) -> Now {
        let ms = u64::try_from(clock.as_millis()).unwrap();
        Now {
            mono: Mono(ms * 1_000_000),
            wall: Wall(WALL + ms),
        }
    }

    fn terms() -> Terms {
        Terms {
            named: BTreeSet::new(),
            user: None,
            filter: None,
            expr: None,
            flat: false,
            sort: SortBy::Age,
        }
    }

    fn part(offset: usize, limit: usize) -> Part {
        Part {
            offset,
            limit,
            reversed: false,
            anchor: None,
        }
    }

    fn texts(list: &[u64]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_part_of_a_list_stays_where_it_is_wanted() {
        let mut rig = Rig::new();
        let ids: Vec<TaskId> = (0..10).map(|_| rig.submit(|_| {})).collect();
        assert_eq!(rig.rows(terms(), part(0, 3)), (0, texts(&[10, 9, 8])));
        assert_eq!(rig.rows(terms(), part(8, 3)), (7, texts(&[3, 2, 1])));
        assert_eq!(rig.rows(terms(), part(99, 2)), (8, texts(&[2, 1])));
        let reversed = Part {
            reversed: true,
            ..part(1, 2)
        };
        assert_eq!(rig.rows(terms(), reversed), (1, texts(&[2, 3])));
        // Task 5 stands on the second row of the part, wherever that is.
        let anchored = |reversed| Part {
            anchor: Some((ids[4], 1)),
            reversed,
            ..part(0, 3)
        };
        assert_eq!(rig.rows(terms(), anchored(false)), (4, texts(&[6, 5, 4])));
        assert_eq!(rig.rows(terms(), anchored(true)), (3, texts(&[4, 5, 6])));
        rig.submit(|_| {});
        rig.submit(|_| {});
        assert_eq!(rig.rows(terms(), anchored(false)), (6, texts(&[6, 5, 4])));
        assert_eq!(rig.boards.0.len(), 1, "it is one list all the time");
    }

    #[test]
    fn what_is_listed_and_counted_table() {
        let mut rig = Rig::new();
        let running = rig.submit(|spec| spec.name = Some("the first".to_owned()));
        let group = rig.submit(|spec| spec.work = Work::Group { size: Some(2) });
        for index in 0..2 {
            rig.submit(|spec| {
                spec.member_of = Some(Membership {
                    group,
                    index,
                    window: 0,
                });
            });
        }
        let urgent = rig.submit(|spec| {
            spec.user = "bob".to_owned();
            spec.priority = 5_000;
        });
        rig.wish(urgent, Wish::Hold);
        assert_eq!((running.n, group.n, urgent.n), (1, 2, 5));
        let sorted = |sort| Terms { sort, ..terms() };
        let rows = [
            (terms(), texts(&[5, 2, 1]), 4),
            (sorted(SortBy::State), texts(&[1, 2, 5]), 4),
            (sorted(SortBy::Host), texts(&[1, 5, 2]), 4),
            (sorted(SortBy::Start), texts(&[1, 5, 2]), 4),
            (sorted(SortBy::Priority), texts(&[5, 2, 1]), 4),
            (
                Terms {
                    flat: true,
                    ..terms()
                },
                texts(&[5, 4, 3, 1]),
                4,
            ),
            (
                Terms {
                    user: Some("ann".to_owned()),
                    ..terms()
                },
                texts(&[2, 1]),
                3,
            ),
            (
                Terms {
                    named: [group].into(),
                    ..terms()
                },
                texts(&[4, 3]),
                2,
            ),
            (
                Terms {
                    filter: Some("FIRST".to_owned()),
                    ..terms()
                },
                texts(&[1]),
                1,
            ),
            (
                Terms {
                    expr: Some("state = pending or priority > 4000".to_owned()),
                    ..terms()
                },
                texts(&[5, 4, 3]),
                3,
            ),
        ];
        for (terms, want, counted) in rows {
            let page = rig.page(terms.clone(), part(0, 9));
            assert_eq!(page.counts.values().sum::<u64>(), counted, "{terms:?}");
            assert_eq!(rig.rows(terms.clone(), part(0, 9)).1, want, "{terms:?}");
        }
        let page = rig.page(terms(), part(0, 9));
        let counts = [("held", 1), ("pending", 2), ("running", 1)];
        let counts = counts.map(|(state, count)| (state.to_owned(), count));
        assert_eq!(page.counts, counts.into());
    }

    #[test]
    fn a_list_that_is_kept_is_the_same_as_one_that_is_made_anew() {
        let mut rig = Rig::new();
        let mut chance = fastrand::Rng::with_seed(7);
        for round in 0..60 {
            let sorted = Terms {
                sort: SortBy::State,
                ..terms()
            };
            rig.page(sorted.clone(), part(0, 5));
            let known = rig.submitted.clone();
            match (known.is_empty(), chance.u8(0..4)) {
                (false, 0) => rig.wish(known[chance.usize(..known.len())], Wish::Hold),
                (false, 1) => {
                    let wish = Wish::Release { forgiven: 0 };
                    rig.wish(known[chance.usize(..known.len())], wish);
                }
                (false, 2) => {
                    let wish = Wish::Kill {
                        signal: 15,
                        grace: Duration::ZERO,
                        reason: None,
                    };
                    rig.wish(known[chance.usize(..known.len())], wish);
                }
                (_, _) => {
                    rig.submit(|_| {});
                }
            }
            rig.page(sorted.clone(), part(0, 5));
            let kept = rig.boards.0.last().unwrap();
            let names = Names::of(&rig.replica);
            let fresh = Board::make(&rig.replica, &names, sorted, rig.clock);
            assert_eq!(
                (&kept.rows, kept.counts),
                (&fresh.rows, fresh.counts),
                "{round}"
            );
            assert_eq!(kept.found.len(), fresh.found.len());
        }
    }

    #[test]
    fn lists_are_few_and_forgotten() {
        let mut rig = Rig::new();
        rig.submit(|_| {});
        for n in 0..2 * BOARDS {
            let user = Some(n.to_string());
            rig.page(Terms { user, ..terms() }, part(0, 1));
        }
        assert_eq!(rig.boards.0.len(), BOARDS);
        // The one that was asked for last stays; nothing is noted where nobody looks.
        rig.boards.sweep(rig.clock + FORGET_AFTER / 2);
        assert_eq!(rig.boards.0.len(), BOARDS);
        rig.boards.sweep(rig.clock + FORGET_AFTER);
        assert!(rig.boards.0.is_empty());
    }
}
