//! Captured output, from whichever host has it: stored streams by digest, live ones as they grow.
//!
//! Between peers: one stream a request. The asker sends a length-prefixed [`Wanted`]; the other side answers with pieces, each
//! behind its length; a length of 0 ends well, [`FAILED`] announces the reason for a failure. What has a digest is hashed by
//! the receiver as it passes; a difference is an error, whoever sent it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crdt::ids::{Digest, PeerId, RunId, TaskId};
use crdt::task::{Arg, Captured, TaskState};
use net::{Net, PeerKey, Stream};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

use super::node::Node;
use crate::api::lines::Names;
use crate::api::server::{Answers, failure};
use crate::api::wire::{Body, FailureKind, OutputPiece, OutputQuery, StreamName};
use crate::guard::RunKey;
use crate::outputs::Outputs;

/// The protocol on which peers ask for output.
pub(super) const OUTPUT_PROTOCOL: &str = "/aque/output/1";
/// The length that announces the reason for a failure.
const FAILED: u32 = u32::MAX;
/// Pieces are at most this long, bytes.
const PIECE: usize = 64 << 10;
/// A request is at most this long, bytes.
const REQUEST: usize = 1_024;
/// A growing file is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// What `-n` keeps at most of one stream, bytes.
const TAIL_LIMIT: usize = 64 << 20;
/// A peer has so long for each step.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a task's output is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// No such task.
    Unknown,
    /// It has not started.
    Waiting(TaskState),
    /// It runs; its files grow on this host.
    Live(PeerId, RunId),
    /// It ended; its streams are stored on this host.
    Stored(PeerId, RunId, Captured, Captured),
    /// It ended and left none.
    Nothing,
}

/// Asks the event loop for a task's place.
#[derive(Debug)]
pub(super) struct Locate {
    pub(super) task: TaskId,
    pub(super) answer: oneshot::Sender<(Place, Option<RunKey>)>,
}

/// What one peer asks of another.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wanted {
    run: RunId,
    stream: StreamName,
    from: u64,
    what: What,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum What {
    /// What is there by now.
    Now,
    /// Everything until the run ends.
    Follow,
    /// A stored stream.
    Stored(Digest),
}

impl Node {
    /// Returns where a task's output is, and the guard's handle if it runs here.
    pub(super) fn place_of(&self, task: TaskId) -> (Place, Option<RunKey>) {
        let Some(view) = self.replica.task(task) else {
            return (Place::Unknown, None);
        };
        if let Some(outcome) = &view.outcome {
            let (epoch, _) = outcome.origin;
            let place = match (view.host, outcome.report) {
                (Some(host), Some(report)) => {
                    Place::Stored(host, RunId { task, epoch }, report.stdout, report.stderr)
                }
                (_, _) => Place::Nothing,
            };
            return (place, None);
        }
        if view.state.is_complete() {
            return (Place::Nothing, None);
        }
        let run = RunId {
            task,
            epoch: view.epoch,
        };
        match view.host {
            Some(host) if view.state == TaskState::Running => {
                (Place::Live(host, run), self.runs.key(run))
            }
            Some(_) | None => (Place::Waiting(view.state), None),
        }
    }
}

/// What output streams need of a node.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) outputs: Arc<Outputs>,
    pub(super) net: Net,
    pub(super) locate: mpsc::Sender<Locate>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) own: PeerId,
}

type Pieces = mpsc::Receiver<io::Result<Bytes>>;

impl Server {
    async fn locate(&self, task: TaskId) -> (Place, Option<RunKey>) {
        let (answer, place) = oneshot::channel();
        if self.locate.send(Locate { task, answer }).await.is_err() {
            return (Place::Unknown, None);
        }
        place.await.unwrap_or((Place::Unknown, None))
    }

