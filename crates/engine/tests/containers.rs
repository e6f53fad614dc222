//! Containers from their creation to their end, with the real store, runtime and monitor. Needs root.

// clippy.toml allows it in tests only, and takes their helpers for none.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use common::{Host, both, busybox, finish, shell};
use onggi_engine::request::{
    AttachOptions, ExecRequest, Limits, ListOptions, LogOptions, MountRequest, Network, PidMode,
    RemoveOptions, RunRequest, StartOptions, StopOptions, Streams, WaitCondition,
};
use onggi_engine::{Error, LogStream, PruneOptions};

#[test]
fn a_container_runs_and_its_end_is_kept() {
    let host = Host::new();
    let request = RunRequest { name: Some("first".into()), ..shell("echo out; echo err >&2; exit 7") };
    let (exit, out, err) = host.run(&request);
    assert_eq!((exit.code, out.as_str(), err.as_str()), (7, "out\n", "err\n"));
    let id = host.engine.resolve("first").unwrap();
    let inspect = host.engine.inspect(&id).unwrap();
    assert_eq!(inspect["State"]["ExitCode"], 7);
    assert_eq!(inspect["State"]["Status"], "exited");
    assert_eq!(inspect["Config"]["Env"], serde_json::json!(["FROM_IMAGE=yes"]));
    assert_eq!(inspect["Name"], "/first");
    let mut lines = Vec::new();
    let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
    host.engine
        .logs(&id, &options, &mut |line| {
            lines.push((line.stream, String::from_utf8(line.text).unwrap()));
            Ok(())
        })
        .unwrap();
    lines.sort_by_key(|(stream, _)| *stream == LogStream::Stderr);
    assert_eq!(lines, [(LogStream::Stdout, "out\n".to_owned()), (LogStream::Stderr, "err\n".to_owned())]);

    // Once more, from where it was.
    host.engine.start(&id, &StartOptions::default()).unwrap();
    assert_eq!(host.engine.wait(&id, WaitCondition::NotRunning).unwrap().code, 7);
    host.engine.remove(&id, &RemoveOptions::default()).unwrap();
    assert!(matches!(host.engine.resolve("first"), Err(Error::NoSuchContainer { .. })));
}

#[test]
fn what_is_too_long_for_an_event_starts_all_the_same() {
    let host = Host::new();
    let label = "x".repeat(300_000);
    let request = RunRequest {
        name: Some("long".into()),
        labels: BTreeMap::from([("long".into(), label.clone())]),
        ..shell("sleep 100")
    };
    let id = host.engine.create(&request).unwrap().id;
    host.engine.start(&id, &StartOptions::default()).unwrap();
    assert_eq!(host.engine.inspect(&id).unwrap()["Config"]["Labels"]["long"], label);
    let words = ["sh", "-c", "echo $#", "sh", &"y".repeat(100_000), &"z".repeat(100_000)];
    let request = ExecRequest { command: words.map(str::to_owned).into(), ..ExecRequest::default() };
    assert_eq!(host.engine.exec(&id, &request).unwrap().wait().unwrap().code, 0);
    host.engine.remove(&id, &RemoveOptions { force: true, ..RemoveOptions::default() }).unwrap();
}

