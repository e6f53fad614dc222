//! The seccomp profile: what the compiled program answers is what the profile says.

use onggi_oci::Seccomp;
use onggi_seccomp::{Arch, MOST_INSTRUCTIONS, Program, compile, says};

/// So many calls are asked about: each number that the bytes end with, and its neighbours.
const CALLS: usize = 8;

/// The program is one that the kernel would load, and gives the profile's own answers.
pub fn check(bytes: &[u8]) {
    let (profile, calls) = bytes.split_at(bytes.len().saturating_sub(CALLS * 4));
    let Ok(profile) = onggi_oci::parse::<Seccomp>(profile).or_else(|_| onggi_oci::parse(bytes)) else {
        return;
    };
    let Ok(program) = compile(&profile, Arch::NATIVE) else { return };
    assert!((1..=MOST_INSTRUCTIONS).contains(&program.instructions.len()));
    let again = Program::from_bytes(&program.to_bytes(), program.flags).expect("it was one before");
    assert_eq!(again.instructions, program.instructions);
    let numbers =
        calls.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2] & 3, word[3] & 0x40]));
    for (place, number) in numbers.enumerate() {
        let argument = u64::from(number).rotate_left(place as u32 * 8);
        let arguments = [argument, 0, !0, u64::from(number), argument ^ 1, 1 << 32];
        for number in [number, number % 512, number.wrapping_add(1)] {
            for audit in [Arch::X86_64, Arch::X86, Arch::Aarch64].map(Arch::audit) {
                says(&profile, &program, number, audit, arguments);
            }
        }
    }
}
