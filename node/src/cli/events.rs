//! `aque events`: what happens, as it happens.

use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::problem::{Kind, Problem};
use super::{Context, Document, Form, parse};
use crate::api::news::{EventLine, EventsQuery};
use crate::client::{ClientError, Limit};
use crate::clock::wall_ms;
use crate::feed::{Feed, Told};
use crate::render::happening::{Words, time_of_day, words};
use crate::render::text::{faint, painted};

/// Tell what happens: tasks that change, hosts that come and go, settings, mishaps
///
/// One line each, as the node that is asked notices: text on a terminal, elsewhere (and with --json) a JSON object. It goes on until
/// it is interrupted, over changes of the node's program. Where something cannot be told, a line 'gap' says how much.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Only of these tasks and the members of these groups; 'last' is the newest
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Begin with what happened from then on, as far as it is still known: 10m, 18:30, '2026-12-24 18:30'
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<u64>,
    /// End when all is told that has happened by now
    #[arg(long)]
    past: bool,
}

const EXAMPLES: &str = "\
Examples:
  aque events                                what happens from now on
  aque events --since 1h --past              what happened in the last hour
  aque events k3v7qa-12                      one task, or a group with its members
  aque events | jq 'select(.event == \"host\")'";

/// How long a node that is away is waited for: longer than any change of its program.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody still reads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells what happens.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let past = options.past;
    let mut feed = Feed::begin(
        &context.whom,
        EventsQuery {
            ids: options.ids,
            // What is past and asked for without a beginning is all of it.
            since_ms: options.since.or(past.then_some(0)),
            past,
            ..EventsQuery::default()
        },
    )?;
    let on_terminal = context.form == Form::Text && context.screen.width().is_some();
    let zone = TimeZone::system();
    let mut why = None;
    loop {
        match feed.next(Limit::within(LOOK_EVERY))? {
            Told::Events(list) => {
                let mut text = String::new();
                for event in &list.events {
                    text += &match on_terminal {
                        true => line(event, &zone),
                        false => json(event)?,
                    };
                }
                context.print(&text)?;
            }
            Told::Nothing => {
                if !is_read() {
                    return Err(Problem::output(&io::ErrorKind::BrokenPipe.into()));
                }
                if feed.away().is_some_and(|away| away > PATIENCE) {
                    return Err(gone(why.take()));
                }
            }
            Told::Away(error) => {
                context.remark("aque: the node is away; it is asked again once it is back");
                why = Some(error);
            }
            Told::Back => context.remark("aque: the node is back"),
            Told::End => return Ok(0),
        }
    }
}

fn gone(why: Option<ClientError>) -> Problem {
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    let away = humantime::format_duration(PATIENCE);
    Problem::new(
        Kind::Unreachable,
        format!("the node has been away for {away}{why}"),
    )
    .hint("start it, or ask another one with --node")
}

fn json(event: &EventLine) -> Result<String, Problem> {
    let text = serde_json::to_string(&Document::of(event));
    text.map(|text| text + "\n")
        .map_err(|error| Problem::failed(error.to_string()))
}

/// An event for people.
fn line(event: &EventLine, zone: &TimeZone) -> String {
    let Words {
        subject,
        is,
        style,
        more,
    } = words(&event.what);
    let gap = if more.is_empty() { "" } else { " " };
    let (time, is) = (faint(&time_of_day(event.at_ms, zone)), painted(style, &is));
    format!("{time} {subject} {is}{gap}{more}\n")
}

/// Says whether somebody may still read what is printed: a pipe without a reader is found out even while there is nothing to say.
fn is_read() -> bool {
    // What has been composed went out with it.
    let _flushed = io::stdout().flush();
    let stdout = io::stdout();
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let told = poll(&mut asked, Some(&Timespec::default()));
    told.is_err() || !asked[0].revents().contains(PollFlags::ERR)
}

/// Parses how long ago, or an instant: a time of day is the last one.
fn since(text: &str) -> Result<u64, String> {
    let ago = |span: Duration| {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        wall_ms().saturating_sub(ms)
    };
    parse::duration(text)
        .map(ago)
        .or_else(|_| parse::instant_before(text))
        .map_err(|_| {
            "write how long ago, as 10m or 1h30m, or when: 18:30, '2026-12-24 18:30' or 2026-12-24T18:30:00Z"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::news::Happening;

    #[test]
    fn an_event_is_a_line() {
        let event = EventLine {
            seq: 3,
            at_ms: 1_700_000_000_000,
            what: Happening::Gap { lost: Some(3) },
        };
        let text = line(&event, &TimeZone::UTC);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "22:13:20 gap 3 events not told here\n"
        );
        assert!(json(&event).is_ok_and(|text| text.ends_with("\"event\":\"gap\",\"lost\":3}\n")));
    }

    #[test]
    fn since_table() {
        let now = wall_ms();
        assert!(since("10m").is_ok_and(|ms| ms.abs_diff(now - 600_000) < 60_000));
        assert_eq!(since("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert!(since("00:00").is_ok_and(|ms| ms <= now && now - ms < 2 * 86_400_000));
        for text in ["", "yesterday", "25:00", "-5m"] {
            assert!(since(text).is_err_and(|why| why.contains("how long ago")));
        }
    }
}
