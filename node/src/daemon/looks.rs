//! Looks at file systems: what the replica wants to know of a place before it bids, and what is made sure of before a start, so that a
//! file system that does not answer holds neither this node nor its guard.
//!
//! Looks are taken by processes of their own ([`crate::look`]), a few at a time, many places each. A path that is not answered for in
//! [`PATIENCE`] counts as missing; the process is killed, and the rest goes to another. Its place among the few is free only when the
//! kernel has let it go. What was there lately is taken to be there, so that a stream of tasks in one directory costs one look in a
//! while.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crdt::event::{Input, RunEnd};
use crdt::fit::RunsAs;
use crdt::places::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, warn};

use super::node::Node;
use crate::clock::boottime;
use crate::executor::Order;
use crate::guard::RunKey;
use crate::guard::frame::{Decoder, encode};
use crate::look::{Eyes, VERB, Word};
use crate::panics;

/// How long one path may take; also how long a look may wait for a process to be free.
const PATIENCE: Duration = Duration::from_secs(5);
/// What was there is taken to be there for so long.
const FRESH: Duration = Duration::from_secs(10);
/// So many places are remembered.
const MOST_FRESH: usize = 1_024;
/// So many processes look at a time.
const LOOKERS: usize = 8;
/// Of these so many with the eyes of one user other than the node's: one whose file systems do not answer holds up no other.
const LOOKERS_OF_ONE: usize = 2;
/// So many places go to one.
const BATCH: usize = 64;

/// What was found at a place.
#[derive(Debug)]
pub(super) struct Looked {
    place: Place,
    found: Result<(), String>,
}

/// Who wants to know of a place.
#[derive(Debug, Default)]
struct Wanted {
    replica: Replica,
    starts: Vec<RunKey>,
}

/// Whether the replica waits for an answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Replica {
    #[default]
    DoesNotAsk,
    Asks,
}

/// The looks of this node.
#[derive(Debug)]
pub(super) struct Looks {
    /// Those under way.
    wanted: BTreeMap<Place, Wanted>,
    /// Those for which no process has been asked yet.
    queue: Vec<Place>,
    /// Orders that wait for a look.
    orders: BTreeMap<RunKey, Order>,
    fresh: BTreeMap<Place, Duration>,
    runs_as: RunsAs,
    lookers: Arc<Semaphore>,
    /// By user, of those that look with other users' eyes, as long as they do.
    of_one: BTreeMap<String, Arc<Semaphore>>,
    tell: mpsc::Sender<Looked>,
}

impl Looks {
    pub(super) fn new(runs_as: RunsAs, tell: mpsc::Sender<Looked>) -> Self {
        Self {
            wanted: BTreeMap::new(),
            queue: Vec::new(),
            orders: BTreeMap::new(),
            fresh: BTreeMap::new(),
            runs_as,
            lookers: Arc::new(Semaphore::new(LOOKERS)),
            of_one: BTreeMap::new(),
            tell,
        }
    }

