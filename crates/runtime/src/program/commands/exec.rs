//! `exec`: another process in a running container.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use onggi_cgroup::Subgroup;
use onggi_oci as oci;
use onggi_runtime::exec::{self, Request, Running, StartError};
use onggi_runtime::plan::{self, Extra, JoinInput, Plan};

use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::super::foreground::Foreground;
use super::super::launch::{
    self, CONSOLE_SOCKET, Descriptors, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, absolute, check_terminal,
};
use super::super::record::Record;
use super::super::status::{self, Status};
use super::super::store::Directory;
use super::super::{Context, bundle, prepare, sockets};
use super::Command;
use super::run::guard;

pub(crate) const COMMAND: Command = Command {
    name: "exec",
    usage: "<container-id> <command> [arguments...], or -p process.json <container-id>",
    about: "execute a new process inside the container",
    flags: FLAGS,
    arguments: 1..=usize::MAX,
    stops_at_first: true,
    // What an engine must not take for the program's own code.
    failure_code: 255,
    run,
};

const FLAGS: &[Flag] = &[
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    Flag::with("cwd", "DIR", "the working directory in the container"),
    Flag::with("env", "NAME=VALUE", "add a variable (more than once)").short("e"),
    Flag::switch("tty", "allocate a terminal").short("t"),
    Flag::with("user", "UID[:GID]", "run as this user").short("u"),
    Flag::with("additional-gids", "GID", "a group more (more than once)").short("g").number(),
    Flag::with("process", "FILE", "the whole process as JSON").short("p"),
    Flag::switch("detach", "leave the process running").short("d"),
    PID_FILE,
    Flag::with("process-label", "LABEL", "the SELinux label of the process"),
    Flag::with("apparmor", "PROFILE", "the AppArmor profile of the process"),
    Flag::switch("no-new-privs", "set no_new_privs for the process"),
    Flag::with("cap", "NAME", "add a capability (more than once)").short("c"),
    PRESERVE_FDS,
    Flag::with(
        "cgroup",
        "PATH",
        "start in a cgroup below the container's: PATH, or CONTROLLER,…:PATH (more than once)",
    ),
    Flag::switch("ignore-paused", "join a paused container, and wait until it is resumed"),
];

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    guard(context);
    inner(context, flags).map_err(|error| error.during("exec failed"))
}

