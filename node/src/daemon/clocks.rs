//! What the wall clocks of this host and of others do, for people: whether one was set, whether one goes at another rate than the
//! rules of claims allow, and how late what a host says of itself comes here.
//!
//! The one idea: a host's beat carries its wall clock, so the difference to this host's own when it comes is what the clocks differ
//! by and how long the beat was under way. The least difference of a minute is nearly the clocks alone; how it moves from minute to
//! minute is their rate, by how much the newest is above it is the delay. Nothing here decides anything.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crdt::ids::PeerId;

use super::doctor::{check, ok};
use super::node::Node;
use crate::api::wire::{Check, Health};
use crate::clock::{boottime, wall_ms};
use crate::render::text::instant;

/// A clock that differs by so much more or less than just before was set, if it stays so.
const STEP_MS: i64 = 1_000;
/// So many words of a host in a row must agree about that.
const STAYS: u32 = 3;
/// Words that differ by less agree.
const AGREE_MS: i64 = 400;
/// The least differences of so many minutes are kept.
const MINUTES: usize = 10;
/// A rate is told from so many minutes on.
const LEAST_MINUTES: usize = 3;
/// What comes later than this is told.
const LATE_MS: i64 = 2_000;
/// So many steps are remembered.
const STEPS: usize = 8;

/// That a clock was set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// None: this host's.
    whose: Option<PeerId>,
    by_ms: i64,
    /// By this host's clock.
    at_ms: u64,
}

/// The clocks, as far as they were looked at.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    own: Option<(Duration, u64)>,
    peers: BTreeMap<PeerId, Track>,
    steps: VecDeque<Step>,
}

/// One host's clock.
#[derive(Debug)]
struct Track {
    /// The beat that was looked at last.
    count: u32,
    last: i64,
    /// Minutes since boot, and the least difference in each.
    least: VecDeque<(u64, i64)>,
    /// It differs all at once.
    moved: Option<Jump>,
}

/// That a difference became another from one word to the next, and stayed so for so many.
#[derive(Debug, Clone, Copy)]
struct Jump {
    from: i64,
    to: i64,
    times: u32,
}

impl Track {
    fn new(count: u32, offset: i64) -> Self {
        Self {
            count,
            last: offset,
            least: VecDeque::new(),
            moved: None,
        }
    }

    /// The least of the last two minutes: nearly the clocks alone.
    fn base(&self) -> Option<i64> {
        let newest = self.least.iter().rev().take(2);
        newest.map(|(_, least)| *least).min()
    }

    /// Takes a word. Returns by how much its clock was set, if that is certain now.
    fn take(&mut self, minute: u64, count: u32, offset: i64) -> Option<i64> {
        if count == self.count && !self.least.is_empty() {
            return None;
        }
        self.count = count;
        let last = std::mem::replace(&mut self.last, offset);
        let near = |other: i64| (offset - other).abs() < AGREE_MS;
        let jump = match self.moved.take() {
            // It was under way for longer, and no more.
            Some(jump) if near(jump.from) => None,
            Some(jump) if near(jump.to) => Some(Jump {
                times: jump.times + 1,
                ..jump
            }),
            Some(jump) => Some(Jump {
                to: offset,
                times: 1,
                ..jump
            }),
            // Words that came ever later come in time again.
            None if self.least.iter().any(|(_, least)| near(*least)) => None,
            None if (offset - last).abs() >= STEP_MS => Some(Jump {
                from: last,
                to: offset,
                times: 1,
            }),
            None => None,
        };
        match jump {
            None => self.keep(minute, offset),
            Some(jump) if jump.times < STAYS => self.moved = Some(jump),
            Some(jump) => {
                self.least.clear();
                self.keep(minute, jump.to);
                // What this host is ahead of is what the other is behind.
                return Some(jump.from - jump.to);
            }
        }
        None
    }

    fn keep(&mut self, minute: u64, offset: i64) {
        match self.least.back_mut() {
            Some((of, least)) if *of == minute => *least = offset.min(*least),
            Some(_) | None => self.least.push_back((minute, offset)),
        }
        if self.least.len() > MINUTES {
            self.least.pop_front();
        }
    }

    /// This host's clock was set.
    fn shift(&mut self, by: i64) {
        self.last += by;
        for (_, least) in &mut self.least {
            *least += by;
        }
        if let Some(jump) = &mut self.moved {
            jump.from += by;
            jump.to += by;
        }
    }

    /// By how many parts per million it goes faster than this host's.
    fn rate_ppm(&self) -> Option<i64> {
        // The first minute and the present one may be short.
        let whole = self.least.len().checked_sub(1)?;
        let (first, last) = (self.least.front()?, self.least.get(whole.checked_sub(1)?)?);
        let minutes = i64::try_from(last.0 - first.0).ok()?;
        let enough = minutes >= i64::try_from(LEAST_MINUTES).unwrap_or(i64::MAX);
        enough.then(|| (first.1 - last.1) * 1_000_000 / (minutes * 60_000))
    }

