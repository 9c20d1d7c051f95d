//! What people state for the whole mesh: settings, named queues among them. Each is a register of the directory that every member
//! may write; the latest word stands (by time, then by writer), and a node applies it while it runs.
//!
//! A value that a node does not understand, or that would be unsafe with its own times, changes nothing there. How long leases
//! last is no setting: hosts that hear of a change at different times would promise each other different things.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::Tag;
use crate::time::{Timing, Wall};

/// A person's word about one setting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Stated {
    /// When, by the writer's wall clock, and later than all that was said of it before.
    pub at: Wall,
    /// The value; `None`: as each node was told at its start.
    pub value: Option<String>,
    /// Who said so, for people.
    pub by: String,
}

/// How a named queue is worked off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueRule {
    /// At most so many of its tasks run at once, mesh-wide; 0 = no limit.
    pub slots: u32,
    /// Its share beside other queues; at least 1.
    pub weight: u32,
    /// None of its tasks starts.
    pub paused: bool,
}

impl Default for QueueRule {
    fn default() -> Self {
        Self {
            slots: 0,
            weight: 1,
            paused: false,
        }
    }
}

/// As it is written in the directory: `slots=4 weight=2 paused`.
impl fmt::Display for QueueRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            slots,
            weight,
            paused,
        } = self;
        write!(f, "slots={slots} weight={weight}")?;
        f.write_str(if *paused { " paused" } else { "" })
    }
}

impl FromStr for QueueRule {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let mut rule = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("slots", number)) => rule.slots = parsed(number, "a number")?,
                Some(("weight", number)) => rule.weight = parsed(number, "a number")?,
                None if word == "paused" => rule.paused = true,
                Some(_) | None => return Err(BadSetting::Value("slots=N, weight=N and paused")),
            }
        }
        if rule.weight == 0 || rule.weight > 1_000_000 {
            return Err(BadSetting::Value("a weight from 1 to 1000000"));
        }
        Ok(rule)
    }
}

/// Where tasks may run that belong to root.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RootTasks {
    /// On the host at which each was submitted: nobody far away can choose to be root there.
    #[default]
    Local,
    /// On any.
    Anywhere,
}

impl FromStr for RootTasks {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        match text {
            "local" => Ok(Self::Local),
            "anywhere" => Ok(Self::Anywhere),
            _ => Err(BadSetting::Value("local or anywhere")),
        }
    }
}

/// Why a setting is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// No such setting.
    #[error("there is no such setting; there are {}", Settings::NAMES.join(", "))]
    Name,
    /// Not what it takes.
    #[error("it takes {0}")]
    Value(&'static str),
    /// It would break what the lease rests on.
    #[error("{0}")]
    Unsafe(String),
}

fn parsed<T: FromStr>(text: &str, what: &'static str) -> Result<T, BadSetting> {
    text.parse().map_err(|_| BadSetting::Value(what))
}

/// Parses a length of time as it is written in the directory: `1500ms`.
fn millis(text: &str) -> Result<Duration, BadSetting> {
    let number = text.strip_suffix("ms").unwrap_or("");
    parsed(number, "a length of time").map(Duration::from_millis)
}

fn sound(timing: Timing) -> Result<Timing, BadSetting> {
    match timing.problems().first() {
        None => Ok(timing),
        Some(why) => Err(BadSetting::Unsafe(why.to_string())),
    }
}

/// What the mesh was told.
#[derive(Debug, Clone, Default)]
pub struct Settings(BTreeMap<String, (Stated, Tag)>);

