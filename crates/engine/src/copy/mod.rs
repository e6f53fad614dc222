//! Copying between the host, a container and an archive, in both directions: always a tar, written by one side and read by the other.
//!
//! A container that runs is seen through its own mount namespace; one that does not is put together for the copy alone. Nothing of ours
//! runs inside, loads a library of its or looks a name up there (CVE-2019-14271).

mod extract;
mod pack;
mod rules;
mod tree;
mod view;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use onggi_archive::compress::{Ceiling, Decompressor};

use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;
use extract::Place;
use rules::{Found, Landing};
use tree::Tree;
use view::ContainerTree;

#[allow(missing_debug_implementations, reason = "a stream says nothing of itself")]
/// Where a copy comes from. Paths are absolute, or from a container's root.
pub enum CopySource<'a> {
    Host(&'a str),
    Container {
        id: &'a ContainerId,
        name: &'a str,
        path: &'a str,
    },
    /// A tar, compressed or not.
    Archive(&'a mut (dyn Read + Send)),
}

#[allow(missing_debug_implementations, reason = "a stream says nothing of itself")]
/// Where it goes.
pub enum CopyTarget<'a> {
    Host(&'a str),
    Container { id: &'a ContainerId, name: &'a str, path: &'a str },
    Archive(&'a mut (dyn Write + Send)),
}

/// How.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// A link at the end of the source's path is followed.
    pub follow: bool,
    /// Owners are kept on the host too.
    pub archive: bool,
}

impl Engine {
    /// Copies, and answers how many bytes of files.
    ///
    /// # Errors
    /// Docker's sentences where there is nothing to copy, or nowhere to copy it to.
    pub fn copy(
        &self,
        source: CopySource<'_>,
        target: CopyTarget<'_>,
        options: CopyOptions,
    ) -> Result<u64, Error> {
        match (source, target) {
            (CopySource::Container { id, name, path }, CopyTarget::Host(target)) => {
                let view = self.container_tree(id)?;
                let source = container_source(&view, name, path, options.follow)?;
                self.tell_copy(id, "archive-path")?;
                let host = Tree::host().map_err(Error::io("open", "/"))?;
                // The caller's links are followed, as by every program; what lies behind the directory is the container's to name.
                let (found, target) = match host.find(target) {
                    Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                        (Found::Missing, target.to_owned())
                    }
                    other => other.map_err(Error::io("look at", target))?,
                };
                let landing = rules::landing(path, source.is_directory, &target, found)
                    .map_err(|what| Error::Invalid { what: format!("{what} {target}") })?;
                let directory = host_directory(&host, landing.directory)?;
                let place = Place { directory, inside: None, keep_owners: options.archive };
                pass(source.held, &landing, &place)
            }
            (CopySource::Container { id, name, path }, CopyTarget::Archive(out)) => {
                let view = self.container_tree(id)?;
                let source = container_source(&view, name, path, options.follow)?;
                self.tell_copy(id, "archive-path")?;
                let own = if rules::means_content(path) { None } else { rules::split(path).1 };
                pack::pack(source.held, own.unwrap_or(".").as_bytes(), out)
            }
            (CopySource::Host(path), CopyTarget::Container { id, name, path: target }) => {
                let host = Tree::host().map_err(Error::io("open", "/"))?;
                let source = host_source(&host, path, options.follow)?;
                let view = self.container_tree(id)?;
                let (found, target) = view.tree.find(target).map_err(Error::io("look at", target))?;
                let landing = rules::landing(path, source.is_directory, &target, found)
                    .map_err(|what| Error::Invalid { what: format!("{what} {target}") })?;
                let copied = container_place(&view, name, landing.directory)
                    .and_then(|place| pass(source.held, &landing, &place));
                let copied = copied.map_err(|error| view.explain(error, landing.directory))?;
                self.tell_copy(id, "extract-to-dir")?;
                Ok(copied)
            }
            (CopySource::Archive(input), CopyTarget::Container { id, name, path: target }) => {
                let view = self.container_tree(id)?;
                let (found, target) = view.tree.find(target).map_err(Error::io("look at", target))?;
                if found != Found::Directory {
                    return Err(Error::Invalid {
                        what: format!("destination \"{name}:{target}\" must be a directory"),
                    });
                }
                let place = container_place(&view, name, &target)?;
                let ceiling = Ceiling::of(self.settings.layer_limit);
                let mut counted = Counted { inner: Decompressor::new(input, ceiling)?, count: 0 };
                extract::extract(&mut counted, &place).map_err(|error| view.explain(error, &target))?;
                self.tell_copy(id, "extract-to-dir")?;
                Ok(counted.count)
            }
            (CopySource::Container { .. }, CopyTarget::Container { .. }) => {
                Err(Error::Invalid { what: "copying between containers is not supported".to_owned() })
            }
            _ => Err(Error::Invalid { what: "must specify at least one container source".to_owned() }),
        }
    }

    /// Writes the container's own files as a tar: what it sees, without what is mounted in it.
    ///
    /// # Errors
    /// As [`Engine::copy`].
    pub fn export(&self, id: &ContainerId, out: &mut dyn Write) -> Result<(), Error> {
        let view = self.container_tree(id)?;
        let root = view.tree.directory(b"/").map_err(Error::io("open", "/"))?;
        pack::pack_mount(&root, out)?;
        self.tell_copy(id, "export")
    }

    fn tell_copy(&self, id: &ContainerId, action: &str) -> Result<(), Error> {
        self.tell("container", action, id.as_str(), self.record(id)?.event_attributes());
        Ok(())
    }
}

/// What is to be copied, held.
struct Held {
    held: OwnedFd,
    is_directory: bool,
}

fn container_source(view: &ContainerTree, name: &str, path: &str, follow: bool) -> Result<Held, Error> {
    let missing = || Error::Invalid { what: format!("Could not find the file {path} in container {name}") };
    let held = match hold(&view.tree, path, follow) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        other => other.map_err(Error::io("look at", path))?,
    };
    // Docker's view has no /proc or /sys either.
    if pack::is_made_up(&held.held).map_err(Error::io("look at", path))? {
        return Err(missing());
    }
    Ok(held)
}