fn inner(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let subgroups = subgroups(flags.all("cgroup"))?;
    let descriptors = Descriptors::of(flags)?;
    let directory = context.store.find(&flags.positional[0])?;
    let record = directory.read()?;
    match status::of(&directory, &record) {
        Status::Stopped => return Err(Error::State("cannot exec in a stopped container".to_owned())),
        Status::Paused if !flags.has("ignore-paused") => {
            let message = "cannot exec in a paused container (use --ignore-paused to override)";
            return Err(Error::State(message.to_owned()));
        }
        Status::Created | Status::Running | Status::Paused => {}
    }
    let console = absolute(flags.value("console-socket"))?;
    let pid_file = absolute(flags.value("pid-file"))?;
    let pidfd_socket = absolute(flags.value("pidfd-socket"))?;
    let mut process = process(flags, &record)?;
    for warning in prepare::process(&mut process) {
        context.log.warn(&warning);
    }
    let detached = flags.has("detach");
    check_terminal(process.terminal, detached, console.is_some())?;
    let bundle = plan::Bundle {
        preserved: descriptors.all(),
        plain_output: !detached,
        keep_keyring: record.keep_keyring,
        subgroups,
        patient: flags.has("ignore-paused"),
        passes_listener: true,
        every_processor: true,
        what_there_is: true,
        ..plan::Bundle::default()
    };
    let plan = plan(&directory, &record, &process, bundle)?;
    context.log.debug_all(|| plan.steps.iter().map(plan::Step::explain).collect());
    let foreground = if detached { None } else { Some(Foreground::prepare(false)?) };
    let first = status::pidfd(&record)?;
    let starting = "unable to start container process";
    launch::tell_of_filter(context, &plan);
    tell_of_processors(context, &plan);
    context.log.debug("nsexec container setup");
    let attempt = |wanted: &plan::Launch| {
        let stdio = launch::stdio(Some(&process))?;
        let join = || exec::join(first.as_fd(), wanted, &plan, stdio);
        match &record.resctrl {
            Some(group) => group.start(join),
            None => Ok(join()),
        }
    };
    let mut joined = attempt(&plan.launch)?;
    if plan.launch.subgroups.is_empty()
        && matches!(&joined, Err(StartError::System { error, .. }) if error.raw_os_error() == Some(EBUSY))
        && let Some(path) = group_of_first(&record)
    {
        // The container has handed controllers down, and then version 2 lets nobody into its own group: where its first process is, one can be.
        let subgroups = vec![Subgroup { controller: None, path }];
        joined = attempt(&plan::Launch { subgroups, ..plan.launch.clone() })?;
    }
    let Running { pid, pidfd, terminal, mut listener, report, .. } =
        joined.map_err(|error| Error::Start(error).during(starting))?;
    context.log.debug("child process in init()");
    let mut problem = None;
    let report = exec::read_report_with_requests(&mut File::from(report), &mut |request| {
        let Request::Listener(number) = request else { return };
        // Not told, because its end of the word is dropped, it gives up.
        match launch::pass_listener(&record, pidfd.as_fd(), number, pid, "running") {
            Ok(()) => listener.take().into_iter().for_each(exec::Connected::tell),
            Err(error) => (problem, listener) = (Some(error), None),
        }
    });
    if let Some(problem) = problem {
        return Err(problem.during(starting));
    }
    match report.map_err(|error| Error::io("read the report", error))?.failure {
        // As with runc the process has begun by then: it says so on its own standard error and ends with 255, which engines pass on.
        Some(failure) if failure.step == plan::Step::Execute.name() => {
            let _ = writeln!(std::io::stderr(), "{}", failure.message);
        }
        Some(failure) => return Err(Error::Failed(failure.message).during(starting)),
        None => {}
    }
    context.log.debug("setns_init: about to exec");
    let announced = (|| {
        let mut master = terminal.as_ref().and_then(exec::Terminal::try_receive);
        if let (Some(console), Some(sent)) = (&console, &master) {
            sockets::send(console, "/dev/ptmx", sent.as_fd())?;
            master = None;
        }
        if let Some(socket) = &pidfd_socket {
            sockets::send(socket, "pidfd", pidfd.as_fd())?;
        }
        pid_file.as_ref().map_or(Ok(()), |path| launch::write_pid_file(path, pid))?;
        Ok(master)
    })();
    match (announced, foreground) {
        (Ok(master), Some(foreground)) => foreground.wait(pid, pidfd.as_fd(), master, None),
        (Ok(_), None) => Ok(0),
        (Err(error), _) => {
            // Nobody would know of it.
            let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), 9);
            Err(error)
        }
    }
}

const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();

/// Where below the container's own group its first process is (v2).
fn group_of_first(record: &Record) -> Option<String> {
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", record.pid)).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = path.find(&record.cgroup.path)? + record.cgroup.path.len();
    let below = path[own..].strip_prefix('/')?;
    (!below.is_empty()).then(|| below.to_owned())
}

/// runc's grammar: one path for every hierarchy, or paths for controllers.
fn subgroups<'a>(given: impl Iterator<Item = &'a str>) -> Result<Vec<Subgroup>, Error> {
    let given: Vec<&str> = given.collect();
    let bad = |text: &str, why: &str| Error::usage(format!("invalid --cgroup argument: {text} ({why})"));
    let mut subgroups: Vec<Subgroup> = Vec::new();
    for text in &given {
        let Some((controllers, path)) = text.split_once(':') else {
            if given.len() > 1 {
                return Err(bad(text, "missing <controller>: prefix"));
            }
            return Ok(vec![Subgroup { controller: None, path: (*text).to_owned() }]);
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(bad(text, "empty <controller> prefix"));
            }
            if subgroups.iter().any(|known| known.controller.as_deref() == Some(controller)) {
                return Err(bad(text, &format!("controller {controller} specified multiple times")));
            }
            subgroups.push(Subgroup { controller: Some(controller.to_owned()), path: path.to_owned() });
        }
    }
    Ok(subgroups)
}

