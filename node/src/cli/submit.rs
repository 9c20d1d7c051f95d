//! `aque submit`: queue one command.

use std::ffi::OsString;

use super::array::ArrayOptions;
use super::call::CallOptions;
use super::interrupt::{left_alone, on_interrupt};
use super::output::{Wanted, follow};
use super::problem::Problem;
use super::task::{TaskOptions, ended, split_assignments};
use super::wait::wait_with_meter;
use super::{Context, Form};
use crate::api::wire::{StatusQuery, Submission, Submitted};
use crate::client::Client;

/// Queue a command; print the task's id
///
/// Everything after CMD belongs to the command. KEY=VALUE before it sets a variable of the task.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    task: TaskOptions,
    #[command(flatten)]
    call: CallOptions,
    #[command(flatten)]
    array: ArrayOptions,
    /// Follow its output and exit with its exit status
    #[arg(short, long)]
    watch: bool,
    /// Wait for its end and exit with its exit status
    #[arg(long, conflicts_with = "watch")]
    wait: bool,
    /// [KEY=VALUE...] CMD [ARG...]
    #[arg(
        value_name = "CMD",
        required_unless_present = "call",
        trailing_var_arg = true
    )]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  aque submit make -j4                        prints an id, such as k3v7qa-12
  aque submit -w ./test.sh --fast             follows the output, exits as the task does
  aque submit -c 4 -m 8G -p 2000 ./render     needs 4 processors and 8 GB, before others
  aque submit LANG=C sort -o out in           with a variable set
  aque submit -s 'grep -c x \"$1\" | tee n' in  a script for the shell, with an argument
  aque submit -r gpu=1 --host 'render-*' ./train   with a graphics card to itself, on some hosts
  aque submit --at 18:30 --timeout 2h ./nightly    not before, and not for longer
  aque submit --retries 5 --retry-on 75 ./fetch    again after exit code 75, with growing pauses
  aque submit --queue render --duration 2h ./frame   in a queue with slots, before shorter ones
  aque submit --key nightly-2026-12-24 ./nightly   again under this key: the same task, not another
  aque submit --array 1-1000%8 ./frame        a thousand tasks, $AQUE_ARRAY_INDEX in each, eight at once
  aque submit --each-line urls -s 'curl -O $AQUE_ARRAY_ENTRY'
  aque submit -w --call frames:render '[1, 2]'   a Python function of frames.py; prints its result as JSON
  aque submit --interpreter node ./job.js x   a script that is not executable
  id=$(aque submit ./a) && aque submit -a $id ./b";

#[derive(serde::Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    line: &'a crate::api::wire::TaskLine,
    copies: u8,
    committee: u8,
    known: bool,
}

/// Queues the command, and waits for it or follows it if that was asked for.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let (assigned, own) = split_assignments(options.command);
    if own.is_empty() && !options.call.is_call() {
        return Err(Problem::usage("variables are set, but there is no command")
            .hint("try 'aque submit --help'"));
    }
    if options.array.reads_here() && options.task.life.reads_here() {
        return Err(Problem::usage(
            "--stdin - takes what is on standard input, and so do the entries",
        ));
    }
    let argv = options.call.words(own)?;
    let array = options.array.array()?;
    if array.is_some() && options.watch {
        return Err(Problem::usage("-w follows one task, and this is an array")
            .hint("--wait waits for all of it; 'aque output ID.INDEX' shows one"));
    }
    let mut task = options.task.template(assigned)?;
    task.turn = options.task.turn.stated(&argv);
    task.argv = argv;
    task.call = options.call.is_call();
    let mut client = context.connect()?;
    options.task.adopt(&mut client, &mut task)?;
    let mut submission = Submission {
        tasks: Vec::new(),
        env: options.task.environment(),
        durable: options.task.durable(),
    };
    let (id, submitted) = match array {
        Some(array) => array.submit(context, &mut client, &task, &submission)?,
        None => {
            submission.tasks.push(task);
            let submitted = client.submit(submission)?;
            let id = submitted.ids.first().cloned();
            let id = id.ok_or_else(|| Problem::failed("the node answered without an id"))?;
            (id, submitted)
        }
    };
    warn_if_thin(context, &submitted);
    if options.watch || options.wait {
        on_interrupt({
            let text = left_alone(&id);
            move || crate::render::note(&text)
        })?;
    }
    match (options.watch, options.wait, context.form) {
        (true, _, Form::Text) => watch(context, &mut client, &id),
        (true, _, Form::Json) | (_, true, _) => wait(context, &mut client, &id, &submitted),
        (false, false, Form::Text) => context.print(&format!("{id}\n")).map(|()| 0),
        (false, false, Form::Json) => record(context, &mut client, &id, &submitted).map(|()| 0),
    }
}

