//! What `submit` and `xargs` have in common: how a task is described on the command line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::TypedValueParser as _;
use crdt::fit::{HostPatterns, NoHosts};
use crdt::task::{Arg, Environment, Needs, OnLost, OnPartition, TaskState};

use super::Context;
use super::life::{LifeOptions, is_secret, tell_withheld};
use super::parse::{self, Cpus, Variable};
use super::problem::Problem;
use super::turn::TurnOptions;
use crate::api::wire::{Detail, DurableWord, Requirements, RunAs, TaskLine, TaskRequest};
use crate::client::{Client, ClientError};
use crate::config::amount;
use crate::render::text::harmless;

/// Needs, order and surroundings of a task. The short forms that GNU xargs uses otherwise are added for `submit` alone.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TaskOptions {
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Higher runs first [default: 1000]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Processors that it needs and may take, such as 4 or 0.5; -1: all but one, all: all of them [default: needs 1, may take more]
    #[arg(short, long, value_name = "N", value_parser = parse::cpus, allow_negative_numbers = true)]
    cpus: Option<Cpus>,
    /// Memory that it needs and may take, such as 512M; 4G,8G: runs again with the next size when it runs out of memory
    #[arg(short, long, value_name = "SIZE", value_parser = parse::size, value_delimiter = ',')]
    memory: Vec<u64>,
    /// A named resource that it takes, such as gpu=1 or licence=0.5
    #[arg(long, value_name = "NAME=N", value_parser = amount)]
    resource: Vec<(String, u32)>,
    /// Hosts that may run it: globs of names and addresses, blocks such as 10.0.0.0/8, '!' before those that may not
    #[arg(long, value_name = "PATTERNS", value_parser = hosts)]
    host: Option<String>,
    /// System, or system and machine, such as linux or linux/x86_64
    #[arg(long, value_name = "NAME", value_parser = parse::platform)]
    platform: Option<String>,
    /// Run as this user, to whom it belongs then: for root, on hosts whose node runs as root [default: who submits]
    #[arg(long, value_name = "NAME", value_parser = parse::user)]
    user: Option<String>,
    /// Run as this group, which the user must be in unless root says so, on hosts whose node runs as root [default: the user's own, or that of newgrp]
    #[arg(long, value_name = "NAME", value_parser = parse::user)]
    group: Option<String>,
    /// Directory to run in [default: this one]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set a variable, or pass on the one that is set here
    #[arg(
        long,
        value_name = "KEY[=VALUE]",
        value_parser = clap::builder::OsStringValueParser::new().try_map(parse::variable)
    )]
    env: Vec<Variable>,
    /// Start from this environment, or from an empty one
    #[arg(long, value_name = "MODE", default_value = "inherit")]
    env_mode: EnvMode,
    /// The first word is a script for $SHELL -c, the rest its $@
    #[arg(long)]
    shell: bool,
    /// Run only after these tasks have succeeded
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) after: Vec<String>,
    /// Submit for this task, with its priority and requirements where none are stated [default: the task that submits]
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Run again so often after a failure
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    retries: u32,
    /// When its host is lost: run it elsewhere, wait for that host, or end it as lost
    #[arg(long, value_name = "HOW", default_value = "retry")]
    on_lost: LostWord,
    /// While the mesh is split: wait for a majority, or run it on either side, perhaps on both
    #[arg(long, value_name = "HOW", default_value = "wait")]
    on_partition: PartitionWord,
    /// Answer once it is on this host's disk, or on a majority of its committee's
    #[arg(long, value_name = "HOW", default_value = "quorum")]
    durable: Durable,
    #[command(flatten)]
    pub(crate) life: LifeOptions,
    #[command(flatten)]
    pub(crate) turn: TurnOptions,
}

/// Where a task's environment comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvMode {
    /// From where it is submitted
    #[default]
    Inherit,
    /// Only what is set by -e and KEY=VALUE
    Clean,
}

