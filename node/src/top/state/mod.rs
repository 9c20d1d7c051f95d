//! What a person sees, and how it changes: a pure function over messages. It asks for nothing by itself: what is to be done in the
//! world comes out as [`Order`]s.

mod edit;
mod output;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub(crate) use edit::Edit;
pub(crate) use output::{Output, Reading};
pub(crate) use tasks::{Narrowed, Tasks};

use super::layout::Layout;
use crate::api::news::{EventLine, EventList, Happening};
use crate::api::page::{Page, PageQuery, Which};
use crate::api::wire::{Call, NodeLine, OutputPiece, TaskLine};
use crate::render::text::harmless;

/// So many events are kept for looking back. A guess.
const MOST_EVENTS: usize = 1_000;
/// How long a word about what was done stays, milliseconds.
const SAID_MS: u64 = 5_000;
/// While they are looked at, hosts are asked about again after this, milliseconds: they tell how they are no more often.
const HOSTS_EVERY_MS: u64 = 2_000;
/// So much of a task's command stands in a question, characters.
const SHORT: usize = 40;
/// Exit status of a program that Ctrl-C ended, as a shell shows it.
const INTERRUPTED: u8 = 128 + 2;
/// The time that a task gets between SIGTERM and SIGKILL, as with `aque kill`.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the keys do.
pub(crate) const KEYS: [(&str, &str); 17] = [
    ("q  Ctrl-C", "quit"),
    ("Ctrl-Z", "stop for a while"),
    ("1 2 3  Tab", "tasks, hosts, events"),
    ("arrows PgUp PgDn", "move; also Home and End"),
    ("Enter", "a group: its members; a task: what it prints"),
    ("Esc", "back; all tasks again"),
    ("/", "filter: text, or exit != 0"),
    ("s  S", "sort by the next thing; the other way round"),
    ("a", "tasks of all users, or yours"),
    ("f", "members of groups by themselves, or groups"),
    ("K", "kill the marked task, or all of the group"),
    ("R", "retry it: run it again"),
    ("H", "hold it: it does not start"),
    ("L", "let it go: release it"),
    ("y", "yes, to a question; all else is no"),
    ("left right", "in output: to the side"),
    ("? h", "this"),
];

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Ctrl(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    Delete,
    Tab,
    BackTab,
}

/// What the world tells.
#[derive(Debug)]
pub(crate) enum Message {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Pasted(String),
    /// The screen has another size: columns and lines.
    Resized(u16, u16),
    /// Time has passed: the wall clock, milliseconds.
    Tick(u64),
    /// Things have happened.
    Events(EventList),
    /// The node cannot be reached, and why.
    Away(String),
    /// It can be reached again.
    Back,
    /// An answer to [`Order::Page`]; why there is none.
    Page(u64, Result<Page, String>),
    /// An answer to [`Order::Hosts`].
    Hosts(Vec<NodeLine>),
    /// A piece of what is followed.
    Output(u64, OutputPiece),
    /// What is followed begins anew.
    OutputAnew(u64),
    /// What is followed has ended, or broke off.
    OutputEnd(u64, Result<(), String>),
    /// What was asked for is done, or not.
    Done(Result<String, String>),
    /// A person or the system wants it to stop for a while.
    Suspend,
    /// It goes on; others may have had the terminal.
    Continued,
    /// The program is to end, with this exit status.
    Leave(u8),
}

/// What is to be done in the world.
#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    /// Ask for part of the list of tasks.
    Page(u64, PageQuery),
    /// Ask about the hosts.
    Hosts,
    /// Follow a task's output, and tell it with this number.
    Follow(u64, String),
    /// Follow no more.
    Unfollow,
    /// Ask for something that a person wants, and say this when it is done.
    Act(Box<Act>),
    /// Stop for a while.
    Suspend,
    /// Take the terminal over again.
    TakeAgain,
    /// End.
    Leave(u8),
}

/// Something that a person wants.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// What the node is asked.
    pub(crate) call: Call,
    /// What is said when it is done.
    pub(crate) done: String,
}

