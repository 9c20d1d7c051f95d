//! Who connects to the [socket](Socket), lines with a bound, and the way of each request to the event loop and back.
//!
//! A connection is a reader and a writer. The reader hands requests to the loop through one bounded queue, so a flood waits in
//! its own socket; the writer drains a bounded queue of replies, so a client that does not read loses its connection and
//! nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec};
use tracing::{debug, warn};

use super::answers::{Desk, Question, failure};
use super::codec::{Line, Lines};
use super::passage::Passage;
use super::rights::{Caller, Credentials, check_run_as, keep_group};
use super::socket::Socket;
use super::wire::{Body, Call, FailureKind, Hello, MAX_LINE, Reply, Request};

/// Clients that are connected at one time; a node has some 1,000 file descriptors.
const CLIENTS: usize = 200;
/// Of these so many at most are neither root's nor the node's own user's: those come in whatever others do.
const GUESTS: usize = 150;
/// A client that takes no line for so long is cut off.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a silent client, and the socket's name, is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why a socket serves nobody any more. Who is connected is served on.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// Its name is gone, or stands for something else.
    #[error("its name was removed, or given to something else")]
    Name,
    /// The kernel lets nobody in.
    #[error("nobody can be let in: {0}")]
    Io(io::Error),
}

impl Socket {
    /// Serves clients as long as they can come in. Safe to drop: connections end with the runtime.
    pub async fn serve(self: Arc<Self>, hello: Hello, questions: mpsc::Sender<Question>) -> Gone {
        let places = Places {
            clients: Arc::new(Semaphore::new(CLIENTS)),
            guests: Arc::new(Semaphore::new(GUESTS)),
        };
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener().accept() => accepted,
                _ = look.tick() => match self.is_in_place() {
                    true => continue,
                    false => return Gone::Name,
                },
            };
            match accepted {
                Ok((stream, _)) => match Credentials::of(&stream) {
                    Ok(who) => {
                        let client = (stream, who);
                        let_in(client, places.take(who), hello.clone(), questions.clone());
                    }
                    Err(error) => debug!(%error, "caller is unknown"),
                },
                Err(error) if is_lasting(&error) => return Gone::Io(error),
                Err(error) => {
                    warn!(%error, "client not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Whether no later client will fare better.
fn is_lasting(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK))
}

/// Room for clients.
#[derive(Debug)]
struct Places {
    clients: Arc<Semaphore>,
    guests: Arc<Semaphore>,
}

/// A client's place, for as long as it is kept.
type Place = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Places {
    fn take(&self, who: Credentials) -> Option<Place> {
        let guest = match who.rules() {
            true => None,
            false => Some(Arc::clone(&self.guests).try_acquire_owned().ok()?),
        };
        let client = Arc::clone(&self.clients).try_acquire_owned().ok()?;
        Some((client, guest))
    }
}

fn let_in(
    (stream, who): (UnixStream, Credentials),
    place: Option<Place>,
    hello: Hello,
    questions: mpsc::Sender<Question>,
) {
    tokio::spawn(async move {
        match place {
            Some(_place) => serve_socket(stream, who.named().await, hello, questions).await,
            None => turn_away(stream, &hello).await,
        }
    });
}

async fn serve_socket(
    stream: UnixStream,
    caller: Caller,
    hello: Hello,
    questions: mpsc::Sender<Question>,
) {
    let hang_up = match rustix::io::fcntl_dupfd_cloexec(&stream, 0) {
        Ok(again) => hang_up(again),
        Err(error) => return warn!(%error, "client not served"),
    };
    let (read, write) = stream.into_split();
    tokio::select! {
        () = serve_stream(read, write, caller, hello, questions) => {}
        () = hang_up => {}
    }
}

/// Waits until the client has closed its end for both directions: nobody will read answers then, while a client that has only
/// finished writing still does. An answer that is long in coming would not find out.
async fn hang_up(socket: OwnedFd) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // The kernel tells of a hang-up whether it is asked or not.
        let mut asked = [PollFd::new(&socket, PollFlags::empty())];
        let told = poll(&mut asked, Some(&Timespec::default()));
        if told.is_err() || asked[0].revents().contains(PollFlags::HUP) {
            return;
        }
    }
}

/// What becomes of answers that are open when a client has finished writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It gets them.
    Answers,
    /// Nobody reads them any more.
    None,
}

/// Serves one client over any stream until it has left, or has finished writing and got all its answers.
pub async fn serve_stream(
    read: impl AsyncRead + Send + Unpin,
    write: impl AsyncWrite + Send + Unpin,
    caller: Caller,
    hello: Hello,
    questions: mpsc::Sender<Question>,
) {
    let requests = FramedRead::new(read, Lines::up_to(MAX_LINE));
    serve_lines(
        requests,
        write,
        caller,
        (hello, questions),
        Farewell::Answers,
    )
    .await;
}

