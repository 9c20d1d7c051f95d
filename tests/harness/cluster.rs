//! A mesh of real nodes in a private directory, on loopback addresses that no other mesh of this machine has.
//!
//! Every cluster takes a network `127.X.Y.0/24` for itself, so that its nodes keep address and port over restarts and no port has to
//! be free at a certain moment. The claim on the network is a listening socket that lives as long as the cluster.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::{Index, IndexMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use crdt::settings::{RootTasks, Settings};
use node::api::wire::TaskLine;
use tempfile::TempDir;

use crate::disk::SmallDisk;
use crate::guests::Guest;
use crate::lan::Lan;
use crate::node::Node;
use crate::processes;
use crate::settle::settle;

/// Where every node of a test listens, on an address of its own.
pub const PORT: u16 = 4747;
/// Whose socket is the claim on a network.
const CLAIM_PORT: u16 = 4746;

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// `--cpus` of each.
    pub cpus: u32,
    /// Further flags of each.
    pub flags: Vec<String>,
    /// Where the last node keeps its data.
    pub disk: Disk,
    /// Which program each runs.
    pub program: Program,
    /// Where root's tasks run, where the nodes are root's.
    pub root_tasks: RootTasks,
}

/// Which program a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The one that all share.
    Shared,
    /// A copy of its own, which can be replaced.
    Own,
}

/// Where a node keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// On the machine's.
    Shared,
    /// On one of its own that can be filled, where that is possible.
    Small,
}

impl Plan {
    /// Plans nodes with two processors each and default leases: none is lost on a busy machine.
    #[must_use]
    pub fn of(nodes: usize) -> Self {
        Self {
            nodes,
            cpus: 2,
            flags: Vec::new(),
            disk: Disk::Shared,
            program: Program::Shared,
            root_tasks: RootTasks::Anywhere,
        }
    }

    /// Gives each node a copy of the program.
    #[must_use]
    pub fn own_programs(mut self) -> Self {
        self.program = Program::Own;
        self
    }

    /// Gives the last node a disk of its own that can be filled, where that is possible.
    #[must_use]
    pub fn small_disk(mut self) -> Self {
        self.disk = Disk::Small;
        self
    }

    /// Leaves it to the mesh's default where root's tasks run: at home.
    #[must_use]
    pub fn root_stays(mut self) -> Self {
        self.root_tasks = RootTasks::Local;
        self
    }

    /// Sets the processors of each node.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Sets a short lease, for tests in which a host is lost.
    #[must_use]
    pub fn short_lease(self) -> Self {
        self.flags(&["--heartbeat", "400ms", "--lease", "2500ms"])
    }

    /// Adds flags.
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Starts the cluster on loopback.
    #[must_use]
    pub fn start(self) -> Cluster {
        let (net, claim) = claim_network();
        Cluster::on(self, Net::Loopback { net, _claim: claim })
    }

    /// Starts the cluster in network namespaces, one a node.
    #[must_use]
    pub fn start_on(self, lan: Lan) -> Cluster {
        Cluster::on(self, Net::Lan(lan))
    }
}

/// Nodes `n0`, `n1`, … of one mesh.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    nodes: Vec<Node>,
    net: Net,
    /// Before the directory: it must be empty to be removed.
    disk: Option<SmallDisk>,
    temp: TempDir,
}

/// What lies between the nodes.
#[derive(Debug)]
enum Net {
    /// `127.X.Y.0/24`, and the socket that claims it.
    Loopback { net: (u8, u8), _claim: TcpListener },
    /// Namespaces.
    Lan(Lan),
}

