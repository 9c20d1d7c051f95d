//! Runs that launchers start, on their way: what these say, and what becomes of it (see `launcher`).
//!
//! A run is watched from the moment at which its launcher is there, and told to the node as started when its program executes. One that
//! is refused instead is told as refused, once nothing of it lives. One that does neither in time is killed: its lease is renewed all the
//! while, so nothing else would end it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};

use super::Server;
use crate::clock::boottime;
use crate::guard::launcher::{self, Errand};
use crate::guard::proc::Mark;
use crate::guard::protocol::{Cause, Refusal, Reply, RunKey, StartRun};
use crate::guard::sys::{Input, Output, Plan};

/// What a launcher says at most, bytes.
const WORDS: u64 = 16 << 10;

/// How long a launcher may take. A guess: a directory server or a file system that answers at all does so sooner, and a run that is
/// refused too early is tried again.
const UNDER_WAY_WITHIN: Duration = Duration::from_secs(10);

/// A launcher that has not been heard out.
#[derive(Debug)]
pub(super) struct Launch {
    /// None once it has closed its end.
    status: Option<File>,
    said: Vec<u8>,
    pace: Pace,
}

/// Whether a launcher has taken too long.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// It has until then.
    Until(Duration),
    /// It was killed for it.
    TooSlow,
}

/// What a launcher has come to.
#[derive(Debug)]
enum Word {
    /// It may say more.
    None,
    /// It executes the run's program.
    Executes,
    /// It cannot.
    Refuses(Refusal),
    /// It ended without a word.
    Silence,
}

impl Launch {
    fn new(status: OwnedFd) -> Self {
        let status = Some(status.into());
        let said = Vec::new();
        let pace = Pace::Until(boottime() + UNDER_WAY_WITHIN);
        Self { status, said, pace }
    }

    /// When it must have come to something, if it has not yet.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.pace {
            Pace::Until(at) => self.status.is_some().then_some(at),
            Pace::TooSlow => None,
        }
    }

    /// Hears what there is.
    fn hear(&mut self) -> Word {
        if let Some(status) = &mut self.status {
            match status.take(WORDS).read_to_end(&mut self.said) {
                Ok(_) => self.status = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_broken) => self.status = None,
            }
        }
        match (&self.status, &self.said[..]) {
            (Some(_), _) => Word::None,
            (None, []) => Word::Silence,
            (None, b"x") => Word::Executes,
            (None, [b'x', refusal @ ..] | refusal) => match postcard::from_bytes(refusal) {
                Ok(refusal) => Word::Refuses(refusal),
                Err(_) => Word::Silence,
            },
        }
    }
}

impl Server {
    /// Returns the plan of a launcher for a run, and where it will be heard.
    pub(super) fn errand(&self, order: &StartRun, mark: Mark) -> Result<(Plan, Launch), Refusal> {
        let failed = |error: io::Error| Refusal::Launcher(error.to_string());
        let vars = self.environments.vars(order.env);
        let errand = Errand {
            order: order.clone(),
            vars: vars.unwrap_or_default(),
            mark,
            guard: std::process::id().cast_signed(),
        };
        let bytes = postcard::to_stdvec(&errand).map_err(io::Error::other);
        let stdin = bytes.and_then(|bytes| written(&bytes)).map_err(failed)?;
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (status, theirs) = pipe_with(flags).map_err(|error| failed(error.into()))?;
        let plan = Plan {
            programs: vec![c"/proc/self/exe".to_owned()],
            argv: vec![c"aque-node".to_owned(), launcher::VERB_TEXT.to_owned()],
            stdin: Input::Open(stdin),
            stdout: Output::Open(theirs),
            stderr: Some(Output::nothing()),
            nice: order.nice,
            deadline: order.deadline,
            ..Plan::nothing()
        };
        Ok((plan, Launch::new(status)))
    }

    /// The pipes of launchers that may say something.
    pub(super) fn launchers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pipes = self.launches.values();
        pipes.filter_map(|launch| Some(launch.status.as_ref()?.as_fd()))
    }

    /// Hears the launchers, and tells of the runs whose programs execute now.
    pub(super) fn hear_launchers(&mut self) {
        let mut begun = Vec::new();
        for (key, launch) in &mut self.launches {
            if let Word::Executes = launch.hear() {
                begun.push(*key);
            }
        }
        for key in begun {
            self.launches.remove(&key);
            self.tell_begun(key);
        }
    }

    /// Kills what has not begun in time.
    pub(super) fn end_slow_launches(&mut self) {
        let now = boottime();
        let slow = self.launches.iter_mut().filter(|(_, launch)| {
            let due = launch.due();
            due.is_some_and(|at| at <= now)
        });
        let slow: Vec<RunKey> = slow
            .map(|(key, launch)| {
                launch.pace = Pace::TooSlow;
                *key
            })
            .collect();
        for key in slow {
            self.kill(key, Cause::Asked);
        }
    }

    fn tell_begun(&mut self, key: RunKey) {
        if let (Some(run), Some(link)) = (self.runs.get(&key), &mut self.link) {
            link.mention(&Reply::Started {
                key,
                pid: run.leader.as_raw_pid(),
                at: run.started_at,
            });
        }
    }

    /// Says why a run of which nothing lives any more was never begun, if it was not. One that was, and has ended since it was
    /// looked at, is told as begun.
    pub(super) fn never_begun(&mut self, key: RunKey, cause: Cause) -> Option<Refusal> {
        let mut launch = self.launches.remove(&key)?;
        match launch.hear() {
            Word::Executes => {
                self.tell_begun(key);
                None
            }
            Word::Refuses(why) => Some(why),
            Word::None | Word::Silence => Some(match cause {
                _ if matches!(launch.pace, Pace::TooSlow) => Refusal::Launcher(format!(
                    "it was not under way within {} s: its user, directory or files did not answer",
                    UNDER_WAY_WITHIN.as_secs()
                )),
                Cause::DeadlineKill => Refusal::DeadlinePassed,
                Cause::Asked | Cause::GuardLost => Refusal::ShuttingDown,
                Cause::ByItself => Refusal::Launcher("it was killed on its way".to_owned()),
            }),
        }
    }
}

/// A file in memory, at its beginning.
fn written(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("errand", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn launch() -> (Launch, File) {
        let (status, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        (Launch::new(status), theirs.into())
    }

    #[test]
    fn launchers_are_heard_out() {
        let why = Refusal::NoUser("ann".to_owned());
        let refusal = postcard::to_stdvec(&why).unwrap();
        let rows = [
            (vec![], "Silence".to_owned()),
            (b"x".to_vec(), "Executes".to_owned()),
            (refusal.clone(), format!("Refuses({why:?})")),
            ([b"x", &refusal[..]].concat(), format!("Refuses({why:?})")),
            (vec![0xff; 9], "Silence".to_owned()),
        ];
        for (said, expected) in rows {
            let (mut launch, mut theirs) = launch();
            assert!(matches!(launch.hear(), Word::None));
            theirs.write_all(&said).unwrap();
            assert!(matches!(launch.hear(), Word::None), "it may say more");
            drop(theirs);
            assert_eq!(format!("{:?}", launch.hear()), expected);
        }
    }
}
