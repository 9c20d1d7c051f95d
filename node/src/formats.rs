//! Which versions of what is kept and said beyond the life of a process this program understands: `docs/formats.md` in numbers.
//!
//! A program that is to follow a running one must understand what that one has written and what its guard says. What peers and
//! clients say is not among it: those are asked anew.

use std::collections::BTreeMap;

use crdt::entry::Header;
use crdt::ledger::ENVELOPE_VERSION;
use serde::{Deserialize, Serialize};

use crate::guard::{RECORDS_VERSION, protocol};
use crate::storage::LOG_VERSION;

/// The versions that a program understands, by the names in `docs/formats.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats(BTreeMap<String, Vec<u32>>);

/// A format of one program that another does not understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its {format} has version {}, this one's {written}", told(understood))]
pub struct Strange {
    format: String,
    written: u32,
    understood: Vec<u32>,
}

/// What this program writes and says.
fn written() -> [(&'static str, u32); 5] {
    [
        ("guard", protocol::VERSION),
        ("runs", RECORDS_VERSION),
        ("log", LOG_VERSION),
        ("signed change", ENVELOPE_VERSION.into()),
        ("segment", Header::FORMAT.into()),
    ]
}

impl Formats {
    /// What this program understands: what it writes, and nothing older so far.
    #[must_use]
    pub fn own() -> Self {
        let list = written().map(|(name, version)| (name.to_owned(), vec![version]));
        Self(list.into())
    }

    /// Says whether who understands these can go on with what this program has written.
    ///
    /// # Errors
    /// The first format that is not understood.
    pub fn can_follow(&self) -> Result<(), Strange> {
        for (name, version) in written() {
            let understood = self.0.get(name).cloned().unwrap_or_default();
            if !understood.contains(&version) {
                return Err(Strange {
                    format: name.to_owned(),
                    written: version,
                    understood,
                });
            }
        }
        Ok(())
    }
}

fn told(versions: &[u32]) -> String {
    if versions.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = versions.iter().map(ToString::to_string).collect();
    texts.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_understands_less_cannot_follow() {
        assert_eq!(Formats::own().can_follow(), Ok(()));
        let mut older = Formats::own();
        older
            .0
            .insert("guard".to_owned(), vec![protocol::VERSION - 1]);
        let why = older.can_follow().map_err(|strange| strange.to_string());
        let expected = format!(
            "its guard has version {}, this one's {}",
            protocol::VERSION - 1,
            protocol::VERSION
        );
        assert_eq!(why, Err(expected));
        let mut both = Formats::own();
        both.0
            .entry("log".to_owned())
            .or_default()
            .push(LOG_VERSION + 1);
        assert_eq!(both.can_follow(), Ok(()));
        let none = Formats(BTreeMap::new());
        let why = none.can_follow().map_err(|strange| strange.to_string());
        assert!(why.is_err_and(|why| why.contains("version none")));
    }
}
