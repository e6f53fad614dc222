//! An ordinary user's containers: what is the same as root's, what is refused by name, and what holds the user's namespace and ends it.
//!
//! The user is one of the test's own, whom the machine does not know. The other tests run for such a user with
//! `ONGGI_TEST_USER=ordinary`; `./test` does so for some of them.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use common::{busybox_of_ordinary_user as busybox, fresh_of_ordinary_user as fresh};

/// The first of the ids that the user may give to containers: id 1 in them.
const GRANTED: u32 = 1_500_000_000;
const USER: u32 = 54_321;

#[test]
fn root_of_a_container_is_the_user_and_others_are_the_user_s_ids() {
    let onggi = busybox();
    assert_eq!(onggi.ok(["run", "--rm", "busybox", "id", "-u"]), "0");
    let script = "touch /box/mine /box/other; chown 1000:1000 /box/other";
    let files = onggi.file("mine").parent().expect("a directory").to_owned();
    onggi.ok(["run", "--rm", "-v", &format!("{}:/box", files.display()), "busybox", "sh", "-c", script]);
    let owner = |name: &str| fs::metadata(files.join(name)).expect("the container's file").uid();
    assert_eq!((owner("mine"), owner("other")), (USER, GRANTED + 999));
}

#[test]
fn a_container_lives_and_is_steered_as_root_s() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sh", "-c", "echo out; exec sleep 1000"]);
    assert_eq!(onggi.ok(["exec", "jar", "cat", "/proc/1/comm"]), "sleep");
    let shown = onggi.ok(["top", "jar", "-o", "pid,comm"]);
    assert!(shown.ends_with("sleep") && shown.lines().count() == 2, "{shown}");
    onggi.ok(["restart", "-t", "0", "jar"]);
    onggi.ok(["kill", "jar"]);
    assert_eq!(onggi.ok(["wait", "jar"]), "137");
    assert_eq!(onggi.ok(["logs", "jar"]), "out\nout");
    onggi.ok(["start", "jar"]);
    onggi.ok(["rm", "-f", "jar"]);
}

#[test]
fn a_terminal_is_the_person_s() {
    let onggi = busybox();
    let mut terminal = onggi.terminal(["run", "--rm", "-it", "busybox", "sh"]);
    terminal.expect("#");
    terminal.press("tty; exit 4\n");
    terminal.expect("/dev/pts/0");
    assert_eq!(terminal.wait().0, 4);
}

#[test]
fn directories_of_the_image_can_be_removed_and_made_again() {
    // overlayfs marks such a directory by an attribute, and only with an option by one that the user may set.
    let onggi = busybox();
    let script = "rm -r /var && mkdir /var && ls -A /var && mv /usr /usr2 && ls -d /usr2 && ! ls -d /usr";
    assert_eq!(onggi.ok(["run", "--rm", "busybox", "sh", "-c", script]), "/usr2");
}

#[test]
fn what_only_root_can_unpack_is_left_out_or_said() {
    let onggi = fresh();
    let tree = onggi.file("tree");
    fs::create_dir(&tree).expect("a directory");
    fs::write(tree.join("program"), "").expect("a file");
    let shell = |script: &str| {
        let status = std::process::Command::new("sh").args(["-ec", script]).current_dir(&tree).status();
        assert!(status.expect("a shell").success(), "{script}");
    };
    shell(
        "mknod disk b 8 0; ln disk disk2; mkfifo pipe; chown 33:33 pipe; chmod 4755 program; tar -cf ../tree.tar .",
    );
    onggi.ok(["import", &onggi.file("tree.tar").to_string_lossy(), "odd"]);
    let layers = onggi.data().join("layers");
    onggi.run(["run", "--rm", "odd", "/program"]);
    let unpacked =
        fs::read_dir(layers).expect("layers").flatten().next().expect("a layer").path().join("tree");
    assert!(!unpacked.join("disk").exists() && !unpacked.join("disk2").exists());
    assert_eq!(fs::metadata(unpacked.join("pipe")).expect("a pipe").uid(), GRANTED + 32);
    assert_eq!(fs::metadata(unpacked.join("program")).expect("a file").mode() & 0o7777, 0o4755);
    // It comes all the same; what unpacks it on the way has ended long before the last of it.
    shell("touch high; chown 70000 high; head -c 3000000 /dev/zero >large; tar -cf ../tree.tar high large");
    onggi.ok(["import", &onggi.file("tree.tar").to_string_lossy(), "high"]);
    onggi.run(["run", "--rm", "high", "/x"]).code(125).says("high: fchown").says("grant a longer range");
}

