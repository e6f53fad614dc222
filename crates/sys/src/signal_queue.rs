//! Signals as something to read: `signalfd(2)`, which rustix has not.
//!
//! A program that has more than one thing to wait for blocks its signals and reads them here, instead of
//! running code in a handler, where hardly any call is allowed (signal-safety(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The highest signal of Linux.
pub const HIGHEST: i32 = 64;

/// The signals that arrive at this process, in order of arrival.
#[derive(Debug)]
pub struct SignalQueue {
    descriptor: OwnedFd,
    signals: Vec<i32>,
}

impl SignalQueue {
    /// Blocks these signals for the calling thread, and so for all threads that it makes afterwards, and
    /// collects them. Call it before there are other threads: one that does not block a signal still dies of it.
    ///
    /// # Errors
    /// A number that is no signal, or no descriptor left.
    pub fn block(signals: &[i32]) -> io::Result<SignalQueue> {
        let set = set_of(signals)?;
        mask(libc::SIG_BLOCK, &set)?;
        // SAFETY: the set is initialised; the call makes a new descriptor and touches no other.
        let descriptor =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned it, and nobody else has it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(SignalQueue { descriptor, signals: signals.to_vec() })
    }

    /// The next signal, if one has arrived; the descriptor is readable then.
    ///
    /// # Errors
    /// The kernel's word; none is known for a sound descriptor.
    pub fn try_next(&self) -> io::Result<Option<i32>> {
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as large as the size given.
        let read = unsafe { libc::read(self.descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(read) == Ok(size) {
            // SAFETY: the kernel filled all of it, and any bytes are a valid value of its integers.
            let number = unsafe { info.assume_init() }.ssi_signo;
            return Ok(i32::try_from(number).ok());
        }
        match io::Error::last_os_error() {
            error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(None)
            }
            error => Err(error),
        }
    }

    /// The next signal; waits for it.
    ///
    /// # Errors
    /// As [`SignalQueue::try_next`].
    pub fn next(&self) -> io::Result<i32> {
        loop {
            if let Some(signal) = self.try_next()? {
                return Ok(signal);
            }
            let mut poll = [rustix::event::PollFd::new(&self.descriptor, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut poll, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Gives the signals back to their dispositions in the calling thread; what has arrived takes effect now.
    ///
    /// # Errors
    /// None is known.
    pub fn unblock(&self) -> io::Result<()> {
        mask(libc::SIG_UNBLOCK, &set_of(&self.signals)?)
    }
}

impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn set_of(signals: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set and cannot fail.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: the set is initialised; a number that is no signal is answered with EINVAL.
        if unsafe { libc::sigaddset(&raw mut set, *signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set)
}

fn mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is initialised, and no old one is asked for.
    match unsafe { libc::pthread_sigmask(how, set, std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_can_be_read() {
        // In a thread of its own: the mask is the thread's, and so is a signal sent by raise(3).
        std::thread::spawn(|| {
            let queue = SignalQueue::block(&[libc::SIGUSR1]).unwrap();
            assert_eq!(queue.try_next().unwrap(), None);
            // SAFETY: raise sends a signal that this thread blocks.
            unsafe { libc::raise(libc::SIGUSR1) };
            assert_eq!(queue.next().unwrap(), libc::SIGUSR1);
            assert_eq!(queue.try_next().unwrap(), None);
            queue.unblock().unwrap();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn no_signal_is_refused() {
        assert!(SignalQueue::block(&[0]).is_err());
        assert!(SignalQueue::block(&[HIGHEST + 1]).is_err());
    }
}