    fn late_ms(&self) -> i64 {
        self.base().map_or(0, |base| self.last - base)
    }
}

impl Clocks {
    /// Looks at this host's clocks.
    fn look(&mut self, boot: Duration, wall_ms: u64) {
        let before = self.own.replace((boot, wall_ms));
        let Some((boot_before, wall_before)) = before else {
            return;
        };
        let passed = boot.saturating_sub(boot_before).as_millis();
        let shown = i128::from(wall_ms) - i128::from(wall_before);
        let by = shown - i128::try_from(passed).unwrap_or(i128::MAX);
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        if by.abs() < STEP_MS {
            return;
        }
        for track in self.peers.values_mut() {
            track.shift(by);
        }
        self.note(None, by, wall_ms);
    }

    /// Looks at the newest word of a host.
    fn hear(&mut self, boot: Duration, wall_ms: u64, peer: PeerId, (count, offset): (u32, i64)) {
        let minute = boot.as_secs() / 60;
        let fresh = || Track::new(count, offset);
        let track = self.peers.entry(peer).or_insert_with(fresh);
        if let Some(by) = track.take(minute, count, offset) {
            self.note(Some(peer), by, wall_ms);
        }
    }

    fn note(&mut self, whose: Option<PeerId>, by_ms: i64, at_ms: u64) {
        self.steps.push_back(Step {
            whose,
            by_ms,
            at_ms,
        });
        if self.steps.len() > STEPS {
            self.steps.pop_front();
        }
    }

    /// Whether clocks were set, and whether one goes at another rate than is allowed.
    fn check_rates(&self, drift_ppm: u32, name: impl Fn(PeerId) -> String) -> Check {
        const TOPIC: &str = "clocks";
        // Both may err in opposite directions, and what is measured errs as well.
        let bound = i64::from(drift_ppm) * 2;
        let off = self.peers.iter().filter_map(|(peer, track)| {
            let ppm = track.rate_ppm().filter(|ppm| ppm.abs() > bound)?;
            let how = if ppm > 0 { "faster" } else { "slower" };
            let percent = f64::from(i32::try_from(ppm.abs()).unwrap_or(i32::MAX)) / 10_000.0;
            Some(format!(
                "that of {} goes {percent:.1} % {how} than this host's",
                name(*peer)
            ))
        });
        let off: Vec<String> = off.collect();
        if !off.is_empty() {
            return check(
                TOPIC,
                Health::Fault,
                off.join(", "),
                "the rules of claims rest on rates within --drift: stop that host's node until its clock is in order",
            );
        }
        let set = self.steps.iter().map(|step| {
            let whose = step.whose.map_or_else(|| "this host".to_owned(), &name);
            let seconds = f64::from(i32::try_from(step.by_ms).unwrap_or(i32::MAX)) / 1_000.0;
            format!(
                "that of {whose} was set by {seconds:+.1} s at {}",
                instant(step.at_ms)
            )
        });
        let set: Vec<String> = set.collect();
        if set.is_empty() {
            return ok(
                TOPIC,
                "none was set, and their rates agree, as far as they were watched",
            );
        }
        check(
            TOPIC,
            Health::Warning,
            set.join(", "),
            "claims do not depend on it; times that tasks state (--at, --expire) do: let NTP keep the clocks",
        )
    }

    /// How late what hosts say of themselves comes here.
    fn check_delays(&self, here: impl Fn(PeerId) -> Option<String>) -> Check {
        const TOPIC: &str = "sync";
        let late = self.peers.iter().filter_map(|(peer, track)| {
            let late = track.late_ms();
            let name = here(*peer).filter(|_| late >= LATE_MS)?;
            let seconds = f64::from(i32::try_from(late).unwrap_or(i32::MAX)) / 1_000.0;
            Some(format!("{name} {seconds:.1} s"))
        });
        let late: Vec<String> = late.collect();
        if late.is_empty() {
            return ok(TOPIC, "what other hosts say comes in time");
        }
        check(
            TOPIC,
            Health::Warning,
            format!("what these hosts say comes late: {}", late.join(", ")),
            "see their load and the network between ('aque nodes'); claims of theirs take as much longer",
        )
    }
}

impl Node {
    /// Looks at the clocks, now and then.
    pub(super) fn watch_clocks(&mut self) {
        let (boot, wall) = (boottime(), wall_ms());
        self.clocks.look(boot, wall);
        let members = self.replica.members();
        let known = |peer: &PeerId| members.iter().any(|member| member.peer == *peer);
        self.clocks.peers.retain(|peer, _| known(peer));
        for member in members.iter().filter(|member| !member.own && member.alive) {
            if let (Some(beat), Some(offset)) = (&member.beat, member.offset_ms) {
                let word = (beat.count, offset);
                self.clocks.hear(boot, wall, member.peer, word);
            }
        }
    }

