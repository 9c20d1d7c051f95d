//! The client's verbs, one file each: the doc comment of a verb's options is its help text.
//!
//! A verb parses at the door, asks the node through [`crate::client`], shows through [`crate::render`], and returns an
//! exit status. Standard output carries the answer alone, so that scripts can use it; all else goes to standard error.

mod array;
mod braces;
mod call;
mod columns;
mod completions;
mod demo;
mod doctor;
mod drain;
mod edit;
mod events;
mod explain;
mod help;
mod hold;
mod interrupt;
mod invite;
mod kill;
mod life;
mod man;
mod nodes;
mod output;
pub(crate) mod parse;
mod problem;
mod queue;
mod retry;
mod rm;
mod select;
mod settings;
mod show;
mod status;
mod submit;
mod task;
mod top;
mod tree;
mod turn;
mod wait;
mod why_twice;
mod xargs;

#[cfg(test)]
pub(crate) use task::tests::line as task_for_tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::client::{Client, Patience, Whom, own_sockets};
use crate::render::{Screen, note};
use crate::usage;
use problem::{Kind, Problem};

/// Run commands on the hosts of a mesh, each once, without a server.
///
/// Any node answers any question with the same truth, wherever a task was submitted or runs.
#[derive(Debug, Parser)]
#[command(name = "aque", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  aque submit make -j4                 queue a command; prints its id
  aque submit -w ./test.sh             the same, and follow its output to the end
  ls *.png | aque xargs -n1 optipng    one task for each file
  aque                                 what is queued, running, done
  aque output last                     what the newest task printed
  aque demo                            a mesh on this machine, with a killed host, in ten seconds

'aque help' WORD tells more of a verb, or about ids, filters, states, exit-status, environment, files.";

/// Options of every verb.
#[derive(Debug, clap::Args)]
struct Common {
    /// The node to ask: a socket's path, or a host's name or tag, through this machine's own node [default: that one]
    #[arg(long, global = true, value_name = "NODE")]
    node: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress and no remarks (-q before the command)
    #[arg(long, global = true)]
    quiet: bool,
    #[arg(short = 'q', hide = true)]
    quiet_short: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    fn choice(self) -> anstream::ColorChoice {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
    }

    /// Returns what a command line says that could not be read, or that asks for help.
    fn said(words: &[OsString]) -> Option<Self> {
        let option = words.iter().position(|word| {
            let text = word.to_string_lossy();
            text == "--color" || text.starts_with("--color=")
        })?;
        let text = words[option].to_string_lossy().into_owned();
        let value = match text.split_once('=') {
            Some((_, value)) => value.to_owned(),
            None => words.get(option + 1)?.to_string_lossy().into_owned(),
        };
        Self::from_str(&value, false).ok()
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(visible_aliases = ["s", "sub"])]
    Submit(Box<submit::Options>),
    Xargs(Box<xargs::Options>),
    #[command(visible_alias = "st")]
    Status(status::Options),
    Show(show::Options),
    #[command(visible_alias = "log")]
    Output(output::Options),
    Wait(wait::Options),
    Kill(kill::Options),
    Retry(retry::Options),
    Rm(rm::Options),
    Edit(edit::Options),
    Explain(explain::Options),
    Hold(hold::HoldOptions),
    Release(hold::ReleaseOptions),
    Drain(drain::DrainOptions),
    Undrain(drain::UndrainOptions),
    Forget(drain::ForgetOptions),
    WhyTwice(why_twice::Options),
    Nodes(nodes::Options),
    Top(top::Options),
    Events(events::Options),
    Queue(queue::Options),
    Settings(settings::Options),
    Invite(invite::Options),
    Doctor(doctor::Options),
    Demo(demo::Options),
    Completions(completions::Options),
    Man(man::Options),
    Help(help::Options),
}

/// How much is said beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Progress and remarks.
    Normal,
    /// Errors only.
    Quiet,
}

/// In which form the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What every verb gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) whom: Whom,
    pub(crate) form: Form,
    pub(crate) talk: Talk,
    pub(crate) screen: Screen,
}

impl Context {
    fn new(common: &Common) -> Result<Self, Problem> {
        let choice = common.color.choice();
        let quiet = common.quiet || common.quiet_short;
        Ok(Self {
            whom: whom(common.node.as_ref())?,
            form: if common.json { Form::Json } else { Form::Text },
            talk: if quiet { Talk::Quiet } else { Talk::Normal },
            screen: Screen::new(choice),
        })
    }

    /// Connects to the node.
    pub(crate) fn connect(&self) -> Result<Client, Problem> {
        Ok(self.whom.connect()?)
    }

    /// Tells a person something beside the answer, unless they want quiet.
    pub(crate) fn remark(&self, text: &str) {
        if self.talk == Talk::Normal {
            note(text);
        }
    }

    /// Prints text with colours.
    pub(crate) fn print(&self, text: &str) -> Result<(), Problem> {
        self.screen
            .print(text)
            .map_err(|error| Problem::output(&error))
    }

