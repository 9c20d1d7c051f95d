//! Parts of a node that fail on their own: what can be begun anew is, after a pause that grows; all of it is remembered.
//!
//! What the loop cannot do without (the log, the network, the executor) is not begun anew beside it: the node ends with a word
//! about it, its guard goes on with the runs, and the next start finds everything as after a crash, which is the one way of
//! recovery that is tried all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::doctor::{check, ok};
use super::node::Node;
use crate::api::answers::Question;
use crate::api::socket::{Heirloom, Socket};
use crate::api::wire::{Check, Health, Hello};
use crate::clock::wall_ms;
use crate::config::Settings;
use crate::panics::{self, Panics};
use crate::render::text::{count, instant};

/// Shortest and longest time between two tries to begin a part anew.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is told of a part.
#[derive(Debug)]
pub(super) enum Told {
    /// It has failed, or failed to begin anew.
    Down(Part, String),
    /// It works again.
    Back(Part),
}

/// A part that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Clients come in there.
    Api,
    /// The program that was to follow.
    Successor,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Api => "the API's socket",
            Self::Successor => "a change of the program (HUP)",
        }
    }
}

/// What has failed since the start.
#[derive(Debug, Default)]
pub(super) struct Mishaps(BTreeMap<Part, Mishap>);

#[derive(Debug)]
struct Mishap {
    times: u64,
    why: String,
    last_ms: u64,
    now: Now,
}

/// How a part is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Now {
    Works,
    Down,
}

impl Mishaps {
    /// Takes note of a failure after which things go on.
    pub(super) fn note(&mut self, part: Part, why: &str) {
        self.fail(part, why, Now::Works);
    }

    fn fail(&mut self, part: Part, why: &str, now: Now) {
        let mishap = self.0.entry(part).or_insert(Mishap {
            times: 0,
            why: String::new(),
            last_ms: 0,
            now,
        });
        mishap.times += 1;
        mishap.why = why.to_owned();
        mishap.last_ms = wall_ms();
        mishap.now = now;
    }

    fn works(&mut self, part: Part) {
        if let Some(mishap) = self.0.get_mut(&part) {
            mishap.now = Now::Works;
        }
    }

    /// How the parts are, as the doctor tells it.
    fn check(&self, panics: &Panics) -> Check {
        const TOPIC: &str = "parts";
        let told = |(part, mishap): (&Part, &Mishap)| {
            let now = match mishap.now {
                Now::Works => "failed",
                Now::Down => "does not work; it failed",
            };
            let (times, last) = (count(mishap.times, "time"), instant(mishap.last_ms));
            format!("{} {now} {times}, last {last}: {}", part.name(), mishap.why)
        };
        let mut said: Vec<String> = self.0.iter().map(told).collect();
        if panics.count > 0 {
            let (times, last) = (count(panics.count, "panic"), instant(panics.last_ms));
            said.push(format!("{times}, last {last}: {}", panics.last));
        }
        if said.is_empty() {
            return ok(TOPIC, "none has failed since the start");
        }
        let down = self.0.values().any(|mishap| mishap.now == Now::Down);
        let (health, todo) = match (down, panics.count) {
            (true, _) => (
                Health::Fault,
                "it is tried again by itself; see to what stands there",
            ),
            (false, 0) => (Health::Warning, "it goes on; see to what stands there"),
            (false, _) => (
                Health::Warning,
                "it goes on; a panic is a mistake in the program: report it",
            ),
        };
        check(TOPIC, health, said.join("; "), todo)
    }
}

impl Node {
    pub(super) fn check_parts(&self) -> Check {
        self.mishaps.check(&panics::seen())
    }

    /// Takes what is told of a part.
    pub(super) fn take_told(&mut self, told: Told) {
        match told {
            Told::Down(part, why) => {
                error!(
                    part = part.name(),
                    why, "a part does not work; it is begun anew"
                );
                self.mishaps.fail(part, &why, Now::Down);
                self.news.mishap(part.name(), why);
            }
            Told::Back(part) => {
                info!(part = part.name(), "a part works again");
                self.mishaps.works(part);
                self.news.mishap(part.name(), "it works again");
            }
        }
    }
}

