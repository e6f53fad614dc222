//! `restore`: a container again as `checkpoint` left it, from its images and a bundle like the one that it was made of.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use onggi_cgroup::Cgroup;
use onggi_oci as oci;
use onggi_runtime::exec::{self, Home};
use onggi_runtime::plan::Plan;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use super::super::arguments::{Flag, Parsed};
use super::super::birth::Made;
use super::super::bundle::Bundle;
use super::super::criu::{self, Criu, Directory, Inherited, Kind, Notification, Options, Talk};
use super::super::error::Error;
use super::super::foreground::Foreground;
use super::super::launch::{
    self, Attempt, BUNDLE, CONSOLE_SOCKET, Launched, Mode, NO_PIVOT, PID_FILE, absolute,
};
use super::super::record::Record;
use super::super::resctrl::{self, Group};
use super::super::store::Locked;
use super::super::{Context, cgroups, notify, prepare, sockets, status, systemd, time};
use super::{Command, delete};

pub(crate) const COMMAND: Command = Command {
    name: "restore",
    usage: "<container-id>",
    about: "restore a container from a previous checkpoint",
    flags: FLAGS,
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[
    CONSOLE_SOCKET,
    criu::IMAGE_PATH,
    criu::WORK_PATH,
    criu::TCP_ESTABLISHED,
    criu::EXT_UNIX_SK,
    criu::SHELL_JOB,
    criu::FILE_LOCKS,
    criu::MANAGE_CGROUPS_MODE,
    BUNDLE,
    Flag::switch("detach", "leave the container running").short("d"),
    PID_FILE,
    Flag::switch("no-subreaper", "do not adopt what the container's process leaves behind"),
    NO_PIVOT,
    criu::EMPTY_NS,
    criu::AUTO_DEDUP,
    criu::LAZY_PAGES,
    Flag::with("lsm-profile", "TYPE:NAME", "the security module's profile, in place of the checkpoint's"),
    Flag::with("lsm-mount-context", "CONTEXT", "the security module's context of mounts"),
];

const LOG: &str = "restore.log";
const SIGKILL: i32 = 9;

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    criu::warn_if_rootless(&context.log);
    if flags.has("no-pivot") {
        context.log.warn("--no-pivot changes nothing here: CRIU changes the root in its own way");
    }
    // What is relative is so to where we are now.
    let (images, work) = (criu::image_path(flags)?, criu::work_path(flags)?);
    let mut options = criu::common(flags, LOG)?;
    let given = |name: &str| flags.value(name).filter(|value| !value.is_empty()).map(str::to_owned);
    options.lsm_profile = given("lsm-profile");
    options.lsm_mount_context = given("lsm-mount-context");
    let pid_file = absolute(flags.value("pid-file"))?;
    let console = absolute(flags.value("console-socket"))?;
    let detached = flags.has("detach");
    let mode = if detached { Mode::Detached } else { Mode::Foreground };
    let foreground = if detached { None } else { Some(Foreground::prepare(!flags.has("no-subreaper"))?) };
    let directories = Directories { images, work };
    let mut launched = restore(context, flags, mode, console.as_deref(), (options, &directories))?;
    if let Err(error) = launch::announce(&launched, None, pid_file.as_deref()) {
        let _ = launched.undo();
        return Err(error);
    }
    let Some(foreground) = foreground else { return Ok(0) };
    let terminal = launched.terminal.take();
    let launched = launched.unlock();
    let code = foreground.wait(launched.record.pid, launched.pidfd.as_fd(), terminal, None)?;
    match delete::ended(context, &launched.record) {
        Ok(()) | Err(Error::DoesNotExist) => Ok(code),
        Err(error) => Err(error),
    }
}

struct Directories {
    images: PathBuf,
    work: Option<PathBuf>,
}

/// Restores the container. If that fails, nothing is left.
fn restore(
    context: &Context,
    flags: &Parsed,
    mode: Mode,
    console: Option<&str>,
    (options, directories): (Options, &Directories),
) -> Result<Launched, Error> {
    let mut bundle = Bundle::enter(flags.value("bundle"))?;
    let has_terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
    launch::check_terminal(has_terminal, mode != Mode::Foreground, console.is_some())?;
    let rootfs = bundle.rootfs()?;
    for warning in prepare::prepare(&mut bundle.spec, &bundle.path, &rootfs, 0) {
        context.log.warn(&warning);
    }
    let mut systemd = context.systemd.then(systemd::Driver::connect).transpose()?;
    let id = &flags.positional[0];
    let layout = cgroups::layout(context, systemd.as_mut(), &mut bundle.spec, id)?;
    let mut spec = std::mem::take(&mut bundle.spec);
    let locked = context.store.create(id)?;
    let manager = notify::of_caller();
    let attempt = Attempt {
        context,
        mode,
        id,
        bundle: bundle.path,
        rootfs,
        layout: &layout,
        keep_keyring: false,
        without_pivot: false,
        preserved: 0,
        notify: manager.clone(),
        console,
    };
    let prepared = match manager {
        // The container's own socket: the one that it knew before is gone.
        Some(_) => notify::prepare(&locked.directory, &mut spec),
        None => Ok(()),
    };
    let restored = prepared.and_then(|()| {
        let mut scope =
            systemd.as_mut().map(|driver| driver.plan(&mut spec, id, &layout, &context.log)).transpose()?;
        let plan = attempt.plan(&spec, None)?;
        let mut record = attempt.record(&locked, &spec, &plan);
        locked.write_filter(&plan.filter)?;
        record.systemd = scope.as_ref().map(systemd::Scope::kept);
        let restore = Restore { attempt: &attempt, locked: &locked, spec: &spec, plan: &plan };
        let restored = restore.run(record, options, directories, scope.as_mut());
        let cgroup = restored.as_ref().ok().map(|restored| &restored.cgroup);
        let settled = scope.map_or(Ok(()), |scope| scope.settle(cgroup));
        let restored = restored?;
        match settled {
            Ok(()) => Ok(restored),
            Err(error) => {
                restored.end();
                Err(error)
            }
        }
    });
    match restored {
        Ok(Restored { record, pidfd, terminal, cgroup }) => {
            Ok(Launched { locked, record, pidfd, terminal, notify: None, cgroup })
        }
        Err(error) => {
            // The first error counts; a directory that stays is what `delete --force` is for.
            let _ = locked.remove();
            Err(error)
        }
    }
}

