//! Filters: which tasks are meant, said in words. `state in (success, error) and name ~ 'render*'`.
//!
//! The client reads a filter first, so that a mistake costs no question; the node reads it again and looks at every task, so that
//! 100,000 of them need not travel and a limit counts what fits. What travels is the filter as [`fmt::Display`] writes it: instants
//! in UTC, all else as it was meant. A filter cannot fail once it is read, and has at most [`MOST_BYTES`] and [`MOST_DEPTH`].
//!
//! ```text
//! filter = all *( "or" all )
//! all    = one *( "and" one )
//! one    = "not" one | "(" filter ")" | test
//! test   = field op value | field [ "not" ] "in" "(" value *( "," value ) ")"
//! op     = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~"
//! value  = word | "'" text "'" | '"' text '"' | "none"
//! ```
//!
//! A word has neither blanks nor `( ) ' " , = ! < > ~`; a quote within quotes is doubled. `and`, `or`, `not`, `in` and `none`
//! may be upper case, and are text in quotes. `~` compares with a glob of `*` and `?`. What a task does not have (the exit code
//! of one that runs) is `none`: it equals nothing else, and is neither less nor more; as text it is empty.

mod field;
mod parse;
mod states;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use wildmatch::WildMatch;

pub use self::field::{Field, Kind, Subject, Value};
pub use self::states::States;

use self::field::Literal;

/// The longest text of a filter, bytes.
pub const MOST_BYTES: usize = 4_096;
/// The most parentheses and `not`s inside each other.
pub const MOST_DEPTH: u8 = 32;

/// What `aque help filters` prints.
pub const HELP: &str = "\
A filter says which tasks are meant; every verb that takes tasks takes one with -f.

  aque status -f \"state = error and age < 1h\"
  aque kill -f \"name ~ 'render*' and not state = running\"
  aque retry -f \"exit in (75, 111) and host != render-07\"
  aque status -xf \"wall > 10m or rss >= 4G\" --csv id,user,wall,rss

Without ids a filter chooses among all of your tasks (-x: of all users), with ids among those that
are named and the members of their groups. Groups themselves are not looked at; members without a
name of their own have their group's.

Tests:        = != < <= > >=   ~ and !~ with globs (* and ?)   in (A, B)   not in (A, B)
Put together: and, or, not, ( )
Values:       words, or text in ' ' or \" \" (a quote is doubled in it);
              none for what a task does not have
  sizes       512M, 4G, 1GiB
  times       age > 90s, wall > 1h30m; a bare number is seconds
  instants    started > '2026-12-24 18:30', ended < 18:30 (the last one),
              created > 2026-12-24T18:30:00Z
  states      creating pending blocked held claimed running success error killed cancelled lost,
              and the sets READY (pending), UNREADY (creating, blocked, held),
              ACTIVE (claimed, running), COMPLETE (the rest)
  signals     by name or number

Fields:
";

/// Which tasks are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Expr);

/// Where and why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of the filter: {what}")]
pub struct FilterError {
    /// The place, in characters, from 1.
    pub column: usize,
    /// What is wrong, and what would fit.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Expr {
    /// At least two.
    Any(Vec<Expr>),
    /// At least two.
    All(Vec<Expr>),
    Not(Box<Expr>),
    Test(Field, Test),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Is(Op, Literal),
    In(Vec<Literal>),
    NotIn(Vec<Literal>),
    Like(Glob),
    Unlike(Glob),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Op {
    fn text(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }

    fn fits(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

/// A pattern of `*` and `?`.
#[derive(Clone, Debug, PartialEq)]
struct Glob {
    text: String,
    pattern: WildMatch,
}

impl Glob {
    fn new(text: String) -> Self {
        let pattern = WildMatch::new(&text);
        Self { text, pattern }
    }
}

impl Filter {
    /// Says whether a task is meant.
    #[must_use]
    pub fn fits(&self, task: &impl Subject) -> bool {
        self.0.fits(task)
    }

    /// Returns the fields at which it looks.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        self.0.collect(&mut fields);
        fields
    }

    /// Returns the text of `aque help filters`: [`HELP`] and the fields.
    #[must_use]
    pub fn help() -> String {
        let mut text = HELP.to_owned();
        for field in Field::ALL {
            text += &format!("  {:<10}  {}\n", field.name(), field.about());
        }
        text
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::filter(text).map(Self)
    }
}

impl Expr {
    fn collect(&self, fields: &mut Vec<Field>) {
        match self {
            Self::Any(parts) | Self::All(parts) => {
                parts.iter().for_each(|part| part.collect(fields));
            }
            Self::Not(part) => part.collect(fields),
            Self::Test(field, _) => fields.push(*field),
        }
    }

    fn fits(&self, task: &impl Subject) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.fits(task)),
            Self::All(parts) => parts.iter().all(|part| part.fits(task)),
            Self::Not(part) => !part.fits(task),
            Self::Test(field, test) => test.fits(&task.value(*field)),
        }
    }
}

impl Test {
    fn fits(&self, value: &Value<'_>) -> bool {
        let equals = |literal: &Literal| literal.is(value);
        match self {
            Self::Is(Op::Equal, literal) => literal.is(value),
            Self::Is(Op::Unequal, literal) => literal.is_not(value),
            Self::Is(op, literal) => literal.order(value).is_some_and(|order| op.fits(order)),
            Self::In(list) => list.iter().any(equals),
            Self::NotIn(list) => list.iter().all(|literal| literal.is_not(value)),
            Self::Like(glob) => value.any_text(|text| glob.pattern.matches(text)),
            Self::Unlike(glob) => !value.any_text(|text| glob.pattern.matches(text)),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(parts) => joined(f, parts, " or ", |part| matches!(part, Self::Any(_))),
            Self::All(parts) => joined(f, parts, " and ", Self::is_joined),
            Self::Not(part) if part.is_joined() => write!(f, "not ({part})"),
            Self::Not(part) => write!(f, "not {part}"),
            Self::Test(field, test) => {
                f.write_str(field.name())?;
                test.fmt(f)
            }
        }
    }
}

impl Expr {
    fn is_joined(&self) -> bool {
        matches!(self, Self::Any(_) | Self::All(_))
    }
}

fn joined(
    f: &mut fmt::Formatter<'_>,
    parts: &[Expr],
    word: &str,
    is_wrapped: impl Fn(&Expr) -> bool,
) -> fmt::Result {
    for (place, part) in parts.iter().enumerate() {
        f.write_str(if place > 0 { word } else { "" })?;
        if is_wrapped(part) {
            write!(f, "({part})")?;
        } else {
            write!(f, "{part}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: &[Literal]| {
            let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        match self {
            Self::Is(op, literal) => write!(f, " {} {literal}", op.text()),
            Self::In(literals) => write!(f, " in ({})", list(literals)),
            Self::NotIn(literals) => write!(f, " not in ({})", list(literals)),
            Self::Like(glob) => write!(f, " ~ {}", parse::quoted(&glob.text)),
            Self::Unlike(glob) => write!(f, " !~ {}", parse::quoted(&glob.text)),
        }
    }
}

#[cfg(test)]
mod tests;
