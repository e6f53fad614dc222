//! `memory`: limit, swap and protection. 0 is "not given", as in runc and crun; −1 is "no limit".

use onggi_oci::Memory;

use crate::Error;
use crate::plan::{IfMissing, Limits};

pub(super) fn limits(limits: &mut Limits<'_>, memory: &Memory) -> Result<(), Error> {
    refuse_what_is_gone(memory)?;
    if let Some(limit) = memory.limit.filter(|&limit| limit != 0) {
        limits.write("memory limit", "memory", "memory.max", value(limit))?;
    }
    if let Some(swap) = swap_alone(memory)? {
        // A kernel without swap has no such file, and then "no limit" is already true.
        let if_missing = if swap < 0 { IfMissing::Skip } else { IfMissing::Refuse };
        limits.write_or("memory swap", "memory", "memory.swap.max", value(swap), if_missing)?;
    }
    if let Some(reservation) = memory.reservation.filter(|&reservation| reservation != 0) {
        limits.write("memory reservation", "memory", "memory.low", value(reservation))?;
    }
    Ok(())
}

fn value(bytes: i64) -> String {
    if bytes < 0 { "max".into() } else { bytes.to_string() }
}

/// v2 limits swap by itself where the configuration, made for v1, gives memory and swap together. −1: no limit.
fn swap_alone(memory: &Memory) -> Result<Option<i64>, Error> {
    let limit = memory.limit.filter(|&limit| limit != 0);
    match (memory.swap.filter(|&swap| swap != 0), limit) {
        (None, _) => Ok(None),
        (Some(swap), _) if swap < 0 => Ok(Some(-1)),
        (Some(_), None | Some(i64::MIN..0)) => {
            Err(bad_swap("a limit of memory and swap needs a limit of memory".into()))
        }
        (Some(swap), Some(limit)) if swap < limit => Err(bad_swap(format!(
            "{swap} bytes of memory and swap together are less than the {limit} bytes of memory"
        ))),
        (Some(swap), Some(limit)) => Ok(Some(swap - limit)),
    }
}

pub(crate) fn bad_swap(reason: String) -> Error {
    Error::BadLimit { limit: "memory swap".into(), reason }
}

fn refuse_what_is_gone(memory: &Memory) -> Result<(), Error> {
    let gone = |limit: &str, reason| Err(Error::Unsupported { limit: limit.into(), reason });
    if memory.kernel.is_some_and(|kernel| kernel > 0) {
        return gone("kernel memory limit", "cgroup v2 counts kernel memory within the memory limit");
    }
    if memory.kernel_tcp.is_some_and(|kernel| kernel > 0) {
        return gone("kernel TCP memory limit", "cgroup v2 counts socket buffers within the memory limit");
    }
    if memory.swappiness.is_some() {
        return gone("memory swappiness", "cgroup v2 has no swappiness for a group");
    }
    if memory.disable_oom_killer == Some(true) {
        return gone("disabling the out-of-memory killer", "cgroup v2 always kills when memory runs out");
    }
    if memory.use_hierarchy == Some(false) {
        return gone("memory without hierarchy", "cgroup v2 is always hierarchical");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_the_sum_leaves() {
        let of = |limit, swap| swap_alone(&Memory { limit, swap, ..Memory::default() });
        assert_eq!(of(Some(64), Some(64)).unwrap(), Some(0));
        assert_eq!(of(Some(64), Some(100)).unwrap(), Some(36));
        assert_eq!(of(Some(64), Some(-1)).unwrap(), Some(-1));
        assert_eq!(of(Some(-1), Some(-1)).unwrap(), Some(-1));
        assert_eq!(of(Some(64), Some(0)).unwrap(), None);
        assert!(of(Some(64), Some(63)).is_err());
        assert!(of(None, Some(63)).is_err());
        assert!(of(Some(-1), Some(63)).is_err());
    }
}
