//! What tasks find around them, on real meshes: environments are stored once, however many share them, and come whole.

use tests::{Plan, settle};

use super::wait_state;

const MEMBERS: usize = 1_000;

#[test]
fn a_large_environment_is_stored_once_for_all_that_share_it() {
    let cluster = Plan::of(2).cpus(0).start();
    let figure = |place: usize, name: &str| cluster[place].figure(name).expect("a figure");
    let documents = figure(0, "aque_documents");
    let received = figure(1, "aque_net_bytes_received");
    let items: String = (0..MEMBERS).map(|n| format!("{n}\n")).collect();
    let mut call = cluster[0].aque(&["xargs", "-n1", "printenv"]).input(items);
    for n in 0..32 {
        call = call.env(&format!("LARGE_{n:02}"), &"x".repeat(1_024));
    }
    let group = call.run().ok().to_owned();
    settle("the other host to have all", || {
        match figure(1, "aque_tasks") {
            tasks if tasks > MEMBERS as u64 => Ok(()),
            tasks => Err(format!("it has {tasks}")),
        }
    });
    assert_eq!(figure(0, "aque_documents") - documents, 1, "one segment");
    // 32 KiB for each would be 32 MiB.
    let received = figure(1, "aque_net_bytes_received") - received;
    assert!(received < 256 << 10, "{received} bytes");
    cluster[0].ok(&["kill", &group]);
    wait_state(&cluster[0], &group, "error");
}

#[test]
fn another_host_finds_the_whole_environment() {
    let cluster = Plan::of(2).start();
    let long = "y".repeat(30_000);
    let call = |options: &[&str], word: &str| {
        let words = [
            &["submit", "-w", "--host", "n1"],
            options,
            &["sh", "-c", "echo ${#LONG} $WORD $PATH"],
        ];
        let said = cluster[0].aque(&words.concat()).env("LONG", &long);
        let said = said.env("WORD", word).env("PATH", "/usr/bin:/bin").run();
        said.ok().to_owned()
    };
    assert_eq!(call(&[], "odd=a\u{fc}"), "30000 odd=a\u{fc} /usr/bin:/bin");
    assert_eq!(
        call(&["-e", "WORD=other"], "x"),
        "30000 other /usr/bin:/bin"
    );
    let clean = call(&["--env-mode", "clean", "-e", "WORD"], "kept");
    assert!(clean.starts_with("0 kept "), "{clean}");
}
