//! Other engines with `onggi-runtime` in place of their own runtime: what they start, enter, stop, delete and build.
#![allow(clippy::unwrap_used)]

mod support;

use support::engine::{Engine, is_here};

/// Says that it has started, and ends with 3 when it is asked to.
const WAITS: &str = "trap 'exit 3' TERM; echo started; while :; do sleep 0.1; done";
/// Two builds' worth of `RUN`: one writes, the next reads.
const BUILT: &str = "RUN echo built > /made && test -e /proc/self\nRUN test \"$(cat /made)\" = built\n";

fn podman_words(engine: &Engine, program: &str) -> Vec<String> {
    let roots = ["--root", &engine.at("storage"), "--runroot", &engine.at("run")].map(str::to_owned);
    let storage = ["--storage-driver", "vfs"].map(str::to_owned);
    [program.to_owned()].into_iter().chain(roots).chain(storage).collect()
}

/// Takes what a failed test has left away.
struct Leaves<'a>(&'a Engine, &'a [&'a str]);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.call(self.1);
    }
}

#[test]
fn podman() {
    if !is_here("podman --version") {
        return;
    }
    let mut podman = Engine::new();
    podman.words = podman_words(&podman, "podman");
    let runtime = podman.at("onggi-runtime");
    let more = ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", &runtime];
    podman.words.extend(more.map(str::to_owned));
    let _leaves = Leaves(&podman, &["rm", "--all", "--force", "--time", "0"]);
    let rootfs = podman.at("rootfs");
    let run = |line: &[&str]| podman.end(&[&["run", "--network", "none"], line].concat());

    assert_eq!(
        run(&["--rm", "--rootfs", &rootfs, "sh", "-c", "echo out; exit 7"]),
        (Some(7), "out".to_owned())
    );
    assert_eq!(run(&["--rm", "-t", "--rootfs", &rootfs, "tty"]), (Some(0), "/dev/pts/0".to_owned()));
    assert_eq!(run(&["--rm", "--rootfs", &rootfs, "nosuch"]).0, Some(127));
    assert_eq!(run(&["--rm", "--rootfs", &rootfs, "/etc"]).0, Some(126));

    let health = ["--health-cmd", "test -e /tmp", "--health-interval", "disable"];
    let flags = [&["-d", "--name", "jar", "--pids-limit", "50"][..], &health].concat();
    let started = run(&[&flags[..], &["--rootfs", &rootfs, "sh", "-c", WAITS]].concat());
    assert_eq!(started.0, Some(0), "{started:?}");
    assert_eq!(
        podman.end(&["exec", "-u", "33:34", "jar", "sh", "-c", "id -u; exit 4"]),
        (Some(4), "33".to_owned())
    );
    assert_eq!(podman.end(&["exec", "jar", "nosuch"]).0, Some(127));
    podman.ok(&["healthcheck", "run", "jar"]);
    assert_eq!(podman.ok(&["inspect", "--format", "{{.State.Health.Status}}", "jar"]), "healthy");
    podman.ok(&["pause", "jar"]);
    assert_eq!(podman.ok(&["inspect", "--format", "{{.State.Status}}", "jar"]), "paused");
    podman.ok(&["unpause", "jar"]);
    assert!(podman.ok(&["stats", "--no-stream", "--format", "{{.Name}}", "jar"]).contains("jar"));
    podman.ok(&["stop", "-t", "20", "jar"]);
    assert_eq!(podman.ok(&["inspect", "--format", "{{.State.ExitCode}}", "jar"]), "3");
    assert_eq!(podman.ok(&["logs", "jar"]), "started");
    podman.ok(&["rm", "jar"]);
    let left = podman.jar.path("run/onggi-runtime");
    assert!(!left.exists() || std::fs::read_dir(left).unwrap().count() == 0);
}

