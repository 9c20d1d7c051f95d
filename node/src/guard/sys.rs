//! The system calls that no crate offers safely: all unsafe code of this package but one
//! line in `clock`.
//!
//! A child is made by `clone(CLONE_VM | CLONE_VFORK)`, as glibc's `posix_spawn` does: it borrows
//! the guard's memory until it executes, nothing is copied, and the cost does not grow with the
//! parent. Measured beside `posix_spawn`: 0.97 of its CPU time; `fork` from a small process: 1.12.
//! (The standard library's `posix_spawn` cannot set a parent-death signal, and with a `pre_exec`
//! hook it forks.) The rules for code in the child: no allocation, no lock, no panic, system calls
//! only.
//!
//! The guard's deadline thread may call [`Shot::pid`] while the clone is under way: a child that
//! hangs on its way to `exec` (a dead network mount) can be killed although the guard waits for it.

mod into;
mod reap;

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use reap::bury;
pub(super) use reap::{next_ended, reap};

/// Cgroups that a child enters besides its run's: in the hierarchies of memory and of processors of version 1.
const MOST_DOORS: usize = 2;

/// Memory for children's stacks: they borrow everything else.
const STACK_BYTES: usize = 64 << 10;

/// All that a child needs on its way to `exec`; owned by the guard, read by the child.
#[derive(Debug)]
pub(super) struct Plan {
    /// Paths to try, in order.
    pub(super) programs: Vec<CString>,
    /// Arguments, the program's name first.
    pub(super) argv: Vec<CString>,
    /// Variables as `NAME=value`.
    pub(super) env: Vec<EnvText>,
    /// Working directory.
    pub(super) cwd: CString,
    /// Input.
    pub(super) stdin: Input,
    /// Output.
    pub(super) stdout: Output,
    /// Errors; `None` for the output's file.
    pub(super) stderr: Option<Output>,
    /// Added niceness.
    pub(super) nice: u8,
    /// From this instant on the child does not execute.
    pub(super) deadline: Duration,
}

impl Plan {
    /// That of a child which comes as far as `exec` and executes nothing.
    pub(super) fn nothing() -> Self {
        Self {
            programs: Vec::new(),
            argv: Vec::new(),
            env: Vec::new(),
            cwd: c"/".to_owned(),
            stdin: Input::Null,
            stdout: Output::nothing(),
            stderr: None,
            nice: 0,
            deadline: Duration::MAX,
        }
    }
}

/// What a child reads.
#[derive(Debug)]
pub(super) enum Input {
    /// `/dev/null`.
    Null,
    /// A file; a relative path starts at the working directory.
    Path(CString),
    /// A file that is open.
    Open(OwnedFd),
}

/// A file that a child writes to.
#[derive(Debug)]
pub(super) enum Output {
    /// It is made, or emptied.
    Path {
        /// Where; a relative path starts at the working directory.
        path: CString,
        /// Who may do what with one that is made, before the umask.
        mode: libc::mode_t,
    },
    /// It is open.
    Open(OwnedFd),
}

impl Output {
    /// `/dev/null`.
    pub(super) fn nothing() -> Self {
        Self::Path {
            path: c"/dev/null".to_owned(),
            mode: 0o600,
        }
    }
}

/// How a child comes into its run's cgroup.
#[derive(Debug)]
pub(super) enum Entrance {
    /// It is born there; this is the directory.
    Born(OwnedFd),
    /// It goes there first of all; this is the file of processes.
    Moves(OwnedFd),
}

/// A variable: of the run's own, or one that many runs share.
pub(super) type EnvText = std::rc::Rc<CString>;

/// Where a child stopped on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Making the process.
    Clone,
    /// Entering its cgroup.
    Group,
    /// Following its parent: the guard was gone already.
    Parent,
    /// Checking the deadline.
    Deadline,
    /// Entering the working directory.
    Cwd,
    /// Opening the input.
    Stdin,
    /// Making the file for output.
    Stdout,
    /// Making the file for errors.
    Stderr,
    /// Executing the program.
    Exec,
}

/// Why there is no child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where it stopped.
    pub(super) step: Step,
    /// The kernel's error number.
    pub(super) errno: i32,
}

/// Makes children one after the other.
#[derive(Debug)]
pub(super) struct Shot {
    stack: Vec<u128>,
    null: RawFd,
    guard: c_int,
    pid: std::sync::Arc<AtomicI32>,
}

