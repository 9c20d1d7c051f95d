//! The node's settings: flags, then environment, then a TOML file with the same names, then defaults. Every problem is listed
//! at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use crdt::config::Offer;
use crdt::time::Timing;
use net::Ticket;
use serde::Deserialize;

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
    /// Where identity, documents and outputs live; mode 0700, one daemon at a time
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
    /// How often leases are renewed; the same on every host of a mesh [default: 1s]
    #[arg(long, value_name = "DUR", global = true)]
    pub heartbeat: Option<String>,
    /// How long a hold lasts without renewal; the same on every host of a mesh [default: 6s]
    #[arg(long, value_name = "DUR", global = true)]
    pub lease: Option<String>,
    /// Bound on any clock's rate error, parts per million; the same on every host of a mesh [default: 10000]
    #[arg(long, value_name = "PPM", global = true)]
    pub drift: Option<u32>,
    /// Peers whose majority decides a claim: 1, 3 or 5 [default: 3]
    #[arg(long, value_name = "N", global = true)]
    pub committee: Option<u8>,
    /// How long a host may be silent until others take its places in committees [default: 10m]
    #[arg(long, value_name = "DUR", global = true)]
    pub replace_after: Option<String>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The settings file: the flags' names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    name: Option<String>,
    #[serde(default)]
    listen: Vec<String>,
    #[serde(default)]
    join: Vec<String>,
    #[serde(default)]
    no_mdns: bool,
    api: Option<PathBuf>,
    cpus: Option<f64>,
    memory: Option<String>,
    heartbeat: Option<String>,
    lease: Option<String>,
    drift: Option<u32>,
    committee: Option<u8>,
    replace_after: Option<String>,
    grace: Option<String>,
    #[serde(default)]
    one: bool,
    #[serde(default)]
    to_end: bool,
    idle_exit: Option<String>,
    cgroups: Option<Cgroups>,
    log: Option<String>,
    log_format: Option<LogFormat>,
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

/// Every problem of the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(pub Vec<String>);

