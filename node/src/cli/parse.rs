//! Words of the command line as values: sizes, durations, instants, signals, processors, `KEY=VALUE`.
//!
//! Each function's error is a phrase that fits behind "invalid value 'X' for '--option': ".

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crdt::task::Arg;
use jiff::{Span, Timestamp, ToSpan, ZonedDateTime, civil};

use crate::users::{BadName, check_name};

/// Parses a duration: `500ms`, `1h 30m`, or a bare number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bare = text.parse::<f64>().ok().map(Duration::try_from_secs_f64);
    match bare {
        Some(Ok(time)) => Ok(time),
        Some(Err(_)) => Err("not a length of time".to_owned()),
        None => humantime::parse_duration(text)
            .map_err(|_| "write a length of time as 500ms, 10s, 5m or 1h30m".to_owned()),
    }
}

/// The longest key of a submission, bytes.
const LONGEST_KEY: usize = 256;

/// Takes a submitter's own name for a submission.
pub(crate) fn key(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LONGEST_KEY {
        return Err(format!("a key has 1 to {LONGEST_KEY} bytes"));
    }
    Ok(text.to_owned())
}

/// Parses an instant: with its zone, or of this machine's; a time of day is the next one.
pub(crate) fn instant(text: &str) -> Result<u64, String> {
    instant_after(text, &ZonedDateTime::now())
}

fn instant_after(text: &str, now: &ZonedDateTime) -> Result<u64, String> {
    instant_near(text, now, |today| (today <= now).then(|| 1.day()))
}

/// Parses an instant; a time of day is the last one.
pub(crate) fn instant_before(text: &str) -> Result<u64, String> {
    instant_last(text, &ZonedDateTime::now())
}

fn instant_last(text: &str, now: &ZonedDateTime) -> Result<u64, String> {
    instant_near(text, now, |today| (today > now).then(|| -1.day()))
}

/// Parses an instant; of a time of day that of today, or so many days away from it.
fn instant_near(
    text: &str,
    now: &ZonedDateTime,
    away: impl Fn(&ZonedDateTime) -> Option<Span>,
) -> Result<u64, String> {
    let wrong = || "write 18:30, '2026-12-24 18:30' or 2026-12-24T18:30:00Z".to_owned();
    let zone = || now.time_zone().clone();
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Ok(local) = text.parse::<civil::DateTime>() {
        local
            .to_zoned_datetime(zone())
            .map_err(|_| wrong())?
            .timestamp()
    } else {
        let time: civil::Time = text.parse().map_err(|_| wrong())?;
        let on = |day: civil::Date| day.to_datetime(time).to_zoned_datetime(zone());
        let today = on(now.date()).map_err(|_| wrong())?;
        let meant = match away(&today) {
            None => today,
            Some(days) => {
                let day = now.date().checked_add(days).map_err(|_| wrong())?;
                on(day).map_err(|_| wrong())?
            }
        };
        meant.timestamp()
    };
    u64::try_from(at.as_millisecond()).map_err(|_| "that was before 1970".to_owned())
}

/// Parses the name of a user or a group of users.
pub(crate) fn user(text: &str) -> Result<String, BadName> {
    check_name(text).map(|()| text.to_owned())
}

/// Parses a size in bytes: `512M`, `4G`, `1.5GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let parsed = text.parse::<bytesize::ByteSize>();
    parsed
        .map(|size| size.as_u64())
        .map_err(|_| "write a size as 512M, 4G or 1GiB".to_owned())
}

/// How many processors a task takes, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cpus {
    /// So many.
    Of(u32),
    /// All of its host but so many.
    AllBut(u32),
}

/// Parses a number of processors: `2`, `0.5`, `-1` (all but one), `all`.
pub(crate) fn cpus(text: &str) -> Result<Cpus, String> {
    if text == "all" {
        return Ok(Cpus::AllBut(0));
    }
    let number = text.parse::<f64>().ok().filter(|number| !number.is_nan());
    let number = number.ok_or("write a number of processors as 2, 0.5, -1 (all but one) or all")?;
    if number < 0.0 {
        return milli(-number).map(Cpus::AllBut);
    }
    milli(number).map(Cpus::Of)
}

fn milli(number: f64) -> Result<u32, String> {
    if !(0.0..=1_000_000.0).contains(&number) {
        return Err("no host has so many processors".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    Ok((number * 1_000.0).ceil() as u32)
}

/// Parses a duration that is more than none.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() {
        return Err("it is more than 0".to_owned());
    }
    Ok(time)
}

/// Parses a platform: a system, or a system and a machine.
pub(crate) fn platform(text: &str) -> Result<String, String> {
    let is_name = |name: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        !name.is_empty() && name.chars().all(fits)
    };
    let (system, machine) = text.split_once('/').unwrap_or((text, "any"));
    match is_name(system) && is_name(machine) {
        true => Ok(text.to_owned()),
        false => Err("write a platform as linux or linux/x86_64".to_owned()),
    }
}

/// Parses a signal: `TERM`, `SIGTERM`, `15`, any case.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            1..=64 => Ok(number),
            _ => Err("signals have numbers from 1 to 64".to_owned()),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .ok_or_else(|| {
            let names: Vec<_> = SIGNALS.iter().map(|(name, _)| *name).collect();
            format!("signals are called {}", names.join(" "))
        })
}

/// Returns the name of a signal, `SIGTERM`, or its number where it has none.
pub(crate) fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| format!("SIG{name}"))
}