/// What the child finds at its one argument.
struct Flight {
    programs: *const *const c_char,
    /// `/bin/sh`, then the arguments, then null.
    argv: *mut *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    /// Null: `input` is read.
    stdin: *const c_char,
    stdout: Target,
    stderr: Target,
    /// Where it writes itself into its cgroup; negative if it need not.
    group: RawFd,
    /// The same for cgroups that limit it.
    limits: [RawFd; MOST_DOORS],
    input: RawFd,
    guard: c_int,
    nice: c_int,
    deadline: libc::timespec,
    fault: Option<Fault>,
}

/// Where an output goes.
#[derive(Clone, Copy)]
enum Target {
    Path(*const c_char, libc::mode_t),
    Open(RawFd),
}

impl Target {
    fn of(output: &Output) -> Self {
        match output {
            Output::Path { path, mode } => Self::Path(path.as_ptr(), *mode),
            Output::Open(file) => Self::Open(file.as_raw_fd()),
        }
    }
}

/// The lists that a [`Flight`] points to.
struct Lists {
    programs: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
}

impl Lists {
    fn of(plan: &Plan) -> Self {
        Self {
            programs: pointers(None, plan.programs.iter()),
            argv: pointers(Some(c"/bin/sh".as_ptr()), plan.argv.iter()),
            env: pointers(None, plan.env.iter().map(AsRef::as_ref)),
        }
    }
}

impl Flight {
    /// That of a plan, in no cgroup; `plan` and `lists` must outlive it.
    fn of(plan: &Plan, lists: &mut Lists, null: RawFd, guard: c_int) -> Self {
        let (stdin, input) = match &plan.stdin {
            Input::Null => (std::ptr::null(), null),
            Input::Path(path) => (path.as_ptr(), null),
            Input::Open(file) => (std::ptr::null(), file.as_raw_fd()),
        };
        Self {
            programs: lists.programs.as_ptr(),
            argv: lists.argv.as_mut_ptr(),
            env: lists.env.as_ptr(),
            cwd: plan.cwd.as_ptr(),
            stdin,
            stdout: Target::of(&plan.stdout),
            // Without a file of their own errors go where output goes.
            stderr: plan.stderr.as_ref().map_or(Target::Open(1), Target::of),
            group: -1,
            limits: [-1; MOST_DOORS],
            input,
            guard,
            nice: plan.nice.min(19).into(),
            deadline: timespec(plan.deadline),
            // What stands if the deadline thread kills the child on its way.
            fault: Some(Fault {
                step: Step::Deadline,
                errno: 0,
            }),
        }
    }
}

/// Executes a plan in this very process, the child of a guard: all that a child does, but that it makes no process. Writes one byte to
/// `status`, if there is one, when nothing is left to do but to execute. Returns where it stopped.
#[expect(unsafe_code, reason = "the steps of a child are system calls")]
pub(super) fn become_program(
    plan: &Plan,
    null: RawFd,
    guard: c_int,
    status: Option<RawFd>,
) -> Fault {
    let mut lists = Lists::of(plan);
    let mut flight = Flight::of(plan, &mut lists, null, guard);
    // SAFETY: what `flight` points to lives in `plan` and `lists`. This process has one thread.
    unsafe {
        let (step, errno) = match approach(&flight) {
            Ok(()) => {
                if let Some(status) = status {
                    // Nobody reads it any more if the guard is dead; then so is this process.
                    libc::write(status, c"x".as_ptr().cast(), 1);
                }
                (Step::Exec, execute(&mut flight))
            }
            Err(step) => (step, *libc::__errno_location()),
        };
        Fault { step, errno }
    }
}

impl Shot {
    /// Prepares to make children whose input is `null` by default; `null` stays open as long as
    /// this is used.
    pub(super) fn new(null: RawFd) -> Self {
        Self {
            stack: vec![0; STACK_BYTES / size_of::<u128>()],
            null,
            guard: std::process::id().cast_signed(),
            pid: std::sync::Arc::default(),
        }
    }

    /// Where the process id of the child under way is found by another thread; 0 when there is
    /// none.
    pub(super) fn pid(&self) -> std::sync::Arc<AtomicI32> {
        std::sync::Arc::clone(&self.pid)
    }

