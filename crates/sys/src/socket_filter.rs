//! `SO_ATTACH_FILTER`: a classic BPF program that decides which packets a socket gets (`socket(7)`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction of classic BPF, as `linux/filter.h` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub k: u32,
}

impl Instruction {
    /// `BPF_RET | BPF_K`: takes so many bytes of the packet; 0 is none, and the packet is dropped.
    #[must_use]
    pub const fn take(bytes: u32) -> Instruction {
        Instruction::plain(0x06, bytes)
    }

    /// One that does not jump: its code and its number (`linux/bpf_common.h`).
    #[must_use]
    pub const fn plain(code: u16, k: u32) -> Instruction {
        Instruction { code, jump_true: 0, jump_false: 0, k }
    }
}

/// Has the socket get only what the program takes, from now on.
///
/// # Errors
/// `EINVAL` for a program that the kernel refuses.
pub fn attach(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|each| libc::sock_filter { code: each.code, jt: each.jump_true, jf: each.jump_false, k: each.k })
        .collect();
    let length = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    // SAFETY: the kernel reads one `sock_fprog` and the `len` instructions that it points to; both live until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
