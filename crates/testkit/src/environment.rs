//! An Onggi of a test's own: its roots in a fresh directory, its commands, and what must be gone when the test ends.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::command::{Child, Output, Run};
use crate::leaks;
use crate::ordinary::Ordinary;
use crate::process::{Process, processes_mentioning};
use crate::terminal::Terminal;

/// A fresh data root and run root, and the program under test.
#[derive(Debug)]
pub struct TestEnv {
    program: PathBuf,
    directory: TempDir,
    descriptors: usize,
    /// The data root is a disk of its own.
    small_disk: bool,
    /// Who types the commands, if not root.
    user: Option<Ordinary>,
}

impl TestEnv {
    /// An empty Onggi. `program` is the built `onggi`, with `onggi-monitor` beside it. With `ONGGI_TEST_USER=ordinary` the commands are
    /// an ordinary user's.
    ///
    /// # Panics
    /// If the tests do not run as root, or the monitor has not been built.
    #[must_use]
    pub fn new(program: &str) -> TestEnv {
        assert!(
            rustix::process::geteuid().is_root(),
            "end-to-end tests start containers and so need root: ./test runs them so"
        );
        let program = PathBuf::from(program);
        let monitor = program.with_file_name("onggi-monitor");
        assert!(monitor.exists(), "{} is missing: cargo build --workspace --bins", monitor.display());
        let descriptors = open_descriptors();
        let directory =
            tempfile::Builder::new().prefix("onggi-test-").tempdir().expect("a temporary directory");
        let mut onggi = TestEnv { program, directory, descriptors, small_disk: false, user: None };
        if std::env::var_os("ONGGI_TEST_USER").is_some_and(|user| user == "ordinary") {
            onggi.user = Some(Ordinary::new(onggi.directory.path()));
        }
        onggi
    }

    /// As [`TestEnv::new`], for an ordinary user's commands.
    #[must_use]
    pub fn of_ordinary_user(program: &str) -> TestEnv {
        let mut onggi = TestEnv::new(program);
        if onggi.user.is_none() {
            onggi.user = Some(Ordinary::new(onggi.directory.path()));
        }
        onggi
    }

