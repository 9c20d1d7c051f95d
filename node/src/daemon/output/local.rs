//! Output on this host's disk: stored, or growing under a run.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use crdt::ids::{Digest, TaskId};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{mpsc, oneshot, watch};

use super::{GONE, PIECE, Pieces, Wanted, What, pass, while_taken};
use crate::api::wire::StreamName;
use crate::daemon::places::{Ask, Place};
use crate::guard::RunKey;
use crate::outputs::{self, Outputs};

/// A growing file is looked at this soon after it has grown, and then ever more rarely down to [`LOOK_RARELY`].
const LOOK_SOON: Duration = Duration::from_millis(5);
/// How late growth after a long silence may be seen.
const LOOK_RARELY: Duration = Duration::from_millis(100);

/// This host's output, and where that of every task is.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Store {
    pub(in crate::daemon) outputs: Outputs,
    pub(in crate::daemon) asks: mpsc::Sender<Ask>,
}

impl Store {
    /// Returns where a task's output is, now and later; `None` if the node leaves.
    pub(super) async fn locate(&self, task: TaskId) -> Option<watch::Receiver<Place>> {
        let (answer, places) = oneshot::channel();
        self.asks.send(Ask { task, answer }).await.ok()?;
        places.await.ok()
    }

    /// Reads what is wanted of one stream. Safe to drop.
    pub(super) async fn read(&self, wanted: &Wanted, to: &Pieces) -> io::Result<()> {
        while_taken(to, async {
            match wanted.what {
                What::Stored(digest) => self.read_stored(digest, wanted.from, to).await,
                What::Now | What::Follow => self.read_live(wanted, to).await,
            }
        })
        .await
    }

    async fn read_stored(&self, digest: Digest, from: u64, to: &Pieces) -> io::Result<()> {
        let outputs = self.outputs.clone();
        let opened = tokio::task::spawn_blocking(move || outputs.read(outputs::Digest(digest.0)));
        let gone = || io::Error::new(io::ErrorKind::NotFound, GONE);
        let mut file = File::from_std(opened.await.map_err(io::Error::other)??.ok_or_else(gone)?);
        file.seek(io::SeekFrom::Start(from)).await?;
        copy(&mut file, to, u64::MAX).await.map(|_| ())
    }

