//! Every environment variable that Onggi reads, each in one place with what it does.
//!
//! A variable that stands for a key of `onggi.toml` wins over every file and loses to a flag; an empty one counts as not set.

/// The data root, like `root`.
pub const ROOT: &str = "ONGGI_ROOT";
/// The run root, like `run_root`.
pub const RUN_ROOT: &str = "ONGGI_RUN_ROOT";
/// `onggi` or `docker`, like `compat`.
pub const COMPAT: &str = "ONGGI_COMPAT";
/// Like `pids_limit`.
pub const PIDS_LIMIT: &str = "ONGGI_PIDS_LIMIT";
/// Like `shm_size`.
pub const SHM_SIZE: &str = "ONGGI_SHM_SIZE";
/// Seconds, like `stop_timeout`.
pub const STOP_TIMEOUT: &str = "ONGGI_STOP_TIMEOUT";
/// Like `cgroup_parent`.
pub const CGROUP_PARENT: &str = "ONGGI_CGROUP_PARENT";
/// Like `detach_keys`.
pub const DETACH_KEYS: &str = "ONGGI_DETACH_KEYS";
/// Like `log.driver`.
pub const LOG_DRIVER: &str = "ONGGI_LOG_DRIVER";
/// Like `log.max_size`.
pub const LOG_MAX_SIZE: &str = "ONGGI_LOG_MAX_SIZE";
/// Like `log.max_file`.
pub const LOG_MAX_FILE: &str = "ONGGI_LOG_MAX_FILE";
/// Like `registry.mirrors`.
pub const REGISTRY_MIRRORS: &str = "ONGGI_REGISTRY_MIRRORS";
/// Like `registry.insecure`.
pub const REGISTRY_INSECURE: &str = "ONGGI_REGISTRY_INSECURE";
/// Like `network.default`.
pub const NETWORK_DEFAULT: &str = "ONGGI_NETWORK_DEFAULT";
/// Like `network.pools`.
pub const NETWORK_POOLS: &str = "ONGGI_NETWORK_POOLS";
/// The monitor program to run in place of the one beside `onggi`; for tests and development.
pub const MONITOR: &str = "ONGGI_MONITOR";
/// The directory read in place of `/etc/onggi`; for tests, and for a second, separate installation.
pub const CONFIG: &str = "ONGGI_CONFIG";
/// Kills the program at a named step (`onggi_sys::fault`); for tests.
pub const FAULT: &str = "ONGGI_FAULT";
/// A file to which each step passed is appended (`onggi_sys::fault`); for tests.
pub const FAULT_TRACE: &str = "ONGGI_FAULT_TRACE";
