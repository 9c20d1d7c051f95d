//! The node's settings: flags, then environment, then a TOML file with the same names ([`file`]), then defaults. Every problem is
//! listed at once.

pub(crate) mod file;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use crdt::config::Offer;
use crdt::time::Timing;
use file::{File, Places};
use net::Ticket;
use tracing_subscriber::EnvFilter;

use crate::guard::Cgroups;

/// The port on which a node listens unless told otherwise.
pub const PORT: u16 = 4747;

/// The daemon of one host: runs tasks, votes on claims, keeps copies.
///
/// The first start makes a mesh of one host; `--join TICKET` joins the mesh that printed the ticket.
#[derive(Debug, Parser)]
#[command(name = "aque-node", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do instead of starting.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Settings.
    #[command(flatten)]
    pub flags: Flags,
}

const EXAMPLES: &str = "\
Examples:
  aque-node                          start; makes a mesh of one host at the first start
  aque-node --join aque1…            start, and join the mesh that printed the ticket
  aque-node --listen 10.0.0.5:4747   listen on one address only
  aque-node --cpus 0                 run no tasks, but vote and keep copies
  aque-node --to-end --idle-exit 10m work on what there is, and leave

Signals:
  TERM, INT   take no more work, let tasks end for --grace, leave; again: at once
  HUP         execute the program on disk in this one's place; tasks go on and do not notice
  USR1        take no more work, and stay a peer; again: take work";

/// What to do instead of starting.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a mesh of one host without starting.
    Init,
    /// Joins a mesh without starting.
    Join {
        /// The ticket, as `aque invite` printed it.
        ticket: String,
    },
    /// Says, as JSON, which formats this program understands and where it would work with these settings; changes nothing.
    #[command(hide = true)]
    Formats,
}

