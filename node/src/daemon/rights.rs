//! The one place where it is decided whether a client gets what it asks for: before anything of it is carried out.

use crdt::ids::TaskId;
use crdt::replica::Replica;

use super::node::Node;
use crate::api::answers::{Answers, Question};
use crate::api::ids;
use crate::api::rights::{Caller, Takes};
use crate::api::select::Selection;
use crate::api::wire::FailureKind;

impl Node {
    /// Lets a question through if its caller may ask it; else it is answered.
    pub(super) fn admitted(&self, question: Question) -> Option<Question> {
        let caller = &question.caller;
        if caller.rules() {
            return Some(question);
        }
        let why = match question.call.takes() {
            Takes::Nothing | Takes::OwnChosen => None,
            Takes::Rule(what) => Some((
                format!("{} may not {what}", caller.user),
                "ask root, or the user who runs this node".to_owned(),
            )),
            Takes::OwnTasks(texts) => texts.iter().find_map(|text| self.others(text, caller)),
        };
        let Some((message, hint)) = why else {
            return Some(question);
        };
        let answers = question.answers;
        answers.fail(FailureKind::Forbidden, message, Some(&hint));
        None
    }

    /// The same as [`Node::resolve`] for what takes that the tasks are one's own ([`Takes::OwnChosen`]).
    pub(super) fn resolve_own(
        &self,
        which: &Selection,
        caller: &Caller,
        answers: Answers,
    ) -> Option<(Vec<TaskId>, Answers)> {
        let (ids, answers) = self.resolve(which, caller, answers)?;
        let Some((message, hint)) = self.anothers(&ids, caller) else {
            return Some((ids, answers));
        };
        answers.fail(FailureKind::Forbidden, message, Some(&hint));
        None
    }

    /// Says whose one of the tasks named is, if that is somebody else. What names no task is not to be judged here.
    fn others(&self, text: &str, caller: &Caller) -> Option<(String, String)> {
        let named = [text.to_owned()];
        let ids = ids::resolve(&self.replica, &named, &caller.user).ok()?;
        self.anothers(&ids, caller)
    }

    fn anothers(&self, ids: &[TaskId], caller: &Caller) -> Option<(String, String)> {
        let (id, owner) = ids.iter().find_map(|id| {
            let owner = owner(&self.replica, *id)?;
            (!caller.may_touch(&owner)).then_some((id, owner))
        })?;
        Some((
            format!("{id} is {owner}'s"),
            format!("ask {owner} or root; 'aque show {id}' tells what is known of it"),
        ))
    }

    /// Leaves of some tasks those that are the caller's to do something with.
    pub(super) fn own_of(&self, mut ids: Vec<TaskId>, caller: &Caller) -> Vec<TaskId> {
        let own = |id: &TaskId| {
            let owner = owner(&self.replica, *id);
            owner.is_some_and(|owner| caller.may_touch(&owner))
        };
        if !caller.rules() {
            ids.retain(own);
        }
        ids
    }
}

/// To whom a task belongs; `None` if its spec has not come yet.
fn owner(replica: &Replica, id: TaskId) -> Option<String> {
    Some(replica.glance(id)?.spec().user.clone())
}
