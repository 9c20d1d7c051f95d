//! `aque demo`: a mesh on this machine, a batch of work, a killed host, and the audit.
//!
//! The nodes are real processes and the commands too; each command writes down itself when it runs. What is printed at the
//! end is judged by those lines and by what every living node says, and a broken promise is exit status 1.

mod audit;
mod mesh;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crdt::settings::Settings;
use crdt::task::{Arg, TaskState};
use rustix::process::Signal;

use super::problem::Problem;
use super::{Context, Form, Talk};
use crate::api::select::Selection;
use crate::api::wire::{MemberRequest, StatusQuery, Submission, TaskLine, TaskRequest};
use crate::client::Client;
use crate::clock::boottime;
use crate::render::progress::Meter;
use crate::render::text::{count, duration};
use audit::{Evidence, Fault, Report, SCRIPT, audit};
use mesh::{LEASE, Mesh};

pub(crate) use mesh::{NODE_VERB, be_a_node};

/// Start a mesh on this machine, give it work, kill a node, and audit what happened
///
/// Real nodes on loopback, real commands, one node killed with -9 in the middle. Nothing is left behind.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// How many commands
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tasks: u32,
    /// Pause another node beyond its lease, and start the killed one again
    #[arg(long)]
    chaos: bool,
}

const EXAMPLES: &str = "\
Examples:
  aque demo
  aque demo --nodes 5 --tasks 1000 --chaos
  aque demo --json | jq .second_runs";

/// The fault that is always there.
const KILLED: &str = "host killed";
/// The fault of `--chaos`.
const PAUSED: &str = "host paused";
/// The nodes find each other within this time.
const JOIN: Duration = Duration::from_secs(30);
/// Something ends at least this often, or the mesh is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// A pause of two leases.
const PAUSE: Duration = Duration::from_secs(3);
/// How long a host stays dead that is started again.
const DEAD: Duration = Duration::from_millis(500);
/// Tasks of one submission.
const BATCH: usize = 1_000;

/// What is done when, by how many tasks have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Pause a node once a fifth has ended.
    BeforePause,
    /// Let it go on at this instant.
    Paused(Instant),
    /// Kill a node once two fifths have ended.
    BeforeKill,
    /// Nothing more.
    AfterKill,
}

/// Whether a killed node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Return {
    /// With its data, as after a crash.
    ComesBack,
    /// Never.
    StaysDead,
}

/// Everything that the demo holds while it runs.
struct Show<'a> {
    context: &'a Context,
    began: Instant,
    mesh: Mesh,
    meter: Meter,
    evidence: Evidence,
    file: File,
    partial: String,
    faults: Vec<Fault>,
    comes_back: Return,
}

/// Runs the demo. Exits with 1 if a promise was broken.
pub(crate) fn run(context: &Context, options: &Options) -> Result<u8, Problem> {
    let nodes = usize::from(options.nodes);
    let mut show = Show::new(context, nodes, options)?;
    let first = show.gather()?;
    let (group, ids) = show.submit(first, options.tasks)?;
    show.watch(&group, options)?;
    let said = show.hear_all(&ids)?;
    let report = audit(&ids, &show.evidence, &said, &show.faults);
    show.meter.clear();
    show.finish(&report, &said)
}

impl<'a> Show<'a> {
    fn new(context: &'a Context, nodes: usize, options: &Options) -> Result<Self, Problem> {
        let began = Instant::now();
        let mesh = Mesh::new(nodes)?;
        let audit = mesh.dir().join("audit");
        let file = File::create(&audit).and_then(|_created| File::open(&audit));
        let file = file.map_err(|error| {
            Problem::failed(format!("cannot make {}: {error}", audit.display()))
        })?;
        let meter = match (context.talk, context.form) {
            (Talk::Quiet, _) | (_, Form::Json) => Meter::Silent,
            (Talk::Normal, Form::Text) => Meter::new(),
        };
        let comes_back = if nodes < 3 || options.chaos {
            Return::ComesBack
        } else {
            Return::StaysDead
        };
        let show = Self {
            context,
            began,
            mesh,
            meter,
            evidence: Evidence::default(),
            file,
            partial: String::new(),
            faults: Vec::new(),
            comes_back,
        };
        let (nodes, tasks) = (
            count(nodes as u64, "node"),
            count(options.tasks.into(), "command"),
        );
        show.say(&format!(
            "{nodes} and {tasks} in {}",
            show.mesh.dir().display()
        ))?;
        Ok(show)
    }

