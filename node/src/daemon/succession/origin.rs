//! Where the program that runs was started from, and with which words: what a person would type to start it again.
//!
//! The kernel knows the file (`/proc/self/exe`), not the name by which it was found: a name may be a link that an upgrade turns
//! to another file. So the name of the command line is kept if it led to this very file at the start.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// The kernel's name for the file that runs, whatever has become of it.
pub(in crate::daemon) const THIS: &str = "/proc/self/exe";
/// What the kernel puts behind the name of a file that is gone.
const GONE: &[u8] = b" (deleted)";

/// A program's name, and how it was called.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Origin {
    path: PathBuf,
    name: OsString,
    /// Words before the node's own, where the program is also something else.
    before: Vec<OsString>,
    words: Vec<OsString>,
}

impl Origin {
    /// Finds where this program was started from; to be called early. `words` are the last of its arguments, those for the node.
    ///
    /// # Errors
    /// The kernel's: there is no `/proc`.
    pub(in crate::daemon) fn find(words: Vec<OsString>) -> io::Result<Self> {
        let mut all = std::env::args_os();
        let name = all.next().unwrap_or_default();
        let mut before: Vec<OsString> = all.collect();
        before.truncate(before.len().saturating_sub(words.len()));
        let path = match named(&name).find(|path| is_this(path)) {
            Some(path) => path,
            None => alive(std::env::current_exe()?),
        };
        Ok(Self {
            path,
            name,
            before,
            words,
        })
    }

    /// Where it was started from.
    pub(in crate::daemon) fn path(&self) -> &Path {
        &self.path
    }

    /// What starts the program of that place as this one was started.
    pub(in crate::daemon) fn again(&self) -> std::process::Command {
        self.call(&self.path, None)
    }

    /// What starts this very program again, also if its file is gone.
    pub(in crate::daemon) fn this(&self) -> std::process::Command {
        self.call(Path::new(THIS), None)
    }

    /// What asks the program of that place something about a start like this one's.
    pub(in crate::daemon) fn asking(&self, verb: &str) -> std::process::Command {
        self.call(&self.path, Some(verb))
    }

    fn call(&self, program: &Path, verb: Option<&str>) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command.arg0(&self.name).args(&self.before);
        command.args(verb).args(&self.words);
        command
    }
}

/// The files that the first word of a command line may mean, in the order of looking.
fn named(word: &OsStr) -> impl Iterator<Item = PathBuf> + use<> {
    let has_place = word.as_bytes().contains(&b'/');
    let search = std::env::var_os("PATH").filter(|_| !has_place && !word.is_empty());
    let direct = has_place.then(|| PathBuf::from(word));
    let word = word.to_owned();
    let places: Vec<PathBuf> = search
        .iter()
        .flat_map(std::env::split_paths)
        .map(|place| place.join(&word))
        .collect();
    let all = direct.into_iter().chain(places);
    all.filter_map(|path| std::path::absolute(path).ok())
        .filter(|path| !path.starts_with("/proc"))
}

fn is_this(path: &Path) -> bool {
    let file = |path: &Path| {
        std::fs::metadata(path)
            .ok()
            .map(|meta| (meta.dev(), meta.ino()))
    };
    file(path).is_some_and(|found| Some(found) == file(Path::new(THIS)))
}

/// The name that a file had before it was removed or replaced.
fn alive(path: PathBuf) -> PathBuf {
    if path.exists() {
        return path;
    }
    let mut bytes = path.into_os_string().into_vec();
    if bytes.ends_with(GONE) {
        bytes.truncate(bytes.len() - GONE.len());
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_name_that_leads_here_is_kept_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &link).unwrap();
        assert!(is_this(&link));
        assert_eq!(named(link.as_os_str()).collect::<Vec<_>>(), [link]);
        assert!(!is_this(Path::new("/bin/sh")));
        let found: Vec<PathBuf> = named(OsStr::new("sh"))
            .filter(|path| path.exists())
            .collect();
        assert!(found.iter().all(|path| path.ends_with("sh")) && !found.is_empty());
        assert_eq!(named(OsStr::new(THIS)).count(), 0);
        assert_eq!(named(OsStr::new("")).count(), 0);
    }

    #[test]
    fn a_file_that_is_gone_has_its_name_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("odd (deleted)");
        std::fs::write(&odd, "").unwrap();
        assert_eq!(alive(odd.clone()), odd);
        std::fs::remove_file(&odd).unwrap();
        assert_eq!(alive(odd), dir.path().join("odd"));
    }

    #[test]
    fn it_is_called_as_before() {
        let all: Vec<OsString> = std::env::args_os().skip(1).collect();
        let origin = Origin::find(all.clone()).unwrap();
        assert!(is_this(origin.path()), "{origin:?}");
        assert_eq!(origin.again().get_args().collect::<Vec<_>>(), all);
        let asking = origin.asking("formats");
        assert_eq!(asking.get_args().next(), Some(OsStr::new("formats")));
        assert_eq!(asking.get_args().count(), all.len() + 1);
        assert_eq!(origin.this().get_program(), THIS);
    }
}