impl Settings {
    /// How long leases last.
    pub const LEASE: &'static str = "lease";
    /// How often leases are renewed.
    pub const HEARTBEAT: &'static str = "heartbeat";
    /// How long a host may be silent until others take its places.
    pub const REPLACE_AFTER: &'static str = "replace-after";
    /// How long what has ended is kept.
    pub const RETENTION: &'static str = "retention";
    /// How many lost runs make a task wait for a person.
    pub const LOST_LIMIT: &'static str = "lost-limit";
    /// The priority of tasks that state none.
    pub const PRIORITY: &'static str = "default.priority";
    /// The queue of tasks that name none.
    pub const QUEUE: &'static str = "default.queue";
    /// Where tasks of root may run.
    pub const ROOT_TASKS: &'static str = "root-tasks";
    /// What comes before the name of a queue.
    pub const QUEUE_PREFIX: &'static str = "queue.";
    /// Every name, for people.
    pub const NAMES: [&'static str; 9] = [
        Self::LEASE,
        Self::HEARTBEAT,
        Self::REPLACE_AFTER,
        Self::RETENTION,
        Self::LOST_LIMIT,
        Self::PRIORITY,
        Self::QUEUE,
        Self::ROOT_TASKS,
        "queue.NAME",
    ];
    /// What has ended is kept for at least so long.
    pub const LEAST_RETENTION: Duration = Duration::from_secs(1);
    /// The longest name and value, bytes.
    pub const LONGEST: usize = 128;
    /// The most settings that a node keeps.
    pub const MOST: usize = 1_024;

    /// Says whether a queue may be called so: 1 to 64 of letters, digits, `.`, `_` and `-`.
    #[must_use]
    pub fn is_queue_name(name: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(fits)
    }

