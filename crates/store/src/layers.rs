//! Layers: each a directory named by its diff id, with the very tar that the diff id names, the EROFS index over it, and a sealed record.
//!
//! A layer comes in by one pass: the stream is hashed, decompressed, hashed again, written, indexed and, where layers are trees, unpacked at once, into the act's own directory.
//! Only when both digests are what the manifest and the config say is it renamed into place; nothing of it can be seen before.
//!
//! A layer may hold `etc/x` without `etc/`. Overlayfs takes a directory's owner and permissions from the topmost layer that has it, so such
//! an implied directory must repeat what the layers below say, which differs from image to image. The plain index gives implied directories
//! to root with 0755; where that is wrong above certain layers, a second index is made for there: a *variant*, a file named by its own digest. A hard
//! link to what only the layers below have binds a layer to them in the same way: the plain index leaves it out, the variant holds a copy of what it leads to.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use onggi_archive::compress::Ceiling;
use onggi_archive::erofs::Indexer;
use onggi_archive::{LayerReport, LayerSink, Limits, Lower, LowerEntry, Metadata, NoLower};
use onggi_error::{Diagnose, Kind};
use onggi_image::{Algorithm, Descriptor, Digest, Hasher};
use onggi_record::Durability;
use onggi_sys::fault;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::act::{Act, Kept, StoreLock, make_in, remove_tree};
use crate::error::Error;
use crate::layout::{Layout, open_file, sync_directory};
use crate::lower::LowerLayers;
use crate::pipe::{self, check_digest};
use crate::records::LayerUse;
use crate::streamed::{StreamedFile, sync_together};
use crate::types::Progress;

/// The second has `links_below`. A layer without any is written as the first, which older programs read as well.
const VERSION: u32 = 2;
pub(crate) const TAR: &str = "layer.tar";
pub(crate) const INDEX: &str = "layer.erofs";
pub(crate) const RECORD: &str = "layer.json";
const KEPT: &str = ".blob";
/// The tree that is right wherever no variant is.
pub(crate) const PLAIN_TREE: &str = "tree";
const TREE_OF_VARIANT: &str = "tree-";
/// Implied directories that are listed in the record; a layer with more is indexed again instead of looking at each.
const IMPLIED_LIMIT: usize = 10_000;
/// Blobs that a record lists; beyond, the oldest is forgotten, and has to be fetched once more when it is met again.
const BLOBS_LIMIT: usize = 64;

/// `layer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) version: u32,
    pub(crate) diff_id: Digest,
    /// Bytes of the tar.
    pub(crate) size: u64,
    pub(crate) entries: u64,
    pub(crate) inodes: u64,
    /// The plain index's digest.
    pub(crate) index: Digest,
    /// The directories that the tar only implies; `None` if there are too many, or their names are not text.
    pub(crate) implied: Option<Vec<String>>,
    /// It has hard links to what it did not hold when they came, so it can only be used as its place above others says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) links_below: bool,
    /// The streams that were found to hold this tar: what a manifest may call this layer. A manifest that names another blob for it may lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<KnownBlob>,
}

/// A layer as it came, compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownBlob {
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
}

impl LayerRecord {
    /// Whether a blob is known to hold this layer.
    pub(crate) fn is_held_by(&self, blob: (&Digest, u64)) -> bool {
        blob == (&self.diff_id, self.size)
            || self.blobs.iter().any(|known| blob == (&known.digest, known.size))
    }

    /// Whether it may look otherwise above other layers; `lowest`: there are none.
    pub(crate) fn depends_on_place(&self, lowest: bool) -> bool {
        self.links_below || !lowest && self.implied.as_ref().is_none_or(|implied| !implied.is_empty())
    }
}

/// What a layer must turn out to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// What the archive calls it, for messages and progress.
    pub(crate) what: &'a str,
    /// Digest and size of the stream as it comes, if something says them.
    pub(crate) blob: Option<(&'a Digest, u64)>,
    pub(crate) diff_id: Option<&'a Digest>,
    /// Bytes of the stream, for progress.
    pub(crate) total: Option<u64>,
    /// Keep the stream as it comes, beside the tar.
    pub(crate) keep: bool,
    /// How far it may grow while it is decompressed.
    pub(crate) ceiling: Ceiling,
}

impl Expected<'_> {
    /// The stream to keep, by its digest. One that is no more than the tar is kept as the tar.
    fn kept(&self) -> Option<&Digest> {
        let (blob, _) = self.blob.filter(|_| self.keep)?;
        (Some(blob) != self.diff_id).then_some(blob)
    }
}

/// The file of a stream that was kept as it came, in its layer's directory.
pub(crate) fn kept_file(blob: &Digest) -> String {
    format!("{}{KEPT}", blob.hex())
}

