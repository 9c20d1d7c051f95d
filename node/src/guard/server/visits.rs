//! Nodes come and go: what one that has come is told, what it asks for, and that it has gone.
//!
//! One at a time. The next is let in when the one before has gone and all that it had said has been heard.

use std::io;

use super::{Backlog, Mode, Server};
use crate::clock::boottime;
use crate::guard::link::{Heard, Link};
use crate::guard::plan::Environments;
use crate::guard::protocol::{Cause, Found, FoundState, Reply, Request, VERSION};

/// Most requests in one turn, so that endings are not kept waiting by a flood of starts.
const REQUESTS_PER_TURN: usize = 64;

impl Server {
    /// Tells a node that has just come what there is.
    pub(super) fn greet(&mut self) {
        let runs = self.runs.values().map(|run| Found {
            key: run.key,
            label: run.label,
            memo: run.memo.clone(),
            asked: run.asked,
            state: FoundState::Alive {
                started_at: run.started_at,
                deadline: self.tools.deadlines.deadline(run.key),
            },
        });
        let kept = self.kept.values().map(|(_, kept)| kept.found());
        let found: Vec<Found> = runs.chain(kept).collect();
        self.say(&Reply::Ready {
            version: VERSION,
            pid: std::process::id(),
        });
        self.say(&Reply::Trees(self.trees()));
        for found in found {
            self.say(&Reply::Found(found));
        }
        self.say(&Reply::Listed);
        if let Some(link) = &mut self.link {
            link.flush_if_due();
        }
    }

    /// Says something to the node, if there is one: another will be told what matters.
    pub(super) fn say(&mut self, reply: &Reply) {
        if let Some(link) = &mut self.link {
            link.say(reply);
        }
    }

    /// Lets in the node that is at the door; one that comes while the guard takes its leave is sent away, to wait for the next.
    pub(super) fn let_in(&mut self) -> io::Result<()> {
        if let Some(stream) = self.tools.door.let_in()
            && self.mode == Mode::Open
        {
            self.link = Some(Link::new(stream)?);
            self.environments = Environments::default();
            self.greet();
        }
        Ok(())
    }

    /// Hears the node, and does what it says; a node that has gone is let go.
    pub(super) fn hear(&mut self) {
        self.heard = Backlog::None;
        for _ in 0..REQUESTS_PER_TURN {
            let Some(link) = self.link.as_mut().filter(|link| link.may_hear()) else {
                break;
            };
            match link.hear() {
                Ok(Heard::Request(request)) => self.obey(request),
                Ok(Heard::Silence) => return,
                // Garbage is no better than silence for ever.
                Ok(Heard::End) | Err(_) => {
                    self.link = None;
                    return;
                }
            }
        }
        self.heard = Backlog::Perhaps;
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::DefineEnv { id, vars } => self.environments.define(id, &vars),
            Request::ForgetEnv { id } => self.environments.forget(id),
            Request::Start(order) => match self.start(&order) {
                Ok(started) => {
                    if let (Some(started), Some(link)) = (started, &mut self.link) {
                        link.mention(&started);
                    }
                }
                Err(why) => self.say(&Reply::Refused {
                    key: order.key,
                    why,
                }),
            },
            Request::AreYouAlive => self.say(&Reply::Alive),
            Request::Extend { key, deadline } => self.tools.deadlines.extend(key, deadline),
            Request::Signal { key, signo } => self.signal(key, signo),
            Request::Kill { key } => {
                if let Some(run) = self.runs.get_mut(&key) {
                    run.asked.get_or_insert_with(boottime);
                }
                self.kill(key, Cause::Asked);
            }
            Request::Forget { key } => {
                if let Some((slot, _)) = self.kept.remove(&key) {
                    self.tools.records.clear(slot);
                }
            }
            Request::Shutdown { grace } => self.shut_down(grace),
        }
    }
}