#[test]
fn what_the_request_says_holds_inside() {
    let host = Host::new();
    let request = RunRequest {
        env: vec!["A=b".into(), "FROM_IMAGE".into()],
        workdir: Some("/made/here".into()),
        user: Some("1234:5678".into()),
        hostname: Some("jar".into()),
        labels: BTreeMap::from([("k".into(), "v".into())]),
        ..shell(
            "env | sort; pwd; id -u; id -g; hostname; cat /etc/hostname; grep jar /etc/hosts; grep CapEff /proc/self/status",
        )
    };
    let (exit, out, err) = host.run(&request);
    assert_eq!((exit.code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.contains(&"A=b") && !out.contains("FROM_IMAGE"), "{out}");
    assert!(lines.contains(&"HOSTNAME=jar") && lines.contains(&"HOME=/"), "{out}");
    let rest = &lines[lines.iter().position(|line| *line == "/made/here").unwrap()..];
    assert_eq!(rest[1..5], ["1234", "5678", "jar", "jar"]);
    assert_eq!(rest[5], "127.0.0.1\tjar");
    assert_eq!(rest[6], "CapEff:\t0000000000000000", "a user has no capabilities");
}

#[test]
fn input_reaches_the_process_and_its_end_too() {
    let host = Host::new();
    let attach = Streams { stdin: true, stdout: true, stderr: true };
    let request =
        RunRequest { interactive: true, stdin_once: true, attach, remove: true, ..busybox(&["wc", "-c"]) };
    let created = host.engine.create(&request).unwrap();
    let session =
        host.engine.start(&created.id, &StartOptions { attach, ..StartOptions::default() }).unwrap();
    let mut stream = session.stream.as_ref().unwrap();
    for _ in 0..64 {
        stream.write_all(&[b'x'; 65536]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let (exit, out, _) = finish(session);
    assert_eq!((exit.code, out.trim()), (0, "4194304"));
    assert!(host.engine.resolve(created.id.as_str()).is_err(), "--rm");
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let host = Host::new();
    for (command, code) in [("/nowhere", 127), ("nowhere", 127), ("/etc", 126), ("/etc/hosts", 126)] {
        let created = host.engine.create(&busybox(&[command])).unwrap();
        let error = host.engine.start(&created.id, &StartOptions::default()).unwrap_err();
        assert_eq!(error.exit_code(), code, "{command}: {error}");
        let inspect = host.engine.inspect(&created.id).unwrap();
        assert_eq!(
            (&inspect["State"]["Status"], &inspect["State"]["ExitCode"]),
            (&"created".into(), &code.into())
        );
    }
    // With `--rm` nothing of it stays.
    let created = host.engine.create(&RunRequest { remove: true, ..busybox(&["nowhere"]) }).unwrap();
    host.engine.start(&created.id, &StartOptions { attach: both(), ..StartOptions::default() }).unwrap_err();
    assert!(host.engine.resolve(&created.name).is_err());
}

#[test]
fn names_are_unique_and_found_by_id() {
    let host = Host::new();
    let named = |name: &str| RunRequest { name: Some(name.into()), ..busybox(&["true"]) };
    let first = host.engine.create(&named("kimchi")).unwrap();
    let error = host.engine.create(&named("kimchi")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Conflict. The container name \"/kimchi\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
            first.id
        )
    );
    assert!(matches!(host.engine.create(&named("-x")), Err(Error::InvalidName { .. })));
    for name in ["kimchi", "/kimchi", first.id.as_str(), first.id.short()] {
        assert_eq!(host.engine.resolve(name).unwrap(), first.id, "{name}");
    }
    host.engine.rename(&first.id, "jang").unwrap();
    assert_eq!(host.engine.resolve("jang").unwrap(), first.id);
    let second = host.engine.create(&named("kimchi")).unwrap();
    assert!(matches!(host.engine.rename(&second.id, "jang"), Err(Error::NameInUse { .. })));
    let made_up = host.engine.create(&busybox(&["true"])).unwrap();
    assert!(made_up.name.contains('_'), "{}", made_up.name);
    let error = host.engine.create(&RunRequest { image: "nobody".into(), ..busybox(&["true"]) }).unwrap_err();
    assert_eq!(error.to_string(), "Unable to find image 'nobody:latest' locally");
}

#[test]
fn stop_kill_and_rm_follow_dockers_rules() {
    let host = Host::new();
    let id = host.start(&shell("trap 'echo stopping; exit 5' TERM; echo ready; while :; do sleep 0.1; done"));
    await_log(&host, &id, "ready");
    assert!(matches!(host.engine.remove(&id, &RemoveOptions::default()), Err(Error::RemoveRunning { .. })));
    assert!(matches!(host.engine.start(&id, &StartOptions::default()), Err(Error::AlreadyRunning { .. })));
    assert!(host.engine.stop(&id, &StopOptions { timeout: Some(20), ..StopOptions::default() }).unwrap());
    assert_eq!(host.engine.wait(&id, WaitCondition::NotRunning).unwrap().code, 5);
    assert!(!host.engine.stop(&id, &StopOptions::default()).unwrap());
    let error = host.engine.kill(&id, 9).unwrap_err().to_string();
    assert!(error.starts_with("cannot kill container: ") && error.ends_with("is not running"), "{error}");

    let id = host.start(&busybox(&["sleep", "1000"]));
    host.engine.kill(&id, 9).unwrap();
    assert_eq!(host.engine.wait(&id, WaitCondition::NotRunning).unwrap().code, 137);
    host.engine.start(&id, &StartOptions::default()).unwrap();
    host.engine.remove(&id, &RemoveOptions { force: true, volumes: false }).unwrap();
    assert!(host.engine.resolve(id.as_str()).is_err());
}

#[test]
fn a_forced_removal_beats_a_start_and_other_removals() {
    let host = Host::new();
    let force = RemoveOptions { force: true, volumes: false };
    for _ in 0..8 {
        let created = host.engine.create(&busybox(&["sleep", "1000"])).unwrap();
        std::thread::scope(|scope| {
            // The removal may come first.
            scope.spawn(|| drop(host.another().start(&created.id, &StartOptions::default())));
            scope.spawn(|| host.another().remove(&created.id, &force).unwrap());
        });
        assert!(host.engine.resolve(created.id.as_str()).is_err());

        let id = host.start(&busybox(&["sleep", "1000"]));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| host.another().remove(&id, &force).unwrap());
            }
        });
        assert!(host.engine.resolve(id.as_str()).is_err());
    }
}

