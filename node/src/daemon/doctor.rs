//! What `aque doctor` asks: is this node well, what of its surroundings is not, and what was refused. It looks and changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crdt::ids::PeerId;
use crdt::roster::MemberView;

use super::node::Node;
use crate::api::lines::Names;
use crate::api::wire::{Check, Checkup, Health};

/// Less space than this is short: some thousand tasks' outputs, or an hour of a busy log.
const SHORT_OF_SPACE: u64 = 256 << 20;
/// A wall clock that differs by so much makes times hard to read; nothing else depends on it.
const SKEWED: Duration = Duration::from_secs(30);

/// What peers did that they must not, as this node noticed: the latest of each.
#[derive(Debug, Default)]
pub(super) struct Blame {
    quarantined: BTreeMap<PeerId, String>,
}

impl Blame {
    /// A peer's changes are refused in a document from now on.
    pub(super) fn quarantined(&mut self, author: PeerId, why: String) {
        self.quarantined.insert(author, why);
    }
}

fn check(topic: &str, health: Health, what: impl Into<String>, todo: &str) -> Check {
    Check {
        topic: topic.to_owned(),
        health,
        what: what.into(),
        todo: Some(todo.to_owned()).filter(|todo| !todo.is_empty()),
    }
}

fn ok(topic: &str, what: impl Into<String>) -> Check {
    check(topic, Health::Ok, what, "")
}

impl Node {
    /// Returns every check, in the order in which one would look.
    pub(super) fn checkup(&self) -> Checkup {
        let members = self.replica.members();
        let refused = self.refused();
        let checks = vec![
            self.check_disk(),
            self.check_peers(&members),
            check_versions(&members),
            check_walls(&members),
            self.check_time(),
            self.check_leases(),
            self.check_strangers(),
            check_refused(&refused),
            self.check_blame(),
        ];
        Checkup { checks, refused }
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
        let todo = "see that these hosts run, that their port is open (4747, TCP and UDP), and 'aque nodes'";
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

    fn check_time(&self) -> Check {
        const TOPIC: &str = "standstills";
        match self.replica.counters().standstills {
            0 => ok(TOPIC, "this node has not stood still since its start"),
            times => check(
                TOPIC,
                Health::Warning,
                format!("this node stood still {times} times for longer than a heartbeat"),
                "give it processor time, or make --heartbeat and --lease longer on all hosts",
            ),
        }
    }

    fn check_leases(&self) -> Check {
        const TOPIC: &str = "leases";
        let timing = &self.settings.timing;
        let what = format!(
            "heartbeat {:?}, lease {:?}, witness wait {:?} (at least {:?})",
            timing.heartbeat,
            timing.lease,
            timing.wait(),
            timing.least_wait()
        );
        match self.replica.counters().holds_lost {
            0 => ok(TOPIC, what),
            lost => check(
                TOPIC,
                Health::Warning,
                format!(
                    "{what}; {lost} claims were lost because a majority did not answer in time"
                ),
                "see 'aque nodes' for hosts that come and go; a slow or lossy network wants a longer --lease on all hosts",
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

    fn check_blame(&self) -> Check {
        const TOPIC: &str = "authors";
        let blame = &self.blame.quarantined;
        if blame.is_empty() {
            return ok(TOPIC, "every author keeps the rules");
        }
        let names = Names::of(&self.replica);
        let who: Vec<String> = blame
            .iter()
            .map(|(peer, why)| format!("{} ({why})", names.name(*peer)))
            .collect();
        check(
            TOPIC,
            Health::Fault,
            format!("changes are refused in some documents: {}", who.join(", ")),
            "these hosts run another program or a copied data directory; stop them, remove their data and let them join anew",
        )
    }

    /// What was dropped, by kind; kinds that did not come up are left out.
    fn refused(&self) -> BTreeMap<String, u64> {
        let ledger = self.replica.ledger_stats();
        let kinds = [
            ("malformed", ledger.malformed),
            ("oversized", ledger.oversized),
            ("signature", ledger.signature),
            ("equivocation", ledger.equivocation),
            ("quarantined", ledger.quarantined),
            ("stranger", ledger.strangers),
        ];
        let counters = self.replica.counters();
        let registers = [
            ("bad frame", counters.bad_frames),
            ("register went back", counters.went_back),
            ("entry out of place", counters.misplaced),
            ("absurd stamp", counters.absurd_stamps),
            ("beat of another minute", counters.stale_beats),
            ("strange ack", counters.strange_acks),
        ];
        let named = kinds.into_iter().chain(registers);
        let named = named.map(|(kind, count)| (kind.to_owned(), count));
        let rules = ledger.rules.iter();
        let rules = rules.map(|(rule, count)| (format!("rule: {rule}"), *count));
        named.chain(rules).filter(|(_, count)| *count > 0).collect()
    }
}

fn check_versions(members: &[MemberView]) -> Check {
    const TOPIC: &str = "versions";
    let beats = members.iter().filter_map(|member| member.beat.as_ref());
    let versions: std::collections::BTreeSet<&str> =
        beats.map(|beat| beat.version.as_str()).collect();
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

fn check_refused(refused: &BTreeMap<String, u64>) -> Check {
    const TOPIC: &str = "refused";
    // What a peer may send that is merely late or early is no fault of anybody.
    let harmless = ["stranger", "beat of another minute", "strange ack"];
    let wrong: Vec<String> = refused
        .iter()
        .filter(|(kind, _)| !harmless.contains(&kind.as_str()))
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    if wrong.is_empty() {
        return ok(TOPIC, "nothing malformed or forged has come");
    }
    check(
        TOPIC,
        Health::Warning,
        format!("dropped, and nothing of it stored: {}", wrong.join(", ")),
        "a member sends what no honest node sends: see 'authors', and the versions of all hosts",
    )
}
