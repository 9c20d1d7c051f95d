//! Whether a host could ever run a task: what it must have, be and be called. Pure, and the same on every host that knows the same
//! of it; each host decides for itself, the others say why nobody can.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::config::Offer;
use crate::ids::Tag;
use crate::schedule::Demand;
use crate::settings::RootTasks;
use crate::task::TaskSpec;

/// The name of the user who may do everything.
pub const ROOT: &str = "root";

/// As whom a host can run tasks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RunsAs {
    /// As the user to whom each belongs.
    #[default]
    Anyone,
    /// As this user alone, and so that user's tasks alone.
    One(String),
}

/// A task for which a host is sought.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What it states.
    pub spec: &'a TaskSpec,
    /// It has run out of memory so often before.
    pub ooms: u32,
    /// The host at which it was submitted.
    pub author: Tag,
    /// Where the mesh lets tasks of root run.
    pub root_tasks: RootTasks,
}

/// What is known of a host.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Its tag.
    pub tag: Tag,
    /// Where it listens, as multiaddrs.
    pub addresses: &'a [String],
    /// Its system and machine: `linux/x86_64`.
    pub platform: &'a str,
    /// What it offers.
    pub offer: &'a Offer,
    /// As whom it can run tasks.
    pub runs_as: &'a RunsAs,
}

/// Why a host cannot run a task, whatever else it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Misfit {
    /// It offers no processor.
    RunsNothing,
    /// It has this many processors, in thousandths; the task needs that many.
    Cpus(u32, u32),
    /// It has so much memory, bytes; the task needs that much.
    Memory(u64, u64),
    /// It has so much of a resource, in thousandths; the task needs that much.
    Resource(String, u32, u32),
    /// It is another kind of machine.
    Platform(String),
    /// It is not among the hosts that the task asks for.
    NotAsked,
    /// It runs the tasks of one user, and the task is another's.
    OnlyOf(String),
    /// It runs tasks of one user as that user is, and the task asks for a group.
    Group(String),
    /// It looks users up by name, and the task's has none.
    Number(String),
    /// It runs tasks of root that were submitted there, and the task was submitted elsewhere.
    Root,
}

/// As it goes on after a host's name: `has 2 of 8 cpus`.
impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |milli: u32| f64::from(milli) / 1_000.0;
        match self {
            Self::RunsNothing => f.write_str("runs no tasks"),
            Self::Cpus(has, needs) => {
                write!(f, "has {} of {} cpus", whole(*has), whole(*needs))
            }
            Self::Memory(has, needs) => {
                let mib = |bytes: u64| bytes >> 20;
                write!(f, "has {} of {} MiB of memory", mib(*has), mib(*needs))
            }
            Self::Resource(name, has, needs) => {
                write!(f, "has {} of {} {name}", whole(*has), whole(*needs))
            }
            Self::Platform(is) => write!(f, "is {is}"),
            Self::NotAsked => f.write_str("is not asked for"),
            Self::OnlyOf(user) => write!(f, "runs only {user}'s tasks"),
            Self::Group(group) => write!(f, "cannot run it as group {group}"),
            Self::Number(user) => write!(f, "knows users by name, and {user} is a number"),
            Self::Root => f.write_str("takes no task of root from another host"),
        }
    }
}

/// Returns what a task takes of a host's room while it runs there, if it has run out of memory so often before.
#[must_use]
pub fn demand(spec: &TaskSpec, ooms: u32, offer: &Offer) -> Demand {
    let rungs = &spec.options.memory_ladder;
    let rung = rungs.iter().take(ooms as usize).next_back();
    let cpu_milli = match spec.options.cpus_but {
        Some(left) => offer.cpu_milli.saturating_sub(left),
        None => spec.needs.cpu_milli,
    };
    Demand {
        cpu_milli,
        memory_bytes: rung.copied().unwrap_or(spec.needs.memory_bytes),
        resources: spec.options.resources.clone(),
    }
}

/// Says why a host cannot run a task, if it cannot.
#[must_use]
pub fn misfit(case: &Case<'_>, host: &Host<'_>) -> Option<Misfit> {
    let Case { spec, ooms, .. } = *case;
    let Host { offer, .. } = host;
    if offer.cpu_milli == 0 {
        return Some(Misfit::RunsNothing);
    }
    let stranger = stranger(case, host);
    if stranger.is_some() {
        return stranger;
    }
    let Demand {
        cpu_milli,
        memory_bytes,
        resources,
    } = demand(spec, ooms, offer);
    if let Some(left) = spec.options.cpus_but.filter(|_| cpu_milli == 0) {
        // One processor and all but these.
        return Some(Misfit::Cpus(offer.cpu_milli, left.saturating_add(1_000)));
    }
    if cpu_milli > offer.cpu_milli {
        return Some(Misfit::Cpus(offer.cpu_milli, cpu_milli));
    }
    if memory_bytes > offer.memory_bytes {
        return Some(Misfit::Memory(offer.memory_bytes, memory_bytes));
    }
    let lacking = resources.into_iter().find_map(|(name, needs)| {
        let has = offer.of(&name);
        (needs > has).then_some(Misfit::Resource(name, has, needs))
    });
    if lacking.is_some() {
        return lacking;
    }
    let wanted = spec.options.platform.as_str();
    if !wanted.is_empty() && !is_platform(host.platform, wanted) {
        return Some(Misfit::Platform(host.platform.to_owned()));
    }
    let hosts = spec.options.hosts.as_str();
    let asked = hosts.is_empty()
        || hosts
            .parse::<HostPatterns>()
            .is_ok_and(|patterns| patterns.matches(host));
    (!asked).then_some(Misfit::NotAsked)
}