impl PartialEq for Act {
    fn eq(&self, other: &Self) -> bool {
        self.done == other.done
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    /// Tasks.
    Tasks,
    /// Hosts.
    Hosts,
    /// What happens.
    Events,
}

impl Tab {
    /// In their order.
    pub(crate) const ALL: [Self; 3] = [Self::Tasks, Self::Hosts, Self::Events];

    /// Returns what stands on it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Hosts => "hosts",
            Self::Events => "events",
        }
    }
}

/// What lies over it.
#[derive(Debug)]
pub(crate) enum Cover {
    /// Nothing.
    None,
    /// The keys, from one on.
    Help(usize),
    /// What a task prints.
    Output(Output),
}

/// The last line.
#[derive(Debug)]
pub(crate) enum Bar {
    /// The most important keys.
    Keys,
    /// A filter is typed; what is wrong with it.
    Filter(Edit, Option<String>),
    /// Something is about to be done.
    Question(String, Act),
    /// A word about what was done, until then.
    Said(Said, u64),
}

/// A word to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It was done.
    Good(String),
    /// It was not.
    Bad(String),
}

/// The hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// As the node told last.
    pub(crate) nodes: Vec<NodeLine>,
    /// The first on the screen.
    pub(crate) offset: usize,
    asked_ms: u64,
    stale: bool,
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Events {
    lines: VecDeque<EventLine>,
    /// So many of the newest are left out.
    back: usize,
}

/// Whether the node can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It can.
    Up,
    /// Not since then, and why.
    Away(u64, String),
}

/// How it begins.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    /// What is looked at first.
    pub(crate) tab: Tab,
    /// Which tasks.
    pub(crate) which: Which,
    /// Members of groups are listed, without the groups.
    pub(crate) flat: bool,
}

/// What a person sees.
#[derive(Debug)]
pub(crate) struct State {
    /// Name and tag of the node that is asked.
    pub(crate) node: String,
    /// Columns and lines.
    pub(crate) size: (u16, u16),
    pub(crate) now_ms: u64,
    pub(crate) tab: Tab,
    pub(crate) cover: Cover,
    pub(crate) bar: Bar,
    pub(crate) link: Link,
    pub(crate) tasks: Tasks,
    pub(crate) hosts: Hosts,
    pub(crate) events: Events,
    views: u64,
}

impl State {
    /// Begins, and returns what is to be done first.
    pub(crate) fn begin(
        node: String,
        size: (u16, u16),
        now_ms: u64,
        beginning: Beginning,
    ) -> (Self, Vec<Order>) {
        let Beginning { tab, which, flat } = beginning;
        let mut state = Self {
            node,
            size,
            now_ms,
            tab,
            cover: Cover::None,
            bar: Bar::Keys,
            link: Link::Up,
            tasks: Tasks::new(which, flat),
            hosts: Hosts {
                stale: true,
                ..Hosts::default()
            },
            events: Events::default(),
            views: 0,
        };
        let orders = state.update(Message::Resized(size.0, size.1));
        (state, orders)
    }

