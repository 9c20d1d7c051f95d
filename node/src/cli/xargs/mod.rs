//! `aque xargs`: one task for each batch of arguments read from standard input, all of them one group.
//!
//! A thread reads and cuts the input; what it finds goes through a short queue to the feeder, which submits it in batches
//! while the rest is still being read. Memory does not grow with the input.

mod feed;
mod judge;
mod limits;
mod pack;
mod slots;
mod split;
mod terminal;
mod watch;
pub(super) mod words;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use clap::ArgMatches;
use crdt::task::Arg;

use super::Context;
use super::call::CallOptions;
use super::problem::Problem;
use super::task::{TaskOptions, split_assignments};
use crate::render::note;
use crate::render::text::command as as_typed;
use feed::{Event, Feeder};
use pack::{Command, Grouping, MAX_CHARS, Overflow, Packer};
use split::{Rules, Splitter};
use watch::Show;

/// Queue one task for each batch of arguments read from standard input; print the group's id
///
/// Arguments are cut and quoted as GNU xargs does. The first tasks run while the input is still being read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub(crate) struct Options {
    /// Items end with NUL; quotes are not special
    #[arg(short = '0', long)]
    null: bool,
    /// Items end with this character; quotes are not special
    #[arg(short, long, value_name = "CHAR", value_parser = delimiter, conflicts_with = "null")]
    delimiter: Option<u8>,
    /// Read from this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    arg_file: Option<PathBuf>,
    /// An item that ends the input
    #[arg(short = 'E', value_name = "WORD")]
    end: Option<OsString>,
    /// The same (also -e[WORD]); without WORD: no item does
    #[arg(long, value_name = "WORD", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    eof: Option<OsString>,
    /// At most so many arguments each
    #[arg(short = 'n', long, value_name = "N", value_parser = positive)]
    max_args: Option<usize>,
    /// At most so many lines each; a trailing blank continues a line
    #[arg(short = 'L', value_name = "N", value_parser = positive)]
    lines: Option<usize>,
    /// The same (also -l[N]) [default: 1]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = positive)]
    max_lines: Option<usize>,
    /// One task for each line, put in place of R in the arguments
    #[arg(short = 'I', value_name = "R")]
    insert: Option<OsString>,
    /// The same (also -i[R]) [default: {}]
    #[arg(long, value_name = "R", num_args = 0..=1, require_equals = true, default_missing_value = "{}")]
    replace: Option<OsString>,
    /// At most so many of this group at once, mesh-wide; 0 = no limit [default: 0]
    #[arg(
        short = 'P',
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true
    )]
    max_procs: u32,
    /// At most so many bytes each, the command itself included
    #[arg(short = 's', long, value_name = "N", value_parser = positive)]
    max_chars: Option<usize>,
    /// No task if there are no arguments
    #[arg(short = 'r', long)]
    no_run_if_empty: bool,
    /// Print each command on standard error
    #[arg(short = 't', long)]
    verbose: bool,
    /// Ask on the terminal before each command is queued
    #[arg(short = 'p', long)]
    interactive: bool,
    /// Tasks read from this terminal, and run on this host; with -w or --wait
    #[arg(short = 'o', long)]
    open_tty: bool,
    /// A variable that holds a number from 0, another in each task that runs at the same time; with -w or --wait
    #[arg(long, value_name = "NAME", value_parser = variable)]
    process_slot_var: Option<Arg>,
    /// Show how large commands may be, and go on
    #[arg(long)]
    show_limits: bool,
    /// Fail if -s is reached before -n or -L
    #[arg(short = 'x', long)]
    exit: bool,
    /// Wait, print what the tasks print, and exit as GNU xargs does
    #[arg(short, long)]
    watch: bool,
    /// With -w: print each task's output whole, in the order of the input
    #[arg(short, long, requires = "watch")]
    keep_order: bool,
    /// Wait without printing, and exit as GNU xargs does
    #[arg(long, conflicts_with = "watch")]
    wait: bool,
    #[command(flatten)]
    task: TaskOptions,
    #[command(flatten)]
    call: CallOptions,
    /// [KEY=VALUE...] CMD [ARG...] [default: echo]
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  ls *.png | aque xargs -n1 optipng            one task for each file; prints the group's id
  find . -name '*.c' -print0 | aque xargs -0 -n 20 -P 4 cc -c
  aque xargs -I{} sh -c 'gzip -k {}' < list    one task for each line
  seq 100 | aque xargs -w -k -n1 ./job         as xargs would, on all hosts, output in order";

