//! The socket: who connects, lines with a bound, and the way of each request to the event loop and back.
//!
//! A connection is a reader and a writer. The reader hands requests to the loop through one bounded queue, so a flood waits in
//! its own socket; the writer drains a bounded queue of replies, so a client that does not read loses its connection and
//! nothing else.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec, LinesCodecError};
use tracing::{debug, warn};

use super::lines::Caller;
use super::wire::{Body, Call, Failure, FailureKind, Hello, MAX_LINE, Reply, Request};

/// Replies that wait for one client; a slower one is cut off.
const REPLY_QUEUE: usize = 256;
/// A client that takes no line for so long is cut off.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// A request on its way to the event loop.
#[derive(Debug)]
pub struct Question {
    /// Who asks.
    pub caller: Caller,
    /// What.
    pub call: Call,
    /// Where the answer goes.
    pub answers: Answers,
}

/// The way back to the client that asked.
#[derive(Clone, Debug)]
pub struct Answers {
    id: u64,
    lines: mpsc::Sender<Reply>,
}

impl Answers {
    /// Sends the last line of an answer.
    pub fn end(&self, body: Body) {
        self.offer(Reply {
            id: self.id,
            end: true,
            body,
        });
    }

    /// Sends a line with more to come; one that finds the queue full is dropped. Says whether the client is still there.
    pub fn more(&self, body: Body) -> bool {
        self.offer(Reply {
            id: self.id,
            end: false,
            body,
        });
        !self.lines.is_closed()
    }

    /// Sends a line with more to come, and waits for room. Says whether the client is still there.
    pub async fn push(&self, body: Body) -> bool {
        self.lines
            .send(Reply {
                id: self.id,
                end: false,
                body,
            })
            .await
            .is_ok()
    }

    /// Sends the last line, and waits for room.
    pub async fn finish(&self, body: Body) {
        let reply = Reply {
            id: self.id,
            end: true,
            body,
        };
        if self.lines.send(reply).await.is_err() {
            debug!("client left before its answer");
        }
    }

    /// Says that the request failed.
    pub fn fail(&self, kind: FailureKind, message: impl Into<String>, hint: Option<&str>) {
        self.end(failure(kind, message, hint));
    }

    /// Says whether a line can be sent now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.lines.capacity() > 1
    }

    /// Waits until the client has left. Safe to drop.
    pub async fn closed(&self) {
        self.lines.closed().await;
    }

    /// Says whether the client has left.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }

    fn offer(&self, reply: Reply) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.lines.try_send(reply) {
            warn!("client reads too slowly; a line was dropped");
        }
    }
}

/// Returns the body of a failure.
#[must_use]
pub fn failure(kind: FailureKind, message: impl Into<String>, hint: Option<&str>) -> Body {
    Body::Error(Failure {
        kind,
        message: message.into(),
        hint: hint.map(str::to_owned),
    })
}

/// The API's socket; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            debug!(%error, "socket was gone already");
        }
    }
}

impl Socket {
    /// Listens at `path`, replacing a socket that nobody answers at.
    ///
    /// # Errors
    /// Another process answers there, or the kernel's.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        if path.exists() {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another node answers there",
                ));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves clients for ever. Safe to drop: connections end with the runtime.
    pub async fn serve(self, hello: Hello, questions: mpsc::Sender<Question>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (hello, questions) = (hello.clone(), questions.clone());
                    tokio::spawn(async move {
                        let Ok(caller) = caller(&stream) else { return };
                        serve_stream(stream, caller, hello, questions).await;
                    });
                }
                Err(error) => {
                    warn!(%error, "client not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Reads from the kernel who is at the other end.
fn caller(stream: &UnixStream) -> io::Result<Caller> {
    let uid = stream.peer_cred()?.uid();
    Ok(Caller {
        uid,
        user: user_name(uid),
    })
}

/// Returns a user's name from `/etc/passwd`, or the number where there is none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let wanted = uid.to_string();
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then(|| name.to_owned())
    });
    found.unwrap_or(wanted)
}

/// Serves one client over any stream, until it leaves or sends what is no request line.
pub async fn serve_stream<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    caller: Caller,
    hello: Hello,
    questions: mpsc::Sender<Question>,
) {
    let (read, write) = tokio::io::split(stream);
    let mut requests = FramedRead::new(read, LinesCodec::new_with_max_length(MAX_LINE));
    let mut replies = FramedWrite::new(write, LinesCodec::new());
    let Ok(greeting) = serde_json::to_string(&hello) else {
        return;
    };
    if replies.send(greeting).await.is_err() {
        return;
    }
    let (lines, queue) = mpsc::channel(REPLY_QUEUE);
    let writer = tokio::spawn(write_replies(queue, replies));
    while let Some(line) = requests.next().await {
        if !take_line(line, &caller, &lines, &questions).await {
            break;
        }
    }
    drop(lines);
    if writer.await.is_err() {
        debug!("writer ended early");
    }
}

async fn take_line(
    line: Result<String, LinesCodecError>,
    caller: &Caller,
    lines: &mpsc::Sender<Reply>,
    questions: &mpsc::Sender<Question>,
) -> bool {
    let refuse = async |id: u64, message: String| {
        let body = failure(
            FailureKind::Request,
            message,
            Some("the words of the API are in docs/formats.md"),
        );
        lines
            .send(Reply {
                id,
                end: true,
                body,
            })
            .await
            .is_ok()
    };
    let line = match line {
        Ok(line) => line,
        Err(LinesCodecError::MaxLineLengthExceeded) => {
            let too_long = format!("a line is longer than {MAX_LINE} bytes");
            // The rest of the line cannot be told from the next one: the connection ends.
            refuse(0, too_long).await;
            return false;
        }
        Err(LinesCodecError::Io(_)) => return false,
    };
    match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let answers = Answers {
                id: request.id,
                lines: lines.clone(),
            };
            let question = Question {
                caller: caller.clone(),
                call: request.call,
                answers,
            };
            questions.send(question).await.is_ok()
        }
        Err(error) => {
            let id = serde_json::from_str::<serde_json::Value>(&line)
                .ok()
                .and_then(|value| value.get("id")?.as_u64())
                .unwrap_or(0);
            refuse(id, format!("not a request: {error}")).await
        }
    }
}

async fn write_replies<W: AsyncWrite + Unpin>(
    mut queue: mpsc::Receiver<Reply>,
    mut replies: FramedWrite<W, LinesCodec>,
) {
    while let Some(reply) = queue.recv().await {
        let Ok(line) = serde_json::to_string(&reply) else {
            continue;
        };
        let sent = tokio::time::timeout(WRITE_PATIENCE, async {
            replies.feed(line).await?;
            if queue.is_empty() {
                SinkExt::<String>::flush(&mut replies).await
            } else {
                Ok(())
            }
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
