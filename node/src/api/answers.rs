//! A question of a client, and the way back to it.
//!
//! Each connection has one bounded queue of replies. A place for the last line of every answer is reserved before its question is
//! asked, so the event loop can always end an answer without waiting; lines before it find room, wait for it or are left out.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::debug;

use super::passage::Passage;
use super::rights::Caller;
use super::wire::{Body, Call, Failure, FailureKind, Reply};

/// Requests of one connection that have no last line yet; the next one waits in its socket.
pub const OPEN_REQUESTS: usize = 128;
/// Lines before the last ones that wait for one client.
const LINES: usize = 64;

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

/// The way back to the client that asked. A client whose answer comes to its end by a panic is told so.
#[derive(Debug)]
pub struct Answers {
    id: u64,
    lines: mpsc::Sender<Reply>,
    /// Taken by the last line.
    last: Option<mpsc::OwnedPermit<Reply>>,
    /// Who takes a passage to another host, if the client asked for one.
    passage: Option<oneshot::Sender<Box<Passage>>>,
    _turn: OwnedSemaphorePermit,
}

/// Whether a line was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is on its way.
    Yes,
    /// The client reads slowly and there is no room now.
    NoRoom,
    /// The client has left.
    Left,
}

impl Answers {
    /// Sends the last line of an answer. Never waits.
    pub fn end(mut self, body: Body) {
        self.send_last(body);
    }

    fn send_last(&mut self, body: Body) {
        let (id, end) = (self.id, true);
        if let Some(last) = self.last.take() {
            last.send(Reply { id, end, body });
        }
    }

    /// Lets the client speak to another host from now on.
    pub fn pass(mut self, passage: Box<Passage>) {
        let body = Body::Passed(passage.hello().clone());
        let taken = self.passage.take().map(|to| to.send(passage));
        if !matches!(taken, Some(Ok(()))) {
            debug!("a client left before it was passed on");
        }
        self.end(body);
    }

    /// Says that the request failed.
    pub fn fail(self, kind: FailureKind, message: impl Into<String>, hint: Option<&str>) {
        self.end(failure(kind, message, hint));
    }

    /// Sends a line with more to come, if there is room for it now.
    pub fn offer(&self, body: Body) -> Taken {
        match self.lines.try_send(Reply {
            id: self.id,
            end: false,
            body,
        }) {
            Ok(()) => Taken::Yes,
            Err(TrySendError::Full(_)) => Taken::NoRoom,
            Err(TrySendError::Closed(_)) => Taken::Left,
        }
    }

    /// Sends a line with more to come, and waits for room: [`Taken::Yes`] or [`Taken::Left`]. Safe to drop: the line is sent or not.
    pub async fn push(&self, body: Body) -> Taken {
        match self
            .lines
            .send(Reply {
                id: self.id,
                end: false,
                body,
            })
            .await
        {
            Ok(()) => Taken::Yes,
            Err(_) => Taken::Left,
        }
    }

    /// Waits until the client has left. Safe to drop.
    pub async fn left(&self) {
        self.lines.closed().await;
    }

    /// Says whether the client has left.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = "the node made a mistake over this request";
            let hint = "'aque doctor' tells which, under parts";
            self.send_last(failure(FailureKind::Busy, message, Some(hint)));
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

/// The replies of one connection: where answers to its requests begin.
#[derive(Debug)]
pub struct Desk {
    lines: mpsc::Sender<Reply>,
    turns: Arc<Semaphore>,
}

impl Desk {
    /// Returns a desk and the queue that its connection's writer drains.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Reply>) {
        let (lines, queue) = mpsc::channel(OPEN_REQUESTS + LINES);
        (
            Self {
                lines,
                turns: Arc::new(Semaphore::new(OPEN_REQUESTS)),
            },
            queue,
        )
    }

    /// Waits until the connection may have another request open; `None` when its client has left. Safe to drop.
    pub async fn turn(&self) -> Option<Turn> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let last = self.lines.clone().reserve_owned().await.ok()?;
        Some(Turn {
            lines: self.lines.clone(),
            last,
            turn,
        })
    }
}

/// Leave to open one request.
#[derive(Debug)]
pub struct Turn {
    lines: mpsc::Sender<Reply>,
    last: mpsc::OwnedPermit<Reply>,
    turn: OwnedSemaphorePermit,
}

impl Turn {
    /// Returns the way back for the request with this id.
    #[must_use]
    pub fn answers(self, id: u64) -> Answers {
        Answers {
            id,
            lines: self.lines,
            last: Some(self.last),
            passage: None,
            _turn: self.turn,
        }
    }

    /// Returns the way back for a request to be passed on to another host, and where the passage comes from.
    #[must_use]
    pub fn crossing(self, id: u64) -> (Answers, oneshot::Receiver<Box<Passage>>) {
        let (give, passage) = oneshot::channel();
        let mut answers = self.answers(id);
        answers.passage = Some(give);
        (answers, passage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::Invitation;

    fn body() -> Body {
        Body::Invitation(Invitation {
            ticket: String::new(),
        })
    }

    #[tokio::test]
    async fn an_answer_can_always_end() {
        let (desk, mut queue) = Desk::new();
        let mut open = Vec::new();
        for id in 0..OPEN_REQUESTS as u64 {
            open.push(desk.turn().await.expect("there is room").answers(id));
        }
        assert!(
            futures::poll!(std::pin::pin!(desk.turn())).is_pending(),
            "no more requests are open"
        );
        while open[0].offer(body()) == Taken::Yes {}
        assert_eq!(open[1].offer(body()), Taken::NoRoom);
        for answers in open {
            answers.end(body());
        }
        let turn = desk.turn();
        let mut ended = 0;
        while let Ok(reply) = queue.try_recv() {
            ended += usize::from(reply.end);
        }
        assert_eq!(ended, OPEN_REQUESTS);
        let answers = turn.await.expect("there is room again").answers(7);
        drop(queue);
        assert_eq!(
            (answers.offer(body()), answers.push(body()).await),
            (Taken::Left, Taken::Left)
        );
        answers.left().await;
        answers.end(body());
    }

    #[tokio::test]
    async fn an_answer_that_panics_ends() {
        let (desk, mut queue) = Desk::new();
        let answers = desk.turn().await.expect("there is room").answers(3);
        let answering = tokio::spawn(async move {
            assert_eq!(answers.push(body()).await, Taken::Yes);
            panic!("a mistake");
        });
        assert!(answering.await.is_err_and(|ended| ended.is_panic()));
        assert!(!queue.recv().await.expect("its first line").end);
        let last = queue.recv().await.expect("its last line");
        assert!(last.end && last.id == 3);
        assert!(matches!(last.body, Body::Error(_)), "{:?}", last.body);
        // One that is given up otherwise says nothing: whoever goes on with it may be another program.
        drop(desk.turn().await.expect("there is room").answers(4));
        assert!(queue.try_recv().is_err());
    }
}