impl Cluster {
    /// Starts nodes with the defaults of [`Plan::of`].
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        Plan::of(nodes).start()
    }

    fn on(plan: Plan, net: Net) -> Self {
        let temp = tempfile::Builder::new().prefix("aque-it-").tempdir();
        let temp = temp.expect("a temporary directory can be made");
        let count = plan.nodes;
        let mut cluster = Self {
            plan,
            nodes: Vec::new(),
            net,
            disk: None,
            temp,
        };
        let cpus = cluster.plan.cpus;
        (0..count).for_each(|_| cluster.describe(cpus));
        if cluster.plan.disk == Disk::Small {
            let last = cluster.nodes.last().map(Node::data);
            cluster.disk = last.and_then(|data| SmallDisk::mount(&data));
        }
        cluster.join();
        cluster
    }

    /// Adds a further node that has not been started.
    fn describe(&mut self, cpus: u32) {
        let place = self.nodes.len();
        let name = format!("n{place}");
        let address = match &self.net {
            Net::Loopback { net, .. } => Ipv4Addr::new(127, net.0, net.1, host_number(place)),
            Net::Lan(lan) => lan.address(place),
        };
        let listen = format!("{address}:{PORT}");
        let mut flags = vec![
            "--listen".to_owned(),
            listen,
            "--cpus".to_owned(),
            cpus.to_string(),
        ];
        flags.extend(self.plan.flags.iter().cloned());
        let mut node = Node::new(&name, &self.temp.path().join(&name), &flags);
        if self.plan.program == Program::Own {
            node = node.with_own_program();
        }
        self.nodes.push(match &self.net {
            Net::Loopback { .. } => node,
            Net::Lan(lan) => node.through(lan.inside(place)),
        });
    }

    fn join(&mut self) {
        let Some((first, others)) = self.nodes.split_first_mut() else {
            return;
        };
        first.start();
        let ticket = first.ready().ticket.clone();
        if self.plan.root_tasks == RootTasks::Anywhere {
            let anywhere = Some("anywhere".to_owned());
            let name = Settings::ROOT_TASKS.to_owned();
            let set = first.client().and_then(|mut node| node.set(name, anywhere));
            set.expect("a setting can be stated");
        }
        others
            .iter_mut()
            .for_each(|node| node.launch(&["--join", &ticket]));
        others.iter_mut().for_each(Node::wait_ready);
        self.wait_whole();
    }

    /// Starts a further node with so many processors that joins with this ticket, and returns its place.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn add(&mut self, cpus: u32, ticket: &str) -> usize {
        self.add_with(cpus, &["--join", ticket])
    }

    /// Adds a further node with so many processors and flags, and returns its place.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn add_with(&mut self, cpus: u32, flags: &[&str]) -> usize {
        self.describe(cpus);
        let place = self.nodes.len() - 1;
        self.nodes[place].launch(flags);
        self.nodes[place].wait_ready();
        place
    }

    /// The same for one that is started by a command which ends in executing it.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn add_through(&mut self, command: &[&str], cpus: u32, flags: &[&str]) -> usize {
        self.describe(cpus);
        let node = self.nodes.pop().expect("it was just described");
        self.nodes.push(node.through(command));
        let place = self.nodes.len() - 1;
        self.nodes[place].launch(flags);
        self.nodes[place].wait_ready();
        place
    }

    /// Adds a further node that runs as another user of this machine and joins with this ticket, and returns its place.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn add_owned(&mut self, guest: &Guest, cpus: u32, ticket: &str) -> usize {
        self.describe(cpus);
        let place = self.nodes.len() - 1;
        let node = self.nodes.pop().expect("it was described");
        self.nodes.push(node.owned_by(guest));
        self.nodes[place].launch(&["--join", ticket]);
        self.nodes[place].wait_ready();
        place
    }

    /// Waits until every running node sees as many alive hosts as nodes run.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn wait_whole(&self) {
        let nodes: Vec<&Node> = self.nodes.iter().filter(|node| node.is_running()).collect();
        let running = nodes.len();
        for node in nodes {
            settle(&format!("{} to see {running} hosts", node.name()), || {
                let hosts = node.hosts().map_err(|error| error.to_string())?.nodes;
                let alive: Vec<_> = hosts
                    .iter()
                    .filter(|host| host.alive)
                    .map(|host| &host.name)
                    .collect();
                if alive.len() == running {
                    Ok(())
                } else {
                    Err(format!("it sees {alive:?}"))
                }
            });
        }
    }

    /// Returns the nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the nodes, to do something to them.
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Returns the network between the namespaces.
    ///
    /// # Panics
    /// If it is a cluster on loopback.
    #[must_use]
    pub fn lan(&self) -> &Lan {
        match &self.net {
            Net::Lan(lan) => lan,
            Net::Loopback { .. } => panic!("the cluster was started on loopback"),
        }
    }

    /// Returns the disk of the last of the planned nodes, if it has one of its own.
    #[must_use]
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// Returns the directory that is removed with the cluster.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// Returns a path in that directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Waits until all running nodes show the same tasks in the same complete states, and returns them (no groups).
    ///
    /// # Panics
    /// If that does not happen.
    #[must_use]
    pub fn wait_ended(&self) -> Vec<TaskLine> {
        let nodes: Vec<&Node> = self.nodes.iter().filter(|node| node.is_running()).collect();
        settle("all tasks to end, alike on all hosts", || {
            let mut all = Vec::new();
            for node in &nodes {
                let tasks = node
                    .tasks()
                    .map_err(|error| format!("{}: {error}", node.name()))?;
                if let Some(open) = tasks.iter().find(|line| !line.state.is_complete()) {
                    let count = tasks
                        .iter()
                        .filter(|line| !line.state.is_complete())
                        .count();
                    return Err(format!(
                        "{} shows {count} open, {} {}",
                        node.name(),
                        open.id,
                        open.state
                    ));
                }
                all.push(tasks);
            }
            let Some(first) = all.first() else {
                return Err("no node runs".to_owned());
            };
            for (other, node) in all.iter().zip(&nodes) {
                same(first, other).map_err(|why| format!("{} differs: {why}", node.name()))?;
            }
            Ok(all
                .swap_remove(0)
                .into_iter()
                .filter(|line| line.members.is_none())
                .collect())
        })
    }
}

