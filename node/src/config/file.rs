//! The settings file: TOML whose keys are the long options of the command line, without their dashes.
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
pub(super) struct File {
    path: PathBuf,
    entries: Vec<Entry>,
    /// What is amiss in it, in the order of lines.
    pub(super) problems: Vec<String>,
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
                problems: vec![format!("{}: {error}", path.display())],
                path,
                entries: Vec::new(),
            },
        }
    }

    fn parse(path: PathBuf, text: &str, options: &Command) -> Self {
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
        let told = |(line, what): (usize, Vec<String>)| {
            let shown = path.display();
            let all: Vec<String> = what
                .iter()
                .map(|what| format!("{shown}:{line}: {what}"))
                .collect();
            all
        };
        let problems = found.into_iter().flat_map(told).collect();
        Self {
            path,
            entries,
            problems,
        }
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
        _ if is(&[TypeId::of::<u8>(), TypeId::of::<u32>()]) => match value {
            DeValue::Integer(number) => Ok(vec![number.to_string()]),
            _ => Err("a whole number"),
        },
        _ => match value.as_str() {
            Some(text) => Ok(vec![text.to_owned()]),
            None => Err("a string"),
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
            "unknown key {key}; the keys are the long options that 'aque-node --help' lists"
        ),
    }
}
