//! Meshes to be measured: real nodes on loopback in a directory that goes away with them, and what `/proc` says of them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::Failed;
use super::wire::Wire;

/// How long anything may take before the measure is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// Clock ticks a second in `/proc/PID/stat`: part of Linux's interface.
const TICKS: f64 = 100.0;

/// Release programs.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The daemon.
    pub(crate) node: PathBuf,
    /// The client.
    pub(crate) aque: PathBuf,
    /// This program.
    pub(crate) xtask: PathBuf,
}

/// Nodes `n0`, `n1`, … of one mesh.
#[derive(Debug)]
pub(crate) struct Mesh<'a> {
    programs: &'a Programs,
    nodes: Vec<Node>,
    temp: TempDir,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    home: PathBuf,
    flags: Vec<String>,
    child: Option<Child>,
}

/// CPU time and memory of a node and its guard; their children do not count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds.
    pub(crate) cpu: f64,
    /// Bytes resident.
    pub(crate) resident: f64,
}

impl<'a> Mesh<'a> {
    /// Starts a mesh of so many nodes with so many slots each.
    pub(crate) fn start(programs: &'a Programs, nodes: usize, slots: u32) -> Result<Self, Failed> {
        let temp = tempfile::Builder::new().prefix("aque-bench-").tempdir()?;
        let mut mesh = Self {
            programs,
            nodes: Vec::new(),
            temp,
        };
        let mut ticket = None;
        for place in 0..nodes {
            let home = mesh.temp.path().join(format!("n{place}"));
            fs::create_dir(&home)?;
            let mut node = Node {
                home,
                flags: vec!["--cpus".into(), slots.to_string()],
                child: None,
            };
            let mut more = vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()];
            if let Some(ticket) = &ticket {
                more.extend(["--join".to_owned(), String::clone(ticket)]);
            }
            node.launch(programs, &more)?;
            let ready = node.ready()?;
            ticket = ticket.or_else(|| field(&ready, "ticket"));
            // From now on it keeps its addresses.
            let listen = field(&ready, "listen").unwrap_or_default();
            for address in listen.split(',') {
                node.flags
                    .extend(["--listen".to_owned(), address.to_owned()]);
            }
            mesh.nodes.push(node);
        }
        // The tasks are root's if this is.
        let anywhere = json!({"name": "root-tasks", "value": "anywhere"});
        let first = mesh.nodes.first().ok_or("a mesh has a node")?;
        first.wire()?.ask("set", &anywhere)?;
        mesh.wait_whole()?;
        Ok(mesh)
    }

    /// Waits until every node sees all others.
    pub(crate) fn wait_whole(&self) -> Result<(), Failed> {
        for node in &self.nodes {
            until(|| {
                let mut wire = node.wire().ok()?;
                let answers = wire.ask("nodes", &json!({})).ok()?;
                let hosts = answers.first()?["nodes"]["nodes"].as_array()?.clone();
                (hosts.iter().filter(|host| host["alive"] == true).count() == self.nodes.len())
                    .then_some(())
            })?;
        }
        Ok(())
    }

    /// Returns a node.
    pub(crate) fn node(&self, place: usize) -> &Node {
        &self.nodes[place]
    }

    /// Returns all nodes.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns a path that goes away with the mesh.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Kills a node as `kill -9` does.
    pub(crate) fn kill(&mut self, place: usize) {
        self.nodes[place].kill();
    }

    /// Starts a killed node again, and returns how long it took until it was ready.
    pub(crate) fn restart(&mut self, place: usize) -> Result<Duration, Failed> {
        let began = Instant::now();
        self.nodes[place].launch(self.programs, &[])?;
        self.nodes[place].ready()?;
        Ok(began.elapsed())
    }

    /// Runs the client against a node with this input, and returns what it printed and how long it took.
    pub(crate) fn aque(
        &self,
        place: usize,
        args: &[&str],
        input: &str,
    ) -> Result<(String, Duration), Failed> {
        let mut command = Command::new(&self.programs.aque);
        command
            .arg("--node")
            .arg(self.nodes[place].socket())
            .arg("--quiet")
            .args(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input.as_bytes())?;
        }
        let done = child.wait_with_output()?;
        let took = began.elapsed();
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("aque {}: {} {said}", args.join(" "), done.status).into());
        }
        Ok((
            String::from_utf8_lossy(&done.stdout).trim_end().to_owned(),
            took,
        ))
    }
}

