//! What a process changes about itself before it becomes another program.

use std::ffi::{CStr, CString};
use std::io;

/// `execve(2)`: returns only if it failed.
pub fn execve(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer and point to terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// `close_range(2)` (Linux 5.9): closes the descriptors from `first` to `last`, both included.
///
/// # Safety in spirit
/// Safe to call only where nothing will use or drop an `OwnedFd` in the range afterwards: just before exec, or exit.
///
/// # Errors
/// The kernel's: `EINVAL` if `first` is more than `last`.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: no memory is passed; the caller owns the process's descriptors at this point (see above).
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } as i32)
}

/// Marks the descriptors from `first` to `last` close-on-exec (Linux 5.11).
///
/// # Errors
/// The kernel's.
pub fn cloexec_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: no memory is passed, and no descriptor is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) } as i32)
}

/// Replaces what `ps` and `/proc/PID/cmdline` show of this process, as setproctitle(3) does elsewhere: by writing over the arguments and,
/// where the text is longer than they are, over the environment behind them. A still longer text is cut; zero bytes end it.
/// `PR_SET_MM_ARG_START` would take any length, and `CAP_SYS_RESOURCE`.
///
/// # Safety in spirit
/// Safe to call only in a process of one thread that asks for its arguments and its environment no more: they are gone.
pub fn set_command_line(text: &str) {
    unsafe extern "C" {
        /// glibc's and musl's pointer to the first argument.
        static program_invocation_name: *mut libc::c_char;
    }
    // SAFETY: the pointer and `environ` are changed by nobody in a process of one thread. The kernel has put the arguments and behind
    // them the environment into one piece of the stack, above everything that is allocated later, so whatever lies between the first
    // argument and the end of a string above it is made of these strings. Nothing else is written to, and the last byte stays zero:
    // what still points among them finds an end.
    unsafe {
        let first = program_invocation_name;
        if first.is_null() {
            return;
        }
        let mut end = first.add(libc::strlen(first) + 1);
        let mut entry = libc::environ;
        while !entry.is_null() && !(*entry).is_null() {
            if *entry >= end {
                end = (*entry).add(libc::strlen(*entry) + 1);
            }
            entry = entry.add(1);
        }
        let room = end.offset_from_unsigned(first);
        let length = text.len().min(room - 1);
        std::ptr::write_bytes(first, 0, room);
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), first, length);
    }
}

/// Sets every signal to its default, ignored ones too (the Rust runtime ignores SIGPIPE), and unblocks all.
pub fn reset_signals() {
    /// `struct kernel_sigaction`: the default handler, no flags, an empty mask.
    #[repr(C)]
    struct Action([u64; 4]);
    let action = Action([0; 4]);
    for signal in 1..=64 {
        // By the raw call: libc's refuses the two real-time signals that it keeps for itself, which a parent may have left ignored.
        // SAFETY: the kernel reads `action`, whose layout is its own, and writes no old one; SIG_DFL runs no code of ours. KILL and
        // STOP are refused with EINVAL, which is right: they cannot have been changed.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const action,
                std::ptr::null_mut::<Action>(),
                8,
            )
        };
    }
    unblock_signals();
}

/// Has these signals end the process with 128 and their number as its code, also where their default would not: the first process of a pid
/// namespace. Until the next exec, and without any system call before the signal.
///
/// # Errors
/// The kernel's: `EINVAL` for a number that is no signal or cannot be caught.
pub fn exit_on(signals: &[i32]) -> io::Result<()> {
    extern "C" fn end(signal: i32) {
        // SAFETY: `_exit` runs nothing of the program's and may be called in a handler (signal-safety(7)).
        unsafe { libc::_exit(128 + signal) }
    }
    for &signal in signals {
        // SAFETY: zeroes are a valid action, whose handler is set before it is used; `end` lives as long as the program, and does
        // only what a handler may.
        check(unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = end as extern "C" fn(i32) as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        })?;
    }
    Ok(())
}

