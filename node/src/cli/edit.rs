//! `aque edit`: tasks that have not started are to be otherwise than they were submitted, as options or in an editor say.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Parser;

use super::parse::{self, Cpus};
use super::problem::Problem;
use super::select::{InStates, Which, named};
use super::task::hosts;
use super::{Context, Form};
use crate::api::wire::{Call, Detail, EditWords};
use crate::client::Client;
use crate::config::amount;
use crate::config::file::{Amiss, File};
use crate::render::note;
use crate::render::text::{count, harmless};

/// Change tasks that have not started
///
/// What is not stated stays as it is. Without an option, $VISUAL or $EDITOR is opened on what can be changed, as TOML. A task that runs
/// goes on as it began, and goes by what was edited if it runs again; a host that has not heard of the edit may start one by the old
/// values.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    states: InStates,
    #[command(flatten)]
    stated: Stated,
}

const EXAMPLES: &str = "\
Examples:
  aque edit -p 2000 k3v7qa-12
  aque edit -c 8 -m 16G -r gpu=1 k3v7qa-12     needs more of a host
  aque edit --host '' --queue '' k3v7qa-40     on any host, in no queue: all members of a group
  aque edit -p 5 -f 'name ~ nightly*'          whatever of yours is called so
  aque edit last                               in an editor";

/// What can be changed.
#[derive(Debug, Default, PartialEq, clap::Args)]
struct Stated {
    /// A name for people; '' is none
    #[arg(short, long, value_name = "TEXT")]
    name: Option<String>,
    /// Higher runs first
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Processors that it needs, such as 4 or 0.5; -1: all but one, all: all of them
    #[arg(short, long, value_name = "N", value_parser = parse::cpus, allow_negative_numbers = true)]
    cpus: Option<Cpus>,
    /// Memory that it needs and may take, such as 512M; 4G,8G: runs again with the next size when it runs out of memory; 0: unstated
    #[arg(short, long, value_name = "SIZE", value_parser = size, value_delimiter = ',')]
    memory: Vec<u64>,
    /// The named resources that it takes, such as gpu=1: all of them; '' is none
    #[arg(short, long, value_name = "NAME=N", value_parser = resource)]
    resource: Vec<Resource>,
    /// Hosts that may run it, as for 'aque submit'; '' is any
    #[arg(long, value_name = "PATTERNS", value_parser = some_hosts)]
    host: Option<String>,
    /// System, or system and machine; '' is any
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// The named queue that it counts in; '' is none
    #[arg(short, long, value_name = "NAME")]
    queue: Option<String>,
}

/// A named resource and how much of it, in thousandths; or that there is none.
#[derive(Clone, Debug, PartialEq)]
enum Resource {
    Of(String, u32),
    None,
}

fn resource(text: &str) -> Result<Resource, String> {
    match text {
        "" => Ok(Resource::None),
        _ => amount(text).map(|(name, milli)| Resource::Of(name, milli)),
    }
}

/// No size is none.
fn size(text: &str) -> Result<u64, String> {
    match text {
        "" => Ok(0),
        _ => parse::size(text),
    }
}

fn some_hosts(text: &str) -> Result<String, String> {
    match text {
        "" => Ok(String::new()),
        _ => hosts(text).map_err(|error| error.to_string()),
    }
}

