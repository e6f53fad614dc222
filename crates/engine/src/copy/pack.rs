//! A file or a directory with all below it as a tar, walked by descriptors: no link is followed, and what changes meanwhile is taken as
//! it is when its turn comes.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use onggi_archive::tar::Kind;
use onggi_archive::write::Writer;
use onggi_archive::{Metadata, Timestamp};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxFlags};

use super::tree::{path_flags, reopen, stat};
use crate::error::Error;

/// The only attribute that Docker's archives carry.
const CAPABILITY: &str = "security.capability";
/// Levels of directories; each holds a descriptor while it is walked.
const DEEPEST: usize = 500;

/// Writes what `source` holds under the name `name` (`.` for the content of a directory); answers how many bytes of files.
///
/// # Errors
/// What cannot be read, or the archive not written.
pub(super) fn pack<W: Write>(source: OwnedFd, name: &[u8], out: W) -> Result<u64, Error> {
    let mut packer = Packer { tar: Writer::new(out), linked: HashMap::new(), bytes: 0, mount: None };
    packer.add(source, name, 0)?;
    packer.tar.finish()?;
    Ok(packer.bytes)
}

/// Writes what is in the directory `root`, without what is mounted there: of that only the place.
///
/// # Errors
/// As [`pack`].
pub(super) fn pack_mount<W: Write>(root: &OwnedFd, out: W) -> Result<(), Error> {
    let mount = mount_id(root).map_err(Error::io("look at", "/"))?;
    let mut packer = Packer { tar: Writer::new(out), linked: HashMap::new(), bytes: 0, mount: Some(mount) };
    packer.add_content(root, b"", 0)?;
    packer.tar.finish()?;
    Ok(())
}

