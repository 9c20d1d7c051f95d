//! What the life of a task costs in replicas alone: submit, bid, votes, hold, run, outcome, accepts, with instant disks and
//! links. One iteration takes a batch of tasks from submission to its commit on every replica.

use std::collections::BTreeMap;
use std::time::Duration;

use crdt::config::{Config, Offer};
use crdt::event::{Durability, Input, Links, NewTask, Output, RunEnd};
use crdt::fit::RunsAs;
use crdt::ids::{Incarnation, PeerId};
use crdt::keys::Ed25519Keys;
use crdt::replica::Replica;
use crdt::task::{Captured, Exit, Limits, RunReport, TaskSpec, Usage};
use crdt::time::{Mono, Now, Timing, Wall};

fn main() {
    divan::main();
}

struct Mesh {
    replicas: BTreeMap<PeerId, Replica>,
    clock: u64,
}

impl Mesh {
    fn new(size: u8) -> Self {
        let now = Now {
            mono: Mono(1_000_000_000_000),
            wall: Wall(1_700_000_000_000),
        };
        let replica = |n: u8| {
            let keys = Box::new(Ed25519Keys::new(&[n + 1; 32], &[99; 32]));
            let config = Config {
                keys,
                incarnation: Incarnation(u64::from(n) + 1),
                name: format!("n{n}"),
                version: "bench".to_owned(),
                timing: Timing::default(),
                committee: 3,
                replace_after: Duration::from_secs(600),
                most_claims: usize::MAX,
                most_losses: 0,
                platform: "bench".to_owned(),
                runs_as: RunsAs::Anyone,
                offer: Offer {
                    cpu_milli: 2_000,
                    memory_bytes: 1 << 30,
                    ..Offer::default()
                },
                seed: u64::from(n),
            };
            let replica = Replica::new(config, Vec::new(), &[], now);
            (replica.own_peer(), replica)
        };
        let replicas: BTreeMap<_, _> = (0..size).map(replica).collect();
        let mut mesh = Self {
            replicas,
            clock: now.mono.0,
        };
        let peers: Vec<PeerId> = mesh.replicas.keys().copied().collect();
        for one in &peers {
            for other in peers.iter().filter(|other| *other != one) {
                mesh.feed(*one, Input::PeerUp(*other));
            }
        }
        for _ in 0..200 {
            mesh.step();
        }
        mesh
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono(self.clock),
            wall: Wall(self.clock / 1_000_000),
        }
    }

    fn feed(&mut self, to: PeerId, input: Input) {
        let now = self.now();
        self.replicas
            .get_mut(&to)
            .expect("a known peer")
            .handle(now, input);
    }

    /// Moves everything once around and the clock on by a millisecond. Says how many runs ended.
    fn step(&mut self) -> usize {
        self.clock += 1_000_000;
        let mut ended = 0;
        let peers: Vec<PeerId> = self.replicas.keys().copied().collect();
        for peer in peers {
            self.feed(peer, Input::Wakeup);
            while let Some(output) = self.replicas.get_mut(&peer).and_then(Replica::poll_output) {
                match output {
                    Output::Persist { token, .. } => self.feed(peer, Input::Persisted(token)),
                    Output::Send { to, bytes, .. } => {
                        self.feed(to, Input::Frame { from: peer, bytes });
                    }
                    Output::Start(order) => {
                        let wall = self.now().wall;
                        let report = RunReport {
                            limits: Limits::default(),
                            exit: Exit::Code(0),
                            started: wall,
                            ended: wall,
                            usage: Usage::default(),
                            stdout: Captured::default(),
                            stderr: Captured::default(),
                        };
                        self.feed(peer, Input::RunStarted(order.run));
                        self.feed(peer, Input::RunEnded(order.run, RunEnd::Exited(report)));
                        ended += 1;
                    }
                    Output::Look(place) => self.feed(peer, Input::Looked(place, Ok(()))),
                    Output::Extend(..)
                    | Output::Signal(..)
                    | Output::Kill(_)
                    | Output::Withdraw(_)
                    | Output::Reply(..)
                    | Output::Notice(_) => {}
                }
            }
        }
        ended
    }

    fn run(&mut self, tasks: usize) {
        let task = |n: usize| NewTask {
            spec: TaskSpec::command(["true".to_owned(), n.to_string()]),
            env: None,
            links: Links::default(),
        };
        let first = *self.replicas.keys().next().expect("a mesh has a peer");
        let list: Vec<NewTask> = (0..tasks).map(task).collect();
        for chunk in list.chunks(1_000) {
            let tasks = chunk.to_vec();
            self.feed(
                first,
                Input::Submit {
                    token: 1,
                    tasks,
                    durable: Durability::Local,
                },
            );
        }
        let mut ended = 0;
        let mut steps = 0;
        while ended < tasks {
            ended += self.step();
            steps += 1;
            assert!(steps < 100_000, "{ended} of {tasks} tasks ended");
        }
        for _ in 0..20 {
            self.step();
        }
    }
}

/// Peers, and tasks waiting in one queue: the cost per task must not grow with the queue.
#[divan::bench(args = [(1, 1_000), (3, 1_000), (1, 20_000), (3, 20_000)], sample_count = 3, sample_size = 1)]
fn lives(bencher: divan::Bencher<'_, '_>, (peers, tasks): (u8, usize)) {
    bencher
        .counter(divan::counter::ItemsCount::new(tasks))
        .with_inputs(|| Mesh::new(peers))
        .bench_local_values(|mut mesh| {
            mesh.run(tasks);
            mesh
        });
}