const SIGNALS: [(&str, i32); 30] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// Splits `KEY=VALUE` where KEY is a variable's name; `None` for any other word.
pub(crate) fn assignment(word: &OsStr) -> Option<(Arg, Arg)> {
    let bytes = word.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&bytes[..equals], &bytes[equals + 1..]);
    let starts = name
        .first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let goes_on = name
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (starts && goes_on).then(|| (Arg(name.to_vec()), Arg(value.to_vec())))
}

/// A variable as `-e` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// `KEY=VALUE`.
    Set(Arg, Arg),
    /// `KEY`: the value that it has here.
    Pass(Arg),
}

/// Parses `KEY=VALUE` or `KEY`.
pub(crate) fn variable(word: OsString) -> Result<Variable, String> {
    let bytes = word.into_vec();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(0) => Err("a variable needs a name before '='".to_owned()),
        None if bytes.is_empty() => Err("a variable needs a name".to_owned()),
        Some(equals) => Ok(Variable::Set(
            Arg(bytes[..equals].to_vec()),
            Arg(bytes[equals + 1..].to_vec()),
        )),
        None => Ok(Variable::Pass(Arg(bytes))),
    }
}

/// Returns the bytes of a word.
pub(crate) fn arg(word: OsString) -> Arg {
    Arg(word.into_vec())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn duration_table() {
        for (text, ms) in [
            ("10", 10_000),
            ("0.5", 500),
            ("0", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "x", "-1", "10 parsecs", "NaN", "inf", "1e300"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instant_table() {
        let now: ZonedDateTime = "2026-11-24T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let at = |text: &str| {
            let ms = instant_after(text, &now)?;
            let at = Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap();
            Ok::<String, String>(at.to_string())
        };
        for (text, utc) in [
            ("18:30", "2026-11-24T17:30:00Z"),
            ("11:59", "2026-11-25T10:59:00Z"),
            ("12:00", "2026-11-25T11:00:00Z"),
            ("2026-12-24 18:30", "2026-12-24T17:30:00Z"),
            ("2026-07-01T06:00:05", "2026-07-01T04:00:05Z"),
            ("2026-12-24", "2026-12-23T23:00:00Z"),
            ("2026-12-24T18:30:00Z", "2026-12-24T18:30:00Z"),
            ("2026-12-24T18:30:00+05:30", "2026-12-24T13:00:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(utc), "{text}");
        }
        for text in ["", "now", "25:00", "1960-01-01", "2026-13-01", "tomorrow"] {
            assert!(at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one_or_the_last_one() {
        let now: ZonedDateTime = "2026-11-24T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let last = |text: &str| {
            let ms = instant_last(text, &now).unwrap();
            Timestamp::from_millisecond(i64::try_from(ms).unwrap())
                .unwrap()
                .to_string()
        };
        for (text, utc) in [
            ("18:30", "2026-11-23T17:30:00Z"),
            ("12:00", "2026-11-24T11:00:00Z"),
            ("11:59", "2026-11-24T10:59:00Z"),
            ("2026-12-24 18:30", "2026-12-24T17:30:00Z"),
        ] {
            assert_eq!(last(text), utc, "{text}");
        }
    }

    #[test]
    fn size_table() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("4k", 4_000),
            ("4KiB", 4_096),
            ("1.5 GiB", 3 << 29),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "4X", "-1", "G", "4G,8G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn platform_table() {
        for text in ["linux", "Linux/x86_64", "linux/aarch64"] {
            assert_eq!(platform(text).as_deref(), Ok(text));
        }
        for text in ["", "/", "linux/", "/x86_64", "a/b/c", "two words"] {
            assert!(platform(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpus_table() {
        for (text, milli) in [
            ("1", 1_000),
            ("0.5", 500),
            ("0.0001", 1),
            ("0", 0),
            ("64", 64_000),
        ] {
            assert_eq!(cpus(text), Ok(Cpus::Of(milli)), "{text}");
        }
        for (text, milli) in [("all", 0), ("-1", 1_000), ("-0.5", 500)] {
            assert_eq!(cpus(text), Ok(Cpus::AllBut(milli)), "{text}");
        }
        for text in ["", "-", "x", "NaN", "inf", "1e9", "-1e9"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signal_table() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("64", 64),
        ] {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-9", "SIG", "SIGNAL", "KILLL"] {
            assert!(signal(text).is_err(), "{text}");
        }
        assert_eq!(
            (signal_name(15), signal_name(40)),
            ("SIGTERM".into(), "40".into())
        );
    }

    #[test]
    fn assignment_table() {
        let pair = |key: &str, value: &str| Some((Arg::from(key), Arg::from(value)));
        for (word, expected) in [
            ("A=1", pair("A", "1")),
            ("_a9=x=y", pair("_a9", "x=y")),
            ("A=", pair("A", "")),
            ("A", None),
            ("=1", None),
            ("9A=1", None),
            ("./a=b", None),
            ("--name=x", None),
            ("a-b=c", None),
        ] {
            assert_eq!(assignment(OsStr::new(word)), expected, "{word}");
        }
    }

    #[test]
    fn variable_table() {
        let set = |key: &str, value: &str| Ok(Variable::Set(Arg::from(key), Arg::from(value)));
        assert_eq!(variable("A=1".into()), set("A", "1"));
        assert_eq!(variable("my.var=".into()), set("my.var", ""));
        assert_eq!(variable("A".into()), Ok(Variable::Pass(Arg::from("A"))));
        assert!(variable("=1".into()).is_err());
        assert!(variable(OsString::new()).is_err());
    }
}
