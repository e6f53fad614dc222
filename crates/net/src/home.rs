//! In which network namespace an installation has its bridges and its table: root's in the host's, in which it is itself; an ordinary
//! user's in one of the user's own, where nobody lives.
//!
//! Commands and monitors stay in the host's, where images come from, names are asked for and ports are taken. What is to be done at home
//! is done by [`Home::within`].

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use onggi_sys::apart::apart;

use crate::Error;

/// `CLONE_NEWNET`
const NETWORK: i32 = 0x4000_0000;
const OWN: &str = "/proc/thread-self/ns/net";

/// That network namespace. Clones are of one descriptor.
#[derive(Debug, Clone, Default)]
pub struct Home {
    /// `None`: the one that this process is in.
    namespace: Option<Arc<OwnedFd>>,
}

impl Home {
    /// The network namespace that this process is in.
    #[must_use]
    pub fn here() -> Home {
        Home::default()
    }

    /// The one behind a descriptor.
    #[must_use]
    pub fn behind(namespace: OwnedFd) -> Home {
        Home { namespace: Some(Arc::new(namespace)) }
    }

    /// A new one, in which there is nothing.
    ///
    /// # Errors
    /// [`Error::Enter`].
    pub fn nowhere() -> Result<Home, Error> {
        let made = apart(|| onggi_sys::namespace::unshare(NETWORK).and_then(|()| File::open(OWN)));
        made.and_then(|made| made)
            .map(|namespace| Home::behind(namespace.into()))
            .map_err(|source| Error::Enter { source })
    }

    /// A descriptor of it, if it is not this process's own.
    #[must_use]
    pub fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.namespace.as_ref().map(|namespace| namespace.as_fd())
    }

    /// Runs `act` there. Sockets that it makes are of there for good. Elsewhere it is a child that shares this process's memory and
    /// descriptors ([`onggi_sys::apart`]): this process itself could not come back.
    ///
    /// # Errors
    /// [`Error::Enter`].
    pub fn within<T>(&self, act: impl FnOnce() -> T) -> Result<T, Error> {
        let Some(namespace) = &self.namespace else { return Ok(act()) };
        apart(|| onggi_sys::namespace::setns(namespace.as_fd(), NETWORK).map(|()| act()))
            .and_then(|done| done)
            .map_err(|source| Error::Enter { source })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn acts_at_home_and_stays_here() {
        let name = || fs::read_link(OWN).unwrap();
        assert_eq!(Home::here().within(name).unwrap(), name());
        let home = Home::nowhere().unwrap();
        let before = name();
        assert_ne!(home.within(name).unwrap(), before);
        assert_eq!(name(), before);
        // What is made there sees what there is there.
        let mut socket = home.within(crate::Socket::route).unwrap().unwrap();
        let links = crate::link::list(&mut socket).unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && !link.up), "{links:?}");
    }
}
