//! The client: one blocking connection to a node, JSON lines in both directions.
//!
//! No runtime and no thread, so that a program that asks one question starts in milliseconds. A line is read
//! with a bound ([`MAX_LINE`]) and a time limit; whatever answers garbage, too much, half of it, or nothing at all is an error here
//! and never a hang ([`Patience`]). Lines of earlier questions that nobody waits for any more are skipped.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::de::DeserializeOwned;

use crate::api::select::Selection;
use crate::api::wire::{
    Assigned, Body, Call, Checkup, Closed, Details, DutyWord, Failure, FailureKind, Hello,
    Invitation, MAX_LINE, Nodes, Noted, Progress, QueueList, Reasons, Reply, Request, SCHEMA,
    SettingLine, SettingList, StatusQuery, Submission, Submitted, TaskLine, Tasks,
};

/// Why a node could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens on it. Nothing was asked.
    #[error("no node answers on {}", tried.iter().map(Attempt::text).collect::<Vec<_>>().join(", nor on "))]
    NoNode {
        /// Each socket that was tried, and why it failed.
        tried: Vec<Attempt>,
    },
    /// The connection ended before the answer was complete: what was asked may or may not have been done.
    #[error("the node ended the connection before it had answered")]
    Closed,
    /// No answer in time: what was asked may or may not have been done.
    #[error("the node did not answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// What answers does not speak this language.
    #[error("what answers is not a node of this version: {0}")]
    Garbled(String),
    /// The question is larger than a line may be. Nothing was asked.
    #[error("a request of {0} bytes is too large for a node")]
    TooLarge(usize),
    /// The kernel refused to read or write.
    #[error("the connection to the node failed: {0}")]
    Io(#[from] io::Error),
    /// The node refused.
    #[error("{}", .0.message)]
    Refused(Failure),
}

impl ClientError {
    /// Says whether the node may be there again soon.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NoNode { .. } | Self::Closed | Self::Silent(_) | Self::Io(_) => true,
            // The host to which it passes questions on.
            Self::Refused(failure) => failure.kind == FailureKind::Unreachable,
            Self::Garbled(_) | Self::TooLarge(_) => false,
        }
    }

    /// Says whether the connection ended.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Closed) || matches!(self, Self::Io(error) if is_reset(error))
    }

    /// Sorts an error: that the connection ended, or another.
    fn or_loss<T, E: From<Self>>(self) -> Result<Result<T, E>, Self> {
        match self.is_loss() {
            true => Err(self),
            false => Ok(Err(self.into())),
        }
    }

    /// Returns the kind that decides the exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Refused(failure) => failure.kind,
            Self::TooLarge(_) => FailureKind::Request,
            Self::NoNode { tried } if tried.iter().any(Attempt::is_forbidden) => {
                FailureKind::Forbidden
            }
            Self::NoNode { .. }
            | Self::Closed
            | Self::Silent(_)
            | Self::Garbled(_)
            | Self::Io(_) => FailureKind::Unreachable,
        }
    }
}

/// A node that has gone away is waited for at most so long by those who wait for tasks.
pub(crate) const AWAY: Duration = Duration::from_secs(30);
/// Between two tries to reach it.
pub(crate) const TRY_EVERY: Duration = Duration::from_millis(200);

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// A socket on which no node answered.
#[derive(Debug)]
pub struct Attempt {
    /// The socket.
    pub path: PathBuf,
    /// What the kernel said.
    pub error: io::Error,
}

impl Attempt {
    fn text(&self) -> String {
        let why = match self.error.kind() {
            io::ErrorKind::NotFound => "there is no such socket".to_owned(),
            io::ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::WouldBlock => "it takes no connection".to_owned(),
            _ => self.error.to_string(),
        };
        format!("{} ({why})", self.path.display())
    }