/// Reads, submits, and waits if that was asked for.
pub(crate) fn run(
    context: &Context,
    options: Options,
    matches: &ArgMatches,
) -> Result<u8, Problem> {
    if show(&options) == Show::Id {
        stays(&options)?;
    }
    if options.task.life.reads_here() && options.arg_file.is_none() {
        return Err(Problem::usage(
            "--stdin - takes what is on standard input, and so do the arguments",
        )
        .hint("read the arguments from a file with -a, or name a file with --stdin FILE"));
    }
    let grouping = grouping(&options, matches);
    let rules = rules(&options, matches, &grouping);
    let max_chars = max_chars(&options);
    if options.show_limits {
        limits::show(max_chars);
    }
    let (assigned, own) = split_assignments(options.command.clone());
    let own = own_words(&options, &grouping, own)?;
    let counted = grouping != Grouping::All;
    let implied = matches!(grouping, Grouping::Lines(_));
    let overflow = if counted && (options.exit || implied) {
        Overflow::Fail
    } else {
        Overflow::Cut
    };
    let group_name = options
        .task
        .name
        .clone()
        .unwrap_or_else(|| format!("xargs {}", as_typed(&own)));
    let show = show(&options);
    let packer = Packer::new(own, grouping, max_chars, overflow)
        .map_err(|error| Problem::failed(error.to_string()).hint("give a larger -s"))?;
    let mut template = options.task.template(assigned)?;
    template.name = None;
    template.call = options.call.is_call();
    let mut client = context.connect()?;
    options.task.adopt(&mut client, &mut template)?;
    if options.open_tty {
        terminal::lend(&mut template, client.near())?;
    }
    let input = open(options.arg_file.as_ref())?;
    let feeder = Feeder::new(
        context,
        feed::Plan {
            template,
            group_name,
            env: options.task.environment(),
            durable: options.task.durable(),
            window: options.max_procs,
            slot_variable: options.process_slot_var.clone(),
        },
    )?;
    let reader = Reader {
        splitter: Splitter::new(input, rules, max_chars),
        packer,
        bare: if options.no_run_if_empty {
            Bare::Nothing
        } else {
            Bare::Once
        },
        trace: match (options.interactive, options.verbose) {
            (true, _) => Trace::Asked(terminal::Person::new()?),
            (false, true) => Trace::Shown,
            (false, false) => Trace::Hidden,
        },
        call: options.call,
    };
    feeder.run(|events| reader.run(&events), show)
}

/// The words of every command, before the items.
fn own_words(
    options: &Options,
    grouping: &Grouping,
    mut own: Vec<Arg>,
) -> Result<Vec<Arg>, Problem> {
    if !options.call.is_call() {
        if own.is_empty() {
            own.push(Arg::from("echo"));
        }
        return Ok(options.call.before(own));
    }
    if !own.is_empty() {
        return Err(
            Problem::usage("with --call the items alone are the arguments")
                .hint("leave the words behind the options out"),
        );
    }
    let mut own = options.call.words(own)?;
    if let Grouping::Replace(text) = grouping {
        own.push(Arg(text.clone()));
    }
    Ok(own)
}

/// Refuses what needs somebody who stays until all have ended.
fn stays(options: &Options) -> Result<(), Problem> {
    let numbered = options.process_slot_var.is_some();
    let (option, why) = match (options.open_tty, numbered) {
        (false, false) => return Ok(()),
        (true, _) => ("-o", "tasks cannot read from a terminal that others use"),
        (false, true) => (
            "--process-slot-var",
            "somebody must see which numbers are free",
        ),
    };
    Err(Problem::usage(format!("{option} needs -w or --wait: {why}")).hint("add one of them"))
}

fn show(options: &Options) -> Show {
    match (options.watch, options.keep_order, options.wait) {
        (true, true, _) => Show::InOrder,
        (true, false, _) => Show::AsTheyEnd,
        (false, _, true) => Show::Nothing,
        (false, _, false) => Show::Id,
    }
}

/// Where an option stands on the command line; 0 if it does not.
fn place(matches: &ArgMatches, id: &str) -> usize {
    matches.indices_of(id).and_then(Iterator::max).unwrap_or(0)
}

/// Of `-n`, `-L` and `-I` the last one counts, as in GNU xargs; `-n 1` after `-I` changes nothing.
fn grouping(options: &Options, matches: &ArgMatches) -> Grouping {
    let place = |id: &str| place(matches, id);
    let text = |text: &OsString| Grouping::Replace(text.as_bytes().to_vec());
    let replaced = place("insert").max(place("replace"));
    let items = options
        .max_args
        .filter(|most| !(*most == 1 && replaced > 0 && place("max_args") > replaced));
    let given = [
        ("max_args", items.map(Grouping::Items)),
        ("lines", options.lines.map(Grouping::Lines)),
        ("max_lines", options.max_lines.map(Grouping::Lines)),
        ("insert", options.insert.as_ref().map(text)),
        ("replace", options.replace.as_ref().map(text)),
    ];
    let given = given
        .into_iter()
        .filter_map(|(id, grouping)| Some((place(id), grouping?)));
    given
        .max_by_key(|(place, _)| *place)
        .map_or(Grouping::All, |(_, grouping)| grouping)
}

