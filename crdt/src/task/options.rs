//! What few tasks state: written sparsely, so that a plain task costs one byte for all of it, and open-ended, so that what a
//! newer peer states passes unharmed through an older one.
//!
//! See [`super::numbered`] for how.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::numbered::numbered;
use super::{Arg, Elements, TaskState, Verdict};
use crate::ids::TaskId;
use crate::time::Wall;

/// How long a host lets pass before it tries again, at most.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3_600);

/// What must have become of a task before another may start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Condition {
    /// It succeeded.
    Success,
    /// It ended, however.
    End,
    /// It ended otherwise than well.
    Failure,
}

impl Condition {
    /// Says whether a task in this state has met the condition.
    #[must_use]
    pub fn is_met(self, state: TaskState) -> bool {
        match self {
            Self::Success => state == TaskState::Success,
            Self::End => state.is_complete(),
            Self::Failure => state.is_complete() && state != TaskState::Success,
        }
    }

    /// Says whether a task in this state will not meet it.
    #[must_use]
    pub fn is_hopeless(self, state: TaskState) -> bool {
        state.is_complete() && !self.is_met(state)
    }
}

/// Why a run failed, as far as another try may depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// With an exit code from the first to the second, both included.
    Codes(i32, i32),
    /// By a signal: this one, or any.
    Signal(Option<i32>),
    /// It was ended because it took too long.
    Timeout,
    /// The kernel killed a process of it for want of memory.
    Oom,
    /// A call could not be made: its function is not there, say.
    Call,
}

impl Cause {
    /// Says whether a run that failed for `other` failed for this.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Codes(from, to), Self::Codes(code, _)) => (from..=to).contains(&code),
            (Self::Signal(any), Self::Signal(one)) => any.is_none() || any == one,
            (Self::Timeout, Self::Timeout) | (Self::Oom, Self::Oom) | (Self::Call, Self::Call) => {
                true
            }
            _ => false,
        }
    }
}

/// As people type them: `75`, `1-9`, `signal`, `signal:9`, `timeout`, `oom`, `call`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codes(from, to) if from == to => write!(f, "{from}"),
            Self::Codes(from, to) => write!(f, "{from}-{to}"),
            Self::Signal(None) => f.write_str("signal"),
            Self::Signal(Some(signal)) => write!(f, "signal:{signal}"),
            Self::Timeout => f.write_str(Verdict::TIMEOUT),
            Self::Oom => f.write_str(Verdict::OOM),
            Self::Call => f.write_str(Verdict::CALL),
        }
    }
}

/// That a text names no [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither an exit code from 1 to 255 (75), a range of them (1-9), signal, signal:N, timeout, oom, nor call"
)]
pub struct NoCause;

impl FromStr for Cause {
    type Err = NoCause;

    fn from_str(text: &str) -> Result<Self, NoCause> {
        let code = |text: &str| match text.parse::<u8>() {
            Ok(code) if code > 0 => Ok(i32::from(code)),
            Ok(_) | Err(_) => Err(NoCause),
        };
        match (text, text.split_once(['-', ':'])) {
            (Verdict::TIMEOUT, _) => Ok(Self::Timeout),
            (Verdict::OOM, _) => Ok(Self::Oom),
            (Verdict::CALL, _) => Ok(Self::Call),
            ("signal", _) => Ok(Self::Signal(None)),
            (_, Some(("signal", number))) => match number.parse() {
                Ok(number @ 1..=64) => Ok(Self::Signal(Some(number))),
                Ok(_) | Err(_) => Err(NoCause),
            },
            (_, Some((from, to))) => {
                let (from, to) = (code(from)?, code(to)?);
                if from <= to {
                    Ok(Self::Codes(from, to))
                } else {
                    Err(NoCause)
                }
            }
            (_, None) => code(text).map(|code| Self::Codes(code, code)),
        }
    }
}

/// What a run reads from its standard input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Input {
    /// A file of the host that runs it; a relative path starts at its working directory.
    File(Arg),
    /// These bytes.
    Bytes(Arg),
}

