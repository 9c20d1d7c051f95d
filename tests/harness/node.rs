//! One `aque-node` process: started, asked, stopped, killed, started again on the same data.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crdt::task::Environment;
use node::api::select::Selection;
use node::api::wire::{
    Body, Call, DurableWord, Nodes, StatusQuery, Submission, TaskLine, TaskRequest,
};
use node::client::{Client, ClientError};
use rustix::process::{Pid, Signal};

use crate::aque::{Aque, FOREIGN};
use crate::guests::Guest;
use crate::processes;
use crate::programs::programs;
use crate::settle::settle;

/// How many of a log's last lines a failed test shows.
const TAIL: usize = 60;

/// A node's process, if it runs, and what is needed to start it.
#[derive(Debug)]
pub struct Node {
    name: String,
    home: PathBuf,
    before: Vec<OsString>,
    program: PathBuf,
    owner: Option<Guest>,
    flags: Vec<String>,
    child: Option<Child>,
    ready: Option<Ready>,
}

/// What a node says of itself when it is ready.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Its tag.
    pub tag: String,
    /// Where it listens.
    pub listen: Vec<String>,
    /// A ticket of its mesh.
    pub ticket: String,
}

impl Node {
    /// Describes a node: everything of its own lies below `home`.
    ///
    /// # Panics
    /// If the directory cannot be made.
    #[must_use]
    pub fn new(name: &str, home: &Path, flags: &[String]) -> Self {
        fs::create_dir_all(home).expect("a node's directory can be made");
        let (before, flags) = (Vec::new(), flags.to_vec());
        let program = programs().node.clone();
        Self {
            program,
            owner: None,
            name: name.to_owned(),
            home: home.to_owned(),
            before,
            flags,
            child: None,
            ready: None,
        }
    }

    /// Puts a command before the program that ends in executing it, such as `ip netns exec NAME`.
    #[must_use]
    pub fn through(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.before = command.into_iter().map(Into::into).collect();
        self
    }

    /// Has it run as another user of this machine, to whom its directory is given.
    #[must_use]
    pub fn owned_by(mut self, guest: &Guest) -> Self {
        guest.give(&self.home);
        self.program = guest.node();
        self.owner = Some(guest.clone());
        self
    }

    /// Gives it a program of its own, below its directory, from its next start on: one that can be replaced.
    #[must_use]
    pub fn with_own_program(mut self) -> Self {
        self.program = self.home.join("bin/aque-node");
        self.install();
        self
    }

    /// Returns the path of its program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Puts a fresh copy of the program into its place, as an upgrade does.
    ///
    /// # Panics
    /// If it has no program of its own, or no copy can be made.
    pub fn install(&self) {
        self.replace_program(|path| {
            fs::copy(&programs().node, path).expect("a program can be copied");
        });
    }

    /// Puts another file into the place of its program: one that this makes at a path.
    ///
    /// # Panics
    /// If it has no program of its own, or that fails.
    pub fn replace_program(&self, make: impl FnOnce(&Path)) {
        let place = self.program.parent().expect("a program lies in a folder");
        assert!(place.starts_with(&self.home), "the program is everybody's");
        fs::create_dir_all(place).expect("a folder can be made");
        let fresh = place.join("fresh");
        make(&fresh);
        fs::rename(&fresh, &self.program).expect("a file can be renamed");
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the directory of all that is its own. Runs bear its path in their environment.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Returns the path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.join("aque.sock")
    }

