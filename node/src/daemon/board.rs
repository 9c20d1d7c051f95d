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
use crate::api::answers::Answers;
use crate::api::ids;
use crate::api::lines::{Lines, Names, task_line};
use crate::api::page::{Page, PageQuery, SortBy};
use crate::api::rights::Caller;
use crate::api::wire::{Body, TaskLine};
use crate::clock::boottime;

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
    filter: Option<String>,
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
        let is_old =
            |board: &Board| board.terms.filter.is_some() && now > board.made + FILTERED_FOR;
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
        for id in replica.task_ids() {
            board.look(replica, names, id);
        }
        board
    }

    fn catch_up(&mut self, replica: &Replica, names: &Names) {
        for id in std::mem::take(&mut self.changed) {
            self.look(replica, names, id);
        }
    }

    /// Looks where a task stands now.
    fn look(&mut self, replica: &Replica, names: &Names, id: TaskId) {
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
        let meant = self.terms.mean(&task, names);
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

    /// Says whether a task has a row; `meant` if it is one of those that are meant.
    fn lists(&self, task: &TaskView, meant: bool) -> bool {
        let of_user = self
            .user
            .as_ref()
            .is_none_or(|user| *user == task.spec.user);
        let group = task.member_of.map(|member| member.group);
        match (self.filter.is_some() || self.flat, self.named.is_empty()) {
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
        let anyone = query.which.all_users || !named.is_empty();
        let terms = Terms {
            user: (!anyone).then(|| caller.user.clone()),
            named: named.into_iter().collect(),
            filter: query.which.filter.clone(),
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
