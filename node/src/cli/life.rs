//! Options of `submit` and `xargs` that few tasks need: when a task starts, how long and how often it runs, and its streams.

use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::time::Duration;

use crdt::task::{Arg, Cause};
use jiff::Timestamp;

use super::parse;
use super::problem::Problem;
use crate::api::wire::{Life, StdinWord};

/// The pause before the first retry, unless another is stated.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest input that travels with a task, bytes; a task with all that belongs to it has at most 63 KiB.
const MOST_INPUT: u64 = 48 << 10;

/// What few tasks state.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Start, end and retries")]
pub(crate) struct LifeOptions {
    /// Run only after these tasks have ended, however
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after_any: Vec<String>,
    /// Run only after these tasks have failed; cancelled if one succeeds
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after_fail: Vec<String>,
    /// Do not start before: 18:30, '2026-12-24 18:30', 2026-12-24T18:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse::instant, conflicts_with = "delay")]
    at: Option<u64>,
    /// Do not start before this has passed
    #[arg(long, value_name = "DUR", value_parser = parse::duration)]
    delay: Option<Duration>,
    /// Cancel it if it has not started after this
    #[arg(long, value_name = "DUR", value_parser = parse::duration)]
    expire: Option<Duration>,
    /// End a run that takes longer: SIGTERM, 10 seconds later SIGKILL
    #[arg(long, value_name = "DUR", value_parser = parse::some_time)]
    timeout: Option<Duration>,
    /// Hold it until 'aque release'
    #[arg(long)]
    hold: bool,
    /// Your name for this submission: submitted again under it, at any host, it is the same task
    #[arg(long, value_name = "TEXT", value_parser = parse::key)]
    key: Option<String>,
    /// Retry only these failures: exit codes and ranges (75,100-110), signal, signal:9, timeout, oom, call
    #[arg(long, value_name = "CAUSES", value_delimiter = ',')]
    retry_on: Vec<Cause>,
    /// Pause before the first retry; doubled for each further one, up to an hour [default: 1s]
    #[arg(long, value_name = "DUR", value_parser = parse::duration)]
    backoff: Option<Duration>,
    /// Read standard input from this file where it runs; '-': what is on standard input here, now
    #[arg(long, value_name = "FILE", conflicts_with = "stdin_text")]
    stdin: Option<OsString>,
    /// Read this text from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stdin_text: Option<OsString>,
    /// Read what this task wrote to standard output, from whichever host has it; runs after its success, unless it is named with
    /// --after-any or --after-fail
    #[arg(long, value_name = "ID", conflicts_with_all = ["stdin", "stdin_text"])]
    pipe_from: Option<String>,
    /// Write standard output to this file where it runs, instead of keeping it for 'aque output'
    #[arg(long, value_name = "FILE")]
    stdout: Option<OsString>,
    /// The same for standard error; the same file takes both in order
    #[arg(long, value_name = "FILE")]
    stderr: Option<OsString>,
}

impl LifeOptions {
    /// Says whether what is on standard input here goes to the task.
    pub(crate) fn reads_here(&self) -> bool {
        self.stdin.as_ref().is_some_and(|file| file == "-")
    }

    /// Returns what is stated; reads standard input if it is the task's. `retries` is how often it is tried again.
    ///
    /// # Errors
    /// Standard input cannot be read or is too long, and options that go with retries alone.
    pub(crate) fn stated(&self, retries: u32) -> Result<Life, Problem> {
        if retries == 0 && (!self.retry_on.is_empty() || self.backoff.is_some()) {
            return Err(Problem::usage("--retry-on and --backoff go with --retries")
                .hint("say how often it may run again, such as --retries 3"));
        }
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        let later = |span: Duration| now.saturating_add(millis(span));
        let file = |name: &Option<OsString>| name.clone().map(parse::arg);
        Ok(Life {
            after_any: self.after_any.clone(),
            after_fail: self.after_fail.clone(),
            not_before_ms: self.at.or(self.delay.map(later)),
            expires_ms: self.expire.map(later),
            timeout: self.timeout,
            held: self.hold,
            retry_on: self.retry_on.iter().map(ToString::to_string).collect(),
            backoff: (retries > 0).then(|| self.backoff.unwrap_or(BACKOFF)),
            stdin: self.input()?,
            pipe_from: self.pipe_from.clone(),
            stdout: file(&self.stdout),
            stderr: file(&self.stderr),
            key: self.key.clone().unwrap_or_default(),
        })
    }

    fn input(&self) -> Result<Option<StdinWord>, Problem> {
        if self.reads_here() {
            return read_all(std::io::stdin().lock()).map(|text| Some(StdinWord::Text(text)));
        }
        let text = self.stdin_text.clone().map(parse::arg).map(StdinWord::Text);
        let file = self.stdin.clone().map(parse::arg).map(StdinWord::File);
        Ok(text.or(file))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Reads all there is, up to what a task may carry.
fn read_all(from: impl Read) -> Result<Arg, Problem> {
    let mut text = Vec::new();
    from.take(MOST_INPUT + 1)
        .read_to_end(&mut text)
        .map_err(|error| Problem::failed(format!("cannot read standard input: {error}")))?;
    if text.len() as u64 > MOST_INPUT {
        return Err(Problem::failed(format!(
            "standard input is longer than {}, the most that travels with a task",
            crate::render::text::size(MOST_INPUT)
        ))
        .hint("put it into a file that the hosts share, and name that with --stdin FILE"));
    }
    Ok(Arg(text))
}

/// Variables whose names say that they hold a secret: not passed on unless they are named. Upper case; `*` at an end stands for
/// anything there.
const SECRETS: [&str; 14] = [
    "*TOKEN",
    "*PASSWORD",
    "*PASSWD",
    "*PASSPHRASE",
    "*SECRET",
    "*SECRET_KEY",
    "*API_KEY",
    "*APIKEY",
    "*ACCESS_KEY",
    "*PRIVATE_KEY",
    "*CREDENTIALS",
    "*_PWD",
    "PGPASSFILE",
    "SSH_AUTH_SOCK",
];

/// Says whether a variable's name says that it holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // The shell's own directories.
    let harmless = name == "OLD_PWD";
    !harmless
        && SECRETS
            .iter()
            .any(|pattern| match pattern.strip_prefix('*') {
                Some(end) => name.ends_with(end),
                None => name == *pattern,
            })
}

/// Tells a person at a terminal which variables stay behind.
pub(crate) fn tell_withheld(names: &[String]) {
    let mut stderr = std::io::stderr();
    if names.is_empty() || !std::io::IsTerminal::is_terminal(&stderr) {
        return;
    }
    let _done = writeln!(
        stderr,
        "aque: not passed on, for they look like secrets: {} (-e NAME passes one on)",
        names.join(" ")
    );
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "PGPASSWORD",
            "MYSQL_PWD",
            "openai_api_key",
            "SSH_AUTH_SOCK",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "PWD",
            "OLDPWD",
            "HOME",
            "KEYBOARD",
            "TOKENIZERS_PARALLELISM",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn input_has_a_bound() {
        let most = usize::try_from(MOST_INPUT).unwrap();
        assert_eq!(read_all(vec![b'x'; most].as_slice()).unwrap().0.len(), most);
        assert!(read_all(vec![b'x'; most + 1].as_slice()).is_err());
    }
}
