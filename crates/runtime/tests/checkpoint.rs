//! `checkpoint` and `restore` with a real CRIU: memory, streams and control groups come back, and the exit code is the process's own. Where no
//! `criu` works with this kernel, that is said and the tests are left out; `ONGGI_PEERS_ENTER` is a command that runs its arguments where one does.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use support::{Jar, success};

/// What tells whether the memory is the same: how many lines it has read.
const COUNTS: &str =
    "n=0; while read line; do n=$((n + 1)); echo $n $line; [ $line != end ] || exit $n; done";

struct Container {
    jar: Jar,
    id: String,
}

/// A container's standard input and output.
struct Streams {
    input: File,
    output: BufReader<File>,
    /// A pipe as well: a file of the host's is nothing that CRIU can find again.
    errors: File,
}

impl Streams {
    #[track_caller]
    fn answers(&mut self, line: &str, expected: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("{expected}\n"));
    }
}

impl Container {
    /// `None` without a CRIU, with a word.
    fn new() -> Option<Container> {
        Container::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Value)) -> Option<Container> {
        let works = there(&["criu", "check"]).output();
        let problem = match works {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            // A test that has tested nothing must not look like one that has.
            let _ = std::io::stderr().write_all(format!("not tested: criu check: {problem}\n").as_bytes());
            return None;
        }
        let mut jar = Jar::new(COUNTS);
        let mut config = jar.spec().take();
        // The capability and the limits that the machine's own root may lack stay out of the way.
        config["process"]["rlimits"] = json!([]);
        std::fs::create_dir(jar.path("state")).unwrap();
        std::fs::create_dir(jar.path("data")).unwrap();
        std::os::unix::fs::symlink("/volumes/conf", jar.rootfs().join("conf")).unwrap();
        let bind = json!({ "source": "data", "destination": "/conf", "options": ["bind", "ro"] });
        config["mounts"].as_array_mut().unwrap().push(bind);
        config["linux"]["resources"]["pids"] = json!({ "limit": 30 });
        config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/timer_list", "/sys/firmware"]);
        change(&mut config);
        std::fs::write(jar.path("config.json"), config.to_string()).unwrap();
        let id = jar.request["id"].as_str().unwrap().to_owned();
        // Where it can be seen from the other tree as well.
        std::fs::copy(env!("CARGO_BIN_EXE_onggi-runtime"), jar.path("onggi-runtime")).unwrap();
        Some(Container { jar, id })
    }

    fn path(&self, name: &str) -> String {
        self.jar.path(name).display().to_string()
    }

    /// `{}` stands for the id, `@` for the test's directory. What the runtime makes of control groups is what is looked at: CRIU by itself
    /// would save and make again what others have in hierarchies in which the container has no group of its own.
    fn command(&self, line: &str) -> Command {
        self.command_with(line, "ONGGI_TEST=1")
    }

    /// With a variable of the environment, which the other tree is not given.
    fn command_with(&self, line: &str, variable: &str) -> Command {
        let is_ours = |word: &str| matches!(word, "checkpoint" | "restore") && !line.contains("cgroups-mode");
        let mode = ["--manage-cgroups-mode", "ignore"];
        let words = line
            .split(' ')
            .flat_map(|word| std::iter::once(word).chain(mode.into_iter().filter(move |_| is_ours(word))));
        let words = words.map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name),
            None => word.replace("{}", &self.id),
        });
        let program = ["env", variable, &self.path("onggi-runtime"), "--root", &self.path("state")];
        let program = program.map(str::to_owned);
        let mut command = there(&program.into_iter().chain(words).collect::<Vec<_>>());
        command.stdin(Stdio::null());
        command
    }

    fn call(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        success(line, self.call(line))
    }

    #[track_caller]
    fn fails(&self, line: &str, text: &str) {
        let output = self.call(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(text), "{line}: {output:?}");
    }

    /// Starts what a container's streams are given to.
    fn spawn(&self, line: &str) -> (Child, Streams) {
        let (read, input) = rustix::pipe::pipe().unwrap();
        let (output, write) = rustix::pipe::pipe().unwrap();
        let (errors, complain) = rustix::pipe::pipe().unwrap();
        // Or the container would keep its own pipes open.
        for end in [&input, &output, &errors] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).unwrap();
        }
        let mut command = self.command(line);
        let child = command.stdin(read).stdout(write).stderr(complain).spawn().unwrap();
        (child, Streams { input: input.into(), output: BufReader::new(output.into()), errors: errors.into() })
    }

    #[track_caller]
    fn detached(&self, line: &str) -> Streams {
        let (mut child, mut streams) = self.spawn(line);
        if !child.wait().unwrap().success() {
            let mut errors = String::new();
            streams.errors.read_to_string(&mut errors).unwrap();
            panic!("{line}: {errors}");
        }
        streams
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.ok("state {}")).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let output = self.call("delete --force {}");
        if !std::thread::panicking() {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(std::fs::read_dir(self.jar.path("state")).unwrap().count(), 0, "state is left");
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains("/criu-"), "a mount is left: {mounts}");
        }
    }
}

