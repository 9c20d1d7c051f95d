//! What is malformed, oversized, cut short, foreign or full ends in a clear error or a counted drop, and the node lives on.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use net::Ticket;
use tests::{Cluster, Evidence, Node, PATIENCE, Plan, settle};

use super::all_succeed;

/// Fails unless a node still does its whole job.
#[track_caller]
fn lives_on(node: &Node) {
    assert_eq!(node.ok(&["submit", "-w", "echo", "alive"]), "alive");
}

/// Returns the address of a node as `IP:PORT`.
fn tcp_address(node: &Node) -> String {
    let listen = &node.ready().listen;
    let tcp = listen.iter().find_map(|text| {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            ["", "ip4", ip, "tcp", port, ..] => Some(format!("{ip}:{port}")),
            _ => None,
        }
    });
    tcp.unwrap_or_else(|| panic!("no TCP address among {listen:?}"))
}

#[test]
fn a_second_daemon_on_one_data_directory_is_refused() {
    let cluster = Cluster::start(1);
    let second = Node::new(
        "n0",
        cluster[0].home(),
        &["--listen".into(), "127.0.0.1:0".into()],
    );
    let (status, said) = second.run_to_end(&[]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains(&cluster[0].data().display().to_string()),
        "{said}"
    );
    lives_on(&cluster[0]);
}