/// The same, for a client of which something was read already.
pub(super) async fn serve_lines<R: AsyncRead + Send + Unpin>(
    mut requests: FramedRead<R, Lines>,
    write: impl AsyncWrite + Send + Unpin,
    caller: Caller,
    (hello, questions): (Hello, mpsc::Sender<Question>),
    farewell: Farewell,
) {
    let mut replies = FramedWrite::new(write, LinesCodec::new());
    if say(&mut replies, &hello).await.is_err() {
        return;
    }
    let (desk, queue) = Desk::new();
    let passage = {
        let reading = read_requests(&mut requests, &caller, desk, &questions);
        let writing = write_replies(queue, &mut replies);
        tokio::pin!(writing);
        tokio::select! {
            () = &mut writing => None,
            passage = reading => {
                if passage.is_some() || farewell == Farewell::Answers {
                    writing.await;
                }
                passage
            }
        }
    };
    if let Some(passage) = passage {
        pass_lines(requests, replies, passage).await;
    }
}

/// Passes requests on to the event loop until the client has finished writing, or speaks to another host.
async fn read_requests<R: AsyncRead + Unpin>(
    requests: &mut FramedRead<R, Lines>,
    caller: &Caller,
    desk: Desk,
    questions: &mpsc::Sender<Question>,
) -> Option<Box<Passage>> {
    while let Some(Ok(line)) = requests.next().await {
        let turn = desk.turn().await?;
        let Request { id, mut call } = match request(&line) {
            Ok(request) => request,
            Err((id, why)) => {
                turn.answers(id).fail(FailureKind::Request, why, WORDS);
                continue;
            }
        };
        if let Err(failure) = check_run_as(caller, &call).await {
            turn.answers(id).end(Body::Error(failure));
            continue;
        }
        keep_group(caller, &mut call);
        let (answers, crossing) = match call {
            Call::Pass { .. } => {
                let (answers, passage) = turn.crossing(id);
                (answers, Some(passage))
            }
            _ => (turn.answers(id), None),
        };
        let caller = caller.clone();
        let question = Question {
            caller,
            call,
            answers,
        };
        questions.send(question).await.ok()?;
        if let Some(crossing) = crossing
            && let Ok(passage) = crossing.await
        {
            return Some(passage);
        }
    }
    None
}

/// Passes a client's lines on to another host, and that host's back, until either has left.
async fn pass_lines<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut requests: FramedRead<R, Lines>,
    mut replies: FramedWrite<W, LinesCodec>,
    passage: Box<Passage>,
) {
    let Passage {
        mut theirs,
        mut ours,
        ..
    } = *passage;
    let up = async {
        while let Some(Ok(Line::Whole(line))) = requests.next().await {
            ours.write_all(&line).await?;
            ours.write_all(b"\n").await?;
            ours.flush().await?;
        }
        Ok::<_, io::Error>(())
    };
    let down = async {
        while let Some(Ok(Line::Whole(line))) = theirs.next().await {
            let text = String::from_utf8_lossy(&line);
            let sent = tokio::time::timeout(WRITE_PATIENCE, replies.send(text));
            if !matches!(sent.await, Ok(Ok(()))) {
                return debug!("client left, or took no line for {WRITE_PATIENCE:?}");
            }
        }
    };
    tokio::pin!(down);
    let said = tokio::select! {
        () = &mut down => return,
        said = up => said,
    };
    match said {
        // It has finished writing, and reads on.
        Ok(()) => down.await,
        Err(error) => debug!(%error, "a client's line was not passed on"),
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
        let id = value
            .and_then(|value| value.get("id")?.as_u64())
            .unwrap_or(0);
        (id, format!("not a request: {error}"))
    })
}