    /// Returns what it said when it became ready.
    ///
    /// # Panics
    /// If it never was.
    #[must_use]
    #[track_caller]
    pub fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("the node has been ready")
    }

    /// Returns its process.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the node runs"))
    }

    /// Returns its guard: the process of its directory whose first word says so.
    #[must_use]
    pub fn guard(&self) -> Option<Pid> {
        let guard = processes::of_directory(&self.data())
            .into_iter()
            .find(|pid| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                words.split(|byte| *byte == 0).nth(1) == Some(b"guard")
            });
        guard.and_then(Pid::from_raw)
    }

    /// Starts the process with further flags and does not wait for it.
    ///
    /// # Panics
    /// If it runs already or cannot be started.
    pub fn launch(&mut self, more: &[&str]) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        self.ready = None;
        let mut command = self.command(more);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        command.stderr(log.expect("a log can be opened"));
        command.stdout(File::create(self.said_path()).expect("a file can be made"));
        self.child = Some(command.spawn().expect("aque-node can be started"));
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// If it ends before, or says something else.
    pub fn wait_ready(&mut self) {
        let said = self.said_path();
        let name = self.name.clone();
        let line = settle(&format!("{name} to be ready"), || {
            let text = fs::read_to_string(&said).unwrap_or_default();
            if let Some((line, _)) = text.split_once('\n') {
                return Ok(line.to_owned());
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!(
                    "{name} ended with {status} before it was ready:\n{}",
                    self.log_tail()
                );
            }
            Err("it has not said so")
        });
        self.ready = Some(parse(&line).unwrap_or_else(|| panic!("{name} said {line:?}")));
    }

    /// Returns what it said when it was ready last: after a change of its program, what that said.
    #[must_use]
    pub fn ready_last(&self) -> Option<Ready> {
        let said = fs::read_to_string(self.said_path()).unwrap_or_default();
        said.lines().rev().find_map(parse)
    }

    /// Returns how often it has said that it is ready.
    #[must_use]
    pub fn times_ready(&self) -> usize {
        let said = fs::read_to_string(self.said_path()).unwrap_or_default();
        said.lines().filter_map(parse).count()
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        self.launch(&[]);
        self.wait_ready();
    }

    /// Runs it to an end that it finds by itself. Returns its status and what it wrote to standard error.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn run_to_end(&self, more: &[&str]) -> (ExitStatus, String) {
        let errors = self.home.join("errors");
        let mut command = self.command(more);
        command
            .stdout(Stdio::null())
            .stderr(File::create(&errors).expect("a file can be made"));
        let mut child = command.spawn().expect("aque-node can be started");
        let status = settle("a node to end by itself", || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err(fs::read_to_string(&errors).unwrap_or_default()),
        });
        (
            status,
            fs::read_to_string(&errors).expect("a file can be read"),
        )
    }

    /// Stops all that lives of it, the node, its guard and their runs, and returns that when it stands still.
    #[must_use]
    pub fn stop_all(&self) -> Vec<Pid> {
        // With the slash, n1 is not n10.
        let found = processes::stop_all_of(&self.home.join(""));
        found.into_iter().filter_map(Pid::from_raw).collect()
    }

    /// Sends a signal to the node's own process.
    pub fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    /// Kills the node's process alone; its guard lives and notices.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        // A process that has ended is as dead.
        let _sent = child.kill();
        child.wait().expect("a child can be waited for");
    }

    /// Kills the node, its guard and all its runs, as a power cut does.
    pub fn kill_host(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        // With the slash, n1 is not n10.
        processes::kill_all_of(&self.home.join(""));
    }

    /// Ends it properly and returns its exit status.
    ///
    /// # Panics
    /// If it does not end.
    pub fn leave(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        settle(&format!("the end of {}", self.name), || {
            match child.try_wait() {
                Ok(Some(status)) => Ok(status),
                _ => Err("it lives"),
            }
        })
    }

    /// Says whether it was started and not ended since by the test.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Says whether its process lives.
    pub fn lives(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Prepares a call of the client that asks this node.
    #[must_use]
    pub fn aque(&self, args: &[&str]) -> Aque {
        Aque::new(&self.socket(), args)
    }

    /// Prepares a call of the client by another user of this machine.
    #[must_use]
    pub fn aque_by(&self, guest: &Guest, args: &[&str]) -> Aque {
        Aque::by(guest, &self.socket(), args)
    }

    /// Prepares a call of the client on this node's machine, which finds the node by itself.
    #[must_use]
    pub fn aque_beside(&self, args: &[&str]) -> Aque {
        Aque::beside(&self.home, args)
    }

    /// The same by another user.
    #[must_use]
    pub fn aque_beside_by(&self, guest: &Guest, args: &[&str]) -> Aque {
        Aque::beside_by(guest, &self.home, args)
    }

    /// Calls the client, which must succeed, and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.aque(args).run().ok().to_owned()
    }

    /// Submits a command with options of `aque submit`, and returns the task's id.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn submit(&self, options: &[&str], command: &[impl AsRef<str>]) -> String {
        let mut words = vec!["submit"];
        words.extend(options);
        words.push("--");
        words.extend(command.iter().map(AsRef::as_ref));
        self.ok(&words)
    }

    /// Submits the same command so many times in one request, and returns the tasks' ids.
    ///
    /// # Panics
    /// If that is refused.
    #[track_caller]
    pub fn submit_many(&self, count: usize, command: &[String]) -> Vec<String> {
        self.submit_durable(DurableWord::Quorum, count, command)
    }

    /// The same, answered when this host's disk has them.
    ///
    /// # Panics
    /// If that is refused.
    #[track_caller]
    pub fn submit_many_here(&self, count: usize, command: &[String]) -> Vec<String> {
        self.submit_durable(DurableWord::Local, count, command)
    }

    #[track_caller]
    fn submit_durable(
        &self,
        durable: DurableWord,
        count: usize,
        command: &[String],
    ) -> Vec<String> {
        self.try_submit(durable, count, command)
            .unwrap_or_else(|error| panic!("{} took no tasks: {error}", self.name))
    }

    /// Submits the same command so many times in one request, and returns the tasks' ids.
    ///
    /// # Errors
    /// If that is refused, by a node that has no room on its disk for example.
    pub fn try_submit(
        &self,
        durable: DurableWord,
        count: usize,
        command: &[String],
    ) -> Result<Vec<String>, ClientError> {
        let argv = command.iter().map(|word| word.as_str().into()).collect();
        let env = [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].to_vec();
        let task = TaskRequest {
            argv,
            cwd: "/".into(),
            inherit_env: true,
            ..TaskRequest::default()
        };
        let submission = Submission {
            tasks: vec![task; count],
            env: Some(Environment(env)),
            durable,
        };
        let answer = self
            .client()
            .and_then(|mut client| client.submit(submission));
        answer.map(|answer| answer.ids)
    }

    /// Connects to its socket.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn client(&self) -> Result<Client, ClientError> {
        Client::connect(&[self.socket()])
    }

    /// Returns the hosts as it sees them.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn hosts(&self) -> Result<Nodes, ClientError> {
        self.client()?.nodes()
    }

    /// Returns all tasks as it sees them, but for groups.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn tasks(&self) -> Result<Vec<TaskLine>, ClientError> {
        let query = StatusQuery {
            which: Selection {
                all_users: true,
                ..Selection::default()
            },
            flat: true,
            ..StatusQuery::default()
        };
        Ok(self.client()?.status(query)?.tasks)
    }

    /// Returns one task as it sees it.
    ///
    /// # Errors
    /// If it does not answer, or does not know the task.
    pub fn task(&self, id: &str) -> Result<TaskLine, String> {
        let query = StatusQuery {
            which: vec![id.to_owned()].into(),
            ..StatusQuery::default()
        };
        let answer = self.client().and_then(|mut client| client.status(query));
        let tasks = answer.map_err(|error| error.to_string())?.tasks;
        tasks
            .into_iter()
            .find(|line| line.id == id)
            .ok_or_else(|| format!("{id} is not known"))
    }

    /// Returns one of its figures; 0 if it has no such figure.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn figure(&self, name: &str) -> Result<u64, ClientError> {
        match self.client()?.ask(Call::Stats {})? {
            Body::Stats(stats) => Ok(stats.values.get(name).copied().unwrap_or_default()),
            other => Err(node::client::strange("stats", &other)),
        }
    }

    /// Returns all that it has logged, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Returns the end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let skipped = log.lines().count().saturating_sub(TAIL);
        log.lines()
            .skip(skipped)
            .fold(String::new(), |text, line| text + line + "\n")
    }

    fn command(&self, more: &[&str]) -> Command {
        let program = self.program.clone().into_os_string();
        let mut words = self.before.iter().chain(std::iter::once(&program));
        let mut command = Command::new(words.next().expect("there is a program"));
        command
            .args(words)
            .arg("--data")
            .arg(self.data())
            .arg("--api")
            .arg(self.socket());
        command
            .args(["--no-mdns", "--name", &self.name])
            .args(&self.flags)
            .args(more);
        FOREIGN.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.stdin(Stdio::null());
        if let Some(guest) = &self.owner {
            guest.own(&mut command);
            command.current_dir(&self.home).env("HOME", &self.home);
        }
        command
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }

    fn said_path(&self) -> PathBuf {
        self.home.join("said")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _sent = child.kill();
            let _status = child.wait();
        }
    }
}

/// Reads `aque-node ready name=… tag=… api=… listen=A,B ticket=…`.
fn parse(line: &str) -> Option<Ready> {
    let fields = line.strip_prefix("aque-node ready ")?;
    let field = |name: &str| {
        fields
            .split(' ')
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
            .map(str::to_owned)
    };
    let listen = field("listen")?.split(',').map(str::to_owned).collect();
    Some(Ready {
        tag: field("tag")?,
        listen,
        ticket: field("ticket")?,
    })
}
