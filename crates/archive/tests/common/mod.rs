//! What the archive tests share: tars made by hand, byte for byte, both forms of a layer, and a whole tree as text.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use onggi_archive::erofs::Indexer;
use onggi_archive::unpack::Unpacker;
use onggi_archive::{Error, LayerReport, LayerSink, Limits, Lower, LowerEntry};
use sha2::{Digest, Sha256};

/// A tar built header by header, as right or wrong as a test wants it.
#[derive(Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// One header's fields; the default is an empty file of root's.
#[derive(Clone)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) typeflag: u8,
    pub(crate) mode: &'a [u8],
    pub(crate) uid: &'a [u8],
    pub(crate) gid: &'a [u8],
    pub(crate) size: Option<&'a [u8]>,
    pub(crate) mtime: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) magic: &'a [u8; 8],
    pub(crate) device: (u32, u32),
    pub(crate) prefix: &'a [u8],
    /// Bytes to put anywhere, last.
    pub(crate) patch: Vec<(usize, Vec<u8>)>,
    pub(crate) data: &'a [u8],
}

impl Default for Header<'_> {
    fn default() -> Self {
        Header {
            name: b"file",
            typeflag: b'0',
            mode: b"0000644",
            uid: b"0",
            gid: b"0",
            size: None,
            mtime: b"14000000000",
            link: b"",
            magic: b"ustar\x0000",
            device: (0, 0),
            prefix: b"",
            patch: Vec::new(),
            data: b"",
        }
    }
}

impl Tar {
    pub(crate) fn add(mut self, header: Header<'_>) -> Self {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, header.name);
        put(100, header.mode);
        put(108, header.uid);
        put(116, header.gid);
        put(124, header.size.unwrap_or(format!("{:011o}", header.data.len()).as_bytes()));
        put(136, header.mtime);
        put(156, &[header.typeflag]);
        put(157, header.link);
        put(257, header.magic);
        put(329, format!("{:07o}", header.device.0).as_bytes());
        put(337, format!("{:07o}", header.device.1).as_bytes());
        put(345, header.prefix);
        put(148, b"        ");
        for (at, bytes) in &header.patch {
            put(*at, bytes);
        }
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.raw(header.data)
    }

    /// Data as it is, padded to a block.
    pub(crate) fn raw(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(Header { name: name.as_bytes(), data, ..Header::default() })
    }

    pub(crate) fn directory(self, name: &str, mode: &str) -> Self {
        self.add(Header { name: name.as_bytes(), typeflag: b'5', mode: mode.as_bytes(), ..Header::default() })
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.add(Header {
            name: name.as_bytes(),
            typeflag: b'2',
            link: target.as_bytes(),
            ..Header::default()
        })
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.add(Header {
            name: name.as_bytes(),
            typeflag: b'1',
            link: target.as_bytes(),
            ..Header::default()
        })
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.special(b'x', &records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
    }

    pub(crate) fn special(self, typeflag: u8, data: &[u8]) -> Self {
        self.add(Header { name: b"special", typeflag, data, ..Header::default() })
    }

    /// With the two blocks of zeros.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A PAX record with its length in front.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let digits = |length: usize| length.to_string().len();
    let length = rest.len() + digits(rest.len() + digits(rest.len()));
    [length.to_string().as_bytes(), &rest].concat()
}

/// The two ways to have a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Index,
    Directory,
}

pub(crate) const FORMS: [Form; 2] = [Form::Index, Form::Directory];

/// A layer that can be looked at; unmounted and removed when dropped.
pub(crate) struct Made {
    pub(crate) report: LayerReport,
    _mount: Option<OwnedFd>,
    directory: tempfile::TempDir,
    root: PathBuf,
}

impl Made {
    pub(crate) fn tree(&self) -> BTreeMap<Vec<u8>, String> {
        tree(&self.root)
    }

