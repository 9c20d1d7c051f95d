//! The socket: who connects, lines with a bound, and the way of each request to the event loop and back.
//!
//! A connection is a reader and a writer. The reader hands requests to the loop through one bounded queue, so a flood waits in
//! its own socket; the writer drains a bounded queue of replies, so a client that does not read loses its connection and
//! nothing else.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec};
use tracing::{debug, warn};

use super::answers::{Desk, Question, failure};
use super::codec::{Line, Lines};
use super::lines::Caller;
use super::wire::{FailureKind, Hello, MAX_LINE, Reply, Request};

/// Clients that are connected at one time; a node has some 1,000 file descriptors.
const CLIENTS: usize = 256;
/// A client that takes no line for so long is cut off.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a silent client is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The API's socket; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("another node answers at {}; name another socket with --api", .0.display())]
    InUse(PathBuf),
    /// Something else is in the way.
    #[error("{} is no socket; remove it, or name another with --api", .0.display())]
    NotASocket(PathBuf),
    /// The kernel's.
    #[error("cannot listen at {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            debug!(%error, "socket was gone already");
        }
    }
}

impl Socket {
    /// Listens at `path` for this user alone, replacing a socket that nobody answers at. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`]; what was there is left there.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        clear_way(path)?;
        // Nobody can connect before the mode is set: the socket gets its name afterwards.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let early = PathBuf::from(name);
        let bound = UnixListener::bind(&early).and_then(|listener| {
            std::fs::set_permissions(&early, std::fs::Permissions::from_mode(0o600))?;
            std::fs::rename(&early, path)?;
            Ok(Self { listener, path: path.to_owned() })
        });
        if bound.is_err() {
            // What failed is told already.
            let _removed = std::fs::remove_file(&early);
        }
        bound.map_err(failed)
    }

    /// Serves clients for ever. Safe to drop: connections end with the runtime.
    pub async fn serve(self, hello: Hello, questions: mpsc::Sender<Question>) {
        let clients = Arc::new(Semaphore::new(CLIENTS));
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (hello, questions) = (hello.clone(), questions.clone());
                    let place = Arc::clone(&clients).try_acquire_owned();
                    tokio::spawn(async move {
                        match (place, caller(&stream)) {
                            (Ok(_place), Ok(caller)) => serve_socket(stream, caller, hello, questions).await,
                            (Err(_), _) => turn_away(stream, &hello).await,
                            (_, Err(error)) => debug!(%error, "caller is unknown"),
                        }
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

fn clear_way(path: &Path) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(meta) if !meta.file_type().is_socket() => Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(SocketError::InUse(path.to_owned()))
        }
        Ok(_) => Ok(()),
    }
}

/// Reads from the kernel who is at the other end.
fn caller(stream: &UnixStream) -> io::Result<Caller> {
    let uid = stream.peer_cred()?.uid();
    Ok(Caller { uid, user: user_name(uid) })
}

/// Returns a user's name from `/etc/passwd`, or the number where there is none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&text, uid).unwrap_or_else(|| uid.to_string())
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

async fn serve_socket(
    stream: UnixStream,
    caller: Caller,
    hello: Hello,
    questions: mpsc::Sender<Question>,
) {
    let stream = Arc::new(stream);
    let hung_up = hung_up(Arc::clone(&stream));
    let (read, write) = (Half(Arc::clone(&stream)), Half(stream));
    tokio::select! {
        () = serve_stream(read, write, caller, hello, questions) => {}
        () = hung_up => {}
    }
}

/// Waits until the client has closed its end for both directions: then nobody will read answers, while one that has only
/// finished writing still does. The kernel tells this only together with other readiness, hence the looking.
async fn hung_up(stream: Arc<UnixStream>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match stream.ready(Interest::WRITABLE).await {
            Ok(ready) if !ready.is_write_closed() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Serves one client over any stream until it has left, or has finished writing and got all its answers.
pub async fn serve_stream(
    read: impl AsyncRead + Send + Unpin,
    write: impl AsyncWrite + Send + Unpin,
    caller: Caller,
    hello: Hello,
    questions: mpsc::Sender<Question>,
) {
    let mut requests = FramedRead::new(read, Lines::up_to(MAX_LINE));
    let mut replies = FramedWrite::new(write, LinesCodec::new());
    if say(&mut replies, &hello).await.is_err() {
        return;
    }
    let (desk, queue) = Desk::new();
    let reading = async move {
        while let Some(Ok(line)) = requests.next().await {
            let Some(turn) = desk.turn().await else { break };
            match request(&line) {
                Ok(Request { id, call }) => {
                    let question = Question { caller: caller.clone(), call, answers: turn.answers(id) };
                    if questions.send(question).await.is_err() {
                        break;
                    }
                }
                Err((id, why)) => turn.answers(id).fail(FailureKind::Request, why, WORDS),
            }
        }
    };
    let writing = write_replies(queue, replies);
    tokio::pin!(writing);
    tokio::select! {
        () = &mut writing => {}
        () = reading => writing.await,
    }
}

const WORDS: Option<&str> = Some("docs/formats.md describes the API's lines");

/// Reads a request, or says what is wrong with it and which one it was.
fn request(line: &Line) -> Result<Request, (u64, String)> {
    let bytes = match line {
        Line::Whole(bytes) => bytes,
        Line::TooLong => return Err((0, format!("the line is longer than {MAX_LINE} bytes"))),
    };
    serde_json::from_slice(bytes).map_err(|error| {
        let value = serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let id = value.and_then(|value| value.get("id")?.as_u64()).unwrap_or(0);
        (id, format!("not a request: {error}"))
    })
}

async fn write_replies<W: AsyncWrite + Unpin>(
    mut queue: mpsc::Receiver<Reply>,
    mut replies: FramedWrite<W, LinesCodec>,
) {
    while let Some(reply) = queue.recv().await {
        let Ok(line) = serde_json::to_string(&reply) else { continue };
        let sent = tokio::time::timeout(WRITE_PATIENCE, async {
            replies.feed(line).await?;
            if queue.is_empty() { SinkExt::<String>::flush(&mut replies).await } else { Ok(()) }
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return debug!(%error, "client left"),
            Err(_) => return warn!("client took no line for {WRITE_PATIENCE:?}; its connection is closed"),
        }
    }
}

async fn say<W: AsyncWrite + Unpin>(
    replies: &mut FramedWrite<W, LinesCodec>,
    line: &impl serde::Serialize,
) -> io::Result<()> {
    let text = serde_json::to_string(line)?;
    replies.send(text).await.map_err(io::Error::other)
}

async fn turn_away(stream: UnixStream, hello: &Hello) {
    let mut replies = FramedWrite::new(stream, LinesCodec::new());
    let text = format!("{CLIENTS} clients are connected, which is the limit");
    let body = failure(FailureKind::Busy, text, Some("try again in a moment"));
    let told = async {
        say(&mut replies, hello).await?;
        say(&mut replies, &Reply { id: 0, end: true, body }).await
    };
    if !matches!(tokio::time::timeout(WRITE_PATIENCE, told).await, Ok(Ok(()))) {
        debug!("client left before it was turned away");
    }
}

/// One direction of a socket that both directions share.
struct Half(Arc<UnixStream>);
