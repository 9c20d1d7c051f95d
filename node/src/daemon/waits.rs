//! Clients that wait for tasks. A change touches only the clients that named that task or its group; a group is counted by its
//! own counters, so to wait for a hundred thousand members costs no more than to wait for one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crdt::ids::TaskId;
use crdt::replica::Replica;
use crdt::task::{TaskState, TaskView, Work};

use crate::api::answers::{Answers, Taken};
use crate::api::lines::{Names, task_line};
use crate::api::wire::{Body, Progress, TaskLine};

/// A client is told of progress no more often than this; of the end at once.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// One line names at most so many tasks that have just ended.
const TASKS_A_LINE: usize = 500;

/// What a client waits for.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) any: bool,
    pub(super) state: Option<TaskState>,
    pub(super) each: bool,
}

/// What there is to know of tasks.
pub(super) trait Tasks {
    fn view(&self, id: TaskId) -> Option<TaskView>;
    fn group(&self, id: TaskId) -> Option<TaskId>;
    fn members(&self, group: TaskId) -> Vec<TaskId>;
    fn names(&self) -> Names;
}

impl Tasks for Replica {
    fn view(&self, id: TaskId) -> Option<TaskView> {
        self.known_task(id)
    }

    fn group(&self, id: TaskId) -> Option<TaskId> {
        self.glance(id)?.member_of().map(|member| member.group)
    }

    fn members(&self, group: TaskId) -> Vec<TaskId> {
        self.tasks_of_group(group)
    }

    fn names(&self) -> Names {
        Names::of(self)
    }
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waits {
    waits: BTreeMap<u64, Wait>,
    /// Who named a task.
    watched: BTreeMap<TaskId, BTreeSet<u64>>,
    /// Who has something to be told, and when.
    due: BTreeSet<(Duration, u64)>,
    next: u64,
}

impl Waits {
    /// Adds a client.
    pub(super) fn add(
        &mut self,
        tasks: &impl Tasks,
        mut named: Vec<TaskId>,
        terms: Terms,
        answers: Answers,
    ) {
        named.sort_unstable();
        named.dedup();
        self.next += 1;
        for id in &named {
            self.watched.entry(*id).or_default().insert(self.next);
        }
        self.waits
            .insert(self.next, Wait::new(tasks, named, terms, answers));
        self.tell_at(self.next, Duration::ZERO);
    }

    /// Notes that a task is in another state.
    pub(super) fn task_changed(&mut self, tasks: &impl Tasks, id: TaskId, state: TaskState) {
        if self.waits.is_empty() {
            return;
        }
        let group = tasks.group(id);
        for named in [Some(id), group].into_iter().flatten() {
            for key in self.watched.get(&named).cloned().unwrap_or_default() {
                let Some(wait) = self.waits.get_mut(&key) else {
                    continue;
                };
                wait.note(named, id, state);
                let at = if wait.is_done() {
                    Duration::ZERO
                } else {
                    wait.told + TELL_EVERY
                };
                self.tell_at(key, at);
            }
        }
    }

    /// Returns when somebody is to be told next.
    pub(super) fn next_report(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Tells those whose time has come what has changed, and lets go of those that are done or gone.
    pub(super) fn report(&mut self, tasks: &impl Tasks, now: Duration) {
        if self.next_report().is_none_or(|at| at > now) {
            return;
        }
        let names = tasks.names();
        let later = self.due.split_off(&(now + Duration::from_nanos(1), 0));
        for (_, key) in std::mem::replace(&mut self.due, later) {
            let Some(wait) = self.waits.get_mut(&key) else {
                continue;
            };
            (wait.due, wait.told) = (None, now);
            match wait.tell(tasks, &names) {
                Told::All => {}
                Told::Part => self.tell_at(key, now + TELL_EVERY),
                Told::Left => drop(self.take(key)),
                Told::Last(progress) => {
                    if let Some(wait) = self.take(key) {
                        wait.answers.end(Body::Progress(progress));
                    }
                }
            }
        }
    }

    /// Lets go of clients that have left.
    pub(super) fn sweep(&mut self) {
        let left = |(key, wait): (&u64, &Wait)| wait.answers.is_closed().then_some(*key);
        for key in self.waits.iter().filter_map(left).collect::<Vec<_>>() {
            if let Some(due) = self.take(key).and_then(|wait| wait.due) {
                self.due.remove(&(due, key));
            }
        }
    }

    fn tell_at(&mut self, key: u64, at: Duration) {
        let Some(wait) = self.waits.get_mut(&key) else {
            return;
        };
        if wait.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(due) = wait.due.replace(at) {
            self.due.remove(&(due, key));
        }
        self.due.insert((at, key));
    }

    fn take(&mut self, key: u64) -> Option<Wait> {
        let wait = self.waits.remove(&key)?;
        for id in &wait.named {
            if let Some(keys) = self.watched.get_mut(id) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.watched.remove(id);
                }
            }
        }
        Some(wait)
    }
}

