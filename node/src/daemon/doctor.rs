//! What `aque doctor` asks: is this node well, what of its surroundings is not, and what was refused. It looks and changes nothing.
//! What peers did is told by [`super::conduct`].

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crdt::fit::RunsAs;
use crdt::roster::MemberView;
use crdt::settings::RootTasks;
use net::PeerKey;

use super::conduct::{check_offenders, check_refused};
use super::node::Node;
use crate::api::lines::Names;
use crate::api::wire::{Check, Checkup, Health};
use crate::executor::GuardState;
use crate::guard::{Limiting, Trees, Way, proc};
use crate::render::text::count;

/// Less space than this is short: some thousand tasks' outputs, or an hour of a busy log.
const SHORT_OF_SPACE: u64 = 256 << 20;
/// Of the descriptors that a process may have, one in so many should be left for runs and connections that are to come.
const FILES_LEFT: u64 = 4;
/// A wall clock that differs by so much makes times hard to read; nothing else depends on it.
const SKEWED: Duration = Duration::from_secs(30);

pub(super) fn check(topic: &str, health: Health, what: impl Into<String>, todo: &str) -> Check {
    Check {
        topic: topic.to_owned(),
        health,
        what: what.into(),
        todo: Some(todo.to_owned()).filter(|todo| !todo.is_empty()),
    }
}

pub(super) fn ok(topic: &str, what: impl Into<String>) -> Check {
    check(topic, Health::Ok, what, "")
}

impl Node {
    /// Returns every check, in the order in which one would look.
    pub(super) fn checkup(&self) -> Checkup {
        let members = self.replica.members();
        let refused = self.refused();
        let mut checks = vec![
            self.check_disk(),
            self.check_guard(),
            check_trees(&self.executor.trees()),
            check_limiting("memory", &self.executor.trees().memory),
            check_limiting("cpus", &self.executor.trees().cpus),
            self.check_users(),
            self.check_files(),
            self.check_parts(),
            self.check_history(),
            self.check_peers(&members),
            self.check_reach(&members),
            self.check_committees(),
            check_versions(&members),
            check_walls(&members),
            self.check_rates(),
            self.check_delays(),
            self.check_time(),
            self.check_leases(),
            self.check_strangers(),
            check_refused(&refused),
            self.check_blame(),
        ];
        let offences = self.offences();
        checks.extend(check_offenders(&offences));
        Checkup {
            checks,
            refused,
            offences,
        }
    }

    fn check_disk(&self) -> Check {
        const TOPIC: &str = "disk";
        let data = self.settings.data.display();
        if self.replica.is_stalled() {
            return check(
                TOPIC,
                Health::Fault,
                format!("{data} takes no writes: no submission is taken and no claim is made"),
                "make room; the node goes on by itself",
            );
        }
        match rustix::fs::statvfs(&self.settings.data) {
            Ok(about) => {
                let free = about.f_bavail.saturating_mul(about.f_frsize);
                let what = format!("{} free in {data}", crate::render::text::size(free));
                if free < SHORT_OF_SPACE {
                    check(TOPIC, Health::Warning, what, "make room before it is full")
                } else {
                    ok(TOPIC, what)
                }
            }
            Err(error) => check(
                TOPIC,
                Health::Warning,
                format!("cannot ask about {data}: {error}"),
                "look at the file system and at the permissions of the directory",
            ),
        }
    }

    fn check_guard(&self) -> Check {
        const TOPIC: &str = "guard";
        let runs = count(self.executor.live() as u64, "run");
        match self.executor.guard() {
            GuardState::Working(pid) => match i32::try_from(pid).ok().and_then(proc::look) {
                Some(guard) if guard.is_stopped() => check(
                    TOPIC,
                    Health::Fault,
                    format!("process {pid} is stopped, with {runs}: their deadlines pass unkept"),
                    "let it go on ('kill -CONT'), or kill it: then its runs are killed and another starts",
                ),
                Some(guard) if !guard.is_zombie() => {
                    ok(TOPIC, format!("process {pid} works, with {runs}"))
                }
                Some(_) | None => check(
                    TOPIC,
                    Health::Fault,
                    format!("process {pid} is gone, with {runs}"),
                    "the node kills what it left and starts another by itself; see the node's log",
                ),
            },
            GuardState::Absent | GuardState::Closed => check(
                TOPIC,
                Health::Fault,
                format!("there is none: nothing starts here, {runs} wait"),
                "the node goes on trying; its log says why",
            ),
        }
    }

