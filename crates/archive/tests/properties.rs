//! Random trees, archived by GNU tar, Python and bsdtar, must come out of both forms as GNU tar, umoci and containerd unpack them; and
//! no bytes whatever may make the parser panic, loop or take memory that nothing in the input stands for.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{FORMS, Form, Header, Tar, make, tree};
use onggi_archive::erofs::Indexer;
use onggi_archive::{Error, LayerSink, Limits, NoLower};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// A tree as `common::tree` describes it.
type Lines = BTreeMap<Vec<u8>, String>;

/// One thing done to the tree that is being made; paths come from a few names, so that they meet.
#[derive(Debug, Clone)]
enum Op {
    File { path: String, length: usize, holes: bool },
    Directory { path: String },
    Symlink { path: String, target: String },
    HardLink { path: String, number: usize },
    Device { path: String, major: u32, minor: u32 },
    Pipe { path: String },
}

#[derive(Debug, Clone)]
struct Looks {
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: i64,
    xattr: Option<Vec<u8>>,
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => "[abc!~]{1,2}",
        1 => Just("name with ü and \n in it".to_owned()),
        1 => "[x-z]{90,240}",
    ];
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

fn op() -> impl Strategy<Value = (Op, Looks)> {
    let length = prop_oneof![Just(0usize), 1..2000usize, 500..530usize, 4000..70_000usize];
    let op = prop_oneof![
        4 => (path(), length, any::<bool>()).prop_map(|(path, length, holes)| Op::File { path, length, holes }),
        2 => path().prop_map(|path| Op::Directory { path }),
        2 => (path(), "[a-c/.]{1,300}").prop_map(|(path, target)| Op::Symlink { path, target }),
        2 => (path(), any::<usize>()).prop_map(|(path, number)| Op::HardLink { path, number }),
        1 => (path(), 0..4096u32, 0..1_048_576u32).prop_map(|(path, major, minor)| Op::Device { path, major, minor }),
        1 => path().prop_map(|path| Op::Pipe { path }),
    ];
    let id = prop_oneof![Just(0), 0..70_000u32, 2_000_000..4_000_000_000u32];
    let looks = (
        0..0o10000u32,
        id.clone(),
        id,
        prop_oneof![0..4_000_000_000i64, -100_000..0i64],
        prop_oneof![Just(0i64), 0..1_000_000_000i64],
        prop::option::of(prop::collection::vec(any::<u8>(), 1..300)),
    );
    let looks = looks.prop_map(|(mode, uid, gid, seconds, nanoseconds, xattr)| Looks {
        mode,
        uid,
        gid,
        seconds,
        nanoseconds,
        xattr,
    });
    (op, looks)
}