    /// Says whether no look is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty()
    }

    fn is_fresh(&self, place: &Place, now: Duration) -> bool {
        let seen = self.fresh.get(place);
        seen.is_some_and(|seen| now < *seen + FRESH)
    }

    fn want(&mut self, place: Place) -> &mut Wanted {
        if !self.wanted.contains_key(&place) {
            self.queue.push(place.clone());
        }
        self.wanted.entry(place).or_default()
    }

    /// Sends off what is queued, many places with each process, but one user's only.
    fn send(&mut self) {
        let mut queued: BTreeMap<Eyes, Vec<Place>> = BTreeMap::new();
        for place in self.queue.drain(..) {
            let eyes = Eyes::on(&place, &self.runs_as);
            queued.entry(eyes).or_default().push(place);
        }
        for (eyes, places) in queued {
            let room = self.room(&eyes);
            for batch in places.chunks(BATCH) {
                let batch = VecDeque::from(batch.to_vec());
                let (room, tell) = (room.clone(), self.tell.clone());
                let look = look_at_all(eyes.clone(), batch.clone(), room, tell.clone());
                tokio::spawn(async move {
                    // Starts wait for it.
                    if let Err(why) = panics::caught(look).await {
                        answer_rest(batch, &why, &tell).await;
                    }
                });
            }
        }
    }

    fn room(&mut self, eyes: &Eyes) -> Room {
        let in_use = |room: &Arc<Semaphore>| Arc::strong_count(room) > 1;
        self.of_one.retain(|_, room| in_use(room));
        let of_one = match eyes {
            Eyes::Own => None,
            Eyes::Of(user, _) => {
                let room = || Arc::new(Semaphore::new(LOOKERS_OF_ONE));
                Some(self.of_one.entry(user.clone()).or_insert_with(room))
            }
        };
        Room {
            of_all: Arc::clone(&self.lookers),
            of_one: of_one.map(|room| Arc::clone(room)),
        }
    }

    /// Takes what was found; returns who wanted to know.
    fn take(&mut self, place: &Place, found: &Result<(), String>) -> Wanted {
        if found.is_ok() {
            let now = boottime();
            if self.fresh.len() >= MOST_FRESH {
                self.fresh.retain(|_, seen| now < *seen + FRESH / 2);
            }
            if self.fresh.len() < MOST_FRESH {
                self.fresh.insert(place.clone(), now);
            }
        } else {
            self.fresh.remove(place);
        }
        self.wanted.remove(place).unwrap_or_default()
    }

    /// Takes an order that waits for a look out again.
    pub(super) fn take_order(&mut self, key: RunKey) -> Option<Order> {
        self.orders.remove(&key)
    }

    /// Moves the deadline of an order that waits for a look. Says whether there is one.
    pub(super) fn extend(&mut self, key: RunKey, deadline: Duration) -> bool {
        let order = self.orders.get_mut(&key);
        let waits = order.is_some();
        if let Some(order) = order {
            order.deadline = deadline.max(order.deadline);
        }
        waits
    }
}

impl Node {
    /// Looks at a place for the replica.
    pub(super) fn look_at(&mut self, place: Place) {
        self.looks.want(place).replica = Replica::Asks;
        self.looks.send();
    }

    /// Tells the guard to start a run once its place has been seen to be there.
    pub(super) fn order_at(&mut self, place: Place, order: Order) {
        if self.looks.is_fresh(&place, boottime()) {
            return self.order_now(order);
        }
        self.looks.want(place).starts.push(order.key);
        self.looks.orders.insert(order.key, order);
        self.looks.send();
    }

    /// Takes what was found at a place.
    pub(super) fn take_looked(&mut self, looked: Looked) {
        let Looked { place, found } = looked;
        debug!(cwd = ?place.cwd, ?found, "looked at a place");
        let wanted = self.looks.take(&place, &found);
        for key in wanted.starts {
            let Some(order) = self.looks.take_order(key) else {
                continue;
            };
            match &found {
                Ok(()) => self.order_now(order),
                Err(why) => self.never_ran(key, RunEnd::Misplaced(why.clone())),
            }
        }
        if wanted.replica == Replica::Asks {
            self.feed(Input::Looked(place, found));
        }
    }
}

/// Where there is room for the processes that look with the same eyes.
#[derive(Clone, Debug)]
struct Room {
    of_all: Arc<Semaphore>,
    of_one: Option<Arc<Semaphore>>,
}

impl Room {
    /// Waits for room for one more; it is there until what is returned is dropped. Safe to drop.
    async fn enter(&self) -> (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>) {
        // Neither is ever closed.
        let of_one = match &self.of_one {
            Some(room) => Arc::clone(room).acquire_owned().await.ok(),
            None => None,
        };
        (of_one, Arc::clone(&self.of_all).acquire_owned().await.ok())
    }
}

