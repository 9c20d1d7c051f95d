//! A mesh of release programs for a measurement; it is gone when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Failed;

/// Nodes on loopback, two slots each.
pub(crate) struct Mesh {
    programs: PathBuf,
    nodes: Vec<Child>,
    dir: TempDir,
}

impl Mesh {
    /// Starts so many nodes and waits until they see each other.
    pub(crate) fn start(programs: &Path, size: usize, options: &[&str]) -> Result<Self, Failed> {
        let mut mesh =
            Self { programs: programs.to_owned(), nodes: Vec::new(), dir: TempDir::new()? };
        let mut ticket: Option<String> = None;
        for place in 0..size {
            let mut command = Command::new(programs.join("aque-node"));
            command.args(["--listen", "127.0.0.1:0", "--no-mdns", "--cpus", "2", "--log", "warn"]);
            command.arg("--name").arg(format!("n{place}"));
            command.arg("--data").arg(mesh.dir.path().join(format!("n{place}")));
            command.arg("--api").arg(mesh.socket(place)).args(options);
            if let Some(ticket) = &ticket {
                command.args(["--join", ticket]);
            }
            let mut node =
                command.env_remove("AQUE_DATA").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            let mut line = String::new();
            if let Some(stdout) = node.stdout.take() {
                BufReader::new(stdout).read_line(&mut line)?;
            }
            mesh.nodes.push(node);
            let said = line.split_whitespace().find_map(|word| word.strip_prefix("ticket="));
            ticket.get_or_insert(said.ok_or("a node did not start")?.to_owned());
        }
        mesh.wait_until("all nodes are seen", |mesh| {
            let text = mesh.aque(0, &["--json", "nodes"])?;
            let list: serde_json::Value = serde_json::from_slice(&text.stdout)?;
            let alive = |node: &&serde_json::Value| node["alive"] == true && node["version"] != "";
            Ok(list.as_array().is_some_and(|list| list.iter().filter(alive).count() == size))
        })?;
        Ok(mesh)
    }

    fn socket(&self, place: usize) -> PathBuf {
        self.dir.path().join(format!("n{place}.sock"))
    }

    /// Returns a folder for files of the measurement.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns a client's command against one node.
    pub(crate) fn client(&self, place: usize) -> Command {
        let mut command = Command::new(self.programs.join("aque"));
        command.env("AQUE_NODE", self.socket(place)).current_dir("/");
        command
    }

    /// Runs the client.
    pub(crate) fn aque(&self, place: usize, args: &[&str]) -> Result<Output, Failed> {
        let output = self.client(place).args(args).stdin(Stdio::null()).output()?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }

    /// Runs the client with lines on its standard input.
    pub(crate) fn feed(&self, args: &[&str], lines: &str) -> Result<(), Failed> {
        let mut child =
            self.client(0).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes())?;
        }
        if child.wait()?.success() { Ok(()) } else { Err("aque xargs failed".into()) }
    }

    /// Looks until something is so.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        is_so: impl Fn(&Self) -> Result<bool, Failed>,
    ) -> Result<(), Failed> {
        let began = Instant::now();
        while !is_so(self)? {
            if began.elapsed() > Duration::from_secs(300) {
                return Err(format!("waited too long until {what}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Returns how many nodes there are.
    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the process of a node and of its guard.
    pub(crate) fn processes(&self, place: usize) -> Vec<u32> {
        let node = self.nodes[place].id();
        let guard = std::fs::read_to_string(format!("/proc/{node}/task/{node}/children"));
        let children = guard.unwrap_or_default();
        std::iter::once(node).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }

    /// Kills a node with SIGKILL.
    pub(crate) fn kill(&mut self, place: usize) -> Result<(), Failed> {
        self.nodes[place].kill()?;
        self.nodes[place].wait()?;
        Ok(())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if node.kill().is_ok() {
                let mut rest = String::new();
                if let Some(mut stdout) = node.stdout.take() {
                    stdout.read_to_string(&mut rest).ok();
                }
                node.wait().ok();
            }
        }
    }
}
