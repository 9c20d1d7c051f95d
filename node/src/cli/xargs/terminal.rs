//! The terminal in front of which the person sits: asked before each command (`-p`), lent to tasks (`-o`).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use crdt::task::Arg;
use rustix::termios::ttyname;

use crate::api::wire::{StdinWord, TaskRequest};
use crate::cli::problem::Problem;

/// The terminal of whoever started this program, whatever its streams are.
const TERMINAL: &str = "/dev/tty";

/// Whoever sits at the terminal.
#[derive(Debug)]
pub(super) struct Person {
    answers: BufReader<File>,
}

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
}

impl Person {
    /// Opens the terminal.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn new() -> Result<Self, Problem> {
        let terminal = File::open(TERMINAL).map_err(|error| {
            Problem::failed(format!(
                "-p asks on the terminal, and {TERMINAL} cannot be opened: {error}"
            ))
            .hint("use -t to see the commands")
        })?;
        let answers = BufReader::new(terminal);
        Ok(Self { answers })
    }

    /// Asks whether this is wanted; yes begins with y. An end of input is no.
    pub(super) fn ask(&mut self, command: &str) -> Answer {
        let mut errors = anstream::stderr();
        // Without a reader there is nobody to ask, and the answer is no.
        let _asked = write!(errors, "{command}?...").and_then(|()| errors.flush());
        let mut line = String::new();
        let _read = self.answers.read_line(&mut line);
        match line.as_bytes().first() {
            Some(b'y' | b'Y') => Answer::Yes,
            Some(_) | None => Answer::No,
        }
    }
}

/// Lets tasks read from this terminal, on the host with this tag: no other has it.
///
/// # Errors
/// There is none, or their input and host were stated otherwise.
pub(super) fn lend(task: &mut TaskRequest, tag: &str) -> Result<(), Problem> {
    if task.life.stdin.is_some() || task.life.pipe_from.is_some() {
        let what = "-o says what tasks read, and so do --stdin and --pipe-from";
        return Err(Problem::usage(what).hint("leave one out"));
    }
    if !task.requires.hosts.is_empty() {
        return Err(Problem::usage(
            "-o and --host both say where tasks run: a terminal is on this host alone",
        )
        .hint("leave one out"));
    }
    let name = [
        ttyname(io::stdin(), Vec::new()),
        ttyname(io::stdout(), Vec::new()),
        ttyname(io::stderr(), Vec::new()),
    ];
    let Some(name) = name.into_iter().find_map(Result::ok) else {
        return Err(
            Problem::failed("-o lends tasks this terminal, and no standard stream is one")
                .hint("name a file with --stdin FILE"),
        );
    };
    task.life.stdin = Some(StdinWord::File(Arg(name.into_bytes())));
    tag.clone_into(&mut task.requires.hosts);
    Ok(())
}