    /// The index's bytes.
    pub(crate) fn image(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("layer.erofs")).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Layers below, by a list of paths. A file's content is its size in x.
pub(crate) struct Below(pub(crate) BTreeMap<&'static str, LowerEntry>);

impl Lower for Below {
    fn entry(&mut self, path: &[u8]) -> io::Result<LowerEntry> {
        let path = std::str::from_utf8(path).unwrap();
        Ok(self.0.get(path).cloned().unwrap_or(LowerEntry::Missing))
    }

    fn content(&mut self, path: &[u8]) -> io::Result<Box<dyn Read>> {
        let LowerEntry::File { size, .. } = self.entry(path)? else { panic!("not a file") };
        Ok(Box::new(io::repeat(b'x').take(size)))
    }
}

/// The mtime of the handmade headers, left out of the expected lines.
pub(crate) const USUAL_TIME: &str = " 1610612736.000000000";

/// A tree (without the root) as lines.
pub(crate) fn lines(tree: &BTreeMap<Vec<u8>, String>) -> Vec<String> {
    tree.iter()
        .filter(|(path, _)| !path.is_empty())
        .map(|(path, line)| format!("{}: {line}", path.escape_ascii()).replace(USUAL_TIME, ""))
        .collect()
}

/// Both forms, fed whole and in odd pieces, give this tree (without the root); the report of the last.
#[track_caller]
pub(crate) fn both_above(lower: &mut dyn Lower, tar: &[u8], expected: &[&str]) -> LayerReport {
    let mut report = LayerReport::default();
    for form in FORMS {
        for step in [1 << 20, 97] {
            let made = make(form, tar, lower, step).unwrap_or_else(|error| panic!("{form:?}: {error}"));
            if form == Form::Index && step > tar.len() {
                is_sound_to_fsck(&made);
            }
            assert_eq!(lines(&made.tree()), expected, "{form:?}, pieces of {step}");
            assert_eq!(made.report.tar_bytes, tar.len() as u64);
            report = made.report.clone();
        }
    }
    report
}

/// Both forms refuse it above these, with this in the message.
#[track_caller]
pub(crate) fn refused_above(lower: &mut dyn Lower, tar: &[u8], message: &str) -> Error {
    let mut last = None;
    for form in FORMS {
        let error = make(form, tar, lower, 1000).err();
        let error = error.unwrap_or_else(|| panic!("{form:?} took what should fail with {message:?}"));
        assert!(error.to_string().contains(message), "{form:?}: {error}, not {message}");
        last = Some(error);
    }
    last.unwrap()
}

/// Makes the form from a tar that is fed in pieces of `step` bytes.
pub(crate) fn make(form: Form, tar: &[u8], lower: &mut dyn Lower, step: usize) -> Result<Made, Error> {
    let directory = tempfile::tempdir().unwrap();
    let tar_path = directory.path().join("layer.tar");
    let image_path = directory.path().join("layer.erofs");
    std::fs::write(&tar_path, tar).unwrap();
    let feed = |mut sink: Box<dyn LayerSink + '_>| {
        for piece in tar.chunks(step) {
            sink.feed(piece)?;
        }
        sink.finish()
    };
    match form {
        Form::Index => {
            let mut image = File::create(&image_path).unwrap();
            let report = feed(Box::new(Indexer::new(&mut image, lower, Limits::default())))?;
            image.flush().unwrap();
            let mount = mount(&image_path, &tar_path);
            let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
            Ok(Made { report, _mount: Some(mount), directory, root })
        }
        Form::Directory => {
            let into = OwnedFd::from(File::open(directory.path()).unwrap());
            let report = feed(Box::new(Unpacker::new(into, lower, Limits::default())?))?;
            let root = directory.path().join("tree");
            Ok(Made { report, _mount: None, directory, root })
        }
    }
}

/// The oldest erofs-utils whose check reads blocks of 512 bytes behind a device.
const FSCK: (u32, u32) = (1, 8);

/// Has `fsck.erofs` read an index and all files through it, where there is one that can; says so once where there is none.
pub(crate) fn is_sound_to_fsck(made: &Made) {
    static VERSION: std::sync::OnceLock<Option<(u32, u32)>> = std::sync::OnceLock::new();
    let version = VERSION.get_or_init(|| {
        let found = Command::new("fsck.erofs").arg("-V").output().ok();
        // `fsck.erofs (erofs-utils) 1.9.4`; of old, on the other stream and without the package's name.
        let said = found.map(|said| [said.stdout, said.stderr].concat()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let version = said.split_whitespace().find_map(|word| {
            let (major, rest) = word.split_once('.')?;
            Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
        });
        let version = version.filter(|version| *version >= FSCK);
        if version.is_none() {
            let problem = format!("not tested: fsck.erofs is older than {FSCK:?} or not there: {said:?}\n");
            io::stderr().write_all(problem.as_bytes()).unwrap();
        }
        version
    });
    if version.is_some() {
        let (tar, image) = (made.path().join("layer.tar"), made.path().join("layer.erofs"));
        let output = Command::new("fsck.erofs")
            // So that it says that it has found nothing.
            .args(["-d3", "--extract"])
            .arg(format!("--device={}", tar.display()))
            .arg(image)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("No errors found"), "fsck.erofs: {said}");
    }
}

/// Mounts an index with its tar straight from the files; detached, so it is gone when the descriptor is.
pub(crate) fn mount(image: &Path, tar: &Path) -> OwnedFd {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_flag(context.as_fd(), "ro").unwrap();
    fsconfig_set_string(context.as_fd(), "source", image).unwrap();
    fsconfig_set_string(context.as_fd(), "device", tar).unwrap();
    fsconfig_create(context.as_fd()).unwrap();
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap()
}

/// Whether a test that mounts and makes devices has to be left out. Without root it fails, unless it was said that
/// there is none.
pub(crate) fn without_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    let expected = std::env::var_os("ONGGI_TEST_UNPRIVILEGED").is_some_and(|value| value == "1");
    assert!(
        root || expected,
        "mounts and makes devices: run as root, or set ONGGI_TEST_UNPRIVILEGED=1 to leave it out"
    );
    !root
}