/// On which processors the process is born, in runc's line, which its tests look for.
fn tell_of_processors(context: &Context, plan: &Plan) {
    context.log.debug_all(|| {
        let own = || onggi_sys::schedule::affinity().unwrap_or_default().first().copied();
        let given = plan.launch.first_processors.as_ref();
        let mask =
            given.map(|list| list.iter().filter(|&&cpu| cpu < 64).fold(0, |mask, cpu| mask | 1 << cpu));
        let mask: u64 = mask.or_else(own).unwrap_or_default();
        vec![format!("nsexec[{}]: affinity: {mask:#x}", std::process::id())]
    });
}

/// The process as it is given, or the bundle's with what the flags change.
fn process(flags: &Parsed, record: &Record) -> Result<oci::Process, Error> {
    if let Some(path) = flags.value("process").filter(|path| !path.is_empty()) {
        let bytes = std::fs::read(path).map_err(|error| Error::io(format!("open {path}"), error))?;
        let process =
            bundle::parse(&bytes).map_err(|source| Error::Json { path: path.to_owned(), source })?;
        return Ok(complete(process, &record.process));
    }
    let spec = bundle::read(&record.bundle)?;
    let mut process = spec.process.ok_or_else(|| Error::usage("process: it is missing"))?;
    change(&mut process, flags)?;
    Ok(process)
}

/// The process with what the container's configuration says for all of them.
fn complete(mut process: oci::Process, inherited: &oci::Process) -> oci::Process {
    let inherited = inherited.clone();
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    process.capabilities = process.capabilities.or(inherited.capabilities);
    process.apparmor_profile = said(process.apparmor_profile).or(inherited.apparmor_profile);
    process.selinux_label = said(process.selinux_label).or(inherited.selinux_label);
    process.scheduler = process.scheduler.or(inherited.scheduler);
    process.io_priority = process.io_priority.or(inherited.io_priority);
    process.exec_cpu_affinity = process.exec_cpu_affinity.or(inherited.exec_cpu_affinity);
    process.user.umask = process.user.umask.or(inherited.user.umask);
    if process.rlimits.is_empty() {
        process.rlimits = inherited.rlimits;
    }
    process
}

/// As runc's `getProcess`.
fn change(process: &mut oci::Process, flags: &Parsed) -> Result<(), Error> {
    process.args = flags.positional[1..].to_vec();
    if process.args.is_empty() {
        return Err(Error::usage("exec args cannot be empty"));
    }
    let given = |name: &str| flags.value(name).filter(|value| !value.is_empty()).map(str::to_owned);
    if let Some(cwd) = given("cwd") {
        process.cwd = cwd;
    }
    if let Some(profile) = given("apparmor") {
        process.apparmor_profile = Some(profile);
    }
    if let Some(label) = given("process-label") {
        process.selinux_label = Some(label);
    }
    let added: Vec<String> = flags.all("cap").map(str::to_owned).collect();
    if !added.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(added.iter().cloned());
        }
        // Ambient ones have to be inheritable, and those that are, the configuration says.
        if !sets.inheritable.is_empty() {
            sets.ambient.extend(added);
        }
    }
    process.env.extend(flags.all("env").map(str::to_owned));
    process.terminal = flags.has("tty");
    if flags.value("no-new-privs").is_some() {
        process.no_new_privileges = flags.has("no-new-privs");
    }
    if let Some(user) = given("user") {
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        process.user.uid = number(uid, "uid")?;
        if let Some(gid) = gid {
            process.user.gid = number(gid, "gid")?;
        }
    }
    for gid in flags.all("additional-gids") {
        process.user.additional_gids.push(number(gid, "additional gid")?);
    }
    Ok(())
}