/// Where a layer's blob was kept as it came, if it was, as long as it should be.
pub(crate) fn kept_blob(layout: &Layout, diff_id: &Digest, layer: &Descriptor) -> Option<PathBuf> {
    let path = layout.layer(diff_id).join(kept_file(&layer.digest));
    fs::metadata(&path).is_ok_and(|metadata| metadata.len() == layer.size).then_some(path)
}

/// The digest that such a file's name says.
pub(crate) fn digest_of_kept(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(KEPT)?;
    [Algorithm::Sha256, Algorithm::Sha512].into_iter().find_map(|algorithm| Digest::from_hex(algorithm, hex))
}

/// What a layer has turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ingested {
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
}

/// Brings a layer into the store, verified. The act keeps it until an image refers to it.
pub(crate) fn ingest(
    store: &Store,
    act: &Act,
    stream: &mut dyn Read,
    expected: &Expected<'_>,
    progress: &dyn Progress,
) -> Result<Ingested, Error> {
    let layout = &store.layout;
    if let Some(diff_id) = expected.diff_id
        && act.keep(layout, Kept::Layer, diff_id)?
    {
        let here = verify_stream(layout, diff_id, stream, expected, progress)?;
        if let Some(blob) = blob_of(expected, diff_id) {
            remember_blob(layout, diff_id, blob)?;
        }
        return Ok(here);
    }
    let directory = make_in(act, "layer")?;
    let copy =
        expected.kept().map(|blob| pipe::Copy::create(&directory.join(kept_file(blob)))).transpose()?;
    let (written, diff_id) = pipe::pump(stream, expected, copy, progress, |pieces| {
        write(store, act, &directory, expected, pieces)
    })?;
    let report = &written.report;
    let record = LayerRecord {
        version: if report.links_below { VERSION } else { 1 },
        diff_id: diff_id.clone(),
        size: report.tar_bytes,
        entries: report.entries,
        inodes: report.inodes,
        index: written.index_digest.clone(),
        implied: implied(report),
        links_below: report.links_below,
        blobs: blob_of(expected, &diff_id).into_iter().collect(),
    };
    onggi_record::write(&directory.join(RECORD), &record, Durability::Volatile)?;
    fault::point("store.layer.recorded");
    written.sync(&directory)?;
    fault::point("store.layer.synced");
    if expected.diff_id.is_none() {
        act.keep(layout, Kept::Layer, &diff_id)?;
    }
    act.publish(&directory, &layout.layer(&diff_id))?;
    fault::point("store.layer.renamed");
    Ok(Ingested { diff_id, size: record.size })
}

/// A layer's files in the act's own directory, not yet on the disk.
struct Written {
    report: LayerReport,
    tar: StreamedFile,
    index: StreamedFile,
    index_digest: Digest,
    /// Where there is a tree, too: what it is synced by.
    tree: Option<OwnedFd>,
}

/// Makes all that a layer is kept as of its tar.
fn write(
    store: &Store,
    act: &Act,
    directory: &Path,
    expected: &Expected<'_>,
    pieces: &mut pipe::Pieces<'_>,
) -> Result<Written, Error> {
    let mut tar = StreamedFile::create(&directory.join(TAR))?;
    let mut index = HashingFile::create(&directory.join(INDEX))?;
    let (mut lower, mut below) = (NoLower, NoLower);
    let mut sink = Box::new(Indexer::new(&mut index, &mut lower, Limits::default()));
    let trees = store.only_trees();
    let mut tree = trees.map(|trees| trees.begin(act, &mut below, expected.what)).transpose()?;
    while let Some(bytes) = pieces.next()? {
        tar.write(bytes)?;
        sink.feed(bytes).map_err(Error::archive(expected.what))?;
        if let Some(tree) = &mut tree {
            tree.feed(bytes);
        }
    }
    let report = sink.finish().map_err(Error::archive(expected.what))?;
    fault::point("store.layer.written");
    // Nothing is right without what such links lead to: it is unpacked for its place.
    let tree = tree.filter(|_| !report.links_below);
    let tree = tree.map(|tree| tree.finish(directory)).transpose()?.flatten();
    let (index, index_digest) = index.finish()?;
    Ok(Written { report, tar, index, index_digest, tree })
}

impl Written {
    /// Returns when the directory is on the disk with all that is in it, the record as well.
    fn sync(self, directory: &Path) -> Result<(), Error> {
        if let Some(tree) = self.tree {
            // The only call for thousands of files. It takes the others along.
            return rustix::fs::syncfs(tree).map_err(Error::io("syncfs", directory));
        }
        let path = directory.join(RECORD);
        let record = File::open(&path).map_err(Error::io("open", &path))?;
        sync_together([self.tar, self.index, StreamedFile::of(record, &path)])?;
        sync_directory(directory)
    }
}