    /// Takes a message, and returns what is to be done, in order.
    pub(crate) fn update(&mut self, message: Message) -> Vec<Order> {
        let mut orders = Vec::new();
        match message {
            Message::Key(key) => self.press(key, &mut orders),
            Message::Pasted(text) => {
                // What is pasted is text and no command, whatever it says.
                if let Bar::Filter(edit, _) = &mut self.bar {
                    edit.insert(&text);
                }
            }
            Message::Resized(columns, lines) => self.resize(columns, lines),
            Message::Tick(now_ms) => self.tick(now_ms),
            Message::Events(list) => self.hear(list),
            Message::Away(why) => self.link = Link::Away(self.now_ms, why),
            Message::Back => {
                self.link = Link::Up;
                self.tasks.ask_anew();
                self.hosts.stale = true;
            }
            Message::Page(number, Ok(page)) => self.tasks.answer(number, page),
            Message::Page(number, Err(why)) => {
                self.tasks.fail(number);
                self.say(Said::Bad(why));
            }
            Message::Hosts(nodes) => self.hosts.nodes = nodes,
            Message::Output(view, piece) => {
                if let Some(output) = self.output(view) {
                    output.take(piece.stream, piece.host, &piece.data.0);
                }
            }
            Message::OutputAnew(view) => {
                if let Some(output) = self.output(view) {
                    output.begin_anew();
                }
            }
            Message::OutputEnd(view, end) => {
                if let Some(output) = self.output(view) {
                    output.end(end.map_or_else(Reading::Failed, |()| Reading::Ended));
                }
            }
            Message::Done(Ok(word)) => self.say(Said::Good(word)),
            Message::Done(Err(why)) => self.say(Said::Bad(why)),
            Message::Suspend => orders.push(Order::Suspend),
            Message::Continued => orders.push(Order::TakeAgain),
            Message::Leave(status) => orders.push(Order::Leave(status)),
        }
        self.ask(&mut orders);
        orders
    }

    fn output(&mut self, view: u64) -> Option<&mut Output> {
        match &mut self.cover {
            Cover::Output(output) if output.view == view => Some(output),
            Cover::Output(_) | Cover::Help(_) | Cover::None => None,
        }
    }

    fn say(&mut self, said: Said) {
        // A question or a line that is typed is not taken away from under a person's hands.
        if matches!(self.bar, Bar::Keys | Bar::Said(..)) {
            self.bar = Bar::Said(said, self.now_ms + SAID_MS);
        }
    }

    fn resize(&mut self, columns: u16, lines: u16) {
        self.size = (columns, lines);
        self.tasks.resize(Layout::of(lines).height.into());
        if let Cover::Output(output) = &mut self.cover {
            output.resize(Layout::plain(lines).height.into());
        }
        self.hosts.offset = self.hosts.offset.min(self.last_host_row());
    }

    fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if matches!(self.bar, Bar::Said(_, until) if until <= now_ms) {
            self.bar = Bar::Keys;
        }
        if self.tab == Tab::Tasks {
            self.tasks.tick(now_ms);
        }
        let since = now_ms.saturating_sub(self.hosts.asked_ms);
        if self.tab == Tab::Hosts && since >= HOSTS_EVERY_MS {
            self.hosts.stale = true;
        }
    }

    fn hear(&mut self, list: EventList) {
        let gap = list.skipped > 0;
        if gap {
            let what = Happening::Gap {
                lost: Some(list.skipped),
            };
            self.events.push(EventLine {
                seq: 0,
                at_ms: self.now_ms,
                what,
            });
        }
        for event in list.events {
            match event.what {
                Happening::Task { .. } | Happening::Removed { .. } | Happening::Edited { .. } => {
                    self.tasks.happened()
                }
                Happening::Host { .. } | Happening::Rest { .. } => self.hosts.stale = true,
                Happening::Gap { .. } => {
                    self.tasks.happened();
                    self.hosts.stale = true;
                }
                Happening::Setting { .. } | Happening::Mishap { .. } => {}
            }
            self.events.push(event);
        }
        if gap {
            self.tasks.happened();
            self.hosts.stale = true;
        }
    }

    /// Asks for what the screen lacks.
    fn ask(&mut self, orders: &mut Vec<Order>) {
        if self.link != Link::Up {
            return;
        }
        if self.hosts.stale {
            self.hosts.stale = false;
            self.hosts.asked_ms = self.now_ms;
            orders.push(Order::Hosts);
        }
        if let Some((number, query)) = self.tasks.question(self.now_ms) {
            orders.push(Order::Page(number, query));
        }
    }

    fn press(&mut self, key: Key, orders: &mut Vec<Order>) {
        match key {
            Key::Ctrl('c') => return orders.push(Order::Leave(INTERRUPTED)),
            Key::Ctrl('z') => return orders.push(Order::Suspend),
            _ => {}
        }
        match std::mem::replace(&mut self.bar, Bar::Keys) {
            Bar::Filter(edit, _) => self.type_filter(edit, key),
            Bar::Question(_, act) => {
                if matches!(key, Key::Char('y' | 'Y')) {
                    orders.push(Order::Act(Box::new(act)));
                } else {
                    self.say(Said::Good("nothing was done".to_owned()));
                }
            }
            Bar::Keys | Bar::Said(..) => match self.cover {
                Cover::Help(from) => self.press_on_help(from, key),
                Cover::Output(_) => self.press_on_output(key, orders),
                Cover::None => self.press_on_list(key, orders),
            },
        }
    }

    fn type_filter(&mut self, mut edit: Edit, key: Key) {
        match key {
            Key::Escape => {}
            Key::Enter => {
                let text = edit.text().trim().to_owned();
                match Narrowed::read(&text) {
                    Ok(narrowed) => self.tasks.narrow(text, narrowed),
                    Err(why) => self.bar = Bar::Filter(edit, Some(why.to_string())),
                }
            }
            Key::Backspace if edit.text().is_empty() => {}
            key => {
                edit.take(key);
                self.bar = Bar::Filter(edit, None);
            }
        }
    }

    fn press_on_help(&mut self, from: usize, key: Key) {
        let height = usize::from(Layout::plain(self.size.1).height);
        let last = KEYS.len().saturating_sub(height);
        self.cover = match key {
            Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Home | Key::End => {
                Cover::Help(step(from, height.saturating_sub(1).max(1), key).min(last))
            }
            _ => Cover::None,
        };
    }

    fn press_on_output(&mut self, key: Key, orders: &mut Vec<Order>) {
        let Cover::Output(output) = &mut self.cover else {
            return;
        };
        match key {
            Key::Escape | Key::Backspace | Key::Char('q') => {
                self.cover = Cover::None;
                orders.push(Order::Unfollow);
            }
            Key::Char('?' | 'h') => {
                // There is one cover at a time: the keys of the list are those of the output, and some more.
                self.say(Said::Good(
                    "arrows, PgUp, PgDn, Home, End move; K kill, R retry, H hold, L release; Esc back"
                        .to_owned(),
                ));
            }
            Key::Char(letter @ ('K' | 'R' | 'H' | 'L')) => {
                let id = output.id.clone();
                self.question(letter, &id, "");
            }
            key => output.go(key),
        }
    }

    fn press_on_list(&mut self, key: Key, orders: &mut Vec<Order>) {
        match key {
            Key::Char('q') => orders.push(Order::Leave(0)),
            Key::Char('?' | 'h') => self.cover = Cover::Help(0),
            Key::Char('1') => self.tab = Tab::Tasks,
            Key::Char('2') => self.show_hosts(),
            Key::Char('3') => self.tab = Tab::Events,
            Key::Tab => self.turn_tab(1),
            Key::BackTab => self.turn_tab(Tab::ALL.len() - 1),
            Key::Char('/') => {
                self.tab = Tab::Tasks;
                self.bar = Bar::Filter(Edit::of(&self.tasks.typed), None);
            }
            key => match self.tab {
                Tab::Tasks => self.press_on_tasks(key, orders),
                Tab::Hosts => self.go_over_hosts(key),
                Tab::Events => self.events.go(key, Layout::of(self.size.1).height.into()),
            },
        }
    }

    fn press_on_tasks(&mut self, key: Key, orders: &mut Vec<Order>) {
        match key {
            Key::Escape | Key::Backspace | Key::Left => {
                if !self.tasks.close() {
                    self.tasks.narrow(String::new(), Narrowed::default());
                }
            }
            Key::Enter | Key::Right => self.open(orders),
            Key::Char(letter @ ('K' | 'R' | 'H' | 'L')) => {
                if let Some(line) = self.tasks.marked() {
                    let (id, what) = (line.id.clone(), short(line));
                    self.question(letter, &id, &what);
                }
            }
            Key::Char('a' | 'f' | 's' | 'S') => self.tasks.turn(key),
            key => self.tasks.go(key),
        }
    }

    /// Goes into the marked task: of a group to its members, of any other to what it prints.
    fn open(&mut self, orders: &mut Vec<Order>) {
        let Some(line) = self.tasks.marked() else {
            return;
        };
        let id = line.id.clone();
        if line.members.is_some() {
            return self.tasks.open(id);
        }
        self.views += 1;
        let height = Layout::plain(self.size.1).height;
        self.cover = Cover::Output(Output::new(self.views, id.clone(), height.into()));
        orders.push(Order::Follow(self.views, id));
    }

    fn question(&mut self, letter: char, id: &str, what: &str) {
        let which = vec![id.to_owned()].into();
        let (verb, call) = match letter {
            'K' => (
                "kill",
                Call::Kill {
                    which,
                    signal: libc::SIGTERM,
                    grace: GRACE,
                    reason: None,
                    recursive: false,
                },
            ),
            'R' => (
                "retry",
                Call::Retry {
                    which,
                    failed: false,
                    succeeded: true,
                    recursive: false,
                },
            ),
            'H' => ("hold", Call::Hold { which }),
            _ => ("release", Call::Release { which }),
        };
        let id = harmless(id);
        let gap = if what.is_empty() { "" } else { " " };
        let done = format!("{verb} {id}: asked for");
        self.bar = Bar::Question(format!("{verb} {id}{gap}{what}?"), Act { call, done });
    }

    fn turn_tab(&mut self, steps: usize) {
        let place = Tab::ALL.iter().position(|tab| *tab == self.tab);
        match Tab::ALL[(place.unwrap_or(0) + steps) % Tab::ALL.len()] {
            Tab::Hosts => self.show_hosts(),
            tab => self.tab = tab,
        }
    }

    fn show_hosts(&mut self) {
        self.tab = Tab::Hosts;
        self.hosts.stale = true;
    }

    fn last_host_row(&self) -> usize {
        let height = Layout::of(self.size.1).height.max(1);
        self.hosts.nodes.len().saturating_sub(height.into())
    }

    fn go_over_hosts(&mut self, key: Key) {
        let page = usize::from(Layout::of(self.size.1).height.max(2)) - 1;
        let to = step(self.hosts.offset, page, key);
        self.hosts.offset = to.min(self.last_host_row());
    }
}