    /// How clocks go.
    pub(super) fn check_rates(&self) -> Check {
        let drift_ppm = self.settings.timing.drift_ppm;
        let members = self.replica.members();
        self.clocks.check_rates(drift_ppm, |peer| {
            let member = members.iter().find(|member| member.peer == peer);
            member.map_or_else(|| peer.tag().to_string(), |member| member.name.clone())
        })
    }

    /// How late words come.
    pub(super) fn check_delays(&self) -> Check {
        let members = self.replica.members();
        self.clocks.check_delays(|peer| {
            let mut here = members.iter().filter(|member| member.alive);
            let member = here.find(|member| member.peer == peer)?;
            Some(member.name.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId([7; 32]);
    const START_MS: u64 = 1_700_000_000_000;

    /// Watches for so many rounds of five seconds: what the peer's clock is behind this host's, and how long its word takes.
    fn watch(clocks: &mut Clocks, from: u64, rounds: u64, offset: impl Fn(u64) -> i64) -> u64 {
        for round in from..from + rounds {
            let boot = Duration::from_secs(round * 5);
            let wall = START_MS + round * 5_000;
            clocks.look(boot, wall);
            let count = u32::try_from(round).unwrap_or(0);
            clocks.hear(boot, wall, PEER, (count, offset(round)));
        }
        from + rounds
    }

    fn rates(clocks: &Clocks) -> (Health, String) {
        let check = clocks.check_rates(10_000, |_| "beta".to_owned());
        assert_eq!(check.todo.is_none(), check.health == Health::Ok);
        (check.health, check.what)
    }

    fn delays(clocks: &Clocks) -> (Health, String) {
        let check = clocks.check_delays(|_| Some("beta".to_owned()));
        (check.health, check.what)
    }

    #[test]
    fn clocks_that_differ_and_go_alike_are_well() {
        let mut clocks = Clocks::default();
        watch(&mut clocks, 0, 100, |round| {
            90_000 + i64::from(round % 3 == 0) * 150
        });
        assert_eq!(rates(&clocks).0, Health::Ok);
        assert_eq!(delays(&clocks).0, Health::Ok);
    }

    #[test]
    fn a_clock_that_was_set_is_told_of() {
        let mut clocks = Clocks::default();
        let next = watch(&mut clocks, 0, 50, |_| 20);
        let next = watch(&mut clocks, next, 3, |_| 20 - 60_000);
        let (health, what) = rates(&clocks);
        assert_eq!(health, Health::Warning);
        assert!(
            what.starts_with("that of beta was set by +60.0 s at 2023-11-14T"),
            "{what}"
        );
        watch(&mut clocks, next, 50, |_| 20 - 60_000);
        assert_eq!(clocks.steps.len(), 1, "once");
        assert_eq!(delays(&clocks).0, Health::Ok);
    }

    #[test]
    fn this_hosts_own_clock_that_was_set_is_not_laid_at_anothers_door() {
        let mut clocks = Clocks::default();
        let next = watch(&mut clocks, 0, 50, |_| 20);
        let boot = Duration::from_secs(next * 5);
        clocks.look(boot, START_MS + next * 5_000 + 3_600_000);
        clocks.own = Some((boot, START_MS + next * 5_000));
        watch(&mut clocks, next + 1, 50, |_| 20 + 3_600_000);
        let (health, what) = rates(&clocks);
        assert_eq!((health, clocks.steps.len()), (Health::Warning, 1));
        assert!(
            what.starts_with("that of this host was set by +3600.0 s"),
            "{what}"
        );
    }

    #[test]
    fn a_clock_that_goes_too_fast_is_a_fault() {
        for (per_round, told) in [(-150, "3.0 % faster"), (150, "3.0 % slower")] {
            let mut clocks = Clocks::default();
            watch(&mut clocks, 0, 100, |round| {
                per_round * i64::try_from(round).unwrap_or(0)
            });
            let (health, what) = rates(&clocks);
            assert_eq!(health, Health::Fault);
            assert!(what.contains(told), "{what}");
        }
        let mut clocks = Clocks::default();
        // Half a percent is allowed.
        watch(&mut clocks, 0, 100, |round| {
            25 * i64::try_from(round).unwrap_or(0)
        });
        assert_eq!(rates(&clocks).0, Health::Ok);
    }

    #[test]
    fn what_comes_late_is_no_clock_that_was_set() {
        let mut clocks = Clocks::default();
        let next = watch(&mut clocks, 0, 50, |_| 20);
        let next = watch(&mut clocks, next, 5, |round| {
            20 + 700 * (i64::try_from(round).unwrap_or(0) - 49)
        });
        let (health, what) = delays(&clocks);
        assert_eq!(health, Health::Warning);
        assert_eq!(what, "what these hosts say comes late: beta 3.5 s");
        watch(&mut clocks, next, 5, |_| 25);
        assert_eq!(delays(&clocks).0, Health::Ok);
        assert_eq!(rates(&clocks).0, Health::Ok);
    }
}
