//! Settings in TOML, whose keys are the long options of a command line, without their dashes: the node's file, and what `aque edit`
//! shows of a task.
//!
//! There is one definition of each option, clap's. The file is read as a list of keys; each is looked up there, has its type
//! checked against what the option takes, and its value tried as the option's. What is well becomes the option's default, so
//! the order (flag, environment, file) is clap's own. Everything that is amiss is told with its line, all at once.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Options that make no sense in a file.
const NOT_IN_A_FILE: [&str; 3] = ["config", "help", "version"];
/// Largest file that is read, bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A settings file that was read, or none.
#[derive(Debug, Default)]
pub(crate) struct File {
    path: PathBuf,
    entries: Vec<Entry>,
    /// What is amiss in it, in the order of lines.
    pub(crate) problems: Vec<Amiss>,
}

/// What is amiss with a line of a file, or with all of it.
#[derive(Debug)]
pub(crate) struct Amiss {
    /// From 1.
    pub(crate) line: Option<usize>,
    /// What, and perhaps what to do.
    pub(crate) what: String,
}

/// A key with a value that its option takes.
#[derive(Debug)]
struct Entry {
    key: String,
    line: usize,
    values: Vec<String>,
}

impl File {
    /// Reads the file that is `named`, or else the first of the usual ones that is there.
    pub(super) fn find(
        named: Option<&Path>,
        path: &impl Fn(&str) -> Option<PathBuf>,
        options: &Command,
    ) -> Self {
        let home = path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")));
        let usual = [
            home.map(|home| home.join("aque/node.toml")),
            Some("/etc/aque/node.toml".into()),
        ];
        let usual = || usual.into_iter().flatten().find(|path| path.exists());
        match named.map(Path::to_owned).or_else(usual) {
            Some(path) => Self::read(path, options),
            None => Self::default(),
        }
    }

    fn read(path: PathBuf, options: &Command) -> Self {
        match read_text(&path) {
            Ok(text) => Self::parse(path, &text, options),
            Err(error) => Self {
                problems: vec![Amiss {
                    line: None,
                    what: error.to_string(),
                }],
                path,
                entries: Vec::new(),
            },
        }
    }

    /// Reads the text of a file.
    pub(crate) fn parse(path: PathBuf, text: &str, options: &Command) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for error in &errors {
            let at = error.span().map_or(1, |span| line(span.start));
            let what = error.message().lines().next().unwrap_or_default();
            found.entry(at).or_default().push(what.to_owned());
        }
        // What could be made of a line that is no TOML is not what was meant.
        let broken: Vec<usize> = found.keys().copied().collect();
        let mut entries = Vec::new();
        for (key, value) in table.get_ref() {
            let at = line(key.span().start);
            if broken.contains(&at) {
                continue;
            }
            match values(key.get_ref(), value, options) {
                Ok(values) => entries.push(Entry {
                    key: key.get_ref().to_string(),
                    line: at,
                    values,
                }),
                Err(problems) => found.entry(at).or_default().extend(problems),
            }
        }
        let told = |(line, all): (usize, Vec<String>)| {
            let amiss = move |what| Amiss {
                line: Some(line),
                what,
            };
            all.into_iter().map(amiss)
        };
        let problems = found.into_iter().flat_map(told).collect();
        Self {
            path,
            entries,
            problems,
        }
    }

    /// Returns what is amiss, each with its place.
    pub(crate) fn told(&self) -> impl Iterator<Item = String> + '_ {
        let path = self.path.display();
        self.problems.iter().map(move |amiss| match amiss.line {
            Some(line) => format!("{path}:{line}: {}", amiss.what),
            None => format!("{path}: {}", amiss.what),
        })
    }

    /// Returns what would stand on the command line instead of what this file says otherwise than another.
    pub(crate) fn words_besides(&self, other: &Self) -> Vec<String> {
        let same = |entry: &&Entry| {
            let mut others = other.entries.iter();
            others.any(|of| (&of.key, &of.values) == (&entry.key, &entry.values))
        };
        let changed = self.entries.iter().filter(|entry| !same(entry));
        let words = changed.flat_map(|Entry { key, values, .. }| {
            // An empty list stands for none.
            let none = values.is_empty().then_some("");
            let values = values.iter().map(String::as_str).chain(none);
            values.map(move |value| format!("--{key}={value}"))
        });
        words.collect()
    }

    /// Makes the values of the file the defaults of their options.
    pub(super) fn as_defaults(&self, options: Command) -> Command {
        self.entries.iter().fold(options, |options, entry| {
            let Some(id) = option(&entry.key, &options).map(|arg| arg.get_id().clone()) else {
                return options;
            };
            let values = entry.values.clone();
            options.mut_arg(id, |arg| arg.default_values(values))
        })
    }

    /// Returns where the values in force stand that come from the file, by key.
    pub(super) fn places(&self, matches: &ArgMatches, options: &Command) -> Places {
        let in_force = |entry: &&Entry| {
            let arg = option(&entry.key, options);
            let source = arg.and_then(|arg| matches.value_source(arg.get_id().as_str()));
            source == Some(ValueSource::DefaultValue)
        };
        let place = |entry: &Entry| {
            let place = format!("{}:{}: {}", self.path.display(), entry.line, entry.key);
            (entry.key.clone(), place)
        };
        Places(self.entries.iter().filter(in_force).map(place).collect())
    }
}

