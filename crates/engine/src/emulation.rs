//! Programs for other processors: the kernel runs them where an emulator is registered for them (binfmt_misc, the kernel's
//! `Documentation/admin-guide/binfmt-misc.rst`). Looked up only for an image that is not for this host, and by `onggi doctor`.

use std::fs;
use std::path::Path;

/// Where the kernel lists its handlers.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// Go's names of processors that Linux images are made for, with the class (1: 32 bits, 2: 64), the byte order (1: little, 2: big)
/// and the machine of their ELF programs (elf(5), `linux/elf-em.h`).
const PROCESSORS: [(&str, u8, u8, u16); 10] = [
    ("386", 1, 1, 3),
    ("amd64", 2, 1, 62),
    ("arm", 1, 1, 40),
    ("arm64", 2, 1, 183),
    ("loong64", 2, 1, 258),
    ("mips64le", 2, 1, 8),
    ("ppc64le", 2, 1, 21),
    ("riscv64", 2, 1, 243),
    ("s390x", 2, 2, 22),
    ("sparc64", 2, 2, 43),
];

/// Whether programs for another processor run in containers here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Emulation {
    Runs,
    /// The handler opens its interpreter at each start, where the image would have to have it.
    InterpreterInside {
        interpreter: String,
    },
    None,
}

/// The processors, in Go's words, for which this host has an emulator that works in any container.
#[must_use]
pub fn emulated() -> Vec<&'static str> {
    let handlers = handlers(Path::new(HANDLERS));
    let all = PROCESSORS.iter().map(|(name, ..)| *name);
    all.filter(|name| of(name, &handlers) == Emulation::Runs).collect()
}

/// Whether this host runs programs for `architecture`, which is not its own.
pub(crate) fn of_architecture(architecture: &str) -> Emulation {
    if cfg!(target_arch = "x86_64") && architecture == "386" {
        return Emulation::Runs;
    }
    of(architecture, &handlers(Path::new(HANDLERS)))
}

/// One handler, as the kernel shows it.
#[derive(Debug, Default)]
struct Handler {
    interpreter: String,
    /// Flag F: the kernel has opened the interpreter when it was registered.
    is_open: bool,
    offset: usize,
    magic: Vec<u8>,
    /// As long as the magic, or empty: all bits count.
    mask: Vec<u8>,
}

fn of(architecture: &str, handlers: &[Handler]) -> Emulation {
    let Some(header) = header(architecture) else { return Emulation::None };
    // The kernel asks the newest first, and takes the first that agrees.
    match handlers.iter().filter(|handler| handler.takes(&header)).min_by_key(|handler| !handler.is_open) {
        Some(handler) if handler.is_open => Emulation::Runs,
        Some(handler) => Emulation::InterpreterInside { interpreter: handler.interpreter.clone() },
        None => Emulation::None,
    }
}

/// How a program for this processor begins.
fn header(architecture: &str) -> Option<[u8; 20]> {
    let (_, class, order, machine) = PROCESSORS.iter().find(|(name, ..)| *name == architecture)?;
    let two = |number: u16| if *order == 1 { number.to_le_bytes() } else { number.to_be_bytes() };
    let mut header = [0; 20];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', *class, *order, 1]);
    header[16..18].copy_from_slice(&two(2));
    header[18..].copy_from_slice(&two(*machine));
    Some(header)
}

impl Handler {
    fn takes(&self, header: &[u8]) -> bool {
        let Some(found) = header.get(self.offset..self.offset + self.magic.len()) else { return false };
        let mask = |index: usize| self.mask.get(index).copied().unwrap_or(0xff);
        !self.magic.is_empty()
            && found
                .iter()
                .zip(&self.magic)
                .enumerate()
                .all(|(index, (found, magic))| (found ^ magic) & mask(index) == 0)
    }

    /// Reads what the kernel shows of one; `None` for one that is switched off or goes by a file's name.
    fn parse(text: &str) -> Option<Handler> {
        let mut handler = Handler::default();
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        for line in lines {
            let (key, value) = line.split_once(' ')?;
            match key {
                "interpreter" => value.clone_into(&mut handler.interpreter),
                "flags:" => handler.is_open = value.contains('F'),
                "offset" => handler.offset = value.parse().ok()?,
                "magic" => handler.magic = bytes(value)?,
                "mask" => handler.mask = bytes(value)?,
                _ => {}
            }
        }
        (!handler.magic.is_empty()).then_some(handler)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, half) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if half.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

fn handlers(directory: &Path) -> Vec<Handler> {
    // Not mounted, or nothing registered: the same to who asks.
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.filter_map(|text| Handler::parse(&text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn a_handler_takes_the_programs_of_its_processor() {
        let handlers = [Handler::parse(ARM).unwrap()];
        for (architecture, expected) in [
            ("arm64", Emulation::Runs),
            ("amd64", Emulation::None),
            ("arm", Emulation::None),
            ("z80", Emulation::None),
        ] {
            assert_eq!(of(architecture, &handlers), expected, "{architecture}");
        }
    }

    #[test]
    fn a_handler_without_an_open_interpreter_needs_it_inside() {
        let closed = ARM.replace("POCF", "POC");
        let inside = Emulation::InterpreterInside {
            interpreter: "/usr/libexec/qemu-binfmt/aarch64-binfmt-P".to_owned(),
        };
        let closed = || Handler::parse(&closed).unwrap();
        assert_eq!(of("arm64", &[closed()]), inside);
        assert_eq!(of("arm64", &[closed(), Handler::parse(ARM).unwrap()]), Emulation::Runs);
    }

    #[test]
    fn what_is_no_handler_of_programs_is_passed_over() {
        for text in [
            "",
            "disabled\ninterpreter /x\nflags: \noffset 0\nmagic 7f\n",
            "enabled\ninterpreter /usr/bin/jar\nflags: \nextension .jar\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic 7f4\n",
            "enabled\ninterpreter /x\nflags: \noffset zero\nmagic 7f\n",
            "enabled",
        ] {
            assert!(Handler::parse(text).is_none(), "{text:?}");
        }
        let far = Handler { offset: 19, magic: vec![0, 0], ..Handler::default() };
        assert!(!far.takes(&[0; 20]), "beyond what a header holds");
    }

    #[test]
    fn headers_are_what_compilers_write() {
        assert_eq!(header("s390x").unwrap()[16..], [0, 2, 0, 22]);
        assert_eq!(header("arm64").unwrap()[16..], [2, 0, 183, 0]);
        assert_eq!(header("amd64").unwrap()[..7], fs::read("/proc/self/exe").unwrap()[..7]);
    }
}
