//! What `aque status` lists: tasks as they were submitted, or those of a tree with what they belong to.
//!
//! A tree is as large as what it shows: members of groups, and whatever they submitted, are counted where their group stands,
//! unless they are asked for.

use std::collections::{BTreeMap, BTreeSet};

use crdt::ids::TaskId;
use crdt::replica::{Glance, Replica};
use crdt::task::Work;

use super::answers::LOOK;
use super::node::Node;
use super::program::now;
use crate::api::answers::{Answers, Taken};
use crate::api::lines::Lines;
use crate::api::rights::Caller;
use crate::api::select::SelectError;
use crate::api::wire::{Body, FailureKind, StatusQuery, TaskLine, Tasks, Tree};

/// One line of a status lists at most so many tasks.
const TASKS_A_LINE: usize = 500;

impl Node {
    pub(super) fn status(&self, query: &StatusQuery, caller: &Caller, answers: Answers) {
        let replica = &self.replica;
        let listed = match self.listed(query, caller) {
            Ok(listed) => listed,
            Err(error) => return answers.fail(FailureKind::Request, error.to_string(), LOOK),
        };
        let Listed { mut ids, below } = listed;
        let more = in_order(replica, &mut ids, query.limit);
        if query.tree.is_some() {
            add_owners(replica, &mut ids);
            in_order(replica, &mut ids, 0);
        }
        let lines = Lines::of(replica);
        let tasks = ids.iter().filter_map(|id| replica.glance(*id));
        let line = |task: Glance<'_>| TaskLine {
            below: below.get(&task.id()).cloned(),
            ..lines.line(&task)
        };
        tokio::spawn(send_in_lines(tasks.map(line).collect(), more, answers));
    }

    fn listed(&self, query: &StatusQuery, caller: &Caller) -> Result<Listed, SelectError> {
        let (which, replica) = (&query.which, &self.replica);
        let chosen = which.choose(replica, caller, now().wall)?;
        if which.narrows() {
            return Ok(Listed::from(chosen));
        }
        let named: BTreeSet<TaskId> = chosen.into_iter().collect();
        let of_caller = |task: &Glance<'_>| which.all_users || task.spec().user == caller.user;
        let all = || replica.glances().filter(of_caller);
        let alone = |task| (task, 1);
        match (query.tree, which.is_empty()) {
            (Some(Tree::Closed), true) => {
                let heads = replica.heads().filter(of_caller);
                let heads = heads.map(|task| (task, task.stands_for()));
                Ok(Listed::tree(replica, &named, heads, Tree::Closed))
            }
            (Some(tree), true) => Ok(Listed::tree(replica, &named, all().map(alone), tree)),
            (Some(tree), false) => {
                let below = below(replica, &named);
                let tasks = below.iter().filter_map(|id| replica.glance(*id));
                Ok(Listed::tree(replica, &named, tasks.map(alone), tree))
            }
            (None, true) if query.flat => Ok(Listed::of(all().filter(|task| !is_group(task)))),
            (None, true) => {
                let heads = replica.heads().filter(of_caller);
                Ok(Listed::of(heads.filter(|task| task.member_of().is_none())))
            }
            (None, false) if query.flat => {
                let opened = named.iter().flat_map(|id| opened(replica, *id));
                Ok(Listed::from(opened.collect::<Vec<_>>()))
            }
            (None, false) => Ok(Listed::from(named.into_iter().collect::<Vec<_>>())),
        }
    }
}

/// What is listed, and of tasks in it how many others they stand for, by state.
#[derive(Debug, Default)]
struct Listed {
    ids: Vec<TaskId>,
    below: BTreeMap<TaskId, BTreeMap<String, u32>>,
}

impl From<Vec<TaskId>> for Listed {
    fn from(mut ids: Vec<TaskId>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Self {
            ids,
            below: BTreeMap::new(),
        }
    }
}

impl Listed {
    fn of<'a>(tasks: impl Iterator<Item = Glance<'a>>) -> Self {
        Self::from(tasks.map(|task| task.id()).collect::<Vec<_>>())
    }

    /// `tasks` with how many each stands for.
    fn tree<'a>(
        replica: &'a Replica,
        named: &BTreeSet<TaskId>,
        tasks: impl Iterator<Item = (Glance<'a>, u32)>,
        tree: Tree,
    ) -> Self {
        let mut closed = Closed {
            replica,
            named,
            known: BTreeMap::new(),
        };
        let mut listed = Self::default();
        for (task, alike) in tasks {
            let group = match tree {
                Tree::Open => None,
                Tree::Closed => closed.around(task.id()),
            };
            let Some(group) = group else {
                listed.ids.push(task.id());
                continue;
            };
            // Its own members are counted with the group.
            let counted = task.member_of().is_some_and(|member| member.group == group);
            if !counted && !is_group(&task) {
                let counts = listed.below.entry(group).or_default();
                *counts.entry(task.state().name().to_owned()).or_default() += alike;
            }
        }
        listed
    }
}

