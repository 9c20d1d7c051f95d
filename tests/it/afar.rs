//! Hosts of the mesh that are asked through this machine's own node, by name or tag.

use std::io::Write;
use std::os::unix::net::UnixStream;

use tests::{Cluster, Node, settle};

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

#[test]
fn from_afar_one_may_only_look() {
    let cluster = Cluster::start(2);
    let id = cluster[0].submit(&["--hold"], &["true"]);
    wait_known(&cluster[1], &[&id]);
    for args in [
        &["submit", "true"][..],
        &["kill", &id],
        &["release", &id],
        &["edit", "-p", "7", &id],
        &["rm", "-a"],
        &["output", &id],
        &["settings", "set", "lost-limit", "3"],
        &["drain"],
        &["invite"],
        &["xargs", "true"],
    ] {
        let said = cluster[0]
            .aque_beside(&[&["--node", "n1"], args].concat())
            .run();
        let why = said.refused(77);
        assert!(why.contains("from another host"), "{said}");
        assert!(why.contains("leave --node out"), "{said}");
    }
    wait_state(&cluster[1], &id, "held");
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
