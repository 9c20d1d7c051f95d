//! `aque drain`, `undrain` and `forget`: what a host of the mesh is there for.

use std::time::{Duration, Instant};

use super::problem::Problem;
use super::{Context, Form};
use crate::api::wire::{DutyWord, NodeLine};
use crate::client::Client;
use crate::render::text::count;

/// How often it is looked whether a host is drained.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Let a host take no more work, and hand over its places in committees
///
/// Its runs go on to their ends, and it stays a peer: commands work there. It stays drained across restarts, until 'aque undrain'.
/// When --wait returns, nothing runs on it and no unfinished task rests on its disk: it can be switched off for good.
#[derive(Debug, clap::Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub(crate) struct DrainOptions {
    /// The host's name or tag [default: the one that is asked]
    #[arg(value_name = "NODE")]
    host: Option<String>,
    /// Wait until nothing runs on it and nothing rests on its disk
    #[arg(short, long)]
    wait: bool,
    /// Wait no longer than this (exit status 1)
    #[arg(long, value_name = "DUR", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

const DRAIN_EXAMPLES: &str = "\
Examples:
  aque drain --wait && systemctl poweroff      this host, for good
  aque drain render-07                         another one, for some time
  aque undrain render-07";

/// Let a drained host take work again
#[derive(Debug, clap::Args)]
#[command(after_help = UNDRAIN_EXAMPLES)]
pub(crate) struct UndrainOptions {
    /// The host's name or tag [default: the one that is asked]
    #[arg(value_name = "NODE")]
    host: Option<String>,
}

const UNDRAIN_EXAMPLES: &str = "\
Examples:
  aque undrain
  aque undrain render-07";

/// Say that a host that is silent will not come back
///
/// Its places in committees are given to others at once (else that happens when it was silent for --replace-after, 10 minutes),
/// and it is listed no more. No promise rests on your word: should it come back, it takes part again.
#[derive(Debug, clap::Args)]
#[command(after_help = FORGET_EXAMPLES)]
pub(crate) struct ForgetOptions {
    /// The host's name or tag
    #[arg(value_name = "NODE")]
    host: String,
}

const FORGET_EXAMPLES: &str = "\
Examples:
  aque nodes                                   which are silent, and since when
  aque forget render-07                        its board is broken";

/// Drains a host.
pub(crate) fn drain(context: &Context, options: DrainOptions) -> Result<u8, Problem> {
    let mut client = context.connect()?;
    let assigned = client.assign(options.host, DutyWord::Drains)?;
    if !options.wait {
        let line = look(&mut client, &assigned.tag)?;
        if context.form == Form::Json {
            context.json(&line)?;
        }
        context.remark(&format!(
            "aque: {} takes no more work{}",
            assigned.name,
            rest(&line)
        ));
        return Ok(0);
    }
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let mut told = String::new();
    loop {
        let line = look(&mut client, &assigned.tag)?;
        if line.running == 0 && line.places == 0 {
            if context.form == Form::Json {
                context.json(&line)?;
            }
            context.remark(&format!(
                "aque: nothing rests on {} any more",
                assigned.name
            ));
            return Ok(0);
        }
        let now = rest(&line);
        if now != told {
            context.remark(&format!("aque: {} takes no more work{now}", assigned.name));
            told = now;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let text = format!("{} is not drained yet{}", assigned.name, rest(&line));
            let hint = "it stays drained; a place is handed over only if another host is alive that can take it ('aque nodes')";
            return Err(Problem::failed(text).hint(hint));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Lets a host work again.
pub(crate) fn undrain(context: &Context, options: UndrainOptions) -> Result<u8, Problem> {
    let assigned = context.connect()?.assign(options.host, DutyWord::Works)?;
    if context.form == Form::Json {
        context.json(&assigned)?;
    }
    context.remark(&format!("aque: {} takes work", assigned.name));
    Ok(0)
}

/// Gives a host up.
pub(crate) fn forget(context: &Context, options: ForgetOptions) -> Result<u8, Problem> {
    let assigned = context
        .connect()?
        .assign(Some(options.host), DutyWord::Gone)?;
    if context.form == Form::Json {
        context.json(&assigned)?;
    }
    let (name, tag) = (&assigned.name, &assigned.tag);
    context.remark(&format!(
        "aque: {name} ({tag}) is given up; others take its places"
    ));
    Ok(0)
}

fn look(client: &mut Client, tag: &str) -> Result<NodeLine, Problem> {
    let nodes = client.nodes()?.nodes;
    let line = nodes.into_iter().find(|node| node.tag == tag);
    line.ok_or_else(|| Problem::failed(format!("{tag} is no member of the mesh any more")))
}

/// What keeps a host, in words.
fn rest(line: &NodeLine) -> String {
    let mut left = Vec::new();
    if line.running > 0 {
        left.push(format!(
            "{} still on it",
            count(u64::from(line.running), "run")
        ));
    }
    if line.places > 0 {
        let places = count(line.places as u64, "list");
        left.push(format!("{places} of unfinished tasks on its disk"));
    }
    if left.is_empty() {
        String::new()
    } else {
        format!("; {}", left.join(", "))
    }
}
