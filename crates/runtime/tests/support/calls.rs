//! Programs that make one system call and end with its error number: what busybox cannot ask for, tests do with these.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How a call is made on x86-64.
#[derive(Clone, Copy)]
pub enum By {
    Syscall,
    /// As i386 programs do, by their numbers: `int 0x80`.
    Interrupt,
}

/// An argument of a call.
#[derive(Clone, Copy)]
pub enum Argument {
    Number(u64),
    /// The address of the program's data.
    Data,
}

const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 0x78;

/// Writes an executable that makes the call and exits with 0, or with the error's number.
pub fn write(path: &Path, by: By, call: u32, arguments: [Argument; 4], data: &[u8]) {
    // The registers of the first four arguments: rdi, rsi, rdx, r10; each `mov` has ten bytes.
    const MOVES: [[u8; 2]; 4] = [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba]];
    let begin = |call: u32, by: By| {
        let mut code = vec![0xb8]; // mov eax, call
        code.extend_from_slice(&call.to_le_bytes());
        code.extend_from_slice(match by {
            By::Syscall => &[0x0f, 0x05],
            By::Interrupt => &[0xcd, 0x80],
        });
        code
    };
    let mut end = begin(call, by);
    end.extend_from_slice(&[0xf7, 0xd8, 0x89, 0xc7]); // neg eax; mov edi, eax
    end.extend(begin(60, By::Syscall));
    let address = BASE + HEADERS + 40 + end.len() as u64;
    let mut code = Vec::new();
    for (register, argument) in MOVES.iter().zip(arguments) {
        code.extend_from_slice(register);
        let value = match argument {
            Argument::Number(number) => number,
            Argument::Data => address,
        };
        code.extend_from_slice(&value.to_le_bytes());
    }
    code.extend(end);
    code.extend_from_slice(data);
    std::fs::write(path, executable(&code)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// ELF for x86-64 with one segment that can be read and executed.
fn executable(code: &[u8]) -> Vec<u8> {
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u64]| {
        values.iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
    };
    // An executable (2) for x86-64 (62), where it begins, and where its one program header is.
    halves(&mut file, &[2, 62, 1, 0]);
    words(&mut file, &[BASE + HEADERS, 64, 0]);
    halves(&mut file, &[0, 0, 64, 56, 1, 0, 0, 0]);
    // Load (1) all of it, to be read and executed (5).
    halves(&mut file, &[1, 0, 5, 0]);
    words(&mut file, &[0, BASE, BASE, size, size, 0x1000]);
    file.extend_from_slice(code);
    file
}
