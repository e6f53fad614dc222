//! Network namespaces: one for the test's own thread, and others beside it, as machines beyond a wire.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

/// `CLONE_NEWNET`
const NEW_NETWORK: i32 = 0x4000_0000;

/// Puts the test's thread, and whatever it starts, into a network namespace of its own with loopback: for tests that do to the firewall
/// what no other test beside it could bear.
///
/// # Panics
/// If the kernel refuses.
pub fn leave_network() {
    onggi_sys::namespace::unshare(NEW_NETWORK).expect("a network namespace");
    onggi_sys::interface::loopback_up().expect("loopback");
}

/// A machine at 192.0.2.9, on a wire to this network namespace, which is 192.0.2.1; it sends everything here.
#[derive(Debug)]
pub struct Beyond(File);

impl Beyond {
    /// It goes with the value, and the wire with it.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn new() -> Beyond {
        let open = || {
            leave_network();
            File::open("/proc/thread-self/ns/net").expect("/proc is mounted")
        };
        let beyond = Beyond(std::thread::spawn(open).join().expect("no panic"));
        let path = format!("/proc/{}/fd/{}", std::process::id(), beyond.0.as_raw_fd());
        ip("link add wire type veth peer name wire0");
        ip(&format!("link set wire0 netns {path}"));
        ip("address add 192.0.2.1/24 dev wire");
        ip("link set wire up");
        ip("route add default via 192.0.2.9");
        beyond.run(|| {
            ip("address add 192.0.2.9/24 dev wire0");
            ip("link set wire0 up");
            ip("route add default via 192.0.2.1");
        });
        beyond
    }

    /// Runs this there.
    ///
    /// # Panics
    /// If that does.
    pub fn run<T: Send>(&self, there: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                onggi_sys::namespace::setns(self.0.as_fd(), NEW_NETWORK).expect("it is there");
                there()
            });
            thread.join().expect("no panic")
        })
    }
}

impl Default for Beyond {
    fn default() -> Beyond {
        Beyond::new()
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
