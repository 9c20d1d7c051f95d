//! The executor's task: carries wishes to the guard and events to the node, and replaces a lost
//! guard.

mod vigil;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use super::desk::{Close, Desk, Wishes};
use super::environments::Defined;
use super::launch::{Farewell, Guard, Launcher};
use super::patience::Watch;
use super::{ExecEvent, GuardState, Order};
use crate::clock::{Alarm, boottime};
use crate::guard::frame::encode;
use crate::guard::{
    Cause, Core, Ended, FrameError, How, Limited, Refusal, Reply, Request, RunKey, StartRun, Trees,
    Usage,
};

/// Above this many unsent bytes, wishes stay on the desk.
const OUT_BYTES: usize = 256 << 10;

/// Shortest and longest time between two tries to start a new guard.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The task and what it knows.
#[derive(Debug)]
pub(super) struct Actor {
    launcher: Launcher,
    desk: Arc<Desk>,
    events: mpsc::Sender<ExecEvent>,
    state: watch::Sender<GuardState>,
    trees: watch::Sender<Trees>,
    /// Orders that the present guard was given and that are not over.
    given: BTreeMap<RunKey, Given>,
    environments: Defined,
    waiting: Wishes,
    out: Vec<u8>,
    asked_to_end: Asked,
    watch: Watch,
    alarm: Alarm,
}

/// A run that the first guard had already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Living {
    /// Its handle.
    pub(super) key: RunKey,
    /// When it was started.
    pub(super) started_at: Duration,
    /// When it is killed.
    pub(super) deadline: Duration,
}

/// Whether the guard was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    /// With so much time for the runs.
    Within(Duration),
}

impl Asked {
    fn is_later_than(self, grace: Duration) -> bool {
        match self {
            Self::No => true,
            Self::Within(earlier) => grace < earlier,
        }
    }
}

/// A run that the guard knows.
#[derive(Clone, Copy, Debug)]
enum Given {
    Ordered { at: Duration },
    Started { at: Duration },
}

/// What woke the task.
#[derive(Debug)]
enum Woken {
    Socket(io::Result<tokio::io::Ready>),
    Alarm(io::Result<()>),
}

/// What came from the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Something,
    Nothing,
}

/// How the life with one guard ended.
#[derive(Debug)]
enum Parting {
    /// It ended as it was asked to.
    Done,
    /// Nobody wants events any more.
    Unwanted,
    /// It died, or speaks nonsense.
    Lost(String),
}

impl Actor {
    /// A task that has not begun.
    pub(super) fn new(
        launcher: Launcher,
        desk: Arc<Desk>,
        events: mpsc::Sender<ExecEvent>,
        (state, trees): (watch::Sender<GuardState>, watch::Sender<Trees>),
        (watch, alarm): (Watch, Alarm),
    ) -> Self {
        Self {
            launcher,
            desk,
            events,
            state,
            trees,
            given: BTreeMap::new(),
            environments: Defined::default(),
            waiting: Wishes::default(),
            out: Vec::new(),
            asked_to_end: Asked::No,
            watch,
            alarm,
        }
    }

    /// Works with one guard after the other until the executor is closed. The first has `alive`
    /// already.
    pub(super) async fn work(mut self, mut guard: Guard, alive: Vec<Living>) {
        for run in alive {
            let at = run.started_at;
            self.given.insert(run.key, Given::Started { at });
            self.watch.until(run.key, run.deadline);
        }
        loop {
            let parting = self.live_with(&mut guard).await;
            let farewell = match parting {
                Parting::Done => Farewell::Await,
                Parting::Unwanted => Farewell::Leave,
                Parting::Lost(_) => Farewell::Kill,
            };
            let end = guard.end(farewell, &self.launcher).await;
            if let Parting::Lost(why) = parting {
                let why = format!("{why}; {end}");
                self.mourn(&why).await;
            }
            match self.next_guard().await {
                Some(next) => guard = next,
                None => break,
            }
        }
        self.refuse_the_rest().await;
        self.state.send_replace(GuardState::Closed);
    }

    /// Serves one guard until one of both ends.
    async fn live_with(&mut self, guard: &mut Guard) -> Parting {
        let mut buffer = vec![0; 64 << 10];
        // What came right behind the list.
        if let Err(why) = self.tell_all(guard).await {
            return Parting::Lost(why.to_string());
        }
        loop {
            if self.desk.close() == Close::Abandoned {
                return Parting::Unwanted;
            }
            if let Err(why) = self.collect().await {
                return Parting::Lost(why.to_string());
            }
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            if let Err(why) = self.set_alarm() {
                return Parting::Lost(why);
            }
            let woken = tokio::select! {
                ready = guard.stream.ready(interest) => Woken::Socket(ready),
                () = self.desk.changed(), if self.out.len() < OUT_BYTES => continue,
                rung = self.alarm.rings() => Woken::Alarm(rung),
            };
            if let Err(parting) = self.turn(woken, guard, &mut buffer).await {
                return parting;
            }
        }
    }