    fn is_forbidden(&self) -> bool {
        self.error.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Which node is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// The first of these sockets on which one answers.
    pub sockets: Vec<PathBuf>,
    /// The host to which that one passes on what is asked, by name or tag, if it is another.
    pub host: Option<String>,
    /// How long it is waited for.
    pub patience: Patience,
}

impl Whom {
    /// Connects to it.
    ///
    /// # Errors
    /// As for [`Client::connect`], and that the host is not known or cannot be asked.
    pub fn connect(&self) -> Result<Client, ClientError> {
        let mut client = Client::connect_with(&self.sockets, self.patience)?;
        if let Some(host) = &self.host {
            client.pass(host)?;
        }
        Ok(client)
    }
}

/// A connection to a node that has greeted.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    /// The host to which what is asked is passed on.
    host: Option<String>,
    hello: Hello,
    /// The tag of the node at the socket.
    near: String,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// By when that end comes.
    whole: Limit,
    asked: u64,
    /// How long an answer that needs no waiting is waited for.
    patience: Duration,
}

/// How long a node is waited for. What tasks need their time for (`wait`, the output that is followed, events) is waited for without
/// a limit, but a line that has begun must end, and the first answer of those that come at once must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    greeting: Duration,
    answer: Duration,
}

impl Patience {
    /// A node greets within this time. It does so at once unless its machine is stopped or overloaded.
    const GREETING: Duration = Duration::from_secs(10);
    /// A node answers a question that needs no waiting within this time; a submission may take 5 s of it where peers are away.
    const ANSWER: Duration = Duration::from_secs(60);

    /// Waits no longer than this for an answer; no longer than usual for a greeting.
    #[must_use]
    pub fn of(answer: Duration) -> Self {
        Self {
            greeting: answer.min(Self::GREETING),
            answer,
        }
    }

    /// Returns how long an answer is waited for that needs no waiting.
    #[must_use]
    pub fn answer(self) -> Duration {
        self.answer
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::of(Self::ANSWER)
    }
}

impl Client {
    /// Connects to the first of these sockets on which a node answers.
    ///
    /// # Errors
    /// [`ClientError::NoNode`] if none does; else what went wrong with the greeting.
    pub fn connect(candidates: &[PathBuf]) -> Result<Self, ClientError> {
        Self::connect_with(candidates, Patience::default())
    }