    /// Tells a step, with the time since the start.
    fn say(&self, text: &str) -> Result<(), Problem> {
        if self.context.form == Form::Json || self.context.talk == Talk::Quiet {
            return Ok(());
        }
        let line = format!("{:>6.1}s  {text}\n", self.began.elapsed().as_secs_f64());
        match &self.meter {
            Meter::Bar(bar) => bar.suspend(|| self.context.print(&line)),
            Meter::Silent | Meter::Lines(_) => self.context.print(&line),
        }
    }

    /// Starts every node and waits until all know all. Returns a connection to the first.
    fn gather(&mut self) -> Result<Client, Problem> {
        let mut first = self.mesh.start(0, None)?;
        // The tasks are root's if the demo is.
        let anywhere = Some("anywhere".to_owned());
        first.set(Settings::ROOT_TASKS.to_owned(), anywhere)?;
        let ticket = first.invite()?.ticket;
        self.say("demo-1 is up: a mesh of one")?;
        let nodes = self.mesh.hosts().len();
        let mut clients = Vec::new();
        for place in 1..nodes {
            clients.push(self.mesh.start(place, Some(&ticket))?);
        }
        clients.push(first);
        self.await_members(&mut clients, nodes)?;
        if nodes > 1 {
            self.say(&format!(
                "{} with demo-1's ticket; all know all",
                joined(nodes)
            ))?;
        }
        clients
            .pop()
            .ok_or_else(|| Problem::failed("there is no node"))
    }

    fn await_members(&mut self, clients: &mut [Client], nodes: usize) -> Result<(), Problem> {
        let began = Instant::now();
        for client in clients {
            while client
                .nodes()?
                .nodes
                .iter()
                .filter(|node| node.alive)
                .count()
                < nodes
            {
                if began.elapsed() > JOIN {
                    return Err(
                        Problem::failed("the nodes do not find each other on loopback")
                            .hint("look for a firewall rule that touches 127.0.0.1"),
                    );
                }
                self.mesh.pause()?;
            }
        }
        Ok(())
    }

    /// Submits the commands at the first node.
    fn submit(&mut self, mut client: Client, tasks: u32) -> Result<(String, Vec<String>), Problem> {
        let audit = self.mesh.dir().join("audit");
        let template = TaskRequest {
            cwd: Arg::from("/"),
            inherit_env: false,
            ..TaskRequest::default()
        };
        let head = TaskRequest {
            group_size: Some(tasks),
            name: Some("demo".into()),
            ..template.clone()
        };
        let submission = Submission {
            tasks: vec![head],
            ..Submission::default()
        };
        let group = client.submit(submission)?.ids.pop();
        let group = group.ok_or_else(|| Problem::failed("the node answered without an id"))?;
        let member = |index: u32| TaskRequest {
            argv: command(&audit, index),
            // Half a processor each: four at once on each node.
            needs: crdt::task::Needs {
                cpu_milli: 500,
                memory_bytes: 0,
            },
            member: Some(MemberRequest {
                group: Some(group.clone()),
                group_place: None,
                index,
                window: 0,
            }),
            ..template.clone()
        };
        let mut ids = Vec::new();
        let all: Vec<u32> = (0..tasks).collect();
        for batch in all.chunks(BATCH) {
            let tasks = batch.iter().map(|index| member(*index)).collect();
            ids.extend(
                client
                    .submit(Submission {
                        tasks,
                        ..Submission::default()
                    })?
                    .ids,
            );
            self.mesh.check()?;
        }
        self.say(&format!(
            "{} submitted at demo-1 as group {group}",
            count(tasks.into(), "command")
        ))?;
        Ok((group, ids))
    }

    /// Shows progress until all have ended, and does harm on the way.
    fn watch(&mut self, group: &str, options: &Options) -> Result<(), Problem> {
        let witness = self.mesh.hosts().len() - 1;
        let mut act = match options.chaos && self.mesh.hosts().len() > 2 {
            true => Act::BeforePause,
            false => Act::BeforeKill,
        };
        let mut client = self.mesh.connect(witness)?;
        let total = u64::from(options.tasks);
        let mut moved = (Instant::now(), 0);
        loop {
            self.mesh.pause()?;
            self.read_evidence()?;
            let line = one(&mut client, group)?;
            let done = ended(&line);
            self.meter.show(done, total, &running(&line));
            if done > moved.1 {
                moved = (Instant::now(), done);
            }
            if line.state.is_complete() && act == Act::AfterKill {
                self.say("all have ended")?;
                return Ok(());
            }
            if moved.0.elapsed() > STUCK {
                let text = format!("nothing has ended for {}", duration(STUCK));
                return Err(Problem::failed(format!("{text}: {done} of {total} had")));
            }
            let next = self.act(act, done, total)?;
            if next == Act::AfterKill && act != next && self.comes_back == Return::ComesBack {
                client = self.mesh.connect(witness)?;
            }
            act = next;
        }
    }

