//! Flags of `run` and `create` that change one thing each: what the container, its cgroup or `inspect` then says.

mod common;

use std::fs;

use common::busybox;
use onggi_testkit::TestEnv;

/// A script's output in a container with these flags.
fn shell(onggi: &TestEnv, flags: &[&str], script: &str) -> String {
    onggi.ok(["run", "--rm"].iter().chain(flags).chain(&["busybox", "sh", "-c", script]))
}

#[test]
fn sources_of_mounts_may_be_relative_to_the_caller() {
    let onggi = busybox();
    let file = {
        fs::create_dir(onggi.file("inside")).expect("a directory");
        onggi.write("inside/file", "found")
    };
    let here = file.parent().expect("a directory");
    for flags in [
        ["-v", "./file:/x"],
        ["-v", "../inside/file:/x:z"],
        ["--mount", "type=bind,src=./file,dst=/x"],
        ["--mount", "type=bind,src=../inside/file,dst=/x"],
    ] {
        let words = ["run", "--rm"].iter().chain(&flags).chain(&["busybox", "cat", "/x"]);
        let mut command = onggi.command(words).into_command();
        let output = command.current_dir(here).output().expect("onggi");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "found", "{flags:?}: {output:?}");
    }
    let refused = onggi.fails(["run", "-v", "deep/inside:/x", "busybox", "true"]).stderr;
    assert!(refused.contains("write ./deep/inside for a directory from here"), "{refused}");
}

#[test]
fn labels_of_selinux_are_accepted_where_it_is_not() {
    let onggi = busybox();
    let volume = format!("{}:/x:ro,Z", onggi.data().display());
    onggi.ok(["create", "--name", "jar", "-v", &volume, "-v", "box:/y:z", "busybox", "true"]);
    assert_eq!(onggi.inspect("jar", "{{range .Mounts}}{{.Mode}} {{end}}"), "ro,Z z ");
}

#[test]
fn a_platform_is_the_image_s_or_refused() {
    let onggi = busybox();
    for command in ["run", "create"] {
        onggi.ok([command, "--platform", "linux/amd64", "busybox", "true"]);
        let arguments = [command, "--pull", "never", "--platform", "linux/arm64", "busybox", "true"];
        let refused = onggi.fails(arguments).code(125).stderr;
        assert!(
            refused
                .contains("its platform (linux/amd64) does not match the specified platform (linux/arm64)"),
            "{refused}"
        );
        let refused = onggi.fails([command, "--platform", "a b", "busybox", "true"]).stderr;
        assert!(refused.contains("\"a b\" is an invalid platform"), "{refused}");
    }
}

#[test]
fn health_checks_are_kept_and_shown_with_a_warning() {
    let onggi = busybox();
    let flags =
        ["create", "--name", "jar", "--health-cmd", "true", "--health-interval", "1m30s", "busybox", "true"];
    let output = onggi.run(flags).code(0);
    assert!(output.stderr.contains("kept and shown, but not run yet"), "{}", output.stderr);
    assert_eq!(
        onggi.inspect("jar", "{{json .Config.Healthcheck}}"),
        r#"{"Test":["CMD-SHELL","true"],"Interval":90000000000}"#
    );
    let output = onggi.run(["create", "--name", "none", "--no-healthcheck", "busybox", "true"]).code(0);
    assert_eq!(output.stderr, "");
    assert_eq!(onggi.inspect("none", "{{.Config.Healthcheck.Test}}"), "[NONE]");
}