    async fn turn(
        &mut self,
        woken: Woken,
        guard: &mut Guard,
        buffer: &mut [u8],
    ) -> Result<(), Parting> {
        match woken {
            Woken::Socket(Ok(ready)) => {
                if ready.is_writable() {
                    self.write(guard);
                }
                self.read(guard, buffer).await.map(|_read| ())
            }
            Woken::Alarm(Ok(())) => {
                while self.read(guard, buffer).await? == Read::Something {}
                self.look(guard).await
            }
            Woken::Socket(Err(error)) | Woken::Alarm(Err(error)) => {
                Err(Parting::Lost(error.to_string()))
            }
        }
    }

    /// Takes wishes from the desk, as far as there is room, in an order that makes sense: a run is
    /// ordered before it is extended or killed.
    async fn collect(&mut self) -> Result<(), FrameError> {
        if self.waiting.orders.is_empty() {
            self.waiting = self.desk.take();
        }
        while self.out.len() < OUT_BYTES
            && let Some(order) = self.waiting.orders.pop_front()
        {
            self.give(order).await?;
        }
        if !self.waiting.orders.is_empty() {
            return Ok(());
        }
        let extensions = std::mem::take(&mut self.waiting.extensions).into_iter();
        let watch = &mut self.watch;
        let extensions = extensions.map(|(key, deadline)| {
            watch.extend(key, deadline);
            Request::Extend { key, deadline }
        });
        let signals = std::mem::take(&mut self.waiting.signals).into_iter();
        let signals = signals.map(|(key, signo)| Request::Signal { key, signo });
        let kills = std::mem::take(&mut self.waiting.kills).into_iter();
        let forgets = std::mem::take(&mut self.waiting.forgets).into_iter();
        for request in extensions
            .chain(signals)
            .chain(kills.map(|key| Request::Kill { key }))
            .chain(forgets.map(|key| Request::Forget { key }))
        {
            encode(&request, &mut self.out)?;
        }
        if let Close::Asked(grace) = self.waiting.close
            && self.asked_to_end.is_later_than(grace)
        {
            self.asked_to_end = Asked::Within(grace);
            encode(&Request::Shutdown { grace }, &mut self.out)?;
        }
        Ok(())
    }