impl Index<usize> for Cluster {
    type Output = Node;

    fn index(&self, place: usize) -> &Node {
        &self.nodes[place]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, place: usize) -> &mut Node {
        &mut self.nodes[place]
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- the last of {}'s log\n{}", node.name(), node.log_tail());
            }
        }
        self.nodes.clear();
        processes::kill_all_of(self.temp.path());
    }
}

/// Says in what two lists of tasks differ, as far as all hosts must agree once the tasks have ended.
fn same(first: &[TaskLine], other: &[TaskLine]) -> Result<(), String> {
    let facts = |line: &TaskLine| {
        (
            line.id.clone(),
            line.state,
            line.host.clone(),
            line.exit,
            line.signal,
            line.reason.clone(),
        )
    };
    let differs = first
        .iter()
        .zip(other)
        .find(|(left, right)| facts(left) != facts(right));
    match differs {
        Some((left, right)) => Err(format!("{:?} and {:?}", facts(left), facts(right))),
        None if first.len() != other.len() => {
            Err(format!("{} and {} tasks", first.len(), other.len()))
        }
        None => Ok(()),
    }
}

fn host_number(place: usize) -> u8 {
    u8::try_from(place + 1).expect("a cluster has fewer than 255 nodes")
}

/// Takes a network `127.X.Y.0/24` that no other cluster of this machine has.
fn claim_network() -> ((u8, u8), TcpListener) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    settle("a network of its own", || {
        let seed = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) + std::process::id() * 31;
        let [_, _, low, high] = (seed % (250 * 256)).to_be_bytes();
        // 127.0.0.0/24 is everybody's.
        let net = (low + 1, high);
        TcpListener::bind((Ipv4Addr::new(127, net.0, net.1, 254), CLAIM_PORT))
            .map(|claim| (net, claim))
    })
}
