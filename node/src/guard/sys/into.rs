//! `clone3(2)` for a child that is born in a cgroup, on a stack of its own in borrowed memory.
//!
//! The C library offers nothing for it: its `clone` takes fewer arguments, and after a bare system call the child would return
//! into a stack that is not there. So the child's first step is made here, by hand.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

/// What a child executes; it does not return.
pub(super) type Entry = extern "C" fn(*mut c_void) -> c_int;

/// As the kernel's `struct clone_args` was in Linux 5.7.
#[repr(C)]
#[derive(Debug)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP`.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a child in the cgroup whose directory is open as `group`; returns once it has executed or exited.
///
/// # Errors
/// The kernel's error number: `ENOSYS` or `EINVAL` where this does not exist.
///
/// # Safety
/// As for `clone(CLONE_VM | CLONE_VFORK)`: `stack` is for this child alone, `entry` never returns and keeps to the rules of
/// `sys`, `argument` and `place` live as long as this thread waits.
#[expect(unsafe_code, reason = "clone3(2) has no other form")]
pub(super) unsafe fn clone_into(
    group: RawFd,
    stack: &mut [u128],
    place: *mut i32,
    entry: Entry,
    argument: *mut c_void,
) -> Result<i32, i32> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID;
    let arguments = Arguments {
        flags: u64::from(flags.unsigned_abs()) | INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: place.expose_provenance() as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: stack.as_mut_ptr().expose_provenance() as u64,
        stack_size: size_of_val(stack) as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: u64::from(group.unsigned_abs()),
    };
    // SAFETY: the caller's.
    let result = unsafe { clone3(&arguments, entry, argument) };
    let number = i32::try_from(result).map_err(|_| libc::EINVAL)?;
    if number < 0 { Err(-number) } else { Ok(number) }
}

/// # Safety
/// As for [`clone_into`].
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the child must not return into this frame")]
unsafe fn clone3(arguments: &Arguments, entry: Entry, argument: *mut c_void) -> i64 {
    let result: i64;
    // SAFETY: the parent comes out at the second label with its registers as the kernel keeps them; the child, on its own
    // aligned stack, goes into `entry` and stays there.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_ref(arguments),
            in("rsi") size_of::<Arguments>(),
            in("r12") entry,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// # Safety
/// As for [`clone_into`].
#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "the child must not return into this frame")]
unsafe fn clone3(arguments: &Arguments, entry: Entry, argument: *mut c_void) -> i64 {
    let result: i64;
    // SAFETY: as for x86_64.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk #1",
            "2:",
            inlateout("x0") std::ptr::from_ref(arguments) => result,
            in("x1") size_of::<Arguments>(),
            in("x8") libc::SYS_clone3,
            in("x20") entry,
            in("x21") argument,
        );
    }
    result
}

/// # Safety
/// None is needed: nothing is made.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[expect(unsafe_code, reason = "the same form as elsewhere")]
unsafe fn clone3(_arguments: &Arguments, _entry: Entry, _argument: *mut c_void) -> i64 {
    -i64::from(libc::ENOSYS)
}
