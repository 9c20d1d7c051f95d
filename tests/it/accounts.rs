//! Accounts as no administrator means them to be: numbers that the kernel takes for none, two names of one user, two users of one name,
//! names that are numbers. Nodes of root find them in databases of their own, in a mount namespace; elsewhere these tests say that they
//! are skipped.

use std::fs;
use std::path::PathBuf;

use node::users::User;
use tests::lan::skip;
use tests::{Cluster, Guest, Node, Plan};

use super::lives::wait_reason;
use super::wait_state;

/// Lays other databases of users and of groups over the machine's, and executes the rest of its words.
const DATABASES: &str =
    "mount --bind \"$0/passwd\" /etc/passwd && mount --bind \"$0/group\" /etc/group && exec \"$@\"";

/// Accounts beside those of the machine. `ann` is whoever asks for what is hers.
const ACCOUNTS: &str = "\
ann:x:61000:61000::/home/ann:/bin/sh
none:x:4294967295:61000::/:/bin/sh
below:x:-1:61000::/:/bin/sh
above:x:4294967296:61000::/:/bin/sh
beyond:x:18446744073709551617:61000::/:/bin/sh
groupless:x:61001:4294967295::/:/bin/sh
misgrouped:x:61002:-1::/:/bin/sh
4711:x:61003:61000::/:/bin/sh
twin-a:x:61004:61004::/home/twin-a:/bin/sh
twin-b:x:61004:61005::/home/twin-b:/bin/dash
double:x:61006:61000::/:/bin/sh
double:x:61007:61000::/:/bin/sh
toor:x:0:0::/home/toor:/bin/sh
";

/// The same of groups.
const GROUPS: &str = "\
anns:x:61000:
none:x:4294967295:ann
below:x:-1:ann
4712:x:61010:ann
red:x:61011:ann
blue:x:61012:twin-b,ann
green:x:61013:
twins-a:x:61004:
twins-b:x:61005:
";

/// Ids as `id` would tell them, of the process itself whatever the databases say.
const IDS: &str = "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n | paste -sd,)";

/// A node of root that knows these accounts, and somebody who has the programs.
struct Odd {
    cluster: Cluster,
    guest: Guest,
}

impl Odd {
    /// `None` where this is not root.
    fn start() -> Option<Self> {
        let mut cluster = Plan::of(1).cpus(0).start();
        let guest = Guest::named("www-data", cluster.dir())?;
        let databases = databases(&cluster);
        let ticket = cluster[0].ready().ticket.clone();
        let through = ["unshare", "--mount", "sh", "-c", DATABASES, &databases];
        cluster.add_through(&through, 2, &["--join", &ticket]);
        cluster.wait_whole();
        Some(Self { cluster, guest })
    }

    fn node(&self) -> &Node {
        &self.cluster[1]
    }

    /// Whoever has these numbers, in no further group.
    fn by(&self, uid: u32, gid: u32) -> Guest {
        self.guest.with(User {
            name: uid.to_string(),
            uid,
            gid,
            home: PathBuf::from("/"),
            shell: PathBuf::from("/bin/sh"),
        })
    }

    /// What a script prints that root has run with these options.
    #[track_caller]
    fn as_root(&self, options: &[&str], script: &str) -> String {
        let words = [&["submit", "-w"], options, &["--", "sh", "-c", script]].concat();
        self.node().ok(&words)
    }
}

/// Writes databases with the machine's accounts and the odd ones.
fn databases(cluster: &Cluster) -> String {
    let dir = cluster.path("databases");
    fs::create_dir(&dir).expect("a directory can be made");
    for (name, more) in [("passwd", ACCOUNTS), ("group", GROUPS)] {
        let own = fs::read_to_string(format!("/etc/{name}")).expect("a machine has users");
        fs::write(dir.join(name), own + more).expect("a file can be written");
    }
    dir.display().to_string()
}

#[test]
fn whom_nobody_can_become_is_not_there() {
    let Some(odd) = Odd::start() else { return };
    let refused = |options: &[&str], status: i32, why: &str| {
        let words = [&["submit", "-w"], options, &["id", "-u"]].concat();
        let said = odd.node().aque(&words).run();
        assert!(said.refused(status).contains(why), "{said}");
    };
    let users = [
        "none",
        "below",
        "above",
        "beyond",
        "groupless",
        "misgrouped",
    ];
    for user in users {
        let why = format!("there is no user {user} on this host");
        refused(&["--user", user], 1, &why);
    }
    for group in ["none", "below"] {
        let why = format!("there is no group {group} on this host");
        refused(&["--user", "ann", "--group", group], 1, &why);
    }
    // A name that is a number is some other user's number elsewhere.
    refused(&["--user", "4711"], 2, "give the name");
    refused(&["--user", "ann", "--group", "4712"], 2, "give the name");
    for user in ["+61000", "0x1", "61000 ", "1e3"] {
        refused(&["--user", user], 1, "there is no user");
    }
    // Nor where another host took the task: there the name leads to somebody.
    let far = odd.cluster[0].aque(&["submit", "--user", "below", "id"]);
    assert!(far.run().refused(1).contains("there is no user below"));
}

