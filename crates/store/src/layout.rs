//! Where everything is kept, and the directories' making. Nothing else in this crate joins paths to the two roots.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use onggi_error::{Diagnose, Kind};
use onggi_image::Digest;
use rustix::fs::{Mode, OFlags};

use crate::error::Error;

/// The version of the layout of the data root, in the file `VERSION`.
const LAYOUT_VERSION: u32 = 1;

const DIRECTORIES: [&str; 7] = ["blobs/sha256", "layers", "images", "containers", "volumes", "events", "tmp"];

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
        if let Some(text) = self.read_version()? {
            self.check_version(&text)?;
            return self.make_missing();
        }
        // Only root (or the owner of a rootless store) may look inside: images can hold secrets and set-user-id programs.
        close(&self.data);
        self.make_missing()?;
        // The version comes last: a store without it is made again from here, unless it is only the version that it has lost.
        self.write_version()
    }

    /// A copy of a store may have lost its empty directories. Without the records of images nobody knows what the layers are for, and the next
    /// collection would take them: then a check has to say what becomes of them.
    fn make_missing(&self) -> Result<(), Error> {
        for directory in DIRECTORIES.map(|name| self.data.join(name)) {
            if directory.is_dir() || directory == self.images() && !self.is_empty() {
                continue;
            }
            match make_directory(&directory) {
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Whether there is neither a layer nor a blob.
    fn is_empty(&self) -> bool {
        let none = |path: PathBuf| fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        none(self.layers()) && none(self.data.join("blobs/sha256"))
    }

    fn read_version(&self) -> Result<Option<String>, Error> {
        let path = self.version();
        let mut text = String::new();
        let file = match open_file(&path) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        match file.take(64).read_to_string(&mut text) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(Error::damaged(path, "it is no text"))
            }
            other => other.map(|_| Some(text)).map_err(Error::io("read", path)),
        }
    }

    /// What is wrong with the version, so that nothing can be opened. A newer one is not wrong.
    pub(crate) fn version_fault(&self) -> Result<Option<Error>, Error> {
        let read = self.read_version().and_then(|text| text.map_or(Ok(()), |text| self.check_version(&text)));
        match read {
            Err(error) if error.kind() == Kind::Corrupt => Ok(Some(error)),
            other => other.map(|()| None),
        }
    }

    pub(crate) fn write_version(&self) -> Result<(), Error> {
        make_directory(&self.tmp())?;
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

    pub(crate) fn version(&self) -> PathBuf {
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

/// Opens a file for reading. What is none (a pipe would be waited for, a link may lead anywhere) is damaged.
pub(crate) fn open_file(path: &Path) -> Result<fs::File, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => None,
        other => Some(fs::File::from(other.map_err(Error::io("open", path))?)),
    };
    let file = file.filter(|file| file.metadata().is_ok_and(|data| data.is_file()));
    file.ok_or_else(|| Error::damaged(path, "it is no file"))
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    rustix::fs::fsync(open_directory(path)?).map_err(Error::io("fsync", path))
}
