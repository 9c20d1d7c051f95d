//! Answers to clients: each request is answered from the replica at once, or when its reply comes.

use crdt::event::{Input, Refusal, Reply, Token};
use crdt::ids::TaskId;
use crdt::replica::{Glance, QueueView};
use crdt::roster::MemberView;
use crdt::settings::Stated;
use crdt::task::Wish;
use net::PeerKey;
use tracing::debug;

use super::afar::LOOK_NODES;
use super::node::Node;
use super::output;
use super::program::now;
use super::remove::Among;
use super::retry::Wanted;
use super::waits::Terms;
use crate::api::answers::{Answers, Question, failure};
use crate::api::ids;
use crate::api::lines::{Lines, Names, detail, new_tasks, node_line, task_line};
use crate::api::rights::Caller;
use crate::api::select::Selection;
use crate::api::wire::{
    Assigned, Body, Call, Closed, Details, DutyWord, FailureKind, Invitation, NodeLine, Nodes,
    Noted, QueueLine, QueueList, SettingLine, SettingList, Stats, Submission, Submitted, TaskLine,
};

use crate::clock::boottime;

/// Requests that wait for the replica's reply.
const PENDING_LIMIT: usize = 20_000;

/// A request that the replica has not answered yet.
#[derive(Debug)]
pub(super) enum Pending {
    Submit(Answers),
    Wish {
        answers: Answers,
        asked: u64,
    },
    /// What is answered is known already.
    Noted {
        answers: Answers,
        noted: Noted,
    },
    Close {
        answers: Answers,
        closed: Closed,
    },
    Assign {
        answers: Answers,
        assigned: Assigned,
    },
    Set {
        answers: Answers,
        line: SettingLine,
    },
}

impl Pending {
    fn answers(self) -> Answers {
        let (Self::Submit(answers)
        | Self::Wish { answers, .. }
        | Self::Noted { answers, .. }
        | Self::Assign { answers, .. }
        | Self::Set { answers, .. }
        | Self::Close { answers, .. }) = self;
        answers
    }
}