impl Flags {
    /// Merges flags, environment and file, and checks all of it.
    ///
    /// # Errors
    /// Every problem found.
    pub fn settle(self, var: impl Fn(&str) -> Option<OsString>) -> Result<Settings, Problems> {
        let mut problems = Vec::new();
        let path = |name: &str| {
            var(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let file = match read_file(self.config.as_deref(), &path) {
            Ok(file) => file,
            Err(problem) => return Err(Problems(vec![problem])),
        };
        let data = self
            .data
            .or(file.data)
            .unwrap_or_else(|| default_data(&path));
        let data = std::path::absolute(&data).unwrap_or(data);
        let api = self.api.or(file.api).unwrap_or_else(|| {
            let runtime = path("XDG_RUNTIME_DIR").filter(|_| var("AQUE_DATA").is_none());
            runtime.unwrap_or_else(|| data.clone()).join("aque.sock")
        });
        let name = self.name.or(file.name).unwrap_or_else(host_name);
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            problems.push(format!(
                "--name {name:?}: 1 to 64 bytes, no control characters"
            ));
        }
        let listen = listen(first(self.listen, file.listen), &mut problems);
        let join = tickets(first(self.join, file.join), &mut problems);
        let offer = Offer {
            cpu_milli: cpus(self.cpus.or(file.cpus), &mut problems),
            memory_bytes: memory(self.memory.or(file.memory), &mut problems),
        };
        let committee = self.committee.or(file.committee).unwrap_or(3);
        if ![1, 3, 5].contains(&committee) {
            problems.push(format!("--committee {committee}: it is 1, 3 or 5"));
        }
        let mut span = |text: Option<String>, flag: &str, default: Duration| match text {
            None => default,
            Some(text) => humantime::parse_duration(&text).unwrap_or_else(|error| {
                problems.push(format!("{flag} {text:?}: {error} (such as 500ms, 6s, 1m)"));
                default
            }),
        };
        let heartbeat = span(
            self.heartbeat.or(file.heartbeat),
            "--heartbeat",
            Duration::from_secs(1),
        );
        let lease = span(self.lease.or(file.lease), "--lease", Duration::from_secs(6));
        let grace = span(
            self.grace.or(file.grace),
            "--grace",
            Duration::from_secs(10),
        );
        let replace_after = span(
            self.replace_after.or(file.replace_after),
            "--replace-after",
            Duration::from_secs(600),
        );
        let idle = self.idle_exit.or(file.idle_exit);
        let until = Until {
            one: self.one || file.one,
            to_end: self.to_end || file.to_end,
            idle: idle.map(|text| span(Some(text), "--idle-exit", Duration::ZERO)),
        };
        let timing = Timing::with_lease(
            heartbeat,
            lease,
            self.drift.or(file.drift).unwrap_or(10_000),
        );
        problems.extend(timing.problems().iter().map(ToString::to_string));
        if replace_after < lease {
            problems.push(format!(
                "--replace-after {}: must be at least the lease, {}: a host is silent for that long without harm",
                humantime::format_duration(replace_after),
                humantime::format_duration(lease)
            ));
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Settings {
            data,
            name,
            listen,
            join,
            mdns: !(self.no_mdns || file.no_mdns),
            api: std::path::absolute(&api).unwrap_or(api),
            offer,
            timing,
            committee,
            replace_after,
            grace,
            until,
            cgroups: self.cgroups.or(file.cgroups).unwrap_or_default(),
            log: self.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.or(file.log_format).unwrap_or_default(),
        })
    }
}

fn first(flags: Vec<String>, file: Vec<String>) -> Vec<String> {
    if flags.is_empty() { file } else { flags }
}

fn read_file(
    named: Option<&Path>,
    path: &impl Fn(&str) -> Option<PathBuf>,
) -> Result<File, String> {
    let home = path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")));
    let usual = [
        home.map(|home| home.join("aque/node.toml")),
        Some("/etc/aque/node.toml".into()),
    ];
    let found = match named {
        Some(named) => Some(named.to_owned()),
        None => usual
            .into_iter()
            .flatten()
            .find(|candidate| candidate.exists()),
    };
    let Some(found) = found else {
        return Ok(File::default());
    };
    let shown = found.display();
    let text = std::fs::read_to_string(&found).map_err(|error| format!("{shown}: {error}"))?;
    toml::from_str(&text).map_err(|error| format!("{shown}: {}", error.to_string().trim_end()))
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

fn listen(list: Vec<String>, problems: &mut Vec<String>) -> Vec<net::Multiaddr> {
    let list = if list.is_empty() {
        vec![format!("0.0.0.0:{PORT}"), format!("[::]:{PORT}")]
    } else {
        list
    };
    let mut found = Vec::new();
    for text in list {
        match net::parse_listen(&text) {
            Ok(addresses) => found.extend(addresses),
            Err(error) => problems.push(format!("--listen {text:?}: {error}")),
        }
    }
    found
}

fn tickets(list: Vec<String>, problems: &mut Vec<String>) -> Vec<Ticket> {
    let mut found: Vec<Ticket> = Vec::new();
    for text in list {
        match text.parse::<Ticket>() {
            Ok(ticket) => found.push(ticket),
            Err(error) => problems.push(format!("--join: {error}")),
        }
    }
    if found
        .windows(2)
        .any(|pair| pair[0].secret != pair[1].secret)
    {
        problems.push("--join: the tickets are of different meshes".to_owned());
    }
    found
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
fn cpus(wanted: Option<f64>, problems: &mut Vec<String>) -> u32 {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let all = u32::try_from(all * 1_000).unwrap_or(u32::MAX);
    match wanted {
        None => all,
        Some(n) if (0.0..=100_000.0).contains(&n) => (n * 1_000.0).round() as u32,
        Some(n) => {
            problems.push(format!("--cpus {n}: it is 0 to 100000"));
            all
        }
    }
}

fn memory(wanted: Option<String>, problems: &mut Vec<String>) -> u64 {
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
                problems.push(format!("--memory {text:?}: a size such as 512M or 16G"));
                all
            }
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn settle(flags: Flags) -> Result<Settings, Problems> {
        flags.settle(|name| (name == "HOME").then(|| "/nowhere".into()))
    }

    #[test]
    fn every_problem_is_listed() {
        let flags = Flags {
            listen: vec!["here".to_owned()],
            join: vec!["aque1x".to_owned()],
            cpus: Some(-1.0),
            memory: Some("lots".to_owned()),
            committee: Some(2),
            lease: Some("soon".to_owned()),
            ..Flags::default()
        };
        let Problems(problems) = settle(flags).unwrap_err();
        assert_eq!(problems.len(), 6, "{problems:?}");
    }

    #[test]
    fn unsafe_times_are_refused_with_the_formula() {
        let flags = Flags {
            lease: Some("2s".to_owned()),
            ..Flags::default()
        };
        let problems = settle(flags).unwrap_err().to_string();
        assert!(problems.contains("must exceed 3 heartbeats"), "{problems}");
    }

    #[test]
    fn a_file_is_read_and_flags_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(
            &path,
            "name = \"file\"\ncommittee = 5\nno-mdns = true\ncgroups = \"off\"\n",
        )
        .unwrap();
        let flags = Flags {
            config: Some(path.clone()),
            name: Some("flag".to_owned()),
            data: Some(dir.path().into()),
            ..Flags::default()
        };
        let settings = settle(flags.clone()).unwrap();
        assert_eq!(
            (settings.name.as_str(), settings.committee, settings.mdns),
            ("flag", 5, false)
        );
        assert_eq!(settings.cgroups, Cgroups::Off);
        let auto = Flags {
            cgroups: Some(Cgroups::Auto),
            ..flags.clone()
        };
        assert_eq!(settle(auto).unwrap().cgroups, Cgroups::Auto);
        std::fs::write(&path, "committe = 5\n").unwrap();
        assert!(settle(flags).unwrap_err().to_string().contains("committe"));
    }
}