/// Has a process look at places, and tells what it found; of each, whatever happens.
async fn look_at_all(
    eyes: Eyes,
    mut places: VecDeque<Place>,
    room: Room,
    tell: mpsc::Sender<Looked>,
) {
    while !places.is_empty() {
        let Ok(permits) = tokio::time::timeout(PATIENCE, room.enter()).await else {
            let why = "looks at file systems have not come back";
            return answer_rest(places, why, &tell).await;
        };
        let mut looker = match Looker::start(&eyes).await {
            Ok(looker) => looker,
            Err(error) => {
                let why = format!("file systems cannot be looked at: {error}");
                return answer_rest(places, &why, &tell).await;
            }
        };
        while let Some(place) = places.pop_front() {
            let answer = looker.ask(&place).await;
            let goes_on = matches!(answer, Answer::Found(_));
            let found = match answer {
                Answer::Found(found) => found,
                Answer::Silence(path) => Err(format!("{path} does not answer")),
                Answer::Failed(why) => Err(format!("file systems cannot be looked at: {why}")),
            };
            // A node that is about to end hears nothing more.
            let _told = tell.send(Looked { place, found }).await;
            if !goes_on {
                break;
            }
        }
        let ends = looker.end();
        tokio::spawn(async move {
            ends.await;
            drop(permits);
        });
    }
}

async fn answer_rest(places: VecDeque<Place>, why: &str, tell: &mpsc::Sender<Looked>) {
    warn!(why, "places were not looked at");
    for place in places {
        let found = Err(why.to_owned());
        let _told = tell.send(Looked { place, found }).await;
    }
}

/// What came of a question.
#[derive(Debug)]
enum Answer {
    Found(Result<(), String>),
    /// Nothing more since it was about to look at this path.
    Silence(String),
    /// The process has ended, or speaks nonsense.
    Failed(String),
}

/// A process that looks.
#[derive(Debug)]
struct Looker {
    child: Child,
    stream: UnixStream,
    decoder: Decoder,
}

impl Looker {
    /// Starts one that looks with these eyes.
    async fn start(eyes: &Eyes) -> std::io::Result<Self> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let theirs: OwnedFd = theirs.into_std()?.into();
        // The process itself waits for what comes.
        rustix::io::ioctl_fionbio(&theirs, false)?;
        let child = Command::new("/proc/self/exe")
            .arg0("aque-node")
            .arg(VERB)
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut first = Vec::new();
        encode(eyes, &mut first).map_err(std::io::Error::other)?;
        ours.write_all(&first).await?;
        Ok(Self {
            child,
            stream: ours,
            decoder: Decoder::default(),
        })
    }

    async fn ask(&mut self, place: &Place) -> Answer {
        let mut question = Vec::new();
        if let Err(error) = encode(place, &mut question) {
            return Answer::Failed(error.to_string());
        }
        if let Err(error) = self.stream.write_all(&question).await {
            return Answer::Failed(error.to_string());
        }
        let mut path = String::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.hear()).await {
                Err(_) => return Answer::Silence(path),
                Ok(Err(why)) => return Answer::Failed(why),
                Ok(Ok(Word::Looking(at))) => path = String::from_utf8_lossy(&at).into_owned(),
                Ok(Ok(Word::Found(found))) => return Answer::Found(found),
            }
        }
    }

    async fn hear(&mut self) -> Result<Word, String> {
        let mut buffer = [0; 4 << 10];
        loop {
            match self.decoder.next() {
                Ok(Some(word)) => return Ok(word),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err("the process has ended".to_owned()),
                Ok(bytes) => self.decoder.push(&buffer[..bytes]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Ends the process, and waits until the kernel has let it go.
    async fn end(mut self) {
        drop(self.stream);
        if let Err(error) = self.child.kill().await {
            debug!(%error, "a look was not ended");
        }
    }
}