/// Which tasks stand inside groups that are shown as one.
struct Closed<'a> {
    replica: &'a Replica,
    /// These are shown, wherever they stand.
    named: &'a BTreeSet<TaskId>,
    known: BTreeMap<TaskId, Option<TaskId>>,
}

impl Closed<'_> {
    /// Returns the outermost group that hides a task: one of which it, or whoever submitted it, is a member.
    fn around(&mut self, id: TaskId) -> Option<TaskId> {
        let mut path = Vec::new();
        let (mut at, mut group) = (id, None);
        loop {
            if let Some(known) = self.known.get(&at) {
                group = known.or(group);
                break;
            }
            let task = self
                .replica
                .glance(at)
                .filter(|_| !self.named.contains(&at));
            // What a broken host writes may be a circle.
            let Some(task) = task.filter(|_| !path.contains(&at)) else {
                break;
            };
            path.push(at);
            group = task.member_of().map(|member| member.group).or(group);
            match owner(&task) {
                Some(owner) => at = owner,
                None => break,
            }
        }
        // What is hidden with it is only known of the task asked for: a group that it is in does not hide those above.
        self.known.insert(id, group);
        group
    }
}

fn is_group(task: &Glance<'_>) -> bool {
    matches!(task.spec().work, Work::Group { .. })
}

/// What a task belongs to: its group, or else the task that submitted it.
fn owner(task: &Glance<'_>) -> Option<TaskId> {
    let group = task.member_of().map(|member| member.group);
    group.or(task.spec().options.parent)
}

/// The members of a group; any other task alone.
fn opened(replica: &Replica, id: TaskId) -> Vec<TaskId> {
    match replica.glance(id).as_ref().is_some_and(is_group) {
        true => replica.tasks_of_group(id),
        false => vec![id],
    }
}

/// Tasks, and all that belongs to them. Looks at every task once.
fn below(replica: &Replica, roots: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
    let mut owned = BTreeMap::<TaskId, Vec<TaskId>>::new();
    for task in replica.glances() {
        if let Some(owner) = owner(&task) {
            owned.entry(owner).or_default().push(task.id());
        }
    }
    let mut found = roots.clone();
    let mut next: Vec<TaskId> = roots.iter().copied().collect();
    while let Some(id) = next.pop() {
        let new = owned.get(&id).into_iter().flatten();
        next.extend(new.filter(|id| found.insert(**id)));
    }
    found
}

/// Sorts tasks by their submission, and keeps the newest, up to a limit other than 0. Returns how many are left out.
fn in_order(replica: &Replica, ids: &mut Vec<TaskId>, limit: u32) -> u64 {
    ids.sort_by_cached_key(|id| {
        let created = replica.glance(*id).map(|task| task.spec().created);
        (created, *id)
    });
    let more = match limit {
        0 => 0,
        limit => ids.len().saturating_sub(limit as usize),
    };
    ids.drain(..more);
    more as u64
}

/// Adds what tasks belong to, if it is not there.
fn add_owners(replica: &Replica, ids: &mut Vec<TaskId>) {
    let mut known: BTreeSet<TaskId> = ids.iter().copied().collect();
    let mut next = ids.clone();
    while let Some(id) = next.pop() {
        let owner = replica.glance(id).as_ref().and_then(owner);
        let there = owner.filter(|owner| replica.glance(*owner).is_some());
        if let Some(owner) = there.filter(|owner| known.insert(*owner)) {
            ids.push(owner);
            next.push(owner);
        }
    }
}

async fn send_in_lines(mut lines: Vec<TaskLine>, more: u64, answers: Answers) {
    while lines.len() > TASKS_A_LINE {
        let rest = lines.split_off(TASKS_A_LINE);
        let tasks = std::mem::replace(&mut lines, rest);
        let page = Body::Tasks(Tasks { tasks, more: 0 });
        if answers.push(page).await != Taken::Yes {
            return;
        }
    }
    answers.end(Body::Tasks(Tasks { tasks: lines, more }));
}
