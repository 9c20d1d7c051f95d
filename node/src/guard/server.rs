//! The guard's loop: requests in, children out, and no report before nothing of a run lives.
//!
//! One thread does all of this; it waits in one `poll` for the node's socket (or, when the node has
//! gone, for another at the door), for the end of a child and for the deadline thread. The order in
//! one turn: deadlines, ended children, requests, endings, replies.

mod visits;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::deadlines::{Deadlines, Watched};
use super::door::Door;
use super::link::Link;
use super::plan::{Environments, refusal};
use super::proc::Mark;
use super::protocol::{Cause, Refusal, Reply, RunKey, StartRun};
use super::records::{Kept, Recorded, Records, Slot};
use super::run::Run;
use super::strays::{Owner, Place, Stray, Strays};
use super::sys;
use crate::clock::boottime;

/// Shortest and longest time between two looks at a run that should be gone. The usual end needs
/// none: a child's end wakes the guard.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// The same for a guard that is about to exit, and waits for the last word of its node.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// How long a guard whose runs have been ended waits for its node to make the ends durable. They are kept on disk in any case.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    /// Those that should be gone.
    ending: BTreeSet<RunKey>,
    strays: Strays,
    mode: Mode,
    heard: Backlog,
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
}

/// Whether decoded requests may be waiting.
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
            ending: BTreeSet::new(),
            strays: Strays::new(guard)?,
            mode: Mode::Open,
            heard: Backlog::None,
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
            if woken.children {
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
        self.tools.door.close()?;
        if self.kept.is_empty() {
            self.tools.records.remove()?;
        }
        Ok(())
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
                });
            }
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Woken {
            children: ready(0),
            fired: ready(1),
            node: ready(2),
        })
    }

    /// How long nothing need be looked at.
    fn patience(&self) -> Option<Duration> {
        let may_hear = self.link.as_ref().is_some_and(Link::may_hear);
        if self.heard == Backlog::Perhaps && may_hear {
            return Some(Duration::ZERO);
        }
        let now = boottime();
        let again =
            |since: Duration| (now.saturating_sub(since) / 4).clamp(LOOK_AGAIN.0, LOOK_AGAIN.1);
        let ending = self
            .ending
            .iter()
            .filter_map(|key| self.runs.get(key)?.ending_since());
        let mut times: Vec<Duration> = ending.map(again).collect();
        let due = self.link.as_ref().and_then(Link::due);
        times.extend(due.map(|at| at.saturating_sub(now)));
        match self.mode {
            Mode::Draining { until } if !self.runs.is_empty() => {
                times.push(until.saturating_sub(now).max(LOOK_AGAIN.0));
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
        while let Some(pid) = sys::next_ended() {
            match self.leader(pid) {
                Some(key) => self.reap_leader(key, pid),
                None => self.reap_stray(pid),
            }
        }
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

    /// Starts a run, with its deadline armed before.
    fn start(&mut self, order: &StartRun) -> Result<Reply, Refusal> {
        let key = order.key;
        if self.mode != Mode::Open {
            return Err(Refusal::ShuttingDown);
        }
        if self.runs.contains_key(&key) || self.kept.contains_key(&key) {
            return Err(Refusal::BadOrder(
                "this run has been started already".into(),
            ));
        }
        let plan = self.environments.plan(
            order,
            Mark {
                guard: self.guard,
                key,
            },
        )?;
        self.tools
            .deadlines
            .arm(key, order.deadline)
            .map_err(|_late| Refusal::DeadlinePassed)?;
        let at = boottime();
        let fired = self.tools.shot.fire(&plan);
        let leader = fired.and_then(|pid| {
            let fault = sys::Fault {
                step: sys::Step::Clone,
                errno: 0,
            };
            Pid::from_raw(pid).ok_or(fault)
        });
        let leader = match leader {
            Ok(leader) => leader,
            Err(fault) => {
                self.tools.deadlines.release(key);
                return Err(refusal(order, fault));
            }
        };
        self.tools.deadlines.started(key, leader);
        let pid = leader.as_raw_pid();
        let slot = self.tools.records.add(Recorded {
            key,
            pid,
            started_at: at,
        });
        self.runs.insert(key, Run::new(order, leader, at, slot));
        self.sessions.insert(pid, key);
        Ok(Reply::Started { key, pid, at })
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
        let place = |sid| place_of(&self.runs, &self.sessions, sid);
        let strays = self.strays.survey(now, place)?;
        for stray in &strays {
            if last || self.is_due(*stray) {
                let _sent = Pid::from_raw(stray.pid).map(|pid| kill_process(pid, Signal::KILL));
            }
        }
        let keys: Vec<RunKey> = self.ending.iter().copied().collect();
        for key in keys {
            self.settle_one(key, &strays, now);
        }
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
        if !run.group_lives()
            && left().next().is_none()
            && let Some(ended) = run.report(now)
        {
            let kept = Kept {
                label: run.label,
                asked: run.asked,
                ended,
            };
            self.tools.records.end(run.slot, &kept);
            self.kept.insert(key, (run.slot, kept));
            let pid = run.leader.as_raw_pid();
            if self.sessions.get(&pid) == Some(&key) {
                self.sessions.remove(&pid);
            }
            self.runs.remove(&key);
            self.ending.remove(&key);
            self.say(&Reply::Ended(ended));
            return;
        }
        let pids: Vec<i32> = left()
            .chain([run.leader.as_raw_pid()])
            .take(NAMED_PIDS)
            .collect();
        if run.place() == Place::Here {
            run.kill(Cause::Asked, now);
        }
        if run.turned_stuck(now) {
            self.say(&Reply::Stuck { key, pids });
        }
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
