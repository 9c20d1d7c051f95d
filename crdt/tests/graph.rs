//! What graphs of tasks cost and come to, on one replica with an instant disk: every event touches what it frees, no more.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use crdt::config::{Config, Offer};
use crdt::event::{Durability, Input, Links, NewTask, Output, Refusal, Reply, RunEnd};
use crdt::fit::RunsAs;
use crdt::ids::{Incarnation, Tag, TaskId};
use crdt::keys::Ed25519Keys;
use crdt::replica::Replica;
use crdt::task::{
    Captured, Environment, Exit, Limits, Membership, RunReport, TaskSpec, TaskState, Usage, Wish,
    Work,
};
use crdt::time::{Mono, Now, Timing, Wall};

/// A host that is alone: it runs what it has room for, each in no time.
struct Alone {
    replica: Replica,
    clock: u64,
    token: u64,
    /// The order in which runs ended.
    ended: Vec<TaskId>,
    /// These fail.
    failing: Vec<TaskId>,
    replies: Vec<Reply>,
}

impl Alone {
    fn new() -> Self {
        let clock = 1_000_000_000_000;
        let now = Now {
            mono: Mono(clock),
            wall: Wall(1_700_000_000_000),
        };
        let config = Config {
            keys: Box::new(Ed25519Keys::new(&[1; 32], &[99; 32])),
            incarnation: Incarnation(1),
            name: "alone".to_owned(),
            version: "test".to_owned(),
            timing: Timing::default(),
            committee: 3,
            replace_after: Duration::from_secs(600),
            most_claims: usize::MAX,
            most_losses: 0,
            platform: "test".to_owned(),
            runs_as: RunsAs::Anyone,
            offer: Offer {
                cpu_milli: 4_000,
                memory_bytes: 1 << 30,
                ..Offer::default()
            },
            seed: 7,
        };
        let replica = Replica::new(config, Vec::new(), &[], now);
        let mut alone = Self {
            replica,
            clock,
            token: 0,
            ended: Vec::new(),
            failing: Vec::new(),
            replies: Vec::new(),
        };
        alone.go_on();
        alone
    }

    fn feed(&mut self, input: Input) {
        let now = Now {
            mono: Mono(self.clock),
            wall: Wall(self.clock / 1_000_000),
        };
        self.replica.handle(now, input);
    }

    /// Carries everything out, until nothing more happens for some milliseconds.
    fn go_on(&mut self) {
        let mut quiet = 0;
        while quiet < 20 {
            self.clock += 1_000_000;
            self.feed(Input::Wakeup);
            quiet += 1;
            while let Some(output) = self.replica.poll_output() {
                match output {
                    Output::Persist { token, .. } => self.feed(Input::Persisted(token)),
                    Output::Start(order) => {
                        quiet = 0;
                        self.run(order.run);
                    }
                    Output::Reply(_, reply) => self.replies.push(reply),
                    Output::Look(place) => self.feed(Input::Looked(place, Ok(()))),
                    Output::Send { .. }
                    | Output::Extend(..)
                    | Output::Signal(..)
                    | Output::Kill(_)
                    | Output::Withdraw(_)
                    | Output::Notice(_) => {}
                }
            }
        }
    }

    fn run(&mut self, run: crdt::ids::RunId) {
        let wall = Wall(self.clock / 1_000_000);
        let report = RunReport {
            limits: Limits::default(),
            exit: Exit::Code(i32::from(self.failing.contains(&run.task))),
            started: wall,
            ended: wall,
            usage: Usage::default(),
            stdout: Captured::default(),
            stderr: Captured::default(),
        };
        self.ended.push(run.task);
        self.feed(Input::RunStarted(run));
        self.feed(Input::RunEnded(run, RunEnd::Exited(report)));
    }