#[test]
fn volumes_of_another_container() {
    let onggi = busybox();
    let bound = onggi.write("bound", "of the host");
    let bind = format!("{}:/bound", bound.display());
    onggi.ok([
        "run",
        "--name",
        "lender",
        "-v",
        "/data",
        "-v",
        &bind,
        "--tmpfs",
        "/t",
        "busybox",
        "sh",
        "-c",
        "echo lent > /data/f",
    ]);
    assert_eq!(shell(&onggi, &["--volumes-from", "lender"], "cat /data/f /bound"), "lent\nof the host");
    assert_eq!(
        shell(&onggi, &["--volumes-from", "lender:ro"], "touch /data/g 2>/dev/null || echo read-only"),
        "read-only"
    );
    // What the borrower names itself comes first.
    assert_eq!(shell(&onggi, &["--volumes-from", "lender", "-v", "own:/data"], "ls /data | wc -l"), "0");
    // The volume ends with the last that uses it: neither a borrower's end nor the lender's takes it from the other.
    onggi.ok(["create", "--name", "heir", "--volumes-from", "lender", "busybox", "cat", "/data/f"]);
    onggi.ok(["rm", "-v", "lender"]);
    assert_eq!(onggi.ok(["start", "-a", "heir"]), "lent");
    onggi.ok(["rm", "-v", "heir"]);
    assert_eq!(onggi.ok(["volume", "ls", "-q"]), "own");
    let refused = onggi.fails(["create", "--volumes-from", "nobody", "busybox", "true"]).stderr;
    assert!(refused.contains("No such container: nobody"), "{refused}");
}

#[test]
fn the_hosts_cgroup_namespace() {
    let onggi = busybox();
    let paths = |flags: &[&str]| shell(&onggi, flags, "cut -d: -f3 /proc/self/cgroup | sort -u");
    assert_eq!(paths(&["--cgroupns", "private"]), "/");
    let host = shell(&onggi, &["--cgroupns", "host", "--name", "jar"], "cut -d: -f2- /proc/self/cgroup");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    // In a hierarchy that is mounted nowhere nobody can be anywhere else than at its top.
    let is_mounted = |controllers: &str| {
        let options =
            mounts.lines().filter_map(|line| line.split_once(" - cgroup")).map(|(_, options)| options);
        let mut options = options.map(|options| options.split([' ', ',']).collect::<Vec<_>>());
        options.any(|options| controllers.split(',').all(|one| one.is_empty() || options.contains(&one)))
    };
    for line in host.lines() {
        let (controllers, path) = line.split_once(':').expect("a line of /proc/self/cgroup");
        assert!(path.contains("/onggi/") || !is_mounted(controllers), "{host}");
    }
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false) {
        let script = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && cat cgroup.procs && ! mkdir x";
        assert!(
            shell(&onggi, &["--cgroupns", "host"], script).starts_with("1\n"),
            "its own, in the host's tree"
        );
    }
}

#[test]
fn limits_of_version_1_are_applied_there_and_refused_on_version_2() {
    let onggi = busybox();
    let memory = "/sys/fs/cgroup/memory";
    let flags = [
        "run",
        "-d",
        "--name",
        "jar",
        "-m",
        "64m",
        "--memory-swappiness",
        "7",
        "--oom-kill-disable",
        "busybox",
        "sleep",
        "1000",
    ];
    if !fs::exists(memory).unwrap_or(false) {
        let refused = onggi.fails(flags).stderr;
        assert!(refused.contains("cgroup v2"), "{refused}");
        return;
    }
    onggi.ok(flags);
    let own = format!("{memory}/onggi/{}", onggi.inspect("jar", "{{.Id}}"));
    assert_eq!(fs::read_to_string(format!("{own}/memory.swappiness")).expect("swappiness").trim(), "7");
    let control = fs::read_to_string(format!("{own}/memory.oom_control")).expect("oom_control");
    assert!(control.contains("oom_kill_disable 1"), "{control}");
    onggi.ok(["rm", "-f", "jar"]);
}