#[test]
fn a_run_is_in_its_users_groups_and_in_no_other() {
    let Some(odd) = Odd::start() else { return };
    let groups = "61000,61010,61011,61012";
    let ann = ["--user", "ann"];
    assert_eq!(odd.as_root(&ann, IDS), format!("61000 61000 {groups}"));
    // The group that is chosen takes the place of the first, and adds itself for root alone.
    let red = ["--user", "ann", "--group", "red"];
    assert_eq!(odd.as_root(&red, IDS), format!("61000 61011 {groups}"));
    let green = ["--user", "ann", "--group", "green"];
    let all = "61000,61010,61011,61012,61013";
    assert_eq!(odd.as_root(&green, IDS), format!("61000 61013 {all}"));
    let made = odd.cluster.path("made");
    fs::create_dir(&made).expect("a directory can be made");
    odd.by(61000, 61000).give(&made);
    let script = format!(
        "cd {} && umask && touch file && stat -c %u:%g file",
        made.display()
    );
    let said = odd.as_root(&red, &script);
    assert!(said.ends_with("\n61000:61011"), "{said}");
}

#[test]
fn the_group_of_newgrp_is_that_of_the_task() {
    let Some(odd) = Odd::start() else { return };
    let say = |gid: u32, options: &[&str]| {
        let words = [&["submit", "-w"], options, &["--", "id", "-g"]].concat();
        let who = odd.by(61000, gid);
        odd.node().aque_by(&who, &words).run().ok().to_owned()
    };
    assert_eq!(say(61000, &[]), "61000");
    assert_eq!(say(61011, &[]), "61011", "newgrp red");
    assert_eq!(say(61011, &["--group", "blue"]), "61012", "what is named");
    assert_eq!(say(61011, &["--group", "anns"]), "61000");
    // One that the user is not in (a program with the rights of a group), one without a name, one whose name is a number.
    for gid in [61013, 61099, 61010] {
        assert_eq!(say(gid, &[]), "61000", "{gid}");
    }
    // It stands with the task, and what the task submits takes after it.
    let who = odd.by(61000, 61011);
    let aque = odd.cluster.path("bin/aque");
    let again = format!("{} submit -w id -g", aque.display());
    let words = ["submit", "-w", "-s", &again];
    let child = odd.node().aque_by(&who, &words).run();
    assert_eq!(child.ok(), "61011");
    let held = ["submit", "--hold", "true"];
    let id = odd.node().aque_by(&who, &held).run().ok().to_owned();
    let show = odd.node().ok(&["show", &id]);
    assert!(show.contains("red"), "{show}");
    let all = ["xargs", "-n", "1", "-w", "id", "-g"];
    let all = odd.node().aque_by(&who, &all).input("-r\n").run();
    assert_eq!(all.ok(), "61011");
    // Root's own may be any; whom root names has nothing of it.
    let root = odd.by(0, 61013);
    let say = |options: &[&str]| {
        let words = [&["submit", "-w"], options, &["--", "id", "-g"]].concat();
        odd.node().aque_by(&root, &words).run().ok().to_owned()
    };
    assert_eq!(say(&[]), "61013");
    assert_eq!(say(&["--user", "ann"]), "61000");
}

#[test]
fn of_two_names_each_has_its_groups_and_the_first_is_who_asks() {
    let Some(odd) = Odd::start() else { return };
    let about = "echo $(id -u) $(id -g) $(id -G) $HOME $USER $LOGNAME $SHELL";
    let clean = |user| ["--env-mode", "clean", "--user", user];
    let said = odd.as_root(&clean("twin-a"), about);
    assert_eq!(said, "61004 61004 61004 /home/twin-a twin-a twin-a /bin/sh");
    let said = odd.as_root(&clean("twin-b"), about);
    let groups = "61005 61012";
    assert_eq!(
        said,
        format!("61004 61005 {groups} /home/twin-b twin-b twin-b /bin/dash")
    );
    // The kernel knows the number alone.
    let words = ["submit", "--env-mode", "clean", "-w", "sh", "-c", about];
    let who = odd.by(61004, 61004);
    let said = odd.node().aque_by(&who, &words).run().ok().to_owned();
    assert!(said.contains(" twin-a twin-a "), "{said}");
    let other = odd.node().submit(&["--user", "twin-b"], &["true"]);
    wait_state(odd.node(), &other, "success");
    let touched = odd.node().aque_by(&who, &["output", &other]).run();
    assert!(touched.refused(77).contains("is twin-b's"), "{touched}");
}

