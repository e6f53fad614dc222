//! The host's procfs, held before anything of the image's can be reached.
//!
//! What is written to a path under /proc lands wherever a mount or a link says (CVE-2019-19921, CVE-2025-52881: labels meant for
//! `/proc/self/attr` in a tmpfs, sysctls in `/proc/sysrq-trigger`). So everything goes through one descriptor that was checked
//! to be a procfs, by names that may leave neither it nor its file system.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;

/// Far above a map of 340 ranges, the kernel's most.
const LARGEST_FILE: u64 = 4 << 20;

/// A procfs. In a child namespace its `self` is still the process that asks.
#[derive(Debug)]
pub(super) struct Procfs(OwnedFd);

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Procfs {
    pub(super) fn open() -> io::Result<Procfs> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, "/proc", flags, Mode::empty())?;
        if rustix::fs::fstatfs(&directory)?.f_type != PROC_SUPER_MAGIC {
            return Err(io::Error::other("/proc is no procfs"));
        }
        Ok(Procfs(directory))
    }

    /// Writes a file, `self/oom_score_adj` say, in one call.
    pub(super) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let mut file = std::fs::File::from(self.open_at(path, OFlags::WRONLY)?);
        file.write_all(value.as_bytes())
    }

    /// Reads a file, `7/uid_map` say.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::from(self.open_at(path, OFlags::RDONLY)?)
            .take(LARGEST_FILE)
            .read_to_string(&mut text)?;
        Ok(text)
    }

    /// The user namespace of a child of this process.
    pub(super) fn user_namespace(&self, pid: i32) -> io::Result<OwnedFd> {
        self.namespace(&format!("{pid}/ns"), "user")
    }

    /// That of a process, `self` or `7` say.
    pub(super) fn mount_namespace(&self, process: &str) -> io::Result<OwnedFd> {
        self.namespace(&format!("{process}/ns"), "mnt")
    }

    /// The time namespace that this process has made for its children.
    pub(super) fn time_for_children(&self) -> io::Result<OwnedFd> {
        self.namespace("self/ns", "time_for_children")
    }

    /// Its links are magic, and meant: their directory is known to be procfs's own.
    fn namespace(&self, directory: &str, name: &str) -> io::Result<OwnedFd> {
        let directory = self.open_at(directory, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(rustix::fs::openat(&directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The number of this process as the procfs counts: the host's.
    pub(super) fn own_pid(&self) -> io::Result<i32> {
        let link = rustix::fs::readlinkat(&self.0, "self", Vec::new())?;
        link.to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| io::Error::other("/proc/self is no number"))
    }

    /// Opens again what is held by an O_PATH descriptor of this process.
    pub(super) fn reopen(&self, held: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
        use std::os::fd::AsRawFd;
        let directory = self.open_at("self/fd", OFlags::PATH | OFlags::DIRECTORY)?;
        let number = held.as_raw_fd().to_string();
        // The one magic link that is meant: its directory is known to be procfs's own, and the number is ours.
        Ok(rustix::fs::openat(&directory, number, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn open_at(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS) => return onggi_sys::walk::open_in_procfs(self.0.as_fd(), path, flags),
                other => return Ok(other?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_it() {
        let procfs = Procfs::open().unwrap();
        let errno = |path: &str| procfs.open_at(path, OFlags::PATH).unwrap_err().raw_os_error();
        assert!(procfs.open_at("self/oom_score_adj", OFlags::PATH).is_ok());
        // CVE-2025-52881: by a magic link, upwards, and over the border of the file system.
        assert_eq!(errno("self/root/etc/passwd"), Some(Errno::LOOP.raw_os_error()));
        assert_eq!(errno("../etc/passwd"), Some(Errno::XDEV.raw_os_error()));
        assert_eq!(errno("/etc/passwd"), Some(Errno::XDEV.raw_os_error()));
    }
}