/// Podman's own calls come without USER, conmon's with it; a user without further ids has a namespace in which nobody changes groups.
#[test]
fn podman_of_an_ordinary_user() {
    const USER: &str = "33";
    if !is_here("podman --version") || !is_here("setpriv --version") {
        return;
    }
    let mut podman = Engine::new();
    let program = podman_words(&podman, "podman");
    let become_user =
        ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "env", "--unset", "USER"];
    let own = [format!("HOME={}", podman.at("home")), format!("XDG_RUNTIME_DIR={}", podman.at("own"))];
    let runtime = podman.at("onggi-runtime");
    let more = ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", &runtime];
    podman.words = become_user.map(str::to_owned).into_iter().chain(own).chain(program).collect();
    podman.words.extend(more.map(str::to_owned));
    for name in ["home", "own"] {
        std::fs::create_dir(podman.jar.path(name)).unwrap();
    }
    let all = std::process::Command::new("chown").args(["-R", "33:33", &podman.at("")]).status().unwrap();
    assert!(all.success());
    // Ended last: the other one's command would begin it again.
    let _pause = Pause(podman.at("own/libpod/tmp/pause.pid"));
    let _leaves = Leaves(&podman, &["rm", "--all", "--force", "--time", "0"]);
    let rootfs = podman.at("rootfs");
    let run = |line: &[&str]| podman.end(&[&["run", "--network", "none"], line].concat());

    assert_eq!(run(&["--rm", "--rootfs", &rootfs, "sh", "-c", "id -u; exit 7"]), (Some(7), "0".to_owned()));
    assert_eq!(
        run(&["--rm", "--privileged", "--rootfs", &rootfs, "stat", "-c", "%F", "/dev/null"]).0,
        Some(0)
    );
    assert_eq!(run(&["-d", "--name", "jar", "--rootfs", &rootfs, "sh", "-c", WAITS]).0, Some(0));
    assert_eq!(podman.end(&["exec", "jar", "sh", "-c", "id -u; exit 4"]), (Some(4), "0".to_owned()));
    podman.ok(&["stop", "-t", "20", "jar"]);
    assert_eq!(podman.ok(&["inspect", "--format", "{{.State.ExitCode}}", "jar"]), "3");
    podman.ok(&["rm", "jar"]);
    assert_eq!(std::fs::read_dir(podman.jar.path("own/onggi-runtime")).unwrap().count(), 0);
}

/// The process that keeps an ordinary user's namespaces for Podman, by the file with its number.
struct Pause(String);

impl Drop for Pause {
    fn drop(&mut self) {
        let number = std::fs::read_to_string(&self.0).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = number.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn buildah() {
    if !is_here("buildah --version") {
        return;
    }
    let mut buildah = Engine::new();
    buildah.words = podman_words(&buildah, "buildah");
    let _leaves = Leaves(&buildah, &["rm", "--all"]);
    let runtime = buildah.at("onggi-runtime");
    let archive = buildah.archive();
    // It asks for more than the machine's root may have, unless it is told.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let container = buildah.ok(&[&["from"], &limits[..], &["scratch"]].concat());
    buildah.ok(&["add", &container, &archive, "/"]);
    let run = ["run", "--runtime", &runtime, "--network", "none", &container];
    assert_eq!(buildah.ok(&[&run[..], &["sh", "-c", "echo out"]].concat()), "out");
    assert_eq!(buildah.end(&[&run[..], &["sh", "-c", "exit 7"]].concat()).0, Some(7));

    let context = buildah.jar.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::copy(&archive, context.join("rootfs.tar")).unwrap();
    std::fs::write(context.join("Dockerfile"), format!("FROM scratch\nADD rootfs.tar /\n{BUILT}")).unwrap();
    let build = ["build", "--runtime", &runtime, "--network", "none", "-t", "built"];
    buildah.ok(&[&build[..], &limits, &[context.to_str().unwrap()]].concat());
}

#[test]
fn docker() {
    if !is_here("docker --version") || !is_here("dockerd --version") {
        return;
    }
    let mut docker = Engine::new();
    let (runtime, id) = (format!("onggi={}", docker.at("onggi-runtime")), docker.id());
    let socket = format!("unix://{}", docker.at("sock"));
    docker.words = ["env", "DOCKER_BUILDKIT=0", "docker", "-H", &socket].map(str::to_owned).into();
    // Without a network of its own, so that it leaves the machine's alone.
    let alone = ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"];
    let state = [("--data-root", "data"), ("--exec-root", "exec"), ("-p", "pid")]
        .map(|(flag, name)| [flag.to_owned(), docker.at(name)]);
    let ours = ["--storage-driver", "vfs", "--cgroup-parent", &format!("/{id}"), "-H", &socket];
    let runtimes = ["--add-runtime", &runtime, "--default-runtime", "onggi"];
    let words = ["dockerd"].into_iter().chain(alone).chain(ours).chain(runtimes).map(str::to_owned);
    docker.serve(&words.chain(state.concat()).collect::<Vec<_>>(), &["info"]);
    let _leaves = Leaves(&docker, &["rm", "--force", "jar"]);
    docker.ok(&["import", &docker.archive(), "box"]);
    let run = |line: &[&str]| docker.end(&[&["run", "--network", "none"], line].concat());

    assert_eq!(run(&["--rm", "box", "sh", "-c", "echo out; exit 7"]), (Some(7), "out".to_owned()));
    assert_eq!(run(&["--rm", "-t", "box", "tty"]), (Some(0), "/dev/pts/0".to_owned()));
    assert_eq!(run(&["--rm", "box", "nosuch"]).0, Some(127));
    assert_eq!(run(&["--rm", "box", "/etc"]).0, Some(126));

    // A mistake in what is mounted is Docker's own, not a program's.
    for volume in ["/etc/hostname:/tmp", "/tmp:/etc/passwd"] {
        let mounted = docker.call(&["run", "--rm", "--network", "none", "-v", volume, "box", "true"]);
        assert_eq!(mounted.status.code(), Some(125), "{mounted:?}");
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(said.contains("Are you trying to mount a directory onto a file"), "{said}");
    }
    let home = ["--rm", "-v", "/dev/null:/etc/passwd", "box", "sh", "-c", "echo $HOME"];
    assert_eq!(run(&home), (Some(0), "/".to_owned()));

    let health = ["--health-cmd", "test -e /tmp", "--health-interval", "100ms"];
    let started = [&["-d", "--name", "jar", "--pids-limit", "50"][..], &health, &["box", "sh", "-c", WAITS]];
    assert_eq!(run(&started.concat()).0, Some(0));
    assert_eq!(
        docker.end(&["exec", "-u", "33:34", "jar", "sh", "-c", "id -u; exit 4"]),
        (Some(4), "33".to_owned())
    );
    assert_eq!(docker.end(&["exec", "jar", "nosuch"]).0, Some(127));
    docker.wait(&["inspect", "--format", "{{.State.Health.Status}}", "jar"], "healthy");
    docker.ok(&["pause", "jar"]);
    assert_eq!(docker.ok(&["inspect", "--format", "{{.State.Status}}", "jar"]), "paused");
    docker.ok(&["unpause", "jar"]);
    docker.ok(&["update", "--memory", "64m", "--memory-swap", "64m", "jar"]);
    assert!(docker.ok(&["stats", "--no-stream", "--format", "{{.Name}}", "jar"]).contains("jar"));
    docker.ok(&["stop", "-t", "20", "jar"]);
    assert_eq!(docker.ok(&["inspect", "--format", "{{.State.ExitCode}}", "jar"]), "3");
    assert_eq!(docker.ok(&["logs", "jar"]), "started");
    docker.ok(&["rm", "jar"]);

    let context = docker.jar.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), format!("FROM box\n{BUILT}")).unwrap();
    docker.ok(&["build", "--network", "none", "-t", "built", context.to_str().unwrap()]);
    assert_eq!(run(&["--rm", "built", "cat", "/made"]), (Some(0), "built".to_owned()));
}