impl Node {
    pub(super) fn answer(&mut self, question: Question) {
        let within = self.within_reach(question);
        let Some(question) = within.and_then(|question| self.admitted(question)) else {
            return;
        };
        let Question {
            caller,
            call,
            answers,
        } = question;
        match call {
            Call::Submit(submission) => self.submit(submission, &caller, answers),
            Call::Status(query) => self.status(&query, &caller, answers),
            Call::Show { which } => {
                if let Some((ids, answers)) = self.resolve(&which, &caller, answers) {
                    let lines = Lines::of(&self.replica);
                    let tasks = ids.iter().filter_map(|id| self.replica.glance(*id));
                    let shown = |task: Glance<'_>| {
                        let whole = detail(&self.replica, &task, &lines);
                        match caller.may_touch(&task.spec().user) {
                            true => whole,
                            false => whole.without_input(),
                        }
                    };
                    let tasks = tasks.map(shown).collect();
                    answers.end(Body::Details(Details { tasks }));
                }
            }
            Call::Output(query) => match ids::one(&self.replica, &query.task, &caller.user) {
                Ok(task) => match query
                    .attempt
                    .map(|n| self.place_of_attempt(task, n))
                    .transpose()
                {
                    Ok(stored) => {
                        let mesh = self.output_mesh();
                        let names = Names::of(&self.replica);
                        let whose = (task, stored.flatten());
                        tokio::spawn(output::answer(mesh, whose, query, names, answers));
                    }
                    Err(why) => {
                        answers.fail(FailureKind::Request, why, Some("'aque show' tells of each"))
                    }
                },
                Err(error) => answers.fail(FailureKind::Request, error.to_string(), LOOK),
            },
            Call::Wait {
                which,
                any,
                state,
                each,
            } => {
                if let Some((ids, answers)) = self.resolve(&which, &caller, answers) {
                    self.waits
                        .add(&self.replica, ids, Terms { any, state, each }, answers);
                }
            }
            Call::Page(query) => self.page(&query, &caller, answers),
            Call::Events(query) => self.read_news(&query, &caller, answers),
            Call::Kill {
                which,
                signal,
                grace,
                reason,
                recursive,
            } => {
                if let Some((mut ids, answers)) = self.resolve_own(&which, &caller, answers) {
                    if recursive {
                        // What belongs to others goes on.
                        ids = self.own_of(self.replica.family(&ids), &caller);
                    }
                    let wish = Wish::Kill {
                        signal,
                        grace,
                        reason,
                    };
                    self.want(ids, &caller, wish, answers);
                }
            }
            Call::Retry {
                which,
                failed,
                succeeded,
                recursive,
            } => {
                if let Some((ids, answers)) = self.resolve_own(&which, &caller, answers) {
                    let wanted = Wanted {
                        failed,
                        succeeded,
                        recursive,
                        all_users: which.all_users,
                    };
                    self.retry(ids, wanted, &caller, answers);
                }
            }
            Call::Hold { which } => {
                if let Some((ids, answers)) = self.resolve_own(&which, &caller, answers) {
                    self.want(ids, &caller, Wish::Hold, answers);
                }
            }
            Call::Release { which } => {
                if let Some((ids, answers)) = self.resolve_own(&which, &caller, answers) {
                    // The replica puts in what is forgiven.
                    let wish = Wish::Release { forgiven: 0 };
                    self.want(ids, &caller, wish, answers);
                }
            }
            Call::Explain { id, alone } => self.explain(&id, alone, &caller, answers),
            Call::Edit { which, edits } => {
                if let Some((ids, answers)) = self.resolve_own(&which, &caller, answers) {
                    self.edit(&ids, *edits, &caller, answers);
                }
            }
            Call::Remove { which, all } => {
                if let Some((ids, answers)) = self.resolve_own(&which, &caller, answers) {
                    let among = match (all && which.is_empty(), which.all_users) {
                        (true, true) => Among::All,
                        (true, false) => Among::Own,
                        (false, _) => Among::Named(ids),
                    };
                    self.remove(&among, &caller, answers);
                }
            }
            Call::Close { group, size } => self.close(&group, size, &caller, answers),
            Call::Assign { node, duty } => self.assign(node.as_deref(), duty, answers),
            Call::Settings {} => {
                let settings = self.replica.settings().iter();
                let line = |(name, stated): (&str, &Stated)| setting_line(name, stated);
                let settings = settings.map(line).collect();
                answers.end(Body::Settings(SettingList { settings }));
            }
            Call::Set { name, value } => {
                let by = caller.user;
                let line = SettingLine {
                    name: name.clone(),
                    value: value.clone(),
                    by: by.clone(),
                };
                if let Some(token) = self.expect_reply(Pending::Set { answers, line }) {
                    self.feed(Input::Set {
                        token,
                        name,
                        value,
                        by,
                    });
                }
            }
            Call::Queues {} => {
                let queues = self.replica.queue_views().into_iter().map(queue_line);
                let queues = queues.collect();
                answers.end(Body::Queues(QueueList { queues }));
            }
            Call::Pass { node } => self.pass(&node, &caller, answers),
            Call::Nodes {} => answers.end(Body::Nodes(self.nodes())),
            Call::Invite {} => {
                let ticket = self.ticket().to_string();
                answers.end(Body::Invitation(Invitation { ticket }));
            }
            Call::Doctor {} => answers.end(Body::Checkup(self.checkup())),
            Call::Stats {} => answers.end(Body::Stats(self.stats())),
        }
    }

    /// Returns the tasks that are meant, and the way back; or answers that there are none.
    pub(super) fn resolve(
        &self,
        which: &Selection,
        caller: &Caller,
        answers: Answers,
    ) -> Option<(Vec<TaskId>, Answers)> {
        let why = match which.choose(&self.replica, caller, now().wall) {
            Ok(chosen) if chosen.is_empty() && which.narrows() => "no task fits".to_owned(),
            Ok(chosen) => return Some((chosen, answers)),
            Err(error) => error.to_string(),
        };
        answers.fail(FailureKind::Request, why, LOOK);
        None
    }

    pub(super) fn expect_reply(&mut self, pending: Pending) -> Option<Token> {
        if self.pending.len() >= PENDING_LIMIT {
            pending.answers().fail(
                FailureKind::Busy,
                "too many requests wait for the disk",
                Some("try again in a moment"),
            );
            return None;
        }
        let token = self.next_token;
        self.next_token += 1;
        self.pending.insert(token, pending);
        Some(token)
    }

    fn submit(&mut self, submission: Submission, caller: &Caller, answers: Answers) {
        let durable = submission.durable.into();
        match new_tasks(&self.replica, submission, caller, now().wall) {
            Ok(tasks) => {
                if let Some(token) = self.expect_reply(Pending::Submit(answers)) {
                    self.feed(Input::Submit {
                        token,
                        tasks,
                        durable,
                    });
                }
            }
            Err(error) => {
                let hint = error.hint();
                answers.fail(FailureKind::Request, error.to_string(), hint.as_deref());
            }
        }
    }

    pub(super) fn want(
        &mut self,
        tasks: Vec<TaskId>,
        caller: &Caller,
        wish: Wish,
        answers: Answers,
    ) {
        let asked = tasks.len() as u64;
        if let Some(token) = self.expect_reply(Pending::Wish { answers, asked }) {
            self.feed(Input::Control {
                token,
                tasks,
                by: caller.user.clone(),
                wish,
            });
        }
    }

    /// Writes down what a person wants of a host.
    fn assign(&mut self, node: Option<&str>, duty: DutyWord, answers: Answers) {
        let member = match self.meant(node) {
            Ok(member) => member,
            Err((text, hint)) => return answers.fail(FailureKind::Request, text, hint),
        };
        let (peer, kind) = (member.peer, duty.into());
        let assigned = Assigned {
            name: member.name.clone(),
            tag: peer.tag().to_string(),
        };
        if let Some(token) = self.expect_reply(Pending::Assign { answers, assigned }) {
            self.feed(Input::Assign { token, peer, kind });
        }
    }

    fn close(&mut self, group: &str, size: u32, caller: &Caller, answers: Answers) {
        let id = match ids::one(&self.replica, group, &caller.user) {
            Ok(id) if ids::is_group(&self.replica, id) => id,
            Ok(id) => {
                return answers.fail(FailureKind::Request, format!("{id} is not a group"), None);
            }
            Err(error) => return answers.fail(FailureKind::Request, error.to_string(), LOOK),
        };
        let closed = Closed {
            group: id.to_string(),
            size,
        };
        if let Some(token) = self.expect_reply(Pending::Close { answers, closed }) {
            let (by, wish) = (caller.user.clone(), Wish::Close { size });
            self.feed(Input::Control {
                token,
                tasks: vec![id],
                by,
                wish,
            });
        }
    }

    /// Passes a replica's reply on to the client that waits for it.
    pub(super) fn pass_reply(&mut self, token: Token, reply: Reply) {
        let Some(pending) = self.pending.remove(&token) else {
            return;
        };
        match (pending, reply) {
            (Pending::Submit(answers), Reply::Submitted { ids, copies, known }) => {
                let ids = ids.iter().map(ToString::to_string).collect();
                let (copies, committee) = copies.unwrap_or_default();
                answers.end(Body::Submitted(Submitted {
                    ids,
                    copies,
                    committee,
                    known,
                }));
            }
            (Pending::Wish { answers, asked }, Reply::Noted { ended }) => {
                let names = Names::of(&self.replica);
                let views = ended.iter().filter_map(|(id, _)| self.replica.task(*id));
                let ended: Vec<TaskLine> = views.map(|view| task_line(&view, &names)).collect();
                let asked = asked.saturating_sub(ended.len() as u64);
                answers.end(Body::Noted(Noted { ended, asked }));
            }
            (Pending::Noted { answers, noted }, Reply::Noted { .. }) => {
                answers.end(Body::Noted(noted));
            }
            (Pending::Close { answers, closed }, Reply::Noted { .. }) => {
                answers.end(Body::Closed(closed));
            }
            (Pending::Assign { answers, assigned }, Reply::Noted { .. }) => {
                answers.end(Body::Assigned(assigned));
            }
            (Pending::Set { answers, line }, Reply::Noted { .. }) => answers.end(Body::Set(line)),
            (pending, Reply::Refused(refusal)) => pending.answers().end(refused(&refusal)),
            (_, reply) => debug!(?reply, "reply of another kind than asked for"),
        }
    }

    /// Answers all that wait for the disk, which takes nothing for now: they need not wait until somebody makes room.
    pub(super) fn answer_without_disk(&mut self, problem: &dyn std::error::Error) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            let text = format!(
                "this host's disk takes no writes ({problem}): what was asked is kept in memory and done once it does"
            );
            let hint = "make room, then see 'aque status' before asking again";
            pending.answers().fail(FailureKind::Busy, text, Some(hint));
        }
    }

    fn nodes(&self) -> Nodes {
        let round_trip = |peer: crdt::ids::PeerId| self.net.round_trip(PeerKey(peer.0));
        let line = |member: &MemberView| {
            let tag = member.peer.tag();
            let since = self.news.standing_since(member.peer, boottime());
            NodeLine {
                since_ms: since.and_then(|since| u64::try_from(since.as_millis()).ok()),
                differs: self.replica.differing(tag),
                ..node_line(member, round_trip(member.peer), self.replica.places(tag))
            }
        };
        Nodes {
            nodes: self.replica.members().iter().map(line).collect(),
        }
    }

    fn stats(&self) -> Stats {
        let named = |(name, value): (&'static str, u64)| (format!("aque_{name}_total"), value);
        let mut values: std::collections::BTreeMap<String, u64> =
            self.replica.counters().iter().map(named).collect();
        values.extend(
            self.net
                .stats()
                .iter()
                .map(|(name, value)| (format!("aque_net_{name}"), value)),
        );
        let memory = self.replica.memory();
        let sizes = [
            ("aque_tasks", memory.tasks),
            ("aque_documents", memory.documents),
            ("aque_claims", memory.claims),
            ("aque_backlog_bytes", memory.backlog_bytes),
        ];
        values.extend(sizes.map(|(name, value)| (name.to_owned(), value as u64)));
        Stats { values }
    }
}