    /// Answers a client's request for output.
    pub(super) async fn answer(
        mut self,
        task: TaskId,
        query: OutputQuery,
        names: Names,
        answers: Answers,
    ) {
        let mut sent = Sent {
            run: None,
            stdout: 0,
            stderr: 0,
        };
        loop {
            let (place, _) = self.locate(task).await;
            let done = match place {
                Place::Unknown => {
                    let text = format!("no task {task} is known here");
                    return answers.fail(FailureKind::Request, text, None);
                }
                Place::Nothing => true,
                Place::Waiting(_) => !query.follow,
                Place::Live(host, run) => {
                    let what = if query.follow {
                        What::Follow
                    } else {
                        What::Now
                    };
                    sent.start(run);
                    let shown =
                        self.show(host, run, [what; 2], &mut sent, &query, &names, &answers);
                    // A host that is lost meanwhile is not the end: the task runs again elsewhere.
                    match shown.await {
                        Ok(()) => !query.follow,
                        Err(problem) if query.follow => {
                            debug!(%task, %problem, "live output broke off");
                            false
                        }
                        Err(problem) => return unreachable_host(&answers, &names, host, &problem),
                    }
                }
                Place::Stored(host, run, stdout, stderr) => {
                    sent.start(run);
                    let what = [stdout, stderr].map(|s| s.digest.map_or(What::Now, What::Stored));
                    sent.skip_empty(stdout, stderr);
                    let shown = self.show(host, run, what, &mut sent, &query, &names, &answers);
                    if let Err(problem) = shown.await {
                        return unreachable_host(&answers, &names, host, &problem);
                    }
                    true
                }
            };
            if done || answers.is_closed() {
                break;
            }
            if !self.wait_for_change(&answers).await {
                break;
            }
        }
        let data = Arg(Vec::new());
        let last = OutputPiece {
            stream: StreamName::Stdout,
            host: None,
            data,
        };
        answers.finish(Body::Output(last)).await;
    }

    /// Waits until some task has changed. Says whether it is worth going on.
    async fn wait_for_change(&mut self, answers: &Answers) -> bool {
        tokio::select! {
            changed = self.changes.changed() => changed.is_ok(),
            () = answers.closed() => false,
        }
    }

