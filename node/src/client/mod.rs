//! The client: one blocking connection to a node, JSON lines in both directions.
//!
//! No runtime and no thread, so that a program that asks one question starts in milliseconds. A line is read
//! with a bound ([`MAX_LINE`]) and a time limit; whatever answers garbage, too much, half of it, or nothing at all is an error here
//! and never a hang ([`Patience`]). Lines of earlier questions that nobody waits for any more are skipped.
//!
//! Reading order: here the connection and its lines, `replies` and `questions` on them, `waits` for tasks, `error`.

mod error;
mod questions;
mod replies;
#[cfg(test)]
mod tests;
mod waits;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::de::DeserializeOwned;

use crate::api::wire::{Body, Call, Hello, MAX_LINE, Reply, Request, SCHEMA};
use error::is_reset;

pub use error::{Attempt, ClientError, strange};
pub use replies::{Heard, Limit, Replies};
pub(crate) use waits::{AWAY, TRY_EVERY};

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
