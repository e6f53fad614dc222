//! What an image says of itself is data: its labels start nothing, its volumes, directories and users lead nowhere, and it cannot be of more layers than
//! the kernel stacks. Which weakness each is for is in docs/attacks.md.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{busybox, fresh};
use onggi_testkit::{Compression, ImageArchive, TestEnv};
use serde_json::json;

fn load(onggi: &TestEnv, image: &ImageArchive) -> String {
    let path = image.docker_archive(&onggi.file(""), Compression::None, |_| {});
    onggi.ok(["load", "-q", "-i", &path.display().to_string()])
}

fn base() -> Vec<u8> {
    fs::read(onggi_testkit::image("busybox")).expect("the image")
}

/// CVE-2026-50195 (a label that names a logger's program), CVE-2026-53489 (devices by an annotation).
#[test]
fn labels_start_nothing_and_give_nothing() {
    let onggi = fresh();
    let victim = onggi.file("victim");
    let command = format!("touch {}", victim.display());
    let labels = json!({
        "io.containerd.runc.v2.log-uri": format!("binary:///bin/sh?-c={command}"),
        "containerd.io/logger": format!("binary:///bin/busybox?touch={}", victim.display()),
        "cdi.k8s.io/everything": "vendor.com/device=all",
        "io.podman.annotations.privileged": "TRUE",
        "io.kubernetes.cri-o.Devices": "/dev/kmsg:/dev/kmsg:rwm",
        "run.oci.hooks.stderr": victim.display().to_string(),
        "run.oci.handler": "/bin/sh",
        "org.opencontainers.image.stopSignal": "KILL",
        "RUN": command,
    });
    load(&onggi, &ImageArchive::new("labels:1", json!({ "Labels": labels })).layer(base()));
    let script = "grep CapEff /proc/self/status; ls /dev | grep -c kmsg; ls /dev | grep -c mem";
    let plain = {
        load(&onggi, &ImageArchive::new("plain:1", json!({})).layer(base()));
        onggi.run(["run", "--rm", "plain:1", "sh", "-c", script]).stdout
    };
    assert_eq!(onggi.run(["run", "--rm", "labels:1", "sh", "-c", script]).stdout, plain);
    assert!(!victim.exists());
}

/// CVE-2022-23648: a volume of the image's lies where a link leads out, or climbs.
#[test]
fn volumes_and_directories_of_the_image_s_stay_inside() {
    let onggi = fresh();
    let outside = onggi.file("outside");
    fs::create_dir_all(&outside).expect("a directory");
    fs::write(outside.join("secret"), "of the host\n").expect("a file");
    let top = onggi.file("top");
    fs::create_dir_all(&top).expect("a directory");
    symlink(&outside, top.join("absolute")).expect("a link");
    symlink("../../../../../../../../..", top.join("up")).expect("a link");
    let through = format!("/up{}", outside.display());
    for place in ["/absolute", "/absolute/made", &through, "/absolute/../../../made"] {
        for config in [json!({ "Volumes": { place: {} } }), json!({ "WorkingDir": place })] {
            let name = "evil:1";
            load(&onggi, &ImageArchive::new(name, config.clone()).layer(base()).layer_of(&top));
            // Refused, or inside: what lies outside is neither shown nor changed.
            let run = onggi.run([
                "run",
                "--rm",
                name,
                "sh",
                "-c",
                &format!("cat {place}/secret; find / -name secret"),
            ]);
            assert!(!run.stdout.contains("of the host"), "{config}: {run}");
            let names: Vec<_> = fs::read_dir(&outside)
                .expect("the directory")
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            assert_eq!(names, ["secret"], "{config}: {run}");
        }
    }
    assert!(onggi.ok(["volume", "ls", "-q"]).is_empty(), "a volume holds what was outside");
}

/// CVE-2024-40635 (a number that overflows is root), CVE-2026-46680 (a group file without an end).
#[test]
fn users_of_the_image_s_are_never_more_than_it_says() {
    let onggi = fresh();
    for (user, said) in [
        ("4294967296", "must be in range 0-2147483647"),
        ("4294967295", "must be in range 0-2147483647"),
        ("0:4294967296", "must be in range 0-2147483647"),
        ("-1", "must be in range 0-2147483647"),
        ("99999999999999999999", "must be in range 0-2147483647"),
    ] {
        load(&onggi, &ImageArchive::new("evil:1", json!({ "User": user })).layer(base()));
        onggi.fails(["run", "--rm", "evil:1", "id", "-u"]).says(said);
    }
    let top = onggi.file("top");
    fs::create_dir_all(top.join("etc")).expect("a directory");
    // Of no length on the disk, and of a terabyte to a reader.
    let group = fs::File::create(top.join("etc/group")).expect("a file");
    group.set_len(1 << 33).expect("a sparse file");
    let tar = std::process::Command::new("tar")
        .args(["-c", "-S", "--format=pax", "-C"])
        .arg(&top)
        .arg("etc")
        .output();
    let tar = tar.expect("tar is installed").stdout;
    load(&onggi, &ImageArchive::new("evil:2", json!({ "User": "0:sys" })).layer(base()).layer(tar));
    onggi.fails(["run", "--rm", "evil:2", "id", "-u"]).says("/etc/group is larger than");
}

/// Overlayfs stacks 500 layers at most: an image of more is refused before anything of it is kept.
#[test]
fn an_image_of_too_many_layers_is_refused() {
    let onggi = busybox();
    let before = onggi.ok(["images", "-q"]);
    let mut image = ImageArchive::new("tall:1", json!({}));
    let empty = vec![0; 1024];
    image = image.layer(base());
    for _ in 0..600 {
        image = image.layer(empty.clone());
    }
    let path = image.docker_archive(&onggi.file(""), Compression::None, |_| {});
    onggi.fails(["load", "-q", "-i", &path.display().to_string()]).says("601 layers");
    assert_eq!(onggi.ok(["images", "-q"]), before);
}

/// CVE-2020-15257: a socket without a file is open to all in the network namespace, which a container may share.
#[test]
fn no_socket_of_ours_is_abstract_or_open_to_others() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "runs", "--network", "host", "busybox", "sleep", "1000"]);
    let monitor = onggi.monitor("runs");
    let of_monitor: Vec<String> = fs::read_dir(format!("/proc/{}/fd", monitor.pid))
        .expect("its descriptors")
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    assert!(!of_monitor.is_empty());
    let table = fs::read_to_string("/proc/net/unix").expect("the sockets");
    let mut paths = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if of_monitor.iter().any(|inode| inode == words[6]) {
            paths.extend(words.get(7).map(|path| (*path).to_owned()));
        }
    }
    assert!(!paths.iter().any(|path| path.starts_with('@')), "{paths:?}");
    assert!(!paths.is_empty(), "the monitor listens nowhere: {table}");
    let run = onggi.run_root();
    let mode = fs::metadata(&run).expect("the run root").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others may enter {}", run.display());
    onggi.ok(["rm", "-f", "runs"]);
}
