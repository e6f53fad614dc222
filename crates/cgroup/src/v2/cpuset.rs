//! `cpuset`: on which processors and memory nodes. An empty value means the parent's, so nothing is copied as on v1.

use onggi_oci::Cpu;

use crate::Error;
use crate::plan::Limits;

pub(crate) fn limits(limits: &mut Limits<'_>, cpu: &Cpu) -> Result<(), Error> {
    if let Some(cpus) = cpu.cpus.as_deref().filter(|list| !list.is_empty()) {
        limits.write("cpuset cpus", "cpuset", "cpuset.cpus", cpus)?;
    }
    if let Some(mems) = cpu.mems.as_deref().filter(|list| !list.is_empty()) {
        limits.write("cpuset mems", "cpuset", "cpuset.mems", mems)?;
    }
    Ok(())
}
