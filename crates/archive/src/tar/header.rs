//! The 512-byte header block: fields at fixed places, their meaning told by the magic at byte 257.

use super::{BLOCK, number};
use crate::Error;

/// A header block, decoded; names are as long as the block allows.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) typeflag: u8,
    pub(super) path: Vec<u8>,
    pub(super) link_path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    /// `None` when the numbers are not ones that Linux can hold (12 bits and 20 bits).
    pub(super) device: Option<(u32, u32)>,
    /// Length with holes of an old GNU sparse file (`S`).
    pub(super) real_size: u64,
}

impl Header {
    /// Decodes the block that lies at byte `at` of the tar.
    pub(super) fn parse(block: &[u8; BLOCK as usize], at: u64) -> Result<Header, Error> {
        check_sum(block, at)?;
        let field = |start: usize, length: usize, field| {
            number::parse(&block[start..start + length]).ok_or(Error::Number { at, field })
        };
        let unsigned = |start, length, name| {
            u64::try_from(field(start, length, name)?).map_err(|_| Error::Number { at, field: name })
        };
        let posix = &block[257..263] == b"ustar\0";
        let gnu = &block[257..265] == b"ustar  \0";
        let typeflag = block[156];

        let mut path = until_nul(&block[0..100]).to_vec();
        if posix {
            // star keeps times in the last bytes of the prefix and says so at the block's end.
            let prefix = if &block[508..512] == b"tar\0" { &block[345..476] } else { &block[345..500] };
            let prefix = until_nul(prefix);
            if !prefix.is_empty() {
                path = [prefix, b"/", &path].concat();
            }
        }
        let device = if matches!(typeflag, b'3' | b'4') && (posix || gnu) {
            let (major, minor) = (field(329, 8, "devmajor")?, field(337, 8, "devminor")?);
            let major = u32::try_from(major).ok().filter(|&major| major < 1 << 12);
            let minor = u32::try_from(minor).ok().filter(|&minor| minor < 1 << 20);
            major.zip(minor)
        } else {
            None
        };
        if typeflag == b'S' && !gnu {
            return Err(Error::Conflict { at, what: "a GNU sparse file in an archive that is not GNU's" });
        }
        let real_size = if typeflag == b'S' { unsigned(483, 12, "realsize")? } else { 0 };
        Ok(Header {
            typeflag,
            path,
            link_path: until_nul(&block[157..257]).to_vec(),
            // Some writers put the file type in here as well; only the permissions count.
            mode: u32::try_from(field(100, 8, "mode")? & 0o7777)
                .map_err(|_| Error::Number { at, field: "mode" })?,
            uid: field(108, 8, "uid")?,
            gid: field(116, 8, "gid")?,
            size: unsigned(124, 12, "size")?,
            mtime: field(136, 12, "mtime")?,
            device,
            real_size,
        })
    }
}

/// The sum of all bytes with the sum's own field as spaces; some old tools summed signed bytes.
fn check_sum(block: &[u8; BLOCK as usize], at: u64) -> Result<(), Error> {
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (position, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&position) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    match number::parse(&block[148..156]) {
        Some(sum) if sum == unsigned || sum == signed => Ok(()),
        _ => Err(Error::Checksum { at }),
    }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}
