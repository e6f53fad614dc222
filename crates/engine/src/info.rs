//! What this host and this store are, as `docker info` shows it, and what `doctor` looks at.

use serde_json::{Value, json};

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::state::Status;

impl Engine {
    /// Docker's `info`.
    ///
    /// # Errors
    /// The host or the store cannot be read.
    pub fn info(&self) -> Result<Value, Error> {
        let mut counts = [0_u64; 3];
        let rows = self.store.containers()?;
        for row in &rows {
            let Ok(id) = row.id.parse() else { continue };
            let Ok(state) = self.state(&id) else { continue };
            let place = match status(&state) {
                Status::Running | Status::Restarting => 0,
                Status::Paused => 1,
                _ => 2,
            };
            counts[place] += 1;
        }
        let cgroups = self.cgroups()?;
        let rootless = self.is_rootless();
        let layers = if rootless { "directories" } else { "EROFS index over the layer's tar" };
        let networks: &[&str] = if rootless { &["host", "null"] } else { &["bridge", "host", "null"] };
        let mut security = vec!["name=seccomp,profile=builtin", "name=cgroupns"];
        security.extend(rootless.then_some("name=rootless"));
        let has = |controller: &str| cgroups.has_controller(controller);
        let uname = rustix::system::uname();
        let memory = rustix::system::sysinfo();
        Ok(json!({
            "ID": "",
            "Containers": counts.iter().sum::<u64>(),
            "ContainersRunning": counts[0],
            "ContainersPaused": counts[1],
            "ContainersStopped": counts[2],
            "Images": self.store.images()?.len(),
            "Driver": "overlay",
            "DriverStatus": [["Layers", layers], ["Data root", self.paths.data], ["Run root", self.paths.run]],
            "Plugins": { "Volume": ["local"], "Network": networks, "Authorization": null, "Log": ["json-file", "none"] },
            "MemoryLimit": has("memory"),
            "SwapLimit": crate::host::can_limit_swap(cgroups),
            "CpuCfsPeriod": has("cpu"),
            "CpuCfsQuota": has("cpu"),
            "CPUShares": has("cpu"),
            "CPUSet": has("cpuset"),
            "PidsLimit": has("pids"),
            "IPv4Forwarding": std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() != "0"),
            "Debug": false,
            "OomKillDisable": cgroups.version() == "v1" && has("memory"),
            "NGoroutines": 0,
            "SystemTime": onggi_monitor::clock::Moment::now().to_string(),
            "LoggingDriver": self.settings.log_driver.name(),
            "CgroupDriver": if cgroups.is_none() { "none" } else { "cgroupfs" },
            "CgroupVersion": cgroups.version().trim_start_matches('v'),
            "NEventsListener": 0,
            "KernelVersion": uname.release().to_string_lossy(),
            "OperatingSystem": operating_system(),
            "OSVersion": "",
            "OSType": "linux",
            "Architecture": uname.machine().to_string_lossy(),
            "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "MemTotal": memory.totalram as u64 * u64::from(memory.mem_unit.max(1)),
            "DockerRootDir": self.paths.data,
            "Name": uname.nodename().to_string_lossy(),
            "Labels": [],
            "ExperimentalBuild": false,
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Runtimes": { "onggi": { "path": "built in" } },
            "DefaultRuntime": "onggi",
            "LiveRestoreEnabled": true,
            "Isolation": "",
            "InitBinary": "built in",
            "SecurityOptions": security,
            "Warnings": null,
        }))
    }
}

/// `PRETTY_NAME` of os-release(5).
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}