fn watch(context: &Context, client: &mut Client, id: &str) -> Result<u8, Problem> {
    follow(client, id, Wanted::Everything)?;
    Ok(ended(context, &client.wait_for(id)?))
}

fn wait(
    context: &Context,
    client: &mut Client,
    id: &str,
    submitted: &Submitted,
) -> Result<u8, Problem> {
    wait_with_meter(context, client, vec![id.to_owned()])?;
    if context.form == Form::Json {
        record(context, client, id, submitted)?;
    }
    Ok(ended(context, &client.wait_for(id)?))
}

fn record(
    context: &Context,
    client: &mut Client,
    id: &str,
    submitted: &Submitted,
) -> Result<(), Problem> {
    let query = StatusQuery {
        which: vec![id.to_owned()].into(),
        ..StatusQuery::default()
    };
    let list = client.status(query)?;
    let Some(line) = list.tasks.first() else {
        return Err(Problem::failed(format!(
            "the node does not know {id}, which it has just taken"
        )));
    };
    context.json(&Record {
        line,
        copies: submitted.copies,
        committee: submitted.committee,
        known: submitted.known,
    })
}

/// A submission is answered after some seconds even if a majority of the committee cannot be reached: that is worth a word.
pub(super) fn warn_if_thin(context: &Context, submitted: &Submitted) {
    let Submitted {
        copies, committee, ..
    } = submitted;
    if *committee > 0 && *copies <= committee / 2 {
        context.remark(&format!(
            "aque: on {copies} of {committee} disks only: too few hosts answer; it runs once a majority is back"
        ));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(words: &[&str]) -> Vec<String> {
        let words = std::iter::once("submit").chain(words.iter().copied());
        let options = Line::try_parse_from(words).unwrap().options;
        options
            .command
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn what_follows_the_command_is_the_commands() {
        assert_eq!(
            parsed(&["-c", "2", "ls", "-w", "--json", "-c"]),
            ["ls", "-w", "--json", "-c"]
        );
        assert_eq!(parsed(&["ls", "--", "-x"]), ["ls", "--", "-x"]);
        assert_eq!(parsed(&["--", "-odd-name", "-w"]), ["-odd-name", "-w"]);
        assert_eq!(parsed(&["A=1", "cmd", "--help"]), ["A=1", "cmd", "--help"]);
    }

    #[test]
    fn options_before_the_command_are_checked() {
        for words in [
            &["submit", "--bogus", "ls"][..],
            &["submit", "-w"],
            &["submit"],
            &["submit", "-w", "--wait", "ls"],
            &["submit", "--cpus", "x", "ls"],
            &["submit", "--priority", "1.5", "ls"],
            &["submit", "--env-mode", "some", "ls"],
            &["submit", "--call"],
            &["submit", "--interpreter", "node"],
            &["submit", "--call", "m:f", "--shell"],
        ] {
            assert!(Line::try_parse_from(words).is_err(), "{words:?}");
        }
        assert!(Line::try_parse_from(["submit", "--priority", "-5", "ls"]).is_ok());
        assert!(Line::try_parse_from(["submit", "--call", "m:f"]).is_ok());
    }
}