    /// As whom tasks run here, and whether those who may ask for that can reach the socket.
    fn check_users(&self) -> Check {
        const TOPIC: &str = "users";
        let RunsAs::One(user) = self.replica.runs_as() else {
            let closed = closed_above(&self.settings.api).map_or_else(String::new, |dir| {
                format!(
                    "; only root submits here, as {} lets nobody else pass to the socket (--api names another)",
                    dir.display()
                )
            });
            let roots = match self.replica.settings().root_tasks() {
                RootTasks::Anywhere => "of root from any host",
                RootTasks::Local => {
                    "of root only those submitted here ('aque settings set root-tasks anywhere' lets them run on any host)"
                }
            };
            return ok(TOPIC, format!("tasks run as their users; {roots}{closed}"));
        };
        ok(TOPIC, format!("runs only {user}'s tasks"))
    }

    /// Each run takes some descriptors of the guard's, each peer and client some of the node's.
    fn check_files(&self) -> Check {
        const TOPIC: &str = "files";
        let own = std::process::id();
        let guard = match self.executor.guard() {
            GuardState::Working(pid) => Some(("guard", pid)),
            GuardState::Absent | GuardState::Closed => None,
        };
        let mut short = false;
        let mut said = Vec::new();
        for (name, pid) in [Some(("node", own)), guard].into_iter().flatten() {
            let Some((used, limit)) = files(pid) else {
                continue;
            };
            short |= used > limit - limit / FILES_LEFT;
            said.push(format!("{name} {used} of {limit}"));
        }
        let what = format!("open: {}", said.join(", "));
        if short {
            let todo = "raise the limit: LimitNOFILE= of the service, or 'ulimit -n', and start the node anew";
            check(TOPIC, Health::Warning, what, todo)
        } else {
            ok(TOPIC, what)
        }
    }

    fn check_peers(&self, members: &[MemberView]) -> Check {
        const TOPIC: &str = "peers";
        let others: Vec<&MemberView> = members.iter().filter(|member| !member.own).collect();
        let silent: Vec<&str> = others
            .iter()
            .filter(|member| !member.alive)
            .map(|member| member.name.as_str())
            .collect();
        if others.is_empty() {
            return ok(
                TOPIC,
                "a mesh of one host; 'aque invite' prints a ticket for others",
            );
        }
        let todo = "see that these hosts run, that their port is open (4747, TCP and UDP), and 'aque nodes'; 'aque forget NODE' if one will not come back";
        if silent.len() == others.len() {
            let what = format!("none of {} other hosts is heard of", others.len());
            return check(TOPIC, Health::Fault, what, todo);
        }
        if silent.is_empty() {
            return ok(
                TOPIC,
                format!("all of {} other hosts are heard of", others.len()),
            );
        }
        let what = format!("not heard of: {}", silent.join(", "));
        check(TOPIC, Health::Warning, what, todo)
    }

    /// Whether this host and each other one that is heard of are connected directly.
    fn check_reach(&self, members: &[MemberView]) -> Check {
        const TOPIC: &str = "reach";
        let listening = self.net.listen_addrs();
        if listening.is_empty() {
            return check(
                TOPIC,
                Health::Fault,
                "this node listens nowhere: no other can connect to it",
                "see --listen, and the node's log",
            );
        }
        let connected = self.net.connected();
        let apart = members.iter().filter(|member| {
            member.alive && !member.own && !connected.contains(&PeerKey(member.peer.0))
        });
        let apart: Vec<String> = apart
            .map(|member| format!("{} ({})", member.name, member.addresses.join(" ")))
            .collect();
        if apart.is_empty() {
            let count = count(listening.len() as u64, "address");
            return ok(
                TOPIC,
                format!("connected to every host that is heard of; listens at {count}"),
            );
        }
        check(
            TOPIC,
            Health::Warning,
            format!("heard of, but not connected: {}", apart.join(", ")),
            "let each host reach the port of every other, TCP and UDP: see firewalls and --listen; what they decide together waits meanwhile",
        )
    }