/// Only digits: `-1` and `4294967295` are no users (CVE-2026-30892, CVE-2024-40635).
fn number(text: &str, what: &str) -> Result<u32, Error> {
    let bad = || Error::usage(format!("bad {what}: {text:?} is not in 0 to {}", i32::MAX));
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|&number| digits && number <= i32::MAX as u32);
    number.ok_or_else(bad)
}

fn plan(
    directory: &Directory,
    record: &Record,
    process: &oci::Process,
    bundle: plan::Bundle,
) -> Result<Plan, Error> {
    let seccomp = if record.seccomp.is_some() { Some(directory.read_filter()?) } else { None };
    let spec = oci::Spec {
        oci_version: record.oci_version.clone(),
        linux: Some(oci::Linux {
            cgroups_path: Some(format!("/{}", record.cgroup.path)),
            ..record.linux.clone()
        }),
        ..oci::Spec::default()
    };
    let extra =
        Extra { home: true, seccomp, seccomp_flags: record.seccomp.unwrap_or(0), bundle, ..Extra::default() };
    let cgroups = &record.cgroup.layout;
    plan::join(&JoinInput { id: &record.id, spec: &spec, process, cgroups, extra, privileged: false })
        .map_err(Error::Plan)
}

#[cfg(test)]
mod tests {
    use super::super::super::arguments;
    use super::*;

    fn changed(line: &str) -> Result<oci::Process, Error> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let flags = arguments::parse(FLAGS, &arguments, true).unwrap();
        let user = oci::User { uid: 1, gid: 2, ..oci::User::default() };
        let mut process = oci::Process { user, cwd: "/".into(), terminal: true, ..oci::Process::default() };
        change(&mut process, &flags).map(|()| process)
    }

    #[test]
    fn flags_change_the_bundles_process() {
        let process = changed("-e A=1 --env B=2 -u 7:8 -g 9 --cap CAP_KILL --cwd /srv jar ls -t").unwrap();
        assert_eq!(process.args, ["ls", "-t"]);
        assert_eq!(process.env, ["A=1", "B=2"]);
        assert_eq!((process.user.uid, process.user.gid), (7, 8));
        assert_eq!(process.user.additional_gids, [9]);
        let sets = process.capabilities.unwrap();
        assert_eq!(
            (sets.bounding, sets.inheritable, sets.ambient),
            (vec!["CAP_KILL".to_owned()], vec![], vec![])
        );
        assert_eq!(
            (process.cwd.as_str(), process.terminal, process.no_new_privileges),
            ("/srv", false, false)
        );
        assert_eq!(changed("-u 7 jar ls").unwrap().user.gid, 2, "only the user was named");
        assert!(changed("--no-new-privs -t jar ls").unwrap().no_new_privileges);
    }

    #[test]
    fn subgroups_are_for_all_or_for_controllers() {
        let parsed = |given: &[&str]| subgroups(given.iter().copied());
        let one = |controller: Option<&str>, path: &str| Subgroup {
            controller: controller.map(str::to_owned),
            path: path.to_owned(),
        };
        assert_eq!(parsed(&[]).unwrap(), []);
        assert_eq!(parsed(&["a/b"]).unwrap(), [one(None, "a/b")]);
        let both = [one(Some("cpu"), "x"), one(Some("cpuacct"), "x"), one(Some("memory"), "y")];
        assert_eq!(parsed(&["cpu,cpuacct:x", "memory:y"]).unwrap(), both);
        for bad in [&["a", "b"][..], &[":x"], &["cpu,:x"], &["cpu:x", "cpu:y"]] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn users_are_numbers() {
        for line in
            ["-u root jar ls", "-u -1 jar ls", "-u 4294967296 jar ls", "-u 1: jar ls", "-g +1 jar ls", "jar"]
        {
            assert!(changed(line).is_err(), "{line}");
        }
    }
}
