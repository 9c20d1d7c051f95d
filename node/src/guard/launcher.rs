//! The launcher: a process that becomes a run of another user than the guard's, or one that names files for its streams.
//!
//! The guard starts it as it starts any run, and it executes the run's program in its own place, so the process that the guard
//! watches is the run from the beginning. Between the two, as root, it looks up who the user is, opens what is the node's, and
//! gives up all other rights; then, with the user's rights alone, it enters the directory and opens the files that the task names. A
//! process of its own, since much of that may take long, and is in the hands of the user or of a directory server: a file system
//! that does not answer, a signal that stops it. None of it holds up the guard, whose runs all have deadlines to be kept.
//!
//! Who opens a pipe with a name waits for whoever opens its other end, as in a shell. The run has begun by then: what ends any run ends it
//! (a person, its time, its lease), and nothing else does. What goes wrong after that is told on its standard error, by the status of a shell.
//!
//! What it is to do comes in a file without a name, as its input. On its output, a pipe, it says one byte when nothing is left to do
//! but to execute, and then, or instead, a [`Refusal`] if it cannot; the pipe is closed by the execution. It has no
//! environment: the run's is nothing to trust before its rights are the run's.
//!
//! Capabilities go with the user id. What the kernel is not asked for is that a run cannot get other rights (`no_new_privs`):
//! `sudo` works in tasks.

use std::convert::Infallible;
use std::ffi::{CStr, OsStr};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::plan::{self, Environments};
use super::proc::Mark;
use super::protocol::{Person, Refusal, Sink, StartRun, Stdin, Surroundings, Var};
use super::sys::{self, Input, Output, Step};
use crate::users::User;

/// The verb under which a guard starts its own program as a launcher.
pub const VERB: &str = "launch";
/// The same as the kernel takes it.
pub(super) const VERB_TEXT: &CStr = c"launch";

/// Names the file in which a run says how far it is.
pub(crate) const PROGRESS_VAR: &str = "AQUE_PROGRESS";

/// Exit status of one that could tell nothing.
const SILENT: u8 = 126;

/// The longest refusal that is told in full, bytes: a pipe takes it at once.
const REFUSAL_BYTES: usize = 4 << 10;

/// What a launcher is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Errand {
    /// The guard's order.
    pub(super) order: StartRun,
    /// The variables that its environment's number stands for.
    pub(super) vars: Vec<Var>,
    /// What marks its processes.
    pub(super) mark: Mark,
    /// The guard's process.
    pub(super) guard: i32,
}

/// The launcher's whole life, for the hidden verb `aque-node launch`. A person who types this gets an error and nothing else.
pub fn main() -> ExitCode {
    let Some(errand) = errand() else {
        return super::fail("the launcher is started by a guard alone");
    };
    let mut status = match status() {
        Ok(status) => Some(status),
        Err(_lost) => return ExitCode::from(SILENT),
    };
    let Err(why) = launch(errand, &mut status);
    let Some(mut status) = status else {
        // Whoever reads what the run says may have gone.
        let _told = writeln!(io::stderr(), "aque-node: {why}");
        return ExitCode::from(shell_status(&why));
    };
    // A guard that hears nothing knows that nothing was executed.
    let told = status.write_all(&encoded(&why));
    ExitCode::from(if told.is_ok() { 127 } else { SILENT })
}

/// The exit status with which a shell tells that it executed nothing.
fn shell_status(why: &Refusal) -> u8 {
    match why {
        Refusal::Program { errno, .. } if *errno == libc::ENOENT => 127,
        _ => 126,
    }
}

fn errand() -> Option<Errand> {
    let mut bytes = Vec::new();
    let input = io::stdin();
    let is_file = rustix::fs::fstat(&input).is_ok_and(|about| about.st_nlink == 0);
    if !is_file {
        return None;
    }
    input.lock().read_to_end(&mut bytes).ok()?;
    postcard::from_bytes(&bytes).ok()
}

