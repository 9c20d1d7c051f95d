//! `aque output`: what tasks printed, to standard output and standard error as they did.

mod braid;
mod format;
mod taking;

use std::io::{self, Write};

use super::interrupt::{left_alone, on_interrupt};
use super::problem::Problem;
use super::select::{InStates, Which, named};
use super::task::ended;
use super::{Context, Form};
use crate::api::select::Selection;
use crate::api::wire::{OutputPiece, StatusQuery, StreamName, TaskLine};
use crate::client::{Client, ClientError};
use crate::render::note;
use braid::Braid;
use format::Format;
pub(crate) use taking::Wanted;
use taking::{Taken, Taking, Until};

/// Print what tasks printed, from whichever host has it
///
/// Of several tasks, or the members of a group, each line comes as it is printed, behind the id of its task.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
    /// Follow it to the end and exit with the task's exit status; of several, with that of the first that did not end well
    #[arg(short, long)]
    watch: bool,
    /// Of several tasks one after the other, as they printed it, without ids before lines
    #[arg(long)]
    no_prefix: bool,
    /// Each line so, all to standard output: such as '{id} {host} {fd} {data}'; {{ and }} are braces
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = format::format,
        conflicts_with_all = ["json", "no_prefix"]
    )]
    format: Option<Format>,
    /// Only the last lines of each stream
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<u32>,
    /// What its run number N printed, from 1, although it has run again since
    #[arg(long, value_name = "N", conflicts_with = "watch")]
    attempt: Option<u32>,
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
  aque output 12..15              that of several tasks, each line behind its task's id
  aque output -w k3v7qa-20        follow all tasks of an array or group
  aque output --attempt 1 12      what its first run printed, before it was tried again
  aque output --format '{host}: {data}' 12
  aque output --no-prefix 12..15  one after the other, nothing added
  aque output --failed --stderr   what those that failed had to say";

/// Prints the outputs of the named tasks.
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
        attempt: options.attempt,
    };
    if options.watch {
        let text = left_alone(&named(&which));
        on_interrupt(move || note(&text))?;
    }
    let until = match options.watch {
        true => Until::End,
        false => Until::Now,
    };
    let ids = singly(&mut client, which)?;
    let formatted = options.format.map(|format| Braid::formatted(&ids, format));
    let mut status = match (context.form, ids.as_slice(), formatted) {
        (Form::Json, ids, _) => json(context, &mut client, ids, (wanted, until))?,
        (Form::Text, ids, Some(braid)) => braided(braid, &mut client, ids, (wanted, until))?,
        (Form::Text, [id], None) => copy(&mut client, id, wanted, until).map(|()| 0)?,
        (Form::Text, ids, None) if options.no_prefix => {
            for id in ids {
                copy(&mut client, id, wanted, until)?;
            }
            0
        }
        (Form::Text, ids, None) => {
            let braid = Braid::new(ids, context.screen.has_colours());
            braided(braid, &mut client, ids, (wanted, until))?
        }
    };
    for id in ids.iter().filter(|_| options.watch) {
        let own = ended(context, &client.wait_for(id)?);
        status = if status == 0 { own } else { status };
    }
    Ok(status)
}

/// Returns the ids, with every range, every group and whatever is described spelled out.
fn singly(client: &mut Client, which: Selection) -> Result<Vec<String>, Problem> {
    let mut listed = |which: Selection, flat| -> Result<Vec<TaskLine>, Problem> {
        let query = StatusQuery {
            which,
            flat,
            ..StatusQuery::default()
        };
        Ok(client.status(query)?.tasks)
    };
    let ids = |lines: Vec<TaskLine>| lines.into_iter().map(|line| line.id);
    if which.narrows() {
        let fitting: Vec<String> = ids(listed(which, false)?).collect();
        if fitting.is_empty() {
            return Err(Problem::failed("no task fits").hint("see 'aque status'"));
        }
        return Ok(fitting);
    }
    let mut single = Vec::with_capacity(which.ids.len());
    for id in which.ids {
        let selection: Selection = vec![id.clone()].into();
        if id.contains("..") {
            single.extend(ids(listed(selection, false)?));
            continue;
        }
        match listed(selection.clone(), false)?.as_slice() {
            [line] if line.members.is_some() => single.extend(ids(listed(selection, true)?)),
            // A task's own id, however it was named.
            [line] => single.push(line.id.clone()),
            _ => single.push(id),
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

fn copy(client: &mut Client, id: &str, wanted: Wanted, until: Until) -> Result<(), Problem> {
    let ids = [id.to_owned()];
    Taking::new(client, &ids, wanted, until).all(|_place, taken| match taken {
        Taken::Piece(piece) => write(piece.stream, &piece.data.0),
        Taken::End => Ok(()),
        Taken::Failed(error) => Err(error.into()),
    })
}

fn write(stream: StreamName, bytes: &[u8]) -> Result<(), Problem> {
    match stream {
        StreamName::Stdout => {
            let mut out = io::stdout().lock();
            let written = out.write_all(bytes).and_then(|()| out.flush());
            written.map_err(|error| Problem::output(&error))
        }
        StreamName::Stderr => {
            // Whoever closed standard error does not want to read it.
            let _written = io::stderr().write_all(bytes);
            Ok(())
        }
    }
}

/// Prints the lines of several tasks, each behind the id of its task. Returns 1 if one cannot be had; that is told.
fn braided(
    mut braid: Braid,
    client: &mut Client,
    ids: &[String],
    (wanted, until): (Wanted, Until),
) -> Result<u8, Problem> {
    let mut status = 0;
    Taking::new(client, ids, wanted, until).all(|place, taken| match taken {
        Taken::Piece(piece) => {
            let lines = braid.add(place, &piece);
            write(braid.goes_to(piece.stream), &lines)
        }
        Taken::End | Taken::Failed(_) => {
            for stream in [StreamName::Stdout, StreamName::Stderr] {
                let lines = braid.end(place, stream);
                write(braid.goes_to(stream), &lines)?;
            }
            if let Taken::Failed(error) = taken {
                status = 1;
                tell(&ids[place], error);
            }
            Ok(())
        }
    })?;
    Ok(status)
}

/// Tells that the output of one of several tasks cannot be had.
fn tell(id: &str, error: ClientError) {
    note(&format!("aque: {id}: {}", Problem::from(error).told().0));
}

fn json(
    context: &Context,
    client: &mut Client,
    ids: &[String],
    (wanted, until): (Wanted, Until),
) -> Result<u8, Problem> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        id: &'a str,
        #[serde(flatten)]
        piece: &'a OutputPiece,
    }
    let mut status = 0;
    Taking::new(client, ids, wanted, until).all(|place, taken| match taken {
        Taken::Piece(piece) => {
            let (id, piece) = (ids[place].as_str(), &piece);
            context.json(&Line { id, piece })
        }
        Taken::End => Ok(()),
        Taken::Failed(error) if ids.len() == 1 => Err(error.into()),
        Taken::Failed(error) => {
            status = 1;
            tell(&ids[place], error);
            Ok(())
        }
    })?;
    Ok(status)
}
