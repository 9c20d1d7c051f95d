//! What a new task may name, so that no circle of tasks ever waits for itself.
//!
//! A dependency is older than what waits for it, so dependencies alone make no circle. A group does not stand in that order: it
//! waits for members that may come later, and in a window a member waits for those before it. Two rules, whatever other hosts take
//! at the same time:
//! - within a submission nothing waits for itself, by way of groups and windows too;
//! - what joins a group that was submitted before waits for no other group that is open, and for no member of a window, directly or
//!   by way of others, but for those for which the members before it wait.
//!
//! Why that is enough: a circle needs a member that is younger than its group, or than those after it in the window. By the second
//! rule whatever such a member waits for beyond what its group was made with waits for nothing that can still grow.

use std::collections::{BTreeMap, BTreeSet};

use super::Replica;
use crate::event::NewTask;
use crate::graph::TaskIx;
use crate::ids::TaskId;
use crate::task::Work;

/// That a task of a submission may not name what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tangle {
    /// Its place in the submission.
    pub(super) place: usize,
    /// What is wrong.
    pub(super) why: String,
}

/// A group as a submission names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum GroupRef {
    Place(u32),
    Known(TaskId),
}

/// The places of a submission, and what each waits for within it.
struct Places<'a> {
    tasks: &'a [NewTask],
    waits_for: Vec<Vec<usize>>,
}

impl<'a> Places<'a> {
    fn new(tasks: &'a [NewTask]) -> Self {
        let after = |task: &NewTask| task.links.after.iter().map(|at| *at as usize).collect();
        let mut waits_for: Vec<Vec<usize>> = tasks.iter().map(after).collect();
        let mut windows = BTreeMap::<GroupRef, Vec<(u32, usize)>>::new();
        for (place, task) in tasks.iter().enumerate() {
            let (Some(member), Some(group)) = (task.spec.member_of, group_of(task)) else {
                continue;
            };
            if let GroupRef::Place(group) = group {
                waits_for[group as usize].push(place);
            }
            if member.window > 0 {
                let members = windows.entry(group).or_default();
                members.push((member.index, place));
            }
        }
        for mut members in windows.into_values() {
            members.sort_unstable();
            for pair in members.windows(2) {
                waits_for[pair[1].1].push(pair[0].1);
            }
        }
        Self { tasks, waits_for }
    }

    /// Returns a place that waits for itself, if one does.
    fn circle(&self) -> Option<usize> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            OnTheWay,
            Whole,
        }
        let mut seen = vec![Seen::No; self.tasks.len()];
        for start in 0..self.tasks.len() {
            // What is on the way, and how many of its edges were followed.
            let mut way: Vec<(usize, usize)> = Vec::new();
            if seen[start] == Seen::No {
                seen[start] = Seen::OnTheWay;
                way.push((start, 0));
            }
            while let Some((place, followed)) = way.last_mut() {
                let Some(next) = self.waits_for[*place].get(*followed).copied() else {
                    seen[*place] = Seen::Whole;
                    way.pop();
                    continue;
                };
                *followed += 1;
                match seen[next] {
                    Seen::Whole => {}
                    Seen::OnTheWay => return Some(next),
                    Seen::No => {
                        seen[next] = Seen::OnTheWay;
                        way.push((next, 0));
                    }
                }
            }
        }
        None
    }
}

fn group_of(task: &NewTask) -> Option<GroupRef> {
    let member = task.spec.member_of?;
    let place = task.links.group.map(GroupRef::Place);
    Some(place.unwrap_or(GroupRef::Known(member.group)))
}

impl Replica {
    /// Says which task of a submission could come to wait for itself, if one could. Places and ids in it are known to lead
    /// somewhere.
    pub(super) fn tangle(&self, tasks: &[NewTask]) -> Option<Tangle> {
        if tasks.iter().all(|task| task.spec.member_of.is_none()) {
            return None;
        }
        let places = Places::new(tasks);
        if let Some(place) = places.circle() {
            let why = "what it waits for waits for it in turn".to_owned();
            return Some(Tangle { place, why });
        }
        let mut cleared = BTreeMap::<TaskId, BTreeSet<TaskIx>>::new();
        for (place, task) in tasks.iter().enumerate() {
            if let Some(GroupRef::Known(group)) = group_of(task) {
                let cleared = cleared.entry(group).or_default();
                if let Err(why) = self.may_join(group, place, &places, cleared) {
                    return Some(Tangle { place, why });
                }
            }
        }
        None
    }

    /// The second rule: says why a task may not join a group that was submitted before, if it may not. `cleared` has what was
    /// found to be no obstacle to any member.
    fn may_join(
        &self,
        group: TaskId,
        place: usize,
        places: &Places<'_>,
        cleared: &mut BTreeSet<TaskIx>,
    ) -> Result<(), String> {
        let usual = self.usual_dependencies(group);
        let index = places.tasks[place].spec.member_of.map(|of| of.index);
        let mut known: Vec<TaskId> = Vec::new();
        let mut on_the_way = vec![place];
        let mut seen = BTreeSet::from([place]);
        while let Some(place) = on_the_way.pop() {
            let named = places.tasks[place].spec.dependencies().map(|(id, _)| id);
            known.extend(named.filter(|id| !usual.contains(id)));
            let next = places.waits_for[place].iter().copied();
            on_the_way.extend(next.filter(|next| seen.insert(*next)));
        }
        while let Some(id) = known.pop() {
            let Some((ix, after)) = self.find_from(id) else {
                continue;
            };
            let task = self.known(ix);
            let Some(spec) = task.spec.as_deref() else {
                return Err(format!(
                    "it waits for {id}, of which too little is known here"
                ));
            };
            if task.state.is_complete() || cleared.contains(&ix) {
                continue;
            }
            let open = |of: TaskId| {
                format!(
                    "it joins group {group}, which was submitted before, and waits for {of}, which could come to wait for that: \
                     name it for the first members"
                )
            };
            if matches!(spec.work, Work::Group { .. }) {
                return Err(open(id));
            }
            if let Some(member) = task.is_member_of().filter(|of| of.window > 0) {
                let is_before =
                    member.group == group && index.is_some_and(|own| member.index + after < own);
                if !is_before {
                    return Err(open(member.group));
                }
                // What it waits for was looked at when it joined.
                continue;
            }
            cleared.insert(ix);
            known.extend(spec.dependencies().map(|(id, _)| id));
        }
        Ok(())
    }

    /// What the first member of a group waits for.
    fn usual_dependencies(&self, group: TaskId) -> BTreeSet<TaskId> {
        let first = self.graph.group(group).and_then(|of| of.members().next());
        let spec = first.and_then(|ix| self.known(ix).spec.as_deref());
        let named = spec.into_iter().flat_map(|spec| spec.dependencies());
        named.map(|(id, _)| id).collect()
    }
}
