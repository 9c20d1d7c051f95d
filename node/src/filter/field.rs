//! What can be asked of a task, and in which words.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use crdt::task::TaskState;
use jiff::Timestamp;

use super::States;
use super::parse::quoted;
use crate::cli::parse;

macro_rules! fields {
    ($($name:ident $text:literal $kind:ident $about:literal;)*) => {
        /// Something that a task has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = $about] $name,)*
        }

        impl Field {
            /// Every field, in the order of a status line.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns what people call it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Returns what its values are.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self {
                    $(Self::$name => Kind::$kind,)*
                }
            }

            /// Says what it is.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about,)*
                }
            }
        }
    };
}

fields! {
    Id "id" Text "TAG-N, or TAG-N.I of an array's element";
    State "state" State "where it stands";
    Reason "reason" Text "why: 'exit 3', 'timeout', what it waits for";
    Name "name" Text "its name, or its group's";
    Command "command" Text "the command as one would type it";
    Host "host" Text "name of the host that holds, runs or ran it";
    User "user" Text "who submitted it";
    Queue "queue" Text "the named queue";
    Group "group" Text "id of the group or array that it belongs to";
    Parent "parent" Text "id of the task that submitted it";
    After "after" Texts "ids of what it depends on: any of them";
    Priority "priority" Number "higher first, 1000 unless stated";
    Attempts "attempts" Number "runs started";
    Epoch "epoch" Number "the highest epoch at which it was claimed";
    Exit "exit" Number "exit code";
    Signal "signal" Signal "the signal that ended it";
    Age "age" Span "time since its submission";
    Wall "wall" Span "how long its latest run took, or takes so far";
    Cpus "cpus" Number "processors that it needs";
    Memory "memory" Size "memory that it needs";
    Rss "rss" Size "the most memory that its run had";
    Created "created" Time "when it was submitted";
    Started "started" Time "when its latest run started";
    Ended "ended" Time "when it ended";
    Progress "progress" Text "what its run said of itself last";
}

impl Field {
    /// Returns the field that is called so.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|field| field.name().eq_ignore_ascii_case(name))
    }

    /// Says what fits in the place of a name that no field has: one like it, or all.
    #[must_use]
    pub fn instead_of(name: &str) -> String {
        let name = name.to_lowercase();
        let likeness = |field: &Field| strsim::jaro_winkler(&name, field.name());
        let best = Self::ALL
            .iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match best.filter(|field| likeness(field) >= ALIKE) {
            Some(field) => format!("do you mean {}?", field.name()),
            None => {
                let names: Vec<_> = Self::ALL.iter().map(|field| field.name()).collect();
                format!("fields are {}", names.join(" "))
            }
        }
    }
}

/// From this likeness on a name is taken for a slip: `clap` draws the line at 0.7, which finds an `end` in `and`. A guess.
const ALIKE: f64 = 0.8;

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Any number of texts.
    Texts,
    /// A state.
    State,
    /// A number.
    Number,
    /// A signal.
    Signal,
    /// Bytes.
    Size,
    /// A length of time.
    Span,
    /// An instant.
    Time,
}

/// What a task has in a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// It does not have it.
    None,
    /// Text.
    Text(Cow<'a, str>),
    /// Any number of texts.
    Texts(Cow<'a, [String]>),
    /// A state.
    State(TaskState),
    /// A number.
    Number(f64),
    /// Bytes.
    Size(u64),
    /// A length of time.
    Span(Duration),
    /// An instant, milliseconds since 1970.
    Time(u64),
}

impl<'a> Value<'a> {
    /// Returns text that may be missing.
    #[must_use]
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.into()))
    }

    /// Says whether one of its texts passes; the text of what is not there is empty.
    pub(super) fn any_text(&self, test: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Text(text) => test(text),
            Self::Texts(list) if !list.is_empty() => list.iter().any(|text| test(text)),
            Self::State(state) => test(state.name()),
            Self::None
            | Self::Texts(_)
            | Self::Number(_)
            | Self::Size(_)
            | Self::Span(_)
            | Self::Time(_) => test(""),
        }
    }

    fn is_none(&self) -> bool {
        match self {
            Self::None => true,
            Self::Text(text) => text.is_empty(),
            Self::Texts(list) => list.is_empty(),
            Self::State(_) | Self::Number(_) | Self::Size(_) | Self::Span(_) | Self::Time(_) => {
                false
            }
        }
    }
}

