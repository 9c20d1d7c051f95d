//! The end of a world: all faults stop, and the judges of liveness look: everything ends (L1), all replicas agree and
//! hold nothing against each other (C1), nothing is left over (R1), nothing that was acknowledged is missing (D1).

use std::time::Duration;

use crdt::entry::Total;
use crdt::ids::{PeerId, TaskId};
use crdt::offences::Offence;
use crdt::replica::Replica;
use crdt::task::TaskState;
use crdt::terms::Terms;

use super::World;
use crate::oracle::Judge;
use crate::queue::HostIx;

/// How often it is looked whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Beyond leases and work: connections, repair by digests, the back-off of claims.
const SLACK: Duration = Duration::from_secs(45);

/// Says whether this is laid at the door of who handed it over, or of a clock.
fn is_carriers(offence: Offence) -> bool {
    match offence {
        Offence::Frame | Offence::Envelope | Offence::Forgery | Offence::Stamp => true,
        Offence::Equivocation
        | Offence::Rule(_)
        | Offence::WentBack
        | Offence::Leap
        | Offence::NoBid
        | Offence::Misplaced => false,
    }
}

impl World {
    /// Heals everything and judges the end.
    pub fn finish(&mut self) {
        self.finish_without(&[]);
    }

    /// Heals everything but some hosts, which stay as they are, and judges the end.
    pub fn finish_without(&mut self, absent: &[HostIx]) {
        if self.is_broken() {
            return;
        }
        self.heal(absent);
        let present: Vec<HostIx> = (0..self.hosts.len())
            .filter(|host| !absent.contains(host))
            .collect();
        let bound = self.now() + self.setup.timing.wait() * 20 + self.work + SLACK;
        self.await_end(&present, bound);
        // A submission that waited for its node's peers may come only now.
        let bound = self.now() + self.work + self.lease() * 4 + SLACK;
        self.await_rest(&present, bound);
        self.judge_acked(&present);
    }

    /// L1: everything that any replica knows of ends.
    fn await_end(&mut self, present: &[HostIx], bound: Duration) {
        loop {
            self.run_for(LOOK_EVERY);
            self.back_to_work(present);
            if self.is_broken() {
                return;
            }
            let Some((host, task, state)) = self.unended(present) else {
                return;
            };
            if self.now() >= bound {
                let lines = self.explain(host, task);
                let what = format!("still {state} on host {host}{lines}");
                return self.oracle.accuse(Judge::L1, self.now, Some(task), what);
            }
        }
    }

    /// Hosts that were drained are wanted again.
    fn back_to_work(&mut self, present: &[HostIx]) {
        for host in present {
            if self
                .replica(*host)
                .is_some_and(crdt::replica::Replica::is_retired)
            {
                self.retire_host(*host, false);
            }
        }
    }

    fn unended(&self, present: &[HostIx]) -> Option<(HostIx, TaskId, TaskState)> {
        for host in present {
            let Some(replica) = &self.hosts[*host].replica else {
                // A node that waits for a guard to end is about to come back.
                let any = TaskId {
                    tag: self.hosts[*host].tag,
                    n: 0,
                };
                return Some((*host, any, TaskState::Creating));
            };
            let open = replica.task_ids().find_map(|id| {
                let state = replica
                    .task(id)
                    .map_or(TaskState::Creating, |view| view.state);
                (!state.is_complete()).then_some((*host, id, state))
            });
            if open.is_some() {
                return open;
            }
        }
        None
    }

    fn explain(&self, host: HostIx, task: TaskId) -> String {
        let mut text = String::new();
        for other in 0..self.hosts.len() {
            let Some(replica) = &self.hosts[other].replica else {
                continue;
            };
            let mark = if other == host { "*" } else { "" };
            let state = replica
                .task(task)
                .map_or("unknown", |view| view.state.name());
            text.push_str(&format!(
                "\n  h{other}{mark} ({}): {state}",
                self.tags[other]
            ));
            for line in replica.explain_registers(task) {
                text.push_str("\n    ");
                text.push_str(&line);
            }
        }
        text
    }

    /// What a replica holds against an author, all of whom are honest. What carriers of forgeries are blamed for is no
    /// slander, nor are stamps where clocks are set.
    fn slander(&self, present: &[HostIx]) -> Option<String> {
        present.iter().find_map(|host| {
            let replica = self.hosts[*host].replica.as_ref()?;
            let (peer, offence, times) = replica
                .offences()
                .iter()
                .find(|(_, offence, _)| !is_carriers(*offence))?;
            let (tag, count) = (peer.tag(), times.count);
            Some(format!(
                "host {host} blames {tag} for {offence}, {count} times"
            ))
        })
    }

    /// C1 and R1: replicas become equal, nobody is blamed, and nothing is left over.
    fn await_rest(&mut self, present: &[HostIx], bound: Duration) {
        loop {
            self.run_for(LOOK_EVERY);
            if self.is_broken() {
                return;
            }
            if let Some(what) = self.slander(present) {
                return self.oracle.accuse(Judge::C1, self.now, None, what);
            }
            let wrong = self
                .leftover(present)
                .or_else(|| self.difference(present))
                .or_else(|| self.miscount(present));
            let Some((judge, what)) = wrong else { return };
            if self.now() >= bound {
                return self.oracle.accuse(judge, self.now, None, what);
            }
        }
    }

