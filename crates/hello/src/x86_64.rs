//! x86-64: the entry, the system call instruction and its numbers, and the memory functions that the compiler itself calls.
//!
//! Another machine needs one more file like this one and a line in main.rs.

use core::arch::{asm, global_asm};

/// System call numbers, from the kernel's arch/x86/entry/syscalls/syscall_64.tbl.
pub(crate) mod number {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const READ: usize = 0;
    pub(crate) const OPEN_AT: usize = 257;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const GET_PID: usize = 39;
    pub(crate) const UNAME: usize = 63;
    pub(crate) const READ_LINK_AT: usize = 267;
    pub(crate) const GET_UID: usize = 102;
    pub(crate) const GET_GID: usize = 104;
    pub(crate) const CLOCK_GET_TIME: usize = 228;
    pub(crate) const EXIT_GROUP: usize = 231;
}

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    // The ABI wants the stack aligned to 16 bytes at a call.
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym crate::start,
);

/// A system call; a negative answer is an errno.
///
/// # Safety
/// The arguments must be what the call `number` expects; pointers must be good for its reads and writes.
pub(crate) unsafe fn call(number: usize, arguments: [usize; 4]) -> isize {
    let answer;
    // SAFETY: the caller vouches for the arguments; the kernel clobbers rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// # Safety
/// As C's memcpy: both ranges valid, not overlapping.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the ranges.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's memmove: both ranges valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if to.cast_const() <= from || to.cast_const() >= from.wrapping_add(length) {
        // SAFETY: copying upwards never overwrites what is still to be read.
        return unsafe { memcpy(to, from, length) };
    }
    let (last_to, last_from) =
        (to.wrapping_add(length).wrapping_sub(1), from.wrapping_add(length).wrapping_sub(1));
    // SAFETY: downwards, for the ranges that overlap the other way; the direction flag is put back.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") length => _, inout("rdi") last_to => _, inout("rsi") last_from => _, options(nostack));
    }
    to
}

/// # Safety
/// As C's memset: the range valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the range.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte.to_le_bytes()[0], options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's memcmp: both ranges valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    let mut index = 0;
    while index < length {
        // SAFETY: within both ranges. Volatile, or the compiler makes this loop a call of memcmp.
        let (a, b) = unsafe { (left.add(index).read_volatile(), right.add(index).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        index += 1;
    }
    0
}

/// # Safety
/// As memcmp.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(left, right, length) }
}

/// # Safety
/// As C's strlen: a zero byte ends the string.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: not past the zero byte. Volatile as above.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
