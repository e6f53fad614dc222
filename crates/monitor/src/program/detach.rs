//! Finds the detach keys in what a client types.
//!
//! Bytes that may be the beginning of the sequence are held back until it is clear that they are not; then they are let through in
//! their order. A small automaton (Knuth, Morris, Pratt), so that `^P^P^Q` detaches with the keys `^P^Q`.

use serde::{Deserialize, Serialize};

use crate::protocol::MAX_DETACH_KEYS;

/// The keys of one client and how many of them it has typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

impl DetachKeys {
    /// `None` if the sequence is longer than [`MAX_DETACH_KEYS`]. An empty one never detaches.
    pub(crate) fn new(keys: Vec<u8>) -> Option<DetachKeys> {
        (keys.len() <= MAX_DETACH_KEYS).then_some(DetachKeys { keys, typed: 0 })
    }

    /// Whether bytes must be looked at at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Appends to `out` what goes through. `true`: the sequence is complete, what follows it is dropped.
    pub(crate) fn filter(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in input {
            loop {
                if self.keys.get(self.typed) == Some(&byte) {
                    self.typed += 1;
                    if self.typed == self.keys.len() {
                        return true;
                    }
                    break;
                }
                if self.typed == 0 {
                    out.push(byte);
                    break;
                }
                // The longest end of what was typed that is again a beginning stays held back; the rest goes through.
                let shorter =
                    (1..self.typed).rev().find(|&n| self.keys[..n] == self.keys[self.typed - n..self.typed]);
                let shorter = shorter.unwrap_or(0);
                out.extend_from_slice(&self.keys[..self.typed - shorter]);
                self.typed = shorter;
            }
        }
        false
    }

    /// The client's side has ended: what was held back was not the sequence.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.keys[..self.typed]);
        self.typed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut automaton = DetachKeys::new(keys.to_vec()).unwrap();
        let mut out = Vec::new();
        for piece in pieces {
            if automaton.filter(piece, &mut out) {
                return (out, true);
            }
        }
        automaton.flush(&mut out);
        (out, false)
    }

    #[test]
    fn sequences_are_found_wherever_they_are_cut() {
        const PQ: &[u8] = &[16, 17];
        for (keys, pieces, through, detached) in [
            (PQ, &[&b"ls\n"[..]][..], &b"ls\n"[..], false),
            (PQ, &[b"ls\n\x10\x11lost"], b"ls\n", true),
            (PQ, &[b"a\x10", b"\x11"], b"a", true),
            (PQ, &[b"a\x10", b"b"], b"a\x10b", false),
            (PQ, &[b"\x10\x10\x11"], b"\x10", true),
            (PQ, &[b"\x10"], b"\x10", false),
            (PQ, &[b"\x11\x10"], b"\x11\x10", false),
            (b"", &[b"\x10\x11"], b"\x10\x11", false),
            (b"aab", &[b"aaab"], b"a", true),
            (b"abab", &[b"aba", b"bab"], b"", true),
            (b"abab", &[b"abaabab"], b"aba", true),
            (b"x", &[b"yx"], b"y", true),
        ] {
            assert_eq!(run(keys, pieces), (through.to_vec(), detached), "{keys:?} {pieces:?}");
        }
    }

    #[test]
    fn every_byte_without_the_sequence_comes_through_in_order() {
        let input: Vec<u8> = (0..2000_u32).map(|n| b"ababc"[(n * n % 7 % 5) as usize]).collect();
        let (whole, _) = run(b"zzz", &[&input]);
        assert_eq!(whole, input);
        let pieces: Vec<&[u8]> = input.chunks(3).collect();
        let (out, detached) = run(b"ccccc", &pieces);
        assert!(!detached);
        assert_eq!(out, input);
    }

    #[test]
    fn too_long_a_sequence_is_refused() {
        assert_eq!(DetachKeys::new(vec![0; MAX_DETACH_KEYS + 1]), None);
    }
}