#[test]
fn rates_of_block_devices() {
    let onggi = busybox();
    let Some(device) = block_device() else {
        eprintln!("SKIP: this host has no block device");
        return;
    };
    let rate = format!("{device}:1mb");
    let output =
        onggi.run(["run", "-d", "--name", "jar", "--device-read-bps", &rate, "busybox", "sleep", "1000"]);
    let v1 = fs::exists("/sys/fs/cgroup/blkio").unwrap_or(false);
    if output.code != 0 {
        // A kernel without throttles says so; it is never as if the flag had not been given.
        assert!(output.stderr.contains("block io throttle"), "{}", output.stderr);
        let throttles = ["blkio/blkio.throttle.read_bps_device", "onggi/io.max"];
        for file in throttles.map(|file| format!("/sys/fs/cgroup/{file}")) {
            let there = fs::exists(&file).unwrap_or(false);
            assert!(!there, "{file} is there, so the rate could be applied: {}", output.stderr);
        }
        eprintln!("SKIP: this kernel cannot throttle block devices");
        return;
    }
    let id = onggi.inspect("jar", "{{.Id}}");
    let (file, wanted) = match v1 {
        true => (format!("/sys/fs/cgroup/blkio/onggi/{id}/blkio.throttle.read_bps_device"), " 1048576"),
        false => (format!("/sys/fs/cgroup/onggi/{id}/io.max"), "rbps=1048576"),
    };
    let written = fs::read_to_string(&file).expect("the file of the rate");
    assert!(written.contains(wanted), "{file}: {written}");
    assert_eq!(
        onggi.inspect("jar", "{{json .HostConfig.BlkioDeviceReadBps}}"),
        format!(r#"[{{"Path":"{device}","Rate":1048576}}]"#)
    );
    onggi.ok(["rm", "-f", "jar"]);
    let refused = onggi.fails(["run", "--device-read-bps", "/dev/null:1mb", "busybox", "true"]).stderr;
    assert!(refused.contains("/dev/null is not a block device"), "{refused}");
}

fn block_device() -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.map(|name| format!("/dev/{name}")).find(|path| fs::exists(path).unwrap_or(false))
}

#[test]
fn flags_that_say_what_holds_anyway() {
    let onggi = busybox();
    let flags = [
        "--disable-content-trust",
        "--userns=host",
        "--runtime=onggi",
        "--volume-driver=local",
        "--cgroupns=",
    ];
    assert_eq!(shell(&onggi, &flags, "echo ran"), "ran");
    for flag in [
        "--disable-content-trust=false",
        "--userns=private",
        "--runtime=runc",
        "--volume-driver=nfs",
        "--gpus=all",
    ] {
        let refused = onggi.fails(["run", flag, "busybox", "true"]).code(125).stderr;
        let name = flag.split('=').next().expect("a name");
        assert!(refused.contains(name), "{flag}: {refused}");
    }
}

