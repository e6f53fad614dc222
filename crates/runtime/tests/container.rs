//! A container's first process, in real namespaces.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;
use support::Jar;

#[test]
fn it_is_alone() {
    let output = Jar::new(
        "hostname; echo pid $$; ps | tail -n +2 | wc -l; for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done",
    )
    .output();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(&lines[..2], ["jar", "pid 1"]);
    // sh, ps, tail and wc.
    assert!(lines[2].parse::<u32>().unwrap() <= 5, "{output}");
    for (name, line) in ["pid", "net", "ipc", "uts", "mnt", "cgroup"].iter().zip(&lines[3..]) {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(own.to_str().unwrap(), *line, "{name} is the host's");
    }
}

#[test]
fn it_sees_only_its_own_mounts() {
    let jar = Jar::new("cut -d' ' -f5,6 /proc/self/mountinfo");
    let output = jar.output();
    for expected in [
        "/ rw,",
        "/proc rw,nosuid,nodev,noexec,",
        "/dev rw,nosuid",
        "/dev/pts rw,nosuid,noexec,",
        "/dev/shm rw,nosuid,nodev,noexec,",
        "/dev/mqueue rw,nosuid,nodev,noexec,",
        "/sys ro,nosuid,nodev,noexec,",
        "/sys/fs/cgroup ro,nosuid,nodev,noexec,",
        "/sys/fs/cgroup/memory ro,",
        "/proc/sys ro,",
        "/proc/keys ro",
    ] {
        // On a version 2 host there are no hierarchies below.
        if expected.contains("memory") && !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
            continue;
        }
        assert!(output.lines().any(|line| line.starts_with(expected)), "{expected:?} is not in:\n{output}");
    }
    let inside = ["/", "/dev", "/proc", "/sys"];
    for line in output.lines() {
        assert!(inside.iter().any(|top| line.starts_with(top)), "a mount of the host's: {line}");
    }
    assert!(!output.contains("/var/") && !output.contains("/tmp"), "{output}");
}

#[test]
fn it_holds_three_descriptors_and_no_privilege_beyond_its_capabilities() {
    let mut jar = Jar::new("ls /proc/1/fd; true");
    assert_eq!(jar.output(), "0\n1\n2\n");
    // Without the shell, which ignores signals of its own.
    jar.process()["args"] = json!(["grep", "-E", "^(Cap|NoNew|Sig(Blk|Ign))", "/proc/self/status"]);
    let expected = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapInh:\t0000000000000000\n\
        CapPrm:\t00000000800405fb\nCapEff:\t00000000800405fb\nCapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t0\n";
    assert_eq!(jar.output(), expected);
}

#[test]
fn the_default_filter_is_loaded_and_the_capability_for_it_is_gone() {
    for no_new_privileges in [false, true] {
        let mut jar = Jar::new("grep -E '^(CapPrm|CapEff|NoNewPrivs|Seccomp):' /proc/1/status");
        let capabilities: Vec<String> = support::PODMAN_CAPABILITIES.map(String::from).to_vec();
        jar.extra()["seccomp"] = json!(onggi_seccomp::default_program(&capabilities).into_owned());
        jar.process()["noNewPrivileges"] = json!(no_new_privileges);
        let expected = format!(
            "CapPrm:\t00000000800405fb\nCapEff:\t00000000800405fb\nNoNewPrivs:\t{}\nSeccomp:\t2\n",
            u8::from(no_new_privileges)
        );
        assert_eq!(jar.output(), expected);
    }
}

