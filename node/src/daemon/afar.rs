//! Clients of other hosts: this node passes its own on to them, and answers theirs.

use std::sync::Arc;

use crdt::ids::PeerId;
use crdt::roster::MemberView;
use net::{PeerKey, Stream};
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;

use super::node::Node;
use crate::api::answers::{Answers, Question};
use crate::api::passage::{self, Passage};
use crate::api::rights::Caller;
use crate::api::wire::{Body, FailureKind};

/// So many clients of other hosts are answered at one time.
const GUESTS: usize = 100;
/// What to do when a host is not known.
pub(super) const LOOK_NODES: Option<&str> = Some("'aque nodes' lists them");

/// Where clients of other hosts come in.
#[derive(Debug)]
pub(super) struct Door {
    questions: mpsc::Sender<Question>,
    guests: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(questions: mpsc::Sender<Question>) -> Self {
        let guests = Arc::new(Semaphore::new(GUESTS));
        Self { questions, guests }
    }
}

/// Refuses what a client of another host may not ask.
pub(super) fn admitted(question: Question) -> Option<Question> {
    if !question.caller.is_from_afar() || question.call.only_looks() {
        return Some(question);
    }
    let text = "from another host one may only look, and not at what tasks wrote";
    let hint = Some("leave --node out: any node does it for the whole mesh");
    question.answers.fail(FailureKind::Forbidden, text, hint);
    None
}

impl Node {
    /// Returns the host that is meant: the one called so by tag or name, or this one.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(super) fn meant(&self, node: Option<&str>) -> Result<MemberView, (String, Option<&str>)> {
        let members = self.replica.members();
        let mut meant: Vec<MemberView> = match node {
            None => members.into_iter().filter(|member| member.own).collect(),
            Some(text) => {
                let tagged = |member: &MemberView| member.peer.tag().to_string() == text;
                let is_tag = members.iter().any(tagged);
                let named = |member: &MemberView| match is_tag {
                    true => tagged(member),
                    false => member.name == text,
                };
                members.into_iter().filter(named).collect()
            }
        };
        let called = format!("called {:?}", node.unwrap_or_default());
        match (meant.pop(), meant.len()) {
            (Some(member), 0) => Ok(member),
            (Some(_), others) => Err((
                format!("{} hosts are {called}", others + 1),
                Some("name it by its tag: see 'aque nodes'"),
            )),
            (None, _) => Err((format!("no host of the mesh is {called}"), LOOK_NODES)),
        }
    }

    /// Passes a client on to another host.
    pub(super) fn pass(&self, node: &str, caller: &Caller, answers: Answers) {
        let member = match self.meant(Some(node)) {
            Ok(member) => member,
            Err((text, hint)) => return answers.fail(FailureKind::Request, text, hint),
        };
        if member.own {
            return answers.end(Body::Passed(self.hello()));
        }
        let name = member.name;
        if !member.alive {
            let text = format!("{name} is not heard of");
            return answers.fail(FailureKind::Unreachable, text, LOOK_NODES);
        }
        let (net, user) = (self.net.clone(), caller.user.clone());
        tokio::spawn(async move {
            match Passage::open(&net, PeerKey(member.peer.0), &user).await {
                Ok(passage) => answers.pass(Box::new(passage)),
                Err(error) => {
                    let text = format!("{name} cannot be asked: {error}");
                    answers.fail(FailureKind::Unreachable, text, LOOK_NODES);
                }
            }
        });
    }

    /// Answers a client that another host passes on.
    pub(super) fn let_in_from(&self, peer: PeerId, stream: Stream) {
        let Ok(place) = Arc::clone(&self.door.guests).try_acquire_owned() else {
            return debug!(peer = %peer.tag(), "too many clients of other hosts");
        };
        let members = self.replica.members();
        let known = members.into_iter().find(|member| member.peer == peer);
        let host = known.map_or_else(|| peer.tag().to_string(), |member| member.name);
        let (hello, questions) = (self.hello(), self.door.questions.clone());
        tokio::spawn(async move {
            passage::serve(stream, &host, hello, questions).await;
            drop(place);
        });
    }
}
