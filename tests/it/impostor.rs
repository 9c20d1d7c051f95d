//! Something else answers on the node's socket, or a node that does not do its job: every verb ends in time, in one line, with the
//! status that says so. The impostors are this test's own: what is looked at is the program that asks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tempfile::TempDir;
use tests::{Aque, Cluster};

use super::verbs::{ASKING, ON_TERMINAL, status_of, with_tasks, words};

/// How a node greets.
const HELLO: &str =
    "{\"aque\":1,\"version\":\"0\",\"node\":\"n0\",\"tag\":\"aaaaaa\",\"mesh\":\"00\"}\n";

/// One that says nothing is given up soon.
const SHORT: &str = "100ms";

/// Something on a socket.
struct Impostor {
    _dir: TempDir,
    socket: PathBuf,
}

impl Impostor {
    /// Lets each connection be served so, on a thread of its own.
    fn that(serve: impl Fn(UnixStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let (this, path) = Self::nowhere();
        let listener = UnixListener::bind(path).expect("a socket can be made");
        let serve = Arc::new(serve);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                // Who asked has left: that is the end of it.
                thread::spawn(move || serve(stream));
            }
        });
        this
    }

    /// Says this to everybody at once, and closes.
    fn saying(text: &'static [u8]) -> Self {
        Self::that(move |mut stream| stream.write_all(text))
    }

    /// Greets, says this to every question, and goes on.
    fn answering(text: &'static str) -> Self {
        Self::that(move |mut stream| {
            stream.write_all(HELLO.as_bytes())?;
            for _question in BufReader::new(stream.try_clone()?).lines() {
                stream.write_all(text.as_bytes())?;
            }
            Ok(())
        })
    }

    /// Says this, and nothing more.
    fn falling_silent_after(text: &'static str) -> Self {
        Self::that(move |mut stream| {
            stream.write_all(text.as_bytes())?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        })
    }

    fn nowhere() -> (Self, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = dir.path().join("aque.sock");
        let path = socket.clone();
        (Self { _dir: dir, socket }, path)
    }

    fn aque(&self, words: &[&str]) -> Aque {
        Aque::new(&self.socket, words)
    }
}

/// Fails unless every verb tells of this impostor in one line that has `part`, within what it has patience for.
#[track_caller]
fn every_verb_tells(impostor: &Impostor, patience: &str, part: &str) {
    for (verb, more) in ASKING {
        let call = impostor.aque(&words(verb, more));
        let done = call.env("AQUE_PATIENCE", patience).run();
        if *verb == "doctor" {
            // What is wrong with the node is what it is asked for.
            assert_eq!((done.status.code(), &*done.stderr), (Some(1), ""), "{done}");
            assert!(done.stdout.starts_with("fault    node  "), "{done}");
            assert!(done.stdout.contains(part), "{done}");
            continue;
        }
        let line = done.refused(69);
        assert!(line.starts_with("aque: ") && line.contains(part), "{done}");
        assert!(line.contains("; "), "it says what to do: {done}");
    }
    let call = impostor.aque(&[ON_TERMINAL]).on_terminal();
    let done = call.env("AQUE_PATIENCE", patience).run();
    assert_eq!(done.status.code(), Some(69), "{done}");
    assert!(done.stdout.contains(part), "{done}");
}

/// Long enough for anything that comes.
const LONG: &str = "1h";

#[test]
fn a_socket_where_nobody_answers_is_given_up() {
    let silent = "the node did not answer within 100ms";
    every_verb_tells(&Impostor::falling_silent_after(""), SHORT, silent);
    // A greeting that does not end.
    let half = Impostor::falling_silent_after(&HELLO[..20]);
    every_verb_tells(&half, SHORT, silent);
    // Nobody takes the connection: the queue is full.
    let (deaf, path) = Impostor::nowhere();
    let (_listens, _waits) = full(&path).expect("a queue can be filled");
    every_verb_tells(&deaf, SHORT, "it takes no connection");
    drop((_listens, _waits));
    every_verb_tells(&deaf, LONG, "nobody listens");
    let (nobody, _) = Impostor::nowhere();
    every_verb_tells(&nobody, LONG, "there is no such socket");
}

/// Listens with room for one who wants to connect, and fills it.
fn full(path: &Path) -> io::Result<(OwnedFd, UnixStream)> {
    // Not for processes that other tests start meanwhile.
    let flags = SocketFlags::CLOEXEC;
    let listens = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&listens, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&listens, 0)?;
    Ok((listens, UnixStream::connect(path)?))
}

