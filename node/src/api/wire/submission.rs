//! What tasks are submitted with, and what is edited of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crdt::event::Durability;
use crdt::task::{Arg, Elements, Environment, Needs, OnLost, OnPartition};
use serde::{Deserialize, Serialize};

/// Tasks to queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Submission {
    /// In order.
    pub tasks: Vec<TaskRequest>,
    /// The environment of tasks that inherit.
    #[serde(default)]
    pub env: Option<Environment>,
    /// When to answer.
    #[serde(default)]
    pub durable: DurableWord,
}

/// [`Durability`] as people type it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurableWord {
    /// On this host's disk.
    Local,
    /// On a majority of the committee's disks.
    #[default]
    Quorum,
}

impl From<DurableWord> for Durability {
    fn from(word: DurableWord) -> Self {
        match word {
            DurableWord::Local => Self::Local,
            DurableWord::Quorum => Self::Quorum,
        }
    }
}

/// One task as the client describes it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TaskRequest {
    /// Program and arguments; empty for a group.
    pub argv: Vec<Arg>,
    /// Run through this shell: `SHELL -c argv[0] SHELL argv[1..]`.
    #[serde(default)]
    pub shell: Option<Arg>,
    /// The words are an interpreter, a function of it as MODULE:NAME, and perhaps the arguments as JSON: the function is called.
    #[serde(default)]
    pub call: bool,
    /// It is a group with so many members (0 = not known yet), not a command.
    #[serde(default)]
    pub group_size: Option<u32>,
    /// For people.
    #[serde(default)]
    pub name: Option<String>,
    /// Absolute.
    pub cwd: Arg,
    /// Takes [`Submission::env`].
    #[serde(default)]
    pub inherit_env: bool,
    /// On top of it.
    #[serde(default)]
    pub extra_env: Environment,
    /// Free capacity that it needs.
    #[serde(default)]
    pub needs: Needs,
    /// Higher first; 1000 unless stated.
    #[serde(default)]
    pub priority: Option<i32>,
    /// Ids that must succeed first.
    #[serde(default)]
    pub after: Vec<String>,
    /// Places in this submission that must succeed first.
    #[serde(default)]
    pub after_places: Vec<u32>,
    /// The group it belongs to.
    #[serde(default)]
    pub member: Option<MemberRequest>,
    /// It stands for so many members of that group, the first at the place stated.
    #[serde(default)]
    pub elements: Option<Elements>,
    /// Runs again so often after a failure.
    #[serde(default)]
    pub retries: u32,
    /// What becomes of it when its host is lost.
    #[serde(default)]
    pub on_lost: OnLost,
    /// Where it may run while the mesh is split.
    #[serde(default)]
    pub on_partition: OnPartition,
    /// What few tasks state.
    #[serde(default)]
    pub life: Life,
    /// What else a host must have, be and be called.
    #[serde(default)]
    pub requires: Requirements,
    /// The task that submits it, or for which it is submitted.
    #[serde(default)]
    pub parent: Option<String>,
    /// What decides whose turn it is, beside the priority.
    #[serde(default)]
    pub turn: Turn,
    /// As whom it is to run; only root may name another user, and nobody else a group that the user is not in.
    #[serde(default)]
    pub run_as: RunAs,
}

/// As whom a task is to run, where that is stated: by names, which each host looks up for itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunAs {
    /// The user to whom it belongs from then on; none: who submits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group; none: that user's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl RunAs {
    /// Says whether anybody is named.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }
}

/// What decides when it is a task's turn, beside its priority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Turn {
    /// The named queue; none: the mesh's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How long it will take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Mounts that it uses much.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io: Vec<String>,
}

/// What a host must have, be and be called, beyond processors and memory.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// Named resources, and how much of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, f64>,
    /// All processors of the host but so many, whatever the needs say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_but: Option<f64>,
    /// Its processors, in the needs or here, were stated: a run gets no more where its host can see to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cpu_limit: bool,
    /// What it needs of memory, bytes, after it has run out of it once, twice, and so on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory_ladder: Vec<u64>,
    /// Hosts, as [`crdt::fit::HostPatterns`] reads them; empty: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hosts: String,
    /// System, or system and machine, such as `linux/x86_64`; empty: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Paths that it must be able to read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Arg>,
}

/// What a task is to be otherwise; what is not stated stays as it is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EditWords {
    /// For people; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Higher first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// All processors of the host but so many, whatever `cpus` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_but: Option<f64>,
    /// Bytes, after none, one, two losses of memory, and so on; empty: unstated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Vec<u64>>,
    /// Named resources, and how much of each: all that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<BTreeMap<String, f64>>,
    /// Hosts, as [`crdt::fit::HostPatterns`] reads them; empty: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<String>,
    /// System, or system and machine; empty: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The named queue; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// When a task may start, how long and how often it may run, and where its streams lead: what few tasks state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// Ids that must have ended first, however.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after_any: Vec<String>,
    /// Ids that must have ended otherwise than well first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after_fail: Vec<String>,
    /// It does not start before, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// It does not start after, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// A run that takes longer is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// It waits for `release` from the start.
    pub held: bool,
    /// Failures after which it is tried again: `75`, `1-9`, `signal`, `signal:9`, `timeout`, `oom`, `call`; none: all but `call`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
    /// The pause before the first retry; twice as long before each further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
    /// What it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<StdinWord>,
    /// It reads what this task wrote to its standard output, and waits for it: for its success, unless it is named above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipe_from: Option<String>,
    /// The file that takes its output; a relative path starts at its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Arg>,
    /// The same for errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Arg>,
    /// The submitter's own name for this submission: submitted again under it, it is the same task. For the first of a submission.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
}

impl Life {
    /// Returns what is stated for a group whose members state this.
    #[must_use]
    pub fn of_group(&self) -> Self {
        Self {
            key: self.key.clone(),
            ..Self::default()
        }
    }

    /// Returns what is stated for a member of a group that was submitted with this.
    #[must_use]
    pub fn of_member(&self) -> Self {
        Self {
            key: String::new(),
            ..self.clone()
        }
    }
}

/// What a task reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdinWord {
    /// A file of the host that runs it; a relative path starts at its directory.
    File(Arg),
    /// These bytes.
    Text(Arg),
}

/// Membership of a group in a submission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberRequest {
    /// The group's id, if it was submitted earlier.
    #[serde(default)]
    pub group: Option<String>,
    /// Or its place in this submission.
    #[serde(default)]
    pub group_place: Option<u32>,
    /// The member's place in the group's input order.
    pub index: u32,
    /// At most so many at once; 0 = no limit.
    #[serde(default)]
    pub window: u32,
}
