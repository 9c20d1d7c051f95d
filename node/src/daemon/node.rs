//! The event loop: everything that happens to a node, one thing after another, around one replica.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crdt::event::{Input, Notice, Output, PersistToken, RunEnd, Token};
use crdt::ids::PeerId;
use crdt::replica::Replica;
use crdt::time::Mono;
use net::{Identity, Lane, MeshSecret, Multiaddr, Net, NetEvent, PeerKey, Ticket};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::afar::Door;
use super::answers::Pending;
use super::board::Boards;
use super::clocks::Clocks;
use super::conduct::Blame;
use super::inputs::{Come, Inputs};
use super::leaving::{Leaving, Signals};
use super::looks::{Looked, Looks};
use super::news::News;
use super::output::{self, Store};
use super::places::{Ask, Places};
use super::program::{Failed, now, print_ready, sd_notify, ticket_addresses};
use super::retention::Thinned;
use super::runs::{Adopted, Runs};
use super::stay::Stay;
use super::succession::Succession;
use super::succession::estate::{Early, Mind};
use super::succession::origin::Origin;
use super::succession::question::Successor;
use super::upkeep::{Mishaps, Told};
use super::waits::Waits;
use crate::api::answers::Question;
use crate::api::passage;
use crate::api::wire::{Hello, SCHEMA};
use crate::clock::{Alarm, boottime};
use crate::config::Settings;
use crate::executor::{ExecEvent, Executor};
use crate::outputs::Outputs;
use crate::signals::Memory;
use crate::storage::{LogEvent, LogWriter, Refused};

/// Events of one kind that are taken before the others are looked at again.
const BATCH: usize = 256;
/// How often the load average is read, and clients that have left are forgotten.
const ROUND_EVERY: Duration = Duration::from_secs(5);
/// How often a batch that the disk refused is tried again.
const RETRY_DISK: Duration = Duration::from_secs(1);

/// What makes a node a member.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) identity: Identity,
    pub(super) secret: MeshSecret,
    pub(super) bootstrap: Vec<Multiaddr>,
}

/// What a node is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) replica: Replica,
    pub(super) net: Net,
    pub(super) executor: Executor,
    pub(super) log: LogWriter,
    pub(super) outputs: Outputs,
    pub(super) mesh: Mesh,
    pub(super) settings: Settings,
    pub(super) origin: Origin,
    pub(super) early: Early,
    pub(super) door: Door,
}

/// A part without which the loop cannot go on has ended.
fn broken(why: &str) -> Failed {
    format!(
        "{why}; this node cannot go on, its guard does with the runs: they are found again if it is started before their lease ends"
    )
    .into()
}

/// How a node's work ends.
#[derive(Debug)]
pub(super) enum Parting {
    /// It has left.
    Leaves,
    /// Another program takes its place.
    GivesWay(Box<Handover>),
}

/// Who takes a node's place, and with what.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) successor: Successor,
    pub(super) mind: Mind,
    /// The signals that come meanwhile.
    pub(super) memory: Memory,
}

/// A node that runs.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) net: Net,
    pub(super) executor: Arc<Executor>,
    pub(super) log: LogWriter,
    pub(super) thinned: Thinned,
    pub(super) outputs: Outputs,
    pub(super) settings: Settings,
    secret: MeshSecret,
    pub(super) runs: Runs,
    pub(super) waits: Waits,
    pub(super) news: News,
    pub(super) boards: Boards,
    pub(super) pending: BTreeMap<Token, Pending>,
    pub(super) next_token: Token,
    /// The batch that the disk has not confirmed, for another try; the replica has one at a time under way.
    pub(super) unconfirmed: Option<(PersistToken, Vec<Bytes>)>,
    retry_at: Option<Duration>,
    pub(super) adopted: mpsc::Sender<Adopted>,
    adoptions: Option<mpsc::Receiver<Adopted>>,
    pub(super) inputs: Inputs,
    comes: Option<mpsc::Receiver<Come>>,
    pub(super) places: Places,
    pub(super) looks: Looks,
    looked: Option<mpsc::Receiver<Looked>>,
    asks: mpsc::Sender<Ask>,
    asked: Option<mpsc::Receiver<Ask>>,
    pub(super) leaving: Leaving,
    pub(super) drained_by_hand: bool,
    pub(super) origin: Origin,
    pub(super) succession: Succession,
    early: Early,
    pub(super) stay: Stay,
    /// Whether some peer is expected, by a ticket of now or of earlier.
    pub(super) has_bootstrap: bool,
    /// Why it cannot go on.
    broken: Option<String>,
    pub(super) mishaps: Mishaps,
    /// Whether it was told that no claim is left.
    pub(super) rests: bool,
    pub(super) blame: Blame,
    pub(super) clocks: Clocks,
    pub(super) door: Door,
}

