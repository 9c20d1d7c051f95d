//! How a history can be made less: without a host, with less waiting, in plainer weather. Pure: each returns a smaller history
//! and says nothing about what it still breaks; that is for `shrink` to find out.

use std::time::Duration;

use super::{Deed, Drawn};
use crate::disk::DiskModel;
use crate::link::LinkModel;
use crate::queue::HostIx;
use crate::world::{Clocks, Setup};

/// Ways to a plainer world, each by itself.
pub(super) const PLAINER: [fn(&mut Setup); 4] = [
    |setup| setup.clocks = Clocks::Ideal,
    |setup| setup.links = LinkModel::default(),
    |setup| setup.disks = DiskModel::default(),
    |setup| setup.late.clear(),
];

/// Says whether there is nothing left of this kind of weather.
pub(super) fn is_plain(setup: &Setup) -> [bool; PLAINER.len()] {
    [
        setup.clocks == Clocks::Ideal,
        setup.links == LinkModel::default(),
        setup.disks == DiskModel::default(),
        setup.late.is_empty(),
    ]
}

/// The new number of `host` in a world without `gone`; none for `gone` itself.
fn renumbered(host: HostIx, gone: HostIx) -> Option<HostIx> {
    match host.cmp(&gone) {
        std::cmp::Ordering::Less => Some(host),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(host - 1),
    }
}

/// Returns a history without a host: what is done to it or submitted at it is left out, and the others are renumbered.
pub(super) fn without_host(drawn: &Drawn, gone: HostIx) -> Drawn {
    let hosts = drawn.setup.hosts - 1;
    let most = match hosts {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    };
    let renumber = |list: &[HostIx]| -> Vec<HostIx> {
        list.iter()
            .filter_map(|host| renumbered(*host, gone))
            .collect()
    };
    let work = drawn
        .work
        .iter()
        .filter_map(|(at, host, batch)| Some((*at, renumbered(*host, gone)?, batch.clone())));
    let leases = drawn.setup.leases.iter().enumerate();
    let leases = leases.filter_map(|(host, lease)| (host != gone).then_some(*lease));
    let deeds = drawn
        .deeds
        .iter()
        .filter_map(|(at, deed)| Some((*at, deed_without(deed, gone)?)));
    Drawn {
        setup: Setup {
            hosts,
            committee: drawn.setup.committee.min(most),
            late: renumber(&drawn.setup.late),
            leases: leases.collect(),
            ..drawn.setup.clone()
        },
        work: work.collect(),
        deeds: deeds.collect(),
        absent: renumber(&drawn.absent),
        ..drawn.clone()
    }
}

fn deed_without(deed: &Deed, gone: HostIx) -> Option<Deed> {
    let of = |host: &HostIx| renumbered(*host, gone);
    Some(match deed {
        Deed::Stop(host) => Deed::Stop(of(host)?),
        Deed::Freeze(host) => Deed::Freeze(of(host)?),
        Deed::Resume(host) => Deed::Resume(of(host)?),
        Deed::CrashNode(host, back) => Deed::CrashNode(of(host)?, *back),
        Deed::CrashHost(host, back) => Deed::CrashHost(of(host)?, *back),
        Deed::CrashAll(back) => Deed::CrashAll(*back),
        Deed::Leave(host) => Deed::Leave(of(host)?),
        Deed::LoseDisk(host, back) => Deed::LoseDisk(of(host)?, *back),
        Deed::Join(host) => Deed::Join(of(host)?),
        Deed::Cut(a, b) => Deed::Cut(of(a)?, of(b)?),
        Deed::CutWay(a, b, lanes, notice) => Deed::CutWay(of(a)?, of(b)?, *lanes, *notice),
        Deed::Split(side) => Deed::Split(side.iter().filter_map(of).collect()),
        Deed::HealLinks => Deed::HealLinks,
        Deed::Break(a, b) => Deed::Break(of(a)?, of(b)?),
        Deed::Slow(a, b, by) => Deed::Slow(of(a)?, of(b)?, *by),
        Deed::Spoil(loss, copies, order) => Deed::Spoil(*loss, *copies, *order),
        Deed::FillDisk(host) => Deed::FillDisk(of(host)?),
        Deed::FreeDisk(host) => Deed::FreeDisk(of(host)?),
        Deed::Rate(host, ppm) => Deed::Rate(of(host)?, *ppm),
        Deed::Wall(host, ms) => Deed::Wall(of(host)?, *ms),
        Deed::Garbage(a, b) => Deed::Garbage(of(a)?, of(b)?),
        Deed::Forged(a, b) => Deed::Forged(of(a)?, of(b)?),
        Deed::KillGuard(host) => Deed::KillGuard(of(host)?),
        Deed::SlowDisk(host, by) => Deed::SlowDisk(of(host)?, *by),
        Deed::Kill(host, nth) => Deed::Kill(of(host)?, *nth),
        Deed::Again(host, nth) => Deed::Again(of(host)?, *nth),
        Deed::Remove(host, nth) => Deed::Remove(of(host)?, *nth),
        Deed::Edit(host, nth, milli) => Deed::Edit(of(host)?, *nth, *milli),
        Deed::Lease(host, millis) => Deed::Lease(of(host)?, *millis),
        Deed::Retention(host, millis) => Deed::Retention(of(host)?, *millis),
        Deed::Drain(host) => Deed::Drain(of(host)?),
        Deed::Retire(host, on) => Deed::Retire(of(host)?, *on),
        Deed::Forget(host, other) => Deed::Forget(of(host)?, of(other)?),
        Deed::Undrain(host) => Deed::Undrain(of(host)?),
    })
}

/// Returns the instants at which something is done, the end of all faults among them.
pub(super) fn instants(drawn: &Drawn) -> Vec<Duration> {
    let work = drawn.work.iter().map(|(at, _, _)| *at);
    let deeds = drawn.deeds.iter().map(|(at, _)| *at);
    let mut all: Vec<Duration> = work.chain(deeds).chain([drawn.calm_at]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Returns a history in which everything from `from` on is done sooner.
pub(super) fn sooner(drawn: &Drawn, from: Duration, by: Duration) -> Drawn {
    let mut moved = drawn.clone();
    let work = moved.work.iter_mut().map(|(at, _, _)| at);
    let deeds = moved.deeds.iter_mut().map(|(at, _)| at);
    for at in work.chain(deeds).chain([&mut moved.calm_at]) {
        if *at >= from {
            *at = at.saturating_sub(by);
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_leaves_with_all_that_concerns_it() {
        let mut drawn = super::super::draw(1);
        drawn.setup.hosts = 5;
        drawn.setup.committee = 5;
        let at = Duration::from_secs(1);
        drawn.deeds = vec![
            (at, Deed::Stop(1)),
            (at, Deed::Cut(2, 4)),
            (at, Deed::Split(vec![1, 3])),
        ];
        let less = without_host(&drawn, 1);
        assert_eq!((less.setup.hosts, less.setup.committee), (4, 3));
        let deeds = [(at, Deed::Cut(1, 3)), (at, Deed::Split(vec![2]))];
        assert_eq!(less.deeds, deeds);
    }

    #[test]
    fn what_comes_later_moves_together() {
        let second = Duration::from_secs(1);
        let mut drawn = super::super::draw(1);
        drawn.work.clear();
        drawn.deeds = vec![(second, Deed::HealLinks), (3 * second, Deed::HealLinks)];
        drawn.calm_at = 4 * second;
        let less = sooner(&drawn, 3 * second, second);
        assert_eq!(instants(&less), [second, 2 * second, 3 * second]);
    }
}