fn there<W: AsRef<str>>(words: &[W]) -> Command {
    let enter = std::env::var("ONGGI_PEERS_ENTER").unwrap_or_default();
    let mut words = enter.split_whitespace().chain(words.iter().map(AsRef::as_ref));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(container) = Container::new() else { return };
    let mut streams = container.detached("run --detach --bundle @ {}");
    streams.answers("a", "1 a");
    // It stays if it is told so.
    container.ok("checkpoint --leave-running --image-path @first --work-path @work {}");
    streams.answers("b", "2 b");
    assert_eq!(container.state()["status"], "running");

    container.ok("checkpoint --image-path @images --work-path @work {}");
    container.fails("state {}", "container does not exist");
    let images = container.jar.path("images");
    let kept: Vec<String> =
        serde_json::from_slice(&std::fs::read(images.join("descriptors.json")).unwrap()).unwrap();
    assert!(kept[0].starts_with("pipe:[") && kept[1].starts_with("pipe:["), "{kept:?}");

    // Into a new pair of pipes, a new process and a new cgroup, as often as one likes.
    for (line, answer) in [("c", "3 c"), ("d", "3 d")] {
        let restore = "restore --detach --bundle @ --image-path @images --work-path @work --pid-file @pid {}";
        let mut streams = container.detached(restore);
        streams.answers(line, answer);
        let state = container.state();
        assert_eq!(state["status"], "running");
        let pid = std::fs::read_to_string(container.jar.path("pid")).unwrap();
        assert_eq!(state["pid"].to_string(), pid);
        let limit: Value = serde_json::from_str(&container.ok("events --stats {}")).unwrap();
        assert_eq!(limit["data"]["pids"]["limit"], json!(30));
        // Whoever joins is where the restored process is; the mask and the bind mount are as they were.
        assert_eq!(
            container.ok("exec {} readlink /proc/self/ns/time"),
            container.ok("exec {} readlink /proc/1/ns/time")
        );
        assert_eq!(container.ok("exec {} cat /proc/keys"), "");
        container.fails("exec {} touch /conf/x", "");
        container.ok("delete --force {}");
    }

    // The images of before are still those of before.
    let (mut child, mut streams) =
        container.spawn("restore --bundle @ --image-path @first --work-path @work {}");
    streams.answers("end", "2 end");
    drop(streams);
    assert_eq!(child.wait().unwrap().code(), Some(2), "the restored process's own code");
    container.fails("state {}", "container does not exist");
}

#[test]
fn a_paused_container_is_checkpointed_too() {
    let Some(container) = Container::new() else { return };
    let mut streams = container.detached("run --detach --bundle @ {}");
    streams.answers("a", "1 a");
    container.ok("pause {}");
    container.ok("checkpoint --image-path @images {}");
    container.fails("state {}", "container does not exist");
    let mut streams = container.detached("restore --detach --bundle @ --image-path @images {}");
    streams.answers("b", "2 b");
}

