//! What storms have shown, added up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Aftermath, Fault};
use crate::evidence::History;

/// The sum of storms.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub storms: usize,
    /// Faults of each kind.
    pub faults: BTreeMap<Fault, usize>,
    /// Tasks, all of which ended.
    pub tasks: usize,
    /// Runs, by the tasks' own lines.
    pub runs: usize,
    /// Second runs and later ones, by why the run before was lost.
    pub again: BTreeMap<String, usize>,
    /// Runs that overlapped where that is beyond what is promised, by why.
    pub overlaps: BTreeMap<Fault, usize>,
    /// From the last sign of a lost run to the first of the next.
    pub take_overs: Vec<Duration>,
    /// Broken promises.
    pub violations: Vec<String>,
}

impl Tally {
    pub(super) fn count(&mut self, after: &Aftermath, history: &History) {
        for band in &after.bands {
            *self.faults.entry(band.fault).or_default() += 1;
        }
        self.tasks += after.lines.len();
        self.runs += history.started();
        for line in &after.lines {
            for pair in history.of(&line.id).windows(2) {
                let (lost, next) = (&pair[0], &pair[1]);
                let near = || after.bands.iter().filter(|band| band.explains(lost));
                let own = near().find(|band| band.is_of(lost));
                let why = match (own, near().next()) {
                    (Some(band), _) => band.fault.to_string(),
                    (None, Some(band)) => format!("another host: {}", band.fault),
                    (None, None) => "no fault".to_owned(),
                };
                *self.again.entry(why).or_default() += 1;
                let gap = Duration::from_nanos(next.first.saturating_sub(lost.last));
                self.take_overs.push(gap);
                if next.follows_too_soon(lost) {
                    let mut bands = after.bands.iter();
                    let beyond = bands.find(|band| band.is_beyond(lost, next));
                    if let Some(band) = beyond {
                        *self.overlaps.entry(band.fault).or_default() += 1;
                    }
                }
            }
        }
    }

    fn quantile(&self, percent: usize) -> Duration {
        let mut sorted = self.take_overs.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "storms      {}", self.storms)?;
        writeln!(f, "faults      {}", self.faults.values().sum::<usize>())?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {count:>5}  {fault}")?;
        }
        writeln!(f, "tasks       {}", self.tasks)?;
        writeln!(f, "runs        {}", self.runs)?;
        writeln!(f, "run again   {}", self.again.values().sum::<usize>())?;
        for (why, count) in &self.again {
            writeln!(f, "  {count:>5}  {why}")?;
        }
        let overlaps = self.overlaps.values().sum::<usize>();
        writeln!(f, "overlaps    {overlaps} beyond what is promised")?;
        for (fault, count) in &self.overlaps {
            writeln!(f, "  {count:>5}  {fault}")?;
        }
        let (p50, p99) = (self.quantile(50), self.quantile(99));
        writeln!(f, "take-over   p50 {p50:.1?}, p99 {p99:.1?}")?;
        write!(f, "violations  {}", self.violations.len())?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}