impl Node {
    pub(super) fn new(parts: Parts) -> Result<Self, Failed> {
        let Parts {
            replica,
            net,
            executor,
            log,
            outputs,
            mesh,
            settings,
            origin,
            early,
            door,
        } = parts;
        let (adopted, adoptions) = mpsc::channel(1_024);
        let (asks, asked) = mpsc::channel(256);
        let (look, looked) = mpsc::channel(256);
        let (come, comes) = mpsc::channel(64);
        let runs_as = replica.runs_as().clone();
        Ok(Self {
            replica,
            net,
            executor: Arc::new(executor),
            log,
            outputs,
            runs: Runs::new(&settings),
            stay: Stay::new(settings.until, early.mind.idle),
            has_bootstrap: !mesh.bootstrap.is_empty(),
            broken: None,
            mishaps: Mishaps::default(),
            rests: false,
            settings,
            secret: mesh.secret,
            thinned: Thinned::default(),
            waits: Waits::default(),
            news: News::new(early.mind.told),
            boards: Boards::default(),
            pending: BTreeMap::new(),
            next_token: 1,
            unconfirmed: None,
            retry_at: None,
            adopted,
            adoptions: Some(adoptions),
            inputs: Inputs::new(come),
            comes: Some(comes),
            places: Places::default(),
            looks: Looks::new(runs_as, look),
            looked: Some(looked),
            asks,
            asked: Some(asked),
            leaving: Leaving::No,
            drained_by_hand: early.mind.drained,
            origin,
            succession: Succession::None,
            early,
            blame: Blame::default(),
            clocks: Clocks::default(),
            door,
        })
    }

    /// Returns the greeting of the API.
    pub(super) fn hello(&self) -> Hello {
        Hello {
            aque: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.settings.name.clone(),
            tag: self.replica.own_tag().to_string(),
            mesh: data_encoding::HEXLOWER.encode(&self.secret.id().0),
        }
    }

    /// Returns a ticket for another host.
    pub(super) fn ticket(&self) -> Ticket {
        let addrs = ticket_addresses(self.net.listen_addrs());
        Ticket {
            secret: self.secret.clone(),
            addrs,
        }
    }

    /// Says that the node is ready.
    pub(super) fn announce(&self) {
        let listen: Vec<String> = self
            .net
            .listen_addrs()
            .iter()
            .map(ToString::to_string)
            .collect();
        print_ready(&format!(
            "aque-node ready name={} tag={} api={} listen={} ticket={}",
            self.settings.name,
            self.replica.own_tag(),
            self.settings.api.display(),
            listen.join(","),
            self.ticket()
        ));
        sd_notify("READY=1");
    }

    /// Returns what is needed to read any host's output.
    pub(super) fn output_mesh(&self) -> output::Mesh {
        output::Mesh {
            store: self.store(),
            net: self.net.clone(),
            own: self.replica.own_peer(),
        }
    }

    /// Returns what is needed to read this host's output.
    pub(super) fn store(&self) -> Store {
        Store {
            outputs: self.outputs.clone(),
            asks: self.asks.clone(),
        }
    }

