//! A mesh of real nodes on this machine that leaves nothing behind.
//!
//! Each node is a process of its own with a directory of its own. This process adopts whatever its nodes leave
//! (it is a *subreaper*), so at the end it can kill every process below it, and then removes the directory. If it is itself
//! killed with -9, its nodes get the same from the kernel, and their guards end with them; only the directory stays.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use super::super::problem::{Kind, Problem};
use crate::client::Client;
use crate::guard::proc;
use crate::render::note;

/// The hidden verb under which this program is a node.
pub(crate) const NODE_VERB: &str = "node";
/// The first argument of a node that dies with the process of this number.
const WITH_PARENT: &str = "--with-parent";
/// A node is up within this time, even on a busy machine.
const START: Duration = Duration::from_secs(30);
/// How often something is looked at again that cannot be waited for.
const LOOK: Duration = Duration::from_millis(20);
/// Killed processes are gone within this time.
const CLEANUP: Duration = Duration::from_secs(10);
/// The longest directory below which a socket's path still fits (108 bytes).
const LONGEST_DIR: usize = 70;

/// Lease times of the demo: short, so that a takeover is quick to see.
pub(super) const HEARTBEAT: &str = "200ms";
/// See [`HEARTBEAT`].
pub(super) const LEASE: &str = "1500ms";
/// What each node offers: they share one machine, and the tasks mostly sleep.
const CPUS: &str = "2";

/// One node.
#[derive(Debug)]
pub(super) struct Host {
    /// Its name.
    pub(super) name: String,
    dir: PathBuf,
    process: Option<Child>,
}

impl Host {
    fn socket(&self) -> PathBuf {
        self.dir.join("api")
    }

    /// Returns its process id; `None` while it is dead.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

/// The nodes, their directory, and whether a person wants it to end.
#[derive(Debug)]
pub(super) struct Mesh {
    hosts: Vec<Host>,
    interrupted: Arc<AtomicBool>,
    dir: TempDir,
}

impl Mesh {
    /// Prepares a mesh of `nodes`, none of them started.
    pub(super) fn new(nodes: usize) -> Result<Self, Problem> {
        let failed =
            |error: io::Error| Problem::failed(format!("cannot prepare the demo: {error}"));
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(failed)?;
        }
        set_child_subreaper(Some(getpid())).map_err(|error| failed(error.into()))?;
        let own = std::env::temp_dir();
        let base = if own.as_os_str().len() > LONGEST_DIR {
            Path::new("/tmp")
        } else {
            &own
        };
        let dir = tempfile::Builder::new()
            .prefix("aque-demo-")
            .tempdir_in(base)
            .map_err(failed)?;
        let host = |n: usize| {
            let name = format!("demo-{n}");
            Host {
                dir: dir.path().join(&name),
                name,
                process: None,
            }
        };
        let hosts: Vec<Host> = (1..=nodes).map(host).collect();
        for host in &hosts {
            fs::create_dir(&host.dir).map_err(failed)?;
        }
        File::create(dir.path().join("config")).map_err(failed)?;
        Ok(Self {
            hosts,
            interrupted,
            dir,
        })
    }

    /// Returns the directory that holds everything.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the nodes, in order.
    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Fails if a person wants it to end.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Problem::new(
                Kind::Interrupted,
                "interrupted: the demo is removed",
            ));
        }
        Ok(())
    }

    /// Starts a node and waits until it answers.
    pub(super) fn start(&mut self, place: usize, ticket: Option<&str>) -> Result<Client, Problem> {
        let config = self.dir.path().join("config");
        let host = &mut self.hosts[place];
        host.process = Some(spawn(host, &config, ticket)?);
        self.connect(place)
    }

    /// Waits until a node answers.
    pub(super) fn connect(&mut self, place: usize) -> Result<Client, Problem> {
        let began = Instant::now();
        loop {
            self.check()?;
            let host = &mut self.hosts[place];
            let error = match Client::connect(&[host.socket()]) {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            let ended = host.process.as_mut().map(Child::try_wait);
            if let Some(Ok(Some(status))) = ended {
                let why = last_words(host);
                return Err(Problem::failed(format!(
                    "{} ended at once ({status}): {why}",
                    host.name
                )));
            }
            if began.elapsed() > START {
                let why = last_words(host);
                return Err(Problem::failed(format!(
                    "{} does not answer: {error}: {why}",
                    host.name
                )));
            }
            thread::sleep(LOOK);
        }
    }

    /// Kills a node with -9.
    pub(super) fn kill(&mut self, place: usize) -> Result<(), Problem> {
        let host = &mut self.hosts[place];
        let Some(mut process) = host.process.take() else {
            return Ok(());
        };
        let killed = process.kill().and_then(|()| process.wait());
        killed
            .map(|_status| ())
            .map_err(|error| Problem::failed(format!("cannot kill {}: {error}", host.name)))
    }

    /// Sends a node a signal.
    pub(super) fn signal(&self, place: usize, signal: Signal) -> Result<(), Problem> {
        let host = &self.hosts[place];
        let pid = host
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        kill_process(pid, signal)
            .map_err(|error| Problem::failed(format!("cannot signal {}: {error}", host.name)))
    }

    /// Pauses for a moment between two looks.
    pub(super) fn pause(&self) -> Result<(), Problem> {
        thread::sleep(LOOK);
        self.check()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            if let Some(process) = &mut host.process {
                // Dead already is as good.
                let _killed = process.kill();
                let _status = process.wait();
            }
        }
        if let Err(left) = kill_children() {
            note(&format!(
                "aque: some processes of the demo could not be killed: {left}"
            ));
        }
    }
}

