//! What a program leaves to the one that follows in its process: descriptors by number, and a few words, in one variable of the
//! environment. It is for this process alone: whoever inherits the variable otherwise has another number.
//!
//! The lock of the data directory belongs to an open file, so it is held through `exec` without a gap. It and the API's socket
//! are the only descriptors that are not closed there.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use net::Multiaddr;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::question::Successor;
use crate::api::socket::{Heirloom, Place};
use crate::lock::DirLock;
use crate::signals::{self, Memory};

/// The variable.
const VARIABLE: &str = "AQUE_FOLLOWS";

/// What is left.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Estate {
    /// The open file that holds the lock of the data directory.
    pub(in crate::daemon) lock: Option<OwnedFd>,
    /// The API's socket.
    pub(in crate::daemon) api: Option<Heirloom>,
    /// The state of mind.
    pub(in crate::daemon) mind: Mind,
}

/// What the program before knew and only memory keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::daemon) struct Mind {
    /// Whether a person had told it to take no work (USR1).
    pub(in crate::daemon) drained: bool,
    /// Since when nothing had run here.
    pub(in crate::daemon) idle: Option<Duration>,
    /// How far it had told what happens.
    #[serde(default)]
    pub(in crate::daemon) told: Option<crate::api::news::Place>,
    /// Where it listened: where no port is stated, it is the same again.
    #[serde(default)]
    pub(in crate::daemon) listened: Vec<String>,
    /// Signals that it did not get to.
    pub(in crate::daemon) signals: Vec<i32>,
    /// The guard that it had, its child perhaps.
    pub(in crate::daemon) guard: Option<u32>,
    /// Why the program on disk did not take over, though it had agreed.
    pub(in crate::daemon) failed: Option<String>,
}

impl Mind {
    /// Returns where the program before listened.
    pub(in crate::daemon) fn listened(&self) -> Vec<Multiaddr> {
        let parsed = self.listened.iter().map(|text| text.parse());
        parsed.filter_map(Result::ok).collect()
    }
}

/// What came before a node could hear it.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Early {
    /// What an earlier program of this process had on its mind.
    pub(in crate::daemon) mind: Mind,
    /// Signals since this program has begun, if another was before it.
    pub(in crate::daemon) memory: Option<Memory>,
}

impl Early {
    /// Returns the signals that came, each once.
    pub(in crate::daemon) fn signals(&self) -> Vec<i32> {
        let since = self.memory.as_ref().map(Memory::take).unwrap_or_default();
        let all: BTreeSet<i32> = self.mind.signals.iter().copied().chain(since).collect();
        all.into_iter().collect()
    }
}

/// The estate as the variable has it.
#[derive(Debug, Serialize, Deserialize)]
struct Will {
    process: u32,
    lock: RawFd,
    api: Option<(RawFd, PathBuf, Place)>,
    mind: Mind,
}

impl Estate {
    /// Takes what an earlier program of this process has left, if there was one: once, and before any other descriptor is opened.
    pub(in crate::daemon) fn take() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let will: Will = serde_json::from_str(&text).ok()?;
        if will.process != std::process::id() {
            return None;
        }
        let api = will.api.and_then(|(number, path, place)| {
            let listener = own(number)?;
            Some(Heirloom {
                listener,
                path,
                place,
            })
        });
        Some(Self {
            lock: own(will.lock),
            api,
            mind: will.mind,
        })
    }
}

/// Takes a descriptor by the number under which it was left; `None` if there is none.
#[expect(unsafe_code, reason = "what comes through exec comes by number")]
fn own(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the program before left it open for this one alone; nothing else has been opened that could have the number.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_setfd(&descriptor, FdFlags::CLOEXEC) {
        Ok(()) => Some(descriptor),
        Err(error) => {
            warn!(%error, number, "a descriptor was not left");
            // Not to be closed: it is not open.
            let _number = descriptor.into_raw_fd();
            None
        }
    }
}

/// Lets the successor take the place of this program, or, if its file has just vanished, this program its own. Does not return
/// unless both fail. To be called when nothing of the node is left but what is given here.
pub(in crate::daemon) fn give_way(
    successor: &Successor,
    lock: &DirLock,
    api: Option<Heirloom>,
    (mut mind, memory): (Mind, &Memory),
) -> io::Error {
    signals::hold();
    mind.signals.extend(memory.take());
    let kept = api.as_ref().map(|api| &api.listener);
    let left = std::iter::once(lock.as_fd()).chain(kept.map(AsFd::as_fd));
    for descriptor in left {
        if let Err(error) = keep_through_exec(descriptor) {
            return error;
        }
    }
    let api = api.as_ref();
    let mut will = Will {
        process: std::process::id(),
        lock: lock.as_fd().as_raw_fd(),
        api: api.map(|api| (api.listener.as_raw_fd(), api.path.clone(), api.place)),
        mind,
    };
    let origin = successor.origin();
    let error = execute(origin.again(), &will);
    will.mind.failed = Some(error.to_string());
    execute(origin.this(), &will)
}

fn keep_through_exec(descriptor: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    let flags = fcntl_getfd(descriptor)?;
    Ok(fcntl_setfd(descriptor, flags - FdFlags::CLOEXEC)?)
}

fn execute(mut command: std::process::Command, will: &Will) -> io::Error {
    match serde_json::to_string(will) {
        Ok(text) => command.env(VARIABLE, text).exec(),
        Err(error) => error.into(),
    }
}