/// What a filter looks at. A field that costs something is asked for only when it is needed.
pub trait Subject {
    /// Returns what it has there, of the field's kind.
    fn value(&self, field: Field) -> Value<'_>;
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    None,
    Text(String),
    State(States),
    Number(f64),
    Size(u64),
    Span(Duration),
    Time(u64),
}

impl Kind {
    /// Reads a word as a value of this kind.
    ///
    /// # Errors
    /// Says what would fit.
    pub(super) fn read(self, word: &str) -> Result<Literal, String> {
        match self {
            Self::Text | Self::Texts => Ok(Literal::Text(word.to_owned())),
            Self::State => {
                let states = word.parse().map(Literal::State);
                states.map_err(|error| error.to_string())
            }
            Self::Number => match word.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Literal::Number(number)),
                Ok(_) | Err(_) => Err("write a number".to_owned()),
            },
            Self::Signal => parse::signal(word).map(|number| Literal::Number(number.into())),
            Self::Size => parse::size(word).map(Literal::Size),
            Self::Span => parse::duration(word).map(Literal::Span),
            Self::Time => parse::instant_before(word).map(Literal::Time),
        }
    }

    /// Returns what a value of this kind is called.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Text | Self::Texts => "text",
            Self::State => "state",
            Self::Number => "number",
            Self::Signal => "signal",
            Self::Size => "size",
            Self::Span => "length of time",
            Self::Time => "instant",
        }
    }

    /// Says whether its values come in an order.
    pub(super) fn is_ordered(self) -> bool {
        match self {
            Self::Text | Self::Texts | Self::State => false,
            Self::Number | Self::Signal | Self::Size | Self::Span | Self::Time => true,
        }
    }

    /// Says whether its values may be like a pattern.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Texts)
    }

    /// Says which tests there are.
    pub(super) fn tests(self) -> &'static str {
        match (self.is_text(), self.is_ordered()) {
            (true, _) => "=, !=, ~, !~ and in",
            (false, true) => "=, !=, <, <=, >, >= and in",
            (false, false) => "=, != and in",
        }
    }
}

impl Literal {
    /// Says whether a value is this.
    pub(super) fn is(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::None, value) => value.is_none(),
            (Self::Text(text), value) => value.any_text(|other| other == text),
            (Self::State(states), Value::State(state)) => states.contains(*state),
            (other, value) => other.order(value).is_some_and(Ordering::is_eq),
        }
    }

    /// Says whether a value is there and is not this; text is always there.
    pub(super) fn is_not(&self, value: &Value<'_>) -> bool {
        match self {
            Self::None | Self::Text(_) | Self::State(_) => !self.is(value),
            Self::Number(_) | Self::Size(_) | Self::Span(_) | Self::Time(_) => {
                self.order(value).is_some_and(Ordering::is_ne)
            }
        }
    }

    /// Returns how a value stands to this, if both have an order.
    pub(super) fn order(&self, value: &Value<'_>) -> Option<Ordering> {
        match (value, self) {
            (Value::Number(value), Self::Number(own)) => value.partial_cmp(own),
            (Value::Size(value), Self::Size(own)) => Some(value.cmp(own)),
            (Value::Span(value), Self::Span(own)) => Some(value.cmp(own)),
            (Value::Time(value), Self::Time(own)) => Some(value.cmp(own)),
            _ => None,
        }
    }
}

/// As it is read again.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::State(states) => states.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Size(bytes) => bytes.fmt(f),
            Self::Span(span) => {
                let text = humantime::format_duration(*span).to_string();
                f.write_str(&text.replace(' ', ""))
            }
            Self::Time(ms) => {
                let ms = i64::try_from(*ms).unwrap_or(i64::MAX);
                let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
                at.fmt(f)
            }
        }
    }
}
