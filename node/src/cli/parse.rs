//! Words of the command line as values: sizes, durations, signals, processors, `KEY=VALUE`.
//!
//! Each function's error is a phrase that fits behind "invalid value 'X' for '--option': ".

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crdt::task::Arg;

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
    let number: f64 = text.parse().map_err(|_| {
        "write a number of processors as 2, 0.5, -1 (all but one) or all".to_owned()
    })?;
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