/// Where values that come from a file stand.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, String>);

impl Places {
    /// Whether a setting in force comes from the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Names a setting as the person who chose its value wrote it: by the line of the file, or as an option.
    pub(super) fn of(&self, key: &str) -> String {
        self.0
            .get(key)
            .cloned()
            .unwrap_or_else(|| format!("--{key}"))
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        let what = format!("larger than {MOST_BYTES} bytes: no settings file");
        return Err(std::io::Error::other(what));
    }
    Ok(text)
}

fn option<'a>(key: &str, options: &'a Command) -> Option<&'a Arg> {
    let mut all = options.get_arguments();
    all.find(|arg| arg.get_long() == Some(key) && !NOT_IN_A_FILE.contains(&key))
}

/// Returns what would stand on the command line; or what is amiss with it.
fn values(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    options: &Command,
) -> Result<Vec<String>, Vec<String>> {
    let Some(arg) = option(key, options) else {
        return Err(vec![unknown(key, options)]);
    };
    let values = texts(arg, value.get_ref()).map_err(|wanted| {
        let found = value.get_ref().type_str();
        vec![format!("{key} is {wanted}, not of type {found}")]
    })?;
    let wrong = |value: &String| refusal(arg, value, options).map(|why| format!("{key}: {why}"));
    let problems: Vec<String> = values.iter().filter_map(wrong).collect();
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

/// Spells a value as on the command line, if its type is the option's; else says what that is.
fn texts(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    let is = |types: &[TypeId]| {
        let own = arg.get_value_parser().type_id();
        types.iter().any(|id| own == *id)
    };
    match arg.get_action() {
        ArgAction::SetTrue => match value.as_bool() {
            Some(on) => Ok(vec![on.to_string()]),
            None => Err("true or false"),
        },
        ArgAction::Append => {
            let list = value.as_array().map(|list| {
                let texts = list.iter().map(|item| item.get_ref().as_str());
                texts.map(|text| text.map(str::to_owned)).collect()
            });
            let alone = value.as_str().map(|text| vec![text.to_owned()]);
            list.unwrap_or(alone).ok_or("a list of strings")
        }
        _ if is(&[TypeId::of::<f64>()]) => match value {
            DeValue::Integer(number) => Ok(vec![number.to_string()]),
            DeValue::Float(number) => Ok(vec![number.to_string()]),
            _ => Err("a number"),
        },
        _ if is(&[TypeId::of::<u8>(), TypeId::of::<u32>(), TypeId::of::<i32>()]) => match value {
            DeValue::Integer(number) => Ok(vec![number.to_string()]),
            _ => Err("a whole number"),
        },
        _ if is(&[TypeId::of::<String>(), TypeId::of::<PathBuf>()]) => match value.as_str() {
            Some(text) => Ok(vec![text.to_owned()]),
            None => Err("a string"),
        },
        // A word with a meaning of its own, such as a number of processors or "all".
        _ => match value {
            DeValue::Integer(number) => Ok(vec![number.to_string()]),
            DeValue::Float(number) => Ok(vec![number.to_string()]),
            DeValue::String(text) => Ok(vec![text.to_string()]),
            _ => Err("a string or a number"),
        },
    }
}

/// Says why an option does not take a value, if it does not.
fn refusal(arg: &Arg, value: &str, options: &Command) -> Option<String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return None;
    }
    let word = format!("--{}={value}", arg.get_long().unwrap_or_default());
    let error = options
        .clone()
        .try_get_matches_from([options.get_name(), &word])
        .err()?;
    let possible = arg.get_possible_values();
    if possible.is_empty() {
        let why = std::error::Error::source(&error).map(ToString::to_string);
        return Some(format!(
            "{value:?}: {}",
            why.unwrap_or_else(|| "is not taken".to_owned())
        ));
    }
    let names: Vec<&str> = possible.iter().map(|value| value.get_name()).collect();
    Some(format!("{value:?} is none of {}", names.join(", ")))
}

fn unknown(key: &str, options: &Command) -> String {
    if NOT_IN_A_FILE.contains(&key) {
        return format!("{key} is for the command line only");
    }
    let word = format!("--{key}=");
    let error = options
        .clone()
        .try_get_matches_from([options.get_name(), &word]);
    let suggested = error
        .err()
        .and_then(|error| match error.get(ContextKind::SuggestedArg)? {
            ContextValue::String(option) => Some(option.trim_start_matches('-').to_owned()),
            _ => None,
        });
    match suggested.filter(|key| option(key, options).is_some()) {
        Some(other) => format!("unknown key {key}; do you mean {other}?"),
        None => format!(
            "unknown key {key}; the keys are the long options that '{} --help' lists",
            options.get_name()
        ),
    }
}