    /// Starts a program in a session of its own, in a cgroup if there is an entrance, and in others to which there are doors, two at
    /// most; returns once it executes.
    ///
    /// # Errors
    /// [`Fault`]; then no process is left.
    pub(super) fn fire(
        &mut self,
        plan: &Plan,
        into: Option<&Entrance>,
        doors: &[OwnedFd],
    ) -> Result<i32, Fault> {
        assert!(
            doors.len() <= MOST_DOORS,
            "a child is limited by two cgroups at most"
        );
        let mut lists = Lists::of(plan);
        let mut flight = Flight::of(plan, &mut lists, self.null, self.guard);
        if let Some(Entrance::Moves(file)) = into {
            flight.group = file.as_raw_fd();
        }
        for (limit, door) in flight.limits.iter_mut().zip(doors) {
            *limit = door.as_raw_fd();
        }
        let pid = match into {
            Some(Entrance::Born(group)) => self.clone_into(&mut flight, group.as_raw_fd()),
            Some(Entrance::Moves(_)) | None => self.clone_vfork(&mut flight),
        };
        self.pid.store(0, Ordering::Release);
        match (pid, flight.fault) {
            (Ok(pid), None) => Ok(pid),
            (Ok(pid), Some(fault)) => {
                bury(pid);
                Err(fault)
            }
            (Err(errno), _) => Err(Fault {
                step: Step::Clone,
                errno,
            }),
        }
    }

    #[expect(unsafe_code, reason = "clone(2) with shared memory has no safe form")]
    fn clone_vfork(&mut self, flight: &mut Flight) -> Result<i32, i32> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
        let top = self.stack.as_mut_ptr_range().end.cast::<c_void>();
        let argument = std::ptr::from_mut(flight).cast::<c_void>();
        let place = self.pid.as_ptr();
        // SAFETY: `stack` is aligned to 16 bytes, used by one child at a time and outlives it,
        // since CLONE_VFORK suspends this thread until the child has executed or exited; so do
        // `flight` and all that it points to. The kernel writes the child's id to `place` before
        // the child runs. Signals are blocked meanwhile, so that no handler of the guard runs in
        // the child; the child's own table of signals is a copy (no CLONE_SIGHAND).
        without_signals(|| unsafe {
            let pid = libc::clone(child, top, flags, argument, place);
            if pid < 0 {
                Err(*libc::__errno_location())
            } else {
                Ok(pid)
            }
        })
    }

    #[expect(unsafe_code, reason = "as clone_vfork")]
    fn clone_into(&mut self, flight: &mut Flight, group: RawFd) -> Result<i32, i32> {
        let argument = std::ptr::from_mut(flight).cast::<c_void>();
        let place = self.pid.as_ptr();
        // SAFETY: as for `clone_vfork`.
        without_signals(|| unsafe {
            into::clone_into(group, &mut self.stack, place, child, argument)
        })
    }
}

/// Does something, such as making a thread that shall not be disturbed, while all signals are
/// blocked.
#[expect(unsafe_code, reason = "rustix offers no signal masks")]
pub(super) fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: both sets live as long as they are borrowed; a zeroed set is valid.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let result = work();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        result
    }
}

fn pointers<'a>(
    first: Option<*const c_char>,
    texts: impl Iterator<Item = &'a CString>,
) -> Vec<*const c_char> {
    first
        .into_iter()
        .chain(texts.map(|text| text.as_ptr()))
        .chain([std::ptr::null()])
        .collect()
}

fn timespec(at: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: at.subsec_nanos().into(),
    }
}

/// Entry of a child: tells its parent where it stopped, if it did.
#[expect(unsafe_code, reason = "runs in borrowed memory, see the module's doc")]
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the `Flight` of the suspended parent, which nobody else uses now.
    unsafe {
        let flight = &mut *argument.cast::<Flight>();
        let (step, errno) = match approach(flight) {
            Ok(()) => {
                flight.fault = None;
                (Step::Exec, execute(flight))
            }
            Err(step) => (step, *libc::__errno_location()),
        };
        flight.fault = Some(Fault { step, errno });
        libc::_exit(127)
    }
}

