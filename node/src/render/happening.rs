//! What happens, in words.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::text::{count, harmless, style};
use crate::api::news::{Happening, HostWord};

/// Something that happened, in words that cannot steer a terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Words {
    /// What it happened to.
    pub subject: String,
    /// What it is now.
    pub is: String,
    /// How that looks.
    pub style: Style,
    /// What more there is to say.
    pub more: String,
}

/// Returns what happened in words.
#[must_use]
pub fn words(what: &Happening) -> Words {
    let safe = |text: &str| harmless(text).into_owned();
    match what {
        Happening::Task {
            id,
            name,
            state,
            reason,
            host,
            ..
        } => {
            let mut more = Vec::new();
            if let Some(host) = host {
                more.push(format!("on {}", harmless(host)));
            }
            if let Some(reason) = reason {
                more.push(format!("({})", harmless(reason)));
            }
            if let Some(name) = name {
                more.push(safe(name));
            }
            Words {
                subject: safe(id),
                is: state.name().to_owned(),
                style: style(*state),
                more: more.join(" "),
            }
        }
        Happening::Removed { id } => Words {
            subject: safe(id),
            is: "removed".to_owned(),
            style: Style::new(),
            more: String::new(),
        },
        Happening::Edited { id, by } => Words {
            subject: safe(id),
            is: "edited".to_owned(),
            style: Style::new(),
            more: format!("by {}", safe(by)),
        },
        Happening::Host { host, is, .. } => Words {
            subject: format!("host {}", harmless(host)),
            is: is.text().to_owned(),
            style: match is {
                HostWord::Joined | HostWord::Alive | HostWord::Working => AnsiColor::Green,
                HostWord::Draining => AnsiColor::Yellow,
                HostWord::Silent | HostWord::Gone => AnsiColor::Red,
            }
            .on_default(),
            more: String::new(),
        },
        Happening::Rest { host } => Words {
            subject: format!("host {}", harmless(host)),
            is: "has no claim left".to_owned(),
            style: AnsiColor::Yellow.on_default(),
            more: String::new(),
        },
        Happening::Setting { name, value, by } => Words {
            subject: format!("setting {}", harmless(name)),
            is: value.as_deref().map_or_else(
                || "is each host's own again".to_owned(),
                |value| format!("is {}", harmless(value)),
            ),
            style: Style::new(),
            more: format!("by {}", harmless(by)),
        },
        Happening::Mishap { part, what } => Words {
            subject: safe(part),
            is: safe(what),
            style: AnsiColor::Red.on_default(),
            more: String::new(),
        },
        Happening::Gap { lost } => Words {
            subject: "gap".to_owned(),
            is: lost.map_or_else(
                || "what happened before is not known here".to_owned(),
                |lost| format!("{} not told here", count(lost, "event")),
            ),
            style: AnsiColor::Yellow.on_default(),
            more: String::new(),
        },
    }
}

/// Returns the time of day of an instant of the wall clock, milliseconds since 1970, in a time zone.
#[must_use]
pub fn time_of_day(ms: u64, zone: &TimeZone) -> String {
    let at = i64::try_from(ms).ok();
    let at = at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| {
        at.to_zoned_datetime(zone.clone())
            .strftime("%H:%M:%S")
            .to_string()
    })
}

#[cfg(test)]
mod tests {
    use crdt::task::TaskState;

    use super::*;

    #[test]
    fn words_table() {
        let task = |name: Option<&str>, reason: Option<&str>| Happening::Task {
            id: "k3v7qa-1".to_owned(),
            group: None,
            name: name.map(str::to_owned),
            user: None,
            state: TaskState::Error,
            reason: reason.map(str::to_owned),
            host: Some("al\u{1b}[2Jpha".to_owned()),
            epoch: 1,
        };
        let rows = [
            (task(None, None), "k3v7qa-1 error on al\\u{1b}[2Jpha"),
            (
                task(Some("a\nb"), Some("exit 3")),
                "k3v7qa-1 error on al\\u{1b}[2Jpha (exit 3) a\\nb",
            ),
            (
                Happening::Setting {
                    name: "heartbeat".to_owned(),
                    value: None,
                    by: "ann".to_owned(),
                },
                "setting heartbeat is each host's own again by ann",
            ),
            (
                Happening::Gap { lost: Some(1) },
                "gap 1 event not told here ",
            ),
        ];
        for (what, text) in rows {
            let Words {
                subject, is, more, ..
            } = words(&what);
            assert_eq!(format!("{subject} {is} {more}"), text);
        }
    }

    #[test]
    fn times_are_of_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time_of_day(1_700_000_000_123, &zone), "00:13:20");
        assert_eq!(time_of_day(u64::MAX, &zone), "");
    }
}
