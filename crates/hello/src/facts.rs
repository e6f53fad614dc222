//! What the program finds out about the place where it runs, and the page that it makes of it.

use core::ffi::CStr;
use core::fmt::Write as _;

use crate::system;
use crate::text::{self, Limit, MemoryCgroup, Text};

/// Large enough for a container's mountinfo many times over.
const FILE_SIZE: usize = 32 * 1024;

/// The links in /proc/self/ns, as namespaces(7) names them.
const NAMESPACES: [(&str, &CStr); 8] = [
    ("cgroup", c"/proc/self/ns/cgroup"),
    ("ipc", c"/proc/self/ns/ipc"),
    ("mnt", c"/proc/self/ns/mnt"),
    ("net", c"/proc/self/ns/net"),
    ("pid", c"/proc/self/ns/pid"),
    ("time", c"/proc/self/ns/time"),
    ("user", c"/proc/self/ns/user"),
    ("uts", c"/proc/self/ns/uts"),
];

pub(crate) struct Facts {
    hostname: [u8; 65],
    process: u64,
    user: u64,
    group: u64,
    root: Option<Text>,
    namespaces: [Option<u64>; NAMESPACES.len()],
    memory: Option<Limit>,
    /// Nanoseconds from the user's Return to this program's first instruction.
    start: Option<u64>,
    /// Onggi was called by `sudo`, and has to be the next time.
    sudo: bool,
}

impl Facts {
    /// `now` and the value of `ONGGI_STARTED_NS` are nanoseconds of the same clock.
    pub(crate) fn gather(now: u64, started: Option<&[u8]>, sudo: bool) -> Facts {
        let mut hostname = [0; 65];
        system::hostname(&mut hostname);
        let mut link = [0; 64];
        let mut inode = |path| text::namespace_inode(system::read_link(path, &mut link).ok()?);
        Facts {
            hostname,
            process: system::process_id(),
            user: system::user_id(),
            group: system::group_id(),
            root: root_type(),
            namespaces: NAMESPACES.map(|(_, path)| inode(path)),
            memory: memory_limit(),
            start: started.and_then(text::number).and_then(|then| now.checked_sub(then)),
            sudo,
        }
    }

    pub(crate) fn write(&self, page: &mut Text) {
        // Writing on a page cannot fail: what does not fit is cut off.
        let _ = self.try_write(page);
    }

    fn try_write(&self, page: &mut Text) -> core::fmt::Result {
        let hostname = self.hostname.split(|&byte| byte == 0).next().unwrap_or_default();
        write!(page, "Hello from inside a container.\n\n  hostname          ")?;
        page.push(hostname);
        write!(page, "\n  process id        {}", self.process)?;
        if self.process == 1 {
            page.write_str(", the first of its own process namespace")?;
        }
        write!(page, "\n  user              {}{}, group {}", self.user, root_name(self.user), self.group)?;
        page.write_str("\n  root file system  ")?;
        page.push(self.root.as_ref().map_or(b"unknown: /proc is not mounted", Text::as_bytes));
        page.write_str("\n  namespaces        ")?;
        self.write_namespaces(page)?;
        page.write_str("\n  memory limit      ")?;
        match self.memory {
            None => page.write_str("unknown: no cgroup file system to read it from")?,
            Some(Limit::None) => page.write_str("none")?,
            Some(Limit::Bytes(bytes)) => write_size(page, bytes)?,
        }
        page.write_str("\n  the start took    ")?;
        match self.start {
            Some(ns) => write!(page, "{}.{} ms, from Return to here", ns / 1_000_000, ns / 100_000 % 10)?,
            None => page.write_str("unknown: ONGGI_STARTED_NS was not set")?,
        }
        let onggi = if self.sudo { "sudo onggi" } else { "onggi" };
        page.write_str("\n\nTry next:\n")?;
        writeln!(page, "  {onggi} import rootfs.tar mine    make an image of a root file system's tar")?;
        writeln!(page, "  {onggi} run -it mine sh           a shell in a container of it")?;
        writeln!(page, "  {onggi} ps -a                     every container, the ended ones too")
    }

    /// Four a line, so that the page fits eighty columns.
    fn write_namespaces(&self, page: &mut Text) -> core::fmt::Result {
        let known =
            NAMESPACES.iter().zip(self.namespaces).filter_map(|((name, _), inode)| Some((name, inode?)));
        for (index, (name, inode)) in known.enumerate() {
            match index {
                0 => {}
                4 => page.write_str("\n                    ")?,
                _ => page.write_str("  ")?,
            }
            write!(page, "{name} {inode}")?;
        }
        Ok(())
    }
}

fn root_name(id: u64) -> &'static str {
    if id == 0 { " (root)" } else { "" }
}

fn root_type() -> Option<Text> {
    let mut buffer = [0; FILE_SIZE];
    let mountinfo = system::read_file(c"/proc/self/mountinfo", &mut buffer).ok()?;
    let mut root = Text::new();
    root.push(text::root_type(mountinfo)?);
    Some(root)
}

/// The limit of the process's own cgroup, version 1 or 2.
///
/// In a cgroup namespace the path is `/`. Without one it names the host's directory, while the container sees its own
/// cgroup at the mount's root: both are tried.
fn memory_limit() -> Option<Limit> {
    let mut buffer = [0; 4096];
    let cgroup = text::memory_cgroup(system::read_file(c"/proc/self/cgroup", &mut buffer).ok()?)?;
    let (mount, path, file) = match cgroup {
        MemoryCgroup::Unified(path) => (b"/sys/fs/cgroup".as_slice(), path, b"/memory.max\0".as_slice()),
        MemoryCgroup::Legacy(path) => {
            (b"/sys/fs/cgroup/memory".as_slice(), path, b"/memory.limit_in_bytes\0".as_slice())
        }
    };
    [path, b""].into_iter().find_map(|directory| {
        let mut name = Text::new();
        [mount, directory, file].into_iter().for_each(|part| name.push(part));
        let mut content = [0; 64];
        let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
        text::memory_limit(system::read_file(name, &mut content).ok()?)
    })
}

fn write_size(page: &mut Text, bytes: u64) -> core::fmt::Result {
    match bytes {
        _ if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => write!(page, "{} GiB", bytes >> 30),
        _ if bytes >= 1 << 20 => write!(page, "{} MiB", bytes >> 20),
        _ => write!(page, "{} KiB", bytes >> 10),
    }
}