impl Stated {
    /// Returns what is asked of the node.
    fn words(self) -> Result<EditWords, Problem> {
        let whole = |milli: u32| f64::from(milli) / 1_000.0;
        if !self.memory.is_sorted_by(|less, more| less < more) {
            return Err(Problem::usage("the sizes of --memory must grow")
                .hint("such as --memory 4G,8G,16G"));
        }
        let mut resources = BTreeMap::new();
        for resource in &self.resource {
            if let Resource::Of(name, milli) = resource
                && resources.insert(name.clone(), whole(*milli)).is_some()
            {
                return Err(Problem::usage(format!("resource {name} is named twice"))
                    .hint("say once how much of it"));
            }
        }
        let (cpus, cpus_but) = match self.cpus {
            Some(Cpus::Of(milli)) => (Some(whole(milli)), None),
            Some(Cpus::AllBut(milli)) => (None, Some(whole(milli))),
            None => (None, None),
        };
        let sizes = self.memory.iter().copied().filter(|bytes| *bytes > 0);
        Ok(EditWords {
            name: self.name,
            priority: self.priority,
            cpus,
            cpus_but,
            memory: (!self.memory.is_empty()).then(|| sizes.collect()),
            resources: (!self.resource.is_empty()).then_some(resources),
            hosts: self.host,
            platform: self.platform,
            queue: self.queue,
        })
    }
}

/// Changes tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let Options {
        which,
        states,
        stated,
    } = options;
    let which = which.some(states)?;
    let mut client = context.connect()?;
    let stated = match stated == Stated::default() {
        false => stated,
        true => {
            let ([id], false) = (&which.ids[..], which.narrows()) else {
                return Err(
                    Problem::usage("an editor is for one task; say what to change")
                        .hint("try 'aque edit --help'"),
                );
            };
            match in_editor(&mut client, id)? {
                Some(stated) => stated,
                None => {
                    context.remark("aque: nothing was changed");
                    return Ok(0);
                }
            }
        }
    };
    let named = named(&which);
    let edits = stated.words()?;
    let edited = client.want(Call::Edit {
        which,
        edits: Box::new(edits),
    })?;
    if context.form == Form::Json {
        context.json(&edited)?;
    }
    if edited.asked == 0
        && let [line] = &edited.ended[..]
    {
        let what = format!(
            "{} is {}: only what has not started can be edited",
            line.id, line.state
        );
        return Err(Problem::failed(what).hint("see 'aque status'"));
    }
    if edited.asked == 0 {
        let what = format!("nothing in {named} can be edited: all of it has started");
        return Err(Problem::failed(what).hint("see 'aque status'"));
    }
    for line in &edited.ended {
        context.remark(&format!(
            "aque: {} is {}, and stays as it is",
            line.id, line.state
        ));
    }
    context.remark(&format!("aque: {} edited", count(edited.asked, "task")));
    Ok(0)
}

/// Opens an editor on what can be changed of a task, again and again until it makes sense; nothing if nothing was changed.
fn in_editor(client: &mut Client, id: &str) -> Result<Option<Stated>, Problem> {
    let failed = |error: std::io::Error| Problem::failed(format!("cannot edit: {error}"));
    let details = client.show(vec![id.to_owned()])?;
    let Some(detail) = details.tasks.first() else {
        return Ok(None);
    };
    let dir = tempfile::Builder::new().prefix("aque-").tempdir();
    let path = dir.as_ref().map(|dir| dir.path().join("task.toml"));
    let path = path.map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let first = shown(detail);
    let before = File::parse(path.clone(), &first, &command());
    let mut text = first;
    loop {
        std::fs::write(&path, &text).map_err(failed)?;
        open_editor(&path)?;
        let saved = std::fs::read_to_string(&path).map_err(failed)?;
        let edited = without_remarks(&saved);
        let after = File::parse(path.clone(), &edited, &command());
        let amiss = match after.problems.is_empty() {
            false => after.problems,
            true => match parsed(after.words_besides(&before)) {
                Ok(stated) => return Ok(Some(stated).filter(|of| *of != Stated::default())),
                Err(what) => vec![Amiss { line: None, what }],
            },
        };
        let told = amiss.iter().map(|amiss| match amiss.line {
            Some(line) => format!("line {line}: {}", amiss.what),
            None => amiss.what.clone(),
        });
        let told = told.collect::<Vec<_>>().join("; ");
        if saved == text {
            return Err(Problem::failed(told).hint("nothing was changed"));
        }
        note(&harmless(&format!("aque: {told}")));
        text = with_remarks(&edited, &amiss);
    }
}