#[test]
fn the_host_s_namespaces_are_there_to_be_shared() {
    let onggi = busybox();
    let network = fs::read_link("/proc/self/ns/net").expect("a namespace").display().to_string();
    let in_it = ["run", "--rm", "--network", "host", "busybox"];
    assert_eq!(onggi.ok(in_it.iter().chain(&["readlink", "/proc/self/ns/net"])), network);
    onggi.ok(in_it.iter().chain(&["test", "-d", "/sys/class/net/lo"]));
    onggi.run(in_it.iter().chain(&["mkdir", "/sys/fs/x"])).code(1);
    onggi.ok(["run", "--rm", "--ipc", "host", "--uts", "host", "busybox", "true"]);
}

#[test]
fn what_needs_a_delegated_cgroup_is_refused_by_name() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let lacks = "is delegated to this user";
    for (flags, named) in [
        (["-m", "64m"], "memory limit"),
        (["--pids-limit", "64"], "pids limit"),
        (["--cpus", "1"], "--cpus cannot be had"),
        (["--pid", "host"], "--pid host"),
    ] {
        let words = ["run", "--rm"].iter().chain(&flags).chain(&["busybox", "true"]);
        onggi.run(words).code(125).says(named).says(lacks).says("hint: ");
    }
    onggi.run(["pause", "jar"]).code(1).says("freezing").says(lacks).says("hint: ");
    onggi.run(["stats", "--no-stream", "jar"]).code(1).says("stats").says(lacks).says("hint: ");
    onggi.run(["update", "-m", "64m", "jar"]).code(1).says("memory limit").says(lacks);
    onggi.run(["run", "--rm", "--isolation", "process", "busybox", "true"]).code(125).says("needs root");
    assert_eq!(onggi.ok(["ps", "-aq"]).lines().count(), 1, "nothing is left of what was refused");
}

#[test]
fn what_is_delegated_is_as_root_s() {
    // One group, of the same name in each, is delegated of so many hierarchies. On version 2 it is always the one tree.
    for hierarchies in [&["memory", "pids"][..], &["memory", "pids", "cpu", "freezer", "cpuacct"]] {
        let onggi = busybox();
        onggi.delegate(hierarchies);
        let seen = onggi.ok(["run", "--rm", "-m", "64m", "busybox", "ls", "/sys/fs/cgroup"]);
        let is_v2 = seen.contains("cgroup.procs");
        if !is_v2 {
            assert_eq!(seen.split_whitespace().count(), hierarchies.len(), "{seen}");
            assert!(hierarchies.iter().all(|name| seen.lines().any(|line| line == *name)), "{seen}");
        }
        let limits = ["run", "-d", "--name", "jar", "-m", "64m", "--pids-limit", "20", "--network", "none"];
        onggi.ok(limits.iter().chain(&["busybox", "sleep", "1000"]));
        let memory = || {
            let file = if is_v2 { "memory.max" } else { "memory/memory.limit_in_bytes" };
            onggi.ok(["exec", "jar", "cat", &format!("/sys/fs/cgroup/{file}")])
        };
        assert_eq!(memory(), (64 << 20).to_string());
        onggi.ok(["update", "-m", "32m", "--memory-swap", "-1", "jar"]);
        assert_eq!(memory(), (32 << 20).to_string());
        let figures = onggi.ok(["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "jar"]);
        assert!(figures.ends_with(" / 32MiB 1"), "{figures}");
        if is_v2 || hierarchies.contains(&"freezer") {
            onggi.ok(["pause", "jar"]);
            assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "paused");
            onggi.ok(["unpause", "jar"]);
            onggi.ok(["update", "--cpus", "0.5", "jar"]);
        } else {
            onggi
                .run(["pause", "jar"])
                .code(1)
                .says("no freezer cgroup controller is delegated")
                .says("hint: ");
        }
        assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "running");
        onggi.ok(["rm", "-f", "jar"]);
    }
}

#[test]
fn doctor_and_info_say_how_the_user_stands() {
    let onggi = fresh();
    let info = onggi.ok(["info", "-f", "{{.CgroupVersion}} {{json .SecurityOptions}}"]);
    assert!(info.starts_with("none ") && info.contains("name=rootless"), "{info}");
    let said = onggi.ok(["doctor"]);
    assert!(said.contains("an ordinary user, who may give 65537 ids to containers"), "{said}");
    assert!(said.contains("none are delegated to this user"), "{said}");
    onggi.grant_ids("");
    let said = onggi.run(["doctor"]).code(1).stdout;
    assert!(said.contains("grants tester 0 ids"), "{said}");
    assert!(said.contains("usermod --add-subuids"), "{said}");
}

