//! The list of tasks on a screen: a window on a list that the node keeps, which may be far longer than what is here.
//!
//! Rows are counted from the beginning of the whole list. What the window shows is asked for, one question at a time; the task
//! that is marked stays where it is on the screen while others come and go, unless it is the first of all.

use super::Key;
use crate::api::page::{Anchor, Page, PageQuery, SortBy, Which};
use crate::api::wire::TaskLine;
use crate::filter::{Filter, FilterError};
use crdt::task::TaskState;

/// While something on the screen runs, what it says of itself is asked for again after this, milliseconds: the host of a run tells
/// it no more often.
const PROGRESS_EVERY_MS: u64 = 2_000;

/// A group that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Its id.
    pub(crate) id: String,
    /// What is marked when it is closed again.
    selected: u64,
    offset: u64,
}

/// Whether the list is as the node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// As far as is known.
    Fresh,
    /// Something has changed, here or there.
    Stale,
}

/// A question that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    number: u64,
    /// The row of the screen on which the marked task stood.
    row: u64,
    /// The person has moved since.
    moved: bool,
}

/// What a person means by what is typed: a text that is looked for, or a filter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Narrowed {
    text: Option<String>,
    expr: Option<String>,
}

impl Narrowed {
    /// Reads what is typed: what compares something is a filter (`aque help filters`), anything else, and what stands in double
    /// quotes, a text.
    ///
    /// # Errors
    /// It compares, and is no filter.
    pub(crate) fn read(typed: &str) -> Result<Self, FilterError> {
        let typed = typed.trim();
        let quoted = typed
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let lower = typed.to_lowercase();
        let compares = typed.contains(['=', '<', '>', '~']) || lower.contains(" in (");
        let text = quoted.unwrap_or(typed);
        Ok(match (quoted.is_none() && compares, text.is_empty()) {
            (true, _) => Self {
                text: None,
                expr: Some(typed.parse::<Filter>()?.to_string()),
            },
            (false, false) => Self {
                text: Some(text.to_owned()),
                expr: None,
            },
            (false, true) => Self::default(),
        })
    }
}

/// The list of tasks.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    /// Which, as the command line said.
    base: Which,
    /// What a person typed as a filter.
    pub(crate) typed: String,
    /// What that means.
    narrowed: Narrowed,
    /// Groups that were opened, each in the one before.
    pub(crate) inside: Vec<Inside>,
    /// Members of groups are listed, without the groups.
    pub(crate) flat: bool,
    /// In which order.
    pub(crate) sort: SortBy,
    /// In the opposite order.
    pub(crate) reversed: bool,
    /// What the node said last.
    pub(crate) page: Option<Page>,
    /// The first row of the window.
    pub(crate) offset: u64,
    /// The row that is marked.
    pub(crate) selected: u64,
    height: u64,
    freshness: Freshness,
    asked: Option<Asked>,
    number: u64,
    asked_ms: u64,
}

impl Tasks {
    /// Begins with nothing.
    pub(crate) fn new(base: Which, flat: bool) -> Self {
        Self {
            typed: base.expr.clone().unwrap_or_default(),
            narrowed: Narrowed {
                text: None,
                expr: base.expr.clone(),
            },
            base,
            inside: Vec::new(),
            flat,
            sort: SortBy::default(),
            reversed: false,
            page: None,
            offset: 0,
            selected: 0,
            height: 1,
            freshness: Freshness::Stale,
            asked: None,
            number: 0,
            asked_ms: 0,
        }
    }

    /// Says whether tasks of all users are listed.
    pub(crate) fn all_users(&self) -> bool {
        self.base.all_users
    }

    /// Returns how many the list has.
    pub(crate) fn total(&self) -> u64 {
        self.page.as_ref().map_or(0, |page| page.total)
    }

    /// Returns the task on a row, if it is here.
    pub(crate) fn at(&self, row: u64) -> Option<&TaskLine> {
        let page = self.page.as_ref()?;
        let place = usize::try_from(row.checked_sub(page.offset)?).ok()?;
        page.tasks.get(place)
    }

    /// Returns the task with this id, if it is here.
    pub(crate) fn find(&self, id: &str) -> Option<&TaskLine> {
        let page = self.page.as_ref()?;
        page.tasks.iter().find(|line| line.id == id)
    }

    /// Returns the marked task.
    pub(crate) fn marked(&self) -> Option<&TaskLine> {
        self.at(self.selected)
    }

    /// The window has so many rows.
    pub(crate) fn resize(&mut self, height: u64) {
        let height = height.max(1);
        if self.height != height {
            self.height = height;
            self.keep_in_sight();
            self.change();
        }
    }

    /// Something has happened to tasks.
    pub(crate) fn happened(&mut self) {
        self.freshness = Freshness::Stale;
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let running = |line: &TaskLine| line.state == TaskState::Running;
        let runs = self
            .page
            .as_ref()
            .is_some_and(|page| page.tasks.iter().any(running));
        if runs && now_ms.saturating_sub(self.asked_ms) >= PROGRESS_EVERY_MS {
            self.happened();
        }
    }