/// The pipe to the guard, where executing closes it.
fn status() -> io::Result<File> {
    let pipe: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    Ok(pipe.into())
}

fn encoded(why: &Refusal) -> Vec<u8> {
    let bytes = postcard::to_stdvec(why).unwrap_or_default();
    if bytes.len() <= REFUSAL_BYTES {
        return bytes;
    }
    let short = Refusal::Launcher("a name that is too long is not there".to_owned());
    postcard::to_stdvec(&short).unwrap_or_default()
}

/// Becomes the run, or says why not: in words on `status`, as long as that is there.
fn launch(errand: Errand, status: &mut Option<File>) -> Result<Infallible, Refusal> {
    let Errand {
        mut order,
        vars,
        mark,
        guard,
    } = errand;
    let whose = match order.person.clone() {
        Some(person) => {
            let group = person.group.as_deref();
            let identity = Identity::find(&person.user, group, person.latitude)?;
            add_surroundings(&mut order, &vars, &person, &identity.user);
            Some((identity, person))
        }
        None => None,
    };
    let environments = Environments::of(order.env, &vars);
    let mut plan = environments.plan(&order, mark)?;
    // The guard's child has it already.
    plan.nice = 0;
    if let Some((identity, person)) = &whose {
        open_the_nodes(&order, &mut plan)?;
        make_files(&person.files, identity);
    }
    let null = File::open("/dev/null").map_err(|error| launcher(&error))?;
    // What the databases left open is not the run's, nor what they did to signals.
    sys::clean_slate().map_err(|error| launcher(&error))?;
    if let Some((identity, _)) = &whose {
        identity.assume()?;
    }
    if names_pipe(&order)?
        && let Some(mut status) = status.take()
    {
        let told = status.write_all(b"x");
        drop(status);
        // It is this process's output as well, until the run's is opened.
        let closed = told.and_then(|()| Ok(rustix::stdio::dup2_stdout(&null)?));
        closed.map_err(|error| launcher(&error))?;
        open_pipes(&order, &mut plan)?;
    }
    let status = status.as_ref().map(AsRawFd::as_raw_fd);
    let fault = sys::become_program(&plan, null.as_raw_fd(), guard, status);
    Err(plan::refusal(&order, fault))
}

/// Opens for another user's run what is the node's.
fn open_the_nodes(order: &StartRun, plan: &mut sys::Plan) -> Result<(), Refusal> {
    if let Some(file) = held(&order.stdout)? {
        plan.stdout = Output::Open(file);
    }
    if plan.stderr.is_some()
        && let Some(file) = held(&order.stderr)?
    {
        plan.stderr = Some(Output::Open(file));
    }
    if let Stdin::Stored(path) = &order.stdin {
        plan.stdin = Input::Open(stored(path)?);
    }
    Ok(())
}