numbered! {
    /// What few tasks state; see the module.
    Options:
    /// These must have ended first, however.
    1 after_any: Vec<TaskId>,
    /// These must have ended otherwise than well first.
    2 after_fail: Vec<TaskId>,
    /// It does not start before this instant, by the clock of the host that would run it.
    3 not_before: Option<Wall>,
    /// It does not start after this instant; if it has not by then, it ends as cancelled.
    4 expires: Option<Wall>,
    /// A run that takes longer is ended.
    5 timeout: Option<Duration>,
    /// It waits for a person from the start.
    6 held: bool,
    /// The failures after which it is tried again; empty: all.
    7 retry_on: Vec<Cause>,
    /// How long it waits before the first retry; twice as long before each further one.
    8 backoff: Duration,
    /// What its runs read.
    9 stdin: Option<Input>,
    /// The file that takes what its runs write, instead of the host's own store; made or emptied. A relative path starts at
    /// the working directory.
    10 stdout: Option<Arg>,
    /// The same for errors.
    11 stderr: Option<Arg>,
    /// What it needs of memory, bytes, after it has run out of it once, twice, and so on; each is a further try.
    12 memory_ladder: Vec<u64>,
    /// Named resources that it takes while it runs, in thousandths; sorted by name.
    13 resources: Vec<(String, u32)>,
    /// The hosts that may run it: [`crate::fit::HostPatterns`]; empty: any.
    14 hosts: String,
    /// The system, or system and machine, of the hosts that may run it; empty: any.
    15 platform: String,
    /// It takes all processors of its host but so many, in thousandths, whatever its needs say.
    16 cpus_but: Option<u32>,
    /// The task that submitted it, or for which it was submitted.
    17 parent: Option<TaskId>,
    /// The tasks that it stands for; none: itself.
    18 elements: Option<Elements>,
    /// The named queue that it counts in; empty: none.
    19 queue: String,
    /// How long it will take, as far as is known; zero: that is not known. Longer ones go first.
    20 duration: Duration,
    /// The mounts that it reads or writes much of; sorted. Tasks that share one are spread.
    21 io: Vec<String>,
    /// The group as which it runs; empty: its user's own.
    22 as_group: String,
    /// The user who submitted it, if it belongs to another; empty: the one to whom it belongs.
    23 submitter: String,
    /// Its runs read what this task wrote to its standard output; one of those that it waits for.
    24 pipe_from: Option<TaskId>,
    /// Its words are an interpreter, a function of it as MODULE:NAME, and perhaps the arguments as JSON: the function is called.
    25 call: bool,
    /// Its processors were stated: a run gets no more of them, where that can be limited.
    26 cpu_limit: bool,
    /// Paths that its host must be able to read.
    27 reads: Vec<Arg>,
    /// Its submitter's own name for this submission: submitted again under it, it is the same task; empty: none.
    28 key: String,
}

impl Options {
    /// Says whether a run that failed so is tried again, if tries are left: of calls that could not be made, only where that is
    /// stated.
    #[must_use]
    pub fn retries_after(&self, cause: Cause) -> bool {
        self.retry_on.is_empty() && cause != Cause::Call
            || self.retry_on.iter().any(|of| of.covers(cause))
    }

    /// Returns how long after the failure number `failures`, from 1, the next run may start: from half of what exponential
    /// back-off says to all of it, as `draw` decides (AWS Architecture Blog, "Exponential Backoff and Jitter", 2015).
    #[must_use]
    pub fn pause_after(&self, failures: u32, draw: u64) -> Duration {
        let longest = LONGEST_BACKOFF.max(self.backoff);
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.backoff.saturating_mul(1 << doublings).min(longest);
        let half = whole / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        whole - Duration::from_nanos(draw % nanos.saturating_add(1))
    }
}

impl Verdict {
    /// The text of a failure because it took too long.
    pub const TIMEOUT: &'static str = "timeout";
    /// The text of a failure for want of memory.
    pub const OOM: &'static str = "oom";
    /// What the text of a failure of the call itself begins with.
    pub const CALL: &'static str = "call";
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn wire(options: &Options) -> Vec<u8> {
        postcard::to_stdvec(options).unwrap()
    }

