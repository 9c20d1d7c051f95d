//! People: they submit, wish, and drain hosts.

use std::time::Duration;

use crdt::entry::DutyKind;
use crdt::event::{Durability, Input, Reply, Token};
use crdt::ids::{Epoch, TaskId};
use crdt::task::{Edits, TaskSpec, Wish};

use super::World;
use crate::plan::{Batch, Plan};
use crate::queue::HostIx;
use crate::timeline::Mark;

/// What a person asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Of which host's node.
    pub host: HostIx,
    /// When.
    pub at: Duration,
}

/// How long all runs of a task may take, one after the other.
fn length_of(spec: &TaskSpec) -> Duration {
    let length = Plan::of(spec).map_or(Duration::ZERO, |plan| plan.input + plan.length);
    length * spec.retries.saturating_add(1) * spec.places()
}

impl World {
    /// Submits tasks at a host; the answer comes when they are durable on a majority. A dead node never answers.
    pub fn submit(&mut self, host: HostIx, batch: Batch) -> Token {
        self.submit_with(host, batch, Durability::Quorum)
    }

    /// Submits tasks at a host with a say in when the answer comes.
    pub fn submit_with(&mut self, host: HostIx, batch: Batch, durable: Durability) -> Token {
        let token = self.ask(host);
        let mut tasks = batch.into_tasks();
        for task in &mut tasks {
            if !task.spec.options.key.is_empty() {
                task.spec.created = self.wall(host);
            }
        }
        self.work += tasks
            .iter()
            .map(|task| length_of(&task.spec))
            .sum::<Duration>();
        self.timeline.note(self.now, Some(host), Mark::Asked, || {
            format!("submit {} tasks", tasks.len())
        });
        self.tell_now(
            host,
            Input::Submit {
                token,
                tasks,
                durable,
            },
        );
        token
    }

    /// Asks at a host to end tasks: SIGTERM, and SIGKILL after `grace`.
    pub fn kill(&mut self, host: HostIx, tasks: &[TaskId], grace: Duration) -> Token {
        let wish = Wish::Kill {
            signal: 15,
            grace,
            reason: None,
        };
        self.want(host, tasks, wish)
    }

    /// A person says at a host that the runs of tasks which cannot be asked about are dead.
    pub fn write_off(&mut self, host: HostIx, tasks: &[TaskId]) -> Token {
        for task in tasks {
            self.oracle.written_off(*task);
        }
        let lost = Epoch::NONE;
        self.want(host, tasks, Wish::Retry { lost })
    }

    /// A person wants tasks that have ended to run again, and says so at a host.
    pub fn run_again(&mut self, host: HostIx, tasks: &[TaskId]) -> Token {
        let replica = self.hosts[host].replica.as_ref();
        let mut meant = tasks.to_vec();
        meant.extend(
            replica
                .iter()
                .flat_map(|of| tasks.iter().flat_map(|id| of.tasks_of_group(*id))),
        );
        let views = replica
            .into_iter()
            .flat_map(|of| meant.iter().filter_map(|id| of.task(*id)));
        self.work += views.map(|view| length_of(&view.spec)).sum::<Duration>();
        for task in meant {
            self.oracle.wanted_again(task);
        }
        let wish = Wish::Again {
            void: Vec::new(),
            tries: 0,
            losses: 0,
        };
        self.want(host, tasks, wish)
    }

    /// A person wants nobody to see tasks any more that have ended, and says so at a host.
    pub fn remove(&mut self, host: HostIx, tasks: &[TaskId]) -> Token {
        for task in tasks {
            self.oracle.removed(*task);
        }
        self.want(host, tasks, Wish::Remove { ended: Vec::new() })
    }

    /// A person wants tasks to be otherwise that have not started, and says so at a host.
    pub fn edit(&mut self, host: HostIx, tasks: &[TaskId], edits: Edits) -> Token {
        self.want(host, tasks, Wish::Edit(Box::new(edits)))
    }