/// Does what can be done; a path whose parent is a file, say, is left out.
fn build(root: &Path, ops: &[(Op, Looks)]) {
    let mut files = Vec::new();
    let mut made = Vec::new();
    for (op, looks) in ops {
        let at = |path: &String| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).ok().map(|()| path)
        };
        let done = match op {
            Op::File { path, length, holes } => at(path).filter(|path| {
                let mut data: Vec<u8> = (0..*length).map(|byte| (byte * 7 + length) as u8).collect();
                if *holes && *length > 20_000 {
                    data[4096..12_288].fill(0);
                }
                let written = !path.exists() && std::fs::write(path, data).is_ok();
                if written {
                    files.push(path.clone());
                }
                written
            }),
            Op::Directory { path } => at(path).filter(|path| std::fs::create_dir(path).is_ok()),
            Op::Symlink { path, target } => at(path).filter(|path| symlink(target, path).is_ok()),
            Op::HardLink { path, number } => {
                if let (Some(path), false) = (at(path), files.is_empty()) {
                    let _ = std::fs::hard_link(&files[number % files.len()], path);
                }
                None
            }
            Op::Device { path, major, minor } => at(path).filter(|path| {
                let device = rustix::fs::makedev(*major, *minor);
                let kind = if minor % 2 == 0 { FileType::BlockDevice } else { FileType::CharacterDevice };
                rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).is_ok()
            }),
            Op::Pipe { path } => at(path).filter(|path| {
                rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).is_ok()
            }),
        };
        made.extend(done.map(|path| (path, looks)));
    }
    for (path, looks) in made.iter().rev() {
        let link = path.is_symlink();
        std::os::unix::fs::lchown(path, Some(looks.uid), Some(looks.gid)).unwrap();
        if !link {
            std::fs::set_permissions(path, PermissionsExt::from_mode(looks.mode)).unwrap();
        }
        if let Some(value) = &looks.xattr {
            rustix::fs::lsetxattr(path, "trusted.test", value, XattrFlags::empty()).unwrap();
            if path.is_file() {
                rustix::fs::lsetxattr(path, "user.test", value, XattrFlags::empty()).unwrap();
            }
        }
        let time = Timespec { tv_sec: looks.seconds, tv_nsec: looks.nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}

fn archives(root: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let gnu = |arguments: &[&str]| {
        run(Command::new("tar").arg("-C").arg(root).args(arguments).args([
            "-c",
            "-f",
            "-",
            "--sort=name",
            ".",
        ]))
    };
    let python = |format: &str| {
        const SCRIPT: &str = "import sys, tarfile\n\
            archive = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=getattr(tarfile, sys.argv[2]))\n\
            archive.add(sys.argv[1], arcname='.')\n\
            archive.close()";
        run(Command::new("python3").args(["-c", SCRIPT]).arg(root).arg(format))
    };
    let mut archives = vec![
        ("GNU tar, pax", gnu(&["--format=pax", "--xattrs", "--xattrs-include=*"])),
        ("GNU tar, gnu", gnu(&["--format=gnu"])),
        ("GNU tar, pax, sparse", gnu(&["--format=pax", "--sparse"])),
        ("GNU tar, gnu, sparse", gnu(&["--format=gnu", "--sparse"])),
        ("Python, pax", python("PAX_FORMAT")),
        ("Python, gnu", python("GNU_FORMAT")),
    ];
    if is_installed("bsdtar") {
        // Its other format, gnutar, leaves a name without its entry where an id is above 2^21.
        let bsd = ["-c", "-f", "-", "--format", "pax", "-C"];
        archives.push(("bsdtar, pax", run(Command::new("bsdtar").args(bsd).arg(root).arg("."))));
    }
    archives
}

/// `./test` installs what these tests compare with; elsewhere they do without.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// What GNU tar makes of the archive.
fn unpacked_by_gnu_tar(archive: &[u8]) -> Lines {
    let directory = tempfile::tempdir().unwrap();
    let tar = directory.path().join("a.tar");
    let out = directory.path().join("out");
    std::fs::write(&tar, archive).unwrap();
    std::fs::create_dir(&out).unwrap();
    let flags = ["-p", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-x", "-f"];
    run(Command::new("tar").arg("-C").arg(&out).args(flags).arg(&tar));
    tree(&out)
}

/// An OCI layout whose only image has the archive as its only layer.
fn write_layout(layout: &Path, archive: &[u8]) {
    use sha2::{Digest, Sha256};
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
        let media_type = format!("application/vnd.oci.image.{kind}");
        format!(r#""mediaType":"{media_type}","digest":"sha256:{hex}","size":{}"#, bytes.len())
    };
    let layer = blob("layer.v1.tar", archive);
    let diff_id = layer.split('"').find(|word| word.starts_with("sha256:")).unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let config = blob("config.v1+json", config.as_bytes());
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[{{{layer}}}]}}"#);
    let manifest = blob("manifest.v1+json", manifest.as_bytes());
    let name = r#""annotations":{"org.opencontainers.image.ref.name":"x","io.containerd.image.name":"example.com/x:x"}"#;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{{manifest},{name}}}]}}"#);
    std::fs::write(layout.join("index.json"), index).unwrap();
}