#[test]
fn the_holder_ends_by_itself_and_holds_nothing_of_its_caller_s() {
    let onggi = busybox();
    onggi.ok(["run", "--rm", "busybox", "true"]);
    // `import` has ended with its output closed, or it would have been said to hang.
    let holder = onggi.holder().expect("a holder");
    for number in fs::read_dir(format!("/proc/{}/fd", holder.pid)).expect("descriptors").flatten() {
        let target = fs::read_link(number.path()).unwrap_or_default();
        let text = target.to_string_lossy();
        let own = target.starts_with(onggi.run_root())
            || ["inotify", "[pidfd]", "net:["].iter().any(|kind| text.contains(kind));
        assert!(own || target == std::path::Path::new("/dev/null"), "{}", target.display());
    }
    assert!(holder.ends_within(Duration::from_secs(40)));
    // And is made again.
    onggi.ok(["run", "--rm", "busybox", "true"]);
    assert_ne!(onggi.holder().expect("another holder").pid, holder.pid);
}

#[test]
fn a_holder_that_is_killed_is_followed_by_one_of_the_same_namespace() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/user")).expect("a namespace");
    let before = namespace(onggi.first_process("jar").pid);
    onggi.holder().expect("a holder").kill();
    assert_eq!(onggi.ok(["exec", "jar", "echo", "still"]), "still");
    assert_eq!(namespace(onggi.holder().expect("another holder").pid), before);
    // A container is enough: nobody needs its monitor.
    onggi.holder().expect("a holder").kill();
    onggi.monitor("jar").kill();
    onggi.run(["ps", "-a"]).code(0);
    assert_eq!(onggi.ok(["run", "--rm", "busybox", "echo", "next"]), "next");
}

#[test]
fn first_commands_at_once_make_one_namespace() {
    let onggi = fresh();
    let commands: Vec<_> = (0..8).map(|_| onggi.spawn(["images", "-q"])).collect();
    for command in commands {
        command.wait().code(0);
    }
    let words = format!("onggi-monitor hold {}", onggi.run_root().display());
    let holders = onggi_testkit::processes_mentioning(&onggi.run_root());
    assert_eq!(holders.iter().filter(|process| process.read("cmdline").contains(&words)).count(), 1);
}

#[test]
fn a_run_directory_that_is_somebody_else_s_is_refused() {
    let onggi = fresh();
    let foreign = onggi.file("foreign");
    fs::create_dir(&foreign).expect("a directory");
    let elsewhere = onggi.file("elsewhere");
    std::os::unix::fs::symlink("/tmp", &elsewhere).expect("a link");
    for path in [foreign, elsewhere] {
        let output = onggi.command(["images"]).env("ONGGI_RUN_ROOT", &path).output().code(1);
        assert!(output.stderr.contains("is not a directory of the user's own"), "{output}");
        assert!(output.stderr.contains("XDG_RUNTIME_DIR"), "{output}");
    }
}

#[test]
fn without_ids_or_the_program_that_maps_them_the_way_is_said() {
    let onggi = fresh();
    onggi.grant_ids("tester:1500000000:1000\n");
    onggi.run(["images"]).code(1).says("/etc/subuid grants tester 1000 ids").says("usermod --add-subuids");
    onggi.grant_ids("tester:1500000000:65536\n");
    let programs = onggi.file("programs");
    fs::create_dir(&programs).expect("a directory");
    for name in ["unshare", "sh", "mount", "setpriv"] {
        let found =
            ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|path| std::path::Path::new(path).join(name));
        let found = found.iter().find(|path| path.exists()).expect("util-linux");
        std::os::unix::fs::symlink(found, programs.join(name)).expect("a link");
    }
    let output = onggi.command(["images"]).env("PATH", &programs).output().code(1);
    assert!(
        output.stderr.contains("newuidmap") && output.stderr.contains("uidmap; or run Onggi as root"),
        "{output}"
    );
}

#[test]
fn a_reset_removes_the_files_of_all_ids() {
    let onggi = busybox();
    onggi.ok([
        "run",
        "--name",
        "jar",
        "-v",
        "box:/box",
        "busybox",
        "sh",
        "-c",
        "touch /box/x /x; chown 99 /box/x /x",
    ]);
    onggi.ok(["system", "check", "--repair"]);
    let holder = onggi.holder().expect("a holder");
    onggi.ok(["system", "reset", "--force"]);
    assert!(!onggi.data().join("volumes/box").exists());
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    // The holder's files went as well: it is not to stay beside the next.
    onggi.import("busybox");
    onggi.ok(["run", "-d", "busybox", "sleep", "1000"]);
    assert!(holder.ends_within(Duration::from_secs(40)));
}
