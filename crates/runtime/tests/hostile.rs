//! Images and volumes that attack the runtime: a test for each past weakness of this kind of program that applies here.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::symlink;

use serde_json::json;
use support::Jar;

fn replace_with_link(jar: &Jar, name: &str, target: &str) {
    let path = jar.rootfs().join(name);
    let _ = std::fs::remove_dir_all(&path);
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

#[test]
fn proc_and_sys_that_are_links_are_refused() {
    // CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867.
    for (name, kind) in [("proc", "proc"), ("sys", "sysfs")] {
        let jar = Jar::new("true");
        replace_with_link(&jar, name, "/tmp");
        let (step, errno, message) = jar.failure();
        assert_eq!((step.as_str(), errno), ("mount", 20));
        assert_eq!(message, format!("filesystem {kind:?} must be mounted on ordinary directory"));
    }
}

#[test]
fn nothing_is_mounted_below_proc_through_a_link() {
    // CVE-2019-16884, CVE-2019-19921: a VOLUME whose path the image made a link into /proc.
    let mut jar = Jar::new("true");
    replace_with_link(&jar, "innocent", "/proc/self/attr");
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    jar.mount("bind", &volume, "/innocent", &["rbind"]);
    let (step, _, message) = jar.failure();
    assert_eq!(step, "mount");
    assert_eq!(message, "\"/innocent\" cannot be mounted because it is inside /proc");
}

#[test]
fn what_is_bound_over_proc_must_be_a_procfs() {
    let mut jar = Jar::new("true");
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    jar.spec()["mounts"][0] = json!({
        "destination": "/proc", "type": "bind", "source": volume, "options": ["rbind"],
    });
    assert_eq!(jar.failure().2, "\"/proc\" cannot be mounted because it is not of type proc");
}

#[test]
fn a_mount_target_that_is_a_link_stays_inside() {
    // CVE-2021-30465's plain form, and CVE-2024-45310: no empty files or directories on the host.
    let outside = tempfile::tempdir().unwrap();
    let mut jar = Jar::new("ls /trap/inside; cat /file");
    replace_with_link(&jar, "trap", outside.path().to_str().unwrap());
    replace_with_link(&jar, "file", outside.path().join("created").to_str().unwrap());
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("inside"), "seen\n").unwrap();
    jar.mount("bind", &volume, "/trap", &["rbind"]);
    jar.mount("bind", volume.join("inside"), "/file", &["bind"]);
    // Both were made inside, under the names that the links spell.
    assert_eq!(jar.output(), "/trap/inside\nseen\n");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn an_image_whose_dev_is_a_link_gets_its_nodes_inside() {
    // CVE-2026-41579, CVE-2026-47766.
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("ptmx"), "precious").unwrap();
    let jar = Jar::new("ls /dev/null /dev/pts/ptmx");
    replace_with_link(&jar, "dev", outside.path().to_str().unwrap());
    assert_eq!(jar.output(), "/dev/null\n/dev/pts/ptmx\n");
    assert_eq!(std::fs::read_to_string(outside.path().join("ptmx")).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn masks_do_not_trust_the_images_null_device() {
    // CVE-2025-31133: /dev/null in the image is a link to what the attacker wants mounted, read-write, over a masked path.
    let mut jar = Jar::new("stat -c %t:%T /proc/keys; wc -c < /proc/keys");
    jar.spec()["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] == "/proc");
    replace_with_link(&jar, "dev/null", "/proc/sys/kernel/core_pattern");
    assert_eq!(jar.output(), "1:3\n0\n");
}

#[test]
fn the_terminal_does_not_trust_the_images_ptmx() {
    // CVE-2025-52565: without a devpts of its own the container would get whatever lies at /dev/pts.
    let mut jar = Jar::new("tty");
    jar.process()["terminal"] = json!(true);
    jar.spec()["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] == "/proc");
    replace_with_link(&jar, "dev/pts/ptmx", "/dev/null");
    assert_eq!(jar.failure().0, "open-terminal");
    std::fs::remove_file(jar.rootfs().join("dev/pts/ptmx")).unwrap();
    std::fs::write(jar.rootfs().join("dev/pts/ptmx"), "").unwrap();
    let mut again = Jar::new("tty");
    again.request["spec"] = jar.request["spec"].clone();
    again.spec()["linux"]["cgroupsPath"] = json!(format!("/{}", again.request["id"].as_str().unwrap()));
    std::fs::create_dir_all(again.rootfs().join("dev/pts")).unwrap();
    std::fs::write(again.rootfs().join("dev/pts/ptmx"), "").unwrap();
    assert_eq!(again.failure().2, "/dev/pts/ptmx is not the ptmx of a devpts");
}

#[test]
fn the_working_directory_cannot_be_a_leaked_descriptor() {
    // CVE-2024-21626.
    for number in 3..20 {
        let mut jar = Jar::new("pwd; cat /etc/hostname");
        jar.process()["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let (step, _, _) = jar.failure();
        assert!(step == "create-working-directory" || step == "working-directory", "{step}");
    }
    let mut jar = Jar::new("touch /ready; exec sleep 100");
    replace_with_link(&jar, "here", "/proc/self/fd/8");
    jar.exec("pwd")["process"]["cwd"] = json!("/here");
    assert_eq!(jar.failure().0, "working-directory");
}

#[test]
fn passwd_may_be_anything_but_is_read_only_if_it_is_a_file() {
    // CVE-2024-9676: a FIFO to hang on, a device to read for ever, a link to the host's.
    let mut jar = Jar::new("id -u");
    jar.extra()["user"] = json!("www");
    let passwd = jar.rootfs().join("etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &passwd, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    assert_eq!(jar.failure().2, "unable to find user www: no matching entries in passwd file");

    let mut jar = Jar::new("id -u");
    jar.extra()["user"] = json!("daemon");
    replace_with_link(&jar, "etc/passwd", "../../../../../../../../etc/passwd");
    assert_eq!(jar.failure().0, "resolve-user", "the host's /etc/passwd was read");
}

#[test]
fn the_program_on_the_host_cannot_be_written_to() {
    // CVE-2019-5736: the image's entry point makes the runtime execute itself inside, and somebody in the container opens that
    // process's program for writing.
    let mut jar = Jar::new("");
    std::fs::write(jar.rootfs().join("bin/trap"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(
        jar.rootfs().join("bin/trap"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    jar.process()["args"] = json!(["/proc/self/exe", "/none"]);
    let run = jar.run();
    // It ran our own program again: harmless, as it is on a read-only mount (crates/sys tests the refusal itself).
    assert!(run.error.is_some() || run.ends.iter().any(|end| end.failure.is_some()), "{run:?}");

    let mut jar = Jar::new(
        "touch /ready; while :; do for p in /proc/[0-9]*; do (echo x > $p/exe) 2>/dev/null && echo written; done; done",
    );
    let before = std::fs::metadata(support::runner()).unwrap().modified().unwrap();
    for _ in 0..5 {
        jar.exec("true");
    }
    let output = jar.output();
    assert!(!output.contains("written"), "{output}");
    assert_eq!(std::fs::metadata(support::runner()).unwrap().modified().unwrap(), before);
}

#[test]
fn a_joining_process_cannot_be_looked_into() {
    // CVE-2016-9962: between joining and exec, its descriptors lead to the host.
    let mut jar = Jar::new(
        "touch /ready; while :; do for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -E ' /(var|run|sys|work|tmp/.tmp)' ; done; done",
    );
    for _ in 0..10 {
        jar.exec("true");
    }
    let output = jar.output();
    // The standard streams of this test are pipes; anything else of the host's would be seen by its path.
    assert_eq!(output, "", "{output}");
}

#[test]
fn kernel_parameters_cannot_be_redirected() {
    // CVE-2025-52881: the image mounts something over /proc/sys, or a name climbs.
    let mut jar = Jar::new("true");
    jar.spec()["linux"]["sysctl"] = json!({ "net/../kernel/panic": "1" });
    let run = jar.run();
    assert!(run.error.unwrap().contains("it is no name of a kernel parameter"));
}

#[test]
fn a_volume_that_is_filled_from_the_image_takes_no_file_of_the_hosts() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let mut jar = Jar::new("cat /data/leak || echo dangling");
    replace_with_link(&jar, "data/leak", secret.path().to_str().unwrap());
    replace_with_link(&jar, "elsewhere", "/../../../../../etc");
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    jar.mount("bind", &volume, "/data", &["rbind"]);
    jar.extra()["populate"] = json!([{ "destination": "/data", "volume": volume }]);
    let output = jar.output();
    assert!(output.contains("dangling") && !output.contains("secret"), "{output}");
    assert!(std::fs::symlink_metadata(volume.join("leak")).unwrap().is_symlink());

    // The directory itself is a link out: it is resolved inside, where it holds the image's files.
    let volume = jar.path("second");
    std::fs::create_dir(&volume).unwrap();
    jar.extra()["populate"] = json!([{ "destination": "/elsewhere", "volume": volume }]);
    jar.run();
    let names: Vec<_> = std::fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name == "shadow" || name == "fstab"), "{names:?}");
}

#[test]
fn a_target_that_is_swapped_while_it_is_mounted_on_stays_inside() {
    // CVE-2021-30465, CVE-2024-45310: another container exchanges a directory of a shared volume for a link, again and again.
    use std::sync::atomic::{AtomicBool, Ordering};
    static STOP: AtomicBool = AtomicBool::new(false);
    let outside = tempfile::tempdir().unwrap();
    let mut jar = Jar::new("true");
    let volume = jar.path("volume");
    let second = jar.path("second");
    for path in [volume.join("swapped"), second.clone()] {
        std::fs::create_dir_all(path).unwrap();
    }
    symlink(outside.path(), volume.join("link")).unwrap();
    jar.mount("bind", &volume, "/shared", &["rbind"]);
    jar.mount("bind", &second, "/shared/swapped/deep/target", &["rbind"]);
    jar.mount("bind", "/etc/hostname", "/shared/swapped/file", &["bind"]);
    let attacker = std::thread::spawn(move || {
        let (directory, link) = (volume.join("swapped"), volume.join("link"));
        while !STOP.load(Ordering::Relaxed) {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, &directory, rustix::fs::CWD, &link, flags).unwrap();
        }
    });
    for _ in 0..20 {
        // It may fail, as what it made may be gone the next moment; it may not reach the host.
        jar.run();
    }
    STOP.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(outside.path().to_str().unwrap()), "{mounts}");
}
