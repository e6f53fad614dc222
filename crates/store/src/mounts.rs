//! Layers as directories that overlayfs can stack: one EROFS mount each, made once per boot and shared by all containers; or, where the
//! kernel cannot mount EROFS from files, a tree unpacked beside the tar.
//!
//! Both forms stand behind [`Presenter`] and pass the same tests. Presenting a layer that is presented already costs one `statfs` or `stat`.
//! A mount needs no process to keep it; two mounts of one layer would be two page caches, hence one, under a lock of its own.

use std::fmt::Debug;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use onggi_image::Digest;
use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::error::Error;
use crate::layers::{TAR, index_file};
use crate::layout::{Layout, make_directory};
use crate::records::LayerUse;
use crate::trees::UnpackedTrees;

/// `statfs(2)`'s number for EROFS.
const EROFS_MAGIC: i64 = 0xE0F5_E1E2;

/// Which form layers are presented in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerForm {
    /// EROFS where the kernel can (Linux 6.12 and newer, as root), else directories.
    #[default]
    Auto,
    Erofs,
    Directories,
}

/// Makes a layer a directory.
///
/// A layer's life: it is *presented* by whoever needs it first, stays so while anybody may use it, and is *withdrawn* before its files are
/// removed, or when everything is reset. Presenting is idempotent and safe from any number of processes at once; withdrawing does
/// not disturb those that have the layer in an overlay already.
pub(crate) trait Presenter: Debug + Send + Sync {
    /// The layer's directory, if it is presented.
    fn presented(&self, layer: &LayerUse) -> Option<PathBuf>;

    /// Presents it. `lower` are the layers below in this image, presented, the topmost first.
    fn present(&self, layer: &LayerUse, lower: &[PathBuf]) -> Result<PathBuf, Error>;

    /// Takes back all presentations of a layer.
    fn withdraw(&self, diff_id: &Digest) -> Result<(), Error>;

    /// Takes back one presentation of a layer, and not those of its other places.
    fn withdraw_one(&self, layer: &LayerUse) -> Result<(), Error>;

    /// Takes back everything.
    fn withdraw_all(&self) -> Result<(), Error>;
}

/// One EROFS mount a layer, under the run root.
#[derive(Debug)]
pub(crate) struct ErofsMounts {
    pub(crate) layout: Layout,
}

impl ErofsMounts {
    fn path(&self, layer: &LayerUse) -> PathBuf {
        self.layout.mounts().join(key(layer))
    }

    /// The directory of all mounts is itself a mount, private: what is mounted in it appears in no other mount namespace, where it
    /// would keep a removed layer busy.
    fn prepare(&self) -> Result<(), Error> {
        let directory = self.layout.mounts();
        make_directory(&directory)?;
        let _lock = lock(&self.layout.run.join("layers.lock"))?;
        if is_mount_point(&directory) {
            return Ok(());
        }
        rustix::mount::mount_bind(&directory, &directory).map_err(Error::io("bind to itself", &directory))?;
        rustix::mount::mount_change(&directory, MountPropagationFlags::PRIVATE)
            .map_err(Error::io("make private", directory))
    }

    fn mount(&self, layer: &LayerUse, target: &Path) -> Result<(), Error> {
        let step = |step: &'static str| {
            let diff_id = layer.diff_id.clone();
            move |source: rustix::io::Errno| Error::Mount { diff_id, step, source: source.into() }
        };
        let directory = self.layout.layer(&layer.diff_id);
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("fsopen erofs"))?;
        let context = context.as_fd();
        let index = directory.join(index_file(layer.variant.as_deref()));
        fsconfig_set_string(context, "source", index).map_err(step("fsconfig source"))?;
        let tar = directory.join(TAR);
        fsconfig_set_string(context, "device", &tar).map_err(step("fsconfig device"))?;
        if reads_directly_by_sector(&tar) {
            // Else each page is kept twice, once more as the tar's (docs/decisions/0004-layers.md). The option is younger than
            // file-backed mounts; a kernel that does not know it refuses the word and mounts without.
            let _ = fsconfig_set_flag(context, "directio");
        }
        fsconfig_set_flag(context, "ro").map_err(step("fsconfig ro"))?;
        fsconfig_create(context).map_err(step("fsconfig create"))?;
        // Nobody should run a set-user-id program from here; in a container it is overlayfs' own mount that counts.
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(step("fsmount"))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount.as_fd(), "", rustix::fs::CWD, target, flags).map_err(step("move_mount"))
    }
}

impl Presenter for ErofsMounts {
    fn presented(&self, layer: &LayerUse) -> Option<PathBuf> {
        let path = self.path(layer);
        is_erofs(&path).then_some(path)
    }

    fn present(&self, layer: &LayerUse, _lower: &[PathBuf]) -> Result<PathBuf, Error> {
        self.prepare()?;
        let target = self.path(layer);
        make_directory(&target)?;
        let _lock = lock(&self.layout.mounts().join(format!("{}.lock", key(layer))))?;
        if !is_erofs(&target) {
            self.mount(layer, &target)?;
        }
        Ok(target)
    }