/// CRIU would bind the source, and show its real owners.
#[test]
fn a_mount_has_its_owners_again() {
    let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 65536 }]);
    let mount = |source: &str, destination: &str| {
        json!({ "source": source, "destination": destination, "options": ["bind", "ro", "idmap"],
            "uidMappings": map(100_000), "gidMappings": map(200_000) })
    };
    let Some(container) = Container::with(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        // `/conf` is a link into another directory.
        mounts.pop();
        mounts.extend([mount("data", "/conf"), mount("one", "/one")]);
    }) else {
        return;
    };
    std::fs::write(container.jar.path("data/file"), "").unwrap();
    std::fs::write(container.jar.path("one"), "").unwrap();
    let mut streams = container.detached("run --detach --bundle @ {}");
    streams.answers("a", "1 a");
    container.ok("checkpoint --image-path @images {}");
    let mut streams = container.detached("restore --detach --bundle @ --image-path @images {}");
    streams.answers("b", "2 b");
    let owners = container.ok("exec {} stat -c %u:%g /conf/file /one");
    assert_eq!(owners, "100000:200000\n".repeat(2));
    container.fails("exec {} touch /conf/x", "Read-only");
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let Some(container) = Container::new() else { return };
    let streams = container.detached("run --detach --bundle @ {}");
    for (line, text) in [
        ("checkpoint --image-path @images --parent-path /x {}", "--parent-path must be relative"),
        ("checkpoint --image-path @images --parent-path ../x {}", "invalid --parent-path: "),
        ("checkpoint --manage-cgroups-mode hard {}", "invalid manage-cgroups-mode value"),
        ("checkpoint --page-server here {}", "Use --page-server ADDRESS:PORT to specify page server"),
        ("checkpoint --empty-ns pid {}", "is not supported"),
        ("checkpoint --lazy-pages --status-fd 77 {}", "invalid --status-fd argument 77"),
        (
            "--criu /nonexistent checkpoint --image-path @images {}",
            "executable file not found in $PATH: install",
        ),
        ("restore --bundle @ --image-path @images {}", "container with given ID already exists"),
    ] {
        container.fails(line, text);
        assert_eq!(container.state()["status"], "running", "{line}");
    }
    container.ok("checkpoint --image-path @images {}");
    drop(streams);

    // A log of the images that leads elsewhere (CVE-2026-53489).
    let victim: PathBuf = container.jar.path("victim");
    std::fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, container.jar.path("images/restore.log")).unwrap();
    container.fails("restore --bundle @ --image-path @images {}", "restore.log: it is a symbolic link");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    std::fs::remove_file(container.jar.path("images/restore.log")).unwrap();
    container.fails("state {}", "container does not exist");

    // Images without their beginning: CRIU's own word, and where to read on.
    std::fs::remove_file(container.jar.path("images/inventory.img")).unwrap();
    container.fails("restore --bundle @ --image-path @images {}", "criu failed: type RESTORE errno");
    container.fails("state {}", "container does not exist");
    container.fails("checkpoint --image-path @images {}", "container does not exist");
}

/// Whatever has been mounted for it by then: what is deleted afterwards is not the root file system.
#[test]
fn a_restore_that_is_killed_leaves_the_root_file_system_alone() {
    let Some(container) = Container::new() else { return };
    let mut streams = container.detached("run --detach --bundle @ {}");
    streams.answers("a", "1 a");
    container.ok("checkpoint --image-path @images {}");
    let restore = "restore --detach --bundle @ --image-path @images {}";
    for point in ["prepared", "mounted", "known"] {
        let mut command = container.command_with(restore, &format!("ONGGI_FAULT=runtime.restore.{point}"));
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(!status.success(), "{point}");
        assert!(container.jar.path("state").join(&container.id).exists(), "{point}: it was not killed");
        container.ok("delete --force {}");
        assert!(container.jar.rootfs().join("bin/busybox").exists(), "{point}");
    }
    container.detached(restore).answers("b", "2 b");
}