/// Everything under `root` that a layer keeps, a line each.
pub(crate) fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut lines = BTreeMap::new();
    let mut first_names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    while let Some(relative) = waiting.pop() {
        let path = root.join(std::ffi::OsStr::from_bytes(&relative)).join(".");
        describe(&path, &relative, &mut lines, &mut first_names);
        let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap()).collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        for entry in names {
            let mut relative = relative.clone();
            if !relative.is_empty() {
                relative.push(b'/');
            }
            relative.extend_from_slice(entry.file_name().as_bytes());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(relative);
            } else {
                describe(&entry.path(), &relative, &mut lines, &mut first_names);
            }
        }
    }
    lines
}

fn describe(
    path: &Path,
    relative: &[u8],
    lines: &mut BTreeMap<Vec<u8>, String>,
    first_names: &mut BTreeMap<u64, Vec<u8>>,
) {
    let metadata = path.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let what = if kind.is_dir() {
        "dir".to_owned()
    } else if kind.is_symlink() {
        format!("-> {}", std::fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii())
    } else if kind.is_file() {
        let data = std::fs::read(path).unwrap();
        assert_eq!(data.len() as u64, metadata.len());
        if data.len() <= 40 {
            format!("file \"{}\"", data.escape_ascii())
        } else {
            let sum = Sha256::digest(&data);
            format!("file {} {:02x}{:02x}{:02x}{:02x}", data.len(), sum[0], sum[1], sum[2], sum[3])
        }
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        let device = metadata.rdev();
        let letter = if kind.is_char_device() { "char" } else { "block" };
        format!("{letter} {}:{}", rustix::fs::major(device), rustix::fs::minor(device))
    };
    let mut line = format!(
        "{what} {:o} {}:{} {}.{:09}",
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    if !kind.is_dir() {
        let first = first_names.entry(metadata.ino()).or_insert_with(|| relative.to_vec());
        if metadata.nlink() > 1 {
            line += &format!(" links {} {}", metadata.nlink(), first.escape_ascii());
        }
    }
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut names: Vec<_> =
        names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        line += &format!(" {}={}", name.escape_ascii(), value[..length].escape_ascii());
    }
    lines.insert(relative.to_vec(), line);
}
