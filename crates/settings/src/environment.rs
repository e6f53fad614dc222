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
/// Bytes, like `store.budget`.
pub const STORE_BUDGET: &str = "ONGGI_STORE_BUDGET";
/// Like `store.keep_blobs`.
pub const STORE_KEEP_BLOBS: &str = "ONGGI_STORE_KEEP_BLOBS";
/// Bytes, like `store.layer_limit`.
pub const STORE_LAYER_LIMIT: &str = "ONGGI_STORE_LAYER_LIMIT";
/// Like `store.owner`.
pub const STORE_OWNER: &str = "ONGGI_STORE_OWNER";
/// Like `store.layers`.
pub const STORE_LAYERS: &str = "ONGGI_STORE_LAYERS";
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
/// Sends the program a signal at the step of `ONGGI_FAULT` instead of killing it; for tests.
pub const FAULT_SIGNAL: &str = "ONGGI_FAULT_SIGNAL";
/// A file to which each step passed is appended (`onggi_sys::fault`); for tests.
pub const FAULT_TRACE: &str = "ONGGI_FAULT_TRACE";

/// Beginnings of those that the project's scripts, tests and benchmarks read, which a program started by them finds as well.
const OF_SCRIPTS: [&str; 8] = [
    "ONGGI_TEST_",
    "ONGGI_BENCH_",
    "ONGGI_GUEST_",
    "ONGGI_IMAGES",
    "ONGGI_PEERS",
    "ONGGI_REGENERATE",
    "ONGGI_STARTED_",
    "ONGGI_SUDO",
];

/// Those of this process that look like Onggi's and that it does not know: misspelled, or of another version.
#[must_use]
pub fn unknown() -> Vec<String> {
    let mut names: Vec<String> =
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    names.retain(|name| is_unknown(name));
    names.sort();
    names
}

fn is_unknown(name: &str) -> bool {
    name.starts_with("ONGGI_")
        && ![MONITOR, CONFIG, FAULT, FAULT_SIGNAL, FAULT_TRACE].contains(&name)
        && !crate::KEYS.iter().any(|key| key.variable == name)
        && !OF_SCRIPTS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_reads_is_unknown() {
        for name in
            ["ONGGI_ROOT", "ONGGI_LOG_MAX_SIZE", "ONGGI_CONFIG", "ONGGI_TEST_FULL", "DOCKER_HOST", "ONGGI"]
        {
            assert!(!is_unknown(name), "{name}");
        }
        for name in ["ONGGI_ROOTS", "ONGGI_LOG_SIZE", "ONGGI_", "ONGGI_FAULTS"] {
            assert!(is_unknown(name), "{name}");
        }
    }
}