#[test]
fn tickets_cut_short_are_refused() {
    let cluster = Cluster::start(1);
    let ticket = cluster[0].ok(&["invite"]);
    assert!(ticket.starts_with("aque1"), "{ticket}");
    let half = &ticket[..ticket.len() / 2];
    let swapped =
        ticket[..ticket.len() - 1].to_owned() + if ticket.ends_with('a') { "b" } else { "a" };
    for (place, bad) in [
        half,
        &ticket[..ticket.len() - 1],
        &swapped,
        "aque1",
        "",
        "http://example.com",
    ]
    .iter()
    .enumerate()
    {
        let home = cluster.path(&format!("bad{place}"));
        let node = Node::new("bad", &home, &["--listen".into(), "127.0.0.1:0".into()]);
        let (status, said) = node.run_to_end(&["--join", bad]);
        assert!(
            matches!(status.code(), Some(1 | 2)),
            "{bad:?}: {status} {said}"
        );
        assert!(
            said.to_lowercase().contains("ticket") || said.contains("--join"),
            "{bad:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
    lives_on(&cluster[0]);
}

#[test]
fn unsafe_or_senseless_settings_are_refused() {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let node = Node::new("bad", home.path(), &[]);
    for (flags, part) in [
        (&["--heartbeat", "1s", "--lease", "2s"][..], "lease"),
        (&["--lease", "soon"], "--lease"),
        (&["--cpus", "-1"], "--cpus -1: it is 0 to"),
        (&["--committee", "2"], "--committee"),
        (&["--listen", "nonsense"], "--listen"),
        (&["--memory", "much"], "--memory"),
        (&["--config", "/no/such/file.toml"], "/no/such/file.toml"),
        (&["--bogus"], "--bogus"),
    ] {
        let (status, said) = node.run_to_end(flags);
        assert!(
            matches!(status.code(), Some(1 | 2)),
            "{flags:?}: {status} {said}"
        );
        assert!(
            said.contains(part) && !said.contains("panicked"),
            "{flags:?}: {said}"
        );
    }
}

#[test]
fn garbage_on_the_port_is_dropped() {
    let cluster = Cluster::start(2);
    let address = tcp_address(&cluster[0]);
    let noise: Vec<u8> = (0..1_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0])
        .collect();
    let huge_frame = [
        b"\x13/multistream/1.0.0\n".as_slice(),
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        &noise,
    ]
    .concat();
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    for bytes in [
        noise.clone(),
        huge_frame,
        http,
        vec![0; 1 << 20],
        vec![0xff; 1 << 16],
        Vec::new(),
    ] {
        let mut stream = TcpStream::connect(&address).expect("the port is open");
        stream
            .set_read_timeout(Some(PATIENCE))
            .and(stream.set_write_timeout(Some(PATIENCE)))
            .expect("a socket has limits");
        // It may hang up in the middle.
        let _written = stream.write_all(&bytes);
        let _shut = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // It ends the connection: by a reset, or after a word.
        let _read = stream.take(1 << 20).read_to_end(&mut answer);
        assert!(answer.len() < 1 << 16, "it answers garbage at length");
    }
    // Many that say nothing at all do not keep a peer out.
    let silent: Vec<TcpStream> = (0..100)
        .filter_map(|_| TcpStream::connect(&address).ok())
        .collect();
    let ticket = cluster[1].ok(&["invite"]);
    let mut cluster = cluster;
    cluster.add(2, &ticket);
    cluster.wait_whole();
    drop(silent);
    lives_on(&cluster[0]);
}

#[test]
fn garbage_on_the_socket_is_answered_or_dropped() {
    let cluster = Cluster::start(1);
    let ask = |line: &[u8]| {
        let mut stream = UnixStream::connect(cluster[0].socket()).expect("the socket is open");
        stream
            .set_read_timeout(Some(PATIENCE))
            .and(stream.set_write_timeout(Some(PATIENCE)))
            .expect("a socket has limits");
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor is free"));
        let mut hello = String::new();
        reader.read_line(&mut hello).expect("it greets");
        assert!(hello.contains("\"aque\":1"), "{hello}");
        // It may hang up in the middle.
        let _written = stream.write_all(line);
        let _shut = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _read = reader.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    for line in [
        "nonsense\n",
        "{}\n",
        "{\"id\":1}\n",
        "{\"id\":1,\"method\":\"no_such_method\"}\n",
        "{\"id\":1,\"method\":\"submit\",\"params\":7}\n",
        "{\"id\":1,\"method\":\"submit\",\"params\":{\"tasks\":[{\"argv\":[],\"cwd\":\"/\"}]}}\n",
        "{\"id\":1,\"method\":\"submit\",\"params\":{\"tasks\":[{\"argv\":[\"x\"],\"cwd\":\"relative\"}]}}\n",
        "{\"id\":1,\"method\":\"kill\",\"params\":{\"ids\":[\"\"],\"signal\":-5,\"grace\":{\"secs\":0,\"nanos\":0}}}\n",
        "{\"id\":1,\"method\":\"output\",\"params\":{\"task\":\"..\"}}\n",
        "[[[[[[[[[[[[[[[[\n",
    ] {
        let answer = ask(line.as_bytes());
        assert!(
            answer.contains("\"error\""),
            "{line:?} is answered by {answer:?}"
        );
    }
    // Cut short by the end of the connection.
    let half = ask(b"{\"id\":1,\"method\":\"nod");
    assert!(half.is_empty() || half.contains("\"error\""), "{half:?}");
    ask(&[0xff; 4_096]);
    ask(&[
        b"{\"id\":1,\"method\":\"nodes\",\"params\":{\"x\":\"".as_slice(),
        &vec![b'a'; 9 << 20],
        b"\"}}\n",
    ]
    .concat());
    let nested = [vec![b'['; 1 << 20], b"\n".to_vec()].concat();
    ask(&nested);
    let argument = "x".repeat(100_000);
    let too_large = cluster[0].aque(&["submit", "true", &argument]).run();
    assert_eq!(too_large.status.code(), Some(1), "{too_large}");
    assert_eq!(too_large.stderr.lines().count(), 1, "{too_large}");
    // Many who connect and say nothing do not keep others out for ever.
    let silent: Vec<UnixStream> = (0..200)
        .filter_map(|_| UnixStream::connect(cluster[0].socket()).ok())
        .collect();
    drop(silent);
    lives_on(&cluster[0]);
}

#[test]
fn a_node_of_another_mesh_stays_outside() {
    let cluster = Cluster::start(2);
    let own: Ticket = cluster[0].ok(&["invite"]).parse().expect("a ticket");
    let flags = ["--listen".to_owned(), "127.0.0.1:0".to_owned()];
    let mut stranger = Node::new("stranger", &cluster.path("stranger"), &flags);
    stranger.start();
    let theirs: Ticket = stranger.ready().ticket.parse().expect("a ticket");
    assert!(stranger.leave().success());
    // Its own secret, our address.
    let forged = Ticket {
        secret: theirs.secret,
        addrs: own.addrs,
    };
    stranger.launch(&["--join", &forged.to_string()]);
    stranger.wait_ready();
    let refused = |node: &Node| {
        node.figure("aque_net_refused")
            .map_err(|error| error.to_string())
    };
    settle("the stranger to be refused", || {
        match refused(&cluster[0])? + refused(&cluster[1])? {
            0 => Err(format!(
                "nobody refused anyone; the stranger says:\n{}",
                stranger.log_tail()
            )),
            _ => Ok(()),
        }
    });
    let told = (0..2).any(|place| {
        let checkup = cluster[place].aque(&["doctor", "--json"]).run().json();
        let checks = checkup["checks"].as_array().expect("a list");
        checks
            .iter()
            .any(|check| check["topic"] == "gate" && check["health"] == "warning")
    });
    assert!(told, "'aque doctor' tells of who was refused");
    for (node, count) in [(&cluster[0], 2), (&cluster[1], 2), (&stranger, 1)] {
        let hosts = node.hosts().expect("it answers").nodes;
        assert_eq!(hosts.len(), count, "{hosts:#?}");
    }
    lives_on(&cluster[0]);
}

#[test]
fn a_torn_log_is_cut_and_said_so() {
    let mut cluster = Cluster::start(1);
    let evidence = Evidence::new(cluster.dir());
    let ids = cluster[0].submit_many(20, &evidence.brief());
    all_succeed(&cluster, ids.len());
    // A flipped byte in what was written last, then garbage after the end: each is found, told, and survived.
    let damages: [fn(&Path); 2] = [|path| flip(path, written(path)), append_garbage];
    for (round, damage) in damages.into_iter().enumerate() {
        cluster[0].kill_host();
        damage(&newest_log(&cluster[0].data().join("log")));
        cluster[0].start();
        let told = cluster[0].log().matches("which was cut off").count();
        assert_eq!(told, round + 1, "{}", cluster[0].log_tail());
        settle("all tasks to have ended again", || {
            let tasks = cluster[0].tasks().map_err(|error| error.to_string())?;
            let open = tasks.iter().find(|line| !line.state.is_complete());
            open.map_or(Ok(()), |line| Err(format!("{} is {}", line.id, line.state)))
        });
        lives_on(&cluster[0]);
    }
    let known = cluster[0].tasks().expect("it answers");
    assert!(
        ids.iter().all(|id| known.iter().any(|line| line.id == *id)),
        "no task is lost"
    );
}

#[test]
fn a_log_damaged_in_its_middle_makes_a_new_member() {
    let mut cluster = Plan::of(3).short_lease().start();
    let evidence = Evidence::new(cluster.dir());
    let mut ids = cluster[1].submit_many(30, &evidence.brief());
    all_succeed(&cluster, ids.len());
    let tag = cluster[1].ready().tag.clone();
    cluster[1].kill_host();
    let log = newest_log(&cluster[1].data().join("log"));
    flip(&log, written(&log) / 2);
    cluster[1].start();
    // Its votes may be among what cannot be read, so it must not vote under its old key again.
    assert_ne!(cluster[1].ready().tag, tag);
    assert!(
        cluster[1].log().contains("the log is damaged"),
        "{}",
        cluster[1].log_tail()
    );
    cluster.wait_whole();
    ids.extend(cluster[1].submit_many(6, &evidence.brief()));
    all_succeed(&cluster, ids.len());
    evidence.history().judge(&ids, &["n1"]);
}

/// Returns the file of the log that was written to last.
fn newest_log(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).expect("the log is a folder").flatten();
    let files = entries.filter(|entry| {
        entry
            .metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() > 0)
    });
    let newest = files.max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
    newest.expect("the log has a file").path()
}

