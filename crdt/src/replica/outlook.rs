//! Why a task does not run now, as far as this node has heard: what stands in its way, or what each host that could run it lacks.
//!
//! What a host has free is what it offers less what the tasks take that it holds or runs, by the documents: as old as the newest
//! change that came. It is for people; nothing here decides anything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::views::Glance;
use super::{Replica, Task};
use crate::config::Offer;
use crate::entry::DutyKind;
use crate::fit::{self, Case, Host, Misfit, RunsAs};
use crate::graph::TaskIx;
use crate::ids::{PeerId, Tag, TaskId};
use crate::places::Place;
use crate::roster::MemberView;
use crate::schedule::{Room, Shortage};
use crate::task::{Condition, Needs, TaskSpec, TaskState, Work};
use crate::terms::Terms;
use crate::time::Mono;

/// So many are named of what stands in a task's way; the others are counted.
const NAMED: usize = 3;
/// So many hosts are told of when none can run a task.
const HOSTS_TOLD: usize = 4;
/// What to do about tasks of root that other hosts do not take.
const LET_ROOT_GO: &str =
    "'aque settings set root-tasks anywhere' lets root's tasks go to any host";

/// Why a task does not run now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delay {
    /// These have not become what they must.
    Tasks(Vec<(TaskId, Condition)>),
    /// So many of its group run at once.
    Window(TaskId, u32),
    /// It does not start before this has passed.
    Time(Duration),
    /// This is left of the pause before a retry: which, of how many.
    Pause(Duration, u32, u32),
    /// Of the hosts that decide its claims these are not heard of, and the others are no majority.
    Committee(Vec<String>),
    /// No host that is heard of can run it as things are.
    Nowhere(Vec<(String, Obstacle)>),
    /// It reads the output of this task, which is on a host that is not heard of.
    Input(TaskId, String),
    /// Its queue is paused.
    Paused(String),
    /// Its queue has so many slots, and all are taken.
    Slots(String, u32),
    /// The hosts that could run it, and what each lacks; and why others cannot that could otherwise.
    Room(Vec<(String, Lack)>, Vec<(String, Obstacle)>),
}

/// Why a host cannot run a task as things are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It never can.
    Misfit(Misfit),
    /// What the task needs of its file systems is not there, or it could not start the task: in its own words.
    Unfit(String),
}

impl Obstacle {
    /// Says whether it is that the task is root's, which the mesh can allow.
    fn is_root(&self) -> bool {
        *self == Self::Misfit(Misfit::Root)
    }
}

/// As it goes on after a host's name.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misfit(misfit) => write!(f, " {misfit}"),
            Self::Unfit(why) => write!(f, ": {why}"),
        }
    }
}

/// What a host lacks now that could run a task otherwise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lack {
    /// Processors.
    Cpus,
    /// Memory.
    Memory,
    /// A named resource.
    Resource(String),
    /// It takes no more work.
    Drains,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpus => "cpus",
            Self::Memory => "memory",
            Self::Resource(name) => name,
            Self::Drains => "work",
        })
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks(tasks) => {
                let one = |(id, condition): &(TaskId, Condition)| match condition {
                    Condition::Success => id.to_string(),
                    Condition::End => format!("the end of {id}"),
                    Condition::Failure => format!("a failure of {id}"),
                };
                write!(f, "waits for {}", listed(tasks.iter().map(one), NAMED))
            }
            Self::Window(group, most) => {
                write!(f, "waits for its turn: {most} of {group} run at once")
            }
            Self::Time(left) => write!(f, "waits for its time, in {}", span(*left)),
            Self::Pause(left, retry, of) => {
                write!(f, "waits {} before retry {retry} of {of}", span(*left))
            }
            Self::Committee(silent) => {
                let silent = listed(silent.iter().cloned(), NAMED);
                write!(
                    f,
                    "waits for a majority of its committee: {silent} not heard of"
                )
            }
            Self::Nowhere(hosts) => write!(f, "fits no host: {}", obstacles(hosts)),
            Self::Input(source, host) => write!(
                f,
                "no input: the output of {source} is on {host}, which is not heard of"
            ),
            Self::Paused(queue) => write!(f, "queue {queue} is paused"),
            Self::Slots(queue, 1) => write!(f, "waits for the slot of queue {queue}"),
            Self::Slots(queue, slots) => {
                write!(f, "waits for one of {slots} slots of queue {queue}")
            }
            Self::Room(hosts, others) => {
                write!(f, "waits for {}", lacks(hosts))?;
                match others.is_empty() {
                    true => Ok(()),
                    false => write!(f, "; {}", obstacles(others)),
                }
            }
        }
    }
}