impl Node {
    /// Returns the path of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("aque.sock")
    }

    /// Connects to it.
    pub(crate) fn wire(&self) -> Result<Wire, Failed> {
        Wire::connect(&self.socket())
    }

    /// Returns what it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage, Failed> {
        let own = self.child.as_ref().ok_or("the node does not run")?.id();
        let guards = children_of(own)?;
        let mut usage = Usage::default();
        for pid in guards.into_iter().chain([own]) {
            usage.cpu += cpu_of(pid)?;
            usage.resident += resident_of(pid)?;
        }
        Ok(usage)
    }

    /// Returns how many bytes its data takes on disk.
    pub(crate) fn disk(&self) -> Result<f64, Failed> {
        use std::os::unix::fs::MetadataExt;
        let mut blocks = 0;
        for entry in walkdir::WalkDir::new(self.home.join("data")) {
            blocks += entry?.metadata()?.blocks();
        }
        Ok(count(blocks) * 512.0)
    }

    fn launch(&mut self, programs: &Programs, more: &[String]) -> Result<(), Failed> {
        let name = self.home.file_name().unwrap_or_default().to_owned();
        let mut command = Command::new(&programs.node);
        command
            .arg("--data")
            .arg(self.home.join("data"))
            .arg("--api")
            .arg(self.socket())
            .arg("--name")
            .arg(name);
        command
            .args(["--no-mdns", "--log", "warn"])
            .args(&self.flags)
            .args(more);
        command
            .env_remove("AQUE_CONFIG")
            .env_remove("AQUE_LOG")
            .stdin(Stdio::null());
        command
            .stdout(File::create(self.home.join("said"))?)
            .stderr(File::create(self.home.join("log"))?);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    fn ready(&mut self) -> Result<String, Failed> {
        let said = self.home.join("said");
        let line = until(|| {
            let text = fs::read_to_string(&said).ok()?;
            Some(text.split_once('\n')?.0.to_owned())
        });
        line.map_err(|_| {
            format!(
                "a node was not ready: {}",
                fs::read_to_string(self.home.join("log")).unwrap_or_default()
            )
            .into()
        })
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended is as dead.
            let _sent = child.kill();
            let _status = child.wait();
        }
    }
}

impl Drop for Mesh<'_> {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
        // Guards go when their nodes have gone, and hold their lock until then.
        let _gone = until(|| guards_of(self.temp.path()).is_empty().then_some(()));
    }
}

/// Looks again and again, with back-off, until something is there.
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    let began = Instant::now();
    let mut pause = Duration::from_micros(200);
    while began.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return Ok(found);
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(20));
    }
    Err("it took too long".into())
}

/// Converts a count for arithmetic; counts here are far below 2^52.
pub(crate) fn count(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
    let number = number as f64;
    number
}

fn field(line: &str, name: &str) -> Option<String> {
    line.split(' ')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned)
}

fn children_of(pid: u32) -> Result<Vec<u32>, Failed> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(task?.path().join("children"))?;
        children.extend(
            list.split_whitespace()
                .filter_map(|number| number.parse::<u32>().ok()),
        );
    }
    Ok(children)
}

fn guards_of(directory: &Path) -> Vec<PathBuf> {
    let needle = directory.display().to_string();
    let entries = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mentions = |path: &PathBuf| {
        fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.contains(&needle))
    };
    entries.filter(mentions).collect()
}

/// User and system time of a process without its children, seconds.
fn cpu_of(pid: u32) -> Result<f64, Failed> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Ok(count(ticks) / TICKS)
}

fn resident_of(pid: u32) -> Result<f64, Failed> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    Ok(count(kib.unwrap_or(0)) * 1024.0)
}
