//! The rolling hash of a history: over every input and output of every replica, with its true time and host. Two worlds with
//! one hash went through the same states; a difference is entropy that leaked in, and a bug.

use std::fmt;

use blake3::Hasher;
use crdt::event::{Input, Output, Reply, RunEnd};
use crdt::ids::RunId;

use crate::queue::HostIx;

/// The hash of a whole history.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceHash([u8; 32]);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A hash under construction.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: Hasher,
}

impl Trace {
    fn head(&mut self, kind: u8, at: u64, host: HostIx) {
        let mut bytes = [kind; 17];
        bytes[1..9].copy_from_slice(&at.to_le_bytes());
        bytes[9..].copy_from_slice(&(host as u64).to_le_bytes());
        self.hasher.update(&bytes);
    }

    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_le_bytes());
    }

    fn run(&mut self, run: RunId) {
        self.number(u64::from(run.task.tag.0));
        self.number(run.task.n);
        self.number(u64::from(run.epoch.0));
    }

    /// Takes an input in.
    pub fn input(&mut self, at: u64, host: HostIx, input: &Input) {
        match input {
            Input::Frame { from, bytes } => {
                self.head(1, at, host);
                self.hasher.update(&from.0).update(bytes);
            }
            Input::PeerUp(peer) => {
                self.head(2, at, host);
                self.hasher.update(&peer.0);
            }
            Input::PeerDown(peer) => {
                self.head(3, at, host);
                self.hasher.update(&peer.0);
            }
            Input::Submit { token, tasks, .. } => {
                self.head(4, at, host);
                self.number(*token);
                self.number(tasks.len() as u64);
            }
            Input::Control { token, .. } => {
                self.head(5, at, host);
                self.number(*token);
            }
            Input::RunStarted(run) => {
                self.head(6, at, host);
                self.run(*run);
            }
            Input::Harmed(run, _) => {
                self.head(23, at, host);
                self.run(*run);
            }
            Input::RunEnded(run, end) => {
                self.head(7, at, host);
                self.run(*run);
                self.number(match end {
                    RunEnd::Exited(_) => 0,
                    RunEnd::Expired => 1,
                    RunEnd::TooLate => 2,
                    RunEnd::Unfit(_) => 3,
                    RunEnd::Impossible { .. } => 4,
                    RunEnd::NoInput(_) => 5,
                    RunEnd::Withdrawn => 6,
                    RunEnd::Called(..) => 7,
                    RunEnd::Misplaced(_) => 8,
                });
            }
            Input::Persisted(token) => {
                self.head(8, at, host);
                self.number(*token);
            }
            Input::PersistStalled(token) => {
                self.head(9, at, host);
                self.number(*token);
            }
            Input::Addresses(_) => self.head(10, at, host),
            Input::Progress(words) => {
                self.head(17, at, host);
                self.number(words.len() as u64);
            }
            Input::Looked(place, found) => {
                self.head(19, at, host);
                self.number(place.digest());
                self.number(u64::from(found.is_ok()));
            }
            Input::Load(load) => {
                self.head(11, at, host);
                self.number(u64::from(*load));
            }
            Input::Assign { token, peer, kind } => {
                self.head(14, at, host);
                self.number(*token);
                self.hasher.update(&peer.0);
                self.number(*kind as u64);
            }
            Input::Set {
                token, name, value, ..
            } => {
                self.head(18, at, host);
                self.number(*token);
                self.hasher.update(name.as_bytes());
                self.hasher
                    .update(value.as_deref().unwrap_or_default().as_bytes());
            }
            Input::Drain(on) => {
                self.head(12, at, host);
                self.number(u64::from(*on));
            }
            Input::Wakeup => self.head(13, at, host),
            Input::MostClaims(most) => {
                self.head(15, at, host);
                self.number(*most as u64);
            }
        }
    }

    /// Takes an output in.
    pub fn output(&mut self, at: u64, host: HostIx, output: &Output) {
        match output {
            Output::Persist { token, records } => {
                self.head(32, at, host);
                self.number(*token);
                for record in records {
                    self.hasher.update(record);
                }
            }
            Output::Send { to, lane, bytes } => {
                self.head(33, at, host);
                self.number(*lane as u64);
                self.hasher.update(&to.0).update(bytes);
            }
            Output::Start(order) => {
                self.head(34, at, host);
                self.run(order.run);
                self.number(order.deadline.0);
            }
            Output::Extend(run, deadline) => {
                self.head(35, at, host);
                self.run(*run);
                self.number(deadline.0);
            }
            Output::Signal(run, signal) => {
                self.head(36, at, host);
                self.run(*run);
                self.number(u64::from(signal.unsigned_abs()));
            }
            Output::Kill(run) => {
                self.head(37, at, host);
                self.run(*run);
            }
            Output::Withdraw(run) => {
                self.head(40, at, host);
                self.run(*run);
            }
            Output::Reply(token, reply) => {
                self.head(38, at, host);
                self.number(*token);
                self.number(match reply {
                    Reply::Submitted { copies, .. } => {
                        copies.map_or(0, |(have, of)| u64::from(have) << 8 | u64::from(of))
                    }
                    Reply::Noted { ended } => 1 << 16 | ended.len() as u64,
                    Reply::Refused(_) => 1 << 17,
                });
            }
            Output::Notice(_) => self.head(39, at, host),
            Output::Look(place) => {
                self.head(40, at, host);
                self.number(place.digest());
            }
        }
    }

    /// Returns the hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> TraceHash {
        TraceHash(*self.hasher.finalize().as_bytes())
    }
}