/// What becomes of a task whose host is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LostWord {
    /// It runs again elsewhere, once the run that was lost is dead for certain
    #[default]
    Retry,
    /// It waits for that host, or for 'aque retry'; never two runs, whatever clocks do
    Wait,
    /// It ends as lost, unless it has --retries left
    Fail,
}

/// Where a task may run while the mesh is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartitionWord {
    /// Only where a majority of its committee answers
    #[default]
    Wait,
    /// Anywhere, on two sides even twice; one result counts
    Run,
}

/// When a submission is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durable {
    /// On this host's disk
    Local,
    /// On a majority of the committee's disks
    #[default]
    Quorum,
}

/// Variables of a run, which a task submitted by that run must not inherit.
const RUN_VARIABLES: [&str; 15] = [
    "AQUE_TID",
    "AQUE_PARENT",
    "AQUE_EPOCH",
    "AQUE_FENCE",
    "AQUE_ATTEMPT",
    "AQUE_HOST",
    "AQUE_NODE",
    "AQUE_CPUS",
    "AQUE_ARRAY_INDEX",
    "AQUE_ARRAY_ENTRY",
    "AQUE_QUEUE",
    "AQUE_PROGRESS",
    "AQUE_CALL",
    "AQUE_RUN_MARK",
    "_",
];

impl TaskOptions {
    /// Returns what all tasks of this command line share; the command itself is still empty.
    ///
    /// # Errors
    /// The directory is missing.
    pub(crate) fn template(&self, assigned: Vec<(Arg, Arg)>) -> Result<TaskRequest, Problem> {
        let needs = Needs::default();
        if self.on_partition == PartitionWord::Run && self.on_lost != LostWord::Retry {
            return Err(Problem::usage(
                "--on-partition run goes with --on-lost retry alone: where both sides of a split run a task, nobody knows of a loss",
            ));
        }
        Ok(TaskRequest {
            argv: Vec::new(),
            shell: self.shell.then(shell),
            call: false,
            group_size: None,
            name: self.name.clone(),
            cwd: self.directory()?,
            inherit_env: self.env_mode == EnvMode::Inherit,
            extra_env: self.variables(assigned),
            needs: Needs {
                cpu_milli: match self.cpus {
                    Some(Cpus::Of(milli)) => milli,
                    Some(Cpus::AllBut(_)) | None => needs.cpu_milli,
                },
                memory_bytes: self.memory.first().copied().unwrap_or(needs.memory_bytes),
            },
            priority: self.priority,
            after: self.after.clone(),
            after_places: Vec::new(),
            member: None,
            elements: None,
            retries: self.retries,
            on_lost: match self.on_lost {
                LostWord::Retry => OnLost::Retry,
                LostWord::Wait => OnLost::Wait,
                LostWord::Fail => OnLost::Fail,
            },
            on_partition: match self.on_partition {
                PartitionWord::Wait => OnPartition::Wait,
                PartitionWord::Run => OnPartition::Run,
            },
            life: self.life.stated(self.retries)?,
            requires: self.requires()?,
            turn: self.turn.stated(&[]),
            run_as: RunAs {
                user: self.user.clone(),
                group: self.group.clone(),
            },
            parent: None,
        })
    }

    /// The sizes after the first, each larger than the one before.
    fn ladder(&self) -> Result<Vec<u64>, Problem> {
        if !self.memory.is_sorted_by(|less, more| less < more) {
            return Err(Problem::usage("the sizes of --memory must grow")
                .hint("such as --memory 4G,8G,16G"));
        }
        Ok(self.memory.iter().skip(1).copied().collect())
    }

    fn requires(&self) -> Result<Requirements, Problem> {
        let whole = |milli: u32| f64::from(milli) / 1_000.0;
        let mut resources = BTreeMap::new();
        for (name, milli) in &self.resource {
            if resources.insert(name.clone(), whole(*milli)).is_some() {
                return Err(Problem::usage(format!("resource {name} is named twice"))
                    .hint("say once how much of it"));
            }
        }
        Ok(Requirements {
            resources,
            cpus_but: match self.cpus {
                Some(Cpus::AllBut(milli)) => Some(whole(milli)),
                Some(Cpus::Of(_)) | None => None,
            },
            cpu_limit: self.cpus.is_some(),
            memory_ladder: self.ladder()?,
            hosts: self.host.clone().unwrap_or_default(),
            platform: self.platform.clone().unwrap_or_default(),
            reads: self.turn.declared(),
        })
    }