#[test]
fn a_profile_of_the_specification_is_compiled() {
    let mut jar = Jar::new("mkdir /x || echo refused; cat /etc/group > /dev/null && echo open");
    jar.spec()["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    });
    let output = jar.output();
    assert!(output.contains("refused\nopen\n"), "{output}");
}

#[test]
fn users_are_looked_up_in_the_container() {
    for (user, add, expected) in [
        ("", vec![], "uid=0(root) gid=0(root) groups=0(root),1(bin) /root"),
        ("www", vec![], "uid=33(www) gid=34(www) groups=34(www),44(video) /srv"),
        ("www:bin", vec!["7"], "uid=33(www) gid=1(bin) groups=1(bin),7 /srv"),
        ("4000", vec![], "uid=4000 gid=0(root) groups=0(root) /"),
        // CVE-2026-30892: "1" is also the name of a user that is root.
        ("1", vec![], "uid=1 gid=0(root) groups=0(root) /"),
    ] {
        let mut jar = Jar::new("echo $(id) $HOME");
        jar.extra()["user"] = json!(user);
        jar.extra()["group_add"] = json!(add);
        assert_eq!(jar.output().trim(), expected, "{user:?}");
    }
    let mut jar = Jar::new("true");
    jar.extra()["user"] = json!("nobody");
    let message = "unable to find user nobody: no matching entries in passwd file";
    assert_eq!(jar.failure(), ("resolve-user".into(), 0, message.into()));
}

#[test]
fn an_ordinary_user_has_no_capabilities_in_effect() {
    let mut jar = Jar::new(
        "grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status; echo into > /dev/stdout; touch /etc/x || echo no",
    );
    jar.extra()["user"] = json!("www");
    let output = jar.output();
    let none = "0000000000000000";
    assert!(
        output.starts_with(&format!("CapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\ninto\nno\n")),
        "{output}"
    );
}

#[test]
fn what_cannot_be_executed_is_said_in_gos_words() {
    let jar = |args: serde_json::Value| {
        let mut jar = Jar::new("");
        std::fs::write(jar.rootfs().join("bin/plain"), "text").unwrap();
        std::fs::write(jar.rootfs().join("bin/junk"), "\x01\x02").unwrap();
        std::fs::set_permissions(jar.rootfs().join("bin/junk"), PermissionsExt::from_mode(0o755)).unwrap();
        jar.process()["args"] = args;
        jar.failure()
    };
    let find = "find-program".to_owned();
    assert_eq!(
        jar(json!(["none"])),
        (find.clone(), 2, "exec: \"none\": executable file not found in $PATH".into())
    );
    assert_eq!(
        jar(json!(["/none"])),
        (find.clone(), 2, "exec: \"/none\": stat /none: no such file or directory".into())
    );
    assert_eq!(
        jar(json!(["/bin/plain"])),
        (find.clone(), 13, "exec: \"/bin/plain\": permission denied".into())
    );
    assert_eq!(jar(json!(["/etc"])), (find, 21, "exec: \"/etc\": is a directory".into()));
    assert_eq!(jar(json!(["junk"])), ("execute".into(), 8, "exec /bin/junk: exec format error".into()));
}

#[test]
fn a_terminal_comes_from_the_containers_own_devpts() {
    let mut jar = Jar::new(
        "tty; stty size; ls -l /dev/console | cut -c1; echo hi > /dev/tty; echo there > /dev/console",
    );
    jar.process()["terminal"] = json!(true);
    jar.request["size"] = json!([33, 101]);
    assert_eq!(jar.output(), "/dev/pts/0\r\n33 101\r\nc\r\nhi\r\nthere\r\n");
}

#[test]
fn mounts_of_the_specification() {
    let mut jar = Jar::new(
        "cat /one/file /two/deep/file; echo x > /one/new || echo read-only; stat -c %a /scratch /odd; \
         cat /odd/kept; grep -c ' /scratch .*size=1024k' /proc/mounts; echo y > /two/deep/file",
    );
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "hello\n").unwrap();
    std::fs::create_dir(jar.rootfs().join("odd")).unwrap();
    std::fs::set_permissions(jar.rootfs().join("odd"), PermissionsExt::from_mode(0o711)).unwrap();
    std::fs::write(jar.rootfs().join("odd/kept"), "kept\n").unwrap();
    jar.mount("bind", &volume, "/one", &["rbind", "ro"]);
    jar.mount("bind", volume.join("file"), "/two/deep/file", &["bind"]);
    jar.mount("tmpfs", "tmpfs", "/scratch", &["size=1024k", "mode=1770"]);
    jar.mount("tmpfs", "tmpfs", "/odd", &["tmpcopyup"]);
    let output = jar.output();
    assert!(output.starts_with("hello\nhello\nread-only\n1770\n711\nkept\n1\n"), "{output}");
    assert_eq!(std::fs::read_to_string(volume.join("file")).unwrap(), "y\n");
}

