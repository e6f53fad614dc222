//! Layers as directories, where EROFS cannot be mounted: unpacked by a process of its own that has nothing else.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::fresh;
use onggi_testkit::{Compression, ImageArchive, PATIENCE, Process, TestEnv};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_onggi");

/// EROFS is mounted from no file of a tmpfs.
fn with_directories() -> TestEnv {
    TestEnv::on_small_disk(PROGRAM, 48)
}

fn tar_of(tree: &std::path::Path) -> Vec<u8> {
    let output =
        Command::new("tar").args(["-c", "--xattrs", "--xattrs-include=*", "-C"]).arg(tree).arg(".").output();
    output.expect("tar is installed").stdout
}

#[test]
fn all_that_a_layer_can_hold_is_unpacked() {
    let onggi = with_directories();
    let tree = onggi.file("tree");
    fs::create_dir_all(tree.join("etc")).expect("a directory");
    fs::write(tree.join("etc/.wh.group"), "").expect("a file");
    fs::create_dir_all(tree.join("var/www")).expect("a directory");
    fs::write(tree.join("var/www/.wh..wh..opq"), "").expect("a file");
    let run = |program: &str, arguments: &[&str]| {
        let status =
            Command::new(program).args(arguments).current_dir(&tree).status().expect("it is installed");
        assert!(status.success(), "{program} {arguments:?}");
    };
    run("mknod", &["device", "c", "1", "3"]);
    run("mkfifo", &["pipe"]);
    run("touch", &["owned"]);
    run("chown", &["4242:4343", "owned"]);
    run("chmod", &["4711", "owned"]);
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    let image = ImageArchive::new("tree:1", json!({})).layer(base).layer(tar_of(&tree));
    let path = image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {}).display().to_string();
    onggi.ok(["load", "-q", "-i", &path]);
    let script =
        "cat /etc/group 2>/dev/null || ls -ln /owned /device /pipe | cut -c1-10; stat -c %u:%g /owned";
    assert_eq!(
        onggi.ok(["run", "--rm", "tree:1", "sh", "-c", script]),
        "crw-r--r--\n-rws--x--x\nprw-r--r--\n4242:4343"
    );
    let unpacked = fs::read_dir(onggi.data().join("layers"))
        .expect("layers")
        .map(|entry| entry.expect("a layer").path());
    let trees: Vec<_> = unpacked.map(|layer| layer.join("tree")).filter(|tree| tree.exists()).collect();
    assert_eq!(trees.len(), 2, "both layers are directories: {trees:?}");
    let upper = trees.iter().find(|tree| tree.join("pipe").exists()).expect("the upper layer");
    assert!(fs::metadata(upper.join("device")).expect("a device").file_type().is_char_device());
    assert_eq!(fs::metadata(upper.join("owned")).expect("a file").uid(), 4242);
}

/// The program that unpacks what comes on its standard input, in an empty directory.
fn unpacking_into(directory: &Path, stderr: Stdio) -> Child {
    fs::create_dir_all(directory).expect("a directory");
    let mut command = Command::new("/bin/sh");
    // As a caller does who has left a file open.
    let script = "exec 9<>../left-open; exec \"$@\"";
    command.args(["-c", script, "sh", PROGRAM, "image", "unpack-layer"]);
    command.current_dir(directory).stdin(Stdio::piped()).stderr(stderr);
    command.spawn().expect("the program")
}

#[test]
fn layers_are_unpacked_as_they_come() {
    let onggi = fresh();
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    let path = ImageArchive::new("box:1", json!({})).layer(base).oci_archive(
        &onggi.file(""),
        Compression::Gzip,
        |_| {},
    );
    let trees = |onggi: &TestEnv| {
        let layers = fs::read_dir(onggi.data().join("layers")).expect("layers");
        layers
            .filter(|layer| layer.as_ref().expect("a layer").path().join("tree/bin/busybox").exists())
            .count()
    };
    for (form, expected) in [("auto", 0), ("directories", 1)] {
        onggi
            .command(["load", "-q", "-i", &path.display().to_string()])
            .env("ONGGI_STORE_LAYERS", form)
            .success();
        assert_eq!(trees(&onggi), expected, "{form}");
        onggi.ok(["system", "check"]);
        onggi.ok(["rmi", "box:1"]);
    }
}

#[test]
fn what_is_no_layer_is_said_as_by_any_command() {
    let onggi = with_directories();
    let directory = onggi.file("into");
    let mut child = unpacking_into(&directory, Stdio::piped());
    let mut input = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, &[b'x'; 2048]).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.starts_with(b"corrupt\n"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_process_that_unpacks_has_given_up_all_but_its_directory() {
    let onggi = with_directories();
    let directory = onggi.file("into");
    let mut child = unpacking_into(&directory, Stdio::inherit());
    let process =
        Process::open(i32::try_from(child.id()).expect("a number")).expect("it waits for its input");
    // The staging directory comes after everything that it gives up.
    let deadline = std::time::Instant::now() + PATIENCE;
    while !directory.join("stage").exists() {
        assert!(std::time::Instant::now() < deadline, "it does not begin");
        std::thread::yield_now();
    }
    // Its own directories are the roots of mounts that are nowhere else.
    for entry in fs::read_dir(format!("/proc/{}/fd", child.id())).expect("descriptors") {
        let path = entry.expect("a descriptor").path();
        let number: u32 = path.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
        let target = fs::read_link(&path).expect("what it is");
        let own = [Path::new("/"), Path::new("/stage")].contains(&target.as_path());
        assert!(number < 3 || own, "{number} is {}", target.display());
    }
    for namespace in ["mnt", "net", "ipc", "uts"] {
        let of =
            |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).expect("a namespace");
        assert_ne!(of(&child.id().to_string()), of("self"), "{namespace}");
    }
    let status = process.read("status");
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {status}"));
        line.split_whitespace().nth(1).expect("a value").to_owned()
    };
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SYS_ADMIN, MKNOD, SETFCAP
    let kept = 1_u64 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 21 | 1 << 27 | 1 << 31;
    for set in ["CapPrm:", "CapEff:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).expect("a set") & !kept, 0, "{set} {status}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Threads:"), "1");
    assert_eq!(field("Seccomp:"), "2", "a filter");
    // Two blocks of zeros are a layer of nothing.
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), &[0; 1024]).expect("it reads");
    assert!(child.wait().expect("it ends").success());
    assert!(directory.join("tree").is_dir() && !directory.join("stage").exists());
}