#[test]
fn an_explanation_names_every_limit() {
    let onggi = busybox();
    let flags =
        ["run", "--explain", "-m", "64m", "--cpus", "0.5", "--pids-limit", "77", "--ulimit", "nofile=10:20"];
    let text = onggi.ok(flags.iter().chain(&["busybox", "true"]));
    let v1 = fs::exists("/sys/fs/cgroup/memory").unwrap_or(false);
    let limits = if v1 {
        ["set memory.limit_in_bytes to 67108864:", "set cpu.cfs_quota_us to 50000:", "set pids.max to 77:"]
    } else {
        ["set memory.max to 67108864:", "set cpu.max to 50000 100000:", "set pids.max to 77:"]
    };
    for part in limits.iter().chain(&[
        "make the cgroup ",
        "start a process with new namespaces: mount, pid, ipc, uts, network, cgroup\n",
        "limit nofile to 10, and 20 at most\n",
        "become the program",
    ]) {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_times_add_up() {
    let onggi = busybox();
    let text = onggi.run(["run", "--rm", "--timing", "busybox", "true"]).code(0).stderr;
    let microseconds = |line: &str| -> u64 {
        let figure = line.split(" ms").next().expect("a figure").trim().replace('.', "");
        figure.parse().unwrap_or_else(|_| panic!("{line}"))
    };
    let lines: Vec<&str> = text.lines().collect();
    let of = |indent: usize| {
        lines.iter().filter(move |line| line[15..].len() - line[15..].trim_start().len() == indent)
    };
    let top: Vec<u64> = of(0).map(|line| microseconds(line)).collect();
    let (altogether, parts) = top.split_last().expect("lines");
    assert_eq!(parts.iter().sum::<u64>(), *altogether, "{text}");
    let start: Vec<u64> = of(2).map(|line| microseconds(line)).collect();
    assert!(start[0] + start[1] <= parts[2] + 1 && parts[2] <= start[0] + start[1] + 1, "{text}");
}

#[test]
fn exec_sessions_are_named_while_they_run() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    assert_eq!(onggi.inspect("jar", "{{json .ExecIDs}}"), "null");
    onggi.ok(["exec", "-d", "jar", "sh", "-c", "sleep 1000"]);
    let ids = onggi.inspect("jar", "{{len .ExecIDs}} {{len (index .ExecIDs 0)}}");
    assert_eq!(ids, "1 64");
    onggi.ok(["rm", "-f", "jar"]);
}

#[test]
fn whoever_used_sudo_is_told_to_use_it_again() {
    let onggi = busybox();
    let page = |uid: &str| onggi.command(["hello"]).env("SUDO_UID", uid).success();
    assert!(page("1000").contains("  sudo onggi run -it mine sh"), "{}", page("1000"));
    assert!(page("0").contains("  onggi run -it mine sh"), "{}", page("0"));
}

#[test]
fn roots_of_another_user_are_told() {
    use std::os::unix::process::CommandExt as _;
    let onggi = busybox();
    for words in [vec!["ps"], vec!["images"], vec!["run", "busybox", "true"]] {
        let mut command = onggi.command(&words).env("HOME", "/nonexistent").into_command();
        // The user `nobody` of Debian; the roots are the test's own, which belong to root.
        let output = command.uid(65534).gid(65534).output().expect("onggi");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            errors.contains("Permission denied") && errors.contains("`sudo onggi …`"),
            "{words:?}: {errors}"
        );
        assert!(!output.status.success());
    }
}

#[test]
fn a_container_made_with_a_terminal_says_what_to_leave_out() {
    let onggi = busybox();
    onggi.ok(["create", "-it", "--name", "jar", "busybox", "sh"]);
    let refused = onggi.command(["start", "-ai", "jar"]).input("").output().code(1).stderr;
    assert!(refused.contains("leave out -i"), "{refused}");
    let refused = onggi.command(["run", "-it", "busybox"]).input("").output().code(1).stderr;
    assert!(refused.contains("leave out -t"), "{refused}");
}

#[test]
fn a_file_system_in_memory_takes_the_mode_of_what_it_hides() {
    let onggi = busybox();
    let flags = ["--tmpfs", "/root", "--tmpfs", "/new", "--tmpfs", "/var:mode=710,size=10%"];
    let script = "stat -c '%a %n' /root /new /var; grep -c ' /var tmpfs .*size=' /proc/mounts";
    let image = shell(&onggi, &[], "stat -c %a /root");
    assert_ne!(image, "1777");
    let found = shell(&onggi, &flags, script);
    assert_eq!(found, format!("{image} /root\n1777 /new\n710 /var\n1"));
    let refused = onggi.fails(["run", "--rm", "--tmpfs", "/bin/busybox", "busybox", "true"]).code(125).stderr;
    assert!(refused.contains("mount tmpfs at /bin/busybox: not a directory"), "{refused}");
}