    fn act(&mut self, act: Act, done: u64, total: u64) -> Result<Act, Problem> {
        let few = done * 7 < total * 5;
        match act {
            Act::BeforePause if done * 5 >= total => self.pause_one(),
            Act::Paused(until) if Instant::now() >= until => {
                self.mesh.signal(1, Signal::CONT)?;
                self.say("demo-2 goes on")?;
                Ok(Act::BeforeKill)
            }
            // Best while it runs something; if it never does, at the latest when most is done.
            Act::BeforeKill
                if done * 5 >= total * 2 && (self.evidence.running_on("demo-1") > 0 || !few) =>
            {
                self.kill_first()
            }
            other => Ok(other),
        }
    }

    fn pause_one(&mut self) -> Result<Act, Problem> {
        self.mesh.signal(1, Signal::STOP)?;
        self.fault("demo-2", PAUSED);
        self.say(&format!(
            "demo-2 is paused for {}, far beyond its lease",
            duration(PAUSE)
        ))?;
        Ok(Act::Paused(Instant::now() + PAUSE))
    }

    /// Kills the node that took the submission: nothing hangs on it.
    fn kill_first(&mut self) -> Result<Act, Problem> {
        let pid = self.mesh.hosts()[0].pid().unwrap_or_default();
        self.fault("demo-1", KILLED);
        self.mesh.kill(0)?;
        self.read_evidence()?;
        let lost = count(self.evidence.running_on("demo-1") as u64, "run");
        self.say(&format!(
            "kill -9 {pid}: demo-1, which took the submission, is dead, and {lost} with it"
        ))?;
        if self.comes_back == Return::ComesBack {
            let until = Instant::now() + DEAD;
            while Instant::now() < until {
                self.mesh.pause()?;
            }
            self.mesh.start(0, None)?;
            self.say("demo-1 is started again, with what was on its disk")?;
        }
        Ok(Act::AfterKill)
    }

    fn fault(&mut self, host: &str, what: &'static str) {
        self.faults.push(Fault {
            host: host.to_owned(),
            what,
            at: boottime(),
        });
    }

    /// Reads what the tasks have written since the last look.
    fn read_evidence(&mut self) -> Result<(), Problem> {
        let read = self.file.read_to_string(&mut self.partial);
        read.map_err(|error| Problem::failed(format!("cannot read the audit: {error}")))?;
        if let Some(end) = self.partial.rfind('\n') {
            let rest = self.partial.split_off(end + 1);
            self.evidence.read(&self.partial);
            self.partial = rest;
        }
        Ok(())
    }

    /// Asks every living node, until all say the same or time is up: the last ends may still be on their way.
    fn hear_all(&mut self, ids: &[String]) -> Result<Vec<(String, Vec<TaskLine>)>, Problem> {
        let began = Instant::now();
        loop {
            let mut said = Vec::new();
            for place in 0..self.mesh.hosts().len() {
                if self.mesh.hosts()[place].pid().is_some() {
                    let mut client = self.mesh.connect(place)?;
                    said.push((self.mesh.hosts()[place].name.clone(), members(&mut client)?));
                }
            }
            self.read_evidence()?;
            let report = audit(ids, &self.evidence, &said, &self.faults);
            if report.broken.is_empty() || report.overlapping_runs > 0 || began.elapsed() > JOIN {
                return Ok(said);
            }
            self.mesh.pause()?;
        }
    }

    fn finish(self, report: &Report, said: &[(String, Vec<TaskLine>)]) -> Result<u8, Problem> {
        let hosts: Vec<&str> = said.iter().map(|(host, _)| host.as_str()).collect();
        match self.context.form {
            Form::Json => self.context.json(report)?,
            Form::Text => self.context.print(&render(report, &hosts))?,
        }
        if report.broken.is_empty() {
            return Ok(0);
        }
        Err(Problem::failed(format!(
            "a promise was broken: {}",
            report.broken.join("; ")
        )))
    }
}

fn joined(nodes: usize) -> String {
    match nodes {
        2 => "demo-2 joined".to_owned(),
        _ => format!("demo-2 to demo-{nodes} joined"),
    }
}