    async fn read_live(&self, wanted: &Wanted, to: &Pieces) -> io::Result<()> {
        let Some(mut places) = self.locate(wanted.run.task).await else {
            return Ok(());
        };
        let Some(key) = live_here(*places.borrow_and_update(), wanted) else {
            return Ok(());
        };
        let stream = match wanted.stream {
            StreamName::Stdout => outputs::Stream::Out,
            StreamName::Stderr => outputs::Stream::Err,
        };
        let mut file = match File::open(self.outputs.live(key, stream)).await {
            Ok(file) => file,
            // It has just been stored, or was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        file.seek(io::SeekFrom::Start(wanted.from)).await?;
        let mut pause = LOOK_SOON;
        loop {
            // Asked before reading: what a run wrote before its end is read after it.
            let lives = live_here(*places.borrow_and_update(), wanted) == Some(key);
            let grew = copy(&mut file, to, self.outputs.told_live()).await? > 0;
            if !lives || wanted.what == What::Now {
                return Ok(());
            }
            pause = if grew {
                LOOK_SOON
            } else {
                (pause * 2).min(LOOK_RARELY)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = places.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }
}

fn live_here(place: Place, wanted: &Wanted) -> Option<RunKey> {
    match place {
        Place::Live(_, run, key) if run == wanted.run => key,
        Place::Live(..) | Place::Unknown | Place::Waiting | Place::Stored(..) | Place::Nothing => {
            None
        }
    }
}

/// Passes on what a file holds from its position on, up to an end; returns how much that was.
async fn copy(file: &mut File, to: &Pieces, end: u64) -> io::Result<u64> {
    let start = file.stream_position().await?;
    let mut sum = 0;
    loop {
        let left = usize::try_from(end.saturating_sub(start + sum)).unwrap_or(PIECE);
        let mut piece = vec![0; PIECE.min(left)];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Ok(sum);
        }
        piece.truncate(read);
        sum += read as u64;
        pass(to, Bytes::from(piece)).await?;
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::io::Write;

    use crdt::ids::{Epoch, PeerId, RunId, Tag};

    use super::super::PIECES;
    use super::*;

    pub(crate) const RUN: RunId = RunId {
        task: TaskId { tag: Tag(1), n: 1 },
        epoch: Epoch(3),
    };
    pub(crate) const HERE: PeerId = PeerId([1; 32]);

    /// A store of one task, whose place the test decides.
    pub(crate) struct Rig {
        pub(crate) _dir: tempfile::TempDir,
        pub(crate) store: Store,
        pub(crate) place: watch::Sender<Place>,
    }

    impl Rig {
        pub(crate) fn new(place: Place) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (asks, mut asked) = mpsc::channel::<Ask>(4);
            let place = watch::channel(place).0;
            let source = place.clone();
            tokio::spawn(async move {
                while let Some(ask) = asked.recv().await {
                    assert_eq!(ask.task, RUN.task);
                    drop(ask.answer.send(source.subscribe()));
                }
            });
            let outputs = Outputs::open(dir.path(), None).unwrap();
            Self {
                _dir: dir,
                store: Store { outputs, asks },
                place,
            }
        }

        /// Stores a stream and returns its digest.
        pub(crate) fn stored(&self, bytes: &[u8]) -> Digest {
            let path = self.store.outputs.live(RunKey(99), outputs::Stream::Out);
            std::fs::write(&path, bytes).unwrap();
            match self.store.outputs.adopt(&path).unwrap() {
                outputs::Adopted::Stored { digest, .. } => Digest(digest.0),
                outputs::Adopted::Empty => panic!("nothing was stored"),
            }
        }
    }

    pub(crate) fn wanted(what: What, from: u64) -> Wanted {
        Wanted {
            run: RUN,
            stream: StreamName::Stdout,
            from,
            what,
        }
    }

    pub(crate) async fn all(mut pieces: mpsc::Receiver<Bytes>) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.recv().await {
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    #[tokio::test]
    async fn a_growing_file_is_followed_to_its_end() {
        let key = RunKey(7);
        let live = Place::Live(HERE, RUN, Some(key));
        let rig = Rig::new(live);
        let path = rig.store.outputs.live(key, outputs::Stream::Out);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one\n").unwrap();
        let (to, mut pieces) = mpsc::channel(PIECES);
        let store = rig.store.clone();
        let reading = tokio::spawn(async move { store.read(&wanted(What::Follow, 0), &to).await });
        assert_eq!(pieces.recv().await.unwrap(), "one\n");
        file.write_all(b"two\n").unwrap();
        assert_eq!(pieces.recv().await.unwrap(), "two\n");
        // The run ends: its last words are there, the file goes to its place, and then the followers are told.
        file.write_all(b"three\n").unwrap();
        rig.store.outputs.adopt(&path).unwrap();
        rig.place.send_replace(Place::Waiting);
        assert_eq!(all(pieces).await, b"three\n");
        reading.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_there_now_is_read_once() {
        let rig = Rig::new(Place::Live(HERE, RUN, Some(RunKey(7))));
        std::fs::write(
            rig.store.outputs.live(RunKey(7), outputs::Stream::Out),
            "one\ntwo\n",
        )
        .unwrap();
        let (to, pieces) = mpsc::channel(PIECES);
        let (read, bytes) = tokio::join!(
            async {
                let to = to;
                rig.store.read(&wanted(What::Now, 4), &to).await
            },
            all(pieces)
        );
        read.unwrap();
        assert_eq!(bytes, b"two\n");
        // Of another run, or of none, there is nothing.
        for place in [Place::Waiting, Place::Unknown, Place::Nothing] {
            rig.place.send_replace(place);
            let (to, _pieces) = mpsc::channel(PIECES);
            rig.store.read(&wanted(What::Follow, 0), &to).await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_stops_taking_ends_the_reading() {
        let rig = Rig::new(Place::Live(HERE, RUN, Some(RunKey(7))));
        std::fs::write(rig.store.outputs.live(RunKey(7), outputs::Stream::Out), "").unwrap();
        let (to, pieces) = mpsc::channel(PIECES);
        let store = rig.store.clone();
        let reading = tokio::spawn(async move { store.read(&wanted(What::Follow, 0), &to).await });
        drop(pieces);
        assert_eq!(
            reading.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[tokio::test]
    async fn what_is_not_stored_is_an_error() {
        let rig = Rig::new(Place::Nothing);
        let (to, _pieces) = mpsc::channel(PIECES);
        let error = rig
            .store
            .read(&wanted(What::Stored(Digest([9; 32])), 0), &to)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not stored"), "{error}");
    }
}
