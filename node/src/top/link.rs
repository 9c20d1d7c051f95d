//! The ways to the node: one connection that tells what happens, one for questions, and one for a task's output while it is looked
//! at. Each has a thread of its own and ends up in one bounded queue, so what comes too fast waits in its socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use super::state::{Act, Message, Order};
use crate::api::news::EventsQuery;
use crate::api::page::{Page, PageQuery};
use crate::api::wire::{Body, Call, OutputQuery};
use crate::client::{Client, ClientError, Hanger, Limit, Whom, strange};
use crate::feed::{Feed, Told};

/// The node tells what happens no more often than this: as often as a person can follow. A guess.
const PACE_MS: u64 = 250;
/// Of what happens at one time, so much is told: some screens full.
const MOST_EVENTS: u32 = 200;
/// Of a task's output so many lines are shown at first.
const LAST_LINES: u32 = 1_000;
/// Questions that wait.
const QUESTIONS: usize = 64;
/// How long the events' thread waits before it looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Before a connection that broke is tried again.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// A question, as the thread that asks it gets it.
enum Question {
    Page(u64, PageQuery),
    Hosts,
    Act(Box<Act>),
}

/// The ways to the node.
#[derive(Debug)]
pub(crate) struct Link {
    whom: Whom,
    tell: SyncSender<Message>,
    questions: SyncSender<Question>,
    follower: Option<Follower>,
}

/// Reads what happens at a node.
///
/// # Errors
/// There is none.
pub(crate) fn feed(whom: &Whom) -> Result<Feed, ClientError> {
    let query = EventsQuery {
        pace_ms: PACE_MS,
        most: MOST_EVENTS,
        ..EventsQuery::default()
    };
    Feed::begin(whom, query)
}

impl Link {
    /// Begins to tell what happens, and to ask.
    ///
    /// # Errors
    /// No thread is left.
    pub(crate) fn begin(feed: Feed, tell: SyncSender<Message>) -> io::Result<Self> {
        let (questions, asked) = sync_channel(QUESTIONS);
        let whom = feed.whom().clone();
        let this = Self {
            whom: whom.clone(),
            tell: tell.clone(),
            questions,
            follower: None,
        };
        let hear = tell.clone();
        spawn("events", move || tell_events(feed, &hear))?;
        spawn("questions", move || ask_all(&whom, &asked, &tell))?;
        Ok(this)
    }

    /// Does what is to be done at the node.
    ///
    /// # Errors
    /// No thread is left.
    pub(crate) fn carry_out(&mut self, order: Order) -> io::Result<()> {
        let question = match order {
            Order::Page(number, query) => Question::Page(number, query),
            Order::Hosts => Question::Hosts,
            Order::Act(act) => Question::Act(act),
            Order::Follow(view, id) => {
                self.follower = Some(Follower::begin(&self.whom, view, id, &self.tell)?);
                return Ok(());
            }
            Order::Unfollow => {
                self.follower = None;
                return Ok(());
            }
            Order::Suspend | Order::TakeAgain | Order::Leave(_) => return Ok(()),
        };
        // Nobody waits here for a node that is slow: the screen goes on.
        if let Err(TrySendError::Full(question) | TrySendError::Disconnected(question)) =
            self.questions.try_send(question)
        {
            let why = "too many questions wait for the node".to_owned();
            let told = match question {
                Question::Page(number, _) => Message::Page(number, Err(why)),
                Question::Hosts | Question::Act(_) => Message::Done(Err(why)),
            };
            // A queue that is full of other messages shows those first.
            let _told = self.tell.try_send(told);
        }
        Ok(())
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(|_detached| ())
}

fn tell_events(mut feed: Feed, tell: &SyncSender<Message>) {
    loop {
        let message = match feed.next(Limit::within(LOOK_EVERY)) {
            Ok(Told::Events(list)) => Message::Events(list),
            Ok(Told::Nothing) => continue,
            Ok(Told::Away(why)) => Message::Away(why.to_string()),
            Ok(Told::Back) => Message::Back,
            Ok(Told::End) => return,
            // It cannot be mended by waiting, and is told until the person leaves.
            Err(why) => {
                let _told = tell.send(Message::Away(why.to_string()));
                return;
            }
        };
        if tell.send(message).is_err() {
            return;
        }
    }
}

fn ask_all(whom: &Whom, asked: &Receiver<Question>, tell: &SyncSender<Message>) {
    let mut line = Line { whom, client: None };
    for question in asked {
        let message = match question {
            Question::Page(number, query) => {
                let page = line.page(&query).map_err(|why| why.to_string());
                Message::Page(number, page)
            }
            Question::Hosts => match line.ask(&Call::Nodes {}) {
                Ok(Body::Nodes(nodes)) => Message::Hosts(nodes.nodes),
                Ok(other) => Message::Done(Err(strange("nodes", &other).to_string())),
                Err(why) => Message::Done(Err(why.to_string())),
            },
            Question::Act(act) => Message::Done(line.act(&act).map_err(|why| why.to_string())),
        };
        if tell.send(message).is_err() {
            return;
        }
    }
}

/// A connection that is made anew when it is needed.
struct Line<'a> {
    whom: &'a Whom,
    client: Option<Client>,
}