    /// Passes text for programs on, as it is unless a terminal shows it.
    pub(crate) fn pass(&self, text: &[u8]) -> Result<(), Problem> {
        self.screen
            .pass(text)
            .map_err(|error| Problem::output(&error))
    }

    /// Prints a JSON document.
    pub(crate) fn json(&self, content: &impl serde::Serialize) -> Result<(), Problem> {
        self.screen
            .json(&Document::of(content))
            .map_err(|error| Problem::output(&error))
    }

    /// Prints a JSON document that is a list of such things.
    pub(crate) fn json_list(
        &self,
        what: &str,
        list: &[impl serde::Serialize],
    ) -> Result<(), Problem> {
        self.json(&BTreeMap::from([(what, list)]))
    }
}

/// What `--json` prints: an object that says by which version of docs/json.md it goes.
#[derive(serde::Serialize)]
struct Document<'a, T> {
    schema: u32,
    #[serde(flatten)]
    content: &'a T,
}

impl<'a, T> Document<'a, T> {
    /// Within a version fields may be added; none goes or comes to mean something else.
    const SCHEMA: u32 = 1;

    fn of(content: &'a T) -> Self {
        let schema = Self::SCHEMA;
        Self { schema, content }
    }
}

/// Returns the whole command line, for whoever must know every verb. Short forms that GNU xargs uses otherwise exist for `submit` alone.
#[must_use]
pub fn command() -> clap::Command {
    const SHORT: [(&str, char); 7] = [
        ("name", 'n'),
        ("priority", 'p'),
        ("env", 'e'),
        ("shell", 's'),
        ("after", 'a'),
        ("resource", 'r'),
        ("queue", 'q'),
    ];
    let with = |arg: clap::Arg| {
        let short = SHORT.iter().find(|(name, _)| arg.get_id() == name);
        match short {
            Some((_, short)) => arg.short(*short),
            None => arg,
        }
    };
    Cli::command().mut_subcommand("submit", |submit| submit.mut_args(with))
}

/// Runs the client: `args` with the program's name first. Returns one of the exit statuses that the documentation lists.
///
/// Hidden verbs make the same program a node, a node's guard, a guard's launcher, or what looks at file systems for a node; they take all that follows.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.get(1).and_then(|verb| verb.to_str()) {
        Some(demo::NODE_VERB) => return demo::be_a_node(args.into_iter().skip(2).collect()),
        Some(crate::guard::VERB) => return crate::guard::main(args.into_iter().skip(2)),
        Some(crate::look::VERB) => return crate::look::main(args.into_iter().skip(2)),
        Some(crate::guard::launcher::VERB) => return crate::guard::launcher::main(),
        Some(_) | None => {}
    }
    if let Some(answered) = completions::answer(&args) {
        return answered;
    }
    // Not taken apart at the end: that would take as long as to ask a node.
    let mut top = ManuallyDrop::new(command());
    let args = xargs::words::spelled_out(&top, args);
    let matches = match top.try_get_matches_from_mut(&args) {
        Ok(matches) => matches,
        Err(error) => return explain(&error, &args),
    };
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => finish(run(cli, &matches)),
        Err(error) => explain(&error, &args),
    }
}

fn run(cli: Cli, matches: &ArgMatches) -> Result<u8, Problem> {
    let context = Context::new(&cli.common)?;
    match cli.verb {
        None => status::run(&context, status::Options::default()),
        Some(Verb::Submit(options)) => submit::run(&context, *options),
        Some(Verb::Xargs(options)) => {
            let own = matches.subcommand_matches("xargs");
            xargs::run(&context, *options, own.unwrap_or(matches))
        }
        Some(Verb::Status(options)) => status::run(&context, options),
        Some(Verb::Show(options)) => show::run(&context, options),
        Some(Verb::Output(options)) => output::run(&context, options),
        Some(Verb::Wait(options)) => wait::run(&context, options),
        Some(Verb::Kill(options)) => kill::run(&context, options),
        Some(Verb::Retry(options)) => retry::run(&context, options),
        Some(Verb::Rm(options)) => rm::run(&context, options),
        Some(Verb::Edit(options)) => edit::run(&context, options),
        Some(Verb::Explain(options)) => explain::run(&context, options),
        Some(Verb::Hold(options)) => hold::hold(&context, options),
        Some(Verb::Release(options)) => hold::release(&context, options),
        Some(Verb::WhyTwice(options)) => why_twice::run(&context, options),
        Some(Verb::Nodes(options)) => nodes::run(&context, &options),
        Some(Verb::Top(options)) => top::run(&context, options),
        Some(Verb::Events(options)) => events::run(&context, options),
        Some(Verb::Queue(options)) => queue::run(&context, options),
        Some(Verb::Settings(options)) => settings::run(&context, options),
        Some(Verb::Invite(_)) => invite::run(&context),
        Some(Verb::Drain(options)) => drain::drain(&context, options),
        Some(Verb::Undrain(options)) => drain::undrain(&context, options),
        Some(Verb::Forget(options)) => drain::forget(&context, options),
        Some(Verb::Doctor(_)) => doctor::run(&context),
        Some(Verb::Demo(options)) => demo::run(&context, &options),
        Some(Verb::Completions(options)) => completions::run(&context, &options),
        Some(Verb::Man(options)) => man::run(&context, options),
        Some(Verb::Help(options)) => help::run(&context, &options),
    }
}

