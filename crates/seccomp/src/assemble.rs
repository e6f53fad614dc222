//! Classic BPF from its end to its beginning: jumps go forward only, so whoever writes backwards knows every target.
//!
//! A jump reaches 255 instructions; what is farther is reached over a `ja` that is put between, or, for a return, by returning there.

use std::collections::HashMap;

use crate::error::Error;
use crate::profile::Action;
use crate::program::{Instruction, MOST_INSTRUCTIONS};

// Codes of linux/bpf_common.h, as seccomp's checker takes them.
pub(crate) const LOAD_WORD: u16 = 0x20;
pub(crate) const AND: u16 = 0x54;
pub(crate) const JUMP: u16 = 0x05;
pub(crate) const JUMP_IF_EQUAL: u16 = 0x15;
pub(crate) const JUMP_IF_GREATER: u16 = 0x25;
pub(crate) const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
pub(crate) const RETURN: u16 = 0x06;

/// A place in the program: an index from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// A conditional jump has eight bits; one place is kept for the trampoline of its other arm.
const REACH: usize = 254;

#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The last instruction first.
    code: Vec<Instruction>,
    returns: HashMap<Action, Label>,
}

impl Assembler {
    /// A place that returns this; the nearest one that there is already, if it can be reached.
    pub(crate) fn give(&mut self, action: Action) -> Label {
        if let Some(&label) = self.returns.get(&action)
            && self.distance(label) <= REACH
        {
            return label;
        }
        let label = self.push(RETURN, 0, 0, action.0);
        self.returns.insert(action, label);
        label
    }

    /// Loads a word of `struct seccomp_data` and goes on at `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.go_on(next);
        self.push(LOAD_WORD, 0, 0, offset)
    }

    /// Keeps these bits of what was loaded and goes on at `next`.
    pub(crate) fn mask(&mut self, bits: u32, next: Label) -> Label {
        self.go_on(next);
        self.push(AND, 0, 0, bits)
    }

    /// Compares what was loaded.
    pub(crate) fn branch(&mut self, test: u16, value: u32, holds: Label, fails: Label) -> Label {
        if holds == fails {
            return holds;
        }
        let holds = self.near(holds);
        let fails = self.near(fails);
        let (jt, jf) = (self.distance(holds) as u8, self.distance(fails) as u8);
        self.push(test, jt, jf, value)
    }

    /// Whether a jump from here reaches this without a trampoline.
    pub(crate) fn reaches(&self, label: Label) -> bool {
        self.distance(label) <= REACH
    }

    /// The program, which begins at `start`.
    pub(crate) fn finish(mut self, start: Label) -> Result<Vec<Instruction>, Error> {
        self.go_on(start);
        if self.code.len() > MOST_INSTRUCTIONS {
            return Err(Error::TooLong(self.code.len()));
        }
        self.code.reverse();
        Ok(self.code)
    }

    /// Makes the next instruction to be written fall into `label`.
    fn go_on(&mut self, label: Label) {
        let distance = self.distance(label);
        if distance > 0 {
            self.push(JUMP, 0, 0, distance as u32);
        }
    }

    fn near(&mut self, label: Label) -> Label {
        let distance = self.distance(label);
        if distance <= REACH { label } else { self.push(JUMP, 0, 0, distance as u32) }
    }

    /// How many instructions the next one to be written has to skip.
    fn distance(&self, label: Label) -> usize {
        self.code.len() - 1 - label.0
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.code.push(Instruction { code, jt, jf, k });
        Label(self.code.len() - 1)
    }
}
