//! The child's part of a plan, where its parent has it: in a file from another process, or in its own memory, of which the child is a copy.

use std::borrow::Cow;
use std::io;
use std::os::fd::BorrowedFd;

use crate::plan::{Plan, Step};

/// Steps, and the seccomp program.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// As [`crate::encode`] writes it.
    File(BorrowedFd<'a>),
    /// Who has planned itself need not write it down for itself.
    Memory { steps: &'a [Step], filter: &'a [u8] },
}

impl<'a> From<BorrowedFd<'a>> for Part<'a> {
    fn from(file: BorrowedFd<'a>) -> Part<'a> {
        Part::File(file)
    }
}

impl<'a> From<&'a Plan> for Part<'a> {
    fn from(plan: &'a Plan) -> Part<'a> {
        Part::Memory { steps: &plan.steps, filter: &plan.filter }
    }
}

impl<'a> Part<'a> {
    /// What the child has to hold on to.
    pub(super) fn descriptor(self) -> Option<BorrowedFd<'a>> {
        match self {
            Part::File(file) => Some(file),
            Part::Memory { .. } => None,
        }
    }

    pub(super) fn steps(self) -> io::Result<Cow<'a, [Step]>> {
        Ok(match self {
            Part::File(file) => Cow::Owned(crate::decode_steps(file)?),
            Part::Memory { steps, .. } => Cow::Borrowed(steps),
        })
    }

    pub(super) fn filter(self) -> io::Result<Cow<'a, [u8]>> {
        Ok(match self {
            Part::File(file) => Cow::Owned(crate::decode_filter(file)?),
            Part::Memory { filter, .. } => Cow::Borrowed(filter),
        })
    }
}
