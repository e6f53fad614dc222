//! An interface of the host's that becomes a container's for good, with its addresses.
//!
//! As with runc (`libcontainer/network_linux.go`): the kernel takes an interface's addresses when it moves; those that somebody has given
//! it for everywhere are given again, those that it found out itself or that mean only this host are not.

use std::os::fd::BorrowedFd;

use crate::link::{self, Address};
use crate::netlink::Socket;
use crate::{Error, wire};

/// Moves `name` to a network namespace, where it is called `new`, has its addresses again, and is up. It is down on the way.
///
/// # Errors
/// [`Error::Netlink`], which says the step; [`Error::Enter`].
pub fn hand_over(name: &str, new: &str, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    let mut host = Socket::route()?;
    let index = wire::index(&mut host, name)?;
    link::set_down(&mut host, index)?;
    let addresses = link::addresses(&mut host, index)?;
    // In one request, as the old name may be taken there.
    link::hand_over(&mut host, index, new, namespace)?;
    let mut inside = wire::within(namespace, Socket::route)??;
    let index = wire::index(&mut inside, new)?;
    for Address { address, prefix, .. } in addresses.into_iter().filter(Address::is_kept) {
        link::add_address(&mut inside, index, address, prefix)?;
    }
    link::set_up(&mut inside, index)
}