fn finish(done: Result<u8, Problem>) -> ExitCode {
    match done {
        Ok(status) => ExitCode::from(status),
        Err(problem) => {
            if let Some(line) = problem.line() {
                note(&line);
            }
            ExitCode::from(problem.status())
        }
    }
}

/// Prints help where it was asked for; any other error of the parser becomes one line.
fn explain(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if let Some(color) = Color::said(words) {
        color.choice().write_global();
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => finish(Err(Problem::output(&error))),
        },
        _ => finish(Err(usage_problem(error, words))),
    }
}

fn usage_problem(error: &clap::Error, words: &[OsString]) -> Problem {
    Problem::usage(usage::mistake(error)).hint(usage::remedy(&command(), words))
}

/// The node that was named, by its socket or its host's name, or else this machine's own.
fn whom(named: Option<&PathBuf>) -> Result<Whom, Problem> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let patience = patience(var(PATIENCE))?;
    let own = |host| Whom {
        sockets: own_sockets(|name| var(name).map(PathBuf::from)),
        host,
        patience,
    };
    let named = match (named, var("AQUE_NODE"), var("AQUE_BROKER")) {
        (Some(path), _, _) => path.clone(),
        (None, Some(path), _) => path.into(),
        (None, None, Some(path)) => {
            note("aque: AQUE_BROKER is the old name; set AQUE_NODE instead");
            path.into()
        }
        (None, None, None) => return Ok(own(None)),
    };
    let text = named.to_string_lossy();
    if text.is_empty() || text.starts_with("/ip") || text.starts_with("/dns") {
        let what = format!(
            "cannot ask '{text}': a node is asked through a socket on this machine, or by its name through this machine's node"
        );
        return Err(Problem::new(Kind::Usage, what).hint("'aque nodes' lists the hosts"));
    }
    if text.contains('/') || named.exists() {
        return Ok(Whom {
            sockets: vec![named],
            host: None,
            patience,
        });
    }
    Ok(own(Some(text.into_owned())))
}

/// The variable that says how long an answer is waited for that needs no waiting.
const PATIENCE: &str = "AQUE_PATIENCE";

fn patience(stated: Option<OsString>) -> Result<Patience, Problem> {
    let Some(stated) = stated else {
        return Ok(Patience::default());
    };
    let text = stated.to_string_lossy();
    match parse::duration(&text) {
        Ok(answer) if !answer.is_zero() => Ok(Patience::of(answer)),
        Ok(_) | Err(_) => Err(Problem::usage(format!("{PATIENCE} is '{text}'"))
            .hint("set it to how long a node may take to answer, such as 5s or 2m")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn refused(args: &[&str]) -> String {
        let error = command().try_get_matches_from(args).unwrap_err();
        let words: Vec<OsString> = args.iter().map(Into::into).collect();
        usage_problem(&error, &words).line().unwrap()
    }

    #[test]
    fn definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn colours_of_help_table() {
        for (words, never) in [
            (&["aque", "--color", "never", "--help"][..], true),
            (&["aque", "status", "--color=never", "-h"], true),
            (&["aque", "--color=always", "--help"], false),
            (&["aque", "--help", "--color"], false),
            (&["aque", "--help", "--color", "red"], false),
            (&["aque", "--help"], false),
        ] {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            let said = Color::said(&words);
            assert_eq!(matches!(said, Some(Color::Never)), never, "{words:?}");
        }
    }

    #[test]
    fn every_verb_has_examples() {
        for verb in command().get_subcommands() {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Examples:\n  "), "{}", verb.get_name());
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
    }

    #[test]
    fn usage_errors_are_one_line() {
        assert_eq!(
            refused(&["aque", "statsu"]),
            "aque: unrecognized subcommand 'statsu'; some similar subcommands exist: 'settings', 's', 'st', 'status'; try 'aque --help'"
        );
        assert_eq!(
            refused(&["aque", "forget"]),
            "aque: the following required arguments were not provided: <NODE>; try 'aque forget --help'"
        );
        let line = refused(&["aque", "submit", "--pirority", "3", "true"]);
        assert!(
            line.contains("'--pirority'") && line.contains("'--priority'"),
            "{line}"
        );
        assert!(line.ends_with("try 'aque submit --help'"), "{line}");
        let line = refused(&["aque", "kill", "-s", "NOPE", "1"]);
        assert!(line.contains("'NOPE'") && line.contains("TERM"), "{line}");
    }

    #[test]
    fn common_options_stand_anywhere() {
        for args in [
            &["aque", "-q", "--json", "status"][..],
            &["aque", "status", "--json", "--quiet", "--node", "/x"],
            &["aque", "--json"],
        ] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert!(cli.common.json, "{args:?}");
        }
    }
}