/// The command line of what stands in the editor.
#[derive(Debug, Parser)]
#[command(name = "aque edit")]
struct Line {
    #[command(flatten)]
    stated: Stated,
}

fn command() -> clap::Command {
    <Line as clap::CommandFactory>::command()
}

fn parsed(words: Vec<String>) -> Result<Stated, String> {
    let words = std::iter::once("aque edit".to_owned()).chain(words);
    let line = Line::try_parse_from(words);
    line.map(|line| line.stated).map_err(|error| {
        let text = error.render().to_string();
        text.lines().next().unwrap_or_default().to_owned()
    })
}

fn open_editor(path: &PathBuf) -> Result<(), Problem> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".into());
    let mut script = editor.clone();
    // As with git: the variable is a command with its options.
    script.push(" \"$1\"");
    let status = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg("aque")
        .arg(path)
        .status();
    let name = editor.to_string_lossy().into_owned();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(
            Problem::failed(format!("the editor {name} failed ({status})"))
                .hint("nothing was changed; set EDITOR to the one that you use"),
        ),
        Err(error) => Err(Problem::failed(format!(
            "cannot start a shell for {name}: {error}"
        ))),
    }
}

/// What can be changed of a task, as it is.
fn shown(detail: &Detail) -> String {
    let line = &detail.line;
    let requires = &detail.requires;
    let cpus = match requires.cpus_but {
        Some(0.0) => "\"all\"".to_owned(),
        Some(but) => format!("-{but}"),
        None => (f64::from(detail.needs.cpu_milli) / 1_000.0).to_string(),
    };
    let sizes = std::iter::once(detail.needs.memory_bytes).chain(requires.memory_ladder.clone());
    let sizes = sizes.filter(|bytes| *bytes > 0).map(exact_size);
    let resources = requires.resources.iter();
    let resources = resources.map(|(name, amount)| format!("{name}={amount}"));
    let mut text = format!(
        "# {}: {}\n# What is changed here is changed; what is taken out stays as it is. See 'aque edit --help'.\n",
        harmless(&line.id),
        harmless(&line.command),
    );
    let rows = [
        ("name", quoted(line.name.as_deref().unwrap_or_default())),
        ("priority", line.priority.to_string()),
        ("cpus", cpus),
        ("memory", list(sizes)),
        ("resource", list(resources)),
        ("host", quoted(&requires.hosts)),
        ("platform", quoted(&requires.platform)),
        ("queue", quoted(line.queue.as_deref().unwrap_or_default())),
    ];
    for (key, value) in rows {
        // Writing to a string cannot fail.
        let _done = writeln!(text, "{key} = {value}");
    }
    text
}

