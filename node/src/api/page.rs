//! The words of the API about a part of a long list of tasks: what a screen shows, and no more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::TaskLine;

/// Which part of which list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PageQuery {
    /// Which tasks.
    #[serde(flatten)]
    pub which: Which,
    /// Members of groups are listed, without the groups; with a filter they always are.
    #[serde(default)]
    pub flat: bool,
    /// In which order.
    #[serde(default)]
    pub sort: SortBy,
    /// In the opposite order.
    #[serde(default)]
    pub reversed: bool,
    /// So many before the part are left out.
    #[serde(default)]
    pub offset: u64,
    /// The part is moved so that this task stands in it where it is wanted, if it is in the list.
    #[serde(default)]
    pub anchor: Option<Anchor>,
    /// At most so many.
    pub limit: u32,
}

/// Which tasks are meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Which {
    /// Only these, with the members of groups in their place; empty = all.
    pub ids: Vec<String>,
    /// Without ids: of all users, not only the caller's.
    pub all_users: bool,
    /// Only those that have this text in them somewhere.
    pub filter: Option<String>,
    /// Only those that fit this [`crate::filter::Filter`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
}

/// A task that stays where it is on a screen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Anchor {
    /// Its id.
    pub id: String,
    /// How many stand before it in the part.
    pub row: u32,
}

/// What a list of tasks is sorted by. Among equals, the newest come first.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum SortBy {
    /// The newest first.
    #[default]
    Age,
    /// What runs first, then what waits, what failed, what ended well.
    State,
    /// By name; those without a host last.
    Host,
    /// What started last first.
    Start,
    /// The most urgent first.
    Priority,
}

impl SortBy {
    /// Every order, as a person goes through them.
    pub const ALL: [Self; 5] = [
        Self::Age,
        Self::State,
        Self::Host,
        Self::Start,
        Self::Priority,
    ];

    /// Returns what people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::State => "state",
            Self::Host => "host",
            Self::Start => "start",
            Self::Priority => "priority",
        }
    }

    /// Returns the next one.
    #[must_use]
    pub fn next(self) -> Self {
        let after = Self::ALL.iter().skip_while(|by| **by != self).nth(1);
        after.copied().unwrap_or_default()
    }
}

/// Part of a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// How many the whole list has.
    pub total: u64,
    /// How many stand before this part.
    pub offset: u64,
    /// Tasks that are meant by their states, members of groups among them and groups not: only states that occur.
    pub counts: BTreeMap<String, u64>,
    /// The part.
    pub tasks: Vec<TaskLine>,
}
