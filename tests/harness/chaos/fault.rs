//! What befalls hosts, how often each kind is drawn, and what it excuses.

use std::fmt;
use std::time::Duration;

use crate::evidence::Run;

/// A host's fault may end a run so much later: a lease and the time to take over.
const ECHO: Duration = Duration::from_secs(8);

/// Between the resume of a host and its guard's kill: what the kernel needs to wake all its processes on a busy machine.
const WAKING: Duration = Duration::from_secs(1);

/// What befalls hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a node; its guard lives.
    KillNode,
    /// `kill -9` of a guard.
    KillGuard,
    /// `kill -9` of a node and, right after it, of its guard; runs that die by that are not waited for.
    KillBoth,
    /// `kill -9` of a node, its guard and its runs, as a power cut does.
    KillHost,
    /// Every node and some guards at once; they come back in any order.
    KillAll,
    /// `SIGSTOP` of a node, and `SIGCONT` later.
    PauseNode,
    /// The same of a guard, while its runs go on.
    PauseGuard,
    /// The same of node and guard, while their runs go on: more than is promised for.
    PauseBoth,
    /// The same of node, guard and runs, as when a virtual machine is frozen.
    PauseHost,
    /// Some hosts hear nothing of the others, nor these of them.
    Split,
    /// One host does not hear another.
    OneWay,
    /// One host is cut off and heard again several times in a few seconds.
    Flap,
    /// A node's disk has no room.
    FullDisk,
}

/// How much the protocol promises of runs on a host under a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// That no two runs of a task overlap.
    Whole,
    /// The same, but for the moment between the host's resume and its guard's kill ("What is not promised").
    ButForWaking,
    /// Nothing as long as it lasts: nobody is left to keep a deadline (A4, "What is not promised").
    None,
}

impl Fault {
    /// Those that need no network of their own.
    pub const PROCESSES: &[Self] = &[
        Self::KillNode,
        Self::KillNode,
        Self::KillHost,
        Self::KillGuard,
        Self::KillBoth,
        Self::PauseNode,
        Self::PauseNode,
        Self::PauseGuard,
        Self::PauseGuard,
        Self::PauseBoth,
        Self::PauseHost,
        Self::FullDisk,
        Self::KillAll,
    ];
    /// All; some are drawn more often than others.
    pub const ALL: &[Self] = &[
        Self::KillNode,
        Self::KillNode,
        Self::KillHost,
        Self::KillGuard,
        Self::KillBoth,
        Self::PauseNode,
        Self::PauseNode,
        Self::PauseGuard,
        Self::PauseGuard,
        Self::PauseBoth,
        Self::PauseHost,
        Self::Split,
        Self::Split,
        Self::OneWay,
        Self::Flap,
        Self::FullDisk,
        Self::KillAll,
    ];

    pub(super) fn is_of_the_network(self) -> bool {
        matches!(self, Self::Split | Self::OneWay | Self::Flap)
    }

    pub(super) fn promise(self) -> Promise {
        match self {
            Self::PauseBoth => Promise::None,
            Self::PauseHost => Promise::ButForWaking,
            Self::KillNode
            | Self::KillGuard
            | Self::KillBoth
            | Self::KillHost
            | Self::KillAll
            | Self::PauseNode
            | Self::PauseGuard
            | Self::Split
            | Self::OneWay
            | Self::Flap
            | Self::FullDisk => Promise::Whole,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillNode => "node killed",
            Self::KillGuard => "guard killed",
            Self::KillBoth => "node and guard killed",
            Self::KillHost => "host killed",
            Self::KillAll => "all killed",
            Self::PauseNode => "node paused",
            Self::PauseGuard => "guard paused",
            Self::PauseBoth => "node and guard paused",
            Self::PauseHost => "host paused",
            Self::Split => "network split",
            Self::OneWay => "link cut one way",
            Self::Flap => "link flaps",
            Self::FullDisk => "disk full",
        })
    }
}

/// Which host a fault befell and when, by [`crate::evidence::now`]; with no host, all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Band {
    pub(super) fault: Fault,
    pub(super) host: Option<usize>,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl Band {
    /// Whether the fault may be why this run was lost.
    pub(super) fn explains(&self, run: &Run) -> bool {
        self.from <= last(run) + ECHO && self.to + ECHO >= first(run)
    }

    /// Whether it befell the run's host.
    pub(super) fn is_of(&self, run: &Run) -> bool {
        self.host
            .is_none_or(|place| run.host == format!("n{place}"))
    }

    /// Whether no promise is broken by a run that began while an earlier one lived, since that one was on a host of which less is
    /// promised at that time.
    pub(super) fn is_beyond(&self, earlier: &Run, later: &Run) -> bool {
        let over = self.to + WAKING;
        self.is_of(earlier)
            && match self.fault.promise() {
                Promise::Whole => false,
                Promise::None => first(later) >= self.from && last(earlier) <= over,
                // Its lines from the time before are no overlap; what it wrote meanwhile would be one.
                Promise::ButForWaking => {
                    first(later) >= self.from && last(earlier) >= self.to && last(earlier) <= over
                }
            }
    }
}

fn first(run: &Run) -> Duration {
    Duration::from_nanos(run.first)
}

fn last(run: &Run) -> Duration {
    Duration::from_nanos(run.last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(host: &str, first_ms: u64, last_ms: u64) -> Run {
        let ns = |ms| ms * 1_000_000;
        Run {
            epoch: 1,
            host: host.to_owned(),
            pid: 1,
            first: ns(first_ms),
            last: ns(last_ms),
            ended: false,
        }
    }

    #[test]
    fn beyond_table() {
        let later = run("n2", 4_000, 9_000);
        for (fault, earlier, beyond) in [
            (Fault::PauseBoth, run("n1", 100, 5_900), true),
            (Fault::PauseBoth, run("n1", 100, 6_900), true),
            (Fault::PauseBoth, run("n1", 100, 7_100), false),
            (Fault::PauseBoth, run("n3", 100, 5_900), false),
            (Fault::PauseHost, run("n1", 100, 6_100), true),
            (Fault::PauseHost, run("n1", 100, 5_900), false),
            (Fault::PauseHost, run("n1", 100, 7_100), false),
            (Fault::PauseGuard, run("n1", 100, 5_900), false),
            (Fault::KillBoth, run("n1", 100, 5_900), false),
        ] {
            let band = Band {
                fault,
                host: Some(1),
                from: Duration::from_secs(1),
                to: Duration::from_secs(6),
            };
            assert_eq!(
                band.is_beyond(&earlier, &later),
                beyond,
                "{fault}, {earlier:?}"
            );
        }
        let early = Band {
            fault: Fault::PauseBoth,
            host: Some(1),
            from: Duration::from_secs(5),
            to: Duration::from_secs(6),
        };
        assert!(
            !early.is_beyond(&run("n1", 100, 5_900), &later),
            "it began before"
        );
    }
}