    /// A person wants tasks kept from starting, or let go, and says so at a host.
    pub fn hold(&mut self, host: HostIx, tasks: &[TaskId], on: bool) -> Token {
        let wish = if on {
            Wish::Hold
        } else {
            Wish::Release { forgiven: 0 }
        };
        self.want(host, tasks, wish)
    }

    /// A person states something for the mesh at a host, or takes it back.
    pub fn set(&mut self, host: HostIx, name: &str, value: Option<&str>) -> Token {
        let token = self.ask(host);
        self.timeline.note(self.now, Some(host), Mark::Asked, || {
            format!("set {name} {value:?}")
        });
        let input = Input::Set {
            token,
            name: name.to_owned(),
            value: value.map(str::to_owned),
            by: "sim".to_owned(),
        };
        self.tell_now(host, input);
        token
    }

    fn want(&mut self, host: HostIx, tasks: &[TaskId], wish: Wish) -> Token {
        let token = self.ask(host);
        self.timeline.note(self.now, Some(host), Mark::Asked, || {
            format!("{wish:?} {tasks:?}")
        });
        let input = Input::Control {
            token,
            tasks: tasks.to_vec(),
            by: "sim".to_owned(),
            wish,
        };
        self.tell_now(host, input);
        token
    }

    /// A host takes no new tasks from now on.
    pub fn drain_host(&mut self, host: HostIx) {
        self.timeline
            .note(self.now, Some(host), Mark::Asked, || "drain".to_owned());
        self.tell_now(host, Input::Drain(true));
    }

    /// A host takes new tasks again.
    pub fn undrain_host(&mut self, host: HostIx) {
        self.timeline.note(self.now, Some(host), Mark::Asked, || {
            "drain no more".to_owned()
        });
        self.tell_now(host, Input::Drain(false));
    }

    /// A person wants a host to take no more work and to hand over its places in committees, or to go back to work.
    pub fn retire_host(&mut self, host: HostIx, on: bool) -> Token {
        let token = self.ask(host);
        self.timeline
            .note(self.now, Some(host), Mark::Asked, || format!("retire {on}"));
        let peer = self.hosts[host].peer;
        let kind = if on {
            DutyKind::Drains
        } else {
            DutyKind::Works
        };
        self.tell_now(host, Input::Assign { token, peer, kind });
        token
    }

    /// A person says at a host that another one will not come back: whoever it is now.
    pub fn forget_host(&mut self, host: HostIx, other: HostIx) -> Token {
        let token = self.ask(host);
        let peer = self.hosts[other].peer;
        self.timeline.note(self.now, Some(host), Mark::Asked, || {
            format!("forget {other}")
        });
        let kind = DutyKind::Gone;
        self.tell_now(host, Input::Assign { token, peer, kind });
        token
    }

    fn ask(&mut self, host: HostIx) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.asked.insert(
            token,
            Asked {
                host,
                at: self.now(),
            },
        );
        token
    }

    /// Returns what was asked for under a token.
    #[must_use]
    pub fn asked(&self, token: Token) -> Option<Asked> {
        self.asked.get(&token).copied()
    }

    /// Returns the answer to what was asked for.
    #[must_use]
    pub fn reply(&self, token: Token) -> Option<&Reply> {
        self.replies.get(&token)
    }

    /// Returns the tasks of a submission, once it is answered.
    #[must_use]
    pub fn tasks_of(&self, token: Token) -> &[TaskId] {
        match self.replies.get(&token) {
            Some(Reply::Submitted { ids, .. }) => ids,
            Some(Reply::Noted { .. } | Reply::Refused(_)) | None => &[],
        }
    }

    /// Submits tasks at a host and lets the world go on until they are acknowledged.
    pub fn submit_and_wait(&mut self, host: HostIx, batch: Batch) -> Vec<TaskId> {
        let token = self.submit(host, batch);
        self.until(Duration::from_secs(30), |world| {
            world.reply(token).is_some()
        });
        self.tasks_of(token).to_vec()
    }
}
