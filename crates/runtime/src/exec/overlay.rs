//! A stack of layers with a writable one on top.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::classic::New;
use super::problem::{Doing, Outcome, Problem};
use super::tree::{Tree, complaint, configure, copy_of};
use crate::plan::Attributes;

/// `fsconfig(2)` takes strings up to this long, without the final zero.
const LONGEST_VALUE: usize = 255;

/// Mounted nowhere yet.
pub(super) fn overlay(lower: &[&Path], upper: &Path, work: &Path, options: &[&str]) -> Outcome<Tree> {
    if options.contains(&"volatile") {
        forget_earlier_volatile_mount(work);
    }
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS) => return Ok(Tree::classic(description(lower, upper, work, options)?)),
        other => other.doing(|| "fsopen overlay")?,
    };
    configure(&context, "source", Some("overlay"))?;
    let mut held = Vec::new();
    for layer in lower {
        // `lowerdir+` takes one layer at a time (Linux 6.5).
        let path = short_path(layer, &mut held)?;
        match fsconfig_set_string(&context, "lowerdir+", path.as_str()) {
            Ok(()) => {}
            Err(error) => {
                return Err(complaint(&context, &format!("overlay layer {}", layer.display()), error));
            }
        }
    }
    let upper_path = short_path(upper, &mut held)?;
    configure(&context, "upperdir", Some(&upper_path))?;
    let work_path = short_path(work, &mut held)?;
    configure(&context, "workdir", Some(&work_path))?;
    for option in options {
        configure(&context, option, None)?;
    }
    if let Err(error) = fsconfig_create(&context) {
        let problem = complaint(&context, "mount overlay", error);
        // Before Linux 6.5 any option is taken, and refused only here.
        return if error == Errno::INVAL {
            classic_overlay(lower, upper, work, options).map_err(|_| problem)
        } else {
            Err(problem)
        };
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .doing(|| "fsmount overlay")
        .map(Tree::detached)
}

/// overlayfs marks a work directory that was once mounted so, and never mounts it again, as a power cut may have left half of it. Such
/// trees do not outlive the machine's run anyway: a second start in the same run finds what the first wrote.
fn forget_earlier_volatile_mount(work: &Path) {
    let mark = work.join("work/incompat/volatile");
    // Nothing to forget, mostly; if it cannot be removed the mount says so.
    if rustix::fs::unlinkat(CWD, mark.join("dirty"), AtFlags::empty()).is_ok() {
        let _ = rustix::fs::unlinkat(CWD, mark, AtFlags::REMOVEDIR);
    }
}

/// Before Linux 6.5 all layers are one string, which `fsconfig(2)` would cut at 255 bytes; `mount(2)` takes a page. It is mounted on the
/// upper directory, which nobody else sees, and taken up again from there.
fn classic_overlay(lower: &[&Path], upper: &Path, work: &Path, options: &[&str]) -> Outcome<Tree> {
    let New { data, held: _held, .. } = description(lower, upper, work, options)?;
    let data = std::ffi::CString::new(data).map_err(|_| Problem::new("overlay: a path holds a zero byte"))?;
    rustix::mount::mount("overlay", upper, "overlay", MountFlags::empty(), data.as_c_str())
        .doing(|| "mount overlay")?;
    let tree = copy_of(upper, false).doing(|| "open_tree overlay")?;
    rustix::mount::unmount(upper, rustix::mount::UnmountFlags::DETACH)
        .doing(|| "unmount the first overlay")?;
    Ok(tree)
}

/// For `mount(2)`. Descriptors as paths keep even a hundred layers below a page.
fn description(lower: &[&Path], upper: &Path, work: &Path, options: &[&str]) -> Outcome<New> {
    let mut held = Vec::new();
    let mut by_descriptor = |path: &Path| descriptor_path(path, &mut held);
    let layers = lower.iter().map(|path| by_descriptor(path)).collect::<Outcome<Vec<_>>>()?.join(":");
    let (upper_path, work_path) = (by_descriptor(upper)?, by_descriptor(work)?);
    let options = options.iter().fold(String::new(), |text, option| text + "," + option);
    let data = format!("lowerdir={layers},upperdir={upper_path},workdir={work_path}{options}");
    let kind = || "overlay".to_owned();
    Ok(New { kind: kind(), source: kind(), data, attributes: Attributes::default(), held })
}

/// The path, or one through a descriptor if it is too long for `fsconfig(2)`.
fn short_path(path: &Path, held: &mut Vec<OwnedFd>) -> Outcome<String> {
    match path.to_str() {
        Some(text) if text.len() <= LONGEST_VALUE => Ok(text.to_owned()),
        _ => descriptor_path(path, held),
    }
}

fn descriptor_path(path: &Path, held: &mut Vec<OwnedFd>) -> Outcome<String> {
    use std::os::fd::AsRawFd;
    let directory =
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = directory.doing(|| format!("open {}", path.display()))?;
    let text = format!("/proc/self/fd/{}", directory.as_raw_fd());
    held.push(directory);
    Ok(text)
}