    /// Shows both streams of a run, side by side.
    #[expect(
        clippy::too_many_arguments,
        reason = "private; each is one thing that a request names"
    )]
    async fn show(
        &self,
        host: PeerId,
        run: RunId,
        what: [What; 2],
        sent: &mut Sent,
        query: &OutputQuery,
        names: &Names,
        answers: &Answers,
    ) -> io::Result<()> {
        let lines = query
            .last_lines
            .filter(|_| !matches!(what[0], What::Follow));
        let name = names.name(host);
        let one = async |stream: StreamName, what: What, from: Option<u64>| -> io::Result<u64> {
            let Some(from) = from.filter(|_| query.only.is_none_or(|only| only == stream)) else {
                return Ok(0);
            };
            let mut pieces = self
                .pieces(
                    host,
                    Wanted {
                        run,
                        stream,
                        from,
                        what,
                    },
                )
                .await?;
            let mut way = Way {
                stream,
                name: &name,
                answers,
                tail: lines.map(Tail::new),
                sent: 0,
            };
            while let Some(piece) = pieces.recv().await {
                way.pass(&piece?).await?;
            }
            way.end().await
        };
        let (stdout, stderr) = futures::join!(
            one(StreamName::Stdout, what[0], sent.from(StreamName::Stdout)),
            one(StreamName::Stderr, what[1], sent.from(StreamName::Stderr)),
        );
        sent.stdout = sent.stdout.saturating_add(*stdout.as_ref().unwrap_or(&0));
        sent.stderr = sent.stderr.saturating_add(*stderr.as_ref().unwrap_or(&0));
        stdout.and(stderr).map(|_| ())
    }

    /// Returns the pieces of one stream, from this host or another.
    async fn pieces(&self, host: PeerId, wanted: Wanted) -> io::Result<Pieces> {
        if host == self.own {
            return Ok(self.read_here(wanted));
        }
        let opened = self.net.open(PeerKey(host.0), OUTPUT_PROTOCOL).await;
        let stream = opened.map_err(|error| io::Error::other(error.to_string()))?;
        let (sender, pieces) = mpsc::channel(8);
        tokio::spawn(async move {
            let digest = match wanted.what {
                What::Stored(digest) if wanted.from == 0 => Some(digest),
                What::Stored(_) | What::Now | What::Follow => None,
            };
            if let Err(error) = receive(stream, &wanted, digest, &sender).await {
                tell(&sender, Err(error)).await;
            }
        });
        Ok(pieces)
    }

    fn read_here(&self, wanted: Wanted) -> Pieces {
        let (sender, pieces) = mpsc::channel(8);
        let server = self.clone();
        tokio::spawn(async move {
            if let Err(error) = server.read(wanted, &sender).await {
                tell(&sender, Err(error)).await;
            }
        });
        pieces
    }

    /// Reads one stream of this host.
    async fn read(&self, wanted: Wanted, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let Some(mut file) = self.open_here(&wanted).await? else {
            return Ok(());
        };
        file.seek(io::SeekFrom::Start(wanted.from)).await?;
        loop {
            // Asked before reading: what a run wrote before its end is read after it.
            let grows =
                matches!(wanted.what, What::Follow) && self.live_path(&wanted).await.is_some();
            if !copy(&mut file, to).await? || !grows {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn open_here(&self, wanted: &Wanted) -> io::Result<Option<tokio::fs::File>> {
        if let What::Stored(Digest(digest)) = wanted.what {
            let stored = self.outputs.read(crate::outputs::Digest(digest))?;
            let gone =
                || io::Error::new(io::ErrorKind::NotFound, "it is not stored there any more");
            return stored
                .map(tokio::fs::File::from_std)
                .ok_or_else(gone)
                .map(Some);
        }
        let Some(path) = self.live_path(wanted).await else {
            return Ok(None);
        };
        match tokio::fs::File::open(&path).await {
            Ok(file) => Ok(Some(file)),
            // A live file that is gone has just been stored, or was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn live_path(&self, wanted: &Wanted) -> Option<PathBuf> {
        let (place, key) = self.locate(wanted.run.task).await;
        let lives = matches!(place, Place::Live(_, run) if run == wanted.run);
        let stream = match wanted.stream {
            StreamName::Stdout => crate::outputs::Stream::Out,
            StreamName::Stderr => crate::outputs::Stream::Err,
        };
        key.filter(|_| lives)
            .map(|key| self.outputs.live(key, stream))
    }

    /// Serves a peer's request.
    pub(super) async fn serve_peer(self, mut stream: Stream) {
        let served = async {
            let wanted: Wanted =
                tokio::time::timeout(PATIENCE, read_request(&mut stream)).await??;
            let mut pieces = self.read_here(wanted);
            while let Some(piece) = pieces.recv().await {
                tokio::time::timeout(PATIENCE, write_piece(&mut stream, piece)).await??;
            }
            tokio::time::timeout(PATIENCE, async {
                stream.write_u32(0).await?;
                stream.shutdown().await
            })
            .await?
        };
        if let Err(error) = served.await {
            debug!(%error, "output for a peer broke off");
        }
    }
}

fn unreachable_host(answers: &Answers, names: &Names, host: PeerId, problem: &io::Error) {
    let text = format!(
        "the output is on host {} and could not be read: {problem}",
        names.name(host)
    );
    answers.end(failure(
        FailureKind::Unreachable,
        text,
        Some("aque nodes shows which hosts are alive"),
    ));
}

async fn tell(to: &mpsc::Sender<io::Result<Bytes>>, piece: io::Result<Bytes>) {
    if to.send(piece).await.is_err() {
        debug!("reader of output left");
    }
}

/// Copies what a file holds from its position on. Says whether the reader is still there.
async fn copy(
    file: &mut tokio::fs::File,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<bool> {
    loop {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Ok(!to.is_closed());
        }
        piece.truncate(read);
        if to.send(Ok(piece.into())).await.is_err() {
            return Ok(false);
        }
    }
}

async fn read_request(stream: &mut Stream) -> io::Result<Wanted> {
    let len = stream.read_u32().await? as usize;
    if len > REQUEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "request too long",
        ));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    postcard::from_bytes(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a request for output"))
}

async fn write_piece(stream: &mut Stream, piece: io::Result<Bytes>) -> io::Result<()> {
    let (mark, bytes) = match piece {
        Ok(bytes) => (u32::try_from(bytes.len()).map_err(io::Error::other)?, bytes),
        Err(error) => {
            let mut text = error.to_string();
            text.truncate(200);
            stream.write_u32(FAILED).await?;
            (
                u32::try_from(text.len()).map_err(io::Error::other)?,
                Bytes::from(text),
            )
        }
    };
    stream.write_u32(mark).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Asks a peer and passes on what it sends, hashed where the digest is known.
async fn receive(
    mut stream: Stream,
    wanted: &Wanted,
    digest: Option<Digest>,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let request = postcard::to_stdvec(wanted).map_err(io::Error::other)?;
    stream
        .write_u32(u32::try_from(request.len()).map_err(io::Error::other)?)
        .await?;
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut hasher = blake3::Hasher::new();
    loop {
        // A task that prints nothing for hours is no broken peer: the transport finds those.
        let len = stream.read_u32().await?;
        if len == 0 {
            break;
        }
        if len == FAILED {
            let len = stream.read_u32().await?.min(200) as usize;
            let mut text = vec![0; len];
            stream.read_exact(&mut text).await?;
            return Err(io::Error::other(
                String::from_utf8_lossy(&text).into_owned(),
            ));
        }
        if len as usize > PIECE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "piece too long"));
        }
        let mut piece = vec![0; len as usize];
        stream.read_exact(&mut piece).await?;
        hasher.update(&piece);
        if to.send(Ok(piece.into())).await.is_err() {
            return Ok(());
        }
    }
    match digest {
        Some(digest) if *hasher.finalize().as_bytes() != digest.0 => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its hash is not what the run's outcome says",
        )),
        Some(_) | None => Ok(()),
    }
}