    /// Works until it is told to leave and has left, or another program is to take its place.
    pub(super) async fn run(
        mut self,
        mut net_events: mpsc::Receiver<NetEvent>,
        mut exec_events: mpsc::Receiver<ExecEvent>,
        mut log_done: mpsc::Receiver<LogEvent>,
        mut questions: mpsc::Receiver<Question>,
        mut parts: mpsc::Receiver<Told>,
    ) -> Result<Parting, Failed> {
        let mut alarm = Alarm::new()?;
        let mut signals = Signals::new()?;
        let early = std::mem::take(&mut self.early);
        self.begin_stay();
        self.begin_with(&early);
        drop(early);
        self.carry_out();
        self.begin_news();
        let mut round = tokio::time::interval(ROUND_EVERY);
        let (Some(mut adoptions), Some(mut comes), Some(mut asked), Some(mut looked)) = (
            self.adoptions.take(),
            self.comes.take(),
            self.asked.take(),
            self.looked.take(),
        ) else {
            return Err("a node runs once".into());
        };
        let listening = self.net.listen_addrs();
        self.listen_at(&listening);
        loop {
            self.carry_out();
            self.waits.report(&self.replica, boottime());
            self.tell_news();
            if let Some(why) = &self.broken {
                return Err(broken(why));
            }
            self.mind_stay();
            self.tell_rest();
            if let Leaving::Draining(until) = self.leaving
                && (self.runs.is_empty() || boottime() >= until)
            {
                self.end_runs();
            }
            if self.has_left() || self.is_succeeded() {
                break;
            }
            alarm.set(self.next_alarm())?;
            tokio::select! {
                biased;
                rung = alarm.rings() => {
                    rung?;
                    self.wake();
                }
                done = log_done.recv() => match done {
                    Some(done) => {
                        self.log_done(done);
                        while let Ok(done) = log_done.try_recv() {
                            self.log_done(done);
                        }
                    }
                    None => return Err(broken("the log's writer ended")),
                },
                event = exec_events.recv(), if !matches!(self.leaving, Leaving::LastWords(_)) => match event {
                    Some(event) => {
                        self.take_exec_event(event);
                        for _ in 0..BATCH {
                            let Ok(event) = exec_events.try_recv() else { break };
                            self.take_exec_event(event);
                        }
                    }
                    None if matches!(self.leaving, Leaving::No | Leaving::Settling | Leaving::Draining(_)) => return Err(broken("the executor ended")),
                    None => self.begin_last_words(),
                },
                Some(adopted) = adoptions.recv() => {
                    self.finish_run(adopted);
                    for _ in 0..BATCH {
                        let Ok(adopted) = adoptions.try_recv() else { break };
                        self.finish_run(adopted);
                    }
                }
                Some(found) = looked.recv() => {
                    self.take_looked(found);
                    for _ in 0..BATCH {
                        let Ok(found) = looked.try_recv() else { break };
                        self.take_looked(found);
                    }
                }
                Some(come) = comes.recv() => self.take_come(come),
                event = net_events.recv() => match event {
                    Some(event) => {
                        self.take_net_event(event);
                        for _ in 0..BATCH {
                            let Ok(event) = net_events.try_recv() else { break };
                            self.take_net_event(event);
                        }
                    }
                    None => return Err(broken("the network ended")),
                },
                Some(question) = questions.recv(), if !self.succession.is_agreed() => {
                    self.answer(question);
                    for _ in 0..BATCH {
                        let Ok(question) = questions.try_recv() else { break };
                        self.answer(question);
                    }
                }
                Some(ask) = asked.recv() => self.locate(ask),
                Some(told) = parts.recv() => self.take_told(told),
                asked = signals.next(), if !self.succession.is_agreed() => self.take_signal(asked),
                answer = self.succession.answer() => self.take_answer(answer),
                _ = round.tick() => self.go_round(),
            }
        }
        let listened = self.net.listen_addrs();
        self.net.shutdown().await;
        let succession = std::mem::replace(&mut self.succession, Succession::None);
        Ok(match succession {
            Succession::Agreed {
                successor,
                signals: memory,
                ..
            } => {
                let mind = Mind {
                    drained: self.drained_by_hand,
                    signals: signals.unheard(),
                    idle: Some(self.stay.idle_since()),
                    told: Some(self.news.place()),
                    listened: listened.iter().map(ToString::to_string).collect(),
                    guard: self.executor.guard().pid(),
                    failed: None,
                };
                Parting::GivesWay(Box::new(Handover {
                    successor,
                    mind,
                    memory,
                }))
            }
            Succession::None | Succession::Asking(_) => {
                info!("left");
                sd_notify("STOPPING=1");
                Parting::Leaves
            }
        })
    }