#[test]
fn recursive_read_only_reaches_the_mounts_below() {
    let mut jar =
        Jar::new("for d in plain whole; do touch /$d/inner/x && echo written || echo refused; done");
    // A mount below the volume, made in a mount namespace that ends with the test's runner.
    let volume = jar.path("volume");
    std::fs::create_dir_all(volume.join("inner")).unwrap();
    jar.mount("bind", &volume, "/plain", &["rbind", "ro"]);
    jar.mount("bind", &volume, "/whole", &["rbind", "rro"]);
    rustix::mount::mount("tmpfs", volume.join("inner"), "tmpfs", rustix::mount::MountFlags::empty(), None)
        .unwrap();
    let run = jar.run();
    rustix::mount::unmount(volume.join("inner"), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(run.output.starts_with("written\nrefused\n"), "{run:?}");
}

#[test]
fn nothing_mounted_inside_reaches_the_host_and_slaves_see_the_hosts() {
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let mut jar = Jar::new("cut -d' ' -f5,7- /proc/self/mountinfo | grep ' shared:' || echo none shared");
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    jar.mount("bind", &volume, "/private", &["rbind", "rprivate"]);
    jar.mount("bind", &volume, "/shared", &["rbind", "rshared"]);
    let output = jar.output();
    assert!(output.starts_with("/shared "), "{output}");
    assert_eq!(output.lines().count(), 1, "{output}");
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!after.contains(jar.directory.path().to_str().unwrap()), "{after}");
    assert!(after.lines().count() <= before + 2, "mounts were left");
}