    /// Whether unfinished tasks wait for hosts that decide on them.
    fn check_committees(&self) -> Check {
        const TOPIC: &str = "committees";
        let stranded = self.replica.stranded();
        let names = Names::of(&self.replica);
        let tasks: u64 = stranded.iter().map(|of| u64::from(of.unfinished)).sum();
        if tasks == 0 {
            return ok(TOPIC, "a majority decides on each task that has not ended");
        }
        let missing: BTreeSet<String> = stranded
            .iter()
            .flat_map(|of| &of.missing)
            .map(|peer| names.name(*peer))
            .collect();
        let missing: Vec<String> = missing.into_iter().collect();
        check(
            TOPIC,
            Health::Fault,
            format!(
                "{} can be claimed by nobody: too many of those who decide are not heard of: {}",
                count(tasks, "unfinished task"),
                missing.join(", ")
            ),
            "start these hosts; where a majority's disks are lost, what they had decided is as well: submit such tasks anew",
        )
    }

    fn check_time(&self) -> Check {
        const TOPIC: &str = "standstills";
        match self.replica.counters().standstills {
            0 => ok(TOPIC, "this node has not stood still since its start"),
            times => check(
                TOPIC,
                Health::Warning,
                format!("this node stood still {times} times for longer than a heartbeat"),
                "give it processor time, or make leases longer: 'aque settings set lease 20s'",
            ),
        }
    }

    fn check_leases(&self) -> Check {
        const TOPIC: &str = "leases";
        let timing = self.replica.timing();
        let what = format!(
            "heartbeat {:?}, lease {:?}, witness wait {:?} (at least {:?})",
            timing.heartbeat,
            timing.lease,
            timing.wait(),
            timing.least_wait()
        );
        if let Err(why) = self.replica.settings().times(&self.settings.timing) {
            return check(
                TOPIC,
                Health::Warning,
                format!("{what}; what the mesh's settings say is passed over: {why}"),
                "start this node without --lease, --heartbeat and --drift, or change the settings: 'aque settings'",
            );
        }
        match self.replica.counters().holds_lost {
            0 => ok(TOPIC, what),
            lost => check(
                TOPIC,
                Health::Warning,
                format!(
                    "{what}; {lost} claims were lost because a majority did not answer in time"
                ),
                "see 'aque nodes' for hosts that come and go; a slow or lossy network wants longer leases: 'aque settings set lease 20s'",
            ),
        }
    }

    fn check_strangers(&self) -> Check {
        const TOPIC: &str = "gate";
        let net = self.net.stats();
        let foreign = net.refused_secret + net.refused_blocked + net.refused_garbled;
        if foreign + net.dials_foreign == 0 {
            return ok(TOPIC, "nobody without the mesh's secret came");
        }
        let what = format!(
            "{} connections were refused ({} did not know the mesh's secret, {} are forgotten or blocked, {} spoke otherwise), {} dials met another mesh",
            foreign,
            net.refused_secret,
            net.refused_blocked,
            net.refused_garbled,
            net.dials_foreign
        );
        check(
            TOPIC,
            Health::Warning,
            what,
            "nothing of theirs was read; see that no host was given an old or another ticket",
        )
    }
}

/// The first directory above a file that others may not pass through.
fn closed_above(path: &Path) -> Option<&Path> {
    let mut above = path.ancestors().skip(1);
    above.find(|dir| {
        let mode = dir.metadata().map(|meta| meta.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o001 == 0)
    })
}

/// Whether what a run started can hide when the run is to end.
fn check_trees(trees: &Trees) -> Check {
    const TOPIC: &str = "trees";
    let held = match &trees.way {
        Way::V2 { path } => format!("what runs start is killed with them: cgroup v2 at {path}"),
        Way::V1 { path } => {
            format!("what runs start is killed with them: cgroup v1, freezer, at {path}")
        }
        Way::Off => {
            let what =
                "what runs start is looked for by process groups and /proc: --cgroups is off";
            return ok(TOPIC, what);
        }
        Way::Walk { why } => {
            return check(
                TOPIC,
                Health::Warning,
                format!(
                    "what runs start is looked for by process groups and /proc; no cgroup can be made: {why}"
                ),
                "let the node have a cgroup of its own: 'Delegate=yes' in its service, or start it by 'systemd-run --user --scope -p Delegate=yes aque-node'; a run that forks for ever may escape otherwise ('--cgroups off' is your word that this is well)",
            );
        }
    };
    match &trees.missed {
        None => ok(TOPIC, held),
        Some(why) => check(
            TOPIC,
            Health::Warning,
            format!("{held}; but a run got none: {why}"),
            "see cgroup.max.descendants, pids.max and the open files of the guard; that run is looked for by process groups and /proc",
        ),
    }
}

