//! How much of the host a container may use.

use serde::{Deserialize, Serialize};

/// Limits; `None` is "not asked for", and nothing is written then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Memory and swap together, bytes; −1 is no limit on swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// Billionths of a processor: `--cpus 0.5` is 500 000 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds in each period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// −1 is no limit; `None`: the settings'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// 0 to 100; cgroup v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u64>,
    /// Wait for memory where others are killed; cgroup v1 only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    #[serde(skip_serializing_if = "BlockLimits::is_empty")]
    pub block: BlockLimits,
}

/// Shares and rates of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockLimits {
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Weights, 10 to 1000.
    pub weight_device: Vec<DeviceAmount>,
    /// Bytes in a second; 0 is no limit.
    pub read_bps: Vec<DeviceAmount>,
    pub write_bps: Vec<DeviceAmount>,
    /// Operations in a second; 0 is no limit.
    pub read_iops: Vec<DeviceAmount>,
    pub write_iops: Vec<DeviceAmount>,
}

impl BlockLimits {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == BlockLimits::default()
    }

    /// Every amount for one device.
    pub(crate) fn of_devices(&self) -> impl Iterator<Item = &DeviceAmount> {
        [&self.weight_device, &self.read_bps, &self.write_bps, &self.read_iops, &self.write_iops]
            .into_iter()
            .flatten()
    }
}

/// `/dev/sda:1mb`: a block device of the host, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAmount {
    pub path: String,
    pub amount: u64,
}

/// `--ulimit name=soft[:hard]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower case without `RLIMIT_`: `nofile`.
    pub name: String,
    /// `u64::MAX` is "no limit".
    pub soft: u64,
    pub hard: u64,
}