/// Which mount it is in (`statx(2)`, Linux 5.8).
fn mount_id(held: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::statx(held, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Whether the kernel makes these files up while they are read: they have no length and are nobody's to copy.
pub(super) fn is_made_up(held: &OwnedFd) -> io::Result<bool> {
    /// `linux/magic.h`: proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf.
    const KINDS: [u64; 10] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
    ];
    let kind = rustix::fs::fstatfs(held)?.f_type;
    Ok(KINDS.contains(&(kind as u64 & 0xffff_ffff)))
}

struct Packer<W: Write> {
    tar: Writer<W>,
    /// The first name of each file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    bytes: u64,
    /// The one mount whose files are wanted; `None`: all.
    mount: Option<u64>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, held: OwnedFd, name: &[u8], depth: usize) -> Result<(), Error> {
        let fail = |act: &'static str| {
            let path = String::from_utf8_lossy(name).into_owned();
            move |source: io::Error| Error::io(act, path)(source)
        };
        let data = stat(&held).map_err(fail("look at"))?;
        let mut metadata = metadata(&data);
        let kind = FileType::from_raw_mode(data.st_mode);
        if data.st_nlink > 1 && kind != FileType::Directory {
            let first =
                self.linked.entry((data.st_dev, data.st_ino)).or_insert_with(|| name.to_vec()).clone();
            if first != name {
                return Ok(self.tar.entry(name, &metadata, &Kind::HardLink(first))?);
            }
        }
        let (major, minor) = (rustix::fs::major(data.st_rdev), rustix::fs::minor(data.st_rdev));
        let kind = match kind {
            FileType::Directory => {
                self.tar.entry(name, &metadata, &Kind::Directory)?;
                return self.add_content(&held, name, depth);
            }
            FileType::RegularFile => {
                let mut file = reopen(&held, OFlags::RDONLY).map_err(fail("open"))?;
                let mut value = [0; 64];
                if let Ok(length) = rustix::fs::fgetxattr(&file, CAPABILITY, &mut value) {
                    metadata.xattrs.push((CAPABILITY.into(), value[..length].to_vec()));
                }
                let size = data.st_size.cast_unsigned();
                self.bytes += size;
                return Ok(self.tar.file(
                    name,
                    &metadata,
                    size,
                    &mut Exactly { file: &mut file, left: size },
                )?);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&held, "", Vec::new());
                Kind::Symlink(target.map_err(|errno| fail("read the link")(errno.into()))?.into_bytes())
            }
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            // A socket has no meaning but for who made it.
            _ => return Ok(()),
        };
        Ok(self.tar.entry(name, &metadata, &kind)?)
    }

    fn add_content(&mut self, held: &OwnedFd, name: &[u8], depth: usize) -> Result<(), Error> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let fail = |source: io::Error| Error::io("read the directory", shown())(source);
        if depth >= DEEPEST {
            return Err(Error::Invalid {
                what: format!("{}: more than {DEEPEST} directories deep", shown()),
            });
        }
        let directory = rustix::fs::openat(
            held,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let directory = directory.map_err(|errno| fail(errno.into()))?;
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(&directory).map_err(|errno| fail(errno.into()))? {
            names.push(entry.map_err(|errno| fail(errno.into()))?.file_name().to_owned());
        }
        names.sort_unstable();
        for child in names.iter().filter(|child| !matches!(child.to_bytes(), b"." | b"..")) {
            let inner =
                match rustix::fs::openat(&directory, child, path_flags() | OFlags::NOFOLLOW, Mode::empty()) {
                    Ok(inner) => inner,
                    // Removed since.
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(errno) => return Err(fail(errno.into())),
                };
            let mut path = name.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(child.to_bytes());
            if let Some(mount) = self.mount
                && mount_id(&inner).map_err(fail)? != mount
            {
                let data = stat(&inner).map_err(fail)?;
                let is_directory = FileType::from_raw_mode(data.st_mode).is_dir();
                let kind = if is_directory { Kind::Directory } else { Kind::File };
                self.tar.entry(&path, &metadata(&data), &kind)?;
                continue;
            }
            if self.is_mounted_by_the_kernel(held, &inner, child.to_bytes()).map_err(fail)? {
                let data = stat(&inner).map_err(fail)?;
                self.tar.entry(&path, &metadata(&data), &Kind::Directory)?;
                continue;
            }
            self.add(inner, &path, depth + 1)?;
        }
        Ok(())
    }

    /// /proc, /sys and /dev of a container that runs: they are not its files, and Docker's copies do not have them either.
    fn is_mounted_by_the_kernel(&self, above: &OwnedFd, held: &OwnedFd, name: &[u8]) -> io::Result<bool> {
        let data = stat(held)?;
        let is_mount = data.st_dev != stat(above)?.st_dev && FileType::from_raw_mode(data.st_mode).is_dir();
        Ok(is_mount && (name == b"dev" || is_made_up(held)?))
    }
}

fn metadata(data: &Stat) -> Metadata {
    Metadata {
        mode: data.st_mode & 0o7777,
        uid: data.st_uid,
        gid: data.st_gid,
        mtime: Timestamp {
            seconds: data.st_mtime,
            nanoseconds: u32::try_from(data.st_mtime_nsec).unwrap_or(0),
        },
        xattrs: Vec::new(),
    }
}

/// A file that gives as many bytes as were announced, whatever becomes of it meanwhile: a log grows, and what is cut short ends in zeroes.
struct Exactly<'a> {
    file: &'a mut dyn Read,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = match self.file.read(&mut buffer[..most])? {
            0 => {
                buffer[..most].fill(0);
                most
            }
            count => count,
        };
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_length_that_was_announced() {
        for (content, size, wanted) in [("abc", 2, "ab"), ("abc", 3, "abc"), ("a", 3, "a\0\0"), ("", 0, "")] {
            let mut text = String::new();
            Exactly { file: &mut content.as_bytes(), left: size }.read_to_string(&mut text).unwrap();
            assert_eq!(text, wanted);
        }
    }
}
