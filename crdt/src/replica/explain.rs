//! Why a task does not run on this host: the first thing that stands in its way, in the order in which the host decides. For a person's
//! question; nothing is decided here.

use super::outlook::listed;
use super::{Delay, Replica};
use crate::claim::Phase;
use crate::entry::DutyKind;
use crate::graph::TaskIx;
use crate::ids::{PeerId, TaskId};
use crate::roster::MemberView;
use crate::schedule::Demand;
use crate::task::{TaskState, Work};
use crate::time::{Mono, Wall};
use crate::witness::Binding;

/// So many tasks are named in one reason.
const NAMED: usize = 3;

/// Why a task does not run on a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hindrance {
    /// Of which kind.
    pub kind: HindranceKind,
    /// What, for people: it goes on after the host's name.
    pub what: String,
    /// A host that has to do with it, as it goes on after `what`.
    pub host: Option<PeerId>,
    /// Until when, as far as that is certain.
    pub until: Option<Wall>,
}

/// The kinds of [`Hindrance`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HindranceKind {
    /// It has ended.
    Ended,
    /// It runs here.
    Runs,
    /// It is claimed here.
    Claims,
    /// Another host has it.
    Elsewhere,
    /// It is a group, which never runs.
    Group,
    /// A person holds it, or too many hosts were lost with it.
    Held,
    /// It waits for other tasks, or for its group's window.
    Waits,
    /// Its time has not come, or its pause after a failure has not passed.
    Early,
    /// Its queue is paused or full.
    Queue,
    /// The host takes no more work.
    Drained,
    /// The host's disk takes no writes.
    Disk,
    /// The host can never run it.
    Misfit,
    /// The host could not start it.
    Unfit,
    /// Its committee has no majority.
    Committee,
    /// It would run beside a run that may be alive.
    Unsure,
    /// The host has no room.
    Room,
    /// Others go first.
    Behind,
    /// Nothing: it is about to be claimed.
    Nothing,
}

impl HindranceKind {
    /// Returns its word, which stays the same.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Runs => "runs",
            Self::Claims => "claims",
            Self::Elsewhere => "elsewhere",
            Self::Group => "group",
            Self::Held => "held",
            Self::Waits => "waits",
            Self::Early => "early",
            Self::Queue => "queue",
            Self::Drained => "drained",
            Self::Disk => "disk",
            Self::Misfit => "misfit",
            Self::Unfit => "unfit",
            Self::Committee => "committee",
            Self::Unsure => "unsure",
            Self::Room => "room",
            Self::Behind => "behind",
            Self::Nothing => "nothing",
        }
    }
}

impl Hindrance {
    fn new(kind: HindranceKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            host: None,
            until: None,
        }
    }

    fn until(self, until: Wall) -> Self {
        Self {
            until: Some(until),
            ..self
        }
    }

    fn of(self, host: Option<PeerId>) -> Self {
        Self { host, ..self }
    }
}

impl Replica {
    /// Says why a task does not run on this host; `None` if it is not known here, or was removed.
    #[must_use]
    pub fn hindrance(&self, id: TaskId) -> Option<Hindrance> {
        let ix = self.find(id)?;
        let task = self.known(ix);
        let spec = task.spec.as_deref().filter(|_| !task.removed)?;
        if matches!(spec.work, Work::Group { .. }) {
            let what = "never runs a group: ask about its members";
            return Some(Hindrance::new(HindranceKind::Group, what));
        }
        let found = self
            .as_it_stands(ix)
            .or_else(|| self.not_yet(ix))
            .or_else(|| self.not_by_this_host(ix))
            .or_else(|| self.not_for_certain(ix))
            .or_else(|| self.not_its_turn(ix));
        let about_to = || Hindrance::new(HindranceKind::Nothing, "is about to bid for it");
        Some(found.unwrap_or_else(about_to))
    }