#[test]
fn exec_and_attach_reach_a_container_that_runs() {
    let host = Host::new();
    let attach = Streams { stdin: true, stdout: true, stderr: true };
    let request = RunRequest { interactive: true, env: vec!["A=b".into()], ..busybox(&["cat"]) };
    let id = host.start(&request);
    let exec = |command: &[&str], request: ExecRequest| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        finish(host.engine.exec(&id, &ExecRequest { command, ..request }).unwrap())
    };
    let (exit, out, _) = exec(&["sh", "-c", "echo $A; hostname; exit 3"], ExecRequest::default());
    assert_eq!((exit.code, out), (3, format!("b\n{}\n", id.short())));
    let request = ExecRequest {
        user: Some("7".into()),
        workdir: Some("/tmp".into()),
        env: vec!["A=c".into()],
        ..Default::default()
    };
    let (_, out, _) = exec(&["sh", "-c", "id -u; pwd; echo $A"], request);
    assert_eq!(out, "7\n/tmp\nc\n");
    let command = vec!["nowhere".to_owned()];
    let error = host.engine.exec(&id, &ExecRequest { command, ..ExecRequest::default() }).unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");

    let session =
        host.engine.attach(&id, &AttachOptions { streams: attach, ..AttachOptions::default() }).unwrap();
    let mut stream = session.stream.as_ref().unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut reply = [0; 14];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"\x01\0\0\0\0\0\0\x06hello\n");
    host.engine.remove(&id, &RemoveOptions { force: true, volumes: false }).unwrap();
    assert_eq!(
        session.wait().unwrap().code,
        137,
        "who is attached hears of the end, whoever brought it about"
    );
}

#[test]
fn a_terminal_has_a_size_and_detach_keys() {
    let host = Host::new();
    let attach = Streams { stdin: true, stdout: true, stderr: true };
    let request = RunRequest { interactive: true, tty: true, attach, ..shell("stty size; echo $TERM; cat") };
    let created = host.engine.create(&request).unwrap();
    let options = StartOptions { attach, size: Some((30, 100)), ..StartOptions::default() };
    let session = host.engine.start(&created.id, &options).unwrap();
    let mut stream = session.stream.as_ref().unwrap();
    let mut seen = [0; 15];
    stream.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"30 100\r\nxterm\r\n");
    session.controller().resize(40, 120).unwrap();
    // Ctrl-P Ctrl-Q.
    stream.write_all(&[16, 17]).unwrap();
    let exit = session.wait().unwrap();
    assert!(exit.detached && host.status(&created.id) == "running");
    let command = vec!["sh".into(), "-c".into(), "stty size < /dev/pts/0".into()];
    let exec = ExecRequest { command, ..ExecRequest::default() };
    let (_, out, err) = finish(host.engine.exec(&created.id, &exec).unwrap());
    assert_eq!((out.as_str(), err.as_str()), ("40 120\n", ""));
}