    /// Gives the replica one input. Its outputs are carried out before the next event is waited for.
    pub(super) fn feed(&mut self, input: Input) {
        self.replica.handle(now(), input);
    }

    /// What is done now and then.
    fn go_round(&mut self) {
        self.feed(Input::Load(load_average()));
        self.hear_progress();
        self.watch_clocks();
        self.thin_outputs();
        self.sweep_inputs();
        self.discard_outputs();
        self.thin_log();
        self.waits.sweep();
        self.news.sweep();
        self.boards.sweep(boottime());
        self.sweep_places();
    }

    fn wake(&mut self) {
        if self.retry_at.is_some_and(|at| at <= boottime()) {
            self.retry_at = None;
            self.write_unconfirmed();
        }
        self.feed(Input::Wakeup);
    }

    fn next_alarm(&self) -> Option<Duration> {
        let replica = self
            .replica
            .next_wakeup()
            .map(|Mono(at)| Duration::from_nanos(at));
        let leave = match self.leaving {
            Leaving::Draining(until) | Leaving::LastWords(until) => Some(until),
            Leaving::No | Leaving::Settling | Leaving::Ending => None,
        };
        let change = self.succession.due();
        [
            replica,
            self.retry_at,
            self.waits.next_report(),
            self.news.next_report(),
            leave,
            change,
            self.stay_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what the replica asks, in its order.
    fn carry_out(&mut self) {
        while let Some(output) = self.replica.poll_output() {
            match output {
                Output::Persist { token, records } => {
                    let records = records.into_iter().map(Bytes::from_owner).collect();
                    self.unconfirmed = Some((token, records));
                    self.write_unconfirmed();
                }
                Output::Send { to, lane, bytes } => self.send(to, lane, bytes),
                Output::Start(order) => self.start_run(order),
                Output::Look(place) => self.look_at(place),
                Output::Extend(run, deadline) => {
                    let on_time = Duration::from_nanos(deadline.0);
                    if let Some(key) = self.runs.key(run)
                        && !self.inputs.extend(key, deadline)
                        && !self.looks.extend(key, on_time)
                    {
                        self.executor.extend(key, on_time);
                    }
                }
                Output::Signal(run, signo) => {
                    if let Some(key) = self.runs.ask(run) {
                        self.executor.signal(key, signo);
                    }
                }
                Output::Kill(run) => {
                    if !self.stop_before_start(run, RunEnd::Withdrawn)
                        && let Some(key) = self.runs.ask(run)
                    {
                        self.executor.kill(key);
                    }
                }
                Output::Withdraw(run) => {
                    self.stop_before_start(run, RunEnd::Withdrawn);
                }
                Output::Reply(token, reply) => self.pass_reply(token, reply),
                Output::Notice(notice) => self.take_notice(notice),
            }
        }
    }

    fn send(&self, to: PeerId, lane: crdt::message::Lane, bytes: Arc<[u8]>) {
        let lane = match lane {
            crdt::message::Lane::Gossip => Lane::Gossip,
            crdt::message::Lane::Claims => Lane::Claims,
        };
        let frame = Bytes::from_owner(bytes);
        if let Err(error) = self.net.send(PeerKey(to.0), lane, frame) {
            debug!(peer = %to.tag(), %error, "frame not sent");
        }
    }

    fn take_notice(&mut self, notice: Notice) {
        self.news.note(&notice);
        match notice {
            Notice::Task {
                id,
                state,
                reason,
                sleepers,
                ..
            } => {
                debug!(task = %id, %state, reason, sleepers, "task changed");
                for id in (0..=sleepers).map(|after| id.plus(after)) {
                    self.waits.task_changed(&self.replica, id, state);
                    self.boards.task_changed(id);
                    self.task_moved(id);
                }
            }
            Notice::Sight { id, removed, .. } => {
                debug!(task = %id, removed, "task removed, or there again");
                self.boards.task_changed(id);
                self.task_moved(id);
            }
            Notice::Edited { id, by, .. } => {
                debug!(task = %id, by, "task edited");
                self.boards.task_changed(id);
            }
            Notice::Member {
                peer,
                name,
                addresses,
            } => {
                debug!(peer = %peer.tag(), name, "member heard of");
                let addresses = addresses
                    .iter()
                    .filter_map(|text| text.parse().ok())
                    .collect();
                if peer != self.replica.own_peer() {
                    self.net.learn(PeerKey(peer.0), addresses);
                }
            }
            Notice::Setting { name, said } => {
                debug!(name, value = said.value, by = said.by, "setting changed");
            }
            Notice::Quarantined { author, why } => {
                warn!(peer = %author.tag(), why, "peer broke a rule; its changes are refused");
                self.blame.quarantined(author, why);
            }
            Notice::HoldLost(run) => {
                info!(task = %run.task, epoch = %run.epoch, "hold lost");
                self.stop_before_start(run, RunEnd::TooLate);
            }
            Notice::Skewed { peer, theirs } => {
                debug!(peer = %peer.tag(), theirs_ms = theirs.0, "wall clock of a peer is far off");
            }
        }
    }

    fn take_net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Up { peer, .. } => {
                info!(peer = %PeerId(peer.0).tag(), "peer connected");
                self.feed(Input::PeerUp(PeerId(peer.0)));
                self.news.hosts_may_differ();
            }
            NetEvent::Down { peer, .. } => {
                info!(peer = %PeerId(peer.0).tag(), "peer disconnected");
                self.feed(Input::PeerDown(PeerId(peer.0)));
                self.news.hosts_may_differ();
            }
            NetEvent::Frame { peer, frame, .. } => {
                self.feed(Input::Frame {
                    from: PeerId(peer.0),
                    bytes: Arc::from(&frame[..]),
                });
            }
            NetEvent::Incoming {
                peer,
                protocol,
                stream,
            } => match protocol {
                passage::PROTOCOL => self.let_in_from(PeerId(peer.0), stream),
                _ => drop(tokio::spawn(output::serve(self.store(), stream))),
            },
            NetEvent::Listening { addrs } => self.listen_at(&addrs),
        }
    }

