//! Both streams of a task's output on their way to a client: where the output is now, from where it stopped when a link breaks,
//! and from the stored files once the run has ended.
//!
//! What a client has got is kept as a count and a hash for each stream of a run, across hosts' failures: nothing is shown twice,
//! and the whole is compared with the digest in the run's outcome, whoever sent it.

use std::io;
use std::time::Duration;

use crdt::ids::{Digest, PeerId, RunId, TaskId};
use crdt::task::{Arg, Captured};
use net::{Net, PeerKey};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::tail::Tail;
use super::{PIECE, PIECES, PROTOCOL, Pieces, Store, Wanted, What, peer};
use crate::api::answers::{Answers, Taken, failure};
use crate::api::lines::Names;
use crate::api::wire::{Body, FailureKind, OutputPiece, OutputQuery, StreamName};
use crate::daemon::places::Place;

/// Pauses before a host that cannot be read from is tried again; they begin anew when something comes.
pub(super) type Pauses = [Duration; 4];

/// Reads streams of runs on any host.
pub(super) trait Hosts: Sync {
    const PAUSES: Pauses;
    /// A host that says nothing for so long in the middle of a stored output is not waited for.
    const STALL: Duration = Duration::from_secs(10);

    /// Passes on what is wanted of a stream on `host`. Safe to drop.
    fn read(
        &self,
        host: PeerId,
        wanted: &Wanted,
        to: &Pieces,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

/// The hosts of the mesh, this one among them.
#[derive(Debug)]
pub(in crate::daemon) struct Mesh {
    pub(in crate::daemon) store: Store,
    pub(in crate::daemon) net: Net,
    pub(in crate::daemon) own: PeerId,
}

impl Hosts for Mesh {
    const PAUSES: Pauses = [
        Duration::from_millis(100),
        Duration::from_millis(200),
        Duration::from_millis(400),
        Duration::from_millis(800),
    ];

    async fn read(&self, host: PeerId, wanted: &Wanted, to: &Pieces) -> io::Result<()> {
        if host == self.own {
            return self.store.read(wanted, to).await;
        }
        let opened = self.net.open(PeerKey(host.0), PROTOCOL).await;
        let stream = opened.map_err(|error| io::Error::other(error.to_string()))?;
        peer::fetch(stream, wanted, to).await
    }
}

/// Answers a client's request for the output of a task: of the run that counts, or of one that is stored.
pub(in crate::daemon) async fn answer(
    mesh: Mesh,
    (task, stored): (TaskId, Option<Place>),
    query: OutputQuery,
    names: Names,
    answers: Answers,
) {
    // What is stored stays where it is; the sender is kept, so that nobody takes its end for the node's.
    let (_there, there) = watch::channel(stored.unwrap_or(Place::Unknown));
    let places = match stored {
        Some(_) => there,
        None => match mesh.store.locate(task).await {
            Some(places) => places,
            None => return answers.end(leaving()),
        },
    };
    let last = {
        let client = Client {
            query: &query,
            names: &names,
            answers: &answers,
        };
        tokio::select! {
            last = bring(&mesh, places, &client) => last,
            () = answers.left() => return,
        }
    };
    match last {
        Some(last) => answers.end(last),
        // Who follows asks whoever comes after this node in its place: the end of the connection tells.
        None if query.follow => {}
        None => answers.end(leaving()),
    }
}

/// Whom output is brought to.
struct Client<'a> {
    query: &'a OutputQuery,
    names: &'a Names,
    answers: &'a Answers,
}

impl Client<'_> {
    async fn take(&self, stream: StreamName, host: PeerId, bytes: &[u8]) -> io::Result<()> {
        let piece = OutputPiece {
            stream,
            host: Some(self.names.name(host)),
            data: Arg(bytes.to_vec()),
        };
        match self.answers.push(Body::Output(piece)).await {
            Taken::Yes => Ok(()),
            Taken::NoRoom | Taken::Left => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Brings what is asked for, and returns the last line of the answer; `None` if this node goes away first.
async fn bring<H: Hosts>(
    hosts: &H,
    mut places: watch::Receiver<Place>,
    client: &Client<'_>,
) -> Option<Body> {
    let follow = client.query.follow;
    let mut ways: Option<Ways> = None;
    let mut pauses = H::PAUSES.iter();
    loop {
        let place = *places.borrow_and_update();
        let (host, run, live) = match place {
            Place::Unknown => {
                let text = "no such task is known here";
                return Some(failure(FailureKind::Request, text, None));
            }
            Place::Nothing => return Some(end()),
            Place::Waiting if !follow => return Some(end()),
            Place::Waiting => {
                if places.changed().await.is_err() {
                    return None;
                }
                continue;
            }
            Place::Live(host, run, _) => (host, run, true),
            Place::Stored(host, run, _) => (host, run, false),
        };
        let ways = Ways::of(&mut ways, run, client.query);
        let before = ways.sent();
        let done = match place {
            Place::Stored(_, _, captured) => ways.stored(hosts, host, captured, client).await,
            _ => ways.live(hosts, host, client).await,
        };
        match &done {
            Ok(()) if !live || !follow => return Some(end()),
            Err(problem) if problem.kind() == io::ErrorKind::InvalidData => {
                return Some(unreadable(client.names, host, problem));
            }
            Ok(()) => {}
            Err(problem) => debug!(%run.task, %problem, "output broke off"),
        }
        if ways.sent() > before {
            pauses = H::PAUSES.iter();
        }
        // A run that is followed may go on elsewhere, however long its host is away: only what is stored is given up.
        let pause = match (pauses.next(), &done) {
            (Some(pause), _) => *pause,
            (None, Err(problem)) if !live || !follow => {
                return Some(unreadable(client.names, host, problem));
            }
            (None, _) => H::PAUSES[3],
        };
        tokio::select! {
            changed = places.changed() => if changed.is_err() { return None },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn end() -> Body {
    Body::Output(OutputPiece {
        stream: StreamName::Stdout,
        host: None,
        data: Arg(Vec::new()),
    })
}

fn leaving() -> Body {
    failure(
        FailureKind::Unreachable,
        "this node is leaving the mesh",
        Some("ask another node: --node SOCKET"),
    )
}

fn unreadable(names: &Names, host: PeerId, problem: &io::Error) -> Body {
    let text = format!(
        "the output is on host {} and could not be read: {problem}",
        names.name(host)
    );
    let hint = "aque nodes shows which hosts are alive";
    failure(FailureKind::Unreachable, text, Some(hint))
}

/// Both streams of one run, as far as the client has got them.
#[derive(Debug)]
struct Ways {
    run: RunId,
    /// Those that the client asked for.
    ways: Vec<Way>,
}

impl Ways {
    /// Returns what there is of this run, or begins it: another run's output begins anew.
    fn of<'a>(kept: &'a mut Option<Self>, run: RunId, query: &OutputQuery) -> &'a mut Self {
        if kept.as_ref().is_some_and(|ways| ways.run != run) {
            *kept = None;
        }
        kept.get_or_insert_with(|| Self {
            run,
            ways: [StreamName::Stdout, StreamName::Stderr]
                .into_iter()
                .filter(|stream| query.only.is_none_or(|only| only == *stream))
                .map(|stream| Way::new(stream, query.last_lines))
                .collect(),
        })
    }

    fn sent(&self) -> u64 {
        self.ways.iter().map(|way| way.sent).sum()
    }

    async fn live(
        &mut self,
        hosts: &impl Hosts,
        host: PeerId,
        client: &Client<'_>,
    ) -> io::Result<()> {
        let run = self.run;
        let streams = self.ways.iter_mut().map(async |way| {
            // The last lines of what is there by now, and then all that follows.
            if way.tail.is_some() || !client.query.follow {
                way.bring(hosts, host, run, What::Now, client).await?;
                way.flush(host, client).await?;
            }
            match client.query.follow {
                true => way.bring(hosts, host, run, What::Follow, client).await,
                false => Ok(()),
            }
        });
        futures::future::join_all(streams)
            .await
            .into_iter()
            .collect()
    }

    async fn stored(
        &mut self,
        hosts: &impl Hosts,
        host: PeerId,
        captured: [Captured; 2],
        client: &Client<'_>,
    ) -> io::Result<()> {
        let run = self.run;
        let streams = self.ways.iter_mut().map(async |way| {
            let Captured { len, digest } = match way.stream {
                StreamName::Stdout => captured[0],
                StreamName::Stderr => captured[1],
            };
            if let Some(digest) = digest {
                if way.sent < len {
                    let what = What::Stored(digest);
                    way.bring(hosts, host, run, what, client).await?;
                }
                way.verify(len, digest)?;
            }
            way.flush(host, client).await
        });
        futures::future::join_all(streams)
            .await
            .into_iter()
            .collect()
    }
}

/// One stream of a run.
#[derive(Debug)]
struct Way {
    stream: StreamName,
    /// Bytes that have come.
    sent: u64,
    hasher: blake3::Hasher,
    /// Keeps the last lines until all have come that there are.
    tail: Option<Tail>,
}

impl Way {
    fn new(stream: StreamName, last_lines: Option<u32>) -> Self {
        Self {
            stream,
            sent: 0,
            hasher: blake3::Hasher::new(),
            tail: last_lines.map(Tail::new),
        }
    }

    /// Brings what is wanted from where it stopped.
    async fn bring(
        &mut self,
        hosts: &impl Hosts,
        host: PeerId,
        run: RunId,
        what: What,
        client: &Client<'_>,
    ) -> io::Result<()> {
        let wanted = Wanted {
            run,
            stream: self.stream,
            from: self.sent,
            what,
        };
        let (to, mut pieces) = mpsc::channel(PIECES);
        let reading = async move { hosts.read(host, &wanted, &to).await };
        let taking = async move {
            while let Some(piece) = pieces.recv().await {
                self.take(&piece, host, client).await?;
            }
            Ok::<_, io::Error>(())
        };
        let (read, taken) = tokio::join!(reading, taking);
        taken.and(read)
    }

    async fn take(&mut self, piece: &[u8], host: PeerId, client: &Client<'_>) -> io::Result<()> {
        self.sent += piece.len() as u64;
        self.hasher.update(piece);
        match &mut self.tail {
            Some(tail) => {
                tail.push(piece);
                Ok(())
            }
            None => client.take(self.stream, host, piece).await,
        }
    }

    /// Compares what has come with the outcome.
    fn verify(&self, len: u64, digest: Digest) -> io::Result<()> {
        let same = self.sent == len && *self.hasher.finalize().as_bytes() == digest.0;
        let why = "its hash is not what the run's outcome says";
        if same {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
    }

    /// Hands the last lines over, if they were kept back.
    async fn flush(&mut self, host: PeerId, client: &Client<'_>) -> io::Result<()> {
        let Some(tail) = self.tail.take() else {
            return Ok(());
        };
        for piece in tail.finish().chunks(PIECE) {
            client.take(self.stream, host, piece).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use crdt::ids::Epoch;

    use super::super::local::tests::{HERE, RUN};
    use super::*;
    use crate::api::answers::Desk;
    use crate::guard::RunKey;

    const TEXT: &[u8] = b"one\ntwo\nthree\n";

    /// A host whose link breaks after so many bytes, once for each entry.
    struct Shaky {
        breaks: Mutex<Vec<usize>>,
        asked: AtomicUsize,
        /// After so many requests the output is elsewhere.
        move_at: usize,
        place: watch::Sender<Place>,
        moved: Place,
    }

    impl Shaky {
        fn new(place: Place, breaks: &[usize]) -> Self {
            Self {
                breaks: Mutex::new(breaks.iter().rev().copied().collect()),
                asked: AtomicUsize::new(0),
                move_at: usize::MAX,
                place: watch::channel(place).0,
                moved: place,
            }
        }
    }

    impl Hosts for Shaky {
        const PAUSES: Pauses = [Duration::from_millis(1); 4];

        async fn read(&self, host: PeerId, wanted: &Wanted, to: &Pieces) -> io::Result<()> {
            assert_eq!((host, wanted.run.task), (HERE, RUN.task));
            if self.asked.fetch_add(1, Ordering::Relaxed) + 1 == self.move_at {
                self.place.send_replace(self.moved);
            }
            let rest = &TEXT[usize::try_from(wanted.from).unwrap()..];
            let breaks = self.breaks.lock().unwrap().pop();
            let sent = &rest[..breaks.unwrap_or(rest.len()).min(rest.len())];
            if !sent.is_empty() {
                to.send(Bytes::from_static(sent)).await.unwrap();
            }
            match breaks {
                Some(_) => Err(io::ErrorKind::ConnectionReset.into()),
                None => Ok(()),
            }
        }
    }

    fn query(follow: bool, last_lines: Option<u32>) -> OutputQuery {
        OutputQuery {
            task: String::new(),
            only: Some(StreamName::Stdout),
            follow,
            last_lines,
            attempt: None,
        }
    }

    fn stored(text: &[u8]) -> Place {
        let captured = Captured {
            len: text.len() as u64,
            digest: Some(Digest(*blake3::hash(text).as_bytes())),
        };
        Place::Stored(HERE, RUN, [captured, Captured::default()])
    }

    /// What a client gets, and the last line.
    async fn brought(hosts: &Shaky, query: OutputQuery) -> (Vec<u8>, Body) {
        let (desk, mut queue) = Desk::new();
        let answers = desk.turn().await.unwrap().answers(1);
        let names = Names::default();
        let last = bring(
            hosts,
            hosts.place.subscribe(),
            &Client {
                query: &query,
                names: &names,
                answers: &answers,
            },
        )
        .await;
        let mut bytes = Vec::new();
        while let Ok(reply) = queue.try_recv() {
            let Body::Output(piece) = reply.body else {
                panic!("{reply:?}")
            };
            bytes.extend(piece.data.0);
        }
        (bytes, last.expect("the node is there"))
    }

    fn why(body: &Body) -> &str {
        match body {
            Body::Error(failure) => &failure.message,
            _ => "",
        }
    }

    #[tokio::test]
    async fn a_broken_link_is_taken_up_where_it_broke() {
        for breaks in [&[][..], &[5], &[0, 3, 0, 4], &[0, 0, 0, 0]] {
            let hosts = Shaky::new(stored(TEXT), breaks);
            let (bytes, last) = brought(&hosts, query(false, None)).await;
            assert_eq!((&bytes[..], why(&last)), (TEXT, ""), "{breaks:?}");
            assert_eq!(hosts.asked.load(Ordering::Relaxed), breaks.len() + 1);
        }
    }

    #[tokio::test]
    async fn a_host_that_stays_away_is_named() {
        let hosts = Shaky::new(stored(TEXT), &[0; 10]);
        let (bytes, last) = brought(&hosts, query(false, None)).await;
        assert!(bytes.is_empty() && why(&last).contains("could not be read: connection reset"));
    }

    #[tokio::test]
    async fn other_bytes_than_the_outcome_says_are_an_error() {
        for place in [stored(b"one\ntwo\nthre!\n"), stored(b"one\n")] {
            let hosts = Shaky::new(place, &[]);
            let (_, last) = brought(&hosts, query(false, None)).await;
            assert!(why(&last).contains("its hash is not"), "{last:?}");
        }
    }

    #[tokio::test]
    async fn last_lines_come_once_all_are_known() {
        let hosts = Shaky::new(stored(TEXT), &[6]);
        let (bytes, _) = brought(&hosts, query(false, Some(2))).await;
        assert_eq!(bytes, b"two\nthree\n");
    }

    #[tokio::test]
    async fn a_follower_goes_from_live_to_stored() {
        let live = Place::Live(HERE, RUN, Some(RunKey(1)));
        let hosts = Shaky {
            move_at: 3,
            moved: stored(TEXT),
            ..Shaky::new(Place::Waiting, &[4, 0])
        };
        let starting = async { hosts.place.send_replace(live) };
        let (_, (bytes, last)) = tokio::join!(starting, brought(&hosts, query(true, None)));
        assert_eq!((&bytes[..], why(&last)), (TEXT, ""));
    }

    #[tokio::test]
    async fn a_follower_of_the_last_lines_goes_on_from_them() {
        let hosts = Shaky {
            move_at: 2,
            moved: stored(TEXT),
            ..Shaky::new(Place::Live(HERE, RUN, Some(RunKey(1))), &[8])
        };
        let (bytes, last) = brought(&hosts, query(true, Some(1))).await;
        assert_eq!((&bytes[..], why(&last)), (&b"three\n"[..], ""));
    }

    #[tokio::test]
    async fn another_run_begins_anew() {
        let Place::Stored(host, run, captured) = stored(TEXT) else {
            unreachable!()
        };
        let epoch = Epoch(run.epoch.0 + 5);
        let hosts = Shaky {
            move_at: 1,
            moved: Place::Stored(host, RunId { epoch, ..run }, captured),
            ..Shaky::new(Place::Live(HERE, RUN, Some(RunKey(1))), &[4])
        };
        let (bytes, last) = brought(&hosts, query(true, None)).await;
        assert_eq!(
            (&bytes[..], why(&last)),
            (&b"one\none\ntwo\nthree\n"[..], "")
        );
    }

    #[tokio::test]
    async fn what_is_not_there_ends_at_once() {
        for (place, follow, text) in [
            (Place::Unknown, true, "no such task is known here"),
            (Place::Nothing, true, ""),
            (Place::Waiting, false, ""),
        ] {
            let (bytes, last) = brought(&Shaky::new(place, &[]), query(follow, None)).await;
            assert_eq!((&bytes[..], why(&last)), (&b""[..], text));
        }
    }
}