fn rules(options: &Options, matches: &ArgMatches, grouping: &Grouping) -> Rules {
    let place = |id: &str| place(matches, id);
    let end = if place("eof") > place("end") {
        options.eof.as_ref()
    } else {
        options.end.as_ref()
    };
    let end = end
        .map(|end| end.as_bytes().to_vec())
        .filter(|end| !end.is_empty());
    match (options.null, options.delimiter, grouping) {
        (true, _, _) => Rules::Delimited(0),
        (false, Some(byte), _) => Rules::Delimited(byte),
        (false, None, Grouping::Replace(_)) => Rules::Lines(end),
        (false, None, Grouping::All | Grouping::Items(_) | Grouping::Lines(_)) => Rules::Words(end),
    }
}

fn max_chars(options: &Options) -> usize {
    match options.max_chars {
        Some(asked) if asked > MAX_CHARS => {
            note(&format!(
                "aque: value {asked} for -s is above what a task takes; using {MAX_CHARS}"
            ));
            MAX_CHARS
        }
        Some(asked) => asked,
        None => MAX_CHARS,
    }
}

fn open(file: Option<&PathBuf>) -> Result<Box<dyn BufRead + Send>, Problem> {
    match file {
        None => Ok(Box::new(BufReader::with_capacity(64 << 10, io::stdin()))),
        Some(path) => match File::open(path) {
            Ok(file) => Ok(Box::new(BufReader::with_capacity(64 << 10, file))),
            Err(error) => Err(Problem::failed(format!(
                "cannot open {}: {error}",
                path.display()
            ))),
        },
    }
}

/// What an empty input means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bare {
    /// One task without arguments.
    Once,
    /// None.
    Nothing,
}

/// Whether commands are printed.
#[derive(Debug)]
enum Trace {
    Shown,
    Hidden,
    /// Each is queued only if this person says so.
    Asked(terminal::Person),
}

/// From bytes to commands; a thread's whole work.
struct Reader {
    splitter: Splitter<Box<dyn BufRead + Send>>,
    packer: Packer,
    bare: Bare,
    trace: Trace,
    call: CallOptions,
}

/// Nobody takes commands any more.
struct Unwanted;

impl Reader {
    fn run(mut self, events: &SyncSender<Event>) {
        // When nobody listens any more, there is nothing left to do.
        let _unwanted = self.read(events);
    }

    fn read(&mut self, events: &SyncSender<Event>) -> Result<(), Unwanted> {
        let failure = loop {
            match self.splitter.next() {
                Ok(Some(item)) => match self.packer.push(item) {
                    Ok(commands) => self.send(events, commands)?,
                    Err(error) => break Some(error.to_string()),
                },
                Ok(None) => {
                    let rest = self.packer.rest();
                    self.send(events, rest)?;
                    break None;
                }
                Err(error) => {
                    let rest = self.packer.salvage();
                    self.send(events, rest)?;
                    break Some(error.to_string());
                }
            }
        };
        if self.bare == Bare::Once && failure.is_none() {
            let bare = self.packer.bare();
            self.send(events, bare)?;
        }
        let last = failure.map_or(Event::End, |why| Event::Failed(Problem::failed(why)));
        events.send(last).map_err(|_| Unwanted)
    }

    fn send(
        &mut self,
        events: &SyncSender<Event>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), Unwanted> {
        for command in commands {
            let command = match self.call.packed(command) {
                Ok(command) => command,
                Err(problem) => {
                    // Nobody takes what comes after a failure.
                    let _told = events.send(Event::Failed(problem));
                    return Err(Unwanted);
                }
            };
            match &mut self.trace {
                Trace::Hidden => {}
                Trace::Shown => note(&as_typed(&command)),
                Trace::Asked(person) => {
                    if person.ask(&as_typed(&command)) == terminal::Answer::No {
                        continue;
                    }
                }
            }
            events.send(Event::Command(command)).map_err(|_| Unwanted)?;
        }
        Ok(())
    }
}

/// Parses a count of at least one.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("not a number".to_owned()),
    }
}

/// Parses the name of a variable.
fn variable(text: &str) -> Result<Arg, String> {
    if text.is_empty() || text.contains('=') {
        return Err("a variable's name is not empty, and has no '='".to_owned());
    }
    Ok(Arg::from(text))
}

