//! The guard: one small process beside each node that starts every run, and ends it.
//!
//! Why a process of its own: starting children from it costs the same whatever the node's size, and
//! it keeps its promises when the node is stopped, slow or dead.
//!
//! **What it promises** (rules G1 to G3 of the protocol):
//! - a run is started only if the guard itself sees its deadline lie ahead, with the timer armed
//!   before;
//! - at the deadline the run is killed, with everything that it started; nothing revives it;
//! - an end is reported only when nothing of the run lives: its cgroup, where it has one, could be removed (see `cgroup`), its
//!   process group is empty, and so is the list of strays that left the group (see `strays`);
//! - it outlives its node: when the node's end of the socket closes, runs go on until they end or
//!   their deadlines come, and then the guard exits. A node that comes back meanwhile finds it by
//!   `<data>/runs/guard` (see `door`) and is told of every run;
//! - an end is kept, in memory and on disk (see `records`), until a node has had it forgotten;
//! - when the guard itself is killed, the kernel kills the leaders of its runs (parent-death
//!   signal), and the next executor the rest (see `executor::leftovers`). A program that changes
//!   its user by itself loses that signal, as Linux has it;
//! - `<data>/guard.lock` is held as long as the guard lives.
//!
//! Two limits of the kernel are shown rather than hidden: a process of another user (`sudo`) or one
//! stuck in the kernel cannot be killed (the former can by root, and where there is `cgroup.kill`). Its run is not reported as ended, and [`Reply::Stuck`]
//! names it.
//!
//! Each run gets: a session and process group of its own, default signals, an empty signal mask,
//! descriptors 0 to 2 only, its working directory, its environment and nothing of the node's.
//!
//! Reading order: `protocol`, `server`, `door`, `records`, `run`, `deadlines`, `cgroup`, `strays`,
//! `plan`, `launcher` and `identity` (runs of other users, and with files for their streams), `sys`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::ValueEnum;
use rustix::process::{Pid, set_child_subreaper};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

pub(crate) mod cgroup;
mod deadlines;
pub(crate) mod door;
pub(crate) mod frame;
pub(crate) mod identity;
pub mod launcher;
mod link;
mod plan;
pub(crate) mod proc;
pub mod protocol;
pub(crate) mod records;
mod run;
mod server;
mod strays;
mod sys;
pub mod trees;

pub use frame::FrameError;
pub use protocol::{
    Bounds, Cause, Core, Ended, EnvId, Found, FoundState, How, Label, Latitude, Limited, Person,
    Refusal, Reply, Request, RunKey, Sink, StartRun, Stdin, Surroundings, Usage, Var,
};
pub(crate) use records::RECORDS_VERSION;
pub use trees::{Cgroups, Limiting, Trees, Way};

/// The verb under which a node starts its own program as a guard.
pub const VERB: &str = "guard";

/// The guard's whole life, for the hidden verb `aque-node guard RECORDS MARK CGROUPS`.
///
/// `args` are those after the verb. Standard input is the socket to the node, standard output the
/// locked `guard.lock`; a person who types this gets an error and nothing else.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let Some(orders) = orders(&args) else {
        return fail("the guard is started by aque-node itself");
    };
    match prepare(&orders).and_then(server::Server::work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("the guard cannot work: {error}")),
    }
}

/// What a node has its guard know before anything else.
struct Orders<'a> {
    records: &'a Path,
    mark: u64,
    cgroups: Cgroups,
}

fn orders(args: &[OsString]) -> Option<Orders<'_>> {
    let [records, mark, cgroups] = args else {
        return None;
    };
    Some(Orders {
        records: Path::new(records),
        mark: u64::from_str_radix(mark.to_str()?, 16).ok()?,
        cgroups: Cgroups::from_str(cgroups.to_str()?, false).ok()?,
    })
}

fn prepare(orders: &Orders<'_>) -> io::Result<server::Server> {
    let mark = orders.mark;
    sys::clean_slate()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(socket);
    socket.peer_addr()?;
    rustix::thread::set_name(c"aque-guard")?;
    set_child_subreaper(Some(Pid::INIT))?;
    let children = signals()?;
    let door = door::Door::open(orders.records)?;
    let (records, kept) = records::Records::open(orders.records, mark)?;
    let null: OwnedFd = File::open("/dev/null")?.into();
    // Or the node would not see the socket closed.
    rustix::stdio::dup2_stdin(&null)?;
    let mut shot = sys::Shot::new(null.as_raw_fd());
    // Open as long as the process: every run's input.
    std::mem::forget(null);
    let home = home(orders, &mut shot)?;
    let limits = match &home {
        Ok(home) => cgroup::Limits::open(home, orders.mark),
        Err(Way::Off) => cgroup::Limits::none("--cgroups is off"),
        Err(_) => cgroup::Limits::none("no cgroup can be made"),
    };
    let cgroups = home.as_ref().ok().map(|home| home.base().clone());
    let deadlines = deadlines::Deadlines::new(shot.pid(), cgroups)?;
    let link = link::Link::new(socket)?;
    let tools = server::Tools {
        door,
        children,
        deadlines,
        shot,
        records,
        home,
        limits,
    };
    server::Server::new(link, tools, kept, mark)
}

/// The place of the runs' cgroups; or what is done without.
fn home(orders: &Orders<'_>, shot: &mut sys::Shot) -> io::Result<Result<cgroup::Home, Way>> {
    if orders.cgroups == Cgroups::Off {
        return Ok(Err(Way::Off));
    }
    let home = cgroup::Home::open(shot, orders.cgroups, orders.mark, orders.records)?;
    Ok(home.map_err(|why| Way::Walk { why }))
}

/// Lets the end of children be heard, and nothing else disturb: an interrupt at the terminal is for
/// the node to understand.
fn signals() -> io::Result<UnixStream> {
    let (hear, tell) = UnixStream::pair()?;
    hear.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, tell)?;
    for signo in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        // A handler, not "ignore": that would be inherited by the runs.
        signal_hook::flag::register(signo, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(hear)
}

fn fail(text: &str) -> ExitCode {
    // Without a reader there is nobody to tell.
    let _told = writeln!(std::io::stderr(), "aque-node guard: {text}");
    ExitCode::from(2)
}