/// Returns where the written part of a file ends: files of the log may be longer than what is in them.
fn written(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("a file of the log can be read");
    let last = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("something was written");
    u64::try_from(last).expect("a file is not so long")
}

/// Turns over every bit of one byte.
fn flip(path: &Path, at: u64) {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file of the log can be opened");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.read_exact(&mut byte))
        .expect("it can be read");
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.write_all(&[!byte[0]]))
        .expect("it can be written");
}

fn append_garbage(path: &Path) {
    let at = written(path) + 1;
    let mut file = File::options()
        .write(true)
        .open(path)
        .expect("a file of the log can be opened");
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.write_all(b"no record at all"))
        .expect("it can be written");
}

#[test]
fn a_full_disk_refuses_work_until_there_is_room() {
    if !tests::lan::is_root() {
        tests::lan::skip("a small disk", "mounting needs root");
        return;
    }
    let temp = tempfile::tempdir().expect("a temporary directory can be made");
    let data = temp.path().join("n0/data");
    fs::create_dir_all(&data).expect("a directory can be made");
    let mount = format!(
        "mount -t tmpfs -o size=48m,mode=700 aque-it '{}' && exec \"$@\"",
        data.display()
    );
    let flags = ["--listen".to_owned(), "127.0.0.1:0".to_owned()];
    let node = Node::new("n0", &temp.path().join("n0"), &flags);
    // The disk lives in a namespace of the node's own, so that nothing of it can be left over.
    let mut node = node.through(["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    node.start();
    lives_on(&node);
    let disk = PathBuf::from(format!("/proc/{}/root", node.pid().as_raw_pid()))
        .join(data.strip_prefix("/").expect("absolute"));
    fill(&disk.join("ballast"));
    // What was set aside before goes first. The task prints nothing: its output would have no room either.
    let filler = "x".repeat(30_000);
    let refused = settle("the node to refuse work", || {
        let done = node.aque(&["submit", "true", &filler]).run();
        if done.status.success() {
            Err("it still takes it")
        } else {
            Ok(done)
        }
    });
    assert!(refused.refused(75).contains("disk"), "{refused}");
    node.ok(&["status"]);
    node.ok(&["nodes"]);
    fs::remove_file(disk.join("ballast")).expect("the ballast can be removed");
    settle("the node to take work again", || {
        let done = node.aque(&["submit", "-w", "echo", "room"]).run();
        if done.status.success() {
            Ok(())
        } else {
            Err(done.to_string())
        }
    });
    settle("everything to end", || {
        let tasks = node.tasks().map_err(|error| error.to_string())?;
        let open = tasks.iter().find(|line| line.state.name() != "success");
        open.map_or(Ok(()), |line| {
            Err(format!("{} is {} ({:?})", line.id, line.state, line.reason))
        })
    });
    node.kill_host();
}

/// Writes until the disk is full.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file can be made");
    let mut block = vec![1; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

#[test]
fn a_ticket_that_leads_nowhere_leaves_a_node_by_itself() {
    // Started with a ticket whose only address answers to nobody: it is a node by itself, and says that it is alone.
    let cluster = Plan::of(1).start();
    let own: Ticket = cluster[0].ok(&["invite"]).parse().expect("a ticket");
    let dead = Ticket {
        secret: own.secret,
        addrs: vec!["/ip4/127.0.0.1/tcp/1".parse().expect("an address")],
    };
    let flags = ["--listen".to_owned(), "127.0.0.1:0".to_owned()];
    let mut lonely = Node::new("lonely", &cluster.path("lonely"), &flags);
    lonely.launch(&["--join", &dead.to_string()]);
    lonely.wait_ready();
    assert_eq!(lonely.hosts().expect("it answers").nodes.len(), 1);
    lives_on(&lonely);
    assert!(lonely.leave().success());
}
