//! A client and nodes that answer as they should, or not at all, or nonsense.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;
use crate::api::wire::{FailureKind, StatusQuery};

const HELLO: &str =
    r#"{"aque":1,"version":"0","node":"alpha","tag":"aaaaaa","mesh":"00","new":[1]}"#;

/// Serves one connection: says `greeting`, then answers each line by `answer`.
fn serve(
    greeting: &str,
    answer: impl Fn(&serde_json::Value) -> String + Send + 'static,
) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let greeting = greeting.to_owned();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(greeting.as_bytes()).unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Ok(line) = line else { return };
            let answer = answer(&serde_json::from_str(&line).unwrap());
            if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (temp, path)
}

fn connected(answer: &'static str) -> (tempfile::TempDir, Client) {
    let (temp, path) = serve(&format!("{HELLO}\n"), |_| answer.to_owned());
    let client = Client::connect(&[path]).unwrap();
    (temp, client)
}

#[test]
fn asks_and_is_answered() {
    let (_temp, path) = serve(&format!("{HELLO}\n"), |question| {
        assert_eq!(question["method"], "invite");
        let id = &question["id"];
        // A line of another question comes in between, and a field that is not known.
        format!(
            "{{\"id\":99,\"end\":true,\"stats\":{{\"values\":{{}}}}}}\n\
             {{\"id\":{id},\"end\":true,\"invitation\":{{\"ticket\":\"aque1x\",\"until\":1}}}}\n"
        )
    });
    let mut client = Client::connect(&[path]).unwrap();
    assert_eq!(client.hello().node, "alpha");
    assert_eq!(client.invite().unwrap().ticket, "aque1x");
    assert_eq!(client.invite().unwrap().ticket, "aque1x");
}

#[test]
fn pages_are_joined() {
    let (_temp, mut client) = connected(concat!(
        r#"{"id":1,"tasks":{"tasks":[],"more":0}}"#,
        "\n",
        r#"{"id":1,"end":true,"tasks":{"tasks":[],"more":7}}"#,
        "\n"
    ));
    assert_eq!(client.status(StatusQuery::default()).unwrap().more, 7);
}

#[test]
fn refusals_keep_their_kind() {
    let (_temp, mut client) = connected(concat!(
        r#"{"id":1,"end":true,"error":{"kind":"busy","message":"full","hint":"wait"}}"#,
        "\n"
    ));
    let error = client.invite().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (FailureKind::Busy, "full".to_owned())
    );
}

#[test]
fn garbage_is_an_error() {
    for greeting in ["hello\n", "{}\n", "\n", "{\"aque\":1\n", "\u{7}\u{1b}[2J\n"] {
        let (_temp, path) = serve(greeting, |_| String::new());
        let error = Client::connect(&[path]).unwrap_err();
        assert!(matches!(error, ClientError::Garbled(_)), "{error}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
    let (_temp, mut client) = connected("{\"id\":1,\"end\":true,\"nonsense\":{}}\n");
    assert!(matches!(client.invite(), Err(ClientError::Garbled(_))));
    let (_temp, mut client) =
        connected("{\"id\":1,\"end\":true,\"invitation\":{\"ticket\":\"x\"}}\n");
    let error = client.nodes().unwrap_err().to_string();
    assert!(
        error.contains("answers 'nodes' with 'invitation'"),
        "{error}"
    );
}

#[test]
fn other_versions_are_told() {
    let (_temp, path) = serve(
        &HELLO
            .replace("\"aque\":1", "\"aque\":2")
            .replace('}', "}\n"),
        |_| String::new(),
    );
    let error = Client::connect(&[path]).unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
}

#[test]
fn a_connection_that_ends_is_an_error() {
    let (_temp, mut client) = connected("");
    assert!(matches!(client.invite(), Err(ClientError::Closed)));
}

#[test]
fn silence_ends_at_the_limit() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let stream = UnixStream::connect(&path).unwrap();
    let hello = serde_json::from_str(HELLO).unwrap();
    let stream = BufReader::new(stream);
    let mut client = Client {
        host: None,
        stream,
        socket: path,
        hello,
        near: String::new(),
        partial: Vec::new(),
        whole: Limit::Never,
        asked: 0,
        patience: Patience::ANSWER,
    };
    let mut replies = client.start(Call::Nodes {}).unwrap();
    let limit = Limit::within(Duration::from_millis(20));
    assert!(matches!(replies.next(limit), Ok(Heard::Nothing)));
}

#[test]
fn a_line_that_has_begun_must_end() {
    let (_temp, path) = serve(&format!("{HELLO}\n"), |_| "{\"id\":1,".to_owned());
    let patience = Patience::of(Duration::from_millis(20));
    let mut client = Client::connect_with(&[path], patience).unwrap();
    let mut replies = client.start(Call::Nodes {}).unwrap();
    // Whoever waits for ever waits for a beginning.
    let error = replies.next(Limit::Never).unwrap_err();
    assert!(matches!(error, ClientError::Silent(_)), "{error}");
}

#[test]
fn no_socket_names_what_was_tried() {
    let temp = tempfile::tempdir().unwrap();
    let (missing, dead) = (temp.path().join("missing"), temp.path().join("dead"));
    let error = Client::connect(std::slice::from_ref(&missing)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("missing (there is no such socket)"),
        "{error}"
    );
    assert_eq!(error.kind(), FailureKind::Unreachable);
    drop(UnixListener::bind(&dead).unwrap());
    let text = Client::connect(&[missing, dead]).unwrap_err().to_string();
    assert!(
        text.contains("dead (nobody listens)") && !text.contains("missing"),
        "{text}"
    );
}

#[test]
fn own_sockets_table() {
    let look = |set: &'static [(&str, &str)]| {
        own_sockets(move |name| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    };
    assert_eq!(look(&[]), [PathBuf::from("/var/lib/aque/aque.sock")]);
    assert_eq!(
        look(&[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/home/x")]),
        [
            "/run/user/7/aque.sock",
            "/home/x/.local/share/aque/aque.sock",
            "/var/lib/aque/aque.sock"
        ]
        .map(PathBuf::from)
    );
    assert_eq!(
        look(&[("AQUE_DATA", "/d"), ("HOME", "relative")])[0],
        PathBuf::from("/d/aque.sock")
    );
}
