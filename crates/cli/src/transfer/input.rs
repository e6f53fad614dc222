//! Input that somebody may never give: reading it ends with Ctrl-C.

use std::io::{self, Read};
use std::os::fd::AsFd;

use super::Transfer;

/// A reader that fails as soon as Ctrl-C or SIGTERM arrives although it waits for input, so that whoever
/// reads cleans up as after any other failure.
pub(crate) struct Interruptible<'t, R> {
    inner: R,
    transfer: &'t Transfer,
}

impl<'t, R: Read + AsFd> Interruptible<'t, R> {
    pub(crate) fn new(inner: R, transfer: &'t Transfer) -> Self {
        Interruptible { inner, transfer }
    }
}

impl<R: Read + AsFd> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transfer.wait_for(&self.inner);
        if self.transfer.has_been_interrupted() {
            // Not ErrorKind::Interrupted, which means "try again".
            return Err(io::Error::other("interrupted by the user"));
        }
        self.inner.read(buffer)
    }
}
