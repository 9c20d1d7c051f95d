//! The look: a small process that looks at file systems in a node's place.
//!
//! A file system that does not answer (a dead mount) holds whoever asks it, for ever and beyond the reach of signals. Neither a node
//! nor its guard must be held, so this process asks, says which path it is about to look at, and is given up if it says no more. It
//! changes nothing.
//!
//! First it is told with whose [`Eyes`] to look. Then questions are [`Place`]s, answers [`Word`]s, as frames over the socket that is its
//! standard input. With another user's eyes it is that user, and for ever: it sees what the user's task would, and tells nothing else.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crdt::fit::{ROOT, RunsAs};
use crdt::places::Place;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::guard::frame::{Decoder, FrameError, encode};
use crate::guard::identity::Identity;
use crate::guard::protocol::{Latitude, Refusal, errno_text};

/// The hidden verb under which a node starts its own program for a look.
pub const VERB: &str = "look";

/// With whose rights it looks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Eyes {
    /// Those with which it was started.
    Own,
    /// Those of this user and, if it is not empty, this group, by name.
    Of(String, String),
}

impl Eyes {
    /// Returns those for a place, on a host that can run tasks so.
    pub(crate) fn on(place: &Place, runs_as: &RunsAs) -> Self {
        let is_own = place.user == ROOT && place.group.is_empty();
        match runs_as {
            RunsAs::Anyone if !is_own => Self::Of(place.user.clone(), place.group.clone()),
            RunsAs::Anyone | RunsAs::One(_) => Self::Own,
        }
    }

    /// Makes this process look so from now on.
    ///
    /// # Errors
    /// Nobody can here as things are; what a start says of that tells more.
    fn assume(&self) -> Result<(), Refusal> {
        let Self::Of(user, group) = self else {
            return Ok(());
        };
        let group = Some(group.as_str()).filter(|group| !group.is_empty());
        Identity::find(user, group, Latitude::Ordinary)?.assume()
    }
}

/// What the process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// It is about to look at this path.
    Looking(Vec<u8>),
    /// All of the place is there; or what is not, for people.
    Found(Result<(), String>),
}

/// The process's whole life: it answers questions until there are no more.
///
/// `args` are those after the verb; there are none.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let answered = match args.into_iter().next() {
        None => answer_all(),
        Some(_) => Err("it takes no arguments".into()),
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a reader there is nobody to tell.
            let _told = writeln!(io::stderr(), "aque-node look: {error}");
            ExitCode::from(2)
        }
    }
}

fn answer_all() -> Result<(), Box<dyn std::error::Error>> {
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut socket = UnixStream::from(socket);
    socket.peer_addr()?;
    let mut decoder = Decoder::default();
    let Some(eyes) = next::<Eyes>(&mut socket, &mut decoder)? else {
        return Ok(());
    };
    if let Eyes::Of(user, _) = &eyes {
        say(&mut socket, &Word::Looking(format!("user {user}").into()))?;
    }
    let assumed = eyes.assume();
    while let Some(place) = next::<Place>(&mut socket, &mut decoder)? {
        let found = match &assumed {
            Ok(()) => look(&place, |path| {
                say(&mut socket, &Word::Looking(path.to_vec()))
            })?,
            Err(_nobody) => Ok(()),
        };
        say(&mut socket, &Word::Found(found))?;
    }
    Ok(())
}

/// Returns what comes next; `None` if nothing does any more.
fn next<T: DeserializeOwned>(
    socket: &mut UnixStream,
    decoder: &mut Decoder,
) -> Result<Option<T>, Box<dyn std::error::Error>> {
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(message) = decoder.next()? {
            return Ok(Some(message));
        }
        match socket.read(&mut buffer)? {
            0 => return Ok(None),
            bytes => decoder.push(&buffer[..bytes]),
        }
    }
}

fn say(socket: &mut UnixStream, word: &Word) -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    encode(word, &mut bytes).map_err(|error: FrameError| error.to_string())?;
    Ok(socket.write_all(&bytes)?)
}

/// What is looked at of one path.
#[derive(Clone, Copy, Debug)]
enum About {
    Directory,
    Input,
    Output,
}

