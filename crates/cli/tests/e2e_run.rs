//! `run`, whole: exit codes as Docker's users know them, what reaches the program, and what is refused.

mod common;

use common::{busybox, fresh};

#[test]
fn the_program_s_exit_code_is_the_command_s() {
    let onggi = busybox();
    for (script, code) in [("true", 0), ("exit 7", 7), ("exit 255", 255)] {
        onggi.run(["run", "--rm", "busybox", "sh", "-c", script]).code(code);
    }
}

#[test]
fn what_cannot_be_started_is_126_or_127() {
    let onggi = busybox();
    // Docker's command line finds its codes in these very words, and so do scripts.
    onggi.run(["run", "--rm", "busybox", "nosuch"]).code(127).says("executable file not found in $PATH");
    onggi.run(["run", "--rm", "busybox", "/no/such"]).code(127).says("no such file or directory");
    onggi.run(["run", "--rm", "busybox", "/etc/passwd"]).code(126).says("permission denied");
    onggi.run(["run", "--rm", "busybox", "/etc"]).code(126);
    assert_eq!(onggi.ok(["ps", "-aq"]), "", "--rm removes what never started, too");
}

#[test]
fn what_onggi_itself_refuses_is_125() {
    let onggi = busybox();
    onggi.run(["run", "--no-such-flag", "busybox"]).code(125).says("--no-such-flag");
    onggi.run(["run", "--rm", "--pull", "never", "nosuchimage", "true"]).code(125).says("nosuchimage");
    onggi.run(["run", "--rm", "-m", "lots", "busybox", "true"]).code(125).says("lots");
    onggi.run(["run", "--rm", "--name", "a b", "busybox", "true"]).code(125);
    onggi.run(["run", "--rm", "-w", "not/absolute", "busybox", "true"]).code(125);
}

#[test]
fn flags_that_are_not_built_are_refused_by_name() {
    let onggi = busybox();
    for flag in [["--gpus", "all"], ["--userns", "keep-id"], ["--link", "db"], ["--runtime", "x"]] {
        let output = onggi.run(["run", "--rm", flag[0], flag[1], "busybox", "true"]).code(125);
        let named = flag[0].trim_start_matches('-').to_owned();
        assert!(output.stderr.contains(&named), "the refusal names the flag: {output}");
    }
}

#[test]
fn a_signal_s_death_is_128_and_its_number() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "sleeper", "busybox", "sleep", "1000"]);
    let waiting = onggi.spawn(["wait", "sleeper"]);
    onggi.ok(["kill", "sleeper"]);
    assert_eq!(waiting.wait().code(0).stdout, "137\n");
    // Not as process 1, whom the kernel does not let end itself by a signal.
    onggi.run(["run", "--rm", "--init", "busybox", "sh", "-c", "kill -TERM $$"]).code(143);
}

#[test]
fn signals_reach_the_program_through_the_command() {
    let onggi = busybox();
    let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut running = onggi.spawn(["run", "--rm", "busybox", "sh", "-c", script]);
    running.expect("ready\n");
    running.process.signal(rustix::process::Signal::TERM);
    let output = running.wait().code(3);
    assert!(output.stdout.ends_with("caught\n"), "{output}");
}

#[test]
fn the_two_outputs_stay_apart() {
    let onggi = busybox();
    let output = onggi.run(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]).code(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    let output =
        onggi.run(["run", "--rm", "-a", "stderr", "busybox", "sh", "-c", "echo out; echo err >&2"]).code(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "err\n"));
}

#[test]
fn the_environment_is_the_image_s_and_the_flags() {
    let onggi = busybox();
    let file = onggi.write("env", "# a comment\nFROM_FILE=file\nBOTH=file\nFROM_HOST\n\n");
    let run = ["run", "--rm", "--hostname", "jar", "-e", "BOTH=flag", "-e", "EMPTY=", "--env-file"];
    let arguments = run.into_iter().map(Into::into).chain([file.into_os_string()]);
    let arguments: Vec<std::ffi::OsString> = arguments.chain(["busybox", "env"].map(Into::into)).collect();
    let text = onggi.command(arguments).env("FROM_HOST", "host").success();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        lines,
        ["BOTH=flag", "EMPTY=", "FROM_FILE=file", "FROM_HOST=host", "HOME=/root", "HOSTNAME=jar", path]
    );
}

