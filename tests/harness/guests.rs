//! Other users of this machine: those that every system has. Tests that are root become them; where they are not, these say so and
//! are skipped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use node::users::User;

use crate::lan::skip;
use crate::programs::programs;

/// A user who is not root, and programs that this user can reach.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Who.
    pub user: User,
    bin: PathBuf,
}

impl Guest {
    /// Returns the user with this name, for whom the programs are put below `dir`, through which everybody may pass from then on; `None`,
    /// with the reason on standard error, where this process cannot become another.
    ///
    /// # Panics
    /// If that is not possible although this is root in continuous integration (`CI=true`).
    #[must_use]
    pub fn named(name: &str, dir: &Path) -> Option<Self> {
        let found = User::named(name).expect("users can be looked up");
        let user = match found {
            Some(user) if rustix::process::geteuid().is_root() => user,
            Some(_) => {
                skip("to become another user", "this is not root");
                return None;
            }
            None => {
                skip("to become another user", &format!("there is no {name}"));
                return None;
            }
        };
        open(dir, 0o711);
        let bin = dir.join("bin");
        fs::create_dir_all(&bin).expect("a directory can be made");
        open(&bin, 0o755);
        for program in [&programs().aque, &programs().node] {
            let place = bin.join(program.file_name().expect("a program has a name"));
            let made = place.exists() || fs::hard_link(program, &place).is_ok();
            if !made {
                fs::copy(program, &place).expect("a program can be copied");
            }
        }
        Some(Self { user, bin })
    }

    /// Returns somebody else with the same programs: one whom this machine's databases need not know.
    #[must_use]
    pub fn with(&self, user: User) -> Self {
        let bin = self.bin.clone();
        Self { user, bin }
    }

    /// Returns the client.
    pub(crate) fn aque(&self) -> PathBuf {
        self.bin.join("aque")
    }

    /// Returns the daemon.
    pub(crate) fn node(&self) -> PathBuf {
        self.bin.join("aque-node")
    }

    /// Has a command run as this user, in no further group.
    pub(crate) fn own(&self, command: &mut Command) {
        command.uid(self.user.uid).gid(self.user.gid);
    }

    /// Gives a directory and what lies in it to this user.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn give(&self, dir: &Path) {
        let (uid, gid) = (Some(self.user.uid), Some(self.user.gid));
        std::os::unix::fs::chown(dir, uid, gid).expect("root may give");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.for_each(|entry| self.give(&entry.path()));
    }
}

fn open(dir: &Path, mode: u32) {
    fs::set_permissions(dir, Permissions::from_mode(mode)).expect("modes can be set");
}