    fn submit(&mut self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, Refusal> {
        self.token += 1;
        let (token, durable) = (self.token, Durability::Local);
        self.replies.clear();
        self.feed(Input::Submit {
            token,
            tasks,
            durable,
        });
        self.go_on();
        match self.replies.pop().expect("a submission is answered") {
            Reply::Submitted { ids, .. } => Ok(ids),
            Reply::Refused(why) => Err(why),
            Reply::Noted { .. } => panic!("a submission was noted"),
        }
    }

    /// Submits a whole graph: a task waits for those at these places. It is held back until it is there.
    fn submit_graph(&mut self, graph: &[Vec<usize>]) -> Vec<TaskId> {
        self.feed(Input::Drain(true));
        let mut ids: Vec<TaskId> = Vec::new();
        for (at, chunk) in graph.chunks(4_000).enumerate() {
            let first = at * 4_000;
            let tasks = chunk.iter().map(|after| {
                let mut task = new_task();
                for before in after {
                    match before.checked_sub(first) {
                        Some(place) => task.links.after.push(u32::try_from(place).unwrap()),
                        None => task.spec.after.push(ids[*before]),
                    }
                }
                task
            });
            let tasks = tasks.collect();
            let more = self.submit(tasks).unwrap();
            ids.extend(more);
        }
        ids
    }

    fn want(&mut self, tasks: &[TaskId], wish: Wish) {
        self.token += 1;
        self.feed(Input::Control {
            token: self.token,
            tasks: tasks.to_vec(),
            by: "a test".to_owned(),
            wish,
        });
        self.go_on();
    }

    fn state(&self, id: TaskId) -> TaskState {
        self.replica.task(id).unwrap().state
    }

    fn touched(&self) -> u64 {
        self.replica.counters().touched
    }
}

fn again() -> Wish {
    Wish::Again {
        void: Vec::new(),
        tries: 0,
        losses: 0,
    }
}

fn new_task() -> NewTask {
    NewTask {
        spec: TaskSpec::command(["true"]),
        env: None,
        links: Links::default(),
    }
}

fn group(size: u32) -> NewTask {
    let mut task = new_task();
    task.spec.work = Work::Group { size: Some(size) };
    task
}

/// A member of the group at a place, or of one that is known.
fn member(of: Result<u32, TaskId>, index: u32, window: u32, after: &[u32]) -> NewTask {
    let mut task = new_task();
    let nobody = TaskId { tag: Tag(0), n: 0 };
    task.spec.member_of = Some(Membership {
        group: of.err().unwrap_or(nobody),
        index,
        window,
    });
    task.links.group = of.ok();
    task.links.after = after.to_vec();
    task
}

/// Each waits for the one before.
fn chain(count: usize) -> Vec<Vec<usize>> {
    (0..count)
        .map(|at| at.checked_sub(1).into_iter().collect())
        .collect()
}

/// All wait for the first.
fn fan(count: usize) -> Vec<Vec<usize>> {
    (0..count)
        .map(|at| if at == 0 { vec![] } else { vec![0] })
        .collect()
}

/// One, ten that wait for it, one that waits for those ten, and so on.
fn diamonds(count: usize) -> Vec<Vec<usize>> {
    (0..count)
        .map(|at| match at % 11 {
            _ if at == 0 => vec![],
            0 => (at - 10..at).collect(),
            nth => vec![at - nth],
        })
        .collect()
}

/// How many tasks are looked at for one, from the moment that all may run.
fn touches_a_task(graph: &[Vec<usize>]) -> f64 {
    let mut alone = Alone::new();
    let ids = alone.submit_graph(graph);
    let before = alone.touched();
    alone.feed(Input::Drain(false));
    alone.go_on();
    assert!(ids.iter().all(|id| alone.state(*id) == TaskState::Success));
    let place: std::collections::BTreeMap<TaskId, usize> = alone
        .ended
        .iter()
        .enumerate()
        .map(|(at, id)| (*id, at))
        .collect();
    assert_eq!((place.len(), alone.ended.len()), (ids.len(), ids.len()));
    for (id, after) in ids.iter().zip(graph) {
        assert!(after.iter().all(|before| place[&ids[*before]] < place[id]));
    }
    let touched = u32::try_from(alone.touched() - before).unwrap();
    f64::from(touched) / f64::from(u32::try_from(ids.len()).unwrap())
}

#[test]
fn ten_times_the_tasks_are_ten_times_the_work() {
    type Shape = fn(usize) -> Vec<Vec<usize>>;
    let shapes: [(&str, Shape); 3] = [("chain", chain), ("fan", fan), ("diamonds", diamonds)];
    for (name, shape) in shapes {
        let (few, many) = (
            touches_a_task(&shape(1_000)),
            touches_a_task(&shape(10_000)),
        );
        assert!(many < few * 1.1, "{name}: {few} and {many}");
        assert!(many < 40.0, "{name}: {many}");
    }
}

#[test]
fn a_sub_tree_runs_again_in_its_order() {
    let mut alone = Alone::new();
    let ids = alone.submit(
        (0..6_u32)
            .map(|at| {
                let mut task = new_task();
                task.links.after = at.checked_sub(1).into_iter().collect();
                task
            })
            .collect(),
    );
    let ids = ids.unwrap();
    assert_eq!(alone.ended, ids);
    let behind = alone.replica.behind(&ids[2..3]);
    assert_eq!(behind, ids[2..]);
    alone.ended.clear();
    alone.want(&behind, again());
    assert_eq!(alone.ended, ids[2..], "none before what it waits for");
    // Whoever waits for one that runs again and fails does not run, and does once that has succeeded.
    alone.ended.clear();
    alone.failing = vec![ids[3]];
    alone.want(&ids[3..], again());
    assert_eq!(alone.ended, ids[3..4]);
    assert_eq!(alone.state(ids[4]), TaskState::Cancelled);
    assert_eq!(alone.state(ids[5]), TaskState::Cancelled);
    alone.failing.clear();
    alone.want(&ids[3..4], again());
    assert_eq!(alone.ended, [&ids[3..4], &ids[3..]].concat());
    // Who has ended before is not asked again.
    alone.ended.clear();
    alone.want(&ids[..1], again());
    assert_eq!(alone.ended, ids[..1]);
    assert!(ids.iter().all(|id| alone.state(*id) == TaskState::Success));
}

#[test]
fn groups_end_with_their_members_and_release_what_waits() {
    let mut alone = Alone::new();
    let mut last = new_task();
    last.links.after = vec![0];
    let tasks = vec![
        group(3),
        member(Ok(0), 0, 1, &[]),
        member(Ok(0), 1, 1, &[]),
        member(Ok(0), 2, 1, &[]),
        last,
    ];
    let ids = alone.submit(tasks).unwrap();
    assert_eq!(alone.ended, ids[1..]);
    assert!(ids.iter().all(|id| alone.state(*id) == TaskState::Success));
    // A member that runs again opens the group; what had ended behind it stays.
    alone.failing = vec![ids[2]];
    alone.ended.clear();
    alone.want(&ids[2..3], again());
    assert_eq!(alone.ended, ids[2..3]);
    assert_eq!(alone.state(ids[0]), TaskState::Error);
    assert_eq!(alone.state(ids[4]), TaskState::Success);
}

#[test]
fn no_circle_is_ever_made() {
    let mut alone = Alone::new();
    alone.feed(Input::Drain(true));
    let mut behind_group = new_task();
    behind_group.links.after = vec![0];
    let circles: Vec<(usize, Vec<NewTask>)> = vec![
        // A member waits for its own group.
        (0, vec![group(1), member(Ok(0), 0, 0, &[0])]),
        // By way of another task.
        (
            0,
            vec![group(1), behind_group.clone(), member(Ok(0), 0, 0, &[1])],
        ),
        // Two groups wait for each other's members.
        (
            0,
            vec![
                group(1),
                group(1),
                member(Ok(0), 0, 0, &[1]),
                member(Ok(1), 0, 0, &[0]),
            ],
        ),
        // The window lets the first go first, and that waits for the second.
        (
            1,
            vec![
                group(2),
                member(Ok(0), 1, 1, &[]),
                member(Ok(0), 0, 1, &[1]),
            ],
        ),
    ];
    for (place, tasks) in circles {
        let told = alone.submit(tasks).unwrap_err();
        let Refusal::Spec { place: at, why } = &told else {
            panic!("{told}")
        };
        assert!(why.contains("waits for it in turn"), "{told}");
        assert!(*at as usize >= place, "{told}");
    }
    // Without a window the same order of members is none.
    let tasks = vec![
        group(2),
        member(Ok(0), 1, 0, &[]),
        member(Ok(0), 0, 0, &[1]),
    ];
    assert!(alone.submit(tasks).is_ok());
}

#[test]
fn who_joins_late_waits_for_no_open_group() {
    let mut alone = Alone::new();
    alone.feed(Input::Drain(true));
    let plain = alone.submit(vec![new_task()]).unwrap()[0];
    let mut open = group(0);
    open.spec.work = Work::Group { size: None };
    let first = alone.submit(vec![open.clone()]).unwrap()[0];
    let mut founder = member(Ok(0), 0, 1, &[]);
    founder.spec.after = vec![first, plain];
    let second = alone.submit(vec![open, founder.clone()]).unwrap();
    let (second, founder_id) = (second[0], second[1]);
    let mut behind = new_task();
    behind.spec.after = vec![second];
    let behind = alone.submit(vec![behind]).unwrap()[0];
    let joins = |group: TaskId, index: u32, after: &[TaskId]| {
        let mut task = member(Err(group), index, 1, &[]);
        task.spec.after = after.to_vec();
        task
    };
    for (group, index, after) in [
        (first, 0, first),
        (first, 0, second),
        (first, 0, behind),
        (first, 0, founder_id),
        (second, 1, second),
        (second, 1, behind),
    ] {
        let told = alone
            .submit(vec![joins(group, index, &[after])])
            .unwrap_err();
        assert!(
            told.to_string().contains("which was submitted before"),
            "{told}"
        );
    }
    // A member that is itself a group, with a member that waits.
    let mut inner = group(1);
    inner.spec.member_of = Some(Membership {
        group: first,
        index: 0,
        window: 0,
    });
    let mut of_inner = member(Ok(0), 0, 0, &[]);
    of_inner.spec.after = vec![first];
    let told = alone.submit(vec![inner, of_inner]).unwrap_err();
    assert!(
        told.to_string().contains("which was submitted before"),
        "{told}"
    );
    // What the first member waits for, others may; and plain tasks, and members before it.
    let like_it = joins(second, 1, &[first, plain]);
    assert!(alone.submit(vec![like_it]).is_ok());
    assert!(
        alone
            .submit(vec![joins(second, 2, &[plain, founder_id])])
            .is_ok()
    );
    assert!(alone.submit(vec![joins(first, 0, &[plain])]).is_ok());
    // All of it comes to an end.
    alone.want(&[first], Wish::Close { size: 1 });
    alone.want(&[second], Wish::Close { size: 3 });
    alone.feed(Input::Drain(false));
    alone.go_on();
    for id in [first, second, behind] {
        assert_eq!(alone.state(id), TaskState::Success);
    }
}

#[test]
fn an_environment_is_kept_once() {
    let mut alone = Alone::new();
    alone.feed(Input::Drain(true));
    let pairs = (0..32).map(|n| (format!("VARIABLE_{n:03}").into(), "x".repeat(1_000).into()));
    let env = std::sync::Arc::new(Environment(pairs.collect()));
    let task = NewTask {
        env: Some(env),
        ..new_task()
    };
    let documents = alone.replica.memory().documents;
    let ids = alone.submit(vec![task; 1_000]).unwrap();
    assert_eq!(
        alone.replica.memory().documents,
        documents + 1,
        "one segment"
    );
    let envs: std::collections::BTreeSet<_> = ids
        .iter()
        .map(|id| alone.replica.task(*id).unwrap().spec.env)
        .collect();
    assert_eq!(envs.len(), 1);
}