#[test]
fn volumes_are_filled_kept_and_removed() {
    let host = Host::new();
    let mount = |name: Option<&str>, destination: &str| MountRequest::Volume {
        name: name.map(str::to_owned),
        destination: destination.into(),
        read_only: false,
        no_copy: false,
        labels: BTreeMap::new(),
        relabel: None,
        by_mount: false,
    };
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "bound").unwrap();
    let request = RunRequest {
        mounts: vec![
            mount(Some("box"), "/bin"),
            mount(None, "/data"),
            MountRequest::Bind {
                source: directory.path().display().to_string(),
                destination: "/bound".into(),
                read_only: true,
                propagation: Default::default(),
                recursive: true,
                create_source: false,
                relabel: None,
            },
            MountRequest::Tmpfs {
                destination: "/t".into(),
                size: Some(1 << 20),
                mode: Some(0o700),
                options: vec![],
                text: None,
            },
        ],
        ..shell(
            "ls /bin/busybox; echo kept > /data/f; cat /bound/file; (echo x > /bound/x) 2>/dev/null || echo refused; df -k /t | tail -1",
        )
    };
    let (exit, out, err) = host.run(&request);
    assert_eq!(exit.code, 0, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["/bin/busybox", "boundrefused"]);
    assert!(lines[2].contains("1024"), "{out}");
    let volumes = host.engine.volumes(&BTreeMap::new()).unwrap();
    assert_eq!(volumes.len(), 2);
    let kept = volumes.iter().find(|volume| volume.anonymous).unwrap();
    assert_eq!(std::fs::read_to_string(format!("{}/f", kept.mountpoint)).unwrap(), "kept\n");
    assert!(matches!(host.engine.volume_remove("box", false), Err(Error::VolumeInUse { .. })));
    let id = host.engine.list(&ListOptions { all: true, ..ListOptions::default() }).unwrap()[0].id.clone();
    host.engine.remove(&id, &RemoveOptions { force: false, volumes: true }).unwrap();
    let names: Vec<String> =
        host.engine.volumes(&BTreeMap::new()).unwrap().into_iter().map(|volume| volume.name).collect();
    assert_eq!(names, ["box"]);
    host.engine.volume_remove("box", false).unwrap();
}

#[test]
fn a_container_whose_creation_was_cut_short_keeps_its_volume() {
    let host = Host::new();
    host.engine.volume_create(Some("data"), &BTreeMap::new()).unwrap();
    let mount = MountRequest::Volume {
        name: Some("data".into()),
        destination: "/d".into(),
        read_only: false,
        no_copy: false,
        labels: BTreeMap::new(),
        relabel: None,
        by_mount: false,
    };
    let request = RunRequest { mounts: vec![mount], ..busybox(&["sleep", "1000"]) };
    let created = host.engine.create(&request).unwrap();
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    // As after a kill between the record and the row.
    host.engine.store().remove_container(created.id.as_str()).unwrap();
    assert_eq!(host.engine.volume_prune(&all).unwrap().removed, Vec::<String>::new());
    assert!(matches!(host.engine.volume_remove("data", true), Err(Error::VolumeInUse { .. })));
    assert_eq!(host.engine.resolve(created.id.short()).unwrap(), created.id);
    assert_eq!(host.engine.resolve(&created.name).unwrap(), created.id);

    host.engine.store().remove_container(created.id.as_str()).unwrap();
    host.engine.start(&created.id, &StartOptions::default()).unwrap();
    assert_eq!(host.engine.store().containers_by_prefix(created.id.as_str()).unwrap().len(), 1);
    assert_eq!(host.engine.volume_prune(&all).unwrap().removed, Vec::<String>::new());
}

#[test]
fn limits_namespaces_and_privileges() {
    let host = Host::new();
    let resources = Limits { memory: Some(64 << 20), pids: Some(50), ..Limits::default() };
    let request = RunRequest {
        resources,
        ..shell("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null")
    };
    let (_, out, _) = host.run(&request);
    assert_eq!(out, "67108864\n");
    let request = RunRequest {
        privileged: true,
        pid: PidMode::Host,
        network: Network::Host,
        ..shell(
            "test -e /dev/null && ls /proc/1/status >/dev/null && grep CapEff /proc/self/status && ls /proc | grep -c '^[0-9]'",
        )
    };
    let (exit, out, err) = host.run(&request);
    assert_eq!(exit.code, 0, "{out}{err}");
    let target = host.start(&RunRequest { name: Some("target".into()), ..busybox(&["sleep", "1000"]) });
    let request = RunRequest {
        pid: PidMode::Container("target".into()),
        ..shell("cat /proc/1/cmdline | tr '\\0' ' '")
    };
    let (_, out, _) = host.run(&request);
    assert_eq!(out.trim(), "sleep 1000");
    host.engine.remove(&target, &RemoveOptions { force: true, volumes: false }).unwrap();
    let request = RunRequest {
        read_only: true,
        init: true,
        ..shell("(echo x > /x) 2>/dev/null || echo refused; echo $$")
    };
    let (_, out, _) = host.run(&request);
    assert!(out.starts_with("refused\n") && out != "refused\n1\n", "{out}");
}

