//! When, where and with which memory a process runs: `sched_setattr(2)`, `sched_setaffinity(2)`, `set_mempolicy(2)`.

use std::io;

/// The attributes of `struct sched_attr` in its first form (Linux 3.14), which every later kernel takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// −20 to 19, for the time-sharing policies.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`, like the next two.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// `struct sched_attr` of linux/sched/types.h.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the scheduling of the calling thread.
///
/// # Errors
/// The kernel's: `EPERM` without CAP_SYS_NICE, or for `SCHED_DEADLINE` if the thread may not run on every processor; `EINVAL`; `EBUSY`
/// if there is no time left to promise.
pub fn set_scheduler(attributes: &Attributes) -> io::Result<()> {
    let Attributes { policy, flags, nice, priority, runtime, deadline, period } = *attributes;
    let size = size_of::<SchedAttr>() as u32;
    let attributes = SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads `size` bytes from the structure, which lives until the call returns, and writes only its `size` back
    // if it is one that the kernel does not know.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Limits the calling thread to these processors.
///
/// # Errors
/// The kernel's: `EINVAL` if it may run on none of them.
pub fn set_affinity(processors: &[u32]) -> io::Result<()> {
    set_mask(&bits(processors))
}

/// Lets the calling thread run on every processor, those that come later too, as far as its cpuset allows.
///
/// # Errors
/// The kernel's.
pub fn reset_affinity() -> io::Result<()> {
    // More than any kernel is built for; what is too much the kernel cuts.
    set_mask(&[u64::MAX; 1024])
}

/// The mask of the processors that the calling thread may run on, lowest number first.
///
/// # Errors
/// The kernel's.
pub fn affinity() -> io::Result<Vec<u64>> {
    let mut mask = vec![0_u64; 1024];
    // SAFETY: the kernel writes at most as many bytes as it is told, all of them inside `mask`.
    let written = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, mask.len() * 8, mask.as_mut_ptr()) };
    check(written)?;
    mask.truncate(written as usize / 8);
    Ok(mask)
}

/// Takes a mask as [`affinity`] gave it.
///
/// # Errors
/// The kernel's.
pub fn set_mask(mask: &[u64]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as it is told, all of them inside `mask`.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
}

/// How many processors are online.
#[must_use]
pub fn processors() -> u32 {
    // SAFETY: no memory is passed.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u32::try_from(count).unwrap_or(1)
}

/// Sets where the calling thread's memory comes from: `mode` is `MPOL_…` with its flags.
///
/// # Errors
/// The kernel's: `EINVAL` for nodes that there are not or a mode that it does not know, `ENOSYS` without NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> io::Result<()> {
    let mask = bits(nodes);
    // The kernel reads one bit less than it is told (its `get_nodes`), and wants no mask for an empty one.
    let (pointer, count) =
        if nodes.is_empty() { (std::ptr::null(), 0) } else { (mask.as_ptr(), mask.len() * 64 + 1) };
    // SAFETY: the kernel reads `count - 1` bits from the mask, which has as many and lives until the call returns.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, count) })
}

/// A set of numbers as the kernel takes it: a long bit string, lowest number first.
fn bits(numbers: &[u32]) -> Vec<u64> {
    let highest = numbers.iter().copied().max().unwrap_or(0);
    let mut mask = vec![0_u64; highest as usize / 64 + 1];
    for &number in numbers {
        mask[number as usize / 64] |= 1 << (number % 64);
    }
    mask
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_bit_strings() {
        assert_eq!(bits(&[]), [0]);
        assert_eq!(bits(&[0, 2, 63]), [1 << 63 | 0b101]);
        assert_eq!(bits(&[64]), [0, 1]);
    }

    #[test]
    fn a_mask_that_was_asked_for_can_be_given_back() {
        let before = affinity().unwrap();
        let first = before[0].trailing_zeros();
        set_affinity(&[first]).unwrap();
        assert_eq!(affinity().unwrap()[0], 1 << first);
        reset_affinity().unwrap();
        set_mask(&before).unwrap();
        assert_eq!(affinity().unwrap(), before);
    }

    #[test]
    fn a_policy_is_set_for_the_calling_thread() {
        let batch = Attributes { policy: 3, nice: 5, ..Attributes::default() };
        set_scheduler(&batch).unwrap();
        // SAFETY: no memory is passed.
        assert_eq!(unsafe { libc::sched_getscheduler(0) }, 3);
        assert!(set_scheduler(&Attributes { policy: 99, ..batch }).is_err());
    }
}