/// Enters the directory, and looks whether any of the files that the task names for its streams is a pipe.
fn names_pipe(order: &StartRun) -> Result<bool, Refusal> {
    let cwd = Path::new(OsStr::from_bytes(&order.cwd));
    std::env::set_current_dir(cwd).map_err(|error| Refusal::Cwd {
        path: cwd.to_string_lossy().into_owned(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })?;
    Ok(order.named_files().any(is_pipe))
}

fn is_pipe(path: &Path) -> bool {
    let about = path.metadata();
    about.is_ok_and(|about| about.file_type().is_fifo())
}

/// Opens the pipes that the task names for its streams, however long that takes, and says meanwhile for which it waits: where the run
/// says how far it is.
fn open_pipes(order: &StartRun, plan: &mut sys::Plan) -> Result<(), Refusal> {
    let said = order
        .extra
        .iter()
        .find(|var| var.0 == PROGRESS_VAR.as_bytes());
    let said = said.map(|var| Path::new(OsStr::from_bytes(&var.1)));
    // One that cannot say it waits all the same.
    let say = |text: &str| drop(said.map(|at| std::fs::write(at, text)));
    let waits_for = |path: &Path| say(&format!("waits for the other end of {}\n", path.display()));
    if let Stdin::File(path) = &order.stdin
        && let path = Path::new(OsStr::from_bytes(path))
        && is_pipe(path)
    {
        waits_for(path);
        plan.stdin = Input::Open(
            File::open(path)
                .map_err(|error| not_read(path, &error))?
                .into(),
        );
    }
    let errors = plan.stderr.as_mut().map(|to| (&order.stderr, to));
    for (sink, to) in std::iter::once((&order.stdout, &mut plan.stdout)).chain(errors) {
        if let Sink::File(path) = sink
            && is_pipe(path)
        {
            waits_for(path);
            let opened = OpenOptions::new().write(true).open(path);
            *to = Output::Open(opened.map_err(|error| not_written(path, &error))?.into());
        }
    }
    say("");
    Ok(())
}

fn launcher(error: &io::Error) -> Refusal {
    Refusal::Launcher(error.to_string())
}

/// Lets a run find who it is and where it is at home, where its variables do not say so, or say so of somebody else.
fn add_surroundings(order: &mut StartRun, vars: &[Var], person: &Person, user: &User) {
    let own: [(&[u8], &[u8]); 4] = [
        (b"HOME", user.home.as_os_str().as_bytes()),
        (b"USER", user.name.as_bytes()),
        (b"LOGNAME", user.name.as_bytes()),
        (b"SHELL", user.shell.as_os_str().as_bytes()),
    ];
    for (name, value) in own {
        let stated = order.extra.iter().any(|var| var.0 == name);
        let given = vars.iter().any(|var| var.0 == name);
        let kept = stated || given && person.surroundings == Surroundings::Own;
        if !kept {
            order.extra.push((name.to_vec(), value.to_vec()));
        }
    }
}

/// Opens an output that the node keeps; one that the task names is opened later, with the rights of its user.
///
/// It stays the node's, in a directory that nobody else enters; but a run may open again by its descriptor's name, such as
/// `/dev/stdout`, what it may write to anyhow.
fn held(sink: &Sink) -> Result<Option<OwnedFd>, Refusal> {
    let Sink::Captured(path) = sink else {
        return Ok(None);
    };
    let opened = || {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        file.set_len(0)?;
        file.set_permissions(Permissions::from_mode(0o622))?;
        Ok(file)
    };
    let file = opened().map_err(|error| not_written(path, &error))?;
    Ok(Some(file.into()))
}

/// Opens an input that the node keeps. The run may open it again by its descriptor's name, to read and no more.
fn stored(path: &Path) -> Result<OwnedFd, Refusal> {
    let opened = || {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        Ok(file)
    };
    let file = opened().map_err(|error| not_read(path, &error))?;
    Ok(file.into())
}

fn not_read(path: &Path, error: &io::Error) -> Refusal {
    Refusal::Stdin {
        path: path.to_string_lossy().into_owned(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

fn not_written(path: &Path, error: &io::Error) -> Refusal {
    Refusal::Output {
        path: path.to_string_lossy().into_owned(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Makes the files in which the run may say something. One that cannot be made is no reason not to run.
fn make_files(paths: &[PathBuf], identity: &Identity) {
    let (uid, gid) = (Some(identity.user.uid), Some(identity.gid));
    for path in paths {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        if let Ok(file) = options.open(path) {
            let _given = std::os::unix::fs::fchown(&file, uid, gid);
        }
    }
}

/// Says why a guard's child did not become a launcher.
pub(super) fn unlaunched(fault: sys::Fault) -> Refusal {
    let errno = fault.errno;
    match fault.step {
        Step::Clone | Step::Group | Step::Parent => Refusal::Process { errno },
        Step::Deadline => Refusal::DeadlinePassed,
        Step::Cwd | Step::Stdin | Step::Stdout | Step::Stderr | Step::Exec => {
            launcher(&io::Error::from_raw_os_error(errno))
        }
    }
}
