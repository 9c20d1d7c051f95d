//! Lanes: two long-lived streams between neighbours, each with its own queue, so that claims never
//! wait behind documents.
//!
//! On a stream each frame stands behind its length (four bytes, big-endian). A writer drains its
//! queue before it flushes; a reader hands frames on one by one, so a slow receiver slows its
//! sender down.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use libp2p::StreamProtocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::SendError;
use crate::identity::PeerKey;
use crate::stats::{Counts, add};

/// The longest frame, bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// What a frame in a queue weighs beside its bytes, so that empty ones are not for nothing.
const FRAME_WEIGHT: usize = 64;

/// The stream of a neighbour on which a frame travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Documents and their repair.
    Gossip,
    /// Heartbeats and acks.
    Claims,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Gossip, Self::Claims];

    /// Returns its place among all lanes.
    pub(crate) fn place(self) -> usize {
        match self {
            Self::Gossip => 0,
            Self::Claims => 1,
        }
    }

    pub(crate) fn protocol(self) -> StreamProtocol {
        match self {
            Self::Gossip => StreamProtocol::new("/aque/sync/1"),
            Self::Claims => StreamProtocol::new("/aque/ctl/1"),
        }
    }
}

/// The sending end of a lane; the lane's task ends when it is dropped.
#[derive(Debug)]
pub(crate) struct LaneEnd {
    pub(crate) id: u64,
    frames: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for LaneEnd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The lanes of every connected peer, shared with those who send.
#[derive(Debug)]
pub(crate) struct Lanes {
    peers: Mutex<BTreeMap<(PeerKey, Lane), LaneEnd>>,
    limit: usize,
    counts: Arc<Counts>,
}

impl Lanes {
    pub(crate) fn new(limit: usize, counts: Arc<Counts>) -> Self {
        Self {
            peers: Mutex::new(BTreeMap::new()),
            limit,
            counts,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(PeerKey, Lane), LaneEnd>> {
        // Nothing panics while it is held; a poisoned map is whole all the same.
        self.peers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn put(&self, peer: PeerKey, lane: Lane, end: LaneEnd) {
        self.lock().insert((peer, lane), end);
    }

    /// Removes a lane if it is this one. Says whether it was.
    pub(crate) fn remove(&self, peer: PeerKey, lane: Lane, id: u64) -> bool {
        let mut lanes = self.lock();
        let same = lanes.get(&(peer, lane)).is_some_and(|end| end.id == id);
        same && lanes.remove(&(peer, lane)).is_some()
    }

    pub(crate) fn remove_all(&self, peer: PeerKey) {
        let mut lanes = self.lock();
        for lane in Lane::ALL {
            lanes.remove(&(peer, lane));
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn has(&self, peer: PeerKey, lane: Lane) -> bool {
        self.lock().contains_key(&(peer, lane))
    }

    pub(crate) fn is_up(&self, peer: PeerKey) -> bool {
        let lanes = self.lock();
        Lane::ALL
            .iter()
            .all(|lane| lanes.contains_key(&(peer, *lane)))
    }

    pub(crate) fn connected(&self) -> Vec<PeerKey> {
        let lanes = self.lock();
        let gossip = lanes.keys().filter(|(_, lane)| *lane == Lane::Gossip);
        let both = gossip.filter(|(peer, _)| lanes.contains_key(&(*peer, Lane::Claims)));
        both.map(|(peer, _)| *peer).collect()
    }

    pub(crate) fn send(&self, peer: PeerKey, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let sent = self.try_send(peer, lane, frame);
        if sent.is_err() {
            add(&self.counts.frames_unsent, 1);
        }
        sent
    }

    fn try_send(&self, peer: PeerKey, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let len = frame.len();
        if len > MAX_FRAME {
            return Err(SendError::Oversized);
        }
        let lanes = self.lock();
        let end = lanes.get(&(peer, lane)).ok_or(SendError::Away)?;
        // Only the writer changes the weight meanwhile, and it only takes away.
        if end.queued.load(Ordering::Relaxed) + len + FRAME_WEIGHT > self.limit {
            return Err(SendError::Full);
        }
        end.queued.fetch_add(len + FRAME_WEIGHT, Ordering::Relaxed);
        end.frames.send(frame).map_err(|_| SendError::Away)?;
        add(&self.counts.frames_sent, 1);
        add(&self.counts.bytes_sent, len as u64);
        Ok(())
    }
}

/// Why a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneFault {
    /// The stream broke or was closed.
    Broken,
    /// The peer announced a frame that is too long: an offence.
    Oversized,
    /// A frame was begun and never whole: an offence.
    Half,
}

/// Runs a lane over a stream until it breaks; `deliver` hands a frame on and says whether anyone
/// still listens; `ended` is told once at the end, unless the [`LaneEnd`] was dropped before.
pub(crate) fn run<S, D, F, E>(
    stream: S,
    id: u64,
    patience: Duration,
    counts: Arc<Counts>,
    deliver: D,
    ended: E,
) -> LaneEnd
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    D: Fn(Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = bool> + Send,
    E: FnOnce(LaneFault) + Send + 'static,
{
    // Bounded by the weight that `send` keeps account of.
    let (frames, queue) = mpsc::unbounded_channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::clone(&queued);
    let task = tokio::spawn(async move {
        let (read, write) = tokio::io::split(stream);
        let fault = tokio::select! {
            fault = read_frames(BufReader::new(read), patience, &counts, deliver) => fault,
            _ = write_frames(BufWriter::with_capacity(64 << 10, write), queue, &waiting) => LaneFault::Broken,
        };
        match fault {
            LaneFault::Broken => {}
            LaneFault::Oversized => add(&counts.frames_oversized, 1),
            LaneFault::Half => add(&counts.frames_half, 1),
        }
        ended(fault);
    });
    LaneEnd {
        id,
        frames,
        queued,
        task: task.abort_handle(),
    }
}

async fn read_frames<R, D, F>(
    mut read: R,
    patience: Duration,
    counts: &Counts,
    deliver: D,
) -> LaneFault
where
    R: AsyncRead + Unpin,
    D: Fn(Bytes) -> F,
    F: Future<Output = bool>,
{
    loop {
        let Ok(first) = read.read_u8().await else {
            return LaneFault::Broken;
        };
        let frame = match tokio::time::timeout(patience, read_rest(first, &mut read)).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return LaneFault::Oversized,
            Err(_) => return LaneFault::Half,
            Ok(Err(_)) => return LaneFault::Broken,
        };
        add(&counts.frames_received, 1);
        add(&counts.bytes_received, frame.len() as u64);
        if !deliver(frame).await {
            return LaneFault::Broken;
        }
    }
}

/// Reads a frame whose length's first byte is there; `None` if it announces too much.
async fn read_rest<R: AsyncRead + Unpin>(first: u8, read: &mut R) -> io::Result<Option<Bytes>> {
    let mut rest = [0; 3];
    read.read_exact(&mut rest).await?;
    let len = u32::from_be_bytes([first, rest[0], rest[1], rest[2]]) as usize;
    if len > MAX_FRAME {
        return Ok(None);
    }
    let mut frame = vec![0; len];
    read.read_exact(&mut frame).await?;
    Ok(Some(frame.into()))
}

async fn write_frames<W: AsyncWrite + Unpin>(
    mut write: W,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    queued: &AtomicUsize,
) -> io::Result<()> {
    while let Some(frame) = queue.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
            write.write_u32(len).await?;
            write.write_all(&frame).await?;
            queued.fetch_sub(frame.len() + FRAME_WEIGHT, Ordering::Relaxed);
            next = queue.try_recv().ok();
        }
        write.flush().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fault_of(bytes: &[u8]) -> (LaneFault, usize) {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let counts = Counts::default();
        let deliver = |_| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(true)
        };
        let fault = read_frames(bytes, Duration::from_secs(5), &counts, deliver).await;
        (fault, count.into_inner())
    }

    #[tokio::test]
    async fn reading_table() {
        assert_eq!(fault_of(&[]).await, (LaneFault::Broken, 0));
        assert_eq!(
            fault_of(&[0, 0, 0, 1, 9, 0, 0, 0, 0]).await,
            (LaneFault::Broken, 2)
        );
        assert_eq!(fault_of(&[0, 0, 0, 9, 1]).await, (LaneFault::Broken, 0));
        assert_eq!(fault_of(&[0, 16, 0, 1]).await, (LaneFault::Oversized, 0));
        assert_eq!(fault_of(&[0xff; 64]).await, (LaneFault::Oversized, 0));
    }

    #[tokio::test]
    async fn a_half_frame_does_not_wait_for_ever() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let sent = ours.write_all(&[0, 0]).await;
        assert!(sent.is_ok());
        let counts = Counts::default();
        let deliver = |_| std::future::ready(true);
        let fault = read_frames(theirs, Duration::from_millis(20), &counts, deliver).await;
        assert_eq!(fault, LaneFault::Half);
    }

    #[tokio::test]
    async fn empty_frames_fill_a_queue_too() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let counts = Arc::new(Counts::default());
        let lanes = Lanes::new(10 * FRAME_WEIGHT, Arc::clone(&counts));
        let (peer, lane) = (PeerKey([1; 32]), Lane::Claims);
        let patience = Duration::from_secs(5);
        let end = run(
            ours,
            1,
            patience,
            counts,
            |_| std::future::ready(true),
            |_| {},
        );
        lanes.put(peer, lane, end);
        for _ in 0..10 {
            assert_eq!(lanes.send(peer, lane, Bytes::new()), Ok(()));
        }
        assert_eq!(lanes.send(peer, lane, Bytes::new()), Err(SendError::Full));
        assert_eq!(
            lanes.send(peer, Lane::Gossip, Bytes::new()),
            Err(SendError::Away)
        );
    }
}