    /// Whether the commands are an ordinary user's.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        self.user.is_some()
    }

    /// What /etc/subuid and /etc/subgid say to the ordinary user `tester`.
    ///
    /// # Panics
    /// If the commands are root's.
    pub fn grant_ids(&self, lines: &str) {
        self.user.as_ref().expect("an ordinary user").grant(lines);
    }

    /// Delegates a control group of each of these version 1 hierarchies (`memory`), or of version 2's one tree, to the ordinary user.
    ///
    /// # Panics
    /// If the commands are root's.
    pub fn delegate(&self, hierarchies: &[&str]) {
        self.user.as_ref().expect("an ordinary user").delegate(hierarchies);
    }

    /// The process that holds the ordinary user's namespace, if one does.
    #[must_use]
    pub fn holder(&self) -> Option<Process> {
        let words = format!("onggi-monitor hold {}", self.run_root().display());
        processes_mentioning(self.directory.path())
            .into_iter()
            .find(|process| process.read("cmdline").contains(&words))
    }

    /// As [`TestEnv::new`], with the image busybox in it.
    #[must_use]
    pub fn with_busybox(program: &str) -> TestEnv {
        let onggi = TestEnv::new(program);
        onggi.import("busybox");
        onggi
    }

    /// As [`TestEnv::with_busybox`], with the data root on a disk of its own of so many MiB.
    #[must_use]
    pub fn on_small_disk(program: &str, mebibytes: u32) -> TestEnv {
        let mut onggi = TestEnv::new(program);
        onggi.small_disk = true;
        fs::create_dir(onggi.data()).expect("the data root");
        let size = CString::new(format!("size={mebibytes}m")).expect("no zero byte");
        mount("small", onggi.data(), "tmpfs", MountFlags::empty(), Some(size.as_c_str())).expect("a tmpfs");
        onggi.own(&onggi.data());
        onggi.import("busybox");
        onggi
    }

    /// As [`TestEnv::new`], with the data root on the ext4 in a file, mounted with these options beside `loop`.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn on_image(program: &str, image: &Path, options: &str) -> TestEnv {
        let mut onggi = TestEnv::new(program);
        onggi.small_disk = true;
        fs::create_dir(onggi.data()).expect("the data root");
        // mount(8) finds a loop device that is free, and has it go with the mount.
        let mounted = Command::new("mount")
            .args(["-t", "ext4", "-o", &format!("loop,{options}")])
            .args([image, &onggi.data()])
            .output()
            .expect("mount(8)");
        assert!(mounted.status.success(), "mount: {}", String::from_utf8_lossy(&mounted.stderr));
        onggi
    }

    /// Leaves no byte free on the small disk, until [`TestEnv::empty_disk`].
    pub fn fill_disk(&self) {
        let mut file = fs::File::create(self.data().join("filler")).expect("a file on the small disk");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Leaves so many bytes free on the small disk, until [`TestEnv::empty_disk`].
    pub fn fill_disk_but(&self, room: u64) {
        self.fill_disk();
        let file = fs::File::options().write(true).open(self.data().join("filler"));
        let file = file.expect("it has been made");
        let length = file.metadata().expect("its size").len();
        file.set_len(length.saturating_sub(room)).expect("room");
    }

    /// Takes back what [`TestEnv::fill_disk`] did.
    pub fn empty_disk(&self) {
        fs::remove_file(self.data().join("filler")).expect("the disk was filled");
    }

    /// The data root.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The run root.
    #[must_use]
    pub fn run_root(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// A path for a file of the test's own, outside both roots.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        let directory = self.directory.path().join("files");
        fs::create_dir_all(&directory).expect("a directory of the test's");
        self.own(&directory);
        directory.join(name)
    }

    fn own(&self, path: &Path) {
        if let Some(user) = &self.user {
            user.own(path);
        }
    }

    /// A file of the test's own with that content.
    #[must_use]
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).expect("a file of the test's");
        self.own(&path);
        path
    }

    /// Imports an image made by recipe under its own name.
    pub fn import(&self, name: &str) {
        self.ok([OsStr::new("import"), crate::image(name).as_os_str(), OsStr::new(name)]);
    }

    /// A command line of `onggi`, to be given input or run.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        let run = match &self.user {
            None => Run::new(&self.program, arguments),
            Some(user) => {
                let words = user.words(&self.program);
                Run::behind(Path::new("unshare"), &words, arguments).env("HOME", self.directory.path())
            }
        };
        run.env("ONGGI_ROOT", self.data())
            .env("ONGGI_RUN_ROOT", self.run_root())
            .env("RUST_BACKTRACE", "1")
            // Registries of the tests are on this machine, which needs no proxy; no other is asked: nothing listens on this port.
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
    }

    /// Runs it to its end, whatever that is.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.command(arguments).output()
    }

    /// Runs it, fails the test unless it ends with 0, and gives its standard output without the last line's end.
    #[track_caller]
    pub fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.run(arguments).code(0);
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs it, and fails the test if it ends with 0.
    #[track_caller]
    pub fn fails<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        let output = self.run(arguments);
        assert_ne!(output.code, 0, "{output}");
        output
    }

    /// Starts it and goes on.
    pub fn spawn<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Child {
        self.command(arguments).spawn()
    }

    /// Starts it in a terminal of its own.
    pub fn terminal<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Terminal {
        Terminal::start(&self.command(arguments).into_command())
    }

    /// One value of `onggi inspect -f`.
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.ok(["inspect", "-f", format, name])
    }

    /// The container's first process, seen from the host.
    ///
    /// # Panics
    /// If the container does not run.
    #[must_use]
    pub fn first_process(&self, name: &str) -> Process {
        let pid = self.inspect(name, "{{.State.Pid}}");
        Process::open(pid.parse().expect("a number"))
            .unwrap_or_else(|| panic!("container {name} has no process {pid}"))
    }

    /// The monitor of the container: the parent of its first process.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn monitor(&self, name: &str) -> Process {
        let first = self.first_process(name);
        let status = first.read("status");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
        let monitor = Process::open(parent.trim().parse().expect("a number")).expect("the parent lives");
        assert_eq!(monitor.read("comm"), "onggi-monitor");
        monitor
    }

    /// Follows the events, from the first there was. Wait for a line with [`Child::expect`].
    #[must_use]
    pub fn events(&self, filters: &[&str]) -> Child {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        self.spawn(["events", "--since", "0"].into_iter().chain(filters))
    }

    /// Removes every container and says what is still there of what this Onggi made: processes, cgroups, mounts, files.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let ids = self.container_ids();
        let mut left = Vec::new();
        let listed = self.run(["ps", "-aq", "--no-trunc"]);
        if listed.code != 0 {
            left.push(format!("`ps` fails: {listed}"));
        }
        let names: Vec<&str> = listed.stdout.split_whitespace().collect();
        if !names.is_empty() {
            let removed = self.run(["rm", "-f"].iter().chain(&names));
            if removed.code != 0 {
                left.push(format!("`rm -f` fails: {removed}"));
            }
        }
        // It would end by itself, ten seconds after the last command: a test of its own waits for that.
        if let Some(holder) = self.holder() {
            holder.kill();
            // And with it would the way out.
            let _ = fs::remove_file(self.run_root().join("user-namespace/netns"));
        }
        // A monitor may still be writing its last event when `rm` has its answer; it has nothing to wait for any more.
        for process in processes_mentioning(self.directory.path()) {
            if !process.ends_within(Duration::from_secs(10)) {
                left.push(format!("process {} {}", process.pid, process.read("cmdline")));
                process.kill();
            }
        }
        if let Some(Err(error)) = self.user.as_ref().map(Ordinary::take_groups_back) {
            left.push(format!("a process in a delegated control group: {error}"));
        }
        let named = |text: &str| ids.iter().any(|id| text.contains(id.as_str()));
        let cgroups = leaks::cgroups().into_iter().map(|path| path.display().to_string());
        left.extend(cgroups.filter(|path| named(path)).map(|path| format!("cgroup {path}")));
        for directory in
            [self.run_root().join("sandboxes"), self.data().join("containers"), self.data().join("tmp")]
        {
            let names = leaks::names_in(&directory);
            left.extend(names.into_iter().map(|name| format!("file {}", directory.join(name).display())));
        }
        left.extend(self.network_leftovers(&ids));
        // Layers stay mounted until the machine stops or the image goes: that is by design, and the test's directory goes.
        let layers = self.run_root().join("layers");
        for mount in self.mounts() {
            let own_disk = self.small_disk && mount == self.data();
            if !own_disk && !mount.starts_with(&layers) {
                left.push(format!("mount {}", mount.display()));
            }
            if let Err(errno) = unmount(&mount, UnmountFlags::DETACH) {
                left.push(format!("mount {}: unmount: {errno}", mount.display()));
            }
        }
        left
    }

    /// What containers left on networks: live files, links, ports in the table. Bridges and the table stay by design, and go now.
    fn network_leftovers(&self, ids: &BTreeSet<String>) -> Vec<String> {
        let mut left = Vec::new();
        let networks = self.run_root().join("networks");
        for network in leaks::names_in(&networks) {
            for place in ["endpoints", "addresses", "names"] {
                let directory = networks.join(&network).join(place);
                let names = leaks::names_in(&directory);
                left.extend(names.into_iter().map(|name| format!("file {}", directory.join(name).display())));
            }
        }
        let is_ours = |link: &String| {
            ids.iter().any(|id| link.strip_prefix("og").is_some_and(|rest| rest.starts_with(&id[..8])))
        };
        // The kernel takes a network namespace apart when it has time to.
        let deadline = Instant::now() + PATIENCE;
        let mut links: Vec<String> = Vec::new();
        while Instant::now() < deadline {
            links = leaks::links().into_iter().filter(is_ours).collect();
            if links.is_empty() {
                break;
            }
            std::thread::yield_now();
        }
        left.extend(links.into_iter().map(|link| format!("link {link}")));
        for (bridge, alias) in leaks::bridges() {
            if alias.ends_with(&format!(" of {}", self.run_root().display())) {
                for table in leaks::take_away(&bridge) {
                    left.push(table);
                }
            }
        }
        left
    }

    /// The mounts inside the test's directory, the latest first.
    fn mounts(&self) -> Vec<PathBuf> {
        let own = |mount: String| {
            let path = PathBuf::from(mount.split(' ').next()?);
            path.starts_with(self.directory.path()).then_some(path)
        };
        leaks::mounts().into_iter().rev().filter_map(own).collect()
    }

    /// The ids of all containers that there ever were here, by the directories and the events.
    fn container_ids(&self) -> BTreeSet<String> {
        let mut ids: BTreeSet<String> =
            leaks::names_in(&self.data().join("containers")).into_iter().collect();
        for name in leaks::names_in(&self.data().join("events")) {
            let text = fs::read_to_string(self.data().join("events").join(name)).unwrap_or_default();
            let words = text
                .split('"')
                .filter(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
            ids.extend(words.map(str::to_owned));
        }
        ids
    }
}

impl Drop for TestEnv {
    /// The leak check: fails the test, unless it has failed already.
    fn drop(&mut self) {
        if !self.data().exists() {
            return;
        }
        let mut left = self.leftovers();
        // Under nextest a test is a process; otherwise other tests' descriptors come and go meanwhile.
        if std::env::var_os("NEXTEST").is_some() && open_descriptors() > self.descriptors {
            left.push(format!(
                "{} descriptors of the test's own process",
                open_descriptors() - self.descriptors
            ));
        }
        if !left.is_empty() {
            let report = left.join("\n  ");
            assert!(std::thread::panicking(), "left behind:\n  {report}");
            #[allow(clippy::print_stderr, reason = "the test has failed already; this is more of its reason")]
            {
                eprintln!("left behind:\n  {report}");
            }
        }
    }
}

fn open_descriptors() -> usize {
    leaks::names_in(Path::new("/proc/self/fd")).len()
}
