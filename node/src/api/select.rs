//! Which tasks a request is about: ids as people type them, states, a filter.
//!
//! What narrows stands apart on the wire, with the ids that it narrows: a node that does not know it finds no id, and does too
//! little rather than too much. Groups are looked at through their members; one without a name of its own has its group's.

use std::cell::OnceCell;
use std::time::Duration;

use crdt::ids::TaskId;
use crdt::replica::{Glance, Replica};
use crdt::task::{Exit, TaskState, Work};
use crdt::time::Wall;
use serde::{Deserialize, Serialize};

use super::ids::{self, IdError};
use super::lines::{Lines, command_text};
use super::rights::Caller;
use crate::filter::{Field, Filter, FilterError, Subject, Value};

/// Which tasks are meant: those that are named; with states or a filter those of them, or of all, that fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct Selection {
    /// `TAG-N`, `TAG-N.I`, `N`, a unique prefix, `last`, `A..B`.
    pub ids: Vec<String>,
    /// Only these states; empty = all.
    pub states: Vec<TaskState>,
    /// Only what fits this [`Filter`].
    pub filter: Option<String>,
    /// Without ids: among the tasks of all users, not only the caller's.
    pub all_users: bool,
}

impl Selection {
    /// Returns what it says of states, and its filter, as one filter; none if it says nothing.
    #[must_use]
    pub fn as_filter(&self) -> Option<String> {
        let names: Vec<&str> = self.states.iter().map(|state| state.name()).collect();
        let states = (!names.is_empty()).then(|| format!("state in ({})", names.join(", ")));
        match (&self.filter, states) {
            (Some(filter), Some(states)) => Some(format!("({filter}) and {states}")),
            (filter, states) => filter.clone().or(states),
        }
    }
}

/// A [`Selection`] as it travels.
#[derive(Serialize, Deserialize)]
struct Form {
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    all_users: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    among: Option<Among>,
}

/// What narrows, with the ids that are narrowed.
#[derive(Serialize, Deserialize)]
struct Among {
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    states: Vec<TaskState>,
    #[serde(default)]
    filter: Option<String>,
}

impl From<Selection> for Form {
    fn from(selection: Selection) -> Self {
        let narrows = selection.narrows();
        let Selection {
            ids,
            states,
            filter,
            all_users,
        } = selection;
        let (ids, among) = match narrows {
            false => (ids, None),
            true => (
                Vec::new(),
                Some(Among {
                    ids,
                    states,
                    filter,
                }),
            ),
        };
        Self {
            ids,
            all_users,
            among,
        }
    }
}

impl From<Form> for Selection {
    fn from(form: Form) -> Self {
        let Form {
            mut ids,
            all_users,
            among,
        } = form;
        let (states, filter) = match among {
            None => (Vec::new(), None),
            Some(among) => {
                ids.extend(among.ids);
                (among.states, among.filter)
            }
        };
        Self {
            ids,
            states,
            filter,
            all_users,
        }
    }
}

impl From<Vec<String>> for Selection {
    fn from(ids: Vec<String>) -> Self {
        Self {
            ids,
            ..Self::default()
        }
    }
}

/// Why a selection means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// An id names no task.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The filter is none.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl Selection {
    /// Says whether not all that is named is meant.
    #[must_use]
    pub fn narrows(&self) -> bool {
        !self.states.is_empty() || self.filter.is_some()
    }

    /// Says whether it names nothing and describes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && !self.narrows()
    }

    /// Returns the tasks that are meant; a narrow selection means no groups.
    ///
    /// # Errors
    /// The first id that names no task; a filter that is none.
    pub fn choose(
        &self,
        replica: &Replica,
        caller: &Caller,
        now: Wall,
    ) -> Result<Vec<TaskId>, SelectError> {
        let named = ids::resolve(replica, &self.ids, &caller.user)?;
        if !self.narrows() {
            return Ok(named);
        }
        let sieve = Sieve::new(self, replica, now)?;
        let fits = |task: &Glance<'_>| sieve.lets(task);
        if self.ids.is_empty() {
            let of_caller = |task: &Glance<'_>| self.all_users || task.spec().user == caller.user;
            let all = replica.glances().filter(of_caller);
            return Ok(all.filter(fits).map(|task| task.id()).collect());
        }
        let mut chosen: Vec<TaskId> = named
            .into_iter()
            .flat_map(|id| with_members(replica, id))
            .filter_map(|id| replica.glance(id))
            .filter(fits)
            .map(|task| task.id())
            .collect();
        let mut known = std::collections::BTreeSet::new();
        chosen.retain(|id| known.insert(*id));
        Ok(chosen)
    }
}

/// The members of a group; any other task alone.
fn with_members(replica: &Replica, id: TaskId) -> Vec<TaskId> {
    if ids::is_group(replica, id) {
        replica.tasks_of_group(id)
    } else {
        vec![id]
    }
}

/// What lets tasks through that fit.
#[derive(Debug)]
pub struct Sieve<'a> {
    replica: &'a Replica,
    states: &'a [TaskState],
    filter: Option<Filter>,
    lines: Lines<'a>,
    now: Wall,
}

