//! `cpu`: shares, quota and real-time.

use onggi_oci::Cpu;

use crate::Error;
use crate::plan::Limits;

pub(super) fn limits(limits: &mut Limits<'_>, cpu: &Cpu) -> Result<(), Error> {
    if let Some(idle) = cpu.idle {
        limits.write("cpu idle", "cpu", "cpu.idle", idle)?;
    }
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0 && cpu.idle != Some(1)) {
        // The kernel takes any number and makes the nearest of these of it.
        if !(2..=262_144).contains(&shares) {
            let reason = if shares < 2 {
                "the minimum allowed cpu-shares is 2"
            } else {
                "the maximum allowed cpu-shares is 262144"
            };
            return Err(Error::BadLimit { limit: "cpu shares".into(), reason: reason.into() });
        }
        limits.write("cpu shares", "cpu", "cpu.shares", shares)?;
    }
    // The period first: the quota is checked against it. Where only the other order can be, it is found by trying.
    if let Some(period) = cpu.period.filter(|&period| period != 0) {
        limits.write("cpu period", "cpu", "cpu.cfs_period_us", period)?;
    }
    if let Some(quota) = cpu.quota.filter(|&quota| quota != 0) {
        limits.write("cpu quota", "cpu", "cpu.cfs_quota_us", quota)?;
    }
    if let Some(burst) = cpu.burst {
        limits.write("cpu burst", "cpu", "cpu.cfs_burst_us", burst)?;
    }
    if let Some(period) = cpu.realtime_period.filter(|&period| period != 0) {
        limits.write("cpu real-time period", "cpu", "cpu.rt_period_us", period)?;
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|&runtime| runtime != 0) {
        limits.write("cpu real-time runtime", "cpu", "cpu.rt_runtime_us", runtime)?;
    }
    Ok(())
}
