//! Runs of other users than the guard's: who is refused, and that nothing of a start that hangs holds up the guard. As another user than
//! root nobody can become somebody else: then these say so and are skipped.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node::clock::boottime;
use node::executor::{Environment, ExecEvent, Order};
use node::guard::{
    Cause, Found, FoundState, How, Latitude, Person, Refusal, RunKey, Sink, Stdin, Surroundings,
};
use node::users::User;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::rig::Rig;

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
async fn rig() -> Option<Rig> {
    if rustix::process::geteuid().is_root() {
        return Some(Rig::new().await);
    }
    eprintln!("skipped: this is not root");
    None
}

fn person(rig: &Rig, user: &str) -> Person {
    Person {
        user: user.to_owned(),
        group: None,
        latitude: Latitude::Ordinary,
        surroundings: Surroundings::Own,
        files: vec![rig.path("progress")],
    }
}

/// An order of a script that another user runs where everybody may be.
fn script(rig: &Rig, key: u64, person: Person, script: &str) -> Order {
    Order {
        cwd: PathBuf::from("/"),
        person: Some(person),
        ..rig.script(key, script)
    }
}

/// A pipe with a name that everybody may read: who opens it waits for a writer.
fn pipe(rig: &Rig) -> PathBuf {
    let everybody = Permissions::from_mode(0o711);
    std::fs::set_permissions(rig.temp.path(), everybody).unwrap();
    let path = rig.path("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    path
}

/// An order whose launcher hangs at what is the node's, as at a file system that does not answer.
fn hanging(rig: &Rig, key: u64, pipe: &Path) -> Order {
    Order {
        stdin: Stdin::Stored(pipe.to_owned()),
        ..script(rig, key, person(rig, "nobody"), "cat; id -un")
    }
}

#[tokio::test]
async fn a_run_has_its_users_rights_and_no_other() {
    let Some(mut rig) = rig().await else { return };
    let nobody = User::named("nobody").unwrap().unwrap();
    let everybody = Permissions::from_mode(0o711);
    std::fs::set_permissions(rig.temp.path(), everybody).unwrap();
    let say = "id -u; id -g; echo $HOME $USER; echo yes >> /dev/stdout; echo 0.5 > $P";
    let mut order = script(&rig, 1, person(&rig, "nobody"), say);
    let progress = rig.path("progress").into_os_string().into_encoded_bytes();
    order.extra.push((b"P".to_vec(), progress));
    rig.executor.order(order).unwrap();
    rig.started().await;
    assert_eq!(rig.ended().await.how, How::Exited(0));
    let home = nobody.home.display();
    let expected = format!("{}\n{}\n{home} nobody\nyes\n", nobody.uid, nobody.gid);
    assert_eq!(rig.output(1), expected);
    let progress = rig.path("progress");
    assert_eq!(progress.metadata().unwrap().uid(), nobody.uid);
    assert_eq!(std::fs::read_to_string(progress).unwrap(), "0.5\n");
    assert_eq!(rig.path("1.out").metadata().unwrap().uid(), 0, "the node's");
    // Another's variables do not say where this user is at home; the task's own do.
    let mut order = script(&rig, 2, person(&rig, "nobody"), "echo $HOME $USER");
    order.extra.push((b"USER".to_vec(), b"x".to_vec()));
    let vars = [("HOME", "/root"), ("PATH", "/usr/bin:/bin")];
    let vars = vars.map(|(name, value)| (name.into(), value.into()));
    order.env = Arc::new(Environment::new(vars.to_vec()));
    let mut anothers = Order {
        key: RunKey(3),
        stdout: Sink::Captured(rig.path("3.out")),
        ..order.clone()
    };
    if let Some(person) = &mut anothers.person {
        person.surroundings = Surroundings::Anothers;
    }
    for (order, said) in [
        (order, "/root x\n".to_owned()),
        (anothers, format!("{home} x\n")),
    ] {
        let key = order.key.0;
        rig.executor.order(order).unwrap();
        rig.started().await;
        rig.ended().await;
        assert_eq!(rig.output(key), said);
    }
}

#[tokio::test]
async fn what_a_task_names_is_opened_with_its_users_rights() {
    let Some(mut rig) = rig().await else { return };
    let everybody = Permissions::from_mode(0o711);
    std::fs::set_permissions(rig.temp.path(), everybody).unwrap();
    let secret = rig.path("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o700)).unwrap();
    let (key, new) = (secret.join("key"), secret.join("new"));
    std::fs::write(&key, "a word").unwrap();
    let plain = |key| script(&rig, key, person(&rig, "nobody"), "cat");
    let name = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let orders = [
        Order {
            cwd: secret.clone(),
            ..plain(1)
        },
        Order {
            stdin: Stdin::File(name(&key)),
            ..plain(2)
        },
        Order {
            stdout: Sink::File(new.clone()),
            ..plain(3)
        },
        Order {
            stderr: Sink::File(key.clone()),
            ..plain(4)
        },
    ];
    // What is the node's is opened for it, to be read.
    let again = "cat; cat /dev/stdin; echo bad 2>/dev/null > /dev/stdin || echo no";
    let stored = Order {
        stdin: Stdin::Stored(key.clone()),
        ..script(&rig, 5, person(&rig, "nobody"), again)
    };
    for order in orders {
        rig.executor.order(order).unwrap();
        let refusal = rig.refused().await.to_string();
        assert!(refusal.contains("permission denied"), "{refusal}");
        assert!(refusal.contains("secret"), "{refusal}");
    }
    assert!(!new.exists());
    rig.executor.order(stored).unwrap();
    rig.started().await;
    rig.ended().await;
    assert_eq!(rig.output(5), "a worda wordno\n");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "a word");
}

#[tokio::test]
async fn who_is_not_there_or_may_not_is_refused() {
    let Some(mut rig) = rig().await else { return };
    let plain = person(&rig, "");
    let with = |user: &str, group: Option<&str>, latitude| Person {
        user: user.to_owned(),
        group: group.map(str::to_owned),
        latitude,
        ..plain.clone()
    };
    let (ordinary, even_root) = (Latitude::Ordinary, Latitude::EvenRoot);
    let rows = [
        (
            with("no-such-user", None, even_root),
            "there is no user no-such-user",
        ),
        (with("0", None, even_root), "there is no user 0"),
        (with("", None, even_root), "there is no user "),
        (with("root", None, ordinary), "root is root on this host"),
        (
            with("nobody", Some("no-such-group"), even_root),
            "there is no group",
        ),
        (
            with("nobody", Some("0"), Latitude::AnyGroup),
            "there is no group 0",
        ),
        (
            with("nobody", Some("root"), even_root),
            "nobody is not in group root",
        ),
    ];
    for (key, (person, why)) in (1..).zip(rows) {
        let order = script(&rig, key, person, "true");
        rig.executor.order(order).unwrap();
        let refusal = rig.refused().await.to_string();
        assert!(refusal.contains(why), "{refusal}");
        assert!(
            !rig.path(&format!("{key}.out")).exists(),
            "nothing was made"
        );
    }
    for (key, person) in [
        (20, with("root", None, even_root)),
        (21, with("nobody", Some("root"), Latitude::AnyGroup)),
    ] {
        let order = script(&rig, key, person, "id -g");
        rig.executor.order(order).unwrap();
        rig.started().await;
        assert_eq!(rig.ended().await.how, How::Exited(0));
        assert_eq!(rig.output(key), "0\n");
    }
    let missing = Order {
        argv: vec![b"/no/such/program".to_vec()],
        ..script(&rig, 30, person(&rig, "nobody"), "")
    };
    rig.executor.order(missing).unwrap();
    let refusal = rig.refused().await;
    assert!(matches!(refusal, Refusal::Program { .. }), "{refusal:?}");
    assert_eq!(rig.executor.live(), 0, "nothing of them is left");
}

#[tokio::test]
async fn a_start_that_hangs_holds_up_nobody() {
    let Some(mut rig) = rig().await else { return };
    let pipe = pipe(&rig);
    rig.executor.order(hanging(&rig, 1, &pipe)).unwrap();
    let ended = rig.run(2, "true").await;
    assert_eq!((ended.key, ended.how), (RunKey(2), How::Exited(0)));
    std::fs::write(&pipe, "input\n").unwrap();
    assert_eq!(rig.started().await.0, 1);
    assert_eq!(rig.ended().await.how, How::Exited(0));
    assert_eq!(rig.output(1), "input\nnobody\n");
}

#[tokio::test]
async fn a_start_that_hangs_is_ended_as_any_run() {
    let Some(mut rig) = rig().await else { return };
    let pipe = pipe(&rig);
    let mut order = hanging(&rig, 1, &pipe);
    order.deadline = boottime() + Duration::from_millis(500);
    rig.executor.order(order).unwrap();
    assert_eq!(rig.refused().await, Refusal::DeadlinePassed);
    rig.executor.order(hanging(&rig, 2, &pipe)).unwrap();
    rig.executor.kill(RunKey(2));
    assert_eq!(rig.refused().await, Refusal::ShuttingDown);
    // However far its deadline is, it is given up.
    rig.executor.order(hanging(&rig, 3, &pipe)).unwrap();
    let refusal = rig.refused().await.to_string();
    assert!(refusal.contains("did not answer"), "{refusal}");
    // Nobody has it open any more: it would be written to else.
    let flags = i32::from_ne_bytes(OFlags::NONBLOCK.bits().to_ne_bytes());
    let mut options = File::options();
    let written = options.write(true).custom_flags(flags).open(&pipe);
    assert!(written.is_err());
}

#[tokio::test]
async fn a_run_on_its_way_is_found_by_the_next_node() {
    let Some(mut rig) = rig().await else { return };
    let pipe = pipe(&rig);
    rig.executor.order(hanging(&rig, 1, &pipe)).unwrap();
    assert_eq!(rig.run(2, "true").await.how, How::Exited(0));
    let temp = Arc::clone(&rig.temp);
    drop(rig);
    let mut rig = Rig::at(temp).await;
    let alive = |found: &&Found| matches!(found.state, FoundState::Alive { .. });
    let found: Vec<RunKey> = rig.found.iter().filter(alive).map(|of| of.key).collect();
    assert_eq!(found, [RunKey(1)]);
    std::fs::write(&pipe, "").unwrap();
    assert_eq!(rig.started().await.0, 1);
    match rig.event().await {
        ExecEvent::Ended(ended) => assert_eq!(ended.cause, Cause::ByItself),
        other => panic!("instead of an end: {other:?}"),
    }
}
