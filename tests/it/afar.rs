//! Hosts of the mesh that are asked through this machine's own node, by name or tag.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

use tests::{Cluster, Guest, Node, Outcome, Plan, settle};

use super::{wait_known, wait_state};

/// The host that says of itself that it is asked.
fn asked(node: &Node, whom: &str) -> Result<String, String> {
    let said = node.aque_beside(&["--node", whom, "--json", "nodes"]).run();
    if !said.status.success() {
        return Err(said.to_string());
    }
    let lines = said.json();
    let own = lines["nodes"].as_array().into_iter().flatten();
    let own = own.filter(|line| line["own"] == true);
    let names: Vec<&str> = own.filter_map(|line| line["name"].as_str()).collect();
    Ok(names.join(" "))
}

#[test]
fn a_host_is_asked_by_its_name_through_the_node_of_this_machine() {
    let cluster = Cluster::start(3);
    let tag = cluster[2].ready().tag.clone();
    for (whom, name) in [("n1", "n1"), (&tag, "n2"), ("n0", "n0")] {
        settle(&format!("{whom} to answer"), || {
            match asked(&cluster[0], whom)? {
                found if found == name => Ok(()),
                found => Err(found),
            }
        });
    }
    let id = cluster[0].submit(&[], &["echo", "here"]);
    wait_known(&cluster[1], &[&id]);
    wait_state(&cluster[1], &id, "success");
    let afar = |args: &[&str]| {
        cluster[0]
            .aque_beside(&[&["--node", "n1"], args].concat())
            .run()
    };
    // Own tasks are told of as at home, and what takes many lines comes whole.
    assert!(afar(&["status"]).ok().contains(&id));
    assert!(afar(&["show", &id]).ok().contains("echo here"));
    assert!(afar(&["explain", &id]).ok().contains("has ended"));
    afar(&["wait", &id]).ok();
    assert!(afar(&["events", "--past"]).ok().contains(&id));
    assert!(afar(&["doctor"]).stdout.contains("disk"));
    // A reader that looks on lasts as long as it reads.
    let many: Vec<String> = cluster[0].submit_many(1_500, &["true".to_owned()]);
    wait_known(&cluster[1], &[&many[1_499]]);
    let listed = afar(&["--json", "status", "--flat", "-x"]).json();
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(1_501));
}

/// Asks `n1` through the node of `n0`.
fn afar(cluster: &Cluster, args: &[&str]) -> Outcome {
    cluster[0]
        .aque_beside(&[&["--node", "n1"], args].concat())
        .run()
}

#[test]
fn own_tasks_are_had_through_another_host_as_at_home() {
    let cluster = Cluster::start(2);
    let ask = |args: &[&str]| afar(&cluster, args);
    let tag = &cluster[1].ready().tag;
    // It is that host's task, and told of as at home.
    let id = ask(&["submit", "--hold", "echo", "said"]).ok().to_owned();
    assert_eq!(id, format!("{tag}-1"));
    wait_state(&cluster[1], &id, "held");
    ask(&["edit", "--name", "first", &id]).ok();
    ask(&["release", &id]).ok();
    assert_eq!(ask(&["output", "-w", &id]).ok(), "said");
    let shown = ask(&["show", "1"]);
    assert!(shown.ok().contains("first"), "{shown}");
    let done = ask(&["submit", "-w", "sh", "-c", "echo worse; exit 3"]);
    assert_eq!((done.status.code(), &*done.stdout), (Some(3), "worse\n"));
    let read = ask(&["submit", "-w", "--pipe-from", &id, "cat"]);
    assert_eq!(read.ok(), "said");
    let call = ["--node", "n1", "xargs", "-n1", "-w", "-k", "echo"];
    let said = cluster[0].aque_beside(&call).input("a b c").run();
    assert_eq!(said.ok(), "a\nb\nc");
    // A terminal is here, whichever host is asked.
    let script = "read word; echo heard $word on $AQUE_HOST";
    let list = cluster.path("list");
    fs::write(&list, "one").expect("a file can be written");
    let list = list.display().to_string();
    let lent = ["xargs", "-a", &list, "-o", "-w", "sh", "-c", script];
    let lent = cluster[0].aque_beside(&[&["--node", "n1"][..], &lent].concat());
    let said = lent.input("hello\n").on_terminal().run();
    assert!(said.ok().contains("heard hello on n0"), "{said}");
    let long = ask(&["submit", "sleep", "1000"]).ok().to_owned();
    wait_state(&cluster[1], &long, "running");
    ask(&["kill", &long]).ok();
    wait_state(&cluster[0], &long, "killed");
    ask(&["retry", "-s", &id]).ok();
    wait_state(&cluster[0], &id, "success");
    ask(&["rm", &long]).ok();
    assert!(ask(&["show", &long]).refused(1).contains("was removed"));
    // What needs a person on that host is not done from another.
    for args in [
        &["settings", "set", "lost-limit", "3"][..],
        &["queue", "set", "render", "--slots", "2"],
        &["drain"],
        &["undrain"],
        &["forget", "n0"],
        &["invite"],
    ] {
        let said = ask(args);
        let why = said.refused(77);
        assert!(why.contains("one's own tasks alone"), "{said}");
        assert!(why.contains("leave --node out"), "{said}");
    }
    let again = ["--node", "n1", "--json", "nodes"];
    assert!(cluster[0].aque_beside(&again).run().status.success());
}