/// Looks at one path after the other, the directory first, and goes there.
fn look<E>(
    place: &Place,
    mut about_to: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Result<(), String>, E> {
    let cwd = std::iter::once((&place.cwd, About::Directory));
    let reads = place.reads.iter().map(|path| (path, About::Input));
    let writes = place.writes.iter().map(|path| (path, About::Output));
    for (path, about) in cwd.chain(reads).chain(writes) {
        about_to(&path.0)?;
        if let Err(why) = look_at(Path::new(OsStr::from_bytes(&path.0)), about) {
            return Ok(Err(why));
        }
    }
    Ok(Ok(()))
}

fn look_at(path: &Path, about: About) -> Result<(), String> {
    match about {
        About::Directory => {
            std::env::set_current_dir(path).map_err(|error| wrong(path, "entered", &error))
        }
        About::Input => may_be_read(path),
        About::Output => may_be_written(path),
    }
}

fn may_be_read(path: &Path) -> Result<(), String> {
    let failed = |error: &io::Error| wrong(path, "read", error);
    let kind = fs::metadata(path)
        .map_err(|error| failed(&error))?
        .file_type();
    if kind.is_file() || kind.is_dir() {
        // What may be opened is not told by modes alone, on a network file system least of all.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let opened = open(path, flags, Mode::empty());
        return opened
            .map(|file| drop(File::from(file)))
            .map_err(|errno| failed(&errno.into()));
    }
    // Who opens a pipe waits for whoever opens its other end: that is the run's to do.
    allows(path, Access::READ_OK).map_err(|error| failed(&error))
}

/// A file that is there, or that can be made.
fn may_be_written(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(_) => {
            let allowed = allows(path, Access::WRITE_OK);
            allowed.map_err(|error| wrong(path, "written", &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            let parent = parent.map_or_else(|| PathBuf::from("."), Path::to_owned);
            let allowed = allows(&parent, Access::WRITE_OK | Access::EXEC_OK);
            allowed.map_err(|error| wrong(&parent, "written", &error))
        }
        Err(error) => Err(wrong(path, "written", &error)),
    }
}

fn allows(path: &Path, access: Access) -> io::Result<()> {
    Ok(accessat(CWD, path, access, AtFlags::EACCESS)?)
}

fn wrong(path: &Path, what: &str, error: &io::Error) -> String {
    let path = path.display();
    match error.raw_os_error() {
        Some(libc::ENOENT) => format!("{path} is not there"),
        Some(libc::EACCES) => format!("{path} may not be {what}"),
        Some(libc::ENOTDIR) => format!("{path} is not a directory, or lies in none"),
        Some(errno) => format!("{path}: {}", errno_text(errno)),
        None => format!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{FileType, mknodat};

    use super::*;

    /// What is found at a path below a directory, without going anywhere.
    fn found(path: &Path, about: About) -> String {
        look_at(path, about).map_or_else(|why| why, |()| String::new())
    }

    #[test]
    fn what_is_missing_is_told_by_its_path() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::write(at("file"), "text").unwrap();
        fs::create_dir(at("dir")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let told = |name: &str, what: &str| format!("{} {what}", at(name).display());
        let gone = "is not there";
        let rows = [
            ("dir", About::Input, String::new()),
            ("file", About::Input, String::new()),
            ("file", About::Output, String::new()),
            ("new", About::Output, String::new()),
            ("gone", About::Input, told("gone", gone)),
            ("gone", About::Directory, told("gone", gone)),
            ("gone/new", About::Output, told("gone", gone)),
            ("pipe", About::Input, String::new()),
            ("pipe", About::Output, String::new()),
            (
                "pipe",
                About::Directory,
                told("pipe", "is not a directory, or lies in none"),
            ),
            (
                "file",
                About::Directory,
                told("file", "is not a directory, or lies in none"),
            ),
        ];
        for (name, about, expected) in rows {
            assert_eq!(found(&at(name), about), expected, "{name} {about:?}");
        }
        assert_eq!(found(Path::new("/dev/null"), About::Input), "");
        assert_eq!(found(Path::new("/dev/null"), About::Output), "");
        if !rustix::process::geteuid().is_root() {
            fs::set_permissions(at("file"), fs::Permissions::from_mode(0o000)).unwrap();
            let told = told("file", "may not be read");
            assert_eq!(found(&at("file"), About::Input), told);
        }
    }

    #[test]
    fn eyes_table() {
        let place = |user: &str, group: &str| Place {
            user: user.to_owned(),
            group: group.to_owned(),
            cwd: "/".into(),
            reads: Vec::new(),
            writes: Vec::new(),
        };
        let of = |user: &str, group: &str| Eyes::Of(user.to_owned(), group.to_owned());
        let anns = RunsAs::One("ann".to_owned());
        for (user, group, eyes) in [
            ("root", "", Eyes::Own),
            ("ann", "", of("ann", "")),
            ("ann", "video", of("ann", "video")),
            ("root", "video", of("root", "video")),
        ] {
            assert_eq!(Eyes::on(&place(user, group), &RunsAs::Anyone), eyes);
            assert_eq!(Eyes::on(&place(user, group), &anns), Eyes::Own);
        }
    }

    #[test]
    fn each_path_is_named_before_it_is_looked_at() {
        let place = Place {
            user: "ann".to_owned(),
            group: String::new(),
            cwd: "/".into(),
            reads: vec!["/dev/null".into(), "/no/such/path".into(), "/dev".into()],
            writes: vec!["x".into()],
        };
        let mut named = Vec::new();
        let found = look(&place, |path| {
            named.push(String::from_utf8_lossy(path).into_owned());
            Ok::<(), ()>(())
        });
        assert_eq!(found, Ok(Err("/no/such/path is not there".to_owned())));
        assert_eq!(named, ["/", "/dev/null", "/no/such/path"]);
    }
}