/// How much of a run's streams a client has got already.
#[derive(Debug)]
struct Sent {
    run: Option<RunId>,
    stdout: u64,
    stderr: u64,
}

impl Sent {
    /// Another run begins anew.
    fn start(&mut self, run: RunId) {
        if self.run != Some(run) {
            *self = Self {
                run: Some(run),
                stdout: 0,
                stderr: 0,
            };
        }
    }

    /// Marks empty streams as shown.
    fn skip_empty(&mut self, stdout: Captured, stderr: Captured) {
        if stdout.len == 0 {
            self.stdout = u64::MAX;
        }
        if stderr.len == 0 {
            self.stderr = u64::MAX;
        }
    }

    fn from(&self, stream: StreamName) -> Option<u64> {
        let sent = match stream {
            StreamName::Stdout => self.stdout,
            StreamName::Stderr => self.stderr,
        };
        (sent != u64::MAX).then_some(sent)
    }
}

/// One stream's way to a client.
struct Way<'a> {
    stream: StreamName,
    name: &'a str,
    answers: &'a Answers,
    tail: Option<Tail>,
    sent: u64,
}

impl Way<'_> {
    async fn pass(&mut self, piece: &[u8]) -> io::Result<()> {
        self.sent += piece.len() as u64;
        match &mut self.tail {
            Some(tail) => {
                tail.push(piece);
                Ok(())
            }
            None => self.line(piece).await,
        }
    }

    async fn line(&self, piece: &[u8]) -> io::Result<()> {
        let (host, data) = (Some(self.name.to_owned()), Arg(piece.to_vec()));
        let piece = OutputPiece {
            stream: self.stream,
            host,
            data,
        };
        if self.answers.push(Body::Output(piece)).await {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client left"))
        }
    }

    async fn end(mut self) -> io::Result<u64> {
        if let Some(tail) = self.tail.take() {
            for piece in tail.finish().chunks(PIECE) {
                self.line(piece).await?;
            }
        }
        Ok(self.sent)
    }
}

/// The last lines of a stream.
#[derive(Debug)]
struct Tail {
    lines: usize,
    kept: Vec<u8>,
}

impl Tail {
    fn new(lines: u32) -> Self {
        Self {
            lines: lines as usize,
            kept: Vec::new(),
        }
    }

    fn push(&mut self, piece: &[u8]) {
        self.kept.extend_from_slice(piece);
        if self.kept.len() > 1 << 20 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // A last line need not end with a newline; what precedes the first kept line's start goes.
        let body = self.kept.len().saturating_sub(1);
        let mut starts = (0..body)
            .rev()
            .filter(|at| self.kept[*at] == b'\n')
            .map(|at| at + 1);
        let start = match self.lines {
            0 => self.kept.len(),
            lines => starts.nth(lines - 1).unwrap_or(0),
        };
        let least = self.kept.len().saturating_sub(TAIL_LIMIT);
        self.kept.drain(..start.max(least));
    }

    fn finish(mut self) -> Vec<u8> {
        self.cut();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_table() {
        let rows: [(&str, u32, &str); 7] = [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 5, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 1, "\n"),
            ("one", 1, "one"),
        ];
        for (text, lines, want) in rows {
            let mut tail = Tail::new(lines);
            for byte in text.as_bytes() {
                tail.push(&[*byte]);
            }
            assert_eq!(
                String::from_utf8_lossy(&tail.finish()),
                want,
                "{text:?} {lines}"
            );
        }
    }
}
