//! Chance: numbers that nobody can guess, from the kernel, and cheap ones for shuffling.

use rustix::rand::{GetRandomFlags, getrandom};

/// A number that nobody can guess, for the ids of queries.
///
/// # Errors
/// `getrandom(2)`'s.
pub fn unguessable() -> rustix::io::Result<u16> {
    let mut bytes = [0; 2];
    // The kernel gives as little as this whole, or not at all.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

/// Cheap numbers (xorshift64*), which may be guessed by who has seen enough of them.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins where nobody knows.
    #[must_use]
    pub fn new() -> Random {
        let mut bytes = [0; 8];
        // Without it the order is the same each time, which is still an order.
        let _ = getrandom(&mut bytes, GetRandomFlags::empty());
        Random::from_seed(u64::from_ne_bytes(bytes))
    }

    /// The same numbers each time, for tests.
    #[must_use]
    pub fn from_seed(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        // For the few hundred things that are ever shuffled the unevenness of this is below one in a million.
        ((number * end as u64) >> 32) as usize
    }

    /// Puts things into an order by chance, each as likely as any other.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

impl Default for Random {
    fn default() -> Random {
        Random::new()
    }
}
