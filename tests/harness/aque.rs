//! Runs the client as people do: a process with arguments and perhaps an input, its output and exit status kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::guests::Guest;
use crate::processes;
use crate::programs::programs;
use crate::settle::PATIENCE;

/// A call of `aque` that is being put together.
#[derive(Debug)]
pub struct Aque {
    command: Command,
    input: Vec<u8>,
    shown: String,
}

/// What came of a call.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    shown: String,
}

/// Variables of the environment in which the tests themselves run, which must not steer the programs.
pub(crate) const FOREIGN: [&str; 13] = [
    "PYTHONUNBUFFERED",
    "AQUE_NODE",
    "AQUE_BROKER",
    "AQUE_DATA",
    "AQUE_CONFIG",
    "AQUE_LOG",
    "AQUE_PATIENCE",
    "COLUMNS",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "NOTIFY_SOCKET",
    "AQUE_FOLLOWS",
];

impl Aque {
    /// Prepares `aque --node SOCKET ARGS…`.
    #[must_use]
    pub fn new(socket: &Path, args: &[&str]) -> Self {
        Self::of(&programs().aque, socket, args)
    }

    /// Prepares `aque ARGS…` on the machine of a node that has its socket in this directory.
    #[must_use]
    pub fn beside(home: &Path, args: &[&str]) -> Self {
        let mut aque = Self::bare(&programs().aque, args);
        aque.command.args(args).env("AQUE_DATA", home);
        aque
    }

    /// Prepares `aque --node SOCKET ARGS…` for another user of this machine.
    #[must_use]
    pub fn by(guest: &Guest, socket: &Path, args: &[&str]) -> Self {
        Self::of(&guest.aque(), socket, args).owned_by(guest)
    }

    /// The same as [`Aque::beside`] for another user of this machine.
    #[must_use]
    pub fn beside_by(guest: &Guest, home: &Path, args: &[&str]) -> Self {
        let mut aque = Self::bare(&guest.aque(), args);
        aque.command.args(args).env("AQUE_DATA", home);
        aque.owned_by(guest)
    }

    fn owned_by(mut self, guest: &Guest) -> Self {
        guest.own(&mut self.command);
        let path = "/usr/local/bin:/usr/bin:/bin";
        self.command.current_dir("/").env("PATH", path);
        self.shown = format!("{}: {}", guest.user.name, self.shown);
        self
    }

    /// Prepares a line for a shell in which `aque` is the client, on the machine of a node that has its socket in this directory.
    ///
    /// # Panics
    /// If there is no path to look for programs in.
    #[must_use]
    pub fn in_shell(line: &str, home: &Path) -> Self {
        let aque = &programs().aque;
        let own = aque
            .parent()
            .expect("a program lies in a folder")
            .to_owned();
        let path = std::env::var_os("PATH").expect("there are programs");
        let folders = std::iter::once(own).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).expect("folders make a path");
        let mut shell = Self::bare(Path::new("sh"), &[]);
        let command = shell.command.args(["-c", line]);
        command.env("PATH", path).env("AQUE_DATA", home);
        shell.shown = line.to_owned();
        shell
    }

    fn of(program: &Path, socket: &Path, args: &[&str]) -> Self {
        let mut aque = Self::bare(program, args);
        aque.command.arg("--node").arg(socket).args(args);
        aque
    }

    fn bare(program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.env("SHELL", "/bin/sh");
        FOREIGN.iter().for_each(|name| {
            command.env_remove(name);
        });
        Self {
            command,
            input: Vec::new(),
            shown: format!("aque {}", args.join(" ")),
        }
    }

    /// Sets what it reads from standard input (else nothing).
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Puts it on a terminal of its own, made by `script(1)`: what it reads is typed there, and what the terminal shows, errors too,
    /// is its standard output.
    #[must_use]
    pub fn on_terminal(self) -> Self {
        self.on_terminal_after("")
    }

    /// The same, on a terminal of this size.
    #[must_use]
    pub fn on_terminal_of(self, columns: u16, lines: u16) -> Self {
        self.on_terminal_after(&format!("stty cols {columns} rows {lines}; exec "))
    }

    fn on_terminal_after(mut self, first: &str) -> Self {
        let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
        let words: Vec<String> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(quoted)
            .collect();
        let mut command = Command::new("script");
        let script = format!("{first}{}", words.join(" "));
        command.args(["-qec", &script, "/dev/null"]);
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it does not end within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn run(self) -> Outcome {
        let mut out = scratch();
        let to = Stdio::from(out.try_clone().expect("a descriptor is free"));
        let mut outcome = self.run_into(to);
        outcome.stdout = text(&mut out);
        outcome
    }

    /// Runs it to its end, with standard output as a pipe that nobody reads any more.
    ///
    /// # Panics
    /// If it does not end within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn run_unread(self) -> Outcome {
        let (gone, to) = std::io::pipe().expect("a pipe can be made");
        drop(gone);
        self.run_into(to.into())
    }

    #[track_caller]
    fn run_into(mut self, to: Stdio) -> Outcome {
        let mut err = scratch();
        let mut input = scratch();
        input
            .write_all(&self.input)
            .and_then(|()| input.rewind())
            .expect("a scratch file is written");
        let errors = Stdio::from(err.try_clone().expect("a descriptor is free"));
        self.command
            .stdin(Stdio::from(input))
            .stdout(to)
            .stderr(errors);
        let child = self.command.spawn().expect("aque can be started");
        let Some(status) = ended(child) else {
            panic!("{} did not end; it said: {}", self.shown, text(&mut err));
        };
        Outcome {
            status,
            stdout: String::new(),
            stderr: text(&mut err),
            shown: self.shown,
        }
    }

    /// Starts it with standard output as a pipe, for those who look at it on the way. The caller waits for its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn spawn(mut self) -> Child {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        self.command.spawn().expect("aque can be started")
    }
}

impl Outcome {
    /// Returns standard output of a call that must have succeeded, without the last line's end.
    ///
    /// # Panics
    /// If it failed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.status.success(), "{self}");
        self.stdout.trim_end_matches('\n')
    }

    /// Returns standard error of a call that must have ended with this exit status and in silence on standard output.
    ///
    /// # Panics
    /// If it ended otherwise, or said nothing, or more than a line.
    #[track_caller]
    pub fn refused(&self, status: i32) -> &str {
        assert_eq!(self.status.code(), Some(status), "{self}");
        assert!(self.stdout.is_empty(), "{self}");
        assert_eq!(
            self.stderr.lines().count(),
            1,
            "an error is one line: {self}"
        );
        self.stderr.trim_end()
    }

    /// Returns the JSON on standard output of a call that must have succeeded.
    ///
    /// # Panics
    /// If it failed or printed something else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
            shown,
        } = self;
        write!(
            f,
            "'{shown}' ended with {status}; output: {stdout:?}; errors: {stderr:?}"
        )
    }
}

/// Waits for a child's end; kills it and returns `None` when that takes too long.
fn ended(mut child: Child) -> Option<ExitStatus> {
    let pid = Pid::from_child(&child);
    let (told, hears) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        // The receiver may have given up.
        let _told = told.send(child.wait().expect("a child can be waited for"));
    });
    let status = hears.recv_timeout(PATIENCE).ok();
    if status.is_none() {
        processes::signal(pid, Signal::KILL);
    }
    waiter.join().expect("waiting for a child does not fail");
    status
}

fn scratch() -> File {
    tempfile::tempfile().expect("a scratch file can be made")
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .expect("a scratch file is read");
    String::from_utf8_lossy(&bytes).into_owned()
}
