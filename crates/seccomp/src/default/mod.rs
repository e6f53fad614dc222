//! The profile of every container that asks for no other: Docker's, resolved for a set of capabilities.

mod calls;

use std::borrow::Cow;

use onggi_oci::{Seccomp, Syscall, SyscallArg};

use crate::arch::Arch;
use crate::compile::compile;

/// The flags to load [`default_program`] with: `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
pub const DEFAULT_FLAGS: u32 = 1 << 2;

/// The only capability of the default eleven that opens a call; see `calls::WITH_CAPABILITY`.
#[cfg(test)]
const DEFAULT_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

#[cfg(target_arch = "x86_64")]
const COMPILED: &[u8] = include_bytes!("x86_64.bpf");
#[cfg(target_arch = "aarch64")]
const COMPILED: &[u8] = include_bytes!("aarch64.bpf");

/// The default profile for a container whose bounding set is this (`CAP_…`), on this architecture.
#[must_use]
pub fn default_profile(caps: &[String]) -> Seccomp {
    profile_for(caps, Arch::NATIVE)
}

/// The instructions of [`default_profile`], to be loaded with [`DEFAULT_FLAGS`]. For the default capabilities, and any that open the
/// same calls (Docker's fourteen do), they were compiled when Onggi was built.
#[must_use]
pub fn default_program(caps: &[String]) -> Cow<'static, [u8]> {
    let opening: Vec<&str> = calls::WITH_CAPABILITY
        .iter()
        .map(|(capability, _)| *capability)
        .filter(|&capability| has(caps, capability))
        .collect();
    if opening == ["CAP_SYS_CHROOT"] {
        return Cow::Borrowed(COMPILED);
    }
    match compile(&default_profile(caps), Arch::NATIVE) {
        Ok(program) => Cow::Owned(program.to_bytes()),
        // Every set of capabilities compiles, as a test shows; and if one did not, the stricter program is the safe answer.
        Err(_) => Cow::Borrowed(COMPILED),
    }
}

fn has(caps: &[String], capability: &str) -> bool {
    caps.iter().any(|cap| cap == capability)
}

fn profile_for(caps: &[String], arch: Arch) -> Seccomp {
    let mut allowed: Vec<&str> = calls::ALWAYS.to_vec();
    for (capability, names) in calls::WITH_CAPABILITY {
        if has(caps, capability) {
            allowed.extend(*names);
        }
    }
    allowed.extend(match arch {
        Arch::X86_64 | Arch::X86 | Arch::X32 => calls::ON_X86,
        Arch::Aarch64 | Arch::Arm => calls::ON_ARM,
    });
    allowed.sort_unstable();
    allowed.dedup();

    let mut syscalls = vec![Syscall {
        names: allowed.into_iter().map(str::to_owned).collect(),
        action: "SCMP_ACT_ALLOW".into(),
        ..Syscall::default()
    }];
    syscalls.extend(sockets());
    syscalls.extend(personalities());
    if !has(caps, "CAP_SYS_ADMIN") {
        syscalls.extend(clones());
    }
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(EPERM),
        architectures: arch.family().iter().map(|arch| arch.scmp_name().to_owned()).collect(),
        syscalls,
        ..Seccomp::default()
    }
}

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

fn allow(call: &str, op: &str, value: u64) -> Syscall {
    let arg = SyscallArg { index: 0, value, value_two: 0, op: op.into() };
    Syscall { names: vec![call.into()], action: "SCMP_ACT_ALLOW".into(), errno_ret: None, args: vec![arg] }
}

/// Every family of sockets but AF_ALG (38), the kernel's cryptography, a row of holes, and AF_VSOCK (40), which reaches the hypervisor and
/// is not namespaced.
///
/// Docker's profile says "more than 40" for the rest. But that is a comparison of 64 bits, and the kernel takes the family from the lower
/// 32: 2³²+38 would pass it and open AF_ALG. So those that there are (Linux 7.2) are named one by one.
///
/// 32-bit x86 can still open both through `socketcall`, whose arguments no filter sees; it is allowed, as Docker allows it again (moby/profiles
/// 3c28324), because Go's and old libraries' 32-bit programs have no other way to open any socket.
fn sockets() -> impl Iterator<Item = Syscall> {
    let below = allow("socket", "SCMP_CMP_LT", 38);
    std::iter::once(below)
        .chain([39, 41, 42, 43, 44, 45].map(|family| allow("socket", "SCMP_CMP_EQ", family)))
}

/// Linux, 32-bit Linux, and both with the old uname (UNAME26); asking (0xffffffff). Others weaken address randomisation.
fn personalities() -> impl Iterator<Item = Syscall> {
    [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff]
        .into_iter()
        .map(|value| allow("personality", "SCMP_CMP_EQ", value))
}

/// Threads and processes, but no new namespaces: those give a container's root capabilities over much more of the kernel. The flags
/// of `clone3` are in memory, where no filter sees them: it does not exist, and C libraries fall back to `clone`.
fn clones() -> [Syscall; 2] {
    const NAMESPACES: u64 = 0x7e02_0000;
    let no_clone3 = Syscall {
        names: vec!["clone3".into()],
        action: "SCMP_ACT_ERRNO".into(),
        errno_ret: Some(ENOSYS),
        args: Vec::new(),
    };
    [allow("clone", "SCMP_CMP_MASKED_EQ", NAMESPACES), no_clone3]
}

#[cfg(test)]
#[path = "../default_tests.rs"]
mod tests;
