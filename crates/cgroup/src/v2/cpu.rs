//! `cpu`: weight, quota and burst.

use onggi_oci::Cpu;

use crate::Error;
use crate::plan::Limits;

/// The kernel's own period, used when only a quota is given.
const DEFAULT_PERIOD_MICROSECONDS: u64 = 100_000;

pub(super) fn limits(limits: &mut Limits<'_>, cpu: &Cpu) -> Result<(), Error> {
    if cpu.realtime_runtime.is_some_and(|value| value != 0)
        || cpu.realtime_period.is_some_and(|value| value != 0)
    {
        let reason = "cgroup v2 has no limits of real-time scheduling";
        return Err(Error::Unsupported { limit: "cpu real-time period and runtime".into(), reason });
    }
    if let Some(idle) = cpu.idle {
        limits.write("cpu idle", "cpu", "cpu.idle", idle)?;
    }
    // A weight cannot be set on an idle group (EINVAL).
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0 && cpu.idle != Some(1)) {
        limits.write("cpu shares", "cpu", "cpu.weight", weight(shares))?;
    }
    let (quota, period) = (cpu.quota.filter(|&quota| quota != 0), cpu.period.filter(|&period| period != 0));
    if quota.is_some() || period.is_some() {
        let amount =
            quota.filter(|&quota| quota > 0).map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        let value = format!("{amount} {}", period.unwrap_or(DEFAULT_PERIOD_MICROSECONDS));
        limits.write("cpu quota", "cpu", "cpu.max", value)?;
    }
    if let Some(burst) = cpu.burst {
        limits.write("cpu burst", "cpu", "cpu.max.burst", burst)?;
    }
    Ok(())
}

/// v1's shares (2 to 262144, 1024 by default) as a weight (1 to 10000, 100 by default), so that both ends *and* both defaults
/// meet: the quadratic of runc 1.3.2, crun 1.23 and Kubernetes (KEP-2254 had a straight line, which gave 1024 shares a weight of 39).
#[must_use]
pub fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            10f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn shares_become_the_weights_that_other_runtimes_write() {
        let table = [
            (1, 1),
            (2, 1),
            (3, 2),
            (128, 21),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_143, 10_000),
            (1 << 40, 10_000),
        ];
        for (shares, expected) in table {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }
}