struct Restore<'a> {
    attempt: &'a Attempt<'a>,
    locked: &'a Locked,
    spec: &'a oci::Spec,
    plan: &'a Plan,
}

struct Restored {
    record: Record,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    cgroup: Cgroup,
}

impl Restored {
    /// After something that counts has gone wrong.
    fn end(self) {
        let _ = onggi_sys::pidfd::send_signal(self.pidfd.as_fd(), SIGKILL);
        let _ = self.cgroup.kill();
        let _ = self.record.systemd.as_ref().map(systemd::Kept::give_up);
        let _ = self.cgroup.remove();
        launch::forget(self.record.resctrl.as_ref());
    }
}

impl Restore<'_> {
    fn run(
        &self,
        mut record: Record,
        options: Options,
        directories: &Directories,
        mut scope: Option<&mut systemd::Scope<'_>>,
    ) -> Result<Restored, Error> {
        let criu = Criu::find(self.attempt.context.criu.as_deref())?;
        criu.require(criu::OLDEST, "its version")?;
        if options.lsm_profile.is_some() || options.lsm_mount_context.is_some() {
            criu.require(criu::CHANGES_LSM, "--lsm-profile and --lsm-mount-context")?;
        }
        let images = Directory::open(&directories.images)?;
        images.check_images(options.lazy_pages)?;
        let work = directories.work.as_deref().map(Directory::make).transpose()?;
        let logs = work.as_ref().unwrap_or(&images);
        logs.check_outputs(LOG)?;

        let namespaces = self.plan.launch.namespaces.as_slice();
        let inherited = criu::inherit(namespaces, &criu)?;
        let pipes = images.read_pipes()?.into_iter();
        let pipes = pipes.map(|(descriptor, key)| Inherited { key, descriptor });
        let root = self.locked.directory.path.join("criu-root");
        let mut options = Options {
            evasive_devices: true,
            restore_sibling: true,
            root: root.to_string_lossy().into_owned(),
            configuration: criu::configuration(self.spec.annotations.get("org.criu.config")),
            joined: criu::joined(namespaces).map_err(Error::Unsupported)?,
            inherited: inherited.iter().map(|(named, _)| named.clone()).chain(pipes).collect(),
            ..options
        };
        let home = Home::hold()?;
        home.leave(|| exec::make_mount_points(self.plan, &self.attempt.rootfs).map_err(Error::from))?;
        let mapped = self.locked.directory.path.join("criu-sources");
        for directory in [&root, &mapped] {
            std::fs::create_dir(directory)
                .map_err(|error| Error::io(format!("mkdir {}", directory.display()), error))?;
        }
        onggi_sys::fault::point("runtime.restore.prepared");

        let wanted = self.spec.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref());
        let group =
            wanted.map(|wanted| Group::make(&resctrl::root()?, self.attempt.id, wanted)).transpose()?;
        record.resctrl.clone_from(&group);
        let known = self.attempt.birth(self.plan, record.systemd.clone(), group.clone());
        self.locked.write_birth(&known).inspect_err(|_| launch::forget(group.as_ref()))?;
        let cgroup =
            self.make_cgroup(scope.as_deref_mut()).inspect_err(|_| launch::forget(group.as_ref()))?;
        let has_unit = scope.is_some_and(|scope| scope.is_started());
        let marked = Made::of(&cgroup, has_unit).and_then(|made| self.locked.mark_birth(&made));
        if let Err(error) = marked {
            if !has_unit {
                let _ = cgroup.remove();
            }
            launch::forget(group.as_ref());
            return Err(error);
        }
        let outcome = home
            .leave(|| {
                exec::mount_root(&self.attempt.rootfs, &root)?;
                let mapped = exec::mount_mapped_sources(self.plan, &mapped)?;
                let again = (images.again()?, work.as_ref().map(Directory::again).transpose()?);
                let streams = !self.plan.launch.terminal;
                onggi_sys::fault::point("runtime.restore.mounted");
                let start = || criu.start(streams, &criu::held(&inherited)).map_err(Error::from);
                // What it restores is born in the group that it was born in itself.
                let talk = group.as_ref().map_or_else(start, |group| group.start(start)?)?;
                Ok((talk, again, mapped))
            })
            .and_then(|(talk, (images, work), mapped)| {
                let rootfs = &self.attempt.rootfs;
                options.external_mounts = criu::for_restore(self.plan, rootfs, &mapped)?;
                let mapped = criu::places(rootfs, &mapped)?;
                options.images_directory = images.number();
                options.work_directory = work.as_ref().map(Directory::number);
                self.follow(talk, record, (&mut options, &mapped), &cgroup)
            });
        // Not before: to remove what is mounted on elsewhere takes the mount away there.
        for directory in [&root, &mapped] {
            let _ = std::fs::remove_dir(directory);
        }
        match outcome {
            Ok((record, pidfd, terminal)) => Ok(Restored { record, pidfd, terminal, cgroup }),
            Err(error) => {
                logs.quote(LOG, &self.attempt.context.log);
                // Whatever came into it before it failed.
                let _ = cgroup.kill();
                let _ = cgroup.remove();
                launch::forget(group.as_ref());
                Err(criu::advise(error, &criu, logs.join(LOG)))
            }
        }
    }

    /// Also has systemd make it, if it is to: as it is for a container that is created.
    fn make_cgroup(&self, scope: Option<&mut systemd::Scope<'_>>) -> Result<Cgroup, Error> {
        let mut plan = self.plan.launch.cgroup.clone();
        scope.map_or(Ok(()), |scope| scope.start(self.attempt.id, &mut plan))?;
        plan.create().map_err(|error| {
            // With a keeper in it, it goes with its unit.
            if plan.keeper.is_none()
                && !error.is_of_another()
                && let Ok(half) = plan.open()
            {
                // What could not be made is the error that counts.
                let _ = half.remove();
            }
            Error::Cgroup(error)
        })
    }

    /// From the request to a process that runs. Mounts at the places in `mapped` must show other owners.
    fn follow(
        &self,
        talk: Talk,
        mut record: Record,
        (options, mapped): (&mut Options, &[String]),
        cgroup: &Cgroup,
    ) -> Result<(Record, OwnedFd, Option<OwnedFd>), Error> {
        let log = &self.attempt.context.log;
        // What it restores is born where it is itself.
        cgroup.join_child(talk.pid().cast_signed(), false).map_err(Error::Cgroup)?;
        options.cgroup_roots = criu::cgroup_roots(talk.pid())?;
        log.debug(&format!("Using CRIU in RESTORE mode: {options:?}"));
        let (mut init, mut terminal) = (None, None);
        let request = criu::request(Kind::Restore, options);
        talk.follow(Kind::Restore, &request, &mut |notification, descriptor| {
            log.debug(&format!("notify: {}", notification.stage));
            match notification.stage.as_str() {
                "setup-namespaces" => self.run_hooks(&record, notification)?,
                "post-restore" => {
                    init = Some(self.remember(&mut record, notification)?);
                    exec::check_mapped_mounts(record.pid, mapped.iter().map(String::as_str))?;
                }
                "orphan-pts-master" => terminal = descriptor,
                _ => {}
            }
            Ok(())
        })?;
        let init = init.ok_or_else(|| Error::Failed("criu has restored no process".to_owned()))?;
        if let (Some(master), Some(console)) = (&terminal, self.attempt.console) {
            let sent = sockets::send(console, "/dev/ptmx", master.as_fd());
            if let Err(error) = sent {
                let _ = onggi_sys::pidfd::send_signal(init.as_fd(), SIGKILL);
                return Err(error);
            }
            terminal = None;
        }
        Ok((record, init, terminal))
    }

    fn run_hooks(&self, record: &Record, notification: &Notification) -> Result<(), Error> {
        let Some(hooks) = &self.spec.hooks else { return Ok(()) };
        let record = Record { pid: notification.pid.unwrap_or(0), ..record.clone() };
        launch::parent_hooks(hooks, &record)
    }

    /// The process is there and does not run yet: it is held, and from now on known by its number.
    fn remember(&self, record: &mut Record, notification: &Notification) -> Result<OwnedFd, Error> {
        let found = notification.pid.and_then(Pid::from_raw);
        let pid = found.ok_or_else(|| Error::Failed("criu names no process".to_owned()))?;
        let fail = |error| Error::io(format!("hold process {pid}, which criu has restored"), error);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(fail)?;
        // ECHILD: whatever it is, it is not what has been restored as a child of ours.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).map_err(fail)?;
        record.pid = pid.as_raw_nonzero().get();
        record.start_time = status::process(record.pid).map_or(0, |(_, start_time)| start_time);
        record.created = time::now_nanoseconds();
        criu::follow_time(&mut record.linux.namespaces, record.pid);
        self.locked.write(record)?;
        onggi_sys::fault::point("runtime.restore.known");
        Ok(pidfd)
    }
}
