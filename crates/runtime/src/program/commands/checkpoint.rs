//! `checkpoint` and `restore`: known, and refused by name.

use super::super::Context;
use super::super::arguments::Parsed;
use super::super::error::Error;
use super::{Command, NOT_SUPPORTED};

pub(crate) const CHECKPOINT: Command =
    refused("checkpoint", |_: &Context, _: &Parsed| Err(Error::unsupported("checkpoint")));
pub(crate) const RESTORE: Command =
    refused("restore", |_: &Context, _: &Parsed| Err(Error::unsupported("restore")));

/// With whatever arguments: the answer is the same.
const fn refused(name: &'static str, run: fn(&Context, &Parsed) -> Result<u8, Error>) -> Command {
    Command {
        name,
        usage: "<container-id>",
        about: NOT_SUPPORTED,
        flags: &[],
        arguments: 0..=usize::MAX,
        stops_at_first: true,
        failure_code: 1,
        run,
    }
}