    /// Gives a task a parent, and what it does not state itself of that parent's priority and requirements: the one that is named,
    /// else the task in whose run this program is.
    ///
    /// # Errors
    /// The named one is not known.
    pub(crate) fn adopt(&self, client: &mut Client, task: &mut TaskRequest) -> Result<(), Problem> {
        let Some(parent) = self.parent_of(client)? else {
            return Ok(());
        };
        task.parent = Some(parent.line.id);
        task.priority.get_or_insert(parent.line.priority);
        if task.turn.queue.is_none() {
            task.turn.queue = parent.line.queue;
        }
        if self.cpus.is_none() {
            task.needs.cpu_milli = parent.needs.cpu_milli;
            task.requires.cpus_but = parent.requires.cpus_but;
            task.requires.cpu_limit = parent.requires.cpu_limit;
        }
        if self.memory.is_empty() {
            task.needs.memory_bytes = parent.needs.memory_bytes;
            task.requires.memory_ladder = parent.requires.memory_ladder;
        }
        if self.resource.is_empty() {
            task.requires.resources = parent.requires.resources;
        }
        if self.host.is_none() {
            task.requires.hosts = parent.requires.hosts;
        }
        if self.platform.is_none() {
            task.requires.platform = parent.requires.platform;
        }
        Ok(())
    }

