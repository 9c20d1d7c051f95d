//! Ids as people type them: `TAG-N`, `TAG-N.I` (an element of an array), `N` (a task of the node asked), a prefix that fits one task, `last`, `A..B`.

use crdt::ids::{Tag, TaskId};
use crdt::replica::Replica;
use crdt::task::Work;

/// A range names at most so many tasks.
const RANGE_LIMIT: u64 = 100_000;
/// So many candidates are named when a prefix fits several tasks.
const SHOWN: usize = 4;

/// Why an id names no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing fits.
    #[error("no task '{0}' is known here")]
    Unknown(String),
    /// It was removed.
    #[error("task '{0}' was removed with 'aque rm'")]
    Removed(String),
    /// More than one task fits.
    #[error("'{prefix}' fits several tasks: {candidates}")]
    Ambiguous {
        /// As typed.
        prefix: String,
        /// Some of them.
        candidates: String,
    },
    /// `last` without any.
    #[error("there is no last task: this user has submitted none that is known here")]
    NoLast,
    /// A range of two hosts, backwards, or too long.
    #[error("'{0}' is no range: it is A..B with both of one host, upwards, at most 100000 tasks")]
    Range(String),
}

/// What to do about it.
pub const LOOK: &str = "'aque status -x' lists the tasks that are known here";

/// What ids are looked up in.
pub trait Book {
    /// The tag of the node asked.
    fn own_tag(&self) -> Tag;
    /// Says whether a task is known and was not removed.
    fn knows(&self, id: TaskId) -> bool;
    /// Says whether a task was removed: its id means nothing else.
    fn is_removed(&self, id: TaskId) -> bool;
    /// Every known task that was not removed, in order.
    fn all(&self) -> impl Iterator<Item = TaskId>;
    /// The element of an array with this index.
    fn element(&self, array: TaskId, index: u32) -> Option<TaskId>;
    /// The newest task of a user; the group, if that is a member of one.
    fn last(&self, user: &str) -> Option<TaskId>;
}

impl Book for Replica {
    fn own_tag(&self) -> Tag {
        Self::own_tag(self)
    }

    fn knows(&self, id: TaskId) -> bool {
        self.glance(id).is_some()
    }

    fn is_removed(&self, id: TaskId) -> bool {
        Self::is_removed(self, id)
    }

    fn all(&self) -> impl Iterator<Item = TaskId> {
        self.task_ids()
    }

    fn element(&self, array: TaskId, index: u32) -> Option<TaskId> {
        Self::element(self, array, index)
    }

    fn last(&self, user: &str) -> Option<TaskId> {
        let newest = |tag: Tag| {
            let mut tasks = self.tasks_of(tag).filter_map(|id| self.glance(id));
            tasks.find(|task| task.spec().user == user)
        };
        let tasks = self
            .members()
            .into_iter()
            .filter_map(|member| newest(member.peer.tag()));
        let task = tasks.max_by_key(|task| (task.spec().created, task.id()))?;
        Some(task.member_of().map_or(task.id(), |member| member.group))
    }
}

/// Resolves every text; `user` is who asks.
///
/// # Errors
/// The first that names no task.
pub fn resolve(book: &impl Book, texts: &[String], user: &str) -> Result<Vec<TaskId>, IdError> {
    let mut found = Vec::with_capacity(texts.len());
    for text in texts {
        match text.split_once("..") {
            Some((from, to)) => found.extend(range(book, text, from, to, user)?),
            None => found.push(one(book, text, user)?),
        }
    }
    Ok(found)
}

fn range(
    book: &impl Book,
    text: &str,
    from: &str,
    to: &str,
    user: &str,
) -> Result<Vec<TaskId>, IdError> {
    let (from, to) = (exact(book, from, user)?, exact(book, to, user)?);
    if from.tag != to.tag || from.n > to.n || to.n - from.n >= RANGE_LIMIT {
        return Err(IdError::Range(text.to_owned()));
    }
    let ids = (from.n..=to.n).map(|n| TaskId { tag: from.tag, n });
    Ok(ids.filter(|id| book.knows(*id)).collect())
}

/// Resolves one text that is no range.
///
/// # Errors
/// It names no task, one that was removed, or more than one.
pub fn one(book: &impl Book, text: &str, user: &str) -> Result<TaskId, IdError> {
    let id = exact(book, text, user)?;
    if book.is_removed(id) {
        return Err(IdError::Removed(text.to_owned()));
    }
    Ok(id)
}

/// The same, where the task may have been removed: the end of a range.
fn exact(book: &impl Book, text: &str, user: &str) -> Result<TaskId, IdError> {
    if let Some((array, index)) = text.rsplit_once('.') {
        let array = one(book, array, user)?;
        let element = index
            .parse()
            .ok()
            .and_then(|index| book.element(array, index));
        return element.ok_or_else(|| IdError::Unknown(text.to_owned()));
    }
    if text == "last" {
        return book.last(user).ok_or(IdError::NoLast);
    }
    let own = text.parse::<u64>().map(|n| TaskId {
        tag: book.own_tag(),
        n,
    });
    let exact = own.or_else(|_| text.parse::<TaskId>());
    match exact {
        Ok(id) if book.knows(id) || book.is_removed(id) => Ok(id),
        Ok(_) | Err(_) => by_prefix(book, text),
    }
}

fn by_prefix(book: &impl Book, text: &str) -> Result<TaskId, IdError> {
    let prefix = Prefix::parse(text).ok_or_else(|| IdError::Unknown(text.to_owned()))?;
    let fits: Vec<TaskId> = book.all().filter(prefix.fits()).take(SHOWN + 1).collect();
    match fits[..] {
        [] => Err(IdError::Unknown(text.to_owned())),
        [id] => Ok(id),
        _ => {
            let shown: Vec<String> = fits.iter().take(SHOWN).map(ToString::to_string).collect();
            let more = if fits.len() > SHOWN { ", …" } else { "" };
            let candidates = format!("{}{more}", shown.join(", "));
            Err(IdError::Ambiguous {
                prefix: text.to_owned(),
                candidates,
            })
        }
    }
}