#[test]
fn a_shared_root_is_cut_off_from_the_host_too() {
    let mut jar = Jar::new("grep ' / / ' /proc/self/mountinfo | grep -c ' shared:'");
    jar.spec()["linux"]["rootfsPropagation"] = json!("shared");
    assert_eq!(jar.output(), "1\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(jar.directory.path().to_str().unwrap()), "{mounts}");
}

#[test]
fn paths_are_masked_and_read_only() {
    let output = Jar::new(
        "wc -c < /proc/keys; ls /sys/firmware | wc -l; touch /sys/firmware/x || echo no; \
         echo 1 > /proc/sys/net/ipv4/ip_forward || echo no; stat -c %t:%T /proc/interrupts",
    )
    .output();
    assert!(output.starts_with("0\n0\nno\nno\n1:3\n"), "{output}");
}

#[test]
fn a_read_only_root_leaves_the_mounts_writable() {
    let mut jar = Jar::new("touch /x || echo no; touch /dev/shm/x && touch /scratch/x && echo yes");
    jar.spec()["root"]["readonly"] = json!(true);
    jar.mount("tmpfs", "tmpfs", "/scratch", &[]);
    assert!(jar.output().starts_with("no\nyes\n") || jar.output().starts_with("yes\n"), "{}", jar.output());
}

#[test]
fn a_read_only_tmpfs_still_gets_its_device_nodes() {
    let mut jar = Jar::new("ls /dev/null /dev/pts/ptmx; touch /dev/x || echo no");
    jar.spec()["mounts"][1]["options"] = json!(["nosuid", "mode=755", "ro"]);
    let output = jar.output();
    assert!(output.contains("/dev/null\n/dev/pts/ptmx\nno\n"), "{output}");
}

#[test]
fn devices_of_the_specification() {
    let mut jar = Jar::new(
        "stat -c '%n %F %t:%T %a %u:%g' /dev/null /dev/my/zero; for l in ptmx fd stdout; do readlink /dev/$l; done",
    );
    jar.spec()["linux"]["devices"] = json!([
        { "path": "/dev/my/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 5, "gid": 6 },
    ]);
    assert_eq!(
        jar.output(),
        "/dev/null character special file 1:3 666 0:0\n/dev/my/zero character special file 1:5 640 5:6\n\
         pts/ptmx\n/proc/self/fd\n/proc/self/fd/1\n"
    );
}

#[test]
fn kernel_parameters_limits_and_scores() {
    let mut jar = Jar::new(
        "cat /proc/sys/net/ipv4/ping_group_range; ulimit -n; cat /proc/self/oom_score_adj; umask; pwd; \
         cat /proc/sys/kernel/domainname; ip -o addr show lo | grep -c 127.0.0.1",
    );
    jar.spec()["linux"]["sysctl"] = json!({ "net.ipv4.ping_group_range": "0 2147483647" });
    jar.spec()["domainname"] = json!("pantry");
    jar.process()["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 123, "hard": 456 }]);
    jar.process()["oomScoreAdj"] = json!(321);
    jar.process()["user"]["umask"] = json!(0o027);
    jar.process()["cwd"] = json!("/made/on the way");
    assert_eq!(jar.output(), "0\t2147483647\n123\n321\n0027\n/made/on the way\npantry\n1\n");
}

#[test]
fn an_empty_volume_is_filled_from_the_image() {
    let mut jar = Jar::new("cat /data/file; readlink /data/link; stat -c '%a %u:%g' /data/sub /data");
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let data = jar.rootfs().join("data");
    std::fs::write(data.join("file"), "from the image\n").unwrap();
    std::fs::hard_link(data.join("file"), data.join("twin")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", data.join("link")).unwrap();
    std::fs::create_dir(data.join("sub")).unwrap();
    std::fs::set_permissions(data.join("sub"), PermissionsExt::from_mode(0o2750)).unwrap();
    std::os::unix::fs::chown(&data, Some(33), Some(34)).unwrap();
    rustix::fs::setxattr(data.join("file"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    jar.mount("bind", &volume, "/data", &["rbind"]);
    jar.extra()["populate"] = json!([{ "destination": "/data", "volume": volume }]);
    assert_eq!(jar.output(), "from the image\n/etc/passwd\n2750 0:0\n755 33:34\n");
    let metadata = std::fs::metadata(volume.join("file")).unwrap();
    assert_eq!(metadata.nlink(), 2, "hard links stay one file");
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(volume.join("file"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");

    // The second time it holds something, and is left alone.
    std::fs::write(volume.join("file"), "mine\n").unwrap();
    assert!(jar.output().starts_with("mine\n"));
}

#[test]
fn a_small_process_1_reaps_and_passes_signals_on() {
    // The grandchild is orphaned when the inner shell ends.
    let mut jar = Jar::new(
        "(sh -c 'sleep 0.05 & exit 0'); sleep 0.2; echo pid $$; ps | grep -c Z; \
         trap 'echo got it; exit 7' TERM; touch /ready; while :; do sleep 0.01; done",
    );
    jar.extra()["init"] = json!(true);
    jar.request["ready"] = json!(jar.path("upper/ready"));
    jar.request["signal"] = json!(15);
    let run = jar.run();
    // `grep -c Z` counts itself in no column but the command.
    assert!(run.output.starts_with("pid 2\n") && run.output.ends_with("got it\n"), "{run:?}");
    assert!(!run.output.contains("[sleep]"), "{run:?}");
    assert_eq!(run.ends[0].code, Some(7), "{run:?}");

    let mut jar = Jar::new("kill -9 $$");
    jar.extra()["init"] = json!(true);
    assert_eq!(jar.run().ends[0].code, Some(137));
}

#[test]
fn process_1_of_ours_cannot_be_opened() {
    let mut jar = Jar::new(
        "cat /proc/1/exe > /dev/null || echo no program; echo files $(ls /proc/1/fd | wc -l); cat /proc/1/environ || echo no memory; \
         grep -E 'Cap(Eff|Bnd)' /proc/1/status",
    );
    jar.extra()["init"] = json!(true);
    let output = jar.output();
    for expected in
        ["no program", "files 0", "no memory", "CapEff:\t0000000000000020", "CapBnd:\t0000000000000000"]
    {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn timings_are_sent_when_asked_for() {
    let mut jar = Jar::new("true");
    assert!(jar.run().ends[0].timings.is_empty());
    jar.extra()["timings"] = json!(true);
    let timings = jar.run().ends.remove(0).timings;
    assert!(timings.len() > 15, "{timings:?}");
}

#[test]
fn nothing_is_left_behind() {
    let mut jar = Jar::new("true");
    let id = jar.request["id"].as_str().unwrap().to_owned();
    jar.output();
    jar.process()["args"] = json!(["none"]);
    jar.failure();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let path = hierarchy.unwrap().path();
        assert!(!path.join(&id).exists(), "{} was left", path.join(&id).display());
    }
}

#[test]
fn limits_bite_the_program_and_not_its_start() {
    for (soft, hard) in [(10, 20), (3, 20), (0, 0)] {
        let mut jar = Jar::new("ulimit -n; ulimit -Hn");
        jar.process()["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": soft, "hard": hard },
            { "type": "RLIMIT_FSIZE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_NPROC", "soft": 1, "hard": 1 },
            { "type": "RLIMIT_AS", "soft": 32 << 20, "hard": 32 << 20 },
        ]);
        jar.extra()["user"] = json!("www");
        assert_eq!(jar.output(), format!("{soft}\n{hard}\n"));
    }
}

#[test]
fn a_volume_is_filled_with_names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let mut jar = Jar::new("ls /data/*/ | wc -l; cat /data/*/* | sort -u; stat -c %h /data/*/*");
    let volume = jar.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let name = |bytes: &'static [u8]| std::ffi::OsStr::from_bytes(bytes);
    let inner = jar.rootfs().join("data").join(name(b"kim\xffchi"));
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join(name(b"one\xfe")), "jar\n").unwrap();
    std::fs::hard_link(inner.join(name(b"one\xfe")), inner.join(name(b"two\xfe"))).unwrap();
    jar.mount("bind", &volume, "/data", &["rbind"]);
    jar.extra()["populate"] = json!([{ "destination": "/data", "volume": volume }]);
    assert_eq!(jar.output(), "2\njar\n2\n2\n");
}

#[test]
fn a_plan_can_be_started_again() {
    // The monitor that restarts a container has nothing but the plan's descriptor: what one life reads of it, the next finds again.
    for volatile in [true, false] {
        let mut jar = Jar::new("echo $$ >>/lives; cat /lives; ls /dev/shm; touch /dev/shm/mine");
        jar.request["root"]["overlay"]["volatile"] = json!(volatile);
        jar.lives = 3;
        assert_eq!(jar.output(), "1\n1\n1\n1\n1\n1\n", "its files stay, and what is in memory is new");
    }
}

#[test]
fn what_is_mounted_is_changed_by_a_remount() {
    let mut jar = Jar::new(
        "grep -E ' /(data|t) ' /proc/self/mounts | cut -d' ' -f2,4; (echo > /data/x) 2>/dev/null || echo read-only",
    );
    let source = jar.path("source");
    std::fs::create_dir(&source).unwrap();
    jar.mount("bind", &source, "/data", &["bind", "nosuid"]);
    jar.mount("bind", &source, "/data", &["remount", "bind", "ro"]);
    jar.mount("tmpfs", "tmpfs", "/t", &["nodev", "size=64k"]);
    jar.mount("tmpfs", "tmpfs", "/t", &["remount", "noexec", "size=128k"]);
    let output = jar.output();
    assert!(output.starts_with("/data ro,nosuid,"), "{output}");
    assert!(output.contains("\n/t rw,nodev,noexec,relatime,size=128k"), "{output}");
    assert!(output.ends_with("read-only\n"), "{output}");
    // Only what is a mount.
    let mut jar = Jar::new("true");
    jar.mount("bind", "/", "/data", &["remount", "bind", "ro"]);
    assert_eq!(jar.failure().0, "mount");
}
