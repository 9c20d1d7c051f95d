//! What tasks and outputs are asked for with.

use serde::{Deserialize, Serialize};

use crate::api::select::Selection;

/// Which tasks to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatusQuery {
    /// Only these and what belongs to them; nothing named = all.
    #[serde(flatten)]
    pub which: Selection,
    /// Members of groups are listed too, without the groups.
    #[serde(default)]
    pub flat: bool,
    /// As a tree: with what belongs to the tasks that are named, and what those belong to that are listed.
    #[serde(default)]
    pub tree: Option<Tree>,
    /// At most so many, the newest; 0 = all.
    #[serde(default)]
    pub limit: u32,
}

/// How much of a tree of tasks is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tree {
    /// Members of groups, and what they submitted, are counted only.
    Closed,
    /// All of it.
    Open,
}

/// Which output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutputQuery {
    /// One task.
    pub task: String,
    /// Both streams unless one is named.
    #[serde(default)]
    pub only: Option<StreamName>,
    /// Goes on until the task has ended.
    #[serde(default)]
    pub follow: bool,
    /// Only the last lines of each stream.
    #[serde(default)]
    pub last_lines: Option<u32>,
    /// That of one of its runs, from 1; else of the one that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// A captured stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
