//! A picture of a history, without script: a lane for each host; runs as bars (full: ended by itself, hollow: killed), ticks where
//! deadlines stood, marks for votes and accepts, bands for hosts that were down, stood still or were cut off, and the violation.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crdt::ids::TaskId;

use crate::oracle::Violation;
use crate::queue::HostIx;
use crate::timeline::{BandKind, Bar, Timeline};

const LEFT: u64 = 60;
const TOP: u64 = 30;
const ROW: u64 = 12;
const GAP: u64 = 26;
const WIDEST: u64 = 20_000;

struct Scale {
    end: u64,
    width: u64,
}

impl Scale {
    fn x(&self, at: u64) -> u64 {
        let span = u128::from(self.end.max(1));
        let offset = u128::from(at.min(self.end)) * u128::from(self.width) / span;
        LEFT + u64::try_from(offset).unwrap_or(self.width)
    }
}

/// Where a host's lane lies.
struct Lane {
    top: u64,
    rows: u64,
}

impl Lane {
    fn height(&self) -> u64 {
        self.rows * ROW + GAP
    }
}

fn colour(task: TaskId) -> String {
    let hue = (task.n.wrapping_mul(67).wrapping_add(u64::from(task.tag.0))) % 360;
    format!("hsl({hue} 60% 55%)")
}

/// Puts each run of a host into the first row that is free at its start.
fn rows(bars: &[Bar], host: HostIx, end: u64) -> (BTreeMap<usize, u64>, u64) {
    let mut free: Vec<u64> = Vec::new();
    let mut places = BTreeMap::new();
    for (place, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.host == host) {
        let until = bar.to.unwrap_or(end);
        let row = free
            .iter()
            .position(|at| *at <= bar.from)
            .unwrap_or(free.len());
        if row == free.len() {
            free.push(until);
        } else {
            free[row] = until;
        }
        places.insert(place, row as u64);
    }
    (places, free.len() as u64)
}

/// Returns the picture of a timeline that ended at a true time.
#[must_use]
pub fn draw(timeline: &Timeline, hosts: usize, end: u64, violation: Option<&Violation>) -> String {
    let seconds = end / 1_000_000_000 + 1;
    let scale = Scale {
        end,
        width: (seconds * 80).min(WIDEST),
    };
    let mut top = TOP;
    let mut lanes = Vec::new();
    let mut places = BTreeMap::new();
    for host in 0..hosts {
        let (of_host, count) = rows(&timeline.bars, host, end);
        places.extend(of_host);
        let lane = Lane {
            top,
            rows: count.max(1),
        };
        top += lane.height();
        lanes.push(lane);
    }
    let (width, height) = (scale.width + LEFT + 20, top + 20);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    axis(&mut svg, &scale, seconds, top);
    bands(&mut svg, &scale, timeline, &lanes);
    for (host, lane) in lanes.iter().enumerate() {
        let y = lane.top + ROW;
        let _ = writeln!(svg, "<text x=\"8\" y=\"{y}\">h{host}</text>");
    }
    for (place, bar) in timeline.bars.iter().enumerate() {
        let row = places.get(&place).copied().unwrap_or(0);
        let y = lanes[bar.host].top + row * ROW;
        run(&mut svg, &scale, bar, y);
    }
    votes(&mut svg, &scale, timeline, &lanes);
    if let Some(violation) = violation {
        let x = scale.x(violation.at);
        let text = escape(&violation.to_string());
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {TOP}V{top}\" stroke=\"red\" stroke-width=\"2\"><title>{text}</title></path>\n\
             <text x=\"{x}\" y=\"12\" fill=\"red\">{}</text>",
            violation.judge
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn axis(svg: &mut String, scale: &Scale, seconds: u64, bottom: u64) {
    for second in 0..seconds {
        let x = scale.x(second * 1_000_000_000);
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {TOP}V{bottom}\" stroke=\"#eee\"/><text x=\"{x}\" y=\"24\" fill=\"#888\">{second}</text>"
        );
    }
}

fn bands(svg: &mut String, scale: &Scale, timeline: &Timeline, lanes: &[Lane]) {
    for band in &timeline.bands {
        let lane = &lanes[band.host];
        let (from, to) = (scale.x(band.from), scale.x(band.to.unwrap_or(scale.end)));
        let (fill, name) = match band.kind {
            BandKind::Down => ("#bbb", "down"),
            BandKind::Paused => ("#fe9", "stands still"),
            BandKind::Cut => ("#fdd", "cut off"),
        };
        let (y, height) = match band.kind {
            BandKind::Cut => (lane.top + lane.rows * ROW, GAP / 3),
            BandKind::Down | BandKind::Paused => (lane.top, lane.rows * ROW),
        };
        let width = (to - from).max(1);
        let _ = writeln!(
            svg,
            "<rect x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\" \
             opacity=\"0.7\"><title>h{} {name}</title></rect>",
            band.host
        );
    }
}

fn run(svg: &mut String, scale: &Scale, bar: &Bar, y: u64) {
    let (from, to) = (scale.x(bar.from), scale.x(bar.to.unwrap_or(scale.end)));
    let colour = colour(bar.run.task);
    let fill = if bar.natural { colour.as_str() } else { "none" };
    let (width, height) = ((to - from).max(1), ROW - 3);
    let name = format!("{}/{}", bar.run.task, bar.run.epoch);
    let _ = writeln!(
        svg,
        "<rect x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\" \
         stroke=\"{colour}\"><title>{name}</title></rect>"
    );
    for deadline in &bar.deadlines {
        let x = scale.x(*deadline);
        let bottom = y + height;
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {y}V{bottom}\" stroke=\"#444\" stroke-width=\"0.5\"/>"
        );
    }
}

fn votes(svg: &mut String, scale: &Scale, timeline: &Timeline, lanes: &[Lane]) {
    for vote in &timeline.votes {
        let lane = &lanes[vote.host];
        let (x, y) = (scale.x(vote.at), lane.top + lane.rows * ROW + 3);
        let colour = colour(vote.task);
        let whose = vote
            .claimant
            .map_or_else(|| "?".to_owned(), |host| format!("h{host}"));
        let (what, shape) = if vote.accepts {
            (
                "accepts the outcome of",
                format!("M{x} {y}l3 4l-3 4l-3 -4z"),
            )
        } else {
            ("votes for", format!("M{x} {y}l3 7h-6z"))
        };
        let _ = writeln!(
            svg,
            "<path d=\"{shape}\" fill=\"{colour}\"><title>{}/{} h{} {what} {whose}</title></path>",
            vote.task, vote.epoch, vote.host
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Keep, Mark};
    use crdt::ids::{Epoch, RunId, Tag};

    #[test]
    fn overlapping_runs_get_rows_of_their_own() {
        let mut timeline = Timeline::new(Keep::Everything);
        let run = |n| RunId {
            task: TaskId { tag: Tag(1), n },
            epoch: Epoch(1),
        };
        timeline.bar_starts(0, 0, run(1), 50);
        timeline.bar_starts(10, 0, run(2), 50);
        timeline.bar_ends(20, 0, run(1), Mark::End);
        timeline.bar_starts(30, 0, run(3), 50);
        let (places, count) = rows(&timeline.bars, 0, 100);
        assert_eq!(count, 2);
        assert_eq!(places.values().copied().collect::<Vec<_>>(), [0, 1, 0]);
        let svg = draw(&timeline, 1, 100, None);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
