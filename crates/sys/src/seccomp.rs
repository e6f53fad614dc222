//! `seccomp(2)`: loads a ready filter program.

use std::io;

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;
const INSTRUCTION: usize = 8;

/// Loads the program: instructions of 8 bytes (code u16, jt u8, jf u8, k u32, in this machine's byte order).
/// Needs `no_new_privs` or CAP_SYS_ADMIN. `flags` are `SECCOMP_FILTER_FLAG_…` but for those that return a descriptor.
///
/// # Errors
/// `EINVAL` if the length is no multiple of 8, too long, or the kernel's checker refuses the program; `EACCES` without privilege.
pub fn load(program: &[u8], flags: u32) -> io::Result<()> {
    let count = program.len() / INSTRUCTION;
    let returns_descriptor = flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32 != 0;
    if !program.len().is_multiple_of(INSTRUCTION)
        || count == 0
        || count > MOST_INSTRUCTIONS
        || returns_descriptor
    {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut filters = Vec::with_capacity(count);
    for bytes in program.chunks_exact(INSTRUCTION) {
        filters.push(libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        });
    }
    let program = libc::sock_fprog { len: count as u16, filter: filters.as_mut_ptr() };
    // SAFETY: `program` and the instructions live until the call returns, and the kernel only reads and copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