    fn listen_at(&mut self, addrs: &[Multiaddr]) {
        let list = addrs.iter().map(ToString::to_string).collect();
        self.feed(Input::Addresses(list));
    }

    fn write_unconfirmed(&mut self) {
        let Some((token, records)) = self.unconfirmed.clone() else {
            return;
        };
        match self.log.submit(token, records) {
            Ok(()) => {}
            Err(Refused::Closed) => self.broken = Some("the log's writer ended".to_owned()),
            Err(problem) => self.disk_refused(token, &problem),
        }
    }

    fn log_done(&mut self, event: LogEvent) {
        match event {
            LogEvent::Written {
                token,
                result: Ok(()),
            } => {
                if self
                    .unconfirmed
                    .take_if(|(waiting, _)| *waiting <= token)
                    .is_some()
                {
                    self.feed(Input::Persisted(token));
                    self.forget_ends();
                }
            }
            LogEvent::Written {
                token,
                result: Err(problem),
            } => self.disk_refused(token, &problem),
            LogEvent::Ended { why } => {
                self.broken = Some(format!("the log's writer panicked: {why}"))
            }
            LogEvent::Compacted { result, .. } => debug!(?result, "log compacted"),
        }
    }

    fn disk_refused(&mut self, token: PersistToken, problem: &dyn std::error::Error) {
        error!(%problem, "the log cannot be written; no task is taken until it can");
        self.news
            .mishap("disk", format!("the log cannot be written: {problem}"));
        self.retry_at = Some(boottime() + RETRY_DISK);
        self.feed(Input::PersistStalled(token));
        self.answer_without_disk(problem);
    }
}

/// Reads the load average of one minute, hundredths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a load average is small and not negative"
)]
fn load_average() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text
        .split(' ')
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    (first.unwrap_or(0.0).clamp(0.0, 1e6) * 100.0) as u32
}