/// Whether a run may take more of something than its task states.
fn check_limiting(topic: &str, limiting: &Limiting) -> Check {
    match limiting {
        Limiting::Unified => ok(
            topic,
            format!("what tasks state of {topic} is a limit: cgroup v2"),
        ),
        Limiting::Apart { path } => ok(
            topic,
            format!("what tasks state of {topic} is a limit: cgroup v1 at {path}"),
        ),
        Limiting::None { why } => check(
            topic,
            Health::Warning,
            format!("runs may take more of {topic} than their tasks state: {why}"),
            "give the node's cgroup the controllers of memory and of processors, and a subgroup for the node itself: 'Delegate=yes' and 'DelegateSubgroup=aque-node' in its service",
        ),
    }
}

fn check_versions(members: &[MemberView]) -> Check {
    const TOPIC: &str = "versions";
    let beats = members.iter().filter_map(|member| member.beat.as_ref());
    let versions: BTreeSet<&str> = beats.map(|beat| beat.version.as_str()).collect();
    let list = versions.iter().copied().collect::<Vec<_>>().join(", ");
    if versions.len() > 1 {
        let what = format!("hosts run different versions: {list}");
        check(
            TOPIC,
            Health::Warning,
            what,
            "bring all hosts to one version",
        )
    } else {
        ok(
            TOPIC,
            if list.is_empty() {
                env!("CARGO_PKG_VERSION").to_owned()
            } else {
                list
            },
        )
    }
}

fn check_walls(members: &[MemberView]) -> Check {
    const TOPIC: &str = "wall clocks";
    let own = super::program::now().wall.0;
    // A beat is as old as the host has been silent.
    let off = |member: &&MemberView| {
        let Some(beat) = member.beat.as_ref().filter(|_| member.alive && !member.own) else {
            return false;
        };
        Duration::from_millis(beat.wall.0.abs_diff(own)) > SKEWED
    };
    let names: Vec<&str> = members
        .iter()
        .filter(off)
        .map(|member| member.name.as_str())
        .collect();
    if names.is_empty() {
        ok(TOPIC, "agree with this host's")
    } else {
        check(
            TOPIC,
            Health::Warning,
            format!("off by more than {SKEWED:?}: {}", names.join(", ")),
            "set them (NTP); claims do not depend on them, the times that people read do",
        )
    }
}

/// How many descriptors a process has open, and how many it may have.
fn files(pid: u32) -> Option<(u64, u64)> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    Some((open as u64, most_files(&limits)?))
}

/// The soft limit of descriptors in what the kernel tells of a process's limits.
fn most_files(limits: &str) -> Option<u64> {
    let mut lines = limits.lines();
    let rest = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_table() {
        let path = || "/sys/fs/cgroup/a/aque-1".to_owned();
        let why = || "/sys/fs/cgroup: Permission denied".to_owned();
        let rows = [
            (
                Way::V2 { path: path() },
                None,
                Health::Ok,
                "cgroup v2 at /sys",
            ),
            (
                Way::V1 { path: path() },
                None,
                Health::Ok,
                "freezer, at /sys",
            ),
            (Way::Off, None, Health::Ok, "--cgroups is off"),
            (Way::Walk { why: why() }, None, Health::Warning, "denied"),
            (
                Way::V2 { path: path() },
                Some(why()),
                Health::Warning,
                "got none",
            ),
        ];
        for (way, missed, health, text) in rows {
            let check = check_trees(&Trees {
                way,
                memory: Limiting::Unified,
                cpus: Limiting::Unified,
                missed,
            });
            assert_eq!(check.health, health, "{check:?}");
            assert!(check.what.contains(text), "{check:?}");
            assert_eq!(check.todo.is_none(), health == Health::Ok, "{check:?}");
        }
    }

    #[test]
    fn limits_are_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             15000                15000                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(most_files(limits), Some(1_024));
        assert_eq!(
            most_files("Max open files   unlimited  unlimited  files"),
            Some(u64::MAX)
        );
        assert_eq!(most_files(""), None);
        let (open, most) = files(std::process::id()).unwrap_or_default();
        assert!(0 < open && open <= most, "{open} of {most}");
    }
}