/// What became of telling.
enum Told {
    /// There is nothing more to tell for now.
    All,
    /// The client reads slowly; the rest comes later.
    Part,
    /// The client has left.
    Left,
    /// It is done; this remains to be sent.
    Last(Progress),
}

/// One client.
#[derive(Debug)]
struct Wait {
    answers: Answers,
    /// As they were named: groups and tasks.
    named: Vec<TaskId>,
    /// Those named that are not as they are waited for.
    open: BTreeSet<TaskId>,
    groups: Vec<TaskId>,
    /// Named tasks that are no groups.
    singles: BTreeMap<TaskId, TaskState>,
    terms: Terms,
    /// With `each`: ended, and not told yet.
    news: VecDeque<TaskId>,
    /// With `each`: every task that was ever among the news.
    ended: BTreeSet<TaskId>,
    told: Duration,
    due: Option<Duration>,
}

impl Wait {
    fn new(tasks: &impl Tasks, named: Vec<TaskId>, terms: Terms, answers: Answers) -> Self {
        let mut wait = Self {
            answers,
            open: named.iter().copied().collect(),
            named,
            groups: Vec::new(),
            singles: BTreeMap::new(),
            terms,
            news: VecDeque::new(),
            ended: BTreeSet::new(),
            told: Duration::ZERO,
            due: None,
        };
        for id in wait.named.clone() {
            let Some(view) = tasks.view(id) else { continue };
            if matches!(view.spec.work, Work::Group { .. }) {
                wait.groups.push(id);
                if wait.terms.each {
                    for member in tasks.members(id) {
                        let state = tasks
                            .view(member)
                            .map_or(TaskState::Creating, |view| view.state);
                        wait.note(id, member, state);
                    }
                }
            } else {
                wait.singles.insert(id, view.state);
            }
            wait.note(id, id, view.state);
        }
        wait
    }

    /// Takes note of the state of `id`, which was named itself or as a member of the group `named`.
    fn note(&mut self, named: TaskId, id: TaskId, state: TaskState) {
        let is_group = named == id && !self.singles.contains_key(&id);
        if named == id {
            if let Some(known) = self.singles.get_mut(&id) {
                *known = state;
            }
            if state.is_complete() || self.terms.state == Some(state) {
                self.open.remove(&id);
            }
        }
        if self.terms.each && state.is_complete() && !is_group && self.ended.insert(id) {
            self.news.push_back(id);
        }
    }

    fn is_done(&self) -> bool {
        self.open.is_empty() || self.terms.any && self.open.len() < self.named.len()
    }

    fn tell(&mut self, tasks: &impl Tasks, names: &Names) -> Told {
        let lines = |ids: &mut dyn Iterator<Item = TaskId>| -> Vec<TaskLine> {
            ids.filter_map(|id| tasks.view(id))
                .map(|view| task_line(&view, names))
                .collect()
        };
        let counts = self.count(tasks);
        loop {
            let next = self.news.len().min(TASKS_A_LINE);
            let news = lines(&mut self.news.iter().copied().take(next));
            if self.is_done() && next == self.news.len() {
                let each = self.terms.each;
                let tasks = if each {
                    news
                } else {
                    lines(&mut self.named.iter().copied())
                };
                return Told::Last(Progress { tasks, ..counts });
            }
            match self.answers.offer(Body::Progress(Progress {
                tasks: news,
                ..counts.clone()
            })) {
                Taken::Yes => drop(self.news.drain(..next)),
                Taken::NoRoom => return Told::Part,
                Taken::Left => return Told::Left,
            }
            if self.news.is_empty() && !self.is_done() {
                return Told::All;
            }
        }
    }

