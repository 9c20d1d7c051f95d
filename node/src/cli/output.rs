//! `aque output`: what tasks printed, to standard output and standard error as they did.

use std::io::{self, Write};

use super::interrupt::{left_alone, on_interrupt};
use super::problem::Problem;
use super::select::{InStates, Which, named};
use super::task::ended;
use super::{Context, Form};
use crate::api::select::Selection;
use crate::api::wire::{Body, Call, OutputPiece, OutputQuery, StatusQuery, StreamName};
use crate::client::{Client, Heard, Limit, strange};
use crate::render::note;

/// Print what tasks printed, from whichever host has it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
    /// Follow it to the end and exit with the task's exit status
    #[arg(short, long)]
    watch: bool,
    /// Only the last lines of each stream
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<u32>,
    /// Standard output only
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Standard error only
    #[arg(long)]
    stderr: bool,
}

const EXAMPLES: &str = "\
Examples:
  aque output last                what the newest task printed
  aque output -w k3v7qa-12        follow it while it runs
  aque output -n 20 --stderr 12   the last lines of its errors
  aque output 12..15              that of several tasks, one after the other
  aque output --failed --stderr   what those that failed had to say";

/// Which part of a task's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of both streams.
    Everything,
    /// A stream, or the last lines.
    Part {
        /// Both unless one is named.
        only: Option<StreamName>,
        /// All lines unless it is named how many.
        lines: Option<u32>,
    },
}

/// Prints the outputs of the named tasks, one after the other.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let which = options.which.some(options.states)?;
    let mut client = context.connect()?;
    let only = match (options.stdout, options.stderr) {
        (true, _) => Some(StreamName::Stdout),
        (false, true) => Some(StreamName::Stderr),
        (false, false) => None,
    };
    let wanted = Wanted::Part {
        only,
        lines: options.lines,
    };
    if options.watch {
        let text = left_alone(&named(&which));
        on_interrupt(move || note(&text))?;
    }
    let mut status = 0;
    for id in &singly(&mut client, which)? {
        match (context.form, options.watch) {
            (Form::Text, false) => copy(&mut client, id, wanted, Until::Now)?,
            (Form::Text, true) => copy(&mut client, id, wanted, Until::End)?,
            (Form::Json, _) => json(context, &mut client, id, query(id, wanted, options.watch))?,
        }
        if options.watch {
            let own = ended(context, &client.wait_for(id)?);
            status = if status == 0 { own } else { status };
        }
    }
    Ok(status)
}

/// Returns the ids, with every range and whatever is described spelled out.
fn singly(client: &mut Client, which: Selection) -> Result<Vec<String>, Problem> {
    let mut listed = |which: Selection| -> Result<Vec<String>, Problem> {
        let query = StatusQuery {
            which,
            ..StatusQuery::default()
        };
        let tasks = client.status(query)?.tasks.into_iter();
        Ok(tasks.map(|line| line.id).collect())
    };
    if which.narrows() {
        let fitting = listed(which)?;
        if fitting.is_empty() {
            return Err(Problem::failed("no task fits").hint("see 'aque status'"));
        }
        return Ok(fitting);
    }
    let mut single = Vec::with_capacity(which.ids.len());
    for id in which.ids {
        if id.contains("..") {
            single.extend(listed(vec![id].into())?);
        } else {
            single.push(id);
        }
    }
    Ok(single)
}

/// Copies a task's output to this program's own until the task has ended.
pub(crate) fn follow(client: &mut Client, id: &str, wanted: Wanted) -> Result<(), Problem> {
    copy(client, id, wanted, Until::End)
}

/// Copies what a task has printed so far to this program's own output.
pub(crate) fn copy_now(client: &mut Client, id: &str) -> Result<(), Problem> {
    copy(client, id, Wanted::Everything, Until::Now)
}

/// How long output is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// What is there.
    Now,
    /// Until the task has ended.
    End,
}

fn query(id: &str, wanted: Wanted, follow: bool) -> OutputQuery {
    let (only, last_lines) = match wanted {
        Wanted::Everything => (None, None),
        Wanted::Part { only, lines } => (only, lines),
    };
    OutputQuery {
        task: id.to_owned(),
        only,
        follow,
        last_lines,
    }
}

fn copy(client: &mut Client, id: &str, wanted: Wanted, until: Until) -> Result<(), Problem> {
    let query = query(id, wanted, until == Until::End);
    pieces(client, query, |piece| match piece.stream {
        StreamName::Stdout => {
            let mut out = io::stdout().lock();
            let written = out.write_all(&piece.data.0).and_then(|()| out.flush());
            written.map_err(|error| Problem::output(&error))
        }
        StreamName::Stderr => {
            // Whoever closed standard error does not want to read it.
            let _written = io::stderr().write_all(&piece.data.0);
            Ok(())
        }
    })
}

fn json(
    context: &Context,
    client: &mut Client,
    id: &str,
    query: OutputQuery,
) -> Result<(), Problem> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        id: &'a str,
        #[serde(flatten)]
        piece: &'a OutputPiece,
    }
    pieces(client, query, |piece| {
        context.json(&Line { id, piece: &piece })
    })
}

fn pieces(
    client: &mut Client,
    query: OutputQuery,
    mut each: impl FnMut(OutputPiece) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let follow = query.follow;
    let mut replies = client.start(Call::Output(query))?;
    loop {
        let heard = match follow {
            true => replies.next(Limit::Never)?,
            false => replies.next_soon()?,
        };
        match heard {
            Heard::Reply(Body::Output(piece)) => each(piece)?,
            Heard::Reply(other) => return Err(strange("output", &other).into()),
            Heard::Nothing | Heard::End => return Ok(()),
        }
    }
}