#[test]
fn containerd() {
    if !is_here("ctr --version") || !is_here("containerd --version") {
        return;
    }
    let mut containerd = Engine::new();
    let (runtime, rootfs, id) = (containerd.at("onggi-runtime"), containerd.at("rootfs"), containerd.id());
    let socket = containerd.at("sock");
    containerd.words = ["ctr", "--address", &socket, "--namespace", &id].map(str::to_owned).into();
    let kubernetes =
        ["grpc.v1.cri", "cri.v1.images", "cri.v1.runtime"].map(|name| format!("io.containerd.{name}"));
    let configuration = format!(
        "version = 3\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {kubernetes:?}\n\
         [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = \"{socket}.ttrpc\"\n",
        containerd.at("data"),
        containerd.at("state"),
    );
    std::fs::write(containerd.jar.path("config.toml"), configuration).unwrap();
    let daemon = ["containerd".to_owned(), "--config".to_owned(), containerd.at("config.toml")];
    containerd.serve(&daemon, &["version"]);
    let _leaves = Leaves(&containerd, &["tasks", "delete", "--force", "jar"]);
    // Without an image nothing says where programs are.
    let start = ["run", "--runc-binary", &runtime, "--env", "PATH=/bin", "--rootfs"];
    let run = |flags: &[&str], line: &[&str]| {
        containerd.end(&[&start[..1], flags, &start[1..], &[&rootfs], line].concat())
    };

    assert_eq!(run(&["--rm"], &["one", "/bin/sh", "-c", "echo out; exit 7"]), (Some(7), "out".to_owned()));
    assert_eq!(run(&["--rm"], &["two", "/bin/nosuch"]).0, Some(1));
    let log = format!("file://{}", containerd.at("jar.log"));
    assert_eq!(run(&["-d", "--log-uri", &log], &["jar", "/bin/sh", "-c", WAITS]).0, Some(0));
    let exec = ["tasks", "exec", "--exec-id", "second", "--user", "33:34", "jar"];
    assert_eq!(
        containerd.end(&[&exec[..], &["/bin/sh", "-c", "id -u; exit 4"]].concat()),
        (Some(4), "33".to_owned())
    );
    containerd.ok(&["tasks", "pause", "jar"]);
    assert!(containerd.ok(&["tasks", "ls"]).contains("PAUSED"));
    containerd.ok(&["tasks", "resume", "jar"]);
    // Below the heading the shell, and mostly its `sleep`.
    assert!(containerd.ok(&["tasks", "ps", "jar"]).lines().count() >= 2);
    containerd.ok(&["tasks", "kill", "--signal", "TERM", "jar"]);
    containerd.wait(&["tasks", "ls"], "STOPPED");
    // It says the program's end by a warning.
    containerd.ok(&["tasks", "delete", "jar"]);
    containerd.ok(&["containers", "rm", "jar"]);
    assert_eq!(std::fs::read_to_string(containerd.jar.path("jar.log")).unwrap(), "started\n");
}
