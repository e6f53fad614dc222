//! `memory`: v1 limits memory, and memory and swap together ("memsw").

use onggi_oci::Memory;

use crate::Error;
use crate::plan::{IfMissing, Limits};
use crate::v2::bad_swap;

const LIMIT: &str = "memory.limit_in_bytes";
const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";

pub(super) fn limits(limits: &mut Limits<'_>, memory: &Memory) -> Result<(), Error> {
    if memory.kernel.is_some_and(|kernel| kernel > 0) {
        let reason = "Linux 5.16 removed it; kernel memory counts within the memory limit";
        return Err(Error::Unsupported { limit: "kernel memory limit".into(), reason });
    }
    let limit = memory.limit.filter(|&limit| limit != 0);
    let swap = memory.swap.filter(|&swap| swap != 0);
    if let Some(swap) = swap.filter(|&swap| swap > 0) {
        match limit {
            None | Some(i64::MIN..0) => {
                return Err(bad_swap("a limit of memory and swap needs a limit of memory".into()));
            }
            Some(limit) if swap < limit => {
                return Err(bad_swap(format!(
                    "{swap} bytes of memory and swap together are less than the {limit} bytes of memory"
                )));
            }
            Some(_) => {}
        }
    }
    // Memory first: the kernel keeps memory ≤ memsw, and a new group has neither limit.
    if let Some(limit) = limit {
        limits.write("memory limit", "memory", LIMIT, limit.max(-1))?;
    }
    if let Some(swap) = swap {
        let if_missing = if swap < 0 { IfMissing::Skip } else { IfMissing::Refuse };
        limits.write_or("memory swap", "memory", WITH_SWAP, swap.max(-1), if_missing)?;
    }
    if let Some(reservation) = memory.reservation.filter(|&reservation| reservation != 0) {
        limits.write("memory reservation", "memory", "memory.soft_limit_in_bytes", reservation.max(-1))?;
    }
    if let Some(kernel) = memory.kernel_tcp.filter(|&kernel| kernel != 0) {
        limits.write(
            "kernel TCP memory limit",
            "memory",
            "memory.kmem.tcp.limit_in_bytes",
            kernel.max(-1),
        )?;
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            let reason = format!("{swappiness} is not between 0 and 100");
            return Err(Error::BadLimit { limit: "memory swappiness".into(), reason });
        }
        limits.write("memory swappiness", "memory", "memory.swappiness", swappiness)?;
    }
    if memory.disable_oom_killer == Some(true) {
        limits.write("disabling the out-of-memory killer", "memory", "memory.oom_control", 1)?;
    }
    if let Some(hierarchical) = memory.use_hierarchy {
        limits.write("memory hierarchy", "memory", "memory.use_hierarchy", u8::from(hierarchical))?;
    }
    Ok(())
}