/// Settings as flags; those not given come from the environment or the file.
#[derive(Debug, Default, Clone, Args)]
pub struct Flags {
    /// Where identity, documents and outputs live; nobody else reads it, one daemon at a time
    #[arg(long, value_name = "DIR", env = "AQUE_DATA", global = true)]
    pub data: Option<PathBuf>,
    /// What people call this host [default: the host's name]
    #[arg(long, global = true)]
    pub name: Option<String>,
    /// IP:PORT (TCP and QUIC) or a multiaddr; port 0 = any free port [default: port 4747 on all addresses]
    #[arg(long, value_name = "ADDR", global = true)]
    pub listen: Vec<String>,
    /// Join the mesh that printed this ticket; remembered, needed once
    #[arg(long, value_name = "TICKET", global = true)]
    pub join: Vec<String>,
    /// Do not look for peers on the local network
    #[arg(long, global = true)]
    pub no_mdns: bool,
    /// The socket to which `aque` connects
    #[arg(long, value_name = "SOCKET", global = true)]
    pub api: Option<PathBuf>,
    /// Processors offered to tasks; 0 = run none [default: what the machine has]
    #[arg(allow_negative_numbers = true, long, value_name = "N", global = true)]
    pub cpus: Option<f64>,
    /// Memory offered to tasks, such as 16G [default: what the machine has]
    #[arg(long, value_name = "SIZE", global = true)]
    pub memory: Option<String>,
    /// A named resource that tasks may take, and how much there is of it, such as gpu=2 or licence=0.5
    #[arg(short, long, value_name = "NAME=N", global = true)]
    pub resource: Vec<String>,
    /// How often leases are renewed, unless the mesh's settings say otherwise [default: 1s]
    #[arg(long, value_name = "DUR", global = true)]
    pub heartbeat: Option<String>,
    /// How long a hold lasts without renewal, unless the mesh's settings say otherwise [default: 6s]
    #[arg(long, value_name = "DUR", global = true)]
    pub lease: Option<String>,
    /// Bound on any clock's rate error, parts per million [default: 10000]
    #[arg(long, value_name = "PPM", global = true)]
    pub drift: Option<u32>,
    /// Peers whose majority decides a claim: 1, 3 or 5 [default: 3]
    #[arg(long, value_name = "N", global = true)]
    pub committee: Option<u8>,
    /// How long a host may be silent until others take its places in committees [default: 10m]
    #[arg(long, value_name = "DUR", global = true)]
    pub replace_after: Option<String>,
    /// Hold a task of which so many runs were lost with their hosts until somebody releases it; 0 = never [default: 5]
    #[arg(long, value_name = "N", global = true)]
    pub lost_limit: Option<u32>,
    /// Keep so much of each output of a run; of longer ones the middle is cut out, 0 = keep all [default: 1GiB]
    #[arg(long, value_name = "SIZE", global = true)]
    pub output_limit: Option<String>,
    /// How long tasks may go on after TERM [default: 10s]
    #[arg(long, value_name = "DUR", global = true)]
    pub grace: Option<String>,
    /// Whether each task gets a cgroup, by which all that it starts is killed with it, where this node may make one [default: auto]
    #[arg(long, value_name = "WHICH", global = true)]
    pub cgroups: Option<Cgroups>,
    /// Run one task, then leave
    #[arg(long, global = true)]
    pub one: bool,
    /// Leave when nothing is left in the mesh that this host could run
    #[arg(long, global = true)]
    pub to_end: bool,
    /// Leave when nothing has run here for so long
    #[arg(long, value_name = "DUR", global = true)]
    pub idle_exit: Option<String>,
    /// Settings file [default: $AQUE_CONFIG, $XDG_CONFIG_HOME/aque/node.toml, /etc/aque/node.toml]
    #[arg(long, value_name = "FILE", env = "AQUE_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// What to log, such as info or node=debug [default: info]
    #[arg(long, value_name = "FILTER", env = "AQUE_LOG", global = true)]
    pub log: Option<String>,
    /// How to log, on standard error
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// What a node waits for before it leaves of its own accord: the first of these that comes true; none for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// One task has been run.
    pub one: bool,
    /// Nothing is left that this host could run.
    pub to_end: bool,
    /// Nothing has run here for so long.
    pub idle: Option<Duration>,
}

/// Settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Data directory, absolute.
    pub data: PathBuf,
    /// What people call this host.
    pub name: String,
    /// Where to listen.
    pub listen: Vec<net::Multiaddr>,
    /// Tickets.
    pub join: Vec<Ticket>,
    /// Look for peers on the local network.
    pub mdns: bool,
    /// The API's socket.
    pub api: PathBuf,
    /// What is offered to tasks.
    pub offer: Offer,
    /// Lease times.
    pub timing: Timing,
    /// Committee size.
    pub committee: u8,
    /// How long a host may be silent until others take its places in committees.
    pub replace_after: Duration,
    /// A task of which so many runs were lost with their hosts waits for a person; 0 = none does.
    pub most_losses: u32,
    /// How much of each output of a run is kept; `None` = all.
    pub output_limit: Option<u64>,
    /// How long tasks may go on after TERM.
    pub grace: Duration,
    /// Until when it stays.
    pub until: Until,
    /// Whether runs get cgroups.
    pub cgroups: Cgroups,
    /// Log filter.
    pub log: String,
    /// Log format.
    pub log_format: LogFormat,
}

/// What a command line, with its environment and settings file, comes to.
#[derive(Debug)]
pub struct Chosen {
    /// What to do instead of starting.
    pub verb: Option<Verb>,
    /// How.
    pub settings: Settings,
}

