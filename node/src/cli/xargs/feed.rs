//! The feeder: commands in, submissions out, while more commands are still being read.
//!
//! The group goes with the first batch, its size still unknown unless the input has ended by then; at the end the group is
//! closed with the count. However the program ends, short of being killed, the group is closed, for an open group would
//! wait for ever.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crdt::task::{Arg, Environment, TaskState};

use super::pack::Command;
use super::slots::{Slots, Taken};
use super::watch::{Batch, Show, Watcher};
use crate::api::select::Selection;
use crate::api::wire::{
    Call, DurableWord, MemberRequest, Requirements, StatusQuery, Submission, Submitted, TaskRequest,
};
use crate::cli::interrupt::{left_alone, on_interrupt};
use crate::cli::problem::Problem;
use crate::cli::submit::warn_if_thin;
use crate::cli::{Context, Form, Talk};
use crate::client::Client;
use crate::render::note;

/// The most tasks of one submission, the group included.
const BATCH_TASKS: usize = 1_024;
/// The most bytes of commands in one submission: far below the longest line of the API, even where JSON escapes each byte.
const BATCH_BYTES: usize = 1 << 20;
/// A command waits at most so long for others to share its submission.
const LINGER: Duration = Duration::from_millis(10);
/// Commands that wait for the feeder; each has at most 56 KiB.
const QUEUE: usize = 256;

/// What reaches the feeder.
pub(crate) enum Event {
    /// A command.
    Command(Command),
    /// The input has ended.
    End,
    /// The input cannot be read on.
    Failed(Problem),
    /// A task ended so that nothing more is to be started.
    Stop,
    /// The watcher has ended.
    Watched,
}

/// What all members share.
pub(crate) struct Plan {
    /// A member without its command.
    pub(crate) template: TaskRequest,
    /// The group's name.
    pub(crate) group_name: String,
    /// What members inherit.
    pub(crate) env: Option<Environment>,
    /// When submissions are answered.
    pub(crate) durable: DurableWord,
    /// How many run at once.
    pub(crate) window: u32,
    /// The variable that numbers what runs at once.
    pub(crate) slot_variable: Option<Arg>,
}

/// A command, and a variable of its own.
type Member = (Command, Option<(Arg, Arg)>);

/// Submits.
pub(crate) struct Feeder<'a> {
    context: &'a Context,
    group: Arc<Mutex<Group>>,
    events: (SyncSender<Event>, Receiver<Event>),
    slots: Option<Slots>,
    copies: Option<Submitted>,
}

/// The group as far as it has been submitted; shared with whoever must close it after an interrupt.
struct Group {
    client: Client,
    plan: Plan,
    id: Option<String>,
    members: u32,
    state: State,
    /// It was submitted before, under the same key.
    known: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
}

/// Whether more members may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Perhaps,
    None,
}

/// How the feeding ended.
enum Fed {
    All,
    Stopped,
    /// The watcher ended first: nothing can be watched any more.
    Watched,
    /// The key has a group already.
    Known,
    Failed(Problem),
}

impl<'a> Feeder<'a> {
    /// Connects.
    ///
    /// # Errors
    /// No node answers.
    pub(crate) fn new(context: &'a Context, plan: Plan) -> Result<Self, Problem> {
        let client = context.connect()?;
        let slots = plan.slot_variable.clone();
        let slots = slots.map(|variable| Slots::new(variable, plan.window));
        let group = Group {
            client,
            plan,
            id: None,
            members: 0,
            state: State::Open,
            known: false,
        };
        let group = Arc::new(Mutex::new(group));
        Ok(Self {
            context,
            group,
            events: sync_channel(QUEUE),
            slots,
            copies: None,
        })
    }

    /// Submits what `read` sends until it has ended, and watches the tasks as `show` says.
    ///
    /// # Errors
    /// [`Problem`]; what was submitted goes on, and its group is closed.
    pub(crate) fn run(
        mut self,
        read: impl FnOnce(SyncSender<Event>) + Send + 'static,
        show: Show,
    ) -> Result<u8, Problem> {
        self.listen_for_interrupts()?;
        let events = self.events.0.clone();
        // Not joined: it may wait for ever for input that nobody wants any more, and ends with the program.
        let reader = thread::Builder::new()
            .name("input".into())
            .spawn(move || read(events));
        reader.map_err(|error| Problem::failed(format!("cannot start a thread: {error}")))?;
        let mut watcher = None;
        let fed = self.feed(show, &mut watcher);
        let closed = self.lock().close();
        let id = self.lock().id.clone();
        let status = match (watcher, &id) {
            (Some(watcher), Some(id)) => self.await_watcher(watcher, id, &fed),
            (None, _) | (_, None) => Ok(0),
        };
        match (fed, &id) {
            (Fed::Failed(problem), _) => return Err(problem),
            (Fed::Known, Some(id)) if show != Show::Id => return Err(is_watched_elsewhere(id)),
            (Fed::Known, Some(id)) => self.context.remark(&format!(
                "aque: {id} has this key already: nothing was submitted"
            )),
            (Fed::All | Fed::Stopped | Fed::Watched | Fed::Known, _) => {}
        }
        closed?;
        if let Some(submitted) = &self.copies {
            warn_if_thin(self.context, submitted);
        }
        let members = self.lock().members;
        self.finish(id.as_deref(), members, show)?;
        status
    }