/// The beginning of an id: of its tag, or a tag (or the beginning of one) and the first digits of its count.
struct Prefix<'a> {
    tag: &'a str,
    digits: Option<u64>,
}

impl<'a> Prefix<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (tag, digits) = text
            .split_once('-')
            .map_or((text, ""), |(tag, digits)| (tag, digits));
        let digits = match digits {
            "" => None,
            _ if digits.starts_with(['0', '+']) => return None,
            _ => Some(digits.parse().ok()?),
        };
        (!tag.is_empty()).then_some(Self { tag, digits })
    }

    /// Returns the test. Ids come in order, so each tag is spelled once.
    fn fits(&self) -> impl FnMut(&TaskId) -> bool {
        let mut last: Option<(Tag, bool)> = None;
        move |id| {
            let fits = match last {
                Some((tag, fits)) if tag == id.tag => fits,
                _ => id.tag.to_string().starts_with(self.tag),
            };
            last = Some((id.tag, fits));
            fits && self.digits.is_none_or(|digits| begins_with(id.n, digits))
        }
    }
}

fn begins_with(mut n: u64, digits: u64) -> bool {
    while n > digits {
        n /= 10;
    }
    n == digits
}

/// Says whether a task is a group.
#[must_use]
pub fn is_group(replica: &Replica, id: TaskId) -> bool {
    replica
        .glance(id)
        .is_some_and(|task| matches!(task.spec().work, Work::Group { .. }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::collections::BTreeSet;

    use super::*;

    struct Known(BTreeSet<TaskId>);

    impl Book for Known {
        fn own_tag(&self) -> Tag {
            "k3v7qa".parse().unwrap()
        }

        fn knows(&self, id: TaskId) -> bool {
            self.0.contains(&id)
        }

        fn is_removed(&self, id: TaskId) -> bool {
            id == "mmmmmm-70".parse().unwrap()
        }

        fn all(&self) -> impl Iterator<Item = TaskId> {
            self.0.iter().copied()
        }

        fn element(&self, array: TaskId, index: u32) -> Option<TaskId> {
            let n = array.n + u64::from(index);
            (array.n == 7 && index < 3).then_some(TaskId { n, ..array })
        }

        fn last(&self, user: &str) -> Option<TaskId> {
            self.0.last().copied().filter(|_| user == "ann")
        }
    }

    fn book() -> Known {
        let own = (1..=12).map(|n| format!("k3v7qa-{n}"));
        let others = ["k3aaaa-1", "mmmmmm-7", "mmmmmm-71", "mmmmmm-712"].map(str::to_owned);
        Known(
            own.chain(others)
                .map(|text| text.parse().unwrap())
                .collect(),
        )
    }

    #[test]
    fn ids_table() {
        let book = book();
        for (text, want) in [
            ("k3v7qa-3", "k3v7qa-3"),
            ("3", "k3v7qa-3"),
            ("k3a", "k3aaaa-1"),
            ("k3aaaa-", "k3aaaa-1"),
            ("mmmmmm-7", "mmmmmm-7"),
            ("mm-712", "mmmmmm-712"),
            ("last", "mmmmmm-712"),
        ] {
            assert_eq!(one(&book, text, "ann").unwrap().to_string(), want, "{text}");
        }
        for text in [
            "",
            "99",
            "0",
            "k3v7qa-99",
            "zz",
            "-1",
            "é",
            "k3v7qa-3x",
            "LAST",
        ] {
            assert_eq!(
                one(&book, text, "ann"),
                Err(IdError::Unknown(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(one(&book, "last", "bob"), Err(IdError::NoLast));
    }

    #[test]
    fn what_was_removed_is_no_prefix_of_another() {
        let mut book = book();
        book.0.insert("mmmmmm-705".parse().unwrap());
        let removed = IdError::Removed("mmmmmm-70".to_owned());
        assert_eq!(one(&book, "mmmmmm-70", "ann"), Err(removed));
        let range = ["mmmmmm-7..mmmmmm-70".to_owned()];
        let ids = resolve(&book, &range, "ann").unwrap();
        assert_eq!(ids, ["mmmmmm-7".parse().unwrap()]);
    }

    #[test]
    fn candidates_are_named() {
        let told = |text: &str| one(&book(), text, "ann").unwrap_err().to_string();
        assert_eq!(
            told("mm"),
            "'mm' fits several tasks: mmmmmm-7, mmmmmm-71, mmmmmm-712"
        );
        assert_eq!(
            told("mm-71"),
            "'mm-71' fits several tasks: mmmmmm-71, mmmmmm-712"
        );
        assert!(told("k3v").ends_with(", …"));
    }

    #[test]
    fn ranges_table() {
        let book = book();
        let ids = |text: &str| resolve(&book, &[text.to_owned()], "ann");
        let n = |text: &str| ids(text).unwrap().iter().map(|id| id.n).collect::<Vec<_>>();
        assert_eq!(n("2..4"), [2, 3, 4]);
        assert_eq!(n("mmmmmm-7..last"), [7, 71, 712]);
        assert_eq!(n("5..5"), [5]);
        for text in ["4..2", "1..mmmmmm-7"] {
            assert_eq!(ids(text), Err(IdError::Range(text.to_owned())));
        }
        assert_eq!(ids("1..99"), Err(IdError::Unknown("99".to_owned())));
        assert_eq!(ids(".."), Err(IdError::Unknown(String::new())));
    }
}
