//! One stream a request between peers. The asker sends a length-prefixed [`Wanted`]; the other side answers with pieces, each
//! behind its length; a length of 0 ends well, [`FAILED`] announces the reason for a failure. Lengths are 32 bits, big-endian.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::{GONE, PIECE, PIECES, Pieces, Store, Wanted, pass, while_taken};

/// The length that announces the reason for a failure.
const FAILED: u32 = u32::MAX;
/// A request is at most this long, bytes.
const REQUEST: usize = 1_024;
/// A reason is at most this long, bytes.
const REASON: usize = 800;
/// The other side has so long for each step; not for the next piece of a run that is silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for a stream and passes on what comes. Safe to drop.
pub(super) async fn fetch(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    wanted: &Wanted,
    to: &Pieces,
) -> io::Result<()> {
    timeout(PATIENCE, send_request(&mut stream, wanted)).await??;
    while_taken(to, async {
        loop {
            // A task that prints nothing for hours is no broken peer: the transport finds those.
            let length = stream.read_u32().await?;
            match length {
                0 => return Ok(()),
                FAILED => return Err(timeout(PATIENCE, read_reason(&mut stream)).await?),
                _ => {
                    pass(
                        to,
                        timeout(PATIENCE, read_piece(&mut stream, length)).await??,
                    )
                    .await?
                }
            }
        }
    })
    .await
}

async fn send_request(stream: &mut (impl AsyncWrite + Unpin), wanted: &Wanted) -> io::Result<()> {
    let request = postcard::to_stdvec(wanted).map_err(io::Error::other)?;
    stream
        .write_u32(u32::try_from(request.len()).map_err(io::Error::other)?)
        .await?;
    stream.write_all(&request).await?;
    stream.flush().await
}

async fn read_piece(stream: &mut (impl AsyncRead + Unpin), length: u32) -> io::Result<Bytes> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > PIECE {
        return Err(strange("a piece is too long"));
    }
    let mut piece = vec![0; length];
    stream.read_exact(&mut piece).await?;
    Ok(piece.into())
}

async fn read_reason(stream: &mut (impl AsyncRead + Unpin)) -> io::Error {
    let text = async {
        let length = stream.read_u32().await?;
        let mut text = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(REASON)];
        stream.read_exact(&mut text).await?;
        Ok(text)
    };
    match text.await {
        Ok(text) if text == GONE.as_bytes() => io::Error::new(io::ErrorKind::NotFound, GONE),
        Ok(text) => io::Error::other(String::from_utf8_lossy(&text).into_owned()),
        Err(error) => error,
    }
}