/// What is lacking, and where: `memory on 3 hosts, cpus on n1`.
fn lacks(hosts: &[(String, Lack)]) -> String {
    let mut by_lack = BTreeMap::<&Lack, Vec<&str>>::new();
    for (name, lack) in hosts {
        by_lack.entry(lack).or_default().push(name);
    }
    let mut lacks: Vec<_> = by_lack.into_iter().collect();
    lacks.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    let one = |(lack, hosts): (&Lack, Vec<&str>)| {
        let who = match hosts[..] {
            [only] => only.to_owned(),
            [..] => format!("{} hosts", hosts.len()),
        };
        match lack {
            Lack::Drains => format!("{who} to take work again"),
            Lack::Cpus | Lack::Memory | Lack::Resource(_) => format!("{lack} on {who}"),
        }
    };
    let texts: Vec<String> = lacks.into_iter().map(one).collect();
    texts.join(", ")
}

/// What keeps hosts from running a task.
fn obstacles(hosts: &[(String, Obstacle)]) -> String {
    let one = |(name, obstacle): &(String, Obstacle)| format!("{name}{obstacle}");
    let texts = listed(hosts.iter().map(one), HOSTS_TOLD);
    let is_root = |(_, obstacle): &(String, Obstacle)| obstacle.is_root();
    match hosts.iter().any(is_root) {
        true => format!("{texts}; {LET_ROOT_GO}"),
        false => texts,
    }
}