    /// The same, and waits no longer than this for the greeting and for each answer.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn connect_within(candidates: &[PathBuf], limit: Duration) -> Result<Self, ClientError> {
        Self::connect_with(candidates, Patience::of(limit))
    }

    fn connect_with(candidates: &[PathBuf], patience: Patience) -> Result<Self, ClientError> {
        let mut tried = Vec::new();
        for path in candidates {
            match connect(path, patience.greeting) {
                Ok(stream) => {
                    let again =
                        || Self::greeted((connect(path, patience.greeting)?, path), patience);
                    return match Self::greeted((stream, path), patience) {
                        // Nothing was asked: a node that was just changing its program, and is there now.
                        Err(ClientError::Closed) => again(),
                        Err(ClientError::Io(error)) if is_reset(&error) => again(),
                        other => other,
                    };
                }
                Err(error) => tried.push(Attempt {
                    path: path.clone(),
                    error,
                }),
            }
        }
        // A socket that is there but refuses says more than one that is not there.
        if tried
            .iter()
            .any(|attempt| attempt.error.kind() != io::ErrorKind::NotFound)
        {
            tried.retain(|attempt| attempt.error.kind() != io::ErrorKind::NotFound);
        }
        Err(ClientError::NoNode { tried })
    }

    fn greeted(
        (stream, socket): (UnixStream, &Path),
        patience: Patience,
    ) -> Result<Self, ClientError> {
        stream.set_write_timeout(Some(patience.answer))?;
        let hello = Hello {
            aque: SCHEMA,
            version: String::new(),
            node: String::new(),
            tag: String::new(),
            mesh: String::new(),
        };
        let stream = BufReader::with_capacity(64 << 10, stream);
        let mut client = Self {
            stream,
            socket: socket.to_owned(),
            host: None,
            hello,
            near: String::new(),
            partial: Vec::new(),
            whole: Limit::Never,
            asked: 0,
            patience: patience.answer,
        };
        let hello: Hello = match client.line(Limit::within(patience.greeting))? {
            Some(hello) => hello,
            None => return Err(ClientError::Silent(patience.greeting)),
        };
        if hello.aque != SCHEMA {
            let theirs = hello.aque;
            return Err(ClientError::Garbled(format!(
                "it speaks version {theirs} of the API, this program version {SCHEMA}"
            )));
        }
        client.near.clone_from(&hello.tag);
        client.hello = hello;
        Ok(client)
    }

    /// Speaks to another host from now on, through the node that answers here.
    ///
    /// # Errors
    /// [`ClientError`]: it is not known, or cannot be asked.
    fn pass(&mut self, host: &str) -> Result<(), ClientError> {
        let node = host.to_owned();
        match self.ask(Call::Pass { node })? {
            Body::Passed(hello) => {
                self.hello = hello;
                self.host = Some(host.to_owned());
            }
            other => return Err(strange("pass", &other)),
        }
        Ok(())
    }

    /// Returns how long an answer is waited for that needs no waiting.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Returns the socket on which it answers.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns who answers.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Returns the tag of this machine's host, whichever host answers.
    #[must_use]
    pub fn near(&self) -> &str {
        &self.near
    }

    /// Asks a question that has one answer, and returns it.
    ///
    /// # Errors
    /// [`ClientError`]; see its variants for what may have been done.
    pub fn ask(&mut self, call: Call) -> Result<Body, ClientError> {
        match self.start(call)?.next_soon()? {
            Heard::Reply(body) => Ok(body),
            Heard::Nothing | Heard::End => {
                Err(ClientError::Garbled("an answer has no content".to_owned()))
            }
        }
    }

    /// Asks a question that may have many answers.
    ///
    /// # Errors
    /// [`ClientError`]; nothing was asked.
    pub fn start(&mut self, call: Call) -> Result<Replies<'_>, ClientError> {
        let id = self.open(call)?;
        Ok(Replies {
            client: self,
            id,
            state: State::Asked,
        })
    }

    /// Asks a question beside others that are open, and returns the number that its answers bear. [`Client::heard`] has them.
    ///
    /// # Errors
    /// [`ClientError`]; nothing was asked.
    pub fn open(&mut self, call: Call) -> Result<u64, ClientError> {
        self.asked += 1;
        let id = self.asked;
        let mut line = serde_json::to_vec(&Request { id, call })
            .map_err(|error| ClientError::Garbled(error.to_string()))?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(ClientError::TooLarge(line.len()));
        }
        self.stream
            .get_mut()
            .write_all(&line)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => ClientError::Silent(self.patience),
                io::ErrorKind::BrokenPipe => ClientError::Closed,
                _ => error.into(),
            })?;
        Ok(id)
    }

    /// Waits for the next answer to any question; `None` when the limit has come.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal is among the answers.
    pub fn heard(&mut self, limit: Limit) -> Result<Option<Reply>, ClientError> {
        self.line(limit)
    }

    /// Returns a handle that ends this connection, from another thread if need be: who waits for an answer then gets
    /// [`ClientError::Closed`].
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn hanger(&self) -> Result<Hanger, ClientError> {
        Ok(Hanger(self.stream.get_ref().try_clone()?))
    }

    /// Queues tasks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn submit(&mut self, submission: Submission) -> Result<Submitted, ClientError> {
        match self.ask(Call::Submit(submission))? {
            Body::Submitted(submitted) => Ok(submitted),
            other => Err(strange("submit", &other)),
        }
    }

    /// Lists tasks, all pages of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self, query: StatusQuery) -> Result<Tasks, ClientError> {
        let mut list = Tasks {
            tasks: Vec::new(),
            more: 0,
        };
        let mut replies = self.start(Call::Status(query))?;
        loop {
            match replies.next_soon()? {
                Heard::Reply(Body::Tasks(page)) => {
                    list.tasks.extend(page.tasks);
                    list.more = page.more;
                }
                Heard::Reply(other) => return Err(strange("status", &other)),
                Heard::Nothing | Heard::End => return Ok(list),
            }
        }
    }

    /// Returns everything known of some tasks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn show(&mut self, which: impl Into<Selection>) -> Result<Details, ClientError> {
        let which = which.into();
        match self.ask(Call::Show { which })? {
            Body::Details(details) => Ok(details),
            other => Err(strange("show", &other)),
        }
    }

    /// Wants something of tasks: [`Call::Kill`], [`Call::Retry`], [`Call::Hold`], [`Call::Release`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn want(&mut self, call: Call) -> Result<Noted, ClientError> {
        match self.ask(call)? {
            Body::Noted(noted) => Ok(noted),
            other => Err(strange("a wish about tasks", &other)),
        }
    }

    /// Returns why a task does not run: [`Call::Explain`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn explain(&mut self, call: Call) -> Result<Reasons, ClientError> {
        match self.ask(call)? {
            Body::Reasons(reasons) => Ok(*reasons),
            other => Err(strange("explain", &other)),
        }
    }

    /// Returns what people stated for the mesh.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn settings(&mut self) -> Result<SettingList, ClientError> {
        match self.ask(Call::Settings {})? {
            Body::Settings(list) => Ok(list),
            other => Err(strange("settings", &other)),
        }
    }

    /// Changes a setting of the mesh.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set(&mut self, name: String, value: Option<String>) -> Result<SettingLine, ClientError> {
        match self.ask(Call::Set { name, value })? {
            Body::Set(line) => Ok(line),
            other => Err(strange("set", &other)),
        }
    }

    /// Returns the named queues.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn queues(&mut self) -> Result<QueueList, ClientError> {
        match self.ask(Call::Queues {})? {
            Body::Queues(list) => Ok(list),
            other => Err(strange("queues", &other)),
        }
    }

    /// Wants something of a host: the one called so by name or tag, or the one asked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn assign(
        &mut self,
        node: Option<String>,
        duty: DutyWord,
    ) -> Result<Assigned, ClientError> {
        match self.ask(Call::Assign { node, duty })? {
            Body::Assigned(assigned) => Ok(assigned),
            other => Err(strange("assign", &other)),
        }
    }

    /// Tells that a group has all its members; a node that has gone away meanwhile is told when it is back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn close(&mut self, group: String, size: u32) -> Result<Closed, ClientError> {
        let call = Call::Close { group, size };
        let answer = match self.ask(call.clone()) {
            // It may be closed already, and is closed again.
            Err(lost) if lost.is_loss() => {
                self.come_back(Limit::within(AWAY), lost)?;
                self.ask(call)?
            }
            answer => answer?,
        };
        match answer {
            Body::Closed(closed) => Ok(closed),
            other => Err(strange("close", &other)),
        }
    }

    /// Returns what the node says of its health.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn doctor(&mut self) -> Result<Checkup, ClientError> {
        match self.ask(Call::Doctor {})? {
            Body::Checkup(checkup) => Ok(checkup),
            other => Err(strange("doctor", &other)),
        }
    }

    /// Returns the hosts of the mesh.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn nodes(&mut self) -> Result<Nodes, ClientError> {
        match self.ask(Call::Nodes {})? {
            Body::Nodes(nodes) => Ok(nodes),
            other => Err(strange("nodes", &other)),
        }
    }

    /// Returns a ticket for a new host.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn invite(&mut self) -> Result<Invitation, ClientError> {
        match self.ask(Call::Invite {})? {
            Body::Invitation(invitation) => Ok(invitation),
            other => Err(strange("invite", &other)),
        }
    }

    /// Waits until one task has ended and returns it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn wait_for(&mut self, id: &str) -> Result<TaskLine, ClientError> {
        let call = Call::Wait {
            which: vec![id.to_owned()].into(),
            any: false,
            state: None,
            each: false,
        };
        let mut last = None;
        self.wait(&call, Limit::Never, |mut progress| {
            last = progress.tasks.pop().or(last.take());
            Ok::<(), ClientError>(())
        })?;
        last.ok_or_else(|| ClientError::Garbled("a wait ended without its task".to_owned()))
    }

    /// Waits for tasks, [`Call::Wait`] with ids that mean the same whenever they are asked for, and shows how far they are. A node
    /// whose connection ends, because it changes its program (HUP) or is started again, is asked anew: it begins with those that
    /// had ended before. Returns whether it came to the end; else the limit came first.
    ///
    /// # Errors
    /// [`ClientError`], and what `show` returns.
    pub fn wait<E: From<ClientError>>(
        &mut self,
        call: &Call,
        limit: Limit,
        mut show: impl FnMut(Progress) -> Result<(), E>,
    ) -> Result<bool, E> {
        let (mut ever, mut away) = (false, None);
        loop {
            let mut told = false;
            let mut show = |progress| {
                told = true;
                show(progress)
            };
            let lost = match self.wait_here(call, limit, &mut show) {
                Ok(ended) => return ended,
                Err(lost) => lost,
            };
            ever |= told;
            // One that has not answered yet is asked once more, and not waited for.
            if !ever && away.is_some() {
                return Err(lost.into());
            }
            let until = match away.filter(|_| !told) {
                Some(until) => until,
                None => Limit::within(AWAY),
            };
            away = Some(until);
            if limit.left().is_none() {
                return Ok(false);
            }
            self.come_back(until, lost)?;
        }
    }

    /// The same as long as the connection lasts; the error is that it ended.
    fn wait_here<E: From<ClientError>>(
        &mut self,
        call: &Call,
        limit: Limit,
        show: &mut impl FnMut(Progress) -> Result<(), E>,
    ) -> Result<Result<bool, E>, ClientError> {
        let mut replies = match self.start(call.clone()) {
            Ok(replies) => replies,
            Err(error) => return error.or_loss(),
        };
        loop {
            let shown = match replies.next_of_progress(limit) {
                Ok(Heard::Reply(Body::Progress(progress))) => show(progress),
                Ok(Heard::Reply(other)) => Err(strange("wait", &other).into()),
                Ok(Heard::Nothing) => return Ok(Ok(false)),
                Ok(Heard::End) => return Ok(Ok(true)),
                Err(error) => return error.or_loss(),
            };
            if let Err(error) = shown {
                return Ok(Err(error));
            }
        }
    }

    /// Connects again to the node whose connection was `lost`, by then at the latest.
    ///
    /// # Errors
    /// [`ClientError`]: it is not back in time, or what answers is no node.
    pub(crate) fn come_back(&mut self, until: Limit, lost: ClientError) -> Result<(), ClientError> {
        let whom = Whom {
            sockets: vec![self.socket.clone()],
            host: self.host.clone(),
            patience: Patience::of(self.patience),
        };
        let mut lost = lost;
        loop {
            let Some(left) = until.left() else {
                return Err(lost);
            };
            std::thread::sleep(left.map_or(TRY_EVERY, |left| left.min(TRY_EVERY)));
            match whom.connect() {
                Ok(client) => {
                    *self = client;
                    return Ok(());
                }
                Err(error) if error.is_passing() => lost = error,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads one line; `None` when the limit has come.
    fn line<T: DeserializeOwned>(&mut self, limit: Limit) -> Result<Option<T>, ClientError> {
        while self.partial.last() != Some(&b'\n') {
            let Some(until) = limit.left() else {
                return Ok(None);
            };
            let Some(whole) = self.whole.left() else {
                return Err(ClientError::Silent(self.patience));
            };
            if self.stream.buffer().is_empty() {
                let patience = [until, whole].into_iter().flatten().min();
                self.stream.get_ref().set_read_timeout(patience)?;
            }
            match self.read_some() {
                Ok(()) if self.partial.len() > MAX_LINE => {
                    return Err(ClientError::Garbled("a line is too long".to_owned()));
                }
                Ok(()) => {}
                Err(error) if is_late(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(ClientError::Closed);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ClientError::Closed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.whole = Limit::Never;
        let parsed = serde_json::from_slice(&self.partial).map_err(|error| {
            let start = String::from_utf8_lossy(&self.partial[..self.partial.len().min(40)])
                .escape_debug()
                .to_string();
            ClientError::Garbled(format!("{error} in '{start}'"))
        });
        self.partial.clear();
        if self.partial.capacity() > 1 << 20 {
            self.partial = Vec::new();
        }
        parsed.map(Some)
    }

    /// Takes what has come, up to the end of a line, and no more than a line may have.
    fn read_some(&mut self) -> io::Result<()> {
        let room = (MAX_LINE + 1).saturating_sub(self.partial.len());
        let come = self.stream.fill_buf()?;
        if come.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let come = &come[..come.len().min(room)];
        let end = come.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(come.len(), |end| end + 1);
        if self.partial.is_empty() {
            self.whole = Limit::within(self.patience);
        }
        self.partial.extend_from_slice(&come[..taken]);
        self.stream.consume(taken);
        Ok(())
    }
}

/// Ends a connection. See [`Client::hanger`].
#[derive(Debug)]
pub struct Hanger(UnixStream);

impl Hanger {
    /// Ends the connection.
    pub fn hang_up(&self) {
        // One that has ended already is as good.
        let _ended = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// How long to wait for a line.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// For ever.
    Never,
    /// Until then.
    At(Instant),
}

impl Limit {
    /// Returns the limit that comes after `patience` from now.
    #[must_use]
    pub fn within(patience: Duration) -> Self {
        Instant::now()
            .checked_add(patience)
            .map_or(Self::Never, Self::At)
    }

    fn is_before(self, other: Self) -> bool {
        match (self, other) {
            (Self::Never, _) => false,
            (Self::At(_), Self::Never) => true,
            (Self::At(own), Self::At(other)) => own < other,
        }
    }

    /// Returns what is left, as a socket's time limit; `None` when nothing is.
    #[expect(
        clippy::option_option,
        reason = "the outer one is ours, the inner one the socket's"
    )]
    pub(crate) fn left(self) -> Option<Option<Duration>> {
        match self {
            Self::Never => Some(None),
            Self::At(at) => {
                let left = at.saturating_duration_since(Instant::now());
                (left > Duration::ZERO).then_some(Some(left))
            }
        }
    }
}

/// The answers to one question, as they come.
#[derive(Debug)]
pub struct Replies<'a> {
    client: &'a mut Client,
    id: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come yet.
    Asked,
    Open,
    Ended,
}

/// What came of waiting for an answer.
#[derive(Debug)]
pub enum Heard {
    /// An answer.
    Reply(Body),
    /// The limit has come; more may follow.
    Nothing,
    /// There are no more.
    End,
}

impl Replies<'_> {
    /// Waits for the next answer to a question of which the first answer comes at once, and tells how far things are.
    ///
    /// # Errors
    /// As for [`Replies::next`]; that the first did not come.
    pub fn next_of_progress(&mut self, limit: Limit) -> Result<Heard, ClientError> {
        let patience = self.client.patience;
        let at_once = Limit::within(patience);
        match self.state {
            State::Asked if at_once.is_before(limit) => match self.next(at_once)? {
                Heard::Nothing => Err(ClientError::Silent(patience)),
                heard => Ok(heard),
            },
            State::Asked | State::Open | State::Ended => self.next(limit),
        }
    }

    /// Waits for the next answer to a question that needs no waiting.
    ///
    /// # Errors
    /// As for [`Replies::next`]; that it did not come.
    pub fn next_soon(&mut self) -> Result<Heard, ClientError> {
        let patience = self.client.patience;
        match self.next(Limit::within(patience))? {
            Heard::Nothing => Err(ClientError::Silent(patience)),
            heard => Ok(heard),
        }
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal by the node is [`ClientError::Refused`].
    pub fn next(&mut self, limit: Limit) -> Result<Heard, ClientError> {
        if self.state == State::Ended {
            return Ok(Heard::End);
        }
        loop {
            let Some(reply) = self.client.line::<Reply>(limit)? else {
                return Ok(Heard::Nothing);
            };
            if reply.id != self.id {
                continue;
            }
            self.state = match reply.end {
                true => State::Ended,
                false => State::Open,
            };
            return match reply.body {
                Body::Error(failure) => Err(ClientError::Refused(failure)),
                body => Ok(Heard::Reply(body)),
            };
        }
    }
}

/// Returns the error for an answer to another question.
#[must_use]
pub fn strange(verb: &str, body: &Body) -> ClientError {
    let text = format!("{body:?}");
    let name = text.split(['(', ' ', '{']).next().unwrap_or_default();
    ClientError::Garbled(format!(
        "it answers '{verb}' with '{}'",
        name.to_lowercase()
    ))
}

/// Connects, and waits no longer than this for a place in the queue of those who want to.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    loop {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
        match rustix::net::connect(&socket, &address) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(socket.into()),
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Returns the sockets on which this user's own node may listen, the likeliest first: `$AQUE_DATA/aque.sock`,
/// `$XDG_RUNTIME_DIR/aque.sock`, the user's data directory, `/var/lib/aque/aque.sock`.
#[must_use]
pub fn own_sockets(var: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let var = |name| var(name).filter(|path| path.is_absolute());
    let data = var("XDG_DATA_HOME").or_else(|| Some(var("HOME")?.join(".local/share")));
    let folders = [
        var("AQUE_DATA"),
        var("XDG_RUNTIME_DIR"),
        data.map(|data| data.join("aque")),
        Some(PathBuf::from("/var/lib/aque")),
    ];
    folders
        .into_iter()
        .flatten()
        .map(|folder| folder.join("aque.sock"))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const HELLO: &str =
        r#"{"aque":1,"version":"0","node":"alpha","tag":"aaaaaa","mesh":"00","new":[1]}"#;

    /// Serves one connection: says `greeting`, then answers each line by `answer`.
    fn serve(
        greeting: &str,
        answer: impl Fn(&serde_json::Value) -> String + Send + 'static,
    ) -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let greeting = greeting.to_owned();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let Ok(line) = line else { return };
                let answer = answer(&serde_json::from_str(&line).unwrap());
                if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        (temp, path)
    }

    fn connected(answer: &'static str) -> (tempfile::TempDir, Client) {
        let (temp, path) = serve(&format!("{HELLO}\n"), |_| answer.to_owned());
        let client = Client::connect(&[path]).unwrap();
        (temp, client)
    }

    #[test]
    fn asks_and_is_answered() {
        let (_temp, path) = serve(&format!("{HELLO}\n"), |question| {
            assert_eq!(question["method"], "invite");
            let id = &question["id"];
            // A line of another question comes in between, and a field that is not known.
            format!(
                "{{\"id\":99,\"end\":true,\"stats\":{{\"values\":{{}}}}}}\n\
                 {{\"id\":{id},\"end\":true,\"invitation\":{{\"ticket\":\"aque1x\",\"until\":1}}}}\n"
            )
        });
        let mut client = Client::connect(&[path]).unwrap();
        assert_eq!(client.hello().node, "alpha");
        assert_eq!(client.invite().unwrap().ticket, "aque1x");
        assert_eq!(client.invite().unwrap().ticket, "aque1x");
    }

    #[test]
    fn pages_are_joined() {
        let (_temp, mut client) = connected(concat!(
            r#"{"id":1,"tasks":{"tasks":[],"more":0}}"#,
            "\n",
            r#"{"id":1,"end":true,"tasks":{"tasks":[],"more":7}}"#,
            "\n"
        ));
        assert_eq!(client.status(StatusQuery::default()).unwrap().more, 7);
    }

    #[test]
    fn refusals_keep_their_kind() {
        let (_temp, mut client) = connected(concat!(
            r#"{"id":1,"end":true,"error":{"kind":"busy","message":"full","hint":"wait"}}"#,
            "\n"
        ));
        let error = client.invite().unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (FailureKind::Busy, "full".to_owned())
        );
    }

    #[test]
    fn garbage_is_an_error() {
        for greeting in ["hello\n", "{}\n", "\n", "{\"aque\":1\n", "\u{7}\u{1b}[2J\n"] {
            let (_temp, path) = serve(greeting, |_| String::new());
            let error = Client::connect(&[path]).unwrap_err();
            assert!(matches!(error, ClientError::Garbled(_)), "{error}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
        let (_temp, mut client) = connected("{\"id\":1,\"end\":true,\"nonsense\":{}}\n");
        assert!(matches!(client.invite(), Err(ClientError::Garbled(_))));
        let (_temp, mut client) =
            connected("{\"id\":1,\"end\":true,\"invitation\":{\"ticket\":\"x\"}}\n");
        let error = client.nodes().unwrap_err().to_string();
        assert!(
            error.contains("answers 'nodes' with 'invitation'"),
            "{error}"
        );
    }

    #[test]
    fn other_versions_are_told() {
        let (_temp, path) = serve(
            &HELLO
                .replace("\"aque\":1", "\"aque\":2")
                .replace('}', "}\n"),
            |_| String::new(),
        );
        let error = Client::connect(&[path]).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_connection_that_ends_is_an_error() {
        let (_temp, mut client) = connected("");
        assert!(matches!(client.invite(), Err(ClientError::Closed)));
    }

    #[test]
    fn silence_ends_at_the_limit() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let stream = UnixStream::connect(&path).unwrap();
        let hello = serde_json::from_str(HELLO).unwrap();
        let stream = BufReader::new(stream);
        let mut client = Client {
            host: None,
            stream,
            socket: path,
            hello,
            near: String::new(),
            partial: Vec::new(),
            whole: Limit::Never,
            asked: 0,
            patience: Patience::ANSWER,
        };
        let mut replies = client.start(Call::Nodes {}).unwrap();
        let limit = Limit::within(Duration::from_millis(20));
        assert!(matches!(replies.next(limit), Ok(Heard::Nothing)));
    }

    #[test]
    fn a_line_that_has_begun_must_end() {
        let (_temp, path) = serve(&format!("{HELLO}\n"), |_| "{\"id\":1,".to_owned());
        let patience = Patience::of(Duration::from_millis(20));
        let mut client = Client::connect_with(&[path], patience).unwrap();
        let mut replies = client.start(Call::Nodes {}).unwrap();
        // Whoever waits for ever waits for a beginning.
        let error = replies.next(Limit::Never).unwrap_err();
        assert!(matches!(error, ClientError::Silent(_)), "{error}");
    }

    #[test]
    fn no_socket_names_what_was_tried() {
        let temp = tempfile::tempdir().unwrap();
        let (missing, dead) = (temp.path().join("missing"), temp.path().join("dead"));
        let error = Client::connect(std::slice::from_ref(&missing)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("missing (there is no such socket)"),
            "{error}"
        );
        assert_eq!(error.kind(), FailureKind::Unreachable);
        drop(UnixListener::bind(&dead).unwrap());
        let text = Client::connect(&[missing, dead]).unwrap_err().to_string();
        assert!(
            text.contains("dead (nobody listens)") && !text.contains("missing"),
            "{text}"
        );
    }

    #[test]
    fn own_sockets_table() {
        let look = |set: &'static [(&str, &str)]| {
            own_sockets(move |name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value.into())
            })
        };
        assert_eq!(look(&[]), [PathBuf::from("/var/lib/aque/aque.sock")]);
        assert_eq!(
            look(&[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/home/x")]),
            [
                "/run/user/7/aque.sock",
                "/home/x/.local/share/aque/aque.sock",
                "/var/lib/aque/aque.sock"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            look(&[("AQUE_DATA", "/d"), ("HOME", "relative")])[0],
            PathBuf::from("/d/aque.sock")
        );
    }
}