    /// Says why a task would not run on another host, by what was heard of that last; `None` if nothing speaks against it.
    #[must_use]
    pub fn hindrance_at(&self, id: TaskId, member: &MemberView) -> Option<Hindrance> {
        let ix = self.find(id)?;
        if let Some(misfit) = self.misfit_of(ix, member) {
            return Some(Hindrance::new(HindranceKind::Misfit, misfit.to_string()));
        }
        if member.duty == DutyKind::Drains {
            return Some(Hindrance::new(HindranceKind::Drained, "is drained"));
        }
        let beat = member.beat.as_ref()?;
        if let Some(why) = self.what_misses(ix, beat) {
            let what = format!("lacks what it needs: {why}");
            return Some(Hindrance::new(HindranceKind::Unfit, what));
        }
        let needs = self.known(ix).spec.as_ref()?.needs.cpu_milli;
        (beat.free_milli < needs).then(|| {
            let cpus = |milli: u32| f64::from(milli) / 1_000.0;
            let (free, all) = (cpus(beat.free_milli), cpus(beat.cpu_milli));
            let what = format!("had {free} of {all} cpus free");
            Hindrance::new(HindranceKind::Room, what)
        })
    }

    /// It has ended, or somebody has it.
    fn as_it_stands(&self, ix: TaskIx) -> Option<Hindrance> {
        let task = self.known(ix);
        if task.state.is_complete() {
            let why = task.reason.as_ref();
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            let what = format!("knows that it has ended: {}{why}", task.state);
            return Some(Hindrance::new(HindranceKind::Ended, what));
        }
        if let Some(claim) = task.claim {
            let kind = HindranceKind::Claims;
            return Some(match claim.phase {
                Phase::Running => Hindrance::new(HindranceKind::Runs, "runs it"),
                Phase::Starting => Hindrance::new(kind, "starts it"),
                Phase::Held => Hindrance::new(kind, format!("has it; {}", self.why_held(ix))),
                Phase::Bidding => {
                    // A bid that no majority can answer is made again and again.
                    if let Some(lack) = self.lacks_majority(ix) {
                        let kind = HindranceKind::Committee;
                        return Some(Hindrance::new(kind, lack.to_string()));
                    }
                    let votes = task.registers.votes();
                    let mine = |vote: &crate::ballots::VoteRegister| {
                        (vote.claimant, vote.epoch) == (self.tag, claim.epoch)
                    };
                    let count = votes.filter(|(_, vote)| mine(vote)).count();
                    let all = self.segment_of(ix).committee.len();
                    Hindrance::new(kind, format!("bids for it: {count} of {all} votes so far"))
                }
            });
        }
        let holder = self.holder(ix).map(|(tag, _)| self.roster.peer(tag));
        if let Some(host) = holder {
            let what = match task.state {
                TaskState::Running => "knows that it runs on",
                _ => "knows that it is claimed by",
            };
            return Some(Hindrance::new(HindranceKind::Elsewhere, what).of(host));
        }
        let untold = task.registers.endings().next().is_some();
        untold.then(|| {
            let what = "knows that it has ended, but no majority has accepted that yet";
            Hindrance::new(HindranceKind::Committee, what)
        })
    }

    /// What a held task waits for.
    fn why_held(&self, ix: TaskIx) -> String {
        match self.schedule.demand(ix) {
            Some(demand) if !self.schedule.fits_now(ix) => {
                format!("it starts when there is room ({})", self.users(ix, demand))
            }
            Some(_) | None => "it is about to start".to_owned(),
        }
    }

    /// It may not start anywhere yet.
    fn not_yet(&self, ix: TaskIx) -> Option<Hindrance> {
        if let Some(why) = self.held_back(ix) {
            let what = format!("finds it held: {why}");
            return Some(Hindrance::new(HindranceKind::Held, what));
        }
        let task = self.glance(self.known(ix).id)?;
        let delay = self.outlook().delay(&task)?;
        let kind = match &delay {
            Delay::Tasks(_) | Delay::Window(..) | Delay::Input(..) => HindranceKind::Waits,
            Delay::Time(_) | Delay::Pause(..) => HindranceKind::Early,
            Delay::Committee(_) => HindranceKind::Committee,
            Delay::Paused(_) | Delay::Slots(..) => HindranceKind::Queue,
            // Each host tells that of itself.
            Delay::Nowhere(_) | Delay::Room(..) => return None,
        };
        let found = Hindrance::new(kind, delay.to_string());
        Some(match kind {
            HindranceKind::Early => found.until(self.wall_at(self.due_at(ix))),
            _ => found,
        })
    }