#[test]
fn flags_shape_the_place() {
    let onggi = busybox();
    let say = |flags: &[&str], script: &str| {
        let tail = ["busybox", "sh", "-c", script];
        onggi.ok(["run", "--rm"].iter().chain(flags).chain(&tail))
    };
    assert_eq!(say(&["-w", "/var/new"], "pwd"), "/var/new");
    assert_eq!(say(&["--hostname", "jar"], "hostname; cat /etc/hostname"), "jar\njar");
    assert!(say(&["--add-host", "db:10.1.2.3"], "cat /etc/hosts").contains("10.1.2.3\tdb"));
    assert!(say(&["--dns", "10.9.9.9"], "cat /etc/resolv.conf").contains("nameserver 10.9.9.9"));
    assert_eq!(say(&["--ulimit", "nofile=100:200"], "ulimit -Sn; ulimit -Hn"), "100\n200");
    assert_eq!(say(&["--shm-size", "3m"], "df -k /dev/shm | tail -n1 | awk '{print $2}'"), "3072");
    assert_eq!(
        say(&["--tmpfs", "/scratch:size=1m"], "df -k /scratch | tail -n1 | awk '{print $1, $2}'"),
        "tmpfs 1024"
    );
    assert_eq!(
        say(&["--init"], "echo $$").parse::<u32>().expect("a number").min(2),
        2,
        "the init is process 1"
    );
    // As Docker's shows `docker-init`, and not where the monitor lies on the host.
    let line = say(&["--init"], "tr '\\0' ' ' </proc/1/cmdline");
    assert_eq!(line.trim_end(), "onggi-init -- sh -c tr '\\0' ' ' </proc/1/cmdline");
    // There is room for as much as the monitor's own line and its environment take.
    let script = format!("tr '\\0' ' ' </proc/1/cmdline; : {}", "x".repeat(10_000));
    let cut = say(&["--init"], &script);
    let cut = cut.trim_end();
    assert!(format!("onggi-init -- sh -c {script}").starts_with(cut) && cut.len() > 80, "{cut}");
    assert_eq!(onggi.ok(["run", "--rm", "--entrypoint", "echo", "busybox", "a", "b"]), "a b");
}

#[test]
fn a_user_is_looked_up_in_the_image() {
    let onggi = busybox();
    let id = |flags: &[&str]| onggi.ok(["run", "--rm"].iter().chain(flags).chain(&["busybox", "id"]));
    assert_eq!(id(&[]), "uid=0(root) gid=0(root) groups=0(root)");
    assert!(
        id(&["-u", "www-data"]).starts_with("uid=33(www-data) gid=33(www-data)"),
        "{}",
        id(&["-u", "www-data"])
    );
    // Docker gives a user named without a group the groups that /etc/group lists for it.
    assert!(id(&["-u", "www-data"]).contains("29(audio)"));
    assert!(id(&["-u", "33:0"]).starts_with("uid=33(www-data) gid=0(root)"));
    assert!(id(&["-u", "12345"]).starts_with("uid=12345 gid=0(root)"));
    assert!(id(&["--group-add", "audio", "--group-add", "777"]).contains("29(audio)"));
    assert!(id(&["--group-add", "777"]).contains("777"));
    assert_eq!(onggi.ok(["run", "--rm", "-u", "www-data", "busybox", "sh", "-c", "echo $HOME"]), "/var/www");
    onggi.run(["run", "--rm", "-u", "stranger", "busybox", "id"]).code(125).says("stranger");
}

#[test]
fn names_are_unique_and_ids_may_be_shortened() {
    let onggi = busybox();
    let id = onggi.ok(["create", "--name", "jar", "busybox", "true"]);
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    onggi.run(["run", "--name", "jar", "busybox", "true"]).code(125).says(&id);
    assert_eq!(onggi.inspect(&id[..12], "{{.Name}}"), "/jar");
    let generated = onggi.ok(["create", "busybox", "true"]);
    let name = onggi.inspect(&generated, "{{.Name}}");
    assert!(
        name.trim_start_matches('/').split_once('_').is_some(),
        "an adjective and a name as Docker's: {name}"
    );
    onggi.ok(["rm", "jar"]);
    onggi.ok(["create", "--name", "jar", "busybox", "true"]);
}

