//! A stored output on its way into a file of this host: taken up where a link broke, in pieces, and compared with the digest in its
//! run's outcome at the end. So what is read from that file is whole and right, or there is no such file.
//!
//! What came of an output that then stayed away is left beside the file's name (`.part`), and taken up by the next who fetches it.

use crdt::ids::{Digest, PeerId, RunId};
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::{File, remove_file, rename};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::answer::{Hosts, Mesh};
use super::{PIECE, PIECES, Wanted, What};
use crate::api::wire::StreamName;

/// After the last pause of [`Hosts::PAUSES`] so many more of that length are made while nothing comes.
const MORE_PAUSES: usize = 5;

/// A stored output: standard output of a run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) struct Origin {
    /// Whose disk has it.
    pub(in crate::daemon) host: PeerId,
    /// Which run wrote it.
    pub(in crate::daemon) run: RunId,
    /// How long it is.
    pub(in crate::daemon) len: u64,
    /// Of all its bytes.
    pub(in crate::daemon) digest: Digest,
}

/// Why an output did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::daemon) enum Lack {
    /// It never will: its host has lost it, or has something else in its place.
    #[error("{0}")]
    ForGood(String),
    /// It may at another time, or come to another host.
    #[error("{0}")]
    ForNow(String),
}

impl Lack {
    fn here(error: &io::Error) -> Self {
        Self::ForNow(format!("it cannot be kept here: {error}"))
    }

    fn damaged() -> Self {
        Self::ForGood("its hash there is not what the run's outcome says".to_owned())
    }
}

impl Mesh {
    /// Brings an output into a file. Safe to drop: a part of it may be left.
    ///
    /// # Errors
    /// [`Lack`]; there is no such file then.
    pub(in crate::daemon) async fn fetch(&self, origin: &Origin, path: &Path) -> Result<(), Lack> {
        fetch(self, origin, path).await
    }
}

async fn fetch(hosts: &impl Hosts, origin: &Origin, path: &Path) -> Result<(), Lack> {
    let mut part = Part::open(path).await.map_err(|error| Lack::here(&error))?;
    let taken_up = part.len > 0;
    part.complete(hosts, origin).await?;
    if part.is(origin) {
        return part.finish(path).await.map_err(|error| Lack::here(&error));
    }
    part.discard().await;
    if !taken_up {
        return Err(Lack::damaged());
    }
    // What was left of an earlier time may have been the damage.
    let mut part = Part::open(path).await.map_err(|error| Lack::here(&error))?;
    part.complete(hosts, origin).await?;
    if !part.is(origin) {
        part.discard().await;
        return Err(Lack::damaged());
    }
    part.finish(path).await.map_err(|error| Lack::here(&error))
}

/// Where a part of what is to be at `path` lies.
pub(in crate::daemon) fn part_of(path: &Path) -> PathBuf {
    path.with_extension("part")
}

/// What has come so far.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    hasher: blake3::Hasher,
}

