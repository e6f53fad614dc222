//! Where everything is kept, and the directories' making. Nothing else in this crate joins paths to the two roots.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use onggi_image::Digest;
use rustix::fs::{Mode, OFlags};

use crate::error::Error;

/// The version of the layout of the data root, in the file `VERSION`.
const LAYOUT_VERSION: u32 = 1;

/// The two roots: what is kept, and what lives until the next boot.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
}

impl Layout {
    /// Makes the directories if the store is new, and refuses a store of a newer layout.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        close(&self.run);
        match fs::read_to_string(self.version()) {
            Ok(text) => return self.check_version(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", self.version())(error)),
        }
        // Only root (or the owner of a rootless store) may look inside: images can hold secrets and set-user-id programs.
        close(&self.data);
        for directory in ["blobs/sha256", "layers", "images", "containers", "volumes", "events", "tmp"] {
            make_directory(&self.data.join(directory))?;
        }
        // The version comes last: a store without it is made again from here.
        let temporary = self.data.join(format!("tmp/VERSION.{}", std::process::id()));
        let mut file = fs::File::create(&temporary).map_err(Error::io("create", &temporary))?;
        writeln!(file, "{LAYOUT_VERSION}").map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("fsync", &temporary))?;
        fs::rename(&temporary, self.version()).map_err(Error::io("rename", &temporary))?;
        sync_directory(&self.data)
    }

    fn check_version(&self, text: &str) -> Result<(), Error> {
        let found = text.trim();
        match found.parse::<u32>() {
            Ok(LAYOUT_VERSION) => Ok(()),
            Ok(version) if version > LAYOUT_VERSION => {
                Err(Error::newer(self.version(), version, LAYOUT_VERSION))
            }
            _ => Err(Error::damaged(self.version(), format!("{found:?} is no version"))),
        }
    }

    fn version(&self) -> PathBuf {
        self.data.join("VERSION")
    }

    /// In the run root, which is memory on most hosts: the index is believed for one boot only, and it must be there on a full disk too.
    pub(crate) fn index(&self) -> PathBuf {
        self.run.join("index.sqlite")
    }

    /// Where things that are damaged, or of no use without what is damaged, are set aside: see `quarantine`.
    pub(crate) fn lost(&self) -> PathBuf {
        self.data.join("lost")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.data.join("blobs")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.data.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.data.join("layers").join(diff_id.hex())
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.data.join("tmp")
    }

    pub(crate) fn mounts(&self) -> PathBuf {
        self.run.join("layers")
    }
}

/// Keeps others out of a root. One that is empty was made for this, and becomes the owner's alone; one that holds something may be
/// anybody's, and `onggi doctor` tells of it.
fn close(root: &Path) {
    let open = fs::metadata(root).is_ok_and(|data| data.permissions().mode() & 0o077 != 0);
    if open && fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_none()) {
        // Another's directory stays as it is.
        let _ = fs::set_permissions(root, fs::Permissions::from_mode(0o700));
    }
}

/// Makes a directory and its parents, for the owner alone, if they are not there.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("make the directory", path))
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(Error::io("open", path))
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    rustix::fs::fsync(open_directory(path)?).map_err(Error::io("fsync", path))
}