/// The stream of a layer that is here already: it must still be what it is said to be, or the manifest would tell a lie.
fn verify_stream(
    layout: &Layout,
    diff_id: &Digest,
    stream: &mut dyn Read,
    expected: &Expected<'_>,
    progress: &dyn Progress,
) -> Result<Ingested, Error> {
    pipe::pump(stream, expected, None, progress, |pieces| {
        while pieces.next()?.is_some() {}
        Ok(())
    })?;
    Ok(Ingested { diff_id: diff_id.clone(), size: read_record(layout, diff_id)?.size })
}

/// What a stream that has been verified is known as; nothing if it was nothing but the tar.
fn blob_of(expected: &Expected<'_>, diff_id: &Digest) -> Option<KnownBlob> {
    let (digest, size) = expected.blob.filter(|(digest, _)| *digest != diff_id)?;
    Some(KnownBlob { digest: digest.clone(), size })
}

/// Notes that a blob was found to hold a layer.
pub(crate) fn remember_blob(layout: &Layout, diff_id: &Digest, blob: KnownBlob) -> Result<(), Error> {
    // Two at once must not forget each other's.
    let _guard = StoreLock::take(layout)?;
    let mut record = read_record(layout, diff_id)?;
    if record.is_held_by((&blob.digest, blob.size)) {
        return Ok(());
    }
    if record.blobs.len() >= BLOBS_LIMIT {
        record.blobs.remove(0);
    }
    record.blobs.push(blob);
    // Synced, since the layer is nothing without its record.
    onggi_record::write(&layout.layer(diff_id).join(RECORD), &record, Durability::Synced)?;
    fault::point("store.layer.blob-remembered");
    Ok(())
}

/// Whether a blob is known to hold a layer that is here: it was fetched and found to, once.
pub(crate) fn is_held_by(layout: &Layout, diff_id: &Digest, blob: (&Digest, u64)) -> Result<bool, Error> {
    Ok(read_record(layout, diff_id)?.is_held_by(blob))
}

fn implied(report: &LayerReport) -> Option<Vec<String>> {
    if report.implied_dirs.len() > IMPLIED_LIMIT {
        return None;
    }
    report.implied_dirs.iter().map(|path| String::from_utf8(path.clone()).ok()).collect()
}

/// Reads a layer's record.
pub(crate) fn read_record(layout: &Layout, diff_id: &Digest) -> Result<LayerRecord, Error> {
    let path = layout.layer(diff_id).join(RECORD);
    let record: LayerRecord = match onggi_record::read(&path) {
        Err(error) if error.kind() == Kind::NotFound => {
            return Err(Error::MissingLayer { diff_id: diff_id.clone() });
        }
        other => other?,
    };
    if record.version > VERSION {
        return Err(Error::newer(path, record.version, VERSION));
    }
    if record.diff_id != *diff_id {
        return Err(Error::damaged(path, "it is the record of another layer"));
    }
    Ok(record)
}

/// The file name of the index that shows a layer in the place where it is used.
pub(crate) fn index_file(variant: Option<&str>) -> String {
    variant.map_or_else(|| INDEX.to_owned(), |variant| format!("{variant}.erofs"))
}

/// The variants that a layer has, and where each lies in either form, which may be missing.
pub(crate) fn variants(layout: &Layout, diff_id: &Digest) -> Result<Vec<String>, Error> {
    let directory = layout.layer(diff_id);
    let mut variants = Vec::new();
    for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
        let name = entry.map_err(Error::io("list", &directory))?.file_name();
        let name = name.to_string_lossy();
        let variant = name.strip_prefix(TREE_OF_VARIANT).or_else(|| name.strip_suffix(".erofs"));
        variants.extend(
            variant.filter(|name| Digest::from_hex(Algorithm::Sha256, name).is_some()).map(str::to_owned),
        );
    }
    variants.sort();
    variants.dedup();
    Ok(variants)
}

/// Where the tree of a layer lies, in the place where it is used.
pub(crate) fn tree(layout: &Layout, layer: &LayerUse) -> PathBuf {
    let variant = layer.variant.as_ref();
    let name = variant.map_or_else(|| PLAIN_TREE.to_owned(), |variant| format!("{TREE_OF_VARIANT}{variant}"));
    layout.layer(&layer.diff_id).join(name)
}

