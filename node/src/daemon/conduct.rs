//! What peers did that they must not, as `aque doctor` tells it: who, what, how often, when last, and what to do about it.

use std::collections::BTreeMap;

use crdt::ids::PeerId;
use crdt::offences::Offence;

use super::doctor::{check, ok};
use super::node::Node;
use crate::api::lines::Names;
use crate::api::wire::{Check, Health, OffenceLine};
use crate::render::text::{count, instant};

/// Whose changes are refused in some document from now on: the latest reason of each.
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

impl Node {
    pub(super) fn check_blame(&self) -> Check {
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

    /// What each peer did, by peer and kind.
    pub(super) fn offences(&self) -> Vec<OffenceLine> {
        let names = Names::of(&self.replica);
        let all = self.replica.offences().iter();
        all.map(|(peer, offence, times)| OffenceLine {
            host: names.name(peer),
            tag: peer.tag().to_string(),
            kind: offence.name().to_owned(),
            what: offence.to_string(),
            todo: advice(offence).to_owned(),
            count: times.count,
            last_ms: times.last.0,
        })
        .collect()
    }

    /// What was dropped, by kind; kinds that did not come up are left out.
    pub(super) fn refused(&self) -> BTreeMap<String, u64> {
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
            ("epoch leap", counters.epoch_leaps),
            ("outcome without bid", counters.without_bid),
            ("entry out of place", counters.misplaced),
            ("absurd stamp", counters.absurd_stamps),
            ("beat of another minute", counters.stale_beats),
            ("strange ack", counters.strange_acks),
            ("offence untold", self.replica.offences().unkept()),
        ];
        let named = kinds.into_iter().chain(registers);
        let named = named.map(|(kind, count)| (kind.to_owned(), count));
        let rules = ledger.rules.iter();
        let rules = rules.map(|(rule, count)| (format!("rule: {rule}"), *count));
        named.chain(rules).filter(|(_, count)| *count > 0).collect()
    }
}

/// What to do about a peer that did this.
fn advice(offence: Offence) -> &'static str {
    match offence {
        Offence::Frame | Offence::Envelope => {
            "bring it to this host's version; if it has that, it runs another program: stop it"
        }
        Offence::Forgery => {
            "it passes on what nobody signed, so it runs another program: stop it; whoever had its ticket may need a mesh with a new secret"
        }
        Offence::Equivocation => {
            "its data directory was copied or restored: stop it, remove its data and let it join anew"
        }
        Offence::Stamp => "set the wall clocks of that host and of this one (NTP)",
        Offence::Rule(_)
        | Offence::WentBack
        | Offence::Leap
        | Offence::NoBid
        | Offence::Misplaced => {
            "it runs another program or a damaged one: stop it, compare versions, remove its data and let it join anew"
        }
    }
}

/// Returns a check for each peer that did something.
pub(super) fn check_offenders(offences: &[OffenceLine]) -> Vec<Check> {
    let by_peer = offences.chunk_by(|one, other| one.tag == other.tag);
    by_peer.filter_map(check_offender).collect()
}

fn check_offender(offences: &[OffenceLine]) -> Option<Check> {
    let first = offences.first()?;
    let told = |line: &OffenceLine| {
        let (times, last) = (count(line.count, "time"), instant(line.last_ms));
        format!("{} ({times}, last {last})", line.what)
    };
    let what: Vec<String> = offences.iter().map(told).collect();
    let mut todo: Vec<&str> = Vec::new();
    for line in offences {
        if !todo.contains(&line.todo.as_str()) {
            todo.push(&line.todo);
        }
    }
    let what = format!("it sent {}; none of it counts", what.join(", "));
    let topic = format!("host {}", first.host);
    Some(check(&topic, Health::Warning, what, &todo.join("; ")))
}

/// Says whether anything was dropped that is not merely late or early.
pub(super) fn check_refused(refused: &BTreeMap<String, u64>) -> Check {
    const TOPIC: &str = "refused";
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
        format!("dropped: {}", wrong.join(", ")),
        "a member sends what no honest node sends: the lines below name it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_one_line_with_all_it_did() {
        let line = |tag: &str, kind: &str, todo: &str, count| OffenceLine {
            host: format!("h-{tag}"),
            tag: tag.to_owned(),
            kind: kind.to_owned(),
            what: format!("a {kind}"),
            todo: todo.to_owned(),
            count,
            last_ms: 0,
        };
        let checks = check_offenders(&[
            line("a", "leap", "stop it", 2),
            line("a", "forgery", "stop it", 1),
            line("b", "frame", "update it", 3),
        ]);
        let told: Vec<_> = checks
            .iter()
            .map(|check| (check.topic.as_str(), check.todo.as_deref()))
            .collect();
        let expected = [
            ("host h-a", Some("stop it")),
            ("host h-b", Some("update it")),
        ];
        assert_eq!(told, expected);
        let both = "it sent a leap (2 times, last 1970-01-01T00:00:00Z), \
                    a forgery (1 time, last 1970-01-01T00:00:00Z); none of it counts";
        assert_eq!(checks[0].what, both);
    }
}