/// The first few, and how many more there are.
pub(super) fn listed(texts: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let more = texts.len().saturating_sub(most);
    let mut shown: Vec<String> = texts.take(most).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// A length of time in at most two units, no less than a second.
fn span(time: Duration) -> String {
    let s = time.as_secs().max(1);
    match s {
        ..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        86_400.. => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// What is known of the hosts, for a look at many tasks.
#[derive(Debug)]
pub struct Outlook<'a> {
    replica: &'a Replica,
    hosts: Vec<HostNow>,
    /// Some host has told that something is missing there.
    misses_some: bool,
    /// What was found out for tasks that ask alike.
    rooms: RefCell<BTreeMap<Ask, Option<Delay>>>,
}

/// A host that is heard of.
#[derive(Debug)]
struct HostNow {
    member: MemberView,
    /// Unknown until it has told.
    offer: Option<Offered>,
    used: Room,
}

/// What a host has told of itself.
#[derive(Debug)]
struct Offered {
    offer: Offer,
    platform: String,
    runs_as: RunsAs,
}

impl Offered {
    /// Says why the member that offers this can never run a task.
    fn misfit(&self, case: &Case<'_>, member: &MemberView) -> Option<Misfit> {
        let host = Host {
            name: &member.name,
            tag: member.peer.tag(),
            addresses: &member.addresses,
            platform: &self.platform,
            offer: &self.offer,
            runs_as: &self.runs_as,
        };
        fit::misfit(case, &host)
    }
}

/// What a task asks of hosts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Ask {
    needs: Needs,
    ooms: u32,
    memory_ladder: Vec<u64>,
    resources: Vec<(String, u32)>,
    cpus_but: Option<u32>,
    hosts: String,
    platform: String,
    /// As whom it runs: the user, and the group if that was stated.
    whom: (String, String),
    /// Where it was submitted, if it is root's.
    home: Option<Tag>,
    /// Where something is known to be missing somewhere.
    place: Option<Place>,
}

impl Ask {
    fn of(case: &Case<'_>, place: Option<Place>) -> Self {
        let Case { spec, ooms, .. } = *case;
        let options = &spec.options;
        Self {
            needs: spec.needs,
            ooms: ooms.min(u32::try_from(options.memory_ladder.len()).unwrap_or(u32::MAX)),
            memory_ladder: options.memory_ladder.clone(),
            resources: options.resources.clone(),
            cpus_but: options.cpus_but,
            hosts: options.hosts.clone(),
            platform: options.platform.clone(),
            whom: (spec.user.clone(), options.as_group.clone()),
            home: (spec.user == fit::ROOT).then_some(case.author),
            place,
        }
    }
}

impl Replica {
    /// Returns what is known of the hosts now. Looks at every task once that is claimed or runs: for a person's question.
    #[must_use]
    pub fn outlook(&self) -> Outlook<'_> {
        let mut hosts: Vec<HostNow> = self
            .members()
            .into_iter()
            .filter(|member| member.alive)
            .map(|member| HostNow {
                offer: self.offer_of(&member),
                member,
                used: Room::default(),
            })
            .collect();
        let places: BTreeMap<PeerId, usize> = hosts
            .iter()
            .enumerate()
            .map(|(place, host)| (host.member.peer, place))
            .collect();
        for ix in self.queues.all_active() {
            let place = self.host_of(ix).and_then(|host| places.get(&host));
            let Some(host) = place.map(|place| &mut hosts[*place]) else {
                continue;
            };
            let task = self.known(ix);
            if let (Some(Offered { offer, .. }), Some(spec)) = (&host.offer, task.spec.as_deref()) {
                host.used
                    .take(&fit::demand(spec, task.registers.ooms, offer));
            }
        }
        let misses = |host: &HostNow| {
            let beat = host.member.beat.as_ref();
            beat.is_some_and(|beat| !beat.missing.is_empty())
        };
        Outlook {
            replica: self,
            misses_some: !self.places.is_empty() || hosts.iter().any(misses),
            hosts,
            rooms: RefCell::default(),
        }
    }

    fn offer_of(&self, member: &MemberView) -> Option<Offered> {
        if member.own {
            return Some(Offered {
                offer: self.offered.clone(),
                platform: self.platform.clone(),
                runs_as: self.runs_as.clone(),
            });
        }
        let beat = member.beat.as_ref()?;
        let offer = Offer {
            cpu_milli: beat.cpu_milli,
            memory_bytes: beat.memory_bytes,
            resources: beat.resources.clone(),
        };
        Some(Offered {
            offer,
            platform: beat.platform.clone(),
            runs_as: beat.runs_as.clone(),
        })
    }

    /// Says why another host can never run a task, as far as it told what it has; what has not been told may fit.
    pub(super) fn misfit_of(&self, ix: TaskIx, member: &MemberView) -> Option<Misfit> {
        self.offer_of(member)?.misfit(&self.case(ix)?, member)
    }

    /// What keeps a task from starting, wherever that would be.
    fn blocked(&self, ix: TaskIx, task: &Task, spec: &TaskSpec) -> Option<Delay> {
        if self.held_back(ix).is_some() {
            return None;
        }
        let unmet = spec.dependencies().filter(|(id, condition)| {
            let state = self.find(*id).map(|ix| self.known(ix).state);
            !state.is_some_and(|state| condition.is_met(state))
        });
        let unmet: Vec<(TaskId, Condition)> = unmet.collect();
        if !unmet.is_empty() {
            return Some(Delay::Tasks(unmet));
        }
        if let Some(member) = task.is_member_of().filter(|_| !self.window_lets(ix)) {
            return Some(Delay::Window(member.group, member.window));
        }
        let left = |at: Mono| (at > self.now.mono).then(|| at.since(self.now.mono));
        if let Some(left) = left(self.stated_start(&spec.options)) {
            return Some(Delay::Time(left));
        }
        let left = left(self.tried_again_at(ix, &spec.options))?;
        let failures = task.registers.tries(spec.options.memory_ladder.len());
        Some(Delay::Pause(left, failures, spec.retries))
    }

    /// The members of a task's committee that are not heard of, if they keep it from being claimed.
    pub(super) fn lacks_majority(&self, ix: TaskIx) -> Option<Delay> {
        if self.terms(ix) == Terms::Anywhere {
            return None;
        }
        let committee = &self.segment_of(ix).peers;
        let silent: Vec<&PeerId> = committee
            .iter()
            .filter(|peer| !self.roster.is_alive(peer.tag(), self.now.mono))
            .collect();
        if committee.len() - silent.len() > committee.len() / 2 {
            return None;
        }
        let names = silent.iter().map(|peer| self.host_name(peer.tag()));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        Some(Delay::Committee(names))
    }

    /// Where a task's input is, if that host is not heard of.
    fn lacks_input(&self, spec: &TaskSpec) -> Option<Delay> {
        let source = spec.options.pipe_from?;
        let read = self.known(self.find(source)?);
        let outcome = read.complete.as_ref()?;
        outcome.report?.stdout.digest?;
        let tag = outcome.origin.1;
        let away = !self.roster.is_alive(tag, self.now.mono);
        away.then(|| Delay::Input(source, self.host_name(tag)))
    }
}