#[test]
fn a_cidfile_holds_the_id_and_is_never_overwritten() {
    let onggi = busybox();
    let file = onggi.file("cid").display().to_string();
    let id = onggi.ok(["run", "-d", "--cidfile", &file, "busybox", "true"]);
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), id);
    onggi.run(["run", "--rm", "--cidfile", &file, "busybox", "true"]).code(125).says(&file);
    assert_eq!(onggi.ok(["ps", "-aq", "--no-trunc"]), id);
}

#[test]
fn explain_says_the_steps_and_does_none() {
    let onggi = busybox();
    let text = onggi.ok(["run", "--explain", "-m", "64m", "busybox", "true"]);
    assert!(text.lines().count() > 10, "{text}");
    assert!(text.contains("busybox") || text.contains("true"), "{text}");
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    // A volume that is not there yet is one that would be filled.
    let text = onggi.ok(["run", "--explain", "-v", "new:/etc", "busybox", "true"]);
    assert!(
        text.contains("fill the empty volume ") && text.contains("/volumes/new/_data from the image's /etc"),
        "{text}"
    );
    assert_eq!(onggi.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn timing_says_what_each_step_took() {
    let onggi = busybox();
    let output = onggi.run(["run", "--rm", "--timing", "busybox", "echo", "hi"]).code(0);
    assert_eq!(output.stdout, "hi\n", "the program's output stays its own");
    assert!(output.stderr.contains("ms") || output.stderr.contains("µs"), "{output}");
}

#[test]
fn hello_says_where_it_runs_and_what_is_next() {
    let onggi = fresh();
    let text = onggi.ok(["hello"]);
    assert!(text.contains("process id        1"), "{text}");
    assert!(text.contains("root file system  overlay"), "{text}");
    assert!(text.contains(" ms, from Return"), "{text}");
    for command in ["onggi import", "onggi run", "onggi ps -a"] {
        assert!(text.contains(command), "{text}");
    }
    assert_eq!(onggi.ok(["ps", "-aq"]), "", "nothing of it is kept");
}

#[test]
fn limits_of_the_shell_are_told_as_such() {
    use std::os::unix::process::ExitStatusExt;
    let onggi = busybox();
    let under = |limit: &str| {
        let mut shell = through(&onggi, &format!("ulimit {limit}"), &["run", "--rm", "busybox", "true"]);
        shell.output().expect("sh runs")
    };
    for limit in ["-n 5", "-n 6", "-n 7", "-n 8", "-n 9", "-n 10", "-n 12"] {
        let output = under(limit);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{limit}: {text}");
        assert!(text.contains("ulimit -n") || text.contains("Too many open files"), "{limit}: {text}");
        assert!(!text.contains("was removed") && !text.contains("install"), "{limit}: {text}");
    }
    let output = under("-f 0");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), None, "{text}");
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains("ulimit -f"), "{text}");
    // What could not even be cleared away, for want of descriptors, the next command clears.
    onggi.ok(["run", "--rm", "busybox", "true"]);
}

#[test]
fn a_working_directory_that_is_gone_is_missed_only_where_it_is_named() {
    let onggi = busybox();
    let gone = onggi.file("gone");
    let run = |volume: &str| {
        std::fs::create_dir(&gone).expect("a directory");
        let mut shell = through(&onggi, "rmdir \"$PWD\"", &["run", "--rm", "-v", volume, "busybox", "true"]);
        shell.current_dir(&gone).output().expect("sh runs")
    };
    let output = run("/tmp:/x");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&run("./a:/x").stderr).into_owned();
    assert!(text.contains("current directory"), "{text}");
}

/// The command, after a shell has prepared its surroundings.
fn through(onggi: &onggi_testkit::TestEnv, script: &str, arguments: &[&str]) -> std::process::Command {
    let program = onggi.command(arguments).into_command();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("{script}; exec \"$@\""), "sh"]);
    shell.arg(program.get_program()).args(program.get_args());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}
