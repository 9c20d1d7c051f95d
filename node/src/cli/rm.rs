//! `aque rm`: tasks that have ended are shown no more, and their output is deleted.

use std::time::Duration;

use crdt::task::TaskState;

use super::problem::Problem;
use super::select::{InStates, Which, unnamed};
use super::wait::wait_with_meter;
use super::{Context, Form};
use crate::api::select::Selection;
use crate::api::wire::{Call, Noted, StatusQuery};
use crate::client::Client;
use crate::render::text::count;

/// Remove tasks that have ended
///
/// They are shown nowhere any more, on no host, and what they printed is deleted where it is kept. Their ids are not used again. What
/// depends on them goes by their ends. If somebody elsewhere wanted one to run again and had not heard of this, it is there again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    ended: Ended,
    /// Cancel first what has not started
    #[arg(short, long)]
    pending: bool,
    /// Why, for people, where something is cancelled
    #[arg(long, value_name = "TEXT", requires = "pending")]
    reason: Option<String>,
}

/// How tasks have ended that are meant; however they have if nothing is stated.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Ended {
    /// What failed or was lost
    #[arg(short, long)]
    errored: bool,
    /// What succeeded
    #[arg(short, long)]
    succeeded: bool,
    /// What was killed
    #[arg(short, long)]
    killed: bool,
    /// What was cancelled
    #[arg(short, long)]
    cancelled: bool,
    /// All that has ended
    #[arg(short, long)]
    all: bool,
}

const EXAMPLES: &str = "\
Examples:
  aque rm k3v7qa-12
  aque rm -s                           whatever of yours has succeeded
  aque rm -e -k k3v7qa-40              the members of a group that failed or were killed
  aque rm -f 'age > 7d'                what of yours has ended and is older than a week
  aque rm -p k3v7qa-12                 cancelled first if it has not started
  aque rm -a -x                        all that has ended, of all users";

/// What begins after all before it can be cancelled gets so long between SIGTERM and SIGKILL, as with 'aque kill'.
const GRACE: Duration = Duration::from_secs(10);

/// What has not started.
const PENDING: [TaskState; 4] = [
    TaskState::Creating,
    TaskState::Pending,
    TaskState::Blocked,
    TaskState::Held,
];

impl Ended {
    fn states(self) -> Vec<TaskState> {
        let stated = [
            (self.errored, TaskState::Error),
            (self.errored, TaskState::Lost),
            (self.succeeded, TaskState::Success),
            (self.killed, TaskState::Killed),
            (self.cancelled, TaskState::Cancelled),
        ];
        let stated = stated.into_iter().filter(|(is, _)| *is);
        stated.map(|(_, state)| state).collect()
    }
}

/// What is to be removed.
struct Wish {
    which: Selection,
    /// Whatever has ended, groups without members too: nothing narrows it.
    all: bool,
}

impl Wish {
    fn of(which: Which, ended: Ended) -> Self {
        let mut which = which.any(InStates::default());
        which.states.extend(ended.states());
        let all = ended.all && which.ids.is_empty() && which.filter.is_none();
        if all {
            which.states.clear();
        } else if which.states.is_empty() && (ended.all || which.filter.is_some()) {
            let complete = |state: &TaskState| state.is_complete();
            which
                .states
                .extend(TaskState::ALL.iter().copied().filter(complete));
        }
        Self { which, all }
    }

    fn is_empty(&self) -> bool {
        !self.all && self.which.is_empty()
    }
}

/// Removes tasks.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let wish = Wish::of(options.which, options.ended);
    if wish.is_empty() && !options.pending {
        return Err(unnamed());
    }
    let mut client = context.connect()?;
    let wish = match options.pending {
        true => with_pending(context, &mut client, wish, options.reason)?,
        false => wish,
    };
    let done = match wish.is_empty() {
        true => Noted {
            ended: Vec::new(),
            asked: 0,
        },
        false => client.want(Call::Remove {
            which: wish.which,
            all: wish.all,
        })?,
    };
    if context.form == Form::Json {
        context.json(&done)?;
    }
    if done.asked == 0 {
        let hint = "'aque kill' ends tasks, -p cancels first what has not started";
        let what = match &done.ended[..] {
            [line] => format!(
                "{} is {}: only what has ended can be removed",
                line.id, line.state
            ),
            _ => "no task that is meant has ended".to_owned(),
        };
        return Err(Problem::failed(what).hint(hint));
    }
    for line in &done.ended {
        context.remark(&format!("aque: {} is {}, and stays", line.id, line.state));
    }
    context.remark(&format!("aque: {} removed", count(done.asked, "task")));
    Ok(u8::from(!done.ended.is_empty()))
}

/// Cancels what has not started of the tasks that are meant, or of all, and waits for that. Returns what is to be removed now.
fn with_pending(
    context: &Context,
    client: &mut Client,
    wish: Wish,
    reason: Option<String>,
) -> Result<Wish, Problem> {
    let pending = Selection {
        states: PENDING.to_vec(),
        ..wish.which.clone()
    };
    let mut cancelled = listed(client, pending)?;
    if !cancelled.is_empty() {
        client.want(Call::Kill {
            which: cancelled.clone().into(),
            signal: libc::SIGTERM,
            grace: GRACE,
            reason,
            recursive: false,
        })?;
        wait_with_meter(context, client, cancelled.clone())?;
    }
    let named_only = !wish.is_empty() && !wish.which.narrows();
    if wish.all || named_only {
        return Ok(wish);
    }
    if wish.which.narrows() {
        cancelled.extend(listed(client, wish.which)?);
    }
    Ok(Wish {
        which: cancelled.into(),
        all: false,
    })
}

/// The ids of the tasks that are meant.
fn listed(client: &mut Client, which: Selection) -> Result<Vec<String>, Problem> {
    let query = StatusQuery {
        which,
        flat: true,
        ..StatusQuery::default()
    };
    let tasks = client.status(query)?.tasks;
    Ok(tasks.into_iter().map(|line| line.id).collect())
}