impl Outlook<'_> {
    /// Says why a task stands where it stands.
    #[must_use]
    pub fn reason(&self, task: &Glance<'_>) -> Option<String> {
        let delay = self.delay(task).map(|delay| delay.to_string());
        delay.or_else(|| task.reason().map(str::to_owned))
    }

    /// Says why a task that has not begun does not run now, if that is known.
    #[must_use]
    pub fn delay(&self, task: &Glance<'_>) -> Option<Delay> {
        let (replica, spec) = (self.replica, task.spec());
        if matches!(spec.work, Work::Group { .. }) {
            return None;
        }
        let ix = *replica.ids.get(&task.id())?;
        let known = replica.known(ix);
        match known.state {
            TaskState::Blocked => replica.blocked(ix, known, spec),
            TaskState::Pending => {
                let room = self.room(ix, known);
                if let Some(Delay::Nowhere(_)) = room {
                    return room;
                }
                replica
                    .lacks_majority(ix)
                    .or_else(|| replica.lacks_input(spec))
                    .or_else(|| self.queued(spec))
                    .or(room)
            }
            TaskState::Creating
            | TaskState::Held
            | TaskState::Claimed
            | TaskState::Running
            | TaskState::Success
            | TaskState::Error
            | TaskState::Killed
            | TaskState::Cancelled
            | TaskState::Lost => None,
        }
    }

    fn queued(&self, spec: &TaskSpec) -> Option<Delay> {
        let queue = &spec.options.queue;
        let queues = &self.replica.queues;
        let rule = queues.rule(queue);
        if queues.has_room(queue) {
            return None;
        }
        Some(match rule.paused {
            true => Delay::Paused(queue.clone()),
            false => Delay::Slots(queue.clone(), rule.slots),
        })
    }

    fn room(&self, ix: TaskIx, task: &Task) -> Option<Delay> {
        let case = self.replica.case(ix)?;
        if task.unfit.is_some() {
            return self.find_room(ix, task, &case);
        }
        let place = self.misses_some.then(|| Place::of(case.spec));
        let ask = Ask::of(&case, place);
        if let Some(known) = self.rooms.borrow().get(&ask) {
            return known.clone();
        }
        let found = self.find_room(ix, task, &case);
        self.rooms.borrow_mut().insert(ask, found.clone());
        found
    }

    fn find_room(&self, ix: TaskIx, task: &Task, case: &Case<'_>) -> Option<Delay> {
        let Case { spec, ooms, .. } = *case;
        let (mut obstacles, mut lacking) = (Vec::new(), Vec::new());
        for HostNow {
            member,
            offer,
            used,
        } in &self.hosts
        {
            // What has not been told may fit.
            let told = offer.as_ref()?;
            let offer = &told.offer;
            let misfit = told.misfit(case, member).map(Obstacle::Misfit);
            let unfit = || self.unfit(ix, task, member).map(Obstacle::Unfit);
            if let Some(obstacle) = misfit.or_else(unfit) {
                obstacles.push((member.name.clone(), obstacle));
                continue;
            }
            let own_drain = member.own && self.replica.draining;
            let lack = match member.duty {
                _ if own_drain => Lack::Drains,
                DutyKind::Drains | DutyKind::Gone => Lack::Drains,
                DutyKind::Works => {
                    let demand = fit::demand(spec, ooms, offer);
                    used.shortage(offer, &demand)?.into()
                }
            };
            lacking.push((member.name.clone(), lack));
        }
        if lacking.is_empty() {
            return Some(Delay::Nowhere(obstacles));
        }
        // That a host is not meant at all is no news.
        obstacles
            .retain(|(_, obstacle)| matches!(obstacle, Obstacle::Unfit(_)) || obstacle.is_root());
        Some(Delay::Room(lacking, obstacles))
    }

    /// What a host misses that a task needs, or why it could not start it, as far as it has told.
    fn unfit(&self, ix: TaskIx, task: &Task, member: &MemberView) -> Option<String> {
        let replica = self.replica;
        if member.own {
            let failed = || task.unfit.as_ref().map(|unfit| unfit.why.clone());
            return replica.what_is_missing(ix).or_else(failed);
        }
        let beat = member.beat.as_ref()?;
        replica.what_misses(ix, beat).map(str::to_owned)
    }
}