fn host_source(host: &Tree, path: &str, follow: bool) -> Result<Held, Error> {
    hold(host, path, follow).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::Invalid { what: format!("lstat {path}: no such file or directory") }
        }
        _ => Error::io("look at", path)(error),
    })
}

fn hold(tree: &Tree, path: &str, follow: bool) -> io::Result<Held> {
    let held = tree.hold(path, follow || rules::names_directory(path))?;
    let is_directory = rustix::fs::FileType::from_raw_mode(tree::stat(&held)?.st_mode).is_dir();
    if !is_directory && rules::names_directory(path) {
        return Err(rustix::io::Errno::NOTDIR.into());
    }
    Ok(Held { held, is_directory })
}

fn host_directory(host: &Tree, path: &str) -> Result<OwnedFd, Error> {
    host.directory(path.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::Invalid { what: format!("invalid output path: directory \"{path}\" does not exist") }
        }
        _ => Error::io("open", Path::new(path))(error),
    })
}

fn container_place<'v>(view: &'v ContainerTree, name: &str, directory: &'v str) -> Result<Place<'v>, Error> {
    let held = view.tree.directory(directory.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::Invalid { what: format!("Could not find the file {directory} in container {name}") }
        }
        _ => Error::io("open", directory)(error),
    })?;
    Ok(Place { directory: held, inside: Some((&view.tree, directory)), keep_owners: true })
}

/// Packs at one end of a pipe and extracts at the other.
fn pass(source: OwnedFd, landing: &Landing<'_>, place: &Place<'_>) -> Result<u64, Error> {
    let (mut reader, writer) = io::pipe().map_err(|source| Error::Kernel { act: "pipe", source })?;
    let name = landing.name.unwrap_or(".").as_bytes();
    std::thread::scope(|scope| {
        let packing =
            scope.spawn(move || pack::pack(source, name, io::BufWriter::with_capacity(128 << 10, writer)));
        let extracted = extract::extract(&mut reader, place);
        drop(reader);
        let packed = packing.join().unwrap_or_else(|_| {
            Err(Error::Invalid { what: "the thread that was to read the source has failed".to_owned() })
        });
        // Who cannot write any more because the other has failed is not the reason.
        match (extracted, packed) {
            (Err(error @ Error::Archive { .. }), Err(reason)) => {
                Err(if is_broken_pipe(&reason) { error } else { reason })
            }
            (Err(error), _) => Err(error),
            (Ok(()), packed) => packed,
        }
    })
}

fn is_broken_pipe(error: &Error) -> bool {
    error.to_string().contains("Broken pipe")
}

struct Counted<R: Read> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}