/// A command of 0 to 200 ms.
fn command(audit: &std::path::Path, index: u32) -> Vec<Arg> {
    let ticks = (index * 7 + index / 5) % 5;
    let file = super::parse::arg(PathBuf::from(audit).into_os_string());
    vec![
        Arg::from("sh"),
        Arg::from("-c"),
        Arg::from(SCRIPT),
        file,
        Arg::from(ticks.to_string()),
    ]
}

fn one(client: &mut Client, id: &str) -> Result<TaskLine, Problem> {
    let query = StatusQuery {
        which: vec![id.to_owned()].into(),
        ..StatusQuery::default()
    };
    let line = client.status(query)?.tasks.into_iter().next();
    line.ok_or_else(|| Problem::failed(format!("the node does not know {id}")))
}

fn members(client: &mut Client) -> Result<Vec<TaskLine>, Problem> {
    let query = StatusQuery {
        which: Selection {
            all_users: true,
            ..Selection::default()
        },
        flat: true,
        ..StatusQuery::default()
    };
    Ok(client.status(query)?.tasks)
}

fn ended(line: &TaskLine) -> u64 {
    let counts = line.members.iter().flatten();
    let complete = |name: &str| {
        TaskState::ALL
            .iter()
            .any(|s| s.name() == name && s.is_complete())
    };
    counts
        .filter(|(name, _)| complete(name))
        .map(|(_, count)| u64::from(*count))
        .sum()
}

fn running(line: &TaskLine) -> String {
    let running = line
        .members
        .as_ref()
        .and_then(|counts| counts.get("running"));
    format!("{} running", running.copied().unwrap_or_default())
}

fn render(report: &Report, hosts: &[&str]) -> String {
    let again: Vec<String> = report
        .second_runs
        .iter()
        .map(|(why, count)| format!("{why}: {count}"))
        .collect();
    let second: usize = report.second_runs.values().sum();
    let takeover = match report.takeover_ms {
        Some(ms) => duration(Duration::from_millis(ms)),
        None => "-".to_owned(),
    };
    let facts = [
        ("tasks", report.tasks.to_string(), String::new()),
        ("runs", report.runs.to_string(), String::new()),
        ("second runs", second.to_string(), again.join(", ")),
        (
            "overlapping runs",
            report.overlapping_runs.to_string(),
            String::new(),
        ),
        (
            "committed outcomes",
            report.committed.to_string(),
            format!("the same on {}", hosts.join(", ")),
        ),
        ("time to take over", takeover, format!("a lease is {LEASE}")),
    ];
    let mut text = "\nThe audit, by the lines that the tasks themselves wrote:\n".to_owned();
    for (name, value, remark) in facts {
        text.push_str(format!("  {name:<20}{value:<8}{remark}").trim_end());
        text.push('\n');
    }
    if report.broken.is_empty() {
        text.push_str(
            "Every promise held: each task has one outcome, and none ran twice at once.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::line;
    use super::*;

    #[test]
    fn the_report_as_people_see_it() {
        let report = Report {
            tasks: 300,
            runs: 302,
            second_runs: [(KILLED.to_owned(), 2)].into(),
            overlapping_runs: 0,
            committed: 300,
            takeover_ms: Some(1_650),
            broken: Vec::new(),
        };
        assert_eq!(
            render(&report, &["demo-2", "demo-3"]),
            "
The audit, by the lines that the tasks themselves wrote:
  tasks               300
  runs                302
  second runs         2       host killed: 2
  overlapping runs    0
  committed outcomes  300     the same on demo-2, demo-3
  time to take over   1.6s    a lease is 1500ms
Every promise held: each task has one outcome, and none ran twice at once.
"
        );
    }

    #[test]
    fn commands_last_from_none_to_four_ticks() {
        let ticks = |index| command(std::path::Path::new("/x"), index).pop();
        let seen: std::collections::BTreeSet<_> = (0..50).filter_map(ticks).collect();
        assert_eq!(seen, ["0", "1", "2", "3", "4"].map(Arg::from).into());
    }

    #[test]
    fn ended_counts_every_complete_state() {
        let members = [("success", 3), ("error", 1), ("running", 2), ("pending", 9)];
        let members = Some(members.map(|(name, count)| (name.to_owned(), count)).into());
        let line = TaskLine {
            members,
            ..line("g-1", TaskState::Running)
        };
        assert_eq!((ended(&line), running(&line)), (4, "2 running".to_owned()));
    }
}