    /// The node is asked anew, whatever was under way.
    pub(crate) fn ask_anew(&mut self) {
        self.asked = None;
        self.freshness = Freshness::Stale;
    }

    /// Returns the question to be asked now, with its number: none while one is under way or nothing has changed.
    pub(crate) fn question(&mut self, now_ms: u64) -> Option<(u64, PageQuery)> {
        if self.freshness == Freshness::Fresh || self.asked.is_some() {
            return None;
        }
        self.freshness = Freshness::Fresh;
        self.number += 1;
        self.asked_ms = now_ms;
        let row = self.selected.saturating_sub(self.offset);
        self.asked = Some(Asked {
            number: self.number,
            row,
            moved: false,
        });
        let which = match self.inside.last() {
            None => Which {
                filter: self.narrowed.text.clone(),
                expr: self.narrowed.expr.clone(),
                ..self.base.clone()
            },
            Some(inside) => Which {
                ids: vec![inside.id.clone()],
                filter: self.narrowed.text.clone(),
                expr: self.narrowed.expr.clone(),
                ..Which::default()
            },
        };
        // Who looks at the first of all sees what comes before it.
        let first = self.selected == 0;
        let marked = self.marked().filter(|_| !first);
        let query = PageQuery {
            which,
            flat: self.flat,
            sort: self.sort,
            reversed: self.reversed,
            offset: self.offset,
            anchor: marked.map(|line| Anchor {
                id: line.id.clone(),
                row: u32::try_from(row).unwrap_or(u32::MAX),
            }),
            limit: u32::try_from(self.height).unwrap_or(u32::MAX),
        };
        Some((self.number, query))
    }

    /// Takes the answer to a question; one to an earlier question is dropped.
    pub(crate) fn answer(&mut self, number: u64, page: Page) {
        let Some(asked) = self.asked.take_if(|asked| asked.number == number) else {
            return;
        };
        if !asked.moved {
            self.offset = page.offset;
            self.selected = page.offset + asked.row;
        }
        self.page = Some(page);
        self.clamp();
    }

    /// A question was not answered.
    pub(crate) fn fail(&mut self, number: u64) {
        self.asked.take_if(|asked| asked.number == number);
    }

    fn clamp(&mut self) {
        let last = self.total().saturating_sub(1);
        self.selected = self.selected.min(last);
        let before = self.offset;
        self.keep_in_sight();
        if self.offset != before {
            self.change();
        }
    }

    fn keep_in_sight(&mut self) {
        let most = self.total().saturating_sub(self.height);
        let least = (self.selected + 1).saturating_sub(self.height);
        self.offset = self
            .offset
            .clamp(least, self.selected.max(least))
            .min(most.max(least));
    }

    /// What is asked for is something else than before.
    fn change(&mut self) {
        self.freshness = Freshness::Stale;
        if let Some(asked) = &mut self.asked {
            asked.moved = true;
        }
    }

    /// What is listed is something else than before: it is looked at from its beginning.
    fn begin(&mut self) {
        (self.offset, self.selected) = (0, 0);
        self.page = None;
        self.asked = None;
        self.freshness = Freshness::Stale;
    }

    /// Moves the mark.
    pub(crate) fn go(&mut self, key: Key) {
        let page = self.height.saturating_sub(1).max(1);
        let to = match key {
            Key::Up => self.selected.saturating_sub(1),
            Key::Down => self.selected + 1,
            Key::PageUp => self.selected.saturating_sub(page),
            Key::PageDown => self.selected + page,
            Key::Home => 0,
            Key::End => u64::MAX,
            _ => return,
        };
        self.selected = to.min(self.total().saturating_sub(1));
        let before = self.offset;
        self.keep_in_sight();
        if let Some(asked) = &mut self.asked {
            asked.moved = true;
        }
        if self.offset != before {
            self.change();
        }
    }

    /// Opens the marked group.
    pub(crate) fn open(&mut self, id: String) {
        self.inside.push(Inside {
            id,
            selected: self.selected,
            offset: self.offset,
        });
        self.begin();
    }

    /// Closes the group that was opened last; says whether there was one.
    pub(crate) fn close(&mut self) -> bool {
        let Some(inside) = self.inside.pop() else {
            return false;
        };
        self.begin();
        (self.selected, self.offset) = (inside.selected, inside.offset);
        true
    }

    /// Lists what fits alone, or all again.
    pub(crate) fn narrow(&mut self, typed: String, narrowed: Narrowed) {
        self.typed = typed;
        if self.narrowed != narrowed {
            self.narrowed = narrowed;
            self.begin();
        }
    }

    /// Takes a key that changes what is listed, or how.
    pub(crate) fn turn(&mut self, key: Key) {
        match key {
            Key::Char('a') => self.base.all_users = !self.base.all_users,
            Key::Char('f') => self.flat = !self.flat,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('S') => self.reversed = !self.reversed,
            _ => return,
        }
        self.begin();
    }
}
