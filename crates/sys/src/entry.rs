//! The first instructions of `onggi-runtime`: it executes itself again through a read-only mount before anything of a program's beginning
//! has happened, which then happens once only.
//!
//! The C library's beginning asks the processor for its kind (each answer leaves a virtual machine, and there are fifty), Rust's reads
//! `/proc/self/maps`, and both touch a hundred pages: two thirds of what a first execution costs. What is done here is what
//! [`crate::program::ensure_read_only`] does, which comes later all the same, and says what is wrong if this has failed.
//!
//! Nothing of either library can be called here: neither thread-local storage nor the addresses of `memcpy` and the like are set up. So
//! these are calls of the kernel's alone, on memory that the first instructions have set aside, and nothing larger than a register is passed or
//! copied, which without optimisation would be a call of `memcpy`. A program has it by its linker's `--entry=onggi_entry`
//! (`crates/runtime/build.rs`).

use std::arch::{asm, global_asm};
use std::mem::offset_of;

use crate::mount::MountAttributes;

/// The commands that put a process of the program's into a container.
const CREATE: *const u8 = c"create".as_ptr().cast();
const EXEC: *const u8 = c"exec".as_ptr().cast();
const RUN: *const u8 = c"run".as_ptr().cast();

/// What is set aside on the stack: places for the kernel's answers.
#[repr(C)]
struct Room {
    status: Status,
    attributes: MountAttributes,
    /// A path, and a zero behind it.
    path: [u8; LONGEST_PATH + 1],
}

/// `struct statfs` of 64-bit machines (asm-generic/statfs.h); that of the crate libc has no name for the flags.
#[repr(C)]
struct Status {
    before: [u64; 10],
    flags: u64,
    spare: [u64; 4],
}

/// As much as the kernel gives.
const LONGEST_PATH: usize = 4095;
const ROOM: usize = size_of::<Room>().next_multiple_of(16);
const EXECUTABLE: *const u8 = c"/proc/self/exe".as_ptr().cast();

// At the entry the stack pointer is at the number of arguments, aligned to 16, and rdx holds what `_start` is to have in it. Both are as they
// were when `_start` begins.
global_asm!(
    ".globl onggi_entry",
    ".type onggi_entry, @function",
    "onggi_entry:",
    "mov rdi, rsp",
    "push rdx",
    "sub rsp, {room} + 8",
    "mov rsi, rsp",
    "call {guard}",
    "add rsp, {room} + 8",
    "pop rdx",
    "jmp _start",
    ".size onggi_entry, . - onggi_entry",
    room = const ROOM,
    guard = sym guard,
);

/// Returns if there is nothing to be done, or if it cannot be done.
///
/// # Safety
/// `stack` is what the kernel begins a program with, and nobody else uses `room`.
unsafe extern "C" fn guard(stack: *const usize, room: *mut Room) {
    // SAFETY: the kernel has put the number of arguments there, behind it a pointer to each and a null pointer, and then the same for the
    // environment; the calls write into `room` what fits there.
    unsafe {
        let count = *stack;
        let arguments = stack.wrapping_add(1).cast::<*const u8>();
        let environment = arguments.wrapping_add(count + 1);
        if !enters(arguments) {
            return;
        }
        let status = &raw mut (*room).status;
        if call(libc::SYS_statfs, EXECUTABLE.addr(), status.addr(), 0, 0, 0) < 0
            || (*status).flags & libc::ST_RDONLY != 0
        {
            return;
        }
        let path = room.cast::<u8>().wrapping_add(offset_of!(Room, path));
        let length = call(libc::SYS_readlink, EXECUTABLE.addr(), path.addr(), LONGEST_PATH, 0, 0);
        let Some(name) = last_name(path, length) else { return };
        let flags = (libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC) as usize;
        let here = libc::AT_FDCWD as usize;
        let directory = call(libc::SYS_open_tree, here, path.addr(), flags, 0, 0);
        if directory < 0 {
            return;
        }
        let directory = directory as usize;
        let attributes = &raw mut (*room).attributes;
        ((*attributes).set, (*attributes).clear) = (libc::MOUNT_ATTR_RDONLY, 0);
        ((*attributes).propagation, (*attributes).user_namespace) = (0, 0);
        let (nothing, flags) = (c"".as_ptr().addr(), libc::AT_EMPTY_PATH as usize);
        let size = size_of::<MountAttributes>();
        if call(libc::SYS_mount_setattr, directory, nothing, flags, attributes.addr(), size) == 0 {
            call(libc::SYS_execveat, directory, name.addr(), arguments.addr(), environment.addr(), 0);
        }
        call(libc::SYS_close, directory, 0, 0, 0, 0);
    }
}

/// Whether one of the arguments is the name of such a command. Where it is another's argument, the program is guarded without need.
///
/// # Safety
/// A null pointer is behind the arguments, and a zero behind each.
unsafe fn enters(mut argument: *const *const u8) -> bool {
    // SAFETY: nothing behind the null pointer is read.
    unsafe {
        while !(*argument).is_null() {
            if is(*argument, CREATE) || is(*argument, EXEC) || is(*argument, RUN) {
                return true;
            }
            argument = argument.wrapping_add(1);
        }
    }
    false
}

/// # Safety
/// A zero is behind both texts.
unsafe fn is(mut text: *const u8, mut wanted: *const u8) -> bool {
    // SAFETY: nothing behind either zero is read.
    unsafe {
        while *text == *wanted {
            if *text == 0 {
                return true;
            }
            (text, wanted) = (text.wrapping_add(1), wanted.wrapping_add(1));
        }
    }
    false
}

/// Ends an absolute path at its last slash, and gives the name behind it, which ends there as well. What lies in the root has no directory
/// of its own.
///
/// # Safety
/// `path` has as many bytes, if it is not negative, and room for one more.
unsafe fn last_name(path: *mut u8, length: isize) -> Option<*const u8> {
    let mut at = length;
    if at > 0 {
        // SAFETY: the caller's room.
        unsafe { *path.wrapping_offset(at) = 0 };
    }
    while at > 1 {
        at -= 1;
        // SAFETY: within the path.
        unsafe {
            if *path.wrapping_offset(at) == b'/' {
                *path.wrapping_offset(at) = 0;
                return Some(path.wrapping_offset(at + 1));
            }
        }
    }
    None
}

/// A call of the kernel's, whose answer is negative for an error.
///
/// # Safety
/// The call's own.
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let answer;
    // SAFETY: the caller's; the kernel changes nothing but these registers and what the arguments point to.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}
