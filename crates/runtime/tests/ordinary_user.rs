//! The program `onggi-runtime` as somebody who is not root of the machine calls it: a user namespace that maps the caller alone, and
//! control groups only where the user was given some.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::{Jar, success};

const USER: u32 = 33;
const SECRET: &str = "hunter2-hunter2";

/// A bundle of that user's, with the configuration that `spec --rootless` makes.
struct Bundle {
    jar: Jar,
    config: Value,
}

impl Bundle {
    fn new(script: &str) -> Bundle {
        let mut jar = Jar::new(script);
        let arguments = jar.process()["args"].take();
        // Neither the way to the built program nor a new directory need be open to others.
        std::fs::copy(env!("CARGO_BIN_EXE_onggi-runtime"), jar.path("program")).unwrap();
        std::fs::set_permissions(jar.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::create_dir(jar.path("state")).unwrap();
        own(jar.directory.path());
        let mut bundle = Bundle { jar, config: Value::Null };
        bundle.ok("spec --rootless");
        let made = std::fs::read(bundle.path("config.json")).unwrap();
        bundle.config = serde_json::from_slice(&made).unwrap();
        bundle.config["process"]["args"] = arguments;
        bundle.config["process"]["terminal"] = json!(false);
        bundle
    }

    fn path(&self, name: &str) -> PathBuf {
        self.jar.path(name)
    }

    fn call(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// `{}` among the words stands for the container's id.
    fn command(&self, line: &str) -> Command {
        if !self.config.is_null() {
            std::fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        }
        let id = self.jar.request["id"].as_str().unwrap();
        let words = line.split(' ').map(|word| if word == "{}" { id } else { word });
        let mut command = Command::new(self.path("program"));
        command.arg("--root").arg(self.path("state")).args(words).current_dir(self.path(""));
        command.stdin(Stdio::null()).env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS");
        command.uid(USER).gid(USER);
        command
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        success(line, self.call(line))
    }

    /// Without output to wait for the end of: what is created keeps the descriptors that it is given.
    #[track_caller]
    fn quiet(&self, line: &str) {
        let (output, said) = (std::fs::File::create(self.path("output")).unwrap(), self.path("output"));
        let mut command = self.command(line);
        command.env("USERS_SECRET", SECRET).stdout(output.try_clone().unwrap()).stderr(output);
        assert!(command.status().unwrap().success(), "{line}: {}", std::fs::read_to_string(said).unwrap());
    }

    /// The host's number of the first process.
    fn pid(&self) -> i32 {
        let state: Value = serde_json::from_str(&self.ok("state {}")).unwrap();
        state["pid"].as_i64().unwrap() as i32
    }

    /// What a script says that joins.
    fn inside(&self, script: &str) -> String {
        let id = self.jar.request["id"].as_str().unwrap();
        let output = self.command("exec").args([id, "sh", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, line: &str, texts: &[&str]) {
        let output = self.call(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        assert!(texts.iter().all(|text| said.contains(text)), "{line}: {said}");
        assert_eq!(std::fs::read_dir(self.path("state")).unwrap().count(), 0, "state is left");
    }
}

fn own(path: &Path) {
    chown(path, Some(USER), Some(USER)).unwrap();
    for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => own(&entry.path()),
            kind if kind.is_symlink() => {}
            _ => chown(entry.path(), Some(USER), Some(USER)).unwrap(),
        }
    }
}

#[test]
fn its_container_is_root_of_itself() {
    let bundle = Bundle::new(
        "id -u; id -g; cat /proc/self/setgroups; : > /dev/shm/made; grep -c . /proc/self/uid_map; hostname",
    );
    assert_eq!(bundle.ok("run {}"), "0\n0\ndeny\n1\nrunc\n");
}

#[test]
fn what_it_is_not_given_is_refused_in_the_words_of_runc() {
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["resources"] = json!({ "pids": { "limit": 20 } });
    let needs = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
    bundle.fails("run {}", &[needs, "pids"]);
    bundle.config["linux"]["resources"] = Value::Null;
    bundle.config["linux"]["cgroupsPath"] = json!("/onggi-runtime-test-of-nobody");
    bundle.fails("run {}", &["unable to apply cgroup configuration", "permission denied"]);
}

/// As with runc, which shows them writable where the configuration says so.
#[test]
fn it_sees_the_groups_that_it_is_in_and_cannot_change_them() {
    let mut bundle = Bundle::new(
        "file=$(find /sys/fs/cgroup -name cgroup.procs | head -n 1); grep -q . $file && echo seen; \
         grep ' /sys/fs/cgroup' /proc/self/mountinfo | tail -n 1 | cut -d' ' -f6 | cut -c1-2",
    );
    for mount in bundle.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/sys/fs/cgroup" {
            mount["options"] = json!(["nosuid", "rw"]);
        }
    }
    for with_namespace in [true, false] {
        let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
        namespaces.extend(with_namespace.then(|| json!({ "type": "cgroup" })));
        assert_eq!(bundle.ok("run {}"), "seen\nro\n");
    }
}

/// A user's own program could be written to by a container's root, who is that user outside (CVE-2019-5736).
#[test]
fn its_program_is_a_sealed_copy_and_a_created_container_can_be_entered() {
    let bundle = Bundle::new("sleep 1000");
    bundle.quiet("create {}");
    let program = std::fs::read_link(format!("/proc/{}/exe", bundle.pid())).unwrap();
    assert!(program.starts_with("/memfd:program (deleted)"), "{program:?}");
    assert_eq!(bundle.ok("exec {} id -u"), "0\n");
    bundle.quiet("delete --force {}");
}

/// Whoever is in the container may take such a process over, as it is its user's, and the user has to be able to enter.
#[test]
fn what_waits_for_its_start_has_nothing_that_its_container_may_not_have() {
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::new("exec sleep 1000");
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 }] });
        bundle.quiet("create {}");
        let of_it = bundle.inside(
            "for f in /proc/1/fd/*; do test ! -d $f || echo directory $f; done; grep Seccomp: /proc/1/status; \
             cat /proc/1/environ /proc/1/cmdline",
        );
        assert_eq!(of_it.replace('\0', ""), "Seccomp:\t2\nonggi-runtime init", "{of_it:?}");
        assert!(!has_in_memory(bundle.pid(), SECRET), "the caller's environment");
        bundle.quiet("start {}");
        while bundle.inside("cat /proc/1/comm") != "sleep\n" {}
        bundle.quiet("delete --force {}");
    }
}

