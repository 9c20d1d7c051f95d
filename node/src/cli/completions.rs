//! `aque completions`: the script by which a shell asks this program what may follow on a command line.
//!
//! The script is a few lines; what they ask is answered from the same definitions that parse command lines, and ids, hosts, queues
//! and settings by the node, if it answers at once. A shell asks through a variable, so that no command line has another meaning.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, Command, ValueEnum};
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCandidates;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};
use crdt::settings::Settings;

use super::problem::Problem;
use super::{Context, help};
use crate::api::wire::StatusQuery;
use crate::client::{Client, ClientError};

/// The variable that makes this program answer a shell.
const VARIABLE: &str = "AQUE_COMPLETE";
/// A node that takes longer is not waited for: a person has pressed a key.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many of a user's newest tasks are offered.
const TASKS: u32 = 100;

/// Print the script that makes a shell complete command lines of aque
///
/// It completes verbs, options and their values, ids of tasks, names of hosts, queues and settings, as the node knows them at that
/// moment.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  source <(aque completions bash)                   in ~/.bashrc
  source <(aque completions zsh)                    in ~/.zshrc, after compinit
  aque completions fish | source                    in ~/.config/fish/config.fish";

/// The shells that are known.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// Fish
    Fish,
}

/// Prints the script.
pub(crate) fn run(context: &Context, options: &Options) -> Result<u8, Problem> {
    let shell: &dyn EnvCompleter = match options.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    let written = shell.write_registration(VARIABLE, "aque", "aque", "aque", &mut script);
    written.map_err(|error| Problem::output(&error))?;
    context.print(&String::from_utf8_lossy(&script)).map(|()| 0)
}

/// Answers a shell, if one asks.
pub(super) fn answer(args: &[OsString]) -> Option<ExitCode> {
    std::env::var_os(VARIABLE)?;
    let here = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(offering)
        .var(VARIABLE)
        .try_complete(args, here.as_deref());
    match answered {
        Ok(true) => Some(ExitCode::SUCCESS),
        // It is set to nothing.
        Ok(false) => None,
        Err(error) => {
            // A person is in the middle of a line: nothing is offered, and what is wrong stands where it does not disturb.
            let _told = writeln!(std::io::stderr(), "{error}");
            Some(ExitCode::FAILURE)
        }
    }
}

/// The command line, with what the node knows as values.
fn offering() -> Command {
    offer(super::command(), &[])
}

fn offer(command: Command, path: &[&str]) -> Command {
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let command = command.mut_args(|arg| match values(path, &arg) {
        Some(values) => arg.add(values),
        None => arg,
    });
    verbs.iter().fold(command, |command, verb| {
        command.mut_subcommand(verb, |of| offer(of, &[path, &[verb.as_str()]].concat()))
    })
}

/// What an option or argument takes that is not known here.
fn values(path: &[&str], arg: &Arg) -> Option<ArgValueCandidates> {
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.first().map_or("", |name| name.as_str());
    Some(match (path, arg.get_id().as_str(), name) {
        (["help"], _, "WORD") => ArgValueCandidates::new(topics),
        (["settings", ..], _, "KEY") => ArgValueCandidates::new(settings),
        (["queue", ..], "name", _) | (_, "queue", _) => ArgValueCandidates::new(queues),
        (_, "host", _) | (_, _, "NODE") => ArgValueCandidates::new(hosts),
        (_, _, "ID") => ArgValueCandidates::new(tasks),
        _ => return None,
    })
}

fn node() -> Result<Client, ClientError> {
    let whom = super::whom(None).unwrap_or_default();
    Client::connect_within(&whom.sockets, PATIENCE)
}

/// Nobody answers: nothing is offered.
fn known<T>(asked: Result<T, ClientError>) -> Option<T> {
    asked.ok()
}

fn candidate(word: impl Into<OsString>, about: String) -> CompletionCandidate {
    CompletionCandidate::new(word).help(Some(about.into()))
}

fn tasks() -> Vec<CompletionCandidate> {
    let query = StatusQuery {
        limit: TASKS,
        ..StatusQuery::default()
    };
    let list = known(node().and_then(|mut node| node.status(query)));
    let tasks = list.into_iter().flat_map(|list| list.tasks).rev();
    let last = candidate("last", "the newest of yours".to_owned());
    let each = tasks.map(|line| {
        let what = line.name.unwrap_or(line.command);
        candidate(line.id, format!("{} {what}", line.state))
    });
    each.chain([last]).collect()
}

fn hosts() -> Vec<CompletionCandidate> {
    let nodes = known(node().and_then(|mut node| node.nodes()));
    let lines = nodes.into_iter().flat_map(|nodes| nodes.nodes);
    let each = lines.map(|line| {
        let heard = if line.alive { "" } else { ", not heard of" };
        candidate(line.name, format!("{}{heard}", line.tag))
    });
    each.collect()
}

fn queues() -> Vec<CompletionCandidate> {
    let list = known(node().and_then(|mut node| node.queues()));
    let lines = list.into_iter().flat_map(|list| list.queues);
    let named = lines.filter(|line| !line.name.is_empty());
    let each = named.map(|line| {
        let (active, waiting) = (line.active, line.waiting);
        candidate(line.name, format!("{active} active, {waiting} waiting"))
    });
    each.collect()
}

fn settings() -> Vec<CompletionCandidate> {
    let known = Settings::NAMES.iter();
    known.map(|name| CompletionCandidate::new(*name)).collect()
}

fn topics() -> Vec<CompletionCandidate> {
    let each = help::TOPICS.iter();
    let each = each.map(|topic| candidate(topic.name, topic.about.to_owned()));
    let verbs = super::command();
    let verbs = verbs.get_subcommands().map(|verb| {
        let about = verb.get_about().map(ToString::to_string);
        candidate(verb.get_name().to_owned(), about.unwrap_or_default())
    });
    each.chain(verbs).collect()
}
