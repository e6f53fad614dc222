//! A layer's tar: any bytes, with the sums of its headers put right so that the fuzzer gets behind them.

use std::io::{self, Read};

use onggi_archive::erofs::Indexer;
use onggi_archive::tar::Kind;
use onggi_archive::{Error, LayerReport, LayerSink, Limits, Lower, LowerEntry, Metadata, NoLower};

/// The index does not depend on how the tar comes, stays near its size, and is one that can be read.
pub fn check(bytes: &[u8]) {
    let mut tar = bytes.to_vec();
    for block in tar.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    check_tar(&tar);
}

/// As above, of a tar whose sums are right, looked at alone and above other layers.
pub fn check_tar(tar: &[u8]) {
    check_above(tar, &mut NoLower);
    check_above(tar, &mut Below);
}

/// A little of everything to go through and to link to, by names that the seeds have.
struct Below;

impl Lower for Below {
    fn entry(&mut self, path: &[u8]) -> io::Result<LowerEntry> {
        let metadata = Metadata { mode: 0o1777, ..Metadata::implied_directory() };
        Ok(match path {
            b"" | b"d" | b"gnu" | b"usr" | b"usr/bin" => LowerEntry::Directory(metadata),
            b"bin" => LowerEntry::Symlink(b"usr/bin".to_vec(), metadata),
            b"link" => LowerEntry::Symlink(b"/../d/.".to_vec(), metadata),
            b"loop" => LowerEntry::Symlink(b"loop".to_vec(), metadata),
            b"pipe" => LowerEntry::Special(Kind::Fifo, metadata),
            b"a" | b"d/file" | b"gnu/long" | b"usr/bin/x" => LowerEntry::File { size: 700, metadata },
            _ => LowerEntry::Missing,
        })
    }

    fn content(&mut self, _path: &[u8]) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(io::repeat(b'x').take(700)))
    }
}

fn check_above(tar: &[u8], lower: &mut dyn Lower) {
    let whole = index(tar, tar.len().max(1), lower);
    let pieces = index(tar, 97, lower);
    match (whole, pieces) {
        (Ok((report, image)), Ok((again, other))) => {
            assert_eq!(report, again);
            assert!(image == other, "another index from pieces");
            assert!(image.len() < 16 << 20, "an index of {} bytes", image.len());
            assert_eq!(report.tar_bytes, tar.len() as u64);
            crate::erofs::check(&image, report.tar_bytes);
        }
        (Err(error), Err(other)) => assert_eq!(error.to_string(), other.to_string()),
        (whole, pieces) => panic!("whole {whole:?}, in pieces {pieces:?}"),
    }
}

fn index(tar: &[u8], step: usize, lower: &mut dyn Lower) -> Result<(LayerReport, Vec<u8>), Error> {
    let limits = Limits { entries: 1000, metadata_bytes: 1 << 20, link_steps: 10_000, ..Limits::default() };
    let mut image = Vec::new();
    let mut sink = Box::new(Indexer::new(&mut image, lower, limits));
    for piece in tar.chunks(step) {
        sink.feed(piece)?;
    }
    let report = sink.finish()?;
    Ok((report, image))
}