/// Kills whatever is still below this process, until nothing is.
fn kill_children() -> Result<(), String> {
    let began = Instant::now();
    let me = getpid().as_raw_nonzero().get();
    loop {
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        let all = proc::all().map_err(|error| error.to_string())?;
        let children: Vec<i32> = all
            .iter()
            .filter(|process| process.ppid == me)
            .map(|process| process.pid)
            .collect();
        if children.is_empty() {
            return Ok(());
        }
        if began.elapsed() > CLEANUP {
            return Err(format!("{children:?}"));
        }
        for pid in children.into_iter().filter_map(Pid::from_raw) {
            // Whoever has ended meanwhile is reaped above.
            let _killed = kill_process(pid, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn spawn(host: &Host, config: &Path, ticket: Option<&str>) -> Result<Child, Problem> {
    let failed = |error: io::Error| Problem::failed(format!("cannot start {}: {error}", host.name));
    let log = File::options()
        .create(true)
        .append(true)
        .open(host.dir.join("log.txt"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args([NODE_VERB, WITH_PARENT, &std::process::id().to_string()]);
    command.args(["--name", &host.name, "--listen", "127.0.0.1:0", "--no-mdns"]);
    command.args(["--heartbeat", HEARTBEAT, "--lease", LEASE, "--cpus", CPUS]);
    command.arg("--data").arg(host.dir.join("data"));
    command.arg("--api").arg(host.socket());
    command.arg("--config").arg(config);
    if let Some(ticket) = ticket {
        command.args(["--join", ticket]);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AQUE_") || name == "NOTIFY_SOCKET" {
            command.env_remove(name);
        }
    }
    // A group of its own: Ctrl-C is for the demo to understand.
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.stderr(log.map_err(failed)?);
    command.spawn().map_err(failed)
}

/// The end of a node's log, for the message that says that it does not work.
fn last_words(host: &Host) -> String {
    let text = fs::read_to_string(host.dir.join("log.txt")).unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(|| "it said nothing".to_owned(), str::to_owned)
}

/// Is a node, for the hidden verb `aque node [--with-parent PID] ARGS…`.
pub(crate) fn be_a_node(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    if args.next_if(|arg| arg == WITH_PARENT).is_some() {
        let parent = args
            .next()
            .and_then(|pid| pid.to_str()?.parse().ok())
            .and_then(Pid::from_raw);
        let bound = set_parent_process_death_signal(Some(Signal::KILL));
        // It may have died before it could be bound to.
        if bound.is_err() || parent.is_none() || getppid() != parent {
            return ExitCode::FAILURE;
        }
    }
    crate::daemon::program(args.collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_node_without_its_parent_does_not_start() {
        for args in [
            &["--with-parent"][..],
            &["--with-parent", "x"],
            &["--with-parent", "1"],
        ] {
            let args = args.iter().map(OsString::from).collect();
            // Binding is harmless here: the parent of a test outlives it. Under init the last case would start a node.
            if getppid() != Some(Pid::INIT) {
                assert_eq!(be_a_node(args), ExitCode::FAILURE);
            }
        }
        set_parent_process_death_signal(None).unwrap();
    }

    #[test]
    fn last_words_are_the_last_line() {
        let temp = tempfile::tempdir().unwrap();
        let host = Host {
            name: "a".into(),
            dir: temp.path().to_owned(),
            process: None,
        };
        assert_eq!(last_words(&host), "it said nothing");
        fs::write(temp.path().join("log.txt"), "one\ntwo\n\n").unwrap();
        assert_eq!(last_words(&host), "two");
    }
}
