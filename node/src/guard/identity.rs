//! Who a user is on this machine, and becoming them for ever.
//!
//! Names are looked up in the machine's databases, which may take as long as a directory server does: for processes that nobody waits
//! for without a limit (the launcher, and those that look at file systems).

use std::io;

use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::protocol::{Latitude, Refusal};
use crate::users::{self, User};

/// A user and the groups that a run of theirs is in.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Who.
    pub(crate) user: User,
    /// The group as which they act.
    pub(crate) gid: u32,
    groups: Vec<u32>,
}

impl Identity {
    /// Finds out who goes by these names here.
    ///
    /// # Errors
    /// [`Refusal`]: nobody does, or the word that named them does not count that far.
    pub(crate) fn find(
        name: &str,
        group: Option<&str>,
        latitude: Latitude,
    ) -> Result<Self, Refusal> {
        let unknown = |error: io::Error| Refusal::Launcher(error.to_string());
        // A number is never taken for a name, whatever the databases do.
        let sound = users::check_name(name).is_ok();
        let user = User::named(name).map_err(unknown)?;
        let user = user.filter(|_| sound);
        let user = user.ok_or_else(|| Refusal::NoUser(name.to_owned()))?;
        if user.uid == 0 && latitude < Latitude::EvenRoot {
            return Err(Refusal::Root(name.to_owned()));
        }
        let groups = user.groups().map_err(unknown)?;
        let Some(group) = group else {
            let gid = user.gid;
            return Ok(Self { user, gid, groups });
        };
        let sound = users::check_name(group).is_ok();
        let gid = users::group_named(group).map_err(unknown)?;
        let gid = gid.filter(|_| sound);
        let gid = gid.ok_or_else(|| Refusal::NoGroup(group.to_owned()))?;
        if !groups.contains(&gid) && latitude < Latitude::AnyGroup {
            return Err(Refusal::NotInGroup {
                user: name.to_owned(),
                group: group.to_owned(),
            });
        }
        Ok(Self { user, gid, groups })
    }

    /// Gives up all rights of this process but this user's, for ever.
    ///
    /// # Errors
    /// [`Refusal::Become`]; some may be given up then: nothing is left to do but to end.
    pub(crate) fn assume(&self) -> Result<(), Refusal> {
        self.shed().map_err(|errno| Refusal::Become {
            user: self.user.name.clone(),
            errno: errno as i32,
        })
    }

    fn shed(&self) -> nix::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.user.uid), Gid::from_raw(self.gid));
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        if !uid.is_root() {
            // They go with the user id, but where the machine keeps them (securebits); those to be inherited stay anyhow.
            let none = CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            let dropped = set_capabilities(None, none);
            dropped.map_err(|errno| nix::errno::Errno::from_raw(errno.raw_os_error()))?;
        }
        let (users, groups) = (getresuid()?, getresgid()?);
        let is_user = [users.real, users.effective, users.saved] == [uid; 3];
        let is_group = [groups.real, groups.effective, groups.saved] == [gid; 3];
        if is_user && is_group {
            Ok(())
        } else {
            Err(nix::errno::Errno::EPERM)
        }
    }
}