/// What JSON quotes, TOML reads alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(texts: impl Iterator<Item = String>) -> String {
    let quoted: Vec<String> = texts.map(|text| quoted(&text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A size that is read as just so many bytes.
fn exact_size(bytes: u64) -> String {
    let units = [
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| bytes.is_multiple_of(*unit));
    whole.map_or_else(
        || bytes.to_string(),
        |(unit, name)| format!("{}{name}", bytes / unit),
    )
}

/// The mark of a line that says what is amiss with the one above.
const REMARK: &str = "#! ";

fn without_remarks(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with(REMARK));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

fn with_remarks(text: &str, amiss: &[Amiss]) -> String {
    let mut told = String::new();
    let remark = |told: &mut String, at: Option<usize>| {
        for amiss in amiss.iter().filter(|amiss| amiss.line == at) {
            *told += REMARK;
            *told += &amiss.what;
            *told += "\n";
        }
    };
    remark(&mut told, None);
    for (place, line) in text.lines().enumerate() {
        told += line;
        told += "\n";
        remark(&mut told, Some(place + 1));
    }
    told
}

#[cfg(test)]
mod tests {
    use crdt::task::{Arg, Needs, TaskState};

    use super::super::task::tests::line;
    use super::*;
    use crate::api::wire::{Life, Requirements, TaskLine};

    fn detail() -> Detail {
        Detail {
            line: TaskLine {
                name: Some("a \"b\"".into()),
                ..line("k3v7qa-1", TaskState::Pending)
            },
            argv: vec![Arg::from("true")],
            cwd: Arg::from("/"),
            needs: Needs {
                cpu_milli: 1_500,
                memory_bytes: 4_000_000_000,
            },
            retries: 0,
            on_lost: Default::default(),
            on_partition: Default::default(),
            life: Life::default(),
            requires: Requirements {
                resources: [("gpu".to_owned(), 0.5)].into(),
                memory_ladder: vec![8 << 30],
                hosts: "a,b".into(),
                ..Requirements::default()
            },
            as_group: None,
            submitter: None,
            committee: Vec::new(),
            registers: Vec::new(),
            attempts: Vec::new(),
            call: false,
            limits: None,
            usage: None,
            stdout: None,
            stderr: None,
        }
    }

    fn read(text: &str) -> File {
        File::parse("t".into(), text, &command())
    }

    #[test]
    fn what_is_shown_is_read_as_it_is() {
        let text = shown(&detail());
        assert_eq!(
            text,
            "\
# k3v7qa-1: true
# What is changed here is changed; what is taken out stays as it is. See 'aque edit --help'.
name = \"a \\\"b\\\"\"
priority = 1000
cpus = 1.5
memory = [\"4GB\", \"8GiB\"]
resource = [\"gpu=0.5\"]
host = \"a,b\"
platform = \"\"
queue = \"\"
"
        );
        let file = read(&text);
        assert!(file.problems.is_empty(), "{:?}", file.problems);
        assert_eq!(parsed(file.words_besides(&file)), Ok(Stated::default()));
        let all = parsed(file.words_besides(&read(""))).map(Stated::words);
        let Ok(Ok(words)) = all else {
            panic!("{all:?}")
        };
        assert_eq!(words.memory, Some(vec![4_000_000_000, 8 << 30]));
        assert_eq!((words.cpus, words.cpus_but), (Some(1.5), None));
        assert_eq!(words.resources, Some([("gpu".to_owned(), 0.5)].into()));
        assert_eq!(words.platform.as_deref(), Some(""));
    }

    #[test]
    fn what_was_changed_is_what_is_asked() {
        let text = shown(&detail());
        let changed = text
            .replace("cpus = 1.5", "cpus = -1")
            .replace("[\"gpu=0.5\"]", "[]")
            .replace("memory = [\"4GB\", \"8GiB\"]\n", "")
            .replace("host = \"a,b\"", "host = \"\"");
        let stated = parsed(read(&changed).words_besides(&read(&text)));
        let words = stated.map(Stated::words);
        let Ok(Ok(words)) = words else {
            panic!("{words:?}")
        };
        let wanted = EditWords {
            cpus_but: Some(1.0),
            resources: Some(BTreeMap::new()),
            hosts: Some(String::new()),
            ..EditWords::default()
        };
        assert_eq!(words, wanted);
    }

    #[test]
    fn what_is_amiss_stands_below_its_line() {
        let text = "pirority = 3\ncpus = true\nhost = \"a,,b\"\nqueue = 4\n";
        let file = read(text);
        let told = with_remarks(text, &file.problems);
        assert_eq!(
            told,
            "\
pirority = 3
#! unknown key pirority; do you mean priority?
cpus = true
#! cpus is a string or a number, not of type boolean
host = \"a,,b\"
#! host: \"a,,b\": a pattern is empty
queue = 4
#! queue is a string, not of type integer
"
        );
        assert_eq!(without_remarks(&told), text);
    }
}
