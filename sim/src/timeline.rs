//! What happened, for people: one line a state change with a column for each host, and the marks from which `svg` draws.
//!
//! A world keeps nothing of this unless it is asked to: a seed that failed is simply played again with [`Keep::Everything`].

use std::fmt::Write as _;

use crdt::ids::{Epoch, RunId, TaskId};

use crate::queue::HostIx;

/// How much a timeline keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// Nothing: the fast way.
    #[default]
    Nothing,
    /// Every state change.
    Everything,
}

/// The kinds of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A person asked for something.
    Asked,
    /// A person was answered.
    Answered,
    /// A bid was written, or given up.
    Bid,
    /// A vote was written.
    Vote,
    /// A start was ordered.
    Order,
    /// A process started.
    Start,
    /// A process ended by itself.
    End,
    /// A guard killed its process.
    Expired,
    /// A guard refused to start.
    TooLate,
    /// A hold was lost.
    HoldLost,
    /// A task is in another state, as this replica sees it.
    State,
    /// A node or host died.
    Crash,
    /// A node started.
    Boot,
    /// A node or host stands still.
    Pause,
    /// It goes on.
    Resume,
    /// A link was cut or spoilt.
    Cut,
    /// A link was mended.
    Mend,
    /// Peers connected.
    Up,
    /// Peers lost each other.
    Down,
    /// Something about a disk.
    Disk,
    /// Something about a clock.
    Clock,
    /// Something else that is done to the world.
    Deed,
}

impl Mark {
    fn symbol(self) -> char {
        match self {
            Self::Asked => '?',
            Self::Answered => '=',
            Self::Bid => 'b',
            Self::Vote => 'v',
            Self::Order => 'o',
            Self::Start => '>',
            Self::End => '<',
            Self::Expired => 'x',
            Self::TooLate => '0',
            Self::HoldLost => 'h',
            Self::State => '.',
            Self::Crash => '!',
            Self::Boot => '^',
            Self::Pause => 'z',
            Self::Resume => 'Z',
            Self::Cut => '#',
            Self::Mend => '+',
            Self::Up => 'u',
            Self::Down => 'd',
            Self::Disk => 'D',
            Self::Clock => 'T',
            Self::Deed => '*',
        }
    }
}

/// One state change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When, in true nanoseconds.
    pub at: u64,
    /// On which host; `None` for the world.
    pub host: Option<HostIx>,
    /// What kind.
    pub mark: Mark,
    /// What.
    pub text: String,
}

/// A run from its process's start to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bar {
    /// Where.
    pub host: HostIx,
    /// Which.
    pub run: RunId,
    /// Its process's start.
    pub from: u64,
    /// Its process's end; `None` while it lives.
    pub to: Option<u64>,
    /// It ended by itself.
    pub natural: bool,
    /// The deadlines that its guard was given, in true time.
    pub deadlines: Vec<u64>,
}

/// A time during which a host was not itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Band {
    /// Which.
    pub host: HostIx,
    /// What was wrong.
    pub kind: BandKind,
    /// Since when.
    pub from: u64,
    /// Until when; `None` = to the end.
    pub to: Option<u64>,
}

/// What is wrong with a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BandKind {
    /// Its node is dead.
    Down,
    /// Its node, or all of it, stands still.
    Paused,
    /// It is cut off from some other host.
    Cut,
}

/// A vote as it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteMark {
    /// When.
    pub at: u64,
    /// By whom.
    pub host: HostIx,
    /// On which task.
    pub task: TaskId,
    /// At which epoch.
    pub epoch: Epoch,
    /// For whom.
    pub claimant: Option<HostIx>,
    /// It accepts an outcome.
    pub accepts: bool,
}

/// Everything that was kept.
#[derive(Debug, Default)]
pub struct Timeline {
    keep: Keep,
    /// State changes in order.
    pub lines: Vec<Line>,
    /// Runs.
    pub bars: Vec<Bar>,
    /// Faults of hosts.
    pub bands: Vec<Band>,
    /// Votes.
    pub votes: Vec<VoteMark>,
}