async fn write_replies<W: AsyncWrite + Unpin>(
    mut queue: mpsc::Receiver<Reply>,
    replies: &mut FramedWrite<W, LinesCodec>,
) {
    while let Some(reply) = queue.recv().await {
        let Ok(line) = serde_json::to_string(&reply) else {
            continue;
        };
        let sent = tokio::time::timeout(WRITE_PATIENCE, async {
            replies.feed(line).await?;
            if queue.is_empty() {
                SinkExt::<String>::flush(replies).await
            } else {
                Ok(())
            }
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return debug!(%error, "client left"),
            Err(_) => {
                return warn!(
                    "client took no line for {WRITE_PATIENCE:?}; its connection is closed"
                );
            }
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
    let text = "as many clients are connected as may be";
    let body = failure(FailureKind::Busy, text, Some("try again in a moment"));
    let told = async {
        say(&mut replies, hello).await?;
        say(
            &mut replies,
            &Reply {
                id: 0,
                end: true,
                body,
            },
        )
        .await
    };
    if !matches!(tokio::time::timeout(WRITE_PATIENCE, told).await, Ok(Ok(()))) {
        debug!("client left before it was turned away");
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream as Client;

    use super::*;
    use crate::api::answers::Taken;
    use crate::api::wire::Invitation;

    fn hello() -> Hello {
        let text = String::new;
        Hello {
            aque: 1,
            version: text(),
            node: "here".to_owned(),
            tag: text(),
            mesh: text(),
        }
    }

    /// A server without a node: questions are answered by the test.
    struct Rig {
        dir: tempfile::TempDir,
        questions: mpsc::Receiver<Question>,
    }

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (ask, questions) = mpsc::channel(4);
            let socket = Socket::bind(&dir.path().join("aque.sock")).unwrap();
            tokio::spawn(Arc::new(socket).serve(hello(), ask));
            Self { dir, questions }
        }

        fn connect(&self) -> (Client, BufReader<Client>) {
            let client = Client::connect(self.dir.path().join("aque.sock")).unwrap();
            let mut lines = BufReader::new(client.try_clone().unwrap());
            assert!(line(&mut lines).contains("here"));
            (client, lines)
        }
    }

    fn line(lines: &mut impl BufRead) -> String {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    }

    fn ticket(text: &str) -> Body {
        Body::Invitation(Invitation {
            ticket: text.to_owned(),
        })
    }

    const INVITE: &[u8] = b"{\"id\":7,\"method\":\"invite\",\"params\":{}}\n";

    #[tokio::test(flavor = "multi_thread")]
    async fn garbage_is_answered_and_the_connection_lives() {
        let mut rig = Rig::new();
        let (mut client, mut lines) = rig.connect();
        let mut asking = tokio::task::spawn_blocking(move || {
            let mut refusal = |bytes: &[u8]| {
                client.write_all(bytes).unwrap();
                serde_json::from_str::<Reply>(&line(&mut lines)).unwrap()
            };
            let deep = [vec![b'['; 100_000], vec![b'\n']].concat();
            let long = [vec![b'x'; MAX_LINE + 1], vec![b'\n']].concat();
            let rows: [(&[u8], u64, &str); 6] = [
                (b"\n", 0, "not a request"),
                (b"\xff\xfe\0\n", 0, "not a request"),
                (b"{\"id\":5,\"method\":\"dance\"}\n", 5, "unknown variant"),
                (
                    b"{\"id\":6,\"method\":\"wait\",\"params\":{\"ids\":3}}\n",
                    6,
                    "invalid type",
                ),
                (&deep, 0, "not a request"),
                (&long, 0, "longer than"),
            ];
            for (bytes, id, why) in rows {
                let reply = refusal(bytes);
                let Body::Error(failure) = reply.body else {
                    panic!("{reply:?}")
                };
                assert!(
                    reply.end && reply.id == id && failure.message.contains(why),
                    "{failure:?}"
                );
            }
            // A line may come in pieces.
            let (first, second) = INVITE.split_at(9);
            client.write_all(first).unwrap();
            let reply = {
                client.write_all(second).unwrap();
                line(&mut lines)
            };
            assert!(reply.contains("aque1x"), "{reply}");
        });
        let question = tokio::select! {
            question = rig.questions.recv() => question.unwrap(),
            ended = &mut asking => panic!("only the last line is a question: {ended:?}"),
        };
        assert!(matches!(question.call, Call::Invite {}));
        assert_eq!(question.caller.uid, rustix::process::geteuid().as_raw());
        question.answers.end(ticket("aque1x"));
        asking.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_finished_writing_still_reads_and_who_hung_up_is_let_go() {
        let mut rig = Rig::new();
        let (mut client, mut lines) = rig.connect();
        client.write_all(INVITE).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let answers = rig.questions.recv().await.unwrap().answers;
        assert_eq!(answers.offer(ticket("one")), Taken::Yes);
        answers.end(ticket("two"));
        let reading = tokio::task::spawn_blocking(move || {
            let mut all = String::new();
            lines.read_to_string(&mut all).unwrap();
            all
        });
        assert_eq!(reading.await.unwrap().lines().count(), 2);
        let (mut client, lines) = rig.connect();
        client.write_all(INVITE).unwrap();
        let answers = rig.questions.recv().await.unwrap().answers;
        drop((client, lines));
        answers.left().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_does_not_read_holds_up_nobody_else() {
        let mut rig = Rig::new();
        let (mut greedy, _unread) = rig.connect();
        tokio::task::spawn_blocking(move || {
            // Until its own requests wait in its own socket; then the answers are long enough to fill the other direction.
            greedy.set_nonblocking(true).unwrap();
            while greedy.write_all(INVITE).is_ok() {}
            greedy
        });
        let long = "x".repeat(100_000);
        let mut open = Vec::new();
        while open.len() < crate::api::answers::OPEN_REQUESTS {
            open.push(rig.questions.recv().await.unwrap().answers);
        }
        while open[0].offer(ticket(&long)) == Taken::Yes {}
        let (mut client, mut lines) = rig.connect();
        client.write_all(INVITE).unwrap();
        rig.questions
            .recv()
            .await
            .unwrap()
            .answers
            .end(ticket("for you"));
        let read = tokio::task::spawn_blocking(move || line(&mut lines))
            .await
            .unwrap();
        assert!(read.contains("for you"), "{read}");
        for answers in open {
            answers.end(ticket(&long));
        }
    }
}
