//! An engine of its own for each test, with a real image and the real monitor, and a look at what is left behind.

// clippy.toml allows it in tests only, and takes these helpers for none.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use onggi_engine::request::{RunRequest, StartOptions, Streams};
use onggi_engine::{ContainerId, Engine, Exit, Session};
use onggi_settings::{Flags, Settings, Sources};
use onggi_store::ImportOptions;

/// Roots in a directory of their own, removed at the end.
pub(crate) struct Host {
    directory: tempfile::TempDir,
    /// The data root is a file system of its own.
    mounted: bool,
    pub(crate) engine: Engine,
}

impl Host {
    pub(crate) fn new() -> Host {
        require_root();
        // The run root holds sockets and mounts: on a tmpfs, as on a real host.
        Host::in_directory(
            tempfile::Builder::new().prefix("onggi-engine-").tempdir_in("/var/tmp").unwrap(),
            false,
        )
    }

    /// What it keeps is on a disk of its own, of 64 MiB.
    pub(crate) fn on_small_disk() -> Host {
        require_root();
        let directory = tempfile::Builder::new().prefix("onggi-engine-").tempdir_in("/var/tmp").unwrap();
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("small", &data, "tmpfs", flags, Some(c"size=64m")).unwrap();
        Host::in_directory(directory, true)
    }

    fn in_directory(directory: tempfile::TempDir, mounted: bool) -> Host {
        let settings = settings(directory.path());
        let engine = Engine::open(settings).unwrap();
        let mut tar = std::fs::File::open(onggi_testkit::image("busybox")).unwrap();
        let options = ImportOptions {
            name: Some(onggi_image::Reference::parse("busybox").unwrap()),
            changes: vec!["CMD [\"sh\"]".to_owned(), "ENV FROM_IMAGE=yes".to_owned()],
            ..ImportOptions::default()
        };
        engine.store().import(&mut tar, &options, &onggi_store::Silent).unwrap();
        Host { directory, mounted, engine }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn run_root(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// A second engine over the same roots, as another command would have.
    pub(crate) fn another(&self) -> Engine {
        Engine::open(settings(self.directory.path())).unwrap()
    }

    /// Runs attached and answers how it ended, and its output and error.
    pub(crate) fn run(&self, request: &RunRequest) -> (Exit, String, String) {
        let created = self.engine.create(request).unwrap();
        let options = StartOptions { attach: both(), ..StartOptions::default() };
        let session = self.engine.start(&created.id, &options).unwrap();
        finish(session)
    }

    /// Starts without attaching.
    pub(crate) fn start(&self, request: &RunRequest) -> ContainerId {
        let created = self.engine.create(request).unwrap();
        self.engine.start(&created.id, &StartOptions::default()).unwrap();
        created.id
    }

    pub(crate) fn status(&self, id: &ContainerId) -> String {
        self.engine.inspect(id).unwrap()["State"]["Status"].as_str().unwrap().to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for summary in self
            .engine
            .list(&onggi_engine::request::ListOptions { all: true, ..Default::default() })
            .unwrap_or_default()
        {
            let options = onggi_engine::request::RemoveOptions { force: true, volumes: true };
            let _ = self.engine.remove(&summary.id, &options);
        }
        let unmounted = self.engine.store().unmount_all();
        let left = |path: PathBuf| -> Vec<String> {
            std::fs::read_dir(path)
                .map(|entries| entries.map(|entry| entry.unwrap().path().display().to_string()).collect())
                .unwrap_or_default()
        };
        let kept: Vec<String> =
            ["containers", "tmp"].into_iter().flat_map(|name| left(self.data().join(name))).collect();
        if self.mounted {
            let _ = rustix::mount::unmount(self.data(), rustix::mount::UnmountFlags::DETACH);
        }
        if !std::thread::panicking() {
            unmounted.unwrap();
            assert_eq!(kept, Vec::<String>::new());
            assert_eq!(left(self.run_root().join("sandboxes")), Vec::<String>::new());
            assert_eq!(left(self.run_root().join("unborn")), Vec::<String>::new());
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "mounts are left");
        }
    }
}

pub(crate) fn both() -> Streams {
    Streams { stdin: false, stdout: true, stderr: true }
}

/// Reads the framed stream to its end, then waits.
pub(crate) fn finish(mut session: Session) -> (Exit, String, String) {
    let mut stream = session.stream.take().unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut header = [0; 8];
    while stream.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let mut piece = vec![0; length];
        stream.read_exact(&mut piece).unwrap();
        if header[0] == 2 { err.extend(piece) } else { out.extend(piece) }
    }
    let exit = session.wait().unwrap();
    (exit, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
}

pub(crate) fn busybox(command: &[&str]) -> RunRequest {
    RunRequest {
        image: "busybox".to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        attach: both(),
        ..RunRequest::default()
    }
}

pub(crate) fn shell(script: &str) -> RunRequest {
    busybox(&["sh", "-c", script])
}

fn settings(directory: &Path) -> Settings {
    let program = monitor();
    let lookup = |name: &str| (name == "ONGGI_MONITOR").then(|| program.clone().into_os_string());
    let sources = Sources { system: directory.join("etc"), variable: &lookup };
    let flags = Flags { root: Some(directory.join("data")), run_root: Some(directory.join("run")) };
    Settings::load_from(&sources, 0, &flags).unwrap()
}

/// The monitor of the same build: cargo gives a test only the programs of its own package.
fn monitor() -> PathBuf {
    static MONITOR: OnceLock<PathBuf> = OnceLock::new();
    MONITOR
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("ONGGI_MONITOR") {
                return path.into();
            }
            let own = std::env::current_exe().unwrap();
            let directory = own.parent().and_then(Path::parent).unwrap();
            let mut command = Command::new(env!("CARGO"));
            command.args(["build", "--quiet", "--package", "onggi-monitor"]);
            if directory.ends_with("release") {
                command.arg("--release");
            }
            assert!(command.status().unwrap().success(), "onggi-monitor does not build");
            directory.join("onggi-monitor")
        })
        .clone()
}

fn require_root() {
    assert!(rustix::process::geteuid().is_root(), "this test makes containers: run it as root");
}
