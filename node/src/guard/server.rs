//! The guard's loop: requests in, children out, and no report before nothing of a run lives.
//!
//! One thread does all of this; it waits in one `poll` for the node's socket (or, when the node has
//! gone, for another at the door), for the end of a child and for the deadline thread. The order in
//! one turn: deadlines, launchers, ended children, requests, endings, replies.

mod launches;
mod starts;
mod visits;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::cgroup::{Home, Limits};
use super::deadlines::{Deadlines, Watched};
use super::door::Door;
use super::link::Link;
use super::plan::Environments;
use super::protocol::{Cause, Reply, RunKey};
use super::records::{Kept, Records, Slot};
use super::run::Run;
use super::strays::{Owner, Place, Stray, Strays};
use super::sys;
use super::trees::{Trees, Way};
use crate::clock::boottime;
use launches::Launch;

/// Shortest time between two looks at all children while some of them wait to be reaped.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The same for a guard that is about to exit, and waits for the last word of its node.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// How long a guard whose runs have been ended waits for its node to make the ends durable. They are kept on disk in any case.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Most ended children in one turn, so that a run that forks without end keeps no request and no other run waiting.
const REAPS_PER_TURN: usize = 256;

/// Most processes named in [`Reply::Stuck`].
const NAMED_PIDS: usize = 16;

/// What a guard works with.
#[derive(Debug)]
pub(super) struct Tools {
    /// Where the next node comes in.
    pub(super) door: Door,
    /// Readable when a child has ended.
    pub(super) children: UnixStream,
    /// Watches the clock.
    pub(super) deadlines: Deadlines,
    /// Makes children.
    pub(super) shot: sys::Shot,
    /// What whoever comes next will read.
    pub(super) records: Records,
    /// Makes cgroups; or why it cannot.
    pub(super) home: Result<Home, Way>,
    /// Limits runs.
    pub(super) limits: Limits,
}

/// A guard at work.
#[derive(Debug)]
pub(super) struct Server {
    /// The node, as long as there is one.
    link: Option<Link>,
    tools: Tools,
    guard: u64,
    environments: Environments,
    runs: BTreeMap<RunKey, Run>,
    /// Ends that the node has not had forgotten.
    kept: BTreeMap<RunKey, (Slot, Kept)>,
    /// By number of the leader, which is the session's.
    sessions: HashMap<i32, RunKey>,
    /// Those whose programs do not execute yet.
    launches: BTreeMap<RunKey, Launch>,
    /// Those that should be gone.
    ending: BTreeSet<RunKey>,
    strays: Strays,
    /// Why the last run without a cgroup has none, though others have.
    missed: Option<String>,
    mode: Mode,
    heard: Backlog,
    /// Of ended children.
    dead: Backlog,
    /// As long as more of these wait, nothing that should be gone is looked at before.
    next_look: Duration,
}

/// What the guard lives for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Runs; those of a node that has gone as well, to their ends or their deadlines.
    Open,
    /// The end of its runs, by themselves until then.
    Draining { until: Duration },
}

/// Who woke the guard.
#[derive(Clone, Copy, Debug)]
struct Woken {
    children: bool,
    fired: bool,
    /// The node, or one at the door.
    node: bool,
    /// A run that is on its way.
    launchers: bool,
}

/// Whether more may be waiting than was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backlog {
    None,
    Perhaps,
}

