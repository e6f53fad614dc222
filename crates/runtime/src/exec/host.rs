//! What a container has in place of the host's: names, kernel parameters, a loopback interface.

use std::os::fd::OwnedFd;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};

pub(super) fn hostname(name: &str) -> Outcome {
    rustix::system::sethostname(name.as_bytes()).doing(|| format!("sethostname {name:?}"))
}

pub(super) fn domainname(name: &str) -> Outcome {
    rustix::system::setdomainname(name.as_bytes()).doing(|| format!("setdomainname {name:?}"))
}

/// Through the host's procfs: the kernel goes by the namespaces of who writes.
pub(super) fn sysctls(child: &Child<'_>, values: &[(String, String)]) -> Outcome {
    for (path, value) in values {
        child
            .procfs
            .write(&format!("sys/{path}"), value)
            .doing(|| format!("set sysctl {path} to {value:?}"))?;
    }
    Ok(())
}

pub(super) fn loopback() -> Outcome {
    onggi_sys::interface::loopback_up().doing(|| "bring the loopback interface up")
}

/// The parent hangs up without a word if it could not connect the namespace, and then tells itself why.
pub(super) fn await_network(word: Option<OwnedFd>) -> Outcome {
    await_word(word, "the networks could not be connected")
}

/// As [`await_network`]: what went wrong with its hooks the parent knows itself.
pub(super) fn await_hooks(word: Option<OwnedFd>) -> Outcome {
    await_word(word, "a hook has failed")
}

/// As [`await_network`].
pub(super) fn await_listener(word: Option<OwnedFd>) -> Outcome {
    await_word(word, "the seccomp listener could not be passed on")
}

fn await_word(word: Option<OwnedFd>, without: &str) -> Outcome {
    let word = word.ok_or_else(|| Problem::new("nobody would give the word that this step waits for"))?;
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&word, &mut [0_u8; 1]));
    match read.doing(|| "wait for the parent's word")? {
        0 => Err(Problem::new(without)),
        _ => Ok(()),
    }
}