/// Says why a host does not run tasks as the user and group of this one, if it does not.
fn stranger(case: &Case<'_>, host: &Host<'_>) -> Option<Misfit> {
    let (user, group) = (&case.spec.user, &case.spec.options.as_group);
    let stays = case.root_tasks == RootTasks::Local && case.author != host.tag;
    match host.runs_as {
        RunsAs::One(own) if own != user => Some(Misfit::OnlyOf(own.clone())),
        RunsAs::One(_) if !group.is_empty() => Some(Misfit::Group(group.clone())),
        RunsAs::Anyone if is_number(user) => Some(Misfit::Number(user.clone())),
        RunsAs::One(_) | RunsAs::Anyone => (user == ROOT && stays).then_some(Misfit::Root),
    }
}

/// Says whether a user goes by a number: one that has no name on the host where a task was submitted. Another host may know
/// somebody else by that number.
#[must_use]
pub fn is_number(user: &str) -> bool {
    !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says whether a platform is the one that is wanted: `linux` is any machine with that system.
fn is_platform(is: &str, wanted: &str) -> bool {
    let system = is.split('/').next().unwrap_or_default();
    is.eq_ignore_ascii_case(wanted) || system.eq_ignore_ascii_case(wanted)
}

/// Hosts as people name them: patterns of names, tags and addresses, and blocks of addresses (CIDR), between commas; `!` takes away.
/// A list that only takes away means any other host.
#[derive(Clone, Debug)]
pub struct HostPatterns {
    wanted: Vec<Pattern>,
    barred: Vec<Pattern>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Text(WildMatch),
    Block(IpNet),
}

/// Why a text names no hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoHosts {
    /// There is nothing between two commas.
    #[error("a pattern is empty")]
    Empty,
    /// It has the form of a block of addresses and is none.
    #[error("{0} is no block of addresses, such as 10.0.0.0/8")]
    Block(String),
}

impl FromStr for HostPatterns {
    type Err = NoHosts;

    fn from_str(text: &str) -> Result<Self, NoHosts> {
        let (mut wanted, mut barred) = (Vec::new(), Vec::new());
        for word in text.split(',').map(str::trim) {
            let (list, word) = match word.strip_prefix('!') {
                Some(word) => (&mut barred, word.trim()),
                None => (&mut wanted, word),
            };
            list.push(match word {
                "" => return Err(NoHosts::Empty),
                _ if word.contains('/') => {
                    let block = word.parse();
                    Pattern::Block(block.map_err(|_| NoHosts::Block(word.to_owned()))?)
                }
                _ => Pattern::Text(WildMatch::new(&word.to_lowercase())),
            });
        }
        Ok(Self { wanted, barred })
    }
}

impl HostPatterns {
    /// Says whether a host is meant.
    #[must_use]
    pub fn matches(&self, host: &Host<'_>) -> bool {
        let addresses: Vec<IpAddr> = host.addresses.iter().filter_map(|text| ip(text)).collect();
        let name = host.name.to_lowercase();
        let tag = host.tag.to_string();
        let fits = |pattern: &Pattern| match pattern {
            Pattern::Text(glob) => {
                let by_address = || addresses.iter().any(|ip| glob.matches(&ip.to_string()));
                glob.matches(&name) || glob.matches(&tag) || by_address()
            }
            Pattern::Block(block) => addresses.iter().any(|ip| block.contains(ip)),
        };
        (self.wanted.is_empty() || self.wanted.iter().any(fits)) && !self.barred.iter().any(fits)
    }
}