#[test]
fn from_afar_everybody_has_their_own_tasks_and_no_others() {
    let cluster = Plan::of(2).root_stays().start();
    let Some(ann) = Guest::named("www-data", cluster.dir()) else {
        return;
    };
    let bob = Guest::named("daemon", cluster.dir()).expect("as for the other");
    let by = |who: &Guest, args: &[&str]| {
        cluster[0]
            .aque_beside_by(who, &[&["--node", "n1"], args].concat())
            .run()
    };
    let said = by(&ann, &["submit", "-w", "id", "-un"]);
    assert_eq!(said.ok(), "www-data");
    let id = by(&ann, &["submit", "--hold", "true"]).ok().to_owned();
    let roots = cluster[1].submit(&["--hold"], &["true"]);
    wait_known(&cluster[0], &[&id, &roots]);
    for (who, task, owner) in [(&bob, &id, "www-data"), (&ann, &roots, "root")] {
        for verb in ["kill", "release", "output", "edit"] {
            let more: &[&str] = if verb == "edit" { &["-p", "7"] } else { &[] };
            let said = by(who, &[&[verb, task.as_str()], more].concat());
            let why = said.refused(77);
            assert!(why.contains(&format!("is {owner}'s")), "{said}");
        }
    }
    // Nobody is somebody else by way of another host, and root of one is not root of all.
    let said = by(&ann, &["submit", "--user", "daemon", "true"]);
    assert!(said.refused(77).contains("may not run tasks as daemon"));
    for args in [
        &["submit", "true"][..],
        &["xargs", "true"],
        &["submit", "--user", "www-data", "true"],
        &["kill", &id],
        &["release", &roots],
        &["output", &roots],
    ] {
        afar(&cluster, args).refused(77);
    }
    let why = afar(&cluster, &["release", &roots]);
    assert!(why.stderr.contains("root-tasks anywhere"), "{why}");
    wait_state(&cluster[0], &roots, "held");
    wait_state(&cluster[0], &id, "held");
    // Unless the mesh says so.
    cluster[1].ok(&["settings", "set", "root-tasks", "anywhere"]);
    let said = afar(&cluster, &["submit", "-w", "id", "-un"]);
    assert_eq!(said.ok(), "root");
    afar(&cluster, &["release", &roots]).ok();
    let said = afar(&cluster, &["submit", "--user", "www-data", "true"]);
    assert!(said.refused(77).contains("leave --node out"), "{said}");
    let said = afar(&cluster, &["kill", &id]);
    assert!(said.refused(77).contains("is www-data's"), "{said}");
}

#[test]
fn a_users_node_does_the_bidding_of_that_user_alone_from_afar_too() {
    let mut cluster = Plan::of(1).start();
    let Some(ann) = Guest::named("www-data", cluster.dir()) else {
        return;
    };
    let ticket = cluster[0].ok(&["invite"]);
    cluster.add_owned(&ann, 2, &ticket);
    cluster.wait_whole();
    // Root may say anything at home, and at the socket of that node; but that is another host.
    let why = afar(&cluster, &["submit", "true"]);
    let line = why.refused(77);
    assert!(
        line.contains("www-data alone may do more than look"),
        "{line}"
    );
    let own = cluster[0]
        .aque_beside_by(&ann, &["--node", "n1", "submit", "-w", "id", "-un"])
        .run();
    assert_eq!(own.ok(), "www-data");
}

#[test]
fn who_cannot_be_asked_is_told_in_a_line() {
    let mut cluster = Cluster::start(2);
    let ask =
        |cluster: &Cluster, whom: &str| cluster[0].aque_beside(&["--node", whom, "status"]).run();
    let said = ask(&cluster, "n7");
    assert!(
        said.refused(1)
            .contains("no host of the mesh is called \"n7\""),
        "{said}"
    );
    let said = ask(&cluster, "/ip4/10.0.0.1/tcp/4747");
    assert!(
        said.refused(2).contains("through this machine's node"),
        "{said}"
    );
    let said = ask(&cluster, "./n1");
    assert!(said.refused(69).contains("no such socket"), "{said}");
    cluster[1].kill_host();
    settle("n1 to be missed", || {
        let said = ask(&cluster, "n1");
        match said.status.code() {
            Some(69) if said.stderr.contains("not heard of") => Ok(()),
            _ => Err(said.to_string()),
        }
    });
    // The node is none the worse for what nobody can read.
    let mut stream = UnixStream::connect(cluster[0].socket()).expect("it listens");
    let junk = b"{\"id\":1,\"method\":\"pass\",\"params\":{\"node\":7}}\n";
    stream.write_all(junk).expect("it reads");
    drop(stream);
    cluster[0].ok(&["nodes"]);
}
