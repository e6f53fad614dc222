//! Blobs: manifests, indexes and configs, each a file named by its digest and holding exactly the bytes it was given.

use std::fs::{self, File};
use std::io::{Read, Write};

use onggi_image::{DOCUMENT_LIMIT, Digest};
use onggi_sys::fault;

use crate::act::{Act, Kept};
use crate::error::Error;
use crate::layout::{Layout, make_directory, open_file, sync_directory};

/// Puts a blob in the store, synced. The act promises to keep it until something refers to it.
pub(crate) fn put(layout: &Layout, act: &Act, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    if !digest.matches(bytes) {
        let found = Digest::of(bytes);
        return Err(Error::WrongDigest { what: "a blob".to_owned(), wanted: digest.clone(), found });
    }
    if act.keep(layout, Kept::Blob, digest)? {
        return Ok(());
    }
    let temporary = act.path("blob");
    let mut file = File::create_new(&temporary).map_err(Error::io("create", &temporary))?;
    file.write_all(bytes).map_err(Error::io("write", &temporary))?;
    fault::point("store.blob.written");
    file.sync_all().map_err(Error::io("fsync", &temporary))?;
    fault::point("store.blob.synced");
    let directory = layout.blobs().join(digest.algorithm().name());
    if !directory.is_dir() {
        make_directory(&directory)?;
        sync_directory(&layout.blobs())?;
    }
    act.publish(&temporary, &layout.blob(digest))?;
    fault::point("store.blob.renamed");
    Ok(())
}

/// Reads a blob and checks that it still is what its name says.
pub(crate) fn get(layout: &Layout, digest: &Digest) -> Result<Vec<u8>, Error> {
    let path = layout.blob(digest);
    let file = open_file(&path)?;
    let mut bytes = Vec::with_capacity(8192);
    file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
    if !digest.matches(&bytes) {
        let what = format!("the blob {}", path.display());
        return Err(Error::WrongDigest { what, wanted: digest.clone(), found: Digest::of(&bytes) });
    }
    Ok(bytes)
}

/// The digests of all blobs, and the paths of files that are none.
pub(crate) fn list(layout: &Layout) -> Result<(Vec<Digest>, Vec<std::path::PathBuf>), Error> {
    use onggi_image::Algorithm;
    let (mut digests, mut strangers) = (Vec::new(), Vec::new());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let directory = layout.blobs().join(algorithm.name());
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::io("list", &directory))?,
        };
        for entry in entries {
            let path = entry.map_err(Error::io("list", &directory))?.path();
            match path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| Digest::from_hex(algorithm, name))
            {
                Some(digest) => digests.push(digest),
                None => strangers.push(path),
            }
        }
    }
    digests.sort();
    Ok((digests, strangers))
}
