//! The guard's end of the socket to its node.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::frame::{Decoder, FrameError, encode};
use super::protocol::{Reply, Request};
use crate::clock::boottime;

/// Above this many unsent bytes the guard stops to read requests: a node that does not listen gets
/// nothing started. What must be told anyway is bounded by the runs that live.
const OUT_BYTES: usize = 256 << 10;

/// How long a start may go untold, so that the end of a short run goes out with it: one wake-up of
/// the node less. Short beside everything that people or leases notice.
const TELL_START_WITHIN: Duration = Duration::from_millis(1);

/// A non-blocking stream of requests and replies.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    flow: Flow,
    buffer: Vec<u8>,
}

/// What becomes of the bytes in `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// They go out at the next chance; there may be none.
    Now,
    /// They may wait for more until then.
    Until(Duration),
    /// The socket takes no more.
    Stuck,
}

/// What came from the node.
#[derive(Debug)]
pub(super) enum Heard {
    /// A request.
    Request(Request),
    /// Nothing for now.
    Silence,
    /// The node closed its end, or died.
    End,
}

impl Link {
    /// Wraps the guard's end.
    ///
    /// # Errors
    /// The kernel's; none is expected of a socket.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let buffer = vec![0; 32 << 10];
        let (decoder, out) = (Decoder::default(), Vec::new());
        Ok(Self {
            stream,
            decoder,
            out,
            flow: Flow::Now,
            buffer,
        })
    }

    /// Whether requests should be read now.
    pub(super) fn may_hear(&self) -> bool {
        self.out.len() < OUT_BYTES
    }

    /// Whether replies wait for room in the socket.
    pub(super) fn is_stuck(&self) -> bool {
        self.flow == Flow::Stuck
    }

    /// Whether anything is unsent.
    pub(super) fn has_more(&self) -> bool {
        !self.out.is_empty()
    }

    /// When something must be sent, if it may wait at all.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.flow {
            Flow::Until(at) => Some(at),
            Flow::Now | Flow::Stuck => None,
        }
    }

    /// Returns the next request of those that came; reads at most once.
    ///
    /// # Errors
    /// [`FrameError`]: the stream makes no sense any more.
    pub(super) fn hear(&mut self) -> Result<Heard, FrameError> {
        if let Some(request) = self.decoder.next()? {
            return Ok(Heard::Request(request));
        }
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Ok(Heard::End),
            Ok(bytes) => {
                self.decoder.push(&self.buffer[..bytes]);
                Ok(self.decoder.next()?.map_or(Heard::Silence, Heard::Request))
            }
            Err(error) if is_later(&error) => Ok(Heard::Silence),
            Err(_broken) => Ok(Heard::End),
        }
    }

    /// Queues a reply that goes out at once.
    pub(super) fn say(&mut self, reply: &Reply) {
        // Replies are small: the only ways to fail do not exist for them.
        let encoded = encode(reply, &mut self.out);
        debug_assert!(encoded.is_ok(), "a reply fits in a frame");
        if matches!(self.flow, Flow::Until(_)) {
            self.flow = Flow::Now;
        }
    }

    /// Queues a reply that may wait a moment for another.
    pub(super) fn mention(&mut self, reply: &Reply) {
        let before = if self.out.is_empty() {
            None
        } else {
            Some(self.flow)
        };
        self.say(reply);
        self.flow = before.unwrap_or_else(|| Flow::Until(boottime() + TELL_START_WITHIN));
    }

    /// Writes what the socket takes, unless all may wait. A broken socket loses the rest: the next
    /// read tells its end.
    pub(super) fn flush_if_due(&mut self) {
        if self.due().is_some_and(|at| boottime() < at) {
            return;
        }
        self.flow = Flow::Now;
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(bytes) => {
                    self.out.drain(..bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_later(&error) => {
                    self.flow = Flow::Stuck;
                    return;
                }
                Err(_broken) => self.out.clear(),
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