#[test]
fn cgroups_that_were_made_for_a_container_go_with_it() {
    let host = Host::new();
    let name = format!("onggi-test-{}", std::process::id());
    let places = || -> Vec<std::path::PathBuf> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let roots = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let places = roots.map(|line| std::path::Path::new(line.split(' ').nth(4).unwrap()).join(&name));
        places.filter(|place| place.exists()).collect()
    };
    let request = RunRequest { cgroup_parent: Some(format!("/{name}/inner")), ..busybox(&["sleep", "1000"]) };
    let force = RemoveOptions { force: true, volumes: false };
    let (first, second) = (host.start(&request), host.start(&request));
    host.engine.remove(&first, &force).unwrap();
    let made = places();
    assert!(!made.is_empty(), "another container is in it");
    host.engine.remove(&second, &force).unwrap();
    assert_eq!(places(), Vec::<std::path::PathBuf>::new());
    // One that was there before stays.
    std::fs::create_dir(&made[0]).unwrap();
    let id = host.start(&request);
    host.engine.remove(&id, &force).unwrap();
    let left = places();
    left.iter().for_each(|place| std::fs::remove_dir(place).unwrap());
    assert!(left.contains(&made[0]) && !made[0].join("inner").exists());
}

#[test]
fn a_container_whose_monitor_was_killed_is_adopted_or_ended() {
    let host = Host::new();
    let id = host.start(&shell("echo one; while :; do sleep 0.05; done"));
    await_log(&host, &id, "one");
    kill_monitor(&host, &id);
    // Any other command notices.
    let other = host.another();
    assert_eq!(other.list(&ListOptions::default()).unwrap().len(), 1, "it lives on");
    other.kill(&id, 9).unwrap();
    // The kernel tells a stranger how a process ended once its new parent has reaped it, which may be a moment late.
    let code = other.wait(&id, WaitCondition::NotRunning).unwrap().code;
    assert!(matches!(code, 137 | 255), "{code}");

    let id = host.start(&busybox(&["sleep", "1000"]));
    let pid = host.engine.inspect(&id).unwrap()["State"]["Pid"].as_i64().unwrap();
    kill_monitor(&host, &id);
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, None).unwrap();
    let inspect = host.another().inspect(&id).unwrap();
    assert_eq!((&inspect["State"]["Status"], &inspect["State"]["ExitCode"]), (&"exited".into(), &255.into()));
}

#[test]
fn a_container_with_rm_goes_even_if_nobody_was_left_to_remove_it() {
    let host = Host::new();
    let request = RunRequest { name: Some("ft".into()), remove: true, ..busybox(&["sleep", "1000"]) };
    let ended_alone = || {
        let id = host.start(&request);
        let pid = host.engine.inspect(&id).unwrap()["State"]["Pid"].as_i64().unwrap() as i32;
        kill_monitor(&host, &id);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        // As a monitor leaves it that was killed behind its last record.
        let directory = host.data().join("containers").join(id.as_str());
        let state =
            onggi_monitor::state::State { status: onggi_monitor::state::Phase::Exited, ..Default::default() };
        let handle = std::fs::File::open(&directory).unwrap();
        state.write(handle.as_fd(), onggi_monitor::protocol::Durability::Volatile).unwrap();
        directory
    };
    let directory = ended_alone();
    assert_eq!(host.engine.list(&ListOptions { all: true, ..ListOptions::default() }).unwrap(), []);
    assert!(!directory.exists());
    let directory = ended_alone();
    assert!(matches!(host.engine.resolve("ft"), Err(Error::NoSuchContainer { .. })));
    assert!(!directory.exists());
    let directory = ended_alone();
    let created = host.engine.create(&request).unwrap();
    assert!(!directory.exists());
    // `create --rm` is for a later start.
    assert_eq!(host.another().resolve("ft").unwrap(), created.id);
    host.engine.remove(&created.id, &RemoveOptions::default()).unwrap();
}