/// Parses one character: itself, or as `\n`, `\t`, `\0`, `\x2c`, `\054`.
fn delimiter(text: &str) -> Result<u8, String> {
    let wrong = || "give one byte, or an escape such as \\n, \\t, \\0, \\x2c".to_owned();
    let byte = match text.as_bytes() {
        [byte] => Some(*byte),
        [b'\\', b'x', digits @ ..] if !digits.is_empty() => number(digits, 16),
        [b'\\', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => number(digits, 8),
        [b'\\', letter] => escape(*letter),
        _ => None,
    };
    byte.ok_or_else(wrong)
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn escape(letter: u8) -> Option<u8> {
    match letter {
        b'a' => Some(7),
        b'b' => Some(8),
        b'f' => Some(12),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(11),
        b'\\' => Some(b'\\'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parsed(words: &[&str]) -> Result<(Options, ArgMatches), clap::Error> {
        let command = Options::augment_args(clap::Command::new("xargs"));
        let matches = command.try_get_matches_from(std::iter::once(&"xargs").chain(words))?;
        Ok((Options::from_arg_matches(&matches)?, matches))
    }

    fn grouped(words: &[&str]) -> Grouping {
        let (options, matches) = parsed(words).unwrap();
        grouping(&options, &matches)
    }

    #[test]
    fn the_last_of_n_l_and_i_counts() {
        let braces = Grouping::Replace(b"{}".to_vec());
        for (words, expected) in [
            (&["echo"][..], Grouping::All),
            (&["-n", "2"], Grouping::Items(2)),
            (&["-n2", "-n3"], Grouping::Items(3)),
            (&["-L1", "-n3"], Grouping::Items(3)),
            (&["-n3", "-L1"], Grouping::Lines(1)),
            (&["-n2", "-I{}"], braces.clone()),
            (&["-I", "{}", "-n2"], Grouping::Items(2)),
            (&["-I{}", "-n1"], braces.clone()),
            (&["-I{}", "-L1"], Grouping::Lines(1)),
            (&["-n1", "-I{}"], braces.clone()),
            (&["--replace"], braces.clone()),
            (&["-n2", "--replace="], Grouping::Replace(Vec::new())),
            (&["-I%", "--replace={}"], braces.clone()),
            (&["--replace=%", "-I{}"], braces.clone()),
            (&["--replace", "-n1"], braces),
            (&["-n3", "--max-lines"], Grouping::Lines(1)),
            (&["--max-lines=2", "-L3"], Grouping::Lines(3)),
            (&["-L3", "--max-lines=2"], Grouping::Lines(2)),
            (&["echo", "-n", "2"], Grouping::All),
        ] {
            assert_eq!(grouped(words), expected, "{words:?}");
        }
    }

    #[test]
    fn rules_table() {
        for (words, expected) in [
            (&[][..], Rules::Words(None)),
            (&["-E", "END"], Rules::Words(Some(b"END".to_vec()))),
            (&["-E", ""], Rules::Words(None)),
            (&["--eof"], Rules::Words(None)),
            (&["-E", "END", "--eof"], Rules::Words(None)),
            (&["--eof", "-E", "END"], Rules::Words(Some(b"END".to_vec()))),
            (&["--eof=END"], Rules::Words(Some(b"END".to_vec()))),
            (&["-0", "-I{}"], Rules::Delimited(0)),
            (&["-d", ",", "-E", "END"], Rules::Delimited(b',')),
            (&["-I{}"], Rules::Lines(None)),
        ] {
            let (options, matches) = parsed(words).unwrap();
            assert_eq!(
                rules(&options, &matches, &grouping(&options, &matches)),
                expected,
                "{words:?}"
            );
        }
    }

    #[test]
    fn delimiter_table() {
        for (text, byte) in [
            (",", b','),
            ("\n", b'\n'),
            ("\\n", b'\n'),
            ("\\t", b'\t'),
            ("\\0", 0),
            ("\\x2c", b','),
            ("\\054", b','),
            ("\\\\", b'\\'),
        ] {
            assert_eq!(delimiter(text), Ok(byte), "{text}");
        }
        for text in ["", "ab", "\\q", "\\x", "\\x100", "\\777", "é"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            &["-n", "0"][..],
            &["--max-lines=0"],
            &["--process-slot-var="],
            &["--process-slot-var=A=B"],
            &["-n", "x"],
            &["-L", "-1"],
            &["-P", "-1"],
            &["-s", "0"],
            &["-0", "-d", ","],
            &["-k"],
            &["-w", "--wait"],
            &["--bogus"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn who_does_not_wait_counts_nothing() {
        for (words, told) in [
            (&["-o"][..], "-o needs -w or --wait"),
            (
                &["--process-slot-var=N"],
                "--process-slot-var needs -w or --wait",
            ),
        ] {
            let problem = stays(&parsed(words).unwrap().0).unwrap_err();
            assert!(problem.line().unwrap().contains(told), "{words:?}");
            assert_eq!(problem.status(), 2);
        }
        assert!(stays(&parsed(&["-p"]).unwrap().0).is_ok());
    }
}
