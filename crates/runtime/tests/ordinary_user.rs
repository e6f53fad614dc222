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

/// A user's own program could be written to by a container's root, who is that user outside (CVE-2019-5736).
#[test]
fn its_program_is_a_sealed_copy_and_a_created_container_can_be_entered() {
    let bundle = Bundle::new("sleep 1000");
    let quiet = |line: &str| {
        let (output, said) = (std::fs::File::create(bundle.path("output")).unwrap(), bundle.path("output"));
        let status =
            bundle.command(line).stdout(output.try_clone().unwrap()).stderr(output).status().unwrap();
        assert!(status.success(), "{line}: {}", std::fs::read_to_string(said).unwrap());
    };
    quiet("create {}");
    let state: Value = serde_json::from_str(&bundle.ok("state {}")).unwrap();
    let program = std::fs::read_link(format!("/proc/{}/exe", state["pid"])).unwrap();
    assert!(program.starts_with("/memfd:program (deleted)"), "{program:?}");
    assert_eq!(bundle.ok("exec {} id -u"), "0\n");
    quiet("delete --force {}");
}