/// What umoci makes of the archive, as the only layer of an image.
fn unpacked_by_umoci(archive: &[u8]) -> Lines {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    write_layout(&layout, archive);
    let out = directory.path().join("out");
    let image = format!("{}:x", layout.display());
    run(Command::new("umoci").args(["raw", "unpack", "--image", &image]).arg(&out));
    tree(&out)
}

/// A containerd of this test's own, ended with it.
struct Containerd {
    directory: tempfile::TempDir,
    daemon: Child,
}

impl Containerd {
    /// `None`, and a word about it, where there is none.
    fn start() -> Option<Containerd> {
        if !is_installed("containerd") || !is_installed("ctr") {
            let _ = std::io::stderr().write_all(b"not tested: there is no containerd here\n");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let log = std::fs::File::create(path("log")).unwrap();
        let daemon = Command::new("containerd")
            .arg("--root")
            .arg(path("root"))
            .arg("--state")
            .arg(path("state"))
            .arg("--address")
            .arg(path("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Containerd { directory, daemon };
        let given_up = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(this.path("socket")).is_err() {
            assert!(Instant::now() < given_up, "containerd: {:?}", std::fs::read_to_string(this.path("log")));
            std::thread::yield_now();
        }
        Some(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn ctr(&self, arguments: &[&str]) {
        run(Command::new("ctr").arg("--address").arg(self.path("socket")).args(arguments));
    }

    /// What it makes of the archive, as the only layer of an image.
    fn unpacked(&self, archive: &[u8]) -> Lines {
        let (layout, tar, out) = (self.path("layout"), self.path("image.tar"), self.path("out"));
        write_layout(&layout, archive);
        run(Command::new("tar").arg("-c").arg("-f").arg(&tar).arg("-C").arg(&layout).arg("."));
        std::fs::create_dir(&out).unwrap();
        let (name, native, at) = ("example.com/x:x", ["--snapshotter", "native"], out.display().to_string());
        self.ctr(&["images", "import", "--local", native[0], native[1], &tar.display().to_string()]);
        self.ctr(&["images", "mount", native[0], native[1], name, &at]);
        let lines = tree(&out);
        self.ctr(&["images", "unmount", native[0], native[1], "--rm", &at]);
        self.ctr(&["images", "rm", "--sync", name]);
        std::fs::remove_dir(&out).unwrap();
        std::fs::remove_dir_all(&layout).unwrap();
        lines
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn both_forms_are_what_others_unpack() {
    if common::without_root() {
        return;
    }
    let containerd = Containerd::start();
    let config = ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(ops in prop::collection::vec(op(), 1..60))| {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        build(&root, &ops);
        for (name, archive) in archives(&root) {
            let expected = unpacked_by_gnu_tar(&archive);
            for form in FORMS {
                let made = make(form, &archive, &mut NoLower, 10_240).unwrap();
                similar(&made.tree(), &expected, &format!("{name}, {form:?}"))?;
                if form == Form::Index {
                    common::is_sound_to_fsck(&made);
                }
            }
            if name.ends_with("pax") && is_installed("umoci") {
                similar(&unpacked_by_umoci(&archive), &expected, &format!("{name}, umoci"))?;
            }
            if let (true, Some(containerd)) = (name.ends_with("pax"), &containerd) {
                similar(&containerd.unpacked(&archive), &expected, &format!("{name}, containerd"))?;
            }
        }
    });
}

fn similar(found: &Lines, expected: &Lines, what: &str) -> Result<(), TestCaseError> {
    // bsdtar comes back to a directory for its hard links, and then GNU tar and umoci forget the directory's time.
    let timeless = what.starts_with("bsdtar");
    // containerd has no times before 1970 and sets no attribute in trusted., and its snapshot is a copy, whose root is as old as that.
    let by_containerd = what.ends_with("containerd");
    let line = |lines: &Lines, path: &Vec<u8>| {
        let mut line = lines.get(path)?.clone();
        if let (true, Some(start)) = (by_containerd, line.find(" trusted.test=")) {
            let end = line[start..].find(" user.test=").map_or(line.len(), |length| start + length);
            line.replace_range(start..end, "");
        }
        let is_time = |word: &str| word.contains('.') && !word.contains('=');
        let without_time = line.starts_with("dir ") && (timeless || by_containerd && path.is_empty());
        let words = line.split(' ').filter(|word| !without_time || !is_time(word));
        let before_1970 = |word: &str| by_containerd && word.starts_with('-') && is_time(word);
        let words = words.map(|word| if before_1970(word) { "0.000000000" } else { word });
        Some(words.collect::<Vec<_>>().join(" "))
    };
    for path in expected.keys().chain(found.keys()) {
        prop_assert_eq!(line(found, path), line(expected, path), "{}: {}", what, path.escape_ascii());
    }
    Ok(())
}

/// A valid archive with something of everything, to be damaged.
fn specimen() -> Vec<u8> {
    Tar::default()
        .directory("./", "0000755")
        .pax(&[("path", b"long/path"), ("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"value")])
        .file("short", b"content")
        .special(b'L', b"gnu/long\0")
        .file("short", &[7; 600])
        .symlink("link", "gnu")
        .hard_link("hard", "link/long")
        .file("link/.wh.x", b"")
        .file("gnu/.wh..wh..opq", b"")
        .pax(&[("GNU.sparse.size", b"4096"), ("GNU.sparse.map", b"512,512,2048,512")])
        .file("sparse", &[1; 1024])
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"1024")])
        .file("front", &[b"1\n512\n512\n".to_vec(), vec![0; 502], vec![9; 512]].concat())
        .add(Header { name: b"device", typeflag: b'3', device: (1, 3), ..Header::default() })
        .special(b'g', b"12 comment=\n")
        .end()
}

/// Indexes it under tight limits; the index's length.
fn index(tar: &[u8], step: usize) -> Result<usize, Error> {
    let limits = Limits { entries: 1000, metadata_bytes: 1 << 20, link_steps: 10_000, ..Limits::default() };
    let (mut image, mut lower) = (Vec::new(), NoLower);
    let mut sink = Box::new(Indexer::new(&mut image, &mut lower, limits));
    for piece in tar.chunks(step) {
        sink.feed(piece)?;
    }
    sink.finish()?;
    Ok(image.len())
}

/// Makes each header's sum right again, so that damage gets further than the checksum.
fn reseal(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

#[test]
fn the_specimen_is_valid() {
    index(&specimen(), 4096).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_archives_end_in_an_error_or_an_index(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        fields in prop::collection::vec((0..24usize, prop::sample::select(vec![100, 108, 116, 124, 136, 156, 329, 337, 345, 386, 398, 482, 483]), any::<u64>()), 0..3),
        cut in any::<prop::sample::Index>(),
        cutting in any::<bool>(),
        step in 1..3000usize,
    ) {
        let mut tar = specimen();
        for (block, field, value) in fields {
            let at = (block * 512 + field).min(tar.len() - 12);
            tar[at..at + 8].copy_from_slice(&value.to_be_bytes());
        }
        for (place, byte) in changes {
            let at = place.index(tar.len());
            tar[at] = byte;
        }
        reseal(&mut tar);
        if cutting {
            tar.truncate(cut.index(tar.len()));
        }
        // What is held and written stays near what came in, whatever the headers claim.
        if let Ok(length) = index(&tar, step) {
            prop_assert!(length < 16 << 20, "an index of {length} bytes");
        }
    }

    #[test]
    fn random_bytes_end_in_an_error(bytes in prop::collection::vec(any::<u8>(), 1..4000), step in 1..600usize) {
        let zeros = bytes.iter().take(1024).all(|&byte| byte == 0);
        prop_assert_eq!(index(&bytes, step).is_ok(), zeros && bytes.len() >= 1024);
    }
}
