//! Network namespaces for tests: one for the test's own thread, and others that closures run in.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

const NEW_NETWORK: i32 = 0x4000_0000;

/// Root is needed to make network namespaces.
pub fn without_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    let expected = std::env::var_os("ONGGI_TEST_UNPRIVILEGED").is_some_and(|value| value == "1");
    assert!(
        root || expected,
        "makes network namespaces: run as root, or set ONGGI_TEST_UNPRIVILEGED=1 to leave it out"
    );
    !root
}

/// Puts this thread, and what it starts, into a network namespace of its own with loopback.
pub fn leave_network() {
    onggi_sys::namespace::unshare(NEW_NETWORK).unwrap();
    onggi_sys::interface::loopback_up().unwrap();
}

/// Another network namespace.
#[derive(Debug)]
pub struct Room(OwnedFd);

impl Room {
    pub fn new() -> Room {
        let open = || {
            leave_network();
            std::fs::File::open("/proc/thread-self/ns/net").unwrap()
        };
        Room(std::thread::spawn(open).join().unwrap().into())
    }

    /// Runs this inside.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                onggi_sys::namespace::setns(self.0.as_fd(), NEW_NETWORK).unwrap();
                inside()
            });
            thread.join().unwrap()
        })
    }
}

impl AsFd for Room {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A program's output; it has to succeed.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