impl<'a> Sieve<'a> {
    /// Returns what lets the tasks through that a selection describes, whichever it names.
    ///
    /// # Errors
    /// The filter is none.
    pub fn new(
        selection: &'a Selection,
        replica: &'a Replica,
        now: Wall,
    ) -> Result<Self, FilterError> {
        let filter = selection.filter.as_deref().map(str::parse).transpose()?;
        Ok(Self {
            replica,
            states: &selection.states,
            filter,
            lines: Lines::of(replica),
            now,
        })
    }

    /// Says whether a task fits; a group does not.
    #[must_use]
    pub fn lets(&self, task: &Glance<'_>) -> bool {
        let is_group = matches!(task.spec().work, Work::Group { .. });
        let in_state = self.states.is_empty() || self.states.contains(&task.state());
        !is_group
            && in_state
            && self.filter.as_ref().is_none_or(|filter| {
                filter.fits(&Candidate {
                    sieve: self,
                    task: *task,
                    after: OnceCell::new(),
                })
            })
    }
}

/// A task that a filter looks at.
struct Candidate<'a> {
    sieve: &'a Sieve<'a>,
    task: Glance<'a>,
    after: OnceCell<Vec<String>>,
}

impl Subject for Candidate<'_> {
    fn value(&self, field: Field) -> Value<'_> {
        let (task, spec) = (&self.task, self.task.spec());
        let report = task.outcome().and_then(|outcome| outcome.report);
        let text = |text: Option<String>| text.map_or(Value::None, |text| Value::Text(text.into()));
        let id = |id: Option<TaskId>| text(id.map(|id| id.to_string()));
        let at = |at: Option<Wall>| at.map_or(Value::None, |at| Value::Time(at.0));
        let number = |number: Option<i32>| number.map_or(Value::None, |n| Value::Number(n.into()));
        let started = report.map(|report| report.started).or(task.started());
        let ended = report.map(|report| report.ended);
        match field {
            Field::Id => Value::Text(task.label().into()),
            Field::State => Value::State(task.state()),
            Field::Reason => text(self.sieve.lines.reason(task)),
            Field::Name => Value::text(self.name()),
            Field::Command => Value::Text(command_text(&spec.work).into()),
            Field::Host => text(task.host().map(|host| self.sieve.lines.names().name(host))),
            Field::User => Value::Text((&spec.user).into()),
            Field::Queue => Value::Text((&spec.options.queue).into()),
            Field::Group => id(task.member_of().map(|member| member.group)),
            Field::Parent => id(spec.options.parent),
            Field::After => {
                let ids = || spec.dependencies().map(|(id, _)| id.to_string()).collect();
                Value::Texts(self.after.get_or_init(ids).into())
            }
            Field::Priority => Value::Number(spec.priority.into()),
            Field::Attempts => Value::Number(task.attempts().into()),
            Field::Epoch => Value::Number(task.epoch().0.into()),
            Field::Exit => number(match report.map(|report| report.exit) {
                Some(Exit::Code(code)) => Some(code),
                Some(Exit::Signal(_)) | None => None,
            }),
            Field::Signal => number(match report.map(|report| report.exit) {
                Some(Exit::Signal(signal)) => Some(signal),
                Some(Exit::Code(_)) | None => None,
            }),
            Field::Age => Value::Span(between(spec.created, self.sieve.now)),
            Field::Wall => {
                let running = (task.state() == TaskState::Running).then_some(self.sieve.now);
                let end = ended.or(running);
                let span = started.zip(end).map(|(from, to)| between(from, to));
                span.map_or(Value::None, Value::Span)
            }
            Field::Cpus => Value::Number(f64::from(spec.needs.cpu_milli) / 1_000.0),
            Field::Memory => match spec.needs.memory_bytes {
                0 => Value::None,
                bytes => Value::Size(bytes),
            },
            Field::Rss => {
                let rss = report.map(|report| report.usage.max_rss_kib.saturating_mul(1_024));
                rss.map_or(Value::None, Value::Size)
            }
            Field::Created => at(Some(spec.created)),
            Field::Started => at(started),
            Field::Ended => at(ended),
            Field::Progress => text(task.progress()),
        }
    }
}

impl Candidate<'_> {
    fn name(&self) -> Option<&str> {
        let own = self.task.spec().name.as_deref();
        let group = || {
            let group = self.task.member_of()?.group;
            self.sieve.replica.glance(group)?.spec().name.as_deref()
        };
        own.or_else(group)
    }
}

fn between(from: Wall, to: Wall) -> Duration {
    Duration::from_millis(to.0.saturating_sub(from.0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn what_narrows_hides_the_ids_from_those_that_do_not_know_it() {
        let wire = |selection: &Selection| serde_json::to_value(selection).unwrap();
        let plain = Selection::from(vec!["last".to_owned()]);
        assert_eq!(
            wire(&plain),
            serde_json::json!({"ids": ["last"], "all_users": false})
        );
        let narrow = Selection {
            states: vec![TaskState::Held],
            filter: Some("age > 1h".to_owned()),
            ..plain.clone()
        };
        assert_eq!(wire(&narrow)["ids"], serde_json::json!([]));
        for selection in [plain, narrow, Selection::default()] {
            let back: Selection = serde_json::from_value(wire(&selection)).unwrap();
            assert_eq!(back, selection);
        }
    }
}
