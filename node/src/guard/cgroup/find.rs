//! Where a process may make cgroups: below its own, in the unified hierarchy or in that of the freezer.
//!
//! Told by `/proc/self/mountinfo` (which hierarchies are mounted, where, and which part of them) and `/proc/self/cgroup` (the own
//! place in each). Neither is trusted: lines that make no sense are passed over, and a place is tried before it is used.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::guard::trees::Cgroups;

/// A kind of hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// The unified one.
    V2,
    /// The freezer's, of version 1.
    Freezer,
    /// That of memory, of version 1.
    Memory,
    /// That of processors, of version 1.
    Cpu,
}

impl Hierarchy {
    /// The controller by which one of version 1 is known.
    fn controller(self) -> Option<&'static [u8]> {
        match self {
            Self::V2 => None,
            Self::Freezer => Some(b"freezer"),
            Self::Memory => Some(b"memory"),
            Self::Cpu => Some(b"cpu"),
        }
    }
}

/// A node in a cgroup of this name was put there to leave the one above it free of processes: that is the place of its runs'.
/// (systemd: `DelegateSubgroup=aque-node`.)
pub(super) const SUBGROUP: &str = "aque-node";

/// A part of a hierarchy that can be seen in the file system.
#[derive(Debug)]
struct Mount {
    /// Which part.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// Returns the directories of the own cgroup that may be used, the best first.
pub(super) fn places(mountinfo: &[u8], own: &[u8], wish: Cgroups) -> Vec<PathBuf> {
    let hierarchies: &[Hierarchy] = match wish {
        Cgroups::Auto => &[Hierarchy::V2, Hierarchy::Freezer],
        Cgroups::V2 => &[Hierarchy::V2],
        Cgroups::V1 => &[Hierarchy::Freezer],
        Cgroups::Off => &[],
    };
    let all = hierarchies.iter();
    all.flat_map(|hierarchy| places_in(mountinfo, own, *hierarchy))
        .collect()
}

/// Returns the directories of the own cgroup in one hierarchy.
pub(super) fn own_places(hierarchy: Hierarchy) -> Vec<PathBuf> {
    let read = |path| std::fs::read(path).unwrap_or_default();
    let (mountinfo, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
    places_in(&mountinfo, &own, hierarchy)
}

fn places_in(mountinfo: &[u8], own: &[u8], hierarchy: Hierarchy) -> Vec<PathBuf> {
    let Some(mut path) = lines(own).find_map(|line| own_path(line, hierarchy)) else {
        return Vec::new();
    };
    if hierarchy == Hierarchy::V2 && path.ends_with(SUBGROUP) {
        path.pop();
    }
    let mounts = lines(mountinfo).filter_map(|line| mount(line, hierarchy));
    mounts.filter_map(|mount| mount.place(&path)).collect()
}

impl Mount {
    /// The directory of a cgroup; `None` if this part does not show it.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok()?;
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        below
            .components()
            .all(plain)
            .then(|| self.point.components().chain(below.components()).collect())
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// `36 35 98:0 /root /point options [tags…] - type source options`
fn mount(line: &[u8], hierarchy: Hierarchy) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = path(fields.nth(3)?)?;
    let point = path(fields.next()?)?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = fields.next()?;
    let _source = fields.next()?;
    let fits = match hierarchy.controller() {
        None => kind == b"cgroup2",
        Some(controller) => kind == b"cgroup" && has(fields.next()?, controller),
    };
    fits.then_some(Mount { root, point })
}

/// `0::/path` for the unified hierarchy, `7:cpu,freezer:/path` for another.
fn own_path(line: &[u8], hierarchy: Hierarchy) -> Option<PathBuf> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let (number, controllers) = (fields.next()?, fields.next()?);
    let fits = match hierarchy.controller() {
        None => number == b"0" && controllers.is_empty(),
        Some(controller) => has(controllers, controller),
    };
    let path = fields
        .next()
        .filter(|path| fits && path.starts_with(b"/"))?;
    Some(OsStr::from_bytes(path).into())
}

fn has(list: &[u8], controller: &[u8]) -> bool {
    list.split(|byte| *byte == b',')
        .any(|word| word == controller)
}

/// An absolute path in which the kernel has written spaces and the like as `\040`.
fn path(field: &[u8]) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.first_chunk::<3>()).flatten();
        let code =
            octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = match code {
            Some(_) => &tail[3..],
            None => tail,
        };
    }
    (bytes.first() == Some(&b'/')).then(|| OsStr::from_bytes(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "\
        22 1 0:21 / /proc rw,relatime shared:5 - proc proc rw\n\
        30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const LEGACY: &str = "\
        37 31 0:34 / /sys/fs/cgroup/cpu,freezer rw shared:1 master:2 - cgroup none rw,cpu,freezer\n";
    /// As a container sees it that has no namespace of cgroups.
    const CONTAINER: &str = "\
        90 80 0:30 /docker/abc /sys/fs/cgroup/freezer ro - cgroup cgroup rw,freezer\n\
        91 80 0:31 /../.. /above rw - cgroup2 cgroup2 rw\n\
        92 80 0:31 /docker/abc /sys/fs/cg\\040two rw - cgroup2 cgroup2 rw\n";

    fn found(mountinfo: &str, own: &str, wish: Cgroups) -> Vec<String> {
        let found = places(mountinfo.as_bytes(), own.as_bytes(), wish);
        let text = |place: PathBuf| place.to_string_lossy().into_owned();
        found.into_iter().map(text).collect()
    }

    #[test]
    fn places_table() {
        let both = "5:cpu,freezer:/user\n3:pids:/other\n0::/user.slice/a:b.scope\n";
        let nested = "7:freezer:/docker/abc/task\n0::/docker/abc\n";
        let rows: [(&str, &str, Cgroups, &[&str]); 11] = [
            (
                UNIFIED,
                "0::/system.slice/aque.service\n",
                Cgroups::Auto,
                &["/sys/fs/cgroup/system.slice/aque.service"],
            ),
            (UNIFIED, "0::/\n", Cgroups::Auto, &["/sys/fs/cgroup"]),
            (
                UNIFIED,
                "0::/system.slice/aque.service/aque-node\n",
                Cgroups::Auto,
                &["/sys/fs/cgroup/system.slice/aque.service"],
            ),
            (
                HYBRID,
                both,
                Cgroups::Auto,
                &[
                    "/sys/fs/cgroup/unified/user.slice/a:b.scope",
                    "/sys/fs/cgroup/freezer/user",
                ],
            ),
            (HYBRID, both, Cgroups::V1, &["/sys/fs/cgroup/freezer/user"]),
            (HYBRID, both, Cgroups::Off, &[]),
            (
                LEGACY,
                both,
                Cgroups::Auto,
                &["/sys/fs/cgroup/cpu,freezer/user"],
            ),
            (
                CONTAINER,
                nested,
                Cgroups::Auto,
                &["/sys/fs/cg two", "/sys/fs/cgroup/freezer/task"],
            ),
            // The own cgroup lies outside of what is mounted, or of what the namespace shows.
            (CONTAINER, "7:freezer:/else\n", Cgroups::Auto, &[]),
            (UNIFIED, "0::/../../neighbour\n", Cgroups::Auto, &[]),
            (UNIFIED, "7:freezer:/a\n", Cgroups::Auto, &[]),
        ];
        for (mountinfo, own, wish, expected) in rows {
            assert_eq!(found(mountinfo, own, wish), expected, "{own} {wish:?}");
        }
    }

    #[test]
    fn garbage_is_passed_over() {
        let garbage = "\n \n- - - -\n1 2 3 / /x rw -\n1 2 3 / /x rw - cgroup2\n\
                       1 2 3 rel /x rw - cgroup2 c rw\n1 2 3 / rel rw - cgroup2 c rw\n\
                       1 2 3 / /x rw - cgroup c\n1 2 3 / /x rw cgroup2 c rw\n\u{fffd}\\\n";
        let own = "\n:\n::\n0:/x\n0:: \n0::rel\n0:name=x:/y\nx";
        assert!(found(garbage, "0::/\n", Cgroups::Auto).is_empty());
        assert!(found(UNIFIED, own, Cgroups::Auto).is_empty());
        // What makes sense between it is found all the same.
        let (mounts, own) = (format!("{garbage}{UNIFIED}"), format!("{own}\n0::/a\n"));
        assert_eq!(found(&mounts, &own, Cgroups::V2), ["/sys/fs/cgroup/a"]);
        assert_eq!(path(b"/a\\04"), Some(PathBuf::from("/a\\04")));
        assert_eq!(path(b"/a\\999"), Some(PathBuf::from("/a\\999")));
        assert_eq!(path(b"/a\\134b"), Some(PathBuf::from("/a\\b")));
    }
}
