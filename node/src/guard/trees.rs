//! How the processes of a run are ended with it: what a node wishes, and what its guard could do here.
//!
//! A process group is left by whoever wants to leave it, and `/proc` is read more slowly than a program forks. A cgroup is left by
//! nobody without rights to the hierarchy, so the guard uses one a run wherever it can (see `cgroup`).

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a node wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroups {
    /// A cgroup a run where the guard can make them, of version 2 before version 1.
    #[default]
    Auto,
    /// Of version 2 only.
    V2,
    /// Of version 1 (the freezer) only.
    V1,
    /// None: process groups, and what `/proc` tells.
    Off,
}

impl fmt::Display for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::V2 => "v2",
            Self::V1 => "v1",
            Self::Off => "off",
        })
    }
}

/// How a guard ends the processes of its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trees {
    /// The way.
    pub way: Way,
    /// How the memory of runs is limited.
    pub memory: Limiting,
    /// How their processors are.
    pub cpus: Limiting,
    /// Why the last run that has no cgroup, although others have, has none.
    pub missed: Option<String>,
}

/// How something of runs is limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limiting {
    /// On their own cgroups, of version 2.
    Unified,
    /// By cgroups of version 1, apart from the others.
    Apart {
        /// Directory of all of them.
        path: String,
    },
    /// Not at all.
    None {
        /// Why.
        why: String,
    },
}

/// The means by which what a run started is found and killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// A cgroup of version 2 for each run.
    V2 {
        /// Directory of all of them.
        path: String,
    },
    /// A cgroup of version 1 for each run, with the freezer.
    V1 {
        /// Directory of all of them.
        path: String,
    },
    /// Process groups and `/proc`, since there is no cgroup to be had.
    Walk {
        /// Why.
        why: String,
    },
    /// Process groups and `/proc`, as was wished.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_it_is_written() {
        for wish in Cgroups::value_variants() {
            assert_eq!(Cgroups::from_str(&wish.to_string(), false), Ok(*wish));
        }
    }
}