    #[test]
    fn what_is_not_stated_costs_one_byte() {
        assert_eq!(wire(&Options::default()), [0]);
    }

    #[test]
    fn options_survive_the_wire() {
        let options = Options {
            expires: Some(Wall(7)),
            held: true,
            retry_on: vec![Cause::Codes(1, 9), Cause::Signal(None), Cause::Timeout],
            backoff: Duration::from_millis(1_500),
            stdin: Some(Input::Bytes("text".into())),
            ..Options::default()
        };
        let back: Options = postcard::from_bytes(&wire(&options)).unwrap();
        assert_eq!(back, options);
    }

    #[test]
    fn what_a_newer_peer_states_passes_through() {
        // Numbers that nobody knows, and one whose value is not understood, around one that is.
        let stated: Vec<(u16, Vec<u8>)> = vec![
            (0, vec![1, 2, 3]),
            (4, vec![0xff; 20]),
            (6, vec![1]),
            (60_000, vec![]),
        ];
        let bytes = postcard::to_stdvec(&stated).unwrap();
        let options: Options = postcard::from_bytes(&bytes).unwrap();
        assert!(options.held && options.expires.is_none());
        assert_eq!(wire(&options), bytes);
    }

    #[test]
    fn options_in_disorder_are_refused() {
        for stated in [
            vec![(6_u16, vec![1_u8]), (5, vec![])],
            vec![(6, vec![1]), (6, vec![1])],
        ] {
            let bytes = postcard::to_stdvec(&stated).unwrap();
            assert!(postcard::from_bytes::<Options>(&bytes).is_err());
        }
    }

    #[test]
    fn back_off_doubles_up_to_an_hour_with_jitter() {
        let options = Options {
            backoff: Duration::from_secs(4),
            ..Options::default()
        };
        for (failures, whole) in [
            (1, 4),
            (2, 8),
            (3, 16),
            (10, 2_048),
            (11, 3_600),
            (u32::MAX, 3_600),
        ] {
            let whole = Duration::from_secs(whole);
            assert_eq!(options.pause_after(failures, 0), whole);
            for draw in [1, 77_777_777_777, u64::MAX] {
                let pause = options.pause_after(failures, draw);
                assert!(
                    pause <= whole && pause >= whole / 2,
                    "{failures}: {pause:?}"
                );
            }
        }
        assert_eq!(Options::default().pause_after(3, 99), Duration::ZERO);
    }

    #[test]
    fn causes_are_read_as_they_are_shown() {
        for text in ["75", "1-9", "signal", "signal:9", "timeout", "oom", "call"] {
            assert_eq!(text.parse::<Cause>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "0",
            "256",
            "9-1",
            "-1",
            "signal:",
            "signal:99",
            "signal:x",
            "often",
        ] {
            assert_eq!(text.parse::<Cause>(), Err(NoCause), "{text}");
        }
    }

    #[test]
    fn causes_cover_what_they_name() {
        let nine = Cause::Codes(9, 9);
        assert!(Cause::Codes(1, 9).covers(nine) && !Cause::Codes(1, 8).covers(nine));
        assert!(Cause::Signal(None).covers(Cause::Signal(Some(9))));
        assert!(!Cause::Signal(Some(15)).covers(Cause::Signal(Some(9))));
        assert!(!Cause::Timeout.covers(nine) && Cause::Timeout.covers(Cause::Timeout));
    }

    #[test]
    fn calls_that_cannot_be_made_are_retried_where_that_is_stated() {
        let retries = |retry_on, cause| {
            let options = Options {
                retry_on,
                ..Options::default()
            };
            options.retries_after(cause)
        };
        assert!(retries(vec![], Cause::Oom) && !retries(vec![], Cause::Call));
        assert!(retries(vec![Cause::Call], Cause::Call));
        assert!(!retries(vec![Cause::Codes(1, 255)], Cause::Call));
    }
}