/// The API, kept open: it is begun anew when it panics, and when its name is gone or stands for something else.
#[derive(Debug)]
pub(super) struct Api {
    present: watch::Receiver<Arc<Socket>>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Api {
    /// Opens the API for a node, with the socket that an earlier program left if there is one.
    ///
    /// # Errors
    /// At the start, when a person looks on: that it cannot be opened.
    pub(super) fn open(
        settings: &Settings,
        left: Option<Heirloom>,
        (hello, questions): (Hello, mpsc::Sender<Question>),
        tell: mpsc::Sender<Told>,
    ) -> Result<Self, crate::api::socket::SocketError> {
        let socket = match left {
            Some(heirloom) => Socket::inherit(&settings.api, heirloom)?,
            None => Socket::bind(&settings.api)?,
        };
        let (show, present) = watch::channel(Arc::new(socket));
        let keeper = tokio::spawn(keep(show, (hello, questions), tell));
        Ok(Self { present, keeper })
    }

    /// Closes it, and leaves its socket to the program that follows.
    pub(super) async fn leave(self) -> Option<Heirloom> {
        let socket = Arc::clone(&self.present.borrow());
        self.close().await;
        let heirloom = socket.is_in_place().then(|| socket.leave())?;
        heirloom
            .inspect_err(|error| warn!(%error, "the socket is made anew"))
            .ok()
    }

    /// Closes it, and takes its name away.
    pub(super) async fn close(self) {
        self.keeper.abort();
        // Aborted, or over: both are the end of it.
        let _ended = self.keeper.await;
    }
}

async fn keep(
    show: watch::Sender<Arc<Socket>>,
    (hello, questions): (Hello, mpsc::Sender<Question>),
    tell: mpsc::Sender<Told>,
) {
    loop {
        let socket = Arc::clone(&show.borrow());
        let path = socket.path().to_owned();
        let serving = socket.serve(hello.clone(), questions.clone());
        let ended = panics::caught(serving).await;
        let mut why = ended.map_or_else(|panic| panic, |why| why.to_string());
        let mut pause = TRY_AGAIN.0;
        loop {
            // A node that is about to end hears nothing more.
            let _told = tell.send(Told::Down(Part::Api, why)).await;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TRY_AGAIN.1);
            match Socket::bind(&path) {
                Ok(socket) => break drop(show.send_replace(Arc::new(socket))),
                Err(error) => why = error.to_string(),
            }
        }
        let _told = tell.send(Told::Back(Part::Api)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_table() {
        let panics = |count| Panics {
            count,
            last: "a.rs:1:2: no".to_owned(),
            last_ms: 0,
        };
        let with = |now| {
            let mut mishaps = Mishaps::default();
            mishaps.fail(Part::Api, "it is gone", Now::Down);
            mishaps.fail(Part::Api, "it is no socket", now);
            mishaps
        };
        let rows = [
            (Mishaps::default(), 0, Health::Ok, "none has failed"),
            (
                with(Now::Works),
                0,
                Health::Warning,
                "the API's socket failed 2 times",
            ),
            (
                with(Now::Down),
                1,
                Health::Fault,
                "does not work; it failed 2 times",
            ),
            (
                Mishaps::default(),
                1,
                Health::Warning,
                "1 panic, last 1970-01-01T00:00:00Z: a.rs:1:2: no",
            ),
        ];
        for (mishaps, count, health, text) in rows {
            let check = mishaps.check(&panics(count));
            assert_eq!(check.health, health, "{check:?}");
            assert!(check.what.contains(text), "{check:?}");
            assert_eq!(check.todo.is_none(), health == Health::Ok, "{check:?}");
        }
    }
}