    fn leftover(&self, present: &[HostIx]) -> Option<(Judge, String)> {
        if let Some((task, epoch, host)) = self.oracle.leftover() {
            return Some((
                Judge::R1,
                format!("{task}/{epoch} still executes on host {host}"),
            ));
        }
        present.iter().find_map(|host| {
            let node = &self.hosts[*host];
            if let Some(run) = node.guards.keys().next() {
                return Some((Judge::R1, format!("host {host} still guards {run:?}")));
            }
            let claims = node
                .replica
                .as_ref()
                .map_or(0, |replica| replica.live_claims());
            (claims > 0).then(|| {
                (
                    Judge::R1,
                    format!("host {host} still has {claims} live claims"),
                )
            })
        })
    }

    fn difference(&mut self, present: &[HostIx]) -> Option<(Judge, String)> {
        let mut first: Option<(HostIx, [u8; 32])> = None;
        for host in present {
            let Some(replica) = &mut self.hosts[*host].replica else {
                continue;
            };
            let digest = replica.state_digest();
            match first {
                Some((other, equal)) if equal != digest => {
                    return Some((Judge::C1, self.name_difference(other, *host)));
                }
                Some(_) => {}
                None => first = Some((*host, digest)),
            }
        }
        None
    }

    /// The documents' PN-counters must say that nothing runs, and no more than what really happened.
    fn miscount(&mut self, present: &[HostIx]) -> Option<(Judge, String)> {
        let tally = self.oracle.tally();
        let here: Vec<PeerId> = present.iter().map(|host| self.hosts[*host].peer).collect();
        for host in present {
            let Some(replica) = &mut self.hosts[*host].replica else {
                continue;
            };
            let live = replica.counted_live();
            let still = live
                .into_iter()
                .find(|(peer, count)| here.contains(peer) && *count != 0);
            if let Some((peer, count)) = still {
                let tag = peer.tag();
                let what = format!("host {host} counts {count} live runs of {tag}; there are none");
                return Some((Judge::R1, what));
            }
            let ended = replica.counted(Total::Succeeded) + replica.counted(Total::Failed);
            for (name, counted, real) in [
                ("starts", replica.counted(Total::Started), tally.starts),
                ("ends", ended, tally.exits + tally.impossible),
            ] {
                if counted > i64::try_from(real).unwrap_or(i64::MAX) {
                    let what = format!("host {host} counts {counted} {name} and there were {real}");
                    return Some((Judge::R1, what));
                }
            }
        }
        None
    }

    /// Says in what two replicas differ: tasks, or else documents only.
    fn name_difference(&self, one: HostIx, other: HostIx) -> String {
        let show = |host: HostIx, id: TaskId| {
            let view = self.hosts[host]
                .replica
                .as_ref()
                .and_then(|replica| replica.task(id));
            let replica = self.hosts[host].replica.as_ref();
            let removed = replica.is_some_and(|replica| replica.is_removed(id));
            view.map_or_else(
                || if removed { "removed" } else { "unknown" }.to_owned(),
                |view| {
                    let outcome = view.outcome.map(|outcome| outcome.digest());
                    format!("{} {outcome:?}", view.state)
                },
            )
        };
        let ids = |host: HostIx| {
            let replica = self.hosts[host].replica.as_ref();
            replica
                .into_iter()
                .flat_map(|replica| replica.task_ids())
                .collect::<Vec<_>>()
        };
        let mut all = [ids(one), ids(other)].concat();
        all.sort_unstable();
        let different = all
            .into_iter()
            .find(|id| show(one, *id) != show(other, *id));
        match different {
            Some(id) => format!(
                "task {id} is {} on host {one} and {} on host {other}{}",
                show(one, id),
                show(other, id),
                self.explain(one, id)
            ),
            None => format!("documents of hosts {one} and {other} differ; tasks are equal"),
        }
    }

    /// Says whether a task had ended for so long that nobody need keep it. (That groups ended is nowhere written.)
    fn is_past(&self, replica: &Replica, id: TaskId) -> bool {
        let Some(retention) = replica.retention() else {
            return false;
        };
        let since = self.oracle.committed_at(id).unwrap_or(0);
        let age = Duration::from_nanos(self.now.saturating_sub(since));
        // As far as clocks may err.
        age >= retention * 9 / 10
    }

    /// D1: every acknowledged task is there; and S2 once more, on every replica alike.
    fn judge_acked(&mut self, present: &[HostIx]) {
        if self.is_broken() {
            return;
        }
        let acked: Vec<TaskId> = self.oracle.acked().collect();
        for host in present {
            let Some(replica) = &self.hosts[*host].replica else {
                continue;
            };
            let said = |id: TaskId| self.oracle.is_removed(id);
            let group = |id: TaskId| Some(replica.known_task(id)?.member_of?.group);
            // With their group, or as a group with the last of its members.
            let of_group = |id: TaskId| {
                let member = |of: &TaskId| said(*of) && group(*of) == Some(id);
                group(id).is_some_and(said) || acked.iter().any(member)
            };
            let removed = |id: TaskId| replica.is_removed(id) && (said(id) || of_group(id));
            let lost = acked.iter().find(|id| {
                replica.task(**id).is_none() && !removed(**id) && !self.is_past(replica, **id)
            });
            if let Some(task) = lost {
                let what = format!("acknowledged, and unknown on host {host}");
                return self.oracle.accuse(Judge::D1, self.now, Some(*task), what);
            }
            for id in replica.task_ids() {
                let Some(view) = replica.task(id) else {
                    continue;
                };
                if let Some(outcome) = &view.outcome {
                    let terms = Terms::of(&view.spec);
                    let void = replica.void_outcomes(id);
                    self.oracle
                        .committed(self.now, id, *host, (outcome, terms), &void);
                }
            }
        }
    }
}