/// The IP address in a multiaddr.
fn ip(multiaddr: &str) -> Option<IpAddr> {
    let mut parts = multiaddr.split('/').skip(1);
    match parts.next()? {
        "ip4" | "ip6" => parts.next()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn offer() -> Offer {
        Offer {
            cpu_milli: 4_000,
            memory_bytes: 1 << 30,
            resources: vec![("gpu".to_owned(), 2_000)],
        }
    }

    fn why(change: impl FnOnce(&mut TaskSpec)) -> Option<String> {
        why_at(&RunsAs::Anyone, RootTasks::Local, Tag(1), change)
    }

    fn why_at(
        runs_as: &RunsAs,
        root_tasks: RootTasks,
        author: Tag,
        change: impl FnOnce(&mut TaskSpec),
    ) -> Option<String> {
        let mut spec = TaskSpec::command(["true"]);
        change(&mut spec);
        let addresses = ["/ip4/10.1.2.3/tcp/4747".to_owned()];
        let host = Host {
            name: "Render-07",
            tag: Tag(7),
            addresses: &addresses,
            platform: "linux/x86_64",
            offer: &offer(),
            runs_as,
        };
        let case = Case {
            spec: &spec,
            ooms: 0,
            author,
            root_tasks,
        };
        misfit(&case, &host).map(|misfit| misfit.to_string())
    }

    #[test]
    fn who_runs_as_whom_table() {
        let anns = RunsAs::One("ann".to_owned());
        let by = |runs_as: &RunsAs, user: &str, group: &str| {
            why_at(runs_as, RootTasks::Local, Tag(1), |spec| {
                spec.user = user.to_owned();
                spec.options.as_group = group.to_owned();
            })
        };
        assert_eq!(by(&anns, "ann", ""), None);
        assert_eq!(by(&anns, "bob", "").unwrap(), "runs only ann's tasks");
        assert_eq!(by(&anns, "root", "").unwrap(), "runs only ann's tasks");
        let group = by(&anns, "ann", "video");
        assert_eq!(group.unwrap(), "cannot run it as group video");
        assert_eq!(by(&RunsAs::Anyone, "bob", "video"), None);
        let number = by(&RunsAs::Anyone, "1234", "");
        assert_eq!(number.unwrap(), "knows users by name, and 1234 is a number");
        let own_number = RunsAs::One("1234".to_owned());
        assert_eq!(by(&own_number, "1234", ""), None);
    }

    #[test]
    fn tasks_of_root_stay_unless_the_mesh_lets_them_go() {
        let roots = |root_tasks, author| {
            why_at(&RunsAs::Anyone, root_tasks, author, |spec| {
                spec.user = ROOT.to_owned();
            })
        };
        let why = roots(RootTasks::Local, Tag(1));
        assert_eq!(why.unwrap(), "takes no task of root from another host");
        assert_eq!(roots(RootTasks::Local, Tag(7)), None, "its own");
        assert_eq!(roots(RootTasks::Anywhere, Tag(1)), None);
        let only_root = RunsAs::One(ROOT.to_owned());
        let why = why_at(&only_root, RootTasks::Local, Tag(1), |spec| {
            spec.user = ROOT.to_owned();
        });
        assert!(
            why.is_some(),
            "a root that cannot become others is one, too"
        );
    }

    #[test]
    fn memory_climbs_its_ladder() {
        let mut spec = TaskSpec::command(["true"]);
        spec.needs.memory_bytes = 1;
        spec.options.memory_ladder = vec![2, 8];
        let needs = |ooms| demand(&spec, ooms, &offer()).memory_bytes;
        assert_eq!([0, 1, 2, 3, 99].map(needs), [1, 2, 8, 8, 8]);
    }

    #[test]
    fn misfit_table() {
        assert_eq!(why(|_| ()), None);
        assert_eq!(why(|spec| spec.needs.cpu_milli = 4_000), None);
        let cpus = why(|spec| spec.needs.cpu_milli = 4_500);
        assert_eq!(cpus.unwrap(), "has 4 of 4.5 cpus");
        assert_eq!(why(|spec| spec.options.cpus_but = Some(0)), None);
        let cpus = why(|spec| spec.options.cpus_but = Some(4_000));
        assert_eq!(cpus.unwrap(), "has 4 of 5 cpus");
        let memory = why(|spec| spec.needs.memory_bytes = 2 << 30);
        assert_eq!(memory.unwrap(), "has 1024 of 2048 MiB of memory");
        let gpus = |milli| why(|spec| spec.options.resources = vec![("gpu".to_owned(), milli)]);
        assert_eq!(gpus(2_000), None);
        assert_eq!(gpus(2_500).unwrap(), "has 2 of 2.5 gpu");
        let licence = why(|spec| spec.options.resources = vec![("maya".to_owned(), 1)]);
        assert_eq!(licence.unwrap(), "has 0 of 0.001 maya");
        let platform = |name: &str| why(|spec| spec.options.platform = name.to_owned());
        assert_eq!(platform("Linux"), None);
        assert_eq!(platform("linux/x86_64"), None);
        assert_eq!(platform("linux/aarch64").unwrap(), "is linux/x86_64");
    }

    #[test]
    fn host_patterns_table() {
        let hosts = |text: &str| why(|spec| spec.options.hosts = text.to_owned()).is_none();
        for text in [
            "render-07",
            "render-*",
            "alpha,render-0?",
            "10.1.2.3",
            "10.1.*",
            "10.0.0.0/8",
            "!alpha",
            "!alpha,!10.2.0.0/16",
            "render-*,!render-08",
            &Tag(7).to_string(),
        ] {
            assert!(hosts(text), "{text}");
        }
        for text in [
            "alpha",
            "render",
            "!render-*",
            "render-*,!10.0.0.0/8",
            "192.168.0.0/16",
            "!*",
        ] {
            assert!(!hosts(text), "{text}");
        }
    }

    #[test]
    fn what_names_no_hosts_is_refused() {
        for text in ["", "a,,b", "!", "10.0.0.0/99", "10.0.0/8", "x/y"] {
            assert!(text.parse::<HostPatterns>().is_err(), "{text}");
        }
    }
}