    /// Waits until the watcher has ended; meanwhile nobody takes commands any more, and a fatal end cancels what waits.
    fn await_watcher(&self, mut watcher: Watcher, id: &str, fed: &Fed) -> Result<u8, Problem> {
        watcher.no_more();
        match fed {
            Fed::All | Fed::Failed(_) | Fed::Known => {}
            Fed::Stopped => self.lock().cancel_waiting(id)?,
            Fed::Watched => return watcher.verdict(),
        }
        for event in &self.events.1 {
            match event {
                Event::Command(_) | Event::End | Event::Failed(_) => {}
                Event::Stop => self.lock().cancel_waiting(id)?,
                Event::Watched => break,
            }
        }
        watcher.verdict()
    }

    fn lock(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&mut self, show: Show, watcher: &mut Option<Watcher>) -> Fed {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut due = None;
        loop {
            let event = match due {
                None => self
                    .events
                    .1
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => self
                    .events
                    .1
                    .recv_timeout(Instant::saturating_duration_since(&due, Instant::now())),
            };
            let (more, ended) = match event {
                Ok(Event::Command(command)) => {
                    bytes += command.iter().map(|word| word.0.len() + 1).sum::<usize>();
                    batch.push(command);
                    due = due.or_else(|| Some(Instant::now() + LINGER));
                    if batch.len() + 1 < BATCH_TASKS && bytes < BATCH_BYTES {
                        continue;
                    }
                    (More::Perhaps, None)
                }
                Err(RecvTimeoutError::Timeout) => (More::Perhaps, None),
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => {
                    (More::None, Some(Fed::All))
                }
                Ok(Event::Failed(problem)) => (More::None, Some(Fed::Failed(problem))),
                Ok(Event::Stop) => return Fed::Stopped,
                Ok(Event::Watched) => return Fed::Watched,
            };
            bytes = 0;
            due = None;
            let flushed = self.flush(std::mem::take(&mut batch), more, show, watcher);
            match flushed.map(|cut_short| cut_short.or(ended)) {
                Err(problem) => return Fed::Failed(problem),
                Ok(Some(fed)) => return fed,
                Ok(None) => {}
            }
        }
    }

    /// Submits a batch, with numbers as they become free if commands are numbered. Returns why some of it was not.
    fn flush(
        &mut self,
        mut batch: Vec<Command>,
        more: More,
        show: Show,
        watcher: &mut Option<Watcher>,
    ) -> Result<Option<Fed>, Problem> {
        let Some(mut slots) = self.slots.take() else {
            let batch = batch.into_iter().map(|command| (command, None)).collect();
            self.submit(batch, more, show, watcher)?;
            return Ok(self.is_known().then_some(Fed::Known));
        };
        let mut cut_short = None;
        while !batch.is_empty() && cut_short.is_none() {
            match slots.take(batch.len()) {
                Taken::Numbers(numbers) => {
                    let part = batch.drain(..numbers.len());
                    let numbered = part.zip(numbers.iter().map(|number| {
                        let text = Arg::from(number.to_string().as_str());
                        Some((slots.variable.clone(), text))
                    }));
                    let ids = self.submit(numbered.collect(), More::Perhaps, show, watcher)?;
                    if self.is_known() {
                        return Ok(Some(Fed::Known));
                    }
                    for (id, number) in ids.into_iter().zip(numbers) {
                        slots.give(id, number);
                    }
                    let group = self.lock().id.clone();
                    slots.listen(self.context, &group.unwrap_or_default())?;
                }
                Taken::Stop => cut_short = Some(Fed::Stopped),
                Taken::Deaf => cut_short = Some(Fed::Watched),
            }
        }
        self.slots = Some(slots);
        Ok(cut_short)
    }