/// Has a write past the limit of a file's size (`ulimit -f`) fail with `EFBIG`, and not kill the program.
pub fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Runs `act` with writes to a pipe that nobody reads failing with `EPIPE`, and not killing the program.
pub fn without_pipe_signal<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: SIG_IGN runs no code of ours, and what is put back is what the kernel gave.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let done = act();
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGPIPE, before) };
    done
}

/// Whether this process ignores the signal, as `nohup(1)` has it do and a shell has its background jobs.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is set, and the old one is written where there is room for it; zeroes are a valid one otherwise.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Blocks every signal (but for those that cannot be), for a process that waits for them with [`wait_for_signal`].
pub fn block_signals() {
    set_mask(true);
}

/// Unblocks every signal.
pub fn unblock_signals() {
    set_mask(false);
}

/// Waits for any blocked signal and takes it.
///
/// # Errors
/// `EINTR` when stopped and continued.
pub fn wait_for_signal() -> io::Result<i32> {
    // SAFETY: a `sigset_t` of zeroes is valid memory for `sigfillset`, which initialises it; no info is asked for.
    let signal = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut())
    };
    if signal < 0 { Err(io::Error::last_os_error()) } else { Ok(signal) }
}

/// `kill(2)` with any signal, real-time ones too.
///
/// # Errors
/// The kernel's: `ESRCH`, `EPERM`, `EINVAL`.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::kill(pid, signal) })
}

/// `personality(2)`.
///
/// # Errors
/// The kernel's.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::personality(libc::c_ulong::from(persona)) })
}

/// `ioprio_set(2)` for the calling process: class 1 (real time), 2 (best effort) or 3 (idle); level 0 to 7.
///
/// # Errors
/// The kernel's: `EPERM` for real time without privilege.
pub fn set_io_priority(class: u8, level: u8) -> io::Result<()> {
    const PROCESS: i32 = 1;
    let value = i32::from(class) << 13 | i32::from(level);
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, value) } as i32)
}

/// The soft and the hard limit, by the kernel's number of the resource; `u64::MAX` is no limit.
///
/// # Errors
/// The kernel's: `EINVAL` for an unknown resource.
pub fn limit(resource: u32) -> io::Result<(u64, u64)> {
    limit_of(0, resource)
}

/// `setrlimit(2)` by the kernel's number of the resource; `u64::MAX` is no limit.
///
/// # Errors
/// The kernel's: `EPERM` above the hard limit without CAP_SYS_RESOURCE.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    set_limit_of(0, resource, soft, hard)
}

/// The soft and the hard limit of another process of the caller's, as [`limit`] has them of itself.
///
/// # Errors
/// The kernel's: `ESRCH`, `EPERM`.
pub fn limit_of(pid: i32, resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes `limit`, and reads no new value as that pointer is null.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit)
    } as i32)?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets both limits of another process of the caller's.
///
/// # Errors
/// As [`limit_of`].
pub fn set_limit_of(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads `limit`, and writes no old value as the last pointer is null.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    } as i32)
}

/// The number of a resource by its name, `RLIMIT_NOFILE` and so on.
#[must_use]
pub fn limit_number(name: &str) -> Option<u32> {
    Some(match name {
        "RLIMIT_AS" => libc::RLIMIT_AS,
        "RLIMIT_CORE" => libc::RLIMIT_CORE,
        "RLIMIT_CPU" => libc::RLIMIT_CPU,
        "RLIMIT_DATA" => libc::RLIMIT_DATA,
        "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE,
        "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS,
        "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK,
        "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => libc::RLIMIT_NICE,
        "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => libc::RLIMIT_NPROC,
        "RLIMIT_RSS" => libc::RLIMIT_RSS,
        "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME,
        "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING,
        "RLIMIT_STACK" => libc::RLIMIT_STACK,
        _ => return None,
    })
}

fn set_mask(full: bool) {
    // SAFETY: the set is initialised by sigfillset or sigemptyset before it is used, and no old mask is asked for.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if full {
            libc::sigfillset(&raw mut set)
        } else {
            libc::sigemptyset(&raw mut set)
        };
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