    /// Says whether a setting is called so.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        match name.strip_prefix(Self::QUEUE_PREFIX) {
            Some(queue) => Self::is_queue_name(queue),
            None => Self::NAMES.contains(&name),
        }
    }

    /// Checks a setting against the times by which a node goes.
    ///
    /// # Errors
    /// [`BadSetting`].
    pub fn check(name: &str, value: &str, timing: &Timing) -> Result<(), BadSetting> {
        match name {
            Self::LEASE => sound(Timing {
                lease: millis(value)?,
                ..*timing
            })
            .map(drop),
            Self::HEARTBEAT => sound(Timing {
                heartbeat: millis(value)?,
                ..*timing
            })
            .map(drop),
            Self::REPLACE_AFTER => match millis(value)? {
                span if span < timing.wait() => Err(BadSetting::Unsafe(format!(
                    "it is less than a silent host's lease may last ({:?})",
                    timing.wait()
                ))),
                _ => Ok(()),
            },
            Self::RETENTION => match millis(value)? {
                span if span < Self::LEAST_RETENTION => Err(BadSetting::Unsafe(format!(
                    "what has ended is kept for {:?} at least",
                    Self::LEAST_RETENTION
                ))),
                _ => Ok(()),
            },
            Self::LOST_LIMIT => parsed::<u32>(value, "a number").map(drop),
            Self::PRIORITY => parsed::<i32>(value, "a whole number").map(drop),
            Self::QUEUE if Self::is_queue_name(value) => Ok(()),
            Self::QUEUE => Err(BadSetting::Value("the name of a queue")),
            Self::ROOT_TASKS => value.parse::<RootTasks>().map(drop),
            _ => match name.strip_prefix(Self::QUEUE_PREFIX) {
                Some(queue) if Self::is_queue_name(queue) => value.parse::<QueueRule>().map(drop),
                Some(_) | None => Err(BadSetting::Name),
            },
        }
    }

    /// Returns the times by which a node goes that was started with `own`: the mesh's lease and heartbeat in the place of its own.
    ///
    /// # Errors
    /// What makes these unsafe, or useless, with the rest of its own.
    pub fn times(&self, own: &Timing) -> Result<Timing, BadSetting> {
        let stated = |name| self.value(name).map(millis).transpose();
        sound(Timing {
            lease: stated(Self::LEASE)?.unwrap_or(own.lease),
            heartbeat: stated(Self::HEARTBEAT)?.unwrap_or(own.heartbeat),
            ..*own
        })
    }

    /// Returns the settings as they would be without one of them.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut rest = self.clone();
        rest.0.remove(name);
        rest
    }

    /// Takes a word about a setting. Says whether it is the latest.
    pub fn take(&mut self, name: String, said: Stated, writer: Tag) -> bool {
        let old = self.0.get(&name);
        let newer = old.is_none_or(|(old, by)| (said.at, writer) > (old.at, *by));
        let room = old.is_some() || self.0.len() < Self::MOST;
        if newer && room {
            self.0.insert(name, (said, writer));
        }
        newer && room
    }

    /// Returns what was said last of a setting.
    #[must_use]
    pub fn stated(&self, name: &str) -> Option<&Stated> {
        self.0.get(name).map(|(stated, _)| stated)
    }

    /// Returns every setting of which something was said, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Stated)> {
        self.0
            .iter()
            .map(|(name, (stated, _))| (name.as_str(), stated))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.stated(name)?.value.as_deref()
    }

    /// Returns a length of time that is safe with a node's own times.
    #[must_use]
    pub fn span(&self, name: &str, timing: &Timing) -> Option<Duration> {
        let value = self.value(name)?;
        Self::check(name, value, timing).ok()?;
        millis(value).ok()
    }

    /// Returns a number, or another plain value.
    #[must_use]
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.value(name)?.parse().ok()
    }

    /// Returns the queue of tasks that name none; empty if there is none.
    #[must_use]
    pub fn default_queue(&self) -> &str {
        let named = self.value(Self::QUEUE);
        named.filter(|name| Self::is_queue_name(name)).unwrap_or("")
    }

    /// Returns where tasks of root may run: not far away, unless that was stated.
    #[must_use]
    pub fn root_tasks(&self) -> RootTasks {
        self.number(Self::ROOT_TASKS).unwrap_or_default()
    }

    /// Returns every queue that was set up, with its rule.
    pub fn queues(&self) -> impl Iterator<Item = (&str, QueueRule)> {
        self.iter().filter_map(|(name, stated)| {
            let queue = name.strip_prefix(Self::QUEUE_PREFIX)?;
            let rule = stated.value.as_deref()?.parse().ok()?;
            Some((queue, rule))
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn stated(at: u64, value: &str) -> Stated {
        Stated {
            at: Wall(at),
            value: Some(value.to_owned()),
            by: "ann".to_owned(),
        }
    }

    #[test]
    fn the_latest_word_stands_wherever_it_is_heard_first() {
        let words = [
            (stated(1, "1"), Tag(9)),
            (stated(5, "2"), Tag(1)),
            (stated(5, "3"), Tag(2)),
            (stated(4, "4"), Tag(7)),
        ];
        for turn in 0..words.len() {
            let mut settings = Settings::default();
            for place in 0..words.len() {
                let (said, by) = words[(turn + place) % words.len()].clone();
                settings.take(Settings::LOST_LIMIT.to_owned(), said, by);
            }
            assert_eq!(settings.number::<u32>(Settings::LOST_LIMIT), Some(3));
        }
    }

    #[test]
    fn rules_are_read_as_they_are_shown() {
        for text in ["slots=0 weight=1", "slots=4 weight=2 paused"] {
            assert_eq!(text.parse::<QueueRule>().unwrap().to_string(), text);
        }
        for text in ["slots", "slots=x", "weight=0", "resumed", "slots=-1"] {
            assert!(text.parse::<QueueRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_and_what_is_unsafe_is_refused() {
        let timing = Timing::default();
        let check = |name: &str, value: &str| Settings::check(name, value, &timing);
        for (name, value) in [
            ("heartbeat", "500ms"),
            ("lease", "10000ms"),
            ("replace-after", "600000ms"),
            ("lost-limit", "0"),
            ("default.priority", "-5"),
            ("queue.render-1", "slots=4 weight=2"),
            ("default.queue", "render-1"),
            ("root-tasks", "local"),
            ("root-tasks", "anywhere"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name} {value}");
        }
        for (name, value) in [
            ("heartbeat", "10000ms"),
            ("heartbeat", "soon"),
            ("replace-after", "1ms"),
            ("lost-limit", "-1"),
            ("lease", "2000ms"),
            ("lease", "999999999ms"),
            ("lease", "long"),
            ("root-tasks", "yes"),
            ("root-tasks", ""),
            ("queue.", "slots=4"),
            ("queue.a b", "slots=4"),
            ("queue.a", "fast"),
        ] {
            assert!(check(name, value).is_err(), "{name} {value}");
        }
    }
}
