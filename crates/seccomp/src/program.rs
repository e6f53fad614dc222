//! The compiled form: instructions as the kernel takes them.

use crate::Error;

/// The most that the kernel takes (`BPF_MAXINSNS`).
pub const MOST_INSTRUCTIONS: usize = 4096;

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    /// Instructions to skip if the test holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    pub k: u32,
}

/// A program and the flags to load it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_…` for seccomp(2). With `NEW_LISTENER` (8) loading returns a descriptor that somebody has to answer on.
    pub flags: u32,
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 1 << 3;

impl Program {
    /// Whether these flags make a listener, which somebody has to answer on.
    #[must_use]
    pub fn has_listener(flags: u32) -> bool {
        flags & NEW_LISTENER != 0
    }

    /// The instructions one after another, eight bytes each, in this machine's byte order: what seccomp(2) takes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// The program of which [`Program::to_bytes`] made these. The bytes do not say the flags.
    ///
    /// # Errors
    /// [`Error::BadLength`] for a broken instruction, [`Error::TooLong`] beyond the kernel's limit.
    pub fn from_bytes(bytes: &[u8], flags: u32) -> Result<Program, Error> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Error::BadLength(bytes.len()));
        }
        if chunks.len() > MOST_INSTRUCTIONS {
            return Err(Error::TooLong(chunks.len()));
        }
        let instruction = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        Ok(Program { instructions: chunks.iter().map(instruction).collect(), flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_back() {
        let program = Program {
            instructions: vec![
                Instruction { code: 0x20, jt: 0, jf: 0, k: 4 },
                Instruction { code: 0x15, jt: 1, jf: 2, k: 0xc000_003e },
            ],
            flags: 4,
        };
        let bytes = program.to_bytes();
        assert_eq!(bytes.len(), 16);
        assert_eq!(Program::from_bytes(&bytes, 4).unwrap(), program);
        assert_eq!(Program::from_bytes(&bytes[1..], 0), Err(Error::BadLength(15)));
        assert_eq!(Program::from_bytes(&vec![0; 8 * 4097], 0), Err(Error::TooLong(4097)));
    }
}
