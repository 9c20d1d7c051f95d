//! The guard's end of the socket to its node.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::frame::{Decoder, FrameError, encode};
use super::protocol::{Reply, Request};

/// Above this many unsent bytes the guard stops to read requests: a node that does not listen gets
/// nothing started. What must be told anyway is bounded by the runs that live.
const OUT_BYTES: usize = 256 << 10;

/// A non-blocking stream of requests and replies.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    buffer: Vec<u8>,
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
        Ok(Self { stream, decoder: Decoder::default(), out: Vec::new(), buffer })
    }

    /// Whether requests should be read now.
    pub(super) fn may_hear(&self) -> bool {
        self.out.len() < OUT_BYTES
    }

    /// Whether replies wait for room in the socket.
    pub(super) fn is_full(&self) -> bool {
        !self.out.is_empty()
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

    /// Queues a reply.
    pub(super) fn say(&mut self, reply: &Reply) {
        // Replies are small: the only ways to fail do not exist for them.
        let encoded = encode(reply, &mut self.out);
        debug_assert!(encoded.is_ok(), "a reply fits in a frame");
    }

    /// Writes what the socket takes. A broken socket loses the rest: the next read tells its end.
    pub(super) fn flush(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(bytes) => {
                    self.out.drain(..bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_later(&error) => return,
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
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
