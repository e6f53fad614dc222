//! `checkpoint`: has CRIU write a running container's state into a directory, from which `restore` makes it again.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::super::Context;
use super::super::arguments::{Flag, Parsed};
use super::super::criu::{self, Criu, Directory, Feature, Kind, Options};
use super::super::error::Error;
use super::super::record::Record;
use super::super::status::{self, Status};
use super::{Command, delete};

pub(crate) const COMMAND: Command = Command {
    name: "checkpoint",
    usage: "<container-id>",
    about: "checkpoint a running container",
    flags: FLAGS,
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] = &[
    criu::IMAGE_PATH,
    criu::WORK_PATH,
    Flag::with("parent-path", "DIR", "earlier images to build upon, relative to the directory of the images"),
    Flag::switch("leave-running", "leave the container running after checkpointing"),
    criu::TCP_ESTABLISHED,
    Flag::switch("tcp-skip-in-flight", "skip in-flight tcp connections"),
    Flag::switch("link-remap", "allow one to link unlinked files back when possible"),
    criu::EXT_UNIX_SK,
    criu::SHELL_JOB,
    criu::LAZY_PAGES,
    Flag::with(
        "status-fd",
        "N",
        "a descriptor that gets a zero byte once pages can be fetched (with --lazy-pages)",
    ),
    Flag::with("page-server", "ADDRESS:PORT", "the page server"),
    criu::FILE_LOCKS,
    Flag::switch("pre-dump", "only save the container's memory; it goes on running"),
    criu::MANAGE_CGROUPS_MODE,
    criu::EMPTY_NS,
    criu::AUTO_DEDUP,
];

const LOG: &str = "dump.log";
/// How long what CRIU has killed may take to be gone.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    // Before there is anything of our own that could have its number.
    let request = Request::of(flags)?;
    criu::warn_if_rootless(&context.log);
    let locked = context.store.lock(&flags.positional[0])?;
    let record = locked.directory.read()?;
    let status = status::of(&locked.directory, &record);
    if matches!(status, Status::Created | Status::Stopped) {
        let name = status.name();
        return Err(Error::State(format!("Container cannot be checkpointed in {name} state")));
    }
    let init = status::pidfd(&record)?;
    let pre_dump = flags.has("pre-dump");
    let stays = pre_dump || request.options.leave_running;
    request.carry_out(context, &record, pre_dump)?;
    onggi_sys::fault::point("runtime.checkpoint.dumped");
    if !stays {
        // Its parent may be slow to hear of its end; that it has ended is what counts.
        let mut polled = [PollFd::from_borrowed_fd(init.as_fd(), PollFlags::IN)];
        let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&PATIENCE)));
        if let Err(error) = delete::clear(context, locked, &record) {
            context.log.warn(&error.to_string());
        }
    }
    Ok(0)
}

/// What the flags ask for, before CRIU is asked whether it can.
struct Request {
    options: Options,
    images: PathBuf,
    work: Option<PathBuf>,
    status: Option<OwnedFd>,
}

impl Request {
    fn of(flags: &Parsed) -> Result<Request, Error> {
        let images = criu::image_path(flags)?;
        let status = match flags.value("status-fd").filter(|&number| number != "-1") {
            // As with runc it means nothing without lazy pages: there is nothing to be said.
            Some(number) if flags.has("lazy-pages") => Some(criu::take_status(number)?),
            _ => None,
        };
        let options = Options {
            leave_running: flags.has("leave-running"),
            tcp_skip_in_flight: flags.has("tcp-skip-in-flight"),
            link_remap: flags.has("link-remap"),
            page_server: criu::page_server(flags.value("page-server"))?,
            parent_images: parent(flags.value("parent-path"), &images)?,
            ..criu::common(flags, LOG)?
        };
        Ok(Request { options, images, work: criu::work_path(flags)?, status })
    }

    fn carry_out(mut self, context: &Context, record: &Record, pre_dump: bool) -> Result<(), Error> {
        let criu = Criu::find(context.criu.as_deref())?;
        criu.require(criu::OLDEST, "its version")?;
        let images = Directory::make(&self.images)?;
        let work = self.work.as_deref().map(Directory::make).transpose()?;
        let logs = work.as_ref().unwrap_or(&images);
        logs.check_outputs(LOG)?;
        let mut options = Options {
            images_directory: images.number(),
            work_directory: work.as_ref().map(Directory::number),
            pid: Some(record.pid),
            root: record.rootfs.to_string_lossy().into_owned(),
            configuration: criu::configuration(record.annotations.get("org.criu.config")),
            external: criu::external_namespaces(&record.linux.namespaces, &criu)?,
            freeze_cgroup: freezer(record, &criu),
            ..self.options
        };
        if pre_dump {
            criu.require_feature(Feature::MemoryTracking)?;
        }
        if options.lazy_pages {
            criu.require_feature(Feature::LazyPages)?;
            if criu.version < criu::TELLS_STATUS {
                options.status_descriptor = self.status.as_ref().map(AsRawFd::as_raw_fd);
            }
        }
        if !pre_dump {
            let live = PathBuf::from(format!("/proc/{}/root", record.pid));
            options.external_mounts = criu::for_dump(&record.external, &record.rootfs, &live)?;
            images.write_descriptors(&record.streams)?;
        }
        let kind = if pre_dump { Kind::PreDump } else { Kind::Dump };
        context.log.debug(&format!("Using CRIU {} in {} mode: {options:?}", criu.version, kind.name()));
        let talk = criu.start(true, &[])?;
        let dumped = talk.follow(kind, &criu::request(kind, &options), &mut |notification, _| {
            context.log.debug(&format!("notify: {}", notification.stage));
            if notification.stage == "status-ready"
                && let Some(status) = self.status.take()
                && let Err(error) = rustix::io::write(&status, &[0])
            {
                context.log.warn(&format!("can't write \\0 to status fd: {error}"));
            }
            Ok(())
        });
        dumped.map_err(|error| {
            logs.quote(LOG, &context.log);
            criu::advise(error, &criu, logs.join(LOG))
        })
    }
}

/// A directory that is reached from that of the images, in which CRIU makes a link to it.
fn parent(value: Option<&str>, images: &Path) -> Result<Option<String>, Error> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    if value.starts_with('/') {
        return Err(Error::usage("--parent-path must be relative"));
    }
    // runc's order: the directory of the images is made first, as `..` leads through it.
    Directory::make(images)?;
    let path = images.join(value);
    let data = std::fs::metadata(&path).and_then(|data| match data.is_dir() {
        true => Ok(()),
        false => Err(rustix::io::Errno::NOTDIR.into()),
    });
    data.map_err(|error| Error::io(format!("invalid --parent-path: stat {}", path.display()), error))?;
    Ok(Some(value.to_owned()))
}

/// Without it CRIU stops the processes one by one.
fn freezer(record: &Record, criu: &Criu) -> Option<String> {
    let is_v2 = matches!(record.cgroup.layout, onggi_cgroup::Layout::V2 { .. });
    if is_v2 && criu.version < criu::FREEZES_V2 {
        return None;
    }
    let path = record.cgroup().ok()?.freezer_path()?;
    Some(path.to_string_lossy().into_owned())
}