fn strange(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Serves a peer's request, until it is served or the peer is gone.
pub(in crate::daemon) async fn serve(store: Store, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut read, mut write) = tokio::io::split(stream);
    let served = async {
        let wanted = timeout(PATIENCE, read_request(&mut read)).await??;
        tokio::select! {
            sent = send(&store, &wanted, &mut write) => sent,
            // The asker says nothing more: what can be read is the end, however it came.
            _ = read.read_u8() => Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    if let Err(error) = served.await {
        debug!(%error, "output for a peer broke off");
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Wanted> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > REQUEST {
        return Err(strange("a request is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    postcard::from_bytes(&bytes).map_err(|_| strange("this is no request for output"))
}

async fn send(
    store: &Store,
    wanted: &Wanted,
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let (to, mut pieces) = mpsc::channel(PIECES);
    let reading = async move { store.read(wanted, &to).await };
    let writing = async {
        while let Some(piece) = pieces.recv().await {
            timeout(PATIENCE, send_piece(stream, &piece)).await??;
        }
        // The queue is dropped with an error, so that reading ends.
        drop(pieces);
        Ok::<_, io::Error>(stream)
    };
    let (read, written) = tokio::join!(reading, writing);
    let stream = written?;
    timeout(PATIENCE, async {
        match read {
            Ok(()) => stream.write_u32(0).await?,
            Err(error) => {
                let reason: String = error.to_string().chars().take(REASON / 4).collect();
                stream.write_u32(FAILED).await?;
                send_piece(stream, reason.as_bytes()).await?;
            }
        }
        stream.shutdown().await
    })
    .await?
}

async fn send_piece(stream: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> io::Result<()> {
    stream
        .write_u32(u32::try_from(piece.len()).map_err(io::Error::other)?)
        .await?;
    stream.write_all(piece).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use crdt::ids::Digest;

    use super::super::What;
    use super::super::local::tests::{HERE, RUN, Rig, all, wanted};
    use super::*;
    use crate::daemon::places::Place;
    use crate::guard::RunKey;

    async fn fetched(rig: &Rig, wanted: Wanted) -> (io::Result<()>, Vec<u8>) {
        let (here, there) = tokio::io::duplex(1_000);
        tokio::spawn(serve(rig.store.clone(), there));
        let (to, pieces) = mpsc::channel(PIECES);
        tokio::join!(
            async {
                let to = to;
                fetch(here, &wanted, &to).await
            },
            all(pieces)
        )
    }

    #[tokio::test]
    async fn stored_streams_come_whole_or_in_part() {
        let rig = Rig::new(Place::Nothing);
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let digest = rig.stored(&bytes);
        let (done, got) = fetched(&rig, wanted(What::Stored(digest), 0)).await;
        done.unwrap();
        assert_eq!(got, bytes);
        let (done, got) = fetched(&rig, wanted(What::Stored(digest), 999_990)).await;
        done.unwrap();
        assert_eq!(got, bytes[999_990..]);
    }

    #[tokio::test]
    async fn the_reason_of_a_failure_comes_over() {
        let rig = Rig::new(Place::Nothing);
        let (done, got) = fetched(&rig, wanted(What::Stored(Digest([3; 32])), 0)).await;
        let error = done.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("not stored") && got.is_empty());
    }

    #[tokio::test]
    async fn strange_answers_are_errors() {
        let rows: [&[u8]; 4] = [b"", b"\0\0", b"\x01\0\0\0", b"\0\0\0\x05ab"];
        for answer in rows {
            let (here, mut there) = tokio::io::duplex(1_000);
            there.write_all(answer).await.unwrap();
            let (to, _pieces) = mpsc::channel(PIECES);
            let asked = wanted(What::Now, 0);
            let (done, ()) = tokio::join!(fetch(here, &asked, &to), async {
                let mut request = [0; 4];
                there.read_exact(&mut request).await.unwrap();
                drop(there);
            });
            assert!(done.is_err(), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn strange_requests_end_the_stream() {
        for request in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x03abc", b"\0\0\x04\0"] {
            let rig = Rig::new(Place::Nothing);
            let (mut here, there) = tokio::io::duplex(4_000);
            here.write_all(request).await.unwrap();
            here.shutdown().await.unwrap();
            serve(rig.store, there).await;
            let mut answer = Vec::new();
            here.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"");
        }
    }

    #[tokio::test]
    async fn an_asker_that_leaves_ends_the_following() {
        let rig = Rig::new(Place::Live(HERE, RUN, Some(RunKey(7))));
        let live = rig
            .store
            .outputs
            .live(RunKey(7), crate::outputs::Stream::Out);
        std::fs::write(live, "so far").unwrap();
        let (here, there) = tokio::io::duplex(1_000);
        let serving = tokio::spawn(serve(rig.store.clone(), there));
        let (to, mut pieces) = mpsc::channel(PIECES);
        let asking = tokio::spawn(async move { fetch(here, &wanted(What::Follow, 0), &to).await });
        assert_eq!(pieces.recv().await.unwrap(), "so far");
        drop(pieces);
        asking.await.unwrap().unwrap_err();
        serving.await.unwrap();
    }
}