    fn withdraw(&self, diff_id: &Digest) -> Result<(), Error> {
        withdraw_matching(&self.layout, |name| name.starts_with(diff_id.hex()))
    }

    fn withdraw_one(&self, layer: &LayerUse) -> Result<(), Error> {
        let key = key(layer);
        withdraw_matching(&self.layout, |name| name == key)
    }

    fn withdraw_all(&self) -> Result<(), Error> {
        withdraw_matching(&self.layout, |_| true)?;
        let directory = self.layout.mounts();
        // What somebody else has mounted there would be unmounted with it.
        let foreign = |name: &str| !is_key(name.strip_suffix(".lock").unwrap_or(name));
        if is_mount_point(&directory) && !names(&directory)?.iter().any(|name| foreign(name)) {
            unmount(&directory)?;
        }
        Ok(())
    }
}

/// EROFS mounts, and trees where the kernel turns out not to make them after all.
#[derive(Debug)]
pub(crate) struct EitherForm {
    pub(crate) erofs: ErofsMounts,
    pub(crate) trees: UnpackedTrees,
}

impl Presenter for EitherForm {
    fn presented(&self, layer: &LayerUse) -> Option<PathBuf> {
        self.erofs.presented(layer).or_else(|| self.trees.presented(layer))
    }

    fn present(&self, layer: &LayerUse, lower: &[PathBuf]) -> Result<PathBuf, Error> {
        match self.erofs.present(layer, lower) {
            Err(error) if means_unsupported(&error) => self.trees.present(layer, lower),
            other => other,
        }
    }

    fn withdraw(&self, diff_id: &Digest) -> Result<(), Error> {
        self.erofs.withdraw(diff_id)
    }

    fn withdraw_one(&self, layer: &LayerUse) -> Result<(), Error> {
        self.erofs.withdraw_one(layer)
    }

    fn withdraw_all(&self) -> Result<(), Error> {
        self.erofs.withdraw_all()
    }
}

/// Whether this kernel mounts EROFS from plain files for this user: Linux 6.12, with the file system built in or loaded, as root of
/// the machine.
pub(crate) fn can_mount_erofs() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 12)
        && rustix::process::geteuid().is_root()
        && !onggi_sys::namespace::in_user_namespace()
        && fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

/// Whether direct reads of the file may begin at any multiple of 512 bytes, as a tar's data does. A disk with larger sectors says no.
fn reads_directly_by_sector(file: &Path) -> bool {
    let found = rustix::fs::statx(rustix::fs::CWD, file, AtFlags::empty(), StatxFlags::DIOALIGN);
    found.is_ok_and(|found| {
        let known = found.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        known && (1..=512).contains(&found.stx_dio_offset_align)
    })
}

/// Whether a failed mount says that the kernel cannot do it at all, rather than that this layer is bad.
fn means_unsupported(error: &Error) -> bool {
    let Error::Mount { source, .. } = error else { return false };
    // ENOTBLK: built without CONFIG_EROFS_FS_BACKED_BY_FILE. EPERM: root without CAP_SYS_ADMIN, as inside other containers.
    let unsupported = [Errno::NOTBLK, Errno::NODEV, Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP];
    unsupported.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
}

/// What a presented layer is called in the run root.
pub(crate) fn key(layer: &LayerUse) -> String {
    match &layer.variant {
        None => layer.diff_id.hex().to_owned(),
        Some(variant) => format!("{}-{variant}", layer.diff_id.hex()),
    }
}

/// Whether a name can be one that [`key`] makes.
fn is_key(name: &str) -> bool {
    let (hex, variant) = name.split_once('-').unwrap_or((name, "0"));
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(hex.len(), 64 | 128) && is_hex(hex) && is_hex(variant)
}

fn is_erofs(path: &Path) -> bool {
    // The types of the field differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as i64 == EROFS_MAGIC)
}

fn is_mount_point(path: &Path) -> bool {
    let stat = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let file = onggi_sys::ofd::open(path).map_err(Error::io("open", path))?;
    onggi_sys::ofd::lock(file.as_fd()).map_err(Error::io("lock", path))?;
    Ok(file)
}

/// Unmounts the layers whose names match. An overlay that stands on one keeps its own hold of it.
fn withdraw_matching(layout: &Layout, matches: impl Fn(&str) -> bool) -> Result<(), Error> {
    let directory = layout.mounts();
    let mut result = Ok(());
    // The locks stay, empty as they are: one that loses its name while somebody waits for it is no lock any more.
    for name in names(&directory)?.iter().filter(|name| is_key(name) && matches(name)) {
        // One that does not go must not keep the others.
        result = result.and(withdraw_one(&directory, &directory.join(name), name));
    }
    result
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("list", directory))?,
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(Error::io("list", directory))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

fn withdraw_one(directory: &Path, path: &Path, name: &str) -> Result<(), Error> {
    let _lock = lock(&directory.join(format!("{name}.lock")))?;
    while is_mount_point(path) {
        unmount(path)?;
    }
    // What is mounted stands on an empty directory.
    match fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn unmount(path: &Path) -> Result<(), Error> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|error| Error::Unmount { path: path.to_owned(), source: error.into() })
}
