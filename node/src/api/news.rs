//! The words of the API about what happens: tasks and hosts that change, settings, mishaps; as the node that is asked sees it.
//!
//! What happened has numbers that grow by one. They count within one telling (`stream`): a node that is started anew begins
//! another, while one that follows in its process (HUP) goes on with it. What a reader is not told, it is told of: a `gap`.

use crdt::task::TaskState;
use serde::{Deserialize, Serialize};

/// What to tell of what happens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EventsQuery {
    /// Only of these tasks and of the members of these groups, and of nothing else; empty = everything.
    pub ids: Vec<String>,
    /// Beginning with what happened from then on, as far as it is still known: milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Beginning with what happened after this; goes before `since_ms`.
    pub after: Option<Place>,
    /// Ends when all that has happened by now is told.
    pub past: bool,
    /// Tells no more often than this, milliseconds.
    pub pace_ms: u64,
    /// Of what has gathered, only so many, the newest; 0 = all. The others are counted in [`EventList::skipped`].
    pub most: u32,
}

/// How far a reader has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Which telling.
    pub stream: u64,
    /// The number of what was looked at last.
    pub seq: u64,
}

/// Some of what happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventList {
    /// How far the reader has been told with this.
    pub place: Place,
    /// In order.
    pub events: Vec<EventLine>,
    /// How much more happened that was not asked for, for want of room.
    #[serde(default)]
    pub skipped: u64,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EventLine {
    /// Its number; of a gap: that of the last that is missing.
    pub seq: u64,
    /// When this node noticed, milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Happening {
    /// A task is in another state, or there for another reason.
    Task {
        /// `TAG-N`; `TAG-N.I` for an element of an array.
        id: String,
        /// The group that it belongs to.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// For people.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Who submitted it.
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Now.
        state: TaskState,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Name of the host that holds, runs or ran it.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The highest epoch seen.
        epoch: u32,
    },
    /// A task that had ended was removed.
    Removed {
        /// `TAG-N`; `TAG-N.I` for an element of an array.
        id: String,
    },
    /// A task that had not started is to be otherwise.
    Edited {
        /// `TAG-N`; `TAG-N.I` for an element of an array.
        id: String,
        /// Who said so last.
        by: String,
    },
    /// A host is another than it was.
    Host {
        /// What people call it.
        host: String,
        /// Its tag.
        tag: String,
        /// What it is now.
        is: HostWord,
    },
    /// The node that is asked takes no more work, and has no claim left.
    Rest {
        /// Its name.
        host: String,
    },
    /// A setting of the mesh.
    Setting {
        /// Which.
        name: String,
        /// None: each host goes by its own options again.
        value: Option<String>,
        /// Who said so.
        by: String,
    },
    /// Something went wrong at the node that is asked.
    Mishap {
        /// With which part.
        part: String,
        /// What.
        what: String,
    },
    /// Some of what happened is not told.
    Gap {
        /// How much; none if nobody knows: it was before this node was started, or is kept no more.
        lost: Option<u64>,
    },
}

/// What a host is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostWord {
    /// A member, since now.
    Joined,
    /// Heard of again.
    Alive,
    /// Not heard of any more.
    Silent,
    /// One that takes no more work.
    Draining,
    /// One that takes work again.
    Working,
    /// No member any more: it has left, or was given up.
    Gone,
}

impl HostWord {
    /// Returns what is said of a host, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Joined => "has joined",
            Self::Alive => "is alive",
            Self::Silent => "is silent",
            Self::Draining => "takes no more work",
            Self::Working => "takes work again",
            Self::Gone => "is gone",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    /// What programs read stays as it is.
    #[test]
    fn spelled_table() {
        let task = Happening::Task {
            id: "k3v7qa-1".to_owned(),
            group: None,
            name: None,
            user: Some("ann".to_owned()),
            state: TaskState::Error,
            reason: Some("exit 3".to_owned()),
            host: Some("alpha".to_owned()),
            epoch: 2,
        };
        let host = Happening::Host {
            host: "beta".to_owned(),
            tag: "abcdef".to_owned(),
            is: HostWord::Silent,
        };
        let rows = [
            (
                task,
                r#""event":"task","id":"k3v7qa-1","user":"ann","state":"error","reason":"exit 3","host":"alpha","epoch":2}"#,
            ),
            (
                host,
                r#""event":"host","host":"beta","tag":"abcdef","is":"silent"}"#,
            ),
            (
                Happening::Removed {
                    id: "k3v7qa-1".to_owned(),
                },
                r#""event":"removed","id":"k3v7qa-1"}"#,
            ),
            (
                Happening::Edited {
                    id: "k3v7qa-1".to_owned(),
                    by: "ann".to_owned(),
                },
                r#""event":"edited","id":"k3v7qa-1","by":"ann"}"#,
            ),
            (
                Happening::Gap { lost: Some(12) },
                r#""event":"gap","lost":12}"#,
            ),
            (
                Happening::Gap { lost: None },
                r#""event":"gap","lost":null}"#,
            ),
        ];
        for (what, text) in rows {
            let line = EventLine {
                seq: 7,
                at_ms: 1_000,
                what,
            };
            let spelled = serde_json::to_string(&line).unwrap();
            assert_eq!(spelled, format!("{{\"seq\":7,\"at_ms\":1000,{text}"));
            assert_eq!(serde_json::from_str::<EventLine>(&spelled).unwrap(), line);
        }
    }
}