    /// Submits members, and returns their ids.
    fn submit(
        &mut self,
        batch: Vec<Member>,
        more: More,
        show: Show,
        watcher: &mut Option<Watcher>,
    ) -> Result<Vec<String>, Problem> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let submitted = self.lock().submit(batch, more)?;
        let fewer = self
            .copies
            .as_ref()
            .is_none_or(|worst| submitted.copies < worst.copies);
        let known = submitted.ids.clone();
        if fewer {
            self.copies = Some(Submitted {
                ids: Vec::new(),
                ..submitted
            });
        }
        if show == Show::Id || self.is_known() {
            return Ok(known);
        }
        let watcher = match watcher {
            Some(watcher) => watcher,
            None => {
                let id = self.lock().id.clone().unwrap_or_default();
                let stop = self.events.0.clone();
                watcher.insert(Watcher::start(self.context, id, show, stop)?)
            }
        };
        watcher.add(Batch::of(&known)?);
        Ok(known)
    }

    /// Says whether the group was submitted before, under the same key.
    fn is_known(&self) -> bool {
        self.lock().known
    }

    fn finish(&self, id: Option<&str>, members: u32, show: Show) -> Result<u8, Problem> {
        match (self.context.form, id) {
            (Form::Json, _) if matches!(show, Show::Id | Show::Nothing) => self
                .context
                .json(&serde_json::json!({ "id": id, "tasks": members }))?,
            (Form::Text, Some(id)) if show == Show::Id => self.context.print(&format!("{id}\n"))?,
            (Form::Json | Form::Text, _) => {}
        }
        Ok(0)
    }

    /// An interrupt closes the group; what was submitted goes on.
    fn listen_for_interrupts(&self) -> Result<(), Problem> {
        let group = Arc::clone(&self.group);
        let talk = self.context.talk;
        on_interrupt(move || {
            let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(problem) = group.close() {
                problem.line().iter().for_each(|line| note(line));
            }
            match &group.id {
                Some(id) if talk == Talk::Normal => note(&left_alone(id)),
                Some(_) | None => {}
            }
            // Stays locked: nothing may be submitted between here and the end of the program.
            std::mem::forget(group);
        })
    }
}

/// That a group which was submitted before cannot be watched as it would have been then.
fn is_watched_elsewhere(id: &str) -> Problem {
    Problem::failed(format!("{id} has this key already: nothing was submitted")).hint(format!(
        "'aque wait {id}' waits for it, 'aque output {id}' shows what it printed"
    ))
}

impl Group {
    /// Submits members; with the first ones the group.
    fn submit(&mut self, batch: Vec<Member>, more: More) -> Result<Submitted, Problem> {
        let first = self.id.is_none();
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let mut tasks = Vec::with_capacity(batch.len() + 1);
        if first {
            tasks.push(self.head(if more == More::None { count } else { 0 }));
        }
        for (index, (command, variable)) in (self.members..).zip(batch) {
            let mut extra_env = self.plan.template.extra_env.clone();
            if let Some((name, value)) = variable {
                extra_env.0.retain(|(known, _)| *known != name);
                let place = extra_env.0.partition_point(|(known, _)| *known < name);
                extra_env.0.insert(place, (name, value));
            }
            tasks.push(TaskRequest {
                argv: command,
                extra_env,
                life: self.plan.template.life.of_member(),
                member: Some(MemberRequest {
                    group: self.id.clone(),
                    group_place: first.then_some(0),
                    index,
                    window: self.plan.window,
                }),
                ..self.plan.template.clone()
            });
        }
        let env = self.plan.env.clone();
        let durable = self.plan.durable;
        let mut submitted = self.client.submit(Submission {
            tasks,
            env,
            durable,
        })?;
        self.known |= submitted.known;
        self.members = self
            .members
            .saturating_add(if self.known { 0 } else { count });
        if first {
            if submitted.ids.is_empty() {
                return Err(Problem::failed("the node answered without ids"));
            }
            self.id = Some(submitted.ids.remove(0));
            // Whoever submitted a known one closes it.
            self.state = if more == More::None || submitted.known {
                State::Closed
            } else {
                State::Open
            };
        }
        Ok(submitted)
    }

    /// The group itself, with as many members as are known to come; 0 = not known.
    fn head(&self, size: u32) -> TaskRequest {
        TaskRequest {
            argv: Vec::new(),
            shell: None,
            call: false,
            group_size: Some(size),
            name: Some(self.plan.group_name.clone()),
            after: Vec::new(),
            retries: 0,
            life: self.plan.template.life.of_group(),
            requires: Requirements::default(),
            ..self.plan.template.clone()
        }
    }

    /// Tells the node that no more members come.
    fn close(&mut self) -> Result<(), Problem> {
        if let Some(id) = &self.id
            && self.state == State::Open
        {
            self.client.close(id.clone(), self.members)?;
            self.state = State::Closed;
        }
        Ok(())
    }

    /// Cancels the members that have not started.
    fn cancel_waiting(&mut self, id: &str) -> Result<(), Problem> {
        let query = StatusQuery {
            which: Selection {
                ids: vec![id.to_owned()],
                states: vec![TaskState::Pending, TaskState::Blocked],
                ..Selection::default()
            },
            ..StatusQuery::default()
        };
        let waiting = self.client.status(query)?.tasks;
        let ids: Vec<String> = waiting.into_iter().map(|line| line.id).collect();
        for ids in ids.chunks(BATCH_TASKS) {
            self.client.want(Call::Kill {
                which: ids.to_vec().into(),
                signal: libc::SIGTERM,
                grace: Duration::from_secs(10),
                reason: Some("xargs stopped".to_owned()),
                recursive: false,
            })?;
        }
        Ok(())
    }
}
