//! A guard's process: its number, whether it is stopped, and its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tracing::warn;

use crate::executor::leftovers::{self, Prey};
use crate::executor::patience::Standing;
use crate::guard::proc;

/// Between two looks at what a guard leaves that is itself slow to die: at first, and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The process itself, whose number cannot be given to another meanwhile.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    handle: OwnedFd,
    origin: Origin,
}

/// How a guard came to be this executor's.
#[derive(Debug)]
enum Origin {
    /// It was started.
    Child(Child),
    /// It was met, the child of an earlier start.
    Met,
}

impl Process {
    /// One that was started.
    ///
    /// # Errors
    /// The kernel's; the child is gone then.
    pub(super) fn child(mut child: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Self {
                pid,
                handle,
                origin: Origin::Child(child),
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// The one behind a door: it opened the socket that `stream` was made by, and has not died since.
    ///
    /// # Errors
    /// The kernel's, among them that it has ended.
    pub(super) fn met(stream: &UnixStream) -> io::Result<Self> {
        let pid = socket_peercred(stream)?.pid;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        // Had it died, and its number gone to another, its end of the stream would be closed.
        let mut fds = [PollFd::new(stream, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec::default()))?;
        if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let origin = Origin::Met;
        Ok(Self {
            pid,
            handle,
            origin,
        })
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Whether a signal or a debugger has stopped it.
    pub(super) fn standing(&self) -> Standing {
        match proc::look(self.pid.as_raw_pid()).map(|look| look.state) {
            Some(b'T' | b't') => Standing::Stopped,
            _ => Standing::Free,
        }
    }

    /// Kills it, and with it all that its records tell of, and blocks until it has ended. Returns what
    /// is known about its end.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub(super) fn kill_with_all(mut self, records: &Path) -> io::Result<String> {
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        let mut pause = LOOK_AGAIN.0;
        loop {
            if let Err(error) = leftovers::strike(records, Prey::All) {
                warn!(%error, "the runs of a lost guard cannot be killed yet");
            }
            if self.has_ended_within(Some(pause))? {
                return self.epitaph();
            }
            pause = (pause * 2).min(LOOK_AGAIN.1);
        }
    }

    /// Blocks until it has ended. Returns what is known about its end.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub(super) fn wait(mut self) -> io::Result<String> {
        while !self.has_ended_within(None)? {}
        self.epitaph()
    }

    fn has_ended_within(&self, limit: Option<Duration>) -> io::Result<bool> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        match poll(
            &mut [PollFd::new(&self.handle, PollFlags::IN)],
            limit.as_ref(),
        ) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// One that was met may be a child of this process all the same, by a program that was executed in it before.
    fn reap_if_own(&self) -> String {
        let ended = waitid(
            WaitId::PidFd(self.handle.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        let signal = ended
            .ok()
            .flatten()
            .and_then(|status| status.terminating_signal());
        match signal {
            Some(signo) => format!("signal: {signo}"),
            None => "it has ended".to_owned(),
        }
    }

    fn epitaph(&mut self) -> io::Result<String> {
        match &mut self.origin {
            Origin::Child(child) => child.wait().map(|status| status.to_string()),
            Origin::Met => Ok(self.reap_if_own()),
        }
    }
}