/// Everything between the birth of a child and `exec`.
///
/// # Safety
/// In the child only; `flight` points to live memory.
#[expect(unsafe_code, reason = "runs in borrowed memory, see the module's doc")]
unsafe fn approach(flight: &Flight) -> Result<(), Step> {
    let check = |result: c_int, step: Step| if result < 0 { Err(step) } else { Ok(()) };
    // SAFETY: plain system calls on memory that the caller vouches for.
    unsafe {
        let [memory, cpus] = flight.limits;
        for group in [flight.group, memory, cpus] {
            if group >= 0 && libc::write(group, c"0".as_ptr().cast(), 1) != 1 {
                return Err(Step::Group);
            }
        }
        libc::setsid();
        check(
            libc::prctl(libc::PR_SET_PDEATHSIG, DEATH_SIGNAL),
            Step::Parent,
        )?;
        if libc::getppid() != flight.guard {
            return Err(Step::Parent);
        }
        if flight.nice > 0 {
            // A limit on niceness is the machine's business: no reason to refuse.
            libc::nice(flight.nice);
        }
        check(libc::chdir(flight.cwd), Step::Cwd)?;
        let input = if flight.stdin.is_null() {
            flight.input
        } else {
            libc::open(
                flight.stdin,
                libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY,
            )
        };
        check(input, Step::Stdin)?;
        check(libc::dup2(input, 0), Step::Stdin)?;
        check(output(flight.stdout, 1), Step::Stdout)?;
        check(output(flight.stderr, 2), Step::Stderr)?;
        reset_signals();
        let mut now = timespec(Duration::ZERO);
        check(
            libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now),
            Step::Deadline,
        )?;
        let late = (now.tv_sec, now.tv_nsec) >= (flight.deadline.tv_sec, flight.deadline.tv_nsec);
        if late { Err(Step::Deadline) } else { Ok(()) }
    }
}

/// Makes or empties a file, if it is not open, and has it as descriptor `fd`.
///
/// # Safety
/// In the child only; a path is a C string.
#[expect(unsafe_code, reason = "runs in borrowed memory, see the module's doc")]
unsafe fn output(target: Target, fd: c_int) -> c_int {
    let flags = libc::O_WRONLY
        | libc::O_CREAT
        | libc::O_TRUNC
        | libc::O_APPEND
        | libc::O_CLOEXEC
        | libc::O_NOCTTY;
    // SAFETY: plain system calls on memory that the caller vouches for.
    unsafe {
        let file = match target {
            Target::Path(path, mode) => libc::open(path, flags, mode),
            Target::Open(file) => file,
        };
        if file < 0 { file } else { libc::dup2(file, fd) }
    }
}

/// Signals as a fresh program expects them: defaults (handlers are reset by `exec` anyhow, but must
/// not run in the child either), none blocked.
///
/// # Safety
/// In the child only.
#[expect(unsafe_code, reason = "runs in borrowed memory, see the module's doc")]
unsafe fn reset_signals() {
    // SAFETY: zeroed structures are valid here: the default action, and the empty set.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        for signo in HANDLED {
            libc::sigaction(signo, &raw const action, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// `SIGKILL`, in the width that `prctl` reads.
const DEATH_SIGNAL: libc::c_ulong = 9;

/// Signals for which a guard has a handler, or which Rust's runtime ignores.
const HANDLED: [c_int; 6] = [
    libc::SIGCHLD,
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGPIPE,
];

/// Executes the first program that can be; returns the error that tells most.
///
/// # Safety
/// In the child only; `flight` points to live memory.
#[expect(unsafe_code, reason = "runs in borrowed memory, see the module's doc")]
unsafe fn execute(flight: &mut Flight) -> c_int {
    let mut best = libc::ENOENT;
    let mut next = flight.programs;
    // SAFETY: all three lists end with null; the slot in front of the arguments is for a shell.
    unsafe {
        while !(*next).is_null() {
            libc::execve(*next, flight.argv.add(1).cast_const(), flight.env);
            match *libc::__errno_location() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => best = libc::EACCES,
                libc::ENOEXEC => {
                    // A script without a first line that names its interpreter: as shells do.
                    *flight.argv.add(1) = *next;
                    libc::execve(*flight.argv, flight.argv.cast_const(), flight.env);
                    return libc::ENOEXEC;
                }
                errno => return errno,
            }
            next = next.add(1);
        }
    }
    best
}

/// Gives signals that the node's own parent had ignored (`nohup`, `&`) their defaults again, since
/// runs inherit them, and keeps descriptors that the node inherited from reaching the runs.
///
/// # Errors
/// The kernel's; none is expected.
#[expect(unsafe_code, reason = "dispositions and descriptors by number")]
pub(super) fn clean_slate() -> io::Result<()> {
    // SAFETY: zeroed actions are valid; only flags of descriptors change, none is closed.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        for signo in (1..=64).filter(|signo| *signo != libc::SIGPIPE) {
            let known = libc::sigaction(signo, std::ptr::null(), &raw mut action) == 0;
            if known && action.sa_sigaction == libc::SIG_IGN {
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signo, &raw const action, std::ptr::null_mut());
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flags) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Ticks a second of the times in `/proc`.
#[expect(unsafe_code, reason = "sysconf(3) is foreign")]
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: no memory is handed over.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) })
        .unwrap_or(100)
        .max(1)
}
