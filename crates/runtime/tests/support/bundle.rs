//! A bundle for the program `onggi-runtime`, as engines hand it one: nothing of it is left at the end.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::{Jar, success};

/// A bundle, and a place of its own for the state of its container.
pub struct Bundle {
    pub jar: Jar,
    pub id: String,
    pub config: Value,
}

impl Bundle {
    pub fn new(script: &str) -> Bundle {
        let mut jar = Jar::new(script);
        let config = jar.spec().take();
        let id = jar.request["id"].as_str().unwrap().to_owned();
        std::fs::create_dir(jar.path("state")).unwrap();
        Bundle { jar, id, config }
    }

    /// One more mount, of the host's.
    pub fn bind(&mut self, source: &str, destination: &str) {
        let mount =
            json!({ "type": "bind", "source": source, "destination": destination, "options": ["bind"] });
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    pub fn path(&self) -> PathBuf {
        self.jar.path("")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        std::fs::write(self.jar.path("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onggi-runtime"));
        command.arg("--root").arg(self.jar.path("state")).args(arguments);
        command.current_dir(self.path()).stdin(Stdio::null());
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS");
        command
    }

    /// `{}` among the arguments stands for the container's id.
    pub fn call(&self, line: &str) -> Output {
        let words: Vec<&str> =
            line.split(' ').map(|word| if word == "{}" { &self.id } else { word }).collect();
        self.command(&words).output().unwrap()
    }

    /// Code, and standard error.
    pub fn said(&self, line: &str) -> (Option<i32>, String) {
        let output = self.call(line);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        success(line, self.call(line))
    }

    #[track_caller]
    pub fn fails(&self, line: &str, code: i32, text: &str) {
        let output = self.call(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        assert!(said.contains(text), "{line}: {said}");
    }

    pub fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.ok("state {}")).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// Without output to wait for the end of: what is created keeps the descriptors that it is given.
    #[track_caller]
    pub fn create(&self) {
        self.quietly(&["create", &self.id]);
    }

    #[track_caller]
    pub fn quietly(&self, arguments: &[&str]) {
        let mut command = self.command(arguments);
        let output = std::fs::File::create(self.jar.path("output")).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        assert!(command.status().unwrap().success(), "{}", self.output());
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(self.jar.path("output")).unwrap()
    }

    /// Ends it, and waits for that.
    pub fn kill(&self) {
        let state: Value = serde_json::from_str(&self.ok("state {}")).unwrap();
        let pid = rustix::process::Pid::from_raw(state["pid"].as_i64().unwrap() as i32).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        self.ok("kill {} KILL");
        let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).unwrap();
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let output = self.call("delete --force {}");
        if !std::thread::panicking() {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(std::fs::read_dir(self.jar.path("state")).unwrap().count(), 0, "state is left");
        }
    }
}
