//! `aque events`: what happens, as it happens.

use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::problem::{Kind, Problem};
use super::{Context, Document, Form, parse};
use crate::api::news::{EventLine, EventsQuery, Happening};
use crate::client::{ClientError, Limit};
use crate::clock::wall_ms;
use crate::feed::{Feed, Told};
use crate::filter::{Field, Filter, FilterError, Subject, Value};
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
    /// Only changes of tasks that fit by what is told of them: id, group, name, user, state, reason, host, epoch (see 'aque help
    /// filters')
    #[arg(short, long, value_name = "EXPR", value_parser = filter)]
    filter: Option<Filter>,
    /// End when all is told that has happened by now
    #[arg(long)]
    past: bool,
}

const EXAMPLES: &str = "\
Examples:
  aque events                                what happens from now on
  aque events --since 1h --past              what happened in the last hour
  aque events k3v7qa-12                      one task, or a group with its members
  aque events -f 'state = error and name ~ render*'   what fails of these
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
                let fits = |event: &&EventLine| is_meant(options.filter.as_ref(), &event.what);
                for event in list.events.iter().filter(fits) {
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

/// What there is to know of a change of a task.
const FIELDS: [Field; 8] = [
    Field::Id,
    Field::Group,
    Field::Name,
    Field::User,
    Field::State,
    Field::Reason,
    Field::Host,
    Field::Epoch,
];

/// A change of a task, as a filter sees it.
struct Change<'a>(&'a Happening);

impl Subject for Change<'_> {
    fn value(&self, field: Field) -> Value<'_> {
        let Happening::Task {
            id,
            group,
            name,
            user,
            state,
            reason,
            host,
            epoch,
        } = self.0
        else {
            return Value::None;
        };
        match field {
            Field::Id => Value::text(Some(id)),
            Field::Group => Value::text(group.as_deref()),
            Field::Name => Value::text(name.as_deref()),
            Field::User => Value::text(user.as_deref()),
            Field::State => Value::State(*state),
            Field::Reason => Value::text(reason.as_deref()),
            Field::Host => Value::text(host.as_deref()),
            Field::Epoch => Value::Number((*epoch).into()),
            _ => Value::None,
        }
    }
}

/// Says whether something is told: what cannot be told always is.
fn is_meant(filter: Option<&Filter>, what: &Happening) -> bool {
    let Some(filter) = filter else { return true };
    match what {
        Happening::Gap { .. } => true,
        Happening::Task { .. } => filter.fits(&Change(what)),
        _ => false,
    }
}

/// Reads a filter that looks at nothing but what is told.
fn filter(text: &str) -> Result<Filter, String> {
    let filter: Filter = text
        .parse()
        .map_err(|error: FilterError| error.to_string())?;
    let strange = |field: &Field| !FIELDS.contains(field);
    match filter.fields().into_iter().find(strange) {
        None => Ok(filter),
        Some(field) => {
            let names: Vec<_> = FIELDS.iter().map(|field| field.name()).collect();
            let (field, names) = (field.name(), names.join(" "));
            Err(format!("nothing is told of {field}; fields are {names}"))
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
    use crdt::task::TaskState;

    use super::*;

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
    fn filters_look_at_what_is_told() {
        let task = Happening::Task {
            id: "k3v7qa-7.2".into(),
            group: Some("k3v7qa-6".into()),
            name: Some("render-2".into()),
            user: None,
            state: TaskState::Error,
            reason: Some("exit 3".into()),
            host: Some("alpha".into()),
            epoch: 2,
        };
        for (text, told) in [
            ("state = error and name ~ 'render*'", true),
            ("state = success", false),
            ("group = k3v7qa-6 and epoch > 1 and user = none", true),
            ("host = beta or reason ~ 'exit ?'", true),
            ("id = k3v7qa-7.3", false),
        ] {
            let filter = filter(text).ok();
            assert!(filter.is_some(), "{text}");
            assert_eq!(is_meant(filter.as_ref(), &task), told, "{text}");
            assert!(is_meant(filter.as_ref(), &Happening::Gap { lost: None }));
            let host = "alpha".into();
            assert!(!is_meant(filter.as_ref(), &Happening::Rest { host }));
        }
        assert!(is_meant(None, &task));
        assert!(filter("exit = 3").is_err_and(|why| why.contains("nothing is told of exit")));
        assert!(filter("state =").is_err_and(|why| why.contains("column")));
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
