//! How a run starts: its deadline is armed, its cgroup made, its first process put into it, its record written.

use rustix::process::Pid;

use super::Mode;
use super::Server;
use crate::clock::boottime;
use crate::guard::cgroup::{Group, Held};
use crate::guard::launcher::unlaunched;
use crate::guard::plan::refusal;
use crate::guard::proc::Mark;
use crate::guard::protocol::{Refusal, Reply, StartRun};
use crate::guard::records::Recorded;
use crate::guard::run::Run;
use crate::guard::sys::{Fault, Plan, Step};

/// A run's first process, its cgroup if it has one, and its limits.
type Launched = (Pid, (Option<Group>, Held));

impl Server {
    /// Starts a run, with its deadline armed before. Returns what is to be said of it now, if anything.
    pub(super) fn start(&mut self, order: &StartRun) -> Result<Option<Reply>, Refusal> {
        let key = order.key;
        if self.mode != Mode::Open {
            return Err(Refusal::ShuttingDown);
        }
        if self.runs.contains_key(&key) || self.kept.contains_key(&key) {
            return Err(Refusal::BadOrder(
                "this run has been started already".into(),
            ));
        }
        let guard = self.guard;
        let mark = Mark { guard, key };
        let plan = self.environments.plan(order, mark)?;
        let (plan, on_its_way) = if order.may_hang() {
            let (plan, launch) = self.errand(order, mark)?;
            (plan, Some(launch))
        } else {
            (plan, None)
        };
        self.tools
            .deadlines
            .arm(key, order.deadline)
            .map_err(|_late| Refusal::DeadlinePassed)?;
        let at = boottime();
        let (leader, held) = match self.launch(order, &plan) {
            Ok(launched) => launched,
            Err(fault) => {
                self.tools.deadlines.release(key);
                return Err(match on_its_way {
                    None => refusal(order, fault),
                    Some(_) => unlaunched(fault),
                });
            }
        };
        // Its own end of the launcher's pipe among it.
        drop(plan);
        self.tools.deadlines.started(key, leader);
        let pid = leader.as_raw_pid();
        let slot = self.tools.records.add(Recorded {
            key,
            pid,
            started_at: at,
        });
        let run = Run::new(order, leader, held, at, slot);
        self.runs.insert(key, run);
        self.sessions.insert(pid, key);
        let Some(launch) = on_its_way else {
            return Ok(Some(Reply::Started { key, pid, at }));
        };
        self.launches.insert(key, launch);
        Ok(None)
    }

    /// Fires a plan, into a cgroup where there are any. One that cannot be made or entered is no reason not to run: the node is
    /// told, and the run is held by the other means alone.
    fn launch(&mut self, order: &StartRun, plan: &Plan) -> Result<Launched, Fault> {
        if let Ok(home) = &mut self.tools.home {
            let why = match home.make(order.key) {
                Ok((group, entrance)) => {
                    let limits = &self.tools.limits;
                    let (held, doors, missed) = limits.hold(order.key, &order.bounds, &group);
                    // A limit that cannot be set is no reason not to run, either.
                    missed.into_iter().for_each(|why| self.miss(why));
                    let fired = self.tools.shot.fire(plan, Some(&entrance), &doors);
                    let fault = match fired {
                        Ok(pid) => return Ok((leader(pid)?, (Some(group), held))),
                        Err(fault) => fault,
                    };
                    drop((entrance, doors));
                    held.remove();
                    if let Ok(home) = &mut self.tools.home {
                        home.unmake(group);
                    }
                    match fault.step {
                        Step::Clone | Step::Group => std::io::Error::from_raw_os_error(fault.errno),
                        _ => return Err(fault),
                    }
                }
                Err(error) => error,
            };
            self.miss(why.to_string());
        }
        let pid = self.tools.shot.fire(plan, None, &[])?;
        Ok((leader(pid)?, (None, Held::default())))
    }

    fn miss(&mut self, why: String) {
        if self.missed.as_ref() != Some(&why) {
            self.missed = Some(why);
            self.say(&Reply::Trees(self.trees()));
        }
    }
}

fn leader(pid: i32) -> Result<Pid, Fault> {
    Pid::from_raw(pid).ok_or(Fault {
        step: Step::Clone,
        errno: 0,
    })
}
