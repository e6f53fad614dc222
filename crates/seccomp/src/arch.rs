//! The architectures whose system calls a profile can speak of.

use crate::tables;

/// An architecture, or a second set of system calls on one (x32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

/// What a profile may name beside ours; libseccomp knows them, and a filter for them never runs on our machines.
const FOREIGN: [&str; 16] = [
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
];

const ALL: [Arch; 5] = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];

/// Every architecture that a profile may name, in order; of one that is not of our family nothing comes into a program.
#[must_use]
pub fn architecture_names() -> Vec<&'static str> {
    let mut names: Vec<_> = ALL.into_iter().map(Arch::scmp_name).chain(FOREIGN).collect();
    names.sort_unstable();
    names
}

/// Set in every number of an x32 call.
pub(crate) const X32_BIT: u32 = 1 << 30;

/// Calls from here on are arm's private ones, far above the table that grows with each kernel.
pub(crate) const ARM_PRIVATE: u32 = 0x000f_0000;

impl Arch {
    /// The one that this program is built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    /// The one that this program is built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;

    /// `SCMP_ARCH_…`: `Ok(None)` for one that exists but never runs beside ours, `Err` for no architecture at all.
    pub(crate) fn parse(name: &str) -> Result<Option<Arch>, ()> {
        match name {
            "SCMP_ARCH_X86_64" => Ok(Some(Arch::X86_64)),
            "SCMP_ARCH_X86" => Ok(Some(Arch::X86)),
            "SCMP_ARCH_X32" => Ok(Some(Arch::X32)),
            "SCMP_ARCH_AARCH64" => Ok(Some(Arch::Aarch64)),
            "SCMP_ARCH_ARM" => Ok(Some(Arch::Arm)),
            foreign if FOREIGN.contains(&foreign) => Ok(None),
            _ => Err(()),
        }
    }

    pub(crate) fn scmp_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "SCMP_ARCH_X86_64",
            Arch::X86 => "SCMP_ARCH_X86",
            Arch::X32 => "SCMP_ARCH_X32",
            Arch::Aarch64 => "SCMP_ARCH_AARCH64",
            Arch::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// `AUDIT_ARCH_…` of linux/audit.h, as the kernel tells it to the program; x32 and x86-64 share one.
    #[must_use]
    pub fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// Which of these can run on this machine at all: the others of a profile are left out.
    pub(crate) fn family(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 | Arch::X86 | Arch::X32 => &[Arch::X86_64, Arch::X32, Arch::X86],
            Arch::Aarch64 | Arch::Arm => &[Arch::Aarch64, Arch::Arm],
        }
    }

    /// Whether registers have 32 bits, so that the upper half of an argument means nothing.
    pub(crate) fn is_narrow(self) -> bool {
        matches!(self, Arch::X86 | Arch::Arm)
    }

    /// The number of a call; `None` if this architecture has none of this name.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u32> {
        let calls = self.calls();
        let index = calls.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        Some(calls[index].1)
    }

    pub(crate) fn calls(self) -> &'static [(&'static str, u32)] {
        match self {
            Arch::X86_64 => tables::x86_64::CALLS,
            Arch::X86 => tables::x86::CALLS,
            Arch::X32 => tables::x32::CALLS,
            Arch::Aarch64 => tables::aarch64::CALLS,
            Arch::Arm => tables::arm::CALLS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_have_known_numbers() {
        for arch in ALL {
            assert!(arch.calls().is_sorted_by(|a, b| a.0 < b.0), "{arch:?}");
        }
        let clone3 = ALL.map(|arch| arch.number("clone3"));
        assert_eq!(clone3, [Some(435), Some(435), Some(X32_BIT | 435), Some(435), Some(435)]);
        assert_eq!(Arch::Arm.number("cacheflush"), Some(ARM_PRIVATE + 2));
        assert_eq!(Arch::Aarch64.number("open"), None);
        assert_eq!(ALL.map(|arch| Arch::parse(arch.scmp_name())), ALL.map(|arch| Ok(Some(arch))));
        assert!(architecture_names().into_iter().all(|name| Arch::parse(name).is_ok()));
    }

    /// The generator's check: what this machine's headers say is in the tables.
    #[test]
    fn the_tables_agree_with_the_headers_of_this_machine() {
        let files = [
            (Arch::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
            (Arch::X86, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
            (Arch::X32, "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h"),
            (Arch::Aarch64, "/usr/lib/linux/uapi/arm64/asm/unistd_64.h"),
            (Arch::Arm, "/usr/lib/linux/uapi/arm/asm/unistd-eabi.h"),
        ];
        for (arch, file) in files {
            let Ok(text) = std::fs::read_to_string(file) else {
                println!("skipped: no {file} here");
                continue;
            };
            let calls = crate::header::parse(&text);
            assert!(calls.len() > 250, "{file} was not understood");
            for (name, number) in calls {
                assert_eq!(arch.number(&name), Some(number), "{arch:?} {name}");
            }
        }
    }
}