impl Events {
    fn push(&mut self, event: EventLine) {
        self.lines.push_back(event);
        if self.lines.len() > MOST_EVENTS {
            self.lines.pop_front();
        }
        if self.back > 0 {
            // Who looks back goes on seeing the same.
            self.back = (self.back + 1).min(self.lines.len());
        }
    }

    fn go(&mut self, key: Key, height: usize) {
        let most = self.lines.len().saturating_sub(height.max(1));
        let top = most.saturating_sub(self.back.min(most));
        let to = step(top, height.saturating_sub(1).max(1), key).min(most);
        self.back = most - to;
    }

    /// Returns the events on a screen with so many lines, the newest last.
    pub(crate) fn visible(&self, height: usize) -> impl Iterator<Item = &EventLine> {
        let most = self.lines.len().saturating_sub(height.max(1));
        let top = most - self.back.min(most);
        self.lines.iter().skip(top).take(height)
    }

    /// Says how many newer ones there are than those on the screen.
    pub(crate) fn newer(&self) -> usize {
        self.back
    }
}

/// Where a key leads from a place in a list.
fn step(from: usize, page: usize, key: Key) -> usize {
    match key {
        Key::Up => from.saturating_sub(1),
        Key::Down => from + 1,
        Key::PageUp => from.saturating_sub(page),
        Key::PageDown => from + page,
        Key::Home => 0,
        Key::End => usize::MAX,
        _ => from,
    }
}

/// A task in a question.
fn short(line: &TaskLine) -> String {
    let what = line.name.as_ref().unwrap_or(&line.command);
    if what.is_empty() {
        return String::new();
    }
    let short: String = what.chars().take(SHORT).collect();
    let more = if short.len() < what.len() { "…" } else { "" };
    format!("({}{more})", harmless(&short))
}