    fn parent_of(&self, client: &mut Client) -> Result<Option<Detail>, Problem> {
        if let Some(id) = &self.parent {
            return Ok(client.show(vec![id.clone()])?.tasks.pop());
        }
        let Some(own) = std::env::var("AQUE_TID").ok().filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        match client.show(vec![own]) {
            Ok(mut details) => Ok(details.tasks.pop()),
            // A task of another mesh: nothing to this one.
            Err(ClientError::Refused(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the environment that tasks inherit.
    pub(crate) fn environment(&self) -> Option<Environment> {
        match self.env_mode {
            EnvMode::Clean => None,
            EnvMode::Inherit => {
                let (environment, withheld) = inherited(std::env::vars_os(), &self.env);
                tell_withheld(&withheld);
                Some(environment)
            }
        }
    }

    /// Returns when to answer.
    pub(crate) fn durable(&self) -> DurableWord {
        match self.durable {
            Durable::Local => DurableWord::Local,
            Durable::Quorum => DurableWord::Quorum,
        }
    }

    fn directory(&self) -> Result<Arg, Problem> {
        let missing = |path: &str, error| {
            Problem::failed(format!("cannot run in {path}: {error}"))
                .hint("name another directory with --cwd")
        };
        let path = match &self.cwd {
            // Not resolved: on another host a link may lead elsewhere.
            Some(path) => std::path::absolute(path)
                .map_err(|error| missing(&path.display().to_string(), error))?,
            None => std::env::current_dir().map_err(|error| missing("this directory", error))?,
        };
        Ok(parse::arg(path.into_os_string()))
    }

    /// Variables on top of the inherited ones; of two settings of one name the later counts.
    fn variables(&self, assigned: Vec<(Arg, Arg)>) -> Environment {
        let passed = |name: &Arg| {
            let value = std::env::var_os(OsString::from_vec(name.0.clone()))?;
            Some((name.clone(), parse::arg(value)))
        };
        let named = self.env.iter().filter_map(|variable| match variable {
            Variable::Set(name, value) => Some((name.clone(), value.clone())),
            Variable::Pass(name) => passed(name),
        });
        let all: BTreeMap<Arg, Arg> = named.chain(assigned).collect();
        Environment(all.into_iter().collect())
    }
}

/// Returns what is passed on of an environment, and the names of what is not because it looks like a secret. What is `named` is
/// passed on apart.
fn inherited(
    vars: impl Iterator<Item = (OsString, OsString)>,
    named: &[Variable],
) -> (Environment, Vec<String>) {
    let all = vars
        .filter(|(name, _)| !is_of_run(name))
        .map(|(name, value)| (parse::arg(name), parse::arg(value)))
        // A name with '=' cannot be passed on.
        .filter(|(name, _)| !name.0.is_empty() && !name.0.contains(&b'='));
    let (secret, mut vars): (Vec<_>, Vec<_>) =
        all.partition(|(name, _)| is_secret(&name.to_text()));
    vars.sort();
    vars.dedup_by(|second, first| second.0 == first.0);
    let is_named = |name: &Arg| {
        named.iter().any(|variable| match variable {
            Variable::Set(own, _) | Variable::Pass(own) => own == name,
        })
    };
    let withheld = secret.iter().filter(|(name, _)| !is_named(name));
    let withheld = withheld.map(|(name, _)| name.to_text().into_owned());
    (Environment(vars), withheld.collect())
}

/// Checks patterns of hosts; they are matched by each host.
pub(super) fn hosts(text: &str) -> Result<String, NoHosts> {
    text.parse::<HostPatterns>().map(|_| text.to_owned())
}

/// Says whether a variable is about the run in which this program is.
fn is_of_run(name: &OsStr) -> bool {
    let unit = name.as_encoded_bytes().starts_with(b"AQUE_RESOURCE_");
    unit || RUN_VARIABLES.iter().any(|own| *own == name)
}

fn shell() -> Arg {
    let own = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    own.map_or_else(|| Arg::from("/bin/sh"), parse::arg)
}

/// Takes the `KEY=VALUE` words off the front of a command.
pub(crate) fn split_assignments(words: Vec<OsString>) -> (Vec<(Arg, Arg)>, Vec<Arg>) {
    let mut words = words.into_iter().peekable();
    let mut assigned = Vec::new();
    while let Some(pair) = words.peek().and_then(|word| parse::assignment(word)) {
        assigned.push(pair);
        words.next();
    }
    (assigned, words.map(parse::arg).collect())
}

/// Returns a task's own exit code; one that could not be started has it in its reason, as `exit 127: why`.
pub(crate) fn own_exit(line: &TaskLine) -> Option<i32> {
    let told = || {
        let rest = line.reason.as_deref()?.strip_prefix("exit ")?;
        rest.split(':').next()?.parse().ok()
    };
    line.exit.or_else(told)
}

/// Returns the exit status that stands for how a task ended: its own, or 128+n for a signal.
pub(crate) fn exit_status(line: &TaskLine) -> u8 {
    let own = match (line.signal, own_exit(line)) {
        (Some(signal), _) => u8::try_from(128 + signal.clamp(0, 127)).ok(),
        // A kernel keeps eight bits of an exit status.
        (None, Some(exit)) => u8::try_from(exit & 0xff).ok(),
        (None, None) => None,
    };
    match (line.state, own) {
        (TaskState::Success, _) => 0,
        (_, Some(status)) if status != 0 => status,
        (_, Some(_) | None) => 1,
    }
}

/// Returns why a task did not end well, where its exit status tells less than that: `timeout`, `exit 127: no such program`.
pub(crate) fn beyond_status(line: &TaskLine) -> Option<&str> {
    let reason = line.reason.as_deref()?;
    let told = ["exit ", "signal "].iter().any(|word| {
        let number = reason.strip_prefix(word);
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    });
    (line.state != TaskState::Success && !told).then_some(reason)
}

/// Tells a person what [`beyond_status`] has to tell of a task that was followed to its end, and returns its exit status.
pub(crate) fn ended(context: &Context, line: &TaskLine) -> u8 {
    if let Some(why) = beyond_status(line) {
        let (id, state) = (&line.id, line.state);
        context.remark(&harmless(&format!("aque: {id} is {state} ({why})")));
    }
    exit_status(line)
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    /// A line with nothing but an id and a state.
    pub(crate) fn line(id: &str, state: TaskState) -> TaskLine {
        TaskLine {
            id: id.into(),
            group: None,
            parent: None,
            name: None,
            command: "true".into(),
            state,
            reason: None,
            progress: None,
            host: None,
            epoch: 0,
            attempts: 0,
            priority: 1_000,
            queue: None,
            user: "ann".into(),
            after: Vec::new(),
            created_ms: 0,
            started_ms: None,
            ended_ms: None,
            exit: None,
            signal: None,
            members: None,
            below: None,
            cpus: Some(1.0),
            memory_bytes: None,
            rss_bytes: None,
        }
    }

    #[test]
    fn exit_status_table() {
        for (state, exit, signal, status) in [
            (TaskState::Success, Some(0), None, 0),
            (TaskState::Error, Some(3), None, 3),
            (TaskState::Error, Some(255), None, 255),
            (TaskState::Error, None, Some(9), 137),
            (TaskState::Killed, None, Some(15), 143),
            (TaskState::Killed, Some(0), None, 1),
            (TaskState::Cancelled, None, None, 1),
        ] {
            let line = TaskLine {
                exit,
                signal,
                ..line("a-1", state)
            };
            assert_eq!(exit_status(&line), status, "{state} {exit:?} {signal:?}");
        }
        let reason = Some("exit 127: no such program".to_owned());
        assert_eq!(
            exit_status(&TaskLine {
                reason,
                ..line("a-1", TaskState::Error)
            }),
            127
        );
    }

    #[test]
    fn beyond_status_table() {
        for (state, reason, told) in [
            (TaskState::Error, Some("exit 3"), false),
            (TaskState::Error, Some("signal 9"), false),
            (TaskState::Error, Some("timeout"), true),
            (TaskState::Error, Some("exit 127: no such program"), true),
            (TaskState::Cancelled, Some("by ann"), true),
            (TaskState::Success, Some("late"), false),
            (TaskState::Error, None, false),
        ] {
            let line = TaskLine {
                reason: reason.map(str::to_owned),
                ..line("a-1", state)
            };
            assert_eq!(beyond_status(&line).is_some(), told, "{reason:?}");
        }
    }

    #[test]
    fn assignments_stand_before_the_command() {
        let words = ["A=1", "B=x=y", "cmd", "C=3"].map(OsString::from).to_vec();
        let (assigned, argv) = split_assignments(words);
        assert_eq!(
            assigned,
            [("A", "1"), ("B", "x=y")].map(|(k, v)| (k.into(), v.into()))
        );
        assert_eq!(argv, ["cmd", "C=3"].map(Arg::from));
    }

    #[test]
    fn later_settings_win_and_names_are_sorted() {
        let options = TaskOptions {
            env: ["B=1", "A=1", "B=2"]
                .map(|word| parse::variable(word.into()).unwrap())
                .to_vec(),
            ..TaskOptions::default()
        };
        let template = options.template(vec![("A".into(), "3".into())]).unwrap();
        assert_eq!(
            template.extra_env.0,
            [("A", "3"), ("B", "2")].map(|(k, v)| (k.into(), v.into()))
        );
        assert!(template.inherit_env && template.cwd.0.first() == Some(&b'/'));
    }

    #[test]
    fn a_run_does_not_pass_on_its_own_variables() {
        let vars = [
            ("PATH", "/bin"),
            ("AQUE_TID", "x-1"),
            ("A", ""),
            ("_", "/bin/aque"),
            ("AQUE_RESOURCE_gpu", "0"),
            ("MY_TOKEN", "t"),
            ("YOUR_TOKEN", "u"),
        ];
        let named = [Variable::Pass("MY_TOKEN".into())];
        let (kept, withheld) = inherited(
            vars.into_iter()
                .map(|(name, value)| (name.into(), value.into())),
            &named,
        );
        assert_eq!(withheld, ["YOUR_TOKEN"]);
        assert_eq!(
            kept.0,
            [("A", ""), ("PATH", "/bin")].map(|(k, v)| (k.into(), v.into()))
        );
    }
}
