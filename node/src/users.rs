//! Users and groups of this machine, by name: what its databases say (files, LDAP, whatever `nsswitch.conf` names).
//!
//! A look-up may take as long as a directory server does: call these on a thread that may block.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use crdt::entry::Beat;
use crdt::fit::{ROOT, RunsAs, is_number};
use nix::unistd;
use rustix::thread::CapabilitySet;

/// Where the kernel takes an id for none: who is given it keeps what they are, be it root. The C library makes it of every number that
/// is too great for an id, or below zero.
const NO_ID: u32 = u32::MAX;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What the databases call them.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// The primary group's id.
    pub gid: u32,
    /// Where they are at home.
    pub home: PathBuf,
    /// Their shell.
    pub shell: PathBuf,
}

/// Why a name cannot be that of a user or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// There is none.
    #[error("a name is missing")]
    Empty,
    /// It is a number.
    #[error("give the name: a number may be somebody else on another host")]
    Number,
    /// It has what no name has.
    #[error("a name has at most 256 bytes, no ':' and no control characters")]
    Strange,
}

impl User {
    /// Returns the user with this name, if there is one whom a process can become.
    ///
    /// # Errors
    /// The databases cannot be asked.
    pub fn named(name: &str) -> io::Result<Option<Self>> {
        let found = unistd::User::from_name(name)?.map(|user| Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
            shell: user.shell,
        });
        Ok(found.filter(|user| user.uid != NO_ID && user.gid != NO_ID))
    }

    /// Returns the groups that they are in, the primary one among them.
    ///
    /// # Errors
    /// The databases cannot be asked.
    pub fn groups(&self) -> io::Result<Vec<u32>> {
        let name = CString::new(self.name.as_str())?;
        let groups = unistd::getgrouplist(&name, unistd::Gid::from_raw(self.gid))?;
        let groups = groups.into_iter().map(unistd::Gid::as_raw);
        Ok(groups.filter(|gid| *gid != NO_ID).collect())
    }

    /// Returns the name of the group as which they came, if that is not their own but one that they may take: `newgrp`, `sg` or a
    /// service with a group of its own did so.
    ///
    /// # Errors
    /// The databases cannot be asked.
    pub fn changed_group(&self, gid: u32) -> io::Result<Option<String>> {
        if gid == self.gid || self.uid != 0 && !self.groups()?.contains(&gid) {
            return Ok(None);
        }
        let Some(found) = unistd::Group::from_gid(unistd::Gid::from_raw(gid))? else {
            return Ok(None);
        };
        let leads_back = check_name(&found.name).is_ok() && group_named(&found.name)? == Some(gid);
        Ok(leads_back.then_some(found.name))
    }
}

/// Returns the id of the group with this name, if there is one that a process can take.
///
/// # Errors
/// The databases cannot be asked.
pub fn group_named(name: &str) -> io::Result<Option<u32>> {
    let found = unistd::Group::from_name(name)?;
    let gid = found.map(|group| group.gid.as_raw());
    Ok(gid.filter(|gid| *gid != NO_ID))
}

/// Returns a user's name, or the number where there is none, or where that name is another user's, too: whoever goes by a name is
/// looked up by it.
#[must_use]
pub fn name_of(uid: u32) -> String {
    let found = unistd::User::from_uid(unistd::Uid::from_raw(uid));
    let name = found.ok().flatten().map(|user| user.name);
    let leads_back = |name: &String| {
        let named = User::named(name).ok().flatten();
        named.is_some_and(|user| user.uid == uid)
    };
    let name = name.filter(|name| check_name(name).is_ok() && leads_back(name));
    name.unwrap_or_else(|| match uid {
        0 => ROOT.to_owned(),
        _ => uid.to_string(),
    })
}

/// Checks whether a text can be the name of a user or of a group.
///
/// # Errors
/// [`BadName`].
pub fn check_name(name: &str) -> Result<(), BadName> {
    let strange = |c: char| c == ':' || c.is_control();
    match name {
        "" => Err(BadName::Empty),
        _ if is_number(name) => Err(BadName::Number),
        _ if name.len() > Beat::USER_BYTES || name.contains(strange) => Err(BadName::Strange),
        _ => Ok(()),
    }
}

/// Returns as whom this process can run tasks: root as anybody, if it has not been denied that.
#[must_use]
pub fn runs_as() -> RunsAs {
    let own = rustix::process::geteuid();
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    let able = rustix::thread::capabilities(None);
    let able = able.is_ok_and(|sets| sets.effective.contains(needed));
    if own.is_root() && able {
        RunsAs::Anyone
    } else {
        RunsAs::One(name_of(own.as_raw()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn users_are_found_by_name_and_named_by_number() {
        let root = User::named("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups().unwrap().contains(&0));
        assert_eq!(name_of(0), "root");
        let nobody = User::named("nobody").unwrap().unwrap();
        assert_eq!(name_of(nobody.uid), "nobody");
        assert!(nobody.groups().unwrap().contains(&nobody.gid));
        assert_eq!(group_named("root").unwrap(), Some(0));
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        for name in ["no-such-user-here", "", "a\0b", "root:x"] {
            assert_eq!(User::named(name).unwrap(), None, "{name}");
            assert_eq!(group_named(name).unwrap(), None, "{name}");
        }
        assert_eq!(name_of(4_294_000_000), "4294000000");
        assert_eq!(name_of(NO_ID), "4294967295");
    }

    #[test]
    fn a_group_is_changed_to_by_those_who_may() {
        let root = User::named("root").unwrap().unwrap();
        let nobody = User::named("nobody").unwrap().unwrap();
        let (daemon, none) = (group_named("daemon").unwrap().unwrap(), 4_294_000_000);
        let changed = |user: &User, gid| user.changed_group(gid).unwrap();
        assert_eq!(changed(&root, daemon).as_deref(), Some("daemon"));
        for (user, gid) in [
            (&root, root.gid),
            (&root, none),
            (&root, NO_ID),
            (&nobody, nobody.gid),
            (&nobody, daemon),
        ] {
            assert_eq!(changed(user, gid), None, "{} {gid}", user.name);
        }
    }

    #[test]
    fn names_table() {
        for name in ["ann", "www-data", "DOMAIN\\ann", "ann@x.org", "4711a"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = "x".repeat(257);
        for (name, why) in [
            ("", BadName::Empty),
            ("0", BadName::Number),
            ("1000", BadName::Number),
            ("a:b", BadName::Strange),
            ("a\nb", BadName::Strange),
            (long.as_str(), BadName::Strange),
        ] {
            assert_eq!(check_name(name), Err(why), "{name}");
        }
    }
}