impl Timeline {
    /// Returns an empty timeline.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    /// Says whether anything is kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.keep == Keep::Everything
    }

    /// Adds a line.
    pub fn note(
        &mut self,
        at: u64,
        host: Option<HostIx>,
        mark: Mark,
        text: impl FnOnce() -> String,
    ) {
        if self.keeps() {
            self.lines.push(Line {
                at,
                host,
                mark,
                text: text(),
            });
        }
    }

    /// A process started.
    pub fn bar_starts(&mut self, at: u64, host: HostIx, run: RunId, deadline: u64) {
        if self.keeps() {
            let deadlines = vec![deadline];
            self.bars.push(Bar {
                host,
                run,
                from: at,
                to: None,
                natural: false,
                deadlines,
            });
        }
    }

    fn bar(&mut self, host: HostIx, run: RunId) -> Option<&mut Bar> {
        self.bars
            .iter_mut()
            .rev()
            .find(|bar| (bar.host, bar.run) == (host, run))
    }

    /// A guard was given a later deadline.
    pub fn bar_extends(&mut self, host: HostIx, run: RunId, deadline: u64) {
        if let Some(bar) = self.bar(host, run) {
            bar.deadlines.push(deadline);
        }
    }

    /// A process is gone.
    pub fn bar_ends(&mut self, at: u64, host: HostIx, run: RunId, mark: Mark) {
        if let Some(bar) = self.bar(host, run) {
            bar.to = Some(at);
            bar.natural = mark == Mark::End;
        }
    }

    /// Something is wrong with a host from now on.
    pub fn band_begins(&mut self, at: u64, host: HostIx, kind: BandKind) {
        let open = |band: &Band| (band.host, band.kind, band.to) == (host, kind, None);
        if self.keeps() && !self.bands.iter().any(open) {
            self.bands.push(Band {
                host,
                kind,
                from: at,
                to: None,
            });
        }
    }

    /// It is no longer.
    pub fn band_ends(&mut self, at: u64, host: HostIx, kind: BandKind) {
        for band in &mut self.bands {
            if (band.host, band.kind, band.to) == (host, kind, None) {
                band.to = Some(at);
            }
        }
    }

    /// Returns the lines as text, the newest `last` of them, a column for each host.
    #[must_use]
    pub fn to_text(&self, hosts: usize, last: usize) -> String {
        let mut text = String::from("        time ");
        for host in 0..hosts {
            let _ = write!(text, " h{host} ");
        }
        text.push('\n');
        for line in &self.lines[self.lines.len().saturating_sub(last)..] {
            let _ = write!(
                text,
                "{:5}.{:06} ",
                line.at / 1_000_000_000,
                line.at / 1_000 % 1_000_000
            );
            for host in 0..hosts {
                let symbol = if line.host == Some(host) {
                    line.mark.symbol()
                } else {
                    ' '
                };
                let _ = write!(
                    text,
                    " {symbol}{} ",
                    if line.host == Some(host) { ' ' } else { '|' }
                );
            }
            let symbol = if line.host.is_none() {
                line.mark.symbol()
            } else {
                ' '
            };
            let _ = writeln!(text, "{symbol} {}", line.text);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_in_its_hosts_column() {
        let mut timeline = Timeline::new(Keep::Everything);
        timeline.note(1_500_000_000, Some(1), Mark::Start, || "t".to_owned());
        timeline.note(2_000_000_000, None, Mark::Cut, || "0 | 1".to_owned());
        let text = timeline.to_text(2, 10);
        assert!(text.contains("    1.500000   |  >    t"), "{text}");
        assert!(text.contains("    2.000000   |   | # 0 | 1"), "{text}");
        let mut nothing = Timeline::new(Keep::Nothing);
        nothing.note(1, None, Mark::Cut, || unreachable!("nothing is formatted"));
        assert!(nothing.lines.is_empty());
    }
}