/// Finds, or makes, the variant of a layer for its place above others. `lower` are directories of those, the topmost first. `None`: the
/// plain index is right there.
pub(crate) fn variant(
    layout: &Layout,
    act: &Act,
    diff_id: &Digest,
    lower: &[PathBuf],
) -> Result<Option<String>, Error> {
    let record = read_record(layout, diff_id)?;
    let mut lower = LowerLayers::open(lower)?;
    if let (Some(implied), false) = (&record.implied, record.links_below) {
        let plain = Metadata::implied_directory();
        let mut differs = false;
        for path in implied {
            let found = lower
                .entry(path.as_bytes())
                .map_err(Error::io("look for a directory in", layout.layer(diff_id)))?;
            differs |= match found {
                LowerEntry::Directory(metadata) => metadata != plain,
                LowerEntry::Symlink(..) => true,
                _ => false,
            };
        }
        if !differs {
            return Ok(None);
        }
    }
    let temporary = act.path("variant");
    let digest = make_index(layout, diff_id, &temporary, &mut lower)?;
    if digest == record.index {
        return Ok(None);
    }
    fault::point("store.layer.variant-written");
    let variant = digest.hex().to_owned();
    act.publish(&temporary, &layout.layer(diff_id).join(index_file(Some(&variant))))?;
    fault::point("store.layer.variant-renamed");
    Ok(Some(variant))
}

/// What the tar of a layer that is here may ask for. How much padding it may have was judged when it came, perhaps by a program that allowed more.
pub(crate) fn limits_of_kept() -> Limits {
    Limits { padding_bytes: u64::MAX, ..Limits::default() }
}

/// Indexes a layer's tar into a new file, synced. Returns the index's digest.
pub(crate) fn make_index(
    layout: &Layout,
    diff_id: &Digest,
    to: &Path,
    lower: &mut dyn Lower,
) -> Result<Digest, Error> {
    let tar_path = layout.layer(diff_id).join(TAR);
    let mut tar = open_file(&tar_path)?;
    let mut index = HashingFile::create(to)?;
    onggi_archive::index(&mut tar, None, &mut index, lower, limits_of_kept())
        .map_err(Error::archive(format!("the layer {diff_id}")))?;
    let (index, digest) = index.finish()?;
    index.sync()?;
    Ok(digest)
}

/// Puts a new plain index in the place of one that is damaged. The record says what it must be.
pub(crate) fn repair_index(layout: &Layout, act: &Act, record: &LayerRecord) -> Result<(), Error> {
    let temporary = act.path("index");
    let digest = make_index(layout, &record.diff_id, &temporary, &mut NoLower)?;
    check_digest(&format!("the new index of the layer {}", record.diff_id), &record.index, Some(digest))?;
    let place = layout.layer(&record.diff_id).join(INDEX);
    if place.symlink_metadata().is_ok_and(|data| !data.is_file()) {
        // No file takes a directory's name.
        remove_tree(&place)?;
    }
    fs::rename(&temporary, &place).map_err(Error::io("rename", &temporary))?;
    sync_directory(&layout.layer(&record.diff_id))
}

/// The digest of a whole file.
pub(crate) fn digest_file(path: &Path, algorithm: Algorithm) -> Result<Digest, Error> {
    let mut file = open_file(path)?;
    let mut hasher = Hasher::new(algorithm);
    std::io::copy(&mut file, &mut hasher).map_err(Error::io("read", path))?;
    Ok(hasher.finish())
}

/// The diff ids of all layers, and the paths of what is none.
pub(crate) fn list(layout: &Layout) -> Result<(Vec<Digest>, Vec<PathBuf>), Error> {
    let directory = layout.layers();
    let (mut layers, mut strangers) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
        let path = entry.map_err(Error::io("list", &directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digest = [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find_map(|algorithm| Digest::from_hex(algorithm, name));
        match digest {
            Some(digest) => layers.push(digest),
            None => strangers.push(path),
        }
    }
    layers.sort();
    Ok((layers, strangers))
}

/// A file that is hashed as it is written.
struct HashingFile {
    file: BufWriter<File>,
    hasher: Hasher,
    path: PathBuf,
}

impl HashingFile {
    fn create(path: &Path) -> Result<HashingFile, Error> {
        let file = File::create_new(path).map_err(Error::io("create", path))?;
        Ok(HashingFile {
            file: BufWriter::with_capacity(64 << 10, file),
            hasher: Hasher::new(Algorithm::Sha256),
            path: path.to_owned(),
        })
    }

    /// The file, not yet synced, and its digest.
    fn finish(self) -> Result<(StreamedFile, Digest), Error> {
        let file =
            self.file.into_inner().map_err(|error| Error::io("write", &self.path)(error.into_error()))?;
        Ok((StreamedFile::of(file, &self.path), self.hasher.finish()))
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