#[test]
fn a_list_does_not_show_what_it_has_just_taken_away() {
    let host = Host::new();
    let id = host.start(&RunRequest { remove: true, ..busybox(&["sleep", "1000"]) });
    let pid = host.engine.inspect(&id).unwrap()["State"]["Pid"].as_i64().unwrap() as i32;
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    kill_monitor(&host, &id);
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, None).unwrap();
    assert_eq!(host.engine.list(&ListOptions { all: true, ..ListOptions::default() }).unwrap(), []);
}

#[test]
fn a_container_whose_maker_died_before_the_start_has_never_been() {
    let host = Host::new();
    let request = RunRequest { name: Some("ft".into()), ..busybox(&["true"]) };
    let maker = host.another();
    maker.create_to_start(&request).unwrap();
    assert!(matches!(host.engine.create(&request), Err(Error::NameInUse { .. })), "its maker lives");
    assert!(matches!(host.engine.resolve("ft"), Err(Error::NoSuchContainer { .. })));
    // The locks end with the process, and with the engine.
    drop(maker);
    soon(|| host.engine.create_to_start(&request).is_ok());
    let request = RunRequest { name: Some("jar".into()), remove: true, ..request };
    let created = host.engine.create_to_start(&request).unwrap();
    let options = StartOptions { attach: both(), ..StartOptions::default() };
    let session = host.engine.start(&created.id, &options).unwrap();
    assert_eq!(finish(session).0.code, 0);
    host.engine.create(&request).unwrap();
}

#[test]
fn what_a_creation_left_that_was_cut_short_goes_with_the_next_one() {
    let host = Host::new();
    // As after a kill right behind the directory: without a name, a lease or a record.
    let id = "c0ffee".repeat(11)[..64].to_owned();
    let directory = host.data().join("containers").join(&id);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("lock"), "").unwrap();
    std::fs::create_dir_all(host.run_root().join("unborn")).unwrap();
    std::fs::write(host.run_root().join("unborn").join(&id), "").unwrap();
    let lock = std::fs::File::options().write(true).open(directory.join("lock")).unwrap();
    assert!(onggi_sys::ofd::try_lock(lock.as_fd()).unwrap());
    host.engine.create(&busybox(&["true"])).unwrap();
    assert!(directory.exists(), "somebody is at work on it");
    drop(lock);
    assert_eq!(host.engine.check(false).unwrap().len(), 1);
    soon(|| {
        host.engine.create(&busybox(&["true"])).unwrap();
        !directory.exists()
    });
    assert_eq!(host.engine.check(false).unwrap(), []);
}

#[test]
fn a_full_disk_keeps_nobody_from_listing_and_removing() {
    let host = Host::on_small_disk();
    let id = host.start(&RunRequest { name: Some("full".into()), ..busybox(&["sleep", "1000"]) });
    let other = host.start(&RunRequest { name: Some("other".into()), ..busybox(&["sleep", "1000"]) });
    let filler = host.data().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    host.engine.kill(&id, 9).unwrap();
    host.another().wait(&id, WaitCondition::NotRunning).unwrap();
    let engine = host.another();
    let list = engine.list(&ListOptions { all: true, ..ListOptions::default() }).unwrap();
    let names: Vec<(&str, &str)> =
        list.iter().map(|summary| (summary.name.as_str(), summary.state.name())).collect();
    assert_eq!(names, [("other", "running"), ("full", "exited")]);
    engine.inspect(&id).unwrap();
    engine.remove(&id, &RemoveOptions { force: true, volumes: false }).unwrap();
    engine.remove(&other, &RemoveOptions { force: true, volumes: false }).unwrap();
    assert_eq!(engine.list(&ListOptions { all: true, ..ListOptions::default() }).unwrap(), []);
    std::fs::remove_file(filler).unwrap();
}