/// Whether any of the memory that a process has written holds a text.
fn has_in_memory(pid: i32, text: &str) -> bool {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let (mut found, mut searched) = (false, 0);
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        searched += memory.read_at(&mut bytes, from).unwrap();
        found |= bytes.windows(text.len()).any(|window| window == text.as_bytes());
    }
    assert!(searched > 0);
    found
}

/// A process that joins a user and a pid namespace has the host's files until its root is swapped, and is among processes that may be
/// hostile and have every right over that user namespace.
#[test]
fn a_second_container_cannot_be_looked_into_by_the_first() {
    let mut first = Bundle::new("sleep 1000");
    for set in ["bounding", "effective", "permitted"] {
        let set = first.config["process"]["capabilities"][set].as_array_mut().unwrap();
        set.extend([json!("CAP_SYS_PTRACE"), json!("CAP_SYS_ADMIN")]);
    }
    first.quiet("run -d {}");
    let pid = first.pid();
    let mut second = Bundle::new("true");
    let joined = |kind: &str, name: &str| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{name}") });
    second.config["linux"]["namespaces"] = json!([joined("user", "user"), joined("pid", "pid"),
        joined("ipc", "ipc"), joined("uts", "uts"), { "type": "mount" }]);
    second.config["linux"]["uidMappings"] = Value::Null;
    second.config["linux"]["gidMappings"] = Value::Null;
    second.config["hostname"] = Value::Null;
    second.config["process"]["oomScoreAdj"] = json!(321);
    let secret = second.path("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    chown(&secret, Some(USER), Some(USER)).unwrap();

    // The runtime stops while its child is among the others.
    let mut command = second.command("run {}");
    command.env("ONGGI_FAULT", "runtime.ids.asked").env("ONGGI_FAULT_SIGNAL", "19");
    let mut runtime = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let of_runtime = rustix::process::Pid::from_child(&runtime);
    let stopped = rustix::process::waitpid(Some(of_runtime), rustix::process::WaitOptions::UNTRACED);
    assert!(stopped.unwrap().unwrap().1.stopped());
    let look = format!(
        "ls -d /proc/[0-9]* | grep -c .; for p in /proc/[0-9]*; do cat $p/root{} 2> /dev/null; done; true",
        secret.display()
    );
    let seen = first.inside(&look);
    rustix::process::kill_process(of_runtime, rustix::process::Signal::CONT).unwrap();
    let status = runtime.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(runtime.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert!(status.success(), "{said}");
    // The first process, the other container's, the shell and what it runs.
    let count: u32 = seen.lines().next().unwrap().parse().unwrap();
    assert!(count >= 4, "nobody was to be seen: {seen}");
    assert!(!seen.contains(SECRET), "{seen}");
    first.quiet("delete --force {}");
}

/// Without control groups of its own it is said that there are none, not that the machine has none.
#[test]
fn without_control_groups_nothing_is_paused_or_limited() {
    let mut bundle = Bundle::new("sleep 1000");
    let quiet = |line: &str| {
        let output = std::fs::File::create(bundle.path("output")).unwrap();
        let mut command = bundle.command(line);
        assert!(command.stdout(output.try_clone().unwrap()).stderr(output).status().unwrap().success());
    };
    quiet("run -d {}");
    for line in ["pause {}", "update --memory 64m {}", "ps {}", "events --stats {}"] {
        let output = bundle.call(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        assert!(said.contains("cgroups not configured for container"), "{line}: {said}");
    }
    quiet("delete --force {}");
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "user");
    bundle.fails("run {}", &["rootless container requires user namespaces"]);
}
