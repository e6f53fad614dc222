//! The few system calls that this program makes, safe to call; the machine's own part is in a file of its own.

use core::ffi::CStr;

use crate::machine::{call, number};

pub(crate) const STANDARD_OUTPUT: usize = 1;
pub(crate) const STANDARD_ERROR: usize = 2;

/// AT_FDCWD as the kernel reads it.
const HERE: usize = -100_isize as usize;
const CLOCK_MONOTONIC: usize = 1;
/// The length of each of uname's six fields, with the zero byte.
const NAME_LENGTH: usize = 65;

/// An errno.
#[derive(Clone, Copy)]
pub(crate) struct Errno;

/// Nanoseconds of CLOCK_MONOTONIC; 0 if the kernel does not answer.
pub(crate) fn monotonic_nanoseconds() -> u64 {
    let mut time = [0_i64; 2];
    // SAFETY: `time` has the shape of struct timespec on 64-bit machines.
    let answer = unsafe { call(number::CLOCK_GET_TIME, [CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0, 0]) };
    if answer < 0 { 0 } else { time[0] as u64 * 1_000_000_000 + time[1] as u64 }
}

pub(crate) fn write_all(descriptor: usize, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY: reads `bytes` only.
        let answer = unsafe { call(number::WRITE, [descriptor, bytes.as_ptr() as usize, bytes.len(), 0]) };
        match usize::try_from(answer) {
            Ok(count) if count > 0 => bytes = bytes.get(count..).unwrap_or_default(),
            _ => return Err(Errno),
        }
    }
    Ok(())
}

/// Reads a file from its start, as much of it as fits.
pub(crate) fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    // SAFETY: `path` ends with a zero byte; flags 0 is O_RDONLY.
    let descriptor = checked(unsafe { call(number::OPEN_AT, [HERE, path.as_ptr() as usize, 0, 0]) })?;
    let mut filled = 0;
    let result = loop {
        let free = &mut buffer[filled..];
        // SAFETY: writes within `free` only.
        let answer = unsafe { call(number::READ, [descriptor, free.as_mut_ptr() as usize, free.len(), 0]) };
        match checked(answer) {
            Ok(0) => break Ok(()),
            Ok(count) => filled += count,
            Err(errno) => break Err(errno),
        }
    };
    // SAFETY: the descriptor is ours and not used again.
    unsafe { call(number::CLOSE, [descriptor, 0, 0, 0]) };
    result.map(|()| &buffer[..filled])
}

pub(crate) fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let arguments = [HERE, path.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: `path` ends with a zero byte; writes within `buffer` only.
    let count = checked(unsafe { call(number::READ_LINK_AT, arguments) })?;
    buffer.get(..count).ok_or(Errno)
}

pub(crate) fn hostname(buffer: &mut [u8; NAME_LENGTH]) -> &[u8] {
    let mut fields = [[0_u8; NAME_LENGTH]; 6];
    // SAFETY: `fields` has the shape of struct new_utsname.
    unsafe { call(number::UNAME, [fields.as_mut_ptr() as usize, 0, 0, 0]) };
    *buffer = fields[1];
    buffer.split(|&byte| byte == 0).next().unwrap_or_default()
}

pub(crate) fn process_id() -> u64 {
    simple(number::GET_PID)
}

pub(crate) fn user_id() -> u64 {
    simple(number::GET_UID)
}

pub(crate) fn group_id() -> u64 {
    simple(number::GET_GID)
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { call(number::EXIT_GROUP, [code as usize, 0, 0, 0]) };
    }
}

/// A call without arguments that cannot fail.
fn simple(number: usize) -> u64 {
    // SAFETY: the three callers' calls take no arguments.
    unsafe { call(number, [0; 4]) as u64 }
}

fn checked(answer: isize) -> Result<usize, Errno> {
    usize::try_from(answer).map_err(|_| Errno)
}