    /// This host would not, whatever else it has.
    fn not_by_this_host(&self, ix: TaskIx) -> Option<Hindrance> {
        let task = self.known(ix);
        if let Some(misfit) = self.misfit(ix) {
            return Some(Hindrance::new(HindranceKind::Misfit, misfit.to_string()));
        }
        if let Some(why) = self.what_is_missing(ix) {
            let what = format!("lacks what it needs: {why}");
            return Some(Hindrance::new(HindranceKind::Unfit, what));
        }
        if self.is_retired() {
            let what = "is drained: it takes no more work until 'aque undrain'";
            return Some(Hindrance::new(HindranceKind::Drained, what));
        }
        if self.draining {
            let what = "takes no more work: it was told so by a signal, or leaves";
            return Some(Hindrance::new(HindranceKind::Drained, what));
        }
        if self.stalled {
            return Some(Hindrance::new(
                HindranceKind::Disk,
                "has a disk that takes no writes",
            ));
        }
        if let Some(unfit) = task.unfit.as_ref().filter(|of| of.until > self.now.mono) {
            let what = format!("could not start it: {}; it tries again", unfit.why);
            let until = self.wall_at(unfit.until);
            return Some(Hindrance::new(HindranceKind::Unfit, what).until(until));
        }
        None
    }

    /// Who decides is not there, or an earlier run may be alive.
    fn not_for_certain(&self, ix: TaskIx) -> Option<Hindrance> {
        let task = self.known(ix);
        let open = self
            .as_witness(ix)
            .map(|witness| witness.binding(self.now.mono));
        let vote = task.registers.vote(self.tag);
        let (Some(Binding::Open | Binding::Until(_)), Some(vote)) = (open, vote) else {
            return None;
        };
        let what = format!(
            "still stands by the claim at epoch {}, as its run may be alive, of",
            vote.epoch
        );
        let claimant = self.roster.peer(vote.claimant);
        let unsure = Hindrance::new(HindranceKind::Unsure, what).of(claimant);
        Some(match open {
            Some(Binding::Until(free)) => unsure.until(self.wall_at(free)),
            _ => unsure,
        })
    }

    /// This host would, had it more room, or were it first.
    fn not_its_turn(&self, ix: TaskIx) -> Option<Hindrance> {
        let demand = self.demand(ix);
        let before = self.schedule.before(ix, &self.queues);
        let before = before.map(|(first, count)| {
            let (own, first) = (self.known(ix), self.known(first));
            let higher = if first.priority() > own.priority() {
                format!(" (priority {}, not {})", first.priority(), own.priority())
            } else {
                String::new()
            };
            let more = match count {
                1 => String::new(),
                _ => format!(", and {} more", count - 1),
            };
            format!("takes {}{higher} first{more}", first.label())
        });
        let room = self.schedule.shortage(&demand, self.priority(ix));
        let room = room.map(|_| self.users(ix, &demand));
        match (before, room) {
            (Some(before), Some(room)) => Some(Hindrance::new(
                HindranceKind::Behind,
                format!("{before}, and has no room: {room}"),
            )),
            (Some(before), None) => Some(Hindrance::new(HindranceKind::Behind, before)),
            (None, Some(room)) => {
                let what = format!("has no room: {room}");
                Some(Hindrance::new(HindranceKind::Room, what))
            }
            (None, None) => self.later(ix),
        }
    }

    /// Others may bid first.
    fn later(&self, ix: TaskIx) -> Option<Hindrance> {
        let at = self.known(ix).wake.filter(|at| *at > self.now.mono)?;
        let what = "lets other hosts bid first";
        let later = Hindrance::new(HindranceKind::Behind, what);
        Some(later.until(self.wall_at(at)))
    }

    /// Says what is taken of that which a task finds too little of, and by whom.
    fn users(&self, ix: TaskIx, demand: &Demand) -> String {
        let priority = self.priority(ix);
        let Some(lack) = self.schedule.shortage(demand, priority) else {
            return "room is about to be free".to_owned();
        };
        let others = self.schedule.in_use().filter(|other| *other != ix);
        let named: Vec<String> = others.map(|other| self.known(other).label()).collect();
        match named.is_empty() {
            true => format!("{lack} are taken"),
            false => format!("{lack} are taken by {}", listed(named.into_iter(), NAMED)),
        }
    }

    /// What this host's wall clock will show then.
    fn wall_at(&self, at: Mono) -> Wall {
        let ahead = u64::try_from(at.since(self.now.mono).as_millis()).unwrap_or(u64::MAX);
        Wall(self.now.wall.0.saturating_add(ahead))
    }
}