#[test]
fn a_node_that_greets_and_says_no_more_is_given_up() {
    for half in ["", "{\"id\":1,"] {
        let impostor = Impostor::that(move |mut stream| {
            stream.write_all(HELLO.as_bytes())?;
            stream.write_all(half.as_bytes())?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
        for (verb, more) in ASKING.iter().filter(|(verb, _)| *verb != "doctor") {
            let call = impostor.aque(&words(verb, more));
            let done = call.env("AQUE_PATIENCE", SHORT).run();
            let line = done.refused(69);
            assert!(line.contains("did not answer within 100ms"), "{done}");
        }
        let done = impostor.aque(&["events"]).env("AQUE_PATIENCE", SHORT).run();
        done.refused(69);
    }
}

#[test]
fn what_is_no_node_is_told_from_one() {
    let wrong = "what answers is not a node of this version";
    for said in [
        &b"hello\n"[..],
        b"{}\n",
        b"[]\n",
        b"\n",
        b"null\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        b"\x00\xff\xfe\x1b[2J\x07\n",
        b"{\"aque\":2,\"version\":\"9\",\"node\":\"n0\",\"tag\":\"aaaaaa\",\"mesh\":\"00\"}\n",
        b"{\"aque\":\"one\"}\n",
    ] {
        every_verb_tells(&Impostor::saying(said), LONG, wrong);
    }
    let ended = "the node ended the connection before it had answered";
    for said in [&b""[..], b"{\"aque\":1,\"vers"] {
        every_verb_tells(&Impostor::saying(said), LONG, ended);
    }
}

#[test]
fn answers_that_are_none_are_told() {
    let wrong = "what answers is not a node of this version";
    for said in [
        "hello\n",
        "{\"id\":1,\"end\":true}\n",
        "{\"id\":1,\"end\":true,\"nonsense\":{}}\n",
        "{\"id\":1,\"end\":true,\"stats\":{\"values\":{}}}\n",
        "{\"id\":1,\"end\":true,\"tasks\":7}\n",
    ] {
        let impostor = Impostor::answering(said);
        for (verb, more) in ASKING.iter().filter(|(verb, _)| *verb != "doctor") {
            let done = impostor
                .aque(&words(verb, more))
                .env("AQUE_PATIENCE", LONG)
                .run();
            let line = done.refused(69);
            assert!(line.contains(wrong), "{done}");
        }
    }
    let half = Impostor::that(|mut stream| {
        stream.write_all(HELLO.as_bytes())?;
        BufReader::new(stream.try_clone()?).read_line(&mut String::new())?;
        stream.write_all(b"{\"id\":1,\"end\":tr")
    });
    for (verb, more) in ASKING.iter().filter(|(verb, _)| *verb != "doctor") {
        let done = half.aque(&words(verb, more)).run();
        assert!(done.refused(69).contains("ended the connection"), "{done}");
    }
}

#[test]
fn a_line_without_an_end_is_read_no_further_than_a_line_may_be() {
    for first in ["", HELLO] {
        let most = Arc::new(AtomicUsize::new(0));
        let read = Arc::clone(&most);
        let impostor = Impostor::that(move |mut stream| {
            stream.write_all(first.as_bytes())?;
            let mut sent = 0;
            while let Ok(more) = stream.write(&[b'x'; 1 << 16]) {
                sent += more;
                read.fetch_max(sent, Ordering::SeqCst);
            }
            Ok(())
        });
        for (verb, more) in ASKING.iter().filter(|(verb, _)| *verb != "doctor") {
            let done = impostor
                .aque(&words(verb, more))
                .env("AQUE_PATIENCE", LONG)
                .run();
            assert!(done.refused(69).contains("a line is too long"), "{done}");
        }
        // Twice what a line may be: the rest is what sockets hold.
        assert!(most.load(Ordering::SeqCst) < 16 << 20);
    }
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_an_answer() {
    let cluster = Cluster::start(1);
    let node = with_tasks(&cluster);
    let real = node.socket();
    let slow = Impostor::that(move |stream| {
        let real = UnixStream::connect(&real)?;
        let (mut asks, mut asked) = (stream.try_clone()?, real.try_clone()?);
        thread::spawn(move || io::copy(&mut asks, &mut asked));
        for byte in BufReader::new(real).bytes() {
            (&stream).write_all(&[byte?])?;
        }
        Ok(())
    });
    for (verb, more) in ASKING {
        let done = slow.aque(&words(verb, more)).run();
        assert_eq!(done.status.code(), Some(status_of(verb)), "{done}");
    }
    assert_eq!(
        slow.aque(&["submit", "-w", "echo", "fine"]).run().ok(),
        "fine"
    );
}

#[test]
fn a_patience_that_is_none_is_refused() {
    let (nobody, _) = Impostor::nowhere();
    for stated in ["soon", "0", "-1s", "1e300"] {
        let done = nobody.aque(&["status"]).env("AQUE_PATIENCE", stated).run();
        let line = done.refused(2);
        assert!(
            line.contains("AQUE_PATIENCE") && line.contains(stated),
            "{line}"
        );
    }
}

#[test]
fn a_shell_that_completes_is_not_held_up() {
    let (nobody, _) = Impostor::nowhere();
    for impostor in [
        nobody,
        Impostor::falling_silent_after(""),
        Impostor::falling_silent_after(HELLO),
        Impostor::saying(b"hello\n"),
    ] {
        let dir = impostor.socket.parent().expect("a socket lies in a folder");
        let done = Aque::beside(dir, &["--", "aque", "show", ""])
            .env("AQUE_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", "2")
            .env("_CLAP_IFS", "\n")
            .run();
        let first = done.ok().lines().next();
        assert_eq!((first, &*done.stderr), (Some("last"), ""), "{done}");
    }
}