    async fn give(&mut self, order: Order) -> Result<(), FrameError> {
        let (key, deadline) = (order.key, order.deadline);
        let (env, requests) = self.environments.name(&order.env);
        for request in requests {
            encode(&request, &mut self.out)?;
        }
        match encode(
            &Request::Start(Box::new(start_run(order, env))),
            &mut self.out,
        ) {
            Ok(()) => {
                self.given.insert(key, Given::Ordered { at: boottime() });
                self.watch.until(key, deadline);
                Ok(())
            }
            Err(error @ FrameError::TooLarge(_)) => {
                let why = Refusal::BadOrder(error.to_string());
                self.finish(key, ExecEvent::Refused { key, why }).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, guard: &Guard) {
        match guard.stream.try_write(&self.out) {
            Ok(bytes) => {
                self.out.drain(..bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // What it said last can be read still, and reading tells the end.
            Err(_broken) => self.out.clear(),
        }
    }

    async fn read(&mut self, guard: &mut Guard, buffer: &mut [u8]) -> Result<Read, Parting> {
        match guard.stream.try_read(buffer) {
            Ok(0) if self.asked_to_end != Asked::No && self.given.is_empty() => {
                return Err(Parting::Done);
            }
            Ok(0) => return Err(Parting::Lost("the guard closed its socket".into())),
            Ok(bytes) => guard.decoder.push(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
            Err(error) => return Err(Parting::Lost(error.to_string())),
        }
        self.watch.heard();
        let told = self.tell_all(guard).await;
        told.map_err(|error| Parting::Lost(error.to_string()))?;
        Ok(Read::Something)
    }

    async fn tell_all(&mut self, guard: &mut Guard) -> Result<(), FrameError> {
        while let Some(reply) = guard.decoder.next()? {
            self.tell(reply).await;
        }
        Ok(())
    }

    async fn tell(&mut self, reply: Reply) {
        match reply {
            // Only the first words are of this kind, and those are heard elsewhere.
            Reply::Ready { .. } | Reply::Found(_) | Reply::Listed => {}
            // That it has said anything has been noted.
            Reply::Alive => {}
            Reply::Trees(trees) => {
                warn!(?trees, "a run has no cgroup");
                self.trees.send_replace(trees);
            }
            Reply::Started { key, pid, at } => {
                self.given.insert(key, Given::Started { at });
                self.send(ExecEvent::Started { key, pid, at }).await;
            }
            Reply::Refused { key, why } => {
                self.finish(key, ExecEvent::Refused { key, why }).await;
            }
            Reply::Ended(ended) => self.finish(ended.key, ExecEvent::Ended(ended)).await,
            Reply::Stuck { key, pids } => self.send(ExecEvent::Stuck { key, pids }).await,
        }
    }

    async fn finish(&mut self, key: RunKey, event: ExecEvent) {
        self.given.remove(&key);
        self.watch.over(key);
        self.desk.over(key);
        self.send(event).await;
    }

    /// Tells the node; one that has dropped its receiver is told nothing, and closes by dropping
    /// the rest.
    async fn send(&mut self, event: ExecEvent) {
        if self.events.send(event).await.is_err() {
            self.desk.abandon();
        }
    }

    /// Makes sure that nothing of a dead guard's runs lives, then reports their ends.
    async fn mourn(&mut self, why: &str) {
        warn!(why, runs = self.given.len(), "guard lost");
        self.state.send_replace(GuardState::Absent);
        self.send(ExecEvent::GuardLost {
            why: why.to_owned(),
        })
        .await;
        let mut pause = TRY_AGAIN.0;
        let kept = loop {
            match self.launcher.clear().await {
                Ok(kept) => break kept,
                Err(error) => {
                    error!(%error, "cannot make sure that the runs of a lost guard have ended");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TRY_AGAIN.1);
        };
        let kept: BTreeMap<RunKey, Ended> = kept
            .into_iter()
            .map(|end| (end.ended.key, end.ended))
            .collect();
        for (key, given) in std::mem::take(&mut self.given) {
            let (Given::Ordered { at } | Given::Started { at }) = given;
            // It may have seen the end and died before it could tell.
            let ended = kept.get(&key).copied().unwrap_or_else(|| lost(key, at));
            self.finish(key, ExecEvent::Ended(ended)).await;
        }
        self.environments = Defined::default();
        self.watch.begin();
        self.out.clear();
    }

    /// Starts another guard, unless the executor is to end.
    async fn next_guard(&mut self) -> Option<Guard> {
        let mut pause = TRY_AGAIN.0;
        loop {
            if self.desk.close() != Close::Open {
                return None;
            }
            match self.launcher.launch().await {
                // Ends that it found have been told by this executor.
                Ok((guard, greeting)) => {
                    self.trees.send_replace(greeting.trees);
                    self.state.send_replace(GuardState::Working(guard.pid()));
                    self.send(ExecEvent::GuardBack).await;
                    return Some(guard);
                }
                Err(why) => {
                    error!(%why, "no new guard");
                    self.send(ExecEvent::GuardFailed {
                        why: why.to_string(),
                    })
                    .await;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TRY_AGAIN.1);
        }
    }

    /// Answers the orders that no guard was given.
    async fn refuse_the_rest(&mut self) {
        let mut orders = std::mem::take(&mut self.waiting.orders);
        orders.extend(self.desk.take().orders);
        for order in orders {
            let (key, why) = (order.key, Refusal::ShuttingDown);
            self.finish(key, ExecEvent::Refused { key, why }).await;
        }
    }
}

fn start_run(order: Order, env: crate::guard::EnvId) -> StartRun {
    use std::os::unix::ffi::OsStringExt;
    StartRun {
        key: order.key,
        label: order.label,
        memo: order.memo,
        argv: order.argv,
        env,
        extra: order.extra,
        cwd: order.cwd.into_os_string().into_vec(),
        stdin: order.stdin,
        stdout: order.stdout,
        stderr: order.stderr,
        deadline: order.deadline,
        nice: order.nice,
        bounds: order.bounds,
        person: order.person,
    }
}

/// The report of a run that was killed with its guard. What it used and wrote is not known.
fn lost(key: RunKey, started_at: Duration) -> Ended {
    Ended {
        key,
        how: How::Signalled {
            signo: libc::SIGKILL,
            core: Core::None,
        },
        cause: Cause::GuardLost,
        usage: Usage::default(),
        started_at,
        ended_at: boottime(),
        stdout_bytes: 0,
        stderr_bytes: 0,
        out_of_memory: false,
        limited: Limited::default(),
    }
}
