//! What is answered of hosts and of the mesh: its settings and queues, who is there, whether all is well.

use std::collections::BTreeMap;

use crdt::entry::DutyKind;
use serde::{Deserialize, Serialize};

/// What people stated for the mesh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SettingList {
    /// By name.
    pub settings: Vec<SettingLine>,
}

/// One setting of the mesh.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SettingLine {
    /// As in [`crdt::settings::Settings`].
    pub name: String,
    /// None: each host goes by its own options.
    pub value: Option<String>,
    /// Who said so.
    pub by: String,
}

/// The named queues.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueList {
    /// By name.
    pub queues: Vec<QueueLine>,
}

/// One named queue, as far as is heard of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueLine {
    /// Empty for tasks that name none.
    pub name: String,
    /// 0 = no limit.
    pub slots: u32,
    /// Its share.
    pub weight: u32,
    /// None of its tasks starts.
    pub paused: bool,
    /// Tasks that are claimed or run.
    pub active: u64,
    /// Tasks that have not ended otherwise.
    pub waiting: u64,
}

/// What a person wants of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DutyWord {
    /// It takes work.
    Works,
    /// It takes no more work, and hands over its places in committees.
    Drains,
    /// It will not come back.
    Gone,
}

impl From<DutyWord> for DutyKind {
    fn from(word: DutyWord) -> Self {
        match word {
            DutyWord::Works => Self::Works,
            DutyWord::Drains => Self::Drains,
            DutyWord::Gone => Self::Gone,
        }
    }
}

/// Of which host something is wanted now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assigned {
    /// What people call it.
    pub name: String,
    /// Its tag.
    pub tag: String,
}

/// How well a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkup {
    /// In the order in which one would look.
    pub checks: Vec<Check>,
    /// How often what was dropped since the node's start, by kind; kinds that did not come up are left out.
    pub refused: BTreeMap<String, u64>,
    /// What peers sent that no honest node sends, by peer and kind.
    #[serde(default)]
    pub offences: Vec<OffenceLine>,
}

/// One kind of thing that one peer did and must not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OffenceLine {
    /// The peer's name, or its tag if it never told one.
    pub host: String,
    /// Its tag.
    pub tag: String,
    /// What, as a word that stays the same: `epoch-leap`, `forged-signature`, …
    pub kind: String,
    /// What, for people.
    pub what: String,
    /// What to do about it.
    pub todo: String,
    /// How often since the node's start.
    pub count: u64,
    /// When last, by the wall clock of the host that was asked, milliseconds since 1970.
    pub last_ms: u64,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `disk`, `peers`, …
    pub topic: String,
    /// How it is.
    pub health: Health,
    /// What was found, for people.
    pub what: String,
    /// What to do about it, if anything.
    #[serde(default)]
    pub todo: Option<String>,
}

/// How well something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and may not for long, or not as well as it could.
    Warning,
    /// It does not work.
    Fault,
}

/// The hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodes {
    /// This one first, then by name.
    pub nodes: Vec<NodeLine>,
}

/// One host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeLine {
    /// What people call it.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// Heard of lately.
    pub alive: bool,
    /// This is the host asked.
    pub own: bool,
    /// For how long it has been alive, or not, as far as the host asked has seen: milliseconds.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// Milliseconds since it was last heard of, for those not alive.
    #[serde(default)]
    pub silent_ms: Option<u64>,
    /// Processors offered.
    pub cpus: f64,
    /// Processors free.
    pub cpus_free: f64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Runs alive.
    pub running: u32,
    /// It takes no more work, and hands over its places in committees.
    #[serde(default)]
    pub draining: bool,
    /// Lists of unfinished tasks (segments) that rest on its disk: it sits in their committee, or nobody has its place yet.
    #[serde(default)]
    pub places: usize,
    /// Load average of one minute.
    pub load: f64,
    /// Its version.
    pub version: String,
    /// Round trip in milliseconds, where connected.
    #[serde(default)]
    pub round_trip_ms: Option<f64>,
    /// In how many lists of tasks (and the directory) it differed from the host asked when both were compared last: some seconds ago,
    /// where they are connected.
    #[serde(default)]
    pub differs: Option<usize>,
    /// Where it listens.
    pub addresses: Vec<String>,
}

/// A ticket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// One line, `aque1…`.
    pub ticket: String,
}

/// A node's own figures, by name (`aque_…`), as its metrics will be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stats {
    /// Name to value.
    pub values: std::collections::BTreeMap<String, u64>,
}
