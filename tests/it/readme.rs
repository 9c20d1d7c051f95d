//! The first page of the README, line by line as it stands there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tests::Cluster;

use super::{wait_known, wait_state};

/// The id that the page shows for the one that is printed first.
const SHOWN: &str = "k3v7qa-1";

/// What is typed where: `host-a`, `aque status`.
fn typed(readme: &str) -> Vec<(String, String)> {
    let minute = readme.split("## In a minute\n").nth(1).unwrap_or_default();
    let minute = minute.split("\n## ").next().unwrap_or_default();
    let lines = minute.lines().filter_map(|line| {
        let (host, command) = line.strip_prefix("    ")?.split_once("$ ")?;
        let command = command.split("  #").next()?.trim_end();
        Some((host.to_owned(), command.to_owned()))
    });
    lines.collect()
}

fn program(path: &Path, script: &str) {
    fs::write(path, script).expect("a file can be written");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it can be made executable");
}

#[test]
fn what_the_first_page_shows_works_as_it_stands_there() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let lines = typed(&fs::read_to_string(readme).expect("the README is there"));
    let (nodes, rest): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|(_, command)| command.starts_with("aque-node"));
    let hosts: Vec<&str> = nodes.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(hosts, ["host-a", "host-b", "host-c"]);
    // Nodes of one machine need directories and ports of their own, which the harness gives them.
    let cluster = Cluster::start(hosts.len());
    let dir = cluster.path("work");
    fs::create_dir(&dir).expect("a directory can be made");
    program(&dir.join("render"), "#!/bin/sh\necho rendered $1\n");
    program(&dir.join("convert-one"), "#!/bin/sh\necho converted $1\n");
    for image in ["one.png", "two.png"] {
        fs::write(dir.join(image), "").expect("a file can be written");
    }
    let programs = tests::programs::programs().aque.parent();
    let programs = programs.expect("programs lie in a directory").display();
    let path = format!("{programs}:{}:/usr/bin:/bin", dir.display());
    let run = |host: &str, command: &str| -> Output {
        let place = hosts.iter().position(|of| *of == host);
        let node = &cluster[place.expect("its node was started")];
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", command]).current_dir(&dir);
        let shell = shell.env("AQUE_NODE", node.socket()).env("PATH", &path);
        shell.output().expect("a shell runs")
    };
    let (mut said, mut id) = (Vec::new(), String::new());
    for (host, command) in &rest {
        if command.contains(SHOWN) {
            cluster
                .nodes()
                .iter()
                .for_each(|node| wait_known(node, &[&id]));
        }
        let command = command.replace(SHOWN, &id);
        let done = run(host, &command);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "{host}$ {command}: {err}");
        if id.is_empty() {
            id.clone_from(&out);
        }
        said.push(out);
    }
    let [_, followed, converted, status, other, killed] = &said[..] else {
        panic!("other commands than these: {rest:?}");
    };
    assert_eq!(followed, "rendered frame-0001");
    let mut converted: Vec<&str> = converted.lines().collect();
    converted.sort_unstable();
    assert_eq!(converted, ["converted one.png", "converted two.png"]);
    assert!(
        status.contains(&id) && status.contains("render frame-0001"),
        "{status}"
    );
    assert_eq!(killed, "", "it is quiet when all is well");
    wait_state(&cluster[0], other, "killed");
}
