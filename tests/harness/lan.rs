//! A local network of namespaces: one host each, joined by a bridge in a namespace of its own, cut and healed by iptables.
//!
//! Nothing of it touches the machine's own network. Needs root, `ip` and `iptables`. Names carry the number of the process that made
//! them, so that those of a process that was killed are recognised and removed by the next.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

/// The first part of every namespace's name.
const PREFIX: &str = "aqueit";

/// A network; its namespaces are removed when it is dropped.
#[derive(Debug)]
pub struct Lan {
    name: String,
    hosts: usize,
}

impl Lan {
    /// Makes a network of so many hosts; `None`, with the reason on standard error, where that is not possible.
    ///
    /// # Panics
    /// If it is not possible although this is root in continuous integration (`CI=true`), or if it fails halfway.
    #[must_use]
    pub fn of(hosts: usize) -> Option<Self> {
        static SWEPT: Once = Once::new();
        // Tried once: tests that try at the same moment would be in each other's way.
        static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
        if let Err(why) = POSSIBLE.get_or_init(possible) {
            skip("a network of namespaces", why);
            return None;
        }
        SWEPT.call_once(sweep);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{PREFIX}-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let lan = Self { name, hosts };
        lan.build();
        Some(lan)
    }

    fn build(&self) {
        let hub = self.hub();
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"]);
        ip(&["-n", &hub, "link", "set", "bridge", "up"]);
        for place in 0..self.hosts {
            let (host, port) = (self.host(place), format!("port{place}"));
            let address = format!("{}/24", self.address(place));
            ip(&["netns", "add", &host]);
            ip(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                &host,
            ]);
            ip(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"]);
            ip(&["-n", &host, "address", "add", &address, "dev", "eth0"]);
            ip(&["-n", &host, "link", "set", "lo", "up"]);
            ip(&["-n", &host, "link", "set", "eth0", "up"]);
        }
    }

    /// Returns a host's address.
    ///
    /// # Panics
    /// If there are too many hosts for the network.
    #[must_use]
    pub fn address(&self, place: usize) -> Ipv4Addr {
        Ipv4Addr::new(
            10,
            99,
            0,
            u8::try_from(place + 1).expect("a network has fewer than 255 hosts"),
        )
    }

    /// Returns the command that executes another inside a host.
    #[must_use]
    pub fn inside(&self, place: usize) -> [String; 4] {
        ["ip".into(), "netns".into(), "exec".into(), self.host(place)]
    }

    /// Lets nothing pass from one host to another; the other direction stays.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        let source = self.address(from).to_string();
        self.iptables(
            to,
            &[
                "--append",
                "INPUT",
                "--in-interface",
                "eth0",
                "--source",
                &source,
                "--jump",
                "DROP",
            ],
        );
    }

    /// Lets nothing pass between the hosts of one side and all others.
    pub fn split(&self, side: &[usize]) {
        let others: Vec<usize> = (0..self.hosts)
            .filter(|place| !side.contains(place))
            .collect();
        for one in side {
            for other in &others {
                self.cut_one_way(*one, *other);
                self.cut_one_way(*other, *one);
            }
        }
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        (0..self.hosts).for_each(|place| self.iptables(place, &["--flush", "INPUT"]));
    }

    fn iptables(&self, place: usize, words: &[&str]) {
        let host = self.host(place);
        let mut all = vec!["netns", "exec", &host, "iptables", "--wait", "10"];
        all.extend(words);
        ip(&all);
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn host(&self, place: usize) -> String {
        format!("{}-{place}", self.name)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in (0..self.hosts)
            .map(|place| self.host(place))
            .chain([self.hub()])
        {
            // What was never made cannot be removed.
            let _removed = run("ip", &["netns", "delete", &name]);
        }
    }
}

/// Tells, past the capture of test output, that a test was skipped and why.
///
/// # Panics
/// In continuous integration as root: there nothing may be skipped.
pub fn skip(what: &str, why: &str) {
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(
        !(ci && is_root()),
        "{what} must be possible in continuous integration: {why}"
    );
    tell_skipped(what, why);
}

/// Tells, past the capture of test output, that a test was skipped, of what may be missing anywhere.
pub fn tell_skipped(what: &str, why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // If nobody reads it, nobody needs to know.
    let _told = writeln!(
        std::io::stderr(),
        "{test}: skipped, because {what} is not possible: {why}"
    );
}

/// Says whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn possible() -> Result<(), String> {
    if !is_root() {
        return Err("it needs root".to_owned());
    }
    run("iptables", &["--version"])?;
    let trial = format!("{PREFIX}-{}-trial", std::process::id());
    run("ip", &["netns", "add", &trial])?;
    let filter = run(
        "ip",
        &["netns", "exec", &trial, "iptables", "--list", "INPUT"],
    );
    let gone = run("ip", &["netns", "delete", &trial]);
    filter.and(gone)
}

/// Removes the namespaces of test processes that are gone.
fn sweep() {
    let Ok(listing) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in listing
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let mut parts = name.split('-');
        let ours = parts.next() == Some(PREFIX);
        let maker = parts.next().and_then(|number| number.parse::<u32>().ok());
        if let Some(maker) = maker.filter(|_| ours)
            && !std::path::Path::new(&format!("/proc/{maker}")).exists()
        {
            // Another test process may have been faster.
            let _removed = run("ip", &["netns", "delete", &name]);
        }
    }
}

fn ip(words: &[&str]) {
    if let Err(why) = run("ip", words) {
        panic!("{why}");
    }
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let done = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program} {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&done.stderr).trim()
    ))
}