#[test]
fn of_two_users_with_one_name_the_other_has_none() {
    let Some(odd) = Odd::start() else { return };
    assert_eq!(odd.as_root(&["--user", "double"], "id -u"), "61006");
    let words = ["submit", "-w", "id", "-u"];
    let first = odd.node().aque_by(&odd.by(61006, 61000), &words).run();
    assert_eq!(first.ok(), "61006");
    let words = ["submit", "id", "-u"];
    let second = odd.node().aque_by(&odd.by(61007, 61000), &words).run();
    let id = second.ok().to_owned();
    let shown = odd.node().ok(&["show", &id]);
    assert!(shown.contains("61007"), "{shown}");
    wait_reason(odd.node(), &id, "pending", "61007");
}

#[test]
fn whoever_has_roots_number_is_root() {
    let Some(odd) = Odd::start() else { return };
    // Who asks is root, by the name that is found first.
    let words = ["submit", "-w", "sh", "-c", "echo $(id -u) $USER"];
    let asks = odd.node().aque_by(&odd.by(0, 0), &words).run();
    assert!(asks.ok().starts_with('0'), "{asks}");
    assert_eq!(odd.as_root(&["--user", "toor"], "id -u"), "0");
    let ann = odd.by(61000, 61000);
    let refused = odd
        .node()
        .aque_by(&ann, &["submit", "--user", "toor", "id"]);
    refused.run().refused(77);
    // Nobody far away chooses to be root by another name, unless root's tasks may run anywhere.
    odd.node().ok(&["settings", "set", "root-tasks", "local"]);
    let databases = odd.cluster.path("databases").display().to_string();
    let mut cluster = odd.cluster;
    let ticket = cluster[0].ready().ticket.clone();
    let through = ["unshare", "--mount", "sh", "-c", DATABASES, &databases];
    cluster.add_through(&through, 2, &["--join", &ticket]);
    cluster.wait_whole();
    let far = ["--user", "toor", "--host", "n2"];
    let id = cluster[1].submit(&far, &["id", "-u"]);
    // The host that tried says so.
    wait_reason(&cluster[2], &id, "pending", "toor is root on this host");
}

#[test]
fn no_capability_of_the_node_is_left_to_a_run() {
    let mut cluster = Plan::of(1).cpus(0).start();
    let Some(ann) = Guest::named("www-data", cluster.dir()) else {
        return;
    };
    let generous = [
        "setpriv",
        "--inh-caps=+dac_override,+chown",
        "--ambient-caps=+dac_override,+chown",
        // What a process has stays when its user changes.
        "--securebits=+no_setuid_fixup",
    ];
    let can = std::process::Command::new(generous[0])
        .args(&generous[1..])
        .arg("true")
        .output();
    if !can.is_ok_and(|said| said.status.success()) {
        return skip("a node with capabilities to be inherited", "setpriv cannot");
    }
    let ticket = cluster[0].ready().ticket.clone();
    cluster.add_through(&generous, 2, &["--join", &ticket]);
    cluster.add(1, &ticket);
    cluster.wait_whole();
    let sets = "grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status";
    for host in ["n1", "n2"] {
        let options = ["submit", "-w", "--host", host];
        let words = [&options[..], &["--", "sh", "-c", sets]].concat();
        let said = cluster[0].aque_by(&ann, &words).run().ok().to_owned();
        let read = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        let told: Vec<Vec<String>> = said.lines().map(read).collect();
        let expected = [
            ("CapInh:", "0000000000000000"),
            ("CapPrm:", "0000000000000000"),
            ("CapEff:", "0000000000000000"),
            ("CapAmb:", "0000000000000000"),
            // So that `sudo` works.
            ("NoNewPrivs:", "0"),
        ];
        assert_eq!(told, expected.map(|(name, value)| [name, value]), "{host}");
        // Nor does it come back by executing another program, nor can it take another's ids.
        let again = [&options[..], &["--", "sh", "-c", "cat /etc/shadow"]].concat();
        let said = cluster[0].aque_by(&ann, &again).run();
        assert_eq!(said.status.code(), Some(1), "{said}");
        let become_root = "setpriv --reuid 0 id -u";
        let again = [&options[..], &["--", "sh", "-c", become_root]].concat();
        let said = cluster[0].aque_by(&ann, &again).run();
        assert_ne!(said.status.code(), Some(0), "{said}");
    }
}
