//! Makes the image that `bench/pull` moves: `onggi-bench-image NAME FILE` writes a `docker save` archive of 450 MB, four layers and 15,000 files;
//! two more numbers make it smaller (megabytes and files), a fifth word adds a layer with one small file of that content.
//!
//! The same arguments give the same bytes. The files are no copies of a system's, so that nobody needs one; they are as large, as many in a directory and
//! shrink by as much (to about a third with gzip) as those of a Debian with Python.

#![allow(clippy::print_stderr, reason = "a program of the benchmarks; what it says is its purpose")]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use onggi_testkit::sha256_hex;
use serde_json::json;

/// Parts of the whole that the layers have, in hundredths: a system, a language, libraries, an application.
const LAYERS: [usize; 4] = [30, 40, 20, 10];
const FILES_IN_A_DIRECTORY: usize = 40;
const BLOCK: usize = 512;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: usize| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let (Some(name), Some(path)) = (arguments.first(), arguments.get(1)) else { return usage() };
    let (Some(megabytes), Some(files)) = (number(2, 450), number(3, 15_000)) else { return usage() };
    match write(name, path, megabytes * 1_000_000, files, arguments.get(4).map(String::as_str)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: onggi-bench-image NAME FILE [MEGABYTES FILES [TEXT]]");
    ExitCode::from(2)
}

fn write(name: &str, path: &str, bytes: usize, files: usize, extra: Option<&str>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    let mut add = |out: &mut BufWriter<File>, layer: Vec<u8>| -> io::Result<()> {
        let digest = sha256_hex(&layer);
        let member = format!("{digest}/layer.tar");
        put(out, &member, &layer)?;
        layers.push(member);
        diff_ids.push(format!("sha256:{digest}"));
        Ok(())
    };
    for (number, part) in LAYERS.into_iter().enumerate() {
        add(&mut out, layer(number, bytes * part / 100, files * part / 100)?)?;
    }
    if let Some(text) = extra {
        let mut layer = Vec::new();
        put(&mut layer, "small", text.as_bytes())?;
        add(&mut out, ended(layer))?;
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z", "config": { "Cmd": ["/none"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string();
    let member = format!("{}.json", sha256_hex(config.as_bytes()));
    put(&mut out, &member, config.as_bytes())?;
    let manifest = json!([{ "Config": member, "RepoTags": [name], "Layers": layers }]);
    put(&mut out, "manifest.json", manifest.to_string().as_bytes())?;
    out.write_all(&[0; 2 * BLOCK])?;
    out.flush()
}

/// One layer's tar: most files are small, and most bytes are in large ones.
fn layer(number: usize, bytes: usize, files: usize) -> io::Result<Vec<u8>> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
    let words: Vec<Vec<u8>> = (0..1200)
        .map(|_| {
            let length = 6 + chance.below(20);
            chance.bytes(length)
        })
        .collect();
    // A file's share of the layer grows with the fourth power of a chance: a mean of a fifth of the largest.
    let shares: Vec<f64> =
        (0..files).map(|_| (chance.below(1 << 20) as f64 / f64::from(1 << 20)).powi(4)).collect();
    let whole: f64 = shares.iter().sum();
    let mut tar = Vec::with_capacity(bytes + files * 2 * BLOCK);
    header(&mut tar, &format!("layer{number}/"), 0, b'5')?;
    for (at, share) in shares.into_iter().enumerate() {
        let directory = format!("layer{number}/directory{:03}/", at / FILES_IN_A_DIRECTORY);
        if at % FILES_IN_A_DIRECTORY == 0 {
            header(&mut tar, &directory, 0, b'5')?;
        }
        let content = content(&mut chance, &words, (bytes as f64 * share / whole) as usize);
        put(&mut tar, &format!("{directory}file{at:05}"), &content)?;
    }
    Ok(ended(tar))
}

/// Words, some far more often than others, and bytes that nothing shrinks between them.
fn content(chance: &mut Chance, words: &[Vec<u8>], length: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(length + 16);
    while content.len() < length {
        let choice = chance.below(1 << 16);
        if choice.is_multiple_of(16) {
            content.extend(chance.bytes(4));
        }
        content.extend_from_slice(&words[(((choice * choice) >> 16) * words.len()) >> 16]);
    }
    content.truncate(length);
    content
}

fn ended(mut tar: Vec<u8>) -> Vec<u8> {
    tar.extend([0; 2 * BLOCK]);
    tar
}

/// A file's header, its bytes and what fills the last block.
fn put(tar: &mut impl Write, name: &str, content: &[u8]) -> io::Result<()> {
    header(tar, name, content.len(), b'0')?;
    tar.write_all(content)?;
    tar.write_all(&[0; BLOCK][..content.len().next_multiple_of(BLOCK) - content.len()])
}

/// A ustar header (POSIX.1-2017, pax): for names that fit, and in octal.
fn header(tar: &mut impl Write, name: &str, size: usize, kind: u8) -> io::Result<()> {
    let mode = if kind == b'5' { 0o755 } else { 0o644 };
    let mut block = [0; BLOCK];
    let mut field = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, &format!("{mode:07o}"));
    field(108, "0000000");
    field(116, "0000000");
    field(124, &format!("{size:011o}"));
    field(136, &format!("{:011o}", 1_767_225_600));
    field(148, "        ");
    field(257, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.write_all(&block)
}

/// xorshift64*: the same numbers everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 56) as u8).collect()
    }
}