impl From<Shortage<'_>> for Lack {
    fn from(shortage: Shortage<'_>) -> Self {
        match shortage {
            Shortage::Cpus(..) => Self::Cpus,
            Shortage::Memory(..) => Self::Memory,
            Shortage::Resource(name, ..) => Self::Resource(name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::schedule::Demand;

    #[test]
    fn delays_are_told_in_words() {
        let id = |text: &str| text.parse::<TaskId>().unwrap();
        let on = |hosts: &[(&str, Lack)]| {
            let hosts = hosts
                .iter()
                .map(|(name, lack)| ((*name).to_owned(), lack.clone()));
            Delay::Room(hosts.collect(), Vec::new())
        };
        let gpu = || Lack::Resource("gpu".to_owned());
        for (delay, words) in [
            (
                Delay::Tasks(vec![
                    (id("k3v7qa-1"), Condition::Success),
                    (id("k3v7qa-2"), Condition::End),
                    (id("k3v7qa-3"), Condition::Failure),
                    (id("k3v7qa-4"), Condition::Success),
                ]),
                "waits for k3v7qa-1, the end of k3v7qa-2, a failure of k3v7qa-3, and 1 more",
            ),
            (
                Delay::Window(id("k3v7qa-7"), 8),
                "waits for its turn: 8 of k3v7qa-7 run at once",
            ),
            (
                Delay::Time(Duration::from_secs(7_500)),
                "waits for its time, in 2h05m",
            ),
            (
                Delay::Pause(Duration::from_millis(10), 2, 5),
                "waits 1s before retry 2 of 5",
            ),
            (
                Delay::Committee(vec!["alpha".to_owned(), "beta".to_owned()]),
                "waits for a majority of its committee: alpha, beta not heard of",
            ),
            (
                Delay::Nowhere(vec![
                    (
                        "n0".to_owned(),
                        Obstacle::Misfit(Misfit::Cpus(2_000, 3_000)),
                    ),
                    (
                        "n1".to_owned(),
                        Obstacle::Unfit("/x is not there".to_owned()),
                    ),
                ]),
                "fits no host: n0 has 2 of 3 cpus, n1: /x is not there",
            ),
            (
                Delay::Room(
                    vec![("n0".to_owned(), Lack::Cpus)],
                    vec![(
                        "n1".to_owned(),
                        Obstacle::Unfit("/x is not there".to_owned()),
                    )],
                ),
                "waits for cpus on n0; n1: /x is not there",
            ),
            (
                Delay::Nowhere(vec![("n0".to_owned(), Obstacle::Misfit(Misfit::Root))]),
                "fits no host: n0 takes no task of root from another host; 'aque settings set root-tasks anywhere' lets root's tasks go to any host",
            ),
            (
                Delay::Room(
                    vec![("n0".to_owned(), Lack::Cpus)],
                    vec![("n1".to_owned(), Obstacle::Misfit(Misfit::Root))],
                ),
                "waits for cpus on n0; n1 takes no task of root from another host; 'aque settings set root-tasks anywhere' lets root's tasks go to any host",
            ),
            (
                Delay::Input(id("k3v7qa-9"), "n1".to_owned()),
                "no input: the output of k3v7qa-9 is on n1, which is not heard of",
            ),
            (
                Delay::Slots("q".to_owned(), 1),
                "waits for the slot of queue q",
            ),
            (
                Delay::Slots("q".to_owned(), 4),
                "waits for one of 4 slots of queue q",
            ),
            (on(&[("n0", Lack::Memory)]), "waits for memory on n0"),
            (
                on(&[("n0", Lack::Drains), ("n1", Lack::Cpus)]),
                "waits for cpus on n1, n0 to take work again",
            ),
            (
                on(&[("n0", gpu()), ("n1", Lack::Memory), ("n2", Lack::Memory)]),
                "waits for memory on 2 hosts, gpu on n0",
            ),
        ] {
            assert_eq!(delay.to_string(), words);
        }
    }

    #[test]
    fn lack_table() {
        let offer = Offer {
            cpu_milli: 4_000,
            memory_bytes: 8,
            resources: vec![("gpu".to_owned(), 2_000)],
        };
        let demand = |cpu_milli, memory_bytes, gpu: u32| Demand {
            cpu_milli,
            memory_bytes,
            resources: vec![("gpu".to_owned(), gpu)],
        };
        let mut used = Room::default();
        used.take(&demand(3_000, 6, 1_500));
        for (asked, lacking) in [
            (demand(1_000, 2, 500), None),
            (demand(1_001, 9, 9_999), Some(Lack::Cpus)),
            (demand(0, 3, 9_999), Some(Lack::Memory)),
            (demand(0, 0, 501), Some(Lack::Resource("gpu".to_owned()))),
        ] {
            let lack = used.shortage(&offer, &asked).map(Lack::from);
            assert_eq!(lack, lacking, "{asked:?}");
        }
    }
}
