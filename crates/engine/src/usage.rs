//! What a container has used up to now: one reading of its cgroup and of its network interfaces.

use std::path::Path;
use std::time::Instant;

use onggi_cgroup::Stats;

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::request::Network;

/// One reading.
#[derive(Debug, Clone)]
pub struct Usage {
    pub id: ContainerId,
    pub name: String,
    /// When it was taken, for the difference to another.
    pub at: Instant,
    /// All zero for a container that does not run.
    pub cgroup: Stats,
    /// Bytes; the machine's memory where the container has no limit; 0 for one that does not run.
    pub memory_limit: u64,
    /// Bytes over all interfaces but the loopback. 0 in the host's network, whose traffic is not the container's.
    pub received: u64,
    pub sent: u64,
}

impl Usage {
    /// Nanoseconds of processor time since `before` for each nanosecond that has passed: 2.0 is two whole processors.
    #[must_use]
    pub fn processors(&self, before: &Usage) -> f64 {
        let passed = self.at.saturating_duration_since(before.at).as_nanos();
        // It may have been started anew in between.
        let used = self.cgroup.cpu.usage.saturating_sub(before.cgroup.cpu.usage);
        if passed == 0 { 0.0 } else { used as f64 / passed as f64 }
    }

    /// Bytes without what the kernel could drop at once, as Docker shows it.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let memory = &self.cgroup.memory;
        if memory.inactive_file < memory.usage { memory.usage - memory.inactive_file } else { memory.usage }
    }

    /// Bytes read from and written to block devices.
    #[must_use]
    pub fn disk(&self) -> (u64, u64) {
        let sum = |of: fn(&onggi_cgroup::DeviceIo) -> u64| self.cgroup.io.iter().map(of).sum();
        (sum(|device| device.read_bytes), sum(|device| device.write_bytes))
    }
}

impl Engine {
    /// Reads what a container has used since its start; zeroes if it does not run.
    ///
    /// # Errors
    /// There is no such container, or what the kernel says cannot be read; an ordinary user has no control groups.
    pub fn usage(&self, id: &ContainerId) -> Result<Usage, Error> {
        let record = self.record(id)?;
        let state = self.state(id)?;
        let mut usage = Usage {
            id: id.clone(),
            name: record.name,
            at: Instant::now(),
            cgroup: Stats::default(),
            memory_limit: 0,
            received: 0,
            sent: 0,
        };
        if !status(&state).is_live() {
            return Ok(usage);
        }
        if self.cgroups()?.is_none() {
            return Err(onggi_cgroup::Error::NotDelegated { limit: "stats", controller: "memory" }.into());
        }
        let is_gone = |error: &onggi_cgroup::Error| {
            use onggi_error::{Diagnose, Kind};
            error.kind() == Kind::NotFound
        };
        let stats = onggi_cgroup::Cgroup::open(self.cgroups()?, &record.resolved.cgroup);
        let stats = match stats.and_then(|cgroup| cgroup.stats()) {
            // It has ended between our look at its state and this.
            Err(error) if is_gone(&error) || !status(&self.state(id)?).is_live() => return Ok(usage),
            other => other?,
        };
        usage.at = Instant::now();
        let memory = rustix::system::sysinfo();
        let machine = (memory.totalram as u64).saturating_mul(memory.mem_unit.into());
        usage.memory_limit = stats.memory.limit.map_or(machine, |limit| limit.min(machine));
        usage.cgroup = stats;
        if record.request.network != Network::Host {
            // Its first process may have ended just now.
            let path = Path::new("/proc").join(state.pid.to_string()).join("net/dev");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            (usage.received, usage.sent) = interfaces(&text);
        }
        Ok(usage)
    }
}

/// The sums of `/proc/PID/net/dev`, two lines of titles before one for each interface: bytes received first, bytes sent ninth.
fn interfaces(text: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in text.lines().skip(2) {
        let Some((name, figures)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let figures: Vec<u64> =
            figures.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
        sums.0 += figures.first().copied().unwrap_or(0);
        sums.1 += figures.get(8).copied().unwrap_or(0);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use onggi_cgroup::{CpuStats, DeviceIo, MemoryStats};
    use std::time::Duration;

    #[test]
    fn interfaces_are_summed_without_the_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:  1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 700 5 0 0 0 0 0 0 30 2 0 0 0 0 0 0\n  eth1:20 1 0 0 0 0 0 0 4 1 0 0 0 0 0 0\nodd\n";
        assert_eq!(interfaces(text), (720, 34));
        assert_eq!(interfaces(""), (0, 0));
    }

    #[test]
    fn figures_are_dockers() {
        let before = Usage {
            id: "0".repeat(64).parse().unwrap(),
            name: "jar".into(),
            at: Instant::now(),
            cgroup: Stats::default(),
            memory_limit: 100,
            received: 0,
            sent: 0,
        };
        let io = |read_bytes, write_bytes| DeviceIo { read_bytes, write_bytes, ..DeviceIo::default() };
        let after = Usage {
            at: before.at + Duration::from_secs(2),
            cgroup: Stats {
                cpu: CpuStats { usage: 3_000_000_000, ..CpuStats::default() },
                memory: MemoryStats { usage: 50, inactive_file: 20, ..MemoryStats::default() },
                io: vec![io(1, 2), io(10, 20)],
                ..Stats::default()
            },
            ..before.clone()
        };
        assert!((after.processors(&before) - 1.5).abs() < 1e-9);
        assert!(before.processors(&after) < 1e-9, "a new start");
        assert_eq!((after.memory(), after.disk()), (30, (11, 22)));
    }
}
