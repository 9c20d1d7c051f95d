//! `aque explain`: why a task does not run, as each host says itself; of those that do not answer in time, as they were heard of last.

use std::time::Duration;

use crdt::ids::{PeerId, TaskId};
use crdt::replica::{Hindrance, Replica};
use crdt::roster::MemberView;
use futures::StreamExt;
use net::{Net, PeerKey};
use tokio::time::timeout;
use tracing::debug;

use super::answers::LOOK;
use super::node::Node;
use crate::api::answers::Answers;
use crate::api::ids;
use crate::api::lines::{Lines, Names};
use crate::api::passage::Passage;
use crate::api::rights::Caller;
use crate::api::wire::{Body, Call, FailureKind, ReasonLine, Reasons, TaskLine};
use crate::render::text::duration;

/// A host that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many hosts are asked at one time.
const AT_ONCE: usize = 32;

impl Node {
    pub(super) fn explain(&self, id: &str, alone: bool, caller: &Caller, answers: Answers) {
        let id = match ids::one(&self.replica, id, &caller.user) {
            Ok(id) => id,
            Err(error) => return answers.fail(FailureKind::Request, error.to_string(), LOOK),
        };
        let names = Names::of(&self.replica);
        let (Some(view), Some(own)) = (self.replica.glance(id), self.replica.hindrance(id)) else {
            return answers.fail(FailureKind::Request, "no such task is known here", LOOK);
        };
        let task = Lines::of(&self.replica).line(&view);
        let members = self.replica.members();
        let own = members.iter().filter(|member| member.own).map(|member| {
            let told = reason(member, &own, &names);
            ReasonLine { told: true, ..told }
        });
        let own: Vec<ReasonLine> = own.collect();
        // What has ended has for all who hear of it; a group is a group everywhere.
        let everywhere = view.state().is_complete() || task.members.is_some();
        if alone || everywhere {
            return answers.end(Body::Reasons(Box::new(Reasons { task, hosts: own })));
        }
        let others = members.iter().filter(|member| !member.own);
        let others = others.map(|member| Other {
            peer: member.alive.then_some(member.peer),
            heard: heard_of(&self.replica, id, member, &names),
        });
        let asked = Asked {
            net: self.net.clone(),
            task,
            own,
            others: others.collect(),
        };
        tokio::spawn(asked.answer(answers));
    }
}

/// Another host.
#[derive(Debug)]
struct Other {
    /// Whom to ask, if it may answer.
    peer: Option<PeerId>,
    /// What is said of it if it does not.
    heard: ReasonLine,
}

/// A question for all hosts.
#[derive(Debug)]
struct Asked {
    net: Net,
    task: TaskLine,
    own: Vec<ReasonLine>,
    others: Vec<Other>,
}

impl Asked {
    async fn answer(self, answers: Answers) {
        let Self {
            net,
            task,
            own: mut hosts,
            others,
        } = self;
        let each = others.into_iter().map(|Other { peer, heard }| {
            let (net, id) = (&net, &task.id);
            async move {
                match peer {
                    Some(peer) => ask(net, peer, id, heard).await,
                    None => heard,
                }
            }
        });
        let asking = futures::stream::iter(each).buffered(AT_ONCE);
        let told: Vec<ReasonLine> = tokio::select! {
            told = asking.collect() => told,
            () = answers.left() => return,
        };
        hosts.extend(told);
        answers.end(Body::Reasons(Box::new(Reasons { task, hosts })));
    }
}

/// Asks a host, with a limit.
async fn ask(net: &Net, peer: PeerId, id: &str, heard: ReasonLine) -> ReasonLine {
    let call = Call::Explain {
        id: id.to_owned(),
        alone: true,
    };
    let answer = timeout(PATIENCE, async {
        let mut passage = Passage::open(net, PeerKey(peer.0), "").await?;
        passage.ask(call).await
    });
    let of_itself = |kind: &str, what: String| ReasonLine {
        told: true,
        kind: kind.to_owned(),
        what,
        until_ms: None,
        ..heard.clone()
    };
    match answer.await {
        Ok(Ok(Body::Reasons(mut reasons))) if reasons.hosts.len() == 1 => {
            let told = reasons.hosts.remove(0);
            ReasonLine {
                until_ms: told.until_ms,
                ..of_itself(&told.kind, told.what)
            }
        }
        Ok(Ok(Body::Error(failure))) if failure.kind == FailureKind::Request => of_itself(
            "unknown",
            format!("has not heard of it ({})", failure.message),
        ),
        Ok(Ok(strange)) => {
            debug!(peer = %peer.tag(), ?strange, "a host answers another question");
            heard
        }
        Ok(Err(error)) => {
            debug!(peer = %peer.tag(), %error, "a host cannot be asked");
            heard
        }
        Err(_) => {
            debug!(peer = %peer.tag(), "a host does not answer in time");
            heard
        }
    }
}

fn reason(member: &MemberView, hindrance: &Hindrance, names: &Names) -> ReasonLine {
    let host = hindrance.host.map(|host| names.name(host));
    let host = host.map_or_else(String::new, |host| format!(" {host}"));
    ReasonLine {
        host: member.name.clone(),
        tag: member.peer.tag().to_string(),
        told: false,
        kind: hindrance.kind.word().to_owned(),
        what: format!("{}{host}", hindrance.what),
        until_ms: hindrance.until.map(|until| until.0),
    }
}

/// What is said of a host that does not answer: that it is silent, or else what it would say by its last word.
fn heard_of(replica: &Replica, id: TaskId, member: &MemberView, names: &Names) -> ReasonLine {
    let silence = match member.silent {
        _ if member.alive => "does not answer".to_owned(),
        Some(silent) => format!("is not heard of since {} ago", duration(silent)),
        None => "was not heard of since this host started".to_owned(),
    };
    let known = replica.hindrance_at(id, member);
    let known = known.map(|known| reason(member, &known, names));
    let and = known
        .as_ref()
        .map_or_else(String::new, |known| format!("; it {}", known.what));
    ReasonLine {
        host: member.name.clone(),
        tag: member.peer.tag().to_string(),
        told: false,
        kind: "silent".to_owned(),
        what: format!("{silence}{and}"),
        until_ms: None,
    }
}