/// Why a command line comes to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Misused {
    /// It cannot be read; or help was asked for.
    #[error(transparent)]
    Words(#[from] clap::Error),
    /// It can be read, and something in it or in the settings file is wrong.
    #[error(transparent)]
    Settings(#[from] Problems),
}

impl Cli {
    /// Reads a command line, the program's name first, and the settings file that belongs to it.
    ///
    /// # Errors
    /// [`Misused`].
    pub fn choose(
        words: &[OsString],
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Chosen, Misused> {
        let options = Self::command();
        let first = Self::from_arg_matches(&options.clone().try_get_matches_from(words)?)?;
        let path = absolute(&var);
        let file = File::find(first.flags.config.as_deref(), &path, &options);
        let with_file = file.as_defaults(options.clone());
        let matches = with_file.try_get_matches_from(words)?;
        let Self { verb, mut flags } = Self::from_arg_matches(&matches)?;
        let places = file.places(&matches, &options);
        if let Some(Verb::Join { ticket }) = &verb {
            if places.has("join") {
                flags.join.clear();
            }
            flags.join.push(ticket.clone());
        }
        let mut problems: Vec<String> = file.told().collect();
        match flags.settle(&var, &places) {
            Ok(settings) if problems.is_empty() => Ok(Chosen { verb, settings }),
            Ok(_) => Err(Problems(problems).into()),
            Err(Problems(more)) => {
                problems.extend(more);
                Err(Problems(problems).into())
            }
        }
    }
}

/// Returns what reads variables that hold absolute paths; others do not count, as the XDG rules have it.
fn absolute(var: &impl Fn(&str) -> Option<OsString>) -> impl Fn(&str) -> Option<PathBuf> {
    move |name| {
        var(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }
}

/// Every problem of the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(pub Vec<String>);

impl Flags {
    /// Checks the settings in force. `places` says which of them come from a file.
    fn settle(
        self,
        var: &impl Fn(&str) -> Option<OsString>,
        places: &Places,
    ) -> Result<Settings, Problems> {
        let mut problems = Vec::new();
        let path = absolute(var);
        let data = self.data.unwrap_or_else(|| default_data(&path));
        let data = std::path::absolute(&data).unwrap_or(data);
        let api = self.api.unwrap_or_else(|| {
            let runtime = path("XDG_RUNTIME_DIR").filter(|_| var("AQUE_DATA").is_none());
            runtime.unwrap_or_else(|| data.clone()).join("aque.sock")
        });
        let name = self.name.unwrap_or_else(host_name);
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            problems.push(format!(
                "{} {name:?}: 1 to 64 bytes, no control characters",
                places.of("name")
            ));
        }
        let listen = listen(self.listen, &places.of("listen"), &mut problems);
        let join = tickets(self.join, &places.of("join"), &mut problems);
        let offer = Offer {
            cpu_milli: cpus(self.cpus, &places.of("cpus"), &mut problems),
            memory_bytes: memory(self.memory, &places.of("memory"), &mut problems),
            resources: resources(&self.resource, &places.of("resource"), &mut problems),
        };
        let place = places.of("output-limit");
        let output_limit = output_limit(self.output_limit, &place, &mut problems);
        let committee = self.committee.unwrap_or(3);
        if ![1, 3, 5].contains(&committee) {
            problems.push(format!(
                "{} {committee}: it is 1, 3 or 5",
                places.of("committee")
            ));
        }
        let mut span = |text: Option<String>, key: &str, default: Duration| match text {
            None => default,
            Some(text) => humantime::parse_duration(&text).unwrap_or_else(|error| {
                let place = places.of(key);
                problems.push(format!("{place} {text:?}: {error} (such as 500ms, 6s, 1m)"));
                default
            }),
        };
        let heartbeat = span(self.heartbeat, "heartbeat", Duration::from_secs(1));
        let lease = span(self.lease, "lease", Duration::from_secs(6));
        let grace = span(self.grace, "grace", Duration::from_secs(10));
        let replace_after = span(
            self.replace_after,
            "replace-after",
            Duration::from_secs(600),
        );
        let idle = self.idle_exit;
        let until = Until {
            one: self.one,
            to_end: self.to_end,
            idle: idle.map(|text| span(Some(text), "idle-exit", Duration::ZERO)),
        };
        let timing = Timing::with_lease(heartbeat, lease, self.drift.unwrap_or(10_000));
        problems.extend(timing.problems().iter().map(ToString::to_string));
        if replace_after < lease {
            problems.push(format!(
                "{} {}: must be at least the lease, {}: a host is silent for that long without harm",
                places.of("replace-after"),
                humantime::format_duration(replace_after),
                humantime::format_duration(lease)
            ));
        }
        let log = self.log.unwrap_or_else(|| "info".to_owned());
        if let Err(error) = EnvFilter::builder().parse(&log) {
            problems.push(format!("{} {log:?}: {error}", places.of("log")));
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Settings {
            data,
            name,
            listen,
            join,
            mdns: !self.no_mdns,
            api: std::path::absolute(&api).unwrap_or(api),
            offer,
            timing,
            committee,
            replace_after,
            most_losses: self.lost_limit.unwrap_or(5),
            output_limit,
            grace,
            until,
            cgroups: self.cgroups.unwrap_or_default(),
            log,
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

fn default_data(path: &impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/aque");
    }
    let base = path("XDG_DATA_HOME").or_else(|| Some(path("HOME")?.join(".local/share")));
    base.unwrap_or_else(|| PathBuf::from("/tmp")).join("aque")
}

fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        "host".to_owned()
    } else {
        name
    }
}

fn listen(list: Vec<String>, place: &str, problems: &mut Vec<String>) -> Vec<net::Multiaddr> {
    let list = if list.is_empty() {
        vec![format!("0.0.0.0:{PORT}"), format!("[::]:{PORT}")]
    } else {
        list
    };
    let mut found = Vec::new();
    for text in list {
        match net::parse_listen(&text) {
            Ok(addresses) => found.extend(addresses),
            Err(error) => problems.push(format!("{place} {text:?}: {error}")),
        }
    }
    found
}

fn tickets(list: Vec<String>, place: &str, problems: &mut Vec<String>) -> Vec<Ticket> {
    let mut found: Vec<Ticket> = Vec::new();
    for text in list {
        match text.parse::<Ticket>() {
            Ok(ticket) => found.push(ticket),
            Err(error) => problems.push(format!("{place}: {error}")),
        }
    }
    if found
        .windows(2)
        .any(|pair| pair[0].secret != pair[1].secret)
    {
        problems.push(format!("{place}: the tickets are of different meshes"));
    }
    found
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
fn cpus(wanted: Option<f64>, place: &str, problems: &mut Vec<String>) -> u32 {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let all = u32::try_from(all * 1_000).unwrap_or(u32::MAX);
    match wanted {
        None => all,
        Some(n) if (0.0..=100_000.0).contains(&n) => (n * 1_000.0).round() as u32,
        Some(n) => {
            problems.push(format!("{place} {n}: it is 0 to 100000"));
            all
        }
    }
}

/// The most named resources of a host.
const MOST_RESOURCES: usize = 64;

fn resources(words: &[String], place: &str, problems: &mut Vec<String>) -> Vec<(String, u32)> {
    let mut found = BTreeMap::new();
    for word in words {
        match amount(word) {
            Ok((name, milli)) => {
                if found.insert(name, milli).is_some() {
                    problems.push(format!("{place} {word}: it is stated twice"));
                }
            }
            Err(why) => problems.push(format!("{place} {word:?}: {why}")),
        }
    }
    if found.len() > MOST_RESOURCES {
        problems.push(format!("{place}: at most {MOST_RESOURCES} of them"));
    }
    found.into_iter().collect()
}

/// Parses an amount of a named resource, `gpu=2`, into thousandths; without a number it is one.
///
/// # Errors
/// What is wrong, as it goes on after the word.
pub fn amount(word: &str) -> Result<(String, u32), String> {
    let (name, number) = word.split_once('=').unwrap_or((word, "1"));
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err("a resource is named by letters, digits and _, such as gpu=1".to_owned());
    }
    let wrong = || "write an amount as gpu=2 or gpu=0.5, at most 10000".to_owned();
    let amount: f64 = number.parse().map_err(|_| wrong())?;
    if !(0.001..=10_000.0).contains(&amount) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked before"
    )]
    let milli = (amount * 1_000.0).round() as u32;
    Ok((name.to_owned(), milli))
}

/// A limit below what a file system cuts out is none.
const LEAST_OUTPUT: u64 = 64 << 10;

fn output_limit(wanted: Option<String>, place: &str, problems: &mut Vec<String>) -> Option<u64> {
    let text = wanted.unwrap_or_else(|| "1GiB".to_owned());
    match text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()) {
        Ok(0) => None,
        Ok(bytes) if bytes >= LEAST_OUTPUT => Some(bytes),
        Ok(_) | Err(_) => {
            problems.push(format!(
                "{place} {text:?}: a size of 64KiB at least, such as 1GiB, or 0"
            ));
            None
        }
    }
}

