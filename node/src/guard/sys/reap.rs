//! The ends of children: which have come, and what each had used.

use std::ffi::c_int;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::guard::protocol::Usage;

/// Waits for a child that is exiting, and forgets it.
#[expect(unsafe_code, reason = "waitpid(2) by number")]
pub(super) fn bury(pid: i32) {
    // SAFETY: no memory is handed over but null.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Which child has ended, if any; it stays a zombie, so that its number is not given to another.
#[expect(unsafe_code, reason = "rustix's waitid does not tell the process")]
pub(in crate::guard) fn next_ended() -> Option<i32> {
    // SAFETY: a zeroed `siginfo_t` is valid, and `waitid` fills it for as long as it is borrowed.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let result = libc::waitid(libc::P_ALL, 0, &raw mut info, flags);
        (result == 0).then(|| info.si_pid()).filter(|pid| *pid != 0)
    }
}

/// Reaps a child that [`next_ended`] named.
#[expect(
    unsafe_code,
    reason = "wait4(2), for the usage of one child, has no safe form"
)]
pub(in crate::guard) fn reap(pid: i32) -> Option<(ExitStatus, Usage)> {
    let mut status: c_int = 0;
    // SAFETY: a zeroed `rusage` is valid; both are filled by the call for as long as they are
    // borrowed.
    let (result, raw) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (
            libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage),
            usage,
        )
    };
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let micros = |time: libc::timeval| number(time.tv_sec) * 1_000_000 + number(time.tv_usec);
    let usage = Usage {
        utime_us: micros(raw.ru_utime),
        stime_us: micros(raw.ru_stime),
        max_rss_kib: number(raw.ru_maxrss),
        inblock: number(raw.ru_inblock),
        oublock: number(raw.ru_oublock),
    };
    (result == pid).then(|| (ExitStatus::from_raw(status), usage))
}