    fn count(&self, tasks: &impl Tasks) -> Progress {
        let mut sum = Progress {
            total: 0,
            done: 0,
            failed: 0,
            running: 0,
            tasks: Vec::new(),
        };
        let mut add = |state: TaskState, count: u64| {
            sum.total += count;
            sum.done += if state.is_complete() { count } else { 0 };
            sum.failed += if state.is_complete() && state != TaskState::Success {
                count
            } else {
                0
            };
            sum.running += if state == TaskState::Running {
                count
            } else {
                0
            };
        };
        self.singles.values().for_each(|state| add(*state, 1));
        for members in self.groups.iter().filter_map(|id| tasks.view(*id)?.members) {
            TaskState::ALL
                .iter()
                .zip(members)
                .for_each(|(state, count)| add(*state, count.into()));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::sync::Arc;

    use crdt::ids::Tag;
    use crdt::task::{Membership, TaskSpec};
    use tokio::sync::mpsc;

    use super::*;
    use crate::api::answers::Desk;
    use crate::api::wire::Reply;

    const NOW: Duration = Duration::from_secs(1);

    #[derive(Default)]
    struct Known(BTreeMap<TaskId, (Arc<TaskSpec>, TaskState)>);

    fn id(n: u64) -> TaskId {
        TaskId { tag: Tag(1), n }
    }

    impl Known {
        /// Task 1 is a group; 2 to 4 are its members, 5 is none.
        fn new() -> Self {
            let mut known = Self::default();
            for n in 1..=5_u32 {
                let mut spec = TaskSpec::command(["true"]);
                match n {
                    1 => spec.work = Work::Group { size: None },
                    5 => {}
                    _ => {
                        spec.member_of = Some(Membership {
                            group: id(1),
                            index: n - 2,
                            window: 0,
                        });
                    }
                }
                known
                    .0
                    .insert(id(n.into()), (Arc::new(spec), TaskState::Pending));
            }
            known
        }
    }

    impl Tasks for Known {
        fn view(&self, id: TaskId) -> Option<TaskView> {
            let (spec, state) = self.0.get(&id)?.clone();
            let mut counts = [0; 11];
            for member in self.members(id) {
                counts[self.0[&member].1 as usize] += 1;
            }
            Some(TaskView {
                id,
                member_of: spec.member_of,
                element: None,
                spec,
                state,
                reason: None,
                progress: None,
                host: None,
                epoch: crdt::ids::Epoch(0),
                attempts: 0,
                started: None,
                outcome: None,
                members: Some(counts),
            })
        }

        fn group(&self, id: TaskId) -> Option<TaskId> {
            self.view(id)?.member_of.map(|member| member.group)
        }

        fn members(&self, group: TaskId) -> Vec<TaskId> {
            let is_member = |spec: &TaskSpec| spec.member_of.is_some_and(|m| m.group == group);
            self.0
                .iter()
                .filter(|(_, (spec, _))| is_member(spec))
                .map(|(id, _)| *id)
                .collect()
        }

        fn names(&self) -> Names {
            Names::default()
        }
    }

    /// A client that waits, and what it was told.
    struct Rig {
        known: Known,
        waits: Waits,
        replies: mpsc::Receiver<Reply>,
    }

    impl Rig {
        async fn new(named: &[u64], terms: Terms) -> Self {
            let (desk, replies) = Desk::new();
            let answers = desk.turn().await.unwrap().answers(1);
            let (known, mut waits) = (Known::new(), Waits::default());
            waits.add(
                &known,
                named.iter().map(|n| id(*n)).collect(),
                terms,
                answers,
            );
            Self {
                known,
                waits,
                replies,
            }
        }

        fn change(&mut self, n: u64, state: TaskState) {
            self.known.0.get_mut(&id(n)).unwrap().1 = state;
            self.waits.task_changed(&self.known, id(n), state);
        }

        /// What is told at an instant: end or not, counts, and the tasks named.
        fn told(&mut self, at: Duration) -> Vec<(bool, [u64; 4], Vec<String>)> {
            self.waits.report(&self.known, at);
            std::iter::from_fn(|| self.replies.try_recv().ok())
                .map(|reply| {
                    let Body::Progress(p) = reply.body else {
                        panic!("{reply:?}")
                    };
                    let named = p
                        .tasks
                        .into_iter()
                        .map(|line| line.id[7..].to_owned())
                        .collect();
                    (reply.end, [p.total, p.done, p.failed, p.running], named)
                })
                .collect()
        }
    }

    fn all() -> Terms {
        Terms {
            any: false,
            state: None,
            each: false,
        }
    }

    #[tokio::test]
    async fn progress_comes_now_and_then_and_the_end_at_once() {
        let mut rig = Rig::new(&[1, 5, 5], all()).await;
        assert_eq!(rig.told(NOW), [(false, [4, 0, 0, 0], vec![])]);
        assert_eq!(rig.waits.next_report(), None);
        rig.change(2, TaskState::Running);
        rig.change(5, TaskState::Running);
        assert_eq!(rig.told(NOW), []);
        assert_eq!(rig.waits.next_report(), Some(NOW + TELL_EVERY));
        rig.change(2, TaskState::Success);
        rig.change(3, TaskState::Error);
        assert_eq!(rig.told(NOW + TELL_EVERY), [(false, [4, 2, 1, 1], vec![])]);
        rig.change(4, TaskState::Success);
        rig.change(5, TaskState::Killed);
        // All members have ended, but the group is not closed.
        assert_eq!(rig.told(NOW + TELL_EVERY), []);
        rig.change(1, TaskState::Error);
        let named = vec!["1".to_owned(), "5".to_owned()];
        assert_eq!(rig.told(NOW + TELL_EVERY), [(true, [4, 4, 2, 0], named)]);
        assert!(
            rig.waits.waits.is_empty() && rig.waits.watched.is_empty() && rig.waits.due.is_empty()
        );
    }

    #[tokio::test]
    async fn each_task_is_told_once() {
        let mut rig = Rig::new(
            &[1, 3],
            Terms {
                each: true,
                ..all()
            },
        )
        .await;
        rig.change(2, TaskState::Success);
        let two = (false, [4, 1, 0, 0], vec!["2".to_owned()]);
        assert_eq!(rig.told(NOW), [two]);
        rig.change(3, TaskState::Error);
        rig.change(3, TaskState::Error);
        rig.change(4, TaskState::Success);
        let later = NOW + TELL_EVERY;
        let both = vec!["3".to_owned(), "4".to_owned()];
        assert_eq!(rig.told(later), [(false, [4, 4, 2, 0], both)]);
        rig.change(1, TaskState::Error);
        assert_eq!(rig.told(later), [(true, [4, 4, 2, 0], vec![])]);
    }

    #[tokio::test]
    async fn one_is_enough_and_so_is_a_state() {
        let mut rig = Rig::new(&[2, 5], Terms { any: true, ..all() }).await;
        rig.change(5, TaskState::Running);
        rig.change(5, TaskState::Success);
        assert!(rig.told(NOW)[0].0);
        let mut rig = Rig::new(
            &[2, 5],
            Terms {
                state: Some(TaskState::Running),
                ..all()
            },
        )
        .await;
        rig.change(5, TaskState::Running);
        assert!(!rig.told(NOW)[0].0);
        rig.change(2, TaskState::Error);
        assert!(rig.told(NOW)[0].0);
    }

    #[tokio::test]
    async fn who_left_is_forgotten() {
        let mut rig = Rig::new(&[1], all()).await;
        rig.replies.close();
        rig.waits.sweep();
        assert!(
            rig.waits.waits.is_empty() && rig.waits.watched.is_empty() && rig.waits.due.is_empty()
        );
    }
}
