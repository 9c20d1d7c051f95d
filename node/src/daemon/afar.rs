//! Clients of other hosts: this node passes its own on to them, and answers theirs.

use std::sync::Arc;

use crdt::fit::{ROOT, RunsAs};
use crdt::ids::PeerId;
use crdt::roster::MemberView;
use crdt::settings::RootTasks;
use net::{PeerKey, Stream};
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;

use super::node::Node;
use crate::api::answers::{Answers, Question};
use crate::api::passage::{self, Passage, Reach};
use crate::api::rights::Caller;
use crate::api::wire::{Body, FailureKind};
use crate::users::check_name;

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

/// What to do when something cannot be done from another host.
const AT_HOME: &str = "leave --node out: any node does it for the whole mesh";

impl Node {
    /// Refuses what a client of another host may not ask, whoever they are there.
    pub(super) fn within_reach(&self, question: Question) -> Option<Question> {
        let caller = &question.caller;
        if !caller.is_from_afar() {
            return Some(question);
        }
        let why = match question.call.reach() {
            Reach::Looks => None,
            Reach::Owners => self.is_no_owner(&caller.user),
            Reach::Here => Some(
                "from another host one may change one's own tasks alone, no hosts and no settings"
                    .into(),
            ),
        };
        let Some(why) = why else {
            return Some(question);
        };
        let failed = FailureKind::Forbidden;
        question.answers.fail(failed, why, Some(AT_HOME));
        None
    }

    /// Says why a user of another host may not do something to tasks here, if so: nobody may who could not at this node's own socket,
    /// and root is another on each host unless the mesh says otherwise.
    fn is_no_owner(&self, user: &str) -> Option<String> {
        let own = self.hello().node;
        let root_goes = self.replica.settings().root_tasks() == RootTasks::Anywhere;
        match self.replica.runs_as() {
            _ if check_name(user).is_err() => {
                Some("from another host nobody without a name may do more than look".to_owned())
            }
            RunsAs::One(whose) if whose != user => Some(format!(
                "from another host {whose} alone may do more than look at {own}, as whom it runs"
            )),
            RunsAs::One(_) | RunsAs::Anyone if user == ROOT && !root_goes => Some(format!(
                "root of another host may only look at {own} ('aque settings set root-tasks anywhere' lets root do more)"
            )),
            RunsAs::One(_) | RunsAs::Anyone => None,
        }
    }

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