#[test]
fn inspect_shows_tmpfs_as_docker() {
    let onggi = busybox();
    let long = "type=tmpfs,dst=/long,tmpfs-size=1m,tmpfs-mode=1770";
    onggi.ok([
        "create",
        "--name",
        "jar",
        "--tmpfs",
        "/short:size=3m,noexec",
        "--tmpfs",
        "/bare",
        "--mount",
        long,
        "busybox",
        "true",
    ]);
    assert_eq!(
        onggi.inspect("jar", "{{json .HostConfig.Tmpfs}}"),
        r#"{"/bare":"","/short":"size=3m,noexec"}"#
    );
    assert_eq!(
        onggi.inspect("jar", "{{json .HostConfig.Mounts}}"),
        r#"[{"Type":"tmpfs","Target":"/long","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}]"#
    );
    assert_eq!(onggi.inspect("jar", "{{range .Mounts}}{{.Type}} {{.Destination}};{{end}}"), "tmpfs /long;");
}

#[test]
fn inspect_shows_volumes_and_binds_of_mount_as_docker() {
    let onggi = busybox();
    onggi.ok([
        "create",
        "--name",
        "jar",
        "-v",
        "short:/short",
        "--mount",
        "type=volume,src=long,dst=/long",
        "--mount",
        "type=volume,src=bare,dst=/bare,readonly,volume-nocopy,volume-label=a=b",
        "--mount",
        "type=bind,src=/etc,dst=/bound",
        "--mount",
        "type=bind,src=/usr,dst=/slave,readonly,bind-propagation=rslave",
        "busybox",
        "true",
    ]);
    assert_eq!(onggi.inspect("jar", "{{json .HostConfig.Binds}}"), r#"["short:/short"]"#);
    let asked = [
        r#"{"Type":"bind","Source":"/etc","Target":"/bound"}"#,
        r#"{"Type":"bind","Source":"/usr","Target":"/slave","ReadOnly":true,"BindOptions":{"Propagation":"rslave"}}"#,
        r#"{"Type":"volume","Source":"long","Target":"/long"}"#,
        r#"{"Type":"volume","Source":"bare","Target":"/bare","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"},"DriverConfig":{}}}"#,
    ];
    assert_eq!(onggi.inspect("jar", "{{json .HostConfig.Mounts}}"), format!("[{}]", asked.join(",")));
}

#[test]
fn empty_names_are_none() {
    let onggi = busybox();
    let flags = ["--hostname", "", "--cgroup-parent", "", "--detach-keys", ""];
    let name = shell(&onggi, &flags, "hostname");
    assert_eq!(name.trim().len(), 12, "{name}");
}

#[test]
fn a_working_directory_that_is_none_is_named() {
    let onggi = busybox();
    let refused =
        onggi.fails(["run", "--rm", "--name", "jar", "-w", "/bin/busybox", "busybox", "true"]).code(125);
    assert_eq!(
        refused.stderr,
        "onggi: failed to start container \"jar\": chdir to the working directory \"/bin/busybox\": not a directory\n"
    );
    let refused = onggi.fails(["run", "--rm", "-w", "here", "busybox", "true"]).code(125).stderr;
    assert!(
        refused.contains("the working directory 'here' is invalid, it needs to be an absolute path"),
        "{refused}"
    );
}

#[test]
fn a_variable_of_the_environment_that_nobody_knows_is_named() {
    let onggi = busybox();
    let output = onggi.command(["ps"]).env("ONGGI_ROOTS", "/x").env("ONGGI_TEST_ANY", "1").output().code(0);
    assert_eq!(
        output.stderr,
        "warning: the environment variable ONGGI_ROOTS means nothing to onggi: `onggi config show` lists what can be set\n"
    );
    let output = onggi.command(["__complete", "--", "ps"]).env("ONGGI_ROOTS", "/x").output().code(0);
    assert_eq!(output.stderr, "");
}

#[test]
fn options_for_no_log_are_refused() {
    let onggi = busybox();
    let flags = ["run", "--log-driver", "none", "--log-opt", "max-size=1m", "busybox", "true"];
    onggi.fails(flags).code(125).says("invalid logging opts for driver none");
}