fn memory(wanted: Option<String>, place: &str, problems: &mut Vec<String>) -> u64 {
    let info = rustix::system::sysinfo();
    #[expect(
        clippy::useless_conversion,
        reason = "the C type differs between machines"
    )]
    let all = u64::from(info.totalram as u64) * u64::from(info.mem_unit);
    match wanted {
        None => all,
        Some(text) => match text.parse::<bytesize::ByteSize>() {
            Ok(size) => size.as_u64(),
            Err(_) => {
                problems.push(format!("{place} {text:?}: a size such as 512M or 16G"));
                all
            }
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::path::Path;

    use super::*;

    fn choose(words: &[&str]) -> Result<Settings, Misused> {
        let words: Vec<OsString> = ["aque-node"].iter().chain(words).map(Into::into).collect();
        let var = |name: &str| (name == "HOME").then(|| "/nowhere".into());
        Cli::choose(&words, var).map(|chosen| chosen.settings)
    }

    fn problems(words: &[&str]) -> Vec<String> {
        match choose(words).unwrap_err() {
            Misused::Settings(Problems(problems)) => problems,
            Misused::Words(error) => panic!("{error}"),
        }
    }

    /// A settings file and the words that name it.
    fn with_file<T>(text: &str, then: impl FnOnce(&Path, &[&str]) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        then(&path, &["--config", path.to_str().unwrap()])
    }

    #[test]
    fn every_problem_is_listed() {
        let words = [
            "--listen=here",
            "--join=aque1x",
            "--cpus=-1",
            "--memory=lots",
            "--committee=2",
            "--lease=soon",
            "--log=a=b=c",
        ];
        let problems = problems(&words);
        assert_eq!(problems.len(), words.len(), "{problems:?}");
    }

    #[test]
    fn unsafe_times_are_refused_with_the_formula() {
        let problems = problems(&["--lease", "2s"]).join(" ");
        assert!(problems.contains("must exceed 3 heartbeats"), "{problems}");
    }

    #[test]
    fn a_file_is_read_and_flags_win() {
        let text = "name = \"file\"\ncommittee = 5\nno-mdns = true\ncgroups = \"off\"\ncpus = 1.5\nlisten = [\"[::1]:1\", \"127.0.0.1:2\"]\ngrace = '1m'\n";
        with_file(text, |_, named| {
            let settings = choose(named).unwrap();
            assert_eq!((settings.name.as_str(), settings.committee), ("file", 5));
            assert_eq!((settings.mdns, settings.cgroups), (false, Cgroups::Off));
            assert_eq!(settings.offer.cpu_milli, 1_500);
            assert_eq!(settings.listen.len(), 4);
            assert_eq!(settings.grace, Duration::from_secs(60));
            let words = ["--name", "flag", "--cgroups", "auto", "--listen", "[::]:3"];
            let settings = choose(&[named, &words].concat()).unwrap();
            assert_eq!((settings.name.as_str(), settings.committee), ("flag", 5));
            assert_eq!(settings.cgroups, Cgroups::Auto);
            assert_eq!(settings.listen.len(), 2, "a list wins as a whole");
        });
        with_file("data = \"/of/the/file\"\n", |_, named| {
            assert_eq!(choose(named).unwrap().data, Path::new("/of/the/file"));
            let settings = choose(&[named, &["--data", "/of/the/flag"]].concat()).unwrap();
            assert_eq!(settings.data, Path::new("/of/the/flag"));
        });
    }

    #[test]
    fn every_problem_of_a_file_is_told_with_its_line() {
        let text = "# a comment\nname = 5\ncommitte = 3\nlease = \"soon\"\n\ndrift = \"much\"\nmemory = \"lots\"\ncgroups = \"v3\"\ncommittee = 2\nconfig = \"other\"\nno-mdns = 1\ndrift = 7\nlisten = [1]\n[table]\nkey = 1\n";
        with_file(text, |path, named| {
            let said = problems(&[named, &["--cpus=-1"]].concat());
            let place = format!("{}:", path.display());
            let said: Vec<String> = said.iter().map(|line| line.replace(&place, "")).collect();
            let expected = [
                "2: name is a string, not of type integer",
                "3: unknown key committe; do you mean committee?",
                "6: drift is a whole number, not of type string",
                "8: cgroups: \"v3\" is none of auto, v2, v1, off",
                "10: config is for the command line only",
                "11: no-mdns is true or false, not of type integer",
                "12: duplicate key",
                "13: listen is a list of strings, not of type array",
                "14: unknown key table; the keys are the long options that 'aque-node --help' lists",
                "--cpus -1: it is 0 to 100000",
                "7: memory \"lots\": a size such as 512M or 16G",
                "9: committee 2: it is 1, 3 or 5",
                "4: lease \"soon\": expected number at 0 (such as 500ms, 6s, 1m)",
            ];
            assert_eq!(said, expected);
        });
    }

    #[test]
    fn a_value_that_a_flag_replaces_does_no_harm_unless_it_is_of_a_wrong_type() {
        with_file("lease = \"soon\"\n", |_, named| {
            assert_eq!(
                choose(&[named, &["--lease", "8s"]].concat())
                    .unwrap()
                    .timing
                    .lease,
                Duration::from_secs(8)
            );
        });
        with_file("drift = -1\n", |_, named| {
            let said = problems(&[named, &["--drift", "100"]].concat());
            assert!(said[0].contains("1: drift: \"-1\": "), "{said:?}");
        });
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        let said = problems(&["--config", "/no/such/file"]);
        assert!(
            said.len() == 1 && said[0].starts_with("/no/such/file: No such file"),
            "{said:?}"
        );
        let said = with_file("name = one\n= 3\ncommittee = 4\n", |_, named| {
            problems(named)
        });
        let lines: Vec<&str> = said
            .iter()
            .filter_map(|line| line.split(':').nth(1))
            .collect();
        assert_eq!(lines, ["1", "2", "3"], "{said:?}");
    }

    #[test]
    fn every_setting_may_stand_in_a_file() {
        let options = Cli::command();
        let long: Vec<&str> = options
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .collect();
        assert!(long.len() > 15, "{long:?}");
        for key in long {
            let value = match key {
                "config" => continue,
                "no-mdns" | "one" | "to-end" => "true",
                "committee" | "lost-limit" => "3",
                "drift" | "cpus" => "100",
                "listen" | "join" | "resource" => "[]",
                "cgroups" => "\"auto\"",
                "log-format" => "\"json\"",
                "memory" | "output-limit" => "\"1G\"",
                "heartbeat" => "\"1s\"",
                _ => "\"10s\"",
            };
            with_file(&format!("{key} = {value}\n"), |_, named| {
                assert!(choose(named).is_ok(), "{key}: {:?}", choose(named));
            });
        }
    }
}