impl Line<'_> {
    /// Asks what may be asked twice.
    fn ask(&mut self, call: &Call) -> Result<Body, ClientError> {
        match self.once(call) {
            // The node has changed its program, perhaps, since it was asked last.
            Err(ClientError::Closed | ClientError::Io(_)) => self.once(call),
            done => done,
        }
    }

    fn once(&mut self, call: &Call) -> Result<Body, ClientError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.whom.connect()?,
        };
        let done = client.ask(call.clone());
        if matches!(done, Ok(_) | Err(ClientError::Refused(_))) {
            self.client = Some(client);
        }
        done
    }

    fn page(&mut self, query: &PageQuery) -> Result<Page, ClientError> {
        match self.ask(&Call::Page(query.clone()))? {
            Body::Page(page) => Ok(page),
            other => Err(strange("page", &other)),
        }
    }

    /// Asks for what a person wants: once, over a connection that is known to live.
    fn act(&mut self, act: &Act) -> Result<String, ClientError> {
        self.client = None;
        match self.once(&act.call)? {
            Body::Noted(noted) if noted.asked == 0 && !noted.ended.is_empty() => {
                let line = &noted.ended[0];
                Ok(format!("too late: {} is {}", line.id, line.state.name()))
            }
            Body::Noted(_) => Ok(act.done.clone()),
            other => Err(strange("a wish about tasks", &other)),
        }
    }
}

/// Reads a task's output until this is dropped.
#[derive(Debug)]
struct Follower {
    over: Arc<AtomicBool>,
    hanger: Arc<Mutex<Option<Hanger>>>,
}

impl Follower {
    fn begin(whom: &Whom, view: u64, id: String, tell: &SyncSender<Message>) -> io::Result<Self> {
        let this = Self {
            over: Arc::default(),
            hanger: Arc::default(),
        };
        let reading = Reading {
            whom: whom.clone(),
            view,
            id,
            tell: tell.clone(),
            over: Arc::clone(&this.over),
            hanger: Arc::clone(&this.hanger),
        };
        spawn("output", move || reading.run())?;
        Ok(this)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let hanger = self.hanger.lock();
        if let Some(hanger) = hanger.unwrap_or_else(PoisonError::into_inner).take() {
            hanger.hang_up();
        }
    }
}

/// The thread's own.
struct Reading {
    whom: Whom,
    view: u64,
    id: String,
    tell: SyncSender<Message>,
    over: Arc<AtomicBool>,
    hanger: Arc<Mutex<Option<Hanger>>>,
}

impl Reading {
    fn run(self) {
        loop {
            let read = self.read();
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let message = match read {
                Ok(()) => Message::OutputEnd(self.view, Ok(())),
                Err(ClientError::Closed | ClientError::Io(_) | ClientError::NoNode { .. }) => {
                    thread::sleep(TRY_EVERY);
                    continue;
                }
                Err(why) => Message::OutputEnd(self.view, Err(why.to_string())),
            };
            // Whoever looked has left, perhaps.
            let _told = self.tell.send(message);
            return;
        }
    }

    fn read(&self) -> Result<(), ClientError> {
        let mut client = self.whom.connect()?;
        {
            let mut hanger = self.hanger.lock().unwrap_or_else(PoisonError::into_inner);
            *hanger = Some(client.hanger()?);
        }
        if self.over.load(Ordering::SeqCst) {
            return Ok(());
        }
        let query = OutputQuery {
            task: self.id.clone(),
            only: None,
            follow: true,
            last_lines: Some(LAST_LINES),
            attempt: None,
        };
        let mut replies = client.start(Call::Output(query))?;
        // A reader that is gone is found out with the next message, at the latest when the program ends.
        let mut told = self.tell.send(Message::OutputAnew(self.view));
        while told.is_ok() {
            told = match replies.next(Limit::Never)? {
                crate::client::Heard::Reply(Body::Output(piece)) => {
                    self.tell.send(Message::Output(self.view, piece))
                }
                crate::client::Heard::Reply(other) => return Err(strange("output", &other)),
                crate::client::Heard::Nothing | crate::client::Heard::End => return Ok(()),
            };
        }
        Ok(())
    }
}