impl Server {
    /// Puts the parts together, with the ends that a former guard kept.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub(super) fn new(
        link: Link,
        tools: Tools,
        kept: Vec<(Slot, Kept)>,
        guard: u64,
    ) -> io::Result<Self> {
        let by_key = |(slot, kept): (Slot, Kept)| (kept.ended.key, (slot, kept));
        Ok(Self {
            link: Some(link),
            tools,
            guard,
            environments: Environments::default(),
            runs: BTreeMap::new(),
            kept: kept.into_iter().map(by_key).collect(),
            sessions: HashMap::new(),
            launches: BTreeMap::new(),
            ending: BTreeSet::new(),
            strays: Strays::new(guard)?,
            missed: None,
            mode: Mode::Open,
            heard: Backlog::None,
            dead: Backlog::None,
            next_look: Duration::ZERO,
        })
    }

    /// Works until the node wants no more, or is gone, and nothing that was started lives.
    ///
    /// # Errors
    /// The kernel's, when the guard cannot wait or cannot see its children; its runs die with it.
    pub(super) fn work(mut self) -> io::Result<()> {
        self.greet();
        loop {
            let woken = self.wait()?;
            if woken.fired {
                self.take_fired();
            }
            if woken.launchers {
                self.hear_launchers();
            }
            self.end_slow_launches();
            if woken.children || self.dead == Backlog::Perhaps {
                self.reap();
            }
            if woken.node && self.link.is_none() {
                self.let_in()?;
            } else if woken.node || self.heard == Backlog::Perhaps {
                self.hear();
            }
            self.drain();
            let quiet = self.settle()?;
            if let Some(link) = &mut self.link {
                link.flush_if_due();
            }
            if quiet && self.is_done() {
                return self.leave();
            }
        }
    }

    fn is_done(&self) -> bool {
        let told = self.link.as_ref().is_none_or(|link| !link.has_more());
        match self.mode {
            Mode::Open => self.link.is_none() && self.runs.is_empty(),
            Mode::Draining { until } => {
                let hopeless = self.link.is_none() || boottime() >= until + LAST_WORDS;
                self.runs.is_empty() && told && (hopeless || self.kept.is_empty())
            }
        }
    }

    /// Leaves nothing behind but ends that nobody has made durable.
    fn leave(self) -> io::Result<()> {
        let Tools {
            door,
            home,
            records,
            ..
        } = self.tools;
        door.close()?;
        if let Ok(home) = home {
            home.close(records.path())?;
        }
        if self.kept.is_empty() {
            records.remove()?;
        }
        Ok(())
    }

    /// How processes of runs are ended here.
    fn trees(&self) -> Trees {
        let (memory, cpus) = self.tools.limits.told();
        Trees {
            way: match &self.tools.home {
                Ok(home) => home.way(),
                Err(way) => way.clone(),
            },
            memory,
            cpus,
            missed: self.missed.clone(),
        }
    }

    fn wait(&self) -> io::Result<Woken> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.tools.children.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.tools.deadlines.fired(), PollFlags::IN),
        ];
        match &self.link {
            Some(link) => {
                let mut wanted = PollFlags::empty();
                wanted.set(PollFlags::IN, link.may_hear());
                wanted.set(PollFlags::OUT, link.is_stuck());
                fds.push(PollFd::new(link, wanted));
            }
            None => fds.push(PollFd::new(&self.tools.door, PollFlags::IN)),
        }
        let others = fds.len();
        fds.extend(
            self.launchers()
                .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)),
        );
        let timeout = self.patience().map(|span| Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: span.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // Most likely by the end of a child.
            Err(Errno::INTR) => {
                return Ok(Woken {
                    children: true,
                    fired: false,
                    node: false,
                    launchers: false,
                });
            }
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Woken {
            children: ready(0),
            fired: ready(1),
            node: ready(2),
            launchers: (others..fds.len()).any(ready),
        })
    }

    /// How long nothing need be looked at.
    fn patience(&self) -> Option<Duration> {
        let may_hear = self.link.as_ref().is_some_and(Link::may_hear);
        if self.dead == Backlog::Perhaps || self.heard == Backlog::Perhaps && may_hear {
            return Some(Duration::ZERO);
        }
        let now = boottime();
        let strikes = self.ending_runs().filter_map(Run::next_strike);
        let due = self.link.as_ref().and_then(Link::due);
        let launches = self.launches.values().filter_map(Launch::due);
        let instants = strikes.chain(due).chain(launches);
        let mut times: Vec<Duration> = instants.map(|at| at.saturating_sub(now)).collect();
        match self.mode {
            Mode::Draining { until } if !self.runs.is_empty() => {
                times.push(until.saturating_sub(now).max(LOOK_AGAIN));
            }
            // Strays that no run answers for, or the node's last word.
            _ if self.wants_to_leave() => times.push(LAST_LOOK),
            Mode::Open | Mode::Draining { .. } => {}
        }
        times.into_iter().min()
    }

    /// Whether nothing is left to do but to see that nothing lives.
    fn wants_to_leave(&self) -> bool {
        self.runs.is_empty() && (self.mode != Mode::Open || self.link.is_none())
    }

    fn take_fired(&mut self) {
        for key in self.tools.deadlines.take_fired() {
            self.kill(key, Cause::DeadlineKill);
        }
    }

    fn kill(&mut self, key: RunKey, cause: Cause) {
        if let Some(run) = self.runs.get_mut(&key) {
            run.kill(cause, boottime());
            self.ending.insert(key);
        }
    }

    fn reap(&mut self) {
        let mut buffer = [0; 256];
        while rustix::io::read(&self.tools.children, &mut buffer)
            .is_ok_and(|bytes| bytes == buffer.len())
        {}
        self.dead = Backlog::None;
        for _ in 0..REAPS_PER_TURN {
            let Some(pid) = sys::next_ended() else {
                return;
            };
            match self.leader(pid) {
                Some(key) => self.reap_leader(key, pid),
                None => self.reap_stray(pid),
            }
        }
        self.dead = Backlog::Perhaps;
    }

    fn leader(&self, pid: i32) -> Option<RunKey> {
        let (key, place) = place_of(&self.runs, &self.sessions, pid)?;
        (place == Place::Here).then_some(key)
    }

    fn reap_leader(&mut self, key: RunKey, pid: i32) {
        // Before its number can be given to another: no deadline kills it any more, and what it
        // left in its group is killed now.
        // The deadline thread may have been faster than the news of it.
        if self.tools.deadlines.release(key) == Watched::Fired {
            self.kill(key, Cause::DeadlineKill);
        }
        if let Some(leader) = Pid::from_raw(pid) {
            let _left = kill_process_group(leader, Signal::KILL);
        }
        let Some((status, usage)) = sys::reap(pid) else {
            return;
        };
        if let Some(run) = self.runs.get_mut(&key) {
            run.add_usage(usage);
            run.leader_ended(status, boottime());
            self.ending.insert(key);
        }
    }

    fn reap_stray(&mut self, pid: i32) {
        let owner = self
            .strays
            .bury(pid, |sid| place_of(&self.runs, &self.sessions, sid));
        let Some((_, usage)) = sys::reap(pid) else {
            return;
        };
        if let Some(run) = owner.and_then(|key| self.runs.get_mut(&key)) {
            run.add_usage(usage);
        }
    }

    fn signal(&mut self, key: RunKey, signo: i32) {
        let signal = Signal::from_named_raw(signo);
        if let Some(run) = self.runs.get_mut(&key)
            && let Some(signal) = signal
            && run.place() == Place::Here
        {
            run.asked.get_or_insert_with(boottime);
            run.signalled(signo);
            // A group that is gone has ended by itself: its report is under way.
            let _sent = kill_process_group(run.leader, signal);
        }
    }

    fn shut_down(&mut self, grace: Duration) {
        self.mode = Mode::Draining {
            until: boottime().saturating_add(grace),
        };
        for run in self.runs.values_mut().filter(|run| run.is_running()) {
            run.ask();
            // A stopped run could not obey.
            for signal in [Signal::TERM, Signal::CONT] {
                let _sent = kill_process_group(run.leader, signal);
            }
        }
    }

    fn drain(&mut self) {
        if let Mode::Draining { until } = self.mode
            && boottime() >= until
        {
            self.kill_all();
        }
    }

    fn kill_all(&mut self) {
        let running = self.runs.values().filter(|run| run.is_running());
        let keys: Vec<RunKey> = running.map(|run| run.key).collect();
        for key in keys {
            self.kill(key, Cause::Asked);
        }
    }

    /// Brings the ends about: kills strays, reports the runs of which nothing lives. Tells whether
    /// everything is quiet, for a guard that wants to exit.
    fn settle(&mut self) -> io::Result<bool> {
        let last = self.wants_to_leave();
        if self.ending.is_empty() && !last {
            return Ok(false);
        }
        let now = boottime();
        if self.dead == Backlog::Perhaps && now < self.next_look {
            return Ok(false);
        }
        let place = |sid| place_of(&self.runs, &self.sessions, sid);
        let home = self.tools.home.as_ref().ok();
        let strays = self.strays.survey(now, place, |pid| home?.run_of(pid))?;
        for stray in &strays {
            if last || self.is_due(*stray) {
                let _sent = Pid::from_raw(stray.pid).map(|pid| kill_process(pid, Signal::KILL));
            }
        }
        let keys: Vec<RunKey> = self.ending.iter().copied().collect();
        for key in keys {
            self.settle_one(key, &strays, now);
        }
        // A look is at every child, the dead among them: after thousands of forks it takes longer than to reap some. So half of the
        // time is for each.
        let then = boottime();
        self.next_look = then + then.saturating_sub(now).max(LOOK_AGAIN);
        Ok(strays.is_empty())
    }

    /// Whether a stray must die now.
    fn is_due(&self, stray: Stray) -> bool {
        match stray.owner {
            Owner::Unclear { .. } => false,
            // Its run has ended: it should not be.
            Owner::Run(key) if !self.runs.contains_key(&key) => true,
            owner => self.ending_runs().any(|run| run.owns(owner)),
        }
    }

    fn ending_runs(&self) -> impl Iterator<Item = &Run> {
        self.ending.iter().filter_map(|key| self.runs.get(key))
    }

    fn settle_one(&mut self, key: RunKey, strays: &[Stray], now: Duration) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        let left = || {
            strays
                .iter()
                .filter(|stray| run.owns(stray.owner))
                .map(|stray| stray.pid)
        };
        if left().next().is_none()
            && !run.lives()
            && let Some(ended) = run.report(now)
        {
            let (slot, pid) = (run.slot, run.leader.as_raw_pid());
            if let Some(why) = self.never_begun(key, ended.cause) {
                self.tools.records.clear(slot);
                self.forget_run(key, pid);
                self.say(&Reply::Refused { key, why });
                return;
            }
            let Some(run) = self.runs.get(&key) else {
                return;
            };
            let kept = Kept {
                label: run.label,
                asked: run.asked,
                ended,
            };
            self.tools.records.end(slot, &kept);
            self.kept.insert(key, (slot, kept));
            self.forget_run(key, pid);
            self.say(&Reply::Ended(ended));
            return;
        }
        let pids: BTreeSet<i32> = left().chain([run.leader.as_raw_pid()]).collect();
        run.strike_again(now);
        // What waits to be reaped is dead, and does not resist.
        if self.dead == Backlog::None && run.turned_stuck(now) {
            let pids = pids
                .into_iter()
                .chain(run.members())
                .take(NAMED_PIDS)
                .collect();
            self.say(&Reply::Stuck { key, pids });
        }
    }

    fn forget_run(&mut self, key: RunKey, pid: i32) {
        if self.sessions.get(&pid) == Some(&key) {
            self.sessions.remove(&pid);
        }
        self.runs.remove(&key);
        self.ending.remove(&key);
    }
}

/// Which run a session belongs to, and where its leader is.
fn place_of(
    runs: &BTreeMap<RunKey, Run>,
    sessions: &HashMap<i32, RunKey>,
    sid: i32,
) -> Option<(RunKey, Place)> {
    let run = runs.get(sessions.get(&sid)?)?;
    Some((run.key, run.place()))
}