impl Part {
    /// Opens what is there of it, or begins it.
    async fn open(path: &Path) -> io::Result<Self> {
        let path = part_of(path);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).await?;
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).await?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
        }
        let len = file.stream_position().await?;
        Ok(Self {
            path,
            file,
            len,
            hasher,
        })
    }

    /// Brings what is missing, as long as something comes.
    async fn complete<H: Hosts>(&mut self, hosts: &H, origin: &Origin) -> Result<(), Lack> {
        let rest = std::iter::repeat_n(&H::PAUSES[3], MORE_PAUSES);
        let all = H::PAUSES.iter().chain(rest);
        let mut pauses = all.clone();
        while self.len < origin.len {
            let before = self.len;
            let problem = match self.bring(hosts, origin).await? {
                Ok(()) if self.len >= origin.len => return Ok(()),
                // That was all there is.
                Ok(()) => return Err(Lack::damaged()),
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
                    return Err(Lack::ForGood(problem.to_string()));
                }
                Err(problem) => problem,
            };
            debug!(run = %origin.run.task, %problem, "an output for a run broke off");
            if self.len > before {
                pauses = all.clone();
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(Lack::ForNow(problem.to_string())),
            }
        }
        Ok(())
    }

    /// Brings what comes of one request. The inner error is the other side's.
    async fn bring<H: Hosts>(
        &mut self,
        hosts: &H,
        origin: &Origin,
    ) -> Result<io::Result<()>, Lack> {
        let wanted = Wanted {
            run: origin.run,
            stream: StreamName::Stdout,
            from: self.len,
            what: What::Stored(origin.digest),
        };
        let (to, mut pieces) = mpsc::channel(PIECES);
        let reading = async move { hosts.read(origin.host, &wanted, &to).await };
        let taking = async move {
            loop {
                let piece = match timeout(H::STALL, pieces.recv()).await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => return Ok(Ok(())),
                    // The queue is dropped with that, so that reading ends.
                    Err(_) => return Ok(Err(io::ErrorKind::TimedOut.into())),
                };
                let written = self.take(&piece).await;
                written.map_err(|error| Lack::here(&error))?;
            }
        };
        let (read, taken) = tokio::join!(reading, taking);
        taken.map(|taken: io::Result<()>| taken.and(read))
    }

    async fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece).await?;
        // What a file holds back is lost with a drop.
        self.file.flush().await?;
        self.hasher.update(piece);
        self.len += piece.len() as u64;
        Ok(())
    }

    fn is(&self, origin: &Origin) -> bool {
        self.len == origin.len && *self.hasher.finalize().as_bytes() == origin.digest.0
    }

    async fn finish(self, path: &Path) -> io::Result<()> {
        rename(&self.path, path).await
    }

    async fn discard(self) {
        if let Err(error) = remove_file(&self.path).await {
            debug!(%error, "a part of an output was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::Pieces;
    use super::super::answer::Pauses;
    use super::super::local::tests::{HERE, RUN};
    use super::*;

    const TEXT: &[u8] = b"one\ntwo\nthree\n";

    /// How one request goes: so many bytes come, then all is well, or this is the matter.
    type Turn = (usize, Option<io::ErrorKind>);

    /// A host that has something under each name, and whose requests go so, one after the other; then all go well.
    struct Host {
        has: &'static [u8],
        turns: Mutex<Vec<Turn>>,
        asked: Mutex<Vec<u64>>,
    }

    impl Host {
        fn new(has: &'static [u8], turns: &[Turn]) -> Self {
            Self {
                has,
                turns: Mutex::new(turns.iter().rev().copied().collect()),
                asked: Mutex::default(),
            }
        }

        fn asked(&self) -> Vec<u64> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Hosts for Host {
        const PAUSES: Pauses = [Duration::from_millis(1); 4];

        async fn read(&self, host: PeerId, wanted: &Wanted, to: &Pieces) -> io::Result<()> {
            assert_eq!((host, wanted.run), (HERE, RUN));
            self.asked.lock().unwrap().push(wanted.from);
            let rest = &self.has[usize::try_from(wanted.from).unwrap().min(self.has.len())..];
            let turn = self.turns.lock().unwrap().pop();
            let (bytes, end) = turn.unwrap_or((rest.len(), None));
            for piece in rest[..bytes.min(rest.len())].chunks(3) {
                to.send(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            end.map_or(Ok(()), |kind| Err(kind.into()))
        }
    }

    fn origin() -> Origin {
        Origin {
            host: HERE,
            run: RUN,
            len: TEXT.len() as u64,
            digest: Digest(*blake3::hash(TEXT).as_bytes()),
        }
    }

    const BROKEN: Option<io::ErrorKind> = Some(io::ErrorKind::ConnectionReset);

    #[tokio::test]
    async fn a_broken_link_is_taken_up_where_it_broke() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("whole");
        let host = Host::new(TEXT, &[(0, BROKEN), (6, BROKEN), (0, BROKEN), (3, BROKEN)]);
        fetch(&host, &origin(), &path).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), TEXT);
        assert_eq!(host.asked(), [0, 0, 6, 6, 9]);
        assert!(!part_of(&path).exists());
    }

    #[tokio::test]
    async fn what_came_of_a_host_that_stays_away_is_of_use_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("whole");
        let mut turns = vec![(6, BROKEN)];
        turns.extend([(0, BROKEN); 20]);
        let host = Host::new(TEXT, &turns);
        let lack = fetch(&host, &origin(), &path).await.unwrap_err();
        assert!(matches!(lack, Lack::ForNow(_)), "{lack:?}");
        assert!(!path.exists());
        let host = Host::new(TEXT, &[]);
        fetch(&host, &origin(), &path).await.unwrap();
        assert_eq!(host.asked(), [6]);
        assert_eq!(std::fs::read(&path).unwrap(), TEXT);
    }

    #[tokio::test]
    async fn damage_of_an_earlier_time_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("whole");
        for left in [&b"onx\n"[..], &[b'x'; 40]] {
            std::fs::write(part_of(&path), left).unwrap();
            fetch(&Host::new(TEXT, &[]), &origin(), &path)
                .await
                .unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), TEXT);
        }
    }

    #[tokio::test]
    async fn what_is_not_there_or_not_the_same_is_lacking_for_good() {
        let gone = &[(0, Some(io::ErrorKind::NotFound))][..];
        for (has, turns) in [
            (TEXT, gone),
            (&b"one\ntwo\nthrex\n"[..], &[]),
            (b"one\n", &[]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("whole");
            let lack = fetch(&Host::new(has, turns), &origin(), &path).await;
            assert!(matches!(lack, Err(Lack::ForGood(_))), "{lack:?}");
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_here_may_be_elsewhere() {
        let path = Path::new("/proc/nowhere/whole");
        let lack = fetch(&Host::new(TEXT, &[]), &origin(), path).await;
        assert!(matches!(lack, Err(Lack::ForNow(_))), "{lack:?}");
    }

    #[tokio::test]
    async fn a_host_that_falls_silent_is_not_waited_for() {
        /// Sends a little, and then nothing for ever.
        struct Silent;

        impl Hosts for Silent {
            const PAUSES: Pauses = [Duration::from_millis(1); 4];
            const STALL: Duration = Duration::from_millis(20);

            async fn read(&self, _: PeerId, wanted: &Wanted, to: &Pieces) -> io::Result<()> {
                if wanted.from == 0 {
                    to.send(Bytes::from_static(b"one")).await.unwrap();
                }
                to.closed().await;
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }

        let dir = tempfile::tempdir().unwrap();
        let lack = fetch(&Silent, &origin(), &dir.path().join("whole")).await;
        assert!(matches!(lack, Err(Lack::ForNow(_))), "{lack:?}");
    }
}
