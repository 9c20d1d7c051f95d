//! Ids as people type them: `TAG-N`, `N` (a task of the node asked), a prefix that fits one task, `last`, `A..B`.

use crdt::ids::TaskId;
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

/// Resolves every text; `user` is who asks.
///
/// # Errors
/// The first that names no task.
pub fn resolve(replica: &Replica, texts: &[String], user: &str) -> Result<Vec<TaskId>, IdError> {
    let mut found = Vec::with_capacity(texts.len());
    for text in texts {
        match text.split_once("..") {
            Some((from, to)) => found.extend(range(replica, text, from, to, user)?),
            None => found.push(one(replica, text, user)?),
        }
    }
    Ok(found)
}

fn range(
    replica: &Replica,
    text: &str,
    from: &str,
    to: &str,
    user: &str,
) -> Result<Vec<TaskId>, IdError> {
    let (from, to) = (one(replica, from, user)?, one(replica, to, user)?);
    if from.tag != to.tag || from.n > to.n || to.n - from.n >= RANGE_LIMIT {
        return Err(IdError::Range(text.to_owned()));
    }
    let ids = (from.n..=to.n).map(|n| TaskId { tag: from.tag, n });
    Ok(ids.filter(|id| replica.task(*id).is_some()).collect())
}

/// Resolves one text that is no range.
///
/// # Errors
/// It names no task, or more than one.
pub fn one(replica: &Replica, text: &str, user: &str) -> Result<TaskId, IdError> {
    if text == "last" {
        return last(replica, user).ok_or(IdError::NoLast);
    }
    let exact = text
        .parse::<u64>()
        .map(|n| TaskId {
            tag: replica.own_tag(),
            n,
        })
        .or_else(|_| text.parse::<TaskId>());
    if let Ok(id) = exact
        && replica.task(id).is_some()
    {
        return Ok(id);
    }
    by_prefix(replica, text)
}

/// The newest task of this user on the node asked, else on any; a group before its members.
fn last(replica: &Replica, user: &str) -> Option<TaskId> {
    let meant = |id: &TaskId| {
        replica
            .task(*id)
            .is_some_and(|view| view.spec.user == user && view.spec.member_of.is_none())
    };
    let own = replica.tasks_of(replica.own_tag()).find(meant);
    own.or_else(|| {
        let views = replica
            .task_ids()
            .filter(meant)
            .filter_map(|id| replica.task(id));
        views
            .max_by_key(|view| (view.spec.created, view.id.n))
            .map(|view| view.id)
    })
}

fn by_prefix(replica: &Replica, text: &str) -> Result<TaskId, IdError> {
    let unknown = || IdError::Unknown(text.to_owned());
    if text.is_empty() || !text.is_ascii() {
        return Err(unknown());
    }
    let fits: Vec<TaskId> = replica
        .task_ids()
        .filter(|id| id.to_string().starts_with(text))
        .take(SHOWN + 1)
        .collect();
    match fits[..] {
        [] => Err(unknown()),
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

/// Says whether a task is a group.
#[must_use]
pub fn is_group(replica: &Replica, id: TaskId) -> bool {
    replica
        .task(id)
        .is_some_and(|view| matches!(view.spec.work, Work::Group { .. }))
}