#[test]
fn who_waits_is_told_the_end_although_another_has_cleared_it_away() {
    let host = Host::new();
    let request = RunRequest { remove: true, ..busybox(&["sleep", "1000"]) };
    let created = host.engine.create(&request).unwrap();
    let options = StartOptions { attach: common::both(), ..StartOptions::default() };
    let session = host.engine.start(&created.id, &options).unwrap();
    let pid = host.engine.inspect(&created.id).unwrap()["State"]["Pid"].as_i64().unwrap();
    // Stopped, so that it hears nothing of the end.
    signal_monitor(&host, &created.id, rustix::process::Signal::STOP);
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL).unwrap();
    let mut poll = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, None).unwrap();
    kill_monitor(&host, &created.id);
    let engine = host.another();
    let everything = ListOptions { all: true, ..ListOptions::default() };
    soon(|| engine.list(&everything).unwrap().is_empty());
    // Its real end went with its monitor; what the one who cleared it away has told is left.
    assert_eq!(engine.wait(&created.id, WaitCondition::NotRunning).unwrap().code, 255);
    assert_eq!(session.wait().unwrap().code, 255);
}

#[test]
fn a_list_says_what_runs() {
    let host = Host::new();
    let running = host.start(&RunRequest {
        name: Some("web-1".into()),
        labels: BTreeMap::from([("app".into(), "web".into())]),
        ..busybox(&["sleep", "1000"])
    });
    let (exit, ..) = host.run(&RunRequest { name: Some("job".into()), ..busybox(&["false"]) });
    assert_eq!(exit.code, 1);
    let list = |all: bool, filters: &[(&str, &str)]| -> Vec<String> {
        let mut map = BTreeMap::<String, Vec<String>>::new();
        for (key, value) in filters {
            map.entry((*key).to_owned()).or_default().push((*value).to_owned());
        }
        let options = ListOptions { all, filters: map, ..ListOptions::default() };
        host.engine.list(&options).unwrap().into_iter().map(|summary| summary.name).collect()
    };
    assert_eq!(list(false, &[]), ["web-1"]);
    assert_eq!(list(true, &[]), ["job", "web-1"]);
    assert_eq!(list(false, &[("status", "exited")]), ["job"]);
    assert_eq!(list(false, &[("exited", "1")]), ["job"]);
    assert_eq!(list(true, &[("label", "app=web")]), ["web-1"]);
    assert_eq!(list(true, &[("name", "^web")]), ["web-1"]);
    assert_eq!(list(true, &[("ancestor", "busybox")]), ["job", "web-1"]);
    assert_eq!(list(true, &[("since", "web-1")]), ["job"]);
    assert_eq!(list(true, &[("before", "job")]), ["web-1"]);
    let all = host.engine.list(&ListOptions { all: true, ..ListOptions::default() }).unwrap();
    assert!(all[0].status.starts_with("Exited (1) "), "{}", all[0].status);
    assert!(all[1].status.starts_with("Up "), "{}", all[1].status);
    assert_eq!(all[1].command, "sleep 1000");
    assert_eq!(host.engine.check(false).unwrap(), []);
    host.engine.remove(&running, &RemoveOptions { force: true, volumes: false }).unwrap();
}

/// A test beside this one may be between its fork and its exec just now, and hold what we have let go of.
fn soon(mut holds: impl FnMut() -> bool) {
    assert!((0..1000).any(|_| {
        std::thread::yield_now();
        holds()
    }));
}

/// Waits until the log has this line.
fn await_log(host: &Host, id: &onggi_engine::ContainerId, wanted: &str) {
    let options = LogOptions { follow: true, stdout: true, stderr: true, ..LogOptions::default() };
    let mut found = false;
    let result = host.engine.logs(id, &options, &mut |line| {
        found |= String::from_utf8_lossy(&line.text).trim() == wanted;
        if found { Err(std::io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    });
    assert!(found, "{wanted:?} was never said: {result:?}");
}

fn kill_monitor(host: &Host, id: &onggi_engine::ContainerId) {
    let pid = signal_monitor(host, id, rustix::process::Signal::KILL);
    // It is our child; when it is reaped its locks are gone.
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
}

fn signal_monitor(
    host: &Host,
    id: &onggi_engine::ContainerId,
    signal: rustix::process::Signal,
) -> rustix::process::Pid {
    let text =
        std::fs::read(host.run_root().join("sandboxes").join(id.as_str()).join("monitor.json")).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let pid = rustix::process::Pid::from_raw(identity["pid"].as_i64().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
    pid
}