pub(super) const LOOK: Option<&str> = Some(crate::api::ids::LOOK);

fn setting_line(name: &str, stated: &Stated) -> SettingLine {
    SettingLine {
        name: name.to_owned(),
        value: stated.value.clone(),
        by: stated.by.clone(),
    }
}

fn queue_line(view: QueueView) -> QueueLine {
    QueueLine {
        name: view.name,
        slots: view.rule.slots,
        weight: view.rule.weight,
        paused: view.rule.paused,
        active: view.active as u64,
        waiting: view.waiting as u64,
    }
}

fn refused(refusal: &Refusal) -> Body {
    match refusal {
        Refusal::Disk | Refusal::Busy => failure(FailureKind::Busy, refusal.to_string(), None),
        Refusal::Unknown(_) => failure(FailureKind::Request, refusal.to_string(), LOOK),
        Refusal::Alive => failure(
            FailureKind::Request,
            refusal.to_string(),
            Some("'aque drain NODE --wait' lets it end its runs and hands over what rests on it"),
        ),
        Refusal::NoMember => failure(FailureKind::Request, refusal.to_string(), LOOK_NODES),
        Refusal::Setting(_) => failure(
            FailureKind::Request,
            refusal.to_string(),
            Some("see 'aque settings --help'"),
        ),
        Refusal::Edit(_) => failure(
            FailureKind::Request,
            refusal.to_string(),
            Some("see 'aque edit --help'"),
        ),
        Refusal::Spec { .. } => failure(FailureKind::Request, refusal.to_string(), None),
    }
}
